//! What a rule makes of one window: the value, the tiers it breaches, or why there is no verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Measurement, Metric, Status, Subject};

use super::datum::{Bindings, Datum};
use super::expr::{Expr, ExprError};
use super::happening::WindowInput;
use super::machine::{Cause, Change, Outcome, Severity};
use super::scope::DriftRecipe;
use super::set::{Needs, Rule};

/// The measurements of a window by subject and metric.
#[derive(Debug, Default)]
pub struct Measures<'a>(pub(crate) BTreeMap<&'a Subject, BTreeMap<Metric, &'a Measurement>>);

impl<'a> Measures<'a> {
    /// Sorts measurements; of two of the same subject and metric the one of the higher revision counts.
    #[must_use]
    pub fn new(measurements: &'a [Measurement]) -> Measures<'a> {
        let mut measures = Measures::default();
        for measurement in measurements {
            let entry = measures.0.entry(&measurement.subject).or_default().entry(measurement.metric).or_insert(measurement);
            if measurement.revision > entry.revision {
                *entry = measurement;
            }
        }
        measures
    }

    fn get(&self, subject: &Subject, metric: Metric) -> Option<&'a Measurement> {
        self.0.get(subject).and_then(|metrics| metrics.get(&metric)).copied()
    }

    /// The features measured.
    pub(crate) fn features(&self) -> impl Iterator<Item = &'a Arc<str>> + '_ {
        self.0.keys().filter_map(|subject| match subject {
            Subject::Feature(name) => Some(name),
            _ => None,
        })
    }
}

/// What was made of a window.
#[derive(Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The value, where there is one.
    pub value: Option<f64>,
    /// Events behind it.
    pub n: u64,
    /// Why there is no verdict; empty where there is one.
    pub trouble: String,
    /// Whether the rule itself failed on the window: an expression could not be evaluated.
    pub failed: bool,
    /// What expressions saw, and `value`: what templates see.
    pub bindings: Bindings,
}

impl Verdict {
    /// No verdict, and why.
    #[must_use]
    pub fn without(outcome: Outcome, trouble: impl Into<String>, n: u64, bindings: Bindings) -> Verdict {
        Verdict { outcome, value: None, n, trouble: trouble.into(), failed: false, bindings }
    }

    fn failure(trouble: impl Into<String>, n: u64, bindings: Bindings) -> Verdict {
        Verdict { failed: true, ..Verdict::without(Outcome::Error, trouble, n, bindings) }
    }

    /// The named reason of a change: `fire critical: value 0.31 above 0.25 for 2 windows`.
    #[must_use]
    pub fn reason(&self, rule: &Rule, change: &Change) -> String {
        let shown = self.value.map(|value| format!("value {}", rule.unit().show(value)));
        let breach = |severity: Severity| match (&shown, rule.tier(severity)) {
            (Some(value), Some(tier)) => format!("{value} {}", tier.condition.describe(rule.unit())),
            _ => self.by_policy(),
        };
        let over = |negated: bool| match (&shown, &rule.resolve) {
            (Some(value), Some(condition)) => format!("{value} {}{}", if negated { "not " } else { "" }, condition.describe(rule.unit())),
            (Some(value), None) => format!("{value} breaches {}", if negated { "a tier" } else { "no tier" }),
            (None, _) => self.by_policy(),
        };
        match change.cause {
            Cause::Breached { severity, progress } => format!("breach {}: {}, {progress}", severity.as_str(), breach(severity)),
            Cause::Cleared => match &shown {
                Some(value) => format!("cleared: {value} breaches no tier for long enough"),
                None => format!("cleared: {}", self.by_policy()),
            },
            Cause::Fired { severity, hold } => format!("fire {}: {} for {hold}", severity.as_str(), breach(severity)),
            Cause::Recovering(progress) => format!("recovering: {}, {progress}", over(false)),
            Cause::Interrupted => format!("interrupted: {}", over(true)),
            Cause::Resolved(hold) => format!("resolve: {} for {hold}", over(false)),
        }
    }

    fn by_policy(&self) -> String {
        format!("{} ({})", self.outcome.as_str(), self.trouble)
    }
}

/// Judges the window for one instance: for a feature, or for the rule's own subject.
#[must_use]
pub fn judge(
    rule: &Rule,
    input: &WindowInput<'_>,
    measures: &Measures<'_>,
    feature: Option<&Arc<str>>,
    labels: &BTreeMap<String, String>,
) -> Verdict {
    let subject = match feature {
        Some(name) => Some(Subject::Feature(Arc::clone(name))),
        None => rule.subject.clone(),
    };
    let own = subject.as_ref().zip(rule.metric).and_then(|(subject, metric)| measures.get(subject, metric));
    let n = own.map_or(input.n, |measurement| measurement.n);
    let mut bindings = bindings(rule, input, measures, subject.as_ref(), feature, n, labels);

    if !input.complete && !rule.incomplete_ok {
        return Verdict::without(Outcome::Incomplete, "the window is not fully covered by input", n, bindings);
    }
    if let Err((outcome, why)) = met(&rule.needs, measures, subject.as_ref()) {
        return Verdict::without(outcome, why, n, bindings);
    }
    if n < rule.min_current {
        return Verdict::without(Outcome::Insufficient, format!("{n} events, {} are needed", rule.min_current), n, bindings);
    }
    if let Some(own) = own.filter(|own| own.n_reference < rule.min_reference) {
        let why = format!("{} events in the baseline, {} are needed", own.n_reference, rule.min_reference);
        return Verdict::without(Outcome::Insufficient, why, n, bindings);
    }
    if (rule.needs.features || rule.needs_when.features)
        && let Err((outcome, why)) = bind_features(&mut bindings, measures, &rule.drift)
    {
        return Verdict::without(outcome, why, n, bindings);
    }
    let value = match &rule.value {
        Some(expr) => match expr.number(&bindings) {
            Ok(value) => value,
            Err(error) => return Verdict::failure(failed("value", expr, &error), n, bindings),
        },
        None => return Verdict::failure("the rule has no value", n, bindings),
    };
    bindings.set_number("value", value);
    match decide(rule, measures, subject.as_ref(), value, &bindings) {
        Ok(outcome) => Verdict { outcome, value: Some(value), n, trouble: String::new(), failed: false, bindings },
        Err(Undecided { outcome, why, failed }) => Verdict { outcome, value: Some(value), n, trouble: why, failed, bindings },
    }
}

type NoVerdict = (Outcome, String);

/// Why conditions could not be asked, and whether an expression is to blame.
struct Undecided {
    outcome: Outcome,
    why: String,
    failed: bool,
}

fn decide(rule: &Rule, measures: &Measures<'_>, subject: Option<&Subject>, value: f64, bindings: &Bindings) -> Result<Outcome, Undecided> {
    let error = |why: String| Undecided { outcome: Outcome::Error, why, failed: true };
    let mut breach = None;
    for tier in rule.tiers.iter().rev() {
        let holds = tier.condition.holds(value, bindings).map_err(|fault| error(format!("fire.{}: {fault}", tier.severity.as_str())))?;
        if holds {
            breach = Some(tier.severity);
            break;
        }
    }
    if let Some(severity) = breach {
        let Some(when) = &rule.when else {
            return Ok(Outcome::Breach(severity));
        };
        met(&rule.needs_when, measures, subject).map_err(|(outcome, why)| Undecided { outcome, why, failed: false })?;
        if when.truth(bindings).map_err(|fault| error(failed("when", when, &fault)))? {
            return Ok(Outcome::Breach(severity));
        }
    }
    let over = match &rule.resolve {
        Some(condition) => condition.holds(value, bindings).map_err(|fault| error(format!("resolve: {fault}")))?,
        None => true,
    };
    Ok(Outcome::Ok { over })
}

fn failed(what: &str, expr: &Expr, error: &ExprError) -> String {
    match error {
        ExprError::Unknown(name) if is_evidence(name) => format!("{what} asks for {name}, and the metric has none in this window"),
        error => format!("{what} '{}': {error}", expr.source()),
    }
}

fn is_evidence(name: &str) -> bool {
    name == "p_value" || name == "p_adjusted" || super::compile::evidence_of(name).is_some()
}

/// Whether every metric that is needed has a value to rely on.
fn met(needs: &Needs, measures: &Measures<'_>, subject: Option<&Subject>) -> Result<(), NoVerdict> {
    for metric in &needs.metrics {
        let subject = subject.unwrap_or(&Subject::Model);
        let name = metric.as_str();
        let Some(measurement) = measures.get(subject, *metric) else {
            return Err((Outcome::NoData, format!("{name} was not measured")));
        };
        let outcome = match (measurement.status, measurement.value) {
            (Status::Ok, Some(value)) if value.is_finite() => continue,
            (Status::Insufficient, _) => Outcome::Insufficient,
            (Status::Error, _) => Outcome::Error,
            (Status::NoData | Status::Ok, _) => Outcome::NoData,
        };
        let why = measurement
            .reason
            .as_deref()
            .map_or_else(|| format!("{name} is {}", measurement.status.as_str()), |reason| format!("{name}: {reason}"));
        return Err((outcome, why));
    }
    Ok(())
}

fn bindings(
    rule: &Rule,
    input: &WindowInput<'_>,
    measures: &Measures<'_>,
    subject: Option<&Subject>,
    feature: Option<&Arc<str>>,
    n: u64,
    labels: &BTreeMap<String, String>,
) -> Bindings {
    let mut bindings = Bindings::default();
    for (metric, measurement) in subject.and_then(|subject| measures.0.get(subject)).into_iter().flatten() {
        bind_metric(*metric, measurement, &mut |name, value| bindings.set_number(name, value));
    }
    if let Some(own) =
        subject.zip(rule.metric).and_then(|(subject, metric)| measures.get(subject, metric)).filter(|own| own.status == Status::Ok)
    {
        bindings.set_number("p_value", own.p_value.unwrap_or(f64::NAN));
        bindings.set_number("p_adjusted", own.p_adjusted.unwrap_or(f64::NAN));
    }
    if let Some(name) = feature {
        bindings.set("feature", Datum::Map(BTreeMap::from([("name".to_owned(), Datum::text(&**name))])));
    }
    let reference = input
        .reference
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(metric, value)| (metric.as_str().to_owned(), Datum::Number(*value)));
    bindings.set("reference", Datum::Map(reference.collect()));
    bindings.set("labels", Datum::texts(labels));
    bindings.set("n", Datum::count(n));
    bindings.set(
        "window",
        Datum::Map(BTreeMap::from([
            ("name".to_owned(), Datum::text(&*input.window.name)),
            ("start".to_owned(), Datum::text(input.window.start.rfc3339())),
            ("end".to_owned(), Datum::text(input.window.end.rfc3339())),
            ("n".to_owned(), Datum::count(input.n)),
            ("complete".to_owned(), Datum::Truth(input.complete)),
        ])),
    );
    bindings
}

/// The value and the evidence of a metric, where they can be relied on.
fn bind_metric(metric: Metric, measurement: &Measurement, set: &mut dyn FnMut(String, f64)) {
    if measurement.status != Status::Ok {
        return;
    }
    let name = metric.as_str();
    for (name, value) in [
        (name.to_owned(), measurement.value),
        (format!("{name}_p_value"), measurement.p_value),
        (format!("{name}_p_adjusted"), measurement.p_adjusted),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
}

/// Binds `features` and `features_drifted`: the features whose drift can be told, in the order of their names.
fn bind_features(bindings: &mut Bindings, measures: &Measures<'_>, recipe: &DriftRecipe) -> Result<(), NoVerdict> {
    let mut list = Vec::new();
    let mut drifted_names = Vec::new();
    let mut all = 0_usize;
    for (subject, metrics) in &measures.0 {
        let Subject::Feature(name) = subject else { continue };
        all += 1;
        let Some(of_recipe) = metrics.get(&recipe.metric).filter(|measurement| measurement.status == Status::Ok) else {
            continue;
        };
        let (Some(value), Some(p_adjusted)) = (of_recipe.value, of_recipe.p_adjusted) else {
            continue;
        };
        let Some(drifted) = recipe.is_drift(value, of_recipe.p_value, Some(p_adjusted)) else { continue };
        let mut map = BTreeMap::from([
            ("name".to_owned(), Datum::text(&**name)),
            ("status".to_owned(), Datum::text("ok")),
            ("drifted".to_owned(), Datum::Truth(drifted)),
            ("p_adjusted".to_owned(), Datum::number(p_adjusted)),
        ]);
        if let Some(p_value) = of_recipe.p_value {
            map.insert("p_value".to_owned(), Datum::number(p_value));
        }
        for (metric, measurement) in metrics {
            bind_metric(*metric, measurement, &mut |name, value| {
                if value.is_finite() {
                    map.insert(name, Datum::Number(value));
                }
            });
        }
        if drifted {
            drifted_names.push(Datum::text(&**name));
        }
        list.push(Datum::Map(map));
    }
    if all == 0 {
        return Err((Outcome::NoData, "no feature was measured".into()));
    }
    if list.len() * 2 < all {
        return Err((Outcome::Insufficient, format!("the drift of only {} of {all} features can be told", list.len())));
    }
    bindings.set("features", Datum::List(list));
    bindings.set("features_drifted", Datum::List(drifted_names));
    Ok(())
}
