//! Where records come from.
//!
//! Layer 4. An edge: it knows one outside thing and hands out plain batches. It knows nothing of what is in a record.

pub mod batch;
pub mod file;
pub mod kafka;
pub mod registry;
pub mod table;

pub use batch::{Batch, Head, Turn};
pub use registry::{Registry, SourceInfo, Topics};
