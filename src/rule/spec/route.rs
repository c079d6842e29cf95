//! Who is told: the routing tree, inhibition and times, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// A node of the routing tree. The root matches every alert.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSpec {
    /// Name of a receiver. The root needs one, others take their parent's.
    pub receiver: Option<String>,
    /// All of these must match the labels of the alert: `name="value"`, `!=`, and `=~`, `!~` with an anchored regular expression.
    pub matchers: Vec<String>,
    /// Whether siblings after this route are asked too.
    #[serde(rename = "continue")]
    pub go_on: bool,
    /// Labels whose alerts are told together.
    pub group_by: Option<Vec<String>>,
    /// How long to wait for more alerts of a new group.
    pub group_wait: Option<String>,
    /// How long to wait before a group is told again because it has changed.
    pub group_interval: Option<String>,
    /// How long to wait before a firing group is told again unchanged.
    pub repeat_interval: Option<String>,
    /// Names of time intervals in which nobody is told.
    pub mute_time_intervals: Vec<String>,
    /// Names of the only time intervals in which somebody is told.
    pub active_time_intervals: Vec<String>,
    /// Routes for some of the alerts; the first that matches wins, and those after a match with `continue`.
    pub routes: Vec<RouteSpec>,
}

/// Alerts that silence others while they fire.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InhibitSpec {
    /// Matchers of the alerts that silence.
    pub source_matchers: Vec<String>,
    /// Matchers of the alerts that are silenced.
    pub target_matchers: Vec<String>,
    /// Labels that must be equal in both.
    pub equal: Vec<String>,
}

/// Named times of the week.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeIntervalSpec {
    /// Name, for `mute_time_intervals` and `active_time_intervals`.
    pub name: String,
    /// The intervals, in the form of Alertmanager.
    #[serde(default)]
    pub time_intervals: Vec<serde_json::Value>,
}
