//! The store after a crash: whatever is cut or flipped in its files, what is read again is the state after a whole commit, or
//! a refusal that says why.
//!
//! Four ways: the journal cut at every byte of its last commits; every byte of every file flipped in turn; a process killed
//! at moments of no choice; and a disk that is full. A store of this size has all kinds of files: more than one journal is
//! too large to be cut everywhere, so its audit is tested beside it.

// A process is killed after a while of no meaning.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driftline::store::{Batch, Opened, Store, StoreError};

/// Small, so that a store of a few hundred kilobytes has tables.
const BUDGET: u64 = 256 * 1024;
const FORMAT: u32 = 7;
/// Keys of a space.
const KEYS: u64 = 40;
const SPACES: u8 = 3;

type State = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("driftline-crash-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The script: what commit `number` changes. Values tell by which commit they were written.
fn changes(number: u64, size: usize) -> Vec<(u8, Vec<u8>, Option<Vec<u8>>)> {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut all = vec![(1, b"number".to_vec(), Some(number.to_le_bytes().to_vec()))];
    for _ in 0..6 {
        let (space, key) = (1 + u8::try_from(next() % u64::from(SPACES)).unwrap(), (next() % KEYS).to_be_bytes().to_vec());
        let value = (next() % 4 != 0).then(|| (0..size / 8 + 1).flat_map(|_| (next() ^ number).to_le_bytes()).collect());
        all.push((space, key, value));
    }
    all
}

fn apply(state: &mut State, number: u64, size: usize) {
    for (space, key, value) in changes(number, size) {
        match value {
            Some(value) => state.insert((space, key), value),
            None => state.remove(&(space, key)),
        };
    }
}

/// The state after a commit.
fn state_after(last: u64, size: usize) -> State {
    let mut state = State::new();
    (1..=last).for_each(|number| apply(&mut state, number, size));
    state
}

fn commit(store: &mut Store, number: u64, size: usize) -> Result<u64, StoreError> {
    let mut batch = Batch::new();
    for (space, key, value) in changes(number, size) {
        match value {
            Some(value) => batch.put(space, &key, value),
            None => batch.delete(space, &key),
        }
    }
    store.commit(batch)
}

/// Everything in a store.
fn read(store: &Store) -> Result<State, StoreError> {
    let mut state = State::new();
    for space in 1..=SPACES {
        state.extend(store.all(space)?.into_iter().map(|(key, value)| ((space, key), value)));
    }
    Ok(state)
}

/// Opens a copy whose last commit is at most `last` and says after which one its state is and whether damage was named, or
/// why it was refused.
fn reopen(path: &Path, size: usize, last: u64) -> Result<(u64, Option<StoreError>), StoreError> {
    let Opened { store, damage } = Store::open(path, FORMAT, BUDGET)?;
    let (state, commit) = (read(&store)?, store.last_commit());
    assert!(commit <= last, "commit {commit} was never made");
    let expected = state_after(commit, size);
    assert!(state == expected, "the state is not that of commit {commit}: {} entries, {} expected", state.len(), expected.len());
    Ok((commit, damage))
}

fn refused(error: &StoreError) {
    let said = error.to_string();
    match error {
        StoreError::Damaged { .. } => assert!(said.contains("away to begin again"), "no way out: {said}"),
        StoreError::Io { .. } | StoreError::Format { .. } => {}
        other => panic!("refused with {other:?}"),
    }
}

/// Files are made longer ahead of what is written; the zeros at their ends are left out of copies, as holes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A file may go while a running store is copied; that is what a store in use looks like.
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            put(&target, &bytes);
        }
    }
}

fn put(path: &Path, bytes: &[u8]) {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&bytes[..used]).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() { all.extend(files(&entry)) } else { all.push(entry) }
    }
    all.sort();
    all
}

/// A store with `commits` commits, closed; and the used length of its journal after each of them.
fn written(path: &Path, commits: u64, size: usize) -> Vec<usize> {
    let mut store = Store::open(path, FORMAT, BUDGET).unwrap().store;
    let mut lengths = vec![used(path)];
    for number in 1..=commits {
        commit(&mut store, number, size).unwrap();
        lengths.push(used(path));
    }
    lengths
}

fn used(path: &Path) -> usize {
    let bytes = fs::read(path.join("store/0.jnl")).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_journal_cut_at_any_byte_gives_a_whole_commit_or_a_named_loss() {
    let scratch = Scratch::new("cut");
    let whole = scratch.join("whole");
    let lengths = written(&whole, 3, 0);
    let journal = fs::read(whole.join("store/0.jnl")).unwrap();
    let (cut, zeroed) = (scratch.join("cut"), scratch.join("zeroed"));
    for length in 0..=lengths[3] {
        // The commits that are whole up to there.
        let left = lengths.iter().rposition(|end| *end <= length).map(|commit| commit as u64);
        for (path, tail) in [(&cut, &[][..]), (&zeroed, &[0; 1000][..])] {
            if path == &zeroed && length < lengths[2] {
                continue;
            }
            let _ = fs::remove_dir_all(path);
            copy(&whole, path);
            fs::write(path.join("store/0.jnl"), [&journal[..length], tail].concat()).unwrap();
            match reopen(path, 0, 3) {
                Ok((commit, damage)) => {
                    assert_eq!(Some(commit), left, "cut at {length}");
                    // The last commit was made, so its loss is named.
                    assert_eq!(matches!(damage, Some(StoreError::Older { .. })), commit < 3, "cut at {length}: {damage:?}");
                }
                // Without its very first commit it is no store.
                Err(error) => {
                    assert_eq!(left, None, "cut at {length}: {error}");
                    refused(&error);
                }
            }
        }
    }
    // A commit that was under way when the power went is no damage: nobody was told that it was made.
    copy(&whole, &scratch.join("flight"));
    let flight = scratch.join("flight");
    fs::write(flight.join("store/0.jnl"), &journal[..lengths[3]]).unwrap();
    let mut store = Store::open(&flight, FORMAT, BUDGET).unwrap().store;
    let mark = fs::read(flight.join("store/mark")).unwrap();
    commit(&mut store, 4, 0).unwrap();
    drop(store);
    let longer = fs::read(flight.join("store/0.jnl")).unwrap();
    fs::write(flight.join("store/mark"), mark).unwrap();
    fs::write(flight.join("store/0.jnl"), &longer[..lengths[3] + 20]).unwrap();
    assert!(matches!(reopen(&flight, 0, 3), Ok((3, None))));
}

#[test]
fn after_a_cut_commits_go_on_and_are_found_again() {
    let scratch = Scratch::new("on");
    let path = scratch.join("state");
    let lengths = written(&path, 5, 16);
    let journal = fs::read(path.join("store/0.jnl")).unwrap();
    fs::write(path.join("store/0.jnl"), &journal[..lengths[4] + 3]).unwrap();
    let Opened { mut store, damage } = Store::open(&path, FORMAT, BUDGET).unwrap();
    assert!(damage.unwrap().to_string().contains("0.jnl: damaged: its last"));
    commit(&mut store, 5, 16).unwrap();
    commit(&mut store, 6, 16).unwrap();
    drop(store);
    assert!(matches!(reopen(&path, 16, 6), Ok((6, None))));
}

/// Flips one byte of each kind of file in turn. `stride` takes every so-many-th byte of a file beyond its first and last 200.
fn flip_everywhere(name: &str, commits: u64, size: usize, stride: usize) -> (usize, usize, usize) {
    let scratch = Scratch::new(name);
    let whole = scratch.join("whole");
    written(&whole, commits, size);
    let (mut same, mut older, mut refusals) = (0, 0, 0);
    let flipped = scratch.join("flipped");
    copy(&whole, &flipped);
    for file in files(&whole.join("store")) {
        let bytes = fs::read(&file).unwrap();
        // Of what was made ahead only the beginning.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 40).min(bytes.len());
        for place in (0..used).filter(|place| *place < 200 || *place + 200 >= used || place % stride == 0) {
            let target = flipped.join(file.strip_prefix(&whole).unwrap());
            let mut changed = bytes[..used].to_vec();
            changed[place] ^= 1 << (place % 8);
            put(&target, &changed);
            match reopen(&flipped, size, commits) {
                Ok((commit, None)) => {
                    assert_eq!(commit, commits, "byte {place} of {}: a loss that nobody names", file.display());
                    same += 1;
                }
                Ok((_, Some(StoreError::Older { .. }))) => older += 1,
                Ok((_, Some(other))) => panic!("byte {place} of {}: {other:?}", file.display()),
                Err(error) => {
                    refused(&error);
                    refusals += 1;
                }
            }
            // Opening changes files: cut ends, tables moved together.
            let _ = fs::remove_dir_all(&flipped);
            copy(&whole, &flipped);
        }
    }
    (same, older, refusals)
}

#[test]
fn a_flipped_byte_in_a_young_store_is_named() {
    let (same, older, refusals) = flip_everywhere("young", 2, 0, 1);
    assert!(older > 50 && refusals > 50, "{same} unharmed, {older} older, {refusals} refused");
}

#[test]
fn a_flipped_byte_in_tables_is_named() {
    let (same, older, refusals) = flip_everywhere("tables", 60, 600, 397);
    assert!(older > 50 && refusals > 50, "{same} unharmed, {older} older, {refusals} refused");
}

/// Named so that the test below can run nothing but this in a process of its own.
#[test]
fn child_process_that_commits_until_it_is_killed() {
    let Ok(path) = std::env::var("DRIFTLINE_CRASH_STORE") else { return };
    let path = PathBuf::from(path);
    let mut store = Store::open(&path, FORMAT, BUDGET).unwrap().store;
    let acknowledged = fs::File::options().create(true).write(true).truncate(false).open(path.join("acknowledged")).unwrap();
    for number in store.last_commit() + 1.. {
        commit(&mut store, number, 2000).unwrap();
        acknowledged.write_all_at(&number.to_le_bytes(), 0).unwrap();
    }
}

#[test]
fn killed_at_any_moment_it_goes_on_from_the_last_commit() {
    let scratch = Scratch::new("kill");
    let path = scratch.join("state");
    fs::create_dir_all(&path).unwrap();
    let has_tables = || files(&path.join("store/keyspaces/1/tables")).len() > 1;
    let mut last = 0;
    // On a slow machine it takes more rounds until there are tables.
    for round in (0..200u64).take_while(|round| *round < 25 || !has_tables()) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process_that_commits_until_it_is_killed"])
            .env("DRIFTLINE_CRASH_STORE", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let acknowledged =
            || fs::read(path.join("acknowledged")).ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        while acknowledged() <= last && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(round * 37 % 150));
        child.kill().unwrap();
        child.wait().unwrap();
        let promised = acknowledged();
        assert!(promised > last, "round {round}: nothing was committed");
        let (commit, damage) = reopen(&path, 2000, promised + 1).unwrap();
        assert!(damage.is_none(), "round {round}: {damage:?}");
        assert!(commit == promised || commit == promised + 1, "round {round}: {promised} were promised, {commit} are there");
        last = commit;
    }
    assert!(has_tables(), "the store never had tables");
}

/// Named so that the test below can run nothing but this in a process of its own.
#[test]
fn child_process_whose_files_may_not_grow() {
    let Ok(path) = std::env::var("DRIFTLINE_FULL_STORE") else { return };
    let mut store = Store::open(Path::new(&path), FORMAT, BUDGET).unwrap().store;
    let error = (store.last_commit() + 1..).find_map(|number| commit(&mut store, number, 4_000_000).err()).unwrap();
    assert!(matches!(error, StoreError::Io { .. } | StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("start again"), "no way out: {error}");
    let after = commit(&mut store, 1_000_000, 16).unwrap_err();
    assert!(matches!(after, StoreError::Refused { .. }), "{after:?}");
    assert!(matches!(store.get(1, b"number"), Err(StoreError::Refused { .. })));
    fs::write(Path::new(&path).join("seen"), "").unwrap();
}

#[test]
fn a_full_disk_refuses_work_and_keeps_what_was_committed() {
    let scratch = Scratch::new("full");
    let path = scratch.join("state");
    fs::create_dir_all(&path).unwrap();
    // The journal is made 64 MiB long at once: files may be a little longer, and the shell counts in KiB.
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" --exact child_process_whose_files_may_not_grow", 66 * 1024);
    let output = Command::new("bash")
        .arg("-c")
        .arg(limit)
        .arg(std::env::current_exe().unwrap())
        .env("DRIFTLINE_FULL_STORE", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(path.join("seen").exists(), "the child did nothing");
    let Opened { mut store, damage } = Store::open(&path, FORMAT, BUDGET).unwrap();
    assert!(damage.is_none(), "{damage:?}");
    let last = store.last_commit();
    assert!(last > 0);
    assert_eq!(store.get(1, b"number").unwrap().unwrap(), last.to_le_bytes());
    commit(&mut store, last + 1, 16).unwrap();
}

#[test]
fn a_store_of_another_format_or_process_is_refused() {
    let scratch = Scratch::new("format");
    let path = scratch.join("state");
    let store = Store::open(&path, FORMAT, BUDGET).unwrap().store;
    assert!(matches!(Store::open(&path, FORMAT, BUDGET), Err(StoreError::Locked(_))));
    drop(store);
    assert!(matches!(Store::open(&path, FORMAT + 1, BUDGET), Err(StoreError::Format { found: FORMAT, .. })));
    let old = scratch.join("old");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("checkpoint"), "").unwrap();
    assert!(matches!(Store::open(&old, FORMAT, BUDGET), Err(StoreError::Format { found: 2, .. })));
}
