//! A window with its measurements, as it goes out.

use std::sync::Arc;

use crate::event::{Explanation, Measurement, WindowSummary};
use crate::window::Pane;

use super::labels::Look;

/// A closed or restated window.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Number of the model.
    pub model: u16,
    /// Its summary.
    pub summary: WindowSummary,
    /// Its measurements in the order of results; of a restatement only those that may have changed.
    pub measurements: Vec<Measurement>,
    /// Why its subjects drift, those that do, in the order of results.
    pub explanations: Vec<Explanation>,
    /// The events of all segments by version, for those who draw them; empty in restatements.
    pub panes: Vec<(Arc<str>, Pane)>,
    /// Whether rules have not seen this window yet.
    pub is_first: bool,
    /// Whether it says anything that was not said before; if not, only rules look at it.
    pub is_news: bool,
    /// Why it was looked at for its labels; empty when it closes.
    pub looks: Vec<Look>,
}
