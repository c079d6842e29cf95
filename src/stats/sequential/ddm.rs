//! DDM: the error rate against its least value so far.
//!
//! Source: Gama, Medas, Castillo and Rodrigues, Learning with drift detection (SBIA 2004).
//!
//! With the error rate p of n values and s = sqrt(p (1 - p) / n), the p and s at which p + s was least are remembered, from value
//! `warm_start` + 1 on. p + s above that p + `warning_threshold` s is a warning, above p + `drift_threshold` s a drift.
//!
//! When to trust: sudden rises. p is over everything since the last drift, so that a slow rise, or one after a long quiet time, is
//! found late; and as it looks at every value, without change it fires now and then more often than three standard
//! deviations suggest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mean, Signal};

/// Parameters of [`Ddm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DdmSettings {
    /// Values before the first word.
    pub warm_start: u32,
    /// Standard deviations to a warning.
    pub warning_threshold: f64,
    /// Standard deviations to a drift.
    pub drift_threshold: f64,
}

impl Default for DdmSettings {
    fn default() -> DdmSettings {
        DdmSettings { warm_start: 30, warning_threshold: 2.0, drift_threshold: 3.0 }
    }
}

impl fmt::Display for DdmSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DdmSettings { warm_start, warning_threshold, drift_threshold } = self;
        write!(f, "warm_start {warm_start}, warning_threshold {warning_threshold}, drift_threshold {drift_threshold}")
    }
}

/// Drift detection method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ddm {
    settings: DdmSettings,
    rate: Mean,
    /// Rate and standard deviation where their sum was least.
    best: Option<(f64, f64)>,
    is_over: bool,
}

impl Ddm {
    /// A detector without values.
    #[must_use]
    pub fn new(settings: DdmSettings) -> Ddm {
        Ddm { settings, rate: Mean::default(), best: None, is_over: false }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> DdmSettings {
        self.settings
    }

    /// Takes the next answer.
    pub fn update(&mut self, is_error: bool) -> Signal {
        if self.is_over {
            *self = Ddm::new(self.settings);
        }
        self.rate.add(f64::from(u8::from(is_error)));
        let Mean { n, mean: rate } = self.rate;
        if n <= f64::from(self.settings.warm_start) {
            return Signal::None;
        }
        // The mean of zeros and ones may leave [0, 1] by a rounding.
        let sd = (rate * (1.0 - rate) / n).max(0.0).sqrt();
        let best = self.best.filter(|(best, best_sd)| rate + sd > best + best_sd).unwrap_or((rate, sd));
        self.best = Some(best);
        let is_beyond = |threshold: f64| rate + sd > best.0 + threshold * best.1;
        self.is_over = is_beyond(self.settings.drift_threshold);
        match self.is_over {
            true => Signal::Drift,
            false if is_beyond(self.settings.warning_threshold) => Signal::Warning,
            false => Signal::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_of_the_error_rate_is_a_warning_and_then_a_drift() {
        let mut ddm = Ddm::new(DdmSettings::default());
        let signals: Vec<Signal> = (0..400).map(|n| ddm.update(if n < 200 { n % 10 == 0 } else { n % 2 == 0 })).collect();
        let first = |wanted| signals.iter().position(|signal| *signal == wanted).unwrap();
        assert!(200 < first(Signal::Warning) && first(Signal::Warning) < first(Signal::Drift) && first(Signal::Drift) < 260);
        assert_eq!(signals[first(Signal::Drift) + 1], Signal::None, "anew");
    }
}
