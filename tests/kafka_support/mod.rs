//! What the tests of the running agent share: a Kafka cluster in this process, agents that are observed, streams of
//! events, and waiting with a limit.
//!
//! Nothing here asserts how long anything takes; the limit only makes a test that hangs fail and say what it saw.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods)] // what runs is waited for in real time

pub mod agent;
pub mod cluster;
pub mod hook;
pub mod stream;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use driftline::app::baseline_job::build_from_files;
use driftline::baseline::Task;
use driftline::baseline::build::BuildSpec;
use serde_json::Value;

/// Long for any machine: two cores may be shared with a compiler.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A directory of a test's own, kept when the test fails.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("driftline-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Waits until there is an answer; when there is none, fails with what was `seen`.
pub fn wait_for<T>(what: &str, seen: impl Fn() -> String, mut answer: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        if Instant::now() > until {
            let seen = seen();
            let tail: String =
                log().lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().map(|line| format!("  {line}\n")).collect();
            panic!("waited in vain: {what}\n{seen}\nlog:\n{tail}");
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// The baseline of the model `loan` of every test, built once from a table of [`stream::reference`] rows.
pub fn baseline() -> &'static str {
    static BASELINE: OnceLock<String> = OnceLock::new();
    BASELINE.get_or_init(|| baseline_of("loan"))
}

/// The same of another model.
pub fn baseline_of(model: &str) -> String {
    let scratch = Scratch::new(&format!("reference-{model}"));
    let table = scratch.write("reference.csv", &stream::reference());
    let mut spec = BuildSpec::new(model, Task::Binary);
    spec.positive_class = Some("repaid".into());
    build_from_files(&spec, &[table], &mut |_| {}).unwrap().to_json().unwrap()
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Collects what the agents of this process log.
pub fn collect_log() {
    static START: Once = Once::new();
    START.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("warn,driftline=info");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Lines).init();
    });
}

/// What was logged so far, by all agents of this process.
pub fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

/// Of window and measurement lines the ones with the greatest revision, in their order, and the explanations behind them.
pub fn latest<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut places: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let mut kept: Vec<Option<String>> = Vec::new();
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap();
        if !["window", "measurement", "explanation"].iter().any(|kind| value["type"] == *kind) {
            continue;
        }
        let part = |name: &str| value[name].to_string();
        let key = ["type", "model", "version", "segment", "window", "subject", "metric"].map(part).join(" ");
        let revision = value["revision"].as_u64().unwrap();
        match places.get(&key).copied() {
            Some((before, _)) if before > revision => continue,
            Some((before, place)) => {
                assert!(before < revision, "said twice: {line}");
                kept[place] = None;
            }
            None => {}
        }
        places.insert(key, (revision, kept.len()));
        kept.push(Some(line.to_owned()));
    }
    let (explained, mut said): (Vec<String>, Vec<String>) =
        kept.into_iter().flatten().partition(|line| line.starts_with("{\"type\":\"explanation\""));
    said.extend(explained);
    said
}

/// The lines of windows that end at or before an instant.
pub fn until(lines: Vec<String>, last_end: i64) -> Vec<String> {
    let end = driftline::event::Timestamp(last_end).rfc3339();
    let ends = |line: &String| {
        let value: Value = serde_json::from_str(line).unwrap();
        // All texts of times have the same length.
        value["window"]["end"].as_str().unwrap() <= end.as_str()
    };
    lines.into_iter().filter(ends).collect()
}

/// Fails with the first line that differs.
pub fn assert_same(left: &[String], right: &[String], what: &str) {
    for (place, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left, right, "{what}: line {place}");
    }
    assert_eq!(left.len(), right.len(), "{what}: number of lines");
}
