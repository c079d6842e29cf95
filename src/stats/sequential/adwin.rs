//! ADWIN: a window that grows as long as all its cuts have means that could be of one distribution.
//!
//! Source: Bifet and Gavaldà, Learning from time-changing data with adaptive windowing (SDM 2007); variances of buckets after
//! Babcock, Datar, Motwani and O'Callaghan (PODS 2003).
//!
//! The window of W values is kept as buckets of 2^i values, at most `max_buckets` of each size, with sum and squared
//! deviations. Every `clock` values its cuts between two buckets, into an older part of `n0` and a newer one of `n1` values, are
//! tried: with d = ln(2 ln W / delta), 1/m = 1/(n0 - l + 1) + 1/(n1 - l + 1) for l = `min_window_length`, and the variance v of the
//! window, means that are further apart than sqrt(2 v d / m) + 2 d / (3 m) are a drift. No threshold has to be set.
//!
//! The paper then drops the older part and goes on with the newer one. As in River 0.26.1 the window begins anew here, as all
//! detectors do.
//!
//! When to trust: the second term of the bound assumes values within [0, 1]; for standardised values the first one governs, and the
//! promise of `delta` holds as well as the normal approximation does. Values that are autocorrelated, or go with the hour of the
//! day, are changes to it. Cost: a value is amortised constant; a check is of the order of the number of buckets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Signal;

/// Parameters of [`Adwin`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdwinSettings {
    /// How improbable a difference of means must be, above 0 and below 1.
    pub delta: f64,
    /// Values from one look at the cuts to the next, at least 1.
    pub clock: u32,
    /// Buckets of one size, at least 1.
    pub max_buckets: u32,
    /// Fewest values of a part, at least 1.
    pub min_window_length: u32,
    /// Values before the first look.
    pub grace_period: u32,
}

impl Default for AdwinSettings {
    fn default() -> AdwinSettings {
        AdwinSettings { delta: 0.002, clock: 32, max_buckets: 5, min_window_length: 5, grace_period: 10 }
    }
}

impl fmt::Display for AdwinSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdwinSettings { delta, clock, max_buckets, min_window_length, grace_period } = self;
        write!(
            f,
            "delta {delta}, clock {clock}, max_buckets {max_buckets}, min_window_length {min_window_length}, grace_period {grace_period}"
        )
    }
}

/// Values that lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

/// The squared deviations that two runs of values have together beyond those within each.
fn between(n0: f64, total0: f64, n1: f64, total1: f64) -> f64 {
    let gap = total0 / n0 - total1 / n1;
    n0 * n1 * gap * gap / (n0 + n1)
}

/// Adaptive windowing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    settings: AdwinSettings,
    /// By size: row i has buckets of 2^i values, the oldest first. There is always a first row.
    rows: Vec<Vec<Bucket>>,
    total: f64,
    squares: f64,
    width: f64,
    tick: u64,
    is_over: bool,
}

impl Adwin {
    /// A window without values.
    #[must_use]
    pub fn new(settings: AdwinSettings) -> Adwin {
        Adwin { settings, rows: vec![Vec::new()], total: 0.0, squares: 0.0, width: 0.0, tick: 0, is_over: false }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> AdwinSettings {
        self.settings
    }

    /// The most bytes that the buckets take after that many values.
    #[must_use]
    pub fn most_bytes(settings: &AdwinSettings, values: u64) -> usize {
        let in_a_row = settings.max_buckets as usize + 1;
        // A row begins when the one before it is full.
        let rows = (values / u64::from(settings.max_buckets.max(1)) + 1).ilog2() as usize + 1;
        rows * (size_of::<Vec<Bucket>>() + in_a_row.next_power_of_two() * size_of::<Bucket>())
    }

    /// Takes the next value.
    pub fn update(&mut self, x: f64) -> Signal {
        if self.is_over {
            *self = Adwin::new(self.settings);
        }
        self.insert(x);
        self.tick += 1;
        let is_due = self.tick.is_multiple_of(u64::from(self.settings.clock.max(1))) && self.width > f64::from(self.settings.grace_period);
        self.is_over = is_due && self.has_cut();
        if self.is_over { Signal::Drift } else { Signal::None }
    }

    fn insert(&mut self, x: f64) {
        if self.width > 0.0 {
            self.squares += between(1.0, x, self.width, self.total);
        }
        self.width += 1.0;
        self.total += x;
        if let Some(first) = self.rows.first_mut() {
            first.push(Bucket { total: x, squares: 0.0 });
        }
        self.compress();
    }

    /// Makes one of the two oldest buckets of each row that has too many.
    fn compress(&mut self) {
        let most = self.settings.max_buckets.max(1) as usize;
        let mut size = 1.0;
        for row in 0..self.rows.len() {
            let Some(buckets) = self.rows.get_mut(row).filter(|buckets| buckets.len() > most) else { break };
            let mut oldest = buckets.drain(..2);
            let (Some(first), Some(second)) = (oldest.next(), oldest.next()) else { break };
            drop(oldest);
            let squares = first.squares + second.squares + between(size, first.total, size, second.total);
            let both = Bucket { total: first.total + second.total, squares };
            match self.rows.get_mut(row + 1) {
                Some(next) => next.push(both),
                None => self.rows.push(vec![both]),
            }
            size *= 2.0;
        }
    }

    /// Whether the means of some cut are too far apart.
    fn has_cut(&self) -> bool {
        let least = f64::from(self.settings.min_window_length.max(1));
        let (mut older, mut older_total) = (0.0, 0.0);
        let (mut newer, mut newer_total) = (self.width, self.total);
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            let size = size_of_row(row);
            for bucket in buckets {
                older += size;
                newer -= size;
                older_total += bucket.total;
                newer_total -= bucket.total;
                let is_cut = || (older_total / older - newer_total / newer).abs() > self.bound(older - least, newer - least);
                if newer >= least && older >= least && is_cut() {
                    return true;
                }
            }
        }
        false
    }

    fn bound(&self, older: f64, newer: f64) -> f64 {
        let log = (2.0 * self.width.ln() / self.settings.delta).ln();
        let reciprocal = 1.0 / (older + 1.0) + 1.0 / (newer + 1.0);
        (2.0 * reciprocal * (self.squares / self.width) * log).sqrt() + 2.0 / 3.0 * log * reciprocal
    }
}

/// Values in each bucket of a row.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // A row for each power of two that a count can have.
fn size_of_row(row: usize) -> f64 {
    2f64.powi(row as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    #[test]
    fn the_window_is_its_values_and_takes_no_more_than_it_says() {
        let mut adwin = Adwin::new(AdwinSettings::default());
        let mut random = SplitMix64::new(1);
        for n in 1..=20_000u64 {
            adwin.update((random.next_u64() % 1_000) as f64 / 1_000.0);
            let held: usize = adwin.rows.iter().map(|row| size_of::<Vec<Bucket>>() + row.capacity() * size_of::<Bucket>()).sum();
            assert!(held <= Adwin::most_bytes(&adwin.settings, n), "{held} bytes for {n} values");
            let values: f64 = adwin.rows.iter().enumerate().map(|(row, buckets)| size_of_row(row) * buckets.len() as f64).sum();
            assert_eq!(values, adwin.width);
        }
        assert_eq!(adwin.width, 20_000.0, "nothing has changed");
    }

    #[test]
    fn a_change_is_found_once() {
        let mut adwin = Adwin::new(AdwinSettings { clock: 1, ..AdwinSettings::default() });
        let mut random = SplitMix64::new(1);
        let values = (0..4_000).map(|n| if n < 2_000 { 0.0 } else { 0.5 } + (random.next_u64() % 1_000) as f64 / 1_000.0);
        let signals: Vec<Signal> = values.map(|x| adwin.update(x)).collect();
        let found: Vec<usize> = (0..signals.len()).filter(|n| signals[*n] == Signal::Drift).collect();
        assert!(found.len() == 1 && (2_000..2_120).contains(&found[0]), "{found:?}");
        assert_eq!(adwin.width, (4_000 - found[0] - 1) as f64, "what came after it");
    }
}
