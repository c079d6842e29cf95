//! What the consumer needs to know, and the librdkafka configuration made of it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use secrecy::{ExposeSecret, SecretString};

use crate::event::{Span, Timestamp, TopicRole};

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

/// Whether librdkafka takes a property, and why not. The value is not told: it may be a secret.
///
/// # Errors
/// An unknown name, or a value that is not of the property's type or not supported by this build.
pub fn check_property(key: &str, value: &str) -> Result<(), String> {
    ClientConfig::new().set(key, value).create_native_config().map(|_| ()).map_err(|error| describe(&error))
}

/// What is wrong with a client, in words. librdkafka's own show the value of the property that it does not take.
#[must_use]
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => format!("librdkafka has no property '{key}'"),
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka does not take this value of '{key}'"),
        other => other.to_string(),
    }
}

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

/// Settings of the consumer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses of brokers to start from.
    pub bootstrap_servers: String,
    /// Consumer group.
    pub group_id: String,
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
    /// Any further librdkafka keys.
    pub librdkafka: BTreeMap<String, SecretString>,
}

impl Settings {
    /// The client configuration. Keys that the positions depend on cannot be overridden.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "driftline")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // The default of 1 s starves a consumer that catches up: once the queue is full, each partition sleeps it out.
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", self.queue_kib.to_string())
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("socket.keepalive.enable", "true");
        for (key, value) in &self.librdkafka {
            config.set(key, value.expose_secret());
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("group.id", &self.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("statistics.interval.ms", "1000");
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The configuration of the producer of dead letters: it connects as the consumer does. A letter that is not
    /// acknowledged after `patience` is given back; without one it is tried for as long as it takes.
    #[must_use]
    pub fn producer_config(&self, patience: Option<Duration>) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "driftline-letters")
            .set("message.max.bytes", self.max_bytes.saturating_add(BESIDE_THE_VALUE).min(LARGEST_RECORD).to_string())
            .set("socket.keepalive.enable", "true");
        for (key, value) in &self.librdkafka {
            if !OF_CONSUMERS.iter().any(|prefix| key.starts_with(prefix)) && !OF_LETTERS.contains(&key.as_str()) {
                config.set(key, value.expose_secret());
            }
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
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
    use super::*;

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
        let settings = Settings {
            bootstrap_servers: "a:9092".into(),
            group_id: "g".into(),
            topics: Vec::new(),
            start: StartAt::Earliest,
            look_back: Span(0),
            max_bytes: 2_000_000,
            headers: false,
            idle_after: Span(0),
            queue_kib: 4096,
            librdkafka: own.into_iter().map(|(key, value)| (key.to_owned(), SecretString::from(value))).collect(),
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

    #[test]
    fn properties_are_checked_without_showing_their_value() {
        assert_eq!(check_property("sasl.password", "hunter2"), Ok(()));
        assert_eq!(check_property("sasl.passwrd", "hunter2"), Err("librdkafka has no property 'sasl.passwrd'".to_owned()));
        for key in ["socket.timeout.ms", "security.protocol"] {
            assert_eq!(check_property(key, "hunter2"), Err(format!("librdkafka does not take this value of '{key}'")));
        }
    }
}
