//! Where state lives between two runs.
//!
//! Layer 4. It keeps bytes whole: what is read is what was written, or an error that says why. It does not know what is
//! in them.

pub mod journal;
pub mod snapshot;

pub use journal::Journal;
pub use snapshot::{Directory, StoreError};
