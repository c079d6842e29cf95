//! Configuration.
pub mod environment;
pub mod fault;
pub mod interpolate;
pub mod position;
pub mod scalar;
pub mod tree;
