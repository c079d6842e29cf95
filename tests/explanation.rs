//! Explanations over the shipped car loan data, whose drift is known, against a brute force over its raw rows: from analysis row 25,000 on
//! `car_value`, `loan_length`, `salary_range` and `repaid_loan_on_prev_car` shift, `debt_to_income_ratio` and `driver_tenure` do not.
//!
//! The rows get a region here: every third is of `eu`, and in `eu` alone `driver_tenure` is two years longer from row 25,000 on.

#![allow(clippy::cast_precision_loss, clippy::print_stdout)]

mod replay_support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;

use driftline::app::assemble::Assembly;
use driftline::baseline::{Baseline, ColumnKind};
use driftline::event::{Subject, Timestamp};
use replay_support::{assembled, build_baseline, replayed, repository, scratch, text, write};
use serde_json::{Value, json};

const SHIFT: usize = 25_000;
const DAY: i64 = 86_400_000;

const CONFIG: &str = "models:
  - name: car_loan
    baseline: car_loan.json
    task: binary
    positive_class: \"1\"
    features: { importance: { car_value: 0.1, salary_range: 0.5, loan_length: 0.3, driver_tenure: 0.05 } }
    windows: [ { name: 7d, size: 7d, slide: 1d } ]
    lateness: 1h
    min_samples: 500
    segments: [ { by: [tags.region] } ]
rules: [rules.yaml]
";

const RULES: &str = "groups:
  - name: car
    model: car_loan
    rules:
      - alert: FeaturePSI
        each: [feature]
        source: { metric: psi, window: 7d }
        value: psi
        fire: { critical: { above: 0.25, for: 1 windows } }
        annotations:
          summary: '{{ explanation }}'
          cells: '{% for cell in explanation.cells %}{{ cell.cell }} {{ cell.share | pct }};{% endfor %}'
          odd: '{% if explanation %}{{ explanation.level or labels.feature }}{% endif %}'
      - alert: AnyMean
        each: [feature]
        source: { metric: ks, window: 7d }
        value: ks
        fire: { warning: { above: 0.04, for: 1 windows } }
      - alert: DatasetDrift
        source: { window: 7d }
        value: 'double(features_drifted.size())'
        fire: { critical: { above: 2.5, for: 1 windows } }
        annotations: { summary: '{{ explanation }}' }
route: { receiver: hook }
receivers: [ { name: hook, webhook_configs: [ { url: 'http://127.0.0.1:9/' } ] } ]
";

fn unpacked(name: &str) -> String {
    let file = fs::File::open(repository("src/app/demo/data/car_loan").join(name)).unwrap();
    let mut text = String::new();
    zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    text
}

const fn region(row: usize) -> &'static str {
    if row.is_multiple_of(3) { "eu" } else { "us" }
}

/// One row of the reference or of the stream.
struct Row {
    ts: i64,
    region: &'static str,
    /// As numbers, or levels as they are.
    values: BTreeMap<String, Value>,
}

struct Set {
    assembly: Assembly,
    baseline: Baseline,
    reference: Vec<Row>,
    stream: Vec<Row>,
    events: String,
}

fn set(test: &str) -> Set {
    let directory = scratch(test);
    write(&directory, "rules.yaml", RULES);
    let config = write(&directory, "one.yaml", CONFIG);
    let csv = unpacked("reference.csv.zst");
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let (mut table, mut reference) = (format!("{},tags.region\n", header.join(",")), Vec::new());
    for (number, line) in lines.enumerate() {
        let _ = writeln!(table, "{line},{}", region(number));
        let cells = header.iter().zip(line.split(','));
        let value = |cell: &str| cell.parse::<f64>().map_or_else(|_| json!(cell), |number| json!(number));
        let values = cells.map(|(name, cell)| ((*name).to_owned(), value(cell))).collect();
        reference.push(Row { ts: 0, region: region(number), values });
    }
    let table = write(&directory, "reference.csv", &table);
    build_baseline(&config, "car_loan", &table, &directory.join("car_loan.json"));
    let (mut events, mut stream) = (String::new(), Vec::new());
    for (number, line) in unpacked("analysis.ndjson.zst").lines().enumerate() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event["tags"] = json!({ "region": region(number) });
        if number >= SHIFT && region(number) == "eu" {
            event["features"]["driver_tenure"] = json!(event["features"]["driver_tenure"].as_f64().unwrap() + 2.0);
        }
        let ts = Timestamp::parse_rfc3339(event["ts"].as_str().unwrap()).unwrap().0;
        let values = event["features"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        stream.push(Row { ts, region: region(number), values });
        events.push_str(&event.to_string());
        events.push('\n');
    }
    let baseline = Baseline::from_json(&fs::read_to_string(directory.join("car_loan.json")).unwrap()).unwrap();
    Set { assembly: assembled(&config), baseline, reference, stream, events }
}

/// Which coarse bin or level a row lies in.
fn cell(baseline: &Baseline, feature: &str, row: &Row) -> String {
    let index = baseline.layout.column(&Subject::Feature(feature.into())).unwrap();
    match (&baseline.layout.columns[index].kind, &row.values[feature]) {
        (ColumnKind::Numeric(bins), Value::Number(number)) => {
            let number = number.as_f64().unwrap();
            bins.coarse_edges.iter().filter(|edge| **edge < number).count().to_string()
        }
        (ColumnKind::Categorical(_), value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        (_, value) => panic!("{feature} is {value}"),
    }
}

type Shares = BTreeMap<String, f64>;

/// Shares by cell of the rows, of `n` rows in all.
fn shares<'a>(baseline: &Baseline, feature: &str, rows: impl Iterator<Item = &'a Row>, n: usize) -> Shares {
    let mut shares = Shares::new();
    for row in rows {
        *shares.entry(cell(baseline, feature, row)).or_default() += 1.0 / n as f64;
    }
    shares
}

fn close(left: f64, right: f64, what: &str) {
    assert!((left - right).abs() <= 1e-9 * right.abs().max(1.0), "{what}: {left} is not {right}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn millis(text: &Value) -> i64 {
    Timestamp::parse_rfc3339(text.as_str().unwrap()).unwrap().0
}

fn check(set: &Set, line: &Value) {
    let feature = line["subject"].as_str().unwrap().strip_prefix("feature:").unwrap();
    let (start, end) = (millis(&line["window"]["start"]), millis(&line["window"]["end"]));
    let window: Vec<&Row> = set.stream.iter().filter(|row| row.ts >= start && row.ts < end).collect();
    let r = shares(&set.baseline, feature, set.reference.iter(), set.reference.len());
    let c = shares(&set.baseline, feature, window.iter().copied(), window.len());
    let of = |shares: &Shares, cell: &str| shares.get(cell).copied().unwrap_or(0.0);
    let floor = |share: f64| share.max(1e-4);
    let cells: Vec<&String> = r.keys().chain(c.keys()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let term = |cell: &str| (floor(of(&c, cell)) - floor(of(&r, cell))) * (floor(of(&c, cell)) / floor(of(&r, cell))).ln();
    let psi: f64 = cells.iter().map(|cell| term(cell)).sum();
    let mut moved: Vec<(f64, &String)> = cells.iter().map(|cell| (term(cell) / psi, *cell)).collect();
    moved.sort_by(|left, right| right.0.total_cmp(&left.0));
    if line["score"]["metric"] == "psi" {
        close(line["score"]["value"].as_f64().unwrap(), psi, "psi");
    }
    let said = line["cells"].as_array().unwrap();
    assert_eq!(said.len(), moved.len().min(5), "{line}");
    for (said, (share, cell)) in said.iter().zip(&moved) {
        close(said["share"].as_f64().unwrap(), *share, "share of a cell");
        close(said["reference"].as_f64().unwrap(), of(&r, cell), "reference share");
        close(said["current"].as_f64().unwrap(), of(&c, cell), "current share");
    }
    // The segments: what each adds to every cell's term, in proportion to the difference it makes.
    let mut added: Vec<(f64, f64, &str)> = ["eu", "us"]
        .map(|region| {
            let own =
                |rows: &mut dyn Iterator<Item = &Row>, n: usize| shares(&set.baseline, feature, rows.filter(|row| row.region == region), n);
            let (own_r, own_c) = (own(&mut set.reference.iter(), set.reference.len()), own(&mut window.iter().copied(), window.len()));
            let add = |cell: &&String| {
                let moved = of(&c, cell) - of(&r, cell);
                if moved == 0.0 { 0.0 } else { term(cell) * (of(&own_c, cell) - of(&own_r, cell)) / moved }
            };
            (cells.iter().map(add).sum::<f64>() / psi, own_c.values().sum(), region)
        })
        .to_vec();
    added.sort_by(|left, right| right.0.total_cmp(&left.0));
    close(added.iter().map(|(share, ..)| share).sum(), 1.0, "the segments together");
    let said = line["segments"].as_array().unwrap();
    for (said, (share, events, region)) in said.iter().filter(|said| said["share"] != 0.0).zip(&added) {
        assert_eq!(said["segment"], json!({ "region": region }), "{line}");
        assert!((said["share"].as_f64().unwrap() - share).abs() < 1e-6, "{said} and {share}");
        close(said["events"].as_f64().unwrap(), *events, "events of a segment");
    }
    if let Some(shift) = line["mean_shift"].as_f64() {
        let values = |rows: &mut dyn Iterator<Item = &Row>| rows.map(|row| row.values[feature].as_f64().unwrap()).collect::<Vec<_>>();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (r, c) = (values(&mut set.reference.iter()), values(&mut window.iter().copied()));
        let sd = |values: &[f64]| {
            let mean = mean(values);
            (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
        };
        close(shift, (mean(&c) - mean(&r)) / sd(&r), "mean shift");
        close(line["spread_ratio"].as_f64().unwrap(), sd(&c) / sd(&r), "spread ratio");
    }
}

#[test]
fn the_known_drift_is_explained_as_the_rows_say() {
    let set = set("explanation_rows");
    let out = replayed(&set.assembly, set.events.as_bytes(), None, 1);
    let whole = text(&out);
    assert!(whole == text(&replayed(&set.assembly, set.events.as_bytes(), None, 3)), "three workers say something else");
    let lines = lines(&whole);
    let shift = set.stream[SHIFT].ts;
    let explained: Vec<&Value> = lines.iter().filter(|line| line["type"] == "explanation").collect();
    let overall: Vec<&&Value> = explained.iter().filter(|line| line["segment"].is_null()).collect();
    let of = |subject: &str| overall.iter().filter(|line| line["subject"] == subject).map(|line| **line).collect::<Vec<_>>();

    // Nothing is explained before the shift but what a rule finds in breach, and what drifts says so by itself.
    assert!(explained.iter().all(|line| millis(&line["window"]["end"]) > shift || line["score"]["metric"] == "ks"));
    assert!(of("feature:debt_to_income_ratio").iter().all(|line| line["score"]["metric"] == "ks"));
    for feature in ["feature:car_value", "feature:salary_range", "feature:loan_length", "feature:driver_tenure"] {
        let found = of(feature);
        assert!(found.len() > 100, "{feature} is explained {} times", found.len());
        // Windows of half the drift, and a late one.
        for line in found.iter().take(2).chain(found.iter().rev().take(1)) {
            check(&set, line);
        }
    }
    let late = |subject: &str| *of(subject).iter().find(|line| millis(&line["window"]["end"]) > shift + 6 * DAY).unwrap();
    let (car, tenure, salary) = (late("feature:car_value"), late("feature:driver_tenure"), late("feature:salary_range"));
    println!("{}\n{}\n{}", car["sentence"], tenure["sentence"], salary["sentence"]);
    assert_eq!((&car["direction"], &tenure["direction"]), (&json!("up"), &json!("up")));
    assert!(matches!(salary["direction"].as_str(), Some("more" | "less")) && salary["level"].is_string(), "{salary}");
    // Only `eu` has longer tenures; the cars have no region.
    assert_eq!(tenure["segments"][0]["segment"], json!({ "region": "eu" }));
    assert!(tenure["segments"][0]["share"].as_f64().unwrap() > 0.9, "{tenure}");
    assert!(tenure["sentence"].as_str().unwrap().contains("; most in region=eu; began about 2019-03-31"), "{tenure}");
    assert!(!car["sentence"].as_str().unwrap().contains("most in"), "{car}");
    // The day of the shift, or the next: it comes at three in the morning.
    for line in [car, tenure, salary] {
        let onset = &line["onset"];
        assert!((millis(&onset["at"]) - shift).abs() <= DAY, "{line}");
        assert!(millis(&onset["earliest"]) <= shift && shift <= millis(&onset["latest"]) + DAY, "{line}");
        assert_eq!(onset["slice"], "1d");
    }
    for line in &overall {
        let onset = &line["onset"];
        assert!(onset.is_null() || millis(&onset["at"]) >= millis(&line["window"]["start"]) - 8 * DAY, "before what is kept: {line}");
    }

    // Importance times drift.
    let weights: Vec<f64> = [car, salary].iter().map(|line| line["importance"]["weight"].as_f64().unwrap()).collect();
    close(weights[0], 0.1 * car["score"]["value"].as_f64().unwrap(), "weight");
    let model = late("model");
    let ranking = model["features"]["ranking"].as_array().unwrap();
    assert!(ranking.windows(2).all(|pair| pair[0]["weight"].as_f64() >= pair[1]["weight"].as_f64()), "{model}");
    assert_eq!(ranking.len(), 7);
    assert_eq!(model["features"]["drifted"], ranking.iter().filter(|one| one["drifted"] == true).count());
    assert!(model["sentence"].as_str().unwrap().contains(" features drifted: "), "{model}");

    // Each subject once in a window, and all lines in their documented order.
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = |line: &Value| {
        let segment = line["segment"]["region"].as_str().map(|region| format!("region={region}")).unwrap_or_default();
        let window = &line["window"];
        (text(&window["end"]), text(&line["version"]), segment, text(&line["subject"]), text(&line["metric"]), text(&line["type"]))
    };
    let of_windows: Vec<_> = lines.iter().filter(|line| line["window"].is_object()).map(place).collect();
    assert!(of_windows.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn alerts_carry_the_explanation_of_their_subject() {
    let set = set("explanation_alerts");
    let whole = text(&replayed(&set.assembly, set.events.as_bytes(), None, 1));
    let lines = lines(&whole);
    let of_model = |line: &&Value| line["type"] == "explanation" && line["subject"] == "model" && line["segment"].is_null();
    let model = lines.iter().rfind(of_model).unwrap();
    assert!(model["sentence"].as_str().unwrap().contains("salary_range (PSI"), "{model}");
    assert!(model["sentence"].as_str().unwrap().contains(", importance 0.5)"), "{model}");
    // A rule finds a breach that the recipe does not: it is explained by the cells that moved, and says that they are not of ks.
    let by_rule =
        lines.iter().find(|line| line["type"] == "explanation" && line["score"]["metric"] == "ks" && line["segment"].is_null()).unwrap();
    assert_eq!(by_rule["cells_of"], "psi");
    assert!(by_rule["sentence"].as_str().unwrap().contains(" of what moved from "), "{by_rule}");
    check(&set, by_rule);
    // What the notices say, by the same code that writes mails and webhooks.
    let emissions = happenings(&set);
    let said = |alert: &str, feature: Option<&str>| {
        let is_it = |view: &&driftline::rule::AlertView| view.alert == alert && view.labels.get("feature").map(String::as_str) == feature;
        emissions.iter().find(is_it).unwrap_or_else(|| panic!("{alert} {feature:?} told nobody"))
    };
    let car = said("FeaturePSI", Some("car_value"));
    let finding = car.explanation.as_ref().unwrap();
    assert_eq!(car.annotations["summary"], finding.sentence);
    assert!(finding.sentence.starts_with("car_value rose: mean +"), "{}", finding.sentence);
    assert_eq!(car.annotations["cells"].matches(';').count(), 5, "{}", car.annotations["cells"]);
    assert_eq!(car.annotations["odd"], "car_value", "a number has no level");
    let all = said("DatasetDrift", None);
    let summary = &all.annotations["summary"];
    assert!(summary.contains(" of 7 features drifted: ") && *summary == all.explanation.as_ref().unwrap().sentence, "{summary}");
}

/// The firing notices of a replay.
fn happenings(set: &Set) -> Vec<driftline::rule::AlertView> {
    use driftline::engine::{Emission, Evaluator, Record, Shard};
    use driftline::event::decode::RecordMeta;
    use driftline::event::{SourceId, TopicRole};
    use driftline::rule::{Happening, NoticeKind};
    use std::sync::Arc;

    let mut shard = Shard::new(Arc::clone(&set.assembly.plan));
    let mut evaluator = Evaluator::new(Arc::clone(&set.assembly.plan), Arc::clone(&set.assembly.rules));
    evaluator.assign(SourceId(0), TopicRole::Predictions);
    let mut views = Vec::new();
    let mut keep = |emissions: Vec<Emission>| {
        for emission in emissions {
            if let Emission::Happening { happening, .. } = emission
                && let Happening::Notice(notice) = *happening
                && notice.kind == NoticeKind::Firing
            {
                views.push(notice.alert);
            }
        }
    };
    for (offset, line) in (0..).zip(set.events.lines()) {
        let meta = RecordMeta { topic: "events", ..RecordMeta::default() };
        let record = Record { source: SourceId(0), role: TopicRole::Predictions, offset, meta, value: line.as_bytes(), oversize: false };
        let _ = shard.ingest(&record);
        if offset % 1_000 == 0 {
            evaluator.absorb(0, shard.take_output());
            keep(evaluator.advance(None));
        }
    }
    shard.flush(SourceId(0));
    evaluator.absorb(0, shard.take_output());
    keep(evaluator.finish());
    views
}
