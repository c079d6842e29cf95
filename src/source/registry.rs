//! The source partitions this process has seen, by number, and how far each has been read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::event::{NextOffset, SourceId, TopicRole};

/// One source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// Its number in this process.
    pub id: SourceId,
    /// The topic.
    pub topic: String,
    /// The partition of the topic.
    pub partition: i32,
    /// What the topic carries.
    pub role: TopicRole,
    /// Where reading goes on, once it has begun.
    pub next: Option<NextOffset>,
    /// The broker's id of the topic that `next` belongs to: a topic that was made anew has the old name and another id.
    pub topic_id: Option<Arc<str>>,
}

/// Topic and role of each source partition by number, for those who get records of it. It only grows.
pub type Topics = Arc<RwLock<Vec<(Arc<str>, TopicRole)>>>;

/// All source partitions by number and by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    sources: Vec<SourceInfo>,
    index: HashMap<(String, i32), SourceId>,
    topics: Topics,
}

impl Registry {
    /// The number of a partition, given to it now if it has none.
    pub fn register(&mut self, topic: &str, partition: i32, role: TopicRole) -> SourceId {
        if let Some(id) = self.find(topic, partition) {
            return id;
        }
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(SourceInfo { id, topic: topic.to_owned(), partition, role, next: None, topic_id: None });
        self.index.insert((topic.to_owned(), partition), id);
        self.topics.write().unwrap_or_else(PoisonError::into_inner).push((Arc::from(topic), role));
        id
    }

    /// Topics by number, the same list for every copy of the registry.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Arc::clone(&self.topics)
    }

    /// The number of a partition that has one.
    #[must_use]
    pub fn find(&self, topic: &str, partition: i32) -> Option<SourceId> {
        self.index.get(&(topic.to_owned(), partition)).copied()
    }

    /// The partition of that number.
    #[must_use]
    pub fn get(&self, id: SourceId) -> Option<&SourceInfo> {
        self.sources.get(id.0 as usize)
    }

    /// Notes where reading goes on.
    pub fn set_next(&mut self, id: SourceId, next: NextOffset) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.next = Some(next);
        }
    }

    /// Notes where reading goes on, or that it is not known.
    pub fn reset_next(&mut self, id: SourceId, next: Option<NextOffset>) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.next = next;
        }
    }

    /// Notes of which topic the positions are, for all partitions of that name.
    pub fn set_topic_id(&mut self, topic: &str, topic_id: &Arc<str>) {
        for source in self.sources.iter_mut().filter(|source| source.topic == topic) {
            source.topic_id = Some(Arc::clone(topic_id));
        }
    }

    /// Notes of which topic the position of a partition is.
    pub fn reset_topic_id(&mut self, id: SourceId, topic_id: Option<Arc<str>>) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.topic_id = topic_id;
        }
    }

    /// All partitions in the order of their numbers.
    #[must_use]
    pub fn all(&self) -> &[SourceInfo] {
        &self.sources
    }
}
