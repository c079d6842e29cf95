//! Performance of a classifier from its confusion counts.
//!
//! Knows nothing of what the classes are called.

use super::counts::{finite, real, total};

/// A confusion matrix: row by true class, column by predicted class, and one last column for predictions of a class
/// that is not known.
///
/// A prediction of an unknown class is an error of its true class and nobody's false positive. Quotients of 0 by 0 are 0,
/// as scikit-learn has with `zero_division=0`. Averages go over the classes that occur in the window, as truth or as
/// prediction, as scikit-learn has without `labels`.
#[derive(Clone, Copy, Debug)]
pub struct Confusion<'a> {
    counts: &'a [u64],
    classes: usize,
    total: u64,
}

/// How a quotient per class becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean over the classes.
    Macro,
    /// The mean over the classes, each with its number of true cases.
    Weighted,
}

/// The parts of one class.
#[derive(Clone, Copy)]
struct Class {
    hits: u64,
    truth: u64,
    predicted: u64,
}

impl Class {
    fn precision(self) -> f64 {
        quotient(self.hits, self.predicted)
    }

    fn recall(self) -> f64 {
        quotient(self.hits, self.truth)
    }

    fn f1(self) -> f64 {
        let parts = real(self.truth) + real(self.predicted);
        if parts > 0.0 { 2.0 * real(self.hits) / parts } else { 0.0 }
    }
}

impl<'a> Confusion<'a> {
    /// The matrix of `classes` rows and `classes + 1` columns, row by row; `None` where the length is another, there is no
    /// case, or the total is beyond `u64`.
    #[must_use]
    pub fn new(counts: &'a [u64], classes: usize) -> Option<Confusion<'a>> {
        let total = total(counts).filter(|total| *total > 0)?;
        (classes > 0 && classes.checked_mul(classes + 1) == Some(counts.len())).then_some(Confusion { counts, classes, total })
    }

    /// Number of cases.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Share of the cases whose class was predicted.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        quotient(self.parts().map(|class| class.hits).sum(), self.total)
    }

    /// The mean recall of the classes that occur as truth.
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        mean(self.parts().filter(|class| class.truth > 0).map(|class| (class.recall(), 1)))
    }

    /// Precision of one class: hits over predictions of it. `None` where there is no such class.
    #[must_use]
    pub fn precision(&self, class: usize) -> Option<f64> {
        self.class(class).map(Class::precision)
    }

    /// Recall of one class: hits over true cases. `None` where there is no such class.
    #[must_use]
    pub fn recall(&self, class: usize) -> Option<f64> {
        self.class(class).map(Class::recall)
    }

    /// Harmonic mean of precision and recall of one class. `None` where there is no such class.
    #[must_use]
    pub fn f1(&self, class: usize) -> Option<f64> {
        self.class(class).map(Class::f1)
    }

    /// The average precision over classes (not the area under the precision-recall curve, for which see
    /// [`super::ranking::average_precision`]).
    #[must_use]
    pub fn mean_precision(&self, average: Average) -> f64 {
        self.averaged(average, Class::precision)
    }

    /// The average recall over classes.
    #[must_use]
    pub fn mean_recall(&self, average: Average) -> f64 {
        self.averaged(average, Class::recall)
    }

    /// The average F1 over classes.
    #[must_use]
    pub fn mean_f1(&self, average: Average) -> f64 {
        self.averaged(average, Class::f1)
    }

    /// Matthews' correlation coefficient, -1 to 1, in the form of Gorodkin (2004) for many classes; 0 where all truths or all
    /// predictions are of one class. Predictions of unknown classes are a class of their own.
    #[must_use]
    pub fn mcc(&self) -> f64 {
        let cases = real(self.total);
        let share = |count: u64| real(count) / cases;
        let unknown = share(self.unknown());
        let (mut agreement, mut product, mut truths, mut predictions) = (0.0, 0.0, 0.0, unknown * unknown);
        for class in self.parts() {
            agreement += share(class.hits);
            product += share(class.truth) * share(class.predicted);
            truths += share(class.truth) * share(class.truth);
            predictions += share(class.predicted) * share(class.predicted);
        }
        let spread = (1.0 - truths).max(0.0).sqrt() * (1.0 - predictions).max(0.0).sqrt();
        finite((agreement - product) / spread).map_or(0.0, |mcc| mcc.clamp(-1.0, 1.0))
    }

    /// Cohen's kappa (1960): agreement beyond chance; `None` where all truths and all predictions are of one class.
    #[must_use]
    pub fn kappa(&self) -> Option<f64> {
        let cases = real(self.total);
        let chance: f64 = self.parts().map(|class| real(class.truth) / cases * (real(class.predicted) / cases)).sum();
        if chance >= 1.0 { None } else { finite((self.accuracy() - chance) / (1.0 - chance)) }
    }

    fn averaged(&self, average: Average, of: impl Fn(Class) -> f64) -> f64 {
        let occurring = self.parts().filter(|class| class.truth > 0 || class.predicted > 0);
        mean(occurring.map(|class| match average {
            Average::Macro => (of(class), 1),
            Average::Weighted => (of(class), class.truth),
        }))
    }

    fn rows(&self) -> impl Iterator<Item = &'a [u64]> + use<'a> {
        self.counts.chunks_exact(self.classes + 1)
    }

    fn unknown(&self) -> u64 {
        self.rows().filter_map(<[u64]>::last).sum()
    }

    fn class(&self, class: usize) -> Option<Class> {
        if class >= self.classes {
            return None;
        }
        let row = self.rows().nth(class)?;
        Some(Class {
            hits: row.get(class).copied()?,
            truth: row.iter().sum(),
            predicted: self.rows().filter_map(|row| row.get(class)).sum(),
        })
    }

    fn parts(&self) -> impl Iterator<Item = Class> + '_ {
        (0..self.classes).filter_map(|class| self.class(class))
    }
}

fn quotient(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { real(part) / real(whole) }
}

/// The weighted mean of values; 0 where the weights are.
fn mean(values: impl Iterator<Item = (f64, u64)>) -> f64 {
    let (sum, weights) = values.fold((0.0, 0.0), |(sum, weights), (value, weight)| (sum + value * real(weight), weights + real(weight)));
    if weights > 0.0 { sum / weights } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
    }

    #[test]
    fn agrees_with_the_goldens_of_car_loan() {
        // Weekly window 30 of the car loan data; sklearn.metrics.*_score(y, pred), scikit-learn 1.9.1.
        let cells = [539, 33, 0, 61, 523, 0];
        let confusion = Confusion::new(&cells, 2).unwrap();
        close(confusion.accuracy(), 0.918_685_121_107_266_4);
        close(confusion.balanced_accuracy(), 0.918_927_818_756_585_9);
        close(confusion.precision(1).unwrap(), 0.940_647_482_014_388_5);
        close(confusion.recall(1).unwrap(), 0.895_547_945_205_479_4);
        close(confusion.f1(1).unwrap(), 0.917_543_859_649_122_8);
        close(confusion.mean_precision(Average::Macro), 0.919_490_407_673_860_9);
        close(confusion.mean_recall(Average::Macro), 0.918_927_818_756_585_9);
        close(confusion.mean_f1(Average::Macro), 0.918_669_540_746_063_1);
        close(confusion.mean_precision(Average::Weighted), 0.919_710_031_282_932_3);
        close(confusion.mean_f1(Average::Weighted), 0.918_657_855_475_160_7);
        close(confusion.mcc(), 0.838_418_037_678_392_3);
        close(confusion.kappa().unwrap(), 0.837_434_473_514_134_5);
    }

    #[test]
    fn predictions_of_unknown_classes_are_errors() {
        // precision_score(y, p, labels=[0, 1, 2], average=..., zero_division=0) and the like; matthews_corrcoef(y, p),
        // cohen_kappa_score(y, p) with the unknown class as a fourth label; scikit-learn 1.9.1.
        let cells = [50, 3, 2, 1, 4, 30, 5, 0, 0, 6, 20, 2];
        let confusion = Confusion::new(&cells, 3).unwrap();
        close(confusion.accuracy(), 0.813_008_130_081_300_8);
        close(confusion.precision(0).unwrap(), 0.925_925_925_925_925_9);
        close(confusion.recall(2).unwrap(), 0.714_285_714_285_714_3);
        close(confusion.f1(2).unwrap(), 0.727_272_727_272_727_3);
        close(confusion.mean_precision(Average::Macro), 0.811_965_811_965_812_1);
        close(confusion.mean_precision(Average::Weighted), 0.834_086_118_638_964_1);
        close(confusion.mean_recall(Average::Macro), 0.792_124_542_124_542_1);
        close(confusion.mean_f1(Average::Macro), 0.801_864_801_864_801_8);
        close(confusion.balanced_accuracy(), 0.792_124_542_124_542_1);
        close(confusion.mcc(), 0.712_721_910_757_538_5);
        close(confusion.kappa().unwrap(), 0.712_148_962_148_962_2);
    }

    #[test]
    fn nothing_divides_by_zero() {
        // One class only, never predicted.
        let cells = [0, 0, 4, 0, 0, 0];
        let confusion = Confusion::new(&cells, 2).unwrap();
        assert_eq!((confusion.precision(0), confusion.recall(1), confusion.f1(1)), (Some(0.0), Some(0.0), Some(0.0)));
        assert_eq!((confusion.mcc(), confusion.kappa(), confusion.precision(2)), (0.0, Some(0.0), None));
        // All right, but all one class.
        let cells = [4, 0, 0, 0, 0, 0];
        let confusion = Confusion::new(&cells, 2).unwrap();
        assert_eq!((confusion.mean_f1(Average::Macro), confusion.mcc(), confusion.kappa()), (1.0, 0.0, None));
        assert!(Confusion::new(&[0; 6], 2).is_none() && Confusion::new(&[1; 4], 2).is_none() && Confusion::new(&[], 0).is_none());
    }

    proptest! {
        #[test]
        fn everything_is_in_its_range(classes in 1usize..6, seed in prop::collection::vec(prop_oneof![Just(0u64), 0..50u64, 0..1_000_000_000_000u64], 30)) {
            let cells: Vec<u64> = seed.into_iter().take(classes * (classes + 1)).collect();
            let Some(confusion) = Confusion::new(&cells, classes) else { return Ok(()) };
            for average in [Average::Macro, Average::Weighted] {
                for value in [confusion.mean_precision(average), confusion.mean_recall(average), confusion.mean_f1(average)] {
                    prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
                }
            }
            prop_assert!((0.0..=1.0).contains(&confusion.accuracy()) && (-1.0..=1.0).contains(&confusion.mcc()));
            prop_assert!((confusion.mean_recall(Average::Weighted) - confusion.accuracy()).abs() < 1e-9);
            prop_assert!(confusion.kappa().is_none_or(|kappa| (-1.0 - 1e-9..=1.0 + 1e-9).contains(&kappa)));
        }
    }
}
