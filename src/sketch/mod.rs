//! Bounded summaries of streams of numbers and names.
//!
//! Layer 0. Deterministic: no random numbers, the same values in the same order give the same bytes. Nothing here knows
//! what a feature or a baseline is.

pub mod distinct;
pub mod frequency;
pub mod quantile;

pub use frequency::{Frequencies, FrequencySketch};
pub use quantile::{Distribution, QuantileSketch};
