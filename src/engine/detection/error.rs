//! Detectors over the errors of a classification: the answers of each pane, right or wrong.
//!
//! A pane keeps how many answers were wrong, not in which order. They are fed in an order drawn at random, from a seed that is the start of
//! the pane: where answers of one pane are alike but for chance, that is as probable an order as the true one, so that detectors
//! behave as over the stream itself. What changes within a pane is seen as a change between panes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::Task;
use crate::event::Timestamp;
use crate::stats::random::SplitMix64;
use crate::stats::sequential::{Detector, Settings, Signal};
use crate::window::JoinedPane;

use super::said::{Said, Word};
use super::{Told, detectors, reconcile};
use crate::engine::history::{History, Versions};
use crate::engine::plan::ModelPlan;

/// The most answers of one pane that are fed, drawn like all of them: they give the error rate to 0.2 %, and take some milliseconds.
const MOST_ANSWERS: u64 = 100_000;

/// Detectors over the errors of all versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Panes from here on are to come.
    next: Option<Timestamp>,
    /// By version.
    streams: BTreeMap<u16, Stream>,
}

/// One version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stream {
    detectors: Vec<Detector>,
    said: Said,
}

impl Errors {
    /// Begins with the first panes of the model.
    pub(super) fn begin(&mut self, plan: &ModelPlan, from: Timestamp) {
        if detectors(plan, true).next().is_none() {
            *self = Errors::default();
        } else if self.next.is_none() {
            self.next = Some(from);
        }
    }

    pub(super) fn step(&mut self, plan: &ModelPlan, versions: &Versions, history: &History, told: Told) {
        let wanted: Vec<Settings> = detectors(plan, true).collect();
        let Some(next) = self.next.filter(|next| *next < told.end && !wanted.is_empty()) else { return };
        self.next = Some(told.end);
        for (start, version, pane) in history.overall_pairs((next, told.end)) {
            let Some(baseline) = plan.baseline(&versions.name(version)) else { continue };
            let Some((n, wrong)) = answers(baseline.task, baseline.joined.classes, &pane) else { continue };
            let stream = self.streams.entry(version).or_default();
            if reconcile(&mut stream.detectors, &wanted) {
                stream.said.clear();
            }
            stream.take(plan, start, n, wrong);
        }
    }

    /// What was said of a version in the last slide of a window.
    pub(in crate::engine) fn word(&self, version: u16, told: Told) -> Option<&Word> {
        self.streams.get(&version)?.said.get(told.place, told.end)
    }

    pub(super) fn forget(&mut self, told: Told) {
        self.streams.values_mut().for_each(|stream| stream.said.forget(told));
    }
}

impl Stream {
    fn take(&mut self, plan: &ModelPlan, start: Timestamp, n: u64, wrong: u64) {
        if n == 0 {
            return;
        }
        let mut signals = vec![Signal::None; self.detectors.len()];
        for is_wrong in shuffled(start, n, wrong) {
            for (strongest, detector) in signals.iter_mut().zip(&mut self.detectors) {
                *strongest = detector.update(f64::from(u8::from(is_wrong))).max(*strongest);
            }
        }
        self.said.add(&plan.windows, start, n, &signals);
    }
}

/// Labelled predictions of a pane, and the wrong ones among them; none where an answer is not right or wrong.
fn answers(task: Task, classes: usize, pane: &JoinedPane) -> Option<(u64, u64)> {
    matches!(task, Task::Binary | Task::Multiclass).then_some(())?;
    let n: u64 = pane.confusion.iter().sum();
    let right: u64 = pane.confusion.iter().step_by(classes + 2).take(classes).sum();
    Some((n, n - right))
}

/// Answers in an order drawn at random: without putting back, so that all of them have as many wrong ones as the pane has.
fn shuffled(start: Timestamp, n: u64, wrong: u64) -> impl Iterator<Item = bool> {
    let mut random = SplitMix64::new(start.0.cast_unsigned());
    let (mut left, mut wrong_left) = (n, wrong);
    (0..n.min(MOST_ANSWERS)).map(move |_| {
        let drawn = (u128::from(random.next_u64()) * u128::from(left)) >> 64;
        let is_wrong = drawn < u128::from(wrong_left);
        left -= 1;
        wrong_left -= u64::from(is_wrong);
        is_wrong
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_answers_of_a_pane_are_fed_once_in_an_order_of_its_own() {
        let of = |start, n, wrong| shuffled(Timestamp(start), n, wrong).collect::<Vec<bool>>();
        let wrong = |answers: &[bool]| answers.iter().filter(|is_wrong| **is_wrong).count();
        for (n, count) in [(0, 0), (1, 1), (7, 0), (7, 7), (5_000, 321)] {
            let answers = of(600_000, n, count);
            assert_eq!((answers.len() as u64, wrong(&answers) as u64), (n, count));
        }
        assert_eq!(of(5, 100, 30), of(5, 100, 30));
        assert_ne!(of(5, 100, 30), of(6, 100, 30));
        let many = of(5, 10_000_000, 1_000_000);
        assert_eq!(many.len() as u64, MOST_ANSWERS);
        assert!(wrong(&many).abs_diff(10_000) < 400);
    }

    #[test]
    fn predictions_of_no_known_class_are_wrong() {
        let pane = JoinedPane { confusion: vec![10, 2, 1, 3, 20, 4], ..JoinedPane::default() };
        assert_eq!(answers(Task::Binary, 2, &pane), Some((40, 10)));
        assert_eq!(answers(Task::Regression, 0, &JoinedPane::default()), None);
    }
}
