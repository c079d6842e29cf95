//! Which pane an event belongs to besides its slice: model, version and segment.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A run of panes, named so that it means the same in every worker and process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Number of the model in the plan.
    pub model: u16,
    /// Version of the model; "" where the event names none.
    pub version: Arc<str>,
    /// Number of the segment in the model's plan; 0 is the overall one.
    pub segment: u16,
}
