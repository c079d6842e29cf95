//! The versions of a model as a worker meets them: baseline, layout, and where each column gets its value.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::baseline::output::class_index;
use crate::baseline::{Baseline, Layout};
use crate::event::Subject;
use crate::window::SeriesId;

use super::plan::{MAX_VERSIONS, ModelPlan, Plan};
use super::series::SeriesKey;

/// Where a column of a version's layout gets its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Origin {
    Feature(u32),
    Prediction,
    Score,
    Proba(usize),
    Nothing,
}

/// What is known of one version of one model.
#[derive(Debug)]
pub(super) struct Version {
    name: Arc<str>,
    pub baseline: Option<Arc<Baseline>>,
    pub layout: Arc<Layout>,
    pub origins: Vec<Origin>,
    /// Series by segment number; made when first needed.
    series: Vec<Option<SeriesId>>,
}

#[derive(Debug, Default)]
pub(super) struct ModelState {
    versions: Vec<Version>,
    by_name: FxHashMap<Arc<str>, usize>,
    /// The version of the last event.
    last: usize,
}

impl ModelState {
    /// What is known of a version, found out now if it is new. `None` when there are too many.
    pub fn version(&mut self, name: &str, model: &ModelPlan, plan: &Plan) -> Option<&mut Version> {
        if self.versions.get(self.last).is_none_or(|version| *version.name != *name) {
            self.last = match self.by_name.get(name) {
                Some(number) => *number,
                None if self.versions.len() >= MAX_VERSIONS => return None,
                None => {
                    let name: Arc<str> = Arc::from(name);
                    self.versions.push(Version::new(Arc::clone(&name), model, plan));
                    self.by_name.insert(name, self.versions.len() - 1);
                    self.versions.len() - 1
                }
            };
        }
        self.versions.get_mut(self.last)
    }
}

impl Version {
    fn new(name: Arc<str>, model: &ModelPlan, plan: &Plan) -> Version {
        let baseline = model.baseline(&name).cloned();
        let layout = baseline.as_ref().map_or_else(|| Arc::new(Layout::new(Vec::new())), |baseline| Arc::clone(&baseline.layout));
        let origins = layout
            .columns
            .iter()
            .map(|column| match &column.subject {
                Subject::Feature(name) => plan.dictionary.feature_slot(name).map_or(Origin::Nothing, Origin::Feature),
                Subject::Prediction => Origin::Prediction,
                Subject::Score => Origin::Score,
                Subject::Proba(class) => {
                    baseline.as_ref().and_then(|baseline| class_index(&baseline.classes, class)).map_or(Origin::Nothing, Origin::Proba)
                }
                Subject::Label | Subject::Model | Subject::Ingest => Origin::Nothing,
            })
            .collect();
        Version { name, baseline, layout, origins, series: vec![None; model.segment_names.len().max(1)] }
    }

    /// The number of the series of a segment, given to it now if it is new.
    pub fn series_number(&mut self, series: &mut Vec<SeriesKey>, model: u16, segment: u16) -> SeriesId {
        let Some(slot) = self.series.get_mut(usize::from(segment)) else { return SeriesId(0) };
        *slot.get_or_insert_with(|| {
            series.push(SeriesKey { model, version: Arc::clone(&self.name), segment });
            SeriesId(u32::try_from(series.len() - 1).unwrap_or(u32::MAX))
        })
    }
}
