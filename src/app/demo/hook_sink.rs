//! An HTTP server that only records: every request on the loopback interface, with its Standard Webhooks signature checked where it
//! was given the secret. It can be told what to answer.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::event::Timestamp;
use crate::notify::dispatcher::Clock;
use crate::notify::signature::{Secrets, SignatureError};

/// Requests that wait to be read; further ones are answered with 503.
const CAPACITY: usize = 256;
/// Largest body, in bytes; webhooks stay below 20 kB.
const MAX_BODY: usize = 256 * 1024;

/// One scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Reply {
    /// An answer with a status alone.
    #[must_use]
    pub fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// What the signature is worth; `None` where the sink has no secret.
    pub signature: Option<Result<(), SignatureError>>,
    /// When it came.
    pub at: Timestamp,
    /// What it was answered with.
    pub status: u16,
}

impl Hook {
    /// The first header of that name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How the sink behaves.
#[derive(Clone, Debug, Default)]
pub struct HookSinkOptions {
    /// Port; 0 for any that is free.
    pub port: u16,
    /// Secrets to check signatures with; a request whose signature does not fit is answered with 401.
    pub secrets: Option<Secrets>,
    /// Answers in this order; when they are used up, 200.
    pub script: Vec<Reply>,
}

/// The running sink; it ends when it is dropped.
#[derive(Debug)]
pub struct HookSink {
    address: SocketAddr,
    task: JoinSet<()>,
}

#[derive(Debug)]
struct Recorder {
    secrets: Option<Secrets>,
    script: Mutex<VecDeque<Reply>>,
    hooks: mpsc::Sender<Hook>,
    clock: Clock,
}

impl HookSink {
    /// Listens on the loopback interface; `clock` tells the time against which signatures are checked.
    ///
    /// # Errors
    /// Where the port is not free.
    pub async fn start(options: HookSinkOptions, clock: Clock) -> io::Result<(HookSink, mpsc::Receiver<Hook>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let (hooks, received) = mpsc::channel(CAPACITY);
        let recorder = Recorder { secrets: options.secrets, script: Mutex::new(options.script.into()), hooks, clock };
        let app = Router::new().fallback(record).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(Arc::new(recorder));
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::debug!(%error, "the webhook sink ended");
            }
        });
        Ok((HookSink { address, task }, received))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }
}

async fn record(State(recorder): State<Arc<Recorder>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let at = (recorder.clock)();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signature = recorder
        .secrets
        .as_ref()
        .map(|secrets| secrets.verify(header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"), &body, at));
    let reply = match &signature {
        Some(Err(error)) => Reply { status: 401, body: error.to_string(), ..Reply::default() },
        _ => recorder.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_else(|| Reply::status(200)),
    };
    let hook = Hook {
        method: method.to_string(),
        path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect(),
        body: body.to_vec(),
        signature,
        at,
        status: reply.status,
    };
    if recorder.hooks.try_send(hook).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    answer(reply)
}

fn answer(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, reply.body).into_response();
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
