//! Where each value of a file stands: from a JSON pointer to line and column.
//!
//! Whoever finds a fault by a JSON pointer, here or in the compiler of the rules, gets its place from [`Positions`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::fault::{Fault, Severity};

/// The place of a key or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The environment variable that the value came from, where it did not come from the file.
    pub variable: Option<Arc<str>>,
    /// Line from 1; 0 for a value from the environment.
    pub line: u32,
    /// Column from 1, in characters; 0 for a value from the environment.
    pub column: u32,
}

/// A value that was put together from elsewhere. It may be a secret: messages show the source in its place.
#[derive(Clone)]
pub(super) struct Resolved {
    /// What the file says: `${file:/run/secrets/smtp}`.
    pub source: String,
    /// What came out.
    pub text: String,
}

/// The places of one entry of the file.
#[derive(Clone)]
pub(super) struct Spot {
    /// Place of the key, where the value is that of a mapping.
    pub key: Option<Place>,
    /// Place of the value.
    pub value: Place,
    /// Set where the value was interpolated.
    pub resolved: Option<Resolved>,
}

/// Which of the two places of an entry a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The key: it is not known, or something is missing below it.
    Key,
    /// The value: it is wrong.
    Value,
}

/// The places of all keys and values of a file by JSON pointer (RFC 6901).
#[derive(Clone, Default)]
pub struct Positions {
    file: String,
    spots: BTreeMap<String, Spot>,
}

impl fmt::Debug for Positions {
    // The resolved values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").field("file", &self.file).field("entries", &self.spots.len()).finish()
    }
}

impl Positions {
    pub(super) fn new(file: impl Into<String>, spots: BTreeMap<String, Spot>) -> Positions {
        Positions { file: file.into(), spots }
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column of the value at a pointer, or of the closest value around it that is in the file.
    #[must_use]
    pub fn value(&self, pointer: &str) -> (u32, u32) {
        let place = self.place(pointer, Part::Value);
        (place.line, place.column)
    }

    /// Line and column of the key at a pointer; that of the value where it has no key.
    #[must_use]
    pub fn key(&self, pointer: &str) -> (u32, u32) {
        let place = self.place(pointer, Part::Key);
        (place.line, place.column)
    }

    /// An error at the value that a JSON pointer names.
    #[must_use]
    pub fn fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        self.fault_at(pointer, Part::Value, message)
    }

    /// An error at the key or the value that a JSON pointer names. Values that came from the environment or from a file
    /// are replaced in the message by what they were written as.
    #[must_use]
    pub fn fault_at(&self, pointer: &str, part: Part, message: impl Into<String>) -> Fault {
        let place = self.place(pointer, part);
        let file = match &place.variable {
            Some(variable) => format!("environment variable {variable}"),
            None => self.file.clone(),
        };
        Fault {
            file,
            line: place.line,
            column: place.column,
            path: display_path(pointer),
            message: self.redact(pointer, message.into()),
            hint: None,
            severity: Severity::Error,
        }
    }

    /// Whether the value at a pointer was put together from elsewhere.
    #[must_use]
    pub fn is_interpolated(&self, pointer: &str) -> bool {
        self.spots.get(pointer).is_some_and(|spot| spot.resolved.is_some())
    }

    /// `text` without the values at and below `pointer` that came from elsewhere.
    #[must_use]
    pub fn redact(&self, pointer: &str, mut text: String) -> String {
        /// Shorter values are replaced only where they are quoted, so that "1" does not garble a sentence.
        const TELLING: usize = 4;
        let below = format!("{pointer}/");
        let inside = |key: &str| key == pointer || key.starts_with(&below);
        for (_, spot) in
            self.spots.range(pointer.to_owned()..).take_while(|(key, _)| key.starts_with(pointer)).filter(|(key, _)| inside(key))
        {
            let Some(resolved) = &spot.resolved else { continue };
            if resolved.text.len() >= TELLING {
                text = text.replace(&resolved.text, &resolved.source);
            } else if !resolved.text.is_empty() {
                for quote in ['"', '\''] {
                    text = text.replace(&format!("{quote}{}{quote}", resolved.text), &format!("{quote}{}{quote}", resolved.source));
                }
            }
        }
        text
    }

    fn place(&self, pointer: &str, part: Part) -> Place {
        let mut pointer = pointer;
        let mut part = part;
        loop {
            if let Some(spot) = self.spots.get(pointer) {
                return match part {
                    Part::Key => spot.key.clone().unwrap_or_else(|| spot.value.clone()),
                    Part::Value => spot.value.clone(),
                };
            }
            match pointer.rsplit_once('/') {
                // What is not there is shown at the key that it would stand under.
                Some((parent, _)) => (pointer, part) = (parent, Part::Key),
                None => return Place::default(),
            }
        }
    }
}

/// The path of a pointer as a reader would write it: `models[0].windows[1].slide`.
#[must_use]
pub fn display_path(pointer: &str) -> String {
    let mut path = String::new();
    for segment in segments(pointer) {
        let plain = segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push('[');
            path.push_str(&segment);
            path.push(']');
        } else if plain && !segment.is_empty() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        } else {
            path.push_str("[\"");
            path.push_str(&segment.escape_debug().to_string());
            path.push_str("\"]");
        }
    }
    path
}

/// `pointer` extended by one key.
#[must_use]
pub fn join(pointer: &str, segment: &str) -> String {
    let mut joined = String::with_capacity(pointer.len() + segment.len() + 1);
    joined.push_str(pointer);
    joined.push('/');
    for c in segment.chars() {
        match c {
            '~' => joined.push_str("~0"),
            '/' => joined.push_str("~1"),
            c => joined.push(c),
        }
    }
    joined
}

/// The keys of a pointer, unescaped.
pub fn segments(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|segment| {
        if segment.contains('~') { Cow::Owned(segment.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(segment) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Positions {
        let place = |line, column| Place { variable: None, line, column };
        let spot = |line: u32, secret: Option<&str>| Spot {
            key: Some(place(line, 1)),
            value: place(line, 9),
            resolved: secret.map(|text| Resolved { source: "${file:/s}".into(), text: text.into() }),
        };
        let spots = [
            (String::new(), Spot { key: None, value: place(1, 1), resolved: None }),
            ("/a".into(), spot(2, None)),
            ("/a/b".into(), spot(3, Some("hunter2"))),
            ("/a/c".into(), spot(4, Some("1"))),
            ("/ab".into(), spot(5, Some("other value"))),
        ];
        Positions::new("f.yaml", spots.into())
    }

    #[test]
    fn what_is_not_there_is_shown_at_the_key_around_it() {
        let positions = positions();
        assert_eq!(positions.value("/a/b"), (3, 9));
        assert_eq!(positions.key("/a/b"), (3, 1));
        assert_eq!(positions.value("/a/x/y"), (2, 1));
        assert_eq!(positions.value("/x"), (1, 1));
    }

    #[test]
    fn messages_show_the_source_of_a_value_and_not_the_value() {
        let positions = positions();
        assert_eq!(positions.fault("/a", "'hunter2' is bad").message, "'${file:/s}' is bad");
        assert_eq!(positions.fault("/a/c", "\"1\" of 1").message, "\"${file:/s}\" of 1");
        assert_eq!(positions.fault("/a", "other value").message, "other value");
        assert!(!format!("{positions:?}").contains("hunter2"));
    }

    #[test]
    fn paths_read_as_they_are_written() {
        assert_eq!(display_path("/models/0/windows/1/slide"), "models[0].windows[1].slide");
        assert_eq!(display_path(&join("/kafka/librdkafka", "security.protocol")), "kafka.librdkafka[\"security.protocol\"]");
        assert_eq!(segments(&join("", "a/b~c")).next().unwrap(), "a/b~c");
    }
}
