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
use super::codec;
use super::half::{self, Label, Prediction, RecordId};
use super::hashed::Hashed;
use super::ordered::{Nothing, Ordered};
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

/// A time and an id as a key.
type Due = [u8; 24];

/// Waiting predictions and labels of one model.
#[derive(Clone)]
pub struct Ledger {
    pub(super) bounds: Bounds,
    pub(super) shelf: Option<Arc<dyn Shelf>>,
    pub(super) records: Hashed,
    pub(super) expiry: Ordered<24, Nothing>,
    pub(super) pending: Ordered<44, Box<[u8]>>,
    pub(super) early: Ordered<24, Nothing>,
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
        let mut ledger = Ledger::made(bounds, Some(Arc::clone(&shelf)));
        if let Some(bytes) = stored {
            match Books::decode(&bytes) {
                Some(books) => {
                    ledger.books = books;
                    ledger.stored = [Some(books); 2];
                }
                None => shelf.refuse(Space::Books, BOOKS),
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

    /// Predictions that were not kept because the ledger was full: their labels find nothing.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.books.refused
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
            let said = self.bounds.meet(&mut entry, label.ts, label.truth, count);
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
            self.expiry.put(due(until, id), Nothing);
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
        let turn = label.turn();
        if self.pending.contains(&turn) {
            return Some(Outcome::Duplicate);
        }
        self.pending.put(turn, label.encode().into());
        self.books.pending += 1;
        None
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

    /// When the first of the labels came that wait to be applied.
    #[must_use]
    pub fn next_label(&mut self) -> Option<Timestamp> {
        // Asked for all the time; most of the time nothing waits.
        if self.books.pending == 0 {
            return None;
        }
        self.pending.first().map(|turn| half::came(&turn))
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
        while let Some(turn) = self.pending.first().filter(|turn| half::came(turn) <= clock) {
            let Some(value) = self.pending.take(&turn) else { break };
            self.books.pending -= self.books.pending.min(1);
            match Label::decode(&turn, &value) {
                Some(label) => self.apply(&label, count, tally),
                None => self.refuse(Space::Pending, &turn),
            }
        }
    }

    fn apply(&mut self, label: &Label, count: &mut Count<'_>, tally: &mut Tally) {
        let mut record = self.record(label.id);
        let clock = self.books.clock;
        let mut said = Said::Waiting;
        for entry in record.entries.iter_mut().filter(|entry| entry.until >= clock) {
            said = said.max(self.bounds.meet(entry, label.ts, label.truth, count));
        }
        if said == Said::Waiting {
            self.books.early += 1;
            if !record.is_awaited_since(label.came) {
                self.early.put(due(label.came, label.id), Nothing);
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
        while let Some(key) = self.early.first().filter(|key| is_over(parts(key).0)) {
            self.early.take(&key);
            let (came, id) = parts(&key);
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
            match self.expiry.first() {
                Some(key) if parts(&key).0 < self.books.clock => {
                    self.expiry.take(&key);
                    let (_, id) = parts(&key);
                    let record = self.record(id);
                    if record != Record::default() {
                        self.keep(id, record);
                    }
                }
                _ => self.is_untidy = false,
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
            self.expiry.put(due(bounds.forgets(last), id), Nothing);
        }
        record.encode(&mut self.scratch);
        self.records.put(id, &self.scratch);
    }

    /// A label that came then waits no longer.
    fn unwait(&mut self, id: RecordId, came: Timestamp, record: &Record) {
        if !record.is_awaited_since(came) {
            self.early.remove(&due(came, id));
        }
    }

    fn refuse(&self, space: Space, key: &[u8]) {
        if let Some(shelf) = &self.shelf {
            shelf.refuse(space, key);
        }
    }
}

fn due(at: Timestamp, id: RecordId) -> Due {
    let mut key = [0; 24];
    let parts = codec::ordered(at).into_iter().chain(id.0.to_be_bytes());
    key.iter_mut().zip(parts).for_each(|(slot, byte)| *slot = byte);
    key
}

fn parts(key: &Due) -> (Timestamp, RecordId) {
    let at = key.first_chunk().map(|bytes| codec::instant(*bytes)).unwrap_or_default();
    let id = key.last_chunk().map(|bytes| u128::from_be_bytes(*bytes)).unwrap_or_default();
    (at, RecordId(id))
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
