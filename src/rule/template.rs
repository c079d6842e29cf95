//! Texts with values in them: Jinja templates, strict about names, bounded in work. A template that fails never suppresses
//! an alert: its text says so instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use minijinja::value::Object;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::event::{Span, Timestamp};

use super::datum::{Bindings, Datum};

/// Longest source of a template, in bytes: what a mail or a request body can use.
pub const LONGEST_SOURCE: usize = 16 * 1024;

/// Longest text that a template may give, in bytes; what is beyond is cut. A label or summary is far shorter.
pub const LONGEST_TEXT: usize = 16 * 1024;

/// Work that one rendering may do, in minijinja's units of about one instruction: some milliseconds.
const FUEL: u64 = 50_000;

/// Greatest nesting of strings within a JSON body; what is deeper is left as it is.
const GREATEST_DEPTH: usize = 64;

/// A template that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    names: BTreeSet<String>,
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("pct", pct);
        environment.add_filter("duration", duration);
        environment.add_filter("date", date);
        environment
    })
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(source: &str) -> Result<Template, String> {
        if source.len() > LONGEST_SOURCE {
            return Err(format!("the template is longer than {LONGEST_SOURCE} bytes"));
        }
        let template = environment().template_from_str(source).map_err(|error| message(&error))?;
        let names = template.undeclared_variables(true).into_iter().collect();
        Ok(Template { source: source.to_owned(), names })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names that it looks up, with what it selects of them: `labels.feature`, `value`.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Renders the template, or says what is wrong in place of its text.
    #[must_use]
    pub fn render(&self, bindings: &Bindings) -> Rendered {
        let context = Value::from_pairs(bindings.0.iter().map(|(name, datum)| (name.clone(), value(datum))));
        match environment().render_str(&self.source, context) {
            Ok(mut text) => {
                if text.len() > LONGEST_TEXT {
                    let cut = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                    text.truncate(cut);
                }
                Rendered { text, trouble: None }
            }
            Err(error) => {
                let trouble = message(&error);
                Rendered { text: format!("<error expanding template: {trouble}>"), trouble: Some(trouble) }
            }
        }
    }
}

/// What a template has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text; where the template fails, `<error expanding template: ...>`.
    pub text: String,
    /// Why it failed.
    pub trouble: Option<String>,
}

/// A JSON value whose strings are templates. Values can never break out of their string.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A string.
    Text(Template),
    /// Anything without strings.
    Plain(serde_json::Value),
    /// An array.
    List(Vec<Body>),
    /// An object; its keys are not templates.
    Map(BTreeMap<String, Body>),
}

impl Body {
    /// Parses every string leaf of `json`. `fault` is told the JSON pointer of a leaf within `json` and what is wrong with it.
    pub fn parse(json: &serde_json::Value, fault: &mut dyn FnMut(&str, String)) -> Body {
        Body::parse_at(json, "", 0, fault)
    }

    fn parse_at(json: &serde_json::Value, path: &str, depth: usize, fault: &mut dyn FnMut(&str, String)) -> Body {
        if depth > GREATEST_DEPTH {
            fault(path, format!("the body is nested deeper than {GREATEST_DEPTH}"));
            return Body::Plain(serde_json::Value::Null);
        }
        match json {
            serde_json::Value::String(source) => match Template::parse(source) {
                Ok(template) => Body::Text(template),
                Err(message) => {
                    fault(path, format!("the template does not parse: {message}"));
                    Body::Plain(json.clone())
                }
            },
            serde_json::Value::Array(list) => Body::List(
                list.iter().enumerate().map(|(index, item)| Body::parse_at(item, &format!("{path}/{index}"), depth + 1, fault)).collect(),
            ),
            serde_json::Value::Object(map) => Body::Map(
                map.iter()
                    .map(|(key, item)| {
                        let path = format!("{path}/{}", super::fault::pointer_token(key));
                        (key.clone(), Body::parse_at(item, &path, depth + 1, fault))
                    })
                    .collect(),
            ),
            plain => Body::Plain(plain.clone()),
        }
    }

    /// Renders every string. `trouble` is told of templates that fail.
    pub fn render(&self, bindings: &Bindings, trouble: &mut dyn FnMut(String)) -> serde_json::Value {
        match self {
            Body::Text(template) => {
                let rendered = template.render(bindings);
                if let Some(message) = rendered.trouble {
                    trouble(message);
                }
                serde_json::Value::String(rendered.text)
            }
            Body::Plain(json) => json.clone(),
            Body::List(list) => list.iter().map(|item| item.render(bindings, trouble)).collect(),
            Body::Map(map) => {
                serde_json::Value::Object(map.iter().map(|(key, item)| (key.clone(), item.render(bindings, trouble))).collect())
            }
        }
    }

    /// Every template in it.
    pub fn templates(&self, each: &mut dyn FnMut(&Template)) {
        match self {
            Body::Text(template) => each(template),
            Body::Plain(_) => {}
            Body::List(list) => list.iter().for_each(|item| item.templates(each)),
            Body::Map(map) => map.values().for_each(|item| item.templates(each)),
        }
    }
}

fn value(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::from(()),
        Datum::Truth(truth) => Value::from(*truth),
        Datum::Whole(whole) => Value::from(*whole),
        Datum::Number(number) => Value::from(*number),
        Datum::Text(text) => Value::from(text.as_str()),
        Datum::List(list) => list.iter().map(value).collect(),
        Datum::Map(map) => Value::from_pairs(map.iter().map(|(name, datum)| (name.clone(), value(datum)))),
        Datum::Titled(text, parts) => Value::from_object(Titled {
            text: text.clone(),
            parts: parts.iter().map(|(name, datum)| (name.clone(), value(datum))).collect(),
        }),
    }
}

/// A text with parts.
#[derive(Debug)]
struct Titled {
    text: String,
    parts: BTreeMap<String, Value>,
}

impl Object for Titled {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.parts.get(key.as_str()?).cloned()
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.text.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// `0.1234 | pct` is `12.3%`; `pct(0)` is `12%`.
fn pct(share: f64, decimals: Option<u32>) -> String {
    format!("{:.*}%", decimals.unwrap_or(1).min(12) as usize, share * 100.0)
}

/// `900 | duration` is `15m`.
#[allow(clippy::cast_possible_truncation)]
fn duration(seconds: f64) -> String {
    Span((seconds * 1000.0).round() as i64).to_string()
}

/// The day of an RFC 3339 time, or of milliseconds since the Unix epoch, in UTC.
fn date(time: &Value) -> Result<String, Error> {
    let instant = match time.as_str() {
        Some(text) => Timestamp::parse_rfc3339(text),
        None => i64::try_from(time.clone()).ok().map(Timestamp),
    };
    match instant {
        Some(instant) => Ok(instant.rfc3339().chars().take(10).collect()),
        None => Err(Error::new(ErrorKind::InvalidOperation, "date wants an RFC 3339 time")),
    }
}

fn message(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bindings() -> Bindings {
        let mut bindings = Bindings::default();
        bindings.set("labels", Datum::Map(BTreeMap::from([("feature".into(), Datum::text("age"))])));
        bindings.set(
            "window",
            Datum::Map(BTreeMap::from([("n".into(), Datum::count(5120)), ("start".into(), Datum::text("2026-11-22T10:00:00.000Z"))])),
        );
        bindings.set_number("value", 0.314_159);
        bindings.set("names", Datum::List(vec![Datum::text("age"), Datum::text("sex")]));
        bindings
    }

    #[test]
    fn an_explanation_is_a_text_with_parts_and_empty_without_one() {
        let said = |source: &str, finding: Option<&crate::event::Finding>| {
            let mut bindings = bindings();
            bindings.set("explanation", Datum::explanation(finding));
            let rendered = Template::parse(source).unwrap().render(&bindings);
            assert_eq!(rendered.trouble, None, "{source}");
            rendered.text
        };
        let finding = crate::event::Finding {
            sentence: "age rose".into(),
            score: Some((crate::event::Metric::Psi, 0.3)),
            segments: vec![crate::event::explanation::SegmentShare {
                segment: crate::event::Segment(vec![("region".into(), "eu".into())]),
                share: 0.7,
                events: 0.5,
            }],
            ..Default::default()
        };
        let source = "{{ explanation }}|{{ explanation.score.metric }}|{% for part in explanation.segments %}{{ part.segment.region }} {{ part.share | pct }}{% endfor %}";
        assert_eq!(said(source, Some(&finding)), "age rose|psi|eu 70.0%");
        let source = "{{ explanation }}{% if explanation %}!{% endif %}{% for cell in explanation.cells %}{{ cell.cell }}{% endfor %}";
        assert_eq!(said(source, None), "");
        assert_eq!(said("{% if explanation %}because {{ explanation }}{% endif %}", Some(&finding)), "because age rose");
    }

    fn render(source: &str) -> String {
        Template::parse(source).unwrap().render(&bindings()).text
    }

    #[test]
    fn the_summary_of_the_shipped_rule() {
        assert_eq!(render("{{ labels.feature }} drifted: PSI {{ value | round(2) }} (n={{ window.n }})"), "age drifted: PSI 0.31 (n=5120)");
    }

    #[test]
    fn filters() {
        assert_eq!(render("{{ value | pct }} {{ value | pct(0) }}"), "31.4% 31%");
        assert_eq!(render("{{ 900 | duration }} {{ 5400.5 | duration }}"), "15m 1h30m500ms");
        assert_eq!(render("{{ window.start | date }}"), "2026-11-22");
        assert_eq!(render("{{ names | tojson }}"), "[\"age\", \"sex\"]");
        assert_eq!(render("{{ names | join(',') }}"), "age,sex");
        assert_eq!(render("<{{ '<b>' }}>"), "<<b>>");
    }

    #[test]
    fn a_failing_template_still_gives_a_text() {
        for source in [
            "{{ labels.nobody }}",
            "{{ nobody }}",
            "{{ value.x.y }}",
            "{{ 'x' | date }}",
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        ] {
            let rendered = Template::parse(source).unwrap().render(&bindings());
            assert!(rendered.text.starts_with("<error expanding template: "), "{source}: {}", rendered.text);
            assert!(rendered.trouble.is_some());
        }
        assert!(render(&format!("{}{{{{ nobody }}}}", "x".repeat(100))).starts_with("<error"));
    }

    #[test]
    fn bad_templates_are_refused_and_long_texts_cut() {
        assert!(Template::parse("{{ value").is_err());
        assert!(Template::parse("{% if %}").is_err());
        assert!(Template::parse("{{ value | nofilter }}").is_ok_and(|t| t.render(&bindings()).trouble.is_some()));
        assert!(Template::parse(&"x".repeat(LONGEST_SOURCE + 1)).is_err());
        assert!(render("{% for a in range(3000) %}ääääääääää{% endfor %}").len() <= LONGEST_TEXT);
        for part in ["{{ (", "{% if x %}", "{{ -", "{{ [", "{{ not "] {
            let _ = Template::parse(&part.repeat(LONGEST_SOURCE / part.len()));
            let one = format!("{{{{ {} 1 }}}}", part.trim_start_matches("{{ ").repeat(3000));
            let _ = Template::parse(&one);
        }
    }

    #[test]
    fn names_are_known() {
        let names = Template::parse("{{ labels.feature }} {{ value | pct }}{% set x = 1 %}{{ x }}").unwrap();
        assert_eq!(names.names().iter().map(String::as_str).collect::<Vec<_>>(), ["labels.feature", "value"]);
    }

    #[test]
    fn values_cannot_break_out_of_a_body() {
        let mut bindings = bindings();
        bindings.set("evil", Datum::text("\", \"admin\": true, \"x\": \"{{ value }}"));
        let body = Body::parse(
            &json!({"a": "{{ evil }}", "n": null, "l": ["{{ value | round(1) }}", 7], "k": {"{{ value }}": true}}),
            &mut |_, _| panic!("no fault"),
        );
        let mut troubles = Vec::new();
        let rendered = body.render(&bindings, &mut |trouble| troubles.push(trouble));
        assert_eq!(
            rendered,
            json!({"a": "\", \"admin\": true, \"x\": \"{{ value }}", "n": null, "l": ["0.3", 7], "k": {"{{ value }}": true}})
        );
        assert!(troubles.is_empty());
    }

    #[test]
    fn faults_of_a_body_name_their_leaf() {
        let mut faults = Vec::new();
        Body::parse(&json!({"a/b": ["ok", "{{"]}), &mut |path, _| faults.push(path.to_owned()));
        assert_eq!(faults, ["/a~1b/1"]);
        let body = Body::parse(&json!(["{{ nobody }}"]), &mut |_, _| {});
        let mut troubles = 0;
        let rendered = body.render(&bindings(), &mut |_| troubles += 1);
        assert_eq!(troubles, 1);
        assert!(rendered[0].as_str().unwrap().starts_with("<error expanding template"));
    }
}
