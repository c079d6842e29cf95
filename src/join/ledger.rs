//! The ledger: predictions that may still get a label, and labels whose prediction has not been seen.
//!
//! Labels are applied in the order in which they came in event time (the watermark of their partition), up to a clock that
//! the caller moves only as far as all records of that time have been read. So the state at any label time is a function
//! of the records alone, however their partitions were interleaved.
//!
//! Memory is bounded by the horizon and by `capacity`; what does not fit is counted, never dropped in silence.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::{SourceId, Span, Timestamp};

/// A 128-bit hash of the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId(pub u128);

/// What the model said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicted {
    /// Classification: the index of the class in the model's list (`None` for a class it does not know) and the
    /// probability of the positive class.
    Class(Option<u16>, Option<f64>),
    /// Regression.
    Value(f64),
}

/// What turned out to be true.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Truth {
    /// Classification: the index of the class in the model's list.
    Class(u16),
    /// Regression.
    Value(f64),
}

/// A prediction as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Event time.
    pub ts: Timestamp,
    /// Number of its version in the model's list.
    pub version: u16,
    /// The segments it is counted in besides the overall one, as numbers in the model's list.
    pub segments: Box<[u16]>,
    /// The output.
    pub predicted: Predicted,
}

/// A label event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Id of the prediction.
    pub id: RecordId,
    /// Event time.
    pub ts: Timestamp,
    /// The watermark of its partition at its offset: when it came, in event time. Its own time, or later where the
    /// partition's labels are out of order.
    pub came: Timestamp,
    /// The truth.
    pub truth: Truth,
    /// Where it was read: decides between labels that came at the same time.
    pub position: (SourceId, i64),
}

/// The order in which labels are applied: by when they came and by offset; of two partitions with both alike, by the truth.
/// The number of the partition, which is another in another process, decides only between labels that say the same. Labels
/// of one position are told apart by their id.
type Turn = (Timestamp, i64, u64, SourceId, RecordId);

impl Label {
    fn turn(&self) -> Turn {
        let truth = match self.truth {
            Truth::Class(class) => u64::from(class),
            Truth::Value(value) => value.to_bits(),
        };
        (self.came, self.position.1, truth, self.position.0, self.id)
    }
}

/// What has become of a label.
#[derive(Clone, Debug, PartialEq)]
pub enum Joined {
    /// It belongs to this prediction; `previous` is the label that it replaces.
    Pair {
        /// The prediction.
        prediction: Prediction,
        /// Its label.
        truth: Truth,
        /// The label it had before.
        previous: Option<Truth>,
    },
    /// The prediction has this very label already.
    Duplicate,
    /// No prediction was found within the horizon.
    Unmatched,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    prediction: Prediction,
    truth: Option<Truth>,
}

impl Entry {
    /// What becomes of a label of this prediction. It is the same whichever of the two was read first.
    fn join(&mut self, label: &Label, horizon: Span, patience: Span) -> Joined {
        let prediction = &self.prediction;
        if label.ts - prediction.ts > horizon || prediction.ts - label.ts > patience {
            return Joined::Unmatched;
        }
        if self.truth == Some(label.truth) {
            return Joined::Duplicate;
        }
        let previous = self.truth.replace(label.truth);
        Joined::Pair { prediction: prediction.clone(), truth: label.truth, previous }
    }
}

/// Waiting predictions and labels of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// How long after its prediction a label may come.
    horizon: Span,
    /// How far before its prediction a label may lie.
    patience: Span,
    /// Most predictions and labels kept.
    capacity: usize,
    predictions: FxHashMap<RecordId, Entry>,
    /// When predictions can be forgotten, in buckets of [`Ledger::bucket`].
    expiry: BTreeMap<Timestamp, Vec<RecordId>>,
    /// Labels not yet applied, in the order in which they will be.
    pending: BTreeMap<Turn, Label>,
    /// Labels applied without finding their prediction, those of one id in the order in which they came.
    early: BTreeMap<RecordId, Vec<Label>>,
    /// When those came.
    early_expiry: BTreeSet<(Timestamp, RecordId)>,
    /// How many those are.
    waiting_early: usize,
}

impl Ledger {
    /// An empty ledger. A label joins a prediction from `patience` after it (producers' clocks differ) to `horizon` before
    /// it; `patience` is at least the lateness of predictions.
    #[must_use]
    pub fn new(horizon: Span, patience: Span, capacity: usize) -> Ledger {
        Ledger {
            horizon,
            patience,
            capacity,
            predictions: FxHashMap::default(),
            expiry: BTreeMap::new(),
            pending: BTreeMap::new(),
            early: BTreeMap::new(),
            early_expiry: BTreeSet::new(),
            waiting_early: 0,
        }
    }

    /// Labels that wait to be joined.
    #[must_use]
    pub fn waiting_labels(&self) -> usize {
        self.pending.len() + self.waiting_early
    }

    /// Predictions that may still get a label or a corrected one.
    #[must_use]
    pub fn predictions(&self) -> usize {
        self.predictions.len()
    }

    /// Keeps a prediction for its label. Gives what becomes of the labels that are there already. A second prediction with
    /// the same id leaves the first in place.
    ///
    /// # Errors
    /// The prediction, when the ledger is at its capacity.
    pub fn predict(&mut self, id: RecordId, prediction: Prediction) -> Result<Vec<Joined>, Prediction> {
        if self.predictions.len() >= self.capacity && !self.predictions.contains_key(&id) {
            return Err(prediction);
        }
        let bucket = self.bucket(prediction.ts);
        let entry = match self.predictions.entry(id) {
            Slot::Occupied(_) => return Ok(Vec::new()),
            Slot::Vacant(slot) => slot.insert(Entry { prediction, truth: None }),
        };
        self.expiry.entry(bucket).or_default().push(id);
        let Some(labels) = self.early.remove(&id) else { return Ok(Vec::new()) };
        self.waiting_early -= labels.len();
        for label in &labels {
            self.early_expiry.remove(&(label.came, id));
        }
        Ok(labels.iter().map(|label| entry.join(label, self.horizon, self.patience)).collect())
    }

    /// Takes a label in, to be applied when the clock reaches it. A record that waits already is a duplicate.
    ///
    /// # Errors
    /// The label, when the ledger is at its capacity.
    pub fn label(&mut self, label: Label) -> Result<Option<Joined>, Label> {
        if self.waiting_labels() >= self.capacity {
            return Err(label);
        }
        Ok(self.pending.insert(label.turn(), label).map(|_| Joined::Duplicate))
    }

    /// Applies the labels that came up to and including `clock`, then forgets what can no longer be joined.
    pub fn advance(&mut self, clock: Timestamp) -> Vec<Joined> {
        let mut joined = Vec::new();
        while let Some(first) = self.pending.first_entry() {
            if first.key().0 > clock {
                break;
            }
            let label = first.remove();
            joined.extend(self.apply(label));
        }
        while let Some((came, id)) = self.early_expiry.first().copied() {
            // A prediction may lie by the patience after its label, and be read by as much again behind the clock.
            if came + self.patience + self.patience >= clock {
                break;
            }
            self.early_expiry.remove(&(came, id));
            let Some(labels) = self.early.get_mut(&id) else { continue };
            let before = labels.len();
            labels.retain(|label| label.came != came);
            let expired = before - labels.len();
            if labels.is_empty() {
                self.early.remove(&id);
            }
            self.waiting_early -= expired;
            joined.extend(std::iter::repeat_n(Joined::Unmatched, expired));
        }
        while let Some(first) = self.expiry.first_entry() {
            if *first.key() >= clock {
                break;
            }
            for id in first.remove() {
                self.predictions.remove(&id);
            }
        }
        joined
    }

    /// At the end of all input: applies every label; those without a prediction will never have one.
    pub fn finish(&mut self) -> Vec<Joined> {
        let mut joined = Vec::new();
        for label in std::mem::take(&mut self.pending).into_values() {
            joined.extend(self.apply(label));
        }
        joined.extend(std::iter::repeat_n(Joined::Unmatched, self.waiting_early));
        self.waiting_early = 0;
        self.early.clear();
        self.early_expiry.clear();
        joined
    }

    /// When the first of the labels came that wait to be applied.
    #[must_use]
    pub fn next_label(&self) -> Option<Timestamp> {
        self.pending.first_key_value().map(|((came, ..), _)| *came)
    }

    fn apply(&mut self, label: Label) -> Option<Joined> {
        if let Some(entry) = self.predictions.get_mut(&label.id) {
            return Some(entry.join(&label, self.horizon, self.patience));
        }
        self.early_expiry.insert((label.came, label.id));
        self.waiting_early += 1;
        self.early.entry(label.id).or_default().push(label);
        None
    }

    /// Expiry is kept in buckets, a 64th of the horizon wide, so that it costs no ordered insert for each prediction.
    fn bucket(&self, ts: Timestamp) -> Timestamp {
        let width = Span((self.horizon.0 / 64).max(1));
        (ts + self.horizon).align(width, Span(0)) + width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(ts: i64) -> Prediction {
        Prediction { ts: Timestamp(ts), version: 0, segments: Box::new([]), predicted: Predicted::Class(Some(1), Some(0.9)) }
    }

    fn label(id: u128, ts: i64, class: u16) -> Label {
        Label { id: RecordId(id), ts: Timestamp(ts), came: Timestamp(ts), truth: Truth::Class(class), position: (SourceId(0), ts) }
    }

    fn ledger() -> Ledger {
        Ledger::new(Span(100), Span(10), 1000)
    }

    #[test]
    fn a_label_joins_within_the_horizon_and_not_beyond() {
        for (ts, joins) in [(100, true), (101, false)] {
            let mut ledger = ledger();
            ledger.predict(RecordId(1), prediction(0)).unwrap();
            ledger.label(label(1, ts, 1)).unwrap();
            let facts = ledger.advance(Timestamp(ts));
            assert_eq!(matches!(facts.as_slice(), [Joined::Pair { .. }]), joins, "label at {ts}: {facts:?}");
            assert_eq!(matches!(facts.as_slice(), [Joined::Unmatched]), !joins);
        }
    }

    #[test]
    fn labels_wait_for_the_clock_and_are_applied_in_their_order() {
        let mut ledger = ledger();
        ledger.predict(RecordId(1), prediction(0)).unwrap();
        ledger.label(label(1, 30, 0)).unwrap();
        ledger.label(label(1, 20, 1)).unwrap();
        assert!(ledger.advance(Timestamp(19)).is_empty());
        assert!(matches!(ledger.advance(Timestamp(25)).as_slice(), [Joined::Pair { truth: Truth::Class(1), previous: None, .. }]));
        assert!(matches!(
            ledger.advance(Timestamp(30)).as_slice(),
            [Joined::Pair { truth: Truth::Class(0), previous: Some(Truth::Class(1)), .. }]
        ));
    }

    #[test]
    fn an_equal_label_is_a_duplicate() {
        let mut ledger = ledger();
        ledger.predict(RecordId(1), prediction(0)).unwrap();
        ledger.label(label(1, 20, 1)).unwrap();
        ledger.label(label(1, 21, 1)).unwrap();
        assert!(matches!(ledger.advance(Timestamp(25)).as_slice(), [Joined::Pair { .. }, Joined::Duplicate]));
    }

    #[test]
    fn an_early_label_waits_with_patience_and_then_is_unmatched() {
        let mut ledger = ledger();
        ledger.label(label(1, 20, 1)).unwrap();
        ledger.label(label(2, 20, 1)).unwrap();
        assert!(ledger.advance(Timestamp(25)).is_empty());
        assert_eq!(ledger.waiting_labels(), 2);
        assert!(matches!(ledger.predict(RecordId(1), prediction(15)).unwrap().as_slice(), [Joined::Pair { .. }]));
        assert!(ledger.advance(Timestamp(40)).is_empty(), "its prediction may be as late as it is early");
        assert_eq!(ledger.advance(Timestamp(41)), [Joined::Unmatched]);
        assert_eq!(ledger.waiting_labels(), 0);
    }

    #[test]
    fn it_does_not_matter_which_is_read_first() {
        // Too early, early, a correction, the same again, and one that is out of order and so comes at 40.
        let mut labels = vec![label(1, 4, 0), label(1, 6, 0), label(1, 20, 1), label(1, 21, 1), label(1, 40, 0)];
        labels[4].ts = Timestamp(3);
        let facts = |predicted_first: bool| {
            let mut ledger = Ledger::new(Span(100), Span(30), 1000);
            let mut facts = Vec::new();
            if predicted_first {
                facts.extend(ledger.predict(RecordId(1), prediction(35)).unwrap());
            }
            for label in &labels {
                assert_eq!(ledger.label(label.clone()), Ok(None));
            }
            facts.extend(ledger.advance(Timestamp(41)));
            if !predicted_first {
                facts.extend(ledger.predict(RecordId(1), prediction(35)).unwrap());
            }
            assert_eq!(ledger.waiting_labels(), 0);
            facts
        };
        let first = facts(true);
        assert!(
            matches!(
                first.as_slice(),
                [Joined::Unmatched, Joined::Pair { .. }, Joined::Pair { previous: Some(_), .. }, Joined::Duplicate, Joined::Unmatched]
            ),
            "{first:?}"
        );
        assert_eq!(facts(false), first);
    }

    #[test]
    fn labels_that_came_at_once_are_ordered_without_the_number_of_their_partition() {
        let of = |source: u32, class| Label { position: (SourceId(source), 7), ..label(1, 20, class) };
        let truth = |labels: [Label; 2]| {
            let mut ledger = ledger();
            ledger.predict(RecordId(1), prediction(15)).unwrap();
            for label in labels {
                ledger.label(label).unwrap();
            }
            match ledger.advance(Timestamp(20)).pop() {
                Some(Joined::Pair { truth, .. }) => truth,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(truth([of(1, 0), of(2, 1)]), truth([of(2, 0), of(1, 1)]));
    }

    #[test]
    fn predictions_are_forgotten_after_the_horizon() {
        let mut ledger = ledger();
        ledger.predict(RecordId(1), prediction(0)).unwrap();
        ledger.advance(Timestamp(100));
        assert_eq!(ledger.predictions(), 1);
        ledger.advance(Timestamp(110));
        assert_eq!(ledger.predictions(), 0);
    }

    #[test]
    fn a_full_ledger_hands_the_record_back() {
        let mut ledger = Ledger::new(Span(100), Span(10), 1);
        ledger.predict(RecordId(1), prediction(0)).unwrap();
        assert!(ledger.predict(RecordId(2), prediction(0)).is_err());
        ledger.label(label(9, 5, 1)).unwrap();
        assert!(ledger.label(label(8, 5, 1)).is_err());
    }

    #[test]
    fn the_end_of_input_leaves_nothing_waiting() {
        let mut ledger = ledger();
        ledger.predict(RecordId(1), prediction(0)).unwrap();
        ledger.label(label(1, 50, 1)).unwrap();
        ledger.label(label(2, 50, 1)).unwrap();
        let facts = ledger.finish();
        assert!(matches!(facts.as_slice(), [Joined::Pair { .. }, Joined::Unmatched]));
        assert_eq!(ledger.waiting_labels(), 0);
    }
}
