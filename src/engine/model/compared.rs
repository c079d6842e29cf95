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
    fn set(&mut self, window: (usize, Timestamp), places: &BTreeSet<Place>) -> bool {
        let before = if places.is_empty() { self.0.remove(&window) } else { self.0.insert(window, places.clone()) };
        before.unwrap_or_default() != *places
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
    /// Whether the reference are hours of the baseline.
    is_season: bool,
}

impl Sides {
    /// What it is compared with.
    pub(super) fn against(&self) -> measure::Against<'_> {
        match (&self.reference, &self.name) {
            (Err(reason), _) => measure::Against::Nothing(reason),
            (Ok(Some(pane)), Some(name)) if self.is_season => measure::Against::Columns(pane, name),
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
        let Some((place, spec)) = found else {
            return Some(Sides { pane, extended: None, reference: Ok(None), name: None, is_season: false });
        };
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
        let is_season = matches!(comparison.against, Against::Season(_));
        Some(Sides { pane, extended, reference, name: comparison.name(), is_season })
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
        if !self.drifted.set((place, start), &places) {
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
    measurement.metric == plan.drift.metric && measurement.status == Status::Ok && is_of_events && plan.is_drift(measurement)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::tests::{advance, plan as plain};
    use super::*;
    use crate::engine::comparison::Step;
    use crate::event::{Metric, Segment};

    const MINUTE: i64 = Span::MINUTE.0;

    fn earlier(step: Step, count: u32, extend_to: Option<i64>) -> Comparison {
        let against = Against::Earlier { step, count, leaves_out_drifted: true };
        Comparison { against, extend_to: extend_to.map(|minutes| Span(minutes * MINUTE)) }
    }

    /// The three windows of the model's own tests: half an hour, three hours, twelve.
    fn plan() -> ModelPlan {
        let comparisons = vec![
            earlier(Step::Adjacent, 3, Some(60)),
            earlier(Step::Daily, 1, Some(300)),
            Comparison { extend_to: Some(Span(960 * MINUTE)), ..Comparison::default() },
        ];
        ModelPlan { comparisons, min_samples: 8, ..plain() }
    }

    /// Events, how long it became, and events of the reference.
    type Shown = (u64, Option<Span>, Option<u64>);

    fn shown(state: &ModelState, plan: &ModelPlan, window: &WindowRef) -> Option<Shown> {
        let sides = state.sides(plan, window, (0, 0))?;
        Some((sides.pane.n, sides.extended, sides.reference.ok().flatten().map(|pane| pane.n)))
    }

    /// The same from everything that came.
    fn brute(came: &BTreeMap<Timestamp, u64>, plan: &ModelPlan, place: usize, window: &WindowRef) -> Option<Shown> {
        let spec = &plan.windows[place];
        let sum = |from: Timestamp, until: Timestamp| -> u64 { came.range(from..until).map(|(_, n)| n).sum() };
        if sum(window.start, window.end) == 0 {
            return None;
        }
        let longest = plan.comparisons[place].extend_to.unwrap_or(spec.size);
        let mut from = window.start;
        while sum(from, window.end) < 8 && (window.end - from) + spec.slide <= longest {
            from = from - spec.slide;
        }
        let windows: Vec<(Timestamp, Timestamp)> = match place {
            0 => (1..=3).map(|k| (from - Span(30 * k * MINUTE), from - Span(30 * (k - 1) * MINUTE))).collect(),
            1 => vec![(from - Span::DAY, window.end - Span::DAY)],
            _ => vec![],
        };
        let filled = windows.iter().filter(|(from, until)| sum(*from, *until) > 0).count();
        let reference = windows.iter().map(|(from, until)| sum(*from, *until)).sum::<u64>();
        let extended = (from < window.start).then(|| window.end - from);
        Some((sum(from, window.end), extended, (2 * filled >= windows.len() && place < 2 && reference >= 8).then_some(reference)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// A partition comes back now and then with what it had for hours before: what was said last is right all the same.
        #[test]
        fn both_sides_are_right_when_windows_close_and_when_what_they_depend_on_changes(
            steps in vec((1i64..60, 1u64..4, vec((0i64..900, 1u64..4), 0..3)), 1..90),
        ) {
            let plan = plan();
            let mut state = ModelState::new(0, &plan, 0);
            let mut came: BTreeMap<Timestamp, u64> = BTreeMap::new();
            let mut said: BTreeMap<(usize, Timestamp), Option<Shown>> = BTreeMap::new();
            let mut clock = 0;
            for (minutes, fresh, returning) in &steps {
                let mut put = |minute: i64, n: u64| {
                    let slice = Timestamp(minute * MINUTE).align(plan.slice, Span(0));
                    if state.add(&plan, slice, 0, 0, Pane { n, ..Pane::default() }) == 0 {
                        *came.entry(slice).or_default() += n;
                    }
                };
                put(clock, *fresh);
                returning.iter().for_each(|(back, n)| put((clock - back).max(0), *n));
                clock += minutes;
                for closed in advance(&mut state, &plan, clock * MINUTE) {
                    let window = &closed.summary.window;
                    let place = plan.windows.iter().position(|spec| spec.name == window.name).unwrap();
                    said.insert((place, window.start), brute(&came, &plan, place, window));
                }
                for ((place, start), told) in said.iter().filter(|((place, start), _)| *start >= state.needed(&plan, *place)) {
                    let window = plan.windows[*place].at(*start);
                    prop_assert_eq!(told, &brute(&came, &plan, *place, &window), "{:?} was not restated", &window);
                    prop_assert_eq!(&shown(&state, &plan, &window), told, "{:?}", &window);
                }
            }
        }
    }

    #[test]
    fn slices_are_kept_as_long_as_references_look_back_and_no_longer() {
        let plan = plan();
        let mut state = ModelState::new(0, &plan, 0);
        for minute in (0..20_000).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 1, ..Pane::default() });
            advance(&mut state, &plan, minute * MINUTE);
        }
        let (mut slices, mut from) = (0, Timestamp(i64::MIN));
        while let Some(start) = state.history.next_slice(from) {
            slices += 1;
            from = Timestamp(start.0 + 1);
        }
        let kept = crate::engine::footprint::events_kept(&plan);
        let most: u64 = kept.stretches(plan.slice, Timestamp(0)).iter().map(|(_, count)| count).sum();
        let without: u64 =
            crate::engine::footprint::events_kept(&plain()).stretches(plan.slice, Timestamp(0)).iter().map(|(_, count)| count).sum();
        assert!(
            slices <= most && slices + 25 > most && most > without,
            "{slices} slices, up to {most} expected, {without} without references"
        );
    }

    fn drift(window: &WindowRef) -> Measurement {
        Measurement {
            model: "loan".into(),
            version: "".into(),
            segment: Segment::default(),
            window: window.clone(),
            subject: Subject::Feature("age".into()),
            metric: Metric::Psi,
            value: Some(0.2),
            p_value: Some(0.001),
            p_adjusted: Some(0.001),
            n: 100,
            n_reference: 100,
            status: Status::Ok,
            reason: None,
            recipe: "".into(),
            revision: 0,
        }
    }

    #[test]
    fn a_window_that_turns_out_to_have_drifted_is_left_out_of_those_that_were_closed_since() {
        let plan = plan();
        let mut state = ModelState::new(0, &plan, 0);
        state.version(&Arc::from(""));
        let mut closed = Vec::new();
        for minute in (0..400).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 4, ..Pane::default() });
            closed.extend(advance(&mut state, &plan, minute * MINUTE));
        }
        let of = |start: i64| plan.windows[0].at(Timestamp(start * MINUTE));
        let mut drifted = closed.iter().find(|closed| closed.summary.window == of(330)).unwrap().clone();
        assert_eq!(shown(&state, &plan, &of(360)), Some((12, None, Some(36))));
        drifted.measurements = vec![drift(&of(330))];
        let later = state.note_drift(&plan, 0, &drifted);
        assert_eq!(later, [340, 350].map(|minute| Timestamp(minute * MINUTE)), "those that have been closed");
        assert_eq!(shown(&state, &plan, &of(360)), Some((12, None, Some(24))));
        assert_eq!(shown(&state, &plan, &of(350)), Some((12, None, Some(36))), "it starts elsewhere");
        assert_eq!(state.note_drift(&plan, 0, &drifted), [], "nothing new");
        drifted.measurements[0].p_adjusted = Some(0.02);
        assert_eq!(state.note_drift(&plan, 0, &drifted).len(), 2, "and back");
        assert_eq!(shown(&state, &plan, &of(360)), Some((12, None, Some(36))));
        // It goes with what was decided, and is forgotten when no window looks back so far.
        drifted.measurements[0].p_adjusted = Some(0.001);
        state.note_drift(&plan, 0, &drifted);
        let bytes = postcard::to_stdvec(&state.decisions()).unwrap();
        let next = ModelState::decided(0, &plan, postcard::from_bytes(&bytes).unwrap()).unwrap();
        assert_eq!(next.drifted, state.drifted);
        for minute in (400..900).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 4, ..Pane::default() });
            advance(&mut state, &plan, minute * MINUTE);
        }
        assert_eq!(state.drifted, Drifted::default());
    }
}
