//! The ledger: predictions that may still get a label, and labels whose prediction has not been seen.
//!
//! Labels are applied in the order of their event time, up to a clock that the caller moves only as far as all
//! predictions of that time have been read. So the state at any label time is a function of the records alone, however
//! their partitions were interleaved.
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
    /// The truth.
    pub truth: Truth,
    /// Where it was read: decides between labels of the same time.
    pub position: (SourceId, i64),
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

/// Waiting predictions and labels of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// How long after its prediction a label may come.
    horizon: Span,
    /// How long after its own time a label waits for a prediction that has not been read yet.
    patience: Span,
    /// Most predictions and labels kept.
    capacity: usize,
    predictions: FxHashMap<RecordId, Entry>,
    /// When predictions can be forgotten, in buckets of [`Ledger::bucket`].
    expiry: BTreeMap<Timestamp, Vec<RecordId>>,
    /// Labels not yet applied, in the order in which they will be.
    pending: BTreeMap<(Timestamp, SourceId, i64), Label>,
    /// Labels applied without finding their prediction.
    early: BTreeMap<RecordId, Label>,
    early_expiry: BTreeSet<(Timestamp, RecordId)>,
}

impl Ledger {
    /// An empty ledger.
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
        }
    }

    /// Labels that wait to be joined.
    #[must_use]
    pub fn waiting_labels(&self) -> usize {
        self.pending.len() + self.early.len()
    }

    /// Predictions that may still get a label or a corrected one.
    #[must_use]
    pub fn predictions(&self) -> usize {
        self.predictions.len()
    }

    /// Keeps a prediction for its label. Gives the pair if the label is there already. `Err` when the ledger is full.
    /// A second prediction with the same id leaves the first in place.
    ///
    /// # Errors
    /// The prediction, when the ledger is at its capacity.
    pub fn predict(&mut self, id: RecordId, prediction: Prediction) -> Result<Option<Joined>, Prediction> {
        if self.predictions.len() >= self.capacity && !self.predictions.contains_key(&id) {
            return Err(prediction);
        }
        let bucket = self.bucket(prediction.ts);
        let entry = match self.predictions.entry(id) {
            Slot::Occupied(_) => return Ok(None),
            Slot::Vacant(slot) => slot.insert(Entry { prediction, truth: None }),
        };
        self.expiry.entry(bucket).or_default().push(id);
        let Some(label) = self.early.remove(&id) else { return Ok(None) };
        self.early_expiry.remove(&(label.ts, id));
        if label.ts - entry.prediction.ts > self.horizon {
            return Ok(Some(Joined::Unmatched));
        }
        entry.truth = Some(label.truth);
        Ok(Some(Joined::Pair { prediction: entry.prediction.clone(), truth: label.truth, previous: None }))
    }

    /// Takes a label in, to be applied when the clock reaches it.
    ///
    /// # Errors
    /// The label, when the ledger is at its capacity.
    pub fn label(&mut self, label: Label) -> Result<(), Label> {
        if self.waiting_labels() >= self.capacity {
            return Err(label);
        }
        self.pending.insert((label.ts, label.position.0, label.position.1), label);
        Ok(())
    }

    /// Applies the labels up to and including `clock`, then forgets what is beyond the horizon.
    pub fn advance(&mut self, clock: Timestamp) -> Vec<Joined> {
        let mut joined = Vec::new();
        while let Some(first) = self.pending.first_entry() {
            if first.key().0 > clock {
                break;
            }
            let label = first.remove();
            if let Some(fact) = self.apply(&label) {
                joined.push(fact);
            }
        }
        while let Some((ts, id)) = self.early_expiry.first().copied() {
            if ts + self.patience >= clock {
                break;
            }
            self.early_expiry.remove(&(ts, id));
            self.early.remove(&id);
            joined.push(Joined::Unmatched);
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
            joined.extend(self.apply(&label));
        }
        joined.extend(self.early.keys().map(|_| Joined::Unmatched));
        self.early.clear();
        self.early_expiry.clear();
        joined
    }

    /// The earliest label that waits to be applied.
    #[must_use]
    pub fn next_label(&self) -> Option<Timestamp> {
        self.pending.first_key_value().map(|((ts, _, _), _)| *ts)
    }

    fn apply(&mut self, label: &Label) -> Option<Joined> {
        let Some(entry) = self.predictions.get_mut(&label.id) else {
            // A later label of the same id replaces the one that waits.
            let replaced = self.early.insert(label.id, label.clone());
            self.early_expiry.insert((label.ts, label.id));
            let before = replaced?;
            if before.ts != label.ts {
                self.early_expiry.remove(&(before.ts, before.id));
            }
            return Some(Joined::Duplicate);
        };
        if label.ts - entry.prediction.ts > self.horizon {
            return Some(Joined::Unmatched);
        }
        if entry.truth == Some(label.truth) {
            return Some(Joined::Duplicate);
        }
        let previous = entry.truth.replace(label.truth);
        Some(Joined::Pair { prediction: entry.prediction.clone(), truth: label.truth, previous })
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
        Label { id: RecordId(id), ts: Timestamp(ts), truth: Truth::Class(class), position: (SourceId(0), ts) }
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
        assert!(matches!(ledger.predict(RecordId(1), prediction(15)), Ok(Some(Joined::Pair { .. }))));
        assert_eq!(ledger.advance(Timestamp(31)), [Joined::Unmatched]);
        assert_eq!(ledger.waiting_labels(), 0);
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
