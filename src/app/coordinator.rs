//! The owner of the evaluator: one thread that takes in what workers and consumer say, lets the engine step, publishes
//! what comes out, and writes checkpoints.
//!
//! A checkpoint is one cut through everything: each worker answers an order with its state, and is not listened to again
//! until all have answered, so that the evaluator's state and the workers' positions are of the same moment. What has
//! changed since the last cut goes to the thread that commits, and work goes on. Deliveries are let go only after the
//! commit that holds the alert states they come from.

mod cut;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError};

use crate::engine::evaluator::Lost;
use crate::engine::state::Change;
use crate::engine::state::Written;
use crate::engine::{Emission, Evaluator, Plan};
use crate::event::{SourceId, Span, Timestamp};
use crate::http::Check;
use crate::rule::RuleSet;
use crate::source::SourceInfo;
use crate::source::kafka::{Consumer, Notification};

use super::event::AppEvent;
use super::intake::Intake;
use super::keeper::Keeper;
use super::numbering::Numbering;
use super::publish::{Publisher, Standing};
use super::worker::{Order, Saying, Snapshot, Worker};
pub use cut::Remains;
use cut::Writing;

/// How often the clocks are looked at while nothing comes.
const BEAT: Duration = Duration::from_millis(100);
/// How far ahead of the wall clock event time may close windows.
const CLOCK_SLACK: Span = Span(5 * 60_000);
/// How often the status is made anew.
const STATUS_EVERY: Span = Span(500);
/// How long partitions of the checkpoint are waited for after the first assignment before windows close without them.
const ASSIGNMENT_PATIENCE: Span = Span(60_000);

/// What the coordinator is told from outside.
#[derive(Debug)]
pub enum Control {
    /// Judge by these rules from now on.
    Rules(Arc<RuleSet>),
    /// Read no further, count what was read, store it, end.
    Stop,
}

/// Everything the coordinator owns.
pub struct Coordinator {
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// Alert rules.
    pub rules: Arc<RuleSet>,
    /// Windows, joins and alerts.
    pub evaluator: Evaluator,
    /// The counting workers.
    pub workers: Vec<Worker>,
    /// The consumer.
    pub consumer: Option<Consumer>,
    /// What the consumer tells.
    pub notifications: Receiver<Notification>,
    /// What is told from outside.
    pub control: Receiver<Control>,
    /// Where checkpoints go.
    pub keeper: Keeper,
    /// What is stored of all that workers do not say.
    pub written: Written,
    /// The numbers under which models are stored.
    pub numbering: Numbering,
    /// Time between two checkpoints.
    pub checkpoint_every: Span,
    /// Where results go.
    pub publisher: Publisher,
    /// Source partitions by number.
    pub sources: Vec<SourceInfo>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// When the coordinator last stepped, in milliseconds of the wall clock.
    pub heartbeat: Arc<AtomicI64>,
    /// Told when the coordinator ends by itself: why.
    pub fatal: Sender<String>,
}

/// The state of the running loop.
#[allow(clippy::struct_excessive_bools)] // Four facts that do not depend on each other.
struct Loop {
    of: Coordinator,
    lags: BTreeMap<SourceId, i64>,
    idle: BTreeSet<SourceId>,
    /// A worker has ended before its time: what it counted is lost, and nothing may be stored any more.
    is_broken: bool,
    /// The cut that is being committed: what may be let go when it is.
    writing: Option<Writing>,
    /// Sources of the checkpoint that have not been assigned yet, and when the first assignment came.
    expected: BTreeSet<SourceId>,
    first_assigned: Option<Timestamp>,
    last_record: BTreeMap<u16, Timestamp>,
    /// Ids of topics that were told since the last checkpoint began: positions that come with it may be older.
    topic_ids: BTreeMap<String, Arc<str>>,
    /// What came in by topic lately, and gaps to be judged.
    intake: Intake,
    /// What workers have changed and no cut could hold, because one of them owed letters or the end came first.
    unwritten: Vec<Vec<Change>>,
    /// Answers to the order for a snapshot; `None` while no checkpoint is under way.
    aligning: Option<Vec<Option<Snapshot>>>,
    /// The last words of workers that have ended.
    ended: Vec<Option<Snapshot>>,
    /// Something in the outbox waits for a checkpoint.
    urgent: bool,
    draining: bool,
    checkpointed: Timestamp,
    shown: Timestamp,
    ticked: Timestamp,
    rotated: Timestamp,
}

impl Coordinator {
    /// Runs until it is told to stop or the consumer cannot go on.
    #[must_use]
    pub fn run(self) -> Remains {
        let now = (self.now)();
        let workers = self.workers.len();
        let expected = self.sources.iter().map(|source| source.id).collect();
        let mut body = Loop {
            of: self,
            lags: BTreeMap::new(),
            idle: BTreeSet::new(),
            is_broken: false,
            writing: None,
            expected,
            first_assigned: None,
            last_record: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            intake: Intake::default(),
            unwritten: Vec::new(),
            aligning: None,
            ended: (0..workers).map(|_| None).collect(),
            urgent: false,
            draining: false,
            checkpointed: now,
            shown: Timestamp(0),
            ticked: now,
            rotated: now,
        };
        // Rules may be gone since the run before, with their models or without.
        let emissions = body.of.evaluator.set_rules(Arc::clone(&body.of.rules));
        body.publish(&emissions);
        body.show_alerts();
        body.of.publisher.show_thresholds(&body.of.plan, &body.of.rules);
        while !body.is_over() {
            body.listen();
            body.step();
        }
        body.end();
        let store = body.of.keeper.end();
        Remains { store: store.filter(|_| !body.is_broken) }
    }
}

impl Loop {
    fn is_over(&self) -> bool {
        self.draining && self.ended.iter().all(Option::is_some)
    }

    /// Waits a beat for somebody to speak and takes in what is said.
    fn listen(&mut self) {
        let mut select = Select::new();
        let mut speakers = Vec::new();
        for (number, worker) in self.of.workers.iter().enumerate() {
            if self.is_heard(number) {
                select.recv(&worker.sayings);
                speakers.push(number);
            }
        }
        let first_other = speakers.len();
        select.recv(&self.of.notifications);
        select.recv(&self.of.keeper.answers);
        if !self.draining {
            select.recv(&self.of.control);
        }
        let Ok(ready) = select.ready_timeout(BEAT) else { return };
        // What the consumer tells of a partition it tells before it hands out the records: it must be heard first.
        while let Ok(notification) = self.of.notifications.try_recv() {
            self.notified(notification);
        }
        if let Some(number) = speakers.get(ready).copied() {
            let said = self.of.workers.get(number).map(|worker| worker.sayings.try_recv());
            match said {
                Some(Ok(saying)) => self.heard(number, saying),
                Some(Err(TryRecvError::Disconnected)) => self.worker_ended(number),
                _ => {}
            }
        } else if ready == first_other {
            match self.of.notifications.try_recv() {
                Ok(notification) => self.notified(notification),
                Err(TryRecvError::Disconnected) if !self.draining => self.stop(),
                // With the consumer gone its channel is always ready: leave the turn to the workers.
                Err(TryRecvError::Disconnected) => std::thread::yield_now(),
                Err(TryRecvError::Empty) => {}
            }
        } else if ready == first_other + 1 {
            match self.of.keeper.answers.try_recv() {
                Ok(answer) => self.committed(answer),
                Err(TryRecvError::Disconnected) => self.give_up("the thread that commits has ended unexpectedly"),
                Err(TryRecvError::Empty) => {}
            }
        } else {
            match self.of.control.try_recv() {
                Ok(Control::Rules(rules)) => {
                    self.of.rules = Arc::clone(&rules);
                    self.of.publisher.show_thresholds(&self.of.plan, &rules);
                    let emissions = self.of.evaluator.set_rules(rules);
                    self.publish(&emissions);
                    // Without emissions, too: which rules there are has changed.
                    self.show_alerts();
                }
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => self.stop(),
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    /// Whether a worker is listened to: it lives, and has not answered for the checkpoint that is under way.
    fn is_heard(&self, number: usize) -> bool {
        let lives = self.ended.get(number).is_some_and(Option::is_none);
        let answered = self.aligning.as_ref().and_then(|answers| answers.get(number)).is_some_and(Option::is_some);
        lives && !answered
    }

    fn heard(&mut self, number: usize, saying: Saying) {
        let now = (self.of.now)();
        for model in &saying.output.seen {
            self.last_record.insert(*model, now);
        }
        let sources = &self.of.sources;
        self.intake.note(&saying, |source| sources.get(source.0 as usize), now);
        self.of.publisher.record_latencies(&saying.output.latencies);
        self.of.evaluator.absorb(number, saying.output);
        for source in saying.flushed {
            // Only if it is still idle: records may have come since the order.
            if self.idle.contains(&source) {
                self.of.evaluator.set_idle(source, true);
            }
        }
        if let Some(snapshot) = saying.snapshot {
            let place = if saying.is_last {
                self.ended.get_mut(number)
            } else {
                self.aligning.as_mut().and_then(|answers| answers.get_mut(number))
            };
            match place {
                Some(place) => *place = Some(snapshot),
                // The answer for a cut that will not be finished.
                None => self.unwritten.push(snapshot.changes),
            }
        }
    }

    /// A worker has ended. Its last word was its snapshot; without one it has panicked, and nothing can be relied on.
    fn worker_ended(&mut self, number: usize) {
        if let Some(place) = self.ended.get_mut(number)
            && place.is_none()
        {
            *place = Some(Snapshot::default());
            self.give_up(&format!("worker {number} has ended unexpectedly; what it counted since the last checkpoint is read again"));
        }
    }

    fn notified(&mut self, notification: Notification) {
        match notification {
            Notification::Assigned(sources) => {
                self.first_assigned.get_or_insert_with(self.of.now);
                for source in &sources {
                    self.expected.remove(&source.id);
                    self.of.evaluator.assign(source.id, source.role);
                    if usize::try_from(source.id.0).is_ok_and(|place| place >= self.of.sources.len()) {
                        self.of.sources.push(source.clone());
                    }
                }
                tracing::info!(partitions = sources.len(), "partitions assigned");
                self.of.publisher.view.set_checks(vec![Check::new("kafka", true, "partitions assigned")]);
                self.tell(&AppEvent::Assigned(sources.len()));
            }
            Notification::Revoked(sources) => {
                tracing::info!(partitions = sources.len(), "partitions revoked");
                sources.into_iter().for_each(|source| self.of.evaluator.revoke(source));
            }
            Notification::Progress { idle, lag } => {
                self.lags.extend(lag);
                let idle: BTreeSet<SourceId> = idle.into_iter().collect();
                for source in self.idle.difference(&idle) {
                    self.of.evaluator.set_idle(*source, false);
                }
                self.idle = idle;
                let sources = self.of.evaluator.sources();
                let holds = |source: &&SourceId| sources.get(source).is_some_and(|state| !state.is_idle);
                let fresh: Vec<SourceId> = self.idle.iter().filter(holds).copied().collect();
                self.flush(&fresh);
            }
            Notification::Gap { source, from, to, cause } => {
                let topic = self.of.sources.get(source.0 as usize).map_or("", |source| source.topic.as_str());
                let reason = cause.describe(topic, from, to);
                tracing::error!("{reason}; the windows they belong to are marked");
                if let Some(info) = self.of.sources.get(source.0 as usize) {
                    self.intake.gap(&info.topic, info.partition, Lost { from, to });
                }
                self.of.evaluator.add_gap(source, reason.into(), Lost { from, to });
            }
            Notification::TopicId { topic, id, .. } => drop(self.topic_ids.insert(topic, id)),
            Notification::Trouble(what) => {
                tracing::warn!(target: "driftline::kafka", "{what}");
                if self.first_assigned.is_none() {
                    self.of.publisher.view.set_checks(vec![Check::new("kafka", false, &what)]);
                }
            }
            Notification::Fatal(what) => {
                let _ = self.of.fatal.send(format!("kafka: {what}"));
                self.stop();
            }
        }
    }

    /// Asks for the open panes of partitions that became idle.
    fn flush(&mut self, idle: &[SourceId]) {
        let workers = self.of.workers.len();
        for (number, worker) in self.of.workers.iter().enumerate() {
            let belongs = |source: &&SourceId| {
                let partition = self.of.sources.get(source.0 as usize).map_or(0, |source| source.partition);
                crate::source::kafka::Routing::worker(partition, workers) == number
            };
            let sources: Vec<SourceId> = idle.iter().filter(belongs).copied().collect();
            if !sources.is_empty() {
                let _ = worker.orders.try_send(Order::Flush(sources));
            }
        }
    }

    fn step(&mut self) {
        let now = (self.of.now)();
        self.of.heartbeat.store(now.0, Ordering::Relaxed);
        if self.first_assigned.is_some_and(|first| now > first + ASSIGNMENT_PATIENCE) && !self.expected.is_empty() {
            for source in std::mem::take(&mut self.expected) {
                tracing::warn!(source = source.0, "a partition of the checkpoint was not assigned again; windows no longer wait for it");
                self.of.evaluator.revoke(source);
            }
        }
        // The alert and the position after the gap are of one checkpoint: it can be written after this.
        if self.intake.has_gaps() {
            let emissions = self.intake.judge_gaps(&mut self.of.evaluator, now);
            self.publish(&emissions);
        }
        // A cut must be through one moment: while it is made, nothing is closed or judged.
        if self.aligning.is_none() {
            let began = super::clock::monotonic();
            let emissions = self.of.evaluator.advance(Some(now + CLOCK_SLACK));
            self.time_closing(&emissions, began.elapsed());
            self.publish(&emissions);
            if super::clock::since(self.ticked, now) >= Span::SECOND {
                let since = std::mem::replace(&mut self.ticked, now);
                self.tick(now, now - since);
            }
        }
        self.checkpoint(now);
        if super::clock::since(self.shown, now) >= STATUS_EVERY {
            self.shown = now;
            self.show_status(now);
            self.of.publisher.show_latencies(&self.of.plan);
            if super::clock::since(self.rotated, now) >= Span::MINUTE {
                self.rotated = now;
                self.of.publisher.telemetry.rotate_latencies();
            }
        }
    }

    /// Rules on the stream itself are about wall time.
    fn tick(&mut self, now: Timestamp, since: Span) {
        let last = |name: &str| {
            let number = self.of.plan.by_name.get(name)?;
            self.last_record.get(number).copied()
        };
        if since > super::clock::NAP {
            self.of.evaluator.sleep(&last, now, since);
        }
        let mut emissions = self.of.evaluator.tick(&last, now);
        emissions.extend(self.intake.judge_rejects(&mut self.of.evaluator, now));
        emissions.extend(self.of.evaluator.judge_gaps(&[], now));
        if let Some(letters) = &self.of.publisher.letters {
            letters.close(self.of.evaluator.flooded());
        }
        self.publish(&emissions);
    }

    fn time_closing(&mut self, emissions: &[Emission], took: Duration) {
        let closed = emissions.iter().filter(|emission| matches!(emission, Emission::Window(_))).count();
        for emission in emissions {
            if let Emission::Window(window) = emission {
                let each = took / u32::try_from(closed).unwrap_or(u32::MAX).max(1);
                self.of.publisher.telemetry.record_window_close(&window.summary.model, each);
            }
        }
    }

    fn show_alerts(&self) {
        let alerts = self.of.evaluator.alerts();
        self.of.publisher.show_alerts(alerts.views(&self.of.rules), &alerts.statuses(&self.of.rules));
    }

    fn show_status(&mut self, now: Timestamp) {
        let evaluator = &self.of.evaluator;
        let standing = Standing { event_clock: evaluator.event_clock(), sources: evaluator.sources(), kept: evaluator.kept() };
        self.of.publisher.show_status(&standing, &self.of.sources, &self.lags, now);
    }

    fn publish(&mut self, emissions: &[Emission]) {
        if emissions.is_empty() {
            return;
        }
        self.urgent |= self.of.publisher.publish(&self.of.plan, emissions);
        self.show_alerts();
    }

    fn stop(&mut self) {
        if self.draining {
            return;
        }
        self.draining = true;
        if let Some(letters) = &self.of.publisher.letters {
            letters.end();
        }
        // What answers have come belong to a cut that will not be finished. What they say has changed is said once: it goes
        // with the last words.
        let answers = self.aligning.take().into_iter().flatten().flatten();
        self.unwritten.extend(answers.map(|answer| answer.changes));
        if let Some(consumer) = &mut self.of.consumer {
            consumer.stop_polling();
        }
    }

    fn end(&mut self) {
        if let Some(consumer) = self.of.consumer.take() {
            consumer.stop();
        }
        self.hear_commit();
        if !self.is_broken {
            let emissions = self.of.evaluator.advance(Some((self.of.now)() + CLOCK_SLACK));
            self.publish(&emissions);
            self.note_topic_ids();
            let snapshots = self.ended.iter_mut().filter_map(Option::take).collect();
            self.write(snapshots);
            self.hear_commit();
        }
        let now = (self.of.now)();
        self.show_status(now);
        for worker in self.of.workers.drain(..) {
            let _ = worker.thread.join();
        }
    }

    fn tell(&self, event: &AppEvent) {
        if let Some(listener) = &self.of.publisher.listener {
            listener(event);
        }
    }
}
