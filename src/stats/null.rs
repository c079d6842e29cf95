//! Simulated null distributions: what an effect looks like when nothing has changed.
//!
//! For effects without a known limit (total variation, linf, Wasserstein, energy, and where values are frequent Cramér-von
//! Mises and Anderson-Darling) [`DRAWS`] multinomial samples of
//! [`NOMINAL_SIZE`] rows are drawn from the reference's own shares and compared with them. The effect divided by
//! `sqrt(a)`, `a = 1/n + 1/m`, has about the same distribution at all sizes, so one table serves every window.
//!
//! Drawing one sample against fixed shares, and not two samples, was measured to hold the level better and costs half: with 100
//! Zipf levels two samples of 1,000 alarm in 6 to 9 % of quiet windows at a nominal 5 %, because rare levels
//! are rarer still at that size; one sample alarms in 4 to 7 %, over references of 10,000 and 50,000 rows and windows of 500 to
//! 20,000, for total variation over deciles and levels and for Wasserstein over normal, log-normal and Pareto bins. Small windows err on the
//! quiet side. Weak where the reference itself is small: with 2,000 rows on both sides 5 to 9 %, and with 1,000 rows against
//! larger windows over 20 % for rare levels, as the reference's own chance is then not in the table.

use serde::{Deserialize, Serialize};

use super::counts::real;
use super::divergence::{linf, total_variation};
use super::random::{AliasTable, SplitMix64};
use super::wasserstein::{Tails, distance};
use super::{anderson_darling, cramer_von_mises, energy};

/// Simulated samples per table: p-values are resolved to 1 in 2,001.
pub const DRAWS: u32 = 2000;
/// Rows of each simulated sample. Typical of `1 / a`; a smaller size would make rare cells too rare.
pub const NOMINAL_SIZE: u64 = 1000;
/// The p-value of an effect beyond all draws of a table without a spread in its tail.
pub const LEAST_P: f64 = 1.0 / (DRAWS as f64 + 1.0);

/// Share of a cell in the reference from which on its values are frequent: the limit laws of Cramér-von Mises and
/// Anderson-Darling hold for values that do not repeat. With sixty alike atoms they still keep a level of 5 % (a test says so).
pub const FREQUENT: f64 = 0.02;

/// Levels of the stored quantiles beyond 0, 0.01, ... 0.99, where alerts are decided.
const TAIL_LEVELS: [f64; 7] = [0.992, 0.994, 0.996, 0.998, 0.999, 0.9995, 1.0];
/// The median, from which the body is measured.
const MEDIAN: usize = 50;
/// The stretch from the quantile of 0.95 to that of 0.998 in stretches from the median to that of 0.95: of the amount of a normal variable,
/// and of an exponential one.
const STRETCH: (f64, f64) = (0.88, 1.39);
/// The quantile from which on the tail is measured: that of 0.95.
const BODY: usize = 95;
/// The quantile up to which it is measured, and beyond which it goes on: that of 0.998, above which four draws lie.
const TAIL: usize = 103;
/// Number of stored quantiles.
const QUANTILES: usize = 100 + TAIL_LEVELS.len();

/// Quantiles of a simulated effect divided by `sqrt(1/n + 1/m)`. Serialises as the plain list of its quantiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct NullTable {
    quantiles: Vec<f64>,
}

/// A list of numbers that is not a null table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a null table is a list of {QUANTILES} finite numbers in ascending order")]
pub struct InvalidTable;

impl TryFrom<Vec<f64>> for NullTable {
    type Error = InvalidTable;

    fn try_from(quantiles: Vec<f64>) -> Result<NullTable, InvalidTable> {
        let valid = quantiles.len() == QUANTILES && quantiles.iter().all(|q| q.is_finite()) && quantiles.is_sorted();
        if valid { Ok(NullTable { quantiles }) } else { Err(InvalidTable) }
    }
}

impl From<NullTable> for Vec<f64> {
    fn from(table: NullTable) -> Vec<f64> {
        table.quantiles
    }
}

impl NullTable {
    /// Simulates the tables of `K` effects over the same draws. `effects` gets the reference counts and the drawn ones.
    ///
    /// The same reference and seed give the same tables. `None` where the reference is empty or an effect has no value.
    pub fn simulate<const K: usize>(
        reference: &[u64],
        seed: u64,
        mut effects: impl FnMut(&[u64], &[u64]) -> [Option<f64>; K],
    ) -> Option<[NullTable; K]> {
        let shares = AliasTable::new(reference)?;
        let mut random = SplitMix64::new(seed);
        let mut drawn = vec![0; reference.len()];
        let mut values: [Vec<f64>; K] = std::array::from_fn(|_| Vec::with_capacity(DRAWS as usize));
        let scale = real(NOMINAL_SIZE).sqrt();
        for _ in 0..DRAWS {
            shares.sample(NOMINAL_SIZE, &mut random, &mut drawn);
            for (values, effect) in values.iter_mut().zip(effects(reference, &drawn)) {
                values.push(effect.filter(|effect| effect.is_finite())? * scale);
            }
        }
        Some(values.map(|mut values| {
            values.sort_unstable_by(f64::total_cmp);
            NullTable { quantiles: (0..QUANTILES).map(|index| quantile(&values, level(index))).collect() }
        }))
    }

    /// The quantiles, in ascending order: levels 0, 0.01, ... 0.99, then seven of the tail up to the largest draw.
    #[must_use]
    pub fn quantiles(&self) -> &[f64] {
        &self.quantiles
    }

    /// The probability of an effect at least this large without drift, where `noise` is `1/n + 1/m` with each size
    /// divided by its design effect.
    ///
    /// Linear between the quantiles (a little large in the convex tail), 1 at or below the smallest draw. Beyond the quantile of 0.998, where
    /// few draws are left, the tail goes on as that of a norm of normal variables (Borell 1975, Tsirelson, Ibragimov and Sudakov
    /// 1976): its logarithm falls with the square of the effect, as steeply as it did from that of 0.95 to there. That is less
    /// steep than it gets, so the p-value is rather too large. Where the draws have a heavier tail, as of skewed values, it falls with a
    /// lower power, down to the first: that of an exponential variable. `None` where an argument is not finite or `noise` is not
    /// positive.
    #[must_use]
    pub fn p_value(&self, effect: f64, noise: f64) -> Option<f64> {
        if !effect.is_finite() || !noise.is_finite() || noise <= 0.0 {
            return None;
        }
        let x = effect / noise.sqrt();
        if let Some(p) = self.tail(x) {
            return Some(p);
        }
        let above = self.quantiles.partition_point(|quantile| *quantile < x);
        let Some(upper) = self.quantiles.get(above) else { return Some(LEAST_P) };
        let Some((before, lower)) = above.checked_sub(1).and_then(|before| Some((before, self.quantiles.get(before)?))) else {
            return Some(1.0);
        };
        let (far, near) = (exceedance(level(before)), exceedance(level(above)));
        // `lower < x <= upper`, so the width is positive.
        Some((near + (far - near) * (upper - x) / (upper - lower)).clamp(LEAST_P, 1.0))
    }

    /// The p-value beyond [`TAIL`]; `None` before, and where the draws of the tail are all the same.
    fn tail(&self, x: f64) -> Option<f64> {
        let End { tail, steepness, power } = self.end()?;
        let p = || exceedance(level(TAIL)) * (-steepness * (x.powf(power) - tail.powf(power))).exp();
        (x > tail).then(|| p().max(f64::MIN_POSITIVE))
    }

    /// The effect whose p-value is `level`, where `noise` is as in [`NullTable::p_value`].
    #[must_use]
    pub fn effect(&self, level: f64, noise: f64) -> Option<f64> {
        if !(level > 0.0 && level < 1.0 && noise > 0.0 && noise.is_finite()) {
            return None;
        }
        if let Some(End { tail, steepness, power }) = self.end()
            && level < exceedance(self::level(TAIL))
        {
            let fallen = (exceedance(self::level(TAIL)) / level).ln();
            return Some((tail.powf(power) + fallen / steepness).powf(1.0 / power) * noise.sqrt());
        }
        // P-values fall: the first quantile at which they are small enough, and between it and the one before.
        let place = self.quantiles.iter().enumerate().position(|(index, _)| exceedance(self::level(index)) <= level)?;
        let (upper, lower) = (self.quantiles.get(place)?, self.quantiles.get(place.checked_sub(1)?)?);
        let (far, near) = (exceedance(self::level(place - 1)), exceedance(self::level(place)));
        Some((upper - (upper - lower) * (level - near) / (far - near)) * noise.sqrt())
    }

    fn end(&self) -> Option<End> {
        let quantile = |place: usize| self.quantiles.get(place).copied();
        let (median, body, tail) = (quantile(MEDIAN)?, quantile(BODY)?, quantile(TAIL)?);
        let fallen = (exceedance(level(BODY)) / exceedance(level(TAIL))).ln();
        let stretch = if body > median { (tail - body) / (body - median) } else { STRETCH.1 };
        let power = 2.0 - ((stretch - STRETCH.0) / (STRETCH.1 - STRETCH.0)).clamp(0.0, 1.0);
        (body < tail).then(|| End { tail, steepness: fallen / (tail.powf(power) - body.powf(power)), power })
    }
}

/// How a table goes on.
struct End {
    /// The quantile where the tail begins.
    tail: f64,
    /// By how much the logarithm of the p-value falls with a power of the effect.
    steepness: f64,
    /// Which power: between 1 and 2.
    power: f64,
}

/// The null tables of one monitored column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nulls {
    /// Of the total variation over coarse cells.
    pub total_variation: NullTable,
    /// Of the greatest difference of a share, over coarse cells.
    pub linf: NullTable,
    /// Of the Wasserstein distance in units of the feature; numbers only. The normed distance has the p-value of the
    /// distance before division.
    pub wasserstein: Option<NullTable>,
    /// Of the energy distance in the root of the unit of the feature; numbers only.
    pub energy: Option<NullTable>,
    /// Of the root of [`cramer_von_mises::mean_square`]; numbers of which some are frequent only.
    pub cramer_von_mises: Option<NullTable>,
    /// Of the root of [`anderson_darling::mean_square`]; as before.
    pub anderson_darling: Option<NullTable>,
}

/// Whether a cell holds so much of a sample that the limit laws of its distribution function do not hold.
#[must_use]
pub fn is_frequent(counts: &[u64]) -> bool {
    let most = counts.iter().copied().max().unwrap_or(0);
    super::counts::total(counts).is_none_or(|total| real(most) > FREQUENT * real(total))
}

impl Nulls {
    /// Of a categorical column, from its counts by level. Merge `unseen` into `other` first, here and in the windows:
    /// its reference share is 0 by construction. `None` where the reference is empty.
    #[must_use]
    pub fn of_levels(reference: &[u64], seed: u64) -> Option<Nulls> {
        let [total_variation, linf] = NullTable::simulate(reference, seed, |r, c| [total_variation(r, c), linf(r, c)])?;
        Some(Nulls { total_variation, linf, wasserstein: None, energy: None, cramer_von_mises: None, anderson_darling: None })
    }

    /// Of a numeric column: its edges, its counts by fine cell (below, bins, above), for each fine cell the index of its
    /// coarse bin, and what the reference holds beyond the edges. `None` where the reference is empty or lengths do not
    /// fit.
    #[must_use]
    pub fn of_bins(edges: &[f64], reference: &[u64], coarse_of_cells: &[usize], tails: Tails, seed: u64) -> Option<Nulls> {
        if coarse_of_cells.len() != reference.len() || edges.is_empty() {
            return None;
        }
        let coarse = coarse_of_cells.iter().max().map_or(0, |last| last + 1);
        let fold = |fine: &[u64], folded: &mut Vec<u64>| {
            folded.clear();
            folded.resize(coarse, 0);
            for (count, cell) in fine.iter().zip(coarse_of_cells) {
                if let Some(sum) = folded.get_mut(*cell) {
                    *sum += count;
                }
            }
        };
        let (mut coarse_reference, mut coarse_drawn) = (Vec::new(), Vec::new());
        fold(reference, &mut coarse_reference);
        // A drawn row beyond the edges lies as far out as such a row of the reference does on average.
        let per_row = |sum: f64, count: Option<&u64>| count.filter(|count| **count > 0).map_or(0.0, |count| sum / real(*count));
        let (per_below, per_above) = (per_row(tails.below, reference.first()), per_row(tails.above, reference.last()));
        let frequent = is_frequent(reference);
        // Where nothing but one value is drawn the statistics are not defined, and nothing differs.
        let root = |square: Option<f64>| Some(square.unwrap_or(0.0).sqrt());
        let tables = NullTable::simulate(reference, seed, |r, c| {
            fold(c, &mut coarse_drawn);
            let outside = |count: Option<&u64>, per_row: f64| per_row * real(count.copied().unwrap_or(0));
            let drawn_tails = Tails { below: outside(c.first(), per_below), above: outside(c.last(), per_above) };
            [
                total_variation(&coarse_reference, &coarse_drawn),
                linf(&coarse_reference, &coarse_drawn),
                distance(edges, r, c, tails, drawn_tails),
                energy::distance(edges, r, c, tails, drawn_tails),
                if frequent { root(cramer_von_mises::mean_square(edges, r, c)) } else { Some(0.0) },
                if frequent { root(anderson_darling::mean_square(edges, r, c)) } else { Some(0.0) },
            ]
        })?;
        let [total_variation, linf, wasserstein, energy, cramer_von_mises, anderson_darling] = tables;
        Some(Nulls {
            total_variation,
            linf,
            wasserstein: Some(wasserstein),
            energy: Some(energy),
            cramer_von_mises: frequent.then_some(cramer_von_mises),
            anderson_darling: frequent.then_some(anderson_darling),
        })
    }
}

/// The level of the stored quantile with that index.
fn level(index: usize) -> f64 {
    TAIL_LEVELS.get(index.wrapping_sub(100)).copied().unwrap_or(real(index as u64) / 100.0)
}

/// The share of draws (and the effect itself) at or above the quantile of that level.
fn exceedance(level: f64) -> f64 {
    let draws = f64::from(DRAWS);
    (draws + 1.0 - level * (draws - 1.0)) / (draws + 1.0)
}

/// A quantile of sorted values by linear interpolation (R's type 7).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let position = level * real(sorted.len().saturating_sub(1) as u64);
    let at = |index: f64| sorted.get(index as usize).or(sorted.last()).copied().unwrap_or(0.0);
    let (low, high) = (at(position.floor()), at(position.ceil()));
    // Monotone in the position even when rounding is at work.
    (low + (high - low) * position.fract()).min(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::evidence::DesignEffects;

    fn noise(n: u64, m: u64) -> f64 {
        DesignEffects::default().noise(n, m).unwrap()
    }

    #[test]
    fn quantiles_of_total_variation_of_two_cells_are_those_of_the_normal_limit() {
        // TV of two equal cells is |p - 1/2|; divided by sqrt(a) it tends to |N(0, 1/4)|, whose 95 % quantile is 0.98.
        let [table] = NullTable::simulate(&[5, 5], 1, |r, c| [total_variation(r, c)]).unwrap();
        let p = table.p_value(0.98 * noise(10_000, 700).sqrt(), noise(10_000, 700)).unwrap();
        assert!((p - 0.05).abs() < 0.012, "{p}");
        let median = table.p_value(0.337 * noise(300, 400).sqrt(), noise(300, 400)).unwrap();
        assert!((median - 0.5).abs() < 0.05, "{median}");
    }

    #[test]
    fn p_values_fall_from_one_and_go_on_beyond_the_draws() {
        let [table] = NullTable::simulate(&[50, 30, 20], 9, |r, c| [total_variation(r, c)]).unwrap();
        let a = noise(1000, 1000);
        assert_eq!(table.p_value(0.0, a), Some(1.0));
        assert!(table.p_value(1.0, a).is_some_and(|p| p > 0.0 && p < 1e-100));
        let steps: Vec<f64> = (0..400).map(|step| table.p_value(f64::from(step) * 5e-4, a).unwrap()).collect();
        assert!(steps.is_sorted_by(|one, two| one >= two) && steps.iter().all(|p| *p > 0.0 && *p <= 1.0));
        // The tail begins where the quantiles end.
        let begin = table.quantiles()[TAIL];
        let around = [begin * (1.0 - 1e-9), begin * (1.0 + 1e-9)].map(|x| table.p_value(x, 1.0).unwrap());
        assert!((around[0] / around[1] - 1.0).abs() < 1e-3, "{around:?}");
        assert_eq!((table.p_value(f64::NAN, a), table.p_value(0.1, 0.0)), (None, None));
    }

    #[test]
    fn the_tail_is_that_of_a_normal_variable_or_a_little_above() {
        // With two cells the total variation is |N(0, pq)|: at four standard deviations 6.3e-5.
        let [table] = NullTable::simulate(&[70, 30], 4, |r, c| [total_variation(r, c)]).unwrap();
        for (deviations, exact) in [(3.5, 4.65e-4), (4.0, 6.33e-5), (5.0, 5.73e-7)] {
            let p = table.p_value(deviations * (0.7_f64 * 0.3).sqrt(), 1.0).unwrap();
            assert!((0.3..6.0).contains(&(p / exact)), "{deviations}: {p} and {exact}");
        }
    }

    #[test]
    fn a_heavy_tail_goes_on_as_one() {
        let of = |quantile: fn(f64) -> f64| {
            let draws: Vec<f64> = (0..DRAWS).map(|draw| quantile((f64::from(draw) + 0.5) / f64::from(DRAWS))).collect();
            NullTable { quantiles: (0..QUANTILES).map(|index| super::quantile(&draws, super::level(index))).collect() }
        };
        let exponential = of(|u| -(1.0 - u).ln());
        for far in [8.0, 11.5, 16.0_f64] {
            let p = exponential.p_value(far, 1.0).unwrap();
            assert!((0.5..2.0).contains(&(p / (-far).exp())), "{far}: {p}");
        }
        // Of a square root of an exponential variable the logarithm falls with the square.
        let p = of(|u| (-(1.0 - u).ln()).sqrt()).p_value(4.0, 1.0).unwrap();
        assert!((0.5..4.0).contains(&(p / (-16.0_f64).exp())), "{p}");
    }

    #[test]
    fn the_effect_of_a_level_has_that_p_value() {
        let [table] = NullTable::simulate(&[50, 30, 20, 7, 3], 9, |r, c| [total_variation(r, c)]).unwrap();
        for level in [0.5, 0.05, 0.01, 0.002, 1e-4, 1e-9] {
            let effect = table.effect(level, 0.003).unwrap();
            assert!((table.p_value(effect, 0.003).unwrap() / level - 1.0).abs() < 1e-6, "{level}");
        }
        assert_eq!((table.effect(0.0, 1.0), table.effect(0.1, 0.0)), (None, None));
    }

    #[test]
    fn a_constant_reference_expects_no_difference_at_all() {
        let [table] = NullTable::simulate(&[0, 7, 0], 3, |r, c| [total_variation(r, c)]).unwrap();
        assert_eq!((table.p_value(0.0, 0.01), table.p_value(0.001, 0.01)), (Some(1.0), Some(LEAST_P)));
        assert!(NullTable::simulate(&[0, 0], 3, |r, c| [total_variation(r, c)]).is_none());
        assert!(Nulls::of_bins(&[0.0], &[1, 2], &[0], Tails::default(), 3).is_none());
    }

    #[test]
    fn tables_are_reproducible_and_survive_a_file() {
        let build = |seed| Nulls::of_bins(&[0.0, 1.0, 2.0, 4.0], &[0, 40, 40, 20, 0], &[0, 0, 1, 1, 1], Tails::default(), seed).unwrap();
        assert_eq!(build(4), build(4));
        assert_ne!(build(4), build(5));
        let text = serde_json::to_string(&build(4)).unwrap();
        assert_eq!(serde_json::from_str::<Nulls>(&text).unwrap(), build(4));
        assert!(serde_json::from_str::<NullTable>("[1.0, 2.0]").is_err());
        let mut shuffled: Vec<f64> = build(4).linf.into();
        shuffled.reverse();
        assert_eq!(NullTable::try_from(shuffled), Err(InvalidTable));
    }

    /// Shares of alarms at a nominal 5 % of total variation, linf and wasserstein, over new references and new windows.
    fn false_alarms(edges: &[f64], shares: &[u64], coarse: &[usize], n: u64, m: u64) -> [f64; 3] {
        const REFERENCES: u64 = 6;
        const WINDOWS: u64 = 300;
        let population = AliasTable::new(shares).unwrap();
        let mut random = SplitMix64::new(77);
        let (mut base, mut window) = (vec![0; shares.len()], vec![0; shares.len()]);
        let fold = |fine: &[u64]| {
            let mut folded = vec![0; coarse.iter().max().unwrap() + 1];
            for (count, cell) in fine.iter().zip(coarse) {
                folded[*cell] += count;
            }
            folded
        };
        let mut alarms = [0u64; 3];
        for reference in 0..REFERENCES {
            population.sample(n, &mut random, &mut base);
            let nulls = Nulls::of_bins(edges, &base, coarse, Tails::default(), reference).unwrap();
            for _ in 0..WINDOWS {
                population.sample(m, &mut random, &mut window);
                let p = [
                    nulls.total_variation.p_value(total_variation(&fold(&base), &fold(&window)).unwrap(), noise(n, m)),
                    nulls.linf.p_value(linf(&fold(&base), &fold(&window)).unwrap(), noise(n, m)),
                    nulls
                        .wasserstein
                        .as_ref()
                        .unwrap()
                        .p_value(distance(edges, &base, &window, Tails::default(), Tails::default()).unwrap(), noise(n, m)),
                ];
                for (alarms, p) in alarms.iter_mut().zip(p) {
                    *alarms += u64::from(p.unwrap() < 0.05);
                }
            }
        }
        alarms.map(|alarms| real(alarms) / real(REFERENCES * WINDOWS))
    }

    #[test]
    fn the_level_holds_without_drift() {
        // An exponential feature in 100 equal-mass bins and their deciles.
        let edges: Vec<f64> = (0..100).map(|k| -(1.0 - f64::from(k) / 100.0).ln()).chain([9.0]).collect();
        let shares: Vec<u64> = [0].into_iter().chain([1; 100]).chain([0]).collect();
        let coarse: Vec<usize> = (0..102usize).map(|cell| cell.saturating_sub(1).min(99) / 10).collect();
        for (n, m) in [(50_000, 1000), (10_000, 500), (10_000, 3000)] {
            for level in false_alarms(&edges, &shares, &coarse, n, m) {
                // Standard error 0.5 points for the windows, about as much for six references.
                assert!((0.02..0.085).contains(&level), "{n} {m}: {level}");
            }
        }
    }

    /// Alarms of the two tests of distribution functions at 5 % over alike atoms: by law or by table.
    fn false_alarms_with_atoms(atoms: u64, runs: u64) -> [f64; 2] {
        let edges: Vec<f64> = (0..atoms).map(real).flat_map(|value| [value.next_down(), value]).collect();
        let shares: Vec<u64> = (0..=2 * atoms).map(|cell| u64::from(cell % 2 == 0 && cell > 0)).collect();
        let table = AliasTable::new(&shares).unwrap();
        let mut random = SplitMix64::new(3);
        let (mut reference, mut window) = (vec![0; shares.len()], vec![0; shares.len()]);
        table.sample(20_000, &mut random, &mut reference);
        let coarse = vec![0; shares.len()];
        let nulls = Nulls::of_bins(&edges, &reference, &coarse, Tails::default(), 5).unwrap();
        let (sizes, noise) = ((20_000, 800), noise(20_000, 800));
        let mut alarms = [0u32; 2];
        for _ in 0..runs {
            table.sample(800, &mut random, &mut window);
            let cvm = cramer_von_mises::mean_square(&edges, &reference, &window).unwrap();
            let ad = anderson_darling::mean_square(&edges, &reference, &window).unwrap();
            let p = [
                nulls.cramer_von_mises.as_ref().map_or_else(|| cramer_von_mises::p_value(cvm, noise), |t| t.p_value(cvm.sqrt(), noise)),
                nulls
                    .anderson_darling
                    .as_ref()
                    .map_or_else(|| anderson_darling::p_value(ad, sizes, noise), |t| t.p_value(ad.sqrt(), noise)),
            ];
            alarms.iter_mut().zip(p).for_each(|(alarms, p)| *alarms += u32::from(p.unwrap() < 0.05));
        }
        assert_eq!(nulls.cramer_von_mises.is_some(), atoms < 45, "{atoms} atoms");
        alarms.map(|alarms| f64::from(alarms) / runs as f64)
    }

    #[test]
    fn tests_of_distribution_functions_hold_their_level_with_atoms() {
        for atoms in [2, 5, 20, 60, 400] {
            for rate in false_alarms_with_atoms(atoms, 1_000) {
                // Three standard errors of a rate of 5 %, and what a reference of its own adds.
                assert!((0.025..0.08).contains(&rate), "{atoms} atoms: {rate}");
            }
        }
    }
}
