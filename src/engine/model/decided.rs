//! The state of a model, parted in two: what was decided, which is stored, and what was counted, which those who count say
//! again. For an owner in a cluster, whose events and joined labels come from other replicas.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::closed::Closed;
use crate::engine::cluster::joined::{Part, Parts};
use crate::engine::cluster::wire::WireError;
use crate::engine::detection::Detection;
use crate::engine::history::{History, Versions};
use crate::engine::labels::Waiting;
use crate::engine::plan::ModelPlan;
use crate::event::Timestamp;
use crate::window::{Pane, Schedule};

use super::ModelState;
use super::compared::Drifted;

/// Why there is no performance yet while the ledger of a partition is made again after a hand-over.
const READ_AGAIN: &str = "labels are being read again";
/// The reason it takes the place of.
const AWAITING: &str = "awaiting_labels";

/// Everything a model has decided: what was closed, what waits for labels, what was said in which revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decisions<'a> {
    versions: Cow<'a, Versions>,
    schedules: Cow<'a, [Schedule]>,
    waiting: Cow<'a, [Waiting]>,
    labelled: Timestamp,
    dirty: Cow<'a, BTreeSet<(usize, Timestamp)>>,
    revisions: Cow<'a, BTreeMap<(usize, Timestamp), u32>>,
    detection: Cow<'a, Detection>,
    drifted: Cow<'a, Drifted>,
    forgotten: Timestamp,
}

impl ModelState {
    /// A model that counts and joins nothing itself and goes on from what was decided. `None` where that was under other
    /// windows.
    #[must_use]
    pub fn decided(number: u16, plan: &ModelPlan, decisions: Decisions<'_>) -> Option<ModelState> {
        let windows = plan.windows.len();
        (decisions.schedules.len() == windows && decisions.waiting.len() == windows).then(|| ModelState {
            number,
            versions: decisions.versions.into_owned(),
            history: History::default(),
            schedules: decisions.schedules.into_owned(),
            late: BTreeMap::new(),
            ledger: None,
            parts: plan.horizon.map(|_| Parts::new(plan.slice)),
            waiting: decisions.waiting.into_owned(),
            labelled: decisions.labelled,
            dirty: decisions.dirty.into_owned(),
            revisions: decisions.revisions.into_owned(),
            detection: decisions.detection.into_owned(),
            drifted: decisions.drifted.into_owned(),
            forgotten: decisions.forgotten,
            begun: None,
            needs: Vec::new(),
        })
    }

    /// A model that counts and joins nothing itself and has decided nothing yet.
    #[must_use]
    pub fn undecided(number: u16, plan: &ModelPlan) -> ModelState {
        let parts = plan.horizon.map(|_| Parts::new(plan.slice));
        ModelState { ledger: None, parts, ..ModelState::new(number, plan, 0) }
    }

    /// What has been decided so far.
    #[must_use]
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions {
            versions: Cow::Borrowed(&self.versions),
            schedules: Cow::Borrowed(&self.schedules),
            waiting: Cow::Borrowed(&self.waiting),
            labelled: self.labelled,
            dirty: Cow::Borrowed(&self.dirty),
            revisions: Cow::Borrowed(&self.revisions),
            detection: Cow::Borrowed(&self.detection),
            drifted: Cow::Borrowed(&self.drifted),
            forgotten: self.forgotten,
        }
    }

    /// Puts a pane back that was there when the decisions were made: the windows it is in say nothing anew.
    pub fn put_back(&mut self, plan: &ModelPlan, slice: Timestamp, version: u16, segment: u16, pane: Pane) {
        if slice >= self.forgotten {
            self.history.add(slice, plan.slice, (version, segment), pane);
        }
    }

    /// Takes in what was said of the labels in the partitions of one number. What had been said up to `known` was there when
    /// the decisions were made. Gives false for what is known already.
    pub fn hear_joined(&mut self, part: Part, tick: Timestamp, value: &[u8], known: Option<Timestamp>) -> bool {
        let Some(parts) = &mut self.parts else { return false };
        let is_known = known.is_some_and(|known| tick <= known) && tick <= self.labelled;
        parts.hear(part, tick, value, is_known, &mut self.history)
    }

    /// Takes a joined pane in that was stored with the decisions.
    ///
    /// # Errors
    /// A value that is not of a joined pane.
    pub fn put_back_joined(&mut self, part: Part, value: &[u8]) -> Result<(), WireError> {
        self.parts.as_mut().map_or(Ok(()), |parts| parts.put_back(part, value, self.labelled, &mut self.history))
    }

    /// What was said of labels, and waits for its tick.
    #[must_use]
    pub fn parts(&self) -> Option<&Parts> {
        self.parts.as_ref()
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> Option<&mut Parts> {
        self.parts.as_mut()
    }

    /// Restates the closed windows that reach beyond an instant: they were closed without a partition that has come back.
    pub fn restate_since(&mut self, plan: &ModelPlan, from: Timestamp) {
        let Some(oldest) = self.history.next_slice(self.forgotten) else { return };
        for (place, (spec, schedule)) in plan.windows.iter().zip(&self.schedules).enumerate() {
            let mut start = spec.first_start(oldest.max(from)).max(spec.first_start(oldest));
            // Slices are kept longer than windows are restated where references are made of them.
            let needed = self.needed(plan, place).max(self.forgotten);
            while schedule.is_past(start) {
                if start >= needed {
                    self.dirty.insert((place, start));
                }
                start = start + spec.slide;
            }
        }
    }

    /// Applies what others have joined by a tick of the label clock, which stood at `before`.
    pub(super) fn apply_parts(&mut self, plan: &ModelPlan, before: Timestamp, tick: Timestamp) {
        let Some(parts) = &mut self.parts else { return };
        let (has_news, belated) = parts.apply(before, tick, &mut self.history);
        if has_news {
            self.waiting.iter_mut().for_each(|waiting| waiting.has_news = true);
        }
        self.say_again(plan, belated);
    }

    /// Slices before this have been forgotten.
    #[must_use]
    pub fn forgotten(&self) -> Timestamp {
        self.forgotten
    }

    /// The label clock up to which labels have been applied.
    #[must_use]
    pub fn labelled(&self) -> Timestamp {
        self.labelled
    }

    /// Whether the model joins labels, wherever.
    pub(super) fn joins(&self) -> bool {
        self.ledger.is_some() || self.parts.is_some()
    }

    /// Says why performance is awaited, where it is not only the labels' own delay.
    pub(super) fn mark_awaiting(&self, closed: &mut Closed) {
        if !self.parts.as_ref().is_some_and(Parts::is_rebuilding) {
            return;
        }
        let awaiting = closed.measurements.iter_mut().filter(|measurement| measurement.reason.as_deref() == Some(AWAITING));
        awaiting.for_each(|measurement| measurement.reason = Some(Arc::from(READ_AGAIN)));
    }

    /// Says which labels are missing where their partition was given up.
    pub(super) fn mark_labels(&self, closed: &mut Closed) {
        let missing = self.parts.as_ref().map_or(&[][..], Parts::missing);
        if !missing.is_empty() {
            closed.summary.gaps.extend(missing.iter().cloned());
            closed.summary.complete = false;
        }
    }
}
