//! Checks of the entries of `models`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::comparison::Comparison;
use crate::engine::measure::Recipe;
use crate::event::{Metric, Span};

use super::super::checked::{Admitted, Baselines, Drift, FeatureType, Features, Labels, Model, Purpose, SegmentBy, Task, Window, pane};
use super::super::fault::suggestion;
use super::super::file::OneOrMany;
use super::super::file::model::{
    BaselineEntry, DriftEntry, FeatureTypeName, FeaturesEntry, FeaturesFrom, ModelEntry, RecipeName, SegmentEntry, TaskName, WindowEntry,
};
use super::super::position::join;
use super::super::unsupported;
use super::{Checker, Commas, canonical, detector, evidence, reference};

/// How far a record may lie behind where nothing is said.
const LATENESS: Span = Span(2 * Span::MINUTE.0);
/// Fewest events for a verdict where nothing is said.
const MIN_SAMPLES: u64 = 500;
/// Longest time from a prediction to its label where nothing is said.
const HORIZON: Span = Span(30 * Span::DAY.0);
/// Probability from which on the positive class is predicted where nothing is said.
const THRESHOLD: f64 = 0.5;
/// The positive class where nothing is said, as scikit-learn has it.
const POSITIVE_CLASS: &str = "1";
/// Values of a segment that are measured by themselves where nothing is said.
const SEGMENT_LIMIT: usize = 50;
/// The word that stands for every metric.
const ALL_METRICS: &str = "all";
/// The drift recipe where nothing is said.
const DRIFT: Drift = Drift { metric: Metric::Psi, above: 0.1, p_adjusted: 0.01 };
/// Shortest pane. Finer ones make more work of closing windows than of counting events.
const MIN_PANE: Span = Span::SECOND;
/// Most panes of one window: each holds the counts of every feature in memory.
const MAX_PANES: i64 = 20_000;
/// Longest window, horizon and lateness, so that no sum of times overflows: ten years.
const MAX_SPAN: Span = Span(3_650 * Span::DAY.0);
/// Longest name of a model or window, in bytes: it becomes the value of a label of every series.
const MAX_NAME: usize = 128;

pub(super) fn check_all(entries: &[ModelEntry], joins_by_default: bool, checker: &mut Checker<'_>) -> Vec<Model> {
    let mut names = BTreeMap::new();
    let mut models = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("/models/{index}");
        check_name(&join(&at, "name"), &entry.name, checker);
        if let Some(first) = names.insert(entry.name.as_str(), index) {
            checker.error(&join(&at, "name"), format!("the name '{}' is that of models[{first}] already", entry.name));
        }
        models.push(check(entry, &at, joins_by_default, checker));
    }
    models
}

fn check(entry: &ModelEntry, at: &str, joins_by_default: bool, checker: &mut Checker<'_>) -> Model {
    let task = task(entry, at, checker);
    let windows = windows(entry.windows.as_deref(), at, checker);
    let (metrics, multivariate) = multivariate(entry, at, &task, checker);
    let drift = drift(entry.drift.as_ref(), entry.false_alarms.is_some(), at, checker);
    reference::check_drift(&windows, &metrics, drift.metric, at, checker);
    check_judged(entry, &metrics, drift.metric, at, checker);
    if entry.baseline.is_none() && checker.purpose == Purpose::Run && !checker.left_out.contains(&join(at, "baseline")) {
        checker.warn_at_key(
            at,
            format!("the model '{}' has no baseline: nothing can be compared", entry.name),
            "make one with `driftline baseline build` and name it in `baseline`",
        );
    }
    Model {
        name: entry.name.as_str().into(),
        baselines: baselines(entry.baseline.as_ref(), at, checker),
        features: features(entry.features.as_ref(), at, checker),
        features_from_feature_events: matches!(entry.features_from, Some(FeaturesFrom::Features)),
        seasonal: reference::seasonal(entry.seasonal, &windows, at, checker),
        windows,
        lateness: bounded(&join(at, "lateness"), checker, |checker, pointer| checker.span(pointer, entry.lateness.as_ref(), LATENESS)),
        min_samples: entry.min_samples.unwrap_or(MIN_SAMPLES),
        labels: labels(entry, at, &task, joins_by_default, checker),
        segments: segments(entry.segments.as_deref(), at, checker),
        metrics,
        multivariate,
        names_metrics: entry.metrics.as_ref().is_some_and(|names| !asks_for_all(names)),
        recipe: entry.recipe.map_or(Recipe::Driftline, |name| match name {
            RecipeName::Driftline => Recipe::Driftline,
            RecipeName::Evidently => Recipe::Evidently,
            RecipeName::Nannyml => Recipe::Nannyml,
            RecipeName::Azure => Recipe::Azure,
            RecipeName::Tfdv => Recipe::Tfdv,
        }),
        detectors: detector::check(entry.detectors.as_deref(), at, &task, entry.labels.is_some() || joins_by_default, checker),
        drift,
        false_alarms: evidence::false_alarms(entry.false_alarms.as_deref(), at, checker),
        evidence: evidence::evidence(entry.evidence.as_ref(), entry.false_alarms.is_some()),
        task,
    }
}

/// A length of time within the bound on all of them.
fn bounded(pointer: &str, checker: &mut Checker<'_>, read: impl FnOnce(&mut Checker<'_>, &str) -> Span) -> Span {
    let span = read(checker, pointer);
    if span > MAX_SPAN {
        checker.error(pointer, format!("must be at most {MAX_SPAN}"));
        return MAX_SPAN;
    }
    span
}

fn check_name(pointer: &str, name: &str, checker: &mut Checker<'_>) {
    if name.is_empty() {
        checker.error(pointer, "an empty name");
    } else if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        checker.error(pointer, format!("a name has at most {MAX_NAME} bytes and no control characters"));
    }
}

fn task(entry: &ModelEntry, at: &str, checker: &mut Checker<'_>) -> Task {
    let name = entry.task.unwrap_or(TaskName::None);
    if !matches!(name, TaskName::Binary) {
        let told = checker.left_out.contains(&join(at, "task"));
        for (key, given) in [("positive_class", entry.positive_class.is_some()), ("threshold", entry.threshold.is_some())] {
            if given && !told {
                checker.error_at_key(&join(at, key), "only a binary model has one", "set task: binary, or leave it out");
            }
        }
    }
    match name {
        TaskName::Binary => {
            let threshold = entry.threshold.unwrap_or(THRESHOLD);
            if !(0.0..=1.0).contains(&threshold) {
                checker.error(&join(at, "threshold"), format!("{threshold} is not a probability from 0 to 1"));
            }
            let positive_class = entry.positive_class.as_ref().map_or_else(|| POSITIVE_CLASS.to_owned(), canonical);
            Task::Binary { positive_class: positive_class.into(), threshold }
        }
        TaskName::Multiclass => Task::Multiclass,
        TaskName::Regression => Task::Regression,
        TaskName::None => Task::None,
    }
}

fn baselines(entry: Option<&BaselineEntry>, at: &str, checker: &mut Checker<'_>) -> Baselines {
    let at = join(at, "baseline");
    let mut baselines = Baselines::default();
    match entry {
        None | Some(BaselineEntry::Learn(_)) => {}
        Some(BaselineEntry::File(path)) => baselines.default = Some(checker.path(&at, path)),
        Some(BaselineEntry::Versions(files)) => {
            if files.is_empty() {
                checker.error(&at, "must not be empty");
            }
            for (version, path) in files {
                let pointer = join(&at, version);
                let path = checker.path(&pointer, path);
                match version.as_str() {
                    "default" => baselines.default = Some(path),
                    "learn" => checker.error_at_key(&pointer, "stands alone", "write { learn: 7d }, or files by version"),
                    _ => {
                        baselines.versions.insert(version.clone(), path);
                    }
                }
            }
        }
    }
    baselines
}

fn features(entry: Option<&FeaturesEntry>, at: &str, checker: &mut Checker<'_>) -> Features {
    let missing = FeaturesEntry::default();
    let entry = entry.unwrap_or(&missing);
    let at = join(at, "features");
    let mut patterns = |key: &str, texts: Option<&OneOrMany>| -> Vec<glob::Pattern> {
        let mut patterns = Vec::new();
        for (pointer, text) in checker.texts(&join(&at, key), texts, Commas::Kept) {
            match glob::Pattern::new(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => checker.error(&pointer, format!("'{text}' is not a glob: {}", error.msg)),
            }
        }
        patterns
    };
    let include = match &entry.include {
        None => glob::Pattern::new("*").into_iter().collect(),
        texts => patterns("include", texts.as_ref()),
    };
    let types = entry.types.iter().flatten().map(|(name, kind)| {
        let kind = match kind {
            FeatureTypeName::Numeric => FeatureType::Numeric,
            FeatureTypeName::Categorical | FeatureTypeName::Boolean => FeatureType::Categorical,
            FeatureTypeName::Embedding => FeatureType::Embedding,
        };
        (name.clone(), kind)
    });
    let exclude = patterns("exclude", entry.exclude.as_ref());
    for (name, importance) in entry.importance.iter().flatten().filter(|(_, importance)| !importance.is_finite() || **importance < 0.0) {
        checker.error(&join(&join(&at, "importance"), name), format!("{importance} must not be negative"));
    }
    Features { include, exclude, types: types.collect(), importance: entry.importance.clone().unwrap_or_default() }
}

fn windows(entries: Option<&[WindowEntry]>, at: &str, checker: &mut Checker<'_>) -> Vec<Window> {
    let at = join(at, "windows");
    let Some(entries) = entries else {
        let window =
            |name: &str, size, slide| Window { name: name.into(), size, slide, offset: Span(0), comparison: Comparison::default() };
        return vec![window("1h", Span::HOUR, Span(5 * Span::MINUTE.0)), window("1d", Span::DAY, Span::HOUR)];
    };
    if entries.is_empty() {
        checker.error(&at, "must not be empty");
    }
    let mut names = BTreeMap::new();
    let mut sound = true;
    let mut windows = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let at = join(&at, &index.to_string());
        let before = checker.faults.len();
        let window = window(entry, &at, checker);
        if let Some(first) = names.insert(Arc::clone(&window.name), index) {
            let pointer = if entry.name.is_some() { join(&at, "name") } else { at };
            checker.error(&pointer, format!("the name '{}' is that of windows[{first}] already", window.name));
        }
        sound &= checker.faults.len() == before;
        windows.push(window);
    }
    let pane = pane(&windows);
    let longest = windows.iter().map(|window| window.size).max().unwrap_or(Span(0));
    if sound && !windows.is_empty() {
        let hint = "slides and offsets that divide each other make longer panes";
        if pane < MIN_PANE {
            checker.error_with(
                &at,
                format!("panes of {pane}, the greatest common divisor of slides and offsets, are shorter than {MIN_PANE}"),
                hint,
            );
        } else if longest.0 / pane.0 > MAX_PANES {
            let count = longest.0 / pane.0;
            checker.error_with(&at, format!("the window of {longest} has {count} panes of {pane}, more than {MAX_PANES}"), hint);
        } else {
            reference::check_panes(&windows, pane, MAX_PANES, &at, checker);
        }
    }
    windows
}

fn window(entry: &WindowEntry, at: &str, checker: &mut Checker<'_>) -> Window {
    let name = entry.name.as_deref().unwrap_or(entry.size.0.trim());
    if entry.name.is_some() {
        check_name(&join(at, "name"), name, checker);
    }
    let before = checker.faults.len();
    let size = bounded(&join(at, "size"), checker, |checker, pointer| checker.positive_span(pointer, Some(&entry.size), Span::HOUR));
    let slide = checker.positive_span(&join(at, "slide"), entry.slide.as_ref(), size);
    let offset = checker.span(&join(at, "offset"), entry.offset.as_ref(), Span(0));
    if checker.faults.len() == before {
        if slide > size {
            checker
                .error(&join(at, "slide"), format!("{slide} is longer than the size {size}: events between the windows would not be seen"));
        } else if size.0 % slide.0 != 0 {
            // The next longer slide that fits, where there is one near.
            let most = size.0 / slide.0;
            let count = (1..=most).rev().take(1_000).find(|count| size.0 % count == 0);
            let hint = count.map_or_else(
                || "leave the slide out for windows side by side".to_owned(),
                |count| format!("a slide of {} would fit", Span(size.0 / count)),
            );
            checker.error_with(&join(at, "size"), format!("{size} is not a multiple of the slide {slide}"), &hint);
        }
        if offset >= slide {
            let same = Span(offset.0.checked_rem(slide.0).unwrap_or(0));
            checker.error_with(
                &join(at, "offset"),
                format!("{offset} is not less than the slide {slide}"),
                &format!("{same} means the same"),
            );
        }
    }
    let comparison =
        if checker.faults.len() == before { reference::check(entry, at, (size, slide), checker) } else { Comparison::default() };
    Window { name: name.into(), size, slide, offset, comparison }
}

fn labels(entry: &ModelEntry, at: &str, task: &Task, joins_by_default: bool, checker: &mut Checker<'_>) -> Labels {
    match &entry.labels {
        None if *task == Task::None || !joins_by_default => Labels::Ignored,
        None => Labels::Joined { horizon: HORIZON },
        Some(labels) => {
            if *task == Task::None && !checker.left_out.contains(&join(at, "task")) {
                checker.error_at_key(
                    &join(at, "labels"),
                    "labels are of no use without a task",
                    "set task: binary, multiclass or regression",
                );
            }
            let pointer = join(&join(at, "labels"), "horizon");
            let horizon = bounded(&pointer, checker, |checker, pointer| checker.positive_span(pointer, labels.horizon.as_ref(), HORIZON));
            Labels::Joined { horizon }
        }
    }
}

fn segments(entries: Option<&[SegmentEntry]>, at: &str, checker: &mut Checker<'_>) -> Vec<SegmentBy> {
    let mut seen = BTreeSet::new();
    let mut segments = Vec::new();
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        let at = join(&join(at, "segments"), &index.to_string());
        let by = join(&at, "by");
        let mut tags: Vec<Arc<str>> = Vec::new();
        for (pointer, text) in checker.texts(&by, Some(&entry.by), Commas::Kept) {
            match text.strip_prefix("tags.").filter(|tag| !tag.is_empty()) {
                None => checker.error_with(&pointer, format!("'{text}' is not a tag"), &format!("did you mean \"tags.{text}\"?")),
                Some(tag) if tags.iter().any(|other| **other == *tag) => checker.error(&pointer, format!("'{text}' is named twice")),
                Some(tag) => tags.push(tag.into()),
            }
        }
        if matches!(&entry.by, OneOrMany::Many(list) if list.is_empty()) {
            checker.error(&by, "must not be empty");
        }
        tags.sort();
        if !tags.is_empty() && !seen.insert(tags.clone()) {
            checker.error(&by, "an entry before has the same tags");
        }
        let limit = entry.limit.map_or(SEGMENT_LIMIT, |limit| limit as usize);
        let admitted = match &entry.values {
            None => Admitted::OfBaseline,
            Some(values) => {
                if tags.len() > 1 {
                    checker.error_at_key(&join(&at, "values"), "values can be listed for a segment by one tag", "leave them out");
                }
                if values.len() > limit {
                    checker.error(&join(&at, "values"), format!("{} values, more than the limit of {limit}", values.len()));
                }
                Admitted::Listed(values.iter().map(|value| canonical(value).into()).collect())
            }
        };
        segments.push(SegmentBy { tags, limit, admitted });
    }
    segments
}

/// Whether `metrics` is `all` or `[all]`.
fn asks_for_all(names: &OneOrMany) -> bool {
    match names {
        OneOrMany::One(name) => name == ALL_METRICS,
        OneOrMany::Many(names) => matches!(names.as_slice(), [name] if name == ALL_METRICS),
    }
}

fn metrics(names: Option<&OneOrMany>, at: &str, task: &Task, checker: &mut Checker<'_>) -> Vec<Metric> {
    let at = join(at, "metrics");
    let (names, is_one) = match names {
        None => return Metric::DEFAULT.to_vec(),
        Some(names) if asks_for_all(names) => {
            let is_measured = |metric: &Metric| !metric.is_detector() && !Metric::MULTIVARIATE.contains(metric);
            return Metric::ALL.into_iter().filter(is_measured).collect();
        }
        Some(OneOrMany::One(name)) => (std::slice::from_ref(name), true),
        Some(OneOrMany::Many(names)) => (names.as_slice(), false),
    };
    let mut metrics = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let pointer = if is_one { at.clone() } else { join(&at, &index.to_string()) };
        if name == ALL_METRICS {
            checker.error_with(&pointer, "all stands alone", "write metrics: all");
        } else if let Some(metric) = metric(&pointer, name, checker) {
            if metric.is_detector() {
                checker.error_with(&pointer, format!("{name} is a detector"), &format!("write detectors: [{name}]"));
                continue;
            }
            if metric.needs_labels() && *task == Task::None {
                checker.error_with(&pointer, format!("{name} needs a task"), "set task: binary, multiclass or regression");
            }
            if metrics.contains(&metric) {
                checker.error(&pointer, format!("{name} is named twice"));
            } else {
                metrics.push(metric);
            }
        }
    }
    metrics.sort_unstable();
    metrics
}

/// The metrics with those of many dimensions at once, and these by themselves: they are measured only where they are asked for.
fn multivariate(entry: &ModelEntry, at: &str, task: &Task, checker: &mut Checker<'_>) -> (Vec<Metric>, Vec<Metric>) {
    let mut metrics = metrics(entry.metrics.as_ref(), at, task, checker);
    let is_multivariate = |metric: &Metric| Metric::MULTIVARIATE.contains(metric);
    let mut wanted: Vec<Metric> = metrics.iter().copied().filter(is_multivariate).collect();
    let at = join(at, "multivariate");
    let mut named = Vec::new();
    for (index, name) in entry.multivariate.iter().flatten().enumerate() {
        let pointer = join(&at, &index.to_string());
        let Some(metric) = Metric::parse(name).filter(is_multivariate) else {
            let known = Metric::MULTIVARIATE.map(Metric::as_str);
            let hint = if name == "pca" { None } else { suggestion(name, known) };
            let hint = hint.unwrap_or_else(|| format!("did you mean \"{}\"?", Metric::ReconstructionError.as_str()));
            checker.error_with(&pointer, format!("'{name}' is not a measure of many dimensions at once"), &hint);
            continue;
        };
        if named.contains(&metric) {
            checker.error(&pointer, format!("{name} is named twice"));
        }
        named.push(metric);
    }
    wanted.extend(named);
    wanted.sort_unstable();
    wanted.dedup();
    metrics.retain(|metric| !is_multivariate(metric));
    metrics.extend(&wanted);
    metrics.sort_unstable();
    (metrics, wanted)
}

fn metric(pointer: &str, name: &str, checker: &mut Checker<'_>) -> Option<Metric> {
    let metric = Metric::parse(name);
    if metric.is_none() {
        let (message, hint) = unsupported::metric(name);
        match hint {
            Some(hint) => checker.error_with(pointer, message, &hint),
            None => checker.error(pointer, message),
        }
    }
    metric
}

/// Says where drift is measured and nothing will ever count as drifted.
fn check_judged(entry: &ModelEntry, metrics: &[Metric], drift: Metric, at: &str, checker: &mut Checker<'_>) {
    let is_of_drift = |metric: &Metric| !metric.needs_labels() && !metric.is_descriptive() && !metric.is_detector();
    let names_one = entry.metrics.is_some() && metrics.iter().any(is_of_drift);
    if names_one && is_of_drift(&drift) && !metrics.contains(&drift) {
        let name = drift.as_str();
        checker.warn_at_key(
            &join(at, "metrics"),
            format!("features count as drifted by their {name}, which is not among the metrics: none ever will"),
            &format!("add {name} to metrics, or name one of them in drift.metric"),
        );
    }
}

fn drift(entry: Option<&DriftEntry>, has_budget: bool, at: &str, checker: &mut Checker<'_>) -> Drift {
    // A budget says itself how great an effect has to be.
    let usual = if has_budget { Drift { above: 0.0, ..DRIFT } } else { DRIFT };
    let Some(entry) = entry else { return usual };
    let at = join(at, "drift");
    if has_budget && entry.p_adjusted.is_some() {
        checker.error_at_key(&join(&at, "p_adjusted"), "the budget of false_alarms sets the level", "leave one of the two out");
    }
    let drift = Drift {
        metric: entry.metric.as_ref().and_then(|name| metric(&join(&at, "metric"), name, checker)).unwrap_or(DRIFT.metric),
        above: entry.above.unwrap_or(usual.above),
        p_adjusted: entry.p_adjusted.unwrap_or(DRIFT.p_adjusted),
    };
    if drift.metric.is_detector() {
        checker.error(&join(&at, "metric"), format!("{} has no p-value; name it under detectors", drift.metric.as_str()));
    } else if drift.metric.needs_labels() {
        checker.error(&join(&at, "metric"), format!("{} is a measure of performance, not of drift", drift.metric.as_str()));
    } else if drift.metric.is_descriptive() {
        checker.error(&join(&at, "metric"), format!("{} describes a window and is not a measure of drift", drift.metric.as_str()));
    }
    if drift.above < 0.0 {
        checker.error(&join(&at, "above"), "must be at least 0");
    }
    if !(drift.p_adjusted > 0.0 && drift.p_adjusted <= 1.0) {
        checker.error(&join(&at, "p_adjusted"), format!("{} is not a probability above 0 and up to 1", drift.p_adjusted));
    }
    drift
}
