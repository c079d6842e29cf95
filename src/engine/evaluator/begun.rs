//! Models that begin while the others go on: their configuration has changed, or they are new. What was read before is not
//! read again for them, so their windows say what they lack.

use std::collections::BTreeMap;

use crate::engine::model::Begun;
use crate::engine::plan::ModelPlan;
use crate::event::{Outcome, SourceId, Timestamp, TopicRole};
use crate::join::Tally;

use super::{Evaluator, SourceState};

/// The reason on windows of which a part was counted over another baseline or other windows.
pub const BASELINE_CHANGED: &str = "baseline_changed";
/// The reason on windows of which a part was read before the model was there.
const MODEL_ADDED: &str = "model_added";

impl Evaluator {
    /// A model without state was counted over something else until now: its windows begin anew, its alerts and budgets go on.
    pub fn begin_anew(&mut self, number: u16) {
        let Some(plan) = self.plan.model(number) else { return };
        let read = self.sources.values().filter(|source| may_hold(plan, source)).filter_map(|source| source.watermark).max();
        self.alerts.begin_anew(&plan.name);
        // Whatever was counted of it has moved the watermarks.
        self.mark_begun(number, read.map(|until| Begun::after(BASELINE_CHANGED, until)));
    }

    /// A model is new, and its records were not looked at until now. None that was read has an event time after `latest`.
    pub fn begin_amid(&mut self, number: u16, latest: Timestamp) {
        let Some(plan) = self.plan.model(number) else { return };
        let read = self.sources.iter().filter(|(_, source)| source.counts.received() > 0 && may_hold(plan, source));
        let open: BTreeMap<SourceId, Option<Timestamp>> = read.map(|(source, state)| (*source, state.watermark)).collect();
        let begun = (!open.is_empty()).then(|| Begun::amid(MODEL_ADDED, open, latest));
        self.mark_begun(number, begun);
    }

    /// A model is gone. Its alerts end with its rules.
    pub fn forget_model(&mut self, name: &str) {
        self.alerts.forget_model(name);
    }

    /// So many labels that waited will find no prediction: the ledgers they waited in are given up.
    pub fn give_up_labels(&mut self, labels: u64) {
        self.settle(&Tally::of(Outcome::UnmatchedLabel, labels));
    }

    fn mark_begun(&mut self, number: u16, begun: Option<Begun>) {
        if let Some(model) = self.models.get_mut(usize::from(number)) {
            model.set_begun(begun);
        }
    }
}

/// Whether a source partition may hold records that windows of a model need.
fn may_hold(plan: &ModelPlan, source: &SourceState) -> bool {
    source.role != TopicRole::Labels || plan.horizon.is_some()
}
