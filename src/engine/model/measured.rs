//! What a window of a model says: its summary, and the measurements of everything that is in it. Decides nothing.

use std::sync::Arc;

use crate::engine::clocks::Clocks;
use crate::engine::closed::Closed;
use crate::engine::detection::Told;
use crate::engine::explain::{self, Scene};
use crate::engine::history::Place;
use crate::engine::measure;
use crate::engine::plan::ModelPlan;
use crate::event::{WindowRef, WindowSummary};

use super::ModelState;

impl ModelState {
    /// `told` where detectors are told with it: when it closes.
    pub(super) fn measure_events(
        &self,
        plan: &ModelPlan,
        window: &WindowRef,
        revision: u32,
        told: Option<Told>,
        clocks: &Clocks<'_>,
    ) -> Closed {
        let mut closed = self.summary(plan, window, revision, clocks);
        for (version, segment) in self.history.places(window) {
            let name = self.versions.name(version);
            let Some(sides) = self.sides(plan, window, (version, segment)) else { continue };
            let context = measure::Context { plan, version: &name, segment, window, revision };
            let first = closed.measurements.len();
            measure::events(&context, &sides.pane, sides.against(), &mut closed.measurements);
            let extended = closed.measurements.get_mut(first..).unwrap_or_default();
            measure::mark_extended(extended, sides.extended);
            if let Some(told) = told.filter(|_| segment == 0) {
                measure::detection::values(&context, self.detection.values(), version, told, &sides.pane, &mut closed.measurements);
                if self.joins() {
                    measure::detection::awaiting(&context, &mut closed.measurements);
                }
            }
            let measured = closed.measurements.get(first..).unwrap_or(&[]);
            let scene =
                Scene { context: &context, history: &self.history, place: (version, segment), pane: &sides.pane, against: sides.against() };
            explain::explain(&scene, measured, &(clocks.breached)(&closed.summary, measured), &mut closed.explanations);
            if segment == 0 {
                closed.panes.push((name, sides.pane));
            }
        }
        self.mark_awaiting(&mut closed);
        measure::sort(&mut closed.measurements);
        explain::sort(&mut closed.explanations);
        closed.panes.sort_by(|(left, _), (right, _)| left.cmp(right));
        closed
    }

    pub(super) fn measure_labels(
        &self,
        plan: &ModelPlan,
        window: &WindowRef,
        places: &[Place],
        revision: u32,
        clocks: &Clocks<'_>,
    ) -> Closed {
        let mut closed = self.summary(plan, window, revision, clocks);
        closed.is_first = false;
        let (matched, _) = self.history.matched(window);
        closed.summary.labels_matched = matched;
        for (version, segment) in places.iter().copied() {
            let name = self.versions.name(version);
            let context = measure::Context { plan, version: &name, segment, window, revision };
            let pairs = self.history.pairs(window, (version, segment));
            measure::labels(&context, pairs.as_ref(), &mut closed.measurements);
        }
        measure::sort(&mut closed.measurements);
        closed
    }

    /// Adds what detectors say of the errors of a window.
    pub(super) fn measure_errors(&self, plan: &ModelPlan, told: Told, closed: &mut Closed, places: &[Place]) {
        let (window, revision) = (&closed.summary.window, closed.summary.revision);
        for (version, segment) in places.iter().copied().filter(|(_, segment)| *segment == 0) {
            let name = self.versions.name(version);
            let context = measure::Context { plan, version: &name, segment, window, revision };
            measure::detection::errors(&context, self.detection.errors(), version, told, &mut closed.measurements);
        }
        measure::sort(&mut closed.measurements);
    }

    fn summary(&self, plan: &ModelPlan, window: &WindowRef, revision: u32, clocks: &Clocks<'_>) -> Closed {
        let late = self.late.iter().filter(|((slice, reached), _)| *slice >= window.start && *slice < window.end && window.end > *reached);
        let mut gaps: Vec<Arc<str>> = Vec::new();
        if clocks.coverage.from.is_none_or(|from| from > window.start) {
            gaps.push("input begins inside the window".into());
        }
        if clocks.coverage.until.is_some_and(|until| until < window.end) {
            gaps.push("input ends inside the window".into());
        }
        gaps.extend((clocks.gaps)(window));
        gaps.extend(self.begun.as_ref().and_then(|begun| begun.touches(window)));
        let summary = WindowSummary {
            model: Arc::clone(&plan.name),
            window: window.clone(),
            n: self.history.count(window),
            late: late.map(|(_, records)| records).sum(),
            complete: gaps.is_empty(),
            partitions: clocks.partitions,
            gaps,
            labels_matched: 0,
            has_labels: self.joins(),
            revision,
        };
        Closed {
            model: self.number,
            summary,
            measurements: Vec::new(),
            explanations: Vec::new(),
            panes: Vec::new(),
            is_first: true,
            is_news: true,
            looks: Vec::new(),
        }
    }
}
