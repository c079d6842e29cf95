//! How often measurements call windows without drift drifted, what a budget of false alarms keeps, and how small a shift is found.
//!
//! `cargo bench --bench calibration` prints the tables of docs/calibration.md; `-- --quick` a tenth of the windows.

#![allow(missing_docs, clippy::print_stdout, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod simulated;

use std::collections::BTreeMap;

use driftline::engine::evidence::{Adjust, Evidence, FalseAlarms, Level};
use driftline::engine::measure::Wanted;
use driftline::event::{Metric, Span};
use driftline::stats::adjust::benjamini_hochberg;
use driftline::window::{Pane, WindowSpec};
use simulated::{Kind, Stream, measure};

const ROWS: usize = 50_000;
const SIZES: [u64; 3] = [100, 500, 5_000];
/// Features of a kind; each has a baseline of its own.
const FEATURES: u64 = 20;
const METRICS: [Metric; 13] = [
    Metric::Psi,
    Metric::JsDistance,
    Metric::KlDivergence,
    Metric::Hellinger,
    Metric::ChiSquare,
    Metric::GTest,
    Metric::TotalVariation,
    Metric::Linf,
    Metric::Ks,
    Metric::Wasserstein,
    Metric::CramerVonMises,
    Metric::AndersonDarling,
    Metric::MeanShift,
];
/// What a budget is given to, as a model does that names these metrics.
const BUDGETED: [Metric; 5] = [Metric::Psi, Metric::JsDistance, Metric::Ks, Metric::Wasserstein, Metric::MeanShift];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let windows = if quick { 40 } else { 400 };
    for evidence in [Evidence::default(), Evidence { design_effects: false, ..Evidence::default() }] {
        null_study(windows, evidence);
    }
    budget_study(if quick { 1 } else { 12 });
    power_study(if quick { 20 } else { 200 });
}

fn streams(kind: Kind) -> Vec<(Stream, driftline::baseline::Baseline)> {
    (0..FEATURES)
        .map(|feature| {
            let mut stream = Stream::new(kind, 1000 * (kind as u64) + feature);
            let baseline = stream.baseline(ROWS);
            (stream, baseline)
        })
        .collect()
}

/// Shares of quiet windows with p < 0.05, and of quiet families of 1, 20 and 200 features with an adjusted p < 0.05.
fn null_study(windows: usize, evidence: Evidence) {
    let design = if evidence.design_effects { "with design effects" } else { "without design effects" };
    println!(
        "\n## Quiet windows called drifted at 5 %, {design}: percent, baselines of {ROWS} rows, {windows} windows of {FEATURES} features\n"
    );
    println!("| data | n | {} |", METRICS.map(Metric::as_str).join(" | "));
    println!("|---|---|{}", "---|".repeat(METRICS.len()));
    let mut families = Vec::new();
    for kind in Kind::ALL {
        if !evidence.design_effects && kind != Kind::Autocorrelated {
            continue;
        }
        let mut streams = streams(kind);
        for n in SIZES {
            let mut p_values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
            for _ in 0..windows {
                for (stream, baseline) in &mut streams {
                    let pane = stream.pane(baseline, n, 0.0);
                    for reading in measure(baseline, &pane, Wanted::new(&METRICS), evidence) {
                        p_values.entry(reading.metric).or_default().extend(reading.p_value);
                    }
                }
            }
            let share = |metric: Metric| {
                p_values.get(&metric).map_or_else(|| "-".to_owned(), |values| percent(values, 1, |family| family[0] < 0.05))
            };
            println!("| {} | {n} | {} |", kind.name(), METRICS.map(share).join(" | "));
            let of = |features: usize| {
                let any = |family: &[f64]| {
                    let all: Vec<Option<f64>> = family.iter().copied().map(Some).collect();
                    benjamini_hochberg(&all).into_iter().flatten().any(|p| p < 0.05)
                };
                p_values.get(&Metric::Psi).map_or_else(|| "-".to_owned(), |values| percent(values, features, any))
            };
            families.push(format!("| {} | {n} | {} | {} | {} |", kind.name(), of(1), of(20), of(200)));
        }
    }
    println!("\nFamilies of features in which psi calls any drifted, p_adjusted < 0.05: percent\n");
    println!("| data | n | 1 feature | 20 features | 200 features |\n|---|---|---|---|---|");
    families.iter().for_each(|line| println!("{line}"));
}

fn percent(values: &[f64], of: usize, is_alarm: impl Fn(&[f64]) -> bool) -> String {
    let families: Vec<&[f64]> = values.chunks_exact(of).collect();
    let alarms = families.iter().filter(|family| is_alarm(family)).count();
    format!("{:.1}", 100.0 * alarms as f64 / families.len().max(1) as f64)
}

/// As a model with a budget has it.
const BUDGET: Evidence = Evidence { design_effects: true, adjust: Adjust::BenjaminiHochberg, has_budget: true };

/// Windows of an hour for some months of 30 days, tumbling and sliding by five minutes: alarms a month.
fn budget_study(months: u64) {
    let budget = FalseAlarms { alarms: 1.0, per: Span(30 * Span::DAY.0) };
    println!(
        "\n## A budget of {budget}: false alarms a month, {months} months of {FEATURES} features x {} metrics, 600 events an hour\n",
        BUDGETED.len()
    );
    println!("An alarm is a run of windows of one series at or below the level; resolved after one window above it.\n");
    println!("| data | window | level | alarms a month | features that alarmed | {} |", BUDGETED.map(Metric::as_str).join(" | "));
    println!("|---|---|---|---|---|{}", "---|".repeat(BUDGETED.len()));
    for kind in Kind::ALL {
        for (slides, name) in [(1_u64, "1h"), (12, "1h every 5m")] {
            // Sliding windows cost twelve times as much, and tell the same for any data: two kinds, fewer months.
            if slides > 1 && !matches!(kind, Kind::Normal | Kind::Autocorrelated) {
                continue;
            }
            let months = if slides > 1 { months.div_ceil(6) } else { months };
            let slide = Span(Span::HOUR.0 / slides as i64);
            let window = WindowSpec { name: "w".into(), size: Span::HOUR, slide, offset: Span(0) };
            let mut streams = streams(kind);
            let wanted = Wanted::new(&BUDGETED);
            let series = measure(&streams[0].1, &streams[0].1.reference.pane, wanted, BUDGET).len() as u64;
            let level = Level::new(budget, &[window], FEATURES * series, 1).unwrap().level;
            let (mut alarms, mut alarmed) = (0_u64, 0);
            let mut by_metric: BTreeMap<Metric, u64> = BTreeMap::new();
            for (stream, baseline) in &mut streams {
                let before = alarms;
                let mut firing: BTreeMap<Metric, bool> = BTreeMap::new();
                let mut recent: std::collections::VecDeque<Pane> = std::collections::VecDeque::new();
                for _ in 0..months * 720 * slides {
                    recent.push_back(stream.pane(baseline, 600 / slides, 0.0));
                    if recent.len() as u64 > slides {
                        recent.pop_front();
                    }
                    let mut pane = Pane::new(&baseline.layout);
                    recent.iter().for_each(|part| pane.merge(part));
                    for reading in measure(baseline, &pane, wanted, BUDGET) {
                        let breach = reading.p_value.is_some_and(|p| p <= level);
                        let was = firing.insert(reading.metric, breach).unwrap_or(false);
                        alarms += u64::from(breach && !was);
                        *by_metric.entry(reading.metric).or_default() += u64::from(breach && !was);
                    }
                }
                alarmed += u64::from(alarms > before);
            }
            let of = |count: u64| format!("{:.2}", count as f64 / months as f64);
            let each: Vec<String> =
                BUDGETED.iter().map(|metric| by_metric.get(metric).map_or("-".to_owned(), |count| of(*count))).collect();
            println!("| {} | {name} | {level:.1e} | {} | {alarmed} of {FEATURES} | {} |", kind.name(), of(alarms), each.join(" | "));
        }
    }
}

/// The smallest shift of a normal feature that half and nine tenths of the windows find at the level of the budget, and the delay.
fn power_study(windows: usize) {
    let budget = FalseAlarms { alarms: 1.0, per: Span(30 * Span::DAY.0) };
    let window = WindowSpec { name: "w".into(), size: Span::HOUR, slide: Span::HOUR, offset: Span(0) };
    let level = Level::new(budget, &[window], FEATURES * METRICS.len() as u64, 1).unwrap().level;
    println!(
        "\n## Shifts of a normal feature that are found at the level {level:.1e} ({budget}, {FEATURES} features, {} metrics, windows of 1h)\n",
        METRICS.len()
    );
    println!(
        "In standard deviations: found by half of the windows / by nine in ten; in brackets the mean delay in windows at a shift of 0.25.\n"
    );
    println!("| n | {} |", METRICS.map(Metric::as_str).join(" | "));
    println!("|---|{}", "---|".repeat(METRICS.len()));
    let shifts: Vec<f64> = (1..=60).map(|step| 0.02 * f64::from(step)).collect();
    for n in SIZES {
        let mut stream = Stream::new(Kind::Normal, 77 + n);
        let baseline = stream.baseline(ROWS);
        let mut found: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        let share = |stream: &mut Stream, shift: f64| {
            let mut hits: BTreeMap<Metric, f64> = BTreeMap::new();
            for _ in 0..windows {
                let pane = stream.pane(&baseline, n, shift);
                for reading in measure(&baseline, &pane, Wanted::new(&METRICS), BUDGET) {
                    *hits.entry(reading.metric).or_default() +=
                        f64::from(u8::from(reading.p_value.is_some_and(|p| p <= level))) / windows as f64;
                }
            }
            hits
        };
        for shift in &shifts {
            for (metric, hits) in share(&mut stream, *shift) {
                found.entry(metric).or_default().push(hits);
            }
        }
        let at_quarter = share(&mut stream, 0.25);
        let cell = |metric: Metric| {
            let least = |wanted: f64| {
                let place = found.get(&metric).and_then(|shares| shares.iter().position(|share| *share >= wanted));
                place.and_then(|place| shifts.get(place)).map_or_else(|| "> 1.2".to_owned(), |shift| format!("{shift:.2}"))
            };
            let delay = at_quarter
                .get(&metric)
                .filter(|share| **share > 0.0)
                .map_or_else(|| "none".to_owned(), |share| format!("{:.1}", 1.0 / share));
            format!("{} / {} ({delay})", least(0.5), least(0.9))
        };
        println!("| {n} | {} |", METRICS.map(cell).join(" | "));
    }
}
