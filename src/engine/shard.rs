//! The worker's half of the engine: it decodes the records of its source partitions and counts them into open panes.
//!
//! One shard has one owner and no lock. Which shard counts a partition does not matter: panes of all shards are added
//! up, and lateness is a matter of the partition alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::baseline::cell::{Placed, count, place};
use crate::baseline::output::{OutputError, OutputRule, RawOutput, class_index, resolve_output};
use crate::baseline::{Baseline, Layout, Task};
use crate::event::decode::{Decoder, Kind, RawEvent, RecordMeta};
use crate::event::{Outcome, Reject, Scalar, SourceId, Subject, Timestamp, TopicRole};
use crate::join::{Label, Predicted, RecordId, Truth};
use crate::window::{LateKey, Pane, Partition, SeriesId};

use super::output::{JoinHalf, Progress, ShardOutput};
use super::plan::{FeaturesFrom, MAX_VERSIONS, ModelPlan, Plan};
use super::series::SeriesKey;

/// Probabilities of one event that are looked at without an allocation.
const CLASSES_ON_STACK: usize = 16;

/// A record as it comes from a source.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its source partition.
    pub source: SourceId,
    /// What its topic carries.
    pub role: TopicRole,
    /// Its offset.
    pub offset: i64,
    /// Topic, key, time and headers.
    pub meta: RecordMeta<'a>,
    /// Its value.
    pub value: &'a [u8],
    /// Whether the value was too large to be handed on.
    pub oversize: bool,
}

/// Open panes and progress of one source partition, named so that any worker of a later process can go on with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Progress and panes; the panes' series are indices into `series`.
    pub partition: Partition,
    /// The series of the panes.
    pub series: Vec<SeriesKey>,
}

/// Where a column of a version's layout gets its value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Feature(u32),
    Prediction,
    Score,
    Proba(usize),
    Nothing,
}

/// What is known of one version of one model.
#[derive(Debug)]
struct Version {
    name: Arc<str>,
    baseline: Option<Arc<Baseline>>,
    layout: Arc<Layout>,
    origins: Vec<Origin>,
    /// Series by segment number; made when first needed.
    series: Vec<Option<SeriesId>>,
}

#[derive(Debug, Default)]
struct ModelState {
    versions: Vec<Version>,
    by_name: FxHashMap<Arc<str>, usize>,
    /// The version of the last event.
    last: usize,
}

/// Counting state of one worker.
#[derive(Debug)]
pub struct Shard {
    plan: Arc<Plan>,
    decoder: Decoder,
    partitions: BTreeMap<SourceId, Partition>,
    models: Vec<ModelState>,
    series: Vec<SeriesKey>,
    /// How many series the evaluator has been told of.
    told: usize,
    counting: Counting,
    output: ShardOutput,
    last_model: u16,
}

/// Buffers used again for each event.
#[derive(Debug, Default)]
struct Counting {
    /// For each column where its value is counted; nowhere for columns that this event does not carry.
    placed: Vec<Option<Placed>>,
    targets: Vec<u16>,
    text: String,
    segment: String,
}

impl Shard {
    /// A shard without state.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Shard {
        Shard {
            decoder: Decoder::new(Arc::clone(&plan.mapping), &plan.dictionary).with_max_bytes(plan.max_bytes),
            models: plan.models.iter().map(|_| ModelState::default()).collect(),
            plan,
            partitions: BTreeMap::new(),
            series: Vec::new(),
            told: 0,
            counting: Counting::default(),
            output: ShardOutput::default(),
            last_model: 0,
        }
    }

    /// Counts one record. Its outcome is in the counts of the next output, too.
    pub fn ingest(&mut self, record: &Record<'_>) -> Outcome {
        let outcome = self.outcome(record);
        self.output.counts.entry(record.source).or_default().count(outcome);
        outcome
    }

    /// What there is to say since the last time.
    pub fn take_output(&mut self) -> ShardOutput {
        let mut output = std::mem::take(&mut self.output);
        output.series = self.series.get(self.told..).unwrap_or(&[]).to_vec();
        self.told = self.series.len();
        let moved = output.counts.keys().copied().collect::<Vec<_>>();
        output.progress.extend(moved.into_iter().filter_map(|source| self.progress(source)));
        output
    }

    /// Hands the open panes of a partition on, because windows are to be closed without waiting for it.
    pub fn flush(&mut self, source: SourceId) {
        if let Some(partition) = self.partitions.get_mut(&source) {
            self.output.panes.extend(partition.take_open());
        }
    }

    /// The state of all partitions, to be stored.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<SourceId, PartitionState> {
        self.partitions
            .iter()
            .map(|(source, partition)| (*source, PartitionState { partition: partition.clone(), series: self.series.clone() }))
            .collect()
    }

    /// Goes on with the stored state of a partition.
    pub fn restore(&mut self, source: SourceId, state: PartitionState) {
        let PartitionState { mut partition, series } = state;
        let numbers: Vec<SeriesId> = series.iter().map(|key| self.series_of(key)).collect();
        partition.rebuild(|old| numbers.get(old.0 as usize).copied().unwrap_or(old));
        self.partitions.insert(source, partition);
        self.output.progress.extend(self.progress(source));
    }

    fn progress(&self, source: SourceId) -> Option<Progress> {
        let partition = self.partitions.get(&source)?;
        Some(Progress { source, watermark: partition.watermark, earliest: partition.earliest })
    }

    fn series_of(&mut self, key: &SeriesKey) -> SeriesId {
        let Some(model) = self.plan.models.get(usize::from(key.model)) else { return SeriesId(0) };
        let Some(state) = self.models.get_mut(usize::from(key.model)) else { return SeriesId(0) };
        let version = state.version(&key.version, model, &self.plan).unwrap_or(0);
        series_number(&mut self.series, state, version, key.model, key.segment)
    }

    fn outcome(&mut self, record: &Record<'_>) -> Outcome {
        if record.oversize {
            return Outcome::Rejected(Reject::Oversize);
        }
        let Shard { plan, decoder, partitions, models, series, counting, output, last_model, .. } = self;
        let event = match decoder.decode(record.value, &record.meta) {
            Ok(event) => event,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let kind = event.kind.unwrap_or(match record.role {
            TopicRole::Predictions => Kind::Prediction,
            TopicRole::Features => Kind::Features,
            TopicRole::Labels => Kind::Label,
        });
        let Some(name) = event.model else { return Outcome::Rejected(Reject::MissingModel) };
        let number = match plan.models.get(usize::from(*last_model)) {
            Some(model) if *model.name == *name => *last_model,
            _ => match plan.by_name.get(name) {
                Some(number) => *number,
                None => return Outcome::Rejected(Reject::UnknownModel),
            },
        };
        *last_model = number;
        if output.seen.last() != Some(&number) {
            output.seen.push(number);
        }
        let (Some(model), Some(state)) = (plan.models.get(usize::from(number)), models.get_mut(usize::from(number))) else {
            return Outcome::Rejected(Reject::UnknownModel);
        };
        let time = match event.time() {
            Ok(time) => time,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let ts = time.at;
        if record.meta.timestamp.is_some_and(|written| ts > written + plan.future_tolerance) {
            return Outcome::Rejected(Reject::Future);
        }
        let partition = partitions.entry(record.source).or_default();
        let mut pass = Pass { number, model, state, partition, series, counting, output, ts, record };
        let outcome = match kind {
            Kind::Label => pass.label(&event),
            Kind::Prediction => pass.prediction(&event, plan),
            Kind::Features => pass.features(&event, plan),
        };
        let counts = output.counts.entry(record.source).or_default();
        counts.unknown_features += u64::from(event.unknown_features);
        counts.nonstandard_json += u64::from(event.nonstandard);
        counts.timestamp_fallbacks += u64::from(time.is_fallback);
        outcome
    }
}

/// One event on its way into the panes.
struct Pass<'s, 'r> {
    number: u16,
    model: &'s ModelPlan,
    state: &'s mut ModelState,
    partition: &'s mut Partition,
    series: &'s mut Vec<SeriesKey>,
    counting: &'s mut Counting,
    output: &'s mut ShardOutput,
    ts: Timestamp,
    record: &'s Record<'r>,
}

impl Pass<'_, '_> {
    fn label(&mut self, event: &RawEvent<'_>) -> Outcome {
        let Some(id) = event.id else { return Outcome::Rejected(Reject::MissingId) };
        let label = event.label;
        if label.is_absent() {
            return Outcome::Rejected(Reject::MissingLabel);
        }
        let truth = match self.model.task {
            Task::Regression => label.finite().map(Truth::Value),
            _ => label.level(&mut self.counting.text).and_then(|text| self.model.class(text)).map(Truth::Class),
        };
        let Some(truth) = truth else { return Outcome::Rejected(Reject::BadLabel) };
        self.partition.accept(self.ts);
        if self.model.horizon.is_none() {
            return Outcome::UnmatchedLabel;
        }
        let position = (self.record.source, self.record.offset);
        let came = self.partition.watermark.unwrap_or(self.ts);
        let label = Label { id: record_id(id), ts: self.ts, came, truth, position };
        self.output.halves.push(JoinHalf::Label { model: self.number, label });
        Outcome::Waiting
    }

    fn prediction(&mut self, event: &RawEvent<'_>, plan: &Plan) -> Outcome {
        let Some(version) = self.state.version(event.version.unwrap_or(""), self.model, plan) else { return Outcome::Shed };
        let Some(known) = self.state.versions.get(version) else { return Outcome::Shed };
        if event.probabilities.is_bad() {
            return Outcome::Rejected(Reject::BadPrediction);
        }
        // Few models have more classes than fit on the stack; those cost an allocation per event.
        let (mut few, many);
        let probabilities: &[(&str, f64)] = if event.probabilities.len() <= CLASSES_ON_STACK {
            few = [("", 0.0); CLASSES_ON_STACK];
            few.iter_mut().zip(event.probabilities.iter()).for_each(|(slot, (class, value))| *slot = (class, value.unwrap_or(f64::NAN)));
            few.get(..event.probabilities.len()).unwrap_or(&[])
        } else {
            many = event.probabilities.iter().map(|(class, value)| (class, value.unwrap_or(f64::NAN))).collect::<Vec<_>>();
            &many
        };
        let raw = RawOutput { prediction: event.prediction, score: event.score, probabilities };
        if self.model.task != Task::None && raw.prediction.is_absent() && raw.score.is_absent() && raw.probabilities.is_empty() {
            return Outcome::Rejected(Reject::MissingPrediction);
        }
        let mut text = std::mem::take(&mut self.counting.text);
        let baseline = known.baseline.clone();
        let rule = output_rule(self.model, baseline.as_deref());
        let output = match resolve_output(&rule, &raw, &mut text) {
            Ok(output) => output,
            Err(OutputError::OutOfRange(_) | OutputError::ScoreType | OutputError::PredictionType) => {
                self.counting.text = text;
                return Outcome::Rejected(Reject::BadPrediction);
            }
        };
        if let Some(reached) = self.partition.late(self.ts, self.model.lateness) {
            self.counting.text = text;
            return self.late(reached);
        }
        let with_features = self.model.features_from == FeaturesFrom::Prediction;
        self.counting.placed.clear();
        for (column, origin) in known.layout.columns.iter().zip(&known.origins) {
            let value = match *origin {
                Origin::Feature(slot) if with_features => event.feature(slot),
                Origin::Prediction => output.prediction,
                Origin::Score => output.score,
                Origin::Proba(class) => {
                    let name = rule.classes.get(class);
                    let given = raw.probabilities.iter().find(|(text, _)| name.is_some_and(|name| **name == **text));
                    given.map_or(Scalar::Missing, |(_, value)| Scalar::from_number(*value))
                }
                Origin::Feature(_) | Origin::Nothing => {
                    self.counting.placed.push(None);
                    continue;
                }
            };
            self.counting.placed.push(Some(place(&column.kind, &value, &mut text)));
        }
        self.counting.text = text;
        self.targets(event);
        let overall = self.count(version, true, event.weight);
        if let Some(latency) = event.latency_ms.filter(|latency| latency.is_finite() && *latency >= 0.0) {
            self.output.latencies.push((self.number, latency));
        }
        if let (Some(_), Some(id)) = (self.model.horizon, event.id) {
            let predicted = match self.model.task {
                Task::Regression => output.value.map(Predicted::Value),
                Task::None => None,
                Task::Binary | Task::Multiclass => {
                    // The baseline's class numbers become the model's: versions may know different classes.
                    let class = output.class.and_then(|class| rule.classes.get(class)).and_then(|class| self.model.class(class));
                    Some(Predicted::Class(class, output.probability))
                }
            };
            if let Some(predicted) = predicted {
                let segments = self.counting.targets.iter().copied().filter(|segment| *segment != 0).collect();
                self.output.halves.push(JoinHalf::Prediction { id: record_id(id), ts: self.ts, series: overall, segments, predicted });
            }
        }
        Outcome::Counted
    }

    fn features(&mut self, event: &RawEvent<'_>, plan: &Plan) -> Outcome {
        if self.model.features_from != FeaturesFrom::Features {
            // Features of an id are counted once, and here that is from its prediction.
            return Outcome::Duplicate;
        }
        if let Some(reached) = self.partition.late(self.ts, self.model.lateness) {
            return self.late(reached);
        }
        let Some(version) = self.state.version(event.version.unwrap_or(""), self.model, plan) else { return Outcome::Shed };
        let Some(known) = self.state.versions.get(version) else { return Outcome::Shed };
        self.counting.placed.clear();
        for (column, origin) in known.layout.columns.iter().zip(&known.origins) {
            let placed = match *origin {
                Origin::Feature(slot) => Some(place(&column.kind, &event.feature(slot), &mut self.counting.text)),
                _ => None,
            };
            self.counting.placed.push(placed);
        }
        self.targets(event);
        self.count(version, false, None);
        Outcome::Counted
    }

    fn late(&mut self, reached: Timestamp) -> Outcome {
        let align = |ts: Timestamp| ts.align(self.model.slice, crate::event::Span(0));
        *self.output.late.entry(LateKey { model: self.number, slice: align(self.ts), reached: align(reached) }).or_default() += 1;
        Outcome::Late
    }

    /// The segments the event belongs to; 0, all events, first.
    fn targets(&mut self, event: &RawEvent<'_>) {
        self.counting.targets.clear();
        self.counting.targets.push(0);
        for plan in &self.model.segments {
            self.counting.segment.clear();
            for (place, slot) in plan.slots.iter().enumerate() {
                if place > 0 {
                    self.counting.segment.push('\u{1f}');
                }
                self.counting.segment.push_str(event.tag(*slot).unwrap_or(""));
            }
            let segment = plan.admitted.get(self.counting.segment.as_str()).copied().unwrap_or(plan.other);
            self.counting.targets.push(segment);
        }
    }

    /// Adds the placed values to the pane of each target. Returns the overall series.
    fn count(&mut self, version: usize, is_prediction: bool, weight: Option<f64>) -> SeriesId {
        let sealed = self.partition.accept(self.ts);
        let slice = self.ts.align(self.model.slice, crate::event::Span(0));
        let sealed_at = slice + self.model.slice + self.model.lateness;
        let mut overall = SeriesId(0);
        for place in 0..self.counting.targets.len() {
            let segment = self.counting.targets.get(place).copied().unwrap_or(0);
            let series = series_number(self.series, self.state, version, self.number, segment);
            if segment == 0 {
                overall = series;
            }
            let Some(known) = self.state.versions.get(version) else { continue };
            let layout = &known.layout;
            let Some(pane) = self.partition.pane(series, slice, sealed_at, || Pane::new(layout)) else { continue };
            pane.n += u64::from(is_prediction);
            if is_prediction {
                pane.weight.add(weight.unwrap_or(1.0));
            }
            for (column, placed) in layout.columns.iter().zip(&self.counting.placed) {
                if let Some(placed) = placed {
                    count(pane, column, *placed);
                }
            }
        }
        if sealed {
            self.output.panes.extend(self.partition.take_sealed());
        }
        overall
    }
}

impl ModelState {
    /// The number of a version, given to it now if it is new. `None` when there are too many.
    fn version(&mut self, name: &str, model: &ModelPlan, plan: &Plan) -> Option<usize> {
        if self.versions.get(self.last).is_some_and(|version| *version.name == *name) {
            return Some(self.last);
        }
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None if self.versions.len() >= MAX_VERSIONS => return None,
            None => {
                let name: Arc<str> = Arc::from(name);
                self.versions.push(Version::new(Arc::clone(&name), model, plan));
                self.by_name.insert(name, self.versions.len() - 1);
                self.versions.len() - 1
            }
        };
        self.last = number;
        Some(number)
    }
}

impl Version {
    fn new(name: Arc<str>, model: &ModelPlan, plan: &Plan) -> Version {
        let baseline = model.baseline(&name).cloned();
        let layout = baseline.as_ref().map_or_else(|| Arc::new(Layout::new(Vec::new())), |baseline| Arc::clone(&baseline.layout));
        let origins = layout
            .columns
            .iter()
            .map(|column| match &column.subject {
                Subject::Feature(name) => plan.dictionary.feature_slot(name).map_or(Origin::Nothing, Origin::Feature),
                Subject::Prediction => Origin::Prediction,
                Subject::Score => Origin::Score,
                Subject::Proba(class) => {
                    baseline.as_ref().and_then(|baseline| class_index(&baseline.classes, class)).map_or(Origin::Nothing, Origin::Proba)
                }
                Subject::Label | Subject::Model | Subject::Ingest => Origin::Nothing,
            })
            .collect();
        Version { name, baseline, layout, origins, series: vec![None; model.segment_names.len().max(1)] }
    }
}

fn series_number(series: &mut Vec<SeriesKey>, state: &mut ModelState, version: usize, model: u16, segment: u16) -> SeriesId {
    let Some(known) = state.versions.get_mut(version) else { return SeriesId(0) };
    let Some(slot) = known.series.get_mut(usize::from(segment)) else { return SeriesId(0) };
    *slot.get_or_insert_with(|| {
        series.push(SeriesKey { model, version: Arc::clone(&known.name), segment });
        SeriesId(u32::try_from(series.len() - 1).unwrap_or(u32::MAX))
    })
}

/// How an output is completed; without a baseline only by what the model's own settings say.
fn output_rule<'a>(model: &'a ModelPlan, baseline: Option<&'a Baseline>) -> OutputRule<'a> {
    match baseline {
        Some(baseline) => {
            OutputRule { task: baseline.task, classes: &baseline.classes, positive: baseline.positive, threshold: baseline.threshold }
        }
        None => OutputRule { task: model.task, classes: &model.classes, positive: None, threshold: 0.5 },
    }
}

fn record_id(id: &str) -> RecordId {
    RecordId(xxh3_128(id.as_bytes()))
}
