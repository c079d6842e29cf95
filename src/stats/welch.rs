//! Welch's test of a difference of means, from means and variances.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::counts::{finite, real};
use super::evidence::DesignEffects;

/// Degrees of freedom above which the normal distribution stands in for Student's: the continued fraction of the latter
/// no longer converges, and the two-sided p-values differ by less than 1 % of themselves down to 1e-9.
const NORMAL_ABOVE: f64 = 50_000.0;

/// Size, mean and variance of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Number of values.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Their variance with ddof 1, in the square of the unit of the mean.
    pub variance: f64,
}

/// The outcome of Welch's test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Welch {
    /// Mean of the reference less mean of the current window, over its standard error.
    pub t: f64,
    /// Degrees of freedom by Welch and Satterthwaite.
    pub degrees_of_freedom: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

/// Compares two means without assuming equal variances. Design effects multiply the variance of each mean.
///
/// Source: Welch (1947), Satterthwaite (1946). `None` where a sample has fewer than two values, both are constant, or a
/// number is not finite.
#[must_use]
pub fn welch(reference: Sample, current: Sample, design: DesignEffects) -> Option<Welch> {
    if reference.n < 2 || current.n < 2 || design.noise(reference.n, current.n).is_none() {
        return None;
    }
    // Variances of the two means.
    let of_reference = reference.variance * design.reference / real(reference.n);
    let of_current = current.variance * design.current / real(current.n);
    let variance = finite(of_reference + of_current).filter(|variance| *variance > 0.0)?;
    let t = finite((reference.mean - current.mean) / variance.sqrt())?;
    // By shares of the variance, so that tiny variances do not underflow when squared.
    let (share, rest) = (of_reference / variance, of_current / variance);
    let degrees_of_freedom = finite(1.0 / (share * share / real(reference.n - 1) + rest * rest / real(current.n - 1)))?;
    let p = if degrees_of_freedom > NORMAL_ABOVE {
        2.0 * Normal::standard().sf(t.abs())
    } else {
        2.0 * StudentsT::new(0.0, 1.0, degrees_of_freedom).ok()?.sf(t.abs())
    };
    finite(p).map(|p| Welch { t, degrees_of_freedom, p_value: p.clamp(0.0, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mean: f64, sd: f64, n: u64) -> Sample {
        Sample { n, mean, variance: sd * sd }
    }

    fn independent(reference: Sample, current: Sample) -> Option<Welch> {
        welch(reference, current, DesignEffects::default())
    }

    #[test]
    fn agrees_with_the_goldens() {
        // welch.t, welch.df and welch.p: scipy.stats.ttest_ind(R, C, equal_var=False), SciPy 1.17.1; car_value in weekly
        // window 30 and loan_length in window 5.
        for (reference, current, t, df, p) in [
            (
                sample(29_644.666_42, 20_397.639_954_375_57, 50_000),
                sample(47_999.959_342_560_556, 21_310.918_921_380_893, 1156),
                -28.979_222_510_923_84,
                1_204.433_439_642_676_8,
                1.573_337_674_438_496_8e-140,
            ),
            (
                sample(14.466_12, 5.401_491_985_360_467, 50_000),
                sample(14.539_792_387_543_253, 5.433_515_484_438_257, 1156),
                -0.455_823_953_133_138_95,
                1_208.367_911_691_794_5,
                0.648_598_479_712_018,
            ),
        ] {
            let test = independent(reference, current).unwrap();
            assert!((test.t / t - 1.0).abs() < 1e-10, "{}", test.t);
            assert!((test.degrees_of_freedom / df - 1.0).abs() < 1e-10, "{}", test.degrees_of_freedom);
            assert!((test.p_value / p - 1.0).abs() < 1e-8, "{:e}", test.p_value);
        }
    }

    #[test]
    fn few_and_many_degrees_of_freedom_agree_with_scipy() {
        // scipy.stats.ttest_ind_from_stats(0, 1, 10, 1.5, 2, 7, equal_var=False).pvalue, SciPy 1.17.1.
        let few = independent(sample(0.0, 1.0, 10), sample(1.5, 2.0, 7)).unwrap().p_value;
        assert!((few / 0.104_001_184_579_064_71 - 1.0).abs() < 1e-10, "{few}");
        // ... (0, 1, 1e6, 0.005, 1, 2e6, equal_var=False).pvalue.
        let many = independent(sample(0.0, 1.0, 1_000_000), sample(0.005, 1.0, 2_000_000)).unwrap().p_value;
        assert!((many / 4.455_881_968_317_021e-5 - 1.0).abs() < 1e-3, "{many}");
        // 2 * scipy.stats.t.sf(t, 49000), next to where the normal takes over: the continued fraction has converged.
        for (t, expected) in [
            (0.1, 0.920_344_734_549_047_3),
            (2.0, 0.045_505_773_232_058_046),
            (6.0, 1.986_980_440_788_223e-9),
            (30.0, 5.873_277_928_721_735_5e-196),
        ] {
            let p = 2.0 * StudentsT::new(0.0, 1.0, 49_000.0).unwrap().sf(t);
            assert!((p / expected - 1.0f64).abs() < 1e-6, "{t}: {p:e}");
        }
    }

    #[test]
    fn what_cannot_be_tested_says_so() {
        assert_eq!(independent(sample(1.0, 0.0, 10), sample(2.0, 0.0, 10)), None);
        assert_eq!(independent(sample(1.0, 1.0, 1), sample(2.0, 1.0, 10)), None);
        assert_eq!(independent(sample(f64::NAN, 1.0, 10), sample(2.0, 1.0, 10)), None);
        assert!(independent(sample(1.0, 0.0, 10), sample(2.0, 1.0, 10)).is_some());
        // A tenth of the rows' worth: the same as sizes divided by the design effect, but for the degrees of freedom.
        let design = DesignEffects { reference: 4.0, current: 4.0 };
        let weak = welch(sample(0.0, 1.0, 400), sample(0.3, 1.0, 400), design).unwrap();
        assert!((weak.t + 0.3 / (2.0f64 / 100.0).sqrt()).abs() < 1e-12);
    }
}
