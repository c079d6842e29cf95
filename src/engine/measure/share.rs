//! What is measured over the shares of coarse bins or levels, the order of which does not matter.

use std::f64::consts::LN_2;

use crate::baseline::Kind;
use crate::baseline::layout::NumericBins;
use crate::event::Metric;
use crate::stats::contingency::{chi_square, g_test};
use crate::stats::divergence::{
    hellinger, hellinger_of, js_distance, js_distance_of, kl_divergence, linf, psi, psi_of_filled, psi_of_successors, total_variation,
};
use crate::stats::equal_width;
use crate::stats::evidence::{Effect, Pooled};
use crate::stats::null::NullTable;

use super::column::Sides;
use super::wanted::Wanted;
use super::{Reading, Recipe};

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
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// Coarse bins of a number, made of these.
    Deciles(&'a NumericBins),
    /// Levels, other, unseen.
    Levels,
}

/// Adds the metrics over shares among `wanted`: effects over `counts`, evidence over `tested`.
pub fn measure(
    sides: &Sides<'_>,
    counts: (&[u64], &[u64]),
    tested: (&[u64], &[u64]),
    cells: Cells<'_>,
    wanted: Wanted,
    out: &mut Vec<Reading>,
) {
    let noise = sides.noise(Kind::Cells);
    let pooled = Pooled::new(tested.0, tested.1);
    let freedom = sides.freedom(sides.current.valid);
    let test = |effect| {
        let evidence = pooled.as_ref().zip(noise).and_then(|(pooled, noise)| pooled.test_of(effect, noise, freedom));
        evidence.map(|evidence| evidence.p_value)
    };
    let look_up = |effect: Option<f64>, table: Option<&NullTable>| {
        effect.zip(noise).zip(table).and_then(|((effect, noise), table)| table.p_value(effect, noise))
    };
    for metric in METRICS.into_iter().filter(|metric| wanted.has(*metric)) {
        let p = match metric {
            Metric::Psi => test(Effect::Psi),
            Metric::JsDistance => test(Effect::JsDistance),
            Metric::KlDivergence => test(Effect::KlDivergence),
            Metric::Hellinger => test(Effect::Hellinger),
            Metric::ChiSquare => test(Effect::ChiSquare),
            Metric::GTest => test(Effect::GTest),
            Metric::TotalVariation => look_up(total_variation(tested.0, tested.1), sides.nulls.map(|nulls| &nulls.total_variation)),
            _ => look_up(linf(tested.0, tested.1), sides.nulls.map(|nulls| &nulls.linf)),
        };
        let (value, recipe) = by_tool(sides, counts, cells, metric).unwrap_or_else(|| own(counts, cells, metric));
        let mut reading = sides.reading(metric, value, p, recipe);
        if matches!(cells, Cells::Deciles(_))
            && let Some(needed) = sides.recipe.refusal(metric)
        {
            (reading.value, reading.error, reading.recipe) = (None, Some("recipe_needs_rows"), needed);
        }
        out.push(reading);
    }
}

/// A metric and how it is computed.
type Effected = (Option<f64>, &'static str);

/// As driftline has it.
fn own((r, c): (&[u64], &[u64]), cells: Cells<'_>, metric: Metric) -> Effected {
    let named = |deciles, levels| if matches!(cells, Cells::Levels) { levels } else { deciles };
    match metric {
        Metric::Psi => (psi(r, c), named("deciles, floor 1e-4", "levels, floor 1e-4")),
        Metric::JsDistance => (js_distance(r, c), named("deciles, base 2, square root", "levels, base 2, square root")),
        Metric::KlDivergence => (
            kl_divergence(r, c),
            named("deciles, reference || current, nats, floor 1e-4", "levels, reference || current, nats, floor 1e-4"),
        ),
        Metric::Hellinger => (hellinger(r, c), named("deciles", "levels")),
        Metric::ChiSquare => {
            (chi_square(r, c), named("deciles, two-sample, p over cells of 5 or more", "levels, two-sample, p over cells of 5 or more"))
        }
        Metric::GTest => {
            (g_test(r, c), named("deciles, two-sample, p over cells of 5 or more", "levels, two-sample, p over cells of 5 or more"))
        }
        Metric::TotalVariation => (total_variation(r, c), named("deciles", "levels")),
        _ => (linf(r, c), named("deciles", "levels")),
    }
}

/// As the tool has it that the model's recipe names; `None` for what that tool does not have.
fn by_tool(sides: &Sides<'_>, (r, c): (&[u64], &[u64]), cells: Cells<'_>, metric: Metric) -> Option<Effected> {
    let levels = match cells {
        Cells::Levels => Some(metric),
        Cells::Deciles(_) => None,
    };
    Some(match (sides.recipe, levels) {
        (Recipe::Evidently, Some(Metric::Psi)) => (psi_of_filled(r, c), "evidently: levels, empty ones 1e-4"),
        (Recipe::Evidently, Some(Metric::JsDistance)) => {
            (js_distance(r, c).map(|distance| distance * LN_2.sqrt()), "evidently: levels, base e, square root")
        }
        (Recipe::Evidently, Some(Metric::Hellinger)) => (hellinger(r, c), "evidently: levels"),
        (Recipe::Azure, Some(Metric::Psi)) => (psi_of_successors(r, c), "azure: levels, one more in each"),
        (Recipe::Azure, Some(Metric::JsDistance)) => (js_distance(r, c), "azure: levels, base 2, square root"),
        (Recipe::Tfdv, Some(Metric::JsDistance)) => {
            (js_distance(r, c).map(|distance| distance * distance), "tfdv: levels, base 2, divergence")
        }
        (Recipe::Tfdv, Some(Metric::Linf)) => (linf(r, c), "tfdv: levels"),
        (Recipe::Nannyml, Some(Metric::JsDistance)) => (js_distance(r, c), "nannyml: levels, base 2, square root"),
        (Recipe::Nannyml, Some(Metric::Hellinger)) => (hellinger(r, c), "nannyml: levels"),
        (Recipe::Nannyml, Some(Metric::Linf)) => (linf(r, c), "nannyml: levels"),
        (Recipe::Nannyml, None) if matches!(metric, Metric::JsDistance | Metric::Hellinger) => {
            let Cells::Deciles(bins) = cells else { return None };
            let shares = equal_width::shares(&bins.edges, (bins.min, bins.max), sides.reference.data, sides.current.data);
            match metric {
                Metric::JsDistance => (
                    shares.map(|shares| js_distance_of(&shares)),
                    "nannyml: Doane's bins of the reference and one of leftovers, base 2, square root",
                ),
                _ => (shares.map(|shares| hellinger_of(&shares)), "nannyml: Doane's bins of the reference and one of leftovers"),
            }
        }
        _ => return None,
    })
}
