//! Results as text: one JSON object a line, the same bytes in `replay --output`, `GET /api/v1/windows` and the log events.
//!
//! The order of the keys is part of the promise. Knows nothing of where the lines go, and ends none with a line break.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::explanation::{Explanation, Shown};
use super::measurement::{Measurement, Segment, WindowRef, WindowSummary};

/// The line of one measurement: `{"type":"measurement","model":...,"revision":0}`.
///
/// `segment` is left out for overall results and `reason` where there is none; a value that is not there, and one that
/// is not finite, is `null`. Numbers take the shortest form that parses back, times milliseconds and `Z`.
///
/// ```
/// use driftline::event::{result_line::measurement_line, *};
/// let line = measurement_line(&Measurement {
///     model: "loan".into(), version: "3".into(), segment: Segment::default(),
///     window: WindowRef { name: "1h".into(), start: Timestamp(0), end: Timestamp(3_600_000) },
///     subject: Subject::Feature("age".into()), metric: Metric::Psi, value: Some(0.31), p_value: None, p_adjusted: None,
///     n: 5, n_reference: 50, status: Status::Ok, reason: None, recipe: "deciles".into(), revision: 0,
/// });
/// assert!(line.starts_with(r#"{"type":"measurement","model":"loan","version":"3","window":{"name":"1h","start":"1970-01-01T00:00:00.000Z""#));
/// ```
#[must_use]
pub fn measurement_line(measurement: &Measurement) -> String {
    text(&MeasurementLine {
        kind: "measurement",
        model: &measurement.model,
        version: &measurement.version,
        segment: (!measurement.segment.is_overall()).then_some(SegmentMap(&measurement.segment)),
        window: WindowLine::from(&measurement.window),
        subject: measurement.subject.to_string(),
        metric: measurement.metric.as_str(),
        value: finite(measurement.value),
        p_value: finite(measurement.p_value),
        p_adjusted: finite(measurement.p_adjusted),
        n: measurement.n,
        n_reference: measurement.n_reference,
        status: measurement.status.as_str(),
        reason: measurement.reason.as_deref(),
        recipe: &measurement.recipe,
        revision: measurement.revision,
    })
}

/// The line of one window: `{"type":"window","model":...,"revision":0}`.
///
/// `partitions` is `"contributing/all"`; `labels` is left out for a model that joins none.
#[must_use]
pub fn window_line(summary: &WindowSummary) -> String {
    text(&SummaryLine {
        kind: "window",
        model: &summary.model,
        window: WindowLine::from(&summary.window),
        n: summary.n,
        late: summary.late,
        complete: summary.complete,
        partitions: format!("{}/{}", summary.partitions.0, summary.partitions.1),
        gaps: &summary.gaps,
        labels: summary.has_labels.then(|| LabelsLine { matched: summary.labels_matched, coverage: summary.label_coverage() }),
        revision: summary.revision,
    })
}

/// The line of one explanation: `{"type":"explanation","model":...,"subject":...,"score":{...},...,"sentence":...,"revision":0}`.
///
/// What there is nothing of is left out. The metric stands in `score`, so that nobody takes the line for a measurement.
#[must_use]
pub fn explanation_line(explanation: &Explanation) -> String {
    text(&ExplanationLine {
        kind: "explanation",
        model: &explanation.model,
        version: &explanation.version,
        segment: (!explanation.segment.is_overall()).then_some(SegmentMap(&explanation.segment)),
        window: WindowLine::from(&explanation.window),
        subject: explanation.subject.to_string(),
        shown: explanation.finding.shown(),
        revision: explanation.revision,
    })
}

/// A result that has a place in the order of the lines.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A window's summary.
    Window(&'a WindowSummary),
    /// One measurement.
    Measurement(&'a Measurement),
    /// One explanation.
    Explanation(&'a Explanation),
}

impl Line<'_> {
    /// What every output is ordered by: window end, model, version, window name, segment, subject, metric, type, revision.
    /// What a line does not have counts as empty and so comes first: a summary has only its window, an explanation no metric.
    #[must_use]
    pub fn order(&self) -> impl Ord + use<> {
        match self {
            Line::Window(s) => {
                let place = (Arc::clone(&s.model), Arc::from(""), Arc::clone(&s.window.name));
                (s.window.end, place, None, s.revision)
            }
            Line::Measurement(m) => {
                let place = (Arc::clone(&m.model), Arc::clone(&m.version), Arc::clone(&m.window.name));
                (m.window.end, place, Some((m.segment.to_string(), m.subject.to_string(), m.metric.as_str())), m.revision)
            }
            Line::Explanation(e) => {
                let place = (Arc::clone(&e.model), Arc::clone(&e.version), Arc::clone(&e.window.name));
                (e.window.end, place, Some((e.segment.to_string(), e.subject.to_string(), "")), e.revision)
            }
        }
    }

    /// The line itself, without a line break.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Line::Window(summary) => window_line(summary),
            Line::Measurement(measurement) => measurement_line(measurement),
            Line::Explanation(explanation) => explanation_line(explanation),
        }
    }
}

/// Serialises plain structures of text and numbers, which cannot fail; an empty object would be the visible sign if it did.
fn text<T: Serialize>(line: &T) -> String {
    serde_json::to_string(line).unwrap_or_else(|_| String::from("{}"))
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

#[derive(serde::Serialize)]
struct MeasurementLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentMap<'a>>,
    window: WindowLine<'a>,
    subject: String,
    metric: &'static str,
    value: Option<f64>,
    p_value: Option<f64>,
    p_adjusted: Option<f64>,
    n: u64,
    n_reference: u64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    recipe: &'a str,
    revision: u32,
}

#[derive(serde::Serialize)]
struct ExplanationLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentMap<'a>>,
    window: WindowLine<'a>,
    subject: String,
    #[serde(flatten)]
    shown: Shown<'a>,
    revision: u32,
}

#[derive(serde::Serialize)]
struct SummaryLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    window: WindowLine<'a>,
    n: u64,
    late: u64,
    complete: bool,
    partitions: String,
    gaps: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LabelsLine>,
    revision: u32,
}

#[derive(serde::Serialize)]
struct WindowLine<'a> {
    name: &'a str,
    start: String,
    end: String,
}

impl<'a> From<&'a WindowRef> for WindowLine<'a> {
    fn from(window: &'a WindowRef) -> Self {
        WindowLine { name: &window.name, start: window.start.rfc3339(), end: window.end.rfc3339() }
    }
}

#[derive(serde::Serialize)]
struct LabelsLine {
    matched: u64,
    coverage: f64,
}

pub(super) struct SegmentMap<'a>(pub(super) &'a Segment);

impl Serialize for SegmentMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (key, value) in &self.0.0 {
            map.serialize_entry(&**key, &**value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Metric, Status, Subject, Timestamp};

    fn window() -> WindowRef {
        let start = Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap();
        WindowRef { name: "1h".into(), start, end: Timestamp(start.0 + 3_600_000) }
    }

    fn measurement() -> Measurement {
        Measurement {
            model: "loan".into(),
            version: "3".into(),
            segment: Segment(vec![("region".into(), "eu".into())]),
            window: window(),
            subject: Subject::Feature("a \"b\"".into()),
            metric: Metric::Psi,
            value: Some(0.0021),
            p_value: Some(0.41),
            p_adjusted: Some(1e-7),
            n: 5120,
            n_reference: 50_000,
            status: Status::Ok,
            reason: None,
            recipe: "deciles, floor 1e-4".into(),
            revision: 0,
        }
    }

    #[test]
    fn a_measurement_has_the_promised_keys_in_the_promised_order() {
        assert_eq!(
            measurement_line(&measurement()),
            concat!(
                r#"{"type":"measurement","model":"loan","version":"3","segment":{"region":"eu"},"window":{"name":"1h","#,
                r#""start":"2026-11-22T10:00:00.000Z","end":"2026-11-22T11:00:00.000Z"},"subject":"feature:a \"b\"","metric":"psi","#,
                r#""value":0.0021,"p_value":0.41,"p_adjusted":1e-7,"n":5120,"n_reference":50000,"status":"ok","#,
                r#""recipe":"deciles, floor 1e-4","revision":0}"#
            )
        );
    }

    #[test]
    fn what_is_not_there_is_null_or_left_out_and_never_not_a_number() {
        let line = measurement_line(&Measurement {
            segment: Segment::default(),
            value: Some(f64::NAN),
            p_value: Some(f64::INFINITY),
            p_adjusted: None,
            status: Status::Insufficient,
            reason: Some("below_min_samples".into()),
            ..measurement()
        });
        assert!(!line.contains("segment"));
        assert!(line.contains(r#""value":null,"p_value":null,"p_adjusted":null,"n":5120"#));
        assert!(line.contains(r#""status":"insufficient","reason":"below_min_samples","recipe""#));
    }

    #[test]
    fn a_window_says_how_complete_it_is() {
        let summary = WindowSummary {
            model: "loan".into(),
            window: window(),
            n: 5125,
            late: 3,
            complete: false,
            partitions: (5, 6),
            gaps: vec!["start".into()],
            labels_matched: 4100,
            has_labels: true,
            revision: 2,
        };
        assert_eq!(
            window_line(&summary),
            concat!(
                r#"{"type":"window","model":"loan","window":{"name":"1h","start":"2026-11-22T10:00:00.000Z","end":"2026-11-22T11:00:00.000Z"},"#,
                r#""n":5125,"late":3,"complete":false,"partitions":"5/6","gaps":["start"],"labels":{"matched":4100,"coverage":0.8},"revision":2}"#
            )
        );
        let without = window_line(&WindowSummary { has_labels: false, n: 0, ..summary });
        assert!(!without.contains("labels") && without.contains(r#""n":0,"#));
    }

    #[test]
    fn lines_come_by_window_then_model_then_version_and_the_summary_first() {
        let first = measurement();
        let later = Measurement { revision: 1, ..first.clone() };
        let overall = Measurement { segment: Segment::default(), subject: Subject::Score, ..first.clone() };
        let next_version = Measurement { version: "4".into(), ..overall.clone() };
        let mut next_window = overall.clone();
        next_window.window.end = Timestamp(next_window.window.end.0 + 1);
        let summary = WindowSummary {
            model: "loan".into(),
            window: window(),
            n: 1,
            late: 0,
            complete: true,
            partitions: (1, 1),
            gaps: vec![],
            labels_matched: 0,
            has_labels: false,
            revision: 0,
        };
        let expected = [
            Line::Window(&summary),
            Line::Measurement(&overall),
            Line::Measurement(&first),
            Line::Measurement(&later),
            Line::Measurement(&next_version),
            Line::Measurement(&next_window),
        ];
        let mut shuffled = expected;
        shuffled.reverse();
        shuffled.sort_by_cached_key(Line::order);
        let texts = |lines: &[Line<'_>]| lines.iter().map(Line::text).collect::<Vec<_>>();
        assert_eq!(texts(&shuffled), texts(&expected));
    }

    #[test]
    fn every_float_parses_back() {
        for value in [0.1, 1.0 / 3.0, 5e-324, 1.797e308, -0.0, 123_456_789.125] {
            let line = measurement_line(&Measurement { value: Some(value), ..measurement() });
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json["value"].as_f64().unwrap().to_bits(), value.to_bits());
        }
    }
}
