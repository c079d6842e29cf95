//! Times of events: RFC 3339 text by hand where it has the usual form, and numbers in a unit. Reads no clock.

use super::mapping::TsUnit;
use crate::event::{Span, Timestamp};

/// The least instant that can be written as RFC 3339 again, as `jiff` bounds it.
const EARLIEST: i64 = -377_705_023_201_000;
/// The greatest such instant.
const LATEST: i64 = 253_402_207_200_999;

/// Reads RFC 3339 with any offset and any number of decimals; what is finer than a millisecond is cut.
/// Gives what `Timestamp::parse_rfc3339` gives, and takes more than nine decimals.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    usual(text.as_bytes()).or_else(|| Timestamp::parse_rfc3339(text))
}

/// `YYYY-MM-DDTHH:MM:SS[.f...](Z|+HH:MM|-HH:MM)` in its ranges; nothing else, not even a leap second.
fn usual(bytes: &[u8]) -> Option<Timestamp> {
    let (head, mut rest) = bytes.split_first_chunk::<19>()?;
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0, s1] = *head else {
        return None;
    };
    let (century, year) = (pair(y0, y1)?, pair(y2, y3)?);
    let (month, day) = (pair(mo0, mo1)?, pair(d0, d1)?);
    let (hour, minute, second) = (pair(h0, h1)?, pair(mi0, mi1)?, pair(s0, s1)?);
    let year = century * 100 + year;
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut milliseconds = 0;
    if let [b'.', decimals @ ..] = rest {
        let count = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (decimals, after) = decimals.split_at_checked(count)?;
        if decimals.is_empty() {
            return None;
        }
        for place in 0..3 {
            milliseconds = milliseconds * 10 + decimals.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        }
        rest = after;
    }
    let offset = match *rest {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (pair(h0, h1)?, pair(m0, m1)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * Span::HOUR.0 + minutes * Span::MINUTE.0;
            if sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let time = hour * Span::HOUR.0 + minute * Span::MINUTE.0 + second * Span::SECOND.0 + milliseconds;
    in_range(days_from_epoch(year, month, day) * Span::DAY.0 + time - offset)
}

fn in_range(milliseconds: i64) -> Option<Timestamp> {
    (EARLIEST..=LATEST).contains(&milliseconds).then_some(Timestamp(milliseconds))
}

/// The number of two ASCII digits.
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar. Years begin in March here, so that the leap day is
/// the last of its year and the days before a month are linear in its number; an era is 400 years of 146,097 days.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A number of `unit`s since the epoch; what is finer than a millisecond is cut. `None` where it is not finite or cannot be
/// written as RFC 3339. `text` is the number as written: an integer of nanoseconds has more digits than a double.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
pub(super) fn from_number(value: f64, text: &str, unit: TsUnit) -> Option<Timestamp> {
    let milliseconds = match (text.parse::<i64>(), unit) {
        (Ok(seconds), TsUnit::Seconds) => seconds.checked_mul(1_000)?,
        (Ok(milliseconds), TsUnit::Milliseconds) => milliseconds,
        (Ok(microseconds), TsUnit::Microseconds) => microseconds.div_euclid(1_000),
        (Ok(nanoseconds), TsUnit::Nanoseconds) => nanoseconds.div_euclid(1_000_000),
        (Err(_), unit) => {
            let milliseconds = match unit {
                // Rounded to a microsecond first: 1660679.58 s is not a whole number of milliseconds as a double.
                TsUnit::Seconds => (value * 1e6).round() / 1e3,
                TsUnit::Milliseconds => value,
                TsUnit::Microseconds => value / 1e3,
                TsUnit::Nanoseconds => value / 1e6,
            }
            .floor();
            // `contains` is false for NaN, and what it admits fits.
            if !(EARLIEST as f64..=LATEST as f64).contains(&milliseconds) {
                return None;
            }
            milliseconds as i64
        }
    };
    in_range(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_jiff_on_every_day_and_shape() {
        let mut checked = 0;
        for year in (0..=9999).step_by(7).chain(1960..2040) {
            for (month, day) in [(1, 1), (2, 28), (2, 29), (3, 1), (4, 30), (4, 31), (12, 31), (13, 1), (0, 1), (6, 0)] {
                for tail in ["T00:00:00Z", "T23:59:59.9Z", "T12:34:56.1239+01:30", "T12:34:56.000000001-11:00", "T24:00:00Z"] {
                    let text = format!("{year:04}-{month:02}-{day:02}{tail}");
                    assert_eq!(usual(text.as_bytes()), Timestamp::parse_rfc3339(&text), "{text}");
                    checked += usize::from(usual(text.as_bytes()).is_some());
                }
            }
        }
        assert!(checked > 10_000, "{checked}");
    }

    #[test]
    fn bounds_are_those_of_jiff() {
        assert_eq!(EARLIEST, jiff::Timestamp::MIN.as_millisecond());
        assert_eq!(LATEST, jiff::Timestamp::MAX.as_millisecond());
        assert_eq!(parse("9999-12-31T23:59:59Z"), None);
    }

    #[test]
    fn odd_forms_and_nonsense() {
        let base = Timestamp::parse_rfc3339("2026-11-22T10:45:00Z");
        for odd in ["2026-11-22t10:45:00z", "2026-11-22 10:45:00Z", "2026-11-22T10:45:00.0000000000001Z"] {
            assert_eq!(parse(odd), base, "{odd}");
        }
        for bad in ["", "yesterday", "2026-11-22", "2026-11-22T10:45:00", "2026-11-22T10:45:00.Z", "1700000000000", "2026-11-2éT10:45:00Z"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_in_every_unit() {
        let read = |text: &str, unit| from_number(text.parse().unwrap(), text, unit).map(|time| time.0);
        assert_eq!(read("1700000000123", TsUnit::Milliseconds), Some(1_700_000_000_123));
        assert_eq!(read("1700000000123.9", TsUnit::Milliseconds), Some(1_700_000_000_123));
        assert_eq!(read("1660679.58", TsUnit::Seconds), Some(1_660_679_580));
        assert_eq!(read("1700000000", TsUnit::Seconds), Some(1_700_000_000_000));
        assert_eq!(read("1.7e9", TsUnit::Seconds), Some(1_700_000_000_000));
        assert_eq!(read("1700000000123999999", TsUnit::Nanoseconds), Some(1_700_000_000_123));
        assert_eq!(read("-1", TsUnit::Microseconds), Some(-1));
        for bad in ["1e300", "-1e300", "NaN", "inf", "9223372036854775807", "253402207201000"] {
            assert_eq!(read(bad, TsUnit::Milliseconds), None, "{bad}");
        }
        assert_eq!(read("9223372036854775807", TsUnit::Seconds), None);
    }
}
