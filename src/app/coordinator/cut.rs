//! The cut through everything, and what happens when it is durable: nothing before, and everything that waited then.

use crate::engine::state::{Change, Part};
use crate::event::{NextOffset, SourceId, Span, Timestamp};
use crate::notify::OutboxHandle;
use crate::source::kafka::Command;
use crate::store::{Store, StoreError};

use super::super::checkpoint;
use super::super::clock;
use super::super::event::AppEvent;
use super::super::worker::{Order, Snapshot};
use super::Loop;

/// Least time between two checkpoints that are written because an alert wants to be sent.
const URGENT_EVERY: Span = Span(250);
/// Changed entries of ledgers that may wait in memory for a checkpoint: some 100 MB. A checkpoint is then made early.
const MOST_UNSETTLED: usize = 400_000;

/// What a coordinator that has ended leaves: the store, for what is delivered after its last checkpoint.
#[derive(Debug)]
pub struct Remains {
    /// `None` where the last checkpoint could not be written.
    pub(super) store: Option<Store>,
}

impl Remains {
    /// Stores the outbox as it stands now, so that nothing that was delivered meanwhile is delivered again after the next
    /// start.
    pub fn keep_outbox(self, outbox: &OutboxHandle) {
        let Some(mut store) = self.store else { return };
        let stored = outbox.snapshot().map_err(|error| error.to_string()).and_then(|(outbox, _)| {
            let change = Change { part: Part::Outbox, key: Vec::new(), value: Some(outbox) };
            store.commit(checkpoint::batch([change])).map_err(|error| error.to_string())
        });
        if let Err(error) = stored {
            tracing::warn!(error, "what was delivered last could not be stored; it may be delivered again, under the same key");
        }
    }
}

/// What waits for a commit.
pub(super) struct Writing {
    /// Deliveries up to here are of the cut or older.
    mark: u64,
    positions: Vec<(SourceId, NextOffset)>,
}

impl Loop {
    /// Begins a checkpoint when one is due, and hands it on when everybody has answered.
    pub(super) fn checkpoint(&mut self, now: Timestamp) {
        let since = clock::since(self.checkpointed, now);
        let is_full = || self.of.evaluator.unsettled_ledger_changes() >= MOST_UNSETTLED;
        let due = since >= self.of.checkpoint_every || (since >= URGENT_EVERY && (self.urgent || is_full()));
        if self.aligning.is_none() && self.writing.is_none() && due && !self.draining {
            self.aligning = Some((0..self.of.workers.len()).map(|_| None).collect());
            self.note_topic_ids();
            for worker in &self.of.workers {
                let _ = worker.orders.send(Order::Snapshot);
            }
        }
        let complete = self.aligning.as_ref().is_some_and(|answers| answers.iter().all(Option::is_some));
        if complete && let Some(answers) = self.aligning.take() {
            let snapshots = answers.into_iter().flatten().collect();
            self.write(snapshots);
        }
    }

    /// Positions that come with this cut are of the topics of these ids.
    pub(super) fn note_topic_ids(&mut self) {
        for (topic, id) in std::mem::take(&mut self.topic_ids) {
            for source in self.of.sources.iter_mut().filter(|source| source.topic == topic) {
                source.topic_id = Some(std::sync::Arc::clone(&id));
            }
        }
    }

    /// Hands what has changed until this moment to the thread that commits.
    pub(super) fn write(&mut self, mut snapshots: Vec<Snapshot>) {
        self.checkpointed = (self.of.now)();
        if snapshots.iter().any(|snapshot| snapshot.owes_letters) {
            tracing::error!("dead letters could not be delivered: the last checkpoint stands, and what came after it is read again");
            // What the others have changed is said once: it goes with the next cut, before what they say then.
            self.unwritten.extend(snapshots.into_iter().map(|snapshot| snapshot.changes));
            return;
        }
        let unwritten = std::mem::take(&mut self.unwritten).into_iter();
        snapshots.splice(0..0, unwritten.map(|changes| Snapshot { changes, ..Snapshot::default() }));
        // No window is known as closed that could be forgotten.
        self.of.publisher.said.sync();
        let (outbox, mark) = match self.of.publisher.outbox.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return self.give_up(&format!("the outbox cannot be stored: {error}")),
        };
        for snapshot in &snapshots {
            checkpoint::reach(&mut self.of.sources, &snapshot.positions);
        }
        let own = checkpoint::own_pieces(&self.of.numbering, &self.of.sources, outbox);
        let batch = own.and_then(|own| checkpoint::cut(&self.of.numbering, &mut self.of.written, &mut self.of.evaluator, own, snapshots));
        match batch {
            Ok(batch) => {
                // What is published from here on waits for the next cut.
                self.urgent = false;
                let positions = self.of.sources.iter().filter_map(|source| Some((source.id, source.next?))).collect();
                self.writing = Some(Writing { mark, positions });
                self.of.keeper.commit(batch);
            }
            Err(error) => self.give_up(&format!("the state cannot be stored: {error}")),
        }
    }

    /// A cut is durable: lets go what it holds. One that is not ends the agent: what it held is in no later one.
    pub(super) fn committed(&mut self, answer: Result<u64, StoreError>) {
        let Some(Writing { mark, positions }) = self.writing.take() else { return };
        match answer {
            Ok(bytes) => {
                self.of.evaluator.settle_changes();
                self.of.publisher.outbox.release(mark);
                self.tell(&AppEvent::Checkpoint(bytes));
                if let Some(consumer) = &self.of.consumer {
                    consumer.command(Command::Commit(positions));
                }
            }
            Err(error) => self.give_up(&format!("the checkpoint could not be written: {error}")),
        }
    }

    /// Nothing may be stored or delivered any more; what was not is done again after the next start.
    pub(super) fn give_up(&mut self, reason: &str) {
        if !self.is_broken {
            self.is_broken = true;
            let _ = self.of.fatal.send(reason.to_owned());
        }
        self.stop();
    }

    /// Waits for the commit that is under way.
    pub(super) fn hear_commit(&mut self) {
        if self.writing.is_some() {
            match self.of.keeper.answers.recv() {
                Ok(answer) => self.committed(answer),
                Err(_) => self.give_up("the thread that commits has ended unexpectedly"),
            }
        }
    }
}
