//! The context of a client that wants no callbacks of its own: it logs, tells errors in words and has tokens.

use std::error::Error;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::connection::Connection;
use super::fault::explain;

/// For consumers and producers alike.
#[derive(Clone, Debug)]
pub struct Plain {
    connection: Connection,
}

impl Plain {
    /// The context of a client of this connection.
    #[must_use]
    pub fn new(connection: Connection) -> Plain {
        Plain { connection }
    }
}

impl ClientContext for Plain {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "driftline::kafka", "{}", explain(&error, reason));
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.connection.token(config)
    }
}

impl ConsumerContext for Plain {}

/// Hands a line of librdkafka's log on, a level lower: what is wrong with a connection it tells as an error, too.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // What comes as an error, too, and with a way out.
        RDKafkaLogLevel::Error if facility == "FAIL" => tracing::info!(target: "driftline::kafka", facility, "{message}"),
        // Properties for consumers are no news to a producer.
        _ if facility == "CONFWARN" => tracing::debug!(target: "driftline::kafka", facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "driftline::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "driftline::kafka", facility, "{message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "driftline::kafka", facility, "{message}"),
    }
}
