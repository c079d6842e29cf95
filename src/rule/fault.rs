//! What is wrong with a rule file, and where: the place is a JSON pointer; lines and columns are known to the caller.

use std::fmt;

/// One fault of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the faulty value, such as `/groups/0/rules/1/value`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What may be meant instead.
    pub hint: Option<String>,
    /// Whether the file can be used all the same.
    pub warning: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A fault and its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFault {
    /// Name of the file, as it was given.
    pub file: String,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.file, self.fault)
    }
}

/// Collects the faults of all files; the same fault at the same place is kept once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    found: Vec<FileFault>,
}

impl Faults {
    pub(crate) fn at<'a>(&'a mut self, file: &'a str) -> FaultsOfFile<'a> {
        FaultsOfFile { faults: self, file }
    }

    /// All faults in the order in which they were found.
    pub(crate) fn into_found(self) -> Vec<FileFault> {
        self.found
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|found| !found.fault.warning)
    }
}

/// Collects the faults of one file.
pub(crate) struct FaultsOfFile<'a> {
    faults: &'a mut Faults,
    file: &'a str,
}

impl FaultsOfFile<'_> {
    pub(crate) fn error(&mut self, path: &str, message: impl Into<String>) {
        self.push(path, message.into(), None, false);
    }

    pub(crate) fn error_with(&mut self, path: &str, message: impl Into<String>, hint: Option<String>) {
        self.push(path, message.into(), hint, false);
    }

    pub(crate) fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.push(path, message.into(), None, true);
    }

    pub(crate) fn warn_with(&mut self, path: &str, message: impl Into<String>, hint: Option<String>) {
        self.push(path, message.into(), hint, true);
    }

    /// A key that is read and kept but has no effect.
    pub(crate) fn not_yet(&mut self, path: &str, what: &str) {
        self.push(path, format!("not acted on yet: {what}"), None, true);
    }

    fn push(&mut self, path: &str, message: String, hint: Option<String>, warning: bool) {
        let found = FileFault { file: self.file.to_owned(), fault: Fault { path: path.to_owned(), message, hint, warning } };
        if !self.faults.found.contains(&found) {
            self.faults.found.push(found);
        }
    }
}

/// A key as one token of a JSON pointer.
pub(crate) fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Similarity (Jaro-Winkler) below which a known name is not worth offering instead of an unknown one.
const ALIKE: f64 = 0.75;

/// `did you mean 'x'?` for the known name that is most like the unknown one, or the few names there are.
pub(crate) fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let best = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&unknown.to_lowercase(), &name.to_lowercase()), *name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((_, name)) => Some(format!("did you mean '{name}'?")),
        None if known.is_empty() => None,
        None if known.len() <= 8 => Some(format!("known are {}", known.join(", "))),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_the_likeliest_name() {
        assert_eq!(did_you_mean("retrain-laon", ["retrain-loan", "page"]), Some("did you mean 'retrain-loan'?".into()));
        assert_eq!(did_you_mean("zzz", ["a", "b"]), Some("known are a, b".into()));
        assert_eq!(did_you_mean("zzz", []), None);
    }

    #[test]
    fn the_same_fault_is_kept_once() {
        let mut faults = Faults::default();
        faults.at("a").error("/x", "bad");
        faults.at("a").error("/x", "bad");
        faults.at("b").warn("/x", "bad");
        assert_eq!(faults.into_found().len(), 2);
        assert_eq!(pointer_token("a/b~c"), "a~1b~0c");
    }
}
