//! How much memory the process uses, and how much a configuration will need before it runs.

use std::fmt;

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::footprint::{Footprint, Load, Part, footprint};

use super::{run, worker};

/// What the process takes without any model: code, runtime, Kafka client. Measured.
const PROCESS_BYTES: u64 = 32 << 20;
/// What the console shows at most: measurements, histograms, events.
const CONSOLE_BYTES: u64 = 40 << 20;
/// A batch of records with their heads.
const BATCH_BYTES: u64 = 256 << 10;
/// Batches of a worker: those that wait, as many empty ones twice, and the one that is being filled.
const BATCHES: u64 = 3 * worker::QUEUE as u64 + 1;
/// A series that is exported, with its names, in two exporters.
const SERIES_BYTES: u64 = 2 << 10;
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
    /// Bytes.
    pub bytes: u64,
    /// How the bytes come about.
    pub detail: String,
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
}

impl MemoryReport {
    /// What a configuration needs for so many prediction events a second from so many partitions, spread over its models.
    #[must_use]
    pub fn new(config: &Config, plan: &Plan, events_per_second: f64, partitions: u64) -> MemoryReport {
        #[allow(clippy::cast_precision_loss)]
        let load = Load { events_per_second: events_per_second / plan.models.len().max(1) as f64, partitions };
        let of_models: Vec<Footprint> = plan.models.iter().map(|model| footprint(model, &load, plan.ledger_capacity)).collect();
        let sum = |part: fn(&Footprint) -> Part| {
            of_models.iter().fold(Part::default(), |mut sum, of| {
                sum.add(part(of));
                sum
            })
        };
        let of = |what, part: fn(&Footprint) -> Part, unit: &str| {
            let Part { count, bytes } = sum(part);
            Need { what, bytes, detail: format!("{count} {unit}") }
        };
        let fixed = |what, bytes, detail: String| Need { what, bytes, detail };
        let workers = run::worker_count(config) as u64;
        let needs = vec![
            of("baselines", |of| of.baselines, "baselines"),
            of("open panes", |of| of.open, "panes that accept records, by partition"),
            of("sealed panes", |of| of.sealed, "panes, added up as windows close"),
            of("joined panes", |of| of.joined, "panes of predictions with labels"),
            of("waiting windows", |of| of.waiting, "windows until their labels' horizon"),
            of("ledger", |of| of.ledger, "predictions until their label or its horizon"),
            of("closing windows", |of| of.closing, "windows measured at the same moment"),
            fixed("fetched ahead", run::fetch_ahead_bytes(config), "by the Kafka client; an eighth of the limit".to_owned()),
            fixed("queues", workers * BATCHES * BATCH_BYTES, format!("of {workers} workers")),
            fixed("console", CONSOLE_BYTES, "what can be looked at".to_owned()),
            fixed("series", config.telemetry.max_series as u64 * SERIES_BYTES, "telemetry.max_series".to_owned()),
            fixed("process", PROCESS_BYTES, "without any model".to_owned()),
        ];
        let mut models: Vec<(String, u64)> =
            plan.models.iter().zip(&of_models).map(|(model, of)| (model.name.to_string(), of.bytes())).collect();
        models.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        models.truncate(NAMED);
        MemoryReport {
            load: (events_per_second, partitions),
            needs: needs.into_iter().filter(|need| need.bytes > 0).collect(),
            models,
            limit: config.limits.memory,
        }
    }

    /// What is needed in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.needs.iter().map(|need| need.bytes).sum()
    }

    /// What is wrong, where it does not fit into the limit.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let most = self.needs.iter().max_by_key(|need| need.bytes)?;
        (self.bytes() > self.limit).then(|| {
            format!(
                "needs about {} for {} events/s from {} partitions, more than limits.memory of {}; most goes to the {}",
                size(self.bytes()),
                self.load.0,
                self.load.1,
                size(self.limit),
                most.what
            )
        })
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory for {} events/s from {} partitions (--rate, --partitions):", self.load.0, self.load.1)?;
        for Need { what, bytes, detail } in &self.needs {
            writeln!(f, "  {what:16} {:>10}  {detail}", size(*bytes))?;
        }
        writeln!(f, "  {:16} {:>10}  of {} (limits.memory)", "all", size(self.bytes()), size(self.limit))?;
        let models: Vec<String> = self.models.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
        writeln!(f, "  largest models: {}", models.join(", "))
    }
}

/// Mebibytes with one decimal.
fn size(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_with_what_takes_most() {
        let need = |what, bytes| Need { what, bytes, detail: "x".to_owned() };
        let mut report = MemoryReport {
            load: (1_000.0, 6),
            needs: vec![need("open panes", 3 << 20), need("ledger", 5 << 20)],
            models: vec![("loan".to_owned(), 8 << 20)],
            limit: 8 << 20,
        };
        assert_eq!(report.warning(), None);
        report.limit -= 1;
        let warning = report.warning().unwrap_or_default();
        assert!(warning.contains("8.0 MiB") && warning.ends_with("; most goes to the ledger"), "{warning}");
        let table = report.to_string();
        assert!(table.contains("  open panes          3.0 MiB  x\n") && table.contains("largest models: loan 8.0 MiB"), "{table}");
    }
}
