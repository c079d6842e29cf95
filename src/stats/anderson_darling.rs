//! The two-sample Anderson-Darling test over binned samples.
//!
//! In a bin that is one value all are tied, at the middle of their ranks; in the others both samples are taken as evenly
//! spread. Knows nothing of values inside the bins.

use std::f64::consts::PI;

use super::bins::{Binned, Cell};
use super::counts::finite;
use super::limit::Law;

/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;
/// Bins that are narrower than this part of what lies beyond them on either side take the variance of their middle.
const NARROW: f64 = 0.05;
/// Up to so many values harmonic numbers are summed up; beyond, their expansions are right to double precision.
const SUMMED: f64 = 64.0;

/// A^2 of two samples with mid-ranks, `(A^2_akN)` of Scholz and Stephens (1987), less 1 and over its standard deviation
/// without drift: what `scipy.stats.anderson_ksamp(..., midrank=True)` reports. Below 0 where the samples are closer than
/// chance makes them.
///
/// Over bins with the quantiles of the reference it lies within 0.1 or 3 % of that of the rows, measured over six shapes in
/// the tests of this file; exact where all bins are atoms. One pass over the cells. `None` where a sample is empty, all values
/// lie in one cell, or there are fewer than four.
#[must_use]
pub fn statistic(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let (n, m) = Binned::new(edges, reference, current)?.sizes();
    let square = mean_square(edges, reference, current)?;
    finite((a_squared(square, 1.0 / n + 1.0 / m, n + m) - 1.0) / standard_deviation(n, m)?)
}

/// The mean over both samples of the squared difference of the two distribution functions over its variance without
/// drift, but for the factor `1/n + 1/m`. `None` as for [`statistic`], but for small samples.
#[must_use]
pub fn mean_square(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let binned = Binned::new(edges, reference, current)?;
    let sizes = binned.sizes();
    let (mut sum, mut cells) = (0.0, 0u32);
    for cell in binned.filled() {
        sum += if cell.is_atom() { tied(&cell, sizes) } else { spread(&cell, sizes) };
        cells += 1;
    }
    finite(sum).filter(|_| cells > 1)
}

/// The part of a cell whose values are all the same.
fn tied(cell: &Cell, (n, m): (f64, f64)) -> f64 {
    let gap = (cell.r_before + cell.r / 2.0) / n - (cell.c_before + cell.c / 2.0) / m;
    let share = (cell.r + cell.c) / (n + m);
    let below = (cell.r_before + cell.c_before) / (n + m) + share / 2.0;
    let variance = below * (1.0 - below) - share / 4.0;
    if variance > 0.0 { share * gap * gap / variance } else { 0.0 }
}

/// The part of a cell whose values are spread: the integral of `d(u)^2 / (u (1 - u))` over the ranks u, with d linear.
fn spread(cell: &Cell, (n, m): (f64, f64)) -> f64 {
    let (left, right) = (cell.r_before / n - cell.c_before / m, (cell.r_before + cell.r) / n - (cell.c_before + cell.c) / m);
    let (before, own) = (cell.r_before + cell.c_before, cell.r + cell.c);
    let after = (n + m - before - own).max(0.0);
    let width = own / (n + m);
    if own < NARROW * before.min(after) {
        let middle = (before + own / 2.0) / (n + m);
        return width * (left * left + left * right + right * right) / 3.0 / (middle * (1.0 - middle));
    }
    let slope = (right - left) / width;
    // The line at u = 0 and at u = 1; where the cell reaches them it is 0 there, as the difference is.
    let (at_zero, at_one) = (left - slope * before / (n + m), right + slope * after / (n + m));
    let from_zero = if before > 0.0 { at_zero * at_zero * ((before + own) / before).ln() } else { 0.0 };
    let from_one = if after > 0.0 { at_one * at_one * ((after + own) / after).ln() } else { 0.0 };
    (from_zero + from_one - slope * slope * width).max(0.0)
}

fn a_squared(square: f64, noise: f64, total: f64) -> f64 {
    (total - 1.0) / total * square / noise
}

/// The asymptotic p-value of a [`mean_square`] of samples of `n` and `m` values, where `noise` is `1/n + 1/m` with each size
/// divided by its design effect: the limit law at the mean and spread that samples of these sizes have.
///
/// For values of which none is frequent; with atoms the law is another. `None` where there are fewer than four values or an
/// argument is not a number.
#[must_use]
pub fn p_value(mean_square: f64, (n, m): (u64, u64), noise: f64) -> Option<f64> {
    let (n, m) = (super::counts::real(n), super::counts::real(m));
    if !noise.is_finite() || noise <= 0.0 {
        return None;
    }
    let standardised = (a_squared(mean_square, noise, n + m) - 1.0) / standard_deviation(n, m)?;
    Law::AndersonDarling.sf(1.0 + standardised * Law::AndersonDarling.standard_deviation())
}

/// The standard deviation of A^2 of two samples without drift; formula (4) of Scholz and Stephens (1987).
fn standard_deviation(n: f64, m: f64) -> Option<f64> {
    let total = n + m;
    if total < 4.0 {
        return None;
    }
    let (k, sizes) = (2.0, 1.0 / n + 1.0 / m);
    let (h, squares) = (harmonic(total - 1.0), harmonic_of_squares(total - 1.0));
    // The double sum over 1 / ((N - i) j) in closed form.
    let g = squares - 2.0 * h / total;
    let a = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * sizes;
    let b = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * sizes - 8.0 * h + 4.0 * g - 6.0;
    let c = (6.0 * h + 2.0 * g - 2.0) * k * k + (4.0 * h - 4.0 * g + 6.0) * k + (2.0 * h - 6.0) * sizes + 4.0 * h;
    let d = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
    let top = ((a * total + b) * total + c) * total + d;
    finite((top / ((total - 1.0) * (total - 2.0) * (total - 3.0))).sqrt()).filter(|sd| *sd > 0.0)
}

/// The sum of `1 / j` up to `count`.
fn harmonic(count: f64) -> f64 {
    if count <= SUMMED {
        return reciprocals(count).sum();
    }
    let square = count * count;
    count.ln() + EULER + 1.0 / (2.0 * count) - 1.0 / (12.0 * square) + 1.0 / (120.0 * square * square)
}

/// The sum of `1 / j^2` up to `count`.
fn harmonic_of_squares(count: f64) -> f64 {
    if count <= SUMMED {
        return reciprocals(count).map(|reciprocal| reciprocal * reciprocal).sum();
    }
    let cube = count * count * count;
    PI * PI / 6.0 - 1.0 / count + 1.0 / (2.0 * count * count) - 1.0 / (6.0 * cube) + 1.0 / (30.0 * cube * count * count)
}

fn reciprocals(count: f64) -> impl Iterator<Item = f64> {
    (1..=64u32).map(f64::from).take_while(move |j| *j <= count).map(|j| 1.0 / j)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{Rows, shapes};
    use super::*;

    /// The statistic from raw values, by its definition.
    fn raw(reference: &[f64], current: &[f64]) -> f64 {
        let (n, m) = (reference.len() as f64, current.len() as f64);
        let mut all: Vec<(f64, f64, f64)> =
            reference.iter().map(|x| (*x, 1.0, 0.0)).chain(current.iter().map(|x| (*x, 0.0, 1.0))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut r, mut c, mut sum) = (0.0, 0.0, 0.0);
        for tied in all.chunk_by(|a, b| a.0 == b.0) {
            let (own_r, own_c) = (tied.iter().map(|x| x.1).sum::<f64>(), tied.iter().map(|x| x.2).sum::<f64>());
            let (l, b) = (own_r + own_c, r + c + (own_r + own_c) / 2.0);
            let under = b * (n + m - b) - (n + m) * l / 4.0;
            for (size, mid) in [(n, r + own_r / 2.0), (m, c + own_c / 2.0)] {
                sum += l / (n + m) * ((n + m) * mid - size * b).powi(2) / under / size;
            }
            r += own_r;
            c += own_c;
        }
        ((n + m - 1.0) / (n + m) * sum - 1.0) / standard_deviation(n, m).unwrap()
    }

    #[test]
    fn the_spread_is_that_of_the_double_sum() {
        for (n, m) in [(3u32, 2u32), (40, 24), (50, 60), (700, 90)] {
            let total = n + m;
            let sums: Vec<f64> = (2..total)
                .rev()
                .map(|j| 1.0 / f64::from(j))
                .scan(0.0, |sum, term| {
                    *sum += term;
                    Some(*sum)
                })
                .collect();
            // As scipy.stats.anderson_ksamp sums it up.
            let g: f64 = sums.iter().zip(2..).map(|(sum, j)| sum / f64::from(j)).sum();
            let closed = harmonic_of_squares(f64::from(total - 1)) - 2.0 * harmonic(f64::from(total - 1)) / f64::from(total);
            assert!((g - closed).abs() < 1e-12, "{total}: {g} is not {closed}");
            assert!((sums.last().unwrap() + 1.0 - harmonic(f64::from(total - 1))).abs() < 1e-12);
        }
        // The limit.
        let sd = standard_deviation(1e7, 1e7).unwrap();
        assert!((sd - Law::AndersonDarling.standard_deviation()).abs() < 1e-5, "{sd}");
    }

    proptest! {
        #[test]
        fn atoms_are_exact(reference in prop::collection::vec(0i32..6, 2..60), current in prop::collection::vec(0i32..6, 2..60)) {
            prop_assume!(reference.iter().chain(&current).any(|value| *value != reference[0]));
            let real = |values: &[i32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
            let Rows { edges, reference, current, r, c } = Rows::of_atoms(&real(&reference), &real(&current));
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            prop_assert!((binned - exact).abs() < 1e-9 * exact.abs().max(1.0), "{binned} is not {exact}");
        }
    }

    #[test]
    fn over_quantile_bins_it_is_close_to_that_of_the_rows() {
        for (name, Rows { edges, reference, current, r, c }) in shapes() {
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            assert!((binned - exact).abs() <= (0.03 * exact.abs()).max(0.1), "{name}: {binned}, {exact} of the rows");
        }
    }

    #[test]
    fn one_cell_and_few_values_have_no_statistic() {
        let edges = [0.0, 1.0];
        assert_eq!(statistic(&edges, &[0, 7, 0], &[0, 9, 0]), None);
        assert_eq!(statistic(&edges, &[1, 0, 0], &[0, 1, 0]), None);
        assert_eq!(statistic(&edges, &[1, 0, 0], &[0, 0, 0]), None);
        assert_eq!(p_value(1.0, (10, 10), 0.0), None);
        assert!(p_value(0.0, (10, 10), 0.2).unwrap() > 0.99);
    }
}
