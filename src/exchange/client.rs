//! What the clients share: callbacks, the words for errors, and closing within bounds.

use std::error::Error;
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::kafka::Connection;

/// How long closing a client may take before the process goes on without it: librdkafka may wait for brokers that are gone.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// The callbacks of a client: the log, and whatever its kind of client keeps besides.
pub(super) struct Context<T> {
    connection: Connection,
    pub kept: T,
}

impl<T> Context<T> {
    pub fn new(connection: &Connection, kept: T) -> Context<T> {
        Context { connection: connection.clone(), kept }
    }
}

impl<T: Send + Sync> ClientContext for Context<T> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.connection.token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::kafka::log(level, facility, message);
    }

    /// Consumers get the same from their poll; a producer tells of it by what it cannot deliver.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "driftline::exchange", %error, "{reason}");
    }
}

impl ConsumerContext for Context<()> {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}

/// A consumer that is told what to read.
pub(super) type Reader = BaseConsumer<Context<()>>;

/// What is wrong, in words that show no value of a setting: it may be a secret.
pub(super) fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => format!("librdkafka has no property '{key}'"),
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka does not take this value of '{key}'"),
        KafkaError::MessageProduction(code)
        | KafkaError::MessageConsumption(code)
        | KafkaError::MessageConsumptionFatal(code)
        | KafkaError::MetadataFetch(code)
        | KafkaError::AdminOp(code)
        | KafkaError::Global(code) => code.to_string(),
        other => other.to_string(),
    }
}

/// Drops clients on a thread of their own and waits for it within bounds.
pub(super) fn close<T: Send + 'static>(clients: T) {
    let (done, closed) = crossbeam_channel::bounded::<()>(1);
    let closing = std::thread::Builder::new().name("exchange-close".into()).spawn(move || {
        drop(clients);
        let _ = done.send(());
    });
    if closing.is_ok() && closed.recv_timeout(CLOSE_PATIENCE).is_err() {
        tracing::warn!(target: "driftline::exchange", "a client of the exchange did not close in time");
    }
}
