//! The answers of `/api/v1`, the probes, `/metrics` and the reload.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::reply::{failure, success, text};
use super::serve::Shared;
use super::status::ModelView;
use super::view::View;
use super::{feature, prometheus};
use crate::event::result_line::{Line, window_line};

/// Lines of `/api/v1/windows` where no `limit` is given; at about 300 bytes each some 3 MB.
pub const DEFAULT_LINES: usize = 10_000;
/// Subjects of `/api/v1/features` where no `limit` is given.
pub const DEFAULT_FEATURES: usize = 200;
/// Windows in the course of a feature where no `points` is given: what a small chart can show.
pub const DEFAULT_POINTS: usize = 60;

type Parameters = Query<BTreeMap<String, String>>;

/// `/livez`: whether the event loop beats. Says nothing of what lies outside.
pub async fn livez(State(shared): State<Shared>) -> Response {
    match shared.hooks.alive.as_ref().map_or(Ok(()), |alive| alive()) {
        Ok(()) => text(StatusCode::OK, "ok\n".into()),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// `/readyz`: 503 with the names of what is missing, until it is there, and again while draining.
pub async fn readyz(State(shared): State<Shared>, Query(parameters): Parameters) -> Response {
    let view = shared.view.read();
    let missing = view.not_ready();
    let mut body = String::from(if missing.is_empty() { "ok\n" } else { "not ready\n" });
    if parameters.contains_key("verbose") || !missing.is_empty() {
        for name in missing.iter().filter(|name| !view.checks().iter().any(|check| check.name == **name)) {
            let _ = writeln!(body, "[-] {name}");
        }
        for check in view.checks().iter().filter(|check| !check.ok || parameters.contains_key("verbose")) {
            let _ = writeln!(body, "[{}] {}: {}", if check.ok { '+' } else { '-' }, check.name, check.detail);
        }
    }
    text(if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

/// `/metrics` in Prometheus' text format.
pub async fn metrics(State(shared): State<Shared>) -> Response {
    let Some(hook) = shared.hooks.metrics.clone() else {
        return failure(StatusCode::NOT_FOUND, "not_found", "telemetry.prometheus is off");
    };
    match tokio::task::spawn_blocking(move || hook()).await {
        Ok(body) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response(),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be collected"),
    }
}

/// `POST /-/reload`: 200 with what has changed, or 400 with why nothing has.
pub async fn reload(State(shared): State<Shared>) -> Response {
    let Some(hook) = shared.hooks.reload.clone() else {
        return failure(StatusCode::NOT_FOUND, "not_found", "there is nothing to reload");
    };
    match tokio::task::spawn_blocking(move || hook()).await {
        Ok(Ok(changed)) => success(json!({ "message": changed })),
        Ok(Err(reason)) => failure(StatusCode::BAD_REQUEST, "bad_data", &reason),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the reload broke off"),
    }
}

/// `/api/v1/status`.
pub async fn status(State(shared): State<Shared>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        status: &'a super::StatusView,
        ready: bool,
        not_ready: Vec<&'a str>,
        checks: &'a [super::Check],
        alerts: BTreeMap<&'a str, u64>,
        outbox_depth: u64,
    }
    let view = shared.view.read();
    let mut alerts = BTreeMap::new();
    for alert in view.alerts() {
        *alerts.entry(alert.state.as_str()).or_default() += 1;
    }
    let not_ready = view.not_ready();
    success(Answer {
        status: view.status(),
        ready: not_ready.is_empty(),
        not_ready,
        checks: view.checks(),
        alerts,
        outbox_depth: view.outbox().0,
    })
}

/// `/api/v1/models`: each model as configured, with the newest closed window of each name under `latest`.
pub async fn models(State(shared): State<Shared>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        model: &'a ModelView,
        latest: BTreeMap<&'a str, Option<Box<RawValue>>>,
    }
    let view = shared.view.read();
    let answer = |model| Answer { model, latest: latest(&view, model) };
    success(view.models().iter().map(answer).collect::<Vec<_>>())
}

/// The newest closed window of a model by window name, in the shape of the results.
fn latest<'a>(view: &'a View, model: &ModelView) -> BTreeMap<&'a str, Option<Box<RawValue>>> {
    let own = view.windows().filter(|(name, _, _)| *name == model.name);
    own.map(|(_, name, ring)| (name, ring.back().and_then(|closed| RawValue::from_string(window_line(&closed.summary)).ok()))).collect()
}

/// `/api/v1/windows`: result lines in their order, the newest where `limit` cuts them.
///
/// `model`, `version`, `window`, `segment` (as `region=eu`, empty for overall), `subject`, `metric` and `type` select.
/// What selects by something that summaries or explanations do not have leaves them out. Explanations are given by
/// `type=explanation` alone.
pub async fn windows(State(shared): State<Shared>, Query(parameters): Parameters) -> Response {
    let wanted = |key: &str, value: &str| parameters.get(key).is_none_or(|wanted| wanted == value);
    let limit = match number(&parameters, "limit", DEFAULT_LINES) {
        Ok(limit) => limit,
        Err(refusal) => return refusal,
    };
    let summaries =
        wanted("type", "window") && ["version", "segment", "subject", "metric"].iter().all(|key| !parameters.contains_key(*key));
    let measurements = wanted("type", "measurement");
    let explanations = parameters.get("type").is_some_and(|kind| kind == "explanation") && !parameters.contains_key("metric");
    let view = shared.view.read();
    let mut lines = Vec::new();
    for (_, _, ring) in view.windows().filter(|(model, name, _)| wanted("model", model) && wanted("window", name)) {
        for closed in ring {
            if summaries {
                lines.push(Line::Window(&closed.summary));
            }
            let matching = closed.measurements.iter().filter(|m| {
                measurements
                    && wanted("version", &m.version)
                    && wanted("metric", m.metric.as_str())
                    && (!parameters.contains_key("segment") || wanted("segment", &m.segment.to_string()))
                    && (!parameters.contains_key("subject") || wanted("subject", &m.subject.to_string()))
            });
            lines.extend(matching.map(|m| Line::Measurement(m)));
            let explaining = closed.explanations.iter().filter(|e| {
                explanations
                    && wanted("version", &e.version)
                    && (!parameters.contains_key("segment") || wanted("segment", &e.segment.to_string()))
                    && (!parameters.contains_key("subject") || wanted("subject", &e.subject.to_string()))
            });
            lines.extend(explaining.map(|e| Line::Explanation(e)));
        }
    }
    lines.sort_by_cached_key(Line::order);
    let mut body = String::new();
    for line in lines.iter().skip(lines.len().saturating_sub(limit)) {
        body.push_str(&line.text());
        body.push('\n');
    }
    drop(view);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// `/api/v1/features`: each monitored subject in the newest window of a name, the highest score first.
pub async fn features(State(shared): State<Shared>, Query(parameters): Parameters) -> Response {
    let (points, limit) = match (number(&parameters, "points", DEFAULT_POINTS), number(&parameters, "limit", DEFAULT_FEATURES)) {
        (Ok(points), Ok(limit)) => (points, limit),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal,
    };
    let given = |key: &str| parameters.get(key).cloned();
    let query = feature::Query {
        model: given("model"),
        version: given("version"),
        window: given("window"),
        segment: given("segment"),
        feature: given("feature").or_else(|| given("subject")),
        points,
        histogram: parameters.get("histogram").is_none_or(|wanted| wanted != "false"),
        limit,
    };
    success(feature::features(&shared.view.read(), &query))
}

/// `/api/v1/rules` in the shape of Prometheus.
pub async fn rules(State(shared): State<Shared>) -> Response {
    let view = shared.view.read();
    success(json!({ "groups": prometheus::groups(view.rule_groups(), view.alerts()) }))
}

/// `/api/v1/alerts` in the shape of Prometheus; with `state=all` the inactive and resolved instances too.
pub async fn alerts(State(shared): State<Shared>, Query(parameters): Parameters) -> Response {
    let all = parameters.get("state").is_some_and(|state| state == "all");
    success(json!({ "alerts": prometheus::alerts(shared.view.read().alerts(), all) }))
}

/// `/api/v1/silences` in the shape of Alertmanager's API v2: a bare list. There are none yet.
pub async fn silences() -> Response {
    super::reply::json(StatusCode::OK, "[]".into())
}

/// `/api/v1/events`: alert, notification and action events, oldest first.
pub async fn events(State(shared): State<Shared>) -> Response {
    success(shared.view.read().events())
}

/// `/api/v1/outbox`: what is still to be delivered, the oldest first.
pub async fn outbox(State(shared): State<Shared>) -> Response {
    let view = shared.view.read();
    let (depth, items): (u64, &[Value]) = view.outbox();
    success(json!({ "depth": depth, "items": items }))
}

/// A path that is not there.
pub async fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path")
}

/// A path that is there, under another method.
pub async fn wrong_method() -> Response {
    failure(StatusCode::METHOD_NOT_ALLOWED, "bad_data", "this path does not take this method")
}

#[allow(clippy::result_large_err)]
fn number(parameters: &BTreeMap<String, String>, key: &str, default: usize) -> Result<usize, Response> {
    let Some(text) = parameters.get(key) else { return Ok(default) };
    text.parse().map_err(|_| {
        let error = format!("'{text}' is no value for {key}: write a whole number from 0");
        failure(StatusCode::BAD_REQUEST, "bad_data", &error)
    })
}
