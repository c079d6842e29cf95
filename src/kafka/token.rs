//! Where the tokens of SASL OAUTHBEARER come from: a token endpoint (RFC 6749, client credentials), a file that somebody
//! else keeps fresh, or the unsecured ones that librdkafka makes for tests.
//!
//! The settings have librdkafka's names. Its own client for token endpoints needs libcurl, which is not in this build.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::event::Timestamp;

use super::connection::PropertyFault;
use super::keeper::{Authorities, Endpoint, Keeper};

/// The property that says who fetches tokens.
const METHOD: &str = "sasl.oauthbearer.method";
/// The property that names the endpoint, or the file.
const URL: &str = "sasl.oauthbearer.token.endpoint.url";
/// The two names of the user's name, and of the secret.
const ID: [&str; 2] = ["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"];
const SECRET: [&str; 2] = ["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"];
const SCOPE: &str = "sasl.oauthbearer.scope";
const GRANT: &str = "sasl.oauthbearer.grant.type";
/// Authorities that the endpoint's certificate is judged by.
const CA_FILE: &str = "https.ca.location";
const CA_PEM: &str = "https.ca.pem";
/// How long a token is believed in that does not say how long it lives.
const UNTOLD_LIFE_MS: i64 = 5 * 60_000;
/// Largest file of a token in bytes; a token that is longer no broker takes.
const MAX_FILE: u64 = 64 * 1024;
/// How long an unsecured token lives where nothing is said, in seconds: as librdkafka's own.
const UNSECURED_LIFE_S: i64 = 3600;

/// Who makes tokens.
#[derive(Clone, Debug)]
pub(super) enum Tokens {
    /// Nobody but librdkafka itself.
    Unsecured { now: fn() -> Timestamp },
    /// Somebody else, into a file.
    File { path: PathBuf, now: fn() -> Timestamp },
    /// An endpoint.
    Endpoint(Arc<Keeper>),
}

impl Tokens {
    /// Whether a property is for us: it says how to fetch tokens, and tokens are to be fetched.
    pub fn takes(key: &str, properties: &BTreeMap<String, SecretString>) -> bool {
        let of_tokens = key.starts_with("sasl.oauthbearer.") || key.starts_with("https.ca.");
        of_tokens && key != "sasl.oauthbearer.config" && is_oidc(properties)
    }

    pub fn from_properties(properties: &BTreeMap<String, SecretString>, now: fn() -> Timestamp) -> Result<Tokens, PropertyFault> {
        let text = |key: &str| properties.get(key).map(|value| value.expose_secret().to_owned());
        let fault = |key: &str, reason: &str| PropertyFault { key: key.to_owned(), reason: reason.to_owned() };
        if !is_oidc(properties) {
            return Ok(Tokens::Unsecured { now });
        }
        let served = [METHOD, URL, ID[0], ID[1], SECRET[0], SECRET[1], SCOPE, GRANT, CA_FILE, CA_PEM];
        for key in properties.keys().filter(|key| Tokens::takes(key, properties)) {
            if !served.contains(&key.as_str()) {
                return Err(fault(key, "not supported: tokens are fetched by client credentials, without extensions or assertions"));
            }
        }
        if text(GRANT).is_some_and(|grant| grant != "client_credentials") {
            return Err(fault(GRANT, "not supported; the only grant is client_credentials"));
        }
        let url = text(URL).ok_or_else(|| fault(METHOD, "oidc needs sasl.oauthbearer.token.endpoint.url"))?;
        let url = Url::parse(&url).map_err(|_| fault(URL, "not a URL"))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| fault(URL, "not the URL of a file on this machine"))?;
                return Ok(Tokens::File { path, now });
            }
            "https" | "http" if url.host().is_some() => {}
            _ => return Err(fault(URL, "must begin with https:, http: or file:")),
        }
        let one_of = |names: [&str; 2]| names.into_iter().find_map(|name| properties.get(name).cloned());
        let id = one_of(ID).ok_or_else(|| fault(METHOD, "oidc needs sasl.oauthbearer.client.id"))?;
        let secret = one_of(SECRET).ok_or_else(|| fault(METHOD, "oidc needs sasl.oauthbearer.client.secret"))?;
        // `probe` is librdkafka's word for those of the system.
        let authorities = match (text(CA_PEM), text(CA_FILE).filter(|path| path != "probe")) {
            (Some(pem), _) => Authorities::Pem(pem),
            (None, Some(path)) => Authorities::File(path.into()),
            (None, None) => Authorities::System,
        };
        let endpoint = Endpoint { url, id: id.expose_secret().to_owned(), secret, scope: text(SCOPE), authorities };
        Ok(Tokens::Endpoint(Arc::new(Keeper::new(endpoint, now))))
    }

    /// A token that is valid now.
    pub fn token(&self, config: Option<&str>) -> Result<OAuthToken, String> {
        match self {
            Tokens::Unsecured { now } => unsecured(config, now()),
            Tokens::File { path, now } => {
                let fault = |reason: String| format!("the token file {} {reason}", path.display());
                let size = std::fs::metadata(path).map_err(|error| fault(format!("cannot be read: {error}")))?.len();
                if size > MAX_FILE {
                    return Err(fault(format!("is larger than {MAX_FILE} bytes")));
                }
                let token = std::fs::read_to_string(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
                let token = Token::new(token.trim(), None, "driftline", now()).map_err(fault)?;
                Ok(token.handed_out())
            }
            Tokens::Endpoint(keeper) => keeper.token(),
        }
    }
}

fn is_oidc(properties: &BTreeMap<String, SecretString>) -> bool {
    properties.get(METHOD).is_some_and(|method| method.expose_secret().eq_ignore_ascii_case("oidc"))
}

/// A token and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    value: SecretString,
    principal: String,
    pub expires: Timestamp,
}

impl Token {
    /// Reads what a token says of itself, if it is a JWT. Its signature is for the broker to judge. `life` is what the endpoint
    /// says of it, in seconds.
    pub fn new(token: &str, life: Option<i64>, principal: &str, now: Timestamp) -> Result<Token, String> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds no token".to_owned());
        }
        let claims = claims(token).unwrap_or(Value::Null);
        let told = claims.get("exp").and_then(Value::as_f64);
        #[allow(clippy::cast_possible_truncation)] // seconds of a date
        let told = told.map(|seconds| Timestamp((seconds * 1000.0) as i64));
        let granted = life.map(|seconds| Timestamp(now.0.saturating_add(seconds.saturating_mul(1000))));
        let expires = told.into_iter().chain(granted).min().unwrap_or(Timestamp(now.0 + UNTOLD_LIFE_MS));
        if expires <= now {
            return Err(format!("holds a token that expired at {}", expires.rfc3339()));
        }
        let principal = claims.get("sub").and_then(Value::as_str).unwrap_or(principal).to_owned();
        Ok(Token { value: SecretString::from(token), principal, expires })
    }

    pub fn handed_out(&self) -> OAuthToken {
        OAuthToken { token: self.value.expose_secret().to_owned(), principal_name: self.principal.clone(), lifetime_ms: self.expires.0 }
    }
}

fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

/// The unsecured token of `sasl.oauthbearer.config`. librdkafka makes the first one; it asks the client for those that follow.
fn unsecured(config: Option<&str>, now: Timestamp) -> Result<OAuthToken, String> {
    let without = "SASL OAUTHBEARER needs sasl.oauthbearer.method: oidc with sasl.oauthbearer.token.endpoint.url";
    let values: BTreeMap<&str, &str> = config.unwrap_or_default().split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    let principal = *values.get("principal").ok_or_else(|| without.to_owned())?;
    let life = values.get("lifeSeconds").and_then(|life| life.parse().ok()).unwrap_or(UNSECURED_LIFE_S);
    let issued = now.0.div_euclid(1000);
    let mut claims = json!({ "iat": issued, "exp": issued + life });
    if let Some(claims) = claims.as_object_mut() {
        claims.insert((*values.get("principalClaimName").unwrap_or(&"sub")).to_owned(), json!(principal));
        if let Some(scope) = values.get("scope") {
            let scopes: Vec<&str> = scope.split(',').collect();
            claims.insert((*values.get("scopeClaimName").unwrap_or(&"scope")).to_owned(), json!(scopes));
        }
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims));
    Ok(OAuthToken { token, principal_name: principal.to_owned(), lifetime_ms: (issued + life) * 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretString> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect()
    }

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn what_is_missing_or_not_supported_is_named() {
        let base = [(METHOD, "oidc"), (URL, "https://login.example/token"), (ID[0], "me"), (SECRET[1], "hunter2")];
        assert!(matches!(Tokens::from_properties(&properties(&base), || NOW), Ok(Tokens::Endpoint(_))));
        let fault = |without: &str, more: &[(&str, &str)]| {
            let mut properties = properties(&base);
            properties.remove(without);
            properties.extend(more.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))));
            let fault = Tokens::from_properties(&properties, || NOW).unwrap_err();
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
            fault.to_string()
        };
        assert!(fault(URL, &[]).contains("oidc needs sasl.oauthbearer.token.endpoint.url"));
        assert!(fault(ID[0], &[]).contains("oidc needs sasl.oauthbearer.client.id"));
        assert!(fault(SECRET[1], &[]).contains("oidc needs sasl.oauthbearer.client.secret"));
        assert!(fault("", &[(URL, "ftp://hunter2")]).starts_with("sasl.oauthbearer.token.endpoint.url: must begin"));
        assert!(fault("", &[(GRANT, "urn:ietf:params:oauth:grant-type:jwt-bearer")]).contains("the only grant"));
        assert!(fault("", &[("sasl.oauthbearer.extensions", "a=b")]).starts_with("sasl.oauthbearer.extensions: not supported"));
        let elsewhere = properties(&[("https.ca.location", "x"), ("sasl.oauthbearer.config", "principal=a")]);
        assert!(elsewhere.keys().all(|key| !Tokens::takes(key, &elsewhere)));
    }

    #[test]
    fn a_token_lives_as_long_as_it_says_and_no_longer_than_was_granted() {
        let token = |claims: &Value, life| Token::new(&jwt(claims), life, "me", NOW);
        let exp = NOW.0 / 1000 + 100;
        let named = token(&json!({ "exp": exp, "sub": "alice" }), Some(300)).unwrap();
        assert_eq!((named.expires.0, named.principal.as_str()), (exp * 1000, "alice"));
        let granted = token(&json!({ "exp": exp }), Some(50)).unwrap();
        assert_eq!((granted.expires, granted.principal.as_str()), (Timestamp(NOW.0 + 50_000), "me"));
        let opaque = Token::new("opaque", None, "me", NOW).unwrap();
        assert_eq!(opaque.expires, Timestamp(NOW.0 + UNTOLD_LIFE_MS));
        let expired = token(&json!({ "exp": exp - 100 }), None).unwrap_err();
        assert_eq!(expired, "holds a token that expired at 2023-11-14T22:13:20.000Z");
        assert!(Token::new("two words", None, "me", NOW).is_err());
        assert!(!format!("{opaque:?}").contains("opaque"));
    }

    #[test]
    fn a_token_file_is_read_again_each_time() {
        let path = std::env::temp_dir().join(format!("driftline-token-{}", std::process::id()));
        let url = Url::from_file_path(&path).unwrap().to_string();
        let tokens = Tokens::from_properties(&properties(&[(METHOD, "oidc"), (URL, &url)]), || NOW).unwrap();
        let missing = tokens.token(None).map(|_| ()).unwrap_err();
        assert!(missing.contains("cannot be read"), "{missing}");
        for name in ["first", "second"] {
            std::fs::write(&path, format!("{}\n", jwt(&json!({ "exp": NOW.0 / 1000 + 60, "sub": name })))).unwrap();
            assert_eq!(tokens.token(None).unwrap().principal_name, name);
        }
        std::fs::write(&path, " \n").unwrap();
        assert!(tokens.token(None).map(|_| ()).unwrap_err().ends_with("holds no token"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn unsecured_tokens_are_those_that_librdkafka_makes() {
        let token = unsecured(Some("principal=alice lifeSeconds=60 scope=a,b"), NOW).unwrap();
        assert_eq!(
            claims(&token.token).unwrap(),
            json!({ "sub": "alice", "iat": 1_700_000_000, "exp": 1_700_000_060, "scope": ["a", "b"] })
        );
        assert_eq!(token.lifetime_ms, 1_700_000_060_000);
        assert!(unsecured(None, NOW).is_err_and(|error| error.contains("sasl.oauthbearer.method: oidc")));
    }
}
