//! The one thread of a replica that owns its state: it listens to everybody and never waits for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError};

use crate::engine::cluster::wire::{SourceName, offset_of};
use crate::engine::cluster::{Addresses, Directory, Post, Replica, ResumedSource};
use crate::engine::{Emission, Plan, SourceState};
use crate::event::{SourceId, Span, Timestamp, TopicRole};
use crate::exchange::{self, Outgoing, Owners, Range, Refused, Which};
use crate::rule::RuleSet;
use crate::source::kafka::{Consumer, Notification};
use crate::source::{SourceInfo, Turn};

use super::super::clock;
use super::super::coordinator::Control;
use super::super::event::AppEvent;
use super::super::publish::{Publisher, Standing};
use super::super::worker::{Order, Published, Saying, Worker};
use super::cache::Cache;
use super::court::{Court, Judgement};
use super::flood::Flood;
use super::flush::Flush;
use super::hear::Missing;
use super::partitions::Inputs;
use super::rebuild::{Rebuilds, Wanted};

/// How often the clocks are looked at while nothing comes.
pub(super) const BEAT: Duration = Duration::from_millis(50);
/// How far ahead of the wall clock event time may close windows.
const CLOCK_SLACK: Span = Span(5 * 60_000);
/// How often the status is made anew.
const STATUS_EVERY: Span = Span(500);
/// Things taken in from one channel at one go, so that none starves the others.
const TURN: usize = 4096;

/// What a replica is made of.
pub struct Parts {
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// Alert rules.
    pub rules: Arc<RuleSet>,
    /// Homes of the models.
    pub addresses: Arc<Addresses>,
    /// The name of this replica, for people.
    pub instance: Arc<str>,
    /// The counting workers.
    pub workers: Vec<Worker>,
    /// The consumer of the input topics.
    pub consumer: Consumer,
    /// What that consumer tells.
    pub notifications: Receiver<Notification>,
    /// What is told from outside.
    pub control: Receiver<Control>,
    /// Where results go.
    pub publisher: Publisher,
    /// Where snapshots and decisions go.
    pub exchange: exchange::Publisher,
    /// What the owners' consumer tells.
    pub owners: Owners,
    /// What everybody said last.
    pub directory: Arc<Mutex<Directory>>,
    /// The partitions of the input topics.
    pub inputs: Inputs,
    /// How records are read again after a hand-over.
    pub reading: exchange::Settings,
    /// Whether records are read with their headers.
    pub headers: bool,
    /// Time between two rounds of saying what was counted, and between two stored decisions.
    pub every: Span,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// When the member last stepped, in milliseconds of the wall clock.
    pub heartbeat: Arc<AtomicI64>,
    /// Told when the member ends by itself: why.
    pub fatal: Sender<String>,
    /// Where predictions and labels wait, where not in memory.
    pub(super) cache: Option<Cache>,
    /// Set when nothing is to be waited for any more.
    pub is_stopping: Arc<AtomicBool>,
}

/// A running replica.
pub struct Member {
    pub(super) of: Parts,
    pub(super) replica: Replica,
    pub(super) court: Court,
    pub(super) flush: Flush,
    pub(super) rebuilds: Rebuilds,
    pub(super) sources: BTreeMap<SourceId, SourceInfo>,
    pub(super) lags: BTreeMap<SourceId, i64>,
    pub(super) idle: BTreeSet<SourceId>,
    /// Assigned partitions that the workers have not told of yet, and gaps of them.
    pub(super) awaited: BTreeMap<SourceId, Vec<Missing>>,
    /// Where there are dead letters that can be too many.
    pub(super) flood: Option<Flood>,
    pub(super) ended: Vec<bool>,
    /// The last words of workers that have ended.
    pub(super) last: Vec<Published>,
    /// Windows have been said since the last look.
    pub(super) has_said: bool,
    pub(super) is_draining: bool,
    pub(super) is_broken: bool,
    /// Why no partitions have been assigned yet.
    pub(super) unassigned: Option<String>,
    /// Since when others may own what is taken for ours; see [`Owners::is_steady`].
    pub(super) unsteady: Option<Timestamp>,
    pub(super) shown: Timestamp,
    pub(super) ticked: Timestamp,
    /// When silences were last looked at.
    pub(super) judged: Timestamp,
    pub(super) rotated: Timestamp,
}

impl Member {
    /// Puts a replica together.
    #[must_use]
    pub fn new(of: Parts) -> Member {
        let now = (of.now)();
        let mut replica = Replica::new(Arc::clone(&of.plan), Arc::clone(&of.addresses), Arc::clone(&of.instance));
        of.cache.iter().for_each(|cache| cache.shelve(&mut replica, &of.plan));
        let outbox = of.publisher.outbox.clone();
        let topic = of.reading.owners.clone();
        let court = Court::new(Arc::clone(&of.plan), Arc::clone(&of.rules), Arc::clone(&of.addresses), topic, outbox, of.every);
        let rebuilds = Rebuilds::new(Arc::clone(&of.plan), of.reading.clone(), of.headers);
        let flood = of.publisher.letters.is_some().then(|| Flood::new(Arc::clone(&of.rules)));
        Member {
            flood,
            awaited: BTreeMap::new(),
            flush: Flush::new(of.every, now),
            ended: vec![false; of.workers.len()],
            of,
            replica,
            court,
            rebuilds,
            sources: BTreeMap::new(),
            lags: BTreeMap::new(),
            idle: BTreeSet::new(),
            last: Vec::new(),
            has_said: false,
            is_draining: false,
            is_broken: false,
            unassigned: Some("no partitions assigned yet".to_owned()),
            unsteady: None,
            shown: Timestamp(0),
            ticked: now,
            judged: now,
            rotated: now,
        }
    }

    /// Runs until it is told to stop or cannot go on.
    pub fn run(mut self) {
        self.show_alerts();
        self.of.publisher.show_thresholds(&self.of.plan, &self.of.rules);
        // It may have been told to stop while it was being started.
        if self.of.is_stopping.load(Ordering::Relaxed) {
            self.stop();
        }
        while !(self.is_draining && self.ended.iter().all(|ended| *ended)) {
            self.wait();
            self.listen();
            self.step();
        }
        self.end();
    }

    /// Waits a beat for anybody to speak.
    fn wait(&self) {
        let mut select = Select::new();
        for (worker, ended) in self.of.workers.iter().zip(&self.ended) {
            if !ended && !self.is_full() {
                select.recv(&worker.sayings);
            }
        }
        select.recv(self.of.exchange.acks());
        self.of.cache.iter().for_each(|cache| {
            select.recv(cache.answers());
        });
        if !self.is_draining {
            select.recv(&self.of.notifications);
            select.recv(&self.of.control);
            select.recv(self.of.owners.heard());
            self.rebuilds.read().filter(|_| !self.is_full()).for_each(|read| {
                select.recv(read);
            });
        }
        let _ = select.ready_timeout(BEAT);
    }

    fn listen(&mut self) {
        // What the consumer tells of a partition it tells before it hands out the records: it must be heard first.
        for _ in 0..TURN {
            match self.of.notifications.try_recv() {
                Ok(notification) => self.notified(notification),
                Err(TryRecvError::Disconnected) if !self.is_draining => {
                    self.stop();
                    break;
                }
                Err(_) => break,
            }
        }
        // What waits for the disk is bounded: workers wait, and after them the consumer.
        let heard = if self.is_full() { 0 } else { self.of.workers.len() };
        for number in 0..heard {
            for _ in 0..TURN {
                let Some(worker) = self.of.workers.get(number).filter(|_| !self.ended.get(number).is_some_and(|ended| *ended)) else {
                    break;
                };
                match worker.sayings.try_recv() {
                    Ok(saying) => self.heard(number, saying),
                    Err(TryRecvError::Disconnected) => {
                        self.worker_ended(number);
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
        }
        for _ in 0..TURN {
            let Ok(ack) = self.of.exchange.acks().try_recv() else { break };
            self.arrived(&ack);
        }
        for _ in 0..TURN {
            match self.of.owners.heard().try_recv() {
                Ok(heard) => self.owned(heard),
                Err(_) => break,
            }
        }
        while let Ok(inputs) = self.of.inputs.found.try_recv() {
            self.court.expect(inputs);
        }
        if !self.is_full() {
            self.rebuilds.step(&mut self.replica);
        }
        match self.of.control.try_recv() {
            Ok(Control::Rules(rules)) => {
                self.of.rules = Arc::clone(&rules);
                self.of.publisher.show_thresholds(&self.of.plan, &rules);
                let now = (self.of.now)();
                if let Some(flood) = &mut self.flood {
                    flood.set_rules(Arc::clone(&rules), now);
                }
                let judgements = self.court.set_rules(&rules, now);
                self.publish(&judgements);
                self.show_alerts();
            }
            Ok(Control::Stop) => self.stop(),
            Err(TryRecvError::Disconnected) if !self.is_draining => self.stop(),
            Err(_) => {}
        }
    }

    fn heard(&mut self, number: usize, saying: Saying) {
        self.hear_rejected(&saying);
        self.of.publisher.record_latencies(&saying.output.latencies);
        self.replica.absorb(number, saying.output);
        let mut joins = BTreeSet::new();
        for turn in saying.turns {
            match turn {
                Turn::Forget(source) => self.forget(source),
                Turn::Resume { source, resumed } => {
                    if source.role != TopicRole::Features {
                        joins.insert(source.partition);
                    }
                    self.resume(source, resumed);
                }
            }
        }
        joins.into_iter().for_each(|partition| self.join(partition));
        if let Some(mut published) = saying.published {
            // Now, as they are where the panes were taken: the worker counts on while the others are waited for.
            published.progress = self.replica.progress(&published.ends, (self.of.now)());
            if saying.is_last {
                self.last.push(published);
            } else if let Some(answers) = self.flush.answer(number, published) {
                self.send(answers);
            }
        }
        if saying.is_last
            && let Some(ended) = self.ended.get_mut(number)
        {
            *ended = true;
        }
    }

    fn resume(&mut self, source: SourceInfo, resumed: Option<Box<ResumedSource>>) {
        let name = SourceName { topic: Arc::from(source.topic.as_str()), partition: source.partition };
        let next = resumed.as_ref().map_or(0, |resumed| resumed.next);
        self.flush.assign(source.id, next);
        self.replica.assign(source.id, name, source.role, next, resumed.map(|resumed| *resumed));
        self.replica.name_partition(source.id, source.topic_id.as_ref());
        let missing = self.awaited.remove(&source.id).unwrap_or_default();
        self.sources.insert(source.id, source);
        missing.into_iter().for_each(|missing| self.lose(missing));
        self.flush.hurry();
    }

    fn forget(&mut self, source: SourceId) {
        self.replica.revoke(source);
        self.flush.revoke(source);
        self.idle.remove(&source);
        self.lags.remove(&source);
        if let Some(gone) = self.sources.remove(&source).filter(|gone| gone.role != TopicRole::Features) {
            self.rebuilds.forget(gone.partition);
        }
    }

    /// Takes the joins of the partitions of one number over.
    fn join(&mut self, partition: i32) {
        self.rebuilds.forget(partition);
        let mut group = self.of.directory.lock().unwrap_or_else(PoisonError::into_inner).group(partition);
        let Some(since) = self.replica.join(partition, &mut group) else { return };
        let of = |role: TopicRole| self.sources.values().filter(move |source| source.role == role && source.partition == partition);
        // All predictions before the first label.
        let sources: Vec<SourceInfo> = of(TopicRole::Predictions).chain(of(TopicRole::Labels)).cloned().collect();
        let ranges = sources.iter().map(|source| Range {
            topic: source.topic.clone(),
            partition,
            from: since,
            least: offset_of(self.replica.read_between(source.id).start),
            until: offset_of(self.replica.read_between(source.id).end),
        });
        let ranges = ranges.collect();
        self.rebuilds.want(Wanted { partition, sources, ranges });
    }

    /// Sends one round: panes, then joined panes and how far the joins are, then progress.
    pub(super) fn send(&mut self, answers: Vec<Published>) {
        if !self.is_cache_usable() || !self.may_speak() {
            return self.flush.failed();
        }
        let now = (self.of.now)();
        let (mut posts, mut progress, mut ends): (Vec<Post>, Vec<Post>, Vec<_>) = (Vec::new(), Vec::new(), Vec::new());
        for published in answers {
            posts.extend(published.posts);
            progress.extend(published.progress);
            ends.extend(published.ends);
        }
        posts.extend(self.replica.labels(now));
        posts.extend(progress);
        let bytes: usize = posts.iter().map(|post| post.value.len()).sum();
        match self.of.exchange.publish(posts.into_iter().map(outgoing).collect()) {
            Ok(ticket) => {
                self.flush.sent(ticket, ends);
                self.tell(&AppEvent::Checkpoint(bytes as u64));
            }
            Err(refused) => {
                tracing::warn!(error = %refused, "what was counted could not be sent; it is said again");
                // A record that is too large is so until the next slice, whether counting goes on or not.
                if matches!(refused, Refused::Oversize { .. }) {
                    self.flush.hear(now);
                }
                self.flush.failed();
            }
        }
    }

    fn step(&mut self) {
        let now = (self.of.now)();
        self.of.heartbeat.store(now.0, Ordering::Relaxed);
        let cap = now + CLOCK_SLACK;
        if !self.is_full() {
            self.replica.advance(Some(cap));
        }
        self.step_cache();
        let may_speak = self.may_speak();
        if may_speak {
            let began = clock::monotonic();
            let judgements = self.court.advance(cap, now);
            self.time_closing(&judgements, began.elapsed());
            self.publish(&judgements);
        }
        if clock::since(self.ticked, now) >= Span::SECOND {
            self.ticked = now;
            self.close_letters(now);
            if may_speak {
                let since = std::mem::replace(&mut self.judged, now);
                // While nothing is counted nobody listens, either.
                if now - since > clock::NAP || self.flush.is_braked() {
                    self.court.sleep(now, now - since);
                }
                let judgements = self.court.tick(now);
                self.publish(&judgements);
            }
        }
        if let Some(is_braked) = self.flush.brake(self.is_draining, now) {
            if is_braked {
                tracing::warn!("the panes topic has taken nothing for a minute: nothing further is counted until it does");
            } else {
                tracing::info!("counting goes on");
            }
            for worker in &self.of.workers {
                let _ = worker.orders.send(Order::Brake(is_braked));
            }
        }
        if !self.is_draining
            && may_speak
            && let Some(acknowledged) = self.flush.begin(self.of.workers.len(), now)
        {
            for worker in &self.of.workers {
                let _ = worker.orders.send(Order::Publish(acknowledged.clone()));
            }
        }
        // No window is known as closed that could be forgotten.
        if std::mem::take(&mut self.has_said) {
            self.of.publisher.said.sync();
        }
        if may_speak {
            let exchange = &self.of.exchange;
            self.court.store(now, false, |record| exchange.publish(vec![record]).map_err(|refused| refused.to_string()));
        }
        if clock::since(self.shown, now) >= STATUS_EVERY {
            self.shown = now;
            self.show_status(now);
            self.of.publisher.show_latencies(&self.of.plan);
            if clock::since(self.rotated, now) >= Span::MINUTE {
                self.rotated = now;
                self.of.publisher.telemetry.rotate_latencies();
                self.court.refused().for_each(|reason| tracing::error!("{reason}"));
                self.of.directory.lock().unwrap_or_else(PoisonError::into_inner).prune();
            }
        }
    }

    fn time_closing(&self, judgements: &[Judgement], took: Duration) {
        let closed = || {
            let emissions = judgements.iter().flat_map(|judgement| &judgement.emissions);
            emissions.filter_map(|emission| if let Emission::Window(window) = emission { Some(window) } else { None })
        };
        let each = took / u32::try_from(closed().count()).unwrap_or(u32::MAX).max(1);
        closed().for_each(|window| self.of.publisher.telemetry.record_window_close(&window.summary.model, each));
    }

    fn publish(&mut self, judgements: &[Judgement]) {
        for judgement in judgements {
            if self.of.publisher.publish(&judgement.plan, &judgement.emissions) {
                self.court.urge(&judgement.name);
            }
        }
        if !judgements.is_empty() {
            self.has_said = true;
            self.show_alerts();
        }
    }

    pub(super) fn show_alerts(&self) {
        let (views, statuses) = self.court.alerts();
        self.of.publisher.show_alerts(views, &statuses);
    }

    pub(super) fn show_status(&mut self, now: Timestamp) {
        let sources: Vec<SourceInfo> = self.sources.values().cloned().collect();
        let states: BTreeMap<SourceId, SourceState> = self.replica.sources().collect();
        let standing = Standing { event_clock: self.court.event_clock(), sources: &states, kept: self.replica.kept() };
        self.of.publisher.show_status(&standing, &sources, &self.lags, now);
    }

    pub(super) fn tell(&self, event: &AppEvent) {
        if let Some(listener) = &self.of.publisher.listener {
            listener(event);
        }
    }
}

fn outgoing(post: Post) -> Outgoing {
    Outgoing { topic: Which::Panes, partition: post.home, key: post.key, value: Some(post.value) }
}
