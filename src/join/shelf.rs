//! The seam to the place outside of memory where a ledger keeps its entries: keys and values as bytes, in order.
//!
//! A shelf shows what was last committed and is never written through. What has changed since is in the ledger, which
//! gives it away as [`Change`]s to be committed together with everything else that belongs to the same moment. It does
//! not know what a prediction is, nor what it lies on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// What an entry of a ledger is. Keys are in order within their space only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Space {
    /// What is known of an id: its predictions and the labels that came for it. By id.
    Record,
    /// When records are to be looked at for what can be forgotten. By (time, id), without value.
    Expiry,
    /// Labels that wait for their turn. By turn.
    Pending,
    /// Labels that wait for a prediction. By (when they came, id), without value.
    Early,
    /// Counts and the clock: one entry.
    Books,
    /// Predictions that wait for the clock. By when they came.
    Ahead,
}

impl Space {
    /// Every space.
    pub const ALL: [Space; 6] = [Space::Record, Space::Expiry, Space::Pending, Space::Early, Space::Books, Space::Ahead];

    /// The number under which it is stored. Numbers are never given anew.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Space::Record => 0,
            Space::Expiry => 1,
            Space::Pending => 2,
            Space::Early => 3,
            Space::Books => 4,
            Space::Ahead => 5,
        }
    }
}

/// An entry that is not on the shelf as it now is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its space.
    pub space: Space,
    /// Its key, at most 44 bytes; integers in it are big endian, so that bytes are in the order of what they mean.
    pub key: Vec<u8>,
    /// Its value from now on, its format included; `None` when it is gone.
    pub value: Option<Vec<u8>>,
}

/// Where the entries of one ledger lie outside of memory. It shows the state of the last commit.
///
/// There are no errors here: a shelf that cannot be read says that there is nothing, remembers its trouble, and lets no
/// commit pass any more, so that nothing that was computed without those entries is ever kept or sent.
pub trait Shelf: Debug + Send + Sync {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>>;

    /// The first `limit` entries of a space whose keys are not before `from`, in order; fewer only where there are no more.
    fn range(&self, space: Space, from: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)>;

    /// Is told of an entry that is not what a ledger writes: as bad as one that cannot be read.
    fn refuse(&self, space: Space, key: &[u8]);
}

/// Values by space and key.
type Entries = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// A shelf in memory: for tests and measurements.
#[derive(Debug, Default)]
pub struct MemoryShelf {
    entries: RwLock<Entries>,
    refused: RwLock<Vec<(Space, Vec<u8>)>>,
}

impl MemoryShelf {
    /// Commits changes.
    pub fn apply(&self, changes: Vec<Change>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change.value {
                Some(value) => entries.insert((change.space, change.key), value),
                None => entries.remove(&(change.space, change.key)),
            };
        }
    }

    /// Number of entries of a space.
    #[must_use]
    pub fn len(&self, space: Space) -> usize {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .range((space, Vec::new())..)
            .take_while(|((of, _), _)| *of == space)
            .count()
    }

    /// Whether there is nothing in a space.
    #[must_use]
    pub fn is_empty(&self, space: Space) -> bool {
        self.len(space) == 0
    }

    /// The entries that were refused.
    #[must_use]
    pub fn refused(&self) -> Vec<(Space, Vec<u8>)> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shelf for MemoryShelf {
    fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&(space, key.to_vec())).cloned()
    }

    fn range(&self, space: Space, from: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let range = entries.range((Bound::Included((space, from.to_vec())), Bound::Unbounded));
        let range = range.take_while(|((of, _), _)| *of == space).take(limit);
        range.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    fn refuse(&self, space: Space, key: &[u8]) {
        self.refused.write().unwrap_or_else(PoisonError::into_inner).push((space, key.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_one_space_in_order_and_no_longer_than_asked() {
        let shelf = MemoryShelf::default();
        let put = |space, key: u8| Change { space, key: vec![key], value: Some(vec![key]) };
        shelf.apply(vec![
            put(Space::Pending, 3),
            put(Space::Pending, 1),
            put(Space::Pending, 2),
            put(Space::Early, 0),
            put(Space::Expiry, 9),
        ]);
        let keys = |from: &[u8], limit| shelf.range(Space::Pending, from, limit).into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
        assert_eq!(keys(&[], 9), [1, 2, 3]);
        assert_eq!(keys(&[2], 9), [2, 3]);
        assert_eq!(keys(&[1, 0], 1), [2], "what follows a key immediately is the key and a zero");
        shelf.apply(vec![Change { space: Space::Pending, key: vec![2], value: None }]);
        assert_eq!(keys(&[], 9), [1, 3]);
        assert_eq!(shelf.len(Space::Pending), 2);
    }

    #[test]
    fn spaces_are_numbered_apart() {
        let numbers: std::collections::BTreeSet<u8> = Space::ALL.iter().map(|space| space.number()).collect();
        assert_eq!(numbers.len(), Space::ALL.len());
    }
}
