//! Two samples over the ordered cells of a number, one cell after the other.
//!
//! `k` edges make `k + 1` cells: below the first edge, the bins `(edge, next edge]`, above the last edge. A bin one float
//! wide holds one value only, an atom. Knows nothing of what is measured over the cells.

use super::counts::{Samples, real};

/// One cell and what lies before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Lower and upper edge; none for the two outer cells.
    pub edges: Option<(f64, f64)>,
    /// Values of the reference in it.
    pub r: f64,
    /// Values of the current window in it.
    pub c: f64,
    /// Values of the reference before it.
    pub r_before: f64,
    /// Values of the current window before it.
    pub c_before: f64,
}

impl Cell {
    /// Whether all values in it are the same.
    #[inline]
    #[must_use]
    pub fn is_atom(&self) -> bool {
        self.edges.is_some_and(|(lower, upper)| lower.next_up() >= upper)
    }

    /// Its width; 0 for an atom and for the outer cells.
    #[inline]
    #[must_use]
    pub fn width(&self) -> f64 {
        self.edges.filter(|_| !self.is_atom()).map_or(0.0, |(lower, upper)| upper - lower)
    }
}

/// Two samples over the same edges, neither of them empty.
#[derive(Clone, Copy, Debug)]
pub struct Binned<'a> {
    edges: &'a [f64],
    samples: Samples<'a>,
}

impl<'a> Binned<'a> {
    /// The samples; `None` where one is empty, there is no edge, or lengths do not fit.
    #[must_use]
    pub fn new(edges: &'a [f64], reference: &'a [u64], current: &'a [u64]) -> Option<Binned<'a>> {
        let samples = Samples::new(reference, current)?;
        (!edges.is_empty() && reference.len() == edges.len() + 1).then_some(Binned { edges, samples })
    }

    /// Sizes of the reference and of the current window, at least 1 each.
    #[must_use]
    pub fn sizes(&self) -> (f64, f64) {
        (real(self.samples.n), real(self.samples.m))
    }

    /// The cells in ascending order, without those that are empty in both samples.
    pub fn filled(&self) -> impl Iterator<Item = Cell> + use<'a> {
        self.cells().filter(|cell| cell.r + cell.c > 0.0)
    }

    /// The cells in ascending order.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + use<'a> {
        let (mut r_sum, mut c_sum) = (0u64, 0u64);
        let lower = std::iter::once(None).chain(self.edges.iter().map(Some));
        let upper = self.edges.iter().map(Some).chain([None]);
        self.samples.cells().zip(lower.zip(upper)).map(move |((r, c), (lower, upper))| {
            let (r_before, c_before) = (real(r_sum), real(c_sum));
            r_sum += r;
            c_sum += c;
            let edges = lower.zip(upper).map(|(lower, upper)| (*lower, *upper));
            Cell { edges, r: real(r), c: real(c), r_before, c_before }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_know_their_edges_and_what_lies_before() {
        let edges = [0.0, 1f64.next_down(), 1.0];
        let binned = Binned::new(&edges, &[1, 2, 0, 4], &[0, 1, 0, 2]).unwrap();
        let cells: Vec<Cell> = binned.cells().collect();
        assert_eq!(cells.len(), 4);
        assert_eq!((cells[0].edges, cells[3].edges), (None, None));
        assert_eq!((cells[1].is_atom(), cells[2].is_atom()), (false, true));
        assert_eq!((cells[3].r, cells[3].c, cells[3].r_before, cells[3].c_before), (4.0, 2.0, 3.0, 1.0));
        assert_eq!((cells[1].width(), cells[2].width(), cells[3].width()), (1f64.next_down(), 0.0, 0.0));
        assert_eq!(binned.filled().count(), 3);
        assert_eq!(binned.sizes(), (7.0, 3.0));
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        assert!(Binned::new(&[0.0], &[1, 1, 1], &[1, 1, 1]).is_none());
        assert!(Binned::new(&[], &[1], &[1]).is_none());
        assert!(Binned::new(&[0.0], &[1, 1], &[0, 0]).is_none());
    }
}
