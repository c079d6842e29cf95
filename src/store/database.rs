//! The store: a directory held by one process, and the tree in it.
//!
//! ```text
//! DIR/lock            held while a process works here
//! DIR/store/          the tree; DIR/store.new while it is made
//! DIR/store/mark      the number of the last commit
//! ```
//!
//! A scratch store is the same, but begins empty and is worth nothing to the next process.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::batch::{Batch, in_space};
use super::error::StoreError;
use super::journal;
use super::manifest;
use super::mark::{Mark, Witness};

const LOCK: &str = "lock";
const TREE: &str = "store";
const FRESH: &str = "store.new";
/// What formats before the store left; it is named, not read.
const OLD_SNAPSHOT: &str = "checkpoint";
/// The format of what those wrote.
const OLD_FORMAT: u32 = 2;

/// The space of the store itself; callers use those above.
const OWN_SPACE: u8 = 0;
const FORMAT_KEY: &[u8] = b"format";
const COMMIT_KEY: &[u8] = b"commit";
const KEYSPACE: &str = "state";
/// Nobody but the process that wrote it reads a scratch store.
const SCRATCH_FORMAT: u32 = 0;

/// Threads that move what was committed into tables: one can be busy for seconds, and the other then still makes room.
const WORKERS: usize = 2;
/// Of the budget, the part of the changes that are not in tables yet. While a full one is written the next one fills.
const MEMTABLE_SHARE: u64 = 8;
const LEAST_MEMTABLE: u64 = 32 * 1024;
const GREATEST_MEMTABLE: u64 = 64 << 20;
/// Of the budget, the part of the cache of what was read.
const CACHE_SHARE: u64 = 2;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The state that was found in a directory.
#[derive(Debug)]
pub struct Opened {
    /// The store, in the state after some whole commit.
    pub store: Store,
    /// Why that is not the last commit that was made: always a [`StoreError::Older`].
    pub damage: Option<StoreError>,
}

/// A state directory, held by this process alone.
pub struct Store {
    reader: Reader,
    database: Database,
    mark: Mark,
    commit: u64,
    /// The last commit in the journal.
    follows: u64,
    /// How safe a commit is when it is told of.
    persist: PersistMode,
    _lock: File,
}

/// Reads what was last committed. It can be given to others.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    tree: Keyspace,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Store {
    /// Makes the directory where needed, locks it and opens what is in it. `format` is the number of what the caller keeps
    /// there; `budget` is the memory in bytes that caches and changes on their way may take together.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Format`], [`StoreError::Damaged`] when no sound state is left, and
    /// [`StoreError::Io`].
    pub fn open(path: &Path, format: u32, budget: u64) -> Result<Opened, StoreError> {
        fs::create_dir_all(path).map_err(|error| StoreError::io(path, error))?;
        let lock = lock(path)?;
        Store::open_locked(path, lock, format, budget)
    }

    /// As [`Store::open`], but with nothing in it: what an earlier process left there is deleted. Commits are not waited for
    /// until they are on the disk, as nobody reads them after this process has ended, however it ends.
    ///
    /// # Errors
    /// [`StoreError::Locked`] and [`StoreError::Io`].
    pub fn scratch(path: &Path, budget: u64) -> Result<Store, StoreError> {
        fs::create_dir_all(path).map_err(|error| StoreError::io(path, error))?;
        let lock = lock(path)?;
        for left in [TREE, FRESH].map(|name| path.join(name)) {
            match fs::remove_dir_all(&left) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::io(&left, error)),
                _ => {}
            }
        }
        let Opened { mut store, .. } = Store::open_locked(path, lock, SCRATCH_FORMAT, budget)?;
        store.persist = PersistMode::Buffer;
        Ok(store)
    }

    fn open_locked(path: &Path, lock: File, format: u32, budget: u64) -> Result<Opened, StoreError> {
        let tree = path.join(TREE);
        if !tree.exists() {
            let old = path.join(OLD_SNAPSHOT);
            if old.exists() {
                return Err(StoreError::Format { path: old, found: OLD_FORMAT, expected: format });
            }
            create(path, &tree, format, budget)?;
        }
        manifest::audit(&tree)?;
        let (mark, witness) = Mark::open(&tree).map_err(|error| StoreError::io(&tree, error))?;
        let audit = journal::audit(&tree, &in_space(OWN_SPACE, COMMIT_KEY))?;
        let (database, keyspace) = guarded(&tree, || open_tree(&tree, budget))?;
        let reader = Reader { path: tree.clone(), tree: keyspace, trouble: Arc::default() };
        let found = reader.get(OWN_SPACE, FORMAT_KEY)?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let commit = reader.get(OWN_SPACE, COMMIT_KEY)?.and_then(|link| journal::numbers(&link)).map(|(commit, _)| commit);
        let (Some(found), Some(commit)) = (found, commit) else {
            return Err(StoreError::damaged(&tree, "it holds no commit"));
        };
        if found != format {
            return Err(StoreError::Format { path: tree, found, expected: format });
        }
        if let Some(last) = audit.last.filter(|last| *last > commit) {
            return Err(StoreError::damaged(&tree, format!("commit {last} of its journal is not in it, only those up to {commit}")));
        }
        let older = |path: &Path, reason: String| Some(StoreError::Older { path: path.to_owned(), reason, commit });
        let damage = match (witness, &audit.cut) {
            (Witness::Commit(made), Some((path, bytes))) if made > commit => {
                older(path, format!("its last {bytes} bytes are no commits, but {made} were made"))
            }
            (Witness::Commit(made), None) if made > commit => older(&tree, format!("its end is missing: {made} commits were made")),
            (Witness::Damaged, _) => {
                older(mark.path(), "its checksum does not match, so whether more commits were made is not known".into())
            }
            (Witness::Absent, _) if commit > 0 => {
                older(mark.path(), "it is missing, so whether more commits were made is not known".into())
            }
            _ => None,
        };
        // Commits may have reached the tables that the journal has lost.
        let follows = audit.last.unwrap_or(commit);
        let mut store = Store { reader, database, mark, commit, follows, persist: PersistMode::SyncData, _lock: lock };
        store.mark.write(commit);
        Ok(Opened { store, damage })
    }

    /// Makes all changes of a batch durable, as one. Gives the bytes that were changed.
    ///
    /// # Errors
    /// Whatever keeps it from that. From then on nothing is committed or read any more: whether the batch is there is
    /// known only when the store is opened again.
    pub fn commit(&mut self, batch: Batch) -> Result<u64, StoreError> {
        self.reader.usable()?;
        let bytes = batch.bytes();
        let number = self.commit + 1;
        let written = write(&self.database, &self.reader.tree, batch, journal::link(number, self.follows), self.persist);
        if let Err(error) = written {
            return Err(self.reader.refuse(StoreError::of_tree(&self.reader.path, &error)));
        }
        self.commit = number;
        self.follows = number;
        self.mark.write(number);
        Ok(bytes)
    }

    /// The number of the last commit.
    #[must_use]
    pub fn last_commit(&self) -> u64 {
        self.commit
    }

    /// Something that reads what is committed.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.get(space, key)
    }

    /// All keys and values of a space in order.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    pub fn all(&self, space: u8) -> Result<Vec<Entry>, StoreError> {
        self.reader.scan(space, &[], None, usize::MAX)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_space(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }
}

impl Reader {
    /// The value of a key.
    ///
    /// # Errors
    /// What keeps it from being read; from then on nothing is committed any more.
    pub fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.usable()?;
        let read = guarded(&self.path, || self.tree.get(in_space(space, key)));
        read.map(|value| value.map(|value| value.to_vec())).map_err(|error| self.refuse(error))
    }

    /// The first `limit` keys of a space from one on and before another, with their values, in order.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn scan(&self, space: u8, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.usable()?;
        let end = to.map_or_else(|| vec![space + 1], |to| in_space(space, to));
        let start = in_space(space, from);
        if start >= end {
            return Ok(Vec::new());
        }
        let read = guarded(&self.path, || {
            let pairs = self.tree.range(start..end).take(limit).map(fjall::Guard::into_inner);
            pairs.map(|pair| pair.map(|(key, value)| (key.get(1..).unwrap_or(&[]).to_vec(), value.to_vec()))).collect()
        });
        read.map_err(|error| self.refuse(error))
    }

    /// Keeps everything from being committed from now on: what was read cannot be right.
    pub fn distrust(&self, space: u8, key: &[u8], reason: &str) {
        self.refuse(StoreError::damaged(&self.path, format!("the value of key {key:02x?} in space {space} {reason}")));
    }

    /// Whether something has failed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with what failed.
    pub fn usable(&self) -> Result<(), StoreError> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(StoreError::Refused { path: self.path.clone(), reason: reason.clone() }),
        }
    }

    fn refuse(&self, error: StoreError) -> StoreError {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| error.to_string());
        error
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("path", &self.reader.path).field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.join(LOCK);
    let lock =
        File::options().create(true).write(true).truncate(false).open(&lock_path).map_err(|error| StoreError::io(&lock_path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(StoreError::io(&lock_path, error)),
    }
}

/// Makes an empty tree beside its place and moves it there: it is whole or it is not there.
fn create(path: &Path, tree: &Path, format: u32, budget: u64) -> Result<(), StoreError> {
    let fresh = path.join(FRESH);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(|error| StoreError::io(&fresh, error))?;
    }
    let made = open_tree(&fresh, budget).and_then(|(database, keyspace)| {
        let mut first = Batch::new();
        first.put(OWN_SPACE, FORMAT_KEY, format.to_le_bytes().to_vec());
        write(&database, &keyspace, first, journal::link(0, 0), PersistMode::SyncData)
    });
    made.map_err(|error| StoreError::of_tree(&fresh, &error))?;
    let placed = fs::rename(&fresh, tree).and_then(|()| File::open(path)?.sync_all());
    placed.map_err(|error| StoreError::io(tree, error))
}

fn open_tree(tree: &Path, budget: u64) -> fjall::Result<(Database, Keyspace)> {
    let database = Database::builder(tree).cache_size(budget / CACHE_SHARE).worker_threads(WORKERS).manual_journal_persist(true).open()?;
    let memtable = (budget / MEMTABLE_SHARE).clamp(LEAST_MEMTABLE, GREATEST_MEMTABLE);
    let keyspace = database.keyspace(KEYSPACE, || KeyspaceCreateOptions::default().max_memtable_size(memtable))?;
    Ok((database, keyspace))
}

fn write(database: &Database, tree: &Keyspace, batch: Batch, link: Vec<u8>, persist: PersistMode) -> fjall::Result<()> {
    let mut changes = OwnedWriteBatch::with_capacity(database.clone(), batch.len() + 1).durability(Some(persist));
    changes.insert(tree, in_space(OWN_SPACE, COMMIT_KEY), link);
    for (key, value) in batch.into_sorted() {
        match value {
            Some(value) => changes.insert(tree, key, value),
            None => changes.remove(tree, key),
        }
    }
    changes.commit()
}

/// The tree below may panic over damaged files: that is damage, too.
fn guarded<T>(path: &Path, work: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| StoreError::of_tree(path, &error)),
        Err(panic) => {
            let told = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
            Err(StoreError::damaged(path, told.unwrap_or_default()))
        }
    }
}
