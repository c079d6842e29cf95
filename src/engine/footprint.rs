//! What a model will need in memory, from its plan and an assumed load, before it runs. Arithmetic only: it allocates no pane.
//!
//! Open panes are exact. What sealed panes take depends on the counts: the blocks of the baseline's own pane are scaled to
//! the events of a slice, and the width of a block is that of counts that scatter as Poisson's law has it. The truth differs
//! where the stream is unlike the baseline; a test holds the estimate within a quarter for streams that are like it.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Estimates.

use crate::baseline::space::{KERNEL_DIRECTIONS, Space};
use crate::baseline::{Baseline, ColumnKind, Reference};
use crate::event::{Span, Timestamp};
use crate::stats::exact::ExactSum;
use crate::window::bytes::BLOCK;
use crate::window::pane::Moments;
use crate::window::{JoinedPane, OpenPane, Pane, SAMPLE, SampleRow, WindowSpec};

use super::comparison::Against;
use super::plan::ModelPlan;
use super::retention::{Retention, reach};

/// Bytes that one prediction takes in the ledger, its share of the tables included. Measured with a million of them.
pub const LEDGER_ENTRY_BYTES: u64 = 160;
/// Bytes of a slice and of each of its panes beside their counts: keys, lengths, the tree's own.
const SLICE_BYTES: f64 = 120.0;
/// Bytes of a joined pane that lies on a shelf beside its slice: 160 with it, measured with 434,350 of them.
const SHELVED_BYTES: f64 = 30.0;
/// Bytes of a closed window that waits for its labels, its revision included.
const TRACK_BYTES: u64 = 160;
/// Steps of a detector that its size is told for: ten years of five minutes. It grows with the logarithm of them.
pub const STEPS: u64 = 1 << 20;
/// Bytes of what detectors have said of one slide.
const WORD_BYTES: u64 = 100;
/// Bytes of one measurement on its way out.
const MEASUREMENT_BYTES: u64 = 320;
/// Bytes of a level's name with its places in the tables.
const LEVEL_BYTES: usize = 128;
/// Bytes of a column beside its bins: name, summary, null distributions.
const COLUMN_BYTES: usize = 4_096;
/// The numbers at the head of a pane.
const HEAD_BYTES: f64 = 6.0;
/// What the allocator loses in rounding sizes up: a sixteenth.
const ROUNDING: f64 = 1.0625;

/// What is assumed of the stream of one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Prediction events a second.
    pub events_per_second: f64,
    /// Partitions they come from.
    pub partitions: u64,
}

/// How many of a thing there are, and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Part {
    /// Adds another.
    pub fn add(&mut self, other: Part) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What one model needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Baselines.
    pub baselines: Part,
    /// Panes that accept records, dense, by version, segment, partition and slice, at the moment when most are open.
    pub open: Part,
    /// Sealed panes after they have been added up.
    pub sealed: Part,
    /// Panes of predictions with labels.
    pub joined: Part,
    /// Closed windows that wait for their labels.
    pub waiting: Part,
    /// Predictions that wait for their labels.
    pub ledger: Part,
    /// Sequential detectors, after [`STEPS`] steps each.
    pub detectors: Part,
    /// All windows of the model as they close at the same time, merged and measured.
    pub closing: Part,
}

impl Footprint {
    /// What it needs in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Footprint { baselines, open, sealed, joined, waiting, ledger, detectors, closing } = self;
        [baselines, open, sealed, joined, waiting, ledger, detectors, closing].iter().map(|part| part.bytes).sum()
    }
}

/// What a model needs under a load, of which each of its baselines' versions has an equal part. The ledger holds at most
/// `ledger_capacity` predictions. Of joined panes that lie on a shelf only their keys and how many labels they have are in memory.
#[must_use]
pub fn footprint(plan: &ModelPlan, load: &Load, ledger_capacity: usize, are_pairs_shelved: bool) -> Footprint {
    let mut all = Footprint::default();
    let versions = plan.baselines.len().max(1);
    let rate = load.events_per_second / versions as f64;
    for baseline in &plan.baselines {
        all.baselines.add(Part { count: 1, bytes: baseline_bytes(baseline) });
        all.open.add(open_panes(plan, baseline, rate, load.partitions));
        all.detectors.add(detector_bytes(plan, baseline));
        let dense = dense_bytes(&baseline.reference.pane);
        let subjects = baseline.layout.columns.len() as u64;
        let measured = plan.windows.len() as u64 * plan.segment_names.len().max(1) as u64;
        // A window that is compared with others of the stream has them added up beside it.
        let compared = plan.comparisons.iter().any(|comparison| !matches!(comparison.against, Against::Baseline));
        let dense = if compared { 2 * dense } else { dense };
        let bytes = dense + measured * subjects * plan.metrics.len() as u64 * MEASUREMENT_BYTES;
        all.closing.add(Part { count: plan.windows.len() as u64, bytes: bytes + (plan.windows.len() as u64 - 1) * dense });
        let (pane, pairs) = (Shape::of_pane(baseline), Shape::of_pairs(baseline));
        for share in shares(plan, baseline) {
            all.sealed.add(slices(&events_kept(plan), plan.slice, rate * share, |events| pane.bytes(events)));
            if plan.horizon.is_some() {
                all.joined.add(slices(&pairs_kept(plan), plan.slice, rate * share, |events| {
                    if are_pairs_shelved { SHELVED_BYTES } else { pairs.bytes(events) }
                }));
            }
        }
    }
    if let Some(horizon) = plan.horizon {
        let windows: u64 = plan.windows.iter().map(|spec| waiting_windows(plan, spec)).sum();
        all.waiting = Part { count: windows, bytes: windows * TRACK_BYTES };
        let predictions = (load.events_per_second * horizon.as_seconds()).min(ledger_capacity as f64) as u64;
        all.ledger = Part { count: predictions, bytes: predictions.saturating_mul(LEDGER_ENTRY_BYTES) };
    }
    all
}

/// Slices that accept records of a partition at the same time: the newest, and those within the lateness before.
#[must_use]
pub fn open_slices(plan: &ModelPlan) -> u64 {
    1 + plan.lateness.0.unsigned_abs().div_ceil(plan.slice.0.unsigned_abs().max(1))
}

pub(super) fn open_panes(plan: &ModelPlan, baseline: &Baseline, rate: f64, partitions: u64) -> Part {
    let series = plan.segment_names.len().max(1) as f64;
    // An event opens one pane for all and one for each segmentation.
    let events = rate * plan.slice.as_seconds() * (1 + plan.segments.len()) as f64;
    let count = (series * partitions as f64).min(events.max(1.0)).ceil() as u64 * open_slices(plan);
    let pane = dense_bytes(&baseline.reference.pane) + size_of::<OpenPane>() as u64;
    Part { count, bytes: (count as f64 * pane as f64 * ROUNDING) as u64 }
}

/// Bytes of a sampled row without its cells, with what the allocator adds.
const SAMPLED_ROW_BYTES: usize = size_of::<SampleRow>() + 16;

/// Bytes of a full sample, of which a row takes so many, and so many for each cell.
pub(super) fn sample_bytes(pane: &Pane, of_row: usize, of_cell: usize) -> u64 {
    let width = pane.sample.rows().first().map(|row| row.cells.len());
    width.map_or(0, |width| (SAMPLE * (of_row + of_cell * width)) as u64)
}

/// Bytes of a pane that is counted into.
fn dense_bytes(pane: &Pane) -> u64 {
    (size_of::<Pane>()
        + pane.cells.len() * size_of::<u64>()
        + pane.moments.len() * size_of::<Moments>()
        + pane.sums.len() * size_of::<ExactSum>()) as u64
        + sample_bytes(pane, SAMPLED_ROW_BYTES, 2)
}

pub(super) fn joined_bytes(pane: &JoinedPane) -> u64 {
    dense_bytes(&pane.label) + (size_of::<JoinedPane>() + (pane.confusion.len() + pane.scores.len()) * size_of::<u64>()) as u64
}

/// The detectors of one version, and what they have said that no window has told yet.
fn detector_bytes(plan: &ModelPlan, baseline: &Baseline) -> Part {
    let columns = baseline.layout.columns.iter().filter(|column| column.moments.is_some()).count() as u64;
    let mut all = Part::default();
    for settings in &plan.detectors {
        let is_of_errors = settings.is_of_errors();
        let count = if is_of_errors { 1 } else { columns };
        // Values are told when the window closes, errors at last when the horizon has passed.
        let words: u64 = plan.windows.iter().map(|spec| 1 + if is_of_errors { waiting_windows(plan, spec) } else { 0 }).sum();
        all.add(Part { count, bytes: count * (settings.most_bytes(STEPS) as u64 + words * WORD_BYTES) });
    }
    all
}

/// Closed windows of a specification that wait for their labels.
fn waiting_windows(plan: &ModelPlan, spec: &WindowSpec) -> u64 {
    plan.horizon.map_or(0, |horizon| ((horizon.0 + spec.size.0) / spec.slide.0.max(1) + 1).unsigned_abs())
}

/// Centre, scale, components and the directions of the kernel.
fn space_bytes(space: &Space) -> usize {
    let components = space.reconstruction.as_ref().map_or(0, |reconstruction| reconstruction.components.len());
    let directions = space.kernel.as_ref().map_or(0, |_| KERNEL_DIRECTIONS);
    (2 + components + directions) * space.dimension() * size_of::<f64>()
}

fn baseline_bytes(baseline: &Baseline) -> u64 {
    let columns = baseline.layout.columns.iter().map(|column| {
        COLUMN_BYTES
            + match &column.kind {
                // Edges, and the numbers of the grid over them.
                ColumnKind::Numeric(bins) => bins.edges.len() * size_of::<f64>() + 2 * bins.edges.len().next_power_of_two(),
                ColumnKind::Categorical(levels) => (levels.kept.len() + levels.folded.len()) * LEVEL_BYTES,
                ColumnKind::Embedding(space) => space_bytes(space),
            }
    });
    let joint = baseline.layout.joint.as_ref().map_or(0, |joint| {
        let scores = joint.dependence.iter().flat_map(|dependence| &dependence.scores).map(Vec::len).sum::<usize>();
        space_bytes(&joint.space) + scores * size_of::<f64>()
    });
    let references = std::iter::once(&baseline.reference).chain(baseline.segments.values());
    let seasons = baseline.seasons.iter().flat_map(|seasons| seasons.hours.values()).map(|pane| pane.bytes().len() as u64);
    let of_reference = |reference: &Reference| {
        let pane = &reference.pane;
        // The sample of the reference may be larger than that of a window.
        let sampled = pane.sample.rows().len().saturating_sub(SAMPLE) as u64 * sample_bytes(pane, SAMPLED_ROW_BYTES, 2) / SAMPLE as u64;
        dense_bytes(pane) + sampled + joined_bytes(&reference.joined)
    };
    (columns.sum::<usize>() + joint) as u64 + seasons.sum::<u64>() + references.map(of_reference).sum::<u64>()
}

/// The shares of the segments of a model in its events, as the baseline has them; all events first.
pub(super) fn shares(plan: &ModelPlan, baseline: &Baseline) -> impl Iterator<Item = f64> {
    let rows = baseline.reference.pane.n.max(1) as f64;
    let alike = 1.0 / plan.segment_names.len().max(1) as f64;
    plan.segment_names
        .iter()
        .map(move |name| if name.is_overall() { 1.0 } else { baseline.segments.get(name).map_or(alike, |of| of.pane.n as f64 / rows) })
}

/// What is kept of the events while the newest slice begins at the epoch.
pub(super) fn events_kept(plan: &ModelPlan) -> Retention {
    let longest = plan.longest_window();
    Retention::new(plan.windows.iter().enumerate().map(|(place, spec)| {
        let back = reach(spec, longest) + plan.comparison(place).reach(spec);
        (spec, Timestamp(0) - plan.lateness - spec.size - back)
    }))
}

/// What is kept of the pairs: until the tick after the horizon of the last window they are in.
fn pairs_kept(plan: &ModelPlan) -> Retention {
    let (longest, horizon) = (plan.longest_window(), plan.horizon.unwrap_or_default());
    Retention::new(plan.windows.iter().map(|spec| {
        let back = (reach(spec, longest) + plan.lateness).max(horizon + spec.slide);
        (spec, Timestamp(0) - spec.size - back)
    }))
}

/// The slices of one version and segment, with the bytes that a slice of so many events takes.
fn slices(kept: &Retention, fine: Span, rate: f64, bytes: impl Fn(f64) -> f64) -> Part {
    let mut all = Part::default();
    for (length, count) in kept.stretches(fine, Timestamp(0)) {
        let events = rate * length.as_seconds();
        // A slice without an event is not there.
        let filled = count as f64 * (1.0 - (-events).exp());
        let each = (SLICE_BYTES + bytes(events)) * ROUNDING;
        all.add(Part { count: filled.ceil() as u64, bytes: (filled * each) as u64 });
    }
    all
}

/// A block of counts of the reference.
struct Block {
    least: f64,
    most: f64,
    sum: f64,
    cells: f64,
}

/// What the bytes of a pane depend on besides its events.
struct Shape {
    rows: f64,
    blocks: Vec<Block>,
    /// Exact sums.
    sums: f64,
    /// Bytes of a sampled event.
    sampled: f64,
}

impl Shape {
    fn of_pane(baseline: &Baseline) -> Shape {
        let pane = &baseline.reference.pane;
        // Two of the four sums of a numeric column grow with every event, the others with few.
        let shape = Shape::new(pane.n, [&pane.cells], pane.moments.len() as f64 * 3.0 + 1.0 + pane.sums.len() as f64);
        // The key, and cells of one byte or two.
        Shape { sampled: sample_bytes(pane, 16, 3) as f64 / (2 * SAMPLE) as f64, ..shape }
    }

    fn of_pairs(baseline: &Baseline) -> Shape {
        let pane = &baseline.reference.joined;
        let moments = pane.label.moments.len() as f64 * 3.0;
        // Without labels in the reference the sizes are those of labels that are spread evenly over their cells.
        let even = |counts: &[u64]| vec![1; counts.len()];
        if pane.matched == 0 {
            let counts = [even(&pane.label.cells), even(&pane.confusion), even(&pane.scores)];
            return Shape::new(counts.iter().map(Vec::len).max().unwrap_or(1) as u64, &counts, moments + 5.0);
        }
        Shape::new(pane.matched, [&pane.label.cells, &pane.confusion, &pane.scores], moments + 5.0)
    }

    fn new<'a>(rows: u64, counts: impl IntoIterator<Item = &'a Vec<u64>>, sums: f64) -> Shape {
        let blocks = counts.into_iter().flat_map(|counts| counts.chunks(BLOCK)).map(|block| Block {
            least: block.iter().min().copied().unwrap_or(0) as f64,
            most: block.iter().max().copied().unwrap_or(0) as f64,
            sum: block.iter().sum::<u64>() as f64,
            cells: block.len() as f64,
        });
        Shape { rows: rows.max(1) as f64, blocks: blocks.collect(), sums, sampled: 0.0 }
    }

    fn bytes(&self, events: f64) -> f64 {
        let scale = events / self.rows;
        let of_block = |block: &Block| {
            let (least, most) = (block.least * scale, block.most * scale);
            // Among 32 alike draws the outermost lie two standard deviations out; a heavy cell is alone.
            let alike = (block.sum / block.most.max(1.0)).max(1.0);
            let (bottom, top) = ((least - 2.0 * least.sqrt()).max(0.0), most + (1.2 * alike.ln() * most).sqrt());
            // A range near a power of two is as often above it as below.
            let width = (top - bottom + 1.0).log2();
            let width = f64::midpoint((width - 0.25).ceil().max(1.0), (width + 0.25).ceil());
            let head = 1.0 + if bottom < 1.0 { 0.0 } else { varint_bytes(bottom.log2()) };
            let filled = 1.0 - (-block.sum * scale).exp();
            filled * (head + (width * block.cells / 8.0).ceil()) + (1.0 - filled) * filled.max(0.05)
        };
        let blocks: f64 = self.blocks.iter().map(of_block).sum();
        // A sum of values near one standard deviation, in units of 2^-40.
        blocks + self.sampled * events.min(SAMPLE as f64) + self.sums * varint_bytes(42.0 + events.max(1.0).log2() / 2.0) + HEAD_BYTES
    }
}

fn varint_bytes(bits: f64) -> f64 {
    (bits / 7.0).floor() + 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::{AliasTable, SplitMix64};
    use crate::window::SparsePane;

    /// Counts of events drawn from the shares of a reference.
    fn drawn(reference: &[u64], events: u64, seed: u64) -> Vec<u64> {
        let table = AliasTable::new(reference).unwrap();
        let mut random = SplitMix64::new(seed);
        let mut counts = vec![0; reference.len()];
        for _ in 0..events {
            counts[table.draw(&mut random)] += 1;
        }
        counts
    }

    fn estimated_and_true(reference: &[u64], events: u64, seed: u64) -> (f64, f64) {
        let rows = reference.iter().sum();
        let pane = Pane { n: events, cells: drawn(reference, events, seed), ..Pane::default() };
        let shape = Shape::new(rows, [&reference.to_vec()], 1.0);
        (shape.bytes(events as f64), SparsePane::of(&pane).bytes().len() as f64)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn the_estimate_of_a_pane_is_near_the_truth(magnitude in 0u32..17, heavy in 0usize..9, seed in any::<u64>()) {
            // 700 bins of alike shares, special cells before them that are empty, and some heavy atoms among them.
            let mut reference = vec![0; 5];
            reference.extend((0..700u64).map(|cell| 90 + cell % 21));
            (0..heavy).for_each(|atom| reference[100 + 60 * atom] = 2_000);
            let events = 1 << magnitude;
            let (estimate, truth) = estimated_and_true(&reference, events, seed);
            // Of panes of few events it may be off by less than half of what a slice takes beside its counts.
            prop_assert!((estimate - truth).abs() < 0.25 * truth + 0.4 * SLICE_BYTES, "{events} events: {estimate} bytes estimated, {truth} taken");
        }
    }

    #[test]
    fn slices_are_counted_as_retention_leaves_them() {
        let spec = |size, slide| WindowSpec { name: "w".into(), size, slide, offset: Span(0) };
        let minutes = |count| Span(count * Span::MINUTE.0);
        let specs = [spec(Span::HOUR, minutes(5)), spec(Span::DAY, Span::HOUR)];
        let now = Timestamp(1_000 * Span::HOUR.0);
        let kept = Retention::new([(&specs[0], now - minutes(120)), (&specs[1], now - minutes(48 * 60))]);
        // Two hours of the finer, and up to eleven of an hour that is not over; 46 hours.
        assert_eq!(kept.stretches(minutes(5), now), [(minutes(5), 24 + 11), (Span::HOUR, 46)]);
        let one = Retention::new([(&specs[0], now - minutes(120))]);
        assert_eq!(one.stretches(minutes(5), now), [(minutes(5), 24)]);
    }
}
