//! The rows of a baseline by the hour of the day or of the week at which they came, for windows that are compared with the same
//! hours. All times are UTC.
//!
//! Only all rows are kept by hour, not those of segments: a hundred and sixty-eight panes for each of fifty segments would be
//! most of a baseline. Predictions with labels are not kept by hour either.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp, WindowRef};
use crate::window::{Pane, SparsePane};

/// Hours of a day.
const DAY: u16 = 24;
/// Hours of a week.
const WEEK: u16 = 168;
/// The epoch was a Thursday: so many hours after the Monday before it began.
const EPOCH: i64 = 3 * 24;

/// By which hours rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    /// 24 hours, 0 from midnight.
    HourOfDay,
    /// 168 hours, 0 from midnight before Monday.
    HourOfWeek,
}

impl Season {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Season::HourOfDay => "hour_of_day",
            Season::HourOfWeek => "hour_of_week",
        }
    }

    /// How many hours there are.
    #[must_use]
    pub fn hours(self) -> u16 {
        match self {
            Season::HourOfDay => DAY,
            Season::HourOfWeek => WEEK,
        }
    }

    /// The hour of an instant.
    #[must_use]
    pub fn hour(self, at: Timestamp) -> u16 {
        let hours = at.0.div_euclid(Span::HOUR.0) + if self == Season::HourOfWeek { EPOCH } else { 0 };
        u16::try_from(hours.rem_euclid(i64::from(self.hours()))).unwrap_or(0)
    }

    /// The hours that a window touches, each once.
    fn touched(self, window: &WindowRef) -> Vec<u16> {
        let first = window.start.align(Span::HOUR, Span(0));
        let count = ((window.end - first).0 + Span::HOUR.0 - 1).div_euclid(Span::HOUR.0).clamp(0, i64::from(self.hours()));
        let mut hours: Vec<u16> = (0..count).map(|number| self.hour(first + Span(number * Span::HOUR.0))).collect();
        hours.sort_unstable();
        hours.dedup();
        hours
    }
}

/// The rows of a baseline by hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Seasons {
    /// Which hours.
    pub season: Season,
    /// The rows of each hour that has any.
    pub hours: BTreeMap<u16, SparsePane>,
}

impl Seasons {
    /// The rows at the hours that a window touches, each hour once however often the window meets it. `None` where one of these
    /// hours has fewer than `least` rows, or the baseline does not tell apart what `season` does.
    #[must_use]
    pub fn reference(&self, season: Season, window: &WindowRef, least: u64) -> Option<Pane> {
        let mut sum = Pane::default();
        for hour in season.touched(window) {
            let mut rows = 0;
            // Hours of the day are sums over the days of the week.
            let same = match (season, self.season) {
                (Season::HourOfDay, Season::HourOfWeek) => (0..WEEK / DAY).map(|day| day * DAY + hour).collect(),
                (wanted, kept) if wanted == kept => vec![hour],
                _ => return None,
            };
            for pane in same.iter().filter_map(|hour| self.hours.get(hour)) {
                rows += pane.n();
                pane.add_to(&mut sum);
            }
            if rows < least.max(1) {
                return None;
            }
        }
        Some(sum)
    }

    /// Makes other panes of all of them.
    pub(super) fn map(&mut self, change: impl Fn(Pane) -> Pane) {
        self.hours.values_mut().for_each(|pane| *pane = SparsePane::of(&change(pane.dense())));
    }

    /// Whether windows can be compared by the hours of a season.
    #[must_use]
    pub fn can_give(&self, season: Season) -> bool {
        season <= self.season
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn window(start: &str, end: &str) -> WindowRef {
        WindowRef { name: "w".into(), start: at(start), end: at(end) }
    }

    fn seasons(season: Season) -> Seasons {
        let pane = |hour: u16| SparsePane::of(&Pane { n: 10 + u64::from(hour), cells: vec![u64::from(hour)], ..Pane::default() });
        Seasons { season, hours: (0..season.hours()).map(|hour| (hour, pane(hour))).collect() }
    }

    #[test]
    fn hours_are_those_of_the_calendar() {
        // 2026-11-23 is a Monday.
        assert_eq!(Season::HourOfWeek.hour(at("2026-11-23T00:00:00Z")), 0);
        assert_eq!(Season::HourOfWeek.hour(at("2026-11-22T23:59:59Z")), 167);
        assert_eq!(Season::HourOfDay.hour(at("2026-11-22T23:59:59Z")), 23);
        assert_eq!(Season::HourOfDay.hour(Timestamp(-1)), 23);
    }

    #[test]
    fn a_window_touches_each_hour_once() {
        let of = |start, end| Season::HourOfDay.touched(&window(start, end));
        assert_eq!(of("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"), [10]);
        assert_eq!(of("2026-11-22T10:05:00Z", "2026-11-22T11:05:00Z"), [10, 11]);
        assert_eq!(of("2026-11-22T22:30:00Z", "2026-11-23T00:30:00Z"), [0, 22, 23]);
        assert_eq!(of("2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z").len(), 24);
        assert_eq!(of("2026-11-20T00:30:00Z", "2026-11-21T00:30:00Z").len(), 24);
        assert_eq!(Season::HourOfWeek.touched(&window("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")), (144..168).collect::<Vec<u16>>());
    }

    #[test]
    fn the_reference_is_the_sum_of_its_hours() {
        let night = window("2026-11-22T01:00:00Z", "2026-11-22T03:00:00Z");
        let sum = |season: Season, kept: Season, least| seasons(kept).reference(season, &night, least).map(|pane| pane.n);
        assert_eq!(sum(Season::HourOfDay, Season::HourOfDay, 11), Some(11 + 12));
        assert_eq!(sum(Season::HourOfDay, Season::HourOfDay, 12), None, "one hour has too few");
        assert_eq!(sum(Season::HourOfWeek, Season::HourOfWeek, 1), Some(155 + 156));
        assert_eq!(sum(Season::HourOfWeek, Season::HourOfDay, 1), None);
        let of_all_days: u64 = (0..7).map(|day| 2 * 10 + 2 * 24 * day + 1 + 2).sum();
        assert_eq!(sum(Season::HourOfDay, Season::HourOfWeek, 1), Some(of_all_days));
        assert!(seasons(Season::HourOfWeek).can_give(Season::HourOfDay) && !seasons(Season::HourOfDay).can_give(Season::HourOfWeek));
    }
}
