//! Notices as webhooks in the shape of Standard Webhooks 1.0.0: `{"type", "timestamp", "data"}`, a stable id over retries, and
//! a signature of each attempt. Retries are the dispatcher's.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;

use super::failure::Failure;
use super::request::{Call, HttpClient, Identity};
use super::settings::{SettingsError, WebhookTarget, header_map};
use crate::event::explanation::{Finding, Shown};
use crate::event::{Timestamp, WindowRef};
use crate::rule::message::{AlertView, Notice};

/// Largest body in bytes, the limit that Standard Webhooks recommends.
pub const MAX_BODY: usize = 20_000;

/// Longest texts that are tried, in characters, until the body is small enough.
const CUTS: [usize; 4] = [4_000, 1_000, 200, 60];
/// Most labels, and most annotations, once the texts alone do not make the body small enough.
const MAX_ENTRIES: usize = 30;

/// The body of a webhook.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

/// The alert at the moment of the transition.
#[derive(Serialize)]
struct Data<'a> {
    receiver: &'a str,
    kind: &'static str,
    episode: &'a str,
    sequence: u32,
    #[serde(flatten)]
    alert: Alert<'a>,
    /// Whether texts were cut to keep the body small.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// An alert as it leaves: as [`AlertView`], with times in RFC 3339.
#[derive(Serialize)]
struct Alert<'a> {
    #[serde(rename = "alert")]
    name: String,
    group: String,
    state: String,
    severity: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    value: Option<f64>,
    threshold: Option<f64>,
    n: u64,
    active_at: Option<String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    reason: String,
    window: Option<Window>,
    history: Vec<Option<f64>>,
    /// Why the subject drifts; of a firing alert that a window has explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Shown<'a>>,
}

#[derive(Serialize)]
struct Window {
    name: Arc<str>,
    start: String,
    end: String,
}

/// The body for a notice, less than [`MAX_BODY`] bytes: where it would be more, texts are cut and `data.truncated` is true.
#[must_use]
pub fn body(notice: &Notice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, cut) in CUTS.into_iter().enumerate() {
        let entries = if index == 0 { usize::MAX } else { MAX_ENTRIES };
        let (alert, truncated) = alert(&notice.alert, cut, entries);
        let body = Body {
            r#type: format!("drift.alert.{}", notice.kind.as_str()),
            timestamp: notice.at.rfc3339(),
            data: Data {
                receiver: &notice.receiver,
                kind: notice.kind.as_str(),
                episode: &notice.episode,
                sequence: notice.sequence,
                alert,
                truncated,
            },
        };
        // Plain data with string keys: this cannot fail.
        bytes = serde_json::to_vec(&body).unwrap_or_default();
        if bytes.len() < MAX_BODY {
            break;
        }
    }
    bytes
}

/// The id of the message, the same for every attempt.
#[must_use]
pub fn message_id(notice: &Notice) -> String {
    format!("msg_{}_{}_{}", notice.episode, notice.kind.as_str(), notice.sequence)
}

fn alert(view: &AlertView, cut: usize, entries: usize) -> (Alert<'_>, bool) {
    let mut truncated = false;
    let mut text = |text: &str| match text.char_indices().nth(cut) {
        Some((end, _)) => {
            truncated = true;
            format!("{}...", text.get(..end).unwrap_or_default())
        }
        None => text.to_owned(),
    };
    let mut map = |map: &BTreeMap<String, String>| map.iter().take(entries).map(|(key, value)| (text(key), text(value))).collect();
    let (labels, annotations) = (map(&view.labels), map(&view.annotations));
    let alert = Alert {
        name: text(&view.alert),
        group: text(&view.group),
        state: text(&view.state),
        severity: view.severity.clone(),
        labels,
        annotations,
        value: view.value,
        threshold: view.threshold,
        n: view.n,
        active_at: view.active_at.map(Timestamp::rfc3339),
        starts_at: view.starts_at.map(Timestamp::rfc3339),
        ends_at: view.ends_at.map(Timestamp::rfc3339),
        reason: text(&view.reason),
        window: view.window.as_ref().map(|WindowRef { name, start, end }| Window {
            name: Arc::clone(name),
            start: start.rfc3339(),
            end: end.rfc3339(),
        }),
        history: view.history.clone(),
        explanation: view.explanation.as_deref().map(Finding::shown),
    };
    truncated |= view.labels.len() > entries || view.annotations.len() > entries;
    (alert, truncated)
}

/// One webhook, ready to be called.
#[derive(Debug)]
pub(super) struct Webhook {
    target: WebhookTarget,
    headers: HeaderMap,
}

impl Webhook {
    pub fn new(target: WebhookTarget) -> Result<Webhook, SettingsError> {
        let mut headers = header_map(&target.headers)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Webhook { target, headers })
    }

    pub fn target(&self) -> &WebhookTarget {
        &self.target
    }

    /// Posts the notice once. `now` is the time of this attempt.
    pub async fn deliver(&self, client: &HttpClient, notice: &Notice, now: Timestamp) -> Result<(), Failure> {
        let identity = Identity { message: message_id(notice), episode: &notice.episode, signing: self.target.signing.as_ref() };
        let url = self.target.url.expose().clone();
        let call = Call::new(Method::POST, url, self.headers.clone(), body(notice), self.target.timeout, identity, now).await?;
        let answer = client.exchange(call, now).await?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(answer.failure()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::mail::tests::{explained, notice};

    #[test]
    fn the_body_has_the_shape_of_standard_webhooks() {
        let notice = notice();
        let body: serde_json::Value = serde_json::from_slice(&body(&notice)).unwrap();
        assert_eq!(body["type"], "drift.alert.firing");
        assert_eq!(body["timestamp"], "2026-11-22T11:00:00.000Z");
        let data = &body["data"];
        assert_eq!(data["episode"], notice.episode);
        assert_eq!(data["receiver"], "mlops mail");
        assert_eq!(data["labels"]["feature"], "age");
        assert_eq!(data["value"], 0.3134);
        assert_eq!(data["window"]["end"], "2026-11-22T11:00:00.000Z");
        assert_eq!(data["starts_at"], "2026-11-22T11:00:00.000Z");
        assert_eq!(data["ends_at"], serde_json::Value::Null);
        assert_eq!(data.get("truncated"), None);
        assert_eq!(message_id(&notice), format!("msg_{}_firing_0", notice.episode));
    }

    #[test]
    fn an_explanation_is_a_field_of_its_own() {
        let data = |notice: &Notice| serde_json::from_slice::<serde_json::Value>(&body(notice)).unwrap()["data"].clone();
        let explained = data(&explained());
        assert_eq!(explained["explanation"]["score"], serde_json::json!({"metric": "psi", "value": 0.3134}));
        assert_eq!(explained["explanation"]["cells"][0]["up_to"], 3.5);
        assert_eq!(explained["explanation"]["cells"][1]["cell"], "<b>&");
        assert!(explained["explanation"]["sentence"].as_str().unwrap().starts_with("age rose"));
        assert_eq!(data(&notice()).get("explanation"), None);
    }

    #[test]
    fn a_large_alert_is_cut_and_says_so() {
        let mut notice = notice();
        for index in 0..200 {
            notice.alert.annotations.insert(format!("note{index}"), "\u{1}é\"".repeat(3_000));
            notice.alert.labels.insert(format!("label{index}"), "\u{1}".repeat(3_000));
        }
        let bytes = body(&notice);
        assert!(bytes.len() < MAX_BODY, "{}", bytes.len());
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["data"]["truncated"], true);
        assert_eq!(body["data"]["episode"], notice.episode);
    }
}
