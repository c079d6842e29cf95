//! What the tests of mail and webhooks share: a notice, a running dispatcher, certificates, and waiting with a limit.
#![allow(dead_code)] // each test binary uses its part

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftline::event::{Span, Timestamp, WindowRef};
use driftline::notify::backoff::RetryPolicy;
use driftline::notify::{DeliveryReport, Dispatcher, NotifySettings, Options, Order, Outbox, OutboxHandle, Transports};
use driftline::rule::message::{AlertView, Notice, NoticeKind};
use tokio::sync::mpsc::Receiver;

/// The episode of every notice.
pub const EPISODE: &str = "01KAPZ5H80ABCDEFGHJKMNPQRS";

/// The wall clock.
pub fn clock() -> Timestamp {
    #[allow(clippy::disallowed_methods)] // The tests' own clock.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(now.as_millis()).unwrap())
}

/// Short waits, long lives.
pub const RETRY: RetryPolicy = RetryPolicy { base: Span(40), max: Span(200), notice_age: Span::HOUR, action_age: Span::HOUR };

/// A dispatcher at work.
pub struct Running {
    pub dispatcher: Dispatcher,
    pub reports: Receiver<DeliveryReport>,
    pub settings: NotifySettings,
}

impl Running {
    pub fn start(settings: NotifySettings) -> Running {
        Running::resume(settings, Outbox::default(), Options { dry_run_actions: false, retry: RETRY })
    }

    pub fn resume(settings: NotifySettings, outbox: Outbox, options: Options) -> Running {
        let transports = Transports::build(settings.clone()).unwrap();
        let (dispatcher, reports) = Dispatcher::spawn(transports, outbox, options, clock);
        Running { dispatcher, reports, settings }
    }

    pub fn transports(&self) -> Transports {
        Transports::build(self.settings.clone()).unwrap()
    }

    pub fn outbox(&self) -> OutboxHandle {
        self.dispatcher.outbox()
    }

    pub async fn send(&self, order: Order) {
        self.dispatcher.orders().send(order).await.unwrap();
    }
}

/// The next thing from a channel, within a time that is long for any machine.
pub async fn next<T>(channel: &mut Receiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), channel.recv()).await.expect("nothing came").expect("the channel was closed")
}

/// Nothing comes within a moment.
pub async fn nothing<T: Debug>(channel: &mut Receiver<T>) {
    if let Ok(Some(thing)) = tokio::time::timeout(Duration::from_millis(150), channel.recv()).await {
        panic!("{thing:?} came");
    }
}

/// A notice of a drifted feature.
pub fn notice(receiver: &str, kind: NoticeKind, sequence: u32) -> Notice {
    Notice { receiver: receiver.into(), kind, episode: EPISODE.into(), sequence, at: at(), alert: alert() }
}

pub fn at() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T11:00:00Z").unwrap()
}

pub fn alert() -> AlertView {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    AlertView {
        alert: "FeaturePSI".into(),
        group: "loan-drift".into(),
        state: "firing".into(),
        severity: Some("critical".into()),
        labels: pairs(&[("alertname", "FeaturePSI"), ("model", "loan"), ("feature", "age"), ("severity", "critical"), ("team", "<risk>")]),
        annotations: pairs(&[("summary", "age drifted"), ("runbook_url", "https://runbooks.example/psi")]),
        value: Some(0.3134),
        threshold: Some(0.25),
        n: 5120,
        episode: Some(EPISODE.into()),
        active_at: Some(at()),
        starts_at: Some(at()),
        ends_at: None,
        reason: "fire critical: value 0.3134 above 0.25 for 2 windows".into(),
        window: Some(WindowRef { name: "1h".into(), start: at() - Span::HOUR, end: at() }),
        history: vec![Some(0.01), Some(0.12), Some(0.3134)],
        explanation: None,
    }
}

/// A private authority and a server that it vouches for.
pub struct Certificates {
    pub server: Arc<rustls::ServerConfig>,
    pub ca_file: PathBuf,
}

/// A file of this test run.
pub fn scratch(name: &str, content: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

pub fn certificates(name: &str) -> Certificates {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "driftline test authority");
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], private)
        .unwrap();
    Certificates { server: Arc::new(config), ca_file: scratch(&format!("{name}-ca.pem"), &authority.pem()) }
}
