//! The engine over many replicas, as state machines that exchange bytes: who counts, who joins, who judges.
//!
//! ```text
//! replica   Shard counts its source partitions ──> Replica keeps progress, joins labels, ──> panes topic (compacted)
//!                                                   says what changed                          │
//! owner     of a model: Owner keeps the greatest snapshot of each source partition  <──────────┘
//!           ──> deltas ──> Evaluator closes, measures, judges ──> owners topic (compacted) ──> deliveries
//! ```
//!
//! What a replica says of a source partition is *cumulative* and a function of that partition's records up to an end
//! offset, and of nothing else. So whoever says more of it is right, and a record that comes twice, late, or from a process
//! that no longer owns the partition changes nothing. Nothing in here knows a topic, a group or a clock.

pub mod address;
pub mod book;
pub mod decision;
pub mod directory;
pub mod footprint;
pub mod joined;
pub mod joiner;
pub mod number;
pub mod owner;
mod reading;
pub mod replica;
pub mod shelving;
pub mod stretch;
pub mod wire;

pub use address::{Address, Addresses, NO_MODEL, Post};
pub use directory::{Directory, ResumedGroup, ResumedSource};
pub use owner::Owner;
pub use replica::{Replica, changed_panes};
pub use shelving::Shelves;
