//! What came in by each topic within the last minute of wall time, and what can never be read: what the rules on the input
//! itself are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::evaluator::Lost;
use crate::engine::{Counts, Emission, Evaluator};
use crate::event::{Outcome, Reject, SourceId, Span, Timestamp};
use crate::rule::{RejectExample, TopicGap, TopicRejects};
use crate::source::SourceInfo;

use super::worker::Saying;

/// Slots of a second each. A share over a minute does not jump about, and is old news soon.
const SLOTS: usize = 60;
/// Milliseconds of a slot.
const SLOT: i64 = 1000;
/// What is told of is not older than this.
pub const MINUTE: Span = Span::MINUTE;
/// Rejections by reason, in the order of [`Reject::ALL`].
type ByReason = [u64; Reject::ALL.len()];

/// What rules of schema make of counts. Tombstones and events of models that are not watched here are neither good nor bad:
/// what they are says nothing of the schema of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    received: u64,
    rejected: ByReason,
}

impl Tally {
    /// What is made of counts, of which so many were tombstones.
    #[must_use]
    pub fn new(counts: &Counts, tombstones: u64) -> Tally {
        let mut rejected = ByReason::default();
        for (slot, reason) in rejected.iter_mut().zip(Reject::ALL) {
            *slot = match reason {
                Reject::UnknownModel => 0,
                Reject::Empty => counts.of(Outcome::Rejected(reason)).saturating_sub(tombstones),
                _ => counts.of(Outcome::Rejected(reason)),
            };
        }
        let others = tombstones + counts.of(Outcome::Rejected(Reject::UnknownModel));
        Tally { received: counts.received().saturating_sub(others), rejected }
    }

    /// What has come to an earlier one; none where that is not an earlier one of the same counts.
    #[must_use]
    pub fn since(&self, earlier: &Tally) -> Option<Tally> {
        let mut more = Tally { received: self.received.checked_sub(earlier.received)?, ..Tally::default() };
        for ((more, now), then) in more.rejected.iter_mut().zip(&self.rejected).zip(&earlier.rejected) {
            *more = now.checked_sub(*then)?;
        }
        Some(more)
    }

    /// Whether any of them were rejected.
    #[must_use]
    pub fn has_rejected(&self) -> bool {
        self.rejected.iter().any(|count| *count > 0)
    }

    fn add(&mut self, more: &Tally) {
        self.received += more.received;
        self.rejected.iter_mut().zip(&more.rejected).for_each(|(sum, more)| *sum += more);
    }
}

/// The last minute of one topic.
#[derive(Debug)]
struct Minute {
    /// Number of the second, and what came in it.
    slots: [(i64, Tally); SLOTS],
    example: Option<RejectExample>,
}

impl Default for Minute {
    fn default() -> Minute {
        Minute { slots: [(i64::MIN, Tally::default()); SLOTS], example: None }
    }
}

impl Minute {
    fn add(&mut self, at: Timestamp, more: &Tally) {
        let second = at.0.div_euclid(SLOT);
        let place = usize::try_from(second).unwrap_or(0) % SLOTS;
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.0 != second {
            *slot = (second, Tally::default());
        }
        slot.1.add(more);
    }

    fn sum(&self, now: Timestamp) -> Tally {
        let second = now.0.div_euclid(SLOT);
        let mut sum = Tally::default();
        // A clock that was set back leaves slots of the future behind: they are not of the last minute either.
        let recent = self.slots.iter().filter(|slot| slot.0 <= second && slot.0 > second - MINUTE.0 / SLOT);
        recent.for_each(|(_, more)| sum.add(more));
        sum
    }
}

/// A hole in a partition.
#[derive(Debug)]
struct Hole {
    topic: String,
    partition: i32,
    lost: Lost,
}

/// The input by topic.
#[derive(Debug, Default)]
pub struct Intake {
    topics: BTreeMap<String, Minute>,
    holes: Vec<Hole>,
}

impl Intake {
    /// Takes note of what a worker has said.
    pub fn note<'a>(&mut self, saying: &Saying, source: impl Fn(SourceId) -> Option<&'a SourceInfo>, now: Timestamp) {
        for (number, counts) in &saying.output.counts {
            let Some(info) = source(*number) else { continue };
            let said = saying.rejected.get(number).cloned().unwrap_or_default();
            let example = said.example.filter(|(_, reason)| *reason != Reject::UnknownModel);
            let example = example.map(|(offset, reason)| RejectExample { partition: info.partition, offset, reason });
            self.note_tally(&info.topic, &Tally::new(counts, said.tombstones), example, now);
        }
    }

    /// Takes note of what came of a topic at an instant, with the last one that was rejected.
    pub fn note_tally(&mut self, topic: &str, more: &Tally, example: Option<RejectExample>, at: Timestamp) {
        let minute = match self.topics.get_mut(topic) {
            Some(minute) => minute,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        minute.add(at, more);
        minute.example = example.or(minute.example);
    }

    /// Takes note of records that can never be read.
    pub fn gap(&mut self, topic: &str, partition: i32, lost: Lost) {
        self.holes.push(Hole { topic: topic.to_owned(), partition, lost });
    }

    /// Whether gaps have been noted that are not judged yet.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Judges the gaps that have been noted since the last time.
    pub fn judge_gaps(&mut self, evaluator: &mut Evaluator, now: Timestamp) -> Vec<Emission> {
        let holes = std::mem::take(&mut self.holes);
        let gaps: Vec<TopicGap<'_>> = holes
            .iter()
            .map(|hole| TopicGap { topic: &hole.topic, partition: hole.partition, from: hole.lost.from, to: hole.lost.to })
            .collect();
        evaluator.judge_gaps(&gaps, now)
    }

    /// Judges the last minute of every topic.
    pub fn judge_rejects(&self, evaluator: &mut Evaluator, now: Timestamp) -> Vec<Emission> {
        let sums: Vec<(u64, Vec<(Reject, u64)>)> = self
            .topics
            .values()
            .map(|minute| {
                let Tally { received, rejected } = minute.sum(now);
                (received, Reject::ALL.into_iter().zip(rejected).filter(|(_, count)| *count > 0).collect())
            })
            .collect();
        let rejects: Vec<TopicRejects<'_>> = self
            .topics
            .iter()
            .zip(&sums)
            .map(|((topic, minute), (received, reasons))| TopicRejects { topic, received: *received, reasons, example: minute.example })
            .collect();
        evaluator.judge_rejects(&rejects, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::letter::Rejected;
    use crate::event::TopicRole;

    fn source(number: u32, topic: &str) -> SourceInfo {
        SourceInfo { id: SourceId(number), topic: topic.into(), partition: 5, role: TopicRole::Predictions, next: None, topic_id: None }
    }

    fn saying(rows: &[(Outcome, u64)], tombstones: u64) -> Saying {
        let mut saying = Saying::default();
        let counts = saying.output.counts.entry(SourceId(0)).or_default();
        rows.iter().for_each(|(outcome, events)| counts.add(*outcome, *events));
        saying.rejected.insert(SourceId(0), Rejected { tombstones, example: Some((9, Reject::NotJson)) });
        saying
    }

    #[test]
    fn a_minute_is_forgotten_second_by_second() {
        let mut intake = Intake::default();
        let sources = [source(0, "a")];
        let rows = [(Outcome::Counted, 90), (Outcome::Rejected(Reject::NotJson), 10)];
        let source = |number: SourceId| sources.get(number.0 as usize);
        intake.note(&saying(&rows, 0), source, Timestamp(1_000_000));
        intake.note(&saying(&rows, 0), source, Timestamp(1_000_900));
        intake.note(&saying(&rows, 0), source, Timestamp(1_030_000));
        let received = |now| intake.topics["a"].sum(Timestamp(now)).received;
        assert_eq!((received(1_030_000), received(1_059_999), received(1_060_000), received(1_090_000)), (300, 300, 100, 0));
        assert_eq!(received(999_000), 0, "the clock was set back");
        assert_eq!(intake.topics["a"].example, Some(RejectExample { partition: 5, offset: 9, reason: Reject::NotJson }));
    }

    #[test]
    fn tombstones_and_other_models_are_left_out() {
        let mut intake = Intake::default();
        let of = Outcome::Rejected;
        let rows = [(Outcome::Late, 3), (of(Reject::Empty), 7), (of(Reject::UnknownModel), 50), (of(Reject::BadTime), 1)];
        let of_a = source(0, "a");
        intake.note(&saying(&rows, 5), |_| Some(&of_a), Timestamp(0));
        let Tally { received, rejected: reasons } = intake.topics["a"].sum(Timestamp(0));
        assert_eq!(received, 6);
        assert_eq!(reasons[Reject::Empty as usize], 2);
        assert_eq!(reasons[Reject::BadTime as usize], 1);
        assert_eq!(reasons.iter().sum::<u64>(), 3);
    }
}
