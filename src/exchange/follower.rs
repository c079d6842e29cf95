//! Everything in the panes topic, as it comes, in every replica.
//!
//! It hands bytes on and remembers how far it has come in each partition, so that it can say when everything that had
//! been written before some moment was handed on.

use std::fmt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, Reader, close, describe};
use super::settings::Settings;

/// How long the poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// Records between two looks at what is asked for.
const RECORDS: usize = 1024;
/// How long a partition may stand before the barrier asks whether what is missing is a hole.
const QUIET: Duration = Duration::from_millis(200);
/// How long a call of librdkafka that goes to its own threads may take.
const LOCAL_PATIENCE: Duration = Duration::from_secs(1);
/// How much longer than a barrier its caller waits for the answer: the thread looks at its clock between calls.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// A record of the panes topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; none where the key was taken out of the topic.
    pub value: Option<&'a [u8]>,
}

struct Request {
    until: Instant,
    reply: Sender<Result<(), String>>,
}

/// The running consumer.
pub struct Follower {
    /// Taken away to end the thread.
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    /// Reads all of the `partitions` of the panes topic from the beginning, on a thread of its own, and hands every record
    /// to `hand`, which must not wait for anything.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn start(settings: &Settings, partitions: i32, hand: impl FnMut(Followed<'_>) + Send + 'static) -> Result<Follower, KafkaError> {
        let consumer: Reader = settings.reader().create_with_context(Context::new(&settings.connection, ()))?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(&settings.panes, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        // Barriers are asked for by one thread of the application, at assignments.
        let (requests, inbox) = crossbeam_channel::bounded(4);
        let places = (0..partitions).map(|_| Place { next: 0, moved: None, asked: false }).collect();
        let running = Loop { consumer, topic: settings.panes.clone(), places, barriers: Vec::new(), hand };
        let thread = std::thread::Builder::new()
            .name("exchange-follow".into())
            .spawn(move || running.run(&inbox))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Follower { requests: Some(requests), thread: Some(thread) })
    }

    /// Returns when everything that was in the topic at the time of the call has been handed on.
    ///
    /// # Errors
    /// What was missing when the time was over, or why the ends could not be told.
    #[allow(clippy::disallowed_methods)] // How long to wait; no result depends on it.
    pub fn barrier(&self, timeout: Duration) -> Result<(), String> {
        let gone = || "the follower of the panes topic has ended".to_owned();
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request = Request { until: Instant::now() + timeout, reply };
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send_timeout(request, timeout).map_err(|_| gone())?;
        match answer.recv_timeout(timeout + ANSWER_SLACK) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err("the follower of the panes topic does not answer".into()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How far a partition has come.
struct Place {
    /// The offset after the last record handed on.
    next: i64,
    /// When the last record came, while a barrier waits.
    moved: Option<Instant>,
    /// Whether the broker was asked for what follows `next`, and nothing came yet.
    asked: bool,
}

struct Barrier {
    /// By partition the end of what must be handed on; none where that is done.
    ends: Vec<Option<i64>>,
    request: Request,
}

struct Loop<F> {
    consumer: Reader,
    topic: String,
    places: Vec<Place>,
    barriers: Vec<Barrier>,
    hand: F,
}

impl<F: FnMut(Followed<'_>)> Loop<F> {
    fn run(mut self, inbox: &Receiver<Request>) {
        loop {
            match inbox.try_recv() {
                Ok(request) => self.begin(request),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            let mut wait = POLL_WAIT;
            for _ in 0..RECORDS {
                match self.consumer.poll(std::mem::take(&mut wait)) {
                    Some(Ok(message)) => {
                        let place = usize::try_from(message.partition()).ok().and_then(|place| self.places.get_mut(place));
                        if let Some(place) = place {
                            place.next = message.offset() + 1;
                            place.moved = None;
                            place.asked = false;
                        }
                        (self.hand)(Followed {
                            partition: message.partition(),
                            offset: message.offset(),
                            key: message.key().unwrap_or(&[]),
                            value: message.payload(),
                        });
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => self.at_end(partition),
                    Some(Err(error)) => {
                        tracing::info!(target: "driftline::exchange", topic = self.topic, "following: {}", describe(&error));
                    }
                    None => break,
                }
            }
            self.look();
        }
        close(self.consumer);
    }

    /// Asks for the ends of all partitions.
    #[allow(clippy::disallowed_methods)]
    fn begin(&mut self, request: Request) {
        let mut ends = Vec::with_capacity(self.places.len());
        for (partition, place) in (0..).zip(&mut self.places) {
            let patience = request.until.saturating_duration_since(Instant::now());
            match self.consumer.fetch_watermarks(&self.topic, partition, patience) {
                Ok((low, high)) => {
                    // A topic that is shorter than what was read of it was made anew, and is read from its beginning.
                    if place.next > high {
                        place.next = low;
                    }
                    (place.moved, place.asked) = (None, false);
                    ends.push(Some(high).filter(|high| low < *high));
                }
                Err(error) => {
                    let _ = request.reply.send(Err(format!("the end of {}[{partition}]: {}", self.topic, describe(&error))));
                    return;
                }
            }
        }
        self.barriers.push(Barrier { ends, request });
    }

    /// The broker says that nothing follows. Said after it was asked anew for a barrier, what is missing is a hole; said
    /// without, it may be from before the barrier.
    fn at_end(&mut self, partition: i32) {
        let Ok(place) = usize::try_from(partition) else { return };
        if self.places.get(place).is_some_and(|place| place.asked) {
            for barrier in &mut self.barriers {
                if let Some(end) = barrier.ends.get_mut(place) {
                    *end = None;
                }
            }
        }
    }

    /// Ends barriers, and asks the broker anew where a partition stands before the end of one.
    #[allow(clippy::disallowed_methods)]
    fn look(&mut self) {
        if self.barriers.is_empty() {
            return;
        }
        let now = Instant::now();
        for (partition, place) in (0..).zip(&mut self.places) {
            let index = usize::try_from(partition).unwrap_or(usize::MAX);
            let mut is_missing = false;
            for end in self.barriers.iter_mut().filter_map(|barrier| barrier.ends.get_mut(index)) {
                *end = end.filter(|end| place.next < *end);
                is_missing |= end.is_some();
            }
            if !is_missing || place.asked {
                continue;
            }
            let since = *place.moved.get_or_insert(now);
            if now.duration_since(since) >= QUIET {
                // From here on librdkafka forgets what it knew of the partition, so that the next word of an end is new.
                place.asked = self.consumer.seek(&self.topic, partition, Offset::Offset(place.next), LOCAL_PATIENCE).is_ok();
                place.moved = Some(now);
            }
        }
        let (topic, places) = (&self.topic, &self.places);
        self.barriers.retain(|barrier| {
            let missing =
                barrier.ends.iter().zip(places).zip(0..).find_map(|((end, place), partition)| Some((partition, place.next, (*end)?)));
            let result = match missing {
                None => Ok(()),
                Some((partition, next, end)) if now >= barrier.request.until => {
                    Err(format!("{topic}[{partition}] is read up to offset {next} of {end}"))
                }
                Some(_) => return true,
            };
            let _ = barrier.request.reply.send(result);
            false
        });
    }
}
