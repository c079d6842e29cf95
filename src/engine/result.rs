//! Results as lines of JSON, in the one order that all of them have.
//!
//! Lines are ordered by window end, model, version, window name, segment, subject, metric, type and revision, so that a
//! replay gives the same bytes whatever the order in which windows happened to close. What a line does not have counts as empty:
//! the explanation of a subject has no metric, and stands before its measurements.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::event::result_line::{explanation_line, measurement_line, window_line};
use crate::event::{Timestamp, WindowRef};
use crate::rule::Happening;

use super::evaluator::Emission;

/// Where a line belongs among all lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    end: Timestamp,
    model: String,
    version: String,
    window: String,
    segment: String,
    subject: String,
    metric: String,
    kind: &'static str,
    revision: u32,
    /// Lines alike in all of this keep the order in which they came about.
    sequence: u64,
}

/// What kind of line explanations are. They are told to those who ask for them: the lines of results are of the kinds they always were.
pub const EXPLANATION: &str = "explanation";

impl LineKey {
    /// The `type` of the line.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}

/// One line of results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResultLine {
    /// Its place.
    pub key: LineKey,
    /// Its JSON, without a line feed.
    pub json: String,
}

/// The lines of one emission; `sequence` numbers them on.
#[must_use]
pub fn lines(emission: &Emission, sequence: &mut u64) -> Vec<ResultLine> {
    let mut lines = Vec::new();
    let mut push = |mut key: LineKey, json: String| {
        key.sequence = *sequence;
        *sequence += 1;
        lines.push(ResultLine { key, json });
    };
    match emission {
        Emission::Window(closed) => {
            let summary = &closed.summary;
            push(key("window", &summary.model, "", &summary.window, summary.revision), window_line(summary));
            for measurement in &closed.measurements {
                let mut key = key("measurement", &measurement.model, &measurement.version, &measurement.window, measurement.revision);
                key.segment = measurement.segment.to_string();
                key.subject = measurement.subject.to_string();
                measurement.metric.as_str().clone_into(&mut key.metric);
                push(key, measurement_line(measurement));
            }
            for explanation in &closed.explanations {
                let mut key = key(EXPLANATION, &explanation.model, &explanation.version, &explanation.window, explanation.revision);
                key.segment = explanation.segment.to_string();
                key.subject = explanation.subject.to_string();
                push(key, explanation_line(explanation));
            }
        }
        Emission::Happening { model, window, version, happening } => {
            let Some(json) = happening_json(happening) else { return lines };
            let (kind, labels) = match &**happening {
                Happening::Transition { alert, .. } => ("alert", Some(&alert.labels)),
                Happening::Notice(notice) => ("notification", Some(&notice.alert.labels)),
                Happening::NoticeRefused { .. } => ("notification", None),
                Happening::Action(call) => ("action", Some(&call.alert.labels)),
                Happening::ActionRefused { .. } => ("action", None),
                Happening::Trouble { .. } => return lines,
            };
            let at = happening.at().unwrap_or_default();
            let unnamed = WindowRef { name: "".into(), start: at, end: at };
            let mut key = key(kind, model, version, window.as_ref().unwrap_or(&unnamed), 0);
            let label = |name: &str| labels.and_then(|labels| labels.get(name)).cloned();
            key.segment = label("segment").unwrap_or_default();
            key.subject = label("feature").map(|feature| format!("feature:{feature}")).unwrap_or_default();
            push(key, json);
        }
    }
    lines
}

fn key(kind: &'static str, model: &str, version: &str, window: &WindowRef, revision: u32) -> LineKey {
    LineKey {
        end: window.end,
        model: model.to_owned(),
        version: version.to_owned(),
        window: window.name.to_string(),
        segment: String::new(),
        subject: String::new(),
        metric: String::new(),
        kind,
        revision,
        sequence: 0,
    }
}

/// The JSON line of a happening; rule trouble has none, it is in the log.
#[must_use]
pub fn happening_json(happening: &Happening) -> Option<String> {
    let mut line = String::from("{");
    let mut put = |name: &str, value: Value| {
        let comma = if line.len() > 1 { "," } else { "" };
        let _ = write!(line, "{comma}\"{name}\":{value}");
    };
    match happening {
        Happening::Transition { alert, to, at, reason, .. } => {
            put("type", json!("alert"));
            put("alert", json!(alert.alert));
            put("state", json!(to.as_str()));
            put("labels", json!(alert.labels));
            put("value", json!(alert.value));
            put("at", json!(at.rfc3339()));
            put("episode", json!(alert.episode));
            put("reason", json!(reason));
        }
        Happening::Notice(notice) => {
            put("type", json!("notification"));
            put("receiver", json!(notice.receiver));
            put("episode", json!(notice.episode));
            put("kind", json!(notice.kind.as_str()));
        }
        Happening::NoticeRefused { receiver, kind, episode, outcome, reason, .. } => {
            put("type", json!("notification"));
            put("receiver", json!(receiver));
            put("episode", json!(episode));
            put("kind", json!(kind.as_str()));
            put("outcome", json!(outcome));
            put("reason", json!(reason));
        }
        Happening::Action(call) => {
            put("type", json!("action"));
            put("action", json!(call.action));
            put("episode", json!(call.episode));
            put("outcome", json!("requested"));
        }
        Happening::ActionRefused { action, episode, outcome, reason, .. } => {
            put("type", json!("action"));
            put("action", json!(action));
            put("episode", json!(episode));
            put("outcome", json!(outcome));
            put("reason", json!(reason));
        }
        Happening::Trouble { .. } => return None,
    }
    line.push('}');
    Some(line)
}
