//! The evaluator of the owner of one model in a cluster: it is told of sources and labels instead of reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::model::ModelState;
use crate::engine::plan::{ModelPlan, Plan};
use crate::event::SourceId;
use crate::rule::{Alerts, RuleSet};

use super::{Evaluator, Least, SourceState};

impl Evaluator {
    /// An evaluator of one model that goes on from what was decided. `plan` is of that model alone.
    #[must_use]
    pub fn owned(plan: Arc<Plan>, rules: Arc<RuleSet>, model: ModelState, alerts: Alerts) -> Evaluator {
        let joined = Some(Least::Unknown);
        Evaluator { plan, rules, models: vec![model], sources: BTreeMap::new(), alerts, series: Vec::new(), joined }
    }

    /// An evaluator of no model that goes on with the alerts that are of none.
    #[must_use]
    pub fn of_no_model(rules: Arc<RuleSet>, alerts: Alerts) -> Evaluator {
        Evaluator { alerts, ..Evaluator::new(Arc::new(Plan::empty()), rules) }
    }

    /// Puts what others say of the source partitions in the place of what was known of them.
    pub fn set_sources(&mut self, sources: BTreeMap<SourceId, SourceState>) {
        self.sources = sources;
    }

    /// How far others have joined labels.
    pub fn set_joined(&mut self, clock: Least) {
        self.joined = Some(clock);
    }

    /// The one model, with its plan.
    #[must_use]
    pub fn model(&self) -> Option<(&ModelPlan, &ModelState)> {
        self.plan.models.first().zip(self.models.first())
    }

    /// The same, to be changed.
    pub fn model_mut(&mut self) -> Option<(&ModelPlan, &mut ModelState)> {
        self.plan.models.first().zip(self.models.first_mut())
    }

    /// How many prediction and feature partitions are waited for, and how many there are.
    #[must_use]
    pub fn completeness(&self) -> (u32, u32) {
        self.partitions()
    }
}
