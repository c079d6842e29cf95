//! Rules on the input itself, topic by topic, in wall time: the share of records that are rejected, and records that can
//! never be read. Nothing they say depends on windows, and no window depends on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Segment, Timestamp};

use super::datum::{Bindings, Datum};
use super::happening::{Happening, TopicGap, TopicRejects};
use super::instance::InstanceKey;
use super::judge::{Alerts, stream};
use super::machine::Outcome;
use super::set::{Kind, Rule, RuleSet, Tier};
use super::verdict::Verdict;

/// The label that says which topic it is.
pub(super) const LABEL: &str = "topic";

impl Alerts {
    /// Looks at rules of schema. A topic of which no record has come is not judged: its alert stays as it is.
    pub fn judge_rejects(&mut self, rules: &RuleSet, topics: &[TopicRejects<'_>], now: Timestamp) -> Vec<Happening> {
        let mut out = Vec::new();
        for rule in rules.rules().iter().filter(|rule| rule.kind == Kind::Schema) {
            for rejects in topics.iter().filter(|rejects| rejects.received > 0) {
                let verdict = of_rejects(rule, rejects);
                let stepped = self.step(rule, key(rule, rejects.topic), now, now, verdict, None, &mut out);
                self.tell(rules, rule, now, stepped.into_iter().collect(), &mut out);
            }
        }
        out
    }

    /// Looks at rules of gaps: an alert goes firing with a gap, and is over when there was none for long enough.
    pub fn judge_gaps(&mut self, rules: &RuleSet, gaps: &[TopicGap<'_>], now: Timestamp) -> Vec<Happening> {
        let mut by_topic: BTreeMap<&str, Vec<&TopicGap<'_>>> = BTreeMap::new();
        gaps.iter().for_each(|gap| by_topic.entry(gap.topic).or_default().push(gap));
        let mut out = Vec::new();
        for rule in rules.rules().iter().filter(|rule| rule.kind == Kind::Gap) {
            let open = self.instances_of(rule).filter(|(_, instance)| instance.machine.state.is_open());
            let mut verdicts: BTreeMap<InstanceKey, Verdict> = open.map(|(key, _)| (key.clone(), nothing_new())).collect();
            verdicts.extend(by_topic.iter().map(|(topic, gaps)| (key(rule, topic), of_gaps(rule, gaps))));
            for (key, verdict) in verdicts {
                // A gap is judged even where the clock stands still or was set back.
                let judged = self.instances.get(&key).and_then(|instance| instance.machine.judged).filter(|_| verdict.value.is_some());
                let at = judged.map_or(now, |judged| now.max(Timestamp(judged.0.saturating_add(1))));
                let stepped = self.step(rule, key, at, at, verdict, None, &mut out);
                self.tell(rules, rule, at, stepped.into_iter().collect(), &mut out);
            }
        }
        out
    }

    /// The topics for which an alert of schema is firing.
    #[must_use]
    pub fn flooded(&self, rules: &RuleSet) -> BTreeSet<String> {
        let schema = rules.rules().iter().filter(|rule| rule.kind == Kind::Schema);
        let open = schema.flat_map(|rule| self.instances_of(rule)).filter(|(_, instance)| instance.machine.state.is_open());
        open.flat_map(|(key, _)| key.segment.0.iter().map(|(_, topic)| topic.to_string())).collect()
    }
}

fn key(rule: &Rule, topic: &str) -> InstanceKey {
    stream(rule, "", &Segment(vec![(LABEL.into(), topic.into())]))
}

/// The highest tier that a value breaches.
fn breach<'r>(rule: &'r Rule, value: f64, bindings: &Bindings) -> Option<&'r Tier> {
    rule.tiers.iter().rev().find(|tier| tier.condition.holds(value, bindings).unwrap_or(false))
}

fn of_rejects(rule: &Rule, rejects: &TopicRejects<'_>) -> Verdict {
    let rejected: u64 = rejects.reasons.iter().map(|(_, count)| count).sum();
    let share = share(rejected, rejects.received);
    let mut bindings = Bindings::default();
    bindings.set_number("value", share);
    bindings.set("n", Datum::count(rejects.received));
    bindings.set("rejected", Datum::count(rejected));
    let mut reasons = rejects.reasons.to_vec();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    let reasons = reasons.iter().map(|(reason, count)| {
        let percent = (100.0 * self::share(*count, rejected)).round();
        Datum::text(format!("{} {percent} %", reason.as_str()))
    });
    bindings.set("reasons", Datum::List(reasons.collect()));
    let example = match &rejects.example {
        None => Datum::text("none is known"),
        Some(example) => Datum::text(format!("partition {}, offset {} ({})", example.partition, example.offset, example.reason.as_str())),
    };
    bindings.set("example", example);
    let over = rule.resolve.as_ref().is_none_or(|condition| condition.holds(share, &bindings).unwrap_or(false));
    let is_enough = rejects.received >= rule.min_current;
    let outcome = match breach(rule, share, &bindings).filter(|_| is_enough) {
        Some(tier) => Outcome::Breach(tier.severity),
        // Few records do not make an alert, but they can show that it is over.
        None if over || is_enough => Outcome::Ok { over },
        None => Outcome::Insufficient,
    };
    let trouble = if is_enough { String::new() } else { format!("{} records, {} are needed", rejects.received, rule.min_current) };
    Verdict { outcome, value: Some(share), n: rejects.received, trouble, failed: false, bindings }
}

fn of_gaps(rule: &Rule, gaps: &[&TopicGap<'_>]) -> Verdict {
    // Where nobody knows how many are gone it is at least one.
    let lost = gaps.iter().fold(0u64, |sum, gap| sum.saturating_add(gap.lost().unwrap_or(1)));
    #[allow(clippy::cast_precision_loss)]
    let value = lost as f64;
    let mut bindings = Bindings::default();
    bindings.set_number("value", value);
    bindings.set("n", Datum::count(0));
    let shown = gaps.iter().map(|gap| {
        let TopicGap { partition, from, to, .. } = gap;
        Datum::text(match gap.lost() {
            Some(lost) => format!("partition {partition}: offsets {from} to {to}, {lost} at most"),
            None => format!("partition {partition}: it was read up to offset {from} and now begins at {to}, truncated or made anew"),
        })
    });
    bindings.set("gaps", Datum::List(shown.collect()));
    let outcome = breach(rule, value, &bindings).map_or(Outcome::Ok { over: false }, |tier| Outcome::Breach(tier.severity));
    Verdict { outcome, value: Some(value), n: 0, trouble: String::new(), failed: false, bindings }
}

/// Time passes without a gap.
fn nothing_new() -> Verdict {
    Verdict::without(Outcome::Ok { over: true }, "no gap since", 0, Bindings::default())
}

#[allow(clippy::cast_precision_loss)]
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::compile::add_built_in;
    use super::super::fixture::rules;
    use super::super::happening::RejectExample;
    use super::super::machine::State;
    use super::super::message::NoticeKind;
    use super::*;
    use crate::event::Reject;

    const NOW: i64 = 1_795_345_200_000;
    const ROUTE: &str = "route: { receiver: r }\nreceivers: [ { name: r, webhook_configs: [ { url: \"http://127.0.0.1:1/\" } ] } ]\n";

    fn built_in() -> RuleSet {
        let mut set = rules(ROUTE);
        add_built_in(&mut set);
        set
    }

    fn written(rule: &str) -> RuleSet {
        rules(&format!("groups: [ {{ name: g, rules: [ {{ alert: A, {rule} }} ] }} ]\n{ROUTE}"))
    }

    fn rejects<'a>(topic: &'a str, received: u64, reasons: &'a [(Reject, u64)]) -> TopicRejects<'a> {
        TopicRejects { topic, received, reasons, example: Some(RejectExample { partition: 2, offset: 77, reason: Reject::NotJson }) }
    }

    fn told(happenings: &[Happening]) -> Vec<String> {
        let told = happenings.iter().filter_map(|happening| match happening {
            Happening::Notice(notice) => {
                let view = &notice.alert;
                let labels: Vec<String> = view.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                Some(format!("{} {}: {}", notice.kind.as_str(), labels.join(" "), view.annotations["summary"]))
            }
            Happening::Trouble { message, .. } => Some(format!("trouble: {message}")),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn a_flood_is_one_alert_for_its_topic_and_over_at_half_of_the_share() {
        let (set, mut alerts) = (built_in(), Alerts::new());
        let mut judge = |second: i64, received, reasons: &[(Reject, u64)]| {
            told(&alerts.judge_rejects(
                &set,
                &[rejects("t", received, reasons), rejects("quiet", 1000, &[])],
                Timestamp(NOW + 1000 * second),
            ))
        };
        assert_eq!(judge(0, 100, &[(Reject::NotJson, 5)]), [""; 0]);
        let firing = judge(1, 200, &[(Reject::NotJson, 8), (Reject::BadTime, 24)]);
        assert_eq!(
            firing,
            ["firing alertname=SchemaDrift severity=warning topic=t: 16% of the records of t were rejected within a minute \
              (bad_time 75 %, not_json 25 %), the last at partition 2, offset 77 (not_json)"]
        );
        assert_eq!(judge(2, 200, &[(Reject::NotJson, 100)]), [""; 0]);
        assert_eq!(judge(3, 200, &[(Reject::NotJson, 6)]), [""; 0], "not under half of it");
        let over = judge(4, 1000, &[(Reject::NotJson, 24)]);
        assert_eq!((over.len(), over[0].starts_with("resolved alertname=SchemaDrift")), (1, true), "{over:?}");
    }

    #[test]
    fn few_records_fire_nothing_and_can_end_it() {
        let (set, mut alerts) = (built_in(), Alerts::new());
        let mut state = |second: i64, received, rejected| {
            alerts.judge_rejects(&set, &[rejects("t", received, &[(Reject::NotJson, rejected)])], Timestamp(NOW + 1000 * second));
            alerts.instances.values().next().map(|instance| instance.machine.state)
        };
        assert_eq!(state(0, 99, 99), Some(State::Inactive));
        assert_eq!(state(1, 100, 100), Some(State::Firing));
        assert_eq!(state(2, 50, 50), Some(State::Firing), "too few to say that it is over");
        assert_eq!(state(3, 0, 0), Some(State::Firing), "and none at all");
        assert_eq!(state(4, 50, 1), Some(State::Resolved));
        assert_eq!(state(5, 99, 99), Some(State::Resolved));
    }

    #[test]
    fn a_flood_of_one_topic_is_known_while_it_lasts() {
        let (set, mut alerts) = (built_in(), Alerts::new());
        let flood = [(Reject::NotJson, 100)];
        alerts.judge_rejects(&set, &[rejects("a", 100, &flood), rejects("b", 10_000, &flood)], Timestamp(NOW));
        assert_eq!(alerts.flooded(&set), BTreeSet::from(["a".to_owned()]));
        let stored = serde_json::to_string(&alerts).unwrap();
        let mut alerts: Alerts = serde_json::from_str(&stored).unwrap();
        assert_eq!(alerts.flooded(&set).len(), 1, "and after a restart");
        alerts.judge_rejects(&set, &[rejects("a", 100, &[])], Timestamp(NOW + 1));
        assert!(alerts.flooded(&set).is_empty());
    }

    #[test]
    fn thresholds_holds_and_numbers_are_those_of_the_rule() {
        let set = written(
            "kind: schema, min_samples: 10, fire: { warning: { above: 0.2 }, critical: { above: 0.5, for: 2s } }, resolve: { below: 0.1, for: 5s }, \
             annotations: { summary: '{{ rejected }} of {{ n }} of {{ labels.topic }}' }",
        );
        let mut alerts = Alerts::new();
        let mut judge = |second: i64, rejected| {
            told(&alerts.judge_rejects(&set, &[rejects("t", 10, &[(Reject::NotJson, rejected)])], Timestamp(NOW + 1000 * second)))
        };
        assert_eq!(judge(0, 6), ["firing alertname=A severity=warning topic=t: 6 of 10 of t"]);
        assert_eq!(judge(1, 6), [""; 0]);
        assert_eq!(judge(2, 7), ["escalated alertname=A severity=critical topic=t: 7 of 10 of t"]);
        assert_eq!(judge(3, 0), [""; 0]);
        assert_eq!(judge(7, 0), [""; 0]);
        assert_eq!(judge(8, 0).len(), 1);
    }

    fn gap(partition: i32, from: i64, to: i64) -> TopicGap<'static> {
        TopicGap { topic: "t", partition, from, to }
    }

    #[test]
    fn gaps_of_a_moment_are_one_alert_and_it_is_over_an_hour_after_the_last() {
        let (set, mut alerts) = (built_in(), Alerts::new());
        let mut judge = |minute: i64, gaps: &[TopicGap<'_>]| told(&alerts.judge_gaps(&set, gaps, Timestamp(NOW + 60_000 * minute)));
        assert_eq!(judge(0, &[]), [""; 0]);
        assert_eq!(
            judge(1, &[gap(0, 10, 30), gap(3, 7, 0)]),
            ["firing alertname=IngestGap severity=warning topic=t: about 21 records of t can never be read: \
              partition 0: offsets 10 to 30, 20 at most; \
              partition 3: it was read up to offset 7 and now begins at 0, truncated or made anew"]
        );
        assert_eq!(judge(2, &[]), [""; 0]);
        assert_eq!(judge(31, &[gap(1, 0, 5)]), [""; 0], "the same episode");
        assert_eq!(judge(61, &[]), [""; 0]);
        assert_eq!(judge(120, &[]), [""; 0]);
        let over = judge(121, &[]);
        assert_eq!(over.len(), 1, "{over:?}");
        assert!(over[0].contains("resolved alertname=IngestGap") && over[0].contains("partition 1: offsets 0 to 5"), "{over:?}");
        assert_eq!(judge(122, &[]), [""; 0]);
        assert_eq!(judge(123, &[gap(1, 5, 6)]).len(), 1, "a new one");
    }

    #[test]
    fn a_gap_is_judged_where_the_clock_stands_still_and_a_greater_one_is_worse() {
        let set = written(
            "kind: gap, fire: { warning: { above: 0 }, critical: { above: 1000 } }, resolve: { for: 10m }, annotations: { summary: '{{ value }}' }",
        );
        let mut alerts = Alerts::new();
        let mut kinds = |gaps: &[TopicGap<'_>], minute: i64| -> Vec<NoticeKind> {
            let happenings = alerts.judge_gaps(&set, gaps, Timestamp(NOW + 60_000 * minute));
            let kinds = happenings.iter().filter_map(|happening| match happening {
                Happening::Notice(notice) => Some(notice.kind),
                _ => None,
            });
            kinds.collect()
        };
        assert_eq!(kinds(&[gap(0, 0, 1000)], 0), [NoticeKind::Firing]);
        assert_eq!(kinds(&[gap(0, 1000, 2001)], 0), [NoticeKind::Escalated]);
        assert_eq!(kinds(&[], 1), []);
        assert_eq!(kinds(&[], 11), [NoticeKind::Resolved]);
    }
}
