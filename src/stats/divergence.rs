//! How far two histograms are apart, cell by cell.
//!
//! All functions take the counts of the reference and of the current window over the same coarse cells (deciles of a
//! number, or levels) and return `None` where either sample is empty or the slices differ in length. The order of the
//! cells does not matter. Distances over ordered cells are in [`super::ks`] and [`super::wasserstein`].
//!
//! Recipes differ between libraries, so each function states its own: log base, distance or divergence, smoothing.

use std::f64::consts::LN_2;

use super::counts::{Samples, real};

/// Smallest share that enters a logarithm in [`psi`] and [`kl_divergence`]. Shares below it are raised to it and the
/// others stay as they are (no renormalisation): the recipe of the common monitoring libraries, which makes one empty cell against
/// a share of 1 % worth 0.046.
pub const SHARE_FLOOR: f64 = 1e-4;

/// Population stability index: the sum of `(c - r) ln(c / r)`, in nats, symmetric, 0 to about 9.2 per unit of mass moved.
///
/// Source: Siddiqi, Credit Risk Scorecards (2006). Shares are floored at [`SHARE_FLOOR`]. It is the symmetrised
/// Kullback-Leibler divergence of Jeffreys (1946).
#[must_use]
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some(psi_of(floored(&samples)))
}

/// Kullback-Leibler divergence of the current window from the reference, `sum r ln(r / c)`, in nats.
///
/// Source: Kullback and Leibler (1951). Shares are floored at [`SHARE_FLOOR`] and not renormalised, so with cells at the
/// floor the sum can fall a little below 0 (by at most the number of cells times the floor).
#[must_use]
pub fn kl_divergence(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some(kl_of(floored(&samples)))
}

/// Jensen-Shannon distance: the square root of the divergence with logarithms to base 2. Symmetric, 0 to 1, a metric.
///
/// Source: Lin (1991); Endres and Schindelin (2003) for the root. No floor: a cell that is empty on one side is exact.
#[must_use]
pub fn js_distance(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some((js_of(samples.shares()) / LN_2).clamp(0.0, 1.0).sqrt())
}

/// Hellinger distance: `sqrt(1/2 sum (sqrt c - sqrt r)^2)`. Symmetric, 0 to 1, a metric.
#[must_use]
pub fn hellinger(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some(squared_hellinger_of(samples.shares()).clamp(0.0, 1.0).sqrt())
}

/// Total variation distance: half the sum of the absolute differences of the shares. Symmetric, 0 to 1, a metric.
#[must_use]
pub fn total_variation(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    let sum: f64 = samples.shares().map(|(r, c)| (c - r).abs()).sum();
    Some((sum / 2.0).min(1.0))
}

/// The greatest absolute difference of the shares of one cell. Symmetric, 0 to 1, a metric.
#[must_use]
pub fn linf(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some(samples.shares().map(|(r, c)| (c - r).abs()).fold(0.0, f64::max))
}

/// [`psi`] where only empty cells get a share: 1e-4, or a millionth of the least other share of the same sample where that
/// is not above 1e-4. What Evidently reports for levels (`legacy/calculations/stattests/utils.py`).
#[must_use]
pub fn psi_of_filled(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    let fill = |counts: &[u64], size: u64| {
        let least = counts.iter().copied().filter(|count| *count > 0).min().map_or(1.0, |count| real(count) / real(size));
        if least <= SHARE_FLOOR { least / 1e6 } else { SHARE_FLOOR }
    };
    let (of_r, of_c) = (fill(reference, samples.n), fill(current, samples.m));
    // A cell that is empty in both is no level of either.
    let filled = samples.shares().filter(|(r, c)| r + c > 0.0);
    Some(psi_of(filled.map(|(r, c)| (if r > 0.0 { r } else { of_r }, if c > 0.0 { c } else { of_c }))))
}

/// [`psi`] of shares with one count more in each cell that is not empty in both samples, renormalised. What Azure Machine
/// Learning reports for levels.
#[must_use]
pub fn psi_of_successors(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    let filled = || samples.cells().filter(|(r, c)| *r > 0 || *c > 0);
    let added = real(filled().count() as u64);
    let (n, m) = (real(samples.n) + added, real(samples.m) + added);
    Some(psi_of(filled().map(|(r, c)| ((real(r) + 1.0) / n, (real(c) + 1.0) / m))))
}

/// [`js_distance`] of shares, reference first.
#[must_use]
pub fn js_distance_of(shares: &[(f64, f64)]) -> f64 {
    (js_of(shares.iter().copied()) / LN_2).clamp(0.0, 1.0).sqrt()
}

/// [`hellinger`] of shares, reference first.
#[must_use]
pub fn hellinger_of(shares: &[(f64, f64)]) -> f64 {
    squared_hellinger_of(shares.iter().copied()).clamp(0.0, 1.0).sqrt()
}

/// [`psi`] of shares as they are, none of them 0.
pub(super) fn psi_of(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    shares.map(|(r, c)| (c - r) * (c / r).ln()).sum()
}

/// [`kl_divergence`] of shares as they are, none of them 0.
pub(super) fn kl_of(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    shares.map(|(r, c)| r * (r / c).ln()).sum()
}

/// The Jensen-Shannon divergence of shares, in nats.
pub(super) fn js_of(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    shares.map(|(r, c)| js_term(r, c)).sum()
}

/// The square of the Hellinger distance of shares.
pub(super) fn squared_hellinger_of(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    shares.map(|(r, c)| (c.sqrt() - r.sqrt()).powi(2)).sum::<f64>() / 2.0
}

fn floored<'a>(samples: &Samples<'a>) -> impl Iterator<Item = (f64, f64)> + use<'a> {
    samples.shares().map(|(r, c)| (r.max(SHARE_FLOOR), c.max(SHARE_FLOOR)))
}

/// One cell of the Jensen-Shannon divergence in nats: `(r ln(r / s) + c ln(c / s)) / 2` with `s` the mean of `r` and `c`.
fn js_term(r: f64, c: f64) -> f64 {
    let sum = r + c;
    if sum <= 0.0 {
        return 0.0;
    }
    let d = (c - r) / sum;
    if d.abs() > 0.5 {
        let part = |share: f64| if share > 0.0 { share * (2.0 * share / sum).ln() } else { 0.0 };
        return f64::midpoint(part(r), part(c));
    }
    // With d = (c - r) / (c + r) the term is s/2 (ln(1 - d^2) + 2 d atanh(d)), which does not cancel for nearly equal
    // shares as the definition does.
    sum / 4.0 * ((-d * d).ln_1p() + 2.0 * d * d.atanh())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts of `car_value` in the car loan data over the reference deciles, right-closed: the 50,000 reference rows,
    /// weekly window 5 (no drift) and weekly window 30 (drift).
    const REFERENCE: [u64; 10] = [5003, 4998, 5000, 4999, 5000, 5001, 4999, 5001, 4999, 5000];
    const WINDOW_5: [u64; 10] = [100, 124, 110, 116, 115, 123, 114, 110, 112, 132];
    const WINDOW_30: [u64; 10] = [0, 2, 9, 20, 64, 111, 154, 214, 280, 302];

    fn close(actual: Option<f64>, expected: f64) {
        let actual = actual.unwrap();
        assert!((actual - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{actual} is not {expected}");
    }

    #[test]
    fn agrees_with_the_goldens_of_car_value() {
        // psi.q10r, kl.q10r.ref_cur, js_dist.q10r.b2 (scipy.spatial.distance.jensenshannon(p, q, base=2), SciPy 1.17.1),
        // hellinger.q10r, tv.q10r, linf.q10r of tumbling_7d windows 5 and 30.
        close(psi(&REFERENCE, &WINDOW_5), 0.005_368_450_087_935_647);
        close(psi(&REFERENCE, &WINDOW_30), 1.838_674_524_824_541_7);
        close(kl_divergence(&REFERENCE, &WINDOW_5), 0.002_684_565_713_540_622_3);
        close(kl_divergence(&REFERENCE, &WINDOW_30), 1.315_860_691_511_931_3);
        close(js_distance(&REFERENCE, &WINDOW_5), 0.031_105_090_950_103_827);
        close(js_distance(&REFERENCE, &WINDOW_30), 0.464_913_366_299_602_84);
        close(hellinger(&REFERENCE, &WINDOW_5), 0.025_900_718_712_723_782);
        close(hellinger(&REFERENCE, &WINDOW_30), 0.419_786_566_162_777_8);
        close(total_variation(&REFERENCE, &WINDOW_5), 0.028_240_692_041_522_505);
        close(total_variation(&REFERENCE, &WINDOW_30), 0.421_819_307_958_477_5);
        close(linf(&REFERENCE, &WINDOW_5), 0.014_186_851_211_072_66);
        close(linf(&REFERENCE, &WINDOW_30), 0.161_245_674_740_484_43);
    }

    #[test]
    fn agrees_with_the_goldens_of_salary_range() {
        // psi.cat, js_dist.cat.b2 and tv.cat of tumbling_7d window 30: levels in the order 0-20K, 20K-40K, 40K-60K, 60K+.
        let (r, c) = ([19_918, 15_047, 9_977, 5_058], [499, 401, 241, 15]);
        close(psi(&r, &c), 0.190_690_137_314_242_6);
        close(js_distance(&r, &c), 0.172_158_698_404_313_1);
        close(total_variation(&r, &c), 0.088_184_221_453_287_2);
    }

    #[test]
    fn disjoint_samples_are_one_apart() {
        for distance in [js_distance, hellinger, total_variation, linf] {
            assert_eq!(distance(&[7, 0], &[0, 3]), Some(1.0));
        }
        // 2 (1 - 1e-4) ln(1e4).
        close(psi(&[7, 0], &[0, 3]), 18.418_838_675_877_97);
    }

    #[test]
    fn one_empty_cell_against_one_percent_costs_what_the_docs_say() {
        let value = psi(&[99, 1], &[100, 0]).unwrap();
        assert!((value - 0.0457).abs() < 2e-4, "{value}");
    }

    #[test]
    fn nearly_equal_shares_keep_their_digits() {
        // The divergence is 1.8e-15 bits: the definition, with terms near 1, would lose all but two digits of it.
        // mpmath 1.4.1 at 50 digits: sqrt((r log2(r/s) + c log2(c/s) + ...) / 2).
        let distance = js_distance(&[100_000_000, 100_000_000], &[100_000_010, 99_999_990]).unwrap();
        assert!((distance / 4.246_609_001_440_101e-8 - 1.0).abs() < 1e-9, "{distance:e}");
    }

    #[test]
    fn other_libraries_fill_empty_cells_otherwise() {
        // Shares 0.9, 0.1, 0 and 0.5, 0, 0.5: (0.5-0.9) ln(0.5/0.9) + (1e-4-0.1) ln(1e-4/0.1) + (0.5-1e-4) ln(0.5/1e-4).
        let expected = 0.4 * 1.8f64.ln() + 0.0999 * 1e3f64.ln() + 0.4999 * 5e3f64.ln();
        close(psi_of_filled(&[9, 1, 0, 0], &[5, 0, 5, 0]), expected);
        // A share of 1e-5 makes the fill of that sample 1e-11.
        let expected = (0.99999 - 0.5) * (0.99999f64 / 0.5).ln() + (0.5 - 1e-5) * 5e4f64.ln();
        close(psi_of_filled(&[99_999, 1], &[1, 1]), expected);
        // 10/13, 2/13, 1/13 against 6/13, 1/13, 6/13.
        let expected = (4.0 * (10.0f64 / 6.0).ln() + 2f64.ln() + 5.0 * 6f64.ln()) / 13.0;
        close(psi_of_successors(&[9, 1, 0, 0], &[5, 0, 5, 0]), expected);
        assert_eq!((psi_of_filled(&[1], &[0]), psi_of_successors(&[0], &[1])), (None, None));
        let shares = [(0.25, 0.5), (0.75, 0.5)];
        close(Some(js_distance_of(&shares)), js_distance(&[1, 3], &[2, 2]).unwrap());
        close(Some(hellinger_of(&shares)), hellinger(&[1, 3], &[2, 2]).unwrap());
    }

    #[test]
    fn an_empty_sample_has_no_divergence() {
        for divergence in [psi, kl_divergence, js_distance, hellinger, total_variation, linf] {
            assert_eq!(divergence(&[1, 2], &[0, 0]), None);
            assert_eq!(divergence(&[1, 2], &[1]), None);
        }
    }

    fn samples() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
        let count = || prop_oneof![Just(0u64), 0..20u64, 0..1_000_000_000_000u64];
        (1usize..30).prop_flat_map(move |cells| (prop::collection::vec(count(), cells), prop::collection::vec(count(), cells)))
    }

    proptest! {
        #[test]
        fn bounded_symmetric_and_blind_to_the_order_of_cells((r, c) in samples()) {
            let reversed = |counts: &[u64]| counts.iter().rev().copied().collect::<Vec<u64>>();
            let empty = r.iter().sum::<u64>() == 0 || c.iter().sum::<u64>() == 0;
            for distance in [js_distance, hellinger, total_variation, linf] {
                let value = distance(&r, &c);
                prop_assert_eq!(value.is_none(), empty);
                let Some(value) = value else { continue };
                prop_assert!((0.0..=1.0).contains(&value));
                prop_assert!((value - distance(&c, &r).unwrap()).abs() < 1e-12);
                prop_assert!((value - distance(&reversed(&r), &reversed(&c)).unwrap()).abs() < 1e-9);
            }
            if let (Some(forward), Some(backward)) = (psi(&r, &c), psi(&c, &r)) {
                prop_assert!(forward >= 0.0 && forward.is_finite());
                prop_assert!((forward - backward).abs() < 1e-9 * forward.max(1.0));
                // Jeffreys: PSI is the sum of the two Kullback-Leibler divergences.
                let jeffreys = kl_divergence(&r, &c).unwrap() + kl_divergence(&c, &r).unwrap();
                prop_assert!((forward - jeffreys).abs() < 1e-9 * forward.max(1.0));
            }
        }

        #[test]
        fn the_same_shares_are_zero_apart(counts in prop::collection::vec(0..1_000_000u64, 1..30), times in 1..1000u64) {
            prop_assume!(counts.iter().sum::<u64>() > 0);
            let more: Vec<u64> = counts.iter().map(|count| count * times).collect();
            for divergence in [psi, kl_divergence, js_distance, hellinger, total_variation, linf] {
                prop_assert_eq!(divergence(&counts, &more), Some(0.0));
            }
        }
    }
}
