//! The predictions and labels that wait in a replica, on local scratch disk: `state.path/cache`. It is a cache. Whoever takes
//! partitions over reads what waits there again from Kafka, so it begins empty with each process, nothing in it outlives
//! the process, and nothing in it is waited for until it is safe.
//!
//! Where it fails, because the disk is full or a block is damaged, joins that were computed without it must not be said: the
//! process says why and ends. Where there is no place that may be written to at all, joins are in memory, and the log says
//! how many predictions fit there.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::cluster::{Replica, Shelves};
use crate::join::{Change, Shelf};
use crate::store::{Batch, Reader, Store, StoreError};

use super::super::checkpoint::LEDGER_CACHE_SHARE;
use super::super::disk;
use super::super::keeper::Keeper;
use super::super::local::STORE_SHARE;
use super::super::shelf::StoreShelf;
use super::member::Member;

/// The directory within `state.path`.
const DIRECTORY: &str = "cache";
/// The space of the store; it holds nothing else.
const SPACE: u8 = 1;
/// Changes that wait in memory for a commit: some 25 MB, and a commit of some 0.2 s.
const MOST_UNSETTLED: usize = 100_000;
/// The least of them where memory is small.
const LEAST_UNSETTLED: usize = 1_000;
/// While so many times as many wait, nothing more is applied: the disk is slower than the reading.
const FULL: usize = 4;
/// Entries of a generation that is over that are deleted by one commit: some 10 ms of reading.
const DELETED_AT_ONCE: usize = 10_000;

/// Opens the scratch store of a replica that joins labels; none where everything is in memory. Whoever has it holds the
/// directory.
///
/// # Errors
/// [`StoreError::Locked`] where another process has it, and [`StoreError::Io`] but where nothing may be written.
pub fn open(config: &Config, plan: &Plan) -> Result<Option<Store>, StoreError> {
    if plan.models.iter().all(|model| model.horizon.is_none()) {
        return Ok(None);
    }
    disk::look(config, plan);
    match Store::scratch(&config.state.path.join(DIRECTORY), config.limits.memory / STORE_SHARE) {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.is_read_only() => {
            tracing::warn!(
                %error, predictions = plan.ledger_capacity,
                "predictions that wait for labels are in memory: of each model so many fit into a quarter of limits.memory, and further ones get \
                 no label; give state.path a place that may be written to"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The scratch store of a replica, with the thread that commits.
#[derive(Debug)]
pub(super) struct Cache {
    keeper: Keeper,
    reader: Reader,
    /// Changes that are too many to wait.
    most: usize,
    /// What is being committed: none, deletions, or changes of joins as well.
    under_way: Option<bool>,
    /// Generations that are over, and from which key on the first one is still there.
    gone: VecDeque<u32>,
    from: Vec<u8>,
}

impl Cache {
    /// Commits to a scratch store.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(store: Store, plan: &Plan) -> std::io::Result<Cache> {
        let joined = joined(plan);
        // Half of what ledgers may take in memory; the other half is for what has not changed.
        let most = (plan.ledger_capacity.saturating_mul(joined) / 2).clamp(LEAST_UNSETTLED, MOST_UNSETTLED);
        Ok(Cache { reader: store.reader(), keeper: Keeper::start(store)?, most, under_way: None, gone: VecDeque::new(), from: Vec::new() })
    }

    /// Gives a replica its shelves.
    pub fn shelve(&self, replica: &mut Replica, plan: &Plan) {
        replica.shelve(shelves(self.reader.clone()), plan.ledger_on_disk, plan.ledger_capacity / LEDGER_CACHE_SHARE);
    }

    /// Something comes here when a commit is over.
    pub fn answers(&self) -> &Receiver<Result<u64, StoreError>> {
        &self.keeper.answers
    }

    /// Whether nothing more should be applied before something is committed.
    pub fn is_full(&self, replica: &Replica) -> bool {
        replica.unsettled_ledger_changes() >= FULL * self.most
    }

    /// Whether what was read of it can be relied on.
    ///
    /// # Errors
    /// What has failed, for people.
    pub fn usable(&self) -> Result<(), String> {
        self.reader.usable().map_err(|error| failed(&error))
    }

    /// Hears of the commit that is under way, and begins the next one when changes are many or something is to be deleted.
    ///
    /// # Errors
    /// What has failed, for people. Nothing that was computed since may be said.
    pub fn step(&mut self, replica: &mut Replica) -> Result<(), String> {
        match self.keeper.answers.try_recv() {
            Ok(Ok(_)) => {
                if self.under_way.take() == Some(true) {
                    replica.settle_ledger_changes();
                }
            }
            Ok(Err(error)) => return Err(failed(&error)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(failed(&"the thread that commits has ended unexpectedly")),
        }
        self.usable()?;
        self.gone.extend(replica.take_gone());
        if self.under_way.is_some() {
            return Ok(());
        }
        let is_due = replica.unsettled_ledger_changes() >= self.most;
        let changes = if is_due { replica.take_ledger_changes() } else { Vec::new() };
        let batch = self.batch(changes).map_err(|error| failed(&error))?;
        if !batch.is_empty() {
            self.under_way = Some(is_due);
            self.keeper.commit(batch);
        }
        Ok(())
    }

    /// Changes by generation, and deletions of some of what is over.
    fn batch(&mut self, changes: Vec<(u32, Vec<Change>)>) -> Result<Batch, StoreError> {
        let mut batch = Batch::new();
        for (generation, changes) in changes {
            for change in changes {
                let key = [&front(generation)[..], &[change.space.number()], &change.key].concat();
                match change.value {
                    Some(value) => batch.put(SPACE, &key, value),
                    None => batch.delete(SPACE, &key),
                }
            }
        }
        self.delete(&mut batch)?;
        Ok(batch)
    }

    /// Some of what is over. Nothing of it is under way, so what is committed is all of it.
    fn delete(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let Some(generation) = self.gone.front() else { return Ok(()) };
        let (begin, end) = (front(*generation), front(generation.saturating_add(1)));
        // Behind what was deleted before: its traces are not to be walked over again.
        let from = self.from.as_slice().max(&begin);
        let some = self.reader.scan(SPACE, from, Some(&end), DELETED_AT_ONCE)?;
        if some.len() < DELETED_AT_ONCE {
            self.gone.pop_front();
            self.from.clear();
        } else if let Some((last, _)) = some.last() {
            self.from.clone_from(last);
        }
        some.iter().for_each(|(key, _)| batch.delete(SPACE, key));
        Ok(())
    }

    /// Ends the thread and lets go of the directory. Nobody may have a shelf any more.
    pub fn end(self) {
        let Cache { keeper, reader, .. } = self;
        drop(reader);
        drop(keeper.end());
    }
}

impl Member {
    /// Whether what waits for the disk leaves no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.of.cache.as_ref().is_some_and(|cache| cache.is_full(&self.replica))
    }

    pub(super) fn step_cache(&mut self) {
        let replica = &mut self.replica;
        if let Some(Err(reason)) = self.of.cache.as_mut().map(|cache| cache.step(replica)) {
            self.give_up(reason);
        }
    }

    /// Whether joins may be said. If not, the process ends.
    pub(super) fn is_cache_usable(&mut self) -> bool {
        match self.of.cache.as_ref().map_or(Ok(()), Cache::usable) {
            Ok(()) => !self.is_broken,
            Err(reason) => {
                self.give_up(reason);
                false
            }
        }
    }

    fn give_up(&mut self, reason: String) {
        if !self.is_broken {
            self.is_broken = true;
            let _ = self.of.fatal.send(reason);
        }
        self.stop();
    }
}

fn failed(error: &dyn std::fmt::Display) -> String {
    format!(
        "the cache of predictions and labels has failed, so joins cannot be relied on; nothing is lost, as whoever has their partitions next \
         reads them again from Kafka, and the cache begins empty: {error}"
    )
}

/// Models whose labels are joined.
fn joined(plan: &Plan) -> usize {
    plan.models.iter().filter(|model| model.horizon.is_some()).count()
}

/// What keys of a generation begin with, in the order of generations.
fn front(generation: u32) -> [u8; 4] {
    generation.to_be_bytes()
}

fn shelves(reader: Reader) -> Shelves {
    Box::new(move |generation| Arc::new(StoreShelf::under(reader.clone(), SPACE, front(generation).to_vec())) as Arc<dyn Shelf>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Span, Timestamp};
    use crate::join::{Ahead, Bounds, Ledger, Predicted, Prediction, RecordId, Space};

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("driftline-cache-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn open(path: &std::path::Path) -> Cache {
        Cache::new(Store::scratch(path, 1 << 24).unwrap(), &Plan::empty()).unwrap()
    }

    fn prediction() -> Prediction {
        Prediction { ts: Timestamp(0), version: 0, segments: Box::new([]), predicted: Predicted::Value(0.5) }
    }

    fn put(ledger: &mut Ledger, ids: std::ops::Range<u128>) {
        ids.for_each(|id| assert!(ledger.predict(RecordId(id), prediction(), &mut |_| true).is_ok()));
    }

    /// Commits the changes of each generation, and gives how many changes there were.
    fn commit(cache: &mut Cache, changes: Vec<(u32, Vec<Change>)>) -> usize {
        let batch = cache.batch(changes).unwrap();
        let count = batch.len();
        cache.keeper.commit(batch);
        cache.answers().recv().unwrap().unwrap();
        count
    }

    fn bounds() -> Bounds {
        Bounds { horizon: Span(1_000), patience: Span(10), capacity: usize::MAX, cached: 0 }
    }

    fn entries(cache: &Cache, generation: u32) -> Vec<usize> {
        let shelf = shelves(cache.reader.clone())(generation);
        Space::ALL.into_iter().map(|space| shelf.range(space, &[], usize::MAX).len()).collect()
    }

    #[test]
    fn generations_lie_apart_and_one_that_is_over_is_deleted_a_little_at_a_time() {
        let path = scratch("apart");
        let mut cache = open(&path);
        let make = shelves(cache.reader.clone());
        // Numbers whose bytes would run into each other without a fixed length.
        let generations = [0, 1, 255, 256];
        let mut ledgers = generations.map(|generation| Ledger::on(make(generation), bounds()));
        let mut ahead = Ahead::new(Some(make(256)));
        for (count, ledger) in [25_000, 3, 5, 7].into_iter().zip(&mut ledgers) {
            put(ledger, 0..count);
        }
        ahead.put((Timestamp(5), 1, 1), RecordId(9), prediction());
        let mut changes: Vec<_> = generations.into_iter().zip(ledgers.iter_mut().map(Ledger::take_changes)).collect();
        ahead.take_changes(&mut changes[3].1);
        commit(&mut cache, changes);
        ledgers.iter_mut().for_each(Ledger::settle_changes);
        ahead.settle_changes();
        assert!(ledgers.iter().all(|ledger| ledger.held() == 0) && ahead.unsettled() == 0, "nothing is in memory");
        assert_eq!(entries(&cache, 0), [25_000, 25_000, 0, 0, 1, 0]);
        assert_eq!((entries(&cache, 1), entries(&cache, 256)), (vec![3, 3, 0, 0, 1, 0], vec![7, 7, 0, 0, 1, 1]));
        assert_eq!(ahead.take(Timestamp(5)), Some((RecordId(9), prediction())));

        cache.gone.extend([0, 255]);
        let deleted: Vec<usize> = std::iter::from_fn(|| Some(commit(&mut cache, Vec::new())).filter(|count| *count > 0)).collect();
        assert_eq!(deleted, [10_000, 10_000, 10_000, 10_000, 10_000, 1, 11], "none is looked at twice");
        assert_eq!((entries(&cache, 0), entries(&cache, 255)), (vec![0; 6], vec![0; 6]));
        assert_eq!((entries(&cache, 1), entries(&cache, 256)), (vec![3, 3, 0, 0, 1, 0], vec![7, 7, 0, 0, 1, 1]), "the others stand");
        drop((ledgers, ahead, make));
        cache.end();
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_process_begins_with_nothing_and_holds_the_directory_alone() {
        let path = scratch("wiped");
        let mut cache = open(&path);
        let mut ledger = Ledger::on(shelves(cache.reader.clone())(0), bounds());
        put(&mut ledger, 0..10);
        let changes = vec![(0, ledger.take_changes())];
        commit(&mut cache, changes);
        let error = Store::scratch(&path, 1 << 24).unwrap_err().to_string();
        assert!(error.contains("another driftline process uses this state directory"), "{error}");
        assert_eq!(entries(&cache, 0)[0], 10, "whoever is refused deletes nothing");
        drop(ledger);
        cache.end();
        // What is there may be whatever a process left that was killed.
        std::fs::write(path.join("store/version"), "nonsense").unwrap();
        let cache = open(&path);
        assert_eq!(entries(&cache, 0), [0; 6]);
        cache.end();
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_not_relied_on() {
        let path = scratch("trouble");
        let mut cache = open(&path);
        let mut strange = Batch::new();
        strange.put(SPACE, &[&front(0)[..], &[Space::Record.number()], &1u128.to_be_bytes()].concat(), vec![9]);
        cache.keeper.commit(strange);
        cache.answers().recv().unwrap().unwrap();
        assert_eq!(cache.usable(), Ok(()));
        let mut ledger = Ledger::on(shelves(cache.reader.clone())(0), bounds());
        put(&mut ledger, 1..2);
        let reason = cache.usable().unwrap_err();
        assert!(reason.contains("joins cannot be relied on") && reason.contains("is not what a ledger writes"), "{reason}");
        let changes = vec![(0, ledger.take_changes())];
        let refused = cache.batch(changes).map(|batch| {
            cache.keeper.commit(batch);
            cache.answers().recv().unwrap().is_err()
        });
        assert!(refused.unwrap_or(true), "no commit passes any more");
        drop(ledger);
        cache.end();
        std::fs::remove_dir_all(path).unwrap();
    }
}
