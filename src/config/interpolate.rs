//! `${env:VAR}`, `${env:VAR:-default}` and `${file:/path}` inside of scalar values.
//!
//! Only after parsing and only in values, so that a value can never bring in structure. `$$` is a dollar sign; a dollar
//! sign before anything but `$` and `{` stands for itself.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::environment::Environment;
use super::fault::Fault;
use super::position::{Place, display_path};
use super::tree::{Node, Origin};

/// Largest file of `${file:...}` in bytes: secrets and certificates, not data.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Interpolates the scalars of a file. Relative paths are those from `base`.
pub(super) fn interpolate(file: &str, root: &mut Node, environment: &Environment, base: &Path, faults: &mut Vec<Fault>) {
    root.scalars(&mut |pointer: &str, place: &Place, scalar| {
        if scalar.origin != Origin::Written || !scalar.value.is_string() || !scalar.text.contains('$') {
            return;
        }
        match text(&scalar.text, environment, base) {
            Ok((text, from_elsewhere)) => {
                if from_elsewhere {
                    scalar.origin = Origin::Interpolated(scalar.text.clone());
                }
                scalar.value = Value::String(text.clone());
                scalar.text = text;
            }
            Err(message) => {
                let mut fault = Fault::of_file(file, message).at(place.line, place.column);
                fault.path = display_path(pointer);
                faults.push(fault);
            }
        }
    });
}

/// The interpolated text, and whether anything of it came from elsewhere.
fn text(source: &str, environment: &Environment, base: &Path) -> Result<(String, bool), String> {
    let mut out = String::with_capacity(source.len());
    let mut from_elsewhere = false;
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((expression, after)) = after.split_once('}') else {
                return Err("\"${\" without \"}\"; a literal \"${\" is written \"$${\"".into());
            };
            out.push_str(&resolve(expression, environment, base)?);
            from_elsewhere = true;
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok((out, from_elsewhere))
}

fn resolve(expression: &str, environment: &Environment, base: &Path) -> Result<String, String> {
    if let Some(variable) = expression.strip_prefix("env:") {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("\"{name}\" is not the name of an environment variable; write ${{env:NAME}} or ${{env:NAME:-default}}"));
        }
        // As in a shell, the default also stands for a variable that is empty.
        return match (environment.get(name), default) {
            (None | Some(""), Some(default)) => Ok(default.to_owned()),
            (Some(value), _) => Ok(value.to_owned()),
            (None, None) => Err(format!("the environment variable {name} is not set")),
        };
    }
    if let Some(path) = expression.strip_prefix("file:") {
        return read(&base.join(path)).map_err(|reason| format!("the file {path} cannot be read: {reason}"));
    }
    Err(format!(
        "${{{expression}}} is not known; there are ${{env:NAME}}, ${{env:NAME:-default}} and ${{file:/path}}, and a literal \"${{\" is written \"$${{\""
    ))
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it has more than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(text.trim().to_owned())
}

/// Why a file could not be read, in words that do not depend on the system.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(source: &str) -> Result<(String, bool), String> {
        let environment = [("HOST", "db"), ("EMPTY", ""), ("DOLLAR", "${env:HOST}")].into_iter().collect();
        text(source, &environment, Path::new("/nowhere"))
    }

    #[test]
    fn values_are_put_in_once_and_dollars_are_escaped() {
        for (source, expected, from_elsewhere) in [
            ("${env:HOST}:1", "db:1", true),
            ("${env:NONE:-localhost}", "localhost", true),
            ("${env:EMPTY:-x}${env:EMPTY}", "x", true),
            ("${env:NONE:-}", "", true),
            ("${env:DOLLAR}", "${env:HOST}", true),
            ("$${env:HOST} $$ $x ^a$", "${env:HOST} $ $x ^a$", false),
        ] {
            assert_eq!(with(source), Ok((expected.to_owned(), from_elsewhere)), "{source}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_a_fault() {
        for (source, part) in [
            ("${env:NONE}", "NONE is not set"),
            ("${env:}", "not the name"),
            ("${HOST}", "${HOST} is not known"),
            ("${env:HOST", "without \"}\""),
            ("${file:secret}", "the file secret cannot be read: it does not exist"),
        ] {
            let message = with(source).unwrap_err();
            assert!(message.contains(part), "{source}: {message}");
        }
    }
}
