//! One rule of one model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Metric, Span, Subject};
use crate::rule::datum::Bindings;
use crate::rule::expr::Expr;
use crate::rule::fault::{FaultsOfFile, did_you_mean, pointer_token};
use crate::rule::instance::label_name;
use crate::rule::machine::{Plan, Policies};
use crate::rule::scope::{ModelScope, WindowScope};
use crate::rule::set::{Condition, DEFAULT_LABEL_COVERAGE, Kind, OnFiring, Rule, Unit};
use crate::rule::spec::{Dimension, GroupSpec, IncompleteSpec, KindSpec, MinSamplesSpec, RuleSpec};
use crate::rule::template::{Body, Template};

use super::action::span;
use super::condition::{self, Checks};
use super::expression::{self, Wanted};
use super::label;

/// Where a rule stands.
pub(super) struct Place<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) path: &'a str,
    pub(super) group: &'a GroupSpec,
    pub(super) model: &'a ModelScope,
}

/// Checks the names of a group's alerts.
pub(super) fn check_names(at: &mut FaultsOfFile<'_>, path: &str, group: &GroupSpec) {
    let mut names = BTreeSet::new();
    for (index, rule) in group.rules.iter().enumerate() {
        let path = format!("{path}/rules/{index}/alert");
        if rule.alert.trim().is_empty() {
            at.error(&path, "the alert has no name");
        } else if !names.insert(&rule.alert) {
            at.error(&path, format!("there is another alert '{}' in this group; their episodes could not be told apart", rule.alert));
        }
    }
}

/// Compiles one rule; `None` where it has a fault.
pub(super) fn compile(at: &mut FaultsOfFile<'_>, place: &Place<'_>, spec: &RuleSpec, actions: &[&str]) -> Option<Rule> {
    let Place { path, group, model, .. } = *place;
    let absence = spec.kind == KindSpec::Absence;
    let each_feature = spec.each.contains(&Dimension::Feature);
    let each_segment = spec.each.contains(&Dimension::Segment);
    if absence {
        refuse_for_absence(at, path, spec);
    }

    let window = if absence { None } else { window(at, path, spec, model) };
    let metric = metric(at, path, spec, model);
    let (kind, performance) = kind(at, path, spec, metric, each_feature, model);
    let subject = subject(at, path, spec, metric, each_feature, model);
    if let Some(reference) = spec.source.reference.as_deref().filter(|name| !["training", "baseline"].contains(name)) {
        at.error(&format!("{path}/source/reference"), format!("'{reference}' is not a reference; windows are compared with training"));
    }

    let label_names = label_names(spec, group, model, each_feature, each_segment);
    let own_values = each_feature || performance || spec.source.subject.is_some();
    let mut sample = expression::sample(model, each_feature, performance, own_values, metric, &label_names);
    let value = if absence { None } else { value(at, path, spec, metric, &sample) };
    sample.set_number("value", 0.5);
    let when = match spec.when.as_ref().filter(|_| !absence) {
        None => Some(None),
        Some(source) => expression::compile(at, &format!("{path}/when"), source, Wanted::Truth, &sample).map(Some),
    };

    let of_wall_time = absence.then_some(("absence", "a time: write above and a duration"));
    let level = match (model.drift.level, metric) {
        (None, _) => Err("the model has no budget: give it false_alarms, such as 1 per 30d, or write a number"),
        (_, Some(metric)) if !metric.needs_labels() && !metric.is_detector() && !metric.is_descriptive() => model.drift.level.ok_or(""),
        (_, Some(_)) => Err("the metric has no p-value, which a budget is about; write a number"),
        (_, None) => Err("a budget is about the p-value of one metric: name it in source"),
    };
    let checks = Checks { sample: &sample, window, level, unit: if absence { Unit::Seconds } else { Unit::Plain }, of_wall_time };
    let tiers = condition::tiers(at, &format!("{path}/fire"), &spec.fire, &checks);
    let resolve = condition::resolve(at, &format!("{path}/resolve"), spec.resolve.as_ref(), &tiers, &checks);

    let cooldown = span(at, &format!("{path}/cooldown"), spec.cooldown.as_deref()).unwrap_or(Span(0));
    let (min_current, min_reference) = min_samples(at, path, spec, group, model, absence);
    let limit = spec.limit.or(group.limit);
    if limit == Some(0) {
        at.error(&format!("{path}/limit"), "a limit of 0 would never show an instance; leave it out for any number");
    }

    label::check_names(at, &format!("{path}/labels"), &spec.labels);
    let mut labels = label::templates(at, &format!("{path}/labels"), &spec.labels);
    for (name, source) in &group.labels {
        if !labels.contains_key(name)
            && let Ok(template) = Template::parse(source)
        {
            labels.insert(name.clone(), template);
        }
    }
    let annotations = label::templates(at, &format!("{path}/annotations"), &spec.annotations);
    let names = template_names(&sample);
    for (key, templates) in [("labels", &labels), ("annotations", &annotations)] {
        for (name, template) in templates {
            let path = format!("{path}/{key}/{}", pointer_token(name));
            label::check_template(at, &path, template, &names, Some(&label_names));
        }
    }
    let on_firing = on_firing(at, path, spec, actions, &names, &label_names);

    let (condition, resolve_hold) = resolve?;
    let (value, when) = (if absence { None } else { Some(value?) }, when?);
    if tiers.is_empty() {
        return None;
    }
    let mut needs = expression::needs(
        value.iter().chain(tiers.iter().filter_map(|tier| expr_of(&tier.condition))).chain(condition.iter().filter_map(expr_of)),
    );
    needs.metrics.extend(metric);
    let needs_when = expression::needs(&when);
    let plan = Plan {
        tiers: tiers.iter().map(|tier| (tier.severity, tier.hold)).collect(),
        resolve: resolve_hold,
        policies: policies(spec, group),
    };
    Some(Rule {
        file: Arc::clone(place.file),
        model: Arc::from(model.name.as_str()),
        group: Arc::from(group.name.as_str()),
        alert: Arc::from(spec.alert.as_str()),
        kind: kind?,
        each_feature,
        each_segment,
        window: window.map(|window| Arc::from(window.name.as_str())),
        metric,
        subject,
        value,
        when,
        tiers,
        resolve: condition,
        plan,
        needs,
        needs_when,
        min_current,
        min_reference,
        cooldown,
        labels,
        annotations,
        on_firing,
        incomplete_ok: spec.incomplete == IncompleteSpec::Ok,
        limit,
        drift: model.drift,
    })
    .filter(|rule| rule.kind == Kind::Absence || rule.window.is_some())
}

fn value(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec, metric: Option<Metric>, sample: &Bindings) -> Option<Expr> {
    let Some(source) = spec.value.as_deref().or(metric.map(Metric::as_str)) else {
        at.error(path, "the rule has no value");
        return None;
    };
    expression::compile(at, &format!("{path}/value"), source, Wanted::Number, sample)
}

pub(super) fn policies(spec: &RuleSpec, group: &GroupSpec) -> Policies {
    let policy = |own: Option<_>, group: Option<_>| own.or(group).unwrap_or_default();
    Policies {
        insufficient: policy(spec.insufficient, group.defaults.insufficient),
        no_data: policy(spec.no_data, group.defaults.no_data),
        error: policy(spec.error, group.defaults.error),
    }
}

fn expr_of(condition: &Condition) -> Option<&Expr> {
    match condition {
        Condition::Expr(expr) => Some(expr),
        Condition::Above(_) | Condition::Below(_) | Condition::Beyond(_) | Condition::Within(_) => None,
    }
}

fn refuse_for_absence(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec) {
    for (key, given) in [
        ("value", spec.value.is_some()),
        ("when", spec.when.is_some()),
        ("each", !spec.each.is_empty()),
        ("min_samples", spec.min_samples.is_some()),
        ("limit", spec.limit.is_some()),
        ("source/metric", spec.source.metric.is_some()),
        ("source/window", spec.source.window.is_some()),
        ("source/subject", spec.source.subject.is_some()),
        ("source/label_coverage", spec.source.label_coverage.is_some()),
    ] {
        if given {
            at.error(&format!("{path}/{key}"), "a rule of absence looks at the time since the model's last record and at nothing else");
        }
    }
    for (key, tier) in [("warning", &spec.fire.warning), ("critical", &spec.fire.critical)] {
        if tier.as_ref().is_some_and(|tier| tier.below.is_some()) {
            at.error(&format!("{path}/fire/{key}/below"), "a rule of absence fires above a time");
        }
    }
}

fn window<'m>(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec, model: &'m ModelScope) -> Option<&'m WindowScope> {
    let known = || model.windows.iter().map(|window| window.name.as_str());
    let Some(name) = &spec.source.window else {
        at.error_with(&format!("{path}/source"), "the rule names no window", did_you_mean("", known()));
        return None;
    };
    let window = model.window(name);
    if window.is_none() {
        let message = format!("the model '{}' has no window '{name}'", model.name);
        at.error_with(&format!("{path}/source/window"), message, did_you_mean(name, known()));
    }
    window
}

fn metric(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec, model: &ModelScope) -> Option<Metric> {
    let name = spec.source.metric.as_ref()?;
    let path = format!("{path}/source/metric");
    match Metric::parse(name) {
        None => {
            at.error_with(
                &path,
                format!("there is no metric '{name}'"),
                did_you_mean(name, Metric::ALL.iter().map(|metric| metric.as_str())),
            );
            None
        }
        Some(metric) if !model.metrics.contains(&metric) => {
            let known = did_you_mean(name, model.metrics.iter().map(|metric| metric.as_str()));
            at.error_with(&path, format!("the metric '{name}' is not measured for the model '{}'", model.name), known);
            None
        }
        metric => metric,
    }
}

fn kind(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: &RuleSpec,
    metric: Option<Metric>,
    each_feature: bool,
    model: &ModelScope,
) -> (Option<Kind>, bool) {
    if spec.kind == KindSpec::Absence {
        return (Some(Kind::Absence), false);
    }
    // A rule without a metric of its own may still name one of performance in its value.
    let by_value = metric.is_none()
        && spec.value.as_deref().is_some_and(|source| {
            let expr = Expr::compile(source);
            expr.is_ok_and(|expr| {
                expression::needs([&expr]).metrics.iter().any(|metric| metric.needs_labels() && model.metrics.contains(metric))
            })
        });
    let performance = metric.is_some_and(Metric::needs_labels) || by_value || spec.source.label_coverage.is_some();
    if performance && each_feature {
        at.error(&format!("{path}/each"), "performance is measured of the model and not of each feature");
    }
    if !performance {
        return (Some(Kind::Closed), false);
    }
    let coverage = spec.source.label_coverage.unwrap_or(DEFAULT_LABEL_COVERAGE);
    if coverage > 0.0 && coverage <= 1.0 {
        return (Some(Kind::Labels { coverage }), true);
    }
    at.error(&format!("{path}/source/label_coverage"), "the label coverage is a share above 0 and at most 1");
    (None, true)
}

fn subject(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: &RuleSpec,
    metric: Option<Metric>,
    each_feature: bool,
    model: &ModelScope,
) -> Option<Subject> {
    let performance = metric.is_some_and(Metric::needs_labels);
    let Some(written) = &spec.source.subject else {
        if metric.is_some() && !performance && !each_feature {
            let message = "the metric is measured for each feature and each output; write each: [feature], or a source.subject";
            at.error(&format!("{path}/source/metric"), message);
        }
        return (!each_feature && spec.kind == KindSpec::Window).then_some(Subject::Model);
    };
    let path = format!("{path}/source/subject");
    if each_feature {
        at.error(&path, "the rule is about each feature and cannot have another subject");
    } else if performance {
        at.error(&path, "performance is measured of the model and has no other subject");
    }
    match (written.as_str(), written.strip_prefix("proba:")) {
        ("prediction", _) => Some(Subject::Prediction),
        ("score", _) => Some(Subject::Score),
        ("label", _) => Some(Subject::Label),
        (_, Some(class)) => {
            if !model.classes.is_empty() && !model.classes.iter().any(|known| known == class) {
                let hint = did_you_mean(class, model.classes.iter().map(String::as_str));
                at.error_with(&path, format!("the model '{}' has no class '{class}'", model.name), hint);
            }
            Some(Subject::Proba(Arc::from(class)))
        }
        _ => {
            at.error(&path, format!("'{written}' is not a subject; write prediction, score, proba:CLASS or label"));
            None
        }
    }
}

fn min_samples(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec, group: &GroupSpec, model: &ModelScope, absence: bool) -> (u64, u64) {
    let (current, reference) = match spec.min_samples.or(group.defaults.min_samples) {
        None => return (0, 0),
        Some(MinSamplesSpec::Current(current)) => (current, 0),
        Some(MinSamplesSpec::Both { current, reference }) => (current, reference),
    };
    if !absence && spec.min_samples.is_some() && current < model.min_samples {
        let message = format!("{current} is below the {} of the model '{}', which decide", model.min_samples, model.name);
        at.warn(&format!("{path}/min_samples"), message);
    }
    (current, reference)
}

fn label_names(spec: &RuleSpec, group: &GroupSpec, model: &ModelScope, each_feature: bool, each_segment: bool) -> Vec<String> {
    let mut names: Vec<String> = ["alertname", "model", "severity"].map(str::to_owned).into();
    if spec.kind == KindSpec::Window {
        names.push("version".to_owned());
    }
    if each_feature {
        names.push("feature".to_owned());
    }
    if each_segment {
        names.extend(model.segment_keys.iter().map(|key| label_name(key)));
    }
    names.extend(group.labels.keys().chain(spec.labels.keys()).cloned());
    names
}

/// What templates see beside what expressions see.
pub(super) fn template_names(sample: &Bindings) -> Vec<String> {
    let own = [
        "value",
        "severity",
        "threshold",
        "alert",
        "group",
        "model",
        "version",
        "annotations",
        "episode",
        "reason",
        "state",
        "range",
        "dict",
        "namespace",
    ];
    sample.0.keys().cloned().chain(own.map(str::to_owned)).collect()
}

pub(super) fn on_firing(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: &RuleSpec,
    actions: &[&str],
    names: &[String],
    labels: &[String],
) -> Vec<OnFiring> {
    let mut compiled = Vec::new();
    for (index, entry) in spec.on_firing.iter().enumerate() {
        let path = format!("{path}/on_firing/{index}");
        if !actions.contains(&entry.action.as_str()) {
            let hint = did_you_mean(&entry.action, actions.iter().copied());
            at.error_with(&format!("{path}/action"), format!("there is no action '{}'", entry.action), hint);
        }
        let after = span(at, &format!("{path}/after"), entry.after.as_deref()).unwrap_or(Span(0));
        let mut arguments = BTreeMap::new();
        for (name, json) in &entry.arguments {
            let path = format!("{path}/with/{}", pointer_token(name));
            let mut found = Vec::new();
            let body = Body::parse(json, &mut |leaf, message| found.push((format!("{path}{leaf}"), message)));
            for (path, message) in found {
                at.error(&path, message);
            }
            body.templates(&mut |template| label::check_template(at, &path, template, names, Some(labels)));
            arguments.insert(name.clone(), body);
        }
        compiled.push(OnFiring { action: entry.action.clone(), after, arguments });
    }
    compiled
}
