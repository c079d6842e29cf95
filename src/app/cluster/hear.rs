//! What the workers, the consumers and the producer of a replica tell it.

use std::collections::BTreeSet;

use crate::engine::cluster::wire::offset_of;
use crate::engine::evaluator::Lost;
use crate::event::{NextOffset, SourceId, Timestamp};
use crate::exchange::{Ack, Heard};
use crate::http::Check;
use crate::source::kafka::{Command, GapCause, Notification};

use super::super::event::AppEvent;
use super::super::worker::Saying;
use super::member::Member;

/// Records of a partition that can never be read.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    source: SourceId,
    lost: Lost,
    cause: GapCause,
}

impl Member {
    pub(super) fn notified(&mut self, notification: Notification) {
        match notification {
            Notification::Assigned(sources) => {
                tracing::info!(partitions = sources.len(), "partitions assigned");
                self.unassigned = None;
                self.show_checks();
                self.tell(&AppEvent::Assigned(sources.len()));
                // In a cluster it is the workers who tell, in line with the records, where they go on.
                for source in &sources {
                    self.awaited.entry(source.id).or_default();
                }
            }
            Notification::Revoked(sources) => {
                tracing::info!(partitions = sources.len(), "partitions revoked");
                // What was counted of them is said once more if it still can be; whoever has them now may know more already.
                self.flush.hurry();
            }
            Notification::Progress { idle, lag } => {
                self.lags.extend(lag);
                let idle: BTreeSet<SourceId> = idle.into_iter().collect();
                for source in self.idle.symmetric_difference(&idle) {
                    self.replica.set_idle(*source, idle.contains(source));
                }
                self.idle = idle;
            }
            Notification::Gap { source, from, to, cause } => {
                let missing = Missing { source, lost: Lost { from, to }, cause };
                match self.awaited.get_mut(&source) {
                    Some(awaited) => awaited.push(missing),
                    None => self.lose(missing),
                }
            }
            Notification::TopicId { topic, id, begun } => self.replica.name_topic(&topic, &id, &begun),
            Notification::Trouble(what) => self.warn(&what),
            Notification::Fatal(what) => {
                let _ = self.of.fatal.send(format!("kafka: {what}"));
                self.stop();
            }
        }
    }

    /// A worker has ended. Its last word was its panes; without one it has panicked, and nothing can be relied on.
    pub(super) fn worker_ended(&mut self, number: usize) {
        if let Some(ended) = self.ended.get_mut(number).filter(|ended| !**ended) {
            *ended = true;
            self.is_broken = true;
            let _ = self.of.fatal.send(format!("worker {number} has ended unexpectedly; what it counted and did not say is read again"));
            self.stop();
        }
    }

    /// Notes records that can never be read with what is said of their partition.
    pub(super) fn lose(&mut self, missing: Missing) {
        let Missing { source, lost, cause } = missing;
        let topic = self.sources.get(&source).map_or("", |source| source.topic.as_str());
        let reason = cause.describe(topic, lost.from, lost.to);
        tracing::error!("{reason}; the windows they belong to are marked");
        self.replica.add_gap(source, reason.into(), lost);
        self.flush.hurry();
    }

    /// Takes in what is to be said of rejected records beside their counts.
    pub(super) fn hear_rejected(&mut self, saying: &Saying) {
        if let Some(flood) = &mut self.flood {
            flood.note(saying, |source| self.sources.get(&source), (self.of.now)());
        }
        for (source, rejected) in &saying.rejected {
            self.replica.add_rejected(*source, rejected.tombstones, rejected.example);
        }
    }

    /// Stops the dead letters of topics that are flooded, and of no others.
    pub(super) fn close_letters(&mut self, now: Timestamp) {
        if let (Some(letters), Some(flood)) = (&self.of.publisher.letters, &mut self.flood) {
            letters.close(flood.topics(now));
        }
    }

    pub(super) fn owned(&mut self, heard: Heard) {
        match heard {
            Heard::Assigned(homes) => tracing::debug!(?homes, "partitions of the panes topic assigned"),
            Heard::Decision { partition, key, value, .. } => self.court.decision(partition, key, value),
            Heard::Decided(partition) => {
                self.court.seat(partition, (self.of.now)());
                self.show_checks();
            }
            Heard::Pane { partition, offset, key, value } => self.court.hear(partition, offset, &key, value.as_deref(), (self.of.now)()),
            Heard::CaughtUp(partition) => {
                self.court.caught_up(partition);
                // Alerts that were taken over may have nothing new to say for long.
                self.show_alerts();
            }
            Heard::Revoked(homes) => {
                homes.into_iter().for_each(|home| self.court.leave(home));
                self.show_checks();
                self.show_alerts();
            }
            Heard::Trouble(what) => self.warn(&what),
            Heard::Fatal(what) => {
                let _ = self.of.fatal.send(format!("kafka: {what}"));
                self.stop();
            }
        }
    }

    /// Tells of a trouble; until partitions are assigned it is why they are not.
    fn warn(&mut self, what: &str) {
        tracing::warn!(target: "driftline::kafka", "{what}");
        if let Some(unassigned) = &mut self.unassigned {
            what.clone_into(unassigned);
            self.show_checks();
        }
    }

    /// Shows whether the replica is ready: it has been given partitions, and can judge all that it owns.
    fn show_checks(&self) {
        let kafka = Check::new("kafka", self.unassigned.is_none(), self.unassigned.as_deref().unwrap_or("partitions assigned"));
        let refused = self.court.refused().map(|reason| Check::new("decisions", false, reason));
        self.of.publisher.view.set_checks(std::iter::once(kafka).chain(refused).collect());
    }

    /// Whether what was counted and judged here may be said. Not after this process stood still for so long that others may own
    /// what it takes for its own: it waits until it would have heard of that.
    pub(super) fn may_speak(&mut self) -> bool {
        let is_steady = self.of.owners.is_steady();
        match self.unsteady {
            None if !is_steady => {
                tracing::warn!("this process stood still; it says and judges nothing until it knows that what it owned is its own still");
                self.unsteady = Some((self.of.now)());
            }
            Some(since) if is_steady => {
                tracing::info!(after = %((self.of.now)() - since), "what is owned is known again");
                self.unsteady = None;
            }
            _ => {}
        }
        is_steady
    }

    pub(super) fn arrived(&mut self, ack: &Ack) {
        let ticket = ack.ticket;
        if let Err(error) = &ack.result {
            tracing::warn!(error, "what was counted or decided has not arrived in Kafka; it is said again");
        }
        let is_ok = ack.result.is_ok();
        if self.court.settle(ticket, is_ok) {
            return;
        }
        if ack.is_partly_there {
            self.flush.hear((self.of.now)());
        }
        if let Some(ends) = self.flush.settle(ticket, is_ok).filter(|_| is_ok) {
            self.replica.acknowledge();
            for (source, end) in &ends {
                if let Some(info) = self.sources.get_mut(source).filter(|_| *end >= 0) {
                    info.next = Some(NextOffset(offset_of(*end)));
                }
            }
            let positions = ends.into_iter().filter(|(_, end)| *end >= 0).map(|(source, end)| (source, NextOffset(offset_of(end))));
            self.of.consumer.command(Command::Commit(positions.collect()));
        }
    }
}
