//! Everything a replica needs is started here: topics, directory, consumers, workers.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::config::checked::Config;
use crate::engine::Plan;
use crate::engine::cluster::wire::SourceName;
use crate::engine::cluster::{Addresses, Directory};
use crate::exchange::topic::{self, Prepared, TopicError};
use crate::exchange::{self, Followed, Follower, Owners};
use crate::http::Check;
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

/// How long brokers may take to answer before it is said that they are waited for.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);
/// How long after that they are asked again.
const BROKERS_AGAIN: Duration = Duration::from_secs(1);

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

/// Starts a replica up to the point where it can be run. It talks to Kafka, and waits for it as long as it takes; there is none
/// where it was told to stop meanwhile.
///
/// # Errors
/// Topics that cannot be used, clients that librdkafka refuses, threads the system does not give.
pub async fn start(surroundings: Surroundings, stop: impl Future<Output = ()>) -> Result<Option<Member>, RunError> {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_stopping);
    let (going_on, stopped) = crossbeam_channel::bounded(0);
    let mut starting = tokio::task::spawn_blocking(move || build(surroundings, flag, &stopped));
    let started = tokio::select! {
        started = &mut starting => started,
        () = stop => {
            is_stopping.store(true, Ordering::Relaxed);
            drop(going_on);
            starting.await
        }
    };
    started.map_err(|error| RunError::Fatal(format!("the replica cannot be started: {error}")))?
}

fn build(surroundings: Surroundings, is_stopping: Arc<AtomicBool>, stopped: &Receiver<()>) -> Result<Option<Member>, RunError> {
    let Surroundings { config, plan, rules, workers, publisher, control, heartbeat, fatal, cache } = surroundings;
    let Some(settings) = super::super::exchange::settings(&config, &plan)? else {
        return Err(RunError::Fatal("state.mode is not cluster".into()));
    };
    let Some(prepared) = prepare(&settings, &publisher, &heartbeat, stopped)? else { return Ok(None) };
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
    source.resume = Some(resume(follower, Arc::clone(&directory), Arc::clone(&is_stopping)));
    let routing = Routing { workers: channels, empties: empties_out };
    let consumer = Consumer::start(source, registry, routing, notifications, clock::now).map_err(|error| kafka_error(&error))?;
    let owners = Owners::start(&settings, clock::now).map_err(|error| kafka_error(&error))?;
    let cache = cache.map(|store| Cache::new(store, &plan)).transpose()?;
    Ok(Some(Member::new(Parts {
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
    })))
}

/// Makes and examines the topics, as soon as there are brokers to ask. None where it was told to stop.
fn prepare(
    settings: &exchange::Settings,
    publisher: &Publisher,
    heartbeat: &AtomicI64,
    stopped: &Receiver<()>,
) -> Result<Option<Prepared>, RunError> {
    topic::check(settings).map_err(|error| RunError::Exchange(error.to_string()))?;
    let mut said = None;
    loop {
        heartbeat.store(clock::now().0, Ordering::Relaxed);
        // In its words it is clear what to mend.
        let reason = match crate::kafka::topics(&settings.connection, BROKER_PATIENCE) {
            Err(reason) => reason,
            Ok(_) => match topic::prepare(settings) {
                Ok(prepared) => return Ok(Some(prepared)),
                Err(error @ (TopicError::Unreachable { .. } | TopicError::Unknown(_))) => error.to_string(),
                Err(error) => return Err(RunError::Exchange(error.to_string())),
            },
        };
        publisher.view.set_checks(vec![Check::new("kafka", false, &reason)]);
        if said.as_ref() != Some(&reason) {
            tracing::warn!(target: "driftline::kafka", "{reason}; brokers are waited for");
            said = Some(reason);
        }
        if let Err(RecvTimeoutError::Disconnected) = stopped.recv_timeout(BROKERS_AGAIN) {
            return Ok(None);
        }
    }
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
