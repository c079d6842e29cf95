//! From the merged panes of a window to its measurements: effect, evidence and status of each subject and metric.

pub mod column;
pub mod detection;
pub mod multivariate;
mod number;
pub mod performance;
mod recipe;
mod share;
pub mod threshold;
mod wanted;

pub use recipe::Recipe;
pub use wanted::Wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::baseline::{Baseline, Reference};
use crate::event::{Measurement, Metric, Segment, Span, Status, Subject, WindowRef};
use crate::stats::adjust::{benjamini_hochberg, bonferroni};
use crate::window::{JoinedPane, Pane};

use super::evidence::Adjust;
use super::plan::ModelPlan;

/// The reason where no baseline is for a version.
pub const NO_BASELINE: &str = "no_baseline";

/// Whose measurements are made.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The model.
    pub plan: &'a ModelPlan,
    /// The version.
    pub version: &'a Arc<str>,
    /// Number of the segment in the plan.
    pub segment: u16,
    /// The window.
    pub window: &'a WindowRef,
    /// The revision of the window.
    pub revision: u32,
}

/// What the events of a window are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Against<'a> {
    /// The rows of the baseline, or of its segment.
    Baseline,
    /// Other events, counted over the bins of the baseline, and what they are called in recipes.
    Pane(&'a Pane, &'a str),
    /// Rows of the baseline that are kept by column, and what they are called: what is of many columns at once is compared with all rows.
    Columns(&'a Pane, &'a str),
    /// Nothing that can be relied on, and why.
    Nothing(&'static str),
}

/// One number before it is known whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was measured.
    pub metric: Metric,
    /// The effect.
    pub value: Option<f64>,
    /// Its evidence.
    pub p_value: Option<f64>,
    /// Denominator in the window.
    pub n: u64,
    /// Denominator in the reference.
    pub n_reference: u64,
    /// Why there is no value although there are data.
    pub error: Option<&'static str>,
    /// How it was computed.
    pub recipe: &'static str,
}

impl<'a> Context<'a> {
    /// The segment by its values.
    pub(super) fn name(&self) -> Segment {
        self.plan.segment_names.get(usize::from(self.segment)).cloned().unwrap_or_default()
    }

    /// The baseline that judges the version.
    pub(super) fn baseline(&self) -> Option<&'a Arc<Baseline>> {
        self.plan.baseline(self.version)
    }

    /// The reference of the segment, and why there is none that can be relied on.
    pub(super) fn reference<'b>(&self, baseline: &'b Baseline, segment: &Segment) -> Result<&'b Reference, &'static str> {
        if segment.is_overall() {
            return Ok(&baseline.reference);
        }
        match baseline.segments.get(segment) {
            Some(reference) if reference.pane.n >= self.plan.min_samples => Ok(reference),
            _ => Err("no_segment_baseline"),
        }
    }

    fn finish(&self, segment: &Segment, subject: Subject, reading: &Reading, fault: Option<&'static str>) -> Measurement {
        let (status, reason) = match (reading, fault) {
            (_, Some(fault)) => (Status::Insufficient, Some(fault)),
            (Reading { n: 0, .. }, None) => (Status::NoData, Some("no_values")),
            (Reading { n_reference: 0, .. }, None) => (Status::NoData, Some("no_reference_values")),
            (Reading { error: Some(error), .. }, None) => (Status::Error, Some(*error)),
            (Reading { value: None, .. }, None) => (Status::Error, Some("undefined")),
            (Reading { n, .. }, None) if *n < self.plan.min_samples => (Status::Insufficient, Some("min_samples")),
            _ => (Status::Ok, None),
        };
        let has_value = matches!(status, Status::Ok | Status::Insufficient);
        Measurement {
            model: Arc::clone(&self.plan.name),
            version: Arc::clone(self.version),
            segment: segment.clone(),
            window: self.window.clone(),
            subject,
            metric: reading.metric,
            value: reading.value.filter(|value| has_value && value.is_finite()),
            p_value: reading.p_value.filter(|p| has_value && p.is_finite()),
            p_adjusted: None,
            n: reading.n,
            n_reference: reading.n_reference,
            status,
            reason: reason.map(Arc::from),
            recipe: Arc::from(reading.recipe),
            revision: self.revision,
        }
    }
}

/// The measurements of features and outputs of one version and segment.
pub fn events(context: &Context<'_>, pane: &Pane, against: Against<'_>, out: &mut Vec<Measurement>) {
    let segment = context.name();
    let Some(baseline) = context.baseline() else {
        let reading = Reading { metric: Metric::Psi, value: None, p_value: None, n: pane.n, n_reference: 0, error: None, recipe: "" };
        let mut measurement = context.finish(&segment, Subject::Model, &reading, None);
        measurement.status = Status::NoData;
        measurement.reason = Some(NO_BASELINE.into());
        out.push(measurement);
        return;
    };
    let empty;
    let (reference, fault) = match context.reference(baseline, &segment) {
        Ok(reference) => (reference, None),
        Err(fault) => {
            empty = Reference { pane: Pane::new(&baseline.layout), joined: JoinedPane::new(&baseline.joined) };
            (&empty, Some(fault))
        }
    };
    let none;
    let (compared, lacking, name) = match against {
        Against::Baseline => (&reference.pane, fault, None),
        Against::Pane(pane, name) | Against::Columns(pane, name) => (pane, None, Some(name)),
        Against::Nothing(reason) => {
            none = Pane::new(&baseline.layout);
            (&none, Some(reason), None)
        }
    };
    let first = out.len();
    let wanted = Wanted::new(&context.plan.metrics);
    let mut readings = Vec::new();
    for (index, column) in baseline.layout.columns.iter().enumerate() {
        let sides = column::Sides::new(baseline, (index, column), compared, pane).by(context.plan.recipe).corrected(context.plan.evidence);
        column::measure(&sides, wanted, &mut readings);
        out.extend(readings.drain(..).map(|reading| {
            let measurement = context.finish(&segment, column.subject.clone(), &reading, lacking);
            against_name(measurement, name.filter(|_| !reading.metric.is_descriptive()))
        }));
    }
    let (compared, name) = if matches!(against, Against::Columns(..)) { (&reference.pane, None) } else { (compared, name) };
    for (subject, reading) in multivariate::readings(baseline, compared, pane, wanted, context.plan.evidence) {
        out.push(against_name(context.finish(&segment, subject, &reading, lacking), name));
    }
    adjust(context.plan.evidence.adjust, out.get_mut(first..).unwrap_or(&mut []));
    if context.plan.horizon.is_some() {
        for metric in performance::metrics(baseline, &context.plan.metrics) {
            let recipe = performance::recipe(baseline, metric);
            let reading = Reading { metric, value: None, p_value: None, n: 0, n_reference: reference.joined.matched, error: None, recipe };
            let mut measurement = context.finish(&segment, Subject::Model, &reading, fault);
            if fault.is_none() {
                measurement.status = Status::NoData;
                measurement.reason = Some("awaiting_labels".into());
            }
            out.push(measurement);
        }
    }
}

/// Says in its recipe what it was compared with, where that is not the whole baseline.
fn against_name(measurement: Measurement, name: Option<&str>) -> Measurement {
    match name {
        Some(name) => Measurement { recipe: format!("{}; against {name}", measurement.recipe).into(), ..measurement },
        None => measurement,
    }
}

/// Says of the drift and quality of a window how long it became to have enough events, where that made it reliable.
pub fn mark_extended(measurements: &mut [Measurement], extended: Option<Span>) {
    let Some(extended) = extended else { return };
    let reason: Arc<str> = format!("extended: {extended}").into();
    let told = measurements.iter_mut().filter(|measurement| measurement.status == Status::Ok);
    told.for_each(|measurement| measurement.reason = Some(Arc::clone(&reason)));
}

/// The measurements that need labels, of one version and segment: performance, and drift of the label.
pub fn labels(context: &Context<'_>, pairs: Option<&JoinedPane>, out: &mut Vec<Measurement>) {
    let Some(baseline) = context.baseline() else { return };
    let segment = context.name();
    let empty = JoinedPane::new(&baseline.joined);
    let pairs = pairs.unwrap_or(&empty);
    let (reference, fault) = match context.reference(baseline, &segment) {
        Ok(reference) => (&reference.joined, None),
        Err(fault) => (&empty, Some(fault)),
    };
    let first = out.len();
    for metric in performance::metrics(baseline, &context.plan.metrics) {
        let (n, value) = performance::value(baseline, pairs, metric);
        let error = (n > 0 && value.is_none()).then_some("undefined");
        let n_reference = reference.matched;
        let recipe = performance::recipe(baseline, metric);
        let reading = Reading { metric, value, p_value: None, n, n_reference: n_reference.max(u64::from(fault.is_none())), error, recipe };
        let mut measurement = context.finish(&segment, Subject::Model, &reading, fault);
        measurement.n_reference = n_reference;
        if measurement.status == Status::NoData {
            measurement.reason = Some("no_labels".into());
        }
        out.push(measurement);
    }
    if baseline.reference.joined.matched > 0 {
        let mut readings = Vec::new();
        if let Some(sides) = column::Sides::of_label(baseline, &reference.label, &pairs.label) {
            column::measure(
                &sides.by(context.plan.recipe).corrected(context.plan.evidence),
                Wanted::new(&context.plan.metrics),
                &mut readings,
            );
        }
        out.extend(readings.iter().map(|reading| context.finish(&segment, Subject::Label, reading, fault)));
    }
    adjust(context.plan.evidence.adjust, out.get_mut(first..).unwrap_or(&mut []));
}

/// Performance on the reference, for rules that compare with it.
#[must_use]
pub fn reference(plan: &ModelPlan, version: &str) -> BTreeMap<Metric, f64> {
    let Some(baseline) = plan.baseline(version) else { return BTreeMap::new() };
    let pairs = &baseline.reference.joined;
    let all = performance::metrics(baseline, &Metric::ALL);
    all.into_iter().filter_map(|metric| Some((metric, performance::value(baseline, pairs, metric).1?))).collect()
}

/// Adjusts p-values over the subjects of one family: the features of one metric, or the probabilities of all classes.
/// Only measurements with status ok take part; other subjects are families of their own.
fn adjust(how: Adjust, measurements: &mut [Measurement]) {
    let by = match how {
        Adjust::BenjaminiHochberg => benjamini_hochberg,
        Adjust::Bonferroni => bonferroni,
    };
    let family = |measurement: &Measurement| match &measurement.subject {
        Subject::Feature(_) => (0u8, String::new()),
        Subject::Proba(_) => (1, String::new()),
        other => (2, other.to_string()),
    };
    let mut families: BTreeMap<(u8, String, Metric), Vec<usize>> = BTreeMap::new();
    for (place, measurement) in measurements.iter().enumerate() {
        let (kind, subject) = family(measurement);
        families.entry((kind, subject, measurement.metric)).or_default().push(place);
    }
    for places in families.into_values() {
        let p_values: Vec<Option<f64>> = places
            .iter()
            .map(|place| measurements.get(*place).filter(|measurement| measurement.status == Status::Ok).and_then(|m| m.p_value))
            .collect();
        for (place, adjusted) in places.into_iter().zip(by(&p_values)) {
            if let Some(measurement) = measurements.get_mut(place) {
                measurement.p_adjusted = adjusted;
            }
        }
    }
}

/// Puts measurements into the order of results.
pub fn sort(measurements: &mut [Measurement]) {
    measurements.sort_by_cached_key(|measurement| {
        let Measurement { version, segment, subject, metric, .. } = measurement;
        (Arc::clone(version), segment.to_string(), subject.to_string(), metric.as_str())
    });
}

/// Sorted measurements by version and segment.
pub fn groups(measurements: &[Measurement]) -> impl Iterator<Item = &[Measurement]> {
    measurements.chunk_by(|left, right| left.version == right.version && left.segment == right.segment)
}
