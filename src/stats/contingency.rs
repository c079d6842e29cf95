//! Two samples as a contingency table of 2 rows and one column per cell.
//!
//! These are the values, unpooled, that other libraries report. Their p-values are in [`super::evidence`], over a table
//! whose rare cells are pooled. Open vocabularies: the reference share of `unseen` is 0 by construction and not by sampling, so
//! callers add that cell to `other` before they ask for evidence; the effects keep it apart.

use super::counts::{Samples, real};

/// Pearson's two-sample chi-square statistic, without Yates' correction. Columns that are empty in both rows add nothing.
///
/// Source: Pearson (1911). `None` where a sample is empty or the slices differ in length.
#[must_use]
pub fn chi_square(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    let (n, m) = (real(samples.n), real(samples.m));
    // sum (O - E)^2 / E over both rows of a column is n m (r/n - c/m)^2 / (r + c).
    let terms = samples.cells().map(|(r, c)| {
        let column = real(r) + real(c);
        let gap = real(r) / n - real(c) / m;
        if column > 0.0 { gap * gap * n * m / column } else { 0.0 }
    });
    Some(terms.sum())
}

/// The two-sample log-likelihood ratio statistic `2 sum O ln(O / E)`. Columns that are empty in both rows add nothing.
///
/// Source: Wilks (1938); Woolf (1957). `None` where a sample is empty or the slices differ in length.
#[must_use]
pub fn g_test(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    let (n, m) = (real(samples.n), real(samples.m));
    let terms = samples.cells().map(|(r, c)| {
        let pooled = (real(r) + real(c)) / (n + m);
        let term = |count: u64, size: f64| if count > 0 { real(count) * (real(count) / size / pooled).ln() } else { 0.0 };
        term(r, n) + term(c, m)
    });
    Some((2.0 * terms.sum::<f64>()).max(0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(actual: Option<f64>, expected: f64) {
        let actual = actual.unwrap();
        assert!((actual / expected - 1.0).abs() < 1e-11, "{actual} is not {expected}");
    }

    #[test]
    fn agrees_with_the_goldens() {
        // chi2.q10r.stat of car_value, tumbling_7d windows 5 and 30:
        // scipy.stats.chi2_contingency([r, c], correction=False).statistic, SciPy 1.17.1.
        let reference = [5003, 4998, 5000, 4999, 5000, 5001, 4999, 5001, 4999, 5000];
        close(chi_square(&reference, &[100, 124, 110, 116, 115, 123, 114, 110, 112, 132]), 6.076_546_289_183_634);
        close(chi_square(&reference, &[0, 2, 9, 20, 64, 111, 154, 214, 280, 302]), 1_024.590_867_915_370_8);
        // chi2.stat and gtest.stat (lambda_="log-likelihood") of salary_range, window 30.
        let (r, c) = ([19_918, 15_047, 9_977, 5_058], [499, 401, 241, 15]);
        close(chi_square(&r, &c), 100.092_059_941_378_86);
        close(g_test(&r, &c), 151.298_951_872_406_06);
    }

    #[test]
    fn columns_that_are_empty_in_both_add_nothing() {
        assert_eq!(chi_square(&[0, 8, 2], &[0, 1, 3]), chi_square(&[8, 2], &[1, 3]));
        assert_eq!(g_test(&[0, 8, 2], &[0, 1, 3]), g_test(&[8, 2], &[1, 3]));
        assert_eq!((chi_square(&[8], &[3]), g_test(&[8], &[3])), (Some(0.0), Some(0.0)));
        assert_eq!(chi_square(&[8, 1], &[0, 0]), None);
    }

    proptest! {
        #[test]
        fn symmetric_finite_and_zero_on_the_same_shares(cells in prop::collection::vec((0..100_000u64, 0..100_000u64), 1..40), times in 1..50u64) {
            let (r, c): (Vec<u64>, Vec<u64>) = cells.into_iter().unzip();
            let more: Vec<u64> = r.iter().map(|count| count * times).collect();
            for statistic in [chi_square, g_test] {
                let (forward, backward) = (statistic(&r, &c), statistic(&c, &r));
                prop_assert_eq!(forward.is_some(), r.iter().sum::<u64>() > 0 && c.iter().sum::<u64>() > 0);
                if let (Some(forward), Some(backward)) = (forward, backward) {
                    prop_assert!(forward.is_finite() && forward >= 0.0);
                    prop_assert!((forward - backward).abs() <= 1e-9 * forward.max(1.0));
                }
                if let Some(same) = statistic(&r, &more) {
                    prop_assert!(same < 1e-6, "{}", same);
                }
            }
        }
    }
}
