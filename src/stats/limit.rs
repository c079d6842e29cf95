//! Limit laws of statistics that add up squared differences of two distribution functions.
//!
//! Without drift such a statistic tends to a sum of independent chi-square variables of one degree of freedom with falling
//! weights `1 / y_1, 1 / y_2, ...`. Its tail is an alternating sum of integrals between `y_1` and `y_2`, `y_3` and `y_4`, and so on
//! (Smirnov 1936), which keeps its relative accuracy far out, where one less the distribution function has lost it.
//! Knows nothing of samples and cells.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Integrals that are looked at: further ones matter only where the tail is 1 to ten digits.
const TERMS: u32 = 24;
/// Points of an integral. The integrands are periodic and smooth, for which equal steps converge faster than any power.
const POINTS: u32 = 64;
/// An exponent below which a term is nothing beside the first one.
const NEGLIGIBLE: f64 = 42.0;

/// A limit law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Of the integral of the squared difference (Cramér 1928, von Mises 1931): weights `1 / (j pi)^2`, mean 1/6.
    CramerVonMises,
    /// Of the same over the variance of the difference (Anderson and Darling 1952): weights `1 / (j (j + 1))`, mean 1.
    AndersonDarling,
}

/// One integral: where it begins, and weight and place of its points.
struct Integral {
    from: f64,
    points: Vec<(f64, f64)>,
}

static CRAMER_VON_MISES: LazyLock<Vec<Integral>> = LazyLock::new(|| {
    integrals(|term, angle| {
        // y = u^2; u goes from an odd multiple of pi to the next even one, and the determinant is sin u / u.
        let u = f64::from(2 * term - 1) * PI + PI / 2.0 * (1.0 - angle.cos());
        let sine = (PI / 2.0 * angle.cos()).cos();
        (2.0 / (u * sine).sqrt() * PI / 2.0 * angle.sin(), u * u)
    })
});

static ANDERSON_DARLING: LazyLock<Vec<Integral>> = LazyLock::new(|| {
    integrals(|term, angle| {
        // y = (v^2 - 1) / 4; v goes from 4 j - 1 to 4 j + 1, and the determinant is -cos(pi v / 2) / (pi y).
        let v = f64::from(4 * term) - angle.cos();
        let y = (v * v - 1.0) / 4.0;
        let cosine = (PI / 2.0 * angle.cos()).cos();
        ((PI / (y * cosine)).sqrt() * v / 2.0 * angle.sin(), y)
    })
});

/// The integrals of a law, of which `point` gives weight and place for a term, from 1, and an angle between 0 and pi.
fn integrals(point: impl Fn(u32, f64) -> (f64, f64)) -> Vec<Integral> {
    let step = PI / f64::from(POINTS);
    let integral = |term: u32| {
        let sign = if term % 2 == 1 { 1.0 } else { -1.0 };
        let points = (0..POINTS).map(|index| {
            let (weight, y) = point(term, (f64::from(index) + 0.5) * step);
            (sign * weight * step / PI, y)
        });
        Integral { from: point(term, 0.0).1, points: points.collect() }
    };
    (1..=TERMS).map(integral).collect()
}

impl Law {
    /// The probability of a statistic above `x`, 0 to 1. `None` where `x` is not a number.
    ///
    /// Off by less than 1e-9 of itself where it is above 1e-100.
    #[must_use]
    pub fn sf(self, x: f64) -> Option<f64> {
        if x.is_nan() {
            return None;
        }
        let integrals = match self {
            Law::CramerVonMises => &*CRAMER_VON_MISES,
            Law::AndersonDarling => &*ANDERSON_DARLING,
        };
        let (first, last) = (integrals.first()?, integrals.last()?);
        if x * (last.from - first.from) / 2.0 < NEGLIGIBLE {
            return Some(1.0);
        }
        let mut sum = 0.0;
        for integral in integrals.iter().take_while(|integral| x * (integral.from - first.from) / 2.0 < NEGLIGIBLE) {
            sum += integral.points.iter().map(|(weight, y)| weight * (-x * y / 2.0).exp()).sum::<f64>();
        }
        Some(sum.clamp(0.0, 1.0))
    }

    /// The standard deviation of the law.
    #[must_use]
    pub fn standard_deviation(self) -> f64 {
        match self {
            Law::CramerVonMises => (1.0f64 / 45.0).sqrt(),
            Law::AndersonDarling => (2.0 * (PI * PI - 9.0) / 3.0).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: Option<f64>, expected: f64, tolerance: f64) {
        let actual = actual.unwrap();
        assert!((actual / expected - 1.0).abs() < tolerance, "{actual} is not {expected}");
    }

    #[test]
    fn agrees_with_the_published_tables() {
        // Anderson and Darling (1952), table 1: upper 10, 5, 1 and 0.1 % points of the omega square.
        for (x, p) in [(0.34730, 0.1), (0.46136, 0.05), (0.74346, 0.01), (1.16786, 0.001)] {
            close(Law::CramerVonMises.sf(x), p, 1e-4);
        }
        // Marsaglia and Marsaglia (2004), Evaluating the Anderson-Darling distribution: 1.933, 2.492, 3.878, 5.97.
        for (x, p) in [(1.932_957_8, 0.1), (2.492_367_2, 0.05), (3.878_125, 0.01)] {
            close(Law::AndersonDarling.sf(x), p, 1e-5);
        }
    }

    #[test]
    fn the_median_and_the_lower_tail_are_right() {
        // scipy.stats._hypotests._cdf_cvm_inf is 0.5 at 0.118880; Marsaglia and Marsaglia (2004): the median of A^2 is 0.77432.
        close(Law::CramerVonMises.sf(0.11888), 0.5, 2e-4);
        close(Law::AndersonDarling.sf(0.774_214), 0.5, 2e-4);
        close(Law::CramerVonMises.sf(0.02480), 0.99, 1e-4);
        for law in [Law::CramerVonMises, Law::AndersonDarling] {
            assert_eq!(law.sf(0.0), Some(1.0));
            assert_eq!(law.sf(-1.0), Some(1.0));
            assert_eq!(law.sf(f64::NAN), None);
            assert_eq!(law.sf(f64::INFINITY), Some(0.0));
        }
    }

    #[test]
    fn the_tail_falls_and_its_mean_and_spread_are_those_of_the_law() {
        for (law, mean) in [(Law::CramerVonMises, 1.0 / 6.0), (Law::AndersonDarling, 1.0)] {
            let step = 0.001;
            let (mut first, mut second, mut before) = (0.0, 0.0, 1.0);
            for index in 0..20_000u32 {
                let x = (f64::from(index) + 0.5) * step;
                let sf = law.sf(x).unwrap();
                assert!(sf <= before + 1e-12, "{law:?} rises at {x}: {before} to {sf}");
                before = sf;
                first += sf * step;
                second += 2.0 * x * sf * step;
            }
            assert!((first - mean).abs() < 1e-6, "{law:?}: mean {first}");
            let spread = (second - first * first).sqrt();
            assert!((spread - law.standard_deviation()).abs() < 1e-5, "{law:?}: {spread}");
        }
    }

    #[test]
    fn far_out_the_first_weight_alone_counts() {
        for (law, y) in [(Law::CramerVonMises, PI * PI), (Law::AndersonDarling, 2.0)] {
            let (one, two) = (law.sf(20.0).unwrap(), law.sf(21.0).unwrap());
            assert!(one > 0.0 && (two / one / (-y / 2.0).exp() - 1.0).abs() < 0.05, "{law:?}: {one:e} {two:e}");
        }
    }
}
