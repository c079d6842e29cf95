//! Ranges of the source topics once more, in the background.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::Timestamp;
use crate::kafka::Connection;

use super::chunk::Chunk;
use super::client::{Context, Reader, close, describe};
use super::ends::ends;
use super::settings::Settings;

/// Records in a chunk at most.
const CHUNK_RECORDS: usize = 1024;
/// Bytes in a chunk at most, one record more.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait for the application: little, since reading again is never urgent.
const CHUNKS: usize = 8;
/// Bytes of all of them, with the one that is being filled.
pub const CHUNKS_BYTES: u64 = (CHUNKS as u64 + 1) * CHUNK_BYTES as u64;
/// How long the poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long the broker may take to tell offsets; it is asked again after a failure.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure the broker is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// From the first record of this time or later, by the records' own time; from the beginning where the broker does not
    /// know times.
    pub from: Timestamp,
    /// From this offset at least.
    pub least: i64,
    /// Up to this offset, which is not read.
    pub until: i64,
}

/// What comes.
#[derive(Debug)]
pub enum Read {
    /// Records, those of one range in their order.
    Records(Chunk),
    /// Something to be logged; reading goes on.
    Trouble(String),
    /// It cannot be read; nothing follows.
    Failed(String),
    /// All ranges have been read; nothing follows.
    Done,
}

/// Reading in the background. Dropping it ends it.
pub struct Reread {
    read: Receiver<Read>,
}

impl fmt::Debug for Reread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reread").finish_non_exhaustive()
    }
}

impl Reread {
    /// Begins to read: all ranges of the topic that is named first, side by side, then those of the next one. A partition
    /// is to be in one range at most. Values longer than `max_bytes` are not copied, only told; headers are copied where
    /// asked for.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn start(settings: &Settings, ranges: Vec<Range>, max_bytes: usize, headers: bool) -> Result<Reread, KafkaError> {
        let config = settings.reader();
        // What it refuses it refuses here, where the caller hears of it.
        config.create_native_config()?;
        let (out, read) = crossbeam_channel::bounded(CHUNKS);
        let connection = settings.connection.clone();
        let running =
            Loop { connection, config, is_open: vec![false; ranges.len()], ranges, chunk: Chunk::default(), out, max_bytes, headers };
        std::thread::Builder::new()
            .name("exchange-reread".into())
            .spawn(move || running.run())
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Reread { read })
    }

    /// Where the records come. It is bounded: nothing is read ahead of the application beyond it.
    #[must_use]
    pub fn read(&self) -> &Receiver<Read> {
        &self.read
    }
}

/// Nobody listens any more.
struct Dropped;

struct Loop {
    connection: Connection,
    config: ClientConfig,
    ranges: Vec<Range>,
    /// By range: whether something of it is still to come.
    is_open: Vec<bool>,
    chunk: Chunk,
    out: Sender<Read>,
    max_bytes: usize,
    headers: bool,
}

impl Loop {
    fn run(mut self) {
        let mut topics: Vec<String> = Vec::new();
        for range in &self.ranges {
            if !topics.contains(&range.topic) {
                topics.push(range.topic.clone());
            }
        }
        for topic in topics {
            // One client for each topic: the word that a partition is at its end does not name its topic.
            let consumer: Reader = match self.config.create_with_context(Context::new(&self.connection, ())) {
                Ok(consumer) => consumer,
                Err(error) => {
                    let _ = self.send(Read::Failed(describe(&error)));
                    return;
                }
            };
            let result = self.read(&consumer, &topic);
            close(consumer);
            if result.is_err() {
                return;
            }
        }
        let _ = self.send(Read::Done);
    }

    fn read(&mut self, consumer: &Reader, topic: &str) -> Result<(), Dropped> {
        while let Err(trouble) = self.begin(consumer, topic) {
            self.send(Read::Trouble(trouble))?;
            // Nothing is assigned: this waits, and serves the callbacks meanwhile.
            let _ = consumer.poll(RETRY_AFTER);
        }
        while self.is_open.contains(&true) {
            match consumer.poll(POLL_WAIT) {
                Some(Ok(message)) => {
                    let place = self.find(topic, message.partition());
                    let Some((place, until)) = place.and_then(|place| Some((place, self.ranges.get(place)?.until))) else { continue };
                    if message.offset() < until {
                        self.take(place, &message);
                    }
                    let is_over = message.offset() + 1 >= until;
                    drop(message);
                    if is_over {
                        self.end(consumer, place);
                    }
                    if self.chunk.len() >= CHUNK_RECORDS || self.chunk.bytes() >= CHUNK_BYTES {
                        self.send_chunk()?;
                    }
                }
                // The assignment is younger than the range: what is missing before the end of the range is a hole.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(place) = self.find(topic, partition) {
                        self.end(consumer, place);
                    }
                }
                Some(Err(error)) => self.send(Read::Trouble(describe(&error)))?,
                None => self.send_chunk()?,
            }
        }
        self.send_chunk()
    }

    /// Finds where the ranges of the topic begin and assigns those that are not empty.
    fn begin(&mut self, consumer: &Reader, topic: &str) -> Result<(), String> {
        let mut wanted = TopicPartitionList::new();
        for range in self.ranges.iter().filter(|range| range.topic == topic) {
            let at = Offset::Offset(range.from.0.max(0));
            wanted.add_partition_offset(topic, range.partition, at).map_err(|error| describe(&error))?;
        }
        let found = consumer.offsets_for_times(wanted, LOOKUP_PATIENCE).map_err(|error| describe(&error))?;
        let partitions: Vec<i32> = self.ranges.iter().filter(|range| range.topic == topic).map(|range| range.partition).collect();
        let ends = ends(consumer, topic, &partitions, LOOKUP_PATIENCE)?;
        let of_topic = self.ranges.iter().zip(&mut self.is_open).filter(|(range, _)| range.topic == topic);
        let mut list = TopicPartitionList::new();
        for ((range, is_open), (low, high)) in of_topic.zip(ends) {
            let of_range = |error: KafkaError| format!("{topic}[{}]: {}", range.partition, describe(&error));
            let first = match found.find_partition(topic, range.partition).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) if offset >= 0 => offset,
                // No record of that time: true where the broker knows times at all.
                _ if low < high && knows_times(consumer, range).map_err(of_range)? => high,
                _ => low,
            };
            let first = first.max(range.least);
            *is_open = first.max(low) < range.until.min(high);
            if *is_open {
                list.add_partition_offset(topic, range.partition, Offset::Offset(first)).map_err(of_range)?;
            }
        }
        consumer.assign(&list).map_err(|error| describe(&error))
    }

    /// The open range of a partition.
    fn find(&self, topic: &str, partition: i32) -> Option<usize> {
        let mut places = self.ranges.iter().zip(&self.is_open);
        places.position(|(range, is_open)| *is_open && range.partition == partition && range.topic == topic)
    }

    /// Copies a record into the chunk.
    fn take(&mut self, place: usize, message: &BorrowedMessage<'_>) {
        let value = message.payload().unwrap_or(&[]);
        let oversize = (value.len() > self.max_bytes).then_some(value.len());
        let timestamp = message.timestamp().to_millis().map(Timestamp);
        let copied = if oversize.is_some() { &[] } else { value };
        let head = self.chunk.push(place, message.offset(), timestamp, message.key().unwrap_or(&[]), copied);
        head.oversize = oversize;
        if self.headers
            && let Some(headers) = message.headers()
        {
            let copied = headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or(&[]).to_vec())).collect();
            head.headers = Some(Box::new(copied));
        }
    }

    fn end(&mut self, consumer: &Reader, place: usize) {
        if let (Some(is_open), Some(range)) = (self.is_open.get_mut(place), self.ranges.get(place)) {
            *is_open = false;
            let mut list = TopicPartitionList::new();
            list.add_partition(&range.topic, range.partition);
            // So that nothing beyond the range is fetched; what comes nonetheless is of no open range.
            let _ = consumer.pause(&list);
        }
    }

    fn send_chunk(&mut self) -> Result<(), Dropped> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.send(Read::Records(chunk))
    }

    /// Waits for the application for as long as it takes: a consumer that is in no group may stand still.
    fn send(&self, read: Read) -> Result<(), Dropped> {
        self.out.send(read).map_err(|_| Dropped)
    }
}

/// Whether the broker finds records by their time: every record is of the epoch or later.
fn knows_times(consumer: &Reader, range: &Range) -> Result<bool, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&range.topic, range.partition, Offset::Offset(0))?;
    let found = consumer.offsets_for_times(list, LOOKUP_PATIENCE)?;
    let offset = found.find_partition(&range.topic, range.partition).map(|element| element.offset());
    Ok(matches!(offset, Some(Offset::Offset(offset)) if offset >= 0))
}
