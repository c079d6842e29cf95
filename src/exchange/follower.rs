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

use super::barrier::{Barriers, Missing};
use super::client::{Context, Reader, close, describe};
use super::ends::ends;
use super::settings::Settings;

/// How long the poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// Records between two looks at what is asked for.
const RECORDS: usize = 1024;
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
        let running = Loop { consumer, topic: settings.panes.clone(), barriers: Barriers::new(partitions), hand };
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

struct Loop<F> {
    consumer: Reader,
    topic: String,
    barriers: Barriers<Sender<Result<(), String>>>,
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
                        (self.hand)(Followed {
                            partition: message.partition(),
                            offset: message.offset(),
                            key: message.key().unwrap_or(&[]),
                            value: message.payload(),
                        });
                        self.barriers.taken(message.partition(), message.offset());
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => self.barriers.at_end(partition),
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
        let patience = request.until.saturating_duration_since(Instant::now());
        match ends(&self.consumer, &self.topic, &self.barriers.partitions(), patience) {
            Ok(ends) => self.barriers.begin(&ends, request.until, request.reply),
            Err(reason) => drop(request.reply.send(Err(reason))),
        }
    }

    /// Asks what follows where partitions stand before the end of a barrier, and answers the barriers that are over.
    #[allow(clippy::disallowed_methods)]
    fn look(&mut self) {
        let now = Instant::now();
        for (partition, next) in self.barriers.ask(now) {
            // From here on librdkafka forgets what it knew of the partition, so that its next word of an end is new. It is
            // not waited for: what was said before is dropped from now on.
            if let Err(error) = self.consumer.seek(&self.topic, partition, Offset::Offset(next), Duration::ZERO) {
                tracing::info!(target: "driftline::exchange", topic = self.topic, partition, "asking again: {}", describe(&error));
            }
        }
        for (reply, missing) in self.barriers.over(now) {
            let result = missing.map_or(Ok(()), |missing| {
                let Missing { partition, next, end } = missing;
                Err(format!("{}[{partition}] is read up to offset {next} of {end}", self.topic))
            });
            let _ = reply.send(result);
        }
    }
}
