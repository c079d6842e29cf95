//! Panes, and the windows that are merged from them.
//!
//! Layer 2. Time comes in as an argument; nothing here reads a clock or does I/O.

pub mod joined;
pub mod pane;

pub use joined::{JoinedLayout, JoinedPane, Observed};
pub use pane::{Moments, Pane};
