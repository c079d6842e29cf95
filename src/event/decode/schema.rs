//! Mapping and dictionary compiled into a trie of object keys, which learns the order in which keys come.
//!
//! A node is an object (or array) that holds something of interest. For each of its keys it knows what the value is for, and
//! which key followed it last time: comparing that one key with the text is all that is done for an event like the one before.
//! The learning changes only the cost, never the result.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::dictionary::Dictionary;
use super::json::{Json, last_word};
use super::mapping::{Field, Mapping, SCALARS, Selector};

/// No key, node or slot.
pub(super) const NONE: u32 = u32::MAX;
/// How many keys of a node that are not in the dictionary are learnt: enough for wide events of which little is monitored;
/// a bound, because producers may use data as keys.
const MAX_LEARNT: usize = 256;
/// The longest such key, in bytes.
const MAX_LEARNT_BYTES: usize = 128;

/// The object that a node is: bits, because one object may serve as several.
pub(super) const FEATURES: u8 = 1;
pub(super) const PROBABILITIES: u8 = 2;
pub(super) const TAGS: u8 = 4;

/// What the value of a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing.
    #[default]
    Skip,
    /// A feature, by slot.
    Feature(u32),
    /// A feature that may be an array of numbers, by slot.
    Vector(u32),
    /// A tag, by slot.
    Tag(u32),
    /// A field of one value, by number.
    Field(u32),
    /// Several of these at once, or an object to enter: the number of a sink.
    Sink(u32),
    /// A key that is not in the dictionary of a node whose keys are features or classes.
    Open,
}

/// Everything that one value is for.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    /// Fields of one value, by bit.
    pub fields: u16,
    /// Slot of a feature, or `NONE`.
    pub feature: u32,
    /// Whether the feature may be an array of numbers.
    pub vector: bool,
    /// Slot of a tag, or `NONE`.
    pub tag: u32,
    /// Whether the key is a class and the value its probability.
    pub probability: bool,
    /// The objects that the value itself is.
    pub roles: u8,
    /// The node of the value, or `NONE`.
    pub child: u32,
    /// Fields anywhere beneath.
    pub fields_beneath: u16,
    /// Objects here or anywhere beneath.
    pub roles_beneath: u8,
    /// The last event in which it was met: a key may come twice, and the last one wins with all that is in it.
    pub seen: u32,
}

impl Default for Sink {
    fn default() -> Sink {
        Sink {
            fields: 0,
            feature: NONE,
            vector: false,
            tag: NONE,
            probability: false,
            roles: 0,
            child: NONE,
            fields_beneath: 0,
            roles_beneath: 0,
            seen: 0,
        }
    }
}

/// A key of a node with the words to compare a text with.
#[derive(Clone, Debug)]
pub(super) struct Key {
    head: u64,
    tail: u64,
    mask: u64,
    tail_at: u32,
    /// Bytes of the key with its quotes and the colon.
    pub length: u32,
    /// The key that came after this one last time.
    pub next: u32,
    /// The last event in which this class was met, where keys are classes.
    pub seen: u32,
    pub target: Target,
    /// The whole pattern where it is longer than two words.
    long: Box<[u8]>,
}

impl Key {
    fn new(name: &str, target: Target) -> Key {
        let text = format!("\"{name}\":");
        let pattern = text.as_bytes();
        let mut key = Key { head: 0, tail: 0, mask: u64::MAX, tail_at: 0, length: 0, next: NONE, seen: 0, target, long: Box::default() };
        key.length = u32::try_from(pattern.len()).unwrap_or(NONE);
        if name.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') || key.length == NONE {
            // It can only be written with escapes, so no text may match. No UTF-8 has these bytes.
            key.head = u64::MAX;
            return key;
        }
        let tail_at = pattern.len().saturating_sub(8);
        key.head = last_word(&text, 0);
        key.tail = last_word(&text, tail_at);
        key.tail_at = u32::try_from(tail_at).unwrap_or(NONE);
        if pattern.len() < 8 {
            key.mask = (1 << (8 * pattern.len())) - 1;
        }
        if pattern.len() > 16 {
            key.long = pattern.into();
        }
        key
    }

    /// Whether the text goes on with this key and a colon.
    #[inline(always)]
    pub(super) fn matches(&self, json: Json<'_, '_>, at: usize) -> bool {
        let head = json.word(at) ^ self.head;
        let tail = json.word(at + self.tail_at as usize) ^ self.tail;
        (head | tail) & self.mask == 0 && (self.long.is_empty() || json.starts_with(at, &self.long))
    }
}

/// An object or array that holds something of interest.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub keys: Vec<Key>,
    names: FxHashMap<Box<str>, u32>,
    /// The key that came first last time.
    pub first: u32,
    learnt: usize,
    /// What a key is that has no number.
    pub open: Target,
    /// The objects that this node is.
    pub roles: u8,
    /// Elements of interest, by index and sink, where it is an array.
    pub elements: Vec<(usize, u32)>,
}

impl Node {
    /// The key of that name, if it is known or can be learnt, with what it is for.
    pub(super) fn find(&mut self, name: &str) -> (u32, Target) {
        if let Some(number) = self.names.get(name) {
            let target = self.keys.get(*number as usize).map_or(self.open, |key| key.target);
            return (*number, target);
        }
        if self.learnt < MAX_LEARNT && name.len() <= MAX_LEARNT_BYTES {
            self.learnt += 1;
            return (self.insert(name, self.open), self.open);
        }
        (NONE, self.open)
    }

    fn insert(&mut self, name: &str, target: Target) -> u32 {
        let number = u32::try_from(self.keys.len()).unwrap_or(NONE);
        self.keys.push(Key::new(name, target));
        self.names.insert(name.into(), number);
        number
    }

    /// Remembers that `key` came after `previous`, or first.
    pub(super) fn learn(&mut self, previous: u32, key: u32) {
        match self.keys.get_mut(previous as usize) {
            Some(previous) => previous.next = key,
            None => self.first = key,
        }
    }
}

/// The trie; node 0 is the record.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    pub nodes: Vec<Node>,
    pub sinks: Vec<Sink>,
}

/// The pointers of a mapping as a tree.
#[derive(Default)]
struct Plan<'m> {
    fields: u16,
    roles: u8,
    children: BTreeMap<&'m str, Plan<'m>>,
}

impl Schema {
    pub(super) fn compile(mapping: &Mapping, dictionary: &Dictionary) -> Schema {
        let mut root = Plan::default();
        for field in Field::ALL {
            let Some(Selector::Pointer(segments)) = mapping.get(field) else { continue };
            let plan = segments.iter().fold(&mut root, |plan, segment| plan.children.entry(segment).or_default());
            match field {
                Field::Features => plan.roles |= FEATURES,
                Field::Probabilities => plan.roles |= PROBABILITIES,
                Field::Tags => plan.roles |= TAGS,
                scalar => plan.fields |= 1 << (scalar as usize % SCALARS),
            }
        }
        let mut schema = Schema::default();
        schema.node(&root, dictionary);
        schema
    }

    /// Adds the node of a plan: its number, with the fields and objects anywhere beneath.
    fn node(&mut self, plan: &Plan<'_>, dictionary: &Dictionary) -> (u32, u16, u8) {
        let number = self.nodes.len();
        self.nodes.push(Node::default());
        let mut sinks: BTreeMap<&str, Sink> = BTreeMap::new();
        if plan.roles & FEATURES != 0 {
            for (name, slot) in dictionary.features().iter().zip(0..) {
                let sink = sinks.entry(name).or_default();
                (sink.feature, sink.vector) = (slot, dictionary.reads_vectors(slot));
            }
        }
        if plan.roles & TAGS != 0 {
            for (name, slot) in dictionary.tags().iter().zip(0..) {
                sinks.entry(name).or_default().tag = slot;
            }
        }
        let (mut fields_beneath, mut roles_beneath) = (0, 0);
        for (name, child) in &plan.children {
            let sink = sinks.entry(name).or_default();
            sink.fields = child.fields;
            sink.roles = child.roles;
            sink.roles_beneath = child.roles;
            if child.roles != 0 || !child.children.is_empty() {
                let (node, fields, roles) = self.node(child, dictionary);
                sink.child = node;
                sink.fields_beneath = fields;
                sink.roles_beneath |= roles;
            }
            fields_beneath |= sink.fields | sink.fields_beneath;
            roles_beneath |= sink.roles_beneath;
        }
        let mut node = Node { first: NONE, roles: plan.roles, ..Node::default() };
        if plan.roles & (FEATURES | PROBABILITIES) != 0 {
            node.open = Target::Open;
        }
        for (name, mut sink) in sinks {
            sink.probability = plan.roles & PROBABILITIES != 0;
            let target = self.target(sink);
            node.insert(name, target);
            if let (Some(index), Target::Sink(sink)) = (index_of(name), self.sink_of(target, plan.children.contains_key(name))) {
                node.elements.push((index, sink));
            }
        }
        if let Some(place) = self.nodes.get_mut(number) {
            *place = node;
        }
        (u32::try_from(number).unwrap_or(NONE), fields_beneath, roles_beneath)
    }

    /// The cheapest target that says what a sink says.
    fn target(&mut self, sink: Sink) -> Target {
        if !sink.probability && sink.child == NONE {
            match (sink.fields.count_ones(), sink.feature, sink.tag) {
                (0, slot, NONE) if slot != NONE && sink.vector => return Target::Vector(slot),
                (0, slot, NONE) if slot != NONE => return Target::Feature(slot),
                (0, NONE, slot) if slot != NONE => return Target::Tag(slot),
                (1, NONE, NONE) => return Target::Field(sink.fields.trailing_zeros()),
                _ => {}
            }
        }
        self.sinks.push(sink);
        Target::Sink(u32::try_from(self.sinks.len() - 1).unwrap_or(NONE))
    }

    /// The sink of an element of an array: only what a pointer names, and as a sink in any case.
    fn sink_of(&mut self, target: Target, is_pointed_at: bool) -> Target {
        if !is_pointed_at {
            return Target::Skip;
        }
        let mut sink = match target {
            Target::Sink(number) => self.sinks.get(number as usize).cloned().unwrap_or_default(),
            Target::Field(field) => Sink { fields: 1 << field, ..Sink::default() },
            _ => return Target::Skip,
        };
        // Elements have no names: they are neither features, tags nor classes.
        (sink.feature, sink.vector, sink.tag, sink.probability) = (NONE, false, NONE, false);
        self.sinks.push(sink);
        Target::Sink(u32::try_from(self.sinks.len() - 1).unwrap_or(NONE))
    }
}

/// The index that a segment of a pointer means in an array: digits without a leading zero (RFC 6901).
fn index_of(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|byte| byte.is_ascii_digit()) && (segment == "0" || !segment.starts_with('0'));
    if plain { segment.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(key: &Key, text: &str) -> bool {
        key.matches(Json::new(text, &std::cell::Cell::new(0)), 0)
    }

    #[test]
    fn keys_match_themselves_and_nothing_else() {
        let names = [
            "",
            "a",
            "b",
            "abcd",
            "abcde",
            "abcdef",
            "num_00",
            "num_01",
            "xum_00",
            "prediction_id",
            "prediction_ix",
            "credit_amount_last_30d",
            "credit_amount_most_30d",
            "é",
        ];
        for name in names {
            let key = Key::new(name, Target::Skip);
            for other in names {
                let text = format!("\"{other}\":1}}");
                assert_eq!(matches(&key, &text), name == other, "{name} {other}");
            }
            for cut in 0..name.len() + 2 {
                let text = format!("\"{name}\":");
                if let Some(text) = text.get(..cut) {
                    assert!(!matches(&key, text), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_name_that_needs_escapes_matches_no_text() {
        for name in ["a\":1,\"b", "a\\", "\0", "\n"] {
            let text = format!("\"{name}\":1");
            assert!(!matches(&Key::new(name, Target::Skip), &text));
        }
        assert!(!matches(&Key::new("\0\0\0\0\0", Target::Skip), ""));
    }

    #[test]
    fn learns_a_bounded_number_of_keys() {
        let mapping = Mapping::default_json();
        let mut schema = Schema::compile(&mapping, &Dictionary::default());
        let node = &mut schema.nodes[0];
        let known = node.keys.len();
        for number in 0..10_000 {
            node.find(&format!("random_{number}"));
        }
        assert_eq!(node.keys.len(), known + MAX_LEARNT);
        assert_eq!(node.find("random_9999"), (NONE, Target::Skip));
        assert!(matches!(node.find("model"), (number, Target::Field(1)) if number != NONE));
    }

    #[test]
    fn indices_have_no_leading_zero() {
        assert_eq!(index_of("0"), Some(0));
        assert_eq!(index_of("17"), Some(17));
        for bad in ["", "01", "-1", "1a", "99999999999999999999999"] {
            assert_eq!(index_of(bad), None, "{bad}");
        }
    }
}
