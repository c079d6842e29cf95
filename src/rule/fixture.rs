//! What the tests of the rules share: a model, rule files, windows and measurements.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::event::{Measurement, Metric, Segment, Span, Status, Subject, Timestamp, WindowRef};

use super::compile::compile;
use super::fault::FileFault;
use super::scope::{DriftRecipe, ModelScope, Scope, WindowScope};
use super::set::RuleSet;
use super::spec::RuleFile;

pub(super) const START: i64 = 1_795_345_200_000;
pub(super) const MINUTE: i64 = 60_000;

/// YAML as JSON, as far as rule files need it: no anchors, no tags.
pub(super) fn yaml(text: &str) -> Value {
    let mut events = Parser::new_from_str(text)
        .map(|event| event.unwrap().0)
        .filter(|event| !matches!(event, Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd));
    let first = events.next().unwrap();
    node(first, &mut events)
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => match &*text {
            "null" | "~" | "" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => {
                text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from)).unwrap_or_else(|_| Value::from(text))
            }
        },
        Event::Scalar(text, ..) => Value::from(&*text),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return Value::Array(list),
                    event => list.push(node(event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => return Value::Object(map),
                    event => {
                        let key = node(event, events);
                        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                        let first = events.next().unwrap();
                        let value = node(first, events);
                        assert!(map.insert(key.clone(), value).is_none(), "duplicate key {key}");
                    }
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn file(text: &str) -> RuleFile {
    serde_json::from_value(yaml(text)).unwrap()
}

pub(super) fn scope() -> Scope {
    let window = |name: &str, size, slide| WindowScope { name: name.into(), size, slide };
    Scope {
        models: vec![ModelScope {
            name: "loan".into(),
            windows: vec![
                window("1h", Span::HOUR, Span(5 * MINUTE)),
                window("1d", Span::DAY, Span::HOUR),
                window("10m", Span(10 * MINUTE), Span(10 * MINUTE)),
            ],
            features: Some(["age", "job", "pay"].map(str::to_owned).into()),
            classes: vec!["repaid".into(), "default".into()],
            metrics: Metric::ALL.into_iter().filter(|metric| !matches!(metric, Metric::Mae | Metric::Rmse | Metric::R2)).collect(),
            segment_keys: vec!["region".into()],
            min_samples: 500,
            drift: DriftRecipe::default(),
        }],
    }
}

/// Compiles one file; panics on faults.
pub(super) fn rules(text: &str) -> RuleSet {
    compiled(text).unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())).0
}

pub(super) fn compiled(text: &str) -> Result<(RuleSet, Vec<FileFault>), Vec<FileFault>> {
    compile(&[("rules.yaml".into(), file(text))], &scope())
}

/// The faults of a file that must not compile, as `path: message; hint`.
pub(super) fn faults(text: &str) -> Vec<String> {
    compiled(text).map(|_| ()).unwrap_err().into_iter().filter(|found| !found.fault.warning).map(|found| found.fault.to_string()).collect()
}

/// The warnings of a file that compiles.
pub(super) fn warnings(text: &str) -> Vec<String> {
    compiled(text).unwrap().1.into_iter().map(|found| found.fault.to_string()).collect()
}

/// The window number `index` of a size and slide.
pub(super) fn window(name: &str, size: i64, slide: i64, index: i64) -> WindowRef {
    let end = START + index * slide;
    WindowRef { name: Arc::from(name), start: Timestamp(end - size), end: Timestamp(end) }
}

pub(super) fn measured(subject: Subject, metric: Metric, value: f64, p_adjusted: Option<f64>, window: &WindowRef) -> Measurement {
    Measurement {
        model: "loan".into(),
        version: "".into(),
        segment: Segment::default(),
        window: window.clone(),
        subject,
        metric,
        value: Some(value),
        p_value: p_adjusted,
        p_adjusted,
        n: 5000,
        n_reference: 50_000,
        status: Status::Ok,
        reason: None,
        recipe: "".into(),
        revision: 0,
    }
}

pub(super) fn psi(feature: &str, value: f64, window: &WindowRef) -> Measurement {
    measured(Subject::Feature(Arc::from(feature)), Metric::Psi, value, Some(0.001), window)
}

pub(super) fn no_reference() -> &'static BTreeMap<Metric, f64> {
    static NONE: BTreeMap<Metric, f64> = BTreeMap::new();
    &NONE
}
