//! Where a model began although records that were or would have been its own had been read before: which windows lack them.
//! It does not know why; that is said to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{SourceId, Timestamp, WindowRef};

use super::ModelState;

/// What was read before a model began, by event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Why windows lack what was read before.
    reason: Arc<str>,
    /// The greatest event time at which something is known to be missing.
    until: Timestamp,
    /// Source partitions of which that is not known, as nothing of the model was looked at, each with its watermark when the
    /// model began. They say it when they move on: their next records were written after those.
    open: BTreeMap<SourceId, Option<Timestamp>>,
    /// Nothing that was read before can lie beyond this.
    latest: Timestamp,
}

impl Begun {
    /// A model of which all that is missing lies up to `until`.
    #[must_use]
    pub fn after(reason: &str, until: Timestamp) -> Begun {
        Begun { reason: reason.into(), until, open: BTreeMap::new(), latest: until }
    }

    /// A model of which nobody knows what is missing before these partitions move on, except that it lies before `latest`.
    #[must_use]
    pub fn amid(reason: &str, open: BTreeMap<SourceId, Option<Timestamp>>, latest: Timestamp) -> Begun {
        Begun { reason: reason.into(), until: Timestamp(i64::MIN), open, latest }
    }

    /// A partition has come to a watermark.
    pub fn reach(&mut self, source: SourceId, watermark: Option<Timestamp>) {
        let Some(reached) = watermark.filter(|_| self.open.get(&source).is_some_and(|before| watermark > *before)) else { return };
        self.open.remove(&source);
        self.until = self.until.max(reached.min(self.latest));
    }

    /// Why a window may lack records, if it may.
    #[must_use]
    pub fn touches(&self, window: &WindowRef) -> Option<Arc<str>> {
        let until = if self.open.is_empty() { self.until } else { self.latest };
        (window.start <= until).then(|| Arc::clone(&self.reason))
    }
}

impl ModelState {
    /// Says what was read before it began; `None` where nothing was.
    pub fn set_begun(&mut self, begun: Option<Begun>) {
        self.begun = begun;
    }

    /// A source partition has come to a watermark.
    pub fn reach(&mut self, source: SourceId, watermark: Option<Timestamp>) {
        if let Some(begun) = &mut self.begun {
            begun.reach(source, watermark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_marked(begun: &Begun, start: i64) -> bool {
        let window = WindowRef { name: "w".into(), start: Timestamp(start), end: Timestamp(start + 10) };
        begun.touches(&window).is_some()
    }

    #[test]
    fn windows_that_begin_before_what_is_missing_are_marked() {
        let begun = Begun::after("why", Timestamp(100));
        assert_eq!([90, 100, 101].map(|start| is_marked(&begun, start)), [true, true, false]);
    }

    #[test]
    fn a_partition_that_has_not_moved_on_may_hide_something_up_to_the_latest_time() {
        let open = [(SourceId(0), Some(Timestamp(50))), (SourceId(1), None)].into();
        let mut begun = Begun::amid("why", open, Timestamp(1_000));
        // As it was, and one that nothing was read of.
        begun.reach(SourceId(0), Some(Timestamp(50)));
        begun.reach(SourceId(7), Some(Timestamp(900)));
        assert_eq!([999, 1_000, 1_001].map(|start| is_marked(&begun, start)), [true, true, false]);
        begun.reach(SourceId(0), Some(Timestamp(60)));
        begun.reach(SourceId(0), Some(Timestamp(800)));
        assert!(is_marked(&begun, 1_000));
        begun.reach(SourceId(1), Some(Timestamp(80)));
        assert_eq!([80, 81].map(|start| is_marked(&begun, start)), [true, false]);
        let mut begun = Begun::amid("why", [(SourceId(0), None)].into(), Timestamp(1_000));
        begun.reach(SourceId(0), Some(Timestamp(5_000)));
        assert_eq!([1_000, 1_001].map(|start| is_marked(&begun, start)), [true, false]);
    }
}
