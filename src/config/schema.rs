//! The JSON Schemas (draft 2020-12) of everything that users write or read, as `driftline schema KIND` prints them.
//!
//! Those of files come from the types that read them; those of events and results are written by hand beside this file,
//! because what is sent and what is printed has no single type.

use serde_json::Value;

use super::file::ConfigFile;
use super::read::schema_of;

/// The kinds of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// `driftline.yaml`.
    Config,
    /// Rule files.
    Rules,
    /// Baseline files.
    Baseline,
    /// Events in their default shape.
    Event,
    /// Lines of results.
    Results,
}

impl SchemaKind {
    /// Every kind in the order in which they are offered.
    pub const ALL: [SchemaKind; 5] = [SchemaKind::Config, SchemaKind::Rules, SchemaKind::Baseline, SchemaKind::Event, SchemaKind::Results];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SchemaKind::Config => "config",
            SchemaKind::Rules => "rules",
            SchemaKind::Baseline => "baseline",
            SchemaKind::Event => "event",
            SchemaKind::Results => "results",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<SchemaKind> {
        SchemaKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The schema of a kind.
#[must_use]
pub fn schema(kind: SchemaKind) -> Value {
    match kind {
        SchemaKind::Config => schema_of::<ConfigFile>(),
        SchemaKind::Rules => titled(schema_of::<crate::rule::spec::RuleFile>(), "driftline rules"),
        SchemaKind::Baseline => titled(schema_of::<crate::baseline::document::Document>(), "driftline baseline"),
        SchemaKind::Event => embedded(include_str!("schema/event.json")),
        SchemaKind::Results => embedded(include_str!("schema/results.json")),
    }
}

/// A schema under the name that editors show.
fn titled(mut schema: Value, title: &str) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".into(), title.into());
    }
    schema
}

/// A text of this program that a test has shown to be JSON.
fn embedded(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(kind: SchemaKind, value: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(&schema(kind)).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    #[test]
    fn every_schema_is_one() {
        for kind in SchemaKind::ALL {
            let schema = schema(kind);
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{kind:?}");
            assert!(schema["title"].is_string(), "{kind:?}");
            jsonschema::meta::validate(&schema).unwrap();
            assert_eq!(SchemaKind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn the_events_of_the_contract_are_valid_and_others_are_not() {
        for event in [
            json!({"event": "prediction", "model": "loan", "version": "3", "id": "a1", "ts": "2026-11-22T10:45:00.123Z",
                   "features": {"age": 39, "country": "DE", "income": null}, "prediction": "repaid", "score": 0.83,
                   "probabilities": {"repaid": 0.83, "default": 0.17}, "latency_ms": 12.5, "tags": {"region": "eu"}, "weight": 1.0}),
            json!({"event": "features", "model": "loan", "id": "a1", "ts": 1_795_344_300_000_i64, "features": {"age": 39}}),
            json!({"event": "label", "model": "loan", "id": "a1", "ts": "2026-11-22T10:45:00Z", "label": "repaid"}),
            json!({"model": "loan", "id": "a1", "prediction": 3, "extra": [1]}),
        ] {
            assert_eq!(faults(SchemaKind::Event, &event), Vec::<String>::new(), "{event}");
        }
        for event in [
            json!([]),
            json!({"event": "label", "model": "loan", "id": "a1"}),
            json!({"event": "prediction", "model": "loan"}),
            json!({"event": "prediction", "model": "loan", "score": 1.5}),
            json!({"event": "guess", "model": "loan", "prediction": 1}),
        ] {
            assert_ne!(faults(SchemaKind::Event, &event), Vec::<String>::new(), "{event}");
        }
    }

    #[test]
    fn the_results_of_the_contract_are_valid_and_others_are_not() {
        let window = json!({"name": "1h", "start": "2026-11-22T10:00:00.000Z", "end": "2026-11-22T11:00:00.000Z"});
        let measurement = json!({"type": "measurement", "model": "loan", "version": "3", "segment": {"region": "eu"}, "window": window,
            "subject": "feature:age", "metric": "psi", "value": 0.0021, "p_value": 0.41, "p_adjusted": 0.80, "n": 5120, "n_reference": 50000,
            "status": "ok", "recipe": "deciles, floor 1e-4", "revision": 0});
        let mut insufficient = measurement.clone();
        insufficient["value"] = Value::Null;
        insufficient["status"] = json!("insufficient");
        insufficient["reason"] = json!("below_min_samples");
        for line in [
            measurement.clone(),
            insufficient,
            json!({"type": "window", "model": "loan", "window": window, "n": 5120, "late": 3, "complete": true, "partitions": "6/6", "gaps": [],
                   "labels": {"matched": 4100, "coverage": 0.80}}),
            json!({"type": "alert", "alert": "FeaturePSI", "state": "firing", "labels": {"model": "loan"}, "value": 0.31,
                   "at": "2026-11-22T11:00:00.000Z", "episode": "01JD8Z0Q8V6XWQ3M4T5Y6Z7A8B", "reason": "fire critical: value 0.31 above 0.25 for 2 windows"}),
            json!({"type": "notification", "receiver": "mlops-mail", "episode": "01JD8Z0Q8V6XWQ3M4T5Y6Z7A8B", "kind": "firing"}),
            json!({"type": "action", "action": "retrain-loan", "episode": "01JD8Z0Q8V6XWQ3M4T5Y6Z7A8B", "outcome": "requested"}),
        ] {
            assert_eq!(faults(SchemaKind::Results, &line), Vec::<String>::new(), "{line}");
        }
        let mut wrong = measurement;
        wrong["status"] = json!("fine");
        assert_ne!(faults(SchemaKind::Results, &wrong), Vec::<String>::new());
        wrong["status"] = json!("ok");
        wrong["subject"] = json!("age");
        assert_ne!(faults(SchemaKind::Results, &wrong), Vec::<String>::new());
        assert_ne!(faults(SchemaKind::Results, &json!({"type": "verdict"})), Vec::<String>::new());
    }
}
