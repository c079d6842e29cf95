//! The store under the load of many labels: what a commit takes, what a lookup takes, and what it needs.
//!
//! `cargo bench --bench store [-- --stored 5 --commits 30]` (millions of ledger entries; commits, one a second). Each commit changes
//! 200 panes of 5 kB, 30 pieces of 20 kB, puts and deletes 100,000 ledger entries of 16 and 48 bytes with their places in the
//! queue of what expires; before it, 60,000 entries are looked up. The directory is beside other temporary files, and what is in it
//! is added up twenty times a second: tables that are written anew stand beside the old ones for a while.
// A benchmark reads the clock, prints its numbers and stops at the first surprise.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driftline::store::{Batch, Store};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u8 = 1;
const QUEUE: u8 = 2;
const PANES: u8 = 3;
const PIECES: u8 = 4;
const RATE: u64 = 100_000;
const LOOKUPS: u64 = 60_000;
const BUDGET: u64 = 128 << 20;

/// The most that was in the directory in all, and in journals.
static MOST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).map_or(default, |text| text.parse().unwrap())
    };
    let (stored, commits) = (option("--stored", 5) * 1_000_000, option("--commits", 30));
    let path = std::env::temp_dir().join(format!("driftline-store-bench-{}", std::process::id()));
    let mut store = Store::open(&path, 1, BUDGET).unwrap().store;
    let looked_at = path.clone();
    std::thread::spawn(move || {
        loop {
            let [all, journals] = on_disk(&looked_at);
            MOST[0].fetch_max(all, Ordering::Relaxed);
            MOST[1].fetch_max(journals, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let began = Instant::now();
    for first in (0..stored).step_by(usize::try_from(RATE).unwrap()) {
        let mut batch = Batch::new();
        (first..first + RATE).for_each(|number| insert(&mut batch, number));
        store.commit(batch).unwrap();
    }
    println!("{stored} entries put in {:.0} s, {} MB on disk", began.elapsed().as_secs_f64(), store.disk_space() / 1_000_000);
    let most = || MOST.each_ref().map(|bytes| bytes.swap(0, Ordering::Relaxed) / 1_000_000);
    let [all, journals] = most();
    println!("{all} MB in the directory at most, {journals} MB of journals");
    let (mut times, mut looking) = (Vec::new(), Duration::ZERO);
    for round in 0..commits {
        let began = Instant::now();
        let first = round * RATE;
        for look in 0..LOOKUPS {
            let number = first + xxh3_64(&(round * LOOKUPS + look).to_le_bytes()) % stored;
            assert!(store.get(ENTRIES, &id(number)).unwrap().is_some());
        }
        looking += began.elapsed();
        let mut batch = Batch::new();
        (0..200).for_each(|pane| batch.put(PANES, &(xxh3_64(&[pane, round.to_le_bytes()[0]]) % 2000).to_be_bytes(), noise(round, 5_000)));
        (0..30).for_each(|piece| batch.put(PIECES, &[piece], noise(round, 20_000)));
        (first..first + RATE).for_each(|number| {
            insert(&mut batch, stored + number);
            batch.delete(ENTRIES, &id(number));
            batch.delete(QUEUE, &due(number));
        });
        let start = Instant::now();
        store.commit(batch).unwrap();
        times.push(start.elapsed());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!("commit: median {:.0} ms, 90 % {:.0} ms, longest {:.0} ms", at(50), at(90), at(100));
    println!("lookups: {:.0} a second", (LOOKUPS * commits) as f64 / looking.as_secs_f64());
    println!("{} MB on disk, {} MB of memory at most", store.disk_space() / 1_000_000, peak() / 1024);
    let [all, journals] = most();
    println!("{all} MB in the directory at most, {journals} MB of journals");
    drop(store);
    let start = Instant::now();
    let store = Store::open(&path, 1, BUDGET).unwrap().store;
    println!("opened again in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    drop(store);
    std::fs::remove_dir_all(path).unwrap();
}

fn insert(batch: &mut Batch, number: u64) {
    let value = (0..3).flat_map(|part| id(number * 3 + part)).collect();
    batch.put(ENTRIES, &id(number), value);
    batch.put(QUEUE, &due(number), Vec::new());
}

fn id(number: u64) -> [u8; 16] {
    xxh3_128(&number.to_le_bytes()).to_be_bytes()
}

fn due(number: u64) -> Vec<u8> {
    [&(number / RATE).to_be_bytes()[..], &id(number)].concat()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64 / 8).flat_map(|place| xxh3_64(&[seed.to_le_bytes(), place.to_le_bytes()].concat()).to_le_bytes()).collect()
}

/// Bytes of the blocks of all files, and of the journals among them.
fn on_disk(path: &Path) -> [u64; 2] {
    use std::os::unix::fs::MetadataExt as _;
    let mut sums = [0, 0];
    // What goes away meanwhile takes nothing.
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            let [all, journals] = on_disk(&entry.path());
            sums = [sums[0] + all, sums[1] + journals];
        } else {
            sums[0] += about.blocks() * 512;
            sums[1] += if entry.path().extension().is_some_and(|end| end == "jnl") { about.blocks() * 512 } else { 0 };
        }
    }
    sums
}

/// The most memory this process has held, in KiB.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
