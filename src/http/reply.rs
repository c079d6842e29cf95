//! The bodies of answers: Prometheus' envelope for data and errors, and headers that every answer carries.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Headers on every answer: nothing from elsewhere is loaded, nothing is framed, sniffed or cached.
pub const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// `{"status":"success","data":...}`.
#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

/// Answers data in the envelope of Prometheus' API.
pub fn success<T: Serialize>(data: T) -> Response {
    match serde_json::to_string(&Success { status: "success", data }) {
        Ok(body) => json(StatusCode::OK, body),
        Err(fault) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", &fault.to_string()),
    }
}

/// Answers an error in the envelope of Prometheus' API: `errorType` is a short word, `error` a sentence.
pub fn failure(status: StatusCode, kind: &str, error: &str) -> Response {
    json(status, serde_json::json!({ "status": "error", "errorType": kind, "error": error }).to_string())
}

/// Answers a body that is JSON already.
pub fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Answers plain text.
pub fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// Puts the [`SECURITY_HEADERS`] on an answer, beside what it says itself.
pub fn harden(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
