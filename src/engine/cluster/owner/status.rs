//! What an owner shows of itself.

use crate::engine::cluster::wire::{Labels, Progress, SourceName};
use crate::engine::plan::ModelPlan;
use crate::event::{Timestamp, TopicRole};
use crate::rule::Alerts;

use super::Owner;

/// Records that changed nothing, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Snapshots that were known already, or that end before what is known.
    pub repeated: u64,
    /// Progress that ends before what is known: said by somebody who reads no longer.
    pub stale: u64,
    /// Panes that were counted under another configuration.
    pub foreign: u64,
}

/// A source partition, for display.
#[derive(Clone, Copy, Debug)]
pub struct SourceStatus<'a> {
    /// Its name.
    pub name: &'a SourceName,
    /// What its topic carries; `None` where the input topics have no such partition any more.
    pub role: Option<TopicRole>,
    /// What was said of it last.
    pub progress: Option<&'a Progress>,
    /// Whether it has been silent for so long that it is not waited for.
    pub is_dead: bool,
}

impl Owner {
    /// The model.
    #[must_use]
    pub fn plan(&self) -> Option<&ModelPlan> {
        self.evaluator.model().map(|(plan, _)| plan)
    }

    /// Alert instances as they stand.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        self.evaluator.alerts()
    }

    /// The clock that closes windows.
    #[must_use]
    pub fn event_clock(&self) -> Option<Timestamp> {
        self.evaluator.event_clock()
    }

    /// The tick up to which labels have been looked at.
    #[must_use]
    pub fn labelled(&self) -> Timestamp {
        self.evaluator.model().map_or(Timestamp(i64::MIN), |(_, model)| model.labelled())
    }

    /// How many prediction and feature partitions are waited for, and how many there are.
    #[must_use]
    pub fn completeness(&self) -> (u32, u32) {
        self.evaluator.completeness()
    }

    /// Source partitions as they stand, in the order of their names.
    pub fn sources(&self) -> impl Iterator<Item = SourceStatus<'_>> {
        self.books.iter().map(|(name, book)| {
            let role = self.expected.get(name).map(|(role, _)| *role);
            SourceStatus { name, role, progress: book.progress(), is_dead: book.is_dead() }
        })
    }

    /// What was said last of the labels in the partitions of each number.
    pub fn labels(&self) -> impl Iterator<Item = (i32, &Labels)> {
        self.numbers.iter().filter_map(|(number, state)| Some((*number, state.labels()?)))
    }

    /// The offset in the panes topic up to which was listened.
    #[must_use]
    pub fn heard(&self) -> i64 {
        self.heard
    }

    /// Whether everything was heard that was there in the beginning.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        self.has_caught_up
    }

    /// Records that changed nothing.
    #[must_use]
    pub fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Events that came too late for any window that could still show them.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed
    }
}
