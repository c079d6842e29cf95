//! Sequential detectors from the stream to the alert: what they say of windows is what they say of the panes' means and errors.
//!
//! That any sharding, a restart and another owner change nothing of it is among what `properties`, `pipeline`, `cluster` and `replicas` show:
//! their models have detectors, too.

#![allow(clippy::type_complexity)] // Rows of a table, said once.

mod replay_support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use driftline::event::Timestamp;
use driftline::stats::random::SplitMix64;
use driftline::stats::sequential::{AdwinSettings, Detector, PageHinkleySettings, Settings, Signal};
use replay_support::{assembled, build_baseline, replayed, scratch, text, write};
use serde_json::{Value, json};

const START: i64 = 1_700_000_000_000;
/// The greatest common divisor of the slides and offsets below.
const PANE: i64 = 5_000;
/// Size, slide and offset of the windows, in milliseconds.
const WINDOWS: [(&str, i64, i64, i64); 2] = [("sliding", 60_000, 20_000, 5_000), ("tumbling", 60_000, 60_000, 5_000)];
const MIN_SAMPLES: u64 = 25;
const LENGTH: i64 = 3_600_000;
const RECORDS: i64 = 9_000;
/// From here on ages are higher and answers worse.
const SHIFT: i64 = 2_400_000;

const ADWIN: AdwinSettings = AdwinSettings { delta: 0.01, clock: 1, max_buckets: 5, min_window_length: 5, grace_period: 10 };

fn page_hinkley() -> PageHinkleySettings {
    PageHinkleySettings { delta: 0.25, threshold: 20.0, ..PageHinkleySettings::default() }
}

const RULES: &str = "groups:
  - name: loan
    model: loan
    rules:
      - alert: AgeChanged
        each: [feature]
        source: { metric: adwin, window: sliding }
        fire: { critical: { above: 0.9, for: 1 windows } }
        incomplete: ok
      - alert: ErrorsChanged
        source: { metric: ddm, window: tumbling, label_coverage: 1.0 }
        fire: { critical: { above: 0.9, for: 1 windows } }
        incomplete: ok
route: { receiver: none }
receivers: [ { name: none } ]
";

fn config(task: &str, detectors: &str) -> String {
    let windows: Vec<String> = WINDOWS
        .iter()
        .map(|(name, size, slide, offset)| format!("{{ name: {name}, size: {size}ms, slide: {slide}ms, offset: {offset}ms }}"))
        .collect();
    format!(
        "models:\n  - {{ name: loan, baseline: loan.json, {task}, windows: [ {} ], lateness: 15s, min_samples: {MIN_SAMPLES}, \
         detectors: {detectors}, labels: {{ horizon: 5m }} }}\nrules: [rules.yaml]\n",
        windows.join(", ")
    )
}

/// The results of a stream, and its accepted ages by pane.
struct Run {
    lines: Vec<Value>,
    ages: BTreeMap<i64, Vec<f64>>,
    reference: Vec<f64>,
    labelled: u64,
}

fn run() -> Run {
    let directory = scratch("detectors");
    write(&directory, "rules.yaml", RULES);
    let detectors = "[ { name: adwin, delta: 0.01, clock: 1 }, { name: page_hinkley, delta: 0.25, threshold: 20 }, ddm, hddm_a ]";
    let path = write(&directory, "one.yaml", &config("task: binary, positive_class: repaid", detectors));
    let mut random = SplitMix64::new(3);
    let mut roll = |below: i64| i64::try_from(random.next_u64() % below.unsigned_abs()).unwrap();
    let (mut csv, mut reference) = (String::from("age,flat,prediction,score,label\n"), Vec::new());
    for row in 0..2_000 {
        let age = 20 + roll(50);
        reference.push(age as f64);
        let label = if row % 20 == 0 { "default" } else { "repaid" };
        let _ = writeln!(csv, "{age},7,repaid,0.{},{label}", 5 + row % 5);
    }
    let csv = write(&directory, "loan.csv", &csv);
    build_baseline(&path, "loan", &csv, &directory.join("loan.json"));
    let (mut events, mut ages, mut labelled): (Vec<(i64, String)>, BTreeMap<i64, Vec<f64>>, u64) = (Vec::new(), BTreeMap::new(), 0);
    for number in 0..RECORDS {
        // A silence in the middle, longer than a window.
        let at = number * LENGTH / RECORDS;
        if (1_000_000..1_200_000).contains(&at) {
            continue;
        }
        let ts = START + at;
        let age = (number % 17 != 0).then(|| 20 + roll(50) + if at >= SHIFT { 8 } else { 0 });
        let wrong = roll(100) < if at >= SHIFT { 30 } else { 5 };
        let partition = roll(3);
        let event = json!({"model": "loan", "id": format!("p{number}"), "ts": Timestamp(ts).rfc3339(), "features": {"age": age, "flat": 7}, "score": 0.75});
        events.push((
            ts,
            format!("{{\"topic\":\"predictions\",\"partition\":{partition},\"offset\":{number},\"timestamp\":{ts},\"value\":{event}}}"),
        ));
        // At the tick at which four fifths of a sliding window have their labels, only half of its last slide has.
        let due = ts + 30_000;
        let event = json!({"model": "loan", "id": format!("p{number}"), "ts": Timestamp(due).rfc3339(), "label": if wrong { "default" } else { "repaid" }});
        events.push((
            due,
            format!("{{\"topic\":\"labels\",\"partition\":{partition},\"offset\":{number},\"timestamp\":{due},\"value\":{event}}}"),
        ));
        labelled += 1;
        if let Some(age) = age {
            ages.entry(ts.div_euclid(PANE) * PANE).or_default().push(age as f64);
        }
    }
    events.sort();
    let file: String = events.iter().fold(String::new(), |file, (_, line)| file + line + "\n");
    let lines = text(&replayed(&assembled(&path), file.as_bytes(), None, 2));
    Run { lines: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ages, reference, labelled }
}

fn of<'a>(run: &'a Run, metric: &'a str, subject: &'a str, window: &'a str) -> impl Iterator<Item = (i64, &'a Value)> {
    let is_it = move |line: &&Value| line["metric"] == metric && line["subject"] == subject && line["window"]["name"] == window;
    run.lines.iter().filter(is_it).map(|line| (Timestamp::parse_rfc3339(line["window"]["end"].as_str().unwrap()).unwrap().0, line))
}

/// Every step over the ages: the start of the last pane in it, how many values, and what the detector says.
fn steps(run: &Run, settings: Settings) -> (Vec<(i64, u64, Signal)>, u64) {
    let n = run.reference.len() as f64;
    let mean = run.reference.iter().sum::<f64>() / n;
    let sd = (run.reference.iter().map(|age| (age - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (mut detector, mut waiting, mut steps) = (Detector::new(settings), Vec::new(), Vec::new());
    for (start, ages) in &run.ages {
        waiting.extend(ages);
        if waiting.len() as u64 >= MIN_SAMPLES {
            let x = (waiting.iter().sum::<f64>() / waiting.len() as f64 - mean) / sd * (MIN_SAMPLES as f64).sqrt();
            steps.push((*start, waiting.len() as u64, detector.update(x)));
            waiting.clear();
        }
    }
    (steps, waiting.len() as u64)
}

#[test]
fn windows_tell_what_the_steps_of_their_last_slide_say() {
    let run = run();
    for (metric, settings) in [("adwin", Settings::Adwin(ADWIN)), ("page_hinkley", Settings::PageHinkley(page_hinkley()))] {
        let (steps, _) = steps(&run, settings);
        let fired = steps.iter().filter(|(_, _, signal)| *signal == Signal::Drift).count();
        let first = steps.iter().find(|(_, _, signal)| *signal == Signal::Drift).map(|(start, ..)| start - START);
        assert!(first.is_some_and(|at| (SHIFT..SHIFT + 600_000).contains(&at)), "{metric}: {first:?}");
        let mut told = 0;
        for (window, _, slide, _) in WINDOWS {
            for (end, line) in of(&run, metric, "feature:age", window) {
                let of_slide: Vec<_> = steps.iter().filter(|(start, ..)| (end - slide..end).contains(start)).collect();
                if of_slide.is_empty() {
                    assert!(line["n"].as_u64().unwrap() < MIN_SAMPLES, "{line}");
                    assert!(line["status"] == "insufficient" || line["reason"] == "no_values", "{line}");
                    continue;
                }
                let n: u64 = of_slide.iter().map(|(_, n, _)| n).sum();
                let strongest = of_slide.iter().map(|(_, _, signal)| *signal).max().unwrap();
                assert_eq!(
                    (line["n"].as_u64(), line["value"].as_f64(), line["status"].as_str()),
                    (Some(n), Some(strongest.value()), Some("ok")),
                    "{line}"
                );
                assert_eq!(line["n_reference"], run.reference.len());
                assert_eq!(line["revision"], 0);
                told += u32::from(strongest == Signal::Drift);
            }
        }
        assert!(told as usize >= 2 && fired > 0, "{metric} was told {told} times");
    }
    for (_, line) in of(&run, "adwin", "feature:flat", "sliding").filter(|(_, line)| line["n"] != 0) {
        assert_eq!((line["status"].as_str(), line["reason"].as_str()), (Some("error"), Some("constant_reference")));
    }
    let firing: Vec<&Value> = run.lines.iter().filter(|line| line["alert"] == "AgeChanged" && line["state"] == "firing").collect();
    assert!(!firing.is_empty() && firing.iter().all(|line| line["labels"]["feature"] == "age"), "{firing:?}");
    assert!(of(&run, "adwin", "feature:age", "sliding").all(|(_, line)| line["recipe"].as_str().unwrap().contains("delta 0.01, clock 1")));
}

#[test]
fn errors_are_told_when_their_labels_have_come_each_once() {
    let run = run();
    for metric in ["ddm", "hddm_a"] {
        let last = |window: &'static str| -> BTreeMap<i64, &Value> { of(&run, metric, "model", window).collect() };
        let (sliding, tumbling) = (last("sliding"), last("tumbling"));
        let count = |lines: &BTreeMap<i64, &Value>| -> u64 { lines.values().map(|line| line["n"].as_u64().unwrap()).sum() };
        assert_eq!((count(&sliding), count(&tumbling)), (run.labelled, run.labelled), "{metric}");
        // A window side by side with others adds what three of the sliding ones add one after the other.
        for (end, line) in &tumbling {
            let parts =
                [end - 40_000, end - 20_000, *end].map(|end| sliding.get(&end).and_then(|line| line["value"].as_f64()).unwrap_or(0.0));
            let strongest = parts.into_iter().fold(0.0, f64::max);
            assert_eq!(line["value"].as_f64().unwrap_or(0.0), strongest, "{line}");
        }
        let fired: Vec<i64> = sliding.iter().filter(|(_, line)| line["value"] == 1.0).map(|(end, _)| end - START).collect();
        assert!(fired.iter().any(|end| (SHIFT..SHIFT + 300_000).contains(end)), "{metric} {fired:?}");
        let awaited = of(&run, metric, "model", "sliding").filter(|(_, line)| line["revision"] == 0 && line["reason"] == "awaiting_labels");
        assert!(awaited.count() > 100, "it is said that they will come");
    }
    let fired: Vec<&Value> = run.lines.iter().filter(|line| line["alert"] == "ErrorsChanged" && line["state"] == "firing").collect();
    assert!(!fired.is_empty());
}

#[test]
fn what_detectors_need_is_asked_for() {
    let directory = scratch("detectors_faults");
    write(&directory, "rules.yaml", RULES);
    let faults = |task: &str, detectors: &str| -> Vec<String> {
        let path = write(&directory, "faults.yaml", &config(task, detectors));
        let environment = driftline::config::environment::Environment::default();
        let result = driftline::config::load::load(&path, &environment, driftline::config::Purpose::Offline);
        result.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    let one = |task: &str, detectors: &str, wanted: &str| {
        let faults = faults(task, detectors);
        assert!(faults.len() == 1 && faults[0].contains(wanted), "{detectors}: {faults:?}");
    };
    assert_eq!(faults("task: binary", "[adwin, ddm, { name: eddm, alpha: 0.8, beta: 0.75 }]"), [""; 0]);
    one("task: binary", "[adwn]", "did you mean \"adwin\"");
    one("task: binary", "[adwin, { name: adwin, delta: 0.1 }]", "adwin is named twice");
    one("task: binary", "[{ name: adwin, threshold: 5 }]", "adwin has no threshold");
    one("task: binary", "[{ name: adwin, delta: 1.5 }]", "1.5 is not above 0 and below 1");
    one("task: binary", "[{ name: eddm, alpha: 0.8 }]", "0.9 is not above 0 and at most alpha");
    one("task: regression", "[page_hinkley, hddm_w]", "hddm_w needs right and wrong answers");
}
