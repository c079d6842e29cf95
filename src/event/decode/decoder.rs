//! The walk of the trie along a record: what turns bytes into an event.
//!
//! One decoder for each worker. It keeps its buffers, so that a record costs no allocation once the stream's shape is known.

use std::sync::Arc;

use super::dictionary::Dictionary;
use super::found::Found;
use super::json::{Broken, Cell, CellKind, Json, MAX_DEPTH};
use super::mapping::{Field, Mapping, Selector};
use super::raw::{Class, Kind, Probabilities, RawEvent, Texts, Ts};
use super::record::{RecordMeta, beside};
use super::schema::{FEATURES, NONE, PROBABILITIES, Schema, Target};
use super::{number, rfc3339};
use crate::event::{Reject, Scalar};

/// The largest record read unless set otherwise, in bytes: four times what a broker takes by default (`message.max.bytes`).
pub const DEFAULT_MAX_BYTES: usize = 4 << 20;
/// Numbers of an array that are read: those of the longest embedding, and one more would be of no use.
const MAX_NUMBERS: usize = 1_536;
/// No record may be larger, whatever is set: positions in it have 32 bits, of which the signed half is enough.
const MOST_BYTES: usize = i32::MAX as usize;

/// Reads events from records.
#[derive(Debug)]
pub struct Decoder {
    mapping: Arc<Mapping>,
    schema: Schema,
    found: Found,
    max_bytes: usize,
}

impl Decoder {
    /// A decoder for records of a shape.
    #[must_use]
    pub fn new(mapping: Arc<Mapping>, dictionary: &Dictionary) -> Decoder {
        let found = Found {
            features: vec![Cell::default(); dictionary.features().len()],
            tags: vec![Cell::default(); dictionary.tags().len()],
            ..Found::default()
        };
        Decoder { schema: Schema::compile(&mapping, dictionary), mapping, found, max_bytes: DEFAULT_MAX_BYTES }
    }

    /// The same with another limit on the size of a record, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Decoder {
        self.max_bytes = max_bytes.min(MOST_BYTES);
        self
    }

    /// Reads one event. It borrows from the decoder, the payload and the record until the next call.
    ///
    /// # Errors
    /// `Empty`, `Oversize`, `NotJson`, `NotAnObject`, `BadFeatures` or `UnknownKind`, the first that holds in this order.
    pub fn decode<'a>(&'a mut self, payload: &'a [u8], record: &RecordMeta<'a>) -> Result<RawEvent<'a>, Reject> {
        if payload.is_empty() {
            return Err(Reject::Empty);
        }
        if payload.len() > self.max_bytes {
            return Err(Reject::Oversize);
        }
        let text = std::str::from_utf8(payload).map_err(|_| Reject::NotJson)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.found.begin();
        let nonstandard = std::cell::Cell::new(0);
        let mut walk = Walk { schema: &mut self.schema, found: &mut self.found, json: Json::new(text, &nonstandard) };
        let is_object = walk.record().map_err(|Broken| Reject::NotJson)?;
        if !is_object {
            return Err(Reject::NotAnObject);
        }
        self.found.settle(text);
        let decoder: &'a Decoder = self;
        if decoder.found.bad_features {
            return Err(Reject::BadFeatures);
        }
        decoder.event(text, record, nonstandard.get())
    }

    fn event<'a>(&'a self, text: &'a str, record: &RecordMeta<'a>, nonstandard: u32) -> Result<RawEvent<'a>, Reject> {
        let found = &self.found;
        let texts = Texts { record: text, unescaped: &found.unescaped, numbers: &found.numbers };
        let scalar = |field| self.scalar(field, texts, record);
        let kind = match scalar(Field::Event) {
            Scalar::Missing | Scalar::Null => None,
            Scalar::Text(name) => Some(Kind::parse(name).ok_or(Reject::UnknownKind)?),
            _ => return Err(Reject::UnknownKind),
        };
        let ts = match scalar(Field::Ts) {
            Scalar::Missing | Scalar::Null => Ts::Missing,
            Scalar::Text(text) => rfc3339::parse(text).map_or(Ts::Bad, Ts::At),
            Scalar::Num { value, text } => rfc3339::from_number(value, text, self.mapping.ts_unit).map_or(Ts::Bad, Ts::At),
            Scalar::Bool(_) | Scalar::Vector(_) | Scalar::Other => Ts::Bad,
        };
        Ok(RawEvent {
            kind,
            model: self.name(Field::Model, texts, record),
            version: self.name(Field::Version, texts, record),
            id: self.name(Field::Id, texts, record),
            ts,
            record_time: record.timestamp,
            prediction: scalar(Field::Prediction),
            score: scalar(Field::Score),
            label: scalar(Field::Label),
            latency_ms: scalar(Field::LatencyMs).finite(),
            weight: scalar(Field::Weight).finite(),
            probabilities: Probabilities { texts, classes: &found.classes, is_bad: found.bad_probabilities },
            has_features: found.has_features,
            known_features: found.known_features,
            unknown_features: found.unknown_features,
            nonstandard,
            texts,
            features: &found.features,
            features_epoch: found.features_epoch,
            tags: &found.tags,
            tags_epoch: found.tags_epoch,
        })
    }

    /// A field of one value. Text from beside the value is a number where it is written like one: there is no other way to
    /// write one there.
    #[inline]
    fn scalar<'a>(&'a self, field: Field, texts: Texts<'a>, record: &RecordMeta<'a>) -> Scalar<'a> {
        match self.mapping.get(field) {
            Some(Selector::Pointer(_)) => self.found.fields.get(field as usize).map_or(Scalar::Missing, |cell| texts.scalar(cell)),
            None => Scalar::Missing,
            Some(selector) => beside(selector, record).map_or(Scalar::Missing, number_or_text),
        }
    }

    /// A field that is a name, by its canonical text.
    #[inline]
    fn name<'a>(&'a self, field: Field, texts: Texts<'a>, record: &RecordMeta<'a>) -> Option<&'a str> {
        match self.mapping.get(field)? {
            Selector::Pointer(_) => self.found.fields.get(field as usize).and_then(|cell| texts.canonical(cell)),
            selector => beside(selector, record),
        }
    }
}

fn number_or_text(text: &str) -> Scalar<'_> {
    let nonstandard = std::cell::Cell::new(0);
    let json = Json::new(text, &nonstandard);
    match number::read(json, 0) {
        Ok((value, end)) if json.is_end(end) => Scalar::Num { value, text },
        _ => Scalar::Text(text),
    }
}

/// A walk of the trie along a text.
struct Walk<'d, 'p, 'c> {
    schema: &'d mut Schema,
    found: &'d mut Found,
    json: Json<'p, 'c>,
}

/// A key of the text: where it is, its number in the node or `NONE`, and what it is for.
#[derive(Clone, Copy)]
struct KeyHere {
    at: usize,
    number: u32,
    target: Target,
}

/// A value of the text: where it begins and with which byte, and how many objects and arrays it is in.
#[derive(Clone, Copy)]
struct ValueHere {
    at: usize,
    first: u8,
    depth: u32,
}

impl Walk<'_, '_, '_> {
    /// Walks the whole record; whether it is an object.
    fn record(&mut self) -> Result<bool, Broken> {
        let (at, first) = self.json.space(0);
        let is_object = first == b'{';
        let end = if is_object {
            let roles = self.schema.nodes.first().map_or(0, |root| root.roles);
            self.found.has_features = roles & FEATURES != 0;
            self.object(0, at, 1)?
        } else {
            self.json.skip(at, first, 0)?
        };
        let (end, _) = self.json.space(end);
        if self.json.is_end(end) { Ok(is_object) } else { Err(Broken) }
    }

    /// Walks an object that begins at a place, of a node of the trie, as the `depth`th level of nesting: the place after it.
    fn object(&mut self, node: u32, at: usize, depth: u32) -> Result<usize, Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken);
        }
        let json = self.json;
        let (mut at, first) = json.space(at + 1);
        if first == b'}' {
            return Ok(at + 1);
        }
        let mut previous = NONE;
        loop {
            let (key, after) = self.key(node, previous, at)?;
            previous = key.number;
            let (start, first) = json.space(after);
            at = match key.target {
                Target::Feature(_) | Target::Field(_) | Target::Tag(_) => {
                    let (cell, unescaped) = self.found.place(key.target).ok_or(Broken)?;
                    json.value(start, first, depth, unescaped, cell)?
                }
                Target::Vector(_) => self.vector(key.target, ValueHere { at: start, first, depth })?,
                Target::Skip => json.skip(start, first, depth)?,
                Target::Sink(sink) => self.sink(sink, node, key, ValueHere { at: start, first, depth })?,
                Target::Open => self.open(node, key, ValueHere { at: start, first, depth })?,
            };
            let (place, next) = json.space(at);
            match next {
                b',' => (at, _) = json.space(place + 1),
                b'}' => return Ok(place + 1),
                _ => return Err(Broken),
            }
        }
    }

    /// Steps over a key and its colon. As a rule it is the one that came after `previous` last time.
    #[inline(always)]
    fn key(&mut self, node: u32, previous: u32, at: usize) -> Result<(KeyHere, usize), Broken> {
        let known = self.schema.nodes.get(node as usize).ok_or(Broken)?;
        let guess = known.keys.get(previous as usize).map_or(known.first, |key| key.next);
        if let Some(key) = known.keys.get(guess as usize)
            && key.matches(self.json, at)
        {
            return Ok((KeyHere { at, number: guess, target: key.target }, at + key.length as usize));
        }
        self.other_key(node, previous, at)
    }

    #[inline(never)]
    fn other_key(&mut self, node: u32, previous: u32, at: usize) -> Result<(KeyHere, usize), Broken> {
        let json = self.json;
        if json.byte(at) != b'"' {
            return Err(Broken);
        }
        self.found.key.clear();
        let mut name = Cell::default();
        let end = json.string(at + 1, Some(&mut self.found.key), &mut name)?;
        let known = self.schema.nodes.get_mut(node as usize).ok_or(Broken)?;
        let (number, target) = known.find(match name.kind {
            CellKind::Unescaped => &self.found.key,
            _ => json.slice(name.start as usize, name.end as usize),
        });
        if number != NONE {
            known.learn(previous, number);
        }
        let (after, _) = json.colon(end)?;
        Ok((KeyHere { at, number, target }, after))
    }

    /// A feature that may be an array of numbers.
    #[inline(never)]
    fn vector(&mut self, target: Target, value: ValueHere) -> Result<usize, Broken> {
        let mut cell = Cell::default();
        let end = self.vector_or_other(value, &mut cell)?;
        self.found.put(target, cell);
        Ok(end)
    }

    fn vector_or_other(&mut self, value: ValueHere, cell: &mut Cell) -> Result<usize, Broken> {
        let ValueHere { at, first, depth } = value;
        if first == b'[' {
            self.json.vector(at, depth, MAX_NUMBERS, &mut self.found.numbers, cell)
        } else {
            self.json.value(at, first, depth, &mut self.found.unescaped, cell)
        }
    }

    /// A key that has no slot, of an object of features or of classes.
    fn open(&mut self, node: u32, key: KeyHere, value: ValueHere) -> Result<usize, Broken> {
        let roles = self.schema.nodes.get(node as usize).map_or(0, |node| node.roles);
        if roles & FEATURES != 0 {
            self.found.unknown_features = self.found.unknown_features.saturating_add(1);
        }
        if roles & PROBABILITIES == 0 {
            return self.json.skip(value.at, value.first, value.depth);
        }
        let mut cell = Cell::default();
        let end = self.json.value(value.at, value.first, value.depth, &mut self.found.unescaped, &mut cell)?;
        self.class(node, key, cell)?;
        Ok(end)
    }

    fn class(&mut self, node: u32, key: KeyHere, value: Cell) -> Result<(), Broken> {
        let keys = self.schema.nodes.get_mut(node as usize).map(|node| &mut node.keys);
        match keys.and_then(|keys| keys.get_mut(key.number as usize)) {
            Some(known) => {
                self.found.repeated_class |= known.seen == self.found.event;
                known.seen = self.found.event;
            }
            // Too many classes to have numbers: look for repetitions among all.
            None => self.found.repeated_class = true,
        }
        let mut name = Cell::default();
        self.json.string(key.at + 1, Some(&mut self.found.unescaped), &mut name)?;
        let order = u32::try_from(self.found.classes.len()).unwrap_or(NONE);
        self.found.classes.push(Class { name, value, order });
        Ok(())
    }

    /// A value that is for several things, or an object or array to enter.
    fn sink(&mut self, number: u32, node: u32, key: KeyHere, value: ValueHere) -> Result<usize, Broken> {
        let sink = self.schema.sinks.get_mut(number as usize).ok_or(Broken)?;
        let came_before = sink.seen == self.found.event;
        sink.seen = self.found.event;
        let sink = sink.clone();
        if came_before {
            self.found.forget(sink.roles_beneath);
            self.found.set_fields(sink.fields_beneath, Cell::default());
        }
        let mut cell = Cell::of(CellKind::Other);
        let end = match value.first {
            b'{' if sink.child != NONE => {
                self.found.has_features |= sink.roles & FEATURES != 0;
                self.object(sink.child, value.at, value.depth + 1)?
            }
            b'[' if sink.child != NONE => {
                self.not_an_object(sink.roles);
                self.array(sink.child, value.at, value.depth + 1)?
            }
            first => {
                let end = match first {
                    b'[' if sink.vector => self.vector_or_other(value, &mut cell)?,
                    _ => self.json.value(value.at, first, value.depth, &mut self.found.unescaped, &mut cell)?,
                };
                if cell.kind != CellKind::Null {
                    self.not_an_object(sink.roles);
                }
                end
            }
        };
        if sink.fields != 0 {
            self.found.set_fields(sink.fields, cell);
        }
        if sink.feature != NONE {
            self.found.put(Target::Feature(sink.feature), cell);
        }
        if sink.tag != NONE {
            self.found.put(Target::Tag(sink.tag), cell);
        }
        if sink.probability {
            self.class(node, key, cell)?;
        }
        Ok(end)
    }

    fn not_an_object(&mut self, roles: u8) {
        self.found.bad_features |= roles & FEATURES != 0;
        self.found.bad_probabilities |= roles & PROBABILITIES != 0;
    }

    /// Walks an array that begins at a place, some of whose elements are pointed at: the place after it.
    fn array(&mut self, node: u32, at: usize, depth: u32) -> Result<usize, Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken);
        }
        let (mut at, mut first) = self.json.space(at + 1);
        if first == b']' {
            return Ok(at + 1);
        }
        let nameless = KeyHere { at, number: NONE, target: Target::Skip };
        let mut index = 0;
        loop {
            let elements = self.schema.nodes.get(node as usize).map_or(&[][..], |node| &node.elements);
            let end = match elements.iter().find(|element| element.0 == index) {
                Some((_, sink)) => self.sink(*sink, node, nameless, ValueHere { at, first, depth })?,
                None => self.json.skip(at, first, depth)?,
            };
            index += 1;
            (at, first) = self.json.space(end);
            match first {
                b',' => (at, first) = self.json.space(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(Broken),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn decoder(mapping: Mapping) -> Decoder {
        let dictionary = Dictionary::new(["age", "country", "income"], ["region", "tier"]);
        Decoder::new(Arc::new(mapping), &dictionary)
    }

    /// Slots of the dictionary above: names in their order.
    const AGE: u32 = 0;
    const COUNTRY: u32 = 1;
    const INCOME: u32 = 2;

    fn with(selectors: &[(Field, &str)]) -> Decoder {
        let mut mapping = Mapping::default_json();
        for (field, text) in selectors {
            mapping.set(*field, Some(Selector::parse(text).unwrap())).unwrap();
        }
        decoder(mapping)
    }

    const EVENT: &str = r#"{"event":"prediction","model":"loan","version":"3","id":"a1","ts":"2026-11-22T10:45:00.123Z",
 "features":{"age":39,"country":"DE","income":null},
 "prediction":"repaid","score":0.83,"probabilities":{"repaid":0.83,"default":0.17},
 "latency_ms":12.5,"tags":{"region":"eu"},"weight":1.0}"#;

    #[test]
    fn reads_the_default_shape() {
        let mut decoder = decoder(Mapping::default_json());
        for payload in [EVENT.to_owned(), format!("\u{feff}{EVENT}\n")] {
            let event = decoder.decode(payload.as_bytes(), &RecordMeta::default()).unwrap();
            assert_eq!(event.kind, Some(Kind::Prediction));
            assert_eq!((event.model, event.version, event.id), (Some("loan"), Some("3"), Some("a1")));
            assert_eq!(event.ts, Ts::At(Timestamp::parse_rfc3339("2026-11-22T10:45:00.123Z").unwrap()));
            assert_eq!(event.feature(AGE), Scalar::Num { value: 39.0, text: "39" });
            assert_eq!(event.feature(COUNTRY), Scalar::Text("DE"));
            assert_eq!(event.feature(INCOME), Scalar::Null);
            assert_eq!(event.feature(99), Scalar::Missing);
            assert_eq!((event.known_features, event.unknown_features, event.nonstandard), (3, 0, 0));
            assert_eq!(event.prediction, Scalar::Text("repaid"));
            assert_eq!(event.score.finite(), Some(0.83));
            assert_eq!(event.probabilities.iter().collect::<Vec<_>>(), [("repaid", Some(0.83)), ("default", Some(0.17))]);
            assert_eq!((event.latency_ms, event.weight), (Some(12.5), Some(1.0)));
            assert_eq!((event.tag(0), event.tag(1), event.tag(2)), (Some("eu"), None, None));
            assert_eq!(event.label, Scalar::Missing);
        }
    }

    #[test]
    fn nothing_of_an_event_is_left_for_the_next() {
        let mut decoder = decoder(Mapping::default_json());
        decoder.decode(EVENT.as_bytes(), &RecordMeta::default()).unwrap();
        let event = decoder.decode(b"{}", &RecordMeta::default()).unwrap();
        assert_eq!((event.kind, event.model, event.id, event.ts), (None, None, None, Ts::Missing));
        assert_eq!((event.feature(AGE), event.tag(0), event.has_features), (Scalar::Missing, None, false));
        assert!(event.probabilities.is_empty());
    }

    #[test]
    fn epochs_wrap_without_a_trace() {
        let mut decoder = decoder(Mapping::default_json());
        decoder.decode(EVENT.as_bytes(), &RecordMeta::default()).unwrap();
        for start in [u32::MAX - 1, u32::MAX] {
            decoder.found.features_epoch = start;
            decoder.found.tags_epoch = start;
            decoder.found.event = start;
            for _ in 0..4 {
                let event = decoder.decode(br#"{"features":{"age":1}}"#, &RecordMeta::default()).unwrap();
                assert_eq!((event.known_features, event.feature(COUNTRY), event.tag(0)), (1, Scalar::Missing, None));
            }
        }
    }

    #[test]
    fn every_rejection_has_its_reason() {
        let mut decoder = decoder(Mapping::default_json()).with_max_bytes(200);
        for (payload, reason) in [
            ("", Reject::Empty),
            (" ", Reject::NotJson),
            ("{", Reject::NotJson),
            ("{}}", Reject::NotJson),
            ("[1,2]", Reject::NotAnObject),
            ("[1,2", Reject::NotJson),
            ("NaN", Reject::NotAnObject),
            (r#"{"features":[1]}"#, Reject::BadFeatures),
            (r#"{"features":1,"event":"x"}"#, Reject::BadFeatures),
            (r#"{"event":"predictions"}"#, Reject::UnknownKind),
            (r#"{"event":1}"#, Reject::UnknownKind),
            (&" ".repeat(201), Reject::Oversize),
        ] {
            assert_eq!(decoder.decode(payload.as_bytes(), &RecordMeta::default()).unwrap_err(), reason, "{payload}");
        }
        assert_eq!(decoder.decode(b"{\"a\":\"\xff\"}", &RecordMeta::default()).unwrap_err(), Reject::NotJson);
        assert!(!decoder.decode(br#"{"features":null}"#, &RecordMeta::default()).unwrap().has_features);
    }

    #[test]
    fn the_last_of_a_repeated_key_wins_with_all_that_is_in_it() {
        let mut decoder = with(&[(Field::Id, "/request/id")]);
        let payload = br#"{"request":{"id":1},"request":{"x":2},"features":[1],"features":{"age":1,"zip":1},"features":{"country":"a","country":"b"},
            "tags":{"region":"eu"},"tags":{"tier":1.50},"probabilities":{"a":1,"b":0.5},"probabilities":{"a":0.1,"b":0.2,"\u0061":0.3},"score":1,"score":2}"#;
        for _ in 0..3 {
            let event = decoder.decode(payload, &RecordMeta::default()).unwrap();
            assert_eq!(event.id, None);
            assert_eq!((event.feature(AGE), event.feature(COUNTRY)), (Scalar::Missing, Scalar::Text("b")));
            assert_eq!((event.known_features, event.unknown_features), (1, 0));
            assert_eq!((event.tag(0), event.tag(1)), (None, Some("1.5")));
            assert_eq!(event.probabilities.iter().collect::<Vec<_>>(), [("b", Some(0.2)), ("a", Some(0.3))]);
            assert_eq!(event.score.number(), Some(2.0));
        }
    }

    #[test]
    fn names_are_canonical_texts() {
        let mut decoder = decoder(Mapping::default_json());
        let payload = br#"{"model":1.0,"version":3,"id":12345678901234567890123,"tags":{"region":true,"tier":"\u00e9"}}"#;
        let event = decoder.decode(payload, &RecordMeta::default()).unwrap();
        assert_eq!((event.model, event.version, event.id), (Some("1"), Some("3"), Some("12345678901234567890123")));
        assert_eq!((event.tag(0), event.tag(1)), (Some("true"), Some("é")));
        let event = decoder.decode(br#"{"model":null,"version":{},"id":NaN}"#, &RecordMeta::default()).unwrap();
        assert_eq!((event.model, event.version, event.id, event.nonstandard), (None, None, None, 1));
    }

    #[test]
    fn values_that_are_no_values() {
        let mut decoder = decoder(Mapping::default_json());
        let payload = br#"{"features":{"age":NaN,"country":-Infinity,"income":1e400,"x":[Infinity]},"weight":NaN,"latency_ms":"1","probabilities":{"a":null,"b":NaN}}"#;
        let event = decoder.decode(payload, &RecordMeta::default()).unwrap();
        assert!(event.feature(AGE).number().unwrap().is_nan());
        assert_eq!(event.feature(COUNTRY), Scalar::Num { value: f64::NEG_INFINITY, text: "-Infinity" });
        assert_eq!(event.feature(INCOME), Scalar::Num { value: f64::INFINITY, text: "1e400" });
        assert_eq!((event.nonstandard, event.unknown_features), (5, 1));
        assert_eq!((event.weight, event.latency_ms), (None, None));
        assert_eq!(event.probabilities.iter().collect::<Vec<_>>(), [("a", None), ("b", None)]);
        for bad in ["[0.1,0.9]", "1"] {
            let payload = format!("{{\"probabilities\":{bad}}}");
            assert!(decoder.decode(payload.as_bytes(), &RecordMeta::default()).unwrap().probabilities.is_bad());
        }
    }

    #[test]
    fn times_of_every_kind() {
        let mut mapping = Mapping::default_json();
        mapping.ts_unit = super::super::TsUnit::Seconds;
        let mut decoder = decoder(mapping);
        let record = RecordMeta { timestamp: Some(Timestamp(7)), ..RecordMeta::default() };
        for (ts, expected) in [
            ("1.5", Ok((1500, false))),
            ("\"1970-01-01T00:00:01Z\"", Ok((1000, false))),
            ("null", Ok((7, true))),
            ("true", Err(Reject::BadTime)),
            ("\"1500\"", Err(Reject::BadTime)),
            ("1e30", Err(Reject::BadTime)),
        ] {
            let payload = format!("{{\"ts\":{ts}}}");
            let time = decoder.decode(payload.as_bytes(), &record).unwrap().time();
            assert_eq!(time.map(|time| (time.at.0, time.is_fallback)), expected, "{ts}");
        }
        assert_eq!(decoder.decode(b"{}", &RecordMeta::default()).unwrap().time(), Err(Reject::MissingTime));
    }

    #[test]
    fn fields_from_beside_the_value() {
        let mut decoder = with(&[
            (Field::Event, "const:prediction"),
            (Field::Model, "topic"),
            (Field::Id, "key"),
            (Field::Version, "header:Version"),
            (Field::Score, "header:score"),
            (Field::Ts, "header:ts"),
        ]);
        let record = RecordMeta {
            topic: "loan",
            key: Some(b"007"),
            timestamp: None,
            headers: &[("version", b"1"), ("version", b"2.0"), ("score", b"0.25"), ("ts", b"12")],
        };
        let event = decoder.decode(br#"{"model":"other","id":1}"#, &record).unwrap();
        assert_eq!((event.kind, event.model, event.id, event.version), (Some(Kind::Prediction), Some("loan"), Some("007"), Some("2.0")));
        assert_eq!((event.score.number(), event.ts), (Some(0.25), Ts::At(Timestamp(12))));
        let event = decoder.decode(b"{}", &RecordMeta { key: Some(b"\xff"), ..RecordMeta::default() }).unwrap();
        assert_eq!((event.id, event.version, event.ts), (None, None, Ts::Missing));
    }

    #[test]
    fn one_value_may_serve_several_fields() {
        let mut decoder = with(&[
            (Field::Features, ""),
            (Field::Tags, ""),
            (Field::Score, "/out/0/p"),
            (Field::Prediction, "/out/0/p"),
            (Field::Label, "/out/1"),
            (Field::Id, "/age"),
            (Field::Probabilities, "/out/2"),
        ]);
        let payload = br#"{"age":39,"region":"eu","tier":2.0,"zip":7,"out":[{"p":0.5},"x",{"a":1}],"model":"m"}"#;
        for _ in 0..2 {
            let event = decoder.decode(payload, &RecordMeta::default()).unwrap();
            assert_eq!((event.id, event.feature(AGE).number()), (Some("39"), Some(39.0)));
            assert_eq!((event.tag(0), event.tag(1), event.model), (Some("eu"), Some("2"), Some("m")));
            assert_eq!((event.score.number(), event.prediction.number(), event.label), (Some(0.5), Some(0.5), Scalar::Text("x")));
            assert_eq!((event.has_features, event.known_features), (true, 1));
            // The two tags are not features of any baseline either.
            assert_eq!(event.unknown_features, 1);
            assert_eq!(event.probabilities.iter().collect::<Vec<_>>(), [("a", Some(1.0))]);
        }
    }

    #[test]
    fn buffers_stop_growing_once_warm() {
        let mut decoder = decoder(Mapping::default_json());
        let payload = EVENT.replace("\"DE\"", r#""D\u00e9E""#).replace("\"country\"", r#""c\u006funtry""#);
        let size = |decoder: &Decoder| {
            let keys: usize = decoder.schema.nodes.iter().map(|node| node.keys.capacity()).sum();
            let found = &decoder.found;
            (keys, found.unescaped.capacity(), found.key.capacity(), found.classes.capacity(), found.features.capacity())
        };
        let mut warm = None;
        for round in 0..100 {
            let event = decoder.decode(payload.as_bytes(), &RecordMeta::default()).unwrap();
            assert_eq!(event.feature(COUNTRY), Scalar::Text("DéE"));
            if round == 2 {
                warm = Some(size(&decoder));
            }
        }
        assert_eq!(warm, Some(size(&decoder)));
    }
}
