//! Entries in the order of their keys, over those of a shelf: what was put and removed since the last commit is in memory,
//! the rest is not.
//!
//! Made for queues: the first entry is taken again and again, and is not looked for once more among those that were. It
//! does not know what keys and values mean. Without a shelf everything is in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use super::shelf::{Change, Shelf, Space};

/// Entries that are read at once from the shelf when its first one is wanted; more and more as they are used up.
const FIRST_BATCH: usize = 16;
/// Most entries that are read at once: some 100 kB.
const LARGEST_BATCH: usize = 1_024;

/// What is kept under a key, and how both are written.
pub(super) trait Kept: Clone + Debug {
    type Key: Copy + Ord + Debug;

    /// No key is before it.
    const LEAST: Self::Key;

    /// Bytes in the order of the keys.
    fn encode_key(key: &Self::Key) -> Vec<u8>;

    fn decode_key(bytes: &[u8]) -> Option<Self::Key>;

    fn encode(&self) -> Vec<u8>;

    fn decode(bytes: &[u8]) -> Option<Self>;
}

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

/// Entries in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Ordered<V: Kept> {
    space: Space,
    shelf: Option<Arc<dyn Shelf>>,
    slots: BTreeMap<V::Key, Slot<V>>,
    /// No key is before it.
    floor: V::Key,
    /// What has been read from the shelf, in order, none before the floor.
    ahead: VecDeque<(V::Key, V)>,
    /// Where reading goes on; `None` when the shelf has no more.
    unread: Option<Vec<u8>>,
    batch: usize,
}

impl<V: Kept> Ordered<V> {
    pub fn new(space: Space, shelf: Option<Arc<dyn Shelf>>) -> Ordered<V> {
        Ordered {
            space,
            shelf,
            slots: BTreeMap::new(),
            floor: V::LEAST,
            ahead: VecDeque::new(),
            unread: Some(Vec::new()),
            batch: FIRST_BATCH,
        }
    }

    /// Puts an entry in, unless there is one of that key. Says whether it did.
    pub fn put_new(&mut self, key: V::Key, value: V) -> bool {
        let is_known = match (self.slots.get(&key), &self.shelf) {
            (Some(slot), _) => slot.value.is_some(),
            (None, Some(shelf)) => shelf.get(self.space, &V::encode_key(&key)).is_some(),
            (None, None) => false,
        };
        if !is_known {
            self.put(key, value);
        }
        !is_known
    }

    /// Whether an entry is in memory.
    pub fn holds(&self, key: &V::Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.value.is_some())
    }

    /// Puts an entry in of whose key there is none.
    pub fn put(&mut self, key: V::Key, value: V) {
        self.floor = self.floor.min(key);
        let fresh = Slot { value: Some(value), is_fresh: true, is_shelved: false };
        if let Some(gone) = self.slots.insert(key, fresh)
            && gone.is_shelved
            && let Some(slot) = self.slots.get_mut(&key)
        {
            slot.is_shelved = true;
        }
    }

    /// Removes an entry that is there.
    pub fn remove(&mut self, key: &V::Key) {
        let is_shelved = self.shelf.is_some() && self.slots.get(key).is_none_or(|slot| slot.is_shelved);
        if is_shelved {
            self.slots.insert(*key, Slot { value: None, is_fresh: true, is_shelved });
        } else {
            self.slots.remove(key);
        }
    }

    /// The first key.
    pub fn first(&mut self) -> Option<V::Key> {
        if self.shelf.is_none() {
            return self.slots.first_key_value().map(|(key, _)| *key);
        }
        let own = self.slots.range(self.floor..).find(|(_, slot)| slot.value.is_some()).map(|(key, _)| *key);
        let first = match (own, self.first_on_shelf()) {
            (Some(own), Some(shelved)) => own.min(shelved),
            (own, shelved) => own.or(shelved)?,
        };
        self.floor = first;
        Some(first)
    }

    /// Takes the first entry out if its key is a wanted one.
    pub fn take_first(&mut self, is_wanted: impl FnOnce(&V::Key) -> bool) -> Option<(V::Key, V)> {
        if self.shelf.is_none() {
            let first = self.slots.first_entry().filter(|first| is_wanted(first.key()))?;
            let (key, slot) = first.remove_entry();
            return Some((key, slot.value?));
        }
        let key = self.first().filter(is_wanted)?;
        let value = match self.slots.get_mut(&key) {
            Some(slot) => slot.value.take()?,
            None => self.ahead.pop_front()?.1,
        };
        self.remove(&key);
        Some((key, value))
    }

    fn first_on_shelf(&mut self) -> Option<V::Key> {
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
                match V::decode_key(&key).zip(V::decode(&value)) {
                    Some(entry) => self.ahead.push_back(entry),
                    None => shelf.refuse(self.space, &key),
                }
            }
        }
    }

    /// How many entries are in memory.
    pub fn held(&self) -> usize {
        self.slots.len()
    }

    /// All entries that are in memory.
    pub fn entries(&self) -> impl Iterator<Item = (&V::Key, &V)> {
        self.slots.iter().filter_map(|(key, slot)| Some((key, slot.value.as_ref()?)))
    }

    /// Everything that the shelf does not have, or no longer.
    pub fn take_changes(&mut self, changes: &mut Vec<Change>) {
        for (key, slot) in &mut self.slots {
            (slot.is_fresh, slot.is_shelved) = (false, true);
            changes.push(Change { space: self.space, key: V::encode_key(key), value: slot.value.as_ref().map(V::encode) });
        }
    }

    /// The shelf has now what was last taken.
    pub fn settle_changes(&mut self) {
        self.slots.retain(|_, slot| slot.is_fresh);
        self.ahead.clear();
        self.unread = Some(V::encode_key(&self.floor));
        self.batch = FIRST_BATCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::shelf::MemoryShelf;

    type Queue = Ordered<u8>;

    impl Kept for u8 {
        type Key = u8;
        const LEAST: u8 = 0;

        fn encode_key(key: &u8) -> Vec<u8> {
            vec![*key]
        }

        fn decode_key(bytes: &[u8]) -> Option<u8> {
            <[u8; 1]>::try_from(bytes).ok().map(|[key]| key)
        }

        fn encode(&self) -> Vec<u8> {
            vec![*self]
        }

        fn decode(bytes: &[u8]) -> Option<u8> {
            u8::decode_key(bytes)
        }
    }

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
            assert!(!queue.put_new(key, 0), "it is there");
            assert_eq!(queue.take_first(|_| false), None);
            assert_eq!(queue.take_first(|first| *first == key), Some((key, key + 1)));
            Some(key)
        })
        .collect()
    }

    fn put(queue: &mut Queue, keys: impl IntoIterator<Item = u8>) {
        keys.into_iter().for_each(|key| assert!(queue.put_new(key, key + 1)));
    }

    #[test]
    fn keys_of_memory_and_shelf_come_in_one_order_once() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        // More than are read ahead at first.
        put(&mut queue, (0..200).step_by(2));
        commit(&mut queue, &shelf);
        assert_eq!((queue.held(), shelf.len(Space::Pending)), (0, 100));
        assert_eq!(queue.first(), Some(0));
        put(&mut queue, [7, 1]);
        queue.remove(&4);
        let wanted: Vec<u8> = (0..200).filter(|key| key % 2 == 0 && *key != 4 || [1, 7].contains(key)).collect();
        assert_eq!(drain(&mut queue), wanted);
        put(&mut queue, [5]);
        assert_eq!(queue.first(), Some(5), "a key before those that are gone");
        commit(&mut queue, &shelf);
        assert_eq!(shelf.len(Space::Pending), 1);
        assert_eq!(drain(&mut queue), [5]);
    }

    #[test]
    fn a_key_that_never_was_on_the_shelf_is_not_deleted_there() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        put(&mut queue, [3]);
        queue.remove(&3);
        assert_eq!(queue.held(), 0);
        put(&mut queue, [3]);
        let mut changes = Vec::new();
        queue.take_changes(&mut changes);
        assert_eq!(changes.len(), 1);
        // It is under way now.
        queue.remove(&3);
        shelf.apply(changes);
        queue.settle_changes();
        assert_eq!(queue.first(), None);
        commit(&mut queue, &shelf);
        assert!(shelf.is_empty(Space::Pending));
    }

    #[test]
    fn a_key_that_comes_and_goes_between_two_commits_is_gone() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        put(&mut queue, [3]);
        commit(&mut queue, &shelf);
        queue.remove(&3);
        put(&mut queue, [3]);
        queue.remove(&3);
        commit(&mut queue, &shelf);
        assert_eq!((queue.first(), shelf.len(Space::Pending)), (None, 0));
    }

    #[test]
    fn changes_of_a_commit_that_failed_come_again() {
        let shelf = Arc::new(MemoryShelf::default());
        let mut queue = queue(&shelf);
        put(&mut queue, [1, 2]);
        queue.take_changes(&mut Vec::new());
        queue.remove(&1);
        let mut changes = Vec::new();
        queue.take_changes(&mut changes);
        assert_eq!(changes.iter().map(|change| (change.key[0], change.value.is_some())).collect::<Vec<_>>(), [(1, false), (2, true)]);
        shelf.apply(changes);
        queue.settle_changes();
        assert_eq!(drain(&mut queue), [2]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let shelf = Arc::new(MemoryShelf::default());
        let put = |key: &[u8], value: &[u8]| Change { space: Space::Pending, key: key.to_vec(), value: Some(value.to_vec()) };
        shelf.apply(vec![put(&[1, 2], &[1]), put(&[3], &[]), put(&[4], &[5])]);
        assert_eq!(drain(&mut queue(&shelf)), [4]);
        assert_eq!(shelf.refused(), [(Space::Pending, vec![1, 2]), (Space::Pending, vec![3])]);
    }
}
