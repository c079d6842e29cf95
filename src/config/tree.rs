//! YAML text to a tree of values that know their places.
//!
//! One document of mappings with text keys, lists and scalars: what JSON can say, so that JSON files are read too. Plain
//! scalars are typed by the core schema of YAML 1.2, quoted ones are strings. Anchors and aliases are expanded up to a
//! limit. What the keys mean is not known here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Value;

use super::fault::Fault;
use super::position::{Place, Positions, Resolved, Spot, display_path, join, segments};
use super::scalar;

/// Largest file in bytes: configuration, rules and rule tests are written by people.
pub const MAX_BYTES: usize = 4 << 20;
/// Most values of a file once aliases are expanded: a file of a few lines of aliases can mean billions.
pub const MAX_NODES: usize = 200_000;
/// Deepest nesting: everything that walks a tree recursively stays far from the end of a thread's stack.
pub const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Clone)]
pub struct Node {
    /// Where the value begins.
    pub place: Place,
    /// The value.
    pub content: Content,
}

/// What a node holds.
#[derive(Clone)]
pub enum Content {
    /// Null, boolean, number or string.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Mapping(Vec<Entry>),
}

/// A scalar.
#[derive(Clone)]
pub struct Scalar {
    /// Its text: without quotes, escapes resolved.
    pub text: String,
    /// Its typed value: never a list or mapping.
    pub value: Value,
    /// Where the text came from.
    pub origin: Origin,
}

/// Where the text of a scalar came from.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file.
    Written,
    /// Put together by interpolation from this text of the file.
    Interpolated(String),
    /// From an override by an environment variable of this name.
    Variable(Arc<str>),
}

/// A key with its value.
#[derive(Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A null at a place.
    #[must_use]
    pub fn null(place: Place) -> Node {
        Node { place, content: Content::Scalar(Scalar { text: String::new(), value: Value::Null, origin: Origin::Written }) }
    }

    /// The tree as JSON, its keys sorted.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(scalar) => scalar.value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Content::Mapping(entries) => Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect()),
        }
    }

    /// The places of all values of the tree.
    #[must_use]
    pub fn positions(&self, file: &str) -> Positions {
        let mut spots = BTreeMap::new();
        self.place_into(String::new(), None, &mut spots);
        Positions::new(file, spots)
    }

    fn place_into(&self, pointer: String, key: Option<Place>, spots: &mut BTreeMap<String, Spot>) {
        let mut resolved = None;
        match &self.content {
            Content::Scalar(scalar) => {
                resolved = match &scalar.origin {
                    Origin::Written => None,
                    Origin::Interpolated(source) => Some(Resolved { source: source.clone(), text: scalar.text.clone() }),
                    Origin::Variable(name) => Some(Resolved { source: format!("${name}"), text: scalar.text.clone() }),
                };
            }
            Content::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.place_into(join(&pointer, &index.to_string()), None, spots);
                }
            }
            Content::Mapping(entries) => {
                for entry in entries {
                    entry.value.place_into(join(&pointer, &entry.key), Some(entry.place.clone()), spots);
                }
            }
        }
        spots.insert(pointer, Spot { key, value: self.place.clone(), resolved });
    }

    /// Calls `visit` for every scalar of the tree in the order of the file, with its pointer and place.
    pub fn scalars(&mut self, visit: &mut dyn FnMut(&str, &Place, &mut Scalar)) {
        self.scalars_below("", visit);
    }

    fn scalars_below(&mut self, pointer: &str, visit: &mut dyn FnMut(&str, &Place, &mut Scalar)) {
        match &mut self.content {
            Content::Scalar(scalar) => visit(pointer, &self.place, scalar),
            Content::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.scalars_below(&join(pointer, &index.to_string()), visit);
                }
            }
            Content::Mapping(entries) => {
                for entry in entries {
                    entry.value.scalars_below(&join(pointer, &entry.key), visit);
                }
            }
        }
    }

    /// Gives every value of the tree the same place.
    pub fn move_to(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter_mut().for_each(|item| item.move_to(place)),
            Content::Mapping(entries) => {
                for entry in entries {
                    entry.place = place.clone();
                    entry.value.move_to(place);
                }
            }
        }
    }

    /// The node at a JSON pointer.
    pub fn get_mut(&mut self, pointer: &str) -> Option<&mut Node> {
        let mut node = self;
        for key in segments(pointer) {
            node = match &mut node.content {
                Content::Scalar(_) => return None,
                Content::List(items) => items.get_mut(key.parse::<usize>().ok()?)?,
                Content::Mapping(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)?,
            };
        }
        Some(node)
    }

    /// Number of values in it and how deep they are nested, both from 1.
    fn extent(&self) -> (usize, usize) {
        let (mut nodes, mut depth) = (1, 0);
        let mut add = |child: &Node| {
            let (more, deep) = child.extent();
            nodes += more;
            depth = deep.max(depth);
        };
        match &self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter().for_each(&mut add),
            Content::Mapping(entries) => entries.iter().for_each(|entry| add(&entry.value)),
        }
        (nodes, depth + 1)
    }
}

/// Reads a text of one YAML document. An empty text is null.
///
/// Faults that leave the rest readable (duplicate keys, unknown tags) are added to `faults`.
///
/// # Errors
/// A fault after which nothing can be read: the syntax is wrong or a limit is passed.
pub fn parse(file: &str, text: &str, faults: &mut Vec<Fault>) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::of_file(file, format!("the file has {} bytes, more than {MAX_BYTES}", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { file, faults, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, documents: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax_fault(file, error.marker(), error.info()))?;
        if builder.event(event, span.start)? {
            break;
        }
    }
    Ok(builder.root.unwrap_or_else(|| Node::null(Place { variable: None, line: 1, column: 1 })))
}

fn place(marker: Marker) -> Place {
    let from_one = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Place { variable: None, line: from_one(marker.line()), column: from_one(marker.col() + 1) }
}

fn syntax_fault(file: &str, marker: &Marker, info: &str) -> Fault {
    let place = place(*marker);
    let fault = |message: &str| Fault::of_file(file, message).at(place.line, place.column);
    if info.contains("tab") && !info.contains("table") {
        return fault("a tab where YAML wants spaces").hint("indent with spaces");
    }
    match info {
        "while scanning a quoted scalar, found unexpected end of stream" | "invalid indentation in quoted scalar" => {
            fault("a quoted text that does not end").hint("or whose next line is not indented")
        }
        "invalid indentation in flow construct" => {
            fault("a '[' or '{' before that does not end").hint("or whose next line is not indented")
        }
        "while parsing node, found unknown anchor" => fault("an alias of an anchor that was not set before"),
        "recursion limit exceeded" => fault("nested too deep"),
        "mapping values are not allowed in this context" => {
            fault("a second ': ' in one line, or a key that is not indented like its neighbours").hint("put texts that hold ': ' in quotes")
        }
        info => fault(&format!("not valid YAML: {info}")),
    }
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, lines: HashMap<String, u32>, key: Option<(String, Place)> },
}

struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Builder<'a> {
    file: &'a str,
    faults: &'a mut Vec<Fault>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder<'_> {
    fn fault(&self, place: &Place, message: impl Into<String>) -> Fault {
        let mut fault = Fault::of_file(self.file, message).at(place.line, place.column);
        fault.path = self.path();
        fault
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        let mut pointer = String::new();
        for open in &self.open {
            match &open.kind {
                OpenKind::List(items) => pointer = join(&pointer, &items.len().to_string()),
                OpenKind::Mapping { key: Some((key, _)), .. } => pointer = join(&pointer, key),
                OpenKind::Mapping { key: None, .. } => {}
            }
        }
        display_path(&pointer)
    }

    /// Takes one event; true where reading is over.
    fn event(&mut self, event: Event<'_>, start: Marker) -> Result<bool, Fault> {
        let place = place(start);
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(true),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.faults.push(self.fault(&place, "a second document in one file").hint("one file holds one document"));
                    return Ok(true);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&place, &text, style, tag.as_deref());
                self.count(&place, 1, 1)?;
                self.close(Node { place, content: Content::Scalar(scalar) }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(&place, tag.as_deref(), "seq");
                self.count(&place, 1, 1)?;
                self.open.push(Open { anchor, place, kind: OpenKind::List(Vec::new()) });
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(&place, tag.as_deref(), "map");
                self.count(&place, 1, 1)?;
                let kind = OpenKind::Mapping { entries: Vec::new(), lines: HashMap::new(), key: None };
                self.open.push(Open { anchor, place, kind });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let content = match open.kind {
                        OpenKind::List(items) => Content::List(items),
                        OpenKind::Mapping { entries, .. } => Content::Mapping(entries),
                    };
                    self.close(Node { place: open.place, content }, open.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(self.fault(&place, "an alias inside of what it stands for"));
                };
                let (node, nodes, depth) = (anchored.node.clone(), anchored.nodes, anchored.depth);
                self.count(&place, nodes, depth)?;
                self.close(node, 0)?;
            }
        }
        Ok(false)
    }

    fn count(&mut self, place: &Place, nodes: usize, depth: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.fault(place, format!("more than {MAX_NODES} values with the aliases expanded")));
        }
        if self.open.len() + depth > MAX_DEPTH {
            return Err(self.fault(place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn scalar(&mut self, place: &Place, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
        let typed = || scalar::plain(text);
        let value = match tag {
            None if style == ScalarStyle::Plain => typed(),
            None => Value::String(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Value::String(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "int" | "float" | "bool" | "null") => typed(),
            // A lone `!` is the non-specific tag: a string.
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Value::String(text.to_owned()),
            Some(tag) => {
                self.faults.push(self.fault(place, format!("the tag {tag} is not known")));
                Value::Null
            }
        };
        Scalar { text: text.to_owned(), value, origin: Origin::Written }
    }

    fn refuse_tag(&mut self, place: &Place, tag: Option<&Tag>, allowed: &str) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == allowed)) {
            self.faults.push(self.fault(place, format!("the tag {tag} is not known")));
        }
    }

    /// Takes a complete node into what is open around it.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            let (nodes, depth) = node.extent();
            self.count(&node.place, nodes, depth)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, depth });
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, lines, key }) => match (key.take(), node.content) {
                (None, Content::Scalar(scalar)) => *key = Some((scalar.text, node.place)),
                (None, _) => return Err(self.fault(&node.place, "a key that is not a plain text")),
                (Some((text, place)), content) => {
                    let fault = match lines.get(&text) {
                        Some(line) => Some((format!("the key \"{text}\" is given twice, first in line {line}"), None)),
                        None if text == "<<" => {
                            Some(("merge keys (<<) are not part of YAML 1.2".to_owned(), Some("repeat the keys, or alias whole values")))
                        }
                        None => None,
                    };
                    if let Some((message, hint)) = fault {
                        let fault = self.fault(&place, message);
                        self.faults.push(match hint {
                            Some(hint) => fault.hint(hint),
                            None => fault,
                        });
                    } else {
                        lines.insert(text.clone(), place.line);
                        entries.push(Entry { key: text, place, value: Node { place: node.place, content } });
                    }
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (Result<Value, String>, Vec<String>) {
        let mut faults = Vec::new();
        let node = parse("f.yaml", text, &mut faults);
        (node.map(|node| node.to_value()).map_err(|fault| fault.to_string()), faults.iter().map(Fault::to_string).collect())
    }

    fn value(text: &str) -> Value {
        let (value, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new(), "{text}");
        value.unwrap()
    }

    #[test]
    fn reads_what_json_can_say() {
        assert_eq!(value(""), json!(null));
        assert_eq!(value("\u{feff}a: 1"), json!({"a": 1}));
        assert_eq!(value("{\"a\": [1, \"1\", true, null]}"), json!({"a": [1, "1", true, null]}));
        assert_eq!(value("a: on\nb: 'true'\nc: !!str 5\nd: |\n  x\n  y\n"), json!({"a": "on", "b": "true", "c": "5", "d": "x\ny\n"}));
        assert_eq!(value("3: x\nnull: y"), json!({"3": "x", "null": "y"}));
    }

    #[test]
    fn knows_where_keys_and_values_stand() {
        let mut faults = Vec::new();
        let node = parse("f.yaml", "a:\n  - b: 1\n    \"cé\":   x\n", &mut faults).unwrap();
        let positions = node.positions("f.yaml");
        assert_eq!(positions.key("/a/0/b"), (2, 5));
        assert_eq!(positions.value("/a/0/b"), (2, 8));
        assert_eq!(positions.key("/a/0/cé"), (3, 5));
        assert_eq!(positions.value("/a/0/cé"), (3, 13));
        assert_eq!(positions.value("/a/0"), (2, 5));
    }

    #[test]
    fn aliases_are_expanded_up_to_a_limit() {
        assert_eq!(value("a: &x {b: 1}\nc: *x"), json!({"a": {"b": 1}, "c": {"b": 1}}));
        let (value, _) = read("a: &x [*x]");
        assert_eq!(value.unwrap_err(), "f.yaml:1:8: a[0]: an alias inside of what it stands for");
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(read(&bomb).0.unwrap_err().contains("more than 200000 values"));
    }

    #[test]
    fn nesting_has_a_limit() {
        assert!(read(&"[".repeat(100)).0.unwrap_err().contains("nested deeper than 64"));
        assert!(read(&"- ".repeat(100_000)).0.unwrap_err().contains("nested deeper than 64"));
    }

    #[test]
    fn duplicate_keys_and_strange_tags_are_all_reported() {
        let (_, faults) = read("a:\n  b: 1\n  b: 2\nc: !secret x\na: 3\nd:\n  <<: {e: 1}\n");
        assert_eq!(
            faults,
            [
                "f.yaml:3:3: a: the key \"b\" is given twice, first in line 2",
                "f.yaml:4:4: c: the tag !secret is not known",
                "f.yaml:5:1: the key \"a\" is given twice, first in line 1",
                "f.yaml:7:3: d: merge keys (<<) are not part of YAML 1.2 (repeat the keys, or alias whole values)",
            ]
        );
    }

    #[test]
    fn says_where_the_syntax_is_wrong() {
        for (text, fault) in [
            ("a: \"x\nb: 1\n", "f.yaml:1:4: a quoted text that does not end"),
            ("a:\n\tb: 1\n", "f.yaml:2:2: a tab where YAML wants spaces"),
            ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document"),
            ("a: *x\n", "f.yaml:1:4: an alias of an anchor that was not set before"),
            ("a: b: c\n", "f.yaml:1:5: a second ': ' in one line"),
            ("a: [1, 2\n", "f.yaml:2:1: not valid YAML"),
            ("? [a]\n: b\n", "f.yaml:1:3: a key that is not a plain text"),
        ] {
            let (value, faults) = read(text);
            let found = value.err().or(faults.first().cloned()).unwrap_or_default();
            assert!(found.starts_with(fault), "{text:?} gave {found:?}");
        }
    }
}
