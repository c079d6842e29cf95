//! The plain parts of the read model: the agent's state, its models and the histograms, as the API gives them.
//!
//! Data only. The app fills them; nothing here computes or looks anything up.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::Timestamp;

/// One named condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Short name, like `kafka_assignment`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What is being waited for, or what was found.
    pub detail: String,
}

impl Check {
    /// A condition with its name, state and a sentence about it.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Check { name: name.into(), ok, detail: detail.into() }
    }
}

/// The agent as a whole. Always: `received` = the sum of `outcomes` + `waiting`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StatusView {
    /// Version of the program.
    pub version: String,
    /// Wall time of the start.
    pub started_at: TextTime,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Events received.
    pub received: u64,
    /// Events that wait for their other half.
    pub waiting: u64,
    /// Events by outcome: `counted`, `late`, `duplicate`, `unmatched_label`, `rejected`, `shed`.
    pub outcomes: BTreeMap<String, u64>,
    /// Rejected events by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Events a second, lately.
    pub records_per_second: f64,
    /// The clock that closes windows.
    pub event_time: Option<TextTime>,
    /// The same by topic.
    pub topics: Vec<TopicView>,
    /// Positions by topic and partition.
    pub partitions: Vec<PartitionView>,
    /// Feature values under names that the baselines do not know.
    pub unknown_feature: u64,
    /// Events that took their time from the record.
    pub timestamp_fallback: u64,
    /// Events with the bare tokens NaN or Infinity.
    pub nonstandard_json: u64,
    /// Rejected records that are sent on, where they are.
    pub dead_letters: Option<DeadLettersView>,
    /// Events that count under the segment `other`.
    pub other_segment: u64,
    /// What is kept for the join of labels.
    pub ledger: LedgerView,
    /// Resident memory in bytes, where the system tells.
    pub memory_bytes: Option<u64>,
    /// The last reload.
    pub last_reload: Option<ReloadView>,
}

/// What the ledgers of labels hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerView {
    /// Labels that wait for their prediction or for its clock.
    pub labels: u64,
    /// Predictions kept for a label or a corrected one.
    pub predictions: u64,
    /// Predictions that were counted but not kept, because a ledger was full: their labels find nothing.
    pub refused: u64,
}

/// Rejected records that are sent on to a topic, since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeadLettersView {
    /// The topic.
    pub topic: String,
    /// `drop` or `block`.
    pub on_failure: String,
    /// Letters that were acknowledged, by reason.
    pub sent: BTreeMap<String, u64>,
    /// Letters that were above the rate or part of a flood, by reason.
    pub suppressed: BTreeMap<String, u64>,
    /// Letters that could not be delivered, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Letters on their way.
    pub waiting: u64,
    /// Whether reading waits for them.
    pub blocked: bool,
    /// Why the last letter that was not delivered was not; none once one is delivered again.
    pub error: Option<String>,
}

/// What came in by one topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopicView {
    /// Name of the topic.
    pub topic: String,
    /// `predictions`, `features` or `labels`.
    pub role: String,
    /// Events received.
    pub received: u64,
    /// Events that wait.
    pub waiting: u64,
    /// Events by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Rejected events by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// Where one source partition stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartitionView {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset of the next record to read.
    pub position: i64,
    /// Records behind the end of the partition, where the end is known.
    pub consumer_lag: Option<i64>,
    /// Greatest accepted event time.
    pub watermark: Option<TextTime>,
    /// Whether it holds no window back because nothing comes.
    pub idle: bool,
}

/// How the last reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReloadView {
    /// Whether it was applied.
    pub successful: bool,
    /// Wall time.
    pub at: TextTime,
    /// What has changed, or why nothing has.
    pub detail: String,
}

/// A monitored model as configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelView {
    /// Model name.
    pub name: String,
    /// `binary`, `multiclass`, `regression` or `none`.
    pub task: String,
    /// Versions seen or configured.
    pub versions: Vec<String>,
    /// Whether labels are joined.
    pub labels: bool,
    /// Least number of events of a verdict.
    pub min_samples: u64,
    /// Baselines in use, one a version or one for all.
    pub baselines: Vec<BaselineView>,
    /// Windows as configured.
    pub windows: Vec<WindowView>,
    /// Features that are monitored.
    pub features: Vec<FeatureView>,
    /// PSI at which the console colours a score: noticeable, high. Empty takes 0.1 and 0.25.
    pub psi_thresholds: Vec<f64>,
}

/// A baseline in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BaselineView {
    /// The version it serves; `None` for all.
    pub version: Option<String>,
    /// Where it comes from.
    pub source: String,
    /// Rows behind it.
    pub rows: u64,
    /// Wall time of its making, where the file says.
    pub created_at: Option<String>,
    /// Hash of its bin layout.
    pub layout: String,
    /// Metric of the reference data by name, where it has labels.
    pub performance: BTreeMap<String, f64>,
}

/// A window as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WindowView {
    /// Name in the configuration.
    pub name: String,
    /// Length, as a duration: `1h`.
    pub size: String,
    /// Step, as a duration.
    pub slide: String,
}

/// A monitored feature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeatureView {
    /// Its name.
    pub name: String,
    /// `numeric`, `categorical` or another type of the baseline.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Baseline against current, by display bins: shares that sum to 1 each, as long as the labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// Text of each bin: a range or a level.
    pub labels: Vec<String>,
    /// Share of the baseline in each bin.
    pub baseline: Vec<f64>,
    /// Share of the window in each bin.
    pub current: Vec<f64>,
    /// Events behind `current`.
    pub n: u64,
}

/// An instant that serialises as RFC 3339 with milliseconds and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextTime(pub Timestamp);

impl From<Timestamp> for TextTime {
    fn from(instant: Timestamp) -> Self {
        TextTime(instant)
    }
}

impl Serialize for TextTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
