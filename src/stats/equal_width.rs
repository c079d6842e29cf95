//! Equal-width bins over a reference, from its fine bins: what some libraries compute distances over.
//!
//! Values inside a fine bin are taken as evenly spread, atoms lie where they are. What lies outside the range of the reference is
//! one bin of leftovers, empty in the reference, so that no value of the window moves an edge. Knows nothing of metrics.

use super::bins::{Binned, Cell};
use super::counts::real;

/// Levels up to which numbers are taken as levels ...
const FEW: usize = 50;
/// ... if there is at most one for so many rows.
const ROWS_PER_LEVEL: f64 = 10.0;
/// Most bins: Doane's rule gives fewer than 150 for any number of rows and any skewness.
const MOST: f64 = 1_000.0;

/// Shares of the two samples, reference first, as NannyML cuts a number: by level where it has at most 50 different values and
/// ten rows for each; else over equal bins from the least to the greatest value of the reference, as many as Doane (1976)
/// says; what is not in the reference in one more.
///
/// The bins are NumPy's `histogram_bin_edges(reference, bins="doane")`, the number of which depends on the skewness, taken
/// from the fine bins. `None` where a sample is empty or lengths do not fit.
#[must_use]
pub fn shares(edges: &[f64], (least, greatest): (f64, f64), reference: &[u64], current: &[u64]) -> Option<Vec<(f64, f64)>> {
    let binned = Binned::new(edges, reference, current)?;
    let (n, m) = binned.sizes();
    let levels = reference.iter().filter(|count| **count > 0).count();
    if levels <= FEW && real(levels as u64) * ROWS_PER_LEVEL <= n {
        let mut shares: Vec<(f64, f64)> = binned.cells().filter(|cell| cell.r > 0.0).map(|cell| (cell.r / n, cell.c / m)).collect();
        let known: f64 = binned.cells().filter(|cell| cell.r > 0.0).map(|cell| cell.c).sum();
        shares.push((0.0, (m - known) / m));
        return Some(shares);
    }
    let bins = doane(&binned, n, greatest - least);
    let width = (greatest - least) / real(bins as u64);
    let place = |value: f64| index((value - least) / width, bins);
    let mut shares = vec![(0.0, 0.0); bins + 1];
    for cell in binned.filled() {
        let mut add = |place: usize, part: f64| {
            if let Some(share) = shares.get_mut(place) {
                share.0 += part * cell.r / n;
                share.1 += part * cell.c / m;
            }
        };
        match cell.edges {
            None => add(bins, 1.0),
            Some((lower, upper)) if lower >= greatest || upper < least => add(bins, 1.0),
            Some((_, upper)) if cell.is_atom() || width <= 0.0 => add(place(upper), 1.0),
            Some((lower, upper)) => {
                let lower = lower.max(least);
                let (first, last) = (place(lower), place(upper));
                for bin in first..=last {
                    let from = lower.max(least + width * real(bin as u64));
                    let to = if bin == last { upper } else { upper.min(least + width * real(bin as u64 + 1)) };
                    add(bin, if upper > lower { ((to - from) / (upper - lower)).clamp(0.0, 1.0) } else { 1.0 });
                }
            }
        }
    }
    Some(shares)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and the number of bins.
fn index(place: f64, bins: usize) -> usize {
    (place.max(0.0) as usize).min(bins - 1)
}

/// How many bins Doane's rule gives the reference over a range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 1 and `MOST`.
fn doane(binned: &Binned<'_>, n: f64, range: f64) -> usize {
    let mean = binned.filled().map(|cell| cell.r / n * middle(&cell).0).sum::<f64>();
    // The moments of what is spread evenly over a bin, around the mean.
    let moment = |of: &dyn Fn(f64, f64) -> f64| {
        binned.filled().map(|cell| (cell.r / n, middle(&cell))).map(|(share, (middle, half))| share * of(middle - mean, half)).sum::<f64>()
    };
    let variance = moment(&|gap, half| gap * gap + half * half / 3.0);
    let third = moment(&|gap, half| gap * gap * gap + gap * half * half);
    let spread = (6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))).sqrt();
    let skewness = third / variance.powf(1.5);
    let bins = 1.0 + n.log2() + (1.0 + skewness.abs() / spread).log2();
    if n > 2.0 && range > 0.0 && bins.is_finite() { bins.ceil().clamp(1.0, MOST) as usize } else { 1 }
}

/// Middle and half the width of a cell.
fn middle(cell: &Cell) -> (f64, f64) {
    match cell.edges {
        Some((_, upper)) if cell.is_atom() => (upper, 0.0),
        Some((lower, upper)) => (f64::midpoint(lower, upper), (upper - lower) / 2.0),
        None => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Rows, shapes};
    use super::*;

    #[test]
    fn few_values_are_levels_and_strangers_are_left_over() {
        let rows = Rows::of_atoms(&[1.0; 30], &[1.0, 1.0, 2.0, -7.0]);
        let shares = shares(&rows.edges, (1.0, 1.0), &rows.r, &rows.c).unwrap();
        assert_eq!(shares, [(1.0, 0.5), (0.0, 0.5)]);
    }

    #[test]
    fn bins_are_those_of_numpy() {
        // len(numpy.histogram_bin_edges(range(1000), bins="doane")) - 1 is 11: 1 + log2(1000) + log2(1 + 0) = 10.97.
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let rows = Rows::of_atoms(&values, &[0.0, 90.0, 91.0, 999.0, 1000.0]);
        let shares = shares(&rows.edges, (0.0, 999.0), &rows.r, &rows.c).unwrap();
        assert_eq!(shares.len(), 12);
        // numpy.histogram: edges every 90.8; 0 and 90, 91, 999, and one left over.
        let current: Vec<f64> = shares.iter().map(|share| (share.1 * 5.0).round()).collect();
        assert_eq!(current, [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn shares_over_fine_bins_are_close_to_those_of_the_rows() {
        for (name, Rows { edges, reference, current, r, c }) in shapes() {
            let (least, greatest) = reference.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            let shares = shares(&edges, (least, greatest), &r, &c).unwrap();
            let sums = shares.iter().fold((0.0, 0.0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
            assert!((sums.0 - 1.0).abs() < 1e-9 && (sums.1 - 1.0).abs() < 1e-9, "{name}: {sums:?}");
            if name.starts_with("integers") {
                continue;
            }
            let bins = shares.len() - 1;
            let width = (greatest - least) / bins as f64;
            let counted = |values: &[f64], bin: usize| {
                let inside = |x: &&f64| **x >= least && **x <= greatest && index((**x - least) / width, bins) == bin;
                values.iter().filter(inside).count() as f64 / values.len() as f64
            };
            for (bin, share) in shares.iter().enumerate().take(bins) {
                let off = (share.0 - counted(&reference, bin)).abs().max((share.1 - counted(&current, bin)).abs());
                assert!(off < 0.004, "{name}: bin {bin} of {bins} is off by {off}");
            }
        }
    }
}
