//! Closed windows that wait for their labels, and when they are looked at again.
//!
//! Labels move a clock of their own. A window is looked at only at *ticks* of that clock, the multiples of its slide, and
//! restated only at the first tick at which a coverage that somebody waits for is reached, and at the first tick after
//! the horizon. So a million labels do not make a million results, and no result depends on how labels were batched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp, WindowRef};
use crate::window::WindowSpec;

use super::history::Place;

/// The coverage at which performance is restated where no rule asks for another.
pub const DEFAULT_COVERAGE: f64 = 0.8;

/// A closed window that may still get labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Prediction events in it.
    pub n: u64,
    /// Those in its last slide.
    pub added: u64,
    /// Late records that would have belonged to it.
    pub late: u64,
    /// The last revision that was given out.
    pub revision: u32,
    /// The state of its pairs that was last given out, as a number from the history.
    pub epoch: u64,
    /// Whether its coverage of the input was complete.
    pub complete: bool,
    /// The versions and segments with events in it; their panes may be gone when the labels come.
    pub places: Box<[Place]>,
}

/// The waiting windows of one window specification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// By start.
    pub tracks: BTreeMap<Timestamp, Track>,
    /// Whether labels have been applied since the last look: another window specification has other ticks.
    pub has_news: bool,
    /// For each coverage waited for, in thousandths: the start of the next window to be looked at by it.
    judged: BTreeMap<u32, Timestamp>,
}

/// Why a window is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// This coverage is reached.
    Coverage(f64),
    /// The horizon has passed without this coverage.
    TooLate(f64),
    /// The horizon has passed and nothing more will come.
    Final,
}

/// A coverage in thousandths: exact as a key.
fn thousandths(coverage: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rounded = (coverage.clamp(0.0, 1.0) * 1000.0).round() as u32;
    rounded
}

impl Waiting {
    /// The windows to be looked at when the label clock stands at `tick`, in order.
    ///
    /// `coverages` are those that rules wait for; `coverage` gives the present one of a window. With `end` there is no
    /// later tick.
    pub fn due(
        &mut self,
        spec: &WindowSpec,
        settings: &Settings<'_>,
        tick: Timestamp,
        end: bool,
        coverage: impl Fn(&WindowRef, &Track) -> f64,
    ) -> Vec<(WindowRef, Look)> {
        let mut due: Vec<(WindowRef, Look)> = Vec::new();
        for wanted in settings.coverages {
            let next = self.judged.entry(thousandths(*wanted)).or_insert(Timestamp(i64::MIN));
            for (start, track) in self.tracks.range(*next..) {
                let window = spec.at(*start);
                if window.end + settings.lateness > tick && !end {
                    break;
                }
                let passed = window.end + settings.horizon <= tick || end;
                if coverage(&window, track) >= *wanted {
                    due.push((window, Look::Coverage(*wanted)));
                } else if passed {
                    due.push((window, Look::TooLate(*wanted)));
                } else {
                    // A rule looks at windows in their order; the ones behind wait for this one.
                    break;
                }
                *next = Timestamp(start.0 + 1);
            }
        }
        let last: Vec<WindowRef> =
            self.tracks.keys().map(|start| spec.at(*start)).take_while(|window| window.end + settings.horizon <= tick || end).collect();
        due.extend(last.into_iter().map(|window| (window, Look::Final)));
        due.sort_by_key(|(left, _)| left.start);
        due
    }

    /// The next tick after `from` at which something can be due: the first one of a window, its last, or one for a label.
    #[must_use]
    pub fn next_tick(
        &self,
        spec: &WindowSpec,
        settings: &Settings<'_>,
        from: Timestamp,
        next_label: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let next = Timestamp(from.0.saturating_add(1));
        let horizon = self.tracks.keys().next().map(|oldest| spec.at(*oldest).end + settings.horizon);
        // Ticks, not instants: another specification's tick may lie between the two.
        let first = self.tracks.keys().map(|start| tick_at(spec, spec.at(*start).end + settings.lateness)).find(|tick| *tick > from);
        let news = self.has_news.then_some(next);
        let candidates = [horizon, first, next_label, news];
        candidates.into_iter().flatten().map(|instant| tick_at(spec, instant.max(next))).min()
    }
}

/// What the waiting depends on besides the windows.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// How long after its prediction a label may come.
    pub horizon: Span,
    /// Lateness of the model: no window is looked at before it could close.
    pub lateness: Span,
    /// Coverages that are waited for.
    pub coverages: &'a [f64],
}

/// The first tick at or after an instant: a multiple of the slide, shifted as the windows are.
#[must_use]
pub fn tick_at(spec: &WindowSpec, instant: Timestamp) -> Timestamp {
    let floor = instant.align(spec.slide, spec.offset);
    if floor == instant { floor } else { floor + spec.slide }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> WindowSpec {
        WindowSpec { name: "w".into(), size: Span(10), slide: Span(10), offset: Span(0) }
    }

    fn settings(coverages: &[f64]) -> Settings<'_> {
        Settings { horizon: Span(50), lateness: Span(2), coverages }
    }

    fn waiting(starts: &[i64]) -> Waiting {
        let track = Track { n: 10, added: 10, late: 0, revision: 0, epoch: 0, complete: true, places: Box::default() };
        Waiting {
            tracks: starts.iter().map(|start| (Timestamp(*start), track.clone())).collect(),
            has_news: false,
            judged: BTreeMap::new(),
        }
    }

    fn looks(waiting: &mut Waiting, tick: i64, covered: &[i64]) -> Vec<(i64, Look)> {
        let coverage = |window: &WindowRef, _: &Track| if covered.contains(&window.start.0) { 0.9 } else { 0.1 };
        let due = waiting.due(&spec(), &settings(&[0.8]), Timestamp(tick), false, coverage);
        due.into_iter().map(|(window, look)| (window.start.0, look)).collect()
    }

    #[test]
    fn windows_are_looked_at_once_and_in_their_order() {
        let mut waiting = waiting(&[0, 10, 20]);
        assert!(looks(&mut waiting, 10, &[0]).is_empty(), "before its lateness a window cannot have closed");
        assert_eq!(looks(&mut waiting, 20, &[0, 10]), [(0, Look::Coverage(0.8))]);
        // The second is not covered, so the third waits although it is.
        assert!(looks(&mut waiting, 40, &[0, 20]).is_empty());
        assert_eq!(looks(&mut waiting, 40, &[0, 10, 20]), [(10, Look::Coverage(0.8)), (20, Look::Coverage(0.8))]);
    }

    #[test]
    fn after_the_horizon_nothing_is_waited_for() {
        let mut waiting = waiting(&[0, 10]);
        assert_eq!(looks(&mut waiting, 60, &[]), [(0, Look::TooLate(0.8)), (0, Look::Final)]);
    }

    #[test]
    fn ticks_are_only_where_something_can_change() {
        let waiting = waiting(&[0, 10]);
        let next =
            |from, label: Option<i64>| waiting.next_tick(&spec(), &settings(&[0.8]), Timestamp(from), label.map(Timestamp)).unwrap().0;
        assert_eq!(next(5, None), 20, "the first tick at which the first window can have closed");
        assert_eq!(next(15, None), 20, "although the clock has passed the instant at which it could close");
        assert_eq!(next(20, None), 30, "the same of the second");
        assert_eq!(next(30, None), 60, "the horizon of the oldest");
        assert_eq!(next(30, Some(41)), 50, "the first tick at or after a label");
        let waiting = Waiting { has_news: true, ..waiting };
        let next = waiting.next_tick(&spec(), &settings(&[0.8]), Timestamp(31), None);
        assert_eq!(next, Some(Timestamp(40)), "the next tick after labels that were applied at one of another window");
    }
}
