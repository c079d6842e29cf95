//! A ledger in memory stored as a whole, within the state of its model. One on a shelf is stored there.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::books::Books;
use super::bounds::Bounds;
use super::due::Due;
use super::half::{RecordId, Untold};
use super::ledger::Ledger;
use super::ordered::{Kept, Ordered};
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
        entries.extend(self.expiry.entries().map(|(key, due)| (Space::Expiry, Due::encode_key(key), due.encode())));
        entries.extend(self.pending.entries().map(|(key, untold)| (Space::Pending, Untold::encode_key(key), untold.encode())));
        entries.extend(self.early.entries().map(|(key, due)| (Space::Early, Due::encode_key(key), due.encode())));
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
            let is_read = match space {
                Space::Record => {
                    <[u8; 16]>::try_from(key.as_slice()).map(|id| ledger.records.put(RecordId(u128::from_be_bytes(id)), &value)).is_ok()
                }
                Space::Expiry => put(&mut ledger.expiry, &key, &value).is_some(),
                Space::Pending => put(&mut ledger.pending, &key, &value).is_some(),
                Space::Early => put(&mut ledger.early, &key, &value).is_some(),
                Space::Books | Space::Ahead => false,
            };
            if !is_read {
                return Err(serde::de::Error::custom("an entry of the ledger cannot be read"));
            }
        }
        Ok(ledger)
    }
}

fn put<V: Kept>(ordered: &mut Ordered<V>, key: &[u8], value: &[u8]) -> Option<()> {
    ordered.put(V::decode_key(key)?, V::decode(value)?);
    Some(())
}
