//! JSON numbers to the nearest double: eight digits at a time, then the cheapest conversion that is exact.
//!
//! * An integer of at most 19 digits fits in a `u64`, and its conversion is rounded once.
//! * At most 2^53 times or divided by a power of ten up to 10^22: both are exact doubles, so that the one operation rounds
//!   correctly (Clinger, "How to read floating point numbers accurately", 1990).
//! * At most 19 digits divided by a power up to 10^27: one product with the power's reciprocal, whose error is known; where
//!   the error leaves the rounding open, as it does about once in a thousand, the standard library decides.
//! * All else: the standard library.

use super::json::{Broken, Json};

/// As many digits as every `u64` can hold.
const EXACT_DIGITS: usize = 19;
/// Integers up to here are exact doubles.
const EXACT_INTEGER: u64 = 1 << 53;
/// Powers of ten that are exact doubles.
const EXACT_POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];
/// Powers of ten by the digits of one step.
const STEP_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// 5^27 is the greatest power of five below 2^64.
const RECIPROCALS: [Reciprocal; 28] = reciprocals();
/// Beyond this many digits an exponent only says zero or infinity; the standard library reads it from the text.
const EXPONENT_CAP: i64 = 1_000_000;

/// Steps over a number: its nearest double, infinite where it is too large for one, and the place after it. `-Infinity` is taken
/// too.
#[inline(always)]
pub(super) fn read(json: Json<'_, '_>, start: usize) -> Result<(f64, usize), Broken> {
    // One load for the sign and the first digits: the sign's lane is shifted out, and the lane that comes in is no digit.
    let word = json.word(start);
    let negative = word & 0xFF == u64::from(b'-');
    let whole_at = start + usize::from(negative);
    let word = word >> (8 * u32::from(negative));
    let leading_zero = word & 0xFF == u64::from(b'0');
    let (lanes, mut count) = leading_digits(word);
    let (mut mantissa, mut at);
    if count == 0 {
        // Only after a sign: else the caller has seen a digit.
        let infinite = json.byte(whole_at) == b'I';
        return if infinite { Ok((f64::NEG_INFINITY, json.nonstandard(whole_at, b'I')?)) } else { Err(Broken) };
    } else if count < 7 {
        (mantissa, at) = (append(0, lanes, count), whole_at + count);
    } else {
        (mantissa, at) = many_digits(json, whole_at, 0);
        count = at - whole_at;
    }
    if leading_zero && count > 1 {
        return Err(Broken);
    }
    let mut exponent = 0;
    let mut next = json.byte(at);
    if next == b'.' {
        let decimals_at = at + 1;
        (mantissa, at) = digits(json, decimals_at, mantissa);
        let decimals = at - decimals_at;
        if decimals == 0 {
            return Err(Broken);
        }
        count += decimals - usize::from(leading_zero);
        exponent = -(decimals.cast_signed() as i64);
        next = json.byte(at);
    }
    if next | 0x20 == b'e' {
        let exponent_at = at + 1;
        at = exponent_end(json, exponent_at)?;
        exponent += exponent_value(json.slice(exponent_at, at));
    }
    if count <= EXACT_DIGITS
        && let Some(number) = scale(mantissa, exponent)
    {
        // Signs are as good as random: no branch.
        return Ok((f64::from_bits(number.to_bits() | u64::from(negative) << 63), at));
    }
    Ok((by_library(json, start, at)?, at))
}

#[cold]
#[inline(never)]
fn by_library(json: Json<'_, '_>, start: usize, end: usize) -> Result<f64, Broken> {
    json.slice(start, end).parse().map_err(|_| Broken)
}

/// Steps over digits and appends them to `mantissa`, which wraps.
#[inline(always)]
fn digits(json: Json<'_, '_>, at: usize, mantissa: u64) -> (u64, usize) {
    let (lanes, count) = leading_digits(json.word(at));
    match count {
        0 => (mantissa, at),
        8 => many_digits(json, at, mantissa),
        _ => (append(mantissa, lanes, count), at + count),
    }
}

#[inline(never)]
fn many_digits(json: Json<'_, '_>, mut at: usize, mut mantissa: u64) -> (u64, usize) {
    loop {
        let (lanes, count) = leading_digits(json.word(at));
        if count == 0 {
            return (mantissa, at);
        }
        mantissa = append(mantissa, lanes, count);
        at += count;
    }
}

/// The values of the digits that a word begins with, and how many there are.
///
/// Digits become their values, 0 to 9; in every other lane the upper half is set, or is after adding 6. A carry out of a lane can
/// only come from one that is no digit, and everything above the first such lane is ignored.
#[inline(always)]
fn leading_digits(word: u64) -> (u64, usize) {
    let lanes = word ^ 0x3030_3030_3030_3030;
    let others = (lanes | lanes.wrapping_add(0x0606_0606_0606_0606)) & 0xF0F0_F0F0_F0F0_F0F0;
    (lanes, (others.trailing_zeros() / 8) as usize)
}

/// Appends `count` digits, 1 to 8, to a number.
#[inline(always)]
fn append(mantissa: u64, lanes: u64, count: usize) -> u64 {
    let power = STEP_POWERS.get(count).copied().unwrap_or(1);
    mantissa.wrapping_mul(power).wrapping_add(eight_digits(lanes << (64 - 8 * count)))
}

/// The number of eight digits, the greatest in the lowest lane: pairs, then fours, then all, each by one product.
#[inline(always)]
fn eight_digits(lanes: u64) -> u64 {
    const MASK: u64 = 0x0000_00FF_0000_00FF;
    let pairs = lanes.wrapping_mul(10).wrapping_add(lanes >> 8);
    let upper = (pairs & MASK).wrapping_mul(0x000F_4240_0000_0064);
    let lower = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    upper.wrapping_add(lower) >> 32
}

/// Steps over an exponent whose `e` is before `at`.
#[cold]
#[inline(never)]
fn exponent_end(json: Json<'_, '_>, mut at: usize) -> Result<usize, Broken> {
    at += usize::from(matches!(json.byte(at), b'-' | b'+'));
    if !json.byte(at).is_ascii_digit() {
        return Err(Broken);
    }
    while json.byte(at).is_ascii_digit() {
        at += 1;
    }
    Ok(at)
}

#[cold]
#[inline(never)]
fn exponent_value(text: &str) -> i64 {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    let value = digits.fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_CAP));
    if text.starts_with('-') { -value } else { value }
}

/// The double nearest to mantissa * 10^exponent, where a short way to it is exact.
#[inline(always)]
#[allow(clippy::cast_precision_loss)]
fn scale(mantissa: u64, exponent: i64) -> Option<f64> {
    let power = usize::try_from(exponent.unsigned_abs()).ok()?;
    if mantissa <= EXACT_INTEGER {
        // Signed, because that is one instruction.
        let number = mantissa.cast_signed() as f64;
        if power == 0 || mantissa == 0 {
            return Some(number);
        }
        let ten = EXACT_POWERS.get(power)?;
        return Some(if exponent < 0 { number / ten } else { number * ten });
    }
    match exponent {
        0 => Some(mantissa as f64),
        ..0 => divide(mantissa, power),
        _ => None,
    }
}

/// 2^exponent / 5^k, cut to an integer of 64 bits.
#[derive(Clone, Copy)]
struct Reciprocal {
    bits: u64,
    exponent: u32,
}

#[allow(clippy::cast_possible_truncation, clippy::indexing_slicing)]
const fn reciprocals() -> [Reciprocal; 28] {
    let mut table = [Reciprocal { bits: 0, exponent: 0 }; 28];
    let mut five: u64 = 5;
    let mut power = 1;
    while power < table.len() {
        // 5^k is no power of two, so this lies strictly between 2^63 and 2^64.
        let exponent = 127 - five.leading_zeros();
        table[power] = Reciprocal { bits: ((1u128 << exponent) / five as u128) as u64, exponent };
        five = five.wrapping_mul(5);
        power += 1;
    }
    table
}

/// The double nearest to mantissa / 10^power; `None` where that is not certain. The mantissa is not zero.
///
/// With r the exact 2^e / 5^k, R its integer part and w the mantissa shifted to 64 bits, w*r lies in [w*R, w*R + 2^64). So its
/// part above bit 64 lies in [H, H+2) with H that of w*R, and the rounding to 53 bits is certain unless the cut bits of H are
/// a half or just below it.
#[allow(clippy::cast_possible_truncation)]
fn divide(mantissa: u64, power: usize) -> Option<f64> {
    let reciprocal = RECIPROCALS.get(power).filter(|reciprocal| reciprocal.bits != 0)?;
    let shift = mantissa.leading_zeros();
    let high = ((u128::from(mantissa << shift) * u128::from(reciprocal.bits)) >> 64) as u64;
    let cut = 11 - high.leading_zeros();
    let rest = high & ((1 << cut) - 1);
    let half = 1 << (cut - 1);
    if rest == half || rest + 1 == half {
        return None;
    }
    // May round up to 2^53, which the sum below carries into the exponent.
    let significand = (high >> cut) + u64::from(rest > half);
    // mantissa / 10^k = w * 2^-shift * r * 2^-e * 2^-k, and w * r is about significand * 2^(64 + cut).
    let exponent = 64 + u64::from(cut) + 1023 + 52 - u64::from(shift) - u64::from(reciprocal.exponent) - power as u64;
    Some(f64::from_bits(((exponent - 1) << 52) + significand))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<f64> {
        let counter = std::cell::Cell::new(0);
        let json = Json::new(text, &counter);
        let (number, end) = read(json, 0).ok()?;
        json.is_end(end).then_some(number)
    }

    #[track_caller]
    fn agrees(text: &str) {
        let expected: f64 = text.parse().unwrap();
        assert_eq!(number(text).map(f64::to_bits), Some(expected.to_bits()), "{text}");
    }

    #[test]
    fn well_known_hard_cases() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "0e5",
            "1",
            "-1",
            "12345678",
            "123456789",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "9999999999999999999",
            "99999999999999999999",
            "0.1",
            "0.3",
            "2.2250738585072014e-308",
            "5e-324",
            "1e-400",
            "1e400",
            "-1e400",
            "1e22",
            "1e23",
            "1E+2",
            "1.7976931348623157e308",
            "8.5",
            "9007199254740993.0",
            "0.9007199254740993",
            "9007199254740992.5",
            "0.000000000000000000000000001",
            "1e1000000000000",
            "0.12345678901234567890123456789",
            "123456789.12345678",
            "100000000.00000001",
            "4.35",
            "0.000001",
            "179769313486231580793e289",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "-", "01", "-01", "00", "1.", ".5", "1.e5", "1e", "1e+", "1.5.", "--1", "+1", "1_0", "-I", "-Infinit", "0x10"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number("-Infinity"), Some(f64::NEG_INFINITY));
    }

    /// A xorshift generator: deterministic, and no dependency of the core.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn every_digit_count_and_exponent_agrees_with_the_standard_library() {
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let mut short = 0;
        for _ in 0..200_000 {
            let digits = 1 + random(&mut state) % 21;
            let mut text: String = (0..digits).map(|_| char::from(b'0' + (random(&mut state) % 10) as u8)).collect();
            let point = random(&mut state) % (digits + 1);
            let whole = text[..point as usize].trim_start_matches('0');
            text = format!("{}.{}0", if whole.is_empty() { "0" } else { whole }, &text[point as usize..]);
            if random(&mut state) % 4 == 0 {
                text += &format!("e{}", (random(&mut state) % 60) as i64 - 30);
            }
            agrees(&text);
            // Repr of doubles, as most producers write them.
            let float = f64::from_bits(random(&mut state) & 0x801F_FFFF_FFFF_FFFF | (1023 - 13 + random(&mut state) % 26) << 52);
            agrees(&float.to_string());
            let text = format!("{float:e}");
            agrees(&text);
            short += u32::from(divide(random(&mut state) | 1 << 60, 1 + (random(&mut state) % 27) as usize).is_some());
        }
        assert!(short > 199_000, "the short way was certain only {short} times");
    }

    #[test]
    fn halves_between_two_doubles_round_to_even() {
        let mut state = 88_172_645_463_325_252;
        for _ in 0..20_000 {
            // An odd 54-bit integer over 2^j is exactly half-way; over 10^k it has a finite decimal of at most 19 digits for small j.
            let odd = (1u64 << 53 | random(&mut state) >> 11) | 1;
            let j = 1 + random(&mut state) % 3;
            let scaled = u128::from(odd) * 5u128.pow(j as u32);
            let text = scaled.to_string();
            let point = text.len() - j as usize;
            agrees(&format!("{}.{}", &text[..point], &text[point..]));
        }
    }
}
