//! Squared distances of means: how large they are when nothing has changed.
//!
//! Of two samples of vectors with one covariance matrix C the squared distance of the means, divided by a = 1/n + 1/m, is a sum
//! of chi-square variables weighted by the eigenvalues of C. Its first three cumulants are tr C, 2 tr C^2 and 8 tr C^3, and a
//! chi-square distribution of the same skewness stands in for it (Imhof 1961, after Pearson 1959): within 0.01 of the exact
//! probability, and closest in the upper tail. Only two traces have to be kept.

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use super::counts::finite;
use super::matrix::{add_scaled, dot};

/// Vectors up to this long have their covariance matrix made; of longer ones only scalar products are taken.
const SHORT: usize = 256;
/// Differences of two vectors whose scalar products are taken: 512 squared is 0.1 s for vectors of 1,536.
const PAIRS: usize = 512;
/// Degrees of freedom above which the normal distribution stands in: the skewness is below 0.01.
const NORMAL_ABOVE: f64 = 80_000.0;

/// Traces of powers of a covariance matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spectrum {
    /// The trace of its square.
    pub second: f64,
    /// The trace of its cube.
    pub third: f64,
}

impl Spectrum {
    /// The traces that a sample of vectors lets expect. `None` for fewer than four vectors, and where they do not vary.
    ///
    /// The rows are taken as independent draws; what the size of the sample adds to the traces is taken off.
    #[must_use]
    pub fn of(rows: &[Vec<f64>]) -> Option<Spectrum> {
        let length = rows.first().map_or(0, Vec::len);
        let spectrum = if length <= SHORT { Spectrum::by_covariance(rows, length) } else { Spectrum::by_products(rows) }?;
        // What is left of vectors that are all alike after rounding is no variation.
        let size = rows.iter().map(|row| dot(row, row)).fold(0.0, f64::max);
        let least = (1e-24 * size) * size;
        (spectrum.second > least && spectrum.second.is_finite() && spectrum.third.is_finite()).then_some(spectrum)
    }

    #[allow(clippy::cast_precision_loss)]
    fn by_covariance(rows: &[Vec<f64>], length: usize) -> Option<Spectrum> {
        let n = rows.len() as f64;
        if rows.len() < 4 {
            return None;
        }
        let mut mean = vec![0.0; length];
        rows.iter().for_each(|row| add_scaled(&mut mean, row, 1.0 / n));
        let mut matrix = vec![vec![0.0; length]; length];
        for row in rows {
            let centred: Vec<f64> = row.iter().zip(&mean).map(|(value, mean)| value - mean).collect();
            for (sums, value) in matrix.iter_mut().zip(&centred) {
                add_scaled(sums, &centred, value / (n - 1.0));
            }
        }
        let first: f64 = matrix.iter().enumerate().filter_map(|(place, row)| row.get(place)).sum();
        let second: f64 = matrix.iter().map(|row| dot(row, row)).sum();
        // tr C^3 is the sum over pairs of C_ij (C C)_ij.
        let of_pair = |left: &Vec<f64>| -> f64 { left.iter().zip(&matrix).map(|(part, right)| part * dot(left, right)).sum() };
        let third: f64 = matrix.iter().map(of_pair).sum();
        // Of n normal draws: E tr S^2 = tr C^2 + (tr C)^2 / n and E tr S^3 = tr C^3 + 3 tr C tr C^2 / n, but for smaller terms.
        let second_true = second - first * first / n;
        Some(Spectrum { second: second_true, third: third - 3.0 * first * second_true / n })
    }

    /// By the scalar products of differences of two vectors each, which have mean 0 whatever the mean of the vectors is.
    #[allow(clippy::cast_precision_loss)]
    fn by_products(rows: &[Vec<f64>]) -> Option<Spectrum> {
        let differences: Vec<Vec<f64>> = rows
            .chunks_exact(2)
            .take(PAIRS)
            .filter_map(|pair| if let [left, right] = pair { Some((left, right)) } else { None })
            .map(|(left, right)| left.iter().zip(right).map(|(l, r)| (l - r) * std::f64::consts::FRAC_1_SQRT_2).collect())
            .collect();
        let n = differences.len() as f64;
        if differences.len() < 4 {
            return None;
        }
        let mut products = vec![vec![0.0; differences.len()]; differences.len()];
        for (place, (left, row)) in differences.iter().zip(&mut products).enumerate() {
            for (other, (right, product)) in differences.iter().zip(row).enumerate() {
                // Products with themselves would be biased by the fourth moments.
                *product = if place == other { 0.0 } else { dot(left, right) };
            }
        }
        let second: f64 = products.iter().map(|row| dot(row, row)).sum::<f64>() / (n * (n - 1.0));
        let of_pair = |left: &Vec<f64>| -> f64 { left.iter().zip(&products).map(|(part, right)| part * dot(left, right)).sum() };
        let third = products.iter().map(of_pair).sum::<f64>() / (n * (n - 1.0) * (n - 2.0));
        Some(Spectrum { second, third })
    }

    /// The probability of a squared distance at least so far above the one to be expected, without a difference of the means.
    /// `noise` is 1/n + 1/m. `None` where a number is not finite.
    #[must_use]
    pub fn p_value(&self, excess: f64, noise: f64) -> Option<f64> {
        let standardised = finite(excess / (noise * (2.0 * self.second).sqrt()))?;
        // One skewed direction at the least; with no skewness at all it is normal.
        let freedom = self.second.powi(3) / (self.third * self.third);
        if self.third <= 0.0 || freedom.is_nan() || freedom > NORMAL_ABOVE {
            return finite(Normal::standard().sf(standardised));
        }
        let freedom = freedom.max(1.0);
        let statistic = freedom + standardised * (2.0 * freedom).sqrt();
        if statistic <= 0.0 {
            return Some(1.0);
        }
        finite(ChiSquared::new(freedom).ok()?.sf(statistic)).map(|p| p.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::{SplitMix64, normal};

    fn rows(count: usize, deviations: &[f64], seed: u64) -> Vec<Vec<f64>> {
        let mut random = SplitMix64::new(seed);
        (0..count).map(|_| deviations.iter().map(|deviation| 3.0 + deviation * normal(&mut random)).collect()).collect()
    }

    #[test]
    fn traces_are_those_of_the_covariance() {
        let deviations: Vec<f64> = (0..12).map(|place| 0.8f64.powi(place)).collect();
        let trace = |power: i32| deviations.iter().map(|deviation| deviation.powi(2 * power)).sum::<f64>();
        let rows = rows(2_000, &deviations, 5);
        for spectrum in [Spectrum::by_covariance(&rows, 12).unwrap(), Spectrum::by_products(&rows).unwrap()] {
            assert!((spectrum.second / trace(2) - 1.0).abs() < 0.15, "{spectrum:?} {}", trace(2));
            assert!((spectrum.third / trace(3) - 1.0).abs() < 0.25, "{spectrum:?} {}", trace(3));
        }
        assert_eq!(Spectrum::of(&rows[..3]), None);
        assert_eq!(Spectrum::of(&vec![vec![1.0, 2.0]; 9]), None);
    }

    #[test]
    fn one_and_many_directions_have_their_chi_square() {
        // Eigenvalues 1, ..., 1 (k of them): the excess is a (chi-square(k) - k). The quantiles of every table of chi-square.
        for (k, x, expected) in [(1.0, 3.841_458_820_694_124, 0.05), (4.0, 13.276_704_135_987_622, 0.01), (30.0, 59.702_5, 0.001)] {
            let spectrum = Spectrum { second: k, third: k };
            let p = spectrum.p_value((x - k) * 0.02, 0.02).unwrap();
            assert!((p / expected - 1.0).abs() < 1e-3, "{k}: {p}");
        }
        assert_eq!(Spectrum { second: 1.0, third: 1.0 }.p_value(-1.0, 0.02), Some(1.0));
        assert_eq!(Spectrum { second: 1.0, third: 1.0 }.p_value(f64::NAN, 0.02), None);
    }
}
