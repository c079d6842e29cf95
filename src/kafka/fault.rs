//! What is wrong with a client or its connection, in words for the one who has to mend it. Never with the value of a property.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

/// What is wrong with a client, in words. librdkafka's own show the value of the property that it does not take.
#[must_use]
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => format!("librdkafka has no property '{key}'"),
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka does not take this value of '{key}'"),
        other => other.to_string(),
    }
}

/// What librdkafka tells of a connection, without its timings, and the way out where there is a usual one.
#[must_use]
pub fn explain(error: &KafkaError, reason: &str) -> String {
    let reason = without_timing(reason);
    match way_out(error.rdkafka_error_code(), reason) {
        Some(way_out) => format!("{reason}; {way_out}"),
        None => reason.to_owned(),
    }
}

/// Whether trying again without a change cannot help: credentials or certificates were refused.
#[must_use]
pub(super) fn is_refusal(error: &KafkaError, reason: &str) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)) || wants_certificate(reason)
}

/// `(after 12ms in state AUTH_REQ, 3 identical error(s) suppressed)` makes every message another one.
pub(super) fn without_timing(reason: &str) -> &str {
    reason.split_once(" (after ").map_or(reason, |(what, _)| what)
}

fn way_out(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<&'static str> {
    let says = |part: &str| reason.contains(part);
    if says("Failed to acquire") {
        // What went wrong with a token was told by whoever fetched it.
        return None;
    }
    if wants_certificate(reason) {
        return Some("the broker wants a certificate that it trusts: set ssl.certificate.location and ssl.key.location");
    }
    Some(match code? {
        RDKafkaErrorCode::SSL if says("certificate verify failed") => {
            "the broker's certificate is not signed by an authority of ssl.ca.location, or is not for this host name"
        }
        RDKafkaErrorCode::SSL if says("wrong version number") || says("packet length too long") => {
            "the broker does not speak TLS at this port"
        }
        RDKafkaErrorCode::Authentication if says("Unsupported") || says("not enabled") => "see which sasl.mechanism the broker offers",
        RDKafkaErrorCode::Authentication => "the broker refuses the credentials",
        RDKafkaErrorCode::Resolve => "see whether kafka.bootstrap_servers names the host as the network knows it",
        _ => return None,
    })
}

/// A broker that wants a certificate says so only after the handshake, on a connection that seemed to be made.
fn wants_certificate(reason: &str) -> bool {
    ["alert bad certificate", "alert certificate required", "alert unknown ca", "alert certificate unknown", "alert handshake failure"]
        .into_iter()
        .any(|alert| reason.contains(alert))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_without_its_timing_and_with_a_way_out() {
        let error = KafkaError::Global(RDKafkaErrorCode::SSL);
        let reason = "ssl://localhost:9/1: SSL handshake failed: certificate verify failed (after 4ms in state SSL_HANDSHAKE)";
        let told = explain(&error, reason);
        assert!(
            told.starts_with("ssl://localhost:9/1: SSL handshake failed: certificate verify failed; the broker's certificate"),
            "{told}"
        );
        assert!(!told.contains("4ms"), "{told}");
        let other = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        assert_eq!(explain(&other, "1/1 brokers are down"), "1/1 brokers are down");
        assert!(is_refusal(&error, "") && !is_refusal(&other, "1/1 brokers are down"));
        let alert = "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42";
        assert!(explain(&other, alert).ends_with("set ssl.certificate.location and ssl.key.location") && is_refusal(&other, alert));
    }
}
