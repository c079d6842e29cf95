//! `driftline run`.

use std::process::ExitCode;

use clap::Args;

use crate::app::assemble::assemble;
use crate::app::run::{Handle, Settings, run};
use crate::config::checked::Purpose;

use super::{BAD_CONFIG, FAILED, Files, environment, report};

/// Monitor the topics of a configuration.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    files: Files,
    /// Apply changed rule files without being asked.
    #[arg(long)]
    watch: bool,
    /// Log what actions would do and do not call them.
    #[arg(long)]
    dry_run_actions: bool,
}

impl Run {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let environment = environment();
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                report::error(&error);
                return ExitCode::from(FAILED);
            }
        };
        // Listened to before baselines are read: who is told to end meanwhile ends as at any other time.
        let handle = Handle::default();
        runtime.spawn(signals(handle.clone()));
        let assembly = match assemble(&self.files.config, &self.files.rules, &environment, Purpose::Run) {
            Ok(assembly) => assembly,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(BAD_CONFIG);
            }
        };
        report::faults(&assembly.warnings);
        let settings = Settings {
            config: self.files.config.clone(),
            rules: self.files.rules.clone(),
            environment,
            dry_run_actions: self.dry_run_actions,
            watch: self.watch,
            listener: None,
        };
        let result = runtime.block_on(run(assembly, settings, handle));
        // What still runs in the background (a name that is being resolved) is not waited for.
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

/// SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reloads.
pub async fn signals(handle: Handle) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        return;
    };
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                handle.reload();
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stopping {
            std::process::exit(130);
        }
        stopping = true;
        handle.stop();
    }
}
