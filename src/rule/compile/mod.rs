//! From rule files to a rule set: everything is checked, and every fault of every file is reported at once.

mod action;
mod condition;
mod expression;
mod label;
mod route;
mod rule;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::{Faults, FileFault, did_you_mean};
use super::scope::Scope;
use super::set::RuleSet;
use super::spec::RuleFile;

pub(in crate::rule) use expression::evidence_of;
pub use topic::add_built_in;

/// Compiles the files against the models of the configuration.
///
/// # Errors
/// All faults and warnings, in the order of the files, where there is at least one fault. Otherwise the warnings come with
/// the rule set.
pub fn compile(files: &[(String, RuleFile)], scope: &Scope) -> Result<(RuleSet, Vec<FileFault>), Vec<FileFault>> {
    let mut faults = Faults::default();
    let mut set = RuleSet::default();

    for (file, spec) in files {
        let mut at = faults.at(file);
        for (index, receiver) in spec.receivers.iter().enumerate() {
            let path = format!("/receivers/{index}");
            route::check_receiver(&mut at, &path, receiver);
            if set.receivers.insert(receiver.name.clone(), receiver.clone()).is_some() {
                at.error(&format!("{path}/name"), format!("there is another receiver '{}'", receiver.name));
            }
        }
        for (name, action) in &spec.actions {
            let path = format!("/actions/{}", super::fault::pointer_token(name));
            if set.actions.contains_key(name) {
                at.error(&path, format!("there is another action '{name}'"));
            }
            if let Some(compiled) = action::compile(&mut at, &path, name, action) {
                set.actions.insert(name.clone(), compiled);
            }
        }
    }
    // Actions with faults of their own are known all the same, so that no rule is blamed for them.
    let action_names: Vec<&str> = files.iter().flat_map(|(_, spec)| spec.actions.keys()).map(String::as_str).collect();

    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, spec) in files {
        let mut at = faults.at(file);
        for (index, group) in spec.groups.iter().enumerate() {
            let path = format!("/groups/{index}");
            if group.name.trim().is_empty() {
                at.error(&format!("{path}/name"), "the group has no name");
            }
            if let Some(other) = groups.insert(&group.name, file) {
                at.error(&format!("{path}/name"), format!("there is another group '{}' in {other}", group.name));
            }
            if group.interval.is_some() {
                at.not_yet(&format!("{path}/interval"), "rules of wall time are looked at with every tick of the agent");
            }
            label::check_names(&mut at, &format!("{path}/labels"), &group.labels);
            let models: Vec<_> = match &group.model {
                None => scope.models.iter().collect(),
                Some(name) => scope.model(name).into_iter().collect(),
            };
            if let (Some(name), true) = (&group.model, models.is_empty()) {
                let known = scope.models.iter().map(|model| model.name.as_str());
                at.error_with(&format!("{path}/model"), format!("there is no model '{name}'"), did_you_mean(name, known));
            }
            rule::check_names(&mut at, &path, group);
            let (on_topics, on_models): (Vec<_>, Vec<_>) =
                group.rules.iter().enumerate().partition(|(_, rule)| topic::kind(rule.kind).is_some());
            for model in models {
                for (number, rule) in &on_models {
                    let place = rule::Place { file: &Arc::from(file.as_str()), path: &format!("{path}/rules/{number}"), group, model };
                    set.rules.extend(rule::compile(&mut at, &place, rule, &action_names).filter(|_| rule.enabled));
                }
            }
            for (number, rule) in on_topics {
                let place = topic::Place { file: &Arc::from(file.as_str()), path: &format!("{path}/rules/{number}"), group };
                set.on_topics.extend(topic::kind(rule.kind));
                set.rules.extend(topic::compile(&mut at, &place, rule, &action_names).filter(|_| rule.enabled));
            }
        }
    }

    let mut route_file: Option<&str> = None;
    for (file, spec) in files {
        let mut at = faults.at(file);
        if let Some(root) = &spec.route {
            if let Some(other) = route_file {
                at.error("/route", format!("there is another route in {other}"));
            }
            route_file = Some(file);
            set.route = route::compile_root(&mut at, root, &set, scope, files);
        }
        route::check_inhibit_rules(&mut at, &spec.inhibit_rules);
        if !spec.time_intervals.is_empty() {
            at.not_yet("/time_intervals", "times at which nobody is told");
        }
    }
    if let (None, false, Some((file, _))) = (route_file, set.rules.is_empty(), files.first()) {
        faults.at(file).warn("", "there is no route: alerts are shown, but nobody is told");
    }

    let failed = faults.has_errors();
    let found = faults.into_found();
    if failed { Err(found) } else { Ok((set, found)) }
}

#[cfg(test)]
mod tests;
