//! What the consumer needs to know, and the librdkafka configuration made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use secrecy::{ExposeSecret, SecretString};

use crate::engine::cluster::ResumedSource;
use crate::event::{Span, Timestamp, TopicRole};

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
    /// In a cluster: where to go on with a partition. Without it positions are those of this process and its checkpoint.
    pub resume: Option<Resume>,
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
    fn properties_are_checked_without_showing_their_value() {
        assert_eq!(check_property("sasl.password", "hunter2"), Ok(()));
        assert_eq!(check_property("sasl.passwrd", "hunter2"), Err("librdkafka has no property 'sasl.passwrd'".to_owned()));
        for key in ["socket.timeout.ms", "security.protocol"] {
            assert_eq!(check_property(key, "hunter2"), Err(format!("librdkafka does not take this value of '{key}'")));
        }
    }
}
