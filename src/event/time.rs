//! Event time: milliseconds since the Unix epoch, and lengths of time. Reads no clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An instant of event time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A length of time in milliseconds. May be negative as the difference of two instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Span {
    /// One second.
    pub const SECOND: Span = Span(1_000);
    /// One minute.
    pub const MINUTE: Span = Span(60_000);
    /// One hour.
    pub const HOUR: Span = Span(3_600_000);
    /// One day of 24 hours.
    pub const DAY: Span = Span(86_400_000);

    /// Length in seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// Reads `90s`, `5m`, `1h30m`, `7d`, `2w`, `250ms`, in any sum of units, as Prometheus writes durations.
    ///
    /// # Errors
    /// A sentence that says what was expected, where the text is empty, has a unit that is not known, or overflows.
    pub fn parse(text: &str) -> Result<Span, String> {
        let fault = || format!("'{text}' is not a duration; write a number and a unit, like 30s, 5m, 1h, 7d");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(fault());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
            let (number, after) = rest.split_at(digits);
            let number: i64 = number.parse().map_err(|_| fault())?;
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let unit: i64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(fault()),
            };
            total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(fault)?;
            rest = after;
        }
        Ok(Span(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Timestamp {
    /// The start of the slice of length `slice` (shifted by `offset` from the epoch) that contains this instant.
    #[must_use]
    pub fn align(self, slice: Span, offset: Span) -> Timestamp {
        let shifted = self.0.saturating_sub(offset.0);
        Timestamp(shifted.div_euclid(slice.0).saturating_mul(slice.0).saturating_add(offset.0))
    }

    /// RFC 3339 in UTC with milliseconds and `Z`, the form of every surface: `2026-11-22T10:45:00.123Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => format!("{instant:.3}"),
            Err(_) => format!("{}ms", self.0),
        }
    }

    /// Reads RFC 3339 with any offset and any number of decimals; what is finer than a millisecond is cut.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        Some(Timestamp(instant.as_nanosecond().div_euclid(1_000_000).try_into().ok()?))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, other: Timestamp) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_durations() {
        assert_eq!(Span::parse("1h30m"), Ok(Span(5_400_000)));
        assert_eq!(Span::parse("7d"), Ok(Span(7 * 86_400_000)));
        assert_eq!(Span(5_400_000).to_string(), "1h30m");
        for bad in ["", "5", "h", "5 m", "5y", "-5m", "99999999999999w"] {
            assert!(Span::parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn aligns_before_and_after_the_epoch() {
        let monday = Span(4 * Span::DAY.0);
        let week = Span(7 * Span::DAY.0);
        let wednesday = Timestamp::parse_rfc3339("2026-11-25T12:00:00Z").unwrap();
        assert_eq!(wednesday.align(week, monday).rfc3339(), "2026-11-23T00:00:00.000Z");
        assert_eq!(Timestamp(-1).align(Span(1000), Span(0)), Timestamp(-1000));
    }

    #[test]
    fn reads_rfc3339_with_offsets_and_decimals() {
        let base = Timestamp::parse_rfc3339("2026-11-22T10:45:00.123Z").unwrap();
        assert_eq!(base.rfc3339(), "2026-11-22T10:45:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T11:45:00.1239+01:00"), Some(base));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
