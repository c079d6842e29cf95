//! The joined pane: what is known of the predictions of one slice whose labels have come.
//!
//! A pane of its own, because it depends on two positions (prediction and label topic) and goes on changing long after
//! the prediction's slice is sealed. Everything in it can be taken back, so that a label that is corrected replaces the
//! one before it.

use serde::{Deserialize, Serialize};

use crate::baseline::layout::{ColumnKind, Layout, NumericBins, SPECIAL};
use crate::sketch::distinct;
use crate::stats::exact::ExactSum;

use super::pane::Pane;

/// Probabilities are clipped to [EPSILON, 1 - EPSILON] before the logarithm, as scikit-learn 1.9 does for 64-bit floats.
const PROBABILITY_EPSILON: f64 = f64::EPSILON;

/// The shape of a joined pane.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedLayout {
    /// Number of classes; 0 for regression.
    pub classes: usize,
    /// Index of the positive class of a binary task.
    pub positive: Option<usize>,
    /// Bins of the score, for a binary task with scores.
    pub score: Option<NumericBins>,
    /// The label as the one column of a layout.
    pub label: Layout,
}

/// One prediction with its truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Observed {
    /// Classification.
    Class {
        /// Index of the true class.
        truth: usize,
        /// Index of the predicted class; `None` where the baseline does not know it.
        predicted: Option<usize>,
        /// Probability of the positive class of a binary task.
        score: Option<f64>,
    },
    /// Regression, in the unit of the target.
    Value {
        /// The true value.
        truth: f64,
        /// The predicted value.
        predicted: f64,
    },
}

/// Counts and sums of predictions with labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedPane {
    /// Predictions with a label.
    pub matched: u64,
    /// The labels over the label's column.
    pub label: Pane,
    /// Row by true class, column by predicted class, then one column for predictions of no known class.
    pub confusion: Vec<u64>,
    /// Score cells of the negatives, then of the positives.
    pub scores: Vec<u64>,
    /// Pairs with a score.
    pub scored: u64,
    /// Sum of (score - truth)^2.
    pub brier: ExactSum,
    /// Sum of the negative log likelihood, in nats.
    pub log_loss: ExactSum,
    /// Sum of |prediction - label|, in units of the label's scale.
    pub absolute: ExactSum,
    /// Sum of (prediction - label)^2, in units of the label's scale squared.
    pub squared: ExactSum,
    /// Sum of prediction - label, in units of the label's scale.
    pub signed: ExactSum,
}

impl JoinedPane {
    /// An empty pane.
    #[must_use]
    pub fn new(layout: &JoinedLayout) -> JoinedPane {
        JoinedPane {
            label: Pane::new(&layout.label),
            confusion: vec![0; layout.classes * (layout.classes + 1)],
            scores: vec![0; layout.score.as_ref().map_or(0, |bins| 2 * bins.cells())],
            ..JoinedPane::default()
        }
    }

    /// Counts one pair. `cell` is the label's data cell in its column.
    pub fn add(&mut self, layout: &JoinedLayout, pair: &Observed) {
        self.apply(layout, pair, Direction::Add);
    }

    /// Takes one pair back that was counted before.
    pub fn remove(&mut self, layout: &JoinedLayout, pair: &Observed) {
        self.apply(layout, pair, Direction::Remove);
    }

    /// Adds the counts and sums of another pane of the same layout.
    pub fn merge(&mut self, other: &JoinedPane) {
        self.matched += other.matched;
        self.label.merge(&other.label);
        for (mine, theirs) in [(&mut self.confusion, &other.confusion), (&mut self.scores, &other.scores)] {
            for (count, more) in mine.iter_mut().zip(theirs) {
                *count += more;
            }
        }
        self.scored += other.scored;
        self.brier.merge(&other.brier);
        self.log_loss.merge(&other.log_loss);
        self.absolute.merge(&other.absolute);
        self.squared.merge(&other.squared);
        self.signed.merge(&other.signed);
    }

    /// Takes the counts and sums of another pane of the same layout back, which must be among what was added.
    pub fn take_back(&mut self, other: &JoinedPane) {
        self.matched = self.matched.wrapping_sub(other.matched);
        self.label.take_back(&other.label);
        for (mine, theirs) in [(&mut self.confusion, &other.confusion), (&mut self.scores, &other.scores)] {
            for (count, less) in mine.iter_mut().zip(theirs) {
                *count = count.wrapping_sub(*less);
            }
        }
        self.scored = self.scored.wrapping_sub(other.scored);
        self.brier.take_back(&other.brier);
        self.log_loss.take_back(&other.log_loss);
        self.absolute.take_back(&other.absolute);
        self.squared.take_back(&other.squared);
        self.signed.take_back(&other.signed);
    }

    /// Whether it is of this layout, so that it can be merged with its panes: what was read from elsewhere may be damaged.
    #[must_use]
    pub fn fits(&self, layout: &JoinedLayout) -> bool {
        let shape = JoinedPane::new(layout);
        self.label.fits(&layout.label) && self.confusion.len() == shape.confusion.len() && self.scores.len() == shape.scores.len()
    }

    fn apply(&mut self, layout: &JoinedLayout, pair: &Observed, direction: Direction) {
        direction.count(&mut self.matched);
        direction.count(&mut self.label.n);
        match *pair {
            Observed::Class { truth, predicted, score } => {
                if let Some(cell) = self.label.cells.get_mut(SPECIAL + label_cell(&layout.label, truth)) {
                    direction.count(cell);
                }
                let column = predicted.unwrap_or(layout.classes);
                if let Some(cell) = self.confusion.get_mut(truth * (layout.classes + 1) + column) {
                    direction.count(cell);
                }
                if let (Some(score), Some(bins), Some(positive)) = (score, &layout.score, layout.positive) {
                    let is_positive = truth == positive;
                    let cell = bins.cell(score) + if is_positive { bins.cells() } else { 0 };
                    if let Some(cell) = self.scores.get_mut(cell) {
                        direction.count(cell);
                    }
                    direction.count(&mut self.scored);
                    let gap = score - f64::from(u8::from(is_positive));
                    direction.sum(&mut self.brier, gap * gap);
                    let of_truth = if is_positive { score } else { 1.0 - score };
                    direction.sum(&mut self.log_loss, -of_truth.clamp(PROBABILITY_EPSILON, 1.0 - PROBABILITY_EPSILON).ln());
                }
            }
            Observed::Value { truth, predicted } => {
                let Some(column) = layout.label.columns.first() else { return };
                let ColumnKind::Numeric(bins) = &column.kind else { return };
                let cell = bins.cell(truth);
                let of_value = column.distinct.map(|first| first + distinct::cell_of_number(truth));
                for cell in std::iter::once(SPECIAL + cell).chain(of_value) {
                    if let Some(count) = self.label.cells.get_mut(cell) {
                        direction.count(count);
                    }
                }
                if let Some(moments) = self.label.moments.first_mut() {
                    let z = (truth - bins.center) / bins.scale;
                    direction.sum(&mut moments.sum, z);
                    direction.sum(&mut moments.squares, z * z);
                    if cell == 0 {
                        direction.sum(&mut moments.below, z);
                    } else if cell == bins.edges.len() {
                        direction.sum(&mut moments.above, z);
                    }
                }
                let error = (predicted - truth) / bins.scale;
                direction.sum(&mut self.absolute, error.abs());
                direction.sum(&mut self.squared, error * error);
                direction.sum(&mut self.signed, error);
            }
        }
    }
}

/// The data cell of class `truth` in the label's column, whose kept levels need not be in the order of the classes.
fn label_cell(label: &Layout, truth: usize) -> usize {
    // The label column of a classification task is laid out with the classes as its kept levels, in their order.
    debug_assert!(
        matches!(label.columns.first().map(|column| &column.kind), Some(ColumnKind::Categorical(levels)) if truth < levels.kept.len())
    );
    truth
}

#[derive(Clone, Copy)]
enum Direction {
    Add,
    Remove,
}

impl Direction {
    fn count(self, counter: &mut u64) {
        match self {
            Direction::Add => *counter += 1,
            Direction::Remove => *counter = counter.saturating_sub(1),
        }
    }

    fn sum(self, sum: &mut ExactSum, term: f64) {
        match self {
            Direction::Add => sum.add(term),
            Direction::Remove => sum.subtract(term),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Subject;

    #[test]
    fn different_labels_are_counted_and_taken_back() {
        let bins = NumericBins::new(vec![0.0, 10.0, 20.0], vec![10.0], (10.0, 5.0), (1.0, 20.0));
        let label = Layout::new(vec![(Subject::Label, ColumnKind::Numeric(bins))]).counting_distinct();
        let layout = JoinedLayout { classes: 0, positive: None, score: None, label };
        let of_pane = |pane: &JoinedPane| distinct::estimate(&pane.label.cells[layout.label.columns[0].distinct.unwrap()..]).unwrap();
        let pair = |truth| Observed::Value { truth, predicted: 1.0 };
        let mut pane = JoinedPane::new(&layout);
        for truth in [3.0, 3.0, 7.5, -2.0, 99.0, 0.0, -0.0] {
            pane.add(&layout, &pair(truth));
        }
        assert_eq!(of_pane(&pane), 5.0);
        // A label that is corrected to another one.
        pane.remove(&layout, &pair(99.0));
        pane.add(&layout, &pair(3.0));
        assert_eq!(of_pane(&pane), 4.0);
        assert_eq!((pane.label.n, pane.label.cells[SPECIAL..SPECIAL + 4].iter().sum::<u64>()), (7, 7));
    }
}
