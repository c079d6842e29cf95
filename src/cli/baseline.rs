//! `driftline baseline build` and `driftline baseline show`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::assemble::read_baseline;
use crate::app::baseline_job::{Progress, build_from_files};
use crate::app::baseline_spec::build_spec;
use crate::baseline::show::show;
use crate::config::checked::Purpose;
use crate::config::load::load;

use super::{FAILED, environment, report};

/// Build and inspect baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Build a baseline from training data: CSV, Parquet, NDJSON or Arrow files, in constant memory.
    Build(Build),
    /// Show what a baseline holds.
    Show {
        /// The baseline.
        file: PathBuf,
    },
}

/// Build a baseline.
#[derive(Debug, Args)]
pub struct Build {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Model of the configuration.
    #[arg(long)]
    model: String,
    /// Training data; several files are one table.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Where the baseline is written.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl BaselineCommand {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        match self {
            BaselineCommand::Build(build) => build.run(),
            BaselineCommand::Show { file } => match read_baseline(file) {
                Ok(baseline) => {
                    report::result(&show(&baseline));
                    ExitCode::SUCCESS
                }
                Err(message) => {
                    report::note(&format!("error: {message}"));
                    ExitCode::from(FAILED)
                }
            },
        }
    }
}

impl Build {
    fn run(&self) -> ExitCode {
        let config = match load(&self.config, &environment(), Purpose::Offline) {
            Ok((config, _)) => config,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(FAILED);
            }
        };
        let Some(model) = config.models.iter().find(|model| *model.name == *self.model) else {
            let known: Vec<&str> = config.models.iter().map(|model| &*model.name).collect();
            report::note(&format!("error: {}: no model '{}'; it has: {}", self.config.display(), self.model, known.join(", ")));
            return ExitCode::from(FAILED);
        };
        let spec = match build_spec(model) {
            Ok(spec) => spec,
            Err(message) => {
                report::note(&format!("error: {}: {message}", self.config.display()));
                return ExitCode::from(FAILED);
            }
        };
        let mut display = Display::new();
        let baseline = match build_from_files(&spec, &self.input, &mut |progress| display.show(progress)) {
            Ok(baseline) => baseline,
            Err(error) => {
                display.end();
                report::error(&error);
                return ExitCode::from(FAILED);
            }
        };
        display.end();
        let written = baseline
            .to_json()
            .map_err(|error| error.to_string())
            .and_then(|text| write(&self.output, &text).map_err(|error| error.to_string()));
        if let Err(message) = written {
            report::note(&format!("error: {}: {message}", self.output.display()));
            return ExitCode::from(FAILED);
        }
        for note in &baseline.notes {
            report::note(&format!("note: {note}"));
        }
        report::note(&format!("{}: {} rows, {} columns", self.output.display(), baseline.rows, baseline.layout.columns.len()));
        ExitCode::SUCCESS
    }
}

/// Writes beside and renames: whoever reads the old file never sees half of the new one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// A progress bar on a terminal, plain lines elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    /// The look and the tenth of it that was last told.
    told: (u32, u64),
}

impl Display {
    fn new() -> Display {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>8} {wide_bar} {bytes}/{total_bytes} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Display { bar, told: (0, 0) }
    }

    fn show(&mut self, progress: Progress) {
        let what = if progress.look == 1 { "reading" } else { "counting" };
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.bytes.min(progress.total_bytes));
            bar.set_message(what);
        } else {
            let tenth = progress.bytes.saturating_mul(10).checked_div(progress.total_bytes).unwrap_or(0).min(10);
            if (progress.look, tenth) > self.told && tenth > 0 {
                self.told = (progress.look, tenth);
                report::note(&format!("{what}: {}0 %, {} rows", tenth, progress.rows));
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
