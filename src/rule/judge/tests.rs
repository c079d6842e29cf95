//! The judge over whole runs of windows: episodes, notices, actions, refusals and what is stored of them.

use super::*;
use crate::event::{Measurement, Metric, Status, Subject};
use crate::rule::NoticeKind;
use crate::rule::fixture::{MINUTE, START, measured, no_reference, psi, rules, window};
use crate::rule::happening::IngestSilence;
use proptest::prelude::*;

const TEN: i64 = 10 * MINUTE;

/// A file with the rule `rest` of the model, a mail and a hook, and an action.
fn set(rest: &str) -> RuleSet {
    set_with(rest, "")
}

fn set_with(rest: &str, budget: &str) -> RuleSet {
    rules(&format!(
        r#"
groups: [ {{ name: g, model: loan, labels: {{ team: risk }}, rules: [ {{ alert: A, {rest} }} ] }} ]
route: {{ receiver: mail, routes: [ {{ matchers: ['severity="critical"'], receiver: hook }} ] }}
receivers:
  - {{ name: mail, email_configs: [ {{ to: a@example.com }} ] }}
  - {{ name: hook, webhook_configs: [ {{ url: "http://127.0.0.1/x" }} ] }}
actions:
  retrain: {{ preset: airflow3, url: "http://127.0.0.1/run", body: {{ id: "drift__{{{{ episode.id }}}}", why: "{{{{ with.why }}}} of {{{{ labels.model }}}}", at: null }} {budget} }}
"#
    ))
}

const PSI: &str = r#"each: [feature], source: { metric: psi, window: 10m }, when: "p_adjusted < 0.01",
  fire: { warning: { above: 0.10, for: 3 of 4 windows }, critical: { above: 0.25, for: 2 windows } }, resolve: { below: 0.08, for: 2 windows },
  annotations: { summary: "{{ labels.feature }} at {{ value | round(2) }}, {{ severity }}" }"#;

fn closed<'a>(window: &'a WindowRef, measurements: &'a [Measurement]) -> WindowInput<'a> {
    static OVERALL: Segment = Segment(Vec::new());
    WindowInput {
        model: "loan",
        version: "",
        window,
        segment: &OVERALL,
        kind: InputKind::Closed,
        measurements,
        explanations: &[],
        reference: no_reference(),
        n: 5120,
        complete: true,
    }
}

/// Judges one ten-minute window after another, in each of which `age` has the given PSI.
fn run(set: &RuleSet, alerts: &mut Alerts, from: i64, values: &[f64]) -> Vec<Happening> {
    let mut out = Vec::new();
    for (index, value) in (from..).zip(values) {
        let window = window("10m", TEN, TEN, index);
        out.extend(alerts.judge(set, &closed(&window, &[psi("age", *value, &window)])));
    }
    out
}

/// What happened, in short.
fn told(happenings: &[Happening]) -> Vec<String> {
    happenings
        .iter()
        .map(|happening| match happening {
            Happening::Transition { from, to, alert, .. } => {
                let of = alert.labels.get("feature").map(|feature| format!("{feature} ")).unwrap_or_default();
                format!("{of}{}>{}", from.as_str(), to.as_str())
            }
            Happening::Notice(notice) => format!("{} {} {}", notice.receiver, notice.kind.as_str(), notice.sequence),
            Happening::NoticeRefused { receiver, kind, outcome, .. } => format!("{receiver} {} refused {outcome}", kind.as_str()),
            Happening::Action(call) => format!("action {}", call.action),
            Happening::ActionRefused { action, outcome, .. } => format!("action {action} refused {outcome}"),
            Happening::Trouble { message, .. } => format!("trouble {message}"),
        })
        .collect()
}

fn reasons(happenings: &[Happening]) -> Vec<&str> {
    happenings
        .iter()
        .filter_map(|happening| match happening {
            Happening::Transition { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn an_episode_from_its_beginning_to_its_end() {
    let (set, mut alerts) = (set(PSI), Alerts::new());
    let happened = run(&set, &mut alerts, 1, &[0.02, 0.31, 0.31, 0.15, 0.05, 0.09, 0.05, 0.05, 0.05]);
    assert_eq!(
        told(&happened),
        [
            "age inactive>pending",
            "age pending>firing",
            "hook firing 0",
            "age firing>recovering",
            "age recovering>firing",
            "age firing>recovering",
            "age recovering>resolved",
            "hook resolved 1"
        ]
    );
    assert_eq!(
        reasons(&happened),
        [
            "breach critical: value 0.31 above 0.25, 1 of 2 windows",
            "fire critical: value 0.31 above 0.25 for 2 windows",
            "recovering: value 0.05 below 0.08, 1 of 2 windows",
            "interrupted: value 0.09 not below 0.08",
            "recovering: value 0.05 below 0.08, 1 of 2 windows",
            "resolve: value 0.05 below 0.08 for 2 windows"
        ]
    );
    let Happening::Notice(notice) = &happened[2] else { panic!() };
    assert_eq!(notice.episode.len(), 26);
    assert_eq!(notice.at, Timestamp(START + 3 * TEN));
    assert_eq!(notice.alert.annotations["summary"], "age at 0.31, critical");
    assert_eq!(notice.alert.threshold, Some(0.25));
    assert_eq!(notice.alert.starts_at, Some(notice.at));
    assert_eq!(notice.alert.active_at, Some(Timestamp(START + 2 * TEN)));
    let labels: Vec<String> = notice.alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["alertname=A", "feature=age", "model=loan", "severity=critical", "team=risk"]);
    let Happening::Notice(end) = &happened[7] else { panic!() };
    assert_eq!(end.episode, notice.episode);
    assert_eq!((end.alert.state.as_str(), end.alert.ends_at), ("resolved", Some(end.at)));
}

#[test]
fn a_higher_severity_is_told_and_routed_anew() {
    let (set, mut alerts) = (set(PSI), Alerts::new());
    let happened = run(&set, &mut alerts, 1, &[0.15, 0.15, 0.15, 0.3, 0.3, 0.01, 0.01]);
    assert_eq!(
        told(&happened),
        [
            "age inactive>pending",
            "age pending>firing",
            "mail firing 0",
            "age firing>firing",
            // The hook hears of the episode for the first time.
            "hook firing 0",
            "age firing>recovering",
            "age recovering>resolved",
            // Mail does not ask for ends of alerts by default, hooks do.
            "hook resolved 1"
        ]
    );
    assert_eq!(reasons(&happened)[1], "fire warning: value 0.15 above 0.1 for 3 of 4 windows");
}

#[test]
fn the_effect_alone_does_not_fire() {
    let (set, mut alerts) = (set(PSI), Alerts::new());
    for index in 1..10 {
        let window = window("10m", TEN, TEN, index);
        let noise = measured(Subject::Feature("age".into()), Metric::Psi, 0.9, Some(0.2), &window);
        assert_eq!(told(&alerts.judge(&set, &closed(&window, &[noise]))), Vec::<String>::new());
    }
    // Without evidence at all the rule fails, and says so.
    let window = window("10m", TEN, TEN, 10);
    let bare = measured(Subject::Feature("age".into()), Metric::Psi, 0.9, None, &window);
    let happened = alerts.judge(&set, &closed(&window, &[bare]));
    assert_eq!(told(&happened), ["trouble when asks for p_adjusted, and the metric has none in this window"]);
    assert_eq!(alerts.statuses(&set)[0].health, "err");
}

#[test]
fn windows_without_a_verdict_change_nothing() {
    let (set, mut alerts) = (set(&format!("{PSI}, min_samples: {{ current: 1000, reference: 10000 }}")), Alerts::new());
    assert_eq!(told(&run(&set, &mut alerts, 1, &[0.3])), ["age inactive>pending"]);
    let window_2 = window("10m", TEN, TEN, 2);
    let few = Measurement { n: 999, ..psi("age", 0.01, &window_2) };
    let window_3 = window("10m", TEN, TEN, 3);
    let young = Measurement { n_reference: 9999, ..psi("age", 0.01, &window_3) };
    let window_4 = window("10m", TEN, TEN, 4);
    let unsure = Measurement { status: Status::Insufficient, ..psi("age", 0.01, &window_4) };
    let window_5 = window("10m", TEN, TEN, 5);
    let broken = Measurement { status: Status::Error, value: None, ..psi("age", 0.01, &window_5) };
    let window_6 = window("10m", TEN, TEN, 6);
    for (window, measurement) in [(&window_2, few), (&window_3, young), (&window_4, unsure), (&window_5, broken)] {
        assert!(alerts.judge(&set, &closed(window, &[measurement])).is_empty());
    }
    // The feature is not measured at all any more.
    assert!(alerts.judge(&set, &closed(&window_6, &[])).is_empty());
    let view = &alerts.views(&set)[0];
    assert_eq!((view.state.as_str(), view.window.clone()), ("pending", Some(window_6)));
    assert_eq!(told(&run(&set, &mut alerts, 7, &[0.3])), ["age pending>firing", "hook firing 0"]);
}

#[test]
fn incomplete_windows_do_not_fire_unless_asked_to() {
    for (rest, expected) in [("", 0), (", incomplete: ok", 1), (", insufficient: fire", 0)] {
        let set = set(&format!("{}{rest}", PSI.replace("for: 2 windows", "for: 1 windows")));
        let mut alerts = Alerts::new();
        let window = window("10m", TEN, TEN, 1);
        let input = WindowInput { complete: false, ..closed(&window, &[]) };
        let measurements = [psi("age", 0.9, &window)];
        let happened = alerts.judge(&set, &WindowInput { measurements: &measurements, ..input });
        assert_eq!(happened.iter().filter(|happening| matches!(happening, Happening::Transition { .. })).count(), expected, "{rest}");
    }
}

#[test]
fn a_window_is_judged_once() {
    let (set, mut alerts) = (set(PSI), Alerts::new());
    run(&set, &mut alerts, 1, &[0.3]);
    let before = alerts.clone();
    let window = window("10m", TEN, TEN, 1);
    let restated = Measurement { revision: 1, ..psi("age", 0.3, &window) };
    assert!(alerts.judge(&set, &closed(&window, &[restated])).is_empty());
    assert_eq!(alerts, before);
}

#[test]
fn versions_and_segments_are_instances_of_their_own() {
    let (plain, mut alerts) = (set(&PSI.replace("for: 2 windows", "for: 1 windows")), Alerts::new());
    let eu = Segment(vec![("region".into(), "eu".into())]);
    let window = window("10m", TEN, TEN, 1);
    let measurements = [psi("age", 0.5, &window)];
    let in_eu = WindowInput { segment: &eu, version: "3", ..closed(&window, &measurements) };
    assert!(alerts.judge(&plain, &in_eu).is_empty());
    let each = set(&PSI.replace("for: 2 windows", "for: 1 windows").replace("[feature]", "[feature, segment]"));
    let mut episodes = BTreeSet::new();
    for input in [closed(&window, &measurements), in_eu, WindowInput { version: "4", ..in_eu }] {
        let happened = alerts.judge(&each, &input);
        let Happening::Transition { alert, .. } = &happened[0] else { panic!() };
        assert_eq!(alert.labels.get("region").map(String::as_str), (!input.segment.is_overall()).then_some("eu"));
        assert_eq!(alert.labels.get("version").map(String::as_str), (!input.version.is_empty()).then_some(input.version));
        episodes.insert(alert.episode.clone());
    }
    assert_eq!(episodes.len(), 3);
    assert_eq!(alerts.views(&each).len(), 3);
}

const DATASET: &str = r#"source: { window: 10m }, value: "double(features.filter(f, f.drifted).size()) / double(features.size())",
  fire: { critical: { above: 0.30, for: 2 windows } }, resolve: { below: 0.15, for: 2 windows },
  on_firing: [ { action: retrain, AFTER with: { why: "{{ features_drifted | join('+') }}" } } ]"#;

fn dataset(alerts: &mut Alerts, set: &RuleSet, index: i64, values: &[(&str, f64)]) -> Vec<Happening> {
    let window = window("10m", TEN, TEN, index);
    let measurements: Vec<Measurement> = values.iter().map(|(name, value)| psi(name, *value, &window)).collect();
    alerts.judge(set, &closed(&window, &measurements))
}

const CALM: [(&str, f64); 3] = [("age", 0.01), ("job", 0.02), ("pay", 0.01)];
const DRIFT: [(&str, f64); 3] = [("age", 0.4), ("job", 0.02), ("pay", 0.1)];

#[test]
fn dataset_drift_asks_for_retraining() {
    let (set, mut alerts) = (set(&DATASET.replace("AFTER", "")), Alerts::new());
    assert!(dataset(&mut alerts, &set, 1, &CALM).is_empty());
    assert_eq!(told(&dataset(&mut alerts, &set, 2, &DRIFT)), ["inactive>pending"]);
    let happened = dataset(&mut alerts, &set, 3, &DRIFT);
    assert_eq!(told(&happened), ["pending>firing", "hook firing 0", "action retrain"]);
    assert_eq!(reasons(&happened), ["fire critical: value 0.666667 above 0.3 for 2 windows"]);
    let Happening::Action(call) = &happened[2] else { panic!() };
    assert_eq!(call.method, "POST");
    assert_eq!(call.url, "http://127.0.0.1/run");
    assert_eq!(call.body, serde_json::json!({"id": format!("drift__{}", call.episode), "why": "age+pay of loan", "at": null}));
    // Once an episode.
    assert!(dataset(&mut alerts, &set, 4, &DRIFT).is_empty());
}

#[test]
fn features_that_cannot_be_told_count_neither_way() {
    let (set, mut alerts) = (set(&DATASET.replace("AFTER", "").replace("for: 2 windows", "for: 1 windows")), Alerts::new());
    let window_1 = window("10m", TEN, TEN, 1);
    let unsure = |name: &str, window: &WindowRef| Measurement { status: Status::Insufficient, ..psi(name, 0.9, window) };
    // One of three is ok, and it has drifted: too few to say.
    let few = [psi("age", 0.5, &window_1), unsure("job", &window_1), unsure("pay", &window_1)];
    assert!(alerts.judge(&set, &closed(&window_1, &few)).is_empty());
    // Two of three are ok, and one of the two has drifted.
    let window_2 = window("10m", TEN, TEN, 2);
    let enough = [psi("age", 0.5, &window_2), psi("job", 0.0, &window_2), unsure("pay", &window_2)];
    let happened = alerts.judge(&set, &closed(&window_2, &enough));
    assert_eq!(reasons(&happened), ["fire critical: value 0.5 above 0.3 for 1 window"]);
    // Nothing measured is no end of it.
    let window_3 = window("10m", TEN, TEN, 3);
    assert!(alerts.judge(&set, &closed(&window_3, &[])).is_empty());
    assert_eq!(alerts.views(&set)[0].state, "firing");
}

#[test]
fn an_action_waits_until_the_alert_has_fired_for_long_enough() {
    let (set, mut alerts) = (set(&DATASET.replace("AFTER", "after: 20m,")), Alerts::new());
    for index in 1..=3 {
        dataset(&mut alerts, &set, index, &DRIFT);
    }
    assert_eq!(told(&dataset(&mut alerts, &set, 4, &DRIFT)), ["action retrain"]);
    for index in 5..=6 {
        dataset(&mut alerts, &set, index, &CALM);
    }
    dataset(&mut alerts, &set, 7, &DRIFT);
    assert_eq!(told(&dataset(&mut alerts, &set, 8, &DRIFT)), ["pending>firing", "hook firing 0"]);
    dataset(&mut alerts, &set, 9, &CALM);
    assert_eq!(told(&dataset(&mut alerts, &set, 10, &CALM)), ["recovering>resolved", "hook resolved 1", "action retrain refused resolved"]);
}

#[test]
fn trouble_does_not_start_what_was_waiting() {
    let (set, mut alerts) = (set(&DATASET.replace("AFTER", "after: 10m,")), Alerts::new());
    for index in 1..=2 {
        dataset(&mut alerts, &set, index, &DRIFT);
    }
    assert!(dataset(&mut alerts, &set, 3, &[]).is_empty());
    assert_eq!(told(&dataset(&mut alerts, &set, 4, &DRIFT)), ["action retrain"]);
}

#[test]
fn budgets_refuse_with_a_reason() {
    let set =
        set_with(&DATASET.replace("AFTER", "").replace("for: 2 windows", "for: 1 windows"), ", budget: { max: 2, per: 2h, min_gap: 30m }");
    let mut alerts = Alerts::new();
    let mut outcomes = Vec::new();
    // Fires at windows 1, 3, 5, ...: every 20 minutes.
    for index in 1..=15 {
        let values = if index % 2 == 1 { &DRIFT } else { &CALM };
        for happening in dataset(&mut alerts, &set, index, values) {
            match happening {
                Happening::Action(_) => outcomes.push((index, "requested".to_owned())),
                Happening::ActionRefused { outcome, reason, .. } => {
                    assert!(!reason.is_empty());
                    outcomes.push((index, outcome));
                }
                _ => {}
            }
        }
    }
    let requested: Vec<i64> = outcomes.iter().filter(|(_, outcome)| outcome == "requested").map(|(index, _)| *index).collect();
    assert_eq!(requested, [1, 5, 13]);
    assert!(outcomes.iter().all(|(_, outcome)| outcome == "requested" || outcome == "budget"));
    assert_eq!(outcomes.len(), 8);
}

#[test]
fn cooldown_keeps_quiet_unless_it_gets_worse() {
    let psi = PSI.replace("for: 2 windows", "for: 1 windows").replace("for: 3 of 4 windows", "for: 1 windows");
    let (set, mut alerts) = (set(&format!("{psi}, cooldown: 50m")), Alerts::new());
    assert_eq!(told(&run(&set, &mut alerts, 1, &[0.15, 0.01])), ["age inactive>firing", "mail firing 0", "age firing>resolved"]);
    // Again within the cooldown: shown, told to nobody.
    assert_eq!(
        told(&run(&set, &mut alerts, 3, &[0.15, 0.01])),
        ["age resolved>firing", "mail firing refused cooldown", "age firing>resolved"]
    );
    // Worse than before: told.
    assert_eq!(
        told(&run(&set, &mut alerts, 5, &[0.15, 0.5, 0.01])),
        [
            "age resolved>firing",
            "mail firing refused cooldown",
            "age firing>firing",
            "hook firing 0",
            "age firing>resolved",
            "hook resolved 1"
        ]
    );
    // Still firing when the cooldown is over: told then.
    assert_eq!(
        told(&run(&set, &mut alerts, 8, &[0.15, 0.15, 0.15, 0.15, 0.15])),
        ["age resolved>firing", "mail firing refused cooldown", "mail firing 0"]
    );
}

#[test]
fn above_the_limit_one_aggregate_speaks_for_all() {
    let psi_rule = PSI.replace("for: 2 windows", "for: 1 windows");
    let (set, mut alerts) =
        (set(&format!("{psi_rule}, limit: 2, on_firing: [ {{ action: retrain, with: {{ why: many }} }} ]")), Alerts::new());
    let go = |alerts: &mut Alerts, index: i64, values: &[(&str, f64)]| told(&dataset(alerts, &set, index, values));
    assert_eq!(go(&mut alerts, 1, &[("age", 0.5), ("job", 0.0), ("pay", 0.0)]), ["age inactive>firing", "hook firing 0", "action retrain"]);
    // As many as the limit are told one by one.
    assert_eq!(go(&mut alerts, 2, &[("age", 0.5), ("job", 0.6), ("pay", 0.0)]), ["job inactive>firing", "hook firing 0", "action retrain"]);
    assert_eq!(go(&mut alerts, 3, &[("age", 0.5), ("job", 0.0), ("pay", 0.0)]), ["job firing>resolved", "hook resolved 1"]);
    assert_eq!(
        go(&mut alerts, 5, &[("age", 0.5), ("job", 0.6), ("pay", 0.7)]),
        [
            "job resolved>firing",
            "hook firing refused limit",
            "action retrain refused limit",
            "pay inactive>firing",
            "hook firing refused limit",
            "action retrain refused limit",
            "* inactive>firing",
            "hook firing 0",
            "action retrain"
        ]
    );
    let views = alerts.views(&set);
    assert_eq!(views.len(), 4);
    let aggregate = views.iter().find(|view| view.labels["feature"] == "*").unwrap();
    assert_eq!(aggregate.value, Some(3.0));
    assert_eq!(aggregate.annotations["description"], "Greatest values: feature=pay (0.7); feature=job (0.6); feature=age (0.5)");
    // It stays until no instance is left, and nobody is told of the others' ends.
    assert_eq!(go(&mut alerts, 6, &[("age", 0.5), ("job", 0.0), ("pay", 0.0)]), ["job firing>resolved", "pay firing>resolved"]);
    assert_eq!(
        go(&mut alerts, 7, &[("age", 0.0), ("job", 0.0), ("pay", 0.0)]),
        ["age firing>resolved", "hook resolved 1", "* firing>resolved", "hook resolved 1"]
    );
    assert!(alerts.aggregates.is_empty());
}

const ACCURACY: &str = r#"source: { metric: accuracy, window: 10m, label_coverage: 0.8 }, value: "reference.accuracy - accuracy",
  fire: { critical: { above: 0.05, for: 1 windows } }, resolve: { below: 0.02, for: 1 windows }"#;

struct Labels<'a> {
    set: &'a RuleSet,
    alerts: Alerts,
}

impl Labels<'_> {
    fn close(&mut self, index: i64, n: u64) {
        let window = window("10m", TEN, TEN, index);
        assert!(self.alerts.judge(self.set, &WindowInput { n, ..closed(&window, &[]) }).is_empty());
    }

    fn tick(&mut self, index: i64, accuracy: f64, coverage: f64, horizon_passed: bool) -> Vec<String> {
        let window = window("10m", TEN, TEN, index);
        let measurements = [measured(Subject::Model, Metric::Accuracy, accuracy, None, &window)];
        let reference = BTreeMap::from([(Metric::Accuracy, 0.9)]);
        let kind = InputKind::LabelsReady { coverage, horizon_passed };
        let happened = self.alerts.judge(self.set, &WindowInput { kind, reference: &reference, ..closed(&window, &measurements) });
        happened
            .iter()
            .filter_map(|happening| match happening {
                Happening::Transition { to, at, .. } => Some(format!("{} {}", to.as_str(), (at.0 - START) / TEN)),
                Happening::Trouble { message, .. } => Some(message.clone()),
                _ => None,
            })
            .collect()
    }

    fn awaits(&self, index: i64) -> bool {
        self.alerts.awaits(self.set, "loan", "", &Segment::default(), "10m", Timestamp(START + index * TEN))
    }
}

#[test]
fn a_performance_rule_looks_once_when_its_labels_are_there() {
    let set = set(ACCURACY);
    let mut labels = Labels { set: &set, alerts: Alerts::new() };
    labels.close(1, 100);
    assert!(labels.awaits(1));
    assert!(labels.tick(1, 0.5, 0.79, false).is_empty());
    assert_eq!(labels.tick(1, 0.8, 0.8, false), ["firing 1"]);
    assert!(!labels.awaits(1));
    // Restated with more labels: judged already.
    assert!(labels.tick(1, 0.9, 0.95, true).is_empty());
    labels.close(2, 100);
    assert_eq!(labels.tick(2, 0.89, 1.0, false), ["resolved 2"]);
}

#[test]
fn a_horizon_without_enough_labels_decides_nothing() {
    let set = set(ACCURACY);
    let mut labels = Labels { set: &set, alerts: Alerts::new() };
    labels.close(1, 100);
    labels.tick(1, 0.8, 0.9, false);
    labels.close(2, 100);
    assert!(labels.tick(2, 0.9, 0.5, true).is_empty());
    assert!(!labels.awaits(2));
    assert_eq!(labels.alerts.views(&set)[0].state, "firing");
}

#[test]
fn windows_are_looked_at_in_order() {
    let set = set(ACCURACY);
    let mut labels = Labels { set: &set, alerts: Alerts::new() };
    labels.close(1, 100);
    labels.close(2, 0);
    labels.close(3, 100);
    // The third has its labels before the first; the second has no predictions and keeps nobody waiting.
    assert!(labels.tick(3, 0.9, 1.0, false).is_empty());
    assert!(labels.awaits(1) && labels.awaits(3));
    assert_eq!(labels.tick(1, 0.8, 0.9, false), ["firing 1"]);
    assert_eq!(labels.tick(3, 0.9, 1.0, false), ["resolved 3"]);
    // A window that closed before the rule was there is looked at too.
    assert!(labels.awaits(4));
    assert_eq!(labels.tick(4, 0.8, 0.9, false), ["firing 4"]);
}

#[test]
fn a_missing_reference_is_trouble_and_no_end() {
    let set = set(&ACCURACY.replace("reference.accuracy - accuracy", "reference.f1 - accuracy"));
    let mut labels = Labels { set: &set, alerts: Alerts::new() };
    assert_eq!(labels.tick(1, 0.8, 0.9, false), ["value 'reference.f1 - accuracy': there is no key 'f1'"]);
}

fn silence(last: Option<i64>, now: i64) -> [IngestSilence<'static>; 1] {
    [IngestSilence { model: "loan", last_record: last.map(|last| Timestamp(START + last * MINUTE)), now: Timestamp(START + now * MINUTE) }]
}

#[test]
fn silence_fires_and_records_end_it() {
    let (set, mut alerts) = (
        set("kind: absence, fire: { critical: { above: 15m } }, annotations: { summary: \"silent for {{ value | duration }}\" }"),
        Alerts::new(),
    );
    assert!(alerts.tick(&set, &silence(Some(0), 1)).is_empty());
    assert!(alerts.tick(&set, &silence(Some(0), 15)).is_empty());
    let happened = alerts.tick(&set, &silence(Some(0), 16));
    assert_eq!(told(&happened), ["inactive>firing", "hook firing 0"]);
    assert_eq!(reasons(&happened), ["fire critical: value 16m above 15m for 1 window"]);
    let Happening::Notice(notice) = &happened[1] else { panic!() };
    assert_eq!(notice.alert.annotations["summary"], "silent for 16m");
    assert!(alerts.tick(&set, &silence(Some(0), 60)).is_empty());
    // The same silence looked at at another time is the same episode.
    let again = Alerts::new().tick(&set, &silence(Some(0), 59));
    let Happening::Notice(later) = &again[1] else { panic!() };
    assert_eq!(later.episode, notice.episode);
    // A restart: the process has seen no record yet, which is no end of the silence.
    let mut restarted: Alerts = serde_json::from_str(&serde_json::to_string(&alerts).unwrap()).unwrap();
    assert!(restarted.tick(&set, &silence(None, 61)).is_empty());
    assert_eq!(told(&restarted.tick(&set, &silence(Some(62), 63))), ["firing>resolved", "hook resolved 1"]);
}

#[test]
fn silence_goes_on_over_a_restart_without_the_time_that_nobody_listened() {
    let set = set("kind: absence, fire: { critical: { above: 15m } }");
    let restarted = |alerts: &Alerts| -> Alerts { serde_json::from_str(&serde_json::to_string(alerts).unwrap()).unwrap() };
    let mut alerts = Alerts::new();
    assert!(alerts.tick(&set, &silence(Some(0), 14)).is_empty());
    // Killed after 14 minutes, back after two hours: whatever came meanwhile is only about to be read.
    let mut alerts = restarted(&alerts);
    assert!(alerts.tick(&set, &silence(None, 120)).is_empty());
    assert_eq!(told(&alerts.tick(&set, &silence(None, 122)))[0], "inactive>firing");
    // A record ends it, and with it what was stored.
    assert_eq!(told(&alerts.tick(&set, &silence(Some(122), 123)))[0], "firing>resolved");
    let mut alerts = restarted(&alerts);
    assert!(alerts.tick(&set, &silence(None, 130)).is_empty());
    assert!(alerts.tick(&set, &silence(None, 143)).is_empty());
}

#[test]
fn what_nobody_listened_to_is_no_silence() {
    let (set, mut alerts) = (set("kind: absence, fire: { critical: { above: 15m } }"), Alerts::new());
    let hour = Span(60 * MINUTE);
    assert!(alerts.tick(&set, &silence(Some(0), 10)).is_empty());
    // Stopped for an hour, twice: ten minutes of silence, and one more each.
    alerts.sleep(&silence(Some(0), 70)[0], hour);
    assert!(alerts.tick(&set, &silence(Some(0), 71)).is_empty());
    alerts.sleep(&silence(Some(0), 131)[0], hour);
    assert!(alerts.tick(&set, &silence(Some(0), 135)).is_empty());
    assert_eq!(told(&alerts.tick(&set, &silence(Some(0), 136)))[0], "inactive>firing");
    // A record was read before anybody looked at the clock: its silence is its own.
    alerts.sleep(&silence(Some(200), 201)[0], hour);
    assert_eq!(told(&alerts.tick(&set, &silence(Some(200), 202)))[0], "firing>resolved");
    assert!(alerts.tick(&set, &silence(Some(200), 215)).is_empty());
    assert_eq!(told(&alerts.tick(&set, &silence(Some(200), 216)))[0], "resolved>firing");
    // Less is known to be silence after a change of hands: no end of it.
    alerts.sleep(&silence(Some(200), 220)[0], Span(10 * MINUTE));
    assert!(alerts.tick(&set, &silence(Some(200), 220)).is_empty());
    // Of a model that has never sent anything nobody knows more.
    let mut alerts = Alerts::new();
    assert!(alerts.tick(&set, &silence(None, 0)).is_empty());
    alerts.sleep(&silence(None, 60)[0], hour);
    assert!(alerts.tick(&set, &silence(None, 75)).is_empty());
    assert_eq!(told(&alerts.tick(&set, &silence(None, 76)))[0], "inactive>firing");
}

#[test]
fn a_model_that_never_sends_is_silent_too() {
    let (set, mut alerts) = (set("kind: absence, fire: { critical: { above: 15m } }"), Alerts::new());
    assert!(alerts.tick(&set, &silence(None, 0)).is_empty());
    assert!(alerts.tick(&set, &silence(None, 15)).is_empty());
    assert_eq!(told(&alerts.tick(&set, &silence(None, 16)))[0], "inactive>firing");
}

#[test]
fn failing_templates_suppress_nothing() {
    let psi = PSI.replace("for: 2 windows", "for: 1 windows").replace("{{ severity }}", "{{ nobody }}");
    let (set, mut alerts) = (set(&format!("{psi}, labels: {{ tier: \"{{{{ nothing }}}}\" }}")), Alerts::new());
    let happened = run(&set, &mut alerts, 1, &[0.5]);
    let kinds = told(&happened);
    assert!(kinds.contains(&"age inactive>firing".to_owned()) && kinds.contains(&"hook firing 0".to_owned()), "{kinds:?}");
    let Some(Happening::Notice(notice)) = happened.iter().find(|happening| matches!(happening, Happening::Notice(_))) else { panic!() };
    assert!(notice.alert.annotations["summary"].starts_with("<error expanding template: "));
    assert!(notice.alert.labels["tier"].starts_with("<error expanding template: "));
    assert!(kinds.iter().any(|kind| kind.starts_with("trouble ")));
}

#[test]
fn a_rule_that_is_gone_takes_its_alerts_along() {
    let (set, mut alerts) = (set(&PSI.replace("for: 2 windows", "for: 1 windows")), Alerts::new());
    run(&set, &mut alerts, 1, &[0.5]);
    assert!(alerts.retire(&set, Timestamp(START)).is_empty());
    let text = "groups: []\nroute: { receiver: hook }\nreceivers: [ { name: hook, webhook_configs: [ { url: \"http://127.0.0.1/x\" } ] } ]";
    let happened = alerts.retire(&rules(text), Timestamp(START + TEN));
    assert_eq!(told(&happened), ["age firing>resolved", "hook resolved 1"]);
    assert!(alerts.views(&set).is_empty());
}

#[test]
fn statuses_and_views() {
    let (set, mut alerts) = (set(PSI), Alerts::new());
    assert_eq!((alerts.statuses(&set)[0].state.as_str(), alerts.statuses(&set)[0].health.as_str()), ("inactive", "unknown"));
    run(&set, &mut alerts, 1, &[0.3, 0.3]);
    let status = &alerts.statuses(&set)[0];
    assert_eq!((status.state.as_str(), status.health.as_str(), status.query.as_str()), ("firing", "ok", "psi"));
    assert_eq!(status.alerts.len(), 1);
    assert_eq!(status.alerts[0].history, [Some(0.3), Some(0.3)]);
    run(&set, &mut alerts, 3, &[0.0, 0.0]);
    assert_eq!(alerts.views(&set)[0].state, "resolved");
    assert!(alerts.statuses(&set)[0].alerts.is_empty());
    // Shown for a while, then no more.
    run(&set, &mut alerts, 5, &[0.0, 0.0]);
    assert!(alerts.views(&set).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A run cut anywhere by a restart gives the same happenings as a run without, and a run twice gives the same bytes.
    #[test]
    fn a_restart_changes_nothing(
        values in prop::collection::vec((0.0f64..0.5, 0.0f64..0.5, 0u8..8), 1..30),
        cut in 0usize..30,
        binary in any::<bool>(),
    ) {
        let rest = format!("{PSI}, cooldown: 30m, limit: 1, on_firing: [ {{ action: retrain, after: 10m, with: {{ why: x }} }} ]");
        let set = set_with(&rest, ", budget: { max: 2, per: 2h, min_gap: 30m }");
        let step = |alerts: &mut Alerts, index: usize, (age, job, kind): (f64, f64, u8)| {
            let window = window("10m", TEN, TEN, index as i64);
            let mut measurements = vec![psi("age", age, &window), psi("job", job, &window)];
            match kind {
                0 => { measurements.pop(); }
                1 => measurements[0].status = Status::Insufficient,
                2 => measurements[1].p_adjusted = None,
                _ => {}
            }
            alerts.judge(&set, &closed(&window, &measurements))
        };
        let mut straight = Alerts::new();
        let mut broken = Alerts::new();
        for (index, value) in values.iter().enumerate() {
            if index == cut {
                broken = if binary {
                    postcard::from_bytes(&postcard::to_stdvec(&broken).unwrap()).unwrap()
                } else {
                    serde_json::from_slice(&serde_json::to_vec(&broken).unwrap()).unwrap()
                };
            }
            prop_assert_eq!(step(&mut straight, index, *value), step(&mut broken, index, *value));
        }
        prop_assert_eq!(&straight, &broken);
        prop_assert_eq!(serde_json::to_string(&straight).unwrap(), serde_json::to_string(&broken).unwrap());
    }

    /// Who is told of a beginning is told of its end at most once, and never of an end alone.
    #[test]
    fn messages_of_an_episode_are_numbered_and_end_once(values in prop::collection::vec(0.0f64..0.4, 1..60)) {
        let (set, mut alerts) = (set(&PSI.replace("for: 2 windows", "for: 1 windows")), Alerts::new());
        let mut seen: BTreeMap<(String, String), Vec<(u32, NoticeKind)>> = BTreeMap::new();
        for happening in run(&set, &mut alerts, 1, &values) {
            if let Happening::Notice(notice) = happening {
                seen.entry((notice.episode, notice.receiver)).or_default().push((notice.sequence, notice.kind));
            }
        }
        for messages in seen.values() {
            prop_assert_eq!(messages[0].1, NoticeKind::Firing);
            for (index, (sequence, kind)) in messages.iter().enumerate() {
                prop_assert_eq!(*sequence as usize, index);
                prop_assert!(*kind != NoticeKind::Firing || index == 0);
                prop_assert!(*kind != NoticeKind::Resolved || index + 1 == messages.len());
            }
        }
    }
}
