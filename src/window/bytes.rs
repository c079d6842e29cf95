//! Counts and exact sums as few bytes, and back without loss.
//!
//! Counts go in blocks of [`BLOCK`]: the width of the widest difference to the least count of the block, that count, and the
//! differences, packed bit by bit. Bins made from quantiles have counts that are alike, so that a difference takes half the
//! bits of a count. Blocks of nothing but zeros are counted.
//!
//! ```text
//! block    0x00 varint(k)                      this block and k further ones are zero (the last may be short)
//!          width                               differences to 0
//!          0x80 | width  varint(least)         differences to the least
//! sum      varint(zigzag(narrow) << 1 | wide)  and 18 limbs of 8 bytes where there are large terms
//! ```
//! All integers are little endian. Equal numbers are equal bytes. Knows nothing of panes.

use thiserror::Error;

use crate::stats::exact::{ExactSum, LIMBS};

/// Counts of a block: few enough that one large count widens few others, and many enough that its head weighs little.
pub const BLOCK: usize = 32;
/// Set in the head of a block whose least count is not zero.
const HAS_LEAST: u8 = 0x80;

/// Bytes that no pane was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes are not those of a pane")]
pub struct Malformed;

/// Appends an integer, seven bits a byte, the least first.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    put_long_varint(out, u128::from(value));
}

fn put_long_varint(out: &mut Vec<u8>, mut value: u128) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends an exact sum.
pub(super) fn put_sum(out: &mut Vec<u8>, sum: &ExactSum) {
    let (narrow, wide) = sum.parts();
    let zigzag = (narrow << 1) ^ (narrow >> 127);
    put_long_varint(out, (zigzag.cast_unsigned() << 1) | u128::from(wide.is_some()));
    for limb in wide.into_iter().flatten() {
        out.extend_from_slice(&limb.to_le_bytes());
    }
}

/// Appends counts, whose number the reader must know.
#[allow(clippy::cast_possible_truncation)] // A width is at most 64, and bits are cut off on purpose.
pub(super) fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    let mut zeros = 0;
    for block in counts.chunks(BLOCK) {
        let (least, most) = block.iter().fold((u64::MAX, 0), |(least, most), count| (least.min(*count), most.max(*count)));
        if most == 0 {
            zeros += 1;
            continue;
        }
        put_zeros(out, &mut zeros);
        let width = u64::BITS - (most - least).leading_zeros();
        if least == 0 {
            out.push(width as u8);
        } else {
            out.push(width as u8 | HAS_LEAST);
            put_varint(out, least);
        }
        let (mut bits, mut held) = (0u128, 0);
        for count in block {
            bits |= u128::from(count - least) << held;
            held += width;
            if held >= u64::BITS {
                out.extend_from_slice(&(bits as u64).to_le_bytes());
                bits >>= u64::BITS;
                held -= u64::BITS;
            }
        }
        out.extend((bits as u64).to_le_bytes().into_iter().take(held.div_ceil(8) as usize));
    }
    put_zeros(out, &mut zeros);
}

fn put_zeros(out: &mut Vec<u8>, zeros: &mut u64) {
    if *zeros > 0 {
        out.push(0);
        put_varint(out, *zeros - 1);
        *zeros = 0;
    }
}

/// Reads what was put, from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// So many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An integer.
    ///
    /// # Errors
    /// Where the bytes end before it, or it has more than 64 bits.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        self.long_varint().and_then(|value| u64::try_from(value).map_err(|_| Malformed))
    }

    fn long_varint(&mut self) -> Result<u128, Malformed> {
        let (mut value, mut shift) = (0u128, 0);
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (bits << shift) >> shift != bits {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// An exact sum.
    pub(super) fn sum(&mut self) -> Result<ExactSum, Malformed> {
        let head = self.long_varint()?;
        let zigzag = head >> 1;
        let narrow = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        let mut wide = None;
        if head & 1 == 1 {
            let mut limbs = [0u64; LIMBS];
            for (limb, bytes) in limbs.iter_mut().zip(self.take(LIMBS * 8)?.chunks(8)) {
                *limb = word(bytes);
            }
            wide = Some(limbs);
        }
        ExactSum::from_parts(narrow, wide).ok_or(Malformed)
    }

    /// Adds the counts that were put to others.
    #[allow(clippy::cast_possible_truncation)] // What is cut off belongs to the counts after.
    pub(super) fn add_counts(&mut self, counts: &mut [u64]) -> Result<(), Malformed> {
        let mut blocks = counts.chunks_mut(BLOCK);
        while let Some(block) = blocks.next() {
            let head = self.take(1)?.first().copied().unwrap_or(0);
            if head == 0 {
                match usize::try_from(self.varint()?).map_err(|_| Malformed)? {
                    0 => {}
                    // The further ones, of which the last is the `k - 1`th to come.
                    more => drop(blocks.nth(more - 1).ok_or(Malformed)?),
                }
                continue;
            }
            let least = if head & HAS_LEAST == 0 { 0 } else { self.varint()? };
            let width = usize::from(head & !HAS_LEAST);
            if width > 64 {
                return Err(Malformed);
            }
            if width == 0 {
                block.iter_mut().for_each(|count| *count = count.saturating_add(least));
                continue;
            }
            let mut words = self.take((block.len() * width).div_ceil(8))?.chunks(8);
            let mask = u64::MAX >> (64 - width);
            let (mut bits, mut held) = (0u128, 0);
            for count in block {
                if held < width {
                    bits |= u128::from(words.next().map_or(0, word)) << held;
                    held += 64;
                }
                *count = count.saturating_add((bits as u64 & mask).saturating_add(least));
                bits >>= width;
                held -= width;
            }
        }
        Ok(())
    }
}

/// Up to eight bytes as an integer.
fn word(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count() -> impl Strategy<Value = u64> {
        prop_oneof![4 => Just(0u64), 4 => 0u64..40, 1 => 300u64..340, 1 => any::<u64>()]
    }

    fn read(bytes: &[u8], cells: usize) -> Result<Vec<u64>, Malformed> {
        let mut counts = vec![0; cells];
        let mut reader = Reader::new(bytes);
        reader.add_counts(&mut counts)?;
        if reader.rest().is_empty() { Ok(counts) } else { Err(Malformed) }
    }

    proptest! {
        #[test]
        fn counts_come_back(counts in prop::collection::vec(count(), 0..200), gap in 0usize..300) {
            let mut all = counts.clone();
            all.extend(std::iter::repeat_n(0, gap));
            all.extend(&counts);
            let mut bytes = Vec::new();
            put_counts(&mut bytes, &all);
            prop_assert_eq!(read(&bytes, all.len()), Ok(all.clone()));
            // Cut anywhere, they are no counts.
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut], all.len()), Err(Malformed));
            }
        }

        #[test]
        fn sums_come_back(terms in prop::collection::vec(prop_oneof![-1e3..1e3f64, -1e12..1e12f64, any::<f64>()], 0..9)) {
            let mut sum = ExactSum::default();
            terms.iter().for_each(|term| sum.add(*term));
            let mut bytes = Vec::new();
            put_sum(&mut bytes, &sum);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.sum(), Ok(sum));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), cells in 0usize..100) {
            let _ = read(&bytes, cells);
            let _ = Reader::new(&bytes).sum();
        }
    }

    #[test]
    fn widths_beyond_an_integer_are_refused() {
        assert_eq!(read(&[65, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), Err(Malformed));
        assert_eq!(read(&[64, 1, 0, 0, 0, 0, 0, 0, 0], 1), Ok(vec![1]));
    }

    #[test]
    fn counts_that_are_alike_take_few_bits() {
        let mut bytes = Vec::new();
        put_counts(&mut bytes, &(0..320).map(|cell| 1_000 + cell % 16).collect::<Vec<u64>>());
        assert_eq!(bytes.len(), 10 * (1 + 2 + 32 * 4 / 8));
        bytes.clear();
        put_counts(&mut bytes, &vec![0; 10_000]);
        assert_eq!(bytes.len(), 3);
    }
}
