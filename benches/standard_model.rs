//! The model of the standard event, as its users would have it: a baseline built from its first events, and a configuration.
//!
//! Everything lies in one directory, which is removed with it.

#![allow(dead_code)] // Each bench takes what it needs.

use std::path::{Path, PathBuf};

use driftline::app::assemble::{Assembly, assemble};
use driftline::app::baseline_job::build_from_files;
use driftline::baseline::{BuildSpec, SegmentSpec, Task};
use driftline::config::checked::Purpose;
use driftline::config::environment::Environment;

use crate::standard_event::{Shape, StandardStream, TAG};

/// Events the baseline is built from.
pub const BASELINE_EVENTS: usize = 100_000;
/// The seed of the baseline; streams have another one.
const SEED: u64 = 7;

/// Name of the topic.
pub const TOPIC: &str = "standard";

/// A directory with the files of the standard model.
pub struct StandardModel {
    dir: PathBuf,
}

impl StandardModel {
    /// Builds the baseline of so many events in a new directory beside other temporary files.
    pub fn build(name: &str, events: usize) -> StandardModel {
        let dir = std::env::temp_dir().join(format!("driftline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory can be made");
        let table = dir.join("events.ndjson");
        let mut stream = StandardStream::new(SEED, Shape::Compact);
        let mut text = String::new();
        for _ in 0..events {
            stream.write_event(&mut text);
            text.push('\n');
        }
        std::fs::write(&table, text).expect("events can be written");
        let mut spec = BuildSpec::new("standard", Task::Binary);
        spec.positive_class = Some("1".to_owned());
        spec.segments = vec![SegmentSpec { by: vec![format!("tags.{TAG}")], limit: 2, values: None }];
        let baseline = build_from_files(&spec, &[table], &mut |_| ()).expect("the events make a baseline");
        std::fs::write(dir.join("baseline.json"), baseline.to_json().expect("it can be written as JSON"))
            .expect("the baseline can be written");
        StandardModel { dir }
    }

    /// The files an earlier process has made.
    pub fn at(dir: &Path) -> PathBuf {
        dir.join("driftline.yaml")
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the configuration: two windows, one worker, no rule; `more` are further settings of the model.
    pub fn configure(&self, bootstrap_servers: &str, more: &str) -> PathBuf {
        let dir = self.dir.display();
        let config = format!(
            r#"version: 1
kafka:
  bootstrap_servers: ["{bootstrap_servers}"]
  group_id: driftline
  topics: {{ predictions: [{TOPIC}] }}
  start: earliest
models:
  - name: standard
    baseline: {dir}/baseline.json
    task: binary
    positive_class: "1"
    windows: [ {{ name: 1h, size: 1h, slide: 5m }}, {{ name: 1d, size: 24h, slide: 1h }} ]
    lateness: 2m
    min_samples: 500
    {more}
state: {{ path: {dir}/state }}
limits: {{ memory: 512MiB, workers: 1 }}
telemetry: {{ prometheus: true }}
http: {{ listen: "127.0.0.1:0" }}
rules: []
"#
        );
        let path = StandardModel::at(&self.dir);
        std::fs::write(&path, config).expect("the configuration can be written");
        path
    }
}

/// Everything the configuration says.
pub fn assembly(config: &Path) -> Assembly {
    let faults = match assemble(config, &[], &Environment::default(), Purpose::Run) {
        Ok(assembly) => return assembly,
        Err(faults) => faults,
    };
    panic!("{faults:#?}");
}

impl Drop for StandardModel {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
