//! What is shown of rules and alerts: the views of the API and the console.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::Timestamp;

use super::instance::{Instance, InstanceKey};
use super::judge::{Alerts, is_of};
use super::machine::State;
use super::message::AlertView;
use super::set::{Kind, Rule, RuleSet};
use super::template::Template;

/// How long a resolved instance is still shown, in milliseconds between the ends of judged windows. Prometheus keeps
/// resolved alerts for as long.
pub const RESOLVED_SHOWN_MS: i64 = 15 * 60 * 1000;

/// One rule and its alerts, as `/api/v1/rules` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleStatus {
    /// The file it is from.
    pub file: String,
    /// Name of the group.
    pub group: String,
    /// Name of the alert.
    pub alert: String,
    /// The model.
    pub model: String,
    /// `inactive`, `pending` or `firing`: the worst of its instances; recovering counts as firing.
    pub state: String,
    /// The value expression; the kind of the rule where there is none.
    pub query: String,
    /// Labels, as written.
    pub labels: BTreeMap<String, String>,
    /// Annotations, as written.
    pub annotations: BTreeMap<String, String>,
    /// `ok`, `err` where the last evaluation of an instance failed, `unknown` before the first.
    pub health: String,
    /// Why it failed.
    pub last_error: Option<String>,
    /// End of the last judged window.
    pub last_evaluation: Option<Timestamp>,
    /// Instances that are pending, firing or recovering.
    pub alerts: Vec<AlertView>,
}

impl Alerts {
    /// The instances that are pending, firing, recovering or resolved a short while ago, and aggregate alerts: in the order
    /// of model, group, alert, version, segment and feature.
    #[must_use]
    pub fn views(&self, rules: &RuleSet) -> Vec<AlertView> {
        let by_name: BTreeMap<(&str, &str, &str), &Rule> =
            rules.rules().iter().map(|rule| ((&*rule.model, &*rule.group, &*rule.alert), rule)).collect();
        let mut shown: Vec<(&InstanceKey, &Instance)> =
            self.instances.iter().chain(&self.aggregates).filter(|(_, instance)| is_shown(instance)).collect();
        shown.sort_by_key(|(key, _)| *key);
        shown
            .into_iter()
            .map(|(key, instance)| instance.view(key, by_name.get(&(&*key.model, &*key.group, &*key.alert)).copied()))
            .collect()
    }

    /// Every rule with its state, in the order of the files. A built-in rule is shown while it has something to say.
    #[must_use]
    pub fn statuses(&self, rules: &RuleSet) -> Vec<RuleStatus> {
        let all = rules.rules().iter().map(|rule| (rule, self.status(rule)));
        all.filter(|(rule, status)| !rule.is_built_in() || !status.alerts.is_empty()).map(|(_, status)| status).collect()
    }

    fn status(&self, rule: &Rule) -> RuleStatus {
        let mut worst = State::Inactive;
        let mut last_error = None;
        let mut last_evaluation = None;
        let mut alerts = Vec::new();
        for (key, instance) in self.instances_of(rule).chain(self.aggregates.iter().filter(|(key, _)| is_of(key, rule))) {
            let state = instance.machine.state;
            if matches!(state, State::Pending | State::Firing | State::Recovering) {
                worst = worst.max(if state == State::Recovering { State::Firing } else { state });
                alerts.push(instance.view(key, Some(rule)));
            }
            last_error = last_error.or_else(|| instance.trouble.clone());
            last_evaluation = last_evaluation.max(instance.machine.judged);
        }
        let health = match (&last_error, last_evaluation) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        };
        let written = |templates: &BTreeMap<String, Template>| {
            templates.iter().map(|(name, template)| (name.clone(), template.source().to_owned())).collect()
        };
        RuleStatus {
            file: rule.file.to_string(),
            group: rule.group.to_string(),
            alert: rule.alert.to_string(),
            model: rule.model.to_string(),
            state: worst.as_str().to_owned(),
            query: match (&rule.value, rule.kind) {
                (Some(value), _) => value.source().to_owned(),
                (None, Kind::Schema) => "schema".to_owned(),
                (None, Kind::Gap) => "gap".to_owned(),
                (None, _) => "absence".to_owned(),
            },
            labels: written(&rule.labels),
            annotations: written(&rule.annotations),
            health: health.to_owned(),
            last_error,
            last_evaluation,
            alerts,
        }
    }
}

fn is_shown(instance: &Instance) -> bool {
    let machine = &instance.machine;
    match machine.state {
        State::Inactive => false,
        State::Pending | State::Firing | State::Recovering => true,
        State::Resolved => machine.ends_at.zip(machine.judged).is_some_and(|(ended, judged)| (judged - ended).0 <= RESOLVED_SHOWN_MS),
    }
}
