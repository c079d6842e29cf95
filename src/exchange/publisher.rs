//! The producer: whole tickets go out, each is acknowledged once.
//!
//! It knows nothing of what is published. A ticket that failed, or was refused, is for the caller to publish again: records
//! are cumulative, so the newer one says all that the lost one would have said.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use thiserror::Error;

use crate::kafka::Connection;

use super::client::{Context, close, describe};
use super::settings::Settings;

/// Tickets without a received acknowledgement at most: replicas publish a few a second, so this is minutes.
const TICKETS: usize = 1024;
/// How long the polling thread waits for deliveries before it looks whether it shall end.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Characters of a key that a message shows.
const SHOWN_KEY: usize = 200;

/// Which of the two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The snapshots of what replicas counted.
    Panes,
    /// The decisions of the owners.
    Owners,
}

/// A record to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its topic.
    pub topic: Which,
    /// Its partition.
    pub partition: i32,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; none takes the key out of the topic.
    pub value: Option<Vec<u8>>,
}

/// The number of what was published together; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of a ticket: every replica in sync has all of its records, or some of them failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The ticket.
    pub ticket: Ticket,
    /// The first reason, where one of the records failed. The others may be in the topic nonetheless.
    pub result: Result<(), String>,
    /// Whether any of its records is in the topic, or it has none.
    pub is_partly_there: bool,
}

/// Why nothing of what was given was taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Too much is on its way; to be tried again when acknowledgements have come.
    #[error("{bytes} bytes of {tickets} tickets are on their way and wait for their acknowledgement")]
    Full {
        /// Bytes on their way.
        bytes: usize,
        /// Tickets without a received acknowledgement.
        tickets: usize,
    },
    /// A record is larger than may be; it will never be taken.
    #[error("the record {key} has {bytes} bytes, more than the {limit} that are allowed")]
    Oversize {
        /// Its key as text, cut.
        key: String,
        /// Bytes of key and value.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// A ticket on its way; every record of it holds one.
struct Open {
    ticket: Ticket,
    left: AtomicUsize,
    /// Records that have failed.
    failed: AtomicUsize,
    records: usize,
    failure: Mutex<Option<String>>,
}

/// What the delivery callback needs.
#[derive(Clone)]
struct Deliveries {
    acks: Sender<Ack>,
    /// Bytes on their way.
    bytes: Arc<AtomicUsize>,
    /// Tickets on their way.
    open: Arc<AtomicUsize>,
}

impl Deliveries {
    /// One record of a ticket has come to its end.
    fn done(&self, open: &Open, bytes: usize, failure: Option<String>) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let mut first = open.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_some() {
            open.failed.fetch_add(1, Ordering::SeqCst);
        }
        if first.is_none() {
            *first = failure;
        }
        if open.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let result = first.take().map_or(Ok(()), Err);
            // There is room: no more tickets are given out than the channel holds.
            let is_partly_there = open.records == 0 || open.failed.load(Ordering::SeqCst) < open.records;
            let _ = self.acks.try_send(Ack { ticket: open.ticket, result, is_partly_there });
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl ProducerContext for Context<Deliveries> {
    type DeliveryOpaque = Arc<Open>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, open: Arc<Open>) {
        let (message, failure) = match delivered {
            Ok(message) => (message, None),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), message)) => {
                let (key, bytes) = (shown(message.key().unwrap_or(&[])), message.payload_len());
                let failure = format!("the record {key} has {bytes} bytes, more than max.message.bytes of {}", message.topic());
                (message, Some(failure))
            }
            Err((error, message)) => (message, Some(format!("{}[{}]: {}", message.topic(), message.partition(), describe(error)))),
        };
        self.kept.done(&open, message.key_len() + message.payload_len(), failure);
    }
}

type Client = BaseProducer<Context<Deliveries>>;

struct Shared {
    connection: Connection,
    /// Made anew when librdkafka has given it up.
    client: RwLock<Arc<Client>>,
    config: ClientConfig,
    deliveries: Deliveries,
}

impl Shared {
    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces a client that can send nothing any more: an idempotent producer gives up when the broker has forgotten
    /// what it had acknowledged, and everything of it fails from there on.
    fn replace(&self) {
        match self.config.create_with_context::<_, Client>(Context::new(&self.connection, self.deliveries.clone())) {
            Ok(client) => {
                let mut place = self.client.write().unwrap_or_else(PoisonError::into_inner);
                let old = std::mem::replace(&mut *place, Arc::new(client));
                drop(place);
                close(old);
            }
            Err(error) => tracing::warn!(target: "driftline::exchange", "the producer cannot be made anew: {}", describe(&error)),
        }
    }
}

/// The running producer.
pub struct Publisher {
    shared: Option<Arc<Shared>>,
    /// Held while a ticket is handed over, so that the records of two tickets do not mix.
    turn: Mutex<()>,
    next: AtomicU64,
    acks: Receiver<Ack>,
    panes: String,
    owners: String,
    record_bytes: usize,
    queue_bytes: usize,
    /// Taken away to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Publisher").field("panes", &self.panes).field("owners", &self.owners).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Makes the producer and the thread that serves it. It connects when there is something to publish.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn start(settings: &Settings) -> Result<Publisher, KafkaError> {
        let (acks_in, acks) = crossbeam_channel::bounded(TICKETS);
        let deliveries = Deliveries { acks: acks_in, bytes: Arc::default(), open: Arc::default() };
        let config = settings.producer();
        let client: Client = config.create_with_context(Context::new(&settings.connection, deliveries.clone()))?;
        let shared =
            Arc::new(Shared { connection: settings.connection.clone(), client: RwLock::new(Arc::new(client)), config, deliveries });
        let (running, ended) = crossbeam_channel::bounded(0);
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("exchange-publish".into())
            .spawn(move || serve(&served, &ended))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Publisher {
            shared: Some(shared),
            turn: Mutex::default(),
            next: AtomicU64::new(1),
            acks,
            panes: settings.panes.clone(),
            owners: settings.owners.clone(),
            record_bytes: settings.record_bytes,
            queue_bytes: settings.queue_kib.saturating_mul(1024),
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// Takes all of the records or none of them, and does not wait. Their order within a partition is kept, also against
    /// those of earlier tickets. Exactly one acknowledgement follows for each ticket.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was taken and no acknowledgement follows.
    #[allow(clippy::needless_pass_by_value)] // Nobody needs them afterwards: what fails is said anew, with what came since.
    pub fn publish(&self, records: Vec<Outgoing>) -> Result<Ticket, Refused> {
        let size = |record: &Outgoing| record.key.len() + record.value.as_ref().map_or(0, Vec::len);
        if let Some(record) = records.iter().find(|record| size(record) > self.record_bytes) {
            return Err(Refused::Oversize { key: shown(&record.key), bytes: size(record), limit: self.record_bytes });
        }
        let bytes: usize = records.iter().map(size).sum();
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shared) = &self.shared else { return Err(Refused::Full { bytes: 0, tickets: 0 }) };
        let deliveries = &shared.deliveries;
        let waiting = deliveries.bytes.load(Ordering::SeqCst);
        let tickets = deliveries.open.load(Ordering::SeqCst) + self.acks.len();
        // A ticket that is larger than the queue goes out alone; it would never go otherwise.
        if tickets >= TICKETS || (waiting > 0 && waiting + bytes > self.queue_bytes) {
            return Err(Refused::Full { bytes: waiting, tickets });
        }
        let ticket = Ticket(self.next.fetch_add(1, Ordering::SeqCst));
        deliveries.bytes.fetch_add(bytes, Ordering::SeqCst);
        deliveries.open.fetch_add(1, Ordering::SeqCst);
        // One more than records, held until all of them are handed over: a ticket without records has its end, too.
        let open = Arc::new(Open {
            ticket,
            left: AtomicUsize::new(records.len() + 1),
            failed: AtomicUsize::new(0),
            records: records.len(),
            failure: Mutex::default(),
        });
        let client = shared.client();
        for record in &records {
            let topic = match record.topic {
                Which::Panes => &self.panes,
                Which::Owners => &self.owners,
            };
            let mut out: BaseRecord<'_, [u8], [u8], Arc<Open>> =
                BaseRecord::with_opaque_to(topic, Arc::clone(&open)).partition(record.partition).key(&record.key);
            out.payload = record.value.as_deref();
            if let Err((error, back)) = client.send(out) {
                let failure = format!("{topic}[{}]: {}", record.partition, describe(&error));
                deliveries.done(&back.delivery_opaque, size(record), Some(failure));
            }
        }
        deliveries.done(&open, 0, None);
        Ok(ticket)
    }

    /// Acknowledgements, in the order in which tickets came to their end. Unread ones count against the tickets that can
    /// be on their way.
    #[must_use]
    pub fn acks(&self) -> &Receiver<Ack> {
        &self.acks
    }

    /// Waits until everything taken so far has come to its end, at most for so long. Returns whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.client().flush(patience).is_ok())
    }
}

/// Drops what is still on its way; [`Publisher::flush`] waits for it.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(shared) = self.shared.take() {
            close(shared);
        }
    }
}

fn serve(shared: &Shared, ended: &Receiver<()>) {
    while ended.try_recv() != Err(TryRecvError::Disconnected) {
        let client = shared.client();
        client.poll(POLL_WAIT);
        if let Some((code, reason)) = client.client().fatal_error() {
            tracing::warn!(target: "driftline::exchange", %code, reason, "the producer gave up and is made anew");
            drop(client);
            shared.replace();
        }
    }
}

/// A key as a message shows it.
fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(SHOWN_KEY).collect()
}
