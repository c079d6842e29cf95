//! Which rejected records become dead letters, and what is written on them.
//!
//! Letters are limited by wall time, each reason by itself, and stop for a topic whose rejections are a flood: then one alert
//! says it. Nothing here reaches the engine, so no measurement depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::event::{Reject, SourceId, Timestamp};
use crate::source::kafka::{Letter, LetterCount, LetterStatus, Letters, OnFailure};
use crate::source::{Batch, Head};

use super::clock;

/// The headers that a letter has beside those of its record.
const HEADERS: &str = "__drift.errors.";
/// How often a record has become a letter, this time included.
const ATTEMPT: &str = "__drift.errors.attempt";
/// Seconds of the rate that may come at once.
const BURST_SECONDS: i64 = 10;
/// The units of the limiter in a second.
const NANOS: i64 = 1_000_000_000;

/// The dead letters of this process: shared by the workers that write them and the coordinator that stops a flood.
#[derive(Debug)]
pub struct DeadLetters {
    letters: Letters,
    group: String,
    rate: Rate,
    /// The topics that are flooded with rejections, and how often that has changed.
    closed: RwLock<Arc<BTreeSet<String>>>,
    changes: AtomicU64,
}

impl DeadLetters {
    /// Letters that leave by a producer, `rate` of each reason a second.
    #[must_use]
    pub fn new(letters: Letters, group: String, rate: u32) -> DeadLetters {
        DeadLetters { letters, group, rate: Rate::new(rate, clock::monotonic()), closed: RwLock::default(), changes: AtomicU64::new(0) }
    }

    /// Stops letters of these topics, and of no others.
    pub fn close(&self, topics: BTreeSet<String>) {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        if **closed != topics {
            *closed = Arc::new(topics);
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// The process is ending: letters on their way are not waited for much longer.
    pub fn end(&self) {
        self.letters.end();
    }

    /// Where the letters go, and what happens where they cannot be delivered.
    #[must_use]
    pub fn settings(&self) -> (&str, OnFailure) {
        (self.letters.topic(), self.letters.on_failure())
    }

    /// What became of them.
    #[must_use]
    pub fn counts(&self) -> Vec<LetterCount> {
        self.letters.counts()
    }

    /// How it stands with them.
    #[must_use]
    pub fn status(&self) -> LetterStatus {
        self.letters.status()
    }
}

/// What a worker has to say of the rejections of one partition that the counts do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Records without a value: they are counted as empty, but they are no poison.
    pub tombstones: u64,
    /// A record that was rejected: the last one.
    pub example: Option<(i64, Reject)>,
}

/// One worker's part in it.
#[derive(Debug)]
pub struct Clerk {
    worker: usize,
    office: Option<Arc<DeadLetters>>,
    closed: Arc<BTreeSet<String>>,
    changes: u64,
    rejected: BTreeMap<SourceId, Rejected>,
    /// A letter could not be taken: the records from there on have to be read again.
    owes: bool,
}

impl Clerk {
    /// The clerk of a worker. Without dead letters it only notes what was rejected.
    #[must_use]
    pub fn new(worker: usize, office: Option<Arc<DeadLetters>>) -> Clerk {
        Clerk { worker, office, closed: Arc::default(), changes: 0, rejected: BTreeMap::new(), owes: false }
    }

    /// Takes note of a rejected record, and writes a letter where one is wanted and within the rate.
    pub fn reject(&mut self, reason: Reject, topic: &str, batch: &Batch, head: &Head, key: &[u8], value: &[u8]) {
        let rejected = self.rejected.entry(head.source).or_default();
        if head.lacks_value {
            rejected.tombstones += 1;
            return;
        }
        rejected.example = Some((head.offset, reason));
        let Some(office) = &self.office else { return };
        let changes = office.changes.load(Ordering::Acquire);
        if changes != self.changes {
            self.changes = changes;
            self.closed = Arc::clone(&office.closed.read().unwrap_or_else(PoisonError::into_inner));
        }
        if self.closed.contains(topic) || !office.rate.admits(reason, clock::monotonic()) {
            office.letters.suppress(reason);
            return;
        }
        let letter = Letter {
            reason,
            key: (!head.lacks_key).then(|| key.to_vec()),
            value: head.oversize.is_none().then(|| value.to_vec()),
            timestamp: head.timestamp,
            headers: headers(reason, &office.group, topic, batch, head),
        };
        self.owes |= !office.letters.send(self.worker, letter);
    }

    /// What there is to say since the last time.
    pub fn take(&mut self) -> BTreeMap<SourceId, Rejected> {
        std::mem::take(&mut self.rejected)
    }

    /// Waits until no letter is on its way any more. Returns whether all that was read is accounted for.
    pub fn settle(&self) -> bool {
        !self.owes && self.office.as_ref().is_none_or(|office| office.letters.settle(self.worker))
    }
}

/// The headers of the record, those of an earlier letter left out, and after them those that say what is wrong with it.
fn headers(reason: Reject, group: &str, topic: &str, batch: &Batch, head: &Head) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers = Vec::new();
    let mut attempt = 1u64;
    for (name, value) in batch.headers(head) {
        if name == ATTEMPT {
            let before = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse::<u64>().ok());
            attempt = before.unwrap_or(0).saturating_add(1);
        }
        if !name.starts_with(HEADERS) {
            headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        }
    }
    let mut say = |name: &str, text: String| headers.push((format!("{HEADERS}{name}"), Some(text.into_bytes())));
    say("reason", reason.as_str().to_owned());
    say("message", reason.message().to_owned());
    say("stage", reason.stage().to_owned());
    say("topic", topic.to_owned());
    say("partition", head.partition.to_string());
    say("offset", head.offset.to_string());
    if let Some(Timestamp(at)) = head.timestamp {
        say("timestamp", at.to_string());
    }
    say("group", group.to_owned());
    say("agent_version", env!("CARGO_PKG_VERSION").to_owned());
    say("attempt", attempt.to_string());
    if let Some(bytes) = head.oversize {
        say("truncated", bytes.to_string());
    }
    headers
}

/// A limit on each reason by itself, without a lock: for each the time at which its letters so far are used up.
#[derive(Debug)]
struct Rate {
    since: Instant,
    /// Nanoseconds that a letter takes.
    cost: i64,
    used_up: [AtomicI64; Reject::ALL.len()],
}

impl Rate {
    fn new(per_second: u32, since: Instant) -> Rate {
        Rate { since, cost: NANOS / i64::from(per_second.max(1)), used_up: Default::default() }
    }

    fn admits(&self, reason: Reject, now: Instant) -> bool {
        let Some(used_up) = self.used_up.get(reason as usize) else { return false };
        let now = i64::try_from(now.duration_since(self.since).as_nanos()).unwrap_or(i64::MAX);
        let admitted = used_up.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used_up| {
            let then = used_up.max(now).saturating_add(self.cost);
            (then <= now.saturating_add(BURST_SECONDS * NANOS)).then_some(then)
        });
        admitted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_reason_has_a_burst_and_then_its_rate() {
        let since = clock::monotonic();
        let rate = Rate::new(3, since);
        let admitted = |reason, after: Duration, tries: usize| (0..tries).filter(|_| rate.admits(reason, since + after)).count();
        assert_eq!(admitted(Reject::NotJson, Duration::ZERO, 1000), 30);
        assert_eq!(admitted(Reject::Future, Duration::ZERO, 20), 20, "a limit of its own");
        assert_eq!(admitted(Reject::NotJson, Duration::from_millis(1001), 1000), 3);
        assert_eq!(admitted(Reject::NotJson, Duration::from_millis(1001), 1000), 0);
        assert_eq!(admitted(Reject::NotJson, Duration::from_secs(3600), 1000), 30, "no more than a burst is saved");
    }

    #[test]
    fn a_letter_says_what_is_wrong_and_counts_its_attempts() {
        let mut batch = Batch::default();
        let head = batch.push(SourceId(0), 42, Some(Timestamp(1_700_000_000_000)), b"k", b"rubbish");
        head.partition = 3;
        batch.push_header("traceparent", Some(b"00-ab"));
        batch.push_header("nothing", None);
        batch.push_header("__drift.errors.attempt", Some(b"2"));
        batch.push_header("__drift.errors.reason", Some(b"future"));
        let (head, ..) = batch.records().next().unwrap();
        let shown: Vec<String> = headers(Reject::NotJson, "g", "t", &batch, head)
            .into_iter()
            .map(|(name, value)| format!("{name}={}", value.map_or("null".to_owned(), |value| String::from_utf8(value).unwrap())))
            .collect();
        let version = format!("__drift.errors.agent_version={}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            shown,
            [
                "traceparent=00-ab",
                "nothing=null",
                "__drift.errors.reason=not_json",
                "__drift.errors.message=the value is not JSON, or is cut off",
                "__drift.errors.stage=decode",
                "__drift.errors.topic=t",
                "__drift.errors.partition=3",
                "__drift.errors.offset=42",
                "__drift.errors.timestamp=1700000000000",
                "__drift.errors.group=g",
                &version,
                "__drift.errors.attempt=3",
            ]
        );
    }

    #[test]
    fn tombstones_are_noted_and_are_no_example() {
        let mut batch = Batch::default();
        batch.push(SourceId(1), 5, None, b"", b"rubbish");
        batch.push(SourceId(1), 6, None, b"k", b"").lacks_value = true;
        let mut clerk = Clerk::new(0, None);
        for (head, key, value) in batch.records() {
            clerk.reject(Reject::Empty, "t", &batch, head, key, value);
        }
        assert_eq!(clerk.take(), BTreeMap::from([(SourceId(1), Rejected { tombstones: 1, example: Some((5, Reject::Empty)) })]));
        assert!(clerk.take().is_empty());
        assert!(clerk.settle());
    }
}
