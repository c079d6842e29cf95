//! What rules can be about: the models of the configuration, as far as rules refer to them.

use crate::event::{Metric, Span};

/// When a feature counts as drifted in `features` and `features_drifted`: the model's `drift` recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftRecipe {
    /// The metric whose value and evidence count.
    pub metric: Metric,
    /// Least value of a drifted feature.
    pub at_least: f64,
    /// The adjusted p-value of a drifted feature is below this, where the model has no budget of false alarms.
    pub p_adjusted_below: f64,
    /// The level of one look under its budget: the p-value of a drifted feature is at most this, and `budget` in conditions
    /// stands for it.
    pub level: Option<f64>,
}

impl DriftRecipe {
    /// Whether an effect with its evidence is drift; `None` where the evidence is not known.
    #[must_use]
    pub fn is_drift(&self, value: f64, p_value: Option<f64>, p_adjusted: Option<f64>) -> Option<bool> {
        let is_sure = match self.level {
            Some(level) => p_value? <= level,
            None => p_adjusted? < self.p_adjusted_below,
        };
        Some(value >= self.at_least && is_sure)
    }
}

impl Default for DriftRecipe {
    /// PSI of at least 0.1 with an adjusted p-value below 0.01.
    fn default() -> DriftRecipe {
        DriftRecipe { metric: Metric::Psi, at_least: 0.1, p_adjusted_below: 0.01, level: None }
    }
}

/// A window of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowScope {
    /// Its name.
    pub name: String,
    /// Its length.
    pub size: Span,
    /// The distance of its starts.
    pub slide: Span,
}

/// A model as rules see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelScope {
    /// Its name.
    pub name: String,
    /// Its windows.
    pub windows: Vec<WindowScope>,
    /// Names of its monitored features, where the baseline is known.
    pub features: Option<Vec<String>>,
    /// Its classes, where the baseline is known; empty otherwise or without classes.
    pub classes: Vec<String>,
    /// The metrics that are computed for it: those of drift and quality, and those of performance of its task.
    pub metrics: Vec<Metric>,
    /// Keys of its segments, such as `region`.
    pub segment_keys: Vec<String>,
    /// Events below which its measurements are `insufficient`.
    pub min_samples: u64,
    /// When a feature counts as drifted.
    pub drift: DriftRecipe,
}

impl ModelScope {
    /// The window of that name.
    #[must_use]
    pub fn window(&self, name: &str) -> Option<&WindowScope> {
        self.windows.iter().find(|window| window.name == name)
    }
}

/// All models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// The models, in the order of the configuration.
    pub models: Vec<ModelScope>,
}

impl Scope {
    /// The model of that name.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&ModelScope> {
        self.models.iter().find(|model| model.name == name)
    }
}
