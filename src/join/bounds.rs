//! Which labels belong to which predictions, and how long either is kept: the rules of the join, without any state.

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp};

use super::half::{Predicted, Prediction, Truth};
use super::record::{Entry, Said};

/// What a ledger is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How long after its prediction a label may come, in event time: be it later itself, or read behind one that is.
    pub horizon: Span,
    /// How far before its prediction a label may lie (producers' clocks differ); at least the lateness of predictions.
    pub patience: Span,
    /// Most predictions, and most waiting labels, that are kept.
    pub capacity: usize,
    /// Most records that stay in memory although they are on the shelf.
    pub cached: usize,
}

/// A prediction and a label of it, to be counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair<'a> {
    /// The prediction.
    pub prediction: &'a Prediction,
    /// Its label.
    pub truth: Truth,
    /// The label it had before, which was counted.
    pub previous: Option<Truth>,
}

/// Counts a pair, and says whether it could: a version may not know the class of a label.
pub type Count<'a> = dyn FnMut(&Pair<'_>) -> bool + 'a;

impl Bounds {
    /// What becomes of a label of this prediction. It is the same whichever of the two was read first.
    pub(super) fn meet(&self, entry: &mut Entry, (ts, came): (Timestamp, Timestamp), truth: Truth, count: &mut Count<'_>) -> Said {
        let prediction = &entry.prediction;
        // It must have come within the horizon, not only be of that time: windows are looked at for the last time then, however
        // long they are, and the prediction may be forgotten.
        if came - prediction.ts > self.horizon || prediction.ts - ts > self.patience {
            return Said::Waiting;
        }
        if entry.truth == Some(truth) {
            return Said::Duplicate;
        }
        let is_of_its_kind = matches!(truth, Truth::Value(_)) == matches!(prediction.predicted, Predicted::Value(_));
        if !is_of_its_kind || !count(&Pair { prediction, truth, previous: entry.truth }) {
            return Said::BadLabel;
        }
        entry.truth = Some(truth);
        Said::Counted
    }

    /// Expiry is kept in buckets, a 64th of the horizon wide, so that the versions of an id share an entry.
    pub(super) fn bucket(&self, ts: Timestamp) -> Timestamp {
        let width = Span((self.horizon.0 / 64).max(1));
        (ts + self.horizon).align(width, Span(0)) + width
    }

    /// Until when a label that came then is remembered.
    pub(super) fn forgets(&self, came: Timestamp) -> Timestamp {
        came + self.patience + self.patience
    }

    pub(super) fn has_forgotten(&self, came: Timestamp, clock: Timestamp) -> bool {
        self.forgets(came) < clock
    }
}
