//! From the configuration to the settings of the exchange between replicas.

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::event::Span;
use crate::exchange::{RECORD_BYTES, Settings};

use super::run::{RunError, kafka_connection};

/// How much longer than any window needs them snapshots are kept: what an outage may last before state is lost to it.
const RETENTION_SLACK: Span = Span(3 * Span::DAY.0);
/// The part of `limits.memory` for what is on its way out, and again for what each of three consumers fetched ahead.
const MEMORY_SHARE: u64 = 32;
/// Least of that, in KiB: some records of usual size.
const LEAST_QUEUE_KIB: u64 = 1024;
/// Most of that, in KiB: more is never on its way.
const MOST_QUEUE_KIB: u64 = 64 * 1024;

/// How long what is said of panes must be kept.
#[must_use]
pub fn retention(plan: &Plan) -> Span {
    let needed = plan.models.iter().map(|model| {
        let windows = Span(2 * model.longest_window().0) + model.longest_reach();
        windows + model.lateness + model.horizon.unwrap_or_default()
    });
    needed.max().unwrap_or_default() + RETENTION_SLACK
}

/// What may be on its way out, and what each consumer may have fetched ahead, in KiB.
pub(super) fn queue_kib(config: &Config) -> u64 {
    (config.limits.memory / MEMORY_SHARE / 1024).clamp(LEAST_QUEUE_KIB, MOST_QUEUE_KIB)
}

/// Settings of the exchange, where the configuration wants one.
///
/// # Errors
/// Properties of the connection that cannot be used.
pub fn settings(config: &Config, plan: &Plan) -> Result<Option<Settings>, RunError> {
    let Some(cluster) = config.state.cluster.as_ref() else { return Ok(None) };
    Ok(Some(Settings {
        connection: kafka_connection(config)?,
        instance_id: config.kafka.instance_id.clone(),
        group_id: config.kafka.group_id.clone(),
        panes: cluster.panes.clone(),
        owners: cluster.owners.clone(),
        partitions: cluster.partitions,
        replication: cluster.replication,
        retention: retention(plan),
        record_bytes: RECORD_BYTES,
        queue_kib: usize::try_from(queue_kib(config)).unwrap_or(usize::MAX),
    }))
}
