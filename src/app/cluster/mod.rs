//! One replica among several: it counts the source partitions it is given, says what it counted in the panes topic, and
//! judges the models it owns from what all replicas say there.
//!
//! ```text
//! member      the one thread that owns all of it and listens to workers, consumers, acknowledgements and orders
//! leave       how it ends: the last words, and out of both groups
//! flush       one round of saying: asked of the workers, sent, acknowledged, again
//! court       the owned models: decisions before panes, judgement, decisions stored before anything is delivered
//! judge       the owner of a model, or the judge of the input
//! input       alerts on the input of all replicas: rejected records and gaps
//! partitions  of the input topics, looked up now and again
//! flood       topics of which this replica sends no dead letters, because they are flooded
//! rebuild     predictions and labels read again after a hand-over
//! cache       predictions and labels that wait, on scratch disk
//! ```
//!
//! No state is kept on disk, only a cache. What a replica has not said is read again by whoever gets its partitions.

mod cache;
mod court;
mod flood;
mod flush;
mod hear;
mod input;
mod judge;
mod leave;
mod member;
mod partitions;
mod rebuild;
mod start;

pub use cache::open as open_cache;
pub use member::Member;
pub use start::{Surroundings, start};
