//! What is measured over the fine bins of a number, and from its exact sums.

use crate::baseline::Kind;
use crate::baseline::layout::NumericBins;
use crate::event::Metric;
use crate::stats::moments::{Sums, mean_shift};
use crate::stats::null::{NullTable, is_frequent};
use crate::stats::quantile::quantile;
use crate::stats::rate::Rate;
use crate::stats::wasserstein::{self, Tails};
use crate::stats::welch::{Sample, welch};
use crate::stats::{anderson_darling, cramer_von_mises, energy, ks};

use super::column::{Side, Sides, rate};
use super::wanted::Wanted;
use super::{Reading, Recipe, share};

/// Quantiles that are reported, with their levels.
const QUANTILES: [(Metric, f64); 5] =
    [(Metric::Q05, 0.05), (Metric::Q25, 0.25), (Metric::Q50, 0.5), (Metric::Q75, 0.75), (Metric::Q95, 0.95)];

/// Least standard deviation that Evidently and Azure divide by.
const LEAST_SPREAD: f64 = 0.001;

/// Why a spread has no value: squares beyond the range of numbers belong to it.
const TOO_LARGE: &str = "values_too_large";
/// The root of the largest number: larger values have no square.
const LARGEST_ROOT: f64 = 1.3e154;

/// Adds the metrics of a number among `wanted`.
pub fn measure(sides: &Sides<'_>, bins: &NumericBins, wanted: Wanted, out: &mut Vec<Reading>) {
    if wanted.has_any(&share::METRICS) {
        let (r, c) = (bins.coarse(sides.reference.data), bins.coarse(sides.current.data));
        share::measure(sides, (&r, &c), (&r, &c), share::Cells::Deciles(bins), wanted, out);
    }
    distances(sides, bins, wanted, out);
    tests(sides, bins, wanted, out);
    describe(sides, bins, wanted, out);
    if wanted.has(Metric::OutOfRangeRate) {
        let outside = |side: &Side<'_>| Rate {
            hits: side.data.first().copied().unwrap_or(0) + side.data.last().copied().unwrap_or(0),
            total: side.valid,
        };
        let recipe = "share of valid values outside the reference range";
        let design = sides.design(Kind::Order, sides.current.valid);
        out.push(rate(Metric::OutOfRangeRate, outside(&sides.reference), outside(&sides.current), design, recipe));
    }
}

/// What a side holds beyond the edges.
fn tails(side: &Side<'_>, bins: &NumericBins) -> Tails {
    side.moments.map_or_else(Tails::default, |moments| {
        Tails::from_sums(&bins.edges, side.data, moments.below.value(), moments.above.value(), bins.center, bins.scale)
    })
}

/// Distances in the unit of the feature.
fn distances(sides: &Sides<'_>, bins: &NumericBins, wanted: Wanted, out: &mut Vec<Reading>) {
    let (r, c) = (sides.reference.data, sides.current.data);
    // A mean that moves moves all of a distance at once: its tail is that of one variable.
    let noise = sides.noise(Kind::Squares);
    let look_up = |effect: Option<f64>, table: Option<&NullTable>| {
        effect.zip(noise).zip(table).and_then(|((effect, noise), table)| table.p_value(effect, noise))
    };
    let (of_reference, of_current) = (tails(&sides.reference, bins), tails(&sides.current, bins));
    // A value beyond all of the reference is in no simulation of it: as rare as a budget counts, chance alone brings some, far out.
    let known = if sides.has_budget { of_current.capped(c, of_reference, r) } else { of_current };
    if wanted.has_any(&[Metric::Wasserstein, Metric::WassersteinNormed]) {
        let distance_to = |current: Tails| wasserstein::distance(&bins.edges, r, c, of_reference, current);
        let distance = distance_to(of_current);
        let surprise = if known == of_current { distance } else { distance_to(known) };
        let p = look_up(surprise, sides.nulls.and_then(|nulls| nulls.wasserstein.as_ref()));
        if wanted.has(Metric::Wasserstein) {
            let recipe = match sides.recipe {
                Recipe::Nannyml => "nannyml: units of the feature, over fine reference bins, linear inside",
                _ => "fine reference bins, linear inside, units of the feature",
            };
            out.push(sides.reading(Metric::Wasserstein, distance, p, recipe));
        }
        if wanted.has(Metric::WassersteinNormed) {
            let (population, sample) = sides.summary.map_or((None, None), |summary| (summary.sd_population, summary.sd));
            let (sd, recipe) = match sides.recipe {
                Recipe::Evidently => (
                    population.unwrap_or(0.0).max(LEAST_SPREAD),
                    "evidently: wasserstein / reference standard deviation (ddof 0), at least 0.001",
                ),
                Recipe::Azure => {
                    (sample.unwrap_or(0.0).max(LEAST_SPREAD), "azure: wasserstein / reference standard deviation (ddof 1), at least 0.001")
                }
                _ => (population.unwrap_or(0.0), "wasserstein / reference standard deviation (ddof 0)"),
            };
            let normed = distance.and_then(|distance| wasserstein::normed(distance, sd));
            let mut reading = sides.reading(Metric::WassersteinNormed, normed, p, recipe);
            if distance.is_some() && normed.is_none() {
                reading.error = Some("constant_reference");
            }
            out.push(reading);
        }
    }
    if wanted.has(Metric::Energy) {
        let distance_to = |current: Tails| energy::distance(&bins.edges, r, c, of_reference, current);
        let distance = distance_to(of_current);
        let surprise = if known == of_current { distance } else { distance_to(known) };
        let p = look_up(surprise, sides.nulls.and_then(|nulls| nulls.energy.as_ref()));
        out.push(sides.reading(Metric::Energy, distance, p, "fine reference bins, linear inside, root of the feature's unit"));
    }
}

/// Statistics of the distribution functions, and of the means.
fn tests(sides: &Sides<'_>, bins: &NumericBins, wanted: Wanted, out: &mut Vec<Reading>) {
    let (r, c) = (sides.reference.data, sides.current.data);
    let noise = sides.noise(Kind::Order);
    if wanted.has(Metric::Ks) {
        let d = ks::statistic(r, c);
        let by_one_sample = || ks::p_value_of_one_sample(d?, sides.reference.valid, sides.current.valid);
        let by_limit = || ks::p_value(d?, noise?);
        let (p, recipe) = match sides.recipe {
            Recipe::Evidently => (by_one_sample(), "evidently: D over fine reference bins, the tool's number is the p-value"),
            Recipe::Azure => (by_one_sample(), "azure: D over fine reference bins, the tool's number is the p-value"),
            Recipe::Nannyml => (by_limit(), "nannyml: D over fine reference bins"),
            Recipe::Driftline | Recipe::Tfdv => (by_limit(), "two-sided D over fine reference bins, asymptotic p"),
        };
        out.push(sides.reading(Metric::Ks, d, p, recipe));
    }
    // The laws hold where no value is frequent; else what was simulated does, in baselines that have it.
    let evidence =
        |square: Option<f64>, table: fn(&crate::stats::null::Nulls) -> Option<&NullTable>, law: &dyn Fn(f64, f64) -> Option<f64>| {
            let (square, noise) = (square?, sides.noise(Kind::Squares)?);
            match sides.nulls.and_then(table) {
                Some(table) => table.p_value(square.sqrt(), noise),
                None if is_frequent(r) => None,
                None => law(square, noise),
            }
        };
    if wanted.has(Metric::CramerVonMises) {
        let square = cramer_von_mises::mean_square(&bins.edges, r, c);
        let p = evidence(square, |nulls| nulls.cramer_von_mises.as_ref(), &cramer_von_mises::p_value);
        let value = cramer_von_mises::statistic(&bins.edges, r, c);
        out.push(sides.reading(Metric::CramerVonMises, value, p, "T of Anderson over fine reference bins, mid-ranks"));
    }
    if wanted.has(Metric::AndersonDarling) {
        let square = anderson_darling::mean_square(&bins.edges, r, c);
        let sizes = (sides.reference.valid, sides.current.valid);
        let p = evidence(square, |nulls| nulls.anderson_darling.as_ref(), &|square, noise| anderson_darling::p_value(square, sizes, noise));
        let value = square.and_then(|square| anderson_darling::of_mean_square(square, sizes));
        out.push(sides.reading(Metric::AndersonDarling, value, p, "two-sample A^2 over fine reference bins, mid-ranks, normalised"));
    }
    if wanted.has(Metric::MeanShift)
        && let (Some(reference), Some(current)) = (sums(&sides.reference), sums(&sides.current))
    {
        let value = mean_shift(&reference, &current);
        let samples =
            reference.sample().zip(current.sample()).filter(|_| !lacks_squares(&sides.reference) && !lacks_squares(&sides.current));
        // Skewed values whose rare large ones have not come have a low mean and a low spread, and so a t far out.
        let least = |reference: Sample| if sides.has_budget { reference.variance } else { 0.0 };
        let test = samples.and_then(|(r, c)| welch(r, Sample { variance: c.variance.max(least(r)), ..c }, sides.design(Kind::Mean, c.n)));
        let recipe = if sides.has_budget {
            "(mean current - mean reference) / reference standard deviation (ddof 1), Welch's p, spread at least the reference's"
        } else {
            "(mean current - mean reference) / reference standard deviation (ddof 1), Welch's p"
        };
        let mut reading = sides.reading(Metric::MeanShift, value, test.map(|test| test.p_value), recipe);
        if value.is_none() && reference.standard_deviation(1) == Some(0.0) {
            reading.error = Some("constant_reference");
        }
        out.push(reading);
    }
}

/// What the window alone looks like.
fn describe(sides: &Sides<'_>, bins: &NumericBins, wanted: Wanted, out: &mut Vec<Reading>) {
    if let Some(sums) = sums(&sides.current) {
        if wanted.has(Metric::Mean) {
            out.push(sides.reading(Metric::Mean, sums.mean_in_units(bins.center, bins.scale), None, "exact sum / n"));
        }
        if wanted.has(Metric::Std) {
            let lacking = lacks_squares(&sides.current);
            let value = sums.standard_deviation_in_units(bins.scale, 1).filter(|_| !lacking);
            let mut reading = sides.reading(Metric::Std, value, None, "exact sums, ddof 1");
            reading.error = lacking.then_some(TOO_LARGE);
            out.push(reading);
        }
    }
    for (metric, level) in QUANTILES.into_iter().filter(|(metric, _)| wanted.has(*metric)) {
        let value = quantile(&bins.edges, sides.current.data, tails(&sides.current, bins), level);
        out.push(sides.reading(metric, value, None, "fine reference bins, linear inside"));
    }
}

/// Whether squares were left out of the sums because they are beyond the range of numbers. Values so far out lie beyond the edges,
/// where each side has a sum of its own.
fn lacks_squares(side: &Side<'_>) -> bool {
    side.moments.is_some_and(|moments| [&moments.below, &moments.above].iter().any(|sum| sum.value().abs() > LARGEST_ROOT))
}

fn sums(side: &Side<'_>) -> Option<Sums> {
    let moments = side.moments?;
    Some(Sums { count: side.valid, sum: moments.sum.value(), squares: moments.squares.value() })
}
