//! The sealed panes of one model by slice, and the joined panes beside them: what windows are merged from.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Timestamp, WindowRef};
use crate::window::{JoinedLayout, JoinedPane, Observed, Pane};

/// Number of a version in the model's list, and number of a segment in its plan.
pub type Place = (u16, u16);

/// Joined panes of one slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct JoinedSlice {
    panes: BTreeMap<Place, JoinedPane>,
    /// Grows with every change.
    epoch: u64,
}

/// Sealed and joined panes of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    sealed: BTreeMap<Timestamp, BTreeMap<Place, Pane>>,
    joined: BTreeMap<Timestamp, JoinedSlice>,
    epoch: u64,
}

impl History {
    /// Adds a pane.
    pub fn add(&mut self, slice: Timestamp, place: Place, pane: Pane) {
        match self.sealed.entry(slice).or_default().entry(place) {
            Entry::Vacant(slot) => {
                slot.insert(pane);
            }
            Entry::Occupied(mut slot) => slot.get_mut().merge(&pane),
        }
    }

    /// Counts a pair, after taking back the one it replaces.
    pub fn join(&mut self, slice: Timestamp, place: Place, layout: &JoinedLayout, pair: &Observed, previous: Option<&Observed>) {
        self.epoch += 1;
        let slice = self.joined.entry(slice).or_default();
        slice.epoch = self.epoch;
        let pane = slice.panes.entry(place).or_insert_with(|| JoinedPane::new(layout));
        if let Some(previous) = previous {
            pane.remove(layout, previous);
        }
        pane.add(layout, pair);
    }

    /// Puts a newer version of a part of a joined pane in the place of the one before. `epoch` must grow with every change.
    pub fn replace(&mut self, slice: Timestamp, place: Place, before: Option<&JoinedPane>, now: JoinedPane, epoch: u64) {
        let slice = self.joined.entry(slice).or_default();
        slice.epoch = slice.epoch.max(epoch);
        match slice.panes.entry(place) {
            Entry::Vacant(slot) => {
                slot.insert(now);
            }
            Entry::Occupied(mut slot) => {
                slot.get_mut().merge(&now);
                if let Some(before) = before {
                    slot.get_mut().take_back(before);
                }
            }
        }
    }

    /// The first slice with events at or after an instant.
    #[must_use]
    pub fn next_slice(&self, from: Timestamp) -> Option<Timestamp> {
        self.sealed.range(from..).next().map(|(start, _)| *start)
    }

    /// Prediction events of a window, over all versions.
    #[must_use]
    pub fn count(&self, window: &WindowRef) -> u64 {
        let panes = self.sealed.range(window.start..window.end).flat_map(|(_, panes)| panes);
        panes.filter(|((_, segment), _)| *segment == 0).map(|(_, pane)| pane.n).sum()
    }

    /// Predictions of a window with a label, and a number that changes whenever one of them does.
    #[must_use]
    pub fn matched(&self, window: &WindowRef) -> (u64, u64) {
        let slices = || self.joined.range(window.start..window.end).map(|(_, slice)| slice);
        let panes = slices().flat_map(|slice| &slice.panes);
        let matched = panes.filter(|((_, segment), _)| *segment == 0).map(|(_, pane)| pane.matched).sum();
        (matched, slices().map(|slice| slice.epoch).max().unwrap_or(0))
    }

    /// The versions and segments with events or labels in a window.
    #[must_use]
    pub fn places(&self, window: &WindowRef) -> BTreeSet<Place> {
        let sealed = self.sealed.range(window.start..window.end).flat_map(|(_, panes)| panes.keys());
        let joined = self.joined.range(window.start..window.end).flat_map(|(_, slice)| slice.panes.keys());
        sealed.chain(joined).copied().collect()
    }

    /// The events of one version and segment over a window, added up.
    #[must_use]
    pub fn events(&self, window: &WindowRef, place: Place) -> Option<Pane> {
        let mut panes = self.sealed.range(window.start..window.end).filter_map(|(_, panes)| panes.get(&place));
        let mut sum = panes.next()?.clone();
        panes.for_each(|pane| sum.merge(pane));
        Some(sum)
    }

    /// The pairs of one version and segment over a window, added up.
    #[must_use]
    pub fn pairs(&self, window: &WindowRef, place: Place) -> Option<JoinedPane> {
        let mut panes = self.joined.range(window.start..window.end).filter_map(|(_, slice)| slice.panes.get(&place));
        let mut sum = panes.next()?.clone();
        panes.for_each(|pane| sum.merge(pane));
        Some(sum)
    }

    /// Forgets the events and the pairs of the slices before two instants.
    pub fn forget(&mut self, events_before: Timestamp, pairs_before: Timestamp) {
        self.sealed = self.sealed.split_off(&events_before);
        self.joined = self.joined.split_off(&pairs_before);
    }
}

/// Versions of a model by number, in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versions(Vec<Arc<str>>);

impl Versions {
    /// The number of a version, given to it now if it has none.
    pub fn number(&mut self, name: &Arc<str>) -> u16 {
        let known = self.0.iter().position(|version| version == name);
        let number = known.unwrap_or_else(|| {
            self.0.push(Arc::clone(name));
            self.0.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    /// The name of a version.
    #[must_use]
    pub fn name(&self, number: u16) -> Arc<str> {
        self.0.get(usize::from(number)).cloned().unwrap_or_default()
    }
}
