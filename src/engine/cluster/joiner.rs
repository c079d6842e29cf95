//! The joins of one model in the partitions of one number: predictions and labels that were produced with the same key.
//!
//! Everything in the joined panes is a function of the records and of the label clock: a pair counts at the first tick (a
//! multiple of the model's slice) at which both its label and its prediction have come. So an owner that looks at a tick
//! sees the same whoever joined, however far ahead the reading was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::history::Versions;
use crate::engine::model::EARLY_LABEL_PATIENCE;
use crate::engine::pair::observe;
use crate::engine::plan::ModelPlan;
use crate::event::{Outcome, Span, Timestamp};
use crate::join::{Ahead, Arrival, Bounds, Change, Kept, Label, Ledger, Pair, Prediction, RecordId, Shelf, Tally};
use crate::window::JoinedPane;

use super::wire::{Joined, Labels};

/// A joined pane by slice, version and segment.
pub type Place = (Timestamp, Arc<str>, u16);

/// The joins of one model in the partitions of one number.
#[derive(Debug)]
pub struct Joiner {
    generation: u32,
    ledger: Ledger,
    versions: Versions,
    /// Predictions that the label clock has not reached.
    ahead: Ahead,
    /// All pairs so far.
    held: BTreeMap<Place, JoinedPane>,
    /// The panes that have changed at the tick that is being applied.
    touched: BTreeSet<Place>,
    /// What has to be said: the panes as of each tick at which they changed.
    unsaid: BTreeMap<(Timestamp, Place), Joined>,
    /// How much of that was said last and waits to be acknowledged.
    said: Option<Timestamp>,
    labelled: Option<Timestamp>,
    is_idle: bool,
    is_rebuilding: bool,
    /// All that was said before has been read again, and is being applied.
    is_read_again: bool,
    /// The tick that an earlier owner had come to: its books count labels up to it.
    resumed: Option<Timestamp>,
    /// As of which tick the panes are that are gone on from. Pairs of ticks up to it are in them already.
    known: BTreeMap<Place, Timestamp>,
    settled: BTreeMap<Outcome, u64>,
    /// Predictions that were not kept because there was no room.
    refused: u64,
}

impl Joiner {
    /// Without predictions and labels, on an empty shelf or in memory.
    #[must_use]
    pub fn new(plan: &ModelPlan, generation: u32, shelf: Option<Arc<dyn Shelf>>, capacity: usize) -> Joiner {
        let horizon = plan.horizon.unwrap_or_default();
        let bounds = Bounds { horizon, patience: plan.lateness + EARLY_LABEL_PATIENCE, capacity, cached: 0 };
        Joiner {
            generation,
            ahead: Ahead::new(shelf.clone()),
            ledger: shelf.map_or_else(|| Ledger::new(bounds), |shelf| Ledger::on(shelf, bounds)),
            versions: Versions::default(),
            held: BTreeMap::new(),
            touched: BTreeSet::new(),
            unsaid: BTreeMap::new(),
            said: None,
            labelled: None,
            is_idle: false,
            is_rebuilding: false,
            is_read_again: false,
            resumed: None,
            known: BTreeMap::new(),
            settled: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Goes on from what somebody else has said. Gives the event time from which predictions and labels have to be read again:
    /// none where there is nothing to go on from.
    ///
    /// Each pane is gone on from as of its own tick. That need not be the newest one up to the clock: of a pane that was said
    /// ahead of the clock by somebody who then died, the version before may have been compacted away, and a process that hung
    /// may have said an old one again.
    pub fn resume(&mut self, plan: &ModelPlan, labels: Labels, panes: Vec<(Place, Joined)>) -> Option<Timestamp> {
        let tick = labels.tick?;
        for (place, joined) in panes {
            self.known.insert(place.clone(), joined.tick);
            self.held.insert(place, joined.pane);
        }
        self.labelled = Some(tick);
        self.resumed = Some(tick);
        self.settled = labels.settled.into_iter().collect();
        self.is_rebuilding = true;
        Some(since(plan, tick))
    }

    /// Goes on where records have been read and no label clock has been said: all of them are read again, and count.
    pub fn begin_again(&mut self) {
        self.is_rebuilding = true;
    }

    /// Applies what was read again up to the clock of that reading, which begins when all predictions have been read again;
    /// no more than `left`, which it takes from. What is left over is applied by the next call.
    pub fn read_again_to(&mut self, plan: &ModelPlan, clock: Timestamp, left: &mut usize) {
        if let Some(resumed) = self.resumed.filter(|_| self.is_rebuilding) {
            self.run(plan, Timestamp(i64::MIN), clock.min(resumed).align(plan.slice, Span(0)), left);
        }
    }

    /// All that was said before has been read again; it is applied as the clock goes on.
    pub fn rebuilt(&mut self) {
        self.is_read_again = self.is_rebuilding;
    }

    /// The number of a version in [`Prediction::version`].
    pub fn version(&mut self, name: &Arc<str>) -> u16 {
        self.versions.number(name)
    }

    /// Keeps a prediction for its label.
    pub fn predict(&mut self, arrival: Arrival, id: RecordId, prediction: Prediction) {
        self.ahead.put(arrival, id, prediction);
    }

    /// There was no room for a prediction: its labels find nothing.
    pub fn refuse(&mut self) {
        self.refused += 1;
        self.ledger.tidy();
    }

    /// Takes a label in, where there is room for it.
    pub fn label(&mut self, label: &Label, has_room: bool) {
        let is_known = self.is_rebuilding && self.resumed.is_some_and(|resumed| label.came <= resumed);
        let outcome = if has_room { self.ledger.label(label) } else { Some(Outcome::Shed) };
        if let Some(outcome) = outcome.filter(|_| !is_known) {
            *self.settled.entry(outcome).or_default() += 1;
        }
    }

    /// Applies what has come up to the clock, tick by tick; no more than `left`, which it takes from. What is left over is
    /// applied by the next call, and not counted before its tick is whole.
    pub fn advance(&mut self, plan: &ModelPlan, clock: Option<Timestamp>, is_idle: bool, left: &mut usize) {
        self.is_idle = is_idle;
        if self.is_read_again {
            let is_whole = self.resumed.is_none_or(|resumed| self.run(plan, Timestamp(i64::MIN), resumed, left));
            (self.is_rebuilding, self.is_read_again) = (!is_whole, !is_whole);
        }
        // What is idle is not waited for by others, so its last labels must be said by the tick at which they count.
        let reached = |clock: Timestamp| if is_idle { ceiling(clock, plan.slice) } else { clock.align(plan.slice, Span(0)) };
        let Some(end) = clock.map(reached) else { return };
        // While records are read again, nothing beyond what was said before may be counted.
        if self.is_rebuilding || self.labelled.is_some_and(|labelled| end <= labelled) {
            return;
        }
        // What comes from a partition that was idle came before a tick that has been said: it counts at the next one.
        let least = self.labelled.map_or(Timestamp(i64::MIN), |labelled| labelled + plan.slice);
        if !self.run(plan, least, end, left) {
            return;
        }
        self.labelled = Some(end);
        let oldest = end - reach(plan);
        if self.held.first_key_value().is_some_and(|((slice, ..), _)| *slice < oldest) {
            self.held.retain(|(slice, ..), _| *slice >= oldest);
        }
        if self.known.values().all(|known| *known <= end) {
            self.known.clear();
        }
    }

    /// Applies what came up to `end`, at each tick at which there is something, none of them before `least`. Says whether that
    /// is all of it; otherwise it is to be called again with the same `least`.
    fn run(&mut self, plan: &ModelPlan, least: Timestamp, end: Timestamp, left: &mut usize) -> bool {
        while let Some(next) = [self.ahead.first(), self.ledger.next_label()].into_iter().flatten().min() {
            let tick = ceiling(next, plan.slice).max(least);
            if tick > end {
                break;
            }
            if *left == 0 || !self.apply(plan, tick, left) {
                return false;
            }
        }
        self.apply(plan, end, left)
    }

    /// Applies what came up to a tick. Says whether that is all of it: otherwise nothing of the tick is said yet, and what is
    /// left has the same tick.
    fn apply(&mut self, plan: &ModelPlan, tick: Timestamp, left: &mut usize) -> bool {
        let Joiner { ledger, versions, ahead, held, known, resumed, touched, settled, .. } = self;
        let is_before = resumed.is_some_and(|resumed| tick <= resumed);
        // Nobody keeps older panes, so of one that is missing nothing follows; and where reading again begins it does not know
        // yet which predictions were late.
        let oldest = resumed.filter(|_| is_before).map_or(Timestamp(i64::MIN), |resumed| (resumed - reach(plan)).max(since(plan, resumed)));
        let counts = |place: &Place| place.0 >= oldest && known.get(place).is_none_or(|known| tick > *known);
        let mut count = |pair: &Pair<'_>| add(plan, versions, pair, &counts, held, touched);
        let mut book = |tally: &Tally| {
            // What became of the labels before is in the books already.
            for (from, to, labels) in tally.iter().filter(|_| !is_before) {
                *settled.entry(to).or_default() += labels;
                if from != Outcome::Waiting {
                    let before = settled.entry(from).or_default();
                    *before = before.saturating_sub(labels);
                }
            }
        };
        loop {
            if *left == 0 && ahead.first().is_some_and(|came| came <= tick) {
                return false;
            }
            let Some((id, prediction)) = ahead.take(tick) else { break };
            *left = left.saturating_sub(1);
            // One that does not fit is counted by the ledger.
            if let Ok(tally) = ledger.predict(id, prediction, &mut count) {
                book(&tally);
            }
        }
        let waited = ledger.waiting_labels();
        book(&ledger.advance(tick, &mut count));
        let applied = waited.saturating_sub(ledger.waiting_labels());
        *left = left.saturating_sub(usize::try_from(applied).unwrap_or(usize::MAX));
        for place in std::mem::take(touched) {
            if let Some(pane) = self.held.get(&place) {
                self.unsaid.insert((tick, place), Joined { tick, pane: pane.clone() });
            }
        }
        true
    }

    /// What has to be said, oldest tick first: slice, version, segment and pane.
    pub fn changed(&mut self) -> impl Iterator<Item = (Timestamp, &Arc<str>, u16, &Joined)> {
        self.said = self.unsaid.last_key_value().map(|((tick, _), _)| *tick);
        self.unsaid.iter().map(|((_, (slice, version, segment)), joined)| (*slice, version, *segment, joined))
    }

    /// What was said last has arrived.
    pub fn acknowledge(&mut self) {
        if let Some(said) = self.said.take() {
            self.unsaid.retain(|(tick, _), _| *tick > said);
        }
    }

    /// How far the joins are.
    #[must_use]
    pub fn labels(&self, instance: Arc<str>, at: Timestamp) -> Labels {
        Labels {
            tick: self.labelled,
            ends: Vec::new(),
            is_idle: self.is_idle,
            is_rebuilding: self.is_rebuilding,
            settled: self.settled.iter().map(|(outcome, events)| (*outcome, *events)).collect(),
            waiting_labels: self.waiting_labels() as u64,
            waiting_predictions: self.waiting_predictions() as u64,
            instance,
            at,
        }
    }

    /// What became of labels so far.
    pub fn settled(&self) -> impl Iterator<Item = (Outcome, u64)> {
        self.settled.iter().map(|(outcome, events)| (*outcome, *events))
    }

    /// What it holds, and what it had no room for.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let kept = self.ledger.kept();
        Kept { predictions: self.waiting_predictions() as u64, refused: kept.refused + self.refused, ..kept }
    }

    /// The generation whose shelf this lies on.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// From the next commit on, so many records may stay in memory although they are on the shelf.
    pub fn set_cached(&mut self, cached: usize) {
        self.ledger.set_cached(cached);
    }

    /// What the shelf does not have yet; it comes again until it is settled.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = self.ledger.take_changes();
        self.ahead.take_changes(&mut changes);
        changes
    }

    /// What was last taken is committed, and the shelf shows it.
    pub fn settle_changes(&mut self) {
        self.ledger.settle_changes();
        self.ahead.settle_changes();
    }

    /// Changes that wait for a commit; in memory until then.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.ledger.unsettled() + self.ahead.unsettled()
    }

    /// Labels that wait.
    #[must_use]
    pub fn waiting_labels(&self) -> usize {
        usize::try_from(self.ledger.waiting_labels()).unwrap_or(usize::MAX)
    }

    /// Predictions kept for their label.
    #[must_use]
    pub fn waiting_predictions(&self) -> usize {
        usize::try_from(self.ledger.predictions()).unwrap_or(usize::MAX) + self.ahead.len()
    }
}

/// Counts a pair into the panes of its prediction's slice that it `counts` in. Says whether the version knows such a truth.
fn add(
    plan: &ModelPlan,
    versions: &Versions,
    pair: &Pair<'_>,
    counts: &dyn Fn(&Place) -> bool,
    held: &mut BTreeMap<Place, JoinedPane>,
    touched: &mut BTreeSet<Place>,
) -> bool {
    let prediction = pair.prediction;
    let version = versions.name(prediction.version);
    let Some(baseline) = plan.baseline(&version) else { return true };
    let Some(now) = observe(plan, baseline, prediction.predicted, pair.truth) else { return false };
    let previous = pair.previous.and_then(|truth| observe(plan, baseline, prediction.predicted, truth));
    let slice = prediction.ts.align(plan.slice, Span(0));
    for segment in std::iter::once(0).chain(prediction.segments.iter().copied()) {
        let place = (slice, Arc::clone(&version), segment);
        if !counts(&place) {
            continue;
        }
        let pane = held.entry(place.clone()).or_insert_with(|| JoinedPane::new(&baseline.joined));
        if let Some(previous) = &previous {
            pane.remove(&baseline.joined, previous);
        }
        pane.add(&baseline.joined, &now);
        touched.insert(place);
    }
    true
}

/// From when on predictions and labels are read again to go on from a tick.
fn since(plan: &ModelPlan, tick: Timestamp) -> Timestamp {
    tick - plan.horizon.unwrap_or_default() - plan.lateness - Span(2 * EARLY_LABEL_PATIENCE.0)
}

/// How far behind the label clock panes are kept: until no label can come for them and no window shows them.
pub fn reach(plan: &ModelPlan) -> Span {
    Span(plan.horizon.unwrap_or_default().0 + plan.lateness.0 + 3 * plan.longest_window().0)
}

fn ceiling(instant: Timestamp, slice: Span) -> Timestamp {
    let floor = instant.align(slice, Span(0));
    if floor == instant { floor } else { floor + slice }
}
