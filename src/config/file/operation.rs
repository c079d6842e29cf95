//! The sections `state`, `limits`, `telemetry`, `http` and `notify` as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, SizeText};

/// Where driftline keeps what it must not forget.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateSection {
    /// Directory of the store. Default: ./state.
    #[schemars(extend("default" = "./state"))]
    pub path: Option<String>,
    /// local: in the directory; cluster: in Kafka, shared by several replicas. Default: local.
    #[schemars(extend("default" = "local"))]
    pub mode: Option<StateMode>,
    /// Time between two checkpoints; what came after the last one is read again after a crash. Default: 5s.
    #[schemars(extend("default" = "5s"))]
    pub checkpoint_interval: Option<DurationText>,
    /// Names of the topics that replicas share. Only with mode: cluster.
    pub topics: Option<StateTopics>,
    /// Partitions of these topics where driftline makes them: so many replicas can evaluate models. Default: 8.
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: Option<u64>,
    /// Copies of these topics where driftline makes them. Default: 3, or the number of brokers where there are fewer.
    #[schemars(range(min = 1, max = 100))]
    pub replication: Option<u64>,
}

/// The topics that replicas share.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateTopics {
    /// What replicas counted. Default: the name of the consumer group and `.panes`.
    pub panes: Option<String>,
    /// What was decided of each model. Default: the name of the consumer group and `.owners`.
    pub owners: Option<String>,
}

/// Where the state lives.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateMode {
    /// In a directory of this machine.
    Local,
    /// In topics of Kafka.
    Cluster,
}

/// Bounds on what driftline may use.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// Memory for panes and queues. Default: 512MiB.
    #[schemars(extend("default" = "512MiB"))]
    pub memory: Option<SizeText>,
    /// Disk for the state directory in all; predictions that wait for labels take what the rest leaves. Default: 8GiB.
    #[schemars(extend("default" = "8GiB"))]
    pub disk: Option<SizeText>,
    /// Shards of the counting work; any number gives the same results. Default: auto, one a core.
    #[schemars(extend("default" = "auto"))]
    pub workers: Option<WorkersText>,
}

/// `auto` or a number.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline, extend("x-driftline-expected" = "auto or a number of workers"))]
pub enum WorkersText {
    /// So many.
    Count(u64),
    /// One a core.
    Auto(Auto),
}

/// `auto`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum Auto {
    Auto,
}

/// Where measurements go.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// Export by OTLP. Default: none.
    pub otlp: Option<OtlpSection>,
    /// Whether `/metrics` is served. Default: true.
    #[schemars(extend("default" = true))]
    pub prometheus: Option<bool>,
    /// Most exported series; the rest is only in the log events. Default: 5000.
    #[schemars(range(min = 1), extend("default" = 5000))]
    pub max_series: Option<u64>,
}

/// Export by OTLP.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSection {
    /// Base URL of the receiver, http or https; `/v1/metrics` and so on are added.
    #[schemars(extend("examples" = ["http://localhost:4318"]))]
    pub endpoint: String,
}

/// The console, the API and the metrics.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSection {
    /// Address to listen on. Default: 127.0.0.1:9464.
    #[schemars(extend("default" = "127.0.0.1:9464"))]
    pub listen: Option<String>,
    /// File of the bearer token that changes of state want, and everything beyond loopback.
    pub token_file: Option<String>,
    /// Whether reading is open beyond loopback as well. Default: false.
    #[schemars(extend("default" = false))]
    pub open_reads: Option<bool>,
}

/// How messages leave.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    /// The mail server. Needed where a receiver sends mail.
    pub smtp: Option<SmtpSection>,
    /// Notifications older than this, against the newest event, are sent as one digest. Default: 1h.
    #[schemars(extend("default" = "1h"))]
    pub max_age: Option<DurationText>,
}

/// The mail server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmtpSection {
    /// `smtps://user@host:465` (TLS from the start) or `smtp://user@host:587` (STARTTLS).
    #[schemars(extend("examples" = ["smtps://user@mail.example:465"]))]
    pub url: String,
    /// Password of the user.
    pub password: Option<String>,
    /// Address of the sender.
    pub from: String,
    /// PEM file of certificates to trust besides those of the system.
    pub ca_file: Option<String>,
    /// Whether `smtp://` may go without TLS where the server does not offer it. Default: false.
    #[schemars(extend("default" = false))]
    pub allow_plaintext: Option<bool>,
}
