//! The exchange: two compacted topics through which replicas say what they counted and owners what they decided.
//!
//! Layer 4. An edge: it knows topics, groups and producers; of the records it knows keys and values as bytes.
//!
//! ```text
//! topic::prepare    the two topics are there and are what they must be
//! Publisher         snapshots and decisions go out, each acknowledged by ticket
//! Follower          everything in the panes topic, in every replica: the directory
//! Owners            the partitions of the panes topic that are ours by election: decisions first, then all panes
//! Reread            ranges of the source topics once more, after a hand-over
//! ```
//!
//! * Records are cumulative: whoever reads all of a partition knows all, and a record that comes twice changes nothing. So
//!   no offset is ever committed, and every reader begins at the beginning.
//! * Offsets have holes, because compaction takes records away. "Everything up to here" is the end that the broker told,
//!   against positions and the broker's word that a partition is at its end, never a count of records.
//! * No thread of these waits for the application without bound, and none is waited for without bound.

mod barrier;
mod chunk;
mod client;
mod ends;
mod follower;
mod member;
mod owners;
mod publisher;
mod pulse;
mod requirement;
mod reread;
mod settings;
pub mod topic;

pub use chunk::{Chunk, Head, Headers};
pub use follower::{Followed, Follower};
pub use owners::{Heard, Owners};
pub use publisher::{Ack, Outgoing, Publisher, Refused, Ticket, Which};
pub use reread::{CHUNKS_BYTES, Range, Read, Reread};
pub use settings::{PARTITIONS, RECORD_BYTES, REPLICATION, Settings};
