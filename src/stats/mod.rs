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
//! | [`divergence`], [`ks`], [`wasserstein`], [`contingency`] | effects: how big is the difference |
//! | [`evidence`], [`null`], [`rate`], [`welch`] | how sure are we of it, given the two sample sizes |
//! | [`adjust`] | what a p-value means among many |
//! | [`classification`], [`ranking`], [`regression`] | performance, from counts and sums |
//! | [`moments`], [`exact`] | means and spreads, from exact sums |
//! | [`matrix`], [`fourier`], [`quadratic`], [`correlation`], [`domain`] | many dimensions at once: directions, kernels, distances of means |
//! | [`counts`], [`random`] | the small change: totals, shares, seeded draws |

pub mod adjust;
pub mod classification;
pub mod contingency;
pub mod correlation;
pub mod counts;
pub mod divergence;
pub mod domain;
pub mod evidence;
pub mod exact;
pub mod fourier;
pub mod ks;
pub mod matrix;
pub mod moments;
pub mod null;
pub mod quadratic;
pub mod random;
pub mod ranking;
pub mod rate;
pub mod regression;
pub mod wasserstein;
pub mod welch;
