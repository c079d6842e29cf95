//! Whole runs in virtual time over one store: what a change of the configuration does to the models it is about, and to the
//! others. A run that nobody interrupted is what they are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::app::assemble::assemble;
use crate::app::baseline_job::build_from_files;
use crate::baseline::Task;
use crate::baseline::build::BuildSpec;
use crate::config::checked::Purpose;
use crate::config::environment::Environment;
use crate::engine::result::lines;
use crate::engine::state::partition::Said;
use crate::engine::{Emission, Record, Shard};
use crate::event::decode::RecordMeta;
use crate::event::{Outcome, WindowSummary};
use crate::rule::{Happening, Notice};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const START: i64 = 1_704_067_200_000;
/// Events of each model are so far apart.
const STEP: i64 = 15_000;
/// The wall clock.
const NOW: Timestamp = Timestamp(START + 1_000 * HOUR);
const SOURCES: [(&str, i32, TopicRole); 3] =
    [("events", 0, TopicRole::Predictions), ("events", 1, TopicRole::Predictions), ("labels", 0, TopicRole::Labels)];
/// Records come of all of these, whoever is configured.
const MODELS: [&str; 4] = ["a", "b", "c", "d"];

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("driftline-checkpoint-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let mut table = String::from("id,x,tags.region,prediction,score,label\n");
        for row in 0..600u64 {
            let class = if row % 2 == 0 { "yes" } else { "no" };
            writeln!(table, "r{row},{},eu,{class},0.5,{class}", value(row)).unwrap();
        }
        let file = path.join("base.csv");
        std::fs::write(&file, table).unwrap();
        for model in MODELS.into_iter().chain(["x"]) {
            let mut spec = BuildSpec::new(model, Task::Binary);
            spec.positive_class = Some("yes".into());
            let baseline = build_from_files(&spec, std::slice::from_ref(&file), &mut |_| {}).unwrap();
            std::fs::write(path.join(format!("{model}.json")), baseline.to_json().unwrap()).unwrap();
        }
        Scratch(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// The plan of these models, each with what is said of it besides, and two rules for each.
    fn plan(&self, models: &[(&str, &str)]) -> (Arc<Plan>, Arc<RuleSet>) {
        let mut text = String::from("rules: [rules.yaml]\nmodels:\n");
        let mut rules = String::from("groups:\n");
        for (name, more) in models {
            writeln!(
                text,
                "  - {{ name: {name}, baseline: {name}.json, task: binary, positive_class: yes, lateness: 1m, min_samples: 10, \
                 windows: [ {{ name: 1h, size: 1h, slide: 30m }}, {{ name: 2h, size: 2h, slide: 1h }} ], labels: {{ horizon: 1h }}{more} }}"
            )
            .unwrap();
            writeln!(
                rules,
                "  - name: {name}-drift\n    model: {name}\n    rules:\n      - {{ alert: Drift, source: {{ metric: psi, window: 1h }}, each: [feature], \
                 min_samples: 50, incomplete: ok, fire: {{ critical: {{ above: 0.25, for: 1 windows }} }} }}\n      - {{ alert: Right, source: {{ metric: accuracy, window: 1h, \
                 label_coverage: 0.9 }}, incomplete: ok, fire: {{ critical: {{ above: 0.5, for: 1 windows }} }} }}"
            )
            .unwrap();
        }
        rules.push_str("route: { receiver: hook }\nreceivers: [ { name: hook, webhook_configs: [ { url: \"http://127.0.0.1/x\" } ] } ]\n");
        std::fs::write(self.0.join("rules.yaml"), rules).unwrap();
        let path = self.0.join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let assembly = assemble(&path, &[], &Environment::default(), Purpose::Offline)
            .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()));
        (assembly.plan, assembly.rules)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn value(seed: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57
}

fn open(path: &Path) -> Store {
    Store::open(path, FORMAT, 8 << 20).unwrap().store
}

/// A process: one worker and the owner of the evaluator.
struct Run {
    store: Store,
    rules: Arc<RuleSet>,
    shard: Shard,
    said: Said,
    evaluator: Evaluator,
    written: Written,
    numbering: Numbering,
    renewal: Renewal,
    registry: Registry,
    emissions: Vec<Emission>,
}

impl Run {
    fn start(path: &Path, (plan, rules): (Arc<Plan>, Arc<RuleSet>)) -> Run {
        let mut store = open(path);
        let restored = Restored::read(&mut store, &plan, &rules, 1, NOW).unwrap();
        let Restored { mut registry, snapshots, mut evaluator, written, numbering, renewal, .. } = restored;
        let snapshot = snapshots.into_iter().next().unwrap();
        let mut shard = Shard::new(plan);
        snapshot.partitions.into_iter().for_each(|(source, state)| shard.restore(source, state));
        for (topic, partition, role) in SOURCES {
            evaluator.assign(registry.register(topic, partition, role), role);
        }
        let emissions = evaluator.set_rules(Arc::clone(&rules));
        Run { store, rules, shard, said: snapshot.said, evaluator, written, numbering, renewal, registry, emissions }
    }

    /// Reads what comes of all models from one time to another, in turns of ten minutes.
    fn feed(&mut self, from: i64, to: i64) {
        let mut turn = from;
        while turn < to {
            let until = to.min(turn + 10 * MINUTE);
            for place in (turn + STEP - 1) / STEP..(until + STEP - 1) / STEP {
                self.feed_one(place);
            }
            turn = until;
            self.step();
        }
    }

    fn feed_one(&mut self, place: i64) {
        let seed = place.unsigned_abs();
        let ts = START + place * STEP;
        let class = |seed: u64| if seed % 2 == 0 { "yes" } else { "no" };
        // All models drift from the first hour on, and their labels say that they are right.
        let x = value(seed) + if ts >= START + HOUR { 40 } else { 0 };
        for model in MODELS {
            let region = if seed % 3 == 0 { "eu" } else { "us" };
            let event = json!({"event": "prediction", "model": model, "id": format!("{model}{place}"), "ts": ts, "features": {"x": x},
                "prediction": class(seed), "score": 0.5, "tags": {"region": region}});
            self.ingest(usize::from(seed % 2 == 1), &event);
            let labelled = place - 10 * MINUTE / STEP;
            if labelled >= 0 {
                let event = json!({"event": "label", "model": model, "id": format!("{model}{labelled}"), "ts": ts, "label": class(seed)});
                self.ingest(2, &event);
            }
        }
    }

    fn ingest(&mut self, source: usize, event: &serde_json::Value) {
        let (topic, partition, role) = SOURCES[source];
        let id = self.registry.register(topic, partition, role);
        let offset = self.registry.get(id).unwrap().next.unwrap_or(NextOffset(0)).0;
        let meta = RecordMeta { topic, key: None, timestamp: None, headers: &[] };
        let value = event.to_string();
        let _ = self.shard.ingest(&Record { source: id, role, offset, meta, value: value.as_bytes(), oversize: false });
        self.registry.set_next(id, NextOffset(offset + 1));
    }

    fn step(&mut self) {
        self.evaluator.absorb(0, self.shard.take_output());
        self.emissions.extend(self.evaluator.advance(None));
        let waiting: u64 = self.evaluator.sources().values().map(|source| source.counts.of(Outcome::Waiting)).sum();
        assert_eq!(waiting, self.evaluator.kept().labels, "the books balance");
    }

    /// Writes a checkpoint, as the coordinator does.
    fn store(&mut self) {
        let own = own_pieces(&self.numbering, self.registry.all(), Vec::new()).unwrap();
        let snapshot = Snapshot { changes: self.said.changes(&self.shard), ..Snapshot::default() };
        let batch = cut(&self.numbering, &mut self.written, &mut self.evaluator, own, [snapshot]).unwrap();
        self.store.commit(batch).unwrap();
        self.evaluator.settle_changes();
    }

    /// Stores, ends, and gives what it said.
    fn end(mut self) -> Vec<Emission> {
        self.store();
        self.emissions
    }

    fn received(&self) -> u64 {
        self.evaluator.sources().values().map(|source| source.counts.received()).sum()
    }
}

/// Events of all models and of far later, which close everything before.
fn finish(run: &mut Run, from: i64, to: i64) {
    run.feed(from, to);
    run.feed_one((to + 6 * HOUR) / STEP);
    run.feed_one((to + 6 * HOUR) / STEP + 1);
    run.step();
}

/// What was said of a model's windows, measurements and alerts that are over by then.
fn of_model(emissions: &[Emission], model: &str) -> Vec<String> {
    let mut sequence = 0;
    let mut said: Vec<_> = emissions.iter().flat_map(|emission| lines(emission, &mut sequence)).collect();
    said.sort();
    let wanted = format!("\"model\":\"{model}\"");
    let mut texts: Vec<String> = said.into_iter().map(|line| line.json).filter(|line| line.contains(&wanted)).collect();
    assert!(texts.len() > 20, "{texts:?}");
    texts.dedup();
    texts
}

fn notices<'a>(emissions: &'a [Emission], model: &str) -> Vec<&'a Notice> {
    let told = emissions.iter().filter_map(|emission| match emission {
        Emission::Happening { happening, .. } => match &**happening {
            Happening::Notice(notice) => Some(notice),
            _ => None,
        },
        Emission::Window(_) => None,
    });
    told.filter(|notice| notice.alert.labels["model"] == model).collect()
}

/// The windows of a model when they closed, by name and start.
fn windows<'a>(emissions: &'a [Emission], model: &str) -> BTreeMap<(&'a str, i64), &'a WindowSummary> {
    let closed = emissions.iter().filter_map(|emission| match emission {
        Emission::Window(closed) if closed.is_first && *closed.summary.model == *model => Some(&closed.summary),
        _ => None,
    });
    closed.map(|summary| ((&*summary.window.name, summary.window.start.0), summary)).collect()
}

/// The windows that lack what came before the change say so, and all others are as they are without it: those of the model
/// `name` in a whole run.
fn assert_marked(emissions: &[Emission], whole: &[Emission], model: &str, (name, changed): (&str, i64), reason: &str) {
    let (windows, whole, changed) = (windows(emissions, model), windows(whole, name), START + changed);
    let since: Vec<_> = windows.iter().filter(|((_, start), summary)| start + HOUR > changed && summary.n > 0).collect();
    let (marked, free): (Vec<_>, Vec<_>) = since.into_iter().partition(|(_, summary)| summary.gaps.iter().any(|gap| **gap == *reason));
    assert!(marked.len() >= 3 && free.len() >= 3, "{marked:?} {free:?}");
    for (key, summary) in marked {
        assert!(!summary.complete && key.1 < changed && summary.n < whole[key].n, "{summary:?} of {:?}", whole[key]);
    }
    for (key, summary) in free {
        assert!(summary.complete && key.1 >= changed - STEP * 2 && summary.n == whole[key].n, "{summary:?} is not {:?}", whole[key]);
    }
}

/// What is stored belongs to the models of the numbering and to no other.
fn assert_swept(store: &Store, models: usize) {
    let plan = store.all(Part::Plan.number()).unwrap();
    let numbering: Numbering = postcard::from_bytes(&plan[0].1).unwrap();
    assert!(numbering.retired().is_empty());
    let numbers: BTreeSet<u16> = (0..).map_while(|place| numbering.number(place)).collect();
    assert_eq!(numbers.len(), models);
    for part in Part::ALL {
        for (key, value) in store.all(part.number()).unwrap() {
            assert!(numbering.loaded(Piece { part, key, value }).unwrap().is_some());
        }
    }
}

const FIRST: [(&str, &str); 3] = [("a", ""), ("b", ""), ("c", "")];
const CHANGED: &str = ", segments: [ { by: [tags.region] } ]";

#[test]
fn models_that_are_added_changed_removed_and_moved_leave_the_others_as_they_are() {
    let scratch = Scratch::new("models");
    let whole = {
        let mut run = Run::start(&scratch.0.join("whole"), scratch.plan(&FIRST));
        finish(&mut run, 0, 6 * HOUR);
        run.end()
    };
    let firing = notices(&whole, "a");
    assert_eq!(firing.len(), 2, "two alerts: {firing:?}");

    // A window that has closed still waits for its labels when the configuration changes.
    let (first, second) = (HOUR + 35 * MINUTE, 3 * HOUR + 8 * MINUTE);
    let mut run = Run::start(&scratch.state(), scratch.plan(&FIRST));
    assert!(run.renewal.is_empty(), "nothing is different from no run");
    run.feed(0, first);
    let received = run.received();
    let mut said = run.end();
    let before = said.len();
    for model in ["a", "b", "c"] {
        assert_eq!(notices(&said, model).len(), 2, "they fire before the first stop");
    }

    let mut run = Run::start(&scratch.state(), scratch.plan(&[("d", ""), ("c", CHANGED), ("a", "")]));
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(run.renewal, Renewal { changed: names(&["c"]), added: names(&["d"]), gone: names(&["b"]) });
    assert_eq!(run.received(), received, "what was received stays so");
    run.step();
    assert_swept(&run.store, 3);
    run.feed(first, second);
    said.extend(run.end());

    // One is back, and one is where it was.
    let mut run = Run::start(&scratch.state(), scratch.plan(&[("a", ""), ("b", ""), ("c", CHANGED), ("d", "")]));
    assert_eq!(run.renewal, Renewal { added: names(&["b"]), ..Renewal::default() });
    finish(&mut run, second, 6 * HOUR);
    for view in run.evaluator.alerts().views(&run.rules).iter().filter(|view| view.labels["model"] == "c") {
        let looked = view.window.as_ref().map(|window| window.start);
        assert!(looked >= Some(Timestamp(START + 5 * HOUR)), "windows from before the change are not waited for: {view:?}");
    }
    said.extend(run.end());

    assert_eq!(of_model(&said, "a"), of_model(&whole, "a"), "it is as without a change");
    let started: Vec<_> = notices(&said, "c").iter().map(|notice| (notice.episode.clone(), notice.sequence)).collect();
    assert_eq!(started.len(), 2, "the alerts of the changed model go on: {started:?}");
    let ended = notices(&said[before..], "b");
    assert_eq!(ended[0].sequence, 1, "the alert of the model that is gone is over: {ended:?}");
    assert!(ended[0].alert.reason.contains("retired"), "{ended:?}");
    assert_marked(&said, &whole, "c", ("c", first), "baseline_changed");
    assert_marked(&said, &whole, "d", ("a", first), "model_added");
    let back: Vec<Emission> = said[before..].to_vec();
    assert_marked(&back, &whole, "b", ("b", second), "model_added");
}

#[test]
fn a_change_that_is_interrupted_gives_no_model_what_is_anothers() {
    let scratch = Scratch::new("interrupted");
    let (first, second) = (HOUR + 35 * MINUTE, 3 * HOUR);
    let others = [("d", ""), ("c", CHANGED), ("a", "")];
    let whole = {
        let mut run = Run::start(&scratch.0.join("whole"), scratch.plan(&FIRST));
        finish(&mut run, 0, 5 * HOUR);
        run.end()
    };
    let gone_on: [&[(&str, &str)]; 3] = [&others, &FIRST, &[("x", ""), ("c", ""), ("b", ""), ("a", "")]];
    for (place, models) in gone_on.into_iter().enumerate() {
        let state = scratch.0.join(format!("state-{place}"));
        let mut run = Run::start(&state, scratch.plan(&FIRST));
        run.feed(0, first);
        let mut said = run.end();
        // It ends after the first commit; another time when some of what is retired is gone.
        let (plan, rules) = scratch.plan(&others);
        let mut store = open(&state);
        let restored = Restored::adopt(&mut store, &plan, &rules, 1, NOW).unwrap();
        let retired = restored.numbering.retired().clone();
        assert_eq!(retired.len(), 2);
        for part in [Part::Panes, Part::Ledger, Part::Model] {
            let keys = store.all(part.number()).unwrap().into_iter().map(|(key, _)| key);
            let is_retired = |key: &Vec<u8>| retired.iter().any(|number| key.starts_with(&number.to_be_bytes()));
            let keys: Vec<Vec<u8>> = keys.filter(is_retired).collect();
            assert!(!keys.is_empty(), "{part:?}");
            if place > 0 {
                delete(&mut store, part, keys[..keys.len().div_ceil(2)].to_vec()).unwrap();
            }
        }
        drop((store, restored));

        let mut run = Run::start(&state, scratch.plan(models));
        assert_swept(&run.store, models.len());
        run.feed(first, second);
        said.extend(run.end());
        let mut run = Run::start(&state, scratch.plan(models));
        assert!(run.renewal.is_empty());
        finish(&mut run, second, 5 * HOUR);
        said.extend(run.end());
        assert_eq!(of_model(&said, "a"), of_model(&whole, "a"), "it is as without a change");
        assert_eq!(notices(&said, "c").len(), 2, "its alerts go on");
        assert_marked(&said, &whole, "c", ("c", first), "baseline_changed");
        if place > 0 {
            assert_marked(&said, &whole, "b", ("b", first), "model_added");
        }
    }
}
