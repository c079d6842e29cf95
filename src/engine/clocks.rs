//! What the progress of a model depends on besides its own state.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Measurement, Metric, Subject, Timestamp, WindowRef, WindowSummary};

/// How far the model's input reaches: the windows outside are not covered by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The first event time of the input.
    pub from: Option<Timestamp>,
    /// Its last, once the input has ended.
    pub until: Option<Timestamp>,
}

/// Subjects in breach of a rule by the measurements of a window, each with the metric of its rule.
pub type Breached<'a> = dyn Fn(&WindowSummary, &[Measurement]) -> Vec<(Subject, Metric)> + 'a;

/// What a model's progress depends on besides its own state.
pub struct Clocks<'a> {
    /// The clock that closes windows, less nothing: lateness is the model's.
    pub events: Option<Timestamp>,
    /// The clock up to which labels are applied.
    pub labels: Option<Timestamp>,
    /// The last event time, when the input is over.
    pub end: Option<Timestamp>,
    /// What the input covers.
    pub coverage: Coverage,
    /// Source partitions that have contributed, and all of them.
    pub partitions: (u32, u32),
    /// Recorded gaps that touch a window.
    pub gaps: &'a dyn Fn(&WindowRef) -> Vec<Arc<str>>,
    /// The label coverages that rules on a window wait for.
    pub coverages: &'a dyn Fn(&str) -> Vec<f64>,
    /// The subjects that rules find in breach by the measurements of one version and segment of a window as it closes, each with
    /// the metric of its rule.
    pub breached: &'a Breached<'a>,
}
