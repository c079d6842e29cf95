//! driftline: streaming data-drift and model-performance monitoring from Kafka.

pub mod sketch;
pub mod stats;

pub mod event;

pub mod baseline;
pub mod join;
pub mod rule;
pub mod window;

pub mod engine;

pub mod http;
pub mod notify;
pub mod source;
pub mod store;
pub mod telemetry;

pub mod config;

pub mod app;

pub mod cli;
