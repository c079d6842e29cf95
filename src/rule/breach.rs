//! Which subjects rules find in breach by the measurements of one window alone: who is worth an explanation before anybody is told.
//!
//! The same verdicts as [`super::judge`] makes a moment later, without any state. Most features of most windows are
//! told apart by one comparison.

use std::sync::Arc;

use crate::event::{Metric, Status, Subject};

use super::datum::Bindings;
use super::happening::WindowInput;
use super::judge::{looks_at, stream};
use super::machine::Outcome;
use super::set::{Condition, Kind, Rule, RuleSet};
use super::verdict::{self, Measures};

/// The subjects, each with the metric of the first rule that it breaches.
#[must_use]
pub fn breached(rules: &RuleSet, input: &WindowInput<'_>) -> Vec<(Subject, Metric)> {
    let mut found: Vec<(Subject, Metric)> = Vec::new();
    let mut measures = None;
    let rules = rules.rules().iter().filter(|rule| rule.kind == Kind::Closed && looks_at(rule, input.model, &input.window.name, input.segment));
    for (rule, metric) in rules.filter_map(|rule| Some((rule, rule.metric?))) {
        for measurement in input.measurements.iter().filter(|measurement| measurement.metric == metric && measurement.status == Status::Ok) {
            let feature = match (&measurement.subject, &rule.subject) {
                (Subject::Feature(name), _) if rule.each_feature => Some(Arc::clone(name)),
                (subject, Some(own)) if !rule.each_feature && subject == own => None,
                _ => continue,
            };
            let is_known = found.iter().any(|(subject, _)| *subject == measurement.subject);
            if is_known || measurement.value.is_none_or(|value| is_below(rule, metric, value)) {
                continue;
            }
            let measures = measures.get_or_insert_with(|| Measures::new(input.measurements));
            let labels = super::instance::InstanceKey { feature: feature.clone(), ..stream(rule, input.version, input.segment) }.labels();
            if matches!(verdict::judge(rule, input, measures, feature.as_ref(), &labels).outcome, Outcome::Breach(_)) {
                found.push((measurement.subject.clone(), metric));
            }
        }
    }
    found
}

/// Whether plain thresholds of the metric itself say without further ado that no tier is breached.
fn is_below(rule: &Rule, metric: Metric, value: f64) -> bool {
    let is_plain = rule.value.as_ref().is_some_and(|expr| expr.source().trim() == metric.as_str());
    let seen = Bindings::default();
    is_plain
        && rule.tiers.iter().all(|tier| !matches!(tier.condition, Condition::Expr(_)) && !tier.condition.holds(value, &seen).unwrap_or(true))
}
