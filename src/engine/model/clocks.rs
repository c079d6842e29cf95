//! What a model is told when it advances: clocks, the coverage of the input, and what rules wait for.

use std::sync::Arc;

use crate::engine::labels::{DEFAULT_COVERAGE, Settings};
use crate::engine::plan::ModelPlan;
use crate::event::{Timestamp, WindowRef};

use super::Coverage;

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
}

pub(super) fn settings<'a>(plan: &ModelPlan, coverages: &'a [f64]) -> Settings<'a> {
    Settings { horizon: plan.horizon.unwrap_or_default(), lateness: plan.lateness, coverages }
}

/// The coverages rules wait for, or the default one.
pub(super) fn watched(coverages: &dyn Fn(&str) -> Vec<f64>, window: &str) -> Vec<f64> {
    let watched = coverages(window);
    if watched.is_empty() { vec![DEFAULT_COVERAGE] } else { watched }
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn share(matched: u64, n: u64) -> f64 {
    // A window without predictions has all the labels it will ever have.
    if n == 0 { 1.0 } else { matched as f64 / n as f64 }
}
