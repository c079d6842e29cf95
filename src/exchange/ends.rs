//! Where partitions begin and end, as the brokers have it.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Reader, describe};

/// The first offset of each of the partitions and the one after the last that a reader of committed records can see, asked
/// with two requests to each broker: one for each partition would wait behind the fetches one by one.
///
/// # Errors
/// Where one of them cannot be told, in words.
pub(super) fn ends(reader: &Reader, topic: &str, partitions: &[i32], patience: Duration) -> Result<Vec<(i64, i64)>, String> {
    let ask = |which: Offset| -> Result<Vec<i64>, String> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(topic, *partition, which).map_err(|error| describe(&error))?;
        }
        let found = reader.offsets_for_times(list, patience).map_err(|error| format!("the end of {topic}: {}", describe(&error)))?;
        let one = |partition: &i32| {
            let element = found.find_partition(topic, *partition).ok_or_else(|| "no answer".to_owned())?;
            element.error().map_err(|error| describe(&error))?;
            match element.offset() {
                Offset::Offset(offset) if offset >= 0 => Ok(offset),
                other => Err(format!("told as {other:?}")),
            }
        };
        partitions.iter().map(|partition| one(partition).map_err(|reason| format!("the end of {topic}[{partition}]: {reason}"))).collect()
    };
    // The end last: nothing that was there at the call lies after it.
    let first = ask(Offset::Beginning)?;
    Ok(first.into_iter().zip(ask(Offset::End)?).collect())
}
