//! Alerts and rules in the shape of Prometheus' API, so that what reads that reads this.
//!
//! `state` has Prometheus' words only (`pending`, `firing`, `inactive`); ours stands beside it as `phase`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::status::TextTime;
use crate::event::explanation::{Finding, Shown};
use crate::rule::message::AlertView;

/// One alert of `/api/v1/alerts`: Prometheus' fields, then ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    state: &'static str,
    active_at: Option<TextTime>,
    value: String,
    phase: &'a str,
    #[serde(rename = "alert")]
    name: &'a str,
    group: &'a str,
    severity: Option<&'a str>,
    episode: Option<&'a str>,
    threshold: Option<f64>,
    n: u64,
    starts_at: Option<TextTime>,
    ends_at: Option<TextTime>,
    reason: &'a str,
    window: Option<Value>,
    history: &'a [Option<f64>],
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Shown<'a>>,
}

/// Prometheus' word for one of our states.
fn prometheus_state(phase: &str) -> &'static str {
    match phase {
        "pending" => "pending",
        // It still fires until it has resolved.
        "firing" | "recovering" => "firing",
        _ => "inactive",
    }
}

impl<'a> From<&'a AlertView> for Alert<'a> {
    fn from(view: &'a AlertView) -> Self {
        Alert {
            labels: &view.labels,
            annotations: &view.annotations,
            state: prometheus_state(&view.state),
            active_at: view.active_at.map(TextTime),
            value: view.value.map_or_else(String::new, |value| format!("{value:e}")),
            phase: &view.state,
            name: &view.alert,
            group: &view.group,
            severity: view.severity.as_deref(),
            episode: view.episode.as_deref(),
            threshold: view.threshold,
            n: view.n,
            starts_at: view.starts_at.map(TextTime),
            ends_at: view.ends_at.map(TextTime),
            reason: &view.reason,
            window: view.window.as_ref().map(|w| json!({ "name": &*w.name, "start": w.start.rfc3339(), "end": w.end.rfc3339() })),
            history: &view.history,
            explanation: view.explanation.as_deref().map(Finding::shown),
        }
    }
}

/// The alerts of `/api/v1/alerts`: the pending and firing ones, or all instances.
pub fn alerts(views: &[AlertView], all: bool) -> Vec<Alert<'_>> {
    views.iter().map(Alert::from).filter(|alert| all || alert.state != "inactive").collect()
}

/// The groups of `/api/v1/rules`, each rule with its `type`, `state` and `alerts` where it does not have them itself.
pub fn groups(groups: &[Value], views: &[AlertView]) -> Vec<Value> {
    let mut groups = groups.to_vec();
    for group in &mut groups {
        let name = text(group, "name");
        let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) else { continue };
        for rule in rules {
            let alert = text(rule, "name");
            let Some(rule) = rule.as_object_mut() else { continue };
            let own: Vec<_> = views.iter().filter(|view| view.group == name && view.alert == alert).map(Alert::from).collect();
            let active = |state: &str| own.iter().any(|alert| alert.state == state);
            let state = ["firing", "pending"].into_iter().find(|state| active(state)).unwrap_or("inactive");
            rule.entry("type").or_insert_with(|| "alerting".into());
            rule.entry("health").or_insert_with(|| "ok".into());
            rule.entry("state").or_insert_with(|| state.into());
            rule.entry("alerts")
                .or_insert_with(|| own.iter().filter(|alert| alert.state != "inactive").map(|alert| json!(alert)).collect());
        }
    }
    groups
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn alert(state: &str) -> AlertView {
        AlertView {
            alert: "FeaturePSI".into(),
            group: "loan-drift".into(),
            state: state.into(),
            severity: Some("critical".into()),
            labels: [("alertname".into(), "FeaturePSI".into())].into(),
            annotations: BTreeMap::new(),
            value: Some(0.31),
            threshold: Some(0.25),
            n: 1000,
            episode: None,
            active_at: Some(Timestamp(0)),
            starts_at: None,
            ends_at: None,
            reason: "fire critical".into(),
            window: None,
            history: vec![None, Some(0.31)],
            explanation: None,
        }
    }

    #[test]
    fn an_alert_has_the_fields_of_prometheus() {
        let views = [alert("recovering"), alert("resolved"), alert("inactive")];
        let shown = serde_json::to_value(alerts(&views, false)).unwrap();
        assert_eq!(shown.as_array().unwrap().len(), 1);
        assert_eq!((&shown[0]["state"], &shown[0]["phase"]), (&json!("firing"), &json!("recovering")));
        assert_eq!((&shown[0]["value"], &shown[0]["activeAt"]), (&json!("3.1e-1"), &json!("1970-01-01T00:00:00.000Z")));
        assert_eq!(alerts(&views, true).len(), 3);
    }

    #[test]
    fn a_rule_gets_its_alerts_and_the_worst_state() {
        let given = [json!({ "name": "loan-drift", "rules": [{ "name": "FeaturePSI" }, { "name": "Other", "state": "unknown" }] })];
        let groups = groups(&given, &[alert("pending"), alert("firing"), alert("resolved")]);
        let rules = &groups[0]["rules"];
        assert_eq!((&rules[0]["state"], &rules[0]["type"]), (&json!("firing"), &json!("alerting")));
        assert_eq!(rules[0]["alerts"].as_array().unwrap().len(), 2);
        assert_eq!((&rules[1]["state"], &rules[1]["alerts"]), (&json!("unknown"), &json!([])));
    }
}
