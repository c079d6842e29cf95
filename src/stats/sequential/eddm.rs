//! EDDM: the distance between errors against its greatest so far.
//!
//! Source: Baena-García, del Campo-Ávila, Fidalgo, Bifet, Gavaldà and Morales-Bueno, Early drift detection method (2006).
//!
//! With mean p and standard deviation s (n - 1) of the numbers of values from one error to the next, the greatest p + 2 s so far is
//! remembered. A share of it below `alpha` is a warning, below `beta` a drift, after `warm_start` values and as many errors.
//!
//! When to trust: slow rises of the error rate, which [`super::Ddm`] finds late. It reacts to single long distances in the beginning,
//! and without change it fires now and then: with the defaults once or twice in 50,000 independent answers, far more often where errors come in
//! runs. A `beta` of 0.75 is quieter.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mean, Signal};

/// Parameters of [`Eddm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EddmSettings {
    /// Values, and errors, before the first word.
    pub warm_start: u32,
    /// Share of the greatest distance below which there is a warning; at least `beta`.
    pub alpha: f64,
    /// Share of the greatest distance below which there is a drift.
    pub beta: f64,
}

impl Default for EddmSettings {
    fn default() -> EddmSettings {
        EddmSettings { warm_start: 30, alpha: 0.95, beta: 0.9 }
    }
}

impl fmt::Display for EddmSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EddmSettings { warm_start, alpha, beta } = self;
        write!(f, "warm_start {warm_start}, alpha {alpha}, beta {beta}")
    }
}

/// Early drift detection method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eddm {
    settings: EddmSettings,
    n: u64,
    last_error: u64,
    /// Its count is the number of errors.
    distance: Mean,
    /// Sum of squared deviations of the distances.
    squares: f64,
    greatest: Option<f64>,
    /// What was said at the last error holds until the next.
    signal: Signal,
}

impl Eddm {
    /// A detector without values.
    #[must_use]
    pub fn new(settings: EddmSettings) -> Eddm {
        Eddm { settings, n: 0, last_error: 0, distance: Mean::default(), squares: 0.0, greatest: None, signal: Signal::None }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> EddmSettings {
        self.settings
    }

    /// Takes the next answer.
    #[allow(clippy::cast_precision_loss)] // Numbers of values.
    pub fn update(&mut self, is_error: bool) -> Signal {
        if self.signal == Signal::Drift {
            *self = Eddm::new(self.settings);
        }
        self.n += 1;
        if is_error {
            let distance = (self.n - self.last_error) as f64;
            self.last_error = self.n;
            let before = self.distance.mean;
            self.distance.add(distance);
            self.squares += (distance - before) * (distance - self.distance.mean);
            if self.n > u64::from(self.settings.warm_start) {
                self.judge();
            }
        }
        self.signal
    }

    fn judge(&mut self) {
        let errors = self.distance.n;
        let variance = if errors > 1.0 { self.squares / (errors - 1.0) } else { 0.0 };
        let reach = self.distance.mean + 2.0 * variance.sqrt();
        let greatest = *self.greatest.get_or_insert(-1.0);
        if reach > greatest {
            self.greatest = Some(reach);
        } else if errors > f64::from(self.settings.warm_start) {
            let share = reach / greatest;
            self.signal = match () {
                () if share < self.settings.beta => Signal::Drift,
                () if share < self.settings.alpha => Signal::Warning,
                () => Signal::None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    #[test]
    fn errors_that_come_closer_are_found() {
        let mut eddm = Eddm::new(EddmSettings { alpha: 0.85, beta: 0.75, ..EddmSettings::default() });
        let mut random = SplitMix64::new(5);
        let errors = (0..20_000).map(|n| random.next_u64() % 1_000 < if n < 10_000 { 50 } else { 150 });
        let signals: Vec<Signal> = errors.map(|is_error| eddm.update(is_error)).collect();
        let late = &signals[10_000..];
        let first = |wanted| late.iter().position(|signal| *signal == wanted).unwrap();
        assert!(first(Signal::Warning) < first(Signal::Drift) && first(Signal::Drift) < 3_000);
    }
}
