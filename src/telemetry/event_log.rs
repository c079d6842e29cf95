//! Log events through OpenTelemetry: the full detail of every window, and alerts that fire and resolve.
//!
//! Here the number of series does not matter, so everything is said that the budget of the metrics leaves out.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLogger, SdkLoggerProvider};

use crate::event::result_line::Line;
use crate::event::{Explanation, Measurement, WindowSummary};

/// Most bytes of the body of one record: what collectors and log stores take without cutting it. A window that has more to
/// say is several records with the attributes `part` and `parts`.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Records that may wait to be sent, so at most 32 MiB while the receiver is away; what comes beyond is dropped.
const MAX_QUEUE: usize = 512;
/// Records of one request, so at most 4 MiB.
const MAX_BATCH: usize = 64;

/// What an alert has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertEvent {
    /// It fires, or fires at a higher severity.
    Firing,
    /// It is over.
    Resolved,
}

impl AlertEvent {
    /// The event's name.
    pub fn name(self) -> &'static str {
        match self {
            AlertEvent::Firing => "driftline.alert.firing",
            AlertEvent::Resolved => "driftline.alert.resolved",
        }
    }
}

/// The way to the receiver of log events, if there is one.
#[derive(Clone, Debug)]
pub struct EventLog(Option<Arc<Sender>>);

#[derive(Debug)]
struct Sender {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
}

impl EventLog {
    /// Emits nothing.
    pub fn off() -> Self {
        EventLog(None)
    }

    /// Emits through this exporter, in batches and on a thread of its own.
    pub fn to(exporter: LogExporter, resource: Resource) -> Self {
        let config = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUE).with_max_export_batch_size(MAX_BATCH).build();
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(processor).build();
        let logger = provider.logger("driftline");
        EventLog(Some(Arc::new(Sender { provider, logger })))
    }

    /// `drift.window.closed`: the body is the window's lines of the results. `drift.window.explained`: why subjects of it drift, a line
    /// each. The records have no time of their own, only that of their making: log stores drop what lies far back, and a window may.
    pub fn window_closed(&self, summary: &WindowSummary, measurements: &[Measurement], explanations: &[Explanation]) {
        let mut lines = vec![Line::Window(summary)];
        lines.extend(measurements.iter().map(Line::Measurement));
        self.window("drift.window.closed", summary, lines);
        self.window("drift.window.explained", summary, explanations.iter().map(Line::Explanation).collect());
    }

    fn window(&self, event: &'static str, summary: &WindowSummary, mut lines: Vec<Line<'_>>) {
        let Some(sender) = &self.0 else { return };
        lines.sort_by_cached_key(Line::order);
        let bodies = bodies(lines.iter().map(Line::text), MAX_BODY_BYTES);
        let parts = bodies.len();
        for (part, body) in bodies.into_iter().enumerate() {
            let mut record = sender.logger.create_log_record();
            record.set_event_name(event);
            record.set_severity_number(Severity::Info);
            record.set_severity_text("INFO");
            record.add_attributes([
                ("model", AnyValue::from(summary.model.to_string())),
                ("window.name", summary.window.name.to_string().into()),
                ("window.start", summary.window.start.rfc3339().into()),
                ("window.end", summary.window.end.rfc3339().into()),
                ("n", integer(summary.n)),
                ("complete", summary.complete.into()),
                ("revision", i64::from(summary.revision).into()),
                ("part", integer(part as u64 + 1)),
                ("parts", integer(parts as u64)),
            ]);
            record.set_body(body.into());
            sender.logger.emit(record);
        }
    }

    /// `driftline.alert.firing` or `driftline.alert.resolved`: the body is the alert's line of the results.
    pub fn alert(&self, event: AlertEvent, severity: Option<&str>, line: &str) {
        let Some(sender) = &self.0 else { return };
        let mut record = sender.logger.create_log_record();
        record.set_event_name(event.name());
        let (number, text) = match (event, severity) {
            (AlertEvent::Resolved, _) => (Severity::Info, "INFO"),
            (AlertEvent::Firing, Some("critical")) => (Severity::Error, "ERROR"),
            (AlertEvent::Firing, _) => (Severity::Warn, "WARN"),
        };
        record.set_severity_number(number);
        record.set_severity_text(text);
        if let Some(severity) = severity {
            record.add_attribute("severity", severity.to_owned());
        }
        record.set_body(line.to_owned().into());
        sender.logger.emit(record);
    }

    /// Sends what waits. Blocks.
    pub fn flush(&self) -> bool {
        self.0.as_ref().is_none_or(|sender| sender.provider.force_flush().is_ok())
    }

    /// Sends what waits and ends. Blocks at most about `deadline`.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.0.as_ref().is_none_or(|sender| sender.provider.shutdown_with_timeout(deadline).is_ok())
    }
}

fn integer(value: u64) -> AnyValue {
    AnyValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Packs lines into bodies of at most `limit` bytes, in order; a line is never cut.
fn bodies(lines: impl Iterator<Item = String>, limit: usize) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    for line in lines {
        match bodies.last_mut() {
            Some(body) if body.len() + 1 + line.len() <= limit => {
                body.push('\n');
                body.push_str(&line);
            }
            _ => bodies.push(line),
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_packed_in_order_and_never_cut() {
        let lines = ["aaa", "bbb", "cccccccccc", "d"].map(String::from);
        assert_eq!(bodies(lines.into_iter(), 7), ["aaa\nbbb", "cccccccccc", "d"]);
    }
}
