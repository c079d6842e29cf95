//! What is measured over the shares of coarse bins or levels, the order of which does not matter.

use crate::event::Metric;
use crate::stats::contingency::{chi_square, g_test};
use crate::stats::divergence::{hellinger, js_distance, kl_divergence, linf, psi, total_variation};
use crate::stats::evidence::{Effect, Pooled};
use crate::stats::null::NullTable;

use super::Reading;
use super::column::Sides;
use super::wanted::Wanted;

/// The metrics of this file.
pub const METRICS: [Metric; 8] = [
    Metric::Psi,
    Metric::JsDistance,
    Metric::ChiSquare,
    Metric::TotalVariation,
    Metric::KlDivergence,
    Metric::Hellinger,
    Metric::Linf,
    Metric::GTest,
];

/// What the cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// Coarse bins of a number.
    Deciles,
    /// Levels, other, unseen.
    Levels,
}

impl Cells {
    /// How a metric is computed over them.
    fn recipe(self, metric: Metric) -> &'static str {
        match (self, metric) {
            (Cells::Deciles, Metric::Psi) => "deciles, floor 1e-4",
            (Cells::Levels, Metric::Psi) => "levels, floor 1e-4",
            (Cells::Deciles, Metric::JsDistance) => "deciles, base 2, square root",
            (Cells::Levels, Metric::JsDistance) => "levels, base 2, square root",
            (Cells::Deciles, Metric::KlDivergence) => "deciles, reference || current, nats, floor 1e-4",
            (Cells::Levels, Metric::KlDivergence) => "levels, reference || current, nats, floor 1e-4",
            (Cells::Deciles, Metric::ChiSquare | Metric::GTest) => "deciles, two-sample, p over cells of 5 or more",
            (Cells::Levels, Metric::ChiSquare | Metric::GTest) => "levels, two-sample, p over cells of 5 or more",
            (Cells::Deciles, _) => "deciles",
            (Cells::Levels, _) => "levels",
        }
    }
}

/// Adds the metrics over shares among `wanted`: effects over `cells`, evidence over `tested`.
pub fn measure(
    sides: &Sides<'_>,
    (r, c): (&[u64], &[u64]),
    tested: (&[u64], &[u64]),
    cells: Cells,
    wanted: Wanted,
    out: &mut Vec<Reading>,
) {
    let noise = sides.noise();
    let pooled = Pooled::new(tested.0, tested.1);
    let test = |effect| pooled.as_ref().zip(noise).and_then(|(pooled, noise)| pooled.test(effect, noise)).map(|evidence| evidence.p_value);
    let look_up = |effect: Option<f64>, table: Option<&NullTable>| {
        effect.zip(noise).zip(table).and_then(|((effect, noise), table)| table.p_value(effect, noise))
    };
    for metric in METRICS.into_iter().filter(|metric| wanted.has(*metric)) {
        let (value, p) = match metric {
            Metric::Psi => (psi(r, c), test(Effect::Psi)),
            Metric::JsDistance => (js_distance(r, c), test(Effect::JsDistance)),
            Metric::KlDivergence => (kl_divergence(r, c), test(Effect::KlDivergence)),
            Metric::Hellinger => (hellinger(r, c), test(Effect::Hellinger)),
            Metric::ChiSquare => (chi_square(r, c), test(Effect::ChiSquare)),
            Metric::GTest => (g_test(r, c), test(Effect::GTest)),
            Metric::TotalVariation => {
                let moved = total_variation(tested.0, tested.1);
                (total_variation(r, c), look_up(moved, sides.nulls.map(|nulls| &nulls.total_variation)))
            }
            Metric::Linf => (linf(r, c), look_up(linf(tested.0, tested.1), sides.nulls.map(|nulls| &nulls.linf))),
            _ => continue,
        };
        out.push(sides.reading(metric, value, p, cells.recipe(metric)));
    }
}
