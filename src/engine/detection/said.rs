//! What detectors have said of panes, by the window that the pane is new in, until that window has told it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Timestamp;
use crate::stats::sequential::Signal;
use crate::window::WindowSpec;

use super::Told;

/// What was said within one slide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// Events that it rests on.
    pub n: u64,
    /// The strongest signal of each detector.
    pub signals: Vec<Signal>,
}

/// Words by the place of the window's specification and its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Said(BTreeMap<(usize, Timestamp), Word>);

impl Said {
    /// Notes the signals over the pane that starts there, in the window of each specification that it is new in.
    pub fn add(&mut self, windows: &[WindowSpec], start: Timestamp, n: u64, signals: &[Signal]) {
        for (place, spec) in windows.iter().enumerate() {
            let word = self.0.entry((place, spec.last_start(start) + spec.slide)).or_default();
            word.n += n;
            word.signals.resize(signals.len(), Signal::None);
            for (strongest, signal) in word.signals.iter_mut().zip(signals) {
                *strongest = (*signal).max(*strongest);
            }
        }
    }

    pub fn get(&self, place: usize, end: Timestamp) -> Option<&Word> {
        self.0.get(&(place, end))
    }

    /// Forgets the words of a window and of those before it.
    pub fn forget(&mut self, told: Told) {
        self.0.retain(|(place, end), _| *place != told.place || *end > told.end);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Span;

    #[test]
    fn a_word_belongs_to_the_window_in_which_its_pane_is_new() {
        let spec = |size, slide| WindowSpec { name: "w".into(), size: Span(size), slide: Span(slide), offset: Span(0) };
        let windows = [spec(60, 10), spec(60, 60)];
        let mut said = Said::default();
        for (start, signal) in [(0, Signal::Warning), (5, Signal::Drift), (10, Signal::None)] {
            said.add(&windows, Timestamp(start), 7, &[signal, Signal::None]);
        }
        let word = |n, signal| Some(Word { n, signals: vec![signal, Signal::None] });
        let got = |said: &Said, place, end| said.get(place, Timestamp(end)).cloned();
        assert_eq!(got(&said, 0, 10), word(14, Signal::Drift));
        assert_eq!(got(&said, 0, 20), word(7, Signal::None));
        assert_eq!(got(&said, 0, 30), None);
        assert_eq!(got(&said, 1, 60), word(21, Signal::Drift));
        said.forget(Told { place: 0, from: Timestamp(10), end: Timestamp(20) });
        assert_eq!((got(&said, 0, 10), got(&said, 0, 20)), (None, None));
        assert!(got(&said, 1, 60).is_some());
    }
}
