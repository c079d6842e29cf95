//! The task that delivers: takes what is due out of the outbox, tries it, writes down what became of it and reports. Slow targets
//! hold up nobody but themselves. The clock is given; what is stored, and when, is the app's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::backoff::RetryPolicy;
use super::failure::Failure;
use super::outbox::{Delivery, End, Outbox, OutboxError, Payload, Settled, Target, Verdict};
use super::transport::Transports;
use crate::event::{Span, Timestamp};
use crate::rule::message::{ActionCall, Notice};

/// Longest time that a shutdown waits for deliveries; what is left stays in the outbox for the next start.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Orders and reports that may wait in their channels.
const CHANNEL: usize = 256;
/// Reports that wait for room in the channel; at this many no further delivery is begun.
const MAX_BACKLOG: usize = 1_024;
/// Longest sleep, so that a wall clock that is set forward or back is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Reads the wall clock.
pub type Clock = fn() -> Timestamp;

/// Something to deliver.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// A message to a receiver.
    Notice(Box<Notice>),
    /// A call of an action.
    Action(Box<ActionCall>),
}

/// How to deliver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Actions are logged and reported, not called.
    pub dry_run_actions: bool,
    /// Waits and ages.
    pub retry: RetryPolicy,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It arrived; an action was requested.
    Delivered,
    /// It had arrived before.
    Duplicate,
    /// It was only logged.
    DryRun,
    /// It failed and will be tried again.
    Retrying,
    /// It was given up.
    Dead,
}

/// What the dispatcher tells the app about an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Key of the delivery.
    pub key: String,
    /// Where it went.
    pub target: Target,
    /// Its episode.
    pub episode: String,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Why it failed.
    pub error: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// Wall time.
    pub at: Timestamp,
}

impl DeliveryReport {
    /// The outcome as telemetry and results name it: `delivered`, `duplicate`, `retrying`, `dead` for a receiver; `requested`,
    /// `duplicate`, `retrying`, `failed`, `dry_run` for an action.
    #[must_use]
    pub fn outcome_name(&self) -> &'static str {
        let is_action = matches!(self.target, Target::Action { .. });
        match (self.outcome, is_action) {
            (DeliveryOutcome::Delivered, false) => "delivered",
            (DeliveryOutcome::Delivered, true) => "requested",
            (DeliveryOutcome::Duplicate, _) => "duplicate",
            (DeliveryOutcome::DryRun, _) => "dry_run",
            (DeliveryOutcome::Retrying, _) => "retrying",
            (DeliveryOutcome::Dead, false) => "dead",
            (DeliveryOutcome::Dead, true) => "failed",
        }
    }
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    transports: Mutex<Arc<Transports>>,
    /// Settled without an attempt, still to be reported.
    refused: Mutex<Vec<Settled>>,
    wake: Notify,
}

/// The outbox as the app and the API see it; every copy is the same outbox.
#[derive(Clone, Debug)]
pub struct OutboxHandle {
    shared: Arc<Shared>,
    clock: Clock,
}

impl OutboxHandle {
    /// Puts an order into the outbox without letting it go, and gives back the mark to release it with. Call this while the
    /// state that caused it is changed, store [`OutboxHandle::snapshot`] with that state, then [`OutboxHandle::release`].
    pub fn stage(&self, order: &Order) -> u64 {
        self.put(order, Outbox::stage)
    }

    fn put(&self, order: &Order, put: fn(&mut Outbox, Delivery, Timestamp) -> Option<Settled>) -> u64 {
        let now = (self.clock)();
        let deliveries = match order {
            Order::Notice(notice) => self.transports().deliveries(notice, now),
            Order::Action(call) => {
                vec![Delivery::new(Target::Action { name: call.action.clone() }, Payload::Action(call.clone()), now)]
            }
        };
        let mut outbox = self.outbox();
        let refused: Vec<Settled> = deliveries.into_iter().filter_map(|delivery| put(&mut outbox, delivery, now)).collect();
        let mark = outbox.mark();
        drop(outbox);
        if !refused.is_empty() {
            self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).extend(refused);
            self.shared.wake.notify_one();
        }
        mark
    }

    /// The stored form of the outbox, and the mark up to which it may be released once that is stored.
    ///
    /// # Errors
    /// Where it cannot be serialised, which plain data never causes.
    pub fn snapshot(&self) -> Result<(Vec<u8>, u64), OutboxError> {
        let outbox = self.outbox();
        Ok((outbox.snapshot()?, outbox.mark()))
    }

    /// Lets everything up to the mark go.
    pub fn release(&self, mark: u64) {
        self.outbox().release(mark);
        self.shared.wake.notify_one();
    }

    /// The stored form of one model's share, and the mark up to which it may be released once that is stored.
    ///
    /// # Errors
    /// Where it cannot be serialised, which plain data never causes.
    pub fn share(&self, model: &str) -> Result<(Vec<u8>, u64), OutboxError> {
        let outbox = self.outbox();
        Ok((outbox.share(model)?, outbox.mark()))
    }

    /// Lets everything of one model up to the mark go.
    pub fn release_share(&self, model: &str, mark: u64) {
        self.outbox().release_share(model, mark);
        self.shared.wake.notify_one();
    }

    /// Takes over what another owner of a model had to deliver.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn adopt(&self, share: &[u8]) -> Result<(), OutboxError> {
        self.outbox().adopt(share)?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Gives up what waits for a model that somebody else owns from now on.
    pub fn abandon(&self, model: &str) {
        self.outbox().abandon(model);
    }

    /// Deliveries that wait or are in flight.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.outbox().depth()
    }

    /// Reads the outbox, for the API. Holds up deliveries while it runs.
    pub fn view<T>(&self, read: impl FnOnce(&Outbox) -> T) -> T {
        read(&self.outbox())
    }

    /// Uses other settings from the next attempt on; attempts in flight end with the old ones.
    pub fn replace(&self, transports: Transports) {
        *self.shared.transports.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(transports);
        self.shared.wake.notify_one();
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.shared.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transports(&self) -> Arc<Transports> {
        Arc::clone(&self.shared.transports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running dispatcher. Dropping it ends the task at once; [`Dispatcher::shutdown`] ends it well.
#[derive(Debug)]
pub struct Dispatcher {
    orders: mpsc::Sender<Order>,
    outbox: OutboxHandle,
    stop: Option<oneshot::Sender<Instant>>,
    tasks: JoinSet<()>,
}

impl Dispatcher {
    /// Starts to deliver what `outbox` holds and what comes. The receiver must be read or dropped: when it is full, nothing
    /// further is begun.
    #[must_use]
    pub fn spawn(transports: Transports, outbox: Outbox, options: Options, clock: Clock) -> (Dispatcher, mpsc::Receiver<DeliveryReport>) {
        let shared = Shared {
            outbox: Mutex::new(outbox),
            transports: Mutex::new(Arc::new(transports)),
            refused: Mutex::new(Vec::new()),
            wake: Notify::new(),
        };
        let outbox = OutboxHandle { shared: Arc::new(shared), clock };
        let (orders, orders_in) = mpsc::channel(CHANNEL);
        let (reports, reports_out) = mpsc::channel(CHANNEL);
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            outbox: outbox.clone(),
            options,
            attempts: JoinSet::new(),
            numbers: BTreeMap::new(),
            backlog: VecDeque::new(),
            reports: Some(reports),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(worker.run(orders_in, stopped));
        (Dispatcher { orders, outbox, stop: Some(stop), tasks }, reports_out)
    }

    /// The way in for orders that need not be stored with a state: they may be sent at once.
    #[must_use]
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// The outbox.
    #[must_use]
    pub fn outbox(&self) -> OutboxHandle {
        self.outbox.clone()
    }

    /// Delivers what is due, waits for attempts in flight, at most for `deadline`, and ends. What waits for a later attempt or
    /// was not finished is still in the outbox: snapshot it afterwards.
    pub async fn shutdown(mut self, deadline: Duration) {
        if let Some(stop) = self.stop.take() {
            // The worker cannot be gone before it was told to.
            let _ = stop.send(Instant::now() + deadline);
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Worker {
    outbox: OutboxHandle,
    options: Options,
    attempts: JoinSet<Result<End, Failure>>,
    /// Number and content of the delivery of each attempt.
    numbers: BTreeMap<Id, (u64, Delivery)>,
    backlog: VecDeque<DeliveryReport>,
    /// `None` once nobody listens.
    reports: Option<mpsc::Sender<DeliveryReport>>,
}

impl Worker {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stopped: oneshot::Receiver<Instant>) {
        let mut orders_open = true;
        let mut deadline: Option<Instant> = None;
        let mut next_at: Option<Timestamp> = None;
        // Whether something has happened that may have made a delivery due.
        let mut changed = true;
        let outbox = self.outbox.clone();
        loop {
            self.report_refused();
            if changed && self.backlog.len() < MAX_BACKLOG {
                next_at = self.begin_due();
                changed = false;
            }
            if deadline.is_some() && !orders_open && self.attempts.is_empty() && self.backlog.is_empty() {
                break;
            }
            let wake_at = Instant::now() + next_at.map_or(MAX_SLEEP, |next| self.until(next)).min(MAX_SLEEP);
            let reports = self.reports.clone();
            tokio::select! {
                order = orders.recv(), if orders_open => match order {
                    Some(order) => {
                        outbox.put(&order, Outbox::push);
                        changed = true;
                    }
                    None => orders_open = false,
                },
                Some(done) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.finish(done);
                    changed = true;
                }
                permit = reserve(reports), if !self.backlog.is_empty() => self.hand_over(permit),
                () = outbox.shared.wake.notified() => changed = true,
                () = sleep_until(wake_at) => changed = true,
                until = &mut stopped, if deadline.is_none() => {
                    // A dispatcher that was dropped aborts this task, so that an error means now.
                    deadline = Some(until.unwrap_or_else(|_| Instant::now()));
                    // What was sent before is still taken.
                    orders.close();
                }
                () = sleep_until(deadline.unwrap_or(wake_at)), if deadline.is_some() => break,
            }
        }
        // Attempts that are broken off here are as they were: pending, under the same key.
        self.attempts.shutdown().await;
        let mut outbox = outbox.outbox();
        for (number, _) in self.numbers.values() {
            outbox.put_back(*number);
        }
    }

    /// Begins every delivery that is due, and says when the next one is.
    fn begin_due(&mut self) -> Option<Timestamp> {
        let now = (self.outbox.clock)();
        let due = self.outbox.outbox().take_due(now);
        let transports = self.outbox.transports();
        for (number, delivery) in due.deliveries {
            let dry_run = self.options.dry_run_actions && matches!(delivery.payload, Payload::Action(_));
            let transports = Arc::clone(&transports);
            let copy = delivery.clone();
            let clock = self.outbox.clock;
            let attempt = self.attempts.spawn(async move {
                if dry_run {
                    tracing::info!(target = %copy.target, key = copy.key, "dry run: the action is not called");
                    return Ok(End::DryRun);
                }
                transports.deliver(&copy, clock()).await
            });
            self.numbers.insert(attempt.id(), (number, delivery));
        }
        due.next_at
    }

    fn finish(&mut self, done: Result<(Id, Result<End, Failure>), JoinError>) {
        let (id, result) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Err(Failure::retryable("the attempt was broken off"))),
        };
        let Some((number, delivery)) = self.numbers.remove(&id) else { return };
        let now = (self.outbox.clock)();
        let verdict = self.outbox.outbox().finish(number, result, &self.options.retry, now);
        match verdict {
            Some(Verdict::Settled(settled)) => self.report_settled(settled),
            Some(Verdict::Retrying { attempts, error, next_at }) => {
                tracing::warn!(target = %delivery.target, key = delivery.key, attempts, error, next_at = %next_at, "delivery failed, will be tried again");
                self.report(DeliveryReport {
                    episode: delivery.payload.episode().to_owned(),
                    key: delivery.key,
                    target: delivery.target,
                    outcome: DeliveryOutcome::Retrying,
                    error: Some(error),
                    attempts,
                    at: now,
                });
            }
            None => {}
        }
    }

    fn report_refused(&mut self) {
        let refused = std::mem::take(&mut *self.outbox.shared.refused.lock().unwrap_or_else(PoisonError::into_inner));
        for settled in refused {
            self.report_settled(settled);
        }
    }

    fn report_settled(&mut self, settled: Settled) {
        let Settled { key, target, episode, attempts, at, end, .. } = settled;
        let (outcome, error) = match end {
            End::Delivered => (DeliveryOutcome::Delivered, None),
            End::Duplicate => (DeliveryOutcome::Duplicate, None),
            End::DryRun => (DeliveryOutcome::DryRun, None),
            End::Dead { reason } => (DeliveryOutcome::Dead, Some(reason)),
        };
        if let Some(error) = &error {
            tracing::error!(target = %target, key, attempts, error, "delivery was given up");
        } else {
            tracing::info!(target = %target, key, attempts, ?outcome, "delivered");
        }
        self.report(DeliveryReport { key, target, episode, outcome, error, attempts, at });
    }

    fn report(&mut self, report: DeliveryReport) {
        if self.reports.is_some() {
            self.backlog.push_back(report);
        }
    }

    /// Sends the oldest report; without a permit nobody listens.
    fn hand_over(&mut self, permit: Option<mpsc::OwnedPermit<DeliveryReport>>) {
        let Some(permit) = permit else {
            self.reports = None;
            self.backlog.clear();
            return;
        };
        if let Some(report) = self.backlog.pop_front() {
            permit.send(report);
        }
    }

    fn until(&self, next: Timestamp) -> Duration {
        let wait: Span = next - (self.outbox.clock)();
        Duration::from_millis(u64::try_from(wait.0).unwrap_or_default())
    }
}

/// Room for one report; `None` if nobody listens.
async fn reserve(reports: Option<mpsc::Sender<DeliveryReport>>) -> Option<mpsc::OwnedPermit<DeliveryReport>> {
    reports?.reserve_owned().await.ok()
}
