//! Reserved.

pub mod baseline_job;
