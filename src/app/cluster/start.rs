//! Everything a replica needs is started here: topics, directory, consumers, workers.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::cluster::wire::SourceName;
use crate::engine::cluster::{Addresses, Directory};
use crate::exchange::{self, Followed, Follower, Owners, topic};
use crate::rule::RuleSet;
use crate::source::kafka::{Consumer, Resume, Routing};
use crate::source::{Registry, Topics};
use crate::store::Store;

use super::super::clock;
use super::super::coordinator::Control;
use super::super::publish::Publisher;
use super::super::run::{NOTIFICATIONS, RunError, kafka_settings};
use super::super::worker::{self, Snapshot};
use super::cache::Cache;
use super::member::{Member, Parts};
use super::partitions::look_up;

/// How long the directory may take to hear what was said last, before the log says that it is waited for. Whoever wants to
/// stop waits as long.
const BARRIER_PATIENCE: Duration = Duration::from_secs(2);

/// What is there already when a replica starts.
pub struct Surroundings {
    /// The configuration.
    pub config: Arc<Config>,
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// Alert rules.
    pub rules: Arc<RuleSet>,
    /// Number of workers.
    pub workers: usize,
    /// Where results go.
    pub publisher: Publisher,
    /// What is told from outside.
    pub control: Receiver<Control>,
    /// When the member last stepped.
    pub heartbeat: Arc<AtomicI64>,
    /// Told when the member ends by itself: why.
    pub fatal: Sender<String>,
    /// Where predictions and labels wait, where not in memory.
    pub cache: Option<Store>,
}

/// Starts a replica up to the point where it can be run. It talks to Kafka and may take a while.
///
/// # Errors
/// Topics that cannot be used, clients that librdkafka refuses, threads the system does not give.
pub fn start(surroundings: Surroundings) -> Result<Member, RunError> {
    let Surroundings { config, plan, rules, workers, publisher, control, heartbeat, fatal, cache } = surroundings;
    let Some(settings) = super::super::exchange::settings(&config, &plan)? else {
        return Err(RunError::Fatal("state.mode is not cluster".into()));
    };
    let prepared = topic::prepare(&settings).map_err(|error| RunError::Exchange(error.to_string()))?;
    prepared.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let addresses = Arc::new(Addresses::new(&plan, prepared.partitions));
    let directory = Arc::new(Mutex::new(Directory::new(Arc::clone(&plan), Arc::clone(&addresses))));
    let heard = Arc::clone(&directory);
    let follower = Follower::start(&settings, prepared.partitions, move |Followed { partition, offset, key, value }| {
        let mut directory = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = directory.hear(partition, key, value) {
            tracing::warn!(partition, offset, %error, "a record of the panes topic is not understood");
        }
    });
    let follower = follower.map_err(|error| kafka_error(&error))?;
    let sender = exchange::Publisher::start(&settings).map_err(|error| kafka_error(&error))?;
    let has_labels = plan.models.iter().any(|model| model.horizon.is_some());
    let inputs = look_up(&config, &settings, has_labels)?;

    let (notifications, notified) = crossbeam_channel::bounded(NOTIFICATIONS);
    let (empties, empties_out) = crossbeam_channel::bounded(workers * worker::QUEUE * 2);
    let registry = Registry::default();
    let (mut channels, mut running) = (Vec::new(), Vec::new());
    for number in 0..workers {
        let (batches, batches_in) = crossbeam_channel::bounded(worker::QUEUE);
        channels.push(batches);
        let topics: Topics = registry.topics();
        let homes = Some(Arc::clone(&addresses));
        running.push(worker::spawn(
            number,
            Arc::clone(&plan),
            topics,
            Snapshot::default(),
            batches_in,
            empties.clone(),
            homes,
            publisher.letters.clone(),
        )?);
    }
    drop(empties);
    let mut source = kafka_settings(&config, &plan)?;
    let headers = source.headers;
    let is_stopping = Arc::new(AtomicBool::new(false));
    source.resume = Some(resume(follower, Arc::clone(&directory), Arc::clone(&is_stopping)));
    let routing = Routing { workers: channels, empties: empties_out };
    let consumer = Consumer::start(source, registry, routing, notifications, clock::now).map_err(|error| kafka_error(&error))?;
    let owners = Owners::start(&settings).map_err(|error| kafka_error(&error))?;
    let cache = cache.map(|store| Cache::new(store, &plan)).transpose()?;
    Ok(Member::new(Parts {
        plan,
        rules,
        addresses,
        instance: instance(),
        workers: running,
        consumer,
        notifications: notified,
        control,
        publisher,
        exchange: sender,
        owners,
        directory,
        inputs,
        reading: settings,
        headers,
        every: config.state.checkpoint_interval,
        now: clock::now,
        heartbeat,
        fatal,
        cache,
        is_stopping,
    }))
}

/// Where to go on with partitions: what was said of them last. Without that nothing can be counted rightly, so it is waited
/// for as long as it takes.
fn resume(follower: Follower, directory: Arc<Mutex<Directory>>, is_stopping: Arc<AtomicBool>) -> Resume {
    let follower = Mutex::new(follower);
    Resume(Arc::new(move |partitions: &[(String, i32)]| {
        if partitions.is_empty() {
            return Vec::new();
        }
        let follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
        while let Err(error) = follower.barrier(BARRIER_PATIENCE) {
            if is_stopping.load(Ordering::Relaxed) {
                // Nothing is read any more.
                return vec![None; partitions.len()];
            }
            tracing::warn!(error, "the panes topic cannot be read to its end; partitions wait for it");
        }
        let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |(topic, partition): &(String, i32)| SourceName { topic: Arc::from(topic.as_str()), partition: *partition };
        partitions.iter().map(|partition| directory.source(&name(partition)).filter(|resumed| resumed.next >= 0)).collect()
    }))
}

fn kafka_error(error: &rdkafka::error::KafkaError) -> RunError {
    RunError::Kafka(crate::kafka::describe(error))
}

/// The name of this replica, for people: that of its host and its process.
fn instance() -> Arc<str> {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "replica".into());
    Arc::from(format!("{host}/{}", std::process::id()))
}
