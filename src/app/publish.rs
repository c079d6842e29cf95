//! Where everything that comes out of the engine goes: console, telemetry, outbox, log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::engine::result::happening_json;
use crate::engine::{Emission, Plan, SourceState};
use crate::event::{Outcome, SourceId, Span, Timestamp, TopicRole};
use crate::http::{DeadLettersView, LedgerView, PartitionView, StatusView, TextTime, TopicView, ViewHandle};
use crate::join::Kept;
use crate::notify::{Order, OutboxHandle};
use crate::rule::message::AlertView;
use crate::rule::{Happening, RuleSet, RuleStatus, State};
use crate::source::SourceInfo;
use crate::source::kafka::LetterCount;
use crate::telemetry::Telemetry;
use crate::telemetry::agent::{PartitionLag, RecordCount};
use crate::telemetry::event_log::AlertEvent;
use crate::telemetry::score;

use super::event::{AppEvent, Listener};
use super::letter::DeadLetters;
use super::said::Said;
use super::shape;

/// The way out for results.
pub struct Publisher {
    /// Read model of the HTTP server.
    pub view: ViewHandle,
    /// Exporters.
    pub telemetry: Arc<Telemetry>,
    /// Deliveries.
    pub outbox: OutboxHandle,
    /// Windows beyond the end of the process.
    pub said: Said,
    /// Whoever watches.
    pub listener: Option<Listener>,
    /// Rejected records that are sent on.
    pub letters: Option<Arc<DeadLetters>>,
    /// Prediction latencies in microseconds by model, since they were last handed on.
    pub latencies: BTreeMap<u16, Histogram<u64>>,
    /// Scores of windows that ended longer than this before the event clock are no longer exported.
    pub score_age: Span,
    /// When this process began.
    pub started_at: Timestamp,
    /// Events received when the status was last made, and when that was.
    pub last_received: (u64, Timestamp),
    /// Predictions that ledgers had refused when the status was last made.
    pub refused: u64,
}

/// What the status shows of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The clock that closes windows.
    pub event_clock: Option<Timestamp>,
    /// Source partitions by number.
    pub sources: &'a BTreeMap<SourceId, SourceState>,
    /// What the ledgers of labels hold.
    pub kept: Kept,
}

impl Publisher {
    /// Sends emissions on their ways. Says whether something was put into the outbox.
    pub fn publish(&mut self, plan: &Plan, emissions: &[Emission]) -> bool {
        let mut staged = false;
        for emission in emissions {
            match emission {
                Emission::Window(closed) => {
                    self.said.note(&closed.summary, &closed.measurements);
                    self.telemetry.update_scores(&closed.measurements);
                    self.telemetry.emit_window(&closed.summary, &closed.measurements);
                    let (model, window) = (&closed.summary.model, &closed.summary.window.name);
                    if closed.is_first {
                        self.telemetry.count_window(model, window);
                    }
                    for (version, pane) in &closed.panes {
                        if let Some(baseline) = plan.model(closed.model).and_then(|model| model.baseline(version)) {
                            self.view.set_histograms(model, version, window, shape::histograms(baseline, pane));
                        }
                    }
                    self.view.push_window(closed.summary.clone(), closed.measurements.clone());
                }
                Emission::Happening { happening, .. } => staged |= self.happened(happening),
            }
            if let Some(listener) = &self.listener {
                listener(&AppEvent::Emission(Box::new(emission.clone())));
            }
        }
        staged
    }

    fn happened(&mut self, happening: &Happening) -> bool {
        let line = happening_json(happening);
        if let Some(mut event) = line.as_deref().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            if let (Some(fields), Some(at)) = (event.as_object_mut(), happening.at()) {
                fields.insert("at".into(), at.rfc3339().into());
            }
            self.view.push_event(event);
        }
        match happening {
            Happening::Transition { alert, from, to, reason, .. } => {
                tracing::info!(alert = %alert.alert, ?from, ?to, episode = alert.episode.as_deref().unwrap_or(""), "{reason}");
                let event = match to {
                    State::Firing if *from != State::Recovering => Some(AlertEvent::Firing),
                    State::Resolved => Some(AlertEvent::Resolved),
                    _ => None,
                };
                if let (Some(event), Some(line)) = (event, &line) {
                    self.telemetry.emit_alert(event, alert.severity.as_deref(), line);
                }
                false
            }
            Happening::Notice(notice) => {
                self.outbox.stage(&Order::Notice(Box::new(notice.clone())));
                true
            }
            Happening::Action(call) => {
                self.outbox.stage(&Order::Action(Box::new(call.clone())));
                true
            }
            Happening::NoticeRefused { receiver, outcome, reason, .. } => {
                self.telemetry.count_notification(receiver, outcome);
                tracing::info!(receiver, outcome, "a notice is not sent: {reason}");
                false
            }
            Happening::ActionRefused { action, outcome, reason, .. } => {
                self.telemetry.count_action(action, outcome);
                tracing::info!(action, outcome, "an action is not called: {reason}");
                false
            }
            Happening::Trouble { alert, message, .. } => {
                tracing::warn!(alert, "rule: {message}");
                false
            }
        }
    }

    /// Shows alerts and rules as they stand.
    pub fn show_alerts(&self, views: Vec<AlertView>, statuses: &[RuleStatus]) {
        self.telemetry.set_alerts(&views);
        self.view.set_alerts(views);
        self.view.set_rules(rule_groups(statuses));
    }

    /// Shows what counts as drift: the models' recipes, and the thresholds of the rules that compare a metric itself.
    pub fn show_thresholds(&self, plan: &Plan, rules: &RuleSet) {
        for model in &plan.models {
            let recipe = score::DriftRecipe {
                metric: model.drift.metric,
                at_least: model.drift.above,
                p_adjusted_below: model.level.is_none().then_some(model.drift.p_adjusted),
                p_value_at_most: model.level.as_ref().map(|level| level.level),
            };
            self.telemetry.set_drift_recipe(&model.name, recipe);
        }
        let thresholds = rules.rules().iter().filter_map(|rule| {
            let metric = rule.metric?;
            let plain = rule.value.as_ref().is_some_and(|value| value.source().trim() == metric.as_str());
            plain.then(|| {
                rule.tiers.iter().filter_map(move |tier| {
                    Some(score::Threshold {
                        model: Some(Arc::clone(&rule.model)),
                        metric,
                        window: rule.window.clone(),
                        severity: Arc::from(tier.severity.as_str()),
                        value: tier.condition.threshold()?,
                    })
                })
            })
        });
        self.telemetry.set_thresholds(thresholds.flatten().collect());
    }

    /// Shows counts, lags and the outbox as they stand.
    pub fn show_status(&mut self, standing: &Standing<'_>, sources: &[SourceInfo], lags: &BTreeMap<SourceId, i64>, now: Timestamp) {
        let mut topics: BTreeMap<&str, TopicView> = BTreeMap::new();
        let mut partitions = Vec::new();
        let mut status = StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: TextTime(self.started_at),
            uptime_seconds: (now - self.started_at).as_seconds(),
            event_time: standing.event_clock.map(TextTime),
            memory_bytes: super::memory::resident_bytes(),
            ..StatusView::default()
        };
        let mut lag_rows = Vec::new();
        let mut records = Vec::new();
        for source in sources {
            let Some(state) = standing.sources.get(&source.id) else { continue };
            let topic = topics.entry(&source.topic).or_default();
            topic.topic.clone_from(&source.topic);
            source.role.as_str().clone_into(&mut topic.role);
            for (outcome, count) in state.counts.all() {
                topic.received += count;
                match outcome {
                    Outcome::Waiting => topic.waiting += count,
                    Outcome::Rejected(reason) => {
                        *topic.outcomes.entry("rejected".into()).or_default() += count;
                        *topic.rejected.entry(reason.as_str().into()).or_default() += count;
                    }
                    outcome => *topic.outcomes.entry(outcome.as_str().into()).or_default() += count,
                }
                if outcome != Outcome::Waiting {
                    let reason = if let Outcome::Rejected(reason) = outcome { Some(reason.as_str()) } else { None };
                    records.push(RecordCount { topic: Arc::from(source.topic.as_str()), outcome: outcome.as_str(), reason, count });
                }
            }
            status.unknown_feature += state.counts.unknown_features;
            status.timestamp_fallback += state.counts.timestamp_fallbacks;
            status.nonstandard_json += state.counts.nonstandard_json;
            status.other_segment += state.counts.other_segments;
            let lag = lags.get(&source.id).copied();
            partitions.push(PartitionView {
                topic: source.topic.clone(),
                partition: source.partition,
                position: source.next.map_or(0, |next| next.0),
                consumer_lag: lag,
                watermark: state.watermark.map(TextTime),
                idle: state.is_idle,
            });
            lag_rows.push(PartitionLag {
                topic: Arc::from(source.topic.as_str()),
                partition: source.partition,
                records: lag.and_then(|lag| u64::try_from(lag).ok()),
                event_time_seconds: state.watermark.filter(|_| source.role != TopicRole::Labels).map(|at| (now - at).as_seconds()),
            });
        }
        for topic in topics.into_values() {
            status.received += topic.received;
            status.waiting += topic.waiting;
            for (outcome, count) in &topic.outcomes {
                *status.outcomes.entry(outcome.clone()).or_default() += count;
            }
            for (reason, count) in &topic.rejected {
                *status.rejected.entry(reason.clone()).or_default() += count;
            }
            status.topics.push(topic);
        }
        status.partitions = partitions;
        let (before, then) = self.last_received;
        let seconds = (now - then).as_seconds();
        if seconds > 0.0 {
            #[allow(clippy::cast_precision_loss)]
            let new = status.received.saturating_sub(before) as f64;
            status.records_per_second = new / seconds;
        }
        self.last_received = (status.received, now);
        if let Some(clock) = standing.event_clock {
            self.telemetry.expire_scores(clock - self.score_age);
        }
        self.telemetry.set_records(merge_records(records));
        self.telemetry.set_lags(lag_rows);
        if let Some(letters) = &self.letters {
            let counts = letters.counts();
            self.telemetry.set_dead_letters(counts.iter().map(|row| (row.outcome, row.reason.as_str(), row.count)).collect());
            status.dead_letters = Some(letters_view(letters, &counts));
        }
        self.show_kept(standing.kept, &mut status);
        let depth = self.outbox.depth() as u64;
        self.telemetry.set_outbox_depth(depth);
        let items =
            self.outbox.view(|outbox| {
                outbox.pending().map(|delivery| serde_json::json!({
                "key": delivery.key, "target": delivery.target.name(), "episode": delivery.payload.episode(), "state": "pending",
                "attempts": delivery.attempts, "next_at": delivery.next_at.rfc3339(), "error": delivery.last_error,
            })).collect::<Vec<_>>()
            });
        self.view.set_outbox(depth, items);
        self.view.set_status(status);
    }

    /// Shows what the ledgers hold. What they refuse is said aloud: performance will miss labels that came.
    fn show_kept(&mut self, kept: Kept, status: &mut StatusView) {
        if kept.refused > self.refused {
            let more = kept.refused - self.refused;
            tracing::warn!(
                predictions = more,
                "a ledger is full: predictions are counted and not kept, and their labels will find nothing"
            );
        }
        self.refused = kept.refused;
        status.ledger = LedgerView { labels: kept.labels, predictions: kept.predictions, refused: kept.refused };
        self.telemetry.set_ledger(kept);
    }

    /// Hands the latencies of predictions on.
    pub fn show_latencies(&mut self, plan: &Plan) {
        for (number, histogram) in std::mem::take(&mut self.latencies) {
            if let Some(model) = plan.model(number) {
                self.telemetry.merge_prediction_latency(&model.name, &histogram);
            }
        }
    }

    /// Notes the latencies of predictions.
    pub fn record_latencies(&mut self, latencies: &[(u16, f64)]) {
        for (model, milliseconds) in latencies {
            let histogram = match self.latencies.entry(*model) {
                Entry::Occupied(known) => known.into_mut(),
                // Three significant digits; it grows with what it holds.
                Entry::Vacant(slot) => match Histogram::new(3) {
                    Ok(histogram) => slot.insert(histogram),
                    Err(_) => continue,
                },
            };
            // Cut to the range of a sane latency: below a microsecond, beyond an hour.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let microseconds = (milliseconds * 1e3).clamp(1.0, 3.6e9) as u64;
            let _ = histogram.record(microseconds);
        }
    }
}

fn letters_view(letters: &DeadLetters, counts: &[LetterCount]) -> DeadLettersView {
    let (topic, on_failure) = letters.settings();
    let now = letters.status();
    let of = |outcome| {
        let rows = counts.iter().filter(|row| row.outcome == outcome);
        rows.map(|row| (row.reason.as_str().to_owned(), row.count)).collect()
    };
    DeadLettersView {
        topic: topic.to_owned(),
        on_failure: on_failure.as_str().to_owned(),
        sent: of("sent"),
        suppressed: of("suppressed"),
        failed: of("failed"),
        waiting: now.open as u64,
        blocked: now.is_blocked,
        error: now.error,
    }
}

/// Rules in their groups as Prometheus shows them; the server fills in the alerts of each. Groups are in the order of the
/// files, and one group name in two files is two groups.
fn rule_groups(statuses: &[RuleStatus]) -> Vec<serde_json::Value> {
    let of_one_group = |left: &RuleStatus, right: &RuleStatus| (&left.file, &left.group) == (&right.file, &right.group);
    let rule = |status: &RuleStatus| {
        serde_json::json!({
            "type": "alerting", "name": status.alert, "model": status.model, "query": status.query, "state": status.state,
            "labels": status.labels, "annotations": status.annotations, "health": status.health,
            "lastError": status.last_error, "lastEvaluation": status.last_evaluation.map(Timestamp::rfc3339),
        })
    };
    let group = |statuses: &[RuleStatus]| {
        let first = statuses.first()?;
        let rules: Vec<_> = statuses.iter().map(rule).collect();
        Some(serde_json::json!({ "name": first.group, "file": first.file, "rules": rules }))
    };
    statuses.chunk_by(of_one_group).filter_map(group).collect()
}

fn merge_records(records: Vec<RecordCount>) -> Vec<RecordCount> {
    let mut merged: BTreeMap<(Arc<str>, &str, Option<&str>), RecordCount> = BTreeMap::new();
    for record in records {
        let key = (Arc::clone(&record.topic), record.outcome, record.reason);
        match merged.get_mut(&key) {
            Some(sum) => sum.count += record.count,
            None => {
                merged.insert(key, record);
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(file: &str, group: &str, alert: &str) -> RuleStatus {
        RuleStatus {
            file: file.into(),
            group: group.into(),
            alert: alert.into(),
            model: "loan".into(),
            state: "firing".into(),
            query: "psi".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            health: "ok".into(),
            last_error: None,
            last_evaluation: Some(Timestamp(0)),
            alerts: Vec::new(),
        }
    }

    #[test]
    fn rules_stand_in_their_groups() {
        let groups = rule_groups(&[status("a", "x", "One"), status("a", "x", "Two"), status("a", "y", "One"), status("b", "y", "One")]);
        let names = |group: &serde_json::Value| {
            let rules = group["rules"].as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap());
            format!("{}/{}: {}", group["file"].as_str().unwrap(), group["name"].as_str().unwrap(), rules.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(groups.iter().map(names).collect::<Vec<_>>(), ["a/x: One Two", "a/y: One", "b/y: One"]);
        assert_eq!(groups[0]["rules"][0]["lastEvaluation"], "1970-01-01T00:00:00.000Z");
        assert!(groups[0]["rules"][0].get("alerts").is_none(), "the server fills them in from the alerts it shows");
    }
}
