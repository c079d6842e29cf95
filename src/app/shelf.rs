//! The shelves in the store: the committed entries of each label ledger, and the joined panes of each model, under what their
//! keys begin with.

use crate::engine::PairShelf;
use crate::engine::state::Part;
use crate::engine::state::evaluator::{ledger_key, pane_key};
use crate::join::{Shelf, Space};
use crate::store::Reader;

/// The shelf of one ledger. Where it cannot be read, the store remembers it and commits nothing any more.
#[derive(Debug)]
pub struct StoreShelf {
    reader: Reader,
    /// The space of the store, and what keys in it begin with.
    place: (u8, Vec<u8>),
}

impl StoreShelf {
    /// The shelf of the model of that number.
    #[must_use]
    pub fn new(reader: Reader, model: u16) -> StoreShelf {
        let mut front = ledger_key(model, Space::Record);
        front.pop();
        StoreShelf::under(reader, Part::Ledger.number(), front)
    }

    /// The shelf in a space of a store whose keys begin so.
    #[must_use]
    pub fn under(reader: Reader, space: u8, front: Vec<u8>) -> StoreShelf {
        StoreShelf { reader, place: (space, front) }
    }

    fn key(&self, space: Space, key: &[u8]) -> Vec<u8> {
        [&self.place.1, &[space.number()][..], key].concat()
    }
}

impl Shelf for StoreShelf {
    fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        self.reader.get(self.place.0, &self.key(space, key)).unwrap_or_default()
    }

    fn range(&self, space: Space, from: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let front = self.key(space, &[]);
        let mut end = front.clone();
        // No space has the last number.
        end.iter_mut().last().into_iter().for_each(|space| *space += 1);
        let found = self.reader.scan(self.place.0, &self.key(space, from), Some(&end), limit).unwrap_or_default();
        found.into_iter().map(|(key, value)| (key.get(front.len()..).unwrap_or_default().to_vec(), value)).collect()
    }

    fn refuse(&self, space: Space, key: &[u8]) {
        self.reader.distrust(self.place.0, &self.key(space, key), "is not what a ledger writes");
    }
}

/// The joined panes of one model. Where they cannot be read, the store remembers it and commits nothing any more.
#[derive(Debug)]
pub struct PaneShelf {
    reader: Reader,
    model: u16,
}

impl PaneShelf {
    /// Those of the model of that number.
    #[must_use]
    pub fn new(reader: Reader, model: u16) -> PaneShelf {
        PaneShelf { reader, model }
    }
}

impl PairShelf for PaneShelf {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.reader.get(Part::Panes.number(), &pane_key(self.model, key)).unwrap_or_default()
    }

    fn refuse(&self, key: &[u8]) {
        self.reader.distrust(Part::Panes.number(), &pane_key(self.model, key), "is not the joined pane that was stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Store};

    #[test]
    fn a_shelf_shows_one_model_and_space_of_the_store() {
        let path = std::env::temp_dir().join(format!("driftline-shelf-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let mut store = Store::open(&path, 1, 1 << 20).unwrap().store;
        let shelves = [0, 1].map(|model| StoreShelf::new(store.reader(), model));
        let mut batch = Batch::new();
        for (model, shelf) in (0u8..).zip(&shelves) {
            for space in Space::ALL {
                for key in [1, 2, 3] {
                    batch.put(Part::Ledger.number(), &shelf.key(space, &[key]), vec![model, space.number(), key]);
                }
            }
        }
        store.commit(batch).unwrap();
        assert_eq!(shelves[1].get(Space::Expiry, &[2]), Some(vec![1, 1, 2]));
        assert_eq!(shelves[0].get(Space::Expiry, &[4]), None);
        let keys = |from: &[u8], limit| shelves[0].range(Space::Books, from, limit).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(&[], 9), [[1], [2], [3]]);
        assert_eq!(keys(&[2], 1), [[2]]);
        shelves[0].refuse(Space::Record, &[1]);
        let error = store.commit(Batch::new()).unwrap_err().to_string();
        assert!(error.contains("is not what a ledger writes"), "{error}");
        std::fs::remove_dir_all(path).unwrap();
    }
}
