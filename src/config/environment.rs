//! The environment's say in a file: what `${env:...}` reads, and the overrides `DRIFTLINE_SECTION__KEY`.
//!
//! The variables come in as data: nothing here reads the environment of the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::fault::Fault;
use super::position::Place;
use super::tree::{Content, Entry, Node, Origin, Scalar};

/// Overrides are the variables that begin so and hold a [`SEPARATOR`].
const PREFIX: &str = "DRIFTLINE_";
/// Between the keys of an override's path. Variables without one (`DRIFTLINE_CONFIG`, those that Kubernetes sets for a
/// service of that name) are no overrides.
const SEPARATOR: &str = "__";

/// Environment variables by name. Their values may be secrets and are never printed.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variables whose names begin so, with their whole names.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The overrides: name, path of keys in lower case, value. Empty ones count as not set.
    fn overrides(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX).filter(|path| path.contains(SEPARATOR))?;
            Some((name.as_str(), path.split(SEPARATOR).map(str::to_lowercase).collect(), value.as_str()))
        })
    }

    /// Writes the overrides over a file. The values are texts until something else is wanted in their place.
    pub(super) fn override_file(&self, root: &mut Node, faults: &mut Vec<Fault>) {
        for (name, path, value) in self.overrides() {
            if let Err(message) = set(root, name, &path, value) {
                faults.push(Fault::of_file(format!("environment variable {name}"), message));
            }
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Environment {
        Environment(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn set(root: &mut Node, name: &str, path: &[String], value: &str) -> Result<(), String> {
    if path.iter().any(String::is_empty) {
        return Err(format!("names no key; write {PREFIX}SECTION{SEPARATOR}KEY"));
    }
    let variable: Arc<str> = name.into();
    let place = Place { variable: Some(Arc::clone(&variable)), line: 0, column: 0 };
    let mut node = root;
    for (depth, key) in path.iter().enumerate() {
        // Names of librdkafka's settings hold dots, which those of variables cannot.
        let librdkafka = depth == 2 && path.iter().take(2).eq(["kafka", "librdkafka"]);
        let key = if librdkafka { key.replace('_', ".") } else { key.clone() };
        if matches!(node.content, Content::Scalar(_)) {
            node.content = Content::Mapping(Vec::new());
        }
        node = match &mut node.content {
            Content::List(items) => {
                let length = items.len();
                let item = key.parse::<usize>().ok().and_then(|index| items.get_mut(index));
                item.ok_or_else(|| format!("\"{key}\" is not the number of an entry of a list of {length}, counted from 0"))?
            }
            Content::Mapping(entries) => {
                let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
                    entries.push(Entry { key, place: place.clone(), value: Node::null(place.clone()) });
                    entries.len() - 1
                });
                &mut entries.get_mut(index).ok_or("the key cannot be set")?.value
            }
            Content::Scalar(_) => return Err("the key cannot be set".into()),
        };
    }
    let scalar = Scalar { text: value.to_owned(), value: Value::String(value.to_owned()), origin: Origin::Variable(variable) };
    *node = Node { place, content: Content::Scalar(scalar) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tree;
    use super::*;

    fn overridden(text: &str, variables: &[(&str, &str)]) -> (Value, Vec<String>) {
        let mut faults = Vec::new();
        let mut root = tree::parse("f.yaml", text, &mut faults).unwrap();
        variables.iter().copied().collect::<Environment>().override_file(&mut root, &mut faults);
        (root.to_value(), faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn variables_write_over_the_file_and_make_what_is_not_there() {
        let (value, faults) = overridden(
            "kafka: {group_id: a}\nhttp:\nmodels: [{name: m}]",
            &[
                ("DRIFTLINE_KAFKA__GROUP_ID", "b"),
                ("DRIFTLINE_HTTP__LISTEN", "127.0.0.1:1"),
                ("DRIFTLINE_NOTIFY__SMTP__PASSWORD", "$x"),
                ("DRIFTLINE_KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL", "SSL"),
                ("DRIFTLINE_MODELS__0__BASELINE", "b.json"),
                ("DRIFTLINE_STATE__PATH", ""),
                ("DRIFTLINE_CONFIG", "elsewhere"),
                ("OTHER__KEY", "x"),
            ],
        );
        assert_eq!(faults, Vec::<String>::new());
        let expected = json!({
            "kafka": {"group_id": "b", "librdkafka": {"security.protocol": "SSL"}},
            "http": {"listen": "127.0.0.1:1"},
            "models": [{"name": "m", "baseline": "b.json"}],
            "notify": {"smtp": {"password": "$x"}},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn faults_name_the_variable() {
        let (_, faults) = overridden("models: [{name: m}]", &[("DRIFTLINE_MODELS__1__NAME", "x"), ("DRIFTLINE_KAFKA__", "y")]);
        assert_eq!(
            faults,
            [
                "environment variable DRIFTLINE_KAFKA__: names no key; write DRIFTLINE_SECTION__KEY",
                "environment variable DRIFTLINE_MODELS__1__NAME: \"1\" is not the number of an entry of a list of 1, counted from 0",
            ]
        );
        assert_eq!(format!("{:?}", [("A", "hunter2")].into_iter().collect::<Environment>()), "{\"A\"}");
    }
}
