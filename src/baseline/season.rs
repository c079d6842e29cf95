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

use super::build::BuildError;
use super::codec::{Checked, ensure, read_moments, read_sum, sums_document};
use super::document::{HourDocument, SeasonsDocument, SparseCountsDocument};
use super::layout::Layout;
use super::rows::ColumnData;
use super::time::time_of;

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

    pub(super) fn document(&self, layout: &Layout) -> SeasonsDocument {
        let hours = self.hours.iter().map(|(hour, pane)| {
            let pane = pane.dense();
            let columns = layout.columns.iter().map(|column| {
                let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
                let counted = cells.iter().enumerate().filter(|(_, count)| **count > 0).map(|(cell, count)| (cell, *count));
                let sums = column.moments.and_then(|place| pane.moments.get(place)).map(sums_document);
                SparseCountsDocument { cells: counted.collect(), sums }
            });
            HourDocument { hour: *hour, rows: pane.n, weight: pane.weight.to_text(), columns: columns.collect() }
        });
        SeasonsDocument { by: self.season, hours: hours.collect() }
    }

    pub(super) fn read(document: SeasonsDocument, layout: &Layout) -> Checked<Seasons> {
        let mut seasons = Seasons { season: document.by, hours: BTreeMap::new() };
        for (index, of) in document.hours.into_iter().enumerate() {
            let field = format!("seasons.hours[{index}]");
            ensure(of.hour < seasons.season.hours(), &format!("{field}.hour"), || {
                format!("{} is no {}", of.hour, seasons.season.as_str())
            })?;
            let (found, wanted) = (of.columns.len(), layout.columns.len());
            ensure(found == wanted, &format!("{field}.columns"), || format!("{found} columns, not {wanted}"))?;
            let mut pane = Pane::new(layout);
            pane.n = of.rows;
            pane.weight = read_sum(Some(&of.weight), &format!("{field}.weight"))?;
            for (place, (counts, column)) in of.columns.into_iter().zip(&layout.columns).enumerate() {
                let field = format!("{field}.columns[{place}]");
                let mut sum = Some(0u64);
                for (cell, count) in counts.cells {
                    ensure(cell < column.cells(), &format!("{field}.cells"), || format!("there is no cell {cell}"))?;
                    if let Some(slot) = pane.cells.get_mut(column.offset + cell) {
                        sum = sum.and_then(|sum| sum.checked_add(count)).filter(|_| *slot == 0);
                        *slot = count;
                    }
                }
                ensure(sum == Some(of.rows), &format!("{field}.cells"), || format!("do not sum to {} rows, each cell once", of.rows))?;
                ensure(counts.sums.is_some() == column.moments.is_some(), &format!("{field}.sums"), || {
                    "are for numeric columns, and needed there".to_owned()
                })?;
                if let (Some(sums), Some(place)) = (counts.sums, column.moments.and_then(|index| pane.moments.get_mut(index))) {
                    *place = read_moments(&sums, &field)?;
                }
            }
            let before = seasons.hours.insert(of.hour, SparsePane::of(&pane));
            ensure(before.is_none(), &format!("{field}.hour"), || format!("{} is there twice", of.hour))?;
        }
        Ok(seasons)
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

/// Counts rows by hour while a baseline is built.
#[derive(Debug)]
pub(super) struct HourTally {
    season: Season,
    panes: BTreeMap<u16, Pane>,
}

impl HourTally {
    pub(super) fn new(season: Season) -> HourTally {
        HourTally { season, panes: BTreeMap::new() }
    }

    /// By row: its hour, where it has a time. Counts the rows themselves.
    pub(super) fn rows(&mut self, layout: &Layout, times: Option<&ColumnData>, rows: usize) -> Vec<Option<u16>> {
        let Some(times) = times else { return Vec::new() };
        let of_row = |row| {
            let hour = self.season.hour(time_of(times, row)?);
            let pane = self.panes.entry(hour).or_insert_with(|| Pane::new(layout));
            pane.n += 1;
            pane.weight.add(1.0);
            Some(hour)
        };
        (0..rows).map(of_row).collect()
    }

    /// The pane that a row counts in.
    pub(super) fn pane(&mut self, hours: &[Option<u16>], row: usize) -> Option<&mut Pane> {
        self.panes.get_mut(&hours.get(row).copied().flatten()?)
    }

    pub(super) fn finish(self) -> Result<Seasons, BuildError> {
        if self.panes.is_empty() {
            return Err(BuildError::NoTimes(self.season));
        }
        let hours = self.panes.into_iter().map(|(hour, pane)| (hour, SparsePane::of(&pane)));
        Ok(Seasons { season: self.season, hours: hours.collect() })
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
