//! What a worker hands to the evaluator: sealed panes, halves of joins, progress and counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Outcome, SourceId, Timestamp};
use crate::join::{Label, Predicted, RecordId};
use crate::window::{LateKey, OpenPane, SeriesId};

use super::series::SeriesKey;

/// Half of a join, on its way to the ledger of its model.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinHalf {
    /// A counted prediction.
    Prediction {
        /// Hash of its id.
        id: RecordId,
        /// Event time.
        ts: Timestamp,
        /// The watermark of its partition at its offset: when it came, in event time.
        came: Timestamp,
        /// Where it was read.
        position: (SourceId, i64),
        /// Its overall series: model and version.
        series: SeriesId,
        /// Numbers of its segments.
        segments: Box<[u16]>,
        /// What the model said.
        predicted: Predicted,
    },
    /// A label; it says itself where it was read.
    Label {
        /// Number of the model.
        model: u16,
        /// The label.
        label: Label,
    },
}

/// Counts by outcome of one source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    outcomes: [u64; Outcome::COUNT],
    /// Features that the baseline does not know.
    pub unknown_features: u64,
    /// Bare NaN and Infinity tokens.
    pub nonstandard_json: u64,
    /// Events without a time of their own.
    pub timestamp_fallbacks: u64,
    /// Events that count under the segment `other`, as their value is not admitted or missing.
    pub other_segments: u64,
}

impl Counts {
    /// Counts one event.
    #[inline]
    pub fn count(&mut self, outcome: Outcome) {
        self.add(outcome, 1);
    }

    /// Counts events of one outcome.
    #[inline]
    pub fn add(&mut self, outcome: Outcome, events: u64) {
        if let Some(count) = self.outcomes.get_mut(outcome.index()) {
            *count += events;
        }
    }

    /// Moves events from one outcome to another.
    pub fn shift(&mut self, from: Outcome, to: Outcome, events: u64) {
        if let Some(count) = self.outcomes.get_mut(from.index()) {
            *count = count.saturating_sub(events);
        }
        self.add(to, events);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Counts) {
        for (count, more) in self.outcomes.iter_mut().zip(&other.outcomes) {
            *count += more;
        }
        self.unknown_features += other.unknown_features;
        self.nonstandard_json += other.nonstandard_json;
        self.timestamp_fallbacks += other.timestamp_fallbacks;
        self.other_segments += other.other_segments;
    }

    /// Events of one outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.index()).copied().unwrap_or(0)
    }

    /// Outcomes with their events, those of no event left out.
    pub fn all(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::all().zip(self.outcomes).filter(|(_, count)| *count > 0)
    }

    /// All events received, those that wait among them.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// How far a source partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub source: SourceId,
    /// Its watermark.
    pub watermark: Option<Timestamp>,
    /// The least accepted event time.
    pub earliest: Option<Timestamp>,
}

/// Everything a worker has to say since it last said something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardOutput {
    /// Series that are new since the last output; they are numbered on from those before.
    pub series: Vec<SeriesKey>,
    /// Panes, each to be added to what is there.
    pub panes: Vec<OpenPane>,
    /// Halves of joins.
    pub halves: Vec<JoinHalf>,
    /// Late records by source partition.
    pub late: BTreeMap<(SourceId, LateKey), u64>,
    /// Progress of the partitions that moved.
    pub progress: Vec<Progress>,
    /// Counts by source partition.
    pub counts: BTreeMap<SourceId, Counts>,
    /// Prediction latencies in milliseconds, by model.
    pub latencies: Vec<(u16, f64)>,
    /// Models that records came for, in runs.
    pub seen: Vec<u16>,
}

impl ShardOutput {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == ShardOutput::default()
    }
}
