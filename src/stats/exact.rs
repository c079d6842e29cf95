//! Sums that are exact and do not depend on the order of their terms.
//!
//! A term of ordinary size is rounded once to a multiple of 2^-40 and added as an integer; a larger one goes, without any
//! rounding, into a wide two's-complement integer that covers the whole range of `f64`. Floating point appears again
//! only in [`ExactSum::value`]. Merging is integer addition: associative, commutative, with the empty sum as identity, so
//! one worker and sixteen give the same bytes.
//!
//! Callers scale their terms so that 2^-40 (9e-13) is negligible: moments are kept in baseline standard deviations.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Terms below this magnitude (2^22) are kept as multiples of 2^-40.
const NARROW_LIMIT: f64 = 4_194_304.0;
/// 2^40.
const NARROW_SCALE: f64 = 1_099_511_627_776.0;
/// Terms below this magnitude (2^11) are less than 2^51 units.
const SHORT_LIMIT: f64 = 2_048.0;
/// 1.5 x 2^52: what is added to it leaves its nearest integer, ties to even, in the low bits of the sum.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Limbs of 64 bits of the wide integer: a term of at least 2^22 is a multiple of 2^-30, the largest is below 2^1024, and 64 bits of
/// room take 2^64 terms: 30 + 1024 + 64 bits, and the sign.
pub const LIMBS: usize = 18;
/// 2^64 terms below 2^62 each; the bit to spare keeps merging from overflowing.
const NARROW_RANGE: u128 = 1 << 126;
/// The wide integer counts units of 2^-30.
const WIDE_EXPONENT: i32 = -30;

/// An exact, order-independent sum of finite numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactSum {
    narrow: i128,
    wide: Option<Box<Wide>>,
}

/// Two's complement, least significant limb first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wide([u64; LIMBS]);

impl ExactSum {
    /// Adds one term. Terms that are not finite are ignored; callers count those apart.
    #[inline]
    pub fn add(&mut self, term: f64) {
        if term.abs() < NARROW_LIMIT {
            self.narrow += i128::from(units(term));
        } else {
            self.add_wide(term, false);
        }
    }

    /// Adds a term and its square: what [`ExactSum::add`] does with both, with one look at their size for nearly all.
    #[inline]
    pub fn add_with_square(sum: &mut ExactSum, squares: &mut ExactSum, term: f64) {
        let square = term * term;
        // Then the term is below it, too.
        if square < SHORT_LIMIT {
            sum.narrow += i128::from(short_units(term * NARROW_SCALE));
            squares.narrow += i128::from(short_units(square * NARROW_SCALE));
        } else {
            ExactSum::add_large_with_square(sum, squares, term);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_large_with_square(sum: &mut ExactSum, squares: &mut ExactSum, term: f64) {
        sum.add(term);
        squares.add(term * term);
    }

    /// Takes one term back that was added before.
    #[inline]
    pub fn subtract(&mut self, term: f64) {
        if term.abs() < NARROW_LIMIT {
            self.narrow -= i128::from(units(term));
        } else {
            self.add_wide(term, true);
        }
    }

    /// Adds all terms of another sum.
    pub fn merge(&mut self, other: &ExactSum) {
        self.narrow += other.narrow;
        if let Some(theirs) = &other.wide {
            self.wide.get_or_insert_with(Wide::zero).add(&theirs.0);
            self.drop_empty_wide();
        }
    }

    /// Takes all terms of another sum back.
    pub fn take_back(&mut self, other: &ExactSum) {
        self.narrow -= other.narrow;
        if let Some(theirs) = &other.wide {
            let mut limbs = theirs.0;
            negate_limbs(&mut limbs);
            self.wide.get_or_insert_with(Wide::zero).add(&limbs);
            self.drop_empty_wide();
        }
    }

    /// The sum, rounded to the nearest `f64` (twice where there are large terms); infinite only beyond the range of `f64`.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn value(&self) -> f64 {
        let narrow = self.narrow as f64 / NARROW_SCALE;
        match &self.wide {
            None => narrow,
            Some(wide) => wide.value() + narrow,
        }
    }

    /// The sum as text that [`ExactSum::from_text`] reads back without loss: multiples of 2^-40 in decimal, and where large
    /// terms are in it, `:` and the multiples of 2^-30 in hexadecimal, two's complement.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.narrow.to_string();
        if let Some(wide) = &self.wide {
            text.push(':');
            for limb in wide.0.iter().rev() {
                let _ = write!(text, "{limb:016x}");
            }
        }
        text
    }

    /// The multiples of 2^-40, and where large terms are in it those of 2^-30: two's complement, least limb first.
    #[must_use]
    pub fn parts(&self) -> (i128, Option<&[u64; LIMBS]>) {
        (self.narrow, self.wide.as_ref().map(|wide| &wide.0))
    }

    /// The sum of what [`ExactSum::parts`] gave; `None` for sums no number of events could have.
    #[must_use]
    pub fn from_parts(narrow: i128, wide: Option<[u64; LIMBS]>) -> Option<ExactSum> {
        let mut sum = ExactSum { narrow, wide: wide.map(|limbs| Box::new(Wide(limbs))) };
        sum.drop_empty_wide();
        (narrow.unsigned_abs() < NARROW_RANGE).then_some(sum)
    }

    /// Reads what [`ExactSum::to_text`] wrote; `None` for anything else, and for sums no number of events could have.
    #[must_use]
    pub fn from_text(text: &str) -> Option<ExactSum> {
        let (narrow, wide) = text.split_once(':').map_or((text, None), |(narrow, wide)| (narrow, Some(wide)));
        let narrow: i128 = narrow.parse().ok().filter(|narrow: &i128| narrow.unsigned_abs() < NARROW_RANGE)?;
        let mut sum = ExactSum { narrow, wide: None };
        if let Some(digits) = wide {
            if digits.len() != LIMBS * 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let mut limbs = Wide::zero();
            for (index, limb) in limbs.0.iter_mut().rev().enumerate() {
                *limb = u64::from_str_radix(digits.get(index * 16..(index + 1) * 16)?, 16).ok()?;
            }
            sum.wide = Some(limbs);
            sum.drop_empty_wide();
        }
        Some(sum)
    }

    #[cold]
    fn add_wide(&mut self, term: f64, negate: bool) {
        if !term.is_finite() {
            return;
        }
        let bits = term.abs().to_bits();
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let exponent = (bits >> 52) as i32 - 1075;
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        #[allow(clippy::cast_sign_loss)]
        let shift = (exponent - WIDE_EXPONENT) as usize;
        let (limb, bit) = (shift / 64, shift % 64);
        let placed = u128::from(mantissa) << bit;
        let mut limbs = [0u64; LIMBS];
        #[allow(clippy::cast_possible_truncation)]
        for (offset, part) in [placed as u64, (placed >> 64) as u64].into_iter().enumerate() {
            if let Some(slot) = limbs.get_mut(limb + offset) {
                *slot = part;
            }
        }
        if (term < 0.0) != negate {
            negate_limbs(&mut limbs);
        }
        self.wide.get_or_insert_with(Wide::zero).add(&limbs);
        self.drop_empty_wide();
    }

    /// Keeps the representation canonical: equal sums are equal bytes.
    fn drop_empty_wide(&mut self) {
        if self.wide.as_ref().is_some_and(|wide| wide.0.iter().all(|limb| *limb == 0)) {
            self.wide = None;
        }
    }
}

/// A narrow term in units of 2^-40.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn units(term: f64) -> i64 {
    let scaled = term * NARROW_SCALE;
    if term.abs() < SHORT_LIMIT {
        short_units(scaled)
    } else {
        // Below 2^62 in magnitude: the conversion is exact.
        scaled.round_ties_even() as i64
    }
}

/// The nearest integer to a number below 2^51 in magnitude, ties to even: one addition, as rounding by name is a call where the
/// processor may lack the instruction.
#[inline]
fn short_units(scaled: f64) -> i64 {
    (scaled + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed()
}

impl Wide {
    fn zero() -> Box<Wide> {
        Box::new(Wide([0; LIMBS]))
    }

    fn add(&mut self, other: &[u64; LIMBS]) {
        let mut carry = false;
        for (limb, term) in self.0.iter_mut().zip(other) {
            let (sum, first) = limb.overflowing_add(*term);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn value(&self) -> f64 {
        let mut limbs = self.0;
        let negative = limbs.last().is_some_and(|top| top >> 63 == 1);
        if negative {
            negate_limbs(&mut limbs);
        }
        let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let high = limbs.get(top).copied().unwrap_or(0);
        let low = if top > 0 { limbs.get(top - 1).copied().unwrap_or(0) } else { 0 };
        // What lies below the two top limbs only matters for ties; a sticky bit keeps the rounding right.
        let sticky = limbs.iter().take(top.saturating_sub(1)).any(|limb| *limb != 0);
        let joined = (u128::from(high) << 64) | u128::from(low) | u128::from(sticky);
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let exponent = (top as i32 - 1) * 64 + WIDE_EXPONENT;
        // Scaled in two steps, so that the power itself stays in range.
        let magnitude = joined as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        if negative { -magnitude } else { magnitude }
    }
}

fn negate_limbs(limbs: &mut [u64; LIMBS]) {
    let mut carry = true;
    for limb in limbs.iter_mut() {
        let (negated, overflow) = (!*limb).overflowing_add(u64::from(carry));
        *limb = negated;
        carry = overflow;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    #[test]
    fn large_terms_cancel_without_a_trace() {
        let mut exact = sum(&[1e308, 0.25, 1e300, -1e308, 4_194_304.0, -1e300]);
        assert_eq!(exact.value(), 4_194_304.25);
        exact.subtract(4_194_304.0);
        assert_eq!(exact, sum(&[0.25]));
    }

    #[test]
    fn sums_of_large_terms_are_correctly_rounded() {
        assert_eq!(sum(&[1e15, 1.0, 1e16]).value(), 11e15 + 1.0);
        assert_eq!(sum(&[-3e200, -3e200]).value(), -6e200);
        assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
    }

    proptest! {
        #[test]
        #[allow(clippy::cast_possible_truncation)]
        fn the_short_way_rounds_like_the_long_one(whole in -(1i64 << 51)..1i64 << 51, eighths in 0u8..8) {
            for term in [whole as f64 / NARROW_SCALE, (whole as f64 / 8.0 + f64::from(eighths) / 8.0) / NARROW_SCALE] {
                prop_assert_eq!(units(term), (term * NARROW_SCALE).round_ties_even() as i64);
            }
        }

        #[test]
        fn a_term_with_its_square_is_both_of_them(terms in prop::collection::vec(prop_oneof![-50.0..50.0f64, Just(45.254_833_995_939_045), Just(-2_048.0), any::<f64>()], 0..50)) {
            let (mut sums, mut squares) = (ExactSum::default(), ExactSum::default());
            terms.iter().for_each(|term| ExactSum::add_with_square(&mut sums, &mut squares, *term));
            prop_assert_eq!(sums, sum(&terms));
            prop_assert_eq!(squares, sum(&terms.iter().map(|term| term * term).collect::<Vec<_>>()));
        }

        #[test]
        fn order_and_grouping_do_not_matter(terms in prop::collection::vec(prop_oneof![-1e3..1e3f64, -1e12..1e12f64, any::<f64>()], 0..50), cut in 0usize..50) {
            let forward = sum(&terms);
            let mut reversed: Vec<f64> = terms.clone();
            reversed.reverse();
            prop_assert_eq!(&forward, &sum(&reversed));
            let (left, right) = terms.split_at(cut.min(terms.len()));
            let mut merged = sum(right);
            merged.merge(&sum(left));
            prop_assert_eq!(&forward, &merged);
            merged.take_back(&sum(left));
            prop_assert_eq!(&merged, &sum(right));
            let mut undone = forward.clone();
            terms.iter().for_each(|term| undone.subtract(*term));
            prop_assert_eq!(undone, ExactSum::default());
            prop_assert_eq!(ExactSum::from_text(&forward.to_text()), Some(forward));
        }
    }
}
