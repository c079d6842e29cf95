//! The edge where messages leave: mail, signed webhooks and calls of actions, with an outbox, retries and idempotency keys.
//!
//! Notices and calls come in fully rendered; nothing here decides whether to alert, and nothing here knows rules, windows or
//! Kafka. The path of a message: [`OutboxHandle::stage`] puts it into the outbox, the app writes the outbox with the state that
//! caused it, [`OutboxHandle::release`] lets it go, and the [`Dispatcher`] delivers it, at least once, under a key that never
//! changes. What happened comes back as [`DeliveryReport`]s.
//!
//! In reading order: [`settings`], [`outbox`], [`backoff`], [`dispatcher`], [`transport`]; then per channel [`mail`] and
//! [`smtp`], [`webhook`], [`action`]; below them [`request`], [`egress`], [`signature`], [`trust`] and [`failure`].

pub mod action;
pub mod backoff;
pub mod dispatcher;
pub mod egress;
pub mod failure;
pub mod mail;
pub mod outbox;
mod picture;
pub mod request;
pub mod settings;
mod share;
pub mod signature;
pub mod smtp;
pub mod transport;
pub mod trust;
pub mod webhook;

pub use dispatcher::{Clock, DeliveryOutcome, DeliveryReport, Dispatcher, Options, Order, OutboxHandle};
pub use failure::Failure;
pub use outbox::{Channel, Delivery, Outbox, Payload, Target};
pub use settings::{
    ActionSettings, Auth, EmailTarget, NotifySettings, ReceiverSettings, SecretUrl, SettingsError, SmtpSettings, WebhookTarget,
};
pub use transport::{CheckResult, Transports};

/// How the agent names itself to servers.
pub const USER_AGENT: &str = concat!("driftline/", env!("CARGO_PKG_VERSION"));
