//! Tests of rates: nulls, invalid values, values out of range, new categories.
//!
//! A rate is hits out of a total; knows nothing of what a hit is.

use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::{finite, real};
use super::evidence::{DesignEffects, MINIMUM_EXPECTED};

/// Hits out of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many count, at most `total`.
    pub hits: u64,
    /// Out of how many.
    pub total: u64,
}

impl Rate {
    /// The share of hits; `None` where the total is 0 or smaller than the hits.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.total > 0 && self.hits <= self.total).then(|| real(self.hits) / real(self.total))
    }
}

/// Against what a rate is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// The current rate is another.
    TwoSided,
    /// The current rate is greater than the reference's.
    Greater,
    /// The current rate is less than the reference's.
    Less,
}

/// The p-value of a difference between two rates: the two-proportion z-test with pooled variance or, where any cell of the
/// 2 x 2 table expects fewer than [`MINIMUM_EXPECTED`], Fisher's exact test (1935).
///
/// Design effects widen the variance of the z-test; in Fisher's test they divide the counts (rounded). `None` where a total is 0 or
/// smaller than its hits, a design effect is not a positive number, or totals near the range of `u64` meet Fisher's test.
#[must_use]
pub fn p_value(reference: Rate, current: Rate, alternative: Alternative, design: DesignEffects) -> Option<f64> {
    let difference = current.value()? - reference.value()?;
    let (n, m) = (real(reference.total), real(current.total));
    let noise = design.noise(reference.total, current.total)?;
    let pooled = (real(reference.hits) + real(current.hits)) / (n + m);
    let least_expected = pooled.min(1.0 - pooled) * (n / design.reference).min(m / design.current);
    if least_expected < MINIMUM_EXPECTED {
        return fisher(effective(reference, design.reference), effective(current, design.current), alternative);
    }
    let z = difference / (pooled * (1.0 - pooled) * noise).sqrt();
    let normal = Normal::standard();
    let p = match alternative {
        Alternative::TwoSided => 2.0 * normal.sf(z.abs()),
        Alternative::Greater => normal.sf(z),
        Alternative::Less => normal.sf(-z),
    };
    finite(p).map(|p| p.clamp(0.0, 1.0))
}

/// The one-sided p-value of more hits than a rate that was estimated from `n` rows of the reference lets expect.
///
/// For new categories, whose share in the reference is 0 by construction: `expected` is [`good_turing`] of the reference or the
/// rate between its held-out blocks. It is compared as if it were `expected * n` hits (rounded up) out of `n`, so that its own
/// uncertainty counts and one new category in a thousand rows is no proof. `None` where `expected` is not a share, or as for
/// [`p_value`].
#[must_use]
pub fn excess_p_value(expected: f64, n: u64, current: Rate, design: DesignEffects) -> Option<f64> {
    if !(0.0..=1.0).contains(&expected) {
        return None;
    }
    // At most n: rounding a share of n up cannot pass it by more than the rounding of n itself.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let hits = ((expected * real(n)).ceil() as u64).min(n);
    p_value(Rate { hits, total: n }, current, Alternative::Greater, design)
}

/// The share of future values that the reference has not seen: levels that occur once in it, over its rows.
///
/// Source: Good (1953), after Turing. `None` for an empty reference; at most 1.
#[must_use]
pub fn good_turing(singletons: u64, n: u64) -> Option<f64> {
    (n > 0).then(|| (real(singletons) / real(n)).min(1.0))
}

/// Counts of as many independent rows as the sample is worth.
fn effective(rate: Rate, design: f64) -> Rate {
    if design <= 1.0 {
        return rate;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let scale = |count: u64| (real(count) / design).round() as u64;
    let total = scale(rate.total);
    Rate { hits: scale(rate.hits).min(total), total }
}

/// Fisher's exact test: hypergeometric probabilities relative to the mode, by recurrence, without factorials.
///
/// Steps until the terms vanish, which is some hundreds where one cell expects fewer than [`MINIMUM_EXPECTED`].
fn fisher(reference: Rate, current: Rate, alternative: Alternative) -> Option<f64> {
    /// Tables as likely as the observed one count as extreme despite rounding (R's `fisher.test` allows the same).
    const TIE: f64 = 1.0 + 1e-7;
    let (n, m) = (u128::from(reference.total), u128::from(current.total));
    let hits = u128::from(reference.hits) + u128::from(current.hits);
    let (least, most) = (hits.saturating_sub(n), hits.min(m));
    let mode = ((m + 1).checked_mul(hits + 1)? / (n + m + 2)).clamp(least, most);
    let observed = u128::from(current.hits);
    let float = |count: u128| real(u64::try_from(count).unwrap_or(u64::MAX));
    // Weight of x + 1 hits over the weight of x, among the current rows.
    let ratio = |x: u128| {
        let misses = (n + x + 1).saturating_sub(hits);
        float(hits.saturating_sub(x)) * float(m.saturating_sub(x)) / (float(x + 1) * float(misses))
    };
    // Both walks stop where a weight is no longer a positive number.
    let upward = std::iter::successors(Some((mode, 1.0f64)), |(x, weight)| {
        (*x < most).then(|| (x + 1, weight * ratio(*x))).filter(|(_, weight)| *weight > 0.0)
    });
    let downward = std::iter::successors(Some((mode, 1.0f64)), |(x, weight)| {
        let below = x.checked_sub(1).filter(|below| *below >= least)?;
        Some((below, weight / ratio(below))).filter(|(_, weight)| *weight > 0.0)
    });
    let table: Vec<(u128, f64)> = upward.chain(downward.skip(1)).collect();
    let of_observed = table.iter().find(|(x, _)| *x == observed).map_or(0.0, |(_, weight)| *weight);
    let is_extreme = |x: u128, weight: f64| match alternative {
        Alternative::TwoSided => weight <= of_observed * TIE,
        Alternative::Greater => x >= observed,
        Alternative::Less => x <= observed,
    };
    let total: f64 = table.iter().map(|(_, weight)| weight).sum();
    let extreme: f64 = table.iter().filter(|(x, weight)| is_extreme(*x, *weight)).map(|(_, weight)| weight).sum();
    finite(extreme / total).map(|p| p.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::{AliasTable, SplitMix64};

    const ALTERNATIVES: [Alternative; 3] = [Alternative::TwoSided, Alternative::Greater, Alternative::Less];
    const INDEPENDENT: DesignEffects = DesignEffects { reference: 1.0, current: 1.0 };

    fn rates(rh: u64, n: u64, ch: u64, m: u64) -> (Rate, Rate) {
        (Rate { hits: rh, total: n }, Rate { hits: ch, total: m })
    }

    fn check(rates: (Rate, Rate), expected: [f64; 3], tolerance: f64) {
        for (alternative, expected) in ALTERNATIVES.into_iter().zip(expected) {
            let p = p_value(rates.0, rates.1, alternative, INDEPENDENT).unwrap();
            assert!((p / expected - 1.0).abs() < tolerance, "{rates:?} {alternative:?}: {p:e} is not {expected:e}");
        }
    }

    #[test]
    fn small_counts_agree_with_fisher_in_scipy() {
        // scipy.stats.fisher_exact([[ch, m - ch], [rh, n - rh]], alternative=a).pvalue for two-sided, greater, less;
        // SciPy 1.17.1.
        check(rates(0, 50_000, 3, 1000), [7.516_420_154_086_947e-6, 7.516_420_154_086_947e-6, 1.0], 1e-10);
        check(rates(2, 100, 9, 60), [0.002_613_972_679_624_381, 0.002_613_972_679_624_381_5, 0.999_745_818_622_797], 1e-10);
        check(rates(1, 40, 0, 30), [1.0, 1.0, 0.571_428_571_428_571_5], 1e-10);
        check(rates(400, 1000, 1, 4), [1.0, 0.870_400_573_131_705, 0.476_061_894_696_203_3], 1e-10);
        check(rates(12, 20_000, 4, 300), [7.395_588_080_572_753e-5, 7.395_588_080_572_753e-5, 0.999_997_394_180_547_4], 1e-10);
    }

    #[test]
    fn large_counts_agree_with_the_z_test() {
        // p = (rh + ch) / (n + m); z = (ch/m - rh/n) / numpy.sqrt(p (1 - p) (1/n + 1/m));
        // 2 * scipy.stats.norm.sf(abs(z)), norm.sf(z), norm.cdf(z); SciPy 1.17.1.
        let one = [3.269_620_649_991_570_5e-6, 1.634_810_324_995_785_2e-6, 0.999_998_365_189_675];
        check(rates(500, 50_000, 25, 1000), one, 1e-9);
        check(rates(5000, 10_000, 240, 500), [0.382_732_225_713_576_24, 0.808_633_887_143_212, 0.191_366_112_856_788_12], 1e-9);
    }

    #[test]
    fn one_new_category_is_no_proof_and_many_are() {
        let expected = good_turing(0, 50_000).unwrap();
        let one = excess_p_value(expected, 50_000, Rate { hits: 1, total: 1000 }, INDEPENDENT).unwrap();
        // 1000 / 51000: the chance that the one hit among all rows falls into the window.
        assert!((one - 1000.0 / 51_000.0).abs() < 1e-12, "{one}");
        let many = excess_p_value(expected, 50_000, Rate { hits: 30, total: 1000 }, INDEPENDENT).unwrap();
        assert!(many < 1e-40);
        let usual = excess_p_value(0.03, 50_000, Rate { hits: 30, total: 1000 }, INDEPENDENT).unwrap();
        assert!((usual - 0.5).abs() < 0.01, "{usual}");
        assert_eq!(excess_p_value(f64::NAN, 10, Rate { hits: 1, total: 5 }, INDEPENDENT), None);
        assert_eq!((good_turing(3, 0), good_turing(3, 12)), (None, Some(0.25)));
    }

    #[test]
    fn dependent_rows_weaken_the_evidence() {
        let design = DesignEffects { reference: 4.0, current: 4.0 };
        for (r, c) in [rates(500, 50_000, 25, 1000), rates(4, 20_000, 12, 1000)] {
            let independent = p_value(r, c, Alternative::Greater, INDEPENDENT).unwrap();
            let dependent = p_value(r, c, Alternative::Greater, design).unwrap();
            assert!(dependent > 3.0 * independent && dependent < 0.05, "{independent:e} {dependent:e}");
        }
    }

    #[test]
    fn what_is_no_rate_has_no_p_value() {
        let fine = Rate { hits: 1, total: 2 };
        // Totals at the end of the range: no value, and no panic.
        let all = Rate { hits: u64::MAX, total: u64::MAX };
        assert_eq!(p_value(all, all, Alternative::TwoSided, INDEPENDENT), None);
        for bad in [Rate { hits: 0, total: 0 }, Rate { hits: 3, total: 2 }] {
            assert_eq!(p_value(fine, bad, Alternative::TwoSided, INDEPENDENT), None);
            assert_eq!(p_value(bad, fine, Alternative::TwoSided, INDEPENDENT), None);
        }
    }

    /// Zipf levels without drift: the level of the test of new categories against Good-Turing.
    #[test]
    fn the_level_of_new_categories_holds() {
        let shares: Vec<u64> = (1..=3000).map(|rank| 10_000_000 / rank).collect();
        let population = AliasTable::new(&shares).unwrap();
        let mut random = SplitMix64::new(11);
        let (mut r, mut c) = (vec![0; shares.len()], vec![0; shares.len()]);
        let mut alarms = 0;
        for _ in 0..600 {
            population.sample(8000, &mut random, &mut r);
            population.sample(800, &mut random, &mut c);
            let expected = good_turing(r.iter().filter(|count| **count == 1).count() as u64, 8000).unwrap();
            let hits = r.iter().zip(&c).filter(|(r, _)| **r == 0).map(|(_, c)| *c).sum();
            let p = excess_p_value(expected, 8000, Rate { hits, total: 800 }, INDEPENDENT).unwrap();
            alarms += u32::from(p < 0.05);
        }
        let level = f64::from(alarms) / 600.0;
        assert!((0.02..0.08).contains(&level), "{level}");
    }

    proptest! {
        #[test]
        fn p_values_are_probabilities(n in 1..1_000_000_000u64, m in 1..1_000_000u64, rh in 0..=1000u64, ch in 0..=1000u64, small in any::<bool>()) {
            let of = |total: u64, thousandths: u64| {
                let hits = total * thousandths / 1000;
                Rate { hits: if small { hits.min(6).min(total) } else { hits.min(total) }, total }
            };
            let (r, c) = (of(n, rh), of(m, ch));
            let [two, greater, less] = ALTERNATIVES.map(|alternative| p_value(r, c, alternative, INDEPENDENT).unwrap());
            prop_assert!([two, greater, less].iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!(greater + less >= 1.0 - 1e-9);
            let mirrored = p_value(c, r, Alternative::Less, INDEPENDENT).unwrap();
            prop_assert!((greater - mirrored).abs() < 1e-9, "{greater} {mirrored}");
            prop_assert!(p_value(r, r, Alternative::TwoSided, INDEPENDENT).unwrap() > 0.99);
        }
    }
}
