//! Which segments a drift comes from: the score of all events, parted over the segments of the same tags.

use crate::baseline::{Baseline, Reference};
use crate::engine::plan::SegmentPlan;
use crate::event::Segment;
use crate::event::explanation::{MOST_SEGMENTS, SegmentShare};
use crate::stats::contribution::Part;
use crate::window::Pane;

use super::{Case, Scene};

/// One segment of some tags.
struct Member<'a> {
    name: &'a Segment,
    /// `None` where it has no events in the window.
    pane: Option<Pane>,
    reference: Option<&'a Reference>,
}

/// The segments that add most to each case. Of several kinds of segments those by the tags whose first says most beyond its size.
pub(super) fn parts(scene: &Scene<'_>, baseline: &Baseline, cases: &[Case<'_>]) -> Vec<Vec<SegmentShare>> {
    let mut best: Vec<(f64, Vec<SegmentShare>)> = cases.iter().map(|_| (f64::NEG_INFINITY, Vec::new())).collect();
    if scene.place.1 != 0 {
        return best.into_iter().map(|(_, shares)| shares).collect();
    }
    for by in &scene.context.plan.segments {
        let members = members(scene, baseline, by);
        for (case, best) in cases.iter().zip(&mut best) {
            let shares = shares(case, &members);
            let beyond = shares.first().map_or(f64::NEG_INFINITY, |first| first.share - first.events);
            if beyond > best.0 {
                *best = (beyond, shares);
            }
        }
    }
    best.into_iter().map(|(_, shares)| shares).collect()
}

fn members<'a>(scene: &'a Scene<'_>, baseline: &'a Baseline, by: &SegmentPlan) -> Vec<Member<'a>> {
    let mut numbers: Vec<u16> = by.admitted.values().copied().chain([by.other]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let member = |number: u16| {
        let name = scene.context.plan.segment_names.get(usize::from(number))?;
        let pane = scene.history.events(scene.context.window, (scene.place.0, number));
        Some(Member { name, pane, reference: baseline.segments.get(name) })
    };
    numbers.into_iter().filter_map(member).collect()
}

/// Those that add most, the greatest first; none where the panes of the segments are not all of the window.
fn shares(case: &Case<'_>, members: &[Member<'_>]) -> Vec<SegmentShare> {
    let empty = || Part { cells: vec![0; case.current.cells.len()], total: 0 };
    let current: Vec<Part> =
        members.iter().map(|member| member.pane.as_ref().map_or_else(empty, |pane| case.ground.count(case.column, pane))).collect();
    if current.iter().map(|part| part.total).sum::<u64>() != case.current.total {
        return Vec::new();
    }
    let before: Vec<Part> = members
        .iter()
        .map(|member| member.reference.map_or_else(empty, |reference| case.ground.count(case.column, &reference.pane)))
        .collect();
    // A baseline that does not know the tags, or not all its rows, has no parts to compare with.
    let has_parts = before.iter().map(|part| part.total).sum::<u64>() == case.reference.total;
    let mut shares = Vec::new();
    for ((member, current), before) in members.iter().zip(&current).zip(&before) {
        let Some(share) = case.share_of(has_parts.then_some(before), current) else { continue };
        #[allow(clippy::cast_precision_loss)]
        let events = current.total as f64 / case.current.total.max(1) as f64;
        shares.push(SegmentShare { segment: member.name.clone(), share, events });
    }
    shares.sort_by(|left, right| right.share.total_cmp(&left.share).then_with(|| left.segment.cmp(&right.segment)));
    shares.truncate(MOST_SEGMENTS);
    shares
}
