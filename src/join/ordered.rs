//! Keys in order, over those of a shelf: what was put and removed since the last commit is in memory, the rest is not.
//!
//! Made for queues: the first key is found again and again, removed, and not looked for once more among the removed
//! ones. It does not know what keys and values mean. Without a shelf everything is in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::shelf::{Change, Shelf, Space};

/// Entries that are read at once from the shelf when its first one is wanted; more and more as they are used up.
const FIRST_BATCH: usize = 16;
/// Most entries that are read at once: some 100 kB.
const LARGEST_BATCH: usize = 1_024;

/// What is known of a key in memory.
#[derive(Clone, Debug)]
struct Slot<V> {
    /// `None`: the key was removed.
    value: Option<V>,
    /// Whether it has changed since changes were last taken.
    is_fresh: bool,
    /// Whether the shelf may have the key.
    is_shelved: bool,
}

/// A value of no bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nothing;

impl AsRef<[u8]> for Nothing {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl From<&[u8]> for Nothing {
    fn from(_: &[u8]) -> Nothing {
        Nothing
    }
}

/// Keys of `N` bytes in order.
#[derive(Clone, Debug)]
pub(super) struct Ordered<const N: usize, V> {
    space: Space,
    shelf: Option<Arc<dyn Shelf>>,
    slots: BTreeMap<[u8; N], Slot<V>>,
    /// No key is before it.
    floor: [u8; N],
    /// What has been read from the shelf, in order, none before the floor.
    ahead: VecDeque<([u8; N], V)>,
    /// Where reading goes on; `None` when the shelf has no more.
    unread: Option<Vec<u8>>,
    batch: usize,
}

impl<const N: usize, V: Clone + AsRef<[u8]> + for<'a> From<&'a [u8]>> Ordered<N, V> {
    pub fn new(space: Space, shelf: Option<Arc<dyn Shelf>>) -> Ordered<N, V> {
        Ordered {
            space,
            shelf,
            slots: BTreeMap::new(),
            floor: [0; N],
            ahead: VecDeque::new(),
            unread: Some(Vec::new()),
            batch: FIRST_BATCH,
        }
    }

    pub fn contains(&self, key: &[u8; N]) -> bool {
        match (self.slots.get(key), &self.shelf) {
            (Some(slot), _) => slot.value.is_some(),
            (None, Some(shelf)) => shelf.get(self.space, key).is_some(),
            (None, None) => false,
        }
    }

    /// Puts a key in that is not there, or puts another value under it while that one has not been committed.
    pub fn put(&mut self, key: [u8; N], value: V) {
        self.floor = self.floor.min(key);
        let is_shelved = self.slots.get(&key).is_some_and(|slot| slot.is_shelved);
        self.slots.insert(key, Slot { value: Some(value), is_fresh: true, is_shelved });
    }

    /// Removes a key that is there.
    pub fn remove(&mut self, key: &[u8; N]) {
        let is_shelved = self.shelf.is_some() && self.slots.get(key).is_none_or(|slot| slot.is_shelved);
        if is_shelved {
            self.slots.insert(*key, Slot { value: None, is_fresh: true, is_shelved });
        } else {
            self.slots.remove(key);
        }
    }

    /// The first key.
    pub fn first(&mut self) -> Option<[u8; N]> {
        let own = self.slots.range(self.floor..).find(|(_, slot)| slot.value.is_some()).map(|(key, _)| *key);
        let first = match (own, self.first_on_shelf()) {
            (Some(own), Some(shelved)) => own.min(shelved),
            (own, shelved) => own.or(shelved)?,
        };
        self.floor = first;
        Some(first)
    }

    /// Takes the first key out if it is this one, with its value.
    pub fn take(&mut self, key: &[u8; N]) -> Option<V> {
        let value = match self.slots.get_mut(key) {
            Some(slot) => slot.value.take()?,
            None if self.ahead.front().is_some_and(|(first, _)| first == key) => self.ahead.pop_front()?.1,
            None => return None,
        };
        self.remove(key);
        Some(value)
    }

    fn first_on_shelf(&mut self) -> Option<[u8; N]> {
        let shelf = self.shelf.as_ref()?;
        loop {
            while let Some((key, _)) = self.ahead.front() {
                if !self.slots.contains_key(key) {
                    return Some(*key);
                }
                self.ahead.pop_front();
            }
            let entries = shelf.range(self.space, self.unread.as_ref()?, self.batch);
            // The key that follows immediately is the last one and a zero.
            self.unread = entries.last().filter(|_| entries.len() >= self.batch).map(|(key, _)| [key.as_slice(), &[0]].concat());
            self.batch = (self.batch * 4).min(LARGEST_BATCH);
            for (key, value) in entries {
                match key.as_slice().try_into() {
                    Ok(known) => self.ahead.push_back((known, V::from(value.as_slice()))),
                    Err(_) => shelf.refuse(self.space, &key),
                }
            }
        }
    }

    /// How many entries are in memory.
    pub fn held(&self) -> usize {
        self.slots.len()
    }

    /// All entries that are in memory.
    pub fn entries(&self) -> impl Iterator<Item = ([u8; N], &V)> {
        self.slots.iter().filter_map(|(key, slot)| Some((*key, slot.value.as_ref()?)))
    }

    /// Everything that the shelf does not have, or no longer.
    pub fn take_changes(&mut self, changes: &mut Vec<Change>) {
        for (key, slot) in &mut self.slots {
            (slot.is_fresh, slot.is_shelved) = (false, true);
            let value = slot.value.as_ref().map(|value| value.as_ref().to_vec());
            changes.push(Change { space: self.space, key: key.to_vec(), value });
        }
    }

    /// The shelf has now what was last taken.
    pub fn settle_changes(&mut self) {
        self.slots.retain(|_, slot| slot.is_fresh);
        self.ahead.clear();
        self.unread = Some(self.floor.to_vec());
        self.batch = FIRST_BATCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::shelf::MemoryShelf;

    type Queue = Ordered<1, Box<[u8]>>;

    fn queue(shelf: &Arc<MemoryShelf>) -> Queue {
        Ordered::new(Space::Pending, Some(Arc::clone(shelf) as Arc<dyn Shelf>))
    }

    fn commit(queue: &mut Queue, shelf: &MemoryShelf) {
        let mut changes = Vec::new();
        queue.take_changes(&mut changes);
        shelf.apply(changes);
        queue.settle_changes();
    }

    fn drain(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| {
            let key = queue.first()?;
            assert!(queue.contains(&key));
            assert_eq!(queue.take(&key).as_deref(), Some([key[0] + 1].as_slice()));
            assert!(!queue.contains(&key));
            Some(key[0])
        })
        .collect()
    }

    fn put(queue: &mut Queue, keys: impl IntoIterator<Item = u8>) {
        keys.into_iter().for_each(|key| queue.put([key], Box::from([key + 1])));
    }

    #[test]
    fn keys_of_memory_and_shelf_come_in_one_order_once() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        // More than are read ahead at first.
        put(&mut queue, (0..200).step_by(2));
        commit(&mut queue, &shelf);
        assert_eq!((queue.held(), shelf.len(Space::Pending)), (0, 100));
        assert_eq!(queue.first(), Some([0]));
        put(&mut queue, [7, 1]);
        queue.remove(&[4]);
        let wanted: Vec<u8> = (0..200).filter(|key| key % 2 == 0 && *key != 4 || [1, 7].contains(key)).collect();
        assert_eq!(drain(&mut queue), wanted);
        put(&mut queue, [5]);
        assert_eq!(queue.first(), Some([5]), "a key before those that are gone");
        commit(&mut queue, &shelf);
        assert_eq!(shelf.len(Space::Pending), 1);
        assert_eq!(drain(&mut queue), [5]);
    }

    #[test]
    fn a_key_that_never_was_on_the_shelf_is_not_deleted_there() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        put(&mut queue, [3]);
        queue.remove(&[3]);
        assert_eq!(queue.held(), 0);
        put(&mut queue, [3]);
        let mut changes = Vec::new();
        queue.take_changes(&mut changes);
        assert_eq!(changes.len(), 1);
        // It is under way now.
        queue.remove(&[3]);
        shelf.apply(changes);
        queue.settle_changes();
        assert_eq!(queue.first(), None);
        commit(&mut queue, &shelf);
        assert!(shelf.is_empty(Space::Pending));
    }

    #[test]
    fn changes_of_a_commit_that_failed_come_again() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        put(&mut queue, [1, 2]);
        queue.take_changes(&mut Vec::new());
        queue.remove(&[1]);
        let mut changes = Vec::new();
        queue.take_changes(&mut changes);
        assert_eq!(changes.iter().map(|change| (change.key[0], change.value.is_some())).collect::<Vec<_>>(), [(1, false), (2, true)]);
        shelf.apply(changes);
        queue.settle_changes();
        assert_eq!(drain(&mut queue), [2]);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let shelf = Arc::new(MemoryShelf::default());
        shelf.apply(vec![Change { space: Space::Pending, key: vec![1, 2], value: Some(vec![]) }]);
        assert_eq!(queue(&shelf).first(), None);
        assert_eq!(shelf.refused(), [(Space::Pending, vec![1, 2])]);
    }
}
