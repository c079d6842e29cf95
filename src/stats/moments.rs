//! Means and spreads from a count and two sums.
//!
//! Sums are of `z = (x - center) / scale`, the standardised values that panes keep, so that neither a large mean nor a
//! small unit costs digits. Knows nothing of how the sums were made.

use super::counts::{finite, real};
use super::welch::Sample;

/// Count, sum and sum of squares of standardised values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of values.
    pub count: u64,
    /// Sum of `z`.
    pub sum: f64,
    /// Sum of `z * z`.
    pub squares: f64,
}

impl Sums {
    /// The mean of `z`; `None` for no values, or where the sum is not finite.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        if self.count == 0 { None } else { finite(self.sum / real(self.count)) }
    }

    /// The variance of `z`: the sum of squared deviations over the count less `ddof`. Never negative. `None` where there
    /// are not more values than `ddof`, or a sum is not finite.
    #[must_use]
    pub fn variance(&self, ddof: u64) -> Option<f64> {
        let freedom = self.count.checked_sub(ddof).filter(|freedom| *freedom > 0)?;
        let deviations = self.squares - self.mean()? * self.sum;
        finite(deviations.max(0.0) / real(freedom)).filter(|_| !deviations.is_nan())
    }

    /// The standard deviation of `z`; `None` as for [`Sums::variance`].
    #[must_use]
    pub fn standard_deviation(&self, ddof: u64) -> Option<f64> {
        self.variance(ddof).map(f64::sqrt)
    }

    /// The mean of `x = center + scale * z`.
    #[must_use]
    pub fn mean_in_units(&self, center: f64, scale: f64) -> Option<f64> {
        finite(center + scale * self.mean()?)
    }

    /// The standard deviation of `x = center + scale * z`.
    #[must_use]
    pub fn standard_deviation_in_units(&self, scale: f64, ddof: u64) -> Option<f64> {
        finite(scale.abs() * self.standard_deviation(ddof)?)
    }

    /// Size, mean and variance (ddof 1) of `z`, for [`super::welch::welch`]. `None` for fewer than two values.
    #[must_use]
    pub fn sample(&self) -> Option<Sample> {
        Some(Sample { n: self.count, mean: self.mean()?, variance: self.variance(1)? })
    }
}

/// The shift of the mean in standard deviations (ddof 1) of the reference; both sums in the same `z`. `None` where either
/// has too few values or the reference is constant.
#[must_use]
pub fn mean_shift(reference: &Sums, current: &Sums) -> Option<f64> {
    let spread = reference.standard_deviation(1).filter(|spread| *spread > 0.0)?;
    finite((current.mean()? - reference.mean()?) / spread)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(values: &[f64], center: f64, scale: f64) -> Sums {
        let z = || values.iter().map(|x| (x - center) / scale);
        Sums { count: values.len() as u64, sum: z().sum(), squares: z().map(|z| z * z).sum() }
    }

    #[test]
    fn agrees_with_numpy() {
        let values = [2.0, 3.5, -1.0, 8.0, 8.0];
        let sums = sums(&values, 4.1, 3.555_277_766_926_23);
        let close = |actual: Option<f64>, expected: f64| assert!((actual.unwrap() - expected).abs() < 1e-12, "{actual:?}");
        // numpy.mean(x), numpy.std(x), numpy.std(x, ddof=1), NumPy 2.4.6.
        close(sums.mean_in_units(4.1, 3.555_277_766_926_23), 4.1);
        close(sums.standard_deviation_in_units(3.555_277_766_926_23, 0), 3.498_571_136_907_18);
        close(sums.standard_deviation_in_units(3.555_277_766_926_23, 1), 3.911_521_443_121_589_2);
    }

    #[test]
    fn agrees_with_the_golden_of_mean_shift() {
        // mean_shift_sd of car_value, tumbling_7d window 30: (mean(C) - mean(R)) / std(R, ddof=1).
        let (center, scale) = (29_644.666_42, 20_397.435_976_956_134);
        let reference = Sums { count: 50_000, sum: 0.0, squares: 50_000.0 };
        let current = Sums { count: 1156, sum: 1156.0 * (47_999.959_342_560_556 - center) / scale, squares: 0.0 };
        assert!((mean_shift(&reference, &current).unwrap() - 0.899_873_365_919_624_3).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_value_says_so() {
        let constant = sums(&[5.0, 5.0, 5.0], 5.0, 5.0);
        assert_eq!((constant.standard_deviation(0), mean_shift(&constant, &constant)), (Some(0.0), None));
        let empty = Sums::default();
        assert_eq!((empty.mean(), empty.variance(0), empty.sample()), (None, None, None));
        assert_eq!(sums(&[1.0], 0.0, 1.0).variance(1), None);
        let broken = Sums { count: 3, sum: f64::INFINITY, squares: f64::INFINITY };
        assert_eq!((broken.mean(), broken.variance(0), mean_shift(&constant, &broken)), (None, None, None));
    }

    proptest! {
        #[test]
        fn never_negative_never_nan(count in any::<u64>(), sum in any::<f64>(), squares in any::<f64>(), ddof in 0..3u64) {
            let sums = Sums { count, sum, squares };
            prop_assert!(sums.variance(ddof).is_none_or(|variance| variance >= 0.0 && variance.is_finite()));
            prop_assert!(sums.mean().is_none_or(f64::is_finite));
            prop_assert!(mean_shift(&sums, &sums).is_none_or(|shift| shift == 0.0));
        }
    }
}
