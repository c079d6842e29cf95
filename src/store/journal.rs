//! The write-ahead journal of the tree, looked through before the tree is opened.
//!
//! The tree reads a damaged byte in a length or a tag as the end of its journal and goes on with what came before, and it
//! does not look at all at the order of its batches. So this reads each file first: every batch must be whole, checksum
//! included, and hold a commit that follows the one before. A torn batch at the very end is cut off, as the tree would
//! do, and said; all else is damage.
//!
//! ```text
//! batch    1 | items u32 | sequence u64 | item ... | 3 | xxh3-64 of the items | "FJL\x03"
//! item     2 | kind u8 | compression u8 | tree u64 | key length u16 | value length u32 | stored length u32 | key | value
//! ```
//! All integers are little endian. After the last batch there are only zeros: files are made longer ahead of what is written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::error::StoreError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: &[u8; 4] = b"FJL\x03";
const ITEM_HEADER: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
/// Sequence numbers grow by a few with each commit. One beyond this was never given.
const GREATEST_SEQUENCE: u64 = 1 << 56;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// The commit of the last batch.
    pub last: Option<u64>,
    /// The file whose end was cut off, and the bytes that went.
    pub cut: Option<(PathBuf, u64)>,
}

/// The number of a commit, and of the one before it in the journal. That is another than the one before it where the
/// journal was cut behind commits that had reached the tables.
pub(super) fn link(commit: u64, follows: u64) -> Vec<u8> {
    [commit.to_le_bytes(), follows.to_le_bytes()].concat()
}

/// Reads what [`link`] makes.
pub(super) fn numbers(link: &[u8]) -> Option<(u64, u64)> {
    let (commit, follows) = link.split_at_checked(8)?;
    Some((u64::from_le_bytes(commit.try_into().ok()?), u64::from_le_bytes(follows.try_into().ok()?)))
}

/// Looks through all journal files of a tree and cuts a torn end off the last one. `number_key` is the key that holds in each
/// batch what [`link`] makes.
pub(super) fn audit(tree: &Path, number_key: &[u8]) -> Result<Audit, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(tree).map_err(|error| StoreError::io(tree, error))? {
        let path = entry.map_err(|error| StoreError::io(tree, error))?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            let number = number.ok_or_else(|| damaged(tree, &path, "a journal has a number for a name"))?;
            files.push((number, path));
        }
    }
    files.sort();
    for ((before, _), (after, path)) in files.iter().zip(files.iter().skip(1)) {
        if *after != before + 1 {
            return Err(damaged(tree, path, "the journal before it is missing"));
        }
    }
    let mut audit = Audit::default();
    let mut last: Option<Last> = None;
    let count = files.len();
    for (place, (_, path)) in files.into_iter().enumerate() {
        let bytes = fs::read(&path).map_err(|error| StoreError::io(&path, error))?;
        let mut rest = bytes.as_slice();
        while let Some((batch, after)) = batch(rest, number_key) {
            let follows = last.is_none_or(|last| batch.follows == last.commit && batch.sequence > last.sequence);
            if !follows || batch.sequence >= GREATEST_SEQUENCE {
                return Err(damaged(tree, &path, &format!("commit {} is out of order", batch.commit)));
            }
            last = Some(batch);
            rest = after;
        }
        if rest.iter().any(|byte| *byte != 0) {
            let whole = bytes.len() - rest.len();
            if place + 1 < count {
                return Err(damaged(tree, &path, &format!("its bytes from {whole} on are no commits")));
            }
            cut(&path, whole as u64).map_err(|error| StoreError::io(&path, error))?;
            audit.cut = Some((path, rest.len() as u64));
        }
    }
    audit.last = last.map(|last| last.commit);
    Ok(audit)
}

fn damaged(tree: &Path, path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned(), away: tree.to_owned() }
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

#[derive(Clone, Copy, Debug)]
struct Last {
    commit: u64,
    follows: u64,
    sequence: u64,
}

/// A whole batch at the beginning of some bytes, and the bytes after it.
fn batch<'a>(bytes: &'a [u8], number_key: &[u8]) -> Option<(Last, &'a [u8])> {
    let mut rest = Bytes(bytes);
    if rest.take(1)? != [START] {
        return None;
    }
    let items = rest.u32()?;
    let sequence = rest.u64()?;
    let mut commit = None;
    let mut sum = Xxh3::new();
    for _ in 0..items {
        let header = rest.0.get(..ITEM_HEADER)?;
        let mut fields = Bytes(header);
        if fields.take(1)? != [ITEM] {
            return None;
        }
        let [_, compression] = fields.take(2)? else { return None };
        let (_, key, value, stored) = (fields.u64()?, fields.u16()?, fields.u32()?, fields.u32()?);
        // Nothing is compressed in the journal: the two lengths are one.
        if *compression != 0 || value != stored {
            return None;
        }
        let item = rest.take(ITEM_HEADER.checked_add(usize::from(key))?.checked_add(usize::try_from(stored).ok()?)?)?;
        sum.update(item);
        let (key, value) = item.get(ITEM_HEADER..)?.split_at_checked(usize::from(key))?;
        if key == number_key {
            commit = Some(numbers(value)?);
        }
    }
    if rest.take(1)? != [END] || rest.u64()? != sum.digest() || rest.take(TRAILER.len())? != TRAILER {
        return None;
    }
    let (commit, follows) = commit?;
    Some((Last { commit, follows, sequence }, rest.0))
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
