//! From the document to the baseline in memory and back; every contradiction is named by its field.

mod bins;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Segment, Subject};
use crate::stats::exact::ExactSum;
use crate::stats::inflation::Inflation;
use crate::stats::null::{NullTable, Nulls};
use crate::window::{JoinedLayout, JoinedPane, Moments, Pane};

use super::blocks::Inflations;
use super::document::{
    ColumnDocument, CountsDocument, Document, DocumentError, EffectsDocument, FORMAT, JoinedDocument, Lines, NullsDocument,
    ReferenceDocument, SegmentDocument, SumsDocument,
};
use super::layout::{Column, ColumnKind, INFINITE, Layout, MISSING, NAN, NULL, NumericBins, SPECIAL, WRONG_TYPE};
use super::summary::{LevelCounts, Summary};
use super::task::Task;
use super::{Baseline, Parts, Reference, Seasons};

pub(super) type Checked<T> = Result<T, DocumentError>;

impl Baseline {
    /// The document as text, ending with a line feed. The same baseline gives the same bytes.
    ///
    /// # Errors
    /// Only where the program cannot write JSON at all.
    pub fn to_json(&self) -> Result<String, DocumentError> {
        let mut bytes = Vec::new();
        self.to_document().serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Lines::new()))?;
        bytes.push(b'\n');
        String::from_utf8(bytes).map_err(|fault| DocumentError::field("document", fault.to_string()))
    }

    /// Reads a document and checks that it makes sense.
    ///
    /// # Errors
    /// The place in the text where it is not of the shape, or the field that contradicts itself or another.
    pub fn from_json(text: &str) -> Result<Baseline, DocumentError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        // Before the rest: a later format may have fields that this version cannot know.
        match serde_json::from_str::<Version>(text) {
            Ok(Version { format }) if format > FORMAT => Err(DocumentError::Newer(format)),
            _ => Baseline::from_document(serde_json::from_str(text)?),
        }
    }

    /// The document of this baseline.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let column = |column: &Column, summary: Option<&Summary>, nulls: Option<&Nulls>, effects: Option<&Inflations>| ColumnDocument {
            subject: column.subject.to_string(),
            summary: summary.cloned(),
            bins: bins::document(&column.kind),
            level_counts: summary.and_then(|summary| Some(LevelCounts { distinct: summary.distinct?, singletons: summary.singletons? })),
            null_tables: nulls.map(nulls_document),
            design_effects: effects.map(effects_document),
        };
        let nulls = self.nulls.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let effects = self.inflations.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let columns = self.layout.columns.iter().zip(&self.summaries).zip(nulls).zip(effects);
        let columns = columns.map(|(((one, summary), nulls), effects)| column(one, Some(summary), nulls, effects)).collect();
        let label = self.joined.label.columns.first();
        let segments = self.segments.iter().map(|(segment, reference)| SegmentDocument {
            segment: segment.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            reference: self.reference_document(reference),
        });
        Document {
            format: FORMAT,
            model: self.model.to_string(),
            task: self.task,
            classes: self.classes.iter().map(ToString::to_string).collect(),
            positive_class: self.positive.and_then(|index| self.classes.get(index)).map(ToString::to_string),
            threshold: self.threshold,
            rows: self.rows,
            rank_error: self.rank_error,
            notes: self.notes.clone(),
            importance: self.importance.clone(),
            columns,
            joint: self.layout.joint.as_ref().map(|joint| space::joint_document(joint)),
            sampled: self.layout.sampled.iter().flat_map(|names| names.iter()).map(ToString::to_string).collect(),
            label: label.map(|label| column(label, self.label_summary.as_ref(), self.label_nulls.as_ref(), self.label_inflations.as_ref())),
            reference: self.reference_document(&self.reference),
            segments: segments.collect(),
            seasons: self.seasons.as_ref().map(|seasons| seasons.document(&self.layout)),
        }
    }

    fn reference_document(&self, reference: &Reference) -> ReferenceDocument {
        let joined = &reference.joined;
        let label = self.joined.label.columns.first();
        ReferenceDocument {
            rows: reference.pane.n,
            weight: reference.pane.weight.to_text(),
            columns: self.layout.columns.iter().map(|column| counts_document(column, &reference.pane)).collect(),
            joint: space::sums_document(reference.pane.sums.get(self.layout.joint_sums()..).unwrap_or(&[])),
            sample: space::sample_document(&reference.pane.sample),
            joined: label.map(|label| {
                let (negative, positive) = joined.scores.split_at(joined.scores.len() / 2);
                JoinedDocument {
                    rows: joined.matched,
                    label: counts_document(label, &joined.label),
                    confusion: joined.confusion.chunks(self.classes.len() + 1).map(<[u64]>::to_vec).collect(),
                    score_negative: negative.to_vec(),
                    score_positive: positive.to_vec(),
                    scored: joined.scored,
                    sums: joined_sums(joined).into_iter().filter_map(|(name, sum)| Some((name.to_owned(), nonzero(sum)?))).collect(),
                }
            }),
        }
    }

    fn from_document(document: Document) -> Checked<Baseline> {
        let Document {
            format,
            model,
            task,
            classes,
            positive_class,
            threshold,
            rows,
            rank_error,
            notes,
            importance,
            columns,
            joint,
            sampled,
            label,
            reference,
            segments,
            seasons,
        } = document;
        ensure(format == FORMAT, "format", || format!("{format} is not a format; it starts with {FORMAT}"))?;
        ensure((0.0..=1.0).contains(&threshold), "threshold", || format!("{threshold} is not between 0 and 1"))?;
        ensure((0.0..=1.0).contains(&rank_error), "rank_error", || format!("{rank_error} is not between 0 and 1"))?;
        for (feature, value) in &importance {
            ensure(value.is_finite() && *value >= 0.0, "importance", || format!("{value} of '{feature}' is negative"))?;
        }
        let classes: Vec<Arc<str>> = classes.into_iter().map(Arc::from).collect();
        let positive = read_classes(task, &classes, positive_class.as_deref())?;

        let levels: Vec<Option<LevelCounts>> = columns.iter().map(|column| column.level_counts).collect();
        let label_levels = label.as_ref().and_then(|label| label.level_counts);
        let label_nulls = label.as_ref().and_then(|label| label.null_tables.clone());
        let label_nulls = label_nulls.map(|tables| read_nulls(tables, "label.null_tables")).transpose()?;
        let label_inflations = label.as_ref().and_then(|label| label.design_effects.clone());
        let label_inflations = label_inflations.map(|effects| read_effects(effects, "label.design_effects")).transpose()?;
        let mut kinds = Vec::with_capacity(columns.len());
        let mut inflations = Vec::with_capacity(columns.len());
        let mut subjects = BTreeSet::new();
        let mut nulls = Vec::with_capacity(columns.len());
        for (index, mut column) in columns.into_iter().enumerate() {
            let field = format!("columns[{index}]");
            nulls.push(column.null_tables.take().map(|tables| read_nulls(tables, &format!("{field}.null_tables"))).transpose()?);
            let effects = column.design_effects.take();
            inflations.push(effects.map(|effects| read_effects(effects, &format!("{field}.design_effects"))).transpose()?);
            let subject = read_subject(&column.subject).ok_or_else(|| {
                DocumentError::field(
                    format!("{field}.subject"),
                    format!("'{}' is not a feature, prediction, score or probability", column.subject),
                )
            })?;
            ensure(subjects.insert(subject.clone()), &format!("{field}.subject"), || format!("'{subject}' is there twice"))?;
            let kind = bins::read(column.bins, &format!("{field}.bins"))?;
            let numeric = matches!(kind, ColumnKind::Numeric(_));
            let fits = match subject {
                Subject::Feature(_) => true,
                _ if matches!(kind, ColumnKind::Embedding(_)) => false,
                Subject::Score | Subject::Proba(_) => numeric,
                Subject::Prediction if task.is_classification() => !numeric,
                Subject::Prediction if task == Task::Regression => numeric,
                _ => true,
            };
            ensure(fits, &format!("{field}.bins"), || format!("not the bins of the {subject} of a {task} model"))?;
            kinds.push((subject, kind));
        }
        let layout = Layout::new(kinds);
        let layout = space::read_sampled(&sampled, layout)?;
        let layout = match joint {
            Some(joint) => space::read_joint(joint, layout)?,
            None => layout,
        };
        let joined = read_joined_layout(task, &classes, positive, label, &layout)?;

        let reference = read_reference(reference, &layout, &joined, "reference")?;
        ensure(reference.pane.n == rows, "reference.rows", || format!("{} rows, but the document says {rows}", reference.pane.n))?;
        let mut by_segment = BTreeMap::new();
        for (index, SegmentDocument { segment, reference }) in segments.into_iter().enumerate() {
            let field = format!("segments[{index}]");
            // Sorted by key, as a segment is.
            let segment = Segment(segment.into_iter().map(|(key, value)| (Arc::from(key), Arc::from(value))).collect());
            ensure(!segment.is_overall(), &format!("{field}.segment"), || "names no key".to_owned())?;
            let reference = read_reference(reference, &layout, &joined, &format!("{field}.reference"))?;
            ensure(by_segment.insert(segment, reference).is_none(), &format!("{field}.segment"), || "is there twice".to_owned())?;
        }
        let seasons = seasons.map(|document| Seasons::read(document, &layout)).transpose()?;
        let parts = Parts {
            model: model.into(),
            task,
            classes,
            threshold,
            rows,
            rank_error,
            notes,
            layout,
            joined,
            reference,
            segments: by_segment,
            seasons,
            levels,
            label_levels,
            nulls,
            label_nulls,
            inflations,
            label_inflations,
            importance,
        };
        Ok(Baseline::assemble(parts))
    }
}

pub(super) fn ensure(holds: bool, field: &str, fault: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { Err(DocumentError::field(field, fault())) }
}

fn read_subject(text: &str) -> Option<Subject> {
    match text {
        "prediction" => Some(Subject::Prediction),
        "score" => Some(Subject::Score),
        _ => match text.split_once(':')? {
            ("feature", name) => Some(Subject::Feature(name.into())),
            ("proba", class) => Some(Subject::Proba(class.into())),
            _ => None,
        },
    }
}

fn read_classes(task: Task, classes: &[Arc<str>], positive: Option<&str>) -> Checked<Option<usize>> {
    let ascending = classes.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    ensure(ascending, "classes", || "not in ascending order, or one is there twice".to_owned())?;
    ensure(task.is_classification() || classes.is_empty(), "classes", || format!("a {task} model has none"))?;
    if task != Task::Binary {
        ensure(positive.is_none(), "positive_class", || format!("a {task} model has none"))?;
        return Ok(None);
    }
    ensure(classes.len() == 2, "classes", || format!("a binary model has two, not {}", classes.len()))?;
    let index = positive.and_then(|positive| classes.iter().position(|class| **class == *positive));
    ensure(index.is_some(), "positive_class", || format!("'{}' is not one of the classes", positive.unwrap_or_default()))?;
    Ok(index)
}

fn read_joined_layout(
    task: Task,
    classes: &[Arc<str>],
    positive: Option<usize>,
    label: Option<ColumnDocument>,
    layout: &Layout,
) -> Checked<JoinedLayout> {
    ensure(label.is_some() == (task != Task::None), "label", || {
        format!("a {task} model has {}", if task == Task::None { "none" } else { "one" })
    })?;
    let mut columns = Vec::new();
    if let Some(label) = label {
        ensure(label.subject == "label", "label.subject", || format!("'{}' is not 'label'", label.subject))?;
        let kind = bins::read(label.bins, "label.bins")?;
        match &kind {
            ColumnKind::Categorical(levels) => {
                ensure(levels.kept == classes && levels.folded.is_empty(), "label.bins", || "the levels are not the classes".to_owned())?;
            }
            ColumnKind::Embedding(_) => ensure(false, "label.bins", || "not those of a label".to_owned())?,
            ColumnKind::Numeric(_) => ensure(task == Task::Regression, "label.bins", || format!("numeric in a {task} model"))?,
        }
        columns.push((Subject::Label, kind));
    }
    let score = layout.columns.iter().find(|column| column.subject == Subject::Score && task == Task::Binary);
    let score = score.and_then(|column| if let ColumnKind::Numeric(bins) = &column.kind { Some(bins.clone()) } else { None });
    Ok(JoinedLayout { classes: classes.len(), positive, score, label: Layout::new(columns) })
}

fn nulls_document(nulls: &Nulls) -> NullsDocument {
    let list = |table: &NullTable| table.quantiles().to_vec();
    NullsDocument {
        total_variation: list(&nulls.total_variation),
        linf: list(&nulls.linf),
        wasserstein: nulls.wasserstein.as_ref().map(list),
        energy: nulls.energy.as_ref().map(list),
        cramer_von_mises: nulls.cramer_von_mises.as_ref().map(list),
        anderson_darling: nulls.anderson_darling.as_ref().map(list),
    }
}

fn read_nulls(tables: NullsDocument, field: &str) -> Checked<Nulls> {
    let read = |list: Vec<f64>, name: &str| {
        NullTable::try_from(list).map_err(|fault| DocumentError::field(format!("{field}.{name}"), fault.to_string()))
    };
    Ok(Nulls {
        total_variation: read(tables.total_variation, "total_variation")?,
        linf: read(tables.linf, "linf")?,
        wasserstein: tables.wasserstein.map(|list| read(list, "wasserstein")).transpose()?,
        energy: tables.energy.map(|list| read(list, "energy")).transpose()?,
        cramer_von_mises: tables.cramer_von_mises.map(|list| read(list, "cramer_von_mises")).transpose()?,
        anderson_darling: tables.anderson_darling.map(|list| read(list, "anderson_darling")).transpose()?,
    })
}

fn effects_document(effects: &Inflations) -> EffectsDocument {
    let list = |inflation: &Inflation| inflation.points().to_vec();
    EffectsDocument {
        cells: list(&effects.cells),
        cells_tail: list(&effects.cells_tail),
        order: list(&effects.order),
        order_tail: list(&effects.order_tail),
        mean: list(&effects.mean),
        null: list(&effects.null),
        invalid: list(&effects.invalid),
    }
}

fn read_effects(effects: EffectsDocument, field: &str) -> Checked<Inflations> {
    let read = |points: Vec<(f64, f64)>, name: &str| {
        let fault =
            || DocumentError::field(format!("{field}.{name}"), "not pairs of ascending rows and design effects from 1 on that do not fall");
        Inflation::from_points(points).ok_or_else(fault)
    };
    Ok(Inflations {
        cells: read(effects.cells, "cells")?,
        cells_tail: read(effects.cells_tail, "cells_tail")?,
        order: read(effects.order, "order")?,
        order_tail: read(effects.order_tail, "order_tail")?,
        mean: read(effects.mean, "mean")?,
        null: read(effects.null, "null")?,
        invalid: read(effects.invalid, "invalid")?,
    })
}

fn nonzero(sum: &ExactSum) -> Option<String> {
    (*sum != ExactSum::default()).then(|| sum.to_text())
}

fn counts_document(column: &Column, pane: &Pane) -> CountsDocument {
    let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
    let at = |cell: usize| cells.get(cell).copied().unwrap_or(0);
    CountsDocument {
        null: at(NULL),
        missing: at(MISSING),
        nan: at(NAN),
        infinite: at(INFINITE),
        wrong_type: at(WRONG_TYPE),
        counts: cells.get(SPECIAL..).unwrap_or(&[]).to_vec(),
        sums: column.moments.and_then(|index| pane.moments.get(index)).map(sums_document),
        vectors: space::sums_document(sums_of(column).and_then(|range| pane.sums.get(range)).unwrap_or(&[])),
    }
}

/// Where the sums of an embedding are in the pane.
fn sums_of(column: &Column) -> Option<std::ops::Range<usize>> {
    match (&column.kind, column.sums) {
        (ColumnKind::Embedding(space), Some(first)) => Some(first..first + space.sums()),
        _ => None,
    }
}

pub(super) fn sums_document(moments: &Moments) -> SumsDocument {
    SumsDocument { z: moments.sum.to_text(), z2: moments.squares.to_text(), below: nonzero(&moments.below), above: nonzero(&moments.above) }
}

pub(super) fn read_moments(sums: &SumsDocument, field: &str) -> Checked<Moments> {
    Ok(Moments {
        sum: read_sum(Some(&sums.z), &format!("{field}.sums.z"))?,
        squares: read_sum(Some(&sums.z2), &format!("{field}.sums.z2"))?,
        below: read_sum(sums.below.as_deref(), &format!("{field}.sums.below"))?,
        above: read_sum(sums.above.as_deref(), &format!("{field}.sums.above"))?,
    })
}

pub(super) fn read_sum(text: Option<&str>, field: &str) -> Checked<ExactSum> {
    match text {
        None => Ok(ExactSum::default()),
        Some(text) => ExactSum::from_text(text).ok_or_else(|| DocumentError::field(field, format!("'{text}' is not an exact sum"))),
    }
}

/// Counts of one column into the pane; every row has to be in one cell.
fn read_counts(counts: CountsDocument, column: &Column, pane: &mut Pane, field: &str) -> Checked<()> {
    let wanted = column.cells() - SPECIAL;
    ensure(counts.counts.len() == wanted, &format!("{field}.counts"), || format!("{} cells, not {wanted}", counts.counts.len()))?;
    let special =
        [(NULL, counts.null), (MISSING, counts.missing), (NAN, counts.nan), (INFINITE, counts.infinite), (WRONG_TYPE, counts.wrong_type)];
    let cells = special.into_iter().chain(counts.counts.into_iter().enumerate().map(|(cell, count)| (SPECIAL + cell, count)));
    let mut rows = Some(0u64);
    for (cell, count) in cells {
        rows = rows.and_then(|rows| rows.checked_add(count));
        if let Some(place) = pane.cells.get_mut(column.offset + cell) {
            *place = count;
        }
    }
    ensure(rows == Some(pane.n), field, || {
        let sum = rows.map_or("beyond any number of rows".to_owned(), |rows| rows.to_string());
        format!("the counts of '{}' sum to {sum}, not to {}", column.subject, pane.n)
    })?;
    ensure(counts.sums.is_some() == column.moments.is_some(), &format!("{field}.sums"), || {
        "are for numeric columns, and needed there".to_owned()
    })?;
    let sums = pane.sums.get_mut(sums_of(column).unwrap_or(0..0)).unwrap_or_default();
    space::read_sums(&counts.vectors, sums, &format!("{field}.vectors"))?;
    if let (Some(sums), Some(place)) = (counts.sums, column.moments.and_then(|index| pane.moments.get_mut(index))) {
        *place = read_moments(&sums, field)?;
    }
    Ok(())
}

fn read_reference(document: ReferenceDocument, layout: &Layout, joined: &JoinedLayout, field: &str) -> Checked<Reference> {
    let mut reference = Reference::new(layout, joined);
    reference.pane.n = document.rows;
    reference.pane.weight = read_sum(Some(&document.weight), &format!("{field}.weight"))?;
    let (found, wanted) = (document.columns.len(), layout.columns.len());
    ensure(found == wanted, &format!("{field}.columns"), || format!("{found} columns, not {wanted}"))?;
    for (index, (counts, column)) in document.columns.into_iter().zip(&layout.columns).enumerate() {
        read_counts(counts, column, &mut reference.pane, &format!("{field}.columns[{index}]"))?;
    }
    let sums = reference.pane.sums.get_mut(layout.joint_sums()..).unwrap_or_default();
    space::read_sums(&document.joint, sums, &format!("{field}.joint"))?;
    space::read_sample(&document.sample, layout, &mut reference.pane.sample, &format!("{field}.sample"))?;
    let label = joined.label.columns.first();
    ensure(document.joined.is_some() == label.is_some(), &format!("{field}.joined"), || {
        "is for models with a label, and needed there".to_owned()
    })?;
    if let (Some(document), Some(label)) = (document.joined, label) {
        read_joined(document, label, joined, &mut reference.joined, &format!("{field}.joined"))?;
    }
    Ok(reference)
}

fn read_joined(document: JoinedDocument, label: &Column, layout: &JoinedLayout, pane: &mut JoinedPane, field: &str) -> Checked<()> {
    pane.matched = document.rows;
    pane.label.n = document.rows;
    pane.scored = document.scored;
    read_counts(document.label, label, &mut pane.label, &format!("{field}.label"))?;
    let shaped = document.confusion.len() == layout.classes && document.confusion.iter().all(|row| row.len() == layout.classes + 1);
    ensure(shaped, &format!("{field}.confusion"), || format!("not {} rows of {} counts", layout.classes, layout.classes + 1))?;
    pane.confusion = document.confusion.into_iter().flatten().collect();
    let cells = layout.score.as_ref().map_or(0, NumericBins::cells);
    for (name, list) in [("score_negative", &document.score_negative), ("score_positive", &document.score_positive)] {
        ensure(list.len() == cells, &format!("{field}.{name}"), || format!("{} cells, not {cells}", list.len()))?;
    }
    pane.scores = document.score_negative.into_iter().chain(document.score_positive).collect();
    let total = |counts: &[u64]| counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    let rows = if layout.classes > 0 { Some(pane.matched) } else { Some(0) };
    ensure(total(&pane.confusion) == rows, &format!("{field}.confusion"), || format!("does not sum to {} rows", pane.matched))?;
    ensure(total(&pane.scores) == Some(pane.scored), &format!("{field}.scored"), || "is not the sum of the score cells".to_owned())?;
    for name in document.sums.keys() {
        let known = joined_sums(pane).iter().any(|(other, _)| other == name);
        ensure(known, &format!("{field}.sums.{name}"), || "is not known".to_owned())?;
    }
    let sum = |name: &str| read_sum(document.sums.get(name).map(String::as_str), &format!("{field}.sums.{name}"));
    pane.brier = sum("brier")?;
    pane.log_loss = sum("log_loss")?;
    pane.absolute = sum("absolute")?;
    pane.squared = sum("squared")?;
    pane.signed = sum("signed")?;
    Ok(())
}

fn joined_sums(pane: &JoinedPane) -> [(&'static str, &ExactSum); 5] {
    [
        ("brier", &pane.brier),
        ("log_loss", &pane.log_loss),
        ("absolute", &pane.absolute),
        ("squared", &pane.squared),
        ("signed", &pane.signed),
    ]
}
