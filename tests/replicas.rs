//! Many replicas and one answer: replicas that count, join, say, die, hang and come back, and owners that judge, against one
//! process that saw everything at once. The exchange topics are simulated as lists of records; everything else is the code
//! that runs. Half of the replicas have their joins in memory, the others on shelves that are committed at any time.

#![allow(clippy::type_complexity)] // Rows of a table, said once.

mod replay_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex};

use driftline::app::assemble::Assembly;
use driftline::engine::cluster::owner::Settings;
use driftline::engine::cluster::wire::{Key, SourceName};
use driftline::engine::cluster::{Addresses, Directory, Owner, Post, Replica, changed_panes};
use driftline::engine::result::lines;
use driftline::engine::series::SeriesKey;
use driftline::engine::{Emission, Evaluator, Record, Shard};
use driftline::event::decode::RecordMeta;
use driftline::event::{SourceId, Span, Timestamp, TopicRole};
use driftline::join::{Change, Kept, MemoryShelf, Shelf, Space};
use replay_support::{assembled, build_baseline, scratch, write};
use serde_json::json;

const START: i64 = 1_700_000_003_000;
const LATENESS: i64 = 15_000;
const HORIZON: i64 = 120_000;
/// Some of each kind: all of them would take twice the time.
const METRICS: &str = "psi, wasserstein, null_rate, new_category_rate, energy, cramer_von_mises, anderson_darling, mean_shift, std, q95, accuracy, f1, roc_auc, log_loss, brier";
const MODELS: [&str; 2] = ["loan", "fraud"];
const PARTITIONS: i32 = 4;
const HOMES: i32 = 2;

static PLAN: LazyLock<Assembly> = LazyLock::new(|| {
    let directory = scratch("cluster");
    let mut csv = String::from("id,age,income,country,tags.region,prediction,score,label\n");
    for row in 0..400i64 {
        let country = ["de", "fr", "fr", "pl"][usize::try_from(row % 4).unwrap()];
        let region = if row % 3 == 0 { "eu" } else { "us" };
        let prediction = if row % 5 < 3 { "repaid" } else { "default" };
        let _ = writeln!(
            csv,
            "r{row},{},{},{country},{region},{prediction},{},repaid",
            20 + (row * row + 3 * row) % 53,
            (row * row * row + 5 * row) % 1_009,
            0.01 * (row % 100) as f64
        );
    }
    let csv = write(&directory, "rows.csv", &csv);
    // One of them is compared with its own windows, extended where there are few events.
    let windows = |name: &str| match name {
        "fraud" => {
            "{ name: sliding, size: 60s, slide: 20s, offset: 5s, extend_to: 100s, reference: { previous: 3 } }, { name: long, size: 5m, slide: 1m, extend_to: 7m, reference: { previous: 1, leave_out: nothing } } ], min_samples: 10, drift: { metric: wasserstein, above: 1, p_adjusted: 0.5 }"
        }
        _ => "{ name: sliding, size: 60s, slide: 20s, offset: 5s }, { name: long, size: 5m, slide: 1m } ], min_samples: 1",
    };
    let model = |name: &str| {
        let windows = windows(name);
        // Sums over two features, and a sample of the events.
        let multivariate = if name == "loan" { "mmd, reconstruction_error, correlation_shift, domain_classifier_auc" } else { "" };
        format!(
            "  - {{ name: {name}, baseline: {name}.json, task: binary, positive_class: repaid, windows: [ {windows}, lateness: {LATENESS}ms, metrics: [ {METRICS} ], multivariate: [ {multivariate} ], detectors: [ {{ name: adwin, clock: 1, delta: 0.3 }}, {{ name: page_hinkley, threshold: 5, min_instances: 5 }}, ddm, eddm, {{ name: hddm_a, two_sided_test: true, drift_confidence: 0.5, warning_confidence: 0.6 }}, {{ name: hddm_w, drift_confidence: 0.5, warning_confidence: 0.6 }} ], labels: {{ horizon: {HORIZON}ms }}, segments: [ {{ by: tags.region }} ] }}\n"
        )
    };
    let models: String = MODELS.iter().map(|name| model(name)).collect();
    write(&directory, "rules.yaml", RULES);
    let config = write(&directory, "config.yaml", &format!("models:\n{models}rules: [rules.yaml]\n"));
    MODELS.iter().for_each(|name| build_baseline(&config, name, &csv, &directory.join(format!("{name}.json"))));
    assembled(&config)
});

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
route: { receiver: none }
receivers: [ { name: none } ]
"#;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn time(&mut self, below: i64) -> i64 {
        i64::try_from(self.roll(u64::try_from(below).unwrap())).unwrap()
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.index(values.len())]
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap()
    }
}

/// The input topics: by topic and partition, offset, time and value of each record.
type Input = BTreeMap<(&'static str, i32), Vec<(i64, i64, String)>>;

/// Predictions and labels of one id share their partition number, as records with one key do.
fn input(seed: u64, records: i64) -> Input {
    let mut dice = Dice(seed);
    let mut input = Input::new();
    let mut push = |topic, partition, arrival, value: String| input.entry((topic, partition)).or_default().push((0, arrival, value));
    let length = 900_000;
    for number in 0..records {
        let arrival = START + number * length / records;
        let ts = arrival - if dice.roll(20) == 0 { dice.time(60_000) } else { dice.time(LATENESS / 2) };
        let partition = i32::try_from(dice.roll(u64::try_from(PARTITIONS).unwrap())).unwrap();
        let (id, model) = (format!("p{number}"), MODELS[dice.index(2)]);
        let drift = i64::from(number > records / 2) * 25;
        let (version, country, region) = (dice.of(&["1", "2"]), dice.of(&["de", "fr", "pl", "xx"]), dice.of(&["eu", "us", "mars"]));
        let event = json!({"model": model, "version": version, "id": id, "ts": Timestamp(ts).rfc3339(),
            "features": {"age": 20 + drift + dice.time(60), "income": number * 7_919 % 1_009, "country": country},
            "score": dice.roll(101) as f64 / 100.0, "tags": {"region": region}});
        let event = if dice.roll(50) == 0 { json!("poison") } else { event };
        push("predictions", partition, arrival, event.to_string());
        let times = match dice.roll(10) {
            0 => vec![],
            1 => vec![ts - dice.time(40_000)],
            2 => vec![ts + HORIZON - 5_000 + dice.time(10_000)],
            3 => vec![ts + 30_000, ts + 30_000],
            4 => vec![ts + 10_000, ts + 40_000],
            _ => vec![ts + dice.time(90_000)],
        };
        for at in times {
            let id = if dice.roll(40) == 0 { format!("nobody{number}") } else { id.clone() };
            let label = ["repaid", "default"][dice.index(2)];
            let event = json!({"model": model, "id": id, "ts": Timestamp(at).rfc3339(), "label": label});
            let delay = if dice.roll(8) == 0 { dice.time(50_000) } else { 0 };
            push("labels", partition, at + delay, event.to_string());
        }
    }
    for records in input.values_mut() {
        records.sort_by_key(|(_, arrival, _)| *arrival);
        // Offsets are not dense: control records take some.
        records.iter_mut().enumerate().for_each(|(place, (offset, ..))| *offset = 2 * i64::try_from(place).unwrap());
    }
    input
}

fn role(topic: &str) -> TopicRole {
    if topic == "labels" { TopicRole::Labels } else { TopicRole::Predictions }
}

fn name(topic: &str, partition: i32) -> SourceName {
    SourceName { topic: Arc::from(topic), partition }
}

fn said(emissions: &[Emission], told: &mut BTreeSet<String>) {
    let mut sequence = 0;
    for emission in emissions {
        // Why there is no performance yet differs while a ledger is made again after a hand-over.
        told.extend(
            lines(emission, &mut sequence).into_iter().map(|line| line.json.replace("labels are being read again", "awaiting_labels")),
        );
    }
}

fn ingest(shard: &mut Shard, source: SourceId, topic: &str, (offset, at, value): &(i64, i64, String)) {
    let meta = RecordMeta { topic, key: None, timestamp: Some(Timestamp(*at)), headers: &[] };
    let record = Record { source, role: role(topic), offset: *offset, meta, value: value.as_bytes(), oversize: false };
    let _ = shard.ingest(&record);
}

/// What one process says that reads everything.
fn alone(input: &Input) -> BTreeSet<String> {
    let mut shard = Shard::new(Arc::clone(&PLAN.plan));
    let mut evaluator = Evaluator::new(Arc::clone(&PLAN.plan), Arc::clone(&PLAN.rules));
    for (number, ((topic, _), records)) in (0u32..).zip(input) {
        evaluator.assign(SourceId(number), role(topic));
        records.iter().for_each(|record| ingest(&mut shard, SourceId(number), topic, record));
    }
    evaluator.absorb(0, shard.take_output());
    let mut told = BTreeSet::new();
    said(&evaluator.advance(None), &mut told);
    told
}

/// What one process says that learns of a partition of both topics only some time after it began.
fn finds_late(input: &Input, partition: i32, found: i64, seed: u64) -> BTreeSet<String> {
    let mut dice = Dice(seed);
    let mut shard = Shard::new(Arc::clone(&PLAN.plan));
    let mut evaluator = Evaluator::new(Arc::clone(&PLAN.plan), Arc::clone(&PLAN.rules));
    let mut told = BTreeSet::new();
    let mut read: BTreeMap<_, usize> = input.keys().map(|of| (*of, 0)).collect();
    let mut is_found = false;
    loop {
        for (number, of) in (0u32..).zip(input.keys()).filter(|(_, (_, number))| is_found || *number != partition) {
            evaluator.assign(SourceId(number), role(of.0));
            let records = &input[of][read[of]..];
            let ready = records.iter().take_while(|(_, arrival, _)| is_found || *arrival < found).count();
            let most = dice.index(20).min(ready);
            records[..most].iter().for_each(|record| ingest(&mut shard, SourceId(number), of.0, record));
            *read.get_mut(of).unwrap() += most;
        }
        evaluator.absorb(0, shard.take_output());
        said(&evaluator.advance(None), &mut told);
        let is_done = input.iter().all(|(of, records)| {
            let ready = records[read[of]..].first().is_some_and(|(_, arrival, _)| is_found || *arrival < found);
            !ready || (of.1 == partition && !is_found)
        });
        match (is_done, is_found) {
            (true, false) => is_found = true,
            (true, true) => return told,
            (false, _) => {}
        }
    }
}

/// The panes topic and the owners topic.
#[derive(Default)]
struct Exchange {
    panes: BTreeMap<i32, Vec<(i64, Vec<u8>, Vec<u8>)>>,
    next: BTreeMap<i32, i64>,
    decisions: BTreeMap<&'static str, Vec<u8>>,
    /// Up to where each model's stored decision has heard.
    heard: BTreeMap<&'static str, i64>,
}

impl Exchange {
    fn write(&mut self, posts: impl IntoIterator<Item = Post>) {
        for post in posts {
            let next = self.next.entry(post.home).or_default();
            self.panes.entry(post.home).or_default().push((*next, post.key, post.value));
            *next += 1;
        }
    }

    /// Keeps the last record of each key, of those before an offset.
    fn compact(&mut self, home: i32, before: i64) {
        let Some(records) = self.panes.get_mut(&home) else { return };
        let mut last = BTreeMap::new();
        for (offset, key, _) in records.iter().filter(|(offset, ..)| *offset < before) {
            last.insert(key.clone(), *offset);
        }
        records.retain(|(offset, key, _)| *offset >= before || last.get(key) == Some(offset));
    }
}

/// One replica with two workers.
struct Node {
    shards: Vec<Shard>,
    replica: Replica,
    /// Its partitions: where it reads on, and what was acknowledged.
    reading: BTreeMap<SourceId, (&'static str, i32, i64, i64)>,
    /// Predictions and labels to be read again: by partition number, the records left and the shard that decodes them.
    again: BTreeMap<i32, Again>,
    shelved: Option<Shelved>,
}

/// The shelves of a replica's joins by generation, and what is on its way to them.
struct Shelved {
    shelves: Arc<Mutex<BTreeMap<u32, Arc<MemoryShelf>>>>,
    under_way: Option<Vec<(u32, Vec<Change>)>>,
    /// Of its own, so that the others roll what they roll without shelves.
    dice: Dice,
    settled: usize,
}

/// Predictions and labels that are applied at one go on shelves: so few that ticks are interrupted.
const PACE: usize = 40;

impl Shelved {
    fn under(replica: &mut Replica, capacity: usize, seed: u64) -> Shelved {
        let shelves: Arc<Mutex<BTreeMap<u32, Arc<MemoryShelf>>>> = Arc::default();
        let made = Arc::clone(&shelves);
        let make = move |generation| {
            let shelf = Arc::new(MemoryShelf::default());
            let before = made.lock().unwrap().insert(generation, Arc::clone(&shelf));
            assert!(before.is_none(), "a shelf is given twice");
            shelf as Arc<dyn Shelf>
        };
        replica.shelve(Box::new(make), capacity, 20);
        Shelved { shelves, under_way: None, dice: Dice(seed), settled: 0 }
    }

    /// Perhaps hands changes over, perhaps commits those that were; empties the shelves of what is over.
    fn step(&mut self, replica: &mut Replica) {
        let (mut shelves, gone) = (self.shelves.lock().unwrap(), replica.take_gone());
        match self.dice.roll(8) {
            0 if self.under_way.is_none() => self.under_way = Some(replica.take_ledger_changes()),
            1 => {
                if let Some(changes) = self.under_way.take() {
                    for (generation, changes) in changes {
                        self.settled += changes.len();
                        shelves.get(&generation).into_iter().for_each(|shelf| shelf.apply(changes.clone()));
                    }
                    replica.settle_ledger_changes();
                }
            }
            _ => {}
        }
        for generation in gone {
            let shelf = shelves.remove(&generation).unwrap();
            assert!(shelf.refused().is_empty());
            let all =
                Space::ALL.into_iter().flat_map(|space| shelf.range(space, &[], usize::MAX).into_iter().map(move |(key, _)| (space, key)));
            shelf.apply(all.map(|(space, key)| Change { space, key, value: None }).collect());
        }
    }
}

struct Again {
    shard: Shard,
    series: Vec<SeriesKey>,
    left: Vec<(SourceId, &'static str, std::collections::VecDeque<(i64, i64, String)>)>,
    watermarks: BTreeMap<SourceId, Option<Timestamp>>,
}

fn number(topic: &str, partition: i32) -> SourceId {
    SourceId(u32::try_from(partition).unwrap() * 2 + u32::from(topic == "labels"))
}

impl Node {
    /// Every second one on shelves.
    fn new(place: usize, addresses: &Arc<Addresses>) -> Node {
        let mut replica = Replica::new(Arc::clone(&PLAN.plan), Arc::clone(addresses), "test".into());
        let mut shelved = None;
        if place.is_multiple_of(2) {
            replica = replica.with_pace(PACE);
            shelved = Some(Shelved::under(&mut replica, PLAN.plan.ledger_capacity, 7 + place as u64));
        }
        let shards = (0..2).map(|_| Shard::cumulative(Arc::clone(&PLAN.plan))).collect();
        Node { shards, replica, reading: BTreeMap::new(), again: BTreeMap::new(), shelved }
    }

    fn commit(&mut self) {
        if let Some(shelved) = &mut self.shelved {
            shelved.step(&mut self.replica);
        }
    }

    /// Applies all that there is, however slowly.
    fn catch_up(&mut self) {
        for _ in 0..400 {
            self.replica.advance(None);
            self.commit();
        }
    }

    fn worker(partition: i32) -> usize {
        usize::try_from(partition % 2).unwrap()
    }

    /// Takes both partitions of a number over, from what the topic says.
    fn take(&mut self, partition: i32, directory: &Directory, input: &Input) {
        for topic in ["predictions", "labels"] {
            let (source, shard) = (number(topic, partition), &mut self.shards[Node::worker(partition)]);
            let resumed = directory.source(&name(topic, partition)).filter(|resumed| resumed.next >= 0);
            let next = resumed.as_ref().map_or(0, |resumed| resumed.next);
            shard.forget(source);
            if let Some(resumed) = &resumed {
                shard.restore(source, resumed.state.clone());
            }
            self.replica.assign(source, name(topic, partition), role(topic), next, resumed);
            self.reading.insert(source, (topic, partition, next, next));
        }
        if let Some(since) = self.replica.join(partition, &mut directory.group(partition)) {
            let left = ["predictions", "labels"].map(|topic| {
                let source = number(topic, partition);
                let range = self.replica.read_between(source);
                let records = input.get(&(topic, partition)).into_iter().flatten();
                (source, topic, records.filter(|(offset, at, _)| *at >= since.0 && range.contains(offset)).cloned().collect())
            });
            let watermarks = BTreeMap::from([(number("labels", partition), None)]);
            let shard = Shard::new(Arc::clone(&PLAN.plan));
            self.again.insert(partition, Again { shard, series: Vec::new(), left: left.into(), watermarks });
        }
    }

    fn drop_partition(&mut self, partition: i32) {
        // What was counted before is taken in before.
        self.absorb(Node::worker(partition));
        for topic in ["predictions", "labels"] {
            let source = number(topic, partition);
            self.shards[Node::worker(partition)].forget(source);
            self.replica.revoke(source);
            self.reading.remove(&source);
        }
        self.again.remove(&partition);
    }

    /// Reads some records of one of its partitions.
    fn read(&mut self, input: &Input, dice: &mut Dice) {
        if self.reading.is_empty() {
            return;
        }
        let place = dice.index(self.reading.len());
        let (source, (topic, partition, next, _)) = self.reading.iter_mut().nth(place).unwrap();
        let shard = &mut self.shards[Node::worker(*partition)];
        let records = input.get(&(*topic, *partition)).into_iter().flatten().filter(|(offset, ..)| offset >= next);
        let mut read = *next;
        for record in records.take(1 + dice.index(60)) {
            ingest(shard, *source, topic, record);
            read = record.0 + 1;
        }
        *next = read;
    }

    fn read_again(&mut self, dice: &mut Dice) {
        let Some(partition) = self.again.keys().nth(dice.index(self.again.len())).copied() else { return };
        let again = self.again.get_mut(&partition).unwrap();
        let (source, topic, records) = {
            // All predictions come before the first label.
            let place = usize::from(again.left[0].2.is_empty());
            let (source, topic, records) = &mut again.left[place];
            let count = records.len().min(1 + dice.index(80));
            (*source, *topic, records.drain(..count).collect::<Vec<_>>())
        };
        records.iter().for_each(|record| ingest(&mut again.shard, source, topic, record));
        let output = again.shard.take_output();
        again.series.extend(output.series);
        for progress in output.progress {
            if let Some(watermark) = again.watermarks.get_mut(&progress.source) {
                *watermark = progress.watermark;
            }
        }
        self.replica.read_again(&again.series, output.halves);
        let clock = again.watermarks.values().try_fold(Timestamp(i64::MAX / 2), |least, at| at.map(|at| least.min(at)));
        if let Some(clock) = clock {
            self.replica.read_again_to(partition, clock);
        }
        if again.left.iter().all(|(.., records)| records.is_empty()) {
            self.replica.rebuilt(partition);
            self.again.remove(&partition);
        }
    }

    /// Everything it would say now. A worker that has answered counts on while the other is waited for.
    fn say(&mut self, addresses: &Addresses, at: i64, input: &Input, dice: &mut Dice) -> (Vec<Post>, Vec<(SourceId, i64)>) {
        let (mut posts, mut progress, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for worker in 0..self.shards.len() {
            let mut of_worker = Vec::new();
            for (source, (topic, partition, next, acknowledged)) in &self.reading {
                if Node::worker(*partition) == worker {
                    let shard = &mut self.shards[worker];
                    shard.drop_sealed(*source, *acknowledged);
                    posts.extend(changed_panes(shard, addresses, *source, &name(topic, *partition), *next, *acknowledged));
                    of_worker.push((*source, *next));
                }
            }
            self.absorb(worker);
            progress.extend(self.replica.progress(&of_worker, Timestamp(at)));
            ends.extend(of_worker);
            self.read(input, dice);
            self.absorb(worker);
        }
        self.replica.advance(None);
        posts.extend(self.replica.labels(Timestamp(at)));
        posts.extend(progress);
        (posts, ends)
    }

    fn absorb(&mut self, worker: usize) {
        let output = self.shards[worker].take_output();
        self.replica.absorb(worker, output);
    }

    fn acknowledge(&mut self, ends: &[(SourceId, i64)]) {
        self.replica.acknowledge();
        for (source, end) in ends {
            if let Some((.., acknowledged)) = self.reading.get_mut(source) {
                *acknowledged = *end;
            }
        }
    }
}

/// The owners of the models, wherever they are.
struct Court {
    owners: BTreeMap<&'static str, (Owner, i64)>,
}

impl Court {
    /// A new owner goes on from what was stored, hears the topic from its beginning, and only then judges.
    fn seat(model: &'static str, exchange: &Exchange, addresses: &Addresses, now: i64, told: &mut BTreeSet<String>) -> (Owner, i64) {
        let number = PLAN.plan.by_name[model];
        let plan = Arc::new(PLAN.plan.only(model).unwrap());
        let decision = exchange.decisions.get(model).map(Vec::as_slice);
        let (owner, _) = Owner::new(plan, Arc::clone(&PLAN.rules), decision).unwrap();
        // Here records are lost to newer ones at any time.
        let mut owner = owner.with_settings(Settings { outlived: Span(0), ..Settings::default() });
        let sources: Vec<(SourceName, TopicRole)> =
            (0..PARTITIONS).flat_map(|partition| ["predictions", "labels"].map(|topic| (name(topic, partition), role(topic)))).collect();
        owner.expect(&sources, Timestamp(now));
        let heard = Court::listen(&mut owner, 0, addresses.get(number).unwrap().home, exchange);
        owner.catch_up_done();
        said(&owner.advance(None, Timestamp(now)), told);
        (owner, heard)
    }

    fn listen(owner: &mut Owner, from: i64, home: i32, exchange: &Exchange) -> i64 {
        let mut heard = from;
        for (offset, key, value) in exchange.panes.get(&home).into_iter().flatten().filter(|(offset, ..)| *offset >= from) {
            owner.hear(*offset, &Key::from_bytes(key).unwrap(), Some(value)).unwrap();
            heard = offset + 1;
        }
        heard
    }

    fn step(
        &mut self,
        model: &'static str,
        exchange: &mut Exchange,
        addresses: &Addresses,
        now: i64,
        store: bool,
        told: &mut BTreeSet<String>,
    ) {
        let home = addresses.get(PLAN.plan.by_name[model]).unwrap().home;
        let (owner, heard) = self.owners.get_mut(model).unwrap();
        *heard = Court::listen(owner, *heard, home, exchange);
        said(&owner.advance(None, Timestamp(now)), told);
        if store {
            exchange.decisions.insert(model, owner.state());
            exchange.heard.insert(model, *heard);
        }
    }
}

/// Replicas and owners over one input, with trouble by the dice.
fn together(input: &Input, seed: u64, trouble: bool) -> BTreeSet<String> {
    let mut dice = Dice(seed);
    let addresses = Arc::new(Addresses::new(&PLAN.plan, HOMES));
    let mut exchange = Exchange::default();
    let mut told = BTreeSet::new();
    let mut nodes: Vec<Node> = (0..3).map(|place| Node::new(place, &addresses)).collect();
    let directory = |exchange: &Exchange| {
        let mut directory = Directory::new(Arc::clone(&PLAN.plan), Arc::clone(&addresses));
        for (home, records) in &exchange.panes {
            records.iter().for_each(|(_, key, value)| directory.hear(*home, key, Some(value)).unwrap());
        }
        directory
    };
    let mut of: Vec<usize> = (0..PARTITIONS).map(|_| dice.index(3)).collect();
    for partition in 0..PARTITIONS {
        nodes[of[usize::try_from(partition).unwrap()]].take(partition, &directory(&exchange), input);
    }
    let mut court = Court { owners: BTreeMap::new() };
    for model in MODELS {
        court.owners.insert(model, Court::seat(model, &exchange, &addresses, START, &mut told));
    }
    // Posts of processes that were stopped in the middle of saying something, and are continued later.
    let mut zombies: Vec<Vec<Post>> = Vec::new();
    let mut now = START;
    let mut steps = 0;
    loop {
        assert!(steps < 20_000, "it never ends");
        now += 100;
        let place = dice.index(nodes.len());
        steps += 1;
        // Trouble is over at some time, or nothing would ever be finished.
        let is_trouble = trouble && steps < 3_000 && dice.roll(20) == 0;
        match if is_trouble { 60 + dice.roll(40) } else { dice.roll(60) } {
            0..30 => nodes[place].read(input, &mut dice),
            30..40 => nodes[place].read_again(&mut dice),
            40..48 => {
                let (posts, ends) = nodes[place].say(&addresses, now, input, &mut dice);
                exchange.write(posts);
                nodes[place].acknowledge(&ends);
            }
            48..60 => {
                let (model, store) = (MODELS[dice.index(2)], dice.roll(3) == 0);
                court.step(model, &mut exchange, &addresses, now, store, &mut told);
            }
            60..66 => {
                // Everything arrives and nobody learns of it.
                exchange.write(nodes[place].say(&addresses, now, input, &mut dice).0);
            }
            66..72 => {
                // It dies while saying something: a part arrives, the rest perhaps much later.
                let (mut posts, _) = nodes[place].say(&addresses, now, input, &mut dice);
                let rest = posts.split_off(dice.index(posts.len() + 1));
                exchange.write(posts);
                if dice.roll(2) == 0 {
                    zombies.push(rest);
                }
                nodes[place] = Node::new(place, &addresses);
                for partition in 0..PARTITIONS {
                    let owner = &mut of[usize::try_from(partition).unwrap()];
                    if *owner == place {
                        *owner = dice.index(3);
                        nodes[*owner].take(partition, &directory(&exchange), input);
                    }
                }
            }
            72..78 => {
                // A partition moves in peace; what the old owner had not said is read again.
                let partition = i32::try_from(dice.roll(u64::try_from(PARTITIONS).unwrap())).unwrap();
                let owner = &mut of[usize::try_from(partition).unwrap()];
                nodes[*owner].drop_partition(partition);
                *owner = dice.index(3);
                nodes[*owner].take(partition, &directory(&exchange), input);
            }
            78..84 => {
                let model = MODELS[dice.index(2)];
                court.owners.insert(model, Court::seat(model, &exchange, &addresses, now, &mut told));
            }
            84..90 => {
                for home in 0..HOMES {
                    // Nothing is compacted that an owner may still have to hear: the topic keeps it for longer than that takes.
                    let models = MODELS.iter().filter(|model| addresses.get(PLAN.plan.by_name[**model]).unwrap().home == home);
                    let before = models.map(|model| exchange.heard.get(model).copied().unwrap_or(0)).min().unwrap_or(0);
                    exchange.compact(home, before);
                }
            }
            _ => {
                if !zombies.is_empty() && dice.roll(4) == 0 {
                    let posts = zombies.swap_remove(dice.index(zombies.len()));
                    exchange.write(posts);
                }
            }
        }
        nodes.iter_mut().for_each(Node::commit);
        let all = nodes.iter().flat_map(|node| node.reading.values());
        let is_read = all.clone().count() == 2 * usize::try_from(PARTITIONS).unwrap()
            && all.clone().all(|(topic, partition, next, _)| {
                input.get(&(*topic, *partition)).and_then(|records| records.last()).is_none_or(|(last, ..)| next > last)
            })
            && nodes.iter().all(|node| node.again.is_empty());
        if is_read {
            break;
        }
    }
    for node in &mut nodes {
        node.say(&addresses, now, input, &mut dice);
        node.catch_up();
        let (posts, _) = node.say(&addresses, now, input, &mut dice);
        exchange.write(posts);
    }
    for model in MODELS {
        court.step(model, &mut exchange, &addresses, now, true, &mut told);
    }
    let settled: usize = nodes.iter().filter_map(|node| node.shelved.as_ref()).map(|shelved| shelved.settled).sum();
    assert!(settled > 500, "{settled} changes were committed to shelves");
    told
}

#[track_caller]
fn assert_same(alone: &BTreeSet<String>, together: &BTreeSet<String>, what: &str) {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).take(4).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        alone == together,
        "{what}: {} lines alone, {} together\nonly alone:\n{}\nonly together:\n{}",
        alone.len(),
        together.len(),
        only(alone, together),
        only(together, alone)
    );
}

#[test]
fn three_replicas_say_what_one_process_says() {
    let input = input(1, 1_200);
    let alone = alone(&input);
    assert!(alone.len() > 500, "{} lines", alone.len());
    assert!(alone.iter().any(|line| line.contains("\"metric\":\"accuracy\",\"value\":0.")), "labels are joined");
    assert!(alone.iter().any(|line| line.contains("\"state\":\"firing\"")), "alerts fire");
    for told in
        ["; against 3 windows before\"", "\"reason\":\"extended: ", "\"reason\":\"no_reference_windows\"", "; against the window before\""]
    {
        assert!(alone.iter().any(|line| line.contains(told)), "{told} is said");
    }
    for metric in ["reconstruction_error", "correlation_shift", "domain_classifier_auc"] {
        let says = format!("\"metric\":\"{metric}\",\"value\":0.");
        assert!(alone.iter().any(|line| line.contains(&says)), "{metric} is measured");
    }
    for detector in ["adwin", "page_hinkley", "ddm", "eddm", "hddm_a", "hddm_w"] {
        let fires = format!("\"metric\":\"{detector}\",\"value\":1.0,");
        assert!(alone.iter().any(|line| line.contains(&fires)), "{detector} fires");
    }
    assert_same(&alone, &together(&input, 1, false), "in peace");
}

#[test]
fn whoever_dies_hangs_or_comes_back_the_answer_is_the_same() {
    for seed in 0..6 {
        let input = input(seed + 10, 500);
        assert_same(&alone(&input), &together(&input, seed, true), &format!("seed {seed}"));
    }
}

/// What was said last of each window that ends by then and of everything in it, without what tells revisions apart. Detectors see
/// each window as it is when it closes.
fn last_said(told: &BTreeSet<String>, until: i64) -> BTreeMap<String, serde_json::Value> {
    let detectors = ["adwin", "page_hinkley", "ddm", "eddm", "hddm_a", "hddm_w"].map(serde_json::Value::from);
    let mut last: BTreeMap<String, (u64, serde_json::Value)> = BTreeMap::new();
    for line in told {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_over = line["window"]["end"].as_str().is_some_and(|end| Timestamp::parse_rfc3339(end).is_some_and(|end| end.0 <= until));
        if line["type"] == "alert" || !is_over || detectors.contains(&line["metric"]) {
            continue;
        }
        let about = ["type", "model", "version", "window", "segment", "subject", "metric"].map(|field| line[field].to_string()).join(" ");
        let revision = line["revision"].as_u64().unwrap();
        let fields = line.as_object_mut().unwrap();
        ["revision", "partitions", "sequence"].iter().for_each(|field| drop(fields.remove(*field)));
        if last.get(&about).is_none_or(|(before, _)| *before <= revision) {
            last.insert(about, (revision, line));
        }
    }
    last.into_iter().map(|(about, (_, line))| (about, line)).collect()
}

#[test]
fn a_partition_that_is_found_when_labels_are_not_waited_for_any_more_is_in_all_its_windows() {
    for seed in 0..3 {
        let mut input = input(seed + 20, 700);
        // Found between one and two horizons after it began.
        let (begins, partition) = (START + 200_000, 2);
        let found = begins + HORIZON + 20_000 + Dice(seed).time(HORIZON - 20_000);
        input.iter_mut().filter(|((_, number), _)| *number == partition).for_each(|(_, records)| {
            records.retain(|(_, arrival, _)| *arrival >= begins);
        });
        let until = START + 900_000 - HORIZON - 60_000 - LATENESS - 40_000;
        let (wanted, got) = (last_said(&alone(&input), until), last_said(&finds_late(&input, partition, found, seed), until));
        assert!(wanted.len() > 500, "{} lines", wanted.len());
        let wrong: Vec<_> = wanted.iter().filter(|(about, line)| got.get(*about) != Some(line)).collect();
        let shown = wrong.iter().take(3).map(|(about, line)| format!("{line}\n    and not {:?}", got.get(*about).map(ToString::to_string)));
        assert!(wrong.is_empty(), "seed {seed}: {} of {} differ:\n{}", wrong.len(), wanted.len(), shown.collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn what_waits_is_bounded_over_all_partitions_and_leaves_with_them() {
    let addresses = Arc::new(Addresses::new(&PLAN.plan, HOMES));
    let (input, directory) = (input(5, 800), Directory::new(Arc::clone(&PLAN.plan), Arc::clone(&addresses)));
    let mut node = Node::new(1, &addresses);
    node.shelved = Some(Shelved::under(&mut node.replica, 30, 1));
    (0..PARTITIONS).for_each(|partition| node.take(partition, &directory, &input));
    let mut dice = Dice(5);
    for _ in 0..400 {
        node.read(&input, &mut dice);
        for (worker, shard) in node.shards.iter_mut().enumerate() {
            node.replica.absorb(worker, shard.take_output());
        }
        node.replica.advance(None);
        node.commit();
        let Kept { labels, predictions, .. } = node.replica.kept();
        assert!(labels <= 2 * 30 && predictions <= 2 * 30, "{labels} labels and {predictions} predictions wait");
    }
    assert!(node.replica.kept().refused > 100);
    let shelves = Arc::clone(&node.shelved.as_ref().unwrap().shelves);
    assert_eq!(shelves.lock().unwrap().len(), MODELS.len() * usize::try_from(PARTITIONS).unwrap(), "one for each model and number");
    // Whoever leaves and comes back begins with nothing.
    node.drop_partition(0);
    node.take(0, &directory, &input);
    node.commit();
    let left: Vec<u32> = shelves.lock().unwrap().keys().copied().collect();
    assert_eq!(left, (2..10).collect::<Vec<_>>());
    (0..PARTITIONS).for_each(|partition| node.drop_partition(partition));
    node.commit();
    assert!(shelves.lock().unwrap().is_empty());
    assert_eq!((node.replica.kept(), node.replica.unsettled_ledger_changes()), (Kept::default(), 0));
}
