//! Partitions that change hands between replicas, told to the workers in line with the records.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::source::batch::{Batch, Turn};

use super::context::Context;
use super::poll::Routing;

/// Puts changes of hands, and positions without a record, in line: behind every record that was read before, in front of every
/// record that comes after.
#[cold]
#[allow(clippy::disallowed_methods)] // the age of a batch
pub(super) fn hand_turns(context: &Context, routing: &Routing, filling: &mut [Batch], since: &mut [Option<Instant>]) {
    context.has_turns.store(false, Ordering::Relaxed);
    let turns = std::mem::take(&mut *context.turns.lock().unwrap_or_else(PoisonError::into_inner));
    for turn in turns {
        let id = match &turn {
            Turn::Resume { source, .. } => source.id,
            Turn::Forget(id) => *id,
        };
        let Some(partition) = context.registry().get(id).map(|source| source.partition) else { continue };
        let worker = Routing::worker(partition, filling.len());
        let (Some(batch), Some(channel)) = (filling.get_mut(worker), routing.workers.get(worker)) else { continue };
        if batch.records().next().is_some() {
            // It waits for the worker: the turn must not overtake these records.
            let _ = channel.send(std::mem::take(batch));
        }
        batch.turns.push(turn);
        if let Some(since) = since.get_mut(worker) {
            *since = Some(Instant::now());
        }
    }
    for (id, next) in std::mem::take(&mut *context.begun.lock().unwrap_or_else(PoisonError::into_inner)) {
        let Some(partition) = context.registry().get(id).map(|source| source.partition) else { continue };
        let worker = Routing::worker(partition, filling.len());
        if let (Some(batch), Some(since)) = (filling.get_mut(worker), since.get_mut(worker)) {
            batch.push_move(id, next);
            since.get_or_insert_with(Instant::now);
        }
    }
}
