//! How many different values there are, from counts over hashed cells.
//!
//! A value is hashed to one of [`ROWS`] rows and, by the trailing zeros of the rest, to one of [`RANKS`] ranks, each half as likely as
//! the one before. What is kept is how many values fell into each cell, so that summaries are added up, and taken back again, as all
//! counts of a pane are; which cells are not empty says how many different values there were. Knows nothing of what the
//! values are.
//!
//! Source: the bitmap of Flajolet and Martin (1985), Probabilistic counting algorithms for data base applications, with counts in
//! place of bits, and its maximum likelihood as estimate.

use xxhash_rust::xxh3::xxh3_64;

/// Rows: the standard error falls with the root of them.
pub const ROWS: usize = 128;
/// Ranks: beyond [`ROWS`] times 2 to this power the cells are full.
pub const RANKS: usize = 20;
/// Cells of one summary.
pub const CELLS: usize = ROWS * RANKS;
/// Standard error of [`estimate`] relative to many values, measured in the tests; hundreds are told apart better.
pub const STANDARD_ERROR: f64 = 0.065;

/// More values than fill every cell but one: 2^20 of each row, some times over.
const MOST: f64 = 1e10;
/// Halvings of the interval of the logarithm of the estimate: to 1e-10 of itself.
const HALVINGS: u32 = 40;

/// The cell of a number. Negative zero is zero.
#[inline]
#[must_use]
pub fn cell_of_number(value: f64) -> usize {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    cell(xxh3_64(&bits.to_le_bytes()))
}

/// The cell of a text.
#[inline]
#[must_use]
pub fn cell_of_text(text: &str) -> usize {
    cell(xxh3_64(text.as_bytes()))
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // Below the number of rows.
fn cell(hash: u64) -> usize {
    let row = (hash % ROWS as u64) as usize;
    let rank = ((hash / ROWS as u64).trailing_zeros() as usize).min(RANKS - 1);
    rank * ROWS + row
}

/// How many different values were counted over [`CELLS`] cells, rounded to a whole number; `None` where these are not so many, or full.
#[must_use]
#[allow(clippy::cast_precision_loss)] // Rows and ranks are few.
pub fn estimate(counts: &[u64]) -> Option<f64> {
    if counts.len() != CELLS {
        return None;
    }
    let filled: Vec<usize> = counts.chunks(ROWS).map(|rank| rank.iter().filter(|count| **count > 0).count()).collect();
    let of_cells: usize = filled.iter().sum();
    if of_cells == 0 {
        return Some(0.0);
    }
    if of_cells == CELLS {
        return None;
    }
    let rows = ROWS as f64;
    // The derivative of the log likelihood, where each cell of a rank is empty with probability exp(-values x share / rows).
    let slope = |values: f64| -> f64 {
        let mut share = 1.0;
        let of_rank = |(rank, filled): (usize, &usize)| {
            // The last rank holds all that is beyond it.
            share *= if rank + 1 < RANKS { 0.5 } else { 1.0 };
            let filled = *filled as f64;
            let seen = if filled > 0.0 { filled / (values * share / rows).exp_m1() } else { 0.0 };
            share * (seen - (rows - filled))
        };
        filled.iter().enumerate().map(of_rank).sum()
    };
    // It falls.
    let (mut low, mut high) = (0.5f64.ln(), MOST.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle.exp()) > 0.0 { low = middle } else { high = middle }
    }
    Some(f64::midpoint(low, high).exp().round())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: impl Iterator<Item = f64>) -> Vec<u64> {
        let mut counts = vec![0; CELLS];
        values.for_each(|value| counts[cell_of_number(value)] += 1);
        counts
    }

    #[test]
    fn few_values_are_told_apart() {
        for values in [0u32, 1, 2, 5, 10] {
            let counts = counted((0..values).chain(0..values).map(|value| f64::from(value) * 1.7));
            let found = estimate(&counts).unwrap();
            assert!((found - f64::from(values)).abs() <= 1.0, "{found} of {values}");
        }
        assert_eq!(cell_of_number(-0.0), cell_of_number(0.0));
        assert_ne!(cell_of_text("a"), cell_of_text("b"));
    }

    #[test]
    fn the_error_is_the_one_stated() {
        const RUNS: u32 = 150;
        for values in [30u32, 300, 3_000, 30_000] {
            let (mut sum, mut squares) = (0.0, 0.0);
            for run in 0..RUNS {
                let counts = counted((0..values).map(|value| f64::from(value) + f64::from(run) * 1e7));
                let error = estimate(&counts).unwrap() / f64::from(values) - 1.0;
                (sum, squares) = (sum + error, squares + error * error);
            }
            let (bias, spread) = (sum / f64::from(RUNS), (squares / f64::from(RUNS)).sqrt());
            // Three standard errors of 150 runs.
            assert!(spread < STANDARD_ERROR * 1.18, "{values}: {spread}");
            assert!(bias.abs() < STANDARD_ERROR * 0.25, "{values}: bias {bias}");
            assert!(values < 3_000 || spread > STANDARD_ERROR * 0.7, "{values}: {spread}, the constant says more");
        }
    }

    #[test]
    fn what_is_added_can_be_taken_back() {
        let (one, two) = (counted((0..500).map(f64::from)), counted((400..900).map(f64::from)));
        let both: Vec<u64> = one.iter().zip(&two).map(|(a, b)| a + b).collect();
        assert_eq!(both.iter().zip(&two).map(|(sum, b)| sum - b).collect::<Vec<_>>(), one);
        let (all, alone) = (estimate(&both).unwrap(), estimate(&counted((0..900).map(f64::from))).unwrap());
        assert_eq!(all, alone);
    }

    #[test]
    fn full_and_foreign_cells_have_no_estimate() {
        assert_eq!((estimate(&vec![1; CELLS]), estimate(&[0; 3]), estimate(&vec![0; CELLS])), (None, None, Some(0.0)));
        let mut counts = vec![1; CELLS];
        counts[CELLS - 1] = 0;
        assert!(estimate(&counts).unwrap() > 1e7);
    }
}
