//! The test of Page and Hinkley: a sum of what exceeds the mean so far.
//!
//! Source: Page, Continuous inspection schemes (Biometrika 41, 1954); Hinkley, Inference about the change-point from
//! cumulative sum tests (Biometrika 58, 1971).
//!
//! With the mean m of all values so far, this one included, up = `alpha` up + (x - m) - `delta` and down = `alpha` down + (x - m) +
//! `delta`. A drift is where up lies further than `threshold` above its least value, or down further below its greatest one, after
//! `min_instances` values. As in River the greatest value of down begins at -1.
//!
//! When to trust: it is not free of scale. `delta` and `threshold` are in units of the values, so these have to be standardised first;
//! the defaults are for values of about one. Without change the sum is a random walk against a drift of `delta`: with the
//! defaults and independent values of standard deviation 1 it fires about every two thousand values, see `docs/detectors.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mean, Signal};

/// Which changes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// A higher mean.
    Up,
    /// A lower mean.
    Down,
    /// Either.
    #[default]
    Both,
}

/// Parameters of [`PageHinkley`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHinkleySettings {
    /// Values before the first drift.
    pub min_instances: u32,
    /// What a change has to exceed, in units of the values.
    pub delta: f64,
    /// What the sum has to exceed.
    pub threshold: f64,
    /// What is left of the sum after each value, above 0 and at most 1.
    pub alpha: f64,
    /// Which changes count.
    pub mode: Direction,
}

impl Default for PageHinkleySettings {
    fn default() -> PageHinkleySettings {
        PageHinkleySettings { min_instances: 30, delta: 0.005, threshold: 50.0, alpha: 0.9999, mode: Direction::Both }
    }
}

impl fmt::Display for PageHinkleySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageHinkleySettings { min_instances, delta, threshold, alpha, mode } = self;
        let mode = match mode {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::Both => "both",
        };
        write!(f, "min_instances {min_instances}, delta {delta}, threshold {threshold}, alpha {alpha}, mode {mode}")
    }
}

/// The test of Page and Hinkley.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    settings: PageHinkleySettings,
    mean: Mean,
    up: f64,
    down: f64,
    /// Of `up`.
    least: f64,
    /// Of `down`.
    greatest: f64,
    is_over: bool,
}

impl PageHinkley {
    /// A test without values.
    #[must_use]
    pub fn new(settings: PageHinkleySettings) -> PageHinkley {
        PageHinkley { settings, mean: Mean::default(), up: 0.0, down: 0.0, least: f64::INFINITY, greatest: -1.0, is_over: false }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> PageHinkleySettings {
        self.settings
    }

    /// Takes the next value.
    pub fn update(&mut self, x: f64) -> Signal {
        if self.is_over {
            *self = PageHinkley::new(self.settings);
        }
        let PageHinkleySettings { min_instances, delta, threshold, alpha, mode } = self.settings;
        self.mean.add(x);
        let deviation = x - self.mean.mean;
        self.up = alpha * self.up + deviation - delta;
        self.down = alpha * self.down + deviation + delta;
        self.least = self.least.min(self.up);
        self.greatest = self.greatest.max(self.down);
        if self.mean.n < f64::from(min_instances) {
            return Signal::None;
        }
        let (rise, fall) = (self.up - self.least, self.greatest - self.down);
        let sum = match mode {
            Direction::Up => rise,
            Direction::Down => fall,
            Direction::Both => rise.max(fall),
        };
        self.is_over = sum > threshold;
        if self.is_over { Signal::Drift } else { Signal::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mode: Direction, level: f64) -> Option<usize> {
        let mut test = PageHinkley::new(PageHinkleySettings { mode, threshold: 5.0, ..PageHinkleySettings::default() });
        let values = (0..200).map(|n| if n < 100 { 0.0 } else { level });
        values.map(|x| test.update(x)).position(|signal| signal == Signal::Drift)
    }

    #[test]
    fn only_changes_that_count_are_found() {
        assert_eq!(found(Direction::Up, -1.0), None);
        assert_eq!(found(Direction::Down, 1.0), None);
        assert!(found(Direction::Both, 1.0).is_some_and(|at| (105..110).contains(&at)));
        assert_eq!(found(Direction::Both, -1.0), found(Direction::Down, -1.0));
    }
}
