//! From files on disk to the checked configuration and to structures of rule files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::check::{Checker, check, rooted};
use super::checked::{Config, Purpose};
use super::environment::Environment;
use super::fault::{Fault, in_order};
use super::file::{ConfigFile, OneOrMany};
use super::interpolate::reason;
use super::position::Positions;
use super::read::{Reading, read_overridden, read_yaml};

/// What became of a configuration file.
pub struct Loading {
    /// The configuration, where nothing keeps it from being used.
    pub config: Option<Config>,
    /// Globs of the rule files, as far as they could be read: so that their faults are reported together with these.
    pub rules: Vec<String>,
    /// The places of the values, for faults that are found later (a baseline that cannot be read).
    pub positions: Positions,
    /// Errors and warnings in the order of the file.
    pub faults: Vec<Fault>,
}

impl Loading {
    /// The configuration and the warnings.
    ///
    /// # Errors
    /// All faults, where one of them is an error.
    pub fn into_result(self) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
        match self.config {
            Some(config) => Ok((config, self.faults)),
            None => Err(self.faults),
        }
    }
}

/// Loads and checks a configuration file; the second of the pair are its warnings.
///
/// # Errors
/// All faults of the file, warnings among them, in the order of the file.
pub fn load(path: &Path, environment: &Environment, purpose: Purpose) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    open(path, environment, purpose).into_result()
}

/// Loads and checks a configuration file and keeps what there is of it.
#[must_use]
pub fn open(path: &Path, environment: &Environment, purpose: Purpose) -> Loading {
    let name = path.display().to_string();
    match read_text(path) {
        Ok(text) => parse(&name, &text, path.parent().unwrap_or(Path::new("")), environment, purpose),
        Err(fault) => Loading { config: None, rules: Vec::new(), positions: Positions::default(), faults: vec![fault] },
    }
}

/// Checks the text of a configuration file. Relative paths are taken from `base`.
#[must_use]
pub fn parse(name: &str, text: &str, base: &Path, environment: &Environment, purpose: Purpose) -> Loading {
    let Reading { value, positions, mut faults, left_out } = read_overridden::<ConfigFile>(name, text, environment, base);
    let mut loading = Loading { config: None, rules: Vec::new(), positions, faults: Vec::new() };
    if let Some(file) = value {
        loading.rules = match &file.rules {
            None => Vec::new(),
            Some(OneOrMany::One(pattern)) => vec![rooted(base, pattern)],
            Some(OneOrMany::Many(patterns)) => patterns.iter().map(|pattern| rooted(base, pattern)).collect(),
        };
        let mut checker = Checker { positions: &loading.positions, left_out: &left_out, base, purpose, faults: Vec::new() };
        let config = check(&file, &mut checker);
        // What could not be interpolated has its fault already; any other at its place would be about the raw text.
        let told: BTreeSet<(u32, u32)> = faults.iter().filter(|fault| fault.line > 0).map(|fault| (fault.line, fault.column)).collect();
        faults.extend(checker.faults.into_iter().filter(|fault| fault.line == 0 || !told.contains(&(fault.line, fault.column))));
        if !faults.iter().any(Fault::is_error) {
            loading.config = Some(config);
        }
    }
    loading.faults = in_order(faults);
    loading
}

/// A file and what was read of it.
pub struct ReadFile<T> {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in faults.
    pub name: String,
    /// Its structure, places and faults.
    pub reading: Reading<T>,
}

/// The files that globs name.
pub struct ReadFiles<T> {
    /// The files by path, each once.
    pub files: Vec<ReadFile<T>>,
    /// Faults of globs and of files that cannot be read; those of the contents are with the files.
    pub faults: Vec<Fault>,
}

impl<T> ReadFiles<T> {
    /// All faults, those of the contents too, in the order of files and places.
    #[must_use]
    pub fn all_faults(&self) -> Vec<Fault> {
        in_order(self.faults.iter().chain(self.files.iter().flat_map(|file| &file.reading.faults)).cloned().collect())
    }
}

/// Reads the files that globs name, with interpolation: [`Config::rules`] or the globs of a command line.
///
/// A name without wildcards must exist; a glob without files is a warning.
#[must_use]
pub fn rule_files<T: DeserializeOwned + JsonSchema>(patterns: &[String], environment: &Environment) -> ReadFiles<T> {
    let mut paths = BTreeSet::new();
    let mut faults = Vec::new();
    for pattern in patterns {
        match glob::glob(pattern) {
            Err(error) => faults.push(Fault::of_file(pattern.as_str(), format!("not a glob: {}", error.msg))),
            Ok(found) => {
                let before = paths.len();
                let mut any = false;
                for entry in found {
                    any = true;
                    match entry {
                        Ok(path) if path.is_dir() => {}
                        Ok(path) => {
                            paths.insert(path);
                        }
                        Err(error) => faults.push(Fault::of_file(error.path().display().to_string(), reason(error.error()))),
                    }
                }
                let exact = !pattern.contains(['*', '?', '[']);
                if !any && exact {
                    faults.push(Fault::of_file(pattern.as_str(), "it does not exist"));
                } else if paths.len() == before && !any {
                    faults.push(Fault::of_file(pattern.as_str(), "no file has such a name").warning());
                }
            }
        }
    }
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.display().to_string();
        match read_text(&path) {
            Ok(text) => {
                let reading = read_yaml(&name, &text, Some(environment), path.parent().unwrap_or(Path::new("")));
                files.push(ReadFile { path, name, reading });
            }
            Err(fault) => faults.push(fault),
        }
    }
    ReadFiles { files, faults: in_order(faults) }
}

/// The text of a file that is read with [`read_yaml`].
///
/// # Errors
/// A fault where it cannot be read, is too large or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Fault> {
    let name = path.display().to_string();
    let size = std::fs::metadata(path).map_err(|error| Fault::of_file(name.as_str(), reason(&error)))?.len();
    let most = super::tree::MAX_BYTES as u64;
    if size > most {
        return Err(Fault::of_file(name, format!("the file has {size} bytes, more than {most}")));
    }
    let bytes = std::fs::read(path).map_err(|error| Fault::of_file(name.as_str(), reason(&error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let sound = String::from_utf8_lossy(error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default()).into_owned();
        let line = sound.matches('\n').count() + 1;
        let column = sound.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Fault::of_file(name, "not UTF-8 text").at(number(line), number(column))
    })
}
