//! Since when a subject has been as the window shows it.
//!
//! Each slice of time becomes one number: how much more its values look like the window than like the reference, the mean over its
//! events of `ln(c / r)` of their cells. That moves with whatever moved the score, be it the mean, the spread or a level, and its change of
//! level is the onset. The slices are those of the window and some before it. They are kept for it, and when one of them changes
//! the window is said anew: the answer depends on events alone.

use std::collections::BTreeMap;

use crate::engine::comparison::onset_reach;
use crate::event::explanation::Began;
use crate::event::{Span, Timestamp};
use crate::stats::counts::real;
use crate::stats::onset::{Point, onset};

use super::{Case, Scene};

/// The onset of each case.
pub(super) fn onsets(scene: &Scene<'_>, cases: &[Case<'_>]) -> Vec<Option<Began>> {
    let none = || cases.iter().map(|_| None).collect();
    let (plan, window) = (scene.context.plan, scene.context.window);
    let Some(spec) = plan.windows.iter().find(|spec| spec.name == window.name).filter(|spec| spec.slide.0 > 0) else { return none() };
    let from = window.start - onset_reach(spec);
    let likeness: Vec<Vec<f64>> = cases.iter().map(|case| case.ground.likeness(&case.reference, &case.current)).collect();
    let mut slices: BTreeMap<Timestamp, Vec<(f64, u64)>> = BTreeMap::new();
    for (start, pane) in scene.history.sealed(scene.place, (from, window.end)) {
        let at = from + Span((start - from).0.div_euclid(spec.slide.0) * spec.slide.0);
        let sums = slices.entry(at).or_insert_with(|| vec![(0.0, 0); cases.len()]);
        for ((case, likeness), sum) in cases.iter().zip(&likeness).zip(sums) {
            let part = case.ground.count(case.column, &pane);
            sum.0 += part.cells.iter().zip(likeness).map(|(count, likeness)| real(*count) * likeness).sum::<f64>();
            sum.1 += part.total;
        }
    }
    let times: Vec<Timestamp> = slices.keys().copied().collect();
    let began = |case: usize| {
        let point = |sums: &Vec<(f64, u64)>| sums.get(case).map(|(sum, n)| Point { value: sum / real((*n).max(1)), weight: real(*n) });
        let series: Vec<Point> = slices.values().filter_map(point).collect();
        let found = onset(&series).filter(|found| found.after > found.before)?;
        let time = |index: usize| times.get(index).copied();
        Some(Began { at: time(found.index)?, between: (time(found.between.0)?, time(found.between.1)?), slice: spec.slide })
    };
    (0..cases.len()).map(began).collect()
}
