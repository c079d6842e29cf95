//! What the events of a window are compared with where that is not all rows of the baseline, and how far back a window with few
//! events may reach.
//!
//! Arithmetic over times: it holds no pane, and does not know which windows have drifted.

use crate::baseline::season::Season;
use crate::event::{Span, Timestamp, WindowRef};
use crate::window::WindowSpec;

/// Slides before a window in which the onset of a drift is looked for: enough to know the level before it, which a window that drift
/// fills no longer shows.
pub const ONSET_SLIDES: i64 = 8;

/// How far before the start of a window the onset of a drift is looked for.
#[must_use]
pub fn onset_reach(spec: &WindowSpec) -> Span {
    Span(spec.slide.0.saturating_mul(ONSET_SLIDES))
}

/// From one of the earlier windows to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The window's own size: they lie side by side and end where the window starts.
    Adjacent,
    /// A day: the same hours.
    Daily,
    /// Seven days: the same hours of the same day of the week.
    Weekly,
}

impl Step {
    /// How long it is for windows of a size.
    #[must_use]
    pub fn length(self, size: Span) -> Span {
        match self {
            Step::Adjacent => size,
            Step::Daily => Span::DAY,
            Step::Weekly => Span(7 * Span::DAY.0),
        }
    }
}

/// What the events of a window are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Against {
    /// All rows of the baseline, or of the segment's.
    #[default]
    Baseline,
    /// The rows of the baseline at the hours that the window touches.
    Season(Season),
    /// Earlier windows of the stream, added up.
    Earlier {
        /// From each to the one before.
        step: Step,
        /// How many.
        count: u32,
        /// Whether those that drifted themselves are left out.
        leaves_out_drifted: bool,
    },
}

/// How the windows of one specification are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// With what.
    pub against: Against,
    /// How long a window with too few events may become: its start moves back by whole slides.
    pub extend_to: Option<Span>,
}

impl Comparison {
    /// How much longer than its size a window may become.
    #[must_use]
    pub fn extension(&self, spec: &WindowSpec) -> Span {
        Span(self.extend_to.map_or(0, |longest| longest.0 - spec.size.0).max(0))
    }

    /// How far before the start of a window events are still wanted for it. Whole slides.
    #[must_use]
    pub fn look_back(&self, spec: &WindowSpec) -> Span {
        let earlier = match self.against {
            Against::Baseline | Against::Season(_) => 0,
            Against::Earlier { step, count, .. } => step.length(spec.size).0.saturating_mul(i64::from(count)),
        };
        self.extension(spec) + Span(earlier)
    }

    /// How far before the start of a window slices say something of it: as what it is compared with, or as its onset. Whole slides.
    #[must_use]
    pub fn reach(&self, spec: &WindowSpec) -> Span {
        self.look_back(spec).max(onset_reach(spec))
    }

    /// The earlier windows that one is compared with that has been extended to begin at `from`: the start of the window of this
    /// specification that each of them stands for, and its own time.
    pub fn earlier(&self, spec: &WindowSpec, window: &WindowRef, from: Timestamp) -> impl Iterator<Item = (Timestamp, WindowRef)> {
        let (step, count) = match self.against {
            Against::Earlier { step, count, .. } => (Some(step), i64::from(count)),
            _ => (None, 0),
        };
        let (name, size, start, end) = (window.name.clone(), spec.size, window.start, window.end);
        (1..=count).filter_map(move |number| {
            let step = step?;
            let back = Span(step.length(size).0.saturating_mul(number));
            let at = |start, end| WindowRef { name: name.clone(), start, end };
            Some(match step {
                // Beside the extended window, of the size that they have.
                Step::Adjacent => (from - back, at(from - back, from - back + size)),
                // The same hours, so they are as long as the extended window.
                Step::Daily | Step::Weekly => (start - back, at(from - back, end - back)),
            })
        })
    }

    /// Whether what is said of the window that starts at `start` depends on the events of a slice, which starts at `slice`.
    #[must_use]
    pub fn touches(&self, spec: &WindowSpec, start: Timestamp, slice: Timestamp) -> bool {
        let (end, extension) = (start + spec.size, self.extension(spec));
        if slice >= start - extension.max(onset_reach(spec)) && slice < end {
            return true;
        }
        match self.against {
            Against::Baseline | Against::Season(_) => false,
            Against::Earlier { step: Step::Adjacent, .. } => slice >= start - self.look_back(spec) && slice < start,
            Against::Earlier { step, count, .. } => {
                let step = step.length(spec.size).0;
                // The newest of the earlier windows that ends after the slice.
                let number = ((end - slice).0 - 1).div_euclid(step);
                (1..=i64::from(count)).contains(&number) && slice >= start - extension - Span(step * number)
            }
        }
    }

    /// What it is called in recipes, where it is not the baseline.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let plural = |count: u32, one: &str| if count == 1 { one.to_owned() } else { format!("{count} {one}s") };
        match self.against {
            Against::Baseline => None,
            Against::Season(Season::HourOfDay) => Some("the same hours of the day in the baseline".to_owned()),
            Against::Season(Season::HourOfWeek) => Some("the same hours of the week in the baseline".to_owned()),
            Against::Earlier { step: Step::Adjacent, count: 1, .. } => Some("the window before".to_owned()),
            Against::Earlier { step: Step::Adjacent, count, .. } => Some(format!("{count} windows before")),
            Against::Earlier { step: Step::Daily, count, .. } => Some(format!("the same hours of {} before", plural(count, "day"))),
            Against::Earlier { step: Step::Weekly, count, .. } => Some(format!("the same hours of {} before", plural(count, "week"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(size: i64, slide: i64) -> WindowSpec {
        WindowSpec { name: "w".into(), size: Span(size * Span::HOUR.0), slide: Span(slide * Span::HOUR.0), offset: Span(0) }
    }

    fn earlier(step: Step, count: u32) -> Comparison {
        Comparison { against: Against::Earlier { step, count, leaves_out_drifted: true }, extend_to: None }
    }

    fn hours(comparison: &Comparison, spec: &WindowSpec, start: i64, from: i64) -> Vec<(i64, i64, i64)> {
        let hour = |at: Timestamp| at.0 / Span::HOUR.0;
        let window = spec.at(Timestamp(start * Span::HOUR.0));
        let all = comparison.earlier(spec, &window, Timestamp(from * Span::HOUR.0));
        all.map(|(key, window)| (hour(key), hour(window.start), hour(window.end))).collect()
    }

    #[test]
    fn earlier_windows_are_shifted_back_and_never_overlap_an_extended_one() {
        let spec = spec(2, 1);
        assert_eq!(hours(&earlier(Step::Adjacent, 3), &spec, 100, 100), [(98, 98, 100), (96, 96, 98), (94, 94, 96)]);
        assert_eq!(hours(&earlier(Step::Adjacent, 1), &spec, 100, 97), [(95, 95, 97)]);
        assert_eq!(hours(&earlier(Step::Daily, 2), &spec, 100, 100), [(76, 76, 78), (52, 52, 54)]);
        assert_eq!(hours(&earlier(Step::Daily, 1), &spec, 100, 97), [(76, 73, 78)], "as long, and judged as the window it stands for");
        assert_eq!(hours(&earlier(Step::Weekly, 1), &spec, 200, 200), [(32, 32, 34)]);
        assert_eq!(hours(&Comparison::default(), &spec, 100, 100), []);
    }

    proptest! {
        #[test]
        fn what_touches_a_window_is_what_it_is_made_of(
            step in 0usize..4, count in 1u32..5, size in 1i64..6, extended in 0i64..8, slice in 0i64..1_500,
        ) {
            let (spec, start) = (spec(size, 1), 1_400);
            let against = match step {
                0 => Against::Baseline,
                step => Against::Earlier { step: [Step::Adjacent, Step::Daily, Step::Weekly][step - 1], count, leaves_out_drifted: true },
            };
            let comparison = Comparison { against, extend_to: Some(Span((size + extended) * Span::HOUR.0)) };
            // However far it is extended.
            let wanted = (0..=extended).any(|by| {
                let own = slice >= start - by && slice < start + size;
                let onset = (start - onset_reach(&spec).0 / Span::HOUR.0..start).contains(&slice);
                own || onset || hours(&comparison, &spec, start, start - by).iter().any(|(_, from, until)| (*from..*until).contains(&slice))
            });
            let touches = comparison.touches(&spec, Timestamp(start * Span::HOUR.0), Timestamp(slice * Span::HOUR.0));
            prop_assert_eq!(touches, wanted);
            let back = comparison.reach(&spec).0 / Span::HOUR.0;
            prop_assert!(!wanted || slice >= start - back);
        }
    }
}
