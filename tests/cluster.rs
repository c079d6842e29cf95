//! One answer on any number of machines: what the owner of a model says of what replicas tell it is, byte for byte, what one
//! process says that reads everything itself; in whatever order, however often and by whomever it is told, and whoever owns.
#![allow(clippy::type_complexity)]

mod replay_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use driftline::app::assemble::Assembly;
use driftline::engine::cluster::Owner;
use driftline::engine::cluster::wire::{Events, Joined, Key, Labels, Late, Progress, SeriesName, SourceName, to_bytes};
use driftline::engine::evaluator::Gap;
use driftline::engine::output::JoinHalf;
use driftline::engine::result::{ResultLine, lines};
use driftline::engine::series::SeriesKey;
use driftline::engine::{Counts, Emission, Evaluator, Plan, Record, Shard};
use driftline::event::decode::RecordMeta;
use driftline::event::{Metric, Outcome, SourceId, Span, Timestamp, TopicRole};
use driftline::join::{Predicted, RecordId, Truth};
use driftline::window::{JoinedPane, Observed, Pane};
use proptest::collection::vec;
use proptest::prelude::*;
use replay_support::{assembled, build_baseline, scratch, write};
use serde_json::{Value, json};

/// The first instant of the stream; a multiple of no window.
const START: i64 = 1_700_000_003_000;
const LATENESS: i64 = 15_000;
const HORIZON: i64 = 120_000;
/// The wall clock of the tests; it stands still unless a test moves it.
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Partitions of each topic.
const PARTITIONS: i32 = 3;

const RULES: &str = r#"groups:
  - name: loan
    model: loan
    rules:
      - alert: FeaturePSI
        each: [feature]
        source: { metric: psi, window: sliding }
        value: psi
        fire: { warning: { above: 0.2, for: 2 of 3 windows }, critical: { above: 0.6, for: 2 windows } }
        resolve: { below: 0.1, for: 2 windows }
        incomplete: ok
        on_firing: [ { action: retrain, with: { reason: drift } } ]
      - alert: AccuracyDrop
        source: { metric: accuracy, window: long, label_coverage: 0.5 }
        value: accuracy
        fire: { critical: { below: 0.55, for: 1 windows } }
        resolve: { above: 0.6, for: 1 windows }
        incomplete: ok
      - alert: Detected
        each: [feature]
        source: { metric: adwin, window: sliding }
        fire: { critical: { above: 0.9, for: 1 windows } }
        incomplete: ok
      - alert: ErrorsDetected
        source: { metric: ddm, window: long, label_coverage: 0.5 }
        fire: { warning: { above: 0.4, for: 1 windows }, critical: { above: 0.9, for: 1 windows } }
        incomplete: ok
      - alert: Silent
        kind: absence
        fire: { critical: { above: 15m } }
route: { receiver: none }
receivers: [ { name: none } ]
actions:
  retrain: { url: "http://127.0.0.1:1/", method: POST, budget: { max: 2, per: 7d } }
"#;

/// A plan of one model, and the same with another window.
struct Plans {
    one: Assembly,
    other: Assembly,
}

static PLANS: LazyLock<Plans> = LazyLock::new(|| {
    let directory = scratch("cluster");
    write(&directory, "rules.yaml", RULES);
    let config = |windows: &str| {
        format!(
            "models:\n  - {{ name: loan, baseline: loan.json, task: binary, positive_class: repaid, windows: [ {windows} ], lateness: {LATENESS}ms, min_samples: 1, detectors: [ {{ name: adwin, clock: 1, delta: 0.3 }}, {{ name: page_hinkley, threshold: 5, min_instances: 5 }}, ddm, eddm, {{ name: hddm_a, two_sided_test: true }}, hddm_w ], labels: {{ horizon: {HORIZON}ms }}, segments: [ {{ by: tags.region }} ] }}\nrules: [rules.yaml]\n"
        )
    };
    let windows = "{ name: sliding, size: 60s, slide: 20s, offset: 5s }, { name: tumbling, size: 60s }, { name: long, size: 300s, slide: 60s, offset: 30s }";
    let one = write(&directory, "one.yaml", &config(windows));
    let other = write(&directory, "other.yaml", &config(&windows.replace("size: 60s }", "size: 120s }")));
    let mut csv = String::from("id,age,country,tags.region,prediction,score,label\n");
    for row in 0..400i64 {
        let (region, country) = (if row % 3 == 0 { "eu" } else { "us" }, ["de", "fr", "fr", "pl"][usize::try_from(row % 4).unwrap()]);
        let (prediction, score) = if row % 5 < 3 { ("repaid", 50 + row % 50) } else { ("default", row % 50) };
        let label = if row % 7 == 0 { "default" } else { prediction };
        let age = 20 + (row * row + 3 * row) % 53;
        let _ = writeln!(csv, "r{row},{age},{country},{region},{prediction},{},{label}", score as f64 / 100.0);
    }
    let csv = write(&directory, "loan.csv", &csv);
    build_baseline(&one, "loan", &csv, &directory.join("loan.json"));
    Plans { one: assembled(&one), other: assembled(&other) }
});

/// SplitMix64: the streams are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn time(&mut self, below: i64) -> i64 {
        i64::try_from(self.roll(u64::try_from(below).unwrap())).unwrap()
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[usize::try_from(self.roll(values.len() as u64)).unwrap()]
    }
}

fn names() -> Vec<(SourceName, TopicRole)> {
    let of = |topic: &'static str, role| (0..PARTITIONS).map(move |partition| (SourceName { topic: topic.into(), partition }, role));
    of("labels", TopicRole::Labels).chain(of("predictions", TopicRole::Predictions)).collect()
}

/// The records of each source partition, in the order of [`names`], with the instants at which they are produced: out of
/// order, late, poison, labels before their predictions, again, corrected, of nothing, beyond the horizon.
type Stream = Vec<Vec<(i64, Vec<u8>)>>;

fn stream(seed: u64, records: i64, length: i64) -> Stream {
    let mut dice = Dice(seed);
    let mut sources: Vec<Vec<(i64, Vec<u8>)>> = vec![Vec::new(); 2 * usize::try_from(PARTITIONS).unwrap()];
    for number in 0..records {
        let arrival = START + number * length / records;
        let ts = arrival - if dice.roll(20) == 0 { dice.time(60_000) } else { dice.time(LATENESS / 2) };
        let (id, partition) = (format!("p{number}"), usize::try_from(dice.roll(3)).unwrap());
        let drift = i64::from(number > records / 2) * 15;
        let age = match dice.roll(12) {
            0 => Value::Null,
            1 => json!("old"),
            _ => json!(20 + drift + dice.time(60)),
        };
        let (version, country) = (dice.of(&["1", "1", "2"]), dice.of(&["de", "fr", "pl", "xx"]));
        let event = json!({"model": "loan", "version": version, "id": id, "ts": ts, "features": {"age": age, "country": country},
            "score": dice.roll(101) as f64 / 100.0, "tags": {"region": dice.of(&["eu", "us", "mars"])}});
        let event = if dice.roll(50) == 0 { json!("poison") } else { event };
        sources[3 + partition].push((arrival, event.to_string().into_bytes()));
        let times = match dice.roll(10) {
            0 => vec![],
            1 => vec![ts - dice.time(40_000)],
            2 => vec![ts + HORIZON - 5_000 + dice.time(10_000)],
            3 => vec![ts + 30_000, ts + 30_000],
            4 => vec![ts + 10_000, ts + 40_000],
            _ => vec![ts + dice.time(90_000)],
        };
        for at in times {
            let label = dice.of(&["repaid", "default"]);
            let id = if dice.roll(40) == 0 { format!("nobody{number}") } else { id.clone() };
            // Labels near the horizon come in order: when their prediction is forgotten is not promised to the second.
            let delay = if dice.roll(8) == 0 && at < ts + 40_000 { dice.time(50_000) } else { 0 };
            let event = json!({"model": "loan", "id": id, "ts": at, "label": label});
            sources[partition].push((at + delay, event.to_string().into_bytes()));
        }
    }
    sources.iter_mut().for_each(|records| records.sort_by_key(|(arrival, _)| *arrival));
    sources
}

fn record<'a>(source: u32, role: TopicRole, topic: &'a str, offset: usize, value: &'a [u8]) -> Record<'a> {
    let meta = RecordMeta { topic, key: None, timestamp: None, headers: &[] };
    Record { source: SourceId(source), role, offset: i64::try_from(offset).unwrap(), meta, value, oversize: false }
}

/// Which source reads how many records, one turn after another, and in which of those turns the owner looks at its clocks.
type Script = Vec<(usize, usize)>;

/// All records of the stream, in turns by the script, which is begun again until nothing is left.
fn turns(stream: &Stream, script: &Script) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut next = vec![0usize; stream.len()];
    let mut turns = Vec::new();
    // A script that leaves a source out has it read last.
    let rest = (0..stream.len()).map(|source| (source, usize::MAX));
    let rounds = stream.iter().map(Vec::len).sum::<usize>();
    for (source, wanted) in script.iter().copied().cycle().take(rounds * script.len().min(1)).chain(rest) {
        let from = next[source];
        let to = from.saturating_add(wanted).min(stream[source].len());
        if from < to {
            next[source] = to;
            turns.push((source, from..to));
        }
    }
    turns
}

/// Lines and what they are ordered by.
#[derive(Default)]
struct Said {
    lines: Vec<ResultLine>,
    sequence: u64,
}

impl Said {
    fn take(&mut self, emissions: &[Emission]) {
        for emission in emissions {
            self.lines.extend(lines(emission, &mut self.sequence));
        }
    }

    /// In order; a line that was said again in the same words is the same line.
    fn text(mut self) -> String {
        self.lines.sort();
        let mut seen = BTreeSet::new();
        self.lines.into_iter().filter(|line| seen.insert(line.json.clone())).fold(String::new(), |text, line| text + &line.json + "\n")
    }
}

/// One process that reads everything itself.
fn alone(stream: &Stream, script: &Script) -> String {
    let assembly = &PLANS.one;
    let mut shard = Shard::new(Arc::clone(&assembly.plan));
    let mut evaluator = Evaluator::new(Arc::clone(&assembly.plan), Arc::clone(&assembly.rules));
    let names = names();
    for (number, (_, role)) in (0..).zip(&names) {
        evaluator.assign(SourceId(number), *role);
    }
    let mut said = Said::default();
    for (source, range) in turns(stream, script) {
        let (name, role) = &names[source];
        for offset in range {
            let _ = shard.ingest(&record(u32::try_from(source).unwrap(), *role, &name.topic, offset, &stream[source][offset].1));
        }
        evaluator.absorb(0, shard.take_output());
        said.take(&evaluator.advance(None));
    }
    for number in 0..names.len() {
        shard.flush(SourceId(u32::try_from(number).unwrap()));
    }
    evaluator.absorb(0, shard.take_output());
    for number in 0..names.len() {
        evaluator.set_idle(SourceId(u32::try_from(number).unwrap()), true);
    }
    said.take(&evaluator.advance(None));
    said.text()
}

/// A record of the panes topic.
#[derive(Clone, Debug)]
struct Post {
    key: Key,
    value: Vec<u8>,
    /// The least label tick of an owner that can do without the versions before it.
    tick: Option<Timestamp>,
}

/// A prediction or a label as it came.
struct Half {
    came: Timestamp,
    ts: Timestamp,
    version: Arc<str>,
    segments: Vec<u16>,
    predicted: Predicted,
}

/// A pane as it was counted so far, and whether there is more in it than was said.
struct Counted {
    sealed_at: Timestamp,
    pane: Pane,
    has_news: bool,
}

/// The counting of one source partition, by whoever reads it.
struct Reader {
    name: SourceName,
    role: TopicRole,
    shard: Shard,
    series: Vec<SeriesKey>,
    panes: BTreeMap<(SeriesKey, Timestamp), Counted>,
    watermark: Option<Timestamp>,
    earliest: Option<Timestamp>,
    counts: Counts,
    late: BTreeMap<(Timestamp, Timestamp), u64>,
    end: i64,
    gaps: Vec<Gap>,
}

/// The joins of the partitions of one number, worked out from nothing at every tick.
#[derive(Default)]
struct Joins {
    predictions: BTreeMap<RecordId, Half>,
    labels: BTreeMap<RecordId, Vec<(Timestamp, i64, Timestamp, Truth)>>,
    said: BTreeMap<(Timestamp, Arc<str>, u16), JoinedPane>,
    tick: Option<Timestamp>,
}

/// All replicas: who reads what is told by the script; what they say goes into one topic.
struct Replicas {
    plan: Arc<Plan>,
    readers: Vec<Reader>,
    joins: Vec<Joins>,
    at: Timestamp,
}

impl Replicas {
    fn new(assembly: &Assembly) -> Replicas {
        let reader = |(name, role)| Reader {
            name,
            role,
            shard: Shard::new(Arc::clone(&assembly.plan)),
            series: Vec::new(),
            panes: BTreeMap::new(),
            watermark: None,
            earliest: None,
            counts: Counts::default(),
            late: BTreeMap::new(),
            end: 0,
            gaps: Vec::new(),
        };
        Replicas {
            plan: Arc::clone(&assembly.plan),
            readers: names().into_iter().map(reader).collect(),
            joins: (0..PARTITIONS).map(|_| Joins::default()).collect(),
            at: NOW,
        }
    }

    /// Reads records and says what has changed.
    fn turn(&mut self, stream: &Stream, source: usize, range: std::ops::Range<usize>, is_idle: bool) -> Vec<Post> {
        let model = &self.plan.models[0];
        let reader = &mut self.readers[source];
        let joins = &mut self.joins[usize::try_from(reader.name.partition).unwrap()];
        for offset in range {
            let value = &stream[source][offset].1;
            let outcome = reader.shard.ingest(&record(0, reader.role, &reader.name.topic, offset, value));
            reader.end = i64::try_from(offset).unwrap() + 1;
            if outcome == Outcome::Late {
                let ts = Timestamp(serde_json::from_slice::<Value>(value).unwrap()["ts"].as_i64().unwrap());
                let align = |at: Timestamp| at.align(model.slice, Span(0));
                *reader.late.entry((align(ts), align(reader.watermark.unwrap() - model.lateness))).or_default() += 1;
            }
            reader.shard.flush(SourceId(0));
            let output = reader.shard.take_output();
            reader.series.extend(output.series);
            for progress in output.progress {
                (reader.watermark, reader.earliest) = (progress.watermark, progress.earliest);
            }
            output.counts.values().for_each(|counts| reader.counts.merge(counts));
            for open in output.panes {
                let key = (reader.series[open.series.0 as usize].clone(), open.slice);
                let sealed_at = open.sealed_at;
                let counted = reader.panes.entry(key).or_insert_with(|| Counted { sealed_at, pane: Pane::default(), has_news: true });
                counted.has_news = true;
                if counted.pane == Pane::default() {
                    counted.pane = open.pane;
                } else {
                    counted.pane.merge(&open.pane);
                }
            }
            let came = reader.watermark.unwrap_or_default();
            for half in output.halves {
                match half {
                    JoinHalf::Prediction { id, ts, series, segments, predicted, .. } => {
                        let version = Arc::clone(&reader.series[series.0 as usize].version);
                        let segments = segments.to_vec();
                        joins.predictions.entry(id).or_insert(Half { came, ts, version, segments, predicted });
                    }
                    JoinHalf::Label { label, .. } => {
                        joins.labels.entry(label.id).or_default().push((came, reader.end, label.ts, label.truth));
                    }
                }
            }
        }
        let number = reader.name.partition;
        // Nobody says two things at once.
        self.at = self.at + Span(1);
        let mut posts = self.panes(source);
        posts.push(self.progress(source, is_idle));
        posts.extend(self.labels(number, is_idle));
        posts
    }

    fn series(&self, version: &Arc<str>, segment: u16) -> SeriesName {
        let model = &self.plan.models[0];
        SeriesName { model: Arc::clone(&model.name), layout: model.fingerprint(), version: Arc::clone(version), segment }
    }

    fn panes(&mut self, source: usize) -> Vec<Post> {
        let mut posts = Vec::new();
        let reader = &self.readers[source];
        for ((key, slice), counted) in reader.panes.iter().filter(|(_, counted)| counted.has_news) {
            let key = Key::Events { series: self.series(&key.version, key.segment), slice: *slice, source: reader.name.clone() };
            let value = to_bytes(&Events { end: reader.end, sealed_at: counted.sealed_at, pane: counted.pane.clone() });
            posts.push(Post { key, value, tick: None });
        }
        self.readers[source].panes.values_mut().for_each(|counted| counted.has_news = false);
        posts
    }

    fn progress(&self, source: usize, is_idle: bool) -> Post {
        let reader = &self.readers[source];
        let model = &self.plan.models[0];
        let late = reader.late.iter().map(|((slice, reached), records)| {
            let (model, layout) = (Arc::clone(&model.name), model.fingerprint());
            Late { model, layout, slice: *slice, reached: *reached, records: *records }
        });
        let progress = Progress {
            role: reader.role,
            topic_id: None,
            start: 0,
            end: reader.end,
            watermark: reader.watermark,
            earliest: reader.earliest,
            is_idle,
            counts: reader.counts.clone(),
            late: late.collect(),
            gaps: reader.gaps.clone(),
            tombstones: 0,
            example: None,
            instance: "a".into(),
            at: self.at,
        };
        Post { key: Key::Progress { source: reader.name.clone() }, value: to_bytes(&progress), tick: None }
    }

    /// The joined panes as of every tick since the last at which they changed, and how far the joins are.
    fn labels(&mut self, number: i32, is_idle: bool) -> Vec<Post> {
        let of: Vec<&Reader> = self.readers.iter().filter(|reader| reader.name.partition == number).collect();
        let slice = self.plan.models[0].slice;
        let clock = if is_idle {
            // Nothing holds a label back: what has come counts at the tick after it.
            of.iter().filter_map(|reader| reader.watermark).max().map(|at| (at + Span(slice.0 - 1)).align(slice, Span(0)))
        } else {
            of.iter().map(|reader| reader.watermark).min().flatten().map(|at| at.align(slice, Span(0)))
        };
        let mut posts = Vec::new();
        let place = usize::try_from(number).unwrap();
        if let Some(clock) = clock.filter(|clock| self.joins[place].tick.is_none_or(|tick| *clock > tick)) {
            let first = self.joins[place].first(self.joins[place].tick);
            let mut tick = first.map_or(clock, |first| (first + Span(slice.0 - 1)).align(slice, Span(0)));
            while tick <= clock {
                for ((at, version, segment), pane) in self.joins[place].changed(&self.plan, tick) {
                    let key = Key::Joined { series: self.series(&version, segment), slice: at, partition: number };
                    posts.push(Post { key, value: to_bytes(&Joined { tick, pane }), tick: Some(tick) });
                }
                tick = tick + slice;
            }
            self.joins[place].tick = Some(clock);
        }
        posts.push(self.joined_to(number, is_idle, false));
        posts
    }

    fn joined_to(&self, number: i32, is_idle: bool, is_rebuilding: bool) -> Post {
        let model = &self.plan.models[0];
        let labels = Labels {
            ends: Vec::new(),
            tick: self.joins[usize::try_from(number).unwrap()].tick,
            is_idle,
            is_rebuilding,
            settled: Vec::new(),
            waiting_labels: 0,
            waiting_predictions: 0,
            instance: "a".into(),
            at: self.at,
        };
        let key = Key::Labels { model: Arc::clone(&model.name), layout: model.fingerprint(), partition: number };
        Post { key, value: to_bytes(&labels), tick: None }
    }
}

impl Joins {
    /// When the first half came after an instant.
    fn first(&self, after: Option<Timestamp>) -> Option<Timestamp> {
        let labels = self.labels.values().flatten().map(|(came, ..)| *came);
        self.predictions.values().map(|half| half.came).chain(labels).filter(|came| after.is_none_or(|after| *came > after)).min()
    }

    /// The panes that are others at a tick than were said: all pairs whose halves have both come.
    fn changed(&mut self, plan: &Plan, tick: Timestamp) -> Vec<((Timestamp, Arc<str>, u16), JoinedPane)> {
        let model = &plan.models[0];
        let mut panes: BTreeMap<(Timestamp, Arc<str>, u16), JoinedPane> = BTreeMap::new();
        for (id, half) in self.predictions.iter().filter(|(_, half)| half.came <= tick) {
            let baseline = model.baseline(&half.version).unwrap();
            let mut labels: Vec<_> = self.labels.get(id).into_iter().flatten().filter(|(came, ..)| *came <= tick).collect();
            labels.sort_by_key(|(came, offset, ..)| (*came, *offset));
            let patience = model.lateness + Span(5 * 60_000);
            let fits = |ts: Timestamp| ts - half.ts <= model.horizon.unwrap() && half.ts - ts <= patience;
            let Some((.., Truth::Class(truth))) = labels.into_iter().rfind(|(_, _, ts, _)| fits(*ts)) else { continue };
            let Predicted::Class(predicted, score) = half.predicted else { panic!("a binary model") };
            let class = |number: u16| baseline.classes.iter().position(|class| *class == model.classes[usize::from(number)]);
            let pair = Observed::Class { truth: class(*truth).unwrap(), predicted: predicted.and_then(class), score };
            for segment in std::iter::once(0).chain(half.segments.iter().copied()) {
                let slice = half.ts.align(model.slice, Span(0));
                let pane = panes.entry((slice, Arc::clone(&half.version), segment)).or_insert_with(|| JoinedPane::new(&baseline.joined));
                pane.add(&baseline.joined, &pair);
            }
        }
        let changed: Vec<_> = panes.into_iter().filter(|(place, pane)| self.said.get(place) != Some(pane)).collect();
        self.said.extend(changed.iter().cloned());
        changed
    }
}

/// Everything that the replicas say of the whole stream, turn by turn.
fn told(stream: &Stream, script: &Script) -> Vec<Vec<Post>> {
    let mut replicas = Replicas::new(&PLANS.one);
    let mut told: Vec<Vec<Post>> =
        turns(stream, script).into_iter().map(|(source, range)| replicas.turn(stream, source, range, false)).collect();
    told.push((0..stream.len()).flat_map(|source| replicas.turn(stream, source, 0..0, true)).collect());
    told
}

fn owner(decision: Option<&[u8]>) -> Owner {
    let (mut owner, _) = Owner::new(Arc::clone(&PLANS.one.plan), Arc::clone(&PLANS.one.rules), decision).unwrap();
    owner.expect(&names(), NOW);
    owner
}

fn hear(owner: &mut Owner, offset: usize, post: &Post) {
    owner.hear(i64::try_from(offset).unwrap(), &Key::from_bytes(&post.key.to_bytes()).unwrap(), Some(&post.value)).unwrap();
}

/// An owner from the beginning to the end of what is told.
fn owned(told: &[Vec<Post>]) -> String {
    let mut owner = owner(None);
    owner.catch_up_done();
    let mut said = Said::default();
    let mut offset = 0;
    for posts in told {
        for post in posts {
            hear(&mut owner, offset, post);
            offset += 1;
        }
        said.take(&owner.advance(None, NOW));
    }
    assert_eq!(owner.shed(), 0);
    said.text()
}

#[track_caller]
fn assert_same(wanted: &str, got: &str, what: &str) {
    if wanted == got {
        return;
    }
    let only = |a: &str, b: &str| -> String {
        let other: BTreeSet<&str> = b.lines().collect();
        a.lines().filter(|line| !other.contains(line)).take(6).fold(String::new(), |text, line| text + line + "\n")
    };
    panic!("{what}: other bytes\nonly in the first:\n{}\nonly in the other:\n{}", only(wanted, got), only(got, wanted));
}

fn script() -> impl Strategy<Value = Script> {
    // Small turns mostly, so that a slice of a partition is said several times.
    vec((0usize..6, prop_oneof![5 => 1usize..4, 1 => 1usize..60]), 1..40)
}

const IN_TURN: [(usize, usize); 6] = [(0, 7), (3, 7), (1, 7), (4, 7), (2, 7), (5, 7)];

#[test]
fn an_owner_says_what_one_process_says() {
    for seed in 0..2 {
        let stream = stream(seed, 900, 900_000);
        let wanted = alone(&stream, &IN_TURN.to_vec());
        for wanted_line in ["\"type\":\"alert\"", "\"version\":\"2\"", "\"revision\":1", "\"metric\":\"accuracy\"", "\"type\":\"action\""] {
            assert!(wanted.contains(wanted_line), "the stream never makes {wanted_line}");
        }
        assert!(wanted.contains("\"complete\":true") && wanted.lines().count() > 1_000, "{} lines", wanted.lines().count());
        assert_same(&wanted, &owned(&told(&stream, &IN_TURN.to_vec())), "in turn");
        let uneven = vec![(5, 400), (0, 3), (3, 90), (4, 10), (1, 30), (2, 30)];
        assert_same(&wanted, &owned(&told(&stream, &uneven)), "some far ahead");
    }
}

/// A short stream, and what one process says of it, which is the same in whatever turns it reads.
static SHORT: LazyLock<(Stream, String)> = LazyLock::new(|| {
    let stream = stream(3, 300, 300_000);
    let wanted = alone(&stream, &IN_TURN.to_vec());
    (stream, wanted)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Records come again, and old ones from those who no longer own a partition, at any later place.
    #[test]
    fn repeated_and_stale_records_change_nothing(script in script(), again in vec((any::<prop::sample::Index>(), 0usize..30), 0..200)) {
        let (stream, wanted) = &*SHORT;
        let told = told(stream, &script);
        let all: Vec<(usize, Post)> = told.iter().enumerate().flat_map(|(turn, posts)| posts.iter().map(move |post| (turn, post.clone()))).collect();
        let mut more = told.clone();
        for (index, later) in again {
            let (turn, post) = index.get(&all).clone();
            let turn = (turn + later).min(more.len() - 1);
            more[turn].push(post);
        }
        prop_assert_eq!(wanted, &owned(&more));
    }
}

/// What compaction may leave of the records before `cut`: of each key the last.
fn compacted(topic: &[Post], cut: usize) -> Vec<Option<Post>> {
    let last: BTreeMap<&Key, usize> = topic[..cut].iter().enumerate().map(|(offset, post)| (&post.key, offset)).collect();
    let keep = |(offset, post): (usize, &Post)| (offset >= cut || last.get(&post.key) == Some(&offset)).then(|| post.clone());
    topic.iter().enumerate().map(keep).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// An owner ends anywhere; another goes on from what it stored last and what compaction left of the topic.
    #[test]
    fn whoever_owns_says_the_same(
        script in script(),
        deaths in vec((1usize..40, 0usize..30, any::<prop::sample::Index>()), 0..6),
    ) {
        let (stream, wanted) = &*SHORT;
        let told = told(stream, &script);
        let topic: Vec<Post> = told.iter().flatten().cloned().collect();
        let mut said = Said::default();
        let mut stored: Option<Vec<u8>> = None;
        let mut labelled = Timestamp(i64::MIN);
        let (mut turn, mut deaths) = (0, deaths.into_iter());
        // What was said before the last state was stored is not said again.
        let mut settled: BTreeSet<String> = BTreeSet::new();
        loop {
            let (lives, unstored, index) = deaths.next().map_or((usize::MAX, 0, None), |(lives, unstored, index)| (lives, unstored, Some(index)));
            let heard: usize = told[..turn].iter().map(Vec::len).sum();
            // All versions of joined panes that the last state still waits for are there: compaction lags behind.
            let waits = topic[..heard].iter().position(|post| post.tick.is_some_and(|tick| tick > labelled)).unwrap_or(heard);
            let cut = index.map_or(waits, |index| index.index(waits + 1));
            let mut owner = owner(stored.as_deref());
            for (offset, post) in compacted(&topic[..heard], cut).iter().enumerate() {
                prop_assert!(owner.advance(None, NOW).is_empty(), "nothing is said before everything is heard");
                if let Some(post) = post {
                    hear(&mut owner, offset, post);
                }
            }
            owner.catch_up_done();
            let end = turn.saturating_add(lives).min(told.len());
            let is_last = end == told.len();
            let mut offset = heard;
            let mut lines_before = said.lines.len();
            let emissions = owner.advance(None, NOW);
            said.take(&emissions);
            for (number, posts) in told.iter().enumerate().take(end).skip(turn) {
                for post in posts {
                    hear(&mut owner, offset, post);
                    offset += 1;
                }
                let emissions = owner.advance(None, NOW);
                said.take(&emissions);
                // The last turns of its life are not stored.
                if number + unstored < end {
                    for line in &said.lines[lines_before..] {
                        prop_assert!(settled.insert(line.json.clone()), "said again: {}", line.json);
                    }
                    lines_before = said.lines.len();
                    stored = Some(owner.state());
                    labelled = owner.labelled();
                }
            }
            turn = end;
            if is_last {
                break;
            }
        }
        prop_assert_eq!(wanted, &said.text());
    }
}

/// An owner that is told things one by one, and what it says.
struct Listener {
    owner: Owner,
    offset: usize,
    said: Said,
}

impl Listener {
    fn new(decision: Option<&[u8]>) -> Listener {
        let mut owner = owner(decision);
        owner.catch_up_done();
        Listener { owner, offset: 0, said: Said::default() }
    }

    fn hear(&mut self, posts: &[Post]) {
        for post in posts {
            hear(&mut self.owner, self.offset, post);
            self.offset += 1;
        }
    }

    /// The lines that the owner says now.
    fn advance(&mut self, now: Timestamp) -> Vec<Value> {
        let before = self.said.lines.len();
        self.said.take(&self.owner.advance(None, now));
        self.said.lines[before..].iter().map(|line| serde_json::from_str(&line.json).unwrap()).collect()
    }
}

/// The last word on everything that was measured, whatever its revision.
fn last_words(text: &str) -> BTreeMap<String, Value> {
    let mut last: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for line in text.lines() {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if !["window", "measurement", "explanation"].iter().any(|kind| value["type"] == *kind) {
            continue;
        }
        // What a partition brings to windows that were closed without it steps no detector again.
        if value["metric"].as_str().and_then(Metric::parse).is_some_and(Metric::is_detector) {
            continue;
        }
        let key = ["type", "version", "segment", "window", "subject", "metric"].map(|part| value[part].to_string()).join(" ");
        let revision = value.as_object_mut().unwrap().remove("revision").unwrap().as_u64().unwrap();
        if last.get(&key).is_none_or(|(before, _)| *before <= revision) {
            last.insert(key, (revision, value));
        }
    }
    // What is said anew of the events of a window stands for all that was explained of them before.
    let place = |value: &Value| ["version", "segment", "window"].map(|part| value[part].to_string()).join(" ");
    let mut measured: BTreeMap<String, u64> = BTreeMap::new();
    for (revision, value) in last.values().filter(|(_, value)| value["metric"] == "psi" && value["subject"] != "label") {
        let newest = measured.entry(place(value)).or_default();
        *newest = (*newest).max(*revision);
    }
    last.retain(|_, (revision, value)| {
        value["type"] != "explanation" || measured.get(&place(value)).is_none_or(|newest| newest <= revision)
    });
    last.into_iter().map(|(key, (_, value))| (key, value)).collect()
}

#[track_caller]
fn assert_same_words(wanted: &str, got: &str) {
    let (wanted, got) = (last_words(wanted), last_words(got));
    let other: Vec<_> =
        wanted.iter().filter(|(key, line)| got.get(*key) != Some(line)).map(|(key, line)| (line, got.get(key))).take(3).collect();
    assert!(other.is_empty(), "{other:#?}");
    let more: Vec<_> = got.iter().filter(|(key, _)| !wanted.contains_key(*key)).take(3).collect();
    assert!(more.is_empty(), "{more:#?}");
}

fn windows(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["type"] == "window").collect()
}

/// The sources of a number, predictions and labels: one replica reads both.
const OF_THE_DEAD: [usize; 2] = [2, 5];

#[test]
fn a_dead_replica_is_waited_for_and_then_done_without() {
    let (stream, wanted) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    let turns = turns(stream, &IN_TURN.to_vec());
    let (first, second) = turns.split_at(turns.len() / 3);
    for (source, range) in first {
        listener.hear(&replicas.turn(stream, *source, range.clone(), false));
        listener.advance(NOW);
    }
    let (dead, alive): (Vec<_>, Vec<_>) = second.iter().cloned().partition(|(source, _)| OF_THE_DEAD.contains(source));
    let mut held = 0;
    for (source, range) in alive {
        listener.hear(&replicas.turn(stream, source, range, false));
        held += windows(&listener.advance(NOW + Span(4 * 60_000))).len();
    }
    let dead_at = replicas.readers[5].watermark.unwrap().0;
    replicas.at = NOW + Span(6 * 60_000);
    for source in [0, 1, 3, 4] {
        listener.hear(&replicas.turn(stream, source, 0..0, false));
    }
    assert_eq!(listener.owner.completeness(), (3, 3));
    let lines = listener.advance(replicas.at);
    let closed: Vec<&Value> = windows(&lines).into_iter().filter(|line| line["revision"] == 0).collect();
    assert!(closed.len() > 5 && held < closed.len(), "{held} windows closed while it was waited for, {} then", closed.len());
    assert_eq!(listener.owner.completeness(), (2, 3));
    for line in &closed {
        assert_eq!(line["partitions"], "2/3", "{line}");
        assert_eq!(line["complete"], false, "{line}");
        assert!(line["gaps"].as_array().unwrap().contains(&json!("nothing was heard of predictions/2 for 5m")), "{line}");
        let end = Timestamp::parse_rfc3339(line["window"]["end"].as_str().unwrap()).unwrap().0;
        assert!(end + LATENESS > dead_at, "{line}");
    }
    let labels: Vec<&Value> = windows(&lines).into_iter().filter(|line| line["revision"] == 1).collect();
    let missing = json!("labels of the partitions 2 have not been joined for 5m");
    assert!(labels.iter().any(|line| line["gaps"].as_array().unwrap().contains(&missing)), "{labels:?}");
    // The next owner does not wait for it again.
    let stored = listener.owner.state();
    // And if it comes back with nothing for those windows, they are whole without it.
    let mut quiet = Listener { owner: listener.owner.clone(), offset: listener.offset, said: Said::default() };

    let mut whole = Vec::new();
    for (source, range) in dead {
        let posts = replicas.turn(stream, source, range, false);
        listener.hear(&posts);
        listener.advance(replicas.at);
        let without: Vec<Post> = posts.into_iter().filter(|post| matches!(post.key, Key::Progress { .. } | Key::Labels { .. })).collect();
        quiet.hear(&without);
        whole.extend(quiet.advance(replicas.at));
    }
    assert_eq!(listener.owner.completeness(), (3, 3));
    let without_gap = |line: &Value| (line["window"].clone(), line["gaps"].to_string().contains("nothing was heard"));
    for line in &closed {
        let last = windows(&whole).into_iter().map(without_gap).rfind(|(window, _)| *window == line["window"]);
        assert_eq!(last.map(|(_, is_marked)| is_marked), Some(false), "{line}");
    }
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    listener.advance(replicas.at);
    // A window that was looked at for the last time without those labels, and that none of them belongs to, stays marked.
    let marked: Vec<String> = listener.said.lines.iter().map(|line| line.json.clone()).collect();
    let is_marked = |line: &&String| line.contains("labels of the partitions 2");
    let unmark = |line: &String| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if value["type"] == "window" && value["gaps"].as_array().unwrap().contains(&missing) {
            value["gaps"].as_array_mut().unwrap().retain(|gap| *gap != missing);
            value["partitions"] = json!("3/3");
            value["complete"] = json!(value["gaps"].as_array().unwrap().is_empty());
        }
        value.to_string() + "\n"
    };
    assert!(marked.iter().any(|line| is_marked(&line)));
    let text: String = marked.iter().map(unmark).collect();
    let wanted: String = wanted.lines().map(|line| unmark(&line.to_owned())).collect();
    assert_same_words(&wanted, &text);

    let (mut next, notes) = Owner::new(Arc::clone(&PLANS.one.plan), Arc::clone(&PLANS.one.rules), Some(&stored)).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    next.expect(&names(), NOW);
    next.catch_up_done();
    next.advance(None, NOW + Span(7 * 60_000));
    assert_eq!(next.completeness(), (2, 3));
}

#[test]
fn a_partition_is_waited_for_as_soon_as_a_replica_speaks_of_it() {
    let (stream, wanted) = &*SHORT;
    let known: Vec<_> = names().into_iter().filter(|(name, _)| name.partition < PARTITIONS - 1).collect();
    let owner_that_asked = |asked: Timestamp| {
        let mut owner = owner(None);
        owner.expect(&known, asked);
        owner.catch_up_done();
        Listener { owner, offset: 0, said: Said::default() }
    };
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = owner_that_asked(NOW);
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, false));
    }
    for (source, range) in turns(stream, &IN_TURN.to_vec()) {
        // The brokers are asked again and again, and have not heard of it yet.
        listener.owner.expect(&known, replicas.at - Span(10));
        listener.hear(&replicas.turn(stream, source, range, false));
        listener.advance(NOW);
        assert_eq!(listener.owner.completeness(), (3, 3));
    }
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    listener.advance(NOW);
    assert_same(wanted, &listener.said.text(), "a partition that was added");

    // Of a topic that was made anew with fewer partitions the panes topic still holds what was said of the others.
    let mut listener = owner_that_asked(replicas.at + Span(1));
    for posts in told(stream, &IN_TURN.to_vec()) {
        listener.hear(&posts);
    }
    listener.advance(NOW);
    assert_eq!(listener.owner.completeness(), (2, 2));
    // And what was spoken of before is given up once the brokers have been asked since.
    let mut listener = owner_that_asked(NOW);
    for posts in told(stream, &IN_TURN.to_vec()) {
        listener.hear(&posts);
    }
    listener.advance(NOW);
    assert_eq!(listener.owner.completeness(), (3, 3));
    listener.owner.expect(&known, replicas.at + Span(1));
    listener.advance(NOW);
    assert_eq!(listener.owner.completeness(), (2, 2));
}

#[test]
fn an_idle_partition_that_comes_back_is_restated_and_counted_once() {
    let (stream, wanted) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    let turns = turns(stream, &IN_TURN.to_vec());
    let (first, second) = turns.split_at(turns.len() / 3);
    for (source, range) in first {
        listener.hear(&replicas.turn(stream, *source, range.clone(), false));
        listener.advance(NOW);
    }
    let (idle, busy): (Vec<_>, Vec<_>) = second.iter().cloned().partition(|(source, _)| OF_THE_DEAD.contains(source));
    for source in OF_THE_DEAD {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    for (source, range) in busy {
        listener.hear(&replicas.turn(stream, source, range, false));
        listener.advance(NOW);
    }
    assert_eq!(listener.owner.completeness(), (3, 3));
    // It comes back under another owner, who has to tell what was handed on before from what is new.
    let stored = listener.owner.state();
    let mut next = owner(Some(&stored));
    let mut replayed = Replicas::new(&PLANS.one);
    let mut offset = 0;
    let mut again = |posts: Vec<Post>, next: &mut Owner| {
        for post in posts {
            hear(next, offset, &post);
            offset += 1;
        }
    };
    for (source, range) in first {
        again(replayed.turn(stream, *source, range.clone(), false), &mut next);
    }
    for source in OF_THE_DEAD {
        again(replayed.turn(stream, source, 0..0, true), &mut next);
    }
    for (source, range) in second.iter().filter(|(source, _)| !OF_THE_DEAD.contains(source)) {
        again(replayed.turn(stream, *source, range.clone(), false), &mut next);
    }
    assert_eq!(offset, listener.offset);
    next.catch_up_done();
    assert!(next.advance(None, NOW).is_empty(), "what was said is said again");
    listener.owner = next;
    let mut restated = 0;
    for (source, range) in idle {
        listener.hear(&replicas.turn(stream, source, range, false));
        restated += windows(&listener.advance(NOW)).iter().filter(|line| line["revision"] != 0).count();
    }
    assert!(restated > 0);
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    listener.advance(NOW);
    assert_same_words(wanted, &listener.said.text());
}

#[test]
fn labels_that_are_said_to_be_idle_hold_the_clock_when_predictions_go_on() {
    let (stream, _) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    for (source, records) in stream.iter().enumerate() {
        listener.hear(&replicas.turn(stream, source, 0..records.len() / 3, true));
    }
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    listener.advance(NOW);
    let said = replicas.joins.iter().filter_map(|joins| joins.tick).max().unwrap();
    for (source, records) in stream.iter().enumerate().skip(3) {
        let posts = replicas.turn(stream, source, records.len() / 3..records.len(), false);
        // What is said of the labels is still under way.
        let first: Vec<Post> = posts.into_iter().filter(|post| matches!(post.key, Key::Events { .. } | Key::Progress { .. })).collect();
        listener.hear(&first);
    }
    listener.advance(NOW);
    assert!(listener.owner.event_clock().unwrap() > said + Span(20_000), "predictions have gone on");
    assert!(listener.owner.labelled() <= said, "labels were looked at before they had been said");
}

#[test]
fn windows_that_were_counted_over_something_else_say_so() {
    let (stream, _) = &*SHORT;
    let half: Vec<usize> = stream.iter().map(|records| records.len() / 2).collect();
    // All of the first half is counted under the other configuration, by a replica that has not been restarted yet.
    let mut before = Replicas::new(&PLANS.other);
    let mut topic = Vec::new();
    for (source, half) in half.iter().enumerate() {
        topic.extend(before.turn(stream, source, 0..*half, false));
    }
    let mut other = Owner::new(Arc::clone(&PLANS.other.plan), Arc::clone(&PLANS.other.rules), None).unwrap().0;
    other.expect(&names(), NOW);
    for (offset, post) in topic.iter().enumerate() {
        hear(&mut other, offset, post);
    }
    other.catch_up_done();
    assert!(!other.advance(None, NOW).is_empty());

    let (mut owner, notes) = Owner::new(Arc::clone(&PLANS.one.plan), Arc::clone(&PLANS.one.rules), Some(&other.state())).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("configuration has changed"), "{notes:?}");
    let mut alerts = other.alerts().clone();
    alerts.begin_anew("loan");
    assert_eq!(owner.alerts(), &alerts, "alerts go on, and what actions have cost");
    owner.expect(&names(), NOW);
    let mut listener = Listener { owner, offset: 0, said: Said::default() };
    listener.hear(&topic);
    listener.owner.catch_up_done();
    assert!(listener.advance(NOW).is_empty());
    assert!(listener.owner.ignored().foreign > 0);
    let changed_at =
        before.readers.iter().filter(|reader| reader.role == TopicRole::Predictions).filter_map(|reader| reader.watermark).max();
    let mut after = Replicas::new(&PLANS.one);
    for (reader, old) in after.readers.iter_mut().zip(before.readers) {
        (reader.watermark, reader.earliest, reader.end) = (old.watermark, old.earliest, old.end);
    }
    for (source, half) in half.iter().enumerate() {
        listener.hear(&after.turn(stream, source, *half..stream[source].len(), false));
    }
    let lines = listener.advance(NOW);
    let closed = windows(&lines);
    let is_marked = |line: &&&Value| line["gaps"].as_array().unwrap().contains(&json!("baseline_changed"));
    let start = |line: &Value| Timestamp::parse_rfc3339(line["window"]["start"].as_str().unwrap()).unwrap();
    let first = changed_at.unwrap();
    for line in &closed {
        if start(line) <= first {
            assert!(is_marked(&line) && line["complete"] == false, "{line}");
        }
    }
    assert!(closed.iter().any(|line| !is_marked(&line)) && closed.iter().filter(is_marked).count() > 3, "{closed:?}");
}

#[test]
fn while_labels_are_read_again_it_is_said_why_there_are_none() {
    let (stream, _) = &*SHORT;
    let reasons = |is_rebuilding: bool| {
        let mut replicas = Replicas::new(&PLANS.one);
        let mut listener = Listener::new(None);
        for (source, records) in stream.iter().enumerate().skip(3) {
            listener.hear(&replicas.turn(stream, source, 0..records.len(), false));
        }
        replicas.at = replicas.at + Span(1);
        listener.hear(&[replicas.joined_to(1, false, is_rebuilding)]);
        let lines = listener.advance(NOW);
        let accuracy = lines.iter().filter(|line| line["metric"] == "accuracy" && line["status"] == "no_data");
        accuracy.map(|line| line["reason"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(reasons(false), BTreeSet::from(["awaiting_labels".to_owned()]));
    assert_eq!(reasons(true), BTreeSet::from(["labels are being read again".to_owned()]));
}

#[test]
fn silence_is_measured_from_the_last_record_that_anybody_read() {
    let (stream, _) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    listener.hear(&replicas.turn(stream, 3, 0..20, false));
    let read_at = replicas.at;
    // That somebody still says how far it is, is no record.
    replicas.at = read_at + Span(20 * 60_000);
    listener.hear(&replicas.turn(stream, 3, 0..0, false));
    let firing = |emissions: &[Emission]| emissions.iter().any(|emission| matches!(emission, Emission::Happening { .. }));
    assert!(!firing(&listener.owner.tick(read_at)) && !firing(&listener.owner.tick(read_at + Span(14 * 60_000))));
    let mut next = owner(Some(&listener.owner.state()));
    assert!(next.tick(read_at + Span(16 * 60_000)).is_empty(), "not before it has heard everything");
    next.catch_up_done();
    assert!(firing(&next.tick(read_at + Span(16 * 60_000))));
}

#[test]
fn time_in_which_nobody_listened_is_no_silence() {
    let (stream, _) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    listener.hear(&replicas.turn(stream, 3, 0..20, false));
    let at = |minutes: i64| replicas.at + Span(minutes * 60_000);
    let firing = |emissions: &[Emission]| emissions.iter().any(|emission| matches!(emission, Emission::Happening { .. }));
    assert!(!firing(&listener.owner.tick(at(0))) && !firing(&listener.owner.tick(at(10))));
    // Everybody was away for three hours: ten minutes of silence are known.
    let mut next = owner(Some(&listener.owner.state()));
    next.catch_up_done();
    assert!(!firing(&next.tick(at(190))) && !firing(&next.tick(at(195))));
    // This one stood still for an hour.
    next.sleep(at(255), Span(60 * 60_000));
    assert!(!firing(&next.tick(at(255))));
    assert!(firing(&next.tick(at(256))));
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let (stream, wanted) = &*SHORT;
    let mut replicas = Replicas::new(&PLANS.one);
    let mut listener = Listener::new(None);
    for (source, range) in turns(stream, &IN_TURN.to_vec()) {
        let posts = replicas.turn(stream, source, range, false);
        for post in &posts {
            let mut cut = post.value.clone();
            cut.truncate(cut.len() / 2);
            assert!(listener.owner.hear(0, &post.key, Some(&cut)).is_err(), "{:?}", post.key);
            let wrong = match &post.key {
                Key::Events { .. } => {
                    to_bytes(&Events { end: 1 << 40, sealed_at: Timestamp(0), pane: Pane { cells: vec![1], ..Pane::default() } })
                }
                Key::Joined { .. } => to_bytes(&Joined { tick: Timestamp(1 << 50), pane: JoinedPane::default() }),
                _ => vec![9],
            };
            assert!(listener.owner.hear(0, &post.key, Some(&wrong)).is_err(), "{:?}", post.key);
            assert!(listener.owner.hear(0, &post.key, None).is_ok(), "a tombstone");
        }
        listener.hear(&posts);
        listener.advance(NOW);
    }
    for source in 0..stream.len() {
        listener.hear(&replicas.turn(stream, source, 0..0, true));
    }
    listener.advance(NOW);
    assert_eq!(wanted, &listener.said.text());
    assert!(Owner::new(Arc::clone(&PLANS.one.plan), Arc::clone(&PLANS.one.rules), Some(b"rubbish")).is_err());
}
