//! The two topics are there and are what they must be; and how many partitions other topics have.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataBroker};
use thiserror::Error;

use super::client::{Context, Reader, describe};
use super::requirement::{Found, TopicConfig, create_command, examine, wanted};
use super::settings::{REPLICATION, Settings};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long new topics may take to be known to the brokers.
const NEWS_PATIENCE: Duration = Duration::from_secs(30);
/// How often is asked for them meanwhile.
const NEWS_EVERY: Duration = Duration::from_millis(200);

/// Why topics are not administered over a connection of SASL OAUTHBEARER.
const WITH_TOKENS: &str = "with fetched tokens topics can be read and written, not administered";

/// Why the topics cannot be used.
#[derive(Debug, Error)]
pub enum TopicError {
    /// A configuration that librdkafka refuses.
    #[error("{0}")]
    Client(String),
    /// No broker answered.
    #[error("no broker of {servers} answers: {reason}")]
    Unreachable {
        /// Those asked.
        servers: String,
        /// In librdkafka's words.
        reason: String,
    },
    /// A topic is missing and could not be created.
    #[error("the topic {topic} is missing and cannot be created: {reason}; create it: {command}")]
    Create {
        /// The topic.
        topic: String,
        /// Why not.
        reason: String,
        /// The command that creates it.
        command: String,
    },
    /// A topic was created and does not show.
    #[error("the topic {0} was created, but the brokers do not know it yet")]
    Unknown(String),
    /// The topics are not what they must be; one sentence each.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// Topics that do not exist, or that may not be seen.
    #[error("no such topic, or no permission to describe it: {}", .0.join(", "))]
    Missing(Vec<String>),
}

/// The topics as they can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Partitions of both.
    pub partitions: i32,
    /// What is doubtful, one sentence each.
    pub warnings: Vec<String>,
}

type Admin = AdminClient<Context<()>>;

/// Creates what is missing and examines what is there. Another replica may do the same at the same time.
///
/// # Errors
/// [`TopicError`].
pub fn prepare(settings: &Settings) -> Result<Prepared, TopicError> {
    let reader = connect(settings)?;
    let metadata = metadata(settings, &reader)?;
    let mut warnings = Vec::new();
    let topics = [&settings.panes, &settings.owners];
    let there = topics.map(|topic| partitions(&metadata, topic));
    let admin: Option<Admin> = settings
        .connection
        .lets_administer()
        .then(|| settings.admin().create_with_context(Context::new(&settings.connection, ())))
        .transpose()
        .map_err(|error| TopicError::Client(describe(&error)))?;
    // Where one of them is there, the other one gets as many.
    let count = there.into_iter().flatten().next().map_or(settings.partitions, |(partitions, _)| partitions);
    if there.contains(&None) {
        let copies = copies(settings, metadata.brokers().len(), &mut warnings);
        let missing: Vec<&String> = topics.iter().zip(there).filter(|(_, there)| there.is_none()).map(|(topic, _)| *topic).collect();
        match &admin {
            Some(admin) => create(settings, admin, &missing, count, copies)?,
            None => return Err(TopicError::Wrong(missing.iter().map(|topic| cannot_make(settings, topic, count, copies)).collect())),
        }
    }
    let [panes, owners] = appear(settings, &reader)?;
    // Any broker knows the settings; a cluster in tests has no controller that could be asked.
    let broker = metadata.brokers().first().map(MetadataBroker::id);
    let configs = configs(settings, admin.as_ref(), broker, &mut warnings);
    let of = |topic: &String, (partitions, copies): (i32, usize)| Found { partitions, copies, config: configs.get(topic).cloned() };
    let findings = examine(settings, &of(&settings.panes, panes), &of(&settings.owners, owners));
    warnings.extend(findings.warnings);
    if findings.faults.is_empty() { Ok(Prepared { partitions: panes.0, warnings }) } else { Err(TopicError::Wrong(findings.faults)) }
}

/// Whether librdkafka takes the configuration. Nobody is asked.
///
/// # Errors
/// [`TopicError::Client`].
pub fn check(settings: &Settings) -> Result<(), TopicError> {
    connect(settings).map(drop)
}

/// The number of partitions of each of the topics.
///
/// # Errors
/// [`TopicError::Unreachable`] and [`TopicError::Missing`].
pub fn input_partitions(settings: &Settings, topics: &[String]) -> Result<BTreeMap<String, i32>, TopicError> {
    let metadata = metadata(settings, &connect(settings)?)?;
    let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
    for topic in topics {
        match partitions(&metadata, topic) {
            Some((partitions, _)) => drop(found.insert(topic.clone(), partitions)),
            None => missing.push(topic.clone()),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(TopicError::Missing(missing)) }
}

fn connect(settings: &Settings) -> Result<Reader, TopicError> {
    settings.reader().create_with_context(Context::new(&settings.connection, ())).map_err(|error| TopicError::Client(describe(&error)))
}

/// All topics: to ask for one that is missing would create it on some brokers.
fn metadata(settings: &Settings, reader: &Reader) -> Result<Metadata, TopicError> {
    // A client that gets tokens gets the first one while it is polled.
    let _ = reader.poll(Duration::ZERO);
    reader
        .fetch_metadata(None, PATIENCE)
        .map_err(|error| TopicError::Unreachable { servers: settings.connection.bootstrap_servers().to_owned(), reason: describe(&error) })
}

/// Partitions of a topic, and the least number of copies of one.
fn partitions(metadata: &Metadata, topic: &str) -> Option<(i32, usize)> {
    let topic = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none())?;
    let count = i32::try_from(topic.partitions().len()).ok().filter(|count| *count > 0)?;
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min()?;
    Some((count, copies))
}

fn copies(settings: &Settings, brokers: usize, warnings: &mut Vec<String>) -> i32 {
    let brokers = i32::try_from(brokers).unwrap_or(i32::MAX).max(1);
    settings.replication.unwrap_or_else(|| {
        if brokers < REPLICATION {
            warnings.push(format!(
                "the topics {} and {} are made with {brokers} instead of {REPLICATION} copies, because there are no more brokers: \
                 what is acknowledged may be lost with one of them",
                settings.panes, settings.owners
            ));
        }
        brokers.min(REPLICATION)
    })
}

fn cannot_make(settings: &Settings, topic: &str, count: i32, copies: i32) -> String {
    let (topic, command) = (topic.to_owned(), create_command(settings, topic, count, copies));
    TopicError::Create { topic, reason: WITH_TOKENS.to_owned(), command }.to_string()
}

fn create(settings: &Settings, admin: &Admin, topics: &[&String], count: i32, copies: i32) -> Result<(), TopicError> {
    let [panes, owners] = wanted(settings, copies);
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| {
            let config = if **topic == settings.panes { &panes } else { &owners };
            let new = NewTopic::new(topic, count, TopicReplication::Fixed(copies));
            config.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let refused = |topic: &str, reason: String| TopicError::Create {
        topic: topic.to_owned(),
        reason,
        command: create_command(settings, topic, count, copies),
    };
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let results =
        wait(admin.create_topics(&new, &options)).map_err(|error| refused(topics.first().map_or("", |topic| topic), describe(&error)))?;
    for result in results {
        match result {
            // Another replica was faster.
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let reason = match code {
                    Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                        "this client has no permission to create topics".to_owned()
                    }
                    Code::InvalidReplicationFactor => format!("there are fewer brokers than the {copies} copies of state.replication"),
                    other => other.to_string(),
                };
                return Err(refused(&topic, reason));
            }
        }
    }
    Ok(())
}

/// Waits until both topics are known to the brokers.
#[allow(clippy::disallowed_methods)] // How long to wait; no result depends on it.
fn appear(settings: &Settings, reader: &Reader) -> Result<[(i32, usize); 2], TopicError> {
    let until = Instant::now() + NEWS_PATIENCE;
    loop {
        let metadata = metadata(settings, reader)?;
        match (partitions(&metadata, &settings.panes), partitions(&metadata, &settings.owners)) {
            (Some(panes), Some(owners)) => return Ok([panes, owners]),
            (panes, _) if Instant::now() > until => {
                let missing = if panes.is_none() { &settings.panes } else { &settings.owners };
                return Err(TopicError::Unknown(missing.clone()));
            }
            // Nothing is assigned: this waits.
            _ => drop(reader.poll(NEWS_EVERY)),
        }
    }
}

/// The settings of both topics, as far as they can be read.
fn configs(settings: &Settings, admin: Option<&Admin>, broker: Option<i32>, warnings: &mut Vec<String>) -> BTreeMap<String, TopicConfig> {
    let topics = [&settings.panes, &settings.owners];
    let unseen = |topic: &str, reason: String| {
        format!(
            "the settings of the topic {topic} cannot be read and were not examined: {reason}; \
             see that cleanup.policy has compact: kafka-configs.sh --bootstrap-server {} --describe --entity-type topics --entity-name {topic}",
            settings.connection.bootstrap_servers()
        )
    };
    let Some(admin) = admin else {
        warnings.extend(topics.map(|topic| unseen(topic, WITH_TOKENS.into())));
        return BTreeMap::new();
    };
    let asked = topics.map(|topic| ResourceSpecifier::Topic(topic));
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).broker_id(broker);
    let results = match wait(admin.describe_configs(&asked, &options)) {
        Ok(results) => results,
        Err(error) => {
            warnings.extend(topics.map(|topic| unseen(topic, describe(&error))));
            return BTreeMap::new();
        }
    };
    let mut configs = BTreeMap::new();
    for (topic, result) in topics.into_iter().zip(results) {
        match result {
            Ok(ConfigResource { specifier: OwnedResourceSpecifier::Topic(topic), entries }) => {
                let config = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
                configs.insert(topic, config);
            }
            Ok(_) => {}
            Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                warnings.push(unseen(topic, "this client has no permission to describe them".into()));
            }
            Err(code) => warnings.push(unseen(topic, code.to_string())),
        }
    }
    configs
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the admin client, which has a thread of its own and limits of its own: no runtime is needed, and
/// none is in the way.
fn wait<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}
