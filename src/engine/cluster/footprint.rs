//! What a model will need in the memory of a replica, beside what it needs in a process that is alone: what joins hold by the
//! number of the partitions, what everybody's word is kept of, and what an owner keeps of it. Arithmetic only.
//!
//! It is what one replica needs that reads all partitions and owns all models, as when the others are gone: a bound, as labels are
//! taken to come for every prediction. `benches/replica.rs` measures it.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Estimates.

use crate::baseline::Baseline;
use crate::engine::footprint::{Load, Part, events_kept, joined_bytes, open_panes, sample_bytes, shares};
use crate::engine::plan::ModelPlan;
use crate::event::Span;
use crate::window::{JoinedPane, Pane};

use super::joiner::{Place, reach};

/// Of the eleven entries that a node of an ordered map has room for, six are there where keys come in order.
const NODE: f64 = 11.0 / 6.0;
/// Bytes of what the directory has of a snapshot of an open pane beside its bytes: key, names, ends.
const HEARD_EVENTS: f64 = 96.0 * NODE + 160.0;
/// The same of a joined pane: a map of its versions, mostly of one, has a node of its own.
const HEARD_JOINED: f64 = 80.0 * NODE + 540.0;
/// Bytes of a snapshot in an owner's book beside it.
const OWNED_EVENTS: f64 = 104.0 * NODE + 16.0;
/// The same of a version of a joined pane.
const OWNED_JOINED: f64 = 40.0 * NODE + 16.0;
/// Bytes of a slice of a partition that an owner remembers as sealed, and of each run of panes in it.
const SEALED_SLICE: f64 = 32.0 * NODE + 64.0;
/// See [`SEALED_SLICE`].
const SEALED_SERIES: f64 = 4.0 * NODE;
/// Bytes of a key of the panes topic, as text.
const KEY: f64 = 220.0;

/// What one model needs in a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Joined panes by partition number, dense, and those of them that are being said.
    pub joins: Part,
    /// What everybody said last, to go on from.
    pub directory: Part,
    /// Snapshots that an owner keeps until their partition or the label clock is done with them.
    pub owned: Part,
    /// What the panes topic still holds of older slices, until it has been read to its end.
    pub taking_over: Part,
    /// Bytes of all that is said at once.
    pub round: u64,
    /// Bytes of one snapshot.
    pub record: u64,
}

/// What a model needs under a load, where the panes topic keeps what was said for so long.
#[must_use]
pub fn footprint(plan: &ModelPlan, load: &Load, retention: Span) -> Footprint {
    let mut all = Footprint::default();
    let rate = load.events_per_second / plan.baselines.len().max(1) as f64;
    let partitions = load.partitions.max(1) as f64;
    for baseline in &plan.baselines {
        let open = open_panes(plan, baseline, rate, load.partitions).count as f64;
        let snapshot = packed(&baseline.reference.pane);
        // Slices of all partitions within a stretch of time that have an event, by run of panes.
        let panes = |stretch: Span| -> f64 {
            let slices = (stretch.as_seconds() / plan.slice.as_seconds().max(1e-3)).ceil();
            let filled = |share: f64| 1.0 - (-rate * share / partitions * plan.slice.as_seconds()).exp();
            shares(plan, baseline).map(|share| slices * partitions * filled(share)).sum()
        };
        let remembered = Span(-events_kept(plan).from.0);
        all.directory.add(part(open, HEARD_EVENTS + snapshot));
        all.owned.add(part(open, OWNED_EVENTS + snapshot));
        let slices = panes_of_one(&panes, plan, baseline, remembered);
        all.owned.bytes += (slices * SEALED_SLICE + panes(remembered) * SEALED_SERIES) as u64;
        all.taking_over.add(part(panes(retention), HEARD_EVENTS + snapshot));
        all.taking_over.bytes += (panes(remembered.min(retention)) * (OWNED_EVENTS + snapshot)) as u64;
        all.round += (open * (KEY + snapshot)) as u64;
        all.record = all.record.max(snapshot as u64);
        if plan.horizon.is_none() {
            continue;
        }
        let pane = JoinedPane::new(&baseline.joined);
        let dense = joined_bytes(&pane) as f64 + (size_of::<(Place, JoinedPane)>() as f64) * (NODE - 1.0) + size_of::<Place>() as f64;
        let said = packed_pairs(&pane);
        let held = panes(reach(plan));
        // The labels of one tick.
        let changed = held.min(rate * plan.slice.as_seconds() * (1 + plan.segments.len()) as f64);
        all.joins.add(part(held + changed, dense));
        all.directory.add(part(held, HEARD_JOINED + said));
        all.owned.add(part(held, OWNED_JOINED + said));
        all.owned.bytes += (changed * (56.0 * NODE + said)) as u64;
        all.taking_over.bytes += ((panes(retention) - held).max(0.0) * (HEARD_JOINED + said)) as u64;
        all.round += (changed * (KEY + said)) as u64;
    }
    all
}

/// Slices of all partitions that have an event of any kind: those of the run of all events.
fn panes_of_one(panes: &impl Fn(Span) -> f64, plan: &ModelPlan, baseline: &Baseline, stretch: Span) -> f64 {
    let all: f64 = shares(plan, baseline).sum();
    panes(stretch) / all.max(1.0)
}

fn part(count: f64, bytes: f64) -> Part {
    Part { count: count.ceil() as u64, bytes: (count * bytes) as u64 }
}

/// Bytes of a snapshot of a pane as it is said: most counts take one, large ones two.
fn packed(pane: &Pane) -> f64 {
    let counts = pane.cells.len() as f64 * 1.125;
    counts + 40.0 * pane.moments.len() as f64 + 24.0 * pane.sums.len() as f64 + sample_bytes(pane, 16, 2) as f64 + 40.0
}

fn packed_pairs(pane: &JoinedPane) -> f64 {
    packed(&pane.label) + (pane.confusion.len() + pane.scores.len()) as f64 * 1.125 + 60.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cluster::wire::{Events, Joined, to_bytes};
    use crate::event::Timestamp;
    use crate::stats::exact::ExactSum;
    use crate::window::pane::Moments;

    fn pane(cells: usize, columns: usize) -> Pane {
        let mut pane = Pane { n: 5_000, cells: (0..cells as u64).map(|cell| cell * cell % 60).collect(), ..Pane::default() };
        // A few hundred heavy cells, whose counts take two bytes.
        pane.cells.iter_mut().step_by(12).for_each(|count| *count += 500);
        let mut moments = Moments::default();
        let values = (0..5_000).map(|event| f64::from(event % 97) * 0.037 - 1.8);
        values.for_each(|value| ExactSum::add_with_square(&mut moments.sum, &mut moments.squares, value));
        pane.moments = vec![moments; columns];
        pane
    }

    #[test]
    fn snapshots_are_as_long_as_reckoned() {
        for (cells, columns) in [(1_907, 5), (22_736, 40), (30, 0)] {
            let pane = pane(cells, columns);
            let true_bytes = to_bytes(&Events { end: 1 << 40, sealed_at: Timestamp(1_700_000_000_000), pane: pane.clone() }).len() as f64;
            let reckoned = packed(&pane);
            assert!((reckoned - true_bytes).abs() < 0.2 * true_bytes + 40.0, "{cells} cells: {reckoned} reckoned, {true_bytes} taken");
            let joined =
                JoinedPane { matched: 5_000, label: pane, scores: vec![7; 2_000], confusion: vec![900; 6], ..JoinedPane::default() };
            let true_bytes = to_bytes(&Joined { tick: Timestamp(1_700_000_000_000), pane: joined.clone() }).len() as f64;
            let reckoned = packed_pairs(&joined);
            assert!((reckoned - true_bytes).abs() < 0.2 * true_bytes + 100.0, "{cells} cells: {reckoned} reckoned, {true_bytes} taken");
        }
    }
}
