//! What the consumer needs to know, and the librdkafka configuration made of it.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::ExposeSecret as _;

use crate::event::{Span, Timestamp, TopicRole};
use crate::kafka::Connection;

/// How long the group waits for a static member that has gone, in milliseconds: for as long as a process takes to be started
/// again elsewhere, its partitions are kept for it.
const STATIC_SESSION_MS: &str = "60000";
/// Properties of the classic protocol that the newer one leaves to the broker; librdkafka refuses to be given both.
pub const CLASSIC_ONLY: [&str; 4] = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"];

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
                config.set("partition.assignment.strategy", "cooperative-sticky");
                if config.get("group.instance.id").is_some() && config.get("session.timeout.ms").is_none() {
                    config.set("session.timeout.ms", STATIC_SESSION_MS);
                }
            }
            GroupProtocol::Consumer => {
                config.set("group.protocol", "consumer");
                for key in CLASSIC_ONLY {
                    config.remove(key);
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
}
