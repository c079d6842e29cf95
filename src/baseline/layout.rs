//! The bin layout: which cell of a pane a value belongs to.
//!
//! Every monitored subject is a *column*. A column owns a run of cells in the pane: first the [`SPECIAL`] cells for what
//! is not a value, then its data cells.
//!
//! ```text
//! numeric      null missing nan infinite wrong_type | below (e0,e1] (e1,e2] ... (ek-1,ek] above
//! categorical  null missing nan infinite wrong_type | level_0 level_1 ... level_k-1 other unseen
//! embedding    null missing nan infinite wrong_type | vectors
//! ```
//!
//! Beside the cells a pane has sums: first those of the [`Space`] of each embedding, then those of the [`Joint`] one.
//! Where different values are counted, a column has cells of [`crate::sketch::distinct`] too, behind those of all columns.
//!
//! Panes of different layouts never merge; [`Layout::id`] tells them apart.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::event::Subject;
use crate::sketch::distinct;

use super::grid::Grid;
use super::level_index::LevelIndex;
use super::space::{Joint, Space};

/// Cells at the head of each column that count what is not a value.
pub const SPECIAL: usize = 5;
/// JSON null, or an empty cell of a table.
pub const NULL: usize = 0;
/// The key is not there.
pub const MISSING: usize = 1;
/// Not a number.
pub const NAN: usize = 2;
/// Positive or negative infinity.
pub const INFINITE: usize = 3;
/// A value of another type than the column's.
pub const WRONG_TYPE: usize = 4;

/// Bins of a numeric column.
#[derive(Clone, Debug, PartialEq)]
pub struct NumericBins {
    /// Fine edges, strictly ascending. `edges[0]` is the next float below the reference minimum and the last is the
    /// reference maximum, so that right-closed cells need no exception. Data cell 0 is below, the last is above.
    pub edges: Vec<f64>,
    /// The nine inner deciles of the reference, made distinct: the edges of the coarse bins, each also a fine edge.
    pub coarse_edges: Vec<f64>,
    /// The mean of the reference: moments are sums of `(x - center) / scale`.
    pub center: f64,
    /// The standard deviation (ddof 0) of the reference, or where that is 0 the greater of |center| and 1.
    pub scale: f64,
    /// Smallest value of the reference.
    pub min: f64,
    /// Largest value of the reference.
    pub max: f64,
    grid: Grid,
}

impl NumericBins {
    /// Bins over edges that do not change any more; the fields of the same names say what they must be.
    #[must_use]
    pub fn new(edges: Vec<f64>, coarse_edges: Vec<f64>, (center, scale): (f64, f64), (min, max): (f64, f64)) -> NumericBins {
        NumericBins { grid: Grid::new(&edges), edges, coarse_edges, center, scale, min, max }
    }

    /// Number of data cells: the bins between the edges, below and above.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.edges.len() + 1
    }

    /// The data cell of a finite value: the number of edges that are less than it.
    #[inline]
    #[must_use]
    pub fn cell(&self, value: f64) -> usize {
        self.grid.cell(&self.edges, value)
    }

    /// For each data cell the index of the coarse bin it lies in.
    #[must_use]
    pub fn coarse_of_cells(&self) -> Vec<usize> {
        // A fine cell (a, b] lies in the coarse bin of its upper edge; the cell above the maximum is in the last one.
        let of_edge = |edge: f64| self.coarse_edges.partition_point(|coarse| *coarse < edge);
        self.edges.iter().map(|edge| of_edge(*edge)).chain([self.coarse_edges.len()]).collect()
    }

    /// Counts of the data cells added up over the coarse bins.
    #[must_use]
    pub fn coarse(&self, counts: &[u64]) -> Vec<u64> {
        let mut from = 0;
        let mut sums = Vec::with_capacity(self.coarse_edges.len() + 1);
        for edge in &self.coarse_edges {
            let to = self.edges.partition_point(|fine| fine <= edge);
            sums.push(counts.get(from..to).unwrap_or_default().iter().sum());
            from = to;
        }
        sums.push(counts.get(from..).unwrap_or_default().iter().sum());
        sums
    }
}

/// Levels of a categorical column.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Kept levels by descending share in the reference, ties by name.
    pub kept: Vec<Arc<str>>,
    /// Levels of the reference that were not kept: they count as `other`, not as unseen.
    pub folded: Vec<Arc<str>>,
    index: LevelIndex,
}

impl Levels {
    /// The levels of a reference.
    #[must_use]
    pub fn new(kept: Vec<Arc<str>>, folded: Vec<Arc<str>>) -> Levels {
        let known: Vec<&Arc<str>> = kept.iter().chain(&folded).collect();
        let other = kept.len();
        let cells = (0..).zip(known).map(|(place, level)| (Arc::clone(level), u32::try_from(other.min(place)).unwrap_or(u32::MAX)));
        Levels { index: LevelIndex::new(cells.collect::<Vec<_>>().into_iter()), kept, folded }
    }

    /// Number of data cells: kept levels, other, unseen.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.kept.len() + 2
    }

    /// The data cell of a level by its canonical text.
    #[inline]
    #[must_use]
    pub fn cell(&self, level: &str) -> usize {
        self.index.get(level).map_or(self.kept.len() + 1, |cell| cell as usize)
    }

    /// Whether the reference knows the level.
    #[must_use]
    pub fn knows(&self, level: &str) -> bool {
        self.index.get(level).is_some()
    }

    /// The data cell of levels of the reference that were not kept.
    #[must_use]
    pub fn other_cell(&self) -> usize {
        self.kept.len()
    }

    /// The data cell of levels that the reference does not know.
    #[must_use]
    pub fn unseen_cell(&self) -> usize {
        self.kept.len() + 1
    }
}

/// How the values of a column are binned.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnKind {
    /// Numbers over fixed edges.
    Numeric(NumericBins),
    /// Levels by their canonical text.
    Categorical(Levels),
    /// Vectors of one length.
    Embedding(Box<Space>),
}

/// One monitored subject and its place in the pane.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// What it monitors.
    pub subject: Subject,
    /// Its bins.
    pub kind: ColumnKind,
    /// Index of its first cell (the first special one) in the pane.
    pub offset: usize,
    /// Index of its moments in the pane, for a numeric column.
    pub moments: Option<usize>,
    /// Index of its first sum in the pane, for an embedding.
    pub sums: Option<usize>,
    /// Its place among the sampled columns, for those.
    pub sampled: Option<usize>,
    /// Index of its first cell for different values in the pane, where these are counted.
    pub distinct: Option<usize>,
}

impl Column {
    /// Number of cells of the column with the special ones.
    #[must_use]
    pub fn cells(&self) -> usize {
        SPECIAL
            + match &self.kind {
                ColumnKind::Numeric(bins) => bins.cells(),
                ColumnKind::Categorical(levels) => levels.cells(),
                ColumnKind::Embedding(_) => 1,
            }
    }
}

/// The columns of a pane.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Columns in the order of their cells: features as the baseline lists them, then the outputs.
    pub columns: Vec<Column>,
    /// Number of cells of a pane.
    pub cells: usize,
    /// Number of numeric columns.
    pub moments: usize,
    /// Number of sums over vectors.
    pub sums: usize,
    /// The numeric features together, where their drift is measured; its sums are the last ones.
    pub joint: Option<Arc<Joint>>,
    /// The features that a sample of events is kept of, where there is one.
    pub sampled: Option<Arc<[Arc<str>]>>,
    /// Fingerprint of bins, types and classes: the first eight bytes of a SHA-256.
    pub id: u64,
}

impl Layout {
    /// Lays the columns out one after the other.
    #[must_use]
    pub fn new(columns: Vec<(Subject, ColumnKind)>) -> Layout {
        let (mut offset, mut moments, mut sums) = (0, 0, 0);
        let mut hash = Sha256::new();
        let columns = columns
            .into_iter()
            .map(|(subject, kind)| {
                hash.update(subject.to_string());
                hash_kind(&mut hash, &kind);
                let numeric = matches!(kind, ColumnKind::Numeric(_));
                let of_vectors = if let ColumnKind::Embedding(space) = &kind { Some(space.sums()) } else { None };
                let (moments_at, sums_at) = (numeric.then_some(moments), of_vectors.map(|_| sums));
                let column = Column { subject, kind, offset, moments: moments_at, sums: sums_at, sampled: None, distinct: None };
                offset += column.cells();
                moments += usize::from(numeric);
                sums += of_vectors.unwrap_or(0);
                column
            })
            .collect();
        Layout { columns, cells: offset, moments, sums, joint: None, sampled: None, id: short(hash) }
    }

    /// The same with a sample of events over those of these features that have cells. Before [`Layout::with_joint`].
    #[must_use]
    pub fn with_sampled(mut self, features: &[Arc<str>]) -> Layout {
        let mut hash = Sha256::new();
        hash.update(self.id.to_be_bytes());
        let mut names = Vec::new();
        for column in &mut self.columns {
            if let Subject::Feature(name) = &column.subject
                && !matches!(column.kind, ColumnKind::Embedding(_))
                && features.contains(name)
            {
                column.sampled = Some(names.len());
                names.push(Arc::clone(name));
                hash.update([4u8]);
                hash.update(name.as_bytes());
            }
        }
        if !names.is_empty() {
            self.id = short(hash);
            self.sampled = Some(names.into());
        }
        self
    }

    /// The same with sums over the numeric features together. Nothing is added where one of them is not a numeric column.
    #[must_use]
    pub fn with_joint(mut self, joint: Option<Joint>) -> Layout {
        let moments = |name: &Arc<str>| self.columns.get(self.column(&Subject::Feature(Arc::clone(name)))?)?.moments;
        let placed = joint.and_then(|joint| Some((joint.features.iter().map(moments).collect::<Option<Vec<usize>>>()?, joint)));
        if let Some((moments, joint)) = placed {
            let joint = Joint { moments, ..joint };
            let mut hash = Sha256::new();
            hash.update(self.id.to_be_bytes());
            joint.features.iter().for_each(|name| hash.update(name.as_bytes()));
            hash_space(&mut hash, &joint.space);
            if let Some(dependence) = &joint.dependence {
                hash.update([3u8]);
                dependence.features.iter().for_each(|place| hash.update((*place as u64).to_le_bytes()));
                dependence.scores.iter().for_each(|scores| hash_numbers(&mut hash, scores));
            }
            self.id = short(hash);
            self.sums += joint.sums();
            self.joint = Some(Arc::new(joint));
        }
        self
    }

    /// Index of the first sum of the joint space in the pane.
    #[must_use]
    pub fn joint_sums(&self) -> usize {
        self.sums - self.joint.as_ref().map_or(0, |joint| joint.sums())
    }

    /// The same layout with cells for the different values of each column but embeddings behind the others, and so with another fingerprint.
    #[must_use]
    pub fn counting_distinct(&self) -> Layout {
        let mut layout = self.clone();
        for column in layout.columns.iter_mut().filter(|column| !matches!(column.kind, ColumnKind::Embedding(_))) {
            column.distinct = Some(layout.cells);
            layout.cells += distinct::CELLS;
        }
        // Any other number would do that depends on the first one alone.
        layout.id = self.id.rotate_left(1) ^ distinct::CELLS as u64;
        layout
    }

    /// The index of the column of that subject.
    #[must_use]
    pub fn column(&self, subject: &Subject) -> Option<usize> {
        self.columns.iter().position(|column| column.subject == *subject)
    }
}

fn hash_kind(hash: &mut Sha256, kind: &ColumnKind) {
    match kind {
        ColumnKind::Numeric(bins) => {
            hash.update([0u8]);
            for list in [&bins.edges, &bins.coarse_edges, &vec![bins.center, bins.scale]] {
                hash_numbers(hash, list);
            }
        }
        ColumnKind::Embedding(space) => {
            hash.update([2u8]);
            hash_space(hash, space);
        }
        ColumnKind::Categorical(levels) => {
            hash.update([1u8]);
            for list in [&levels.kept, &levels.folded] {
                hash.update((list.len() as u64).to_le_bytes());
                for level in list {
                    hash.update((level.len() as u64).to_le_bytes());
                    hash.update(level.as_bytes());
                }
            }
        }
    }
}

/// What panes are summed over; not how large differences are without drift.
fn hash_space(hash: &mut Sha256, space: &Space) {
    hash_numbers(hash, &space.center);
    hash_numbers(hash, &space.scale);
    hash.update([u8::from(space.centroid.is_some())]);
    for component in space.reconstruction.iter().flat_map(|reconstruction| &reconstruction.components) {
        hash_numbers(hash, component);
    }
    if let Some(kernel) = &space.kernel {
        hash.update(kernel.seed.to_le_bytes());
        hash_numbers(hash, &[kernel.bandwidth]);
    }
}

fn hash_numbers(hash: &mut Sha256, list: &[f64]) {
    hash.update((list.len() as u64).to_le_bytes());
    list.iter().for_each(|value| hash.update(value.to_bits().to_le_bytes()));
}

/// The first eight bytes.
fn short(hash: Sha256) -> u64 {
    hash.finalize().iter().take(8).fold(0u64, |id, byte| (id << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bins(edges: Vec<f64>, coarse_edges: Vec<f64>) -> NumericBins {
        NumericBins::new(edges, coarse_edges, (0.0, 1.0), (0.0, 1.0))
    }

    proptest! {
        #[test]
        fn the_cell_is_the_number_of_edges_below(mut edges in prop::collection::vec(-50i32..50, 1..40), value in -60i32..60) {
            edges.sort_unstable();
            edges.dedup();
            let edges: Vec<f64> = edges.into_iter().map(f64::from).collect();
            let value = f64::from(value);
            let expected = edges.iter().filter(|edge| **edge < value).count();
            prop_assert_eq!(bins(edges, vec![]).cell(value), expected);
        }
    }

    #[test]
    fn coarse_bins_are_right_closed_and_open_to_infinity() {
        let bins = bins(vec![0.0, 1.0, 2.0, 3.0], vec![1.0, 2.0]);
        assert_eq!(bins.coarse_of_cells(), [0, 0, 1, 2, 2]);
        assert_eq!(bins.coarse(&[1, 2, 4, 8, 16]), [3, 4, 24]);
    }

    #[test]
    fn folded_levels_are_other_and_strangers_are_unseen() {
        let levels = Levels::new(vec!["a".into(), "b".into()], vec!["c".into()]);
        assert_eq!((levels.cell("b"), levels.cell("c"), levels.cell("d")), (1, 2, 3));
    }

    #[test]
    fn another_edge_is_another_layout() {
        let one = Layout::new(vec![(Subject::Score, ColumnKind::Numeric(bins(vec![0.0, 1.0], vec![])))]);
        let two = Layout::new(vec![(Subject::Score, ColumnKind::Numeric(bins(vec![0.0, 2.0], vec![])))]);
        assert_ne!(one.id, two.id);
        assert_eq!(one.cells, SPECIAL + 3);
    }
}
