//! Drift and data quality of one column: reference against current counts.
//!
//! What is measured over coarse bins and levels is in `share`, over fine bins in `number`, and of vectors in `multivariate`.

use crate::baseline::layout::{Column, ColumnKind, INFINITE, Levels, MISSING, NAN, NULL, SPECIAL, WRONG_TYPE};
use crate::baseline::{Baseline, Inflations, Kind, Summary};
use crate::engine::evidence::Evidence;
use crate::event::{Metric, Subject};
use crate::sketch::distinct;
use crate::stats::counts::real;
use crate::stats::entropy::entropy;
use crate::stats::evidence::DesignEffects;
use crate::stats::null::Nulls;
use crate::stats::rate::{Alternative, Rate, excess_p_value, p_value};
use crate::window::{Moments, Pane};

use super::wanted::Wanted;
use super::{Reading, Recipe, number, share};

/// One column of the reference and of the window.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    column: &'a Column,
    pub(super) summary: Option<&'a Summary>,
    pub(super) nulls: Option<&'a Nulls>,
    inflations: Option<&'a Inflations>,
    pub(super) reference: Side<'a>,
    pub(super) current: Side<'a>,
    pub(super) recipe: Recipe,
    pub(super) has_budget: bool,
}

/// One column of one pane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    special: &'a [u64],
    pub(super) data: &'a [u64],
    pub(super) moments: Option<&'a Moments>,
    /// Cells for different values, where the layout has them.
    distinct: Option<&'a [u64]>,
    /// Values that lie in a data cell.
    pub(super) valid: u64,
}

impl<'a> Side<'a> {
    fn new(column: &Column, pane: &'a Pane) -> Side<'a> {
        let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
        let (special, data) = cells.split_at_checked(SPECIAL).unwrap_or((&[], &[]));
        let distinct = column.distinct.and_then(|first| pane.cells.get(first..first + distinct::CELLS));
        Side { special, data, distinct, moments: column.moments.and_then(|place| pane.moments.get(place)), valid: data.iter().sum() }
    }

    /// All events of the column, with or without a value.
    pub(super) fn events(&self) -> u64 {
        self.valid + self.special.iter().sum::<u64>()
    }

    /// Events without a value.
    pub(super) fn nulls(&self) -> u64 {
        self.count(&[NULL, MISSING])
    }

    /// Events with something that is no value.
    pub(super) fn invalid(&self) -> u64 {
        self.count(&[NAN, INFINITE, WRONG_TYPE])
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
            inflations: baseline.inflations.get(index).and_then(Option::as_ref),
            reference: Side::new(column, reference),
            current: Side::new(column, current),
            recipe: Recipe::Driftline,
            has_budget: false,
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
            inflations: baseline.label_inflations.as_ref(),
            reference: Side::new(column, reference),
            current: Side::new(column, current),
            recipe: Recipe::Driftline,
            has_budget: false,
        })
    }

    /// The same, measured by another recipe.
    #[must_use]
    pub fn by(self, recipe: Recipe) -> Sides<'a> {
        Sides { recipe, ..self }
    }

    /// Kept levels that the window has; 0 for a number.
    #[allow(clippy::cast_precision_loss)] // At most 100.
    fn kept(&self) -> f64 {
        match &self.column.kind {
            ColumnKind::Numeric(_) | ColumnKind::Embedding(_) => 0.0,
            ColumnKind::Categorical(levels) => {
                self.current.data.iter().take(levels.other_cell()).filter(|count| **count > 0).count() as f64
            }
        }
    }

    /// The same, with the corrections of evidence that a model asks for.
    #[must_use]
    pub fn corrected(self, evidence: Evidence) -> Sides<'a> {
        Sides { inflations: self.inflations.filter(|_| evidence.design_effects), has_budget: evidence.has_budget, ..self }
    }

    /// By how much dependence between rows inflates a kind of statistic of so many rows.
    pub(super) fn design(&self, kind: Kind, n: u64) -> DesignEffects {
        self.inflations.map_or_else(DesignEffects::default, |inflations| inflations.design(kind, n))
    }

    /// The share of the degrees of freedom of its cells that counts in a window of so many rows.
    pub(super) fn freedom(&self, n: u64) -> f64 {
        self.inflations.map_or(1.0, |inflations| inflations.freedom(n))
    }

    /// The scale of chance differences between the two sides, for a kind of statistic.
    pub(super) fn noise(&self, kind: Kind) -> Option<f64> {
        self.design(kind, self.current.valid).noise(self.reference.valid, self.current.valid)
    }

    pub(super) fn reading(&self, metric: Metric, value: Option<f64>, p_value: Option<f64>, recipe: &'static str) -> Reading {
        Reading { metric, value, p_value, n: self.current.valid, n_reference: self.reference.valid, error: None, recipe }
    }
}

/// Adds the metrics of a column among `wanted`.
pub fn measure(sides: &Sides<'_>, wanted: Wanted, out: &mut Vec<Reading>) {
    match &sides.column.kind {
        ColumnKind::Numeric(bins) => number::measure(sides, bins, wanted, out),
        ColumnKind::Categorical(levels) => categorical(sides, levels, wanted, out),
        // What its vectors say is in `multivariate`.
        ColumnKind::Embedding(_) => {}
    }
    rates(sides, wanted, out);
    if wanted.has(Metric::DistinctCount) {
        let (value, recipe) = match (sides.current.distinct, &sides.column.kind) {
            (Some(cells), ColumnKind::Numeric(_)) => {
                (distinct::estimate(cells), "estimated over 128 x 20 hashed cells, standard error 6.5 %")
            }
            (Some(cells), ColumnKind::Categorical(_)) => (
                distinct::estimate(cells).map(|others| others + sides.kept()),
                "kept levels exactly, others estimated over 128 x 20 hashed cells, standard error 6.5 %",
            ),
            // Labels of a class that the baseline does not know are rejected.
            (None, ColumnKind::Categorical(_)) if sides.column.subject == Subject::Label => (Some(sides.kept()), "classes, exactly"),
            _ => return,
        };
        let value = value.map(|value| value.min(real(sides.current.valid)));
        out.push(sides.reading(Metric::DistinctCount, value, None, recipe));
    }
}

fn categorical(sides: &Sides<'_>, levels: &Levels, wanted: Wanted, out: &mut Vec<Reading>) {
    let (r, c) = (sides.reference.data, sides.current.data);
    let (other, unseen) = (levels.other_cell(), levels.unseen_cell());
    if wanted.has_any(&share::METRICS) {
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
        share::measure(sides, (r, c), (&merged(r), &merged(c)), share::Cells::Levels, wanted, out);
    }
    if wanted.has(Metric::NewCategoryRate) {
        let strangers = |side: &Side<'_>| Rate { hits: side.data.get(unseen).copied().unwrap_or(0), total: side.valid };
        let current = strangers(&sides.current);
        let expected = sides.summary.and_then(|summary| summary.expected_unseen).unwrap_or(0.0);
        let n = sides.reference.valid;
        out.push(Reading {
            metric: Metric::NewCategoryRate,
            value: current.value(),
            p_value: excess_p_value(expected, n, current, sides.design(Kind::Cells, current.total)),
            n: current.total,
            n_reference: n,
            error: None,
            recipe: "share of valid values unseen in the reference, one-sided against its Good-Turing rate",
        });
    }
    if wanted.has(Metric::Entropy) {
        out.push(sides.reading(Metric::Entropy, entropy(c), None, "levels, nats"));
    }
}

fn rates(sides: &Sides<'_>, wanted: Wanted, out: &mut Vec<Reading>) {
    let of = |side: &Side<'_>, cells: &[usize]| Rate { hits: side.count(cells), total: side.events() };
    let kinds: [(Metric, Kind, &[usize], &'static str); 2] = [
        (Metric::NullRate, Kind::Null, &[NULL, MISSING], "(missing + null) / events"),
        (Metric::InvalidRate, Kind::Invalid, &[NAN, INFINITE, WRONG_TYPE], "(NaN + infinite + wrong type) / events"),
    ];
    for (metric, kind, cells, recipe) in kinds {
        if wanted.has(metric) {
            let design = sides.design(kind, sides.current.events());
            out.push(rate(metric, of(&sides.reference, cells), of(&sides.current, cells), design, recipe));
        }
    }
}

pub(super) fn rate(metric: Metric, reference: Rate, current: Rate, design: DesignEffects, recipe: &'static str) -> Reading {
    Reading {
        metric,
        value: current.value(),
        p_value: p_value(reference, current, Alternative::TwoSided, design),
        n: current.total,
        n_reference: reference.total,
        error: None,
        recipe,
    }
}
