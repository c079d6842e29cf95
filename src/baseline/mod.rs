//! The baseline: the bins that every pane is counted over, and the training data counted over them.
//!
//! Layer 2. Knows how a baseline is built from rows that somebody else reads, and what it looks like as a document. It
//! opens no files.

pub mod blocks;
pub mod build;
pub mod cell;
mod codec;
pub mod document;
pub mod edges;
mod fit;
mod grid;
pub mod layout;
mod level_index;
pub mod levels;
pub mod null;
mod observe;
pub mod output;
pub mod rows;
pub mod season;
pub mod segment;
mod select;
pub mod show;
pub mod space;
pub mod summary;
pub mod survey;
pub mod tally;
pub mod task;
pub mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use blocks::{Inflations, Kind};
pub use build::{BuildError, BuildSpec, FeatureType};
pub use cell::{Placed, place};
pub use document::DocumentError;
pub use layout::{Column, ColumnKind, Layout, Levels, NumericBins};
pub use output::{Output, OutputRule, RawOutput, resolve_output};
pub use season::{Season, Seasons};
pub use segment::SegmentSpec;
pub use summary::{LevelCounts, Summary};
pub use survey::Survey;
pub use tally::Tally;
pub use task::Task;

use crate::event::Segment;
use crate::stats::null::Nulls;
use crate::window::{JoinedLayout, JoinedPane, Pane};

/// The reference rows, or those of one segment, counted over the layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Features and outputs.
    pub pane: Pane,
    /// Rows with a prediction and a label.
    pub joined: JoinedPane,
}

/// A baseline in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Name of the model it was built for.
    pub model: Arc<str>,
    /// Kind of the output.
    pub task: Task,
    /// The classes of a classification by their canonical text, ascending; else empty.
    pub classes: Vec<Arc<str>>,
    /// Index of the positive class of a binary task.
    pub positive: Option<usize>,
    /// A score of at least this predicts the positive class.
    pub threshold: f64,
    /// Rows of the reference.
    pub rows: u64,
    /// By how much, as a share of the rows, the edges may lie beside their quantiles; 0 where they are exact. Counts are always exact.
    pub rank_error: f64,
    /// What a reader should know: inferred types, levels that were not remembered.
    pub notes: Vec<String>,
    /// The columns: features in the order of the table, then prediction, score, probabilities by class.
    pub layout: Arc<Layout>,
    /// The shape of joined panes. Without labels in the reference a regression's label has the bins of the prediction.
    pub joined: Arc<JoinedLayout>,
    /// All rows.
    pub reference: Reference,
    /// The rows of each admitted segment, and of `other` where there are any.
    pub segments: BTreeMap<Segment, Reference>,
    /// All rows by the hour at which they came, where that was asked for.
    pub seasons: Option<Seasons>,
    /// Parallel to the columns of the layout.
    pub summaries: Vec<Summary>,
    /// The labels of the reference, where there are any.
    pub label_summary: Option<Summary>,
    /// Parallel to the columns of the layout; `None` for a column without values. Simulated from all rows, and used for segments too.
    pub nulls: Vec<Option<Nulls>>,
    /// Of the label.
    pub label_nulls: Option<Nulls>,
    /// Parallel to the columns of the layout: how much less rows that belong together say; `None` where rows have no times.
    pub inflations: Vec<Option<Inflations>>,
    /// Of the label.
    pub label_inflations: Option<Inflations>,
    /// How much features matter to the model, by name, as whoever built it said; empty where nobody did.
    pub importance: BTreeMap<String, f64>,
}

/// What a baseline is put together from, built or read.
pub(crate) struct Parts {
    pub(crate) model: Arc<str>,
    pub(crate) task: Task,
    pub(crate) classes: Vec<Arc<str>>,
    pub(crate) threshold: f64,
    pub(crate) rows: u64,
    pub(crate) rank_error: f64,
    pub(crate) notes: Vec<String>,
    pub(crate) layout: Layout,
    pub(crate) joined: JoinedLayout,
    pub(crate) reference: Reference,
    pub(crate) segments: BTreeMap<Segment, Reference>,
    pub(crate) seasons: Option<Seasons>,
    pub(crate) levels: Vec<Option<LevelCounts>>,
    pub(crate) label_levels: Option<LevelCounts>,
    pub(crate) nulls: Vec<Option<Nulls>>,
    pub(crate) label_nulls: Option<Nulls>,
    pub(crate) inflations: Vec<Option<Inflations>>,
    pub(crate) label_inflations: Option<Inflations>,
    pub(crate) importance: BTreeMap<String, f64>,
}

impl Baseline {
    /// The same baseline for panes that count different values. The reference has none of them: a table's are not kept.
    #[must_use]
    pub fn counting_distinct(mut self) -> Baseline {
        let layout = self.layout.counting_distinct();
        let mut joined = JoinedLayout::clone(&self.joined);
        // Classes have cells of their own.
        if joined.label.columns.first().is_some_and(|label| matches!(label.kind, ColumnKind::Numeric(_))) {
            joined.label = joined.label.counting_distinct();
        }
        for reference in std::iter::once(&mut self.reference).chain(self.segments.values_mut()) {
            reference.pane.cells.resize(layout.cells, 0);
            reference.joined.label.cells.resize(joined.label.cells, 0);
        }
        self.joined = Arc::new(joined);
        if let Some(seasons) = &mut self.seasons {
            seasons.map(|mut pane| {
                pane.cells.resize(layout.cells, 0);
                pane
            });
        }
        self.layout = Arc::new(layout);
        self
    }

    pub(crate) fn assemble(parts: Parts) -> Baseline {
        let Parts { model, task, classes, threshold, rows, rank_error, notes, layout, joined, reference, segments, .. } = parts;
        let counts = parts.levels.into_iter().chain(std::iter::repeat(None));
        let summaries = layout.columns.iter().zip(counts).map(|(column, levels)| Summary::of(column, &reference.pane, levels)).collect();
        let label = joined.label.columns.first().filter(|_| reference.joined.matched > 0);
        let label_summary = label.map(|column| Summary::of(column, &reference.joined.label, parts.label_levels));
        Baseline {
            model,
            task,
            classes,
            positive: joined.positive,
            threshold,
            rows,
            rank_error,
            notes,
            layout: Arc::new(layout),
            joined: Arc::new(joined),
            reference,
            segments,
            seasons: parts.seasons,
            summaries,
            label_summary,
            nulls: parts.nulls,
            label_nulls: parts.label_nulls,
            inflations: parts.inflations,
            label_inflations: parts.label_inflations,
            importance: parts.importance,
        }
    }

    /// How an event's output is completed.
    #[must_use]
    pub fn output_rule(&self) -> OutputRule<'_> {
        OutputRule { task: self.task, classes: &self.classes, positive: self.positive, threshold: self.threshold }
    }

    /// The reference of a segment; of all rows for the overall one.
    #[must_use]
    pub fn reference_of(&self, segment: &Segment) -> Option<&Reference> {
        if segment.is_overall() { Some(&self.reference) } else { self.segments.get(segment) }
    }
}
