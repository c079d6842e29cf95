//! What is kept between two runs: state, positions and outbox, in pieces, as one atom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::state::partition::{partitions, source_key, source_of};
use crate::engine::state::{Change, Part, Piece, Unreadable, Written};
use crate::engine::{Evaluator, Plan};
use crate::event::{NextOffset, SourceId, TopicRole};
use crate::rule::RuleSet;
use crate::source::kafka::Routing;
use crate::source::{Registry, SourceInfo};
use crate::store::{Batch, Store, StoreError};

use super::shelf::{PaneShelf, StoreShelf};
use super::worker::Snapshot;

/// Number of the format; another is refused, never guessed at.
pub const FORMAT: u32 = 6;

/// Pieces that are deleted at once where panes are counted over something else: some MB.
const DELETED_AT_ONCE: usize = 50_000;
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

/// What panes under this plan are counted over.
#[must_use]
pub fn fingerprint(plan: &Plan) -> Vec<(String, Vec<u64>)> {
    let of = |model: &crate::engine::ModelPlan| {
        let mut numbers: Vec<u64> = model.baselines.iter().map(|baseline| baseline.layout.id).collect();
        numbers.push(u64::try_from(model.slice.0).unwrap_or(0));
        numbers.extend(model.windows.iter().flat_map(|window| [window.size.0, window.slide.0, window.offset.0]).map(i64::unsigned_abs));
        numbers.push(model.horizon.map_or(0, |horizon| horizon.0.unsigned_abs()));
        // Segments are stored by their numbers.
        numbers.push(model.fingerprint());
        (model.name.to_string(), numbers)
    };
    plan.models.iter().map(of).collect()
}

/// The pieces that belong to no engine: the plan's fingerprint, the sources and the outbox.
///
/// # Errors
/// Where one cannot be encoded.
pub fn own_pieces(plan: &Plan, sources: &[SourceInfo], outbox: Vec<u8>) -> Result<Vec<Piece>, String> {
    let encoded = |result: postcard::Result<Vec<u8>>| result.map_err(|error| error.to_string());
    let mut pieces = vec![
        Piece { part: Part::Plan, key: Vec::new(), value: encoded(postcard::to_stdvec(&fingerprint(plan)))? },
        Piece { part: Part::Outbox, key: Vec::new(), value: outbox },
    ];
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

/// One atom of everything that has changed.
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
    /// Whether panes were counted over something else: positions and outbox are kept, the windows start anew.
    pub is_changed: bool,
}

impl Restored {
    /// Goes on from what is stored, or begins where nothing is.
    ///
    /// # Errors
    /// Where the store cannot be read or holds something else.
    pub fn read(store: &mut Store, plan: &Arc<Plan>, rules: &Arc<RuleSet>, workers: usize) -> Result<Restored, CheckpointError> {
        let stored_plan = pieces(store, Part::Plan)?;
        let topics = pieces(store, Part::Topic)?;
        let same = stored_plan
            .first()
            .is_some_and(|piece| postcard::from_bytes(&piece.value).is_ok_and(|stored: Fingerprint| stored == fingerprint(plan)));
        // The fingerprint goes first: should this be interrupted, the rest is deleted at the next start.
        let is_changed = !same && clear(store)?;
        let outbox = pieces(store, Part::Outbox)?;
        let mut written = Written::default();
        [&stored_plan, &topics, &outbox]
            .into_iter()
            .flatten()
            .filter(|piece| same || !piece.part.is_of_plan())
            .for_each(|piece| written.note(piece));

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
        let mut of_workers = pieces(store, Part::Partition)?;
        of_workers.extend(pieces(store, Part::Open)?);
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
            of_evaluator.extend(pieces(store, part)?);
        }
        of_evaluator.iter().for_each(|piece| written.note(piece));
        of_evaluator.extend(pieces(store, Part::Panes)?);
        let mut evaluator = Evaluator::restore(Arc::clone(plan), Arc::clone(rules), &of_evaluator)?;
        let reader = store.reader();
        evaluator.shelve(
            &|model| Arc::new(StoreShelf::new(reader.clone(), model)),
            plan.ledger_on_disk,
            plan.ledger_capacity / LEDGER_CACHE_SHARE,
        );
        evaluator.shelve_pairs(&|model| Arc::new(PaneShelf::new(reader.clone(), model)));
        let outbox = outbox.into_iter().next().map(|piece| piece.value).unwrap_or_default();
        // What a shelf has said so far must be true.
        store.reader().usable()?;
        Ok(Restored { registry, snapshots, evaluator, outbox, written, is_changed })
    }
}

type Fingerprint = Vec<(String, Vec<u64>)>;

fn pieces(store: &Store, part: Part) -> Result<Vec<Piece>, StoreError> {
    let stored = store.all(part.number())?;
    Ok(stored.into_iter().map(|(key, value)| Piece { part, key, value }).collect())
}

/// Deletes everything that is worth nothing under another plan. Says whether there was anything.
fn clear(store: &mut Store) -> Result<bool, StoreError> {
    let mut is_anything = false;
    for part in Part::ALL.into_iter().filter(|part| part.is_of_plan()) {
        loop {
            let some = store.reader().scan(part.number(), &[], None, DELETED_AT_ONCE)?;
            if some.is_empty() {
                break;
            }
            is_anything = true;
            store.commit(batch(some.into_iter().map(|(key, _)| Change { part, key, value: None })))?;
        }
    }
    Ok(is_anything)
}

/// Everything that is to be written of one moment.
///
/// # Errors
/// Where something cannot be encoded.
pub fn cut(
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
    Ok(batch(changes))
}

/// Positions that workers say.
pub fn reach(sources: &mut [SourceInfo], positions: &BTreeMap<SourceId, NextOffset>) {
    for (source, next) in positions {
        if let Some(info) = sources.get_mut(source.0 as usize) {
            info.next = Some(*next);
        }
    }
}
