//! One value of an event as it was given: the kinds that are counted apart are kept apart.
//!
//! It borrows from the record. It does not know whether it is a feature, a class or a label, nor what is wrong for it.

use std::fmt::Write as _;

use super::text::write_number;

/// Bytes of an integer's text up to which it is certainly an exact double: 15 digits, the sign among them.
const EXACT_TEXT: usize = 15;

/// A JSON value without structure. Missing, null, not a number and a wrong type are different things.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scalar<'a> {
    /// The key is not there.
    #[default]
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, or one of the bare tokens `NaN`, `Infinity` and `-Infinity`.
    Num {
        /// The nearest double; infinite where the number is too large for one.
        value: f64,
        /// The number as it was written; empty where it was not written, as in a table of typed columns.
        text: &'a str,
    },
    /// A string, without quotes and escapes.
    Text(&'a str),
    /// An array of finite numbers, where one was looked for.
    Vector(&'a [f64]),
    /// An object or an array.
    Other,
}

impl<'a> Scalar<'a> {
    /// A number that was not written as text.
    #[must_use]
    pub fn from_number(value: f64) -> Scalar<'a> {
        Scalar::Num { value, text: "" }
    }

    /// The number, where it is one; may be infinite or not a number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Scalar::Num { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// The number, where it is one and finite.
    #[must_use]
    pub fn finite(&self) -> Option<f64> {
        self.number().filter(|value| value.is_finite())
    }

    /// The number as it is counted, in tables and in the stream: finite, and -0.0 is 0.0.
    #[must_use]
    pub fn counted(&self) -> Option<f64> {
        self.finite().map(|value| if value == 0.0 { 0.0 } else { value })
    }

    /// The array of numbers, where it is one.
    #[must_use]
    pub fn vector(&self) -> Option<&'a [f64]> {
        match self {
            Scalar::Vector(vector) => Some(vector),
            _ => None,
        }
    }

    /// Whether there is nothing: no key, or `null`.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Scalar::Missing | Scalar::Null)
    }

    /// Canonical text of a class, level or id: a string as it is, `true` and `false`, an integral number without a
    /// fraction, another in the shortest form that parses back. Integers keep all their digits, also beyond 2^53.
    /// `None` for what names no class: missing, null, not finite, an object or an array.
    ///
    /// `scratch` is only written where the text is not in the record already.
    pub fn canonical<'b>(&self, scratch: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        match *self {
            Scalar::Text(text) => Some(text),
            Scalar::Bool(true) => Some("true"),
            Scalar::Bool(false) => Some("false"),
            Scalar::Num { text, .. } if is_canonical_integer(text) => Some(text),
            Scalar::Num { value, .. } if value.is_finite() => {
                scratch.clear();
                write_number(value, scratch);
                Some(scratch)
            }
            Scalar::Missing | Scalar::Null | Scalar::Num { .. } | Scalar::Vector(_) | Scalar::Other => None,
        }
    }

    /// Canonical text of a class or level, as [`Scalar::canonical`], but of numbers as doubles: tables hold them as such, and a
    /// level of the stream must be the one of the table also beyond 2^53, where a double does not have all digits.
    ///
    /// `scratch` is only written where the text is not in the record already.
    #[inline]
    pub fn level<'b>(&self, scratch: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        match *self {
            Scalar::Num { value, text } if text.len() > EXACT_TEXT => Scalar::from_number(value).canonical(scratch),
            _ => self.canonical(scratch),
        }
    }
}

impl std::fmt::Display for Scalar<'_> {
    /// For messages to people: a string in quotes, all else as it was written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Missing => f.write_str("nothing"),
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Num { value, text: "" } => write!(f, "{value}"),
            Scalar::Num { text, .. } => f.write_str(text),
            Scalar::Text(text) => {
                f.write_char('"')?;
                f.write_str(text)?;
                f.write_char('"')
            }
            Scalar::Vector(vector) => write!(f, "an array of {} numbers", vector.len()),
            Scalar::Other => f.write_str("an object or array"),
        }
    }
}

/// Whether the text of a JSON number is its canonical text: an integer that is not minus zero.
#[must_use]
pub(super) fn is_canonical_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && text != "-0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(scalar: Scalar<'_>) -> Option<String> {
        let mut scratch = String::from("left over");
        scalar.canonical(&mut scratch).map(str::to_owned)
    }

    fn number(text: &str) -> Scalar<'_> {
        Scalar::Num { value: text.parse().unwrap(), text }
    }

    #[test]
    fn a_class_has_one_canonical_text() {
        for scalar in [number("1"), number("1.0"), number("10e-1"), Scalar::Text("1")] {
            assert_eq!(canonical(scalar).as_deref(), Some("1"), "{scalar}");
        }
        assert_eq!(canonical(number("9007199254740993")).as_deref(), Some("9007199254740993"));
        assert_eq!(canonical(number("-0")).as_deref(), Some("0"));
        assert_eq!(canonical(number("-0.0")).as_deref(), Some("0"));
        assert_eq!(canonical(number("0.10")).as_deref(), Some("0.1"));
        assert_eq!(canonical(Scalar::Bool(true)).as_deref(), Some("true"));
    }

    #[test]
    fn a_level_of_the_stream_is_that_of_the_table() {
        for text in ["1", "-0", "123456789012345", "9007199254740993", "-9223372036854775808", "1e21", "0.10"] {
            let (mut written, mut typed) = (String::new(), String::new());
            let Scalar::Num { value, .. } = number(text) else { unreachable!() };
            assert_eq!(number(text).level(&mut written), Scalar::from_number(value).level(&mut typed), "{text}");
        }
        let mut scratch = String::from("untouched");
        assert_eq!(number("-42").level(&mut scratch), Some("-42"));
        assert_eq!(scratch, "untouched");
        assert_eq!(number("-0").finite().map(f64::to_bits), Some((-0f64).to_bits()));
        assert_eq!(number("-0").counted().map(f64::to_bits), Some(0));
    }

    #[test]
    fn what_names_no_class_has_no_text() {
        for scalar in [Scalar::Missing, Scalar::Null, Scalar::Other, number("NaN"), number("1e400"), number("-inf")] {
            assert_eq!(canonical(scalar), None, "{scalar:?}");
        }
    }

    #[test]
    fn agrees_with_the_canonical_text_of_a_json_value() {
        for text in ["0", "-0", "1", "-7", "1.5", "1e3", "18446744073709551615", "-9223372036854775808", "1e21", "0.1e-7"] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(number(text)).as_deref(), crate::event::text::canonical_json(&value).as_deref(), "{text}");
        }
    }
}
