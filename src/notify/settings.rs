//! Typed settings of receivers, the mail server and actions. Reads no file and knows nothing of the format they were written in.
//!
//! Secrets are `SecretString`s, URLs of webhooks (which often are secrets themselves) are [`SecretUrl`]s: neither can be printed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::egress;

/// How long one SMTP command may take. Alert mail is small; a server that needs longer is in trouble.
pub const SMTP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one webhook call may take in all; Standard Webhooks recommends 15 to 30 s.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one call of an action may take in all: schedulers answer more slowly than webhooks.
pub const ACTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Port of mail submission with STARTTLS (RFC 6409).
const SUBMISSION_PORT: u16 = 587;
/// Port of mail submission with implicit TLS (RFC 8314).
const SUBMISSIONS_PORT: u16 = 465;
/// Port of plain SMTP.
const SMTP_PORT: u16 = 25;

/// What is wrong with the settings. Never contains a secret, the userinfo or the query of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not a URL.
    #[error("not a URL: {reason}")]
    UrlSyntax {
        /// What the parser says; does not quote the URL.
        reason: String,
    },
    /// A URL of the wrong kind.
    #[error("the scheme '{found}' is not supported here; write {expected}")]
    UrlScheme {
        /// The scheme that was written.
        found: String,
        /// The schemes that work.
        expected: &'static str,
    },
    /// A URL without a host.
    #[error("the URL has no host")]
    UrlHost,
    /// A host that must never be called.
    #[error("{host} is {reason}, which is never called")]
    BlockedHost {
        /// The literal address.
        host: String,
        /// What the address is.
        reason: &'static str,
    },
    /// An unknown or unsafe `tls=` in the SMTP URL.
    #[error("tls={found} is not supported; write tls=required (STARTTLS), tls=implicit or tls=none")]
    TlsMode {
        /// What was written.
        found: String,
    },
    /// Something in the query of the SMTP URL beside `tls`.
    #[error("unknown parameter '{name}' in the SMTP URL; only tls is known")]
    UrlParameter {
        /// Its name.
        name: String,
    },
    /// `tls=none` towards another machine.
    #[error("mail to {host} would be sent in clear text; use tls=required or smtps://, or set allow_plaintext: true")]
    Plaintext {
        /// The mail server.
        host: String,
    },
    /// A user without a password.
    #[error("the SMTP URL names a user, but there is no password")]
    PasswordMissing,
    /// A password without a user.
    #[error("there is an SMTP password, but the URL names no user; write smtps://user@host")]
    UserMissing,
    /// A mail address that cannot be used.
    #[error("'{address}' is not a mail address: {reason}")]
    Address {
        /// The address.
        address: String,
        /// What the parser says.
        reason: String,
    },
    /// A mail target without recipients.
    #[error("receiver '{receiver}' has an email_config without recipients")]
    NoRecipients {
        /// The receiver.
        receiver: String,
    },
    /// Mail without a mail server.
    #[error("receiver '{receiver}' sends mail, but notify.smtp is not set")]
    SmtpMissing {
        /// The receiver.
        receiver: String,
    },
    /// A header that HTTP does not allow.
    #[error("'{name}' is not a valid HTTP header, or its value is not")]
    Header {
        /// Name of the header.
        name: String,
    },
    /// Two receivers or two actions with one name.
    #[error("{kind} '{name}' is defined twice")]
    Duplicate {
        /// `receiver` or `action`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The file of certificate authorities cannot be used.
    #[error("ca_file {path}: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS: {reason}")]
    Tls {
        /// What the library says.
        reason: String,
    },
}

/// A URL that is shown without userinfo, path and query, because any of them may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(reqwest::Url);

impl SecretUrl {
    /// Reads an absolute `http` or `https` URL.
    ///
    /// # Errors
    /// Where it is not one, or its host is an address that is never called.
    pub fn parse(text: &str) -> Result<SecretUrl, SettingsError> {
        let url = reqwest::Url::parse(text).map_err(|error| SettingsError::UrlSyntax { reason: error.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SettingsError::UrlScheme { found: url.scheme().to_owned(), expected: "http:// or https://" });
        }
        let host = url.host_str().ok_or(SettingsError::UrlHost)?;
        if let Some(reason) = egress::literal(host).and_then(egress::blocked) {
            return Err(SettingsError::BlockedHost { host: host.to_owned(), reason });
        }
        Ok(SecretUrl(url))
    }

    /// The URL itself, to call it.
    #[must_use]
    pub fn expose(&self) -> &reqwest::Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

/// How the connection to the mail server is protected. There is no opportunistic mode: it protects from nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS, and no mail if the server refuses it.
    Required,
    /// TLS from the first byte.
    Implicit,
    /// Clear text.
    None,
}

/// Where and as whom mail is submitted.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection of the connection.
    pub tls: SmtpTls,
    /// User and password, where the server wants them.
    pub credentials: Option<SmtpCredentials>,
    /// The sender.
    pub from: Mailbox,
    /// Longest time of one SMTP command.
    pub timeout: Duration,
    /// Certificate authorities (PEM) that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// User and password for the mail server.
#[derive(Clone)]
pub struct SmtpCredentials {
    /// The user, percent-decoded.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

impl fmt::Debug for SmtpCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpCredentials([redacted])")
    }
}

impl SmtpSettings {
    /// Reads `smtps://user@host:465` (implicit TLS) or `smtp://user@host:587` (STARTTLS required), either with
    /// `?tls=required|implicit|none`. `none` works towards the same machine, elsewhere only with `allow_plaintext`.
    /// A password in the URL is taken where `password` is not given.
    ///
    /// # Errors
    /// Where the URL, the sender or their combination cannot be used.
    pub fn parse(url: &str, password: Option<SecretString>, from: &str, allow_plaintext: bool) -> Result<SmtpSettings, SettingsError> {
        let url = reqwest::Url::parse(url).map_err(|error| SettingsError::UrlSyntax { reason: error.to_string() })?;
        let mut tls = match url.scheme() {
            "smtps" => SmtpTls::Implicit,
            "smtp" => SmtpTls::Required,
            other => return Err(SettingsError::UrlScheme { found: other.to_owned(), expected: "smtp:// or smtps://" }),
        };
        for (name, value) in url.query_pairs() {
            if name != "tls" {
                return Err(SettingsError::UrlParameter { name: name.into_owned() });
            }
            tls = match (value.as_ref(), url.scheme()) {
                ("implicit", _) | ("required", "smtps") => SmtpTls::Implicit,
                ("required", _) => SmtpTls::Required,
                ("none", "smtp") => SmtpTls::None,
                (other, _) => return Err(SettingsError::TlsMode { found: other.to_owned() }),
            };
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SettingsError::UrlHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if tls == SmtpTls::None && !allow_plaintext && !is_this_machine(&host) {
            return Err(SettingsError::Plaintext { host });
        }
        let password = password.or_else(|| url.password().map(|text| SecretString::from(percent_decode(text))));
        let credentials = match (url.username(), password) {
            ("", None) => None,
            ("", Some(_)) => return Err(SettingsError::UserMissing),
            (_, None) => return Err(SettingsError::PasswordMissing),
            (user, Some(password)) => Some(SmtpCredentials { user: percent_decode(user), password }),
        };
        let port = url.port().unwrap_or(match tls {
            SmtpTls::Required => SUBMISSION_PORT,
            SmtpTls::Implicit => SUBMISSIONS_PORT,
            SmtpTls::None => SMTP_PORT,
        });
        Ok(SmtpSettings { host, port, tls, credentials, from: mailbox(from)?, timeout: SMTP_TIMEOUT, ca_file: None })
    }
}

/// A way to sign requests as Standard Webhooks says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandardWebhooks {
    /// File with one `whsec_...` secret a line; several lines are a rotation, and every request carries a signature of each.
    pub secret_file: PathBuf,
}

/// Recipients of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailTarget {
    /// Their addresses, at least one. Each gets its own copy, so that one refused address costs nobody else the message.
    pub to: Vec<String>,
    /// Whether they are told that an alert is over.
    pub send_resolved: bool,
}

/// One webhook.
#[derive(Clone, Debug)]
pub struct WebhookTarget {
    /// Where to post.
    pub url: SecretUrl,
    /// How to sign.
    pub signing: Option<StandardWebhooks>,
    /// Whether it is told that an alert is over; true where nothing is written.
    pub send_resolved: bool,
    /// Additional headers; their values may be secrets.
    pub headers: BTreeMap<String, SecretString>,
    /// Longest time of one call.
    pub timeout: Duration,
}

impl WebhookTarget {
    /// A webhook with the usual settings.
    ///
    /// # Errors
    /// As [`SecretUrl::parse`].
    pub fn new(url: &str) -> Result<WebhookTarget, SettingsError> {
        Ok(WebhookTarget {
            url: SecretUrl::parse(url)?,
            signing: None,
            send_resolved: true,
            headers: BTreeMap::new(),
            timeout: WEBHOOK_TIMEOUT,
        })
    }
}

/// A receiver of notices: any number of mail targets and webhooks.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// Its name in the rule files.
    pub name: String,
    /// Its mail targets.
    pub emails: Vec<EmailTarget>,
    /// Its webhooks.
    pub webhooks: Vec<WebhookTarget>,
}

/// How an action authenticates. Files are read at every call, so that a rotated token needs no reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer` and the trimmed content of a file.
    BearerFile(PathBuf),
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// File with the password; white space around it is cut.
        password_file: PathBuf,
    },
}

/// How an action is called and its answer understood.
#[derive(Clone, Debug)]
pub struct ActionSettings {
    /// Its name in the rule files.
    pub name: String,
    /// Statuses that mean it was started; none listed: every 2xx.
    pub success: Vec<u16>,
    /// Statuses that mean this very episode has started it before, which is as good.
    pub duplicate: Vec<u16>,
    /// Longest time of one call.
    pub timeout: Duration,
    /// Authentication.
    pub auth: Auth,
    /// Additional headers; their values may be secrets.
    pub headers: BTreeMap<String, SecretString>,
    /// How to sign.
    pub signing: Option<StandardWebhooks>,
}

impl ActionSettings {
    /// An action with the usual settings: 2xx is success, 409 a duplicate.
    #[must_use]
    pub fn new(name: impl Into<String>) -> ActionSettings {
        ActionSettings {
            name: name.into(),
            success: Vec::new(),
            duplicate: vec![409],
            timeout: ACTION_TIMEOUT,
            auth: Auth::None,
            headers: BTreeMap::new(),
            signing: None,
        }
    }
}

/// Everything this module is told.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    /// The mail server.
    pub smtp: Option<SmtpSettings>,
    /// Receivers.
    pub receivers: Vec<ReceiverSettings>,
    /// Actions.
    pub actions: Vec<ActionSettings>,
    /// Certificate authorities (PEM) trusted for webhooks and actions beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Reads `someone@example.com` or `Name <someone@example.com>`.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, SettingsError> {
    text.parse()
        .map_err(|error: lettre::address::AddressError| SettingsError::Address { address: text.to_owned(), reason: error.to_string() })
}

/// The headers as HTTP wants them, their values marked as sensitive.
pub(super) fn header_map(headers: &BTreeMap<String, SecretString>) -> Result<reqwest::header::HeaderMap, SettingsError> {
    let mut map = reqwest::header::HeaderMap::new();
    for (name, value) in headers {
        let fault = || SettingsError::Header { name: name.clone() };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| fault())?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// Whether the host is this machine, by its literal address or as `localhost`.
fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Undoes percent-encoding of userinfo; what is not a valid escape stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, tail @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, tail)),
            _ => None,
        };
        let (byte, tail) = escape.unwrap_or((first, after));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(url: &str, password: Option<&str>, plaintext: bool) -> Result<SmtpSettings, SettingsError> {
        SmtpSettings::parse(url, password.map(SecretString::from), "driftline@example.com", plaintext)
    }

    #[test]
    fn reads_smtp_urls() {
        let settings = smtp("smtps://user@mail.example:465", Some("x"), false).unwrap();
        assert_eq!((settings.host.as_str(), settings.port, settings.tls), ("mail.example", 465, SmtpTls::Implicit));
        let settings = smtp("smtp://a%40b:p%25w@mail.example", None, false).unwrap();
        assert_eq!((settings.port, settings.tls), (587, SmtpTls::Required));
        let credentials = settings.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.expose_secret()), ("a@b", "p%w"));
        assert_eq!(smtp("smtp://[::1]:2525?tls=none", None, false).unwrap().host, "::1");
        assert_eq!(smtp("smtp://localhost?tls=none", None, false).unwrap().port, 25);
        assert_eq!(smtp("smtp://mail.example?tls=implicit", None, false).unwrap().port, 465);
    }

    #[test]
    fn refuses_what_is_unsafe_or_incomplete() {
        assert_eq!(
            smtp("smtp://mail.example?tls=none", None, false).unwrap_err(),
            SettingsError::Plaintext { host: "mail.example".into() }
        );
        assert!(smtp("smtp://mail.example?tls=none", None, true).is_ok());
        assert!(matches!(smtp("smtp://localhost.example?tls=none", None, false), Err(SettingsError::Plaintext { .. })));
        assert!(matches!(smtp("smtp://mail.example?tls=opportunistic", None, false), Err(SettingsError::TlsMode { .. })));
        assert!(matches!(smtp("smtps://mail.example?tls=none", None, true), Err(SettingsError::TlsMode { .. })));
        assert!(matches!(smtp("smtp://mail.example?tsl=none", None, true), Err(SettingsError::UrlParameter { .. })));
        assert!(matches!(smtp("http://mail.example", None, false), Err(SettingsError::UrlScheme { .. })));
        assert!(matches!(smtp("mail.example", None, false), Err(SettingsError::UrlSyntax { .. })));
        assert_eq!(smtp("smtps://user@mail.example", None, false).unwrap_err(), SettingsError::PasswordMissing);
        assert_eq!(smtp("smtps://mail.example", Some("x"), false).unwrap_err(), SettingsError::UserMissing);
        assert!(matches!(SmtpSettings::parse("smtps://mail.example", None, "nobody", false), Err(SettingsError::Address { .. })));
    }

    #[test]
    fn webhook_urls_never_reach_reserved_addresses() {
        for bad in [
            "http://169.254.169.254/latest",
            "http://0xA9FEA9FE/",
            "http://[::ffff:169.254.1.1]/",
            "http://0.0.0.0:80/",
            "http://[fe80::1]/",
        ] {
            assert!(matches!(SecretUrl::parse(bad), Err(SettingsError::BlockedHost { .. })), "{bad} was accepted");
        }
        for good in ["http://127.0.0.1:9099/hook", "https://hooks.example/x", "http://10.1.2.3/"] {
            assert!(SecretUrl::parse(good).is_ok(), "{good} was refused");
        }
        assert!(matches!(SecretUrl::parse("ftp://x/"), Err(SettingsError::UrlScheme { .. })));
    }

    #[test]
    fn debug_output_has_no_secrets() {
        let mut hook = WebhookTarget::new("https://user:hunter2@hooks.example:8443/T0PATH?token=hunter2").unwrap();
        hook.headers.insert("authorization".into(), SecretString::from("hunter2"));
        let smtp = smtp("smtps://hunter2:hunter2@mail.example", None, false).unwrap();
        let text = format!("{hook:?} {:?} {smtp:?}", hook.url);
        assert!(!text.contains("hunter2") && !text.contains("T0PATH"), "{text}");
        assert!(text.contains("https://hooks.example:8443"), "{text}");
    }
}
