//! When everything that was in a topic at some moment has been handed on. Pure: positions, words of the broker and the
//! time come in, what is to be asked and what is over comes out.
//!
//! A partition is done when the position has come to the end that it had, or when the broker says that nothing follows the
//! position: compaction and transactions leave offsets without a record, also at the very end. That word counts only when
//! it was asked for after the barrier was begun; an earlier one may be of before the last record.

use std::time::{Duration, Instant};

/// How long a partition may stand before the broker is asked what follows.
const QUIET: Duration = Duration::from_millis(200);
/// How long after asking in vain it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How far a partition has come.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The offset after the last record handed on.
    next: i64,
    /// Since when a barrier waits for the next record, or for the answer to having asked.
    since: Option<Instant>,
    /// Whether the broker was asked for what follows `next`, and neither a record nor an answer has come.
    is_asked: bool,
}

#[derive(Debug)]
struct Barrier<T> {
    /// By partition the end of what must be handed on; none where that is done.
    ends: Vec<Option<i64>>,
    until: Instant,
    token: T,
}

/// What a barrier that is over still misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub partition: i32,
    pub next: i64,
    pub end: i64,
}

/// All partitions of a topic, and the barriers that wait for them, each with a token of its caller.
#[derive(Debug)]
pub(super) struct Barriers<T> {
    places: Vec<Place>,
    waiting: Vec<Barrier<T>>,
}

impl<T> Barriers<T> {
    pub fn new(partitions: i32) -> Barriers<T> {
        Barriers { places: vec![Place::default(); usize::try_from(partitions).unwrap_or(0)], waiting: Vec::new() }
    }

    /// The numbers of the partitions.
    pub fn partitions(&self) -> Vec<i32> {
        (0..).take(self.places.len()).collect()
    }

    /// A record was handed on.
    pub fn taken(&mut self, partition: i32, offset: i64) {
        if let Some(place) = usize::try_from(partition).ok().and_then(|place| self.places.get_mut(place)) {
            *place = Place { next: offset + 1, since: None, is_asked: false };
        }
    }

    /// The broker says that nothing follows the position.
    pub fn at_end(&mut self, partition: i32) {
        let Ok(index) = usize::try_from(partition) else { return };
        if self.places.get(index).is_some_and(|place| place.is_asked) {
            self.waiting.iter_mut().filter_map(|barrier| barrier.ends.get_mut(index)).for_each(|end| *end = None);
        }
    }

    /// Begins a barrier, with the first offset and the end of each partition as they are now.
    pub fn begin(&mut self, ends: &[(i64, i64)], until: Instant, token: T) {
        for (place, (first, end)) in self.places.iter_mut().zip(ends) {
            // A topic that is shorter than what was read of it was made anew, and is read from its beginning.
            let next = if place.next > *end { *first } else { place.next };
            *place = Place { next, since: None, is_asked: false };
        }
        let ends = ends.iter().map(|(first, end)| Some(*end).filter(|end| first < end)).collect();
        self.waiting.push(Barrier { ends, until, token });
    }

    /// The partitions of which the broker is to be asked anew what follows, with the positions to ask from.
    pub fn ask(&mut self, now: Instant) -> Vec<(i32, i64)> {
        let mut asked = Vec::new();
        for ((index, place), partition) in self.places.iter_mut().enumerate().zip(0..) {
            let mut is_missing = false;
            for end in self.waiting.iter_mut().filter_map(|barrier| barrier.ends.get_mut(index)) {
                *end = end.filter(|end| place.next < *end);
                is_missing |= end.is_some();
            }
            let patience = if place.is_asked { ASK_AGAIN } else { QUIET };
            if is_missing && now.duration_since(*place.since.get_or_insert(now)) >= patience {
                *place = Place { since: Some(now), is_asked: true, ..*place };
                asked.push((partition, place.next));
            }
        }
        asked
    }

    /// The barriers that are over, by what they still miss where their time is over. To be called after
    /// [`Barriers::ask`], which sees what is done.
    pub fn over(&mut self, now: Instant) -> Vec<(T, Option<Missing>)> {
        let mut over = Vec::new();
        let places = &self.places;
        for barrier in std::mem::take(&mut self.waiting) {
            let mut open = barrier.ends.iter().zip(places).zip(0..);
            let missing = open.find_map(|((end, place), partition)| Some(Missing { partition, next: place.next, end: (*end)? }));
            if missing.is_none() || now >= barrier.until {
                over.push((barrier.token, missing));
            } else {
                self.waiting.push(barrier);
            }
        }
        over
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // an instant to count from
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    fn over(barriers: &mut Barriers<&'static str>, now: Instant) -> Vec<(&'static str, Option<Missing>)> {
        barriers.ask(now);
        barriers.over(now)
    }

    #[test]
    fn a_barrier_is_over_when_all_partitions_have_come_to_their_ends() {
        let now = Instant::now();
        let mut barriers = Barriers::new(3);
        barriers.taken(0, 4);
        // The third one has nothing, though it once had.
        barriers.begin(&[(0, 5), (2, 4), (7, 7)], now + LATER, "a");
        assert_eq!(over(&mut barriers, now), []);
        barriers.taken(1, 2);
        assert_eq!(over(&mut barriers, now), []);
        barriers.taken(1, 3);
        assert_eq!(over(&mut barriers, now), [("a", None)]);
        assert_eq!(over(&mut barriers, now), []);
    }

    #[test]
    fn a_barrier_whose_time_is_over_tells_what_it_misses() {
        let now = Instant::now();
        let mut barriers = Barriers::new(2);
        barriers.begin(&[(0, 5), (0, 9)], now + LATER, "a");
        barriers.begin(&[(0, 6), (0, 9)], now + 2 * LATER, "b");
        barriers.taken(0, 5);
        barriers.taken(1, 3);
        let missing = Missing { partition: 1, next: 4, end: 9 };
        assert_eq!(over(&mut barriers, now + LATER), [("a", Some(missing))]);
        barriers.taken(1, 8);
        assert_eq!(over(&mut barriers, now + LATER), [("b", None)]);
    }

    #[test]
    fn only_a_word_that_was_asked_for_since_makes_a_hole() {
        let now = Instant::now();
        let mut barriers = Barriers::new(1);
        barriers.taken(0, 6);
        barriers.at_end(0);
        barriers.begin(&[(0, 9)], now + LATER, "a");
        // From before the barrier: the records 7 and 8 may be on their way.
        barriers.at_end(0);
        assert_eq!(barriers.ask(now), []);
        assert_eq!(barriers.over(now), []);
        assert_eq!(barriers.ask(now + QUIET), [(0, 7)]);
        assert_eq!(barriers.ask(now + 2 * QUIET), [], "asked once");
        // A record came after all: the word that follows it is not the answer.
        barriers.taken(0, 7);
        barriers.at_end(0);
        assert_eq!(over(&mut barriers, now + 3 * QUIET), []);
        assert_eq!(barriers.ask(now + 4 * QUIET), [(0, 8)]);
        barriers.at_end(0);
        assert_eq!(over(&mut barriers, now + 5 * QUIET), [("a", None)]);
    }

    #[test]
    fn without_an_answer_it_is_asked_again() {
        let now = Instant::now();
        let mut barriers = Barriers::new(1);
        barriers.begin(&[(0, 9)], now + LATER, "a");
        assert_eq!(barriers.ask(now), []);
        assert_eq!(barriers.ask(now + QUIET), [(0, 0)]);
        assert_eq!(barriers.ask(now + QUIET + ASK_AGAIN / 2), []);
        assert_eq!(barriers.ask(now + QUIET + ASK_AGAIN), [(0, 0)]);
        assert_eq!(barriers.over(now + LATER).len(), 1);
    }

    #[test]
    fn a_topic_that_was_made_anew_is_waited_for_from_its_beginning() {
        let now = Instant::now();
        let mut barriers = Barriers::new(1);
        barriers.taken(0, 999);
        barriers.begin(&[(0, 5)], now + LATER, "a");
        assert_eq!(over(&mut barriers, now), []);
        barriers.taken(0, 4);
        assert_eq!(over(&mut barriers, now), [("a", None)]);
    }
}
