//! Canonical text of classes and levels: 1, "1" and 1.0 name the same class.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Canonical text of a number: an integral value without a fraction, any other in the shortest form that parses back.
///
/// ```
/// use driftline::event::text::canonical_number;
/// assert_eq!(canonical_number(1.0), "1");
/// assert_eq!(canonical_number(0.5), "0.5");
/// assert_eq!(canonical_number(-0.0), "0");
/// ```
#[must_use]
pub fn canonical_number(value: f64) -> String {
    let mut text = String::new();
    write_number(value, &mut text);
    text
}

/// Appends the canonical text of `value` to `out`.
pub fn write_number(value: f64, out: &mut String) {
    let value = if value == 0.0 { 0.0 } else { value };
    // `Display` of f64 is the shortest form that parses back, without an exponent and without a trailing ".0".
    let _ = write!(out, "{value}");
}

/// Canonical text of a class or level given as JSON, or `None` where it is not a string, boolean or finite number.
#[must_use]
pub fn canonical_json(value: &serde_json::Value) -> Option<Cow<'_, str>> {
    match value {
        serde_json::Value::String(text) => Some(Cow::Borrowed(text)),
        serde_json::Value::Bool(true) => Some(Cow::Borrowed("true")),
        serde_json::Value::Bool(false) => Some(Cow::Borrowed("false")),
        serde_json::Value::Number(number) => Some(Cow::Owned(match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => integer.to_string(),
            (None, Some(integer)) => integer.to_string(),
            (None, None) => canonical_number(number.as_f64()?),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_class_in_three_forms() {
        for json in ["1", "\"1\"", "1.0"] {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(canonical_json(&value).unwrap(), "1");
        }
        assert_eq!(canonical_number(1e21), "1000000000000000000000");
        assert_eq!(canonical_number(0.1), "0.1");
    }
}
