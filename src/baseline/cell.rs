//! From one value to its cell: the one place where the training table and the stream are binned.
//!
//! Allocates nothing but what `scratch` may grow by. Knows no files, no JSON and no windows.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::event::Scalar;
use crate::sketch::distinct;
use crate::stats::random::SplitMix64;
use crate::window::Pane;
use crate::window::pane::Term;

use super::layout::{Column, ColumnKind, INFINITE, Layout, MISSING, NAN, NULL, SPECIAL, WRONG_TYPE};
use super::space::Work;

/// Where a value is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Cell within the column, the special cells first.
    pub cell: usize,
    /// What enters the moments, where it is a finite number of a numeric column.
    pub number: Option<Number>,
}

/// A finite number of a numeric column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The number as it is counted: -0.0 is 0.0.
    pub value: f64,
    /// What is added to the sums of the column.
    pub term: Term,
}

/// The cell of `value` in a column of kind `kind`.
///
/// In a column of embeddings everything but a vector of its length is a wrong type. In a numeric column strings and booleans
/// are a wrong type; in a categorical one numbers and booleans are levels by their canonical text, for which `scratch` is
/// overwritten.
#[inline]
pub fn place(kind: &ColumnKind, value: &Scalar<'_>, scratch: &mut String) -> Placed {
    // Most values are numbers: this much is inlined.
    if let (Scalar::Num { value, .. }, ColumnKind::Numeric(bins)) = (value, kind)
        && value.is_finite()
    {
        let value = if *value == 0.0 { 0.0 } else { *value };
        let cell = bins.cell(value);
        return Placed { cell: SPECIAL + cell, number: Some(Number { value, term: Term::new(bins, cell, value) }) };
    }
    Placed { cell: cell_of_no_number(kind, value, scratch), number: None }
}

fn cell_of_no_number(kind: &ColumnKind, value: &Scalar<'_>, scratch: &mut String) -> usize {
    match (value, kind) {
        (Scalar::Missing, _) => MISSING,
        (Scalar::Null, _) => NULL,
        (Scalar::Num { value, .. }, _) if value.is_nan() => NAN,
        (Scalar::Num { value, .. }, _) if value.is_infinite() => INFINITE,
        (Scalar::Vector(vector), ColumnKind::Embedding(space)) if vector.len() == space.dimension() => SPECIAL,
        (_, ColumnKind::Numeric(_) | ColumnKind::Embedding(_)) => WRONG_TYPE,
        (_, ColumnKind::Categorical(levels)) => value.level(scratch).map_or(WRONG_TYPE, |level| SPECIAL + levels.cell(level)),
    }
}

/// The cell of a value among those for different values: of each number, and of levels that have no cell of their own.
fn distinct_cell(kind: &ColumnKind, placed: Placed, value: &Scalar<'_>, scratch: &mut String) -> Option<usize> {
    match kind {
        ColumnKind::Numeric(_) => placed.number.map(|number| distinct::cell_of_number(number.value)),
        ColumnKind::Categorical(levels) => {
            let has_none = placed.cell >= SPECIAL + levels.other_cell();
            has_none.then(|| value.level(scratch)).flatten().map(distinct::cell_of_text)
        }
        ColumnKind::Embedding(_) => None,
    }
}

/// Counts a placed value of `column` in a pane of its layout. The pane's `n` is the caller's to count, once per event.
#[inline]
pub fn count(pane: &mut Pane, column: &Column, placed: Placed) {
    if let Some(cell) = pane.cells.get_mut(column.offset + placed.cell) {
        *cell += 1;
    }
    if let (Some(number), Some(moments)) = (placed.number, column.moments)
        && let Some(sums) = pane.moments.get_mut(moments)
    {
        sums.add(number.term);
    }
}

/// Where the values of one event are counted: found once, counted in every pane the event belongs to.
///
/// Cells are counted first and sums after them: panes of many partitions do not fit into the cache together, and so all
/// cells of an event are fetched at the same time.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Cells of the pane.
    cells: Vec<usize>,
    /// Moments of the pane, and what is added to them.
    terms: Vec<(usize, Term)>,
    /// By moments of the layout: value and data cell of each number, where they are looked at together.
    numbers: Vec<(f64, usize)>,
    /// First sum of the pane and number of terms, for each vector.
    runs: Vec<(usize, usize)>,
    /// Terms of all vectors.
    sums: Vec<f64>,
    work: Work,
    /// The cell of each sampled column; [`NOT_THERE`] where the event has nothing to do with it.
    row: Vec<u16>,
    /// What the event is sampled by, where it can be.
    key: Option<u64>,
}

/// No cell: columns have far fewer.
const NOT_THERE: u16 = u16::MAX;

impl Places {
    /// Begins with an event of a layout: forgets the values and keeps the memory.
    pub fn begin(&mut self, layout: &Layout) {
        self.cells.clear();
        self.terms.clear();
        self.runs.clear();
        self.sums.clear();
        self.numbers.clear();
        self.row.clear();
        self.key = None;
        if let Some(sampled) = &layout.sampled {
            self.row.resize(sampled.len(), NOT_THERE);
        }
        if layout.joint.is_some() {
            self.numbers.resize(layout.moments, (f64::NAN, 0));
        }
    }

    /// Adds the value of a column; `scratch` is overwritten.
    #[inline]
    pub fn add(&mut self, column: &Column, value: &Scalar<'_>, scratch: &mut String) {
        let placed = place(&column.kind, value, scratch);
        self.cells.push(column.offset + placed.cell);
        if let Some(first) = column.distinct
            && let Some(cell) = distinct_cell(&column.kind, placed, value, scratch)
        {
            self.cells.push(first + cell);
        }
        if let Some(cell) = column.sampled.and_then(|place| self.row.get_mut(place)) {
            *cell = u16::try_from(placed.cell).unwrap_or(NOT_THERE);
        }
        if let (Some(Number { value, term }), Some(moments)) = (placed.number, column.moments) {
            self.terms.push((moments, term));
            if let Some(number) = self.numbers.get_mut(moments) {
                *number = (value, placed.cell.saturating_sub(SPECIAL));
            }
        }
        if let (Scalar::Vector(vector), ColumnKind::Embedding(space), Some(first)) = (value, &column.kind, column.sums)
            && placed.cell == SPECIAL
        {
            let before = self.sums.len();
            if space.append(vector.iter().copied(), false, &mut self.work, &mut self.sums) {
                self.runs.push((first, self.sums.len() - before));
            }
        }
    }

    /// Ends an event: what its values are together. It is sampled by its name; one without by its values and `ts`.
    #[inline]
    pub fn end(&mut self, layout: &Layout, name: Option<&str>, ts: i64) {
        if self.row.iter().any(|cell| *cell != NOT_THERE) {
            self.key = Some(match name {
                Some(name) => xxh3_64_with_seed(name.as_bytes(), SAMPLE_SEED),
                None => self.row.iter().fold(mix(SAMPLE_SEED, ts.cast_unsigned()), |key, cell| mix(key, u64::from(*cell))),
            });
        }
        if let Some(joint) = &layout.joint {
            let before = self.sums.len();
            if joint.append(&self.numbers, &mut self.work, &mut self.sums) {
                self.runs.push((layout.joint_sums(), self.sums.len() - before));
            }
        }
    }

    /// Counts all values in a pane of their layout. The pane's `n` is the caller's to count.
    #[inline]
    pub fn count(&self, pane: &mut Pane) {
        for cell in &self.cells {
            if let Some(count) = pane.cells.get_mut(*cell) {
                *count += 1;
            }
        }
        for (moments, term) in &self.terms {
            if let Some(sums) = pane.moments.get_mut(*moments) {
                sums.add(*term);
            }
        }
        let mut terms = self.sums.as_slice();
        for (first, count) in &self.runs {
            let (of_run, rest) = terms.split_at_checked(*count).unwrap_or((terms, &[]));
            for (sum, term) in pane.sums.iter_mut().skip(*first).zip(of_run) {
                sum.add(*term);
            }
            terms = rest;
        }
        if let Some(key) = self.key {
            pane.sample.offer(key, &self.row);
        }
    }
}

/// Apart from every other use of a hash of ids: a producer that picks ids must not pick what is sampled.
const SAMPLE_SEED: u64 = 0x73_61_6d_70_6c_65;

fn mix(key: u64, value: u64) -> u64 {
    SplitMix64::new(key ^ value.rotate_left(32)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::layout::{Layout, Levels, NumericBins};
    use crate::event::Subject;

    fn numeric() -> ColumnKind {
        ColumnKind::Numeric(NumericBins::new(vec![0.0, 1.0, 2.0], vec![1.0], (1.0, 1.0), (0.5, 2.0)))
    }

    fn cells(kind: &ColumnKind, values: &[Scalar<'_>]) -> Vec<usize> {
        let mut scratch = String::new();
        values.iter().map(|value| place(kind, value, &mut scratch).cell).collect()
    }

    #[test]
    fn a_string_is_no_number() {
        let values = [
            Scalar::Missing,
            Scalar::Null,
            Scalar::Bool(true),
            Scalar::Text("1"),
            Scalar::Other,
            Scalar::from_number(f64::NAN),
            Scalar::from_number(f64::NEG_INFINITY),
            Scalar::from_number(-0.0),
            Scalar::from_number(0.5),
            Scalar::from_number(3.0),
        ];
        let expected = [MISSING, NULL, WRONG_TYPE, WRONG_TYPE, WRONG_TYPE, NAN, INFINITE, SPECIAL, SPECIAL + 1, SPECIAL + 3];
        assert_eq!(cells(&numeric(), &values), expected);
    }

    #[test]
    fn numbers_and_booleans_are_levels() {
        let kind = ColumnKind::Categorical(Levels::new(vec!["1".into(), "true".into(), "0.5".into()], vec!["9".into()]));
        let values = [
            Scalar::from_number(1.0),
            Scalar::Text("1"),
            Scalar::Bool(true),
            Scalar::from_number(0.5),
            Scalar::from_number(9.0),
            Scalar::Text("x"),
            Scalar::from_number(f64::NAN),
            Scalar::Other,
        ];
        assert_eq!(cells(&kind, &values), [5, 5, 6, 7, 8, 9, NAN, WRONG_TYPE]);
    }

    #[test]
    fn different_values_are_counted_where_the_layout_has_cells_for_them() {
        let levels = ColumnKind::Categorical(Levels::new(vec!["a".into(), "b".into()], vec!["c".into()]));
        let layout = Layout::new(vec![(Subject::Score, numeric()), (Subject::Prediction, levels)]);
        let counting = layout.counting_distinct();
        assert_ne!(layout.id, counting.id);
        assert_eq!(counting.cells, layout.cells + 2 * distinct::CELLS);
        let mut pane = Pane::new(&counting);
        let (mut places, mut scratch) = (Places::default(), String::new());
        for (number, level) in [(1.0, "a"), (1.0, "c"), (f64::NAN, "d"), (7.5, "d"), (0.0, "b"), (-0.0, "e")] {
            places.begin(&counting);
            places.add(&counting.columns[0], &Scalar::from_number(number), &mut scratch);
            places.add(&counting.columns[1], &Scalar::Text(level), &mut scratch);
            places.count(&mut pane);
        }
        let found = |column: usize| distinct::estimate(&pane.cells[counting.columns[column].distinct.unwrap()..][..distinct::CELLS]);
        // 1, 7.5 and 0; c, d and e: a and b have cells of their own.
        assert_eq!((found(0), found(1)), (Some(3.0), Some(3.0)));
        assert_eq!(pane.column(&counting, 1), [0, 0, 0, 0, 0, 1, 1, 1, 3]);
    }

    #[test]
    fn only_numbers_enter_the_moments() {
        let layout = Layout::new(vec![(Subject::Score, numeric())]);
        let mut pane = Pane::new(&layout);
        let mut scratch = String::new();
        let values = [Scalar::from_number(2.0), Scalar::from_number(f64::NAN), Scalar::from_number(5.0), Scalar::Null];
        for value in values {
            let column = &layout.columns[0];
            count(&mut pane, column, place(&column.kind, &value, &mut scratch));
        }
        assert_eq!(pane.cells.iter().sum::<u64>(), 4);
        let (mut places, mut same) = (Places::default(), Pane::new(&layout));
        for value in values {
            places.begin(&layout);
            places.add(&layout.columns[0], &value, &mut scratch);
            places.end(&layout, None, 0);
            places.count(&mut same);
        }
        assert_eq!(pane, same);
        assert_eq!((pane.moments[0].sum.value(), pane.moments[0].above.value()), (5.0, 4.0));
    }
}
