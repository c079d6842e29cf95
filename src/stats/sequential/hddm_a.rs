//! HDDM with averages: the mean error against that of its best beginning, by Hoeffding's bound.
//!
//! Source: Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota, Online and non-parametric drift
//! detection methods based on Hoeffding's bounds (IEEE TKDE 27, 2015).
//!
//! Of all beginnings of the stream the one is remembered whose mean plus sqrt(ln(1 / `drift_confidence`) / (2 n)) is least. With its
//! mean x of n values and the mean z of all N, z - x of at least sqrt((N - n) / (n N) / 2 ln(2 / c)) is a drift for c =
//! `drift_confidence` and a warning for c = `warning_confidence`. The two-sided test also finds errors that become fewer,
//! by the beginning whose mean less the bound is greatest. As in River the logarithm of the test is that of 2 / c.
//!
//! When to trust: it assumes bounded and independent values and no distribution, so `drift_confidence` is a true bound on false
//! alarms of one test; sudden changes are found sooner by [`super::HddmW`]'s forgetting means, small lasting ones by this.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mean, Signal};

/// Parameters of [`HddmA`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HddmASettings {
    /// Probability of a drift where there is none, above 0 and below 1.
    pub drift_confidence: f64,
    /// Probability of a warning where there is none, above 0 and below 1.
    pub warning_confidence: f64,
    /// Whether fewer errors count, too.
    pub two_sided_test: bool,
}

impl Default for HddmASettings {
    fn default() -> HddmASettings {
        HddmASettings { drift_confidence: 0.001, warning_confidence: 0.005, two_sided_test: false }
    }
}

impl fmt::Display for HddmASettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HddmASettings { drift_confidence, warning_confidence, two_sided_test } = self;
        write!(f, "drift_confidence {drift_confidence}, warning_confidence {warning_confidence}, two_sided_test {two_sided_test}")
    }
}

/// Hoeffding's bound on averages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HddmA {
    settings: HddmASettings,
    all: Mean,
    /// The beginning with the fewest errors.
    low: Mean,
    /// The beginning with the most.
    high: Mean,
    is_over: bool,
}

impl HddmA {
    /// A detector without values.
    #[must_use]
    pub fn new(settings: HddmASettings) -> HddmA {
        HddmA { settings, all: Mean::default(), low: Mean::default(), high: Mean::default(), is_over: false }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> HddmASettings {
        self.settings
    }

    /// Takes the next answer.
    pub fn update(&mut self, is_error: bool) -> Signal {
        if self.is_over {
            *self = HddmA::new(self.settings);
        }
        let HddmASettings { drift_confidence, warning_confidence, two_sided_test } = self.settings;
        self.all.add(f64::from(u8::from(is_error)));
        let bound = |mean: &Mean| (1.0 / (2.0 * mean.n) * (1.0 / drift_confidence).ln()).sqrt();
        let all = self.all;
        if self.low.n < 1.0 || self.low.mean + bound(&self.low) >= all.mean + bound(&all) {
            self.low = all;
        }
        if self.high.n < 1.0 || self.high.mean - bound(&self.high) <= all.mean - bound(&all) {
            self.high = all;
        }
        let (rise, fall) = (all.mean - self.low.mean, self.high.mean - all.mean);
        let has_risen = |confidence| self.low.n < all.n && rise >= test(&self.low, &all, confidence);
        let has_fallen = |confidence| two_sided_test && self.high.n < all.n && fall >= test(&self.high, &all, confidence);
        self.is_over = has_risen(drift_confidence) || has_fallen(drift_confidence);
        match self.is_over {
            true => Signal::Drift,
            false if has_risen(warning_confidence) || has_fallen(warning_confidence) => Signal::Warning,
            false => Signal::None,
        }
    }
}

/// How far the mean of all values may lie from that of their beginning.
fn test(beginning: &Mean, all: &Mean, confidence: f64) -> f64 {
    let share = (all.n - beginning.n) / beginning.n * (1.0 / all.n);
    (share / 2.0 * (2.0 / confidence).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: HddmASettings, before: u32, after: u32) -> Option<usize> {
        let mut hddm = HddmA::new(settings);
        let errors = (0..4_000u32).map(|n| n % 100 * 37 % 100 < if n < 2_000 { before } else { after });
        errors.map(|is_error| hddm.update(is_error)).position(|signal| signal == Signal::Drift)
    }

    #[test]
    fn fewer_errors_are_found_only_where_that_is_asked_for() {
        let two_sided = HddmASettings { two_sided_test: true, ..HddmASettings::default() };
        assert!(found(HddmASettings::default(), 10, 30).is_some_and(|at| (2_000..2_600).contains(&at)));
        assert_eq!(found(HddmASettings::default(), 30, 10), None);
        assert!(found(two_sided, 30, 10).is_some_and(|at| (2_000..2_600).contains(&at)));
    }
}
