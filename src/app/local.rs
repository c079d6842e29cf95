//! A run with local state: the store, workers on what it holds, the consumer, and the owner of the evaluator.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::kafka::describe;
use crate::rule::RuleSet;
use crate::source::kafka::{Consumer, Routing};
use crate::store::{Opened, Store};

use super::checkpoint::{FORMAT, Restored};
use super::clock;
use super::coordinator::{Control, Coordinator};
use super::disk;
use super::keeper::Keeper;
use super::publish::Publisher;
use super::run::{NOTIFICATIONS, RunError, kafka_settings, worker_count};
use super::worker;

/// The part of `limits.memory` that the store may take for its caches and for changes on their way to its tables.
pub(super) const STORE_SHARE: u64 = 8;

/// Opens the store and reads what a run goes on from.
///
/// # Errors
/// A store that cannot be used.
pub(super) fn restore(config: &Config, plan: &Arc<Plan>, rules: &Arc<RuleSet>, workers: usize) -> Result<(Store, Restored), RunError> {
    disk::look(config, plan);
    let Opened { mut store, damage } = Store::open(&config.state.path, FORMAT, config.limits.memory / STORE_SHARE)?;
    if let Some(damage) = damage {
        tracing::error!("{damage}");
    }
    let restored = Restored::read(&mut store, plan, rules, workers)?;
    if restored.is_changed {
        tracing::warn!("models, windows or baselines have changed: positions are kept, open windows start anew");
    }
    Ok((store, restored))
}

/// Everything that local state needs: workers on what was stored, the consumer, and the owner of the evaluator.
#[allow(clippy::too_many_arguments)] // Said once, at the one place that starts it.
pub(super) fn coordinator(
    config: &Config,
    plan: &Arc<Plan>,
    rules: Arc<RuleSet>,
    restored: Restored,
    store: Store,
    publisher: Publisher,
    control: crossbeam_channel::Receiver<Control>,
    heartbeat: Arc<AtomicI64>,
    fatal: crossbeam_channel::Sender<String>,
) -> Result<Coordinator, RunError> {
    let workers = worker_count(config);
    let (notifications, notified) = crossbeam_channel::bounded(NOTIFICATIONS);
    let mut batch_senders = Vec::new();
    let (empties, empties_out) = crossbeam_channel::bounded(workers * worker::QUEUE * 2);
    let mut running = Vec::new();
    let Restored { registry, snapshots, evaluator, written, .. } = restored;
    for (number, snapshot) in snapshots.into_iter().enumerate() {
        let (sender, receiver) = crossbeam_channel::bounded(worker::QUEUE);
        batch_senders.push(sender);
        running.push(worker::spawn(
            number,
            Arc::clone(plan),
            registry.topics(),
            snapshot,
            receiver,
            empties.clone(),
            None,
            publisher.letters.clone(),
        )?);
    }
    drop(empties);
    let routing = Routing { workers: batch_senders, empties: empties_out };
    let consumer = Consumer::start(kafka_settings(config, plan)?, registry.clone(), routing, notifications, clock::now)
        .map_err(|error| RunError::Kafka(describe(&error)))?;
    Ok(Coordinator {
        plan: Arc::clone(plan),
        rules,
        evaluator,
        workers: running,
        consumer: Some(consumer),
        notifications: notified,
        control,
        keeper: Keeper::start(store)?,
        written,
        checkpoint_every: config.state.checkpoint_interval,
        publisher,
        sources: registry.all().to_vec(),
        now: clock::now,
        heartbeat,
        fatal,
    })
}
