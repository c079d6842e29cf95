//! Predictions that the label clock has not reached, in the order in which they enter a ledger: by when they came, by offset
//! and by topic. It lies on the shelf of the ledger that they enter, and in memory is only what has changed since its last
//! commit; without a shelf everything is in memory.
//!
//! It begins empty, counts only what was put in by this process, and does not know what bounds it.

use std::sync::Arc;

use crate::event::Timestamp;

use super::codec::{self, Reader};
use super::half::{Prediction, RecordId};
use super::ordered::{Kept, Ordered};
use super::record::{Entry, decode_entry, encode_entry};
use super::shelf::{Change, Shelf, Space};

/// Format of a stored prediction; another is refused.
const FORMAT: u8 = 1;

/// When a prediction came, its offset, and a hash of its topic: the same whoever reads it.
pub type Arrival = (Timestamp, i64, u64);

/// Predictions that wait for the clock.
#[derive(Debug)]
pub struct Ahead {
    queue: Ordered<Prediction>,
    count: usize,
    is_shelved: bool,
}

impl Ahead {
    /// Empty, on an empty shelf or in memory.
    #[must_use]
    pub fn new(shelf: Option<Arc<dyn Shelf>>) -> Ahead {
        Ahead { is_shelved: shelf.is_some(), queue: Ordered::new(Space::Ahead, shelf), count: 0 }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes one in. Of several of one record with the same version and id the first stays.
    pub fn put(&mut self, (came, offset, topic): Arrival, id: RecordId, prediction: Prediction) {
        let key = (came, offset, topic, id, prediction.version);
        // A record is taken in whole between two commits, so that memory has all of it.
        if !self.queue.holds(&key) {
            self.queue.put(key, prediction);
            self.count += 1;
        }
    }

    /// When the first one came.
    #[must_use]
    pub fn first(&mut self) -> Option<Timestamp> {
        // Asked for all the time; a shelf need not be asked for nothing.
        if self.count == 0 {
            return None;
        }
        self.queue.first().map(|(came, ..)| came)
    }

    /// Takes the first one out, if it came up to and including `until`.
    pub fn take(&mut self, until: Timestamp) -> Option<(RecordId, Prediction)> {
        if self.count == 0 {
            return None;
        }
        let ((_, _, _, id, _), prediction) = self.queue.take_first(|(came, ..)| *came <= until)?;
        self.count -= 1;
        Some((id, prediction))
    }

    /// Changes that wait for a commit; in memory until then.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        if self.is_shelved { self.queue.held() } else { 0 }
    }

    /// As [`super::Ledger::take_changes`].
    pub fn take_changes(&mut self, changes: &mut Vec<Change>) {
        if self.is_shelved {
            self.queue.take_changes(changes);
        }
    }

    /// As [`super::Ledger::settle_changes`].
    pub fn settle_changes(&mut self) {
        if self.is_shelved {
            self.queue.settle_changes();
        }
    }
}

impl Kept for Prediction {
    /// Its arrival, its id, and its version: a record may hold several predictions of an id.
    type Key = (Timestamp, i64, u64, RecordId, u16);

    const LEAST: Self::Key = (Timestamp(i64::MIN), i64::MIN, 0, RecordId(0), 0);

    fn encode_key((came, offset, topic, id, version): &Self::Key) -> Vec<u8> {
        let (came, offset) = (codec::ordered(*came), codec::ordered(Timestamp(*offset)));
        [&came[..], &offset, &topic.to_be_bytes(), &id.0.to_be_bytes(), &version.to_be_bytes()].concat()
    }

    fn decode_key(bytes: &[u8]) -> Option<Self::Key> {
        let (came, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (topic, rest) = rest.split_first_chunk()?;
        let (id, version) = rest.split_first_chunk()?;
        let (came, offset) = (codec::instant(*came), codec::instant(*offset).0);
        let (id, version) = (RecordId(u128::from_be_bytes(*id)), u16::from_be_bytes(version.try_into().ok()?));
        Some((came, offset, u64::from_be_bytes(*topic), id, version))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        // It is not known yet until when it is kept.
        encode_entry(&mut bytes, &Entry { prediction: self.clone(), until: self.ts, truth: None });
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Prediction> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let entry = decode_entry(&mut reader)?;
        reader.is_empty().then_some(entry.prediction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::half::Predicted;
    use crate::join::shelf::MemoryShelf;

    fn prediction(version: u16, ts: i64) -> Prediction {
        Prediction { ts: Timestamp(ts), version, segments: Box::new([1, 300]), predicted: Predicted::Class(Some(1), Some(0.25)) }
    }

    fn commit(ahead: &mut Ahead, shelf: &MemoryShelf) {
        let mut changes = Vec::new();
        ahead.take_changes(&mut changes);
        shelf.apply(changes);
        ahead.settle_changes();
    }

    #[test]
    fn they_come_in_the_order_of_their_arrival_from_memory_and_shelf() {
        let shelf = Arc::new(MemoryShelf::default());
        for mut ahead in [Ahead::new(None), Ahead::new(Some(Arc::clone(&shelf) as Arc<dyn Shelf>))] {
            let arrivals = [(30, 1, 9), (10, 7, 9), (10, 7, 2), (20, 3, 9), (10, 6, 9)];
            for (place, (came, offset, topic)) in (0u16..).zip(arrivals) {
                ahead.put((Timestamp(came), offset, topic), RecordId(place.into()), prediction(place, came));
                if place == 2 {
                    commit(&mut ahead, &shelf);
                }
            }
            assert_eq!((ahead.len(), ahead.first()), (5, Some(Timestamp(10))));
            let taken: Vec<_> = std::iter::from_fn(|| ahead.take(Timestamp(20))).map(|(id, _)| id.0).collect();
            assert_eq!(taken, [4, 2, 1, 3]);
            assert_eq!(ahead.first(), Some(Timestamp(30)));
            commit(&mut ahead, &shelf);
            assert_eq!(ahead.take(Timestamp(30)), Some((RecordId(0), prediction(0, 30))));
            assert!(ahead.is_empty() && ahead.first().is_none());
            commit(&mut ahead, &shelf);
            assert_eq!((shelf.len(Space::Ahead), ahead.unsettled()), (0, 0));
        }
    }

    #[test]
    fn of_one_record_each_version_of_an_id_stays_and_of_a_version_the_first() {
        let mut ahead = Ahead::new(None);
        for (version, ts) in [(1, 5), (2, 6), (1, 7)] {
            ahead.put((Timestamp(9), 1, 1), RecordId(1), prediction(version, ts));
        }
        let taken: Vec<_> = std::iter::from_fn(|| ahead.take(Timestamp(9))).map(|(_, taken)| (taken.version, taken.ts.0)).collect();
        assert_eq!(taken, [(1, 5), (2, 6)]);
    }

    #[test]
    fn what_is_stored_comes_back_and_no_part_of_it_does() {
        let key = (Timestamp(-3), 1 << 40, u64::MAX - 1, RecordId(u128::MAX - 1), 7);
        let (bytes, value) = (Prediction::encode_key(&key), prediction(3, 1_700_000_000_000).encode());
        assert!(bytes.len() <= 44);
        assert_eq!(Prediction::decode_key(&bytes), Some(key));
        assert_eq!(Prediction::decode(&value), Some(prediction(3, 1_700_000_000_000)));
        assert_eq!(Prediction::decode_key(&bytes[..41]), None);
        assert!((0..value.len()).all(|end| Prediction::decode(&value[..end]).is_none()));
        assert_eq!(Prediction::decode(&[9, value[1]]), None, "of another format");
    }
}
