//! One event as it was found in a record: borrowed, untyped, not yet judged.
//!
//! It lives until the decoder reads the next record. What its values mean for a model is said elsewhere.

use super::json::{Cell, CellKind};
use crate::event::{Reject, Scalar, Timestamp};

/// What an event says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A model's output, and as a rule the features it was made from.
    Prediction,
    /// Features alone.
    Features,
    /// The truth about an earlier prediction.
    Label,
}

impl Kind {
    /// The kind as written in `event`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Prediction => "prediction",
            Kind::Features => "features",
            Kind::Label => "label",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Kind> {
        match name {
            "prediction" => Some(Kind::Prediction),
            "features" => Some(Kind::Features),
            "label" => Some(Kind::Label),
            _ => None,
        }
    }
}

/// The `ts` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ts {
    /// None, or `null`.
    Missing,
    /// An instant.
    At(Timestamp),
    /// Not RFC 3339, not a number, or beyond the years that can be written.
    Bad,
}

/// The time of an event and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// The instant.
    pub at: Timestamp,
    /// Whether it is the record's, because the event has none.
    pub is_fallback: bool,
}

/// A class and where its name is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub name: Cell,
    pub value: Cell,
    /// Place in the order of reading.
    pub order: u32,
}

/// The two texts that cells point into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    pub record: &'a str,
    pub unescaped: &'a str,
    pub numbers: &'a [f64],
}

impl<'a> Texts<'a> {
    #[inline]
    pub(super) fn text(&self, cell: &Cell) -> &'a str {
        let from = if cell.kind == CellKind::Unescaped { self.unescaped } else { self.record };
        from.get(cell.start as usize..cell.end as usize).unwrap_or_default()
    }

    #[inline]
    pub(super) fn scalar(&self, cell: &Cell) -> Scalar<'a> {
        match cell.kind {
            CellKind::Missing => Scalar::Missing,
            CellKind::Null => Scalar::Null,
            CellKind::False => Scalar::Bool(false),
            CellKind::True => Scalar::Bool(true),
            CellKind::Number => Scalar::Num { value: cell.number, text: self.text(cell) },
            CellKind::Text | CellKind::Unescaped => Scalar::Text(self.text(cell)),
            CellKind::Vector => self.numbers.get(cell.start as usize..cell.end as usize).map_or(Scalar::Other, Scalar::Vector),
            CellKind::Other => Scalar::Other,
        }
    }

    /// The text of a cell whose numbers have been made canonical.
    pub(super) fn canonical(&self, cell: &Cell) -> Option<&'a str> {
        match cell.kind {
            CellKind::Text | CellKind::Unescaped | CellKind::Number => Some(self.text(cell)),
            CellKind::True => Some("true"),
            CellKind::False => Some("false"),
            CellKind::Missing | CellKind::Null | CellKind::Vector | CellKind::Other => None,
        }
    }
}

/// The probabilities of an event by class, in the order of the record.
#[derive(Clone, Copy, Debug)]
pub struct Probabilities<'a> {
    pub(super) texts: Texts<'a>,
    pub(super) classes: &'a [Class],
    pub(super) is_bad: bool,
}

impl<'a> Probabilities<'a> {
    /// Whether the value is there and is not an object.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.is_bad
    }

    /// How many classes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there is none: no object, or an empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Each class once, with its finite number; `None` where it has another value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<f64>)> + use<'a> {
        let texts = self.texts;
        self.classes.iter().map(move |class| (texts.text(&class.name), texts.scalar(&class.value).finite()))
    }
}

/// One event as it was found in a record.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// What it says it is; `None` where it does not say.
    pub kind: Option<Kind>,
    /// Canonical text of `model`.
    pub model: Option<&'a str>,
    /// Canonical text of `version`.
    pub version: Option<&'a str>,
    /// Canonical text of `id`.
    pub id: Option<&'a str>,
    /// The time it gives.
    pub ts: Ts,
    /// The record's own time.
    pub record_time: Option<Timestamp>,
    /// `prediction` as given.
    pub prediction: Scalar<'a>,
    /// `score` as given.
    pub score: Scalar<'a>,
    /// `label` as given.
    pub label: Scalar<'a>,
    /// `latency_ms`, where it is a finite number.
    pub latency_ms: Option<f64>,
    /// `weight`, where it is a finite number.
    pub weight: Option<f64>,
    /// `probabilities`.
    pub probabilities: Probabilities<'a>,
    /// Whether there is an object of features at all.
    pub has_features: bool,
    /// Features of the event that are in the dictionary.
    pub known_features: u32,
    /// Features of the event that are not.
    pub unknown_features: u32,
    /// Bare `NaN`, `Infinity` and `-Infinity` anywhere in the record.
    pub nonstandard: u32,
    pub(super) texts: Texts<'a>,
    pub(super) features: &'a [Cell],
    pub(super) features_epoch: u32,
    pub(super) tags: &'a [Cell],
    pub(super) tags_epoch: u32,
}

impl<'a> RawEvent<'a> {
    /// The value of a feature, by its slot of the dictionary.
    #[inline]
    #[must_use]
    pub fn feature(&self, slot: u32) -> Scalar<'a> {
        match self.features.get(slot as usize) {
            Some(cell) if cell.epoch == self.features_epoch => self.texts.scalar(cell),
            _ => Scalar::Missing,
        }
    }

    /// Canonical text of a tag, by its slot of the dictionary.
    #[must_use]
    pub fn tag(&self, slot: u32) -> Option<&'a str> {
        self.tags.get(slot as usize).filter(|cell| cell.epoch == self.tags_epoch).and_then(|cell| self.texts.canonical(cell))
    }

    /// The event's time, or the record's where the event gives none.
    ///
    /// # Errors
    /// `BadTime` where `ts` cannot be read, `MissingTime` where neither has one.
    pub fn time(&self) -> Result<EventTime, Reject> {
        match (self.ts, self.record_time) {
            (Ts::At(at), _) => Ok(EventTime { at, is_fallback: false }),
            (Ts::Missing, Some(at)) => Ok(EventTime { at, is_fallback: true }),
            (Ts::Missing, None) => Err(Reject::MissingTime),
            (Ts::Bad, _) => Err(Reject::BadTime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_events() {
        for kind in [Kind::Prediction, Kind::Features, Kind::Label] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("predictions"), None);
    }
}
