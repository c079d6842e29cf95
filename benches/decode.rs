//! What decoding a standard event costs, beside `serde_json` and a mere scan for newlines, in one run.
//!
//! `cargo bench --bench decode` prints a table; `cargo bench --bench decode -- --write 1000000` prints so many events instead.
//! One thread; medians and the best of several rounds, so that a busy machine shows.
// A benchmark reads the clock, prints its numbers and stops at the first surprise; its counts are far from 2^52.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::similar_names)]

mod standard_event;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use driftline::event::Scalar;
use driftline::event::decode::{Decoder, Dictionary, Mapping, RecordMeta};
use serde::de::IgnoredAny;
use serde_json::Value;
use standard_event::{Shape, StandardStream, TAG, feature_names};

/// Events of a round: about 110 MB, far beyond the caches.
const EVENTS: usize = 200_000;
const ROUNDS: usize = 7;
const SEED: u64 = 42;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--write") {
        let count = arguments.get(place + 1).and_then(|count| count.parse().ok()).unwrap_or(EVENTS);
        return write_events(count);
    }
    println!("{EVENTS} standard events a round, {ROUNDS} rounds, one thread; ns and events/s by the median, best in brackets");
    let compact = Stream::new(Shape::Compact);
    println!("{} bytes/event", compact.text.len() / EVENTS);
    let decoder = measure("driftline decoder", None, || decode(&compact, false));
    measure("driftline decoder, 20 features read", Some(decoder), || decode(&compact, true));
    measure("serde_json::Value", Some(decoder), || sum(&compact, |event| usize::from(serde_json::from_slice::<Value>(event).is_ok())));
    measure("serde_json::IgnoredAny", Some(decoder), || {
        sum(&compact, |event| usize::from(serde_json::from_slice::<IgnoredAny>(event).is_ok()))
    });
    measure("UTF-8 check", Some(decoder), || sum(&compact, |event| usize::from(std::str::from_utf8(event).is_ok())));
    measure("newline scan (memchr)", Some(decoder), || memchr::memchr_iter(b'\n', compact.text.as_bytes()).count());
    drop(compact);
    for shape in [Shape::Spaced, Shape::Shuffled, Shape::LongFloats] {
        let stream = Stream::new(shape);
        let bytes = stream.text.len() / EVENTS;
        let ours = measure(&format!("driftline decoder, {shape:?} ({bytes} B)"), Some(decoder), || decode(&stream, false));
        measure(&format!("serde_json::Value, {shape:?}, against it"), Some(ours), || {
            sum(&stream, |event| usize::from(serde_json::from_slice::<Value>(event).is_ok()))
        });
    }
    Ok(())
}

/// Events as lines, as they would lie in a fetched batch.
struct Stream {
    text: String,
    ends: Vec<usize>,
}

impl Stream {
    fn new(shape: Shape) -> Stream {
        let mut generator = StandardStream::new(SEED, shape);
        let mut stream = Stream { text: String::new(), ends: Vec::with_capacity(EVENTS) };
        for _ in 0..EVENTS {
            generator.write_event(&mut stream.text);
            stream.ends.push(stream.text.len());
            stream.text.push('\n');
        }
        stream
    }

    fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        starts.zip(&self.ends).map(|(start, end)| &self.text.as_bytes()[start..*end])
    }
}

fn sum(stream: &Stream, read: impl Fn(&[u8]) -> usize) -> usize {
    let count = stream.events().map(read).sum();
    assert_eq!(count, EVENTS);
    count
}

fn decode(stream: &Stream, read: bool) -> usize {
    let dictionary = Dictionary::new(feature_names(), [TAG]);
    let slots = u32::try_from(dictionary.features().len()).unwrap_or(0);
    let mut decoder = Decoder::new(Arc::new(Mapping::default_json()), &dictionary);
    let record = RecordMeta { topic: "standard", ..RecordMeta::default() };
    let (mut count, mut total) = (0, 0.0);
    for payload in stream.events() {
        let Ok(event) = decoder.decode(payload, &record) else { continue };
        count += usize::from(event.known_features == slots);
        if read {
            for slot in 0..slots {
                match event.feature(slot) {
                    Scalar::Num { value, .. } => total += value,
                    Scalar::Text(text) => total += text.len() as f64,
                    _ => total += 1.0,
                }
            }
        }
        black_box(&event);
    }
    assert_eq!(count, EVENTS);
    black_box(total);
    count
}

/// Runs and prints one row; the median in ns per event.
fn measure(name: &str, against: Option<f64>, run: impl Fn() -> usize) -> f64 {
    black_box(run());
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_secs_f64() * 1e9 / EVENTS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[ROUNDS / 2], times[0]);
    let ratio = against.map_or(String::new(), |against| format!("  {:6.2} x the decoder's time", median / against));
    println!("{name:44} {median:8.1} ns ({best:8.1})  {:>11.0} events/s ({:>11.0}){ratio}", 1e9 / median, 1e9 / best);
    median
}

fn write_events(count: usize) -> std::io::Result<()> {
    let mut stream = StandardStream::new(SEED, Shape::Compact);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = String::new();
    for number in 0..count {
        line.clear();
        // The drift that the table of the reference has: half a standard deviation after 60 % of the events.
        stream.shift = if number >= count / 5 * 3 { 0.5 } else { 0.0 };
        stream.write_event(&mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}
