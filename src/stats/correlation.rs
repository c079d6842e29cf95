//! Correlations from sums, and how sure a change of one is.

use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::{finite, real};

/// Correlations nearer to 1 than this are taken as this: two copies of one feature have no spread of their own.
const NEAR_ONE: f64 = 1e-9;

/// Count and sums of two variables.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairSums {
    /// Number of pairs.
    pub count: u64,
    /// Sums of both.
    pub sums: (f64, f64),
    /// Sums of both squares.
    pub squares: (f64, f64),
    /// Sum of the products.
    pub product: f64,
}

impl PairSums {
    /// Pearson's correlation; `None` where a variable is constant or there are fewer than three pairs.
    #[must_use]
    pub fn correlation(&self) -> Option<f64> {
        if self.count < 3 {
            return None;
        }
        let n = real(self.count);
        let (left, right) = (self.squares.0 - self.sums.0 * self.sums.0 / n, self.squares.1 - self.sums.1 * self.sums.1 / n);
        // What is left of a constant after rounding is no spread.
        let varies = |spread: f64, squares: f64| spread > 1e-9 * squares.max(1e-9);
        if !varies(left, self.squares.0) || !varies(right, self.squares.1) {
            return None;
        }
        let product = self.product - self.sums.0 * self.sums.1 / n;
        finite(product / (left * right).sqrt()).map(|r| r.clamp(-1.0, 1.0))
    }
}

/// The asymptotic variance of a correlation times the number of pairs: the mean square of its influence function. For normal
/// variables it is (1 - r^2)^2; dependent tails make it larger. Pairs are standardised. `None` for no pairs.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn spread(pairs: impl Iterator<Item = (f64, f64)> + Clone, r: f64) -> Option<f64> {
    let (count, sum) = pairs.fold((0u64, 0.0), |(count, sum), (x, y)| {
        let influence = x * y - r * (x * x + y * y) / 2.0;
        (count + 1, sum + influence * influence)
    });
    if count == 0 { None } else { finite(sum / real(count)) }
}

/// Two-sided probability of a difference of two correlations at least as large, without a change. By Fisher's z, whose
/// variance is `spread / (1 - r^2)^2` for each pair. `noise` is 1/n + 1/m.
#[must_use]
pub fn p_value(reference: f64, current: f64, spread: f64, noise: f64) -> Option<f64> {
    let bound = |r: f64| r.clamp(NEAR_ONE - 1.0, 1.0 - NEAR_ONE);
    let (reference, current) = (bound(reference), bound(current));
    let rest = 1.0 - reference * reference;
    let deviation = (spread * noise).sqrt() / rest;
    let z = finite((current.atanh() - reference.atanh()).abs() / deviation.max(f64::MIN_POSITIVE))?;
    finite(2.0 * Normal::standard().sf(z)).map(|p| p.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::{SplitMix64, normal};

    fn pairs(count: usize, r: f64, random: &mut SplitMix64) -> Vec<(f64, f64)> {
        (0..count)
            .map(|_| {
                let (x, noise) = (normal(random), normal(random));
                (x, r * x + (1.0 - r * r).sqrt() * noise)
            })
            .collect()
    }

    fn sums(pairs: &[(f64, f64)]) -> PairSums {
        let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
        PairSums {
            count: pairs.len() as u64,
            sums: (sum(|p| p.0), sum(|p| p.1)),
            squares: (sum(|p| p.0 * p.0), sum(|p| p.1 * p.1)),
            product: sum(|p| p.0 * p.1),
        }
    }

    #[test]
    fn four_pairs_have_the_correlation_of_the_formula() {
        // Deviations: products 29.5, squares 28.75 and 35.
        let r = sums(&[(1.0, 3.0), (2.0, 1.0), (4.0, 5.0), (8.0, 9.0)]).correlation().unwrap();
        assert!((r - 29.5 / (28.75f64 * 35.0).sqrt()).abs() < 1e-12, "{r}");
        assert_eq!(sums(&[(1.0, 3.0), (1.0, 1.0), (1.0, 5.0)]).correlation(), None);
        assert_eq!(sums(&[(1.0, 3.0), (2.0, 1.0)]).correlation(), None);
    }

    #[test]
    fn the_spread_of_normal_pairs_is_that_of_fisher() {
        let mut random = SplitMix64::new(11);
        for r in [0.0, 0.5, 0.9] {
            let pairs = pairs(40_000, r, &mut random);
            let found = spread(pairs.iter().copied(), r).unwrap();
            assert!((found / (1.0f64 - r * r).powi(2) - 1.0).abs() < 0.05, "{r}: {found}");
        }
    }

    #[test]
    fn false_alarms_are_near_their_nominal_level() {
        let mut random = SplitMix64::new(4);
        let mut alarms = 0;
        for _ in 0..1_000 {
            let (reference, current) = (pairs(400, 0.6, &mut random), pairs(150, 0.6, &mut random));
            let (r, c) = (sums(&reference).correlation().unwrap(), sums(&current).correlation().unwrap());
            let spread = spread(reference.iter().copied(), r).unwrap();
            alarms += u32::from(p_value(r, c, spread, 1.0 / 400.0 + 1.0 / 150.0).unwrap() < 0.05);
        }
        assert!((30..=75).contains(&alarms), "{alarms} of 1,000 at 5 %");
    }
}
