//! Where state lives between two runs: keys and values in spaces, changed by whole commits.
//!
//! Layer 4. What is read is what was committed, or an error that says why not. It does not know what is in the values.
//!
//! Below lies one log-structured tree with a write-ahead journal. One tree, not one for each space: what it moves from
//! memory into its tables is then always whole commits. Its blocks carry checksums that are looked at whenever they are
//! read. Its journal and its lists of tables are looked through before it is opened (`journal.rs`, `manifest.rs`), because
//! the tree itself would take some damage there for the end of the journal, or not see it at all.

pub mod batch;
pub mod database;
pub mod error;
mod journal;
pub mod logbook;
mod manifest;
mod mark;

pub use batch::Batch;
pub use database::{Entry, Opened, Reader, Store};
pub use error::StoreError;
pub use logbook::Journal;
