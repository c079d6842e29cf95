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
    let rules =
        rules.rules().iter().filter(|rule| rule.kind == Kind::Closed && looks_at(rule, input.model, &input.window.name, input.segment));
    for (rule, metric) in rules.filter_map(|rule| Some((rule, rule.metric?))) {
        for measurement in input.measurements.iter().filter(|measurement| measurement.metric == metric && measurement.status == Status::Ok)
        {
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
        && rule
            .tiers
            .iter()
            .all(|tier| !matches!(tier.condition, Condition::Expr(_)) && !tier.condition.holds(value, &seen).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Measurement, Segment};
    use crate::rule::InputKind;
    use crate::rule::fixture::{MINUTE, measured, no_reference, psi, rules, window};

    fn found(rule: &str) -> Vec<String> {
        let set = rules(&format!("groups: [ {{ name: g, model: loan, rules: [ {{ alert: A, {rule} }} ] }} ]"));
        let window = window("10m", 10 * MINUTE, 10 * MINUTE, 0);
        let ks = |value| measured(Subject::Feature("sex".into()), Metric::Ks, value, Some(0.5), &window);
        let measurements: Vec<Measurement> = vec![psi("age", 0.3, &window), psi("sex", 0.05, &window), ks(0.3)];
        let input = WindowInput {
            model: "loan",
            version: "",
            window: &window,
            segment: &Segment::default(),
            kind: InputKind::Closed,
            measurements: &measurements,
            explanations: &[],
            reference: no_reference(),
            n: 5120,
            complete: true,
        };
        breached(&set, &input).iter().map(|(subject, metric)| format!("{subject} {}", metric.as_str())).collect()
    }

    #[test]
    fn a_breach_is_what_the_rule_says_it_is() {
        let each = "each: [feature], source: { metric: psi, window: 10m }";
        assert_eq!(found(&format!("{each}, value: psi, fire: {{ warning: {{ above: 0.1 }} }}")), ["feature:age psi"]);
        assert_eq!(
            found(&format!("{each}, value: 'psi * 3.0', fire: {{ warning: {{ above: 0.1 }} }}")),
            ["feature:age psi", "feature:sex psi"]
        );
        assert_eq!(found(&format!("{each}, value: psi, when: 'p_adjusted < 0.0', fire: {{ warning: {{ above: 0.1 }} }}")), [""; 0]);
        assert_eq!(found(&format!("{each}, value: psi, fire: {{ warning: {{ above: 0.4 }} }}")), [""; 0]);
    }
}
