//! The demo: the whole agent on an embedded broker and a real data set, with receivers for its mails and webhooks.
//!
//! Nothing here is a stand-in for the agent: files are written and read as a user's would be, records go through Kafka's
//! protocol over TCP, mail through SMTP, webhooks through HTTP.

pub mod account;
pub mod hook_sink;
pub mod smtp_sink;
pub mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use thiserror::Error;

use crate::config::checked::Purpose;
use crate::config::environment::Environment;
use crate::config::fault::Fault;
use crate::config::load::load;
use crate::notify::signature::Secrets;

use super::assemble::assemble;
use super::baseline_job::{JobError, build_from_files};
use super::baseline_spec::build_spec;
use super::clock;
use super::run::{Handle, RunError, Settings, run};

use account::Account;
use hook_sink::{HookSink, HookSinkOptions};
use smtp_sink::{SmtpSink, SmtpSinkOptions};
use stream::{LABELS, PREDICTIONS, Recording};

/// Partitions of the demo's topics.
const PARTITIONS: i32 = 3;
/// Most of the time of a demo that the stream takes: the first drift is to be on screen within a minute.
const LONGEST_PLAY: Duration = Duration::from_secs(100);
/// What a demo needs besides the stream: building the baseline, joining the group, the last windows.
const MARGIN: Duration = Duration::from_secs(12);
/// The least that the stream is squeezed into.
const SHORTEST_PLAY: Duration = Duration::from_secs(15);
/// Signs the webhooks of the demo; anybody may know it.
const SECRET: &str = "whsec_ZHJpZnRsaW5lLWRlbW8tc2VjcmV0LW5vdC1zZWNyZXQ=";

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// How long it runs.
    pub duration: Duration,
    /// Port of the console.
    pub port: u16,
    /// Whether a browser is opened on the console.
    pub browser: bool,
}

/// Why the demo did not run.
#[derive(Debug, Error)]
pub enum DemoError {
    /// A file of the demo cannot be written or read.
    #[error("cannot write the files of the demo")]
    Files(#[from] std::io::Error),
    /// The embedded broker does not start.
    #[error("the embedded broker does not start")]
    Broker(#[from] rdkafka::error::KafkaError),
    /// The baseline cannot be built.
    #[error("the baseline cannot be built")]
    Baseline(#[from] JobError),
    /// The files of the demo have faults.
    #[error("{0}")]
    Config(String),
    /// The agent has failed.
    #[error("the agent has failed")]
    Run(#[from] RunError),
}

/// Runs the demo until its time is over or `interrupted` is there.
///
/// # Errors
/// What kept it from running.
pub async fn demo(settings: DemoSettings, interrupted: impl Future<Output = ()> + Send + 'static) -> Result<(), DemoError> {
    let account = Arc::new(Account::begin());
    let directory = directory()?;
    let cluster = MockCluster::new(1)?;
    for topic in [PREDICTIONS, LABELS] {
        cluster.create_topic(topic, PARTITIONS, 1)?;
    }
    let brokers = cluster.bootstrap_servers();
    account.say(&format!("broker        embedded, at {brokers}"));
    let (mail_server, mut mails) = SmtpSink::start(SmtpSinkOptions::default()).await?;
    let secrets = Secrets::parse(SECRET).map_err(|error| DemoError::Config(error.to_string()))?;
    let (hook_server, mut hooks) =
        HookSink::start(HookSinkOptions { secrets: Some(secrets), ..HookSinkOptions::default() }, clock::now).await?;
    let environment: Environment = [
        ("DEMO_BROKERS", brokers.clone()),
        ("DEMO_LISTEN", format!("127.0.0.1:{}", settings.port)),
        ("DEMO_SMTP", format!("smtp://{}?tls=none", mail_server.address())),
        ("DEMO_HOOKS", format!("http://{}", hook_server.address())),
    ]
    .into_iter()
    .collect();
    let config = directory.join("driftline.yaml");
    build_baseline(&account, &directory, &config, &environment)?;
    let assembly = assemble(&config, &[], &environment, Purpose::Run).map_err(|faults| DemoError::Config(told(&faults)))?;

    let handle = Handle::default();
    let listener = {
        let account = Arc::clone(&account);
        Arc::new(move |event: &super::event::AppEvent| account.event(event))
    };
    let run_settings = Settings { config, rules: Vec::new(), environment, dry_run_actions: false, watch: false, listener: Some(listener) };
    let mut agent = tokio::spawn(run(assembly, run_settings, handle.clone()));
    let receiving = tokio::spawn({
        let account = Arc::clone(&account);
        async move {
            loop {
                tokio::select! {
                    Some(mail) = mails.recv() => account.mail(&mail),
                    Some(hook) = hooks.recv() => account.hook(&hook),
                    else => break,
                }
            }
        }
    });
    if settings.browser {
        open_browser(settings.port);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let recording = Recording::shipped()?;
    let play = settings.duration.saturating_sub(MARGIN).clamp(SHORTEST_PLAY, LONGEST_PLAY);
    account.say(&format!("stream        {:.0} days of car loans in {} seconds", recording.span().as_seconds() / 86_400.0, play.as_secs()));
    let playing = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || recording.play(&brokers, play, &stop)
    });
    let remaining = settings.duration.saturating_sub(Duration::from_secs_f64(account.seconds()));
    let ended_early = tokio::select! {
        () = tokio::time::sleep(remaining) => None,
        () = interrupted => None,
        ended = &mut agent => Some(ended),
    };
    stop.store(true, Ordering::Relaxed);
    handle.stop();
    let sent = match playing.await {
        Ok(sent) => sent?,
        Err(_) => 0,
    };
    let ended = match ended_early {
        Some(ended) => ended,
        None => agent.await,
    };
    match ended {
        Ok(result) => result?,
        Err(panic) => return Err(DemoError::Config(panic.to_string())),
    }
    mail_server.stop().await;
    hook_server.stop().await;
    let _ = receiving.await;
    account.summary(sent, &directory);
    drop(cluster);
    Ok(())
}

/// A fresh directory with the files of the demo.
fn directory() -> std::io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("driftline-demo-{}", std::process::id()));
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("driftline.yaml"), include_str!("driftline.yaml"))?;
    std::fs::write(directory.join("rules.yaml"), include_str!("rules.yaml"))?;
    std::fs::write(directory.join("whsec"), SECRET)?;
    std::fs::write(directory.join("reference.csv.zst"), include_bytes!("data/car_loan/reference.csv.zst"))?;
    Ok(directory)
}

fn build_baseline(account: &Account, directory: &Path, config: &Path, environment: &Environment) -> Result<(), DemoError> {
    let (config, _) = load(config, environment, Purpose::Offline).map_err(|faults| DemoError::Config(told(&faults)))?;
    let model = config.models.first().ok_or_else(|| DemoError::Config("no model".into()))?;
    let spec = build_spec(model).map_err(DemoError::Config)?;
    let before = account.seconds();
    let baseline = build_from_files(&spec, &[directory.join("reference.csv.zst")], &mut |_| {})?;
    let text = baseline.to_json().map_err(|error| DemoError::Config(error.to_string()))?;
    std::fs::write(directory.join("baseline.json"), text)?;
    let took = account.seconds() - before;
    account.say(&format!("baseline      {} rows, {} columns, built in {took:.1} s", baseline.rows, baseline.layout.columns.len()));
    Ok(())
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Asks the desktop to show the console; without a desktop nothing happens.
fn open_browser(port: u16) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let _ = std::process::Command::new(opener)
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
}
