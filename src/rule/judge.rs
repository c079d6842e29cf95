//! All alerts of one owner: takes one window at a time, steps every instance that looks at it, and says what happened.
//!
//! The order of calls is the order of judgement. It reads no clock: window rules know only the ends of windows, and rules
//! of absence are told the time. What comes out depends on the calls and the state alone.

mod silence;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Segment, Span, Subject, Timestamp, WindowRef};

use super::announce::{Moment, Turn, context, tell_end};
use super::datum::{Bindings, short};
use super::happening::{Happening, InputKind, WindowInput};
use super::instance::{Episode, Instance, InstanceKey};
use super::machine::{Cause, Change, Outcome, State, Step};
use super::set::{Kind, Rule, RuleSet};
use super::verdict::{self, Measures, Verdict};

/// Most instances that are kept. Above it those that have been inactive for longest are forgotten; 500 features in 100
/// segments are a quarter of it.
pub const MOST_INSTANCES: usize = 200_000;

/// Most windows of one rule, version and segment that wait for labels: 60 days of minutes. Above it the oldest is no longer
/// waited for in order.
pub const MOST_AWAITING: usize = 86_400;

impl Happening {
    /// Event time of what happened; rule trouble has none.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Happening::Transition { at, .. } | Happening::NoticeRefused { at, .. } | Happening::ActionRefused { at, .. } => Some(*at),
            Happening::Notice(notice) => Some(notice.at),
            Happening::Action(call) => Some(call.at),
            Happening::Trouble { .. } => None,
        }
    }
}

/// The states of all instances. Serialisable: it is part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    #[serde(with = "pairs")]
    pub(super) instances: BTreeMap<InstanceKey, Instance>,
    /// Aggregate alerts of rules with a limit, under keys of stars.
    #[serde(with = "pairs")]
    pub(super) aggregates: BTreeMap<InstanceKey, Instance>,
    /// Ends of windows that performance rules have still to look at, by rule, version and segment.
    #[serde(with = "pairs")]
    awaiting: BTreeMap<InstanceKey, BTreeSet<Timestamp>>,
    /// The greatest end of a closed window of each model.
    pub(super) clocks: BTreeMap<String, Timestamp>,
    /// Times of requests within their budgets, by model and action.
    #[serde(with = "pairs")]
    pub(super) requests: BTreeMap<(String, String), Vec<Timestamp>>,
    /// Since when this process has watched a model of which no record has come. Not stored: the silence of a process that
    /// was not there says nothing.
    #[serde(skip)]
    watched: BTreeMap<String, Timestamp>,
    /// For how many whole minutes each model has been silent while somebody listened: after a start its silence goes on from
    /// there. In minutes, so that silence does not make every second another state.
    #[serde(default)]
    silent: BTreeMap<String, i64>,
    /// How much of each model's silence nobody listened to, with its last record. Not stored either.
    #[serde(skip)]
    slept: BTreeMap<String, (Option<Timestamp>, Span)>,
}

/// An instance after its step.
pub(super) struct Stepped {
    key: InstanceKey,
    transition: Option<Happening>,
    turn: Turn,
    given: bool,
    bindings: Bindings,
}

impl Alerts {
    /// No instance yet.
    #[must_use]
    pub fn new() -> Alerts {
        Alerts::default()
    }

    /// Judges one window by every rule that looks at it.
    ///
    /// Rules of drift and quality look when it has closed. Performance rules look once per window, in the order of the
    /// windows: at the first tick at which their label coverage is reached or the horizon has passed. A later window waits
    /// for an earlier one, so hand them in by their ends at every tick, as long as [`Alerts::awaits`] says so.
    pub fn judge(&mut self, rules: &RuleSet, input: &WindowInput<'_>) -> Vec<Happening> {
        let mut out = Vec::new();
        let end = input.window.end;
        if input.kind == InputKind::Closed {
            let clock = self.clocks.entry(input.model.to_owned()).or_insert(end);
            *clock = end.max(*clock);
        }
        let measures = Measures::new(input.measurements);
        for rule in rules.rules().iter().filter(|rule| looks_at(rule, input.model, &input.window.name, input.segment)) {
            match (rule.kind, input.kind) {
                (Kind::Closed, InputKind::Closed) => self.judge_rule(rules, rule, input, &measures, None, &mut out),
                (Kind::Labels { .. }, InputKind::Closed) => self.expect(rule, input),
                (Kind::Labels { coverage: needed }, InputKind::LabelsReady { coverage, horizon_passed }) => {
                    if !self.is_next(rule, input) {
                        continue;
                    }
                    let without = if input.n == 0 {
                        Some((Outcome::NoData, "the window has no predictions".to_owned()))
                    } else if coverage >= needed {
                        None
                    } else if horizon_passed {
                        Some((
                            Outcome::Insufficient,
                            format!("label coverage {} below {needed} when the horizon had passed", short(coverage)),
                        ))
                    } else {
                        continue;
                    };
                    self.judge_rule(rules, rule, input, &measures, without.as_ref(), &mut out);
                    let stream = stream(rule, input.version, input.segment);
                    if let Some(waiting) = self.awaiting.get_mut(&stream) {
                        *waiting = waiting.split_off(&Timestamp(end.0.saturating_add(1)));
                        if waiting.is_empty() {
                            self.awaiting.remove(&stream);
                        }
                    }
                }
                _ => {}
            }
        }
        self.bound();
        out
    }

    /// Whether a performance rule has still to look at the window that ends at `end`. Windows without predictions are not
    /// waited for.
    #[must_use]
    pub fn awaits(&self, rules: &RuleSet, model: &str, version: &str, segment: &Segment, window: &str, end: Timestamp) -> bool {
        rules.rules().iter().filter(|rule| matches!(rule.kind, Kind::Labels { .. }) && looks_at(rule, model, window, segment)).any(|rule| {
            let judged = self.instances.get(&stream(rule, version, segment)).and_then(|instance| instance.machine.judged);
            judged.is_none_or(|judged| end > judged)
        })
    }

    /// Windows of a model begin anew: those of before whose labels were still to come are not waited for.
    pub fn begin_anew(&mut self, model: &str) {
        self.awaiting.retain(|key, _| *key.model != *model);
    }

    /// A model is gone. What its actions have cost is still known should it come back, and its alerts end with its rules.
    pub fn forget_model(&mut self, model: &str) {
        self.begin_anew(model);
        self.clocks.remove(model);
        self.silent.remove(model);
    }

    /// Ends what belongs to rules that are no longer in the set, after a reload. `at` is the time the ends are given.
    pub fn retire(&mut self, rules: &RuleSet, at: Timestamp) -> Vec<Happening> {
        let mut out = Vec::new();
        let known: BTreeSet<(&str, &str, &str)> = rules.rules().iter().map(|rule| (&*rule.model, &*rule.group, &*rule.alert)).collect();
        let gone = |key: &InstanceKey| !known.contains(&(&*key.model, &*key.group, &*key.alert));
        self.awaiting.retain(|key, _| !gone(key));
        for map in [&mut self.instances, &mut self.aggregates] {
            let keys: Vec<InstanceKey> = map.keys().filter(|key| gone(key)).cloned().collect();
            for key in keys {
                let Some(mut instance) = map.remove(&key) else { continue };
                let Some(from) = instance.machine.abandon(at) else { continue };
                "retired: the rule is gone from the files".clone_into(&mut instance.reason);
                out.push(transition(&instance, &key, None, from, at));
                if from.is_open() {
                    tell_end(rules, None, &key, &mut instance, at, &mut out);
                }
            }
        }
        out
    }

    pub(super) fn instances_of<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = (&'a InstanceKey, &'a Instance)> {
        let first = stream(rule, "", &Segment::default());
        self.instances.range((Bound::Included(first), Bound::Unbounded)).take_while(move |(key, _)| is_of(key, rule))
    }

    /// Notes that a window has predictions whose labels are to come.
    fn expect(&mut self, rule: &Rule, input: &WindowInput<'_>) {
        let stream = stream(rule, input.version, input.segment);
        let judged = self.instances.get(&stream).and_then(|instance| instance.machine.judged);
        if input.n == 0 || judged.is_some_and(|judged| input.window.end <= judged) {
            return;
        }
        let waiting = self.awaiting.entry(stream).or_default();
        waiting.insert(input.window.end);
        if waiting.len() > MOST_AWAITING {
            waiting.pop_first();
        }
    }

    /// Whether no earlier window has still to be looked at.
    fn is_next(&self, rule: &Rule, input: &WindowInput<'_>) -> bool {
        let waiting = self.awaiting.get(&stream(rule, input.version, input.segment));
        waiting.and_then(BTreeSet::first).is_none_or(|first| *first >= input.window.end)
    }

    /// Steps every instance of a rule, then says what is to be told. `without` overrides the verdict.
    fn judge_rule(
        &mut self,
        rules: &RuleSet,
        rule: &Rule,
        input: &WindowInput<'_>,
        measures: &Measures<'_>,
        without: Option<&(Outcome, String)>,
        out: &mut Vec<Happening>,
    ) {
        let at = input.window.end;
        let mut stepped = Vec::new();
        for feature in self.features(rule, input, measures) {
            let key = InstanceKey { feature, ..stream(rule, input.version, input.segment) };
            if self.instances.get(&key).is_some_and(|instance| instance.machine.judged.is_some_and(|judged| at <= judged)) {
                continue;
            }
            let labels = key.labels();
            let verdict = match without {
                Some((outcome, why)) => Verdict::without(*outcome, why.clone(), input.n, Bindings::default()),
                None => verdict::judge(rule, input, measures, key.feature.as_ref(), &labels),
            };
            self.explain(&key, rule, input);
            stepped.extend(self.step(rule, key, at, at, verdict, Some(input.window), out));
        }
        self.tell(rules, rule, at, stepped, out);
    }

    /// Keeps why the subject of an instance drifts, until the alert is over or there is something newer.
    fn explain(&mut self, key: &InstanceKey, rule: &Rule, input: &WindowInput<'_>) {
        let subject = match (&key.feature, &rule.subject) {
            (Some(name), _) => Subject::Feature(Arc::clone(name)),
            (None, Some(subject)) => subject.clone(),
            (None, None) => Subject::Model,
        };
        if let Some(explanation) = input.explanation(&subject) {
            self.instances.entry(key.clone()).or_default().explanation = Some(Box::new(explanation.finding.clone()));
        }
    }

    /// The features that a rule has instances for: those that are measured and those that were; `None` for the rule itself.
    fn features(&self, rule: &Rule, input: &WindowInput<'_>, measures: &Measures<'_>) -> BTreeSet<Option<Arc<str>>> {
        if !rule.each_feature {
            return BTreeSet::from([None]);
        }
        let present = measures.features().filter(|name| {
            let subject = crate::event::Subject::Feature(Arc::clone(name));
            rule.metric.is_none_or(|metric| measures.0.get(&subject).is_some_and(|metrics| metrics.contains_key(&metric)))
        });
        let first = stream(rule, input.version, input.segment);
        let before = self
            .instances
            .range((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| is_of(key, rule) && &*key.version == input.version && key.segment == *input.segment)
            .filter_map(|(key, _)| key.feature.clone());
        present.cloned().chain(before).map(Some).collect()
    }

    /// Steps one instance. `onset` is the time that an episode's id is made from if it begins here.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn step(
        &mut self,
        rule: &Rule,
        key: InstanceKey,
        at: Timestamp,
        onset: Timestamp,
        verdict: Verdict,
        window: Option<&WindowRef>,
        out: &mut Vec<Happening>,
    ) -> Option<Stepped> {
        let mut instance = self.instances.remove(&key).unwrap_or_default();
        let step = instance.machine.step(&rule.plan, at, verdict.outcome);
        if step == Step::Stale {
            self.instances.insert(key, instance);
            return None;
        }
        let mut trouble = |message: String| {
            out.push(Happening::Trouble { alert: key.alert.to_string(), labels: key.labels(), message });
        };
        // Between gaps there is no value: what is shown is the last one, with its texts.
        let has_news = rule.kind != Kind::Gap || verdict.value.is_some();
        if has_news {
            instance.note(verdict.value, verdict.n, window);
        }
        instance.trouble = verdict.failed.then(|| verdict.trouble.clone());
        if verdict.failed {
            trouble(verdict.trouble.clone());
        }
        if !instance.machine.state.is_open() && instance.machine.state != State::Pending {
            instance.explanation = None;
        }
        let mut turn = Turn::None;
        let mut changed = None;
        if let Step::Changed(change) = step {
            instance.reason = verdict.reason(rule, &change);
            turn = turn_of(&change);
            let begins = !change.from.is_open() && change.from != State::Pending;
            if begins {
                instance.episode = None;
                instance.annotations.clear();
                instance.labels.clear();
            }
            if turn == Turn::Opened {
                instance.episode = Some(Episode::new(key.episode(onset)));
            }
            if begins {
                let seen = context(&verdict.bindings, &instance, &key, rule);
                for (name, template) in &rule.labels {
                    let rendered = template.render(&seen);
                    rendered.trouble.into_iter().for_each(&mut trouble);
                    instance.labels.insert(name.clone(), rendered.text);
                }
            }
            changed = Some(change);
        }
        let given = matches!(step, Step::Same | Step::Changed(_));
        if given
            && has_news
            && instance.machine.state != State::Inactive
            && (changed.is_some() || instance.machine.state != State::Resolved)
        {
            let seen = context(&verdict.bindings, &instance, &key, rule);
            for (name, template) in &rule.annotations {
                let rendered = template.render(&seen);
                rendered.trouble.into_iter().for_each(&mut trouble);
                instance.annotations.insert(name.clone(), rendered.text);
            }
        }
        let transition = changed.map(|change| transition(&instance, &key, Some(rule), change.from, at));
        self.instances.insert(key.clone(), instance);
        Some(Stepped { key, transition, turn, given, bindings: verdict.bindings })
    }

    /// Says what is to be told of the stepped instances, and of the rule's aggregate alert.
    pub(super) fn tell(&mut self, rules: &RuleSet, rule: &Rule, at: Timestamp, stepped: Vec<Stepped>, out: &mut Vec<Happening>) {
        let aggregate = self.aggregate(rule, at);
        let limited = aggregate.as_ref().is_some_and(|(_, turn)| *turn != Turn::Ended);
        for Stepped { key, transition, turn, given, bindings } in stepped {
            out.extend(transition);
            let Some(mut instance) = self.instances.remove(&key) else { continue };
            let moment = Moment { at, turn, given, limited, bindings: &bindings };
            self.announce(rules, rule, &key, &mut instance, &moment, out);
            self.instances.insert(key, instance);
        }
        let Some((key, turn)) = aggregate else { return };
        let Some(mut instance) = self.aggregates.remove(&key) else { return };
        if turn != Turn::None {
            let from = if turn == Turn::Opened { State::Inactive } else { State::Firing };
            out.push(transition(&instance, &key, None, from, at));
        }
        let moment = Moment { at, turn, given: true, limited: false, bindings: &Bindings::default() };
        self.announce(rules, rule, &key, &mut instance, &moment, out);
        if turn != Turn::Ended {
            self.aggregates.insert(key, instance);
        }
    }

    /// Forgets the instances that have been inactive for longest where there are too many.
    fn bound(&mut self) {
        let Some(surplus) = self.instances.len().checked_sub(MOST_INSTANCES).filter(|surplus| *surplus > 0) else {
            return;
        };
        let mut idle: Vec<(Option<Timestamp>, InstanceKey)> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.machine.state == State::Inactive)
            .map(|(key, instance)| (instance.machine.judged, key.clone()))
            .collect();
        idle.sort();
        for (_, key) in idle.into_iter().take(surplus) {
            self.instances.remove(&key);
        }
    }
}

pub(super) fn looks_at(rule: &Rule, model: &str, window: &str, segment: &Segment) -> bool {
    &*rule.model == model && rule.window.as_deref() == Some(window) && (segment.is_overall() || rule.each_segment)
}

pub(super) fn is_of(key: &InstanceKey, rule: &Rule) -> bool {
    key.model == rule.model && key.group == rule.group && key.alert == rule.alert
}

/// The key of a rule's instance without a feature: the smallest of its version and segment.
pub(super) fn stream(rule: &Rule, version: &str, segment: &Segment) -> InstanceKey {
    InstanceKey {
        model: Arc::clone(&rule.model),
        group: Arc::clone(&rule.group),
        alert: Arc::clone(&rule.alert),
        version: Arc::from(version),
        segment: segment.clone(),
        feature: None,
    }
}

fn turn_of(change: &Change) -> Turn {
    match (change.to, change.cause) {
        (State::Firing, Cause::Fired { .. }) if change.from.is_open() => Turn::Risen,
        (State::Firing, Cause::Fired { .. }) => Turn::Opened,
        (State::Resolved, _) => Turn::Ended,
        _ => Turn::None,
    }
}

fn transition(instance: &Instance, key: &InstanceKey, rule: Option<&Rule>, from: State, at: Timestamp) -> Happening {
    Happening::Transition { alert: instance.view(key, rule), from, to: instance.machine.state, at, reason: instance.reason.clone() }
}

/// Maps with keys that are no texts, stored as lists of pairs: JSON knows no others.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
