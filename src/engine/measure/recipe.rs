//! Whose numbers a model reports: driftline's own, or those of a tool that its users come from.
//!
//! A recipe changes what it can say of psi, js distance, hellinger, linf, Wasserstein and ks; everything else stays as it is.
//! Tools that bin a number between the joint minimum and maximum of both samples need the rows; that is refused
//! by name, and never answered by another number.

use crate::event::Metric;

/// A recipe by the name of its tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recipe {
    /// driftline's own definitions.
    #[default]
    Driftline,
    /// Evidently 0.7.
    Evidently,
    /// NannyML 0.13.
    Nannyml,
    /// Model monitoring of Azure Machine Learning.
    Azure,
    /// TensorFlow Data Validation 1.x.
    Tfdv,
}

impl Recipe {
    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Recipe::Driftline => "driftline",
            Recipe::Evidently => "evidently",
            Recipe::Nannyml => "nannyml",
            Recipe::Azure => "azure",
            Recipe::Tfdv => "tfdv",
        }
    }

    /// What of a number's metric this tool needs and panes do not have; `None` where there is nothing of that kind.
    #[must_use]
    pub fn refusal(self, metric: Metric) -> Option<&'static str> {
        match (self, metric) {
            (Recipe::Evidently, Metric::Psi | Metric::JsDistance | Metric::Hellinger)
            | (Recipe::Azure, Metric::Psi | Metric::JsDistance) => Some("bins between the minimum and maximum of both samples together"),
            (Recipe::Tfdv, Metric::JsDistance) => Some("ten bins between each sample's own minimum and maximum"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_the_rows_is_refused() {
        let refused = |recipe: Recipe| Metric::ALL.into_iter().filter(|metric| recipe.refusal(*metric).is_some()).count();
        let counts = [Recipe::Driftline, Recipe::Nannyml, Recipe::Evidently, Recipe::Azure, Recipe::Tfdv].map(refused);
        assert_eq!(counts, [0, 0, 3, 2, 1]);
    }
}
