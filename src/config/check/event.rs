//! Checks of the section `event`.

use std::collections::BTreeMap;

use crate::event::Span;

use super::super::checked::Event;
use super::super::file::event::{EventSection, FeaturesSelector, TsUnit as Unit};
use super::super::position::join;
use super::Checker;
use crate::event::decode::{Selector, TsUnit};

/// Largest record where nothing is said, in bytes: the default of a broker's `message.max.bytes`.
const MAX_BYTES: u64 = 1 << 20;
/// How far an event may lie after its record where nothing is said.
const FUTURE_TOLERANCE: Span = Span(5 * Span::MINUTE.0);

pub(super) fn check(section: Option<&EventSection>, checker: &mut Checker<'_>) -> Event {
    let missing = EventSection::default();
    let section = section.unwrap_or(&missing);
    let mut selectors = BTreeMap::new();
    let (features, at) = match &section.features {
        None => (None, "/event/features"),
        Some(FeaturesSelector::Pointer(text)) => (Some(text), "/event/features"),
        Some(FeaturesSelector::Object(object)) => (Some(&object.object), "/event/features/object"),
    };
    // The parts of an event, and whether each is an object of values rather than one value.
    for (name, text, object) in [
        ("event", section.event.as_ref(), false),
        ("model", section.model.as_ref(), false),
        ("version", section.version.as_ref(), false),
        ("id", section.id.as_ref(), false),
        ("ts", section.ts.as_ref(), false),
        ("features", features, true),
        ("prediction", section.prediction.as_ref(), false),
        ("score", section.score.as_ref(), false),
        ("probabilities", section.probabilities.as_ref(), true),
        ("label", section.label.as_ref(), false),
        ("latency_ms", section.latency_ms.as_ref(), false),
        ("tags", section.tags.as_ref(), true),
        ("weight", section.weight.as_ref(), false),
    ] {
        let Some(text) = text else { continue };
        let pointer = if name == "features" { at.to_owned() } else { join("/event", name) };
        match Selector::parse(text) {
            Err(message) => checker.error(&pointer, message),
            Ok(Selector::Pointer(segments)) if segments.is_empty() && !object => {
                checker.error(&pointer, "this is one value and cannot be the whole record");
            }
            Ok(selector @ Selector::Pointer(_)) => {
                selectors.insert(name, selector);
            }
            Ok(_) if object => {
                checker.error(&pointer, format!("'{text}' is one value; an object of values needs a JSON pointer such as /{name}"));
            }
            Ok(selector) => {
                selectors.insert(name, selector);
            }
        }
    }
    Event {
        max_bytes: checker.size("/event/max_bytes", section.max_bytes.as_ref(), MAX_BYTES, 1),
        future_tolerance: checker.span("/event/future_tolerance", section.future_tolerance.as_ref(), FUTURE_TOLERANCE),
        ts_unit: match section.ts_unit.unwrap_or(Unit::Ms) {
            Unit::S => TsUnit::Seconds,
            Unit::Ms => TsUnit::Milliseconds,
            Unit::Us => TsUnit::Microseconds,
            Unit::Ns => TsUnit::Nanoseconds,
        },
        selectors,
    }
}
