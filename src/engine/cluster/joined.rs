//! Joined panes as the partitions of each number say them, a version for each tick of the label clock at which they changed.
//!
//! A version waits until the owner's label clock reaches its tick, and then takes the place of the one before. So the owner
//! sees at a tick what had come by that tick, however far ahead of it others are. It joins nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::history::{History, Place};
use crate::event::{Span, Timestamp};
use crate::window::JoinedPane;

use super::wire::{self, Joined, WireError};

/// Whose pairs they are: slice of the predictions, version and segment, and the number of the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// First instant of the slice.
    pub slice: Timestamp,
    /// Version and segment.
    pub place: Place,
    /// The number of the partitions.
    pub partition: i32,
}

/// A version as it was said: its own tick, and the record's value, which is a tenth of the pane unpacked.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    tick: Timestamp,
    value: Box<[u8]>,
}

/// A version that waits.
#[derive(Clone, Debug, PartialEq)]
struct Pending {
    /// Since when, by the wall clock of those who say what is heard.
    since: Option<Timestamp>,
    value: Box<[u8]>,
}

/// All parts of the joined panes of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// Length of the model's slices.
    length: Span,
    /// The versions that the history is made of.
    held: BTreeMap<Part, Version>,
    /// Those that wait for the label clock, by their tick.
    pending: BTreeMap<(Timestamp, Part), Pending>,
    /// The last wall time that anybody has said.
    said_at: Option<Timestamp>,
    /// Parts that were stored with the decisions; until everything was heard they must be stored again.
    stored: BTreeSet<Part>,
    /// The newest tick among the versions of each number that the label clock has reached.
    reached: BTreeMap<i32, Timestamp>,
    /// Slices that changed at a later tick than their newest version says, because it was said when that tick had passed.
    moved: BTreeMap<Timestamp, Timestamp>,
    is_rebuilding: bool,
    missing: Vec<Arc<str>>,
}

impl Parts {
    /// Without parts, over slices of that length.
    #[must_use]
    pub fn new(length: Span) -> Parts {
        Parts { length, ..Parts::default() }
    }

    /// Takes a version in; false where it, or a newer one, is there already. One that was known when the decisions were made
    /// goes into the history at once and is no news.
    pub(in crate::engine) fn hear(&mut self, part: Part, tick: Timestamp, value: &[u8], is_known: bool, history: &mut History) -> bool {
        if self.held.get(&part).is_some_and(|held| held.tick >= tick) {
            return false;
        }
        if is_known {
            self.put(part, Version { tick, value: value.into() }, tick, history);
            return true;
        }
        self.pending.insert((tick, part), Pending { since: self.said_at, value: value.into() }).is_none()
    }

    /// Somebody said something at this wall time.
    pub fn hear_time(&mut self, at: Timestamp) {
        self.said_at = self.said_at.max(Some(at));
    }

    /// Takes a version in that was stored with the decisions, which have come to `labelled`.
    ///
    /// # Errors
    /// A value that is not of a joined pane.
    pub(in crate::engine) fn put_back(
        &mut self,
        part: Part,
        value: &[u8],
        labelled: Timestamp,
        history: &mut History,
    ) -> Result<(), WireError> {
        let tick = wire::begin_of(value)?;
        self.stored.insert(part);
        self.hear(part, tick, value, tick <= labelled, history);
        Ok(())
    }

    /// Everything has been heard that there was.
    pub fn caught_up(&mut self) {
        self.stored.clear();
    }

    /// All versions of the parts of which one has been waiting for that long: the panes topic may have lost them to it, and
    /// whoever hears it anew would miss their pairs until the label clock gets there.
    pub fn outlived(&self, waiting: Span) -> impl Iterator<Item = (&Part, &[u8])> {
        let oldest = self.said_at.map(|at| at - waiting);
        let waiting = self.pending.iter().filter(|(_, pending)| pending.since <= oldest).map(|((_, part), _)| part);
        let parts: BTreeSet<&Part> = waiting.chain(&self.stored).collect();
        let held = parts.clone().into_iter().filter_map(|part| self.held.get(part).map(|held| (part, &*held.value)));
        let pending = self.pending.iter().map(|((_, part), pending)| (part, &*pending.value));
        held.chain(pending.filter(move |(part, _)| parts.contains(part)))
    }

    /// The tick of the first version that waits.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.pending.first_key_value().map(|((tick, _), _)| *tick)
    }

    /// Applies the versions up to a tick of the label clock, which stood at `before`. Gives whether there were any, and the
    /// slices of those that should have been applied earlier.
    pub(in crate::engine) fn apply(&mut self, before: Timestamp, tick: Timestamp, history: &mut History) -> (bool, BTreeSet<Timestamp>) {
        let (mut has_news, mut belated) = (false, BTreeSet::new());
        while let Some(first) = self.pending.first_entry() {
            let (own, part) = *first.key();
            if own > tick {
                break;
            }
            let Pending { value, .. } = first.remove();
            if self.held.get(&part).is_some_and(|held| held.tick >= own) {
                continue;
            }
            let at = if own > before { own } else { tick };
            if own <= before {
                belated.insert(part.slice);
            }
            self.put(part, Version { tick: own, value }, at, history);
            has_news = true;
        }
        (has_news, belated)
    }

    /// Puts a version into the history as of an instant of the label clock.
    fn put(&mut self, part: Part, version: Version, at: Timestamp, history: &mut History) {
        let Some(now) = unpack(&version.value) else { return };
        if at > version.tick {
            self.moved.insert(part.slice, at);
        }
        let at = self.moved.get(&part.slice).copied().unwrap_or(at).max(at);
        let reached = self.reached.entry(part.partition).or_insert(version.tick);
        *reached = version.tick.max(*reached);
        let before = self.held.insert(part, version).and_then(|before| unpack(&before.value));
        history.replace((part.slice, self.length), part.place, before.as_ref(), &now, epoch(at));
    }

    /// Forgets the pairs of slices before an instant.
    pub(in crate::engine) fn forget(&mut self, before: Timestamp) {
        while self.held.first_key_value().is_some_and(|(part, _)| part.slice < before) {
            self.held.pop_first();
        }
        self.moved = self.moved.split_off(&before);
    }

    /// The newest tick among the versions of a number that the label clock has reached.
    #[must_use]
    pub fn reached(&self, partition: i32) -> Option<Timestamp> {
        self.reached.get(&partition).copied()
    }

    /// Slices that changed at a later tick than their newest version says.
    #[must_use]
    pub fn moved(&self) -> &BTreeMap<Timestamp, Timestamp> {
        &self.moved
    }

    /// Goes on from what was stored of [`Parts::moved`].
    pub fn set_moved(&mut self, moved: BTreeMap<Timestamp, Timestamp>) {
        self.moved = moved;
    }

    /// Whether records of before a hand-over are still being read again somewhere.
    #[must_use]
    pub fn is_rebuilding(&self) -> bool {
        self.is_rebuilding
    }

    /// Sets [`Parts::is_rebuilding`].
    pub fn set_rebuilding(&mut self, is_rebuilding: bool) {
        self.is_rebuilding = is_rebuilding;
    }

    /// Which labels are not waited for any more, as reasons.
    #[must_use]
    pub fn missing(&self) -> &[Arc<str>] {
        &self.missing
    }

    /// Sets [`Parts::missing`].
    pub fn set_missing(&mut self, missing: Vec<Arc<str>>) {
        self.missing = missing;
    }

    /// Versions that wait for the label clock.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// It was read once when it was heard.
fn unpack(value: &[u8]) -> Option<JoinedPane> {
    wire::from_bytes::<Joined>(value).ok().map(|joined| joined.pane)
}

/// What the history tells changes apart by: never 0, which stands for no pair at all.
fn epoch(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WindowRef;

    fn part(partition: i32) -> Part {
        Part { slice: Timestamp(0), place: (0, 0), partition }
    }

    fn value(tick: i64, matched: u64) -> Vec<u8> {
        wire::to_bytes(&Joined { tick: Timestamp(tick), pane: JoinedPane { matched, ..JoinedPane::default() } })
    }

    fn matched(history: &History) -> (u64, u64) {
        history.matched(&WindowRef { name: "w".into(), start: Timestamp(0), end: Timestamp(10) })
    }

    fn hear(parts: &mut Parts, history: &mut History, partition: i32, tick: i64, matched: u64, is_known: bool) -> bool {
        parts.hear(part(partition), Timestamp(tick), &value(tick, matched), is_known, history)
    }

    #[test]
    fn a_tick_shows_the_newest_version_of_every_part_that_had_come_by_then() {
        let (mut parts, mut history) = (Parts::default(), History::default());
        for (partition, tick, pairs) in [(0, 20, 3), (0, 30, 5), (1, 25, 7), (0, 40, 4)] {
            assert!(hear(&mut parts, &mut history, partition, tick, pairs, false));
        }
        assert_eq!(matched(&history), (0, 0));
        assert_eq!(parts.next_tick(), Some(Timestamp(20)));
        assert_eq!(parts.apply(Timestamp(10), Timestamp(30), &mut history), (true, BTreeSet::new()));
        assert_eq!(matched(&history), (12, 31));
        assert_eq!(parts.apply(Timestamp(30), Timestamp(35), &mut history), (false, BTreeSet::new()));
        assert!(!hear(&mut parts, &mut history, 0, 30, 5, false), "again");
        parts.apply(Timestamp(35), Timestamp(50), &mut history);
        assert_eq!(matched(&history), (11, 41), "a corrected label may take pairs away");
        assert_eq!(parts.pending(), 0);
    }

    #[test]
    fn what_comes_when_its_tick_has_passed_is_news_at_the_next() {
        let (mut parts, mut history) = (Parts::default(), History::default());
        hear(&mut parts, &mut history, 0, 20, 3, false);
        parts.apply(Timestamp(10), Timestamp(30), &mut history);
        hear(&mut parts, &mut history, 1, 15, 2, false);
        let before = matched(&history);
        assert_eq!(parts.apply(Timestamp(30), Timestamp(40), &mut history), (true, BTreeSet::from([Timestamp(0)])));
        assert_eq!((before, matched(&history)), ((3, 21), (5, 41)));
        // Another owner that hears it all again tells no change from it.
        let (mut again, mut anew) = (Parts::default(), History::default());
        again.set_moved(parts.moved().clone());
        hear(&mut again, &mut anew, 1, 15, 2, true);
        hear(&mut again, &mut anew, 0, 20, 3, true);
        assert_eq!(matched(&anew), (5, 41));
        assert_eq!((again.reached(0), again.reached(1), again.reached(2)), (Some(Timestamp(20)), Some(Timestamp(15)), None));
    }
}
