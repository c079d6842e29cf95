//! A batch of records on its way to the worker that counts them: payloads in one buffer, heads beside it.
//!
//! Buffers are handed back and used again, so that no memory is allocated per record.

use crate::event::{SourceId, Timestamp};

/// Headers of one record, kept only where the event mapping asks for them.
pub type Headers = Vec<(String, Vec<u8>)>;

/// One record of a batch.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The source partition it came from.
    pub source: SourceId,
    /// Its offset there.
    pub offset: i64,
    /// The record's own time.
    pub timestamp: Option<Timestamp>,
    /// Where its bytes begin in the buffer: first the key, then the value.
    start: usize,
    key: usize,
    value: usize,
    /// Length of the value as it was, where it was too large to be copied.
    pub oversize: Option<usize>,
    /// Its headers.
    pub headers: Option<Box<Headers>>,
    /// Not a record: reading goes on behind this offset, whatever was read before.
    pub is_move: bool,
}

/// Records for one worker.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Appends a record.
    pub fn push(&mut self, source: SourceId, offset: i64, timestamp: Option<Timestamp>, key: &[u8], value: &[u8]) -> &mut Head {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let place = self.heads.len();
        self.heads.push(Head {
            source,
            offset,
            timestamp,
            start,
            key: key.len(),
            value: value.len(),
            oversize: None,
            headers: None,
            is_move: false,
        });
        &mut self.heads[place]
    }

    /// Says, behind the records that came before, that reading goes on elsewhere.
    pub fn push_move(&mut self, source: SourceId, next: i64) {
        self.push(source, next - 1, None, &[], &[]).is_move = true;
    }

    /// The records with their keys and values.
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

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }
}
