//! How much memory the process uses, and how much a configuration will need before it runs.

use std::fmt;

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::cluster::footprint::{Footprint as InReplica, footprint as in_replica};
use crate::engine::footprint::{Footprint, Load, Part, footprint};
use crate::exchange::CHUNKS_BYTES;

use super::{exchange, run, worker};

/// What the process takes with one small model and nothing read: 26 MiB of its own, the rest code. Measured.
const PROCESS_BYTES: u64 = 56 << 20;
/// What the console shows at most: measurements, histograms, events.
const CONSOLE_BYTES: u64 = 40 << 20;
/// A batch of records with their heads.
const BATCH_BYTES: u64 = 256 << 10;
/// Batches of a worker: those that wait, as many empty ones twice, and the one that is being filled.
const BATCHES: u64 = 3 * worker::QUEUE as u64 + 1;
/// A series that is exported, with its names, in two exporters.
const SERIES_BYTES: u64 = 2 << 10;
/// Consumers of the exchange: what everybody said, what owners hear of panes, and their decisions.
const CONSUMERS: u64 = 3;
/// Snapshots that wait for the application, and those held back before it: see `exchange::owners`.
const HELD_ITEMS: u64 = 2 * 256;
/// Models named in a report: those that need most.
const NAMED: usize = 3;

/// Prediction events a second that are assumed where nothing is said.
pub const DEFAULT_RATE: f64 = 1_000.0;
/// Partitions of the prediction topics that are assumed where nothing is said.
pub const DEFAULT_PARTITIONS: u64 = 6;

/// Resident memory in bytes; `None` where there is no `/proc`.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What is needed for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The purpose.
    pub what: &'static str,
    /// How many things there are, where they are counted.
    pub count: Option<u64>,
    /// Bytes.
    pub bytes: u64,
    /// What they are.
    pub detail: &'static str,
}

/// What a configuration needs, displayed as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryReport {
    /// What was assumed: events a second over all models, and partitions.
    pub load: (f64, u64),
    /// By purpose.
    pub needs: Vec<Need>,
    /// The models that need most, with what they need.
    pub models: Vec<(String, u64)>,
    /// The setting `limits.memory`.
    pub limit: u64,
    /// Whether it is reckoned for a replica that reads all partitions and owns all models.
    pub is_of_replica: bool,
}

impl MemoryReport {
    /// What a configuration needs for so many prediction events a second from so many partitions, spread over its models.
    #[must_use]
    pub fn new(config: &Config, plan: &Plan, events_per_second: f64, partitions: u64) -> MemoryReport {
        #[allow(clippy::cast_precision_loss)]
        let load = Load { events_per_second: events_per_second / plan.models.len().max(1) as f64, partitions };
        // Replicas have no disk of their own to lay them on.
        let is_local = config.state.cluster.is_none();
        let of_models: Vec<Footprint> = plan.models.iter().map(|model| footprint(model, &load, plan.ledger_capacity, is_local)).collect();
        let sum = |part: fn(&Footprint) -> Part| {
            of_models.iter().fold(Part::default(), |mut sum, of| {
                sum.add(part(of));
                sum
            })
        };
        let of = |what, part: fn(&Footprint) -> Part, detail| {
            let Part { count, bytes } = sum(part);
            Need { what, count: Some(count), bytes, detail }
        };
        let fixed = |what, bytes, detail| Need { what, count: None, bytes, detail };
        let (workers, series) = (run::worker_count(config) as u64, config.telemetry.max_series as u64);
        let mut needs = vec![
            of("baselines", |of| of.baselines, "with their references"),
            of("open panes", |of| of.open, "accept records, by partition"),
            of("sealed panes", |of| of.sealed, "added up as windows close"),
            of(
                "joined panes",
                |of| of.joined,
                if is_local { "of predictions with labels; on disk but for their keys" } else { "of predictions with labels" },
            ),
            of("waiting windows", |of| of.waiting, "until the horizon of their labels"),
            of("ledger", |of| of.ledger, "predictions until their label or its horizon"),
            of("detectors", |of| of.detectors, "sequential; after ten years of five minutes"),
            of("closing windows", |of| of.closing, "measured at the same moment"),
            fixed("fetched ahead", run::fetch_ahead_bytes(config), "by the Kafka client; an eighth of the limit"),
            Need { count: Some(workers), ..fixed("queues", workers * BATCHES * BATCH_BYTES, "of the workers") },
            fixed("console", CONSOLE_BYTES, "what can be looked at"),
            Need { count: Some(series), ..fixed("series", series * SERIES_BYTES, "exported; telemetry.max_series") },
            fixed("process", PROCESS_BYTES, "before anything is read"),
        ];
        let in_replica: Vec<InReplica> = if is_local {
            Vec::new()
        } else {
            let retention = exchange::retention(plan);
            plan.models.iter().map(|model| in_replica(model, &load, retention)).collect()
        };
        if !is_local {
            let open = sum(|of| of.open).bytes;
            needs.extend(needs_of_replica(config, plan, &in_replica, open, partitions));
        }
        let own = |place: usize| {
            in_replica.get(place).map_or(0, |of| of.joins.bytes + of.directory.bytes + of.owned.bytes + of.taking_over.bytes)
        };
        let mut models: Vec<(String, u64)> = plan
            .models
            .iter()
            .zip(&of_models)
            .enumerate()
            .map(|(place, (model, of))| (model.name.to_string(), of.bytes() + own(place)))
            .collect();
        models.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        models.truncate(NAMED);
        MemoryReport {
            load: (events_per_second, partitions),
            needs: needs.into_iter().filter(|need| need.bytes > 0).collect(),
            models,
            limit: config.limits.memory,
            is_of_replica: !is_local,
        }
    }

    /// What is needed in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.needs.iter().map(|need| need.bytes).sum()
    }

    fn load(&self) -> String {
        let (rate, partitions) = self.load;
        format!("{rate} events/s from {partitions} partition{}", if partitions == 1 { "" } else { "s" })
    }

    /// What is wrong, where it does not fit into the limit.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let most = self.needs.iter().max_by_key(|need| need.bytes)?;
        (self.bytes() > self.limit).then(|| {
            format!(
                "needs about {} for {}, more than limits.memory of {}; most goes to the {}",
                size(self.bytes()),
                self.load(),
                size(self.limit),
                most.what
            )
        })
    }
}

/// What replicas need beside what a process needs that is alone.
fn needs_of_replica(config: &Config, plan: &Plan, models: &[InReplica], open: u64, partitions: u64) -> Vec<Need> {
    let sum = |part: fn(&InReplica) -> Part| {
        models.iter().fold(Part::default(), |mut sum, of| {
            sum.add(part(of));
            sum
        })
    };
    let of = |what, Part { count, bytes }: Part, detail| Need { what, count: Some(count), bytes, detail };
    let queue = exchange::queue_kib(config) * 1024;
    let record = models.iter().map(|of| of.record).max().unwrap_or(0);
    // What is said at once is there as it is handed over and as it is sent, however long the queue may be.
    let round: u64 = models.iter().map(|of| of.round).sum();
    let exchange = CONSUMERS * queue + HELD_ITEMS * record + round + round.max(queue);
    let mut needs = vec![
        of("joins", sum(|of| of.joins), "pairs by partition number, and those being said"),
        of("directory", sum(|of| of.directory), "what all replicas said last, to go on from"),
        of("owned panes", sum(|of| of.owned), "of all partitions, until they are sealed and joined"),
        of("taking over", sum(|of| of.taking_over), "older panes in the panes topic, until it is read to its end"),
        Need { what: "exchange", count: None, bytes: exchange, detail: "queues to and from the two topics" },
    ];
    if plan.models.iter().any(|model| model.horizon.is_some()) {
        // Each number has a consumer and a shard of its own, whose panes are counted and thrown away.
        let bytes = partitions * (queue + CHUNKS_BYTES) + open;
        needs.push(of("reading again", Part { count: partitions, bytes }, "predictions and labels, after a hand-over"));
    }
    needs
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory for {} (--rate, --partitions):", self.load())?;
        if self.is_of_replica {
            writeln!(f, "  of one replica that reads all partitions and owns all models, as when the others are gone")?;
        }
        for Need { what, count, bytes, detail } in &self.needs {
            let count = count.map_or(String::new(), |count| count.to_string());
            writeln!(f, "  {what:16} {count:>9} {:>12}  {detail}", size(*bytes))?;
        }
        writeln!(f, "  {:16} {:9} {:>12}  of {} (limits.memory)", "all", "", size(self.bytes()), size(self.limit))?;
        let models: Vec<String> = self.models.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
        writeln!(f, "  largest models: {}", models.join(", "))
    }
}

/// Mebibytes with one decimal.
pub(super) fn size(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_with_what_takes_most() {
        let need = |what, bytes| Need { what, count: Some(7), bytes, detail: "x" };
        let mut report = MemoryReport {
            load: (1_000.0, 6),
            needs: vec![need("open panes", 3 << 20), need("ledger", 5 << 20)],
            models: vec![("loan".to_owned(), 8 << 20)],
            limit: 8 << 20,
            is_of_replica: false,
        };
        assert_eq!(report.warning(), None);
        report.limit -= 1;
        let warning = report.warning().unwrap_or_default();
        assert!(warning.contains("8.0 MiB") && warning.ends_with("; most goes to the ledger"), "{warning}");
        let table = report.to_string();
        assert!(
            table.contains("  open panes               7      3.0 MiB  x\n") && table.contains("largest models: loan 8.0 MiB"),
            "{table}"
        );
    }
}
