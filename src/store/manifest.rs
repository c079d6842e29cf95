//! The small files of the tree that say which tables it has, looked through before it is opened.
//!
//! The tree reads the list of tables without looking at its hash, which is in the file that names it, and takes a tree
//! without that file for one that was never finished, and deletes it.
//!
//! ```text
//! current  number of the list u64 | xxh3-128 of the list | 0
//! ```
//! All integers are little endian.
//!
//! And the contents of each table, which the tree reads before it looks at their hash: a number in them that is not true
//! would make it ask for more memory than there is, which ends the process.
//!
//! ```text
//! table    blocks ... | contents | SFA! | version u8 | kind of hash u8 | xxh3-128 of the contents | where they begin u64 | u64
//! ```

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::error::StoreError;

/// The trees: one that names the trees, and ours.
const TREES: [&str; 2] = ["keyspaces/0", "keyspaces/1"];
/// What says that there is a tree at all.
const VERSION: &str = "version";
const CURRENT_LENGTH: usize = 8 + 16 + 1;
/// Where a tree has its tables.
const TABLES: &str = "tables";
/// Bytes of the end of a table.
const END_LENGTH: usize = 4 + 1 + 1 + 16 + 8 + 8;

/// Looks through the small files of both trees.
pub(super) fn audit(tree: &Path) -> Result<(), StoreError> {
    let damaged =
        |name: &str, reason: &str| StoreError::Damaged { path: tree.join(name), reason: reason.to_owned(), away: tree.to_owned() };
    let read = |name: &str| match fs::read(tree.join(name)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged(name, "it is missing")),
        Err(error) => Err(StoreError::io(&tree.join(name), error)),
    };
    read(VERSION)?;
    for directory in TREES {
        let name = format!("{directory}/current");
        let current = read(&name)?;
        let number = current.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (Some(number), [0], CURRENT_LENGTH) = (number, current.get(24..).unwrap_or(&[]), current.len()) else {
            return Err(damaged(&name, "it names no list of tables"));
        };
        let list = format!("{directory}/v{number}");
        tables(tree, directory)?;
        if current.get(8..24) != Some(&xxh3_128(&read(&list)?).to_le_bytes()[..]) {
            return Err(damaged(&list, &format!("it is not the list of tables that {name} names")));
        }
    }
    Ok(())
}

/// Looks through the contents of the tables of one tree. What has no end of a table is left to the tree: it is a file that a
/// crash left behind, or it will be refused.
fn tables(tree: &Path, directory: &str) -> Result<(), StoreError> {
    let folder = tree.join(directory).join(TABLES);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(&folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| StoreError::io(&folder, error))?.path();
        if !sound(&path).map_err(|error| StoreError::io(&path, error))? {
            return Err(StoreError::Damaged { path, reason: "its contents are not what they were".to_owned(), away: tree.to_owned() });
        }
    }
    Ok(())
}

fn sound(path: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(END_LENGTH as u64) else { return Ok(true) };
    file.seek(SeekFrom::Start(end))?;
    let mut bytes = [0; END_LENGTH];
    file.read_exact(&mut bytes)?;
    let (Some(b"SFA!"), Some(hash), Some(begin)) = (bytes.get(..4), bytes.get(6..22), bytes.get(22..30)) else { return Ok(true) };
    let begin = u64::from_le_bytes(begin.try_into().unwrap_or_default());
    let Some(contents) = end.checked_sub(begin) else { return Ok(false) };
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(contents).read_to_end(&mut bytes)?;
    Ok(hash == xxh3_128(&bytes).to_le_bytes())
}
