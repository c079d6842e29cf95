//! A look at a cluster from outside: whether it can be reached as this user, and which topics there are.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::connection::Connection;
use super::fault::{describe, explain, is_refusal, without_timing};

/// How long one question may take before callbacks are served again.
const TURN: Duration = Duration::from_secs(1);
/// How long another broker may still answer after one has refused.
const AFTER_REFUSAL: Duration = Duration::from_secs(3);
/// Properties that would make a look a membership.
const OF_GROUPS: [&str; 2] = ["group.instance.id", "group.protocol"];

/// The names of the topics that this user may see.
///
/// # Errors
/// Why the cluster cannot be reached, in words and without any secret.
#[allow(clippy::disallowed_methods)] // Patience is measured on the monotonic clock; no result depends on it.
pub fn topics(connection: &Connection, patience: Duration) -> Result<Vec<String>, String> {
    let mut config = connection.configure(&[]);
    for key in OF_GROUPS {
        config.remove(key);
    }
    let listener = Listener { connection: connection.clone(), heard: Mutex::default() };
    let consumer: BaseConsumer<Listener> = config.create_with_context(listener).map_err(|error| describe(&error))?;
    let mut until = Instant::now() + patience;
    let mut was_refused = false;
    loop {
        // Callbacks, among them the one that brings the token.
        let _ = consumer.poll(Duration::from_millis(50));
        match consumer.fetch_metadata(None, TURN) {
            Ok(metadata) => return Ok(metadata.topics().iter().map(MetadataTopic::name).map(str::to_owned).collect()),
            Err(error) if Instant::now() >= until => {
                let heard = consumer.context().heard();
                return Err(heard.refusal.or(heard.trouble).or(heard.line).unwrap_or_else(|| describe(&error)));
            }
            Err(_) => {}
        }
        if !was_refused && consumer.context().heard().refusal.is_some() {
            was_refused = true;
            until = until.min(Instant::now() + AFTER_REFUSAL);
        }
    }
}

/// What a broker that did not answer has said instead.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// Credentials or certificates were refused.
    refusal: Option<String>,
    /// Anything else, but that all brokers are down.
    trouble: Option<String>,
    /// A connection that was closed before anything was said is no error to librdkafka; its log guesses why.
    line: Option<String>,
}

struct Listener {
    connection: Connection,
    heard: Mutex<Heard>,
}

impl Listener {
    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            let message = message.split_once("]: ").map_or(message, |(_, message)| message);
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).line =
                Some(format!("{}; see whether security.protocol is that of this port", without_timing(message)));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refusal(&error, reason) {
            heard.refusal = Some(explain(&error, reason));
        } else if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            heard.trouble = Some(explain(&error, reason));
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.connection.token(config)
    }
}

impl ConsumerContext for Listener {}
