//! Which topics are flooded with rejections by what this replica reads of them: for these it sends no dead letters. What is
//! told to people is judged elsewhere, over all replicas.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Evaluator;
use crate::event::{SourceId, Timestamp};
use crate::rule::{Alerts, RuleSet};
use crate::source::SourceInfo;

use super::super::intake::Intake;
use super::super::worker::Saying;

/// The last minute of this replica, judged by the rules of schema.
pub(super) struct Flood {
    intake: Intake,
    evaluator: Evaluator,
}

impl Flood {
    pub fn new(rules: Arc<RuleSet>) -> Flood {
        Flood { intake: Intake::default(), evaluator: Evaluator::of_no_model(rules, Alerts::new()) }
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>, now: Timestamp) {
        let _ = self.evaluator.set_rules_at(rules, now);
    }

    /// Takes note of what a worker has said.
    pub fn note<'a>(&mut self, saying: &Saying, source: impl Fn(SourceId) -> Option<&'a SourceInfo>, now: Timestamp) {
        self.intake.note(saying, source, now);
    }

    /// The topics that are flooded.
    pub fn topics(&mut self, now: Timestamp) -> BTreeSet<String> {
        let _ = self.intake.judge_rejects(&mut self.evaluator, now);
        self.evaluator.flooded()
    }
}
