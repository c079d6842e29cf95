//! Source partitions as pieces: progress, and each open pane by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::series::SeriesKey;
use crate::engine::shard::{PartitionState, Shard};
use crate::event::{SourceId, Timestamp};
use crate::window::bytes::Malformed;
use crate::window::sparse::SparsePane;
use crate::window::{OpenPane, Partition, SeriesId};

use super::{Change, Key, Part, Piece, Unreadable, Written, time_key};

/// Remembers what was last written of the partitions of a shard, so that only panes with new records are encoded.
#[derive(Clone, Debug, Default)]
pub struct Said {
    progress: Written,
    /// The offset after the last record of each open pane.
    ends: BTreeMap<Vec<u8>, i64>,
}

impl Said {
    /// Notes a piece that is stored.
    pub fn note(&mut self, piece: &Piece) {
        match (piece.part, piece.value.get(8..).and_then(|rest| rest.first_chunk())) {
            (Part::Open, Some(end)) => drop(self.ends.insert(piece.key.clone(), i64::from_le_bytes(*end))),
            _ => self.progress.note(piece),
        }
    }

    /// What is to be written of a shard. From then on it counts as written.
    pub fn changes(&mut self, shard: &Shard) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.ends);
        let (mut changes, mut progress) = (Vec::new(), Vec::new());
        for (source, partition) in shard.partitions() {
            let times = [partition.watermark, partition.earliest].into_iter().flat_map(encode_time).collect();
            progress.push(Piece { part: Part::Partition, key: source_key(source), value: times });
            for open in partition.open() {
                let Some(series) = shard.series().get(open.series.0 as usize) else { continue };
                let key = open_key(source, series, open.slice);
                if before.remove(&key) != Some(open.end) {
                    changes.push(Change { part: Part::Open, key: key.clone(), value: Some(encode_open(open)) });
                }
                self.ends.insert(key, open.end);
            }
        }
        changes.extend(before.into_keys().map(|key| Change { part: Part::Open, key, value: None }));
        changes.extend(self.progress.changes(progress));
        changes
    }
}

fn encode_open(open: &OpenPane) -> Vec<u8> {
    let pane = SparsePane::of(&open.pane);
    [&open.sealed_at.0.to_le_bytes()[..], &open.end.to_le_bytes(), pane.bytes()].concat()
}

/// The partitions that such pieces are of.
///
/// # Errors
/// The first piece that is none.
pub fn partitions<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Result<BTreeMap<SourceId, PartitionState>, Unreadable> {
    let mut progress = BTreeMap::new();
    let mut open: BTreeMap<SourceId, (Vec<OpenPane>, Vec<SeriesKey>)> = BTreeMap::new();
    for piece in pieces {
        match piece.part {
            Part::Partition => {
                let (source, times) = read_progress(piece).map_err(|error| piece.unreadable(&error))?;
                progress.insert(source, times);
            }
            Part::Open => {
                let (source, series, pane) = read_open(piece).map_err(|error| piece.unreadable(&error))?;
                let (panes, known) = open.entry(source).or_default();
                let number = u32::try_from(known.len()).unwrap_or(u32::MAX);
                known.push(series);
                panes.push(OpenPane { series: SeriesId(number), ..pane });
            }
            _ => {}
        }
    }
    let whole = |(source, (watermark, earliest))| {
        let (panes, series) = open.remove(&source).unwrap_or_default();
        let mut partition = Partition::begun(watermark, earliest);
        partition.resume(panes);
        (source, PartitionState { partition, series })
    };
    Ok(progress.into_iter().map(whole).collect())
}

/// The source that a piece of a partition belongs to.
///
/// # Errors
/// Where its key names none.
pub fn source_of(piece: &Piece) -> Result<SourceId, Unreadable> {
    Key(&piece.key).u32().map(SourceId).map_err(|error| piece.unreadable(&error))
}

/// The key of what there is once for each source.
#[must_use]
pub fn source_key(source: SourceId) -> Vec<u8> {
    source.0.to_be_bytes().to_vec()
}

fn open_key(source: SourceId, series: &SeriesKey, slice: Timestamp) -> Vec<u8> {
    let mut key = source_key(source);
    key.extend(series.model.to_be_bytes());
    key.extend(series.segment.to_be_bytes());
    key.extend(time_key(slice.0));
    key.extend(series.version.as_bytes());
    key
}

fn read_open(piece: &Piece) -> Result<(SourceId, SeriesKey, OpenPane), Malformed> {
    let mut key = Key(&piece.key);
    let (source, model, segment, slice) = (SourceId(key.u32()?), key.u16()?, key.u16()?, Timestamp(key.time()?));
    let version = Arc::from(std::str::from_utf8(key.rest()).map_err(|_| Malformed)?);
    let (sealed_at, rest) = piece.value.split_first_chunk().ok_or(Malformed)?;
    let (end, pane) = rest.split_first_chunk().ok_or(Malformed)?;
    let (sealed_at, end) = (Timestamp(i64::from_le_bytes(*sealed_at)), i64::from_le_bytes(*end));
    let pane = SparsePane::from_bytes(pane)?.dense();
    let open = OpenPane { series: SeriesId(0), slice, sealed_at, pane, end, resume: 0 };
    Ok((source, SeriesKey { model, version, segment }, open))
}

fn encode_time(time: Option<Timestamp>) -> impl Iterator<Item = u8> {
    std::iter::once(u8::from(time.is_some())).chain(time.unwrap_or_default().0.to_le_bytes())
}

/// A watermark and the least event time.
type Progress = (Option<Timestamp>, Option<Timestamp>);

fn read_progress(piece: &Piece) -> Result<(SourceId, Progress), Malformed> {
    let time = |bytes: &[u8]| {
        let (is_there, time) = bytes.split_first().ok_or(Malformed)?;
        let time = Timestamp(i64::from_le_bytes(time.try_into().map_err(|_| Malformed)?));
        Ok((*is_there != 0).then_some(time))
    };
    let (watermark, earliest) = piece.value.split_at_checked(9).ok_or(Malformed)?;
    Ok((SourceId(Key(&piece.key).u32()?), (time(watermark)?, time(earliest)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_read_back_and_shorter_ones_are_not() {
        let series = SeriesKey { model: 3, version: "v2".into(), segment: 5 };
        let pane = crate::window::Pane::default();
        let value = encode_open(&OpenPane { series: SeriesId(0), slice: Timestamp(-4), sealed_at: Timestamp(77), pane, end: 8, resume: 0 });
        let piece = Piece { part: Part::Open, key: open_key(SourceId(9), &series, Timestamp(-4)), value };
        let progress = Piece {
            part: Part::Partition,
            key: source_key(SourceId(9)),
            value: [Some(Timestamp(12)), None].into_iter().flat_map(encode_time).collect(),
        };
        let all = partitions([&piece, &progress]).unwrap();
        let state = &all[&SourceId(9)];
        assert_eq!((state.partition.watermark, state.partition.earliest), (Some(Timestamp(12)), None));
        assert_eq!(state.series, [series]);
        let open = &state.partition.open()[0];
        assert_eq!((open.slice, open.sealed_at, open.end, open.pane.n), (Timestamp(-4), Timestamp(77), 8, 0));
        for whole in [&piece, &progress] {
            for length in 0..whole.value.len().min(16) {
                let cut = Piece { value: whole.value[..length].to_vec(), ..whole.clone() };
                assert!(partitions([&cut]).is_err(), "{:?} of {length} bytes", whole.part);
            }
            let cut = Piece { key: whole.key[..3].to_vec(), ..whole.clone() };
            assert!(partitions([&cut]).is_err());
        }
    }
}
