//! Sequential detectors over the panes of a model: what they have seen, and what they have said that no window has told yet.
//!
//! They step over the panes of all events of a version, in the order of time, each pane once. Values step when the first window closes
//! that has the pane in its last slide, errors when the first such window is looked at for its labels; what comes later for the
//! pane changes nothing. What is said on the way belongs to the window of each specification that the pane was new in.
//!
//! The state is that of the detectors, of bounded size, and one word for each window that is not told yet. It is stored with the model,
//! and moves with it. This knows no clock, and of partitions only their merged panes, so that the order of neither shows.

mod error;
mod said;
mod value;

use serde::{Deserialize, Serialize};

use crate::event::{Metric, Timestamp, WindowRef};
use crate::stats::sequential::{Detector, Settings};
use crate::window::WindowSpec;

use super::history::{History, Versions};
use super::plan::ModelPlan;

pub use error::Errors;
pub use said::Word;
pub use value::Values;
pub(super) use value::has_spread;

/// The detectors of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    values: Values,
    errors: Errors,
}

/// A window that is told: the place of its specification, and when its last slide begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub place: usize,
    pub from: Timestamp,
    pub end: Timestamp,
}

impl Told {
    pub fn new(place: usize, spec: &WindowSpec, window: &WindowRef) -> Told {
        Told { place, from: window.end - spec.slide, end: window.end }
    }
}

impl Detection {
    /// Steps over the values up to the end of a window that closes.
    pub(super) fn close(&mut self, plan: &ModelPlan, versions: &Versions, history: &History, told: Told) {
        self.values.step(plan, versions, history, told);
        self.errors.begin(plan, told.from);
    }

    /// Steps over the errors up to the end of a window that is looked at for its labels.
    pub(super) fn look(&mut self, plan: &ModelPlan, versions: &Versions, history: &History, told: Told) {
        self.errors.step(plan, versions, history, told);
    }

    /// What was said of values.
    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// What was said of errors.
    pub(super) fn errors(&self) -> &Errors {
        &self.errors
    }

    /// A window has told its values for the last time.
    pub(super) fn closed(&mut self, told: Told) {
        self.values.forget(told);
    }

    /// A window has told its errors for the last time.
    pub(super) fn looked(&mut self, told: Told) {
        self.errors.forget(told);
    }
}

/// The metric that a detector is told as.
#[must_use]
pub fn metric(settings: &Settings) -> Metric {
    match settings {
        Settings::Adwin(_) => Metric::Adwin,
        Settings::PageHinkley(_) => Metric::PageHinkley,
        Settings::Ddm(_) => Metric::Ddm,
        Settings::Eddm(_) => Metric::Eddm,
        Settings::HddmA(_) => Metric::HddmA,
        Settings::HddmW(_) => Metric::HddmW,
    }
}

/// Those of a plan's detectors that watch errors, or those that watch values.
pub(super) fn detectors(plan: &ModelPlan, of_errors: bool) -> impl Iterator<Item = Settings> {
    plan.detectors.iter().copied().filter(move |settings| settings.is_of_errors() == of_errors)
}

/// Whether a plan has detectors over errors.
pub(super) fn watches_errors(plan: &ModelPlan) -> bool {
    detectors(plan, true).next().is_some()
}

/// Goes on with the detectors that are wanted, and begins with those that are new or have other parameters. Whether any has changed.
fn reconcile(detectors: &mut Vec<Detector>, wanted: &[Settings]) -> bool {
    if detectors.iter().map(Detector::settings).eq(wanted.iter().copied()) {
        return false;
    }
    let known = std::mem::take(detectors);
    let of = |settings: &Settings| known.iter().find(|detector| detector.settings() == *settings).cloned();
    *detectors = wanted.iter().map(|settings| of(settings).unwrap_or_else(|| Detector::new(*settings))).collect();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sequential::{AdwinSettings, DdmSettings};

    #[test]
    fn detectors_that_are_still_wanted_go_on() {
        let (adwin, ddm) = (Settings::Adwin(AdwinSettings::default()), Settings::Ddm(DdmSettings::default()));
        let mut detectors = Vec::new();
        assert!(reconcile(&mut detectors, &[adwin]));
        detectors[0].update(0.5);
        let before = detectors[0].clone();
        assert!(!reconcile(&mut detectors, &[adwin]));
        assert!(reconcile(&mut detectors, &[ddm, adwin]));
        assert_eq!(detectors, [Detector::new(ddm), before]);
        let other = Settings::Adwin(AdwinSettings { clock: 1, ..AdwinSettings::default() });
        assert!(reconcile(&mut detectors, &[other]));
        assert_eq!(detectors, [Detector::new(other)]);
    }
}
