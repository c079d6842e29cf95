//! What a ledger has to know without looking at every entry: its clock and its counts.

use serde::{Deserialize, Serialize};

use crate::event::Timestamp;

use super::codec::{self, Reader};

/// Format of the stored books; another is refused.
const FORMAT: u8 = 1;

/// What has to be known without looking at every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Books {
    /// How far labels have been applied.
    pub clock: Timestamp,
    /// Predictions in records.
    pub predictions: u64,
    /// Labels that wait for their turn.
    pub pending: u64,
    /// Labels that were applied and wait for a prediction.
    pub early: u64,
    /// Predictions that were not kept because the ledger was full.
    pub refused: u64,
}

impl Default for Books {
    fn default() -> Books {
        Books { clock: Timestamp(i64::MIN), predictions: 0, pending: 0, early: 0, refused: 0 }
    }
}

impl Books {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        codec::put_signed(&mut bytes, self.clock.0);
        [self.predictions, self.pending, self.early, self.refused].into_iter().for_each(|count| codec::put(&mut bytes, count));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Books> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let clock = Timestamp(reader.signed()?);
        let [predictions, pending, early, refused] = [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
        reader.is_empty().then_some(Books { clock, predictions, pending, early, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_come_back_and_no_part_of_them_does() {
        let books = Books { clock: Timestamp(-1), predictions: 1 << 40, pending: 0, early: 7, refused: 200 };
        let bytes = books.encode();
        assert_eq!(Books::decode(&bytes), Some(books));
        assert!((0..bytes.len()).all(|end| Books::decode(&bytes[..end]).is_none()));
        assert_eq!(Books::decode(&Books::default().encode()), Some(Books::default()));
    }
}
