//! Joined panes as a history keeps them: open while labels are counted into them, packed when they rest, and on a shelf once
//! they are stored.
//!
//! A shelf shows what was last committed and is never written through: what has changed since is in memory, and goes to the
//! shelf as a [`super::history::Piece`] with everything else of its moment. The labels of thirty days are some hundred bytes
//! a slice that way, whatever is counted of them.

use std::fmt::Debug;
use std::sync::Arc;

use crate::event::{Span, Timestamp};
use crate::window::bytes::{Malformed, Reader, put_varint};
use crate::window::{JoinedPane, SparseJoined};

use super::history::Place;

/// First byte of the key of a joined pane.
pub(super) const PAIRS: u8 = b'p';

/// Where the joined panes of one history lie outside of memory, by the keys of its pieces.
///
/// There are no errors here: a shelf that cannot be read says that there is nothing, remembers its trouble, and lets no
/// commit pass any more, so that nothing that was computed without those panes is ever kept or sent.
pub trait PairShelf: Debug + Send + Sync {
    /// The value of a piece.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Is told of a piece that is not there although it was stored, or not what a history writes: as bad as one that cannot be
    /// read.
    fn refuse(&self, key: &[u8]);
}

/// A joined pane as it is kept.
#[derive(Clone, Debug)]
pub(super) enum Pairs {
    /// Being counted into.
    Open(Box<JoinedPane>),
    /// At rest.
    Sparse(SparseJoined),
    /// On the shelf. So many of its predictions have a label.
    Shelved(u64),
}

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs::Sparse(SparseJoined::default())
    }
}

impl Pairs {
    /// Predictions with a label.
    pub fn matched(&self) -> u64 {
        match self {
            Pairs::Open(pane) => pane.matched,
            Pairs::Sparse(pane) => pane.matched(),
            Pairs::Shelved(matched) => *matched,
        }
    }

    /// Adds it, the pane of a place in the slice that starts there, to a sum.
    pub fn add_to(&self, shelf: Option<&Arc<dyn PairShelf>>, at: (Timestamp, Place), sum: &mut JoinedPane) {
        match self {
            Pairs::Open(pane) if sum.label.cells.is_empty() => *sum = JoinedPane::clone(pane),
            Pairs::Open(pane) => sum.merge(pane),
            Pairs::Sparse(pane) => pane.add_to(sum),
            Pairs::Shelved(matched) => {
                if let Some(pane) = shelf.and_then(|shelf| fetch(shelf, at, *matched)) {
                    pane.add_to(sum);
                }
            }
        }
    }

    /// Packs it.
    pub fn rest(&mut self) {
        if let Pairs::Open(pane) = self {
            *self = Pairs::Sparse(SparseJoined::of(pane));
        }
    }

    /// Lets go what the shelf has.
    pub fn shelve(&mut self) {
        if let Pairs::Sparse(pane) = self {
            *self = Pairs::Shelved(pane.matched());
        }
    }

    /// Its value as a piece of a slice of this length and number; `None` for one that is stored already.
    pub fn value(&self, length: Span, epoch: u64) -> Option<Vec<u8>> {
        match self {
            Pairs::Open(pane) => Some(value(length, epoch, SparseJoined::of(pane).bytes())),
            Pairs::Sparse(pane) => Some(value(length, epoch, pane.bytes())),
            Pairs::Shelved(_) => None,
        }
    }
}

fn fetch(shelf: &Arc<dyn PairShelf>, (start, place): (Timestamp, Place), matched: u64) -> Option<SparseJoined> {
    let key = key(PAIRS, start, place);
    let stored = shelf.get(&key).and_then(|value| {
        let (_, _, bytes) = read_value(&value).ok()?;
        SparseJoined::from_bytes(bytes).ok()
    });
    let pane = stored.filter(|pane| pane.matched() == matched);
    if pane.is_none() {
        shelf.refuse(&key);
    }
    pane
}

/// Keys of pieces sort as what they name: kind, start of the slice, version, segment.
pub(super) fn key(kind: u8, start: Timestamp, (version, segment): Place) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(kind);
    key.extend((start.0.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    key.extend(version.to_be_bytes());
    key.extend(segment.to_be_bytes());
    key
}

/// The value of a piece: how long its slice is, the number of its last change, and the bytes of its pane.
pub(super) fn value(length: Span, epoch: u64, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes.len() + 16);
    put_varint(&mut value, length.0.unsigned_abs());
    put_varint(&mut value, epoch);
    value.extend_from_slice(bytes);
    value
}

/// Reads a value back.
pub(super) fn read_value(value: &[u8]) -> Result<(Span, u64, &[u8]), Malformed> {
    let mut reader = Reader::new(value);
    let length = Span(i64::try_from(reader.varint()?).map_err(|_| Malformed)?);
    let epoch = reader.varint()?;
    Ok((length, epoch, reader.rest()))
}
