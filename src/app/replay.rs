//! Replay: the engine over recorded events, in virtual time, on one thread. The same bytes for the same input.
//!
//! Plain lines are put in the order of (time, events before labels, line): a table of events has no offsets. Wrapped
//! lines carry topic, partition and offset and keep the order of their file, as they would from Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::result::{ResultLine, lines};
use crate::engine::{Counts, Emission, Evaluator, Plan, Record, Shard};
use crate::event::decode::{Decoder, RecordMeta, Wrapped, unwrap_line};
use crate::event::{SourceId, Timestamp, TopicRole};
use crate::rule::RuleSet;
use crate::source::Registry;
use crate::source::kafka::Routing;

/// Records between two looks at the clocks. Results do not depend on it.
const STEP: usize = 1024;
/// Topic of plain event lines.
const EVENTS: &str = "events";
/// Topic of plain label lines.
const LABELS: &str = "labels";

/// A file of recorded events, unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its bytes, one JSON object a line.
    pub bytes: &'a [u8],
    /// What its plain lines are.
    pub role: TopicRole,
}

/// What a replay gives.
#[derive(Debug)]
pub struct Replayed {
    /// Result lines in their order.
    pub lines: Vec<ResultLine>,
    /// What came of the records, by topic.
    pub counts: BTreeMap<String, Counts>,
}

/// One line to be replayed.
struct Line<'a> {
    at: Timestamp,
    labels: bool,
    bytes: &'a [u8],
    wrapped: Option<Wrapped<'a>>,
}

/// Replays the inputs with `workers` shards, whose number changes nothing.
///
/// `role_of` gives what a topic of wrapped lines carries.
#[must_use]
pub fn replay(
    plan: &Arc<Plan>,
    rules: &Arc<RuleSet>,
    inputs: &[Input<'_>],
    role_of: &dyn Fn(&str) -> Option<TopicRole>,
    workers: usize,
) -> Replayed {
    let lines = order(plan, inputs);
    let mut run = Run {
        shards: (0..workers.max(1)).map(|_| Shard::new(Arc::clone(plan))).collect(),
        evaluator: Evaluator::new(Arc::clone(plan), Arc::clone(rules)),
        registry: Registry::default(),
        results: Vec::new(),
        sequence: 0,
    };
    // Every partition is known from the start, as it is when Kafka assigns them: none may be overtaken unseen.
    let sources: Vec<SourceId> = lines.iter().map(|line| run.source(line, role_of)).collect();
    let mut last = BTreeMap::new();
    for (place, source) in sources.iter().enumerate() {
        last.insert(*source, place);
    }
    let mut offsets: BTreeMap<SourceId, i64> = BTreeMap::new();
    for (place, (line, source)) in lines.iter().zip(&sources).enumerate() {
        let offset = offsets.entry(*source).or_insert(-1);
        *offset = line.wrapped.as_ref().map_or(*offset + 1, |wrapped| wrapped.offset);
        run.ingest(line, *source, *offset, plan.max_bytes);
        let is_last = last.get(source) == Some(&place);
        if is_last || place % STEP == STEP - 1 {
            if is_last {
                // Nothing waits for a partition that is at its end, so what it has counted is handed on before.
                run.shards.iter_mut().for_each(|shard| shard.flush(*source));
            }
            run.absorb();
            if is_last {
                run.evaluator.set_idle(*source, true);
            }
            let emissions = run.evaluator.advance(None);
            run.keep(&emissions);
        }
    }
    let emissions = run.evaluator.finish();
    run.keep(&emissions);
    run.results.sort();
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for (source, state) in run.evaluator.sources() {
        if let Some(info) = run.registry.get(*source) {
            counts.entry(info.topic.clone()).or_default().merge(&state.counts);
        }
    }
    Replayed { lines: run.results, counts }
}

struct Run {
    shards: Vec<Shard>,
    evaluator: Evaluator,
    registry: Registry,
    results: Vec<ResultLine>,
    sequence: u64,
}

impl Run {
    fn source(&mut self, line: &Line<'_>, roles: &dyn Fn(&str) -> Option<TopicRole>) -> SourceId {
        let of_file = if line.labels { TopicRole::Labels } else { TopicRole::Predictions };
        let (topic, partition, role) = match &line.wrapped {
            Some(wrapped) => (&*wrapped.topic, wrapped.partition, roles(&wrapped.topic).unwrap_or(of_file)),
            None => (if line.labels { LABELS } else { EVENTS }, 0, of_file),
        };
        let source = self.registry.register(topic, partition, role);
        self.evaluator.assign(source, role);
        source
    }

    fn ingest(&mut self, line: &Line<'_>, source: SourceId, offset: i64, max_bytes: usize) {
        let Some(info) = self.registry.get(source) else { return };
        let shard = Routing::worker(info.partition, self.shards.len());
        let timestamp = line.wrapped.as_ref().and_then(|wrapped| wrapped.timestamp);
        let value: &[u8] = line.wrapped.as_ref().map_or(line.bytes, |wrapped| &wrapped.value);
        let meta = RecordMeta { topic: &info.topic, key: None, timestamp, headers: &[] };
        let oversize = value.len() > max_bytes;
        let record = Record { source, role: info.role, offset, meta, value, oversize };
        if let Some(shard) = self.shards.get_mut(shard) {
            let _ = shard.ingest(&record);
        }
    }

    fn absorb(&mut self) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            self.evaluator.absorb(number, shard.take_output());
        }
    }

    fn keep(&mut self, emissions: &[Emission]) {
        for emission in emissions {
            self.results.extend(lines(emission, &mut self.sequence));
        }
    }
}

/// The lines of all inputs in the order in which they are replayed.
fn order<'a>(plan: &Plan, inputs: &[Input<'a>]) -> Vec<Line<'a>> {
    let mut decoder = Decoder::new(Arc::clone(&plan.mapping), &plan.dictionary).with_max_bytes(plan.max_bytes);
    let mut lines = Vec::new();
    for input in inputs {
        // Lines without a readable time of their own stay with the line before.
        let mut latest = Timestamp(i64::MIN);
        for bytes in input.bytes.split(|byte| *byte == b'\n') {
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if bytes.is_empty() {
                continue;
            }
            let wrapped = unwrap_line(bytes);
            let value: &[u8] = wrapped.as_ref().map_or(bytes, |wrapped| &wrapped.value);
            let timestamp = wrapped.as_ref().and_then(|wrapped| wrapped.timestamp);
            let event = decoder.decode(value, &RecordMeta { timestamp, ..RecordMeta::default() });
            let own = event.ok().and_then(|event| event.time().ok()).map(|time| time.at);
            let at = match (&wrapped, own) {
                // The order of offsets is the order of the file; only the files are merged by time.
                (Some(_), Some(own)) => latest.max(own),
                (None, Some(own)) => own,
                (_, None) => latest,
            };
            latest = at;
            lines.push(Line { at, labels: input.role == TopicRole::Labels, bytes, wrapped });
        }
    }
    lines.sort_by_key(|line| (line.at, line.labels));
    lines
}
