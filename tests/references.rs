//! What windows are compared with beside the whole baseline, and windows that are extended: over whole replays.

#![allow(clippy::cast_precision_loss)]

mod replay_support;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use driftline::app::assemble::Assembly;
use driftline::event::{Span, Timestamp};
use replay_support::{assembled, build_baseline, replayed, repository, scratch, text, write};
use serde_json::{Value, json};

/// A Monday.
const START: i64 = 1_700_438_400_000;

fn assembly(directory: &Path, rows: &Path, model: &str) -> Assembly {
    let config = write(directory, "config.yaml", &format!("models: [ {{ name: m, baseline: m.json, {model} }} ]\n"));
    build_baseline(&config, "m", rows, &directory.join("m.json"));
    assembled(&config)
}

fn results(assembly: &Assembly, events: &[u8]) -> Vec<Value> {
    let text = text(&replayed(assembly, events, None, 2));
    assert_eq!(text, self::text(&replayed(assembly, events, None, 1)), "one worker says something else");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn measured<'a>(lines: &'a [Value], subject: &'a str, metric: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["type"] == "measurement" && line["subject"] == subject && line["metric"] == metric)
}

fn unzipped(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(repository(name)).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Numbers in [0, 1) that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Rows of one feature, one a minute, by the minute.
fn rows(count: i64, value: &mut dyn FnMut(i64) -> f64) -> String {
    let mut csv = String::from("ts,x\n");
    for minute in 0..count {
        let at = Timestamp(START - count * Span::MINUTE.0 + minute * Span::MINUTE.0).rfc3339();
        let _ = writeln!(csv, "{at},{}", value(minute));
    }
    csv
}

fn event(minute: f64, version: &str, region: &str, x: f64) -> String {
    let at = Timestamp(START + (minute * Span::MINUTE.0 as f64) as i64);
    let id = format!("{minute}-{region}-{version}");
    format!(
        "{}\n",
        json!({"model": "m", "version": version, "id": id, "ts": at.rfc3339(), "features": {"x": x}, "tags": {"region": region}})
    )
}

/// Shares of the windows with a verdict in which a feature had drifted, with their number.
fn drifted(lines: &[Value], feature: &str) -> (f64, usize) {
    let subject = format!("feature:{feature}");
    let judged: Vec<&Value> = measured(lines, &subject, "ks").filter(|line| line["status"] == "ok").collect();
    let alarms =
        judged.iter().filter(|line| line["value"].as_f64() >= Some(0.3) && line["p_adjusted"].as_f64().is_some_and(|p| p < 0.01)).count();
    (alarms as f64 / judged.len() as f64, judged.len())
}

/// A bicycle hire by the hour, February to April as the baseline, May to December as the stream. The hour of the day repeats
/// itself every day, the temperature every day about.
#[test]
fn seasons_are_no_drift_for_references_that_have_them() {
    let csv = repository("tests/data/bikeshare.reference.csv.gz");
    let events = unzipped("tests/data/bikeshare/analysis.ndjson.gz");
    let of = |name: &str, reference: &str| {
        let directory = scratch(&format!("references-{name}"));
        let config = format!(
            "models: [ {{ name: bikeshare, baseline: m.json, task: regression, evidence: {{ design_effects: off }}, metrics: [ks], drift: {{ metric: ks, above: 0.3 }}, min_samples: 5, windows: [ {{ name: 6h, size: 6h{reference} }} ] }} ]\n"
        );
        let config = write(&directory, "config.yaml", &config);
        build_baseline(&config, "bikeshare", &csv, &directory.join("m.json"));
        let lines = results(&assembled(&config), &events);
        let shares = ["hr", "temp", "windspeed"].map(|feature| drifted(&lines, feature));
        eprintln!("{name}: hr {:?}, temp {:?}, windspeed {:?}", shares[0], shares[1], shares[2]);
        (shares.map(|(share, _)| share), shares[0].1, lines)
    };
    let ([hr, temp, _], all, _) = of("baseline", "");
    let ([hr_daily, temp_daily, _], daily, lines) = of("daily", ", reference: { daily: 14 }");
    let ([hr_hours, temp_hours, _], hours, _) = of("hours", ", reference: { baseline: hour_of_day }");
    let ([hr_before, ..], ..) = of("previous", ", reference: { previous: 4 }");
    assert!(all > 900 && hours > 900 && daily > 700, "{all} {hours} {daily} windows judged");
    assert!(hr > 0.4 && hr_before > 0.2, "the hour of the day drifts every day where nobody knows of days: {hr}, {hr_before}");
    assert!(hr_daily == 0.0 && hr_hours == 0.0, "{hr_daily} {hr_hours}");
    assert!(temp_daily < 0.5 * temp && temp_hours <= temp, "{temp}, {temp_daily}, {temp_hours}");
    let line = measured(&lines, "feature:hr", "ks").find(|line| line["status"] == "ok").unwrap();
    assert!(line["recipe"].as_str().unwrap().ends_with("; against the same hours of 14 days before"), "{line}");
    assert!(line["n_reference"].as_u64() < Some(90), "{line}");
}

#[test]
fn nothing_happens_and_as_many_windows_say_otherwise_as_their_level_says() {
    let directory = scratch("references-null");
    let mut dice = Dice(7);
    let csv = write(&directory, "rows.csv", &rows(4_000, &mut |_| dice.roll()));
    let events: String = (0..400 * 60).map(|minute| event(f64::from(minute), "1", "eu", dice.roll())).collect();
    for reference in ["previous: 4", "previous: 4, leave_out: nothing", "daily: 2", "baseline: hour_of_day"] {
        let model = format!("metrics: [ks, psi], min_samples: 60, windows: [ {{ name: 1h, size: 1h, reference: {{ {reference} }} }} ]");
        let assembly = assembly(&directory, &csv, &model);
        let lines = results(&assembly, events.as_bytes());
        for metric in ["ks", "psi"] {
            let p: Vec<f64> = measured(&lines, "feature:x", metric)
                .filter(|line| line["status"] == "ok")
                .filter_map(|line| line["p_value"].as_f64())
                .collect();
            let share = p.iter().filter(|p| **p < 0.05).count() as f64 / p.len() as f64;
            eprintln!("{reference}: {metric} p < 0.05 in {share:.3} of {} windows", p.len());
            assert!(p.len() > 340, "{} windows with evidence", p.len());
            // Four standard errors of 400 windows; neighbours share their references.
            assert!((0.01..0.095).contains(&share), "{reference}: {metric} p < 0.05 in {share} of {} windows", p.len());
        }
    }
}

#[test]
fn windows_that_drifted_are_left_out_until_too_few_are_left() {
    let directory = scratch("references-drifted");
    let mut dice = Dice(1);
    let csv = write(&directory, "rows.csv", &rows(2_000, &mut |_| dice.roll()));
    // From the hour 12 on everything is another number, for good.
    let events: String =
        (0..24 * 60).map(|minute| event(f64::from(minute), "1", "eu", dice.roll() + if minute < 720 { 0.0 } else { 0.9 })).collect();
    let of = |leave_out: &str, dice: &mut Dice| {
        let _ = dice;
        let model =
            format!("metrics: [psi], min_samples: 30, windows: [ {{ name: 1h, size: 1h, reference: {{ previous: 4{leave_out} }} }} ]");
        let lines = results(&assembly(&directory, &csv, &model), events.as_bytes());
        let told = measured(&lines, "feature:x", "psi").map(|line| {
            let status = line["status"].as_str().unwrap().to_owned();
            let word = match &*status {
                "ok" if line["value"].as_f64() >= Some(0.1) && line["p_adjusted"].as_f64().is_some_and(|p| p < 0.01) => "drift".to_owned(),
                "insufficient" => line["reason"].as_str().unwrap().to_owned(),
                _ => status,
            };
            (word, line["n_reference"].as_u64().unwrap())
        });
        told.collect::<Vec<_>>()
    };
    let all = of("", &mut dice);
    assert_eq!(all[0], ("no_reference_windows".to_owned(), 0));
    assert_eq!(all[1].0, "no_reference_windows", "one of four is fewer than half");
    assert_eq!(all[2..4], [("ok".to_owned(), 120), ("ok".to_owned(), 180)]);
    assert_eq!(all[11], ("ok".to_owned(), 240));
    assert_eq!(all[12..15], [("drift".to_owned(), 240), ("drift".to_owned(), 180), ("drift".to_owned(), 120)]);
    assert_eq!(all[15].0, "no_reference_windows");
    assert_eq!(all[16].0, "no_reference_windows");
    assert_eq!(all[17], ("ok".to_owned(), 120), "what came to stay is the reference after a while");
    assert_eq!(all[20], ("ok".to_owned(), 240));
    let none = of(", leave_out: nothing", &mut dice);
    assert_eq!(none[12], ("drift".to_owned(), 240));
    assert_eq!(none[14], ("drift".to_owned(), 240), "its reference is half of the new");
    assert_eq!(none[16], ("ok".to_owned(), 240));
}

#[test]
fn windows_with_few_events_are_extended_each_segment_by_itself() {
    let directory = scratch("references-extended");
    let mut dice = Dice(3);
    let mut csv = String::from("ts,x,tags.region\n");
    for row in 0..3_000 {
        let _ = writeln!(csv, "2023-01-01T00:00:00Z,{},{}", dice.roll(), if row % 2 == 0 { "eu" } else { "us" });
    }
    let csv = write(&directory, "rows.csv", &csv);
    // One a minute in the one, one in four minutes in the other.
    let mut events: String = (0..600).map(|minute| event(f64::from(minute), "1", "eu", dice.roll())).collect::<Vec<_>>().concat();
    events.extend((0..150).map(|four| event(f64::from(four) * 4.0 + 0.5, "1", "us", dice.roll())));
    let mut sorted: Vec<&str> = events.lines().collect();
    sorted.sort_by_key(|line| serde_json::from_str::<Value>(line).unwrap()["ts"].as_str().unwrap().to_owned());
    let events = sorted.join("\n");
    let model = "metrics: [psi], min_samples: 40, segments: [ { by: tags.region } ], windows: [ { name: 1h, size: 1h, slide: 20m, extend_to: 4h } ]";
    let lines = results(&assembly(&directory, &csv, model), events.as_bytes());
    let at = |region: &str| {
        let line = lines.iter().find(|line| {
            line["metric"] == "psi"
                && line["segment"]["region"] == region
                && line["window"]["end"] == Timestamp(START + 6 * Span::HOUR.0).rfc3339()
        });
        let line = line.unwrap();
        (line["status"].clone(), line["reason"].clone(), line["n"].as_u64().unwrap(), line["window"]["start"].clone())
    };
    let start = json!(Timestamp(START + 5 * Span::HOUR.0).rfc3339());
    assert_eq!(at("eu"), (json!("ok"), Value::Null, 60, start.clone()));
    // 15 an hour, so 5 in each slide: 40 after eight slides.
    assert_eq!(at("us"), (json!("ok"), json!("extended: 2h40m"), 40, start));
    let early = lines
        .iter()
        .find(|line| {
            line["metric"] == "psi"
                && line["segment"]["region"] == "us"
                && line["window"]["end"] == Timestamp(START + Span::HOUR.0).rfc3339()
        })
        .unwrap();
    assert_eq!(
        (&early["status"], &early["reason"], &early["n"]),
        (&json!("insufficient"), &json!("min_samples"), &json!(15)),
        "nothing was before it"
    );
}

#[test]
fn hours_that_the_baseline_hardly_knows_judge_nothing() {
    let directory = scratch("references-hours");
    let mut dice = Dice(5);
    // Four days but for the hour from three to four.
    let full = rows(4 * 1_440, &mut |minute| dice.roll() + f64::from(i32::try_from(minute / 60 % 24).unwrap()));
    let rows = full.lines().filter(|line| !line.contains("T03:"));
    let csv: String = rows.map(|line| format!("{line},{}\n", if line.starts_with("ts") { "tags.region" } else { "eu" })).collect();
    let csv = write(&directory, "rows.csv", &csv);
    let model = "evidence: { design_effects: off }, metrics: [psi], min_samples: 30, segments: [ { by: tags.region, values: [eu] } ], windows: [ { name: 1h, size: 1h, reference: { baseline: hour_of_day } }, { name: plain, size: 1h } ]";
    let assembly = assembly(&directory, &csv, model);
    let events: String = (0..360).map(|minute| event(f64::from(minute), "1", "eu", dice.roll() + f64::from(minute / 60))).collect();
    let lines = results(&assembly, events.as_bytes());
    let told = |window: &str, segment: &Value| {
        let lines = measured(&lines, "feature:x", "psi").filter(|line| line["window"]["name"] == window && line["segment"] == *segment);
        lines
            .map(|line| (line["status"].as_str().unwrap().to_owned(), line["reason"].clone(), line["p_value"].as_f64()))
            .collect::<Vec<_>>()
    };
    let hours = told("1h", &Value::Null);
    assert_eq!(hours.len(), 6);
    for (hour, (status, reason, p)) in hours.iter().enumerate() {
        if hour == 3 {
            assert_eq!((status.as_str(), reason, *p), ("insufficient", &json!("no_seasonal_baseline"), None));
        } else {
            assert!(status == "ok" && p.unwrap() > 0.001, "hour {hour}: {status} {reason} {p:?}");
        }
    }
    assert!(told("plain", &Value::Null).iter().all(|(_, _, p)| p.unwrap() < 1e-9), "against all hours every hour is another");
    let segment = told("1h", &json!({"region": "eu"}));
    assert!(segment.iter().all(|(_, reason, _)| *reason == "no_seasonal_baseline"), "{segment:?}");
    // The document gives back what was built.
    let baseline = &assembly.plan.models[0].baselines[0];
    assert_eq!(baseline.seasons.as_ref().unwrap().hours.len(), 23);
    let json = baseline.to_json().unwrap();
    assert_eq!(driftline::baseline::Baseline::from_json(&json).unwrap(), **baseline);
    let damaged = json.replacen("\"hour\":2,", "\"hour\":24,", 1);
    assert!(
        damaged != json && driftline::baseline::Baseline::from_json(&damaged).unwrap_err().to_string().contains("seasons.hours[2].hour")
    );
}

/// A version that no baseline is for has no verdict, whatever the baselines of the others; its own windows are no reference either.
#[test]
fn a_version_without_a_baseline_is_never_judged() {
    let directory = scratch("references-versions");
    let mut dice = Dice(9);
    let csv = write(&directory, "rows.csv", &rows(2_000, &mut |_| dice.roll()));
    let config = "models: [ { name: m, baseline: { \"3\": three.json, \"4\": four.json }, metrics: [psi], min_samples: 30, windows: [ { name: 1h, size: 1h, reference: { previous: 2 } }, { name: all, size: 1h } ] } ]\n";
    let config = write(&directory, "config.yaml", config);
    build_baseline(&config, "m", &csv, &directory.join("three.json"));
    let other = write(&directory, "other.csv", &rows(2_000, &mut |_| 5.0 + dice.roll()));
    build_baseline(&config, "m", &other, &directory.join("four.json"));
    let mut events = String::new();
    for minute in 0..360 {
        for (version, x) in [("3", 0.0), ("4", 5.0), ("5", 0.0)] {
            events += &event(f64::from(minute), version, "eu", x + dice.roll());
        }
    }
    let lines = results(&assembled(&config), events.as_bytes());
    for version in ["3", "4"] {
        let values: Vec<f64> = measured(&lines, "feature:x", "psi")
            .filter(|line| line["version"] == version && line["window"]["name"] == "all")
            .filter_map(|line| line["value"].as_f64())
            .collect();
        assert!(values.len() == 6 && values.iter().all(|value| *value < 0.5), "{version}: {values:?}");
    }
    let unknown: Vec<&Value> = lines.iter().filter(|line| line["version"] == "5").collect();
    assert_eq!(unknown.len(), 12, "one word for each window");
    for line in unknown {
        assert_eq!(
            (&line["status"], &line["reason"], &line["value"], &line["n"]),
            (&json!("no_data"), &json!("no_baseline"), &Value::Null, &json!(60))
        );
    }
}
