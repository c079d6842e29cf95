//! `/api/v1/features`: what is known of each monitored subject in the newest window, its course, and its two distributions.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::status::{Histogram, TextTime};
use super::view::{ClosedWindow, View};
use crate::event::explanation::{Explanation, Shown};
use crate::event::{Measurement, Metric, Segment, Status, Subject};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Only this model.
    pub model: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// This window name instead of the model's first.
    pub window: Option<String>,
    /// Only this segment, as text; empty for the overall results.
    pub segment: Option<String>,
    /// Only this feature, by its name, or this subject; its course is given of all metrics.
    pub feature: Option<String>,
    /// Windows of the course, newest last.
    pub points: usize,
    /// Whether the distributions are wanted.
    pub histogram: bool,
    /// Greatest number of subjects.
    pub limit: usize,
}

/// One subject in the newest window.
#[derive(Serialize)]
pub struct Feature<'a> {
    model: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<BTreeMap<&'a str, &'a str>>,
    window: Value,
    subject: String,
    name: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    /// PSI where it is `ok`: what the list is sorted by.
    score: Option<f64>,
    metrics: BTreeMap<&'static str, Value>,
    series: Courses,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<&'a Histogram>,
    /// Why it drifts, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Shown<'a>>,
}

/// A subject of one version and segment.
type Key<'a> = (&'a str, &'a Segment, &'a Subject);
/// The values of each metric over the windows, oldest first, by the windows' ends.
type Courses = BTreeMap<&'static str, Vec<(TextTime, Option<f64>)>>;

/// The subjects that match, the highest score first.
pub fn features<'a>(view: &'a View, query: &Query) -> Vec<Feature<'a>> {
    let mut found = Vec::new();
    for (model, name) in chosen(view, query) {
        let Some(ring) = view.ring(model, name) else { continue };
        let Some(newest) = ring.back() else { continue };
        let mut subjects: BTreeMap<Key<'_>, Vec<&Measurement>> = BTreeMap::new();
        for measurement in newest.measurements.iter().filter(|m| matches(m, query)) {
            subjects.entry((&measurement.version, &measurement.segment, &measurement.subject)).or_default().push(measurement);
        }
        let explained: BTreeMap<Key<'_>, &Explanation> =
            newest.explanations.iter().map(|one| ((&*one.version, &one.segment, &one.subject), &**one)).collect();
        let mut courses = courses(ring.iter().skip(ring.len().saturating_sub(query.points)), query);
        for ((version, segment, subject), measurements) in subjects {
            let histogram =
                if query.histogram && segment.is_overall() { view.histogram(model, version, name, &subject.to_string()) } else { None };
            let (score, metrics) = latest(&measurements);
            found.push(Feature {
                model,
                version,
                segment: (!segment.is_overall()).then(|| segment.0.iter().map(|(key, value)| (&**key, &**value)).collect()),
                window: window(newest),
                subject: subject.to_string(),
                name: short_name(subject),
                kind: kind(view, model, subject),
                score,
                metrics,
                series: courses.remove(&(version, segment, subject)).unwrap_or_default(),
                histogram,
                explanation: explained.get(&(version, segment, subject)).map(|one| one.finding.shown()),
            });
        }
    }
    found.sort_by(|a, b| b.score.unwrap_or(-1.0).total_cmp(&a.score.unwrap_or(-1.0)).then_with(|| a.subject.cmp(&b.subject)));
    found.truncate(query.limit);
    found
}

/// The window names to answer for, by model: the one asked for, else the model's first that has closed.
fn chosen<'a>(view: &'a View, query: &Query) -> Vec<(&'a str, &'a str)> {
    let mut chosen: BTreeMap<&str, &str> = BTreeMap::new();
    for (model, name, _) in view.windows() {
        if query.model.as_deref().is_some_and(|wanted| wanted != model) {
            continue;
        }
        match &query.window {
            Some(wanted) if wanted != name => {}
            Some(_) => drop(chosen.insert(model, name)),
            None => {
                let first = view.models().iter().find(|known| known.name == model).and_then(|known| known.windows.first());
                if first.is_some_and(|first| first.name == name) || !chosen.contains_key(model) {
                    chosen.insert(model, name);
                }
            }
        }
    }
    chosen.into_iter().collect()
}

fn matches(measurement: &Measurement, query: &Query) -> bool {
    !measurement.metric.needs_labels()
        && !matches!(measurement.subject, Subject::Model | Subject::Ingest)
        && query.version.as_deref().is_none_or(|wanted| wanted == &*measurement.version)
        && query.segment.as_deref().is_none_or(|wanted| wanted == measurement.segment.to_string())
        && query
            .feature
            .as_deref()
            .is_none_or(|wanted| wanted == short_name(&measurement.subject) || wanted == measurement.subject.to_string())
}

/// The courses of all subjects: of PSI only, or of every metric where one subject is asked for.
fn courses<'a>(windows: impl Iterator<Item = &'a ClosedWindow>, query: &Query) -> BTreeMap<Key<'a>, Courses> {
    let mut courses: BTreeMap<Key<'a>, Courses> = BTreeMap::new();
    for closed in windows {
        for m in closed.measurements.iter().filter(|m| matches(m, query)) {
            if query.feature.is_none() && m.metric != Metric::Psi {
                continue;
            }
            let value = m.value.filter(|value| m.status == Status::Ok && value.is_finite());
            let course = courses.entry((&m.version, &m.segment, &m.subject)).or_default().entry(m.metric.as_str()).or_default();
            course.push((TextTime(closed.summary.window.end), value));
        }
    }
    courses
}

/// The score to sort by, and every metric with its evidence.
fn latest(measurements: &[&Measurement]) -> (Option<f64>, BTreeMap<&'static str, Value>) {
    let score = measurements.iter().find(|m| m.metric == Metric::Psi && m.status == Status::Ok).and_then(|m| m.value);
    let entry = |m: &&Measurement| {
        let value = json!({
            "value": m.value, "p_value": m.p_value, "p_adjusted": m.p_adjusted, "n": m.n, "n_reference": m.n_reference,
            "status": m.status.as_str(), "reason": m.reason.as_deref(), "recipe": &*m.recipe, "revision": m.revision,
        });
        (m.metric.as_str(), value)
    };
    (score, measurements.iter().map(entry).collect())
}

fn window(closed: &ClosedWindow) -> Value {
    let window = &closed.summary.window;
    json!({ "name": &*window.name, "start": window.start.rfc3339(), "end": window.end.rfc3339() })
}

fn short_name(subject: &Subject) -> &str {
    match subject {
        Subject::Feature(name) | Subject::Proba(name) => name,
        Subject::Prediction => "prediction",
        Subject::Score => "score",
        Subject::Label => "label",
        Subject::Model => "model",
        Subject::Ingest => "ingest",
    }
}

fn kind<'a>(view: &'a View, model: &str, subject: &Subject) -> Option<&'a str> {
    let Subject::Feature(name) = subject else { return None };
    let model = view.models().iter().find(|known| known.name == model)?;
    model.features.iter().find(|feature| feature.name == **name).map(|feature| feature.kind.as_str())
}
