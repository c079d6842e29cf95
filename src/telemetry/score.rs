//! The latest scores of the models, by window name, version and segment: what the gauges of the models read.
//!
//! The table holds only what the newest closed window said, so a feature, version or segment that is no longer measured is
//! gone at the next collection. What is exported of it, under the budget, is made by `series`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::series::{self, Snapshot};
use crate::event::{Measurement, Metric, Segment, Status, Subject, Timestamp};
use crate::rule::message::AlertView;

/// Versions of a model that are told apart; further ones share the label value `other`.
pub const MAX_VERSIONS: usize = 20;

/// When a feature counts as drifted in a window: for `drift.features.drifted`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftRecipe {
    /// The effect.
    pub metric: Metric,
    /// Least value of it.
    pub at_least: f64,
    /// The adjusted p-value must lie below this, where evidence is asked for.
    pub p_adjusted_below: Option<f64>,
    /// The p-value must be at most this instead, where the model has a budget of false alarms.
    pub p_value_at_most: Option<f64>,
}

impl Default for DriftRecipe {
    fn default() -> Self {
        DriftRecipe { metric: Metric::Psi, at_least: 0.1, p_adjusted_below: Some(0.01), p_value_at_most: None }
    }
}

/// A threshold of a rule, exported beside each score that it judges.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The model; `None` for all.
    pub model: Option<Arc<str>>,
    /// The metric it is about.
    pub metric: Metric,
    /// The window name; `None` for all.
    pub window: Option<Arc<str>>,
    /// `warning` or `critical`.
    pub severity: Arc<str>,
    /// The value above which the rule fires.
    pub value: f64,
}

/// Model, window name, version, segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) model: Arc<str>,
    pub(super) window: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) segment: Segment,
}

/// What one window said of one place.
#[derive(Debug)]
pub(super) struct Latest {
    end: Timestamp,
    /// By subject and metric; only what is `ok` and finite.
    pub(super) values: BTreeMap<(Subject, Metric), Scored>,
}

/// A value with its evidence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scored {
    pub(super) value: f64,
    pub(super) p_value: Option<f64>,
    pub(super) p_adjusted: Option<f64>,
}

/// The latest scores.
#[derive(Debug)]
pub struct ScoreTable {
    max_series: usize,
    /// Drift and data quality; a window has them when it closes.
    drift: BTreeMap<Place, Latest>,
    /// Performance; a window has it when its labels have come, so these are other, older windows.
    performance: BTreeMap<Place, Latest>,
    /// Versions told apart, by model.
    versions: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    recipes: BTreeMap<String, DriftRecipe>,
    thresholds: Vec<Threshold>,
    alerting: BTreeSet<(String, String)>,
    made: Option<Arc<Snapshot>>,
}

impl ScoreTable {
    /// An empty table that exports at most `max_series` series.
    pub fn new(max_series: usize) -> Self {
        ScoreTable {
            max_series,
            drift: BTreeMap::new(),
            performance: BTreeMap::new(),
            versions: BTreeMap::new(),
            recipes: BTreeMap::new(),
            thresholds: Vec::new(),
            alerting: BTreeSet::new(),
            made: None,
        }
    }

    /// Takes all measurements of a closed window, or those that were restated.
    ///
    /// A newer window takes the place of the older ones of its model and window name, in every version and segment: what it
    /// does not mention is gone. A restated window replaces what it mentions. An older window than the one held is ignored.
    /// Only values that are `ok` and finite are taken. Where drift turns to something else, its series ends; performance stays
    /// that of the newest window with enough labels, for those come later than the next window. What describes a window without
    /// comparing it is no score and stays with the results.
    pub fn update(&mut self, measurements: &[Measurement]) {
        self.made = None;
        for measurement in measurements.iter().filter(|measurement| !measurement.metric.is_descriptive()) {
            let waits_for_labels = measurement.metric.needs_labels();
            take(if waits_for_labels { &mut self.performance } else { &mut self.drift }, measurement, waits_for_labels);
        }
        for table in [&mut self.drift, &mut self.performance] {
            drop_older(table, measurements);
        }
        self.admit_versions();
    }

    /// Drops what was measured in windows that ended before `oldest`.
    pub fn expire(&mut self, oldest: Timestamp) {
        self.made = None;
        for table in [&mut self.drift, &mut self.performance] {
            table.retain(|_, latest| latest.end >= oldest);
        }
        self.admit_versions();
    }

    /// Drops other models.
    pub fn retain_models(&mut self, models: &[&str]) {
        self.made = None;
        for table in [&mut self.drift, &mut self.performance] {
            table.retain(|place, _| models.contains(&&*place.model));
        }
        self.recipes.retain(|model, _| models.contains(&model.as_str()));
        self.admit_versions();
    }

    /// Sets what counts as drifted in a model's windows.
    pub fn set_recipe(&mut self, model: &str, recipe: DriftRecipe) {
        self.made = None;
        self.recipes.insert(model.to_owned(), recipe);
    }

    /// Sets the thresholds of the rules; those that are not finite are left out.
    pub fn set_thresholds(&mut self, mut thresholds: Vec<Threshold>) {
        thresholds.retain(|threshold| threshold.value.is_finite());
        if thresholds != self.thresholds {
            self.thresholds = thresholds;
            self.made = None;
        }
    }

    /// Sets the alert instances: what a pending, firing or recovering one is about (labels `model` and `feature`) is
    /// exported before everything else.
    pub fn set_alerts(&mut self, alerts: &[AlertView]) {
        let active = alerts.iter().filter(|alert| matches!(alert.state.as_str(), "pending" | "firing" | "recovering"));
        let about = active.filter_map(|alert| Some((alert.labels.get("model")?.clone(), alert.labels.get("feature")?.clone())));
        let alerting = about.collect();
        if alerting != self.alerting {
            self.alerting = alerting;
            self.made = None;
        }
    }

    /// What is exported now; made when something has changed since the last call.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(made) = &self.made {
            return Arc::clone(made);
        }
        let made = Arc::new(series::snapshot(self, self.max_series));
        self.made = Some(Arc::clone(&made));
        made
    }

    pub(super) fn drift(&self) -> impl Iterator<Item = (&Place, &Latest)> {
        self.drift.iter()
    }

    pub(super) fn performance(&self) -> impl Iterator<Item = (&Place, &Latest)> {
        self.performance.iter()
    }

    pub(super) fn recipe(&self, model: &str) -> DriftRecipe {
        self.recipes.get(model).copied().unwrap_or_default()
    }

    pub(super) fn thresholds(&self, place: &Place, metric: Metric) -> impl Iterator<Item = &Threshold> {
        self.thresholds.iter().filter(move |threshold| {
            threshold.metric == metric
                && threshold.model.as_ref().is_none_or(|model| *model == place.model)
                && threshold.window.as_ref().is_none_or(|window| *window == place.window)
        })
    }

    pub(super) fn is_alerting(&self, model: &str, feature: &str) -> bool {
        self.alerting.contains(&(model.to_owned(), feature.to_owned()))
    }

    /// The label value of a version.
    pub(super) fn version_label(&self, place: &Place) -> Arc<str> {
        let admitted = self.versions.get(&place.model).is_some_and(|versions| versions.contains(&place.version));
        if admitted { Arc::clone(&place.version) } else { Arc::from("other") }
    }

    /// Keeps the versions that are still there, and fills what is free with those that have none yet.
    fn admit_versions(&mut self) {
        let mut present: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for place in self.drift.keys().chain(self.performance.keys()) {
            present.entry(Arc::clone(&place.model)).or_default().insert(Arc::clone(&place.version));
        }
        self.versions.retain(|model, _| present.contains_key(model));
        for (model, versions) in present {
            let admitted = self.versions.entry(model).or_default();
            admitted.retain(|version| versions.contains(version));
            for version in versions {
                if admitted.len() < MAX_VERSIONS {
                    admitted.insert(version);
                }
            }
        }
    }
}

/// Takes one measurement; with `keep` a newer window without a value leaves what is held.
fn take(table: &mut BTreeMap<Place, Latest>, measurement: &Measurement, keep: bool) {
    let place = Place {
        model: Arc::clone(&measurement.model),
        window: Arc::clone(&measurement.window.name),
        version: Arc::clone(&measurement.version),
        segment: measurement.segment.clone(),
    };
    let value = measurement.value.filter(|value| value.is_finite() && measurement.status == Status::Ok);
    let end = measurement.window.end;
    if keep && value.is_none() && table.get(&place).is_none_or(|latest| latest.end < end) {
        return;
    }
    let latest = table.entry(place).or_insert_with(|| Latest { end, values: BTreeMap::new() });
    if end < latest.end {
        return;
    }
    if end > latest.end {
        *latest = Latest { end, values: BTreeMap::new() };
    }
    let key = (measurement.subject.clone(), measurement.metric);
    if let Some(value) = value {
        latest.values.insert(key, Scored { value, p_value: measurement.p_value, p_adjusted: measurement.p_adjusted });
    } else {
        latest.values.remove(&key);
    }
}

/// Drops what older windows said, of the models and window names of these measurements.
fn drop_older(table: &mut BTreeMap<Place, Latest>, measurements: &[Measurement]) {
    let touched: BTreeSet<(Arc<str>, Arc<str>)> = measurements.iter().map(|m| (Arc::clone(&m.model), Arc::clone(&m.window.name))).collect();
    for (model, window) in touched {
        let of = |place: &Place| place.model == model && place.window == window;
        let newest = table.iter().filter(|(place, _)| of(place)).map(|(_, latest)| latest.end).max();
        table.retain(|place, latest| !of(place) || Some(latest.end) >= newest);
    }
}
