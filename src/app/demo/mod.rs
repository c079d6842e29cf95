//! The demo.

pub mod hook_sink;
pub mod smtp_sink;
