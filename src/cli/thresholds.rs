//! `driftline thresholds`.

use std::process::ExitCode;

use clap::Args;

use crate::app::assemble::assemble;
use crate::app::thresholds;
use crate::config::checked::Purpose;

use super::{FAILED, Files, environment, report};

/// Print from which effect on windows are a breach, and why there.
#[derive(Debug, Args)]
pub struct Thresholds {
    #[command(flatten)]
    files: Files,
    /// One model of the configuration instead of all.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Events of a window, one column each.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [500, 5_000, 50_000],
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    events: Vec<u64>,
}

impl Thresholds {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let assembly = match assemble(&self.files.config, &self.files.rules, &environment(), Purpose::Offline) {
            Ok(assembly) => assembly,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(FAILED);
            }
        };
        let chosen = |name: &str| self.model.as_ref().is_none_or(|model| model == name);
        let models: Vec<_> = assembly.plan.models.iter().filter(|model| chosen(&model.name)).collect();
        if models.is_empty() {
            let known: Vec<&str> = assembly.plan.models.iter().map(|model| &*model.name).collect();
            report::note(&format!(
                "error: there is no model '{}'; there are {}",
                self.model.as_deref().unwrap_or_default(),
                known.join(", ")
            ));
            return ExitCode::from(FAILED);
        }
        report::result(&thresholds::text(&models, &self.events));
        ExitCode::SUCCESS
    }
}
