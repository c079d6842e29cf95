//! Quantiles of a stream in bounded memory, with a guaranteed rank error.
//!
//! Up to [`EXACT_LIMIT`] values everything is kept and quantiles are exact, interpolated as `NumPy` does by default
//! (R's type 7). Beyond that the values go through a hierarchy of buffers: a full buffer of [`BUFFER`] values is sorted and every
//! second value moves on to the next level with twice the weight (Manku, Rajagopalan and Lindsay, SIGMOD 1998; the equal
//! buffers per level are those of Karnin, Lang and Liberty, FOCS 2016, "KLL").
//!
//! KLL tosses a coin for the odd or the even half. Here each level alternates, first the odd half, then the even: no
//! random numbers, and a bound instead of a probability. One compaction at weight `w` moves the rank of any point by 0 or
//! `+w` (odd half) or by 0 or `-w` (even half), so `c` compactions at that level move it by at most `w * ceil(c / 2)`. The
//! sum over the levels is tracked and is what [`Distribution::rank_error`] says: about `(log2(n / BUFFER) + 1) / (2 * BUFFER)`,
//! 2.9e-5 of the ranks at ten million values and 5.3e-5 at a billion.
//!
//! Bias: a level with an odd number of compactions leans upwards by at most its weight. Weak spot: the bound is on ranks, not on
//! values; in a heavy tail neighbouring ranks can lie far apart. Least and greatest value are exact.

/// Values that are kept as they are before the buffers take over: 8 MB.
pub const EXACT_LIMIT: usize = 1_000_000;
/// Values of one buffer (1 MB): a rank error under 1e-4 up to 1e12 values with at most 24 levels.
pub const BUFFER: usize = 131_072;

/// Collects finite numbers.
#[derive(Clone, Debug)]
pub struct QuantileSketch {
    exact_limit: usize,
    buffer: usize,
    exact: Vec<f64>,
    levels: Vec<Level>,
    n: u64,
    min: f64,
    max: f64,
}

#[derive(Clone, Debug, Default)]
struct Level {
    items: Vec<f64>,
    compactions: u64,
}

impl Default for QuantileSketch {
    fn default() -> QuantileSketch {
        QuantileSketch::with_limits(EXACT_LIMIT, BUFFER)
    }
}

impl QuantileSketch {
    /// A sketch that keeps `exact_limit` values and then uses buffers of `buffer` values (rounded up to an even number).
    #[must_use]
    pub fn with_limits(exact_limit: usize, buffer: usize) -> QuantileSketch {
        QuantileSketch {
            exact_limit,
            buffer: buffer.max(2).next_multiple_of(2),
            exact: Vec::new(),
            levels: Vec::new(),
            n: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds one value. NaN and infinities are ignored; -0.0 is 0.0.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let value = if value == 0.0 { 0.0 } else { value };
        self.n += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if self.levels.is_empty() {
            self.exact.push(value);
            if self.exact.len() > self.exact_limit {
                self.spill();
            }
        } else {
            self.insert(value);
        }
    }

    /// Number of values added.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The distribution of what was added.
    #[must_use]
    #[allow(clippy::float_cmp)] // Equal values are the same value.
    pub fn finish(self) -> Distribution {
        let rank_error = self.rank_error();
        let QuantileSketch { exact, levels, n, min, max, .. } = self;
        if levels.is_empty() {
            let mut values = exact;
            values.sort_unstable_by(f64::total_cmp);
            return Distribution { values, cumulative: None, n, min, max, rank_error };
        }
        let mut weighted: Vec<(f64, u64)> = Vec::with_capacity(levels.iter().map(|level| level.items.len()).sum());
        for (level, weight) in levels.into_iter().zip((0..63).map(|height| 1u64 << height)) {
            weighted.extend(level.items.into_iter().map(|value| (value, weight)));
        }
        weighted.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let (mut values, mut cumulative): (Vec<f64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut rank = 0;
        for (value, weight) in weighted {
            rank += weight;
            match (values.last(), cumulative.last_mut()) {
                (Some(last), Some(total)) if *last == value => *total = rank,
                _ => {
                    values.push(value);
                    cumulative.push(rank);
                }
            }
        }
        Distribution { values, cumulative: Some(cumulative), n, min, max, rank_error }
    }

    /// The guaranteed bound on the error of any rank, as a share of n.
    #[allow(clippy::cast_precision_loss)]
    fn rank_error(&self) -> f64 {
        let error: u64 = self
            .levels
            .iter()
            .zip((0..63).map(|height| 1u64 << height))
            .map(|(level, weight)| weight * level.compactions.div_ceil(2))
            .sum();
        if self.n == 0 { 0.0 } else { error as f64 / self.n as f64 }
    }

    #[cold]
    fn spill(&mut self) {
        self.levels.push(Level { items: Vec::with_capacity(self.buffer), compactions: 0 });
        for value in std::mem::take(&mut self.exact) {
            self.insert(value);
        }
    }

    #[inline]
    fn insert(&mut self, value: f64) {
        if let Some(first) = self.levels.first_mut() {
            first.items.push(value);
            if first.items.len() >= self.buffer {
                self.compact();
            }
        }
    }

    /// Compacts the first level, and each next one that this fills.
    #[cold]
    fn compact(&mut self) {
        let mut height = 0;
        while self.levels.get(height).is_some_and(|level| level.items.len() >= self.buffer) {
            if height + 1 == self.levels.len() {
                self.levels.push(Level::default());
            }
            let Some([level, next, ..]) = self.levels.get_mut(height..) else { return };
            if height == 0 {
                level.items.sort_unstable_by(f64::total_cmp);
            } else {
                // Two sorted runs: the stable sort merges them in one pass.
                level.items.sort_by(f64::total_cmp);
            }
            let even_half = level.compactions % 2 == 1;
            next.items.extend(level.items.iter().skip(usize::from(even_half)).step_by(2));
            level.items.clear();
            level.compactions += 1;
            height += 1;
        }
    }
}

/// A finished distribution: quantiles, ranks and atoms.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Sorted values; every single one where the distribution is exact, distinct ones otherwise.
    values: Vec<f64>,
    /// Cumulative weights of `values`, where it is not exact.
    cumulative: Option<Vec<u64>>,
    n: u64,
    min: f64,
    max: f64,
    rank_error: f64,
}

impl Distribution {
    /// Number of values.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Least and greatest value; `None` where there is none.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.n > 0).then_some((self.min, self.max))
    }

    /// The guaranteed bound on the error of any rank as a share of n; 0 where the distribution is exact.
    #[must_use]
    pub fn rank_error(&self) -> f64 {
        self.rank_error
    }

    /// The quantile `numerator / denominator`.
    ///
    /// Exact distributions interpolate linearly between order statistics, with the arithmetic of `numpy.quantile`, so that the bits
    /// agree; otherwise it is a value of the sample whose rank is within [`Distribution::rank_error`]. `None` without values.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile(&self, numerator: u32, denominator: u32) -> Option<f64> {
        if self.n == 0 {
            return None;
        }
        let share = (f64::from(numerator) / f64::from(denominator.max(1))).min(1.0);
        let Some(cumulative) = &self.cumulative else {
            let index = (self.values.len() - 1) as f64 * share;
            let low = self.values.get(index.floor() as usize).copied()?;
            let high = self.values.get(index.ceil() as usize).copied()?;
            return Some(interpolate(low, high, index - index.floor()));
        };
        if numerator == 0 {
            return Some(self.min);
        }
        if share >= 1.0 {
            return Some(self.max);
        }
        let target = ((share * self.n as f64).ceil() as u64).max(1);
        self.values.get(cumulative.partition_point(|rank| *rank < target)).copied().or(Some(self.max))
    }

    /// Number of values that are at most `value`.
    #[must_use]
    pub fn rank(&self, value: f64) -> u64 {
        let below = self.values.partition_point(|other| *other <= value);
        match &self.cumulative {
            None => below as u64,
            Some(cumulative) => below.checked_sub(1).and_then(|last| cumulative.get(last)).copied().unwrap_or(0),
        }
    }

    /// The values that hold at least one part in `parts` of the mass each, ascending; at most `parts` of them.
    #[must_use]
    #[allow(clippy::float_cmp)] // Equal values are the same value.
    pub fn atoms(&self, parts: u64) -> Vec<f64> {
        let mut atoms = Vec::new();
        let mut start = 0;
        while let Some(value) = self.values.get(start).copied() {
            // Galloping would be faster for few distinct values; one linear pass over a million is a millisecond.
            let run = self.values.iter().skip(start).take_while(|other| **other == value).count();
            let mass = match &self.cumulative {
                None => run as u64,
                Some(cumulative) => {
                    let before = start.checked_sub(1).and_then(|last| cumulative.get(last)).copied().unwrap_or(0);
                    cumulative.get(start).map_or(0, |rank| rank - before)
                }
            };
            if mass.saturating_mul(parts) >= self.n {
                atoms.push(value);
            }
            start += run;
        }
        atoms
    }
}

/// `low + (high - low) * t` with `NumPy`'s rounding: from the nearer end.
fn interpolate(low: f64, high: f64, t: f64) -> f64 {
    let difference = high - low;
    if !difference.is_finite() {
        return low * (1.0 - t) + high * t;
    }
    if t >= 0.5 { high - difference * (1.0 - t) } else { low + difference * t }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collect(mut sketch: QuantileSketch, values: &[f64]) -> Distribution {
        values.iter().for_each(|value| sketch.add(*value));
        sketch.finish()
    }

    fn exact(values: &[f64]) -> Distribution {
        collect(QuantileSketch::default(), values)
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 3, 4], [0, .1, .25, .5, .9, 1]), NumPy 2.3
        let four = exact(&[4.0, 1.0, 3.0, 2.0]);
        let at = |numerator, denominator| four.quantile(numerator, denominator).unwrap();
        assert_eq!([at(0, 1), at(1, 10), at(1, 4), at(1, 2), at(9, 10), at(1, 1)], [1.0, 1.3, 1.75, 2.5, 3.7, 4.0]);
        assert_eq!(exact(&[f64::MIN, f64::MAX]).quantile(1, 2), Some(0.0));
        assert_eq!(exact(&[]).quantile(1, 2), None);
    }

    #[test]
    fn negative_zero_and_what_is_not_finite() {
        let zeros = exact(&[-0.0, 0.0, f64::NAN, f64::INFINITY]);
        assert_eq!(zeros.n(), 2);
        assert!(zeros.range().unwrap().0.is_sign_positive());
        assert_eq!(zeros.atoms(2).len(), 1);
    }

    #[test]
    fn the_bound_stays_under_its_promise_at_a_billion() {
        // The bound depends only on the number of compactions: n / (BUFFER * 2^h) at level h.
        let n = 1_000_000_000u64;
        let mut sketch = QuantileSketch { n, ..QuantileSketch::default() };
        let mut compactions = n / BUFFER as u64;
        while compactions > 0 {
            sketch.levels.push(Level { items: vec![], compactions });
            compactions /= 2;
        }
        assert!(sketch.rank_error() < 1e-4, "{}", sketch.rank_error());
        assert!(sketch.rank_error() > 1e-5);
    }

    #[test]
    fn sorted_reversed_and_shuffled_streams_keep_the_bound() {
        let n = 200_000u64;
        let streams: [Box<dyn Fn(u64) -> u64>; 3] =
            [Box::new(|i| i), Box::new(move |i| n - 1 - i), Box::new(move |i| i.wrapping_mul(2_654_435_761) % n)];
        for stream in streams {
            let values: Vec<f64> = (0..n).map(|i| stream(i) as f64).collect();
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let sketch = collect(QuantileSketch::with_limits(1_000, 512), &values);
            assert!(sketch.rank_error() > 0.0 && sketch.rank_error() < 0.02, "{}", sketch.rank_error());
            for k in 1..512 {
                let value = sketch.quantile(k, 512).unwrap();
                let target = f64::from(k) / 512.0 * n as f64;
                let low = sorted.partition_point(|other| *other < value) as f64;
                let high = sorted.partition_point(|other| *other <= value) as f64;
                let slack = sketch.rank_error() * n as f64 + 1.0;
                assert!(low - slack <= target && target <= high + slack, "{k}: {low} {target} {high}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_rank_is_within_the_bound(values in prop::collection::vec(-40i32..40, 1..600), limit in 0usize..100, buffer in 2usize..40) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let sketch = collect(QuantileSketch::with_limits(limit, buffer), &values);
            let n = values.len() as f64;
            prop_assert_eq!(sketch.n(), values.len() as u64);
            prop_assert_eq!(sketch.rank(1e9), values.len() as u64);
            for point in -41..41 {
                let truth = values.iter().filter(|value| **value <= f64::from(point)).count() as f64;
                let error = (sketch.rank(f64::from(point)) as f64 - truth).abs();
                prop_assert!(error <= sketch.rank_error() * n + 1e-6, "{} > {}", error, sketch.rank_error() * n);
            }
        }

        #[test]
        fn atoms_hold_their_share(values in prop::collection::vec(0u8..20, 1..300), parts in 1u64..30) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let expected: Vec<f64> = (0..20u8).map(f64::from)
                .filter(|atom| {
                    let mass = values.iter().filter(|value| *value == atom).count() as u64;
                    mass > 0 && mass * parts >= values.len() as u64
                })
                .collect();
            prop_assert_eq!(exact(&values).atoms(parts), expected);
        }
    }
}
