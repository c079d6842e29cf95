//! `driftline healthcheck --url U`: for probes in images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FAILED, UNAVAILABLE, report};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask a running agent whether it is ready.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// What to ask; an address without a path is asked for /readyz.
    #[arg(long, default_value = "http://127.0.0.1:9464/readyz")]
    url: String,
}

impl Healthcheck {
    /// Runs the command: 0 for a good answer, 1 for a bad one, 69 for none.
    pub fn run(&self) -> ExitCode {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::from(UNAVAILABLE) };
        match runtime.block_on(self.ask()) {
            Ok((true, body)) => {
                report::result(&format!("{}\n", body.trim()));
                ExitCode::SUCCESS
            }
            Ok((false, body)) => {
                report::note(body.trim());
                ExitCode::from(FAILED)
            }
            Err(error) => {
                report::error(&error);
                ExitCode::from(UNAVAILABLE)
            }
        }
    }

    async fn ask(&self) -> Result<(bool, String), reqwest::Error> {
        let mut url = self.url.clone();
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.trim_end_matches('/').contains('/'));
        if !has_path {
            url = format!("{}/readyz", url.trim_end_matches('/'));
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let answer = client.get(url).send().await?;
        let good = answer.status().is_success();
        Ok((good, answer.text().await?))
    }
}
