//! What is kept between two runs: state, positions and outbox as one atom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::shard::PartitionState;
use crate::engine::{Evaluator, Plan};
use crate::event::{NextOffset, SourceId, TopicRole};
use crate::source::kafka::Routing;
use crate::source::{Registry, SourceInfo};

use super::worker::Snapshot;

/// Number of the format; another is refused, never guessed at.
pub const FORMAT: u32 = 3;

/// A source partition of the checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredSource {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What it carries.
    pub role: TopicRole,
    /// Where reading goes on.
    pub next: Option<NextOffset>,
    /// Open panes and progress.
    pub state: Option<PartitionState>,
}

/// One atom of state. Sources are numbered by their place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What the panes were counted over: model names and bin layouts. Another is not gone on with.
    pub fingerprint: Vec<(String, Vec<u64>)>,
    /// Source partitions by number.
    pub sources: Vec<StoredSource>,
    /// Windows, joins and alerts.
    pub evaluator: Evaluator,
    /// Deliveries that wait, in the notifier's own form.
    pub outbox: Vec<u8>,
}

/// What panes under this plan are counted over.
#[must_use]
pub fn fingerprint(plan: &Plan) -> Vec<(String, Vec<u64>)> {
    let of = |model: &crate::engine::ModelPlan| {
        let mut numbers: Vec<u64> = model.baselines.iter().map(|baseline| baseline.layout.id).collect();
        numbers.push(u64::try_from(model.slice.0).unwrap_or(0));
        numbers.extend(model.windows.iter().flat_map(|window| [window.size.0, window.slide.0, window.offset.0]).map(i64::unsigned_abs));
        numbers.push(model.horizon.map_or(0, |horizon| horizon.0.unsigned_abs()));
        (model.name.to_string(), numbers)
    };
    plan.models.iter().map(of).collect()
}

impl Checkpoint {
    /// Puts an atom together from what everybody says of the same moment.
    #[must_use]
    pub fn assemble(plan: &Plan, sources: &[SourceInfo], snapshots: Vec<Snapshot>, evaluator: Evaluator, outbox: Vec<u8>) -> Checkpoint {
        let mut partitions = BTreeMap::new();
        let mut positions = BTreeMap::new();
        for snapshot in snapshots {
            partitions.extend(snapshot.partitions);
            positions.extend(snapshot.positions);
        }
        let sources = sources
            .iter()
            .map(|source| StoredSource {
                topic: source.topic.clone(),
                partition: source.partition,
                role: source.role,
                next: positions.get(&source.id).copied().or(source.next),
                state: partitions.remove(&source.id),
            })
            .collect();
        Checkpoint { fingerprint: fingerprint(plan), sources, evaluator, outbox }
    }

    /// Takes the atom apart for `workers` workers.
    #[must_use]
    pub fn distribute(sources: Vec<StoredSource>, workers: usize) -> (Registry, Vec<Snapshot>) {
        let mut registry = Registry::default();
        let mut snapshots: Vec<Snapshot> = (0..workers).map(|_| Snapshot::default()).collect();
        for source in sources {
            let id: SourceId = registry.register(&source.topic, source.partition, source.role);
            let Some(snapshot) = snapshots.get_mut(Routing::worker(source.partition, workers)) else { continue };
            if let Some(next) = source.next {
                registry.set_next(id, next);
                snapshot.positions.insert(id, next);
            }
            if let Some(state) = source.state {
                snapshot.partitions.insert(id, state);
            }
        }
        (registry, snapshots)
    }
}

/// What a run starts from.
#[derive(Debug, Default)]
pub struct Restored {
    /// Source partitions that are known.
    pub registry: Registry,
    /// For each worker its partitions.
    pub snapshots: Vec<Snapshot>,
    /// Windows, joins and alerts.
    pub evaluator: Option<Evaluator>,
    /// Deliveries that wait.
    pub outbox: Vec<u8>,
}

impl Restored {
    /// A start without a checkpoint.
    #[must_use]
    pub fn nothing(workers: usize) -> Restored {
        Restored { snapshots: (0..workers).map(|_| Snapshot::default()).collect(), ..Restored::default() }
    }

    /// Goes on from a checkpoint. Where its panes were counted over other bins or windows, positions and outbox are kept
    /// and the windows start anew; the second value says so.
    #[must_use]
    pub fn from(checkpoint: Checkpoint, plan: &Arc<Plan>, workers: usize) -> (Restored, bool) {
        let same = checkpoint.fingerprint == fingerprint(plan);
        let (registry, mut snapshots) = Checkpoint::distribute(checkpoint.sources, workers);
        if !same {
            snapshots.iter_mut().for_each(|snapshot| snapshot.partitions.clear());
        }
        let evaluator = same.then_some(checkpoint.evaluator);
        (Restored { registry, snapshots, evaluator, outbox: checkpoint.outbox }, !same)
    }
}
