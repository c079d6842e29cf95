//! Reserved.

pub mod demo;
