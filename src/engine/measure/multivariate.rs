//! Drift of many dimensions at once: of the numeric features together, and of embeddings, from the sums of their spaces.

use crate::baseline::layout::{Column, ColumnKind, SPECIAL};
use crate::baseline::space::{Dependence, Joint, Space, SpaceSums};
use crate::baseline::{Baseline, Inflations, Kind};
use crate::engine::evidence::Evidence;
use crate::event::{Metric, Subject};
use crate::stats::correlation::{self, PairSums};
use crate::stats::counts::real;
use crate::stats::domain::{self, Groups};
use crate::stats::evidence::DesignEffects;
use crate::stats::exact::ExactSum;
use crate::stats::fourier::{chance, discrepancy};
use crate::stats::matrix::dot;
use crate::stats::welch::welch;
use crate::window::{Pane, SampleRow};

use super::{Reading, Wanted};

/// The readings of all spaces of a baseline among `wanted`, each with its subject.
#[must_use]
pub fn readings(baseline: &Baseline, reference: &Pane, current: &Pane, wanted: Wanted, evidence: Evidence) -> Vec<(Subject, Reading)> {
    let mut all = Vec::new();
    for column in &baseline.layout.columns {
        if let (ColumnKind::Embedding(space), Some(first)) = (&column.kind, column.sums) {
            let sums = |pane: &Pane| space.read(pane.sums.get(first..).unwrap_or(&[]));
            let (reference, current) = (sums(reference), sums(current));
            let mut readings = of_centroid(space, &reference, &current);
            readings.extend(of_space(space, &reference, &current, Designs::default(), &VECTOR_RECIPES));
            all.extend(readings.into_iter().map(|reading| (column.subject.clone(), reading)));
        }
    }
    if let Some(joint) = &baseline.layout.joint {
        let first = baseline.layout.joint_sums();
        let (reference, current) = (reference.sums.get(first..).unwrap_or(&[]), current.sums.get(first..).unwrap_or(&[]));
        let space = &joint.space;
        let (of_reference, of_current) = (space.read(reference), space.read(current));
        let designs = if evidence.design_effects { Designs::of(baseline, joint, of_current.count) } else { Designs::default() };
        let mut readings = of_space(space, &of_reference, &of_current, designs, &JOINT_RECIPES);
        readings.extend(joint.dependence.as_ref().map(|dependence| of_correlations(joint, dependence, (reference, current), designs.mean)));
        all.extend(readings.into_iter().map(|reading| (Subject::Model, reading)));
    }
    if baseline.layout.sampled.is_some() && wanted.has(Metric::DomainClassifierAuc) {
        all.push((Subject::Model, of_classifier(baseline, reference, current)));
    }
    all.retain(|(_, reading)| wanted.has(reading.metric));
    all
}

/// By how much dependence between rows inflates what is measured of the features together.
#[derive(Clone, Copy, Debug, Default)]
struct Designs {
    /// Of means, and of what is summed of values.
    mean: DesignEffects,
    /// Of distributions.
    order: DesignEffects,
}

impl Designs {
    /// As much as it inflates the features by themselves, in the mean: the first-order correction of Rao and Scott (1981), of
    /// the directions of a space for the cells of a table.
    fn of(baseline: &Baseline, joint: &Joint, n: u64) -> Designs {
        let is_joint = |column: &Column| column.moments.is_some_and(|place| joint.moments.contains(&place));
        let columns = baseline.layout.columns.iter().zip(&baseline.inflations);
        let inflations: Vec<&Inflations> = columns.filter(|(column, _)| is_joint(column)).filter_map(|(_, of)| of.as_ref()).collect();
        let mean = |kind| {
            let designs = || inflations.iter().map(|of| of.design(kind, n));
            let count = real(inflations.len() as u64);
            DesignEffects {
                reference: designs().map(|design| design.reference).sum::<f64>() / count,
                current: designs().map(|design| design.current).sum::<f64>() / count,
            }
        };
        if inflations.is_empty() { Designs::default() } else { Designs { mean: mean(Kind::Mean), order: mean(Kind::Order) } }
    }
}

/// Recipes of the reconstruction error and of the discrepancy.
type Recipes = [&'static str; 2];
const JOINT_RECIPES: Recipes = [
    "numeric features standardised, complete rows, components above 0.65 of variance, mean norm of the residual, Welch",
    "numeric features standardised, complete rows, Gaussian kernel of median bandwidth, 64 random directions, unbiased square",
];
const VECTOR_RECIPES: Recipes = [
    "components above 0.65 of variance, at most 32, mean norm of the residual in scales of the reference, Welch",
    "Gaussian kernel of median bandwidth, 64 random directions, unbiased square",
];

fn reading(metric: Metric, value: Option<f64>, p_value: Option<f64>, (n_reference, n): (u64, u64), recipe: &'static str) -> Reading {
    Reading { metric, value, p_value, n, n_reference, error: None, recipe }
}

fn of_space(
    space: &Space,
    reference: &SpaceSums,
    current: &SpaceSums,
    designs: Designs,
    [of_residual, of_kernel]: &Recipes,
) -> Vec<Reading> {
    let mut readings = Vec::new();
    if space.reconstruction.is_some() {
        let (r, c) = (&reference.residual, &current.residual);
        let test = r.sample().zip(c.sample()).and_then(|(r, c)| welch(r, c, designs.mean));
        let counts = (r.count, c.count);
        readings.push(reading(Metric::ReconstructionError, c.mean(), test.map(|test| test.p_value), counts, of_residual));
    }
    if let Some(kernel) = &space.kernel {
        let value = discrepancy(&reference.kernel, reference.count, &current.kernel, current.count);
        // The value has what chance adds taken off as for independent rows; dependent ones add more.
        let more = |sums: &SpaceSums, design: f64| chance(&sums.kernel, sums.count).map(|chance| (design - 1.0) * chance);
        let order = designs.order;
        let more = more(reference, order.reference).zip(more(current, order.current)).map(|(reference, current)| reference + current);
        let p = value.zip(more).zip(order.noise(reference.count, current.count));
        let p = p.and_then(|((value, more), noise)| kernel.spectrum?.p_value(value - more, noise));
        readings.push(reading(Metric::Mmd, value, p, (reference.count, current.count), of_kernel));
    }
    readings
}

/// How far the mean has moved: as an angle seen from the origin, and straight. Both have the evidence of the straight distance.
#[allow(clippy::cast_precision_loss)]
fn of_centroid(space: &Space, reference: &SpaceSums, current: &SpaceSums) -> Vec<Reading> {
    let Some(centroid) = &space.centroid else { return Vec::new() };
    let counts = (reference.count, current.count);
    let (n, m) = (reference.count as f64, current.count as f64);
    let mean = |sums: &SpaceSums| -> Vec<f64> {
        let standard = sums.centroid.iter().zip(space.center.iter().zip(&space.scale));
        standard.map(|(sum, (center, scale))| center + scale * (sum / sums.count.max(1) as f64)).collect()
    };
    let (left, right) = (mean(reference), mean(current));
    let lengths = (dot(&left, &left) * dot(&right, &right)).sqrt();
    let cosine = (lengths > 0.0).then(|| (1.0 - dot(&left, &right) / lengths).clamp(0.0, 2.0));
    let difference: Vec<f64> = left.iter().zip(&right).map(|(l, r)| l - r).collect();
    let distance = dot(&difference, &difference).sqrt();
    // In scales: the squared distance less what chance alone adds to it.
    let moved: f64 = reference.centroid.iter().zip(&current.centroid).map(|(r, c)| (c / m - r / n).powi(2)).sum();
    let chance = |sums: &SpaceSums, count: f64| (sums.squares - dot(&sums.centroid, &sums.centroid) / count) / (count * (count - 1.0));
    let noise = DesignEffects::default().noise(reference.count, current.count).filter(|_| n >= 2.0 && m >= 2.0);
    let excess = moved - chance(reference, n) - chance(current, m);
    let p = noise.and_then(|noise| centroid.spectrum?.p_value(excess, noise));
    let empty = reference.count == 0 || current.count == 0;
    let mut of_cosine = reading(
        Metric::CentroidCosine,
        cosine.filter(|_| !empty),
        p,
        counts,
        "1 - cosine of the means, p of their distance by the reference's covariance",
    );
    if cosine.is_none() && !empty {
        of_cosine.error = Some("zero_mean");
    }
    let euclidean = Some(distance).filter(|_| !empty);
    let recipe = "distance of the means in units of the vectors, p by the reference's covariance";
    vec![of_cosine, reading(Metric::CentroidEuclidean, euclidean, p, counts, recipe)]
}

/// The greatest change of a correlation, with the evidence of the surest one among all pairs.
fn of_correlations(
    joint: &Joint,
    dependence: &Dependence,
    (reference, current): (&[ExactSum], &[ExactSum]),
    design: DesignEffects,
) -> Reading {
    let sides = [reference, current].map(|sums| Side::new(joint, dependence, sums));
    let [of_reference, of_current] = &sides;
    let counts = (of_reference.count, of_current.count);
    let noise = design.noise(counts.0, counts.1);
    let (mut greatest, mut least, mut pairs): (Option<f64>, Option<f64>, u32) = (None, None, 0);
    let features = dependence.features.len();
    let places = (1..features).flat_map(|right| (0..right).map(move |left| (left, right)));
    for (place, ((left, right), spread)) in places.zip(&dependence.spread).enumerate() {
        let correlations = of_reference.correlation(left, right, place).zip(of_current.correlation(left, right, place));
        let Some((r, c)) = correlations else { continue };
        pairs += 1;
        let shift = (c - r).abs();
        greatest = Some(greatest.map_or(shift, |greatest| greatest.max(shift)));
        if let Some(p) = noise.and_then(|noise| correlation::p_value(r, c, *spread, noise)) {
            least = Some(least.map_or(p, |least: f64| least.min(p)));
        }
    }
    let p = least.map(|p| (p * f64::from(pairs)).min(1.0));
    let recipe = "greatest change of a correlation of normal scores by fine bins, p by Fisher's z and Bonferroni over the pairs";
    let mut reading = reading(Metric::CorrelationShift, greatest, p, counts, recipe);
    if pairs == 0 && counts.0 > 2 && counts.1 > 2 {
        reading.error = Some("constant_features");
    }
    reading
}

/// The sums of one side's scores.
struct Side {
    count: u64,
    sums: Vec<f64>,
    squares: Vec<f64>,
    products: Vec<f64>,
}

impl Side {
    fn new(joint: &Joint, dependence: &Dependence, sums: &[ExactSum]) -> Side {
        let features = dependence.features.len();
        let mut values = sums.iter().skip(joint.space.sums()).map(ExactSum::value);
        Side {
            count: joint.space.read(sums).count,
            sums: values.by_ref().take(features).collect(),
            squares: values.by_ref().take(features).collect(),
            products: values.collect(),
        }
    }

    fn correlation(&self, left: usize, right: usize, pair: usize) -> Option<f64> {
        let both = |list: &[f64]| Some((*list.get(left)?, *list.get(right)?));
        let product = *self.products.get(pair)?;
        PairSums { count: self.count, sums: both(&self.sums)?, squares: both(&self.squares)?, product }.correlation()
    }
}

/// Groups that the numbers of a column are put in for the classifier: as many as a sample of 500 can tell.
const NUMBER_GROUPS: u64 = 100;

/// How well events of the window are told from those of the reference, over the cells of all features.
fn of_classifier(baseline: &Baseline, reference: &Pane, current: &Pane) -> Reading {
    let columns: Vec<(Groups, Vec<u8>)> = baseline
        .layout
        .columns
        .iter()
        .filter(|column| column.sampled.is_some())
        // By all rows: the segments of a baseline have the same groups.
        .map(|column| groups(column, &baseline.reference.pane))
        .collect();
    let grouped = |pane: &Pane| -> Vec<Vec<u8>> {
        let of_row = |row: &SampleRow| {
            let group = |(cell, (_, groups)): (&u16, &(Groups, Vec<u8>))| groups.get(usize::from(*cell)).copied().unwrap_or(0);
            row.cells.iter().zip(&columns).map(group).collect()
        };
        pane.sample.rows().iter().map(of_row).collect()
    };
    let (left, right) = (grouped(reference), grouped(current));
    let groups: Vec<Groups> = columns.iter().map(|(groups, _)| *groups).collect();
    let told = domain::tell(&groups, &left, &right);
    let (value, p) = (told.map(|told| told.area), told.and_then(|told| told.p_value));
    // The events that the samples were drawn from.
    let events = |pane: &Pane| -> u64 {
        let column = baseline.layout.columns.iter().find(|column| column.sampled.is_some());
        column.and_then(|column| pane.cells.get(column.offset..column.offset + column.cells())).map_or(0, |cells| cells.iter().sum())
    };
    let recipe = "samples of 500 and 2000 over fine bins and levels, 50 boosted trees of depth 4, halves, p of the rank sum of one half";
    let mut reading = reading(Metric::DomainClassifierAuc, value, p, (events(reference), events(current)), recipe);
    if value.is_none() {
        reading.error = Some("sample_too_small");
    }
    reading
}

/// The group of each cell of a column: special cells by themselves, numbers in groups of like mass, levels as they are.
fn groups(column: &Column, pane: &Pane) -> (Groups, Vec<u8>) {
    let least = |group: u64| u8::try_from(group).unwrap_or(u8::MAX);
    let of_cells: Vec<u8> = match &column.kind {
        ColumnKind::Numeric(_) => {
            let counts = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells()).unwrap_or(&[]);
            let total = counts.iter().sum::<u64>().max(1);
            let mut below = 0;
            let of_cell = counts.iter().map(|count| {
                let group = (below * NUMBER_GROUPS / total).min(NUMBER_GROUPS - 1);
                below += count;
                least(SPECIAL as u64 + group)
            });
            (0..SPECIAL as u64).map(least).chain(of_cell).collect()
        }
        ColumnKind::Categorical(_) | ColumnKind::Embedding(_) => (0..column.cells() as u64).map(least).collect(),
    };
    let count = of_cells.iter().max().map_or(0, |most| most.saturating_add(1));
    (Groups { count, is_ordered: matches!(column.kind, ColumnKind::Numeric(_)) }, of_cells)
}
