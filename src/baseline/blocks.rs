//! The reference by contiguous blocks of time, and what their spread says: see [`crate::stats::inflation`].
//!
//! Counts are kept over coarse bins and levels only, so that a thousand columns fit into tens of megabytes.

use serde::{Deserialize, Serialize};

use crate::stats::evidence::DesignEffects;
use crate::stats::inflation::{Inflation, LEAST_BLOCKS, LEAST_ROWS, of_cells, of_means, of_order, of_rate};

use super::cell::{Number, Placed};
use super::layout::{Column, ColumnKind, INFINITE, MISSING, NAN, NULL, SPECIAL, WRONG_TYPE};
use super::time::Blocks;

/// A share of the degrees of freedom is no less than this: one of a hundred levels.
const LEAST_FREEDOM: f64 = 0.01;

/// Design effects of one column by the kind of statistic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inflations {
    /// Of the shares of coarse bins or levels, on average.
    pub cells: Inflation,
    /// Of the same, as far as their tail is concerned.
    pub cells_tail: Inflation,
    /// Of the distribution function, on average.
    pub order: Inflation,
    /// Of the same, as far as its tail is concerned.
    pub order_tail: Inflation,
    /// Of the mean.
    pub mean: Inflation,
    /// Of the rate of nulls.
    pub null: Inflation,
    /// Of the rate of invalid values.
    pub invalid: Inflation,
}

/// Kinds of statistics that have design effects of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Over the shares of coarse bins or levels: [`Inflations::freedom`] goes with it.
    Cells,
    /// Over the distribution function, with a tail like that of its greatest difference.
    Order,
    /// Over squares of the distribution function.
    Squares,
    /// Of the mean.
    Mean,
    /// The rate of nulls.
    Null,
    /// The rate of invalid values.
    Invalid,
}

impl Inflations {
    /// Those of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &Inflation {
        match kind {
            Kind::Cells => &self.cells_tail,
            Kind::Order => &self.order,
            Kind::Squares => &self.order_tail,
            Kind::Mean => &self.mean,
            Kind::Null => &self.null,
            Kind::Invalid => &self.invalid,
        }
    }

    /// The share of the degrees of freedom of the cells that counts in a window of `n` rows.
    #[must_use]
    pub fn freedom(&self, n: u64) -> f64 {
        (self.cells.at(n) / self.cells_tail.at(n)).clamp(LEAST_FREEDOM, 1.0)
    }

    /// The design effects of a window of `n` rows against the reference.
    #[must_use]
    pub fn design(&self, kind: Kind, n: u64) -> DesignEffects {
        let inflation = self.of(kind);
        DesignEffects { reference: inflation.of_reference(), current: inflation.at(n) }
    }
}

/// What a block holds of a column beside its cells.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    null: u64,
    invalid: u64,
    /// Sums of z and of its square, `z = (x - center) / scale`.
    z: f64,
    z2: f64,
}

/// One column, by blocks.
#[derive(Clone, Debug)]
struct Track {
    /// The coarse cell of each data cell.
    coarse: Vec<usize>,
    width: usize,
    /// Blocks x width.
    counts: Vec<u64>,
    extras: Vec<Extra>,
    center: f64,
    scale: f64,
}

/// All columns by blocks.
#[derive(Clone, Debug)]
pub(super) struct BlockTally {
    blocks: Blocks,
    rows: Vec<u64>,
    tracks: Vec<Track>,
}

impl BlockTally {
    /// `None` where there are too few blocks to tell anything.
    pub(super) fn new<'a>(blocks: Blocks, columns: impl Iterator<Item = &'a Column>) -> Option<BlockTally> {
        let count = blocks.len();
        (count >= LEAST_BLOCKS).then(|| BlockTally {
            rows: vec![0; count],
            tracks: columns.map(|column| Track::new(column, count)).collect(),
            blocks,
        })
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Counts the rows of a block.
    pub(super) fn count_row(&mut self, block: usize) {
        if let Some(rows) = self.rows.get_mut(block) {
            *rows += 1;
        }
    }

    /// Counts a value of a column, by its number.
    pub(super) fn count(&mut self, block: usize, column: usize, placed: Placed) {
        if let Some(track) = self.tracks.get_mut(column) {
            track.count(block, placed);
        }
    }

    /// The design effects of every column.
    pub(super) fn finish(&self) -> Vec<Inflations> {
        let filled: Vec<usize> = (0..).zip(&self.rows).filter(|(_, rows)| **rows > 0).map(|(block, _)| block).collect();
        let rows: u64 = self.rows.iter().sum();
        let levels = levels(filled.len(), rows);
        self.tracks.iter().map(|track| track.inflations(&levels, &filled, rows)).collect()
    }
}

/// Ways to put so many neighbouring blocks together, finest first: how many make one.
fn levels(blocks: usize, rows: u64) -> Vec<usize> {
    std::iter::successors(Some(1), |together| Some(together * 2))
        .take_while(|together| blocks / together >= LEAST_BLOCKS)
        .filter(|together| rows / (blocks / together) as u64 >= LEAST_ROWS)
        .collect()
}

impl Track {
    fn new(column: &Column, blocks: usize) -> Track {
        let (coarse, center, scale) = match &column.kind {
            ColumnKind::Numeric(bins) => (bins.coarse_of_cells(), bins.center, bins.scale),
            ColumnKind::Categorical(_) | ColumnKind::Embedding(_) => ((0..column.cells() - SPECIAL).collect(), 0.0, 1.0),
        };
        let width = coarse.iter().max().map_or(0, |last| last + 1);
        Track { coarse, width, counts: vec![0; width * blocks], extras: vec![Extra::default(); blocks], center, scale }
    }

    fn count(&mut self, block: usize, placed: Placed) {
        let Some(extra) = self.extras.get_mut(block) else { return };
        match placed.cell {
            NULL | MISSING => extra.null += 1,
            NAN | INFINITE | WRONG_TYPE => extra.invalid += 1,
            cell => {
                let coarse = self.coarse.get(cell - SPECIAL);
                if let Some(count) = coarse.and_then(|coarse| self.counts.get_mut(block * self.width + coarse)) {
                    *count += 1;
                }
                if let Some(Number { value, .. }) = placed.number {
                    let z = (value - self.center) / self.scale;
                    extra.z += z;
                    extra.z2 += z * z;
                }
            }
        }
    }

    fn inflations(&self, levels: &[usize], filled: &[usize], rows: u64) -> Inflations {
        let mut all = [const { Vec::new() }; 7];
        for together in levels {
            let merged = self.merged(*together, filled);
            let cells: Vec<&[u64]> = merged.iter().map(|(cells, _)| cells.as_slice()).collect();
            let valid = |cells: &[u64]| cells.iter().sum::<u64>();
            let events = |cells: &[u64], extra: &Extra| valid(cells) + extra.null + extra.invalid;
            let means: Vec<_> = merged.iter().map(|(cells, extra)| (valid(cells), extra.z, extra.z2)).collect();
            let nulls: Vec<_> = merged.iter().map(|(cells, extra)| (extra.null, events(cells, extra))).collect();
            let invalid: Vec<_> = merged.iter().map(|(cells, extra)| (extra.invalid, events(cells, extra))).collect();
            let (cells, order) = (of_cells(&cells), of_order(&cells));
            let estimates = [
                cells.map(|cells| cells.mean),
                cells.map(|cells| cells.tail),
                order.map(|order| order.mean),
                order.map(|order| order.tail),
                of_means(&means),
                of_rate(&nulls),
                of_rate(&invalid),
            ];
            #[allow(clippy::cast_precision_loss)]
            let size = rows as f64 / merged.len() as f64;
            for (points, estimate) in all.iter_mut().zip(estimates) {
                points.extend(estimate.map(|estimate| (size, estimate, merged.len())));
            }
        }
        let [cells, cells_tail, order, order_tail, mean, null, invalid] = all.map(Inflation::new);
        Inflations { cells, cells_tail, order, order_tail, mean, null, invalid }
    }

    /// Every so many of the filled blocks as one; what is left at the end joins the last.
    fn merged(&self, together: usize, filled: &[usize]) -> Vec<(Vec<u64>, Extra)> {
        let count = (filled.len() / together).max(1);
        let mut merged = vec![(vec![0; self.width], Extra::default()); count];
        for (place, block) in filled.iter().enumerate() {
            let target = merged.get_mut((place / together).min(count - 1));
            let (Some((cells, sum)), Some(extra)) = (target, self.extras.get(*block)) else { continue };
            for (cell, count) in cells.iter_mut().zip(self.counts.iter().skip(block * self.width)) {
                *cell += count;
            }
            sum.null += extra.null;
            sum.invalid += extra.invalid;
            sum.z += extra.z;
            sum.z2 += extra.z2;
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::layout::{Layout, Levels};
    use crate::baseline::rows::ColumnData;
    use crate::baseline::time::{TimeSurvey, time_of};
    use crate::event::{Scalar, Subject};
    use crate::stats::random::SplitMix64;

    /// A level that changes every `run` rows, one row a second, with nulls in a fifth of the first half.
    fn inflations(rows: i64, run: i64, seconds: i64) -> Inflations {
        let kind = ColumnKind::Categorical(Levels::new(vec!["a".into(), "b".into()], vec![]));
        let layout = Layout::new(vec![(Subject::Feature("f".into()), kind)]);
        let times = ColumnData::Numbers((0..rows).map(|row| Some((1_600_000_000 + row / seconds * seconds) as f64)).collect());
        let mut survey = TimeSurvey::default();
        survey.add(&times, usize::try_from(rows).unwrap());
        let mut tally = BlockTally::new(survey.finish().0, layout.columns.iter()).unwrap();
        for row in 0..rows {
            let at = time_of(&times, usize::try_from(row).unwrap()).unwrap();
            let block = tally.blocks().of(at);
            // Runs of one row take turns; longer ones are drawn.
            let drawn = SplitMix64::new(u64::try_from(row / run).unwrap()).next_u64();
            let level = if (if run == 1 { row % 2 } else { (drawn % 2) as i64 }) == 0 { "a" } else { "b" };
            let scalar = if row < rows / 2 && row % 10 < 2 { Scalar::Null } else { Scalar::Text(level) };
            tally.count_row(block);
            tally.count(block, 0, crate::baseline::place(&layout.columns[0].kind, &scalar, &mut String::new()));
        }
        tally.finish().pop().unwrap()
    }

    #[test]
    fn runs_of_a_level_count_as_one_row() {
        // Runs of 40 rows, each as long as a block: what n rows say is said by n / 40 of them. In the first half 8 of the 40 are nulls.
        let found = inflations(10_240, 40, 1);
        let effect = found.cells.at(40);
        assert!((32.0..=41.0).contains(&effect), "{:?}", found.cells);
        assert!(found.null.at(5120) > 100.0, "one half has nulls: {:?}", found.null);
        assert_eq!((found.invalid, found.mean), (Inflation::default(), Inflation::default()));
    }

    #[test]
    fn rows_that_take_turns_have_no_effect() {
        let found = inflations(10_240, 1, 1);
        assert!(found.cells.points().len() == 5 && found.cells.points().iter().all(|(_, effect)| *effect == 1.0), "{:?}", found.cells);
    }

    #[test]
    fn times_that_repeat_leave_no_empty_blocks() {
        let found = inflations(1000, 1, 50);
        let sizes: Vec<f64> = found.cells.points().iter().map(|(rows, _)| *rows).collect();
        assert_eq!(sizes, [50.0]);
    }
}
