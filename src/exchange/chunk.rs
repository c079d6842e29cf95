//! Records that were read again: payloads in one buffer, heads beside it.

use crate::event::Timestamp;

/// Headers of one record.
pub type Headers = Vec<(String, Vec<u8>)>;

/// One record of a chunk.
#[derive(Clone, Debug)]
pub struct Head {
    /// Place of its range in the list that was asked for.
    pub range: usize,
    /// Its offset.
    pub offset: i64,
    /// The record's own time.
    pub timestamp: Option<Timestamp>,
    /// Where its bytes begin in the buffer: first the key, then the value.
    start: usize,
    key: usize,
    value: usize,
    /// Length of the value as it was, where it was too large to be copied.
    pub oversize: Option<usize>,
    /// Its headers, where they were asked for.
    pub headers: Option<Box<Headers>>,
}

/// Records of any of the ranges; those of one range in their order.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Appends a record.
    pub(super) fn push(&mut self, range: usize, offset: i64, timestamp: Option<Timestamp>, key: &[u8], value: &[u8]) -> &mut Head {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let place = self.heads.len();
        self.heads.push(Head { range, offset, timestamp, start, key: key.len(), value: value.len(), oversize: None, headers: None });
        &mut self.heads[place]
    }

    /// The records with their keys and values; a value that is missing is empty.
    pub fn records(&self) -> impl Iterator<Item = (&Head, &[u8], &[u8])> {
        self.heads.iter().map(|head| {
            let key_end = head.start + head.key;
            let key = self.bytes.get(head.start..key_end).unwrap_or(&[]);
            (head, key, self.bytes.get(key_end..key_end + head.value).unwrap_or(&[]))
        })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
