//! Performance of a regression from sums over pairs of prediction and label.
//!
//! Results are in the unit of the sums. Knows nothing of single rows.

use super::counts::{finite, real};

/// Sums over the pairs, with `e` = prediction less label and `y` the label, all in one unit. Labels may be centred first;
/// only their spread matters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of pairs.
    pub count: u64,
    /// Sum of `|e|`.
    pub absolute: f64,
    /// Sum of `e * e`.
    pub squared: f64,
    /// Sum of `e`.
    pub signed: f64,
    /// Sum of `y`.
    pub label: f64,
    /// Sum of `y * y`.
    pub label_squared: f64,
}

impl Sums {
    /// Mean absolute error; `None` for no pairs.
    #[must_use]
    pub fn mae(&self) -> Option<f64> {
        self.per_pair(self.absolute)
    }

    /// Root mean squared error; `None` for no pairs.
    #[must_use]
    pub fn rmse(&self) -> Option<f64> {
        self.per_pair(self.squared.max(0.0)).map(f64::sqrt)
    }

    /// Mean of prediction less label; `None` for no pairs.
    #[must_use]
    pub fn bias(&self) -> Option<f64> {
        self.per_pair(self.signed)
    }

    /// The coefficient of determination, at most 1 and without lower limit: 1 less the squared errors over the squared
    /// deviations of the labels from their own mean. `None` where the labels of the window are constant or fewer than two.
    #[must_use]
    pub fn r2(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let deviations = self.label_squared - self.per_pair(self.label)? * self.label;
        // What is left of constant labels is rounding of the two terms.
        if deviations > 4.0 * f64::EPSILON * self.label_squared { finite(1.0 - self.squared.max(0.0) / deviations) } else { None }
    }

    fn per_pair(&self, sum: f64) -> Option<f64> {
        if self.count == 0 { None } else { finite(sum / real(self.count)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(pairs: &[(f64, f64)]) -> Sums {
        let of = |f: fn(f64, f64) -> f64| pairs.iter().map(|(label, prediction)| f(*label, *prediction)).sum();
        Sums {
            count: pairs.len() as u64,
            absolute: of(|y, p| (p - y).abs()),
            squared: of(|y, p| (p - y) * (p - y)),
            signed: of(|y, p| p - y),
            label: of(|y, _| y),
            label_squared: of(|y, _| y * y),
        }
    }

    #[test]
    fn agrees_with_sklearn() {
        let sums = sums(&[(1.0, 1.5), (2.0, 1.8), (3.5, 3.0), (4.0, 5.0), (7.0, 6.0)]);
        let close = |actual: Option<f64>, expected: f64| assert!((actual.unwrap() - expected).abs() < 1e-14, "{actual:?}");
        // mean_absolute_error(y, p), sqrt(mean_squared_error(y, p)), numpy.mean(p - y), r2_score(y, p); scikit-learn 1.9.1.
        close(sums.mae(), 0.64);
        close(sums.rmse(), 0.712_741_187_248_218_4);
        close(sums.bias(), -0.04);
        close(sums.r2(), 0.879_047_619_047_619_1);
    }

    #[test]
    fn what_has_no_value_says_so() {
        let empty = Sums::default();
        assert_eq!((empty.mae(), empty.rmse(), empty.bias(), empty.r2()), (None, None, None, None));
        assert_eq!(sums(&[(0.1, 0.2), (0.1, 0.3), (0.1, 0.1)]).r2(), None);
        assert_eq!(sums(&[(0.1, 0.2)]).r2(), None);
        assert!(sums(&[(0.1, 0.2)]).mae().is_some());
    }

    proptest! {
        #[test]
        fn mae_bounds_the_bias_and_rmse_bounds_mae(pairs in prop::collection::vec((-1e6..1e6f64, -1e6..1e6f64), 1..50)) {
            let sums = sums(&pairs);
            let (mae, rmse, bias) = (sums.mae().unwrap(), sums.rmse().unwrap(), sums.bias().unwrap());
            prop_assert!(bias.abs() <= mae * (1.0 + 1e-9) && mae <= rmse * (1.0 + 1e-9));
            prop_assert!(sums.r2().is_none_or(|r2| r2 <= 1.0 && r2.is_finite()));
        }
    }
}
