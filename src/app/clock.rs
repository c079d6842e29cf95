//! The wall clock: the only place that reads it. Everything below is told the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::event::{Span, Timestamp};

/// Longer than this between two looks at the clock: the process did not run meanwhile, or the machine slept.
pub const NAP: Span = Span(10_000);

/// The wall clock of now.
#[must_use]
#[allow(clippy::disallowed_methods)] // This is the one place.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long ago an instant was. Where the wall clock was set back meanwhile, it is as long as it was set back: what is due by it
/// happens once too soon, and not only when the clock has caught up.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> Span {
    Span((now - then).0.saturating_abs())
}

/// The monotonic clock of now, for how long something takes. No result depends on it.
#[must_use]
#[allow(clippy::disallowed_methods)] // This is the one place.
pub fn monotonic() -> Instant {
    Instant::now()
}
