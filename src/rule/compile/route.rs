//! Routes, receivers and inhibition.

use std::collections::BTreeSet;

use crate::rule::fault::{FaultsOfFile, did_you_mean};
use crate::rule::matcher::Matcher;
use crate::rule::route::Route;
use crate::rule::scope::Scope;
use crate::rule::set::RuleSet;
use crate::rule::spec::{InhibitSpec, ReceiverSpec, RouteSpec, RuleFile};

use super::action::{is_http, span};
use super::label::OWN_LABELS;

/// Greatest depth of the routing tree. Real ones have three levels.
const GREATEST_DEPTH: usize = 16;

/// The values that labels can have, as far as they are known.
struct Known {
    alerts: BTreeSet<String>,
    models: BTreeSet<String>,
    features: Option<BTreeSet<String>>,
    labels: BTreeSet<String>,
}

/// Compiles the tree of which `root` is the root.
pub(super) fn compile_root(
    at: &mut FaultsOfFile<'_>,
    root: &RouteSpec,
    set: &RuleSet,
    scope: &Scope,
    files: &[(String, RuleFile)],
) -> Option<Route> {
    if !root.matchers.is_empty() {
        at.error("/route/matchers", "the root of the routes matches every alert and has no matchers");
    }
    let Some(receiver) = &root.receiver else {
        at.error("/route", "the route has no receiver");
        return None;
    };
    let groups = || files.iter().flat_map(|(_, file)| &file.groups);
    let mut labels: BTreeSet<String> = OWN_LABELS.iter().map(|name| (*name).to_owned()).collect();
    labels.extend(groups().flat_map(|group| group.labels.keys().chain(group.rules.iter().flat_map(|rule| rule.labels.keys()))).cloned());
    labels.insert(super::topic::LABEL.to_owned());
    labels.extend(scope.models.iter().flat_map(|model| model.segment_keys.iter()).map(|key| crate::rule::instance::label_name(key)));
    let known = Known {
        alerts: groups()
            .flat_map(|group| &group.rules)
            .map(|rule| rule.alert.clone())
            .chain(super::topic::BUILT_IN_ALERTS.map(str::to_owned))
            .collect(),
        models: scope.models.iter().map(|model| model.name.clone()).collect(),
        features: scope
            .models
            .iter()
            .map(|model| model.features.clone())
            .collect::<Option<Vec<_>>>()
            .map(|all| all.into_iter().flatten().collect()),
        labels,
    };
    compile(at, "/route", root, receiver, set, &known, 0)
}

fn compile(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: &RouteSpec,
    inherited: &str,
    set: &RuleSet,
    known: &Known,
    depth: usize,
) -> Option<Route> {
    if depth > GREATEST_DEPTH {
        at.error(path, format!("routes are nested deeper than {GREATEST_DEPTH}"));
        return None;
    }
    let receiver = spec.receiver.as_deref().unwrap_or(inherited);
    if !set.receivers.contains_key(receiver) && spec.receiver.is_some() {
        let hint = did_you_mean(receiver, set.receivers.keys().map(String::as_str));
        at.error_with(&format!("{path}/receiver"), format!("there is no receiver '{receiver}'"), hint);
    }
    for (key, given) in [
        ("group_by", spec.group_by.is_some()),
        ("group_wait", spec.group_wait.is_some()),
        ("group_interval", spec.group_interval.is_some()),
        ("repeat_interval", spec.repeat_interval.is_some()),
        ("mute_time_intervals", !spec.mute_time_intervals.is_empty()),
        ("active_time_intervals", !spec.active_time_intervals.is_empty()),
    ] {
        if given {
            at.not_yet(&format!("{path}/{key}"), "every transition of an alert is told at once, one message for each alert");
        }
    }
    for (key, text) in
        [("group_wait", &spec.group_wait), ("group_interval", &spec.group_interval), ("repeat_interval", &spec.repeat_interval)]
    {
        span(at, &format!("{path}/{key}"), text.as_deref());
    }
    let matchers = matchers(at, &format!("{path}/matchers"), &spec.matchers, Some(known));
    let routes = spec
        .routes
        .iter()
        .enumerate()
        .filter_map(|(index, child)| compile(at, &format!("{path}/routes/{index}"), child, receiver, set, known, depth + 1))
        .collect();
    Some(Route { receiver: receiver.to_owned(), matchers, go_on: spec.go_on, routes })
}

fn matchers(at: &mut FaultsOfFile<'_>, path: &str, texts: &[String], known: Option<&Known>) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let path = format!("{path}/{index}");
        match Matcher::parse(text) {
            Ok(matcher) => {
                if let Some(known) = known {
                    check_values(at, &path, &matcher, known);
                }
                matchers.push(matcher);
            }
            Err(message) => at.error(&path, message),
        }
    }
    matchers
}

/// Warns of a matcher that can match nothing. It is no fault: labels and features come and go.
fn check_values(at: &mut FaultsOfFile<'_>, path: &str, matcher: &Matcher, known: &Known) {
    if !known.labels.contains(matcher.label()) {
        let hint = did_you_mean(matcher.label(), known.labels.iter().map(String::as_str));
        at.warn_with(path, format!("no alert has a label '{}'", matcher.label()), hint);
    }
    let Some((label, value)) = matcher.equality().filter(|(_, value)| !value.is_empty()) else {
        return;
    };
    let severities = BTreeSet::from(["critical".to_owned(), "warning".to_owned()]);
    let values = match label {
        "alertname" => &known.alerts,
        "model" => &known.models,
        "severity" => &severities,
        "feature" => match &known.features {
            Some(features) => features,
            None => return,
        },
        _ => return,
    };
    if !values.contains(value) {
        let hint = did_you_mean(value, values.iter().map(String::as_str));
        let what = if label == "alertname" { "alert" } else { label };
        at.warn_with(path, format!("there is no {what} '{value}'"), hint);
    }
}

/// Checks a receiver.
pub(super) fn check_receiver(at: &mut FaultsOfFile<'_>, path: &str, receiver: &ReceiverSpec) {
    if receiver.name.trim().is_empty() {
        at.error(&format!("{path}/name"), "the receiver has no name");
    }
    for (index, email) in receiver.email_configs.iter().enumerate() {
        let path = format!("{path}/email_configs/{index}/to");
        let addresses = email.to.addresses();
        if addresses.is_empty() {
            at.error(&path, "there is no address");
        }
        for address in addresses.iter().filter(|address| !address.contains('@')) {
            at.error(&path, format!("'{address}' is not a mail address"));
        }
    }
    for (index, hook) in receiver.webhook_configs.iter().enumerate() {
        let path = format!("{path}/webhook_configs/{index}");
        match (&hook.url, &hook.url_file) {
            // The URL itself may hold a secret and is not repeated.
            (Some(url), None) if !is_http(&url.0) => at.error(&format!("{path}/url"), "the URL is not an absolute http or https URL"),
            (None, None) => at.error(&path, "needs url or url_file"),
            (Some(_), Some(_)) => at.error(&path, "has both url and url_file"),
            _ => {}
        }
        span(at, &format!("{path}/timeout"), hook.timeout.as_deref());
        if hook.signing.as_ref().is_some_and(|signing| signing.standard_webhooks.is_none()) {
            at.error(&format!("{path}/signing"), "needs standard_webhooks");
        }
    }
    if !receiver.alertmanager_configs.is_empty() {
        at.not_yet(&format!("{path}/alertmanager_configs"), "alerts are not pushed to Alertmanager");
    }
    for (index, manager) in receiver.alertmanager_configs.iter().enumerate() {
        for (number, url) in manager.urls.iter().enumerate().filter(|(_, url)| !is_http(url)) {
            at.error(
                &format!("{path}/alertmanager_configs/{index}/urls/{number}"),
                format!("'{url}' is not an absolute http or https URL"),
            );
        }
    }
}

/// Checks inhibition, which does not act yet.
pub(super) fn check_inhibit_rules(at: &mut FaultsOfFile<'_>, rules: &[InhibitSpec]) {
    if !rules.is_empty() {
        at.not_yet("/inhibit_rules", "no alert silences another");
    }
    for (index, rule) in rules.iter().enumerate() {
        matchers(at, &format!("/inhibit_rules/{index}/source_matchers"), &rule.source_matchers, None);
        matchers(at, &format!("/inhibit_rules/{index}/target_matchers"), &rule.target_matchers, None);
    }
}
