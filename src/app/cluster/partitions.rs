//! The partitions of the input topics: looked up now and again, for owners wait for those that they do not hear of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::config::checked::Config;
use crate::engine::cluster::wire::SourceName;
use crate::event::{Timestamp, TopicRole};
use crate::exchange::{self, topic};

use super::super::clock;
use super::super::run::RunError;

/// How often the partitions of the input topics are looked up.
const INPUTS_EVERY: Duration = Duration::from_secs(30);

/// All partitions of the input topics.
pub struct InputPartitions {
    /// The partitions.
    pub sources: Vec<(SourceName, TopicRole)>,
    /// When the brokers were asked for them.
    pub asked: Timestamp,
}

impl InputPartitions {
    /// Before the brokers were asked.
    #[must_use]
    pub fn unknown() -> InputPartitions {
        InputPartitions { sources: Vec::new(), asked: Timestamp(i64::MIN) }
    }
}

/// The partitions of the input topics, whenever they were looked up.
pub struct Inputs {
    /// What was found.
    pub found: Receiver<InputPartitions>,
    /// Ends the looking up with its owner.
    _running: Sender<()>,
}

impl Inputs {
    /// What is found, until this is dropped.
    #[must_use]
    pub fn new(found: Receiver<InputPartitions>, running: Sender<()>) -> Inputs {
        Inputs { found, _running: running }
    }
}

/// Looks the partitions of the input topics up, now and again: new ones appear, and owners wait for what they do not hear of.
pub(super) fn look_up(config: &Arc<Config>, settings: &exchange::Settings, has_labels: bool) -> Result<Inputs, RunError> {
    let (out, inputs) = crossbeam_channel::bounded(1);
    let (running, stopped) = crossbeam_channel::bounded::<()>(0);
    let (config, settings) = (Arc::clone(config), settings.clone());
    let mut said = None;
    let roles = move || {
        let kafka = &config.kafka;
        let of = |topics: &[String], role: TopicRole| topics.iter().map(|topic| (topic.clone(), role)).collect::<Vec<_>>();
        [of(&kafka.predictions, TopicRole::Predictions), of(&kafka.features, TopicRole::Features), of(&kafka.labels, TopicRole::Labels)]
            .concat()
    };
    let body = move || {
        loop {
            let (topics, asked) = (roles(), clock::now());
            let names: Vec<String> = topics.iter().map(|(topic, _)| topic.clone()).collect();
            match topic::input_partitions(&settings, &names) {
                Ok(counts) => {
                    let partitions = topics.iter().flat_map(|(topic, role)| {
                        let name: Arc<str> = Arc::from(topic.as_str());
                        let count = counts.get(topic).copied().unwrap_or(0);
                        (0..count).map(move |partition| (SourceName { topic: Arc::clone(&name), partition }, *role))
                    });
                    let sources: Vec<(SourceName, TopicRole)> = partitions.collect();
                    let trouble = apart(&topics, &counts).filter(|_| has_labels);
                    if said != trouble
                        && let Some(trouble) = &trouble
                    {
                        tracing::error!("{trouble}");
                    }
                    said = trouble;
                    if out.send(InputPartitions { sources, asked }).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(target: "driftline::kafka", %error, "the partitions of the input topics cannot be looked up"),
            }
            if let Err(RecvTimeoutError::Disconnected) = stopped.recv_timeout(INPUTS_EVERY) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("inputs".into()).spawn(body)?;
    Ok(Inputs::new(inputs, running))
}

/// What keeps predictions and labels from being joined exactly: their topics differ in the number of partitions.
fn apart(topics: &[(String, TopicRole)], counts: &BTreeMap<String, i32>) -> Option<String> {
    let joined = topics.iter().filter(|(_, role)| *role != TopicRole::Features);
    let counts: Vec<(&str, i32)> = joined.map(|(topic, _)| (topic.as_str(), counts.get(topic).copied().unwrap_or(0))).collect();
    let (_, first) = counts.first()?;
    let differ = counts.iter().any(|(_, count)| count != first);
    differ.then(|| {
        let all: Vec<String> = counts.iter().map(|(topic, count)| format!("{topic} has {count}")).collect();
        format!(
            "predictions and labels cannot be joined exactly over several replicas: their topics differ in the number of partitions \
             ({}); a label is only looked for in the partitions of its own number. Give them the same number and the same key, or run one replica with local state",
            all.join(", ")
        )
    })
}
