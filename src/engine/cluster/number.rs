//! What an owner knows of the joins in the partitions of one number: how far their labels are.

use crate::event::Timestamp;

use super::wire::Labels;

/// The joins of the owner's model in the partitions of one number.
#[derive(Clone, Debug, Default)]
pub struct Number {
    labels: Option<Labels>,
    /// The tick up to which a previous owner knew everything.
    known: Option<Timestamp>,
    /// The last wall time at which anybody said anything of it.
    said_at: Option<Timestamp>,
    is_dead: bool,
}

impl Number {
    /// Joins that a previous owner knew up to a tick.
    #[must_use]
    pub fn known(tick: Timestamp) -> Number {
        Number { known: Some(tick), ..Number::default() }
    }

    /// Takes in how far they are; false for what is known.
    pub fn hear(&mut self, labels: Labels) -> bool {
        self.said_at = self.said_at.max(Some(labels.at));
        let is_new = self.labels.as_ref().is_none_or(|held| (held.tick, held.at) < (labels.tick, labels.at));
        if is_new {
            self.labels = Some(labels);
        }
        is_new
    }

    /// Gives them up, or waits for them again, by when they were last heard of. `since` is when their silence began to be
    /// listened to.
    pub fn bury(&mut self, since: Timestamp, oldest: Timestamp) {
        self.is_dead = self.said_at.map_or(since, |at| at.max(since)) < oldest;
    }

    /// Whether they have been silent for so long that they are not waited for.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Whether all partitions of this number are at their end, as was said last.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.is_idle)
    }

    /// Whether records of before a hand-over are being read again.
    #[must_use]
    pub fn is_rebuilding(&self) -> bool {
        !self.is_dead && self.labels.as_ref().is_some_and(|labels| labels.is_rebuilding)
    }

    /// The label clock.
    #[must_use]
    pub fn tick(&self) -> Option<Timestamp> {
        self.labels.as_ref().and_then(|labels| labels.tick)
    }

    /// The tick up to which a previous owner knew everything.
    #[must_use]
    pub fn known_until(&self) -> Option<Timestamp> {
        self.known
    }

    /// What was said last.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }
}
