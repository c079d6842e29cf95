//! From what the first look has seen to the layout: subjects, bins, classes and what is said about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::baseline::build::{BuildError, BuildSpec, CLASSES, FeatureType};
use crate::baseline::edges::{numeric_bins, score_bins};
use crate::baseline::layout::{ColumnKind, Layout, Levels, NumericBins};
use crate::baseline::levels::LevelSummary;
use crate::baseline::observe::{ColumnSurvey, Found, Observed};
use crate::baseline::rows::{RawType, Role};
use crate::baseline::segment::Admitted;
use crate::baseline::space::Space;
use crate::baseline::summary::LevelCounts;
use crate::baseline::tally::Plan;
use crate::baseline::task::Task;
use crate::event::Subject;
use crate::sketch::{Distribution, QuantileSketch};
use crate::window::JoinedLayout;

use super::OutputSurvey;

/// Puts the columns of the layout together.
pub(super) struct Design {
    spec: BuildSpec,
    rows: u64,
    rank_error: f64,
    notes: Vec<String>,
    columns: Vec<(Subject, ColumnKind)>,
    levels: Vec<Option<LevelCounts>>,
    sources: Vec<(Role, RawType)>,
}

impl Design {
    pub(super) fn new(spec: BuildSpec, rows: u64) -> Design {
        Design { spec, rows, rank_error: 0.0, notes: Vec::new(), columns: Vec::new(), levels: Vec::new(), sources: Vec::new() }
    }

    pub(super) fn lay_out(
        mut self,
        columns: Vec<(Role, ColumnSurvey)>,
        output: OutputSurvey,
        admitted: Vec<Admitted>,
    ) -> Result<Plan, BuildError> {
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
