//! Numbers in, numbers out: effects, evidence and exact sums over counts.
//!
//! Layer 0. Nothing here knows what a feature, a window or a model is. Inputs are slices of counts; "reference" is the
//! baseline sample and "current" the window's. Slices that belong together have the same length, cell by cell.
//!
//! No function returns NaN or an infinity: where a number is undefined (an empty sample, slices of different lengths, a
//! constant reference) the answer is `None`, and the caller says why in the measurement's status.
//!
//! | module | what it answers |
//! |---|---|
//! | [`divergence`], [`contingency`] | effects over cells in any order: how big is the difference |
//! | [`ks`], [`wasserstein`], [`energy`], [`cramer_von_mises`], [`anderson_darling`] | effects over the [`bins`] of a number |
//! | [`evidence`], [`null`], [`limit`], [`rate`], [`welch`] | how sure are we of it, given the two sample sizes |
//! | [`inflation`] | how much less rows that belong together say than independent ones |
//! | [`adjust`], [`budget`] | what a p-value means among many, and how small it has to be |
//! | [`classification`], [`ranking`], [`regression`] | performance, from counts and sums |
//! | [`sequential`], [`onset`] | has something changed along a series, and since when |
//! | [`contribution`] | which cells, and which parts of the events, a difference comes from |
//! | [`moments`], [`exact`], [`quantile`], [`entropy`] | what one sample looks like |
//! | [`matrix`], [`fourier`], [`quadratic`], [`correlation`], [`domain`] | many dimensions at once: directions, kernels, distances of means |
//! | [`equal_width`] | the bins of other libraries, from ours |
//! | [`counts`], [`random`] | the small change: totals, shares, seeded draws |

pub mod adjust;
pub mod anderson_darling;
pub mod bins;
pub mod budget;
pub mod classification;
pub mod contingency;
pub mod contribution;
pub mod correlation;
pub mod counts;
pub mod cramer_von_mises;
pub mod divergence;
pub mod domain;
pub mod energy;
pub mod entropy;
pub mod equal_width;
pub mod evidence;
pub mod exact;
#[cfg(test)]
mod fixture;
pub mod fourier;
pub mod inflation;
pub mod ks;
pub mod limit;
pub mod matrix;
pub mod moments;
pub mod null;
pub mod onset;
pub mod quadratic;
pub mod quantile;
pub mod random;
pub mod ranking;
pub mod rate;
pub mod regression;
pub mod sequential;
pub mod wasserstein;
pub mod welch;
