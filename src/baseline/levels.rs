//! The levels of a categorical column: which are kept, which are folded into `other`, and how many more to expect.

use std::sync::Arc;

use crate::sketch::Frequencies;

use super::layout::Levels;

/// Levels with a cell of their own.
pub const KEPT: usize = 100;
/// Levels of the reference whose names are remembered; further ones count as unseen, and a note of the baseline says so.
pub const REMEMBERED: usize = 10_000;
/// Longest name of a level in bytes. Longer texts are hardly categories; they count as unseen, so that memory stays bounded.
pub const NAME_BYTES: usize = 1_024;

/// What a level survey has found.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelSummary {
    /// The kept and the folded levels.
    pub levels: Levels,
    /// Distinct levels, an estimate beyond the capacity of the sketch.
    pub distinct: u64,
    /// Levels that occur once.
    pub singletons: u64,
    /// Rows with a level.
    pub n: u64,
    /// Whether there are levels whose names are not remembered.
    pub forgets: bool,
}

/// Keeps the first [`KEPT`] levels by descending share, ties by name, and folds the next up to [`REMEMBERED`].
#[must_use]
pub fn choose(seen: &Frequencies) -> LevelSummary {
    let mut names = seen.names.iter().map(|(name, _)| Arc::clone(name));
    let kept: Vec<Arc<str>> = names.by_ref().take(KEPT).collect();
    let mut folded: Vec<Arc<str>> = names.by_ref().take(REMEMBERED - KEPT).collect();
    folded.sort_unstable();
    let forgets = names.next().is_some() || seen.undercount > 0;
    LevelSummary { levels: Levels::new(kept, folded), distinct: seen.distinct, singletons: seen.singletons, n: seen.n, forgets }
}

/// The share of values with a level that the reference has not seen, to be expected without any drift: singletons / n (Good,
/// Biometrika 1953; Turing). 0 without values.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn expected_unseen(singletons: u64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { singletons.min(n) as f64 / n as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::FrequencySketch;

    #[test]
    fn a_hundred_are_kept_and_the_rest_is_folded_or_forgotten() {
        let mut sketch = FrequencySketch::default();
        for i in 0..12_000u64 {
            sketch.add(&format!("l{i:05}"), if i == 7 { 5 } else { 1 });
        }
        let summary = choose(&sketch.finish(|_| None));
        assert_eq!((summary.levels.kept.len(), summary.levels.folded.len()), (KEPT, REMEMBERED - KEPT));
        assert_eq!((&*summary.levels.kept[0], &*summary.levels.kept[1]), ("l00007", "l00000"));
        assert!(summary.forgets);
        assert_eq!((summary.distinct, summary.singletons, summary.n), (12_000, 11_999, 12_004));
        assert!((expected_unseen(11_999, 12_004) - 0.99958).abs() < 1e-5);
    }
}
