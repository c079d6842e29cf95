//! Where a part of an event stands: a selector and its text.

use std::fmt;

/// Where one part of an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A JSON pointer (RFC 6901) into the record's value, by its unescaped segments; none of them is the whole value.
    Pointer(Vec<String>),
    /// The last header of that name.
    Header(String),
    /// The record's key.
    Key,
    /// The name of the record's topic.
    Topic,
    /// The same for every record.
    Const(String),
}

/// Most segments of a JSON pointer: far beyond any real envelope.
const MAX_DEPTH: usize = 32;

impl Selector {
    /// Reads `/a/b`, `header:NAME`, `key`, `topic` or `const:VALUE`; an empty text is the whole value.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Selector, String> {
        if let Some(value) = text.strip_prefix("const:") {
            return Ok(Selector::Const(value.to_owned()));
        }
        if let Some(name) = text.strip_prefix("header:") {
            return if name.is_empty() { Err("'header:' names no header".into()) } else { Ok(Selector::Header(name.to_owned())) };
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
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        if segments.len() > MAX_DEPTH {
            return Err(format!("a pointer of {} segments, more than {MAX_DEPTH}", segments.len()));
        }
        if segments.iter().any(|segment| segment.replace("~0", "").replace("~1", "").contains('~')) {
            return Err(format!("'{text}' is not a JSON pointer: '~' is followed by 0 or 1"));
        }
        Ok(Selector::Pointer(segments.iter().map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        for text in ["/request/id", "/a~1b/~0c/0", "/", "", "header:ce_id", "key", "topic", "const:loan", "const:"] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Selector::parse("/a~1b/~01"), Ok(Selector::Pointer(vec!["a/b".into(), "~1".into()])));
        for bad in ["request.id", "header:", "/a~2", "/a~", "Key", &"/a".repeat(MAX_DEPTH + 1)] {
            assert!(Selector::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
