//! What the tests of whole replays share: a directory of their own, baselines built as the command builds them, plans
//! assembled from files, and results read back.

#![allow(dead_code)] // Each test takes what it needs.

use std::fs;
use std::path::{Path, PathBuf};

use driftline::app::assemble::{Assembly, assemble};
use driftline::app::baseline_job::build_from_files;
use driftline::app::baseline_spec::build_spec;
use driftline::app::replay::{Input, Replayed, replay};
use driftline::config::Purpose;
use driftline::config::environment::Environment;
use driftline::config::load::load;
use driftline::event::TopicRole;

/// A directory of one test's own, empty.
pub fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A file of the repository.
pub fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Writes a file and gives its path.
pub fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Builds the baseline of a configured model as `baseline build` does.
pub fn build_baseline(config: &Path, model: &str, input: &Path, output: &Path) {
    let (config, _) = load(config, &Environment::default(), Purpose::Offline).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let model = config.models.iter().find(|known| *known.name == *model).unwrap();
    let baseline = build_from_files(&build_spec(model).unwrap(), &[input.to_owned()], &mut |_| {}).unwrap();
    fs::write(output, baseline.to_json().unwrap()).unwrap();
}

/// Reads configuration, baselines and rules as every command does.
pub fn assembled(config: &Path) -> Assembly {
    assemble(config, &[], &Environment::default(), Purpose::Offline).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// What a topic carries, by its name.
pub fn role(topic: &str) -> Option<TopicRole> {
    match topic {
        "predictions" => Some(TopicRole::Predictions),
        "features" => Some(TopicRole::Features),
        "labels" => Some(TopicRole::Labels),
        _ => None,
    }
}

/// Replays events, and labels where there are any.
pub fn replayed(assembly: &Assembly, events: &[u8], labels: Option<&[u8]>, workers: usize) -> Replayed {
    let mut inputs = vec![Input { bytes: events, role: TopicRole::Predictions }];
    inputs.extend(labels.map(|bytes| Input { bytes, role: TopicRole::Labels }));
    replay(&assembly.plan, &assembly.rules, &inputs, &role, workers)
}

/// The bytes that `replay --output` writes.
pub fn text(replayed: &Replayed) -> String {
    replayed.lines.iter().fold(String::new(), |text, line| text + &line.json + "\n")
}
