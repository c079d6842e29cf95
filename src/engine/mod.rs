//! The engine: it ties decoding, windows, joins, baselines, statistics and rules together. One owned state, no I/O.
//!
//! Layer 3. Two halves: a [`shard::Shard`] for each worker decodes and counts; the one [`evaluator::Evaluator`] adds the
//! shards' panes up, closes windows, measures and judges. What passes between them is a [`output::ShardOutput`].

pub mod clocks;
pub mod closed;
pub mod cluster;
pub mod comparison;
pub mod detection;
pub mod evaluator;
pub mod evidence;
mod explain;
pub mod footprint;
pub mod history;
pub mod labels;
pub mod measure;
pub mod model;
pub mod output;
mod pair;
mod pairs;
pub mod plan;
pub mod result;
pub mod retention;
pub mod series;
pub mod shard;
mod slices;
pub mod state;
mod version;

pub use closed::Closed;
pub use evaluator::{Emission, Evaluator, SourceState};

pub use output::{Counts, ShardOutput};
pub use pairs::PairShelf;
pub use plan::{DriftRecipe, FeaturesFrom, ModelPlan, Plan, SegmentPlan};
pub use shard::{Record, Shard};
