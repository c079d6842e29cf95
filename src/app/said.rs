//! The windows that have been said, kept beyond the end of the process.
//!
//! A window is written down before the checkpoint that knows it as closed: after a crash it is either closed once more, with
//! the same result, or still known here. The console then shows it as before, and what may not have left by telemetry when the
//! process ended is sent once more. Whoever collects windows takes those of the same name, end and revision for one.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::Plan;
use crate::event::{Explanation, Measurement, Span, Subject, Timestamp, WindowSummary};
use crate::http::ViewHandle;
use crate::store::{Journal, StoreError};
use crate::telemetry::Telemetry;

/// Bytes of one of the two files: a window of 50 features takes some 40 kB.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// Windows said so long before the last one may still have waited to be exported: several times the delay of a batch.
const EXPORT_PATIENCE: Span = Span(30_000);

/// A window as it was said.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// When, by the wall clock.
    at: Timestamp,
    summary: WindowSummary,
    measurements: Vec<Measurement>,
    explanations: Vec<Explanation>,
}

/// What has been said.
#[derive(Debug)]
pub struct Said {
    /// None where nothing may be written.
    journal: Option<Journal>,
    now: fn() -> Timestamp,
}

impl Said {
    /// Opens what was said by the processes before, and shows it where it belongs to models of the plan. Where nothing may be
    /// written, windows are said and not known to the next process.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(
        directory: &Path,
        plan: &Arc<Plan>,
        view: &ViewHandle,
        telemetry: &Telemetry,
        now: fn() -> Timestamp,
    ) -> Result<Said, StoreError> {
        let (journal, entries) = match Journal::open(directory, MAX_BYTES) {
            Ok((journal, entries)) => (Some(journal), entries),
            Err(error) if error.is_read_only() => {
                tracing::warn!(%error, "windows that were said will not be known after the process has ended");
                (None, Vec::new())
            }
            Err(error) => return Err(error),
        };
        // What cannot be read is of another version, and nothing is computed from it.
        let entries: Vec<Entry> = entries.iter().filter_map(|entry| postcard::from_bytes(entry).ok()).collect();
        let last = entries.last().map(|entry| entry.at);
        for Entry { at, summary, measurements, explanations } in entries {
            if !plan.by_name.contains_key(&summary.model) {
                continue;
            }
            if last.is_some_and(|last| at + EXPORT_PATIENCE >= last) {
                telemetry.emit_window(&summary, &measurements, &explanations);
            }
            let is_of_events = is_of_events(&measurements);
            view.push_window(summary.clone(), measurements);
            if is_of_events {
                view.explain_window(&summary, explanations);
            }
        }
        Ok(Said { journal, now })
    }

    /// Writes a window down.
    pub fn note(&mut self, summary: &WindowSummary, measurements: &[Measurement], explanations: &[Explanation]) {
        let Some(journal) = &mut self.journal else { return };
        let (measurements, explanations) = (measurements.to_vec(), explanations.to_vec());
        let entry = Entry { at: (self.now)(), summary: summary.clone(), measurements, explanations };
        let written = postcard::to_stdvec(&entry).map_err(|error| error.to_string());
        let written = written.and_then(|bytes| journal.append(&bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::error!(error, "a window could not be written down; it is said, but will not be known after the process has ended");
        }
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&mut self) {
        if let Some(Err(error)) = self.journal.as_mut().map(Journal::sync) {
            tracing::error!(%error, "what was said is not safely on the disk");
        }
    }
}

/// Whether the events of a window were measured, and not only its labels: then what drifts is said anew.
#[must_use]
pub fn is_of_events(measurements: &[Measurement]) -> bool {
    measurements.iter().any(|measurement| !measurement.metric.needs_labels() && measurement.subject != Subject::Label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WindowRef;
    use crate::telemetry;

    fn summary(model: &str, start: i64) -> WindowSummary {
        WindowSummary {
            model: model.into(),
            window: WindowRef { name: "1h".into(), start: Timestamp(start), end: Timestamp(start + 3_600_000) },
            n: 7,
            late: 0,
            complete: true,
            partitions: (1, 1),
            gaps: Vec::new(),
            labels_matched: 0,
            has_labels: false,
            revision: 0,
        }
    }

    #[test]
    fn windows_are_known_to_the_next_process() {
        let path = std::env::temp_dir().join(format!("driftline-said-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let mut plan = Plan::empty();
        plan.by_name.insert("loan".into(), 0);
        let (plan, telemetry) = (Arc::new(plan), Telemetry::start(&telemetry::Settings::default()).unwrap());
        let mut said = Said::open(&path, &plan, &ViewHandle::new(), &telemetry, || Timestamp(1)).unwrap();
        for (model, start) in [("loan", 0), ("gone", 0), ("loan", 3_600_000), ("loan", 0)] {
            said.note(&summary(model, start), &[], &[]);
        }
        drop(said);
        let view = ViewHandle::new();
        Said::open(&path, &plan, &view, &telemetry, || Timestamp(2)).unwrap();
        let shown = view.read();
        let shown: Vec<_> =
            shown.windows().map(|(model, _, ring)| (model, ring.iter().map(|closed| closed.summary.window.start.0).collect())).collect();
        assert_eq!(shown, [("loan", vec![0, 3_600_000])]);
        std::fs::remove_dir_all(path).unwrap();
    }
}
