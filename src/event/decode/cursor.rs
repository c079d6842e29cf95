//! A place in a JSON text, and the steps over its tokens: space, strings, literals, and whole values that nobody asked for.
//!
//! Eight bytes at a time where that pays. Every step checks the syntax; none knows what the tokens mean.

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
    /// An object or array.
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

    /// A cell with a text. Positions fit: the decoder takes no text of more than `i32::MAX` bytes.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn with_text(kind: CellKind, start: usize, end: usize) -> Cell {
        Cell { kind, start: start as u32, end: end as u32, ..Cell::default() }
    }
}

/// A place in a text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'p> {
    text: &'p str,
    bytes: &'p [u8],
    pub pos: usize,
    /// Bare `NaN`, `Infinity` and `-Infinity` passed so far.
    pub nonstandard: u32,
}

impl<'p> Cursor<'p> {
    pub(super) fn new(text: &'p str) -> Cursor<'p> {
        Cursor { text, bytes: text.as_bytes(), pos: 0, nonstandard: 0 }
    }

    /// The text between two places, or nothing where they are not places between characters.
    #[inline]
    pub(super) fn slice(&self, start: usize, end: usize) -> &'p str {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn at_end(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    /// The byte here; 0 at the end, which begins no token.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// The byte at a place; 0 beyond the end.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// Eight bytes from a place, the first in the lowest lane; zeros beyond the end.
    #[inline(always)]
    pub(super) fn word(&self, at: usize) -> u64 {
        match self.bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => self.last_word(at),
        }
    }

    #[cold]
    fn last_word(&self, at: usize) -> u64 {
        let tail = self.bytes.get(at..).unwrap_or_default();
        tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    pub(super) fn starts_with(&self, pattern: &[u8]) -> bool {
        self.bytes.get(self.pos..).is_some_and(|rest| rest.starts_with(pattern))
    }

    /// Steps over white space; the byte after it.
    #[inline(always)]
    pub(super) fn space(&mut self) -> u8 {
        let byte = self.peek();
        if byte > b' ' { byte } else { self.more_space() }
    }

    fn more_space(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.pos += 1;
        }
        self.peek()
    }

    /// Steps over the rest of a string whose opening quote has been passed. The cell is its content; a string with escapes
    /// is written without them to the end of `unescaped`, where that is given.
    #[inline(always)]
    pub(super) fn string(&mut self, unescaped: Option<&mut String>) -> Result<Cell, Broken> {
        let start = self.pos;
        self.plain();
        match self.peek() {
            b'"' => {
                self.pos += 1;
                Ok(Cell::with_text(CellKind::Text, start, self.pos - 1))
            }
            b'\\' => self.escaped_string(start, unescaped),
            _ => Err(Broken),
        }
    }

    /// Steps to the next quote, backslash, control character or the end.
    #[inline(always)]
    fn plain(&mut self) {
        loop {
            let special = special_lanes(self.word(self.pos));
            if special != 0 {
                self.pos += (special.trailing_zeros() / 8) as usize;
                return;
            }
            self.pos += 8;
        }
    }

    #[cold]
    fn escaped_string(&mut self, start: usize, mut unescaped: Option<&mut String>) -> Result<Cell, Broken> {
        let from = unescaped.as_deref().map_or(0, String::len);
        let mut run = start;
        loop {
            self.plain();
            if let Some(out) = unescaped.as_deref_mut() {
                out.push_str(self.slice(run, self.pos));
            }
            match self.peek() {
                b'"' => {
                    self.pos += 1;
                    let to = unescaped.as_deref().map_or(0, String::len);
                    return Ok(Cell::with_text(CellKind::Unescaped, from, to));
                }
                b'\\' => {
                    self.pos += 1;
                    let character = self.escape()?;
                    if let Some(out) = unescaped.as_deref_mut() {
                        out.push(character);
                    }
                    run = self.pos;
                }
                _ => return Err(Broken),
            }
        }
    }

    /// The character of an escape whose backslash has been passed. A surrogate without its other half is an error.
    fn escape(&mut self) -> Result<char, Broken> {
        let byte = self.peek();
        self.pos += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4()?;
                let code = if (0xD800..0xDC00).contains(&unit) {
                    if self.peek() != b'\\' || self.byte(self.pos + 1) != b'u' {
                        return Err(Broken);
                    }
                    self.pos += 2;
                    let low = self.hex4()?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return Err(Broken);
                    }
                    0x1_0000 + ((unit - 0xD800) << 10 | (low - 0xDC00))
                } else {
                    unit
                };
                // A low surrogate alone is no character.
                char::from_u32(code).ok_or(Broken)?
            }
            _ => return Err(Broken),
        })
    }

    fn hex4(&mut self) -> Result<u32, Broken> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.peek()).to_digit(16).ok_or(Broken)?;
            self.pos += 1;
        }
        Ok(unit)
    }

    /// Steps over a value that begins with `first` here, inside `depth` objects and arrays. Unescaped text of a string goes to
    /// the end of `unescaped`.
    #[inline(always)]
    pub(super) fn value(&mut self, first: u8, depth: u32, unescaped: &mut String) -> Result<Cell, Broken> {
        if first.is_ascii_digit() || first == b'-' {
            let start = self.pos;
            let number = number::read(self)?;
            return Ok(Cell { number, ..Cell::with_text(CellKind::Number, start, self.pos) });
        }
        if first == b'"' {
            self.pos += 1;
            return self.string(Some(unescaped));
        }
        self.rare_value(first, depth)
    }

    fn rare_value(&mut self, first: u8, depth: u32) -> Result<Cell, Broken> {
        match first {
            b'n' => self.literal(b"null").map(|()| Cell::of(CellKind::Null)),
            b't' => self.literal(b"true").map(|()| Cell::of(CellKind::True)),
            b'f' => self.literal(b"false").map(|()| Cell::of(CellKind::False)),
            b'N' | b'I' => {
                let start = self.pos;
                let number = self.nonstandard(first)?;
                Ok(Cell { number, ..Cell::with_text(CellKind::Number, start, self.pos) })
            }
            b'{' | b'[' => self.skip_nested(first, depth).map(|()| Cell::of(CellKind::Other)),
            _ => Err(Broken),
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), Broken> {
        if self.starts_with(literal) {
            self.pos += literal.len();
            Ok(())
        } else {
            Err(Broken)
        }
    }

    /// `NaN` or `Infinity` here, as Python writes them; the sign has been passed by `number`.
    #[cold]
    pub(super) fn nonstandard(&mut self, first: u8) -> Result<f64, Broken> {
        let number = if first == b'N' {
            self.literal(b"NaN")?;
            f64::NAN
        } else {
            self.literal(b"Infinity")?;
            f64::INFINITY
        };
        self.nonstandard = self.nonstandard.saturating_add(1);
        Ok(number)
    }

    /// Steps over any value that begins with `first` here, inside `depth` objects and arrays, and keeps nothing.
    pub(super) fn skip(&mut self, first: u8, depth: u32) -> Result<(), Broken> {
        match first {
            b'"' => {
                self.pos += 1;
                self.string(None).map(|_| ())
            }
            b'-' | b'0'..=b'9' => number::read(self).map(|_| ()),
            _ => self.rare_value(first, depth).map(|_| ()),
        }
    }

    /// Steps over an object or array without recursion: a bit per level says which of the two it is.
    fn skip_nested(&mut self, first: u8, depth: u32) -> Result<(), Broken> {
        let mut objects: u128 = 0;
        let mut levels: u32 = 0;
        let mut first = first;
        loop {
            // Here `first` begins a value.
            let mut ended = true;
            match first {
                b'{' | b'[' => {
                    levels += 1;
                    if depth + levels > MAX_DEPTH {
                        return Err(Broken);
                    }
                    objects = objects << 1 | u128::from(first == b'{');
                    self.pos += 1;
                    let next = self.space();
                    if next == if first == b'{' { b'}' } else { b']' } {
                        self.pos += 1;
                        levels -= 1;
                        objects >>= 1;
                    } else {
                        ended = false;
                    }
                }
                _ => self.skip(first, depth + levels)?,
            }
            // After a value: close what ends here, or step over the comma.
            while ended {
                if levels == 0 {
                    return Ok(());
                }
                match (self.space(), objects & 1) {
                    (b',', _) => {
                        self.pos += 1;
                        ended = false;
                    }
                    (b'}', 1) | (b']', 0) => {
                        self.pos += 1;
                        levels -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(Broken),
                }
            }
            first = self.space();
            if objects & 1 == 1 {
                if first != b'"' {
                    return Err(Broken);
                }
                self.pos += 1;
                self.string(None)?;
                first = self.colon()?;
            }
        }
    }

    /// Steps over a colon and the space around it; the byte after it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<u8, Broken> {
        if self.space() != b':' {
            return Err(Broken);
        }
        self.pos += 1;
        Ok(self.space())
    }
}

/// The top bit of the lowest lane that holds a quote, a backslash or a control character; lanes above it are not exact.
/// A lane is below `n` if subtracting `n` borrows although the lane's own top bit is clear; it equals `c` if lane xor `c` is below 1.
#[inline(always)]
fn special_lanes(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(json: &str) -> Option<String> {
        let mut cursor = Cursor::new(json);
        cursor.pos = 1;
        let mut unescaped = String::from("before");
        let cell = cursor.string(Some(&mut unescaped)).ok()?;
        assert!(cursor.at_end());
        let (start, end) = (cell.start as usize, cell.end as usize);
        Some(if cell.kind == CellKind::Text { cursor.slice(start, end) } else { &unescaped[start..end] }.to_owned())
    }

    fn skips(json: &str) -> bool {
        let mut cursor = Cursor::new(json);
        let first = cursor.space();
        cursor.skip(first, 0).is_ok() && cursor.at_end()
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
            r#"{1:2}"#,
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
