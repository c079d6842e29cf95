//! Why a delivery did not work, and whether trying again can help. Texts are safe to log: no URLs, no secrets.

use thiserror::Error;

use crate::event::Span;

/// Longest error text that is kept, in characters: enough for a cause, too little for a page of HTML.
const MAX_TEXT: usize = 300;

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The other side may take it later.
    #[error("{error}")]
    Retryable {
        /// What happened.
        error: String,
        /// The time that the server asked for before the next attempt.
        retry_after: Option<Span>,
    },
    /// The other side will never take it.
    #[error("{error}")]
    Permanent {
        /// What happened.
        error: String,
    },
}

impl Failure {
    /// A failure that may pass.
    #[must_use]
    pub fn retryable(error: impl AsRef<str>) -> Failure {
        Failure::Retryable { error: clean(error.as_ref()), retry_after: None }
    }

    /// A failure that will not pass.
    #[must_use]
    pub fn permanent(error: impl AsRef<str>) -> Failure {
        Failure::Permanent { error: clean(error.as_ref()) }
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Failure::Retryable { .. })
    }
}

/// One line of bounded length without control characters, whatever a server has answered.
pub(super) fn clean(text: &str) -> String {
    let mut line = String::new();
    for (count, word) in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).enumerate() {
        if count > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(MAX_TEXT) {
        Some((cut, _)) => format!("{}...", line.get(..cut).unwrap_or_default()),
        None => line,
    }
}

/// The error and its causes in one line, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_bounded_line() {
        let failure = Failure::retryable("503\r\nbusy\u{1b}[31m  now");
        assert_eq!(failure.to_string(), "503 busy [31m now");
        let long = Failure::permanent("é".repeat(1000)).to_string();
        assert_eq!(long.chars().count(), MAX_TEXT + 3);
    }
}
