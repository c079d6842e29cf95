//! What sequential detectors say of a window: 1 where one fired within the panes of its last slide, 0.5 where one warned, else 0.

use std::sync::Arc;

use crate::baseline::layout::{Column, SPECIAL};
use crate::baseline::{Baseline, ColumnKind};
use crate::engine::detection::{Errors, Told, Values, Word, detectors, has_spread, metric};
use crate::event::{Measurement, Segment, Status, Subject};
use crate::stats::sequential::{Settings, Signal};
use crate::window::Pane;

use super::{Context, Reading};

/// What was said of the values of a version, when a window closes.
pub(in crate::engine) fn values(context: &Context<'_>, values: &Values, version: u16, told: Told, pane: &Pane, out: &mut Vec<Measurement>) {
    let Some(baseline) = context.baseline() else { return };
    let n = context.plan.min_samples;
    for (place, settings) in detectors(context.plan, false).enumerate() {
        let recipe: Arc<str> = format!("means of {n} values or more, in standard errors of {n} from the reference mean; {settings}").into();
        for (index, column) in baseline.layout.columns.iter().enumerate() {
            if !matches!(column.kind, ColumnKind::Numeric(_)) {
                continue;
            }
            let (word, waiting) = values.word(version, index, told);
            let mut reading = reading(&settings, place, word, waiting, counted(column, &baseline.reference.pane));
            if !has_spread(baseline, index, column) {
                (reading.n, reading.error) = (counted(column, pane), Some("constant_reference"));
            }
            push(context, column.subject.clone(), &reading, &recipe, out);
        }
    }
}

/// What was said of the errors of a version, when a window is looked at for its labels.
pub(in crate::engine) fn errors(context: &Context<'_>, errors: &Errors, version: u16, told: Told, out: &mut Vec<Measurement>) {
    of_errors(context, errors.word(version, told), out);
}

/// The same of a window that has just closed: it will be said.
pub(in crate::engine) fn awaiting(context: &Context<'_>, out: &mut Vec<Measurement>) {
    let first = out.len();
    of_errors(context, None, out);
    for measurement in out.iter_mut().skip(first) {
        measurement.reason = Some("awaiting_labels".into());
    }
}

fn of_errors(context: &Context<'_>, word: Option<&Word>, out: &mut Vec<Measurement>) {
    let Some(baseline) = context.baseline().filter(|baseline| is_classification(baseline)) else { return };
    for (place, settings) in detectors(context.plan, true).enumerate() {
        let recipe: Arc<str> = format!("answers of each pane in a seeded order; {settings}").into();
        let reading = reading(&settings, place, word, 0, baseline.reference.joined.matched);
        let first = out.len();
        // Errors are compared with those before them: the reference need not have labels.
        push(context, Subject::Model, &Reading { n_reference: reading.n_reference.max(1), ..reading }, &recipe, out);
        for measurement in out.iter_mut().skip(first) {
            measurement.n_reference = baseline.reference.joined.matched;
            if measurement.status == Status::NoData {
                measurement.reason = Some("no_labels".into());
            }
        }
    }
}

fn is_classification(baseline: &Baseline) -> bool {
    baseline.joined.classes > 0
}

/// Without a word no step was taken: then those count that wait for one, which are too few.
fn reading(settings: &Settings, place: usize, word: Option<&Word>, waiting: u64, n_reference: u64) -> Reading {
    let signal = word.and_then(|word| word.signals.get(place)).copied().unwrap_or(Signal::None);
    Reading {
        metric: metric(settings),
        value: Some(signal.value()),
        p_value: None,
        n: word.map_or(waiting, |word| word.n),
        n_reference,
        error: None,
        recipe: "",
    }
}

fn push(context: &Context<'_>, subject: Subject, reading: &Reading, recipe: &Arc<str>, out: &mut Vec<Measurement>) {
    let measurement = context.finish(&Segment::default(), subject, reading, None);
    out.push(Measurement { recipe: Arc::clone(recipe), ..measurement });
}

/// Values of a column in a pane.
fn counted(column: &Column, pane: &Pane) -> u64 {
    pane.cells.get(column.offset + SPECIAL..column.offset + column.cells()).unwrap_or(&[]).iter().sum()
}
