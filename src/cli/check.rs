//! `driftline check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::assemble::assemble;
use crate::app::inspect;
use crate::config::checked::Purpose;

use super::{FAILED, Files, UNAVAILABLE, environment, report};

/// Validate configuration, baselines and rules.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    files: Files,
    /// Warnings fail, too.
    #[arg(long)]
    strict: bool,
    /// Try Kafka, the mail server, OTLP and webhooks.
    #[arg(long)]
    connect: bool,
    /// Read events and report what would become of them.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

impl Check {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let purpose = if self.connect { Purpose::Run } else { Purpose::Offline };
        let assembly = match assemble(&self.files.config, &self.files.rules, &environment(), purpose) {
            Ok(assembly) => assembly,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(FAILED);
            }
        };
        report::faults(&assembly.warnings);
        report::result(&format!("{}\n", inspect::summary(&assembly)));
        if self.strict && !assembly.warnings.is_empty() {
            report::note("warnings are errors with --strict");
            return ExitCode::from(FAILED);
        }
        if let Some(path) = &self.events {
            match inspect::events(&assembly, path) {
                Ok(found) => {
                    report::result(&found.text);
                    if found.has_faults {
                        return ExitCode::from(FAILED);
                    }
                }
                Err(error) => {
                    report::note(&format!("error: {}: {error}", path.display()));
                    return ExitCode::from(FAILED);
                }
            }
        }
        if self.connect {
            let mut results = inspect::connect(&assembly);
            let mut warnings = Vec::new();
            if let Some((result, doubts)) = inspect::topics(&assembly) {
                results.push(result);
                warnings = doubts;
            }
            let mut reached = true;
            for result in results {
                match result.error {
                    None => report::result(&format!("ok    {}\n", result.target)),
                    Some(error) => {
                        reached = false;
                        report::result(&format!("FAIL  {}: {error}\n", result.target));
                    }
                }
            }
            for warning in &warnings {
                report::result(&format!("warn  {warning}\n"));
            }
            if !reached {
                return ExitCode::from(UNAVAILABLE);
            }
            if self.strict && !warnings.is_empty() {
                report::note("warnings are errors with --strict");
                return ExitCode::from(FAILED);
            }
        }
        ExitCode::SUCCESS
    }
}
