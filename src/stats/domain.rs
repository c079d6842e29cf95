//! How well two samples can be told apart.
//!
//! Gradient boosted trees over columns of few groups, taught one half of both samples and asked the other, both ways, and the area
//! under the ROC curve of the answers. 0.5 is chance. Everything is in a fixed order: the same rows give the same area. Source:
//! Friedman (2001); as a measure of drift, Lopez-Paz and Oquab (2017).

use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::finite;

/// Trees of one classifier, and how much of each is taken. More of them fit the noise of some hundred rows.
const TREES: usize = 50;
const RATE: f64 = 0.2;
/// Questions between the root and a leaf: they see how so many columns depend on each other.
const DEPTH: usize = 4;
/// What is added to the curvature of a leaf, so that few rows say little.
const SHRINKAGE: f64 = 1.0;
/// Rows of a leaf at least.
const LEAF: u32 = 10;
/// Rows of each sample below which nothing can be learnt.
const LEAST: usize = 50;

/// One column: how many groups it has, and whether their order means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups.
    pub count: u8,
    /// Whether a question may be "at most this group"; else it is "this group".
    pub is_ordered: bool,
}

/// What a classifier has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// The area under the ROC curve over rows that were not learnt from, the mean of both ways.
    pub area: f64,
    /// The probability of an area at least as large where the samples do not differ.
    pub p_value: Option<f64>,
}

/// The rows of both samples, column by column.
struct Table<'a> {
    columns: &'a [Groups],
    cells: Vec<Vec<u8>>,
    is_current: Vec<bool>,
    /// Place of the row in its sample.
    places: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(columns: &'a [Groups], reference: &[Vec<u8>], current: &[Vec<u8>]) -> Table<'a> {
        let rows = || reference.iter().chain(current);
        let cells = (0..columns.len()).map(|column| rows().map(|row| row.get(column).copied().unwrap_or(0)).collect()).collect();
        let is_current = (0..reference.len() + current.len()).map(|row| row >= reference.len()).collect();
        Table { columns, cells, is_current, places: (0..reference.len()).chain(0..current.len()).collect() }
    }

    fn rows(&self) -> usize {
        self.is_current.len()
    }

    fn holds(&self, question: Question, row: usize) -> bool {
        let group = self.cells.get(question.column).and_then(|cells| cells.get(row)).copied().unwrap_or(0);
        if question.is_ordered { group <= question.group } else { group == question.group }
    }

    /// Teaches trees the rows of some places and asks the others; their scores with what they are.
    fn ask(&self, is_taught: impl Fn(usize) -> bool) -> Vec<(f64, bool)> {
        let (taught, asked): (Vec<usize>, Vec<usize>) =
            (0..self.rows()).partition(|row| self.places.get(*row).is_some_and(|place| is_taught(*place)));
        let scores = self.boost(&taught);
        asked.iter().filter_map(|row| Some((*scores.get(*row)?, *self.is_current.get(*row)?))).collect()
    }
}

/// How well rows of two samples are told apart. `None` for samples of fewer than 50. Rows must come in an order that has nothing to
/// do with them.
///
/// The evidence is that of the first of the two classifiers: whatever it has learnt, the ranks of the rows it is asked are as good
/// as drawn by chance where nothing differs. The second mostly agrees with it, for their chance successes have the same cause, so that
/// a mean of folds must not be taken for as sure as its rows are many.
#[must_use]
pub fn tell(columns: &[Groups], reference: &[Vec<u8>], current: &[Vec<u8>]) -> Option<Told> {
    if reference.len() < LEAST || current.len() < LEAST {
        return None;
    }
    let table = Table::new(columns, reference, current);
    let [first, second] = [0, 1].map(|half| Ranks::of(table.ask(|place| place % 2 == half)));
    let (first, second) = (first?, second?);
    Some(Told { area: f64::midpoint(first.area, second.area), p_value: first.p_value() })
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

    fn and(self, other: Total) -> Total {
        Total { slope: self.slope + other.slope, curvature: self.curvature + other.curvature, rows: self.rows + other.rows }
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

impl Table<'_> {
    /// The scores of all rows by trees that were taught some of them.
    #[allow(clippy::cast_precision_loss)]
    fn boost(&self, taught: &[usize]) -> Vec<f64> {
        let positives = taught.iter().filter(|row| self.is_current.get(**row) == Some(&true)).count() as f64;
        let prior = (positives / (taught.len() as f64 - positives)).ln();
        let mut scores = vec![prior; self.rows()];
        let all: Vec<usize> = (0..self.rows()).collect();
        for _ in 0..TREES {
            let slope = |(score, is_current): (&f64, &bool)| {
                let p = 1.0 / (1.0 + (-score).exp());
                (f64::from(u8::from(*is_current)) - p, p * (1.0 - p))
            };
            let slopes: Vec<(f64, f64)> = scores.iter().zip(&self.is_current).map(slope).collect();
            self.grow(&mut scores, &slopes, taught, &all, DEPTH);
        }
        scores
    }

    /// Splits rows by the best question and goes on with both parts; at the end it moves their scores. `taught` decide, `all` move.
    fn grow(&self, scores: &mut [f64], slopes: &[(f64, f64)], taught: &[usize], all: &[usize], depth: usize) {
        let mut whole = Total::default();
        taught.iter().filter_map(|row| slopes.get(*row)).for_each(|slope| whole.add(*slope));
        let question = if depth == 0 { None } else { self.best(slopes, taught, whole) };
        let Some(question) = question else {
            let step = RATE * whole.slope / (whole.curvature + SHRINKAGE);
            for row in all {
                if let Some(score) = scores.get_mut(*row) {
                    *score += step;
                }
            }
            return;
        };
        let split = |rows: &[usize]| -> (Vec<usize>, Vec<usize>) { rows.iter().partition(|row| self.holds(question, **row)) };
        let ((taught_yes, taught_no), (all_yes, all_no)) = (split(taught), split(all));
        self.grow(scores, slopes, &taught_yes, &all_yes, depth - 1);
        self.grow(scores, slopes, &taught_no, &all_no, depth - 1);
    }

    /// The question that gains most, of equal ones the first; none where no question gains anything.
    fn best(&self, slopes: &[(f64, f64)], taught: &[usize], whole: Total) -> Option<Question> {
        /// Less is rounding.
        const LEAST_GAIN: f64 = 1e-9;
        let mut found: Option<(f64, Question)> = None;
        for (column, (groups, cells)) in self.columns.iter().zip(&self.cells).enumerate() {
            let mut totals = [Total::default(); 256];
            for row in taught {
                if let (Some(group), Some(slope)) = (cells.get(*row), slopes.get(*row))
                    && let Some(total) = totals.get_mut(usize::from(*group))
                {
                    total.add(*slope);
                }
            }
            let mut before = Total::default();
            for (group, total) in (0..groups.count).zip(totals) {
                before = before.and(total);
                let yes = if groups.is_ordered { before } else { total };
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
}

/// The rank sum of scores, as the area under the ROC curve; ties count by half.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ranks {
    area: f64,
    /// The standard deviation of the area where ranks are drawn by chance.
    deviation: f64,
}

impl Ranks {
    /// `None` where one of the two kinds is missing.
    #[allow(clippy::cast_precision_loss)]
    fn of(mut scores: Vec<(f64, bool)>) -> Option<Ranks> {
        scores.sort_by(|left, right| left.0.total_cmp(&right.0));
        let (mut below, mut sum, mut positives, mut ties) = (0.0, 0.0, 0.0, 0.0);
        for tied in scores.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq()) {
            let all = tied.len() as f64;
            let up = tied.iter().filter(|(_, is_current)| *is_current).count() as f64;
            sum += up * (below + (all - up) / 2.0);
            below += all - up;
            positives += up;
            ties += all * all * all - all;
        }
        let (pairs, all) = (below * positives, below + positives);
        let variance = (all + 1.0 - ties / (all * (all - 1.0))) / (12.0 * pairs);
        Some(Ranks { area: finite(sum / pairs)?, deviation: finite(variance.max(0.0).sqrt())? })
    }

    /// One-sided; 1 where all scores are tied. Source: Mann and Whitney (1947).
    fn p_value(self) -> Option<f64> {
        if self.deviation > 0.0 { finite(Normal::standard().sf((self.area - 0.5) / self.deviation)) } else { Some(1.0) }
    }
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
            alarms += u32::from(tell(&COLUMNS, &reference, &current).unwrap().p_value.unwrap() < 0.1);
        }
        assert!((1..=10).contains(&alarms), "{alarms} of 40 at 10 %");
    }

    #[test]
    fn a_shift_a_level_and_a_dependence_are_seen() {
        let reference = rows(400, 1, |_| ());
        let seen = |current: &[Vec<u8>]| tell(&COLUMNS, &reference, current).unwrap().area;
        assert!(seen(&rows(400, 2, |row| row[0] = row[0].max(8))) > 0.58);
        assert!(seen(&rows(400, 3, |row| row[2] = row[2].min(3))) > 0.58);
        // Each column by itself is as it was.
        assert!(seen(&rows(400, 4, |row| row[1] = row[0])) > 0.7);
        assert_eq!(tell(&COLUMNS, &reference, &rows(49, 5, |_| ())), None);
        assert!(seen(&rows(400, 6, |row| *row = vec![0, 0, 0])) > 0.98);
    }

    #[test]
    fn ranks_have_the_evidence_of_mann_and_whitney() {
        // By hand: U = 17.5 of 20, variance 4 * 5 / 12 * (10 - (6 + 24) / 72) = 15.97..., z = 1.8766...
        let current = [0.5, 0.9, 0.9, 1.2].map(|score| (score, true));
        let reference = [0.1, 0.5, 0.3, 0.9, 0.2].map(|score| (score, false));
        let ranks = Ranks::of(current.into_iter().chain(reference).collect()).unwrap();
        assert_eq!(ranks.area, 17.5 / 20.0);
        assert!((ranks.p_value().unwrap() - 0.030_284_430_101_328_73).abs() < 1e-9, "{ranks:?}");
        assert_eq!(Ranks::of(vec![(0.1, true)]), None);
        assert_eq!(Ranks::of(vec![(0.1, true), (0.1, false), (0.1, false)]).unwrap().p_value(), Some(1.0));
    }
}
