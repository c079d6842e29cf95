//! What is stored of a running engine: pieces of bytes under keys, of which only those that have changed are written.
//!
//! All pieces of one moment are one atom; whoever stores them commits them together. A piece is of one [`Part`], and keys
//! are unique within it. Integers in keys are big endian, so that keys sort as what they name. Models are numbered as in the
//! plan: whoever stores pieces beyond a run gives them numbers that last. This does not know what pieces lie in, nor what a
//! topic is.
//!
//! | part      | key                                          | value                                      | who says it   |
//! |-----------|----------------------------------------------|--------------------------------------------|---------------|
//! | plan      | none                                         | models and what they are counted over      | application   |
//! | topic     | source                                       | topic, partition, role, next offset        | application   |
//! | partition | source                                       | watermark, least event time                | shard         |
//! | open      | source, model, segment, slice, version       | when it is sealed, last offset, the pane   | shard         |
//! | source    | source                                       | counts and gaps                            | evaluator     |
//! | panes     | model, and the key of the history            | a sealed or joined pane                    | evaluator     |
//! | model     | model                                        | the rest: schedules, windows that wait     | evaluator     |
//! | alerts    | none                                         | alert instances                            | evaluator     |
//! | outbox    | none                                         | what waits to be delivered                 | application   |
//! | ledger    | model, space, and the key of the ledger      | predictions and labels                     | evaluator     |

pub mod evaluator;
pub mod partition;

use std::collections::BTreeMap;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::window::bytes::Malformed;

/// What a piece is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Which models there are, and what their panes are counted over.
    Plan,
    /// Source partitions and where reading goes on.
    Topic,
    /// Their progress.
    Partition,
    /// Their open panes.
    Open,
    /// Their counts and gaps.
    Source,
    /// Sealed and joined panes.
    Panes,
    /// The rest of each model.
    Model,
    /// Alert instances.
    Alerts,
    /// What waits to be delivered.
    Outbox,
    /// Predictions and labels that wait for each other.
    Ledger,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 10] = [
        Part::Plan,
        Part::Topic,
        Part::Partition,
        Part::Open,
        Part::Source,
        Part::Panes,
        Part::Model,
        Part::Alerts,
        Part::Outbox,
        Part::Ledger,
    ];

    /// The number under which it is stored. Numbers are never given anew, and 0 is nobody's.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Part::Plan => 1,
            Part::Topic => 2,
            Part::Partition => 3,
            Part::Open => 4,
            Part::Source => 5,
            Part::Panes => 6,
            Part::Model => 7,
            Part::Alerts => 8,
            Part::Outbox => 9,
            Part::Ledger => 10,
        }
    }

    /// Where in its keys the number of a model lies, in two bytes; `None` where it is of no one model.
    #[must_use]
    pub fn model_at(self) -> Option<usize> {
        match self {
            Part::Open => Some(4),
            Part::Panes | Part::Model | Part::Ledger => Some(0),
            Part::Plan | Part::Topic | Part::Partition | Part::Source | Part::Alerts | Part::Outbox => None,
        }
    }
}

/// A piece as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is part of.
    pub part: Part,
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// A piece that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is part of.
    pub part: Part,
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes; `None` where it is no more.
    pub value: Option<Vec<u8>>,
}

/// Why a piece cannot be used: it was whole when it was read, so it was written by something else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the stored piece {key:02x?} of part {part:?} cannot be decoded: {reason}")]
pub struct Unreadable {
    /// What it is part of.
    pub part: Part,
    /// Its key.
    pub key: Vec<u8>,
    /// What does not fit.
    pub reason: String,
}

impl Piece {
    /// Why it cannot be used.
    #[must_use]
    pub fn unreadable(&self, reason: &(impl ToString + ?Sized)) -> Unreadable {
        Unreadable { part: self.part, key: self.key.clone(), reason: reason.to_string() }
    }
}

impl From<(Part, crate::engine::history::Piece)> for Change {
    fn from((part, piece): (Part, crate::engine::history::Piece)) -> Change {
        Change { part, key: piece.key, value: piece.value }
    }
}

/// Remembers what was last written of parts that are encoded as a whole each time, by hash.
#[derive(Clone, Debug, Default)]
pub struct Written {
    hashes: BTreeMap<(Part, Vec<u8>), u128>,
}

impl Written {
    /// Notes a piece that is stored.
    pub fn note(&mut self, piece: &Piece) {
        self.hashes.insert((piece.part, piece.key.clone()), xxh3_128(&piece.value));
    }

    /// What is to be written, given all pieces there are now. From then on they count as written.
    pub fn changes(&mut self, pieces: Vec<Piece>) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.hashes);
        let mut changes = Vec::new();
        for Piece { part, key, value } in pieces {
            let (name, hash) = ((part, key), xxh3_128(&value));
            if before.remove(&name) != Some(hash) {
                changes.push(Change { part, key: name.1.clone(), value: Some(value) });
            }
            self.hashes.insert(name, hash);
        }
        changes.extend(before.into_keys().map(|(part, key)| Change { part, key, value: None }));
        changes
    }
}

/// Reads the fields of a key from its front.
struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    /// A time, of which the earlier sorts first.
    fn time(&mut self) -> Result<i64, Malformed> {
        self.take().map(|bytes| (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// A time in a key.
fn time_key(time: i64) -> [u8; 8] {
    (time.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(key: u8, value: u8) -> Piece {
        Piece { part: Part::Model, key: vec![key], value: vec![value] }
    }

    #[test]
    fn only_what_has_changed_is_written_and_what_is_gone_is_taken_out() {
        let mut written = Written::default();
        written.note(&piece(1, 1));
        written.note(&piece(2, 2));
        let said = |changes: Vec<Change>| changes.into_iter().map(|change| (change.key[0], change.value)).collect::<Vec<_>>();
        assert_eq!(said(written.changes(vec![piece(1, 1), piece(3, 3)])), [(3, Some(vec![3])), (2, None)]);
        assert_eq!(said(written.changes(vec![piece(1, 9), piece(3, 3)])), [(1, Some(vec![9]))]);
        assert_eq!(said(written.changes(vec![])), [(1, None), (3, None)]);
    }

    #[test]
    fn parts_are_numbered_apart_and_times_sort() {
        let mut numbers: Vec<u8> = Part::ALL.iter().map(|part| part.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((numbers.len(), numbers[0] > 0), (Part::ALL.len(), true));
        let times = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(times.windows(2).all(|pair| time_key(pair[0]) < time_key(pair[1])));
        assert!(times.iter().all(|time| Key(&time_key(*time)).time() == Ok(*time)));
    }
}
