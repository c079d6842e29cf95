//! Where the joins of a replica lie outside of memory, and how much they may keep. Each taking over of joins is a
//! *generation* with a shelf of its own, so that whoever comes back to a partition begins with nothing. It does not know
//! what a shelf lies on.

use std::fmt;
use std::sync::Arc;

use crate::join::Shelf;

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

impl fmt::Debug for Shelving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelving").field("capacity", &self.capacity).field("generation", &self.generation).finish_non_exhaustive()
    }
}
