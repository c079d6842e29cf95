//! A Kafka cluster in this process, and a producer that knows the offset of everything it sends.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use driftline::event::TopicRole;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ProducerContext, ThreadedProducer};
use serde_json::json;

use super::{PATIENCE, wait_for};

/// The topic of predictions of every test.
pub const PREDICTIONS: &str = "loan.predictions";
/// The topic of labels of every test.
pub const LABELS: &str = "loan.labels";

/// A record as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub topic: &'static str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub value: Vec<u8>,
}

impl Sent {
    /// The line from which `replay` reads it.
    pub fn wrapped(&self) -> String {
        let value = String::from_utf8(self.value.clone()).unwrap();
        let head = json!({ "topic": self.topic, "partition": self.partition, "offset": self.offset, "timestamp": self.timestamp });
        format!("{},\"value\":{value}}}\n", head.to_string().trim_end_matches('}'))
    }
}

/// Counts deliveries, and those that are not where they were expected.
#[derive(Default)]
struct Report {
    delivered: AtomicU64,
    misplaced: AtomicU64,
}

impl ClientContext for Report {}

impl ProducerContext for Report {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: Box<i64>) {
        match result {
            Ok(message) if message.offset() == *expected => self.delivered.fetch_add(1, Ordering::SeqCst),
            _ => self.misplaced.fetch_add(1, Ordering::SeqCst),
        };
    }
}

pub struct Cluster {
    pub mock: MockCluster<'static, DefaultProducerContext>,
    producer: ThreadedProducer<Report>,
    sent: Mutex<Vec<Sent>>,
    next: Mutex<BTreeMap<(&'static str, i32), i64>>,
}

impl Cluster {
    /// One broker with these topics.
    pub fn start(topics: &[(&str, i32)]) -> Cluster {
        let mock = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            mock.create_topic(topic, *partitions, 1).unwrap();
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", mock.bootstrap_servers())
            // Order and offsets survive retries.
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .set("retry.backoff.ms", "50")
            .create_with_context(Report::default())
            .unwrap();
        Cluster { mock, producer, sent: Mutex::default(), next: Mutex::default() }
    }

    pub fn address(&self) -> String {
        self.mock.bootstrap_servers()
    }

    /// What a group has committed of a topic, in records.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> u64 {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.address()).set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        committed.elements().iter().filter_map(|element| element.offset().to_raw()).filter_map(|offset| u64::try_from(offset).ok()).sum()
    }

    /// Sends a record with this time.
    pub fn send(&self, topic: &'static str, partition: i32, timestamp: i64, value: Vec<u8>) {
        let mut next = self.next.lock().unwrap();
        let offset = next.entry((topic, partition)).or_default();
        self.put(topic, partition, timestamp, None, Some(&value), &[], *offset);
        self.sent.lock().unwrap().push(Sent { topic, partition, offset: *offset, timestamp, value });
        *offset += 1;
    }

    /// Sends a record without a value; it is not among those that can be replayed.
    pub fn send_tombstone(&self, topic: &'static str, partition: i32, timestamp: i64) {
        self.send_whole(topic, partition, timestamp, None, None, &[]);
    }

    /// Sends a record with all of its parts; it is not among those that can be replayed. Returns its offset.
    pub fn send_whole(
        &self,
        topic: &'static str,
        partition: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Vec<u8>>)],
    ) -> i64 {
        let mut next = self.next.lock().unwrap();
        let offset = next.entry((topic, partition)).or_default();
        self.put(topic, partition, timestamp, key, value, headers, *offset);
        *offset += 1;
        *offset - 1
    }

    #[allow(clippy::too_many_arguments)]
    fn put(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Vec<u8>>)],
        offset: i64,
    ) {
        let mut record: BaseRecord<'_, [u8], [u8], Box<i64>> =
            BaseRecord::with_opaque_to(topic, Box::new(offset)).partition(partition).timestamp(timestamp);
        record.payload = value;
        record.key = key;
        if !headers.is_empty() {
            let add = |all: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
                all.insert(Header { key: name.as_str(), value: value.as_deref() })
            };
            record.headers = Some(headers.iter().fold(OwnedHeaders::new(), add));
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    /// Waits until everything is in the log.
    pub fn flush(&self) {
        let all: i64 = self.next.lock().unwrap().values().sum();
        let report = self.producer.context();
        let _ = self.producer.flush(PATIENCE);
        let counts = || (report.delivered.load(Ordering::SeqCst), report.misplaced.load(Ordering::SeqCst));
        wait_for(
            "everything is delivered",
            || format!("{all} sent, (delivered, misplaced): {:?}", counts()),
            || {
                let (delivered, misplaced) = counts();
                assert_eq!(misplaced, 0, "records failed or are not at the offset they were expected at");
                (delivered == u64::try_from(all).unwrap()).then_some(())
            },
        );
    }

    /// Number of records sent to all topics.
    pub fn total(&self) -> u64 {
        self.next.lock().unwrap().values().sum::<i64>().unsigned_abs()
    }

    /// The records of a topic with their offsets, as `replay` reads them.
    pub fn recorded(&self, topic: &str) -> String {
        self.sent.lock().unwrap().iter().filter(|sent| sent.topic == topic).map(Sent::wrapped).collect()
    }
}

/// What a topic of the tests carries.
pub fn role(topic: &str) -> Option<TopicRole> {
    match topic {
        PREDICTIONS => Some(TopicRole::Predictions),
        LABELS => Some(TopicRole::Labels),
        _ => None,
    }
}
