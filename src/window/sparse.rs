//! Panes that accept no more records, as few bytes: exact, and merged into a pane without another one being built.
//!
//! ```text
//! pane     n  cells  counts  moments  4 sums each  sum of weights  sums  as many sums  rows  columns  key and cells each
//! joined   matched  pane of the label  confusion  counts  scores  counts  scored  5 sums
//! ```
//! Numbers of things are varints; counts and sums are those of [`super::bytes`]. Equal panes are equal bytes. No bytes at all
//! are the empty pane of any layout.

use serde::{Deserialize, Serialize};

use super::bytes::{Malformed, Reader, put_counts, put_sum, put_varint};
use super::joined::JoinedPane;
use super::pane::{Moments, Pane};
use crate::stats::exact::ExactSum;

/// Cells of a pane that is read: 16,000 columns of the most cells there are. Damaged bytes may claim any number of them.
const MAX_CELLS: u64 = 1 << 24;

/// A [`Pane`] as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparsePane(Box<[u8]>);

/// A [`JoinedPane`] as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparseJoined(Box<[u8]>);

impl SparsePane {
    /// The bytes of a pane.
    #[must_use]
    pub fn of(pane: &Pane) -> SparsePane {
        let mut out = Vec::with_capacity(pane.cells.len() + 32 * pane.moments.len() + 64);
        put_pane(&mut out, pane);
        SparsePane(exact(&out))
    }

    /// Takes bytes in that [`SparsePane::bytes`] gave.
    ///
    /// # Errors
    /// For other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<SparsePane, Malformed> {
        if !bytes.is_empty() {
            let mut reader = Reader::new(bytes);
            read_pane(&mut reader, &mut Pane::default())?;
            at_end(&reader)?;
        }
        Ok(SparsePane(bytes.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its prediction events.
    #[must_use]
    pub fn n(&self) -> u64 {
        // Its bytes were written here or have been checked.
        Reader::new(&self.0).varint().unwrap_or(0)
    }

    /// Adds its counts and sums to a pane of the same layout, or to an empty one of none.
    pub fn add_to(&self, pane: &mut Pane) {
        if !self.0.is_empty() {
            let read = read_pane(&mut Reader::new(&self.0), pane);
            debug_assert_eq!(read, Ok(()), "panes of different layouts never merge");
        }
    }

    /// Adds the counts and sums of a pane of the same layout.
    pub fn merge(&mut self, mut pane: Pane) {
        self.add_to(&mut pane);
        *self = SparsePane::of(&pane);
    }

    /// The pane.
    #[must_use]
    pub fn dense(&self) -> Pane {
        let mut pane = Pane::default();
        self.add_to(&mut pane);
        pane
    }
}

impl SparseJoined {
    /// The bytes of a pane.
    #[must_use]
    pub fn of(pane: &JoinedPane) -> SparseJoined {
        let mut out = Vec::with_capacity(256);
        put_varint(&mut out, pane.matched);
        put_pane(&mut out, &pane.label);
        for counts in [&pane.confusion, &pane.scores] {
            put_varint(&mut out, counts.len() as u64);
            put_counts(&mut out, counts);
        }
        put_varint(&mut out, pane.scored);
        for sum in [&pane.brier, &pane.log_loss, &pane.absolute, &pane.squared, &pane.signed] {
            put_sum(&mut out, sum);
        }
        SparseJoined(exact(&out))
    }

    /// Takes bytes in that [`SparseJoined::bytes`] gave.
    ///
    /// # Errors
    /// For other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<SparseJoined, Malformed> {
        if !bytes.is_empty() {
            let mut reader = Reader::new(bytes);
            read_joined(&mut reader, &mut JoinedPane::default())?;
            at_end(&reader)?;
        }
        Ok(SparseJoined(bytes.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its predictions with a label.
    #[must_use]
    pub fn matched(&self) -> u64 {
        Reader::new(&self.0).varint().unwrap_or(0)
    }

    /// Adds its counts and sums to a pane of the same layout, or to an empty one of none.
    pub fn add_to(&self, pane: &mut JoinedPane) {
        if !self.0.is_empty() {
            let read = read_joined(&mut Reader::new(&self.0), pane);
            debug_assert_eq!(read, Ok(()), "panes of different layouts never merge");
        }
    }

    /// The pane.
    #[must_use]
    pub fn dense(&self) -> JoinedPane {
        let mut pane = JoinedPane::default();
        self.add_to(&mut pane);
        pane
    }
}

/// A copy of just its size: allocators leave what is cut off unused.
fn exact(bytes: &[u8]) -> Box<[u8]> {
    bytes.into()
}

fn at_end(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.rest().is_empty() { Ok(()) } else { Err(Malformed) }
}

fn put_pane(out: &mut Vec<u8>, pane: &Pane) {
    put_varint(out, pane.n);
    put_varint(out, pane.cells.len() as u64);
    put_counts(out, &pane.cells);
    put_varint(out, pane.moments.len() as u64);
    for moments in &pane.moments {
        for sum in [&moments.sum, &moments.squares, &moments.below, &moments.above] {
            put_sum(out, sum);
        }
    }
    put_sum(out, &pane.weight);
    put_varint(out, pane.sums.len() as u64);
    pane.sums.iter().for_each(|sum| put_sum(out, sum));
    let rows = pane.sample.rows();
    put_varint(out, rows.len() as u64);
    put_varint(out, rows.first().map_or(0, |row| row.cells.len()) as u64);
    for row in rows {
        out.extend_from_slice(&row.key.to_le_bytes());
        row.cells.iter().for_each(|cell| put_varint(out, u64::from(*cell)));
    }
}

fn read_pane(reader: &mut Reader<'_>, pane: &mut Pane) -> Result<(), Malformed> {
    pane.n = pane.n.saturating_add(reader.varint()?);
    read_counts(reader, &mut pane.cells)?;
    let moments = reader.varint()?;
    if pane.moments.is_empty() {
        // Each takes four bytes at least.
        let moments = usize::try_from(moments).ok().filter(|moments| *moments <= reader.rest().len() / 4).ok_or(Malformed)?;
        pane.moments.resize(moments, Moments::default());
    } else if pane.moments.len() as u64 != moments {
        return Err(Malformed);
    }
    for moments in &mut pane.moments {
        for sum in [&mut moments.sum, &mut moments.squares, &mut moments.below, &mut moments.above] {
            sum.merge(&reader.sum()?);
        }
    }
    pane.weight.merge(&reader.sum()?);
    let sums = reader.varint()?;
    if pane.sums.is_empty() {
        // Each takes a byte at least.
        let sums = usize::try_from(sums).ok().filter(|sums| *sums <= reader.rest().len()).ok_or(Malformed)?;
        pane.sums.resize(sums, ExactSum::default());
    } else if pane.sums.len() as u64 != sums {
        return Err(Malformed);
    }
    for sum in &mut pane.sums {
        sum.merge(&reader.sum()?);
    }
    let (rows, columns) = (reader.varint()?, reader.varint()?);
    let columns = usize::try_from(columns).ok().filter(|columns| *columns <= reader.rest().len()).ok_or(Malformed)?;
    let mut cells = vec![0u16; columns];
    for _ in 0..rows {
        let key = u64::from_le_bytes(reader.take(8)?.try_into().map_err(|_| Malformed)?);
        for cell in &mut cells {
            *cell = u16::try_from(reader.varint()?).map_err(|_| Malformed)?;
        }
        pane.sample.offer(key, &cells);
    }
    Ok(())
}

fn read_joined(reader: &mut Reader<'_>, pane: &mut JoinedPane) -> Result<(), Malformed> {
    pane.matched = pane.matched.saturating_add(reader.varint()?);
    read_pane(reader, &mut pane.label)?;
    read_counts(reader, &mut pane.confusion)?;
    read_counts(reader, &mut pane.scores)?;
    pane.scored = pane.scored.saturating_add(reader.varint()?);
    for sum in [&mut pane.brier, &mut pane.log_loss, &mut pane.absolute, &mut pane.squared, &mut pane.signed] {
        sum.merge(&reader.sum()?);
    }
    Ok(())
}

/// Adds counts to those of a pane, which has as many of them or none at all.
fn read_counts(reader: &mut Reader<'_>, counts: &mut Vec<u64>) -> Result<(), Malformed> {
    let cells = usize::try_from(reader.varint()?.min(MAX_CELLS + 1)).map_err(|_| Malformed)?;
    if cells as u64 > MAX_CELLS {
        return Err(Malformed);
    }
    if counts.is_empty() {
        counts.resize(cells, 0);
    } else if counts.len() != cells {
        return Err(Malformed);
    }
    reader.add_counts(counts)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::window::sample::Sample;

    fn sum() -> impl Strategy<Value = ExactSum> {
        vec(prop_oneof![6 => -1e3..1e3f64, 1 => -1e12..1e12f64, 1 => any::<f64>()], 0..4).prop_map(|terms| {
            let mut sum = ExactSum::default();
            terms.iter().for_each(|term| sum.add(*term));
            sum
        })
    }

    fn counts(cells: usize) -> impl Strategy<Value = Vec<u64>> {
        vec(prop_oneof![3 => Just(0u64), 3 => 0u64..300, 1 => 0..u64::MAX / 4], cells)
    }

    fn pane(cells: usize, moments: usize) -> impl Strategy<Value = Pane> {
        let moment = (sum(), sum(), sum(), sum()).prop_map(|(sum, squares, below, above)| Moments { sum, squares, below, above });
        let rows = vec((any::<u64>(), vec(any::<u16>(), 3)), 0..9);
        let parts = (0..u64::MAX / 4, counts(cells), vec(moment, moments), sum(), vec(sum(), 2 * moments), rows);
        parts.prop_map(|(n, cells, moments, weight, sums, rows)| {
            let mut sample = Sample::default();
            rows.iter().for_each(|(key, cells)| sample.offer(*key, cells));
            Pane { n, cells, moments, weight, sums, sample }
        })
    }

    fn joined() -> impl Strategy<Value = JoinedPane> {
        (0..u64::MAX / 4, pane(9, 1), counts(6), counts(70), 0..u64::MAX / 4, vec(sum(), 5)).prop_map(
            |(matched, label, confusion, scores, scored, sums)| JoinedPane {
                matched,
                label,
                confusion,
                scores,
                scored,
                brier: sums[0].clone(),
                log_loss: sums[1].clone(),
                absolute: sums[2].clone(),
                squared: sums[3].clone(),
                signed: sums[4].clone(),
            },
        )
    }

    proptest! {
        #[test]
        fn panes_come_back_and_merge_as_they_would_dense(left in pane(130, 3), right in pane(130, 3)) {
            let sparse = SparsePane::of(&left);
            prop_assert_eq!(&sparse.dense(), &left);
            prop_assert_eq!(sparse.n(), left.n);
            prop_assert_eq!(&SparsePane::from_bytes(sparse.bytes()), &Ok(sparse.clone()));
            let mut dense = left.clone();
            dense.merge(&right);
            let mut merged = right.clone();
            sparse.add_to(&mut merged);
            prop_assert_eq!(&merged, &dense);
            let mut bytes = sparse;
            bytes.merge(right);
            prop_assert_eq!(bytes, SparsePane::of(&dense));
        }

        #[test]
        fn joined_panes_do_as_well(left in joined(), right in joined()) {
            let sparse = SparseJoined::of(&left);
            prop_assert_eq!(&sparse.dense(), &left);
            prop_assert_eq!(sparse.matched(), left.matched);
            prop_assert_eq!(&SparseJoined::from_bytes(sparse.bytes()), &Ok(sparse.clone()));
            let mut dense = left.clone();
            dense.merge(&right);
            let mut merged = right;
            sparse.add_to(&mut merged);
            prop_assert_eq!(merged, dense);
        }

        #[test]
        fn bytes_that_are_cut_or_changed_are_refused_or_read(pane in pane(130, 3), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let bytes = SparsePane::of(&pane).bytes().to_vec();
            let at = at.index(bytes.len());
            if at > 0 {
                prop_assert_eq!(SparsePane::from_bytes(&bytes[..at]), Err(Malformed));
            }
            let mut changed = bytes;
            changed[at] ^= flip;
            if let Ok(read) = SparsePane::from_bytes(&changed) {
                let _ = read.dense();
            }
        }
    }

    #[test]
    fn no_bytes_are_the_empty_pane() {
        let pane = Pane {
            n: 3,
            cells: vec![1, 2],
            moments: Vec::new(),
            weight: ExactSum::default(),
            sums: vec![ExactSum::default()],
            sample: Sample::default(),
        };
        let mut sparse = SparsePane::default();
        assert_eq!(sparse.dense(), Pane::default());
        sparse.merge(pane.clone());
        assert_eq!(sparse.dense(), pane);
    }

    #[test]
    fn claims_of_many_cells_take_no_memory() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, 0);
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(SparsePane::from_bytes(&bytes), Err(Malformed));
    }
}
