//! A batch of records on its way to the worker that counts them: payloads in one buffer, heads beside it.
//!
//! Buffers are handed back and used again, so that no memory is allocated per record.

use crate::engine::cluster::ResumedSource;
use crate::event::{SourceId, Timestamp};

use super::registry::SourceInfo;

/// Bytes before each header: the length of its name, and of its value or [`NO_VALUE`].
const HEADER_LENGTHS: usize = 8;
/// Stands for the length of a header value that is not there, which is not one of no bytes.
const NO_VALUE: u32 = u32::MAX;

/// One record of a batch.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The source partition it came from.
    pub source: SourceId,
    /// Its offset there.
    pub offset: i64,
    /// The record's own time.
    pub timestamp: Option<Timestamp>,
    /// The partition of its topic.
    pub partition: i32,
    /// Where its bytes begin in the buffer: first the key, then the value, then the headers.
    start: usize,
    key: usize,
    value: usize,
    headers: usize,
    /// Length of the value as it was, where it was too large to be copied.
    pub oversize: Option<usize>,
    /// Not a record: reading goes on behind this offset, whatever was read before.
    pub is_move: bool,
    /// Whether it has no key, which is not one of no bytes.
    pub lacks_key: bool,
    /// Whether it has no value, which is not one of no bytes: a tombstone.
    pub lacks_value: bool,
}

/// A change of hands of a source partition between replicas. It comes in line with the records, so that none is counted
/// into the wrong state.
#[derive(Clone, Debug)]
pub enum Turn {
    /// The partition is ours from here on.
    Resume {
        /// The partition.
        source: SourceInfo,
        /// What was said of it by whoever read it before.
        resumed: Option<Box<ResumedSource>>,
    },
    /// The partition is somebody else's from here on.
    Forget(SourceId),
}

/// Records for one worker.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What happens before the first of the records.
    pub turns: Vec<Turn>,
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
        self.heads.push(Head { source, offset, timestamp, start, key: key.len(), value: value.len(), ..Head::default() });
        &mut self.heads[place]
    }

    /// Says, behind the records that came before, that reading goes on elsewhere.
    pub fn push_move(&mut self, source: SourceId, next: i64) {
        self.push(source, next - 1, None, &[], &[]).is_move = true;
    }

    /// Adds a header to the record that was appended last.
    pub fn push_header(&mut self, name: &str, value: Option<&[u8]>) {
        let Some(head) = self.heads.last_mut() else { return };
        // No record of Kafka is longer than 2 GiB.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(NO_VALUE - 1).to_ne_bytes();
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&length(name.len()));
        self.bytes.extend_from_slice(&value.map_or(NO_VALUE.to_ne_bytes(), |value| length(value.len())));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        head.headers += self.bytes.len() - before;
    }

    /// The headers of a record in their order, as far as they were copied.
    #[must_use]
    pub fn headers(&self, head: &Head) -> Headers<'_> {
        let start = head.start + head.key + head.value;
        Headers { rest: self.bytes.get(start..start + head.headers).unwrap_or(&[]) }
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

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.turns.is_empty()
    }

    /// Bytes of keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.heads.clear();
        self.bytes.clear();
    }
}

/// The headers of one record: names and values.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (lengths, rest) = self.rest.split_at_checked(HEADER_LENGTHS)?;
        let (name, value) = lengths.split_at_checked(HEADER_LENGTHS / 2)?;
        let length = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).ok();
        let (name, value) = (length(name)?, Some(length(value)?).filter(|length| *length != NO_VALUE));
        let (name, rest) = rest.split_at_checked(name as usize)?;
        let (bytes, rest) = rest.split_at_checked(value.unwrap_or(0) as usize)?;
        self.rest = rest;
        Some((std::str::from_utf8(name).ok()?, value.map(|_| bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen<'a> = (i64, &'a [u8], &'a [u8], Vec<(&'a str, Option<&'a [u8]>)>);

    #[test]
    fn what_goes_in_comes_out() {
        let mut batch = Batch::default();
        batch.push(SourceId(0), 7, None, b"key", b"value").partition = 3;
        batch.push_header("trace", Some(b"abc"));
        batch.push_header("empty", Some(b""));
        batch.push_header("null", None);
        batch.push(SourceId(1), 8, None, b"", b"next").lacks_key = true;
        batch.push(SourceId(1), 9, None, b"k", b"").lacks_value = true;
        batch.push_header("\u{fc}", Some(b"\xff"));
        let seen: Vec<Seen<'_>> =
            batch.records().map(|(head, key, value)| (head.offset, key, value, batch.headers(head).collect())).collect();
        let all: [Seen<'_>; 3] = [
            (7, b"key", b"value", vec![("trace", Some(b"abc")), ("empty", Some(b"")), ("null", None)]),
            (8, b"", b"next", Vec::new()),
            (9, b"k", b"", vec![("\u{fc}", Some(b"\xff"))]),
        ];
        assert_eq!(seen, all);
        batch.clear();
        assert!(batch.is_empty() && batch.bytes() == 0);
    }
}
