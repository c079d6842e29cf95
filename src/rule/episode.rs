//! The name of an incident, from firing to resolved: derived, never drawn, so that two owners of a model, a restart and a
//! replay give the same one.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::event::{Segment, Timestamp};

/// The alphabet of ULIDs: Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What an episode is about. Neither the severity nor any templated label belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Name of the rule group.
    pub group: &'a str,
    /// Name of the alert.
    pub alert: &'a str,
    /// Labels that come from `each`, by name, such as `feature`; sorted here.
    pub each: &'a [(&'a str, &'a str)],
    /// The segment; empty for all events.
    pub segment: &'a Segment,
    /// The model's version; "" where events name none.
    pub version: &'a str,
}

/// The episode that went firing at the window that ends at `onset`: a ULID of 26 characters.
///
/// Its first 48 bits are `onset` in milliseconds since the Unix epoch (0 before it). The other 80 are the first 80 bits of
/// a SHA-256 over the parts in the order of [`Identity`]: every text as its length in bytes (u64, big endian) and its UTF-8
/// bytes, every list as the number of its pairs (u64, big endian) and then name and value of each. So no two identities
/// have the same encoding.
#[must_use]
pub fn id(onset: Timestamp, identity: &Identity<'_>) -> String {
    let mut hash = Sha256::new();
    for text in [identity.model, identity.group, identity.alert] {
        add_text(&mut hash, text);
    }
    let mut each = identity.each.to_vec();
    each.sort_unstable();
    hash.update((each.len() as u64).to_be_bytes());
    for (name, value) in each {
        add_text(&mut hash, name);
        add_text(&mut hash, value);
    }
    let mut segment: Vec<&(Arc<str>, Arc<str>)> = identity.segment.0.iter().collect();
    segment.sort_unstable();
    hash.update((segment.len() as u64).to_be_bytes());
    for (name, value) in segment {
        add_text(&mut hash, name);
        add_text(&mut hash, value);
    }
    add_text(&mut hash, identity.version);

    let milliseconds = u64::try_from(onset.0).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
    let mut bits = u128::from(milliseconds) << 80;
    for (index, byte) in hash.finalize().iter().take(10).enumerate() {
        bits |= u128::from(*byte) << (72 - 8 * index);
    }
    encode(bits)
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn encode(bits: u128) -> String {
    (0..26)
        .map(|place| {
            let digit = (bits >> (125 - 5 * place)) & 31;
            ALPHABET.get(usize::try_from(digit).unwrap_or(0)).map_or('0', |letter| char::from(*letter))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(pairs: &[(&str, &str)]) -> Segment {
        Segment(pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect())
    }

    fn of(each: &[(&str, &str)], pairs: &[(&str, &str)], version: &str) -> String {
        let onset = Timestamp::parse_rfc3339("2026-11-22T11:00:00Z").unwrap();
        id(onset, &Identity { model: "loan", group: "loan-drift", alert: "FeaturePSI", each, segment: &segment(pairs), version })
    }

    /// Made with Python 3: hashlib.sha256 over the encoding above, struct.pack(">Q"), and base 32 of
    /// (1795345200000 << 80) | `int.from_bytes(digest[:10], "big")`.
    #[test]
    fn golden() {
        assert_eq!(of(&[("feature", "age")], &[("region", "eu")], "3"), "01M81EKCW056BHBWTPSY7KY8ZW");
        assert_eq!(of(&[], &[], ""), "01M81EKCW0YN1CAZZYWCMQZMFT");
    }

    #[test]
    fn the_time_can_be_read_off_and_sorts() {
        let early = of(&[], &[], "");
        assert_eq!(early.len(), 26);
        let late = id(
            Timestamp(4_000_000_000_000),
            &Identity { model: "a", group: "b", alert: "c", each: &[], segment: &segment(&[]), version: "" },
        );
        assert!(early < late);
        assert_eq!(encode(0), "0".repeat(26));
        assert_eq!(encode(u128::MAX), format!("7{}", "Z".repeat(25)));
    }

    #[test]
    fn nothing_runs_together() {
        let ids = [
            of(&[("feature", "age")], &[], ""),
            of(&[], &[("feature", "age")], ""),
            of(&[("featurea", "ge")], &[], ""),
            of(&[], &[], "age"),
            of(&[("feature", "age")], &[], "1"),
            of(&[("feature", "age"), ("x", "y")], &[], ""),
        ];
        let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(of(&[("a", "1"), ("b", "2")], &[], ""), of(&[("b", "2"), ("a", "1")], &[], ""));
    }
}
