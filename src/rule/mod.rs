//! Alert rules: what they say, how a window is judged by them, and what is to be sent.
//!
//! Layer 2. A pure state machine: time and measurements come in as arguments, transitions with a named reason go out.
//! It knows nothing of files, clocks, mail or HTTP.
//!
//! In reading order: `spec` is the file as written; `compile` checks it against a `scope` and makes a `set`, or `fault`s;
//! `judge` takes one closed window, `topic` what is wrong with the input by topic, `verdict` says what a rule makes of it, `machine` steps the alert, `instance` keeps
//! what else is remembered of it, `episode` names its incidents, `announce` says who is told, `aggregate` speaks for many,
//! and `happening` and `message` are what comes out.

pub mod action;
mod aggregate;
mod announce;
pub mod breach;
pub mod compile;
pub mod datum;
pub mod episode;
pub mod expr;
pub mod fault;
#[cfg(test)]
mod fixture;
pub mod happening;
pub mod hold;
pub mod instance;
pub mod judge;
pub mod machine;
pub mod matcher;
pub mod message;
pub mod route;
pub mod scope;
pub mod set;
pub mod spec;
pub mod status;
pub mod template;
mod topic;
pub mod verdict;

pub use compile::{add_built_in, compile};
pub use fault::{Fault, FileFault};
pub use happening::{Happening, IngestSilence, InputKind, RejectExample, TopicGap, TopicRejects, WindowInput};
pub use judge::Alerts;
pub use machine::{Severity, State};
pub use message::{ActionCall, AlertView, Notice, NoticeKind};
pub use scope::{DriftRecipe, ModelScope, Scope, WindowScope};
pub use set::{Rule, RuleSet};
pub use spec::RuleFile;
pub use status::RuleStatus;
