//! What to do where a position is no place in the log any more: records have gone, the log was cut, the topic is another one.
//! Every loss is told as a gap, and reading goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::SourceId;
use crate::source::registry::SourceInfo;

use super::context::lock;
use super::gap::GapCause;
use super::poll::{Loop, Notification, Routing};

/// How long the broker may take to tell the ends of one partition; it is asked again a second later.
const ENDS_PATIENCE: Duration = Duration::from_secs(2);
/// How long partitions wait until the broker is asked again where to begin. Asking holds the poll up.
const ASK_EVERY: Duration = Duration::from_secs(10);

impl Loop {
    fn ours(&self) -> Vec<(SourceInfo, Offset)> {
        let registry = self.context.registry();
        let assigned = self.context.assigned();
        assigned.iter().filter_map(|(id, start)| Some((registry.get(*id)?.clone(), *start))).collect()
    }

    /// A position lay outside the log. librdkafka has given that partition up and does not say which one it was, so every
    /// assigned partition is looked at and begun anew: where it was, or at the nearest place that there is.
    pub(super) fn mend(&mut self) {
        self.is_broken = true;
        let mut list = TopicPartitionList::new();
        let mut gaps = Vec::new();
        for (source, start) in &self.ours() {
            let mut offset = *start;
            // Where nothing was taken yet it is the place where reading was to begin that may be gone.
            let begun = if let Offset::Offset(begun) = start { Some(*begun) } else { None };
            if let Some(position) = self.context.position(source).or(begun) {
                let Ok((low, high)) = self.consumer.fetch_watermarks(&source.topic, source.partition, ENDS_PATIENCE) else { return };
                offset = Offset::Offset(position);
                if position < low {
                    gaps.push((source.id, position, low, GapCause::Retention));
                    offset = Offset::Offset(low);
                } else if position > high {
                    // Was it cut, or is it another topic? Asked for its metadata the broker tells the id, which is heard before
                    // the next look.
                    if self.suspected.insert(source.topic.clone()) {
                        let _ = self.consumer.fetch_metadata(Some(&source.topic), ENDS_PATIENCE);
                        return;
                    }
                    let (to, cause) = if self.context.knows_id(&source.topic) {
                        (high, GapCause::Truncation)
                    } else {
                        // A broker that tells no ids is old; what is there may be all new.
                        (low, GapCause::Recreation)
                    };
                    gaps.push((source.id, position, to, cause));
                    offset = Offset::Offset(to);
                }
            }
            let _ = list.add_partition_offset(&source.topic, source.partition, offset);
        }
        self.suspected.clear();
        if !self.begin_anew(&list) {
            return;
        }
        self.is_broken = false;
        for (source, from, to, cause) in gaps {
            self.context.cell(source).store(to, Ordering::Relaxed);
            self.lose(source, from, to, cause);
        }
    }

    /// A topic that is ours was made anew: its partitions are read from their start, the others from where they were.
    pub(super) fn restart(&mut self) {
        let mut list = TopicPartitionList::new();
        for (source, start) in &self.ours() {
            let offset = self.context.position(source).map_or(*start, Offset::Offset);
            let _ = list.add_partition_offset(&source.topic, source.partition, offset);
        }
        if self.begin_anew(&list) {
            self.context.must_restart.store(false, Ordering::Relaxed);
            self.tell_remade();
        }
    }

    /// Partitions of topics that were made anew are told once they are ours: before, there is nobody to mark their windows.
    fn tell_remade(&mut self) {
        let ours: Vec<SourceId> = self.context.assigned().iter().map(|(id, _)| *id).collect();
        let (told, kept) = std::mem::take(&mut *lock(&self.context.remade)).into_iter().partition(|(id, _)| ours.contains(id));
        *lock(&self.context.remade) = kept;
        let told: Vec<(SourceId, i64)> = told;
        for (source, from) in told {
            self.lose(source, from, 0, GapCause::Recreation);
        }
    }

    /// Tells the worker, behind what it has got, where reading goes on, and the windows what is missing.
    fn lose(&mut self, source: SourceId, from: i64, to: i64, cause: GapCause) {
        let partition = self.context.registry().get(source).map_or(0, |source| source.partition);
        let worker = Routing::worker(partition, self.filling.len());
        if let (Some(batch), Some(since)) = (self.filling.get_mut(worker), self.since.get_mut(worker)) {
            batch.push_move(source, to);
            since.get_or_insert(self.reported);
        }
        let _ = self.context.notifications.send(Notification::Gap { source, from, to, cause });
    }

    /// Begins all of our partitions at these offsets; what was fetched ahead is dropped.
    fn begin_anew(&self, list: &TopicPartitionList) -> bool {
        let begun = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                self.consumer.incremental_unassign(list).and_then(|()| self.consumer.incremental_assign(list))
            }
            _ => self.consumer.assign(list),
        };
        if let Err(error) = &begun {
            self.context.tell_trouble(format!("cannot go on where positions lay outside of the log: {error}"));
        }
        begun.is_ok()
    }

    /// Asks again where to begin in partitions of which the broker has not told.
    #[allow(clippy::disallowed_methods)] // the time between two questions
    pub(super) fn begin_waiting(&mut self) {
        if lock(&self.context.waiting).is_empty() || self.asked.elapsed() < ASK_EVERY {
            return;
        }
        let sources: Vec<SourceInfo> = {
            let registry = self.context.registry();
            lock(&self.context.waiting).iter().filter_map(|id| registry.get(*id).cloned()).collect()
        };
        let begun = self.context.places(&self.consumer, &sources).and_then(|list| match self.consumer.rebalance_protocol() {
            _ if list.count() == 0 => Ok(()),
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => {
                let mut all = TopicPartitionList::new();
                for (source, start) in &self.ours() {
                    let offset = self.context.position(source).map_or(*start, Offset::Offset);
                    all.add_partition_offset(&source.topic, source.partition, offset)?;
                }
                self.consumer.assign(&all)
            }
        });
        if let Err(error) = begun {
            self.context.tell_trouble(format!("partitions cannot be begun: {error}"));
        }
        self.asked = Instant::now();
    }

    /// Why the consumer cannot go on.
    pub(super) fn last_words(&self, error: &KafkaError) -> String {
        let (code, reason) = match self.consumer.client().fatal_error() {
            Some((code, reason)) => (Some(code), reason),
            None => (error.rdkafka_error_code(), error.to_string()),
        };
        let settings = &self.context.settings;
        let instance = settings.client_config().get("group.instance.id").unwrap_or_default().to_owned();
        match code {
            Some(RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId) => format!(
                "another member of group '{}' is '{instance}': no two agents may have the same kafka.instance_id ({reason})",
                settings.group_id
            ),
            _ => reason,
        }
    }
}
