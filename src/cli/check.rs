//! `driftline check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::assemble::assemble;
use crate::app::disk::DiskReport;
use crate::app::inspect;
use crate::app::memory::{DEFAULT_PARTITIONS, DEFAULT_RATE, MemoryReport};
use crate::config::checked::Purpose;
use crate::config::fault::Fault;

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
    /// Prediction events a second, of all models together, that memory and disk are reckoned for; 1000 where nothing is said, and
    /// then disk that does not suffice is no warning.
    #[arg(long, value_name = "EVENTS_PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Partitions of the prediction topics that memory and disk are reckoned for.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PARTITIONS, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    partitions: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| *rate >= 0.0 && rate.is_finite()).ok_or_else(|| "not a number of events a second".to_owned())
}

impl Check {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let purpose = if self.connect { Purpose::Run } else { Purpose::Offline };
        let mut assembly = match assemble(&self.files.config, &self.files.rules, &environment(), purpose) {
            Ok(assembly) => assembly,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(FAILED);
            }
        };
        let rate = self.rate.unwrap_or(DEFAULT_RATE);
        let memory = MemoryReport::new(&assembly.config, &assembly.plan, rate, self.partitions);
        let disk = DiskReport::new(&assembly.config, &assembly.plan, rate, self.partitions);
        // How long labels are waited for says little without the rate, which only the user knows.
        let short = disk.as_ref().filter(|_| self.rate.is_some()).and_then(DiskReport::warning);
        for warning in memory.warning().into_iter().chain(short) {
            assembly.warnings.push(Fault::of_file(self.files.config.display().to_string(), warning).warning());
        }
        report::faults(&assembly.warnings);
        let disk = disk.map_or_else(String::new, |disk| format!("\n{disk}"));
        report::result(&format!("{}\n{memory}{disk}", inspect::summary(&assembly)));
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
