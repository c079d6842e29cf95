//! Detectors over the values of each numeric column: means of panes, in units of what such a mean may be off.
//!
//! A step takes as many panes, one after the other, as it needs for `min_samples` values, and its value is sqrt(`min_samples`) (mean -
//! reference mean) / reference standard deviation: without drift, and for independent values, of variance 1 at most. The factor is
//! the same for all steps, whatever they hold: with the root of a step's own count a lasting small offset would look like a change whenever
//! the traffic changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::layout::{Column, SPECIAL};
use crate::baseline::{Baseline, ColumnKind};
use crate::event::Timestamp;
use crate::stats::exact::ExactSum;
use crate::stats::sequential::{Detector, Settings, Signal};
use crate::window::Pane;

use super::said::{Said, Word};
use super::{Told, detectors, reconcile};
use crate::engine::history::{History, Versions};
use crate::engine::plan::ModelPlan;

/// The greatest value of a step, either way. Beyond a hundred standard errors all changes are alike, and one wild value in a pane must not
/// blind a detector that judges by the variance of what it has seen.
const MOST: f64 = 100.0;

/// Detectors over the values of all versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// Panes from here on are to come.
    next: Option<Timestamp>,
    /// By version and column.
    streams: BTreeMap<(u16, usize), Stream>,
}

/// One column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stream {
    /// Values since the last step, and their sum in standard deviations from the reference mean.
    n: u64,
    sum: ExactSum,
    detectors: Vec<Detector>,
    said: Said,
}

impl Values {
    pub(super) fn step(&mut self, plan: &ModelPlan, versions: &Versions, history: &History, told: Told) {
        let wanted: Vec<Settings> = detectors(plan, false).collect();
        if wanted.is_empty() {
            *self = Values::default();
            return;
        }
        let next = self.next.unwrap_or(told.from);
        if told.end <= next {
            return;
        }
        self.next = Some(told.end);
        for (start, version, pane) in history.overall((next, told.end)) {
            let Some(baseline) = plan.baseline(&versions.name(version)) else { continue };
            for (index, column) in baseline.layout.columns.iter().enumerate() {
                let Some((n, sum)) = values(baseline, index, column, &pane) else { continue };
                let stream = self.streams.entry((version, index)).or_default();
                if reconcile(&mut stream.detectors, &wanted) {
                    stream.said.clear();
                }
                stream.take(plan, start, n, sum);
            }
        }
    }

    /// What was said of a column in the last slide of a window, and the values that wait for the next step.
    pub(in crate::engine) fn word(&self, version: u16, column: usize, told: Told) -> (Option<&Word>, u64) {
        let stream = self.streams.get(&(version, column));
        stream.map_or((None, 0), |stream| (stream.said.get(told.place, told.end), stream.n))
    }

    pub(super) fn forget(&mut self, told: Told) {
        self.streams.values_mut().for_each(|stream| stream.said.forget(told));
    }
}

impl Stream {
    #[allow(clippy::cast_precision_loss)] // Numbers of events.
    fn take(&mut self, plan: &ModelPlan, start: Timestamp, n: u64, sum: &ExactSum) {
        self.n += n;
        self.sum.merge(sum);
        if self.n == 0 || self.n < plan.min_samples {
            return;
        }
        let mean = self.sum.value() / self.n as f64;
        let x = (mean * (plan.min_samples.max(1) as f64).sqrt()).clamp(-MOST, MOST);
        let signals: Vec<Signal> = self.detectors.iter_mut().map(|detector| detector.update(x)).collect();
        self.said.add(&plan.windows, start, self.n, &signals);
        (self.n, self.sum) = (0, ExactSum::default());
    }
}

/// Values of a column in a pane, and their sum; none where the reference has no spread to measure by.
fn values<'a>(baseline: &Baseline, index: usize, column: &Column, pane: &'a Pane) -> Option<(u64, &'a ExactSum)> {
    has_spread(baseline, index, column).then_some(())?;
    let sums = pane.moments.get(column.moments?)?;
    let cells = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells())?;
    Some((cells.iter().sum(), &sums.sum))
}

/// Whether a column is of numbers that differ in the reference.
pub(in crate::engine) fn has_spread(baseline: &Baseline, index: usize, column: &Column) -> bool {
    let spread = baseline.summaries.get(index).and_then(|summary| summary.sd_population);
    matches!(column.kind, ColumnKind::Numeric(_)) && spread.is_some_and(|spread| spread > 0.0)
}
