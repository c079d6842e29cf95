//! What a replica of a cluster holds beside what a process holds that is alone, and what `driftline check` says of it.
//!
//! `cargo bench --bench replica` runs 20 models of the standard event, one window of 1 h (slide 5 m), labels within 2 h and two
//! segments, over 6 partitions for 7.5 hours of event time: one replica that reads all of them, with the joins in memory, a
//! directory, and the owners of all models. What they say goes through a list instead of Kafka, so that the clients' queues are not in
//! it. Every prediction gets a label, spread evenly over the horizon. Bytes are those that were asked of the allocator and not given
//! back. A first argument gives the events per second of each model (1).
// A benchmark prints its numbers and stops at the first surprise.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod standard_event;
mod standard_model;

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use driftline::app::assemble::assemble;
use driftline::config::Purpose;
use driftline::config::environment::Environment;
use driftline::engine::cluster::footprint::{Footprint as InReplica, footprint as in_replica};
use driftline::engine::cluster::wire::{Key, SourceName};
use driftline::engine::cluster::{Addresses, Directory, Owner, Post, Replica, changed_panes};
use driftline::engine::footprint::{Footprint, Load, Part, footprint};
use driftline::engine::{Plan, Record, Shard};
use driftline::event::decode::RecordMeta;
use driftline::event::{SourceId, Span, Timestamp, TopicRole};
use driftline::rule::RuleSet;
use standard_event::{Shape, StandardStream};
use standard_model::StandardModel;

const MODELS: u64 = 20;
const PARTITIONS: i32 = 6;
const HOMES: i32 = 8;
const SLICE: Span = Span(300_000);
const SLICES: i64 = 90;
const HORIZON: i64 = 2 * Span::HOUR.0;
const BASELINE_EVENTS: usize = 20_000;

/// The allocator of the binary, with what was asked of it and not given back.
struct Counting(mimalloc::MiMalloc);

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        unsafe { self.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        unsafe { self.0.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);

fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// The last value of every key by its place in the topic, as compaction leaves them.
#[derive(Default)]
struct Topic {
    places: BTreeMap<(i32, Vec<u8>), i64>,
    records: BTreeMap<i64, (i32, Vec<u8>, Vec<u8>)>,
    next: i64,
}

impl Topic {
    fn write(&mut self, post: Post) {
        if let Some(before) = self.places.insert((post.home, post.key.clone()), self.next) {
            self.records.remove(&before);
        }
        self.records.insert(self.next, (post.home, post.key, post.value));
        self.next += 1;
    }
}

fn main() {
    let rate: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let began = Instant::now();
    let standard = StandardModel::build("replica-bench", BASELINE_EVENTS);
    let empty = live();
    let (plan, rules) = plan(&standard);
    let planned = live();
    let addresses = Arc::new(Addresses::new(&plan, HOMES));
    let mut shard = Shard::cumulative(Arc::clone(&plan));
    let mut replica = Replica::new(Arc::clone(&plan), Arc::clone(&addresses), "bench".into());
    let mut directory = Directory::new(Arc::clone(&plan), Arc::clone(&addresses));
    let mut owners: Vec<Owner> = plan.models.iter().map(|model| owner(&plan, &rules, &model.name, None)).collect();
    for partition in 0..PARTITIONS {
        for role in [TopicRole::Predictions, TopicRole::Labels] {
            replica.assign(source(partition, role), name(partition, role), role, 0, None);
        }
        let _ = replica.join(partition, &mut directory.group(partition));
    }
    owners.iter_mut().for_each(Owner::catch_up_done);

    let mut stream = StandardStream::new(8, Shape::Compact);
    let start = Timestamp(i64::try_from(stream.time()).unwrap()).align(SLICE, Span(0)) + SLICE;
    stream.skip(u64::try_from(start.0).unwrap() - stream.time());
    let step = 1_000 / (rate * MODELS);
    let mut labels: BTreeMap<(Timestamp, u64), (i32, String)> = BTreeMap::new();
    let mut topic = Topic::default();
    let (mut events, mut offset, mut acknowledged, mut text) = (0u64, 0i64, 0i64, String::new());
    for slice in 0..SLICES {
        let end = start + Span((slice + 1) * SLICE.0);
        while (stream.time() as i64) < end.0 {
            let (at, model) = (stream.time() as i64, events % MODELS);
            text.clear();
            stream.write_event(&mut text);
            let value = text.replacen("\"model\":\"standard\"", &format!("\"model\":\"{}\"", model_name(model)), 1);
            let id = value.split("\"id\":\"").nth(1).unwrap().get(..36).unwrap();
            let partition = (events / MODELS % PARTITIONS as u64) as i32;
            ingest(&mut shard, partition, TopicRole::Predictions, &mut offset, at, &value);
            let due = Timestamp(at + (events.wrapping_mul(0x9e37_79b9_7f4a_7c15) % HORIZON as u64) as i64);
            let label = format!(
                "{{\"event\":\"label\",\"model\":\"{}\",\"id\":\"{id}\",\"ts\":\"{}\",\"label\":\"1\"}}",
                model_name(model),
                due.rfc3339()
            );
            labels.insert((due, events), (partition, label));
            stream.skip(step - 1);
            events += 1;
        }
        while let Some(first) = labels.first_entry().filter(|first| first.key().0 < end) {
            let at = first.key().0.0;
            let (partition, value) = first.remove();
            ingest(&mut shard, partition, TopicRole::Labels, &mut offset, at, &value);
        }
        let mut posts = Vec::new();
        let sources: Vec<(SourceId, i64)> = (0..PARTITIONS)
            .flat_map(|partition| [TopicRole::Predictions, TopicRole::Labels].map(|role| (source(partition, role), offset)))
            .collect();
        for partition in 0..PARTITIONS {
            let (id, name) = (source(partition, TopicRole::Predictions), name(partition, TopicRole::Predictions));
            shard.drop_sealed(id, acknowledged);
            posts.extend(changed_panes(&shard, &addresses, id, &name, offset, acknowledged));
        }
        replica.absorb(0, shard.take_output());
        let progress = replica.progress(&sources, end);
        // A little at a time, until there is nothing left.
        (0..200).for_each(|_| replica.advance(None));
        posts.extend(replica.labels(end));
        posts.extend(progress);
        for post in posts {
            hear(&mut directory, &mut owners, &addresses, topic.next, &post);
            topic.write(post);
        }
        // The last round is on its way: what joins have changed is held twice then.
        if slice + 1 < SLICES {
            replica.acknowledge();
        }
        acknowledged = offset;
        directory.prune();
        owners.iter_mut().for_each(|owner| drop(owner.advance(None, end)));
    }
    let decisions: Vec<Vec<u8>> = owners.iter().map(Owner::state).collect();
    println!(
        "{events} events of {MODELS} models in {SLICES} slices, {} snapshots in the topic, {} predictions wait, {:.0} s",
        topic.records.len(),
        replica.kept().predictions,
        began.elapsed().as_secs_f64()
    );
    println!("{:44} {:>12} {:>12}", "", "measured", "estimated");
    let line = |what: &str, measured: i64, estimated: u64| {
        println!("{what:44} {:>8.1} MiB {:>8.1} MiB", measured as f64 / 1_048_576.0, estimated as f64 / 1_048_576.0);
    };
    let load = Load { events_per_second: rate as f64, partitions: PARTITIONS as u64 };
    let of: Vec<Footprint> = plan.models.iter().map(|model| footprint(model, &load, usize::MAX, false)).collect();
    // The topic holds what was said in the time that was run.
    let more: Vec<InReplica> = plan.models.iter().map(|model| in_replica(model, &load, Span(SLICES * SLICE.0))).collect();
    let sum = |part: fn(&Footprint) -> Part| of.iter().map(|of| part(of).bytes).sum::<u64>();
    let add = |part: fn(&InReplica) -> Part| more.iter().map(|of| part(of).bytes).sum::<u64>();
    line("baselines", planned - empty, sum(|of| of.baselines));
    line("open panes (one slice of two is open)", dropped(shard), sum(|of| of.open));
    line("joins, and the ledger in memory", dropped(replica), add(|of| of.joins) + sum(|of| of.ledger));
    line("directory", dropped(directory), add(|of| of.directory));
    let estimated = add(|of| of.owned) + sum(|of| of.sealed) + sum(|of| of.joined) + sum(|of| of.waiting);
    line("owners: owned, sealed, joined panes, windows", dropped(owners), estimated);

    // A replica that starts when the others are gone: it hears all that compaction has left.
    let before = live();
    let mut directory = Directory::new(Arc::clone(&plan), Arc::clone(&addresses));
    let mut owners: Vec<Owner> =
        plan.models.iter().zip(&decisions).map(|(model, decision)| owner(&plan, &rules, &model.name, Some(decision))).collect();
    let mut most = live();
    for (offset, (home, key, value)) in &topic.records {
        hear(&mut directory, &mut owners, &addresses, *offset, &Post { home: *home, key: key.clone(), value: value.clone() });
        most = most.max(live());
    }
    owners.iter_mut().for_each(Owner::catch_up_done);
    let estimated = estimated + add(|of| of.directory) + add(|of| of.taking_over);
    line("directory and owners that hear the topic anew", most - before, estimated);
}

/// Bytes that are given back with a thing.
fn dropped<T>(thing: T) -> i64 {
    let before = live();
    drop(thing);
    before - live()
}

fn hear(directory: &mut Directory, owners: &mut [Owner], addresses: &Addresses, offset: i64, post: &Post) {
    directory.hear(post.home, &post.key, Some(&post.value)).unwrap();
    let key = Key::from_bytes(&post.key).unwrap();
    for (owner, (_, address)) in owners.iter_mut().zip(addresses.all()).filter(|(_, (_, address))| address.home == post.home) {
        if key.model().is_none_or(|model| *model == address.name) {
            owner.hear(offset, &key, Some(&post.value)).unwrap();
        }
    }
}

fn ingest(shard: &mut Shard, partition: i32, role: TopicRole, offset: &mut i64, at: i64, value: &str) {
    let meta = RecordMeta { topic: topic_name(role), key: None, timestamp: Some(Timestamp(at)), headers: &[] };
    let record = Record { source: source(partition, role), role, offset: *offset, meta, value: value.as_bytes(), oversize: false };
    let _ = shard.ingest(&record);
    *offset += 1;
}

fn topic_name(role: TopicRole) -> &'static str {
    if role == TopicRole::Labels { "labels" } else { "standard" }
}

fn source(partition: i32, role: TopicRole) -> SourceId {
    SourceId(partition as u32 * 2 + u32::from(role == TopicRole::Labels))
}

fn name(partition: i32, role: TopicRole) -> SourceName {
    SourceName { topic: Arc::from(topic_name(role)), partition }
}

fn model_name(number: u64) -> String {
    format!("model-{number:02}")
}

/// An owner that waits for all partitions.
fn owner(plan: &Plan, rules: &Arc<RuleSet>, model: &str, decision: Option<&[u8]>) -> Owner {
    let (mut owner, _) = Owner::new(Arc::new(plan.only(model).unwrap()), Arc::clone(rules), decision).unwrap();
    let sources: Vec<(SourceName, TopicRole)> = (0..PARTITIONS)
        .flat_map(|partition| [TopicRole::Predictions, TopicRole::Labels].map(|role| (name(partition, role), role)))
        .collect();
    owner.expect(&sources, Timestamp(0));
    owner
}

/// The standard model under twenty names.
fn plan(standard: &StandardModel) -> (Arc<Plan>, Arc<RuleSet>) {
    let dir = standard.dir();
    let baseline = std::fs::read_to_string(dir.join("baseline.json")).unwrap();
    let mut config = "limits: { memory: 8GiB }\nmodels:\n".to_owned();
    for number in 0..MODELS {
        let name = model_name(number);
        let own = baseline.replacen("\"model\":\"standard\"", &format!("\"model\":\"{name}\""), 1);
        std::fs::write(dir.join(format!("{name}.json")), own).unwrap();
        config += &format!(
            "  - {{ name: {name}, baseline: {name}.json, task: binary, positive_class: \"1\", windows: [ {{ name: 1h, size: 1h, slide: 5m }} ], \
             lateness: 2m, labels: {{ horizon: 2h }}, segments: [ {{ by: tags.region, limit: 2 }} ] }}\n"
        );
    }
    let path = dir.join("replica.yaml");
    std::fs::write(&path, config).unwrap();
    let assembly = assemble(&path, &[], &Environment::default(), Purpose::Offline).unwrap();
    (assembly.plan, assembly.rules)
}
