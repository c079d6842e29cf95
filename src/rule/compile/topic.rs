//! Rules on the input itself: of schema and of gaps. They are about topics and not about models, and where no file speaks of
//! such a kind there is a built-in rule of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Span;
use crate::rule::datum::{Bindings, Datum};
use crate::rule::fault::{FaultsOfFile, pointer_token};
use crate::rule::hold::Hold;
use crate::rule::machine::Plan;
use crate::rule::scope::DriftRecipe;
use crate::rule::set::{BUILT_IN, Condition, Kind, Needs, Rule, RuleSet, Tier, Unit};
use crate::rule::spec::{GroupSpec, IncompleteSpec, KindSpec, MinSamplesSpec, RuleSpec};
use crate::rule::template::Template;

use super::action::span;
use super::condition::{self, Checks};
use super::{label, rule};

/// A budget of false alarms is one of measurements.
const NO_LEVEL: &str = "this rule does not look at measurements, which a budget of false alarms is for; write a number";

pub(super) use crate::rule::topic::LABEL;

/// Names of the built-in alerts.
pub(super) const BUILT_IN_ALERTS: [&str; 2] = ["SchemaDrift", "IngestGap"];
/// The group of the built-in rules.
const BUILT_IN_GROUP: &str = "driftline";
/// The built-in rules as a file would have them.
const BUILT_IN_RULES: [&str; 2] = [
    r#"{ "alert": "SchemaDrift", "kind": "schema", "fire": { "warning": { "above": 0.05 } }, "annotations": { "summary":
         "{{ value | pct(0) }} of the records of {{ labels.topic }} were rejected within a minute ({{ reasons | join(', ') }}), the last at {{ example }}" } }"#,
    r#"{ "alert": "IngestGap", "kind": "gap", "fire": { "warning": { "above": 0 } }, "annotations": { "summary":
         "about {{ value | int }} records of {{ labels.topic }} can never be read: {{ gaps | join('; ') }}" } }"#,
];
/// Records of a minute that a share is judged by where the rule does not say.
const MIN_SAMPLES: u64 = 100;
/// How long there must be no further gap where the rule does not say.
const GAP_OVER: Span = Span::HOUR;

/// Where a rule stands.
pub(super) struct Place<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) path: &'a str,
    pub(super) group: &'a GroupSpec,
}

/// The kind of a rule that is about topics.
pub(super) fn kind(written: KindSpec) -> Option<Kind> {
    match written {
        KindSpec::Schema => Some(Kind::Schema),
        KindSpec::Gap => Some(Kind::Gap),
        KindSpec::Window | KindSpec::Absence => None,
    }
}

/// Adds the built-in rules of those kinds that no file speaks of.
pub fn add_built_in(set: &mut RuleSet) {
    let group = GroupSpec {
        name: BUILT_IN_GROUP.to_owned(),
        model: None,
        interval: None,
        labels: BTreeMap::new(),
        limit: None,
        defaults: crate::rule::spec::DefaultsSpec::default(),
        rules: Vec::new(),
    };
    let mut faults = crate::rule::fault::Faults::default();
    for text in BUILT_IN_RULES {
        // That they are rules is tested.
        let Ok(spec) = serde_json::from_str::<RuleSpec>(text) else { continue };
        let Some(kind) = kind(spec.kind).filter(|kind| !set.on_topics.contains(kind)) else { continue };
        let place = Place { file: &Arc::from(BUILT_IN), path: "", group: &group };
        set.rules.extend(compile(&mut faults.at(BUILT_IN), &place, &spec, &[]));
        set.on_topics.push(kind);
    }
}

/// Compiles one rule; `None` where it has a fault.
pub(super) fn compile(at: &mut FaultsOfFile<'_>, place: &Place<'_>, spec: &RuleSpec, actions: &[&str]) -> Option<Rule> {
    let Place { path, group, .. } = *place;
    let kind = kind(spec.kind)?;
    let (name, looks_at) = match kind {
        Kind::Gap => ("gaps", "the records that can never be read: write above and a number"),
        _ => ("schema", "a share of the records of a topic: write above and a number"),
    };
    if group.model.is_some() {
        at.error(
            &format!("{path}/kind"),
            format!("a rule of {name} is about topics and not about a model: put it into a group without one"),
        );
    }
    refuse(at, path, spec, kind, name);

    let mut sample = Bindings::default();
    sample.set("n", Datum::Whole(1000));
    sample.set("labels", Datum::Map(BTreeMap::new()));
    for own in if kind == Kind::Gap { &["gaps"][..] } else { &["rejected", "reasons", "example"] } {
        sample.set(*own, Datum::text("x"));
    }
    sample.set_number("value", 0.5);
    let checks = Checks { sample: &sample, window: None, unit: Unit::Plain, level: Err(NO_LEVEL), of_wall_time: Some((name, looks_at)) };
    let tiers = condition::tiers(at, &format!("{path}/fire"), &spec.fire, &checks);
    let end = if kind == Kind::Gap { gap_end(at, path, spec) } else { schema_end(at, path, spec, &tiers, &checks) };

    let mut label_names: Vec<String> = ["alertname", LABEL, "severity"].map(str::to_owned).into();
    label_names.extend(group.labels.keys().chain(spec.labels.keys()).cloned());
    let names = rule::template_names(&sample);
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
    for (key, templates) in [("labels", &labels), ("annotations", &annotations)] {
        for (name, template) in templates {
            label::check_template(at, &format!("{path}/{key}/{}", pointer_token(name)), template, &names, Some(&label_names));
        }
    }
    let on_firing = rule::on_firing(at, path, spec, actions, &names, &label_names);
    let cooldown = span(at, &format!("{path}/cooldown"), spec.cooldown.as_deref()).unwrap_or(Span(0));
    let min_current = match (kind, spec.min_samples) {
        (Kind::Gap, _) => 0,
        (_, None) => MIN_SAMPLES,
        (_, Some(MinSamplesSpec::Current(current) | MinSamplesSpec::Both { current, .. })) => current,
    };
    let (resolve, hold) = end?;
    if tiers.is_empty() {
        return None;
    }
    let plan = Plan {
        tiers: tiers.iter().map(|tier| (tier.severity, tier.hold)).collect(),
        resolve: hold,
        // Windows without data are another matter than topics without records.
        policies: rule::policies(spec, &GroupSpec { defaults: crate::rule::spec::DefaultsSpec::default(), ..group.clone() }),
    };
    Some(Rule {
        file: Arc::clone(place.file),
        model: Arc::from(""),
        group: Arc::from(group.name.as_str()),
        alert: Arc::from(spec.alert.as_str()),
        kind,
        each_feature: false,
        each_segment: false,
        window: None,
        metric: None,
        subject: None,
        value: None,
        when: None,
        tiers,
        resolve,
        plan,
        needs: Needs::default(),
        needs_when: Needs::default(),
        min_current,
        min_reference: 0,
        cooldown,
        labels,
        annotations,
        on_firing,
        incomplete_ok: false,
        limit: None,
        drift: DriftRecipe::default(),
    })
}

fn refuse(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec, kind: Kind, name: &str) {
    let is_gap = kind == Kind::Gap;
    for (key, given) in [
        ("value", spec.value.is_some()),
        ("when", spec.when.is_some()),
        ("each", !spec.each.is_empty()),
        ("min_samples", is_gap && spec.min_samples.is_some()),
        ("limit", spec.limit.is_some()),
        ("incomplete", spec.incomplete != IncompleteSpec::default()),
        ("no_data", spec.no_data.is_some()),
        ("error", spec.error.is_some()),
        ("insufficient", spec.insufficient.is_some()),
        ("source/metric", spec.source.metric.is_some()),
        ("source/window", spec.source.window.is_some()),
        ("source/subject", spec.source.subject.is_some()),
        ("source/label_coverage", spec.source.label_coverage.is_some()),
        ("source/reference", spec.source.reference.is_some()),
    ] {
        if given {
            at.error(&format!("{path}/{key}"), format!("a rule of {name} has no such setting: it looks at a topic and at nothing else"));
        }
    }
    for (severity, tier) in [("warning", &spec.fire.warning), ("critical", &spec.fire.critical)] {
        let Some(tier) = tier else { continue };
        if tier.below.is_some() {
            at.error(&format!("{path}/fire/{severity}/below"), format!("a rule of {name} fires above a number"));
        }
        if is_gap && tier.hold.is_some() {
            at.error(&format!("{path}/fire/{severity}/for"), "a gap is there at once and for good: the alert fires with it");
        }
    }
}

/// Below half of the lower tier, where nothing is said.
fn schema_end(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: &RuleSpec,
    tiers: &[Tier],
    checks: &Checks<'_>,
) -> Option<(Option<Condition>, Hold)> {
    for tier in tiers {
        if tier.condition.threshold().is_some_and(|share| !(0.0..1.0).contains(&share)) {
            let message = "a share of records lies from 0 to 1, and above 1 there is none";
            at.error(&format!("{path}/fire/{}/above", tier.severity.as_str()), message);
        }
    }
    if spec.resolve.is_some() {
        return condition::resolve(at, &format!("{path}/resolve"), spec.resolve.as_ref(), tiers, checks);
    }
    let lower = tiers.first().and_then(|tier| tier.condition.threshold());
    // With a threshold of 0 it is over where nothing is rejected.
    let end = lower.filter(|share| *share > 0.0).map(|share| Condition::Below(share / 2.0));
    Some((end, Hold::ONE_WINDOW))
}

/// A time without a further gap.
fn gap_end(at: &mut FaultsOfFile<'_>, path: &str, spec: &RuleSpec) -> Option<(Option<Condition>, Hold)> {
    let Some(end) = &spec.resolve else { return Some((None, Hold::Time(GAP_OVER))) };
    for (key, given) in [("above", end.above.is_some()), ("below", end.below.is_some()), ("expr", end.expr.is_some())] {
        if given {
            at.error(&format!("{path}/resolve/{key}"), "a gap does not close: the alert is over after a time, write for and a duration");
        }
    }
    match end.hold.as_deref().map(Hold::parse) {
        None => Some((None, Hold::Time(GAP_OVER))),
        Some(Ok(hold @ Hold::Time(_))) => Some((None, hold)),
        Some(Ok(Hold::Windows { .. })) => {
            at.error(&format!("{path}/resolve/for"), "a rule of gaps has no windows: write a duration");
            None
        }
        Some(Err(message)) => {
            at.error(&format!("{path}/resolve/for"), message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::fixture::{faults, rules, warnings};
    use crate::rule::machine::Severity;

    fn file(rule: &str) -> String {
        format!("groups: [ {{ name: g, rules: [ {{ alert: A, {rule} }} ] }} ]\nroute: {{ receiver: r }}\nreceivers: [ {{ name: r }} ]\n")
    }

    fn of_topics(text: &str) -> Vec<(String, bool)> {
        let mut set = rules(text);
        add_built_in(&mut set);
        set.rules().iter().map(|rule| (rule.alert.to_string(), rule.is_built_in())).collect()
    }

    #[test]
    fn the_built_in_rules_are_there_unless_a_file_speaks_of_their_kind() {
        assert_eq!(of_topics("{}"), [("SchemaDrift".to_owned(), true), ("IngestGap".to_owned(), true)]);
        let schema = "kind: schema, fire: { critical: { above: 0.5 } }";
        assert_eq!(of_topics(&file(schema)), [("A".to_owned(), false), ("IngestGap".to_owned(), true)]);
        let off = format!("enabled: false, {schema}");
        assert_eq!(of_topics(&file(&off)), [("IngestGap".to_owned(), true)]);
        let both = "groups: [ { name: g, rules: [ { alert: A, kind: gap, enabled: false, fire: { warning: { above: 0 } } }, \
                    { alert: B, kind: schema, enabled: false, fire: { warning: { above: 0 } } } ] } ]";
        assert!(of_topics(both).is_empty());
        let mut set = rules("{}");
        add_built_in(&mut set);
        assert_eq!(set.written(), 0);
        let [schema, gap] = set.rules() else { panic!("{:?}", set.rules()) };
        assert_eq!((schema.kind, gap.kind), (Kind::Schema, Kind::Gap));
        for (rule, above) in [(schema, 0.05), (gap, 0.0)] {
            assert_eq!(
                rule.tiers.iter().map(|tier| (tier.severity, tier.condition.threshold())).collect::<Vec<_>>(),
                [(Severity::Warning, Some(above))]
            );
            assert_eq!(rule.annotations.len(), 1);
        }
        assert_eq!(schema.resolve.as_ref().and_then(Condition::threshold), Some(0.025));
        assert_eq!((schema.min_current, gap.plan.resolve), (100, Hold::Time(Span::HOUR)));
        // What is built in passes the checks of files without a word.
        for text in BUILT_IN_RULES {
            let rule: serde_json::Value = serde_json::from_str(text).unwrap();
            let group = serde_json::json!({ "groups": [{ "name": "g", "rules": [rule] }] });
            let spec = serde_json::from_value(group).unwrap();
            let (_, warnings) = crate::rule::compile(&[("f".to_owned(), spec)], &crate::rule::Scope::default()).unwrap();
            assert!(warnings.iter().all(|warning| warning.fault.message.contains("no route")), "{warnings:?}");
        }
    }

    #[test]
    fn settings_are_those_of_the_rule() {
        let set = rules(&file(
            "kind: schema, min_samples: 7, fire: { warning: { above: 0.2 }, critical: { above: 0.5, for: 5m } }, cooldown: 1h",
        ));
        let rule = &set.rules()[0];
        assert_eq!((rule.min_current, rule.cooldown, &*rule.model), (7, Span::HOUR, ""));
        assert_eq!(rule.resolve.as_ref().and_then(Condition::threshold), Some(0.1));
        let set = rules(&file("kind: schema, fire: { warning: { above: 0 } }"));
        assert!(set.rules()[0].resolve.is_none());
        let set = rules(&file("kind: gap, fire: { critical: { above: 1000 } }, resolve: { for: 10m }"));
        assert_eq!(set.rules()[0].plan.resolve, Hold::Time(Span(600_000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (rule, wanted) in [
            ("kind: schema, each: [feature], fire: { warning: { above: 0.1 } }", "/each: a rule of schema has no such setting"),
            ("kind: schema, value: psi, fire: { warning: { above: 0.1 } }", "/value: a rule of schema has no such setting"),
            ("kind: schema, source: { window: 1h }, fire: { warning: { above: 0.1 } }", "/source/window: a rule of schema"),
            ("kind: schema, fire: { warning: { above: 5 } }", "/fire/warning/above: a share of records lies from 0 to 1"),
            ("kind: schema, fire: { warning: { above: 5m } }", "'5m' is not a number"),
            ("kind: schema, fire: { warning: { below: 0.1 } }", "a rule of schema fires above a number"),
            ("kind: schema, fire: { warning: { expr: 'value > 1' } }", "a rule of schema looks at a share"),
            ("kind: schema, fire: { warning: { above: 0.1, for: 2 windows } }", "a rule of schema has no windows"),
            ("kind: schema, fire: { warning: { above: 0.1 } }, resolve: { below: 0.2 }", "wrong side"),
            ("kind: schema, fire: { }", "fire needs a tier"),
            ("kind: gap, min_samples: 5, fire: { warning: { above: 0 } }", "/min_samples: a rule of gaps has no such setting"),
            ("kind: gap, fire: { warning: { above: 0, for: 5m } }", "the alert fires with it"),
            ("kind: gap, fire: { warning: { above: 0 } }, resolve: { below: 1 }", "a gap does not close"),
            ("kind: gap, fire: { warning: { above: 0 } }, resolve: { for: 2 windows }", "a rule of gaps has no windows"),
            ("kind: gap, fire: { warning: { above: 0 } }, resolve: { for: soon }", "/resolve/for: "),
            ("kind: gap, fire: { warning: { above: 0 } }, on_firing: [ { action: nobody } ]", "there is no action 'nobody'"),
        ] {
            let found = faults(&file(rule)).join("\n");
            assert!(found.contains(wanted), "{rule}: {found}");
        }
        let of_model = "groups: [ { name: g, model: loan, rules: [ { alert: A, kind: gap, fire: { warning: { above: 0 } } } ] } ]";
        assert_eq!(faults(of_model).len(), 1);
        assert!(faults(of_model)[0].contains("/groups/0/rules/0/kind: a rule of gaps is about topics"));
    }

    #[test]
    fn templates_and_routes_know_the_names() {
        let rule = "kind: schema, fire: { warning: { above: 0.1 } }, annotations: { a: '{{ labels.topic }} {{ reasons }} {{ rejected }} {{ n }} {{ example }}' }";
        assert!(warnings(&file(rule)).is_empty(), "{:?}", warnings(&file(rule)));
        let rule = "kind: gap, fire: { warning: { above: 0 } }, annotations: { a: '{{ labels.model }} {{ reasons }}' }";
        let found = warnings(&file(rule)).join("\n");
        assert!(found.contains("'reasons', which is not known") && found.contains("the label 'model'"), "{found}");
        let routed =
            "route: { receiver: r, routes: [ { matchers: ['alertname=\"SchemaDrift\"', 'topic=\"t\"'] } ] }\nreceivers: [ { name: r } ]";
        assert!(warnings(routed).is_empty(), "{:?}", warnings(routed));
    }
}
