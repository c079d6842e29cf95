//! The rule file as it is written: one set of types that is the parser, the JSON Schema and the documentation.
//!
//! Nothing here is checked beyond its shape; `rule::compile` says what a file means and what is wrong with it. Unknown
//! keys are refused. Durations, conditions, templates and matchers stay text until then, so that every fault can name
//! its place.

pub mod action;
pub mod group;
pub mod receiver;
pub mod route;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use action::{ActionSpec, AuthSpec, BasicSpec, BearerSpec, BudgetSpec, Hidden, HoldSpec, Preset, RetrySpec};
pub use group::{
    DefaultsSpec, Dimension, FireSpec, GroupSpec, IncompleteSpec, KindSpec, MinSamplesSpec, OnFiringSpec, PolicySpec, ResolveSpec,
    RuleSpec, SourceSpec, ThresholdSpec, TierSpec,
};
pub use receiver::{AlertmanagerSpec, EmailSpec, ReceiverSpec, RecipientsSpec, SigningSpec, StandardWebhooksSpec, WebhookSpec};
pub use route::{InhibitSpec, RouteSpec, TimeIntervalSpec};

/// A rule file: alert rules, and who is told and what is started when they fire.
///
/// Several files make one set: groups, receivers and actions are put together, and one file has the route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleFile {
    /// Groups of alert rules, each about one model.
    pub groups: Vec<GroupSpec>,
    /// Who is told: the root of the routing tree.
    pub route: Option<RouteSpec>,
    /// Alerts that silence others while they fire.
    pub inhibit_rules: Vec<InhibitSpec>,
    /// Those who can be told: mail and webhooks under a name.
    pub receivers: Vec<ReceiverSpec>,
    /// HTTP calls that rules can make when they fire, by name.
    pub actions: BTreeMap<String, ActionSpec>,
    /// Named times of the week for routes.
    pub time_intervals: Vec<TimeIntervalSpec>,
}

/// The JSON Schema of a rule file (draft 2020-12), made from the types above and their documentation.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RuleFile).to_value()
}
