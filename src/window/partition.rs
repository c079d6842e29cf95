//! The windows' view of one source partition: its watermark, and the panes that still accept its records.
//!
//! Lateness is decided here and nowhere else, from the partition's own watermark at the record's offset, so that it does
//! not depend on how partitions are spread over workers or replicas.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp};

use super::pane::Pane;

/// A run of panes over time: one model, version and segment, numbered by the owner of the panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

/// An open pane and when it stops accepting records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenPane {
    /// Whose pane it is.
    pub series: SeriesId,
    /// First instant of its slice.
    pub slice: Timestamp,
    /// The watermark at which no further record of the slice can be accepted: its end plus the lateness.
    pub sealed_at: Timestamp,
    /// The counts.
    pub pane: Pane,
    /// The offset after the last record counted.
    pub end: i64,
    /// Records before this offset are in the counts already: it was restored further ahead than its partition.
    pub resume: i64,
}

/// Late records of one model by the slice they belong to and by how far the partition had come.
///
/// A window counts the late records that came before its partition had passed the window's end plus lateness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LateKey {
    /// Index of the model.
    pub model: u16,
    /// First instant of the slice of the record.
    pub slice: Timestamp,
    /// First instant of the slice that the partition's watermark less the lateness lay in.
    pub reached: Timestamp,
}

/// What a source partition has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// The greatest accepted event time.
    pub watermark: Option<Timestamp>,
    /// The least accepted event time.
    pub earliest: Option<Timestamp>,
    open: Vec<OpenPane>,
    #[serde(skip)]
    index: FxHashMap<(SeriesId, Timestamp), usize>,
    /// The least `sealed_at` of the open panes.
    next_seal: Option<Timestamp>,
    /// The pane the last record went to: most records follow one of the same slice.
    #[serde(skip)]
    last: usize,
    /// By model: late records before this offset have been said already.
    #[serde(skip)]
    late_resume: Vec<i64>,
}

impl Partition {
    /// A partition that somebody else has read so far.
    #[must_use]
    pub fn begun(watermark: Option<Timestamp>, earliest: Option<Timestamp>) -> Partition {
        Partition { watermark, earliest, ..Partition::default() }
    }

    /// Whether a record of that time is late, and if so, how far the partition has come: its watermark less the lateness.
    #[inline]
    #[must_use]
    pub fn late(&self, ts: Timestamp, lateness: Span) -> Option<Timestamp> {
        let reached = self.watermark? - lateness;
        (ts < reached).then_some(reached)
    }

    /// Moves the watermark for an accepted record. Returns whether panes are now sealed.
    #[inline]
    pub fn accept(&mut self, ts: Timestamp) -> bool {
        if self.earliest.is_none_or(|earliest| ts < earliest) {
            self.earliest = Some(ts);
        }
        if self.watermark.is_none_or(|watermark| ts > watermark) {
            self.watermark = Some(ts);
            return self.next_seal.is_some_and(|seal| seal <= ts);
        }
        false
    }

    /// The open pane of a series and slice, made by `new` where there is none yet.
    #[inline]
    pub fn pane(&mut self, series: SeriesId, slice: Timestamp, sealed_at: Timestamp, new: impl FnOnce() -> Pane) -> Option<&mut OpenPane> {
        let hit = self.open.get(self.last).is_some_and(|open| open.series == series && open.slice == slice);
        if !hit {
            self.last = if let Some(place) = self.index.get(&(series, slice)) {
                *place
            } else {
                self.index.insert((series, slice), self.open.len());
                self.open.push(OpenPane { series, slice, sealed_at, pane: new(), end: 0, resume: 0 });
                self.next_seal = Some(self.next_seal.map_or(sealed_at, |seal| seal.min(sealed_at)));
                self.open.len() - 1
            };
        }
        self.open.get_mut(self.last)
    }

    /// Takes the panes that the watermark has sealed.
    pub fn take_sealed(&mut self) -> Vec<OpenPane> {
        let Some(watermark) = self.watermark else { return Vec::new() };
        self.take(|open| open.sealed_at <= watermark)
    }

    /// Takes all open panes; records that still come for their slices start new ones. Adding both gives the whole.
    pub fn take_open(&mut self) -> Vec<OpenPane> {
        self.take(|_| true)
    }

    /// Puts panes in that were said to be open elsewhere, to go on with.
    pub fn resume(&mut self, panes: impl IntoIterator<Item = OpenPane>) {
        self.open.extend(panes);
        self.reindex();
    }

    /// Notes that the late records of a model before an offset have been said already.
    pub fn resume_late(&mut self, model: u16, offset: i64) {
        let place = usize::from(model);
        if place >= self.late_resume.len() {
            self.late_resume.resize(place + 1, 0);
        }
        if let Some(resume) = self.late_resume.get_mut(place) {
            *resume = offset;
        }
    }

    /// The offset before which late records of a model have been said already.
    #[must_use]
    pub fn late_resume(&self, model: u16) -> i64 {
        self.late_resume.get(usize::from(model)).copied().unwrap_or(0)
    }

    /// Drops the panes that the watermark has sealed and that hold nothing from `acknowledged` on: they are kept elsewhere.
    pub fn drop_sealed(&mut self, acknowledged: i64) {
        let watermark = self.watermark;
        self.take(|open| watermark.is_some_and(|watermark| open.sealed_at <= watermark) && open.end <= acknowledged);
    }

    /// The open panes.
    #[must_use]
    pub fn open(&self) -> &[OpenPane] {
        &self.open
    }

    /// Renumbers the series of the open panes after a restore and rebuilds what is not stored.
    pub fn rebuild(&mut self, renumber: impl Fn(SeriesId) -> SeriesId) {
        self.last = 0;
        for open in &mut self.open {
            open.series = renumber(open.series);
        }
        self.reindex();
    }

    fn take(&mut self, wanted: impl Fn(&OpenPane) -> bool) -> Vec<OpenPane> {
        let (taken, kept) = std::mem::take(&mut self.open).into_iter().partition(|open| wanted(open));
        self.open = kept;
        self.last = 0;
        self.reindex();
        taken
    }

    fn reindex(&mut self) {
        self.index = self.open.iter().enumerate().map(|(place, open)| ((open.series, open.slice), place)).collect();
        self.next_seal = self.open.iter().map(|open| open.sealed_at).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: SeriesId = SeriesId(0);

    fn put(partition: &mut Partition, ts: i64) -> Vec<OpenPane> {
        let slice = Timestamp(ts).align(Span(10), Span(0));
        let sealed = partition.accept(Timestamp(ts));
        if let Some(pane) = partition.pane(SERIES, slice, slice + Span(10) + Span(5), Pane::default) {
            pane.pane.n += 1;
        }
        if sealed { partition.take_sealed() } else { Vec::new() }
    }

    #[test]
    fn a_record_is_late_only_beyond_the_lateness() {
        let mut partition = Partition::default();
        assert_eq!(partition.late(Timestamp(0), Span(5)), None);
        partition.accept(Timestamp(20));
        assert_eq!(partition.late(Timestamp(15), Span(5)), None);
        assert_eq!(partition.late(Timestamp(14), Span(5)), Some(Timestamp(15)));
    }

    #[test]
    fn panes_are_sealed_when_no_further_record_can_be_accepted() {
        let mut partition = Partition::default();
        assert!(put(&mut partition, 3).is_empty());
        assert!(put(&mut partition, 14).is_empty());
        assert!(put(&mut partition, 9).is_empty());
        let sealed = put(&mut partition, 15);
        assert_eq!(sealed.iter().map(|open| (open.slice.0, open.pane.n)).collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(partition.open().len(), 1);
    }

    #[test]
    fn panes_taken_early_and_late_add_up() {
        let mut partition = Partition::default();
        put(&mut partition, 3);
        let early = partition.take_open();
        put(&mut partition, 4);
        let late = put(&mut partition, 40);
        let total: u64 = early.iter().chain(&late).filter(|open| open.slice.0 == 0).map(|open| open.pane.n).sum();
        assert_eq!(total, 2);
    }
}
