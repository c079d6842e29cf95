//! The partitions of the panes topic that are ours by election, with what their owners decided before.
//!
//! Two consumers on one thread: the member of the group, which reads panes, and a reader of decisions. A partition goes
//! through [`Stage`]s, and everything that is said of it lies between its `Assigned` and its `Revoked`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::Timestamp;
use crate::kafka::Session;

use super::client::{Context, Reader, close, describe};
use super::ends::ends;
use super::member::{self, Change, Member};
use super::pulse::Pulse;
use super::settings::Settings;

/// What waits for the application, in items. A new owner reads all panes of its models; most are some KiB.
const HEARD: usize = 256;
/// Items held back here at most before polling stands still until there is room.
const WAITING: usize = 256;
/// How long the poll of the member waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(10);
/// How long a full application is waited for before partitions are paused. Pausing throws away what was fetched ahead.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the broker may take to tell the ends of partitions.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failure the broker is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the group and the two topics say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// These partitions are ours now. Everything is read again from the beginning.
    Assigned(Vec<i32>),
    /// What an owner decided: a record of the owners topic. A partition's come before its panes, in their order.
    Decision {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Its key.
        key: Vec<u8>,
        /// Its value; none where the key was taken out of the topic.
        value: Option<Vec<u8>>,
    },
    /// All decisions of the partition that were there when it was assigned have been told.
    Decided(i32),
    /// A record of the panes topic, in their order.
    Pane {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Its key.
        key: Vec<u8>,
        /// Its value; none where the key was taken out of the topic.
        value: Option<Vec<u8>>,
    },
    /// All panes of the partition that were there when it was assigned have been told; new ones follow as they come.
    CaughtUp(i32),
    /// These partitions are ours no longer; nothing more comes of them.
    Revoked(Vec<i32>),
    /// Something to be logged; reading goes on.
    Trouble(String),
    /// Reading cannot go on; nothing follows.
    Fatal(String),
}

/// The running member of the group of owners. Dropping it leaves the group.
pub struct Owners {
    heard: Receiver<Heard>,
    pulse: Arc<Pulse>,
    /// Taken away to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Owners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Owners").finish_non_exhaustive()
    }
}

impl Owners {
    /// Joins the group. `now` is the wall clock.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn start(settings: &Settings, now: fn() -> Timestamp) -> Result<Owners, KafkaError> {
        let pulse = Arc::new(Pulse::new(settings.session(), now));
        let session = Arc::new(Session::default());
        let member = member::join(settings, &session)?;
        let reader: Reader = settings.reader().create_with_context(Context::new(&settings.connection, ()))?;
        let (out, heard) = crossbeam_channel::bounded(HEARD);
        let (running, ended) = crossbeam_channel::bounded(0);
        let looping = Loop {
            settings: settings.clone(),
            session,
            pulse: Arc::clone(&pulse),
            member,
            reader,
            owned: BTreeMap::new(),
            waiting: VecDeque::new(),
            out,
            is_paused: false,
            looked: None,
        };
        let thread = std::thread::Builder::new()
            .name("exchange-owners".into())
            .spawn(move || looping.run(&ended))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Owners { heard, pulse, running: Some(running), thread: Some(thread) })
    }

    /// What is heard. It is bounded: when the application is busy, partitions are paused and the group is kept.
    #[must_use]
    pub fn heard(&self) -> &Receiver<Heard> {
        &self.heard
    }

    /// Whether what is told can be relied on. It cannot after the process stood still for so long that the group may have given
    /// its partitions to others, until it would have heard of that.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.pulse.is_steady()
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How far a partition of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The ends of its decisions and panes are not known yet; panes are held.
    Looking,
    /// Decisions are read up to `decisions`; panes are held.
    Deciding { decisions: i64, panes: i64 },
    /// Panes are read up to the end that they had at the assignment.
    CatchingUp { panes: i64 },
    /// Panes are read as they come.
    Following,
}

struct Loop {
    settings: Settings,
    session: Arc<Session>,
    pulse: Arc<Pulse>,
    member: Member,
    reader: Reader,
    owned: BTreeMap<i32, Stage>,
    /// What the application has no room for.
    waiting: VecDeque<Heard>,
    out: Sender<Heard>,
    /// Whether partitions are paused because the application is busy.
    is_paused: bool,
    /// When the broker was last asked for ends in vain.
    looked: Option<Instant>,
}

impl Loop {
    fn run(mut self, ended: &Receiver<()>) {
        while ended.try_recv() != Err(TryRecvError::Disconnected) {
            self.pulse.beat();
            let goes_on = self.hand_over() && self.poll_member() && self.poll_reader();
            if !goes_on {
                // The last words, as far as anybody listens.
                while let Some(heard) = self.waiting.pop_front() {
                    if self.out.send_timeout(heard, PATIENCE).is_err() {
                        break;
                    }
                }
                break;
            }
            self.look();
        }
        // Both wait for brokers, so both at once.
        close((self.member, self.reader));
    }

    /// Hands over what waits. When the application is busy for too long, partitions are paused until it is not. Returns
    /// whether anybody listens.
    fn hand_over(&mut self) -> bool {
        while let Some(heard) = self.waiting.pop_front() {
            let patience = if self.is_paused { POLL_WAIT } else { PATIENCE };
            match self.out.send_timeout(heard, patience) {
                Ok(()) => {}
                Err(SendTimeoutError::Timeout(heard)) => {
                    self.waiting.push_front(heard);
                    if !self.is_paused {
                        self.is_paused = true;
                        self.hold(true);
                    }
                    return true;
                }
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
        if self.is_paused {
            self.is_paused = false;
            self.hold(false);
        }
        true
    }

    /// Pauses or resumes whatever is being read.
    fn hold(&mut self, pause: bool) {
        let (mut panes, mut decisions) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (partition, stage) in &self.owned {
            match stage {
                Stage::Looking => {}
                Stage::Deciding { .. } => {
                    decisions.add_partition(&self.settings.owners, *partition);
                }
                Stage::CatchingUp { .. } | Stage::Following => {
                    panes.add_partition(&self.settings.panes, *partition);
                }
            }
        }
        let result = if pause {
            self.member.pause(&panes).and_then(|()| self.reader.pause(&decisions))
        } else {
            self.member.resume(&panes).and_then(|()| self.reader.resume(&decisions))
        };
        if let Err(error) = result {
            self.waiting.push_back(Heard::Trouble(describe(&error)));
        }
    }

    /// Serves the group and reads panes. Returns whether it can go on.
    fn poll_member(&mut self) -> bool {
        let mut wait = if self.waiting.is_empty() && !self.is_deciding() { POLL_WAIT } else { Duration::ZERO };
        for _ in 0..WAITING {
            let heard = match self.member.poll(std::mem::take(&mut wait)) {
                Some(Ok(message)) => {
                    let partition = message.partition();
                    let next = message.offset() + 1;
                    let is_read = matches!(self.owned.get(&partition), Some(Stage::CatchingUp { .. } | Stage::Following));
                    let pane = is_read.then(|| {
                        let (offset, key, value) = copy(&message);
                        Heard::Pane { partition, offset, key, value }
                    });
                    drop(message);
                    self.waiting.extend(pane);
                    Some((partition, next))
                }
                // Panes of the partition are read since its ends are known, so this is of later.
                Some(Err(KafkaError::PartitionEOF(partition))) => Some((partition, i64::MAX)),
                Some(Err(KafkaError::MessageConsumptionFatal(_) | KafkaError::MessageConsumption(RDKafkaErrorCode::Fatal))) => {
                    return self.renew();
                }
                Some(Err(error)) => {
                    self.waiting.push_back(Heard::Trouble(describe(&error)));
                    None
                }
                None => {
                    // A rebalance ends the poll, too; what it changed comes before the next record.
                    let is_changed = self.take_changes();
                    if is_changed {
                        continue;
                    }
                    return true;
                }
            };
            if let Some((partition, next)) = heard
                && let Some(Stage::CatchingUp { panes }) = self.owned.get(&partition)
                && next >= *panes
            {
                self.owned.insert(partition, Stage::Following);
                self.waiting.push_back(Heard::CaughtUp(partition));
            }
            if self.waiting.len() >= WAITING {
                return true;
            }
        }
        true
    }

    fn is_deciding(&self) -> bool {
        self.owned.values().any(|stage| matches!(stage, Stage::Deciding { .. }))
    }

    /// Reads decisions, as long as some are to be read. Returns whether it can go on.
    fn poll_reader(&mut self) -> bool {
        let mut wait = if self.is_deciding() && self.waiting.is_empty() { POLL_WAIT } else { Duration::ZERO };
        while self.waiting.len() < WAITING {
            let (partition, next) = match self.reader.poll(std::mem::take(&mut wait)) {
                Some(Ok(message)) => {
                    let partition = message.partition();
                    if matches!(self.owned.get(&partition), Some(Stage::Deciding { .. })) {
                        let (offset, key, value) = copy(&message);
                        self.waiting.push_back(Heard::Decision { partition, offset, key, value });
                    }
                    (partition, message.offset() + 1)
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, i64::MAX),
                Some(Err(error)) => {
                    self.waiting.push_back(Heard::Trouble(describe(&error)));
                    continue;
                }
                None => break,
            };
            if let Some(Stage::Deciding { decisions, panes }) = self.owned.get(&partition).copied()
                && next >= decisions
            {
                self.forget_decisions(&[partition]);
                self.decided(partition, panes);
            }
        }
        true
    }

    /// All decisions of a partition are told; its panes begin.
    fn decided(&mut self, partition: i32, panes: i64) {
        self.waiting.push_back(Heard::Decided(partition));
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.settings.panes, partition);
        if panes > 0 {
            self.owned.insert(partition, Stage::CatchingUp { panes });
        } else {
            self.owned.insert(partition, Stage::Following);
            self.waiting.push_back(Heard::CaughtUp(partition));
        }
        if !self.is_paused
            && let Err(error) = self.member.resume(&list)
        {
            self.waiting.push_back(Heard::Trouble(describe(&error)));
        }
    }

    /// Asks for the ends of partitions that are new.
    #[allow(clippy::disallowed_methods)] // When to ask again; no result depends on it.
    fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < RETRY_AFTER) {
            return;
        }
        self.looked = None;
        let new: Vec<i32> = self.owned.iter().filter(|(_, stage)| **stage == Stage::Looking).map(|(partition, _)| *partition).collect();
        if !new.is_empty()
            && let Err(trouble) = self.look_at(&new)
        {
            self.waiting.push_back(Heard::Trouble(trouble));
            self.looked = Some(Instant::now());
        }
    }

    fn look_at(&mut self, partitions: &[i32]) -> Result<(), String> {
        let panes = ends(&self.reader, &self.settings.panes, partitions, LOOKUP_PATIENCE)?;
        let decisions = ends(&self.reader, &self.settings.owners, partitions, LOOKUP_PATIENCE)?;
        let mut list = TopicPartitionList::new();
        for ((partition, panes), (first, decisions)) in partitions.iter().zip(panes).zip(decisions) {
            // Zero: there is nothing to wait for.
            let panes = if panes.0 < panes.1 { panes.1 } else { 0 };
            if first >= decisions {
                self.decided(*partition, panes);
                continue;
            }
            list.add_partition_offset(&self.settings.owners, *partition, Offset::Beginning).map_err(|error| describe(&error))?;
            self.owned.insert(*partition, Stage::Deciding { decisions, panes });
        }
        if list.count() > 0 {
            self.reader.incremental_assign(&list).map_err(|error| describe(&error))?;
            if self.is_paused {
                self.reader.pause(&list).map_err(|error| describe(&error))?;
            }
        }
        Ok(())
    }

    /// Goes on with another consumer, where the fatal error of this one was of our own making; says otherwise what ended it.
    /// Returns whether it goes on.
    fn renew(&mut self) -> bool {
        let fatal = self.member.client().fatal_error();
        let reason = fatal.as_ref().map_or_else(|| "the consumer has ended".to_owned(), |(_, reason)| reason.clone());
        let fresh = if self.session.renew(fatal.map(|(code, _)| code)) {
            member::join(&self.settings, &self.session).map_err(|error| describe(&error))
        } else {
            Err(reason)
        };
        match fresh {
            Ok(fresh) => {
                close(std::mem::replace(&mut self.member, fresh));
                self.take_back(self.owned.keys().copied().collect());
                let what = "a request outlived its session and the broker refused it: the group of owners is joined again";
                self.waiting.push_back(Heard::Trouble(what.to_owned()));
                true
            }
            Err(reason) => {
                self.waiting.push_back(Heard::Fatal(reason));
                false
            }
        }
    }

    /// Takes over what rebalances changed. Returns whether they did.
    fn take_changes(&mut self) -> bool {
        let mut is_changed = false;
        while let Some(change) = self.member.context().kept.pop() {
            is_changed = true;
            match change {
                Change::Assigned(partitions) if partitions.is_empty() => {}
                Change::Assigned(partitions) => {
                    self.owned.extend(partitions.iter().map(|partition| (*partition, Stage::Looking)));
                    self.waiting.push_back(Heard::Assigned(partitions));
                }
                Change::Revoked(partitions) => self.take_back(partitions),
                Change::Trouble(trouble) => self.waiting.push_back(Heard::Trouble(trouble)),
            }
        }
        is_changed
    }

    /// These partitions are ours no longer.
    fn take_back(&mut self, partitions: Vec<i32>) {
        if partitions.is_empty() {
            return;
        }
        let is_deciding = |partition: &&i32| matches!(self.owned.get(*partition), Some(Stage::Deciding { .. }));
        let deciding: Vec<i32> = partitions.iter().filter(is_deciding).copied().collect();
        self.forget_decisions(&deciding);
        self.owned.retain(|partition, _| !partitions.contains(partition));
        // Nobody needs what is still to be told of them.
        self.waiting.retain(|heard| !of(heard).is_some_and(|partition| partitions.contains(&partition)));
        self.waiting.push_back(Heard::Revoked(partitions));
    }

    fn forget_decisions(&mut self, partitions: &[i32]) {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.settings.owners, *partition);
        }
        if list.count() > 0
            && let Err(error) = self.reader.incremental_unassign(&list)
        {
            self.waiting.push_back(Heard::Trouble(describe(&error)));
        }
    }
}

/// The partition that is told of, where it is one that a rebalance can take back.
fn of(heard: &Heard) -> Option<i32> {
    match heard {
        Heard::Decision { partition, .. } | Heard::Pane { partition, .. } | Heard::Decided(partition) | Heard::CaughtUp(partition) => {
            Some(*partition)
        }
        Heard::Assigned(_) | Heard::Revoked(_) | Heard::Trouble(_) | Heard::Fatal(_) => None,
    }
}

fn copy(message: &BorrowedMessage<'_>) -> (i64, Vec<u8>, Option<Vec<u8>>) {
    (message.offset(), message.key().unwrap_or(&[]).to_vec(), message.payload().map(<[u8]>::to_vec))
}
