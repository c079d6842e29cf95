//! A time at which something of an id is due: to be forgotten, or to be given up.

use crate::event::Timestamp;

use super::codec;
use super::half::RecordId;
use super::ordered::Kept;

/// When, and of which id. There is nothing more to say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due;

impl Kept for Due {
    type Key = (Timestamp, RecordId);
    const LEAST: (Timestamp, RecordId) = (Timestamp(i64::MIN), RecordId(0));

    fn encode_key((at, id): &Self::Key) -> Vec<u8> {
        [&codec::ordered(*at)[..], &id.0.to_be_bytes()].concat()
    }

    fn decode_key(bytes: &[u8]) -> Option<Self::Key> {
        let (at, id) = bytes.split_first_chunk()?;
        Some((codec::instant(*at), RecordId(u128::from_be_bytes(id.try_into().ok()?))))
    }

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(bytes: &[u8]) -> Option<Due> {
        bytes.is_empty().then_some(Due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_come_back() {
        let keys = [
            (Timestamp(-1), RecordId(u128::MAX)),
            (Timestamp(0), RecordId(1)),
            (Timestamp(0), RecordId(256)),
            (Timestamp(300), RecordId(0)),
        ];
        assert!(keys.iter().map(Due::encode_key).is_sorted());
        assert!(keys.iter().all(|key| Due::decode_key(&Due::encode_key(key)) == Some(*key)));
        assert_eq!(Due::decode_key(&[0; 25]), None);
    }
}
