//! One snapshot of everything, written as one atom: a new file beside the old one, synced, then renamed over it.
//!
//! ```text
//! magic "driftln\0" | format u32 | length u64 | xxh3-128 of the rest | zstd of postcard
//! ```
//! All integers are little endian. The snapshot before the last is kept as `previous`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8; 8] = b"driftln\0";
const HEADER: usize = 8 + 4 + 8 + 16;
const CURRENT: &str = "checkpoint";
const PREVIOUS: &str = "checkpoint.previous";
const FRESH: &str = "checkpoint.new";
const LOCK: &str = "lock";
/// The fastest level: most cells of most panes are zero, and any level takes those out.
const COMPRESSION_LEVEL: i32 = 1;

/// Why state could not be kept or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error("{0}: another driftline process uses this state directory; give each its own state.path")]
    Locked(PathBuf),
    /// The file is not what was written.
    #[error("{path}: damaged: {reason}; move it away to start without it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file is of another format.
    #[error("{path}: written in format {found}, this version reads {expected}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
}

/// A state directory, held by this process alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    format: u32,
    _lock: File,
}

impl Directory {
    /// Makes the directory where needed and locks it. `format` is the number of what the caller keeps in it.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] and [`SnapshotError::Locked`].
    pub fn open(path: &Path, format: u32) -> Result<Directory, SnapshotError> {
        fs::create_dir_all(path).map_err(|source| io_error(path, source))?;
        let lock_path = path.join(LOCK);
        let lock =
            File::options().create(true).write(true).truncate(false).open(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), format, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(SnapshotError::Locked(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(io_error(&lock_path, source)),
        }
    }

    /// Writes a snapshot and returns its size in bytes. Either the whole of it is there afterwards or the one before.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; the snapshot before is untouched.
    pub fn write<T: Serialize>(&self, state: &T) -> Result<u64, SnapshotError> {
        let fresh = self.path.join(FRESH);
        let bytes = encode(state, self.format).map_err(|source| io_error(&fresh, source))?;
        let mut file = File::create(&fresh).map_err(|source| io_error(&fresh, source))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|source| io_error(&fresh, source))?;
        let current = self.path.join(CURRENT);
        if current.exists() {
            let previous = self.path.join(PREVIOUS);
            // A link, not a rename: at no moment is there no current snapshot.
            let _ = fs::remove_file(&previous);
            let _ = fs::hard_link(&current, &previous);
        }
        fs::rename(&fresh, &current).map_err(|source| io_error(&current, source))?;
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(|source| io_error(&self.path, source))?;
        Ok(bytes.len() as u64)
    }

    /// The last snapshot, `None` where there is none. Where it is damaged the one before is given, with the damage.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when neither is whole, [`SnapshotError::Format`], [`SnapshotError::Io`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<(T, Option<SnapshotError>)>, SnapshotError> {
        let current = self.path.join(CURRENT);
        match self.read_file(&current) {
            Ok(state) => Ok(state.map(|state| (state, None))),
            Err(damage @ SnapshotError::Damaged { .. }) => match self.read_file(&self.path.join(PREVIOUS)) {
                Ok(Some(state)) => Ok(Some((state, Some(damage)))),
                _ => Err(damage),
            },
            Err(other) => Err(other),
        }
    }

    fn read_file<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, SnapshotError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(path, source)),
        };
        let damaged = |reason: &str| SnapshotError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
        let (header, body) = bytes.split_at_checked(HEADER).ok_or_else(|| damaged("shorter than its header"))?;
        let field = |from: usize, to: usize| header.get(from..to).unwrap_or(&[]);
        if field(0, 8) != MAGIC {
            return Err(damaged("it does not begin as a checkpoint does"));
        }
        let found = u32::from_le_bytes(field(8, 12).try_into().unwrap_or_default());
        if found != self.format {
            return Err(SnapshotError::Format { path: path.to_owned(), found, expected: self.format });
        }
        if u64::from_le_bytes(field(12, 20).try_into().unwrap_or_default()) != body.len() as u64 {
            return Err(damaged("its length is not the one written in it"));
        }
        if u128::from_le_bytes(field(20, 36).try_into().unwrap_or_default()) != xxh3_128(body) {
            return Err(damaged("its checksum does not match"));
        }
        let plain = zstd::decode_all(body).map_err(|error| damaged(&error.to_string()))?;
        postcard::from_bytes(&plain).map(Some).map_err(|error| damaged(&format!("it cannot be decoded: {error}")))
    }
}

fn encode<T: Serialize>(state: &T, format: u32) -> io::Result<Vec<u8>> {
    let plain = postcard::to_stdvec(state).map_err(io::Error::other)?;
    let body = zstd::encode_all(plain.as_slice(), COMPRESSION_LEVEL)?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&xxh3_128(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn io_error(path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> (PathBuf, Directory) {
        let path = std::env::temp_dir().join(format!("driftline-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Directory::open(&path, 1).unwrap();
        (path, directory)
    }

    #[test]
    fn gives_back_the_last_snapshot() {
        let (path, directory) = directory("last");
        assert!(directory.read::<Vec<u64>>().unwrap().is_none());
        directory.write(&vec![1u64, 2]).unwrap();
        directory.write(&vec![3u64]).unwrap();
        assert_eq!(directory.read::<Vec<u64>>().unwrap().unwrap().0, [3]);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed_and_the_one_before_is_used() {
        let (path, directory) = directory("damage");
        directory.write(&vec![1u64, 2]).unwrap();
        directory.write(&vec![3u64]).unwrap();
        let whole = fs::read(path.join(CURRENT)).unwrap();
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            fs::write(path.join(CURRENT), &flipped).unwrap();
            match directory.read::<Vec<u64>>() {
                Ok(Some((state, Some(SnapshotError::Damaged { .. })))) => assert_eq!(state, [1, 2], "byte {place}"),
                Err(SnapshotError::Format { .. }) => assert!((8..12).contains(&place)),
                other => panic!("byte {place}: {other:?}"),
            }
            fs::write(path.join(CURRENT), &whole[..place]).unwrap();
            assert!(matches!(directory.read::<Vec<u64>>(), Ok(Some((_, Some(SnapshotError::Damaged { .. }))))), "cut at {place}");
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_directory_has_one_owner() {
        let (path, first) = directory("lock");
        assert!(matches!(Directory::open(&path, 1), Err(SnapshotError::Locked(_))));
        drop(first);
        assert!(Directory::open(&path, 1).is_ok());
        fs::remove_dir_all(path).unwrap();
    }
}
