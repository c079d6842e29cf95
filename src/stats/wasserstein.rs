//! The first Wasserstein (earth mover's) distance over binned samples.
//!
//! The distance is the integral of the absolute difference of the two distribution functions (Vallender 1974). Both are
//! taken as linear inside a bin, where that integral is exact, crossings included. Beyond the outer edges the exact sums
//! of the values there stand in for the shape. In units of the feature; knows nothing of its standard deviation.

use super::counts::{Samples, finite, real};

/// What a sample holds beyond the outer edges, in the unit of the edges.
///
/// Both are sums over the values of distances to the edge, so they are never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tails {
    /// Sum of `first edge - x` over the values in the cell below the first edge.
    pub below: f64,
    /// Sum of `x - last edge` over the values in the cell above the last edge.
    pub above: f64,
}

impl Tails {
    /// The same values, none of them farther out than those of a reference are on average: what a simulation of the reference can
    /// give. Both come with their counts by cell.
    #[must_use]
    pub fn capped(self, counts: &[u64], reference: Tails, of_reference: &[u64]) -> Tails {
        let cap = |sum: f64, count: Option<&u64>, most: f64, rows: Option<&u64>| {
            let each = rows.filter(|rows| **rows > 0).map_or(0.0, |rows| most / real(*rows));
            sum.min(each * real(count.copied().unwrap_or(0)))
        };
        Tails {
            below: cap(self.below, counts.first(), reference.below, of_reference.first()),
            above: cap(self.above, counts.last(), reference.above, of_reference.last()),
        }
    }

    /// From the sums of the values in the two outer cells, where `x = center + scale * z` and the sums are of `z`. Sums of
    /// the values themselves have center 0 and scale 1.
    #[must_use]
    pub fn from_sums(edges: &[f64], counts: &[u64], below: f64, above: f64, center: f64, scale: f64) -> Tails {
        let excess = |edge: Option<&f64>, count: Option<&u64>, sum: f64, sign: f64| match (edge, count) {
            // The edge is brought into units of z, and not the sum into units of x, so that a large center cancels once.
            (Some(edge), Some(count)) if *count > 0 => (sign * scale * (sum - (edge - center) / scale * real(*count))).max(0.0),
            _ => 0.0,
        };
        Tails { below: excess(edges.first(), counts.first(), below, -1.0), above: excess(edges.last(), counts.last(), above, 1.0) }
    }
}

/// The distance between two samples over `k` ascending edges and `k + 1` cells: below the first edge, the bins
/// `(edge, next edge]`, above the last edge. In the unit of the edges.
///
/// Outside the edges it is exact where only one of the samples has values there, as when the edges span the reference;
/// where both have, the difference of their means there is taken, which is a lower bound and exact where one of them lies
/// entirely further out. Inside, [`bound`] limits the error. `None` where a sample is empty, lengths do not fit, or the
/// distance is beyond `f64`.
#[must_use]
pub fn distance(edges: &[f64], reference: &[u64], current: &[u64], reference_tails: Tails, current_tails: Tails) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    if edges.is_empty() || reference.len() != edges.len() + 1 {
        return None;
    }
    let (n, m) = (real(samples.n), real(samples.m));
    let below = reference_tails.below / n - current_tails.below / m;
    let above = reference_tails.above / n - current_tails.above / m;
    let (mut r_sum, mut c_sum) = (0u64, 0u64);
    let mut differences = samples.cells().map(|(r, c)| {
        r_sum += r;
        c_sum += c;
        real(r_sum) / n - real(c_sum) / m
    });
    let mut left = differences.next()?;
    let mut inside = 0f64;
    for (right, pair) in differences.zip(edges.windows(2)) {
        if let [lower, upper] = pair {
            inside += (upper - lower) * mean_absolute(left, right);
        }
        left = right;
    }
    finite(below.abs() + inside + above.abs())
}

/// How far the distance of the raw values may lie from [`distance`] because of what happens inside the bins: the sum of
/// width times the mean of the two shares, in the unit of the edges.
///
/// A distribution function and the chord between its values at the edges of a bin enclose at most half of width times
/// share. Atoms (bins one float wide) add nothing. `None` as for [`distance`].
#[must_use]
pub fn bound(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let samples = Samples::new(reference, current)?;
    if edges.is_empty() || reference.len() != edges.len() + 1 {
        return None;
    }
    let area = |((r, c), pair): ((f64, f64), &[f64])| match pair {
        [lower, upper] if lower.next_up() < *upper => (upper - lower) * (r + c) / 2.0,
        _ => 0.0,
    };
    finite(samples.shares().skip(1).zip(edges.windows(2)).map(area).sum())
}

/// A distance in units of the reference's standard deviation; `None` where that is zero (a constant reference).
#[must_use]
pub fn normed(distance: f64, standard_deviation: f64) -> Option<f64> {
    if standard_deviation > 0.0 { finite(distance / standard_deviation) } else { None }
}

/// The mean over a bin of the absolute value of a function that goes linearly from `left` to `right`.
#[inline]
fn mean_absolute(left: f64, right: f64) -> f64 {
    let sum = left.abs() + right.abs();
    if left * right < 0.0 {
        // Two triangles that meet at the crossing.
        (left * left + right * right) / (2.0 * sum)
    } else {
        sum / 2.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Tails = Tails { below: 0.0, above: 0.0 };

    /// `loan_length` of the car loan data: each of 6, 7, ... 22 is an atom, that is, has the float below it as an edge too.
    fn atoms(counts: &[u64]) -> Vec<u64> {
        let mut cells = vec![0];
        for (index, count) in counts.iter().enumerate() {
            if index > 0 {
                cells.push(0);
            }
            cells.push(*count);
        }
        cells.push(0);
        cells
    }

    #[test]
    fn agrees_with_the_goldens_of_loan_length() {
        // wasserstein: scipy.stats.wasserstein_distance(R, C), SciPy 1.17.1, tumbling_7d windows 5 and 30.
        let edges: Vec<f64> = (6..=22).map(f64::from).flat_map(|value| [value.next_down(), value]).collect();
        let reference = atoms(&[7930, 2512, 1499, 1330, 1249, 1303, 1418, 1612, 1981, 2287, 2842, 3573, 4280, 5109, 5713, 5202, 160]);
        let window_5 = atoms(&[178, 62, 45, 29, 19, 26, 27, 43, 46, 54, 68, 69, 103, 111, 149, 126, 1]);
        let window_30 = atoms(&[47, 78, 59, 36, 31, 23, 18, 23, 29, 33, 38, 53, 86, 136, 210, 242, 14]);
        for (window, expected) in [(window_5, 0.106_194_463_667_820_18), (window_30, 1.826_267_543_252_595_2)] {
            let distance = distance(&edges, &reference, &window, NONE, NONE).unwrap();
            assert!((distance - expected).abs() < 1e-12, "{distance}");
            assert_eq!(bound(&edges, &reference, &window), Some(0.0));
            // wasserstein_norm0 divides by the ddof 0 standard deviation.
            assert!((normed(distance, 5.401_437_970_170_536).unwrap() - expected / 5.401_437_970_170_536).abs() < 1e-12);
        }
    }

    #[test]
    fn a_crossing_is_two_triangles() {
        // Uniform on (0, 2] against all mass in the middle third of the way: F - G goes 0, +0.25, -0.25, 0.
        let value = distance(&[0.0, 1.0, 2.0, 3.0], &[0, 2, 0, 2, 0], &[0, 1, 2, 1, 0], NONE, NONE).unwrap();
        // Triangle 0.125, two triangles of 0.03125 each, triangle 0.125... in bins of width 1.
        assert!((value - (0.125 + 0.125 + 0.125)).abs() < 1e-15, "{value}");
    }

    #[test]
    fn tails_are_exact() {
        // R = four values inside [0, 1]; C = {-10, 0.5 (as its bin's uniform), 5, 6}.
        let edges = [0.0, 1.0];
        let (r, c) = ([0, 4, 0], [1, 1, 2]);
        let tails = Tails::from_sums(&edges, &c, -10.0, 11.0, 0.0, 1.0);
        assert_eq!(tails, Tails { below: 10.0, above: 9.0 });
        // Inside, F - G goes from -1/4 to 1 - 1/2: (1/16 + 1/4) / (2 * 3/4).
        let expected = 10.0 / 4.0 + 9.0 / 4.0 + 0.3125 / 1.5;
        assert!((distance(&edges, &r, &c, NONE, tails).unwrap() - expected).abs() < 1e-15);
        let scaled = Tails::from_sums(&edges, &c, (-10.0 - 100.0) / 4.0, (11.0 - 200.0) / 4.0, 100.0, 4.0);
        assert_eq!(scaled, tails);
    }

    #[test]
    fn what_has_no_value_says_so() {
        assert_eq!(distance(&[0.0, 1.0], &[0, 4, 0], &[0, 0, 0], NONE, NONE), None);
        assert_eq!(distance(&[], &[4], &[3], NONE, NONE), None);
        assert_eq!(distance(&[0.0], &[4, 1, 1], &[3, 1, 1], NONE, NONE), None);
        assert_eq!(distance(&[-f64::MAX, f64::MAX], &[0, 4, 0], &[0, 2, 2], NONE, NONE), None);
        assert_eq!(normed(1.0, 0.0), None);
    }

    /// The exact distance of raw values, by merging both samples.
    fn raw(r: &[f64], c: &[f64]) -> f64 {
        let mut all: Vec<f64> = r.iter().chain(c).copied().collect();
        all.sort_by(f64::total_cmp);
        let cdf = |sample: &[f64], x: f64| real(sample.iter().filter(|v| **v <= x).count() as u64) / real(sample.len() as u64);
        all.windows(2).map(|pair| (pair[1] - pair[0]) * (cdf(r, pair[0]) - cdf(c, pair[0])).abs()).sum()
    }

    proptest! {
           #[test]
           fn the_raw_distance_lies_within_the_bound(r in prop::collection::vec(0f64..10.0, 1..40), c in prop::collection::vec(-20f64..30.0, 1..40)) {
               let edges: Vec<f64> = (0..=20).map(|k| f64::from(k) / 2.0).collect();
               let edges: Vec<f64> = [(0f64).next_down()].into_iter().chain(edges).collect();
               let count = |sample: &[f64]| {
                   let mut cells = vec![0u64; edges.len() + 1];
                   for v in sample {
    cells[edges.iter().filter(|e| *e < v).count()] += 1;
    }
                   cells
               };
               let (rc, cc) = (count(&r), count(&c));
               let below = c.iter().filter(|v| **v <= edges[0]).sum();
               let above = c.iter().filter(|v| **v > 10.0).sum();
               let tails = Tails::from_sums(&edges, &cc, below, above, 0.0, 1.0);
               let value = distance(&edges, &rc, &cc, NONE, tails).unwrap();
               let slack = bound(&edges, &rc, &cc).unwrap();
               prop_assert!((value - raw(&r, &c)).abs() <= slack + 1e-9, "{value} {} {slack}", raw(&r, &c));
               prop_assert!((value - distance(&edges, &cc, &rc, tails, NONE).unwrap()).abs() < 1e-12);
               prop_assert_eq!(distance(&edges, &cc, &cc, tails, tails), Some(0.0));
           }
       }
}
