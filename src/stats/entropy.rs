//! How evenly a sample is spread over levels.
//!
//! Knows nothing of what the levels are, and of no second sample.

use super::counts::{real, total};

/// Shannon's entropy of the shares of the cells, in nats: 0 where all lie in one, the logarithm of their number where all
/// are alike. What `scipy.stats.entropy(counts)` reports; biased low by about (cells - 1) / 2n (Miller 1955).
///
/// Source: Shannon (1948). `None` for an empty sample.
#[must_use]
pub fn entropy(counts: &[u64]) -> Option<f64> {
    let n = real(total(counts).filter(|n| *n > 0)?);
    let terms = counts.iter().filter(|count| **count > 0).map(|count| real(*count) / n).map(|share| -share * share.ln());
    Some(terms.sum::<f64>().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.entropy([1, 2, 0, 5]) is 0.9002560905, SciPy 1.17.1: -(1/8 ln 1/8 + 1/4 ln 1/4 + 5/8 ln 5/8).
        let value = entropy(&[1, 2, 0, 5]).unwrap();
        assert!((value - 0.900_256_090_5).abs() < 1e-6, "{value}");
        assert_eq!(entropy(&[0, 7]), Some(0.0));
        assert!((entropy(&[3, 3, 3]).unwrap() - 3f64.ln()).abs() < 1e-15);
        assert_eq!(entropy(&[0, 0]), None);
    }
}
