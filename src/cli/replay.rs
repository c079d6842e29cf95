//! `driftline replay`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::app::assemble::{Assembly, assemble};
use crate::app::replay::{Input, Replayed, replay};
use crate::config::checked::{Purpose, Workers};
use crate::engine::result::EXPLANATION;
use crate::event::TopicRole;
use crate::source::file;

use super::{FAILED, Files, environment, report};

/// Compute the results for recorded events.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    files: Files,
    /// Events, one JSON object a line; `.gz` and `.zst` are unpacked.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Labels, in the same form.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Where results go; `-` is stdout.
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Adds a line of type `explanation` for each subject that drifts: what moved, which way, where and since when.
    #[arg(long)]
    explanations: bool,
}

impl Replay {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let assembly = match assemble(&self.files.config, &self.files.rules, &environment(), Purpose::Offline) {
            Ok(assembly) => assembly,
            Err(faults) => {
                report::faults(&faults);
                return ExitCode::from(FAILED);
            }
        };
        report::faults(&assembly.warnings);
        match self.replay(&assembly) {
            Ok(replayed) => {
                summarise(&replayed);
                ExitCode::SUCCESS
            }
            Err((path, error)) => {
                report::note(&format!("error: {}: {error}", path.display()));
                ExitCode::from(FAILED)
            }
        }
    }

    fn replay(&self, assembly: &Assembly) -> Result<Replayed, (PathBuf, std::io::Error)> {
        let read = |path: &Path| file::read(path).map_err(|error| (path.to_owned(), error));
        let events = read(&self.input)?;
        let labels = self.labels.as_deref().map(read).transpose()?;
        let mut inputs = vec![Input { bytes: &events, role: TopicRole::Predictions }];
        inputs.extend(labels.as_deref().map(|bytes| Input { bytes, role: TopicRole::Labels }));
        let kafka = &assembly.config.kafka;
        let roles: BTreeMap<&str, TopicRole> =
            [(&kafka.predictions, TopicRole::Predictions), (&kafka.features, TopicRole::Features), (&kafka.labels, TopicRole::Labels)]
                .into_iter()
                .flat_map(|(topics, role)| topics.iter().map(move |topic| (topic.as_str(), role)))
                .collect();
        let workers = match assembly.config.limits.workers {
            Workers::Auto => 1,
            Workers::Count(count) => count,
        };
        let mut replayed = replay(&assembly.plan, &assembly.rules, &inputs, &|topic| roles.get(topic).copied(), workers);
        if !self.explanations {
            replayed.lines.retain(|line| line.key.kind() != EXPLANATION);
        }
        self.write(&replayed).map_err(|error| (self.output.clone(), error))?;
        Ok(replayed)
    }

    fn write(&self, replayed: &Replayed) -> std::io::Result<()> {
        let mut out: Box<dyn Write> = if self.output.as_os_str() == "-" {
            Box::new(BufWriter::new(std::io::stdout().lock()))
        } else {
            Box::new(BufWriter::new(File::create(&self.output)?))
        };
        let mut write = || {
            for line in &replayed.lines {
                out.write_all(line.json.as_bytes())?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        match write() {
            // A reader that has gone away (`| head`) has what it wants.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// What came of the records, to stderr.
fn summarise(replayed: &Replayed) {
    for (topic, counts) in &replayed.counts {
        let mut parts = vec![format!("{topic}: {} received", counts.received())];
        parts.extend(counts.all().map(|(outcome, count)| match outcome {
            crate::event::Outcome::Rejected(reason) => format!("{count} rejected ({})", reason.as_str()),
            outcome => format!("{count} {}", outcome.as_str()),
        }));
        for (count, what) in [
            (counts.unknown_features, "unknown features"),
            (counts.nonstandard_json, "non-standard numbers"),
            (counts.timestamp_fallbacks, "times taken from the record"),
            (counts.other_segments, "in other segments"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        report::note(&parts.join(", "));
    }
    report::note(&format!("{} result lines", replayed.lines.len()));
}
