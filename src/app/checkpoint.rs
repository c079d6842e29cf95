//! What is kept between two runs: state, positions and outbox, in pieces, as one atom.
//!
//! What belongs to a model is stored under a number of its own ([`super::numbering`]). Where the configuration has changed,
//! one commit says which numbers are whose from then on and what the models that begin know of the past; only then is deleted
//! what nobody owns any more, which goes on at the next start if it is interrupted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::state::partition::{partitions, source_key, source_of};
use crate::engine::state::{Change, Part, Piece, Unreadable, Written};
use crate::engine::{Evaluator, Plan};
use crate::event::{NextOffset, SourceId, Span, Timestamp, TopicRole};
use crate::join::{Bounds, Ledger};
use crate::rule::RuleSet;
use crate::source::kafka::Routing;
use crate::source::{Registry, SourceInfo};
use crate::store::{Batch, Reader, Store, StoreError};

use super::numbering::{Numbering, Renewal, layouts};
use super::shelf::{PaneShelf, StoreShelf};
use super::worker::Snapshot;

/// Number of the format; another is refused, never guessed at.
pub const FORMAT: u32 = 7;

/// Entries of ledgers that are deleted at once where a model is no more: some MB.
const ENTRIES_AT_ONCE: usize = 50_000;
/// Other pieces that are: panes are larger.
const PIECES_AT_ONCE: usize = 5_000;
/// The part of what a ledger may hold in memory that is for records which are on disk as well.
pub(super) const LEDGER_CACHE_SHARE: usize = 2;

/// Why there is no state to go on with.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A piece is not what is written there.
    #[error("{0}; move the state directory away to begin again from Kafka")]
    Unreadable(#[from] Unreadable),
    /// A piece cannot be written.
    #[error("the state cannot be stored: {0}")]
    Unwritable(String),
}

/// A source partition as it is stored. Sources are numbered by their keys.
#[derive(Debug, Serialize, Deserialize)]
struct StoredSource {
    topic: String,
    partition: i32,
    role: TopicRole,
    next: Option<NextOffset>,
    /// The broker's id of the topic that `next` belongs to.
    topic_id: Option<Arc<str>>,
}

/// The pieces that belong to no engine: the models' numbers, the sources and the outbox.
///
/// # Errors
/// Where one cannot be encoded.
pub fn own_pieces(numbering: &Numbering, sources: &[SourceInfo], outbox: Vec<u8>) -> Result<Vec<Piece>, String> {
    let encoded = |result: postcard::Result<Vec<u8>>| result.map_err(|error| error.to_string());
    let mut pieces = vec![plan_piece(numbering)?, Piece { part: Part::Outbox, key: Vec::new(), value: outbox }];
    for source in sources {
        let stored = StoredSource {
            topic: source.topic.clone(),
            partition: source.partition,
            role: source.role,
            next: source.next,
            topic_id: source.topic_id.clone(),
        };
        pieces.push(Piece { part: Part::Topic, key: source_key(source.id), value: encoded(postcard::to_stdvec(&stored))? });
    }
    Ok(pieces)
}

fn plan_piece(numbering: &Numbering) -> Result<Piece, String> {
    let value = postcard::to_stdvec(numbering).map_err(|error| error.to_string())?;
    Ok(Piece { part: Part::Plan, key: Vec::new(), value })
}

/// One atom of everything that has changed, as it is stored.
#[must_use]
pub fn batch(changes: impl IntoIterator<Item = Change>) -> Batch {
    let mut batch = Batch::new();
    for Change { part, key, value } in changes {
        match value {
            Some(value) => batch.put(part.number(), &key, value),
            None => batch.delete(part.number(), &key),
        }
    }
    batch
}

/// What a run starts from.
#[derive(Debug)]
pub struct Restored {
    /// Source partitions that are known.
    pub registry: Registry,
    /// For each worker its partitions.
    pub snapshots: Vec<Snapshot>,
    /// Windows, joins and alerts.
    pub evaluator: Evaluator,
    /// Deliveries that wait.
    pub outbox: Vec<u8>,
    /// What is stored of all that workers do not say.
    pub written: Written,
    /// The numbers under which models are stored.
    pub numbering: Numbering,
    /// What is different from the run before.
    pub renewal: Renewal,
}

impl Restored {
    /// Goes on from what is stored, or begins where nothing is. Models whose configuration has changed begin anew, and what
    /// nobody owns any more is deleted. `now` is the wall clock.
    ///
    /// # Errors
    /// Where the store cannot be used or holds something else.
    pub fn read(
        store: &mut Store,
        plan: &Arc<Plan>,
        rules: &Arc<RuleSet>,
        workers: usize,
        now: Timestamp,
    ) -> Result<Restored, CheckpointError> {
        let mut restored = Restored::adopt(store, plan, rules, workers, now)?;
        restored.sweep(store)?;
        Ok(restored)
    }

    /// Takes what is stored for the plan of now. Where that is another one, a commit says so.
    fn adopt(
        store: &mut Store,
        plan: &Arc<Plan>,
        rules: &Arc<RuleSet>,
        workers: usize,
        now: Timestamp,
    ) -> Result<Restored, CheckpointError> {
        let all = |part: Part| -> Result<Vec<Piece>, StoreError> {
            let stored = store.all(part.number())?;
            Ok(stored.into_iter().map(|(key, value)| Piece { part, key, value }).collect())
        };
        let [stored_plan, topics, outbox] = [all(Part::Plan)?, all(Part::Topic)?, all(Part::Outbox)?];
        let before = stored_plan.first().map(|piece| postcard::from_bytes(&piece.value).map_err(|error| piece.unreadable(&error)));
        let before: Option<Numbering> = before.transpose()?;
        if let (None, Some(topic)) = (&before, topics.first()) {
            return Err(topic.unreadable("it is not said of which models the state is").into());
        }
        let followed = before.clone().unwrap_or_default().follow(layouts(plan));
        let (numbering, renewal) = followed.ok_or_else(|| CheckpointError::Unwritable("there are more models than numbers".into()))?;
        // Without a run before nothing is different from it.
        let renewal = if before.is_some() { renewal } else { Renewal::default() };
        let pieces = |part: Part| -> Result<Vec<Piece>, CheckpointError> {
            let loaded = all(part)?.into_iter().map(|piece| numbering.loaded(piece));
            Ok(loaded.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        };
        let mut written = Written::default();
        [&stored_plan, &topics, &outbox].into_iter().flatten().for_each(|piece| written.note(piece));

        let mut registry = Registry::default();
        let mut snapshots: Vec<Snapshot> = (0..workers).map(|_| Snapshot::default()).collect();
        for piece in &topics {
            let source: StoredSource = postcard::from_bytes(&piece.value).map_err(|error| piece.unreadable(&error))?;
            let id = registry.register(&source.topic, source.partition, source.role);
            if id != source_of(piece)? {
                return Err(piece.unreadable("sources are not numbered one by one").into());
            }
            if let Some(topic_id) = &source.topic_id {
                registry.set_topic_id(&source.topic, topic_id);
            }
            if let Some(next) = source.next {
                registry.set_next(id, next);
                if let Some(snapshot) = snapshots.get_mut(Routing::worker(source.partition, workers)) {
                    snapshot.positions.insert(id, next);
                }
            }
        }
        let mut of_workers = pieces(Part::Partition)?;
        of_workers.extend(pieces(Part::Open)?);
        let mut states = partitions(&of_workers)?;
        for piece in &of_workers {
            let id = source_of(piece)?;
            let source = registry.get(id).ok_or_else(|| piece.unreadable("there is no such source"))?;
            let Some(snapshot) = snapshots.get_mut(Routing::worker(source.partition, workers)) else { continue };
            snapshot.said.note(piece);
            snapshot.partitions.extend(states.remove(&id).map(|state| (id, state)));
        }
        let mut of_evaluator = Vec::new();
        for part in [Part::Source, Part::Model, Part::Alerts] {
            of_evaluator.extend(pieces(part)?);
        }
        of_evaluator.iter().for_each(|piece| written.note(piece));
        of_evaluator.extend(pieces(Part::Panes)?);
        let mut evaluator = Evaluator::restore(Arc::clone(plan), Arc::clone(rules), &of_evaluator)?;
        let reader = store.reader();
        // Every model of the plan has a number.
        let number = |place: u16| numbering.number(place).unwrap_or(u16::MAX);
        evaluator.shelve(
            &|place| Arc::new(StoreShelf::new(reader.clone(), number(place))),
            plan.ledger_on_disk,
            plan.ledger_capacity / LEDGER_CACHE_SHARE,
        );
        evaluator.shelve_pairs(&|place| Arc::new(PaneShelf::new(reader.clone(), number(place))));
        let outbox = outbox.into_iter().next().map(|piece| piece.value).unwrap_or_default();
        let mut restored = Restored { registry, snapshots, evaluator, outbox, written, numbering, renewal };
        if !restored.renewal.is_empty() {
            let retired_before = before.unwrap_or_default().retired().clone();
            let given_up = restored.numbering.retired().difference(&retired_before);
            restored.evaluator.give_up_labels(given_up.map(|number| waiting_labels(&reader, *number)).sum());
            restored.renew(store, plan, now)?;
        }
        // What a shelf has said so far must be true.
        store.reader().usable()?;
        Ok(restored)
    }

    /// Lets the models begin that are not as they were, and stores whose which number is from now on: as one.
    fn renew(&mut self, store: &mut Store, plan: &Plan, now: Timestamp) -> Result<(), CheckpointError> {
        let place = |name: &String| plan.by_name.get(name.as_str()).copied();
        let Renewal { changed, added, gone } = &self.renewal;
        changed.iter().filter_map(place).for_each(|number| self.evaluator.begin_anew(number));
        added.iter().filter_map(place).for_each(|number| self.evaluator.begin_amid(number, now + plan.future_tolerance));
        gone.iter().for_each(|name| self.evaluator.forget_model(name));
        let own = own_pieces(&self.numbering, self.registry.all(), self.outbox.clone());
        let batch = own.and_then(|own| cut(&self.numbering, &mut self.written, &mut self.evaluator, own, []));
        store.commit(batch.map_err(CheckpointError::Unwritable)?)?;
        self.evaluator.settle_changes();
        Ok(())
    }

    /// Deletes what is stored under numbers that are retired, some at a time, and then says that they are free.
    fn sweep(&mut self, store: &mut Store) -> Result<(), CheckpointError> {
        if self.numbering.retired().is_empty() {
            return Ok(());
        }
        let is_retired = |key: &[u8]| {
            let number = key.get(4..).and_then(|rest| rest.first_chunk()).map(|number| u16::from_be_bytes(*number));
            number.is_some_and(|number| self.numbering.retired().contains(&number))
        };
        let open: Vec<Vec<u8>> = store.all(Part::Open.number())?.into_iter().map(|(key, _)| key).filter(|key| is_retired(key)).collect();
        for keys in open.chunks(PIECES_AT_ONCE) {
            delete(store, Part::Open, keys.to_vec())?;
        }
        for number in self.numbering.retired() {
            for (part, most) in [(Part::Panes, PIECES_AT_ONCE), (Part::Model, PIECES_AT_ONCE), (Part::Ledger, ENTRIES_AT_ONCE)] {
                let end = number.checked_add(1).map(u16::to_be_bytes);
                loop {
                    let end = end.as_ref().map(<[u8; 2]>::as_slice);
                    let some = store.reader().scan(part.number(), &number.to_be_bytes(), end, most)?;
                    if some.is_empty() {
                        break;
                    }
                    delete(store, part, some.into_iter().map(|(key, _)| key).collect())?;
                }
            }
        }
        self.numbering.release_retired();
        let plan = plan_piece(&self.numbering).map_err(CheckpointError::Unwritable)?;
        self.written.note(&plan);
        store.commit(batch([Change { part: plan.part, key: plan.key, value: Some(plan.value) }]))?;
        Ok(())
    }
}

fn delete(store: &mut Store, part: Part, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
    store.commit(batch(keys.into_iter().map(|key| Change { part, key, value: None }))).map(drop)
}

/// Labels that wait in the ledger that is stored under a number.
fn waiting_labels(reader: &Reader, number: u16) -> u64 {
    // Nothing is joined in it: its bounds are nobody's.
    let bounds = Bounds { horizon: Span(0), patience: Span(0), capacity: 0, cached: 0 };
    Ledger::on(Arc::new(StoreShelf::new(reader.clone(), number)), bounds).waiting_labels()
}

/// Everything that is to be written of one moment.
///
/// # Errors
/// Where something cannot be encoded, or belongs to no model.
pub fn cut(
    numbering: &Numbering,
    written: &mut Written,
    evaluator: &mut Evaluator,
    own: Vec<Piece>,
    workers: impl IntoIterator<Item = Snapshot>,
) -> Result<Batch, String> {
    let mut pieces = own;
    pieces.extend(evaluator.pieces()?);
    let mut changes = written.changes(pieces);
    changes.extend(workers.into_iter().flat_map(|snapshot| snapshot.changes));
    changes.extend(evaluator.take_pane_changes());
    changes.extend(evaluator.take_label_changes());
    Ok(batch(changes.into_iter().map(|change| numbering.stored(change)).collect::<Result<Vec<_>, _>>()?))
}

/// Positions that workers say.
pub fn reach(sources: &mut [SourceInfo], positions: &BTreeMap<SourceId, NextOffset>) {
    for (source, next) in positions {
        if let Some(info) = sources.get_mut(source.0 as usize) {
            info.next = Some(*next);
        }
    }
}

#[cfg(test)]
mod tests;
