//! The agent's own log: lines on stderr, as text or JSON.
//!
//! It goes nowhere else. Exporting it would feed back: the exporter's HTTP client logs what it does.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::Error;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged where only a level is given: that level of ours, warnings of everything else, and nothing of those
/// who would talk about every request.
const OTHERS: &str = "warn,hyper=error,hyper_util=error,reqwest=error,rustls=error";

/// Sets up logging for the process. `filter` is a level (`debug`) or directives (`driftline=debug,rdkafka=info`); without
/// one the level is `info`.
///
/// # Errors
/// [`Error::Filter`] where the filter cannot be read, [`Error::Logging`] where logging is set up already.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), Error> {
    let directives = directives(filter.map(str::trim).filter(|filter| !filter.is_empty()).unwrap_or("info"));
    let filter =
        EnvFilter::try_new(&directives).map_err(|fault| Error::Filter { filter: directives.clone(), reason: fault.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let done = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    done.map_err(|_| Error::Logging)
}

fn directives(filter: &str) -> String {
    if filter.contains(['=', ',']) { filter.to_owned() } else { format!("{OTHERS},driftline={filter}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_ours_and_directives_are_as_given() {
        assert_eq!(directives("debug"), format!("{OTHERS},driftline=debug"));
        assert_eq!(directives("rdkafka=info"), "rdkafka=info");
        assert!(matches!(init(Format::Json, Some("driftline=loud,,=")), Err(Error::Filter { .. })));
    }
}
