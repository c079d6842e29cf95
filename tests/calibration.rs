//! Calibration: quiet windows stay quiet, rows that belong together do not cry wolf, and a budget of false alarms is kept.
//!
//! Seeded and small; the whole study is `cargo bench --bench calibration`.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../benches/simulated.rs"]
#[allow(dead_code, missing_docs, clippy::missing_panics_doc, clippy::must_use_candidate, clippy::should_implement_trait)]
mod simulated;

use driftline::baseline::Baseline;
use driftline::engine::evidence::{Evidence, FalseAlarms, Level};
use driftline::engine::measure::Wanted;
use driftline::engine::measure::column::Sides;
use driftline::engine::measure::threshold::Threshold;
use driftline::event::{Metric, Span};
use driftline::window::WindowSpec;
use simulated::{Kind, Stream, measure};

const METRICS: [Metric; 7] =
    [Metric::Psi, Metric::JsDistance, Metric::TotalVariation, Metric::Ks, Metric::Wasserstein, Metric::CramerVonMises, Metric::MeanShift];

fn without() -> Evidence {
    Evidence { design_effects: false, ..Evidence::default() }
}

/// Share of windows without drift whose p-value is below `level`, by metric.
fn alarms(kind: Kind, n: u64, windows: u32, level: f64, evidence: Evidence) -> Vec<(Metric, f64)> {
    let mut stream = Stream::new(kind, 5);
    let baseline = stream.baseline(50_000);
    let mut counts = METRICS.map(|metric| (metric, 0.0));
    for _ in 0..windows {
        let pane = stream.pane(&baseline, n, 0.0);
        for reading in measure(&baseline, &pane, Wanted::new(&METRICS), evidence) {
            let count = counts.iter_mut().find(|(metric, _)| *metric == reading.metric).unwrap();
            count.1 += f64::from(u8::from(reading.p_value.unwrap() < level)) / f64::from(windows);
        }
    }
    counts.to_vec()
}

#[test]
fn rows_that_belong_together_do_not_cry_wolf() {
    let naive = alarms(Kind::Autocorrelated, 500, 200, 0.05, without());
    let calibrated = alarms(Kind::Autocorrelated, 500, 200, 0.05, Evidence::default());
    for ((metric, naive), (_, calibrated)) in naive.into_iter().zip(calibrated) {
        assert!(naive > 0.5, "{}: rows taken for independent alarm in {naive}", metric.as_str());
        assert!(calibrated < 0.12, "{}: {calibrated} with design effects", metric.as_str());
    }
}

#[test]
fn independent_rows_keep_their_level_and_their_power() {
    for (metric, share) in alarms(Kind::Normal, 500, 400, 0.05, Evidence::default()) {
        assert!((0.015..0.095).contains(&share), "{}: {share}", metric.as_str());
    }
    let mut stream = Stream::new(Kind::Normal, 6);
    let baseline = stream.baseline(50_000);
    let pane = stream.pane(&baseline, 2_000, 0.3);
    for reading in measure(&baseline, &pane, Wanted::new(&METRICS), Evidence::default()) {
        assert!(reading.p_value.unwrap() < 1e-6, "{}: {:?}", reading.metric.as_str(), reading.p_value);
    }
}

#[test]
fn a_budget_of_false_alarms_is_kept() {
    // Two months of hours, five series: at a nominal 5 % there would be 360 alarms.
    let budget = FalseAlarms { alarms: 2.0, per: Span(30 * Span::DAY.0) };
    let window = WindowSpec { name: "1h".into(), size: Span::HOUR, slide: Span::HOUR, offset: Span(0) };
    let level = Level::new(budget, &[window], METRICS.len() as u64, 1).unwrap().level;
    for kind in [Kind::Normal, Kind::ZeroInflated, Kind::Autocorrelated] {
        let found = alarms(kind, 300, 1440, level, Evidence::default());
        println!("{found:?}");
        let found: f64 = found.iter().map(|(_, share)| share * 1440.0).sum();
        // 4 are promised; 12 would come once in ten thousand times if they came one by one. They come together.
        assert!(found < 12.5, "{}: {found}", kind.name());
    }
}

/// Share of quiet windows of skewed values at or below a level, and one value that is ten times what the baseline knows.
#[test]
fn skewed_values_keep_to_a_budget_that_the_normal_limit_breaks() {
    let with_budget = Evidence { has_budget: true, ..Evidence::default() };
    let wanted = [Metric::Wasserstein, Metric::Energy, Metric::MeanShift];
    let mut stream = Stream::new(Kind::LogNormal, 8);
    let baseline = stream.baseline(50_000);
    let (mut before, mut after) = (0, 0);
    for _ in 0..3_000 {
        let pane = stream.pane(&baseline, 100, 0.0);
        let [usual, kept] = [Evidence::default(), with_budget].map(|evidence| measure(&baseline, &pane, Wanted::new(&wanted), evidence));
        for (usual, kept) in usual.iter().zip(&kept) {
            assert_eq!(usual.value, kept.value);
            assert!(kept.p_value.unwrap() >= usual.p_value.unwrap(), "{}", usual.metric.as_str());
        }
        let is_shift = |reading: &&driftline::engine::measure::Reading| reading.metric == Metric::MeanShift;
        let breaches = |all: &[driftline::engine::measure::Reading]| u32::from(all.iter().find(is_shift).unwrap().p_value.unwrap() <= 1e-3);
        before += breaches(&usual);
        after += breaches(&kept);
    }
    // 3 are expected.
    assert!(before > 20 && after <= 9, "{before} windows by the normal limit, {after} with a budget");

    let mut pane = stream.pane(&baseline, 999, 0.0);
    let column = &baseline.layout.columns[0];
    let far = driftline::event::Scalar::from_number(1_000.0);
    driftline::baseline::cell::count(&mut pane, column, driftline::baseline::cell::place(&column.kind, &far, &mut String::new()));
    pane.n += 1;
    for reading in measure(&baseline, &pane, Wanted::new(&[Metric::Wasserstein, Metric::Energy]), with_budget) {
        assert!(reading.p_value.unwrap() > 1e-3, "one value breaks {}: {:?}", reading.metric.as_str(), reading.p_value);
    }
    let usual = measure(&baseline, &pane, Wanted::new(&[Metric::Wasserstein]), Evidence::default());
    assert!(usual[0].p_value.unwrap() < 1e-6, "{:?}", usual[0]);
}

/// Windows whose effect is just beyond a threshold have a p-value just below its level.
#[test]
fn a_threshold_is_the_effect_at_the_level() {
    let (mut stream, level) = (Stream::new(Kind::Normal, 7), 1e-3);
    let baseline: Baseline = stream.baseline(50_000);
    let pane = &baseline.reference.pane;
    let n = 2_000;
    let sides = Sides::new(&baseline, (0, &baseline.layout.columns[0]), pane, pane);
    let thresholds = Threshold::of_column(&baseline, &sides, 0, n, level, Wanted::new(&METRICS));
    assert_eq!(thresholds.len(), METRICS.len());
    let mut judged = 0;
    for step in 0..400 {
        let window = stream.pane(&baseline, n, 0.0005 * f64::from(step));
        for reading in measure(&baseline, &window, Wanted::new(&METRICS), Evidence::default()) {
            let threshold = thresholds.iter().find(|threshold| threshold.metric == reading.metric).unwrap();
            let distance = reading.value.unwrap().abs() / threshold.effect.unwrap();
            let p = reading.p_value.unwrap();
            // Effects are shown as they are; their evidence pools rare cells and knows the window's own spread.
            if !(0.93..1.07).contains(&distance) {
                judged += 1;
                assert_eq!(distance > 1.0, p <= level, "{}: {distance} of the threshold, p {p}", reading.metric.as_str());
            }
        }
    }
    assert!(judged > 2_000, "{judged}");
}
