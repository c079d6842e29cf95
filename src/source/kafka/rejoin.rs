//! Partitions that were added while a static member was away.
//!
//! A member with an instance id that comes back gets what it had, without anybody dividing the partitions anew; and
//! librdkafka asks for that only when it sees topics change. What was added in between would be nobody's. So such a member
//! looks once, after its first assignment, whether there are more partitions than it knows of, and if so joins again.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::context::Context;

/// The property that makes a member static.
const INSTANCE_ID: &str = "group.instance.id";
/// How long the broker may take to tell the partitions of one topic; it is asked again a second later.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);

/// The look at the partitions after the first assignment.
#[derive(Debug)]
pub(super) struct Rejoin {
    is_done: bool,
}

impl Rejoin {
    /// Only a static member has to look, and one that was not there before, as its empty state shows, has its partitions from a
    /// division of all. In a cluster the state of before is with others.
    pub fn new(context: &Context) -> Rejoin {
        let is_static = context.settings.instance_id.is_some() || context.settings.connection.property(INSTANCE_ID).is_some();
        let is_new = context.settings.resume.is_none() && context.registry().all().is_empty();
        Rejoin { is_done: !is_static || is_new }
    }

    /// Looks, once partitions are assigned. Another member may read what is unknown here; then joining again changes nothing.
    pub fn look(&mut self, consumer: &BaseConsumer<Context>, context: &Context) {
        if self.is_done || context.assigned().is_empty() {
            return;
        }
        match Rejoin::join_where_there_are_more(consumer, context) {
            Ok(()) => self.is_done = true,
            // It is tried again at the next call.
            Err(error) => tracing::debug!(target: "driftline::kafka", %error, "the partitions of the topics are not known yet"),
        }
    }

    fn join_where_there_are_more(consumer: &BaseConsumer<Context>, context: &Context) -> Result<(), KafkaError> {
        let topics: Vec<&str> = context.settings.topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut has_more = false;
        for topic in &topics {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_PATIENCE)?;
            let registry = context.registry();
            let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
            has_more |= partitions.into_iter().any(|partition| registry.find(topic, partition.id()).is_none());
        }
        if has_more {
            tracing::info!(target: "driftline::kafka", "there are partitions that this static member was not given: joining again");
            consumer.unsubscribe();
            consumer.subscribe(&topics)?;
        }
        Ok(())
    }
}
