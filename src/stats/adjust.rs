//! Adjustment of p-values for being many.
//!
//! A family is a slice; entries without a p-value (`None`, or not a number) stay `None` and do not count as tests.

/// Benjamini-Hochberg adjusted p-values: declaring drift where they are below q keeps the expected share of false
/// declarations below q.
///
/// Source: Benjamini and Hochberg (1995); valid under independence and positive dependence (Benjamini and Yekutieli 2001).
#[must_use]
pub fn benjamini_hochberg(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut ranked: Vec<(usize, f64)> = p_values.iter().copied().enumerate().filter_map(|(index, p)| Some((index, valid(p)?))).collect();
    ranked.sort_by(|one, two| one.1.total_cmp(&two.1));
    let tests = ranked.len();
    let mut adjusted = vec![None; p_values.len()];
    let mut least = 1f64;
    for (rank, (index, p)) in ranked.into_iter().enumerate().rev() {
        least = least.min(p * number(tests) / number(rank + 1));
        if let Some(slot) = adjusted.get_mut(index) {
            *slot = Some(least);
        }
    }
    adjusted
}

/// Bonferroni adjusted p-values: each times the number of tests, at most 1. Bounds the chance of any false declaration,
/// under any dependence.
#[must_use]
pub fn bonferroni(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let tests = p_values.iter().filter(|p| valid(**p).is_some()).count();
    p_values.iter().map(|p| valid(*p).map(|p| (p * number(tests)).min(1.0))).collect()
}

fn valid(p: Option<f64>) -> Option<f64> {
    p.filter(|p| !p.is_nan()).map(|p| p.clamp(0.0, 1.0))
}

fn number(count: usize) -> f64 {
    super::counts::real(count as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAMILY: [Option<f64>; 7] = [Some(0.01), Some(0.04), None, Some(0.03), Some(0.005), Some(0.8), Some(0.2)];

    #[test]
    fn benjamini_hochberg_agrees_with_scipy() {
        // scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.005, 0.8, 0.2], method="bh"), SciPy 1.17.1.
        let expected = [Some(0.03), Some(0.06), None, Some(0.06), Some(0.03), Some(0.8), Some(0.24)];
        for (actual, expected) in benjamini_hochberg(&FAMILY).into_iter().zip(expected) {
            match (actual, expected) {
                (Some(actual), Some(expected)) => assert!((actual - expected).abs() < 1e-15),
                (actual, expected) => assert_eq!(actual, expected),
            }
        }
    }

    #[test]
    fn bonferroni_multiplies_by_the_tests_that_count() {
        assert_eq!(bonferroni(&[Some(0.01), None, Some(0.5), Some(f64::NAN)]), [Some(0.02), None, Some(1.0), None]);
        assert_eq!(benjamini_hochberg(&[None, Some(f64::NAN)]), [None, None]);
        assert!(bonferroni(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn adjusted_values_keep_the_order_and_lie_between_the_raw_one_and_bonferroni(family in prop::collection::vec(prop::option::of(0f64..=1.0), 0..40)) {
            let (fdr, strict) = (benjamini_hochberg(&family), bonferroni(&family));
            for ((p, fdr_p), strict_p) in family.iter().zip(&fdr).zip(&strict) {
                prop_assert_eq!(p.is_some(), fdr_p.is_some());
                if let (Some(p), Some(fdr_p), Some(strict_p)) = (p, fdr_p, strict_p) {
                    prop_assert!(*p <= fdr_p + 1e-15 && *fdr_p <= strict_p + 1e-15);
                }
            }
            for (one, one_adjusted) in family.iter().zip(&fdr) {
                for (two, two_adjusted) in family.iter().zip(&fdr) {
                    prop_assert!(one.is_none() || two.is_none() || one > two || one_adjusted <= two_adjusted);
                }
            }
        }
    }
}
