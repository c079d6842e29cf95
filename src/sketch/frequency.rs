//! The most frequent names of a stream in bounded memory, how many names there are, and how many occur once.
//!
//! Up to `capacity` distinct names every count is exact. Beyond that two summaries share the work:
//!
//! * counts by Misra and Gries (Science of Computer Programming, 1982), as the Apache `DataSketches` "frequent items" sketch prunes
//!   them: when the table is full the median count is taken off every name and the lesser half is dropped. A count is
//!   then too low by at most [`Frequencies::undercount`], itself at most 2 n / capacity, and every name above that is still there;
//! * distinct names and singletons from adaptive sampling (Wegman; Flajolet, Computing 1990): names whose hash ends in `j` zero bits are
//!   counted exactly, `j` growing so that the sample fits; the numbers times 2^j are unbiased with a relative error of
//!   about 1.2 / sqrt(sample), 1 %. The hash is fixed, so the same stream gives the same numbers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Names that are counted at a time: about 2 MB of names of ordinary length.
pub const CAPACITY: usize = 20_000;

/// Collects names.
#[derive(Clone, Debug)]
pub struct FrequencySketch {
    capacity: usize,
    counts: FxHashMap<Arc<str>, u64>,
    undercount: u64,
    n: u64,
    /// Counts by hash, once the names no longer fit.
    sample: Option<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    counts: FxHashMap<u64, u64>,
    zero_bits: u32,
}

/// What a [`FrequencySketch`] has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Names with their counts by descending count, ties by name.
    pub names: Vec<(Arc<str>, u64)>,
    /// How much a count may be too low; 0 where all counts are exact.
    pub undercount: u64,
    /// Occurrences of any name.
    pub n: u64,
    /// Distinct names, estimated where counts are not exact.
    pub distinct: u64,
    /// Names that occur once, estimated where counts are not exact.
    pub singletons: u64,
}

impl Default for FrequencySketch {
    fn default() -> FrequencySketch {
        FrequencySketch::with_capacity(CAPACITY)
    }
}

impl FrequencySketch {
    /// A sketch that counts at most `capacity` names at a time.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> FrequencySketch {
        FrequencySketch { capacity: capacity.max(1), counts: FxHashMap::default(), undercount: 0, n: 0, sample: None }
    }

    /// Counts one name `count` times.
    #[inline]
    pub fn add(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        self.n += count;
        if let Some(sample) = &mut self.sample {
            sample.add(hash(name), count, self.capacity);
        }
        if let Some(known) = self.counts.get_mut(name) {
            *known += count;
            return;
        }
        self.counts.insert(Arc::from(name), count);
        if self.counts.len() > self.capacity {
            self.prune();
        }
    }

    /// Occurrences of any name.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// What was seen, with every name passed through `canonical` and names that become equal counted together.
    #[must_use]
    pub fn finish(self, canonical: impl Fn(&str) -> Option<Arc<str>>) -> Frequencies {
        let mut merged: FxHashMap<Arc<str>, u64> = FxHashMap::default();
        for (name, count) in self.counts {
            *merged.entry(canonical(&name).unwrap_or(name)).or_default() += count;
        }
        let mut names: Vec<(Arc<str>, u64)> = merged.into_iter().collect();
        names.sort_unstable_by(by_count);
        let (distinct, singletons) = match &self.sample {
            None => (names.len() as u64, names.iter().filter(|(_, count)| *count == 1).count() as u64),
            Some(sample) => {
                let singles = sample.counts.values().filter(|count| **count == 1).count() as u64;
                ((sample.counts.len() as u64) << sample.zero_bits, singles << sample.zero_bits)
            }
        };
        Frequencies { names, undercount: self.undercount, n: self.n, distinct, singletons }
    }

    #[cold]
    fn prune(&mut self) {
        if self.sample.is_none() {
            let mut sample = Sample { counts: FxHashMap::default(), zero_bits: 0 };
            for (name, count) in &self.counts {
                sample.add(hash(name), *count, self.capacity);
            }
            self.sample = Some(sample);
        }
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let median = *counts.select_nth_unstable(middle).1;
        self.undercount += median;
        let reduced = self.counts.drain().map(|(name, count)| (name, count.saturating_sub(median)));
        let mut names: Vec<(Arc<str>, u64)> = reduced.collect();
        names.sort_unstable_by(by_count);
        // At most half are above zero; the rest of the half are names for names' sake, so that a column of nothing but
        // singletons does not end without any.
        names.truncate((self.capacity / 2).max(1));
        self.counts.extend(names);
    }
}

impl Sample {
    fn add(&mut self, hash: u64, count: u64, capacity: usize) {
        if hash.trailing_zeros() < self.zero_bits {
            return;
        }
        *self.counts.entry(hash).or_default() += count;
        while self.counts.len() > capacity && self.zero_bits < 60 {
            self.zero_bits += 1;
            let zero_bits = self.zero_bits;
            self.counts.retain(|hash, _| hash.trailing_zeros() >= zero_bits);
        }
    }
}

/// By descending count, ties by name.
fn by_count(left: &(Arc<str>, u64), right: &(Arc<str>, u64)) -> std::cmp::Ordering {
    right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0))
}

/// FNV-1a over the bytes, then the finaliser of `SplitMix64`, so that the low bits are even too.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(sketch: FrequencySketch) -> Frequencies {
        sketch.finish(|_| None)
    }

    #[test]
    fn few_names_are_counted_exactly_with_ties_by_name() {
        let mut sketch = FrequencySketch::default();
        for name in ["b", "a", "c", "a", "b", "d"] {
            sketch.add(name, 1);
        }
        let seen = plain(sketch);
        let names: Vec<(&str, u64)> = seen.names.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(names, [("a", 2), ("b", 2), ("c", 1), ("d", 1)]);
        assert_eq!((seen.n, seen.distinct, seen.singletons, seen.undercount), (6, 4, 2, 0));
    }

    #[test]
    fn names_that_become_equal_are_counted_together() {
        let mut sketch = FrequencySketch::default();
        sketch.add("1", 1);
        sketch.add("1.0", 2);
        let seen = sketch.finish(|name| name.strip_suffix(".0").map(Arc::from));
        assert_eq!(seen.names, [(Arc::from("1"), 3)]);
    }

    #[test]
    fn many_names_keep_the_frequent_ones_and_estimate_the_rest() {
        let mut sketch = FrequencySketch::with_capacity(1_000);
        // 40,000 singletons, 5,000 pairs, and three heavy names that come only in the second half.
        for i in 0..50_000u32 {
            sketch.add(&format!("name{}", if i < 40_000 { i } else { 40_000 + (i - 40_000) / 2 }), 1);
            if i > 25_000 {
                for (heavy, every) in [("x", 2), ("y", 3), ("z", 5)] {
                    if i % every == 0 {
                        sketch.add(heavy, 1);
                    }
                }
            }
        }
        let seen = plain(sketch);
        let first: Vec<&str> = seen.names.iter().take(3).map(|(name, _)| &**name).collect();
        assert_eq!(first, ["x", "y", "z"]);
        assert!(seen.undercount > 0 && seen.undercount <= seen.n / 400, "{}", seen.undercount);
        #[allow(clippy::cast_precision_loss)]
        let (distinct, singletons) = (seen.distinct as f64 / 45_003.0, seen.singletons as f64 / 40_000.0);
        assert!((0.9..1.1).contains(&distinct) && (0.9..1.1).contains(&singletons), "{distinct} {singletons}");
    }
}
