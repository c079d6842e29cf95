//! What the rules ask the shell to do: notices to receivers and calls of actions, as plain, storable data.
//!
//! Everything is rendered when the alert makes its transition, so that a retry, a restart or a second owner sends the
//! same bytes under the same key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Finding, Timestamp, WindowRef};

/// What a notice says about its episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The alert has gone firing.
    Firing,
    /// A firing alert has risen to a higher severity.
    Escalated,
    /// The alert is over.
    Resolved,
}

impl NoticeKind {
    /// The kind as written in results and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Firing => "firing",
            NoticeKind::Escalated => "escalated",
            NoticeKind::Resolved => "resolved",
        }
    }
}

/// An alert instance as messages and the API show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// Name of the alert: the `alertname` label.
    pub alert: String,
    /// Name of its rule group.
    pub group: String,
    /// `inactive`, `pending`, `firing`, `recovering` or `resolved`.
    pub state: String,
    /// `warning` or `critical`, once it is pending.
    pub severity: Option<String>,
    /// All labels, `alertname`, `model` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Rendered annotations.
    pub annotations: BTreeMap<String, String>,
    /// The rule's value at the last judged window.
    pub value: Option<f64>,
    /// The threshold of the severity's tier, where it is a plain one.
    pub threshold: Option<f64>,
    /// Events behind the value.
    pub n: u64,
    /// The episode, once it has one: a ULID.
    pub episode: Option<String>,
    /// End of the first window of the breach.
    pub active_at: Option<Timestamp>,
    /// When the episode went firing.
    pub starts_at: Option<Timestamp>,
    /// When it was over.
    pub ends_at: Option<Timestamp>,
    /// Why the last transition was made.
    pub reason: String,
    /// The last window judged.
    pub window: Option<WindowRef>,
    /// The values of the last windows, oldest first, at most 24.
    pub history: Vec<Option<f64>>,
    /// Why its subject drifts, while it is pending or open.
    #[serde(default)]
    pub explanation: Option<Box<Finding>>,
}

/// One message to one receiver about one episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Name of the receiver in the rule files.
    pub receiver: String,
    /// What it says.
    pub kind: NoticeKind,
    /// The episode: the idempotency key, the mail thread and the webhook id are made from it.
    pub episode: String,
    /// Number of the message within the episode and receiver, from 0.
    pub sequence: u32,
    /// Event time of the transition.
    pub at: Timestamp,
    /// The alert at that moment.
    pub alert: AlertView,
}

/// One call of an action, fully rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionCall {
    /// Name of the action in the rule files.
    pub action: String,
    /// The episode that asks for it: the idempotency key.
    pub episode: String,
    /// Event time of the transition.
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// JSON body, its string leaves rendered.
    pub body: serde_json::Value,
    /// The alert that asks for it.
    pub alert: AlertView,
}
