//! The two-sample Kolmogorov-Smirnov test over binned samples.
//!
//! Cells are ordered: below the first edge, the bins `(edge, next edge]`, above the last edge. The empirical distribution
//! functions are known exactly at every edge, so the binned statistic can only fall short of the raw one, and
//! [`bound`] says by how much at most. Knows nothing of values between the edges.

use std::f64::consts::PI;

use super::counts::{Samples, real};

/// D: the greatest absolute difference of the two empirical distribution functions at the edges. 0 to 1.
///
/// Source: Smirnov (1939). It never exceeds the statistic of the raw values. `None` where a sample is empty or the
/// slices differ in length.
#[must_use]
pub fn statistic(reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    Some(steps(&samples).map(|step| (step.r_after - step.c_after).abs()).fold(0.0, f64::max))
}

/// How much the D of the raw values may exceed [`statistic`], given the `k` edges of the `k + 1` cells.
///
/// Inside a bin the raw difference is at most `max(F after - G before, G after - F before)`, which exceeds the binned D by
/// no more than the smaller of the two shares of that bin. A bin that holds one value only (an atom, whose lower edge is
/// the next float below its upper one) adds nothing. `None` where a sample is empty or lengths do not fit.
#[must_use]
pub fn bound(reference: &[u64], current: &[u64], edges: &[f64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    if reference.len() != edges.len() + 1 {
        return None;
    }
    let is_atom = edges.windows(2).map(|pair| matches!(pair, [lower, upper] if lower.next_up() >= *upper));
    let mut at_edges = 0f64;
    let mut inside = 0f64;
    for (step, atom) in steps(&samples).zip([false].into_iter().chain(is_atom).chain([false])) {
        at_edges = at_edges.max((step.r_after - step.c_after).abs());
        if !atom {
            inside = inside.max(step.r_after - step.c_before).max(step.c_after - step.r_before);
        }
    }
    Some((inside - at_edges).max(0.0))
}

/// The asymptotic two-sided p-value of `statistic` where `noise` is `1/n + 1/m`, each size divided by its design effect.
///
/// Source: Kolmogorov (1933), Smirnov (1948): `Q(sqrt(nm / (n + m)) D)` without a small-sample correction. Over bins it
/// can only be larger than the p-value of the raw statistic. `None` where an argument is not a finite number or `noise`
/// is not positive.
#[must_use]
pub fn p_value(statistic: f64, noise: f64) -> Option<f64> {
    if !statistic.is_finite() || !noise.is_finite() || noise <= 0.0 {
        return None;
    }
    Some(kolmogorov_sf(statistic / noise.sqrt()))
}

/// The p-value of `statistic` by the law of one sample of `round(nm / (n + m))` values, as `scipy.stats.ks_2samp(R, C,
/// method="asymp")` has it: what Evidently and Azure Machine Learning decide by for large samples.
///
/// Source: the correction of Vrbik (2018), Small-sample corrections to Kolmogorov-Smirnov test statistic; within 0.0005 of SciPy
/// from 50 values on. `None` where an argument is not a finite number or a size is 0.
#[must_use]
pub fn p_value_of_one_sample(statistic: f64, n: u64, m: u64) -> Option<f64> {
    let size = (real(n) * real(m) / (real(n) + real(m))).round_ties_even();
    if !statistic.is_finite() || size.is_nan() || size < 1.0 {
        return None;
    }
    let root = size.sqrt();
    let x = root * statistic;
    Some(kolmogorov_sf(x + 1.0 / (6.0 * root) + (x - 1.0) / (4.0 * size)))
}

/// `Q(x)`: the probability that the supremum of the absolute value of a Brownian bridge exceeds `x`.
///
/// Source: Kolmogorov (1933) for large `x`; Smirnov's theta-function form, which converges fast for small `x`.
#[must_use]
pub fn kolmogorov_sf(x: f64) -> f64 {
    /// Where both series converge to double precision within [`TERMS`] terms.
    const SWITCH: f64 = 1.0;
    /// Terms that can still matter at the switch: exp(-2 * 5^2) is 2e-22.
    const TERMS: u8 = 5;
    if x.is_nan() || x <= 0.0 {
        return 1.0;
    }
    let sf = if x < SWITCH {
        let scale = PI * PI / (8.0 * x * x);
        let sum: f64 = (1..=TERMS).map(|j| f64::from(2 * j - 1)).map(|odd| (-odd * odd * scale).exp()).sum();
        1.0 - (2.0 * PI).sqrt() / x * sum
    } else {
        let term = |j: u8| (-2.0 * f64::from(j) * f64::from(j) * x * x).exp();
        2.0 * (1..=TERMS).map(|j| if j % 2 == 1 { term(j) } else { -term(j) }).sum::<f64>()
    };
    sf.clamp(0.0, 1.0)
}

/// The two distribution functions before and after one cell.
struct Step {
    r_before: f64,
    r_after: f64,
    c_before: f64,
    c_after: f64,
}

fn steps(samples: &Samples<'_>) -> impl Iterator<Item = Step> {
    let (n, m) = (real(samples.n), real(samples.m));
    let (mut r_sum, mut c_sum) = (0u64, 0u64);
    samples.cells().map(move |(r, c)| {
        let (r_before, c_before) = (real(r_sum) / n, real(c_sum) / m);
        r_sum += r;
        c_sum += c;
        Step { r_before, r_after: real(r_sum) / n, c_before, c_after: real(c_sum) / m }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts of `loan_length` of the car loan data at 6, 7, ... 22 months: reference, weekly windows 5 and 30. All atoms.
    const REFERENCE: [u64; 17] = [7930, 2512, 1499, 1330, 1249, 1303, 1418, 1612, 1981, 2287, 2842, 3573, 4280, 5109, 5713, 5202, 160];
    const WINDOW_5: [u64; 17] = [178, 62, 45, 29, 19, 26, 27, 43, 46, 54, 68, 69, 103, 111, 149, 126, 1];
    const WINDOW_30: [u64; 17] = [47, 78, 59, 36, 31, 23, 18, 23, 29, 33, 38, 53, 86, 136, 210, 242, 14];

    #[test]
    fn agrees_with_the_goldens_of_loan_length() {
        // ks.stat and ks.p_limit: scipy.stats.ks_2samp(R, C).statistic and scipy.special.kolmogorov(sqrt(nm/(n+m)) D),
        // SciPy 1.17.1, tumbling_7d windows 5 and 30.
        let noise = 1.0 / 50_000.0 + 1.0 / 1156.0;
        for (window, d, p) in [
            (WINDOW_5, 0.017_254_325_259_515_535, 0.889_628_796_299_307_1),
            (WINDOW_30, 0.197_081_245_674_740_5, 1.522_293_044_780_327_8e-38),
        ] {
            let statistic = statistic(&REFERENCE, &window).unwrap();
            assert!((statistic - d).abs() < 1e-14, "{statistic}");
            let p_limit = p_value(statistic, noise).unwrap();
            assert!((p_limit / p - 1.0).abs() < 1e-11, "{p_limit:e}");
        }
        // ks.p_asymp: scipy.stats.ks_2samp(R, C, method="asymp").pvalue; loan_length as above, Parch of titanic with 891 and 100 rows.
        for (d, n, m, p) in [
            (0.017_254_325_259_515_535, 50_000, 1156, 0.883_654_869_324_010_4),
            (0.013_814_394_463_667_834, 50_000, 1156, 0.980_317_917_998_436),
            (0.059_057_239_057_239_03, 891, 100, 0.893_639_372_050_042_7),
            (0.043_378_226_711_560_11, 891, 100, 0.993_158_186_235_682_1),
        ] {
            let found = p_value_of_one_sample(d, n, m).unwrap();
            assert!((found - p).abs() < 5e-4, "{found} is not {p}");
        }
        assert!(p_value_of_one_sample(0.197_081_245_674_740_5, 50_000, 1156).unwrap() < 1e-37);
        assert_eq!((p_value_of_one_sample(f64::NAN, 1, 1), p_value_of_one_sample(0.1, 0, 0)), (None, None));
        // ks.p_limit of car_value in windows 5 and 30, from their D.
        for (d, p) in [(0.020_481_937_716_263_054, 0.730_329_779_229_139_4), (0.430_292_110_726_643_53, 3.924_166_017_750_376e-182)] {
            assert!((p_value(d, noise).unwrap() / p - 1.0).abs() < 1e-11);
        }
    }

    #[test]
    fn the_survival_function_agrees_with_scipy() {
        // scipy.special.kolmogorov(x), SciPy 1.17.1.
        for (x, expected) in [
            (0.2, 0.999_999_999_999_495),
            (0.5, 0.963_945_243_664_875_1),
            (0.8, 0.544_142_411_574_198_1),
            (0.999, 0.271_073_164_115_063_94),
            (1.0, 0.269_999_671_677_355_45),
            (1.5, 0.022_217_962_616_525_127),
            (3.0, 3.045_995_948_942_526e-8),
        ] {
            assert!((kolmogorov_sf(x) / expected - 1.0).abs() < 1e-12, "{x}: {:e}", kolmogorov_sf(x));
        }
        assert_eq!((kolmogorov_sf(0.0), kolmogorov_sf(1e300), kolmogorov_sf(f64::NAN)), (1.0, 0.0, 1.0));
    }

    #[test]
    fn the_bound_is_the_smaller_share_and_zero_at_atoms() {
        // One bin holds half of the reference and a quarter of the window; D at the edges is 0.25.
        let (r, c) = ([0, 50, 50, 0], [0, 25, 75, 0]);
        assert_eq!(statistic(&r, &c), Some(0.25));
        assert_eq!(bound(&r, &c, &[0.0, 1.0, 2.0]), Some(0.5));
        let two = 2f64;
        // Bins (1, next below 2] and the atom at 2: only the empty bin between is open to doubt.
        assert_eq!(bound(&[0, 0, 9, 0], &[0, 0, 4, 0], &[1.0, two.next_down(), two]), Some(0.0));
    }

    fn raw_d(r: &[i32], c: &[i32]) -> f64 {
        let cdf = |sample: &[i32], x: i32| real(sample.iter().filter(|v| **v <= x).count() as u64) / real(sample.len() as u64);
        r.iter().chain(c).map(|x| (cdf(r, *x) - cdf(c, *x)).abs()).fold(0.0, f64::max)
    }

    proptest! {
           #[test]
           fn the_raw_statistic_lies_within_the_bound(r in prop::collection::vec(0i32..100, 1..60), c in prop::collection::vec(0i32..100, 1..60), mut edges in prop::collection::vec(0i32..100, 1..8)) {
               edges.sort_unstable();
               edges.dedup();
               let count = |sample: &[i32]| {
                   let mut cells = vec![0u64; edges.len() + 1];
                   for v in sample {
    cells[edges.iter().filter(|e| *e < v).count()] += 1;
    }
                   cells
               };
               let (rc, cc) = (count(&r), count(&c));
               let float_edges: Vec<f64> = edges.iter().map(|e| f64::from(*e)).collect();
               let (d, slack) = (statistic(&rc, &cc).unwrap(), bound(&rc, &cc, &float_edges).unwrap());
               let raw = raw_d(&r, &c);
               prop_assert!(d <= raw + 1e-12 && raw <= d + slack + 1e-12, "{d} {raw} {slack}");
               let largest = Samples::new(&rc, &cc).unwrap().shares().map(|(p, q)| p.min(q)).fold(0.0, f64::max);
               prop_assert!(slack <= largest + 1e-12);
               prop_assert_eq!(d, statistic(&cc, &rc).unwrap());
               prop_assert_eq!(statistic(&rc, &rc), Some(0.0));
           }
       }
}
