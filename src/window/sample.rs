//! A bounded sample of events that merges: those of least key, each as the cells its values fell into.
//!
//! Keys are hashes, so the sample is as good as drawn by chance, and which events are in it does not depend on the order or the number
//! of workers they came through. It is a set: an event that is added again changes nothing, and so a sample is never taken back.

use serde::{Deserialize, Serialize};

/// Events of a sample at most: an area under the curve of 500 against 500 has a standard error of 0.018 at most.
pub const SAMPLE: usize = 500;
/// Rows of the reference's sample at most: it is drawn once and all windows are compared with it, so its chance differences from the
/// rest of the reference, which every window sees alike, must be small against those of a window's sample.
pub const REFERENCE_SAMPLE: usize = 2_000;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SampleRow {
    /// Hash of what names the event.
    pub key: u64,
    /// The cell of each sampled column.
    pub cells: Box<[u16]>,
}

/// The events of least key, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample(Vec<SampleRow>);

impl Sample {
    /// The events.
    #[must_use]
    pub fn rows(&self) -> &[SampleRow] {
        &self.0
    }

    /// Adds an event of a window, if it is one of least key. Takes memory only until the sample is full.
    pub fn offer(&mut self, key: u64, cells: &[u16]) {
        self.offer_within(SAMPLE, key, cells);
    }

    /// Adds a row to a sample of at most so many rows.
    pub fn offer_within(&mut self, most: usize, key: u64, cells: &[u16]) {
        let order = |row: &SampleRow| row.key.cmp(&key).then_with(|| (*row.cells).cmp(cells));
        let is_full = self.0.len() >= most;
        if is_full && self.0.last().is_none_or(|last| order(last).is_le()) {
            return;
        }
        let Err(place) = self.0.binary_search_by(order) else { return };
        let row = match self.0.pop() {
            Some(mut last) if is_full && last.cells.len() == cells.len() => {
                last.key = key;
                last.cells.copy_from_slice(cells);
                last
            }
            other => {
                self.0.extend(other.filter(|_| !is_full));
                SampleRow { key, cells: cells.into() }
            }
        };
        self.0.insert(place, row);
    }

    /// Adds the events of another.
    pub fn merge(&mut self, other: &Sample) {
        for row in &other.0 {
            self.offer(row.key, &row.cells);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sample(rows: &[(u64, u16)]) -> Sample {
        let mut sample = Sample::default();
        rows.iter().for_each(|(key, cell)| sample.offer(*key, &[*cell, 7]));
        sample
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_set_of_the_least_however_it_came(rows in vec((0u64..2_000, 0u16..3), 0..1_500), cut in any::<prop::sample::Index>()) {
            let mut least: Vec<(u64, u16)> = rows.clone();
            least.sort_unstable();
            least.dedup();
            least.truncate(SAMPLE);
            let whole = sample(&rows);
            prop_assert_eq!(whole.rows().iter().map(|row| (row.key, row.cells[0])).collect::<Vec<_>>(), least);
            let (left, right) = rows.split_at(if rows.is_empty() { 0 } else { cut.index(rows.len()) });
            let mut merged = sample(right);
            merged.merge(&sample(left));
            merged.merge(&sample(left));
            prop_assert_eq!(merged, whole);
        }
    }
}
