//! The HTTP surface, by a real server and a real client: shapes, tokens, readiness, reload, and the console's parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline::event::explanation::MovedCell;
use driftline::event::{Explanation, Finding, Measurement, Metric, Segment, Status, Subject, Timestamp, WindowRef, WindowSummary};
use driftline::http::{
    BaselineView, Check, FeatureView, Histogram, Hooks, ModelView, PartitionView, Server, Settings, StatusView, TopicView, ViewHandle,
    WindowView, serve,
};
use driftline::rule::message::AlertView;
use reqwest::header::{AUTHORIZATION, HOST};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A server that ends with the test.
struct Running {
    base: String,
    client: reqwest::Client,
    view: ViewHandle,
    server: Server,
    stop: tokio::sync::oneshot::Sender<()>,
}

async fn start(settings: Settings, hooks: Hooks) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let view = ViewHandle::new();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = serve(settings, view.clone(), hooks, async move { drop(stopped.await) }).await.unwrap();
    let base = format!("http://127.0.0.1:{}", server.address.port());
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    Running { base, client, view, server, stop }
}

fn loopback() -> Settings {
    Settings { listen: "127.0.0.1:0".into(), ..Settings::default() }
}

impl Running {
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn lines(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn with(&self, method: Method, path: &str, authorization: Option<&str>) -> StatusCode {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.unwrap().status()
    }
}

const MODEL: &str = "claims";
const FEATURES: [(&str, &str, f64); 9] = [
    ("car_value", "numeric", 1.0),
    ("region", "categorical", 0.55),
    ("age", "numeric", 0.12),
    ("bonus_class", "categorical", 0.08),
    ("vehicle_power", "numeric", 0.05),
    ("density", "numeric", 0.04),
    ("fuel", "categorical", 0.03),
    ("vehicle_age", "numeric", 0.02),
    ("exposure", "numeric", 0.01),
];
const MINUTE: i64 = 60_000;

fn window(index: i64) -> WindowRef {
    let end = Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap().0 + index * 5 * MINUTE;
    WindowRef { name: "1h".into(), start: Timestamp(end - 60 * MINUTE), end: Timestamp(end) }
}

fn measurement(window: &WindowRef, subject: Subject, metric: Metric, value: f64, p: f64) -> Measurement {
    Measurement {
        model: MODEL.into(),
        version: "3".into(),
        segment: Segment::default(),
        window: window.clone(),
        subject,
        metric,
        value: Some(value),
        p_value: Some(p),
        p_adjusted: Some((p * 9.0).min(1.0)),
        n: 5120,
        n_reference: 50_000,
        status: Status::Ok,
        reason: None,
        recipe: "deciles, floor 1e-4".into(),
        revision: 0,
    }
}

/// One window in which drift has grown to `drift`, from 0 to 1.
#[allow(clippy::cast_precision_loss)]
fn push_window(view: &ViewHandle, index: i64, drift: f64) {
    let window = window(index);
    let noise = |salt: i64| (((index * 7919 + salt * 104_729) % 97) as f64 / 97.0 - 0.5) * 0.012;
    let mut measurements = Vec::new();
    for (salt, (name, kind, weight)) in FEATURES.iter().enumerate() {
        let psi = (0.012 + drift * weight * 0.38 + noise(i64::try_from(salt).unwrap())).max(0.001);
        let p = if psi > 0.05 { 1e-9 } else { 0.3 + noise(3) };
        let subject = || Subject::Feature((*name).into());
        let mut of = |metric, value, p| measurements.push(measurement(&window, subject(), metric, value, p));
        of(Metric::Psi, psi, p);
        of(Metric::JsDistance, psi.sqrt() / 2.5, p);
        of(Metric::NullRate, 0.002 + drift * weight * 0.03, 0.5);
        if *kind == "numeric" {
            of(Metric::Ks, psi / 2.0, p);
            of(Metric::WassersteinNormed, psi * 1.4, p);
            of(Metric::OutOfRangeRate, drift * weight * 0.05, 0.5);
        } else {
            of(Metric::ChiSquare, psi * 5120.0, p);
            of(Metric::NewCategoryRate, drift * weight * 0.02, 0.5);
        }
    }
    measurements.push(measurement(&window, Subject::Score, Metric::Psi, 0.01 + drift * 0.14, 1e-4));
    measurements.push(Measurement {
        status: Status::Insufficient,
        reason: Some("below_min_samples".into()),
        ..measurement(&window, Subject::Prediction, Metric::Psi, 0.02, 0.4)
    });
    for (metric, good, bad) in [(Metric::Accuracy, 0.871, 0.79), (Metric::RocAuc, 0.914, 0.84), (Metric::LogLoss, 0.31, 0.44)] {
        let value = good + (bad - good) * drift + noise(11);
        measurements.push(measurement(&window, Subject::Model, metric, value, 0.5));
    }
    let eu = Segment(vec![("region".into(), "eu".into())]);
    measurements
        .push(Measurement { segment: eu, ..measurement(&window, Subject::Feature("car_value".into()), Metric::Psi, drift * 0.5, 1e-8) });
    let labels_matched = 4_900 - 65 * u64::try_from(index).unwrap();
    let summary = WindowSummary {
        model: MODEL.into(),
        window,
        n: 5120,
        late: 3,
        complete: true,
        partitions: (6, 6),
        gaps: vec![],
        labels_matched,
        has_labels: true,
        revision: 0,
    };
    let explained = (drift > 0.5).then(|| explanation(&summary.window));
    view.push_window(summary.clone(), measurements);
    view.explain_window(&summary, explained.into_iter().collect());
}

/// Why `car_value` drifts.
fn explanation(window: &WindowRef) -> Explanation {
    let finding = Finding {
        sentence: "car_value rose: mean +0.80 sd".into(),
        score: Some((Metric::Psi, 0.31)),
        cells: vec![MovedCell { name: "above 52k".into(), bounds: (Some(52_000.0), None), reference: 0.1, current: 0.3, share: 0.6 }],
        ..Finding::default()
    };
    let subject = Subject::Feature("car_value".into());
    Explanation {
        model: MODEL.into(),
        version: "3".into(),
        segment: Segment::default(),
        window: window.clone(),
        subject,
        finding,
        revision: 0,
    }
}

fn alert(name: &str, feature: Option<&str>, state: &str, severity: &str, value: f64) -> AlertView {
    let mut labels: BTreeMap<String, String> =
        [("alertname", name), ("model", MODEL), ("severity", severity)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    labels.extend(feature.map(|feature| ("feature".to_owned(), feature.to_owned())));
    let over = state == "resolved";
    AlertView {
        alert: name.into(),
        group: "claims-drift".into(),
        state: state.into(),
        severity: Some(severity.into()),
        labels,
        annotations: feature.map(|f| ("summary".to_owned(), format!("{f} drifted: PSI {value} (n=5120)"))).into_iter().collect(),
        value: Some(value),
        threshold: Some(0.25),
        n: 5120,
        episode: Some(format!("01J{:0>23}", name.len() + feature.map_or(0, str::len))),
        active_at: Some(window(28).end),
        starts_at: (state != "pending").then(|| window(30).end),
        ends_at: over.then(|| window(38).end),
        reason: format!("fire {severity}: value {value} above 0.25 for 2 windows"),
        window: Some(window(40)),
        history: vec![Some(0.2), Some(value)],
        explanation: None,
    }
}

/// A view as the agent fills it after some hours with a drift in them.
fn fill(view: &ViewHandle) {
    view.set_checks(vec![Check::new("state", true, "opened"), Check::new("assignment", true, "6 partitions")]);
    let features = FEATURES.iter().map(|(name, kind, _)| FeatureView { name: (*name).into(), kind: (*kind).into() }).collect();
    view.set_models(vec![
        ModelView {
            name: MODEL.into(),
            task: "binary".into(),
            versions: vec!["3".into()],
            labels: true,
            min_samples: 500,
            baselines: vec![BaselineView {
                source: "baselines/claims.json".into(),
                rows: 50_000,
                performance: [("accuracy".to_owned(), 0.874), ("roc_auc".to_owned(), 0.917)].into(),
                ..BaselineView::default()
            }],
            windows: vec![WindowView { name: "1h".into(), size: "1h".into(), slide: "5m".into() }],
            features,
            psi_thresholds: vec![],
        },
        ModelView { name: "pricing".into(), task: "regression".into(), ..ModelView::default() },
    ]);
    for index in 0..=40 {
        push_window(view, index, (f64::from(i32::try_from(index).unwrap()) - 20.0).clamp(0.0, 15.0) / 15.0);
    }
    let bell = |center: f64| -> Vec<f64> {
        let raw: Vec<f64> = (0..40).map(|bin| (-((f64::from(bin) - center) / 7.0).powi(2)).exp()).collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|share| share / sum).collect()
    };
    let numeric = Histogram {
        labels: (0..40).map(|bin| format!("{} to {}", bin * 1000, (bin + 1) * 1000)).collect(),
        baseline: bell(15.0),
        current: bell(22.0),
        n: 5120,
    };
    let levels = Histogram {
        labels: ["north", "south", "east", "west", "other"].map(String::from).to_vec(),
        baseline: vec![0.3, 0.25, 0.2, 0.2, 0.05],
        current: vec![0.15, 0.2, 0.2, 0.3, 0.15],
        n: 5120,
    };
    view.set_histograms(MODEL, "3", "1h", [("feature:car_value".to_owned(), numeric), ("feature:region".to_owned(), levels)]);
    view.set_alerts(vec![
        alert("FeaturePSI", Some("car_value"), "firing", "critical", 0.39),
        alert("FeaturePSI", Some("region"), "recovering", "warning", 0.22),
        alert("DatasetDrift", None, "pending", "critical", 0.33),
        alert("FeaturePSI", Some("age"), "resolved", "warning", 0.06),
        alert("IngestSilent", None, "inactive", "critical", 0.0),
    ]);
    view.set_rules(vec![json!({ "name": "claims-drift", "file": "rules/claims.yaml", "interval": 300,
        "rules": [{ "name": "FeaturePSI", "query": "psi" }, { "name": "DatasetDrift", "query": "drifted / all" }] })]);
    for event in [
        json!({ "type": "alert", "alert": "FeaturePSI", "state": "firing", "labels": { "feature": "car_value" }, "value": 0.31,
            "at": "2026-11-22T12:30:00.000Z", "episode": "01J", "reason": "fire critical: value 0.31 above 0.25 for 2 windows" }),
        json!({ "type": "notification", "receiver": "mlops-mail", "episode": "01J", "kind": "firing", "at": "2026-11-22T12:30:01.000Z" }),
        json!({ "type": "action", "action": "retrain-claims", "episode": "01J", "outcome": "requested", "at": "2026-11-22T12:35:00.000Z" }),
    ] {
        view.push_event(event);
    }
    view.set_outbox(1, vec![json!({ "receiver": "oncall", "episode": "01J", "attempts": 2, "last_error": "503 from the receiver" })]);
    let outcomes: BTreeMap<String, u64> =
        [("counted", 198_400), ("late", 310), ("duplicate", 95), ("unmatched_label", 40), ("rejected", 155), ("shed", 0)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
    let rejected: BTreeMap<String, u64> = [("not_json".to_owned(), 120), ("missing_id".to_owned(), 35)].into();
    let topic = |name: &str, role: &str, received: u64, waiting: u64| TopicView {
        topic: name.into(),
        role: role.into(),
        received,
        waiting,
        outcomes: [("rejected".to_owned(), 155)].into(),
        rejected: rejected.clone(),
    };
    view.set_status(StatusView {
        version: "0.1.0".into(),
        started_at: window(0).end.into(),
        uptime_seconds: 12_345.0,
        received: 201_000,
        waiting: 2_000,
        outcomes,
        rejected: rejected.clone(),
        records_per_second: 1_234.5,
        event_time: Some(window(40).end.into()),
        topics: vec![topic("claims.predictions", "predictions", 110_000, 2_000), topic("claims.labels", "labels", 91_000, 0)],
        partitions: vec![PartitionView {
            topic: "claims.predictions".into(),
            partition: 0,
            position: 55_000,
            consumer_lag: Some(12),
            watermark: Some(window(40).end.into()),
            idle: false,
        }],
        unknown_feature: 7,
        memory_bytes: Some(180 << 20),
        ..StatusView::default()
    });
}

#[tokio::test]
async fn it_is_ready_only_when_every_condition_holds_and_says_which_does_not() {
    let running = start(loopback(), Hooks::default()).await;
    let ready = || running.get("/readyz");
    assert_eq!(ready().await, (StatusCode::SERVICE_UNAVAILABLE, "not ready\n[-] starting\n".into()));
    running.view.set_checks(vec![Check::new("state", true, "opened"), Check::new("assignment", false, "waiting for the broker")]);
    assert_eq!(ready().await, (StatusCode::SERVICE_UNAVAILABLE, "not ready\n[-] assignment: waiting for the broker\n".into()));
    running.view.set_checks(vec![Check::new("state", true, "opened")]);
    assert_eq!(ready().await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(running.get("/readyz?verbose").await.1, "ok\n[+] state: opened\n");
    running.view.set_draining();
    assert_eq!(ready().await, (StatusCode::SERVICE_UNAVAILABLE, "not ready\n[-] draining\n".into()));
    assert_eq!(running.get("/livez").await.0, StatusCode::OK, "a draining agent is alive");
}

#[tokio::test]
async fn it_is_alive_as_long_as_the_heart_beats() {
    let beats = Arc::new(AtomicBool::new(true));
    let heart = Arc::clone(&beats);
    let alive = move || if heart.load(Ordering::SeqCst) { Ok(()) } else { Err("no tick for 30 s".into()) };
    let running = start(loopback(), Hooks { alive: Some(Arc::new(alive)), ..Hooks::default() }).await;
    assert_eq!(running.get("/livez").await, (StatusCode::OK, "ok\n".into()));
    beats.store(false, Ordering::SeqCst);
    assert_eq!(running.get("/livez").await, (StatusCode::SERVICE_UNAVAILABLE, "no tick for 30 s\n".into()));
}

#[tokio::test]
async fn results_are_lines_in_the_promised_shape_and_order() {
    let running = start(loopback(), Hooks::default()).await;
    fill(&running.view);
    let all = running.lines("/api/v1/windows").await;
    assert_eq!((&all[0]["type"], &all[0]["partitions"], &all[0]["labels"]["matched"]), (&json!("window"), &json!("6/6"), &json!(4900)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = |line: &Value| {
        let segment = line["segment"].as_object().map(|pairs| pairs.iter().map(|(key, value)| format!("{key}={}", text(value))).collect());
        let about: (String, String, String) = (segment.unwrap_or_default(), text(&line["subject"]), text(&line["metric"]));
        (text(&line["window"]["end"]), text(&line["version"]), about)
    };
    assert!(all.iter().map(place).is_sorted());

    let why = running.lines("/api/v1/windows?type=explanation&limit=1").await;
    assert_eq!((&why[0]["subject"], &why[0]["cells"][0]["above"]), (&json!("feature:car_value"), &json!(52_000.0)));
    assert!(running.lines("/api/v1/windows?metric=psi").await.iter().all(|line| line["type"] == "measurement"));
    let one = running.lines("/api/v1/windows?model=claims&version=3&window=1h&subject=feature:car_value&metric=psi&segment=&limit=2").await;
    assert_eq!(one.len(), 2);
    let (_, body) = running.get("/api/v1/windows?subject=feature:car_value&metric=psi&segment=&limit=1").await;
    assert!(
        body.starts_with(
            r#"{"type":"measurement","model":"claims","version":"3","window":{"name":"1h","start":"2026-11-22T12:20:00.000Z""#
        )
    );
    assert_eq!(one[1]["window"]["end"], "2026-11-22T13:20:00.000Z");

    let segment = running.lines("/api/v1/windows?segment=region%3Deu&limit=1").await;
    assert_eq!(segment[0]["segment"], json!({ "region": "eu" }));
    assert_eq!(running.lines("/api/v1/windows?type=window").await.len(), 41);
    assert!(running.lines("/api/v1/windows?model=nobody").await.is_empty());
    let (status, body) = running.get("/api/v1/windows?limit=some").await;
    let fault: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &fault["status"], &fault["errorType"]), (StatusCode::BAD_REQUEST, &json!("error"), &json!("bad_data")));
}

#[tokio::test]
async fn the_api_has_the_shapes_of_prometheus() {
    let running = start(loopback(), Hooks::default()).await;
    fill(&running.view);
    let alerts = running.json("/api/v1/alerts").await;
    assert_eq!(alerts["status"], "success");
    let alerts = alerts["data"]["alerts"].as_array().unwrap();
    let states: Vec<_> = alerts.iter().map(|alert| alert["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["firing", "firing", "pending"]);
    assert_eq!((&alerts[0]["value"], &alerts[0]["labels"]["feature"]), (&json!("3.9e-1"), &json!("car_value")));
    assert_eq!(running.json("/api/v1/alerts?state=all").await["data"]["alerts"].as_array().unwrap().len(), 5);

    let rules = running.json("/api/v1/rules").await;
    let rule = &rules["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["state"], &rule["type"], &rule["query"]), (&json!("firing"), &json!("alerting"), &json!("psi")));
    assert_eq!(rule["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(running.json("/api/v1/silences").await, json!([]));
    let outbox = running.json("/api/v1/outbox").await;
    assert_eq!((&outbox["data"]["depth"], &outbox["data"]["items"][0]["receiver"]), (&json!(1), &json!("oncall")));
    assert_eq!(running.json("/api/v1/events").await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn status_models_and_features_tell_what_the_console_shows() {
    let running = start(loopback(), Hooks::default()).await;
    fill(&running.view);
    let status = running.json("/api/v1/status").await["data"].take();
    let outcomes: u64 = status["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(status["received"].as_u64().unwrap(), outcomes + status["waiting"].as_u64().unwrap());
    assert_eq!((&status["ready"], &status["alerts"]["firing"]), (&json!(true), &json!(1)));
    assert_eq!(status["partitions"][0]["consumer_lag"], 12);

    let models = running.json("/api/v1/models").await["data"].take();
    assert_eq!((&models[0]["name"], &models[0]["latest"]["1h"]["n"]), (&json!("claims"), &json!(5120)));
    assert_eq!((&models[1]["name"], &models[1]["latest"]), (&json!("pricing"), &json!({})));

    let features = running.json("/api/v1/features?model=claims&segment=").await["data"].take();
    let features = features.as_array().unwrap();
    assert_eq!(features.len(), FEATURES.len() + 2);
    let first = &features[0];
    assert_eq!((&first["name"], &first["type"], &first["subject"]), (&json!("car_value"), &json!("numeric"), &json!("feature:car_value")));
    assert_eq!(first["score"], first["metrics"]["psi"]["value"]);
    assert_eq!((first["series"]["psi"].as_array().unwrap().len(), first["series"].as_object().unwrap().len()), (41, 1));
    assert_eq!(first["histogram"]["labels"].as_array().unwrap().len(), 40);
    assert_eq!((&first["explanation"]["sentence"], features[1].get("explanation")), (&json!("car_value rose: mean +0.80 sd"), None));
    let unsure = features.iter().find(|feature| feature["subject"] == "prediction").unwrap();
    assert_eq!((&unsure["score"], &unsure["metrics"]["psi"]["status"]), (&Value::Null, &json!("insufficient")));
    assert_eq!(unsure["series"]["psi"][0][1], Value::Null);
    let one = running.json("/api/v1/features?feature=car_value&segment=&points=5").await["data"].take();
    assert_eq!((one.as_array().unwrap().len(), one[0]["series"]["ks"].as_array().unwrap().len()), (1, 5));
    assert_eq!(running.json("/api/v1/features?segment=region%3Deu").await["data"][0]["segment"], json!({ "region": "eu" }));
}

#[tokio::test]
async fn changing_wants_the_token_everywhere_and_reload_says_what_came_of_it() {
    let directory = std::env::temp_dir().join(format!("driftline-http-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let good = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&good);
    let reload = move || if says.load(Ordering::SeqCst) { Ok("3 rules".into()) } else { Err("rules/a.yaml:3:5: unknown key".into()) };
    let hooks = || Hooks { reload: Some(Arc::new(reload.clone())), ..Hooks::default() };
    let running = start(Settings { token_file: Some(file.clone()), ..loopback() }, hooks()).await;
    let post = |authorization| running.with(Method::POST, "/-/reload", authorization);
    assert_eq!(post(None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(post(Some("Bearer wrong")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(post(Some("Basic bWU6czNjcmV0")).await, StatusCode::UNAUTHORIZED, "a browser could send this along by itself");
    assert_eq!(post(Some("Bearer s3cret")).await, StatusCode::OK);
    assert_eq!(running.with(Method::GET, "/-/reload", None).await, StatusCode::METHOD_NOT_ALLOWED);
    good.store(false, Ordering::SeqCst);
    let refused = running.client.post(format!("{}/-/reload", running.base)).bearer_auth("s3cret").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"], "rules/a.yaml:3:5: unknown key");
    std::fs::write(&file, "rotated").unwrap();
    good.store(true, Ordering::SeqCst);
    assert_eq!((post(Some("Bearer s3cret")).await, post(Some("Bearer rotated")).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    let without = start(loopback(), hooks()).await;
    assert_eq!(without.with(Method::POST, "/-/reload", Some("Bearer s3cret")).await, StatusCode::FORBIDDEN);

    std::fs::write(&file, " \n").unwrap();
    let empty = serve(Settings { token_file: Some(file), ..loopback() }, ViewHandle::new(), Hooks::default(), async {}).await;
    assert!(empty.unwrap_err().to_string().contains("it is empty"));
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn beyond_loopback_reading_wants_the_token_too_unless_it_is_opened() {
    let file = std::env::temp_dir().join(format!("driftline-token-{}", std::process::id()));
    std::fs::write(&file, "s3cret").unwrap();
    // Bound to all addresses, asked over loopback: what counts is where it listens.
    let beyond = Settings { listen: "0.0.0.0:0".into(), token_file: Some(file.clone()), ..Settings::default() };
    let metrics = Hooks { metrics: Some(Arc::new(|| "up 1\n".to_owned())), ..Hooks::default() };
    let guarded = start(beyond.clone(), metrics.clone()).await;
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/windows", "/console.js", "/nothing"] {
        assert_eq!(guarded.with(Method::GET, path, None).await, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(guarded.with(Method::GET, "/livez", None).await, StatusCode::OK);
    assert_eq!(guarded.with(Method::GET, "/readyz", None).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(guarded.with(Method::GET, "/metrics", Some("Bearer s3cret")).await, StatusCode::OK);
    assert_eq!(guarded.with(Method::GET, "/", Some("Basic bWU6czNjcmV0")).await, StatusCode::OK, "a browser asks for a password");

    let open = start(Settings { open_reads: true, ..beyond }, metrics).await;
    assert_eq!(open.get("/metrics").await, (StatusCode::OK, "up 1\n".into()));
    assert_eq!(open.with(Method::POST, "/-/reload", None).await, StatusCode::UNAUTHORIZED);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_strange_host_and_a_strange_path_are_refused() {
    let running = start(loopback(), Hooks::default()).await;
    let asked = |host: &'static str| running.client.get(format!("{}/api/v1/status", running.base)).header(HOST, host).send();
    assert_eq!(asked("evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(asked("localhost:1").await.unwrap().status(), StatusCode::OK);
    let (status, body) = running.get("/api/v2/status").await;
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["errorType"].clone()), (StatusCode::NOT_FOUND, json!("not_found")));
    assert_eq!(running.get("/metrics").await.0, StatusCode::NOT_FOUND, "there is no hook");
}

#[tokio::test]
async fn the_console_loads_nothing_from_elsewhere_and_writes_no_markup() {
    let running = start(loopback(), Hooks::default()).await;
    let page = running.client.get(&running.base).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("http"));
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let html = page.text().await.unwrap();
    assert!(!html.contains("<script>") && !html.contains("style=") && !html.contains("onclick"), "the policy forbids this");
    for (path, kind) in
        [("/console.js", "text/javascript"), ("/chart.js", "text/javascript"), ("/console.css", "text/css"), ("/icon.svg", "image/svg+xml")]
    {
        let asset = running.client.get(format!("{}{path}", running.base)).send().await.unwrap();
        assert!(asset.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        assert!(html.contains(path) || path == "/chart.js");
        let text = asset.text().await.unwrap().replace("http://www.w3.org/2000/svg", "");
        for bad in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!text.contains(bad), "{path} has {bad}");
        }
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_and_an_address_in_use_is_named() {
    let running = start(loopback(), Hooks::default()).await;
    let address = running.server.address.to_string();
    let again = serve(Settings { listen: address.clone(), ..loopback() }, ViewHandle::new(), Hooks::default(), async {}).await;
    assert_eq!(again.unwrap_err().to_string(), format!("cannot listen on {address}"));
    assert_eq!(running.get("/livez").await.0, StatusCode::OK);
    running.stop.send(()).unwrap();
    drop(running.client);
    tokio::time::timeout(Duration::from_secs(5), running.server.task).await.expect("it did not end").unwrap();
}

/// Serves a filled console for a while, to look at: `DRIFTLINE_CONSOLE=127.0.0.1:19464`. Without the variable it only
/// checks that an empty view, too, has answers for everything the console asks.
#[tokio::test]
async fn the_console_can_be_looked_at() {
    let held = std::env::var("DRIFTLINE_CONSOLE").ok();
    let settings = Settings { listen: held.clone().unwrap_or_else(|| "127.0.0.1:0".into()), ..loopback() };
    let running = start(settings, Hooks::default()).await;
    for path in ["status", "models", "alerts?state=all", "events", "features", "rules", "outbox"] {
        assert_eq!(running.json(&format!("/api/v1/{path}")).await["status"], "success", "{path}");
    }
    assert!(running.lines("/api/v1/windows").await.is_empty());
    if held.is_some() {
        if std::env::var_os("DRIFTLINE_CONSOLE_EMPTY").is_none() {
            fill(&running.view);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
}
