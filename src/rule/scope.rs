//! What rules can be about: the models of the configuration, as far as rules refer to them.

use crate::event::{Metric, Span};

/// When a feature counts as drifted in `features` and `features_drifted`: the model's `drift` recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftRecipe {
    /// The metric whose value and evidence count.
    pub metric: Metric,
    /// Least value of a drifted feature.
    pub at_least: f64,
    /// The adjusted p-value of a drifted feature is below this.
    pub p_adjusted_below: f64,
}

impl Default for DriftRecipe {
    /// PSI of at least 0.1 with an adjusted p-value below 0.01.
    fn default() -> DriftRecipe {
        DriftRecipe { metric: Metric::Psi, at_least: 0.1, p_adjusted_below: 0.01 }
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
