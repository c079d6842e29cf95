//! The running account of the demo: what happens, when it first happens, in plain words.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::app::event::AppEvent;
use crate::engine::{Closed, Emission};
use crate::event::{Measurement, Metric, Status, Subject};
use crate::rule::{Happening, State};

use super::hook_sink::Hook;
use super::smtp_sink::Mail;

/// PSI from which on the account speaks of drift, as practice has it.
const DRIFT: f64 = 0.1;

/// Prints what happens and remembers it for the summary.
#[derive(Debug)]
pub struct Account {
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    windows: u64,
    predictions: u64,
    last_start: Option<crate::event::Timestamp>,
    drifted: BTreeSet<String>,
    fired: BTreeMap<String, u64>,
    resolved: u64,
    mails: u64,
    hooks: u64,
    retrainings: u64,
    accuracy: Vec<f64>,
    told_fall: bool,
    told_first: bool,
    first_alert_seconds: Option<f64>,
    checkpoints: u64,
}

impl Account {
    /// An account that begins now.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // People are told seconds since the start; nothing else depends on them.
    pub fn begin() -> Account {
        Account { began: Instant::now(), seen: Mutex::default() }
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Prints one line.
    pub fn say(&self, what: &str) {
        let _ = writeln!(std::io::stdout(), "[{:6.1}s] {what}", self.seconds());
    }

    /// Looks at what the agent does.
    pub fn event(&self, event: &AppEvent) {
        match event {
            AppEvent::Listening(address) => self.say(&format!("console       http://{address}")),
            AppEvent::Assigned(partitions) => self.say(&format!("kafka         {partitions} partitions assigned, reading")),
            AppEvent::Emission(emission) => match &**emission {
                Emission::Window(closed) => self.window(closed),
                Emission::Happening { happening, .. } => self.happening(happening),
            },
            AppEvent::Checkpoint(_) => self.seen().checkpoints += 1,
            AppEvent::Delivery(report) => {
                if let Some(error) = &report.error {
                    self.say(&format!("delivery      {}: {error}", report.target.name()));
                }
            }
        }
    }

    /// A mail has arrived.
    pub fn mail(&self, mail: &Mail) {
        self.seen().mails += 1;
        let subject = mail.header("Subject").unwrap_or_default();
        self.say(&format!("mail received {} to {}", subject, mail.to.join(", ")));
    }

    /// A request has arrived.
    pub fn hook(&self, hook: &Hook) {
        let signature = match &hook.signature {
            Some(Ok(())) => "signature verified",
            Some(Err(_)) => "SIGNATURE WRONG",
            None => "not signed",
        };
        let body = hook.json();
        if hook.path.ends_with("/retrain") {
            self.seen().retrainings += 1;
            self.say(&format!("retraining    requested for {} because of {} ({signature})", body["model"], body["reason"]));
        } else {
            self.seen().hooks += 1;
            let alert = &body["data"]["alert"];
            self.say(&format!("webhook       {} {} ({signature})", body["type"].as_str().unwrap_or(""), alert.as_str().unwrap_or("")));
        }
    }

    fn window(&self, closed: &Closed) {
        if closed.is_first {
            self.first_look(closed);
        }
        let accuracy = closed.measurements.iter().find(|m| m.metric == Metric::Accuracy && m.segment.is_overall());
        let judged = closed.looks.iter().any(|look| matches!(look, crate::engine::labels::Look::Coverage(_)));
        if judged && let Some(Measurement { value: Some(accuracy), status: Status::Ok, .. }) = accuracy {
            self.performance(*accuracy, closed);
        }
    }

    fn first_look(&self, closed: &Closed) {
        let features = closed.measurements.iter().filter(|m| m.metric == Metric::Psi && matches!(m.subject, Subject::Feature(_)));
        let mut worst: Vec<(&Measurement, f64)> = features.filter_map(|m| Some((m, m.value?))).collect();
        worst.sort_by(|left, right| right.1.total_cmp(&left.1));
        let day = day(closed);
        let first = {
            let mut seen = self.seen();
            seen.windows += 1;
            if seen.last_start.is_none_or(|last| closed.summary.window.start >= last) {
                seen.last_start = Some(closed.summary.window.end);
                seen.predictions += closed.summary.n;
            }
            let enough = worst.iter().any(|(measurement, _)| measurement.status == Status::Ok);
            enough && !std::mem::replace(&mut seen.told_first, true)
        };
        if first && let Some((measurement, psi)) = worst.first() {
            let n = closed.summary.n;
            self.say(&format!("first window  {day}: {n} predictions, highest PSI {psi:.3} ({})", name(measurement)));
        }
        for (measurement, psi) in worst {
            let sure = measurement.p_adjusted.is_some_and(|p| p < 0.01);
            if measurement.status == Status::Ok && psi >= DRIFT && sure && self.seen().drifted.insert(name(measurement)) {
                let p = measurement.p_adjusted.unwrap_or(1.0);
                self.say(&format!("drift         {day}: {} has PSI {psi:.2} (n={}, adjusted p {p:.1e})", name(measurement), measurement.n));
            }
        }
    }

    fn performance(&self, accuracy: f64, closed: &Closed) {
        let mut seen = self.seen();
        seen.accuracy.push(accuracy);
        let before = seen.accuracy.first().copied().unwrap_or(accuracy);
        let is_first = seen.accuracy.len() == 1;
        let coverage = closed.summary.label_coverage() * 100.0;
        let falls = accuracy < before - 0.02 && !seen.told_fall;
        seen.told_fall |= falls;
        drop(seen);
        if is_first {
            self.say(&format!("labels        {}: {coverage:.0} % have come, accuracy {accuracy:.3}", day(closed)));
        } else if falls {
            self.say(&format!("performance   {}: accuracy has fallen to {accuracy:.3}, with {coverage:.0} % of the labels", day(closed)));
        }
    }

    fn happening(&self, happening: &Happening) {
        let Happening::Transition { alert, from, to, reason, .. } = happening else { return };
        let feature = alert.labels.get("feature").map(|feature| format!(" {feature}")).unwrap_or_default();
        match to {
            State::Firing if *from != State::Recovering => {
                let seconds = self.seconds();
                let mut seen = self.seen();
                if *from != State::Firing {
                    *seen.fired.entry(alert.alert.clone()).or_default() += 1;
                }
                seen.first_alert_seconds.get_or_insert(seconds);
                drop(seen);
                self.say(&format!("ALERT         {}{feature}: {reason}", alert.alert));
            }
            State::Resolved => {
                self.seen().resolved += 1;
                self.say(&format!("resolved      {}{feature}: {reason}", alert.alert));
            }
            _ => {}
        }
    }

    /// What has happened, at the end.
    pub fn summary(&self, sent: u64, directory: &std::path::Path) {
        let seen = self.seen();
        let fired: Vec<String> = seen.fired.iter().map(|(alert, times)| format!("{alert} x{times}")).collect();
        let mut lines = vec![
            String::new(),
            format!("{sent} events streamed through Kafka, {} windows closed, {} checkpoints written", seen.windows, seen.checkpoints),
            format!("drifting features: {}", listed(&seen.drifted.iter().cloned().collect::<Vec<_>>())),
            format!("alerts fired: {}; resolved: {}", listed(&fired), seen.resolved),
            format!("received: {} mails, {} signed webhooks, {} retraining requests", seen.mails, seen.hooks, seen.retrainings),
        ];
        if let Some(seconds) = seen.first_alert_seconds {
            lines.push(format!("first alert after {seconds:.0} seconds"));
        }
        if let (Some(first), Some(least)) = (seen.accuracy.first(), seen.accuracy.iter().copied().reduce(f64::min)) {
            lines.push(format!("accuracy: {first:.3} in the first week with labels, {least:.3} in the worst"));
        }
        lines.push(format!("configuration, rules, baseline and state of this run: {}", directory.display()));
        let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn name(measurement: &Measurement) -> String {
    match &measurement.subject {
        Subject::Feature(name) => name.to_string(),
        other => other.to_string(),
    }
}

/// The last day of a window, which is the day that was new in it.
fn day(closed: &Closed) -> String {
    let end = closed.summary.window.end.rfc3339();
    format!("week to {}", end.get(..10).unwrap_or(&end))
}
