//! What the files can say and driftline cannot do yet. Each is an error, so that nobody believes to be protected by it.

use crate::event::Metric;

use super::check::Checker;
use super::file::ConfigFile;
use super::file::model::BaselineEntry;

/// Metrics that have a definition and a name, but no code.
const METRICS: [&str; 6] = ["average_precision", "ece", "mcc", "kappa", "mape", "bias"];

/// Adds a fault for every key whose behaviour does not exist.
pub(super) fn check(file: &ConfigFile, checker: &mut Checker<'_>) {
    let mut not_yet = |pointer: String, what: &str, hint: &str| {
        checker.error_with(&pointer, format!("not supported yet: {what}"), hint);
    };
    for (index, model) in file.models.iter().enumerate() {
        if matches!(model.baseline, Some(BaselineEntry::Learn(_))) {
            not_yet(
                format!("/models/{index}/baseline/learn"),
                "a baseline learnt from the stream",
                "make one from the training data with `driftline baseline build`",
            );
        }
        if model.dedupe.is_some_and(super::file::Switch::is_on) {
            not_yet(format!("/models/{index}/dedupe"), "dropping duplicates", "leave it off");
        }
        if model.weighted.is_some_and(super::file::Switch::is_on) {
            not_yet(
                format!("/models/{index}/weighted"),
                "weighted statistics",
                "leave it off; weights are read and reported as weight_sum",
            );
        }
    }
}

/// What to say about a name that is not the name of a metric.
pub(super) fn metric(name: &str) -> (String, Option<String>) {
    if METRICS.contains(&name) || name.starts_with("est_") {
        return (format!("not supported yet: the metric {name}"), None);
    }
    let hint = super::fault::suggestion(name, Metric::ALL.iter().map(|metric| metric.as_str()));
    (format!("'{name}' is not the name of a metric"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_here_does_not_exist() {
        for name in METRICS {
            assert_eq!(Metric::parse(name), None, "{name} exists now");
        }
        assert_eq!(metric("pssi").1.as_deref(), Some("did you mean \"psi\"?"));
        assert_eq!(metric("kappa").0, "not supported yet: the metric kappa");
    }
}
