//! Receivers that run inside the process, so that the demonstration and the tests need nothing else.

pub mod hook_sink;
pub mod smtp_sink;
