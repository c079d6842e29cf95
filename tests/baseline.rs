//! Building baselines from files: every format gives the same bytes, the bins are those of the reference libraries, and
//! what is wrong is named.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, RecordBatch, StringArray, types::Int32Type};
use driftline::app::baseline_job::{JobError, Progress, build_from_files};
use driftline::baseline::build::{BuildSpec, FeatureType};
use driftline::baseline::layout::{ColumnKind, SPECIAL};
use driftline::baseline::rows::{Names, Selection};
use driftline::baseline::segment::SegmentSpec;
use driftline::baseline::show::show;
use driftline::baseline::{Baseline, Task};
use driftline::event::Subject;
use serde_json::{Map, Value, json};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A directory of this test's own.
fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("baseline-{test}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn write(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).unwrap();
    path.to_owned()
}

fn build(spec: &BuildSpec, files: &[PathBuf]) -> Result<Baseline, JobError> {
    build_from_files(spec, files, &mut |_| {})
}

fn fault(spec: &BuildSpec, files: &[PathBuf]) -> String {
    build(spec, files).expect_err("this input is accepted").to_string()
}

fn loan() -> BuildSpec {
    BuildSpec {
        positive_class: Some("repaid".to_owned()),
        segments: vec![SegmentSpec { by: vec!["tags.region".to_owned()], limit: 2, values: None }],
        ..BuildSpec::new("loan", Task::Binary)
    }
}

/// The rows of a CSV file as names and cells, numbers and booleans as what they are.
fn rows(path: &Path) -> (Vec<String>, Vec<Vec<Value>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let cell = |text: &str| match text {
        "" => Value::Null,
        "true" => json!(true),
        "false" => json!(false),
        _ => text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number)),
    };
    (names, reader.records().map(|record| record.unwrap().iter().map(cell).collect()).collect())
}

fn flat(path: &Path) -> String {
    let (names, rows) = rows(path);
    rows.into_iter().map(|row| format!("{}\n", ordered(names.iter().map(String::as_str).zip(row)))).collect()
}

/// An object with its keys in this order, which `serde_json::Map` would sort.
fn ordered<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> String {
    let fields: Vec<String> = pairs.map(|(key, value)| format!("{}:{value}", json!(key))).collect();
    format!("{{{}}}", fields.join(","))
}

fn events(path: &Path) -> String {
    let (names, rows) = rows(path);
    let event = |row: Vec<Value>| {
        let cells: Vec<(&str, Value)> = names.iter().map(String::as_str).zip(row).collect();
        let get = |name: &str| cells.iter().find(|(other, _)| *other == name).unwrap().1.clone();
        let features = cells.iter().filter(|(name, _)| matches!(*name, "age" | "income" | "country" | "active")).cloned();
        let envelope = json!({"event": "prediction", "model": "loan", "version": "3", "latency_ms": 12.5, "weight": 1.0, "tags": {"region": get("tags.region")},
            "id": get("id"), "ts": get("ts"), "prediction": get("prediction"), "score": get("score"), "label": get("label")});
        let envelope = envelope.to_string();
        format!("{},\"features\":{}}}\n", &envelope[..envelope.len() - 1], ordered(features))
    };
    rows.into_iter().map(event).collect()
}

fn record_batch(path: &Path, dictionary: bool) -> RecordBatch {
    let (names, rows) = rows(path);
    let columns = names.iter().enumerate().map(|(index, name)| {
        let cells = || rows.iter().map(|row| &row[index]);
        let array: ArrayRef = if cells().all(|cell| cell.is_number() || cell.is_null()) {
            Arc::new(Float64Array::from_iter(cells().map(Value::as_f64)))
        } else if cells().all(|cell| cell.is_boolean() || cell.is_null()) {
            Arc::new(BooleanArray::from_iter(cells().map(Value::as_bool)))
        } else if dictionary {
            Arc::new(cells().map(Value::as_str).collect::<DictionaryArray<Int32Type>>())
        } else {
            Arc::new(StringArray::from_iter(cells().map(Value::as_str)))
        };
        (name.as_str(), array, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn parquet(path: &Path, batch: &RecordBatch) -> PathBuf {
    let mut writer = parquet::arrow::ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    path.to_owned()
}

fn ipc(path: &Path, batch: &RecordBatch, compression: Option<arrow_ipc::CompressionType>) -> PathBuf {
    let options = arrow_ipc::writer::IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = arrow_ipc::writer::FileWriter::try_new_with_options(File::create(path).unwrap(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    path.to_owned()
}

fn ipc_stream(path: &Path, batch: &RecordBatch) -> PathBuf {
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(File::create(path).unwrap(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    path.to_owned()
}

fn gzip(path: &Path, text: &str) -> PathBuf {
    // Two members, as `cat a.gz b.gz` makes them.
    let (left, right) = text.split_at(text.find('\n').unwrap());
    let mut file = File::create(path).unwrap();
    for part in [left, right] {
        let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        encoder.write_all(part.as_bytes()).unwrap();
        encoder.finish().unwrap();
    }
    path.to_owned()
}

#[test]
fn every_format_gives_the_same_bytes() {
    let dir = scratch("formats");
    let source = data("loan.csv");
    let text = fs::read_to_string(&source).unwrap();
    let (plain, dictionary) = (record_batch(&source, false), record_batch(&source, true));
    let files = [
        gzip(&dir.join("loan.csv.gz"), &text),
        write(&dir.join("loan.ndjson"), &flat(&source)),
        write(&dir.join("events.jsonl"), &events(&source)),
        {
            let path = dir.join("events.json.zst");
            fs::write(&path, zstd::encode_all(events(&source).as_bytes(), 3).unwrap()).unwrap();
            path
        },
        parquet(&dir.join("plain.parquet"), &plain),
        parquet(&dir.join("dictionary.parquet"), &dictionary),
        ipc(&dir.join("plain.arrow"), &plain, None),
        ipc(&dir.join("lz4.feather"), &dictionary, Some(arrow_ipc::CompressionType::LZ4_FRAME)),
        ipc(&dir.join("zstd.ipc"), &plain, Some(arrow_ipc::CompressionType::ZSTD)),
        ipc_stream(&dir.join("stream.arrow"), &plain),
    ];
    let expected = build(&loan(), &[source]).unwrap().to_json().unwrap();
    for file in files {
        let found = build(&loan(), std::slice::from_ref(&file)).unwrap().to_json().unwrap();
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn a_document_reads_back_to_the_same_baseline() {
    let baseline = build(&loan(), &[data("loan.csv")]).unwrap();
    let text = baseline.to_json().unwrap();
    let read = Baseline::from_json(&text).unwrap();
    assert_eq!(read, baseline);
    assert_eq!(read.to_json().unwrap(), text);
    assert_eq!(read.layout.id, baseline.layout.id);

    let schema = serde_json::to_value(schemars::schema_for!(driftline::baseline::document::Document)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::from_str(&text).unwrap()));
}

#[test]
fn all_rows_are_counted_in_every_column_and_in_one_segment() {
    let baseline = build(&loan(), &[data("loan.csv")]).unwrap();
    assert_eq!(baseline.rows, 300);
    for index in 0..baseline.layout.columns.len() {
        assert_eq!(baseline.reference.pane.column(&baseline.layout, index).iter().sum::<u64>(), 300);
    }
    let names: Vec<String> = baseline.segments.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["region=eu", "region=other", "region=us"]);
    assert_eq!(baseline.segments.values().map(|reference| reference.pane.n).sum::<u64>(), 300);
    let mut merged = baseline.segments.values().next().unwrap().clone();
    for reference in baseline.segments.values().skip(1) {
        merged.pane.merge(&reference.pane);
        merged.joined.merge(&reference.joined);
    }
    assert_eq!(merged, baseline.reference);
    let subjects: Vec<String> = baseline.layout.columns.iter().map(|column| column.subject.to_string()).collect();
    assert_eq!(subjects, ["feature:age", "feature:income", "feature:country", "feature:active", "prediction", "score"]);
    assert_eq!(
        baseline.joined.label.columns[0].kind,
        ColumnKind::Categorical(driftline::baseline::Levels::new(baseline.classes.clone(), vec![]))
    );
    assert_eq!((baseline.positive, baseline.reference.joined.matched), (Some(1), 300));
}

/// Compares the coarse bins and levels of a data set with `*.reference_bins.json`, which NumPy 2 made: `q10.edges` are the distinct
/// `numpy.quantile(R, k/10)`, `ref_counts_q10r` the counts of R in (a, b].
fn compare_with_golden(name: &str, baseline: &Baseline) {
    let golden: BTreeMap<String, Value> =
        serde_json::from_str(&fs::read_to_string(data(&format!("goldens/{name}.reference_bins.json"))).unwrap()).unwrap();
    let mut compared = 0;
    for (name, wanted) in &golden {
        let subject = match name.as_str() {
            "@prediction" => Subject::Prediction,
            "@score" => Subject::Score,
            "@label" => Subject::Label,
            name => Subject::Feature(name.into()),
        };
        let (layout, pane) = if subject == Subject::Label {
            (&baseline.joined.label, &baseline.reference.joined.label)
        } else {
            (&*baseline.layout, &baseline.reference.pane)
        };
        let index = layout.column(&subject).unwrap_or_else(|| panic!("no column {subject}"));
        let counts = &pane.column(layout, index)[SPECIAL..];
        match &layout.columns[index].kind {
            ColumnKind::Numeric(bins) => {
                let edges: Vec<f64> = serde_json::from_value(wanted["q10"]["edges"].clone()).unwrap();
                assert_eq!(bins.coarse_edges, edges, "{subject}");
                let mut coarse = vec![0u64; edges.len() + 1];
                bins.coarse_of_cells().into_iter().zip(counts).for_each(|(bin, count)| coarse[bin] += count);
                let expected: Vec<u64> = serde_json::from_value(wanted["q10"]["ref_counts_q10r"].clone()).unwrap();
                assert_eq!(coarse, expected, "{subject}");
                assert_eq!((counts[0], counts.last()), (0, Some(&0)), "{subject}: something lies outside");
            }
            ColumnKind::Embedding(_) => panic!("{subject} is an embedding"),
            ColumnKind::Categorical(levels) => {
                let expected: BTreeMap<String, u64> = serde_json::from_value(wanted["levels"].clone()).unwrap();
                let found = levels.kept.iter().map(ToString::to_string).zip(counts.iter().copied());
                let mut by_share: Vec<(u64, String)> = found.clone().map(|(level, count)| (count, level)).collect();
                if expected.len() <= 100 {
                    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{subject}");
                } else {
                    assert!(found.clone().all(|(level, count)| expected[&level] == count), "{subject}");
                    assert_eq!(counts.iter().sum::<u64>(), expected.values().sum::<u64>(), "{subject}");
                }
                if subject != Subject::Label {
                    by_share.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(&right.1)));
                    assert!(by_share.iter().map(|(_, level)| level.as_str()).eq(levels.kept.iter().map(|level| &**level)), "{subject}");
                }
            }
        }
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} columns were compared");
}

#[test]
fn the_deciles_and_levels_are_those_of_the_reference_libraries() {
    let categorical = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), FeatureType::Categorical)).collect();
    let bikeshare =
        BuildSpec { types: categorical(&["holiday", "weekday", "workingday"]), ..BuildSpec::new("bikeshare", Task::Regression) };
    compare_with_golden("bikeshare", &build(&bikeshare, &[data("bikeshare.reference.csv.gz")]).unwrap());

    let titanic =
        BuildSpec { types: categorical(&["Pclass"]), positive_class: Some("1".to_owned()), ..BuildSpec::new("titanic", Task::Binary) };
    let baseline = build(&titanic, &[data("titanic.reference.csv.gz")]).unwrap();
    compare_with_golden("titanic", &baseline);
    let text = show(&baseline);
    for part in ["feature:Age", "19.87%", "classes    0, 1", "male 64.76%", "feature:SibSp: type numeric was inferred"] {
        assert!(text.contains(part), "no '{part}' in\n{text}");
    }
    // Python 3: c = collections.Counter(cabins); len(c), sum(n == 1 for n in c.values())
    let cabin = baseline.layout.column(&Subject::Feature("Cabin".into())).unwrap();
    assert_eq!((baseline.summaries[cabin].distinct, baseline.summaries[cabin].singletons), (Some(147), Some(101)));
}

#[test]
fn what_is_wrong_is_named() {
    let dir = scratch("faults");
    let file = |name: &str, text: &str| vec![write(&dir.join(name), text)];
    let none = BuildSpec::new("m", Task::None);
    let binary = BuildSpec::new("m", Task::Binary);
    let check = |spec: &BuildSpec, files: &[PathBuf], parts: &[&str]| {
        let fault = fault(spec, files);
        assert!(parts.iter().all(|part| fault.contains(part)), "{fault}");
    };
    check(&none, &[], &["no input files"]);
    check(&none, &[dir.join("absent.csv")], &["absent.csv"]);
    check(&none, &file("a.xlsx", ""), &["a.xlsx", ".parquet"]);
    check(&none, &file("empty.csv", ""), &["empty.csv:1", "header"]);
    check(&none, &file("head.csv", "a,b\n"), &["no rows"]);
    check(&none, &file("ragged.csv", "a,b\n1,2\n3\n"), &["ragged.csv:3", "1 fields"]);
    check(&none, &file("twice.csv", "a,a\n1,2\n"), &["twice.csv", "'a'", "twice"]);
    fs::write(dir.join("latin.csv"), b"a\ncaf\xe9\n").unwrap();
    check(&none, &[dir.join("latin.csv")], &["latin.csv:2", "'a'", "UTF-8"]);
    check(&none, &file("cut.ndjson", "{\"a\":1}\n{\"a\":"), &["cut.ndjson:2"]);
    check(&none, &file("list.json", "[{\"a\":1}]\n"), &["list.json:1", "object"]);
    check(&none, &file("label.ndjson", "{\"event\":\"label\",\"features\":{}}\n"), &["label.ndjson:1", "label"]);
    check(&none, &file("bad.parquet", "PAR1"), &["bad.parquet"]);
    check(&binary, &file("features.csv", "a\n1\n"), &["binary", "'prediction'"]);
    check(&binary, &file("score.csv", "score,label\n0.5,1\n1.5,0\n"), &["row 2", "'score'", "1.5"]);
    check(&binary, &file("three.csv", "prediction\na\nb\nc\n"), &["two classes", "a, b, c"]);
    check(&BuildSpec::new("m", Task::Regression), &file("regression.csv", "prediction\na\n"), &["'prediction'", "number"]);
    let typed = BuildSpec { types: [("zip".to_owned(), FeatureType::Categorical)].into(), ..none.clone() };
    check(&typed, &file("types.csv", "a\n1\n"), &["'zip'"]);
    let cut = BuildSpec { segments: vec![SegmentSpec { by: vec!["tags.region".into()], limit: 5, values: None }], ..none.clone() };
    check(&cut, &file("segments.csv", "a\n1\n"), &["tags.region"]);
    let pair = [write(&dir.join("one.csv"), "a,b\n1,2\n"), write(&dir.join("two.csv"), "a\n1\n")];
    check(&none, &pair, &["two.csv", "'b'", "one.csv"]);

    let dates = Arc::new(arrow_array::Date32Array::from(vec![1, 2])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("ts", Arc::clone(&dates)), ("born", dates)]).unwrap();
    let file = parquet(&dir.join("dates.parquet"), &batch);
    check(&none, std::slice::from_ref(&file), &["dates.parquet", "'born'", "exclude"]);
    let selection = Selection::new(Names::default(), &[], &["born".to_owned()]).unwrap();
    assert!(build(&BuildSpec { selection, ..none }, &[file]).is_ok());
}

#[test]
fn several_files_are_one_table_and_progress_reaches_the_end() {
    let dir = scratch("several");
    let text = fs::read_to_string(data("loan.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (head, body) = lines.split_first().unwrap();
    let part = |name: &str, lines: &[&str]| write(&dir.join(name), &format!("{head}\n{}\n", lines.join("\n")));
    let files = [part("a.csv", &body[..100]), part("b.csv", &body[100..])];
    let mut seen: Vec<Progress> = Vec::new();
    let baseline = build_from_files(&loan(), &files, &mut |progress| seen.push(progress)).unwrap();
    assert_eq!(baseline, build(&loan(), &[data("loan.csv")]).unwrap());
    let last = seen.last().unwrap();
    assert_eq!((last.look, last.rows, last.bytes), (2, 300, last.total_bytes));
}

#[test]
fn a_column_that_changes_its_type_is_read_once_more() {
    let dir = scratch("flip");
    let numbers: String = (0..20_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    let file = write(&dir.join("flip.csv"), &format!("a,b\n{numbers}NA,1\n"));
    let mut looks = 0;
    let baseline = build_from_files(&BuildSpec::new("m", Task::None), &[file], &mut |at| looks = at.look).unwrap();
    assert_eq!(looks, 3);
    assert!(matches!(baseline.layout.columns[0].kind, ColumnKind::Categorical(_)));
    assert!(matches!(baseline.layout.columns[1].kind, ColumnKind::Numeric(_)));
    assert_eq!(baseline.rows, 20_001);
    assert!(baseline.notes.iter().any(|note| note.contains("'NA' is not a number")), "{:?}", baseline.notes);
    assert!(baseline.notes.iter().any(|note| note.starts_with("feature:a: 10000 of about ")), "{:?}", baseline.notes);
}

#[test]
fn what_is_no_value_is_counted_apart() {
    let dir = scratch("special");
    let lines = [
        r#"{"x":1.5,"c":"a","score":0.2,"label":0}"#,
        r#"{"x":NaN,"c":null,"score":0.9,"label":1}"#,
        r#"{"x":-Infinity,"c":[1],"score":0.7,"label":1}"#,
        r#"{"x":null,"score":null,"label":0}"#,
        r#"{"c":1,"x":"1.5","label":1}"#,
    ];
    let file = write(&dir.join("special.ndjson"), &lines.join("\n"));
    let spec = BuildSpec { types: [("x".to_owned(), FeatureType::Numeric)].into(), ..BuildSpec::new("m", Task::Binary) };
    let baseline = build(&spec, &[file]).unwrap();
    let column = |name: &str| {
        let subject = if name == "score" { Subject::Score } else { Subject::Feature(name.into()) };
        let index = baseline.layout.column(&subject).unwrap();
        baseline.reference.pane.column(&baseline.layout, index)[..SPECIAL].to_vec()
    };
    assert_eq!(column("x"), [1, 0, 1, 1, 1]);
    assert_eq!(column("c"), [1, 1, 0, 0, 1]);
    assert_eq!(column("score"), [1, 1, 0, 0, 0]);
    // Predictions come from the score; rows without one are not joined.
    assert_eq!(baseline.reference.joined.matched, 3);
    assert_eq!(baseline.reference.joined.confusion, [1, 0, 0, 0, 2, 0]);
    assert_eq!(Baseline::from_json(&baseline.to_json().unwrap()).unwrap(), baseline);
}

#[test]
fn multiclass_outputs_are_completed_from_their_probabilities() {
    let dir = scratch("multiclass");
    let text = "probability.b,probability.a,probability.c,label,x\n0.4,0.4,0.2,a,1\n0.1,0.2,0.7,b,2\n0.5,0.2,0.3,b,3\n";
    let baseline = build(&BuildSpec::new("m", Task::Multiclass), &[write(&dir.join("m.csv"), text)]).unwrap();
    assert_eq!(baseline.classes.iter().map(|class| &**class).collect::<Vec<_>>(), ["a", "b", "c"]);
    let subjects: Vec<String> = baseline.layout.columns.iter().map(|column| column.subject.to_string()).collect();
    assert_eq!(subjects, ["feature:x", "prediction", "proba:a", "proba:b", "proba:c"]);
    assert_eq!(baseline.reference.joined.confusion, [1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn contradictions_of_a_document_are_named_by_their_field() {
    let text = build(&loan(), &[data("loan.csv")]).unwrap().to_json().unwrap();
    let spoil = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut document: Map<String, Value> = serde_json::from_str(&text).unwrap();
        change(&mut document);
        Baseline::from_json(&serde_json::to_string(&document).unwrap()).expect_err("a spoilt document is accepted").to_string()
    };
    type Change = Box<dyn Fn(&mut Map<String, Value>)>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|d| drop(d.insert("format".into(), json!(2)))), "format 2 is newer"),
        (Box::new(|d| drop(d.insert("colour".into(), json!(1)))), "colour"),
        (Box::new(|d| drop(d.insert("rows".into(), json!(7)))), "reference.rows"),
        (Box::new(|d| drop(d.insert("threshold".into(), json!(7)))), "threshold"),
        (Box::new(|d| drop(d.insert("positive_class".into(), json!("x")))), "positive_class"),
        (Box::new(|d| d["classes"].as_array_mut().unwrap().reverse()), "classes"),
        (Box::new(|d| d["columns"][0]["subject"] = json!("age")), "columns[0].subject"),
        (Box::new(|d| d["columns"][1]["subject"] = json!("feature:age")), "columns[1].subject"),
        (Box::new(|d| d["columns"][0]["bins"]["numeric"]["edges"].as_array_mut().unwrap().swap(0, 1)), "columns[0].bins.numeric.edges"),
        (Box::new(|d| d["columns"][0]["bins"]["numeric"]["scale"] = json!(0)), "columns[0].bins.numeric.scale"),
        (Box::new(|d| d["columns"][5]["bins"] = d["columns"][2]["bins"].clone()), "columns[5].bins"),
        (Box::new(|d| d["reference"]["columns"][2]["counts"][0] = json!(0)), "reference.columns[2]"),
        (Box::new(|d| drop(d["reference"]["columns"][2]["counts"].as_array_mut().unwrap().pop())), "reference.columns[2].counts"),
        (Box::new(|d| d["reference"]["columns"][0]["sums"]["z"] = json!("1e5")), "reference.columns[0].sums.z"),
        (Box::new(|d| d["reference"]["joined"]["scored"] = json!(1)), "reference.joined.scored"),
        (Box::new(|d| d["reference"]["joined"]["confusion"][0][0] = json!(1_000_000)), "reference.joined.confusion"),
        (Box::new(|d| d["columns"][0]["null_tables"]["linf"][0] = json!(1e9)), "columns[0].null_tables.linf"),
        (Box::new(|d| d["segments"][1] = d["segments"][0].clone()), "segments[1].segment"),
    ];
    for (change, wanted) in cases {
        let fault = spoil(&*change);
        assert!(fault.contains(wanted), "'{fault}' does not name {wanted}");
    }
}

#[test]
fn the_shipped_references_are_compressed_csv() {
    // Guards the test data itself: a file that is no longer gzip would make the goldens above meaningless.
    let mut head = [0u8; 2];
    File::open(data("bikeshare.reference.csv.gz")).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(head, [0x1f, 0x8b]);
}
