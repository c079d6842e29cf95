//! A ledger in memory stored as a whole, within the state of its model. One on a shelf is stored there.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::books::Books;
use super::bounds::Bounds;
use super::half::RecordId;
use super::ledger::Ledger;
use super::ordered::Nothing;
use super::shelf::Space;

/// A ledger in memory as it is stored as a whole: bounds, books, and the entries of each space.
type Whole<E> = (Bounds, Books, Vec<(Space, E, E)>);

impl Serialize for Ledger {
    /// A ledger on a shelf is stored there: only its bounds are written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.shelf.is_some() {
            return (self.bounds, Books::default(), Vec::<(Space, Vec<u8>, Vec<u8>)>::new()).serialize(serializer);
        }
        let mut entries: Vec<(Space, Vec<u8>, Vec<u8>)> = Vec::new();
        entries.extend(self.records.entries().map(|(id, value)| (Space::Record, id.0.to_be_bytes().to_vec(), value.to_vec())));
        entries.extend(self.expiry.entries().map(|(key, _)| (Space::Expiry, key.to_vec(), Vec::new())));
        entries.extend(self.pending.entries().map(|(key, value)| (Space::Pending, key.to_vec(), value.to_vec())));
        entries.extend(self.early.entries().map(|(key, _)| (Space::Early, key.to_vec(), Vec::new())));
        entries.sort_unstable();
        (self.bounds, self.books, entries).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ledger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ledger, D::Error> {
        let (bounds, books, entries) = Whole::<Vec<u8>>::deserialize(deserializer)?;
        let mut ledger = Ledger::new(bounds);
        ledger.books = books;
        ledger.is_untidy = true;
        for (space, key, value) in entries {
            let fault = || serde::de::Error::custom("a key of the ledger has another length");
            match space {
                Space::Record => {
                    let id = RecordId(u128::from_be_bytes(key.as_slice().try_into().map_err(|_| fault())?));
                    ledger.records.put(id, &value);
                }
                Space::Expiry => ledger.expiry.put(key.as_slice().try_into().map_err(|_| fault())?, Nothing),
                Space::Pending => ledger.pending.put(key.as_slice().try_into().map_err(|_| fault())?, value.into()),
                Space::Early => ledger.early.put(key.as_slice().try_into().map_err(|_| fault())?, Nothing),
                Space::Books => {}
            }
        }
        Ok(ledger)
    }
}
