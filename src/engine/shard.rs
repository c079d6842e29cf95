//! The worker's half of the engine: it decodes the records of its source partitions and counts them into open panes.
//!
//! One shard has one owner and no lock. Which shard counts a partition does not matter: panes of all shards are added
//! up, and lateness is a matter of the partition alone.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::baseline::cell::Places;
use crate::baseline::output::{OutputError, OutputRule, RawOutput, resolve_output};
use crate::baseline::{Baseline, Task};
use crate::event::decode::{Decoder, Kind, RawEvent, RecordMeta};
use crate::event::{Outcome, Reject, Scalar, SourceId, Timestamp, TopicRole};
use crate::join::{Label, Predicted, RecordId, Truth};
use crate::window::{LateKey, OpenPane, Pane, Partition, SeriesId};

use super::output::{Counts, JoinHalf, Progress, ShardOutput};
use super::plan::{FeaturesFrom, ModelPlan, Plan};
use super::series::SeriesKey;
use super::version::{ModelState, Origin, Version};

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
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionState {
    /// Progress and panes; the panes' series are indices into `series`.
    pub partition: Partition,
    /// The series of the panes.
    pub series: Vec<SeriesKey>,
}

/// What is known of one source partition.
#[derive(Debug, Default)]
struct Source {
    /// Made with the first event that names a model and a time.
    partition: Option<Partition>,
    /// What came of its records since the last output.
    counts: Counts,
    /// Whether there are such.
    has_moved: bool,
}

/// Counting state of one worker.
#[derive(Debug)]
pub struct Shard {
    plan: Arc<Plan>,
    decoder: Decoder,
    /// By number.
    sources: Vec<Source>,
    /// The sources with records since the last output.
    moved: Vec<SourceId>,
    models: Vec<ModelState>,
    series: Vec<SeriesKey>,
    /// How many series the evaluator has been told of.
    told: usize,
    counting: Counting,
    output: ShardOutput,
    last_model: u16,
    /// Whether sealed panes stay until they are dropped by [`Shard::drop_sealed`], instead of being handed on.
    is_cumulative: bool,
}

/// Buffers used again for each event.
#[derive(Debug, Default)]
struct Counting {
    /// Where the values are counted, of the columns that this event carries.
    places: Places,
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
            sources: Vec::new(),
            moved: Vec::new(),
            series: Vec::new(),
            told: 0,
            counting: Counting::default(),
            output: ShardOutput::default(),
            last_model: 0,
            is_cumulative: false,
        }
    }

    /// A shard of a replica: its panes are not handed on but published, again and again, with all that is in them.
    #[must_use]
    pub fn cumulative(plan: Arc<Plan>) -> Shard {
        Shard { is_cumulative: true, ..Shard::new(plan) }
    }

    /// The panes of a partition that have counted records from `acknowledged` on, with their series.
    pub fn changed(&self, source: SourceId, acknowledged: i64) -> impl Iterator<Item = (&SeriesKey, &OpenPane)> {
        let open = self.sources.get(source.0 as usize).and_then(|source| source.partition.as_ref()).map_or(&[][..], Partition::open);
        let changed = open.iter().filter(move |open| open.end > acknowledged);
        changed.filter_map(|open| Some((self.series.get(open.series.0 as usize)?, open)))
    }

    /// Drops what is sealed and has been acknowledged up to an offset.
    pub fn drop_sealed(&mut self, source: SourceId, acknowledged: i64) {
        if let Some(partition) = self.sources.get_mut(source.0 as usize).and_then(|source| source.partition.as_mut()) {
            partition.drop_sealed(acknowledged);
        }
    }

    /// Forgets a partition that somebody else reads from now on.
    pub fn forget(&mut self, source: SourceId) {
        if let Some(state) = self.sources.get_mut(source.0 as usize) {
            *state = Source { has_moved: state.has_moved, ..Source::default() };
        }
        self.output.late.retain(|(late, _), _| *late != source);
    }

    /// Counts one record. Its outcome is in the counts of the next output, too.
    pub fn ingest(&mut self, record: &Record<'_>) -> Outcome {
        let place = record.source.0 as usize;
        if place >= self.sources.len() {
            self.sources.resize_with(place + 1, Source::default);
        }
        let outcome = self.outcome(record, place);
        if let Some(source) = self.sources.get_mut(place) {
            source.counts.count(outcome);
            if !source.has_moved {
                source.has_moved = true;
                self.moved.push(record.source);
            }
        }
        outcome
    }

    /// What there is to say since the last time.
    pub fn take_output(&mut self) -> ShardOutput {
        let mut output = std::mem::take(&mut self.output);
        output.series = self.series.get(self.told..).unwrap_or(&[]).to_vec();
        self.told = self.series.len();
        self.moved.sort_unstable();
        for source in self.moved.drain(..) {
            let Some(state) = self.sources.get_mut(source.0 as usize) else { continue };
            state.has_moved = false;
            output.counts.insert(source, std::mem::take(&mut state.counts));
            output.progress.extend(state.progress(source));
        }
        output
    }

    /// Hands the open panes of a partition on, because windows are to be closed without waiting for it.
    pub fn flush(&mut self, source: SourceId) {
        if let Some(partition) = self.sources.get_mut(source.0 as usize).and_then(|source| source.partition.as_mut()) {
            self.output.panes.extend(partition.take_open());
        }
    }

    /// The partitions that have begun.
    pub fn partitions(&self) -> impl Iterator<Item = (SourceId, &Partition)> {
        (0..).map(SourceId).zip(&self.sources).filter_map(|(source, state)| Some((source, state.partition.as_ref()?)))
    }

    /// The series of its panes by number.
    #[must_use]
    pub fn series(&self) -> &[SeriesKey] {
        &self.series
    }

    /// Goes on with the stored state of a partition.
    pub fn restore(&mut self, source: SourceId, state: PartitionState) {
        let PartitionState { mut partition, series } = state;
        let numbers: Vec<SeriesId> = series.iter().map(|key| self.series_of(key)).collect();
        partition.rebuild(|old| numbers.get(old.0 as usize).copied().unwrap_or(old));
        let place = source.0 as usize;
        if place >= self.sources.len() {
            self.sources.resize_with(place + 1, Source::default);
        }
        if let Some(state) = self.sources.get_mut(place) {
            state.partition = Some(partition);
            self.output.progress.extend(state.progress(source));
        }
    }

    fn series_of(&mut self, key: &SeriesKey) -> SeriesId {
        let Some(model) = self.plan.models.get(usize::from(key.model)) else { return SeriesId(0) };
        let Some(state) = self.models.get_mut(usize::from(key.model)) else { return SeriesId(0) };
        match state.version(&key.version, model, &self.plan) {
            Some(version) => version.series_number(&mut self.series, key.model, key.segment),
            None => SeriesId(0),
        }
    }

    fn outcome(&mut self, record: &Record<'_>, place: usize) -> Outcome {
        if record.oversize {
            return Outcome::Rejected(Reject::Oversize);
        }
        let Shard { plan, decoder, sources, models, series, counting, output, last_model, is_cumulative, .. } = self;
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
        // It is there: it was made for the record.
        let Some(Source { partition, counts, .. }) = sources.get_mut(place) else { return Outcome::Shed };
        let partition = partition.get_or_insert_default();
        counts.unknown_features += u64::from(event.unknown_features);
        counts.nonstandard_json += u64::from(event.nonstandard);
        counts.timestamp_fallbacks += u64::from(time.is_fallback);
        let is_cumulative = *is_cumulative;
        let mut pass = Pass { number, model, partition, counts, series, counting, output, ts, record, is_cumulative };
        match kind {
            Kind::Label => pass.label(&event),
            Kind::Prediction => pass.prediction(&event, state, plan),
            Kind::Features => pass.features(&event, state, plan),
        }
    }
}

impl Source {
    fn progress(&self, source: SourceId) -> Option<Progress> {
        let partition = self.partition.as_ref()?;
        Some(Progress { source, watermark: partition.watermark, earliest: partition.earliest })
    }
}

/// One event on its way into the panes.
struct Pass<'s, 'r> {
    number: u16,
    model: &'s ModelPlan,
    partition: &'s mut Partition,
    counts: &'s mut Counts,
    series: &'s mut Vec<SeriesKey>,
    counting: &'s mut Counting,
    output: &'s mut ShardOutput,
    ts: Timestamp,
    record: &'s Record<'r>,
    is_cumulative: bool,
}

impl Pass<'_, '_> {
    fn label(&mut self, event: &RawEvent<'_>) -> Outcome {
        let Some(id) = event.id else { return Outcome::Rejected(Reject::MissingId) };
        let label = event.label;
        if label.is_absent() {
            return Outcome::Rejected(Reject::MissingLabel);
        }
        let truth = match self.model.task {
            Task::Regression => label.counted().map(Truth::Value),
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

    fn prediction(&mut self, event: &RawEvent<'_>, state: &mut ModelState, plan: &Plan) -> Outcome {
        let Some(known) = state.version(event.version.unwrap_or(""), self.model, plan) else { return Outcome::Shed };
        if event.probabilities.is_bad() {
            return Outcome::Rejected(Reject::BadPrediction);
        }
        // Few models have more classes than fit on the stack; those cost an allocation per event.
        let (mut few, many);
        let probabilities: &[(&str, f64)] = match event.probabilities.len() {
            0 => &[],
            classes @ ..=CLASSES_ON_STACK => {
                few = [("", 0.0); CLASSES_ON_STACK];
                few.iter_mut()
                    .zip(event.probabilities.iter())
                    .for_each(|(slot, (class, value))| *slot = (class, value.unwrap_or(f64::NAN)));
                few.get(..classes).unwrap_or(&[])
            }
            _ => {
                many = event.probabilities.iter().map(|(class, value)| (class, value.unwrap_or(f64::NAN))).collect::<Vec<_>>();
                &many
            }
        };
        let raw = RawOutput { prediction: event.prediction, score: event.score, probabilities };
        if self.model.task != Task::None && raw.prediction.is_absent() && raw.score.is_absent() && raw.probabilities.is_empty() {
            return Outcome::Rejected(Reject::MissingPrediction);
        }
        let rule = output_rule(self.model, known.baseline.as_deref());
        let text = &mut self.counting.text;
        let output = match resolve_output(&rule, &raw, text) {
            Ok(output) => output,
            Err(OutputError::OutOfRange(_) | OutputError::ScoreType | OutputError::PredictionType) => {
                return Outcome::Rejected(Reject::BadPrediction);
            }
        };
        if let Some(reached) = self.partition.late(self.ts, self.model.lateness) {
            return self.late(reached);
        }
        let with_features = self.model.features_from == FeaturesFrom::Prediction;
        self.counting.places.begin(&known.layout);
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
                Origin::Feature(_) | Origin::Nothing => continue,
            };
            self.counting.places.add(column, &value, text);
        }
        self.counting.places.end(&known.layout, event.id, self.ts.0);
        let predicted = match self.model.task {
            _ if self.model.horizon.is_none() => None,
            Task::Regression => output.value.map(Predicted::Value),
            Task::None => None,
            Task::Binary | Task::Multiclass => {
                // The baseline's class numbers become the model's: versions may know different classes.
                let class = output.class.and_then(|class| rule.classes.get(class)).and_then(|class| self.model.class(class));
                Some(Predicted::Class(class, output.probability))
            }
        };
        self.counts.other_segments += u64::from(self.counting.find_targets(self.model, event));
        let overall = self.count(known, true, event.weight);
        if let Some(latency) = event.latency_ms.filter(|latency| latency.is_finite() && *latency >= 0.0) {
            self.output.latencies.push((self.number, latency));
        }
        if let (Some(predicted), Some(id)) = (predicted, event.id) {
            let segments = self.counting.targets.iter().copied().filter(|segment| *segment != 0).collect();
            let came = self.partition.watermark.unwrap_or(self.ts);
            let position = (self.record.source, self.record.offset);
            let id = record_id(id);
            self.output.halves.push(JoinHalf::Prediction { id, ts: self.ts, came, position, series: overall, segments, predicted });
        }
        Outcome::Counted
    }

    fn features(&mut self, event: &RawEvent<'_>, state: &mut ModelState, plan: &Plan) -> Outcome {
        if self.model.features_from != FeaturesFrom::Features {
            // Features of an id are counted once, and here that is from its prediction.
            return Outcome::Duplicate;
        }
        if let Some(reached) = self.partition.late(self.ts, self.model.lateness) {
            return self.late(reached);
        }
        let Some(known) = state.version(event.version.unwrap_or(""), self.model, plan) else { return Outcome::Shed };
        let text = &mut self.counting.text;
        self.counting.places.begin(&known.layout);
        for (column, origin) in known.layout.columns.iter().zip(&known.origins) {
            if let Origin::Feature(slot) = *origin {
                self.counting.places.add(column, &event.feature(slot), text);
            }
        }
        self.counting.places.end(&known.layout, event.id, self.ts.0);
        self.counts.other_segments += u64::from(self.counting.find_targets(self.model, event));
        self.count(known, false, None);
        Outcome::Counted
    }

    fn late(&mut self, reached: Timestamp) -> Outcome {
        let align = |ts: Timestamp| ts.align(self.model.slice, crate::event::Span(0));
        if self.record.offset < self.partition.late_resume(self.number) {
            return Outcome::Late;
        }
        let key = LateKey { model: self.number, slice: align(self.ts), reached: align(reached) };
        *self.output.late.entry((self.record.source, key)).or_default() += 1;
        Outcome::Late
    }

    /// Adds the placed values to the pane of each target. Returns the overall series.
    fn count(&mut self, known: &mut Version, is_prediction: bool, weight: Option<f64>) -> SeriesId {
        let sealed = self.partition.accept(self.ts);
        let slice = self.ts.align(self.model.slice, crate::event::Span(0));
        let sealed_at = slice + self.model.slice + self.model.lateness;
        let mut overall = SeriesId(0);
        for segment in self.counting.targets.iter().copied() {
            let series = known.series_number(self.series, self.number, segment);
            if segment == 0 {
                overall = series;
            }
            let layout = &known.layout;
            let Some(open) = self.partition.pane(series, slice, sealed_at, || Pane::new(layout)) else { continue };
            if self.record.offset < open.resume {
                continue;
            }
            open.end = self.record.offset + 1;
            let pane = &mut open.pane;
            pane.n += u64::from(is_prediction);
            if is_prediction {
                pane.weight.add(weight.unwrap_or(1.0));
            }
            self.counting.places.count(pane);
        }
        if sealed && !self.is_cumulative {
            self.output.panes.extend(self.partition.take_sealed());
        }
        overall
    }
}

impl Counting {
    /// The segments the event belongs to; 0, all events, first. Tells whether one of them is `other`.
    fn find_targets(&mut self, model: &ModelPlan, event: &RawEvent<'_>) -> bool {
        self.targets.clear();
        self.targets.push(0);
        let mut is_other = false;
        for plan in &model.segments {
            self.segment.clear();
            for (place, slot) in plan.slots.iter().enumerate() {
                if place > 0 {
                    self.segment.push('\u{1f}');
                }
                self.segment.push_str(event.tag(*slot).unwrap_or(""));
            }
            let segment = plan.admitted.get(self.segment.as_str()).copied().unwrap_or(plan.other);
            is_other |= segment == plan.other;
            self.targets.push(segment);
        }
        is_other
    }
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
