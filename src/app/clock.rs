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

/// The monotonic clock of now, for how long something takes. No result depends on it.
#[must_use]
#[allow(clippy::disallowed_methods)] // This is the one place.
pub fn monotonic() -> Instant {
    Instant::now()
}
