//! A space: what is summed of vectors of many dimensions, so that their drift can be measured from sums alone.
//!
//! There is one of the numeric features of an event together, the [`Joint`] space, and one of each embedding. Everything in
//! it is fixed when the baseline is built: the centre and the scale, the principal directions, the random directions of the
//! kernel. An event adds terms to exact sums in the pane, in this order:
//!
//! ```text
//! space    count | centroid: each dimension, squared length | residual: count, norm, norm squared | kernel: features
//! joint    those of its space | dependence: each score, each score squared, each product of two
//! ```
//!
//! Knows nothing of how it was fitted; `fit` does.

use std::sync::Arc;

use crate::event::Metric;
use crate::stats::exact::ExactSum;
use crate::stats::fourier::Fourier;
use crate::stats::matrix::{add_scaled, dot};
use crate::stats::moments::Sums;
use crate::stats::quadratic::Spectrum;

/// Longest embedding: that of the large models in use. A longer vector counts as a wrong type.
pub const MAX_DIMENSION: usize = 1_536;
/// Directions of the kernel, each with two features: the noise of the estimate is then that of some hundred events.
pub const KERNEL_DIRECTIONS: usize = 64;
/// Squared length, in squares of the scale, from which on a vector is left out of the sums: its terms would no longer be finite.
const FARTHEST: f64 = 1e150;

/// What is summed of vectors of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// The mean of the reference, by dimension.
    pub center: Vec<f64>,
    /// What deviations are divided by, by dimension.
    pub scale: Vec<f64>,
    /// Where the mean is watched.
    pub centroid: Option<Centroid>,
    /// Where the reconstruction error is.
    pub reconstruction: Option<Reconstruction>,
    /// Where the distribution is.
    pub kernel: Option<Kernel>,
}

/// The mean of vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Centroid {
    /// How the reference varies; `None` where it hardly does.
    pub spectrum: Option<Spectrum>,
}

/// The principal directions that vectors are reconstructed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reconstruction {
    /// Orthogonal, of length 1.
    pub components: Vec<Vec<f64>>,
    /// The share of the variance that each explains.
    pub explained: Vec<f64>,
}

/// Random features of a Gaussian kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// What the random directions are drawn from.
    pub seed: u64,
    /// The bandwidth, in scales.
    pub bandwidth: f64,
    /// How the features of the reference vary; `None` where they hardly do.
    pub spectrum: Option<Spectrum>,
    fourier: Fourier,
}

impl Kernel {
    /// The kernel of a seed and bandwidth for vectors of a length.
    #[must_use]
    pub fn new(seed: u64, length: usize, bandwidth: f64, spectrum: Option<Spectrum>) -> Kernel {
        Kernel { seed, bandwidth, spectrum, fourier: Fourier::new(seed, length, bandwidth, KERNEL_DIRECTIONS) }
    }

    /// Appends the features of a standardised vector.
    pub fn append(&self, vector: &[f64], out: &mut Vec<f64>) {
        self.fourier.append(vector, out);
    }
}

/// Memory that is used again for each vector.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// The standardised vector.
    vector: Vec<f64>,
    /// What the components leave of it.
    rest: Vec<f64>,
}

/// The sums of a space as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpaceSums {
    /// Vectors.
    pub count: u64,
    /// Sum by dimension, in scales from the centre, where the mean is watched.
    pub centroid: Vec<f64>,
    /// Sum of the squared lengths.
    pub squares: f64,
    /// Count and sums of the norms of the residuals.
    pub residual: Sums,
    /// Sums of the features of the kernel.
    pub kernel: Vec<f64>,
}

impl Space {
    /// Length of its vectors.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.center.len()
    }

    /// Number of its sums.
    #[must_use]
    pub fn sums(&self) -> usize {
        let centroid = self.centroid.as_ref().map_or(0, |_| self.dimension() + 1);
        let reconstruction = self.reconstruction.as_ref().map_or(0, |_| 3);
        1 + centroid + reconstruction + self.kernel.as_ref().map_or(0, |kernel| kernel.fourier.features())
    }

    /// Appends what a vector adds to each sum. Whether it did: a vector of another length, or too far out, adds nothing. Of
    /// vectors that the components were fitted to there is no residual: it would be smaller than that of others.
    pub fn append(&self, values: impl Iterator<Item = f64>, is_fitted: bool, work: &mut Work, out: &mut Vec<f64>) -> bool {
        work.vector.clear();
        work.vector.extend(values.zip(self.center.iter().zip(&self.scale)).map(|(value, (center, scale))| (value - center) / scale));
        let vector = &work.vector;
        let square = dot(vector, vector);
        // Not so, too, where it is not a number.
        let is_near = square < FARTHEST;
        if vector.len() != self.dimension() || !is_near {
            return false;
        }
        out.push(1.0);
        if self.centroid.is_some() {
            out.extend_from_slice(vector);
            out.push(square);
        }
        if let Some(reconstruction) = &self.reconstruction {
            if is_fitted {
                out.extend([0.0; 3]);
            } else {
                work.rest.clone_from(vector);
                for component in &reconstruction.components {
                    add_scaled(&mut work.rest, component, -dot(component, vector));
                }
                let square = dot(&work.rest, &work.rest);
                out.extend([1.0, square.sqrt(), square]);
            }
        }
        if let Some(kernel) = &self.kernel {
            kernel.append(vector, out);
        }
        true
    }

    /// Its sums as numbers, from the first of them on.
    #[must_use]
    pub fn read(&self, sums: &[ExactSum]) -> SpaceSums {
        let mut values = sums.iter().map(ExactSum::value);
        let mut read = SpaceSums { count: whole(values.next().unwrap_or(0.0)), ..SpaceSums::default() };
        if self.centroid.is_some() {
            read.centroid = values.by_ref().take(self.dimension()).collect();
            read.squares = values.next().unwrap_or(0.0);
        }
        if self.reconstruction.is_some() {
            let mut next = || values.next().unwrap_or(0.0);
            read.residual = Sums { count: whole(next()), sum: next(), squares: next() };
        }
        if let Some(kernel) = &self.kernel {
            read.kernel = values.take(kernel.fourier.features()).collect();
        }
        read
    }

    /// Takes out what a model does not ask for. Which of the sums stay.
    pub fn keep(&mut self, wanted: &[Metric]) -> Vec<bool> {
        let mut kept = vec![true; 1 + self.centroid.as_ref().map_or(0, |_| self.dimension() + 1)];
        if self.reconstruction.is_some() {
            kept.extend([wanted.contains(&Metric::ReconstructionError); 3]);
        }
        if let Some(kernel) = &self.kernel {
            kept.extend(std::iter::repeat_n(wanted.contains(&Metric::Mmd), kernel.fourier.features()));
        }
        self.reconstruction = self.reconstruction.take().filter(|_| wanted.contains(&Metric::ReconstructionError));
        self.kernel = self.kernel.take().filter(|_| wanted.contains(&Metric::Mmd));
        kept
    }
}

/// A count that was summed up: exact, and below 2^53 for any stream.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(sum: f64) -> u64 {
    sum as u64
}

/// The numeric features of an event together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joint {
    /// Names of the features, in the order of the layout.
    pub features: Vec<Arc<str>>,
    /// What is summed of the events that have all of them.
    pub space: Space,
    /// Where the structure of correlations is watched.
    pub dependence: Option<Dependence>,
    /// Index of the moments of each feature; set by the layout.
    pub moments: Vec<usize>,
}

/// The correlations of the first features with each other, over normal scores.
///
/// The score of a value is the normal quantile of its rank in the reference, by fine bin: it is bounded, so that no outlier
/// can make a correlation, and it is the same for a feature and for its logarithm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependence {
    /// Places of the features among those of the joint space.
    pub features: Vec<usize>,
    /// By feature and data cell.
    pub scores: Vec<Vec<f64>>,
    /// By pair, (0, 1), (0, 2), (1, 2), (0, 3), ...: the variance of its correlation times the number of events.
    pub spread: Vec<f64>,
}

impl Dependence {
    /// Number of its sums.
    #[must_use]
    pub fn sums(&self) -> usize {
        let features = self.features.len();
        2 * features + features * features.saturating_sub(1) / 2
    }
}

impl Joint {
    /// Number of its sums.
    #[must_use]
    pub fn sums(&self) -> usize {
        self.space.sums() + self.dependence.as_ref().map_or(0, Dependence::sums)
    }

    /// Appends what an event adds to each sum, from the value and data cell of each number of the layout. Whether it did: an event
    /// that lacks one of the features adds nothing.
    pub fn append(&self, numbers: &[(f64, usize)], work: &mut Work, out: &mut Vec<f64>) -> bool {
        let values = self.moments.iter().map(|place| numbers.get(*place).map_or(f64::NAN, |(value, _)| *value));
        if !self.space.append(values, false, work, out) {
            return false;
        }
        if let Some(dependence) = &self.dependence {
            let first = out.len();
            for (feature, scores) in dependence.features.iter().zip(&dependence.scores) {
                let cell = self.moments.get(*feature).and_then(|place| numbers.get(*place)).map(|(_, cell)| *cell);
                out.push(cell.and_then(|cell| scores.get(cell)).copied().unwrap_or(0.0));
            }
            let count = out.len() - first;
            out.extend_from_within(first..);
            out.iter_mut().skip(first + count).for_each(|score| *score *= *score);
            for right in 1..count {
                for left in 0..right {
                    let score = |place: usize| out.get(first + place).copied().unwrap_or(0.0);
                    let product = score(left) * score(right);
                    out.push(product);
                }
            }
        }
        true
    }

    /// Takes out what a model does not ask for. Which of the sums stay.
    pub fn keep(&mut self, wanted: &[Metric]) -> Vec<bool> {
        let mut kept = self.space.keep(wanted);
        let watched = wanted.contains(&Metric::CorrelationShift);
        kept.extend(std::iter::repeat_n(watched, self.dependence.as_ref().map_or(0, Dependence::sums)));
        self.dependence = self.dependence.take().filter(|_| watched);
        kept
    }

    /// Whether anything is left to measure.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.space.reconstruction.is_none() && self.space.kernel.is_none() && self.dependence.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space {
            center: vec![1.0, 2.0],
            scale: vec![1.0, 2.0],
            centroid: Some(Centroid::default()),
            reconstruction: Some(Reconstruction { components: vec![vec![1.0, 0.0]], explained: vec![0.9] }),
            kernel: Some(Kernel::new(1, 2, 1.0, None)),
        }
    }

    fn sums(space: &Space, vectors: &[&[f64]]) -> Vec<ExactSum> {
        let mut sums = vec![ExactSum::default(); space.sums()];
        let mut terms = Vec::new();
        for vector in vectors {
            terms.clear();
            if space.append(vector.iter().copied(), false, &mut Work::default(), &mut terms) {
                assert_eq!(terms.len(), space.sums());
            }
            sums.iter_mut().zip(&terms).for_each(|(sum, term)| sum.add(*term));
        }
        sums
    }

    #[test]
    fn sums_are_read_as_they_were_added() {
        let space = space();
        let read = space.read(&sums(&space, &[&[2.0, 4.0], &[0.0, 8.0]]));
        assert_eq!((read.count, read.centroid.as_slice(), read.squares), (2, &[0.0, 4.0][..], 12.0));
        assert_eq!(read.residual, Sums { count: 2, sum: 4.0, squares: 10.0 });
        assert_eq!(read.kernel.len(), 2 * KERNEL_DIRECTIONS);
    }

    #[test]
    fn vectors_that_cannot_be_summed_add_nothing() {
        let space = space();
        let none = sums(&space, &[&[1.0], &[1.0, f64::NAN], &[1e200, 1.0]]);
        assert!(none.iter().all(|sum| *sum == ExactSum::default()));
    }

    #[test]
    fn what_is_not_asked_for_is_taken_out_with_its_sums() {
        let whole = space();
        let all = sums(&whole, &[&[2.0, 4.0]]);
        let mut part = whole.clone();
        let kept = part.keep(&[Metric::Mmd]);
        let left: Vec<ExactSum> = all.into_iter().zip(&kept).filter(|(_, kept)| **kept).map(|(sum, _)| sum).collect();
        assert_eq!(left, sums(&part, &[&[2.0, 4.0]]));
        assert!(part.reconstruction.is_none() && part.kernel.is_some() && part.centroid.is_some());
    }
}
