//! Newline-delimited JSON: flat objects, or events in the default shape with nested features.
//!
//! The first line decides for the file: where it has an object `features`, every line is read as an event. Lines may have
//! different keys. The bare tokens NaN, Infinity and -Infinity, which Python writes, are read as numbers.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::baseline::rows::{ColumnData, MixedCell, Role, RowBatch, Selection};

use super::text::{self, Compression};
use super::{BATCH_ROWS, TableError};

/// Longest line in bytes: one event is a few kilobytes; anything longer is not line-delimited.
const LINE_BYTES: u64 = 16 * 1024 * 1024;
/// What stands for the bare tokens in a line that has been repaired; no JSON text can begin with a bare NUL.
const TOKENS: [(&str, &str, f64); 3] = [
    ("-Infinity", "\"\\u0000-inf\"", f64::NEG_INFINITY),
    ("Infinity", "\"\\u0000inf\"", f64::INFINITY),
    ("NaN", "\"\\u0000nan\"", f64::NAN),
];

pub(super) struct NdjsonTable {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    count: Arc<AtomicU64>,
    buffer: Vec<u8>,
    line: u64,
    sink: Option<Sink>,
    selection: Selection,
}

impl fmt::Debug for NdjsonTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonTable").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

impl NdjsonTable {
    pub(super) fn open(path: &Path, file: File, compression: Compression, selection: &Selection) -> Result<NdjsonTable, TableError> {
        let (reader, count) = text::open(file, compression).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
        let selection = selection.clone();
        Ok(NdjsonTable { path: path.to_owned(), reader, count, buffer: Vec::new(), line: 0, sink: None, selection })
    }

    pub(super) fn position(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn next_batch(&mut self) -> Result<RowBatch, TableError> {
        let mut rows = 0;
        while rows < BATCH_ROWS && self.read_line()? {
            let mut bytes = self.buffer.as_slice();
            if self.line == 1 {
                bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            }
            let fail = |fault: String| TableError::Line { path: self.path.clone(), line: self.line, fault };
            let text = std::str::from_utf8(bytes).map_err(|_| fail("not UTF-8".to_owned()))?;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let sink = match &mut self.sink {
                Some(sink) => sink,
                none => {
                    let nested = parse(text, |json| serde_json::from_str::<Shape>(json)).map_err(|fault| fail(explain(&fault)))?.0;
                    none.insert(Sink::new(self.selection.clone(), nested))
                }
            };
            sink.row = rows;
            parse(text, |json| {
                let mut deserializer = serde_json::Deserializer::from_str(json);
                Row { sink: &mut *sink, part: Part::Top }.deserialize(&mut deserializer)?;
                deserializer.end()
            })
            .map_err(|fault| fail(explain(&fault)))?;
            rows += 1;
        }
        Ok(RowBatch { rows, columns: self.sink.as_mut().map(Sink::take).unwrap_or_default() })
    }

    fn read_line(&mut self) -> Result<bool, TableError> {
        self.buffer.clear();
        let read = self.reader.by_ref().take(LINE_BYTES + 1).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| TableError::Io { path: self.path.clone(), source })?;
        self.line += 1;
        if read as u64 > LINE_BYTES {
            let fault = format!("longer than {LINE_BYTES} bytes");
            return Err(TableError::Line { path: self.path.clone(), line: self.line, fault });
        }
        Ok(read > 0)
    }
}

/// Parses a line; where that fails, once more with the bare tokens made strings.
fn parse<T>(text: &str, mut read: impl FnMut(&str) -> Result<T, serde_json::Error>) -> Result<T, serde_json::Error> {
    read(text).or_else(|fault| match repair(text) {
        Some(repaired) => read(&repaired).map_err(|_| fault),
        None => Err(fault),
    })
}

/// The line with bare NaN, Infinity and -Infinity as strings; `None` where there are none.
fn repair(text: &str) -> Option<String> {
    let mut repaired = String::with_capacity(text.len() + 32);
    let (mut rest, mut found) = (text, false);
    while let Some(next) = rest.chars().next() {
        if next == '"' {
            let end = string_end(rest)?;
            repaired.push_str(rest.get(..end)?);
            rest = rest.get(end..)?;
        } else if let Some((token, marker, _)) = TOKENS.iter().find(|(token, ..)| rest.starts_with(token)) {
            repaired.push_str(marker);
            rest = rest.get(token.len()..)?;
            found = true;
        } else {
            repaired.push(next);
            rest = rest.get(next.len_utf8()..)?;
        }
    }
    found.then_some(repaired)
}

/// Where the string ends that `text` begins with.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

fn explain(fault: &serde_json::Error) -> String {
    let text = fault.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    if fault.column() > 0 { format!("{text}, at column {}", fault.column()) } else { text.to_owned() }
}

/// Whether a line is an event: an object with an object `features`.
struct Shape(bool);

impl<'de> de::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut event = false;
                while let Some(key) = map.next_key::<String>()? {
                    event |= matches!((key.as_str(), map.next_value::<serde_json::Value>()?), ("features", serde_json::Value::Object(_)));
                }
                Ok(Shape(event))
            }
        }
        deserializer.deserialize_map(Look)
    }
}

/// Which object of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Top,
    Features,
    Probabilities,
    Tags,
}

/// What a key of a line stands for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Column(usize),
    Object(Part),
    /// The kind of an event: only predictions make a baseline.
    Kind,
    Skip,
}

/// A column of a batch: its cells, and what strings and arrays point into.
struct MixedColumn {
    role: Role,
    cells: Vec<MixedCell>,
    text: String,
    numbers: Vec<f64>,
}

/// The columns of a batch while its lines are read.
struct Sink {
    selection: Selection,
    /// Lines are events with nested features.
    nested: bool,
    targets: [FxHashMap<String, Target>; 4],
    columns: Vec<MixedColumn>,
    row: usize,
}

impl Sink {
    fn new(selection: Selection, nested: bool) -> Sink {
        Sink { selection, nested, targets: Default::default(), columns: Vec::new(), row: 0 }
    }

    fn target(&mut self, part: Part, key: &str) -> Target {
        if let Some(target) = self.targets.get(part as usize).and_then(|targets| targets.get(key)) {
            return *target;
        }
        let target = self.decide(part, key);
        if let Some(targets) = self.targets.get_mut(part as usize) {
            targets.insert(key.to_owned(), target);
        }
        target
    }

    fn decide(&mut self, part: Part, key: &str) -> Target {
        let role = match part {
            Part::Features => self.selection.feature(key),
            Part::Probabilities => Some(Role::Probability(key.into())),
            Part::Tags => Some(Role::Tag(key.into())),
            Part::Top => match (key, self.selection.role(key)) {
                ("probabilities", _) => return Target::Object(Part::Probabilities),
                ("tags", _) => return Target::Object(Part::Tags),
                ("features", _) if self.nested => return Target::Object(Part::Features),
                ("event", _) if self.nested => return Target::Kind,
                // Envelope fields of an event are no features.
                (_, Some(Role::Feature(_))) if self.nested => None,
                (_, role) => role,
            },
        };
        let Some(role) = role else { return Target::Skip };
        let known = self.columns.iter().position(|column| column.role == role);
        Target::Column(known.unwrap_or_else(|| {
            self.columns.push(MixedColumn { role, cells: Vec::new(), text: String::new(), numbers: Vec::new() });
            self.columns.len() - 1
        }))
    }

    fn put(&mut self, column: usize, cell: MixedCell) {
        let row = self.row;
        if let Some(MixedColumn { cells, .. }) = self.columns.get_mut(column) {
            cells.resize(row + 1, MixedCell::Missing);
            if let Some(place) = cells.get_mut(row) {
                *place = cell;
            }
        }
    }

    fn put_text(&mut self, column: usize, value: &str) {
        if let Some(marked) = value.strip_prefix('\0') {
            let token = TOKENS.iter().find(|(_, marker, _)| marker.get(7..marker.len() - 1) == Some(marked));
            if let Some((_, _, number)) = token {
                self.put(column, MixedCell::Num(*number));
                return;
            }
        }
        let Some(MixedColumn { text, .. }) = self.columns.get_mut(column) else { return };
        let start = text.len();
        text.push_str(value);
        let end = text.len();
        self.put(column, MixedCell::Text(start, end));
    }

    fn take(&mut self) -> Vec<(Role, ColumnData)> {
        let take = |MixedColumn { role, cells, text, numbers }: &mut MixedColumn| {
            let (cells, text, numbers) = (std::mem::take(cells), std::mem::take(text), std::mem::take(numbers));
            (role.clone(), ColumnData::Mixed { cells, text, numbers })
        };
        self.columns.iter_mut().map(take).collect()
    }
}

/// Reads one object of a line into the sink.
struct Row<'a> {
    sink: &'a mut Sink,
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.part {
            Part::Top => "a JSON object",
            Part::Features => "an object of features",
            Part::Probabilities => "an object of probabilities",
            Part::Tags => "an object of tags",
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.part == Part::Top { Err(E::invalid_type(de::Unexpected::Unit, &self)) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Row { sink, part } = self;
        while let Some(target) = map.next_key_seed(Key { sink: &mut *sink, part })? {
            match target {
                Target::Column(column) => map.next_value_seed(Cell { sink: &mut *sink, column })?,
                Target::Object(part) => map.next_value_seed(Row { sink: &mut *sink, part })?,
                Target::Skip => {
                    map.next_value::<IgnoredAny>()?;
                }
                Target::Kind => {
                    let kind = map.next_value::<serde_json::Value>()?;
                    if kind != "prediction" {
                        return Err(de::Error::custom(format!(
                            "event {kind} is no prediction; labels stand in the line of their prediction"
                        )));
                    }
                }
            }
        }
        Ok(())
    }
}

struct Key<'a> {
    sink: &'a mut Sink,
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Target;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Target, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Target;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Target, E> {
        Ok(self.sink.target(self.part, key))
    }
}

/// One element of an array: a number, or something that makes the array no vector.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Element {
    Number(f64),
    Other(IgnoredAny),
}

/// Reads one value of a line into its column.
struct Cell<'a> {
    sink: &'a mut Sink,
    column: usize,
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.sink.put(self.column, MixedCell::Null);
        Ok(())
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.sink.put(self.column, MixedCell::Bool(value));
        Ok(())
    }
    #[allow(clippy::cast_precision_loss)] // Every number of the system is an f64.
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.sink.put(self.column, MixedCell::Num(value as f64));
        Ok(())
    }
    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.sink.put(self.column, MixedCell::Num(value as f64));
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.sink.put(self.column, MixedCell::Num(value));
        Ok(())
    }
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.sink.put_text(self.column, value);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some(MixedColumn { numbers, .. }) = self.sink.columns.get_mut(self.column) else { return Ok(()) };
        let start = numbers.len();
        let mut are_numbers = true;
        while let Some(element) = list.next_element::<Element>()? {
            match element {
                Element::Number(number) if are_numbers && number.is_finite() => numbers.push(number),
                _ => are_numbers = false,
            }
        }
        if !are_numbers || numbers.len() == start {
            numbers.truncate(start);
        }
        let end = numbers.len();
        self.sink.put(self.column, if end > start { MixedCell::Vector(start, end) } else { MixedCell::Other });
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.sink.put(self.column, MixedCell::Other);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_tokens_are_repaired_outside_of_strings() {
        let repaired = repair(r#"{"a": NaN, "NaN": "Infinity \" NaN", "b": -Infinity}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&repaired).unwrap();
        assert_eq!(value["a"], "\0nan");
        assert_eq!(value["NaN"], "Infinity \" NaN");
        assert_eq!(value["b"], "\0-inf");
        assert_eq!(repair(r#"{"a": 1}"#), None);
    }
}
