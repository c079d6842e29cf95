//! The two sides of a window's measurements: its events, of more time where there are too few, and what they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::closed::Closed;
use crate::engine::comparison::{Against, Comparison};
use crate::engine::history::Place;
use crate::engine::measure;
use crate::engine::plan::ModelPlan;
use crate::event::{Measurement, Span, Status, Subject, Timestamp, WindowRef};
use crate::window::{Pane, WindowSpec};

use super::ModelState;

/// Why there is nothing to compare with where the windows before are the reference.
const NO_WINDOWS: &str = "no_reference_windows";
/// The same where hours of the baseline are.
const NO_SEASON: &str = "no_seasonal_baseline";

/// The versions and segments that had drifted, by window specification and start. Windows that leave drifted ones out need them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drifted(BTreeMap<(usize, Timestamp), BTreeSet<Place>>);

impl Drifted {
    /// Whether the panes of a version and segment in a window are left out: it had drifted there, or the whole version had.
    fn has(&self, window: (usize, Timestamp), (version, segment): Place) -> bool {
        self.0.get(&window).is_some_and(|places| places.contains(&(version, segment)) || places.contains(&(version, 0)))
    }

    /// Gives whether that is another answer than before.
    fn set(&mut self, window: (usize, Timestamp), places: BTreeSet<Place>) -> bool {
        let before = if places.is_empty() { self.0.remove(&window) } else { self.0.insert(window, places.clone()) };
        before.unwrap_or_default() != places
    }

    /// Forgets windows that start before an instant, by specification.
    pub(super) fn forget(&mut self, before: impl Fn(usize) -> Timestamp) {
        self.0.retain(|(place, start), _| *start >= before(*place));
    }
}

/// The events of one version and segment in a window, and what they are compared with.
pub(super) struct Sides {
    pub(super) pane: Pane,
    /// How long the window became to have enough of them.
    pub(super) extended: Option<Span>,
    reference: Result<Option<Pane>, &'static str>,
    name: Option<String>,
}

impl Sides {
    /// What it is compared with.
    pub(super) fn against(&self) -> measure::Against<'_> {
        match (&self.reference, &self.name) {
            (Err(reason), _) => measure::Against::Nothing(reason),
            (Ok(Some(pane)), Some(name)) => measure::Against::Pane(pane, name),
            _ => measure::Against::Baseline,
        }
    }
}

impl ModelState {
    /// Both sides of one version and segment of a window; `None` without events in it.
    pub(super) fn sides(&self, plan: &ModelPlan, window: &WindowRef, at: Place) -> Option<Sides> {
        let pane = self.history.events(window, at)?;
        let place = plan.windows.iter().position(|spec| spec.name == window.name);
        let found = place.and_then(|place| Some((place, plan.windows.get(place)?)));
        let Some((place, spec)) = found else { return Some(Sides { pane, extended: None, reference: Ok(None), name: None }) };
        let comparison = plan.comparison(place);
        let (pane, from) = self.extended(plan, spec, &comparison, window, at, pane);
        let reference = match comparison.against {
            Against::Baseline => Ok(None),
            Against::Season(season) => {
                let seasons = plan.baseline(&self.versions.name(at.0)).and_then(|baseline| baseline.seasons.as_ref());
                let touched = WindowRef { start: from, ..window.clone() };
                let found = seasons.filter(|_| at.1 == 0).and_then(|seasons| seasons.reference(season, &touched, plan.min_samples));
                found.map(Some).ok_or(NO_SEASON)
            }
            Against::Earlier { .. } => self.earlier(plan, (place, spec), &comparison, (window, from), at).map(Some).ok_or(NO_WINDOWS),
        };
        let extended = (from < window.start).then(|| window.end - from);
        Some(Sides { pane, extended, reference, name: comparison.name() })
    }

    /// Moves the start back by whole slides until there are enough events or the window is as long as it may be.
    fn extended(
        &self,
        plan: &ModelPlan,
        spec: &WindowSpec,
        comparison: &Comparison,
        window: &WindowRef,
        at: Place,
        mut pane: Pane,
    ) -> (Pane, Timestamp) {
        let (mut from, first) = (window.start, window.start - comparison.extension(spec));
        while pane.n < plan.min_samples && from - spec.slide >= first {
            let more = WindowRef { name: window.name.clone(), start: from - spec.slide, end: from };
            if let Some(more) = self.history.events(&more, at) {
                pane.merge(&more);
            }
            from = more.start;
        }
        (pane, from)
    }

    /// The earlier windows added up; `None` where fewer than half of them are left, or too few events.
    fn earlier(
        &self,
        plan: &ModelPlan,
        (place, spec): (usize, &WindowSpec),
        comparison: &Comparison,
        (window, from): (&WindowRef, Timestamp),
        at: Place,
    ) -> Option<Pane> {
        let Against::Earlier { count, leaves_out_drifted, .. } = comparison.against else { return None };
        let mut sum: Option<Pane> = None;
        let mut left = 0;
        for (start, earlier) in comparison.earlier(spec, window, from) {
            if leaves_out_drifted && self.drifted.has((place, start), at) {
                continue;
            }
            let Some(pane) = self.history.events(&earlier, at) else { continue };
            left += 1;
            match &mut sum {
                Some(sum) => sum.merge(&pane),
                None => sum = Some(pane),
            }
        }
        sum.filter(|sum| 2 * left >= count && sum.n >= plan.min_samples)
    }

    /// Notes which versions and segments of a window have drifted, where later windows want to know. Gives the starts of the
    /// windows that have been closed and would now say something else.
    pub(super) fn note_drift(&mut self, plan: &ModelPlan, place: usize, closed: &Closed) -> Vec<Timestamp> {
        let comparison = plan.comparison(place);
        let (Some(spec), Against::Earlier { leaves_out_drifted: true, .. }) = (plan.windows.get(place), comparison.against) else {
            return Vec::new();
        };
        let mut places = BTreeSet::new();
        for measurement in closed.measurements.iter().filter(|measurement| has_drifted(plan, measurement)) {
            let segment = plan.segment_names.iter().position(|name| *name == measurement.segment);
            if let Some(segment) = segment.and_then(|segment| u16::try_from(segment).ok()) {
                places.insert((self.versions.number(&measurement.version), segment));
            }
        }
        let start = closed.summary.window.start;
        if !self.drifted.set((place, start), places) {
            return Vec::new();
        }
        self.closed_windows(plan, place, start).filter(|later| *later > start && comparison.touches(spec, *later, start)).collect()
    }

    /// The starts of the windows of a specification that have been closed, can still be restated, and may depend on a slice.
    pub(super) fn closed_windows(&self, plan: &ModelPlan, place: usize, slice: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        let next = self.schedules.get(place).and_then(crate::window::Schedule::next_start);
        let spec = plan.windows.get(place);
        let first = spec.map_or(slice, |spec| spec.first_start(slice).max(self.needed(plan, place)));
        let slide = spec.map_or(1, |spec| spec.slide.0.max(1));
        let count = next.map_or(0, |next| ((next - first).0 + slide - 1).div_euclid(slide).max(0));
        (0..count).map(move |number| first + Span(slide * number))
    }
}

/// Whether a measurement is one of drift, by the recipe of the model.
fn has_drifted(plan: &ModelPlan, measurement: &Measurement) -> bool {
    let is_of_events = matches!(measurement.subject, Subject::Feature(_) | Subject::Prediction | Subject::Score | Subject::Proba(_));
    measurement.metric == plan.drift.metric
        && measurement.status == Status::Ok
        && is_of_events
        && measurement.value.is_some_and(|value| value >= plan.drift.above)
        && measurement.p_adjusted.is_some_and(|p| p < plan.drift.p_adjusted)
}
