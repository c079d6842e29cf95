//! A fault of a file: where it is, what is wrong and what to do about it.
//!
//! Faults are plain data. How they were found, and what becomes of the file, is not known here.

use std::fmt;

/// Whether a fault keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but hardly means what it says.
    Warning,
}

/// One thing wrong with a file, displayed as `driftline.yaml:12:5: models[0].windows[1].slide: ... (did you mean "x"?)`.
///
/// The order is that of file, line and column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Name of the file, or of the environment variable that the value came from.
    pub file: String,
    /// Line from 1; 0 where the fault has no place in the file.
    pub line: u32,
    /// Column from 1, in characters; 0 where the fault has no place in the file.
    pub column: u32,
    /// The key as a reader would write it: `models[0].windows[1].slide`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, lower case, without full stop. Never holds a secret.
    pub message: String,
    /// The way out, where there is an obvious one.
    pub hint: Option<String>,
    /// Whether the file can still be used.
    pub severity: Severity,
}

impl Fault {
    /// An error of a file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault { file: file.into(), line: 0, column: 0, path: String::new(), message: message.into(), hint: None, severity: Severity::Error }
    }

    /// The same fault at a line and a column, both from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Fault {
        (self.line, self.column) = (line, column);
        self
    }

    /// The same fault with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault as a warning.
    #[must_use]
    pub fn warning(mut self) -> Fault {
        self.severity = Severity::Warning;
        self
    }

    /// Whether it keeps the file from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Puts faults of any number of files into the order in which they are shown, each once.
#[must_use]
pub fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort();
    faults.dedup();
    faults
}

/// Greatest edit distance of a "did you mean", as a part of the longer word: a third, as the Rust compiler takes it.
const LIKENESS: usize = 3;

/// The candidate closest to `word`, where one is close enough to be what was meant.
#[must_use]
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase().replace(['-', '.', ' '], "_");
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(&folded, &candidate.to_lowercase());
            let limit = folded.chars().count().max(candidate.chars().count()) / LIKENESS;
            (distance <= limit).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean", where a candidate is close, else the candidates themselves where they are few.
#[must_use]
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// Longer lists are for the schema, not for a line of text.
    const SHOWN: usize = 12;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match closest(word, candidates.iter().copied()) {
        Some(candidate) => Some(format!("did you mean \"{candidate}\"?")),
        None if candidates.is_empty() || candidates.len() > SHOWN => None,
        None => Some(format!("known here: {}", candidates.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_with_its_place_and_its_way_out() {
        let mut fault = Fault::of_file("driftline.yaml", "unknown key \"slied\"").at(12, 5).hint("did you mean \"slide\"?");
        fault.path = "models[0].windows[1]".into();
        assert_eq!(fault.to_string(), "driftline.yaml:12:5: models[0].windows[1]: unknown key \"slied\" (did you mean \"slide\"?)");
        assert_eq!(Fault::of_file("a", "b").warning().to_string(), "a: warning: b");
    }

    #[test]
    fn stands_in_the_order_of_file_and_place() {
        let at = |file: &str, line, column| Fault::of_file(file, "x").at(line, column);
        let sorted = in_order(vec![at("b", 1, 1), at("a", 10, 1), at("a", 9, 7), at("a", 9, 3), at("a", 9, 3)]);
        assert_eq!(sorted, [at("a", 9, 3), at("a", 9, 7), at("a", 10, 1), at("b", 1, 1)]);
    }

    #[test]
    fn suggests_what_is_close_and_nothing_else() {
        assert_eq!(closest("slied", ["size", "slide", "name"]), Some("slide"));
        assert_eq!(closest("bootstrap.servers", ["bootstrap_servers", "group_id"]), Some("bootstrap_servers"));
        assert_eq!(closest("zebra", ["size", "slide"]), None);
        assert_eq!(suggestion("zebra", ["size", "slide"]).as_deref(), Some("known here: size, slide"));
    }
}
