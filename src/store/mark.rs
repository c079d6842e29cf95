//! The number of the last commit, kept beside the tree: a witness against a tree that has lost commits at its end.
//!
//! It is written after the commit and not synced: after a loss of power it may be behind the tree, never before it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

const NAME: &str = "mark";

/// The open file of the number.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: File,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// There was none.
    Absent,
    /// What is there was not written by us.
    Damaged,
    /// The last commit.
    Commit(u64),
}

impl Mark {
    pub fn open(directory: &Path) -> io::Result<(Mark, Witness)> {
        let path = directory.join(NAME);
        let witness = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Witness::Absent,
            Err(error) => return Err(error),
            Ok(bytes) => decode(&bytes).map_or(Witness::Damaged, Witness::Commit),
        };
        let file = File::options().create(true).write(true).truncate(false).open(&path)?;
        Ok((Mark { path, file }, witness))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a commit. Where that fails the old number stays, which is as true as before.
    pub fn write(&mut self, commit: u64) {
        use std::io::Seek as _;
        let mut bytes = [0; 16];
        let (number, sum) = bytes.split_at_mut(8);
        number.copy_from_slice(&commit.to_le_bytes());
        sum.copy_from_slice(&xxh3_64(number).to_le_bytes());
        let _ = self.file.rewind().and_then(|()| self.file.write_all(&bytes));
    }
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let (number, sum) = bytes.split_at_checked(8)?;
    (xxh3_64(number).to_le_bytes() == *sum).then(|| u64::from_le_bytes(number.try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_and_any_flipped_byte_noticed() {
        let directory = std::env::temp_dir().join(format!("driftline-mark-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (mut mark, witness) = Mark::open(&directory).unwrap();
        assert_eq!(witness, Witness::Absent);
        mark.write(7);
        mark.write(8);
        assert_eq!(Mark::open(&directory).unwrap().1, Witness::Commit(8));
        let whole = std::fs::read(mark.path()).unwrap();
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            std::fs::write(mark.path(), flipped).unwrap();
            assert_eq!(Mark::open(&directory).unwrap().1, Witness::Damaged, "byte {place}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
