//! Signatures of the Standard Webhooks specification 1.0.0, symmetric scheme `v1`: HMAC-SHA256 over `id.timestamp.body`.
//! Reads no file and no clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use thiserror::Error;

use crate::event::{Span, Timestamp};

/// Prefix of a symmetric secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: at least and at most, as the specification says.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How far a timestamp may lie from the verifier's clock; the specification's reference libraries use the same.
const TOLERANCE: Span = Span(5 * Span::MINUTE.0);

/// What is wrong with secrets or with a signature. Never contains a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// No line of the file holds a secret.
    #[error("there is no secret in the file")]
    NoSecret,
    /// A line is not `whsec_` and base64.
    #[error("line {line} is not a secret; write whsec_ and the base64 of 24 to 64 bytes")]
    BadSecret {
        /// Counted from 1.
        line: usize,
    },
    /// The timestamp is not a number of seconds, or too far from the clock.
    #[error("the timestamp is not a recent number of seconds")]
    Timestamp,
    /// No signature fits.
    #[error("no signature fits")]
    Mismatch,
}

/// The secrets of one endpoint, newest first or in any order: a request is signed with each.
#[derive(Clone, Debug)]
pub struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Reads one secret a line; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// Where a line is not a secret, or there is none.
    pub fn parse(text: &str) -> Result<Secrets, SignatureError> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            decode(line).ok_or(SignatureError::BadSecret { line: index + 1 })?;
            secrets.push(SecretString::from(line));
        }
        if secrets.is_empty() { Err(SignatureError::NoSecret) } else { Ok(Secrets(secrets)) }
    }

    /// The value of `webhook-signature`: one `v1,...` per secret, separated by spaces.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().filter_map(|secret| {
            let code = authenticate(secret, id, &seconds.to_string(), body)?.finalize().into_bytes();
            Some(format!("v1,{}", STANDARD.encode(code)))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// Checks the three headers of a request against its body, as a receiver does.
    ///
    /// # Errors
    /// Where the timestamp is not recent or no signature fits any secret.
    pub fn verify(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let seconds: i64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
        let age = now - Timestamp(seconds.saturating_mul(Span::SECOND.0));
        if age > TOLERANCE || age < Span(-TOLERANCE.0) {
            return Err(SignatureError::Timestamp);
        }
        for signature in signatures.split(' ').filter_map(|text| text.strip_prefix("v1,")) {
            let Ok(code) = STANDARD.decode(signature) else { continue };
            for secret in &self.0 {
                // Compared in constant time.
                if authenticate(secret, id, timestamp, body).is_some_and(|mac| mac.verify_slice(&code).is_ok()) {
                    return Ok(());
                }
            }
        }
        Err(SignatureError::Mismatch)
    }
}

fn decode(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix(PREFIX)?).ok().filter(|bytes| SECRET_BYTES.contains(&bytes.len()))
}

fn authenticate(secret: &SecretString, id: &str, seconds: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&decode(secret.expose_secret())?).ok()?;
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_ZHJpZnQtYWdlbnQtdGVzdC1zZWNyZXQtMzJieXRlcyE=";
    const ID: &str = "msg_01JD9Z0000000000000000000A";
    const SECONDS: i64 = 1_795_345_200;
    const BODY: &[u8] = br#"{"type":"drift.alert.firing","timestamp":"2026-11-22T11:00:00Z","data":{"rule":"FeaturePSI"}}"#;
    // Webhook(SECRET).sign(ID, datetime.fromtimestamp(SECONDS, UTC), BODY), standardwebhooks 1.1.0 of Python.
    const SIGNATURE: &str = "v1,Ws5qjT4pv/vQglG0rSX5z4TvbNjqbLFpchmC1aQJBH4=";

    #[test]
    fn signs_as_the_reference_library_does() {
        assert_eq!(Secrets::parse(SECRET).unwrap().sign(ID, SECONDS, BODY), SIGNATURE);
    }

    #[test]
    fn verifies_any_secret_of_a_rotation_and_nothing_else() {
        let other = format!("whsec_{}", STANDARD.encode([7_u8; 24]));
        let both = Secrets::parse(&format!("# rotation of May\n{other}\n\n{SECRET}\n")).unwrap();
        let signed = both.sign(ID, SECONDS, BODY);
        assert_eq!(signed.split(' ').count(), 2);
        let now = Timestamp(SECONDS * 1000 + 4 * 60_000);
        let seconds = SECONDS.to_string();
        for reader in [SECRET, other.as_str()] {
            let reader = Secrets::parse(reader).unwrap();
            assert_eq!(reader.verify(ID, &seconds, &signed, BODY, now), Ok(()));
            assert_eq!(reader.verify("msg_other", &seconds, &signed, BODY, now), Err(SignatureError::Mismatch));
            assert_eq!(reader.verify(ID, &seconds, &signed, b"{}", now), Err(SignatureError::Mismatch));
            assert_eq!(reader.verify(ID, &seconds, &signed, BODY, now + Span::HOUR), Err(SignatureError::Timestamp));
        }
    }

    #[test]
    fn a_bad_secret_is_named_by_its_line_only() {
        let fault = Secrets::parse(&format!("{SECRET}\nwhsec_hunter2")).unwrap_err();
        assert_eq!(fault, SignatureError::BadSecret { line: 2 });
        assert!(!format!("{fault} {:?}", Secrets::parse(SECRET)).contains("ZHJpZ"));
        assert_eq!(Secrets::parse("# nothing\n").unwrap_err(), SignatureError::NoSecret);
    }
}
