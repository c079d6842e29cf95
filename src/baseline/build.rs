//! What a baseline is built to: the settings, and what can be wrong with the rows.
//!
//! Building takes two looks at the rows, which somebody else reads: a [`super::survey::Survey`] finds types, bins, levels and classes in
//! constant memory, a [`super::tally::Tally`] counts every row over them by the code that counts the stream.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::Metric;

use super::output::OutputError;
use super::rows::Selection;
use super::season::Season;
use super::segment::SegmentSpec;
use super::task::Task;

/// The type of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// Numbers over bins.
    Numeric,
    /// Levels by their canonical text; booleans are levels too.
    Categorical,
    /// Arrays of numbers of one length.
    Embedding,
}

/// A score of at least this predicts the positive class, where nothing else is said.
pub const DEFAULT_THRESHOLD: f64 = 0.5;
/// Classes of a task: the confusion counts of a pane grow with their square (256 classes: 0.5 MB a pane).
pub const CLASSES: usize = 256;

/// What a baseline is built to.
#[derive(Clone, Debug)]
pub struct BuildSpec {
    /// Name of the model.
    pub model: String,
    /// Kind of its output.
    pub task: Task,
    /// The positive class of a binary task; where it is not set, the last class by name, and a note says so.
    pub positive_class: Option<String>,
    /// A score of at least this predicts the positive class.
    pub threshold: f64,
    /// Types of features that are set rather than inferred.
    pub types: BTreeMap<String, FeatureType>,
    /// Which columns are read, and as what.
    pub selection: Selection,
    /// How the rows are cut into segments.
    pub segments: Vec<SegmentSpec>,
    /// By which hours they are kept apart, if by any.
    pub seasonal: Option<Season>,
    /// How much features matter to the model, by name; kept as it is.
    pub importance: BTreeMap<String, f64>,
    /// Measures of many dimensions at once that are prepared: of [`Metric::MULTIVARIATE`].
    pub multivariate: Vec<Metric>,
}

impl BuildSpec {
    /// The settings of a model that says nothing but its name and task.
    #[must_use]
    pub fn new(model: &str, task: Task) -> BuildSpec {
        BuildSpec {
            model: model.to_owned(),
            task,
            positive_class: None,
            threshold: DEFAULT_THRESHOLD,
            types: BTreeMap::new(),
            selection: Selection::default(),
            segments: Vec::new(),
            seasonal: None,
            importance: BTreeMap::new(),
            multivariate: Vec::new(),
        }
    }
}

impl BuildSpec {
    /// Whether types and importances are those of features that are there.
    pub(super) fn check_features(&self, is_known: impl Fn(&str) -> bool) -> Result<(), BuildError> {
        if let Some(name) = self.types.keys().find(|name| !is_known(name)) {
            return Err(BuildError::UnknownFeature(name.clone()));
        }
        match self.importance.keys().find(|name| !is_known(name)) {
            Some(name) => Err(BuildError::UnknownImportance(name.clone())),
            None => Ok(()),
        }
    }
}

/// Why no baseline can be built from the rows.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BuildError {
    /// The table is empty.
    #[error("the input has no rows")]
    NoRows,
    /// A type is set for what is no feature.
    #[error("features.types names '{0}', which is not a feature of the input")]
    UnknownFeature(String),
    /// An importance is given to what is no feature.
    #[error("features.importance names '{0}', which is not a feature of the input")]
    UnknownImportance(String),
    /// Segments are made by a column that is not there.
    #[error("segments name '{0}', which is not a column of the input")]
    UnknownSegment(String),
    /// Admitted values that do not fit their keys.
    #[error("segments by {by} admit a value of {found} parts, not {wanted}")]
    SegmentValue {
        /// The keys.
        by: String,
        /// Parts of the value.
        found: usize,
        /// Number of keys.
        wanted: usize,
    },
    /// A column that has to be numeric has no number.
    #[error("column '{column}' is numeric, but none of its {rows} rows has a number")]
    NoNumbers {
        /// The column.
        column: String,
        /// Rows of the table.
        rows: u64,
    },
    /// A column of embeddings has no array of numbers, or only such that are too long.
    #[error("column '{column}' holds embeddings, but none of its {rows} rows has an array of 1 to {most} numbers", most = super::space::MAX_DIMENSION)]
    NoVectors {
        /// The column.
        column: String,
        /// Rows of the table.
        rows: u64,
    },
    /// The output of a row cannot be used.
    #[error("row {row}: column '{column}': {fault}")]
    Output {
        /// Number of the row over all files, from 1.
        row: u64,
        /// The column.
        column: String,
        /// What is wrong.
        fault: OutputError,
    },
    /// No column says what the model predicted.
    #[error("a {task} model needs {wanted} in the input")]
    NoOutput {
        /// The task.
        task: Task,
        /// The columns of which one is needed.
        wanted: &'static str,
    },
    /// A binary task with another number of classes than two.
    #[error("a binary model has two classes, but the input has {count}: {classes}")]
    NotBinary {
        /// How many there are.
        count: usize,
        /// The first of them.
        classes: String,
    },
    /// Rows that are to be kept by hour have no times.
    #[error("the rows are to be kept by {}, but none has a time in a column 'ts'", .0.as_str())]
    NoTimes(Season),
    /// More classes than [`CLASSES`].
    #[error("{0} classes are more than the {CLASSES} that can be monitored; is the task a regression?")]
    ManyClasses(usize),
    /// A threshold that no probability can be compared with.
    #[error("threshold {0} is not between 0 and 1")]
    Threshold(f64),
    /// The rows were not looked at for the last time, in which multivariate sums are made.
    #[error("the rows have to be looked at once more")]
    Unfinished,
    /// The rows of the second look are not those of the first.
    #[error("the input changed while it was read: {first} rows at first, {second} at the second look")]
    Changed {
        /// Rows of the first look.
        first: u64,
        /// Rows of the second look.
        second: u64,
    },
}
