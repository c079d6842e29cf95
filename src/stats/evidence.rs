//! How sure an effect is, given the sizes of the two samples.
//!
//! Without drift, a divergence between two samples of sizes `n` and `m` is noise of the order of `a = 1/n + 1/m`. For psi,
//! kl, js and hellinger the multiple below is asymptotically chi-square with one degree of freedom less than there are
//! cells (all are f-divergences, with the same second-order term as Pearson's statistic: Csiszar 1967, Morales et al. 1995):
//!
//! | effect | statistic |
//! |---|---|
//! | psi | `psi / a` |
//! | `kl_divergence` | `2 kl / a` |
//! | `js_distance` (base 2) | `8 ln 2 js^2 / a` |
//! | hellinger | `8 hellinger^2 / a` |
//! | `chi_square`, `g_test` | the statistic itself, times `(1/n + 1/m) / a` |
//!
//! The limit needs about [`MINIMUM_EXPECTED`] expected counts in a cell, so evidence is computed over [`Pooled`] cells,
//! and for the four divergences from shares with half a count added to each cell, `(count + 1/2) / (n + B/2)`; the effect
//! that a user sees is neither pooled nor smoothed. Rows that are not independent enter through [`DesignEffects`].
//!
//! Measured without drift (1,500 runs each; deciles, 20, 50 and 100 Zipf levels; n 1,000 to 50,000, m 60 to 10,000) at a nominal
//! 5 %: psi 3.6 to 6.2, js 3.0 to 5.9, hellinger 3.3 to 5.9, chi-square 3.7 to 6.3, G 3.8 to 7.4, kl 4.3 to 7.2 %. Without the half
//! counts psi goes up to 12 and kl to 16 %. At a nominal 1 % psi gives 0.5 to 1.7 and kl 0.7 to 3.7 %: prefer the symmetric ones.
//!
//! Weak where the reference is smaller than the window and has rare cells: its own empty cells are then no chance of the
//! window's. Effects without such a limit (total variation, Wasserstein) take a simulated [`NullTable`].

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::contingency::{chi_square, g_test};
use super::counts::{Samples, finite, real};
use super::divergence::{js_of, kl_of, psi_of, squared_hellinger_of};

pub use super::null::NullTable;

/// Least expected count, in either sample, of a cell that stands alone in a test (Cochran 1954).
pub const MINIMUM_EXPECTED: f64 = 5.0;

/// Halvings of an interval: more than a double has.
const HALVINGS: usize = 80;

/// By how much dependence between rows inflates the variance of each sample; 1 for independent rows.
///
/// A sample of `n` rows with design effect `d` says as much as `n / d` independent ones (Kish 1965).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DesignEffects {
    /// Of the reference.
    pub reference: f64,
    /// Of the current window.
    pub current: f64,
}

impl Default for DesignEffects {
    fn default() -> DesignEffects {
        DesignEffects { reference: 1.0, current: 1.0 }
    }
}

impl DesignEffects {
    /// `a = reference / n + current / m`, the scale of chance differences; `None` for an empty sample or a design effect
    /// that is not a positive number.
    #[must_use]
    pub fn noise(&self, n: u64, m: u64) -> Option<f64> {
        if n == 0 || m == 0 || self.reference.min(self.current) <= 0.0 {
            return None;
        }
        finite(self.reference / real(n) + self.current / real(m)).filter(|noise| *noise > 0.0)
    }
}

/// The effects whose null distribution is a chi-square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// [`super::divergence::psi`].
    Psi,
    /// [`super::divergence::kl_divergence`].
    KlDivergence,
    /// [`super::divergence::js_distance`].
    JsDistance,
    /// [`super::divergence::hellinger`].
    Hellinger,
    /// [`super::contingency::chi_square`].
    ChiSquare,
    /// [`super::contingency::g_test`].
    GTest,
}

/// The outcome of a chi-square test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Probability of a statistic at least this large without drift, 0 to 1.
    pub p_value: f64,
    /// Cells after pooling, less one. With 0 there is nothing to compare and the p-value is 1.
    pub degrees_of_freedom: u64,
}

/// Two samples whose rare cells were put together, so that every cell can stand in a chi-square test.
///
/// Cells that are empty in both samples are dropped. Cells that expect less than [`MINIMUM_EXPECTED`] in the smaller
/// sample become one, and where that one still expects less, it takes the rarest of the others in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooled {
    reference: Vec<u64>,
    current: Vec<u64>,
}

impl Pooled {
    /// Pools the rare cells; `None` where a sample is empty or the slices differ in length.
    #[must_use]
    pub fn new(reference: &[u64], current: &[u64]) -> Option<Pooled> {
        let samples = Samples::new(reference, current)?;
        let smaller = real(samples.n.min(samples.m)) / (real(samples.n) + real(samples.m));
        let is_rare = |(r, c): (u64, u64)| (real(r) + real(c)) * smaller < MINIMUM_EXPECTED;
        let mut kept: Vec<(u64, u64)> = samples.cells().filter(|cell| !is_rare(*cell)).collect();
        let mut pool = samples.cells().filter(|cell| is_rare(*cell)).fold((0, 0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
        if pool != (0, 0) {
            if is_rare(pool) {
                let rarest = kept.iter().enumerate().min_by_key(|(_, (r, c))| u128::from(*r) + u128::from(*c)).map(|(index, _)| index);
                if let Some((r, c)) = rarest.map(|index| kept.remove(index)) {
                    pool = (pool.0 + r, pool.1 + c);
                }
            }
            kept.push(pool);
        }
        let (reference, current) = kept.into_iter().unzip();
        Some(Pooled { reference, current })
    }

    /// Number of cells after pooling, at least 1.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.reference.len()
    }

    /// The p-value of an effect over the pooled cells, where `noise` is `a` of [`DesignEffects::noise`]. `None` where
    /// `noise` is not a positive number.
    #[must_use]
    pub fn test(&self, effect: Effect, noise: f64) -> Option<Evidence> {
        self.test_of(effect, noise, 1.0)
    }

    /// The same where dependence between rows moves the cells in fewer directions than there are: only `freedom` of the degrees
    /// of freedom count, above 0 and up to 1 (the second-order correction of Rao and Scott 1981, with Satterthwaite's 1946
    /// approximation). `noise` then is inflated by the mean of the squares of their design effects over their mean.
    #[must_use]
    pub fn test_of(&self, effect: Effect, noise: f64, freedom: f64) -> Option<Evidence> {
        if !noise.is_finite() || noise <= 0.0 {
            return None;
        }
        let (r, c) = (self.reference.as_slice(), self.current.as_slice());
        let degrees_of_freedom = (r.len() as u64).saturating_sub(1);
        if degrees_of_freedom == 0 {
            return Some(Evidence { p_value: 1.0, degrees_of_freedom });
        }
        let statistic = match effect {
            Effect::Psi => psi_of(self.smoothed()?) / noise,
            Effect::KlDivergence => 2.0 * kl_of(self.smoothed()?) / noise,
            Effect::JsDistance => 8.0 * js_of(self.smoothed()?) / noise,
            Effect::Hellinger => 8.0 * squared_hellinger_of(self.smoothed()?) / noise,
            Effect::ChiSquare => chi_square(r, c)? * self.independent_noise()? / noise,
            Effect::GTest => g_test(r, c)? * self.independent_noise()? / noise,
        };
        Some(Evidence { p_value: chi_square_sf_of(statistic, real(degrees_of_freedom) * freedom)?, degrees_of_freedom })
    }

    /// The statistic whose p-value is `level`, with `freedom` as in [`Pooled::test_of`]; `None` with one cell, and where the level is
    /// not between 0 and 1.
    #[must_use]
    pub fn critical(&self, level: f64, freedom: f64) -> Option<f64> {
        let degrees_of_freedom = real((self.cells() as u64).saturating_sub(1)) * freedom;
        if degrees_of_freedom <= 0.0 || !(level > 0.0 && level < 1.0) {
            return None;
        }
        let (mut low, mut high) = (0.0, 1.0);
        while chi_square_sf_of(high, degrees_of_freedom)? > level {
            (low, high) = (high, high * 2.0);
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if chi_square_sf_of(middle, degrees_of_freedom)? > level { low = middle } else { high = middle }
        }
        Some(high)
    }

    /// Shares with half a count more in each cell, reference first.
    fn smoothed(&self) -> Option<impl Iterator<Item = (f64, f64)>> {
        let samples = Samples::new(&self.reference, &self.current)?;
        let added = real(self.cells() as u64) / 2.0;
        let (n, m) = (real(samples.n) + added, real(samples.m) + added);
        Some(samples.cells().map(move |(r, c)| ((real(r) + 0.5) / n, (real(c) + 0.5) / m)))
    }

    fn independent_noise(&self) -> Option<f64> {
        let samples = Samples::new(&self.reference, &self.current)?;
        DesignEffects::default().noise(samples.n, samples.m)
    }
}

/// The probability that a chi-square variable exceeds `statistic`; `None` where the degrees of freedom are 0 or the
/// statistic is NaN. Below about 1e-300 it is 0.
#[must_use]
pub fn chi_square_sf(statistic: f64, degrees_of_freedom: u64) -> Option<f64> {
    if statistic.is_nan() {
        return None;
    }
    chi_square_sf_of(statistic, real(degrees_of_freedom))
}

/// The same with degrees of freedom that are no whole number.
fn chi_square_sf_of(statistic: f64, degrees_of_freedom: f64) -> Option<f64> {
    let distribution = ChiSquared::new(degrees_of_freedom).ok()?;
    finite(distribution.sf(statistic.clamp(0.0, f64::MAX))).map(|p| p.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::{AliasTable, SplitMix64};

    const EFFECTS: [Effect; 6] =
        [Effect::Psi, Effect::KlDivergence, Effect::JsDistance, Effect::Hellinger, Effect::ChiSquare, Effect::GTest];

    fn noise(n: u64, m: u64) -> f64 {
        DesignEffects::default().noise(n, m).unwrap()
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 1e-9, "{actual:e} is not {expected:e}");
    }

    #[test]
    fn agrees_with_the_goldens_of_car_value() {
        // chi2.q10r.p and chi2.q10r.dof of windows 5 and 30 (no cell is rare):
        // scipy.stats.chi2_contingency([r, c], correction=False), SciPy 1.17.1.
        let reference = [5003, 4998, 5000, 4999, 5000, 5001, 4999, 5001, 4999, 5000];
        for (window, p) in [
            ([100, 124, 110, 116, 115, 123, 114, 110, 112, 132], 0.732_233_436_858_299_1),
            ([0, 2, 9, 20, 64, 111, 154, 214, 280, 302], 8.581_610_602_747_624e-215),
        ] {
            let evidence = Pooled::new(&reference, &window).unwrap().test(Effect::ChiSquare, noise(50_000, 1156)).unwrap();
            assert_eq!(evidence.degrees_of_freedom, 9);
            close(evidence.p_value, p);
        }
    }

    #[test]
    fn the_survival_function_agrees_with_scipy() {
        // scipy.stats.chi2.sf(x, k), SciPy 1.17.1.
        for (k, x, expected) in [
            (1, 3.84, 0.050_043_521_248_705_19),
            (99, 100.0, 0.452_958_511_320_931_4),
            (101, 250.0, 1.239_056_353_974_225_8e-14),
            (1, 1e-8, 0.999_920_211_544_052_6),
            (2000, 1900.0, 0.944_945_313_769_261_9),
        ] {
            close(chi_square_sf(x, k).unwrap(), expected);
        }
        assert_eq!(chi_square_sf(f64::INFINITY, 3), Some(0.0));
        assert_eq!(chi_square_sf(1.0, 0), None);
    }

    #[test]
    fn rare_cells_are_pooled() {
        // The last four expect 3.5, 0.7, 0.4 and 0.1 in the window, 4.6 together, so the second joins them as well:
        // scipy.stats.chi2_contingency([[900, 100], [80, 20]], correction=False), SciPy 1.17.1.
        let pooled = Pooled::new(&[900, 60, 30, 6, 3, 1, 0], &[80, 9, 8, 2, 1, 0, 0]).unwrap();
        assert_eq!(pooled, Pooled { reference: vec![900, 100], current: vec![80, 20] });
        let pooled = Pooled::new(&[900, 60, 30, 9, 1], &[80, 9, 8, 2, 1]).unwrap();
        assert_eq!(pooled.cells(), 2);
        // Nothing is left to compare.
        let alone = Pooled::new(&[3, 1], &[1, 2]).unwrap();
        assert_eq!(alone.test(Effect::Psi, noise(4, 3)), Some(Evidence { p_value: 1.0, degrees_of_freedom: 0 }));
    }

    #[test]
    fn dependent_rows_weaken_the_evidence() {
        let pooled = Pooled::new(&[500, 500], &[60, 40]).unwrap();
        let design = DesignEffects { reference: 4.0, current: 4.0 };
        for effect in EFFECTS {
            let independent = pooled.test(effect, noise(1000, 100)).unwrap().p_value;
            let dependent = pooled.test(effect, design.noise(1000, 100).unwrap()).unwrap().p_value;
            // A quarter of the statistic: chi-square(1) of about 3.7 and of 0.9.
            assert!((0.04..0.07).contains(&independent) && (0.3..0.36).contains(&dependent), "{effect:?} {independent} {dependent}");
        }
        assert_eq!(DesignEffects { reference: 0.0, current: 1.0 }.noise(5, 5), None);
        assert_eq!(DesignEffects { reference: f64::NAN, current: f64::NAN }.noise(5, 5), None);
        assert_eq!(DesignEffects::default().noise(0, 5), None);
    }

    /// Share of alarms at a nominal 5 % over stationary data, each time with a new reference.
    fn false_alarms(shares: &[u64], n: u64, m: u64, effect: Effect) -> f64 {
        const RUNS: u32 = 1500;
        let population = AliasTable::new(shares).unwrap();
        let mut random = SplitMix64::new(20_240_601);
        let (mut r, mut c) = (vec![0; shares.len()], vec![0; shares.len()]);
        let alarms = (0..RUNS).filter(|_| {
            population.sample(n, &mut random, &mut r);
            population.sample(m, &mut random, &mut c);
            Pooled::new(&r, &c).unwrap().test(effect, noise(n, m)).unwrap().p_value < 0.05
        });
        real(alarms.count() as u64) / f64::from(RUNS)
    }

    #[test]
    fn the_level_holds_without_drift() {
        let deciles = [1; 10];
        let zipf: Vec<u64> = (1..=50).map(|rank| 1_000_000 / rank).collect();
        for effect in EFFECTS {
            for (shares, n, m) in [(deciles.as_slice(), 4000, 500), (&deciles, 1000, 2500), (&zipf, 3000, 1000)] {
                let level = false_alarms(shares, n, m, effect);
                // Standard error of the estimate: 0.6 points.
                assert!((0.02..0.075).contains(&level), "{effect:?} {n} {m}: {level}");
            }
            // Tiny windows over many levels err on the quiet side.
            let tiny = false_alarms(&zipf, 3000, 60, effect);
            assert!(tiny < 0.075, "{effect:?} tiny: {tiny}");
        }
    }

    proptest! {
        #[test]
        fn p_values_are_probabilities_and_pooling_keeps_every_row(cells in prop::collection::vec((prop_oneof![0..9u64, 0..100_000_000u64], prop_oneof![0..9u64, 0..100_000u64]), 1..40)) {
            let (r, c): (Vec<u64>, Vec<u64>) = cells.into_iter().unzip();
            let (n, m) = (r.iter().sum::<u64>(), c.iter().sum::<u64>());
            let pooled = Pooled::new(&r, &c);
            prop_assert_eq!(pooled.is_some(), n > 0 && m > 0);
            let Some(pooled) = pooled else { return Ok(()) };
            prop_assert_eq!((pooled.reference.iter().sum::<u64>(), pooled.current.iter().sum::<u64>()), (n, m));
            for effect in EFFECTS {
                let evidence = pooled.test(effect, noise(n, m)).unwrap();
                prop_assert!((0.0..=1.0).contains(&evidence.p_value));
            }
            let same = Pooled::new(&r, &r).unwrap();
            prop_assert!(EFFECTS.iter().all(|effect| same.test(*effect, noise(n, n)).unwrap().p_value > 0.999));
        }
    }
}
