//! Who is told of a turn of an episode, and which actions are asked for. Every refusal is said with its reason.

use std::collections::BTreeMap;

use crate::event::Timestamp;

use super::datum::{Bindings, Datum};
use super::happening::Happening;
use super::instance::{Due, Instance, InstanceKey};
use super::judge::Alerts;
use super::machine::State;
use super::message::{ActionCall, Notice, NoticeKind};
use super::set::{Rule, RuleSet};
use super::spec::ReceiverSpec;

/// What a step means for an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing that anybody is told.
    None,
    /// It begins.
    Opened,
    /// Its severity has risen.
    Risen,
    /// It is over.
    Ended,
}

/// The circumstances of an announcement.
pub(super) struct Moment<'a> {
    pub(super) at: Timestamp,
    pub(super) turn: Turn,
    /// Whether there was a verdict. Without one nothing is told and nothing is asked for.
    pub(super) given: bool,
    /// Whether an aggregate alert speaks for this instance.
    pub(super) limited: bool,
    pub(super) bindings: &'a Bindings,
}

impl Alerts {
    /// Tells of a turn, and asks for the actions that are due.
    pub(super) fn announce(
        &mut self,
        rules: &RuleSet,
        rule: &Rule,
        key: &InstanceKey,
        instance: &mut Instance,
        moment: &Moment<'_>,
        out: &mut Vec<Happening>,
    ) {
        match moment.turn {
            Turn::Ended => {
                tell_end(rules, Some(rule), key, instance, moment.at, out);
                return;
            }
            Turn::Opened => {
                let due = rule.on_firing.iter().zip(0..).map(|(entry, index)| Due {
                    index,
                    action: entry.action.clone(),
                    at: moment.at + entry.after,
                });
                if let Some(episode) = &mut instance.episode {
                    episode.due = due.collect();
                }
            }
            Turn::Risen | Turn::None => {}
        }
        if !moment.given || instance.machine.state != State::Firing {
            return;
        }
        tell_firing(rules, rule, key, instance, moment, out);
        self.ask(rules, rule, key, instance, moment, out);
    }

    /// Asks for the actions that are due, each once an episode; a refusal is final.
    fn ask(
        &mut self,
        rules: &RuleSet,
        rule: &Rule,
        key: &InstanceKey,
        instance: &mut Instance,
        moment: &Moment<'_>,
        out: &mut Vec<Happening>,
    ) {
        let Some(episode) = &mut instance.episode else { return };
        let (due, later): (Vec<Due>, Vec<Due>) = std::mem::take(&mut episode.due).into_iter().partition(|due| due.at <= moment.at);
        episode.due = later;
        let id = episode.id.clone();
        for due in due {
            let refused = |outcome: &str, reason: String| Happening::ActionRefused {
                action: due.action.clone(),
                episode: id.clone(),
                outcome: outcome.to_owned(),
                reason,
                at: moment.at,
            };
            let entry = rule.on_firing.get(due.index as usize).filter(|entry| entry.action == due.action);
            let (Some(entry), Some(action)) = (entry, rules.actions().get(&due.action)) else {
                out.push(refused("unknown", "the rule files no longer say so".into()));
                continue;
            };
            if moment.limited {
                out.push(refused("limit", "the aggregate alert of the rule asks for all its instances".into()));
                continue;
            }
            // Windows of performance are judged long after their ends: a budget is spent when the model's clock says so.
            let clock = self.clocks.get(&*key.model).copied().unwrap_or(moment.at).max(moment.at);
            let requests = self.requests.entry((key.model.to_string(), due.action.clone())).or_default();
            action.budget.prune(requests, clock);
            if let Err(reason) = action.budget.admits(requests, clock) {
                out.push(refused("budget", reason));
                continue;
            }
            if action.budget.max.is_some() || action.budget.min_gap.is_some() {
                requests.push(clock);
            }
            let mut troubles = Vec::new();
            let mut seen = context(moment.bindings, instance, key, rule);
            let arguments: BTreeMap<String, Datum> = entry
                .arguments
                .iter()
                .map(|(name, body)| (name.clone(), Datum::from_json(&body.render(&seen, &mut |message| troubles.push(message)))))
                .collect();
            seen.set("with", Datum::Map(arguments));
            let body =
                action.body.as_ref().map_or(serde_json::Value::Null, |body| body.render(&seen, &mut |message| troubles.push(message)));
            for message in troubles {
                let message = format!("action {}: {message}", due.action);
                out.push(Happening::Trouble { alert: key.alert.to_string(), labels: key.labels(), message });
            }
            out.push(Happening::Action(ActionCall {
                action: due.action.clone(),
                episode: id.clone(),
                at: moment.at,
                method: action.method.clone(),
                url: action.url.clone(),
                body,
                alert: instance.view(key, Some(rule)),
            }));
        }
    }
}

/// Tells of a firing alert what has not been told yet. A receiver that hears of the episode for the first time hears that it
/// is firing; one that has heard of it hears that it has escalated.
fn tell_firing(rules: &RuleSet, rule: &Rule, key: &InstanceKey, instance: &mut Instance, moment: &Moment<'_>, out: &mut Vec<Happening>) {
    let turned = matches!(moment.turn, Turn::Opened | Turn::Risen);
    let view = instance.view(key, Some(rule));
    let severity = instance.machine.severity;
    let Some(episode) = &mut instance.episode else { return };
    if episode.announced && !turned {
        return;
    }
    let refusal = if moment.limited {
        Some(("limit", "an aggregate alert speaks for all instances of the rule".to_owned()))
    } else {
        match instance.quiet_until {
            Some(until) if moment.at < until && severity <= instance.told_severity => {
                Some(("cooldown", format!("the alert was over a short while ago; nobody is told before {until}")))
            }
            _ => None,
        }
    };
    if refusal.is_some() && !turned {
        return;
    }
    for name in rules.receivers_of(&view.labels) {
        if !rules.receivers().get(name).is_some_and(ReceiverSpec::takes_notices) {
            continue;
        }
        let kind = if episode.told.contains_key(name) { NoticeKind::Escalated } else { NoticeKind::Firing };
        if let Some((outcome, reason)) = &refusal {
            out.push(Happening::NoticeRefused {
                receiver: name.to_owned(),
                kind,
                episode: episode.id.clone(),
                outcome: (*outcome).to_owned(),
                reason: reason.clone(),
                at: moment.at,
            });
            continue;
        }
        let next = episode.told.entry(name.to_owned()).or_default();
        let notice =
            Notice { receiver: name.to_owned(), kind, episode: episode.id.clone(), sequence: *next, at: moment.at, alert: view.clone() };
        *next = next.saturating_add(1);
        out.push(Happening::Notice(notice));
    }
    if refusal.is_none() {
        episode.announced = true;
        instance.told_severity = severity;
    }
}

/// Tells of the end those who were told of the episode and want to hear of it, and drops what was still to be asked for.
pub(super) fn tell_end(
    rules: &RuleSet,
    rule: Option<&Rule>,
    key: &InstanceKey,
    instance: &mut Instance,
    at: Timestamp,
    out: &mut Vec<Happening>,
) {
    let view = instance.view(key, rule);
    let severity = instance.machine.severity;
    let Some(episode) = &mut instance.episode else { return };
    for (name, next) in &mut episode.told {
        if rules.receivers().get(name).is_some_and(ReceiverSpec::wants_resolved) {
            out.push(Happening::Notice(Notice {
                receiver: name.clone(),
                kind: NoticeKind::Resolved,
                episode: episode.id.clone(),
                sequence: *next,
                at,
                alert: view.clone(),
            }));
            *next = next.saturating_add(1);
        }
    }
    for due in std::mem::take(&mut episode.due) {
        out.push(Happening::ActionRefused {
            action: due.action,
            episode: episode.id.clone(),
            outcome: "resolved".into(),
            reason: format!("the alert was over before {}", due.at),
            at,
        });
    }
    if episode.announced
        && let Some(rule) = rule
    {
        instance.quiet_until = (rule.cooldown.0 > 0).then(|| at + rule.cooldown);
        instance.told_severity = severity;
    }
}

/// What templates see: what expressions saw, and the instance.
pub(super) fn context(bindings: &Bindings, instance: &Instance, key: &InstanceKey, rule: &Rule) -> Bindings {
    let mut seen = bindings.clone();
    let view = instance.view(key, Some(rule));
    seen.set("explanation", Datum::explanation(view.explanation.as_deref()));
    seen.set("labels", Datum::texts(&view.labels));
    seen.set("annotations", Datum::texts(&view.annotations));
    seen.set("alert", Datum::text(view.alert));
    seen.set("group", Datum::text(view.group));
    seen.set("model", Datum::text(&*key.model));
    seen.set("version", Datum::text(&*key.version));
    seen.set("state", Datum::text(view.state));
    seen.set("reason", Datum::text(view.reason));
    seen.set("severity", view.severity.map_or(Datum::Null, Datum::Text));
    seen.set("threshold", view.threshold.map_or(Datum::Null, Datum::number));
    seen.set("value", view.value.map_or(Datum::Null, Datum::number));
    let time = |time: Option<Timestamp>| time.map_or(Datum::Null, |time| Datum::text(time.rfc3339()));
    seen.set(
        "episode",
        Datum::Map(BTreeMap::from([
            ("id".to_owned(), view.episode.map_or(Datum::Null, Datum::Text)),
            ("starts_at".to_owned(), time(view.starts_at)),
            ("ends_at".to_owned(), time(view.ends_at)),
        ])),
    );
    seen
}
