//! What the exchange needs to know, and the librdkafka configurations made of it.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::ExposeSecret as _;

use crate::event::Span;
use crate::kafka::Connection;

/// Partitions of the two topics where nothing else is said: so many replicas can own models.
pub const PARTITIONS: i32 = 8;
/// Copies of the two topics where nothing else is said, as many as survive the loss of a broker while another is down.
pub const REPLICATION: i32 = 3;
/// Largest record, in bytes: some thousand features with some hundred cells each.
pub const RECORD_BYTES: usize = 16 << 20;
/// `session.timeout.ms` of librdkafka where nothing else is said, in milliseconds.
const SESSION_TIMEOUT: u64 = 45_000;
/// Longest a record may wait for its acknowledgement, in milliseconds; a shorter session makes it shorter.
const MESSAGE_TIMEOUT: u64 = 30_000;
/// `heartbeat.interval.ms` of the owners, in milliseconds. Members hear of a hand-over with a heartbeat, and nobody judges
/// a model meanwhile; the default of 3 s makes it twice as long.
const HEARTBEAT: u64 = 1_000;
/// What librdkafka adds to a record's key and value when it counts its size, in bytes, generously.
const RECORD_OVERHEAD: usize = 4096;

/// Settings of the exchange.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the brokers, as the consumer of events does.
    pub connection: Connection,
    /// Name of a static member of the group of owners.
    pub instance_id: Option<String>,
    /// Consumer group of the consumer of events; the election has a group of its own, see [`Settings::owners_group`].
    pub group_id: String,
    /// Topic of the snapshots.
    pub panes: String,
    /// Topic of the decisions.
    pub owners: String,
    /// Partitions of both, where they are created.
    pub partitions: i32,
    /// Copies of both, where they are created; none: [`REPLICATION`], or as many as there are brokers.
    pub replication: Option<i32>,
    /// How long a snapshot is of use: longest window, lateness, horizon, and some slack.
    pub retention: Span,
    /// Largest record: key and value together, in bytes. [`RECORD_BYTES`] unless tested.
    pub record_bytes: usize,
    /// Memory for records on their way out, and for those fetched ahead by each consumer, in KiB.
    pub queue_kib: usize,
}

impl Settings {
    /// Name of the panes topic where none is given.
    #[must_use]
    pub fn default_panes(group_id: &str) -> String {
        format!("{group_id}.panes")
    }

    /// Name of the owners topic where none is given.
    #[must_use]
    pub fn default_owners(group_id: &str) -> String {
        format!("{group_id}.owners")
    }

    /// The group in which replicas are elected to own partitions of the panes topic.
    #[must_use]
    pub fn owners_group(&self) -> String {
        format!("{}.owners", self.group_id)
    }

    /// What all clients have in common: the one place that knows how to reach the brokers.
    fn common(&self) -> ClientConfig {
        let mut config = self.connection.configure(&[]);
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// For metadata and the administration of topics.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut config = self.common();
        config.remove("group.instance.id");
        config
    }

    /// For consumers that are told what to read. The group is named because librdkafka wants one; they never join it.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.member();
        // A second client of a static member would fence the first one.
        config.remove("group.instance.id");
        config
    }

    /// For the member of the group of owners.
    pub(super) fn member(&self) -> ClientConfig {
        let mut config = self.common();
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", instance);
        }
        if config.get("heartbeat.interval.ms").is_none() {
            config.set("heartbeat.interval.ms", HEARTBEAT.to_string());
        }
        // From leaders only: the word of a follower that nothing follows is about what it has copied so far.
        config.remove("client.rack");
        config
            .set("group.id", self.owners_group())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Everything is read from the beginning, and what retention took away is of no use any more.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "10")
            // A broker answers one request after the other, and holds a fetch back for so long: the half second of the
            // default would be added to every question for an end and to every word of one.
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", self.queue_kib.to_string());
        config
    }

    /// For the producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.admin();
        // A producer with an id of transactions sends nothing outside of them.
        config.remove("transactional.id");
        let message = (self.record_bytes + RECORD_OVERHEAD).min(1_000_000_000);
        config
            // The order of a partition survives retries, and no retry makes a second record.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("linger.ms", "20")
            .set("message.max.bytes", message.to_string())
            .set("message.timeout.ms", self.message_timeout().to_string())
            // What is on its way is bounded by tickets, which are taken whole or not at all.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", i32::MAX.to_string());
        config
    }

    /// How long a record may wait for its acknowledgement, in milliseconds: less than the group of the sources waits for a
    /// silent member. A process that was stopped for longer, and continued, has lost its partitions to another; what it
    /// still had to say of them is old by then and times out here instead of being delivered after the other's.
    fn message_timeout(&self) -> u64 {
        MESSAGE_TIMEOUT.min(self.session_timeout() / 3 * 2).max(1)
    }

    /// After how long without a word the group takes a member for dead, in milliseconds.
    fn session_timeout(&self) -> u64 {
        let session = self.connection.property("session.timeout.ms").and_then(|text| text.expose_secret().parse().ok());
        session.unwrap_or(SESSION_TIMEOUT)
    }

    /// The same as a span.
    pub(super) fn session(&self) -> Span {
        Span(i64::try_from(self.session_timeout()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::SecretString;

    use super::*;
    use crate::event::Timestamp;

    fn settings(librdkafka: &[(&str, &str)]) -> Settings {
        let properties: BTreeMap<_, _> = librdkafka.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect();
        Settings {
            connection: Connection::new("127.0.0.1:9092".into(), &properties, || Timestamp(0)).unwrap(),
            instance_id: None,
            group_id: "risk".into(),
            panes: Settings::default_panes("risk"),
            owners: Settings::default_owners("risk"),
            partitions: PARTITIONS,
            replication: None,
            retention: Span::DAY,
            record_bytes: RECORD_BYTES,
            queue_kib: 4096,
        }
    }

    #[test]
    fn a_record_never_waits_longer_than_the_session_of_the_sources() {
        assert_eq!(settings(&[]).message_timeout(), 30_000);
        assert_eq!(settings(&[("session.timeout.ms", "6000")]).message_timeout(), 4_000);
        assert_eq!(settings(&[("session.timeout.ms", "300000")]).message_timeout(), 30_000);
    }

    #[test]
    fn a_static_member_has_one_client_and_readers_ask_leaders() {
        let settings = settings(&[("group.instance.id", "driftline-0"), ("client.id", "mine"), ("client.rack", "a")]);
        assert_eq!(settings.member().get("group.instance.id"), Some("driftline-0"));
        assert_eq!((settings.member().get("client.rack"), settings.reader().get("client.rack")), (None, None));
        for config in [settings.reader(), settings.producer(), settings.admin()] {
            assert_eq!(config.get("group.instance.id"), None);
            assert_eq!(config.get("client.id"), Some("mine"));
        }
    }

    #[test]
    fn librdkafka_takes_every_configuration() {
        let settings = settings(&[]);
        for config in [settings.member(), settings.reader(), settings.producer(), settings.admin()] {
            config.create_native_config().unwrap();
        }
    }
}
