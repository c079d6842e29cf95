//! Panes of one kind by slice of time and by place; slices of different lengths lie side by side, the coarser ones before.
//!
//! What always holds: a window that somebody still needs contains a slice whole or not at all. Knows nothing of what the
//! panes hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Span, Timestamp, WindowRef};

use super::history::Place;
use super::retention::Retention;

/// The panes of one slice.
#[derive(Clone, Debug)]
pub(super) struct Slice<P> {
    /// How long it is.
    pub length: Span,
    /// The greatest number its panes were changed under.
    pub epoch: u64,
    /// In ascending order of their places: there are few, and most of the time one.
    panes: Vec<(Place, P)>,
}

impl<P> Slice<P> {
    /// Its panes in the order of their places.
    pub fn panes(&self) -> impl Iterator<Item = (Place, &P)> {
        self.panes.iter().map(|(place, pane)| (*place, pane))
    }

    /// The pane of a place.
    pub fn pane(&self, place: Place) -> Option<&P> {
        let found = self.panes.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.panes.get(found).map(|(_, pane)| pane)
    }
}

/// The slices of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices<P> {
    by_start: BTreeMap<Timestamp, Slice<P>>,
    /// What has changed since somebody asked; nothing is noted before.
    changed: Option<BTreeSet<(Timestamp, Place)>>,
}

impl<P: Default> Slices<P> {
    /// Slices of which it is noted from now on what changes.
    pub fn noted() -> Slices<P> {
        Slices { by_start: BTreeMap::new(), changed: Some(BTreeSet::new()) }
    }

    /// The slice that starts there.
    pub fn get(&self, start: Timestamp) -> Option<&Slice<P>> {
        self.by_start.get(&start)
    }

    /// The first slice at or after an instant.
    pub fn next_start(&self, from: Timestamp) -> Option<Timestamp> {
        self.by_start.range(from..).next().map(|(start, _)| *start)
    }

    /// The slices of a window.
    pub fn within(&self, window: &WindowRef) -> impl Iterator<Item = &Slice<P>> {
        self.by_start.range(window.start..window.end).map(|(_, slice)| slice)
    }

    /// The slices that start in a stretch of time that is not empty.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = (Timestamp, &Slice<P>)> {
        self.by_start.range(from..until).map(|(start, slice)| (*start, slice))
    }

    /// The pane of a place that is to change under a number, with the start of its slice: of the one that holds the slice
    /// given by start and length, or of a new one.
    pub fn pane_mut(&mut self, (start, length): (Timestamp, Span), place: Place, epoch: u64) -> (Timestamp, Option<&mut P>) {
        let before = self.by_start.range(..=start).next_back();
        let start = before.filter(|(before, slice)| **before + slice.length > start).map_or(start, |(before, _)| *before);
        if let Some(changed) = &mut self.changed {
            changed.insert((start, place));
        }
        (start, self.slot((start, length), place, epoch))
    }

    /// The pane of a place in the slice that starts just there.
    fn slot(&mut self, (start, length): (Timestamp, Span), place: Place, epoch: u64) -> Option<&mut P> {
        let slice = self.by_start.entry(start).or_insert_with(|| Slice { length, epoch, panes: Vec::new() });
        slice.epoch = slice.epoch.max(epoch);
        let at = slice.panes.binary_search_by_key(&place, |(place, _)| *place).unwrap_or_else(|at| {
            // Most slices have one pane, and there are many of them.
            slice.panes.reserve_exact(1);
            slice.panes.insert(at, (place, P::default()));
            at
        });
        slice.panes.get_mut(at).map(|(_, pane)| pane)
    }

    /// Puts a stored pane back: no change.
    pub fn restore(&mut self, slice: (Timestamp, Span), place: Place, epoch: u64, pane: P) {
        if let Some(slot) = self.slot(slice, place, epoch) {
            *slot = pane;
        }
    }

    /// A pane that is there, to be kept in another form: that is no change.
    pub fn form(&mut self, start: Timestamp, place: Place) -> Option<&mut P> {
        let slice = self.by_start.get_mut(&start)?;
        let found = slice.panes.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        slice.panes.get_mut(found).map(|(_, pane)| pane)
    }

    /// Whether that pane has changed since somebody asked.
    pub fn has_changed(&self, start: Timestamp, place: Place) -> bool {
        self.changed.as_ref().is_none_or(|changed| changed.contains(&(start, place)))
    }

    /// The panes that have not changed since somebody asked, to be kept in another form.
    pub fn unchanged_mut(&mut self) -> impl Iterator<Item = &mut P> {
        let changed = self.changed.as_ref();
        let panes =
            self.by_start.iter_mut().flat_map(|(start, slice)| slice.panes.iter_mut().map(move |(place, pane)| ((*start, *place), pane)));
        panes.filter(move |(at, _)| changed.is_some_and(|changed| !changed.contains(at))).map(|(_, pane)| pane)
    }

    /// Forgets what nobody needs, and adds slices up to the coarsest that are still fine enough.
    ///
    /// `sum` adds up the panes of one place, each with the start of its slice.
    pub fn retain(&mut self, retention: &Retention, sum: impl Fn(Place, &[(Timestamp, P)]) -> P) {
        let kept = self.by_start.split_off(&retention.from);
        let gone = std::mem::replace(&mut self.by_start, kept);
        gone.iter().for_each(|(start, slice)| self.note(*start, slice));
        let mut cells: BTreeMap<Timestamp, (Span, Vec<Timestamp>)> = BTreeMap::new();
        for (start, slice) in self.by_start.range(..retention.coarse_until()) {
            let Some((cell, length)) = retention.cell(*start) else { continue };
            let fits = cell <= *start && *start + slice.length <= cell + length;
            if fits && (cell, length) != (*start, slice.length) {
                cells.entry(cell).or_insert((length, Vec::new())).1.push(*start);
            }
        }
        for (cell, (length, parts)) in cells {
            self.add_up(cell, length, &parts, &sum);
        }
    }

    fn add_up(&mut self, cell: Timestamp, length: Span, parts: &[Timestamp], sum: impl Fn(Place, &[(Timestamp, P)]) -> P) {
        let mut whole = Slice { length, epoch: 0, panes: Vec::new() };
        let mut by_place: BTreeMap<Place, Vec<(Timestamp, P)>> = BTreeMap::new();
        // One that has the whole length already is added to, too.
        for start in parts.iter().copied().chain((!parts.contains(&cell)).then_some(cell)) {
            let Some(part) = self.by_start.remove(&start) else { continue };
            self.note(start, &part);
            whole.epoch = whole.epoch.max(part.epoch);
            whole.length = whole.length.max(part.length);
            for (place, pane) in part.panes {
                by_place.entry(place).or_default().push((start, pane));
            }
        }
        whole.panes = by_place.into_iter().map(|(place, panes)| (place, sum(place, &panes))).collect();
        self.note(cell, &whole);
        self.by_start.insert(cell, whole);
    }

    fn note(&mut self, start: Timestamp, slice: &Slice<P>) {
        if let Some(changed) = &mut self.changed {
            changed.extend(slice.panes.iter().map(|(place, _)| (start, *place)));
        }
    }

    /// The panes that have changed, are new or are gone since the last call; all of them at the first one.
    pub fn take_changed(&mut self) -> BTreeSet<(Timestamp, Place)> {
        match self.changed.replace(BTreeSet::new()) {
            Some(changed) => changed,
            None => self.by_start.iter().flat_map(|(start, slice)| slice.panes.iter().map(|(place, _)| (*start, *place))).collect(),
        }
    }
}
