//! Which windows of a model are due to close, in order, each once.

use serde::{Deserialize, Serialize};

use crate::event::{Timestamp, WindowRef};

use super::spec::WindowSpec;

/// Consecutive windows without any record that are reported one by one. A longer silence, or a single record decades
/// away from the rest, is skipped over and noted on the next window, so that no input can make the agent close windows
/// for hours.
pub const MAX_EMPTY_RUN: u32 = 10_000;

/// The progress of one window of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Start of the next window to close.
    next: Option<Timestamp>,
    /// Windows in a row that had no record.
    empty_run: u32,
}

/// A window to close, and whether windows before it were skipped.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The window.
    pub window: WindowRef,
    /// How many empty windows before it were not reported.
    pub skipped: u64,
}

impl Schedule {
    /// Whether the window that starts there has been closed, or lies before the first that was.
    #[must_use]
    pub fn is_past(&self, start: Timestamp) -> bool {
        self.next.is_some_and(|next| start < next)
    }

    /// The start of the next window to close, once the first has been closed.
    #[must_use]
    pub fn next_start(&self) -> Option<Timestamp> {
        self.next
    }

    /// The next window to close, if `until` lets it: the windows whose end is at most `until` are due.
    ///
    /// `next_slice` gives the first slice with records at or after an instant.
    pub fn due(&mut self, spec: &WindowSpec, until: Timestamp, next_slice: impl Fn(Timestamp) -> Option<Timestamp>) -> Option<Due> {
        self.step(spec, next_slice, |start| start + spec.size <= until)
    }

    /// The same at the end of all input: the windows that start at or before `last`, the last event, are due.
    pub fn rest(&mut self, spec: &WindowSpec, last: Timestamp, next_slice: impl Fn(Timestamp) -> Option<Timestamp>) -> Option<Due> {
        self.step(spec, next_slice, |start| start <= last)
    }

    fn step(
        &mut self,
        spec: &WindowSpec,
        next_slice: impl Fn(Timestamp) -> Option<Timestamp>,
        is_due: impl Fn(Timestamp) -> bool,
    ) -> Option<Due> {
        let mut start = match self.next {
            Some(next) => next,
            None => spec.first_start(next_slice(Timestamp(i64::MIN))?),
        };
        if !is_due(start) {
            // The first window is pinned down only when it closes: an earlier record may still come until then.
            return None;
        }
        let mut skipped = 0;
        let data = next_slice(start);
        if data.is_some_and(|slice| slice < start + spec.size) {
            self.empty_run = 0;
        } else if self.empty_run < MAX_EMPTY_RUN {
            self.empty_run += 1;
        } else {
            let target = spec.first_start(data?);
            if target > start {
                skipped = u64::try_from((target - start).0 / spec.slide.0).unwrap_or(0);
                start = target;
            }
            if !is_due(start) {
                return None;
            }
            self.empty_run = 0;
        }
        self.next = Some(start + spec.slide);
        Some(Due { window: spec.at(start), skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Span;

    fn spec() -> WindowSpec {
        WindowSpec { name: "w".into(), size: Span(20), slide: Span(10), offset: Span(0) }
    }

    fn starts(schedule: &mut Schedule, until: i64, slices: &[i64]) -> Vec<i64> {
        let next = |from: Timestamp| slices.iter().copied().map(Timestamp).find(|slice| *slice >= from);
        std::iter::from_fn(|| schedule.due(&spec(), Timestamp(until), next)).map(|due| due.window.start.0).collect()
    }

    #[test]
    fn every_window_closes_once_in_order_and_empty_ones_too() {
        let mut schedule = Schedule::default();
        assert_eq!(starts(&mut schedule, 5, &[30]), Vec::<i64>::new());
        assert_eq!(starts(&mut schedule, 60, &[30]), [20, 30, 40]);
        assert_eq!(starts(&mut schedule, 60, &[30]), Vec::<i64>::new());
        assert_eq!(starts(&mut schedule, 80, &[30]), [50, 60]);
        assert!(schedule.is_past(Timestamp(60)) && !schedule.is_past(Timestamp(70)));
    }

    #[test]
    fn a_silence_of_decades_is_skipped_and_noted() {
        let mut schedule = Schedule::default();
        let far = 10 * i64::from(MAX_EMPTY_RUN) * 100;
        let slices = [0, far];
        let next = |from: Timestamp| slices.iter().copied().map(Timestamp).find(|slice| *slice >= from);
        let due: Vec<Due> = std::iter::from_fn(|| schedule.due(&spec(), Timestamp(far + 100), next)).collect();
        assert!(due.len() < 2 * MAX_EMPTY_RUN as usize, "{} windows were closed", due.len());
        let jump = due.iter().find(|due| due.skipped > 0).unwrap();
        assert_eq!(jump.window.start.0, far - 10);
    }

    #[test]
    fn the_end_of_input_closes_what_has_begun() {
        let mut schedule = Schedule::default();
        let next = |from: Timestamp| [Timestamp(0), Timestamp(30)].into_iter().find(|slice| *slice >= from);
        let rest: Vec<i64> = std::iter::from_fn(|| schedule.rest(&spec(), Timestamp(35), next)).map(|due| due.window.start.0).collect();
        assert_eq!(rest, [-10, 0, 10, 20, 30]);
    }
}
