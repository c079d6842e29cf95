//! Where records come from: source partitions and positions in them.

use serde::{Deserialize, Serialize};

/// A source partition, numbered densely in the order in which it was first seen by this process.
/// The number never leaves the process; files and messages name topic and partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u32);

/// The offset of the next record to read of a source partition (what was read, plus one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NextOffset(pub i64);

/// What a topic carries where its events do not say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicRole {
    /// Prediction events.
    Predictions,
    /// Feature events.
    Features,
    /// Label events.
    Labels,
}

impl TopicRole {
    /// The event kind of a record that does not name one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TopicRole::Predictions => "predictions",
            TopicRole::Features => "features",
            TopicRole::Labels => "labels",
        }
    }
}
