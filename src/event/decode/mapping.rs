//! Where the fields of an event are: in the JSON of the record, or on the record beside it.
//!
//! Plain data, built by the configuration and compiled by the decoder. It knows nothing of the file it was written in.

use std::fmt;

/// Greatest number of segments of a JSON pointer: far beyond any real envelope, and within the nesting of JSON itself.
pub const MAX_POINTER_DEPTH: usize = 32;

/// A field of an event that a mapping can place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Field {
    Event,
    Model,
    Version,
    Id,
    Ts,
    Prediction,
    Score,
    Label,
    LatencyMs,
    Weight,
    Features,
    Probabilities,
    Tags,
}

/// How many of the fields hold one value; they are the first of `Field::ALL`.
pub(super) const SCALARS: usize = 10;

impl Field {
    /// Every field: those of one value first, then the three objects.
    pub const ALL: [Field; 13] = [
        Field::Event,
        Field::Model,
        Field::Version,
        Field::Id,
        Field::Ts,
        Field::Prediction,
        Field::Score,
        Field::Label,
        Field::LatencyMs,
        Field::Weight,
        Field::Features,
        Field::Probabilities,
        Field::Tags,
    ];

    /// The name of the field in events and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Event => "event",
            Field::Model => "model",
            Field::Version => "version",
            Field::Id => "id",
            Field::Ts => "ts",
            Field::Prediction => "prediction",
            Field::Score => "score",
            Field::Label => "label",
            Field::LatencyMs => "latency_ms",
            Field::Weight => "weight",
            Field::Features => "features",
            Field::Probabilities => "probabilities",
            Field::Tags => "tags",
        }
    }

    /// The field of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.as_str() == name)
    }

    /// Whether it is an object of named values rather than one value.
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self, Field::Features | Field::Probabilities | Field::Tags)
    }
}

/// Where one field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A JSON pointer (RFC 6901) into the record's value, by its unescaped segments; none of them is the whole value.
    Pointer(Vec<String>),
    /// The last header of that name, in any case of letters.
    Header(String),
    /// The record's key.
    Key,
    /// The name of the record's topic.
    Topic,
    /// The same for every record.
    Const(String),
}

impl Selector {
    /// Reads `/a/b` (`~0` and `~1` stand for `~` and `/`; an empty text is the whole value), `header:NAME`, `key`, `topic`
    /// or `const:VALUE`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Selector, String> {
        if let Some(value) = text.strip_prefix("const:") {
            return Ok(Selector::Const(value.to_owned()));
        }
        if let Some(name) = text.strip_prefix("header:") {
            return if name.is_empty() {
                Err("'header:' names no header; write header:NAME".to_owned())
            } else {
                Ok(Selector::Header(name.to_owned()))
            };
        }
        match text {
            "key" => return Ok(Selector::Key),
            "topic" => return Ok(Selector::Topic),
            "" => return Ok(Selector::Pointer(Vec::new())),
            _ => {}
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!(
                "'{text}' is not a selector; write a JSON pointer like /request/id, header:NAME, key, topic or const:VALUE"
            ));
        };
        let segments = path.split('/').map(unescape_segment).collect::<Option<Vec<_>>>();
        let Some(segments) = segments else {
            return Err(format!("'{text}' is not a JSON pointer: '~' must be followed by 0 or 1"));
        };
        if segments.len() > MAX_POINTER_DEPTH {
            return Err(format!("'{text}' has {} segments, more than {MAX_POINTER_DEPTH}", segments.len()));
        }
        Ok(Selector::Pointer(segments))
    }
}

fn unescape_segment(segment: &str) -> Option<String> {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment.chars();
    while let Some(character) = rest.next() {
        out.push(match character {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Pointer(segments) => {
                segments.iter().try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
            }
            Selector::Header(name) => write!(f, "header:{name}"),
            Selector::Key => f.write_str("key"),
            Selector::Topic => f.write_str("topic"),
            Selector::Const(value) => write!(f, "const:{value}"),
        }
    }
}

/// The unit of a `ts` that is a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TsUnit {
    Seconds,
    #[default]
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl TsUnit {
    /// The unit written `s`, `ms`, `us` or `ns`.
    #[must_use]
    pub fn parse(text: &str) -> Option<TsUnit> {
        match text {
            "s" => Some(TsUnit::Seconds),
            "ms" => Some(TsUnit::Milliseconds),
            "us" => Some(TsUnit::Microseconds),
            "ns" => Some(TsUnit::Nanoseconds),
            _ => None,
        }
    }

    /// The unit as written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TsUnit::Seconds => "s",
            TsUnit::Milliseconds => "ms",
            TsUnit::Microseconds => "us",
            TsUnit::Nanoseconds => "ns",
        }
    }
}

/// Where every field of an event is. A field without a selector is missing in every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    selectors: [Option<Selector>; Field::ALL.len()],
    /// The unit of a `ts` that is a number.
    pub ts_unit: TsUnit,
}

impl Mapping {
    /// The default shape: every field at the top of the object under its own name.
    #[must_use]
    pub fn default_json() -> Mapping {
        let selectors = Field::ALL.map(|field| Some(Selector::Pointer(vec![field.as_str().to_owned()])));
        Mapping { selectors, ts_unit: TsUnit::Milliseconds }
    }

    /// Where a field is.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Selector> {
        self.selectors.get(field as usize).and_then(Option::as_ref)
    }

    /// Places a field, or takes it away.
    ///
    /// # Errors
    /// A sentence where the field cannot come from there: an object of values needs a JSON pointer, one value cannot be the
    /// whole record, and a pointer has at most `MAX_POINTER_DEPTH` segments.
    pub fn set(&mut self, field: Field, selector: Option<Selector>) -> Result<(), String> {
        let name = field.as_str();
        match &selector {
            Some(Selector::Pointer(segments)) if segments.len() > MAX_POINTER_DEPTH => {
                return Err(format!("the pointer of '{name}' has more than {MAX_POINTER_DEPTH} segments"));
            }
            Some(Selector::Pointer(segments)) if segments.is_empty() && !field.is_object() => {
                return Err(format!("'{name}' is one value and cannot be the whole record"));
            }
            None | Some(Selector::Pointer(_)) => {}
            Some(other) if field.is_object() => {
                return Err(format!("'{name}' is an object of values and needs a JSON pointer, not '{other}'"));
            }
            Some(_) => {}
        }
        if let Some(place) = self.selectors.get_mut(field as usize) {
            *place = selector;
        }
        Ok(())
    }

    /// The names of the headers that some field comes from: a source need not keep any other.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.selectors.iter().filter_map(|selector| match selector {
            Some(Selector::Header(name)) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether some field comes from the record's key.
    #[must_use]
    pub fn wants_key(&self) -> bool {
        self.selectors.contains(&Some(Selector::Key))
    }
}

impl Default for Mapping {
    fn default() -> Mapping {
        Mapping::default_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_selectors() {
        for text in ["/request/id", "/a~1b/~0c/0", "/", "", "header:ce_id", "key", "topic", "const:loan", "const:"] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Selector::parse("/a~1b/~01"), Ok(Selector::Pointer(vec!["a/b".into(), "~1".into()])));
        for bad in ["request.id", "header:", "/a~2", "/a~", "Key", &"/a".repeat(MAX_POINTER_DEPTH + 1)] {
            assert!(Selector::parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn refuses_what_a_field_cannot_be() {
        let mut mapping = Mapping::default_json();
        assert!(mapping.set(Field::Features, Some(Selector::Key)).is_err());
        assert!(mapping.set(Field::Id, Some(Selector::Pointer(vec![]))).is_err());
        mapping.set(Field::Features, Some(Selector::Pointer(vec![]))).unwrap();
        mapping.set(Field::Id, Some(Selector::Header("ce_id".into()))).unwrap();
        mapping.set(Field::Weight, None).unwrap();
        assert_eq!(mapping.headers().collect::<Vec<_>>(), ["ce_id"]);
        assert!(!mapping.wants_key());
        assert_eq!(mapping.get(Field::Weight), None);
    }

    #[test]
    fn every_field_is_where_its_number_says() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(Field::parse(field.as_str()), Some(field));
            assert_eq!(field.is_object(), index >= SCALARS);
        }
    }
}
