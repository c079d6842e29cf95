//! Drift and data quality of one column: reference against current counts.

use crate::baseline::layout::{Column, ColumnKind, INFINITE, MISSING, NAN, NULL, NumericBins, SPECIAL, WRONG_TYPE};
use crate::baseline::{Baseline, Summary};
use crate::event::Metric;
use crate::stats::contingency::chi_square;
use crate::stats::divergence::{js_distance, psi, total_variation};
use crate::stats::evidence::{DesignEffects, Effect, Pooled};
use crate::stats::null::Nulls;
use crate::stats::rate::{Alternative, Rate, excess_p_value, p_value};
use crate::stats::{ks, wasserstein};
use crate::window::{Moments, Pane};

use super::Reading;

/// One column of the reference and of the window.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    column: &'a Column,
    summary: Option<&'a Summary>,
    nulls: Option<&'a Nulls>,
    reference: Side<'a>,
    current: Side<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Side<'a> {
    special: &'a [u64],
    data: &'a [u64],
    moments: Option<&'a Moments>,
}

impl<'a> Side<'a> {
    fn new(column: &Column, pane: &'a Pane) -> Side<'a> {
        let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
        let (special, data) = cells.split_at_checked(SPECIAL).unwrap_or((&[], &[]));
        Side { special, data, moments: column.moments.and_then(|place| pane.moments.get(place)) }
    }

    /// Values that lie in a data cell.
    fn valid(&self) -> u64 {
        self.data.iter().sum()
    }

    /// All events of the column, with or without a value.
    fn events(&self) -> u64 {
        self.valid() + self.special.iter().sum::<u64>()
    }

    fn count(&self, cells: &[usize]) -> u64 {
        cells.iter().filter_map(|cell| self.special.get(*cell)).sum()
    }
}

impl<'a> Sides<'a> {
    /// A column of the baseline's layout, with its index.
    #[must_use]
    pub fn new(baseline: &'a Baseline, (index, column): (usize, &'a Column), reference: &'a Pane, current: &'a Pane) -> Sides<'a> {
        Sides {
            column,
            summary: baseline.summaries.get(index),
            nulls: baseline.nulls.get(index).and_then(Option::as_ref),
            reference: Side::new(column, reference),
            current: Side::new(column, current),
        }
    }

    /// The label.
    #[must_use]
    pub fn of_label(baseline: &'a Baseline, reference: &'a Pane, current: &'a Pane) -> Option<Sides<'a>> {
        let column = baseline.joined.label.columns.first()?;
        Some(Sides {
            column,
            summary: baseline.label_summary.as_ref(),
            nulls: baseline.label_nulls.as_ref(),
            reference: Side::new(column, reference),
            current: Side::new(column, current),
        })
    }

    fn reading(&self, metric: Metric, value: Option<f64>, p_value: Option<f64>, recipe: &'static str) -> Reading {
        let (n, n_reference) = (self.current.valid(), self.reference.valid());
        Reading { metric, value, p_value, n, n_reference, error: None, recipe }
    }
}

/// The metrics of a column among `wanted`.
#[must_use]
pub fn readings(sides: &Sides<'_>, wanted: &[Metric]) -> Vec<Reading> {
    let mut readings = match &sides.column.kind {
        ColumnKind::Numeric(bins) => numeric(sides, bins),
        ColumnKind::Categorical(levels) => categorical(sides, levels.other_cell(), levels.unseen_cell()),
        // By its space.
        ColumnKind::Embedding(_) => Vec::new(),
    };
    readings.extend(rates(sides));
    readings.retain(|reading| wanted.contains(&reading.metric));
    readings
}

fn numeric(sides: &Sides<'_>, bins: &NumericBins) -> Vec<Reading> {
    let coarse = bins.coarse_of_cells();
    let groups = bins.coarse_edges.len() + 1;
    let (r, c) = (fold(sides.reference.data, &coarse, groups), fold(sides.current.data, &coarse, groups));
    let mut readings = shares(sides, (&r, &c), (&r, &c), &NUMERIC_RECIPES);
    let (fine_r, fine_c) = (sides.reference.data, sides.current.data);
    let noise = DesignEffects::default().noise(sides.reference.valid(), sides.current.valid());
    let d = ks::statistic(fine_r, fine_c);
    let p = d.zip(noise).and_then(|(d, noise)| ks::p_value(d, noise));
    readings.push(sides.reading(Metric::Ks, d, p, "two-sided D over fine reference bins, asymptotic p"));
    let tails = |side: &Side<'_>| {
        side.moments.map_or_else(wasserstein::Tails::default, |moments| {
            wasserstein::Tails::from_sums(&bins.edges, side.data, moments.below.value(), moments.above.value(), bins.center, bins.scale)
        })
    };
    let distance = wasserstein::distance(&bins.edges, fine_r, fine_c, tails(&sides.reference), tails(&sides.current));
    let table = sides.nulls.and_then(|nulls| nulls.wasserstein.as_ref());
    let p = distance.zip(noise).and_then(|(distance, noise)| table?.p_value(distance, noise));
    readings.push(sides.reading(Metric::Wasserstein, distance, p, "fine reference bins, linear inside, units of the feature"));
    let sd = sides.summary.and_then(|summary| summary.sd_population).unwrap_or(0.0);
    let normed = distance.and_then(|distance| wasserstein::normed(distance, sd));
    let mut reading = sides.reading(Metric::WassersteinNormed, normed, p, "wasserstein / reference standard deviation (ddof 0)");
    if distance.is_some() && normed.is_none() {
        reading.error = Some("constant_reference");
    }
    readings.push(reading);
    let outside = |side: &Side<'_>| Rate {
        hits: side.data.first().copied().unwrap_or(0) + side.data.last().copied().unwrap_or(0),
        total: side.valid(),
    };
    readings.push(rate(
        Metric::OutOfRangeRate,
        outside(&sides.reference),
        outside(&sides.current),
        "share of valid values outside the reference range",
    ));
    readings
}

fn categorical(sides: &Sides<'_>, other: usize, unseen: usize) -> Vec<Reading> {
    let (r, c) = (sides.reference.data, sides.current.data);
    // The reference share of unseen levels is 0 by construction, not by sampling: evidence counts them as rare ones.
    let merged = |data: &[u64]| {
        let mut merged = data.to_vec();
        let strangers = merged.get(unseen).copied().unwrap_or(0);
        merged.truncate(unseen);
        if let Some(rare) = merged.get_mut(other) {
            *rare += strangers;
        }
        merged
    };
    let mut readings = shares(sides, (r, c), (&merged(r), &merged(c)), &LEVEL_RECIPES);
    let strangers = |side: &Side<'_>| Rate { hits: side.data.get(unseen).copied().unwrap_or(0), total: side.valid() };
    let current = strangers(&sides.current);
    let expected = sides.summary.and_then(|summary| summary.expected_unseen).unwrap_or(0.0);
    let n = sides.reference.valid();
    readings.push(Reading {
        metric: Metric::NewCategoryRate,
        value: current.value(),
        p_value: excess_p_value(expected, n, current, DesignEffects::default()),
        n: current.total,
        n_reference: n,
        error: None,
        recipe: "share of valid values unseen in the reference, one-sided against its Good-Turing rate",
    });
    readings
}

/// Recipes of psi, js distance, chi-square and total variation.
type Recipes = [&'static str; 4];
const NUMERIC_RECIPES: Recipes =
    ["deciles, floor 1e-4", "deciles, base 2, square root", "deciles, two-sample, p over cells of 5 or more", "deciles"];
const LEVEL_RECIPES: Recipes =
    ["levels, floor 1e-4", "levels, base 2, square root", "levels, two-sample, p over cells of 5 or more", "levels"];

/// Metrics over shares: effects over `cells`, evidence over `tested`.
fn shares(sides: &Sides<'_>, cells: (&[u64], &[u64]), tested: (&[u64], &[u64]), recipes: &Recipes) -> Vec<Reading> {
    let noise = DesignEffects::default().noise(sides.reference.valid(), sides.current.valid());
    let pooled = Pooled::new(tested.0, tested.1);
    let test = |effect| pooled.as_ref().zip(noise).and_then(|(pooled, noise)| pooled.test(effect, noise)).map(|evidence| evidence.p_value);
    let moved = total_variation(tested.0, tested.1);
    let table = sides.nulls.map(|nulls| &nulls.total_variation);
    let p_moved = moved.zip(noise).and_then(|(moved, noise)| table?.p_value(moved, noise));
    let [of_psi, of_js, of_chi_square, of_variation] = *recipes;
    vec![
        sides.reading(Metric::Psi, psi(cells.0, cells.1), test(Effect::Psi), of_psi),
        sides.reading(Metric::JsDistance, js_distance(cells.0, cells.1), test(Effect::JsDistance), of_js),
        sides.reading(Metric::ChiSquare, chi_square(cells.0, cells.1), test(Effect::ChiSquare), of_chi_square),
        sides.reading(Metric::TotalVariation, total_variation(cells.0, cells.1), p_moved, of_variation),
    ]
}

fn rates(sides: &Sides<'_>) -> [Reading; 2] {
    let of = |side: &Side<'_>, cells: &[usize]| Rate { hits: side.count(cells), total: side.events() };
    let nulls: &[usize] = &[NULL, MISSING];
    let invalid: &[usize] = &[NAN, INFINITE, WRONG_TYPE];
    [
        rate(Metric::NullRate, of(&sides.reference, nulls), of(&sides.current, nulls), "(missing + null) / events"),
        rate(Metric::InvalidRate, of(&sides.reference, invalid), of(&sides.current, invalid), "(NaN + infinite + wrong type) / events"),
    ]
}

fn rate(metric: Metric, reference: Rate, current: Rate, recipe: &'static str) -> Reading {
    Reading {
        metric,
        value: current.value(),
        p_value: p_value(reference, current, Alternative::TwoSided, DesignEffects::default()),
        n: current.total,
        n_reference: reference.total,
        error: None,
        recipe,
    }
}

fn fold(fine: &[u64], group_of: &[usize], groups: usize) -> Vec<u64> {
    let mut folded = vec![0; groups];
    for (count, group) in fine.iter().zip(group_of) {
        if let Some(sum) = folded.get_mut(*group) {
            *sum += count;
        }
    }
    folded
}
