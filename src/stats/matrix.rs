//! Principal directions: the eigenvectors of symmetric matrices and of samples of rows.
//!
//! Small on purpose. Matrices are lists of rows, all of the same length. The order of every operation is fixed, so that the
//! same numbers give the same bytes. Knows nothing of features.

use super::random::{SplitMix64, normal};

/// Sweeps over all pairs of rows. Cyclic Jacobi converges quadratically; ten are rarely needed for a few hundred rows.
const SWEEPS: usize = 40;
/// Two rows count as orthogonal when their cosine is below this.
const ORTHOGONAL: f64 = 1e-15;
/// Rounds of orthogonal iteration: a direction whose variance is 0.8 of the one before it is found to 1e-3 or better, and
/// directions that are nearly equal in variance may be exchanged without loss.
const ROUNDS: usize = 16;
/// Directions that are followed beside the wanted ones: they take up what the last wanted one would converge slowly for.
const SPARE: usize = 6;

/// Directions of length 1, orthogonal to each other, with the variance along each, greatest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directions {
    /// Variance along each direction.
    pub variances: Vec<f64>,
    /// The directions.
    pub vectors: Vec<Vec<f64>>,
}

/// The scalar product of two vectors of one length.
///
/// Eight sums side by side, added up in a fixed order: the same on every machine, and no chain of additions to wait for.
#[must_use]
pub fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (mut sums, mut rest) = ([0.0; 8], 0.0);
    let (left, right) = (left.chunks_exact(8), right.chunks_exact(8));
    for (l, r) in left.remainder().iter().zip(right.remainder()) {
        rest += l * r;
    }
    for (left, right) in left.zip(right) {
        for ((sum, l), r) in sums.iter_mut().zip(left).zip(right) {
            *sum += l * r;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Adds a multiple of a vector to another.
pub fn add_scaled(target: &mut [f64], vector: &[f64], factor: f64) {
    for (sum, value) in target.iter_mut().zip(vector) {
        *sum += factor * value;
    }
}

/// The eigenvectors of a symmetric matrix without negative eigenvalues, with their eigenvalues.
///
/// One-sided Jacobi (Hestenes 1958): rows are rotated in pairs until all are orthogonal; then they are the eigenvectors, each
/// as long as its eigenvalue. Eigenvectors of the eigenvalue 0 are left out.
#[must_use]
pub fn eigenvectors(matrix: &[Vec<f64>]) -> Directions {
    let mut rows = matrix.to_vec();
    for _ in 0..SWEEPS {
        let mut has_turned = false;
        for second in 1..rows.len() {
            let (before, after) = rows.split_at_mut(second);
            let Some(right) = after.first_mut() else { continue };
            for left in before {
                has_turned |= orthogonalise(left, right);
            }
        }
        if !has_turned {
            break;
        }
    }
    let mut found: Vec<(f64, Vec<f64>)> = rows.into_iter().map(|row| (dot(&row, &row).sqrt(), row)).collect();
    found.sort_by(|left, right| right.0.total_cmp(&left.0));
    let least = found.first().map_or(0.0, |(greatest, _)| greatest * 1e-13);
    let mut directions = Directions::default();
    for (length, mut row) in found.into_iter().filter(|(length, _)| *length > least) {
        row.iter_mut().for_each(|value| *value /= length);
        point(&mut row);
        directions.variances.push(length);
        directions.vectors.push(row);
    }
    directions
}

/// Turns two rows against each other until they are orthogonal, the longer one first. Whether there was anything to do.
fn orthogonalise(left: &mut [f64], right: &mut [f64]) -> bool {
    let (a, b, c) = (dot(left, left), dot(right, right), dot(left, right));
    if c.abs() <= ORTHOGONAL * (a * b).sqrt() || c == 0.0 {
        return false;
    }
    let zeta = (b - a) / (2.0 * c);
    let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = cosine * tangent;
    for (l, r) in left.iter_mut().zip(right) {
        (*l, *r) = (cosine * *l - sine * *r, sine * *l + cosine * *r);
    }
    true
}

/// Of the two signs a direction can have the one that makes its greatest part positive.
fn point(vector: &mut [f64]) {
    let greatest = vector.iter().fold(0.0f64, |greatest, value| if value.abs() > greatest.abs() { *value } else { greatest });
    if greatest < 0.0 {
        vector.iter_mut().for_each(|value| *value = -*value);
    }
}

/// The `count` directions in which rows vary most, by orthogonal iteration from a seed. The rows must have mean 0.
///
/// Their covariance matrix, which is large where rows are long, is never made. Source: Halko, Martinsson and Tropp (2011).
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn principal(rows: &[Vec<f64>], count: usize, seed: u64) -> Directions {
    let length = rows.first().map_or(0, Vec::len);
    let count = count.min(length).min(rows.len());
    let mut random = SplitMix64::new(seed);
    let mut basis: Vec<Vec<f64>> = (0..(count + SPARE).min(length)).map(|_| (0..length).map(|_| normal(&mut random)).collect()).collect();
    orthonormalise(&mut basis);
    for _ in 0..ROUNDS {
        let mut next = vec![vec![0.0; length]; basis.len()];
        for row in rows {
            for (direction, sum) in basis.iter().zip(&mut next) {
                add_scaled(sum, row, dot(row, direction));
            }
        }
        basis = next;
        orthonormalise(&mut basis);
    }
    // Within the space that was found, the directions themselves (Rayleigh and Ritz).
    let mut within = vec![vec![0.0; basis.len()]; basis.len()];
    for row in rows {
        let parts: Vec<f64> = basis.iter().map(|direction| dot(row, direction)).collect();
        for (sums, part) in within.iter_mut().zip(&parts) {
            add_scaled(sums, &parts, *part / rows.len() as f64);
        }
    }
    let turned = eigenvectors(&within);
    let mut directions = Directions::default();
    for (variance, mix) in turned.variances.into_iter().zip(turned.vectors).take(count) {
        let mut vector = vec![0.0; length];
        for (direction, share) in basis.iter().zip(&mix) {
            add_scaled(&mut vector, direction, *share);
        }
        point(&mut vector);
        directions.variances.push(variance);
        directions.vectors.push(vector);
    }
    directions
}

/// Makes vectors orthogonal and of length 1, by Gram and Schmidt, twice; those that add nothing are dropped.
fn orthonormalise(vectors: &mut Vec<Vec<f64>>) {
    let mut kept: Vec<Vec<f64>> = Vec::with_capacity(vectors.len());
    for mut vector in std::mem::take(vectors) {
        let before = dot(&vector, &vector).sqrt();
        for _ in 0..2 {
            for other in &kept {
                let shadow = dot(&vector, other);
                add_scaled(&mut vector, other, -shadow);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        if length > 1e-12 * before && length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
            kept.push(vector);
        }
    }
    *vectors = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_only_stretched_by_their_matrix() {
        let matrix = [vec![4.0, 1.0, -2.0], vec![1.0, 3.0, 0.5], vec![-2.0, 0.5, 5.0]];
        let found = eigenvectors(&matrix);
        for (vector, value) in found.vectors.iter().zip(&found.variances) {
            for (row, part) in matrix.iter().zip(vector) {
                assert!((dot(row, vector) - value * part).abs() < 1e-12);
            }
        }
        assert!((found.variances.iter().sum::<f64>() - 12.0).abs() < 1e-12);
        assert!(found.variances.is_sorted_by(|left, right| left >= right));
        // The determinant: 4 (15 - 0.25) - 1 (5 + 1) - 2 (0.5 + 6).
        assert!((found.variances.iter().product::<f64>() - 40.0).abs() < 1e-10);
    }

    #[test]
    fn a_matrix_without_rank_keeps_what_it_has() {
        let found = eigenvectors(&[vec![1.0, 1.0, 0.0], vec![1.0, 1.0, 0.0], vec![0.0, 0.0, 0.0]]);
        assert_eq!(found.variances.len(), 1);
        assert!((found.variances[0] - 2.0).abs() < 1e-12);
        assert!((found.vectors[0][0] - 0.5f64.sqrt()).abs() < 1e-12 && found.vectors[0][2] == 0.0);
    }

    #[test]
    fn iteration_finds_what_the_covariance_matrix_has() {
        let mut random = SplitMix64::new(3);
        let rows: Vec<Vec<f64>> = (0..400).map(|_| (0..20).map(|place| normal(&mut random) * 0.7f64.powi(place)).collect()).collect();
        let mut covariance = vec![vec![0.0; 20]; 20];
        for row in &rows {
            for (sums, value) in covariance.iter_mut().zip(row) {
                add_scaled(sums, row, value / 400.0);
            }
        }
        let (exact, found) = (eigenvectors(&covariance), principal(&rows, 4, 1));
        assert_eq!(found.vectors.len(), 4);
        for place in 0..4 {
            assert!((found.variances[place] / exact.variances[place] - 1.0).abs() < 1e-9);
            assert!(dot(&found.vectors[place], &exact.vectors[place]) > 1.0 - 1e-9);
        }
        assert_eq!(found, principal(&rows, 4, 1));
    }
}
