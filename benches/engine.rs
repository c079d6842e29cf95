//! What the engine costs in memory, without Kafka: decoding, counting, measuring a window, and joining labels.
//!
//! `cargo bench --bench engine` prints a table. Processor time of one thread; medians and the best of several rounds.
// A benchmark reads the clock, prints its numbers and stops at the first surprise; its counts are far from 2^52.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

mod standard_event;
mod standard_ledger;
mod standard_model;

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use driftline::baseline::cell::{count, place};
use driftline::baseline::layout::Column;
use driftline::baseline::rows::{ColumnData, Role, RowBatch};
use driftline::baseline::{Baseline, BuildSpec, Survey, Task};
use driftline::engine::measure::{self, Context};
use driftline::engine::{ModelPlan, Plan, Record, Shard};
use driftline::event::decode::{Decoder, RecordMeta};
use driftline::event::{Metric, Scalar, SourceId, Span, Timestamp, TopicRole, WindowRef};
use driftline::window::Pane;
use standard_event::{START, Shape, StandardStream};
use standard_model::{BASELINE_EVENTS, StandardModel, TOPIC, assembly};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of a round: about 110 MB, far beyond the caches.
const EVENTS: usize = 200_000;
const ROUNDS: usize = 7;
const SEED: u64 = 42;
/// Records between two outputs of a shard: those of a batch.
const STEP: usize = 900;
/// A wide model.
const WIDE_FEATURES: usize = 1_000;
const WIDE_ROWS: usize = 5_000;
/// Ten metrics that are not measured unless they are asked for, the dearest among them.
const FURTHER: [Metric; 10] = [
    Metric::KlDivergence,
    Metric::Hellinger,
    Metric::Linf,
    Metric::GTest,
    Metric::MeanShift,
    Metric::CramerVonMises,
    Metric::AndersonDarling,
    Metric::Energy,
    Metric::Std,
    Metric::Q95,
];
/// Numbers of one feature, and how often each is counted in a round: the clock of a thread may step by 4 ms.
const VALUES: usize = 1_000_000;
const REPEATS: usize = 20;

fn main() {
    let model = StandardModel::build("engine", BASELINE_EVENTS);
    let plan = assembly(&model.configure("127.0.0.1:1", "")).plan;
    let mut text = String::new();
    let mut ends = Vec::with_capacity(EVENTS);
    let mut stream = StandardStream::new(SEED, Shape::Compact);
    for _ in 0..EVENTS {
        stream.write_event(&mut text);
        ends.push(text.len());
    }
    let events: Vec<&[u8]> =
        std::iter::once(0).chain(ends.iter().copied()).zip(&ends).map(|(start, end)| &text.as_bytes()[start..*end]).collect();
    let cells = plan.models[0].baselines[0].layout.cells;
    println!("{EVENTS} standard events a round, {} bytes each, a pane of {cells} cells; {ROUNDS} rounds, one thread", text.len() / EVENTS);
    let per_event = EVENTS as f64;
    let decoding = report("decode", per_event, || decode(&plan, &events));
    let all = report("decode and count, 1 partition", per_event, || ingest(&plan, &events, 1, 1));
    println!("{:48} {:12.1} ns", "of which counting", all - decoding);
    report("decode and count, 160 partitions in runs of 900", per_event, || ingest(&plan, &events, 160, 900));
    report("decode and count, 160 partitions in turn", per_event, || ingest(&plan, &events, 160, 1));
    window("measure a window of 20 features", &plan.models[0]);
    let wide = ModelPlan { baselines: vec![Arc::new(wide_baseline())], ..plan.models[0].clone() };
    window("measure a window of 1,000 features", &wide);
    let ranks = ModelPlan { metrics: FURTHER.to_vec(), ..wide.clone() };
    window("measure a window of 1,000 features, further metrics", &ranks);
    values(&wide.baselines[0]);
    standard_ledger::report(nanoseconds);
}

fn decode(plan: &Plan, events: &[&[u8]]) {
    let mut decoder = Decoder::new(Arc::clone(&plan.mapping), &plan.dictionary);
    let record = RecordMeta { topic: TOPIC, ..RecordMeta::default() };
    for payload in events {
        let event = decoder.decode(payload, &record).expect("standard events can be read");
        assert_eq!(event.known_features, 20);
        black_box(&event);
    }
}

fn ingest(plan: &Arc<Plan>, events: &[&[u8]], partitions: usize, run: usize) {
    let mut shard = Shard::new(Arc::clone(plan));
    for (place, value) in events.iter().enumerate() {
        let source = SourceId(u32::try_from(place / run % partitions).expect("few partitions"));
        let timestamp = Some(Timestamp(START as i64 + place as i64));
        let meta = RecordMeta { topic: TOPIC, key: None, timestamp, headers: &[] };
        let record = Record { source, role: TopicRole::Predictions, offset: place as i64, meta, value, oversize: false };
        assert_eq!(shard.ingest(&record), driftline::event::Outcome::Counted);
        if place % STEP == STEP - 1 {
            black_box(shard.take_output());
        }
    }
    black_box(shard.take_output());
}

/// Measures the model's own baseline against itself, which costs what any other window costs.
fn window(name: &str, plan: &ModelPlan) {
    let pane = plan.baselines[0].reference.pane.clone();
    let start = Timestamp(START as i64);
    let window = WindowRef { name: "1h".into(), start, end: start + Span::HOUR };
    let version = Arc::from("3");
    let context = Context { plan, version: &version, segment: 0, window: &window, revision: 0 };
    let mut count = 0;
    let repeats = WIDE_FEATURES * 10 / plan.baselines[0].layout.columns.len();
    let nanoseconds = report(name, repeats as f64, || {
        for _ in 0..repeats {
            let mut measurements = Vec::new();
            measure::events(&context, &pane, measure::Against::Baseline, &mut measurements);
            measure::sort(&mut measurements);
            count = black_box(measurements).len();
        }
    });
    println!("{:48} {:12.1} ns", format!("each of its {count} measurements"), nanoseconds / count as f64);
}

/// Counts numbers of one feature into a pane: cell, exact sum and exact sum of squares.
fn values(baseline: &Baseline) {
    let column = &baseline.layout.columns[0];
    let mut state = SEED;
    let numbers: Vec<Scalar<'_>> = (0..VALUES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Scalar::from_number((state >> 11) as f64 / (1u64 << 53) as f64)
        })
        .collect();
    let mut pane = Pane::new(&baseline.layout);
    let mut scratch = String::new();
    report("count one number in a pane", (VALUES * REPEATS) as f64, || {
        for _ in 0..REPEATS {
            count_all(&mut pane, column, &numbers, &mut scratch);
            black_box(&pane);
        }
    });
}

#[inline(never)]
fn count_all(pane: &mut Pane, column: &Column, numbers: &[Scalar<'_>], scratch: &mut String) {
    for number in numbers {
        count(pane, column, place(&column.kind, number, scratch));
    }
}

/// A baseline of many numeric features.
fn wide_baseline() -> Baseline {
    let mut state = SEED;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((state >> 11) as f64 / (1u64 << 53) as f64)
    };
    let columns = (0..WIDE_FEATURES).map(|feature| {
        (Role::Feature(format!("num_{feature:04}").into()), ColumnData::Numbers((0..WIDE_ROWS).map(|_| uniform()).collect()))
    });
    let batch = RowBatch { rows: WIDE_ROWS, columns: columns.collect() };
    let mut survey = Survey::new(BuildSpec::new("standard", Task::None)).expect("the settings are right");
    survey.add(&batch).expect("numbers are numbers");
    let mut tally = survey.finish().expect("there are rows");
    tally.add(&batch).expect("the rows are the same");
    tally.finish().expect("the rows are the same")
}

/// Processor time of this thread, so that a busy machine does not count; where the system does not tell it, the time.
fn nanoseconds() -> f64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| BEGAN.elapsed().as_secs_f64() * 1e9)
}

/// Runs and prints one row; the median in ns per unit.
fn report(name: &str, units: f64, mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = nanoseconds();
            run();
            (nanoseconds() - start) / units
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[ROUNDS / 2], times[0]);
    println!("{name:48} {median:12.1} ns ({best:12.1})");
    median
}
