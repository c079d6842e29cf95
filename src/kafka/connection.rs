//! Addresses and properties of a connection, as every client of it gets them.

use std::collections::BTreeMap;
use std::error::Error;

use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::event::Timestamp;

use super::fault::describe;
use super::token::Tokens;

/// A property that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct PropertyFault {
    /// Its name.
    pub key: String,
    /// What is wrong with it, without its value.
    pub reason: String,
}

/// Whether librdkafka takes a property, and why not. The value is not told: it may be a secret.
///
/// # Errors
/// An unknown name, or a value that is not of the property's type or not supported by this build.
pub fn check_property(key: &str, value: &str) -> Result<(), String> {
    ClientConfig::new().set(key, value).create_native_config().map(|_| ()).map_err(|error| describe(&error))
}

/// Whether a property is served here and never reaches librdkafka, which was built without a client for token endpoints.
#[must_use]
pub fn is_own(key: &str, properties: &BTreeMap<String, SecretString>) -> bool {
    Tokens::takes(key, properties)
}

/// How to reach the brokers and who to be there.
#[derive(Clone, Debug)]
pub struct Connection {
    bootstrap_servers: String,
    /// What goes to librdkafka.
    properties: BTreeMap<String, SecretString>,
    tokens: Tokens,
}

impl Connection {
    /// Takes librdkafka's properties by their own names, secrets among them. `now` is the wall clock, for the life of tokens.
    ///
    /// # Errors
    /// Where tokens are to be fetched and something is missing for it or cannot be used.
    pub fn new(
        bootstrap_servers: String,
        properties: &BTreeMap<String, SecretString>,
        now: fn() -> Timestamp,
    ) -> Result<Connection, PropertyFault> {
        let tokens = Tokens::from_properties(properties, now)?;
        let kept = properties.iter().filter(|(key, _)| !is_own(key, properties));
        let properties = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Connection { bootstrap_servers, properties, tokens })
    }

    /// Addresses of brokers to start from, with commas.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// A property as it was given.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&SecretString> {
        self.properties.get(key)
    }

    /// The configuration of a client: `defaults`, then what the user says, then the brokers. What a client depends on it
    /// sets itself afterwards.
    #[must_use]
    pub fn configure(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "driftline").set("socket.keepalive.enable", "true");
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value.expose_secret());
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set_log_level(if self.properties.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }

    /// Whether a client that administers topics gets in: it is never polled, so it can only be given the tokens that librdkafka
    /// makes itself.
    #[must_use]
    pub fn lets_administer(&self) -> bool {
        matches!(self.tokens, Tokens::Unsecured { .. })
    }

    /// The token of SASL OAUTHBEARER, for `ClientContext::generate_oauth_token`.
    ///
    /// # Errors
    /// Why there is none, without any secret.
    pub fn token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.token(config).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretString> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect()
    }

    #[test]
    fn properties_are_checked_without_showing_their_value() {
        assert_eq!(check_property("sasl.password", "hunter2"), Ok(()));
        assert_eq!(check_property("sasl.passwrd", "hunter2"), Err("librdkafka has no property 'sasl.passwrd'".to_owned()));
        for key in ["socket.timeout.ms", "security.protocol"] {
            assert_eq!(check_property(key, "hunter2"), Err(format!("librdkafka does not take this value of '{key}'")));
        }
    }

    #[test]
    fn what_the_user_says_wins_over_defaults_and_keys_of_tokens_stay_here() {
        let said = properties(&[
            ("linger.ms", "7"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", "driftline"),
            ("sasl.oauthbearer.client.secret", "hunter2"),
            ("sasl.oauthbearer.token.endpoint.url", "https://login.example/token"),
        ]);
        let connection = Connection::new("a:1,b:2".into(), &said, || Timestamp(0)).unwrap();
        let config = connection.configure(&[("linger.ms", "1"), ("acks", "all")]);
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert!(!config.config_map().keys().any(|key| key.starts_with("sasl.oauthbearer.")), "{config:?}");
        assert!(config.create_native_config().is_ok(), "librdkafka takes what is left");
        assert!(!format!("{connection:?}").contains("hunter2"));
    }
}
