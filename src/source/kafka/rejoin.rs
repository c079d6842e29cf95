//! Partitions that were added while a static member was away.
//!
//! A member with an instance id that comes back gets what it had, without anybody dividing the partitions anew; and
//! librdkafka asks for that only when it sees topics change. What was added in between would be nobody's. So such a member
//! asks, after its first assignment, whether there are partitions that the group gave to nobody, and if so joins again. While
//! partitions change hands some are nobody's, too: it must be so for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::context::{Callbacks, Context};
use super::settings::GroupProtocol;

/// The property that makes a member static.
const INSTANCE_ID: &str = "group.instance.id";
/// How long the broker may take to tell the partitions of one topic, or the members of the group; it is asked again a second
/// later.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);
/// The state of a group that has given out what it has to give.
const STABLE: &str = "Stable";
/// Looks in a row, a second apart, at which partitions must be nobody's: those that change hands are taken within less.
const LOOKS: u32 = 2;

/// The look at the partitions after the first assignment.
#[derive(Debug)]
pub(super) struct Rejoin {
    is_done: bool,
    /// Looks in a row at which partitions were nobody's.
    looks: u32,
}

impl Rejoin {
    /// Only a static member has to look, and only where the members divide the partitions: the broker sees new ones itself.
    pub fn new(context: &Context) -> Rejoin {
        let settings = &context.settings;
        let is_static = settings.instance_id.is_some() || settings.connection.property(INSTANCE_ID).is_some();
        Rejoin { is_done: !is_static || settings.protocol == GroupProtocol::Consumer, looks: 0 }
    }

    /// Looks, once partitions are assigned. To be called once a second.
    pub fn look(&mut self, consumer: &BaseConsumer<Callbacks>, context: &Context) {
        if self.is_done || context.assigned().is_empty() {
            return;
        }
        let topics: Vec<&str> = context.settings.topics.iter().map(|topic| topic.name.as_str()).collect();
        // Whatever fails is tried again at the next call.
        match left_out(consumer, context, &topics) {
            Ok(Some(0)) => self.is_done = true,
            Ok(Some(partitions)) => {
                self.looks += 1;
                if self.looks >= LOOKS {
                    self.is_done = true;
                    tracing::info!(target: "driftline::kafka", partitions, "the group gave partitions to nobody: this static member joins again");
                    consumer.unsubscribe();
                    if let Err(error) = consumer.subscribe(&topics) {
                        context.tell_trouble(format!("the topics cannot be subscribed to again: {error}"));
                    }
                }
            }
            Ok(None) => self.looks = 0,
            Err(error) => tracing::debug!(target: "driftline::kafka", %error, "the partitions of the group are not known yet"),
        }
    }
}

/// How many partitions of the topics the group left out; none where it is about to divide them anew.
fn left_out(consumer: &BaseConsumer<Callbacks>, context: &Context, topics: &[&str]) -> Result<Option<usize>, KafkaError> {
    let groups = consumer.fetch_group_list(Some(&context.settings.group_id), METADATA_PATIENCE)?;
    let Some(group) = groups.groups().iter().find(|group| group.state() == STABLE) else { return Ok(None) };
    let mut given = BTreeSet::new();
    for member in group.members() {
        let Some(partitions) = partitions_of(member.assignment().unwrap_or_default()) else { return Ok(None) };
        given.extend(partitions);
    }
    let mut left_out = BTreeSet::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_PATIENCE)?;
        let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        left_out.extend(partitions.map(|partition| ((*topic).to_owned(), partition.id())).filter(|partition| !given.contains(partition)));
    }
    let (registry, assigned) = (context.registry(), context.assigned());
    let mut held = assigned.iter().filter_map(|(id, _)| registry.get(*id));
    // What is still ours and given to nobody we are about to give up for somebody.
    let is_changing = held.any(|source| left_out.contains(&(source.topic.clone(), source.partition)));
    Ok((!is_changing).then_some(left_out.len()))
}

/// The partitions a member was given, from the bytes in which the members of a group tell each other: a version, then topics
/// with their partitions, all numbers big-endian. None where they are cut short.
/// Source: `ConsumerProtocolAssignment` of Apache Kafka.
fn partitions_of(mut bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let rest = &mut bytes;
    let mut partitions = Vec::new();
    take::<2>(rest)?;
    for _ in 0..i32::from_be_bytes(take(rest)?) {
        let length = usize::from(u16::from_be_bytes(take(rest)?));
        let (topic, after) = rest.split_at_checked(length)?;
        *rest = after;
        let topic = String::from_utf8(topic.to_vec()).ok()?;
        for _ in 0..i32::from_be_bytes(take(rest)?) {
            partitions.push((topic.clone(), i32::from_be_bytes(take(rest)?)));
        }
    }
    Some(partitions)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_one_cut_short_is_not() {
        let mut bytes = vec![0, 3, 0, 0, 0, 2];
        for (topic, partitions) in [("a", &[0_i32, 258][..]), ("topic-b", &[7])] {
            bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        let meant = vec![("a".to_owned(), 0), ("a".to_owned(), 258), ("topic-b".to_owned(), 7)];
        for length in 0..bytes.len() {
            assert_eq!(partitions_of(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(partitions_of(&bytes), Some(meant.clone()));
        // What belongs to the user data after it is nobody's business.
        bytes.extend([0xff; 4]);
        assert_eq!(partitions_of(&bytes), Some(meant));
    }
}
