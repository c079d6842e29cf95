//! What a model predicts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a model's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One of two classes, usually with the probability of the positive one.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
    /// Features are monitored, and the output as it is, without performance.
    #[default]
    None,
}

impl Task {
    /// The task as written in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Binary => "binary",
            Task::Multiclass => "multiclass",
            Task::Regression => "regression",
            Task::None => "none",
        }
    }

    /// Whether the output is a class.
    #[must_use]
    pub fn is_classification(self) -> bool {
        matches!(self, Task::Binary | Task::Multiclass)
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
