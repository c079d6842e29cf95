//! The decoder against `serde_json`: the same texts are JSON, and the same values are in them, bit for bit.
//!
//! Generated events, every truncation, every byte changed; one decoder reads them all, so that what it has learnt about the
//! order of keys is always stale. Nothing may panic.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftline::event::decode::{Decoder, Dictionary, Field, Mapping, RawEvent, RecordMeta, Selector, unwrap_line};
use driftline::event::text::canonical_json;
use driftline::event::{Reject, Scalar};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

const FEATURES: [&str; 7] = ["age", "country", "income", "a", "é", "num_00", "credit_amount_last_30d"];
/// Those of which arrays of numbers are read.
const VECTORS: [&str; 3] = ["a", "é", "num_00"];
const TAGS: [&str; 2] = ["region", "tier"];

struct Pair {
    mapping: Arc<Mapping>,
    dictionary: Dictionary,
    decoder: Decoder,
}

impl Pair {
    fn new(mapping: Mapping) -> Pair {
        let (mapping, dictionary) = (Arc::new(mapping), Dictionary::new(FEATURES, TAGS).with_vectors(VECTORS));
        Pair { decoder: Decoder::new(Arc::clone(&mapping), &dictionary), mapping, dictionary }
    }

    fn nested() -> Pair {
        let mut mapping = Mapping::default_json();
        for (field, text) in [
            (Field::Features, "/a"),
            (Field::Tags, ""),
            (Field::Probabilities, "/a/tags"),
            (Field::Id, "/a/0"),
            (Field::Score, "/a/0"),
            (Field::Model, "/a/1/age"),
            (Field::Label, "/features/age/a"),
            (Field::Prediction, "/features"),
        ] {
            mapping.set(field, Some(Selector::parse(text).unwrap())).unwrap();
        }
        Pair::new(mapping)
    }

    /// Decodes and compares; whether the payload was taken.
    #[track_caller]
    fn check(&mut self, payload: &[u8]) -> bool {
        let shown = || String::from_utf8_lossy(payload).into_owned();
        let expected = serde_json::from_slice::<Value>(payload);
        let got = self.decoder.decode(payload, &RecordMeta::default());
        match (expected, got) {
            // Numbers beyond a double are infinite here; bare NaN and Infinity are read.
            (Err(error), Ok(_)) if error.to_string().contains("number out of range") => true,
            (Err(_), Ok(event)) if event.nonstandard > 0 => true,
            (Err(error), Err(reason)) => {
                let taken = error.to_string().contains("number out of range") || shown().contains("NaN") || shown().contains("Infinity");
                let is_json = matches!(reason, Reject::NotAnObject | Reject::BadFeatures | Reject::UnknownKind);
                assert!(!is_json || taken, "{reason:?} although not JSON ({error}): {}", shown());
                false
            }
            (Err(error), Ok(_)) => panic!("accepted although {error}: {}", shown()),
            (Ok(value), Err(reason)) => {
                let expected = if !value.is_object() {
                    Reject::NotAnObject
                } else if self.at(&value, Field::Features).is_some_and(|features| !features.is_object() && !features.is_null()) {
                    Reject::BadFeatures
                } else {
                    let kind = self.at(&value, Field::Event).cloned().unwrap_or_default();
                    assert!(!matches!(kind.as_str(), Some("prediction" | "features" | "label")) && !kind.is_null(), "{}", shown());
                    Reject::UnknownKind
                };
                assert_eq!(reason, expected, "{}", shown());
                false
            }
            (Ok(value), Ok(event)) => {
                compare(&self.mapping, &self.dictionary, &value, &event, &shown());
                true
            }
        }
    }

    fn at<'v>(&self, value: &'v Value, field: Field) -> Option<&'v Value> {
        at(&self.mapping, value, field)
    }
}

fn at<'v>(mapping: &Mapping, value: &'v Value, field: Field) -> Option<&'v Value> {
    mapping.get(field).and_then(|selector| value.pointer(&selector.to_string()))
}

#[track_caller]
fn compare(mapping: &Mapping, dictionary: &Dictionary, value: &Value, event: &RawEvent<'_>, shown: &str) {
    let at = |field| at(mapping, value, field);
    for (field, scalar) in [(Field::Prediction, event.prediction), (Field::Score, event.score), (Field::Label, event.label)] {
        same(scalar, at(field), shown);
    }
    for (field, number) in [(Field::LatencyMs, event.latency_ms), (Field::Weight, event.weight)] {
        assert_eq!(number.map(f64::to_bits), at(field).and_then(Value::as_f64).map(f64::to_bits), "{shown}");
    }
    for (field, text) in [(Field::Model, event.model), (Field::Version, event.version), (Field::Id, event.id)] {
        same_name(text, at(field), shown);
    }
    assert_eq!(event.kind.map(|kind| kind.as_str()), at(Field::Event).and_then(Value::as_str), "{shown}");

    let features = at(Field::Features).and_then(Value::as_object);
    assert_eq!(event.has_features, features.is_some(), "{shown}");
    let mut known = 0;
    for name in FEATURES {
        let feature = features.and_then(|features| features.get(name));
        known += u32::from(feature.is_some());
        let scalar = event.feature(dictionary.feature_slot(name).unwrap());
        same(scalar, feature, shown);
        assert_eq!(scalar.vector().is_some(), VECTORS.contains(&name) && feature.is_some_and(is_vector), "{name} in {shown}");
    }
    assert_eq!(event.known_features, known, "{shown}");
    for name in TAGS {
        let tag = at(Field::Tags).and_then(|tags| tags.get(name));
        same_name(event.tag(dictionary.tag_slot(name).unwrap()), tag, shown);
    }

    let classes = at(Field::Probabilities);
    let expected: BTreeMap<&str, Option<u64>> = classes
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(class, value)| (class.as_str(), value.as_f64().map(f64::to_bits)))
        .collect();
    let got: Vec<_> = event.probabilities.iter().collect();
    assert_eq!(got.len(), expected.len(), "{shown}");
    assert_eq!(got.into_iter().map(|(class, value)| (class, value.map(f64::to_bits))).collect::<BTreeMap<_, _>>(), expected, "{shown}");
    assert_eq!(event.probabilities.is_bad(), classes.is_some_and(|classes| !classes.is_object() && !classes.is_null()), "{shown}");
}

#[track_caller]
fn same(scalar: Scalar<'_>, value: Option<&Value>, shown: &str) {
    let same = match (scalar, value) {
        (Scalar::Missing, None) | (Scalar::Null, Some(Value::Null)) | (Scalar::Other, Some(Value::Array(_) | Value::Object(_))) => true,
        (Scalar::Vector(a), Some(Value::Array(b))) => {
            a.iter().map(|number| Some(number.to_bits())).eq(b.iter().map(|number| number.as_f64().map(f64::to_bits)))
        }
        (Scalar::Bool(a), Some(Value::Bool(b))) => a == *b,
        (Scalar::Text(a), Some(Value::String(b))) => a == b,
        (Scalar::Num { value, .. }, Some(Value::Number(b))) => b.as_f64().map(f64::to_bits) == Some(value.to_bits()),
        _ => false,
    };
    assert!(same, "{scalar:?} is not {value:?} in {shown}");
}

/// Whether a value is an array of numbers that is read.
fn is_vector(value: &Value) -> bool {
    value.as_array().is_some_and(|list| (1..=1_536).contains(&list.len()) && list.iter().all(Value::is_number))
}

#[track_caller]
fn same_name(text: Option<&str>, value: Option<&Value>, shown: &str) {
    // Integers beyond 64 bits keep their digits here and are doubles there.
    let wide = |value: &Value| value.as_f64().is_some_and(|number| number.abs() >= 9e18);
    if !value.is_some_and(wide) {
        assert_eq!(text, value.and_then(canonical_json).as_deref(), "{shown}");
    }
}

fn valid_events() -> Vec<String> {
    [
        r#"{"event":"prediction","model":"loan","version":"3","id":"a1","ts":"2026-11-22T10:45:00.123Z","features":{"age":39,"country":"DE","income":null,"num_00":-0.123456,"zip":12},"prediction":"repaid","score":0.83,"probabilities":{"repaid":0.83,"default":0.17},"latency_ms":12.5,"tags":{"region":"eu"},"weight":1.0}"#,
        r#"{"event": "label", "model": "loan", "id": "a\u00e9\ud83d\ude00", "ts": 1700000000123, "label": true, "extra": [1, {"x": [[], {}]}, "\n\\"]}"#,
        r#"{"features":{"credit_amount_last_30d":1234567.891234567,"a":9007199254740993,"é":"ü\"","age":-1.5e-7,"age":1E5},"tags":{"tier":2.50,"region":false}}"#,
        r#"{"a":[{"age":1},{"age":"m"},null],"features":{"age":{"a":7},"a":[1]},"a":{"0":1,"tags":{"x":0.5,"y":1},"1":{"age":2},"age":3}}"#,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn valid_events_agree() {
    let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
    for _ in 0..3 {
        for event in valid_events() {
            plain.check(event.as_bytes());
            nested.check(event.as_bytes());
        }
    }
    assert!(plain.check(valid_events()[0].as_bytes()));
    assert!(nested.check(valid_events()[3].as_bytes()));
}

#[test]
fn every_truncation_is_refused() {
    let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
    for event in valid_events() {
        for end in 0..event.len() {
            assert!(!plain.check(&event.as_bytes()[..end]));
            assert!(!nested.check(&event.as_bytes()[..end]));
        }
    }
}

#[test]
fn every_changed_byte_agrees() {
    let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
    let mut taken = 0;
    for event in valid_events() {
        let mut bytes = event.clone().into_bytes();
        for place in 0..bytes.len() {
            let was = bytes[place];
            for byte in 0..=255 {
                bytes[place] = byte;
                taken += u32::from(plain.check(&bytes));
                nested.check(&bytes);
            }
            bytes[place] = was;
        }
    }
    assert!(taken > 10_000, "{taken}");
}

#[test]
fn every_byte_taken_out_doubled_or_put_in_agrees() {
    let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
    for event in valid_events() {
        for place in 0..event.len() {
            let (head, tail) = event.as_bytes().split_at(place);
            nested.check(&[head, &tail[1..]].concat());
            plain.check(&[head, &tail[1..]].concat());
            plain.check(&[head, &tail[..1], tail].concat());
            for insert in [
                "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "0", "-", ".", "e", "\0", "\u{1f}", "\u{7f}", "é", "null", "NaN",
                "1e999", "{}", "\"a\":1,",
            ] {
                let bytes = [head, insert.as_bytes(), tail].concat();
                plain.check(&bytes);
                nested.check(&bytes);
            }
        }
    }
}

/// Texts of one JSON value, valid with few exceptions, with keys that meet the mapping and the dictionary and each other.
fn json() -> impl Strategy<Value = String> {
    let digits = vec(0..10u8, 0..22).prop_map(|digits| digits.iter().map(|digit| char::from(b'0' + digit)).collect::<String>());
    let number = (any::<bool>(), digits.clone(), digits, any::<Option<i16>>()).prop_map(|(negative, whole, decimals, exponent)| {
        let whole = whole.trim_start_matches('0');
        let mut text = format!("{}{}", if negative { "-" } else { "" }, if whole.is_empty() { "0" } else { whole });
        if !decimals.is_empty() {
            text += &format!(".{decimals}");
        }
        if let Some(exponent) = exponent {
            text += &format!("e{}", exponent % 330);
        }
        text
    });
    let piece = select(vec![
        "",
        "a",
        "é",
        "\\u00e9",
        "\\\"",
        "\\\\",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\n",
        "\\/",
        "long plain text",
        "😀",
        "\\u0000",
        "NaN",
    ]);
    let piece = prop_oneof![40 => piece, 1 => Just("\\ud83d")];
    let string = vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let leaf = prop_oneof![
        number,
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(|float| float.to_string()),
        any::<i64>().prop_map(|integer| integer.to_string()),
        any::<u64>().prop_map(|integer| integer.to_string()),
        string,
        select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0",
            "NaN",
            "-Infinity",
            "01",
            "\"prediction\"",
            "\"label\"",
            "\"2026-11-22T10:45:00Z\""
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            3 => object(inner.clone()),
            1 => (vec(inner, 0..4), space()).prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!("{space},")))),
        ]
    })
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\n\t ", "\r\n"])
}

fn key() -> impl Strategy<Value = String> {
    let names = Field::ALL.into_iter().map(Field::as_str).chain(FEATURES).chain(TAGS);
    let odd = ["", "0", "1", "\\u0061ge", "mod\\u0065l", "a\\\"b", "unknown", "caf\\u00e9", "featuresx", "feature"];
    select(names.chain(["features", "a", "probabilities", "tags"]).chain(odd).map(str::to_owned).collect::<Vec<_>>())
}

/// As a rule the fields that should be objects are.
fn event() -> impl Strategy<Value = String> {
    let part = select(vec!["features", "probabilities", "tags", "a"]).prop_map(str::to_owned);
    let kind = select(vec!["\"prediction\"", "\"label\"", "null"]).prop_map(str::to_owned);
    let other = key().prop_filter("anything else", |key| key != "features" && key != "event" && key != "a");
    let member = prop_oneof![
        4 => (part, space(), object(json()), space()),
        4 => (other, space(), json(), space()),
        1 => (Just("event".to_owned()), space(), kind, space()),
    ];
    members(member)
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    members((key(), space(), inner, space()))
}

fn members(member: impl Strategy<Value = (String, &'static str, String, &'static str)>) -> impl Strategy<Value = String> {
    (vec(member, 0..8), space()).prop_map(|(members, space)| {
        let members: Vec<String> =
            members.iter().map(|(key, before, value, after)| format!("\"{key}\"{before}:{after}{value}{before}")).collect();
        format!("{{{space}{}}}", members.join(&format!(",{space}")))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_of_generated_json_agree(payloads in vec(event(), 1..6)) {
        let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
        for payload in payloads.iter().chain(payloads.iter().rev()) {
            plain.check(payload.as_bytes());
            nested.check(payload.as_bytes());
        }
    }

    #[test]
    fn any_json_agrees(payload in json()) {
        Pair::new(Mapping::default_json()).check(payload.as_bytes());
    }

    #[test]
    fn no_bytes_panic(payload in vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let (mut plain, mut nested) = (Pair::new(Mapping::default_json()), Pair::nested());
        plain.check(&payload);
        // Bytes that get further than the first.
        let event = valid_events().swap_remove(0);
        let (head, _) = event.as_bytes().split_at(cut.index(event.len()));
        plain.check(&[head, &payload].concat());
        nested.check(&[b"{\"a\":", &payload[..]].concat());
        let _ = unwrap_line(&[b"{\"offset\":", &payload[..]].concat());
    }

    #[test]
    fn wrapping_gives_the_value_back(value in json()) {
        let line = format!("{{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"timestamp\":3,\"value\":{value}}}");
        if let Ok(expected) = serde_json::from_str::<Value>(&value) {
            let wrapped = unwrap_line(line.as_bytes()).unwrap();
            match expected {
                Value::String(text) => prop_assert_eq!(&*wrapped.value, text.as_bytes()),
                Value::Null => prop_assert!(wrapped.value.is_empty()),
                _ => prop_assert_eq!(&*wrapped.value, value.as_bytes()),
            }
        }
        let escaped = format!("{{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"value\":{}}}", Value::String(value.clone()));
        let wrapped = unwrap_line(escaped.as_bytes()).unwrap();
        prop_assert_eq!(&*wrapped.value, value.as_bytes());
    }
}

#[test]
fn arrays_of_numbers_are_read_where_they_are_asked_for() {
    let mut pair = Pair::new(Mapping::default_json());
    for array in [
        "[1]",
        "[ 1.5 , -2e3,0 ]",
        "[]",
        "[1,]",
        "[1,null]",
        "[1,[2]]",
        "[[1,2]]",
        "[1,\"2\"]",
        "[1 2]",
        "[1,NaN]",
        "[-Infinity,2]",
        "[1e999]",
        "[01]",
        "{}",
        "7",
        "[1",
    ] {
        // An array of another feature, one that came before under the same key, and one that is skipped.
        let event = format!(r#"{{"id":"1","features":{{"age":[1,2],"a":[9,9,9],"a":{array},"é":[4,5],"zip":[1]}},"x":[3]}}"#);
        pair.check(event.as_bytes());
    }
    let mut nested = Pair::nested();
    assert!(nested.check(r#"{"a":{"a":[1,2],"num_00":[0.5]},"features":[1]}"#.as_bytes()));
    for length in [1_536, 1_537] {
        let list = vec!["0.25"; length].join(",");
        assert!(pair.check(format!(r#"{{"features":{{"a":[{list}]}}}}"#).as_bytes()));
    }
}
