//! The evaluator's half of the engine for one model: it adds up panes, closes windows, joins labels and restates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Outcome, Span, Timestamp, WindowRef};
use crate::join::{Bounds, Change, Label, Ledger, Prediction, RecordId, Shelf, Tally};
use crate::window::{LateKey, Pane, Schedule, WindowSpec};

use super::clocks::Clocks;
use super::closed::Closed;
use super::cluster::joined::Parts;
use super::detection::{Detection, Told, watches_errors};
use super::history::{History, Piece, Versions};
use super::labels::{DEFAULT_COVERAGE, Look, Settings, Track, Waiting};
use super::measure;
use super::pair::count;
use super::pairs::PairShelf;
use super::plan::ModelPlan;
use super::retention::{Retention, reach};

mod begun;
mod compared;
mod decided;
mod measured;

pub use begun::Begun;
use compared::Drifted;
pub use decided::Decisions;

/// How long a label waits for a prediction that has not been read yet, besides the lateness: producers' clocks differ.
pub(super) const EARLY_LABEL_PATIENCE: Span = Span(5 * 60_000);

/// The state of one model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelState {
    /// Its place in the plan of this run.
    #[serde(skip)]
    number: u16,
    versions: Versions,
    /// Stored in pieces of its own.
    #[serde(skip)]
    history: History,
    schedules: Vec<Schedule>,
    late: BTreeMap<(Timestamp, Timestamp), u64>,
    /// Stored on its shelf.
    #[serde(skip)]
    ledger: Option<Ledger>,
    /// What others say, where they are joined elsewhere; never both.
    #[serde(skip)]
    parts: Option<Parts>,
    waiting: Vec<Waiting>,
    /// The label clock up to which labels have been applied.
    labelled: Timestamp,
    /// Closed windows whose panes have changed since, by window specification.
    dirty: BTreeSet<(usize, Timestamp)>,
    revisions: BTreeMap<(usize, Timestamp), u32>,
    detection: Detection,
    drifted: Drifted,
    /// Slices before this have been forgotten.
    forgotten: Timestamp,
    begun: Option<Begun>,
    /// The first window of each specification whose events, and whose pairs, were needed when panes were last forgotten.
    #[serde(skip)]
    needs: Vec<(Timestamp, Timestamp)>,
}

impl ModelState {
    /// A model without events.
    #[must_use]
    pub fn new(number: u16, plan: &ModelPlan, ledger_capacity: usize) -> ModelState {
        ModelState {
            number,
            versions: Versions::default(),
            history: History::default(),
            schedules: plan.windows.iter().map(|_| Schedule::default()).collect(),
            late: BTreeMap::new(),
            ledger: bounds(plan, ledger_capacity, 0).map(Ledger::new),
            parts: None,
            waiting: plan.windows.iter().map(|_| Waiting::default()).collect(),
            labelled: Timestamp(i64::MIN),
            dirty: BTreeSet::new(),
            revisions: BTreeMap::new(),
            detection: Detection::default(),
            drifted: Drifted::default(),
            forgotten: Timestamp(i64::MIN),
            begun: None,
            needs: Vec::new(),
        }
    }

    /// Goes on with the ledger that lies on a shelf, with at most `cached` of its records in memory beside what changes.
    /// Does nothing where labels are not joined.
    pub fn shelve(&mut self, plan: &ModelPlan, ledger_capacity: usize, shelf: Arc<dyn Shelf>, cached: usize) {
        self.ledger = bounds(plan, ledger_capacity, cached).map(|bounds| Ledger::on(shelf, bounds));
    }

    /// What the ledger's shelf does not have yet; it comes again until it is settled.
    pub fn take_ledger_changes(&mut self) -> Vec<Change> {
        self.ledger.as_mut().map(Ledger::take_changes).unwrap_or_default()
    }

    /// Goes on with joined panes that lie on a shelf where they are stored.
    pub fn shelve_pairs(&mut self, shelf: Arc<dyn PairShelf>) {
        self.history.shelve(shelf);
    }

    /// What was last taken of the ledger and of the panes is on the shelves.
    pub fn settle_changes(&mut self) {
        self.ledger.iter_mut().for_each(Ledger::settle_changes);
        self.history.settle_changes();
    }

    /// The ledger, where labels are joined.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The number of a version.
    pub fn version(&mut self, name: &Arc<str>) -> u16 {
        self.versions.number(name)
    }

    /// Adds a pane. Gives the number of events that came too late for any window that could still show them.
    pub fn add(&mut self, plan: &ModelPlan, slice: Timestamp, version: u16, segment: u16, pane: Pane) -> u64 {
        if slice < self.forgotten {
            return if segment == 0 { pane.n } else { 0 };
        }
        for (place, spec) in plan.windows.iter().enumerate() {
            // Windows further back are not restated: their slices have been added up.
            let comparison = plan.comparison(place);
            let closed = self.closed_windows(plan, place, slice).filter(|start| comparison.touches(spec, *start, slice));
            self.dirty.extend(closed.map(|start| (place, start)));
        }
        self.history.add(slice, plan.slice, (version, segment), pane);
        0
    }

    /// Notes late records. Windows that closed without waiting for their partition are said anew, where they are news.
    pub fn add_late(&mut self, plan: &ModelPlan, LateKey { slice, reached, .. }: LateKey, records: u64, is_news: bool) {
        *self.late.entry((slice, reached)).or_default() += records;
        for (place, spec) in plan.windows.iter().enumerate().filter(|_| is_news) {
            let shows = |start: &Timestamp| *start <= slice && *start + spec.size > slice.max(reached);
            self.dirty.extend(self.closed_windows(plan, place, slice).filter(shows).map(|start| (place, start)));
        }
    }

    /// Keeps a prediction for its labels.
    pub fn predict(&mut self, plan: &ModelPlan, id: RecordId, prediction: Prediction) -> Tally {
        let Some(ledger) = &mut self.ledger else { return Tally::default() };
        let (versions, history) = (&self.versions, &mut self.history);
        // A prediction that is not kept has been counted all the same; the ledger tells how many there were.
        let tally = ledger.predict(id, prediction, &mut |pair| count(plan, versions, history, pair)).unwrap_or_default();
        if !tally.is_empty() {
            // Labels were there before it: windows it came too late for have something new.
            self.waiting.iter_mut().for_each(|waiting| waiting.has_news = true);
        }
        tally
    }

    /// Takes a label in.
    pub fn label(&mut self, label: &Label) -> Tally {
        let outcome = match &mut self.ledger {
            None => Some(Outcome::UnmatchedLabel),
            Some(ledger) => ledger.label(label),
        };
        outcome.map(|outcome| Tally::of(outcome, 1)).unwrap_or_default()
    }

    /// Closes windows up to the event clock, and looks at labels up to the label clock, in the order of time.
    ///
    /// With `end` the input is over: every window that has begun closes, and every label is applied.
    pub fn advance(&mut self, plan: &ModelPlan, clocks: &Clocks<'_>) -> (Vec<Closed>, Tally) {
        let (mut closed, mut settled) = (Vec::new(), Tally::default());
        loop {
            let closing = clocks.events.and_then(|clock| self.next_closing(plan, clock - plan.lateness));
            let tick = clocks.labels.and_then(|clock| self.next_tick(plan, clocks.coverages, clock));
            match (closing, tick) {
                (Some((place, at)), tick) if tick.is_none_or(|tick| at <= tick) => {
                    if let Some(events) = clocks.events {
                        closed.extend(self.close(plan, place, events - plan.lateness, None, clocks));
                    }
                }
                (_, Some(tick)) => {
                    settled.merge(&self.apply_labels(plan, tick));
                    closed.extend(self.look(plan, clocks, tick, false));
                }
                (_, None) => break,
            }
        }
        // Labels are applied at ticks only: what is counted between two ticks would depend on when the clocks are looked at.
        if let Some(last) = clocks.end {
            for place in 0..plan.windows.len() {
                while let Some(window) = self.close(plan, place, last, Some(last), clocks) {
                    closed.push(window);
                }
            }
            if let Some(ledger) = &mut self.ledger {
                let (versions, history) = (&self.versions, &mut self.history);
                settled.merge(&ledger.finish(&mut |pair| count(plan, versions, history, pair)));
            }
            closed.extend(self.look(plan, clocks, Timestamp(i64::MAX / 2), true));
        }
        let restated_until = clocks.end.map_or(clocks.events, |_| Some(Timestamp(i64::MAX / 2)));
        closed.extend(restated_until.into_iter().flat_map(|clock| self.restate(plan, clock - plan.lateness, clocks)).collect::<Vec<_>>());
        self.forget(plan);
        (closed, settled)
    }

    /// The window specification that closes next and when, if that is not after `until`.
    fn next_closing(&self, plan: &ModelPlan, until: Timestamp) -> Option<(usize, Timestamp)> {
        let due = plan.windows.iter().zip(&self.schedules).enumerate().filter_map(|(place, (spec, schedule))| {
            let mut schedule = schedule.clone();
            let due = schedule.due(spec, until, |from| self.history.next_slice(from))?;
            Some((place, due.window.end + plan.lateness))
        });
        due.min_by_key(|(place, at)| (*at, *place))
    }

    fn next_tick(&mut self, plan: &ModelPlan, coverages: &dyn Fn(&str) -> Vec<f64>, clock: Timestamp) -> Option<Timestamp> {
        let next_label = match (&mut self.ledger, &self.parts) {
            (Some(ledger), _) => ledger.next_label(),
            (None, Some(parts)) => parts.next_tick(),
            (None, None) => return None,
        };
        let ticks = plan.windows.iter().zip(&self.waiting).filter_map(|(spec, waiting)| {
            let coverages = watched(coverages, &spec.name);
            waiting.next_tick(spec, &settings(plan, &coverages), self.labelled, next_label)
        });
        ticks.min().filter(|tick| *tick <= clock)
    }

    fn apply_labels(&mut self, plan: &ModelPlan, clock: Timestamp) -> Tally {
        if clock <= self.labelled {
            return Tally::default();
        }
        let before = std::mem::replace(&mut self.labelled, clock);
        self.apply_parts(plan, before, clock);
        let Some(ledger) = &mut self.ledger else { return Tally::default() };
        let (versions, history) = (&self.versions, &mut self.history);
        let mut belated = BTreeSet::new();
        let mut tally = ledger.catch_up(&mut |pair| {
            let is_counted = count(plan, versions, history, pair);
            belated.extend(is_counted.then(|| pair.prediction.ts.align(plan.slice, Span(0))));
            is_counted
        });
        tally.merge(&ledger.advance(clock, &mut |pair| count(plan, versions, history, pair)));
        self.say_again(plan, belated);
        if !tally.is_empty() {
            self.waiting.iter_mut().for_each(|waiting| waiting.has_news = true);
        }
        tally
    }

    /// Restates the closed windows of slices whose pairs came when the label clock had passed them, where no look is waited for
    /// any more that would say them.
    fn say_again(&mut self, plan: &ModelPlan, belated: BTreeSet<Timestamp>) {
        for slice in belated {
            for (place, waiting) in self.waiting.iter().enumerate() {
                let with_it = self.closed_windows(plan, place, slice).take_while(|start| *start <= slice);
                let is_over = |start: &Timestamp| *start >= self.forgotten && !waiting.tracks.contains_key(start);
                self.dirty.extend(with_it.filter(is_over).map(|start| (place, start)));
            }
        }
    }

    /// Closes the next window of a specification.
    fn close(&mut self, plan: &ModelPlan, place: usize, until: Timestamp, end: Option<Timestamp>, clocks: &Clocks<'_>) -> Option<Closed> {
        let spec = plan.windows.get(place)?;
        let schedule = self.schedules.get_mut(place)?;
        let next_slice = |from| self.history.next_slice(from);
        let due = match end {
            Some(last) => schedule.rest(spec, last, next_slice),
            None => schedule.due(spec, until, next_slice),
        }?;
        let told = Told::new(place, spec, &due.window);
        self.detection.close(plan, &self.versions, &self.history, told);
        let mut closed = self.measure_events(plan, &due.window, 0, Some(told), clocks);
        self.note_drift(plan, place, &closed);
        self.detection.closed(told);
        if due.skipped > 0 {
            closed.summary.gaps.push(format!("{} empty windows before this one were not reported", due.skipped).into());
        }
        if self.joins() {
            let track = Track {
                n: closed.summary.n,
                added: self.history.count(&last_slide(spec, &due.window)),
                late: closed.summary.late,
                revision: 0,
                epoch: 0,
                complete: closed.summary.complete,
                places: self.history.places(&due.window).into_iter().collect(),
            };
            if let Some(waiting) = self.waiting.get_mut(place) {
                waiting.tracks.insert(due.window.start, track);
            }
        }
        self.dirty.remove(&(place, due.window.start));
        Some(closed)
    }

    /// Restates windows that got events after they had been closed without waiting for an idle partition.
    fn restate(&mut self, plan: &ModelPlan, until: Timestamp, clocks: &Clocks<'_>) -> Vec<Closed> {
        let mut ready: BTreeSet<(usize, Timestamp)> = self
            .dirty
            .iter()
            .copied()
            .filter(|(place, start)| plan.windows.get(*place).is_some_and(|spec| *start + spec.size <= until))
            .collect();
        let mut closed = Vec::new();
        while let Some(key) = ready.pop_first() {
            self.dirty.remove(&key);
            let Some(spec) = plan.windows.get(key.0) else { continue };
            let window = spec.at(key.1);
            let revision = self.next_revision(key);
            let mut restated = self.measure_events(plan, &window, revision, None, clocks);
            // Later windows that leave it out now, or no longer, are restated after it.
            ready.extend(self.note_drift(plan, key.0, &restated).into_iter().map(|start| (key.0, start)));
            restated.is_first = false;
            let (places, added): (Box<[_]>, _) =
                (self.history.places(&window).into_iter().collect(), self.history.count(&last_slide(spec, &window)));
            if self.history.matched(&window).0 > 0 {
                // What the labels said is restated, too, lest the window seems to have lost them.
                let of_labels = self.measure_labels(plan, &window, &places, revision, clocks);
                restated.summary.labels_matched = of_labels.summary.labels_matched;
                restated.measurements.retain(|measurement| !measurement.metric.needs_labels());
                restated.measurements.extend(of_labels.measurements);
                measure::sort(&mut restated.measurements);
            }
            if let Some(track) = self.waiting.get_mut(key.0).and_then(|waiting| waiting.tracks.get_mut(&key.1)) {
                track.n = restated.summary.n;
                track.added = added;
                track.late = restated.summary.late;
                track.complete = restated.summary.complete;
                track.places = places;
                track.revision = revision;
            }
            closed.push(restated);
        }
        closed
    }

    /// Looks at the windows whose labels are due at a tick of the label clock.
    fn look(&mut self, plan: &ModelPlan, clocks: &Clocks<'_>, tick: Timestamp, end: bool) -> Vec<Closed> {
        let mut closed = Vec::new();
        for (place, spec) in plan.windows.iter().enumerate() {
            if !end && super::labels::tick_at(spec, tick) != tick {
                continue;
            }
            let coverages = watched(clocks.coverages, &spec.name);
            let history = &self.history;
            let Some(waiting) = self.waiting.get_mut(place) else { continue };
            waiting.has_news = false;
            // Detectors take the panes of the last slide as they are when the window is looked at: they are to be covered, too.
            let with_slide = watches_errors(plan);
            let due = waiting.due(spec, &settings(plan, &coverages), tick, end, |window, track| {
                let covered = share(history.matched(window).0, track.n);
                let slide = || share(history.matched(&last_slide(spec, window)).0, track.added);
                if with_slide { covered.min(slide()) } else { covered }
            });
            let mut by_window: BTreeMap<Timestamp, (WindowRef, Vec<Look>)> = BTreeMap::new();
            for (window, look) in due {
                by_window.entry(window.start).or_insert_with(|| (window, Vec::new())).1.push(look);
            }
            for (start, (window, looks)) in by_window {
                closed.extend(self.look_at(plan, place, start, &window, looks, clocks));
            }
        }
        closed
    }

    fn look_at(
        &mut self,
        plan: &ModelPlan,
        place: usize,
        start: Timestamp,
        window: &WindowRef,
        looks: Vec<Look>,
        clocks: &Clocks<'_>,
    ) -> Option<Closed> {
        let (_, epoch) = self.history.matched(window);
        let is_final = looks.contains(&Look::Final);
        let track = self.waiting.get(place)?.tracks.get(&start)?.clone();
        let changed = track.epoch != epoch;
        let revision = if changed { self.next_revision((place, start)) } else { track.revision };
        let mut closed = self.measure_labels(plan, window, &track.places, revision, clocks);
        let told = Told::new(place, plan.windows.get(place)?, window);
        self.detection.look(plan, &self.versions, &self.history, told);
        self.measure_errors(plan, told, &mut closed, &track.places);
        closed.summary.n = track.n;
        closed.summary.late = track.late;
        closed.summary.complete = track.complete;
        self.mark_labels(&mut closed);
        closed.looks = looks;
        let waiting = self.waiting.get_mut(place)?;
        if is_final {
            self.detection.looked(told);
            waiting.tracks.remove(&start);
        } else if let Some(track) = waiting.tracks.get_mut(&start) {
            track.epoch = epoch;
            track.revision = revision;
        }
        closed.is_news = changed;
        // Where there is nothing new, rules that waited for this moment still look at it.
        let is_judged = closed.looks.iter().any(|look| *look != Look::Final);
        (changed || is_judged).then_some(closed)
    }

    fn next_revision(&mut self, key: (usize, Timestamp)) -> u32 {
        let revision = self.revisions.entry(key).or_default();
        *revision += 1;
        *revision
    }

    /// The start of the first window of a specification that may still be closed or restated. Restatement is for an idle
    /// partition that comes back.
    fn needed(&self, plan: &ModelPlan, place: usize) -> Timestamp {
        let next = self.schedules.get(place).and_then(Schedule::next_start);
        let back = plan.windows.get(place).map(|spec| reach(spec, plan.longest_window()));
        next.zip(back).map_or(Timestamp(i64::MIN), |(next, back)| next - back)
    }

    /// Forgets what no window can need any more, and adds up what only longer windows need.
    fn forget(&mut self, plan: &ModelPlan) {
        let restated: Vec<Timestamp> = (0..plan.windows.len()).map(|place| self.needed(plan, place)).collect();
        let needs: Vec<(Timestamp, Timestamp)> = restated
            .iter()
            .zip(plan.windows.iter().enumerate())
            .map(|(needed, (place, spec))| {
                let waiting = self.waiting.get(place).and_then(|waiting| waiting.tracks.first_key_value());
                (*needed - plan.comparison(place).reach(spec), waiting.map_or(*needed, |(start, _)| *start.min(needed)))
            })
            .collect();
        if needs == self.needs {
            self.history.rest();
            return;
        }
        let of = |need: fn(&(Timestamp, Timestamp)) -> Timestamp| Retention::new(plan.windows.iter().zip(needs.iter().map(need)));
        let (events, pairs) = (of(|(events, _)| *events), of(|(_, pairs)| *pairs));
        self.history.retain(&events, &pairs);
        if let Some(parts) = &mut self.parts {
            parts.forget(pairs.from);
        }
        self.forgotten = self.forgotten.max(events.from);
        self.late.retain(|(slice, _), _| *slice >= events.from);
        self.dirty.retain(|(place, start)| restated.get(*place).is_some_and(|needed| start >= needed));
        self.drifted.forget(|place| needs.get(place).map_or(Timestamp(i64::MIN), |(events, _)| *events));
        self.revisions.retain(|(_, start), _| *start >= pairs.from);
        self.needs = needs;
    }

    /// The panes that have changed since the last call, as they are stored; all of them at the first one.
    pub fn take_changes(&mut self) -> Vec<Piece> {
        self.history.take_changes()
    }

    /// Puts a stored state to its place in the plan, with the stored panes.
    pub fn restore(&mut self, number: u16, history: History) {
        self.number = number;
        self.history = history;
    }
}

/// The part of a window that was in none before it.
fn last_slide(spec: &WindowSpec, window: &WindowRef) -> WindowRef {
    WindowRef { start: window.end - spec.slide, ..window.clone() }
}

/// What the ledger of a model is bounded by; `None` where labels are not joined.
fn bounds(plan: &ModelPlan, capacity: usize, cached: usize) -> Option<Bounds> {
    plan.horizon.map(|horizon| Bounds { horizon, patience: plan.lateness + EARLY_LABEL_PATIENCE, capacity, cached })
}

fn settings<'a>(plan: &ModelPlan, coverages: &'a [f64]) -> Settings<'a> {
    Settings { horizon: plan.horizon.unwrap_or_default(), lateness: plan.lateness, coverages }
}

/// The coverages rules wait for, or the default one.
fn watched(coverages: &dyn Fn(&str) -> Vec<f64>, window: &str) -> Vec<f64> {
    let watched = coverages(window);
    if watched.is_empty() { vec![DEFAULT_COVERAGE] } else { watched }
}

#[allow(clippy::cast_precision_loss)]
fn share(matched: u64, n: u64) -> f64 {
    // A window without predictions has all the labels it will ever have.
    if n == 0 { 1.0 } else { matched as f64 / n as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::clocks::Coverage;
    use super::super::plan::{DriftRecipe, FeaturesFrom};
    use super::*;
    use crate::baseline::Task;
    use crate::window::slice_length;

    const MINUTE: i64 = Span::MINUTE.0;

    /// Windows of half an hour, of three hours and of twelve, on three grids.
    pub(super) fn plan() -> ModelPlan {
        let window = |name: &str, size: i64, slide: i64, offset: i64| WindowSpec {
            name: name.into(),
            size: Span(size * MINUTE),
            slide: Span(slide * MINUTE),
            offset: Span(offset * MINUTE),
        };
        let windows = vec![window("short", 30, 10, 0), window("shifted", 180, 60, 20), window("long", 720, 240, 0)];
        ModelPlan {
            name: "loan".into(),
            task: Task::None,
            baselines: Vec::new(),
            by_version: BTreeMap::new(),
            default_baseline: None,
            classes: Vec::new(),
            comparisons: Vec::new(),
            slice: slice_length(&windows),
            windows,
            lateness: Span(2 * MINUTE),
            min_samples: 1,
            features_from: FeaturesFrom::Prediction,
            horizon: None,
            segments: Vec::new(),
            segment_names: vec![crate::event::Segment::default()],
            drift: DriftRecipe::default(),
            evidence: crate::engine::evidence::Evidence::default(),
            level: None,
            metrics: Vec::new(),
            recipe: super::measure::Recipe::Driftline,
            detectors: Vec::new(),
        }
    }

    pub(super) fn advance(state: &mut ModelState, plan: &ModelPlan, clock: i64) -> Vec<Closed> {
        let clocks = Clocks {
            events: Some(Timestamp(clock)),
            labels: None,
            end: None,
            coverage: Coverage { from: Some(Timestamp(0)), until: None },
            partitions: (2, 2),
            gaps: &|_| Vec::new(),
            coverages: &|_| Vec::new(),
            breached: &|_, _| Vec::new(),
        };
        state.advance(plan, &clocks).0
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// One partition is always there; another comes back now and then with what it had for some hours before, while the
        /// clock waits for it.
        #[test]
        fn windows_are_right_when_they_close_and_when_they_are_restated(
            steps in vec((1i64..40, vec((0i64..900, 1u64..4), 0..3)), 1..60),
        ) {
            let plan = plan();
            let mut state = ModelState::new(0, &plan, 0);
            let mut came: BTreeMap<Timestamp, u64> = BTreeMap::new();
            let mut shown: BTreeMap<(Arc<str>, Timestamp), (u64, u32)> = BTreeMap::new();
            let (mut clock, mut lost, mut sent) = (0, 0, 0);
            for (minutes, returning) in &steps {
                let mut put = |state: &mut ModelState, minute: i64, n: u64| {
                    let slice = Timestamp(minute * MINUTE).align(plan.slice, Span(0));
                    let gone = state.add(&plan, slice, 0, 0, Pane { n, ..Pane::default() });
                    if gone == 0 {
                        *came.entry(slice).or_default() += n;
                    }
                    (sent, lost) = (sent + n, lost + gone);
                };
                put(&mut state, clock, 1);
                for (back, n) in returning {
                    put(&mut state, (clock - back).max(0), *n);
                }
                clock += minutes;
                for closed in advance(&mut state, &plan, clock * MINUTE) {
                    let window = &closed.summary.window;
                    let n: u64 = came.range(window.start..window.end).map(|(_, n)| n).sum();
                    prop_assert_eq!(closed.summary.n, n, "{:?}", closed.summary);
                    let before = shown.insert((Arc::clone(&window.name), window.start), (n, closed.summary.revision));
                    prop_assert_eq!(before.is_none(), closed.is_first);
                    prop_assert!(before.is_none_or(|(_, revision)| revision < closed.summary.revision));
                }
            }
            prop_assert_eq!(came.values().sum::<u64>() + lost, sent);
            // What was shown last is what came, as far back as restatement reaches.
            for (place, spec) in plan.windows.iter().enumerate() {
                for ((_, start), (n, _)) in shown.iter().filter(|((name, start), _)| *name == spec.name && *start >= state.needed(&plan, place)) {
                    prop_assert_eq!(*n, came.range(*start..*start + spec.size).map(|(_, n)| n).sum::<u64>());
                }
            }
        }
    }

    #[test]
    fn late_records_of_a_partition_that_was_not_waited_for_are_said_anew() {
        let plan = plan();
        let mut state = ModelState::new(0, &plan, 0);
        for minute in (0..=200).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 1, ..Pane::default() });
        }
        assert!(advance(&mut state, &plan, 122 * MINUTE).iter().all(|closed| closed.summary.late == 0));
        let late = |slice: i64, reached: i64| LateKey { model: 0, slice: Timestamp(slice * MINUTE), reached: Timestamp(reached * MINUTE) };
        let said = |closed: &[Closed]| -> Vec<(i64, u64)> {
            let short = closed.iter().filter(|closed| &*closed.summary.window.name == "short" && !closed.is_first);
            short.map(|closed| (closed.summary.window.start.0 / MINUTE, closed.summary.late)).collect()
        };
        // Of the windows with minute 80 those until 100 are over for the partition as well; 80 to 110 has closed without it.
        state.add_late(&plan, late(80, 100), 3, true);
        assert_eq!(said(&advance(&mut state, &plan, 122 * MINUTE)), [(80, 3)]);
        assert_eq!(said(&advance(&mut state, &plan, 122 * MINUTE)), []);
        // What a window has still to say it says when it closes; what is no news was said.
        state.add_late(&plan, late(110, 120), 1, true);
        state.add_late(&plan, late(80, 80), 1, false);
        assert_eq!(said(&advance(&mut state, &plan, 122 * MINUTE)), []);
        let closed = advance(&mut state, &plan, 142 * MINUTE);
        let of =
            |start: i64| closed.iter().find(|closed| closed.summary.window.start.0 == start * MINUTE).map(|closed| closed.summary.late);
        assert_eq!((of(100), of(110)), (Some(1), Some(1)));
    }

    #[test]
    fn a_long_run_keeps_few_slices() {
        let plan = plan();
        let mut state = ModelState::new(0, &plan, 0);
        for minute in (0..10_000).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 1, ..Pane::default() });
            advance(&mut state, &plan, minute * MINUTE);
        }
        let mut slices = 0;
        let mut from = Timestamp(i64::MIN);
        while let Some(start) = state.history.next_slice(from) {
            slices += 1;
            from = Timestamp(start.0 + 1);
        }
        // An hour and a half of ten minutes, six hours of the common grid of the others, a day of four hours.
        let most: u64 =
            crate::engine::footprint::events_kept(&plan).stretches(plan.slice, Timestamp(0)).iter().map(|(_, count)| count).sum();
        assert!(slices <= most && most < 80, "{slices} slices, at most {most} expected");
        assert!(slices + 25 > most, "{slices} slices, up to {most} expected");
    }

    #[test]
    fn what_no_window_can_show_any_more_is_told() {
        let plan = plan();
        let mut state = ModelState::new(0, &plan, 0);
        for minute in (0..10_000).step_by(10) {
            state.add(&plan, Timestamp(minute * MINUTE), 0, 0, Pane { n: 1, ..Pane::default() });
            advance(&mut state, &plan, minute * MINUTE);
        }
        assert_eq!(state.add(&plan, Timestamp(0), 0, 0, Pane { n: 5, ..Pane::default() }), 5);
        // Four hours back the short windows have been added up, and the others are restated.
        let back = 10_000 - 260;
        assert_eq!(state.add(&plan, Timestamp(back * MINUTE), 0, 0, Pane { n: 7, ..Pane::default() }), 0);
        let restated = advance(&mut state, &plan, 10_000 * MINUTE);
        let names: BTreeSet<&str> = restated.iter().filter(|closed| !closed.is_first).map(|closed| &*closed.summary.window.name).collect();
        assert!(names.contains("shifted") && !names.contains("short"), "{names:?}");
    }
}
