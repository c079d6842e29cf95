//! What of the score table is exported: series with their attributes, ranked, and cut at the budget.
//!
//! Values of different metrics cannot be compared, so subjects are ranked and not series: by the greatest of their scores
//! that lie between 0 and 1 or are PSI. A subject's series stand together.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use opentelemetry::KeyValue;

use super::score::{Latest, Place, ScoreTable};
use crate::event::{Metric, Subject};

/// The gauges of the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    /// `drift.score`
    Score,
    /// `drift.score.threshold`
    Threshold,
    /// `drift.features.drifted`
    Drifted,
    /// `drift.features.monitored`
    Monitored,
    /// `model.performance`
    Performance,
    /// `drift.data.null_ratio`
    NullRatio,
    /// `drift.data.invalid_ratio`
    InvalidRatio,
    /// `drift.data.out_of_range_ratio`
    OutOfRangeRatio,
    /// `drift.data.new_category_ratio`
    NewCategoryRatio,
}

/// One series: its value and attributes.
#[derive(Clone, Debug)]
pub struct Series {
    /// Always finite.
    pub value: f64,
    /// In the order in which they are documented.
    pub attributes: Vec<KeyValue>,
}

/// What is exported at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The series of each gauge.
    pub series: BTreeMap<Gauge, Vec<Series>>,
    /// Series that the budget leaves out.
    pub suppressed: u64,
}

impl Gauge {
    /// The gauge of a metric that needs no labels.
    fn of(metric: Metric) -> Gauge {
        match metric {
            Metric::NullRate => Gauge::NullRatio,
            Metric::InvalidRate => Gauge::InvalidRatio,
            Metric::OutOfRangeRate => Gauge::OutOfRangeRatio,
            Metric::NewCategoryRate => Gauge::NewCategoryRatio,
            _ => Gauge::Score,
        }
    }
}

/// What comes first: the few series of whole models, what alerts, then the greatest scores; ties by name.
#[derive(Clone, Debug)]
struct Rank {
    class: u8,
    score: f64,
    place: String,
}

struct Candidate {
    rank: Rank,
    gauge: Gauge,
    series: Series,
}

/// The series of the table, at most `budget` of them.
pub(super) fn snapshot(table: &ScoreTable, budget: usize) -> Snapshot {
    let mut candidates = Vec::new();
    for (place, latest) in table.drift() {
        counted(table, place, latest, &mut candidates);
        subjects(table, place, latest, &mut candidates);
    }
    for (place, latest) in table.performance() {
        for ((_, metric), value) in &latest.values {
            let attributes = attributes(table, place, None, Some(*metric), true);
            let series = Series { value: value.value, attributes };
            // A detector over errors says whether they have changed, not how well the model does.
            let gauge = if metric.is_detector() { Gauge::Score } else { Gauge::Performance };
            candidates.push(Candidate { rank: whole(place), gauge, series });
        }
    }
    candidates.sort_by(|a, b| order(&a.rank, &b.rank));
    let mut snapshot = Snapshot::default();
    let mut seen = BTreeSet::new();
    for Candidate { gauge, series, .. } in candidates {
        // Versions beyond the told ones, and thresholds of several versions, come to the same series: the first ranks highest.
        let key = series.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect::<Vec<_>>();
        if seen.contains(&(gauge, key.clone())) {
            continue;
        }
        if seen.len() < budget {
            seen.insert((gauge, key));
            snapshot.series.entry(gauge).or_default().push(series);
        } else {
            snapshot.suppressed += 1;
        }
    }
    snapshot
}

/// How many features there are with a verdict in a place, and how many of them have drifted.
fn counted(table: &ScoreTable, place: &Place, latest: &Latest, candidates: &mut Vec<Candidate>) {
    let recipe = table.recipe(&place.model);
    let judged: Vec<_> = latest.values.iter().filter(|((subject, metric), _)| *metric == recipe.metric && is_feature(subject)).collect();
    let drifted = judged.iter().filter(|(_, value)| {
        let evident = recipe.p_adjusted_below.is_none_or(|below| value.p_adjusted.is_some_and(|p| p < below));
        let within_budget = recipe.p_value_at_most.is_none_or(|most| value.p_value.is_some_and(|p| p <= most));
        value.value >= recipe.at_least && evident && within_budget
    });
    for (gauge, count) in [(Gauge::Drifted, drifted.count()), (Gauge::Monitored, judged.len())] {
        #[allow(clippy::cast_precision_loss)]
        let series = Series { value: count as f64, attributes: attributes(table, place, None, None, true) };
        candidates.push(Candidate { rank: whole(place), gauge, series });
    }
}

/// The series of each subject of a place, its thresholds after its scores.
fn subjects(table: &ScoreTable, place: &Place, latest: &Latest, candidates: &mut Vec<Candidate>) {
    let mut scores: BTreeMap<&Subject, f64> = BTreeMap::new();
    for ((subject, metric), value) in &latest.values {
        let score = scores.entry(subject).or_insert(0.0);
        if matches!(metric, Metric::Psi | Metric::JsDistance | Metric::Ks | Metric::TotalVariation) {
            *score = score.max(value.value);
        }
    }
    for ((subject, metric), value) in &latest.values {
        let name = label(subject);
        let rank = Rank {
            class: if table.is_alerting(&place.model, &name) { 1 } else { 2 },
            score: scores.get(subject).copied().unwrap_or(0.0),
            place: format!("{} {} {} {} {name}", place.model, place.window, place.version, place.segment),
        };
        let gauge = Gauge::of(*metric);
        let named = (gauge == Gauge::Score).then_some(*metric);
        let series = Series { value: value.value, attributes: attributes(table, place, Some(&name), named, true) };
        candidates.push(Candidate { rank: rank.clone(), gauge, series });
        for threshold in table.thresholds(place, *metric).filter(|_| gauge == Gauge::Score) {
            let mut attributes = attributes(table, place, Some(&name), named, false);
            attributes.push(KeyValue::new("severity", threshold.severity.to_string()));
            candidates.push(Candidate {
                rank: rank.clone(),
                gauge: Gauge::Threshold,
                series: Series { value: threshold.value, attributes },
            });
        }
    }
}

fn whole(place: &Place) -> Rank {
    Rank { class: 0, score: 0.0, place: format!("{} {} {} {}", place.model, place.window, place.version, place.segment) }
}

fn order(a: &Rank, b: &Rank) -> Ordering {
    a.class.cmp(&b.class).then_with(|| b.score.total_cmp(&a.score)).then_with(|| a.place.cmp(&b.place))
}

fn is_feature(subject: &Subject) -> bool {
    matches!(subject, Subject::Feature(_))
}

/// The value of the attribute `feature`: a feature's name, or `@` and the subject, so that no feature's name can be taken for it.
pub fn label(subject: &Subject) -> String {
    match subject {
        Subject::Feature(name) => name.to_string(),
        other => format!("@{other}"),
    }
}

fn attributes(table: &ScoreTable, place: &Place, feature: Option<&str>, metric: Option<Metric>, versioned: bool) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("model", place.model.to_string())];
    if versioned {
        attributes.push(KeyValue::new("model_version", table.version_label(place).to_string()));
    }
    if let Some(feature) = feature {
        attributes.push(KeyValue::new("feature", feature.to_owned()));
    }
    if let Some(metric) = metric {
        attributes.push(KeyValue::new("metric", metric.as_str()));
    }
    attributes.push(KeyValue::new("segment", place.segment.to_string()));
    attributes.push(KeyValue::new("window", place.window.to_string()));
    attributes
}

#[cfg(test)]
mod tests {
    use super::super::score::{MAX_VERSIONS, Threshold};
    use super::*;
    use crate::event::{Measurement, Segment, Status, Timestamp, WindowRef};
    use crate::rule::message::AlertView;

    fn measurement(end: i64, version: &str, subject: Subject, metric: Metric, value: f64) -> Measurement {
        Measurement {
            model: "loan".into(),
            version: version.into(),
            segment: Segment::default(),
            window: WindowRef { name: "1h".into(), start: Timestamp(end - 10), end: Timestamp(end) },
            subject,
            metric,
            value: Some(value),
            p_value: None,
            p_adjusted: Some(0.001),
            n: 10,
            n_reference: 10,
            status: Status::Ok,
            reason: None,
            recipe: "".into(),
            revision: 0,
        }
    }

    fn psi(end: i64, feature: &str, value: f64) -> Measurement {
        measurement(end, "3", Subject::Feature(feature.into()), Metric::Psi, value)
    }

    fn texts(table: &mut ScoreTable, gauge: Gauge) -> Vec<String> {
        let snapshot = table.snapshot();
        let series = snapshot.series.get(&gauge).into_iter().flatten();
        series
            .map(|series| {
                let pairs = series.attributes.iter().filter(|pair| ["model_version", "feature", "severity"].contains(&pair.key.as_str()));
                let values: Vec<_> = pairs.map(|pair| pair.value.to_string()).collect();
                format!("{} {}", values.join(" "), series.value)
            })
            .collect()
    }

    #[test]
    fn a_feature_or_version_that_goes_away_is_gone() {
        let mut table = ScoreTable::new(100);
        table.update(&[psi(10, "age", 0.1), psi(10, "zip", 0.2), measurement(10, "2", Subject::Score, Metric::Psi, 0.3)]);
        assert_eq!(texts(&mut table, Gauge::Score), ["2 @score 0.3", "3 zip 0.2", "3 age 0.1"]);
        table.update(&[psi(20, "age", 0.4)]);
        assert_eq!(texts(&mut table, Gauge::Score), ["3 age 0.4"]);
        table.update(&[psi(10, "zip", 0.9)]);
        assert_eq!(texts(&mut table, Gauge::Score), ["3 age 0.4"], "an older window was taken");
        let unsure = Measurement { status: Status::Insufficient, ..psi(20, "age", 0.5) };
        table.update(&[unsure]);
        assert!(texts(&mut table, Gauge::Score).is_empty());
    }

    #[test]
    fn nothing_that_is_not_a_number_is_exported() {
        let mut table = ScoreTable::new(100);
        table.update(&[psi(10, "age", f64::NAN), psi(10, "zip", f64::INFINITY)]);
        assert!(texts(&mut table, Gauge::Score).is_empty());
    }

    #[test]
    fn performance_of_older_windows_stands_beside_newer_drift() {
        let mut table = ScoreTable::new(100);
        table.update(&[psi(90, "age", 0.1)]);
        table.update(&[measurement(10, "3", Subject::Model, Metric::Accuracy, 0.9)]);
        let unlabelled = measurement(90, "3", Subject::Model, Metric::Accuracy, 0.1);
        table.update(&[Measurement { status: Status::NoData, ..unlabelled }]);
        assert_eq!(texts(&mut table, Gauge::Performance), ["3 0.9"]);
        assert_eq!(texts(&mut table, Gauge::Score), ["3 age 0.1"]);
        table.expire(Timestamp(50));
        assert!(texts(&mut table, Gauge::Performance).is_empty());
        assert_eq!(texts(&mut table, Gauge::Score).len(), 1);
    }

    #[test]
    fn the_budget_keeps_what_alerts_and_then_the_greatest_scores() {
        let mut table = ScoreTable::new(4);
        table.update(&[psi(10, "a", 0.01), psi(10, "b", 0.5), psi(10, "c", 0.3), psi(10, "d", 0.4)]);
        assert_eq!(texts(&mut table, Gauge::Score), ["3 b 0.5", "3 d 0.4"]);
        assert_eq!((texts(&mut table, Gauge::Drifted), table.snapshot().suppressed), (vec!["3 3".to_owned()], 2));
        table.set_alerts(&[alert("a", "firing"), alert("c", "resolved")]);
        assert_eq!(texts(&mut table, Gauge::Score), ["3 a 0.01", "3 b 0.5"]);
    }

    #[test]
    fn drifted_asks_for_effect_and_evidence() {
        let mut table = ScoreTable::new(100);
        let weak = Measurement { p_adjusted: Some(0.2), ..psi(10, "weak", 0.5) };
        let silent = Measurement { p_adjusted: None, ..psi(10, "silent", 0.5) };
        let output = measurement(10, "3", Subject::Prediction, Metric::Psi, 0.9);
        table.update(&[weak, silent, output, psi(10, "both", 0.1), psi(10, "small", 0.09)]);
        assert_eq!((texts(&mut table, Gauge::Drifted), texts(&mut table, Gauge::Monitored)), (vec!["3 1".into()], vec!["3 4".into()]));
    }

    #[test]
    fn a_threshold_stands_beside_each_score_it_judges_once_for_all_versions() {
        let mut table = ScoreTable::new(100);
        table.set_thresholds(vec![Threshold { model: None, metric: Metric::Psi, window: None, severity: "warning".into(), value: 0.1 }]);
        let age = |version: &str, metric| measurement(10, version, Subject::Feature("age".into()), metric, 0.2);
        table.update(&[age("2", Metric::Psi), age("3", Metric::Psi), age("3", Metric::Ks)]);
        assert_eq!(texts(&mut table, Gauge::Threshold), ["age warning 0.1"]);
    }

    #[test]
    fn versions_beyond_the_limit_share_one_label_and_the_highest_score_stands_for_them() {
        let mut table = ScoreTable::new(1000);
        let versions = MAX_VERSIONS + 5;
        let of = |index: usize| measurement(10, &format!("{index:02}"), Subject::Score, Metric::Psi, index as f64);
        table.update(&(0..versions).map(of).collect::<Vec<_>>());
        let scores = texts(&mut table, Gauge::Score);
        assert_eq!((scores.len(), scores[0].as_str()), (MAX_VERSIONS + 1, "other @score 24"));
    }

    fn alert(feature: &str, state: &str) -> AlertView {
        AlertView {
            alert: "FeaturePSI".into(),
            group: "g".into(),
            state: state.into(),
            severity: None,
            labels: [("model".into(), "loan".into()), ("feature".into(), feature.into())].into(),
            annotations: BTreeMap::new(),
            value: None,
            threshold: None,
            n: 0,
            episode: None,
            active_at: None,
            starts_at: None,
            ends_at: None,
            reason: String::new(),
            window: None,
            history: vec![],
        }
    }
}
