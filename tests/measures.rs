//! Every measure of a column against a brute force over its raw rows, whatever the rows are; the recipes of other tools
//! against what those said of the shipped data; and what one outlier does to each measure.
//!
//! The goldens in `tests/data/goldens/recipes.csv.gz` are NannyML 0.13.1 (`UnivariateDriftCalculator`), and SciPy 1.17.1 for what
//! Evidently, Azure Machine Learning and TensorFlow Data Validation compute by it.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::float_cmp)]

mod replay_support;

use std::collections::BTreeMap;

use driftline::app::assemble::assemble;
use driftline::baseline::rows::{ColumnData, Role, RowBatch};
use driftline::baseline::{Baseline, BuildSpec, ColumnKind, Survey, Task, cell};
use driftline::config::Purpose;
use driftline::config::environment::Environment;
use driftline::engine::measure::column::{self, Sides};
use driftline::engine::measure::{Reading, Recipe, Wanted};
use driftline::event::{Metric, Scalar, Subject};
use driftline::source::file;
use driftline::stats::{cramer_von_mises, energy, ks, wasserstein};
use driftline::window::Pane;
use proptest::prelude::*;
use replay_support::{assembled, build_baseline, repository, scratch, write};
use serde_json::Value;

/// A baseline of one column.
fn built(data: ColumnData, rows: usize) -> Baseline {
    let batch = RowBatch { rows, columns: vec![(Role::Feature("x".into()), data)] };
    let mut survey = Survey::new(BuildSpec::new("m", Task::None)).unwrap();
    survey.add(&batch).unwrap();
    while survey.wants_another_look() {
        survey.look_again();
        survey.add(&batch).unwrap();
    }
    let mut tally = survey.finish().unwrap();
    tally.add(&batch).unwrap();
    tally.finish().unwrap()
}

fn of_numbers(values: &[f64]) -> Baseline {
    built(ColumnData::Numbers(values.iter().copied().map(Some).collect()), values.len())
}

/// A window counted as the stream is.
fn window<'a>(baseline: &Baseline, values: impl Iterator<Item = Scalar<'a>>) -> Pane {
    let (mut pane, mut scratch) = (Pane::new(&baseline.layout), String::new());
    for value in values {
        let column = &baseline.layout.columns[0];
        cell::count(&mut pane, column, cell::place(&column.kind, &value, &mut scratch));
        pane.n += 1;
    }
    pane
}

fn numbers(baseline: &Baseline, values: &[f64]) -> Pane {
    window(baseline, values.iter().map(|value| Scalar::from_number(*value)))
}

fn measured(baseline: &Baseline, pane: &Pane, recipe: Recipe) -> BTreeMap<Metric, Reading> {
    let sides = Sides::new(baseline, (0, &baseline.layout.columns[0]), &baseline.reference.pane, pane).by(recipe);
    let mut readings = Vec::new();
    column::measure(&sides, Wanted::new(&Metric::ALL), &mut readings);
    readings.into_iter().map(|reading| (reading.metric, reading)).collect()
}

/// The measures of two raw samples by their definitions, over raw rows: no bins but the deciles.
struct Brute<'a> {
    r: &'a [f64],
    c: &'a [f64],
}

impl Brute<'_> {
    fn shares(&self, deciles: &[f64]) -> Vec<(f64, f64)> {
        let of = |values: &[f64], bin: usize| {
            let inside = |x: &&f64| deciles.iter().filter(|edge| *edge < *x).count() == bin;
            values.iter().filter(inside).count() as f64 / values.len() as f64
        };
        (0..=deciles.len()).map(|bin| (of(self.r, bin), of(self.c, bin))).collect()
    }

    fn of_shares(&self, metric: Metric, shares: &[(f64, f64)]) -> f64 {
        let (n, m) = (self.r.len() as f64, self.c.len() as f64);
        let sum = |term: &dyn Fn(f64, f64) -> f64| shares.iter().map(|(r, c)| term(*r, *c)).sum::<f64>();
        let floor = |share: f64| share.max(1e-4);
        let log = |x: f64, y: f64| if x > 0.0 { x * (x / y).ln() } else { 0.0 };
        match metric {
            Metric::Psi => sum(&|r, c| (floor(c) - floor(r)) * (floor(c) / floor(r)).ln()),
            Metric::KlDivergence => sum(&|r, c| floor(r) * (floor(r) / floor(c)).ln()),
            Metric::JsDistance => {
                let middle = |r: f64, c: f64| f64::midpoint(r, c);
                (sum(&|r, c| log(r, middle(r, c)) + log(c, middle(r, c))) / 2.0 / 2f64.ln()).max(0.0).sqrt()
            }
            Metric::Hellinger => (sum(&|r, c| (r.sqrt() - c.sqrt()).powi(2)) / 2.0).sqrt(),
            Metric::TotalVariation => sum(&|r, c| (r - c).abs()) / 2.0,
            Metric::Linf => shares.iter().map(|(r, c)| (r - c).abs()).fold(0.0, f64::max),
            Metric::ChiSquare => sum(&|r, c| {
                let pooled = (r * n + c * m) / (n + m);
                let term = |share: f64, size: f64| if pooled > 0.0 { size * (share - pooled).powi(2) / pooled } else { 0.0 };
                term(r, n) + term(c, m)
            }),
            Metric::GTest => sum(&|r, c| {
                let pooled = (r * n + c * m) / (n + m);
                2.0 * (n * log(r, pooled) + m * log(c, pooled))
            }),
            other => panic!("{other:?} is not over shares"),
        }
    }

    /// Both distribution functions after each distinct value, with the gap to the next one.
    fn steps(&self) -> Vec<(f64, f64, f64)> {
        let mut all: Vec<f64> = self.r.iter().chain(self.c).copied().collect();
        all.sort_by(f64::total_cmp);
        let below = |values: &[f64], x: f64| values.iter().filter(|y| **y <= x).count() as f64 / values.len() as f64;
        let gaps = all.iter().zip(all.iter().skip(1).map(Some).chain([None]));
        gaps.map(|(x, next)| (below(self.r, *x), below(self.c, *x), next.map_or(0.0, |next| next - x))).collect()
    }

    fn ks(&self) -> f64 {
        self.steps().iter().map(|(r, c, _)| (r - c).abs()).fold(0.0, f64::max)
    }

    fn wasserstein(&self) -> f64 {
        self.steps().iter().map(|(r, c, gap)| (r - c).abs() * gap).sum()
    }

    fn energy(&self) -> f64 {
        (2.0 * self.steps().iter().map(|(r, c, gap)| (r - c).powi(2) * gap).sum::<f64>()).sqrt()
    }

    fn mid_rank(&self, x: f64) -> f64 {
        let count = |is: &dyn Fn(f64) -> bool| self.r.iter().chain(self.c).filter(|y| is(**y)).count() as f64;
        count(&|y| y < x) + (count(&|y| y == x) + 1.0) / 2.0
    }

    fn cramer_von_mises(&self) -> f64 {
        let (n, m) = (self.r.len() as f64, self.c.len() as f64);
        let of = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            let squares = values.iter().zip(1u32..).map(|(x, place)| (self.mid_rank(*x) - f64::from(place)).powi(2));
            squares.sum::<f64>() * values.len() as f64
        };
        (of(self.r) + of(self.c)) / (n * m * (n + m)) - (4.0 * n * m - 1.0) / (6.0 * (n + m))
    }
}

fn mean(values: &[f64]) -> f64 {
    // Scaled, so that sums of the largest numbers stay in range.
    let n = values.len() as f64;
    values.iter().map(|value| value / n).sum()
}

fn sd(values: &[f64], ddof: f64) -> f64 {
    if values.iter().all(|value| *value == values[0]) {
        return 0.0;
    }
    let mean = mean(values);
    let scale = values.iter().map(|value| (value - mean).abs()).fold(0.0, f64::max);
    if scale == 0.0 {
        return 0.0;
    }
    scale * (values.iter().map(|value| ((value - mean) / scale).powi(2)).sum::<f64>() / (values.len() as f64 - ddof)).sqrt()
}

fn sample(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let shape = prop_oneof![
        Just(0u8), // Continuous.
        Just(1),   // Small integers: all atoms.
        Just(2),   // Zeros among others.
        Just(3),   // One value.
        Just(4),   // Heavy tails, outliers.
    ];
    (shape, prop::collection::vec((0f64..1.0, 0f64..1.0), 1..most)).prop_map(|(shape, dice)| {
        let of = |(u, v): (f64, f64)| match shape {
            0 => 10.0 * u - 3.0,
            1 => (7.0 * u).floor(),
            2 if v < 0.6 => 0.0,
            2 => u,
            3 => 4.25,
            _ if v < 0.02 => 1e6 * (u - 0.5),
            _ => 1.0 / (u + 1e-3),
        };
        dice.into_iter().map(of).collect()
    })
}

const OVER_SHARES: [Metric; 8] = [
    Metric::Psi,
    Metric::KlDivergence,
    Metric::JsDistance,
    Metric::Hellinger,
    Metric::TotalVariation,
    Metric::Linf,
    Metric::ChiSquare,
    Metric::GTest,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn numbers_measure_as_their_rows_do(r in sample(300), c in sample(150)) {
        let baseline = of_numbers(&r);
        let pane = numbers(&baseline, &c);
        let readings = measured(&baseline, &pane, Recipe::Driftline);
        let ColumnKind::Numeric(bins) = &baseline.layout.columns[0].kind else { panic!("not numeric") };
        let (cells_r, cells_c) = (&baseline.reference.pane.cells[5..], &pane.cells[5..]);
        let brute = Brute { r: &r, c: &c };
        let value = |metric: Metric| readings[&metric].value;
        for (metric, reading) in &readings {
            prop_assert!(reading.value.is_none_or(f64::is_finite), "{metric:?}");
            prop_assert!(reading.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)), "{metric:?}");
            let events = matches!(metric, Metric::NullRate | Metric::InvalidRate);
            prop_assert!(events || (reading.n, reading.n_reference) == (c.len() as u64, r.len() as u64));
        }
        let shares = brute.shares(&bins.coarse_edges);
        for metric in OVER_SHARES {
            let (ours, exact) = (value(metric).unwrap(), brute.of_shares(metric, &shares));
            // The root of a rounding error is none of it.
            let slack = if matches!(metric, Metric::JsDistance | Metric::Hellinger) { 1e-7 } else { 1e-9 };
            prop_assert!((ours - exact).abs() <= slack * exact.abs().max(1.0), "{metric:?}: {ours} is not {exact}");
        }
        let tails = wasserstein::Tails {
            below: c.iter().map(|x| (bins.edges[0] - x).max(0.0)).sum(),
            above: c.iter().map(|x| (x - bins.max).max(0.0)).sum(),
        };
        let scale = bins.scale + brute.wasserstein();
        let bounded = [
            (Metric::Ks, brute.ks(), ks::bound(cells_r, cells_c, &bins.edges).unwrap(), 1.0),
            (Metric::Wasserstein, brute.wasserstein(), wasserstein::bound(&bins.edges, cells_r, cells_c).unwrap(), scale),
            (
                Metric::Energy,
                brute.energy(),
                energy::bound(&bins.edges, cells_r, cells_c, wasserstein::Tails::default(), tails).unwrap(),
                scale.sqrt(),
            ),
            (
                Metric::CramerVonMises,
                brute.cramer_von_mises(),
                cramer_von_mises::bound(&bins.edges, cells_r, cells_c).unwrap(),
                (r.len() * c.len()) as f64,
            ),
        ];
        for (metric, exact, bound, unit) in bounded {
            let ours = value(metric).unwrap();
            prop_assert!((ours - exact).abs() <= bound + 1e-8 * unit, "{metric:?}: {ours}, {exact} of the rows, bound {bound}");
        }
        let spread = sd(&r, 1.0);
        let close = |metric: Metric, exact: f64, unit: f64| {
            let ours = value(metric).unwrap_or(f64::NAN);
            if (ours - exact).abs() <= 1e-9 * unit { Ok(()) } else { Err(TestCaseError::fail(format!("{metric:?}: {ours} is not {exact}"))) }
        };
        let unit = bins.scale.max(sd(&c, 0.0)).max((mean(&c) - mean(&r)).abs());
        close(Metric::Mean, mean(&c), unit)?;
        if c.len() > 1 {
            // Sums are in units of 2^-40, and squares of far values are rounded: what is left of a narrow spread far out is less exact.
            let far = c.iter().map(|x| ((x - bins.center) / bins.scale).abs()).fold(0.0, f64::max);
            let slack = bins.scale * bins.scale * (4e-12 * (1.0 + far) + 1e-14 * far * far);
            let (ours, exact) = (value(Metric::Std).unwrap(), sd(&c, 1.0));
            prop_assert!((ours - exact).abs() * (ours + exact) <= slack, "std: {ours} is not {exact}");
        } else {
            prop_assert_eq!(value(Metric::Std), None);
        }
        if spread > 0.0 {
            close(Metric::MeanShift, (mean(&c) - mean(&r)) / spread, unit / spread)?;
        } else if r.len() > 1 {
            prop_assert_eq!(readings[&Metric::MeanShift].error, Some("constant_reference"));
            prop_assert_eq!(readings[&Metric::WassersteinNormed].error, Some("constant_reference"));
        }
        let mut sorted = c.clone();
        sorted.sort_by(f64::total_cmp);
        for (metric, level) in [(Metric::Q05, 0.05), (Metric::Q25, 0.25), (Metric::Q50, 0.5), (Metric::Q75, 0.75), (Metric::Q95, 0.95)] {
            let position = level * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
            let cells = [bins.cell(low), bins.cell(high)];
            if cells.iter().all(|cell| *cell > 0 && *cell < bins.edges.len()) {
                let width = cells.iter().map(|cell| bins.edges[*cell] - bins.edges[*cell - 1]).fold(0.0, f64::max);
                let exact = low + (high - low) * position.fract();
                prop_assert!((value(metric).unwrap() - exact).abs() <= width + 1e-9 * unit, "{metric:?}");
            }
        }
    }

    #[test]
    fn levels_measure_as_their_rows_do(r in prop::collection::vec(0usize..6, 1..200), c in prop::collection::vec(0usize..7, 1..100)) {
        const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "never"];
        let mut texts = driftline::baseline::rows::Texts::default();
        r.iter().for_each(|level| texts.push(Some(NAMES[*level])));
        let baseline = built(ColumnData::Texts(texts), r.len());
        let pane = window(&baseline, c.iter().map(|level| Scalar::Text(NAMES[*level])));
        let readings = measured(&baseline, &pane, Recipe::Driftline);
        let real = |levels: &[usize]| levels.iter().map(|level| *level as f64).collect::<Vec<f64>>();
        let (r, c) = (real(&r), real(&c));
        let brute = Brute { r: &r, c: &c };
        let known: Vec<f64> = (0..6).map(f64::from).filter(|level| r.contains(level)).collect();
        let mut shares: Vec<(f64, f64)> = Vec::new();
        let share = |values: &[f64], level: f64| values.iter().filter(|x| **x == level).count() as f64 / values.len() as f64;
        shares.extend(known.iter().map(|level| (share(&r, *level), share(&c, *level))));
        let unseen = c.iter().filter(|level| !known.contains(level)).count() as f64 / c.len() as f64;
        // `other`, which is empty, and `unseen`: every level of the window that the reference has not.
        shares.extend([(0.0, 0.0), (0.0, unseen)]);
        for metric in OVER_SHARES {
            let (ours, exact) = (readings[&metric].value.unwrap(), brute.of_shares(metric, &shares));
            let slack = if matches!(metric, Metric::JsDistance | Metric::Hellinger) { 1e-7 } else { 1e-9 };
            prop_assert!((ours - exact).abs() <= slack * exact.abs().max(1.0), "{metric:?}: {ours} is not {exact}");
        }
        let entropy: f64 = shares.iter().filter(|share| share.1 > 0.0).map(|(_, c)| -c * c.ln()).sum();
        prop_assert!((readings[&Metric::Entropy].value.unwrap() - entropy).abs() < 1e-9);
        prop_assert_eq!(readings[&Metric::NewCategoryRate].value, Some(unseen));
    }
}

#[test]
fn odd_windows_have_values_or_say_why() {
    let references: [&[f64]; 5] = [&[1.0, 2.0, 3.0, 4.0], &[5.0; 40], &[1e308, -1e308, 0.0], &[0.0], &[1e-308, 2e-308]];
    let windows: [&[f64]; 7] = [&[], &[2.0], &[1e308; 3], &[-1e308, 1e308], &[f64::INFINITY, 1.0], &[f64::NAN; 4], &[5.0; 9]];
    for reference in references {
        let baseline = of_numbers(reference);
        for values in windows {
            for recipe in [Recipe::Driftline, Recipe::Evidently, Recipe::Nannyml, Recipe::Azure, Recipe::Tfdv] {
                let readings = measured(&baseline, &numbers(&baseline, values), recipe);
                let valid = values.iter().filter(|value| value.is_finite()).count() as u64;
                for (metric, reading) in &readings {
                    let what = format!("{metric:?} of {values:?} against {reference:?}: {reading:?}");
                    assert!(reading.value.is_none_or(f64::is_finite) && reading.p_value.is_none_or(f64::is_finite), "{what}");
                    let of_events = matches!(metric, Metric::NullRate | Metric::InvalidRate);
                    assert_eq!(reading.n, if of_events { values.len() as u64 } else { valid }, "{what}");
                    assert!(reading.n > 0 || reading.value.is_none(), "{what}");
                }
            }
        }
    }
    // All null.
    let baseline = of_numbers(&[1.0, 2.0]);
    let readings = measured(&baseline, &window(&baseline, (0..5).map(|_| Scalar::Null)), Recipe::Driftline);
    assert_eq!(readings[&Metric::NullRate].value, Some(1.0));
    assert!(
        readings
            .values()
            .filter(|reading| reading.metric != Metric::NullRate && reading.metric != Metric::InvalidRate)
            .all(|reading| reading.n == 0)
    );
}

/// Rows of a shipped data set, counted from one number to another.
struct Shipped {
    baseline: Baseline,
    rows: Vec<Value>,
}

impl Shipped {
    fn read(name: &str, model: &str, reference: &str, analysis: &str) -> Shipped {
        let directory = scratch(&format!("measures-{name}"));
        let config = write(&directory, "driftline.yaml", &format!("models:\n  - {{ name: {name}, baseline: baseline.json, {model} }}\n"));
        build_baseline(&config, name, &repository(reference), &directory.join("baseline.json"));
        let baseline = (*assembled(&config).plan.models[0].baselines[0]).clone();
        let bytes = file::read(&repository(analysis)).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Shipped { baseline, rows: lines.map(|line| serde_json::from_slice(line).unwrap()).collect() }
    }

    fn pane(&self, from: usize, to: usize) -> Pane {
        let (mut pane, mut scratch) = (Pane::new(&self.baseline.layout), String::new());
        for row in &self.rows[from..to] {
            for column in &self.baseline.layout.columns {
                let Subject::Feature(name) = &column.subject else { continue };
                let value = match &row["features"][&**name] {
                    Value::Number(number) => Scalar::from_number(number.as_f64().unwrap()),
                    Value::String(text) => Scalar::Text(text),
                    Value::Bool(value) => Scalar::Bool(*value),
                    _ => Scalar::Null,
                };
                cell::count(&mut pane, column, cell::place(&column.kind, &value, &mut scratch));
            }
        }
        pane
    }

    fn index(&self, feature: &str) -> usize {
        self.baseline.layout.column(&Subject::Feature(feature.into())).unwrap()
    }

    fn sd(&self, feature: &str) -> f64 {
        self.baseline.summaries[self.index(feature)].sd_population.unwrap()
    }

    /// Whether a number has so few values that NannyML takes them as levels.
    fn has_few_values(&self, feature: &str) -> bool {
        let cells = &self.baseline.reference.pane.column(&self.baseline.layout, self.index(feature))[5..];
        matches!(self.baseline.layout.columns[self.index(feature)].kind, ColumnKind::Numeric(_))
            && cells.iter().filter(|count| **count > 0).count() <= 50
    }

    fn measured(&self, feature: &str, pane: &Pane, recipe: Recipe) -> BTreeMap<Metric, Reading> {
        let index = self.index(feature);
        let column = &self.baseline.layout.columns[index];
        let sides = Sides::new(&self.baseline, (index, column), &self.baseline.reference.pane, pane).by(recipe);
        let mut readings = Vec::new();
        column::measure(&sides, Wanted::new(&Metric::ALL), &mut readings);
        readings.into_iter().map(|reading| (reading.metric, reading)).collect()
    }
}

/// Golden, recipe, metric, tolerance: relative, or absolute in the second place (of `wasserstein` in standard deviations).
const RECIPES: [(&str, Recipe, Metric, f64, f64); 12] = [
    ("nannyml.js", Recipe::Nannyml, Metric::JsDistance, 0.025, 0.003),
    ("nannyml.hellinger", Recipe::Nannyml, Metric::Hellinger, 0.025, 0.003),
    ("nannyml.ks", Recipe::Nannyml, Metric::Ks, 0.0, 0.003),
    ("nannyml.wasserstein", Recipe::Nannyml, Metric::Wasserstein, 0.02, 0.01),
    ("nannyml.linf", Recipe::Nannyml, Metric::Linf, 0.0, 1e-9),
    ("js_dist.cat.e", Recipe::Evidently, Metric::JsDistance, 0.0, 1e-9),
    ("hellinger.cat", Recipe::Evidently, Metric::Hellinger, 0.0, 1e-9),
    ("wasserstein_norm0", Recipe::Evidently, Metric::WassersteinNormed, 0.02, 0.01),
    ("ks.p_asymp", Recipe::Evidently, Metric::Ks, 0.0, 0.1),
    ("wasserstein_norm1", Recipe::Azure, Metric::WassersteinNormed, 0.02, 0.01),
    ("js_div.cat.b2", Recipe::Tfdv, Metric::JsDistance, 0.0, 1e-9),
    ("linf.cat", Recipe::Tfdv, Metric::Linf, 0.0, 1e-9),
];

#[test]
fn recipes_give_the_numbers_of_their_tools() {
    let sets = [
        Shipped::read(
            "car_loan",
            "task: binary, positive_class: 1",
            "src/app/demo/data/car_loan/reference.csv.zst",
            "src/app/demo/data/car_loan/analysis.ndjson.zst",
        ),
        Shipped::read(
            "bikeshare",
            "task: regression, features: { types: { holiday: categorical, weekday: categorical, workingday: categorical } }",
            "tests/data/bikeshare.reference.csv.gz",
            "tests/data/bikeshare/analysis.ndjson.gz",
        ),
    ];
    let bytes = file::read(&repository("tests/data/goldens/recipes.csv.gz")).unwrap();
    let mut panes: BTreeMap<(usize, usize, usize), Pane> = BTreeMap::new();
    let mut worst: BTreeMap<&str, (f64, usize, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for record in csv::Reader::from_reader(bytes.as_slice()).records() {
        let record = record.unwrap();
        let set = usize::from(&record[0] == "bikeshare");
        let (from, to, golden): (usize, usize, f64) = (record[1].parse().unwrap(), record[2].parse().unwrap(), record[5].parse().unwrap());
        let Some((name, recipe, metric, relative, absolute)) = RECIPES.iter().find(|recipe| recipe.0 == &record[4]) else { continue };
        let shipped = &sets[set];
        let pane = panes.entry((set, from, to)).or_insert_with(|| shipped.pane(from, to));
        let reading = &shipped.measured(&record[3], pane, *recipe)[metric];
        assert!(reading.recipe.starts_with(recipe.as_str()), "{reading:?}");
        let found = if *name == "ks.p_asymp" { reading.p_value } else { reading.value };
        let Some(found) = found else {
            wrong.push(format!("{record:?}: {reading:?}"));
            continue;
        };
        let off = (found - golden).abs();
        let place = format!("{} {from} {}: {found}, golden {golden}", &record[0], &record[3]);
        let entry = worst.entry(name).or_insert((0.0, 0, String::new()));
        entry.1 += 1;
        if off >= entry.0 {
            (entry.0, entry.2) = (off, place.clone());
        }
        let absolute = match *name {
            "nannyml.wasserstein" => absolute * shipped.sd(&record[3]),
            // Values that the reference has not share the bin of one that it has.
            "nannyml.js" | "nannyml.hellinger" if shipped.has_few_values(&record[3]) => 0.08,
            _ => *absolute,
        };
        // D over bins is never above the raw one.
        if off > (relative * golden).max(absolute) || (*name == "ks.p_asymp" && found < golden - 0.001) {
            wrong.push(format!("{name} {place}"));
        }
    }
    for (name, (off, compared, place)) in &worst {
        println!("{name:<20} {off:9.2e} of {compared:>3}  {place}");
    }
    assert_eq!(worst.len(), RECIPES.len(), "a recipe was not compared");
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Numbers of a fixed sequence, about normal.
fn normal(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
}

#[test]
fn a_spread_beyond_the_range_of_numbers_is_not_made_up() {
    let baseline = of_numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for (values, error) in [(&[1e200, -1e200, 3.0][..], Some("values_too_large")), (&[1e100, 3.0], None)] {
        let readings = measured(&baseline, &numbers(&baseline, values), Recipe::Driftline);
        assert_eq!(readings[&Metric::Std].error, error, "{values:?}");
        assert_eq!(readings[&Metric::Std].value.is_some(), error.is_none(), "{values:?}");
        assert_eq!(readings[&Metric::MeanShift].p_value.is_some(), error.is_none(), "{values:?}");
    }
}

/// What a recipe cannot give is null with the reason, and only of numbers.
#[test]
fn what_a_tool_has_from_rows_is_null_of_numbers() {
    let baseline = of_numbers(&normal(1, 1_000));
    let readings = measured(&baseline, &numbers(&baseline, &normal(2, 500)), Recipe::Evidently);
    for metric in [Metric::Psi, Metric::JsDistance, Metric::Hellinger] {
        assert_eq!((readings[&metric].value, readings[&metric].error), (None, Some("recipe_needs_rows")), "{metric:?}");
    }
    let own = measured(&baseline, &numbers(&baseline, &normal(2, 500)), Recipe::Driftline);
    assert_eq!(readings[&Metric::ChiSquare], own[&Metric::ChiSquare]);
}

/// A metric that is named is refused for a model with numbers; one that is not named is left to the results.
#[test]
fn named_metrics_that_need_rows_are_refused() {
    let directory = scratch("measures-refused");
    let rows: String = (0..60).map(|row| format!("{row},{}\n", ["x", "y"][row % 2])).collect();
    let csv = write(&directory, "rows.csv", &format!("a,b\n{rows}"));
    let faults = |keys: &str| {
        let config = write(&directory, "driftline.yaml", &format!("models:\n  - {{ name: m, baseline: m.json, {keys} }}\n"));
        build_baseline(&config, "m", &csv, &directory.join("m.json"));
        let assembly = assemble(&config, &[], &Environment::default(), Purpose::Offline);
        assembly.err().map_or_else(Vec::new, |faults| faults.iter().map(ToString::to_string).collect())
    };
    let named = faults("recipe: evidently, metrics: [psi, ks], drift: { metric: ks, above: 0.1 }");
    assert!(matches!(named.as_slice(), [fault] if fault.contains("evidently computes psi of a number such as feature:a")), "{named:?}");
    let drift = faults("recipe: azure");
    assert!(matches!(drift.as_slice(), [fault] if fault.contains("counts as drifted by its psi")), "{drift:?}");
    assert_eq!(faults("recipe: azure, metrics: all, drift: { metric: ks, above: 0.1 }"), Vec::<String>::new());
    assert_eq!(faults("recipe: nannyml, metrics: [js_distance]"), Vec::<String>::new());
}

/// The table of `docs/metrics.md` about one value of 1e6, nulls and an unseen level.
#[test]
fn what_an_outlier_does_is_what_the_docs_say() {
    let baseline = of_numbers(&normal(1, 10_000));
    let quiet = normal(2, 1_000);
    let mut outlier = quiet.clone();
    outlier[500] = 1e6;
    let shifted: Vec<f64> = quiet.iter().map(|value| value + 0.5).collect();
    let mut shifted_outlier = shifted.clone();
    shifted_outlier[500] = 1e6;
    let nulls = quiet.iter().enumerate().map(|(row, value)| if row % 100 == 0 { Scalar::Null } else { Scalar::from_number(*value) });
    let windows = [
        numbers(&baseline, &quiet),
        numbers(&baseline, &outlier),
        window(&baseline, nulls),
        numbers(&baseline, &shifted),
        numbers(&baseline, &shifted_outlier),
    ];
    let said = windows.map(|pane| measured(&baseline, &pane, Recipe::Driftline));
    let text = file::read(&repository("docs/metrics.md")).unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut missing = Vec::new();
    let cell = |reading: &Reading| {
        let p = reading.p_value.map_or("-".to_owned(), |p| if p < 0.0005 { "<0.0005".to_owned() } else { format!("{p:.2}") });
        format!("{} ({p})", rounded(reading.value.unwrap()))
    };
    for metric in said[0].keys().filter(|metric| **metric != Metric::InvalidRate) {
        let cells: Vec<String> = said.iter().map(|readings| cell(&readings[metric])).collect();
        let row = format!("| `{}` | {} |", metric.as_str(), cells.join(" | "));
        if !text.contains(&row) {
            missing.push(row);
        }
    }
    let mut texts = driftline::baseline::rows::Texts::default();
    (0..10_000).for_each(|row| texts.push(Some(["a", "b", "c", "d"][[0, 0, 0, 0, 1, 1, 1, 2, 2, 3][row % 10]])));
    let baseline = built(ColumnData::Texts(texts), 10_000);
    let level = |row: usize| Scalar::Text(["a", "b", "c", "d"][[0, 0, 0, 0, 1, 1, 1, 2, 2, 3][row * 7 % 10]]);
    let quiet = window(&baseline, (0..1_000).map(level));
    let stranger = window(&baseline, (0..1_000).map(|row| if row == 500 { Scalar::Text("never") } else { level(row) }));
    let said = [quiet, stranger].map(|pane| measured(&baseline, &pane, Recipe::Driftline));
    for metric in said[0].keys().filter(|metric| !matches!(metric, Metric::InvalidRate | Metric::NullRate)) {
        let cells: Vec<String> = said.iter().map(|readings| cell(&readings[metric])).collect();
        let row = format!("| `{}` | {} |", metric.as_str(), cells.join(" | "));
        if !text.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/metrics.md does not say:\n{}", missing.join("\n"));
    // What must hold whatever the docs say: no bin moves, so what is measured over shares does not either.
    let moved = |metric: Metric| (said[1][&metric].value.unwrap() - said[0][&metric].value.unwrap()).abs();
    assert!(moved(Metric::JsDistance) < 0.03 && said[1][&Metric::ChiSquare].p_value.unwrap() > 0.1);
}

/// Three digits that count.
fn rounded(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 5) as usize };
    format!("{value:.digits$}")
}
