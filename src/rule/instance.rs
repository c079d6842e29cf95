//! What is remembered of one alert instance beside its state: its episode, who was told, what is still to be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Finding, Segment, Timestamp, WindowRef};

use super::episode::{self, Identity};
use super::machine::{Machine, Severity, State};
use super::message::AlertView;
use super::set::Rule;

/// Values of the last windows that an instance keeps, for the small charts in mails and the console.
pub const HISTORY: usize = 24;

/// Which instance it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceKey {
    /// The model; "" where the rule is about topics.
    pub model: Arc<str>,
    /// The rule group.
    pub group: Arc<str>,
    /// The alert.
    pub alert: Arc<str>,
    /// The version of the model; "" where events name none.
    pub version: Arc<str>,
    /// The segment, or the topic.
    pub segment: Segment,
    /// The feature, for rules of each feature.
    pub feature: Option<Arc<str>>,
}

impl InstanceKey {
    /// The labels that say which instance it is.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = self.segment.0.iter().map(|(key, value)| (label_name(key), value.to_string())).collect();
        labels.insert("alertname".into(), self.alert.to_string());
        if !self.model.is_empty() {
            labels.insert("model".into(), self.model.to_string());
        }
        if !self.version.is_empty() {
            labels.insert("version".into(), self.version.to_string());
        }
        if let Some(feature) = &self.feature {
            labels.insert("feature".into(), feature.to_string());
        }
        labels
    }

    /// The episode that begins at `onset`.
    #[must_use]
    pub fn episode(&self, onset: Timestamp) -> String {
        let each: Vec<(&str, &str)> = self.feature.iter().map(|feature| ("feature", &**feature)).collect();
        episode::id(
            onset,
            &Identity {
                model: &self.model,
                group: &self.group,
                alert: &self.alert,
                each: &each,
                segment: &self.segment,
                version: &self.version,
            },
        )
    }
}

/// A segment key as a label name: `tags.region` and `region` are `region`; other characters become `_`.
#[must_use]
pub fn label_name(key: &str) -> String {
    let key = key.strip_prefix("tags.").unwrap_or(key);
    let mut name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() {
        name.insert(0, '_');
    }
    name
}

/// An action that an episode still has to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Its place in `on_firing`.
    pub index: u32,
    /// Name of the action; it must still be the one at that place.
    pub action: String,
    /// When the alert has been firing for long enough.
    pub at: Timestamp,
}

/// One incident, from firing to resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Its id: a ULID.
    pub id: String,
    /// Who was told, and the number of the next message to them.
    pub told: BTreeMap<String, u32>,
    /// Whether its firing was announced, or there was nobody to announce it to.
    pub announced: bool,
    /// Actions still to be asked for.
    pub due: Vec<Due>,
}

impl Episode {
    /// An episode that nobody knows of yet.
    #[must_use]
    pub fn new(id: String) -> Episode {
        Episode { id, told: BTreeMap::new(), announced: false, due: Vec::new() }
    }
}

/// One alert instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its state.
    pub machine: Machine,
    /// The value at the last judged window.
    pub value: Option<f64>,
    /// Events behind it.
    pub n: u64,
    /// The last judged window.
    pub window: Option<WindowRef>,
    /// The values of the last windows, oldest first.
    pub history: Vec<Option<f64>>,
    /// Why the last change was made.
    pub reason: String,
    /// Labels of group and rule, fixed when the breach began.
    pub labels: BTreeMap<String, String>,
    /// Why its subject drifts, while it is pending or open.
    #[serde(default)]
    pub explanation: Option<Box<Finding>>,
    /// Annotations at the last verdict.
    pub annotations: BTreeMap<String, String>,
    /// The last episode.
    pub episode: Option<Episode>,
    /// Until when a new episode is told to nobody.
    pub quiet_until: Option<Timestamp>,
    /// The severity that was told last.
    pub told_severity: Option<Severity>,
    /// Why the last window had no verdict, where the evaluation failed.
    pub trouble: Option<String>,
}

impl Instance {
    /// Notes what a window has brought.
    pub fn note(&mut self, value: Option<f64>, n: u64, window: Option<&WindowRef>) {
        self.value = value;
        self.n = n;
        self.window = window.cloned();
        self.history.push(value);
        if self.history.len() > HISTORY {
            self.history.drain(..self.history.len() - HISTORY);
        }
    }

    /// All labels, the severity among them once there is one. What says which instance it is wins over what files set.
    #[must_use]
    pub fn all_labels(&self, key: &InstanceKey) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(key.labels());
        if let Some(severity) = self.machine.severity {
            labels.insert("severity".into(), severity.as_str().into());
        }
        labels
    }

    /// The instance as messages and the API show it. Without its rule there is no threshold.
    #[must_use]
    pub fn view(&self, key: &InstanceKey, rule: Option<&Rule>) -> AlertView {
        let machine = &self.machine;
        let threshold =
            rule.zip(machine.severity).and_then(|(rule, severity)| rule.tier(severity)).and_then(|tier| tier.condition.threshold());
        let in_episode = machine.state.is_open() || machine.state == State::Resolved;
        AlertView {
            alert: key.alert.to_string(),
            group: key.group.to_string(),
            state: machine.state.as_str().to_owned(),
            severity: machine.severity.map(|severity| severity.as_str().to_owned()),
            labels: self.all_labels(key),
            annotations: self.annotations.clone(),
            value: self.value,
            threshold,
            n: self.n,
            episode: self.episode.as_ref().filter(|_| in_episode).map(|episode| episode.id.clone()),
            active_at: machine.active_at,
            starts_at: machine.starts_at,
            ends_at: machine.ends_at,
            reason: self.reason.clone(),
            window: self.window.clone(),
            history: self.history.clone(),
            explanation: self.explanation.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_keys_become_label_names() {
        for (key, name) in [("region", "region"), ("tags.region", "region"), ("tags.Über-x", "_ber_x"), ("9", "_9"), ("a.b", "a_b")] {
            assert_eq!(label_name(key), name);
        }
    }

    #[test]
    fn the_identity_cannot_be_overwritten() {
        let key = InstanceKey {
            model: "loan".into(),
            group: "g".into(),
            alert: "A".into(),
            version: "3".into(),
            segment: Segment(vec![("region".into(), "eu".into())]),
            feature: Some("age".into()),
        };
        let mut instance = Instance::default();
        instance.labels.extend([("region".to_owned(), "us".to_owned()), ("team".to_owned(), "risk".to_owned())]);
        let labels = instance.all_labels(&key);
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["alertname=A", "feature=age", "model=loan", "region=eu", "team=risk", "version=3"]);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut instance = Instance::default();
        for value in 0..100 {
            instance.note(Some(f64::from(value)), 1, None);
        }
        assert_eq!(instance.history.len(), HISTORY);
        assert_eq!(instance.history.last(), Some(&Some(99.0)));
    }
}
