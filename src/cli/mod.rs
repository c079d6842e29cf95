//! The command line: one file per command.
//!
//! Layer 7. Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 a check or an input file failed, 2 wrong
//! usage, 69 something needed cannot be reached, 78 bad configuration at `run`.

mod baseline;
mod check;
mod demo;
mod healthcheck;
mod replay;
mod report;
mod run;
mod schema;
mod thresholds;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::telemetry::logging::{self, Format};

/// A check or an input file failed.
pub const FAILED: u8 = 1;
/// Something needed cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// Bad configuration at `run`.
pub const BAD_CONFIG: u8 = 78;

/// Streaming data-drift and model-performance monitoring from Kafka.
#[derive(Debug, Parser)]
#[command(name = "driftline", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Log lines: `text` for people, `json` for machines.
    #[arg(long, global = true, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// What is logged: a level, or directives like `driftline=debug`.
    #[arg(long, global = true, env = "DRIFTLINE_LOG", default_value = "info")]
    log_level: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a real data set drift: embedded broker, console, mail and webhook sinks, all in this process.
    Demo(demo::Demo),
    /// Monitor the topics of a configuration.
    Run(run::Run),
    /// Validate configuration, baselines and rules; with --connect also what they connect to.
    Check(check::Check),
    /// Print from which effect on windows are a breach, and why there.
    Thresholds(thresholds::Thresholds),
    /// Build and inspect baselines.
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    /// Compute the results for recorded events: offline, in virtual time, deterministic.
    Replay(replay::Replay),
    /// Print the JSON Schema of a file format.
    Schema(schema::Schema),
    /// Print completions for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
    /// Ask a running agent whether it is ready; for probes without a shell.
    Healthcheck(healthcheck::Healthcheck),
}

/// Files of a configuration, as several commands take them.
#[derive(Clone, Debug, clap::Args)]
struct Files {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Rule files, as a glob, in place of those the configuration names; may be given several times.
    #[arg(long, value_name = "GLOB")]
    rules: Vec<String>,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = if arguments.log_format == "json" { Format::Json } else { Format::Text };
    if let Err(error) = logging::init(format, Some(&arguments.log_level)) {
        report::error(&error);
        return ExitCode::from(2);
    }
    match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Thresholds(thresholds) => thresholds.run(),
        Command::Baseline(command) => command.run(),
        Command::Replay(replay) => replay.run(),
        Command::Schema(schema) => schema.run(),
        Command::Completion { shell } => {
            // Into memory first: the generator panics where it cannot write, as when its reader has gone away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "driftline", &mut script);
            report::result(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        Command::Version => {
            report::result(&format!("driftline {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Command::Healthcheck(healthcheck) => healthcheck.run(),
    }
}

/// The variables of the process: read here once and handed on.
fn environment() -> crate::config::environment::Environment {
    std::env::vars().collect()
}
