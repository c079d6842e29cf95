//! Sequential detectors: one value after the other in, and now and then the word that something has changed.
//!
//! Each keeps a state of bounded size and knows no clock, no window and no feature. Values have an order, and the order matters:
//! states of two parts of a stream cannot be merged, so whoever feeds a detector has to bring the values into one order first.
//!
//! | detector | values | what it compares | state |
//! |---|---|---|---|
//! | [`Adwin`] | any | the means of all cuts of a window that grows until one is too far apart | grows with the logarithm of the window |
//! | [`PageHinkley`] | any, of known scale | the sum of what exceeds the mean so far | 6 numbers |
//! | [`Ddm`] | errors | the error rate with its least value so far | 6 numbers |
//! | [`Eddm`] | errors | the distance between errors with its greatest so far | 8 numbers |
//! | [`HddmA`] | errors | the mean error with that of its best beginning | 8 numbers |
//! | [`HddmW`] | errors | the same of weighted means that forget | 15 numbers |
//!
//! Defaults and results are those of River 0.26.1, so that numbers can be compared (`tests/sequential.rs`). After a drift a
//! detector begins anew with the next value.

mod adwin;
mod ddm;
mod eddm;
mod hddm_a;
mod hddm_w;
mod page_hinkley;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use adwin::{Adwin, AdwinSettings};
pub use ddm::{Ddm, DdmSettings};
pub use eddm::{Eddm, EddmSettings};
pub use hddm_a::{HddmA, HddmASettings};
pub use hddm_w::{HddmW, HddmWSettings};
pub use page_hinkley::{Direction, PageHinkley, PageHinkleySettings};

/// What a detector says after a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Signal {
    /// Nothing.
    #[default]
    None,
    /// Perhaps something is changing.
    Warning,
    /// Something has changed.
    Drift,
}

impl Signal {
    /// As a number: 0, 0.5, 1.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Signal::None => 0.0,
            Signal::Warning => 0.5,
            Signal::Drift => 1.0,
        }
    }
}

/// Which detector, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Settings {
    /// Adaptive windowing.
    Adwin(AdwinSettings),
    /// The test of Page and Hinkley.
    PageHinkley(PageHinkleySettings),
    /// Drift detection method.
    Ddm(DdmSettings),
    /// Early drift detection method.
    Eddm(EddmSettings),
    /// Hoeffding's bound on averages.
    HddmA(HddmASettings),
    /// McDiarmid's bound on weighted averages.
    HddmW(HddmWSettings),
}

impl Settings {
    /// Every detector with its default parameters.
    #[must_use]
    pub fn all() -> [Settings; 6] {
        [
            Settings::Adwin(AdwinSettings::default()),
            Settings::PageHinkley(PageHinkleySettings::default()),
            Settings::Ddm(DdmSettings::default()),
            Settings::Eddm(EddmSettings::default()),
            Settings::HddmA(HddmASettings::default()),
            Settings::HddmW(HddmWSettings::default()),
        ]
    }

    /// Whether its values are errors, 1 for a wrong answer and 0 for a right one, rather than any numbers.
    #[must_use]
    pub fn is_of_errors(&self) -> bool {
        !matches!(self, Settings::Adwin(_) | Settings::PageHinkley(_))
    }

    /// The most bytes that the state takes after that many values.
    #[must_use]
    pub fn most_bytes(&self, values: u64) -> usize {
        let of_window = if let Settings::Adwin(settings) = self { Adwin::most_bytes(settings, values) } else { 0 };
        size_of::<Detector>() + of_window
    }
}

/// The parameters, as in `delta 0.002, clock 32`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Settings::Adwin(settings) => settings.fmt(f),
            Settings::PageHinkley(settings) => settings.fmt(f),
            Settings::Ddm(settings) => settings.fmt(f),
            Settings::Eddm(settings) => settings.fmt(f),
            Settings::HddmA(settings) => settings.fmt(f),
            Settings::HddmW(settings) => settings.fmt(f),
        }
    }
}

/// A detector at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Detector {
    /// Adaptive windowing.
    Adwin(Adwin),
    /// The test of Page and Hinkley.
    PageHinkley(PageHinkley),
    /// Drift detection method.
    Ddm(Ddm),
    /// Early drift detection method.
    Eddm(Eddm),
    /// Hoeffding's bound on averages.
    HddmA(HddmA),
    /// McDiarmid's bound on weighted averages.
    HddmW(HddmW),
}

impl Detector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Detector {
        match settings {
            Settings::Adwin(settings) => Detector::Adwin(Adwin::new(settings)),
            Settings::PageHinkley(settings) => Detector::PageHinkley(PageHinkley::new(settings)),
            Settings::Ddm(settings) => Detector::Ddm(Ddm::new(settings)),
            Settings::Eddm(settings) => Detector::Eddm(Eddm::new(settings)),
            Settings::HddmA(settings) => Detector::HddmA(HddmA::new(settings)),
            Settings::HddmW(settings) => Detector::HddmW(HddmW::new(settings)),
        }
    }

    /// Its parameters.
    #[must_use]
    pub fn settings(&self) -> Settings {
        match self {
            Detector::Adwin(detector) => Settings::Adwin(detector.settings()),
            Detector::PageHinkley(detector) => Settings::PageHinkley(detector.settings()),
            Detector::Ddm(detector) => Settings::Ddm(detector.settings()),
            Detector::Eddm(detector) => Settings::Eddm(detector.settings()),
            Detector::HddmA(detector) => Settings::HddmA(detector.settings()),
            Detector::HddmW(detector) => Settings::HddmW(detector.settings()),
        }
    }

    /// Takes the next value. Of errors every number but 0 is one; a value that is not finite is left out.
    pub fn update(&mut self, x: f64) -> Signal {
        if !x.is_finite() {
            return Signal::None;
        }
        match self {
            Detector::Adwin(detector) => detector.update(x),
            Detector::PageHinkley(detector) => detector.update(x),
            Detector::Ddm(detector) => detector.update(x != 0.0),
            Detector::Eddm(detector) => detector.update(x != 0.0),
            Detector::HddmA(detector) => detector.update(x != 0.0),
            Detector::HddmW(detector) => detector.update(x != 0.0),
        }
    }
}

/// A running mean. Counts are whole numbers below 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    n: f64,
    mean: f64,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        self.mean += (1.0 / self.n) * (x - self.mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_goes_on_as_what_was_not() {
        for settings in Settings::all() {
            let (mut kept, mut signals) = (Detector::new(settings), 0);
            let mut random = crate::stats::random::SplitMix64::new(7);
            for step in 0..6_000u64 {
                let bound = if step < 3_000 { 10 } else { 45 };
                let x = f64::from(u8::from(random.next_u64() % 100 < bound));
                let mut stored: Detector = postcard::from_bytes(&postcard::to_stdvec(&kept).unwrap()).unwrap();
                let signal = kept.update(x);
                assert_eq!((stored.update(x), &stored), (signal, &kept));
                signals += u32::from(signal == Signal::Drift);
            }
            assert_eq!(kept.settings(), settings);
            assert!(signals > 0, "{settings:?}");
        }
    }

    #[test]
    fn the_state_is_as_small_as_the_documentation_says() {
        for settings in Settings::all() {
            let most = if matches!(settings, Settings::Adwin(_)) { 3_072 } else { 200 };
            assert!(settings.most_bytes(1 << 20) <= most, "{} bytes of {settings:?}", settings.most_bytes(1 << 20));
        }
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        for settings in Settings::all() {
            let mut detector = Detector::new(settings);
            detector.update(1.0);
            let before = detector.clone();
            for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(detector.update(x), Signal::None);
            }
            assert_eq!(detector, before);
        }
    }
}
