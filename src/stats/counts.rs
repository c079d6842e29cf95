//! Totals and shares of cell counts, and two samples over the same cells.
//!
//! Knows nothing of what a cell is.

/// A count as a number. Above 2^53 it is rounded to the nearest `f64`.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// The sum of the counts; `None` beyond `u64`.
#[must_use]
pub fn total(counts: &[u64]) -> Option<u64> {
    counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count))
}

/// The value, if it is a finite number.
#[inline]
#[must_use]
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Two samples counted over the same cells, neither of them empty.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// Counts of the reference by cell.
    pub reference: &'a [u64],
    /// Counts of the current window by cell.
    pub current: &'a [u64],
    /// Size of the reference, at least 1.
    pub n: u64,
    /// Size of the current window, at least 1.
    pub m: u64,
}

impl<'a> Samples<'a> {
    /// The two samples; `None` where the slices differ in length, a sample is empty, or a total is beyond `u64`.
    #[must_use]
    pub fn new(reference: &'a [u64], current: &'a [u64]) -> Option<Samples<'a>> {
        if reference.len() != current.len() {
            return None;
        }
        let (n, m) = (total(reference)?, total(current)?);
        (n > 0 && m > 0).then_some(Samples { reference, current, n, m })
    }

    /// Counts of the cells, reference first.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        self.reference.iter().copied().zip(self.current.iter().copied())
    }

    /// Shares of the cells, reference first. Equal shares are equal numbers, whatever the sizes of the samples.
    pub fn shares(&self) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        let (n, m) = (real(self.n), real(self.m));
        self.cells().map(move |(r, c)| (real(r) / n, real(c) / m))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_unequal_and_overflowing_samples_are_refused() {
        assert!(Samples::new(&[1, 2], &[0, 0]).is_none());
        assert!(Samples::new(&[], &[]).is_none());
        assert!(Samples::new(&[1, 2], &[1, 2, 3]).is_none());
        assert!(Samples::new(&[u64::MAX, 1], &[1, 1]).is_none());
    }

    #[test]
    fn equal_shares_of_different_sizes_are_equal_numbers() {
        let samples = Samples::new(&[1, 2, 4], &[3, 6, 12]).unwrap();
        assert!(samples.shares().all(|(r, c)| r.to_bits() == c.to_bits()));
    }
}
