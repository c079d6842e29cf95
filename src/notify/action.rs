//! Calls of actions: the HTTP requests that ask another system to retrain or to act otherwise. The request is rendered already;
//! this adds identity, authentication and the signature, and understands the answer. Budgets and holds were decided before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;
use super::request::{Call, HttpClient, Identity, read_secret_file};
use super::settings::{ActionSettings, Auth, SecretUrl, SettingsError, header_map};
use crate::event::Timestamp;
use crate::rule::message::ActionCall;

/// An answer that ends the call well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// The action was started by this call.
    Requested,
    /// The episode had started it before.
    Duplicate,
}

/// The `webhook-id` of a call, the same for every attempt.
#[must_use]
pub fn message_id(call: &ActionCall) -> String {
    let name: String = call.action.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("msg_{}_action_{name}", call.episode)
}

/// One action, ready to be called.
#[derive(Debug)]
pub(super) struct Action {
    settings: ActionSettings,
    headers: HeaderMap,
}

impl Action {
    pub fn new(settings: ActionSettings) -> Result<Action, SettingsError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(header_map(&settings.headers)?);
        Ok(Action { settings, headers })
    }

    /// Calls once. `now` is the time of this attempt.
    pub async fn perform(&self, client: &HttpClient, call: &ActionCall, now: Timestamp) -> Result<ActionOutcome, Failure> {
        let url = SecretUrl::parse(&call.url).map_err(|error| Failure::permanent(error.to_string()))?;
        let method =
            Method::from_bytes(call.method.to_ascii_uppercase().as_bytes()).map_err(|_| Failure::permanent("not an HTTP method"))?;
        // A null body is none: GET and DELETE of some schedulers want none.
        let body = if call.body.is_null() { Vec::new() } else { call.body.to_string().into_bytes() };
        let mut headers = self.headers.clone();
        let password = self.authenticate(&mut headers).await?;
        let identity = Identity { message: message_id(call), episode: &call.episode, signing: self.settings.signing.as_ref() };
        let mut request = Call::new(method, url.expose().clone(), headers, body, self.settings.timeout, identity, now).await?;
        request.secrets.extend(password);
        let answer = client.exchange(request, now).await?;
        let success = match self.settings.success.as_slice() {
            [] => (200..300).contains(&answer.status),
            listed => listed.contains(&answer.status),
        };
        if success {
            Ok(ActionOutcome::Requested)
        } else if self.settings.duplicate.contains(&answer.status) {
            Ok(ActionOutcome::Duplicate)
        } else {
            Err(answer.failure())
        }
    }

    /// Adds the authorization; gives back the password, which must not come back in an error.
    async fn authenticate(&self, headers: &mut HeaderMap) -> Result<Option<SecretString>, Failure> {
        let (text, secret) = match &self.settings.auth {
            Auth::None => return Ok(None),
            Auth::BearerFile(path) => {
                let token = read_secret_file(path).await?;
                (SecretString::from(format!("Bearer {}", token.expose_secret())), token)
            }
            Auth::Basic { username, password_file } => {
                let password = read_secret_file(password_file).await?;
                let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
                (SecretString::from(format!("Basic {}", STANDARD.encode(pair.expose_secret()))), password)
            }
        };
        let mut value =
            HeaderValue::from_str(text.expose_secret()).map_err(|_| Failure::retryable("the token or password is not fit for a header"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(Some(secret))
    }
}
