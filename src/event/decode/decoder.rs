//! The walk of the trie along a record: what turns bytes into an event.
//!
//! One decoder for each worker. It keeps its buffers, so that a record costs no allocation once the stream's shape is known.

use std::sync::Arc;

use super::cursor::{Broken, Cell, CellKind, Cursor, MAX_DEPTH};
use super::dictionary::Dictionary;
use super::mapping::{Field, Mapping, SCALARS, Selector};
use super::raw::{Class, Kind, Probabilities, RawEvent, Texts, Ts};
use super::schema::{FEATURES, NONE, PROBABILITIES, Schema, TAGS, Target};
use super::{number, rfc3339};
use crate::event::scalar::is_canonical_integer;
use crate::event::text::write_number;
use crate::event::{Reject, Scalar, Timestamp};

/// The largest record read unless set otherwise, in bytes: four times what a broker takes by default (`message.max.bytes`).
pub const DEFAULT_MAX_BYTES: usize = 4 << 20;
/// No record may be larger, whatever is set: positions in it have 32 bits, of which the signed half is enough.
const MOST_BYTES: usize = i32::MAX as usize;

/// What a record has beside its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordMeta<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// The record's own time.
    pub timestamp: Option<Timestamp>,
    /// Headers in their order; only read where the mapping names one, and only those that `Mapping::headers` names need be here.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// What has been found in the record so far.
#[derive(Debug, Default)]
struct Found {
    /// Counts records; wraps.
    event: u32,
    fields: [Cell; SCALARS],
    features: Vec<Cell>,
    features_epoch: u32,
    known_features: u32,
    unknown_features: u32,
    has_features: bool,
    bad_features: bool,
    tags: Vec<Cell>,
    tags_epoch: u32,
    classes: Vec<Class>,
    bad_probabilities: bool,
    repeated_class: bool,
    /// Strings that had escapes, and canonical numbers.
    unescaped: String,
    /// The last key that had escapes.
    key: String,
}

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
        let mut walk = Walk { schema: &mut self.schema, found: &mut self.found, cursor: Cursor::new(text) };
        let is_object = walk.record().map_err(|Broken| Reject::NotJson)?;
        let nonstandard = walk.cursor.nonstandard;
        if !is_object {
            return Err(Reject::NotAnObject);
        }
        self.found.settle(text);
        let decoder: &'a Decoder = self;
        if decoder.found.bad_features {
            return Err(Reject::BadFeatures);
        }
        decoder.event(text, record, nonstandard)
    }

    fn event<'a>(&'a self, text: &'a str, record: &RecordMeta<'a>, nonstandard: u32) -> Result<RawEvent<'a>, Reject> {
        let found = &self.found;
        let texts = Texts { record: text, unescaped: &found.unescaped };
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
            Scalar::Bool(_) | Scalar::Other => Ts::Bad,
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

/// The text of a selector that does not point into the value.
fn beside<'a>(selector: &'a Selector, record: &RecordMeta<'a>) -> Option<&'a str> {
    let utf8 = |bytes| std::str::from_utf8(bytes).ok();
    match selector {
        Selector::Pointer(_) => None,
        Selector::Header(wanted) => {
            record.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).and_then(|(_, value)| utf8(value))
        }
        Selector::Key => record.key.and_then(utf8),
        Selector::Topic => Some(record.topic),
        Selector::Const(value) => Some(value),
    }
}

fn number_or_text(text: &str) -> Scalar<'_> {
    let mut cursor = Cursor::new(text);
    match number::read(&mut cursor) {
        Ok(value) if cursor.at_end() => Scalar::Num { value, text },
        _ => Scalar::Text(text),
    }
}

/// The epoch after `epoch`. When it wraps, the cells of long ago are cleared, lest they seem new.
fn next_epoch(epoch: u32, cells: &mut [Cell]) -> u32 {
    epoch.checked_add(1).unwrap_or_else(|| {
        cells.iter_mut().for_each(|cell| cell.epoch = 0);
        1
    })
}

impl Found {
    fn begin(&mut self) {
        self.event = self.event.wrapping_add(1);
        self.fields = [Cell::default(); SCALARS];
        self.unescaped.clear();
        self.forget(FEATURES | PROBABILITIES | TAGS);
    }

    /// Takes back what objects held: at the start, and where the same key comes again.
    #[inline]
    fn forget(&mut self, roles: u8) {
        if roles & FEATURES != 0 {
            self.features_epoch = next_epoch(self.features_epoch, &mut self.features);
            (self.known_features, self.unknown_features) = (0, 0);
            (self.has_features, self.bad_features) = (false, false);
        }
        if roles & PROBABILITIES != 0 {
            self.classes.clear();
            (self.bad_probabilities, self.repeated_class) = (false, false);
        }
        if roles & TAGS != 0 {
            self.tags_epoch = next_epoch(self.tags_epoch, &mut self.tags);
        }
    }

    /// Gives all fields of a set of bits one value.
    fn set_fields(&mut self, fields: u16, value: Cell) {
        for (field, cell) in self.fields.iter_mut().enumerate() {
            if fields & 1 << field != 0 {
                *cell = value;
            }
        }
    }

    #[inline(always)]
    fn feature(&mut self, slot: u32, cell: Cell) {
        if let Some(place) = self.features.get_mut(slot as usize) {
            self.known_features += u32::from(place.epoch != self.features_epoch);
            *place = Cell { epoch: self.features_epoch, ..cell };
        }
    }

    fn tag(&mut self, slot: u32, cell: Cell) {
        if let Some(place) = self.tags.get_mut(slot as usize) {
            *place = Cell { epoch: self.tags_epoch, ..cell };
        }
    }

    fn class(&mut self, name: Cell, value: Cell) {
        let order = u32::try_from(self.classes.len()).unwrap_or(NONE);
        self.classes.push(Class { name, value, order });
    }

    /// After the walk: numbers that serve as names become canonical, and of a class that came twice the last one stays.
    fn settle(&mut self, text: &str) {
        for field in [Field::Model, Field::Version, Field::Id] {
            if let Some(cell) = self.fields.get_mut(field as usize) {
                make_canonical(cell, text, &mut self.unescaped);
            }
        }
        for cell in self.tags.iter_mut().filter(|cell| cell.epoch == self.tags_epoch) {
            make_canonical(cell, text, &mut self.unescaped);
        }
        if self.repeated_class {
            let texts = Texts { record: text, unescaped: &self.unescaped };
            self.classes.sort_unstable_by(|a, b| texts.text(&a.name).cmp(texts.text(&b.name)).then(b.order.cmp(&a.order)));
            self.classes.dedup_by(|later, kept| texts.text(&later.name) == texts.text(&kept.name));
            self.classes.sort_unstable_by_key(|class| class.order);
        }
    }
}

/// Writes the canonical text of a number that is not its own; what is not finite names nothing.
fn make_canonical(cell: &mut Cell, text: &str, unescaped: &mut String) {
    if cell.kind != CellKind::Number || is_canonical_integer(text.get(cell.start as usize..cell.end as usize).unwrap_or_default()) {
        return;
    }
    if !cell.number.is_finite() {
        cell.kind = CellKind::Other;
        return;
    }
    let start = unescaped.len();
    write_number(cell.number, unescaped);
    *cell = Cell { epoch: cell.epoch, ..Cell::with_text(CellKind::Unescaped, start, unescaped.len()) };
}

/// A walk of the trie along a text.
struct Walk<'d, 'p> {
    schema: &'d mut Schema,
    found: &'d mut Found,
    cursor: Cursor<'p>,
}

/// A key of the text: its number in the node or `NONE`, what it is for, and where its name is.
#[derive(Clone, Copy)]
struct KeyHere {
    number: u32,
    target: Target,
    name: Cell,
}

impl Walk<'_, '_> {
    /// Walks the whole record; whether it is an object.
    fn record(&mut self) -> Result<bool, Broken> {
        let first = self.cursor.space();
        let is_object = first == b'{';
        if is_object {
            let roles = self.schema.nodes.first().map_or(0, |root| root.roles);
            self.found.has_features = roles & FEATURES != 0;
            self.object(0, 1)?;
        } else {
            self.cursor.skip(first, 0)?;
        }
        self.cursor.space();
        if self.cursor.at_end() { Ok(is_object) } else { Err(Broken) }
    }

    /// Walks an object that begins here, of a node of the trie, as the `depth`th level of nesting.
    fn object(&mut self, node: u32, depth: u32) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken);
        }
        self.cursor.pos += 1;
        if self.cursor.space() == b'}' {
            self.cursor.pos += 1;
            return Ok(());
        }
        let mut previous = NONE;
        loop {
            let key = self.key(node, previous)?;
            previous = key.number;
            let first = self.cursor.space();
            match key.target {
                Target::Feature(slot) => {
                    let cell = self.cursor.value(first, depth, &mut self.found.unescaped)?;
                    self.found.feature(slot, cell);
                }
                Target::Field(field) => {
                    let cell = self.cursor.value(first, depth, &mut self.found.unescaped)?;
                    if let Some(place) = self.found.fields.get_mut(field as usize) {
                        *place = cell;
                    }
                }
                Target::Skip => self.cursor.skip(first, depth)?,
                Target::Tag(slot) => {
                    let cell = self.cursor.value(first, depth, &mut self.found.unescaped)?;
                    self.found.tag(slot, cell);
                }
                Target::Sink(sink) => self.sink(sink, node, key, first, depth)?,
                Target::Open => self.open(node, key, first, depth)?,
            }
            match self.cursor.space() {
                b',' => {
                    self.cursor.pos += 1;
                    self.cursor.space();
                }
                b'}' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(Broken),
            }
        }
    }

    /// Steps over a key and its colon. As a rule it is the one that came after `previous` last time.
    #[inline(always)]
    fn key(&mut self, node: u32, previous: u32) -> Result<KeyHere, Broken> {
        let known = self.schema.nodes.get(node as usize).ok_or(Broken)?;
        let guess = known.keys.get(previous as usize).map_or(known.first, |key| key.next);
        if let Some(key) = known.keys.get(guess as usize)
            && key.matches(&self.cursor)
        {
            let start = self.cursor.pos;
            self.cursor.pos += key.length as usize;
            let name = Cell::with_text(CellKind::Text, start + 1, self.cursor.pos.saturating_sub(2));
            return Ok(KeyHere { number: guess, target: key.target, name });
        }
        self.other_key(node, previous)
    }

    #[inline(never)]
    fn other_key(&mut self, node: u32, previous: u32) -> Result<KeyHere, Broken> {
        if self.cursor.peek() != b'"' {
            return Err(Broken);
        }
        self.cursor.pos += 1;
        self.found.key.clear();
        let mut name = self.cursor.string(Some(&mut self.found.key))?;
        let known = self.schema.nodes.get_mut(node as usize).ok_or(Broken)?;
        let (number, target) = if name.kind == CellKind::Text {
            known.find(self.cursor.slice(name.start as usize, name.end as usize))
        } else {
            let found = known.find(&self.found.key);
            if known.roles & PROBABILITIES != 0 {
                let start = self.found.unescaped.len();
                self.found.unescaped.push_str(&self.found.key);
                name = Cell::with_text(CellKind::Unescaped, start, self.found.unescaped.len());
            }
            found
        };
        if number != NONE {
            known.learn(previous, number);
        }
        self.cursor.colon()?;
        Ok(KeyHere { number, target, name })
    }

    /// A key that has no slot, of an object of features or of classes.
    fn open(&mut self, node: u32, key: KeyHere, first: u8, depth: u32) -> Result<(), Broken> {
        let roles = self.schema.nodes.get(node as usize).map_or(0, |node| node.roles);
        if roles & FEATURES != 0 {
            self.found.unknown_features = self.found.unknown_features.saturating_add(1);
        }
        if roles & PROBABILITIES == 0 {
            return self.cursor.skip(first, depth);
        }
        let value = self.cursor.value(first, depth, &mut self.found.unescaped)?;
        self.class(node, key, value);
        Ok(())
    }

    fn class(&mut self, node: u32, key: KeyHere, value: Cell) {
        let keys = self.schema.nodes.get_mut(node as usize).map(|node| &mut node.keys);
        match keys.and_then(|keys| keys.get_mut(key.number as usize)) {
            Some(known) => {
                self.found.repeated_class |= known.seen == self.found.event;
                known.seen = self.found.event;
            }
            // Too many classes to have numbers: look for repetitions among all.
            None => self.found.repeated_class = true,
        }
        self.found.class(key.name, value);
    }

    /// A value that is for several things, or an object or array to enter.
    fn sink(&mut self, number: u32, node: u32, key: KeyHere, first: u8, depth: u32) -> Result<(), Broken> {
        let sink = self.schema.sinks.get_mut(number as usize).ok_or(Broken)?;
        let came_before = sink.seen == self.found.event;
        sink.seen = self.found.event;
        let sink = sink.clone();
        if came_before {
            self.found.forget(sink.roles_beneath);
            self.found.set_fields(sink.fields_beneath, Cell::default());
        }
        let value = match first {
            b'{' if sink.child != NONE => {
                self.found.has_features |= sink.roles & FEATURES != 0;
                self.object(sink.child, depth + 1)?;
                Cell::of(CellKind::Other)
            }
            b'[' if sink.child != NONE => {
                self.array(sink.child, depth + 1)?;
                self.not_an_object(sink.roles);
                Cell::of(CellKind::Other)
            }
            _ => {
                let cell = self.cursor.value(first, depth, &mut self.found.unescaped)?;
                if cell.kind != CellKind::Null {
                    self.not_an_object(sink.roles);
                }
                cell
            }
        };
        if sink.fields != 0 {
            self.found.set_fields(sink.fields, value);
        }
        if sink.feature != NONE {
            self.found.feature(sink.feature, value);
        }
        if sink.tag != NONE {
            self.found.tag(sink.tag, value);
        }
        if sink.probability {
            self.class(node, key, value);
        }
        Ok(())
    }

    fn not_an_object(&mut self, roles: u8) {
        self.found.bad_features |= roles & FEATURES != 0;
        self.found.bad_probabilities |= roles & PROBABILITIES != 0;
    }

    /// Walks an array that begins here, some of whose elements are pointed at.
    fn array(&mut self, node: u32, depth: u32) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken);
        }
        self.cursor.pos += 1;
        if self.cursor.space() == b']' {
            self.cursor.pos += 1;
            return Ok(());
        }
        let nameless = KeyHere { number: NONE, target: Target::Skip, name: Cell::default() };
        let mut index = 0;
        loop {
            let first = self.cursor.space();
            let elements = self.schema.nodes.get(node as usize).map_or(&[][..], |node| &node.elements);
            match elements.iter().find(|element| element.0 == index) {
                Some((_, sink)) => self.sink(*sink, node, nameless, first, depth)?,
                None => self.cursor.skip(first, depth)?,
            }
            index += 1;
            match self.cursor.space() {
                b',' => self.cursor.pos += 1,
                b']' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(Broken),
            }
        }
    }
}
