//! The label ledger: on a shelf it says what it says in memory, wherever it is committed, cut off and opened again; it
//! does not matter which half of a join is read first; and each label has one outcome or still waits.

mod replay_support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use driftline::engine::state::evaluator::pane_key;
use driftline::engine::state::{Part, Piece, partition};
use driftline::engine::{Emission, Evaluator, PairShelf, Plan, Record, Shard};
use driftline::event::decode::RecordMeta;
use driftline::event::{Outcome, Reject, SourceId, Span, Timestamp, TopicRole};
use driftline::join::{Bounds, Change, Label, Ledger, MemoryShelf, Predicted, Prediction, RecordId, Shelf, Space, Tally, Truth};
use driftline::rule::RuleSet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use replay_support::{assembled, build_baseline, scratch, write};
use serde_json::json;

const HORIZON: i64 = 100;
const PATIENCE: i64 = 20;
const TICK: i64 = 10;
/// A class that version 0 does not know.
const STRANGE: u16 = 3;

/// A pair that was counted: id, version, class, and the class before.
type Counted = (u128, u16, u16, Option<u16>);

/// Everything that a ledger says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    pairs: Vec<Counted>,
    tally: Tally,
}

impl Said {
    fn hear(&mut self, act: impl FnOnce(&mut dyn FnMut(&driftline::join::Pair<'_>) -> bool) -> Tally) {
        let pairs = &mut self.pairs;
        let class = |truth: Truth| if let Truth::Class(class) = truth { class } else { panic!("a class is expected") };
        let tally = act(&mut |pair| {
            let Prediction { version, segments, .. } = pair.prediction;
            let is_known = *version != 0 || class(pair.truth) != STRANGE;
            if is_known {
                pairs.push((segments[0].into(), *version, class(pair.truth), pair.previous.map(class)));
            }
            is_known
        });
        self.tally.merge(&tally);
    }
}

fn prediction(id: u8, version: u16, ts: i64) -> Prediction {
    // The id is written where it comes out again.
    Prediction { ts: Timestamp(ts), version, segments: Box::new([id.into()]), predicted: Predicted::Class(Some(1), Some(0.5)) }
}

fn label(id: u8, ts: i64, came: i64, class: u16, offset: i64) -> Label {
    let truth = Truth::Class(class);
    Label { id: RecordId(id.into()), ts: Timestamp(ts), came: Timestamp(came), truth, position: (SourceId(0), offset) }
}

fn bounds(capacity: usize, cached: usize) -> Bounds {
    Bounds { horizon: Span(HORIZON), patience: Span(PATIENCE), capacity, cached }
}

#[derive(Clone, Debug)]
enum Step {
    /// Id, version, and its time from the clock.
    Predict(u8, u16, i64),
    /// Id, its time from the clock, how much later it comes, class.
    Label(u8, i64, i64, u16),
    Advance(i64),
    /// Changes are taken; what was taken before was not committed.
    Take,
    /// What was taken last is committed, and the ledger told so.
    Settle,
    /// The process ends and begins again; with `true` just after it has committed what was taken last.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..9, 0u16..3, -40i64..40).prop_map(|(id, version, at)| Step::Predict(id, version, at)),
        8 => (0u8..9, -60i64..60, prop_oneof![4 => Just(0i64), 1 => 0i64..90], 0u16..=STRANGE).prop_map(|(id, at, late, class)| Step::Label(id, at, late, class)),
        4 => (0i64..40).prop_map(Step::Advance),
        3 => Just(Step::Take),
        3 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

/// The entries of a ledger in memory, as it stores them.
fn entries(ledger: &Ledger) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    type Whole = (Bounds, (Timestamp, u64, u64, u64, u64), Vec<(Space, Vec<u8>, Vec<u8>)>);
    let whole: Whole = postcard::from_bytes(&postcard::to_stdvec(ledger).unwrap()).unwrap();
    whole.2
}

fn on_the_shelf(shelf: &MemoryShelf) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let spaces = Space::ALL.into_iter().filter(|space| *space != Space::Books);
    spaces.flat_map(|space| shelf.range(space, &[], usize::MAX).into_iter().map(move |(key, value)| (space, key, value))).collect()
}

/// A ledger in memory beside one on a shelf.
struct Both {
    plain: Ledger,
    shelved: Ledger,
    shelf: Arc<MemoryShelf>,
    bounds: Bounds,
    clock: i64,
    said: [Said; 2],
    /// The changes that were last taken, with the state they lead to.
    taken: Option<(Vec<Change>, Ledger, i64)>,
    /// The state on the shelf.
    stored: (Ledger, i64),
    offset: i64,
}

impl Both {
    fn new(bounds: Bounds) -> Both {
        let shelf = Arc::new(MemoryShelf::default());
        let plain = Ledger::new(bounds);
        let shelved = Ledger::on(Arc::clone(&shelf) as Arc<dyn Shelf>, bounds);
        let stored = (plain.clone(), 0);
        Both { plain, shelved, shelf, bounds, clock: 0, said: <[Said; 2]>::default(), taken: None, stored, offset: 0 }
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        let Both { plain, shelved, said: [of_plain, of_shelved], .. } = self;
        match *step {
            Step::Predict(id, version, at) => {
                let prediction = prediction(id, version, self.clock + at);
                for (ledger, said) in [(plain, of_plain), (shelved, of_shelved)] {
                    said.hear(|count| ledger.predict(RecordId(id.into()), prediction.clone(), count).unwrap_or_default());
                }
            }
            Step::Label(id, at, late, class) => {
                self.offset += 1;
                let ts = self.clock + at;
                let label = label(id, ts, ts + late, class, self.offset);
                prop_assert_eq!(plain.label(&label), shelved.label(&label));
            }
            Step::Advance(by) => {
                self.clock += by;
                for (ledger, said) in [(plain, of_plain), (shelved, of_shelved)] {
                    said.hear(|count| ledger.advance(Timestamp(self.clock), count));
                }
            }
            Step::Take => self.taken = Some((shelved.take_changes(), plain.clone(), self.clock)),
            Step::Settle => {
                if self.commit() {
                    self.shelved.settle_changes();
                    prop_assert!(self.shelved.unsettled() > 0 || self.shelved.held() <= self.bounds.cached);
                }
            }
            Step::Restart(is_committed) => {
                if is_committed {
                    self.commit();
                }
                self.taken = None;
                (self.plain, self.clock) = self.stored.clone();
                self.shelved = Ledger::on(Arc::clone(&self.shelf) as Arc<dyn Shelf>, self.bounds);
            }
        }
        let state = |ledger: &mut Ledger| (ledger.kept(), ledger.next_label());
        prop_assert_eq!(state(&mut self.plain), state(&mut self.shelved));
        let [of_plain, of_shelved] = &self.said;
        prop_assert_eq!(of_plain, of_shelved);
        prop_assert_eq!(self.shelf.refused(), vec![]);
        Ok(())
    }

    fn commit(&mut self) -> bool {
        let Some((changes, plain, clock)) = self.taken.take() else { return false };
        self.shelf.apply(changes);
        self.stored = (plain, clock);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_a_shelf_a_ledger_says_what_it_says_in_memory(
        steps in vec(step(), 1..120),
        capacity in prop_oneof![Just(1_000usize), 2usize..8],
        cached in 0usize..5,
    ) {
        let mut both = Both::new(bounds(capacity, cached));
        for step in &steps {
            both.step(step)?;
        }
        for step in [Step::Take, Step::Settle] {
            both.step(&step)?;
        }
        prop_assert!(both.shelved.held() <= cached);
        prop_assert_eq!(on_the_shelf(&both.shelf), entries(&both.plain));
        // A thousand horizons later nothing is left anywhere.
        for step in [Step::Advance(1_000 * HORIZON), Step::Advance(1_000 * HORIZON), Step::Take, Step::Settle] {
            both.step(&step)?;
        }
        prop_assert_eq!(on_the_shelf(&both.shelf), vec![]);
    }
}

/// What was counted of each id and version: classes, each with the one before.
type Pairs = BTreeMap<(u128, u16), Vec<(u16, Option<u16>)>>;

/// A prediction with the delay with which it is read.
type Read = (u8, u16, i64, i64);

/// Runs the clock over predictions and labels. Predictions are read `delay` after their time, labels when they come.
fn run(predictions: &[Read], labels: &[Label], is_delayed: bool) -> (Pairs, Tally) {
    let mut ledger = Ledger::new(bounds(1_000, 0));
    let mut said = Said::default();
    let mut waiting: Vec<Read> = predictions.to_vec();
    let mut clock = 0;
    while clock <= 600 {
        waiting.retain(|(id, version, ts, delay)| {
            // At the latest before the clock is beyond its time and the lateness, which is the patience here.
            let read = if is_delayed { *ts + *delay } else { i64::MIN };
            if read > clock {
                return true;
            }
            said.hear(|count| ledger.predict(RecordId((*id).into()), prediction(*id, *version, *ts), count).unwrap());
            false
        });
        for label in labels.iter().filter(|label| label.came.0 > clock - TICK && label.came.0 <= clock) {
            assert_eq!(ledger.label(label), None);
        }
        said.hear(|count| ledger.advance(Timestamp(clock), count));
        clock += TICK;
    }
    assert_eq!(ledger.waiting_labels(), 0);
    let mut pairs = Pairs::new();
    for (id, version, class, previous) in said.pairs {
        pairs.entry((id, version)).or_default().push((class, previous));
    }
    (pairs, said.tally)
}

/// The same by going through all labels for each prediction.
fn by_force(predictions: &[Read], labels: &[Label]) -> (Pairs, BTreeMap<&'static str, u64>) {
    let mut labels: Vec<&Label> = labels.iter().collect();
    labels.sort_by_key(|label| (label.came, label.position.1));
    let mut pairs = Pairs::new();
    let mut outcomes = vec![0; labels.len()];
    for (id, version, ts, _) in predictions {
        let mut truth = None;
        for (place, label) in labels.iter().enumerate().filter(|(_, label)| label.id.0 == u128::from(*id)) {
            let Truth::Class(class) = label.truth else { panic!("a class is expected") };
            if label.came.0 > ts + HORIZON || label.ts.0 < ts - PATIENCE {
                continue;
            }
            let said = if truth == Some(class) {
                2
            } else if *version == 0 && class == STRANGE {
                1
            } else {
                pairs.entry(((*id).into(), *version)).or_default().push((class, truth));
                truth = Some(class);
                3
            };
            outcomes[place] = said.max(outcomes[place]);
        }
    }
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(["unmatched", "bad", "duplicate", "counted"][outcome]).or_default() += 1;
    }
    (pairs, counts)
}

/// Outcomes by name, as the moves between them add up.
fn totals(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let name = |outcome| match outcome {
        Outcome::UnmatchedLabel => "unmatched",
        Outcome::Rejected(Reject::BadLabel) => "bad",
        Outcome::Duplicate => "duplicate",
        Outcome::Counted => "counted",
        Outcome::Waiting => "waiting",
        other => panic!("{other:?}"),
    };
    let mut totals: BTreeMap<&'static str, i128> = BTreeMap::new();
    for (from, to, labels) in tally.iter() {
        *totals.entry(name(from)).or_default() -= i128::from(labels);
        *totals.entry(name(to)).or_default() += i128::from(labels);
    }
    totals.remove("waiting");
    totals.into_iter().filter(|(_, labels)| *labels != 0).map(|(name, labels)| (name, u64::try_from(labels).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_which_half_is_read_first(
        predictions in vec((0u8..4, 0u16..3, 40i64..300, 0i64..=PATIENCE), 0..12),
        labels in vec((0u8..4, 20i64..420, prop_oneof![3 => Just(0i64), 1 => 0i64..120], 0u16..=STRANGE), 0..24),
    ) {
        // One prediction for each id and version.
        let mut seen = std::collections::BTreeSet::new();
        let predictions: Vec<Read> = predictions.into_iter().filter(|(id, version, ..)| seen.insert((*id, *version))).collect();
        let labels: Vec<Label> = labels.into_iter().zip(0..).map(|((id, ts, late, class), offset)| label(id, ts, ts + late, class, offset)).collect();
        let (pairs, outcomes) = by_force(&predictions, &labels);
        for is_delayed in [false, true] {
            let (joined, tally) = run(&predictions, &labels, is_delayed);
            prop_assert_eq!(&joined, &pairs, "delayed: {}", is_delayed);
            prop_assert_eq!(totals(&tally), outcomes.clone(), "delayed: {}", is_delayed);
        }
    }
}

const START: i64 = 1_700_000_000_000;
const STEPS: i64 = 60;

/// A model with labels, whose version 2 does not know the class `default`.
fn plan() -> (Arc<Plan>, Arc<RuleSet>) {
    let directory = scratch("ledger");
    write(&directory, "rules.yaml", "groups: []\nroute: { receiver: none }\nreceivers: [ { name: none } ]\n");
    let config = "models:\n  - { name: loan, baseline: { \"2\": second.json, default: first.json }, task: multiclass, windows: [ { name: w, size: 1m, slide: 20s } ], lateness: 15s, min_samples: 1, labels: { horizon: 2m } }\nrules: [rules.yaml]\n";
    let config = write(&directory, "driftline.yaml", config);
    for (name, classes) in [("first", ["repaid", "default", "late"]), ("second", ["repaid", "repaid", "late"])] {
        let rows: String = (0..300).map(|row| format!("r{row},{},{}\n", row % 50, classes[row % 3])).collect();
        let csv = write(&directory, &format!("{name}.csv"), &format!("id,age,prediction\n{rows}"));
        build_baseline(&config, "loan", &csv, &directory.join(format!("{name}.json")));
    }
    let assembly = assembled(&config);
    (assembly.plan, assembly.rules)
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % below
    }
}

/// The panes of the one model as they are stored, by the keys of their pieces, and those that were refused.
#[derive(Debug, Default)]
struct Panes {
    stored: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    fetched: AtomicUsize,
    refused: Mutex<Vec<Vec<u8>>>,
}

impl PairShelf for Panes {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.stored.lock().unwrap().get(&pane_key(0, key)).cloned()
    }

    fn refuse(&self, key: &[u8]) {
        self.refused.lock().unwrap().push(key.to_vec());
    }
}

/// Everything that is there to see of an engine that has labels to join.
struct Seen {
    emissions: Vec<Emission>,
    counts: BTreeMap<SourceId, Vec<(Outcome, u64)>>,
}

/// Streams predictions of two versions and labels of every kind through an engine, the books checked at each step.
/// With a shelf it is committed and opened again now and then.
fn engine(plan: &Arc<Plan>, rules: &Arc<RuleSet>, shelf: Option<&Arc<MemoryShelf>>) -> Seen {
    let mut dice = Dice(7);
    let mut shard = Shard::new(Arc::clone(plan));
    let mut evaluator = Evaluator::new(Arc::clone(plan), Arc::clone(rules));
    let panes = Arc::new(Panes::default());
    let open = |evaluator: &mut Evaluator| {
        if let Some(shelf) = shelf {
            evaluator.shelve(&|_| Arc::clone(shelf) as Arc<dyn Shelf>, plan.ledger_capacity, 5);
            evaluator.shelve_pairs(&|_| Arc::clone(&panes) as Arc<dyn PairShelf>);
        }
    };
    if shelf.is_some() {
        evaluator = Evaluator::restore(Arc::clone(plan), Arc::clone(rules), &[]).unwrap();
    }
    open(&mut evaluator);
    let (predictions, labels) = (SourceId(0), SourceId(1));
    evaluator.assign(predictions, TopicRole::Predictions);
    evaluator.assign(labels, TopicRole::Labels);
    let mut emissions = Vec::new();
    let mut received = 0;
    for step in 0..STEPS {
        let at = START + step * 20_000;
        for number in 0..20 {
            let id = format!("p{}", step * 20 + number);
            let mut say = |source: SourceId, role, event: serde_json::Value| {
                let value = event.to_string();
                let meta = RecordMeta { topic: "t", ..RecordMeta::default() };
                received += 1;
                let _ = shard.ingest(&Record { source, role, offset: received, meta, value: value.as_bytes(), oversize: false });
            };
            let class = ["repaid", "default", "late"][usize::try_from(dice.roll(3)).unwrap()];
            for version in ["1", "2"].into_iter().take(1 + usize::from(dice.roll(3) == 0)) {
                let event = json!({"model": "loan", "version": version, "id": id, "ts": at + dice.roll(5_000), "features": {"age": 7}, "prediction": class});
                say(predictions, TopicRole::Predictions, event);
            }
            for _ in 0..dice.roll(3) {
                // Of a prediction before, of one to come, of none, beyond the horizon.
                let back = if dice.roll(9) == 0 { 900 } else { 200 };
                let of = step * 20 + number + 10 - dice.roll(back);
                let class = ["repaid", "default", "late", "unheard of"][usize::try_from(dice.roll(4)).unwrap()];
                let label = json!({"model": "loan", "id": format!("p{of}"), "ts": at + dice.roll(7_000), "label": class});
                say(labels, TopicRole::Labels, label);
            }
        }
        evaluator.absorb(0, shard.take_output());
        emissions.extend(evaluator.advance(None));
        let counts = || evaluator.sources().values().map(|source| &source.counts);
        assert_eq!(
            counts().map(|counts| counts.received()).sum::<u64>(),
            u64::try_from(received).unwrap(),
            "an event is lost or has two outcomes"
        );
        assert_eq!(
            counts().map(|counts| counts.of(Outcome::Waiting)).sum::<u64>(),
            evaluator.kept().labels,
            "who waits is counted as waiting"
        );
        assert_eq!(evaluator.sources()[&predictions].counts.of(Outcome::Waiting), 0);
        if let Some(shelf) = shelf
            && step % 3 == 0
        {
            let changes = evaluator.take_ledger_changes();
            let of_panes = evaluator.take_pane_changes();
            shelf.apply(changes.into_iter().flat_map(|(_, changes)| changes).collect());
            for change in of_panes {
                let mut stored = panes.stored.lock().unwrap();
                match change.value {
                    Some(value) => stored.insert(change.key, value),
                    None => stored.remove(&change.key),
                };
            }
            evaluator.settle_changes();
            assert_eq!(evaluator.unsettled_ledger_changes(), 0);
            if step % 2 == 0 {
                // The series of the shards are told again after a start; here the shard goes on, so the state must do.
                let mut pieces = evaluator.pieces().unwrap();
                let stored = panes.stored.lock().unwrap().clone();
                pieces.extend(stored.into_iter().map(|(key, value)| Piece { part: Part::Panes, key, value }));
                let mut again = Evaluator::restore(Arc::clone(plan), Arc::clone(rules), &pieces).unwrap();
                open(&mut again);
                assert_eq!(again.kept(), evaluator.kept());
                let mut other = Shard::new(Arc::clone(plan));
                let all = partition::Said::default().changes(&shard).into_iter();
                let all: Vec<Piece> =
                    all.map(|change| Piece { part: change.part, key: change.key, value: change.value.unwrap() }).collect();
                for (source, state) in partition::partitions(&all).unwrap() {
                    other.restore(source, state);
                }
                (evaluator, shard) = (again, other);
            }
        }
    }
    let counts = evaluator.sources().iter().map(|(source, state)| (*source, state.counts.all().collect())).collect();
    assert!(shelf.is_none() || panes.fetched.load(Ordering::Relaxed) > 50, "joined panes lie on the shelf");
    assert!(panes.refused.lock().unwrap().is_empty());
    Seen { emissions, counts }
}

#[test]
fn received_is_outcomes_and_waiting_at_every_step_on_a_shelf_and_in_memory() {
    let (plan, rules) = plan();
    let plain = engine(&plan, &rules, None);
    let outcomes: Vec<Outcome> = plain.counts[&SourceId(1)].iter().map(|(outcome, _)| *outcome).collect();
    for wanted in [Outcome::Counted, Outcome::Duplicate, Outcome::UnmatchedLabel, Outcome::Waiting, Outcome::Rejected(Reject::BadLabel)] {
        assert!(outcomes.contains(&wanted), "the stream never makes {wanted:?}: {outcomes:?}");
    }
    let shelf = Arc::new(MemoryShelf::default());
    let shelved = engine(&plan, &rules, Some(&shelf));
    assert_eq!(shelved.counts, plain.counts);
    assert!(shelved.emissions == plain.emissions, "other windows on a shelf");
    assert!(plain.emissions.len() > 20, "{} emissions", plain.emissions.len());
    assert!(shelf.len(Space::Record) > 100 && shelf.refused().is_empty());
}
