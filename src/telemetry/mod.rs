//! Telemetry: what the agent tells about the models and about itself, by OpenTelemetry and for Prometheus to scrape.
//!
//! Layer 4. Holds tables of the latest values that the app updates; exporters read them when they collect, so that what has
//! gone away is no longer exported. Makes no measurement of its own and reads no configuration file.
//!
//! * [`score`]: scores of the models, [`series`]: their series under a budget; [`agent`]: counts and lags of the agent; [`latency`]: histograms
//! * `instrument`: the names, units and descriptions of all metrics
//! * [`event_log`]: log events; [`environment`]: the `OTEL_*` variables; [`logging`]: the agent's own log on stderr

pub mod agent;
pub mod environment;
pub mod event_log;
mod instrument;
pub mod latency;
pub mod logging;
pub mod score;
pub mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::TextEncoder;

use agent::{AgentTable, PartitionLag, RecordCount};
use environment::Plan;
use event_log::EventLog;
use latency::LatencyTable;
use score::{DriftRecipe, ScoreTable, Threshold};

use crate::event::{Measurement, Timestamp, WindowSummary};
use crate::join::Kept;
use crate::rule::message::AlertView;

/// Series of the models that are exported where the configuration does not say otherwise.
pub const DEFAULT_MAX_SERIES: usize = 5_000;
/// Time between two pushes where neither the configuration nor the environment says otherwise.
pub const DEFAULT_EXPORT_INTERVAL: Duration = Duration::from_secs(15);

/// What telemetry needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL of an OTLP receiver (`http://localhost:4318`), where the configuration names one. The environment wins.
    pub otlp_endpoint: Option<String>,
    /// Whether [`Telemetry::metrics_text`] has anything to say.
    pub prometheus: bool,
    /// Most series of the models over all their metrics.
    pub max_series: usize,
    /// Time between two pushes of metrics. The environment wins.
    pub export_interval: Duration,
    /// The `OTEL_*` variables of the process.
    pub environment: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            otlp_endpoint: None,
            prometheus: true,
            max_series: DEFAULT_MAX_SERIES,
            export_interval: DEFAULT_EXPORT_INTERVAL,
            environment: BTreeMap::new(),
        }
    }
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is no URL, or the client cannot be made.
    #[error("cannot export {signal} to {endpoint}: {reason}")]
    Exporter {
        /// `metrics` or `logs`.
        signal: &'static str,
        /// Where to.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The exporter for Prometheus cannot be made.
    #[error("cannot prepare the metrics for Prometheus: {0}")]
    Prometheus(String),
    /// The log filter cannot be read.
    #[error("cannot read the log filter '{filter}': {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// A subscriber is there already.
    #[error("logging is set up already")]
    Logging,
}

/// The tables that the app updates and the exporters read.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) scores: Mutex<ScoreTable>,
    pub(crate) agent: Mutex<AgentTable>,
    pub(crate) latencies: Mutex<LatencyTable>,
}

/// The data behind a lock. A thread that panicked while it held the lock leaves a table whose every state is valid.
pub(crate) fn locked<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Running telemetry. All methods may be called from any thread; none waits for the network but
/// [`Telemetry::flush`] and [`Telemetry::shutdown`].
#[derive(Debug)]
pub struct Telemetry {
    tables: Arc<Tables>,
    meters: Vec<SdkMeterProvider>,
    registry: Option<prometheus::Registry>,
    events: EventLog,
    warnings: Vec<String>,
}

impl Telemetry {
    /// Starts the exporters that the settings and the environment ask for. With `OTEL_SDK_DISABLED=true` there are none.
    ///
    /// # Errors
    /// [`Error::Exporter`] where an endpoint is no URL. That nobody listens there is no error: it may come later.
    pub fn start(settings: &Settings) -> Result<Telemetry, Error> {
        let plan = Plan::resolve(settings);
        let tables = Arc::new(Tables {
            scores: Mutex::new(ScoreTable::new(settings.max_series)),
            agent: Mutex::new(AgentTable::default()),
            latencies: Mutex::new(LatencyTable::default()),
        });
        let resource = resource(&settings.environment);
        let mut meters = Vec::new();
        if let Some(endpoint) = &plan.metrics_endpoint {
            install_crypto();
            let exporter = MetricExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(endpoint)
                .build()
                .map_err(|fault| Error::Exporter { signal: "metrics", endpoint: endpoint.clone(), reason: fault.to_string() })?;
            let reader = PeriodicReader::builder(exporter).with_interval(plan.interval).build();
            meters.push(provider(reader, &resource, settings.max_series, &tables));
        }
        let registry = plan.prometheus.then(prometheus::Registry::new);
        if let Some(registry) = &registry {
            let reader = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .scope_info_enabled(false)
                .build()
                .map_err(|fault| Error::Prometheus(fault.to_string()))?;
            meters.push(provider(reader, &resource, settings.max_series, &tables));
        }
        let events = match &plan.logs_endpoint {
            None => EventLog::off(),
            Some(endpoint) => {
                install_crypto();
                let exporter = LogExporter::builder()
                    .with_http()
                    .with_protocol(Protocol::HttpBinary)
                    .with_endpoint(endpoint)
                    .build()
                    .map_err(|fault| Error::Exporter { signal: "logs", endpoint: endpoint.clone(), reason: fault.to_string() })?;
                EventLog::to(exporter, resource)
            }
        };
        Ok(Telemetry { tables, meters, registry, events, warnings: plan.warnings })
    }

    /// What of the environment is not honoured, as sentences for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The metrics in Prometheus' text format, for `/metrics`; empty where that is off.
    pub fn metrics_text(&self) -> String {
        let Some(registry) = &self.registry else { return String::new() };
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
    }

    /// Whether `/metrics` is wanted.
    pub fn serves_prometheus(&self) -> bool {
        self.registry.is_some()
    }

    /// Pushes what there is now. Blocks: call it from a thread that may.
    pub fn flush(&self) {
        let _ = self.events.flush();
        for meters in &self.meters {
            let _ = meters.force_flush();
        }
    }

    /// Pushes what there is and ends the exporters: log events first, they are not made again. Blocks at most about
    /// `deadline`; says whether all was sent by then. Call it from a thread that may block.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (events, meters) = (self.events.clone(), self.meters.clone());
        let ends = std::thread::Builder::new().name("telemetry-end".into()).spawn(move || {
            let logs = events.shutdown(deadline);
            let metrics = meters.iter().filter(|meters| meters.shutdown_with_timeout(deadline).is_err()).count() == 0;
            let _ = sender.send(logs && metrics);
        });
        ends.is_ok() && receiver.recv_timeout(deadline).unwrap_or(false)
    }

    /// Takes the measurements of a closed or restated window; see [`ScoreTable::update`].
    pub fn update_scores(&self, measurements: &[Measurement]) {
        locked(&self.tables.scores).update(measurements);
    }

    /// Drops what was measured in windows that ended before `oldest`, so that a stream that stopped stops being exported.
    pub fn expire_scores(&self, oldest: Timestamp) {
        locked(&self.tables.scores).expire(oldest);
    }

    /// Keeps only these models, after a reload.
    pub fn retain_models(&self, models: &[&str]) {
        locked(&self.tables.scores).retain_models(models);
        locked(&self.tables.agent).retain_models(models);
        locked(&self.tables.latencies).retain_models(models);
    }

    /// Sets what counts as drifted in a model's windows, where it is not the default.
    pub fn set_drift_recipe(&self, model: &str, recipe: DriftRecipe) {
        locked(&self.tables.scores).set_recipe(model, recipe);
    }

    /// Sets the thresholds of the rules.
    pub fn set_thresholds(&self, thresholds: Vec<Threshold>) {
        locked(&self.tables.scores).set_thresholds(thresholds);
    }

    /// Sets the alert instances: they are counted by state, and what they are about is exported before the rest.
    pub fn set_alerts(&self, alerts: &[AlertView]) {
        locked(&self.tables.scores).set_alerts(alerts);
        locked(&self.tables.agent).set_alerts(alerts);
    }

    /// Sets the counts of events, as totals since the start.
    pub fn set_records(&self, records: Vec<RecordCount>) {
        locked(&self.tables.agent).records = records;
    }

    /// Sets where the source partitions stand.
    pub fn set_lags(&self, lags: Vec<PartitionLag>) {
        locked(&self.tables.agent).lags = lags;
    }

    /// Sets what became of dead letters, by outcome and reason, as totals since the start.
    pub fn set_dead_letters(&self, letters: Vec<(&'static str, &'static str, u64)>) {
        locked(&self.tables.agent).dead_letters = letters;
    }

    /// Sets what the ledgers of labels hold.
    pub fn set_ledger(&self, kept: Kept) {
        locked(&self.tables.agent).ledger = kept;
    }

    /// Sets how many items wait in the outbox.
    pub fn set_outbox_depth(&self, depth: u64) {
        locked(&self.tables.agent).outbox_depth = depth;
    }

    /// Sets whether the last reload was applied; before any, the start counts as one that was.
    pub fn set_reload(&self, successful: bool) {
        locked(&self.tables.agent).reload_failed = !successful;
    }

    /// Counts a closed window of a model.
    pub fn count_window(&self, model: &str, window: &str) {
        locked(&self.tables.agent).count_window(model, window);
    }

    /// Counts a delivery to a receiver: `delivered`, `retried`, `failed`, `expired` or the notifier's other words.
    pub fn count_notification(&self, receiver: &str, outcome: &str) {
        locked(&self.tables.agent).count_notification(receiver, outcome);
    }

    /// Counts a call of an action by its outcome.
    pub fn count_action(&self, action: &str, outcome: &str) {
        locked(&self.tables.agent).count_action(action, outcome);
    }

    /// Records how long a model took for one prediction. For a hot path collect a histogram and
    /// [`Telemetry::merge_prediction_latency`] it now and then.
    pub fn record_prediction_latency(&self, model: &str, latency: Duration) {
        locked(&self.tables.latencies).record(latency::Kind::Prediction, model, latency);
    }

    /// Adds a histogram of a model's prediction latencies in microseconds.
    pub fn merge_prediction_latency(&self, model: &str, microseconds: &hdrhistogram::Histogram<u64>) {
        locked(&self.tables.latencies).merge(latency::Kind::Prediction, model, microseconds);
    }

    /// Records how long the evaluation of one closed window took.
    pub fn record_window_close(&self, model: &str, took: Duration) {
        locked(&self.tables.latencies).record(latency::Kind::WindowClose, model, took);
    }

    /// Begins a new interval of the latencies: quantiles are over the running interval and the one before. Call it once a minute.
    pub fn rotate_latencies(&self) {
        locked(&self.tables.latencies).rotate();
    }

    /// Emits `drift.window.closed` with everything that was measured in the window, one line each.
    pub fn emit_window(&self, summary: &WindowSummary, measurements: &[Measurement]) {
        self.events.window_closed(summary, measurements);
    }

    /// Emits `driftline.alert.firing` or `driftline.alert.resolved` with the alert's line of the results.
    pub fn emit_alert(&self, event: event_log::AlertEvent, severity: Option<&str>, line: &str) {
        self.events.alert(event, severity, line);
    }
}

/// A provider of its own for one reader: where readers share one, what is observed for the one is seen by the other at its
/// next collection, and a series that is gone comes back once.
fn provider(reader: impl MetricReader, resource: &Resource, max_series: usize, tables: &Arc<Tables>) -> SdkMeterProvider {
    // One more than the budget, so that the SDK never folds series into one that means nothing.
    let limit = max_series.saturating_add(1).max(1);
    let view = move |instrument: &Instrument| {
        let of_models = ["drift.", "model."].iter().any(|prefix| instrument.name().starts_with(prefix));
        of_models.then(|| Stream::builder().with_cardinality_limit(limit).build().ok()).flatten()
    };
    let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_view(view).with_reader(reader).build();
    instrument::register(&meters.meter("driftline"), tables);
    meters
}

/// Names the service, unless the environment does.
fn resource(environment: &BTreeMap<String, String>) -> Resource {
    let named = environment.get("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || environment.get("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|list| list.contains("service.name="));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named { builder.build() } else { builder.with_service_name("driftline").build() }
}

/// Makes ring the cryptography of the process's TLS clients, unless one is there already.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
