//! Values by id, over those of a shelf: what has changed since the last commit is in memory, and a bounded number of those
//! that have not. It does not know what the values mean. Without a shelf everything is in memory.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::half::RecordId;
use super::shelf::{Change, Shelf, Space};

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The shelf has it.
    Clean,
    /// It was given away to be committed.
    Taken,
    /// It has changed since changes were last taken.
    Fresh,
}

#[derive(Clone, Debug)]
struct Slot {
    /// `None`: the id was removed.
    value: Option<Box<[u8]>>,
    state: State,
}

/// Values by id.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    shelf: Option<Arc<dyn Shelf>>,
    slots: FxHashMap<RecordId, Slot>,
    /// The ids whose slots are not clean, each once, in the order in which they changed.
    changed: Vec<RecordId>,
    /// The ids whose slots are clean, the first to be let go first; some of them have changed since.
    clean: VecDeque<RecordId>,
    /// Slots that are clean.
    cleans: usize,
    /// Most slots that may be.
    cached: usize,
}

impl Hashed {
    pub fn new(shelf: Option<Arc<dyn Shelf>>, cached: usize) -> Hashed {
        Hashed { shelf, slots: FxHashMap::default(), changed: Vec::new(), clean: VecDeque::new(), cleans: 0, cached }
    }

    pub fn get(&self, id: RecordId) -> Option<Cow<'_, [u8]>> {
        match (self.slots.get(&id), &self.shelf) {
            (Some(slot), _) => slot.value.as_deref().map(Cow::Borrowed),
            (None, Some(shelf)) => shelf.get(Space::Record, &key(id)).map(Cow::Owned),
            (None, None) => None,
        }
    }

    pub fn put(&mut self, id: RecordId, value: &[u8]) {
        self.change(id, Some(Box::from(value)));
    }

    pub fn remove(&mut self, id: RecordId) {
        if self.shelf.is_some() {
            self.change(id, None);
        } else {
            self.slots.remove(&id);
        }
    }

    fn change(&mut self, id: RecordId, value: Option<Box<[u8]>>) {
        match self.slots.entry(id) {
            Entry::Vacant(slot) => {
                slot.insert(Slot { value, state: State::Fresh });
                if self.shelf.is_some() {
                    self.changed.push(id);
                }
            }
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                if slot.state == State::Clean {
                    self.cleans -= 1;
                    self.changed.push(id);
                }
                *slot = Slot { value, state: State::Fresh };
            }
        }
    }

    /// From the next commit on, so many clean values may stay in memory.
    pub fn set_cached(&mut self, cached: usize) {
        self.cached = cached;
    }

    /// How many values are in memory.
    pub fn held(&self) -> usize {
        self.slots.len()
    }

    /// How many of them the shelf does not have.
    pub fn unsettled(&self) -> usize {
        self.changed.len()
    }

    /// All values that are in memory, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (RecordId, &[u8])> {
        self.slots.iter().filter_map(|(id, slot)| Some((*id, slot.value.as_deref()?)))
    }

    /// Everything that the shelf does not have, or no longer.
    pub fn take_changes(&mut self, changes: &mut Vec<Change>) {
        for id in &self.changed {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.state = State::Taken;
                changes.push(Change { space: Space::Record, key: key(*id).to_vec(), value: slot.value.as_deref().map(<[u8]>::to_vec) });
            }
        }
    }

    /// The shelf has now what was last taken.
    pub fn settle_changes(&mut self) {
        let Hashed { slots, changed, clean, cleans, .. } = self;
        changed.retain(|id| match slots.get_mut(id) {
            Some(Slot { state: State::Fresh, .. }) => true,
            Some(Slot { value: None, .. }) | None => {
                slots.remove(id);
                false
            }
            Some(slot) => {
                slot.state = State::Clean;
                clean.push_back(*id);
                *cleans += 1;
                false
            }
        });
        // Ids that have become clean again stand in the queue more than once; it must not grow by them without end.
        while self.cleans > self.cached || self.clean.len() > 2 * self.cached {
            let Some(id) = self.clean.pop_front() else { break };
            if let Entry::Occupied(slot) = self.slots.entry(id)
                && slot.get().state == State::Clean
            {
                slot.remove();
                self.cleans -= 1;
            }
        }
    }
}

fn key(id: RecordId) -> [u8; 16] {
    id.0.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::shelf::MemoryShelf;

    const ONE: RecordId = RecordId(1);
    const TWO: RecordId = RecordId(2);

    fn commit(hashed: &mut Hashed, shelf: &MemoryShelf) -> usize {
        let mut changes = Vec::new();
        hashed.take_changes(&mut changes);
        let count = changes.len();
        shelf.apply(changes);
        hashed.settle_changes();
        count
    }

    fn made(cached: usize) -> (Arc<MemoryShelf>, Hashed) {
        let shelf = Arc::new(MemoryShelf::default());
        let hashed = Hashed::new(Some(Arc::clone(&shelf) as Arc<dyn Shelf>), cached);
        (shelf, hashed)
    }

    #[test]
    fn only_clean_values_are_let_go_and_the_oldest_first() {
        let (shelf, mut hashed) = made(2);
        for id in 0..5 {
            hashed.put(RecordId(id), &[7]);
        }
        assert_eq!(hashed.held(), 5, "nothing may be let go that the shelf does not have");
        assert_eq!(commit(&mut hashed, &shelf), 5);
        assert_eq!((hashed.held(), hashed.unsettled()), (2, 0));
        let mut left: Vec<u128> = hashed.entries().map(|(id, _)| id.0).collect();
        left.sort_unstable();
        assert_eq!(left, [3, 4]);
        assert_eq!(hashed.get(RecordId(0)).as_deref(), Some([7].as_slice()), "from the shelf");
        assert_eq!(commit(&mut hashed, &shelf), 0);
    }

    #[test]
    fn a_value_that_changes_again_and_again_does_not_fill_the_queue() {
        let (shelf, mut hashed) = made(3);
        for round in 0..100 {
            hashed.put(ONE, &[round]);
            commit(&mut hashed, &shelf);
            assert_eq!(hashed.get(ONE).as_deref(), Some([round].as_slice()));
        }
        assert!(hashed.clean.len() <= 6);
        assert_eq!(hashed.cleans, hashed.held());
    }

    #[test]
    fn what_changes_during_a_commit_is_committed_by_the_next() {
        let (shelf, mut hashed) = made(0);
        hashed.put(ONE, &[1]);
        hashed.put(TWO, &[1]);
        let mut changes = Vec::new();
        hashed.take_changes(&mut changes);
        hashed.put(ONE, &[2]);
        hashed.remove(TWO);
        shelf.apply(changes);
        hashed.settle_changes();
        assert_eq!(hashed.get(ONE).as_deref(), Some([2].as_slice()));
        assert!(hashed.get(TWO).is_none());
        assert_eq!(commit(&mut hashed, &shelf), 2);
        assert_eq!((shelf.len(Space::Record), hashed.held()), (1, 0));
    }

    #[test]
    fn changes_of_a_commit_that_failed_come_again() {
        let (shelf, mut hashed) = made(0);
        hashed.put(ONE, &[1]);
        hashed.take_changes(&mut Vec::new());
        hashed.put(TWO, &[1]);
        assert_eq!(commit(&mut hashed, &shelf), 2);
        assert_eq!(shelf.len(Space::Record), 2);
    }
}
