//! Records of a partition that could not be read. It does not know why: that is said to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Timestamp;

/// A hole in what was read of a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The watermark before the hole.
    pub from: Option<Timestamp>,
    /// The watermark when reading had gone on for a while; open until then.
    pub until: Option<Timestamp>,
    /// What is missing.
    pub reason: Arc<str>,
    /// The offsets that are gone, where it is records that are missing.
    pub lost: Option<Lost>,
}

/// Offsets of records that can never be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lost {
    /// The offset that was to be read next.
    pub from: i64,
    /// The offset from which on it can be read. Below `from` where the topic was truncated or made anew.
    pub to: i64,
}
