//! From the raw structure to the checked configuration: what the values mean, and whether they go together.
//!
//! Every check goes on after a fault with a value that passes, so that one run finds all of them.

mod detector;
mod event;
mod evidence;
mod kafka;
mod model;
mod operation;

use std::path::{Path, PathBuf};

use crate::event::Span;

use super::checked::{Config, Purpose};
use super::fault::Fault;
use super::file::{ConfigFile, DurationText, OneOrMany, Plain, SizeText};
use super::position::{Part, Positions, join};
use super::unsupported;

/// Collects the faults of a configuration and knows its surroundings.
pub(super) struct Checker<'a> {
    /// Places of the values.
    pub positions: &'a Positions,
    /// JSON pointers to what is not there because it had a fault of its own.
    pub left_out: &'a [String],
    /// Directory that relative paths are taken from.
    pub base: &'a Path,
    /// What the configuration is wanted for.
    pub purpose: Purpose,
    /// What was found.
    pub faults: Vec<Fault>,
}

/// Checks a whole file. The configuration is only to be used where no fault is an error.
pub(super) fn check(file: &ConfigFile, checker: &mut Checker<'_>) -> Config {
    if let Some(version) = file.version.filter(|version| *version != 1) {
        checker.error_with("/version", format!("version {version} is not known"), "this program reads version 1");
    }
    unsupported::check(file, checker);
    let kafka = kafka::check(file.kafka.as_ref(), checker);
    let joins_by_default = file.kafka.is_none() || !kafka.labels.is_empty();
    let config = Config {
        event: event::check(file.event.as_ref(), checker),
        models: model::check_all(&file.models, joins_by_default, checker),
        state: operation::state(file.state.as_ref(), &kafka, checker),
        limits: operation::limits(file.limits.as_ref(), checker),
        telemetry: operation::telemetry(file.telemetry.as_ref(), checker),
        http: operation::http(file.http.as_ref(), checker),
        notify: operation::notify(file.notify.as_ref(), checker),
        rules: rules(file.rules.as_ref(), checker),
        kafka,
    };
    if config.models.is_empty() {
        checker.missing("", "models", "at least one model is needed");
    }
    config
}

fn rules(rules: Option<&OneOrMany>, checker: &mut Checker<'_>) -> Vec<String> {
    let patterns = checker.texts("/rules", rules, Commas::Kept);
    let mut joined = Vec::with_capacity(patterns.len());
    for (pointer, pattern) in patterns {
        if let Err(error) = glob::Pattern::new(&pattern) {
            checker.error(&pointer, format!("'{pattern}' is not a glob: {}", error.msg));
            continue;
        }
        joined.push(rooted(checker.base, &pattern));
    }
    joined
}

/// A glob that is taken from a directory, whose own name is not a glob.
pub(super) fn rooted(base: &Path, pattern: &str) -> String {
    if Path::new(pattern).is_absolute() || base.as_os_str().is_empty() {
        return pattern.to_owned();
    }
    let base = glob::Pattern::escape(&base.to_string_lossy());
    format!("{}/{}", base.trim_end_matches('/'), pattern.strip_prefix("./").unwrap_or(pattern))
}

/// What the commas of a single text mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commas {
    /// They separate entries.
    Separate,
    /// Nothing.
    Kept,
}

impl Checker<'_> {
    /// An error at a value.
    pub fn error(&mut self, pointer: &str, message: impl Into<String>) {
        self.faults.push(self.positions.fault(pointer, message));
    }

    /// An error at a value and the way out.
    pub fn error_with(&mut self, pointer: &str, message: impl Into<String>, hint: &str) {
        let mut fault = self.positions.fault(pointer, message);
        fault.hint = Some(self.positions.redact(pointer, hint.to_owned()));
        self.faults.push(fault);
    }

    /// An error at a key and the way out.
    pub fn error_at_key(&mut self, pointer: &str, message: impl Into<String>, hint: &str) {
        self.faults.push(self.positions.fault_at(pointer, Part::Key, message).hint(hint));
    }

    /// A warning at a key.
    pub fn warn_at_key(&mut self, pointer: &str, message: impl Into<String>, hint: &str) {
        self.faults.push(self.positions.fault_at(pointer, Part::Key, message).hint(hint).warning());
    }

    /// An error about a key that is not there, unless it may have been meant by one that has a fault already.
    pub fn missing(&mut self, parent: &str, key: &str, why: &str) {
        let pointer = join(parent, key);
        let below = format!("{pointer}/");
        let told = self.left_out.iter().any(|left_out| {
            *left_out == pointer || left_out.starts_with(&below) || left_out.rsplit_once('/').is_some_and(|(around, _)| around == parent)
        });
        if !told {
            self.faults.push(self.positions.fault_at(parent, Part::Key, format!("\"{key}\" is missing: {why}")));
        }
    }

    /// A length of time.
    pub fn span(&mut self, pointer: &str, text: Option<&DurationText>, default: Span) -> Span {
        let Some(DurationText(text)) = text else { return default };
        match Span::parse(text) {
            Ok(span) => span,
            Err(message) => {
                self.error(pointer, message);
                default
            }
        }
    }

    /// A length of time that must not be zero.
    pub fn positive_span(&mut self, pointer: &str, text: Option<&DurationText>, default: Span) -> Span {
        let span = self.span(pointer, text, default);
        if span.0 > 0 {
            return span;
        }
        self.error(pointer, "must be longer than 0s");
        default
    }

    /// A number of bytes.
    pub fn size(&mut self, pointer: &str, text: Option<&SizeText>, default: u64, least: u64) -> u64 {
        let bytes = match text {
            None => return default,
            Some(SizeText::Bytes(bytes)) => *bytes,
            Some(SizeText::Text(text)) => {
                let Some(bytes) = parse_size(text) else {
                    self.error(pointer, format!("'{text}' is not a size; write a number and a unit, like 64KiB, 512MiB, 2GiB"));
                    return default;
                };
                bytes
            }
        };
        if bytes < least {
            self.error(pointer, format!("must be at least {least} bytes"));
        }
        bytes
    }

    /// A path; relative ones are taken from the directory of the file.
    pub fn path(&mut self, pointer: &str, text: &str) -> PathBuf {
        if text.is_empty() {
            self.error(pointer, "an empty path");
        }
        self.base.join(text.strip_prefix("./").filter(|rest| !rest.is_empty()).unwrap_or(text))
    }

    /// The entries of a text or a list with their pointers; empty ones are errors.
    pub fn texts(&mut self, pointer: &str, texts: Option<&OneOrMany>, commas: Commas) -> Vec<(String, String)> {
        let all: Vec<(String, String)> = match texts {
            None => Vec::new(),
            Some(OneOrMany::One(one)) if commas == Commas::Separate => {
                one.split(',').map(|text| (pointer.to_owned(), text.trim().to_owned())).collect()
            }
            Some(OneOrMany::One(one)) => vec![(pointer.to_owned(), one.clone())],
            Some(OneOrMany::Many(many)) => {
                many.iter().enumerate().map(|(index, text)| (join(pointer, &index.to_string()), text.clone())).collect()
            }
        };
        let (empty, texts): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, text)| text.is_empty());
        for (pointer, _) in empty {
            self.error(&pointer, "an empty text");
        }
        texts
    }
}

/// The canonical text of a value of which only the text matters.
pub(super) fn canonical(plain: &Plain) -> String {
    let value = match plain {
        Plain::Bool(flag) => serde_json::Value::Bool(*flag),
        Plain::Number(number) => serde_json::Value::Number(number.clone()),
        Plain::Text(text) => return text.clone(),
    };
    crate::event::text::canonical_json(&value).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("512MiB"), Some(512 << 20));
        assert_eq!(parse_size("1 GB"), Some(1_000_000_000));
        assert_eq!(parse_size("1024"), Some(1024));
        for bad in ["", "MiB", "1.5GiB", "-1", "1 TiB", "99999999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn globs_are_taken_from_the_directory_of_the_file() {
        assert_eq!(rooted(Path::new("/etc/d[1]"), "rules/*.yaml"), "/etc/d[[]1[]]/rules/*.yaml");
        assert_eq!(rooted(Path::new(""), "rules/*.yaml"), "rules/*.yaml");
        assert_eq!(rooted(Path::new("/etc"), "/opt/*.yaml"), "/opt/*.yaml");
    }
}
