//! A baseline without some of its columns or measures: what a model no longer wants to monitor needs no new baseline.

use std::sync::Arc;

use crate::event::{Metric, Subject};
use crate::window::{Pane, REFERENCE_SAMPLE, Sample};

use super::layout::{Column, ColumnKind, Layout};
use super::space::Joint;
use super::{Baseline, Reference};

impl Baseline {
    /// This baseline without the columns of the subjects that `unwanted` names. The layout is another one. What was fitted to several
    /// columns together is gone where one of them is.
    #[must_use]
    pub fn without(self, unwanted: impl Fn(&Subject) -> bool) -> Baseline {
        let kept = self.layout.columns.iter().map(|column| !unwanted(&column.subject)).collect::<Vec<bool>>();
        self.cut(&kept, &Metric::MULTIVARIATE)
    }

    /// This baseline with only those of the measures of many dimensions at once that are wanted.
    #[must_use]
    pub fn measuring(self, wanted: &[Metric]) -> Baseline {
        let kept = vec![true; self.layout.columns.len()];
        self.cut(&kept, wanted)
    }

    /// Whether a measure of many dimensions at once has been prepared, of all features together or of an embedding.
    #[must_use]
    pub fn measures(&self, metric: Metric) -> bool {
        let embeddings = self.layout.columns.iter().filter_map(|column| match &column.kind {
            ColumnKind::Embedding(space) => Some(&**space),
            _ => None,
        });
        if metric == Metric::DomainClassifierAuc {
            return self.layout.sampled.is_some();
        }
        let joint = self.layout.joint.as_ref();
        embeddings.chain(joint.map(|joint| &joint.space)).any(|space| match metric {
            Metric::ReconstructionError => space.reconstruction.is_some(),
            Metric::Mmd => space.kernel.is_some(),
            _ => false,
        }) || (metric == Metric::CorrelationShift && joint.is_some_and(|joint| joint.dependence.is_some()))
    }

    fn cut(mut self, kept: &[bool], wanted: &[Metric]) -> Baseline {
        let old = Arc::clone(&self.layout);
        let columns = || old.columns.iter().zip(kept).filter(|(_, kept)| **kept).map(|(column, _)| column);
        let mut sums = vec![false; old.sums];
        let mut keep_sums = |first: usize, list: Vec<bool>| {
            sums.iter_mut().skip(first).zip(list).for_each(|(place, is_kept)| *place = is_kept);
        };
        let mut cut_column = |column: &Column| {
            let mut kind = column.kind.clone();
            if let (ColumnKind::Embedding(space), Some(first)) = (&mut kind, column.sums) {
                keep_sums(first, space.keep(wanted));
            }
            (column.subject.clone(), kind)
        };
        let mut layout = Layout::new(columns().map(&mut cut_column).collect());
        if let Some(sampled) = old.sampled.as_deref().filter(|_| wanted.contains(&Metric::DomainClassifierAuc)) {
            layout = layout.with_sampled(sampled);
        }
        if let Some(old_joint) = &old.joint {
            let mut joint = Joint::clone(old_joint);
            let list = joint.keep(wanted);
            layout = layout.with_joint(Some(joint).filter(|joint| !joint.is_empty()));
            if layout.joint.is_some() {
                keep_sums(old.joint_sums(), list);
            }
        }
        let cut = |pane: &Pane| -> Pane {
            let mut cells = Vec::with_capacity(layout.cells);
            let mut moments = Vec::with_capacity(layout.moments);
            for column in columns() {
                cells.extend_from_slice(pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]));
                moments.extend(column.moments.and_then(|place| pane.moments.get(place)).cloned());
            }
            let sums = pane.sums.iter().zip(&sums).filter(|(_, kept)| **kept).map(|(sum, _)| sum.clone()).collect();
            let mut sample = Sample::default();
            for row in pane.sample.rows().iter().filter(|_| layout.sampled.is_some()) {
                let cells: Vec<u16> = columns().filter_map(|column| row.cells.get(column.sampled?).copied()).collect();
                sample.offer_within(REFERENCE_SAMPLE, row.key, &cells);
            }
            Pane { n: pane.n, cells, moments, weight: pane.weight.clone(), sums, sample }
        };
        let cut_reference = |reference: Reference| Reference { pane: cut(&reference.pane), joined: reference.joined };
        self.reference = cut_reference(self.reference);
        self.segments = self.segments.into_iter().map(|(segment, reference)| (segment, cut_reference(reference))).collect();
        if let Some(seasons) = &mut self.seasons {
            seasons.map(|pane| cut(&pane));
        }
        self.summaries = keep(self.summaries, kept);
        self.nulls = keep(self.nulls, kept);
        self.inflations = keep(self.inflations, kept);
        self.layout = Arc::new(layout);
        self
    }
}

fn keep<T>(list: Vec<T>, kept: &[bool]) -> Vec<T> {
    list.into_iter().zip(kept).filter_map(|(item, kept)| kept.then_some(item)).collect()
}
