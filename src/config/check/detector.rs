//! Checks of the entries of `detectors`.

use std::fmt::Display;

use crate::stats::sequential::{
    AdwinSettings, DdmSettings, Direction, EddmSettings, HddmASettings, HddmWSettings, PageHinkleySettings, Settings,
};

use super::super::checked::Task;
use super::super::fault::suggestion;
use super::super::file::model::{DetectorEntry, DetectorParameters, DirectionName};
use super::super::position::join;
use super::Checker;

const NAMES: [&str; 6] = ["adwin", "page_hinkley", "ddm", "eddm", "hddm_a", "hddm_w"];
/// Most buckets of one size: with more, a look at every cut costs as much as all of the values.
const MAX_BUCKETS: u32 = 1_000;

/// The detectors of a model, in the order of their metrics.
pub(super) fn check(
    entries: Option<&[DetectorEntry]>,
    at: &str,
    task: &Task,
    joins_labels: bool,
    checker: &mut Checker<'_>,
) -> Vec<Settings> {
    let at = join(at, "detectors");
    let mut detectors: Vec<Settings> = Vec::new();
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        let at = join(&at, &index.to_string());
        let (pointer, parameters) = match entry {
            DetectorEntry::Name(name) => (at.clone(), &DetectorParameters { name: name.clone(), ..DetectorParameters::default() }),
            DetectorEntry::Parameters(parameters) => (join(&at, "name"), &**parameters),
        };
        let name = parameters.name.as_str();
        let Some(settings) = settings(parameters, &at, checker) else {
            let hint = suggestion(name, NAMES).unwrap_or_else(|| format!("detectors are {}", NAMES.join(", ")));
            checker.error_with(&pointer, format!("'{name}' is not the name of a detector"), &hint);
            continue;
        };
        if settings.is_of_errors() && !matches!(task, Task::Binary { .. } | Task::Multiclass) {
            checker.error_with(&pointer, format!("{name} needs right and wrong answers"), "set task: binary or multiclass");
        } else if settings.is_of_errors() && !joins_labels {
            checker.error_with(&pointer, format!("{name} needs labels"), "name a topic of labels, or write labels: {}");
        }
        if detectors.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&settings)) {
            checker.error(&pointer, format!("{name} is named twice"));
        } else {
            detectors.push(settings);
        }
    }
    detectors
        .sort_by_key(|settings| Settings::all().iter().position(|kind| std::mem::discriminant(kind) == std::mem::discriminant(settings)));
    detectors
}

/// Reads the parameters of one detector, and finds those that it does not have.
struct Reader<'a, 'b, 'c> {
    at: &'a str,
    checker: &'a mut Checker<'b>,
    known: &'c mut Vec<&'static str>,
}

impl Reader<'_, '_, '_> {
    fn take<T: Copy + Display>(&mut self, key: &'static str, given: Option<T>, default: T, fits: impl Fn(T) -> bool, wanted: &str) -> T {
        self.known.push(key);
        let value = given.unwrap_or(default);
        if !fits(value) {
            self.checker.error(&join(self.at, key), format!("{value} is not {wanted}"));
        }
        value
    }

    fn share(&mut self, key: &'static str, given: Option<f64>, default: f64) -> f64 {
        self.take(key, given, default, |value| value > 0.0 && value < 1.0, "above 0 and below 1")
    }

    fn positive(&mut self, key: &'static str, given: Option<f64>, default: f64) -> f64 {
        self.take(key, given, default, |value| value > 0.0, "above 0")
    }

    fn count(&mut self, key: &'static str, given: Option<u32>, default: u32, least: u32) -> u32 {
        self.take(key, given, default, |value| value >= least, &format!("at least {least}"))
    }

    fn truth(&mut self, key: &'static str, given: Option<bool>) -> bool {
        self.known.push(key);
        given.unwrap_or(false)
    }
}

fn settings(given: &DetectorParameters, at: &str, checker: &mut Checker<'_>) -> Option<Settings> {
    let mut known = vec!["name"];
    let mut read = Reader { at, checker: &mut *checker, known: &mut known };
    let settings = match given.name.as_str() {
        "adwin" => {
            let default = AdwinSettings::default();
            let buckets = |count| (1..=MAX_BUCKETS).contains(&count);
            Settings::Adwin(AdwinSettings {
                delta: read.share("delta", given.delta, default.delta),
                clock: read.count("clock", given.clock, default.clock, 1),
                max_buckets: read.take("max_buckets", given.max_buckets, default.max_buckets, buckets, "from 1 to 1000"),
                min_window_length: read.count("min_window_length", given.min_window_length, default.min_window_length, 1),
                grace_period: read.count("grace_period", given.grace_period, default.grace_period, 0),
            })
        }
        "page_hinkley" => {
            let default = PageHinkleySettings::default();
            read.known.push("mode");
            Settings::PageHinkley(PageHinkleySettings {
                min_instances: read.count("min_instances", given.min_instances, default.min_instances, 1),
                delta: read.take("delta", given.delta, default.delta, |delta| delta >= 0.0, "at least 0"),
                threshold: read.positive("threshold", given.threshold, default.threshold),
                alpha: read.take("alpha", given.alpha, default.alpha, |alpha| alpha > 0.0 && alpha <= 1.0, "above 0 and at most 1"),
                mode: match given.mode {
                    Some(DirectionName::Up) => Direction::Up,
                    Some(DirectionName::Down) => Direction::Down,
                    Some(DirectionName::Both) | None => Direction::Both,
                },
            })
        }
        "ddm" => {
            let default = DdmSettings::default();
            Settings::Ddm(DdmSettings {
                warm_start: read.count("warm_start", given.warm_start, default.warm_start, 1),
                warning_threshold: read.positive("warning_threshold", given.warning_threshold, default.warning_threshold),
                drift_threshold: read.positive("drift_threshold", given.drift_threshold, default.drift_threshold),
            })
        }
        "eddm" => {
            let default = EddmSettings::default();
            let alpha = read.share("alpha", given.alpha, default.alpha);
            let beta = read.take("beta", given.beta, default.beta, |beta| beta > 0.0 && beta <= alpha, "above 0 and at most alpha");
            Settings::Eddm(EddmSettings { warm_start: read.count("warm_start", given.warm_start, default.warm_start, 1), alpha, beta })
        }
        "hddm_a" => {
            let default = HddmASettings::default();
            Settings::HddmA(HddmASettings {
                drift_confidence: read.share("drift_confidence", given.drift_confidence, default.drift_confidence),
                warning_confidence: read.share("warning_confidence", given.warning_confidence, default.warning_confidence),
                two_sided_test: read.truth("two_sided_test", given.two_sided_test),
            })
        }
        "hddm_w" => {
            let default = HddmWSettings::default();
            Settings::HddmW(HddmWSettings {
                drift_confidence: read.share("drift_confidence", given.drift_confidence, default.drift_confidence),
                warning_confidence: read.share("warning_confidence", given.warning_confidence, default.warning_confidence),
                lambda_val: read.share("lambda_val", given.lambda_val, default.lambda_val),
                two_sided_test: read.truth("two_sided_test", given.two_sided_test),
            })
        }
        _ => return None,
    };
    let name = given.name.as_str();
    for key in set(given).into_iter().filter(|key| !known.contains(key)) {
        checker.error_at_key(
            &join(at, key),
            format!("{name} has no {key}"),
            &format!("it has {}", known.get(1..).unwrap_or(&[]).join(", ")),
        );
    }
    Some(settings)
}

/// The parameters that are written.
fn set(given: &DetectorParameters) -> Vec<&'static str> {
    let all = [
        ("delta", given.delta.is_some()),
        ("clock", given.clock.is_some()),
        ("max_buckets", given.max_buckets.is_some()),
        ("min_window_length", given.min_window_length.is_some()),
        ("grace_period", given.grace_period.is_some()),
        ("min_instances", given.min_instances.is_some()),
        ("threshold", given.threshold.is_some()),
        ("alpha", given.alpha.is_some()),
        ("mode", given.mode.is_some()),
        ("warm_start", given.warm_start.is_some()),
        ("warning_threshold", given.warning_threshold.is_some()),
        ("drift_threshold", given.drift_threshold.is_some()),
        ("beta", given.beta.is_some()),
        ("drift_confidence", given.drift_confidence.is_some()),
        ("warning_confidence", given.warning_confidence.is_some()),
        ("lambda_val", given.lambda_val.is_some()),
        ("two_sided_test", given.two_sided_test.is_some()),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect()
}
