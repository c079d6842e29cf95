//! Whether this process has run without a pause. The group gives the partitions of a member that says nothing for a session to
//! others, and the member hears of it only when it speaks again: a process that was stopped and continued still takes for its
//! own what others own by then.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::event::{Span, Timestamp};

/// The beats of the thread that keeps a membership, by the wall clock: that of a machine that slept goes on.
#[derive(Debug)]
pub(super) struct Pulse {
    now: fn() -> Timestamp,
    session: Span,
    last: AtomicI64,
    /// The first beat after the last pause.
    since: AtomicI64,
}

impl Pulse {
    /// Begins with a beat that follows no pause.
    pub fn new(session: Span, now: fn() -> Timestamp) -> Pulse {
        Pulse { now, session, last: AtomicI64::new(now().0), since: AtomicI64::new(i64::MIN) }
    }

    /// Says that the thread runs.
    pub fn beat(&self) {
        let now = (self.now)().0;
        // A clock that was set back must not make a pause of what is left of its way.
        if now - self.last.load(Ordering::SeqCst) > self.pause().0 || self.since.load(Ordering::SeqCst) > now {
            self.since.store(now, Ordering::SeqCst);
        }
        self.last.store(now, Ordering::SeqCst);
    }

    /// Whether there was no pause for a whole session: enough to hear that the membership is lost, if it is.
    pub fn is_steady(&self) -> bool {
        let now = (self.now)().0;
        let since = now.saturating_sub(self.since.load(Ordering::SeqCst));
        now - self.last.load(Ordering::SeqCst) <= self.pause().0 && since >= self.session.0
    }

    /// What is a pause: shorter than the session, as the last heartbeat was sent some time before.
    fn pause(&self) -> Span {
        Span(self.session.0 / 3 * 2)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(1_000_000) };
    }

    fn at(now: i64) {
        NOW.with(|clock| clock.set(now));
    }

    #[test]
    fn after_a_pause_a_session_passes_until_it_is_steady() {
        at(1_000_000);
        let pulse = Pulse::new(Span(9_000), || Timestamp(NOW.with(Cell::get)));
        assert!(pulse.is_steady(), "at the start there is nothing that others could have taken");
        at(1_006_000);
        assert!(pulse.is_steady());
        pulse.beat();
        at(1_012_001);
        assert!(!pulse.is_steady(), "nobody has spoken since");
        pulse.beat();
        assert!(!pulse.is_steady());
        for beat in 1..9 {
            at(1_012_001 + beat * 1_000);
            pulse.beat();
            assert!(!pulse.is_steady(), "{beat}");
        }
        at(1_021_001);
        assert!(pulse.is_steady());
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_pause_for_ever() {
        at(1_000_000);
        let pulse = Pulse::new(Span(9_000), || Timestamp(NOW.with(Cell::get)));
        at(9_000_000);
        pulse.beat();
        at(1_000_000);
        pulse.beat();
        assert!(!pulse.is_steady());
        at(1_005_000);
        pulse.beat();
        at(1_009_000);
        assert!(pulse.is_steady());
    }
}
