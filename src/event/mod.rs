//! The vocabulary of driftline: time, identity, values, outcomes and measurements.
//!
//! Layer 1. Everything here is plain data and its text forms. It knows nothing of windows, files or Kafka.

pub mod decode;
pub mod explanation;
pub mod measurement;
pub mod outcome;
pub mod position;
pub mod result_line;
pub mod scalar;
pub mod sentence;
pub mod text;
pub mod time;

pub use explanation::{Explanation, Finding};
pub use measurement::{Measurement, Metric, Segment, Status, Subject, WindowRef, WindowSummary};
pub use outcome::{Outcome, Reject};
pub use position::{NextOffset, SourceId, TopicRole};
pub use scalar::Scalar;
pub use time::{Span, Timestamp};
