//! Quantiles of one binned sample.
//!
//! Knows nothing of a second sample, and of values inside a bin only that they are there.

use super::counts::{finite, real, total};
use super::wasserstein::Tails;

/// The quantile of a level between 0 and 1, by linear interpolation between the two order statistics beside it (R's type 7,
/// NumPy's default), in the unit of the edges.
///
/// Values inside a bin are taken as evenly spread: off by less than the widest of the bins that hold the two, and exact where
/// these are atoms. Those beyond the outer edges are spread evenly around their mean, one of them exact. One pass over the
/// cells. `None` where the sample is empty, lengths do not fit, or the level is not between 0 and 1.
#[must_use]
pub fn quantile(edges: &[f64], counts: &[u64], tails: Tails, level: f64) -> Option<f64> {
    let n = total(counts).filter(|n| *n > 0)?;
    if edges.is_empty() || counts.len() != edges.len() + 1 || !(0.0..=1.0).contains(&level) {
        return None;
    }
    let position = level * real(n - 1);
    let (low, rest) = (position.floor(), position.fract());
    let lower = order_statistic(edges, counts, tails, low)?;
    if rest == 0.0 {
        return finite(lower);
    }
    let upper = order_statistic(edges, counts, tails, low + 1.0)?;
    finite((1.0 - rest) * lower + rest * upper)
}

/// The value with so many before it.
fn order_statistic(edges: &[f64], counts: &[u64], tails: Tails, place: f64) -> Option<f64> {
    let mut before = 0.0;
    let lower = std::iter::once(None).chain(edges.iter().copied().map(Some));
    let upper = edges.iter().copied().map(Some).chain([None]);
    for (count, (lower, upper)) in counts.iter().map(|count| real(*count)).zip(lower.zip(upper)) {
        if place < before + count {
            let part = (place - before + 0.5) / count;
            return match (lower, upper) {
                (Some(lower), Some(upper)) if lower.next_up() >= upper => Some(upper),
                (Some(lower), Some(upper)) => Some((1.0 - part) * lower + part * upper),
                (None, Some(first)) => Some(first - 2.0 * tails.below / count * (1.0 - part)),
                (Some(last), None) => Some(last + 2.0 * tails.above / count * part),
                (None, None) => None,
            };
        }
        before += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{Rows, rows};
    use super::*;

    fn raw(sample: &[f64], level: f64) -> (f64, f64, f64) {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        let position = level * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
        (low + (high - low) * position.fract(), low, high)
    }

    #[test]
    fn agrees_with_numpy() {
        // numpy.quantile([1, 2, 2, 5], [0.25, 0.5, 0.9]) is [1.75, 2, 4.1], NumPy 2.4.6.
        let rows = Rows::of_atoms(&[1.0, 2.0, 2.0, 5.0], &[1.0]);
        for (level, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.0), (0.9, 4.1), (1.0, 5.0)] {
            let value = quantile(&rows.edges, &rows.r, Tails::default(), level).unwrap();
            assert!((value - expected).abs() < 1e-12, "{level}: {value}");
        }
    }

    proptest! {
        #[test]
        fn quantiles_of_the_rows_lie_within_a_bin(Rows { edges, current, c, .. } in rows(), level in 0f64..=1.0) {
            let tails = Tails {
                below: current.iter().map(|x| (edges[0] - x).max(0.0)).sum(),
                above: current.iter().map(|x| (x - edges[edges.len() - 1]).max(0.0)).sum(),
            };
            let value = quantile(&edges, &c, tails, level).unwrap();
            let (exact, low, high) = raw(&current, level);
            let cell = |x: f64| edges.partition_point(|edge| *edge < x);
            let width = |cell: usize| if cell == 0 || cell == edges.len() { None } else { Some(edges[cell] - edges[cell - 1]) };
            if let (Some(one), Some(two)) = (width(cell(low)), width(cell(high))) {
                prop_assert!((value - exact).abs() <= one.max(two) + 1e-9, "{value}, {exact} of the rows");
            }
            let (least, most) = (quantile(&edges, &c, tails, 0.0).unwrap(), quantile(&edges, &c, tails, 1.0).unwrap());
            prop_assert!(least - 1e-9 <= value && value <= most + 1e-9);
        }
    }

    #[test]
    fn one_value_beyond_the_edges_is_exact() {
        let tails = Tails { below: 3.0, above: 0.0 };
        assert_eq!(quantile(&[0.0, 1.0], &[1, 0, 0], tails, 0.5), Some(-3.0));
        assert_eq!(quantile(&[0.0, 1.0], &[0, 0, 0], tails, 0.5), None);
        assert_eq!(quantile(&[0.0, 1.0], &[0, 1, 0], tails, 1.5), None);
        assert_eq!(quantile(&[0.0, 1.0], &[0, 1], tails, 0.5), None);
    }
}
