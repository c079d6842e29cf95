//! The configuration as users meet it: good files mean what they say, bad ones are told where and why, secrets stay secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driftline::baseline::Season;
use driftline::config::checked::{Admitted, Cluster, DeadLetters, FeatureType, Labels, Start, Task, Workers};
use driftline::config::fault::Fault;
use driftline::config::load::{Loading, parse};
use driftline::config::{Config, Environment, Purpose, SchemaKind, schema};
use driftline::engine::comparison::{Against, Comparison, Step};
use driftline::event::decode::{Selector, TsUnit};
use driftline::event::{Metric, Span, Timestamp};
use driftline::source::kafka::GroupProtocol;
use driftline::stats::sequential::{AdwinSettings, DdmSettings, Settings};
use proptest::prelude::*;
use secrecy::ExposeSecret;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn read(text: &str, variables: &[(&str, &str)], purpose: Purpose) -> Loading {
    parse("driftline.yaml", text, Path::new("conf"), &variables.iter().copied().collect(), purpose)
}

fn shown(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

fn config(text: &str, variables: &[(&str, &str)], purpose: Purpose) -> Config {
    let loading = read(text, variables, purpose);
    assert_eq!(shown(&loading.faults), Vec::<String>::new());
    loading.config.unwrap()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap()
}

/// Every file of `bad/` gives the faults in the file beside it. A line `# env NAME=value` sets a variable, and the line
/// `# run` has it checked as `run` does.
#[test]
fn bad_files_are_told_where_and_why() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(directory().join("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut wrong = String::new();
    let mut count = 0;
    for path in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        count += 1;
        let text = std::fs::read_to_string(path).unwrap();
        let environment: Environment =
            text.lines().filter_map(|line| line.strip_prefix("# env ")?.split_once('=')).collect::<BTreeMap<_, _>>().into_iter().collect();
        let name = path.file_name().unwrap().to_str().unwrap();
        let purpose = if text.starts_with("# run\n") { Purpose::Run } else { Purpose::Offline };
        let loading = parse(name, &text, Path::new("conf"), &environment, purpose);
        let found: String = loading.faults.iter().fold(String::new(), |shown, fault| shown + &fault.to_string() + "\n");
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        assert!(loading.config.is_none(), "{name} was accepted");
        assert!(!found.contains("hunter2"), "{name} shows a secret:\n{found}");
        if found != expected {
            wrong = wrong + "--- " + name + "\n" + &found;
        }
    }
    assert!(count > 30, "only {count} files were found");
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

#[test]
fn the_example_of_the_documentation_means_what_it_says() {
    let config = config(&file("good.yaml"), &[("SMTP_PASSWORD", "hunter2")], Purpose::Run);
    assert_eq!(config.kafka.bootstrap_servers, ["localhost:9092"]);
    assert_eq!(config.kafka.group_id, "driftline");
    assert_eq!(
        (&*config.kafka.predictions[0], &*config.kafka.features[0], &*config.kafka.labels[0]),
        ("loan.predictions", "loan.features", "loan.labels")
    );
    assert_eq!(config.kafka.start, Start::Earliest);
    assert_eq!(config.kafka.librdkafka["security.protocol"].expose_secret(), "PLAINTEXT");
    let model = &config.models[0];
    assert_eq!(model.baselines.default.as_deref(), Some(Path::new("conf/baselines/loan.json")));
    assert_eq!(model.task, Task::Binary { positive_class: "repaid".into(), threshold: 0.5 });
    assert!(model.features.selects("age") && !model.features.selects("customer_id"));
    let windows: Vec<(&str, Span, Span)> = model.windows.iter().map(|window| (&*window.name, window.size, window.slide)).collect();
    assert_eq!(windows, [("1h", Span::HOUR, Span(300_000)), ("1d", Span::DAY, Span::HOUR)]);
    assert_eq!(model.pane(), Span(300_000));
    assert_eq!((model.lateness, model.min_samples), (Span(120_000), 500));
    assert_eq!(model.labels, Labels::Joined { horizon: Span(30 * Span::DAY.0) });
    assert_eq!((&*model.segments[0].tags[0], model.segments[0].limit), ("region", 50));
    assert_eq!(model.segments[0].admitted, Admitted::OfBaseline);
    assert_eq!(config.state.path, Path::new("conf/state"));
    assert_eq!((config.limits.memory, config.limits.disk, config.limits.workers), (512 << 20, 8 << 30, Workers::Auto));
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("http://localhost:4318"));
    assert_eq!((config.telemetry.prometheus, config.telemetry.max_series), (true, 5000));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    let smtp = config.notify.smtp.as_ref().unwrap();
    assert_eq!((smtp.url.expose_secret(), smtp.password.as_ref().unwrap().expose_secret()), ("smtps://user@mail.example:465", "hunter2"));
    assert_eq!(config.rules, ["conf/rules/*.yaml"]);
}

#[test]
fn every_key_reaches_the_settings() {
    let config = config(&file("rich.yaml"), &[("SASL", "hunter2")], Purpose::Run);
    assert_eq!(config.kafka.bootstrap_servers, ["a:9092", "SSL://b:9093", "[::1]:9092"]);
    assert_eq!(config.kafka.features, ["f1", "f2"]);
    assert_eq!((config.kafka.instance_id.as_deref(), config.kafka.group_protocol), (Some("monitor-0"), GroupProtocol::Consumer));
    assert_eq!(config.kafka.start, Start::At(Timestamp::parse_rfc3339("2026-11-21T23:00:00Z").unwrap()));
    assert_eq!(config.kafka.dead_letters, Some(DeadLetters { topic: "dead.letters".into(), rate: 3, block: true }));
    let librdkafka: Vec<(&str, &str)> =
        config.kafka.librdkafka.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    let expected = [
        ("queued.max.messages.kbytes", "1024"),
        ("sasl.password", "hunter2"),
        ("security.protocol", "SASL_SSL"),
        ("socket.keepalive.enable", "true"),
    ];
    assert_eq!(librdkafka, expected);
    assert_eq!((config.event.max_bytes, config.event.future_tolerance, config.event.ts_unit), (65_536, Span::MINUTE, TsUnit::Seconds));
    let selectors: Vec<String> = config.event.selectors.iter().map(|(name, selector)| format!("{name} {selector}")).collect();
    let expected = [
        "event const:prediction",
        "features /inputs",
        "id /request/id",
        "label /truth",
        "latency_ms /ms",
        "model /meta/model",
        "prediction /out/class",
        "probabilities /out/all",
        "score /out/p",
        "tags ",
        "ts /meta/time",
        "version header:model-version",
        "weight const:1",
    ];
    assert_eq!(selectors, expected);
    assert_eq!(config.event.selectors["id"], Selector::Pointer(vec!["request".into(), "id".into()]));
    let model = &config.models[0];
    let versions: Vec<(&str, &Path)> = model.baselines.versions.iter().map(|(version, path)| (version.as_str(), path.as_path())).collect();
    assert_eq!(versions, [("3", Path::new("conf/a.json")), ("4", Path::new("/abs/b.json"))]);
    assert_eq!(model.baselines.default.as_deref(), Some(Path::new("conf/c.json")));
    assert_eq!(model.task, Task::Binary { positive_class: "1".into(), threshold: 0.25 });
    assert!(model.features.selects("a2") && model.features.selects("b") && !model.features.selects("a1") && !model.features.selects("c"));
    let types: Vec<(&str, FeatureType)> = model.features.types.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    assert_eq!(types, [("flag", FeatureType::Categorical), ("n", FeatureType::Numeric), ("zip", FeatureType::Categorical)]);
    assert!(model.features_from_feature_events);
    assert_eq!(
        (&*model.windows[0].name, model.windows[0].slide, model.windows[0].offset),
        ("7d", Span(7 * Span::DAY.0), Span(4 * Span::DAY.0))
    );
    assert_eq!((&*model.windows[1].name, model.pane()), ("hour", Span(900_000)));
    let compared: Vec<Comparison> = model.windows.iter().map(|window| window.comparison).collect();
    let weekly = Against::Earlier { step: Step::Weekly, count: 2, leaves_out_drifted: false };
    assert_eq!(compared[0], Comparison::default());
    assert_eq!(compared[1], Comparison { against: weekly, extend_to: Some(Span(3 * Span::HOUR.0)) });
    assert_eq!((compared[2].against, model.seasonal), (Against::Season(Season::HourOfWeek), Some(Season::HourOfWeek)));
    assert_eq!((model.lateness, model.min_samples), (Span(90_000), 100));
    assert_eq!(model.labels, Labels::Joined { horizon: Span(12 * Span::HOUR.0) });
    assert_eq!(model.segments[0].admitted, Admitted::Listed(vec!["eu".into(), "7".into(), "true".into()]));
    assert_eq!(model.segments[1].tags, ["a".into(), "z".into()]);
    assert_eq!(model.metrics, [Metric::Psi, Metric::Ks, Metric::Accuracy]);
    let adwin = AdwinSettings { delta: 0.01, ..AdwinSettings::default() };
    assert_eq!(model.detectors, [Settings::Adwin(adwin), Settings::Ddm(DdmSettings::default())]);
    assert_eq!((model.drift.metric, model.drift.above, model.drift.p_adjusted), (Metric::Ks, 0.2, 0.05));
    assert_eq!(config.models[1].baselines.default.as_deref(), Some(Path::new("conf/price.json")));
    assert_eq!(
        (&config.models[1].task, &config.models[2].task, &config.models[3].task),
        (&Task::Regression, &Task::Multiclass, &Task::None)
    );
    assert_eq!((config.models[1].labels, config.models[3].labels), (Labels::Joined { horizon: Span(30 * Span::DAY.0) }, Labels::Ignored));
    assert_eq!((config.state.path.as_path(), config.state.checkpoint_interval), (Path::new("/var/lib/driftline"), Span(10_000)));
    let cluster = Cluster { panes: "said".into(), owners: "monitors.decided".into(), partitions: 16, replication: Some(2) };
    assert_eq!(config.state.cluster, Some(cluster));
    assert_eq!((config.limits.memory, config.limits.disk, config.limits.workers), (1 << 30, 20 << 30, Workers::Count(4)));
    assert_eq!((config.telemetry.prometheus, config.telemetry.max_series), (false, 100));
    assert_eq!(
        (config.http.listen.port(), config.http.token_file.as_deref(), config.http.open_reads),
        (80, Some(Path::new("conf/token")), true)
    );
    let smtp = config.notify.smtp.as_ref().unwrap();
    assert_eq!(
        (smtp.password.as_ref().unwrap().expose_secret(), smtp.from.as_str(), smtp.allow_plaintext),
        ("$ecret", "a@b.example", true)
    );
    assert_eq!((smtp.ca_file.as_deref(), config.notify.max_age), (Some(Path::new("conf/ca.pem")), Span(1_800_000)));
    assert_eq!(config.rules, ["conf/rules/loan.yaml"]);
}

#[test]
fn models_alone_are_enough_offline() {
    let config = config("models: [{name: m}]", &[], Purpose::Offline);
    assert!(config.kafka.bootstrap_servers.is_empty() && config.rules.is_empty());
    let faults = shown(&read("models: [{name: m}]", &[], Purpose::Run).faults);
    assert_eq!(
        faults,
        [
            "driftline.yaml:1:1: \"kafka\" is missing: it says where the events come from",
            "driftline.yaml:1:10: warning: models[0]: the model 'm' has no baseline: nothing can be compared \
             (make one with `driftline baseline build` and name it in `baseline`)",
        ]
    );
}

#[test]
fn the_defaults_in_the_schema_are_those_of_the_settings() {
    let bare = format!("{:?}", config("models: [{name: m}]", &[], Purpose::Offline));
    let schema = schema(SchemaKind::Config);
    // The sections with every default of the schema written out.
    let mut written = serde_json::json!({"models": [{"name": "m"}]});
    for (section, definition) in [
        ("kafka", "KafkaSection"),
        ("event", "EventSection"),
        ("state", "StateSection"),
        ("limits", "LimitsSection"),
        ("telemetry", "TelemetrySection"),
        ("http", "HttpSection"),
        ("notify", "NotifySection"),
    ] {
        written[section] = defaults(&schema["$defs"][definition]);
    }
    for (key, value) in defaults(&schema["$defs"]["ModelEntry"]).as_object().unwrap() {
        written["models"][0][key] = value.clone();
    }
    written["models"][0]["drift"] = defaults(&schema["$defs"]["DriftEntry"]);
    written["models"][0]["features"] = defaults(&schema["$defs"]["FeaturesEntry"]);
    assert!(written["event"].as_object().unwrap().len() > 15 && written["models"][0].as_object().unwrap().len() > 8);
    // Only binary models have a threshold.
    let threshold = written["models"][0].as_object_mut().unwrap().remove("threshold").unwrap();
    let Task::Binary { threshold: default, .. } = config("models: [{name: m, task: binary}]", &[], Purpose::Offline).models[0].task else {
        panic!("not binary")
    };
    assert_eq!(threshold, default);
    let mut full = config(&written.to_string(), &[], Purpose::Offline);
    // Written out they are selectors, left out they are none.
    for (name, selector) in std::mem::take(&mut full.event.selectors) {
        assert_eq!(selector.to_string(), format!("/{name}"));
    }
    assert_eq!(format!("{full:?}"), bare);
}

fn defaults(definition: &serde_json::Value) -> serde_json::Value {
    let properties = definition["properties"].as_object().unwrap();
    properties.iter().filter_map(|(key, schema)| Some((key.clone(), schema.get("default")?.clone()))).collect()
}

#[test]
fn variables_win_over_the_file_and_are_typed_by_the_schema() {
    let text = "models: [{name: m, baseline: b.json}]\nkafka: {group_id: '${env:NOT_SET}', bootstrap_servers: [x:1]}\n";
    let variables = [
        ("DRIFTLINE_KAFKA__GROUP_ID", "${literal}"),
        ("DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS", "a:1,b:2"),
        ("DRIFTLINE_KAFKA__TOPICS__PREDICTIONS", "p"),
        ("DRIFTLINE_KAFKA__LIBRDKAFKA__SASL_PASSWORD", "12345"),
        ("DRIFTLINE_HTTP__LISTEN", "127.0.0.1:1"),
        ("DRIFTLINE_TELEMETRY__MAX_SERIES", "17"),
        ("DRIFTLINE_TELEMETRY__PROMETHEUS", "false"),
        ("DRIFTLINE_LIMITS__WORKERS", "3"),
        ("DRIFTLINE_MODELS__0__WINDOWS", "[{size: 2h}]"),
        ("DRIFTLINE_MODELS__0__TASK", ""),
        ("DRIFTLINE_CONFIG", "elsewhere"),
    ];
    let config = config(text, &variables, Purpose::Run);
    assert_eq!(config.kafka.group_id, "${literal}");
    assert_eq!(config.kafka.bootstrap_servers, ["a:1", "b:2"]);
    assert_eq!(config.kafka.librdkafka["sasl.password"].expose_secret(), "12345");
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!((config.telemetry.max_series, config.telemetry.prometheus), (17, false));
    assert_eq!(config.limits.workers, Workers::Count(3));
    assert_eq!(&*config.models[0].windows[0].name, "2h");
}

/// A kind of file of its own, as rule files are.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<String>,
}

#[test]
fn files_are_interpolated_without_their_line_breaks() {
    let directory = std::env::temp_dir().join(format!("driftline-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("secret"), "hunter2\n").unwrap();
    std::fs::write(directory.join("large"), "x".repeat(65 * 1024)).unwrap();
    let text = "models: [{name: m}]\nnotify: {smtp: {url: 'smtp://h', from: a@b, password: '${file:secret}'}}\nhttp: {token_file: '${file:large}'}\n";
    std::fs::write(directory.join("driftline.yaml"), text).unwrap();
    let path = directory.join("driftline.yaml");
    let faults = driftline::config::load(&path, &Environment::default(), Purpose::Offline).unwrap_err();
    assert_eq!(
        shown(&faults),
        [format!("{}:3:20: http.token_file: the file large cannot be read: it has more than 65536 bytes", path.display())]
    );
    std::fs::write(directory.join("large"), "short").unwrap();
    let (config, _) = driftline::config::load(&path, &Environment::default(), Purpose::Offline).unwrap();
    assert_eq!(config.notify.smtp.unwrap().password.unwrap().expose_secret(), "hunter2");
    assert_eq!(config.http.token_file.unwrap(), directory.join("short"));

    // Rule files: by glob, each once, in order, with their own faults.
    std::fs::create_dir_all(directory.join("rules")).unwrap();
    std::fs::write(directory.join("rules/b.yaml"), "groups: [b]\n").unwrap();
    std::fs::write(directory.join("rules/a.yaml"), "gruops: []\ngroups: [a]\n").unwrap();
    std::fs::write(directory.join("rules/c.yaml"), b"groups: [a]\nx: \xff\n").unwrap();
    let glob = |name: &str| directory.join(name).display().to_string();
    let files = driftline::config::rule_files::<Rules>(
        &[glob("rules/*.yaml"), glob("rules/b.yaml"), glob("no/*.yaml"), glob("no.yaml")],
        &Environment::default(),
    );
    let names: Vec<&str> = files.files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.yaml", "b.yaml"]);
    assert_eq!(files.files.iter().map(|file| file.reading.value.as_ref().unwrap().groups[0].as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        shown(&files.all_faults()),
        [
            format!("{}: it does not exist", glob("no.yaml")),
            format!("{}: warning: no file has such a name", glob("no/*.yaml")),
            format!("{}:1:1: gruops: unknown key (did you mean \"groups\"?)", glob("rules/a.yaml")),
            format!("{}:2:4: not UTF-8 text", glob("rules/c.yaml")),
        ]
    );
    // Faults that are found later by a JSON pointer have their line and column.
    let fault = files.files[1].reading.positions.fault("/groups/0", "not known");
    assert_eq!(fault.to_string(), format!("{}:1:10: groups[0]: not known", glob("rules/b.yaml")));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    let faults = driftline::config::load(Path::new("/nowhere/driftline.yaml"), &Environment::default(), Purpose::Run).unwrap_err();
    assert_eq!(shown(&faults), ["/nowhere/driftline.yaml: it does not exist"]);
}

#[test]
fn secrets_are_never_printed() {
    let variables = [("SASL", "hunter2"), ("SMTP_PASSWORD", "hunter2"), ("DRIFTLINE_NOTIFY__SMTP__PASSWORD", "hunter2")];
    for name in ["good.yaml", "rich.yaml"] {
        let loading = read(&file(name), &variables, Purpose::Run);
        assert!(!format!("{:?}", loading.positions).contains("hunter2"));
        let printed = format!("{:?}", loading.config.unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("u:p@"), "{printed}");
    }
    assert!(!format!("{:?}", variables.into_iter().collect::<Environment>()).contains("hunter2"));
}

#[test]
fn json_is_read_as_well() {
    let config = config(r#"{"models": [{"name": "m", "windows": [{"size": "1h", "slide": "5m"}]}]}"#, &[], Purpose::Offline);
    assert_eq!(config.models[0].windows[0].slide, Span(300_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// No text, however strange, makes the program panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = read(&text, &[], Purpose::Run);
    }

    /// The same for texts of the pieces that YAML is made of.
    #[test]
    fn any_yaml_is_read_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40)) {
        let _ = read(&pieces.concat(), &[("A", "[1"), ("DRIFTLINE_A__B", "{a: [")], Purpose::Run);
    }

    /// And for a good file of which a part is replaced.
    #[test]
    fn any_damage_is_read_or_refused(at in 0usize..2000, length in 0usize..30, piece in prop::sample::select(PIECES.to_vec())) {
        let mut text = file("rich.yaml");
        let floor = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let from = floor(&text, at);
        let to = floor(&text, from + length);
        text.replace_range(from..to, piece);
        for fault in read(&text, &[("SASL", "hunter2")], Purpose::Run).faults {
            prop_assert!(!fault.to_string().contains("hunter2"));
        }
    }
}

const PIECES: [&str; 40] = [
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    " ",
    "a",
    "models",
    "name",
    ": ",
    ":",
    "- ",
    "-",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&x ",
    "*x",
    "!t ",
    "!!str ",
    "# c",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "<<: ",
    "${env:A}",
    "$$",
    "~",
    "0x1",
    "1e9",
    "\u{feff}",
    "é",
    "\r\n",
    "windows: [{size: 1h}]",
];
