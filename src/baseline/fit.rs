//! What a baseline's spaces are fitted to: gathered while the rows are counted, in memory that does not grow with them.
//!
//! The joint space of the numeric features is fitted to the exact mean and covariance of all rows that have every feature.
//! Embeddings, whose covariance would be large, are fitted to a sample of rows. Samples are the rows of least hash of their number,
//! so that the same rows give the same fit however they come in batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use statrs::distribution::{ContinuousCDF, Normal};

use crate::event::{Metric, Subject};
use crate::stats::correlation::{PairSums, spread};
use crate::stats::fourier::median_distance;
use crate::stats::matrix::{Directions, add_scaled, dot, eigenvectors, principal};
use crate::stats::quadratic::Spectrum;
use crate::stats::random::SplitMix64;
use crate::window::Pane;

use super::layout::{Column, ColumnKind, Layout, NumericBins, SPECIAL};
use super::rows::{ColumnData, MISSING_COLUMN, RawType, Role, RowBatch};
use super::space::{Centroid, Dependence, Joint, Kernel, Reconstruction, Space, Work};

/// Share of the variance that the components of a reconstruction explain together, at least: what other tools take.
const EXPLAINED: f64 = 0.65;
/// Components of an embedding at most: each costs a scalar product for every event.
const COMPONENTS: usize = 32;
/// Numeric features of the joint space at most: fitting takes the cube of it.
pub const JOINT_FEATURES: usize = 256;
/// Features whose correlations are watched: 435 pairs, each an exact sum in every pane.
pub const CORRELATED: usize = 30;
/// Rows of a sample that spaces are fitted to.
const SAMPLE: usize = 2_048;
/// Rows of the sample whose distances are compared: 130,000 pairs place the median well enough.
const DISTANCES: usize = 512;
/// Start of all draws; each space adds its number. Any fixed number does, so that the same rows give the same baseline.
const SEED: u64 = 0x64_72_69_66_74;

/// The rows of least hash.
#[derive(Clone, Debug, Default)]
struct Sample(BTreeMap<u64, Vec<f64>>);

impl Sample {
    fn add(&mut self, hash: u64, row: &[f64]) {
        if self.0.len() >= SAMPLE && self.0.last_key_value().is_some_and(|(last, _)| *last < hash) {
            return;
        }
        self.0.insert(hash, row.to_vec());
        if self.0.len() > SAMPLE {
            self.0.pop_last();
        }
    }

    fn standardised(&self, center: &[f64], scale: &[f64]) -> Vec<Vec<f64>> {
        let of = |row: &Vec<f64>| row.iter().zip(center.iter().zip(scale)).map(|(value, (c, s))| (value - c) / s).collect();
        self.0.values().map(of).collect()
    }
}

pub(super) fn hash(row: u64) -> u64 {
    SplitMix64::new(SEED ^ row).next_u64()
}

/// Whether a row may be one that embeddings are fitted to: half of them, so that there are others to know the residual of.
fn may_be_fitted(hash: u64) -> bool {
    hash & 1 == 0
}

/// One numeric feature of the joint space.
#[derive(Clone, Debug)]
struct Input {
    name: Arc<str>,
    role: Role,
    raw: RawType,
    bins: NumericBins,
    /// Place of its column in the layout.
    column: usize,
}

/// Rows with every numeric feature.
#[derive(Clone, Debug, Default)]
struct JointFit {
    inputs: Vec<Input>,
    count: u64,
    sums: Vec<f64>,
    products: Vec<Vec<f64>>,
    sample: Sample,
}

/// One embedding.
#[derive(Clone, Debug)]
struct VectorFit {
    role: Role,
    column: usize,
    dimension: usize,
    count: u64,
    sums: Vec<f64>,
    squares: f64,
    sample: Sample,
}

/// Gathers what spaces are fitted to.
#[derive(Clone, Debug)]
pub(super) struct Fitting {
    wanted: Vec<Metric>,
    rows: u64,
    joint: Option<JointFit>,
    vectors: Vec<VectorFit>,
}

/// The rows that embeddings were fitted to, by column: those whose hash is at most this.
pub(super) type Fitted = BTreeMap<usize, u64>;

/// Whether a row is one that an embedding was fitted to.
pub(super) fn is_fitted(row: u64, up_to: Option<u64>) -> bool {
    let hash = hash(row);
    may_be_fitted(hash) && up_to.is_some_and(|up_to| hash <= up_to)
}

impl Fitting {
    /// What there is to fit of a layout; `None` for nothing.
    pub(super) fn new(layout: &Layout, sources: &[(Role, RawType)], wanted: &[Metric], notes: &mut Vec<String>) -> Option<Fitting> {
        let columns = || layout.columns.iter().zip(sources).enumerate();
        let vectors = columns().filter_map(|(column, (of, (role, _)))| match &of.kind {
            ColumnKind::Embedding(space) => {
                let dimension = space.dimension();
                let (sums, sample) = (vec![0.0; dimension], Sample::default());
                Some(VectorFit { role: role.clone(), column, dimension, count: 0, sums, squares: 0.0, sample })
            }
            _ => None,
        });
        let vectors: Vec<VectorFit> = vectors.collect();
        let numbers = columns().filter_map(|(column, (of, (role, raw)))| match (&of.subject, &of.kind) {
            (Subject::Feature(name), ColumnKind::Numeric(bins)) => {
                Some(Input { name: Arc::clone(name), role: role.clone(), raw: *raw, bins: bins.clone(), column })
            }
            _ => None,
        });
        let mut inputs: Vec<Input> = numbers.collect();
        let joint = [Metric::ReconstructionError, Metric::Mmd, Metric::CorrelationShift];
        let is_wanted = wanted.iter().any(|metric| joint.contains(metric));
        if is_wanted && inputs.len() > JOINT_FEATURES {
            notes.push(format!("multivariate drift: of the first {JOINT_FEATURES} of {} numeric features", inputs.len()));
            inputs.truncate(JOINT_FEATURES);
        }
        let count = inputs.len();
        let joint = (is_wanted && count >= 2).then(|| JointFit {
            inputs,
            sums: vec![0.0; count],
            products: vec![vec![0.0; count]; count],
            ..JointFit::default()
        });
        if is_wanted && joint.is_none() && vectors.is_empty() {
            notes.push("multivariate drift: not measured, there are fewer than two numeric features and no embedding".to_owned());
        }
        (joint.is_some() || !vectors.is_empty()).then(|| Fitting { wanted: wanted.to_vec(), rows: 0, joint, vectors })
    }

    /// Takes the rows of a batch in.
    pub(super) fn add(&mut self, batch: &RowBatch, columns: &BTreeMap<&Role, &ColumnData>) {
        let find = |role: &Role| columns.get(role).copied().unwrap_or(&MISSING_COLUMN);
        if let Some(joint) = &mut self.joint {
            let data: Vec<&ColumnData> = joint.inputs.iter().map(|input| find(&input.role)).collect();
            let mut values = Vec::with_capacity(joint.inputs.len());
            for (row, number) in (0..batch.rows).zip(self.rows..) {
                values.clear();
                // Around the mean and in the spread of each column, so that neither costs digits.
                values.extend(joint.inputs.iter().zip(&data).map_while(|(input, data)| {
                    data.scalar(row, input.raw).counted().map(|value| (value - input.bins.center) / input.bins.scale)
                }));
                if values.len() == joint.inputs.len() {
                    joint.count += 1;
                    add_scaled(&mut joint.sums, &values, 1.0);
                    for (sums, value) in joint.products.iter_mut().zip(&values) {
                        add_scaled(sums, &values, *value);
                    }
                    joint.sample.add(hash(number), &values);
                }
            }
        }
        for vectors in &mut self.vectors {
            let data = find(&vectors.role);
            for (row, number) in (0..batch.rows).zip(self.rows..) {
                let scalar = data.scalar(row, RawType::Text);
                let Some(vector) = scalar.vector().filter(|vector| vector.len() == vectors.dimension) else { continue };
                vectors.count += 1;
                add_scaled(&mut vectors.sums, vector, 1.0);
                vectors.squares += dot(vector, vector);
                let hash = hash(number);
                if may_be_fitted(hash) {
                    vectors.sample.add(hash, vector);
                }
            }
        }
        self.rows += batch.rows as u64;
    }

    /// Puts the spaces into a layout, and says which rows embeddings were fitted to.
    pub(super) fn finish(self, layout: &Layout, pane: &Pane, notes: &mut Vec<String>) -> (Layout, Fitted) {
        let Fitting { wanted, joint, vectors, .. } = self;
        let mut fitted = Fitted::new();
        let mut columns: Vec<(Subject, ColumnKind)> =
            layout.columns.iter().map(|column| (column.subject.clone(), column.kind.clone())).collect();
        for (number, vectors) in (1..).zip(vectors) {
            if let Some((last, _)) = vectors.sample.0.last_key_value() {
                fitted.insert(vectors.column, *last);
            }
            if let Some((_, kind)) = columns.get_mut(vectors.column) {
                *kind = ColumnKind::Embedding(Box::new(vectors.finish(&wanted, SEED + number)));
            }
        }
        let joint = joint.and_then(|joint| {
            let found = joint.finish(layout, pane, &wanted);
            if found.is_none() {
                notes.push("multivariate drift: not measured, no more than three rows have every numeric feature".to_owned());
            }
            found
        });
        let sampled = layout.sampled.as_deref().unwrap_or(&[]);
        (Layout::new(columns).with_sampled(sampled).with_joint(joint), fitted)
    }
}

/// The fewest directions that explain enough, with the share of each.
fn reconstruction(directions: Directions, total: f64, most: usize) -> Option<Reconstruction> {
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let mut explained = Vec::new();
    for variance in directions.variances.iter().take(most) {
        explained.push(variance / total);
        if explained.iter().sum::<f64>() > EXPLAINED {
            break;
        }
    }
    let components = directions.vectors.into_iter().take(explained.len()).collect();
    Some(Reconstruction { components, explained })
}

fn kernel(rows: &[Vec<f64>], seed: u64) -> Option<Kernel> {
    let length = rows.first()?.len();
    let bandwidth = median_distance(rows.get(..DISTANCES).unwrap_or(rows))?;
    let mut kernel = Kernel::new(seed, length, bandwidth, None);
    let features: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let mut features = Vec::new();
            kernel.append(row, &mut features);
            features
        })
        .collect();
    kernel.spectrum = Spectrum::of(&features);
    Some(kernel)
}

impl JointFit {
    #[allow(clippy::cast_precision_loss)]
    fn finish(self, layout: &Layout, pane: &Pane, wanted: &[Metric]) -> Option<Joint> {
        let JointFit { inputs, count, sums, mut products, sample } = self;
        if count < 4 {
            return None;
        }
        let n = count as f64;
        let means: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        for (row, mean) in products.iter_mut().zip(&means) {
            for (product, other) in row.iter_mut().zip(&means) {
                *product = *product / n - mean * other;
            }
        }
        let variances = products.iter().enumerate().map(|(place, row)| row.get(place).copied().unwrap_or(0.0));
        // What is left of a constant after rounding is no variance.
        let deviations: Vec<f64> = variances.map(|variance| if variance > 1e-20 { variance.sqrt() } else { 0.0 }).collect();
        let divisors: Vec<f64> = deviations.iter().map(|deviation| if *deviation > 0.0 { *deviation } else { 1.0 }).collect();
        for (row, deviation) in products.iter_mut().zip(&divisors) {
            for (product, other) in row.iter_mut().zip(&divisors) {
                *product /= deviation * other;
            }
        }
        for (place, (row, deviation)) in products.iter_mut().zip(&deviations).enumerate() {
            row.get_mut(place).into_iter().for_each(|value| *value = f64::from(u8::from(*deviation > 0.0)));
        }
        let rows = sample.standardised(&means, &divisors);
        let mut space = Space {
            center: inputs.iter().zip(&means).map(|(input, mean)| input.bins.center + input.bins.scale * mean).collect(),
            // A column without spread is divided by 1.
            scale: inputs.iter().zip(&deviations).map(|(input, sd)| if *sd > 0.0 { input.bins.scale * sd } else { 1.0 }).collect(),
            ..Space::default()
        };
        if wanted.contains(&Metric::ReconstructionError) {
            let total = deviations.iter().filter(|deviation| **deviation > 0.0).count() as f64;
            space.reconstruction = reconstruction(eigenvectors(&products), total, usize::MAX);
        }
        if wanted.contains(&Metric::Mmd) {
            space.kernel = kernel(&rows, SEED);
        }
        let mut dependence = None;
        if wanted.contains(&Metric::CorrelationShift) {
            let features: Vec<usize> =
                (0..).zip(&deviations).filter(|(_, sd)| **sd > 0.0).map(|(place, _)| place).take(CORRELATED).collect();
            let columns = features.iter().filter_map(|place| layout.columns.get(inputs.get(*place)?.column));
            let scores: Vec<Vec<f64>> = columns.map(|column| normal_scores(column, pane)).collect();
            // Back to values, and to the score of each.
            let of_row = |row: &Vec<f64>| -> Vec<f64> {
                let of = |(feature, scores): (&usize, &Vec<f64>)| {
                    let (input, value) = (inputs.get(*feature)?, row.get(*feature)?);
                    scores.get(input.bins.cell(input.bins.center + input.bins.scale * value)).copied()
                };
                features.iter().zip(&scores).filter_map(of).collect()
            };
            let sample: Vec<Vec<f64>> = sample.0.values().map(of_row).collect();
            dependence = (features.len() >= 2).then(|| Dependence { spread: spreads(&sample, features.len()), features, scores });
        }
        let features = inputs.into_iter().map(|input| input.name).collect();
        Some(Joint { features, space, dependence, moments: Vec::new() }).filter(|joint| !joint.is_empty())
    }
}

/// The normal quantile of the middle rank of each data cell, over the reference. Open ends have the ranks beside the first and last.
pub(super) fn normal_scores(column: &Column, pane: &Pane) -> Vec<f64> {
    let counts = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells()).unwrap_or(&[]);
    let total: u64 = counts.iter().sum();
    let mut below = 0u64;
    let normal = Normal::standard();
    #[allow(clippy::cast_precision_loss)]
    let score = |count: &u64| {
        let rank = (below as f64 + *count as f64 / 2.0).clamp(0.5, (total as f64 - 0.5).max(0.5));
        below += count;
        normal.inverse_cdf(rank / total.max(1) as f64)
    };
    counts.iter().map(score).collect()
}

/// By pair: the variance of the correlation of two scores, times the number of rows.
#[allow(clippy::cast_precision_loss)]
fn spreads(rows: &[Vec<f64>], features: usize) -> Vec<f64> {
    let n = rows.len().max(1) as f64;
    let score = |row: &Vec<f64>, place: usize| row.get(place).copied().unwrap_or(0.0);
    let standard: Vec<(f64, f64)> = (0..features)
        .map(|place| {
            let mean = rows.iter().map(|row| score(row, place)).sum::<f64>() / n;
            let variance = rows.iter().map(|row| (score(row, place) - mean).powi(2)).sum::<f64>() / n;
            (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
        })
        .collect();
    let mut spreads = Vec::with_capacity(features * features / 2);
    for (right, (right_mean, right_sd)) in standard.iter().enumerate() {
        for (left, (left_mean, left_sd)) in standard.iter().enumerate().take(right) {
            let pairs = rows.iter().map(|row| ((score(row, left) - left_mean) / left_sd, (score(row, right) - right_mean) / right_sd));
            let product = pairs.clone().map(|(x, y)| x * y).sum::<f64>();
            let sums = PairSums { count: rows.len() as u64, squares: (n, n), product, ..PairSums::default() };
            spreads.push(spread(pairs, sums.correlation().unwrap_or(0.0)).unwrap_or(1.0));
        }
    }
    spreads
}

impl VectorFit {
    #[allow(clippy::cast_precision_loss)]
    fn finish(self, wanted: &[Metric], seed: u64) -> Space {
        let n = self.count.max(1) as f64;
        let center: Vec<f64> = self.sums.iter().map(|sum| sum / n).collect();
        // The root of the mean squared distance from the centre.
        let variance = self.squares / n - dot(&center, &center);
        let scale = if variance > 1e-20 * self.squares / n { variance.sqrt() } else { 1.0 };
        let scale = vec![scale; self.dimension];
        let rows = self.sample.standardised(&center, &scale);
        let mut space = Space { center, scale, ..Space::default() };
        space.centroid = Some(Centroid { spectrum: Spectrum::of(&rows) });
        if wanted.contains(&Metric::ReconstructionError) {
            let total = rows.iter().map(|row| dot(row, row)).sum::<f64>() / rows.len().max(1) as f64;
            space.reconstruction = reconstruction(principal(&rows, COMPONENTS, seed), total, COMPONENTS);
        }
        if wanted.contains(&Metric::Mmd) {
            space.kernel = kernel(&rows, seed);
        }
        space
    }
}

/// Adds what a row of the joint space has to the sums of a pane, and what one of an embedding has.
#[derive(Debug, Default)]
pub(super) struct Projection {
    numbers: Vec<(f64, usize)>,
    terms: Vec<f64>,
    work: Work,
}

impl Projection {
    /// The terms of a row of the joint space, none where it lacks a feature. `values` are those of all numeric columns.
    pub(super) fn joint<'a>(&mut self, joint: &Joint, values: impl Iterator<Item = Option<(&'a NumericBins, f64)>>) -> &[f64] {
        self.numbers.clear();
        self.numbers.extend(values.map(|value| value.map_or((f64::NAN, 0), |(bins, value)| (value, bins.cell(value)))));
        self.terms.clear();
        joint.append(&self.numbers, &mut self.work, &mut self.terms);
        &self.terms
    }

    /// The terms of a vector.
    pub(super) fn vector(&mut self, space: &Space, vector: &[f64], is_fitted: bool) -> &[f64] {
        self.terms.clear();
        space.append(vector.iter().copied(), is_fitted, &mut self.work, &mut self.terms);
        &self.terms
    }
}
