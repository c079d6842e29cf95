//! The records of the panes topic and of the owners topic, as bytes.
//!
//! Keys are JSON, so that an operator can read a topic with any tool; values are one byte of format, then postcard.
//! A value of another format is refused by name, never guessed at.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::evaluator::Gap;
use crate::engine::output::Counts;
use crate::event::{Outcome, Reject, Timestamp, TopicRole};
use crate::window::{JoinedPane, Pane};

/// Format of the values.
pub const FORMAT: u8 = 6;

/// A topic that is made anew begins with offset 0 again. So that what is said of it later is greater than what was said
/// before, positions count its lives above the offset: no log reaches 2^48 records.
pub const LIFE: i64 = 1 << 48;

/// The offset of a position.
#[must_use]
pub fn offset_of(position: i64) -> i64 {
    position.rem_euclid(LIFE)
}

/// Why a record of the exchange cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The key is none of ours.
    #[error("a key that is not one of driftline's: {0}")]
    Key(String),
    /// The value is of another format.
    #[error("a value of format {found:?}, this version reads {FORMAT}")]
    Format {
        /// The format found; `None` where the value is empty.
        found: Option<u8>,
    },
    /// The value is not what was written.
    #[error("a damaged value: {0}")]
    Value(String),
}

/// A source partition by its name, which means the same in every process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceName {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
}

/// A run of panes by its name, which means the same in every process of the same configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesName {
    /// The model.
    pub model: Arc<str>,
    /// What its panes are counted over: [`crate::engine::ModelPlan::fingerprint`]. Panes of another never merge with them.
    pub layout: u64,
    /// The version of the model.
    pub version: Arc<str>,
    /// Number of the segment in the model's plan, of which the fingerprint is a part.
    pub segment: u16,
}

/// What a record of the panes topic is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Events of one slice of one source partition: [`Events`].
    Events {
        /// Whose they are.
        series: SeriesName,
        /// First instant of the slice.
        slice: Timestamp,
        /// Where they were read.
        source: SourceName,
    },
    /// Predictions of one slice with their labels, of the partitions of one number: [`Joined`].
    Joined {
        /// Whose they are.
        series: SeriesName,
        /// First instant of the slice of the predictions.
        slice: Timestamp,
        /// The number that prediction and label partitions share.
        partition: i32,
    },
    /// How far a source partition has been read: [`Progress`].
    Progress {
        /// The partition.
        source: SourceName,
    },
    /// How far the labels of one model in the partitions of one number have been joined: [`Labels`].
    Labels {
        /// The model.
        model: Arc<str>,
        /// Its fingerprint.
        layout: u64,
        /// The number of the partitions.
        partition: i32,
    },
}

/// The events of a slice of one source partition, all that its records before `end` have in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// The position after the last record counted: its offset, with the lives of the topic; see [`LIFE`].
    pub end: i64,
    /// The watermark of the partition at which the slice takes no more records.
    pub sealed_at: Timestamp,
    /// The counts.
    pub pane: Pane,
}

/// The pairs of a slice in the partitions of one number, all whose label and prediction had come by `tick`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The instant of the label clock that the pane is as of.
    pub tick: Timestamp,
    /// The counts.
    pub pane: JoinedPane,
}

/// What became of a source partition up to `end`. It follows the panes of the same reading in every partition of the panes
/// topic that it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What its topic carries.
    pub role: TopicRole,
    /// The broker's id of the topic that `end` is a position of, where it is known.
    pub topic_id: Option<Arc<str>>,
    /// The position at which reading once began.
    pub start: i64,
    /// The position after the last record read.
    pub end: i64,
    /// The greatest accepted event time.
    pub watermark: Option<Timestamp>,
    /// The least accepted event time.
    pub earliest: Option<Timestamp>,
    /// Whether it is at its end without news and holds no window open.
    pub is_idle: bool,
    /// What became of its records. Labels stay `waiting` here; see [`Labels::settled`].
    pub counts: Counts,
    /// Late records of the models of this partition of the panes topic.
    pub late: Vec<Late>,
    /// Records that could not be read.
    pub gaps: Vec<Gap>,
    /// Records without a value among those that count as [`Reject::Empty`].
    pub tombstones: u64,
    /// The last rejected record that had a value and was of no model that is not watched: its offset, and why.
    pub example: Option<(i64, Reject)>,
    /// Who read it, for people.
    pub instance: Arc<str>,
    /// The wall time at which it was said: an owner that is long silent is dead, and its partitions are not idle.
    pub at: Timestamp,
}

/// Late records of one model and slice, by how far their partition had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// The model.
    pub model: Arc<str>,
    /// Its fingerprint.
    pub layout: u64,
    /// First instant of the slice of the records.
    pub slice: Timestamp,
    /// First instant of the slice that the watermark less the lateness lay in.
    pub reached: Timestamp,
    /// How many.
    pub records: u64,
}

/// How far the labels of a model have been joined in the partitions of one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The label clock: all labels that came up to it are in the joined panes.
    pub tick: Option<Timestamp>,
    /// Up to which position the partitions of this number had been read for it. Progress may have been said of less.
    pub ends: Vec<(SourceName, i64)>,
    /// Whether all partitions of this number are at their end, so that they hold no label back.
    pub is_idle: bool,
    /// Whether predictions and labels of before are still being read again after a hand-over; the clock stands meanwhile.
    pub is_rebuilding: bool,
    /// What became of labels up to the clock.
    pub settled: Vec<(Outcome, u64)>,
    /// Labels that wait.
    pub waiting_labels: u64,
    /// Predictions kept for their label.
    pub waiting_predictions: u64,
    /// Who joined, for people.
    pub instance: Arc<str>,
    /// The wall time at which it was said.
    pub at: Timestamp,
}

impl Key {
    /// The key as it is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain names and numbers: the serialiser has nothing to refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`WireError::Key`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Key, WireError> {
        serde_json::from_slice(bytes).map_err(|_| WireError::Key(String::from_utf8_lossy(bytes).chars().take(100).collect()))
    }

    /// The model it is about; progress is about all of them.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<str>> {
        match self {
            Key::Events { series, .. } | Key::Joined { series, .. } => Some(&series.model),
            Key::Labels { model, .. } => Some(model),
            Key::Progress { .. } => None,
        }
    }
}

/// Writes a value.
#[must_use]
pub fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, of plain data: it cannot fail.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

/// Reads a value.
///
/// # Errors
/// [`WireError::Format`] and [`WireError::Value`].
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|error| WireError::Value(error.to_string())),
        other => Err(WireError::Format { found: other.map(|(format, _)| *format) }),
    }
}

/// Reads the first fields of a value: of [`Events`] its end and when it is sealed, of [`Joined`] its tick.
///
/// # Errors
/// [`WireError::Format`] and [`WireError::Value`].
pub fn begin_of<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => {
            postcard::take_from_bytes(body).map(|(begin, _)| begin).map_err(|error| WireError::Value(error.to_string()))
        }
        other => Err(WireError::Format { found: other.map(|(format, _)| *format) }),
    }
}

/// The partition of the panes topic, and of the owners topic, that a model belongs to. It must never change: it is what
/// brings all panes of a model to one owner. The hash is FNV-1a with 64 bits (offset basis 0xcbf29ce484222325, prime
/// 0x100000001b3) of the name in UTF-8.
#[must_use]
pub fn home(model: &str, partitions: i32) -> i32 {
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(hash % partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> SeriesName {
        SeriesName { model: "loan".into(), layout: u64::MAX, version: "3".into(), segment: 2 }
    }

    #[test]
    fn a_key_is_readable_and_comes_back() {
        let source = SourceName { topic: "loan.predictions".into(), partition: 4 };
        let key = Key::Events { series: series(), slice: Timestamp(60_000), source };
        let text = String::from_utf8(key.to_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"events":{"series":{"model":"loan","layout":18446744073709551615,"version":"3","segment":2},"slice":60000,"source":{"topic":"loan.predictions","partition":4}}}"#
        );
        assert_eq!(Key::from_bytes(text.as_bytes()), Ok(key));
        assert_eq!(Key::from_bytes(b"order-17"), Err(WireError::Key("order-17".into())));
    }

    #[test]
    fn a_value_of_another_format_is_refused() {
        let value = Joined { tick: Timestamp(7), pane: JoinedPane::default() };
        let mut bytes = to_bytes(&value);
        assert_eq!(from_bytes::<Joined>(&bytes), Ok(value));
        bytes[0] = 9;
        assert_eq!(from_bytes::<Joined>(&bytes), Err(WireError::Format { found: Some(9) }));
        assert_eq!(from_bytes::<Joined>(&[]), Err(WireError::Format { found: None }));
    }

    #[test]
    fn a_model_never_moves() {
        assert_eq!(["loan", "fraud", "churn", ""].map(|model| home(model, 8)), [3, 1, 5, 5]);
    }
}
