//! A source partition as the replica knows it that reads it: how far it is, and what became of its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::evaluator::Gap;
use crate::engine::output::Counts;
use crate::engine::plan::Plan;
use crate::event::{Reject, Timestamp, TopicRole};
use crate::window::LateKey;

use super::directory::ResumedSource;
use super::wire::{LIFE, Late, Progress, SourceName};

/// A source partition that this replica reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub name: SourceName,
    pub role: TopicRole,
    pub start: i64,
    pub watermark: Option<Timestamp>,
    pub earliest: Option<Timestamp>,
    pub is_idle: bool,
    pub counts: Counts,
    pub late: BTreeMap<LateKey, u64>,
    pub gaps: Vec<Gap>,
    pub tombstones: u64,
    pub example: Option<(i64, Reject)>,
    /// The offset after the last record that joins were told of, or where reading began.
    pub seen: i64,
    /// Joins are told of the records before this position by reading them again.
    pub told_again: i64,
    /// The broker's id of the topic that positions are of.
    topic_id: Option<Arc<str>>,
    /// The id of the topic that its next life is of.
    next_topic_id: Option<Arc<str>>,
    /// The life of the last position.
    life: i64,
}

impl Reading {
    /// One that nobody has said anything of.
    pub fn begun(name: SourceName, role: TopicRole, start: i64) -> Reading {
        Reading {
            name,
            role,
            start,
            watermark: None,
            earliest: None,
            is_idle: false,
            counts: Counts::default(),
            late: BTreeMap::new(),
            gaps: Vec::new(),
            tombstones: 0,
            example: None,
            seen: start,
            told_again: 0,
            topic_id: None,
            next_topic_id: None,
            life: start.div_euclid(LIFE),
        }
    }

    /// One that goes on at `next` from what was said of it.
    pub fn resumed(name: SourceName, role: TopicRole, next: i64, resumed: ResumedSource) -> Reading {
        let ResumedSource { progress, late, .. } = resumed;
        Reading {
            start: progress.start,
            watermark: progress.watermark,
            earliest: progress.earliest,
            counts: progress.counts,
            late,
            gaps: progress.gaps,
            tombstones: progress.tombstones,
            example: progress.example,
            topic_id: progress.topic_id,
            ..Reading::begun(name, role, next)
        }
    }

    /// Takes in how far its records go.
    pub fn advance(&mut self, watermark: Option<Timestamp>, earliest: Option<Timestamp>) {
        if watermark > self.watermark {
            self.is_idle = false;
        }
        self.watermark = self.watermark.max(watermark);
        self.earliest = match (self.earliest, earliest) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        let watermark = self.watermark;
        for gap in self.gaps.iter_mut().filter(|gap| gap.until.is_none() && gap.from < watermark) {
            gap.until = watermark;
        }
    }

    /// What is said of it, up to the last position that was reached.
    pub fn said(&self, end: i64, late: Vec<Late>, instance: Arc<str>, at: Timestamp) -> Progress {
        Progress {
            role: self.role,
            topic_id: self.topic_id.clone(),
            start: self.start,
            end,
            watermark: self.watermark,
            earliest: self.earliest,
            is_idle: self.is_idle,
            counts: self.counts.clone(),
            late,
            gaps: self.gaps.clone(),
            tombstones: self.tombstones,
            example: self.example,
            instance,
            at,
        }
    }

    /// Takes in an id of its topic. Where it is `begun` under another one, that is the id of its next life.
    pub fn hear_id(&mut self, id: &Arc<str>, is_begun: bool) {
        if [&self.topic_id, &self.next_topic_id].contains(&&Some(Arc::clone(id))) {
            return;
        }
        if is_begun && self.topic_id.is_some() {
            self.next_topic_id = Some(Arc::clone(id));
        } else {
            self.topic_id = Some(Arc::clone(id));
        }
    }

    /// Its position is this.
    pub fn reach(&mut self, end: i64) {
        let life = end.div_euclid(LIFE);
        if life > self.life {
            self.life = life;
            self.topic_id = self.next_topic_id.take().or(self.topic_id.take());
        }
    }

    /// Forgets late records of old slices, but for as many slices as windows may show at a time. Not by the watermark: where
    /// that leaps, nobody has been told of them yet, and other partitions may be far behind.
    pub fn prune(&mut self, plan: &Plan) {
        let most =
            |model: u16| plan.model(model).map_or(0, |plan| (3 * plan.longest_window().0 + plan.lateness.0) / plan.slice.0.max(1) + 2);
        // The one that was looked at last, and how many slices of its model are left.
        let (mut last, mut left) = (None, 0);
        let mut old = Vec::new();
        for key in self.late.keys().rev() {
            let at = (key.model, key.slice);
            if last.is_none_or(|(model, _)| model != key.model) {
                left = most(key.model) + 1;
            }
            left -= i64::from(last != Some(at));
            last = Some(at);
            if left <= 0 {
                old.push(*key);
            }
        }
        for key in old {
            self.late.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    fn reading(next: i64, topic_id: Option<&str>) -> Reading {
        let name = SourceName { topic: "t".into(), partition: 0 };
        Reading { topic_id: topic_id.map(id), ..Reading::begun(name, TopicRole::Predictions, next) }
    }

    fn named(reading: &Reading) -> Option<String> {
        reading.said(0, Vec::new(), id("me"), Timestamp(0)).topic_id.map(|id| id.to_string())
    }

    #[test]
    fn positions_are_of_the_new_topic_once_they_begin_again() {
        let mut reading = reading(LIFE + 7, Some("a"));
        reading.hear_id(&id("b"), true);
        reading.hear_id(&id("b"), false);
        reading.reach(LIFE + 9);
        assert_eq!(named(&reading).as_deref(), Some("a"));
        reading.reach(2 * LIFE);
        assert_eq!(named(&reading).as_deref(), Some("b"));
        // A log that was cut short begins again, too, and is of the same topic.
        reading.reach(3 * LIFE + 2);
        assert_eq!(named(&reading).as_deref(), Some("b"));
    }

    #[test]
    fn where_nothing_was_read_the_id_is_that_of_now() {
        let mut unnamed = reading(5, None);
        unnamed.hear_id(&id("a"), true);
        assert_eq!(named(&unnamed).as_deref(), Some("a"), "whoever wrote it knew no ids");
        let mut unread = reading(0, Some("a"));
        unread.hear_id(&id("b"), false);
        assert_eq!(named(&unread).as_deref(), Some("b"));
    }
}
