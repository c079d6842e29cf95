//! The effects at which measurements of a column become a breach at a level: what a p-value is worth in the units people know.
//!
//! Shown, never judged by: a measurement is held against the level by its own p-value, which knows the cells it came from.

use std::f64::consts::LN_2;

use crate::baseline::{Baseline, ColumnKind, Kind};
use crate::event::{Metric, Subject};
use crate::stats::evidence::{Effect, Pooled};
use crate::stats::null::{NullTable, is_frequent};
use crate::stats::rate::{Alternative, Rate, excess_p_value, p_value};
use crate::stats::{anderson_darling, cramer_von_mises, ks};

use super::Wanted;
use super::column::Sides;

/// Halvings of an interval: more than a double has.
const HALVINGS: usize = 80;

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub subject: Subject,
    /// The metric.
    pub metric: Metric,
    /// The effect from which on the p-value is at most the level; `None` where no window of this size reaches it.
    pub effect: Option<f64>,
    /// By how much dependence between rows inflates the variance in the window.
    pub design_effect: f64,
}

impl Threshold {
    /// Those of the column of a number, at a level, for windows of `n` valid values that are distributed like the reference.
    #[must_use]
    pub fn of_column(baseline: &Baseline, sides: &Sides<'_>, number: usize, n: u64, level: f64, wanted: Wanted) -> Vec<Threshold> {
        let Some(column) = baseline.layout.columns.get(number) else { return Vec::new() };
        let r = sides.reference.data;
        let m = sides.reference.valid;
        let noise = |kind| sides.design(kind, n).noise(m, n);
        let table = |table: Option<&NullTable>, kind| table.zip(noise(kind)).and_then(|(table, noise)| table.effect(level, noise));
        let cells = |effect| {
            let (coarse, expected) = match &column.kind {
                ColumnKind::Numeric(bins) => (bins.coarse(r), bins.coarse(&scaled(r, n))),
                ColumnKind::Categorical(_) => (r.to_vec(), scaled(r, n)),
                ColumnKind::Embedding(_) => return None,
            };
            let noise = noise(Kind::Cells)?;
            let statistic = Pooled::new(&coarse, &expected)?.critical(level, sides.freedom(n))?;
            Some(match effect {
                Effect::Psi => statistic * noise,
                Effect::KlDivergence => statistic * noise / 2.0,
                Effect::JsDistance => (statistic * noise / (8.0 * LN_2)).sqrt(),
                Effect::Hellinger => (statistic * noise / 8.0).sqrt(),
                // The statistic as it is shown supposes independent rows.
                Effect::ChiSquare | Effect::GTest => statistic * noise / (1.0 / real(m) + 1.0 / real(n)),
            })
        };
        let rate = |hits: u64, total: u64, kind| {
            let reference = Rate { hits, total };
            let design = sides.design(kind, n);
            let p = |hits: u64| p_value(reference, Rate { hits, total: n }, Alternative::TwoSided, design);
            least(reference.value().map_or(0, |share| whole(share * real(n))), n, level, p).map(|hits| real(hits) / real(n))
        };
        let (nulls, unseen) = (sides.nulls, sides.summary.and_then(|summary| summary.expected_unseen));
        let spread = sides.summary.and_then(|summary| Some(summary.sd_population? / summary.sd?));
        let sd = sides.summary.and_then(|summary| summary.sd_population);
        let outside = r.first().copied().unwrap_or(0) + r.last().copied().unwrap_or(0);
        let (is_number, is_categorical) =
            (matches!(column.kind, ColumnKind::Numeric(_)), matches!(column.kind, ColumnKind::Categorical(_)));
        let of = |metric: Metric| -> Option<(Kind, Option<f64>)> {
            let wasserstein = || table(nulls.and_then(|nulls| nulls.wasserstein.as_ref()), Kind::Squares);
            let by_law = |table: Option<&NullTable>, law: &dyn Fn(f64, f64) -> Option<f64>| {
                let noise = noise(Kind::Squares)?;
                match table {
                    Some(table) => table.effect(level, noise).map(|root| root * root),
                    None if is_frequent(r) => None,
                    None => inverse(level, |square| law(square, noise)),
                }
            };
            Some(match metric {
                Metric::Psi => (Kind::Cells, cells(Effect::Psi)),
                Metric::KlDivergence => (Kind::Cells, cells(Effect::KlDivergence)),
                Metric::JsDistance => (Kind::Cells, cells(Effect::JsDistance)),
                Metric::Hellinger => (Kind::Cells, cells(Effect::Hellinger)),
                Metric::ChiSquare => (Kind::Cells, cells(Effect::ChiSquare)),
                Metric::GTest => (Kind::Cells, cells(Effect::GTest)),
                Metric::TotalVariation => (Kind::Cells, table(nulls.map(|nulls| &nulls.total_variation), Kind::Cells)),
                Metric::Linf => (Kind::Cells, table(nulls.map(|nulls| &nulls.linf), Kind::Cells)),
                Metric::Ks if is_number => {
                    (Kind::Order, noise(Kind::Order).and_then(|noise| inverse(level, |d| ks::p_value(d, noise)).filter(|d| *d <= 1.0)))
                }
                Metric::Wasserstein if is_number => (Kind::Squares, wasserstein()),
                Metric::WassersteinNormed if is_number => {
                    (Kind::Squares, wasserstein().zip(sd.filter(|sd| *sd > 0.0)).map(|(distance, sd)| distance / sd))
                }
                Metric::Energy if is_number => (Kind::Squares, table(nulls.and_then(|nulls| nulls.energy.as_ref()), Kind::Squares)),
                Metric::CramerVonMises if is_number => {
                    let square = by_law(nulls.and_then(|nulls| nulls.cramer_von_mises.as_ref()), &cramer_von_mises::p_value);
                    (Kind::Squares, square.map(|square| square / (1.0 / real(m) + 1.0 / real(n))))
                }
                Metric::AndersonDarling if is_number => {
                    let law = |square, noise| anderson_darling::p_value(square, (m, n), noise);
                    let square = by_law(nulls.and_then(|nulls| nulls.anderson_darling.as_ref()), &law);
                    (Kind::Squares, square.and_then(|square| anderson_darling::of_mean_square(square, (m, n))))
                }
                Metric::MeanShift if is_number => {
                    let deviations = inverse(level, |z| Some(two_sided(z))).zip(noise(Kind::Mean)).zip(spread);
                    (Kind::Mean, deviations.map(|((z, noise), spread)| z * noise.sqrt() * spread))
                }
                Metric::NullRate => (Kind::Null, rate(sides.reference.nulls(), sides.reference.events(), Kind::Null)),
                Metric::InvalidRate => (Kind::Invalid, rate(sides.reference.invalid(), sides.reference.events(), Kind::Invalid)),
                Metric::OutOfRangeRate if is_number => (Kind::Order, rate(outside, m, Kind::Order)),
                Metric::NewCategoryRate if is_categorical => {
                    let expected = unseen.unwrap_or(0.0);
                    let p = |hits| excess_p_value(expected, m, Rate { hits, total: n }, sides.design(Kind::Cells, n));
                    (Kind::Cells, least(whole(expected * real(n)), n, level, p).map(|hits| real(hits) / real(n)))
                }
                _ => return None,
            })
        };
        let metrics = Metric::ALL.into_iter().filter(|metric| wanted.has(*metric));
        metrics
            .filter_map(|metric| {
                let (kind, effect) = of(metric)?;
                let design_effect = sides.design(kind, n).current;
                Some(Threshold { subject: column.subject.clone(), metric, effect, design_effect })
            })
            .collect()
    }
}

#[allow(clippy::cast_precision_loss)] // Counts of rows.
fn real(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A share of a count.
fn whole(count: f64) -> u64 {
    count.max(0.0).round() as u64
}

/// Counts of the reference as a window of `n` would have them.
fn scaled(counts: &[u64], n: u64) -> Vec<u64> {
    let total: u64 = counts.iter().sum();
    counts.iter().map(|count| whole(real(*count) / real(total.max(1)) * real(n))).collect()
}

fn two_sided(z: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    2.0 * Normal::standard().sf(z)
}

/// The least effect whose p-value is at most `level`, for p-values that fall from 1.
fn inverse(level: f64, p: impl Fn(f64) -> Option<f64>) -> Option<f64> {
    let mut high = 1e-6;
    while p(high)? > level {
        high *= 2.0;
        if !high.is_finite() {
            return None;
        }
    }
    let mut low = 0.0;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if p(middle)? > level { low = middle } else { high = middle }
    }
    Some(high)
}

/// The least count from `from` up to `n` whose p-value is at most `level`.
fn least(from: u64, n: u64, level: f64, p: impl Fn(u64) -> Option<f64>) -> Option<u64> {
    let (mut low, mut high) = (from.min(n), n);
    if p(high)? > level {
        return None;
    }
    while low < high {
        let middle = u64::midpoint(low, high);
        if p(middle)? > level { low = middle + 1 } else { high = middle }
    }
    Some(high)
}
