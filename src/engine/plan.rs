//! What the engine is to do, compiled from configuration and baselines. Immutable; shared by all workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::baseline::{Baseline, Task};
use crate::event::decode::{Dictionary, Mapping};
use crate::event::{Measurement, Metric, Segment, Span};
use crate::stats::sequential;
use crate::window::WindowSpec;

use super::comparison::Comparison;
use super::evidence::{Evidence, Level};
use super::measure::Recipe;

/// Versions of one model that are kept apart at the same time. Events of further versions are shed and counted: a field
/// that changes with every event must not be able to take the memory of the process.
pub const MAX_VERSIONS: usize = 64;

/// Events that carry the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeaturesFrom {
    /// Prediction events.
    Prediction,
    /// Feature events.
    Features,
}

/// When a feature counts as drifted for rules over all features of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftRecipe {
    /// The metric.
    pub metric: Metric,
    /// The effect it must reach.
    pub above: f64,
    /// The adjusted p-value it must lie below, where there is no budget of false alarms.
    pub p_adjusted: f64,
}

impl Default for DriftRecipe {
    fn default() -> DriftRecipe {
        DriftRecipe { metric: Metric::Psi, above: 0.1, p_adjusted: 0.01 }
    }
}

/// Segmentation of a model by the values of some tags.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentPlan {
    /// Names of the keys, without `tags.`.
    pub keys: Vec<Arc<str>>,
    /// Tag slots of the keys in the dictionary.
    pub slots: Vec<u32>,
    /// Number of the segment by its values, joined by the unit separator U+001F.
    pub admitted: FxHashMap<String, u16>,
    /// Number of the segment of all other values.
    pub other: u16,
}

/// One monitored model.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// Name in events and results.
    pub name: Arc<str>,
    /// Kind of task.
    pub task: Task,
    /// The baselines of its versions.
    pub baselines: Vec<Arc<Baseline>>,
    /// Index into `baselines` by version.
    pub by_version: BTreeMap<Arc<str>, usize>,
    /// Index into `baselines` of versions that have none of their own.
    pub default_baseline: Option<usize>,
    /// Classes of all baselines; labels and predictions wait in the ledger as indices into it.
    pub classes: Vec<Arc<str>>,
    /// Windows.
    pub windows: Vec<WindowSpec>,
    /// What their events are compared with, parallel to them; with the baseline where there is none. They may change from one run to
    /// the next: panes do not depend on them.
    pub comparisons: Vec<Comparison>,
    /// Length of the panes the windows share.
    pub slice: Span,
    /// How far behind the watermark of its partition a record may lie.
    pub lateness: Span,
    /// Least denominator of a measurement that is relied on.
    pub min_samples: u64,
    /// Which events carry the features.
    pub features_from: FeaturesFrom,
    /// How long after its prediction a label may come; `None` where labels are not joined.
    pub horizon: Option<Span>,
    /// Segmentations.
    pub segments: Vec<SegmentPlan>,
    /// Segments by number; 0 is the overall one.
    pub segment_names: Vec<Segment>,
    /// Drift recipe.
    pub drift: DriftRecipe,
    /// Metrics that are reported.
    pub metrics: Vec<Metric>,
    /// Whose definitions they follow.
    pub recipe: Recipe,
    /// Sequential detectors, of each kind at most one. They may change from one run to the next: panes do not depend on them.
    pub detectors: Vec<sequential::Settings>,
    /// How p-values are made.
    pub evidence: Evidence,
    /// What its budget of false alarms leaves for one look.
    pub level: Option<Level>,
}

impl ModelPlan {
    /// The baseline that judges a version.
    #[must_use]
    pub fn baseline(&self, version: &str) -> Option<&Arc<Baseline>> {
        let index = self.by_version.get(version).copied().or(self.default_baseline)?;
        self.baselines.get(index)
    }

    /// Whether a measurement of the drift recipe's metric is one of drift: large enough, and evident, by the level of a look where
    /// there is a budget of false alarms.
    #[must_use]
    pub fn is_drift(&self, measurement: &Measurement) -> bool {
        let is_evident = match &self.level {
            Some(level) => measurement.p_value.is_some_and(|p| p <= level.level),
            None => measurement.p_adjusted.is_some_and(|p| p < self.drift.p_adjusted),
        };
        is_evident && measurement.value.is_some_and(|value| value >= self.drift.above)
    }

    /// The index of a class by its canonical text.
    #[must_use]
    pub fn class(&self, text: &str) -> Option<u16> {
        self.classes.iter().position(|class| &**class == text).and_then(|index| u16::try_from(index).ok())
    }

    /// What panes of this model are counted over, as one number: bins, classes, slice, lateness, segments, windows, horizon.
    /// Panes of another never merge with them, and a replica with another configuration is not listened to.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let versions: Vec<_> = self.by_version.iter().map(|(name, place)| (name, self.layout_of(*place))).collect();
        let windows: Vec<_> = self.windows.iter().map(|window| (&window.name, window.size, window.slide, window.offset)).collect();
        let text = format!(
            "{:?}",
            (
                (&self.name, self.task, versions, self.default_baseline.map(|place| self.layout_of(place))),
                (&self.classes, windows, self.slice, self.lateness, self.horizon),
                (self.features_from, &self.segment_names),
            )
        );
        xxh3_64(text.as_bytes())
    }

    fn layout_of(&self, baseline: usize) -> Option<u64> {
        self.baselines.get(baseline).map(|baseline| baseline.layout.id)
    }

    /// How the windows of a specification are compared.
    #[must_use]
    pub fn comparison(&self, place: usize) -> Comparison {
        self.comparisons.get(place).copied().unwrap_or_default()
    }

    /// The longest time from what a window still needs to its end: extension and reference included.
    #[must_use]
    pub fn longest_reach(&self) -> Span {
        let reaches = self.windows.iter().enumerate().map(|(place, spec)| spec.size + self.comparison(place).look_back(spec));
        reaches.max().unwrap_or_default()
    }

    /// The longest window.
    #[must_use]
    pub fn longest_window(&self) -> Span {
        self.windows.iter().map(|window| window.size).max().unwrap_or_default()
    }
}

/// Everything the engine is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Models by number.
    pub models: Vec<ModelPlan>,
    /// Number of a model by its name.
    pub by_name: FxHashMap<Arc<str>, u16>,
    /// Where the fields of an event are.
    pub mapping: Arc<Mapping>,
    /// Feature and tag names.
    pub dictionary: Arc<Dictionary>,
    /// How far after its record's time an event may lie.
    pub future_tolerance: Span,
    /// Longest record value.
    pub max_bytes: usize,
    /// Predictions, and labels, kept for the join of one model at most.
    pub ledger_capacity: usize,
    /// As many, where they lie on disk.
    pub ledger_on_disk: usize,
}

impl Plan {
    /// A plan of no model.
    #[must_use]
    pub fn empty() -> Plan {
        Plan {
            models: Vec::new(),
            by_name: FxHashMap::default(),
            mapping: Arc::new(Mapping::default_json()),
            dictionary: Arc::new(Dictionary::default()),
            future_tolerance: Span(5 * Span::MINUTE.0),
            max_bytes: usize::MAX,
            ledger_capacity: 0,
            ledger_on_disk: 0,
        }
    }

    /// The plan of one model alone, under the number 0.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<Plan> {
        let model = self.models.iter().find(|model| *model.name == *name)?.clone();
        let by_name = std::iter::once((Arc::clone(&model.name), 0)).collect();
        Some(Plan { models: vec![model], by_name, ..self.clone() })
    }

    /// The model of that number.
    #[must_use]
    pub fn model(&self, model: u16) -> Option<&ModelPlan> {
        self.models.get(usize::from(model))
    }
}
