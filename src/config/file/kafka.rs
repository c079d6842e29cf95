//! The section `kafka` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, OneOrMany, Plain};

/// Where the events come from.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSection {
    /// Brokers to begin with: a list of `host:port`, or one text with commas.
    pub bootstrap_servers: Option<OneOrMany>,
    /// Consumer group. Default: driftline.
    #[schemars(extend("default" = "driftline"))]
    pub group_id: Option<String>,
    /// Name of this member of the group, for static membership: a member that restarts takes its partitions back, and nobody
    /// else gets them meanwhile. Must be another one for each replica; in a StatefulSet the name of the pod. Default: none.
    pub instance_id: Option<String>,
    /// How the members of the group agree on who reads what: `classic`, or `consumer` for the protocol of KIP-848, which
    /// brokers have from 4.0 on. All members of a group should have the same. Default: classic.
    #[schemars(extend("default" = "classic", "enum" = ["classic", "consumer"]))]
    pub group_protocol: Option<String>,
    /// The topics to read, by what they carry.
    pub topics: Option<TopicsSection>,
    /// Where to begin where there is neither a checkpoint nor a commit: `earliest`, `latest`, or an RFC 3339 time.
    /// Default: earliest.
    #[schemars(extend("default" = "earliest", "examples" = ["earliest", "latest", "2026-11-22T00:00:00Z"]))]
    pub start: Option<String>,
    /// How long a partition that has been read to its end holds windows open without a new record. Default: 30s.
    #[schemars(extend("default" = "30s"))]
    pub idle_timeout: Option<DurationText>,
    /// A topic for records that cannot be read as events. Default: none, they are counted.
    pub dead_letters: Option<DeadLettersSection>,
    /// Any setting of librdkafka by its own name, as `security.protocol` or `sasl.password`. Those that driftline sets
    /// itself are refused.
    pub librdkafka: Option<BTreeMap<String, Plain>>,
}

/// Topics by what their events are where the events do not say so themselves.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicsSection {
    /// Topics of prediction events.
    pub predictions: Option<OneOrMany>,
    /// Topics of feature events.
    pub features: Option<OneOrMany>,
    /// Topics of label events.
    pub labels: Option<OneOrMany>,
}

/// Rejected records go, as they are and with headers that say what is wrong, to a topic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersSection {
    /// The topic; none of those that are read.
    pub topic: String,
    /// Most letters a second for each reason; ten times as many may come at once. Default: 10.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 10))]
    pub rate: Option<u64>,
    /// What happens where letters cannot be delivered. Default: drop.
    #[schemars(extend("default" = "drop"))]
    pub on_failure: Option<OnFailureName>,
}

/// What happens where letters cannot be delivered.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnFailureName {
    /// They are given up after some seconds, and counted.
    Drop,
    /// Reading waits, and with it everything else.
    Block,
}
