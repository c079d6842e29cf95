//! Raw rows with their bins, for the tests of what is measured over bins. Exists in tests only.

use proptest::prelude::*;

use super::random::SplitMix64;

/// Two samples, and the same over bins made from quantiles of the reference: right-closed, atoms alone between two edges.
#[derive(Clone, Debug)]
pub struct Rows {
    pub edges: Vec<f64>,
    pub reference: Vec<f64>,
    pub current: Vec<f64>,
    pub r: Vec<u64>,
    pub c: Vec<u64>,
}

impl Rows {
    /// Rows over at most so many bins, as a baseline has them: from below the least to the greatest value of the reference.
    pub fn new(reference: &[f64], current: &[f64], bins: usize) -> Rows {
        let mut sorted = reference.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut edges = vec![sorted[0].next_down(), sorted[sorted.len() - 1]];
        edges.extend((1..bins).map(|bin| sorted[(bin * (sorted.len() - 1)) / bins]));
        for atom in sorted.chunk_by(|a, b| a == b).filter(|atom| atom.len() * bins >= sorted.len() && atom.len() > 1) {
            edges.extend([atom[0].next_down(), atom[0]]);
        }
        Rows::over(edges, reference, current)
    }

    /// Rows where every value is an atom.
    pub fn of_atoms(reference: &[f64], current: &[f64]) -> Rows {
        Rows::over(reference.iter().chain(current).flat_map(|value| [value.next_down(), *value]).collect(), reference, current)
    }

    /// Whether a value lies in a bin of its own.
    pub fn is_atom(edges: &[f64], value: f64) -> bool {
        let cell = edges.partition_point(|edge| *edge < value);
        cell > 0 && cell < edges.len() && edges[cell - 1].next_up() >= edges[cell]
    }

    fn over(mut edges: Vec<f64>, reference: &[f64], current: &[f64]) -> Rows {
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        let counts = |values: &[f64]| {
            let mut counts = vec![0; edges.len() + 1];
            values.iter().for_each(|value| counts[edges.partition_point(|edge| edge < value)] += 1);
            counts
        };
        let (r, c) = (counts(reference), counts(current));
        Rows { edges, reference: reference.to_vec(), current: current.to_vec(), r, c }
    }
}

/// Few or many values with ties, atoms, constants and outliers, over few or many bins.
pub fn rows() -> impl Strategy<Value = Rows> {
    let value = prop_oneof![3 => -5f64..5.0, 3 => (-4i32..4).prop_map(f64::from), 1 => Just(0.0), 1 => -1e3f64..1e3, 1 => Just(1e6)];
    let sample = |most| prop::collection::vec(value.clone(), 1..most);
    (sample(150), sample(80), 1usize..60).prop_map(|(reference, current, bins)| Rows::new(&reference, &current, bins))
}

/// Large samples of several shapes, with and without a shift, over 512 bins.
pub fn shapes() -> Vec<(String, Rows)> {
    type Shape = (&'static str, fn(f64) -> f64);
    let shapes: [Shape; 6] = [
        ("uniform", |u| u),
        ("logistic", |u| (u / (1.0 - u)).ln()),
        ("log-logistic", |u| (u / (1.0 - u)).ln().exp()),
        ("pareto", |u| u.powf(-0.8)),
        ("integers", |u| (u * 12.0).floor()),
        ("zeros", |u| (u - 0.7).max(0.0)),
    ];
    let mut random = SplitMix64::new(11);
    let mut all = Vec::new();
    for (name, shape) in shapes {
        for bend in [1.0, 0.97, 0.8] {
            let mut draw = |count: usize, bend: f64| -> Vec<f64> {
                let uniform = |random: &mut SplitMix64| ((random.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
                (0..count).map(|_| shape(uniform(&mut random).powf(bend))).collect()
            };
            let (reference, current) = (draw(20_000, 1.0), draw(1_500, bend));
            all.push((format!("{name} ^ {bend}"), Rows::new(&reference, &current, 512)));
        }
    }
    all
}
