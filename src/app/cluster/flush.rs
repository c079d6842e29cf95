//! One round of saying what was counted: the workers are asked, what they answer is sent as one ticket with the progress
//! behind it, and only when all of it has arrived the next round begins. A round that fails is simply said again: every
//! record holds all that there is.

use std::collections::BTreeMap;

use crate::event::{SourceId, Span, Timestamp};
use crate::exchange::Ticket;

use super::super::clock;
use super::super::worker::Published;

/// For how long nothing need arrive before workers count nothing further: what was counted stays in memory until it has. It is
/// longer where rounds are further apart.
const BRAKE: Span = Span(60_000);

/// Where a round stands.
#[derive(Debug)]
enum Stage {
    /// Nothing is under way.
    Resting,
    /// The workers have been asked.
    Asking(Vec<Option<Published>>),
    /// It was sent.
    Sent { ticket: Ticket, ends: Vec<(SourceId, i64)> },
}

/// The rounds of one replica.
#[derive(Debug)]
pub(super) struct Flush {
    every: Span,
    begun: Timestamp,
    /// When something of a round has last arrived.
    arrived: Timestamp,
    /// Whether workers were told to count nothing further.
    is_braked: bool,
    stage: Stage,
    /// Up to which offset everything of a partition has arrived.
    acknowledged: BTreeMap<SourceId, i64>,
}

impl Flush {
    pub fn new(every: Span, now: Timestamp) -> Flush {
        Flush { every, begun: now, arrived: now, is_braked: false, stage: Stage::Resting, acknowledged: BTreeMap::new() }
    }

    /// Begins a round if one is due; gives what the workers are to be told.
    pub fn begin(&mut self, workers: usize, now: Timestamp) -> Option<BTreeMap<SourceId, i64>> {
        let due = matches!(self.stage, Stage::Resting) && clock::since(self.begun, now) >= self.every;
        due.then(|| {
            self.begun = now;
            self.stage = Stage::Asking((0..workers).map(|_| None).collect());
            self.acknowledged.clone()
        })
    }

    /// Takes a worker's answer; gives all of them with the last one.
    pub fn answer(&mut self, worker: usize, published: Published) -> Option<Vec<Published>> {
        let Stage::Asking(answers) = &mut self.stage else { return None };
        if let Some(place) = answers.get_mut(worker) {
            *place = Some(published);
        }
        let complete = answers.iter().all(Option::is_some);
        complete.then(|| std::mem::take(answers).into_iter().flatten().collect())
    }

    /// The round was sent.
    pub fn sent(&mut self, ticket: Ticket, ends: Vec<(SourceId, i64)>) {
        self.stage = Stage::Sent { ticket, ends };
    }

    /// The round could not be sent; the next one says it all.
    pub fn failed(&mut self) {
        self.stage = Stage::Resting;
    }

    /// Whether workers are to count nothing further, where that is not what they were told last. At the end they count what there is.
    pub fn brake(&mut self, is_draining: bool, now: Timestamp) -> Option<bool> {
        // A clock that was set back is no outage.
        self.arrived = self.arrived.min(now);
        let is_braked = !is_draining && now - self.arrived > BRAKE.max(Span(3 * self.every.0));
        (std::mem::replace(&mut self.is_braked, is_braked) != is_braked).then_some(is_braked)
    }

    /// Something of a round has arrived, or never can: waiting for it would be in vain.
    pub fn hear(&mut self, now: Timestamp) {
        self.arrived = now;
    }

    /// Whether workers count nothing further.
    pub fn is_braked(&self) -> bool {
        self.is_braked
    }

    /// What came of a ticket, if it is that of this round: the offsets up to which everything has arrived.
    pub fn settle(&mut self, ticket: Ticket, arrived: bool) -> Option<Vec<(SourceId, i64)>> {
        let Stage::Sent { ticket: ours, ends } = &mut self.stage else { return None };
        if *ours != ticket {
            return None;
        }
        let ends = std::mem::take(ends);
        self.stage = Stage::Resting;
        if !arrived {
            return Some(Vec::new());
        }
        // Of a partition that has changed hands meanwhile nothing is known any more.
        for (source, end) in &ends {
            if let Some(known) = self.acknowledged.get_mut(source) {
                *known = *end;
            }
        }
        Some(ends)
    }

    /// A partition is ours, and up to `end` everybody knows of it.
    pub fn assign(&mut self, source: SourceId, end: i64) {
        self.acknowledged.insert(source, end);
    }

    /// A partition is somebody else's.
    pub fn revoke(&mut self, source: SourceId) {
        self.acknowledged.remove(&source);
    }

    /// The workers end: their last words are said instead of answers.
    pub fn give_up(&mut self) {
        if matches!(self.stage, Stage::Asking(_)) {
            self.stage = Stage::Resting;
        }
    }

    /// Whether a round is under way.
    pub fn is_busy(&self) -> bool {
        !matches!(self.stage, Stage::Resting)
    }

    /// Makes the next round begin at once.
    pub fn hurry(&mut self) {
        self.begun = Timestamp(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(end: i64) -> Published {
        Published { ends: vec![(SourceId(0), end)], ..Published::default() }
    }

    #[test]
    fn a_round_ends_before_the_next_begins_and_failure_says_it_again() {
        let mut flush = Flush::new(Span(10), Timestamp(0));
        flush.assign(SourceId(0), 5);
        assert!(flush.begin(2, Timestamp(9)).is_none());
        assert_eq!(flush.begin(2, Timestamp(10)).unwrap()[&SourceId(0)], 5);
        assert!(flush.begin(2, Timestamp(30)).is_none());
        assert!(flush.answer(0, published(9)).is_none());
        assert_eq!(flush.answer(1, Published::default()).unwrap().len(), 2);
        flush.sent(Ticket(7), vec![(SourceId(0), 9)]);
        assert!(flush.settle(Ticket(6), true).is_none());
        assert_eq!(flush.settle(Ticket(7), false), Some(Vec::new()));
        assert_eq!(flush.begin(2, Timestamp(40)).unwrap()[&SourceId(0)], 5, "nothing is acknowledged by a failure");
    }

    #[test]
    fn workers_count_nothing_further_while_nothing_arrives() {
        let mut flush = Flush::new(Span(10), Timestamp(0));
        assert_eq!(flush.brake(false, Timestamp(BRAKE.0)), None);
        let late = Timestamp(BRAKE.0 + 10);
        assert_eq!((flush.brake(false, late), flush.brake(false, late)), (Some(true), None), "they are told once");
        let mut round = |ticket: u64, arrived: bool| {
            flush.begin(1, late + Span(ticket.cast_signed() * 10)).unwrap();
            flush.answer(0, published(9));
            flush.sent(Ticket(ticket), vec![(SourceId(0), 9)]);
            flush.settle(Ticket(ticket), arrived);
            arrived.then(|| flush.hear(late));
            flush.brake(false, late)
        };
        assert_eq!((round(1, false), round(2, true)), (None, Some(false)));
        let late = late + Span(BRAKE.0 + 10);
        let mut rare = Flush::new(Span(BRAKE.0), Timestamp(0));
        assert_eq!(rare.brake(false, late), None, "rounds that are further apart are waited for");
        rare.brake(false, Timestamp(-5 * BRAKE.0));
        assert_eq!(rare.brake(false, Timestamp(-3 * BRAKE.0)), None, "a clock that is set back");
        assert_eq!((flush.brake(false, late), flush.brake(true, late)), (Some(true), Some(false)), "the end is not held up");
    }

    #[test]
    fn a_partition_that_left_is_not_acknowledged() {
        let mut flush = Flush::new(Span(0), Timestamp(0));
        flush.assign(SourceId(0), 5);
        flush.begin(1, Timestamp(10));
        flush.answer(0, published(9));
        flush.sent(Ticket(1), vec![(SourceId(0), 9)]);
        flush.revoke(SourceId(0));
        flush.settle(Ticket(1), true);
        assert!(flush.begin(1, Timestamp(20)).unwrap().is_empty());
    }
}
