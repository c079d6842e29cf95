//! Groups and their alert rules, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Alert rules that belong together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Name of the group, unique over all rule files: it is part of the identity of its alerts.
    pub name: String,
    /// The model that the rules are about. Without it they apply to every model of the configuration.
    #[serde(default)]
    pub model: Option<String>,
    /// How often rules of wall time are looked at, like `1m`. Window rules run when a window closes.
    #[serde(default)]
    pub interval: Option<String>,
    /// Labels of every alert of the group. A rule's own labels win.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The `limit` of rules that have none.
    #[serde(default)]
    pub limit: Option<u32>,
    /// What rules of the group do where they do not say it themselves.
    #[serde(default)]
    pub defaults: DefaultsSpec,
    /// The rules.
    pub rules: Vec<RuleSpec>,
}

/// Defaults of the rules of a group.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultsSpec {
    /// What a window without data does.
    pub no_data: Option<PolicySpec>,
    /// What an evaluation that fails does.
    pub error: Option<PolicySpec>,
    /// What a window with too few events does.
    pub insufficient: Option<PolicySpec>,
    /// Events that a window needs to be judged.
    pub min_samples: Option<MinSamplesSpec>,
}

/// One alert rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Name of the alert, unique in its group: the label `alertname`.
    pub alert: String,
    /// What the rule looks at: closed windows, or the input itself.
    #[serde(default)]
    pub kind: KindSpec,
    /// Whether the rule is judged. One that is not is still checked, and stands in for the built-in rule of its kind.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// One alert instance for each of these. Every version of a model has instances of its own in any case.
    #[serde(default)]
    pub each: Vec<Dimension>,
    /// Where the value comes from.
    #[serde(default)]
    pub source: SourceSpec,
    /// The value, a CEL expression. By default the metric of the source. Names of metrics are their values
    /// (`psi`, `accuracy`), `psi_p_adjusted` and `psi_p_value` their evidence, `p_adjusted` and `p_value` the evidence of the
    /// source's metric, `reference.accuracy` the value in the baseline. Rules without `feature` in `each` see the list
    /// `features` (each with `name`, `drifted`, `status`, its metrics and evidence) and the names `features_drifted`.
    #[serde(default)]
    pub value: Option<String>,
    /// The evidence that a breach needs beside the value, a CEL expression that is true or false. It is asked only where the
    /// value breaches a tier.
    #[serde(default)]
    pub when: Option<String>,
    /// When the alert fires.
    pub fire: FireSpec,
    /// When a firing alert is over. By default as soon as no tier is breached.
    #[serde(default)]
    pub resolve: Option<ResolveSpec>,
    /// Events that a window (and the baseline) needs to be judged.
    #[serde(default)]
    pub min_samples: Option<MinSamplesSpec>,
    /// How long after its end the same instance tells nobody of a new episode, unless its severity is higher than the last told.
    #[serde(default)]
    pub cooldown: Option<String>,
    /// Labels of the alert; the values may be templates. They are fixed when an episode begins.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Texts for people; the values are templates.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Actions to ask for when the alert goes firing, each at most once an episode.
    #[serde(default)]
    pub on_firing: Vec<OnFiringSpec>,
    /// Whether windows that are not fully covered by input are judged. By default they change nothing.
    #[serde(default)]
    pub incomplete: IncompleteSpec,
    /// Most instances that fire one by one. Above it one aggregate alert speaks for all of them.
    #[serde(default)]
    pub limit: Option<u32>,
    /// What a window without data does. By default nothing.
    #[serde(default)]
    pub no_data: Option<PolicySpec>,
    /// What an evaluation that fails does. By default nothing. It never resolves an alert.
    #[serde(default)]
    pub error: Option<PolicySpec>,
    /// What a window with too few events does. By default nothing.
    #[serde(default)]
    pub insufficient: Option<PolicySpec>,
}

fn enabled() -> bool {
    true
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KindSpec {
    /// Windows of event time as they close, or as their labels have come in.
    #[default]
    Window,
    /// The wall time since the last record of the model: `above` is a duration.
    Absence,
    /// The share of the records of a topic that were rejected within the last minute of wall time: `above` is a share from
    /// 0 to 1, `min_samples` the records that must have come, 100 where nothing is said. One alert for each topic, over at
    /// half of the lower threshold where nothing is said. While it fires no dead letters are sent for the topic. In a group
    /// without a model; without any such rule there is one, `SchemaDrift`, a warning above 0.05.
    Schema,
    /// Records that can never be read, because they were deleted before: `above` is their number, 0 for any. One alert for
    /// each topic, over when there was no further gap for `resolve.for`, 1h of wall time where nothing is said. In a group
    /// without a model; without any such rule there is one, `IngestGap`, a warning.
    Gap,
}

/// What there is one instance for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Every feature of the baseline.
    Feature,
    /// Every segment, and all events together.
    Segment,
    /// Every version; they are apart in any case.
    Version,
}

/// Where a rule's value comes from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// The metric whose status and evidence count. May be left out where the value is made of `features`.
    pub metric: Option<String>,
    /// Name of a window of the model.
    pub window: Option<String>,
    /// What the metric is about in a rule without `feature` in `each`: `prediction`, `score`, `proba:CLASS` or `label`.
    pub subject: Option<String>,
    /// Share of the window's predictions that need a label before the rule looks at it, above 0 and at most 1. Default 0.8
    /// where the metric needs labels.
    pub label_coverage: Option<f64>,
    /// What the window is compared with: `training`, the model's baseline.
    pub reference: Option<String>,
}

/// The tiers of a rule. They make one alert whose severity can rise at once and falls only by the alert's end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FireSpec {
    /// The lower tier.
    #[serde(default)]
    pub warning: Option<TierSpec>,
    /// The higher tier.
    #[serde(default)]
    pub critical: Option<TierSpec>,
}

/// One tier: exactly one of `above`, `below` and `expr`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// Breached by a greater value; a duration in rules of absence.
    #[serde(default)]
    pub above: Option<ThresholdSpec>,
    /// Breached by a smaller value.
    #[serde(default)]
    pub below: Option<ThresholdSpec>,
    /// Breached where this CEL expression is true; it sees what `value` sees, and `value`.
    #[serde(default)]
    pub expr: Option<String>,
    /// How long: `2 windows`, `3 of 4 windows`, or a duration like `15m` between window ends. Default `1 windows`.
    #[serde(default, rename = "for")]
    pub hold: Option<String>,
}

/// The end of an alert: exactly one of `above`, `below` and `expr`; none of them for gaps, which are over after a time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveSpec {
    /// Over when the value is greater.
    #[serde(default)]
    pub above: Option<ThresholdSpec>,
    /// Over when the value is smaller.
    #[serde(default)]
    pub below: Option<ThresholdSpec>,
    /// Over where this CEL expression is true.
    #[serde(default)]
    pub expr: Option<String>,
    /// How long: `2 windows` in a row, or a duration. Default `1 windows`.
    #[serde(default, rename = "for")]
    pub hold: Option<String>,
}

/// A number, a duration like `15m` in rules of absence, or `budget`: then the p-value of the rule's metric is held against the
/// level that the model's `false_alarms` leave for one look.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number, budget, or a duration like 15m")]
pub enum ThresholdSpec {
    /// A plain number; seconds in rules of absence.
    Number(f64),
    /// A duration, or the word `budget`.
    Duration(String),
}

/// Events needed: a number for the window, or both numbers.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a whole number, or { current: N, reference: N }")]
pub enum MinSamplesSpec {
    /// Events in the window.
    Current(u64),
    /// Events in the window and in the baseline.
    Both {
        /// Events in the window.
        current: u64,
        /// Events in the baseline.
        #[serde(default)]
        reference: u64,
    },
}

/// An action to ask for when an alert goes firing.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnFiringSpec {
    /// Name of the action.
    pub action: String,
    /// How long the alert must have been firing, in event time. Default at once.
    #[serde(default)]
    pub after: Option<String>,
    /// Values for the action's templates, as `with.NAME`; strings are templates themselves.
    #[serde(default, rename = "with")]
    pub arguments: BTreeMap<String, serde_json::Value>,
}

/// Whether incomplete windows are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncompleteSpec {
    /// They change nothing.
    #[default]
    Keep,
    /// They are judged like complete ones.
    Ok,
}

/// What an outcome without a verdict does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicySpec {
    /// The state stays as it is.
    #[default]
    Keep,
    /// It counts as a window without a breach.
    Ok,
    /// It counts as a breach of the highest tier.
    Fire,
}
