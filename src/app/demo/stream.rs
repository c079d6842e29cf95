//! The producer of the demo: a recorded stream, sent through Kafka at an accelerated clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use crate::event::decode::{Decoder, Dictionary, Mapping, RecordMeta};
use crate::event::{Span, Timestamp};

/// Topic of the predictions.
pub const PREDICTIONS: &str = "loan.predictions";
/// Topic of the labels.
pub const LABELS: &str = "loan.labels";
/// How long the last records may take to reach the broker.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// One recorded event.
#[derive(Clone, Copy, Debug)]
struct Recorded<'a> {
    at: Timestamp,
    topic: &'static str,
    key: &'a str,
    value: &'a [u8],
}

/// A recorded stream in the order of its time.
pub struct Recording {
    predictions: Vec<u8>,
    labels: Vec<u8>,
}

impl Recording {
    /// Unpacks the shipped recording.
    ///
    /// # Errors
    /// Only if the program itself is damaged.
    pub fn shipped() -> std::io::Result<Recording> {
        Ok(Recording {
            predictions: zstd::decode_all(include_bytes!("data/car_loan/analysis.ndjson.zst").as_slice())?,
            labels: zstd::decode_all(include_bytes!("data/car_loan/labels.ndjson.zst").as_slice())?,
        })
    }

    /// Sends everything within `play`, at the recorded pace times a constant, until `stop`. Returns the number of records.
    ///
    /// # Errors
    /// What the producer says.
    #[allow(clippy::disallowed_methods)] // The demo's own clock drives nothing but the pace of the sending.
    pub fn play(&self, brokers: &str, play: Duration, stop: &Arc<AtomicBool>) -> Result<u64, KafkaError> {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "20").set("enable.idempotence", "true").create()?;
        let events = self.events();
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(0) };
        let whole = (last.at - first.at).as_seconds().max(1.0);
        let began = Instant::now();
        let mut sent = 0;
        for event in &events {
            let due = play.mul_f64(((event.at - first.at).as_seconds() / whole).clamp(0.0, 1.0));
            while began.elapsed() < due {
                if stop.load(Ordering::Relaxed) {
                    return Ok(sent);
                }
                producer.poll(due.saturating_sub(began.elapsed()).min(Duration::from_millis(50)));
            }
            send(&producer, event)?;
            sent += 1;
        }
        producer.flush(FLUSH_PATIENCE)?;
        Ok(sent)
    }

    /// How much event time the recording spans.
    #[must_use]
    pub fn span(&self) -> Span {
        let events = self.events();
        match (events.first(), events.last()) {
            (Some(first), Some(last)) => last.at - first.at,
            _ => Span(0),
        }
    }

    fn events(&self) -> Vec<Recorded<'_>> {
        let mut events = Vec::new();
        let dictionary = Dictionary::default();
        let mut decoder = Decoder::new(Arc::new(Mapping::default_json()), &dictionary);
        for (topic, bytes) in [(PREDICTIONS, &self.predictions), (LABELS, &self.labels)] {
            for value in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let Ok(event) = decoder.decode(value, &RecordMeta::default()) else { continue };
                let (Ok(time), Some(id)) = (event.time(), event.id) else { continue };
                // The id as it stands in the line outlives the decoder's buffers.
                let place = memchr::memmem::find(value, id.as_bytes()).unwrap_or(0);
                let key = value.get(place..place + id.len()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("");
                events.push(Recorded { at: time.at, topic, key, value });
            }
        }
        events.sort_by_key(|event| event.at);
        events
    }
}

fn send(producer: &BaseProducer<DefaultProducerContext>, event: &Recorded<'_>) -> Result<(), KafkaError> {
    loop {
        let record = BaseRecord::to(event.topic).key(event.key).payload(event.value).timestamp(event.at.0);
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(20));
            }
            Err((error, _)) => return Err(error),
        }
    }
}
