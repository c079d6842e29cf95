//! driftline: streaming data-drift and model-performance monitoring from Kafka.
//!
//! It reads prediction, feature and label events from Kafka, counts them into mergeable panes over the bins of a training
//! baseline, measures drift and performance of sliding windows, judges them by rules, and sends mail, webhooks, retraining
//! requests and OpenTelemetry signals.
//!
//! # The one idea
//!
//! A [pane](window::pane) is a bounded, mergeable summary of the events of one model, version, segment and slice of time:
//! integer counts over bins that were fixed when the [baseline] was built, and exact sums. A window is a merge of panes,
//! evaluation is arithmetic over counts, a checkpoint is the open panes with their positions, and the same events give the
//! same bytes on one worker and on sixteen, live and replayed.
//!
//! # The path of a record
//!
//! ```text
//! source::kafka::poll   one thread polls, copies payloads into a batch for the worker that owns the partition
//!   -> app::worker      one thread for each shard
//!   -> event::decode    one pass over the JSON, nothing allocated
//!   -> engine::shard    model, version, lateness; baseline::cell finds the cell of each value
//!   -> window::partition, window::pane    counts; a pane is sealed when its partition can add nothing more to it
//!   -> engine::evaluator, engine::model, engine::history    panes of all shards are added up
//! ```
//!
//! Each event ends in exactly one counted [outcome](event::Outcome) or is still waiting for its other half.
//!
//! # The path of an alert
//!
//! ```text
//! engine::evaluator     the clock (least watermark of the partitions that are not idle) passes a window's end
//!   -> engine::measure  effect, evidence and status of each subject and metric, by the functions of stats
//!   -> rule::judge      steps the state machine of each alert instance, in event time
//!   -> app::publish     console, telemetry; notices and action calls are staged in the outbox
//!   -> app::checkpoint  state, positions and outbox are written as one atom
//!   -> notify::dispatcher    only now delivers, with retries, under a key made from the episode
//! ```
//!
//! # What always holds
//!
//! 1. Same input, any number of workers, live or replayed: the same bytes. Every sum in a pane is exact.
//! 2. State and positions are one atom; the broker's committed offsets are a courtesy.
//! 3. Memory is bounded by configuration; what does not fit is counted, never dropped in silence.
//! 4. No input can panic the process; poison records are counted by reason.
//! 5. Merging is associative and commutative, with the empty pane as identity.
//! 6. A reload applies whole or changes nothing and says why.
//! 7. A secret never appears in a log, an error, a metric, the console or a debug print.
//! 8. Trouble in evaluating a rule never resolves an alert.
//!
//! # Layers
//!
//! A module uses only its own layer or a lower one; `tests/architecture.rs` enforces it. Layers 0 to 3 are the functional
//! core: no runtime, no I/O, no clock, no randomness. Time comes in as an argument.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::pedantic)]
#![deny(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::module_name_repetitions, clippy::must_use_candidate, clippy::too_many_lines, clippy::similar_names)]
#![allow(clippy::inline_always, clippy::needless_for_each)]
// Tests compare exact numbers and count a few things.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        clippy::format_collect,
        clippy::format_push_string,
        clippy::manual_is_multiple_of,
        clippy::type_complexity
    )
)]

// 0: numbers in, numbers out.
pub mod sketch;
pub mod stats;

// 1: the vocabulary, and decoding.
pub mod event;

// 2: state machines.
pub mod baseline;
pub mod join;
pub mod rule;
pub mod window;

// 3: what ties them together.
pub mod engine;

// 4: the edges; each knows one outside thing, and none knows another. Those that speak to Kafka share the connection.
pub mod exchange;
pub mod http;
pub mod kafka;
pub mod notify;
pub mod source;
pub mod store;
pub mod telemetry;

// 5: files and variables become settings.
pub mod config;

// 6: tasks, channels, wiring, shutdown.
pub mod app;

// 7: the command line.
pub mod cli;
