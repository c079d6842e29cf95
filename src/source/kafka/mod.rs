//! The Kafka consumer: one thread that polls, copies records into batches and never stops polling.
//!
//! * Positions are ours: nothing is committed or stored by librdkafka itself, and every assignment starts where the
//!   checkpoint says. The broker's committed offsets are written for lag tools only.
//! * When a worker is full, its partitions are paused and polling goes on.
//! * Rejected records can be sent on to a topic of dead letters; each letter is accounted for.
//! * Rebalance callbacks run on the polling thread and only look positions up.

mod context;
mod gap;
mod identity;
mod letter;
mod mend;
mod poll;
mod postman;
mod progress;
mod rejoin;
mod renew;
mod settings;
mod start;
mod statistics;
mod turn;

pub use gap::GapCause;
pub use letter::{Letter, LetterCount, LetterStatus, OnFailure};
pub use poll::{Command, Consumer, Notification, Routing};
pub use postman::Letters;
pub use settings::{CLASSIC_ONLY, GroupProtocol, Resume, Settings, StartAt, Topic};
