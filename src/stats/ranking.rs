//! How well scores rank positives above negatives, from counts by score cell.
//!
//! Cells are ordered by score. Scores inside one cell count as tied; [`roc_auc_bound`] limits what that can hide. Cells
//! that hold one score value only (atoms) hide nothing.

use super::counts::{Samples, finite, real};

/// The area under the receiver operating characteristic: the probability that a positive outranks a negative, ties by
/// half. 0 to 1.
///
/// Source: Hanley and `McNeil` (1982); the Mann-Whitney statistic with mid-ranks. `None` where a class is missing or the
/// slices differ in length.
#[must_use]
pub fn roc_auc(negatives: &[u64], positives: &[u64]) -> Option<f64> {
    let classes = Samples::new(negatives, positives)?;
    let mut below = 0u64;
    let mut area = 0f64;
    for (negative, positive) in classes.cells() {
        area += real(positive) * (real(below) + real(negative) / 2.0);
        below += negative;
    }
    finite(area / real(classes.n) / real(classes.m)).map(|area| area.clamp(0.0, 1.0))
}

/// How far the area of the raw scores may lie from [`roc_auc`]: half the share of pairs of a positive and a negative that
/// fall into one cell. `None` as for [`roc_auc`].
///
/// `is_atom` says for a cell whether all its scores are equal; those pairs are true ties.
#[must_use]
pub fn roc_auc_bound(negatives: &[u64], positives: &[u64], is_atom: impl Fn(usize) -> bool) -> Option<f64> {
    let classes = Samples::new(negatives, positives)?;
    let shares = classes.shares().enumerate().filter(|(cell, _)| !is_atom(*cell));
    Some(shares.map(|(_, (negative, positive))| negative * positive).sum::<f64>() / 2.0)
}

/// Average precision: the sum over descending cells of the gain in recall times the precision there. 0 to 1.
///
/// Source: the step-wise sum of scikit-learn's `average_precision_score`, with the scores of one cell tied. `None` where a
/// class is missing or the slices differ in length.
#[must_use]
pub fn average_precision(negatives: &[u64], positives: &[u64]) -> Option<f64> {
    let classes = Samples::new(negatives, positives)?;
    let (mut hits, mut predicted) = (0f64, 0f64);
    let mut sum = 0f64;
    for (negative, positive) in negatives.iter().zip(positives).rev() {
        hits += real(*positive);
        predicted += real(*positive) + real(*negative);
        if *positive > 0 {
            sum += real(*positive) * hits / predicted;
        }
    }
    finite(sum / real(classes.m)).map(|value| value.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores of weekly window 30 of the car loan data, which have two decimals: counts at each distinct score.
    const NEGATIVES: [u64; 97] = [
        46, 39, 39, 40, 37, 30, 27, 26, 21, 22, 14, 13, 13, 13, 15, 6, 2, 7, 7, 9, 5, 3, 4, 4, 1, 6, 6, 3, 8, 9, 3, 4, 2, 3, 2, 1, 5, 2, 2,
        2, 4, 1, 5, 1, 3, 2, 2, 4, 1, 0, 0, 4, 1, 2, 1, 0, 3, 2, 0, 1, 1, 3, 0, 1, 0, 1, 2, 2, 0, 1, 1, 0, 1, 2, 2, 0, 2, 1, 1, 0, 0, 0, 0,
        1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 1, 2, 1, 0,
    ];
    const POSITIVES: [u64; 97] = [
        1, 6, 2, 0, 2, 0, 3, 1, 1, 2, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 1, 2, 1, 0,
        0, 0, 0, 0, 2, 1, 2, 2, 0, 3, 1, 1, 1, 5, 5, 3, 3, 3, 1, 1, 2, 1, 4, 3, 5, 4, 2, 5, 4, 8, 8, 4, 8, 8, 9, 6, 4, 11, 14, 15, 16, 19,
        16, 20, 24, 21, 31, 23, 43, 47, 59, 42, 32,
    ];

    #[test]
    fn agrees_with_the_goldens_of_car_loan() {
        // sklearn.metrics.roc_auc_score(y, s) and average_precision_score(y, s), scikit-learn 1.9.1.
        assert!((roc_auc(&NEGATIVES, &POSITIVES).unwrap() - 0.956_431_411_054_698_6).abs() < 1e-14);
        assert!((average_precision(&NEGATIVES, &POSITIVES).unwrap() - 0.956_315_200_566_733_8).abs() < 1e-14);
        assert_eq!(roc_auc_bound(&NEGATIVES, &POSITIVES, |_| true), Some(0.0));
    }

    #[test]
    fn agrees_with_sklearn_on_ties() {
        // The same calls with scores 0 to 4 repeated as counted.
        let (negatives, positives) = ([5, 3, 2, 0, 1], [0, 1, 2, 4, 3]);
        assert!((roc_auc(&negatives, &positives).unwrap() - 0.872_727_272_727_272_7).abs() < 1e-15);
        assert!((average_precision(&negatives, &positives).unwrap() - 0.7875).abs() < 1e-15);
    }

    #[test]
    fn a_missing_class_has_no_ranking() {
        for ranking in [roc_auc, average_precision] {
            assert_eq!((ranking(&[0, 0], &[1, 2]), ranking(&[1, 2], &[0, 0]), ranking(&[1], &[1, 2])), (None, None, None));
        }
    }

    proptest! {
        #[test]
        fn merging_cells_stays_within_the_bound(cells in prop::collection::vec((0..100u64, 0..100u64), 1..60), width in 1usize..8) {
            let (negatives, positives): (Vec<u64>, Vec<u64>) = cells.into_iter().unzip();
            let Some(exact) = roc_auc(&negatives, &positives) else { return Ok(()) };
            let merge = |counts: &[u64]| counts.chunks(width).map(|chunk| chunk.iter().sum()).collect::<Vec<u64>>();
            let (coarse_negatives, coarse_positives) = (merge(&negatives), merge(&positives));
            let coarse = roc_auc(&coarse_negatives, &coarse_positives).unwrap();
            let bound = roc_auc_bound(&coarse_negatives, &coarse_positives, |_| false).unwrap();
            prop_assert!((exact - coarse).abs() <= bound + 1e-12, "{exact} {coarse} {bound}");
            prop_assert!((exact + roc_auc(&positives, &negatives).unwrap() - 1.0).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&average_precision(&negatives, &positives).unwrap()));
        }
    }
}
