//! The HTTP surface: console, probes, `/metrics`, the read API and the reload.
//!
//! Layer 4. Reads only the [`view::View`] that the app fills, and calls only the [`Hooks`] it was given. It knows nothing of
//! Kafka, the engine or how metrics are made, and changes no state of its own.
//!
//! * [`view`]: what is shown, bounded; [`status`]: its plain parts
//! * [`mod@serve`]: binding, routes, shutdown; [`access`]: who may ask
//! * `api`, `feature`, `prometheus`: the answers; `asset`: the console page

pub mod access;
mod api;
mod asset;
mod feature;
mod prometheus;
mod reply;
pub mod serve;
pub mod status;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;

pub use serve::{Server, serve};
pub use status::{
    BaselineView, Check, DeadLettersView, FeatureView, Histogram, LedgerView, ModelView, PartitionView, ReloadView, StatusView, TextTime,
    TopicView, WindowView,
};
pub use view::{View, ViewHandle};

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` to listen on; port 0 takes a free one.
    pub listen: String,
    /// File with the bearer token of guarded requests, read at each of them so that it can be rotated.
    pub token_file: Option<PathBuf>,
    /// Whether reading is open beyond loopback too. Changing never is.
    pub open_reads: bool,
    /// Names beside loopback's own that a `Host` header may carry while listening on loopback, for a proxy in front.
    pub allowed_hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { listen: "127.0.0.1:9464".into(), token_file: None, open_reads: false, allowed_hosts: Vec::new() }
    }
}

/// The body of `/metrics`, made anew at each call.
pub type MetricsHook = Arc<dyn Fn() -> String + Send + Sync>;
/// Applies the files anew: what has changed, or why nothing has.
pub type ReloadHook = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;
/// Whether the app's event loop still beats, or what has stopped.
pub type AliveHook = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the server may call. Each runs on a thread that may block.
#[derive(Clone, Default)]
pub struct Hooks {
    /// For `/metrics`; without it the path answers 404.
    pub metrics: Option<MetricsHook>,
    /// For `POST /-/reload`; without it the path answers 404.
    pub reload: Option<ReloadHook>,
    /// For `/livez`; without it an answer alone is the sign of life.
    pub alive: Option<AliveHook>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("metrics", &self.metrics.is_some())
            .field("reload", &self.reload.is_some())
            .field("alive", &self.alive.is_some())
            .finish()
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, not ours, or no address.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as configured.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The token file is there in the settings and cannot be used.
    #[error("cannot use the token file {path}: {reason}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
