//! The baseline as a JSON document: its fields, its schema, and what can be wrong with it.
//!
//! Numbers are written in the shortest form that parses back, sums exactly, maps in a fixed order: the same rows give the
//! same bytes. `codec` turns it into a [`super::Baseline`] and back.

use std::collections::BTreeMap;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::season::Season;
use super::summary::{LevelCounts, Summary};
use super::task::Task;

/// Version of the document that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Why a document is not a baseline.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not JSON, or not of this shape.
    #[error("not a baseline: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later version of the program.
    #[error("format {0} is newer than {FORMAT}, the newest that this version reads")]
    Newer(u32),
    /// A field whose value contradicts itself or another.
    #[error("{field}: {fault}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        fault: String,
    },
}

impl DocumentError {
    pub(super) fn field(field: impl Into<String>, fault: impl Into<String>) -> DocumentError {
        DocumentError::Field { field: field.into(), fault: fault.into() }
    }
}

/// A baseline: the bins that a model's events are counted over, and the training data counted over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "driftline baseline")]
pub struct Document {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// Kind of the model's output.
    pub task: Task,
    /// Classes of a classification by their canonical text, ascending.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The positive class of a binary task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_class: Option<String>,
    /// A score of at least this predicts the positive class.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Rows of the training data.
    pub rows: u64,
    /// By how much, as a share of the rows, the edges may lie beside their quantiles.
    #[serde(default)]
    pub rank_error: f64,
    /// What a reader should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How much features matter to the model, by name: not negative, in any unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub importance: BTreeMap<String, f64>,
    /// The monitored columns in the order of their cells.
    pub columns: Vec<ColumnDocument>,
    /// The numeric features together, where their drift is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<JointDocument>,
    /// The features that a sample of rows is kept of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sampled: Vec<String>,
    /// The label's column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnDocument>,
    /// All rows.
    pub reference: ReferenceDocument,
    /// Rows by segment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentDocument>,
    /// All rows by hour, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seasons: Option<SeasonsDocument>,
}

/// All rows with a time, by the hour at which they came, in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeasonsDocument {
    /// By which hours.
    pub by: Season,
    /// Those with rows, ascending.
    pub hours: Vec<HourDocument>,
}

/// The rows of one hour. Only what is not 0 is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HourDocument {
    /// The hour, 0 from midnight, or from midnight before Monday.
    pub hour: u16,
    /// Number of rows.
    pub rows: u64,
    /// Sum of the weights, exact.
    pub weight: String,
    /// Parallel to the columns.
    pub columns: Vec<SparseCountsDocument>,
}

/// Counts of one column that are not 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SparseCountsDocument {
    /// Pairs of cell and count. Cells 0 to 4 are null, missing, NaN, infinite and wrong type, then come the bins or levels as in the
    /// reference.
    pub cells: Vec<(usize, u64)>,
    /// Moments of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<SumsDocument>,
}

/// One column and its bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnDocument {
    /// `feature:NAME`, `prediction`, `score`, `proba:CLASS` or `label`.
    pub subject: String,
    /// The reference in a few numbers. For readers: it is computed again from the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Its bins.
    pub bins: BinsDocument,
    /// How many levels a categorical column has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_counts: Option<LevelCounts>,
    /// How large effects are without drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_tables: Option<NullsDocument>,
    /// How much less rows that belong together say than independent ones, measured between contiguous blocks of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design_effects: Option<EffectsDocument>,
}

/// Design effects by kind of statistic: pairs of the rows of a window and the factor by which their variance is inflated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectsDocument {
    /// Of the shares of coarse bins or levels, on average.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<(f64, f64)>,
    /// Of the same, as far as their tail is concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells_tail: Vec<(f64, f64)>,
    /// Of the distribution function, on average.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<(f64, f64)>,
    /// Of the same, as far as its tail is concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_tail: Vec<(f64, f64)>,
    /// Of the mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<(f64, f64)>,
    /// Of the rate of nulls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null: Vec<(f64, f64)>,
    /// Of the rate of invalid values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<(f64, f64)>,
}

/// Quantiles of effects without drift, divided by sqrt(1/n + 1/m).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NullsDocument {
    /// Of the total variation.
    pub total_variation: Vec<f64>,
    /// Of the greatest difference of a share.
    pub linf: Vec<f64>,
    /// Of the Wasserstein distance; numeric columns only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasserstein: Option<Vec<f64>>,
    /// Of the energy distance; numeric columns only. Older baselines have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Vec<f64>>,
    /// Of the Cramér-von Mises statistic; numeric columns with frequent values only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cramer_von_mises: Option<Vec<f64>>,
    /// Of the Anderson-Darling statistic; numeric columns with frequent values only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anderson_darling: Option<Vec<f64>>,
}

/// The bins of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BinsDocument {
    /// Numbers.
    Numeric(NumericDocument),
    /// Levels.
    Categorical(CategoricalDocument),
    /// Vectors.
    Embedding(SpaceDocument),
}

/// The bins of a numeric column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumericDocument {
    /// Fine edges, strictly ascending, from the next float below the minimum to the maximum. Bins are right-closed.
    pub edges: Vec<f64>,
    /// The inner deciles made distinct; each is a fine edge too.
    pub coarse_edges: Vec<f64>,
    /// What moments are taken around: the mean.
    pub center: f64,
    /// The unit of the moments: the standard deviation (n).
    pub scale: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
}

/// The levels of a categorical column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoricalDocument {
    /// Levels with a cell of their own, by descending share, ties by name.
    pub levels: Vec<String>,
    /// Further levels of the reference, which count as `other`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<String>,
}

/// What is summed of vectors of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpaceDocument {
    /// The mean, by dimension.
    pub center: Vec<f64>,
    /// What deviations from it are divided by: one number, or one by dimension.
    pub scale: Vec<f64>,
    /// Where the mean is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centroid: Option<CentroidDocument>,
    /// Principal directions, where the reconstruction error is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<Vec<f64>>>,
    /// The share of the variance that each explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explained: Vec<f64>,
    /// Where the distribution is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelDocument>,
}

/// The mean of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CentroidDocument {
    /// Traces of the square and the cube of the covariance matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrum: Option<[f64; 2]>,
}

/// A Gaussian kernel by random features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelDocument {
    /// What the random directions are drawn from.
    pub seed: u64,
    /// The bandwidth, in scales.
    pub bandwidth: f64,
    /// Traces of the square and the cube of the covariance matrix of the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrum: Option<[f64; 2]>,
}

/// The numeric features together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointDocument {
    /// Names of the features.
    pub features: Vec<String>,
    /// What is summed of the events that have all of them.
    pub space: SpaceDocument,
    /// Where the structure of correlations is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependence: Option<DependenceDocument>,
}

/// Correlations of normal scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DependenceDocument {
    /// Places of the features in the list of them.
    pub features: Vec<usize>,
    /// By feature and cell: the score of a value.
    pub scores: Vec<Vec<f64>>,
    /// By pair (0, 1), (0, 2), (1, 2), (0, 3), ...: variance of the correlation times the number of rows.
    pub spread: Vec<f64>,
}

/// Rows counted over the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceDocument {
    /// Number of rows.
    pub rows: u64,
    /// Sum of the weights, exact.
    pub weight: String,
    /// Parallel to the columns.
    pub columns: Vec<CountsDocument>,
    /// Exact sums of the joint space, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<String>,
    /// Sampled rows: key, then the cell of each sampled feature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Vec<u64>>,
    /// Rows with a prediction and a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<JoinedDocument>,
}

/// Rows of one segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentDocument {
    /// Values by key.
    pub segment: BTreeMap<String, String>,
    /// Its rows.
    pub reference: ReferenceDocument,
}

/// Counts of one column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountsDocument {
    /// Rows with null, or an empty cell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub null: u64,
    /// Rows without the key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Rows with NaN.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nan: u64,
    /// Rows with an infinity.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub infinite: u64,
    /// Rows with a value of another type.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wrong_type: u64,
    /// By bin: below, between the edges, above; or by level, then other and unseen.
    pub counts: Vec<u64>,
    /// Moments of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<SumsDocument>,
    /// Exact sums of an embedding, in the order of its space.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vectors: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is serde's.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Exact sums of z = (x - center) / scale: multiples of 2^-40 in decimal, and where large terms are in it, `:` and multiples of 2^-30 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SumsDocument {
    /// Sum of z.
    pub z: String,
    /// Sum of z * z.
    pub z2: String,
    /// Sum of z below the minimum; left out where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Sum of z above the maximum; left out where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<String>,
}

/// Predictions with their truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinedDocument {
    /// Rows with both.
    pub rows: u64,
    /// The labels over their column.
    pub label: CountsDocument,
    /// By true class: counts by predicted class, then of predictions of no known class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
    /// Score cells of the negatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub score_negative: Vec<u64>,
    /// Score cells of the positives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub score_positive: Vec<u64>,
    /// Rows with a score.
    #[serde(default)]
    pub scored: u64,
    /// Exact sums by name: `brier`, `log_loss`, `absolute`, `squared`, `signed`; those that are 0 are left out.
    #[serde(default)]
    pub sums: BTreeMap<String, String>,
}

/// Breaks lines between fields and columns, and keeps everything deeper on one line: readable, and small changes are small diffs.
pub(super) struct Lines {
    depth: usize,
}

/// Fields of the document and elements of its lists each stand on a line of their own.
const LINE_DEPTH: usize = 2;

impl Lines {
    pub(super) fn new() -> Lines {
        Lines { depth: 0 }
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth < LINE_DEPTH {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if self.depth <= LINE_DEPTH { self.line(writer) } else { Ok(()) }
    }

    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b" "))
    }
}

impl serde_json::ser::Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }
}
