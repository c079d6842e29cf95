//! What became of labels, for the accounting: how many moved from one outcome to another. It does not know which.

use crate::event::Outcome;

/// What became of labels: how many moved from one outcome to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<(Outcome, Outcome, u64)>);

impl Tally {
    /// Labels that waited and have an outcome now.
    #[must_use]
    pub fn of(outcome: Outcome, labels: u64) -> Tally {
        let mut tally = Tally::default();
        tally.shift(Outcome::Waiting, outcome, labels);
        tally
    }

    /// Whether nothing became of any label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The old outcome, the new one, and the number of labels.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, Outcome, u64)> {
        self.0.iter().copied()
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        other.iter().for_each(|(from, to, labels)| self.shift(from, to, labels));
    }

    pub(super) fn shift(&mut self, from: Outcome, to: Outcome, labels: u64) {
        match self.0.iter_mut().find(|(old, new, _)| (*old, *new) == (from, to)) {
            _ if labels == 0 => {}
            Some((.., count)) => *count += labels,
            None => self.0.push((from, to, labels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_added_up_and_none_of_no_label_is_kept() {
        let mut tally = Tally::of(Outcome::Counted, 2);
        tally.merge(&Tally::of(Outcome::Counted, 3));
        tally.merge(&Tally::of(Outcome::Shed, 0));
        tally.shift(Outcome::Duplicate, Outcome::Counted, 1);
        let moves: Vec<_> = tally.iter().collect();
        assert_eq!(moves, [(Outcome::Waiting, Outcome::Counted, 5), (Outcome::Duplicate, Outcome::Counted, 1)]);
        assert!(Tally::of(Outcome::Shed, 0).is_empty());
    }
}
