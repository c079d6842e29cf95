//! Panes, and the windows that are merged from them.
//!
//! Layer 2. Time comes in as an argument; nothing here reads a clock or does I/O.

pub mod bytes;
pub mod joined;
pub mod pane;
pub mod partition;
pub mod sample;
pub mod schedule;
pub mod sparse;
pub mod spec;

pub use joined::{JoinedLayout, JoinedPane, Observed};
pub use pane::{Moments, Pane};
pub use partition::{LateKey, OpenPane, Partition, SeriesId};
pub use sample::{REFERENCE_SAMPLE, SAMPLE, Sample, SampleRow};
pub use schedule::Schedule;
pub use sparse::{SparseJoined, SparsePane};
pub use spec::{WindowSpec, slice_length};
