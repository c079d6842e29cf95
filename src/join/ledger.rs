//! The ledger: predictions that may still get a label, and labels whose prediction has not been seen.
//!
//! Labels are applied in the order in which they came in event time (the watermark of their partition), up to a clock that
//! the caller moves only as far as all records of that time have been read. So the state at any label time is a function
//! of the records alone, however their partitions were interleaved. A label joins the predictions of all versions of its
//! id; a version has one prediction of an id, and where it has more the first that is read.
//!
//! Entries lie on a [`Shelf`], and in memory is only what has changed since its last commit; without a shelf everything is
//! in memory. What is kept is bounded by the horizon and by a capacity; what does not fit is counted, never dropped in
//! silence. When entries are forgotten cannot be seen: whether one is too old is asked of the clock, not of the ledger's
//! housekeeping, which does a little work at a time.

use std::fmt;
use std::sync::Arc;

use crate::event::{Outcome, Timestamp};

use super::books::Books;
use super::bounds::{Bounds, Count};
use super::due::Due;
use super::half::{Label, Prediction, RecordId, Untold};
use super::hashed::Hashed;
use super::kept::Kept;
use super::ordered::Ordered;
use super::record::{Entry, Record, Said, Seen};
use super::shelf::{Change, Shelf, Space};
use super::tally::Tally;

/// Labels that are remembered of one id: far more than corrections take, and few enough that a field which is the same in
/// all events, taken for an id, costs little. Of more labels the oldest are given up.
const MOST_LABELS_OF_AN_ID: usize = 32;
/// Records that are looked at for what can be forgotten, for each prediction that is taken in: more than come in.
const SWEPT_BY_PREDICTION: usize = 2;
/// The same for each step of the clock: some 10 ms where they are read from a disk.
const SWEPT_BY_STEP: usize = 10_000;
/// The books are one entry.
const BOOKS: &[u8] = b"books";

/// Waiting predictions and labels of one model.
#[derive(Clone)]
pub struct Ledger {
    pub(super) bounds: Bounds,
    pub(super) shelf: Option<Arc<dyn Shelf>>,
    pub(super) records: Hashed,
    pub(super) expiry: Ordered<Due>,
    pub(super) pending: Ordered<Untold>,
    pub(super) early: Ordered<Due>,
    pub(super) books: Books,
    /// The books as the shelf has them, and as they were last given away.
    stored: [Option<Books>; 2],
    /// Whether there may be something to forget before the clock moves again.
    pub(super) is_untidy: bool,
    /// A record is encoded here.
    scratch: Vec<u8>,
}

impl Ledger {
    /// An empty ledger in memory.
    #[must_use]
    pub fn new(bounds: Bounds) -> Ledger {
        Ledger::made(bounds, None)
    }

    /// The ledger that lies on a shelf.
    #[must_use]
    pub fn on(shelf: Arc<dyn Shelf>, bounds: Bounds) -> Ledger {
        let stored = shelf.get(Space::Books, BOOKS);
        let mut ledger = Ledger::made(bounds, Some(shelf));
        if let Some(bytes) = stored {
            match Books::decode(&bytes) {
                Some(books) => {
                    ledger.books = books;
                    ledger.stored = [Some(books); 2];
                }
                None => ledger.refuse(Space::Books, BOOKS),
            }
        }
        ledger
    }

    fn made(bounds: Bounds, shelf: Option<Arc<dyn Shelf>>) -> Ledger {
        Ledger {
            bounds,
            records: Hashed::new(shelf.clone(), bounds.cached),
            expiry: Ordered::new(Space::Expiry, shelf.clone()),
            pending: Ordered::new(Space::Pending, shelf.clone()),
            early: Ordered::new(Space::Early, shelf.clone()),
            books: Books::default(),
            stored: [None; 2],
            is_untidy: shelf.is_some(),
            scratch: Vec::new(),
            shelf,
        }
    }

    /// Labels that wait to be joined.
    #[must_use]
    pub fn waiting_labels(&self) -> u64 {
        self.books.pending + self.books.early
    }

    /// Predictions that may still get a label or a corrected one, and those that are about to be forgotten.
    #[must_use]
    pub fn predictions(&self) -> u64 {
        self.books.predictions
    }

    /// The same, and how many predictions were not kept because the ledger was full.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { labels: self.waiting_labels(), predictions: self.predictions(), refused: self.books.refused }
    }

    /// Entries in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.records.held() + self.expiry.held() + self.pending.held() + self.early.held()
    }

    /// Changes that wait for a commit; in memory until then.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        if self.shelf.is_none() {
            return 0;
        }
        self.records.unsettled() + self.expiry.held() + self.pending.held() + self.early.held()
    }

    /// Keeps a prediction for its labels, and counts those that are there already. A second prediction of the same
    /// version and id leaves the first in place.
    ///
    /// # Errors
    /// The prediction, when the ledger is at its capacity; it is counted as refused.
    pub fn predict(&mut self, id: RecordId, prediction: Prediction, count: &mut Count<'_>) -> Result<Tally, Prediction> {
        self.sweep(SWEPT_BY_PREDICTION);
        let mut record = self.record(id);
        let clock = self.books.clock;
        if record.entries.iter().any(|entry| entry.prediction.version == prediction.version && entry.until >= clock) {
            return Ok(Tally::default());
        }
        let capacity = self.bounds.capacity as u64;
        if self.books.predictions >= capacity {
            self.sweep(SWEPT_BY_STEP);
            if self.books.predictions >= capacity {
                self.books.refused += 1;
                return Err(prediction);
            }
            record = self.record(id);
        }
        // One that is read after its time lives until the clock moves again.
        let until = self.bounds.bucket(prediction.ts).max(clock);
        let is_indexed = record.entries.iter().any(|entry| entry.until == until);
        let mut entry = Entry { prediction, until, truth: None };
        let mut tally = Tally::default();
        let mut woken = Vec::new();
        for label in &mut record.labels {
            if self.bounds.has_forgotten(label.came, clock) {
                continue;
            }
            let said = self.bounds.meet(&mut entry, (label.ts, label.came), label.truth, count);
            if said > label.said {
                tally.shift(label.said.outcome(), said.outcome(), 1);
                if label.said == Said::Waiting {
                    woken.push(label.came);
                }
                label.said = said;
            }
        }
        self.books.early -= (woken.len() as u64).min(self.books.early);
        woken.sort_unstable();
        woken.dedup();
        for came in woken {
            self.unwait(id, came, &record);
        }
        record.entries.push(entry);
        self.books.predictions += 1;
        if !is_indexed {
            self.expiry.put((until, id), Due);
        }
        self.keep(id, record);
        Ok(tally)
    }

    /// Takes a label in, to be applied when the clock reaches it. Gives its outcome where it does not wait: one that
    /// waits already is a duplicate, and at its capacity the ledger sheds it.
    pub fn label(&mut self, label: &Label) -> Option<Outcome> {
        if self.waiting_labels() >= self.bounds.capacity as u64 {
            return Some(Outcome::Shed);
        }
        let (turn, untold) = label.turn();
        if !self.pending.put_new(turn, untold) {
            return Some(Outcome::Duplicate);
        }
        self.books.pending += 1;
        None
    }

    /// Applies the labels whose time the clock has passed already: their partition was not waited for.
    pub fn catch_up(&mut self, count: &mut Count<'_>) -> Tally {
        let mut tally = Tally::default();
        self.apply_pending(self.books.clock, count, &mut tally);
        tally
    }

    /// Applies the labels that came up to and including `clock`, then gives up those that have waited too long.
    pub fn advance(&mut self, clock: Timestamp, count: &mut Count<'_>) -> Tally {
        let mut tally = Tally::default();
        self.apply_pending(clock, count, &mut tally);
        let bounds = self.bounds;
        self.expire_labels(&|came| bounds.has_forgotten(came, clock), &mut tally);
        self.books.clock = self.books.clock.max(clock);
        self.is_untidy = true;
        self.sweep(SWEPT_BY_STEP);
        tally
    }

    /// At the end of all input: applies every label; those without a prediction will never have one.
    pub fn finish(&mut self, count: &mut Count<'_>) -> Tally {
        let mut tally = Tally::default();
        self.apply_pending(Timestamp(i64::MAX), count, &mut tally);
        self.expire_labels(&|_| true, &mut tally);
        tally
    }

    /// Forgets some of what is too old, where there is no room for more.
    pub fn tidy(&mut self) {
        self.sweep(SWEPT_BY_STEP);
    }

    /// From the next commit on, so many records may stay in memory although they are on the shelf.
    pub fn set_cached(&mut self, cached: usize) {
        self.bounds.cached = cached;
        self.records.set_cached(cached);
    }

    /// When the first of the labels came that wait to be applied.
    #[must_use]
    pub fn next_label(&mut self) -> Option<Timestamp> {
        // Asked for all the time; most of the time nothing waits.
        if self.books.pending == 0 {
            return None;
        }
        self.pending.first().map(|(came, ..)| came)
    }

    /// Everything that the shelf does not have yet, to be committed as one with the state it belongs to. It comes again
    /// until [`Ledger::settle_changes`] is called. Nothing, without a shelf.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.shelf.is_none() {
            return changes;
        }
        self.records.take_changes(&mut changes);
        self.expiry.take_changes(&mut changes);
        self.pending.take_changes(&mut changes);
        self.early.take_changes(&mut changes);
        if self.stored[0] != Some(self.books) {
            changes.push(Change { space: Space::Books, key: BOOKS.to_vec(), value: Some(self.books.encode()) });
        }
        self.stored[1] = Some(self.books);
        changes
    }

    /// The changes that were last taken are committed, and the shelf shows them: they need not be in memory any more.
    pub fn settle_changes(&mut self) {
        if self.shelf.is_none() {
            return;
        }
        self.records.settle_changes();
        self.expiry.settle_changes();
        self.pending.settle_changes();
        self.early.settle_changes();
        self.stored[0] = self.stored[1];
    }

    fn apply_pending(&mut self, clock: Timestamp, count: &mut Count<'_>, tally: &mut Tally) {
        while let Some((turn, untold)) = self.pending.take_first(|(came, ..)| *came <= clock) {
            self.books.pending -= self.books.pending.min(1);
            self.apply(&Label::of(turn, untold), count, tally);
        }
    }

    fn apply(&mut self, label: &Label, count: &mut Count<'_>, tally: &mut Tally) {
        let mut record = self.record(label.id);
        let clock = self.books.clock;
        let mut said = Said::Waiting;
        // Of those that can be forgotten some are still there.
        for entry in record.entries.iter_mut().filter(|entry| entry.until >= clock) {
            said = said.max(self.bounds.meet(entry, (label.ts, label.came), label.truth, count));
        }
        if said == Said::Waiting {
            self.books.early += 1;
            if !record.is_awaited_since(label.came) {
                self.early.put((label.came, label.id), Due);
            }
        } else {
            tally.shift(Outcome::Waiting, said.outcome(), 1);
        }
        record.labels.push(Seen { ts: label.ts, came: label.came, truth: label.truth, said });
        if record.labels.len() > MOST_LABELS_OF_AN_ID {
            // Those first that have their outcome.
            let oldest = record.labels.iter().position(|label| label.said != Said::Waiting).unwrap_or(0);
            let given_up = record.labels.remove(oldest);
            if given_up.said == Said::Waiting {
                tally.shift(Outcome::Waiting, Outcome::Shed, 1);
                self.books.early -= self.books.early.min(1);
                self.unwait(label.id, given_up.came, &record);
            }
        }
        self.keep(label.id, record);
    }

    /// A prediction may lie by the patience after its label, and be read by as much again behind the clock.
    fn expire_labels(&mut self, is_over: &dyn Fn(Timestamp) -> bool, tally: &mut Tally) {
        while let Some(((came, id), Due)) = self.early.take_first(|(came, _)| is_over(*came)) {
            let mut record = self.record(id);
            let before = record.labels.len();
            record.labels.retain(|label| label.said != Said::Waiting || label.came != came);
            let expired = (before - record.labels.len()) as u64;
            self.books.early -= expired.min(self.books.early);
            tally.shift(Outcome::Waiting, Outcome::UnmatchedLabel, expired);
            self.keep(id, record);
        }
    }

    /// Forgets what is too old, as much as is found in so many records.
    fn sweep(&mut self, most: usize) {
        for _ in 0..most {
            if !self.is_untidy {
                return;
            }
            let clock = self.books.clock;
            match self.expiry.take_first(|(until, _)| *until < clock) {
                Some(((_, id), Due)) => {
                    let record = self.record(id);
                    if record != Record::default() {
                        self.keep(id, record);
                    }
                }
                None => self.is_untidy = false,
            }
        }
    }

    fn record(&self, id: RecordId) -> Record {
        let Some(bytes) = self.records.get(id) else { return Record::default() };
        Record::decode(&bytes).unwrap_or_else(|| {
            self.refuse(Space::Record, &id.0.to_be_bytes());
            Record::default()
        })
    }

    /// Stores a record without what can be forgotten.
    fn keep(&mut self, id: RecordId, mut record: Record) {
        let (clock, bounds) = (self.books.clock, self.bounds);
        let before = record.entries.len();
        record.entries.retain(|entry| entry.until >= clock);
        self.books.predictions -= ((before - record.entries.len()) as u64).min(self.books.predictions);
        record.labels.retain(|label| label.said == Said::Waiting || !bounds.has_forgotten(label.came, clock));
        if record.entries.is_empty() && !record.is_awaited() {
            let Some(last) = record.labels.iter().map(|label| label.came).max() else {
                self.records.remove(id);
                return;
            };
            // Its labels may still meet another version's prediction. Nothing else leads back to them.
            self.expiry.put_new((bounds.forgets(last), id), Due);
        }
        record.encode(&mut self.scratch);
        self.records.put(id, &self.scratch);
    }

    /// A label that came then waits no longer.
    fn unwait(&mut self, id: RecordId, came: Timestamp, record: &Record) {
        if !record.is_awaited_since(came) {
            self.early.remove(&(came, id));
        }
    }

    fn refuse(&self, space: Space, key: &[u8]) {
        if let Some(shelf) = &self.shelf {
            shelf.refuse(space, key);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("bounds", &self.bounds)
            .field("books", &self.books)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Reject, SourceId, Span};
    use crate::join::bounds::Pair;
    use crate::join::half::{Predicted, Truth};
    use crate::join::shelf::MemoryShelf;

    const ONE: RecordId = RecordId(1);

    fn prediction(ts: i64) -> Prediction {
        of_version(0, ts)
    }

    fn of_version(version: u16, ts: i64) -> Prediction {
        Prediction { ts: Timestamp(ts), version, segments: Box::new([]), predicted: Predicted::Class(Some(1), Some(0.9)) }
    }

    fn label(id: u128, ts: i64, class: u16) -> Label {
        Label { id: RecordId(id), ts: Timestamp(ts), came: Timestamp(ts), truth: Truth::Class(class), position: (SourceId(0), ts) }
    }

    fn bounds(patience: i64, capacity: usize) -> Bounds {
        Bounds { horizon: Span(100), patience: Span(patience), capacity, cached: 0 }
    }

    /// A pair as it was counted: version, time of the prediction, class, and the class before.
    type Counted = (u16, i64, u16, Option<u16>);

    /// A ledger with everything that came out of it. Class 9 is known to no version.
    struct Book {
        ledger: Ledger,
        pairs: Vec<Counted>,
        tally: Tally,
    }

    impl Book {
        fn new(patience: i64) -> Book {
            Book { ledger: Ledger::new(bounds(patience, 1000)), pairs: Vec::new(), tally: Tally::default() }
        }

        fn run(&mut self, act: impl FnOnce(&mut Ledger, &mut Count<'_>) -> Tally) {
            let pairs = &mut self.pairs;
            let class = |truth: Truth| if let Truth::Class(class) = truth { class } else { panic!("a class is expected") };
            let tally = act(&mut self.ledger, &mut |pair| {
                if class(pair.truth) == 9 {
                    return false;
                }
                pairs.push((pair.prediction.version, pair.prediction.ts.0, class(pair.truth), pair.previous.map(class)));
                true
            });
            self.tally.merge(&tally);
        }

        fn predict(&mut self, id: RecordId, prediction: Prediction) {
            self.run(|ledger, count| ledger.predict(id, prediction, count).unwrap());
        }

        fn label(&mut self, label: &Label) {
            assert_eq!(self.ledger.label(label), None);
        }

        fn advance(&mut self, clock: i64) {
            self.run(|ledger, count| ledger.advance(Timestamp(clock), count));
        }

        fn take_pairs(&mut self) -> Vec<Counted> {
            std::mem::take(&mut self.pairs)
        }

        /// How many labels have an outcome.
        fn of(&self, outcome: Outcome) -> u64 {
            let with = |wanted: Outcome, other: Outcome, labels: u64| if wanted == other { labels } else { 0 };
            let (came, left) = self
                .tally
                .iter()
                .fold((0, 0), |(came, left), (from, to, labels)| (came + with(outcome, to, labels), left + with(outcome, from, labels)));
            came - left
        }
    }

    #[test]
    fn a_label_joins_within_the_horizon_and_not_beyond() {
        for (ts, joins) in [(100, true), (101, false)] {
            let mut book = Book::new(10);
            book.predict(ONE, prediction(0));
            book.label(&label(1, ts, 1));
            book.advance(ts);
            assert_eq!(book.take_pairs().len(), usize::from(joins), "label at {ts}");
            book.advance(ts + 20);
            assert_eq!(book.of(Outcome::UnmatchedLabel), 0, "another version's prediction may still come");
            book.advance(ts + 21);
            assert_eq!(book.of(Outcome::UnmatchedLabel), u64::from(!joins));
            assert_eq!(book.of(Outcome::Counted), u64::from(joins));
        }
    }

    #[test]
    fn labels_wait_for_the_clock_and_are_applied_in_their_order() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        book.label(&label(1, 30, 0));
        book.label(&label(1, 20, 1));
        assert_eq!(book.ledger.next_label(), Some(Timestamp(20)));
        book.advance(19);
        assert!(book.take_pairs().is_empty());
        book.advance(25);
        assert_eq!(book.take_pairs(), [(0, 0, 1, None)]);
        book.advance(30);
        assert_eq!(book.take_pairs(), [(0, 0, 0, Some(1))]);
        assert_eq!(book.ledger.next_label(), None);
    }

    #[test]
    fn an_equal_label_is_a_duplicate_and_so_is_a_record_that_waits() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        book.label(&label(1, 20, 1));
        assert_eq!(book.ledger.label(&label(1, 20, 1)), Some(Outcome::Duplicate));
        book.label(&label(1, 21, 1));
        book.advance(25);
        assert_eq!(book.take_pairs().len(), 1);
        assert_eq!((book.of(Outcome::Counted), book.of(Outcome::Duplicate)), (1, 1));
    }

    #[test]
    fn an_early_label_waits_with_patience_and_then_is_unmatched() {
        let mut book = Book::new(10);
        book.label(&label(1, 20, 1));
        book.label(&label(2, 20, 1));
        book.advance(25);
        assert_eq!((book.take_pairs().len(), book.ledger.waiting_labels()), (0, 2));
        book.predict(ONE, prediction(15));
        assert_eq!(book.take_pairs(), [(0, 15, 1, None)]);
        book.advance(40);
        assert_eq!(book.of(Outcome::UnmatchedLabel), 0, "its prediction may be as late as it is early");
        book.advance(41);
        assert_eq!((book.of(Outcome::UnmatchedLabel), book.of(Outcome::Counted)), (1, 1));
        assert_eq!(book.ledger.waiting_labels(), 0);
    }

    #[test]
    fn it_does_not_matter_which_is_read_first() {
        // Too early, early, a correction, the same again, and one that is out of order and so comes at 40.
        let mut labels = [label(1, 4, 0), label(1, 6, 0), label(1, 20, 1), label(1, 21, 1), label(1, 40, 0)];
        labels[4].ts = Timestamp(3);
        let facts = |before: &[u16], after: &[u16]| {
            let mut book = Book::new(30);
            before.iter().for_each(|version| book.predict(ONE, of_version(*version, 35)));
            labels.iter().for_each(|label| book.label(label));
            book.advance(41);
            after.iter().for_each(|version| book.predict(ONE, of_version(*version, 35)));
            book.advance(500);
            assert_eq!(book.ledger.waiting_labels(), 0);
            let outcomes = [Outcome::Counted, Outcome::Duplicate, Outcome::UnmatchedLabel].map(|outcome| book.of(outcome));
            // What each version has counted, in its order.
            book.pairs.sort_by_key(|(version, ..)| *version);
            (book.take_pairs(), outcomes)
        };
        let one = facts(&[0], &[]);
        assert_eq!(one, (vec![(0, 35, 0, None), (0, 35, 1, Some(0))], [2, 1, 2]));
        assert_eq!(facts(&[], &[0]), one);
        let both = facts(&[0, 1], &[]);
        assert_eq!((both.0.len(), both.1), (4, one.1), "of two versions each has the labels, and a label has one outcome");
        for (before, after) in [(&[][..], &[0, 1][..]), (&[1], &[0]), (&[0], &[1]), (&[1, 0], &[]), (&[], &[1, 0])] {
            assert_eq!(facts(before, after), both, "{before:?} before the labels, {after:?} after them");
        }
    }

    #[test]
    fn a_label_that_is_counted_with_one_version_is_counted() {
        // The second label is a duplicate for version 0; version 1 is too late for the first one.
        let outcomes = |first: u16, second: u16| {
            let mut book = Book::new(10);
            let at = |version: u16| of_version(version, if version == 0 { 5 } else { 15 });
            book.predict(ONE, at(first));
            book.label(&label(1, 4, 1));
            book.label(&label(1, 6, 1));
            book.advance(7);
            book.predict(ONE, at(second));
            (book.of(Outcome::Counted), book.of(Outcome::Duplicate), book.pairs.len())
        };
        assert_eq!(outcomes(0, 1), (2, 0, 2));
        assert_eq!(outcomes(1, 0), (2, 0, 2));
    }

    #[test]
    fn a_label_that_cannot_be_counted_does_not_take_the_place_of_one_that_was() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        for (ts, class) in [(20, 1), (21, 9), (22, 0)] {
            book.label(&label(1, ts, class));
        }
        book.advance(30);
        assert_eq!(book.take_pairs(), [(0, 0, 1, None), (0, 0, 0, Some(1))], "the pair that was counted must be taken back");
        assert_eq!((book.of(Outcome::Counted), book.of(Outcome::Rejected(Reject::BadLabel))), (2, 1));
    }

    #[test]
    fn labels_that_came_at_once_are_ordered_without_the_number_of_their_partition() {
        let of = |source: u32, class| Label { position: (SourceId(source), 7), ..label(1, 20, class) };
        let truth = |labels: [Label; 2]| {
            let mut book = Book::new(10);
            book.predict(ONE, prediction(15));
            labels.iter().for_each(|label| book.label(label));
            book.advance(20);
            book.take_pairs()
        };
        assert_eq!(truth([of(1, 0), of(2, 1)]), truth([of(2, 0), of(1, 1)]));
    }

    #[test]
    fn predictions_are_forgotten_after_the_horizon_and_an_id_may_come_again() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        book.predict(ONE, of_version(1, 50));
        book.advance(100);
        assert_eq!(book.ledger.predictions(), 2);
        book.predict(ONE, prediction(99));
        assert_eq!(book.ledger.predictions(), 2, "a version has one prediction of an id");
        book.advance(110);
        assert_eq!(book.ledger.predictions(), 1);
        // What is swept later must not take what came later.
        book.predict(ONE, prediction(110));
        book.advance(160);
        assert_eq!(book.ledger.predictions(), 1);
        book.label(&label(1, 170, 1));
        book.advance(170);
        assert_eq!(book.take_pairs(), [(0, 110, 1, None)]);
        book.advance(1_000);
        assert_eq!((book.ledger.predictions(), book.ledger.held()), (0, 0));
    }

    #[test]
    fn too_old_is_a_matter_of_the_clock_and_not_of_how_much_was_swept() {
        let mut book = Book::new(10);
        let many = SWEPT_BY_STEP as u128 + 10;
        book.ledger.bounds.capacity = SWEPT_BY_STEP + 10;
        (0..many).for_each(|id| book.predict(RecordId(id), prediction(0)));
        book.advance(150);
        let left = book.ledger.predictions();
        assert!(left > 0, "too much at once");
        // Some record is still there, and is as good as gone.
        for id in 0..many {
            book.label(&Label { ts: Timestamp(90), came: Timestamp(151), ..label(id, 90, 1) });
        }
        book.advance(151);
        assert!(book.take_pairs().is_empty());
        book.predict(RecordId(many + 1), prediction(150));
        assert!(book.ledger.predictions() <= left, "each prediction clears away more than it brings");
    }

    #[test]
    fn labels_of_a_partition_that_was_not_waited_for_join_what_the_clock_has_left() {
        let mut book = Book::new(10);
        let many = SWEPT_BY_STEP as u128 + 10;
        book.ledger.bounds.capacity = 2 * SWEPT_BY_STEP;
        (0..many).for_each(|id| book.predict(RecordId(id), prediction(0)));
        book.predict(RecordId(many), prediction(60));
        book.advance(150);
        assert!(book.ledger.predictions() > 1, "some that are over are still there");
        // Read after its time, it lives until the clock moves again.
        book.predict(RecordId(many + 1), prediction(1));
        (0..many + 2).for_each(|id| book.label(&label(id, 90, 1)));
        book.label(&label(many, 151, 0));
        book.run(Ledger::catch_up);
        assert_eq!(book.take_pairs(), [(0, 60, 1, None), (0, 1, 1, None)]);
        book.advance(151);
        assert_eq!(book.take_pairs(), [(0, 60, 0, Some(1))]);
    }

    #[test]
    fn a_label_is_remembered_for_another_version_no_longer_than_it_would_wait() {
        for (clock, joins) in [(40, true), (41, false)] {
            let mut book = Book::new(10);
            book.predict(ONE, prediction(15));
            book.label(&label(1, 20, 1));
            book.advance(clock);
            book.take_pairs();
            book.predict(ONE, of_version(1, 16));
            assert_eq!(book.take_pairs().len(), usize::from(joins), "read when the clock is at {clock}");
            assert_eq!(book.of(Outcome::Counted), 1);
        }
    }

    #[test]
    fn a_prediction_that_is_read_after_its_time_meets_no_label_that_came_after_it() {
        let mut book = Book::new(10);
        book.advance(150);
        book.predict(ONE, prediction(0));
        book.predict(ONE, prediction(1));
        assert_eq!(book.ledger.predictions(), 1, "again the same");
        book.label(&Label { ts: Timestamp(90), ..label(1, 151, 1) });
        book.advance(151);
        assert_eq!((book.take_pairs().len(), book.ledger.predictions()), (0, 0));
        book.label(&Label { ts: Timestamp(91), ..label(1, 152, 0) });
        book.advance(152);
        assert!(book.take_pairs().is_empty());
    }

    #[test]
    fn a_full_ledger_hands_the_record_back_and_counts_it() {
        let mut ledger = Ledger::new(bounds(10, 1));
        let mut count = |_: &Pair<'_>| true;
        ledger.predict(ONE, prediction(0), &mut count).unwrap();
        assert_eq!(ledger.predict(ONE, prediction(1), &mut count), Ok(Tally::default()), "again the same");
        assert!(ledger.predict(RecordId(2), prediction(0), &mut count).is_err());
        assert_eq!(ledger.kept(), Kept { labels: 0, predictions: 1, refused: 1 });
        assert_eq!(ledger.label(&label(9, 5, 1)), None);
        assert_eq!(ledger.label(&label(8, 5, 1)), Some(Outcome::Shed));
    }

    #[test]
    fn an_id_that_all_labels_share_costs_no_more_than_its_limit() {
        for (predicted, outcome) in [(false, Outcome::Shed), (true, Outcome::Counted)] {
            let mut book = Book::new(500);
            if predicted {
                book.predict(ONE, prediction(0));
            }
            let labels = 3 * MOST_LABELS_OF_AN_ID as i64;
            for ts in 0..labels {
                book.label(&label(1, ts, (ts % 2) as u16));
            }
            book.advance(labels);
            let bytes = book.ledger.records.get(ONE).unwrap().len();
            assert!(bytes < 8 * MOST_LABELS_OF_AN_ID, "{bytes} bytes");
            let settled = if predicted { labels } else { labels - MOST_LABELS_OF_AN_ID as i64 };
            assert_eq!(book.of(outcome), settled as u64);
            assert_eq!(book.ledger.waiting_labels(), (labels - settled) as u64);
            // The last is remembered.
            book.take_pairs();
            book.predict(ONE, of_version(1, 0));
            assert_eq!(book.take_pairs().last().map(|(version, _, class, _)| (*version, *class)), Some((1, 1)));
        }
    }

    #[test]
    fn the_end_of_input_leaves_nothing_waiting() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        for (id, ts) in [(1, 50), (2, 50), (3, i64::MAX)] {
            book.label(&label(id, ts, 1));
        }
        book.run(Ledger::finish);
        assert_eq!((book.of(Outcome::Counted), book.of(Outcome::UnmatchedLabel)), (1, 2));
        assert_eq!(book.ledger.waiting_labels(), 0);
    }

    #[test]
    fn a_shelf_whose_entries_cannot_be_read_is_told_so() {
        let shelf = Arc::new(MemoryShelf::default());
        let open = || Ledger::on(Arc::clone(&shelf) as Arc<dyn Shelf>, bounds(10, 1000));
        let mut ledger = open();
        ledger.predict(ONE, prediction(0), &mut |_| true).unwrap();
        ledger.label(&label(1, 5, 1));
        let changes = ledger.take_changes();
        assert_eq!(
            changes.iter().map(|change| change.space).collect::<Vec<_>>(),
            [Space::Record, Space::Expiry, Space::Pending, Space::Books]
        );
        let bad = changes.into_iter().map(|change| Change { value: change.value.map(|_| vec![0xee]), ..change });
        shelf.apply(bad.collect());
        let mut ledger = open();
        assert_eq!(shelf.refused().pop().map(|(space, _)| space), Some(Space::Books));
        ledger.predict(ONE, prediction(0), &mut |_| true).unwrap();
        assert_eq!(shelf.refused().pop().map(|(space, _)| space), Some(Space::Record));
        ledger.advance(Timestamp(9), &mut |_| true);
        assert_eq!(shelf.refused().pop().map(|(space, _)| space), Some(Space::Pending));
    }

    #[test]
    fn a_ledger_in_memory_is_stored_as_a_whole() {
        let mut book = Book::new(10);
        book.predict(ONE, prediction(0));
        for (id, ts) in [(1, 20), (2, 20), (3, 90)] {
            book.label(&label(id, ts, 1));
        }
        book.advance(30);
        let bytes = postcard::to_stdvec(&book.ledger).unwrap();
        let mut other = Book { ledger: postcard::from_bytes(&bytes).unwrap(), ..Book::new(10) };
        assert_eq!(postcard::to_stdvec(&other.ledger).unwrap(), bytes);
        assert_eq!(other.ledger.next_label(), Some(Timestamp(90)));
        book.take_pairs();
        book.tally = Tally::default();
        for book in [&mut book, &mut other] {
            book.predict(RecordId(2), prediction(15));
            book.label(&label(1, 91, 0));
            book.advance(1_000);
        }
        assert_eq!(other.pairs, book.pairs);
        assert_eq!(other.tally, book.tally);
        assert_eq!(book.pairs.len(), 2);
    }
}
