//! Lines of a recorded stream: a record's value with its topic, partition, offset and time around it.
//!
//! `{"topic":..,"partition":..,"offset":..,"timestamp":..,"value":{...}}`. The value is given as the bytes the decoder would have
//! had from Kafka: an object as it stands, a string (a record that is no JSON) without quotes and escapes, `null` (a record
//! without a value) as nothing. It opens no file and judges no value.

use std::borrow::Cow;

use memchr::memmem;

use super::json::{Broken, Cell, CellKind, Json};
use super::mapping::TsUnit;
use super::record::RecordMeta;
use super::rfc3339;
use crate::event::Timestamp;

/// A recorded line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapped<'a> {
    /// Name of the topic.
    pub topic: Cow<'a, str>,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The record's own time: `timestamp` in milliseconds since the epoch, or as RFC 3339.
    pub timestamp: Option<Timestamp>,
    /// The record's key, where `key` is a string.
    pub key: Option<Cow<'a, str>>,
    /// The record's headers, where `headers` is an object of strings.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The record's value.
    pub value: Cow<'a, [u8]>,
}

impl Wrapped<'_> {
    /// The headers as the decoder takes them.
    #[must_use]
    pub fn header_slices(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect()
    }

    /// What the decoder wants beside the value, with the headers of `header_slices`.
    #[must_use]
    pub fn record<'b>(&'b self, headers: &'b [(&'b str, &'b [u8])]) -> RecordMeta<'b> {
        RecordMeta { topic: &self.topic, key: self.key.as_deref().map(str::as_bytes), timestamp: self.timestamp, headers }
    }
}

/// Takes a recorded line apart. `None` where it is none: not a JSON object, or without a `topic` that is a string, a
/// `partition` and an `offset` that are integers, and a `value`. Other keys are passed over.
#[must_use]
pub fn unwrap_line(line: &[u8]) -> Option<Wrapped<'_>> {
    // Most lines of most files are bare events; this tells them apart without reading them twice.
    memmem::find(line, b"\"offset\"")?;
    let text = std::str::from_utf8(line).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    i32::try_from(text.len()).ok()?;
    let nonstandard = std::cell::Cell::new(0);
    let json = Json::new(text, &nonstandard);
    let mut wrapped = Wrapped::default();
    let mut have = [false; 4];
    let end = members(json, 0, 1, |at, key, first| {
        if key == "headers" && first == b'{' {
            wrapped.headers.clear();
            return members(json, at, 2, |at, name, first| {
                let (value, end) = string_or_skip(json, at, first, 2)?;
                wrapped.headers.extend(value.map(|value| (name, value)));
                Ok(end)
            });
        }
        let (string, end) = string_or_skip(json, at, first, 1)?;
        let raw = json.slice(at, end);
        match &*key {
            "topic" => (have[0], wrapped.topic) = (string.is_some(), string.unwrap_or_default()),
            "partition" => (have[1], wrapped.partition) = (raw.parse::<i32>().is_ok(), raw.parse().unwrap_or_default()),
            "offset" => (have[2], wrapped.offset) = (raw.parse::<i64>().is_ok(), raw.parse().unwrap_or_default()),
            "timestamp" => {
                wrapped.timestamp = match string {
                    Some(text) => rfc3339::parse(&text),
                    None => raw.parse().ok().and_then(|value| rfc3339::from_number(value, raw, TsUnit::Milliseconds)),
                }
            }
            "key" => wrapped.key = string,
            "value" => {
                have[3] = true;
                wrapped.value = match string {
                    Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                    Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                    None if first == b'n' => Cow::default(),
                    None => Cow::Borrowed(raw.as_bytes()),
                }
            }
            _ => {}
        }
        Ok(end)
    })
    .ok()?;
    let (end, _) = json.space(end);
    (json.is_end(end) && have == [true; 4]).then_some(wrapped)
}

/// Goes through the members of an object at a place, the `depth`th level of nesting: each with the place of its value, its key
/// and the first byte of the value; to be answered with the place after the value.
fn members<'p>(
    json: Json<'p, '_>,
    at: usize,
    depth: u32,
    mut member: impl FnMut(usize, Cow<'p, str>, u8) -> Result<usize, Broken>,
) -> Result<usize, Broken> {
    let (at, first) = json.space(at);
    if first != b'{' {
        return Err(Broken);
    }
    let (mut at, mut next) = json.space(at + 1);
    if next == b'}' {
        return Ok(at + 1);
    }
    loop {
        let (key, end) = string_or_skip(json, at, next, depth)?;
        let (value_at, first) = json.colon(end)?;
        let end = member(value_at, key.ok_or(Broken)?, first)?;
        (at, next) = json.space(end);
        match next {
            b',' => (at, next) = json.space(at + 1),
            b'}' => return Ok(at + 1),
            _ => return Err(Broken),
        }
    }
}

/// Steps over a value inside `depth` objects and arrays: its text where it is a string, and the place after it.
fn string_or_skip<'p>(json: Json<'p, '_>, at: usize, first: u8, depth: u32) -> Result<(Option<Cow<'p, str>>, usize), Broken> {
    if first != b'"' {
        return json.skip(at, first, depth).map(|end| (None, end));
    }
    let mut unescaped = String::new();
    let mut cell = Cell::default();
    let end = json.string(at + 1, Some(&mut unescaped), &mut cell)?;
    let text = match cell.kind {
        CellKind::Unescaped => Cow::Owned(unescaped),
        _ => Cow::Borrowed(json.slice(cell.start as usize, cell.end as usize)),
    };
    Ok((Some(text), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Option<String> {
        unwrap_line(line.as_bytes()).map(|wrapped| String::from_utf8(wrapped.value.into_owned()).unwrap())
    }

    #[test]
    fn takes_a_line_apart() {
        let line =
            r#"{"topic":"loan","partition":3,"offset":41,"timestamp":1700000000123,"key":"a","headers":{"h":"1"},"value":{"a": [1, NaN]}}"#;
        let wrapped = unwrap_line(line.as_bytes()).unwrap();
        assert_eq!((&*wrapped.topic, wrapped.partition, wrapped.offset), ("loan", 3, 41));
        assert_eq!(wrapped.timestamp, Some(Timestamp(1_700_000_000_123)));
        assert_eq!(wrapped.key.as_deref(), Some("a"));
        assert_eq!(wrapped.header_slices(), [("h", &b"1"[..])]);
        assert_eq!(&*wrapped.value, br#"{"a": [1, NaN]}"#);
        assert!(matches!(wrapped.value, Cow::Borrowed(_)));
    }

    #[test]
    fn values_that_are_no_object() {
        let wrap = |value: &str| {
            format!(r#" {{ "offset" : 1 , "value" : {value} , "topic":"t", "partition":0, "timestamp":"2026-11-22T10:45:00Z" }} "#)
        };
        assert_eq!(value(&wrap("null")).as_deref(), Some(""));
        assert_eq!(value(&wrap(r#""{\"broken\"""#)).as_deref(), Some("{\"broken\""));
        assert_eq!(value(&wrap("[1]")).as_deref(), Some("[1]"));
        assert_eq!(value(&wrap("7")).as_deref(), Some("7"));
        let line = wrap("{}");
        assert!(unwrap_line(line.as_bytes()).unwrap().timestamp.is_some());
    }

    #[test]
    fn other_lines_are_left_alone() {
        for line in [
            "",
            "{",
            r#"{"event":"prediction"}"#,
            r#"{"offset":1}"#,
            r#"{"topic":1,"partition":0,"offset":1,"value":{}}"#,
            r#"{"topic":"t","partition":"0","offset":1,"value":{}}"#,
            r#"{"topic":"t","partition":0,"offset":1.5,"value":{}}"#,
            r#"{"topic":"t","partition":0,"offset":1}"#,
            r#"{"topic":"t","partition":0,"offset":1,"value":{}"#,
            r#"{"topic":"t","partition":0,"offset":1,"value":{}} x"#,
            r#"["offset"]"#,
        ] {
            assert_eq!(unwrap_line(line.as_bytes()), None, "{line}");
        }
        assert_eq!(unwrap_line(b"{\"topic\":\"\xff\",\"partition\":0,\"offset\":1,\"value\":{}}"), None);
    }
}
