//! From the text of a file to its raw structure: tree, overrides, interpolation, schema, serde.
//!
//! Works for every file of which a type describes the structure. Where some of a file is wrong, the rest is still read,
//! so that faults of meaning are reported together with those of structure.

use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::environment::Environment;
use super::fault::{Fault, in_order};
use super::interpolate::interpolate;
use super::position::Positions;
use super::scalar;
use super::structure::{Finding, Structure};
use super::tree::{self, Content, Node, Origin};

/// Rounds of leaving out what is wrong before a file is given up: what is left out can leave something else missing.
const ROUNDS: usize = 4;

/// What was read of one file.
pub struct Reading<T> {
    /// The structure. May be there although there are faults: then without the parts that have them.
    pub value: Option<T>,
    /// The places of its values, for faults that are found later.
    pub positions: Positions,
    /// Everything that is wrong with text and structure.
    pub faults: Vec<Fault>,
    /// JSON pointers to what was left out because of its faults.
    pub left_out: Vec<String>,
}

impl<T> Reading<T> {
    /// The structure, if all is well.
    ///
    /// # Errors
    /// All faults.
    pub fn into_result(self) -> Result<(T, Positions), Vec<Fault>> {
        match self.value {
            Some(value) if !self.faults.iter().any(Fault::is_error) => Ok((value, self.positions)),
            _ => Err(self.faults),
        }
    }
}

/// Reads one file that a type describes.
///
/// Values are interpolated where there is an environment; relative paths of `${file:...}` are those from `base`.
#[must_use]
pub fn read_yaml<T: DeserializeOwned + JsonSchema>(file: &str, text: &str, environment: Option<&Environment>, base: &Path) -> Reading<T> {
    let mut faults = Vec::new();
    match tree::parse(file, text, &mut faults) {
        Ok(mut root) => {
            if let Some(environment) = environment {
                interpolate(file, &mut root, environment, base, &mut faults);
            }
            typed(file, root, faults)
        }
        Err(fault) => unreadable(file, fault, faults),
    }
}

/// Reads the configuration file: as [`read_yaml`], after the overrides of the environment.
pub(super) fn read_overridden<T: DeserializeOwned + JsonSchema>(
    file: &str,
    text: &str,
    environment: &Environment,
    base: &Path,
) -> Reading<T> {
    let mut faults = Vec::new();
    match tree::parse(file, text, &mut faults) {
        Ok(mut root) => {
            // Before the interpolation: what is written over need not be there.
            environment.override_file(&mut root, &mut faults);
            interpolate(file, &mut root, environment, base, &mut faults);
            typed(file, root, faults)
        }
        Err(fault) => unreadable(file, fault, faults),
    }
}

/// The JSON Schema (draft 2020-12) of a type's files.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

fn unreadable<T>(file: &str, fault: Fault, mut faults: Vec<Fault>) -> Reading<T> {
    faults.push(fault);
    Reading { value: None, positions: Node::null(super::position::Place::default()).positions(file), faults, left_out: Vec::new() }
}

fn typed<T: DeserializeOwned + JsonSchema>(file: &str, mut root: Node, mut faults: Vec<Fault>) -> Reading<T> {
    let structure = match Structure::new(schema_of::<T>()) {
        Ok(structure) => structure,
        Err(error) => return unreadable(file, Fault::of_file(file, format!("the schema of this kind of file is broken: {error}")), faults),
    };
    let mut findings = structure.check(&root.to_value());
    if coerce(&mut root, &findings) {
        findings = structure.check(&root.to_value());
    }
    let positions = root.positions(file);
    // A text that could not be interpolated has its fault already.
    let told = |finding: &Finding| {
        let fault = finding.fault(&positions);
        faults.iter().any(|other| other.path == fault.path && other.line == fault.line && other.is_error())
    };
    let new: Vec<Fault> = findings.iter().filter(|finding| !told(finding)).map(|finding| finding.fault(&positions)).collect();
    faults.extend(new);

    let mut left_out = Vec::new();
    for _ in 0..ROUNDS {
        if findings.is_empty() || !findings.iter().all(|finding| leave_out(&mut root, &finding.pointer, &mut left_out)) {
            break;
        }
        findings = structure.check(&root.to_value());
    }
    let mut value = None;
    if findings.is_empty() {
        match serde_json::from_value(root.to_value()) {
            Ok(read) => value = Some(read),
            // The schema let through what the type does not take: a number that is too large, say.
            Err(error) => faults.push(Fault::of_file(file, without_values(&error.to_string()))),
        }
    }
    Reading { value, positions, faults: in_order(faults), left_out }
}

/// Gives texts from the environment the type that is wanted in their place; true where one has changed.
fn coerce(root: &mut Node, findings: &[Finding]) -> bool {
    let mut changed = false;
    for finding in findings.iter().filter(|finding| finding.wrong_type) {
        let Some(node) = root.get_mut(&finding.pointer) else { continue };
        let Content::Scalar(scalar) = &mut node.content else { continue };
        if scalar.origin == Origin::Written || !scalar.value.is_string() {
            continue;
        }
        let value = scalar::plain(scalar.text.trim());
        if !value.is_string() {
            scalar.value = value;
            changed = true;
        } else if matches!(scalar.origin, Origin::Variable(_))
            && scalar.text.trim_start().starts_with(['[', '{'])
            && let Ok(mut collection) = tree::parse("", &scalar.text, &mut Vec::new())
        {
            let place = node.place.clone();
            collection.move_to(&place);
            *node = collection;
            changed = true;
        }
    }
    changed
}

/// Removes what has a fault, or the closest thing around it that can be left out; false where that is the whole file.
fn leave_out(root: &mut Node, pointer: &str, left_out: &mut Vec<String>) -> bool {
    let mut pointer = pointer;
    loop {
        let Some((parent, _)) = pointer.rsplit_once('/') else { return false };
        let key = super::position::segments(pointer).last().unwrap_or_default().into_owned();
        match root.get_mut(parent).map(|node| &mut node.content) {
            Some(Content::Mapping(entries)) => {
                entries.retain(|entry| entry.key != key);
                left_out.push(pointer.to_owned());
                return true;
            }
            // Without one of its entries a list would number the others anew.
            Some(_) => pointer = parent,
            // Left out already, with what was around it.
            None => return true,
        }
    }
}

/// A message of serde without the values that it quotes: they may be secrets.
fn without_values(message: &str) -> String {
    let mut out = String::new();
    for (index, part) in message.split('"').enumerate() {
        out.push_str(if index % 2 == 0 { part } else { "..." });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        count: Option<u64>,
        flag: Option<bool>,
        name: Option<String>,
        list: Option<Vec<String>>,
        items: Option<Vec<Item>>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Item {
        size: u32,
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Reading<Sample> {
        read_overridden("f.yaml", text, &variables.iter().copied().collect(), Path::new("."))
    }

    fn faults(reading: &Reading<Sample>) -> Vec<String> {
        reading.faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn texts_from_the_environment_become_what_is_wanted() {
        let reading = read("count: ${env:N}\nname: ${env:N}\nflag: yes", &[("N", "7"), ("DRIFTLINE___", "x"), ("DRIFTLINE_FLAG__", "")]);
        assert_eq!(faults(&reading).len(), 2);
        let reading = read("count: ${env:N}\nname: ${env:N}\nflag: \"${env:F}\"", &[("N", "7"), ("F", "true")]);
        assert_eq!(faults(&reading), Vec::<String>::new());
        let sample = reading.value.unwrap();
        assert_eq!((sample.count, sample.flag, sample.name.as_deref()), (Some(7), Some(true), Some("7")));
    }

    #[test]
    fn a_value_from_the_file_brings_in_no_structure_and_is_not_shown() {
        let reading = read("list: ${env:N}\ncount: ${env:N}", &[("N", "[secret]")]);
        assert_eq!(
            faults(&reading),
            ["f.yaml:1:7: list: expected a list, found a string", "f.yaml:2:8: count: expected an integer, found a string"]
        );
    }

    #[test]
    fn the_rest_of_a_file_with_faults_is_read() {
        let reading = read("cuont: 1\nflag: 3\nname: x\nitems: [{size: 1}, {size: a}]", &[]);
        assert_eq!(
            faults(&reading),
            [
                "f.yaml:1:1: cuont: unknown key (did you mean \"count\"?)",
                "f.yaml:2:7: flag: expected true or false, found a number",
                "f.yaml:4:27: items[1].size: expected an integer, found a string",
            ]
        );
        assert_eq!(reading.left_out.iter().map(String::as_str).collect::<Vec<_>>(), ["/flag", "/items/1/size", "/cuont", "/items"]);
        assert_eq!(reading.value.unwrap().name.as_deref(), Some("x"));
    }

    #[test]
    fn what_the_schema_lets_through_and_serde_does_not_is_a_fault_without_values() {
        let reading = read("items: [{size: 5000000000}]", &[]);
        assert_eq!(reading.faults.len(), 1);
        assert!(reading.into_result().is_err());
        assert_eq!(without_values("invalid type: string \"hunter2\", expected u64"), "invalid type: string ..., expected u64");
    }
}
