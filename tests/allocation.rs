//! Counting an event takes no memory: once a worker is warm, nothing is allocated for a prediction.
//!
//! Labels and the halves of joins are kept, so they do take some; they are not looked at here.

#[path = "../benches/standard_event.rs"]
mod standard_event;
#[path = "../benches/standard_model.rs"]
mod standard_model;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use driftline::app::assemble::assemble;
use driftline::app::baseline_job::build_from_files;
use driftline::app::baseline_spec::build_spec;
use driftline::config::Purpose;
use driftline::config::environment::Environment;
use driftline::config::load::load;
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

/// Numeric features, an embedding, and everything that is measured of them together.
#[test]
fn counting_vectors_allocates_nothing() {
    let directory = std::env::temp_dir().join(format!("driftline-vectors-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let event = |row: usize| {
        let number = |place: usize| f64::from(u32::try_from((row * 7_919 + place * 104_729) % 1_000).unwrap()) / 500.0 - 1.0;
        let vector = (0..64).map(|place| number(place).to_string()).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"model":"m","id":"{row}","ts":{row},"features":{{"a":{},"b":{},"c":{},"v":[{vector}]}}}}"#,
            number(100),
            number(200),
            number(101)
        )
    };
    let reference: String = (0..300).map(|row| event(row) + "\n").collect();
    std::fs::write(directory.join("reference.ndjson"), reference).unwrap();
    let config = directory.join("driftline.yaml");
    let text = "models: [ { name: m, baseline: baseline.json, windows: [ { size: 1h } ], multivariate: [reconstruction_error, mmd, correlation_shift, domain_classifier_auc] } ]";
    std::fs::write(&config, text).unwrap();
    let (environment, purpose) = (Environment::default(), Purpose::Offline);
    let spec = build_spec(&load(&config, &environment, purpose).unwrap().0.models[0]).unwrap();
    let baseline = build_from_files(&spec, &[directory.join("reference.ndjson")], &mut |_| ()).unwrap();
    std::fs::write(directory.join("baseline.json"), baseline.to_json().unwrap()).unwrap();
    let plan = assemble(&config, &[], &environment, purpose).unwrap().plan;
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(plan.models[0].baselines[0].layout.sums, 1 + 65 + 3 + 128 + 1 + 3 + 128 + 9);

    let events: Vec<String> = (0..2_000).map(event).collect();
    let mut shard = Shard::new(plan);
    let mut count = |events: &[String]| {
        for (offset, value) in (0..).zip(events) {
            let meta = RecordMeta { topic: TOPIC, key: None, timestamp: None, headers: &[] };
            let record =
                Record { source: SourceId(0), role: TopicRole::Predictions, offset, meta, value: value.as_bytes(), oversize: false };
            assert_eq!(shard.ingest(&record), Outcome::Counted);
        }
    };
    // Until the sample is full.
    let (first, rest) = events.split_at(600);
    count(first);
    let before = asked();
    count(rest);
    assert_eq!(asked() - before, 0, "allocations for {} events", rest.len());
}

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
