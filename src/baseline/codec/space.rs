//! Spaces, their sums and samples of rows, to the document and back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::baseline::document::{CentroidDocument, DependenceDocument, DocumentError, JointDocument, KernelDocument, SpaceDocument};
use crate::baseline::fit::{CORRELATED, JOINT_FEATURES};
use crate::baseline::layout::{Column, ColumnKind, Layout};
use crate::baseline::space::{Centroid, Dependence, Joint, Kernel, Reconstruction, Space};
use crate::event::Subject;
use crate::stats::exact::ExactSum;
use crate::stats::quadratic::Spectrum;
use crate::window::{REFERENCE_SAMPLE, Sample};

use super::{Checked, ensure, read_sum};

pub(super) fn document(space: &Space) -> SpaceDocument {
    let spectrum = |spectrum: Option<Spectrum>| spectrum.map(|spectrum| [spectrum.second, spectrum.third]);
    let alike = space.scale.windows(2).all(|pair| matches!(pair, [left, right] if left.to_bits() == right.to_bits()));
    SpaceDocument {
        center: space.center.clone(),
        scale: space.scale.iter().copied().take(if alike { 1 } else { usize::MAX }).collect(),
        centroid: space.centroid.as_ref().map(|centroid| CentroidDocument { spectrum: spectrum(centroid.spectrum) }),
        components: space.reconstruction.as_ref().map(|reconstruction| reconstruction.components.clone()),
        explained: space.reconstruction.as_ref().map_or_else(Vec::new, |reconstruction| reconstruction.explained.clone()),
        kernel: space.kernel.as_ref().map(|kernel| KernelDocument {
            seed: kernel.seed,
            bandwidth: kernel.bandwidth,
            spectrum: spectrum(kernel.spectrum),
        }),
    }
}

pub(super) fn joint_document(joint: &Joint) -> JointDocument {
    JointDocument {
        features: joint.features.iter().map(ToString::to_string).collect(),
        space: document(&joint.space),
        dependence: joint.dependence.as_ref().map(|dependence| DependenceDocument {
            features: dependence.features.clone(),
            scores: dependence.scores.clone(),
            spread: dependence.spread.clone(),
        }),
    }
}

pub(super) fn read(document: SpaceDocument, most: usize, field: &str) -> Checked<Space> {
    let SpaceDocument { center, mut scale, centroid, components, explained, kernel } = document;
    let dimension = center.len();
    let finite = |list: &[f64]| list.iter().all(|value| value.is_finite());
    ensure((1..=most).contains(&dimension), &format!("{field}.center"), || format!("{dimension} numbers, not 1 to {most}"))?;
    ensure(finite(&center), &format!("{field}.center"), || "not finite".to_owned())?;
    if let [one] = scale.as_slice() {
        scale = vec![*one; dimension];
    }
    ensure(scale.len() == dimension, &format!("{field}.scale"), || format!("{} numbers, not 1 or {dimension}", scale.len()))?;
    ensure(scale.iter().all(|scale| scale.is_finite() && *scale > 0.0), &format!("{field}.scale"), || "not above 0".to_owned())?;
    let reconstruction = components.map(|components| Reconstruction { components, explained });
    if let Some(reconstruction) = &reconstruction {
        let fits = |component: &Vec<f64>| component.len() == dimension && finite(component);
        let sound = reconstruction.components.iter().all(fits) && reconstruction.components.len() <= dimension;
        ensure(sound, &format!("{field}.components"), || format!("not vectors of {dimension} numbers"))?;
        let shares = reconstruction.explained.len() == reconstruction.components.len() && finite(&reconstruction.explained);
        ensure(shares, &format!("{field}.explained"), || "not one number for each component".to_owned())?;
    }
    let kernel = kernel.map(|kernel| {
        let at = format!("{field}.kernel");
        ensure(kernel.bandwidth.is_finite() && kernel.bandwidth > 0.0, &format!("{at}.bandwidth"), || "not above 0".to_owned())?;
        Ok::<_, DocumentError>(Kernel::new(kernel.seed, dimension, kernel.bandwidth, read_spectrum(kernel.spectrum, &at)?))
    });
    let centroid = centroid
        .map(|centroid| Ok::<_, DocumentError>(Centroid { spectrum: read_spectrum(centroid.spectrum, &format!("{field}.centroid"))? }));
    Ok(Space { center, scale, centroid: centroid.transpose()?, reconstruction, kernel: kernel.transpose()? })
}

fn read_spectrum(spectrum: Option<[f64; 2]>, field: &str) -> Checked<Option<Spectrum>> {
    let Some([second, third]) = spectrum else { return Ok(None) };
    let sound = second.is_finite() && second > 0.0 && third.is_finite();
    ensure(sound, &format!("{field}.spectrum"), || "not finite, or the first not above 0".to_owned())?;
    Ok(Some(Spectrum { second, third }))
}

/// Puts the joint space into a layout.
pub(super) fn read_joint(document: JointDocument, layout: Layout) -> Checked<Layout> {
    let JointDocument { features, space, dependence } = document;
    let mut seen = BTreeSet::new();
    let mut bins = Vec::with_capacity(features.len());
    for (place, name) in features.iter().enumerate() {
        let column = layout.column(&Subject::Feature(Arc::from(name.as_str()))).and_then(|place| layout.columns.get(place));
        let numeric = column.and_then(|column| if let ColumnKind::Numeric(bins) = &column.kind { Some(bins) } else { None });
        let field = format!("joint.features[{place}]");
        ensure(seen.insert(name), &field, || format!("'{name}' is there twice"))?;
        bins.push(numeric.ok_or_else(|| DocumentError::field(field, format!("'{name}' is not a numeric feature")))?);
    }
    let space = read(space, JOINT_FEATURES, "joint")?;
    ensure(space.dimension() == features.len(), "joint.center", || format!("not one number for each of {} features", features.len()))?;
    let dependence = dependence.map(|DependenceDocument { features: places, scores, spread }| {
        let ascending = places.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        let known = places.last().is_none_or(|last| *last < features.len());
        let count = places.len();
        ensure(ascending && known && (2..=CORRELATED).contains(&count), "joint.dependence.features", || {
            format!("not 2 to {CORRELATED} ascending places of features")
        })?;
        let fits = |(place, scores): (&usize, &Vec<f64>)| {
            bins.get(*place).is_some_and(|bins| bins.cells() == scores.len()) && scores.iter().all(|score| score.is_finite())
        };
        let sound = scores.len() == count && places.iter().zip(&scores).all(fits);
        ensure(sound, "joint.dependence.scores", || "not one for each cell of each feature".to_owned())?;
        let sound = spread.len() == count * (count - 1) / 2 && spread.iter().all(|spread| spread.is_finite() && *spread >= 0.0);
        ensure(sound, "joint.dependence.spread", || "not one for each pair of features".to_owned())?;
        Ok::<_, DocumentError>(Dependence { features: places, scores, spread })
    });
    let features = features.into_iter().map(Arc::from).collect();
    let joint = Joint { features, space, dependence: dependence.transpose()?, moments: Vec::new() };
    Ok(layout.with_joint(Some(joint)))
}

/// Sums as text; none at all where nothing was summed.
pub(super) fn sums_document(sums: &[ExactSum]) -> Vec<String> {
    sums.iter().map(ExactSum::to_text).collect()
}

/// Reads sums into their place in a pane.
pub(super) fn read_sums(texts: &[String], sums: &mut [ExactSum], field: &str) -> Checked<()> {
    ensure(texts.len() == sums.len(), field, || format!("{} sums, not {}", texts.len(), sums.len()))?;
    for (text, sum) in texts.iter().zip(sums) {
        *sum = read_sum(Some(text), field)?;
    }
    Ok(())
}

pub(super) fn sample_document(sample: &Sample) -> Vec<Vec<u64>> {
    sample.rows().iter().map(|row| std::iter::once(row.key).chain(row.cells.iter().map(|cell| u64::from(*cell))).collect()).collect()
}

/// Puts a sample into a layout.
pub(super) fn read_sampled(features: &[String], layout: Layout) -> Checked<Layout> {
    if features.is_empty() {
        return Ok(layout);
    }
    let names: Vec<Arc<str>> = features.iter().map(|name| Arc::from(name.as_str())).collect();
    let layout = layout.with_sampled(&names);
    let found = layout.sampled.as_deref().unwrap_or(&[]);
    ensure(found == names, "sampled", || "not numeric or categorical features in the order of the columns".to_owned())?;
    Ok(layout)
}

/// Reads sampled rows; every cell is one of its column.
pub(super) fn read_sample(rows: &[Vec<u64>], layout: &Layout, sample: &mut Sample, field: &str) -> Checked<()> {
    let columns: Vec<usize> = layout.columns.iter().filter(|column| column.sampled.is_some()).map(Column::cells).collect();
    let is_sampled = layout.sampled.is_some() || rows.is_empty();
    ensure(is_sampled && rows.len() <= REFERENCE_SAMPLE, field, || {
        format!("{} rows, more than {REFERENCE_SAMPLE} or of no features", rows.len())
    })?;
    for row in rows {
        let (key, cells) = row.split_first().ok_or_else(|| DocumentError::field(field, "an empty row"))?;
        let fits = cells.len() == columns.len() && cells.iter().zip(&columns).all(|(cell, count)| *cell < *count as u64);
        ensure(fits, field, || format!("the row of key {key} has not a cell of each sampled feature"))?;
        let cells: Vec<u16> = cells.iter().map(|cell| u16::try_from(*cell).unwrap_or(u16::MAX)).collect();
        sample.offer_within(REFERENCE_SAMPLE, *key, &cells);
    }
    Ok(())
}
