//! Random Fourier features, and the maximum mean discrepancy of two samples from their sums.
//!
//! The features of a vector are cosines and sines along fixed random directions; their scalar product estimates the Gaussian
//! kernel exp(-|x - y|^2 / (2 s^2)) of two vectors (Rahimi and Recht 2007), and sums of them are all that the discrepancy
//! of two samples needs (Gretton et al. 2012). Features are bounded, so no outlier weighs more than any other value.

use super::counts::{finite, real};
use super::matrix::dot;
use super::random::{SplitMix64, normal};

/// Directions, each with a cosine and a sine.
#[derive(Clone, Debug, PartialEq)]
pub struct Fourier {
    /// By direction; divided by the bandwidth.
    frequencies: Vec<Vec<f64>>,
}

impl Fourier {
    /// `count` directions for vectors of a length, drawn from a seed, for a kernel of that bandwidth.
    #[must_use]
    pub fn new(seed: u64, length: usize, bandwidth: f64, count: usize) -> Fourier {
        let mut random = SplitMix64::new(seed);
        let frequencies = (0..count).map(|_| (0..length).map(|_| normal(&mut random) / bandwidth).collect()).collect();
        Fourier { frequencies }
    }

    /// Number of features: two for each direction.
    #[must_use]
    pub fn features(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Appends the features of a vector. The sum of their squares is 1.
    #[allow(clippy::cast_precision_loss)]
    pub fn append(&self, vector: &[f64], out: &mut Vec<f64>) {
        let unit = 1.0 / (self.frequencies.len() as f64).sqrt();
        for frequency in &self.frequencies {
            let (sine, cosine) = dot(frequency, vector).sin_cos();
            out.push(cosine * unit);
            out.push(sine * unit);
        }
    }
}

/// The median distance of two different vectors of a sample, the usual bandwidth. `None` where it is 0 or there are no two.
#[must_use]
pub fn median_distance(rows: &[Vec<f64>]) -> Option<f64> {
    let mut distances = Vec::with_capacity(rows.len() * rows.len() / 2);
    for (place, left) in rows.iter().enumerate() {
        for right in rows.iter().take(place) {
            distances.push(left.iter().zip(right).map(|(l, r)| (l - r) * (l - r)).sum::<f64>());
        }
    }
    let middle = distances.len() / 2;
    if distances.is_empty() {
        return None;
    }
    let (_, median, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    finite(median.sqrt()).filter(|distance| *distance > 0.0)
}

/// The squared maximum mean discrepancy of two samples from the sums of their features, without bias: its expectation is 0
/// where nothing has changed, so it may be a little below. `None` for fewer than two vectors in a sample.
#[must_use]
pub fn discrepancy(reference: &[f64], n: u64, current: &[f64], m: u64) -> Option<f64> {
    if n < 2 || m < 2 || reference.len() != current.len() {
        return None;
    }
    let (n, m) = (real(n), real(m));
    // Each vector's product with itself is 1, and is left out.
    let within = |sums: &[f64], count: f64| (dot(sums, sums) - count) / (count * (count - 1.0));
    finite(within(reference, n) + within(current, m) - 2.0 * dot(reference, current) / (n * m))
}

/// What chance adds to the squared distance of the means for one sample of independent rows. `None` for fewer than two vectors.
#[must_use]
pub fn chance(sums: &[f64], n: u64) -> Option<f64> {
    let n = if n < 2 { None } else { Some(real(n)) }?;
    finite((1.0 - dot(sums, sums) / (n * n)) / (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(fourier: &Fourier, rows: &[Vec<f64>]) -> Vec<f64> {
        let mut sums = vec![0.0; fourier.features()];
        for row in rows {
            let mut features = Vec::new();
            fourier.append(row, &mut features);
            assert!((dot(&features, &features) - 1.0).abs() < 1e-12);
            sums.iter_mut().zip(&features).for_each(|(sum, feature)| *sum += feature);
        }
        sums
    }

    fn rows(count: usize, mean: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut random = SplitMix64::new(seed);
        (0..count).map(|_| (0..3).map(|_| mean + normal(&mut random)).collect()).collect()
    }

    #[test]
    fn the_discrepancy_is_near_that_of_the_exact_kernel() {
        let (left, right, bandwidth) = (rows(120, 0.0, 1), rows(90, 0.7, 2), 2.0);
        let kernel = |x: &[f64], y: &[f64]| {
            let square: f64 = x.iter().zip(y).map(|(l, r)| (l - r).powi(2)).sum();
            (-square / (2.0 * bandwidth * bandwidth)).exp()
        };
        let mean = |left: &[Vec<f64>], right: &[Vec<f64>], same: bool| {
            let pairs = left.iter().enumerate().flat_map(|(i, x)| right.iter().enumerate().map(move |(j, y)| (i, j, x, y)));
            let kept: Vec<f64> = pairs.filter(|(i, j, ..)| !same || i != j).map(|(_, _, x, y)| kernel(x, y)).collect();
            kept.iter().sum::<f64>() / kept.len() as f64
        };
        let exact = mean(&left, &left, true) + mean(&right, &right, true) - 2.0 * mean(&left, &right, false);
        let fourier = Fourier::new(7, 3, bandwidth, 2_000);
        let found = discrepancy(&sums(&fourier, &left), 120, &sums(&fourier, &right), 90).unwrap();
        assert!((found / exact - 1.0).abs() < 0.1, "{found} {exact}");
    }

    #[test]
    fn what_has_no_value_says_so() {
        assert_eq!(discrepancy(&[1.0], 1, &[1.0], 5), None);
        assert_eq!(discrepancy(&[1.0], 3, &[1.0, 2.0], 5), None);
        assert_eq!(median_distance(&[vec![1.0]]), None);
        assert_eq!(median_distance(&vec![vec![1.0]; 5]), None);
        assert_eq!(median_distance(&[vec![0.0], vec![3.0]]), Some(3.0));
    }

    #[test]
    fn chance_is_what_the_distance_of_the_means_has_too_much() {
        let fourier = Fourier::new(1, 3, 1.0, 16);
        let (left, right) = (sums(&fourier, &rows(20, 0.0, 1)), sums(&fourier, &rows(30, 0.3, 2)));
        let distance: f64 = left.iter().zip(&right).map(|(left, right)| (left / 20.0 - right / 30.0).powi(2)).sum();
        let excess = distance - chance(&left, 20).unwrap() - chance(&right, 30).unwrap();
        assert!((excess - discrepancy(&left, 20, &right, 30).unwrap()).abs() < 1e-12);
        assert_eq!(chance(&left, 1), None);
    }
}
