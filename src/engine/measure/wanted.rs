//! Which metrics a model measures, asked for once for each column and metric.

use crate::event::Metric;

/// A set of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted(u64);

impl Wanted {
    /// The set of a list.
    #[must_use]
    pub fn new(metrics: &[Metric]) -> Wanted {
        // A metric is a number below 64; a test says so.
        Wanted(metrics.iter().fold(0, |set, metric| set | 1 << *metric as u64))
    }

    /// Whether a metric is in it.
    #[inline]
    #[must_use]
    pub fn has(self, metric: Metric) -> bool {
        self.0 & (1 << metric as u64) != 0
    }

    /// Whether one of several is in it.
    #[must_use]
    pub fn has_any(self, metrics: &[Metric]) -> bool {
        metrics.iter().any(|metric| self.has(*metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_its_list_has() {
        for metric in Metric::ALL {
            assert!((metric as u64) < 64);
            let set = Wanted::new(&[metric, Metric::Psi]);
            assert!(Metric::ALL.into_iter().all(|other| set.has(other) == (other == metric || other == Metric::Psi)));
        }
        assert!(Wanted::new(&[Metric::Ks]).has_any(&[Metric::Psi, Metric::Ks]) && !Wanted::default().has_any(&Metric::ALL));
    }
}
