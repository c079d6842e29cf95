//! The first look at the rows: types, distributions, levels, classes and segments, in memory that does not grow with the rows.

mod design;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Scalar;
use crate::sketch::{FrequencySketch, QuantileSketch};

use super::build::{BuildError, BuildSpec, FeatureType};
use super::observe::{ColumnSurvey, NumberSurvey, canonical_level};
use super::output::{OutputError, greatest};
use super::rows::{ColumnData, MISSING_COLUMN, RawType, Role, RowBatch, raw_number};
use super::segment::SegmentSurvey;
use super::tally::Tally;
use super::task::Task;
use super::time::TimeSurvey;
use design::Design;

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
        spec.check_features(|name| known(&Role::Feature(Arc::from(name))))?;
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
