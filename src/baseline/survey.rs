//! The first look at the rows: types, distributions, levels, classes and segments, in memory that does not grow with the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Scalar, Subject};
use crate::sketch::{Distribution, FrequencySketch, QuantileSketch};

use super::build::{BuildError, BuildSpec, CLASSES, FeatureType};
use super::edges::{numeric_bins, score_bins};
use super::layout::{ColumnKind, Layout, Levels, NumericBins};
use super::levels::LevelSummary;
use super::observe::{ColumnSurvey, Found, NumberSurvey, Observed, canonical_level};
use super::output::{OutputError, greatest};
use super::rows::{ColumnData, MISSING_COLUMN, RawType, Role, RowBatch, raw_number};
use super::segment::{Admitted, SegmentSurvey};
use super::space::Space;
use super::summary::LevelCounts;
use super::tally::{Plan, Tally};
use super::task::Task;
use super::time::TimeSurvey;
use crate::window::JoinedLayout;

/// The first look at the rows of a reference.
///
/// Add every batch; while [`Survey::wants_another_look`], call [`Survey::look_again`] and add every batch once more (a column
/// that seemed numeric was not); then [`Survey::finish`].
#[derive(Debug)]
pub struct Survey {
    spec: BuildSpec,
    columns: Vec<(Role, ColumnSurvey)>,
    index: BTreeMap<Role, usize>,
    segments: Vec<SegmentSurvey>,
    output: OutputSurvey,
    times: TimeSurvey,
    rows: u64,
    looks: u32,
    scratch: String,
}

/// Scores and derived predictions.
#[derive(Debug, Default)]
struct OutputSurvey {
    score: NumberSurvey,
    /// Scores by the class of their label; three at most, which is already one too many.
    by_class: BTreeMap<String, QuantileSketch>,
    /// Predictions that the threshold makes: negative, positive.
    derived: [u64; 2],
    /// Predictions that the greatest probability makes.
    greatest: FrequencySketch,
    /// The class whose probability is the score.
    positive: Option<Arc<str>>,
    /// Classes that have a probability.
    classes: Vec<Arc<str>>,
}

impl Survey {
    /// An empty survey.
    ///
    /// # Errors
    /// Where the settings contradict each other.
    pub fn new(spec: BuildSpec) -> Result<Survey, BuildError> {
        if !(0.0..=1.0).contains(&spec.threshold) {
            return Err(BuildError::Threshold(spec.threshold));
        }
        for segments in &spec.segments {
            if let Some(bad) = segments.values.iter().flatten().find(|value| value.len() != segments.by.len()) {
                return Err(BuildError::SegmentValue { by: segments.by.join(", "), found: bad.len(), wanted: segments.by.len() });
            }
        }
        let segments = spec.segments.iter().map(|_| SegmentSurvey::new()).collect();
        let output = OutputSurvey { positive: spec.positive_class.as_deref().map(Arc::from), ..OutputSurvey::default() };
        Ok(Survey {
            spec,
            columns: Vec::new(),
            index: BTreeMap::new(),
            segments,
            output,
            times: TimeSurvey::default(),
            rows: 0,
            looks: 1,
            scratch: String::new(),
        })
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// Where a score is no probability.
    pub fn add(&mut self, batch: &RowBatch) -> Result<(), BuildError> {
        for (role, data) in &batch.columns {
            let index = *self.index.entry(role.clone()).or_insert_with(|| {
                self.columns.push((role.clone(), ColumnSurvey::new(wish(&self.spec, role))));
                self.columns.len() - 1
            });
            if let Some((_, survey)) = self.columns.get_mut(index).filter(|_| is_observed(self.spec.task, role)) {
                survey.add(batch.rows, data);
            }
        }
        if self.looks == 1 {
            self.add_outputs(batch)?;
            self.add_segments(batch);
            if let Some((_, times)) = batch.columns.iter().find(|(role, _)| *role == Role::Time) {
                self.times.add(times, batch.rows);
            }
            self.rows += batch.rows as u64;
        }
        Ok(())
    }

    /// Whether a column turned out to be of another type while it was read.
    #[must_use]
    pub fn wants_another_look(&self) -> bool {
        self.columns.iter().any(|(_, survey)| survey.is_flipped())
    }

    /// Starts another look at all rows.
    pub fn look_again(&mut self) {
        self.looks += 1;
        self.columns.iter_mut().for_each(|(_, survey)| survey.look_again());
    }

    fn add_outputs(&mut self, batch: &RowBatch) -> Result<(), BuildError> {
        let find = |role: &Role| batch.columns.iter().find(|(other, _)| other == role).map_or(&MISSING_COLUMN, |(_, data)| data);
        let (prediction, score, label) = (find(&Role::Prediction), find(&Role::Score), find(&Role::Label));
        let probabilities: Vec<(&str, &ColumnData)> = batch
            .columns
            .iter()
            .filter_map(|(role, data)| if let Role::Probability(class) = role { Some((&**class, data)) } else { None })
            .collect();
        for (class, _) in &probabilities {
            if !self.output.classes.iter().any(|known| **known == **class) {
                self.output.classes.push(Arc::from(*class));
            }
        }
        match self.spec.task {
            Task::Binary => {
                if self.output.positive.is_none() {
                    self.output.positive = self.output.classes.iter().max().cloned();
                }
                let of_positive = self.output.positive.as_ref().and_then(|class| probabilities.iter().find(|(name, _)| **name == **class));
                for row in 0..batch.rows {
                    let mut value = score.scalar(row, RawType::Number);
                    let mut column = Role::Score;
                    if let Some((class, data)) = of_positive.filter(|_| value.is_absent()) {
                        value = data.scalar(row, RawType::Number);
                        column = Role::Probability(Arc::from(*class));
                    }
                    let Some(value) = value.counted() else { continue };
                    if !(0.0..=1.0).contains(&value) {
                        let row = self.rows + row as u64 + 1;
                        return Err(BuildError::Output { row, column: column.to_string(), fault: OutputError::OutOfRange(value) });
                    }
                    let absent = prediction.scalar(row, RawType::Text).is_absent();
                    self.output.add_score(value, &label.scalar(row, RawType::Text), &mut self.scratch);
                    if let Some(count) = self.output.derived.get_mut(usize::from(value >= self.spec.threshold)).filter(|_| absent) {
                        *count += 1;
                    }
                }
            }
            Task::Multiclass => {
                let mut row_of: Vec<(&str, f64)> = Vec::with_capacity(probabilities.len());
                for row in (0..batch.rows).filter(|_| !probabilities.is_empty()) {
                    if prediction.scalar(row, RawType::Text).is_absent() {
                        row_of.clear();
                        row_of.extend(
                            probabilities.iter().filter_map(|(class, data)| Some((*class, data.scalar(row, RawType::Number).counted()?))),
                        );
                        if let Some(class) = greatest(&row_of) {
                            self.output.greatest.add(class, 1);
                        }
                    }
                }
            }
            Task::Regression | Task::None => {}
        }
        Ok(())
    }

    fn add_segments(&mut self, batch: &RowBatch) {
        for (spec, survey) in self.spec.segments.iter().zip(&mut self.segments) {
            let columns: Vec<&ColumnData> = spec
                .keys()
                .iter()
                .map(|(_, role)| batch.columns.iter().find(|(other, _)| other == role).map_or(&MISSING_COLUMN, |(_, data)| data))
                .collect();
            let mut texts = vec![String::new(); columns.len()];
            for row in 0..batch.rows {
                let present = columns.iter().zip(&mut texts).all(|(data, text)| {
                    let scalar = data.scalar(row, RawType::Text);
                    text.clear();
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let level = scalar.level(&mut scratch).map(|level| text.push_str(level));
                    self.scratch = scratch;
                    level.is_some()
                });
                survey.add(texts.iter().map(|text| present.then_some(text.as_str())));
            }
        }
    }

    /// Lays out the bins, ready to count every row.
    ///
    /// # Errors
    /// Where the rows do not make a baseline for the task; see [`BuildError`].
    pub fn finish(self) -> Result<Tally, BuildError> {
        let Survey { spec, columns, segments, output, times, rows, .. } = self;
        if rows == 0 {
            return Err(BuildError::NoRows);
        }
        let known = |role: &Role| columns.iter().any(|(other, _)| other == role);
        if let Some(name) = spec.types.keys().find(|name| !known(&Role::Feature(Arc::from(name.as_str())))) {
            return Err(BuildError::UnknownFeature(name.clone()));
        }
        let segment_columns = spec.segments.iter().flat_map(|segments| segments.keys().into_iter().zip(&segments.by));
        if let Some((_, column)) = segment_columns.into_iter().find(|((_, role), _)| !known(role)) {
            return Err(BuildError::UnknownSegment(column.clone()));
        }
        let admitted = spec.segments.iter().zip(segments).map(|(spec, survey)| survey.finish(spec)).collect();
        let has_times = known(&Role::Time);
        let mut plan = Design::new(spec, rows).lay_out(columns, output, admitted)?;
        let (blocks, without) = times.finish();
        match (has_times, without) {
            (false, _) => plan.notes.push("rows have no time: windows are judged as if their rows were independent".into()),
            (true, 0) => {}
            (true, _) => {
                plan.notes.push(format!("{without} rows have no time that can be read: dependence between rows is measured without them"));
            }
        }
        Ok(Tally::new(plan, blocks))
    }
}

impl OutputSurvey {
    fn add_score(&mut self, value: f64, label: &Scalar<'_>, scratch: &mut String) {
        self.score.add(value);
        let class = match label {
            // The column is untyped or not: 1 and 1.0 are the same class in either.
            Scalar::Text(text) if raw_number(text).is_some() => canonical_level(text, RawType::Number).map(|text| text.to_string()),
            other => other.level(scratch).map(str::to_owned),
        };
        let Some(class) = class else { return };
        if let Some(sketch) = self.by_class.get_mut(&class) {
            sketch.add(value);
        } else if self.by_class.len() < 3 {
            self.by_class.entry(class).or_default().add(value);
        }
    }
}

/// The type that is set for a column; `None` where it is to be inferred.
fn wish(spec: &BuildSpec, role: &Role) -> Option<FeatureType> {
    match (role, spec.task) {
        (Role::Feature(name), _) => spec.types.get(&**name).copied(),
        (Role::Score | Role::Probability(_), _) | (Role::Prediction | Role::Label, Task::Regression) => Some(FeatureType::Numeric),
        (Role::Prediction | Role::Label, Task::Binary | Task::Multiclass) | (Role::Tag(_), _) => Some(FeatureType::Categorical),
        (Role::Prediction | Role::Label, Task::None) | (Role::Time, _) => None,
    }
}

/// Whether the first look is taken column by column; scores of a binary task are looked at with their labels.
fn is_observed(task: Task, role: &Role) -> bool {
    match role {
        Role::Feature(_) | Role::Prediction => true,
        Role::Label => task != Task::None,
        Role::Score => task == Task::None,
        Role::Probability(_) => matches!(task, Task::Multiclass | Task::None),
        Role::Tag(_) | Role::Time => false,
    }
}

/// Puts the columns of the layout together.
struct Design {
    spec: BuildSpec,
    rows: u64,
    rank_error: f64,
    notes: Vec<String>,
    columns: Vec<(Subject, ColumnKind)>,
    levels: Vec<Option<LevelCounts>>,
    sources: Vec<(Role, RawType)>,
}

impl Design {
    fn new(spec: BuildSpec, rows: u64) -> Design {
        Design { spec, rows, rank_error: 0.0, notes: Vec::new(), columns: Vec::new(), levels: Vec::new(), sources: Vec::new() }
    }

    fn lay_out(mut self, columns: Vec<(Role, ColumnSurvey)>, output: OutputSurvey, admitted: Vec<Admitted>) -> Result<Plan, BuildError> {
        let task = self.spec.task;
        let (mut features, mut others) = (Vec::new(), BTreeMap::new());
        for (role, survey) in columns {
            if let Role::Feature(name) = role {
                features.push((name, survey));
            } else {
                others.insert(role, survey);
            }
        }
        for (name, survey) in features {
            let kind = self.kind(&format!("feature:{name}"), survey.finish(&[]))?;
            self.push(Subject::Feature(Arc::clone(&name)), Role::Feature(name), kind);
        }
        self.require_output(&others, &output)?;
        let label = others.remove(&Role::Label).filter(|_| task != Task::None).map(|survey| survey.finish(&[]));
        let prediction = others.remove(&Role::Prediction);
        let mut joined = JoinedLayout { classes: 0, positive: None, score: None, label: Layout::new(Vec::new()) };
        let mut label_levels = None;
        let mut classes = Vec::new();
        let label_raw = label.as_ref().map_or(RawType::Number, |label| label.raw);
        match task {
            Task::Binary | Task::Multiclass => {
                let label = label.and_then(|label| if let Found::Levels(levels) = label.found { Some(levels) } else { None });
                let derived = output.derived_predictions();
                let prediction = prediction.unwrap_or_else(|| ColumnSurvey::new(Some(FeatureType::Categorical)));
                let seen = prediction.clone().finish(&derived);
                classes = self.classes(&seen.found, label.as_ref(), &output)?;
                joined.classes = classes.len();
                joined.positive = if task == Task::Binary { self.positive(&classes) } else { None };
                let derived = output.named_predictions(&classes, joined.positive);
                let kind = self.kind("prediction", prediction.finish(&derived))?;
                self.push(Subject::Prediction, Role::Prediction, with_classes(kind, &classes));
                joined.label = Layout::new(vec![(Subject::Label, ColumnKind::Categorical(Levels::new(classes.clone(), Vec::new())))]);
                label_levels = label.map(|levels| LevelCounts { distinct: levels.distinct, singletons: levels.singletons });
            }
            Task::Regression => {
                let prediction = prediction.unwrap_or_else(|| ColumnSurvey::new(Some(FeatureType::Numeric))).finish(&[]);
                let kind = self.kind("prediction", prediction)?;
                let kind_of_label = match label {
                    Some(label) => self.kind("label", label)?.0,
                    None => kind.0.clone(),
                };
                self.push(Subject::Prediction, Role::Prediction, kind);
                joined.label = Layout::new(vec![(Subject::Label, kind_of_label)]);
            }
            Task::None => {
                if let Some(prediction) = prediction {
                    let kind = self.kind("prediction", prediction.finish(&[]))?;
                    self.push(Subject::Prediction, Role::Prediction, kind);
                }
            }
        }
        if task == Task::Binary && output.score.n() > 0 {
            let bins = self.score(output)?;
            joined.score = Some(bins.clone());
            self.push(Subject::Score, Role::Score, (ColumnKind::Numeric(bins), RawType::Number, None));
        }
        for (role, survey) in others {
            let subject = match &role {
                Role::Score if task == Task::None => Subject::Score,
                Role::Probability(class) if matches!(task, Task::Multiclass | Task::None) => Subject::Proba(Arc::clone(class)),
                Role::Score if task != Task::Binary => {
                    self.notes.push(format!("score: not monitored, the task is {task}"));
                    continue;
                }
                _ => continue,
            };
            let Found::Numbers(distribution, spread) = survey.finish(&[]).found else { continue };
            self.rank_error = self.rank_error.max(distribution.rank_error());
            let bins = score_bins(&distribution, &[], spread).ok_or_else(|| self.no_numbers(&role.to_string()))?;
            self.push(subject, role, (ColumnKind::Numeric(bins), RawType::Number, None));
        }
        Ok(Plan {
            layout: Layout::new(self.columns),
            joined,
            classes,
            rows: self.rows,
            rank_error: self.rank_error,
            notes: self.notes,
            levels: self.levels,
            label_levels,
            sources: self.sources,
            label_raw,
            admitted,
            spec: self.spec,
        })
    }

    fn push(&mut self, subject: Subject, role: Role, (kind, raw, levels): (ColumnKind, RawType, Option<LevelCounts>)) {
        self.columns.push((subject, kind));
        self.levels.push(levels);
        self.sources.push((role, raw));
    }

    /// The bins of an observed column, with how it is read; what is worth knowing goes to the notes.
    fn kind(&mut self, name: &str, observed: Observed) -> Result<(ColumnKind, RawType, Option<LevelCounts>), BuildError> {
        let Observed { found, raw, inferred, remarks } = observed;
        if inferred {
            let kind = match found {
                Found::Numbers(..) => "numeric",
                Found::Levels(_) => "categorical",
                Found::Vectors(_) => "embedding",
            };
            self.notes.push(format!("{name}: type {kind} was inferred"));
        }
        self.notes.extend(remarks.into_iter().map(|remark| format!("{name}: {remark}")));
        match found {
            Found::Numbers(distribution, spread) => {
                self.rank_error = self.rank_error.max(distribution.rank_error());
                let column = name.strip_prefix("feature:").unwrap_or(name);
                let bins = numeric_bins(&distribution, spread).ok_or_else(|| self.no_numbers(column))?;
                Ok((ColumnKind::Numeric(bins), raw, None))
            }
            Found::Vectors(0) => Err(BuildError::NoVectors { column: name.trim_start_matches("feature:").to_owned(), rows: self.rows }),
            Found::Vectors(dimension) => {
                let space = Space { center: vec![0.0; dimension], scale: vec![1.0; dimension], ..Space::default() };
                Ok((ColumnKind::Embedding(Box::new(space)), raw, None))
            }
            Found::Levels(LevelSummary { levels, distinct, singletons, forgets, .. }) => {
                if forgets {
                    let known = levels.kept.len() + levels.folded.len();
                    self.notes.push(format!("{name}: {known} of about {distinct} levels are remembered, the others count as unseen"));
                }
                Ok((ColumnKind::Categorical(levels), raw, Some(LevelCounts { distinct, singletons })))
            }
        }
    }

    fn score(&mut self, output: OutputSurvey) -> Result<NumericBins, BuildError> {
        let (distribution, spread) = output.score.finish();
        let by_class: Vec<_> = output.by_class.into_values().map(QuantileSketch::finish).collect();
        let errors = by_class.iter().chain([&distribution]).map(Distribution::rank_error);
        self.rank_error = errors.fold(self.rank_error, f64::max);
        score_bins(&distribution, &by_class, spread).ok_or_else(|| self.no_numbers("score"))
    }

    fn no_numbers(&self, column: &str) -> BuildError {
        BuildError::NoNumbers { column: column.to_owned(), rows: self.rows }
    }

    fn require_output(&self, others: &BTreeMap<Role, ColumnSurvey>, output: &OutputSurvey) -> Result<(), BuildError> {
        let wanted = match self.spec.task {
            Task::None => return Ok(()),
            _ if others.contains_key(&Role::Prediction) => return Ok(()),
            Task::Binary if output.score.n() > 0 => return Ok(()),
            Task::Multiclass if !output.classes.is_empty() => return Ok(()),
            Task::Binary => "a column 'prediction', 'score' or 'probability.CLASS'",
            Task::Multiclass => "a column 'prediction' or columns 'probability.CLASS'",
            Task::Regression => "a column 'prediction'",
        };
        Err(BuildError::NoOutput { task: self.spec.task, wanted })
    }

    /// The classes: every one that is predicted, true, given a probability or set as the positive one, ascending.
    fn classes(&mut self, predicted: &Found, label: Option<&LevelSummary>, output: &OutputSurvey) -> Result<Vec<Arc<str>>, BuildError> {
        let predicted = if let Found::Levels(summary) = predicted { Some(summary) } else { None };
        let seen = predicted.into_iter().chain(label).flat_map(|summary| summary.levels.kept.iter().chain(&summary.levels.folded));
        let mut classes: Vec<Arc<str>> = seen.chain(&output.classes).cloned().collect();
        if self.spec.task == Task::Binary {
            classes.extend(self.spec.positive_class.as_deref().map(Arc::from));
        }
        classes.sort_unstable();
        classes.dedup();
        if self.spec.task == Task::Binary {
            let usual: &[&str] = match classes.as_slice() {
                [] => &["0", "1"],
                [one] if matches!(&**one, "0" | "1") => &["0", "1"],
                [one] if matches!(&**one, "false" | "true") => &["false", "true"],
                _ => &[],
            };
            if !usual.is_empty() {
                classes = usual.iter().map(|class| Arc::from(*class)).collect();
                self.notes.push(format!("classes: '{}' were assumed, the input shows fewer than two", usual.join("' and '")));
            }
            if classes.len() != 2 {
                let shown: Vec<&str> = classes.iter().take(5).map(|class| &**class).collect();
                return Err(BuildError::NotBinary { count: classes.len(), classes: shown.join(", ") });
            }
        }
        if classes.len() > CLASSES {
            return Err(BuildError::ManyClasses(classes.len()));
        }
        Ok(classes)
    }

    fn positive(&mut self, classes: &[Arc<str>]) -> Option<usize> {
        if let Some(set) = self.spec.positive_class.as_deref() {
            return classes.iter().position(|class| **class == *set);
        }
        let last = classes.len().checked_sub(1)?;
        let class = classes.get(last)?;
        self.notes.push(format!("positive class: '{class}' was inferred, the last by name"));
        Some(last)
    }
}

impl OutputSurvey {
    /// Derived predictions that already have a name.
    fn derived_predictions(&self) -> Vec<(Arc<str>, u64)> {
        self.greatest.clone().finish(|_| None).names
    }

    /// All derived predictions by class.
    fn named_predictions(&self, classes: &[Arc<str>], positive: Option<usize>) -> Vec<(Arc<str>, u64)> {
        let Some(positive) = positive else { return self.derived_predictions() };
        let [negatives, positives] = self.derived;
        let count = |index: usize| if index == positive { positives } else { negatives };
        classes.iter().enumerate().map(|(index, class)| (Arc::clone(class), count(index))).filter(|(_, count)| *count > 0).collect()
    }
}

/// Makes every class a level of the prediction's column, those that were never predicted last: they are rare, not unseen.
fn with_classes(
    (kind, raw, levels): (ColumnKind, RawType, Option<LevelCounts>),
    classes: &[Arc<str>],
) -> (ColumnKind, RawType, Option<LevelCounts>) {
    let ColumnKind::Categorical(known) = kind else { return (kind, raw, levels) };
    let mut kept = known.kept.clone();
    kept.extend(classes.iter().filter(|class| !known.knows(class)).cloned());
    (ColumnKind::Categorical(Levels::new(kept, known.folded)), raw, levels)
}
