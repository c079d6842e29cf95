//! The read model: everything the API and the console can show, bounded, filled by the app and never read back by it.
//!
//! Reads no clock and computes no statistics. A reader holds the lock only while it builds its answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;

use super::status::{Check, Histogram, ModelView, StatusView};
use crate::event::{Explanation, Measurement, WindowSummary};
use crate::rule::message::AlertView;

/// Closed windows kept of one model and window name: two days of a slide of 5 minutes.
pub const MAX_WINDOWS: usize = 576;
/// Measurements kept in all; at about 250 bytes each some 25 MB.
pub const MAX_MEASUREMENTS: usize = 100_000;
/// Alert, notification and action events kept: what a person scrolls through.
pub const MAX_EVENTS: usize = 500;
/// Outbox items shown.
pub const MAX_OUTBOX: usize = 1_000;
/// Alert instances shown.
pub const MAX_ALERTS: usize = 5_000;
/// Display bins of one histogram: what still has a visible width.
pub const MAX_BINS: usize = 64;
/// Sets of histograms (model, version, window name); beyond, the one that was set least lately goes.
pub const MAX_HISTOGRAM_SETS: usize = 200;

/// A closed window with all that was measured in it, over versions and segments.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// Its summary.
    pub summary: Arc<WindowSummary>,
    /// Its measurements, each of its latest revision.
    pub measurements: Vec<Arc<Measurement>>,
    /// Why its subjects drift, those that do, in the order of results.
    pub explanations: Vec<Arc<Explanation>>,
}

/// The histograms of one model, version and window name, by subject.
#[derive(Debug, Default)]
struct HistogramSet {
    /// Number of the change that set it, to tell the one that has not been set for longest.
    set_at: u64,
    by_subject: BTreeMap<String, Histogram>,
}

/// Everything that can be shown.
#[derive(Debug, Default)]
pub struct View {
    status: StatusView,
    reload: Option<super::status::ReloadView>,
    checks: Vec<Check>,
    draining: bool,
    models: Vec<ModelView>,
    windows: BTreeMap<(Arc<str>, Arc<str>), VecDeque<ClosedWindow>>,
    measurements: usize,
    histograms: BTreeMap<(String, String, String), HistogramSet>,
    histogram_age: u64,
    alerts: Vec<AlertView>,
    rule_groups: Vec<Value>,
    events: VecDeque<Value>,
    outbox: Vec<Value>,
    outbox_depth: u64,
}

impl View {
    /// The agent's state as last set.
    pub fn status(&self) -> &StatusView {
        &self.status
    }

    /// The conditions of readiness.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Names of what keeps the agent from being ready; empty when it is.
    pub fn not_ready(&self) -> Vec<&str> {
        if self.draining {
            return vec!["draining"];
        }
        if self.checks.is_empty() {
            return vec!["starting"];
        }
        self.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
    }

    /// The models.
    pub fn models(&self) -> &[ModelView] {
        &self.models
    }

    /// The closed windows of a model by window name, oldest first.
    pub fn windows(&self) -> impl Iterator<Item = (&str, &str, &VecDeque<ClosedWindow>)> {
        self.windows.iter().map(|((model, name), ring)| (&**model, &**name, ring))
    }

    /// The closed windows of one model and window name, oldest first.
    pub fn ring(&self, model: &str, name: &str) -> Option<&VecDeque<ClosedWindow>> {
        self.windows.get(&(Arc::from(model), Arc::from(name)))
    }

    /// Baseline against current of a subject in the last closed window.
    pub fn histogram(&self, model: &str, version: &str, window: &str, subject: &str) -> Option<&Histogram> {
        self.histograms.get(&(model.to_owned(), version.to_owned(), window.to_owned()))?.by_subject.get(subject)
    }

    /// The alert instances.
    pub fn alerts(&self) -> &[AlertView] {
        &self.alerts
    }

    /// The rule groups.
    pub fn rule_groups(&self) -> &[Value] {
        &self.rule_groups
    }

    /// Alert, notification and action events, oldest first.
    pub fn events(&self) -> &VecDeque<Value> {
        &self.events
    }

    /// Items of the outbox and how many there are in all.
    pub fn outbox(&self) -> (u64, &[Value]) {
        (self.outbox_depth, &self.outbox)
    }

    fn push_window(&mut self, summary: WindowSummary, measurements: Vec<Measurement>) {
        let key = (Arc::clone(&summary.model), Arc::clone(&summary.window.name));
        let ring = self.windows.entry(key).or_default();
        let place = ring.partition_point(|closed| closed.summary.window.end < summary.window.end);
        let fresh = measurements.into_iter().map(Arc::new);
        if let Some(closed) = ring.get_mut(place).filter(|closed| closed.summary.window.end == summary.window.end) {
            let before = closed.measurements.len();
            restate(&mut closed.measurements, fresh);
            self.measurements += closed.measurements.len() - before;
            if summary.revision >= closed.summary.revision {
                closed.summary = Arc::new(summary);
            }
        } else {
            let measurements: Vec<_> = fresh.collect();
            self.measurements += measurements.len();
            ring.insert(place, ClosedWindow { summary: Arc::new(summary), measurements, explanations: Vec::new() });
            if ring.len() > MAX_WINDOWS {
                self.measurements -= ring.pop_front().map_or(0, |closed| closed.measurements.len());
            }
        }
        self.evict(MAX_MEASUREMENTS);
    }

    /// Explains a window that is held, in place of what was said of it before in a lower revision.
    fn explain_window(&mut self, summary: &WindowSummary, explanations: Vec<Explanation>) {
        let Some(ring) = self.windows.get_mut(&(Arc::clone(&summary.model), Arc::clone(&summary.window.name))) else { return };
        let held = ring.iter_mut().rev().find(|closed| closed.summary.window.end == summary.window.end);
        if let Some(closed) = held.filter(|closed| summary.revision >= closed.explanations.first().map_or(0, |held| held.revision)) {
            closed.explanations = explanations.into_iter().map(Arc::new).collect();
        }
    }

    /// Drops the oldest window of the fullest ring until the bound holds; the newest window of a ring always stays.
    fn evict(&mut self, bound: usize) {
        while self.measurements > bound {
            let weight = |ring: &VecDeque<ClosedWindow>| ring.iter().map(|closed| closed.measurements.len()).sum::<usize>();
            let Some(ring) = self.windows.values_mut().filter(|ring| ring.len() > 1).max_by_key(|ring| weight(ring)) else {
                return;
            };
            self.measurements -= ring.pop_front().map_or(0, |closed| closed.measurements.len());
        }
    }

    fn push_event(&mut self, event: Value) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn set_histograms(&mut self, model: &str, version: &str, window: &str, histograms: impl IntoIterator<Item = (String, Histogram)>) {
        self.histogram_age += 1;
        let by_subject = histograms.into_iter().map(|(subject, histogram)| (subject, bounded(histogram))).collect();
        let key = (model.to_owned(), version.to_owned(), window.to_owned());
        self.histograms.insert(key, HistogramSet { set_at: self.histogram_age, by_subject });
        if self.histograms.len() > MAX_HISTOGRAM_SETS {
            let oldest = self.histograms.iter().min_by_key(|(_, set)| set.set_at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.histograms.remove(&key));
        }
    }

    fn set_models(&mut self, models: Vec<ModelView>) {
        let known = |name: &str| models.iter().any(|model| model.name == name);
        self.windows.retain(|(model, _), _| known(model));
        self.histograms.retain(|(model, _, _), _| known(model));
        self.measurements = self.windows.values().flatten().map(|closed| closed.measurements.len()).sum();
        self.models = models;
    }
}

/// Puts restated measurements in the place of the ones they restate.
fn restate(held: &mut Vec<Arc<Measurement>>, fresh: impl Iterator<Item = Arc<Measurement>>) {
    let key = |m: &Measurement| (m.version.clone(), m.segment.clone(), m.subject.clone(), m.metric);
    let places: BTreeMap<_, usize> = held.iter().enumerate().map(|(index, m)| (key(m), index)).collect();
    for measurement in fresh {
        match places.get(&key(&measurement)).and_then(|index| held.get_mut(*index)) {
            Some(old) if old.revision <= measurement.revision => *old = measurement,
            Some(_) => {}
            None => held.push(measurement),
        }
    }
}

/// Cuts a histogram to the bins that are shown and keeps its parts equally long and finite.
fn bounded(mut histogram: Histogram) -> Histogram {
    let bins = histogram.labels.len().min(histogram.baseline.len()).min(histogram.current.len()).min(MAX_BINS);
    histogram.labels.truncate(bins);
    for shares in [&mut histogram.baseline, &mut histogram.current] {
        shares.truncate(bins);
        shares.iter_mut().filter(|share| !share.is_finite()).for_each(|share| *share = 0.0);
    }
    histogram
}

/// A cheap handle on the one view of the process.
#[derive(Clone, Debug, Default)]
pub struct ViewHandle(Arc<RwLock<View>>);

impl ViewHandle {
    /// A view of nothing yet: not ready, reason `starting`.
    pub fn new() -> Self {
        ViewHandle::default()
    }

    /// The view for reading. Do not hold it across anything slow.
    pub fn read(&self) -> RwLockReadGuard<'_, View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<R>(&self, change: impl FnOnce(&mut View) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the agent's state.
    pub fn set_status(&self, status: StatusView) {
        self.update(|view| view.status = StatusView { last_reload: view.reload.clone(), ..status });
    }

    /// Sets what came of the last reload.
    pub fn set_reload(&self, reload: super::status::ReloadView) {
        self.update(|view| view.reload = Some(reload));
    }

    /// Sets the conditions of readiness: ready when there is at least one and all hold.
    pub fn set_checks(&self, checks: Vec<Check>) {
        self.update(|view| view.checks = checks);
    }

    /// Says that the agent is on its way out: `/readyz` answers 503 from now on, whatever the checks say.
    pub fn set_draining(&self) {
        self.update(|view| view.draining = true);
    }

    /// Sets the models, in the order in which they are shown; what is held of others is dropped.
    pub fn set_models(&self, models: Vec<ModelView>) {
        self.update(|view| view.set_models(models));
    }

    /// Adds a closed window, or restates one: measurements of the same version, segment, subject and metric are replaced by
    /// those of a higher or equal revision, the others stay.
    pub fn push_window(&self, summary: WindowSummary, measurements: Vec<Measurement>) {
        self.update(|view| view.push_window(summary, measurements));
    }

    /// Says why subjects of a window drift that was added before, in place of what a lower revision said.
    pub fn explain_window(&self, summary: &WindowSummary, explanations: Vec<Explanation>) {
        self.update(|view| view.explain_window(summary, explanations));
    }

    /// Sets the histograms of the last closed window of a model, version and window name, by subject (`feature:age`).
    /// Bins beyond [`MAX_BINS`] are cut: group them before.
    pub fn set_histograms(&self, model: &str, version: &str, window: &str, histograms: impl IntoIterator<Item = (String, Histogram)>) {
        self.update(|view| view.set_histograms(model, version, window, histograms));
    }

    /// Sets the alert instances, those resolved lately among them.
    pub fn set_alerts(&self, mut alerts: Vec<AlertView>) {
        alerts.truncate(MAX_ALERTS);
        self.update(|view| view.alerts = alerts);
    }

    /// Sets the rule groups, each as in Prometheus' `/api/v1/rules`: `{"name":..,"file":..,"rules":[{"name":..,...}]}`. Where a
    /// rule has no `alerts`, the instances of [`ViewHandle::set_alerts`] are filled in.
    pub fn set_rules(&self, groups: Vec<Value>) {
        self.update(|view| view.rule_groups = groups);
    }

    /// Adds an alert, notification or action event in the shape of the results, with `at`.
    pub fn push_event(&self, event: Value) {
        self.update(|view| view.push_event(event));
    }

    /// Sets what waits in the outbox: how many items there are, and the oldest [`MAX_OUTBOX`] of them.
    pub fn set_outbox(&self, depth: u64, mut items: Vec<Value>) {
        items.truncate(MAX_OUTBOX);
        self.update(|view| {
            view.outbox = items;
            view.outbox_depth = depth;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Metric, Segment, Status, Subject, Timestamp, WindowRef};

    fn window(end: i64) -> WindowRef {
        WindowRef { name: "1h".into(), start: Timestamp(end - 10), end: Timestamp(end) }
    }

    fn summary(end: i64, revision: u32) -> WindowSummary {
        WindowSummary {
            model: "loan".into(),
            window: window(end),
            n: 10,
            late: 0,
            complete: true,
            partitions: (1, 1),
            gaps: vec![],
            labels_matched: 0,
            has_labels: false,
            revision,
        }
    }

    fn measurement(end: i64, feature: &str, value: f64, revision: u32) -> Measurement {
        Measurement {
            model: "loan".into(),
            version: "".into(),
            segment: Segment::default(),
            window: window(end),
            subject: Subject::Feature(feature.into()),
            metric: Metric::Psi,
            value: Some(value),
            p_value: None,
            p_adjusted: None,
            n: 10,
            n_reference: 10,
            status: Status::Ok,
            reason: None,
            recipe: "deciles".into(),
            revision,
        }
    }

    #[test]
    fn windows_are_kept_in_order_and_bounded() {
        let view = ViewHandle::new();
        for end in (0..700).rev() {
            view.push_window(summary(end, 0), vec![measurement(end, "age", 0.1, 0)]);
        }
        let view = view.read();
        let ring = view.ring("loan", "1h").unwrap();
        assert_eq!(ring.len(), MAX_WINDOWS);
        assert_eq!(ring.back().unwrap().summary.window.end, Timestamp(699));
        assert!(ring.iter().zip(ring.iter().skip(1)).all(|(a, b)| a.summary.window.end < b.summary.window.end));
        assert_eq!(view.measurements, MAX_WINDOWS);
    }

    #[test]
    fn a_restated_window_replaces_what_it_restates() {
        let view = ViewHandle::new();
        view.push_window(summary(10, 0), vec![measurement(10, "age", 0.1, 0), measurement(10, "zip", 0.2, 0)]);
        view.push_window(summary(10, 2), vec![measurement(10, "age", 0.3, 2)]);
        view.push_window(summary(10, 1), vec![measurement(10, "age", 0.2, 1)]);
        let view = view.read();
        let ring = view.ring("loan", "1h").unwrap();
        assert_eq!((ring.len(), ring[0].measurements.len(), view.measurements), (1, 2, 2));
        assert_eq!((ring[0].measurements[0].value, ring[0].summary.revision), (Some(0.3), 2));
    }

    #[test]
    fn the_fullest_ring_gives_way_and_every_newest_window_stays() {
        let mut view = View::default();
        for end in 0..5 {
            view.push_window(summary(end, 0), (0..10).map(|i| measurement(end, &format!("f{i}"), 0.1, 0)).collect());
        }
        let mut other = summary(0, 0);
        other.model = "other".into();
        view.push_window(other, vec![measurement(0, "age", 0.1, 0)]);
        view.evict(21);
        assert_eq!((view.measurements, view.ring("loan", "1h").unwrap().len()), (21, 2));
        view.evict(0);
        assert_eq!(view.measurements, 11);
    }

    #[test]
    fn readiness_is_earned_and_lost_by_name() {
        let view = ViewHandle::new();
        assert_eq!(view.read().not_ready(), ["starting"]);
        view.set_checks(vec![Check::new("state", true, "open"), Check::new("assignment", false, "waiting for the broker")]);
        assert_eq!(view.read().not_ready(), ["assignment"]);
        view.set_checks(vec![Check::new("state", true, "open")]);
        assert!(view.read().not_ready().is_empty());
        view.set_draining();
        assert_eq!(view.read().not_ready(), ["draining"]);
    }

    #[test]
    fn events_and_bins_are_bounded() {
        let view = ViewHandle::new();
        for index in 0..MAX_EVENTS + 5 {
            view.push_event(serde_json::json!({ "index": index }));
        }
        assert_eq!((view.read().events().len(), view.read().events()[0]["index"].as_u64()), (MAX_EVENTS, Some(5)));
        let wide = Histogram { labels: vec!["x".into(); 100], baseline: vec![f64::NAN; 100], current: vec![0.1; 90], n: 1 };
        view.set_histograms("loan", "", "1h", [("score".to_owned(), wide)]);
        let held = view.read().histogram("loan", "", "1h", "score").cloned().unwrap();
        assert_eq!((held.labels.len(), held.current.len(), held.baseline.iter().sum::<f64>().to_bits()), (MAX_BINS, MAX_BINS, 0));
        for version in 0..MAX_HISTOGRAM_SETS {
            view.set_histograms("loan", &version.to_string(), "1h", []);
        }
        assert_eq!(view.read().histograms.len(), MAX_HISTOGRAM_SETS);
        assert!(view.read().histogram("loan", "", "1h", "score").is_none(), "the oldest set has stayed");
    }

    #[test]
    fn what_belongs_to_no_model_any_more_is_dropped() {
        let view = ViewHandle::new();
        view.push_window(summary(10, 0), vec![measurement(10, "age", 0.1, 0)]);
        view.set_histograms("loan", "", "1h", [("score".to_owned(), Histogram::default())]);
        view.set_models(vec![ModelView { name: "loan".into(), ..ModelView::default() }]);
        assert!(view.read().ring("loan", "1h").is_some());
        view.set_models(vec![ModelView { name: "other".into(), ..ModelView::default() }]);
        let view = view.read();
        assert!(view.ring("loan", "1h").is_none() && view.histogram("loan", "", "1h", "score").is_none());
        assert_eq!(view.measurements, 0);
    }
}
