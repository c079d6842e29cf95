//! The structure of a file against its JSON Schema: every fault at once, in words for people.
//!
//! The schema is the one that `driftline schema` prints. What the values mean is not known here.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::fault::{Fault, suggestion};
use super::position::{Part, Positions, join};

/// The keyword by which a schema says in words what it expects: "a duration such as 30s, 5m or 7d".
pub const EXPECTED: &str = "x-driftline-expected";

/// One deviation from the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// JSON pointer to the value that deviates, or to the key that is not known.
    pub pointer: String,
    /// What of it the fault is about.
    pub part: Part,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// Whether another type was expected: a text from the environment may still become it.
    pub wrong_type: bool,
}

impl Finding {
    fn new(pointer: impl Into<String>, part: Part, message: impl Into<String>) -> Finding {
        Finding { pointer: pointer.into(), part, message: message.into(), hint: None, wrong_type: false }
    }

    /// The finding as a fault of a file.
    pub fn fault(&self, positions: &Positions) -> Fault {
        let mut fault = positions.fault_at(&self.pointer, self.part, self.message.clone());
        fault.hint.clone_from(&self.hint);
        fault
    }
}

/// A schema and its compiled form.
pub(super) struct Structure {
    schema: Value,
    validator: Validator,
}

impl Structure {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with the schema: a mistake in this program, not in a file.
    pub fn new(schema: Value) -> Result<Structure, String> {
        let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
        Ok(Structure { schema, validator })
    }

    /// Everything in which a value deviates from the schema.
    pub fn check(&self, value: &Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        for error in self.validator.iter_errors(value) {
            self.explain(&error, &mut findings);
        }
        findings
    }

    fn explain(&self, error: &ValidationError<'_>, findings: &mut Vec<Finding>) {
        let pointer = error.instance_path().as_str();
        let value = |message: String| Finding::new(pointer, Part::Value, message);
        if let Some(expected) = self.expected(error) {
            findings.push(expected.finding(pointer, error.instance()));
            return;
        }
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let schema = self.schema_of(error);
                let known = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
                for key in unexpected {
                    let mut finding = Finding::new(join(pointer, key), Part::Key, "unknown key");
                    finding.hint = known.and_then(|known| suggestion(key, known.keys().map(String::as_str)));
                    findings.push(finding);
                }
            }
            Kind::Required { property } => {
                findings.push(Finding::new(pointer, Part::Key, format!("{property} is missing")));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => self.explain_branches(error, context, findings),
            Kind::Minimum { limit } => findings.push(value(format!("must be at least {limit}"))),
            Kind::Maximum { limit } => findings.push(value(format!("must be at most {limit}"))),
            Kind::ExclusiveMinimum { limit } => findings.push(value(format!("must be greater than {limit}"))),
            Kind::ExclusiveMaximum { limit } => findings.push(value(format!("must be less than {limit}"))),
            Kind::MinItems { limit: 1 } | Kind::MinLength { limit: 1 } | Kind::MinProperties { limit: 1 } => {
                findings.push(value("must not be empty".into()));
            }
            Kind::MinItems { limit } => findings.push(value(format!("must have at least {limit} entries"))),
            Kind::MaxItems { limit } => findings.push(value(format!("must have at most {limit} entries"))),
            Kind::MaxProperties { limit } => findings.push(value(format!("must have at most {limit} keys"))),
            Kind::MinProperties { limit } => findings.push(value(format!("must have at least {limit} keys"))),
            Kind::MaxLength { limit } => findings.push(value(format!("must have at most {limit} characters"))),
            Kind::UniqueItems => findings.push(value("holds the same entry twice".into())),
            Kind::FalseSchema => findings.push(value("is not allowed here".into())),
            Kind::Pattern { pattern } => findings.push(value(format!("does not have the form {pattern}"))),
            _ => findings.push(value(error.masked_with("the value").to_string())),
        }
    }

    /// What a value should have been, where its type or choice is the whole trouble.
    fn expected(&self, error: &ValidationError<'_>) -> Option<Expected> {
        let words = || self.schema_of(error).and_then(|schema| schema.get(EXPECTED)).and_then(Value::as_str);
        match error.kind() {
            Kind::Type { kind } => Some(match words() {
                Some(words) => Expected { types: vec![words.to_owned()], options: vec![] },
                None => Expected { types: types(kind), options: vec![] },
            }),
            Kind::Constant { expected_value } => Some(Expected { types: vec![], options: vec![Value::clone(expected_value)] }),
            Kind::Enum { options } => Some(Expected { types: vec![], options: options.as_array().cloned().unwrap_or_default() }),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                let mut all = Expected::default();
                for branch in context {
                    let mut of_branch = Expected::default();
                    for inner in branch {
                        if inner.instance_path() != error.instance_path() {
                            return None;
                        }
                        of_branch.add(self.expected(inner)?);
                    }
                    // A string constant has both the type and the choice: the choice says it all.
                    if !of_branch.options.is_empty() {
                        of_branch.types.clear();
                    }
                    all.add(of_branch);
                }
                if let Some(words) = words() {
                    all = Expected { types: vec![words.to_owned()], options: vec![] };
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// None of several forms fits: explains the one that was most likely meant.
    fn explain_branches(&self, error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>], findings: &mut Vec<Finding>) {
        let own = error.instance_path();
        let of_shape = |branch: &&Vec<ValidationError<'static>>| {
            !branch.iter().any(|inner| inner.instance_path() == own && self.expected(inner).is_some())
        };
        let mut branches: Vec<&Vec<ValidationError<'static>>> = context.iter().filter(of_shape).collect();
        // Forms told apart by a constant, as `kind: absence`: leave those whose constant is another.
        let tag = |branch: &Vec<ValidationError<'static>>| {
            branch.iter().find(|inner| matches!(inner.kind(), Kind::Constant { .. })).map(|inner| inner.instance_path().clone())
        };
        if branches.iter().any(|branch| tag(branch).is_none()) {
            branches.retain(|branch| tag(branch).is_none());
        } else if branches.len() > 1
            && let Some(pointer) = branches.first().and_then(|branch| tag(branch))
        {
            let mut expected = Expected::default();
            let mut found = None;
            for inner in branches.iter().flat_map(|branch| branch.iter()).filter(|inner| *inner.instance_path() == pointer) {
                found = Some(inner.instance());
                self.expected(inner).into_iter().for_each(|more| expected.add(more));
            }
            if let Some(found) = found {
                expected.types.clear();
                findings.push(expected.finding(pointer.as_str(), found));
                return;
            }
        }
        // Forms told apart by their one key.
        let missing = |branch: &Vec<ValidationError<'static>>| {
            branch.iter().find_map(|inner| match inner.kind() {
                Kind::Required { property } if inner.instance_path() == own => property.as_str().map(str::to_owned),
                _ => None,
            })
        };
        let keys: Vec<String> = branches.iter().filter_map(|branch| missing(branch)).collect();
        if keys.len() > 1 && keys.len() == branches.len() {
            let mut finding = Finding::new(own.as_str(), Part::Value, format!("expected one of the keys {}", keys.join(", ")));
            let given = error.instance().as_object().into_iter().flat_map(|object| object.keys());
            finding.hint =
                given.filter_map(|given| suggestion(given, keys.iter().map(String::as_str))).find(|hint| hint.starts_with("did"));
            findings.push(finding);
            return;
        }
        match branches.into_iter().min_by_key(|branch| branch.len()) {
            Some(branch) => branch.iter().for_each(|inner| self.explain(inner, findings)),
            None => findings.push(Finding::new(own.as_str(), Part::Value, "has none of the forms that are possible here")),
        }
    }

    /// The schema whose keyword an error is about.
    fn schema_of(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let (parent, _keyword) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(parent)
    }
}

#[derive(Default)]
struct Expected {
    types: Vec<String>,
    options: Vec<Value>,
}

impl Expected {
    fn add(&mut self, more: Expected) {
        for kind in more.types {
            if !self.types.contains(&kind) {
                self.types.push(kind);
            }
        }
        for option in more.options {
            if !self.options.contains(&option) {
                self.options.push(option);
            }
        }
    }

    fn finding(mut self, pointer: &str, found: &Value) -> Finding {
        // Null is allowed wherever nothing is: no news.
        if self.types.len() + self.options.len() > 1 {
            self.types.retain(|kind| kind != type_name("null"));
        }
        let options: Vec<String> =
            self.options.iter().map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned)).collect();
        let mut choices = options.clone();
        choices.extend(self.types.iter().cloned());
        let expected = match choices.as_slice() {
            [only] => only.clone(),
            choices if self.types.is_empty() => format!("one of {}", choices.join(", ")),
            choices => choices.join(" or "),
        };
        let found_text = match found {
            // A choice is no secret, any other text may be.
            Value::String(text) if !options.is_empty() => format!("\"{text}\""),
            found => type_of(found).to_owned(),
        };
        let mut finding = Finding::new(pointer, Part::Value, format!("expected {expected}, found {found_text}"));
        if let Value::String(text) = found {
            finding.hint = suggestion(text, options.iter().map(String::as_str)).filter(|hint| hint.starts_with("did"));
        }
        if self.types.len() == 1 && self.types.iter().any(|kind| kind == type_name("string")) && (found.is_number() || found.is_boolean()) {
            finding.hint = Some("put it in quotes".to_owned());
        }
        finding.wrong_type = true;
        finding
    }
}

fn types(kind: &TypeKind) -> Vec<String> {
    match kind {
        TypeKind::Single(one) => vec![type_name(one.as_str()).to_owned()],
        TypeKind::Multiple(set) => set.iter().map(|one| type_name(one.as_str()).to_owned()).collect(),
    }
}

fn type_name(json: &str) -> &str {
    match json {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "an integer",
        "null" => "nothing",
        "number" => "a number",
        "object" => "a mapping",
        "string" => "a string",
        other => other,
    }
}

/// The kind of a value as messages name it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(schema: Value, value: &Value) -> Vec<String> {
        let structure = Structure::new(schema).unwrap();
        let show = |f: &Finding| format!("{} {}{}", f.pointer, f.message, f.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default());
        structure.check(value).iter().map(show).collect()
    }

    #[test]
    fn unknown_keys_are_compared_with_the_known_ones() {
        let schema = json!({"type": "object", "properties": {"size": {}, "slide": {}}, "additionalProperties": false});
        assert_eq!(findings(schema, &json!({"slied": 1})), ["/slied unknown key (did you mean \"slide\"?)"]);
    }

    #[test]
    fn null_is_not_named_among_what_is_expected() {
        let schema = json!({"properties": {"n": {"type": ["integer", "null"]}, "d": {"type": ["string", "null"], EXPECTED: "a duration"}}});
        assert_eq!(
            findings(schema, &json!({"n": "x", "d": 3})),
            ["/d expected a duration, found a number", "/n expected an integer, found a string"]
        );
    }

    #[test]
    fn choices_are_listed_through_all_ways_of_writing_them() {
        let one_of = json!({"oneOf": [{"const": "earliest", "type": "string"}, {"const": "latest", "type": "string"}]});
        let schema = json!({"anyOf": [one_of, {"type": "null"}]});
        assert_eq!(
            findings(schema.clone(), &json!("erliest")),
            [" expected one of earliest, latest, found \"erliest\" (did you mean \"earliest\"?)"]
        );
        assert_eq!(findings(schema, &json!(3)), [" expected one of earliest, latest, found a number"]);
        let mixed = json!({"anyOf": [{"const": "auto"}, {"type": "integer"}]});
        assert_eq!(findings(mixed, &json!(true)), [" expected auto or an integer, found true"]);
    }

    #[test]
    fn the_form_that_was_meant_is_explained() {
        let object =
            json!({"type": "object", "properties": {"object": {"type": "string"}}, "required": ["object"], "additionalProperties": false});
        let schema = json!({"anyOf": [{"type": "string"}, object]});
        assert_eq!(findings(schema.clone(), &json!({"object": 1})), ["/object expected a string, found a number (put it in quotes)"]);
        assert_eq!(findings(schema, &json!(1)), [" expected a string or a mapping, found a number"]);
        let tagged = |kind: &str, key: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, key: {"type": "string"}}, "required": ["kind"]});
        let schema = json!({"oneOf": [tagged("a", "x"), tagged("b", "y")]});
        assert_eq!(findings(schema.clone(), &json!({"kind": "b", "y": 1})), ["/y expected a string, found a number (put it in quotes)"]);
        assert_eq!(findings(schema, &json!({"kind": "c"})), ["/kind expected one of a, b, found \"c\""]);
        let keyed = |key: &str| json!({"type": "object", "properties": {key: {}}, "required": [key], "additionalProperties": false});
        let schema = json!({"oneOf": [keyed("above"), keyed("below")]});
        assert_eq!(findings(schema, &json!({"abvoe": 1})), [" expected one of the keys above, below (did you mean \"above\"?)"]);
    }
}
