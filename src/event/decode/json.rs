//! A JSON text, and the steps over its tokens: space, strings, literals, and whole values that nobody asked for.
//!
//! Places in the text are passed and returned rather than kept, so that they stay in registers. Eight bytes at a time where that
//! pays. Every step checks the syntax; none knows what the tokens mean.

use std::cell::Cell as Counter;

use super::number;

/// The deepest nesting of objects and arrays: that of `serde_json`, so that both take the same texts.
pub const MAX_DEPTH: u32 = 127;

/// A byte in every lane of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The top bit in every lane of a word.
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What kind of value a cell holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CellKind {
    #[default]
    Missing,
    Null,
    False,
    True,
    /// A number; the range is its text in the record.
    Number,
    /// A string without escapes; the range is its content in the record.
    Text,
    /// A string that had escapes; the range is its content in the scratch text.
    Unescaped,
    /// An array of numbers; the range is that of its numbers among those of the record.
    Vector,
    /// Another array, or an object.
    Other,
}

/// A value and where its text is. The epoch says in which event it was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub number: f64,
    pub start: u32,
    pub end: u32,
    pub epoch: u32,
    pub kind: CellKind,
}

impl Cell {
    pub(super) fn of(kind: CellKind) -> Cell {
        Cell { kind, ..Cell::default() }
    }

    /// Gives it a kind and a text. Positions fit: the decoder takes no text of more than `i32::MAX` bytes.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn set_text(&mut self, kind: CellKind, start: usize, end: usize) {
        (self.kind, self.start, self.end) = (kind, start as u32, end as u32);
    }
}

/// A JSON text.
#[derive(Clone, Copy)]
pub(super) struct Json<'p, 'c> {
    text: &'p str,
    /// Counts the bare `NaN`, `Infinity` and `-Infinity` that were passed.
    nonstandard: &'c Counter<u32>,
}

impl<'p, 'c> Json<'p, 'c> {
    pub(super) fn new(text: &'p str, nonstandard: &'c Counter<u32>) -> Json<'p, 'c> {
        Json { text, nonstandard }
    }

    /// The text between two places, or nothing where they are not places between characters.
    #[inline]
    pub(super) fn slice(self, start: usize, end: usize) -> &'p str {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn is_end(self, at: usize) -> bool {
        at >= self.text.len()
    }

    /// The byte at a place; 0 at the end, which begins no token.
    #[inline(always)]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// Eight bytes from a place, the first in the lowest lane; zeros beyond the end.
    #[inline(always)]
    pub(super) fn word(self, at: usize) -> u64 {
        match self.text.as_bytes().get(at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => last_word(self.text, at),
        }
    }

    pub(super) fn starts_with(self, at: usize, pattern: &[u8]) -> bool {
        self.text.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(pattern))
    }

    /// Steps over white space: the place after it and the byte there.
    #[inline(always)]
    pub(super) fn space(self, at: usize) -> (usize, u8) {
        let byte = self.byte(at);
        if byte > b' ' { (at, byte) } else { self.more_space(at) }
    }

    #[inline(always)]
    fn more_space(self, mut at: usize) -> (usize, u8) {
        while matches!(self.byte(at), b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
        }
        (at, self.byte(at))
    }

    /// Steps over a colon and the space around it: the place after them and the byte there.
    #[inline]
    pub(super) fn colon(self, at: usize) -> Result<(usize, u8), Broken> {
        match self.space(at) {
            (at, b':') => Ok(self.space(at + 1)),
            _ => Err(Broken),
        }
    }

    /// Steps over the rest of a string whose opening quote is before `start`: the place after it. The cell gets its content; a
    /// string with escapes is written without them to the end of `unescaped`, where that is given.
    #[inline(always)]
    pub(super) fn string(self, start: usize, unescaped: Option<&mut String>, cell: &mut Cell) -> Result<usize, Broken> {
        let end = self.plain(start);
        match self.byte(end) {
            b'"' => {
                cell.set_text(CellKind::Text, start, end);
                Ok(end + 1)
            }
            b'\\' => self.escaped_string(start, end, unescaped, cell),
            _ => Err(Broken),
        }
    }

    /// The next quote, backslash, control character or the end.
    #[inline(always)]
    fn plain(self, mut at: usize) -> usize {
        loop {
            let special = special_lanes(self.word(at));
            if special != 0 {
                return at + (special.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
    }

    #[cold]
    #[inline(never)]
    fn escaped_string(self, start: usize, mut at: usize, mut unescaped: Option<&mut String>, cell: &mut Cell) -> Result<usize, Broken> {
        let from = unescaped.as_deref().map_or(0, String::len);
        let mut run = start;
        loop {
            if let Some(out) = unescaped.as_deref_mut() {
                out.push_str(self.slice(run, at));
            }
            match self.byte(at) {
                b'"' => {
                    let to = unescaped.as_deref().map_or(0, String::len);
                    cell.set_text(CellKind::Unescaped, from, to);
                    return Ok(at + 1);
                }
                b'\\' => {
                    let (character, after) = self.escape(at + 1)?;
                    if let Some(out) = unescaped.as_deref_mut() {
                        out.push(character);
                    }
                    run = after;
                    at = self.plain(after);
                }
                _ => return Err(Broken),
            }
        }
    }

    /// The character of an escape whose backslash is before `at`. A surrogate without its other half is an error.
    fn escape(self, at: usize) -> Result<(char, usize), Broken> {
        let byte = self.byte(at);
        let character = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4(at + 1)?;
                if !(0xD800..0xDC00).contains(&unit) {
                    // A low surrogate alone is no character.
                    return Ok((char::from_u32(unit).ok_or(Broken)?, at + 5));
                }
                if self.byte(at + 5) != b'\\' || self.byte(at + 6) != b'u' {
                    return Err(Broken);
                }
                let low = self.hex4(at + 7)?;
                if !(0xDC00..0xE000).contains(&low) {
                    return Err(Broken);
                }
                let code = 0x1_0000 + (((unit - 0xD800) << 10) | (low - 0xDC00));
                return Ok((char::from_u32(code).ok_or(Broken)?, at + 11));
            }
            _ => return Err(Broken),
        };
        Ok((character, at + 1))
    }

    fn hex4(self, at: usize) -> Result<u32, Broken> {
        (at..at + 4).try_fold(0, |unit, at| Ok(unit << 4 | char::from(self.byte(at)).to_digit(16).ok_or(Broken)?))
    }

    /// Steps over a value that begins with `first` at a place, inside `depth` objects and arrays: the place after it. The cell gets
    /// the value; unescaped text of a string goes to the end of `unescaped`.
    #[inline(always)]
    pub(super) fn value(self, at: usize, first: u8, depth: u32, unescaped: &mut String, cell: &mut Cell) -> Result<usize, Broken> {
        if first.is_ascii_digit() || first == b'-' {
            let (number, end) = number::read(self, at)?;
            cell.number = number;
            cell.set_text(CellKind::Number, at, end);
            return Ok(end);
        }
        if first == b'"' {
            return self.string(at + 1, Some(unescaped), cell);
        }
        self.rare_value(at, first, depth, cell)
    }

    #[inline(never)]
    fn rare_value(self, at: usize, first: u8, depth: u32, cell: &mut Cell) -> Result<usize, Broken> {
        let (kind, end) = match first {
            b'n' => (CellKind::Null, self.literal(at, b"null")?),
            b't' => (CellKind::True, self.literal(at, b"true")?),
            b'f' => (CellKind::False, self.literal(at, b"false")?),
            b'N' | b'I' => {
                cell.number = if first == b'N' { f64::NAN } else { f64::INFINITY };
                (CellKind::Number, self.nonstandard(at, first)?)
            }
            b'{' | b'[' => (CellKind::Other, self.skip_nested(at, first, depth)?),
            _ => return Err(Broken),
        };
        cell.set_text(kind, at, end);
        Ok(end)
    }

    /// Steps over a value that may be an array of numbers, whose numbers are appended: the place after it. Where it holds anything
    /// else, a number that is not finite, or more than `most`, it is an array like any other. The bytes are read once.
    #[inline(never)]
    pub(super) fn vector(self, at: usize, depth: u32, most: usize, numbers: &mut Vec<f64>, cell: &mut Cell) -> Result<usize, Broken> {
        let start = numbers.len();
        let mut next = self.space(at + 1);
        loop {
            let (place, first) = next;
            // Depth is that of the array's elements, which are not nested.
            let is_number = first.is_ascii_digit() || (first == b'-' && self.byte(place + 1) != b'I');
            if !is_number || numbers.len() - start >= most || depth >= MAX_DEPTH {
                break;
            }
            let (number, after) = number::read(self, place)?;
            if !number.is_finite() {
                break;
            }
            numbers.push(number);
            match self.space(after) {
                (after, b',') => next = self.space(after + 1),
                (after, b']') => {
                    cell.set_text(CellKind::Vector, start, numbers.len());
                    return Ok(after + 1);
                }
                _ => return Err(Broken),
            }
        }
        numbers.truncate(start);
        self.rare_value(at, b'[', depth, cell)
    }

    fn literal(self, at: usize, literal: &[u8]) -> Result<usize, Broken> {
        if self.starts_with(at, literal) { Ok(at + literal.len()) } else { Err(Broken) }
    }

    /// Steps over `NaN` or `Infinity`, as Python writes them; a sign has been passed by `number`.
    #[cold]
    pub(super) fn nonstandard(self, at: usize, first: u8) -> Result<usize, Broken> {
        let end = self.literal(at, if first == b'N' { b"NaN" } else { b"Infinity" })?;
        self.nonstandard.set(self.nonstandard.get().saturating_add(1));
        Ok(end)
    }

    /// Steps over any value that begins with `first` at a place, inside `depth` objects and arrays, and keeps nothing.
    #[inline(never)]
    pub(super) fn skip(self, at: usize, first: u8, depth: u32) -> Result<usize, Broken> {
        match first {
            b'"' => self.string(at + 1, None, &mut Cell::default()),
            b'-' | b'0'..=b'9' => number::read(self, at).map(|(_, end)| end),
            _ => self.rare_value(at, first, depth, &mut Cell::default()),
        }
    }

    /// Steps over an object or array without recursion: a bit per level says which of the two it is.
    fn skip_nested(self, mut at: usize, mut first: u8, depth: u32) -> Result<usize, Broken> {
        let mut objects: u128 = 0;
        let mut levels: u32 = 0;
        loop {
            // Here `first` begins a value.
            let mut ended = true;
            if matches!(first, b'{' | b'[') {
                levels += 1;
                if depth + levels > MAX_DEPTH {
                    return Err(Broken);
                }
                objects = objects << 1 | u128::from(first == b'{');
                let (next_at, next) = self.space(at + 1);
                at = next_at;
                if next == if first == b'{' { b'}' } else { b']' } {
                    at += 1;
                    levels -= 1;
                    objects >>= 1;
                } else {
                    ended = false;
                }
            } else {
                at = self.skip(at, first, depth + levels)?;
            }
            // After a value: close what ends here, or step over the comma.
            while ended {
                if levels == 0 {
                    return Ok(at);
                }
                let (next_at, next) = self.space(at);
                at = next_at + 1;
                match (next, objects & 1) {
                    (b',', _) => ended = false,
                    (b'}', 1) | (b']', 0) => {
                        levels -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(Broken),
                }
            }
            (at, first) = self.space(at);
            if objects & 1 == 1 {
                if first != b'"' {
                    return Err(Broken);
                }
                at = self.string(at + 1, None, &mut Cell::default())?;
                (at, first) = self.colon(at)?;
            }
        }
    }
}

/// Up to eight bytes of a text from a place, the first in the lowest lane; zeros beyond the end.
#[cold]
#[inline(never)]
pub(super) fn last_word(text: &str, at: usize) -> u64 {
    let tail = text.as_bytes().get(at..).unwrap_or_default();
    tail.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The top bit of the lowest lane that holds a quote, a backslash or a control character; lanes above it are not exact.
/// A lane is below `n` if subtracting `n` borrows although the lane's own top bit is clear; it equals `c` if lane xor `c` is below 1.
#[inline(always)]
fn special_lanes(word: u64) -> u64 {
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(json: &str) -> Option<String> {
        let counter = Counter::new(0);
        let json = Json::new(json, &counter);
        let mut unescaped = String::from("before");
        let mut cell = Cell::default();
        let after = json.string(1, Some(&mut unescaped), &mut cell).ok()?;
        assert!(json.is_end(after));
        let (start, end) = (cell.start as usize, cell.end as usize);
        Some(if cell.kind == CellKind::Text { json.slice(start, end) } else { &unescaped[start..end] }.to_owned())
    }

    fn skips(json: &str) -> bool {
        let counter = Counter::new(0);
        let json = Json::new(json, &counter);
        let (at, first) = json.space(0);
        json.skip(at, first, 0).is_ok_and(|end| json.is_end(end))
    }

    #[test]
    fn special_bytes_are_found_in_every_lane() {
        for lane in 0..8 {
            for byte in 0..=255u8 {
                for filler in [b'a', 0x7f, 0x80, 0xff, b'!', b'#', b' ', b']'] {
                    let mut bytes = [filler; 8];
                    bytes[lane] = byte;
                    let first = bytes.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
                    let lanes = special_lanes(u64::from_le_bytes(bytes));
                    assert_eq!((lanes != 0).then(|| (lanes.trailing_zeros() / 8) as usize), first, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn unescapes_as_serde_json_does() {
        for json in [
            r#""""#,
            r#""plain""#,
            r#""a\"b\\c\/d\b\f\n\r\t""#,
            r#""\u00e9t\u00C9""#,
            r#""a rather long one \ud83d\ude00 and more""#,
            r#""é😀""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83dA""#,
            r#""\ud83d\ud83d""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\x""#,
            "\"tab\there\"",
            "\"open",
            r#""open\"#,
            r#""\"#,
        ] {
            assert_eq!(string(json), serde_json::from_str::<String>(json).ok(), "{json}");
        }
    }

    #[test]
    fn skips_what_serde_json_reads() {
        for json in [
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            r#"{"a":[1,2,{"b":null}],"c":{}}"#,
            "[1,]",
            "[,1]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1 2]",
            "[1}",
            "{]",
            r#"{"a":1]"#,
            "[",
            "{",
            "",
            "nul",
            "null",
            "true",
            "False",
            "[\n1 ,\t2\r]",
            r#"{"a\n" : 1}"#,
            r#"["\q"]"#,
            r"{1:2}",
            "[]]",
            "01",
            "-",
            "1.",
            "[[1],[2,[3]],4]",
        ] {
            assert_eq!(skips(json), serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
        for depth in [126, 127, 128, 129, 5000] {
            let json = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(skips(&json), serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{depth}");
            let json = "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
            assert_eq!(skips(&json), serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{depth}");
        }
        assert!(skips("[NaN,-Infinity,Infinity]"));
        assert!(!skips("[-NaN]"));
        assert!(!skips("Inf"));
    }
}
