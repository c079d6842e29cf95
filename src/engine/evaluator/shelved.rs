//! What of an evaluator lies on shelves: its ledgers, and the joined panes that are stored.

use std::sync::Arc;

use crate::engine::model::ModelState;
use crate::engine::pairs::PairShelf;
use crate::join::{Change, Kept, Ledger, Shelf};

use super::Evaluator;

impl Evaluator {
    /// What the ledgers hold, over all models.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.models.iter().filter_map(ModelState::ledger).map(Ledger::kept).sum()
    }

    /// Goes on with ledgers that lie on shelves, one for each model, with at most `cached` records of each in memory
    /// beside what changes, and at most `capacity` in all.
    pub fn shelve(&mut self, shelf: &dyn Fn(u16) -> Arc<dyn Shelf>, capacity: usize, cached: usize) {
        for (number, (model, plan)) in (0..).zip(self.models.iter_mut().zip(&self.plan.models)) {
            model.shelve(plan, capacity, shelf(number), cached);
        }
    }

    /// What the shelves do not have yet, by model, to be committed as one with the rest of the state. It comes again until
    /// it is settled.
    pub fn take_ledger_changes(&mut self) -> Vec<(u16, Vec<Change>)> {
        (0..).zip(&mut self.models).map(|(number, model)| (number, model.take_ledger_changes())).collect()
    }

    /// Goes on with joined panes that lie on shelves where they are stored, one for each model.
    pub fn shelve_pairs(&mut self, shelf: &dyn Fn(u16) -> Arc<dyn PairShelf>) {
        (0..).zip(&mut self.models).for_each(|(number, model)| model.shelve_pairs(shelf(number)));
    }

    /// What was last taken is committed, and the shelves show it.
    pub fn settle_changes(&mut self) {
        self.models.iter_mut().for_each(ModelState::settle_changes);
    }

    /// Changes that wait for a commit, in memory until then, over all models.
    #[must_use]
    pub fn unsettled_ledger_changes(&self) -> usize {
        self.models.iter().filter_map(ModelState::ledger).map(Ledger::unsettled).sum()
    }
}
