//! Dead letters on their way: a producer that can say of every letter what became of it.
//!
//! Whoever hands letters over can wait until they are settled: acknowledged by all in-sync replicas, or given up and
//! counted. Memory is bounded; what a full queue, a topic that is not there or brokers that are away mean is the caller's
//! choice, [`OnFailure`]. It does not know why a record was rejected, nor how many letters are welcome.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use crate::event::Reject;

use super::letter::{FATES, Fate, Letter, LetterCount, LetterStatus, OnFailure, Refusal};
use super::settings::Settings;

/// Letters that may be on their way together: many more than the rate lets through in the time of a round trip.
const MOST_LETTERS: usize = 2_048;
/// Bytes of letters that may be on their way together; librdkafka holds them once more.
const MOST_BYTES: usize = 16 << 20;
/// How long a letter may be without an acknowledgement before it is dropped. Leaders are elected within that time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long letters that are to be dropped are waited for: a little longer than librdkafka takes to give them back.
const SETTLE_PATIENCE: Duration = Duration::from_secs(7);
/// How long letters are dropped at once after one could not be delivered, before another one is tried.
const DOWN_FOR: Duration = Duration::from_secs(10);
/// How long a letter that must not be dropped waits for its next try.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// After this long without an acknowledgement reading is said to be blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);
/// How long letters that must not be dropped are waited for at the end. What is not settled then is read again.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How often a wait looks at what has changed.
const BEAT: Duration = Duration::from_millis(50);

/// The producer of dead letters, for any number of senders that are numbered from 0.
pub struct Letters {
    topic: String,
    on_failure: OnFailure,
    config: ClientConfig,
    desk: Arc<Desk>,
    producer: Mutex<Arc<Producer>>,
}

type Producer = ThreadedProducer<Postman>;

/// A letter on its way.
struct Parcel {
    sender: usize,
    letter: Letter,
    /// What it takes of [`MOST_BYTES`], also after it has lost its value.
    bytes: usize,
}

/// What is under way.
#[derive(Default)]
struct Open {
    letters: usize,
    bytes: usize,
    by_sender: Vec<usize>,
}

/// The books, shared with the callbacks of the producer.
struct Desk {
    on_failure: OnFailure,
    counts: [[AtomicU64; Reject::ALL.len()]; FATES.len()],
    open: Mutex<Open>,
    settled: Condvar,
    /// Letters to be tried again, and when.
    returned: Mutex<VecDeque<(Instant, Arc<Parcel>)>>,
    /// The last delivery has failed: further letters are dropped at once until this time.
    is_down: AtomicBool,
    down_until: Mutex<Option<Instant>>,
    error: Mutex<Option<String>>,
    waiting: AtomicUsize,
    ending: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its configuration has secrets.
        f.debug_struct("Letters").field("topic", &self.topic).field("on_failure", &self.on_failure).finish_non_exhaustive()
    }
}

impl Letters {
    /// Starts the producer. It connects when it must.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn start(settings: &Settings, topic: String, on_failure: OnFailure) -> Result<Letters, KafkaError> {
        let config = settings.producer_config((on_failure == OnFailure::Drop).then_some(PATIENCE));
        let desk = Arc::new(Desk::new(on_failure));
        let producer = Mutex::new(Arc::new(config.create_with_context(Postman { desk: Arc::clone(&desk) })?));
        Ok(Letters { topic, on_failure, config, desk, producer })
    }

    /// Where the letters go.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What happens where they cannot be delivered.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Counts a letter that is not even tried.
    pub fn suppress(&self, reason: Reject) {
        self.desk.count(Fate::Suppressed, reason);
    }

    /// Takes a letter. Returns whether it is or will be accounted for; not so where it must not be dropped, there is no
    /// room, and the process is ending: its record has to be read again.
    pub fn send(&self, sender: usize, letter: Letter) -> bool {
        let bytes = letter.bytes();
        if self.on_failure == OnFailure::Drop && (self.desk.is_down_now() || !self.desk.has_room(bytes)) {
            self.desk.count(Fate::Failed, letter.reason);
            return true;
        }
        if !self.wait(|| self.desk.has_room(bytes)) {
            return false;
        }
        self.desk.opened(sender, bytes);
        self.post(&Arc::new(Parcel { sender, letter, bytes }));
        true
    }

    /// Waits until all letters of a sender are settled. Returns whether they are; where letters may be dropped they always
    /// are after a bounded time, those that are still on their way then being as good as dropped.
    pub fn settle(&self, sender: usize) -> bool {
        let is_settled = || self.desk.open_of(sender) == 0;
        match self.on_failure {
            OnFailure::Block => self.wait(is_settled),
            OnFailure::Drop => {
                let began = now();
                // The letter that tries whether deliveries succeed again is not waited for.
                while !is_settled() && !self.desk.is_down.load(Ordering::Relaxed) && began.elapsed() < SETTLE_PATIENCE {
                    self.post_returned();
                    self.desk.pause();
                }
                true
            }
        }
    }

    /// The process is ending: nothing is waited for much longer.
    pub fn end(&self) {
        locked(&self.desk.ending).get_or_insert_with(now);
    }

    /// What became of the letters so far, by outcome and reason.
    #[must_use]
    pub fn counts(&self) -> Vec<LetterCount> {
        let counts = FATES.iter().zip(&self.desk.counts).flat_map(|((_, outcome), by_reason)| {
            Reject::ALL.into_iter().zip(by_reason).map(|(reason, count)| LetterCount {
                outcome,
                reason,
                count: count.load(Ordering::Relaxed),
            })
        });
        counts.filter(|row| row.count > 0).collect()
    }

    /// How it stands now.
    #[must_use]
    pub fn status(&self) -> LetterStatus {
        LetterStatus {
            open: locked(&self.desk.open).letters,
            is_blocked: self.desk.waiting.load(Ordering::Relaxed) > 0,
            error: locked(&self.desk.error).clone(),
        }
    }

    /// Waits for something, for as long as it takes while the process lives, posting what is to be tried again.
    fn wait(&self, is_true: impl Fn() -> bool) -> bool {
        let began = now();
        let mut is_counted = false;
        let answer = loop {
            if is_true() {
                break true;
            }
            if locked(&self.desk.ending).is_some_and(|since| since.elapsed() >= END_PATIENCE) {
                break false;
            }
            if !is_counted && began.elapsed() >= BLOCKED_AFTER {
                is_counted = true;
                if self.desk.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
                    let error = locked(&self.desk.error).clone().unwrap_or_default();
                    tracing::warn!(topic = self.topic, error, "reading waits for dead letters that are not acknowledged");
                }
            }
            self.post_returned();
            self.desk.pause();
        };
        if is_counted && self.desk.waiting.fetch_sub(1, Ordering::Relaxed) == 1 && answer {
            tracing::info!(topic = self.topic, "dead letters are acknowledged again, reading goes on");
        }
        answer
    }

    fn post_returned(&self) {
        let due: Vec<Arc<Parcel>> = {
            let mut returned = locked(&self.desk.returned);
            let now = now();
            let (due, later) = std::mem::take(&mut *returned).into_iter().partition::<VecDeque<_>, _>(|(at, _)| *at <= now);
            *returned = later;
            due.into_iter().map(|(_, parcel)| parcel).collect()
        };
        due.iter().for_each(|parcel| self.post(parcel));
    }

    fn post(&self, parcel: &Arc<Parcel>) {
        let letter = &parcel.letter;
        let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
        for (name, value) in &letter.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Arc<Parcel>> =
            BaseRecord::with_opaque_to(&self.topic, Arc::clone(parcel)).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = letter.value.as_deref();
        record.timestamp = letter.timestamp.map(|at| at.0);
        let refused = self.producer().send(record).err().map(|(error, _)| error);
        if let Some(error) = refused {
            self.desk.undelivered(parcel, &error);
        }
    }

    /// The producer; a new one after a fatal error, which an idempotent producer never gets over.
    fn producer(&self) -> Arc<Producer> {
        let mut producer = locked(&self.producer);
        if producer.client().fatal_error().is_some()
            && let Ok(fresh) = self.config.create_with_context(Postman { desk: Arc::clone(&self.desk) })
        {
            *producer = Arc::new(fresh);
        }
        Arc::clone(&producer)
    }
}

impl Desk {
    fn new(on_failure: OnFailure) -> Desk {
        Desk {
            on_failure,
            counts: Default::default(),
            open: Mutex::default(),
            settled: Condvar::new(),
            returned: Mutex::default(),
            is_down: AtomicBool::new(false),
            down_until: Mutex::default(),
            error: Mutex::default(),
            waiting: AtomicUsize::new(0),
            ending: Mutex::default(),
        }
    }

    fn count(&self, fate: Fate, reason: Reject) {
        if let Some(count) = self.counts.get(fate as usize).and_then(|counts| counts.get(reason as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a letter more may be on its way; a single one always may.
    fn has_room(&self, bytes: usize) -> bool {
        let open = locked(&self.open);
        open.letters == 0 || (open.letters < MOST_LETTERS && open.bytes.saturating_add(bytes) <= MOST_BYTES)
    }

    fn opened(&self, sender: usize, bytes: usize) {
        let mut open = locked(&self.open);
        open.letters += 1;
        open.bytes += bytes;
        if open.by_sender.len() <= sender {
            open.by_sender.resize(sender + 1, 0);
        }
        if let Some(own) = open.by_sender.get_mut(sender) {
            *own += 1;
        }
    }

    fn open_of(&self, sender: usize) -> usize {
        locked(&self.open).by_sender.get(sender).copied().unwrap_or(0)
    }

    /// Waits a beat, or until a letter is settled.
    fn pause(&self) {
        let open = locked(&self.open);
        drop(self.settled.wait_timeout(open, BEAT));
    }

    fn close(&self, parcel: &Parcel, fate: Fate) {
        self.count(fate, parcel.letter.reason);
        let mut open = locked(&self.open);
        open.letters = open.letters.saturating_sub(1);
        open.bytes = open.bytes.saturating_sub(parcel.bytes);
        if let Some(own) = open.by_sender.get_mut(parcel.sender) {
            *own = own.saturating_sub(1);
        }
        self.settled.notify_all();
    }

    /// Whether letters are dropped at once. Every now and then one may try.
    fn is_down_now(&self) -> bool {
        if !self.is_down.load(Ordering::Relaxed) {
            return false;
        }
        let mut until = locked(&self.down_until);
        let now = now();
        if until.is_some_and(|until| now < until) {
            return true;
        }
        *until = Some(now + DOWN_FOR);
        false
    }

    fn delivered(&self, parcel: &Parcel) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!("dead letters are delivered again");
        }
        *locked(&self.error) = None;
        self.close(parcel, Fate::Sent);
    }

    fn undelivered(&self, parcel: &Arc<Parcel>, error: &KafkaError) {
        let refusal = Refusal::of(&parcel.letter, error);
        if let Refusal::OfAPart(letter) = refusal {
            let parcel = Arc::new(Parcel { sender: parcel.sender, letter: *letter, bytes: parcel.bytes });
            locked(&self.returned).push_back((now(), parcel));
            return;
        }
        *locked(&self.error) = Some(error.to_string());
        match (refusal, self.on_failure) {
            (Refusal::ForGood | Refusal::OfAPart(_), _) => {
                tracing::error!(%error, reason = parcel.letter.reason.as_str(), "a dead letter that its topic does not take is given up");
                self.close(parcel, Fate::Failed);
            }
            (Refusal::ForNow, OnFailure::Block) => locked(&self.returned).push_back((now() + RETRY_EVERY, Arc::clone(parcel))),
            (Refusal::ForNow, OnFailure::Drop) => {
                *locked(&self.down_until) = Some(now() + DOWN_FOR);
                if !self.is_down.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "dead letters cannot be delivered: they are dropped and counted until they can");
                }
                self.close(parcel, Fate::Failed);
            }
        }
    }
}

/// The callbacks of the producer. Tokens for OAUTHBEARER belong here, as in the context of the consumer.
struct Postman {
    desk: Arc<Desk>,
}

impl ClientContext for Postman {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "driftline::kafka", facility, "letters: {message}"),
            _ => tracing::info!(target: "driftline::kafka", facility, "letters: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Of interest only while letters wait: a connection that nobody uses may come and go.
        if locked(&self.desk.open).letters > 0 {
            *locked(&self.desk.error) = Some(format!("{error}: {reason}"));
        }
    }
}

impl ProducerContext for Postman {
    type DeliveryOpaque = Arc<Parcel>;

    fn delivery(&self, result: &DeliveryResult<'_>, parcel: Arc<Parcel>) {
        match result {
            Ok(_) => self.desk.delivered(&parcel),
            Err((error, _)) => self.desk.undelivered(&parcel, error),
        }
    }
}

/// How long something takes; what is counted and measured does not depend on it.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::super::letter::TRUNCATED;
    use super::*;
    use crate::event::Timestamp;

    fn parcel(value: &[u8]) -> Arc<Parcel> {
        let letter = Letter { reason: Reject::NotJson, key: None, value: Some(value.to_vec()), timestamp: None, headers: Vec::new() };
        Arc::new(Parcel { sender: 1, bytes: letter.bytes(), letter })
    }

    fn count(desk: &Desk, fate: Fate) -> u64 {
        desk.counts[fate as usize][Reject::NotJson as usize].load(Ordering::Relaxed)
    }

    fn taken(desk: &Desk, value: &[u8]) -> Arc<Parcel> {
        let parcel = parcel(value);
        desk.opened(1, parcel.bytes);
        parcel
    }

    const TIMED_OUT: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
    const TOO_LARGE: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);

    #[test]
    fn what_may_be_dropped_is_counted_and_further_letters_are_not_even_tried() {
        let desk = Desk::new(OnFailure::Drop);
        let (first, second) = (taken(&desk, b"one"), taken(&desk, b"two"));
        assert_eq!((desk.open_of(1), desk.open_of(0)), (2, 0));
        assert!(!desk.is_down_now());
        desk.undelivered(&first, &TIMED_OUT);
        assert_eq!((desk.open_of(1), count(&desk, Fate::Failed)), (1, 1));
        assert!(desk.is_down_now());
        desk.delivered(&second);
        assert_eq!((desk.open_of(1), count(&desk, Fate::Sent)), (0, 1));
        assert!(!desk.is_down_now(), "one has come through");
        assert_eq!(*locked(&desk.error), None);
    }

    #[test]
    fn what_must_not_be_dropped_is_tried_again() {
        let desk = Desk::new(OnFailure::Block);
        let parcel = taken(&desk, b"one");
        desk.undelivered(&parcel, &TIMED_OUT);
        assert_eq!((desk.open_of(1), count(&desk, Fate::Failed)), (1, 0));
        assert_eq!(locked(&desk.returned).len(), 1);
        assert!(locked(&desk.error).as_ref().unwrap().contains("timed out"));
    }

    #[test]
    fn a_letter_that_is_too_large_loses_its_value_and_is_given_up_only_then() {
        for on_failure in [OnFailure::Drop, OnFailure::Block] {
            let desk = Desk::new(on_failure);
            let parcel = taken(&desk, b"value");
            desk.undelivered(&parcel, &TOO_LARGE);
            let (_, shorter) = locked(&desk.returned).pop_front().unwrap();
            assert_eq!(shorter.letter.value, None);
            assert_eq!(shorter.letter.headers, [(TRUNCATED.to_owned(), Some(b"5".to_vec()))]);
            assert_eq!((desk.open_of(1), count(&desk, Fate::Failed)), (1, 0));
            desk.undelivered(&shorter, &TOO_LARGE);
            assert_eq!((desk.open_of(1), count(&desk, Fate::Failed)), (0, 1));
            assert_eq!(locked(&desk.open).bytes, 0);
        }
    }

    #[test]
    fn what_a_topic_never_takes_is_not_waited_for() {
        let failed = |code| {
            let desk = Desk::new(OnFailure::Block);
            let mut letter = parcel(b"value").letter.clone();
            letter.timestamp = Some(Timestamp(5));
            let parcel = Arc::new(Parcel { sender: 1, bytes: letter.bytes(), letter });
            desk.opened(1, parcel.bytes);
            desk.undelivered(&parcel, &KafkaError::MessageProduction(code));
            let returned = locked(&desk.returned).pop_front().map(|(_, parcel)| parcel.letter.timestamp);
            (count(&desk, Fate::Failed), returned)
        };
        assert_eq!(failed(RDKafkaErrorCode::InvalidRecord), (1, None));
        assert_eq!(failed(RDKafkaErrorCode::InvalidTimestamp), (0, Some(None)), "tried again with a time of the broker's");
        assert_eq!(failed(RDKafkaErrorCode::TopicAuthorizationFailed), (0, Some(Some(Timestamp(5)))));
    }

    #[test]
    fn the_letters_on_their_way_are_bounded() {
        let desk = Desk::new(OnFailure::Drop);
        assert!(desk.has_room(MOST_BYTES + 1), "a single one");
        desk.opened(0, MOST_BYTES - 10);
        assert!(desk.has_room(10));
        assert!(!desk.has_room(11));
        let desk = Desk::new(OnFailure::Drop);
        (0..MOST_LETTERS).for_each(|_| desk.opened(0, 1));
        assert!(!desk.has_room(1));
    }
}
