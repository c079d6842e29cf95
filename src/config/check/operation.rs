//! Checks of the sections `state`, `limits`, `telemetry`, `http` and `notify`.

use std::net::{Ipv4Addr, SocketAddr};

use secrecy::SecretString;

use crate::event::Span;
use crate::exchange;

use super::super::checked::{Cluster, Http, Kafka, Limits, Notify, Smtp, State, Telemetry, Workers};
use super::super::file::operation::{
    HttpSection, LimitsSection, NotifySection, SmtpSection, StateMode, StateSection, StateTopics, TelemetrySection, WorkersText,
};
use super::super::position::join;
use super::Checker;
use super::kafka::check_topic;

/// Directory of the state where nothing is said.
const STATE_PATH: &str = "state";
/// Time between two checkpoints where nothing is said.
const CHECKPOINT_INTERVAL: Span = Span(5 * Span::SECOND.0);
/// Shortest time between two checkpoints: each waits for the disk.
const MIN_CHECKPOINT_INTERVAL: Span = Span(100);
/// Memory where nothing is said, in bytes.
const MEMORY: u64 = 512 << 20;
/// Least memory, in bytes: the queues to and from Kafka alone want that much.
const MIN_MEMORY: u64 = 32 << 20;
/// Disk where nothing is said, in bytes.
const DISK: u64 = 8 << 30;
/// Least disk, in bytes: the journal of the store and the windows that were said want most of it.
const MIN_DISK: u64 = 192 << 20;
/// Most workers: more than the cores of any machine this is meant for.
const MAX_WORKERS: u64 = 256;
/// Exported series where nothing is said.
const MAX_SERIES: u64 = 5_000;
/// Address of the HTTP server where nothing is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Age from which on notifications are sent as a digest where nothing is said.
const MAX_AGE: Span = Span::HOUR;

pub(super) fn state(section: Option<&StateSection>, kafka: &Kafka, checker: &mut Checker<'_>) -> State {
    let missing = StateSection::default();
    let section = section.unwrap_or(&missing);
    let at = "/state/checkpoint_interval";
    let checkpoint_interval = checker.span(at, section.checkpoint_interval.as_ref(), CHECKPOINT_INTERVAL);
    if checkpoint_interval < MIN_CHECKPOINT_INTERVAL {
        checker.error(at, format!("must be at least {MIN_CHECKPOINT_INTERVAL}"));
    }
    State {
        path: checker.path("/state/path", section.path.as_deref().unwrap_or(STATE_PATH)),
        checkpoint_interval,
        cluster: cluster(section, kafka, checker),
    }
}

fn cluster(section: &StateSection, kafka: &Kafka, checker: &mut Checker<'_>) -> Option<Cluster> {
    if !matches!(section.mode, Some(StateMode::Cluster)) {
        let keys = [
            ("/state/topics", section.topics.is_some()),
            ("/state/partitions", section.partitions.is_some()),
            ("/state/replication", section.replication.is_some()),
        ];
        for (pointer, _) in keys.into_iter().filter(|(_, is_there)| *is_there) {
            checker.error_at_key(pointer, "only for replicas that share their state", "set state.mode: cluster, or leave it out");
        }
        return None;
    }
    let missing = StateTopics::default();
    let named = section.topics.as_ref().unwrap_or(&missing);
    let mut topic = |key: &str, name: Option<&String>, default: String| {
        let pointer = join("/state/topics", key);
        match name {
            Some(name) => check_topic(&pointer, name, checker),
            // What is wrong with the name is wrong with that of the group.
            None => check_topic("/kafka/group_id", &default, checker),
        }
        let name = name.cloned().unwrap_or(default);
        if [&kafka.predictions, &kafka.features, &kafka.labels].into_iter().flatten().any(|input| *input == name) {
            checker.error_with(&pointer, format!("events are read from the topic '{name}'"), "name a topic that nothing else uses");
        }
        name
    };
    let panes = topic("panes", named.panes.as_ref(), exchange::Settings::default_panes(&kafka.group_id));
    let owners = topic("owners", named.owners.as_ref(), exchange::Settings::default_owners(&kafka.group_id));
    if panes == owners {
        checker.error_with("/state/topics/owners", format!("the topic '{owners}' is also that of panes"), "name two topics");
    }
    // Their bounds are those of the schema.
    let number = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    let partitions = section.partitions.map_or(exchange::PARTITIONS, number);
    let replication = section.replication.map(number);
    Some(Cluster { panes, owners, partitions, replication })
}

pub(super) fn limits(section: Option<&LimitsSection>, checker: &mut Checker<'_>) -> Limits {
    let missing = LimitsSection::default();
    let section = section.unwrap_or(&missing);
    let workers = match section.workers {
        None | Some(WorkersText::Auto(_)) => Workers::Auto,
        Some(WorkersText::Count(count)) => {
            if !(1..=MAX_WORKERS).contains(&count) {
                checker.error("/limits/workers", format!("{count} is not a number of workers from 1 to {MAX_WORKERS}"));
            }
            Workers::Count(usize::try_from(count.clamp(1, MAX_WORKERS)).unwrap_or(1))
        }
    };
    Limits {
        memory: checker.size("/limits/memory", section.memory.as_ref(), MEMORY, MIN_MEMORY),
        disk: checker.size("/limits/disk", section.disk.as_ref(), DISK, MIN_DISK),
        workers,
    }
}

pub(super) fn telemetry(section: Option<&TelemetrySection>, checker: &mut Checker<'_>) -> Telemetry {
    let missing = TelemetrySection::default();
    let section = section.unwrap_or(&missing);
    let endpoint = section.otlp.as_ref().map(|otlp| otlp.endpoint.clone());
    if let Some(endpoint) = &endpoint {
        check_url("/telemetry/otlp/endpoint", endpoint, &["http", "https"], "http://localhost:4318", checker);
    }
    Telemetry {
        otlp_endpoint: endpoint,
        prometheus: section.prometheus.unwrap_or(true),
        max_series: usize::try_from(section.max_series.unwrap_or(MAX_SERIES)).unwrap_or(usize::MAX),
    }
}

pub(super) fn http(section: Option<&HttpSection>, checker: &mut Checker<'_>) -> Http {
    let missing = HttpSection::default();
    let section = section.unwrap_or(&missing);
    let listen = section.listen.as_deref().map_or(LISTEN, |text| listen(text, checker));
    let open_reads = section.open_reads.unwrap_or(false);
    let told = checker.left_out.iter().any(|pointer| pointer.starts_with("/http/"));
    if !listen.ip().is_loopback() && section.token_file.is_none() && !open_reads && !told {
        checker.error_with(
            "/http/listen",
            format!("{listen} is beyond loopback, where everything wants a token, and there is none"),
            "set http.token_file, or http.open_reads: true to let anyone read",
        );
    }
    Http { listen, token_file: section.token_file.as_ref().map(|path| checker.path("/http/token_file", path)), open_reads }
}

fn listen(text: &str, checker: &mut Checker<'_>) -> SocketAddr {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address;
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    }
    let hint = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port} for this machine, 0.0.0.0:{port} for all"),
        Err(_) => "like 127.0.0.1:9464 or [::1]:9464".to_owned(),
    };
    checker.error_with("/http/listen", format!("'{text}' is not an address and a port"), &hint);
    LISTEN
}

pub(super) fn notify(section: Option<&NotifySection>, checker: &mut Checker<'_>) -> Notify {
    let missing = NotifySection::default();
    let section = section.unwrap_or(&missing);
    Notify {
        smtp: section.smtp.as_ref().map(|section| smtp(section, checker)),
        max_age: checker.positive_span("/notify/max_age", section.max_age.as_ref(), MAX_AGE),
    }
}

fn smtp(section: &SmtpSection, checker: &mut Checker<'_>) -> Smtp {
    check_url("/notify/smtp/url", &section.url, &["smtp", "smtps"], "smtps://user@mail.example:465", checker);
    if !section.from.contains('@') {
        checker.error("/notify/smtp/from", "not a mail address");
    }
    Smtp {
        url: SecretString::from(section.url.clone()),
        password: section.password.clone().map(SecretString::from),
        from: section.from.clone(),
        ca_file: section.ca_file.as_ref().map(|path| checker.path("/notify/smtp/ca_file", path)),
        allow_plaintext: section.allow_plaintext.unwrap_or(false),
    }
}

/// A URL with a host. Never shown in the message: it may hold a password.
fn check_url(pointer: &str, text: &str, schemes: &[&str], example: &str, checker: &mut Checker<'_>) {
    let hint = format!("like {example}");
    match reqwest::Url::parse(text) {
        Err(error) => checker.error_with(pointer, format!("not a URL: {error}"), &hint),
        Ok(url) if !schemes.contains(&url.scheme()) => {
            checker.error_with(pointer, format!("a URL that begins with {}:// is needed here", schemes.join(":// or ")), &hint);
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => checker.error_with(pointer, "a URL without a host", &hint),
        Ok(_) => {}
    }
}
