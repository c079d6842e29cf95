//! What an owner knows of one source partition: how far it is, which panes of it still change, what was handed on of them.
//!
//! A pane is handed on when its partition can add nothing more to it, or, while the partition is idle, as far as it is. What
//! is handed on twice is only the difference. It knows no window and no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::evaluator::Gap;
use crate::event::Timestamp;
use crate::window::Pane;

use super::wire::{self, Events, Progress, SourceName};

/// A run of panes by its place in the owner's list of versions and segments.
pub type SeriesNumber = u32;

/// What a previous owner had made of a source partition when it wrote its decisions down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its watermark: panes that it had sealed were handed on.
    pub watermark: Option<Timestamp>,
    /// How far it had been read.
    pub said: Option<i64>,
    /// Open panes heard before this offset of the panes topic were handed on, because the partition was idle.
    pub idle_until: i64,
    /// Whether it was given up, and where.
    pub buried: Option<Buried>,
    /// The late records that windows had been told of: by slice, and how far the partition had come.
    pub late: BTreeMap<(Timestamp, Timestamp), u64>,
}

/// Where a source partition stood when it was given up because nothing was heard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buried {
    /// Its watermark.
    pub watermark: Option<Timestamp>,
    /// When it was last heard of, in wall time.
    pub said_at: Option<Timestamp>,
}

/// Whether a partition is waited for has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not waited for any more.
    GivenUp,
    /// It is heard of again; then it stood here.
    Back(Option<Timestamp>),
}

/// A pane that still changes.
#[derive(Clone, Debug)]
struct Held {
    end: i64,
    /// Where the newest snapshot was heard.
    offset: i64,
    sealed_at: Timestamp,
    /// The newest snapshot as it was said, unless it was handed on.
    newest: Option<Box<[u8]>>,
    /// The snapshot that was handed on.
    handed: Option<Box<[u8]>>,
}

/// A part of a pane on its way to the history.
#[derive(Clone, Debug)]
pub struct Portion {
    /// First instant of its slice.
    pub slice: Timestamp,
    /// Whose it is.
    pub series: SeriesNumber,
    /// What is new of it.
    pub pane: Pane,
    /// Whether a previous owner had not handed it on.
    pub is_news: bool,
}

/// More late records of one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoreLate {
    /// First instant of the slice.
    pub slice: Timestamp,
    /// How far the partition had come.
    pub reached: Timestamp,
    /// How many more.
    pub records: u64,
    /// Whether a previous owner had not heard of all of them.
    pub is_news: bool,
}

/// One source partition.
#[derive(Clone, Debug, Default)]
pub struct Book {
    progress: Option<Progress>,
    gaps: Vec<Gap>,
    late: BTreeMap<(Timestamp, Timestamp), u64>,
    open: BTreeMap<(Timestamp, SeriesNumber), Held>,
    sealed: BTreeMap<Timestamp, BTreeSet<SeriesNumber>>,
    /// The greatest end of a pane that was said.
    end: Option<i64>,
    known: Known,
    /// The last wall time at which anybody said anything of it.
    said_at: Option<Timestamp>,
    idle_until: i64,
    buried: Option<Buried>,
}

impl Book {
    /// A partition that a previous owner knew.
    #[must_use]
    pub fn known(known: Known) -> Book {
        let (idle_until, buried) = (known.idle_until, known.buried);
        Book { known, idle_until, buried, ..Book::default() }
    }

    /// Takes a snapshot of a pane in; false for one that is known. Gives what can be handed on at once.
    pub fn hear_pane(&mut self, offset: i64, at: (Timestamp, SeriesNumber), events: &Events, value: &[u8]) -> (bool, Vec<Portion>) {
        if self.sealed.get(&at.0).is_some_and(|sealed| sealed.contains(&at.1)) {
            return (false, Vec::new());
        }
        self.end = self.end.max(Some(events.end));
        let mut portions = Vec::new();
        if let Some(held) = self.open.get_mut(&at) {
            if held.end >= events.end {
                return (false, Vec::new());
            }
            // The previous owner knew this snapshot, and did not know the one that takes its place.
            if held.offset < self.known.idle_until && offset >= self.known.idle_until {
                portions.extend(held.hand_on(at, false));
            }
            (held.end, held.offset, held.newest) = (events.end, offset, Some(value.into()));
        } else {
            let held = Held { end: events.end, offset, sealed_at: events.sealed_at, newest: Some(value.into()), handed: None };
            self.open.insert(at, held);
        }
        portions.extend(self.hand_on_sealed());
        (true, portions)
    }

    /// Takes progress in; false for what is known. Gives the late records that are new.
    pub fn hear_progress(&mut self, progress: Progress, late: BTreeMap<(Timestamp, Timestamp), u64>) -> Option<Vec<MoreLate>> {
        self.said_at = self.said_at.max(Some(progress.at));
        let place = (progress.end, progress.at);
        if self.progress.as_ref().is_some_and(|held| (held.end, held.at) >= place) {
            return None;
        }
        let of = |known: &BTreeMap<_, u64>, key| known.get(key).copied().unwrap_or(0);
        let more = late.iter().filter_map(|(key, records)| {
            let (slice, reached) = *key;
            let more = MoreLate {
                slice,
                reached,
                records: records.saturating_sub(of(&self.late, key)),
                is_news: *records > of(&self.known.late, key),
            };
            (more.records > 0).then_some(more)
        });
        let more = more.collect();
        self.late = late;
        for gap in &progress.gaps {
            match self.gaps.iter_mut().find(|held| held.from == gap.from && held.reason == gap.reason) {
                Some(held) => held.until = held.until.max(gap.until),
                None => self.gaps.push(gap.clone()),
            }
        }
        self.progress = Some(progress);
        Some(more)
    }

    /// Hands on the panes that the partition can add nothing more to.
    pub fn hand_on_sealed(&mut self) -> Vec<Portion> {
        let Some(watermark) = self.progress.as_ref().and_then(|progress| progress.watermark) else { return Vec::new() };
        let sealed: Vec<_> = self.open.iter().filter(|(_, held)| held.sealed_at <= watermark).map(|(at, _)| *at).collect();
        let mut portions = Vec::new();
        for at in sealed {
            let Some(mut held) = self.open.remove(&at) else { continue };
            let is_news = self.known.watermark.is_none_or(|known| held.sealed_at > known);
            portions.extend(held.hand_on(at, is_news));
            self.sealed.entry(at.0).or_default().insert(at.1);
        }
        portions
    }

    /// Hands on what is new of the open panes, because the partition is idle. `heard` is the offset up to which the panes topic
    /// was listened to.
    pub fn hand_on_open(&mut self, heard: i64) -> Vec<Portion> {
        let known = self.known.idle_until;
        self.idle_until = self.idle_until.max(heard);
        self.open.iter_mut().filter_map(|(at, held)| held.hand_on(*at, held.offset >= known)).collect()
    }

    /// Hands on what the previous owner handed on of the panes that are still open.
    pub fn put_back_open(&mut self) -> Vec<Portion> {
        let known = self.known.idle_until;
        self.open.iter_mut().filter(|(_, held)| held.offset < known).filter_map(|(at, held)| held.hand_on(*at, false)).collect()
    }

    /// What was said last.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// Records that could not be read.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether it is at its end without news: its panes, which are said first, are no further either.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.is_idle && self.end.is_none_or(|end| progress.end >= end))
    }

    /// Whether it has been silent for so long that it is not waited for.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.buried.is_some()
    }

    /// Its watermark as it was said last, by whoever.
    #[must_use]
    pub fn watermark(&self) -> Option<Timestamp> {
        self.progress.as_ref().map_or(self.known.watermark, |progress| progress.watermark)
    }

    /// Whether somebody has spoken of it since an instant.
    #[must_use]
    pub fn was_said_after(&self, at: Timestamp) -> bool {
        self.said_at > Some(at)
    }

    /// When it was last spoken of, by the clock of whoever did.
    #[must_use]
    pub fn said_at(&self) -> Option<Timestamp> {
        self.said_at
    }

    /// Gives a partition up, or waits for it again, by when it was last heard of. `since` is when its silence began to be
    /// listened to, and everything before `oldest` is too long ago.
    pub fn bury(&mut self, since: Timestamp, oldest: Timestamp) -> Option<Change> {
        match self.buried {
            // What a previous owner gave up stays so until something new is heard.
            Some(buried) if self.said_at > buried.said_at && self.said_at >= Some(oldest) => {
                self.buried = None;
                Some(Change::Back(buried.watermark))
            }
            None if self.said_at.map_or(since, |at| at.max(since)) < oldest => {
                self.buried = Some(Buried { watermark: self.watermark(), said_at: self.said_at });
                Some(Change::GivenUp)
            }
            _ => None,
        }
    }

    /// Whether the last progress moved its end, as far as is known.
    #[must_use]
    pub fn has_moved(&self, progress: &Progress) -> bool {
        let before = self.progress.as_ref().map(|held| held.end).or(self.known.said);
        progress.end > before.unwrap_or(progress.start)
    }

    /// What has to be stored of it, where slices before an instant are forgotten. Before everything was heard that the previous
    /// owner knew, that is what it stored.
    #[must_use]
    pub fn to_know(&self, has_caught_up: bool, forgotten: Timestamp) -> Known {
        if !has_caught_up {
            return self.known.clone();
        }
        let said = self.progress.as_ref().map(|progress| progress.end).or(self.known.said);
        // Until something is said it is as the previous owner knew it.
        let late = if self.progress.is_some() { &self.late } else { &self.known.late };
        let late = late.range((forgotten, Timestamp(i64::MIN))..).map(|(key, records)| (*key, *records)).collect();
        Known { watermark: self.watermark(), said, idle_until: self.idle_until, buried: self.buried, late }
    }

    /// Forgets the slices before an instant.
    pub fn forget(&mut self, before: Timestamp) {
        self.sealed = self.sealed.split_off(&before);
        while self.open.first_key_value().is_some_and(|((slice, _), held)| *slice < before && held.sealed_at < before) {
            self.open.pop_first();
        }
        self.gaps.retain(|gap| gap.until.is_none_or(|until| until >= before));
    }

    /// Panes that still change.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

impl Held {
    /// What is new of it since it was last handed on.
    fn hand_on(&mut self, (slice, series): (Timestamp, SeriesNumber), is_news: bool) -> Option<Portion> {
        let newest = self.newest.take()?;
        let mut pane = unpack(&newest)?;
        if let Some(handed) = self.handed.replace(newest).and_then(|handed| unpack(&handed)) {
            pane.take_back(&handed);
        }
        (!pane.is_empty()).then_some(Portion { slice, series, pane, is_news })
    }
}

/// It was read once when it was heard.
fn unpack(value: &[u8]) -> Option<Pane> {
    wire::from_bytes::<Events>(value).ok().map(|events| events.pane)
}

/// A source partition as a reason names it.
#[must_use]
pub fn name(source: &SourceName) -> String {
    format!("{}/{}", source.topic, source.partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::output::Counts;
    use crate::event::TopicRole;

    const SLICE: (Timestamp, SeriesNumber) = (Timestamp(0), 0);

    fn events(end: i64, n: u64) -> (Events, Vec<u8>) {
        let events = Events { end, sealed_at: Timestamp(15), pane: Pane { n, cells: vec![n], ..Pane::default() } };
        let value = wire::to_bytes(&events);
        (events, value)
    }

    fn say(book: &mut Book, offset: i64, end: i64, n: u64) -> (bool, Vec<(u64, bool)>) {
        let (events, value) = events(end, n);
        let (is_new, portions) = book.hear_pane(offset, SLICE, &events, &value);
        (is_new, counted(&portions))
    }

    fn counted(portions: &[Portion]) -> Vec<(u64, bool)> {
        portions.iter().map(|portion| (portion.pane.n, portion.is_news)).collect()
    }

    fn progress(end: i64, watermark: i64, is_idle: bool, at: i64) -> Progress {
        Progress {
            role: TopicRole::Predictions,
            topic_id: None,
            start: 0,
            end,
            watermark: Some(Timestamp(watermark)),
            earliest: None,
            is_idle,
            counts: Counts::default(),
            late: Vec::new(),
            gaps: Vec::new(),
            tombstones: 0,
            example: None,
            instance: "a".into(),
            at: Timestamp(at),
        }
    }

    fn read(book: &mut Book, end: i64, watermark: i64, is_idle: bool) -> Vec<(u64, bool)> {
        assert!(book.hear_progress(progress(end, watermark, is_idle, end), BTreeMap::new()).is_some());
        counted(&book.hand_on_sealed())
    }

    #[test]
    fn a_pane_is_handed_on_when_nothing_more_can_come() {
        let mut book = Book::default();
        assert_eq!(say(&mut book, 0, 5, 2), (true, vec![]));
        assert_eq!(say(&mut book, 1, 9, 3), (true, vec![]));
        assert_eq!(say(&mut book, 2, 5, 2), (false, vec![]), "said by somebody who reads no longer");
        assert_eq!(read(&mut book, 9, 14, false), []);
        assert_eq!(read(&mut book, 12, 15, false), [(3, true)]);
        assert_eq!(say(&mut book, 3, 12, 3), (false, vec![]));
        assert!(book.hand_on_sealed().is_empty());
    }

    #[test]
    fn of_what_was_handed_on_while_idle_only_the_difference_follows() {
        let mut book = Book::default();
        say(&mut book, 0, 5, 2);
        assert_eq!(read(&mut book, 5, 7, true), []);
        assert_eq!(counted(&book.hand_on_open(2)), [(2, true)]);
        assert!(book.hand_on_open(2).is_empty());
        say(&mut book, 2, 8, 6);
        assert!(!book.is_idle(), "somebody has read on");
        assert_eq!(read(&mut book, 9, 20, false), [(4, true)]);
    }

    #[test]
    fn the_difference_of_sums_and_samples_follows_too() {
        use crate::stats::exact::ExactSum;
        use crate::window::Sample;
        let pane = |terms: &[f64]| {
            let mut sum = ExactSum::default();
            terms.iter().for_each(|term| sum.add(*term));
            let mut sample = Sample::default();
            terms.iter().for_each(|term| sample.offer(term.to_bits(), &[7]));
            Pane { n: terms.len() as u64, cells: vec![1], sums: vec![sum.clone(), sum], sample, ..Pane::default() }
        };
        let mut book = Book::default();
        let hear = |book: &mut Book, offset: i64, terms: &[f64]| {
            let events = Events { end: terms.len() as i64, sealed_at: Timestamp(15), pane: pane(terms) };
            book.hear_pane(offset, SLICE, &events, &wire::to_bytes(&events));
        };
        hear(&mut book, 0, &[0.1, 1e9]);
        read(&mut book, 2, 7, true);
        let mut sum = book.hand_on_open(2).remove(0).pane;
        hear(&mut book, 3, &[0.1, 1e9, -1e9, 0.7]);
        assert!(book.hear_progress(progress(9, 20, false, 9), BTreeMap::new()).is_some());
        sum.merge(&book.hand_on_sealed().remove(0).pane);
        let whole = pane(&[0.1, 1e9, -1e9, 0.7]);
        assert_eq!((sum.sums, sum.sample), (whole.sums, whole.sample));
    }

    #[test]
    fn the_next_owner_knows_what_was_handed_on() {
        let mut book = Book::default();
        say(&mut book, 0, 5, 2);
        read(&mut book, 5, 7, true);
        book.hand_on_open(2);
        let known = book.to_know(true, Timestamp(0));
        // It hears the same again, and more, before it looks at anything.
        let mut next = Book::known(known.clone());
        assert_eq!(say(&mut next, 0, 5, 2), (true, vec![]));
        read(&mut next, 5, 7, true);
        assert_eq!(say(&mut next, 2, 8, 6), (true, vec![(2, false)]), "what it takes the place of was known");
        assert_eq!(read(&mut next, 9, 20, false), [(4, true)]);
        // Or nothing more.
        let mut next = Book::known(known.clone());
        say(&mut next, 0, 5, 2);
        read(&mut next, 5, 7, true);
        assert_eq!(counted(&next.put_back_open()), [(2, false)]);
        // Or only what was said after it, the rest having been compacted away.
        let mut next = Book::known(known);
        say(&mut next, 2, 8, 6);
        assert!(next.put_back_open().is_empty());
        // And what was sealed before is no news at all.
        read(&mut book, 9, 20, false);
        let mut next = Book::known(book.to_know(true, Timestamp(0)));
        say(&mut next, 2, 8, 6);
        assert_eq!(read(&mut next, 9, 20, false), [(6, false)]);
    }

    #[test]
    fn a_partition_of_which_nothing_was_read_is_idle_when_that_is_said() {
        let mut book = Book::default();
        book.hear_progress(Progress { watermark: None, ..progress(-1, 0, false, 1) }, BTreeMap::new());
        assert!(!book.is_idle());
        book.hear_progress(Progress { watermark: None, ..progress(-1, 0, true, 2) }, BTreeMap::new());
        assert!(book.is_idle());
    }

    #[test]
    fn late_records_and_progress_are_told_once() {
        let mut book = Book::default();
        let late = |records| BTreeMap::from([((Timestamp(0), Timestamp(10)), records)]);
        let more = |said: Option<Vec<MoreLate>>| said.map(|late| late.iter().map(|late| late.records).sum::<u64>());
        assert_eq!(more(book.hear_progress(progress(5, 1, false, 1), late(2))), Some(2));
        assert_eq!(more(book.hear_progress(progress(9, 3, false, 2), late(5))), Some(3));
        assert_eq!(more(book.hear_progress(progress(7, 2, false, 9), late(3))), None, "somebody who reads no longer");
        assert_eq!(more(book.hear_progress(progress(9, 3, true, 3), late(5))), Some(0));
        assert!(book.is_idle() && book.watermark() == Some(Timestamp(3)));
    }

    #[test]
    fn late_records_that_a_previous_owner_had_not_heard_of_are_news() {
        let late = |of_first, of_second| {
            let of = |slice, records| ((Timestamp(slice), Timestamp(slice + 10)), records);
            BTreeMap::from([of(0, of_first), of(20, of_second)])
        };
        let heard = |book: &mut Book, end, said| -> Vec<(i64, u64, bool)> {
            let more = book.hear_progress(progress(end, 1, false, 1), said).unwrap();
            more.iter().map(|late| (late.slice.0, late.records, late.is_news)).collect()
        };
        let mut book = Book::default();
        heard(&mut book, 5, late(2, 3));
        let known = book.to_know(true, Timestamp(0));
        // The topic has kept what was said last.
        let mut next = Book::known(known.clone());
        assert_eq!(next.to_know(true, Timestamp(0)), Known { said: known.said, ..known.clone() }, "nothing has been said yet");
        assert_eq!(heard(&mut next, 9, late(2, 4)), [(0, 2, false), (20, 4, true)]);
        // Or what was known, too.
        let mut next = Book::known(known);
        assert_eq!(heard(&mut next, 5, late(2, 3)), [(0, 2, false), (20, 3, false)]);
        assert_eq!(heard(&mut next, 9, late(2, 4)), [(20, 1, true)]);
        assert_eq!(next.to_know(true, Timestamp(20)).late.len(), 1, "of a slice that is gone no window can say anything");
    }

    #[test]
    fn who_is_silent_is_given_up_until_he_speaks() {
        let mut book = Book::default();
        book.hear_progress(progress(5, 7, true, 100), BTreeMap::new());
        let bury = |book: &mut Book, oldest| book.bury(Timestamp(50), Timestamp(oldest));
        assert_eq!(bury(&mut book, 100), None);
        assert_eq!(bury(&mut book, 101), Some(Change::GivenUp));
        assert_eq!(bury(&mut book, 150), None);
        // A record that was long under way, then one of now, and of somebody who is not as far.
        book.hear_progress(progress(5, 7, true, 120), BTreeMap::new());
        assert_eq!(bury(&mut book, 150), None);
        book.hear_progress(progress(3, 6, false, 160), BTreeMap::new());
        assert_eq!(bury(&mut book, 150), Some(Change::Back(Some(Timestamp(7)))));
        // Whoever has just begun to listen cannot know.
        let mut unheard = Book::default();
        assert_eq!(unheard.bury(Timestamp(200), Timestamp(150)), None);
    }
}
