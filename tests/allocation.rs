//! Counting an event takes no memory: once a worker is warm, nothing is allocated for a prediction.
//!
//! Labels and the halves of joins are kept, so they do take some; they are not looked at here.

#[path = "../benches/standard_event.rs"]
mod standard_event;
#[path = "../benches/standard_model.rs"]
mod standard_model;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use driftline::engine::{Record, Shard};
use driftline::event::decode::RecordMeta;
use driftline::event::{Outcome, SourceId, Timestamp, TopicRole};
use standard_event::{Shape, StandardStream};
use standard_model::{StandardModel, TOPIC, assembly};

/// The system's allocator, counting what the current thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn asked() -> usize {
    ASKED.get()
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Events after which all names, panes and buffers are there. Both counts lie within one pane of five minutes.
const WARM_UP: usize = 2_000;
const EVENTS: usize = 20_000;
const PARTITIONS: u32 = 3;

#[test]
fn counting_an_event_allocates_nothing() {
    let before = asked();
    drop(Box::new(0u8));
    assert_eq!(asked(), before + 1, "the allocator does not count");

    let model = StandardModel::build("allocation", 5_000);
    let plan = assembly(&model.configure("127.0.0.1:1", "segments: [ { by: [tags.region], limit: 2 } ]")).plan;
    let mut stream = StandardStream::new(3, Shape::Compact);
    let events: Vec<String> = (0..WARM_UP + EVENTS)
        .map(|_| {
            let mut text = String::new();
            stream.write_event(&mut text);
            text
        })
        .collect();
    let mut shard = Shard::new(plan);
    let mut count = |events: &[String]| {
        for (offset, value) in (0..).zip(events) {
            let meta = RecordMeta { topic: TOPIC, key: None, timestamp: Some(Timestamp(i64::MAX / 2)), headers: &[] };
            let source = SourceId(u32::try_from(offset).unwrap() % PARTITIONS);
            let record = Record { source, role: TopicRole::Predictions, offset, meta, value: value.as_bytes(), oversize: false };
            assert_eq!(shard.ingest(&record), Outcome::Counted);
        }
    };
    let (first, rest) = events.split_at(WARM_UP);
    count(first);
    let before = asked();
    count(rest);
    assert_eq!(asked() - before, 0, "allocations for {EVENTS} events");
}
