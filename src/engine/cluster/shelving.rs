//! Where the joins of a replica lie outside of memory, and how much they may keep. Each taking over of joins is a
//! *generation* with a shelf of its own, so that whoever comes back to a partition begins with nothing. It does not know
//! what a shelf lies on.

use std::fmt;
use std::sync::Arc;

use crate::join::{Change, Shelf};

use super::joiner::Joiner;
use super::replica::Replica;

/// Makes the empty shelf of a generation.
pub type Shelves = Box<dyn Fn(u32) -> Arc<dyn Shelf> + Send>;

/// Shelves and bounds of the joins of a replica.
pub(super) struct Shelving {
    shelves: Option<Shelves>,
    /// Most predictions, and most labels, that wait in all joins of a model.
    pub capacity: usize,
    /// Most records that stay in memory beside what changes, in all joins of a model.
    pub cached: usize,
    /// The next one; a join a second takes a century to use them up.
    generation: u32,
    gone: Vec<u32>,
}

impl Shelving {
    /// Everything is in memory.
    pub fn in_memory(capacity: usize) -> Shelving {
        Shelving { shelves: None, capacity, cached: 0, generation: 0, gone: Vec::new() }
    }

    /// Joins from now on lie on shelves.
    pub fn shelve(&mut self, shelves: Shelves, capacity: usize, cached: usize) {
        (self.shelves, self.capacity, self.cached) = (Some(shelves), capacity, cached);
    }

    /// A new generation and its shelf.
    pub fn begin(&mut self) -> (u32, Option<Arc<dyn Shelf>>) {
        let generation = self.generation;
        self.generation += 1;
        (generation, self.shelves.as_ref().map(|shelves| shelves(generation)))
    }

    /// A generation is over: what lies on its shelf is worth nothing.
    pub fn end(&mut self, generation: u32) {
        if self.shelves.is_some() {
            self.gone.push(generation);
        }
    }

    /// Generations that are over since this was asked last.
    pub fn take_gone(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.gone)
    }
}

impl Replica {
    /// Has joins lie on shelves, those that are taken over from now on. `capacity` is the most predictions, and labels, that wait
    /// in all joins of a model, and `cached` the most records of those joins that are in memory beside what changes.
    pub fn shelve(&mut self, shelves: Shelves, capacity: usize, cached: usize) {
        self.shelving.shelve(shelves, capacity, cached);
    }

    /// What the shelves do not have yet, by generation. It comes again until [`Replica::settle_ledger_changes`].
    pub fn take_ledger_changes(&mut self) -> Vec<(u32, Vec<Change>)> {
        self.joiners.values_mut().map(|joiner| (joiner.generation(), joiner.take_changes())).collect()
    }

    /// What was last taken is committed, and the shelves show it.
    pub fn settle_ledger_changes(&mut self) {
        self.joiners.values_mut().for_each(Joiner::settle_changes);
    }

    /// Changes that wait for a commit; in memory until then.
    #[must_use]
    pub fn unsettled_ledger_changes(&self) -> usize {
        self.joiners.values().map(Joiner::unsettled).sum()
    }

    /// Generations that are over since this was asked last: what lies on their shelves is worth nothing.
    pub fn take_gone(&mut self) -> Vec<u32> {
        self.shelving.take_gone()
    }

    /// Gives up the joins of the partitions of one number.
    pub(super) fn leave(&mut self, partition: i32) {
        let Replica { joiners, shelving, .. } = self;
        joiners.retain(|(number, _), joiner| {
            if *number == partition {
                shelving.end(joiner.generation());
            }
            *number != partition
        });
    }

    /// What may stay in memory of a model is shared by its joins.
    pub(super) fn share_cache(&mut self) {
        let joined = self.plan.models.iter().filter(|model| model.horizon.is_some()).count();
        let cached = self.shelving.cached * joined / self.joiners.len().max(1);
        self.joiners.values_mut().for_each(|joiner| joiner.set_cached(cached));
    }
}

impl fmt::Debug for Shelving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelving").field("capacity", &self.capacity).field("generation", &self.generation).finish_non_exhaustive()
    }
}
