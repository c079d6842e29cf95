//! Numbers in, numbers out: effects, evidence and exact sums over counts.
//!
//! Layer 0. Nothing here knows what a feature, a window or a model is. Inputs are slices of counts; "reference" is the
//! baseline sample and "current" the window's.

pub mod exact;
