//! Label matchers of routes: `severity="critical"`, `!=`, and `=~`, `!~` with an anchored regular expression.

use std::collections::BTreeMap;

use regex::Regex;

/// Longest regular expression, in bytes: matchers are names, not programs.
const LONGEST_PATTERN: usize = 1024;

#[derive(Clone, Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Like(Regex),
    NotLike(Regex),
}

/// One condition on one label. A label that is missing counts as empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    test: Test,
}

impl Matcher {
    /// Reads one matcher; the quotes around the value may be left out.
    ///
    /// # Errors
    /// A sentence that says what was expected, or what is wrong with the regular expression.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let fault = || format!("'{text}' is not a matcher; write name=\"value\", or !=, =~, !~");
        let at = text.find(['=', '!']).ok_or_else(fault)?;
        let (name, rest) = text.split_at(at);
        let name = name.trim();
        if name.is_empty() || !is_label_name(name) {
            return Err(fault());
        }
        let (operator, value) = ["=~", "!~", "!=", "="]
            .into_iter()
            .find_map(|operator| rest.strip_prefix(operator).map(|value| (operator, value)))
            .ok_or_else(fault)?;
        let value = unquote(value.trim()).ok_or_else(fault)?;
        let pattern = |value: &str| {
            if value.len() > LONGEST_PATTERN {
                return Err(format!("the regular expression is longer than {LONGEST_PATTERN} bytes"));
            }
            // Anchored, as in Prometheus and Alertmanager.
            Regex::new(&format!("^(?:{value})$")).map_err(|error| format!("'{value}' is not a regular expression: {}", last_line(&error)))
        };
        let condition = match operator {
            "=" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            "=~" => Test::Like(pattern(&value)?),
            _ => Test::NotLike(pattern(&value)?),
        };
        Ok(Matcher { name: name.to_owned(), test: condition })
    }

    /// Whether the labels meet the condition.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Like(pattern) => pattern.is_match(value),
            Test::NotLike(pattern) => !pattern.is_match(value),
        }
    }

    /// The label and the value it must have, for a matcher of equality.
    #[must_use]
    pub fn equality(&self) -> Option<(&str, &str)> {
        match &self.test {
            Test::Equal(value) => Some((&self.name, value)),
            _ => None,
        }
    }

    /// The label it looks at.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.name
    }
}

/// Whether `name` is a label name that Prometheus and Alertmanager accept.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                escaped @ ('"' | '\\') => text.push(escaped),
                // What is not an escape of ours belongs to the regular expression.
                other => {
                    text.push('\\');
                    text.push(other);
                }
            },
            other => text.push(other),
        }
    }
    Some(text)
}

fn last_line(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("severity".into(), "critical".into()), ("model".into(), "loan".into())])
    }

    #[test]
    fn the_four_operators() {
        for (text, expected) in [
            ("severity=\"critical\"", true),
            ("severity = critical", true),
            ("severity!=\"critical\"", false),
            ("severity!=\"warning\"", true),
            ("model=~\"lo.n|churn\"", true),
            ("model=~\"lo\"", false),
            ("model!~\"lo\"", true),
            ("model!~\"lo.*\"", false),
            ("team=\"\"", true),
            ("team!=\"\"", false),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().matches(&labels()), expected, "{text}");
        }
        assert_eq!(Matcher::parse("model=\"loan\"").unwrap().equality(), Some(("model", "loan")));
    }

    #[test]
    fn an_alternation_is_anchored_as_a_whole() {
        let matcher = Matcher::parse("model=~\"lo|x\"").unwrap();
        assert!(!matcher.matches(&labels()));
    }

    #[test]
    fn quotes_and_escapes() {
        let matcher = Matcher::parse(r#"x="a\"b\\c""#).unwrap();
        assert_eq!(matcher.equality(), Some(("x", "a\"b\\c")));
        assert!(Matcher::parse(r#"x=~"\d+""#).unwrap().matches(&BTreeMap::from([("x".into(), "42".into())])));
    }

    #[test]
    fn refuses_what_is_no_matcher() {
        for bad in ["", "severity", "=x", "a b=\"x\"", "x=\"a", "x=\"a\"b\"", "x=~\"(\"", "x!\"a\"", "9x=1"] {
            assert!(Matcher::parse(bad).is_err(), "{bad} was accepted");
        }
        assert!(Matcher::parse(&format!("x=~\"{}\"", "a".repeat(2000))).is_err());
        assert!(Matcher::parse("x=~\"((a{1000}){1000}){1000}\"").is_err());
    }
}
