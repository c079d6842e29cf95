//! Where windows begin and end, and the slice of time they share.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp, WindowRef};

/// One sliding or tumbling window of a model. Starts are multiples of `slide` from the Unix epoch plus `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Name in results and rules.
    pub name: Arc<str>,
    /// Length; a multiple of `slide`.
    pub size: Span,
    /// Distance between two starts; equal to `size` for tumbling windows.
    pub slide: Span,
    /// Shift of the starts from the epoch, at least 0 and less than `slide`.
    pub offset: Span,
}

impl WindowSpec {
    /// The window that starts at `start`.
    #[must_use]
    pub fn at(&self, start: Timestamp) -> WindowRef {
        WindowRef { name: Arc::clone(&self.name), start, end: start + self.size }
    }

    /// The start of the first window that contains `ts`.
    #[must_use]
    pub fn first_start(&self, ts: Timestamp) -> Timestamp {
        self.last_start(ts) - self.size + self.slide
    }

    /// The start of the last window that contains `ts`.
    #[must_use]
    pub fn last_start(&self, ts: Timestamp) -> Timestamp {
        ts.align(self.slide, self.offset)
    }
}

/// The length of the panes that all windows of a model share: the greatest common divisor of slides and offsets.
///
/// Slices start at multiples of it from the epoch, so every window is a whole number of slices.
#[must_use]
pub fn slice_length(windows: &[WindowSpec]) -> Span {
    let all = windows.iter().flat_map(|window| [window.slide.0, window.offset.0, window.size.0]);
    Span(all.fold(0, greatest_common_divisor).max(1))
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(size: Span, slide: Span, offset: Span) -> WindowSpec {
        WindowSpec { name: "w".into(), size, slide, offset }
    }

    #[test]
    fn slices_divide_every_slide_and_offset() {
        let windows = [spec(Span::HOUR, Span(300_000), Span(0)), spec(Span::DAY, Span::HOUR, Span(0))];
        assert_eq!(slice_length(&windows), Span(300_000));
        assert_eq!(slice_length(&[spec(Span(7 * Span::DAY.0), Span(7 * Span::DAY.0), Span(4 * Span::DAY.0))]), Span::DAY);
    }

    #[test]
    fn an_instant_is_in_size_over_slide_windows() {
        let spec = spec(Span::HOUR, Span(900_000), Span(0));
        let ts = Timestamp::parse_rfc3339("2026-11-22T10:20:00Z").unwrap();
        assert_eq!(spec.last_start(ts).rfc3339(), "2026-11-22T10:15:00.000Z");
        assert_eq!(spec.first_start(ts).rfc3339(), "2026-11-22T09:30:00.000Z");
        assert_eq!(spec.at(spec.first_start(ts)).end.rfc3339(), "2026-11-22T10:30:00.000Z");
    }
}
