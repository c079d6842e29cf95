//! A baseline without some of its columns: features that a model no longer wants to monitor need no new baseline.

use std::sync::Arc;

use crate::event::Subject;
use crate::window::Pane;

use super::layout::Layout;
use super::{Baseline, Reference};

impl Baseline {
    /// This baseline without the columns of the subjects that `unwanted` names. The layout is another one.
    #[must_use]
    pub fn without(mut self, unwanted: impl Fn(&Subject) -> bool) -> Baseline {
        let old = Arc::clone(&self.layout);
        let kept: Vec<bool> = old.columns.iter().map(|column| !unwanted(&column.subject)).collect();
        let columns = old.columns.iter().zip(&kept).filter(|(_, kept)| **kept);
        let layout = Layout::new(columns.map(|(column, _)| (column.subject.clone(), column.kind.clone())).collect());
        let cut = |pane: &Pane| -> Pane {
            let mut cells = Vec::with_capacity(layout.cells);
            let mut moments = Vec::with_capacity(layout.moments);
            for (column, _) in old.columns.iter().zip(&kept).filter(|(_, kept)| **kept) {
                cells.extend_from_slice(pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]));
                moments.extend(column.moments.and_then(|place| pane.moments.get(place)).cloned());
            }
            Pane { n: pane.n, cells, moments, weight: pane.weight.clone() }
        };
        let cut_reference = |reference: Reference| Reference { pane: cut(&reference.pane), joined: reference.joined };
        self.reference = cut_reference(self.reference);
        self.segments = self.segments.into_iter().map(|(segment, reference)| (segment, cut_reference(reference))).collect();
        if let Some(seasons) = &mut self.seasons {
            seasons.map(|pane| cut(&pane));
        }
        self.summaries = keep(self.summaries, &kept);
        self.nulls = keep(self.nulls, &kept);
        self.layout = Arc::new(layout);
        self
    }
}

fn keep<T>(list: Vec<T>, kept: &[bool]) -> Vec<T> {
    list.into_iter().zip(kept).filter_map(|(item, kept)| kept.then_some(item)).collect()
}
