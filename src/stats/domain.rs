//! How well two samples can be told apart: a classifier is taught one half of the question and asked the other.
//!
//! Gradient boosted trees over columns of few groups, five folds, and the area under the ROC curve of the folds that were not
//! learnt from. 0.5 is chance. Everything is in a fixed order: the same rows give the same area. Source: Friedman (2001); as a measure
//! of drift, Lopez-Paz and Oquab (2017).

use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::finite;

/// Folds of the cross-validation.
const FOLDS: usize = 5;
/// Trees of one classifier, and how much of each is taken. More of them fit the noise of a thousand rows.
const TREES: usize = 40;
const RATE: f64 = 0.1;
/// Questions between the root and a leaf: three see how three columns depend on each other.
const DEPTH: usize = 3;
/// What is added to the curvature of a leaf, so that few rows say little.
const SHRINKAGE: f64 = 1.0;
/// Rows of a leaf at least.
const LEAF: u32 = 10;
/// Rows of each sample below which nothing can be learnt.
const LEAST: usize = 10 * FOLDS;

/// One column: how many groups it has, and whether their order means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups.
    pub count: u8,
    /// Whether a question may be "at most this group"; else it is "this group".
    pub is_ordered: bool,
}

/// A row of either sample.
struct Row<'a> {
    groups: &'a [u8],
    is_current: bool,
    fold: usize,
    score: f64,
}

/// The area under the ROC curve with which rows of two samples are told apart, over rows that were not learnt from. `None` for
/// samples of fewer than 50. Rows must come in an order that has nothing to do with them.
#[must_use]
pub fn area(columns: &[Groups], reference: &[Vec<u8>], current: &[Vec<u8>]) -> Option<f64> {
    if reference.len() < LEAST || current.len() < LEAST {
        return None;
    }
    let both = reference.iter().enumerate().map(|row| (row, false)).chain(current.iter().enumerate().map(|row| (row, true)));
    let mut rows: Vec<Row<'_>> =
        both.map(|((place, groups), is_current)| Row { groups, is_current, fold: place % FOLDS, score: 0.0 }).collect();
    let mut areas = 0.0;
    for fold in 0..FOLDS {
        boost(columns, &mut rows, fold);
        areas += under_curve(rows.iter().filter(|row| row.fold == fold).map(|row| (row.score, row.is_current)))?;
    }
    finite(areas / 5.0)
}

/// The probability of an area at least as large where the samples do not differ: that of the rank sum, one-sided.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn p_value(area: f64, reference: usize, current: usize) -> Option<f64> {
    let (n, m) = (reference as f64, current as f64);
    let deviation = ((n + m + 1.0) / (12.0 * n * m)).sqrt();
    finite(Normal::standard().sf((area - 0.5) / deviation))
}

/// Scores all rows by trees that were taught those outside of a fold.
#[allow(clippy::cast_precision_loss)]
fn boost(columns: &[Groups], rows: &mut [Row<'_>], fold: usize) {
    let taught: Vec<usize> = (0..).zip(rows.iter()).filter(|(_, row)| row.fold != fold).map(|(place, _)| place).collect();
    let all: Vec<usize> = (0..rows.len()).collect();
    let positives = rows.iter().filter(|row| row.fold != fold && row.is_current).count() as f64;
    let prior = (positives / (taught.len() as f64 - positives)).ln();
    rows.iter_mut().for_each(|row| row.score = prior);
    for _ in 0..TREES {
        let slopes: Vec<(f64, f64)> = rows
            .iter()
            .map(|row| {
                let p = 1.0 / (1.0 + (-row.score).exp());
                (f64::from(u8::from(row.is_current)) - p, p * (1.0 - p))
            })
            .collect();
        grow(columns, rows, &slopes, &taught, &all, DEPTH);
    }
}

/// Slope, curvature and number of some rows.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    slope: f64,
    curvature: f64,
    rows: u32,
}

impl Total {
    fn add(&mut self, (slope, curvature): (f64, f64)) {
        self.slope += slope;
        self.curvature += curvature;
        self.rows += 1;
    }

    fn less(self, other: Total) -> Total {
        Total { slope: self.slope - other.slope, curvature: self.curvature - other.curvature, rows: self.rows - other.rows }
    }

    fn gain(self) -> f64 {
        self.slope * self.slope / (self.curvature + SHRINKAGE)
    }
}

/// A question: a column, a group, and whether the groups before it are meant as well.
#[derive(Clone, Copy, Debug)]
struct Question {
    column: usize,
    group: u8,
    is_ordered: bool,
}

impl Question {
    fn holds(self, row: &Row<'_>) -> bool {
        let group = row.groups.get(self.column).copied().unwrap_or(0);
        if self.is_ordered { group <= self.group } else { group == self.group }
    }
}

/// Splits rows by the best question and goes on with both parts; at the end it moves their scores. `taught` decide, `all` move.
fn grow(columns: &[Groups], rows: &mut [Row<'_>], slopes: &[(f64, f64)], taught: &[usize], all: &[usize], depth: usize) {
    let mut whole = Total::default();
    taught.iter().filter_map(|place| slopes.get(*place)).for_each(|slope| whole.add(*slope));
    let question = if depth == 0 { None } else { best(columns, rows, slopes, taught, whole) };
    let Some(question) = question else {
        let step = RATE * whole.slope / (whole.curvature + SHRINKAGE);
        for place in all {
            if let Some(row) = rows.get_mut(*place) {
                row.score += step;
            }
        }
        return;
    };
    let split = |places: &[usize]| -> (Vec<usize>, Vec<usize>) {
        places.iter().partition(|place| rows.get(**place).is_some_and(|row| question.holds(row)))
    };
    let ((taught_yes, taught_no), (all_yes, all_no)) = (split(taught), split(all));
    grow(columns, rows, slopes, &taught_yes, &all_yes, depth - 1);
    grow(columns, rows, slopes, &taught_no, &all_no, depth - 1);
}

/// The question that gains most, of equal ones the first; none where no question gains anything.
fn best(columns: &[Groups], rows: &[Row<'_>], slopes: &[(f64, f64)], taught: &[usize], whole: Total) -> Option<Question> {
    /// Less is rounding.
    const LEAST_GAIN: f64 = 1e-9;
    let mut found: Option<(f64, Question)> = None;
    for (column, groups) in columns.iter().enumerate() {
        let mut totals = [Total::default(); 256];
        for place in taught {
            if let (Some(row), Some(slope)) = (rows.get(*place), slopes.get(*place))
                && let Some(total) = totals.get_mut(usize::from(row.groups.get(column).copied().unwrap_or(0)))
            {
                total.add(*slope);
            }
        }
        let mut before = Total::default();
        for (group, total) in (0..groups.count).zip(totals) {
            let yes = if groups.is_ordered {
                before = Total {
                    slope: before.slope + total.slope,
                    curvature: before.curvature + total.curvature,
                    rows: before.rows + total.rows,
                };
                before
            } else {
                total
            };
            let no = whole.less(yes);
            if yes.rows < LEAF || no.rows < LEAF {
                continue;
            }
            let gain = yes.gain() + no.gain() - whole.gain();
            if gain > found.map_or(LEAST_GAIN, |(most, _)| most) {
                found = Some((gain, Question { column, group, is_ordered: groups.is_ordered }));
            }
        }
    }
    found.map(|(_, question)| question)
}

/// The area under the ROC curve; ties count by half. `None` where one of the two is missing.
#[allow(clippy::cast_precision_loss)]
fn under_curve(scores: impl Iterator<Item = (f64, bool)>) -> Option<f64> {
    let mut scores: Vec<(f64, bool)> = scores.collect();
    scores.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (mut below, mut sum, mut positives) = (0.0, 0.0, 0.0);
    for tied in scores.chunk_by(|left, right| left.0 == right.0) {
        let up = tied.iter().filter(|(_, is_current)| *is_current).count() as f64;
        let down = tied.len() as f64 - up;
        sum += up * (below + down / 2.0);
        below += down;
        positives += up;
    }
    finite(sum / (below * positives))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    const COLUMNS: [Groups; 3] =
        [Groups { count: 32, is_ordered: true }, Groups { count: 32, is_ordered: true }, Groups { count: 6, is_ordered: false }];

    fn rows(count: usize, seed: u64, change: impl Fn(&mut Vec<u8>)) -> Vec<Vec<u8>> {
        let mut random = SplitMix64::new(seed);
        (0..count)
            .map(|_| {
                let mut row: Vec<u8> = COLUMNS.iter().map(|groups| (random.next_u64() % u64::from(groups.count)) as u8).collect();
                change(&mut row);
                row
            })
            .collect()
    }

    #[test]
    fn samples_that_are_alike_are_told_apart_by_chance() {
        let mut alarms = 0;
        for seed in 0..40 {
            let (reference, current) = (rows(200, seed, |_| ()), rows(150, seed + 1_000, |_| ()));
            let area = area(&COLUMNS, &reference, &current).unwrap();
            alarms += u32::from(p_value(area, 200, 150).unwrap() < 0.1);
        }
        assert!((1..=10).contains(&alarms), "{alarms} of 40 at 10 %");
    }

    #[test]
    fn a_shift_a_level_and_a_dependence_are_seen() {
        let reference = rows(400, 1, |_| ());
        let seen = |current: &[Vec<u8>]| area(&COLUMNS, &reference, current).unwrap();
        assert!(seen(&rows(400, 2, |row| row[0] = row[0].max(8))) > 0.58);
        assert!(seen(&rows(400, 3, |row| row[2] = row[2].min(3))) > 0.58);
        // Each column by itself is as it was.
        assert!(seen(&rows(400, 4, |row| row[1] = row[0])) > 0.7);
        assert_eq!(area(&COLUMNS, &reference, &rows(49, 5, |_| ())), None);
        assert!(seen(&rows(400, 6, |row| *row = vec![0, 0, 0])) > 0.98);
    }

    #[test]
    fn ties_count_by_half() {
        let scores = [(0.1, false), (0.5, true), (0.5, false), (0.9, true)];
        assert_eq!(under_curve(scores.into_iter()), Some(3.5 / 4.0));
        assert_eq!(under_curve([(0.1, true)].into_iter()), None);
    }
}
#[cfg(test)]
mod temporary {
    use super::*;
    use crate::stats::random::SplitMix64;
    #[test]
    fn temporary_null() {
        for (columns, n, m, runs) in [(3usize, 500usize, 200usize, 40u64), (3, 250, 250, 60), (10, 250, 250, 40)] {
            let groups: Vec<Groups> = (0..columns).map(|c| if c % 3 == 2 { Groups { count: 8, is_ordered: false } } else { Groups { count: 37, is_ordered: true } }).collect();
            let mut random = SplitMix64::new(77);
            let mut draw = |count: usize| -> Vec<Vec<u8>> { (0..count).map(|_| groups.iter().map(|g| (random.next_u64() % u64::from(g.count)) as u8).collect()).collect() };
            let z: Vec<f64> = (0..runs).map(|_| { let (l, r) = (draw(n), draw(m)); (area(&groups, &l, &r).unwrap() - 0.5) * (12.0 * (n * m) as f64 / (n + m + 1) as f64).sqrt() }).collect();
            let mean = z.iter().sum::<f64>() / runs as f64;
            let sd = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / runs as f64).sqrt();
            println!("{columns} columns {n} {m}: mean z {mean:.2}, sd {sd:.2}");
        }
    }
}
