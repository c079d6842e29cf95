//! The pane: a bounded, mergeable summary of the events of one slice of time.
//!
//! Counts are integers over the cells of a [`Layout`], sums are exact, so merging is associative and commutative with the
//! empty pane as identity, and the same events give the same bytes in any order and on any number of workers.

use serde::{Deserialize, Serialize};

use crate::baseline::layout::{Layout, NumericBins};
use crate::stats::exact::ExactSum;

use super::sample::Sample;

/// Exact sums of the finite values of one numeric column, in units of its baseline's standard deviation around its mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// Sum of `z = (x - center) / scale`.
    pub sum: ExactSum,
    /// Sum of `z * z`; terms beyond the range of `f64` are left out.
    pub squares: ExactSum,
    /// Sum of `z` over the cell below the reference minimum.
    pub below: ExactSum,
    /// Sum of `z` over the cell above the reference maximum.
    pub above: ExactSum,
}

/// One finite value as it enters the sums of its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    z: f64,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Below,
    Inside,
    Above,
}

impl Term {
    /// A value that fell into data cell `cell` of `bins`.
    #[inline]
    #[must_use]
    pub fn new(bins: &NumericBins, cell: usize, value: f64) -> Term {
        let place = match cell {
            0 => Place::Below,
            cell if cell == bins.edges.len() => Place::Above,
            _ => Place::Inside,
        };
        Term { z: (value - bins.center) / bins.scale, place }
    }
}

impl Moments {
    /// Counts one value.
    #[inline]
    pub fn add(&mut self, Term { z, place }: Term) {
        ExactSum::add_with_square(&mut self.sum, &mut self.squares, z);
        if place != Place::Inside {
            self.add_outside(z, place);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_outside(&mut self, z: f64, place: Place) {
        match place {
            Place::Inside => {}
            Place::Below => self.below.add(z),
            Place::Above => self.above.add(z),
        }
    }

    /// Adds the sums of another.
    pub fn merge(&mut self, other: &Moments) {
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
        self.below.merge(&other.below);
        self.above.merge(&other.above);
    }

    /// Takes the sums of another back that were added before.
    pub fn take_back(&mut self, other: &Moments) {
        self.sum.take_back(&other.sum);
        self.squares.take_back(&other.squares);
        self.below.take_back(&other.below);
        self.above.take_back(&other.above);
    }
}

/// Counts and sums of the events of one model, version, segment and slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane {
    /// Prediction events.
    pub n: u64,
    /// Counts by cell of the layout.
    pub cells: Vec<u64>,
    /// Sums by numeric column of the layout.
    pub moments: Vec<Moments>,
    /// Sum of the events' weights.
    pub weight: ExactSum,
    /// Sums over vectors of many dimensions, as the spaces of the layout have them. None for most models.
    pub sums: Vec<ExactSum>,
    /// Some of the events, where the layout has columns for it.
    pub sample: Sample,
}

impl Pane {
    /// An empty pane of a layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Pane {
        Pane {
            n: 0,
            cells: vec![0; layout.cells],
            moments: vec![Moments::default(); layout.moments],
            weight: ExactSum::default(),
            sums: vec![ExactSum::default(); layout.sums],
            sample: Sample::default(),
        }
    }

    /// Adds the counts and sums of another pane of the same layout.
    pub fn merge(&mut self, other: &Pane) {
        debug_assert_eq!(self.cells.len(), other.cells.len(), "panes of different layouts never merge");
        self.n += other.n;
        for (cell, count) in self.cells.iter_mut().zip(&other.cells) {
            *cell += count;
        }
        for (sums, theirs) in self.moments.iter_mut().zip(&other.moments) {
            sums.merge(theirs);
        }
        self.weight.merge(&other.weight);
        for (sum, theirs) in self.sums.iter_mut().zip(&other.sums) {
            sum.merge(theirs);
        }
        self.sample.merge(&other.sample);
    }

    /// Takes the counts and sums of another pane of the same layout back, which must be among what was added. The sample stays
    /// whole: what remains is added to what was taken, and the events of both are a set.
    pub fn take_back(&mut self, other: &Pane) {
        debug_assert_eq!(self.cells.len(), other.cells.len(), "panes of different layouts never merge");
        self.n = self.n.wrapping_sub(other.n);
        for (cell, count) in self.cells.iter_mut().zip(&other.cells) {
            *cell = cell.wrapping_sub(*count);
        }
        for (sums, theirs) in self.moments.iter_mut().zip(&other.moments) {
            sums.take_back(theirs);
        }
        self.weight.take_back(&other.weight);
        for (sum, theirs) in self.sums.iter_mut().zip(&other.sums) {
            sum.take_back(theirs);
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0 && self.cells.iter().all(|count| *count == 0)
    }

    /// Whether it is of this layout, so that it can be merged with its panes: what was read from elsewhere may be damaged.
    #[must_use]
    pub fn fits(&self, layout: &Layout) -> bool {
        let width = layout.sampled.as_ref().map_or(0, |sampled| sampled.len());
        let is_sampled = layout.sampled.is_some() || self.sample.rows().is_empty();
        self.cells.len() == layout.cells
            && self.moments.len() == layout.moments
            && self.sums.len() == layout.sums
            && is_sampled
            && self.sample.rows().iter().all(|row| row.cells.len() == width)
    }

    /// Counts of one column: its special cells, then its data cells.
    #[must_use]
    pub fn column(&self, layout: &Layout, column: usize) -> &[u64] {
        layout.columns.get(column).and_then(|column| self.cells.get(column.offset..column.offset + column.cells())).unwrap_or(&[])
    }
}
