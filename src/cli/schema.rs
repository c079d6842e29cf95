//! `driftline schema KIND`.

use std::process::ExitCode;

use clap::Args;

use crate::config::schema::{SchemaKind, schema};

use super::report;

/// Print the JSON Schema of a file format.
#[derive(Debug, Args)]
pub struct Schema {
    /// Which format.
    #[arg(value_parser = ["config", "rules", "baseline", "event", "results"])]
    kind: String,
}

impl Schema {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let Some(kind) = SchemaKind::parse(&self.kind) else { return ExitCode::from(2) };
        match serde_json::to_string_pretty(&schema(kind)) {
            Ok(text) => {
                report::result(&(text + "\n"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                report::error(&error);
                ExitCode::from(super::FAILED)
            }
        }
    }
}
