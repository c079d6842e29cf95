//! What came in by each topic within the last minute of wall time, and what can never be read: what the rules on the input
//! itself are told.

use std::collections::BTreeMap;

use crate::engine::{Emission, Evaluator};
use crate::event::{Outcome, Reject, SourceId, Timestamp};
use crate::rule::{RejectExample, TopicGap, TopicRejects};
use crate::source::SourceInfo;

use super::worker::Saying;

/// Slots of a second each. A share over a minute does not jump about, and is old news soon.
const SLOTS: usize = 60;
/// Milliseconds of a slot, and of all slots.
const SLOT: i64 = 1000;
const MINUTE: i64 = 60 * SLOT;
/// Rejections by reason, in the order of [`Reject::ALL`].
type ByReason = [u64; Reject::ALL.len()];

/// The last minute of one topic.
#[derive(Debug)]
struct Minute {
    /// Number of the second, records received, rejections by reason.
    slots: [(i64, u64, ByReason); SLOTS],
    example: Option<RejectExample>,
}

impl Default for Minute {
    fn default() -> Minute {
        Minute { slots: [(i64::MIN, 0, ByReason::default()); SLOTS], example: None }
    }
}

impl Minute {
    fn add(&mut self, now: Timestamp, received: u64, rejected: &ByReason) {
        let second = now.0.div_euclid(SLOT);
        let place = usize::try_from(second).unwrap_or(0) % SLOTS;
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.0 != second {
            *slot = (second, 0, ByReason::default());
        }
        slot.1 += received;
        slot.2.iter_mut().zip(rejected).for_each(|(sum, more)| *sum += more);
    }

    fn sums(&self, now: Timestamp) -> (u64, ByReason) {
        let second = now.0.div_euclid(SLOT);
        let mut sums = (0, ByReason::default());
        // A clock that was set back leaves slots of the future behind: they are not of the last minute either.
        for slot in self.slots.iter().filter(|slot| slot.0 <= second && slot.0 > second - MINUTE / SLOT) {
            sums.0 += slot.1;
            sums.1.iter_mut().zip(&slot.2).for_each(|(sum, more)| *sum += more);
        }
        sums
    }
}

/// A hole in a partition.
#[derive(Debug)]
struct Hole {
    topic: String,
    partition: i32,
    from: i64,
    to: i64,
}

/// The input of this process by topic.
#[derive(Debug, Default)]
pub struct Intake {
    topics: BTreeMap<String, Minute>,
    holes: Vec<Hole>,
}

impl Intake {
    /// Takes note of what a worker has said. Tombstones and events of models that are not watched here are neither good nor
    /// bad: what they are says nothing of the schema of the others.
    pub fn note(&mut self, saying: &Saying, sources: &[SourceInfo], now: Timestamp) {
        for (source, counts) in &saying.output.counts {
            let Some(info) = sources.get(source.0 as usize) else { continue };
            let said = saying.rejected.get(source).cloned().unwrap_or_default();
            let mut rejected = ByReason::default();
            for (slot, reason) in rejected.iter_mut().zip(Reject::ALL) {
                *slot = match reason {
                    Reject::UnknownModel => 0,
                    Reject::Empty => counts.of(Outcome::Rejected(reason)).saturating_sub(said.tombstones),
                    _ => counts.of(Outcome::Rejected(reason)),
                };
            }
            let others = said.tombstones + counts.of(Outcome::Rejected(Reject::UnknownModel));
            let minute = match self.topics.get_mut(&info.topic) {
                Some(minute) => minute,
                None => self.topics.entry(info.topic.clone()).or_default(),
            };
            minute.add(now, counts.received().saturating_sub(others), &rejected);
            if let Some((offset, reason)) = said.example.filter(|(_, reason)| *reason != Reject::UnknownModel) {
                minute.example = Some(RejectExample { partition: info.partition, offset, reason });
            }
        }
    }

    /// Takes note of records that can never be read.
    pub fn gap(&mut self, source: SourceId, sources: &[SourceInfo], from: i64, to: i64) {
        if let Some(info) = sources.get(source.0 as usize) {
            self.holes.push(Hole { topic: info.topic.clone(), partition: info.partition, from, to });
        }
    }

    /// Whether gaps have been noted that are not judged yet.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Judges the gaps that have been noted since the last time.
    pub fn judge_gaps(&mut self, evaluator: &mut Evaluator, now: Timestamp) -> Vec<Emission> {
        let holes = std::mem::take(&mut self.holes);
        let gaps: Vec<TopicGap<'_>> =
            holes.iter().map(|hole| TopicGap { topic: &hole.topic, partition: hole.partition, from: hole.from, to: hole.to }).collect();
        evaluator.judge_gaps(&gaps, now)
    }

    /// Judges the last minute of every topic.
    pub fn judge_rejects(&self, evaluator: &mut Evaluator, now: Timestamp) -> Vec<Emission> {
        let sums: Vec<(u64, Vec<(Reject, u64)>)> = self
            .topics
            .values()
            .map(|minute| {
                let (received, rejected) = minute.sums(now);
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
        intake.note(&saying(&rows, 0), &sources, Timestamp(1_000_000));
        intake.note(&saying(&rows, 0), &sources, Timestamp(1_000_900));
        intake.note(&saying(&rows, 0), &sources, Timestamp(1_030_000));
        let received = |now| intake.topics["a"].sums(Timestamp(now)).0;
        assert_eq!((received(1_030_000), received(1_059_999), received(1_060_000), received(1_090_000)), (300, 300, 100, 0));
        assert_eq!(received(999_000), 0, "the clock was set back");
        assert_eq!(intake.topics["a"].example, Some(RejectExample { partition: 5, offset: 9, reason: Reject::NotJson }));
    }

    #[test]
    fn tombstones_and_other_models_are_left_out() {
        let mut intake = Intake::default();
        let of = Outcome::Rejected;
        let rows = [(Outcome::Late, 3), (of(Reject::Empty), 7), (of(Reject::UnknownModel), 50), (of(Reject::BadTime), 1)];
        intake.note(&saying(&rows, 5), &[source(0, "a")], Timestamp(0));
        let (received, reasons) = intake.topics["a"].sums(Timestamp(0));
        assert_eq!(received, 6);
        assert_eq!(reasons[Reject::Empty as usize], 2);
        assert_eq!(reasons[Reject::BadTime as usize], 1);
        assert_eq!(reasons.iter().sum::<u64>(), 3);
    }
}
