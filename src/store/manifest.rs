//! The small files of the tree that say which tables it has, looked through before it is opened.
//!
//! The tree reads the list of tables without looking at its hash, which is in the file that names it, and takes a tree
//! without that file for one that was never finished, and deletes it.
//!
//! ```text
//! current  number of the list u64 | xxh3-128 of the list | 0
//! ```
//! All integers are little endian.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::error::StoreError;

/// The trees: one that names the trees, and ours.
const TREES: [&str; 2] = ["keyspaces/0", "keyspaces/1"];
/// What says that there is a tree at all.
const VERSION: &str = "version";
const CURRENT_LENGTH: usize = 8 + 16 + 1;

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
        if current.get(8..24) != Some(&xxh3_128(&read(&list)?).to_le_bytes()[..]) {
            return Err(damaged(&list, &format!("it is not the list of tables that {name} names")));
        }
    }
    Ok(())
}
