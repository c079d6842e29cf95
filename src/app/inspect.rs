//! What `driftline check` finds out beyond the files: what events would become, and whether what is named can be reached.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::baseline::layout::{ColumnKind, MISSING, WRONG_TYPE};
use crate::engine::{Record, Shard};
use crate::event::decode::{RecordMeta, unwrap_line};
use crate::event::{Outcome, SourceId, Subject, TopicRole};
use crate::notify::transport::CheckResult;
use crate::notify::{SecretUrl, Transports};

use super::assemble::Assembly;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a kind that are named one by one.
const NAMED: usize = 5;

/// One line about what was read.
#[must_use]
pub fn summary(assembly: &Assembly) -> String {
    let mut text = String::new();
    for model in &assembly.plan.models {
        let features = model
            .baselines
            .first()
            .map_or(0, |baseline| baseline.layout.columns.iter().filter(|column| matches!(column.subject, Subject::Feature(_))).count());
        let windows: Vec<&str> = model.windows.iter().map(|window| &*window.name).collect();
        let _ = writeln!(
            text,
            "model {}: {}, {features} features, windows {}, panes of {}",
            model.name,
            model.task,
            windows.join(" "),
            model.slice
        );
    }
    let _ = write!(
        text,
        "{} rules, {} receivers, {} actions",
        assembly.rules.written(),
        assembly.notify.receivers.len(),
        assembly.notify.actions.len()
    );
    text
}

/// What events would become.
#[derive(Debug)]
pub struct Found {
    /// For people.
    pub text: String,
    /// Whether something is wrong with them.
    pub has_faults: bool,
}

/// Reads events and tells what would become of them: outcomes, and features of a wrong type or missing throughout.
///
/// # Errors
/// Where the file cannot be read.
pub fn events(assembly: &Assembly, path: &Path) -> std::io::Result<Found> {
    let bytes = crate::source::file::read(path)?;
    let mut shard = Shard::new(Arc::clone(&assembly.plan));
    let mut by_outcome: BTreeMap<&'static str, (u64, Vec<usize>)> = BTreeMap::new();
    let source = SourceId(0);
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let wrapped = unwrap_line(line);
        let value: &[u8] = wrapped.as_ref().map_or(line, |wrapped| &wrapped.value);
        let meta = RecordMeta { timestamp: wrapped.as_ref().and_then(|wrapped| wrapped.timestamp), ..RecordMeta::default() };
        let offset = i64::try_from(number).unwrap_or(i64::MAX);
        let oversize = value.len() > assembly.plan.max_bytes;
        let outcome = shard.ingest(&Record { source, role: TopicRole::Predictions, offset, meta, value, oversize });
        let name = match outcome {
            Outcome::Rejected(reason) => reason.as_str(),
            outcome => outcome.as_str(),
        };
        let entry = by_outcome.entry(name).or_default();
        entry.0 += 1;
        if matches!(outcome, Outcome::Rejected(_)) && entry.1.len() < NAMED {
            entry.1.push(number + 1);
        }
    }
    let mut text = String::new();
    let mut has_faults = false;
    for (name, (count, lines)) in &by_outcome {
        let _ = write!(text, "{}: {count} {name}", path.display());
        if !lines.is_empty() {
            has_faults = true;
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let _ = write!(text, " (lines {})", lines.join(", "));
        }
        text.push('\n');
    }
    shard.flush(source);
    let output = shard.take_output();
    // Wrong types, missing keys and all values, by model and feature.
    let mut wrong: BTreeMap<(Arc<str>, Arc<str>), [u64; 3]> = BTreeMap::new();
    for open in &output.panes {
        let Some(key) = output.series.get(open.series.0 as usize).filter(|key| key.segment == 0) else { continue };
        let Some(model) = assembly.plan.model(key.model) else { continue };
        let Some(baseline) = model.baseline(&key.version) else { continue };
        for (place, column) in baseline.layout.columns.iter().enumerate() {
            let Subject::Feature(name) = &column.subject else { continue };
            let cells = open.pane.column(&baseline.layout, place);
            let entry = wrong.entry((Arc::clone(&model.name), Arc::clone(name))).or_default();
            entry[0] += cells.get(WRONG_TYPE).copied().unwrap_or(0);
            entry[1] += cells.get(MISSING).copied().unwrap_or(0);
            entry[2] += cells.iter().sum::<u64>();
        }
    }
    for ((model, feature), [wrong_type, missing, all]) in wrong {
        let columns =
            assembly.plan.models.iter().filter(|known| known.name == model).flat_map(|known| &known.baselines).filter_map(|baseline| {
                let place = baseline.layout.column(&Subject::Feature(Arc::clone(&feature)))?;
                baseline.layout.columns.get(place)
            });
        // Where versions differ, numeric is said before the others.
        let kind = columns
            .map(|column| match &column.kind {
                ColumnKind::Numeric(_) => (2, "numeric".to_owned()),
                ColumnKind::Embedding(space) => (1, format!("an embedding of {} numbers", space.dimension())),
                ColumnKind::Categorical(_) => (0, "categorical".to_owned()),
            })
            .max();
        let kind = kind.map_or_else(String::new, |(_, kind)| kind);
        if wrong_type > 0 {
            has_faults = true;
            let _ = writeln!(
                text,
                "model {model}, feature {feature}: {wrong_type} of {all} values are of a wrong type; the baseline has it as {kind}"
            );
        }
        if missing == all && all > 0 {
            has_faults = true;
            let _ = writeln!(text, "model {model}, feature {feature}: missing in every event");
        }
    }
    Ok(Found { text, has_faults })
}

/// Tries everything the configuration names.
#[must_use]
pub fn connect(assembly: &Assembly) -> Vec<CheckResult> {
    let mut results = kafka(assembly);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return results };
    results.extend(runtime.block_on(async {
        let mut results = Vec::new();
        let Ok(transports) = Transports::build(assembly.notify.clone()) else { return results };
        results.extend(transports.check().await);
        for action in assembly.rules.actions().values() {
            if let Ok(url) = SecretUrl::parse(&action.url) {
                results.push(transports.check_url(&format!("action {}", action.name), &url).await);
            }
        }
        if let Some(endpoint) = &assembly.config.telemetry.otlp_endpoint
            && let Ok(url) = SecretUrl::parse(endpoint)
        {
            results.push(transports.check_url("otlp", &url).await);
        }
        results
    }));
    results
}

/// Makes and examines the topics that replicas share, where the configuration has them, and tells what is doubtful.
#[must_use]
pub fn topics(assembly: &Assembly) -> Option<(CheckResult, Vec<String>)> {
    let settings = match super::exchange::settings(&assembly.config, &assembly.plan) {
        Ok(settings) => settings?,
        Err(error) => return Some((CheckResult { target: "topics of the state".into(), error: Some(error.to_string()) }, Vec::new())),
    };
    let target = format!("topics {} and {}", settings.panes, settings.owners);
    Some(match crate::exchange::topic::prepare(&settings) {
        Ok(prepared) => {
            let target = format!("{target}, {} partitions", prepared.partitions);
            (CheckResult { target, error: None }, prepared.warnings)
        }
        Err(error) => (CheckResult { target, error: Some(error.to_string()) }, Vec::new()),
    })
}

fn kafka(assembly: &Assembly) -> Vec<CheckResult> {
    let config = &assembly.config.kafka;
    let target = format!("kafka {}", config.bootstrap_servers.join(","));
    let known = super::run::kafka_connection(&assembly.config)
        .map_err(|error| error.to_string())
        .and_then(|connection| crate::kafka::topics(&connection, PATIENCE));
    let known = match known {
        Ok(known) => known,
        Err(error) => return vec![CheckResult { target, error: Some(error) }],
    };
    let missing = |wanted: &mut dyn Iterator<Item = &String>| {
        let missing: Vec<&str> = wanted.filter(|topic| !known.contains(topic)).map(String::as_str).collect();
        (!missing.is_empty()).then(|| format!("no such topic, or not for this user to see: {}", missing.join(", ")))
    };
    let mut wanted = config.predictions.iter().chain(&config.features).chain(&config.labels);
    let mut results = vec![CheckResult { target, error: missing(&mut wanted) }];
    if let Some(letters) = &config.dead_letters {
        let target = format!("dead letters {}", letters.topic);
        results.push(CheckResult { target, error: missing(&mut std::iter::once(&letters.topic)) });
    }
    results
}
