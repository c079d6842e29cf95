//! What the consumer needs to know, and the librdkafka configuration made of it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::ExposeSecret as _;

use crate::engine::cluster::ResumedSource;
use crate::event::{Span, Timestamp, TopicRole};
use crate::kafka::Connection;

/// How long the group waits for a static member that has gone, in milliseconds: for as long as a process takes to be started
/// again elsewhere, its partitions are kept for it.
const STATIC_SESSION_MS: &str = "60000";
/// Properties of the classic protocol that the newer one leaves to the broker; librdkafka refuses to be given both.
pub const CLASSIC_ONLY: [&str; 4] = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"];
/// Properties that only a consumer has, by the beginning of their names: a producer would complain of each.
const OF_CONSUMERS: [&str; 17] = [
    "allow.auto.create.topics",
    "auto.",
    "check.crcs",
    "client.rack",
    "consume.",
    "coordinator.",
    "enable.auto.",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.",
    "max.partition.fetch.bytes",
    "max.poll.",
    "offset.",
    "partition.assignment.strategy",
    "queued.",
    "session.",
];
/// Properties on which it rests that a letter arrives once and is accounted for in time, under all of their names.
const OF_LETTERS: [&str; 12] = [
    "acks",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "queuing.strategy",
    "request.required.acks",
    "retries",
    "transactional.id",
];
/// What a letter may have beside the value, in bytes: the key and the headers.
const BESIDE_THE_VALUE: usize = 256 * 1024;
/// The largest record that librdkafka can be told to send, in bytes.
const LARGEST_RECORD: usize = 1_000_000_000;

/// A topic and what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name of the topic.
    pub name: String,
    /// What its records are where they do not say so.
    pub role: TopicRole,
}

/// Where reading begins in a partition for which there is neither a checkpoint nor a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record.
    Earliest,
    /// The records that come from now on.
    Latest,
    /// The first record at or after an instant.
    At(Timestamp),
}

/// How members of the group agree on who reads what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members agree among themselves; cooperative-sticky.
    #[default]
    Classic,
    /// The broker tells each member (KIP-848, brokers from 4.0 on).
    Consumer,
}

/// Tells where to go on with partitions that other replicas have read, given by topic and partition. It may wait for what
/// they said last.
#[derive(Clone)]
pub struct Resume(pub Arc<ResumeHook>);

/// See [`Resume`].
pub type ResumeHook = dyn Fn(&[(String, i32)]) -> Vec<Option<ResumedSource>> + Send + Sync;

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resume")
    }
}

/// Settings of the consumer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The brokers, and who to be there.
    pub connection: Connection,
    /// Consumer group.
    pub group_id: String,
    /// Name of a static member, whose partitions wait for it while it restarts.
    pub instance_id: Option<String>,
    /// How the group agrees.
    pub protocol: GroupProtocol,
    /// Topics to read.
    pub topics: Vec<Topic>,
    /// Where to begin.
    pub start: StartAt,
    /// How much time before the committed position is read again when there is no checkpoint: the longest window.
    pub look_back: Span,
    /// Records with a longer value are not copied, only counted.
    pub max_bytes: usize,
    /// Whether record headers are to be copied.
    pub headers: bool,
    /// A partition at its end without a new record for this long does not hold windows open.
    pub idle_after: Span,
    /// Memory for records fetched ahead of the poll, in KiB.
    pub queue_kib: usize,
    /// Whether partitions of one number are kept together over all topics, so that predictions and labels meet.
    pub is_joining: bool,
    /// In a cluster: where to go on with a partition. Without it positions are those of this process and its checkpoint.
    pub resume: Option<Resume>,
}

impl Settings {
    /// The client configuration. Keys that the positions depend on cannot be overridden.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = self.connection.configure(&[
            // The default of 1 s starves a consumer that catches up: once the queue is full, each partition sleeps it out.
            ("fetch.queue.backoff.ms", "10"),
            ("queued.max.messages.kbytes", &self.queue_kib.to_string()),
            ("topic.metadata.refresh.interval.ms", "30000"),
        ]);
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", instance);
        }
        match self.protocol {
            GroupProtocol::Classic => {
                // Only range gives partitions of one number to one member, for topics with as many partitions.
                let strategy = if self.is_joining { "range" } else { "cooperative-sticky" };
                config.set("partition.assignment.strategy", strategy);
                if config.get("group.instance.id").is_some() && config.get("session.timeout.ms").is_none() {
                    config.set("session.timeout.ms", STATIC_SESSION_MS);
                }
            }
            GroupProtocol::Consumer => {
                config.set("group.protocol", "consumer");
                for key in CLASSIC_ONLY {
                    config.remove(key);
                }
                if self.is_joining {
                    config.set("group.remote.assignor", "range");
                }
            }
        }
        // The lines about metadata tell when a topic was made anew. Nothing else does.
        let wanted = self.connection.property("debug").map(|debug| format!("{},", debug.expose_secret()));
        config.set("debug", wanted.unwrap_or_default() + "metadata").set_log_level(RDKafkaLogLevel::Debug);
        config
            .set("group.id", &self.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("statistics.interval.ms", "1000");
        config
    }

    /// The configuration of the producer of dead letters: it connects as the consumer does. A letter that is not
    /// acknowledged after `patience` is given back; without one it is tried for as long as it takes.
    #[must_use]
    pub fn producer_config(&self, patience: Option<Duration>) -> ClientConfig {
        let mut config = self.connection.configure(&[]);
        let of_others = |key: &str| OF_CONSUMERS.iter().any(|prefix| key.starts_with(prefix)) || OF_LETTERS.contains(&key);
        let keys: Vec<String> = config.config_map().keys().filter(|key| of_others(key)).map(|key| (*key).to_owned()).collect();
        for key in keys {
            config.remove(&key);
        }
        config
            .set("client.id", "driftline-letters")
            .set("message.max.bytes", self.max_bytes.saturating_add(BESIDE_THE_VALUE).min(LARGEST_RECORD).to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", patience.map_or(0, |patience| patience.as_millis()).to_string());
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// What a topic carries.
    #[must_use]
    pub fn role(&self, topic: &str) -> TopicRole {
        self.topics.iter().find(|known| known.name == topic).map_or(TopicRole::Predictions, |known| known.role)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config(protocol: GroupProtocol, instance_id: Option<&str>, properties: &[(&str, &str)]) -> ClientConfig {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect::<BTreeMap<_, _>>();
        let settings = Settings {
            connection: Connection::new("127.0.0.1:1".into(), &properties, || Timestamp(0)).unwrap(),
            group_id: "group".into(),
            instance_id: instance_id.map(str::to_owned),
            protocol,
            topics: Vec::new(),
            start: StartAt::Earliest,
            look_back: Span(0),
            max_bytes: 1,
            headers: false,
            idle_after: Span(0),
            queue_kib: 4096,
            is_joining: false,
            resume: None,
        };
        let config = settings.client_config();
        config.create::<rdkafka::consumer::BaseConsumer>().expect("librdkafka takes it");
        config
    }

    #[test]
    fn a_static_member_is_waited_for_longer_unless_told_otherwise() {
        let session =
            |instance, properties: &[_]| config(GroupProtocol::Classic, instance, properties).get("session.timeout.ms").map(str::to_owned);
        assert_eq!(session(None, &[]), None);
        assert_eq!(session(Some("pod-0"), &[]).as_deref(), Some("60000"));
        assert_eq!(session(None, &[("group.instance.id", "pod-0")]).as_deref(), Some("60000"));
        assert_eq!(session(Some("pod-0"), &[("session.timeout.ms", "45000")]).as_deref(), Some("45000"));
    }

    #[test]
    fn the_newer_protocol_gets_no_property_of_the_classic_one() {
        let classic = config(GroupProtocol::Classic, None, &[("debug", "cgrp")]);
        assert_eq!(classic.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(classic.get("debug"), Some("cgrp,metadata"));
        let settings = [("session.timeout.ms", "45000"), ("heartbeat.interval.ms", "1000"), ("group.protocol.type", "consumer")];
        let consumer = config(GroupProtocol::Consumer, Some("pod-0"), &settings);
        assert_eq!(consumer.get("group.protocol"), Some("consumer"));
        assert!(CLASSIC_ONLY.iter().all(|key| consumer.get(key).is_none()), "{consumer:?}");
    }

    #[test]
    fn letters_connect_as_the_consumer_does_and_are_sent_by_rules_of_their_own() {
        let own = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "hunter2"),
            ("session.timeout.ms", "6000"),
            ("group.instance.id", "a"),
            ("queued.max.messages.kbytes", "1024"),
            ("acks", "0"),
            ("delivery.timeout.ms", "1"),
            ("max.in.flight", "1000"),
            ("retries", "0"),
            ("linger.ms", "20"),
        ];
        let properties = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect::<BTreeMap<_, _>>();
        let settings = Settings {
            connection: Connection::new("a:9092".into(), &properties, || Timestamp(0)).unwrap(),
            group_id: "g".into(),
            instance_id: None,
            protocol: GroupProtocol::Classic,
            topics: Vec::new(),
            start: StartAt::Earliest,
            look_back: Span(0),
            max_bytes: 2_000_000,
            headers: false,
            idle_after: Span(0),
            queue_kib: 4096,
            is_joining: false,
            resume: None,
        };
        let config = settings.producer_config(Some(Duration::from_secs(5)));
        let of = |key: &str| config.get(key);
        assert_eq!((of("security.protocol"), of("sasl.password"), of("linger.ms")), (Some("SASL_SSL"), Some("hunter2"), Some("20")));
        assert_eq!((of("acks"), of("enable.idempotence"), of("message.timeout.ms")), (Some("all"), Some("true"), Some("5000")));
        for key in ["session.timeout.ms", "group.instance.id", "group.id", "queued.max.messages.kbytes", "delivery.timeout.ms", "retries"] {
            assert_eq!(of(key), None, "{key}");
        }
        assert_eq!(of("max.in.flight"), None);
        assert!(of("message.max.bytes").unwrap().parse::<usize>().unwrap() > 2_000_000);
        config.create_native_config().unwrap();
        assert_eq!(settings.producer_config(None).get("message.timeout.ms"), Some("0"));
    }
}
