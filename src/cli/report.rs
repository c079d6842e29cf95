//! How commands speak: results to stdout, faults to stderr.

use std::io::Write as _;

use crate::config::fault::Fault;

/// Prints a result. A reader that has gone away (`| head`) is no error.
pub fn result(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a line for people.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error with its chain of causes.
pub fn error(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    note(&text);
}

/// Prints all faults, and how many there are of each kind.
pub fn faults(faults: &[Fault]) {
    for fault in faults {
        note(&fault.to_string());
    }
    let errors = faults.iter().filter(|fault| fault.is_error()).count();
    if errors > 0 {
        let plural = if errors == 1 { "" } else { "s" };
        note(&format!("{errors} error{plural}"));
    }
}
