//! Telemetry as a receiver sees it: names, units, attributes and the budget, over OTLP and as text for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use driftline::event::{Measurement, Metric, Segment, Status, Subject, Timestamp, WindowRef, WindowSummary};
use driftline::join::Kept;
use driftline::rule::message::AlertView;
use driftline::telemetry::agent::{PartitionLag, RecordCount};
use driftline::telemetry::event_log::AlertEvent;
use driftline::telemetry::score::Threshold;
use driftline::telemetry::{Settings, Telemetry};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use prost::Message as _;

/// What has come in, undecoded requests decoded.
#[derive(Clone, Default)]
struct Received {
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

/// One data point: attributes as text, and the value.
type Points = BTreeMap<String, f64>;

impl Received {
    async fn listen() -> (Received, String) {
        async fn metrics(State(received): State<Received>, body: Bytes) {
            received.metrics.lock().unwrap().push(ExportMetricsServiceRequest::decode(body).unwrap());
        }
        async fn logs(State(received): State<Received>, body: Bytes) {
            received.logs.lock().unwrap().push(ExportLogsServiceRequest::decode(body).unwrap());
        }
        let received = Received::default();
        let router = Router::new().route("/v1/metrics", post(metrics)).route("/v1/logs", post(logs)).with_state(received.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (received, endpoint)
    }

    /// The metrics of the last push: name, unit, description, points.
    fn last(&self) -> BTreeMap<String, (String, String, Points)> {
        let requests = self.metrics.lock().unwrap();
        let request = requests.last().expect("nothing was pushed");
        let mut found = BTreeMap::new();
        for metric in request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics) {
            let points = match metric.data.as_ref().unwrap() {
                metric::Data::Gauge(gauge) => &gauge.data_points,
                metric::Data::Sum(sum) => {
                    assert!(sum.is_monotonic, "{} is a sum that can fall", metric.name);
                    &sum.data_points
                }
                other => panic!("{} is {other:?}", metric.name),
            };
            let points = points.iter().map(|point| (attributes(&point.attributes), number(point))).collect();
            found.insert(metric.name.clone(), (metric.unit.clone(), metric.description.clone(), points));
        }
        found
    }

    fn points(&self, name: &str) -> Points {
        self.last().remove(name).map(|metric| metric.2).unwrap_or_default()
    }

    fn records(&self) -> Vec<LogRecord> {
        let requests = self.logs.lock().unwrap();
        let scopes = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }
}

fn attributes(pairs: &[KeyValue]) -> String {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => format!("{}={text}", pair.key),
        Some(any_value::Value::IntValue(number)) => format!("{}={number}", pair.key),
        other => panic!("{} is {other:?}", pair.key),
    };
    let sorted: BTreeSet<String> = pairs.iter().map(text).collect();
    sorted.into_iter().collect::<Vec<_>>().join(" ")
}

#[allow(clippy::cast_precision_loss)]
fn number(point: &NumberDataPoint) -> f64 {
    let value = match point.value.unwrap() {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => value as f64,
    };
    assert!(value.is_finite(), "a point is {value}");
    value
}

/// Runs what blocks where it may.
async fn blocking<R: Send + 'static>(telemetry: &Arc<Telemetry>, call: impl FnOnce(&Telemetry) -> R + Send + 'static) -> R {
    let telemetry = Arc::clone(telemetry);
    tokio::task::spawn_blocking(move || call(&telemetry)).await.unwrap()
}

fn start(endpoint: &str, max_series: usize) -> Arc<Telemetry> {
    let settings = Settings { otlp_endpoint: Some(endpoint.to_owned()), max_series, ..Settings::default() };
    Arc::new(Telemetry::start(&settings).unwrap())
}

fn window(end: i64) -> WindowRef {
    WindowRef { name: "1h".into(), start: Timestamp(end - 3_600_000), end: Timestamp(end) }
}

fn measurement(end: i64, subject: Subject, metric: Metric, value: f64) -> Measurement {
    Measurement {
        model: "loan".into(),
        version: "3".into(),
        segment: Segment::default(),
        window: window(end),
        subject,
        metric,
        value: Some(value),
        p_value: Some(0.0001),
        p_adjusted: Some(0.001),
        n: 5120,
        n_reference: 50_000,
        status: Status::Ok,
        reason: None,
        recipe: "deciles, floor 1e-4".into(),
        revision: 0,
    }
}

fn feature(end: i64, name: &str, metric: Metric, value: f64) -> Measurement {
    measurement(end, Subject::Feature(name.into()), metric, value)
}

fn summary(end: i64) -> WindowSummary {
    WindowSummary {
        model: "loan".into(),
        window: window(end),
        n: 5120,
        late: 3,
        complete: true,
        partitions: (6, 6),
        gaps: vec![],
        labels_matched: 4096,
        has_labels: true,
        revision: 0,
    }
}

fn alert(state: &str) -> AlertView {
    AlertView {
        alert: "FeaturePSI".into(),
        group: "loan-drift".into(),
        state: state.into(),
        severity: Some("critical".into()),
        labels: [("model".into(), "loan".into()), ("feature".into(), "zip".into())].into(),
        annotations: BTreeMap::new(),
        value: Some(0.01),
        threshold: Some(0.25),
        n: 5120,
        episode: None,
        active_at: None,
        starts_at: None,
        ends_at: None,
        reason: String::new(),
        window: None,
        history: vec![],
    }
}

/// Fills every table with something.
fn fill(telemetry: &Telemetry) {
    let end = 7_200_000;
    telemetry.set_thresholds(vec![Threshold {
        model: Some("loan".into()),
        metric: Metric::Psi,
        window: Some("1h".into()),
        severity: "critical".into(),
        value: 0.25,
    }]);
    telemetry.update_scores(&[
        feature(end, "age", Metric::Psi, 0.31),
        feature(end, "age", Metric::NullRate, 0.02),
        feature(end, "age", Metric::InvalidRate, 0.0),
        feature(end, "age", Metric::OutOfRangeRate, 0.05),
        feature(end, "zip", Metric::Psi, 0.01),
        feature(end, "zip", Metric::NewCategoryRate, 0.125),
        feature(end, "zip", Metric::ChiSquare, f64::NAN),
        measurement(end, Subject::Score, Metric::Ks, 0.2),
        measurement(end, Subject::Model, Metric::Accuracy, 0.75),
        Measurement { segment: Segment(vec![("region".into(), "eu".into())]), ..feature(end, "age", Metric::Psi, 0.4) },
    ]);
    telemetry.set_alerts(&[alert("firing"), alert("resolved")]);
    telemetry.set_records(vec![
        RecordCount { topic: "loan.predictions".into(), outcome: "counted", reason: None, count: 5120 },
        RecordCount { topic: "loan.predictions".into(), outcome: "rejected", reason: Some("not_json"), count: 7 },
    ]);
    telemetry.set_lags(vec![PartitionLag {
        topic: "loan.predictions".into(),
        partition: 2,
        records: Some(12),
        event_time_seconds: Some(1.5),
    }]);
    telemetry.set_ledger(Kept { labels: 3, predictions: 41, refused: 2 });
    telemetry.set_outbox_depth(4);
    telemetry.set_reload(false);
    telemetry.count_window("loan", "1h");
    telemetry.count_window("loan", "1h");
    telemetry.count_notification("mlops-mail", "delivered");
    telemetry.count_action("retrain-loan", "requested");
    telemetry.record_prediction_latency("loan", Duration::from_micros(12_500));
    telemetry.record_window_close("loan", Duration::from_millis(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_its_promised_name_unit_and_attributes() {
    let (received, endpoint) = Received::listen().await;
    let telemetry = start(&endpoint, 5_000);
    fill(&telemetry);
    blocking(&telemetry, Telemetry::flush).await;

    let metrics = received.last();
    let place = "model=loan model_version=3 segment= window=1h";
    let about = |feature: &str, metric: &str| format!("feature={feature} metric={metric} {place}");
    let data = |feature: &str| format!("feature={feature} {place}");
    let expected: &[(&str, &str, String, f64)] = &[
        ("drift.score", "{score}", about("age", "psi"), 0.31),
        ("drift.score", "{score}", about("@score", "ks"), 0.2),
        ("drift.score", "{score}", about("age", "psi").replace("segment=", "segment=region=eu"), 0.4),
        ("drift.score.threshold", "{score}", "feature=age metric=psi model=loan segment= severity=critical window=1h".into(), 0.25),
        ("drift.features.drifted", "{feature}", place.into(), 1.0),
        ("drift.features.monitored", "{feature}", place.into(), 2.0),
        ("model.performance", "{score}", format!("metric=accuracy {place}"), 0.75),
        ("drift.data.null_ratio", "{ratio}", data("age"), 0.02),
        ("drift.data.invalid_ratio", "{ratio}", data("age"), 0.0),
        ("drift.data.out_of_range_ratio", "{ratio}", data("age"), 0.05),
        ("drift.data.new_category_ratio", "{ratio}", data("zip"), 0.125),
        ("driftline.records", "{record}", "outcome=counted topic=loan.predictions".into(), 5120.0),
        ("driftline.records", "{record}", "outcome=rejected reason=not_json topic=loan.predictions".into(), 7.0),
        ("driftline.consumer.lag", "{record}", "partition=2 topic=loan.predictions".into(), 12.0),
        ("driftline.event_time.lag", "s", "partition=2 topic=loan.predictions".into(), 1.5),
        ("driftline.window.closed", "{window}", "model=loan window=1h".into(), 2.0),
        ("driftline.alerts", "{alert}", "state=firing".into(), 1.0),
        ("driftline.alerts", "{alert}", "state=pending".into(), 0.0),
        ("driftline.notifications", "{notification}", "outcome=delivered receiver=mlops-mail".into(), 1.0),
        ("driftline.actions", "{call}", "action=retrain-loan outcome=requested".into(), 1.0),
        ("driftline.ledger.depth", "{record}", "kind=label".into(), 3.0),
        ("driftline.ledger.depth", "{record}", "kind=prediction".into(), 41.0),
        ("driftline.ledger.refused", "{prediction}", String::new(), 2.0),
        ("driftline.outbox.depth", "{item}", String::new(), 4.0),
        ("driftline.config.last_reload.successful", "{bool}", String::new(), 0.0),
        ("driftline.metrics.suppressed", "{series}", String::new(), 0.0),
    ];
    for (name, unit, attributes, value) in expected {
        let (found_unit, description, points) = metrics.get(*name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(found_unit, unit, "{name}");
        assert!(!description.is_empty(), "{name} has no description");
        assert_eq!(points.get(attributes), Some(value), "{name} {{{attributes}}} of {points:?}");
    }
    let latency = &metrics["driftline.prediction.latency"].2["model=loan statistic=p99"];
    assert!((latency / 0.0125 - 1.0).abs() < 1e-3, "{latency}");
    assert!((metrics["driftline.window.close.duration"].2["model=loan statistic=max"] / 0.003 - 1.0).abs() < 1e-3);
    assert_eq!(metrics["drift.score"].2.len(), 4, "a value that is not a number is a point");
    assert!(blocking(&telemetry, |telemetry| telemetry.shutdown(Duration::from_secs(5))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_is_gone_is_no_longer_exported() {
    let (received, endpoint) = Received::listen().await;
    let telemetry = start(&endpoint, 5_000);
    telemetry.update_scores(&[feature(10, "age", Metric::Psi, 0.31), feature(10, "zip", Metric::Psi, 0.2)]);
    blocking(&telemetry, Telemetry::flush).await;
    assert_eq!(received.points("drift.score").len(), 2);
    assert!(telemetry.metrics_text().contains("feature=\"zip\""));

    telemetry.update_scores(&[feature(20, "age", Metric::Psi, 0.1)]);
    blocking(&telemetry, Telemetry::flush).await;
    let left = received.points("drift.score");
    assert_eq!(left.values().collect::<Vec<_>>(), [&0.1]);
    assert!(!telemetry.metrics_text().contains("feature=\"zip\""));

    telemetry.retain_models(&[]);
    blocking(&telemetry, Telemetry::flush).await;
    assert!(received.points("drift.score").is_empty());
    assert!(received.points("drift.features.monitored").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_holds_and_what_it_leaves_out_is_counted() {
    let (received, endpoint) = Received::listen().await;
    let telemetry = start(&endpoint, 50);
    let scores = (0..200).map(|index| feature(10, &format!("f{index:03}"), Metric::Psi, f64::from(index) / 1000.0));
    telemetry.update_scores(&scores.chain([feature(10, "zip", Metric::Psi, 0.0)]).collect::<Vec<_>>());
    telemetry.set_alerts(&[alert("firing")]);
    blocking(&telemetry, Telemetry::flush).await;

    let of_models: usize =
        received.last().iter().filter(|(name, _)| name.starts_with("drift.")).map(|(_, (_, _, points))| points.len()).sum();
    assert_eq!(of_models, 50);
    assert_eq!(received.points("driftline.metrics.suppressed"), [(String::new(), 153.0)].into());
    let scores = received.points("drift.score");
    let has = |feature: &str| scores.keys().any(|attributes| attributes.contains(&format!("feature={feature} ")));
    assert!(has("zip"), "what alerts was left out");
    assert!(has("f199") && !has("f000"), "not the highest were kept");
    assert!(!scores.keys().any(|attributes| attributes.contains("overflow")));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_alerts_are_log_events() {
    let (received, endpoint) = Received::listen().await;
    let telemetry = start(&endpoint, 10);
    let end = 7_200_000;
    telemetry.emit_window(&summary(end), &[feature(end, "age", Metric::Psi, 0.31), feature(end, "zip", Metric::Psi, 0.01)]);
    telemetry.emit_alert(AlertEvent::Firing, Some("critical"), r#"{"type":"alert","alert":"FeaturePSI","state":"firing"}"#);
    telemetry.emit_alert(AlertEvent::Resolved, None, r#"{"type":"alert","alert":"FeaturePSI","state":"resolved"}"#);
    assert!(blocking(&telemetry, |telemetry| telemetry.shutdown(Duration::from_secs(5))).await);

    let records = received.records();
    let names: Vec<_> = records.iter().map(|record| (record.event_name.as_str(), record.severity_text.as_str())).collect();
    assert_eq!(names, [("drift.window.closed", "INFO"), ("driftline.alert.firing", "ERROR"), ("driftline.alert.resolved", "INFO")]);
    let Some(any_value::Value::StringValue(body)) = records[0].body.as_ref().and_then(|body| body.value.clone()) else {
        panic!("the body is no text")
    };
    let lines: Vec<serde_json::Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["type"], &lines[0]["n"]), (3, &"window".into(), &5120.into()));
    assert_eq!((&lines[1]["subject"], &lines[1]["value"]), (&"feature:age".into(), &0.31.into()));
    let model = records[0].attributes.iter().find(|pair| pair.key == "model").and_then(|pair| pair.value.clone());
    assert_eq!(model.and_then(|value| value.value), Some(any_value::Value::StringValue("loan".into())));
}

#[test]
fn the_text_for_prometheus_has_help_and_plain_names() {
    let telemetry = Telemetry::start(&Settings::default()).unwrap();
    fill(&telemetry);
    let text = telemetry.metrics_text();
    for line in [
        "drift_score{feature=\"age\",metric=\"psi\",model=\"loan\",model_version=\"3\",segment=\"\",window=\"1h\"} 0.31",
        "drift_data_null_ratio{feature=\"age\",model=\"loan\",model_version=\"3\",segment=\"\",window=\"1h\"} 0.02",
        "driftline_records_total{outcome=\"counted\",topic=\"loan.predictions\"} 5120",
        "driftline_records_total{outcome=\"rejected\",reason=\"not_json\",topic=\"loan.predictions\"} 7",
        "driftline_event_time_lag_seconds{partition=\"2\",topic=\"loan.predictions\"} 1.5",
        "driftline_window_closed_total{model=\"loan\",window=\"1h\"} 2",
        "driftline_alerts{state=\"firing\"} 1",
        "driftline_ledger_depth{kind=\"prediction\"} 41",
        "driftline_ledger_refused_total 2",
        "driftline_outbox_depth 4",
        "driftline_config_last_reload_successful 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
    assert!(!text.contains("NaN") && !text.contains("otel_scope"));
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|rest| rest.split(' ').next()) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    if let Some(path) = std::env::var_os("DRIFTLINE_METRICS_SAMPLE") {
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn nobody_who_listens_is_no_error_and_a_disabled_sdk_says_nothing() {
    #[allow(clippy::disallowed_methods)] // A deadline of the test.
    let started = std::time::Instant::now();
    let telemetry = start("http://127.0.0.1:9", 10);
    telemetry.emit_window(&summary(10), &[]);
    assert!(!telemetry.shutdown(Duration::from_millis(500)));
    assert!(started.elapsed() < Duration::from_secs(3), "the shutdown did not keep its deadline");

    let environment = [("OTEL_SDK_DISABLED".to_owned(), "true".to_owned())].into();
    let disabled = Telemetry::start(&Settings { environment, ..Settings::default() }).unwrap();
    fill(&disabled);
    assert!(disabled.metrics_text().is_empty() && !disabled.serves_prometheus());

    let bad = Settings { otlp_endpoint: Some("no url".into()), ..Settings::default() };
    assert!(Telemetry::start(&bad).unwrap_err().to_string().starts_with("cannot export metrics to no url/v1/metrics"));
}
