//! The join of labels to the predictions they judge.
//!
//! Layer 2. Time comes in as an argument; what is joined goes out as facts, to be counted by the engine.

pub mod ledger;

pub use ledger::{Joined, Label, Ledger, Predicted, Prediction, RecordId, Truth};
