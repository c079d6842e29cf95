//! Where reading begins in partitions of which there is no position: before the committed offset by the longest window, else
//! where the settings say.
//!
//! A broker that does not answer is not an answer: those partitions wait until it does, or they would begin in the wrong place.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::event::Timestamp;

use super::context::{Callbacks, Context};
use super::settings::StartAt;

/// How long the broker may take for one answer.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to begin in a partition.
pub(super) struct Start {
    pub topic: String,
    pub partition: i32,
    /// `None` where the broker could not tell.
    pub offset: Option<Offset>,
}

/// Looks up where to begin in partitions without a position.
///
/// # Errors
/// Where the broker does not answer.
pub(super) fn starts(context: &Context, consumer: &BaseConsumer<Callbacks>, wanted: &TopicPartitionList) -> Result<Vec<Start>, KafkaError> {
    if wanted.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = consumer.committed_offsets(wanted.clone(), LOOKUP_TIMEOUT)?;
    let is_any_committed = committed.elements().iter().any(|element| matches!(element.offset(), Offset::Offset(_)));
    let look_back = if is_any_committed { Some(offsets_at(consumer, wanted, (context.now)() - context.settings.look_back)?) } else { None };
    let at = match context.settings.start {
        StartAt::At(instant) => Some(offsets_at(consumer, wanted, instant)?),
        StartAt::Earliest | StartAt::Latest => None,
    };
    // Where nothing at all is as young as what windows look back to, records tell of another time than now.
    let is_live = wanted
        .elements()
        .iter()
        .any(|element| matches!(find(look_back.as_ref(), element.topic(), element.partition()), Some(Offset::Offset(_))));
    let mut starts = Vec::new();
    for element in wanted.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let committed = committed.find_partition(topic, partition);
        let offset = match committed.map(|element| (element.error(), element.offset())) {
            Some((Ok(()), Offset::Offset(committed))) => find(look_back.as_ref(), topic, partition).map(|back| match back {
                Offset::Offset(back) => Offset::Offset(back.min(committed)),
                // It has long been silent: what came before is in no window that others are read for again.
                _ if is_live => Offset::Offset(committed),
                _ => Offset::Beginning,
            }),
            Some((Ok(()), _)) => match context.settings.start {
                StartAt::Earliest => Some(Offset::Beginning),
                StartAt::Latest if is_new(context, consumer, topic, partition)? => Some(Offset::Beginning),
                StartAt::Latest => Some(Offset::End),
                StartAt::At(_) => find(at.as_ref(), topic, partition),
            },
            Some((Err(_), _)) | None => None,
        };
        starts.push(Start { topic: topic.to_owned(), partition, offset });
    }
    Ok(starts)
}

/// Whether a partition has come into being since reading of its topic began: nothing of it lies before "from now on".
fn is_new(context: &Context, consumer: &BaseConsumer<Callbacks>, topic: &str, partition: i32) -> Result<bool, KafkaError> {
    Ok(partition >= count(context, consumer, topic)?)
}

/// How many partitions a topic had when reading of it began: now, at the first time.
///
/// # Errors
/// Where the broker does not answer.
pub(super) fn count(context: &Context, consumer: &BaseConsumer<Callbacks>, topic: &str) -> Result<i32, KafkaError> {
    let mut counts = context.partition_counts();
    if let Some(count) = counts.get(topic) {
        return Ok(*count);
    }
    let metadata = consumer.fetch_metadata(Some(topic), LOOKUP_TIMEOUT)?;
    let partitions = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    counts.insert(topic.to_owned(), partitions);
    Ok(partitions)
}

/// An offset as it was looked up; `None` where there was an error.
fn find(list: Option<&TopicPartitionList>, topic: &str, partition: i32) -> Option<Offset> {
    let element = list?.find_partition(topic, partition)?;
    match (element.error(), element.offset()) {
        (Err(_), _) => None,
        (Ok(()), Offset::Offset(offset)) if offset >= 0 => Some(Offset::Offset(offset)),
        // No record is as young as that.
        (Ok(()), _) => Some(Offset::End),
    }
}

fn offsets_at(
    consumer: &BaseConsumer<Callbacks>,
    partitions: &TopicPartitionList,
    at: Timestamp,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = partitions.clone();
    list.set_all_offsets(Offset::Offset(at.0.max(0)))?;
    consumer.offsets_for_times(list, LOOKUP_TIMEOUT)
}
