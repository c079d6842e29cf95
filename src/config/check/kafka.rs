//! Checks of the section `kafka`.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::event::{Span, Timestamp};
use crate::source::kafka::{CLASSIC_ONLY, GroupProtocol};

use super::super::checked::{DeadLetters, Kafka, Purpose, Start};
use super::super::fault::suggestion;
use super::super::file::OneOrMany;
use super::super::file::kafka::{DeadLettersSection, KafkaSection, OnFailureName};
use super::super::position::join;
use super::{Checker, Commas, canonical};

/// Consumer group where none is named.
const GROUP_ID: &str = "driftline";
/// How long a partition at its end holds windows open where nothing is said: longer than a producer pauses between batches.
const IDLE_TIMEOUT: Span = Span(30_000);
/// Letters a second for each reason where nothing is said: enough to see what is wrong, too few to need a topic to match.
const LETTER_RATE: u64 = 10;
/// Most letters a second: what rejects more is no longer a matter of letters.
const MAX_LETTER_RATE: u64 = 100_000;
/// Longest name of a topic, as brokers have it.
const MAX_TOPIC_LENGTH: usize = 249;

/// The name of a static member, in librdkafka's words.
const INSTANCE: &str = "group.instance.id";

/// Settings of librdkafka on which the guarantees of driftline rest, and what to do instead of setting them.
const OWNED: [(&str, &str); 15] = [
    ("auto.commit.enable", "positions are stored with the state they describe"),
    ("auto.commit.interval.ms", "set state.checkpoint_interval"),
    ("auto.offset.reset", "set kafka.start"),
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("enable.auto.commit", "positions are stored with the state they describe"),
    ("enable.auto.offset.store", "positions are stored with the state they describe"),
    ("enable.partition.eof", "the end of a partition is found by its offsets"),
    ("group.id", "set kafka.group_id"),
    ("group.protocol", "set kafka.group_protocol"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("offset.store.method", "positions are stored with the state they describe"),
    ("offset.store.path", "positions are stored with the state they describe"),
    ("offset.store.sync.interval.ms", "set state.checkpoint_interval"),
    ("partition.assignment.strategy", "members of one group must agree on it"),
    ("statistics.interval.ms", "the lag is measured by driftline itself"),
];

pub(super) fn check(section: Option<&KafkaSection>, checker: &mut Checker<'_>) -> Kafka {
    let run = checker.purpose == Purpose::Run;
    let missing = KafkaSection::default();
    if section.is_none() && run {
        checker.missing("", "kafka", "it says where the events come from");
    }
    let there = section.is_some();
    let section = section.unwrap_or(&missing);
    let protocol = protocol(section.group_protocol.as_deref());
    let mut kafka = Kafka {
        bootstrap_servers: servers(section.bootstrap_servers.as_ref(), checker),
        group_id: section.group_id.clone().unwrap_or_else(|| GROUP_ID.to_owned()),
        instance_id: instance_id(section, checker),
        group_protocol: protocol,
        predictions: Vec::new(),
        features: Vec::new(),
        labels: Vec::new(),
        start: section.start.as_deref().map_or(Start::Earliest, |text| start(text, checker)),
        dead_letters: None,
        idle_timeout: checker.span("/kafka/idle_timeout", section.idle_timeout.as_ref(), IDLE_TIMEOUT),
        librdkafka: librdkafka(section.librdkafka.as_ref(), protocol, checker),
    };
    if kafka.group_id.trim().is_empty() {
        checker.error("/kafka/group_id", "an empty name");
    }
    if kafka.bootstrap_servers.is_empty() && section.bootstrap_servers.is_none() && there && run {
        checker.missing("/kafka", "bootstrap_servers", "the brokers to begin with");
    }
    if let Some(topics) = &section.topics {
        let mut seen = BTreeMap::new();
        for (role, texts, list) in [
            ("predictions", &topics.predictions, &mut kafka.predictions),
            ("features", &topics.features, &mut kafka.features),
            ("labels", &topics.labels, &mut kafka.labels),
        ] {
            for (pointer, topic) in checker.texts(&format!("/kafka/topics/{role}"), texts.as_ref(), Commas::Separate) {
                check_topic(&pointer, &topic, checker);
                match seen.insert(topic.clone(), role) {
                    Some(first) if first == role => checker.error(&pointer, format!("the topic '{topic}' is named twice")),
                    Some(first) => checker.error_with(
                        &pointer,
                        format!("the topic '{topic}' is also one of {first}"),
                        "name it once; events that say their kind may be in any topic",
                    ),
                    None => list.push(topic),
                }
            }
        }
    }
    kafka.dead_letters = section.dead_letters.as_ref().map(|letters| dead_letters(letters, &kafka, checker));
    if there && run && kafka.predictions.is_empty() && kafka.features.is_empty() {
        match section.topics {
            Some(_) => checker.missing("/kafka/topics", "predictions", "a topic of predictions or of features"),
            None => checker.missing("/kafka", "topics", "the topics to read"),
        }
    }
    kafka
}

fn servers(texts: Option<&OneOrMany>, checker: &mut Checker<'_>) -> Vec<String> {
    let pointer = "/kafka/bootstrap_servers";
    let servers = checker.texts(pointer, texts, Commas::Separate);
    if servers.is_empty() && matches!(texts, Some(OneOrMany::Many(list)) if list.is_empty()) && checker.purpose == Purpose::Run {
        checker.error(pointer, "must not be empty");
    }
    for (pointer, server) in &servers {
        // librdkafka takes `protocol://` before a broker.
        let address = server.split_once("://").map_or(server.as_str(), |(_, address)| address);
        let port = match address.rsplit_once(':') {
            Some(("", _)) => None,
            // An IPv6 address without a port.
            Some(_) if address.ends_with(']') => Some(9092),
            Some((_, port)) => port.parse::<u16>().ok().filter(|port| *port > 0),
            None => Some(9092),
        };
        if port.is_none() || address.is_empty() || address.contains(char::is_whitespace) {
            checker.error(pointer, format!("'{server}' is not a broker; write host:port"));
        }
    }
    servers.into_iter().map(|(_, server)| server).collect()
}

fn dead_letters(section: &DeadLettersSection, kafka: &Kafka, checker: &mut Checker<'_>) -> DeadLetters {
    let pointer = "/kafka/dead_letters/topic";
    check_topic(pointer, &section.topic, checker);
    let inputs = [("predictions", &kafka.predictions), ("features", &kafka.features), ("labels", &kafka.labels)];
    for (role, _) in inputs.into_iter().filter(|(_, topics)| topics.contains(&section.topic)) {
        checker.error_with(
            pointer,
            format!("the topic '{}' is also one of {role}", section.topic),
            "letters that are read again are rejected again; give them a topic of their own",
        );
    }
    let rate = section.rate.unwrap_or(LETTER_RATE);
    if !(1..=MAX_LETTER_RATE).contains(&rate) {
        checker.error("/kafka/dead_letters/rate", format!("{rate} is not a number of letters a second from 1 to {MAX_LETTER_RATE}"));
    }
    DeadLetters {
        topic: section.topic.clone(),
        rate: u32::try_from(rate.clamp(1, MAX_LETTER_RATE)).unwrap_or(1),
        block: matches!(section.on_failure, Some(OnFailureName::Block)),
    }
}

pub(super) fn check_topic(pointer: &str, topic: &str, checker: &mut Checker<'_>) {
    if topic.starts_with('^') {
        checker.error_with(pointer, "not supported yet: topics by a regular expression", "name every topic");
    } else if topic.len() > MAX_TOPIC_LENGTH
        || matches!(topic, "." | "..")
        || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        checker.error_with(
            pointer,
            format!("'{topic}' is not the name of a topic"),
            "letters, digits, '.', '_' and '-', at most 249 of them",
        );
    }
}

fn start(text: &str, checker: &mut Checker<'_>) -> Start {
    match text {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        time => Timestamp::parse_rfc3339(time).map_or_else(
            || {
                let hint = suggestion(time, ["earliest", "latest"]).filter(|hint| hint.starts_with("did"));
                let message = format!("'{time}' is neither earliest nor latest nor an RFC 3339 time");
                checker.error_with("/kafka/start", message, hint.as_deref().unwrap_or("a time is written like 2026-11-22T10:45:00Z"));
                Start::Earliest
            },
            Start::At,
        ),
    }
}

/// Other texts are a fault of the structure and were told.
fn protocol(text: Option<&str>) -> GroupProtocol {
    if text == Some("consumer") { GroupProtocol::Consumer } else { GroupProtocol::Classic }
}

fn instance_id(section: &KafkaSection, checker: &mut Checker<'_>) -> Option<String> {
    let instance = section.instance_id.clone()?;
    if instance.trim().is_empty() {
        checker.error("/kafka/instance_id", "an empty name");
    }
    if section.librdkafka.as_ref().is_some_and(|properties| properties.contains_key(INSTANCE)) {
        checker.error_at_key(&join("/kafka/librdkafka", INSTANCE), "kafka.instance_id is set, too", "keep kafka.instance_id");
    }
    Some(instance)
}

fn librdkafka(
    settings: Option<&BTreeMap<String, super::super::file::Plain>>,
    protocol: GroupProtocol,
    checker: &mut Checker<'_>,
) -> BTreeMap<String, SecretString> {
    let mut secrets = BTreeMap::new();
    for (name, value) in settings.into_iter().flatten() {
        let pointer = join("/kafka/librdkafka", name);
        if protocol == GroupProtocol::Consumer && CLASSIC_ONLY.contains(&name.as_str()) {
            checker.warn_at_key(
                &pointer,
                "not used: with kafka.group_protocol: consumer the broker decides this",
                "remove it, or set it for the group on the broker",
            );
            continue;
        }
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| owned == name) {
            checker.error_at_key(&pointer, "driftline sets this itself", instead);
        } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)) {
            checker.error_at_key(&pointer, "not the name of a setting of librdkafka", "names are like security.protocol");
        }
        secrets.insert(name.clone(), SecretString::from(canonical(value)));
    }
    secrets
}
