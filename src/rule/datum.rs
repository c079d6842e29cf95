//! The values that expressions and templates see, under their names. A number that is not finite never gets in.

use std::collections::BTreeMap;

use crate::event::Finding;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// Nothing.
    Null,
    /// True or false.
    Truth(bool),
    /// A whole number.
    Whole(i64),
    /// A finite number.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Datum>),
    /// Values by name.
    Map(BTreeMap<String, Datum>),
    /// A text with parts: shown as the text, and false where that is empty; its parts are selected by name.
    Titled(String, BTreeMap<String, Datum>),
}

impl Datum {
    /// A number, or nothing where it is not finite.
    #[must_use]
    pub fn number(value: f64) -> Datum {
        if value.is_finite() { Datum::Number(value) } else { Datum::Null }
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Datum {
        Datum::Text(text.into())
    }

    /// A whole number; beyond `i64` the largest.
    #[must_use]
    pub fn count(count: u64) -> Datum {
        Datum::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A map of texts.
    #[must_use]
    pub fn texts(texts: &BTreeMap<String, String>) -> Datum {
        Datum::Map(texts.iter().map(|(name, text)| (name.clone(), Datum::text(text.clone()))).collect())
    }

    /// An explanation: its sentence, and its parts as JSON names them. Without one an empty text with empty lists, so that a
    /// template needs no test before it looks.
    #[must_use]
    pub fn explanation(finding: Option<&Finding>) -> Datum {
        let json = finding.and_then(|finding| serde_json::to_value(finding.shown()).ok());
        let mut parts = match json.as_ref().map(Datum::from_json) {
            Some(Datum::Map(parts)) => parts,
            _ => BTreeMap::new(),
        };
        for list in ["cells", "segments"] {
            parts.entry(list.to_owned()).or_insert_with(|| Datum::List(Vec::new()));
        }
        for part in ["sentence", "direction", "level", "mean_shift", "spread_ratio", "onset", "importance", "features", "score", "cells_of"]
        {
            parts.entry(part.to_owned()).or_insert(Datum::Null);
        }
        Datum::Titled(finding.map(|finding| finding.sentence.clone()).unwrap_or_default(), parts)
    }

    /// The value of a JSON value.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Datum {
        match json {
            serde_json::Value::Null => Datum::Null,
            serde_json::Value::Bool(truth) => Datum::Truth(*truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Datum::Whole(whole),
                None => Datum::number(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Datum::text(text.clone()),
            serde_json::Value::Array(list) => Datum::List(list.iter().map(Datum::from_json).collect()),
            serde_json::Value::Object(map) => Datum::Map(map.iter().map(|(name, value)| (name.clone(), Datum::from_json(value))).collect()),
        }
    }
}

/// Names and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings(pub BTreeMap<String, Datum>);

impl Bindings {
    /// Binds a name, in place of what it was bound to.
    pub fn set(&mut self, name: impl Into<String>, value: Datum) {
        self.0.insert(name.into(), value);
    }

    /// Binds a name to a number; a number that is not finite leaves the name unbound.
    pub fn set_number(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.0.insert(name.into(), Datum::Number(value));
        }
    }
}

/// A number for people: at most six significant digits, in the shortest form.
#[must_use]
pub fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    crate::event::text::canonical_number(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_not_finite_gets_in() {
        let mut bindings = Bindings::default();
        bindings.set_number("x", f64::NAN);
        bindings.set_number("y", f64::INFINITY);
        bindings.set_number("z", 1.5);
        assert_eq!(bindings.0.len(), 1);
        assert_eq!(Datum::number(f64::NAN), Datum::Null);
    }

    #[test]
    fn short_numbers() {
        for (value, text) in [(0.31, "0.31"), (1.0 / 3.0, "0.333333"), (0.0, "0"), (-0.5, "-0.5"), (123_456_789.0, "123457000"), (2.0, "2")]
        {
            assert_eq!(short(value), text);
        }
    }
}
