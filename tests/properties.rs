//! What must hold for any input: the same bytes for any workers, any interleaving of partitions and any order of an
//! unwrapped file; windows that equal a brute force over their rows; no record without an outcome.
#![allow(clippy::type_complexity)] // Rows of a table, said once.

mod replay_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use driftline::app::assemble::Assembly;
use driftline::event::{Outcome, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use replay_support::{assembled, build_baseline, replayed, scratch, text, write};
use serde_json::{Value, json};

/// The first instant of all streams here; a multiple of no window, so that alignment shows.
const START: i64 = 1_700_000_003_000;
const LATENESS: i64 = 15_000;
const HORIZON: i64 = 120_000;
/// Size, slide and offset of the windows, in milliseconds.
const WINDOWS: [(&str, i64, i64, i64); 3] =
    [("sliding", 60_000, 20_000, 5_000), ("tumbling", 60_000, 60_000, 0), ("long", 300_000, 60_000, 30_000)];

/// The reference: ages with atoms and gaps, nulls, three countries, two regions.
fn reference(shift: i64) -> (String, Vec<(Option<i64>, Option<&'static str>)>) {
    let mut csv = String::from("id,age,country,tags.region,prediction,score,label\n");
    let mut rows = Vec::new();
    for row in 0..400i64 {
        let age = (row % 11 != 0).then_some(20 + shift + (row * row + 3 * row) % 53);
        let country = (row % 13 != 0).then_some(["de", "fr", "fr", "pl"][usize::try_from(row % 4).unwrap()]);
        let region = if row % 3 == 0 { "eu" } else { "us" };
        let (prediction, score) =
            if row % 5 < 3 { ("repaid", 0.5 + 0.01 * (row % 50) as f64) } else { ("default", 0.01 * (row % 50) as f64) };
        let label = if row % 7 == 0 { "default" } else { prediction };
        let age_text = age.map_or(String::new(), |age| age.to_string());
        let _ = writeln!(csv, "r{row},{age_text},{},{region},{prediction},{score},{label}", country.unwrap_or(""));
        rows.push((age, country));
    }
    (csv, rows)
}

fn config(baseline: &str, workers: usize) -> String {
    let windows: Vec<String> = WINDOWS
        .iter()
        .map(|(name, size, slide, offset)| format!("{{ name: {name}, size: {size}ms, slide: {slide}ms, offset: {offset}ms }}"))
        .collect();
    format!(
        "models:\n  - {{ name: loan, baseline: {baseline}, task: binary, positive_class: repaid, windows: [ {} ], lateness: {LATENESS}ms, min_samples: 1, detectors: [ {{ name: adwin, clock: 1, delta: 0.3 }}, {{ name: page_hinkley, threshold: 5, min_instances: 5 }}, ddm, eddm, {{ name: hddm_a, two_sided_test: true }}, hddm_w ], labels: {{ horizon: {HORIZON}ms }}, segments: [ {{ by: tags.region }} ] }}\nlimits: {{ workers: {workers} }}\nrules: [rules.yaml]\n",
        windows.join(", ")
    )
}

/// Rules of every kind, so that alerts are among the bytes that are compared.
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
        fire: { critical: { below: 0.5, for: 1 windows } }
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

/// One model with one baseline for every version, and one with a baseline of its own for version 2.
struct Plans {
    one: Assembly,
    two: Assembly,
}

static PLANS: LazyLock<Plans> = LazyLock::new(|| {
    let directory = scratch("properties");
    write(&directory, "rules.yaml", RULES);
    let one = write(&directory, "one.yaml", &config("first.json", 1));
    let two = write(&directory, "two.yaml", &config("{ \"2\": second.json, default: first.json }", 1));
    for (name, shift) in [("first", 0), ("second", 9)] {
        let csv = write(&directory, &format!("{name}.csv"), &reference(shift).0);
        build_baseline(&one, "loan", &csv, &directory.join(format!("{name}.json")));
    }
    Plans { one: assembled(&one), two: assembled(&two) }
});

/// A small generator of its own: the streams of the first tests are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64.
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

/// The lines of each partition of a stream, in the order of their offsets.
type Stream = Vec<Vec<String>>;

/// Four partitions of predictions and two of labels over a quarter of an hour: out of order, late, poison, early labels, labels
/// out of order, labels again, other labels for the same prediction at the same moment, labels of nothing, ids that two
/// versions predict.
fn stream(seed: u64, records: i64) -> Stream {
    let mut dice = Dice(seed);
    let mut predictions: Vec<Vec<(i64, String)>> = vec![Vec::new(); 4];
    let mut labels: Vec<Vec<(i64, String)>> = vec![Vec::new(); 2];
    let length = 900_000;
    for number in 0..records {
        let arrival = START + number * length / records;
        let ts = arrival - if dice.roll(20) == 0 { dice.time(60_000) } else { dice.time(LATENESS / 2) };
        let id = format!("p{number}");
        let version = dice.of(&["1", "1", "2"]);
        let drift = i64::from(number > records / 2) * 15;
        let age = match dice.roll(12) {
            0 => Value::Null,
            1 => json!("old"),
            _ => json!(20 + drift + dice.time(60)),
        };
        let score = dice.roll(101) as f64 / 100.0;
        let country = dice.of(&["de", "fr", "pl", "xx"]);
        let region = dice.of(&["eu", "us", "mars"]);
        let event = json!({"model": "loan", "version": version, "id": id, "ts": Timestamp(ts).rfc3339(),
            "features": {"age": age, "country": country}, "score": score, "tags": {"region": region}});
        let event = if dice.roll(50) == 0 { json!("poison") } else { event };
        if dice.roll(6) == 0 && event.is_object() {
            // The other version was asked the same, and answers later and from elsewhere.
            let mut shadow = event.clone();
            shadow["version"] = json!(if version == "1" { "2" } else { "1" });
            shadow["score"] = json!(dice.roll(101) as f64 / 100.0);
            shadow["ts"] = json!(Timestamp(ts + dice.time(LATENESS / 2)).rfc3339());
            predictions[usize::try_from(dice.roll(4)).unwrap()].push((arrival + dice.time(LATENESS / 2), shadow.to_string()));
        }
        predictions[usize::try_from(dice.roll(4)).unwrap()].push((arrival, event.to_string()));
        // The labels: some of them early, one after another at the same time, out of order, beyond the horizon.
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
            let event = json!({"model": "loan", "id": id, "ts": Timestamp(at).rfc3339(), "label": label});
            let delay = if dice.roll(8) == 0 { dice.time(50_000) } else { 0 };
            labels[usize::try_from(dice.roll(2)).unwrap()].push((at + delay, event.to_string()));
        }
    }
    let mut partitions = Vec::new();
    for (topic, groups) in [("predictions", predictions), ("labels", labels)] {
        for (partition, mut records) in groups.into_iter().enumerate() {
            records.sort_by_key(|(arrival, _)| *arrival);
            let wrap = |(offset, (arrival, event)): (usize, (i64, String))| {
                format!(
                    "{{\"topic\":\"{topic}\",\"partition\":{partition},\"offset\":{},\"timestamp\":{arrival},\"value\":{event}}}",
                    offset * 2
                )
            };
            partitions.push(records.into_iter().enumerate().map(wrap).collect());
        }
    }
    partitions
}

/// One file of the partitions' lines, each partition in its order. `pick` chooses among those that have lines left.
fn interleave(stream: &Stream, mut pick: impl FnMut(&[usize]) -> usize) -> Vec<u8> {
    let mut next = vec![0; stream.len()];
    let mut file = Vec::new();
    loop {
        let left: Vec<usize> = (0..stream.len()).filter(|partition| next[*partition] < stream[*partition].len()).collect();
        if left.is_empty() {
            return file;
        }
        let chosen = left[pick(&left)];
        file.extend_from_slice(stream[chosen][next[chosen]].as_bytes());
        file.push(b'\n');
        next[chosen] += 1;
    }
}

/// Partitions one after another, last first, in turn, in bursts, and at random.
fn interleavings(stream: &Stream) -> Vec<(&'static str, Vec<u8>)> {
    let (mut turn, mut dice, mut bursts, mut left_in_burst, mut of) = (0, Dice(5), Dice(6), 0, 0);
    vec![
        ("one after another", interleave(stream, |_| 0)),
        ("last first", interleave(stream, |left| left.len() - 1)),
        (
            "in turn",
            interleave(stream, |left| {
                turn += 1;
                turn % left.len()
            }),
        ),
        ("at random", interleave(stream, |left| usize::try_from(dice.roll(left.len() as u64)).unwrap())),
        (
            "in bursts",
            interleave(stream, |left| {
                if left_in_burst == 0 {
                    (left_in_burst, of) = (bursts.roll(400) + 1, usize::try_from(bursts.roll(6)).unwrap());
                }
                left_in_burst -= 1;
                of % left.len()
            }),
        ),
    ]
}

fn lines_of(text: &str) -> BTreeMap<&str, usize> {
    text.lines().fold(BTreeMap::new(), |mut lines, line| {
        *lines.entry(line).or_default() += 1;
        lines
    })
}

/// Compares whole outputs and shows the first lines that differ.
#[track_caller]
fn assert_same(wanted: &str, got: &str, what: &str) {
    if wanted == got {
        return;
    }
    let (left, right) = (lines_of(wanted), lines_of(got));
    let only = |a: &BTreeMap<&str, usize>, b: &BTreeMap<&str, usize>| -> Vec<String> {
        a.iter().filter(|(line, count)| b.get(*line) != Some(count)).map(|(line, _)| (*line).to_owned()).take(4).collect()
    };
    panic!(
        "{what}: other bytes\nonly in the first:\n{}\nonly in the other:\n{}",
        only(&left, &right).join("\n"),
        only(&right, &left).join("\n")
    );
}

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let file = interleavings(&stream(0, 2_000)).swap_remove(3).1;
    let one = text(&replayed(&PLANS.two, &file, None, 1));
    assert_same(&one, &text(&replayed(&PLANS.two, &file, None, 1)), "a second replay");
    for workers in [2, 3, 8] {
        assert_same(&one, &text(&replayed(&PLANS.two, &file, None, workers)), &format!("{workers} workers"));
    }
    for wanted in
        ["\"type\":\"alert\"", "\"segment\":{\"region\":\"other\"}", "\"version\":\"2\"", "\"revision\":1", "\"metric\":\"accuracy\""]
    {
        assert!(one.contains(wanted), "the stream never makes {wanted}");
    }
}

#[test]
fn any_interleaving_of_partitions_gives_the_same_bytes() {
    for seed in 0..2 {
        let stream = stream(seed, 2_000);
        let mut files = interleavings(&stream).into_iter();
        let (first, file) = files.next().unwrap();
        let wanted = text(&replayed(&PLANS.two, &file, None, 1));
        for (name, file) in files {
            let got = text(&replayed(&PLANS.two, &file, None, 3));
            assert_same(&wanted, &got, &format!("seed {seed}: {first}, and {name}"));
        }
    }
}

/// How the engine is told of the records, and so how often it looks at its clocks, must not show: a stream of few records,
/// looked at once, has the windows of the same stream with thousands of other records between.
#[test]
fn how_often_the_clocks_are_looked_at_does_not_show() {
    let stream = stream(7, 600);
    let alone = interleavings(&stream).swap_remove(3).1;
    let mut padded = Vec::new();
    for line in alone.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        padded.extend_from_slice(line);
        padded.push(b'\n');
        for _ in 0..50 {
            // Rejected, but a record.
            padded.extend_from_slice(b"{\"topic\":\"predictions\",\"partition\":0,\"offset\":1,\"value\":7}\n");
        }
    }
    // The last record of partition 0 is now one of those between; the others keep theirs.
    assert_same(
        &text(&replayed(&PLANS.one, &alone, None, 1)),
        &text(&replayed(&PLANS.one, &padded, None, 1)),
        "looked at every few records",
    );
}

#[test]
fn the_order_of_an_unwrapped_file_does_not_matter() {
    let mut dice = Dice(11);
    let mut events: Vec<(i64, String)> = Vec::new();
    let mut labels: Vec<(i64, String)> = Vec::new();
    for number in 0..1_200i64 {
        let ts = START + number * 689 + dice.time(300);
        let event = json!({"model": "loan", "version": "1", "id": format!("p{number}"), "ts": Timestamp(ts).rfc3339(),
            "features": {"age": 20 + dice.time(60), "country": dice.of(&["de", "fr", "xx"])}, "score": 0.3, "tags": {"region": "eu"}});
        events.push((ts, event.to_string()));
        let at = ts + dice.time(100_000);
        let label = json!({"model": "loan", "id": format!("p{number}"), "ts": at, "label": dice.of(&["repaid", "default"])});
        labels.push((at, label.to_string()));
    }
    let join = |rows: &[(i64, String)]| rows.iter().fold(String::new(), |text, (_, row)| text + row + "\n").into_bytes();
    labels.sort();
    let sorted = text(&replayed(&PLANS.one, &join(&events), Some(&join(&labels)), 1));
    assert!(sorted.contains("\"late\":0") && !sorted.contains("\"late\":1"));
    for _ in 0..2 {
        for rows in [&mut events, &mut labels] {
            for place in (1..rows.len()).rev() {
                rows.swap(place, usize::try_from(dice.roll(place as u64 + 1)).unwrap());
            }
        }
        assert_same(&sorted, &text(&replayed(&PLANS.one, &join(&events), Some(&join(&labels)), 2)), "shuffled");
    }
}

#[test]
fn empty_windows_are_told_and_starts_are_multiples_of_the_slide() {
    let event = |id: &str, at: i64| {
        format!(
            "{}\n",
            json!({"model": "loan", "version": "1", "id": id, "ts": at, "features": {"age": 30, "country": "de"}, "score": 0.6})
        )
    };
    // Ten minutes of silence between two events.
    let file = event("a", START) + &event("b", START + 600_000);
    let result = replayed(&PLANS.one, file.as_bytes(), None, 1);
    let windows = windows(&text(&result));
    for (name, size, slide, offset) in WINDOWS {
        let of: Vec<(i64, &Value)> =
            windows.iter().filter(|((window, _), _)| window == name).map(|((_, start), line)| (*start, line)).collect();
        assert_eq!(
            of[0].0,
            (START - offset).div_euclid(slide) * slide + offset - size + slide,
            "{name}: the first window holds the first event"
        );
        for (place, (start, line)) in of.iter().enumerate() {
            assert_eq!((start - offset).rem_euclid(slide), 0, "{name}: {line}");
            assert_eq!(*start, of[0].0 + i64::try_from(place).unwrap() * slide, "{name}: a window is left out");
            let n = [START, START + 600_000].iter().filter(|at| **at >= *start && **at < start + size).count();
            assert_eq!(line["n"], json!(n), "{name}: {line}");
            assert_eq!(line["complete"], json!(*start >= START && start + size <= START + 600_000), "{name}: {line}");
        }
        assert!(size == 300_000 || of.iter().filter(|(_, line)| line["n"] == json!(0)).count() >= 8, "{name} has no empty windows");
        let last = of.last().unwrap().0;
        assert!(last <= START + 600_000 && last + slide > START + 600_000, "{name}: the last window starts at or before the last event");
    }
}

/// The last `window` line of each window by name and start.
fn windows(text: &str) -> BTreeMap<(String, i64), Value> {
    of_type(text, "window")
        .map(|line| ((line["window"]["name"].as_str().unwrap().to_owned(), millis(&line["window"]["start"])), line))
        .collect()
}

fn of_type(text: &str, kind: &'static str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(move |line| line["type"] == kind)
}

fn millis(value: &Value) -> i64 {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap().0
}

/// A record as it is generated.
#[derive(Clone, Debug)]
struct Row {
    partition: usize,
    /// Time since the record before it.
    step: i64,
    /// How far the event lies behind.
    behind: i64,
    version: &'static str,
    region: Option<&'static str>,
    age: Option<Option<i64>>,
    country: Option<&'static str>,
    score: u32,
    /// Time from the prediction to its label, what it says, and the partition of labels.
    label: Option<(i64, &'static str, usize)>,
}

fn row() -> impl Strategy<Value = Row> {
    let age = prop_oneof![1 => Just(None), 1 => Just(Some(None)), 6 => (15i64..95).prop_map(|age| Some(Some(age)))];
    let label = prop_oneof![
        1 => Just(None),
        3 => (0i64..HORIZON + 20_000, select(vec!["repaid", "default"]), 0usize..2).prop_map(Some),
    ];
    let behind = prop_oneof![4 => 0..LATENESS / 2, 1 => 0..3 * LATENESS];
    let place = (0usize..3, 0i64..6_000, behind, select(vec!["1", "2"]), select(vec![Some("eu"), Some("us"), Some("mars"), None]));
    (place, age, select(vec![Some("de"), Some("fr"), Some("pl"), Some("xx"), None]), 0u32..=100, label).prop_map(
        |((partition, step, behind, version, region), age, country, score, label)| Row {
            partition,
            step,
            behind,
            version,
            region,
            age,
            country,
            score,
            label,
        },
    )
}

/// What a brute force keeps of an accepted prediction.
struct Counted<'a> {
    ts: i64,
    row: &'a Row,
    /// The label it ends up with.
    label: Option<&'static str>,
}

/// A late record: its time and how far its partition had come.
type Late = (i64, i64);

/// The rows as lines of wrapped records, and what must be counted of them, worked out row by row.
fn lay_out(rows: &[Row]) -> (Stream, Vec<Counted<'_>>, Vec<Late>) {
    let mut partitions: Stream = vec![Vec::new(); 5];
    let mut labels: Vec<Vec<(i64, String)>> = vec![Vec::new(); 2];
    let mut watermarks: [Option<i64>; 3] = [None; 3];
    let (mut counted, mut late) = (Vec::new(), Vec::new());
    let mut arrival = START;
    for (number, row) in rows.iter().enumerate() {
        arrival += row.step;
        let ts = arrival - row.behind;
        let mut features = serde_json::Map::new();
        if let Some(age) = row.age {
            features.insert("age".to_owned(), json!(age));
        }
        features.insert("country".to_owned(), json!(row.country));
        let event = json!({"model": "loan", "version": row.version, "id": format!("p{number}"), "ts": ts, "features": features,
            "score": f64::from(row.score) / 100.0, "tags": row.region.map_or(json!({}), |region| json!({"region": region}))});
        let lines = &mut partitions[row.partition];
        lines.push(format!("{{\"topic\":\"predictions\",\"partition\":{},\"offset\":{},\"value\":{event}}}", row.partition, lines.len()));
        if let Some((after, label, partition)) = row.label {
            let at = ts + after;
            labels[partition].push((at, json!({"model": "loan", "id": format!("p{number}"), "ts": at, "label": label}).to_string()));
        }
        let watermark = &mut watermarks[row.partition];
        match *watermark {
            Some(reached) if ts < reached - LATENESS => late.push((ts, reached - LATENESS)),
            _ => {
                *watermark = Some(watermark.map_or(ts, |reached| reached.max(ts)));
                counted.push(Counted { ts, row, label: row.label.filter(|(after, ..)| *after <= HORIZON).map(|(_, label, _)| label) });
            }
        }
    }
    for (partition, mut records) in labels.into_iter().enumerate() {
        records.sort();
        let wrap = |(offset, (_, event)): (usize, (i64, String))| {
            format!("{{\"topic\":\"labels\",\"partition\":{partition},\"offset\":{offset},\"value\":{event}}}")
        };
        partitions[3 + partition] = records.into_iter().enumerate().map(wrap).collect();
    }
    (partitions, counted, late)
}

/// Population stability index by its textbook formula over shares floored at 1e-4.
fn psi(reference: &[usize], current: &[usize]) -> Option<f64> {
    let (n, m) = (reference.iter().sum::<usize>() as f64, current.iter().sum::<usize>() as f64);
    let term = |(r, c): (&usize, &usize)| {
        let (r, c) = ((*r as f64 / n).max(1e-4), (*c as f64 / m).max(1e-4));
        (c - r) * (c / r).ln()
    };
    (n > 0.0 && m > 0.0).then(|| reference.iter().zip(current).map(term).sum())
}

/// The inner deciles of a sample, linear interpolation (type 7), made distinct.
fn deciles(values: &[i64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let mut edges: Vec<f64> = (1..10)
        .map(|k| {
            let place = (sorted.len() - 1) as f64 * f64::from(k) / 10.0;
            let below = place.floor() as usize;
            let (low, high) = (sorted[below] as f64, sorted[(below + 1).min(sorted.len() - 1)] as f64);
            low + (high - low) * (place - place.floor())
        })
        .collect();
    edges.dedup();
    edges
}

fn ages_by_bin(edges: &[f64], ages: impl Iterator<Item = i64>) -> Vec<usize> {
    let mut bins = vec![0; edges.len() + 1];
    for age in ages {
        bins[edges.iter().filter(|edge| **edge < age as f64).count()] += 1;
    }
    bins
}

fn countries(values: impl Iterator<Item = &'static str>) -> Vec<usize> {
    let mut counts = vec![0; 4];
    for value in values {
        counts[["de", "fr", "pl"].iter().position(|known| *known == value).unwrap_or(3)] += 1;
    }
    counts
}

fn brute_force(rows: &[Row], order: &[Index]) -> TestCaseResult {
    let (stream, counted, late) = lay_out(rows);
    let mut picks = order.iter().cycle();
    let file = interleave(&stream, |left| picks.next().unwrap().index(left.len()));
    let result = replayed(&PLANS.one, &file, None, 2);
    let text = text(&result);
    let windows = windows(&text);
    let mut measured: BTreeMap<(String, i64, String, String, String, String), Value> = BTreeMap::new();
    for line in of_type(&text, "measurement") {
        let segment = line.get("segment").map_or(String::new(), |segment| segment["region"].as_str().unwrap().to_owned());
        let of = |name: &str| line[name].as_str().unwrap().to_owned();
        let key = (
            line["window"]["name"].as_str().unwrap().to_owned(),
            millis(&line["window"]["start"]),
            of("version"),
            segment,
            of("subject"),
            of("metric"),
        );
        measured.insert(key, line);
    }
    let (first, last) = (counted.iter().map(|row| row.ts).min().unwrap(), counted.iter().map(|row| row.ts).max().unwrap());
    let (_, known) = reference(0);
    let (ages, lands): (Vec<i64>, Vec<&str>) =
        (known.iter().filter_map(|row| row.0).collect(), known.iter().filter_map(|row| row.1).collect());
    let edges = deciles(&ages);
    let (age_bins, land_counts) = (ages_by_bin(&edges, ages.into_iter()), countries(lands.into_iter()));
    let mut expected = BTreeSet::new();
    for (name, size, slide, offset) in WINDOWS {
        let mut start = (first - offset).div_euclid(slide) * slide + offset - size + slide;
        while start <= last {
            let end = start + size;
            let inside: Vec<&Counted<'_>> = counted.iter().filter(|row| row.ts >= start && row.ts < end).collect();
            let key = (name.to_owned(), start);
            let Some(line) = windows.get(&key) else {
                return Err(TestCaseError::fail(format!("no window {name} at {start}")));
            };
            prop_assert_eq!(&line["n"], &json!(inside.len()), "{}", line);
            let too_late = late.iter().filter(|(ts, reached)| *ts >= start && *ts < end && *reached < end).count();
            prop_assert_eq!(&line["late"], &json!(too_late), "{}", line);
            prop_assert_eq!(&line["complete"], &json!(first <= start && end <= last), "{}", line);
            let matched = inside.iter().filter(|row| row.label.is_some()).count();
            prop_assert_eq!(&line["labels"]["matched"], &json!(matched), "{}", line);
            for version in ["1", "2"] {
                for segment in ["", "eu", "us", "other"] {
                    let of_segment = |row: &&&Counted<'_>| match row.row.region {
                        _ if segment.is_empty() => true,
                        Some(region @ ("eu" | "us")) => region == segment,
                        _ => segment == "other",
                    };
                    let group: Vec<&&Counted<'_>> = inside.iter().filter(|row| row.row.version == version).filter(of_segment).collect();
                    let get = |subject: &str, metric: &str| {
                        measured.get(&(
                            name.to_owned(),
                            start,
                            version.to_owned(),
                            segment.to_owned(),
                            subject.to_owned(),
                            metric.to_owned(),
                        ))
                    };
                    if group.is_empty() {
                        prop_assert!(get("feature:age", "psi").is_none(), "{name} {start} {version} {segment} was measured without events");
                        continue;
                    }
                    let n = group.len();
                    let ages: Vec<i64> = group.iter().filter_map(|row| row.row.age.flatten()).collect();
                    let lands: Vec<&str> = group.iter().filter_map(|row| row.row.country).collect();
                    let checks = [
                        ("feature:age", "psi", ages.len(), psi(&age_bins, &ages_by_bin(&edges, ages.iter().copied()))),
                        ("feature:age", "null_rate", n, Some((n - ages.len()) as f64 / n as f64)),
                        ("feature:country", "psi", lands.len(), psi(&land_counts, &countries(lands.iter().copied()))),
                        ("feature:country", "null_rate", n, Some((n - lands.len()) as f64 / n as f64)),
                        ("score", "null_rate", n, Some(0.0)),
                    ];
                    for (subject, metric, n, value) in checks {
                        let Some(line) = get(subject, metric) else {
                            return Err(TestCaseError::fail(format!("{name} {start} {version} {segment}: no {metric} of {subject}")));
                        };
                        prop_assert_eq!(
                            &line["n"],
                            &json!(if segment == "other" { line["n"].as_u64().unwrap() } else { n as u64 }),
                            "{}",
                            line
                        );
                        if segment.is_empty() {
                            let got = line["value"].as_f64();
                            let same = match (got, value) {
                                (Some(got), Some(value)) => (got - value).abs() < 1e-9,
                                (got, value) => got.is_none() && value.is_none(),
                            };
                            prop_assert!(same, "{value:?} is expected: {line}");
                        }
                    }
                    let joined: Vec<(bool, bool)> =
                        group.iter().filter_map(|row| Some((row.row.score >= 50, row.label? == "repaid"))).collect();
                    if segment.is_empty() && !joined.is_empty() {
                        let right = joined.iter().filter(|(said, is)| said == is).count() as f64 / joined.len() as f64;
                        let line = get("model", "accuracy").unwrap();
                        prop_assert_eq!(&line["n"], &json!(joined.len()), "{}", line);
                        prop_assert!((line["value"].as_f64().unwrap() - right).abs() < 1e-9, "{right} is expected: {line}");
                    }
                }
            }
            expected.insert(key);
            start += slide;
        }
    }
    prop_assert_eq!(windows.keys().cloned().collect::<BTreeSet<_>>(), expected);
    // No window is told before all of its events are in: nothing was idle that had not been read.
    let restated = of_type(&text, "window").find(|line| {
        line["revision"] == 0
            && windows[&(line["window"]["name"].as_str().unwrap().to_owned(), millis(&line["window"]["start"]))]["n"] != line["n"]
    });
    prop_assert!(restated.is_none(), "closed without all of its events: {restated:?}");
    // Every record has one outcome.
    prop_assert_eq!(result.counts["predictions"].of(Outcome::Counted), counted.len() as u64);
    prop_assert_eq!(result.counts["predictions"].of(Outcome::Late), late.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_equal_a_brute_force_over_the_rows(rows in vec(row(), 1..120), order in vec(any::<Index>(), 1..60)) {
        brute_force(&rows, &order)?;
    }
}

/// A line of a file that may be anything.
fn line() -> impl Strategy<Value = String> {
    let id = (0u32..30).prop_map(|id| format!("p{id}"));
    let ts = prop_oneof![8 => (0i64..300_000).prop_map(|after| json!(START + after)), 1 => Just(json!("yesterday")), 1 => Just(Value::Null), 1 => Just(json!(1e300))];
    let model = select(vec![json!("loan"), json!("loan"), json!("loan"), json!("other"), json!(7)]);
    let output = select(vec![json!(0.7), json!(2.0), json!("much"), Value::Null]);
    let truth = select(vec![json!("repaid"), json!("default"), json!("maybe"), json!([1]), Value::Null]);
    let kind = select(vec!["prediction", "label", "features", "nonsense", ""]);
    let features = select(vec![json!({"age": 3}), json!({"age": "x", "new": 1}), json!([1]), Value::Null]);
    let event = (id, ts, model, output, truth, kind, features).prop_map(|(id, ts, model, score, label, kind, features)| {
        let mut event = json!({"id": id, "ts": ts, "model": model, "score": score, "label": label, "features": features, "version": "1"});
        if !kind.is_empty() {
            event["event"] = json!(kind);
        }
        event.to_string()
    });
    let cut = (event, any::<Index>(), 0u8..4).prop_map(|(event, at, cut)| {
        if cut > 0 {
            return event;
        }
        let at = at.index(event.len());
        event[..at].to_owned()
    });
    prop_oneof![20 => cut, 1 => "[^\\n\\r]{1,40}", 1 => Just("\u{feff}{}".to_owned()), 1 => Just("[".repeat(5_000))]
        .prop_filter("an empty line is no record", |line| !line.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_has_one_outcome(events in vec((line(), 0u8..3, any::<bool>()), 0..80), labels in vec(line(), 0..40)) {
        let mut received: BTreeMap<String, u64> = BTreeMap::new();
        let mut file = String::new();
        for (offset, (event, partition, is_wrapped)) in events.iter().enumerate() {
            let topic = if *is_wrapped { ["predictions", "labels", "features"][usize::from(*partition)] } else { "events" };
            *received.entry(topic.to_owned()).or_default() += 1;
            if *is_wrapped {
                let value = serde_json::from_str::<Value>(event).map_or_else(|_| json!(event), |_| Value::Null);
                let value = if value.is_null() { event.clone() } else { value.to_string() };
                let _ = writeln!(file, "{{\"topic\":\"{topic}\",\"partition\":{partition},\"offset\":{offset},\"value\":{value}}}");
            } else {
                let _ = writeln!(file, "{event}");
            }
        }
        let of_labels = labels.iter().fold(String::new(), |text, label| text + label + "\n");
        *received.entry("labels".to_owned()).or_default() += labels.len() as u64;
        received.retain(|_, records| *records > 0);
        for workers in [1, 3] {
            let result = replayed(&PLANS.one, file.as_bytes(), Some(of_labels.as_bytes()), workers);
            let counted: BTreeMap<String, u64> = result.counts.iter().map(|(topic, counts)| (topic.clone(), counts.received())).collect();
            prop_assert_eq!(&counted, &received);
            for (topic, counts) in &result.counts {
                prop_assert_eq!(counts.of(Outcome::Waiting), 0, "{} still waits: {:?}", topic, counts.all().collect::<Vec<_>>());
            }
        }
    }
}
