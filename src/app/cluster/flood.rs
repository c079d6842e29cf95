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

#[cfg(test)]
mod tests {
    use super::super::input::tests::{NOW, rules};
    use super::*;
    use crate::event::{Outcome, Reject, Span, TopicRole};

    #[test]
    fn a_topic_is_flooded_while_its_last_minute_is() {
        let mut flood = Flood::new(rules());
        let source = SourceInfo { id: SourceId(7), topic: "t".into(), partition: 0, role: TopicRole::Labels, next: None, topic_id: None };
        let mut note = |rejected: u64, now: Timestamp| {
            let mut saying = Saying::default();
            let counts = saying.output.counts.entry(SourceId(7)).or_default();
            counts.add(Outcome::Counted, 100);
            counts.add(Outcome::Rejected(Reject::BadTime), rejected);
            flood.note(&saying, |number| (number == source.id).then_some(&source), now);
            flood.topics(now)
        };
        assert!(note(5, NOW).is_empty());
        assert_eq!(note(20, NOW + Span::SECOND), BTreeSet::from(["t".to_owned()]));
        assert!(note(0, NOW + Span(62_000)).is_empty());
        note(20, NOW + Span(63_000));
        flood.set_rules(Arc::new(RuleSet::default()), NOW);
        assert!(flood.topics(NOW + Span(63_000)).is_empty(), "nobody says what a flood is");
    }
}
