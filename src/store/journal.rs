//! A bounded list of entries that only grows at its end: what has been said and must still be known after the process is gone.
//!
//! ```text
//! length u32 | xxh3-64 of the entry | the entry
//! ```
//! All integers are little endian. An entry is in the file of the operating system when `append` returns, so the end of the
//! process cannot take it away; `sync` makes it outlive the machine. A last entry that was cut off is dropped. When the file
//! has reached its limit it becomes the previous one, and the one before that is forgotten.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::StoreError;

const CURRENT: &str = "journal";
const PREVIOUS: &str = "journal.previous";
const HEADER: usize = 4 + 8;

/// The journal of a state directory. Who holds the directory's lock may have one.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    previous: PathBuf,
    file: File,
    /// Bytes in the file that are whole entries.
    length: u64,
    /// Bytes after which the next file begins.
    limit: u64,
    /// A write has failed in the middle: what lies beyond `length` is not an entry.
    is_torn: bool,
    is_dirty: bool,
}

impl Journal {
    /// Opens the journal of a directory, or begins it and where needed the directory. Gives its entries, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(directory: &Path, limit: u64) -> Result<(Journal, Vec<Vec<u8>>), StoreError> {
        fs::create_dir_all(directory).map_err(|source| io_error(directory, source))?;
        let (path, previous) = (directory.join(CURRENT), directory.join(PREVIOUS));
        let mut entries = Vec::new();
        read(&previous, &mut entries)?;
        let length = read(&path, &mut entries)?;
        let file = File::options().create(true).append(true).open(&path).map_err(|source| io_error(&path, source))?;
        let mut journal = Journal { path, previous, file, length, limit, is_torn: true, is_dirty: false };
        journal.mend()?;
        Ok((journal, entries))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the entry is not in it then, and those before are.
    pub fn append(&mut self, entry: &[u8]) -> Result<(), StoreError> {
        self.mend()?;
        if self.length >= self.limit {
            self.begin_anew()?;
        }
        let mut bytes = Vec::with_capacity(HEADER + entry.len());
        // An entry beyond 4 GiB is cut, and then dropped by its checksum when it is read.
        bytes.extend_from_slice(&u32::try_from(entry.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(entry).to_le_bytes());
        bytes.extend_from_slice(entry);
        self.is_torn = true;
        self.file.write_all(&bytes).map_err(|source| io_error(&self.path, source))?;
        self.is_torn = false;
        self.is_dirty = true;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.is_dirty {
            self.file.sync_data().map_err(|source| io_error(&self.path, source))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Cuts off what is not a whole entry.
    fn mend(&mut self) -> Result<(), StoreError> {
        if self.is_torn {
            self.file.set_len(self.length).map_err(|source| io_error(&self.path, source))?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn begin_anew(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        fs::rename(&self.path, &self.previous).map_err(|source| io_error(&self.previous, source))?;
        self.file = File::options().create(true).append(true).open(&self.path).map_err(|source| io_error(&self.path, source))?;
        self.length = 0;
        Ok(())
    }
}

/// Adds the whole entries of a file and gives the bytes they take; of a file that is not there, none.
fn read(path: &Path, entries: &mut Vec<Vec<u8>>) -> Result<u64, StoreError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map_err(|source| io_error(path, source))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(io_error(path, source)),
    };
    let mut rest = bytes.as_slice();
    while let Some((entry, after)) = first(rest) {
        entries.push(entry.to_vec());
        rest = after;
    }
    Ok((bytes.len() - rest.len()) as u64)
}

/// The first entry and what follows it, if it is whole.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    let (entry, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (u64::from_le_bytes(*checksum) == xxh3_64(entry)).then_some((entry, rest))
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("driftline-journal-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_what_was_whole_and_goes_on() {
        let path = directory("cut");
        let words = ["one", "", "three", "four"];
        let (mut journal, _) = Journal::open(&path, 1 << 20).unwrap();
        let mut ends = vec![0];
        for word in words {
            journal.append(word.as_bytes()).unwrap();
            ends.push(journal.length);
        }
        drop(journal);
        let whole = fs::read(path.join(CURRENT)).unwrap();
        for cut in 0..=whole.len() {
            fs::write(path.join(CURRENT), &whole[..cut]).unwrap();
            let (mut journal, entries) = Journal::open(&path, 1 << 20).unwrap();
            let kept = ends.iter().filter(|end| **end > 0 && **end <= cut as u64).count();
            assert_eq!(entries, words[..kept].iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(), "cut at {cut}");
            journal.append(b"more").unwrap();
            drop(journal);
            let (_, entries) = Journal::open(&path, 1 << 20).unwrap();
            assert_eq!(entries.last().unwrap(), b"more", "cut at {cut}");
            assert_eq!(entries.len(), kept + 1);
        }
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            fs::write(path.join(CURRENT), &flipped).unwrap();
            let (_, entries) = Journal::open(&path, 1 << 20).unwrap();
            let before = ends.iter().filter(|end| **end > 0 && **end <= place as u64).count();
            assert_eq!(entries.len(), before, "byte {place}: what follows damage is not trusted");
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let path = directory("bound");
        let (mut journal, _) = Journal::open(&path, 1000).unwrap();
        for number in 0..1000u32 {
            journal.append(&number.to_le_bytes()).unwrap();
        }
        drop(journal);
        let (_, entries) = Journal::open(&path, 1000).unwrap();
        let numbers: Vec<u32> = entries.iter().map(|entry| u32::from_le_bytes(entry.as_slice().try_into().unwrap())).collect();
        assert!((60..200).contains(&numbers.len()), "{} entries", numbers.len());
        assert_eq!(numbers, (1000 - u32::try_from(numbers.len()).unwrap()..1000).collect::<Vec<_>>());
        fs::remove_dir_all(path).unwrap();
    }
}
