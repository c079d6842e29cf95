//! HDDM with weighted averages: exponentially weighted mean errors, by McDiarmid's bound.
//!
//! Source: Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota, Online and non-parametric drift
//! detection methods based on Hoeffding's bounds (IEEE TKDE 27, 2015).
//!
//! A weighted mean takes a value in with the weight `lambda_val`; the squares of the weights sum up to b. The beginning of the
//! stream is remembered whose mean plus sqrt(b ln(1 / `drift_confidence`) / 2) is least, and what came after it has a mean of its own.
//! If that lies more than sqrt((b1 + b2) ln(1 / c) / 2) above the mean of the beginning, it is a drift for c = `drift_confidence` and a
//! warning for c = `warning_confidence`. The two-sided test also finds errors that become fewer. The first value is taken in
//! as it is.
//!
//! When to trust: sudden changes, of which the forgetting means say within some 1 / `lambda_val` answers. Small changes drown in the bound:
//! with the defaults about 0.4 in the error rate are needed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Signal;

/// Parameters of [`HddmW`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HddmWSettings {
    /// Probability of a drift where there is none, above 0 and below 1.
    pub drift_confidence: f64,
    /// Probability of a warning where there is none, above 0 and below 1.
    pub warning_confidence: f64,
    /// Weight of the newest value, above 0 and below 1.
    pub lambda_val: f64,
    /// Whether fewer errors count, too.
    pub two_sided_test: bool,
}

impl Default for HddmWSettings {
    fn default() -> HddmWSettings {
        HddmWSettings { drift_confidence: 0.001, warning_confidence: 0.005, lambda_val: 0.05, two_sided_test: false }
    }
}

impl fmt::Display for HddmWSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HddmWSettings { drift_confidence, warning_confidence, lambda_val, two_sided_test } = self;
        write!(
            f,
            "drift_confidence {drift_confidence}, warning_confidence {warning_confidence}, lambda_val {lambda_val}, two_sided_test {two_sided_test}"
        )
    }
}

/// A weighted mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Weighted {
    mean: f64,
    /// Sum of the squares of the weights; 1 before the first value.
    squares: f64,
    is_empty: bool,
}

impl Weighted {
    const EMPTY: Weighted = Weighted { mean: 0.0, squares: 1.0, is_empty: true };

    fn add(&mut self, x: f64, lambda: f64) {
        self.mean = if self.is_empty { x } else { lambda * x + (1.0 - lambda) * self.mean };
        self.squares = lambda * lambda + (1.0 - lambda) * (1.0 - lambda) * self.squares;
        self.is_empty = false;
    }
}

/// A beginning of the stream, and what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Parts {
    before: Weighted,
    after: Weighted,
    /// The mean of the beginning with its bound.
    cut: f64,
}

impl Parts {
    fn new(cut: f64) -> Parts {
        Parts { before: Weighted::EMPTY, after: Weighted::EMPTY, cut }
    }

    /// Whether the mean has moved by more than the bound, in the direction of `sign`.
    fn has_moved(&self, sign: f64, confidence: f64) -> bool {
        let bound = bound(self.before.squares + self.after.squares, confidence);
        !self.before.is_empty && !self.after.is_empty && sign * (self.after.mean - self.before.mean) > bound
    }
}

/// McDiarmid's bound on a mean whose weights have that sum of squares.
fn bound(squares: f64, confidence: f64) -> f64 {
    (squares * (1.0 / confidence).ln() / 2.0).sqrt()
}

/// McDiarmid's bound on weighted averages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HddmW {
    settings: HddmWSettings,
    all: Weighted,
    rise: Parts,
    fall: Parts,
    is_over: bool,
}

impl HddmW {
    /// A detector without values.
    #[must_use]
    pub fn new(settings: HddmWSettings) -> HddmW {
        HddmW { settings, all: Weighted::EMPTY, rise: Parts::new(f64::INFINITY), fall: Parts::new(f64::NEG_INFINITY), is_over: false }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> HddmWSettings {
        self.settings
    }

    /// Takes the next answer.
    pub fn update(&mut self, is_error: bool) -> Signal {
        if self.is_over {
            *self = HddmW::new(self.settings);
        }
        let HddmWSettings { drift_confidence, warning_confidence, lambda_val, two_sided_test } = self.settings;
        let x = f64::from(u8::from(is_error));
        self.all.add(x, lambda_val);
        let reach = bound(self.all.squares, drift_confidence);
        let (low, high) = (self.all.mean + reach, self.all.mean - reach);
        let is_better = (low < self.rise.cut, high > self.fall.cut);
        for (parts, cut, is_better) in [(&mut self.rise, low, is_better.0), (&mut self.fall, high, is_better.1)] {
            if is_better {
                *parts = Parts { before: self.all, after: Weighted::EMPTY, cut };
            } else {
                parts.after.add(x, lambda_val);
            }
        }
        let has_moved = |confidence| self.rise.has_moved(1.0, confidence) || two_sided_test && self.fall.has_moved(-1.0, confidence);
        self.is_over = has_moved(drift_confidence);
        match self.is_over {
            true => Signal::Drift,
            false if has_moved(warning_confidence) => Signal::Warning,
            false => Signal::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    fn found(two_sided_test: bool, before: u64, after: u64) -> Option<usize> {
        let mut hddm = HddmW::new(HddmWSettings { two_sided_test, ..HddmWSettings::default() });
        let mut random = SplitMix64::new(3);
        let errors = (0..600).map(|n| random.next_u64() % 100 < if n < 300 { before } else { after });
        errors.map(|is_error| hddm.update(is_error)).position(|signal| signal == Signal::Drift)
    }

    #[test]
    fn sudden_changes_are_found_at_once_in_the_directions_asked_for() {
        assert!(found(false, 5, 90).is_some_and(|at| (300..330).contains(&at)));
        assert_eq!(found(false, 95, 10), None);
        assert!(found(true, 95, 10).is_some_and(|at| (300..330).contains(&at)));
    }
}
