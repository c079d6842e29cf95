//! The callbacks of the consumer: they look positions up, hand facts on and do nothing else.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::{SourceId, Timestamp};
use crate::source::registry::{Registry, SourceInfo};

use super::poll::Notification;
use super::settings::{Settings, StartAt};
use super::statistics::Statistics;

/// The position of a partition of which nothing has been read.
pub(super) const NOWHERE: i64 = -1;
/// How long the broker may take to tell offsets during an assignment.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// State shared between the callbacks and the polling loop, which run on the same thread.
pub(super) struct Context {
    pub settings: Settings,
    pub registry: Mutex<Registry>,
    pub notifications: Sender<Notification>,
    /// The wall clock, for the time before which reading begins when there is no checkpoint.
    pub now: fn() -> Timestamp,
    /// Ends of the partitions by the last statistics.
    pub ends: Mutex<Vec<(SourceId, i64)>>,
    /// The partitions that are ours, each with the offset it was assigned at.
    pub assigned: Mutex<Vec<(SourceId, Offset)>>,
    /// By source: the offset after the last record that was taken. A partition that comes back goes on from there.
    pub positions: Mutex<Vec<Arc<AtomicI64>>>,
    /// Whether the group's coordinator was there and had taken us in when the last statistics were made, and nothing has
    /// been heard since that speaks against it.
    pub is_member: AtomicBool,
}

impl Context {
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn assigned(&self) -> MutexGuard<'_, Vec<(SourceId, Offset)>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell that holds where reading of a partition has come to: written for each record without a lock.
    pub fn cell(&self, source: SourceId) -> Arc<AtomicI64> {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let place = source.0 as usize;
        while positions.len() <= place {
            positions.push(Arc::new(AtomicI64::new(NOWHERE)));
        }
        positions.get(place).map(Arc::clone).unwrap_or_default()
    }

    /// Whether a commit would be sent at once. One that waits for the coordinator may outlive the session; then it is sent
    /// without a member id, by which a static member is fenced: a fatal error, for a courtesy.
    pub fn may_commit(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    /// Where reading of a source goes on: after what was taken of it, else where the checkpoint says.
    pub fn position(&self, source: &SourceInfo) -> Option<i64> {
        let taken = Some(self.cell(source.id).load(Ordering::Relaxed)).filter(|next| *next != NOWHERE);
        taken.or(source.next.map(|next| next.0))
    }

    fn assign(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        let fresh = self.fresh_positions(consumer, partitions);
        let list = partitions.clone();
        let mut sources = Vec::new();
        let mut starts = Vec::new();
        {
            let mut registry = self.registry();
            for element in partitions.elements() {
                let (topic, partition) = (element.topic(), element.partition());
                let id = registry.register(topic, partition, self.settings.role(topic));
                let offset = match registry.get(id).and_then(|source| self.position(source)) {
                    Some(next) => Offset::Offset(next),
                    None => fresh.iter().find(|(t, p, _)| t == topic && *p == partition).map_or(Offset::Beginning, |(_, _, o)| *o),
                };
                if let Some(mut element) = list.find_partition(topic, partition) {
                    element.set_offset(offset)?;
                }
                sources.extend(registry.get(id).cloned());
                starts.push((id, offset));
            }
        }
        self.assigned().extend(starts);
        let _ = self.notifications.send(Notification::Assigned(sources));
        Ok(()).and_then(|()| match consumer.rebalance_protocol() {
            rdkafka::consumer::RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        })
    }

    /// Where to begin in partitions without a checkpoint: before the committed offset by the longest window, else `start`.
    fn fresh_positions(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> Vec<(String, i32, Offset)> {
        let mut wanted = TopicPartitionList::new();
        {
            let registry = self.registry();
            for element in partitions.elements() {
                let source = registry.find(element.topic(), element.partition()).and_then(|id| registry.get(id));
                let known = source.and_then(|source| self.position(source));
                if known.is_none() {
                    wanted.add_partition(element.topic(), element.partition());
                }
            }
        }
        if wanted.count() == 0 {
            return Vec::new();
        }
        let committed = consumer.committed_offsets(wanted.clone(), LOOKUP_TIMEOUT).unwrap_or_else(|_| wanted.clone());
        let look_back = Context::offsets_at(consumer, &wanted, (self.now)() - self.settings.look_back);
        let at = match self.settings.start {
            StartAt::At(instant) => Context::offsets_at(consumer, &wanted, instant),
            StartAt::Earliest | StartAt::Latest => None,
        };
        let find = |list: &Option<TopicPartitionList>, topic: &str, partition: i32| match list
            .as_ref()?
            .find_partition(topic, partition)?
            .offset()
        {
            Offset::Offset(offset) if offset >= 0 => Some(offset),
            _ => None,
        };
        wanted
            .elements()
            .iter()
            .map(|element| {
                let (topic, partition) = (element.topic(), element.partition());
                let committed = match committed.find_partition(topic, partition).map(|element| element.offset()) {
                    Some(Offset::Offset(offset)) => Some(offset),
                    _ => None,
                };
                let offset = match (committed, self.settings.start) {
                    (Some(committed), _) => {
                        find(&look_back, topic, partition).map_or(Offset::Beginning, |back| Offset::Offset(back.min(committed)))
                    }
                    (None, StartAt::Earliest) => Offset::Beginning,
                    (None, StartAt::Latest) => Offset::End,
                    (None, StartAt::At(_)) => find(&at, topic, partition).map_or(Offset::End, Offset::Offset),
                };
                (topic.to_owned(), partition, offset)
            })
            .collect()
    }

    fn offsets_at(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList, at: Timestamp) -> Option<TopicPartitionList> {
        let mut list = partitions.clone();
        list.set_all_offsets(Offset::Offset(at.0.max(0))).ok()?;
        consumer.offsets_for_times(list, LOOKUP_TIMEOUT).ok()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "driftline::kafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "driftline::kafka", facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "driftline::kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let _ = self.notifications.try_send(Notification::Trouble(format!("{error}: {reason}")));
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(report) = serde_json::from_slice::<Statistics>(statistics) else { return };
        self.is_member.store(report.cgrp.is_member(), Ordering::Relaxed);
        let registry = self.registry();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.clear();
        for (topic, report) in &report.topics {
            for (partition, report) in &report.partitions {
                let id = partition.parse().ok().and_then(|partition| registry.find(topic, partition));
                if let (Some(id), Some(end)) = (id, report.end()) {
                    ends.push((id, end));
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: rdkafka::types::RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        use rdkafka::types::RDKafkaRespErr as Code;
        let result = match error {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                let registry = self.registry();
                let revoked: Vec<SourceId> =
                    partitions.elements().iter().filter_map(|element| registry.find(element.topic(), element.partition())).collect();
                drop(registry);
                self.assigned().retain(|(id, _)| !revoked.contains(id));
                let _ = self.notifications.send(Notification::Revoked(revoked));
                match consumer.rebalance_protocol() {
                    rdkafka::consumer::RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
                    _ => consumer.unassign(),
                }
            }
            other => {
                let _ = self.notifications.send(Notification::Trouble(format!("rebalance failed: {other:?}")));
                consumer.unassign()
            }
        };
        if let Err(error) = result {
            let _ = self.notifications.send(Notification::Trouble(format!("rebalance: {error}")));
        }
    }

    /// Between polls callbacks and statistics are served at least this often.
    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(Duration::from_millis(200))
    }

    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}
