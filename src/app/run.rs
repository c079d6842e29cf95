//! The running agent: everything is started here, wired, and stopped in order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, oneshot};

use crate::config::checked::{Config, Purpose, Start, Workers};
use crate::config::environment::Environment;
use crate::config::fault::Fault;
use crate::engine::Plan;
use crate::engine::measure;
use crate::event::decode::Mapping;
use crate::event::{Span, TopicRole};
use crate::http::{self, BaselineView, Check, FeatureView, Hooks, ModelView, ReloadView, ViewHandle, WindowView};
use crate::kafka::{Connection, describe};
use crate::notify::{Dispatcher, Options, Outbox, Transports};
use crate::rule::RuleSet;
use crate::source::kafka::{self, Letters, OnFailure, StartAt, Topic};
use crate::store::StoreError;
use crate::telemetry::{self, Telemetry};

use super::assemble::{Assembly, assemble};
use super::checkpoint::CheckpointError;
use super::clock;
use super::cluster;
use super::coordinator::Control;
use super::event::{AppEvent, Listener};
use super::letter::DeadLetters;
use super::local;
use super::numbering::layouts;
use super::publish::Publisher;
use super::said::Said;

/// How long the last deliveries may take at the end.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last telemetry may take at the end.
const TELEMETRY_PATIENCE: Duration = Duration::from_secs(5);
/// A coordinator that has not stepped for this long does not live.
const HEARTBEAT_PATIENCE: Span = Span(60_000);
/// Notifications of the consumer that may wait.
pub(super) const NOTIFICATIONS: usize = 1024;
/// The least the consumer may fetch ahead, in KiB; it is otherwise an eighth of `limits.memory`.
const LEAST_QUEUE_KIB: u64 = 4096;

/// Why the agent does not run, or no longer.
#[derive(Debug, Error)]
pub enum RunError {
    /// The state directory cannot be used.
    #[error("state")]
    Store(#[from] StoreError),
    /// What is in it cannot.
    #[error("state")]
    State(#[from] CheckpointError),
    /// The HTTP server cannot be started.
    #[error("http")]
    Http(#[from] http::Error),
    /// Telemetry cannot be started.
    #[error("telemetry")]
    Telemetry(#[from] telemetry::Error),
    /// librdkafka refuses its configuration.
    #[error("kafka: {0}")]
    Kafka(String),
    /// The topics of the state cannot be used.
    #[error("{0}")]
    Exchange(String),
    /// Receivers or actions cannot be used.
    #[error("notify: {0}")]
    Notify(String),
    /// The stored outbox cannot be read.
    #[error("the stored outbox cannot be read: {0}")]
    Outbox(String),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
    /// Something that must not end has ended.
    #[error("{0}")]
    Fatal(String),
}

/// How the agent is run.
#[derive(Clone)]
pub struct Settings {
    /// The configuration file, for reloads.
    pub config: PathBuf,
    /// Rule globs of the command line.
    pub rules: Vec<String>,
    /// The variables of the process.
    pub environment: Environment,
    /// Actions are logged and not called.
    pub dry_run_actions: bool,
    /// Whether changed rule files are applied without being asked.
    pub watch: bool,
    /// Whoever watches.
    pub listener: Option<Listener>,
}

/// Ways to speak to a running agent.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    stop: Arc<Notify>,
    reload: Arc<Notify>,
}

impl Handle {
    /// Drain and end.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Read the rule files anew.
    pub fn reload(&self) {
        self.reload.notify_one();
    }
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or made it end.
pub async fn run(assembly: Assembly, settings: Settings, handle: Handle) -> Result<(), RunError> {
    let Assembly { config, plan, rules, notify, rule_globs, .. } = assembly;
    let workers = worker_count(&config);
    // In a cluster nothing is kept here but what waits for labels, for as long as the process lives.
    let cache = if config.state.cluster.is_some() { cluster::open_cache(&config, &plan)? } else { None };
    let (local, outbox) = if config.state.cluster.is_some() {
        (None, Vec::new())
    } else {
        let (store, restored) = local::restore(&config, &plan, &rules, workers)?;
        let outbox = restored.outbox.clone();
        (Some((store, restored)), outbox)
    };
    let outbox = if outbox.is_empty() {
        Outbox::default()
    } else {
        Outbox::restore(&outbox).map_err(|error| RunError::Outbox(error.to_string()))?
    };
    let telemetry = Arc::new(Telemetry::start(&telemetry_settings(&config, &settings.environment))?);
    telemetry.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let transports = Transports::build(notify)
        .map_err(|errors| RunError::Notify(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let options = Options { dry_run_actions: settings.dry_run_actions, ..Options::default() };
    let (dispatcher, mut reports) = Dispatcher::spawn(transports, outbox, options, clock::now);

    let view = ViewHandle::new();
    view.set_models(model_views(&plan, &rules));
    view.set_checks(vec![Check::new("kafka", false, "no partitions assigned yet")]);
    let said = Said::open(&config.state.path, &plan, &view, &telemetry, clock::now)?;
    let (control, control_in) = crossbeam_channel::bounded(16);
    let (fatal, fatal_in) = crossbeam_channel::bounded(16);
    let heartbeat = Arc::new(AtomicI64::new(clock::now().0));
    let (http_stop, http_stopped) = oneshot::channel::<()>();
    let reloader = Reloader {
        settings: settings.clone(),
        plan: Arc::clone(&plan),
        outbox: dispatcher.outbox(),
        control: control.clone(),
        view: view.clone(),
        telemetry: Arc::clone(&telemetry),
    };
    let server = http::serve(http_settings(&config), view.clone(), hooks(&telemetry, &heartbeat, &reloader), async move {
        let _ = http_stopped.await;
    })
    .await?;
    tracing::info!(address = %server.address, "console");
    tell(settings.listener.as_ref(), &AppEvent::Listening(server.address));

    let letters = dead_letters(&config, &plan)?;
    let now = clock::now();
    let publisher = Publisher {
        view: view.clone(),
        telemetry: Arc::clone(&telemetry),
        outbox: dispatcher.outbox(),
        said,
        listener: settings.listener.clone(),
        letters,
        latencies: BTreeMap::new(),
        score_age: plan
            .models
            .iter()
            .map(|model| Span(3 * model.longest_window().0) + model.horizon.unwrap_or_default())
            .max()
            .unwrap_or_default(),
        started_at: now,
        last_received: (0, now),
        unjudged: BTreeMap::new(),
        refused: 0,
    };
    let thread = match local {
        None => {
            let config = Arc::new(config.clone());
            let plan = Arc::clone(&plan);
            let surroundings =
                cluster::Surroundings { config, plan, rules, workers, publisher, control: control_in, heartbeat, fatal, cache };
            let member = cluster::start(surroundings, handle.stop.notified()).await?;
            std::thread::Builder::new().name("member".into()).spawn(move || {
                member.into_iter().for_each(cluster::Member::run);
                None
            })?
        }
        Some((store, restored)) => {
            let coordinator = local::coordinator(&config, &plan, rules, restored, store, publisher, control_in, heartbeat, fatal)?;
            std::thread::Builder::new().name("coordinator".into()).spawn(move || Some(coordinator.run()))?
        }
    };
    let (ended, mut over) = oneshot::channel();
    let thread = std::thread::Builder::new().name("end".into()).spawn(move || {
        let remains = thread.join();
        let _ = ended.send(());
        remains
    })?;

    let reporting = tokio::spawn({
        let (view, telemetry, listener) = (view.clone(), Arc::clone(&telemetry), settings.listener.clone());
        async move {
            while let Some(report) = reports.recv().await {
                report_delivery(&view, &telemetry, &report);
                tell(listener.as_ref(), &AppEvent::Delivery(Box::new(report)));
            }
        }
    });
    let watching = settings.watch.then(|| tokio::spawn(super::watch::watch(rule_globs, handle.clone())));
    loop {
        tokio::select! {
            () = handle.stop.notified() => break,
            _ = &mut over => break,
            () = handle.reload.notified() => {
                let reloader = reloader.clone();
                let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
            }
        }
    }
    tracing::info!("draining");
    view.set_draining();
    if let Some(watching) = watching {
        watching.abort();
    }
    let _ = control.send(Control::Stop);
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    let outbox = dispatcher.outbox();
    // What has not been delivered by then is stored and tried again at the next start.
    dispatcher.shutdown(DELIVERY_PATIENCE).await;
    let _ = reporting.await;
    let is_whole = matches!(joined, Ok(Ok(Ok(_))));
    if let Ok(Ok(Ok(Some(remains)))) = joined {
        let _ = tokio::task::spawn_blocking(move || remains.keep_outbox(&outbox)).await;
    }
    let _ = tokio::task::spawn_blocking(move || telemetry.shutdown(TELEMETRY_PATIENCE)).await;
    let _ = http_stop.send(());
    let _ = server.task.await;
    if !is_whole {
        return Err(RunError::Fatal("the coordinator has panicked; the last checkpoint stands".into()));
    }
    match fatal_in.try_recv() {
        Ok(reason) => Err(RunError::Fatal(reason)),
        Err(_) => Ok(()),
    }
}

fn tell(listener: Option<&Listener>, event: &AppEvent) {
    if let Some(listener) = listener {
        listener(event);
    }
}

fn report_delivery(view: &ViewHandle, telemetry: &Telemetry, report: &crate::notify::DeliveryReport) {
    use crate::notify::Target;
    let outcome = report.outcome_name();
    match &report.target {
        Target::Receiver { name, .. } => telemetry.count_notification(name, outcome),
        Target::Action { name } => telemetry.count_action(name, outcome),
    }
    if let Some(error) = &report.error {
        tracing::warn!(target = report.target.name(), outcome, attempts = report.attempts, "delivery: {error}");
    }
    let kind = if matches!(report.target, Target::Action { .. }) { "action" } else { "notification" };
    let name = if kind == "action" { "action" } else { "receiver" };
    view.push_event(serde_json::json!({
        "type": kind, name: report.target.name(), "kind": "delivery", "episode": report.episode, "outcome": outcome, "attempts": report.attempts,
        "error": report.error, "at": report.at.rfc3339(),
    }));
}

pub(super) fn worker_count(config: &Config) -> usize {
    match config.limits.workers {
        Workers::Count(count) => count.max(1),
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

fn telemetry_settings(config: &Config, environment: &Environment) -> telemetry::Settings {
    telemetry::Settings {
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        prometheus: config.telemetry.prometheus,
        max_series: config.telemetry.max_series,
        environment: environment.with_prefix("OTEL_"),
        ..telemetry::Settings::default()
    }
}

fn http_settings(config: &Config) -> http::Settings {
    http::Settings {
        listen: config.http.listen.to_string(),
        token_file: config.http.token_file.clone(),
        open_reads: config.http.open_reads,
        allowed_hosts: Vec::new(),
    }
}

/// How every client reaches the brokers.
///
/// # Errors
/// Properties that cannot be used; a checked configuration has none.
pub fn kafka_connection(config: &Config) -> Result<Connection, RunError> {
    Connection::new(config.kafka.bootstrap_servers.join(","), &config.kafka.librdkafka, clock::now)
        .map_err(|fault| RunError::Kafka(fault.to_string()))
}

/// Settings of the consumer.
///
/// # Errors
/// Properties of the connection that cannot be used.
pub fn kafka_settings(config: &Config, plan: &Plan) -> Result<kafka::Settings, RunError> {
    let topics = [
        (&config.kafka.predictions, TopicRole::Predictions),
        (&config.kafka.features, TopicRole::Features),
        (&config.kafka.labels, TopicRole::Labels),
    ];
    let longest = plan.models.iter().map(|model| model.longest_reach() + model.lateness).max().unwrap_or_default();
    Ok(kafka::Settings {
        connection: kafka_connection(config)?,
        group_id: config.kafka.group_id.clone(),
        instance_id: config.kafka.instance_id.clone(),
        protocol: config.kafka.group_protocol,
        topics: topics.into_iter().flat_map(|(names, role)| names.iter().map(move |name| Topic { name: name.clone(), role })).collect(),
        start: match config.kafka.start {
            Start::Earliest => StartAt::Earliest,
            Start::Latest => StartAt::Latest,
            Start::At(at) => StartAt::At(at),
        },
        look_back: longest,
        max_bytes: plan.max_bytes,
        // A letter has all headers of its record.
        headers: wants_headers(&plan.mapping) || config.kafka.dead_letters.is_some(),
        idle_after: config.kafka.idle_timeout,
        queue_kib: usize::try_from(fetch_ahead_bytes(config) / 1024).unwrap_or(65_536),
        is_joining: config.state.cluster.is_some() && plan.models.iter().any(|model| model.horizon.is_some()),
        resume: None,
    })
}

fn dead_letters(config: &Config, plan: &Plan) -> Result<Option<Arc<DeadLetters>>, RunError> {
    let Some(settings) = &config.kafka.dead_letters else { return Ok(None) };
    let on_failure = if settings.block { OnFailure::Block } else { OnFailure::Drop };
    let letters = Letters::start(&kafka_settings(config, plan)?, settings.topic.clone(), on_failure)
        .map_err(|error| RunError::Kafka(describe(&error)))?;
    Ok(Some(Arc::new(DeadLetters::new(letters, config.kafka.group_id.clone(), settings.rate))))
}

/// What the consumer may fetch ahead.
pub(super) fn fetch_ahead_bytes(config: &Config) -> u64 {
    (config.limits.memory / 8).clamp(LEAST_QUEUE_KIB * 1024, 1 << 30)
}

fn wants_headers(mapping: &Mapping) -> bool {
    mapping.headers().next().is_some()
}

/// Where rules on PSI fire, else where practice draws its lines.
fn psi_thresholds(rules: &RuleSet, model: &str) -> Vec<f64> {
    let of_psi = rules.rules().iter().filter(|rule| *rule.model == *model && rule.metric == Some(crate::event::Metric::Psi));
    let mut thresholds: Vec<f64> = of_psi.flat_map(|rule| &rule.tiers).filter_map(|tier| tier.condition.threshold()).collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    if thresholds.is_empty() { vec![0.1, 0.25] } else { thresholds }
}

fn model_views(plan: &Plan, rules: &RuleSet) -> Vec<ModelView> {
    let view = |model: &crate::engine::ModelPlan| {
        let columns = model.baselines.iter().flat_map(|baseline| &baseline.layout.columns);
        let mut features: Vec<FeatureView> = columns
            .filter_map(|column| match &column.subject {
                crate::event::Subject::Feature(name) => Some(FeatureView {
                    name: name.to_string(),
                    kind: match column.kind {
                        crate::baseline::ColumnKind::Numeric(_) => "numeric".to_owned(),
                        crate::baseline::ColumnKind::Categorical(_) => "categorical".to_owned(),
                        crate::baseline::ColumnKind::Embedding(_) => "embedding".to_owned(),
                    },
                }),
                _ => None,
            })
            .collect();
        features.sort_by(|left, right| left.name.cmp(&right.name));
        features.dedup_by(|left, right| left.name == right.name);
        let versions: Vec<(Option<String>, usize)> = model
            .by_version
            .iter()
            .map(|(version, place)| (Some(version.to_string()), *place))
            .chain(model.default_baseline.map(|place| (None, place)))
            .collect();
        let baselines = versions
            .into_iter()
            .filter_map(|(version, place)| {
                let baseline = model.baselines.get(place)?;
                let performance = measure::reference(model, version.as_deref().unwrap_or(""));
                Some(BaselineView {
                    version,
                    source: baseline.model.to_string(),
                    rows: baseline.rows,
                    created_at: None,
                    layout: format!("{:016x}", baseline.layout.id),
                    performance: performance.into_iter().map(|(metric, value)| (metric.as_str().to_owned(), value)).collect(),
                })
            })
            .collect();
        ModelView {
            name: model.name.to_string(),
            task: model.task.to_string(),
            versions: model.by_version.keys().map(ToString::to_string).collect(),
            labels: model.horizon.is_some(),
            min_samples: model.min_samples,
            baselines,
            windows: model
                .windows
                .iter()
                .map(|window| WindowView { name: window.name.to_string(), size: window.size.to_string(), slide: window.slide.to_string() })
                .collect(),
            features,
            psi_thresholds: psi_thresholds(rules, &model.name),
        }
    };
    plan.models.iter().map(view).collect()
}

fn hooks(telemetry: &Arc<Telemetry>, heartbeat: &Arc<AtomicI64>, reloader: &Reloader) -> Hooks {
    let (metrics, beats, reloader) = (Arc::clone(telemetry), Arc::clone(heartbeat), reloader.clone());
    Hooks {
        metrics: telemetry.serves_prometheus().then(|| Arc::new(move || metrics.metrics_text()) as http::MetricsHook),
        reload: Some(Arc::new(move || reloader.reload())),
        alive: Some(Arc::new(move || {
            let age = Span(clock::now().0 - beats.load(Ordering::Relaxed));
            if age > HEARTBEAT_PATIENCE { Err(format!("the coordinator has not stepped for {age}")) } else { Ok(()) }
        })),
    }
}

/// Applies rule files anew: the whole of them, or nothing.
#[derive(Clone)]
struct Reloader {
    settings: Settings,
    plan: Arc<Plan>,
    outbox: crate::notify::OutboxHandle,
    control: crossbeam_channel::Sender<Control>,
    view: ViewHandle,
    telemetry: Arc<Telemetry>,
}

impl Reloader {
    fn reload(&self) -> Result<String, String> {
        let result = self.apply();
        self.telemetry.set_reload(result.is_ok());
        match &result {
            Ok(what) => tracing::info!("reload: {what}"),
            Err(why) => tracing::error!("reload refused, everything stays as it was:\n{why}"),
        }
        let detail = result.clone().unwrap_or_else(|why| why);
        self.view.set_reload(ReloadView { successful: result.is_ok(), at: clock::now().into(), detail });
        result
    }

    fn apply(&self) -> Result<String, String> {
        let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let assembly = assemble(&self.settings.config, &self.settings.rules, &self.settings.environment, Purpose::Run).map_err(told)?;
        if layouts(&assembly.plan) != layouts(&self.plan) {
            return Err("models, windows or baselines have changed; restart to apply that".into());
        }
        let transports =
            Transports::build(assembly.notify).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let rules: Arc<RuleSet> = assembly.rules;
        let count = rules.written();
        self.outbox.replace(transports);
        self.control.send(Control::Rules(rules)).map_err(|_| "the agent is shutting down".to_owned())?;
        Ok(format!("{count} rules applied"))
    }
}
