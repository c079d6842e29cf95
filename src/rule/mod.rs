//! Alert rules: what they say, how a window is judged by them, and what is to be sent.
//!
//! Layer 2. A pure state machine: time and measurements come in as arguments, transitions with a named reason go out.

pub mod message;
