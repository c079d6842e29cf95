//! The connection to the mail server: protected as the settings say, pooled, and opened anew at once where it has died.
//! Knows how servers refuse; the mail itself is written in [`super::mail`].

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;

use super::failure::Failure;
use super::mail;
use super::outbox::MAX_PER_LANE;
use super::settings::{SettingsError, SmtpSettings, SmtpTls};
use super::trust;
use crate::event::Timestamp;
use crate::rule::message::Notice;

/// A connection that has been idle this long is closed: servers drop them after a minute or more, often without a word.
const IDLE: Duration = Duration::from_secs(30);
/// One message may take this many times as long as one command: greeting, TLS, authentication, envelope and content.
const COMMANDS: u32 = 4;
/// Replies to AUTH that blame the user or password (RFC 4954): nothing is wrong with the message, and the password may be
/// changed any minute.
const AUTHENTICATION_CODES: [u16; 4] = [530, 534, 535, 538];
/// The server closes the connection (RFC 5321).
const CLOSING: u16 = 421;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// The mail server.
pub(super) struct Mailer {
    settings: SmtpSettings,
    tls: Tls,
    /// Made at the first use, because it starts a task that closes idle connections.
    transport: Mutex<Option<Transport>>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Mailer {
    pub fn new(settings: SmtpSettings) -> Result<Mailer, SettingsError> {
        let tls = match settings.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Required => Tls::Required(tls_parameters(&settings)?),
            SmtpTls::Implicit => Tls::Wrapper(tls_parameters(&settings)?),
        };
        Ok(Mailer { settings, tls, transport: Mutex::new(None) })
    }

    /// Sends the notice to one recipient, once; a connection that turns out dead is replaced at once.
    pub async fn deliver(&self, notice: &Notice, all: &[Mailbox], to: &Mailbox, created_at: Timestamp) -> Result<(), Failure> {
        let (envelope, bytes) = mail::compose(notice, &self.settings.from, all, to, created_at)?;
        match self.attempt(&envelope, &bytes).await {
            Err(Trouble::Connection(_)) => {
                // The pool may hold more connections of the same fate.
                *self.lock() = None;
                self.attempt(&envelope, &bytes).await.map_err(Trouble::into_failure)
            }
            other => other.map_err(Trouble::into_failure),
        }
    }

    /// Connects, protects the connection, authenticates and asks for a sign of life, without sending mail.
    pub async fn check(&self) -> Result<(), Failure> {
        let transport = self.transport();
        let test = tokio::time::timeout(self.settings.timeout * COMMANDS, transport.test_connection()).await;
        match test {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Failure::retryable("the mail server does not answer NOOP")),
            Ok(Err(error)) => Err(classify(&error).into_failure()),
            Err(_) => Err(Failure::retryable("no answer in time")),
        }
    }

    /// How it is called in messages.
    pub fn name(&self) -> String {
        format!("smtp {}:{}", self.settings.host, self.settings.port)
    }

    async fn attempt(&self, envelope: &Envelope, bytes: &[u8]) -> Result<(), Trouble> {
        let transport = self.transport();
        match tokio::time::timeout(self.settings.timeout * COMMANDS, transport.send_raw(envelope, bytes)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Trouble::Failure(Failure::retryable("the mail server was too slow"))),
        }
    }

    fn transport(&self) -> Transport {
        self.lock().get_or_insert_with(|| self.connect()).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Transport>> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Transport {
        let pool = PoolConfig::new().max_size(u32::try_from(MAX_PER_LANE).unwrap_or(1)).idle_timeout(IDLE);
        let mut builder = Transport::builder_dangerous(self.settings.host.as_str())
            .port(self.settings.port)
            .tls(self.tls.clone())
            .timeout(Some(self.settings.timeout))
            .pool_config(pool);
        if let Some(credentials) = &self.settings.credentials {
            builder = builder.credentials(Credentials::new(credentials.user.clone(), credentials.password.expose_secret().to_owned()));
        }
        builder.build()
    }
}

/// What went wrong, and whether a fresh connection may help at once.
#[derive(Debug)]
enum Trouble {
    Connection(Failure),
    Failure(Failure),
}

impl Trouble {
    fn into_failure(self) -> Failure {
        match self {
            Trouble::Connection(failure) | Trouble::Failure(failure) => failure,
        }
    }
}

fn classify(error: &Error) -> Trouble {
    let text = error.to_string();
    let code = error.status().map(u16::from);
    if code == Some(CLOSING) {
        return Trouble::Connection(Failure::retryable(text));
    }
    if code.is_some_and(|code| AUTHENTICATION_CODES.contains(&code)) {
        return Trouble::Failure(Failure::retryable(format!("the mail server refuses the user or the password: {text}")));
    }
    if error.is_permanent() {
        return Trouble::Failure(Failure::permanent(text));
    }
    if error.is_client() && text.contains("STARTTLS") {
        return Trouble::Failure(Failure::retryable(
            "the mail server offers no STARTTLS; write smtps:// for implicit TLS, or tls=none for a server on this machine",
        ));
    }
    let is_final = error.is_transient() || error.is_client() || error.is_tls() || error.is_timeout();
    if is_final { Trouble::Failure(Failure::retryable(text)) } else { Trouble::Connection(Failure::retryable(text)) }
}

fn tls_parameters(settings: &SmtpSettings) -> Result<TlsParameters, SettingsError> {
    let store = if trust::system_has_roots() { CertificateStore::Default } else { CertificateStore::WebpkiRoots };
    let mut builder = TlsParameters::builder(settings.host.clone()).certificate_store(store);
    if let Some(path) = &settings.ca_file {
        let pem = trust::read_ca_file(path)?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| SettingsError::CaFile { path: path.clone(), reason: error.to_string() })?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| SettingsError::Tls { reason: error.to_string() })
}
