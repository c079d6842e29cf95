//! What must still be delivered, as plain data: a queue that is written with the state that caused it. Delivers nothing, and
//! takes the time as an argument.
//!
//! A delivery lives through *staged* (its cause may not be stored yet), *pending* (may be sent), and is then settled: delivered
//! or dead. Its key never changes, and a key that is known is not taken twice. Messages of one episode to one target go in
//! order: none is sent before the one in front of it is settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::backoff::RetryPolicy;
use super::failure::Failure;
use crate::event::{Span, Timestamp};
use crate::rule::message::{ActionCall, Notice};

/// Most deliveries that wait. At 5 kB each this is some 25 MB; a backlog that long means that nothing is read any more.
pub const MAX_PENDING: usize = 5_000;
/// Settled deliveries that are remembered, for the API and to refuse a repeated key.
pub const MAX_SETTLED: usize = 1_000;
/// Deliveries to one lane at the same time.
pub const MAX_PER_LANE: usize = 4;

/// Longest wait that a server can ask for. To be asked once an hour burdens nobody, and a server that says "next year" must not
/// have a message given up at once.
const MAX_RETRY_AFTER: Span = Span::HOUR;

/// Version of the stored form.
const VERSION: u32 = 1;

/// Why a stored outbox cannot be read.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// Not the stored form.
    #[error("the stored outbox is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Written by a newer agent.
    #[error("the stored outbox has version {found}; this agent reads up to {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
}

/// One way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Mail to one address of the receiver's mail target of that index.
    Email {
        /// Index among the receiver's mail targets.
        index: usize,
        /// The address.
        to: String,
    },
    /// The receiver's webhook of that index.
    Webhook {
        /// Index among the receiver's webhooks.
        index: usize,
    },
    /// None: there is no receiver of that name.
    Unknown,
}

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A receiver, over one of its channels.
    Receiver {
        /// Its name.
        name: String,
        /// The way.
        channel: Channel,
    },
    /// An action.
    Action {
        /// Its name.
        name: String,
    },
}

impl Target {
    /// Name of the receiver or action.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Target::Receiver { name, .. } | Target::Action { name } => name,
        }
    }

    fn lane(&self) -> Lane<'_> {
        match self {
            Target::Receiver { channel: Channel::Email { .. }, .. } => Lane::Mail,
            other => Lane::Target(other),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Receiver { name, channel: Channel::Email { to, .. } } => write!(f, "receiver/{name}/email/{to}"),
            Target::Receiver { name, channel: Channel::Webhook { index } } => write!(f, "receiver/{name}/webhook/{index}"),
            Target::Receiver { name, channel: Channel::Unknown } => write!(f, "receiver/{name}"),
            Target::Action { name } => write!(f, "action/{name}"),
        }
    }
}

/// What shares a server, and so a limit: all mail goes through one.
#[derive(PartialEq, Eq, Hash)]
enum Lane<'a> {
    Mail,
    Target(&'a Target),
}

/// What is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// A message.
    Notice(Box<Notice>),
    /// A call.
    Action(Box<ActionCall>),
}

impl Payload {
    /// The episode it belongs to.
    #[must_use]
    pub fn episode(&self) -> &str {
        match self {
            Payload::Notice(notice) => &notice.episode,
            Payload::Action(call) => &call.episode,
        }
    }

    /// The model it is about; empty where it is about none.
    #[must_use]
    pub fn model(&self) -> &str {
        let alert = match self {
            Payload::Notice(notice) => &notice.alert,
            Payload::Action(call) => &call.alert,
        };
        alert.labels.get("model").map_or("", String::as_str)
    }
}

/// One message to one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names it through all retries and restarts.
    pub key: String,
    /// Where it goes.
    pub target: Target,
    /// What goes.
    pub payload: Payload,
    /// Attempts that have failed.
    pub attempts: u32,
    /// Wall time before which it is not tried again.
    pub next_at: Timestamp,
    /// Wall time at which it was put in.
    pub created_at: Timestamp,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Delivery {
    /// A delivery that has not been tried.
    #[must_use]
    pub fn new(target: Target, payload: Payload, now: Timestamp) -> Delivery {
        let key = match &payload {
            Payload::Notice(notice) => format!("{}/{}/{}/{target}", notice.episode, notice.sequence, notice.kind.as_str()),
            Payload::Action(call) => format!("{}/{target}", call.episode),
        };
        Delivery { key, target, payload, attempts: 0, next_at: now, created_at: now, last_error: None }
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It arrived.
    Delivered,
    /// It had arrived before.
    Duplicate,
    /// It was only logged.
    DryRun,
    /// It was given up.
    Dead {
        /// Why.
        reason: String,
    },
}

/// A delivery that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Its key.
    pub key: String,
    /// Where it went.
    pub target: Target,
    /// Its episode.
    pub episode: String,
    /// The model it was about.
    #[serde(default)]
    pub model: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was put in.
    pub created_at: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub end: End,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is over.
    Settled(Settled),
    /// It will be tried again.
    Retrying {
        /// Attempts made.
        attempts: u32,
        /// Why this one failed.
        error: String,
        /// When it is tried again.
        next_at: Timestamp,
    },
}

/// What can be sent now.
#[derive(Debug, Default)]
pub struct Due {
    /// Number and content of each; they are in flight until [`Outbox::finish`].
    pub deliveries: Vec<(u64, Delivery)>,
    /// When the next one comes due by time; `None` if only the end of another can free one.
    pub next_at: Option<Timestamp>,
}

/// The queue. Numbers are given in the order of arrival and never twice.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(super) next: u64,
    pub(super) pending: BTreeMap<u64, Delivery>,
    /// Those of them whose cause may not be stored yet.
    pub(super) staged: BTreeSet<u64>,
    pub(super) in_flight: BTreeSet<u64>,
    pub(super) settled: VecDeque<Settled>,
}

/// The stored form. JSON, because the body of a call is any JSON.
#[derive(Serialize)]
struct Stored<'a> {
    version: u32,
    next: u64,
    pending: Vec<(u64, &'a Delivery)>,
    settled: &'a VecDeque<Settled>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Restored {
    next: u64,
    pending: Vec<(u64, Delivery)>,
    settled: VecDeque<Settled>,
}

impl Outbox {
    /// Puts a delivery in that is not sent before [`Outbox::release`]. Gives back the settled delivery where there is no room
    /// for it; one whose key is known is dropped.
    pub fn stage(&mut self, delivery: Delivery, now: Timestamp) -> Option<Settled> {
        let number = self.next;
        let refused = self.push(delivery, now);
        if self.next > number {
            self.staged.insert(number);
        }
        refused
    }

    /// The same for a delivery that may be sent at once.
    pub fn push(&mut self, delivery: Delivery, now: Timestamp) -> Option<Settled> {
        let known =
            self.pending.values().any(|other| other.key == delivery.key) || self.settled.iter().any(|other| other.key == delivery.key);
        if known {
            return None;
        }
        if self.pending.len() >= MAX_PENDING {
            return Some(self.settle(delivery, End::Dead { reason: format!("the outbox is full ({MAX_PENDING} waiting)") }, now));
        }
        self.pending.insert(self.next, delivery);
        self.next += 1;
        None
    }

    /// The number that the next delivery gets: everything staged so far lies below it.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.next
    }

    /// Lets everything below the mark go.
    pub fn release(&mut self, mark: u64) {
        self.staged = self.staged.split_off(&mark);
    }

    /// Takes what can be sent now: not staged, due, at the head of its episode and target, and within the limit of its lane.
    pub fn take_due(&mut self, now: Timestamp) -> Due {
        // Sets and maps whose order nothing sees: the numbers decide.
        let mut lanes: FxHashMap<Lane<'_>, usize> = FxHashMap::default();
        for delivery in self.in_flight.iter().filter_map(|number| self.pending.get(number)) {
            *lanes.entry(delivery.target.lane()).or_default() += 1;
        }
        let mut due = Due::default();
        let mut heads: FxHashSet<(&Target, &str)> = FxHashSet::default();
        for (number, delivery) in &self.pending {
            let is_head = heads.insert((&delivery.target, delivery.payload.episode()));
            if !is_head || self.in_flight.contains(number) || self.staged.contains(number) {
                continue;
            }
            if delivery.next_at > now {
                due.next_at = Some(due.next_at.map_or(delivery.next_at, |next| next.min(delivery.next_at)));
                continue;
            }
            let lane = lanes.entry(delivery.target.lane()).or_default();
            if *lane < MAX_PER_LANE {
                *lane += 1;
                due.deliveries.push((*number, delivery.clone()));
            }
        }
        self.in_flight.extend(due.deliveries.iter().map(|(number, _)| *number));
        due
    }

    /// Records the end of an attempt. `None` where the number is not known.
    pub fn finish(&mut self, number: u64, result: Result<End, Failure>, policy: &RetryPolicy, now: Timestamp) -> Option<Verdict> {
        self.in_flight.remove(&number);
        let mut delivery = self.pending.remove(&number)?;
        delivery.attempts = delivery.attempts.saturating_add(1);
        let end = match result {
            Ok(end) => end,
            Err(Failure::Permanent { error }) => End::Dead { reason: error },
            Err(Failure::Retryable { error, retry_after }) => {
                let age = match delivery.payload {
                    Payload::Notice(_) => policy.notice_age,
                    Payload::Action(_) => policy.action_age,
                };
                let wait = policy.wait(&delivery.key, delivery.attempts).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
                let next_at = now + wait;
                if next_at <= delivery.created_at + age {
                    let attempts = delivery.attempts;
                    delivery.next_at = next_at;
                    delivery.last_error = Some(error.clone());
                    self.pending.insert(number, delivery);
                    return Some(Verdict::Retrying { attempts, error, next_at });
                }
                End::Dead { reason: format!("given up after {} attempts: {error}", delivery.attempts) }
            }
        };
        Some(Verdict::Settled(self.settle(delivery, end, now)))
    }

    /// Gives back a delivery whose attempt was broken off: it is as it was before.
    pub fn put_back(&mut self, number: u64) {
        self.in_flight.remove(&number);
    }

    fn settle(&mut self, delivery: Delivery, end: End, at: Timestamp) -> Settled {
        let settled = Settled {
            key: delivery.key,
            episode: delivery.payload.episode().to_owned(),
            model: delivery.payload.model().to_owned(),
            target: delivery.target,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            at,
            end,
        };
        self.settled.push_back(settled.clone());
        if self.settled.len() > MAX_SETTLED {
            self.settled.pop_front();
        }
        settled
    }

    /// Deliveries that wait or are in flight.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.pending.len()
    }

    /// What waits, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Delivery> {
        self.pending.values()
    }

    /// What is over, latest first.
    pub fn settled(&self) -> impl Iterator<Item = &Settled> {
        self.settled.iter().rev()
    }

    /// The stored form: everything that waits, staged, in flight or due, and what is remembered of the settled.
    ///
    /// # Errors
    /// Where the serialiser refuses; plain data never makes it.
    pub fn snapshot(&self) -> Result<Vec<u8>, OutboxError> {
        let pending = self.pending.iter().map(|(number, delivery)| (*number, delivery)).collect();
        Ok(serde_json::to_vec(&Stored { version: VERSION, next: self.next, pending, settled: &self.settled })?)
    }

    /// Reads the stored form. Everything in it may be sent at once: its cause was stored with it.
    ///
    /// # Errors
    /// Where it is damaged or of a newer version.
    pub fn restore(bytes: &[u8]) -> Result<Outbox, OutboxError> {
        let Version { version } = serde_json::from_slice(bytes)?;
        if version > VERSION {
            return Err(OutboxError::Version { found: version });
        }
        let restored: Restored = serde_json::from_slice(bytes)?;
        let pending: BTreeMap<u64, Delivery> = restored.pending.into_iter().collect();
        let next = pending.keys().next_back().map_or(restored.next, |last| restored.next.max(last.saturating_add(1)));
        Ok(Outbox { next, pending, staged: BTreeSet::new(), in_flight: BTreeSet::new(), settled: restored.settled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::mail::tests::notice;
    use crate::rule::message::NoticeKind;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn hook(episode: &str, sequence: u32, receiver: &str) -> Delivery {
        let kind = if sequence == 0 { NoticeKind::Firing } else { NoticeKind::Resolved };
        let notice = Notice { episode: episode.into(), sequence, kind, ..notice() };
        let target = Target::Receiver { name: receiver.into(), channel: Channel::Webhook { index: 0 } };
        Delivery::new(target, Payload::Notice(Box::new(notice)), NOW)
    }

    fn filled(deliveries: impl IntoIterator<Item = Delivery>) -> Outbox {
        let mut outbox = Outbox::default();
        for delivery in deliveries {
            assert_eq!(outbox.push(delivery, NOW), None);
        }
        outbox
    }

    fn keys(due: &Due) -> Vec<&str> {
        due.deliveries.iter().map(|(_, delivery)| delivery.key.as_str()).collect()
    }

    #[test]
    fn a_known_key_is_taken_once() {
        let mut outbox = filled([hook("E", 0, "a"), hook("E", 0, "a")]);
        assert_eq!(outbox.depth(), 1);
        let (number, _) = outbox.take_due(NOW).deliveries.remove(0);
        outbox.finish(number, Ok(End::Delivered), &RetryPolicy::default(), NOW).unwrap();
        outbox.push(hook("E", 0, "a"), NOW);
        assert_eq!(outbox.depth(), 0);
        assert_eq!(outbox.settled().count(), 1);
    }

    #[test]
    fn nothing_goes_before_it_is_released() {
        let mut outbox = Outbox::default();
        outbox.stage(hook("E", 0, "a"), NOW);
        let mark = outbox.mark();
        outbox.stage(hook("F", 0, "a"), NOW);
        outbox.push(hook("G", 0, "a"), NOW);
        assert_eq!(keys(&outbox.take_due(NOW)), ["G/0/firing/receiver/a/webhook/0"]);
        outbox.release(mark);
        assert_eq!(keys(&outbox.take_due(NOW)), ["E/0/firing/receiver/a/webhook/0"]);
        outbox.release(outbox.mark());
        assert_eq!(keys(&outbox.take_due(NOW)), ["F/0/firing/receiver/a/webhook/0"]);
    }

    #[test]
    fn an_episode_stays_in_order_per_target() {
        let mut outbox = filled([hook("E", 0, "a"), hook("E", 1, "a"), hook("E", 1, "b")]);
        let due = outbox.take_due(NOW);
        assert_eq!(keys(&due), ["E/0/firing/receiver/a/webhook/0", "E/1/resolved/receiver/b/webhook/0"]);
        let policy = RetryPolicy::default();
        outbox.finish(due.deliveries[0].0, Err(Failure::retryable("x")), &policy, NOW).unwrap();
        assert!(outbox.take_due(NOW).deliveries.is_empty(), "the second overtook the first");
        let due = outbox.take_due(NOW + Span::HOUR);
        outbox.finish(due.deliveries[0].0, Err(Failure::permanent("gone")), &policy, NOW).unwrap();
        assert_eq!(keys(&outbox.take_due(NOW)), ["E/1/resolved/receiver/a/webhook/0"]);
    }

    #[test]
    fn a_lane_has_a_limit_of_its_own() {
        let mut outbox = filled((0..10).map(|index| hook(&format!("E{index}"), 0, "slow")).chain([hook("F", 0, "fast")]));
        let due = outbox.take_due(NOW);
        assert_eq!(due.deliveries.len(), MAX_PER_LANE + 1);
        assert!(outbox.take_due(NOW).deliveries.is_empty());
        outbox.put_back(due.deliveries[0].0);
        assert_eq!(outbox.take_due(NOW).deliveries.len(), 1);
    }

    #[test]
    fn retries_are_spaced_and_end() {
        let policy = RetryPolicy::default();
        let mut outbox = filled([hook("E", 0, "a")]);
        let mut now = NOW;
        for attempt in 1.. {
            let mut due = outbox.take_due(now);
            let (number, _) = due.deliveries.remove(0);
            let failure = Failure::Retryable { error: "busy".into(), retry_after: (attempt == 1).then_some(Span(400 * Span::DAY.0)) };
            match outbox.finish(number, Err(failure), &policy, now).unwrap() {
                Verdict::Retrying { attempts, next_at, .. } => {
                    assert_eq!(attempts, attempt);
                    if attempt == 1 {
                        assert_eq!(next_at, now + Span::HOUR, "the server's wish was not heard");
                    }
                    assert_eq!(outbox.take_due(next_at - Span(1)).next_at, Some(next_at));
                    now = next_at;
                }
                Verdict::Settled(settled) => {
                    assert_eq!(settled.end, End::Dead { reason: format!("given up after {attempt} attempts: busy") });
                    assert!(now - NOW > Span(74 * Span::HOUR.0) && now - NOW <= policy.notice_age, "{}", now - NOW);
                    break;
                }
            }
        }
    }

    #[test]
    fn a_restart_forgets_nothing_but_what_was_in_flight() {
        let mut outbox = filled([hook("E", 0, "a"), hook("E", 1, "a"), hook("G", 0, "a")]);
        let due = outbox.take_due(NOW);
        outbox.finish(due.deliveries[1].0, Ok(End::Delivered), &RetryPolicy::default(), NOW).unwrap();
        outbox.stage(hook("H", 0, "a"), NOW);
        let mut again = Outbox::restore(&outbox.snapshot().unwrap()).unwrap();
        assert_eq!(again.depth(), 3);
        assert_eq!(keys(&again.take_due(NOW)), ["E/0/firing/receiver/a/webhook/0", "H/0/firing/receiver/a/webhook/0"]);
        assert_eq!(again.push(hook("G", 0, "a"), NOW), None);
        assert_eq!(again.depth(), 3, "a delivered key was taken again");
        assert_eq!(again.mark(), outbox.mark());
        assert!(matches!(Outbox::restore(b"{\"version\":99}"), Err(OutboxError::Version { found: 99 })));
        assert!(matches!(Outbox::restore(b"{\"version\":1}"), Err(OutboxError::Damaged(_))));
    }

    #[test]
    fn memory_is_bounded() {
        let mut outbox = Outbox::default();
        let template = hook("E", 0, "a");
        for index in 0..MAX_PENDING {
            outbox.pending.insert(index as u64, template.clone());
        }
        outbox.next = MAX_PENDING as u64;
        let refused = outbox.push(hook("F", 0, "a"), NOW).unwrap();
        assert!(matches!(refused.end, End::Dead { .. }));
        assert_eq!(outbox.depth(), MAX_PENDING);
        for index in 0..=MAX_SETTLED {
            outbox.settle(hook(&format!("Z{index}"), 0, "a"), End::Delivered, NOW);
        }
        assert_eq!(outbox.settled().count(), MAX_SETTLED);
    }
}
