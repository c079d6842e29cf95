//! The callbacks of the consumer: they look positions up, hand facts on and do nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::engine::cluster::wire::offset_of;
use crate::event::{NextOffset, SourceId, Timestamp};
use crate::kafka::{Session, explain};
use crate::source::batch::Turn;
use crate::source::registry::{Registry, SourceInfo};

use super::identity::{Identities, Told, told_id};
use super::poll::Notification;
use super::settings::{Settings, StartAt};
use super::start::{LOOKUP_TIMEOUT, Start, count, starts};
use super::statistics::{End, Statistics};

/// The position of a partition of which nothing has been read.
pub(super) const NOWHERE: i64 = -1;
/// How long the same trouble is not told again.
const TROUBLE_EVERY: Duration = Duration::from_secs(30);
/// Troubles that are remembered for that.
const TROUBLES: usize = 32;

/// State shared between the callbacks and the polling loop, which run on the same thread.
pub(super) struct Context {
    pub settings: Settings,
    pub registry: Mutex<Registry>,
    pub notifications: Sender<Notification>,
    /// The wall clock, for the time before which reading begins when there is no checkpoint.
    pub now: fn() -> Timestamp,
    /// Ends of the partitions by the last statistics.
    pub ends: Mutex<Vec<(SourceId, End)>>,
    /// The partitions that are ours, each with the offset it was assigned at.
    pub assigned: Mutex<Vec<(SourceId, Offset)>>,
    /// Partitions that are ours and of which the broker has not told yet where to begin.
    pub waiting: Mutex<Vec<SourceId>>,
    /// By source: the offset after the last record that was taken. A partition that comes back goes on from there.
    pub positions: Mutex<Vec<Arc<AtomicI64>>>,
    identities: Mutex<Identities>,
    /// Partitions of topics that were made anew, with the positions they had, until the windows know.
    pub remade: Mutex<Vec<(SourceId, i64)>>,
    /// A topic that is ours was made anew: nothing is to be taken before that is told and reading begun again.
    pub must_restart: AtomicBool,
    /// How many partitions a topic had when reading of it began.
    counts: Mutex<BTreeMap<String, i32>>,
    /// What was told lately, and when.
    told: Mutex<BTreeMap<String, Instant>>,
    /// What a broker has said last.
    last_trouble: Mutex<Option<String>>,
    /// Changes of hands that the workers have not been told of, and whether there are such.
    pub turns: Mutex<Vec<Turn>>,
    pub has_turns: AtomicBool,
    /// Whether the group's coordinator was there and had taken us in when the last statistics were made, and nothing has
    /// been heard since that speaks against it.
    pub is_member: AtomicBool,
    /// Where reading begins in partitions that begin at their end: that is a position before anything is read of them.
    pub begun: Mutex<Vec<(SourceId, i64)>>,
    /// The session with the group.
    pub session: Session,
}

impl Context {
    pub fn new(settings: Settings, registry: Registry, notifications: Sender<Notification>, now: fn() -> Timestamp) -> Context {
        let mut identities = Identities::default();
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for source in registry.all() {
            if let Some(id) = &source.topic_id {
                identities.know(&source.topic, id);
            }
            let count = counts.entry(source.topic.clone()).or_default();
            *count = (*count).max(source.partition.saturating_add(1));
        }
        Context {
            settings,
            registry: Mutex::new(registry),
            notifications,
            now,
            ends: Mutex::default(),
            assigned: Mutex::default(),
            waiting: Mutex::default(),
            positions: Mutex::default(),
            identities: Mutex::new(identities),
            remade: Mutex::default(),
            must_restart: AtomicBool::new(false),
            counts: Mutex::new(counts),
            told: Mutex::default(),
            last_trouble: Mutex::default(),
            is_member: AtomicBool::new(false),
            begun: Mutex::default(),
            session: Session::default(),
            turns: Mutex::default(),
            has_turns: AtomicBool::new(false),
        }
    }

    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    pub fn assigned(&self) -> MutexGuard<'_, Vec<(SourceId, Offset)>> {
        lock(&self.assigned)
    }

    pub fn partition_counts(&self) -> MutexGuard<'_, BTreeMap<String, i32>> {
        lock(&self.counts)
    }

    /// Whether the broker tells the ids of topics.
    pub fn knows_id(&self, topic: &str) -> bool {
        lock(&self.identities).get(topic).is_some()
    }

    /// The cell that holds where reading of a partition has come to: written for each record without a lock.
    pub fn cell(&self, source: SourceId) -> Arc<AtomicI64> {
        let mut positions = lock(&self.positions);
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

    /// Tells what is wrong, the same thing not over and over.
    #[allow(clippy::disallowed_methods)] // no result depends on when trouble is told
    pub fn tell_trouble(&self, what: String) {
        let mut told = lock(&self.told);
        if told.get(&what).is_some_and(|at| at.elapsed() < TROUBLE_EVERY) {
            return;
        }
        if told.len() >= TROUBLES {
            told.clear();
        }
        told.insert(what.clone(), Instant::now());
        let _ = self.notifications.try_send(Notification::Trouble(what));
    }

    /// In a cluster, where to go on is what others said last, and what was taken here before is forgotten.
    fn resume(&self, partitions: &TopicPartitionList) {
        let Some(hook) = &self.settings.resume else { return };
        let names: Vec<(String, i32)> =
            partitions.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let resumed = (hook.0)(&names);
        let mut turns = Vec::new();
        for ((topic, partition), resumed) in names.into_iter().zip(resumed) {
            let next = resumed.as_ref().map(|resumed| NextOffset(offset_of(resumed.next)));
            let theirs = resumed.as_ref().and_then(|resumed| resumed.progress.topic_id.clone());
            let mut registry = self.registry();
            // Ids are told at any time: before this, or to what this leaves behind.
            let told = lock(&self.identities).get(&topic).cloned();
            let is_gone = theirs.is_some() && told.is_some() && theirs != told;
            let id = registry.register(&topic, partition, self.settings.role(&topic));
            registry.reset_next(id, next);
            registry.reset_topic_id(id, told.clone());
            turns.extend(registry.get(id).cloned().map(|source| Turn::Resume { source, resumed: resumed.map(Box::new) }));
            registry.reset_topic_id(id, told.or(theirs));
            let mut remade = lock(&self.remade);
            remade.retain(|(of, _)| *of != id);
            // Whoever read it last has not learnt that the topic was made anew.
            remade.extend(next.filter(|_| is_gone).map(|next| (id, next.0)));
            drop(remade);
            let position = next.map_or(NOWHERE, |next| if is_gone { 0 } else { next.0 });
            self.cell(id).store(position, Ordering::Relaxed);
        }
        self.turn(turns);
    }

    fn turn(&self, turns: Vec<Turn>) {
        lock(&self.turns).extend(turns);
        self.has_turns.store(true, Ordering::Relaxed);
    }

    fn assign(&self, consumer: &BaseConsumer<Callbacks>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        self.session.begin();
        if self.settings.start == StartAt::Latest {
            let topics: BTreeSet<String> = partitions.elements().iter().map(|element| element.topic().to_owned()).collect();
            for topic in &topics {
                if let Err(error) = count(self, consumer, topic) {
                    self.tell_trouble(format!("the broker does not tell the partitions of {topic}: {error}"));
                }
            }
        }
        self.resume(partitions);
        let mut sources = Vec::new();
        {
            let mut registry = self.registry();
            for element in partitions.elements() {
                let id = registry.register(element.topic(), element.partition(), self.settings.role(element.topic()));
                sources.extend(registry.get(id).cloned());
            }
        }
        let list = self.places(consumer, &sources)?;
        let _ = self.notifications.send(Notification::Assigned(sources));
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        }
    }

    /// Partitions with the offsets to begin at, which are noted as assigned. Those of which the broker does not tell wait.
    pub fn places(&self, consumer: &BaseConsumer<Callbacks>, sources: &[SourceInfo]) -> Result<TopicPartitionList, KafkaError> {
        let mut wanted = TopicPartitionList::new();
        for source in sources.iter().filter(|source| self.position(source).is_none()) {
            wanted.add_partition(&source.topic, source.partition);
        }
        let fresh = starts(self, consumer, &wanted).unwrap_or_else(|error| {
            self.tell_trouble(format!("the broker does not tell where to begin, it is asked again: {error}"));
            Vec::new()
        });
        let begin = |source: &SourceInfo| {
            let is_it = |start: &&Start| start.topic == source.topic && start.partition == source.partition;
            match self.position(source) {
                Some(next) => Some(Offset::Offset(next)),
                None => self.pin(consumer, source, fresh.iter().find(is_it)?.offset?),
            }
        };
        let begins: Vec<Option<Offset>> = sources.iter().map(begin).collect();
        let mut list = TopicPartitionList::new();
        let (mut assigned, mut waiting) = (self.assigned(), lock(&self.waiting));
        for (source, offset) in sources.iter().zip(begins) {
            waiting.retain(|id| *id != source.id);
            match offset {
                Some(offset) => {
                    list.add_partition_offset(&source.topic, source.partition, offset)?;
                    assigned.push((source.id, offset));
                    if lock(&self.remade).iter().any(|(id, _)| *id == source.id) {
                        // Their windows are marked before the first record of the new topic is taken.
                        self.must_restart.store(true, Ordering::Relaxed);
                    }
                }
                None => waiting.push(source.id),
            }
        }
        Ok(list)
    }

    /// Where the end of a log is now, in place of wherever it is when reading begins, or begins again after a crash: what is
    /// written meanwhile is to be read. `None` where the broker does not tell.
    fn pin(&self, consumer: &BaseConsumer<Callbacks>, source: &SourceInfo, offset: Offset) -> Option<Offset> {
        if offset != Offset::End {
            return Some(offset);
        }
        match consumer.fetch_watermarks(&source.topic, source.partition, LOOKUP_TIMEOUT) {
            Ok((_, end)) => {
                self.cell(source.id).store(end, Ordering::Relaxed);
                lock(&self.begun).push((source.id, end));
                self.has_turns.store(true, Ordering::Relaxed);
                Some(Offset::Offset(end))
            }
            Err(error) => {
                self.tell_trouble(format!("the broker does not tell where {}/{} ends: {error}", source.topic, source.partition));
                None
            }
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Callbacks>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        // Not where another member has taken the name: once librdkafka has given up, it asks nobody before it unassigns.
        if consumer.assignment_lost() {
            self.session.lose();
        }
        let mut revoked = Vec::new();
        let mut held = TopicPartitionList::new();
        {
            let (registry, assigned) = (self.registry(), self.assigned());
            for element in partitions.elements() {
                let Some(id) = registry.find(element.topic(), element.partition()) else { continue };
                if assigned.iter().any(|(ours, _)| *ours == id) {
                    held.add_partition(element.topic(), element.partition());
                }
                revoked.push(id);
            }
        }
        self.let_go(&revoked);
        // librdkafka keeps a pause beyond the assignment, and nobody would end it for a partition whose worker has caught up
        // before it comes back.
        if let Err(error) = consumer.resume(&held) {
            tracing::warn!(target: "driftline::kafka", %error, "partitions that leave could not be resumed");
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&held),
            _ => consumer.unassign(),
        }
    }

    /// These partitions are ours no longer.
    pub fn let_go(&self, revoked: &[SourceId]) {
        self.assigned().retain(|(ours, _)| !revoked.contains(ours));
        lock(&self.waiting).retain(|ours| !revoked.contains(ours));
        if self.settings.resume.is_some() {
            self.turn(revoked.iter().copied().map(Turn::Forget).collect());
        }
        let _ = self.notifications.send(Notification::Revoked(revoked.to_vec()));
    }

    /// Takes in the id of a topic. Positions under another id are of a topic that is gone.
    fn hear_id(&self, topic: &str, id: &str) {
        let told = lock(&self.identities).hear(topic, id);
        let (id, is_another) = match told {
            Told::Known => return,
            Told::First(id) => (id, false),
            Told::Another(id) => (id, true),
        };
        let mut registry = self.registry();
        let mut begun = Vec::new();
        let is_gone = |source: &&SourceInfo| source.topic_id.as_ref().map_or(is_another, |held| *held != id);
        for source in registry.all().iter().filter(|source| source.topic == topic).filter(is_gone) {
            self.partition_counts().insert(topic.to_owned(), 0);
            let is_ours = self.assigned().iter().any(|(ours, _)| *ours == source.id);
            let position = self.position(source);
            if let Some(position) = position {
                lock(&self.remade).push((source.id, position));
            }
            if is_ours || position.is_some() {
                self.cell(source.id).store(0, Ordering::Relaxed);
            }
            if is_ours {
                self.must_restart.store(true, Ordering::Relaxed);
            }
            begun.extend(position.filter(|position| *position > 0).map(|_| source.id));
        }
        registry.set_topic_id(topic, &id);
        drop(registry);
        let _ = self.notifications.send(Notification::TopicId { topic: topic.to_owned(), id, begun });
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The context as a consumer calls it: it outlives the consumer, and may be that of the next.
pub(super) struct Callbacks(pub Arc<Context>);

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            if let Some((topic, id)) = told_id(message) {
                self.0.hear_id(topic, id);
            }
            // Debug lines are for those who asked for them.
            if self.0.settings.connection.property("debug").is_none() {
                return;
            }
        }
        crate::kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let what = explain(&error, reason);
        let mut last = lock(&self.0.last_trouble);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            let why = last.as_ref().map(|last| format!(", the last of them: {last}"));
            self.0.tell_trouble(what + &why.unwrap_or_default());
        } else {
            *last = Some(what.clone());
            self.0.tell_trouble(what);
        }
    }

    #[allow(clippy::disallowed_methods)] // when the broker last spoke, on the monotonic clock
    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(report) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let now = Instant::now();
        self.0.is_member.store(report.cgrp.is_member(), Ordering::Relaxed);
        let registry = self.0.registry();
        let mut ends = lock(&self.0.ends);
        ends.clear();
        for (topic, topic_report) in &report.topics {
            for (partition, partition_report) in &topic_report.partitions {
                let id = partition.parse().ok().and_then(|partition| registry.find(topic, partition));
                if let (Some(id), Some(offset)) = (id, partition_report.end()) {
                    let confirmed = report.silence_of(partition_report).and_then(|silence| now.checked_sub(silence));
                    ends.push((id, End { offset, is_drained: partition_report.is_drained(), confirmed }));
                }
            }
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.settings.connection.token(config)
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: rdkafka::types::RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        use rdkafka::types::RDKafkaRespErr as Code;
        let result = match error {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.0.assign(consumer, partitions),
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.0.revoke(consumer, partitions),
            other => {
                let _ = self.0.notifications.send(Notification::Trouble(format!("rebalance failed: {other:?}")));
                consumer.unassign()
            }
        };
        if let Err(error) = result {
            let _ = self.0.notifications.send(Notification::Trouble(format!("rebalance: {error}")));
        }
    }

    /// Between polls callbacks and statistics are served at least this often.
    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(Duration::from_millis(200))
    }

    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}
