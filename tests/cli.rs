//! The program as its users meet it: exit codes, what goes to which stream, and what never does.
#![allow(clippy::disallowed_methods)] // Processes are waited for, with deadlines.

mod replay_support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use driftline::event::Timestamp;
use replay_support::{repository, scratch, write};
use serde_json::{Value, json};

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const BAD_CONFIG: i32 = 78;

/// How long any of the programs started here may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn driftline(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.current_dir(directory).args(arguments).stdin(Stdio::null());
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("DRIFTLINE_") || name.starts_with("OTEL_") || name.starts_with("RUST_"))
    {
        command.env_remove(name);
    }
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code().expect("ended by a signal"), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

fn run(directory: &Path, arguments: &[&str]) -> Ran {
    ran(driftline(directory, arguments).output().unwrap())
}

/// Runs and asserts the exit code; failures say why on stderr and print no result.
#[track_caller]
fn ends_with(code: i32, directory: &Path, arguments: &[&str]) -> Ran {
    let ran = run(directory, arguments);
    assert_eq!(ran.code, code, "{arguments:?}\nstdout: {}\nstderr: {}", ran.out, ran.err);
    assert!(code == OK || !ran.err.is_empty(), "{arguments:?} does not say what is wrong");
    ran
}

const CONFIG: &str = "models:
  - name: loan
    baseline: loan.json
    task: binary
    positive_class: repaid
    windows: [ { name: 1m, size: 1m } ]
    lateness: 1s
    min_samples: 1
    labels: { horizon: 10m }
    segments: [ { by: tags.region, limit: 2 } ]
rules: [rules.yaml]
";

/// What only `run` needs.
const KAFKA: &str = "kafka: { bootstrap_servers: [\"127.0.0.1:9\"], group_id: test, topics: { predictions: [p], labels: [l] } }\n";

const RULES: &str = "groups:
  - name: loan
    model: loan
    rules:
      - alert: Drift
        each: [feature]
        source: { metric: psi, window: 1m }
        value: psi
        fire: { critical: { above: 0.2, for: 1 windows } }
        resolve: { below: 0.1, for: 1 windows }
        incomplete: ok
        on_firing: [ { action: retrain } ]
route: { receiver: hook, group_wait: 0s }
receivers: [ { name: hook, webhook_configs: [ { url: \"http://127.0.0.1:9/hook\" } ] } ]
actions: { retrain: { url: \"http://127.0.0.1:9/retrain\" } }
";

/// A directory with a configuration, a rule file and a baseline that the program itself has built.
fn desk(test: &str) -> PathBuf {
    let directory = scratch(&format!("cli-{test}"));
    write(&directory, "driftline.yaml", CONFIG);
    write(&directory, "rules.yaml", RULES);
    let input = repository("tests/data/loan.csv");
    let build =
        ["baseline", "build", "--config", "driftline.yaml", "--model", "loan", "--input", input.to_str().unwrap(), "--output", "loan.json"];
    let built = ends_with(OK, &directory, &build);
    assert_eq!(built.out, "", "what a person reads of the progress goes to stderr");
    assert!(built.err.contains("loan.json: 300 rows, 6 columns"), "{}", built.err);
    directory
}

/// Events and their labels over some minutes, as plain lines.
fn recorded(directory: &Path) {
    let (mut events, mut labels) = (String::new(), String::new());
    for number in 0..300i64 {
        let ts = 1_800_000_000_000 + number * 1_000;
        let region = ["eu", "us", "xx"][usize::try_from(number % 3).unwrap()];
        let event = json!({"model": "loan", "version": (number % 2).to_string(), "id": number.to_string(), "ts": Timestamp(ts).rfc3339(),
            "features": {"age": 90 - number % 7, "country": "DE", "active": true}, "score": 0.7, "tags": {"region": region}});
        events.push_str(&format!("{event}\n"));
        labels.push_str(&format!("{}\n", json!({"model": "loan", "id": number.to_string(), "ts": ts + 5_000, "label": "repaid"})));
    }
    write(directory, "events.ndjson", &events);
    write(directory, "labels.ndjson", &labels);
}

/// The keys of the object on a line, in their order; `serde_json` would sort them.
fn keys(line: &str) -> Vec<String> {
    let (mut keys, mut depth, mut start, mut escaped) = (Vec::new(), 0, None, false);
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, start) {
            (_, Some(_)) if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', Some(from)) => {
                if depth == 1 && bytes.get(at + 1) == Some(&b':') {
                    keys.push(line[from..at].to_owned());
                }
                start = None;
            }
            (b'"', None) => start = Some(at + 1),
            (b'{' | b'[', None) => depth += 1,
            (b'}' | b']', None) => depth -= 1,
            _ => {}
        }
    }
    keys
}

#[test]
fn wrong_usage_is_2() {
    let directory = scratch("cli-usage");
    for arguments in [
        &[] as &[&str],
        &["--nonsense"],
        &["nonsense"],
        &["run"],
        &["run", "--config", "x", "--nonsense"],
        &["check"],
        &["check", "--config"],
        &["check", "--nonsense"],
        &["baseline"],
        &["baseline", "build", "--config", "x"],
        &["baseline", "show"],
        &["replay", "--config", "x"],
        &["schema"],
        &["schema", "nonsense"],
        &["completion", "nonsense"],
        &["version", "nonsense"],
        &["healthcheck", "--nonsense"],
        &["--log-format", "xml", "version"],
        &["--log-level", "driftline=loud", "version"],
    ] {
        let ran = ends_with(USAGE, &directory, arguments);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once_with_their_places() {
    let directory = scratch("cli-faults");
    write(
        &directory,
        "driftline.yaml",
        "kafka: { bootstrap_servers: [\"localhost:9\"], topics: { predictions: [p] } }\nmodels:\n  - name: a\n    windows: [ { size: 1h, slide: 7m } ]\n    segmnets: []\n    lateness: soon\n",
    );
    let places = [
        "driftline.yaml:4:",
        "driftline.yaml:5:5: models[0].segmnets: unknown key (did you mean \"segments\"?)",
        "driftline.yaml:6:15: models[0].lateness:",
    ];
    for (code, arguments) in [
        (FAILED, &["check", "--config", "driftline.yaml"] as &[&str]),
        (BAD_CONFIG, &["run", "--config", "driftline.yaml"]),
        (FAILED, &["replay", "--config", "driftline.yaml", "--input", "none"]),
        (FAILED, &["baseline", "build", "--config", "driftline.yaml", "--model", "a", "--input", "none", "--output", "none"]),
    ] {
        let ran = ends_with(code, &directory, arguments);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(places.iter().all(|place| ran.err.contains(place)), "{arguments:?}: {}", ran.err);
        assert!(ran.err.ends_with("3 errors\n"), "{arguments:?}: {}", ran.err);
    }
    for command in ["check", "run"] {
        let code = if command == "run" { BAD_CONFIG } else { FAILED };
        assert!(ends_with(code, &directory, &[command, "--config", "absent.yaml"]).err.contains("absent.yaml"));
    }
}

#[test]
fn faults_of_configuration_rules_and_baselines_come_together() {
    let directory = desk("together");
    assert!(ends_with(OK, &directory, &["check", "--config", "driftline.yaml"]).out.contains("1 rules, 1 receivers, 1 actions"));
    write(&directory, "rules.yaml", &RULES.replace("each: [feature]", "eech: [feature]").replace("metric: psi", "metric: nonsense"));
    write(&directory, "driftline.yaml", &(CONFIG.replace("loan.json", "none.json") + KAFKA));
    for (code, command) in [(FAILED, "check"), (BAD_CONFIG, "run")] {
        let err = ends_with(code, &directory, &[command, "--config", "driftline.yaml"]).err;
        for wanted in ["driftline.yaml:3:15: models[0].baseline:", "none.json", "rules.yaml:6:9:", "did you mean \"each\"?"] {
            assert!(err.contains(wanted), "{command} does not say {wanted}: {err}");
        }
    }
    // Warnings fail only where that is wanted.
    let warned = RULES.replace("windows: [ { name: 1m, size: 1m } ]", "");
    write(&directory, "rules.yaml", &warned);
    write(
        &directory,
        "driftline.yaml",
        &CONFIG.replace("{ name: 1m, size: 1m }", "{ name: 1m, size: 60m, slide: 1m }").replace("for: 1", "for: 2"),
    );
    write(&directory, "rules.yaml", &RULES.replace("for: 1 windows } }\n        resolve", "for: 3 windows } }\n        resolve"));
    let lenient = ends_with(OK, &directory, &["check", "--config", "driftline.yaml"]);
    assert!(lenient.err.contains("warning"), "{}", lenient.err);
    let strict = ends_with(FAILED, &directory, &["check", "--config", "driftline.yaml", "--strict"]);
    assert!(strict.err.contains("warning"), "{}", strict.err);
}

#[test]
fn check_says_what_memory_will_be_needed() {
    let directory = desk("memory");
    write(&directory, "rules.yaml", &RULES.replace(", group_wait: 0s", ""));
    let check = ["check", "--config", "driftline.yaml"];
    let fits = ends_with(OK, &directory, &[&check as &[&str], &["--strict", "--rate", "10", "--partitions", "1"]].concat());
    assert!(fits.out.contains("memory for 10 events/s from 1 partition "), "{}", fits.out);
    let line = |out: &str, what: &str| out.lines().find(|line| line.trim_start().starts_with(what)).unwrap_or_default().to_owned();
    assert!(line(&fits.out, "all ").contains("of 512.0 MiB (limits.memory)"), "{}", fits.out);
    // A version has all events and three segments, in two slices of a minute.
    assert!(line(&fits.out, "open panes").contains(" 8  "), "{}", fits.out);
    let wide = ends_with(OK, &directory, &[&check as &[&str], &["--rate", "1000", "--partitions", "12"]].concat());
    assert!(line(&wide.out, "open panes").contains(" 96  "), "{}", wide.out);
    // What a replica has beside it is said of replicas alone.
    let own = ["joins ", "directory ", "owned panes ", "taking over ", "exchange ", "reading again ", "of one replica that "];
    assert!(own.iter().all(|what| line(&wide.out, what).is_empty()), "{}", wide.out);
    write(&directory, "driftline.yaml", &(CONFIG.to_owned() + "state: { mode: cluster }\n"));
    let replica = ends_with(OK, &directory, &[&check as &[&str], &["--rate", "1000", "--partitions", "12"]].concat());
    assert!(own.iter().all(|what| !line(&replica.out, what).is_empty()), "{}", replica.out);
    assert!(line(&replica.out, "reading again ").contains(" 12  "), "{}", replica.out);
    // Ten minutes of horizon and three windows of a minute, a second of lateness: 14 slices of 12 partitions and four runs of
    // panes; labels of a tick can change all of them, which are then said.
    assert!(line(&replica.out, "joins ").contains(" 1344  "), "{}", replica.out);
    write(&directory, "driftline.yaml", &(CONFIG.to_owned() + "limits: { memory: 64MiB }\n"));
    let warned = ends_with(OK, &directory, &check);
    assert!(warned.err.contains("warning") && warned.err.contains("more than limits.memory of 64.0 MiB"), "{}", warned.err);
    ends_with(FAILED, &directory, &[&check as &[&str], &["--strict"]].concat());
    for bad in ["-1", "inf", "many"] {
        ends_with(USAGE, &directory, &[&check as &[&str], &[&format!("--rate={bad}")]].concat());
    }
}

#[test]
fn check_says_what_disk_will_be_needed() {
    let directory = desk("disk");
    write(&directory, "rules.yaml", &RULES.replace(", group_wait: 0s", ""));
    let check = ["check", "--config", "driftline.yaml"];
    let with = |rate: &str, limits: &str, state: &str| {
        write(&directory, "driftline.yaml", &format!("{CONFIG}limits: {{ {limits} }}\nstate: {{ {state} }}\n"));
        ends_with(OK, &directory, &[&check as &[&str], &["--rate", rate, "--partitions", "1"]].concat())
    };
    let line = |out: &str, what: &str| {
        let report = out.split("\ndisk for ").nth(1).unwrap_or_default().to_owned();
        report.lines().find(|line| line.trim_start().starts_with(what)).unwrap_or_default().to_owned()
    };
    let fits = with("1000", "disk: 1GiB", "mode: local");
    assert!(
        fits.out.contains("\ndisk for 1000 events/s from 1 partition ") && !fits.err.contains("limits.disk"),
        "{} {}",
        fits.out,
        fits.err
    );
    // Ten minutes of a thousand a second, of 180 bytes each, and half as much for merging.
    assert!(line(&fits.out, "ledger ").contains(" 600000    103.0 MiB "), "{}", fits.out);
    assert!(line(&fits.out, "merging ").contains(" 51.7 MiB "), "{}", fits.out);
    assert!(line(&fits.out, "journal ").contains(" 256.0 MiB ") && line(&fits.out, "said windows ").contains(" 32.0 MiB "), "{}", fits.out);
    assert!(
        !line(&fits.out, "joined panes ").is_empty() && line(&fits.out, "all ").contains("of 1024.0 MiB (limits.disk)"),
        "{}",
        fits.out
    );
    // 192 MiB: two thirds of the 64 that journal and windows leave.
    let warned = with("1000", "disk: 192MiB", "mode: local");
    for wanted in ["more than limits.disk of 192.0 MiB", "; 248551 of 600000 predictions fit while they wait for labels"] {
        assert!(warned.err.contains(wanted), "{}", warned.err);
    }
    ends_with(FAILED, &directory, &[&check as &[&str], &["--strict", "--rate", "1000", "--partitions", "1"]].concat());
    // Of a replica only what waits for labels is on disk.
    let cluster = with("1000", "disk: 1GiB", "mode: cluster");
    assert!(!line(&cluster.out, "ledger ").is_empty() && line(&cluster.out, "joined panes ").is_empty(), "{}", cluster.out);
}

#[test]
fn segments_beyond_the_limit_count_under_other() {
    let directory = desk("segments");
    recorded(&directory);
    // The baseline has most rows of `us`; `eu` is known to it, and `xx` is not.
    write(&directory, "driftline.yaml", &CONFIG.replace("limit: 2", "limit: 1"));
    let arguments = ["replay", "--config", "driftline.yaml", "--input", "events.ndjson", "--output", "results.ndjson"];
    let replayed = ends_with(OK, &directory, &arguments);
    assert!(replayed.err.contains("200 in other segments"), "{}", replayed.err);
    let results = std::fs::read_to_string(directory.join("results.ndjson")).unwrap();
    let segments: BTreeSet<String> = results
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap().get("segment").map(|segment| segment["region"].to_string()))
        .collect();
    assert_eq!(segments, BTreeSet::from(["\"other\"".to_owned(), "\"us\"".to_owned()]));
}

#[test]
fn a_bad_baseline_is_named_with_what_is_wrong_in_it() {
    let directory = desk("bad-baseline");
    let good = std::fs::read_to_string(directory.join("loan.json")).unwrap();
    write(&directory, "driftline.yaml", &(CONFIG.to_owned() + KAFKA));
    for (bad, wanted) in [
        (good.replace("\"rows\":300,", ""), "missing field `rows`"),
        (good.replace("\"rows\":300,", "\"rows\":300,\"raws\":1,"), "unknown field `raws`"),
        (good.replace("\"format\":1", "\"format\":99"), "99"),
        (good.replace("\"model\":\"loan\"", "\"model\":\"other\""), "it was built for the model 'other', not 'loan'"),
        (good.replace("\"positive_class\":\"repaid\"", "\"positive_class\":\"default\""), "its positive class is 'default'"),
        (good[..good.len() / 2].to_owned(), "not a baseline"),
        (String::new(), "not a baseline"),
    ] {
        write(&directory, "loan.json", &bad);
        for (code, arguments) in [
            (FAILED, &["check", "--config", "driftline.yaml"] as &[&str]),
            (FAILED, &["replay", "--config", "driftline.yaml", "--input", "x"]),
            (BAD_CONFIG, &["run", "--config", "driftline.yaml"]),
        ] {
            let err = ends_with(code, &directory, arguments).err;
            assert!(err.contains("driftline.yaml:3:15: models[0].baseline:"), "{arguments:?}: {err}");
            assert!(err.contains("loan.json") && err.contains(wanted), "{arguments:?} does not say {wanted}: {err}");
        }
        if !wanted.starts_with("it") {
            let err = ends_with(FAILED, &directory, &["baseline", "show", "loan.json"]).err;
            assert!(err.contains("loan.json") && err.contains(wanted), "{err}");
        }
    }
    ends_with(FAILED, &directory, &["baseline", "show", "absent.json"]);
}

#[test]
fn baseline_show_prints_what_it_always_did() {
    let directory = desk("show");
    let shown = ends_with(OK, &directory, &["baseline", "show", "loan.json"]);
    assert_eq!(shown.out, std::fs::read_to_string(repository("tests/data/goldens/loan.show.txt")).unwrap());
    assert_eq!(shown.err, "");
}

#[test]
fn baseline_build_names_file_and_line() {
    let directory = desk("build");
    write(&directory, "broken.csv", "id,age,prediction,score,label\na,1,repaid,0.5,repaid\nb,1,repaid\n");
    write(&directory, "empty.csv", "");
    let build =
        |model, input| ["baseline", "build", "--config", "driftline.yaml", "--model", model, "--input", input, "--output", "new.json"];
    for (model, input, wanted) in [
        ("loan", "absent.csv", "absent.csv"),
        ("loan", "broken.csv", "broken.csv:3"),
        ("loan", "empty.csv", "empty.csv"),
        ("none", "broken.csv", "no model 'none'; it has: loan"),
    ] {
        let ran = ends_with(FAILED, &directory, &build(model, input));
        assert!(ran.err.contains(wanted), "{input}: {}", ran.err);
        assert!(!directory.join("new.json").exists(), "{input}: a baseline was written all the same");
    }
}

#[test]
fn check_events_tells_what_would_become_of_them() {
    let directory = desk("events");
    recorded(&directory);
    let good = ends_with(FAILED, &directory, &["check", "--config", "driftline.yaml", "--events", "events.ndjson"]);
    // The events carry no income at all.
    assert!(good.out.contains("300 counted") && good.out.contains("feature income: missing in every event"), "{}", good.out);
    write(&directory, "bad.ndjson", "{\"model\":\"loan\",\"ts\":1,\"score\":0.5,\"features\":{\"age\":\"39\"}}\nnonsense\n");
    let bad = ends_with_output(FAILED, &directory, &["check", "--config", "driftline.yaml", "--events", "bad.ndjson"]);
    assert!(bad.out.contains("1 not_json (lines 2)"), "{}", bad.out);
    assert!(bad.out.contains("feature age: 1 of 1 values are of a wrong type; the baseline has it as numeric"), "{}", bad.out);
    ends_with(FAILED, &directory, &["check", "--config", "driftline.yaml", "--events", "absent.ndjson"]);
}

/// The same where the findings are the result, on stdout.
#[track_caller]
fn ends_with_output(code: i32, directory: &Path, arguments: &[&str]) -> Ran {
    let ran = run(directory, arguments);
    assert_eq!(ran.code, code, "{arguments:?}\nstdout: {}\nstderr: {}", ran.out, ran.err);
    ran
}

#[test]
fn replay_writes_results_in_their_order_and_their_keys_in_theirs() {
    let directory = desk("replay");
    recorded(&directory);
    let replay = ["replay", "--config", "driftline.yaml", "--input", "events.ndjson", "--labels", "labels.ndjson"];
    let ran = ends_with(OK, &directory, &replay);
    assert!(ran.err.contains("events: 300 received, 300 counted"), "{}", ran.err);
    assert!(ran.err.contains("labels: 300 received, 300 counted"), "{}", ran.err);
    let again = ends_with(OK, &directory, &[&replay[..], &["--output", "results.ndjson"]].concat());
    assert_eq!(again.out, "", "results go to the file");
    assert!(std::fs::read_to_string(directory.join("results.ndjson")).unwrap() == ran.out, "the file has the bytes of stdout");

    let order: [(&str, &[&str]); 5] = [
        (
            "measurement",
            &[
                "type",
                "model",
                "version",
                "segment",
                "window",
                "subject",
                "metric",
                "value",
                "p_value",
                "p_adjusted",
                "n",
                "n_reference",
                "status",
                "reason",
                "recipe",
                "revision",
            ],
        ),
        ("window", &["type", "model", "window", "n", "late", "complete", "partitions", "gaps", "labels", "revision"]),
        ("alert", &["type", "alert", "state", "labels", "value", "at", "episode", "reason"]),
        ("notification", &["type", "receiver", "episode", "kind", "outcome", "reason"]),
        ("action", &["type", "action", "episode", "outcome", "reason"]),
    ];
    let mut seen = BTreeSet::new();
    let mut last = None;
    for line in ran.out.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let kind = value["type"].as_str().unwrap().to_owned();
        let (_, wanted) = order.iter().find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("a line of type {kind}"));
        let keys = keys(line);
        assert_eq!(keys, wanted.iter().filter(|key| keys.iter().any(|have| have == *key)).copied().collect::<Vec<_>>(), "{line}");
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if matches!(kind.as_str(), "measurement" | "window") {
            let segment = value.get("segment").map_or(String::new(), |segment| format!("region={}", of(&segment["region"])));
            let key = (
                of(&value["window"]["end"]),
                of(&value["model"]),
                of(&value["version"]),
                of(&value["window"]["name"]),
                segment,
                of(&value["subject"]),
                of(&value["metric"]),
                kind.clone(),
                value["revision"].as_u64(),
            );
            assert!(last.is_none_or(|last| last < key), "out of order: {line}");
            last = Some(key);
            for end in ["start", "end"] {
                let time = of(&value["window"][end]);
                assert!(time.ends_with(".000Z") && time.len() == 24, "{time}");
            }
        }
        if kind == "measurement" {
            assert_eq!(
                value["value"].is_null(),
                matches!(value["status"].as_str(), Some("no_data" | "error")) || value["reason"] == "no_segment_baseline",
                "{line}"
            );
            assert!(value["status"] == "ok" || value["reason"].is_string(), "{line}");
        }
        seen.insert(kind);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["action", "alert", "measurement", "notification", "window"]);
}

#[test]
fn replay_fails_on_files_that_are_not_there() {
    let directory = desk("replay-absent");
    recorded(&directory);
    for (arguments, wanted) in [
        (&["--input", "absent.ndjson"] as &[&str], "absent.ndjson"),
        (&["--input", "events.ndjson", "--labels", "absent.ndjson"], "absent.ndjson"),
        (&["--input", "events.ndjson", "--output", "no/such/directory"], "no/such/directory"),
        (&["--input", "."], "."),
    ] {
        let ran = ends_with(FAILED, &directory, &[&["replay", "--config", "driftline.yaml"], arguments].concat());
        assert!(ran.err.contains(wanted), "{}", ran.err);
        assert_eq!(ran.out, "");
    }
    // Lines that are no events are counted and are no failure.
    write(&directory, "poison.ndjson", "nonsense\n{}\n\u{0}\n");
    let poison = ends_with(OK, &directory, &["replay", "--config", "driftline.yaml", "--input", "poison.ndjson"]);
    assert!(poison.err.contains("3 received") && poison.err.contains("2 rejected (not_json)"), "{}", poison.err);
}

#[test]
fn schemas_are_json_with_a_title() {
    let directory = scratch("cli-schema");
    for kind in ["config", "rules", "baseline", "event", "results"] {
        let ran = ends_with(OK, &directory, &["schema", kind]);
        let schema: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(schema["title"].as_str().is_some_and(|title| title.starts_with("driftline ")), "{kind}: {}", schema["title"]);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{kind}");
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(ran.err, "");
    }
}

#[test]
fn version_help_and_completions_are_results() {
    let directory = scratch("cli-version");
    assert_eq!(ends_with(OK, &directory, &["version"]).out, format!("driftline {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(ends_with(OK, &directory, &["--version"]).out, format!("driftline {}\n", env!("CARGO_PKG_VERSION")));
    let help = ends_with(OK, &directory, &["--help"]).out;
    for command in ["demo", "run", "check", "baseline", "replay", "schema", "completion", "version", "healthcheck"] {
        assert!(help.contains(&format!("\n  {command} ")), "--help does not name {command}:\n{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = ends_with(OK, &directory, &["completion", shell]);
        assert!(ran.out.contains("driftline") && ran.out.contains("healthcheck"), "{shell}");
        assert_eq!(ran.err, "");
    }
}

/// `driftline ... | head -1`: the reader is gone before anything is written.
#[test]
fn a_reader_that_has_gone_away_is_no_panic() {
    let directory = desk("pipe");
    recorded(&directory);
    for arguments in [
        &["schema", "config"] as &[&str],
        &["completion", "bash"],
        &["version"],
        &["--help"],
        &["baseline", "show", "loan.json"],
        &["check", "--config", "driftline.yaml"],
        &["replay", "--config", "driftline.yaml", "--input", "events.ndjson"],
    ] {
        let mut child = driftline(&directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, OK, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("Broken pipe"), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn healthcheck_tells_no_answer_from_a_bad_one() {
    let directory = scratch("cli-health");
    let url = format!("http://{}", closed_port());
    assert_eq!(ends_with(UNAVAILABLE, &directory, &["healthcheck", "--url", &url]).out, "");
    for (status, code) in [("200 OK", OK), ("503 Service Unavailable", FAILED)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            std::io::Write::write_all(
                &mut stream,
                format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").as_bytes(),
            )
            .unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let ran = ends_with(code, &directory, &["healthcheck", "--url", &url]);
        assert!((if code == OK { &ran.out } else { &ran.err }).contains("hello"));
        assert!(server.join().unwrap().starts_with("GET /readyz "));
    }
}

/// An address that nothing listens on.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Every secret that the files below hold, in one way or another.
const SECRETS: [&str; 8] =
    ["smtp-hunter2", "sasl-hunter2", "hook-hunter2", "query-hunter2", "bearer-hunter2", "header-hunter2", "basic-hunter2", "file-hunter2"];

/// Files with secrets in every place that takes one, and with nothing there to connect to.
fn with_secrets(test: &str) -> PathBuf {
    let directory = desk(test);
    let closed = closed_port();
    write(&directory, "bearer", "bearer-hunter2\n");
    write(&directory, "basic", "basic-hunter2\n");
    write(&directory, "password", "file-hunter2\n");
    let config = format!(
        "kafka:
  bootstrap_servers: [\"{closed}\"]
  group_id: test
  topics: {{ predictions: [p], labels: [l] }}
  librdkafka: {{ security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: me, sasl.password: \"${{env:SASL}}\" }}
{CONFIG}state: {{ path: state }}
telemetry: {{ otlp: {{ endpoint: \"http://{closed}/otlp\" }} }}
http: {{ listen: \"127.0.0.1:0\" }}
notify: {{ smtp: {{ url: \"smtp://user@{closed}?tls=required\", password: smtp-hunter2, from: a@b.example }} }}
"
    );
    write(&directory, "driftline.yaml", &config);
    let rules = RULES.replace(
        "receivers: [ { name: hook, webhook_configs: [ { url: \"http://127.0.0.1:9/hook\" } ] } ]",
        &format!(
            "receivers: [ {{ name: hook, webhook_configs: [ {{ url: \"http://me:hook-hunter2@{closed}/hook?token=query-hunter2\" }} ], email_configs: [ {{ to: c@d.example }} ] }} ]"
        ),
    );
    let rules = rules.replace(
        "actions: { retrain: { url: \"http://127.0.0.1:9/retrain\" } }",
        &format!("actions: {{ retrain: {{ url: \"http://me:basic-hunter2@{closed}/retrain\", headers: {{ X-Key: header-hunter2 }}, auth: {{ bearer_file: bearer }} }} }}"),
    );
    write(&directory, "rules.yaml", &rules);
    directory
}

#[track_caller]
fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is shown:\n{text}");
    }
}

#[test]
fn check_connect_is_69_where_nothing_answers_and_shows_no_secret() {
    let directory = with_secrets("connect");
    let output = driftline(&directory, &["check", "--config", "driftline.yaml", "--connect"]).env("SASL", "sasl-hunter2").output().unwrap();
    let ran = ran(output);
    assert_eq!(ran.code, UNAVAILABLE, "{}{}", ran.out, ran.err);
    assert!(ran.out.matches("FAIL  ").count() >= 4, "{}", ran.out);
    for target in ["kafka 127.0.0.1:", "hook", "retrain", "otlp"] {
        assert!(
            ran.out.lines().any(|line| line.starts_with("FAIL  ") && line.contains(target)),
            "{target} is not among what failed:\n{}",
            ran.out
        );
    }
    assert_no_secret(&(ran.out + &ran.err));
}

#[test]
fn faults_show_no_secret() {
    let directory = with_secrets("fault-secrets");
    let good = std::fs::read_to_string(directory.join("driftline.yaml")).unwrap();
    for (from, to) in [
        ("password: smtp-hunter2", "password: { smtp-hunter2: 1 }"),
        ("password: smtp-hunter2", "password: [smtp-hunter2"),
        ("smtp://user@", "smtp://user:hook-hunter2@/"),
        ("\"${env:SASL}\"", "\"${file:password}\", sasl.passwrd: file-hunter2"),
        ("\"${env:SASL}\"", "\"${file:password}\", socket.timeout.ms: file-hunter2"),
        ("\"${env:SASL}\"", "\"${file:absent-${env:SASL}}\""),
        ("password: smtp-hunter2", "pasword: smtp-hunter2"),
        ("version", "version"),
    ] {
        let text = if from == "version" { good.replace("horizon: 10m", "horizon: never") } else { good.replace(from, to) };
        assert_ne!(text, good);
        write(&directory, "driftline.yaml", &text);
        for command in ["check", "run"] {
            let mut command = driftline(&directory, &[command, "--config", "driftline.yaml"]);
            let child = command.env("SASL", "sasl-hunter2").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let ran = ended(child);
            assert!(matches!(ran.code, FAILED | BAD_CONFIG), "{to} was accepted: {}", ran.err);
            assert_no_secret(&(ran.out + &ran.err));
        }
    }
}

/// Waits for a program that ends by itself; one that does not is killed.
fn ended(mut child: Child) -> Ran {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ran(child.wait_with_output().unwrap())
}

#[test]
fn run_drains_at_sigterm_and_logs_no_secret() {
    let directory = with_secrets("run");
    let mut child = driftline(&directory, &["run", "--config", "driftline.yaml", "--log-level", "debug"])
        .env("SASL", "sasl-hunter2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    // It keeps running without a broker: that it listens is the sign that it is up.
    while !log.contains("console") {
        if lines.read_line(&mut log).unwrap() == 0 {
            panic!("it ended: {:?}\n{log}", child.wait());
        }
    }
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        rest
    });
    std::thread::sleep(Duration::from_millis(500));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let ran = ended(child);
    log.push_str(&reader.join().unwrap());
    assert_eq!(ran.code, OK, "{log}");
    assert_eq!(ran.out, "", "logs go to stderr");
    assert!(!log.contains("panicked"), "{log}");
    assert_no_secret(&log);
}
