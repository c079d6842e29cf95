//! Design effects measured on the reference itself: how much more contiguous blocks of it differ than independent rows would.
//!
//! The rows of a window belong to the same hours and the same callers. A statistic of a block then varies more from block to
//! block than sampling alone makes it vary; the ratio of the two variances is its design effect (Kish 1965; for the cells of a
//! table: the first-order correction of Rao and Scott 1981). It grows with the block where the process wanders, so it is
//! measured for blocks of several sizes and read off for the size of a window: see [`Inflation::at`].
//!
//! What an estimate has above 1 is raised by as much as chance may have made it too small, by the number of its blocks.
//! Without any dependence the estimates scatter about 1 with a relative standard error of about `sqrt(2 / (blocks x degrees of
//! freedom))`. They never count below 1, and never fall as blocks grow, so that chance errs on the quiet side.

use serde::{Deserialize, Serialize};

use super::counts::real;

/// Fewest blocks that an estimate is made of: with fewer even that of a mean is off by a third.
pub const LEAST_BLOCKS: usize = 16;
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
        // Each pool: sizes, mean, weight, most blocks.
        let mut pools: Vec<(Vec<f64>, f64, f64, f64)> = Vec::new();
        for (rows, estimate, blocks) in estimates {
            if !(rows >= 1.0 && estimate.is_finite() && estimate >= 0.0 && blocks > 0) {
                continue;
            }
            let blocks = real(blocks as u64);
            let mut pool = (vec![rows], estimate, blocks, blocks);
            while let Some(before) = pools.pop_if(|before| before.1 > pool.1) {
                let weight = before.2 + pool.2;
                let mean = (before.1 * before.2 + pool.1 * pool.2) / weight;
                pool = ([before.0, pool.0].concat(), mean, weight, before.3.max(pool.3));
            }
            pools.push(pool);
        }
        let effect = |mean: f64, blocks: f64| 1.0 + (mean - 1.0).max(0.0) * doubt(blocks);
        let points = pools.into_iter().flat_map(|(sizes, mean, _, most)| sizes.into_iter().map(move |rows| (rows, effect(mean, most))));
        Inflation { points: points.collect() }
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

/// By how much the excess of an estimate from so many blocks is raised, so that nine times in ten it is not too small: the degrees
/// of freedom over the tenth percentile of a chi-square variable (Wilson and Hilferty 1931).
fn doubt(blocks: f64) -> f64 {
    /// The tenth percentile of a normal variable, without its sign.
    const TENTH: f64 = 1.2816;
    let freedom = (blocks - 1.0).max(1.0);
    let spread = 2.0 / (9.0 * freedom);
    1.0 / (1.0 - spread - TENTH * spread.sqrt()).powi(3).max(0.01)
}

/// A quadratic statistic of blocks: how its mean and its spread compare with those of independent rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quadratic {
    /// The mean of the design effects of its directions.
    pub mean: f64,
    /// The mean of their squares over their mean, as far as the mean of independent rows is 1: where one direction has it
    /// all, as when all values rise together, it is far greater than the mean, and so is the tail of the statistic.
    pub tail: f64,
}

impl Quadratic {
    /// From the statistics of the blocks, the sum of the variances of the directions without dependence, and that of their
    /// squares. The variance of such a statistic is twice the sum of the squares.
    fn new(statistics: &[f64], sum: f64, squares: f64) -> Option<Quadratic> {
        let count = real(statistics.len() as u64);
        if count < 2.0 || sum <= 0.0 || squares <= 0.0 {
            return None;
        }
        let mean = statistics.iter().sum::<f64>() / count;
        // Blocks are part of what they are compared with.
        let own = (count - 1.0) / count;
        let variance = statistics.iter().map(|statistic| (statistic - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let tail = if mean > 0.0 { variance / (2.0 * mean) / (squares / sum) } else { 0.0 };
        let mean = mean / (sum * own);
        Some(Quadratic { mean, tail: mean.max(tail / own) })
    }
}

/// Of the shares of cells: Pearson's statistic of each block against all. Cells that expect less than 5 in an average block
/// become one. `None` without two cells or two blocks.
#[must_use]
pub fn of_cells(blocks: &[&[u64]]) -> Option<Quadratic> {
    let totals = totals(blocks)?;
    let is_rare = |total: u64| real(total) / real(blocks.len() as u64) < super::evidence::MINIMUM_EXPECTED;
    let fold = |counts: &[u64]| {
        let (mut kept, mut rare) = (Vec::new(), 0);
        for (count, total) in counts.iter().zip(&totals) {
            if is_rare(*total) {
                rare += count;
            } else {
                kept.push(*count);
            }
        }
        kept.push(rare);
        kept
    };
    let mut folded = fold(&totals);
    let has_rare = folded.last().is_some_and(|rare| *rare > 0);
    folded.truncate(folded.len() - usize::from(!has_rare));
    let n: u64 = folded.iter().sum();
    let statistic = |block: &&[u64]| {
        let rows: u64 = block.iter().sum();
        let share = real(rows) / real(n);
        let cells = folded.iter().zip(fold(block));
        (rows > 0).then(|| cells.map(|(total, count)| (real(count) - real(*total) * share).powi(2) / (real(*total) * share)).sum::<f64>())
    };
    let statistics: Vec<f64> = blocks.iter().filter_map(statistic).collect();
    let directions = real((folded.len() as u64).checked_sub(1)?);
    Quadratic::new(&statistics, directions, directions)
}

/// Of distribution functions: the squared differences between that of a block and that of all, added up over the cells.
/// Unlike [`of_cells`] it sees that all of a block lies higher.
#[must_use]
pub fn of_order(blocks: &[&[u64]]) -> Option<Quadratic> {
    let totals = totals(blocks)?;
    let n = real(totals.iter().sum());
    let levels = |counts: &[u64], n: f64| {
        let mut at = 0;
        let cumulate = counts.iter().map(|count| {
            at += count;
            real(at) / n
        });
        cumulate.collect::<Vec<f64>>()
    };
    let all = levels(&totals, n);
    // The covariance of two levels of a distribution function is that of the lower times one less the higher.
    let covariance = |one: f64, other: f64| one.min(other) * (1.0 - one.max(other));
    let sum: f64 = all.iter().map(|level| covariance(*level, *level)).sum();
    let squares: f64 = all.iter().flat_map(|one| all.iter().map(move |other| covariance(*one, *other).powi(2))).sum();
    let statistic = |block: &&[u64]| {
        let rows = real(block.iter().sum());
        (rows > 0.0).then(|| rows * levels(block, rows).iter().zip(&all).map(|(own, level)| (own - level).powi(2)).sum::<f64>())
    };
    let statistics: Vec<f64> = blocks.iter().filter_map(statistic).collect();
    Quadratic::new(&statistics, sum, squares)
}

fn totals(blocks: &[&[u64]]) -> Option<Vec<u64>> {
    let width = blocks.iter().map(|block| block.len()).max()?;
    Some((0..width).map(|cell| blocks.iter().filter_map(|block| block.get(cell)).sum()).collect())
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
        let all: Vec<[f64; 5]> = (0..40)
            .map(|seed| {
                let table = table(seed, 64, 200, 0.0);
                let means: Vec<(u64, u64)> = table.iter().map(|cells| (cells[0], cells.iter().sum())).collect();
                let (cells, order) = (of_cells(&slices(&table)).unwrap(), of_order(&slices(&table)).unwrap());
                [cells.mean, cells.tail, order.mean, order.tail, of_rate(&means).unwrap()]
            })
            .collect();
        for kind in 0..5 {
            let mean = all.iter().map(|estimates| estimates[kind]).sum::<f64>() / 40.0;
            // A tail is no less than the mean of the same blocks.
            let most = if kind % 2 == 1 { 1.2 } else { 1.08 };
            assert!((0.92..most).contains(&mean), "{kind}: {mean}");
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
        let found = of_order(&slices(&table)).unwrap();
        assert!((found.mean / order - 1.0).abs() < 0.05);
        let cells = of_cells(&slices(&table)).unwrap();
        // Blocks that lie either here or there are less scattered than a normal variable.
        assert!(cells.mean > 2.0 && cells.tail >= cells.mean, "{cells:?}");
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
        let estimate = of_cells(&slices(&blocks)).unwrap().mean;
        assert!(estimate < 1.1, "{estimate}");
    }

    #[test]
    fn estimates_are_made_monotone_and_read_off_between() {
        let inflation = Inflation::new([(100.0, 3.0, 64), (200.0, 1.0, 64), (400.0, 4.0, 32), (800.0, f64::NAN, 16)]);
        // The tenth percentile of chi-square with 63 degrees of freedom is 49.055, with 31 it is 21.434.
        let (low, high) = (1.0 + 63.0 / 49.055, 1.0 + 3.0 * 31.0 / 21.434);
        for (point, expected) in inflation.points().iter().zip([(100.0, low), (200.0, low), (400.0, high)]) {
            assert!((point.0 - expected.0).abs() < 1e-9 && (point.1 / expected.1 - 1.0).abs() < 1e-3, "{point:?} {expected:?}");
        }
        assert_eq!((inflation.at(0), inflation.at(1)), (1.0, 1.0));
        assert!((inflation.at(50) - (1.0 + (low - 1.0) * 49.0 / 99.0)).abs() < 2e-3);
        let slope = ((high / low).ln() / 2f64.ln()).min(1.0);
        assert!((inflation.at(283) / (low * (283.0_f64 / 200.0).powf(slope)) - 1.0).abs() < 1e-3);
        assert!((inflation.at(1600) / (high * 4_f64.powf(slope)) - 1.0).abs() < 1e-3, "it goes on as it grew");
        assert!((inflation.of_reference() / high - 1.0).abs() < 1e-3);
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
