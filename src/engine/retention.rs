//! Which slices the windows of a model still need, and how fine: as windows close, slices are only needed by the coarser ones.
//!
//! A window specification needs the windows that start at some instant or later: they may still be closed or restated. Of
//! what lies before that instant only the other specifications want anything, and their windows begin and end on a coarser
//! grid: panes may be added up over its cells without any window noticing.

use crate::event::{Span, Timestamp};
use crate::window::WindowSpec;

/// How far back closed windows can be restated at least, where the windows are shorter: a partition that was away for less
/// than an hour still finds the windows its records belong to.
pub const RESTATED: Span = Span::HOUR;

/// How far before its next window a specification still wants slices: one window, for restatement; an hour where that is
/// longer, but no more than the longest window of the model. A whole number of slides, so that it ends on the grid.
#[must_use]
pub fn reach(spec: &WindowSpec, longest: Span) -> Span {
    let reach = spec.size.max(RESTATED.min(longest));
    Span(reach.0.div_euclid(spec.slide.0) * spec.slide.0 + if reach.0 % spec.slide.0 == 0 { 0 } else { spec.slide.0 })
}

/// Cells that slices before some instant may be added up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    until: Timestamp,
    period: Span,
    phase: Span,
}

/// What is still needed of the slices of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Slices before this are needed by nobody.
    pub from: Timestamp,
    /// The finest first; each is valid to an earlier instant than the one before.
    levels: Vec<Level>,
}

impl Retention {
    /// Of each specification, the start of its first window that may still be closed or restated.
    #[must_use]
    pub fn new<'a>(needs: impl IntoIterator<Item = (&'a WindowSpec, Timestamp)>) -> Retention {
        let mut needs: Vec<(&WindowSpec, Timestamp)> = needs.into_iter().collect();
        needs.sort_by_key(|(_, from)| std::cmp::Reverse(*from));
        let from = needs.last().map_or(Timestamp(i64::MIN), |(_, from)| *from);
        let mut levels: Vec<Level> = Vec::new();
        // Before the instant of one, only those after it want anything.
        for (place, (_, until)) in needs.iter().enumerate() {
            let Some(((first, _), others)) = needs.get(place + 1..).and_then(<[_]>::split_first) else { break };
            let period = others.iter().fold(first.slide.0, |period, (spec, _)| {
                greatest_common_divisor(greatest_common_divisor(period, spec.slide.0), spec.offset.0 - first.offset.0)
            });
            levels.push(Level { until: *until, period: Span(period), phase: Span(first.offset.0.rem_euclid(period)) });
        }
        Retention { from, levels }
    }

    /// How many slices of which length are kept, at most, when those of length `fine` are sealed up to `now`.
    #[must_use]
    pub fn stretches(&self, fine: Span, now: Timestamp) -> Vec<(Span, u64)> {
        let bounds = self.levels.iter().map(|level| (level.until, level.period));
        let mut stretches = Vec::new();
        let (mut end, mut length) = (now, fine);
        for (until, period) in bounds.chain([(self.from, Span(0))]) {
            // Those of a coarser cell that is not over yet are still there.
            let left_over = (period.0 / length.0.max(1) - 1).max(0);
            stretches.push((length, ((end - until).0 / length.0.max(1) + left_over).max(0).unsigned_abs()));
            (end, length) = (until, period);
        }
        stretches
    }

    /// Slices that end after this stay as they are.
    #[must_use]
    pub fn coarse_until(&self) -> Timestamp {
        self.levels.first().map_or(Timestamp(i64::MIN), |level| level.until)
    }

    /// The coarsest cell that the slice of an instant may be added up to, by its start and length.
    #[must_use]
    pub fn cell(&self, at: Timestamp) -> Option<(Timestamp, Span)> {
        self.levels.iter().rev().find_map(|level| {
            let start = at.align(level.period, level.phase);
            (start + level.period <= level.until).then_some((start, level.period))
        })
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(size: Span, slide: Span, offset: Span) -> WindowSpec {
        WindowSpec { name: "w".into(), size, slide, offset }
    }

    const MINUTE: i64 = Span::MINUTE.0;
    const HOUR: i64 = Span::HOUR.0;

    #[test]
    fn the_default_windows_leave_hours_behind() {
        let (hour, day) = (spec(Span::HOUR, Span(5 * MINUTE), Span(0)), spec(Span::DAY, Span::HOUR, Span(0)));
        let retention = Retention::new([(&hour, Timestamp(70 * HOUR + 5 * MINUTE)), (&day, Timestamp(30 * HOUR))]);
        assert_eq!(retention.from, Timestamp(30 * HOUR));
        assert_eq!(retention.cell(Timestamp(69 * HOUR + 59 * MINUTE)), Some((Timestamp(69 * HOUR), Span::HOUR)));
        assert_eq!(retention.cell(Timestamp(70 * HOUR)), None, "the hour is not over for the windows of an hour");
    }

    #[test]
    fn cells_lie_on_the_grid_of_those_that_are_left() {
        let minutes = spec(Span(10 * MINUTE), Span(MINUTE), Span(0));
        let week = spec(Span(7 * Span::DAY.0), Span(7 * Span::DAY.0), Span(4 * Span::DAY.0));
        let shifted = spec(Span(6 * HOUR), Span(2 * HOUR), Span(30 * MINUTE));
        let needs = [(&minutes, Timestamp(90 * HOUR)), (&shifted, Timestamp(80 * HOUR + 30 * MINUTE)), (&week, Timestamp(-72 * HOUR))];
        let retention = Retention::new(needs);
        assert_eq!(retention.from, Timestamp(-72 * HOUR));
        // 96 h and 30 min apart: their common grid is one of half hours.
        assert_eq!(retention.cell(Timestamp(85 * HOUR)), Some((Timestamp(85 * HOUR), Span(30 * MINUTE))));
        assert_eq!(retention.cell(Timestamp(0)), Some((Timestamp(0), Span(30 * MINUTE))), "the week is not over");
        let later = Retention::new([(&minutes, Timestamp(290 * HOUR)), (&shifted, Timestamp(280 * HOUR)), (&week, Timestamp(96 * HOUR))]);
        assert_eq!(later.cell(Timestamp(100 * HOUR)), Some((Timestamp(96 * HOUR), Span(7 * Span::DAY.0))));
    }

    #[test]
    fn what_has_never_closed_is_needed_from_the_beginning() {
        let (hour, day) = (spec(Span::HOUR, Span::HOUR, Span(0)), spec(Span::DAY, Span::DAY, Span(0)));
        let retention = Retention::new([(&hour, Timestamp(30 * HOUR)), (&day, Timestamp(i64::MIN))]);
        assert_eq!(retention.from, Timestamp(i64::MIN));
        assert_eq!(retention.cell(Timestamp(HOUR)), Some((Timestamp(0), Span::DAY)));
    }

    #[test]
    fn restatement_reaches_one_window_back_and_an_hour_at_least() {
        let longest = Span::DAY;
        assert_eq!(reach(&spec(Span::DAY, Span::HOUR, Span(0)), longest), Span::DAY);
        assert_eq!(reach(&spec(Span(10 * MINUTE), Span(MINUTE), Span(0)), longest), Span::HOUR);
        assert_eq!(reach(&spec(Span(25 * MINUTE), Span(25 * MINUTE), Span(0)), longest), Span(75 * MINUTE), "whole slides");
        assert_eq!(reach(&spec(Span(MINUTE), Span(MINUTE), Span(0)), Span(5 * MINUTE)), Span(5 * MINUTE));
    }
}
