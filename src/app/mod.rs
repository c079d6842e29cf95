//! The application: tasks, channels, wiring and shutdown around the engine and the edges.
//!
//! Layer 6. The only reader of the wall clock.

pub mod assemble;
pub mod baseline_job;
pub mod baseline_spec;
pub mod checkpoint;
pub mod clock;
pub mod cluster;
pub mod coordinator;
pub mod demo;
pub mod disk;
pub mod event;
pub mod exchange;
pub mod inspect;
pub mod intake;
pub mod keeper;
pub mod letter;
mod local;
pub mod memory;
pub mod numbering;
pub mod publish;
mod recipe;
pub mod replay;
pub mod run;
pub mod said;
pub mod shape;
pub mod shelf;
pub mod thresholds;
pub mod watch;
pub mod worker;
