//! `driftline demo`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::app::demo::{DemoSettings, demo};
use crate::event::Span;

use super::{FAILED, report};

/// Watch a real data set drift.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long it runs, with its stream squeezed into at most 100 seconds of it.
    #[arg(long, default_value = "2m", value_parser = duration)]
    duration: Duration,
    /// Port of the console on 127.0.0.1.
    #[arg(long, default_value_t = 9464)]
    port: u16,
    /// Do not open a browser on the console.
    #[arg(long)]
    no_browser: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span = Span::parse(text)?;
    u64::try_from(span.0).map(Duration::from_millis).map_err(|_| format!("'{text}' is not a duration"))
}

impl Demo {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let settings = DemoSettings { duration: self.duration, port: self.port, browser: !self.no_browser };
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                report::error(&error);
                return ExitCode::from(FAILED);
            }
        };
        let result = runtime.block_on(demo(settings, async {
            let _ = tokio::signal::ctrl_c().await;
        }));
        runtime.shutdown_background();
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::error(&error);
                ExitCode::from(FAILED)
            }
        }
    }
}
