//! What many models take in memory once their windows are full, beside what `driftline check` says that they will.
//!
//! `cargo bench --bench memory` makes 100 models of 50 features with windows of 1 h (slide 5 m) and 24 h (slide 1 h) over 6
//! partitions. The rows of one model are counted by a shard; what the shard says is taken in for every model, slice by slice,
//! until the longest window and its restatement reach are full. At the end every partition has open panes of every model. A
//! first argument gives the events per second of each model (20).
// A benchmark prints its numbers and stops at the first surprise.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use driftline::app::memory::resident_bytes;
use driftline::baseline::rows::{ColumnData, Role, RowBatch, Texts};
use driftline::baseline::{Baseline, BuildSpec, Layout, Survey, Task};
use driftline::engine::footprint::{Load, footprint};
use driftline::engine::series::SeriesKey;
use driftline::engine::{DriftRecipe, Evaluator, FeaturesFrom, ModelPlan, Plan, Record, Shard, ShardOutput};
use driftline::event::decode::{Dictionary, RecordMeta};
use driftline::event::{Metric, Outcome, Segment, SourceId, Span, Timestamp, TopicRole};
use driftline::rule::RuleSet;
use driftline::window::{SeriesId, SparsePane, WindowSpec};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODELS: u16 = 100;
const NUMBERS: usize = 40;
const CATEGORIES: usize = 10;
const PARTITIONS: u32 = 6;
const BASELINE_ROWS: usize = 50_000;
/// Different rows that are counted, over and over.
const ROWS: usize = 8_192;
/// Slices until everything is full: two days, and what has not been added up yet.
const SLICES: i64 = 51 * 12;
/// Rows in each pane that is open at the end: enough to touch all of its memory.
const OPEN_ROWS: usize = 40;
const SLICE: Span = Span(300_000);
const LATENESS: Span = Span(120_000);
/// 2026-01-05T00:00:00Z.
const START: Timestamp = Timestamp(1_767_571_200_000);

fn main() {
    let rate: i64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20);
    let began = Instant::now();
    let mut dice = Dice(7);
    let baseline = baseline(&mut dice);
    let rows: Vec<String> = (0..ROWS).map(|_| row(&mut dice)).collect();
    let empty = resident();
    let plan = plan(&baseline);
    let planned = resident();
    println!("{MODELS} models of {} features, panes of {} cells", NUMBERS + CATEGORIES, baseline.layout.cells);
    pack(&baseline);

    let mut shard = Shard::new(Arc::clone(&plan));
    let mut evaluator = Evaluator::new(Arc::clone(&plan), Arc::new(RuleSet::default()));
    (0..PARTITIONS).for_each(|partition| evaluator.assign(SourceId(partition), TopicRole::Predictions));
    let named: Vec<Vec<u8>> = rows.iter().map(|row| named(row, 0)).collect();
    let events = rate * SLICE.0 / 1_000;
    let (mut windows, mut events_taken) = (0, 0u64);
    for slice in 0..SLICES {
        for event in 0..events {
            let ts = START + Span(slice * SLICE.0 + event * SLICE.0 / events);
            count(&mut shard, (event % i64::from(PARTITIONS)) as u32, &named[events_taken as usize % ROWS], ts);
            events_taken += 1;
        }
        let output = shard.take_output();
        for model in 1..MODELS {
            let series = if slice == 0 { vec![SeriesKey { model, version: Arc::from(""), segment: 0 }] } else { Vec::new() };
            let panes = output.panes.iter().cloned().map(|mut open| {
                open.series = SeriesId(0);
                open
            });
            evaluator.absorb(usize::from(model), ShardOutput { series, panes: panes.collect(), ..ShardOutput::default() });
        }
        evaluator.absorb(0, output);
        windows += evaluator.advance(None).len();
    }
    let sealed = resident();
    // The last slice is open and the one before it still is: each has panes of all partitions.
    let last = START + Span(SLICES * SLICE.0);
    let mut others = Shard::new(Arc::clone(&plan));
    for model in 0..MODELS {
        let texts: Vec<Vec<u8>> = rows.iter().take(OPEN_ROWS).map(|row| self::named(row, model)).collect();
        let shard = if model == 0 { &mut shard } else { &mut others };
        for partition in 0..PARTITIONS {
            for at in [last - Span(1), last + Span(1)] {
                texts.iter().for_each(|text| count(shard, partition, text, at));
            }
        }
    }
    let open = resident();

    let load = Load { events_per_second: rate as f64, partitions: u64::from(PARTITIONS) };
    let expected = footprint(&plan.models[0], &load, 0, false);
    let models = u64::from(MODELS);
    println!("{events_taken} events of each model, {windows} windows closed, {:.0} s", began.elapsed().as_secs_f64());
    println!("{:32} {:>10} {:>10}", "", "measured", "estimated");
    let line = |what: &str, measured: u64, estimated: u64| {
        println!("{what:32} {:>6.1} MiB {:>6.1} MiB", measured as f64 / 1_048_576.0, estimated as f64 / 1_048_576.0);
    };
    line("baselines", planned - empty, models * expected.baselines.bytes);
    line("sealed panes, once windows close", sealed - planned, models * (expected.sealed.bytes + expected.closing.bytes));
    line("open panes", open.saturating_sub(sealed), models * expected.open.bytes);
    line("the process", open, empty + models * expected.bytes());
    line("the process at its most", peak(), empty + models * expected.bytes());
}

/// Bytes of a pane and what packing costs.
fn pack(baseline: &Baseline) {
    let pane = &baseline.reference.pane;
    let repeats = 1_000;
    let began = Instant::now();
    for _ in 0..repeats {
        std::hint::black_box(SparsePane::of(std::hint::black_box(pane)));
    }
    let packed = began.elapsed();
    let sparse = SparsePane::of(pane);
    let mut sum = pane.clone();
    let began = Instant::now();
    for _ in 0..repeats {
        std::hint::black_box(&sparse).add_to(&mut sum);
    }
    let added = began.elapsed();
    let other = pane.clone();
    let began = Instant::now();
    for _ in 0..repeats {
        sum.merge(std::hint::black_box(&other));
    }
    println!(
        "the baseline's own pane, {} rows: {} bytes dense, {} packed; {} us to pack, {} us to add ({} us dense)",
        pane.n,
        pane.cells.len() * 8 + pane.moments.len() * 128,
        sparse.bytes().len(),
        packed.as_micros() / repeats,
        added.as_micros() / repeats,
        began.elapsed().as_micros() / repeats
    );
}

fn count(shard: &mut Shard, partition: u32, value: &[u8], at: Timestamp) {
    let meta = RecordMeta { topic: "rows", key: None, timestamp: Some(at), headers: &[] };
    let record = Record { source: SourceId(partition), role: TopicRole::Predictions, offset: 0, meta, value, oversize: false };
    assert_eq!(shard.ingest(&record), Outcome::Counted);
}

fn plan(baseline: &Baseline) -> Arc<Plan> {
    let window = |name: &str, size, slide| WindowSpec { name: name.into(), size, slide, offset: Span(0) };
    let models: Vec<ModelPlan> = (0..MODELS)
        .map(|number| {
            // As if each were read from a file of its own: nothing is shared.
            let mut own = baseline.clone();
            let columns = baseline.layout.columns.iter().map(|column| (column.subject.clone(), column.kind.clone()));
            own.layout = Arc::new(Layout::new(columns.collect()));
            ModelPlan {
                name: format!("model-{number:03}").into(),
                task: Task::None,
                baselines: vec![Arc::new(own)],
                by_version: std::collections::BTreeMap::new(),
                default_baseline: Some(0),
                classes: Vec::new(),
                windows: vec![window("1h", Span::HOUR, SLICE), window("1d", Span::DAY, Span::HOUR)],
                comparisons: Vec::new(),
                slice: SLICE,
                lateness: LATENESS,
                min_samples: 500,
                features_from: FeaturesFrom::Prediction,
                horizon: None,
                evidence: driftline::engine::evidence::Evidence::default(),
                level: None,
                segments: Vec::new(),
                segment_names: vec![Segment::default()],
                drift: DriftRecipe::default(),
                metrics: vec![Metric::Psi, Metric::NullRate],
                recipe: driftline::engine::measure::Recipe::Driftline,
                detectors: Vec::new(),
            }
        })
        .collect();
    let dictionary = Dictionary::new((0..NUMBERS + CATEGORIES).map(feature), std::iter::empty::<&str>());
    Arc::new(Plan {
        by_name: models.iter().zip(0..).map(|(model, number)| (Arc::clone(&model.name), number)).collect(),
        models,
        dictionary: Arc::new(dictionary),
        ..Plan::empty()
    })
}

fn feature(number: usize) -> String {
    format!("feature_{number:02}")
}

/// The value of a numeric feature: normal, skewed, or whole numbers.
fn number(dice: &mut Dice, feature: usize) -> f64 {
    let normal = (0..6).map(|_| dice.uniform()).sum::<f64>() - 3.0;
    match feature % 4 {
        0 | 1 => normal * 10.0 + feature as f64,
        2 => (normal * 1.5).exp(),
        _ => (normal * 60.0).round(),
    }
}

/// The level of a categorical feature: of 3 to 300, the first ones most often.
fn level(dice: &mut Dice, feature: usize) -> String {
    let levels = 3.0 * 100f64.powf(feature as f64 / (CATEGORIES - 1) as f64);
    format!("level-{}", (levels * dice.uniform().powi(3)) as usize)
}

fn row(dice: &mut Dice) -> String {
    let mut text = String::from("\"features\":{");
    for place in 0..NUMBERS + CATEGORIES {
        let comma = if place == 0 { "" } else { "," };
        let _ = if place < NUMBERS {
            write!(text, "{comma}\"{}\":{:.6}", feature(place), number(dice, place))
        } else {
            write!(text, "{comma}\"{}\":\"{}\"", feature(place), level(dice, place - NUMBERS))
        };
    }
    text.push_str("}}");
    text
}

fn named(row: &str, model: u16) -> Vec<u8> {
    format!("{{\"event\":\"prediction\",\"model\":\"model-{model:03}\",{row}").into_bytes()
}

fn baseline(dice: &mut Dice) -> Baseline {
    let columns = (0..NUMBERS + CATEGORIES).map(|place| {
        let data = if place < NUMBERS {
            ColumnData::Numbers((0..BASELINE_ROWS).map(|_| Some(number(dice, place))).collect())
        } else {
            let mut texts = Texts::default();
            (0..BASELINE_ROWS).for_each(|_| texts.push(Some(&level(dice, place - NUMBERS))));
            ColumnData::Texts(texts)
        };
        (Role::Feature(feature(place).into()), data)
    });
    let batch = RowBatch { rows: BASELINE_ROWS, columns: columns.collect() };
    let mut survey = Survey::new(BuildSpec::new("model", Task::None)).unwrap();
    survey.add(&batch).unwrap();
    if survey.wants_another_look() {
        survey.look_again();
        survey.add(&batch).unwrap();
    }
    let mut tally = survey.finish().unwrap();
    tally.add(&batch).unwrap();
    tally.finish().unwrap()
}

struct Dice(u64);

impl Dice {
    /// Uniform in [0, 1), by `SplitMix64`.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn resident() -> u64 {
    resident_bytes().unwrap()
}

/// The most that was ever resident.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}
