//! How the disk of the state directory is shared out, what a configuration will need of it before it runs, and whether there
//! is room for it when it does.
//!
//! What waits for labels is by far the most, and the only thing that is refused when there is no room: its bound follows from
//! `limits.disk`. The rest follows from models and windows and is small beside it.

use std::fmt;
use std::path::Path;

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::footprint::{Load, Part, footprint};

use super::memory::{Need, size};
use super::said;

/// Bytes that one prediction takes on disk until its horizon has passed, measured: see docs/state.md.
const LEDGER_STORED_BYTES: u64 = 180;
/// The windows that have been said, in two files.
const SAID_BYTES: u64 = 2 * said::MAX_BYTES;
/// The part of `limits.disk` for the journal of the store, which its tables overtake sooner or later.
const JOURNAL_SHARE: u64 = 4;
/// Most of that: the store moves changes into tables when its journal is so long.
const MOST_JOURNAL_BYTES: u64 = 512 << 20;
/// Least of that: a journal is only given up when it is 64 MB long, and the next one has begun by then.
const LEAST_JOURNAL_BYTES: u64 = 96 << 20;
/// Of what journal and windows leave, ledgers have two parts of three. The third is for panes, and for tables that are written
/// anew before the old ones are deleted.
const LEDGER_PARTS: u64 = 2;
/// See [`LEDGER_PARTS`].
const PARTS: u64 = 3;
/// A pane that is counted into is stored packed: a byte or two of the eight of a count. Measured from 7.2 to 7.5.
const PACKED_SHARE: u64 = 7;

/// What the journal of the store may take.
fn journal_bytes(limit: u64) -> u64 {
    (limit / JOURNAL_SHARE).clamp(LEAST_JOURNAL_BYTES, MOST_JOURNAL_BYTES)
}

/// What is left when journal and windows have theirs.
fn left(limit: u64) -> u64 {
    limit.saturating_sub(journal_bytes(limit) + SAID_BYTES)
}

/// How many predictions the ledgers of all models hold on disk together.
#[must_use]
pub fn ledger_entries(limit: u64) -> u64 {
    left(limit) / PARTS * LEDGER_PARTS / LEDGER_STORED_BYTES
}

/// What a configuration needs on disk, displayed as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskReport {
    /// What was assumed: events a second over all models, and partitions.
    pub load: (f64, u64),
    /// By purpose.
    pub needs: Vec<Need>,
    /// How many predictions wait for labels in the end, and how many fit.
    pub predictions: (u64, u64),
    /// The setting `limits.disk`.
    pub limit: u64,
}

impl DiskReport {
    /// What a configuration needs for so many prediction events a second from so many partitions, spread over its models; none
    /// where it keeps nothing on disk.
    #[must_use]
    pub fn new(config: &Config, plan: &Plan, events_per_second: f64, partitions: u64) -> Option<DiskReport> {
        let is_local = config.state.cluster.is_none();
        if !is_local && !has_labels(plan) {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let load = Load { events_per_second: events_per_second / plan.models.len().max(1) as f64, partitions };
        // What is refused is what does not fit, so all are reckoned that come. Panes lie on disk as they would in memory.
        let all = plan.models.iter().map(|model| footprint(model, &load, usize::MAX, false));
        let [mut predictions, mut sealed, mut joined, mut open] = [Part::default(); 4];
        for of in all {
            predictions.add(of.ledger);
            sealed.add(of.sealed);
            joined.add(of.joined);
            open.add(Part { count: of.open.count, bytes: of.open.bytes / PACKED_SHARE });
        }
        let ledger = predictions.count.saturating_mul(LEDGER_STORED_BYTES);
        let panes = if is_local { open.bytes + sealed.bytes + joined.bytes } else { 0 };
        let limit = config.limits.disk;
        let of = |what, Part { count, bytes }, detail| Need { what, count: Some(count), bytes, detail };
        let fixed = |what, bytes, detail| Need { what, count: None, bytes, detail };
        let mut needs = vec![of("ledger", Part { bytes: ledger, ..predictions }, "predictions until the horizon of their labels")];
        if is_local {
            needs.push(of("open panes", open, "accept records, by partition; packed"));
            needs.push(of("sealed panes", sealed, "added up as windows close"));
            needs.push(of("joined panes", joined, "of predictions with labels"));
        }
        needs.push(fixed("merging", ledger.saturating_add(panes) / LEDGER_PARTS, "tables that are written anew beside the old ones"));
        needs.push(fixed("journal", journal_bytes(limit), "of the store, at its longest"));
        needs.push(fixed("said windows", SAID_BYTES, "for the next process"));
        Some(DiskReport {
            load: (events_per_second, partitions),
            needs: needs.into_iter().filter(|need| need.bytes > 0).collect(),
            predictions: (predictions.count, ledger_entries(limit)),
            limit,
        })
    }

    /// What is needed in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.needs.iter().fold(0, |sum, need| sum.saturating_add(need.bytes))
    }

    fn load(&self) -> String {
        let (rate, partitions) = self.load;
        format!("{rate} events/s from {partitions} partition{}", if partitions == 1 { "" } else { "s" })
    }

    /// What is wrong, where it does not fit into the limit.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (come, fit) = self.predictions;
        if come <= fit && self.bytes() <= self.limit {
            return None;
        }
        let needed =
            format!("needs about {} on disk for {}, more than limits.disk of {}", size(self.bytes()), self.load(), size(self.limit));
        let refused = format!(
            "; {fit} of {come} predictions fit while they wait for labels, and further ones get none: raise limits.disk or shorten labels.horizon"
        );
        Some(if come > fit { needed + &refused } else { needed })
    }
}

impl fmt::Display for DiskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk for {} (--rate, --partitions):", self.load())?;
        for Need { what, count, bytes, detail } in &self.needs {
            let count = count.map_or(String::new(), |count| count.to_string());
            writeln!(f, "  {what:16} {count:>9} {:>12}  {detail}", size(*bytes))?;
        }
        writeln!(f, "  {:16} {:9} {:>12}  of {} (limits.disk)", "all", "", size(self.bytes()), size(self.limit))
    }
}

fn has_labels(plan: &Plan) -> bool {
    plan.models.iter().any(|model| model.horizon.is_some())
}

/// Looks whether the file system of the state directory has the room that the state may take, before anything is opened there.
/// The log warns where it has not; a disk that is full ends the process later.
pub(super) fn look(config: &Config, plan: &Plan) {
    let path = &config.state.path;
    // Without labels little is kept; how little depends on the stream.
    let most = if has_labels(plan) { config.limits.disk } else { journal_bytes(config.limits.disk) + SAID_BYTES };
    let Some(free) = free_bytes(path) else { return };
    if let Some(warning) = shortage(most, taken_bytes(path), free) {
        tracing::warn!(path = %path.display(), "{warning}");
    }
}

/// What is wrong where `free` bytes are there for what grows to `most` and has `taken` some already.
fn shortage(most: u64, taken: u64, free: u64) -> Option<String> {
    let wanted = most.saturating_sub(taken);
    (free < wanted).then(|| {
        format!(
            "the state may take {} more on disk, and {} are free; a full disk ends the agent: set limits.disk to what there is, or make room",
            size(wanted),
            size(free)
        )
    })
}

/// What anybody may still write to the file system that a path is on, or will be on; `None` where nobody can tell.
fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    let about = rustix::fs::statvfs(there).ok()?;
    about.f_bavail.checked_mul(about.f_frsize)
}

/// Bytes of the files below a path.
fn taken_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => taken_bytes(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ledgers_have_two_thirds_of_what_journal_and_windows_leave() {
        // 8 GiB: half a GiB of journal, 32 MiB of windows.
        assert_eq!(ledger_entries(8 << 30), (8_192 - 512 - 32) * MIB / 3 * 2 / 180);
        // What the chart sets for its volumes: 2Gi, 1Gi, 256Mi, less an eighth.
        assert_eq!(ledger_entries(1_792 * MIB), (1_792 - 448 - 32) * MIB / 3 * 2 / 180);
        assert_eq!(ledger_entries(896 * MIB), (896 - 224 - 32) * MIB / 3 * 2 / 180);
        assert_eq!(ledger_entries(224 * MIB), (224 - 96 - 32) * MIB / 3 * 2 / 180);
        assert_eq!(ledger_entries(100 * MIB), 0);
        // A full ledger with its merging, the journal and the windows are never more than the limit.
        for limit in [192 * MIB, 896 * MIB, 8 << 30, 100 << 30] {
            let ledger = ledger_entries(limit) * LEDGER_STORED_BYTES;
            assert!(ledger + ledger / LEDGER_PARTS + journal_bytes(limit) + SAID_BYTES <= limit, "{limit}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_with_how_many_predictions_do() {
        let need = |what, bytes| Need { what, count: Some(9_000), bytes, detail: "x" };
        let mut report = DiskReport {
            load: (1_000.0, 1),
            needs: vec![need("ledger", 300 * MIB), need("journal", 96 * MIB)],
            predictions: (9_000, 9_000),
            limit: 396 * MIB,
        };
        assert_eq!(report.warning(), None);
        report.limit -= 1;
        let warning = report.warning().unwrap_or_default();
        assert!(
            warning.contains("396.0 MiB on disk for 1000 events/s from 1 partition, more than limits.disk") && !warning.contains("refused")
        );
        assert!(!warning.contains("fit while"), "{warning}");
        report.predictions.1 = 8_999;
        let warning = report.warning().unwrap_or_default();
        assert!(warning.contains("; 8999 of 9000 predictions fit while they wait for labels"), "{warning}");
        let table = report.to_string();
        assert!(table.contains("  ledger                9000    300.0 MiB  x\n"), "{table}");
        assert!(table.ends_with("  of 396.0 MiB (limits.disk)\n"), "{table}");
    }

    #[test]
    fn what_is_there_already_needs_no_room() {
        assert_eq!(shortage(100 * MIB, 0, 100 * MIB), None);
        assert_eq!(shortage(100 * MIB, 30 * MIB, 70 * MIB), None);
        let warning = shortage(100 * MIB, 30 * MIB, 69 * MIB).unwrap_or_default();
        assert!(warning.contains("may take 70.0 MiB more on disk, and 69.0 MiB are free"), "{warning}");
        assert_eq!(shortage(100 * MIB, 130 * MIB, 0), None);
    }

    #[test]
    fn room_is_told_of_a_directory_that_is_yet_to_be_made_and_files_are_added_up() {
        let path = std::env::temp_dir().join(format!("driftline-disk-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        assert!(free_bytes(&path.join("a/b")).is_some_and(|free| free > 0));
        assert_eq!(taken_bytes(&path), 0);
        std::fs::create_dir_all(path.join("a")).unwrap();
        std::fs::write(path.join("one"), [0; 10]).unwrap();
        std::fs::write(path.join("a/two"), [0; 7]).unwrap();
        assert_eq!(taken_bytes(&path), 17);
        std::fs::remove_dir_all(path).unwrap();
    }
}
