//! Rule files as users write them: what they compile to, and how each fault is told.

use super::*;
use crate::rule::datum::Bindings;
use crate::rule::fixture::{compiled, faults, file, rules, scope, warnings, yaml};
use crate::rule::set::Kind;

/// The complete example of the documentation.
const EXAMPLE: &str = r#"
groups:
  - name: loan-drift
    model: loan
    labels: { team: risk }
    rules:
      - alert: FeaturePSI
        each: [feature]
        source: { metric: psi, window: 1h }
        value: psi
        when: "p_adjusted < 0.01"                # evidence, beside the effect
        fire:
          warning:  { above: 0.10, for: 3 of 4 windows }
          critical: { above: 0.25, for: 2 windows }
        resolve: { below: 0.08, for: 2 windows }  # hysteresis
        min_samples: 1000
        cooldown: 6h
        annotations: { summary: "{{ labels.feature }} drifted: PSI {{ value | round(2) }} (n={{ window.n }})", runbook_url: "https://runbooks.example/psi" }
      - alert: DatasetDrift
        source: { window: 1h }
        value: "double(features.filter(f, f.drifted).size()) / double(features.size())"
        fire:    { critical: { above: 0.30, for: 2 windows } }
        resolve: { below: 0.15, for: 2 windows }
        on_firing: [ { action: retrain-loan, after: 0s, with: { reason: dataset_drift } } ]
      - alert: AccuracyDrop
        source: { metric: accuracy, window: 1d, label_coverage: 0.8 }
        value: "reference.accuracy - accuracy"
        fire:    { critical: { above: 0.05, for: 1 windows } }
        resolve: { below: 0.02, for: 1 windows }
        on_firing: [ { action: retrain-loan, with: { reason: accuracy_drop } } ]
      - alert: IngestSilent
        kind: absence
        fire: { critical: { above: 15m } }
route:
  receiver: mlops-mail
  group_by: [model, alertname]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 12h
  routes: [ { matchers: ['severity="critical"'], receiver: oncall, continue: true } ]
inhibit_rules: [ { source_matchers: ['alertname="DatasetDrift"'], target_matchers: ['alertname="FeaturePSI"'], equal: [model] } ]
receivers:
  - { name: mlops-mail, email_configs: [ { to: mlops@example.com, send_resolved: true } ] }
  - { name: oncall, webhook_configs: [ { url: "http://127.0.0.1:9099/hook", signing: { standard_webhooks: { secret_file: /run/secrets/whsec } } } ], alertmanager_configs: [ { urls: ["http://127.0.0.1:9093"] } ] }
actions:
  retrain-loan:
    preset: airflow3            # fills method, path, body, success; any field may be overridden; without preset a plain templated HTTP request
    url: "https://airflow.example/api/v2/dags/retrain_loan/dagRuns"
    body: { dag_run_id: "drift__{{ episode.id }}", logical_date: null, conf: { model: "{{ labels.model }}", reason: "{{ with.reason }}" } }
    budget: { max: 2, per: 7d, min_gap: 24h, in_flight: 1 }
    hold: { until: baseline_changed, max: 3d }     # no second retraining before the first has landed
"#;

/// A file with one rule whose body is `rest`, and its faults.
fn rule(rest: &str) -> String {
    format!(
        "groups: [ {{ name: g, model: loan, rules: [ {{ alert: A, {rest} }} ] }} ]\nroute: {{ receiver: r }}\nreceivers: [ {{ name: r }} ]\n"
    )
}

const FEATURE: &str = "each: [feature], source: { metric: psi, window: 10m }";

fn fault_of(rest: &str) -> String {
    faults(&rule(rest)).join("\n")
}

#[test]
fn the_complete_example_works() {
    let set = rules(EXAMPLE);
    let names: Vec<&str> = set.rules().iter().map(|rule| &*rule.alert).collect();
    assert_eq!(names, ["FeaturePSI", "DatasetDrift", "AccuracyDrop", "IngestSilent"]);
    assert_eq!(set.coverages("loan", "1d"), [0.8]);
    assert!(set.coverages("loan", "1h").is_empty());
    assert!(set.coverages("churn", "1d").is_empty());
    assert_eq!(set.rules()[3].kind, Kind::Absence);
    assert_eq!(set.rules()[3].tiers[0].condition.threshold(), Some(900.0));
    let labels = |severity: &str| BTreeMap::from([("severity".to_owned(), severity.to_owned())]);
    assert_eq!(set.receivers_of(&labels("critical")), ["oncall"]);
    assert_eq!(set.receivers_of(&labels("warning")), ["mlops-mail"]);
    assert_eq!(set.actions()["retrain-loan"].method, "POST");
}

#[test]
fn what_does_not_act_yet_is_said() {
    let found = warnings(EXAMPLE);
    for path in [
        "/route/group_by",
        "/route/group_wait",
        "/route/group_interval",
        "/route/repeat_interval",
        "/inhibit_rules",
        "/receivers/1/alertmanager_configs",
        "/actions/retrain-loan/budget/in_flight",
        "/actions/retrain-loan/hold",
    ] {
        assert!(found.iter().any(|text| text.starts_with(&format!("{path}: not acted on yet: "))), "{path} in {found:#?}");
    }
    assert!(
        found.iter().any(|text| text.contains("/fire/critical/for: windows overlap so much that 2 windows means little")),
        "{found:#?}"
    );
    assert!(!found.iter().any(|text| text.contains("budget/max")));
}

#[test]
fn the_shipped_files_work() {
    let files = [
        ("rules/drift.yaml".to_owned(), file(include_str!("../../../rules/drift.yaml"))),
        ("rules/quality.yaml".to_owned(), file(include_str!("../../../rules/quality.yaml"))),
        ("rules/input.yaml".to_owned(), file(include_str!("../../../rules/input.yaml"))),
    ];
    let (set, warnings) = compile(&files, &scope()).unwrap();
    assert_eq!(set.rules().len(), 9);
    // Overlap is explained in the file's windows; nothing else is to be said.
    for warning in &warnings {
        assert!(warning.fault.message.starts_with("windows overlap"), "{warning}");
    }
    for (name, file) in files {
        assert!(compile(&[(name.clone(), file)], &scope()).is_ok(), "{name} alone");
    }
}

#[test]
fn the_schema_admits_the_files_and_refuses_unknown_keys() {
    let validator = jsonschema::validator_for(&crate::rule::spec::schema()).unwrap();
    for text in [EXAMPLE, include_str!("../../../rules/drift.yaml"), include_str!("../../../rules/quality.yaml")] {
        let found: Vec<String> = validator.iter_errors(&yaml(text)).map(|error| error.to_string()).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
    assert!(!validator.is_valid(&yaml("groups: [ { name: g, rules: [], colour: red } ]")));
    assert!(serde_json::from_value::<RuleFile>(yaml("rule_files: []")).is_err());
    assert!(
        serde_json::from_value::<RuleFile>(yaml(
            "groups: [ { name: g, rules: [ { alert: A, fire: { severity: critical, above: 1 } } ] } ]"
        ))
        .is_err()
    );
}

#[test]
fn all_faults_are_reported_at_once_each_at_its_place() {
    let text = r#"
groups:
  - name: g
    model: laon
    rules: []
  - name: h
    model: loan
    labels: { 9x: a, model: b }
    rules:
      - { alert: A, each: [feature], source: { metric: psy, window: 1hh }, value: "psi >", fire: { warning: { above: 1 } } }
      - { alert: A, each: [feature], source: { metric: psi, window: 1h }, when: "p_adj < 0.01", fire: { critical: { above: 0.1, for: 5 of 4 windows } }, on_firing: [ { action: retrain-lone } ] }
      - { alert: B, source: { window: 1h }, value: "double(feature.size())", fire: {}, annotations: { summary: "{{ value" } }
  - name: h
    model: loan
    rules: []
route: { receiver: mial, routes: [ { receiver: nobody, matchers: ["severity"] } ] }
receivers:
  - { name: mail, email_configs: [ { to: nobody } ] }
  - { name: mail, webhook_configs: [ { url: "ftp://x" } ] }
actions:
  retrain-loan: { url: "http://x/{{ labels.model }}", success: "respons.status == 200", timeout: soon, body: { a: "{{" }, auth: {}, budget: { max: 1 } }
"#;
    let found = faults(text);
    for expected in [
        "/receivers/0/email_configs/0/to: 'nobody' is not a mail address",
        "/receivers/1/name: there is another receiver 'mail'",
        "/receivers/1/webhook_configs/0/url: the URL is not an absolute http or https URL",
        "/actions/retrain-loan/url: templates are not expanded in a URL",
        "/actions/retrain-loan/success: ",
        "/actions/retrain-loan/timeout: 'soon' is not a duration",
        "/actions/retrain-loan/body/a: the template does not parse",
        "/actions/retrain-loan/auth: needs exactly one of",
        "/actions/retrain-loan/budget: max needs per",
        "/groups/0/model: there is no model 'laon'; did you mean 'loan'?",
        "/groups/1/labels/9x: '9x' is not a label name",
        "/groups/1/labels/model: the label 'model' is set by the alert itself",
        "/groups/1/rules/1/alert: there is another alert 'A' in this group",
        "/groups/1/rules/0/source/metric: there is no metric 'psy'; did you mean 'psi'?",
        "/groups/1/rules/0/source/window: the model 'loan' has no window '1hh'; did you mean '1h'?",
        "/groups/1/rules/0/value: 'psi >' is not a valid expression",
        "/groups/1/rules/1/when: 'p_adj' is not known here; did you mean 'p_adjusted'?",
        "/groups/1/rules/1/fire/critical/for: '5 of 4 windows' asks for more windows than it looks at",
        "/groups/1/rules/1/on_firing/0/action: there is no action 'retrain-lone'; did you mean 'retrain-loan'?",
        "/groups/1/rules/2/value: 'feature' is not known here; did you mean 'features'?",
        "/groups/1/rules/2/fire: fire needs a tier",
        "/groups/1/rules/2/annotations/summary: the template does not parse",
        "/groups/2/name: there is another group 'h' in rules.yaml",
        "/route/receiver: there is no receiver 'mial'; did you mean 'mail'?",
        "/route/routes/0/receiver: there is no receiver 'nobody'",
        "/route/routes/0/matchers/0: 'severity' is not a matcher",
    ] {
        assert!(found.iter().any(|text| text.starts_with(expected)), "missing {expected}\n{found:#?}");
    }
}

#[test]
fn the_end_must_lie_on_the_other_side_of_the_beginning() {
    for (fire, resolve, message) in [
        ("above: 0.25", "below: 0.3", "wrong side"),
        ("above: 0.25", "above: 0.1", "wrong side"),
        ("below: 0.8", "above: 0.7", "wrong side"),
        ("below: 0.8", "below: 0.9", "wrong side"),
    ] {
        let found = fault_of(&format!("{FEATURE}, fire: {{ critical: {{ {fire} }} }}, resolve: {{ {resolve} }}"));
        assert!(found.contains(message), "{fire}, {resolve}: {found}");
    }
    for (fire, resolve) in
        [("above: 0.25", "below: 0.25"), ("above: 0.25", "below: 0.1"), ("below: 0.8", "above: 0.9"), ("above: 0.25", "expr: value < 9.0")]
    {
        rules(&rule(&format!("{FEATURE}, fire: {{ critical: {{ {fire} }} }}, resolve: {{ {resolve} }}")));
    }
    let found =
        fault_of(&format!("{FEATURE}, fire: {{ warning: {{ above: 0.1 }}, critical: {{ above: 0.3 }} }}, resolve: {{ below: 0.2 }}"));
    assert!(found.contains("wrong side of warning above 0.1"), "{found}");
}

#[test]
fn tiers_are_ordered() {
    for tiers in [
        "warning: { above: 0.3 }, critical: { above: 0.2 }",
        "warning: { above: 0.3 }, critical: { above: 0.3 }",
        "warning: { below: 0.3 }, critical: { below: 0.4 }",
        "warning: { above: 0.3 }, critical: { below: 0.1 }",
        "critical: { above: 0.3, below: 0.1 }",
        "critical: { for: 2 windows }",
        "critical: { above: 15m }",
    ] {
        assert!(!fault_of(&format!("{FEATURE}, fire: {{ {tiers} }}")).is_empty(), "{tiers} was accepted");
    }
}

#[test]
fn expressions_are_tried() {
    for (rest, message) in [
        ("value: \"psi > 0.1\"", "gives true or false, not a number"),
        ("when: \"psi\"", "gives a float, not true or false"),
        ("value: \"psi + 'a'\"", "there is no 'add' of a float and a string"),
        ("value: \"psi / double(window.size)\"", "there is no key 'size'"),
        ("value: \"sizee(psi)\"", "'sizee' is not known here"),
        ("value: \"accuracy\"", "'accuracy' needs labels"),
        ("value: \"features.size()\"", "'features' is not known here"),
        ("value: \"value\"", "'value' is not known here"),
        ("value: \"math.abs(psi_p_adjustet)\"", "'psi_p_adjustet' is not known here"),
    ] {
        let found = fault_of(&format!("{FEATURE}, {rest}, fire: {{ critical: {{ above: 1 }} }}"));
        assert!(found.contains(message), "{rest}: {found}");
    }
    for rest in [
        "value: \"math.abs(psi - ks)\"",
        "when: \"ks_p_adjusted < 0.01 && value > 0.1 && n > 10 && window.n > 10 && feature.name != 'id'\"",
        "when: \"labels.feature != 'id' && window.complete\"",
    ] {
        rules(&rule(&format!("{FEATURE}, {rest}, fire: {{ critical: {{ above: 1 }} }}")));
    }
}

#[test]
fn rules_of_the_model() {
    let found = fault_of("source: { metric: psi, window: 10m }, fire: { critical: { above: 1 } }");
    assert!(found.contains("write each: [feature], or a source.subject"), "{found}");
    rules(&rule("source: { metric: psi, window: 10m, subject: score }, when: \"p_adjusted < 0.01\", fire: { critical: { above: 1 } }"));
    rules(&rule("source: { metric: psi, window: 10m, subject: \"proba:repaid\" }, fire: { critical: { above: 1 } }"));
    assert!(
        fault_of("source: { metric: psi, window: 10m, subject: \"proba:repayed\" }, fire: { critical: { above: 1 } }")
            .contains("did you mean 'repaid'")
    );
    assert!(
        fault_of("each: [feature], source: { metric: accuracy, window: 10m }, fire: { critical: { below: 1 } }")
            .contains("not of each feature")
    );
    assert!(
        fault_of("source: { metric: accuracy, window: 10m, label_coverage: 1.5 }, fire: { critical: { below: 1 } }")
            .contains("a share above 0")
    );
    assert!(
        fault_of("source: { metric: mae, window: 10m }, fire: { critical: { above: 1 } }").contains("'mae' is not measured for the model")
    );
    assert!(
        fault_of("source: { metric: psi, window: 10m, reference: yesterday }, each: [feature], fire: { critical: { above: 1 } }")
            .contains("not a reference")
    );
    assert!(fault_of("source: { window: 10m }, fire: { critical: { above: 1 } }").contains("no value"));
    assert!(fault_of("value: accuracy, fire: { critical: { below: 1 } }").contains("names no window"));
    // A metric of performance in the value alone makes a performance rule too.
    let set = rules(&rule("source: { window: 10m }, value: \"reference.f1 - f1\", fire: { critical: { above: 0.1 } }"));
    assert_eq!(set.coverages("loan", "10m"), [0.8]);
}

#[test]
fn rules_of_absence() {
    for rest in [
        "value: psi, fire: { critical: { above: 15m } }",
        "each: [feature], fire: { critical: { above: 15m } }",
        "source: { window: 1h }, fire: { critical: { above: 15m } }",
        "fire: { critical: { below: 15m } }",
        "fire: { critical: { expr: \"true\" } }",
        "fire: { critical: { above: 15m, for: 2 windows } }",
        "fire: { critical: { above: soon } }",
    ] {
        assert!(!fault_of(&format!("kind: absence, {rest}")).is_empty(), "{rest} was accepted");
    }
    rules(&rule("kind: absence, fire: { warning: { above: 600 }, critical: { above: 15m, for: 5m } }, resolve: { below: 1m }"));
}

#[test]
fn warnings_are_no_faults() {
    let text = format!(
        "{}\nactions: {{ }}",
        rule(&format!(
            "{FEATURE}, fire: {{ critical: {{ above: 1, for: 5m }} }}, min_samples: 100, annotations: {{ s: '{{{{ labels.region }}}} {{{{ valeu }}}}' }}"
        ))
    );
    let found = warnings(&text).join("\n");
    for expected in [
        "/groups/0/rules/0/fire/critical/for: 5m is shorter than the 10m between two windows",
        "/groups/0/rules/0/min_samples: 100 is below the 500",
        "/groups/0/rules/0/annotations/s: the template uses 'valeu', which is not known here; did you mean 'value'?",
        "/groups/0/rules/0/annotations/s: the template uses the label 'region'",
    ] {
        assert!(found.contains(expected), "missing {expected}\n{found}");
    }
    let routed = "groups: [ { name: g, model: loan, rules: [ { alert: A, each: [feature], source: { metric: psi, window: 10m }, fire: { critical: { above: 1 } } } ] } ]\nroute: { receiver: r, routes: [ { matchers: ['feature=\"agee\"', 'severity=\"high\"', 'taem=\"x\"', 'alertname=~\"B.*\"'] } ] }\nreceivers: [ { name: r } ]\n";
    let found = warnings(routed).join("\n");
    for expected in ["there is no feature 'agee'; did you mean 'age'?", "there is no severity 'high'", "no alert has a label 'taem'"] {
        assert!(found.contains(expected), "missing {expected}\n{found}");
    }
    let lonely = "groups: [ { name: g, model: loan, rules: [ { alert: A, each: [feature], source: { metric: psi, window: 10m }, fire: { critical: { above: 1 } } } ] } ]";
    assert!(warnings(lonely).join("\n").contains("there is no route"));
}

#[test]
fn a_group_without_a_model_is_about_every_model() {
    let mut scope = scope();
    let mut churn = scope.models[0].clone();
    churn.name = "churn".into();
    churn.windows.retain(|window| window.name == "10m");
    scope.models.push(churn);
    let of = |window: &str| {
        let text = format!(
            "groups: [ {{ name: g, rules: [ {{ alert: A, each: [feature], source: {{ metric: psi, window: {window} }}, fire: {{ critical: {{ above: 1 }} }} }} ] }} ]"
        );
        compile(&[("x".into(), file(&text))], &scope)
    };
    let set = of("10m").unwrap().0;
    assert_eq!(set.rules().iter().map(|rule| &*rule.model).collect::<Vec<_>>(), ["loan", "churn"]);
    assert!(of("1h").unwrap_err().iter().any(|found| found.fault.message.contains("the model 'churn' has no window '1h'")));
}

#[test]
fn several_files_make_one_set() {
    let route = file("route: { receiver: r }\nreceivers: [ { name: r } ]\nactions: { a: { url: \"http://x\" } }");
    let group = file(
        "groups: [ { name: g, model: loan, rules: [ { alert: A, each: [feature], source: { metric: psi, window: 10m }, fire: { critical: { above: 1 } }, on_firing: [ { action: a } ] } ] } ]",
    );
    let (set, warnings) = compile(&[("groups".into(), group.clone()), ("route".into(), route.clone())], &scope()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(set.rules().len(), 1);
    let twice = compile(&[("a".into(), route.clone()), ("b".into(), route)], &scope()).unwrap_err();
    assert!(twice.iter().all(|found| found.file == "b"));
    assert_eq!(twice.len(), 3, "{twice:?}");
    let twice = compile(&[("a".into(), group.clone()), ("b".into(), group)], &scope()).unwrap_err();
    assert!(twice.iter().any(|found| found.file == "b" && found.fault.message == "there is another group 'g' in a"));
}

#[test]
fn a_rule_set_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<RuleSet>();
    assert!(compiled("{}").is_ok());
}

#[test]
fn a_budget_is_a_threshold_where_the_model_has_one() {
    let under_budget = |rest: &str| {
        let mut scope = scope();
        scope.models[0].drift.level = Some(1e-6);
        compile(&[("rules.yaml".into(), file(&rule(rest)))], &scope).map(|(set, _)| set).map_err(|faults| faults[0].fault.to_string())
    };
    let set = under_budget(&format!("{FEATURE}, fire: {{ critical: {{ above: budget }} }}, resolve: {{ below: budget, for: 2 windows }}"))
        .unwrap();
    let rule = &set.rules()[0];
    let tier = &rule.tiers[0].condition;
    let with_p = |p: f64| {
        let mut bindings = Bindings::default();
        bindings.set_number("p_value", p);
        bindings
    };
    assert_eq!(tier.describe(rule.unit()), "above budget (p-value at most 1.0e-6)");
    assert_eq!([1e-6, 1.1e-6].map(|p| tier.holds(0.3, &with_p(p))), [Ok(true), Ok(false)]);
    assert_eq!([1e-6, 1.1e-6].map(|p| rule.resolve.as_ref().unwrap().holds(0.3, &with_p(p))), [Ok(false), Ok(true)]);
    assert!(tier.holds(0.3, &Bindings::default()).is_err(), "a metric without evidence in this window");

    let found = fault_of(&format!("{FEATURE}, fire: {{ critical: {{ above: budget }} }}"));
    assert!(found.contains("/fire/critical/above: the model has no budget: give it false_alarms"), "{found}");
    for (rest, expected) in [
        ("source: { metric: accuracy, window: 10m }, fire: { critical: { below: budget } }", "the metric has no p-value"),
        ("source: { window: 10m }, value: \"double(features_drifted.size())\", fire: { critical: { above: budget } }", "name it in source"),
        (&format!("{FEATURE}, fire: {{ critical: {{ above: budget }} }}, resolve: {{ above: budget }}"), "resolve is on the wrong side"),
    ] {
        let found = under_budget(rest).unwrap_err();
        assert!(found.contains(expected), "{rest}: {found}");
    }
}
