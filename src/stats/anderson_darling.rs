//! The two-sample Anderson-Darling test over binned samples.
//!
//! In a bin that is one value all are tied, at the middle of their ranks. In any other every order of the two samples is
//! taken as equally likely, and what is expected stands in. Knows nothing of values inside the bins.

use std::f64::consts::PI;

use super::bins::{Binned, Cell};
use super::counts::{finite, real, total};
use super::limit::Law;

/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;
/// Values in a cell up to which its places are summed up one by one; above, quadrature is as good.
const FEW: u32 = 8;
/// Places (0 to 1) and weights of Gauss-Legendre quadrature with four nodes.
const GAUSS: [(f64, f64); 4] = [
    (0.069_431_844_202_973_71, 0.173_927_422_568_726_93),
    (0.330_009_478_207_571_9, 0.326_072_577_431_273_07),
    (0.669_990_521_792_428_1, 0.326_072_577_431_273_07),
    (0.930_568_155_797_026_3, 0.173_927_422_568_726_93),
];
/// What quadrature may be off, relatively, in a cell that one sample alone has values in.
const QUADRATURE: f64 = 0.005;
/// Up to so many values harmonic numbers are summed up; beyond, their expansions are right to double precision.
const SUMMED: f64 = 64.0;

/// A^2 of two samples with mid-ranks, `(A^2_akN)` of Scholz and Stephens (1987), less 1 and over its standard deviation
/// without drift: what `scipy.stats.anderson_ksamp(..., midrank=True)` reports. Below 0 where the samples are closer than
/// chance makes them.
///
/// [`bound`] limits the error of the bins; over those of the quantiles of the reference it is within 0.05 or 2 % for six shapes in the
/// tests of this file, and exact where all bins are atoms. One pass over the cells, four divisions each. `None` where a sample
/// is empty, all values lie in one cell, or there are fewer than four.
#[must_use]
pub fn statistic(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let square = mean_square(edges, reference, current)?;
    of_mean_square(square, (total(reference)?, total(current)?))
}

/// The statistic from a [`mean_square`] of samples of `n` and `m` values; `None` where these are fewer than four.
#[must_use]
pub fn of_mean_square(square: f64, (n, m): (u64, u64)) -> Option<f64> {
    let (n, m) = (real(n), real(m));
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

/// The part of a cell whose values are in any order: expected squared differences over what chance leaves there.
fn spread(cell: &Cell, (n, m): (f64, f64)) -> f64 {
    let Cell { r, c, r_before, c_before, .. } = *cell;
    let (all, own) = (n + m, r + c);
    let left = r_before / n - c_before / m;
    let slope = (r / n - c / m) / own;
    // The variance of the difference after `place` values, over `place (own - place)`: drawn without putting back.
    let variance = if own > 1.0 { (1.0 / n + 1.0 / m).powi(2) * r * c / (own * own * (own - 1.0)) } else { 0.0 };
    let at = |place: f64| {
        let rank = r_before + c_before + place;
        let difference = left + slope * place;
        let chance = variance * (place * (own - place) - own / 4.0).max(0.0);
        all * (difference * difference + chance) / (rank * (all - rank) - all / 4.0)
    };
    if own <= f64::from(FEW) {
        (0..FEW).map(f64::from).take_while(|place| *place < own).map(|place| at(place + 0.5)).sum()
    } else {
        own * GAUSS.iter().map(|(place, weight)| weight * at(place * own)).sum::<f64>()
    }
}

/// How far the statistic of the raw values may lie from [`statistic`] where no two values inside a bin are equal: what the
/// order inside the bins leaves open. Atoms add nothing.
///
/// Takes time in proportion to the sizes of the samples. `None` as for [`statistic`].
#[must_use]
pub fn bound(edges: &[f64], reference: &[u64], current: &[u64]) -> Option<f64> {
    let binned = Binned::new(edges, reference, current)?;
    let (n, m) = binned.sizes();
    let all = n + m;
    let mut open = 0.0;
    for Cell { r, c, r_before, c_before, .. } in binned.filled().filter(|cell| !cell.is_atom()) {
        let mut place = 1.0;
        while place <= r + c {
            let rank = r_before + c_before + place - 0.5;
            // Of the reference at least and at most so many lie before the middle of the value at this place.
            let least = (place - c - 0.5).max(0.0);
            let most = if place <= r { place - 0.5 } else { r };
            let difference = |of_r: f64| (r_before + of_r) / n - (rank - r_before - of_r) / m;
            let (low, high) = (difference(least), difference(most));
            let (far, near) = (low.abs().max(high.abs()), if low * high <= 0.0 { 0.0 } else { low.abs().min(high.abs()) });
            let range = if r == 0.0 || c == 0.0 { QUADRATURE * far * far } else { far * far - near * near };
            open += all * range / (rank * (all - rank) - all / 4.0);
            place += 1.0;
        }
    }
    finite(a_squared(open, 1.0 / n + 1.0 / m, all) / standard_deviation(n, m)?)
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
    let (n, m) = (real(n), real(m));
    if !noise.is_finite() || noise <= 0.0 {
        return None;
    }
    let standardised = (a_squared(mean_square, noise, n + m) - 1.0) / standard_deviation(n, m)?;
    Law::AndersonDarling.sf(1.0 + standardised * Law::AndersonDarling.standard_deviation())
}

/// The standard deviation of A^2 of two samples without drift; formula (4) of Scholz and Stephens (1987).
#[allow(clippy::many_single_char_names)] // The letters of the source.
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

    use super::super::fixture::{Rows, rows, shapes};
    use super::*;

    /// The statistic from raw values, by its definition.
    #[allow(clippy::many_single_char_names)] // The letters of the source.
    fn raw(reference: &[f64], current: &[f64]) -> f64 {
        let (n, m) = (reference.len() as f64, current.len() as f64);
        let mut all: Vec<(f64, f64, f64)> =
            reference.iter().map(|x| (*x, 1.0, 0.0)).chain(current.iter().map(|x| (*x, 0.0, 1.0))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut r, mut c, mut sum) = (0.0, 0.0, 0.0);
        for tied in all.chunk_by(|a, b| a.0 == b.0) {
            let (own_r, own_c) = (tied.iter().map(|x| x.1).sum::<f64>(), tied.iter().map(|x| x.2).sum::<f64>());
            let (l, b) = (own_r + own_c, r + c + f64::midpoint(own_r, own_c));
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
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn the_statistic_of_the_rows_lies_within_the_bound(Rows { edges, reference, current, r, c } in rows()) {
            prop_assume!(reference.len() + current.len() >= 4);
            // Values that are alike inside a bin are ties that the bins do not show.
            let is_atom = |value: f64| Rows::is_atom(&edges, value);
            let mut open: Vec<f64> = reference.iter().chain(&current).copied().filter(|value| !is_atom(*value)).collect();
            open.sort_by(f64::total_cmp);
            prop_assume!(open.windows(2).all(|pair| pair[0] < pair[1]));
            let Some(binned) = statistic(&edges, &r, &c) else { return Ok(()) };
            let (exact, bound) = (raw(&reference, &current), bound(&edges, &r, &c).unwrap());
            prop_assert!((binned - exact).abs() <= bound + 1e-9 * exact.abs().max(1.0), "{binned}, {exact} of the rows, bound {bound}");
        }

        #[test]
        fn spread_values_lie_within_the_bound(values in Just((0..120).collect::<Vec<i32>>()).prop_shuffle(), n in 2usize..50, m in 2usize..50, bins in 1usize..12) {
            let real = |values: &[i32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
            let Rows { edges, reference, current, r, c } = Rows::new(&real(&values[..n]), &real(&values[n..n + m]), bins);
            let Some(binned) = statistic(&edges, &r, &c) else { return Ok(()) };
            let (exact, bound) = (raw(&reference, &current), bound(&edges, &r, &c).unwrap());
            prop_assert!((binned - exact).abs() <= bound + 1e-9 * exact.abs().max(1.0), "{binned}, {exact} of the rows, bound {bound}");
        }

        #[test]
        fn atoms_are_exact(reference in prop::collection::vec(0i32..6, 2..60), current in prop::collection::vec(0i32..6, 2..60)) {
            prop_assume!(reference.iter().chain(&current).any(|value| *value != reference[0]));
            let real = |values: &[i32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
            let Rows { edges, reference, current, r, c } = Rows::of_atoms(&real(&reference), &real(&current));
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            prop_assert!((binned - exact).abs() < 1e-9 * exact.abs().max(1.0), "{binned} is not {exact}");
            prop_assert_eq!(bound(&edges, &r, &c), Some(0.0));
        }
    }

    #[test]
    fn over_quantile_bins_it_is_close_to_that_of_the_rows() {
        for (name, Rows { edges, reference, current, r, c }) in shapes() {
            let (exact, binned) = (raw(&reference, &current), statistic(&edges, &r, &c).unwrap());
            assert!((binned - exact).abs() <= (0.02 * exact.abs()).max(0.05), "{name}: {binned}, {exact} of the rows");
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
