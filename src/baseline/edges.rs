//! The edges of numeric bins, from the distribution of the reference.
//!
//! Fine edges are 512 equal-mass quantiles made distinct, with two edges around every atom, the deciles, and bisections where a
//! bin is wide or heavy, so that distances over the bins stay close to those over the rows. Coarse edges are the deciles.
//! Bins are right-closed. Never made from the minimum and maximum alone: one outlier would destroy those.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::sketch::Distribution;

use super::layout::NumericBins;

/// Equal-mass bins before atoms, deciles and bisection; also the share, one in so many, from which a value is an atom.
pub const QUANTILES: u32 = 512;
/// Edges that bisection may add: beyond it the bound on distances is the sum of width x share, as documented there.
pub const EXTRA_EDGES: usize = 512;
/// Bins between the 0.1 % and the 99.9 % quantile are bisected while wider than this, in standard deviations.
const WIDEST: f64 = 0.05;
/// Any bin is bisected while share x width is above this, in standard deviations.
const HEAVIEST: f64 = 0.001;

/// Mean and standard deviation of the reference, as the bins use them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (ddof 0).
    pub sd: f64,
}

/// Bins of an ordinary number. `None` where the reference has none.
#[must_use]
pub fn numeric_bins(reference: &Distribution, spread: Spread) -> Option<NumericBins> {
    let mut edges = Vec::new();
    quantiles_and_atoms(reference, &mut edges);
    assemble(reference, edges, spread)
}

/// Bins of a probability: the union over the score distributions of the classes, and the tenths that lie inside. `None`
/// where the reference has none.
#[must_use]
pub fn score_bins(reference: &Distribution, by_class: &[Distribution], spread: Spread) -> Option<NumericBins> {
    let mut edges: Vec<f64> = (1..10u32).map(|tenth| f64::from(tenth) / 10.0).collect();
    let all = std::slice::from_ref(reference);
    for distribution in if by_class.is_empty() { all } else { by_class } {
        quantiles_and_atoms(distribution, &mut edges);
    }
    // Atoms of all scores together: rows without a label belong to no class.
    atoms(reference, &mut edges);
    assemble(reference, edges, spread)
}

fn quantiles_and_atoms(reference: &Distribution, edges: &mut Vec<f64>) {
    edges.extend((1..QUANTILES).filter_map(|k| reference.quantile(k, QUANTILES)));
    atoms(reference, edges);
}

/// Two edges for each atom, the next float below and itself, so that its mass stands alone.
fn atoms(reference: &Distribution, edges: &mut Vec<f64>) {
    for atom in reference.atoms(u64::from(QUANTILES)) {
        edges.extend([float_below(atom), atom]);
    }
}

fn assemble(reference: &Distribution, mut edges: Vec<f64>, spread: Spread) -> Option<NumericBins> {
    let (min, max) = reference.range()?;
    let mut coarse_edges: Vec<f64> = (1..10).filter_map(|k| reference.quantile(k, 10)).collect();
    coarse_edges.dedup();
    let first = float_below(min);
    edges.extend(&coarse_edges);
    edges.extend([first, max]);
    // A quantile may be the minimum without being an atom; the first bin then holds it together with nothing else.
    edges.retain(|edge| *edge >= first && *edge <= max);
    normalise(&mut edges);
    bisect(reference, &mut edges, spread.sd);
    normalise(&mut edges);
    Some(NumericBins::new(edges, coarse_edges, units(spread, min, max), (min, max)))
}

/// Center and scale of the moments, finite and usable whatever the values are.
fn units(spread: Spread, min: f64, max: f64) -> (f64, f64) {
    let greatest = min.abs().max(max.abs()).max(1.0);
    if !spread.mean.is_finite() || !spread.sd.is_finite() {
        // Sums of squares beyond the range of f64.
        (0.0, greatest)
    } else if spread.sd >= f64::MIN_POSITIVE {
        (spread.mean, spread.sd)
    } else if max > min {
        // Squares below the range of f64.
        (spread.mean, (max - min).max(f64::MIN_POSITIVE))
    } else {
        (spread.mean, spread.mean.abs().max(1.0))
    }
}

/// The next float below, or the least float itself.
fn float_below(value: f64) -> f64 {
    let below = value.next_down();
    if below.is_finite() { below } else { value }
}

fn normalise(edges: &mut Vec<f64>) {
    for edge in edges.iter_mut() {
        *edge += 0.0;
    }
    edges.sort_unstable_by(f64::total_cmp);
    edges.dedup();
}

/// A bin that may be bisected, ordered by how far it is beyond the limits, then from the left.
struct Candidate {
    severity: f64,
    low: f64,
    high: f64,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.severity.total_cmp(&other.severity).then_with(|| other.low.total_cmp(&self.low))
    }
}

/// Bisects the worst bin until none is beyond the limits or the extra edges are used up.
fn bisect(reference: &Distribution, edges: &mut Vec<f64>, sd: f64) {
    let bounds = reference.quantile(1, 1000).zip(reference.quantile(999, 1000));
    let Some((low_tail, high_tail)) = bounds.filter(|_| sd.is_finite() && sd >= f64::MIN_POSITIVE) else { return };
    #[allow(clippy::cast_precision_loss)]
    let judge = |low: f64, high: f64| -> Option<Candidate> {
        let width = (high / sd - low / sd).min(f64::MAX);
        let share = (reference.rank(high) - reference.rank(low)) as f64 / reference.n() as f64;
        let central = low < high_tail && high > low_tail;
        let severity = (share * width / HEAVIEST).max(if central { width / WIDEST } else { 0.0 });
        (severity > 1.0).then_some(Candidate { severity, low, high })
    };
    let mut heap: BinaryHeap<Candidate> =
        edges.windows(2).filter_map(|pair| if let [low, high] = pair { judge(*low, *high) } else { None }).collect();
    let mut extra = 0;
    while extra < EXTRA_EDGES
        && let Some(Candidate { low, high, .. }) = heap.pop()
    {
        let middle = low / 2.0 + high / 2.0;
        if middle <= low || middle >= high {
            continue;
        }
        edges.push(middle);
        extra += 1;
        heap.extend([judge(low, middle), judge(middle, high)].into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sketch::QuantileSketch;
    use crate::stats::energy;
    use crate::stats::random::SplitMix64;
    use crate::stats::wasserstein::{Tails, distance};

    fn distribution(values: &[f64]) -> Distribution {
        let mut sketch = QuantileSketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch.finish()
    }

    #[allow(clippy::cast_precision_loss)]
    fn spread(values: &[f64]) -> Spread {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        Spread { mean, sd: (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt() }
    }

    fn bins(values: &[f64]) -> NumericBins {
        numeric_bins(&distribution(values), spread(values)).unwrap()
    }

    #[test]
    fn a_constant_is_one_atom() {
        let bins = bins(&[7.0; 100]);
        assert_eq!(bins.edges, [7f64.next_down(), 7.0]);
        assert_eq!((bins.coarse_edges, bins.center, bins.scale), (vec![7.0], 7.0, 7.0));
    }

    #[test]
    fn the_least_number_of_all_still_has_an_edge() {
        let bins = bins(&[-f64::MAX, f64::MAX, 0.0]);
        assert!(bins.edges.iter().chain([&bins.center, &bins.scale]).all(|edge| edge.is_finite()));
        assert!(bins.edges.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn integers_stand_alone_and_the_gaps_between_them_are_cut() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 4)).collect();
        let bins = bins(&values);
        for atom in 0..4 {
            let atom = f64::from(atom);
            assert!(bins.edges.contains(&atom) && bins.edges.contains(&atom.next_down()));
        }
        assert_eq!(bins.coarse_edges, [0.0, 1.0, 1.5, 2.0, 3.0]);
        let widest = bins.edges.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        assert!(widest <= 0.05 * spread(&values).sd, "{widest}");
    }

    #[test]
    fn a_heavy_tail_keeps_to_the_budget() {
        let values: Vec<f64> = (1..5000).map(|i| 1e6 / f64::from(i)).collect();
        let bins = bins(&values);
        assert!(bins.edges.len() <= 511 + 9 + 2 + EXTRA_EDGES);
        assert_eq!(bins.edges.last(), Some(&1e6));
    }

    #[test]
    fn scores_have_the_tenths_inside_their_range_and_the_quantiles_of_the_rare_class() {
        let negatives: Vec<f64> = (0..100_000).map(|i| 0.15 + f64::from(i) * 1e-6).collect();
        let positives: Vec<f64> = (0..2000).map(|i| 0.2 + f64::from(i) * 1.7e-4).collect();
        let all: Vec<f64> = negatives.iter().chain(&positives).copied().collect();
        let bins = score_bins(&distribution(&all), &[distribution(&negatives), distribution(&positives)], spread(&all)).unwrap();
        for tenth in 2..6 {
            assert!(bins.edges.contains(&(f64::from(tenth) / 10.0)), "{tenth}");
        }
        assert!(!bins.edges.contains(&0.1) && !bins.edges.contains(&0.6));
        let cells = |values: &[f64]| values.iter().map(|value| bins.cell(*value)).collect::<std::collections::BTreeSet<_>>().len();
        assert!(cells(&positives) > 500, "{}", cells(&positives));
    }

    /// Uniform numbers in (0, 1).
    fn uniform(seed: u64, n: usize) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        #[allow(clippy::cast_precision_loss)]
        (0..n).map(|_| ((random.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0).collect()
    }

    /// The energy distance of two sorted samples of one size.
    #[allow(clippy::cast_precision_loss)]
    fn energy_of(reference: &[f64], current: &[f64]) -> f64 {
        let mut steps: Vec<(f64, f64)> = reference.iter().map(|x| (*x, 1.0)).chain(current.iter().map(|x| (*x, -1.0))).collect();
        steps.sort_unstable_by(|one, two| one.0.total_cmp(&two.0));
        let (mut height, mut sum) = (0.0, 0.0);
        for pair in steps.windows(2) {
            height += pair[0].1 / reference.len() as f64;
            sum += (pair[1].0 - pair[0].0) * height * height;
        }
        (2.0 * sum).sqrt()
    }

    /// The distances over the bins against those over the rows, which for samples of one size are plain sums over the sorted values.
    #[test]
    fn distances_over_the_bins_are_close_to_those_over_the_rows() {
        type Case = (&'static str, fn(f64) -> f64, fn(f64) -> f64);
        let cases: [Case; 8] = [
            ("uniform", |u| u, |u| 0.1 + u * 0.95),
            ("log-normal", |u| (2.0 * (u / (1.0 - u)).ln()).exp(), |u| (0.2 + 2.0 * (u / (1.0 - u)).ln()).exp().min(1e4)),
            ("pareto", |u| u.powf(-0.8), |u| 1.05 * u.powf(-0.75)),
            ("integers", |u| (u * 5.0).floor(), |u| (u * u * 5.0).floor()),
            ("zeros", |u| (u - 0.7).max(0.0), |u| (u - 0.6).max(0.0)),
            ("gap", |u| if u < 0.5 { u } else { 100.0 + u }, |u| if u < 0.45 { u } else { 100.0 + u }),
            ("into a gap", |u| if u < 0.5 { u } else { 10.0 + u }, |u| 11.0 * u),
            ("beyond the ends", |u| u, |u| u * 3.0 - 1.0),
        ];
        for (name, reference, current) in cases {
            let sorted = |seed: u64, transform: fn(f64) -> f64| {
                let mut values: Vec<f64> = uniform(seed, 20_000).into_iter().map(transform).collect();
                values.sort_unstable_by(f64::total_cmp);
                values
            };
            let (reference, current) = (sorted(1, reference), sorted(2, current));
            #[allow(clippy::cast_precision_loss)]
            let exact = reference.iter().zip(&current).map(|(r, c)| (r - c).abs()).sum::<f64>() / reference.len() as f64;
            let bins = bins(&reference);
            let counts = |values: &[f64]| {
                let mut counts = vec![0u64; bins.cells()];
                values.iter().for_each(|value| counts[bins.cell(*value)] += 1);
                counts
            };
            let tails = |values: &[f64]| Tails {
                below: values.iter().map(|value| (bins.edges[0] - value).max(0.0)).sum(),
                above: values.iter().map(|value| (value - bins.max).max(0.0)).sum(),
            };
            let (r, c) = (counts(&reference), counts(&current));
            let binned = distance(&bins.edges, &r, &c, tails(&reference), tails(&current)).unwrap();
            let error = (binned - exact).abs();
            let sd = spread(&reference).sd;
            assert!(error <= 0.02 * exact || error <= 0.01 * sd, "{name}: {binned} for {exact}, sd {sd}, {} edges", bins.edges.len());
            let exact = energy_of(&reference, &current);
            let (of_r, of_c) = (tails(&reference), tails(&current));
            let binned = energy::distance(&bins.edges, &r, &c, of_r, of_c).unwrap();
            let error = (binned - exact).abs();
            assert!(error <= 0.02 * exact || error <= 0.01 * sd.sqrt(), "energy of {name}: {binned} for {exact}, sd {sd}");
            let bound = energy::bound(&bins.edges, &r, &c, of_r, of_c).unwrap();
            assert!(error <= bound + 1e-9 * sd.sqrt(), "energy of {name}: off by {error}, bound {bound}");
        }
    }

    proptest! {
        #[test]
        fn edges_ascend_and_hold_the_reference(values in prop::collection::vec(prop_oneof![-5f64..5.0, Just(0.0), any::<f64>().prop_filter("finite", |v| v.is_finite())], 1..400)) {
            let bins = bins(&values);
            prop_assert!(bins.edges.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(bins.edges.iter().all(|edge| edge.is_finite()));
            prop_assert!(bins.scale.is_finite() && bins.scale > 0.0 && bins.center.is_finite());
            prop_assert!(bins.coarse_edges.iter().all(|edge| bins.edges.contains(edge)));
            for value in &values {
                let cell = bins.cell(*value);
                prop_assert!(cell > 0 || *value == -f64::MAX);
                prop_assert!(cell < bins.edges.len());
            }
        }
    }
}
