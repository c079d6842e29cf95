//! The baseline: the bins that every pane is counted over, and the training data counted over them.
//!
//! Layer 2. Knows how a baseline is built from rows that somebody else reads, and what it looks like as a document. It
//! opens no files.

pub mod layout;

pub use layout::{Column, ColumnKind, Layout, Levels, NumericBins};
