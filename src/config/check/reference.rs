//! Checks of what windows are compared with, and of how far they may be extended.

use crate::baseline::Season;
use crate::engine::comparison::{Against, Comparison, Step};
use crate::event::{Metric, Span};
use crate::window::WindowSpec;

use super::super::checked::Window;
use super::super::file::model::{LeaveOutName, ReferenceEntry, SeasonName, WindowEntry};
use super::super::position::join;
use super::Checker;

/// The comparison of a window whose size and slide are sound.
pub(super) fn check(entry: &WindowEntry, at: &str, (size, slide): (Span, Span), checker: &mut Checker<'_>) -> Comparison {
    let pointer = join(at, "extend_to");
    let extend_to = entry.extend_to.as_ref().map(|text| checker.positive_span(&pointer, Some(text), size));
    if let Some(longest) = extend_to {
        if longest <= size {
            checker.error(&pointer, format!("{longest} is not longer than the size {size}"));
        } else if longest.0 % slide.0 != 0 {
            checker.error(&pointer, format!("{longest} is not a multiple of the slide {slide}, by which the start moves back"));
        }
    }
    let against = entry.reference.as_ref().map(|reference| against(reference, &join(at, "reference"), (size, slide, extend_to), checker));
    Comparison { against: against.unwrap_or_default(), extend_to }
}

fn against(entry: &ReferenceEntry, at: &str, (size, slide, extend_to): (Span, Span, Option<Span>), checker: &mut Checker<'_>) -> Against {
    let steps = [("previous", entry.previous, Step::Adjacent), ("daily", entry.daily, Step::Daily), ("weekly", entry.weekly, Step::Weekly)];
    let named: Vec<_> = steps.into_iter().filter_map(|(key, count, step)| Some((key, count?, step))).collect();
    // What was wrong in itself has been told.
    if ["previous", "daily", "weekly", "baseline"].iter().any(|key| checker.left_out.contains(&join(at, key))) {
        return Against::Baseline;
    }
    if named.len() + usize::from(entry.baseline.is_some()) != 1 {
        checker.error_with(at, "a reference is one of previous, daily, weekly and baseline", "such as { daily: 7 }");
        return Against::Baseline;
    }
    if let Some(name) = entry.baseline {
        if entry.leave_out.is_some() {
            checker.error_at_key(&join(at, "leave_out"), "a baseline has no windows that could be left out", "leave it out");
        }
        return Against::Season(season(name));
    }
    let Some((key, count, step)) = named.first().copied() else { return Against::Baseline };
    let (pointer, shift, longest) = (join(at, key), step.length(size), extend_to.unwrap_or(size));
    if step != Step::Adjacent && longest > shift {
        checker.error(&pointer, format!("a window of {longest} overlaps the one {shift} before it"));
    } else if shift.0 % slide.0 != 0 {
        checker.error_with(
            &pointer,
            format!("{shift} is not a multiple of the slide {slide}: no window starts there"),
            "a slide that divides a day, such as 1h, would fit",
        );
    }
    Against::Earlier { step, count, leaves_out_drifted: !matches!(entry.leave_out, Some(LeaveOutName::Nothing)) }
}

fn season(name: SeasonName) -> Season {
    match name {
        SeasonName::HourOfDay => Season::HourOfDay,
        SeasonName::HourOfWeek => Season::HourOfWeek,
    }
}

/// The hours that a baseline keeps apart: those that are asked for, else the finest that a window needs.
pub(super) fn seasonal(asked: Option<SeasonName>, windows: &[Window], at: &str, checker: &mut Checker<'_>) -> Option<Season> {
    let needed =
        windows.iter().filter_map(|window| if let Against::Season(season) = window.comparison.against { Some(season) } else { None });
    let (needed, asked) = (needed.max(), asked.map(season));
    if let (Some(needed), Some(asked)) = (needed, asked)
        && needed > asked
    {
        let message = format!("{} does not tell apart what a window is compared with, {}", asked.as_str(), needed.as_str());
        checker.error_with(&join(at, "seasonal"), message, &format!("write seasonal: {}, or leave it out", needed.as_str()));
    }
    asked.or(needed)
}

/// Windows that have drifted can only be left out where drift is measured.
pub(super) fn check_drift(windows: &[Window], metrics: &[Metric], drift: Metric, at: &str, checker: &mut Checker<'_>) {
    for (index, window) in windows.iter().enumerate() {
        let leaves_out = matches!(window.comparison.against, Against::Earlier { leaves_out_drifted: true, .. });
        if leaves_out && !metrics.contains(&drift) {
            let name = drift.as_str();
            checker.error_with(
                &join(&join(&join(at, "windows"), &index.to_string()), "reference"),
                format!("windows that have drifted are left out by their {name}, which is not among the metrics"),
                &format!("add {name} to metrics, or write leave_out: nothing"),
            );
        }
    }
}

/// A reference needs panes of all the time that it looks back.
pub(super) fn check_panes(windows: &[Window], pane: Span, most: i64, at: &str, checker: &mut Checker<'_>) {
    for (index, window) in windows.iter().enumerate() {
        let spec = WindowSpec { name: window.name.clone(), size: window.size, slide: window.slide, offset: window.offset };
        let back = window.comparison.look_back(&spec);
        let count = (window.size + back).0 / pane.0.max(1);
        if back > Span(0) && count > most {
            checker.error_with(
                &join(at, &index.to_string()),
                format!("looks back {back} beside its size: {count} panes of {pane}, more than {most}"),
                "a longer slide makes longer panes",
            );
        }
    }
}
