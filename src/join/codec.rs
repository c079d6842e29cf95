//! How a ledger writes numbers: big endian in keys, so that bytes are in the order of the numbers; short in values.
//!
//! It does not know what the numbers mean. Reading gives `None` where bytes are missing or do not fit, and never panics.

use crate::event::Timestamp;

/// Most bytes of a number of 64 bits, 7 of them in each byte.
const LONGEST: u32 = 10;

/// An instant in 8 bytes whose order is that of time.
pub(super) fn ordered(instant: Timestamp) -> [u8; 8] {
    // The sign is turned over, so that what is before the epoch comes first.
    (instant.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The instant that was written as these 8 bytes.
pub(super) fn instant(bytes: [u8; 8]) -> Timestamp {
    Timestamp((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// Writes a number, 7 bits a byte, the low ones first.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        bytes.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    bytes.push(low);
}

/// Writes a number that may be negative; those near zero are short.
pub(super) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put(bytes, (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
}

/// Writes the bits of a float.
pub(super) fn put_float(bytes: &mut Vec<u8>, number: f64) {
    bytes.extend_from_slice(&number.to_bits().to_le_bytes());
}

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..LONGEST {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                return None;
            }
            number |= shifted;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub fn short(&mut self) -> Option<u16> {
        self.number()?.try_into().ok()
    }

    pub fn size(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    pub fn float(&mut self) -> Option<f64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(f64::from_bits(u64::from_le_bytes(*first)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_time() {
        let times = [i64::MIN, -7_000_000, -1, 0, 1, 255, 256, 1_700_000_000_000, i64::MAX];
        let keys: Vec<[u8; 8]> = times.iter().map(|at| ordered(Timestamp(*at))).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().zip(times).all(|(key, at)| instant(*key) == Timestamp(at)));
    }

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        for number in [0, 1, 63, -64, 64, 300, -300, 1_700_000_000_000, i64::MIN, i64::MAX] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            assert_eq!(bytes.len() == 1, (-64..64).contains(&number), "{number}");
            let mut reader = Reader(&bytes);
            assert_eq!(reader.signed(), Some(number));
            assert!(reader.is_empty());
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).signed(), None, "{number} was cut off");
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(Reader(&[0xff; 11]).number(), None);
        assert_eq!(Reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).number(), Some(u64::MAX));
        assert_eq!(Reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).number(), None);
    }
}
