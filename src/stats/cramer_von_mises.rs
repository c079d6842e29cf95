//! The two-sample Cramér-von Mises test over binned samples.
//!
//! Knows nothing of values inside the bins: it takes those of both samples as evenly spread among each other there. In a
//! bin that is one value all are tied.

use super::bins::{Binned, Cell};
use super::counts::finite;
use super::limit::Law;

/// T of Anderson (1962), On the distribution of the two-sample Cramér-von Mises criterion, with mid-ranks for ties:
/// `U / (n m (n + m)) - (4 n m - 1) / (6 (n + m))`, where U adds up the squared distances of the ranks of each sample from
/// its own places, times its size. What `scipy.stats.cramervonmises_2samp` reports.
///
/// Grows with the sizes of the samples, and with ties where these differ: compare it between windows of one column, and not
/// between columns. [`bound`] limits the error of the bins. One pass over the cells. `None` where a sample is empty or
/// lengths do not fit.
#[must_use]
pub fn statistic(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let binned = Binned::new(edges, reference, current)?;
    let (n, m) = binned.sizes();
    let mut sum = 0.0;
    for cell in binned.filled() {
        sum += n * ranks(cell.r, cell.c_before, cell.c, cell.is_atom()) + m * ranks(cell.c, cell.r_before, cell.r, cell.is_atom());
    }
    finite(sum / (n * m * (n + m)) - (4.0 * n * m - 1.0) / (6.0 * (n + m)))
}

/// The squared distances of the ranks of `own` values from their places, where `before` values of the other sample are
/// less and `among` lie in the same cell.
fn ranks(own: f64, before: f64, among: f64, is_tied: bool) -> f64 {
    if own == 0.0 {
        return 0.0;
    }
    let edge = own * before * (before + among);
    if is_tied { edge + own * among * among / 4.0 + ties(own) } else { edge + spread(own, among) }
}

/// The sum of `(among (j - 1/2) / own)^2` over `j` from 1 to `own`.
fn spread(own: f64, among: f64) -> f64 {
    if own == 0.0 { 0.0 } else { among * among * (4.0 * own * own - 1.0) / (12.0 * own) }
}

fn ties(own: f64) -> f64 {
    own * (own * own - 1.0) / 12.0
}

/// How far T of the raw values may lie from [`statistic`], whatever the values inside the bins are, tied ones included.
///
/// Inside a bin of r and c values with d the difference of the distribution functions before it, the sum of the ranks may
/// be off by `|d| n m r c`, its squares by at most `r c^2 + r (r^2 - 1) / 12` and the same with r and c exchanged. Values that
/// do not repeat inside the bins come much closer: within 0.002 and 1 % in the tests. `None` as for [`statistic`].
#[must_use]
pub fn bound(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let binned = Binned::new(edges, reference, current)?;
    let (n, m) = binned.sizes();
    let off = |own: f64, among: f64| {
        let taken = spread(own, among);
        taken.max(own * among * among + ties(own) - taken)
    };
    let of_cell = |Cell { r, c, r_before, c_before, .. }: Cell| (n * c_before - m * r_before).abs() * r * c + n * off(r, c) + m * off(c, r);
    let sum: f64 = binned.filled().filter(|cell| !cell.is_atom()).map(of_cell).sum();
    finite(sum / (n * m * (n + m)))
}

/// The mean of the squared difference of the two distribution functions over both samples, which ties do not inflate:
/// divided by `1/n + 1/m` it tends to [`Law::CramerVonMises`] without drift, where no value is frequent.
#[must_use]
pub fn mean_square(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let binned = Binned::new(edges, reference, current)?;
    let (n, m) = binned.sizes();
    let mut sum = 0.0;
    for cell in binned.filled() {
        let before = cell.r_before / n - cell.c_before / m;
        let after = (cell.r_before + cell.r) / n - (cell.c_before + cell.c) / m;
        let square =
            if cell.is_atom() { f64::midpoint(before, after).powi(2) } else { (before * before + before * after + after * after) / 3.0 };
        sum += (cell.r + cell.c) / (n + m) * square;
    }
    finite(sum)
}

/// The asymptotic p-value of a [`mean_square`], where `noise` is `1/n + 1/m` with each size divided by its design effect.
///
/// For values of which none is frequent; with atoms the law is another. `None` where an argument is not a number.
#[must_use]
pub fn p_value(mean_square: f64, noise: f64) -> Option<f64> {
    if !noise.is_finite() || noise <= 0.0 { None } else { Law::CramerVonMises.sf(mean_square / noise) }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Rows, rows};
    use super::*;
    use proptest::prelude::*;

    /// T from raw values, by its definition.
    fn raw(reference: &[f64], current: &[f64]) -> f64 {
        let (n, m) = (reference.len() as f64, current.len() as f64);
        let of = |own: &[f64]| {
            let mut own = own.to_vec();
            own.sort_by(f64::total_cmp);
            let rank = |x: f64| {
                let all = || reference.iter().chain(current);
                let (less, equal) = (all().filter(|y| **y < x).count() as f64, all().filter(|y| **y == x).count() as f64);
                less + f64::midpoint(equal, 1.0)
            };
            own.iter().enumerate().map(|(place, x)| (rank(*x) - (place + 1) as f64).powi(2)).sum::<f64>() * own.len() as f64
        };
        (of(reference) + of(current)) / (n * m * (n + m)) - (4.0 * n * m - 1.0) / (6.0 * (n + m))
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.cramervonmises_2samp(x, y), SciPy 1.17.1, by hand from the definition for these five values.
        let (x, y) = ([1.0, 2.0, 2.0], [2.0, 3.0]);
        let edges = [0.0, 1f64.next_down(), 1.0, 2f64.next_down(), 2.0, 3f64.next_down(), 3.0];
        let value = statistic(&edges, &[0, 0, 1, 0, 2, 0, 0, 0], &[0, 0, 0, 0, 1, 0, 1, 0]).unwrap();
        // Ranks 1, 3, 3 and 3, 5: U = 3 (0 + 1 + 0) + 2 (4 + 9) = 29; T = 29 / 30 - 23 / 30.
        assert!((value - 0.2).abs() < 1e-12 && (raw(&x, &y) - 0.2).abs() < 1e-12, "{value}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn the_statistic_of_the_rows_lies_within_the_bound(Rows { edges, reference, current, r, c } in rows()) {
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            let bound = bound(&edges, &r, &c).unwrap();
            prop_assert!((binned - exact).abs() <= bound + 1e-9 * exact.abs().max(1.0), "{binned}, {exact} of the rows, bound {bound}");
            let square = mean_square(&edges, &r, &c).unwrap();
            prop_assert!((0.0..=1.0).contains(&square));
            let p = p_value(square, 1.0 / reference.len() as f64 + 1.0 / current.len() as f64).unwrap();
            prop_assert!((0.0..=1.0).contains(&p));
        }

        #[test]
        fn atoms_are_exact(reference in prop::collection::vec(0i32..6, 1..60), current in prop::collection::vec(0i32..6, 1..60)) {
            let real = |values: &[i32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
            let Rows { edges, reference, current, r, c } = Rows::of_atoms(&real(&reference), &real(&current));
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            prop_assert!((binned - exact).abs() < 1e-9 * exact.abs().max(1.0), "{binned} is not {exact}");
            prop_assert_eq!(bound(&edges, &r, &c), Some(0.0));
        }
    }

    #[test]
    fn an_empty_sample_has_no_value() {
        assert_eq!(statistic(&[0.0], &[1, 0], &[0, 0]), None);
        assert_eq!(bound(&[0.0], &[0, 0], &[1, 0]), None);
        assert_eq!(mean_square(&[], &[1], &[1]), None);
        assert_eq!(p_value(0.1, 0.0), None);
    }
}
