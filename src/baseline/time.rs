//! The times of reference rows: read from whatever a table has, and cut into contiguous blocks.

use crate::event::{Scalar, Timestamp};
use crate::sketch::QuantileSketch;

use super::rows::{ColumnData, RawType, raw_number};

/// Blocks that the reference is cut into: enough for several sizes of blocks, few enough to be counted for a thousand columns.
pub const BLOCKS: u32 = 256;
/// Numbers of at least this are milliseconds; below they are seconds (as milliseconds: before March 1973).
const MILLISECONDS: f64 = 1e11;
/// Numbers of at least this are microseconds.
const MICROSECONDS: f64 = 1e14;
/// Numbers of at least this are nanoseconds.
const NANOSECONDS: f64 = 1e17;

/// The time of a row: RFC 3339, or date and time without a zone, which are taken for UTC, or a date; or a number of seconds,
/// milliseconds, microseconds or nanoseconds since 1970, told apart by its size.
#[must_use]
pub fn time_of(data: &ColumnData, row: usize) -> Option<Timestamp> {
    match data.scalar(row, RawType::Text) {
        Scalar::Num { value, .. } => of_number(value),
        Scalar::Text(text) => match raw_number(text) {
            Some(number) => of_number(number),
            None => of_text(text.trim()),
        },
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation)] // Kept within the range of times by the test before.
fn of_number(number: f64) -> Option<Timestamp> {
    let milliseconds = match number.abs() {
        size if size >= NANOSECONDS => number / 1e6,
        size if size >= MICROSECONDS => number / 1e3,
        size if size >= MILLISECONDS => number,
        size if size.is_finite() => number * 1e3,
        _ => return None,
    };
    (milliseconds.abs() < MICROSECONDS).then(|| Timestamp(milliseconds.floor() as i64))
}

fn of_text(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text).or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(Timestamp(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    })
}

/// The first look at the times.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeSurvey {
    seen: QuantileSketch,
    without: u64,
}

impl TimeSurvey {
    #[allow(clippy::cast_precision_loss)] // Milliseconds of thousands of years are exact.
    pub(super) fn add(&mut self, data: &ColumnData, rows: usize) {
        for row in 0..rows {
            match time_of(data, row) {
                Some(time) => self.seen.add(time.0 as f64),
                None => self.without += 1,
            }
        }
    }

    /// Cuts the rows into [`BLOCKS`] of about as many rows each, fewer where times repeat. Rows without a time are told.
    pub(super) fn finish(self) -> (Blocks, u64) {
        let distribution = self.seen.finish();
        let mut cuts: Vec<f64> = (1..BLOCKS).filter_map(|block| distribution.quantile(block, BLOCKS)).collect();
        cuts.dedup();
        let last = distribution.range().map_or(f64::NEG_INFINITY, |(_, last)| last);
        cuts.retain(|cut| *cut < last);
        (Blocks { cuts }, self.without)
    }
}

/// Contiguous blocks of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blocks {
    /// Each block ends with its cut, inclusive; the last has none.
    cuts: Vec<f64>,
}

impl Blocks {
    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.cuts.len() + 1
    }

    /// The block of a time.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn of(&self, time: Timestamp) -> usize {
        let time = time.0 as f64;
        self.cuts.partition_point(|cut| *cut < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::rows::Texts;

    fn column(cells: &[&str]) -> ColumnData {
        let mut texts = Texts::default();
        cells.iter().for_each(|cell| texts.push(Some(cell)));
        ColumnData::Raw(texts)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let wanted = Some(Timestamp(1_546_304_400_000));
        let cells = [
            "2019-01-01T01:00:00Z",
            "2019-01-01T02:00:00+01:00",
            "2019-01-01 01:00:00",
            "2019-01-01 01:00",
            "1546304400",
            "1546304400000",
            "1546304400000000",
            "1.5463044e18",
            " 1546304400.0 ",
        ];
        let data = column(&cells);
        for (row, cell) in cells.iter().enumerate() {
            assert_eq!(time_of(&data, row), wanted, "{cell}");
        }
        let bad = column(&["yesterday", "NaN", "1e300", ""]);
        assert!((0..4).all(|row| time_of(&bad, row).is_none()));
        assert_eq!(time_of(&column(&["2019-01-01"]), 0), Some(Timestamp(1_546_300_800_000)));
        assert_eq!(time_of(&ColumnData::Numbers(vec![Some(1_546_304_400.5)]), 0), Some(Timestamp(1_546_304_400_500)));
    }

    #[test]
    fn blocks_have_about_as_many_rows_each_in_whatever_order_they_come() {
        let mut survey = TimeSurvey::default();
        let times: Vec<Option<f64>> = (0..10_240).map(|row| Some(f64::from((row * 7919) % 10_240) * 1e3 + 1.5e12)).collect();
        survey.add(&ColumnData::Numbers(times.clone()), times.len());
        survey.add(&ColumnData::Numbers(vec![None; 3]), 3);
        let (blocks, without) = survey.finish();
        assert_eq!((blocks.len(), without), (256, 3));
        let mut rows = vec![0; 256];
        let data = ColumnData::Numbers(times);
        for row in 0..10_240 {
            rows[blocks.of(time_of(&data, row).unwrap())] += 1;
        }
        assert!(rows.iter().all(|rows| (39..=41).contains(rows)), "{rows:?}");
    }

    #[test]
    fn times_that_repeat_make_fewer_blocks() {
        let mut survey = TimeSurvey::default();
        survey.add(&ColumnData::Numbers((0..100).map(|row| Some(1.5e12 + f64::from(row / 10))).collect()), 100);
        let (blocks, _) = survey.finish();
        let filled: std::collections::BTreeSet<usize> = (0..10).map(|time| blocks.of(Timestamp(1_500_000_000_000 + time))).collect();
        assert_eq!(filled.len(), 10);
        assert_eq!(TimeSurvey::default().finish().0.len(), 1);
    }
}
