//! `driftline demo`.

use std::process::ExitCode;

use clap::Args;

/// Watch a real data set drift.
#[derive(Debug, Args)]
pub struct Demo {}

impl Demo {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        ExitCode::SUCCESS
    }
}
