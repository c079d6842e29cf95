//! Binding, routes and shutdown of the server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::access::{Access, Need};
use super::view::ViewHandle;
use super::{Error, Hooks, Settings, api, asset, reply};

/// What every handler has at hand.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) view: ViewHandle,
    pub(super) hooks: Arc<Hooks>,
    access: Arc<Access>,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; tells the port where the settings left it open.
    pub address: SocketAddr,
    /// Ends when the shutdown is over and the last request is answered.
    pub task: JoinHandle<()>,
}

/// Binds, then serves in a task of its own until `shutdown` is there; requests that run are answered before it ends.
///
/// # Errors
/// [`Error::Bind`] names the address; [`Error::Token`] where the token file cannot be used.
pub async fn serve(
    settings: Settings,
    view: ViewHandle,
    hooks: Hooks,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Server, Error> {
    let bind = |source| Error::Bind { address: settings.listen.clone(), source };
    let listener = TcpListener::bind(&settings.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let access = Access::new(settings.clone(), address.ip())?;
    if !access.is_loopback() && settings.open_reads {
        tracing::warn!(%address, "everything but changes can be read by whoever reaches this address");
    }
    if !access.is_loopback() && !settings.open_reads && settings.token_file.is_none() {
        tracing::warn!(%address, "only /livez and /readyz are served: set http.token_file, or http.open_reads");
    }
    let router = router(Shared { view, hooks: Arc::new(hooks), access: Arc::new(access) });
    let task = tokio::spawn(async move {
        if let Err(fault) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await {
            tracing::error!(%fault, "the HTTP server has ended");
        }
    });
    Ok(Server { address, task })
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(asset::page))
        .route("/console.js", get(asset::script))
        .route("/chart.js", get(asset::chart))
        .route("/console.css", get(asset::style))
        .route("/icon.svg", get(asset::icon))
        .route("/livez", get(api::livez))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(api::metrics))
        .route("/-/reload", post(api::reload))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/models", get(api::models))
        .route("/api/v1/windows", get(api::windows))
        .route("/api/v1/features", get(api::features))
        .route("/api/v1/rules", get(api::rules))
        .route("/api/v1/alerts", get(api::alerts))
        .route("/api/v1/silences", get(api::silences))
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/outbox", get(api::outbox))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(from_fn_with_state(shared.clone(), guard))
        .layer(from_fn(harden))
        .with_state(shared)
}

/// Lets through who may ask. The token file is read on a thread that may block.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (method, path, headers) = (request.method().clone(), request.uri().path().to_owned(), request.headers().clone());
    let access = Arc::clone(&shared.access);
    let refusal = if access.need(&method, &path) == Need::Nothing {
        access.refuse(&method, &path, &headers)
    } else {
        match tokio::task::spawn_blocking(move || access.refuse(&method, &path, &headers)).await {
            Ok(refusal) => refusal,
            Err(_) => Some(reply::failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the token could not be checked")),
        }
    };
    match refusal {
        None => next.run(request).await,
        Some(refusal) => refusal,
    }
}

async fn harden(request: Request, next: Next) -> Response {
    reply::harden(next.run(request).await)
}
