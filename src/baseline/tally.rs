//! The second look at the rows: every row is counted over the bins, by the code that counts the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Scalar, Segment, Subject};
use crate::window::{JoinedLayout, JoinedPane, Observed, Pane};

use super::blocks::{BlockTally, Inflations};
use super::build::{BuildError, BuildSpec};
use super::cell::{count, place};
use super::layout::{ColumnKind, Layout};
use super::null::simulate;
use super::output::{Output, OutputError, OutputRule, RawOutput, class_index, resolve_output};
use super::rows::{ColumnData, MISSING_COLUMN, RawType, Role, RowBatch};
use super::season::HourTally;
use super::segment::Admitted;
use super::summary::LevelCounts;
use super::task::Task;
use super::time::{Blocks, time_of};
use super::{Baseline, Parts, Reference};

/// What the first look has decided.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) spec: BuildSpec,
    pub(super) layout: Layout,
    pub(super) joined: JoinedLayout,
    pub(super) classes: Vec<Arc<str>>,
    pub(super) rows: u64,
    pub(super) rank_error: f64,
    pub(super) notes: Vec<String>,
    /// By column of the layout.
    pub(super) levels: Vec<Option<LevelCounts>>,
    pub(super) label_levels: Option<LevelCounts>,
    /// By column of the layout: where its values come from, and how untyped ones are read.
    pub(super) sources: Vec<(Role, RawType)>,
    pub(super) label_raw: RawType,
    pub(super) admitted: Vec<Admitted>,
}

/// The second look at the rows: add every batch again, then [`Tally::finish`].
#[derive(Debug)]
pub struct Tally {
    plan: Plan,
    /// All rows, then the segments by `index`.
    references: Vec<Reference>,
    index: BTreeMap<Segment, usize>,
    /// The rows by blocks of time: the columns of the layout, then the label.
    blocks: Option<BlockTally>,
    hours: Option<HourTally>,
    rows: u64,
    scratch: String,
}

impl Tally {
    pub(super) fn new(plan: Plan, blocks: Blocks) -> Tally {
        let mut index = BTreeMap::new();
        for admitted in &plan.admitted {
            for segment in admitted.segments().chain([admitted.other()]) {
                let next = index.len() + 1;
                index.entry(segment.clone()).or_insert(next);
            }
        }
        let references = vec![Reference::new(&plan.layout, &plan.joined); index.len() + 1];
        let blocks = BlockTally::new(blocks, plan.layout.columns.iter().chain(&plan.joined.label.columns));
        let hours = plan.spec.seasonal.map(HourTally::new);
        Tally { plan, references, index, blocks, hours, rows: 0, scratch: String::new() }
    }

    /// Counts the rows of a batch.
    ///
    /// # Errors
    /// Where a probability is out of range.
    pub fn add(&mut self, batch: &RowBatch) -> Result<(), BuildError> {
        let columns: BTreeMap<&Role, &ColumnData> = batch.columns.iter().map(|(role, data)| (role, data)).collect();
        let targets = self.targets(&columns, batch.rows);
        let block_of = self.blocks_of(&columns, batch.rows);
        let times = columns.get(&Role::Time).copied();
        let hour_of = self.hours.as_mut().map_or_else(Vec::new, |hours| hours.rows(&self.plan.layout, times, batch.rows));
        let Tally { plan, references, blocks, hours, scratch, .. } = self;
        let by_row = |subject: &Subject| *subject == Subject::Prediction || (*subject == Subject::Score && plan.spec.task == Task::Binary);
        let columns_of = plan.layout.columns.iter().zip(&plan.sources).enumerate();
        for (number, (column, (role, raw))) in columns_of.filter(|(_, (column, _))| !by_row(&column.subject)) {
            let data = columns.get(role).copied().unwrap_or(&MISSING_COLUMN);
            for row in 0..batch.rows {
                let placed = place(&column.kind, &data.scalar(row, *raw), scratch);
                if let (Some(blocks), Some(block)) = (blocks.as_mut(), block_of.get(row).copied().flatten()) {
                    blocks.count(block, number, placed);
                }
                if let Some(pane) = hours.as_mut().and_then(|hours| hours.pane(&hour_of, row)) {
                    count(pane, column, placed);
                }
                for reference in chosen(&targets, row) {
                    if let Some(reference) = references.get_mut(reference) {
                        count(&mut reference.pane, column, placed);
                    }
                }
            }
        }
        self.add_outputs(&columns, &targets, (&block_of, &hour_of), batch.rows)?;
        for row in 0..batch.rows {
            for reference in chosen(&targets, row) {
                if let Some(reference) = self.references.get_mut(reference) {
                    reference.pane.n += 1;
                    reference.pane.weight.add(1.0);
                }
            }
        }
        self.rows += batch.rows as u64;
        Ok(())
    }

    /// By row: the block that it counts in, and counts it there. Empty where there are none.
    fn blocks_of(&mut self, columns: &BTreeMap<&Role, &ColumnData>, rows: usize) -> Vec<Option<usize>> {
        let (Some(blocks), Some(times)) = (&mut self.blocks, columns.get(&Role::Time)) else { return Vec::new() };
        let block = |row| time_of(times, row).map(|time| blocks.blocks().of(time));
        let of_rows: Vec<Option<usize>> = (0..rows).map(block).collect();
        of_rows.iter().flatten().for_each(|block| blocks.count_row(*block));
        of_rows
    }

    /// By specification of segments and row: the reference that the row counts in.
    fn targets(&mut self, columns: &BTreeMap<&Role, &ColumnData>, rows: usize) -> Vec<Vec<usize>> {
        let mut targets = Vec::with_capacity(self.plan.admitted.len());
        for (spec, admitted) in self.plan.spec.segments.iter().zip(&self.plan.admitted) {
            let data: Vec<&ColumnData> =
                spec.keys().iter().map(|(_, role)| columns.get(role).copied().unwrap_or(&MISSING_COLUMN)).collect();
            let of_row = |row: usize, scratch: &mut String| {
                let values: Vec<Option<Arc<str>>> =
                    data.iter().map(|data| data.scalar(row, RawType::Text).level(scratch).map(Arc::from)).collect();
                self.index.get(admitted.resolve(&values)).copied().unwrap_or(0)
            };
            targets.push((0..rows).map(|row| of_row(row, &mut self.scratch)).collect());
        }
        targets
    }

    fn add_outputs(
        &mut self,
        columns: &BTreeMap<&Role, &ColumnData>,
        targets: &[Vec<usize>],
        (block_of, hour_of): (&[Option<usize>], &[Option<u16>]),
        rows: usize,
    ) -> Result<(), BuildError> {
        let Tally { plan, references, blocks, hours, scratch, .. } = self;
        let task = plan.spec.task;
        let find = |role: &Role| columns.get(role).copied().unwrap_or(&MISSING_COLUMN);
        let (prediction, score, label) = (find(&Role::Prediction), find(&Role::Score), find(&Role::Label));
        let output_column =
            |subject: &Subject| plan.layout.column(subject).and_then(|index| Some((index, plan.layout.columns.get(index)?)));
        let prediction_column = output_column(&Subject::Prediction);
        let score_column = output_column(&Subject::Score).filter(|_| task == Task::Binary);
        let prediction_source = plan.sources.iter().find(|(role, _)| *role == Role::Prediction);
        let prediction_raw = prediction_source.map_or(RawType::Text, |(_, raw)| *raw);
        let probabilities: Vec<(&str, &ColumnData)> = columns
            .iter()
            .filter_map(|(role, data)| if let Role::Probability(class) = role { Some((&**class, *data)) } else { None })
            .collect();
        let rule = OutputRule { task, classes: &plan.classes, positive: plan.joined.positive, threshold: plan.spec.threshold };
        let mut of_classes: Vec<(&str, f64)> = Vec::with_capacity(probabilities.len());
        for row in 0..rows {
            of_classes.clear();
            of_classes.extend(probabilities.iter().filter_map(|(class, data)| match data.scalar(row, RawType::Number) {
                Scalar::Num { value, .. } => Some((*class, value)),
                _ => None,
            }));
            let raw = RawOutput {
                prediction: prediction.scalar(row, prediction_raw),
                score: score.scalar(row, RawType::Number),
                probabilities: &of_classes,
            };
            let output = match resolve_output(&rule, &raw, scratch) {
                Ok(output) => output,
                Err(fault @ OutputError::OutOfRange(_)) => {
                    let column = if score_column.is_some() && of_classes.is_empty() { "score" } else { "probability" };
                    return Err(BuildError::Output { row: self.rows + row as u64 + 1, column: column.to_owned(), fault });
                }
                // Counted as a wrong type in its own column.
                Err(OutputError::ScoreType | OutputError::PredictionType) => {
                    Output { prediction: raw.prediction, score: raw.score, class: None, probability: None, value: None }
                }
            };
            let placed_prediction = prediction_column.map(|column| (column, place(&column.1.kind, &output.prediction, scratch)));
            let placed_score = score_column.map(|column| (column, place(&column.1.kind, &output.score, scratch)));
            let truth = label.scalar(row, plan.label_raw);
            let pair = pair(plan, &output, &truth, scratch);
            if let (Some(blocks), Some(block)) = (blocks.as_mut(), block_of.get(row).copied().flatten()) {
                for ((number, _), placed) in [placed_prediction, placed_score].into_iter().flatten() {
                    blocks.count(block, number, placed);
                }
                if let Some(label) = plan.joined.label.columns.first().filter(|_| pair.is_some()) {
                    blocks.count(block, plan.layout.columns.len(), place(&label.kind, &truth, scratch));
                }
            }
            if let Some(pane) = hours.as_mut().and_then(|hours| hours.pane(hour_of, row)) {
                for ((_, column), placed) in [placed_prediction, placed_score].into_iter().flatten() {
                    count(pane, column, placed);
                }
            }
            for reference in chosen(targets, row) {
                let Some(reference) = references.get_mut(reference) else { continue };
                for ((_, column), placed) in [placed_prediction, placed_score].into_iter().flatten() {
                    count(&mut reference.pane, column, placed);
                }
                if let Some(pair) = &pair {
                    reference.joined.add(&plan.joined, pair);
                }
            }
        }
        Ok(())
    }

    /// The baseline.
    ///
    /// # Errors
    /// Where the rows were not those of the first look.
    pub fn finish(self) -> Result<Baseline, BuildError> {
        let Tally { plan, references, index, blocks, hours, rows, .. } = self;
        if rows != plan.rows {
            return Err(BuildError::Changed { first: plan.rows, second: rows });
        }
        let seasons = hours.map(HourTally::finish).transpose()?;
        let mut references = references.into_iter().map(Some).collect::<Vec<_>>();
        let reference = references.first_mut().and_then(Option::take).unwrap_or_else(|| Reference::new(&plan.layout, &plan.joined));
        let others: Vec<&Segment> = plan.admitted.iter().map(Admitted::other).collect();
        let segments = index
            .iter()
            .filter_map(|(segment, place)| Some((segment.clone(), references.get_mut(*place)?.take()?)))
            // `other` is there only where something belongs to it.
            .filter(|(segment, reference)| reference.pane.n > 0 || !others.contains(&segment))
            .collect();
        let mut inflations: Vec<Option<Inflations>> =
            blocks.map_or_else(Vec::new, |blocks| blocks.finish()).into_iter().map(Some).collect();
        inflations.resize(plan.layout.columns.len() + plan.joined.label.columns.len(), None);
        let label_inflations = if plan.joined.label.columns.is_empty() { None } else { inflations.pop().flatten() };
        let nulls = simulate(&plan.layout, &reference.pane);
        let label_nulls = simulate(&plan.joined.label, &reference.joined.label).pop().flatten();
        Ok(Baseline::assemble(Parts {
            model: plan.spec.model.as_str().into(),
            task: plan.spec.task,
            classes: plan.classes,
            threshold: plan.spec.threshold,
            rows,
            rank_error: plan.rank_error,
            notes: plan.notes,
            layout: plan.layout,
            joined: plan.joined,
            reference,
            segments,
            seasons,
            levels: plan.levels,
            label_levels: plan.label_levels,
            nulls,
            label_nulls,
            inflations,
            label_inflations,
            importance: plan.spec.importance,
        }))
    }
}

/// The references that a row counts in: all rows, and one by specification of segments.
fn chosen(targets: &[Vec<usize>], row: usize) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(targets.iter().filter_map(move |of_rows| of_rows.get(row).copied().filter(|target| *target > 0)))
}

/// A prediction with its truth, where both are there.
fn pair(plan: &Plan, output: &Output<'_>, label: &Scalar<'_>, scratch: &mut String) -> Option<Observed> {
    match plan.spec.task {
        Task::Binary | Task::Multiclass if output.prediction.is_absent() => None,
        Task::Binary | Task::Multiclass => {
            let truth = class_index(&plan.classes, label.level(scratch)?)?;
            Some(Observed::Class { truth, predicted: output.class, score: output.probability })
        }
        Task::Regression => {
            let numeric = plan.joined.label.columns.first().is_some_and(|column| matches!(column.kind, ColumnKind::Numeric(_)));
            Some(Observed::Value { truth: label.counted().filter(|_| numeric)?, predicted: output.value? })
        }
        Task::None => None,
    }
}

impl Reference {
    /// Empty panes.
    #[must_use]
    pub fn new(layout: &Layout, joined: &JoinedLayout) -> Reference {
        Reference { pane: Pane::new(layout), joined: JoinedPane::new(joined) }
    }
}
