//! Who may ask for what: host names, bearer tokens, and what is open where.
//!
//! Reading is open on loopback. What changes state wants the token everywhere, and so does reading beyond loopback unless
//! the settings open it. The probes `/livez` and `/readyz` are open always: a kubelet has no token.

use std::net::IpAddr;
use std::path::Path;

use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};

use super::reply::failure;
use super::{Error, Settings};

/// Largest token file in bytes: a token is a line, not a document.
pub const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// The rules of access of one listening server.
#[derive(Clone, Debug)]
pub struct Access {
    settings: Settings,
    loopback: bool,
}

/// What a request has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The token, as bearer or, for a browser, as the password of basic authentication.
    Read,
    /// The token as bearer: a browser must not be able to send it along by itself.
    Change,
}

impl Access {
    /// The rules for a server with these settings that listens on `bound`.
    ///
    /// # Errors
    /// [`Error::Token`] where a token file is named and cannot be used now.
    pub fn new(settings: Settings, bound: IpAddr) -> Result<Access, Error> {
        if let Some(path) = &settings.token_file {
            read_token(path).map_err(|reason| Error::Token { path: path.clone(), reason })?;
        }
        Ok(Access { settings, loopback: bound.is_loopback() })
    }

    /// Whether the server listens on loopback only.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// What a request of this method and path has to show.
    pub fn need(&self, method: &Method, path: &str) -> Need {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/livez" | "/readyz" if reads => Need::Nothing,
            _ if !reads => Need::Change,
            _ if self.loopback || self.settings.open_reads => Need::Nothing,
            _ => Need::Read,
        }
    }

    /// The answer that refuses a request, or `None` where it may pass. Reads the token file where a token is needed.
    ///
    /// 403 for a strange `Host`, 401 for a missing or wrong token, 403 where there is no token to match.
    pub fn refuse(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        // A page elsewhere can make a browser resolve its own name to 127.0.0.1; the Host header still carries that name.
        if self.loopback && !self.knows_host(headers.get(HOST)) {
            return Some(failure(StatusCode::FORBIDDEN, "forbidden", "the Host header does not name this machine's loopback"));
        }
        let need = self.need(method, path);
        if need == Need::Nothing {
            return None;
        }
        let Some(file) = &self.settings.token_file else {
            return Some(failure(StatusCode::FORBIDDEN, "forbidden", "this needs a bearer token, and http.token_file is not set"));
        };
        let expected = match read_token(file) {
            Ok(token) => token,
            Err(reason) => {
                let error = format!("the token file cannot be used: {reason}");
                return Some(failure(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error));
            }
        };
        match headers.get(AUTHORIZATION).and_then(|value| presented(value, need)) {
            Some(token) if same(token.expose_secret(), expected.expose_secret()) => None,
            Some(_) => Some(challenge(need, "the token is wrong")),
            None => Some(challenge(need, "this needs Authorization: Bearer with the token of http.token_file")),
        }
    }

    fn knows_host(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = host_name(host);
        let listens = host_name(&self.settings.listen);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || (!listens.is_empty() && name.eq_ignore_ascii_case(listens))
            || self.settings.allowed_hosts.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
    }
}

/// The name of `name:port`, `[v6]:port`, `name` or `v6`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// The token a request shows, or `None` where it shows none of a kind that counts here.
fn presented(header: &HeaderValue, need: Need) -> Option<SecretString> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().into());
    }
    if need == Need::Read && scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
        return Some(String::from_utf8(decoded).ok()?.split_once(':')?.1.into());
    }
    None
}

/// Compares in a time that depends on the lengths only.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len() && left.bytes().zip(right.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn challenge(need: Need, error: &str) -> Response {
    let mut response = failure(StatusCode::UNAUTHORIZED, "unauthorized", error);
    response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"driftline\""));
    if need == Need::Read {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"driftline\", charset=\"UTF-8\""));
    }
    response
}

/// Reads a token file: its text without white space around it.
fn read_token(path: &Path) -> Result<SecretString, String> {
    let size = std::fs::metadata(path).map_err(|fault| fault.to_string())?.len();
    if size > MAX_TOKEN_BYTES {
        return Err(format!("it has {size} bytes, the limit is {MAX_TOKEN_BYTES}"));
    }
    let text = std::fs::read_to_string(path).map_err(|fault| fault.to_string())?;
    match text.trim() {
        "" => Err("it is empty".into()),
        token => Ok(token.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(bound: &str, open_reads: bool) -> Access {
        let settings = Settings { open_reads, allowed_hosts: vec!["drift.example".into()], ..Settings::default() };
        Access::new(settings, bound.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_is_needed_depends_on_where_it_listens() {
        let post = (&Method::POST, "/-/reload");
        for (server, read) in
            [(access("127.0.0.1", false), Need::Nothing), (access("0.0.0.0", false), Need::Read), (access("0.0.0.0", true), Need::Nothing)]
        {
            assert_eq!(server.need(&Method::GET, "/metrics"), read);
            assert_eq!(server.need(&Method::GET, "/livez"), Need::Nothing);
            assert_eq!(server.need(&Method::HEAD, "/readyz"), Need::Nothing);
            assert_eq!(server.need(&Method::POST, "/readyz"), Need::Change);
            assert_eq!(server.need(post.0, post.1), Need::Change);
        }
    }

    #[test]
    fn on_loopback_only_known_host_names_are_served() {
        let server = access("127.0.0.1", false);
        let knows = |host: &str| server.knows_host(Some(&HeaderValue::from_str(host).unwrap()));
        for good in ["localhost", "LOCALHOST:80", "127.0.0.1:9464", "127.0.0.2", "[::1]:9464", "drift.example:443"] {
            assert!(knows(good), "{good} was refused");
        }
        for bad in ["evil.example", "evil.example:9464", "10.0.0.1:9464", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!knows(bad), "{bad} was served");
        }
        assert!(server.knows_host(None));
    }

    #[test]
    fn a_password_counts_for_reading_only() {
        let basic = HeaderValue::from_str(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:s:ecret"))).unwrap();
        assert_eq!(presented(&basic, Need::Read).unwrap().expose_secret(), "s:ecret");
        assert!(presented(&basic, Need::Change).is_none());
        let bearer = HeaderValue::from_static("bearer  s:ecret ");
        assert_eq!(presented(&bearer, Need::Change).unwrap().expose_secret(), "s:ecret");
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab") && same("", ""));
    }
}
