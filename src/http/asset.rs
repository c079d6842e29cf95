//! The console: one page with its script and style, held in the binary.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// The page.
pub async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("console/index.html")).into_response()
}

/// Its script.
pub async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("console/console.js")).into_response()
}

/// Its drawings.
pub async fn chart() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("console/chart.js")).into_response()
}

/// Its style.
pub async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("console/console.css")).into_response()
}

/// Its sign.
pub async fn icon() -> Response {
    ([(CONTENT_TYPE, "image/svg+xml")], include_str!("console/icon.svg")).into_response()
}
