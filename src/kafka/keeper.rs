//! Keeps a token of a token endpoint fresh, on a thread of its own: the threads that ask for one are not to wait for a server.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::event::Timestamp;

use super::token::Token;

/// How long one who asks waits for the first token. It may be the thread that polls.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// How long the endpoint may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Time before the next try after a failure; it doubles up to the greatest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The greatest time between two tries: an identity provider that comes back is found soon.
const GREATEST_PAUSE: Duration = Duration::from_secs(30);
/// Share of a token's life after which it is renewed, in percent. librdkafka asks for a new one after 80.
const RENEW_AFTER: i64 = 75;
/// The least time between two renewals, for tokens that live next to no time.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Who signs the certificate of the endpoint.
#[derive(Clone, Debug)]
pub(super) enum Authorities {
    /// Those of the system, Mozilla's where it has none.
    System,
    /// Those of a file.
    File(PathBuf),
    /// These.
    Pem(String),
}

impl Authorities {
    fn client_config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        let pem = match self {
            Authorities::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
                Vec::new()
            }
            Authorities::File(path) => {
                std::fs::read(path).map_err(|error| format!("https.ca.location {} cannot be read: {error}", path.display()))?
            }
            Authorities::Pem(pem) => pem.clone().into_bytes(),
        };
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let fault = |error: String| format!("the authorities of the token endpoint cannot be used: {error}");
            roots.add(certificate.map_err(|error| fault(error.to_string()))?).map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err("https.ca.location or https.ca.pem holds no certificate".to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// A token endpoint, and who asks there.
pub(super) struct Endpoint {
    pub url: Url,
    pub id: String,
    pub secret: SecretString,
    pub scope: Option<String>,
    pub authorities: Authorities,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Endpoint {
    /// The URL without what may be a secret.
    fn name(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.url.path())
    }

    /// Asks for a token, once.
    async fn ask(&self, now: Timestamp) -> Result<Token, String> {
        let fault = |what: String| format!("the token endpoint {} {what}", self.name()).replace(self.secret.expose_secret(), "<redacted>");
        let failed = |error: reqwest::Error| fault(format!("cannot be asked: {}", chain(&error.without_url())));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_PATIENCE)
            .tls_backend_preconfigured(self.authorities.client_config()?)
            .build()
            .map_err(failed)?;
        // Only to encode the body: nobody calls this URL.
        let mut form = self.url.clone();
        form.set_query(None);
        form.query_pairs_mut().append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.query_pairs_mut().append_pair("scope", scope);
        }
        let request = client
            .post(self.url.clone())
            .basic_auth(&self.id, Some(self.secret.expose_secret()))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(form.query().unwrap_or_default().to_owned());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(fault(format!("answers with more than {MAX_ANSWER} bytes")));
            }
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        if !status.is_success() {
            let why = [text("error"), text("error_description")].into_iter().flatten().collect::<Vec<_>>().join(": ");
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            return Err(fault(format!("refuses with {}{why}", status.as_u16())));
        }
        let token = text("access_token").ok_or_else(|| fault("answers without access_token".to_owned()))?;
        // Some write the number as a text.
        let life = answer.get("expires_in").and_then(|life| life.as_i64().or_else(|| life.as_str()?.parse().ok()));
        Token::new(token, life, &self.id, now).map_err(fault)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Holds the token; all clients of a connection share it.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    now: fn() -> Timestamp,
    held: Mutex<Held>,
    /// Told when what is held has changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    /// Why the last try failed.
    fault: Option<String>,
    has_begun: bool,
    is_over: bool,
}

impl Keeper {
    pub fn new(endpoint: Endpoint, now: fn() -> Timestamp) -> Keeper {
        Keeper { shared: Arc::new(Shared { endpoint, now, held: Mutex::default(), changed: Condvar::new() }) }
    }

    /// The token that is held, if it is still valid. The first one is waited for.
    pub fn token(&self) -> Result<OAuthToken, String> {
        let shared = &self.shared;
        let mut held = shared.held();
        if !held.has_begun {
            held.has_begun = true;
            let shared = Arc::clone(shared);
            let begun = std::thread::Builder::new().name("kafka-token".into()).spawn(move || shared.keep());
            begun.map_err(|error| format!("no thread to fetch a token: {error}"))?;
        }
        let is_empty = |held: &mut Held| held.token.is_none() && held.fault.is_none();
        let (held, _) = shared.changed.wait_timeout_while(held, FIRST_PATIENCE, is_empty).unwrap_or_else(PoisonError::into_inner);
        let valid = held.token.as_ref().filter(|token| token.expires > (shared.now)());
        match (valid, &held.fault) {
            (Some(token), _) => Ok(token.handed_out()),
            (None, Some(fault)) => Err(fault.clone()),
            (None, None) => Err(format!("the token endpoint {} has not answered yet", shared.endpoint.name())),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.held().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let now = (self.now)();
            let answer = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(self.endpoint.ask(now)),
                Err(error) => Err(format!("no runtime to fetch a token: {error}")),
            };
            let mut held = self.held();
            let wait = match answer {
                Ok(token) => {
                    let life = u64::try_from((token.expires.0 - now.0) * RENEW_AFTER / 100).unwrap_or(0);
                    held.token = Some(token);
                    held.fault = None;
                    pause = FIRST_PAUSE;
                    Duration::from_millis(life).max(LEAST_LIFE)
                }
                Err(fault) => {
                    if held.fault.as_ref() != Some(&fault) {
                        tracing::warn!(target: "driftline::kafka", "{fault}");
                    }
                    held.fault = Some(fault);
                    let wait = pause;
                    pause = (pause * 2).min(GREATEST_PAUSE);
                    wait
                }
            };
            self.changed.notify_all();
            let over = |held: &mut Held| !held.is_over;
            let (held, _) = self.changed.wait_timeout_while(held, wait, over).unwrap_or_else(PoisonError::into_inner);
            if held.is_over {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A token endpoint that gives these answers one after another, then closes.
    fn endpoint(answers: Vec<(u16, &'static str)>) -> (Endpoint, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/token?tenant=hunter3", listener.local_addr().unwrap())).unwrap();
        let (heard, hears) = sync_channel(16);
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !String::from_utf8_lossy(&request).contains("grant_type") {
                    let read = stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "{}", String::from_utf8_lossy(&request));
                    request.extend_from_slice(&buffer[..read]);
                }
                heard.send(String::from_utf8(request).unwrap()).unwrap();
                write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        let endpoint = Endpoint {
            url,
            id: "me".into(),
            secret: SecretString::from("hunter2"),
            scope: Some("kafka read".into()),
            authorities: Authorities::System,
        };
        (endpoint, hears)
    }

    #[allow(clippy::disallowed_methods)] // the token lives by the clock
    fn now() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }

    #[test]
    fn a_token_is_asked_for_once_and_renewed_before_it_expires() {
        let (endpoint, hears) =
            endpoint(vec![(200, r#"{"access_token":"first","expires_in":2}"#), (200, r#"{"access_token":"second","expires_in":"3600"}"#)]);
        let keeper = Keeper::new(endpoint, now);
        assert_eq!(keeper.token().unwrap().token, "first");
        assert_eq!(keeper.token().unwrap().token, "first");
        let request = hears.recv().unwrap();
        assert!(request.contains("basic bWU6aHVudGVyMg==") || request.contains("Basic bWU6aHVudGVyMg=="), "{request}");
        assert!(request.ends_with("grant_type=client_credentials&scope=kafka+read"), "{request}");
        hears.recv_timeout(Duration::from_secs(20)).expect("it is renewed");
        let renewed = std::iter::repeat_with(|| keeper.token().map(|token| token.token))
            .inspect(|_| std::thread::yield_now())
            .take(1_000_000)
            .any(|token| token.is_ok_and(|token| token == "second"));
        assert!(renewed);
    }

    #[test]
    fn a_refusal_is_told_without_the_secret_and_tried_again() {
        let refusal = r#"{"error":"invalid_client","error_description":"not hunter2"}"#;
        let (endpoint, _hears) = endpoint(vec![(401, refusal), (200, r#"{"access_token":"late","expires_in":60}"#)]);
        let keeper = Keeper::new(endpoint, || Timestamp(1_700_000_000_000));
        let refused = keeper.token().map(|_| ()).unwrap_err();
        assert!(refused.ends_with("/token refuses with 401 (invalid_client: not <redacted>)"), "{refused}");
        assert!(!refused.contains("hunter"), "{refused}");
        let held = keeper.shared.held();
        let (held, _) = keeper.shared.changed.wait_timeout_while(held, Duration::from_secs(20), |held| held.token.is_none()).unwrap();
        drop(held);
        assert_eq!(keeper.token().unwrap().token, "late");
        assert!(!format!("{keeper:?}").contains("hunter"));
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        let (endpoint, _hears) = endpoint(vec![(200, r#"{"token":"hunter2"}"#)]);
        let keeper = Keeper::new(endpoint, || Timestamp(0));
        assert!(keeper.token().map(|_| ()).unwrap_err().ends_with("answers without access_token"));
    }
}
