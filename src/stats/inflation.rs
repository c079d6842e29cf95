//! Design effects measured on the reference itself: how much more contiguous blocks of it differ than independent rows would.
//!
//! The rows of a window belong to the same hours and the same callers. A statistic of a block then varies more from block to
//! block than sampling alone makes it vary; the ratio of the two variances is its design effect (Kish 1965; for the cells of a
//! table: the first-order correction of Rao and Scott 1981). It grows with the block where the process wanders, so it is
//! measured for blocks of several sizes and read off for the size of a window: see [`Inflation::at`].
//!
//! Without any dependence the estimates scatter about 1 with a relative standard error of about `sqrt(2 / (blocks x degrees of
//! freedom))`. They never count below 1, and never fall as blocks grow, so that chance errs on the quiet side.

use serde::{Deserialize, Serialize};

use super::counts::real;

/// Fewest blocks that an estimate is made of: with fewer its standard error is over a half.
pub const LEAST_BLOCKS: usize = 8;
/// Fewest rows of a block on average: smaller ones say little of windows, and there are larger ones.
pub const LEAST_ROWS: u64 = 25;

/// Design effects of one kind of statistic by the number of rows.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Inflation {
    /// Rows of a block on average and its design effect, both ascending.
    points: Vec<(f64, f64)>,
}

impl Inflation {
    /// From raw estimates: rows of a block on average, estimate, number of blocks. Sizes must ascend; what is not a positive
    /// number is left out.
    ///
    /// Made monotone by pooling neighbours (isotonic regression, each weighing as many as it has blocks), then at least 1.
    #[must_use]
    pub fn new(estimates: impl IntoIterator<Item = (f64, f64, usize)>) -> Inflation {
        // Each pool: sizes, mean, weight.
        let mut pools: Vec<(Vec<f64>, f64, f64)> = Vec::new();
        for (rows, estimate, blocks) in estimates {
            if !(rows >= 1.0 && estimate.is_finite() && estimate >= 0.0 && blocks > 0) {
                continue;
            }
            let mut pool = (vec![rows], estimate, real(blocks as u64));
            while let Some(before) = pools.pop_if(|before| before.1 > pool.1) {
                let weight = before.2 + pool.2;
                pool = ([before.0, pool.0].concat(), (before.1 * before.2 + pool.1 * pool.2) / weight, weight);
            }
            pools.push(pool);
        }
        let points = pools.into_iter().flat_map(|(sizes, mean, _)| sizes.into_iter().map(move |rows| (rows, mean.max(1.0)))).collect();
        Inflation { points }
    }

    /// From points that were written down; `None` where they are no ascending sizes with design effects that do not fall.
    #[must_use]
    pub fn from_points(points: Vec<(f64, f64)>) -> Option<Inflation> {
        let fits = |(rows, effect): &(f64, f64)| rows.is_finite() && *rows >= 1.0 && effect.is_finite() && *effect >= 1.0;
        let ascends = points.iter().zip(points.iter().skip(1)).all(|(left, right)| left.0 < right.0 && left.1 <= right.1);
        (points.iter().all(fits) && ascends).then_some(Inflation { points })
    }

    /// Rows of a block and its design effect.
    #[must_use]
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The design effect of a window of `n` rows; 1 where nothing was measured.
    ///
    /// Below the smallest block it grows from 1 in proportion to the rows, as one correlation within the block would make it.
    /// Between blocks it is linear in the logarithms. Above the largest it goes on as it last grew, at most in proportion.
    #[must_use]
    pub fn at(&self, n: u64) -> f64 {
        let n = real(n).max(1.0);
        let after = self.points.partition_point(|(rows, _)| *rows <= n);
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return 1.0 };
        let Some(before) = after.checked_sub(1).and_then(|before| self.points.get(before)) else {
            return if first.0 > 1.0 { 1.0 + (first.1 - 1.0) * (n - 1.0) / (first.0 - 1.0) } else { first.1 };
        };
        let slope = |left: &(f64, f64), right: &(f64, f64)| (right.1 / left.1).ln() / (right.0 / left.0).ln();
        let slope = match self.points.get(after) {
            Some(next) => slope(before, next),
            None => self.points.len().checked_sub(2).and_then(|index| self.points.get(index)).map_or(0.0, |left| slope(left, last)),
        };
        before.1 * (n / before.0).powf(slope.clamp(0.0, 1.0))
    }

    /// The design effect of the reference as a whole: it is as many independent blocks as there are of the largest kind.
    #[must_use]
    pub fn of_reference(&self) -> f64 {
        self.points.last().map_or(1.0, |(_, effect)| *effect)
    }
}

/// Of the shares of cells: Pearson's statistic of the table blocks x cells over its degrees of freedom. Cells that expect
/// less than 5 in an average block become one. `None` without two cells or two blocks.
#[must_use]
pub fn of_cells(blocks: &[&[u64]]) -> Option<f64> {
    let width = blocks.iter().map(|block| block.len()).max()?;
    let totals: Vec<u64> = (0..width).map(|cell| blocks.iter().filter_map(|block| block.get(cell)).sum()).collect();
    let is_rare = |total: u64| real(total) / real(blocks.len() as u64) < super::evidence::MINIMUM_EXPECTED;
    let fold = |counts: &[u64]| {
        let (mut kept, mut rare) = (Vec::new(), 0);
        for (count, total) in counts.iter().zip(&totals) {
            if is_rare(*total) { rare += count } else { kept.push(*count) }
        }
        kept.push(rare);
        kept
    };
    let mut folded = fold(&totals);
    let has_rare = folded.last().is_some_and(|rare| *rare > 0);
    folded.truncate(folded.len() - usize::from(!has_rare));
    let n: u64 = folded.iter().sum();
    let (mut statistic, mut filled) = (0.0, 0_u64);
    for block in blocks {
        let rows: u64 = block.iter().sum();
        if rows == 0 {
            continue;
        }
        filled += 1;
        let share = real(rows) / real(n);
        statistic += folded
            .iter()
            .zip(fold(block))
            .map(|(total, count)| (real(count) - real(*total) * share).powi(2) / (real(*total) * share))
            .sum::<f64>();
    }
    let freedom = filled.checked_sub(1)? * (folded.len() as u64).checked_sub(1)?;
    // Each expectation is (k - 1) (b - 1) n / (n - 1).
    (freedom > 0 && n > 1).then(|| statistic / real(freedom) * (real(n) - 1.0) / real(n))
}

/// Of distribution functions: the squared differences between those of the blocks and that of all, over what independent rows
/// would make them, added up over the cells. Unlike [`of_cells`] it sees that all of a block lies higher.
#[must_use]
pub fn of_order(blocks: &[&[u64]]) -> Option<f64> {
    let width = blocks.iter().map(|block| block.len()).max()?;
    let totals: Vec<u64> = (0..width).map(|cell| blocks.iter().filter_map(|block| block.get(cell)).sum()).collect();
    let n = real(totals.iter().sum());
    let mut at = 0;
    let levels: Vec<f64> = totals
        .iter()
        .map(|total| {
            at += total;
            real(at) / n
        })
        .collect();
    let expected: f64 = levels.iter().map(|level| level * (1.0 - level)).sum();
    let (mut sum, mut filled) = (0.0, 0_u64);
    for block in blocks {
        let rows: u64 = block.iter().sum();
        if rows == 0 {
            continue;
        }
        filled += 1;
        let mut at = 0;
        for (count, level) in block.iter().zip(&levels) {
            at += count;
            sum += real(rows) * (real(at) / real(rows) - level).powi(2);
        }
    }
    (filled > 1 && expected > 0.0).then(|| sum / (real(filled - 1) * expected))
}

/// Of means: the variance of the blocks' means times their rows, over the variance of a row. Each block: rows, sum of the
/// values, sum of their squares; values about their own mean and in their own spread lose the least.
#[must_use]
pub fn of_means(blocks: &[(u64, f64, f64)]) -> Option<f64> {
    let (n, sum, squares) = blocks.iter().fold((0, 0.0, 0.0), |all, (rows, sum, squares)| (all.0 + rows, all.1 + sum, all.2 + squares));
    let mean = sum / real(n);
    let variance = squares / real(n) - mean * mean;
    let filled = blocks.iter().filter(|(rows, ..)| *rows > 0);
    let spread: f64 = filled.clone().map(|(rows, sum, _)| real(*rows) * (sum / real(*rows) - mean).powi(2)).sum();
    let freedom = (filled.count() as u64).checked_sub(1).filter(|freedom| *freedom > 0)?;
    // A spread that is only rounding is none.
    (variance > 1e-12 * squares / real(n)).then(|| spread / (real(freedom) * variance))
}

/// Of a rate: each block is hits and events.
#[must_use]
pub fn of_rate(blocks: &[(u64, u64)]) -> Option<f64> {
    let blocks: Vec<(u64, f64, f64)> = blocks.iter().map(|(hits, events)| (*events, real(*hits), real(*hits))).collect();
    of_means(&blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    /// `blocks` blocks of `rows` rows over four cells; in each block the shares are `wander` about a quarter.
    fn table(seed: u64, blocks: usize, rows: u64, wander: f64) -> Vec<Vec<u64>> {
        let mut random = SplitMix64::new(seed);
        let unit = |random: &mut SplitMix64| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        (0..blocks)
            .map(|_| {
                let shift = if unit(&mut random) < 0.5 { wander } else { -wander };
                let edges = [0.25 + shift, 0.5 + shift, 0.75 + shift, 1.0];
                let mut cells = vec![0; 4];
                for _ in 0..rows {
                    let value = unit(&mut random);
                    cells[edges.iter().position(|edge| value < *edge).unwrap()] += 1;
                }
                cells
            })
            .collect()
    }

    fn slices(table: &[Vec<u64>]) -> Vec<&[u64]> {
        table.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn independent_rows_have_no_design_effect() {
        let all: Vec<[f64; 3]> = (0..40)
            .map(|seed| {
                let table = table(seed, 64, 200, 0.0);
                let means: Vec<(u64, u64)> = table.iter().map(|cells| (cells[0], cells.iter().sum())).collect();
                [of_cells(&slices(&table)).unwrap(), of_order(&slices(&table)).unwrap(), of_rate(&means).unwrap()]
            })
            .collect();
        for kind in 0..3 {
            let mean = all.iter().map(|estimates| estimates[kind]).sum::<f64>() / 40.0;
            assert!((mean - 1.0).abs() < 0.08, "{kind}: {mean}");
        }
    }

    #[test]
    fn blocks_that_wander_have_the_effect_that_their_variance_makes() {
        // The share below the first edge is 0.25 +- 0.05: its variance is p q / n + 0.05^2.
        let (rows, wander) = (400, 0.05);
        let table = table(1, 4000, rows, wander);
        let rates: Vec<(u64, u64)> = table.iter().map(|cells| (cells[0], rows)).collect();
        let wanted = 1.0 + wander * wander * (rows - 1) as f64 / (0.25 * 0.75);
        assert!((of_rate(&rates).unwrap() / wanted - 1.0).abs() < 0.05);
        // All inner edges move together: the sum over three of them, and over their p q.
        let order = 1.0 + 3.0 * wander * wander * (rows - 1) as f64 / (0.25 * 0.75 * 2.0 + 0.25);
        assert!((of_order(&slices(&table)).unwrap() / order - 1.0).abs() < 0.05);
        assert!(of_cells(&slices(&table)).unwrap() > 2.0);
    }

    #[test]
    fn nothing_to_compare_has_no_estimate() {
        assert_eq!(of_cells(&[]), None);
        assert_eq!(of_cells(&[&[5, 5]]), None);
        assert_eq!(of_cells(&[&[5], &[5]]), None);
        assert_eq!(of_order(&[&[5, 0], &[5, 0]]), None);
        assert_eq!(of_means(&[(3, 3.0, 3.0), (3, 3.0, 3.0)]), None);
        assert_eq!(of_rate(&[(0, 10), (0, 10)]), None);
        assert_eq!(of_cells(&[&[0, 0], &[10, 10]]), None, "one block is filled");
    }

    #[test]
    fn rare_cells_are_one() {
        // A level that comes in one block of eight: by itself it would be the whole statistic.
        let mut blocks = vec![vec![100, 100, 0]; 8];
        blocks[3][2] = 1;
        let estimate = of_cells(&slices(&blocks)).unwrap();
        assert!(estimate < 1.1, "{estimate}");
    }

    #[test]
    fn estimates_are_made_monotone_and_read_off_between() {
        let inflation = Inflation::new([(100.0, 3.0, 64), (200.0, 1.0, 64), (400.0, 4.0, 32), (800.0, f64::NAN, 16)]);
        assert_eq!(inflation.points(), [(100.0, 2.0), (200.0, 2.0), (400.0, 4.0)]);
        assert_eq!((inflation.at(0), inflation.at(1), inflation.at(100), inflation.at(400)), (1.0, 1.0, 2.0, 4.0));
        assert!((inflation.at(50) - (1.0 + 49.0 / 99.0)).abs() < 1e-12);
        assert!((inflation.at(283) - 2.83).abs() < 1e-9);
        assert!((inflation.at(1600) - 16.0).abs() < 1e-9, "it goes on as it grew");
        assert_eq!(inflation.of_reference(), 4.0);
        assert_eq!(Inflation::new([(50.0, 0.5, 8)]).at(1000), 1.0);
        assert_eq!((Inflation::default().at(7), Inflation::default().of_reference()), (1.0, 1.0));
    }

    #[test]
    fn points_that_contradict_themselves_are_refused() {
        assert!(Inflation::from_points(vec![(10.0, 1.0), (20.0, 1.5)]).is_some());
        for points in [vec![(10.0, 0.5)], vec![(10.0, 2.0), (20.0, 1.5)], vec![(20.0, 1.0), (20.0, 1.0)], vec![(f64::NAN, 1.0)]] {
            assert!(Inflation::from_points(points).is_none());
        }
    }
}
