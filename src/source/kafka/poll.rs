//! The polling thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::{NextOffset, SourceId, Timestamp};
use crate::source::batch::Batch;
use crate::source::registry::{Registry, SourceInfo};

use super::context::{Callbacks, Context};
use super::gap::GapCause;
use super::progress::Moved;
use super::rejoin::Rejoin;
use super::renew::{close, consumer_of, subscribe};
use super::settings::Settings;
use super::turn::hand_turns;

/// Records in a batch at most: enough that channel operations cost nothing per record.
const BATCH_RECORDS: usize = 1024;
/// Bytes in a batch at most, so that the batches between two threads stay in the processor's cache together.
const BATCH_BYTES: usize = 128 * 1024;
/// How long a batch may wait for more records.
const BATCH_AGE: Duration = Duration::from_millis(10);
/// How long the poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(10);
/// How long a full worker is waited for before its partitions are paused. Pausing throws away what was fetched ahead, so
/// it is for a worker that stands still, not for one that is merely slower than the broker.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long closing the consumer may take before the process goes on without it.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// What the consumer tells the application.
#[derive(Debug)]
pub enum Notification {
    /// These partitions are ours now.
    Assigned(Vec<SourceInfo>),
    /// These partitions are ours no longer.
    Revoked(Vec<SourceId>),
    /// The partitions at their end without news, and the lag of each partition in records.
    Progress {
        /// Partitions that hold nothing back.
        idle: Vec<SourceId>,
        /// End of the log less our position.
        lag: Vec<(SourceId, i64)>,
    },
    /// Records that can no longer be read: the position lay outside the log.
    Gap {
        /// The partition.
        source: SourceId,
        /// The first offset that was lost.
        from: i64,
        /// The first offset that could be read again.
        to: i64,
        /// How they were lost.
        cause: GapCause,
    },
    /// The id by which the broker knows a topic. Positions of another id say nothing about it.
    TopicId {
        /// Name of the topic.
        topic: String,
        /// Its id.
        id: Arc<str>,
        /// Partitions that were read under another id: theirs are positions of a topic that is gone, until they begin again.
        begun: Vec<SourceId>,
    },
    /// Something to be logged; reading goes on.
    Trouble(String),
    /// Reading cannot go on.
    Fatal(String),
}

/// What the application tells the consumer.
#[derive(Debug)]
pub enum Command {
    /// Tell the broker how far the checkpoint has come; nobody relies on it.
    Commit(Vec<(SourceId, NextOffset)>),
}

/// The channels to the workers: a partition always goes to the same one.
#[derive(Debug)]
pub struct Routing {
    /// One bounded channel for each worker.
    pub workers: Vec<Sender<Batch>>,
    /// Emptied batches come back here.
    pub empties: Receiver<Batch>,
}

impl Routing {
    /// The worker that counts a partition. Partitions of the same number, of whatever topic, share a worker.
    #[must_use]
    pub fn worker(partition: i32, workers: usize) -> usize {
        usize::try_from(partition).unwrap_or(0) % workers.max(1)
    }
}

/// The running consumer.
#[derive(Debug)]
pub struct Consumer {
    /// Taken away to stop: the loop ends when nobody can command it any more.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Connects, subscribes and starts the polling thread. Partitions of `registry` with a position start there.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses, in its words.
    pub fn start(
        settings: Settings,
        registry: Registry,
        routing: Routing,
        notifications: Sender<Notification>,
        now: fn() -> Timestamp,
    ) -> Result<Consumer, KafkaError> {
        let context = Arc::new(Context::new(settings, registry, notifications, now));
        let consumer = consumer_of(&context)?;
        subscribe(&consumer, &context)?;
        // Commands are few: commits every few seconds.
        let (commands, inbox) = crossbeam_channel::bounded(16);
        let thread = std::thread::Builder::new()
            .name("kafka-poll".into())
            .spawn(move || Loop::new(consumer, context, routing, inbox).run())
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Consumer { commands: Some(commands), thread: Some(thread) })
    }

    /// Sends a command. A consumer that is busy or has ended does without it.
    pub fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.try_send(command);
        }
    }

    /// Tells the loop to stop polling and to hand over what was read.
    pub fn stop_polling(&mut self) {
        self.commands = None;
    }

    /// Stops polling and waits for the thread, within bounds.
    pub fn stop(mut self) {
        self.stop_polling();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) struct Loop {
    pub(super) consumer: BaseConsumer<Callbacks>,
    pub(super) context: Arc<Context>,
    routing: Routing,
    inbox: Receiver<Command>,
    /// The batch being filled for each worker.
    pub(super) filling: Vec<Batch>,
    /// When the oldest record of each batch came.
    pub(super) since: Vec<Option<Instant>>,
    /// Workers whose partitions are paused.
    pub(super) paused: BTreeSet<usize>,
    known: KnownTopics,
    /// Position of each partition when it was last reported, and when it last moved.
    pub(super) moved: Vec<Moved>,
    /// Partitions that were seen fetched to their end: where reading was, and the end.
    pub(super) drained: BTreeMap<SourceId, (Option<i64>, i64)>,
    pub(super) reported: Instant,
    /// A position lies outside the log and could not be mended yet.
    pub(super) is_broken: bool,
    /// Topics that were shorter than expected at the last look, and are asked for their id.
    pub(super) suspected: BTreeSet<String>,
    /// When the broker was last asked where to begin in partitions that wait for it.
    pub(super) asked: Instant,
    pub(super) rejoin: Rejoin,
}

impl Loop {
    #[allow(clippy::disallowed_methods)] // Ages of batches are measured on the monotonic clock; no result depends on them.
    fn new(consumer: BaseConsumer<Callbacks>, context: Arc<Context>, routing: Routing, inbox: Receiver<Command>) -> Loop {
        let workers = routing.workers.len();
        Loop {
            rejoin: Rejoin::new(&context),
            consumer,
            context,
            routing,
            inbox,
            filling: (0..workers).map(|_| Batch::default()).collect(),
            since: vec![None; workers],
            paused: BTreeSet::new(),
            known: KnownTopics::default(),
            moved: Vec::new(),
            drained: BTreeMap::new(),
            reported: Instant::now(),
            is_broken: false,
            suspected: BTreeSet::new(),
            asked: Instant::now(),
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn run(mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Commit(positions)) => self.commit(&positions),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            // Only the first record is waited for: with records that trickle in, batches must not grow old meanwhile.
            let mut wait = POLL_WAIT;
            for _ in 0..BATCH_RECORDS {
                let consumer = &self.consumer;
                match consumer.poll(std::mem::take(&mut wait)) {
                    Some(Ok(message)) if self.context.must_restart.load(Ordering::Relaxed) => {
                        // It may be of a topic that was made anew, and everything is read again from where it was.
                        drop(message);
                        break;
                    }
                    Some(Ok(message)) => {
                        if self.context.has_turns.load(Ordering::Relaxed) {
                            hand_turns(&self.context, &self.routing, &mut self.filling, &mut self.since);
                        }
                        let worker = take(&message, &self.context, &mut self.filling, &mut self.since, &mut self.known);
                        drop(message);
                        let batch = self.filling.get(worker);
                        if batch.is_some_and(|batch| batch.len() >= BATCH_RECORDS || batch.bytes() >= BATCH_BYTES) {
                            self.send(worker, PATIENCE);
                        }
                    }
                    Some(Err(error)) => {
                        if !self.trouble(&error) {
                            self.close();
                            return;
                        }
                    }
                    None => break,
                }
            }
            if self.context.has_turns.load(Ordering::Relaxed) {
                hand_turns(&self.context, &self.routing, &mut self.filling, &mut self.since);
            }
            if self.context.must_restart.load(Ordering::Relaxed) {
                self.restart();
            }
            self.send_aged();
            if self.reported.elapsed() >= Duration::from_secs(1) {
                if self.is_broken {
                    self.mend();
                }
                self.begin_waiting();
                self.report();
                self.rejoin.look(&self.consumer, &self.context);
            }
        }
        for worker in 0..self.filling.len() {
            self.send(worker, CLOSE_PATIENCE);
        }
        self.close();
    }

    /// Hands a batch on. When the worker is full for too long, its partitions are paused until it is not.
    fn send(&mut self, worker: usize, patience: Duration) {
        let (Some(slot), Some(channel)) = (self.filling.get_mut(worker), self.routing.workers.get(worker)) else { return };
        if slot.is_empty() {
            return;
        }
        let batch = std::mem::replace(slot, self.routing.empties.try_recv().unwrap_or_default());
        match channel.send_timeout(batch, patience) {
            Ok(()) => {
                if let Some(since) = self.since.get_mut(worker) {
                    *since = None;
                }
                if self.paused.remove(&worker) {
                    self.set_paused(worker, false);
                }
            }
            Err(SendTimeoutError::Timeout(batch)) => {
                if let Some(slot) = self.filling.get_mut(worker) {
                    *slot = batch;
                }
                // A batch that is full though its partitions are paused: others have been assigned since.
                if self.paused.insert(worker) || patience >= PATIENCE {
                    self.set_paused(worker, true);
                }
            }
            // The worker is gone: the application is going down and nothing read from here on is counted or stored.
            Err(SendTimeoutError::Disconnected(_)) => {}
        }
    }

    fn send_aged(&mut self) {
        for worker in 0..self.filling.len() {
            let aged = self.since.get(worker).copied().flatten().is_some_and(|since| since.elapsed() >= BATCH_AGE);
            if aged {
                let patience = if self.paused.contains(&worker) { POLL_WAIT } else { PATIENCE };
                self.send(worker, patience);
            }
        }
    }

    fn set_paused(&self, worker: usize, pause: bool) {
        let mut list = TopicPartitionList::new();
        let workers = self.routing.workers.len();
        let registry = self.context.registry();
        for (id, _) in self.context.assigned().iter() {
            if let Some(source) = registry.get(*id)
                && Routing::worker(source.partition, workers) == worker
            {
                list.add_partition(&source.topic, source.partition);
            }
        }
        drop(registry);
        let result = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = result {
            tracing::warn!(target: "driftline::kafka", %error, pause, "partitions of a full worker could not be paused or resumed");
        }
    }

    /// Handles an error of the poll. Returns whether reading can go on.
    fn trouble(&mut self, error: &KafkaError) -> bool {
        match error {
            KafkaError::MessageConsumptionFatal(_) | KafkaError::MessageConsumption(RDKafkaErrorCode::Fatal) => {
                let last_words = self.last_words(error);
                if self.renew() {
                    return true;
                }
                let _ = self.context.notifications.send(Notification::Fatal(last_words));
                false
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.mend();
                true
            }
            // The callback for errors has told its reason.
            KafkaError::MessageConsumption(_) => true,
            other => {
                self.context.tell_trouble(other.to_string());
                self.context.is_member.store(false, Ordering::Relaxed);
                let _ = self.context.notifications.try_send(Notification::Trouble(other.to_string()));
                true
            }
        }
    }

    fn commit(&self, positions: &[(SourceId, NextOffset)]) {
        let mut list = TopicPartitionList::new();
        let registry = self.context.registry();
        let assigned = self.context.assigned();
        for (id, next) in positions {
            if let Some(source) = registry.get(*id).filter(|_| assigned.iter().any(|(ours, _)| ours == id)) {
                let _ = list.add_partition_offset(&source.topic, source.partition, Offset::Offset(next.0));
            }
        }
        drop((registry, assigned));
        if list.count() > 0
            && self.context.may_commit()
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(target: "driftline::kafka", %error, "commit for lag tools failed");
        }
    }

    fn close(self) {
        let Loop { consumer, context, .. } = self;
        if !close(consumer) {
            let _ = context.notifications.try_send(Notification::Trouble("the consumer did not close in time".into()));
        }
    }
}

/// A source partition's number, and the cell that holds where reading of it has come to.
type KnownSource = (SourceId, Arc<AtomicI64>);

/// Source partitions, without a look at the shared registry for each record.
#[derive(Default)]
struct KnownTopics {
    /// Topics with their partitions.
    topics: Vec<(String, Vec<Option<KnownSource>>)>,
    /// Place of the topic of the last record.
    last: usize,
    /// For partitions of negative number, which no broker has.
    stray: Option<KnownSource>,
}

impl KnownTopics {
    fn source(&mut self, topic: &str, partition: i32, register: impl FnOnce() -> KnownSource) -> (SourceId, &AtomicI64) {
        if self.topics.get(self.last).is_none_or(|(name, _)| name != topic) {
            self.last = self.topics.iter().position(|(name, _)| name == topic).unwrap_or_else(|| {
                self.topics.push((topic.to_owned(), Vec::new()));
                self.topics.len() - 1
            });
        }
        let slot = match (usize::try_from(partition), self.topics.get_mut(self.last)) {
            (Ok(place), Some((_, sources))) => {
                if sources.len() <= place {
                    sources.resize(place + 1, None);
                }
                sources.get_mut(place).unwrap_or(&mut self.stray)
            }
            _ => &mut self.stray,
        };
        let (source, position) = slot.get_or_insert_with(register);
        (*source, position)
    }
}

/// Copies one record into the batch of its worker and returns the worker.
#[allow(clippy::disallowed_methods)]
fn take(
    message: &BorrowedMessage<'_>,
    context: &Context,
    filling: &mut [Batch],
    since: &mut [Option<Instant>],
    known: &mut KnownTopics,
) -> usize {
    let (topic, partition) = (message.topic(), message.partition());
    let (source, position) = known.source(topic, partition, || {
        let source = context.registry().register(topic, partition, context.settings.role(topic));
        (source, context.cell(source))
    });
    position.store(message.offset() + 1, Ordering::Relaxed);
    let worker = Routing::worker(partition, filling.len());
    let Some(batch) = filling.get_mut(worker) else { return worker };
    if batch.is_empty()
        && let Some(since) = since.get_mut(worker)
    {
        *since = Some(Instant::now());
    }
    let value = message.payload().unwrap_or(&[]);
    let oversize = (value.len() > context.settings.max_bytes).then_some(value.len());
    let head = batch.push(
        source,
        message.offset(),
        message.timestamp().to_millis().map(Timestamp),
        message.key().unwrap_or(&[]),
        if oversize.is_some() { &[] } else { value },
    );
    head.oversize = oversize;
    head.partition = partition;
    head.lacks_key = message.key().is_none();
    head.lacks_value = message.payload().is_none();
    if context.settings.headers
        && let Some(headers) = message.headers()
    {
        for header in headers.iter() {
            batch.push_header(header.key, header.value);
        }
    }
    worker
}
