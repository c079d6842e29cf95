//! An entry of `models` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, OneOrMany, Plain, Switch};

/// One model to watch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Name of the model as the events give it.
    pub name: String,
    /// The baseline: a file for every version, or files by version (`default` for the others).
    pub baseline: Option<BaselineEntry>,
    /// What the model does. Default: none, no performance is measured.
    #[schemars(extend("default" = "none"))]
    pub task: Option<TaskName>,
    /// The positive class of a binary model. Default: 1.
    pub positive_class: Option<Plain>,
    /// The score from which on a binary model predicts the positive class, 0 to 1. Default: 0.5.
    #[schemars(extend("default" = 0.5))]
    pub threshold: Option<f64>,
    /// Which features are monitored and as what.
    pub features: Option<FeaturesEntry>,
    /// From which events the features of an id are counted. Default: prediction.
    #[schemars(extend("default" = "prediction"))]
    pub features_from: Option<FeaturesFrom>,
    /// The sliding windows. Default: 1h every 5m and 1d every 1h.
    pub windows: Option<Vec<WindowEntry>>,
    /// How far a record may lie behind its partition's newest before it is late. Default: 2m.
    #[schemars(extend("default" = "2m"))]
    pub lateness: Option<DurationText>,
    /// Fewest events on which anything is judged. Default: 500.
    #[schemars(range(min = 1), extend("default" = 500))]
    pub min_samples: Option<u64>,
    /// How labels are joined to predictions. Default: joined where there is a task, and Kafka has a topic of labels or is
    /// not set up.
    pub labels: Option<LabelsEntry>,
    /// Parts of the traffic that are measured by themselves as well.
    pub segments: Option<Vec<SegmentEntry>>,
    /// Whether events with the model, version, id and kind of an earlier one are dropped. Default: off.
    #[schemars(extend("default" = "off"))]
    pub dedupe: Option<Switch>,
    /// Whether events count by their weight. Default: off.
    #[schemars(extend("default" = "off"))]
    pub weighted: Option<Switch>,
    /// The metrics to compute, or `all`, where the task and the types of the features allow. Default: `psi`, `js_distance`, `ks`,
    /// `wasserstein`, `wasserstein_normed`, `chi_square`, `total_variation`, the rates, the centroids of embeddings, and the
    /// performance of the task.
    pub metrics: Option<OneOrMany>,
    /// Measures of many dimensions at once: `reconstruction_error`, `mmd`, `correlation_shift`,
    /// `domain_classifier_auc`. Default: those that `metrics` names; `all` names none of them.
    pub multivariate: Option<Vec<String>>,
    /// Whose definitions of the metrics are followed, for comparison with a tool that was used before. Default: driftline.
    #[schemars(extend("default" = "driftline"))]
    pub recipe: Option<RecipeName>,
    /// Sequential detectors: a name, or a name with parameters. Default: none.
    pub detectors: Option<Vec<DetectorEntry>>,
    /// By which hours `baseline build` keeps the rows apart, by their times in UTC. Default: what the windows ask for.
    pub seasonal: Option<SeasonName>,
    /// When a feature counts as drifted.
    pub drift: Option<DriftEntry>,
    /// How many false alarms are accepted in which time, such as `1 per 30d`: sets the thresholds of all series of the model,
    /// for rules with `above: budget` and for what counts as drifted. Default: none.
    #[schemars(extend("examples" = ["1 per 30d"]))]
    pub false_alarms: Option<String>,
    /// How p-values are made.
    pub evidence: Option<EvidenceEntry>,
}

/// How p-values are made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceEntry {
    /// Whether they allow for rows that belong together, as measured on a baseline whose rows had times. Default: on.
    #[schemars(extend("default" = "on"))]
    pub design_effects: Option<Switch>,
    /// How they are adjusted over the features. Default: `benjamini_hochberg`.
    #[schemars(extend("default" = "benjamini_hochberg"))]
    pub adjust: Option<AdjustName>,
}

/// An adjustment for being many.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustName {
    /// The expected share of false discoveries is kept.
    BenjaminiHochberg,
    /// The chance of any false discovery is kept.
    Bonferroni,
}

/// Whose definitions of the metrics are followed.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecipeName {
    /// driftline's own.
    Driftline,
    /// Those of Evidently.
    Evidently,
    /// Those of NannyML.
    Nannyml,
    /// Those of Azure Machine Learning.
    Azure,
    /// Those of TensorFlow Data Validation.
    Tfdv,
}

/// A file, a reference to be learnt from the stream, or files by version.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BaselineEntry {
    /// One file for every version.
    File(String),
    /// Freeze a baseline from the first part of the stream.
    Learn(LearnEntry),
    /// Files by version; `default` serves the versions that are not named.
    Versions(BTreeMap<String, String>),
}

/// A baseline that is frozen from the stream before anything is judged.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LearnEntry {
    /// How long to learn.
    pub learn: DurationText,
}

/// What a model does.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskName {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
    /// Not known: predictions are monitored, performance is not measured.
    None,
}

/// Which features are monitored and as what.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeaturesEntry {
    /// Globs of the features to monitor. Default: `["*"]`.
    #[schemars(extend("default" = ["*"]))]
    pub include: Option<OneOrMany>,
    /// Globs of those to leave out all the same. Default: none.
    pub exclude: Option<OneOrMany>,
    /// Types by feature, where the type inferred from the reference is not the right one.
    pub types: Option<BTreeMap<String, FeatureTypeName>>,
    /// How much features matter to the model, by name, in any unit; written into the baseline when it is built. Default: unknown.
    pub importance: Option<BTreeMap<String, f64>>,
}

/// Type of a feature.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeatureTypeName {
    /// Numbers.
    Numeric,
    /// Levels, compared by their text.
    Categorical,
    /// The levels true and false.
    Boolean,
    /// Arrays of numbers of one length, 1 to 1536.
    Embedding,
}

/// From which events the features of an id are counted.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeaturesFrom {
    /// From prediction events.
    Prediction,
    /// From feature events.
    Features,
}

/// A sliding window: [start, end) in UTC, a start at every multiple of `slide` from the epoch plus `offset`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowEntry {
    /// Name of the window in rules and results. Default: its size as written.
    pub name: Option<String>,
    /// How long it is; a multiple of `slide`.
    pub size: DurationText,
    /// From one window to the next. Default: its size.
    pub slide: Option<DurationText>,
    /// Shift of the starts, less than `slide`; 4d for weeks that begin on Monday. Default: 0s.
    #[schemars(extend("default" = "0s"))]
    pub offset: Option<DurationText>,
    /// What its features and outputs are compared with. Default: all rows of the baseline.
    pub reference: Option<ReferenceEntry>,
    /// How long a window with fewer events than `min_samples` may become: its start moves back by whole slides, for each segment by
    /// itself. Default: its size.
    pub extend_to: Option<DurationText>,
}

/// What the features and outputs of a window are compared with: one of `previous`, `daily`, `weekly` and `baseline`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceEntry {
    /// With so many windows of its size that end where it starts, side by side.
    #[schemars(range(min = 1, max = 400))]
    pub previous: Option<u32>,
    /// With the same hours of so many days before.
    #[schemars(range(min = 1, max = 400))]
    pub daily: Option<u32>,
    /// With the same hours of so many weeks before.
    #[schemars(range(min = 1, max = 400))]
    pub weekly: Option<u32>,
    /// With the rows of the baseline at the hours that the window touches.
    pub baseline: Option<SeasonName>,
    /// Which of the earlier windows are left out. Default: drifted.
    #[schemars(extend("default" = "drifted"))]
    pub leave_out: Option<LeaveOutName>,
}

/// By which hours rows are told apart.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeasonName {
    /// The 24 hours of a day.
    HourOfDay,
    /// The 168 hours of a week.
    HourOfWeek,
}

/// Which earlier windows are left out of a reference.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaveOutName {
    /// Those in which something had drifted, by the `drift` of the model.
    Drifted,
    /// None.
    Nothing,
}

/// How labels are joined to predictions.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelsEntry {
    /// Longest time from a prediction to its label. Default: 30d.
    #[schemars(extend("default" = "30d"))]
    pub horizon: Option<DurationText>,
}

/// Parts of the traffic by the values of tags.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// The tags, as `tags.region`.
    pub by: OneOrMany,
    /// Most values that are measured by themselves, the rest is `other`. Default: 50.
    #[schemars(range(min = 1, max = 1000), extend("default" = 50))]
    pub limit: Option<u32>,
    /// The values that are measured by themselves, for a segment by one tag. Default: those of the baseline's column of
    /// that name, by their share.
    pub values: Option<Vec<Plain>>,
}

/// A sequential detector.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DetectorEntry {
    /// With its default parameters.
    Name(String),
    /// With some of its own.
    Parameters(Box<DetectorParameters>),
}

/// A sequential detector with its parameters; each has only some of them. Defaults: docs/detectors.md.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectorParameters {
    /// adwin, `page_hinkley`, ddm, eddm, `hddm_a` or `hddm_w`.
    pub name: String,
    /// adwin: how improbable a difference must be. `page_hinkley`: what a change has to exceed, in standard errors.
    pub delta: Option<f64>,
    /// adwin: steps from one look to the next.
    pub clock: Option<u32>,
    /// adwin: buckets of one size.
    pub max_buckets: Option<u32>,
    /// adwin: fewest steps of a part.
    pub min_window_length: Option<u32>,
    /// adwin: steps before the first look.
    pub grace_period: Option<u32>,
    /// `page_hinkley`: steps before the first drift.
    pub min_instances: Option<u32>,
    /// `page_hinkley`: what the sum has to exceed.
    pub threshold: Option<f64>,
    /// `page_hinkley`: what is left of the sum after a step. eddm: share of the greatest distance that warns.
    pub alpha: Option<f64>,
    /// `page_hinkley`: which changes count.
    pub mode: Option<DirectionName>,
    /// ddm: answers before the first word. eddm: answers, and errors.
    pub warm_start: Option<u32>,
    /// ddm: standard deviations to a warning.
    pub warning_threshold: Option<f64>,
    /// ddm: standard deviations to a drift.
    pub drift_threshold: Option<f64>,
    /// eddm: share of the greatest distance that is a drift.
    pub beta: Option<f64>,
    /// `hddm_a`, `hddm_w`: probability of a drift where there is none.
    pub drift_confidence: Option<f64>,
    /// `hddm_a`, `hddm_w`: probability of a warning where there is none.
    pub warning_confidence: Option<f64>,
    /// `hddm_w`: weight of the newest answer.
    pub lambda_val: Option<f64>,
    /// `hddm_a`, `hddm_w`: whether fewer errors count, too.
    pub two_sided_test: Option<bool>,
}

/// Which changes count.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DirectionName {
    /// A higher mean.
    Up,
    /// A lower mean.
    Down,
    /// Either.
    Both,
}

/// When a feature counts as drifted in a window.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftEntry {
    /// The metric of the effect. Default: psi.
    #[schemars(extend("default" = "psi"))]
    pub metric: Option<String>,
    /// From which effect on. Default: 0.1; 0 where the model has `false_alarms`.
    #[schemars(extend("default" = 0.1))]
    pub above: Option<f64>,
    /// Below which adjusted p-value; not where the model has `false_alarms`. Default: 0.01.
    #[schemars(extend("default" = 0.01))]
    pub p_adjusted: Option<f64>,
}
