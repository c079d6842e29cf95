//! The configuration after all checks: typed, complete, with every default in its place.
//!
//! What is an option here is one in the world (a mail server or none), never "not said". Paths are absolute or relative
//! to the working directory; secrets cannot be printed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use crate::baseline::Season;
use crate::engine::comparison::Comparison;
use crate::engine::evidence::{Evidence, FalseAlarms};
use crate::engine::measure::Recipe;
use crate::event::decode::{Selector, TsUnit};
use crate::event::{Metric, Span, Timestamp};
use crate::source::kafka::GroupProtocol;
use crate::stats::sequential;

/// What the configuration is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `run` and `check`: Kafka must be there.
    Run,
    /// `baseline` and `replay`: models are enough.
    Offline,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the events come from; without servers and topics where there was no such section.
    pub kafka: Kafka,
    /// How a record is read.
    pub event: Event,
    /// The models in the order of the file, at least one, names unique.
    pub models: Vec<Model>,
    /// Where the state lives.
    pub state: State,
    /// Bounds.
    pub limits: Limits,
    /// Where measurements go.
    pub telemetry: Telemetry,
    /// The HTTP server.
    pub http: Http,
    /// How messages leave.
    pub notify: Notify,
    /// Globs of the rule files.
    pub rules: Vec<String>,
}

/// Where the events come from.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Brokers to begin with, `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Consumer group.
    pub group_id: String,
    /// Name of this member, for static membership.
    pub instance_id: Option<String>,
    /// How the group agrees on who reads what.
    pub group_protocol: GroupProtocol,
    /// Topics of prediction events.
    pub predictions: Vec<String>,
    /// Topics of feature events.
    pub features: Vec<String>,
    /// Topics of label events.
    pub labels: Vec<String>,
    /// Where to begin without checkpoint and commit.
    pub start: Start,
    /// How long a partition at its end holds windows open without a new record.
    pub idle_timeout: Span,
    /// Where rejected records go, if anywhere.
    pub dead_letters: Option<DeadLetters>,
    /// Settings of librdkafka; any of them may be a secret.
    pub librdkafka: BTreeMap<String, SecretString>,
}

/// Where rejected records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// The topic, none of those that are read.
    pub topic: String,
    /// Most letters a second for each reason, at least 1.
    pub rate: u32,
    /// Whether reading waits for letters that cannot be delivered; they are given up otherwise.
    pub block: bool,
}

/// Where reading begins without checkpoint and commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// After the newest record.
    Latest,
    /// At the first record of that time or later.
    At(Timestamp),
}

/// How a record is read.
#[derive(Clone, Debug)]
pub struct Event {
    /// Largest value of a record, in bytes.
    pub max_bytes: u64,
    /// How far an event's time may lie after its record's.
    pub future_tolerance: Span,
    /// Unit of a numeric `ts`.
    pub ts_unit: TsUnit,
    /// Where the parts are that the file places elsewhere than at the top under their own name, by the name of the part:
    /// `event`, `model`, `version`, `id`, `ts`, `features`, `prediction`, `score`, `probabilities`, `label`, `latency_ms`,
    /// `tags`, `weight`.
    pub selectors: BTreeMap<&'static str, Selector>,
}

/// One model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name, unique.
    pub name: Arc<str>,
    /// Its baselines.
    pub baselines: Baselines,
    /// What it does.
    pub task: Task,
    /// Which features are monitored.
    pub features: Features,
    /// Whether the features of an id are those of feature events rather than of prediction events.
    pub features_from_feature_events: bool,
    /// Its windows, at least one, names unique.
    pub windows: Vec<Window>,
    /// How far a record may lie behind its partition's watermark.
    pub lateness: Span,
    /// Fewest events on which anything is judged.
    pub min_samples: u64,
    /// Whether and how labels are joined.
    pub labels: Labels,
    /// Parts of the traffic that are measured by themselves.
    pub segments: Vec<SegmentBy>,
    /// The metrics to compute where the task and the types of the features allow.
    pub metrics: Vec<Metric>,
    /// Whether they were asked for by name.
    pub names_metrics: bool,
    /// Whose definitions they follow.
    pub recipe: Recipe,
    /// Sequential detectors, of each kind at most one.
    pub detectors: Vec<sequential::Settings>,
    /// By which hours a baseline keeps its rows apart.
    pub seasonal: Option<Season>,
    /// Those of many dimensions at once that the model asks for; each is among `metrics`, too.
    pub multivariate: Vec<Metric>,
    /// When a feature counts as drifted.
    pub drift: Drift,
    /// False alarms that are accepted.
    pub false_alarms: Option<FalseAlarms>,
    /// How p-values are made.
    pub evidence: Evidence,
}

impl Model {
    /// The length of a pane: the greatest common divisor of all slides and offsets.
    #[must_use]
    pub fn pane(&self) -> Span {
        pane(&self.windows)
    }
}

/// The greatest common divisor of the slides and offsets of some windows; zero for none.
pub(super) fn pane(windows: &[Window]) -> Span {
    fn gcd(a: i64, b: i64) -> i64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    Span(windows.iter().fold(0, |pane, window| gcd(gcd(pane, window.slide.0), window.offset.0)))
}

/// The baselines of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baselines {
    /// Files by version.
    pub versions: BTreeMap<String, PathBuf>,
    /// The file of every other version; without one these are not judged.
    pub default: Option<PathBuf>,
}

/// What a model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// One of two classes.
    Binary {
        /// Canonical text of the positive class.
        positive_class: Arc<str>,
        /// Score from which on it is predicted, 0 to 1.
        threshold: f64,
    },
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
    /// Not known: no performance.
    None,
}

/// Which features are monitored and as what.
#[derive(Clone, Debug)]
pub struct Features {
    /// Those that any of these match ...
    pub include: Vec<glob::Pattern>,
    /// ... and none of these.
    pub exclude: Vec<glob::Pattern>,
    /// Types that are not to be inferred.
    pub types: BTreeMap<String, FeatureType>,
    /// How much features matter to the model; for the baseline.
    pub importance: BTreeMap<String, f64>,
}

impl Features {
    /// Whether a feature of that name is monitored.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        let any = |patterns: &[glob::Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        any(&self.include) && !any(&self.exclude)
    }
}

/// Type of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureType {
    /// Numbers.
    Numeric,
    /// Levels; booleans are the levels `true` and `false`.
    Categorical,
    /// Arrays of numbers of one length.
    Embedding,
}

/// A sliding window: `[start, start + size)` for every start at a multiple of `slide` from the epoch plus `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name.
    pub name: Arc<str>,
    /// A positive multiple of `slide`.
    pub size: Span,
    /// Positive.
    pub slide: Span,
    /// At least zero, less than `slide`.
    pub offset: Span,
    /// What its events are compared with, and how long it may become.
    pub comparison: Comparison,
}

/// Whether labels are joined to predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// They are, within this time from the prediction.
    Joined {
        /// Longest time from a prediction to its label.
        horizon: Span,
    },
    /// They are not: no performance.
    Ignored,
}

/// Parts of the traffic by the values of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentBy {
    /// Names of the tags, sorted.
    pub tags: Vec<Arc<str>>,
    /// Most values that are measured by themselves.
    pub limit: usize,
    /// Which these are.
    pub admitted: Admitted,
}

/// Which values of a segment are measured by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Those of the baseline, by their share.
    OfBaseline,
    /// These, by their canonical text.
    Listed(Vec<Arc<str>>),
}

/// When a feature counts as drifted: effect and evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// The metric of the effect.
    pub metric: Metric,
    /// From this effect on ...
    pub above: f64,
    /// ... with an adjusted p-value below this.
    pub p_adjusted: f64,
}

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Directory of the store.
    pub path: PathBuf,
    /// Time between two checkpoints.
    pub checkpoint_interval: Span,
    /// How several replicas share the state, where they do.
    pub cluster: Option<Cluster>,
}

/// State that several replicas share in two topics of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Topic of what replicas counted.
    pub panes: String,
    /// Topic of what was decided of each model.
    pub owners: String,
    /// Partitions of both, where they are made.
    pub partitions: i32,
    /// Copies of both, where they are made; none: as many as is good with the brokers there are.
    pub replication: Option<i32>,
}

/// Bounds on what driftline may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory for panes and queues, in bytes.
    pub memory: u64,
    /// Disk for the state directory, in bytes.
    pub disk: u64,
    /// Shards of the counting work.
    pub workers: Workers,
}

/// Number of shards of the counting work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One a core.
    Auto,
    /// So many, at least one.
    Count(usize),
}

/// Where measurements go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Base URL of the OTLP receiver, if any.
    pub otlp_endpoint: Option<String>,
    /// Whether `/metrics` is served.
    pub prometheus: bool,
    /// Most exported series.
    pub max_series: usize,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// File of the bearer token, if any.
    pub token_file: Option<PathBuf>,
    /// Whether reading is open beyond loopback.
    pub open_reads: bool,
}

/// How messages leave.
#[derive(Clone, Debug)]
pub struct Notify {
    /// The mail server, if any.
    pub smtp: Option<Smtp>,
    /// Older notifications are sent as one digest.
    pub max_age: Span,
}

/// The mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// `smtp://` or `smtps://` with user, host and port; may hold a password.
    pub url: SecretString,
    /// Password of the user, where it is not in the URL.
    pub password: Option<SecretString>,
    /// Address of the sender.
    pub from: String,
    /// PEM file of certificates to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether mail may go without TLS.
    pub allow_plaintext: bool,
}
