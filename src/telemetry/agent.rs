//! What the agent counts of itself: events by outcome, lags, windows, alerts, deliveries.
//!
//! The app sets totals or counts single things; the exporters read. Labels are names of the configuration only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::join::Kept;
use crate::rule::message::AlertView;

/// States of alerts that are always exported, 0 where there is none.
const ALERT_STATES: [&str; 3] = ["pending", "firing", "recovering"];

/// Events of one topic with one outcome, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordCount {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// `counted`, `late`, `duplicate`, `unmatched_label`, `rejected` or `shed`.
    pub outcome: &'static str,
    /// Why, where it was rejected.
    pub reason: Option<&'static str>,
    /// How many.
    pub count: u64,
}

/// Where one source partition stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition.
    pub partition: i32,
    /// Records behind the end, where the end is known.
    pub records: Option<u64>,
    /// Seconds of the newest accepted event time behind the wall clock, where there was an event.
    pub event_time_seconds: Option<f64>,
}

/// The counts.
#[derive(Debug, Default)]
pub struct AgentTable {
    pub(crate) records: Vec<RecordCount>,
    pub(crate) lags: Vec<PartitionLag>,
    /// Outcome, reason and number of dead letters.
    pub(crate) dead_letters: Vec<(&'static str, &'static str, u64)>,
    pub(crate) outbox_depth: u64,
    pub(crate) ledger: Kept,
    pub(crate) reload_failed: bool,
    windows: BTreeMap<(String, String), u64>,
    alerts: BTreeMap<String, u64>,
    notifications: BTreeMap<(String, String), u64>,
    actions: BTreeMap<(String, String), u64>,
}

impl AgentTable {
    /// Counts a closed window.
    pub fn count_window(&mut self, model: &str, window: &str) {
        add(&mut self.windows, model, window);
    }

    /// Counts a delivery.
    pub fn count_notification(&mut self, receiver: &str, outcome: &str) {
        add(&mut self.notifications, receiver, outcome);
    }

    /// Counts a call of an action.
    pub fn count_action(&mut self, action: &str, outcome: &str) {
        add(&mut self.actions, action, outcome);
    }

    /// Counts the alert instances by state.
    pub fn set_alerts(&mut self, alerts: &[AlertView]) {
        self.alerts.clear();
        for alert in alerts {
            *self.alerts.entry(alert.state.clone()).or_default() += 1;
        }
    }

    /// Forgets the windows of other models.
    pub fn retain_models(&mut self, models: &[&str]) {
        self.windows.retain(|(model, _), _| models.contains(&model.as_str()));
    }

    /// Closed windows by model and window name.
    pub fn windows(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        rows(&self.windows)
    }

    /// Deliveries by receiver and outcome.
    pub fn notifications(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        rows(&self.notifications)
    }

    /// Calls by action and outcome.
    pub fn actions(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        rows(&self.actions)
    }

    /// Active alert instances by state.
    pub fn alerts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ALERT_STATES.into_iter().map(|state| (state, self.alerts.get(state).copied().unwrap_or(0)))
    }
}

fn add(counts: &mut BTreeMap<(String, String), u64>, first: &str, second: &str) {
    *counts.entry((first.to_owned(), second.to_owned())).or_default() += 1;
}

fn rows(counts: &BTreeMap<(String, String), u64>) -> impl Iterator<Item = (&str, &str, u64)> {
    counts.iter().map(|((first, second), count)| (first.as_str(), second.as_str(), *count))
}
