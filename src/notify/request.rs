//! One HTTP exchange: bounded in time and size, without redirects or proxies, to admitted addresses only. Knows neither
//! notices nor actions; says what was answered and whether another attempt makes sense.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};

use super::egress::{self, EgressError, GuardedResolver};
use super::failure::{Failure, chain, clean};
use super::settings::{SettingsError, StandardWebhooks};
use super::signature::Secrets;
use super::{USER_AGENT, trust};
use crate::event::{Span, Timestamp};

/// Longest time to connect: a machine that is up answers in milliseconds, and the whole call has its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read. Only its status and a line of text matter.
const MAX_ANSWER: usize = 64 * 1024;
/// Largest file of a secret, in bytes: tokens have a few kilobytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;
/// Shortest text that is blotted out of an answer; shorter ones would blot out ordinary words.
const MIN_BLOT: usize = 4;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is sent.
#[derive(Debug)]
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub timeout: Duration,
    /// Texts that must not come back in an error, because a server may echo what it was sent.
    pub secrets: Vec<SecretString>,
}

impl Call {
    /// A call with the agent's headers over the configured ones: `Idempotency-Key` and the headers of Standard Webhooks.
    /// `now` is the time of this attempt.
    pub async fn new(
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Vec<u8>,
        timeout: Duration,
        identity: Identity<'_>,
        now: Timestamp,
    ) -> Result<Call, Failure> {
        let fault = || Failure::permanent("the episode is not fit for a header");
        let seconds = now.0.div_euclid(Span::SECOND.0);
        if let Some(signing) = identity.signing {
            let file = read_secret_file(&signing.secret_file).await?;
            let secrets = Secrets::parse(file.expose_secret())
                .map_err(|error| Failure::retryable(format!("{}: {error}", signing.secret_file.display())))?;
            let signature = secrets.sign(&identity.message, seconds, &body);
            headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).map_err(|_| fault())?);
        }
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(&identity.message).map_err(|_| fault())?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(identity.episode).map_err(|_| fault())?);
        let mut secrets: Vec<SecretString> = headers
            .values()
            .filter(|value| value.is_sensitive())
            .filter_map(|value| Some(SecretString::from(value.to_str().ok()?)))
            .collect();
        secrets.extend(url.query_pairs().map(|(_, value)| SecretString::from(value.as_ref())));
        secrets.extend(url.password().map(SecretString::from));
        Ok(Call { method, url, headers, body, timeout, secrets })
    }
}

/// What makes repeated attempts one message.
pub(super) struct Identity<'a> {
    /// The `webhook-id`.
    pub message: String,
    /// The `Idempotency-Key`.
    pub episode: &'a str,
    pub signing: Option<&'a StandardWebhooks>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    retry_after: Option<Span>,
    text: String,
}

impl Answer {
    /// What an answer means that is no success.
    pub fn failure(&self) -> Failure {
        let error =
            if self.text.is_empty() { format!("answered {}", self.status) } else { format!("answered {}: {}", self.status, self.text) };
        match self.status {
            408 | 425 | 429 | 500..=599 => Failure::Retryable { error: clean(&error), retry_after: self.retry_after },
            300..=399 => Failure::permanent(format!("answered {}; redirects are not followed", self.status)),
            410 => Failure::permanent("answered 410: the endpoint is gone"),
            _ => Failure::permanent(error),
        }
    }
}

/// The HTTP client of all webhooks and actions.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: reqwest::Client,
    tls: Arc<ClientConfig>,
}

impl HttpClient {
    pub fn new(ca_file: Option<&Path>) -> Result<HttpClient, SettingsError> {
        let tls = trust::client_config(ca_file)?;
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(GuardedResolver)
            .tls_backend_preconfigured(tls.clone())
            .build()
            .map_err(|error| SettingsError::Tls { reason: chain(&error) })?;
        Ok(HttpClient { client, tls: Arc::new(tls) })
    }

    /// Sends and reads the answer. `now` is what a `Retry-After` date is compared with.
    pub async fn exchange(&self, call: Call, now: Timestamp) -> Result<Answer, Failure> {
        // A literal address never meets the resolver.
        if let Some(reason) = call.url.host_str().and_then(egress::literal).and_then(egress::blocked) {
            return Err(Failure::permanent(format!("the host is {reason}, which is never called")));
        }
        let mut request = self.client.request(call.method, call.url).headers(call.headers).timeout(call.timeout);
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        let mut response = request.send().await.map_err(network)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, now));
        let mut body = Vec::new();
        // The status has arrived and decides; an answer that breaks off afterwards loses only its text.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(chunk.get(..chunk.len().min(MAX_ANSWER - body.len())).unwrap_or_default());
            if body.len() >= MAX_ANSWER {
                break;
            }
        }
        let mut text = String::from_utf8_lossy(&body).into_owned();
        for secret in &call.secrets {
            text = blot(&text, secret.expose_secret());
        }
        Ok(Answer { status, retry_after, text: clean(&text) })
    }

    /// Connects, with TLS where the URL says so, and sends nothing.
    pub async fn reach(&self, url: &Url) -> Result<(), Failure> {
        let host = url.host_str().ok_or_else(|| Failure::permanent("the URL has no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| Failure::permanent("the URL has no port"))?;
        let attempt = async {
            let addresses: Vec<SocketAddr> = egress::lookup(host, port).await.map_err(|error| Failure::permanent(error.to_string()))?;
            let stream = tokio::net::TcpStream::connect(addresses.as_slice())
                .await
                .map_err(|error| Failure::retryable(format!("cannot connect: {error}")))?;
            if url.scheme() == "https" {
                let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())
                    .map_err(|_| Failure::permanent("the host is not a name that TLS can check"))?;
                tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
                    .connect(name, stream)
                    .await
                    .map_err(|error| Failure::retryable(format!("TLS: {error}")))?;
            }
            Ok(())
        };
        tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err(Failure::retryable("no connection within 5 s")))
    }
}

/// Reads a small file that holds a secret and nothing else; white space around it is cut. A file that is missing is no reason to
/// give up: it may be mounted or rotated at this moment.
pub(super) async fn read_secret_file(path: &Path) -> Result<SecretString, Failure> {
    let path = path.to_owned();
    let read = move || {
        let fault = |reason: String| Failure::retryable(format!("cannot read {}: {reason}", path.display()));
        let size = std::fs::metadata(&path).map_err(|error| fault(error.to_string()))?.len();
        if size > MAX_SECRET_FILE {
            return Err(fault(format!("larger than {MAX_SECRET_FILE} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
        Ok(SecretString::from(text.trim()))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(Failure::retryable("reading a secret was interrupted")))
}

fn network(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(EgressError::Blocked { .. }) = cause.downcast_ref::<EgressError>() {
            return Failure::permanent(cause.to_string());
        }
        source = cause.source();
    }
    if error.is_builder() {
        return Failure::permanent(chain(&error));
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the connection broke"
    };
    Failure::retryable(format!("{what}: {}", chain(&error)))
}

/// Seconds or an HTTP date (RFC 9110, section 10.2.3), as the time to wait from `now`.
fn retry_after(text: &str, now: Timestamp) -> Option<Span> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Span(i64::from(seconds) * Span::SECOND.0));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let wait = Timestamp(date.timestamp().as_millisecond()) - now;
    Some(wait.max(Span(0)))
}

/// Blots a secret out, also the part after the scheme of an `Authorization` value.
fn blot(text: &str, secret: &str) -> String {
    let part = secret.rsplit(' ').next().unwrap_or(secret);
    if part.len() < MIN_BLOT { text.to_owned() } else { text.replace(part, "[redacted]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, retry_after: Some(Span::MINUTE), text: "x".into() }
    }

    #[test]
    fn statuses_are_retried_or_not() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            let failure = answer(status).failure();
            assert!(matches!(failure, Failure::Retryable { retry_after: Some(Span::MINUTE), .. }), "{status}: {failure:?}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 409, 410, 422] {
            assert!(!answer(status).failure().is_retryable(), "{status}");
        }
    }

    /// Leads every name to the metadata service.
    struct Rebound;

    impl reqwest::dns::Resolve for Rebound {
        fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
            let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
            Box::pin(async move { Ok(Box::new(egress::admit([metadata])?.into_iter()) as reqwest::dns::Addrs) })
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_blocked_address_is_final() {
        let tls = trust::client_config(None).unwrap();
        let client = reqwest::Client::builder().dns_resolver(Rebound).tls_backend_preconfigured(tls.clone()).build().unwrap();
        let client = HttpClient { client, tls: Arc::new(tls) };
        let url = Url::parse("http://hooks.example/x?token=hunter2").unwrap();
        let identity = Identity { message: "msg".into(), episode: "E", signing: None };
        let call = Call::new(Method::POST, url, HeaderMap::new(), Vec::new(), CONNECT_TIMEOUT, identity, Timestamp(0)).await.unwrap();
        let failure = client.exchange(call, Timestamp(0)).await.unwrap_err();
        assert!(!failure.is_retryable(), "{failure:?}");
        assert!(failure.to_string().contains("metadata address, which is never called"), "{failure}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse_rfc3339("2026-11-22T10:45:00Z").unwrap();
        assert_eq!(retry_after("120", now), Some(Span(120_000)));
        assert_eq!(retry_after("Sun, 22 Nov 2026 10:46:30 GMT", now), Some(Span(90_000)));
        assert_eq!(retry_after("Sun, 22 Nov 2026 10:40:00 GMT", now), Some(Span(0)));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }

    #[test]
    fn an_echoed_secret_is_blotted_out() {
        assert_eq!(blot("you sent Bearer hunter2-token", "Bearer hunter2-token"), "you sent Bearer [redacted]");
        assert_eq!(blot("a b c", "b"), "a b c");
    }
}
