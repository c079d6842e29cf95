//! The second look at the rows: every row is counted over the bins, by the code that counts the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Metric, Scalar, Segment, Subject};
use crate::stats::exact::ExactSum;
use crate::window::{JoinedLayout, JoinedPane, Observed, Pane, REFERENCE_SAMPLE, SAMPLE};

use super::blocks::{BlockTally, Inflations};
use super::build::{BuildError, BuildSpec};
use super::cell::{count, place};
use super::fit::{Fitted, Fitting, JOINT_FEATURES, Projection, hash, is_fitted};
use super::layout::{ColumnKind, Layout, NumericBins};
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
    vectors: Vectors,
}

/// What is still to be found out of vectors of many dimensions.
#[derive(Debug)]
enum Vectors {
    /// Nothing, or no more.
    Done,
    /// What spaces are fitted to, while rows are counted.
    Fitting(Box<Fitting>),
    /// The sums over the spaces, in a look of their own.
    Summing(Fitted, Projection),
}

impl Tally {
    pub(super) fn new(mut plan: Plan, blocks: Blocks) -> Tally {
        let mut index = BTreeMap::new();
        for admitted in &plan.admitted {
            for segment in admitted.segments().chain([admitted.other()]) {
                let next = index.len() + 1;
                index.entry(segment.clone()).or_insert(next);
            }
        }
        let references = vec![Reference::new(&plan.layout, &plan.joined); index.len() + 1];
        if plan.spec.multivariate.contains(&Metric::DomainClassifierAuc) {
            let features = plan.layout.columns.iter().filter_map(|column| match (&column.subject, &column.kind) {
                (_, ColumnKind::Embedding(_)) => None,
                (Subject::Feature(name), _) => Some(Arc::clone(name)),
                _ => None,
            });
            let features: Vec<Arc<str>> = features.take(JOINT_FEATURES).collect();
            plan.layout = plan.layout.with_sampled(&features);
        }
        let fitting = Fitting::new(&plan.layout, &plan.sources, &plan.spec.multivariate, &mut plan.notes);
        let vectors = fitting.map_or(Vectors::Done, |fitting| Vectors::Fitting(Box::new(fitting)));
        let blocks = BlockTally::new(blocks, plan.layout.columns.iter().chain(&plan.joined.label.columns));
        let hours = plan.spec.seasonal.map(HourTally::new);
        Tally { plan, references, index, blocks, hours, rows: 0, scratch: String::new(), vectors }
    }

    /// Whether all rows have to be added once more, after [`Tally::look_again`]: what is measured of many dimensions at once is
    /// fitted to all rows before they are summed.
    #[must_use]
    pub fn wants_another_look(&self) -> bool {
        matches!(self.vectors, Vectors::Fitting(_))
    }

    /// Starts the last look at all rows.
    ///
    /// # Errors
    /// Where the rows were not those of the look before.
    pub fn look_again(&mut self) -> Result<(), BuildError> {
        self.check_rows()?;
        if let Vectors::Fitting(fitting) = std::mem::replace(&mut self.vectors, Vectors::Done) {
            let empty = Pane::default();
            let pane = self.references.first().map_or(&empty, |reference| &reference.pane);
            let (layout, fitted) = fitting.finish(&self.plan.layout, pane, &mut self.plan.notes);
            self.references.iter_mut().for_each(|reference| reference.pane.sums.resize(layout.sums, ExactSum::default()));
            self.plan.layout = layout;
            self.vectors = Vectors::Summing(fitted, Projection::default());
            self.rows = 0;
        }
        Ok(())
    }

    fn check_rows(&self) -> Result<(), BuildError> {
        let (first, second) = (self.plan.rows, self.rows);
        if first == second { Ok(()) } else { Err(BuildError::Changed { first, second }) }
    }

    /// Adds what the rows of a batch have to the sums over the spaces.
    fn sum(&mut self, columns: &BTreeMap<&Role, &ColumnData>, targets: &[Vec<usize>], rows: usize) {
        let Tally { plan, references, vectors, rows: first, .. } = self;
        let Vectors::Summing(fitted, projection) = vectors else { return };
        let find = |role: &Role| columns.get(role).copied().unwrap_or(&MISSING_COLUMN);
        let sources = || plan.layout.columns.iter().zip(&plan.sources).enumerate();
        let mut add = |row: usize, first: usize, terms: &[f64]| {
            for target in chosen(targets, row) {
                let Some(reference) = references.get_mut(target) else { continue };
                reference.pane.sums.iter_mut().skip(first).zip(terms).for_each(|(sum, term)| sum.add(*term));
            }
        };
        for (place, (column, (role, raw))) in sources() {
            let (ColumnKind::Embedding(space), Some(sums)) = (&column.kind, column.sums) else { continue };
            let (data, up_to) = (find(role), fitted.get(&place).copied());
            for (row, number) in (0..rows).zip(*first..) {
                if let Scalar::Vector(vector) = data.scalar(row, *raw) {
                    add(row, sums, projection.vector(space, vector, is_fitted(number, up_to)));
                }
            }
        }
        if let Some(joint) = &plan.layout.joint {
            let mut numbers: Vec<Option<(&NumericBins, &ColumnData, RawType)>> = vec![None; plan.layout.moments];
            for (_, (column, (role, raw))) in sources() {
                if let (ColumnKind::Numeric(bins), Some(place)) = (&column.kind, column.moments.and_then(|place| numbers.get_mut(place))) {
                    *place = Some((bins, find(role), *raw));
                }
            }
            for row in 0..rows {
                let values = numbers.iter().map(|number| {
                    let (bins, data, raw) = (*number)?;
                    data.scalar(row, raw).counted().map(|value| (bins, value))
                });
                add(row, plan.layout.joint_sums(), projection.joint(joint, values));
            }
        }
    }

    /// Counts the rows of a batch.
    ///
    /// # Errors
    /// Where a probability is out of range.
    pub fn add(&mut self, batch: &RowBatch) -> Result<(), BuildError> {
        let columns: BTreeMap<&Role, &ColumnData> = batch.columns.iter().map(|(role, data)| (role, data)).collect();
        let targets = self.targets(&columns, batch.rows);
        match &mut self.vectors {
            Vectors::Done => {}
            Vectors::Fitting(fitting) => fitting.add(batch, &columns),
            Vectors::Summing(..) => {
                self.sum(&columns, &targets, batch.rows);
                self.rows += batch.rows as u64;
                return Ok(());
            }
        }
        let block_of = self.blocks_of(&columns, batch.rows);
        let times = columns.get(&Role::Time).copied();
        let hour_of = self.hours.as_mut().map_or_else(Vec::new, |hours| hours.rows(&self.plan.layout, times, batch.rows));
        let Tally { plan, references, blocks, hours, scratch, rows: first, .. } = self;
        let width = plan.layout.sampled.as_ref().map_or(0, |sampled| sampled.len());
        let mut sampled = vec![0u16; width * batch.rows];
        let by_row = |subject: &Subject| *subject == Subject::Prediction || (*subject == Subject::Score && plan.spec.task == Task::Binary);
        let columns_of = plan.layout.columns.iter().zip(&plan.sources).enumerate();
        for (number, (column, (role, raw))) in columns_of.filter(|(_, (column, _))| !by_row(&column.subject)) {
            let data = columns.get(role).copied().unwrap_or(&MISSING_COLUMN);
            for row in 0..batch.rows {
                let placed = place(&column.kind, &data.scalar(row, *raw), scratch);
                if let Some(cell) = column.sampled.and_then(|place| sampled.get_mut(row * width + place)) {
                    *cell = u16::try_from(placed.cell).unwrap_or(u16::MAX);
                }
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
        for ((row, number), cells) in (0..batch.rows).zip(*first..).zip(sampled.chunks_exact(width.max(1))) {
            for reference in chosen(&targets, row) {
                // Segments are many, and each is compared with smaller windows.
                let most = if reference == 0 { REFERENCE_SAMPLE } else { SAMPLE };
                if let Some(reference) = references.get_mut(reference) {
                    reference.pane.sample.offer_within(most, hash(number), cells);
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
        self.check_rows()?;
        if self.wants_another_look() {
            return Err(BuildError::Unfinished);
        }
        let Tally { plan, references, index, blocks, hours, rows, .. } = self;
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
