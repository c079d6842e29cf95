//! The alerts on the input: rejected records and gaps of all source partitions, judged by whoever owns the partition of the
//! panes topic that they are at home in.
//!
//! What replicas say of their partitions is cumulative. What is new of it counts for the second in which it was said, and what
//! was made of it so far is stored with the alerts: a new owner that reads the panes topic again judges the same minute, and
//! no gap a second time. The clocks of replicas may differ by seconds, not by a minute. It knows no topic and no window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::cluster::wire::{self, Key, Progress, SourceName, WireError};
use crate::engine::evaluator::Lost;
use crate::engine::{Emission, Evaluator};
use crate::event::Timestamp;
use crate::rule::{Alerts, RejectExample, RuleSet};

use super::super::intake::{Intake, MINUTE, Tally};

/// A hole as it is told from others of its partition: the watermark before it, and the offsets.
type Hole = (Option<Timestamp>, Lost);

/// What was made of one source partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    /// How far it had been read, and when that was said.
    said: (i64, Timestamp),
    /// What had come until then.
    tally: Tally,
    /// The holes that were judged, of those that are still spoken of.
    judged: BTreeSet<Hole>,
}

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    sources: BTreeMap<SourceName, Known>,
    /// As JSON: alert states hold values of any kind, which only a self-describing format reads back.
    alerts: String,
}

/// The judge of the input.
pub(super) struct Input {
    evaluator: Evaluator,
    intake: Intake,
    sources: BTreeMap<SourceName, Known>,
    /// Holes that were heard of and not judged yet.
    holes: BTreeSet<(SourceName, Hole)>,
    has_caught_up: bool,
}

impl Input {
    /// Goes on from what [`Input::state`] gave the previous owner.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn new(rules: Arc<RuleSet>, decided: Option<&[u8]>) -> Result<Input, WireError> {
        let stored: Option<Stored> = decided.map(wire::from_bytes).transpose()?;
        let (sources, alerts) = match stored {
            None => (BTreeMap::new(), Alerts::new()),
            Some(Stored { sources, alerts }) => {
                let alerts = serde_json::from_str(&alerts).map_err(|error| WireError::Value(format!("alert states: {error}")))?;
                (sources, alerts)
            }
        };
        let evaluator = Evaluator::of_no_model(rules, alerts);
        Ok(Input { evaluator, intake: Intake::default(), sources, holes: BTreeSet::new(), has_caught_up: false })
    }

    /// Takes a record of the panes topic in; only progress is listened to.
    ///
    /// # Errors
    /// A value that cannot be read. It is left out.
    pub fn hear(&mut self, key: &Key, value: Option<&[u8]>, now: Timestamp) -> Result<(), WireError> {
        let (Key::Progress { source }, Some(value)) = (key, value) else { return Ok(()) };
        let progress: Progress = wire::from_bytes(value)?;
        let said = (progress.end, progress.at);
        let tally = Tally::new(&progress.counts, progress.tombstones);
        let known = match self.sources.get_mut(source) {
            // What was said last is heard again by a new owner: its holes may not have been judged.
            Some(known) if said < known.said => return Ok(()),
            Some(known) => {
                let more = tally.since(&known.tally);
                // Of what was said before the partition became ours the topic may have lost a part in between: a leap is not of
                // one minute.
                let is_whole = self.has_caught_up || progress.at - known.said.1 <= MINUTE;
                if let Some(more) = more.filter(|_| is_whole && now - progress.at < MINUTE) {
                    let example = progress.example.filter(|_| more.has_rejected());
                    let example = example.map(|(offset, reason)| RejectExample { partition: source.partition, offset, reason });
                    self.intake.note_tally(&source.topic, &more, example, progress.at.min(now));
                }
                (known.said, known.tally) = (said, tally);
                known
            }
            // Nobody knows since when its counts are.
            None => self.sources.entry(source.clone()).or_insert(Known { said, tally, judged: BTreeSet::new() }),
        };
        let holes: BTreeSet<Hole> = progress.gaps.iter().filter_map(|gap| Some((gap.from, gap.lost?))).collect();
        known.judged.retain(|hole| holes.contains(hole));
        self.holes.extend(holes.difference(&known.judged).map(|hole| (source.clone(), *hole)));
        Ok(())
    }

    /// Everything has been heard that was in the panes topic when it became ours: from now on it is judged.
    pub fn catch_up_done(&mut self) {
        self.has_caught_up = true;
    }

    /// Judges what has come within the last minute, and holes that were not judged yet.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Emission> {
        if !self.has_caught_up {
            return Vec::new();
        }
        for (source, hole) in std::mem::take(&mut self.holes) {
            if let Some(known) = self.sources.get_mut(&source)
                && known.judged.insert(hole)
            {
                self.intake.gap(&source.topic, source.partition, hole.1);
            }
        }
        let mut emissions = self.intake.judge_gaps(&mut self.evaluator, now);
        emissions.extend(self.intake.judge_rejects(&mut self.evaluator, now));
        emissions
    }

    /// Judges by other rules from now on. Alerts of rules that are gone end.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>, now: Timestamp) -> Vec<Emission> {
        self.evaluator.set_rules_at(rules, now)
    }

    /// What has to be stored to go on elsewhere.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        // Names, numbers and JSON values: the serialiser has nothing to refuse.
        let alerts = serde_json::to_string(self.evaluator.alerts()).unwrap_or_default();
        wire::to_bytes(&Stored { sources: self.sources.clone(), alerts })
    }

    /// Alert instances as they stand.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        self.evaluator.alerts()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::Counts;
    use crate::engine::evaluator::Gap;
    use crate::event::{Outcome, Reject, Span, TopicRole};
    use crate::rule::{Happening, NoticeKind, RuleFile, Scope};

    /// A wall clock that begins with a second.
    pub const NOW: Timestamp = Timestamp(1_795_345_200_000);
    /// Between two words of a replica.
    const ROUND: Span = Span(5_000);

    /// The built-in rules, and somebody who is told.
    pub fn rules() -> Arc<RuleSet> {
        let file = r#"{"route": {"receiver": "r"}, "receivers": [{"name": "r", "webhook_configs": [{"url": "http://127.0.0.1:1/"}]}]}"#;
        let file: RuleFile = serde_json::from_str(file).unwrap();
        let (mut set, _) = crate::rule::compile(&[("r".into(), file)], &Scope { models: Vec::new() }).unwrap();
        crate::rule::add_built_in(&mut set);
        Arc::new(set)
    }

    /// What replicas say of one partition, as it grows.
    #[derive(Clone)]
    pub struct Replica {
        pub said: Progress,
    }

    impl Replica {
        pub fn new(at: Timestamp) -> Replica {
            let said = Progress {
                role: TopicRole::Predictions,
                topic_id: None,
                start: 0,
                end: -1,
                watermark: None,
                earliest: None,
                is_idle: false,
                counts: Counts::default(),
                late: Vec::new(),
                gaps: Vec::new(),
                tombstones: 0,
                example: None,
                instance: "a".into(),
                at,
            };
            Replica { said }
        }

        /// Reads further records of these outcomes and says so at an instant.
        pub fn read(&mut self, rows: &[(Outcome, u64)], at: Timestamp) -> Vec<u8> {
            for (outcome, records) in rows {
                self.said.counts.add(*outcome, *records);
                if let Outcome::Rejected(reason) = outcome {
                    self.said.example = Some((self.said.end, *reason));
                }
                self.said.end += i64::try_from(*records).unwrap();
            }
            self.said.at = at;
            wire::to_bytes(&self.said)
        }

        pub fn lose(&mut self, lost: Lost, at: Timestamp) -> Vec<u8> {
            self.said.gaps.push(Gap { from: self.said.watermark, until: None, reason: "gone".into(), lost: Some(lost) });
            self.said.end = self.said.end.max(lost.to);
            self.said.at = at;
            wire::to_bytes(&self.said)
        }
    }

    pub fn key() -> Key {
        Key::Progress { source: SourceName { topic: "t".into(), partition: 3 } }
    }

    fn input(decided: Option<&[u8]>) -> Input {
        Input::new(rules(), decided).unwrap()
    }

    /// Who is told what, by kind, episode and summary.
    fn told(emissions: &[Emission]) -> Vec<(NoticeKind, String, String)> {
        let told = emissions.iter().filter_map(|emission| match emission {
            Emission::Happening { happening, .. } => match &**happening {
                Happening::Notice(notice) => Some((notice.kind, notice.episode.clone(), notice.alert.annotations["summary"].clone())),
                _ => None,
            },
            Emission::Window(_) => None,
        });
        told.collect()
    }

    fn kinds(emissions: &[Emission]) -> Vec<NoticeKind> {
        told(emissions).into_iter().map(|(kind, ..)| kind).collect()
    }

    const GOOD: (Outcome, u64) = (Outcome::Counted, 200);
    const BAD: (Outcome, u64) = (Outcome::Rejected(Reject::NotJson), 50);

    /// A topic of which two rounds were heard, the second one with a flood; the record of each round.
    fn flooded() -> (Replica, Vec<(Timestamp, Vec<u8>)>) {
        let mut replica = Replica::new(NOW);
        let first = (NOW, replica.read(&[], NOW));
        let second = (NOW + ROUND, replica.read(&[GOOD, BAD], NOW + ROUND));
        (replica, vec![first, second])
    }

    #[test]
    fn two_owners_one_after_another_tell_of_a_flood_once() {
        let (mut replica, mut topic) = flooded();
        let mut first = input(None);
        first.catch_up_done();
        for (now, record) in &topic {
            first.hear(&key(), Some(record), *now).unwrap();
        }
        let firing = told(&first.tick(NOW + ROUND));
        assert_eq!(firing.len(), 1, "{firing:?}");
        let (kind, episode, summary) = &firing[0];
        assert_eq!(*kind, NoticeKind::Firing);
        assert_eq!(
            summary,
            "20% of the records of t were rejected within a minute (not_json 100 %), the last at partition 3, offset 199 (not_json)"
        );
        let state = first.state();

        // What follows is said before there is another owner.
        let at = NOW + ROUND + ROUND;
        topic.push((at, replica.read(&[GOOD, BAD], at)));
        let mut second = input(Some(&state));
        for (_, record) in &topic {
            second.hear(&key(), Some(record), at + ROUND).unwrap();
        }
        assert_eq!(second.tick(at + ROUND), [], "not before everything was heard");
        second.catch_up_done();
        assert_eq!(told(&second.tick(at + ROUND)), [], "it is known");
        // No record of the flood is within the last minute.
        let over = at + MINUTE;
        second.hear(&key(), Some(&replica.read(&[GOOD], over)), over).unwrap();
        let over = told(&second.tick(over));
        assert_eq!((over.len(), over[0].0, &over[0].1), (1, NoticeKind::Resolved, episode));
    }

    #[test]
    fn a_new_owner_judges_the_minute_that_the_one_before_it_would_have() {
        let (_, topic) = flooded();
        let mut first = input(None);
        first.catch_up_done();
        first.hear(&key(), Some(&topic[0].1), NOW).unwrap();
        // It died before it judged, or before what it judged was stored: nobody was told.
        let mut second = input(Some(&first.state()));
        second.hear(&key(), Some(&topic[1].1), NOW + ROUND + ROUND).unwrap();
        second.catch_up_done();
        assert_eq!(kinds(&second.tick(NOW + ROUND + ROUND)), [NoticeKind::Firing]);
        // Without anything stored, what the topic still holds is enough.
        let mut third = input(None);
        for (_, record) in &topic {
            third.hear(&key(), Some(record), NOW + ROUND + ROUND).unwrap();
        }
        third.catch_up_done();
        assert_eq!(kinds(&third.tick(NOW + ROUND + ROUND)), [NoticeKind::Firing]);
    }

    #[test]
    fn what_was_first_heard_and_what_is_old_is_no_news() {
        let (mut replica, topic) = flooded();
        let mut fresh = input(None);
        fresh.catch_up_done();
        fresh.hear(&key(), Some(&topic[1].1), NOW + ROUND).unwrap();
        assert_eq!(fresh.tick(NOW + ROUND), [], "nobody knows since when");

        let mut late = input(None);
        late.catch_up_done();
        for (_, record) in &topic {
            late.hear(&key(), Some(record), NOW + ROUND + MINUTE).unwrap();
        }
        assert_eq!(late.tick(NOW + ROUND + MINUTE), [], "it was said a minute ago");

        // The topic has lost what was said in between: the flood may be of any time.
        let leap = NOW + ROUND + MINUTE + MINUTE;
        let after = replica.read(&[GOOD, BAD], leap);
        let mut second = input(Some(&late.state()));
        second.hear(&key(), Some(&after), leap).unwrap();
        second.catch_up_done();
        assert_eq!(second.tick(leap), []);
        second.hear(&key(), Some(&replica.read(&[GOOD, BAD], leap + ROUND)), leap + ROUND).unwrap();
        assert_eq!(kinds(&second.tick(leap + ROUND)), [NoticeKind::Firing], "but this was heard as it was said");
    }

    #[test]
    fn an_old_word_takes_nothing_from_the_last_minute() {
        let (mut replica, topic) = flooded();
        let mut input = input(None);
        input.catch_up_done();
        for (now, record) in &topic {
            input.hear(&key(), Some(record), *now).unwrap();
        }
        // Another partition, by a replica that was stopped for just a minute.
        let other = Key::Progress { source: SourceName { topic: "t".into(), partition: 4 } };
        let before = NOW + ROUND - MINUTE;
        input.hear(&other, Some(&replica.read(&[], before)), NOW + ROUND).unwrap();
        input.hear(&other, Some(&replica.read(&[GOOD], before)), NOW + ROUND).unwrap();
        assert_eq!(kinds(&input.tick(NOW + ROUND)), [NoticeKind::Firing]);
    }

    #[test]
    fn stale_words_change_nothing() {
        let (replica, topic) = flooded();
        let mut input = input(None);
        input.catch_up_done();
        for (now, record) in &topic {
            input.hear(&key(), Some(record), *now).unwrap();
        }
        let before = input.state();
        // A process that does not know that it has lost the partition, and one that said the same with fewer records.
        let mut zombie = Replica { said: Progress { end: 100, gaps: Vec::new(), ..replica.said.clone() } };
        zombie.lose(Lost { from: 7, to: 9 }, NOW + ROUND + ROUND);
        input.hear(&key(), Some(&wire::to_bytes(&zombie.said)), NOW + ROUND + ROUND).unwrap();
        input.hear(&key(), Some(&topic[0].1), NOW + ROUND + ROUND).unwrap();
        assert_eq!(input.state(), before);
        assert_eq!(kinds(&input.tick(NOW + ROUND)), [NoticeKind::Firing], "the flood alone");
        // Counts that have begun anew are no news either.
        let mut anew = Replica { said: Progress { counts: Counts::default(), ..replica.said } };
        let at = NOW + ROUND + MINUTE;
        input.hear(&key(), Some(&anew.read(&[BAD], at)), at).unwrap();
        assert_eq!(input.tick(at), []);
    }

    #[test]
    fn tombstones_and_other_models_are_left_out() {
        let mut replica = Replica::new(NOW);
        let mut input = input(None);
        input.catch_up_done();
        input.hear(&key(), Some(&replica.read(&[], NOW)), NOW).unwrap();
        replica.said.tombstones = 80;
        let rows = [GOOD, (Outcome::Rejected(Reject::UnknownModel), 500), (Outcome::Rejected(Reject::Empty), 80)];
        input.hear(&key(), Some(&replica.read(&rows, NOW)), NOW).unwrap();
        assert_eq!(kinds(&input.tick(NOW)), []);
        replica.said.tombstones += 40;
        input.hear(&key(), Some(&replica.read(&[(Outcome::Rejected(Reject::Empty), 60)], NOW + ROUND)), NOW + ROUND).unwrap();
        let firing = told(&input.tick(NOW + ROUND));
        assert_eq!(firing.len(), 1);
        assert!(firing[0].2.starts_with("9% of the records of t"), "20 of 220: {firing:?}");
    }

    #[test]
    fn a_gap_is_judged_once_whoever_owns() {
        let mut replica = Replica::new(NOW);
        let mut topic = vec![replica.read(&[GOOD], NOW), replica.lose(Lost { from: 200, to: 260 }, NOW + ROUND)];
        let mut first = input(None);
        for record in &topic {
            first.hear(&key(), Some(record), NOW + ROUND).unwrap();
        }
        assert_eq!(first.tick(NOW + ROUND), []);
        first.catch_up_done();
        let before = first.state();
        let firing = told(&first.tick(NOW + ROUND));
        assert_eq!(firing.len(), 1, "{firing:?}");
        let (kind, episode, summary) = firing[0].clone();
        assert_eq!(kind, NoticeKind::Firing);
        assert_eq!(summary, "about 60 records of t can never be read: partition 3: offsets 200 to 260, 60 at most");
        assert_eq!(told(&first.tick(NOW + ROUND + ROUND)), []);

        // Heard of, and not judged when it was stored: whoever comes next does it, also if nothing is said any more.
        let mut other = input(Some(&before));
        other.hear(&key(), Some(&topic[1]), NOW + ROUND).unwrap();
        other.catch_up_done();
        assert_eq!(told(&other.tick(NOW + ROUND)), firing);

        let mut second = input(Some(&first.state()));
        topic.push(replica.read(&[GOOD], NOW + ROUND + ROUND));
        for record in &topic {
            second.hear(&key(), Some(record), NOW + MINUTE).unwrap();
        }
        second.catch_up_done();
        assert_eq!(told(&second.tick(NOW + MINUTE)), [], "it was told");
        // An hour after the next one, and not after the first, it is over.
        let next = NOW + Span(30 * MINUTE.0);
        second.hear(&key(), Some(&replica.lose(Lost { from: 460, to: 461 }, next)), next).unwrap();
        assert_eq!(told(&second.tick(next)), [], "the same episode");
        assert_eq!(told(&second.tick(next + Span::SECOND)), []);
        assert_eq!(told(&second.tick(NOW + MINUTE + Span::HOUR)), []);
        let over = told(&second.tick(next + Span::SECOND + Span::HOUR));
        assert_eq!((over.len(), over[0].0, &over[0].1), (1, NoticeKind::Resolved, &episode));
        assert!(over[0].2.contains("offsets 460 to 461"), "{over:?}");
        // Both are spoken of with every word, and begin nothing anew: not here, and not with whoever comes next.
        let later = next + Span::HOUR + Span::HOUR;
        let record = replica.read(&[GOOD], later);
        let mut third = input(Some(&second.state()));
        third.catch_up_done();
        for owner in [&mut second, &mut third] {
            owner.hear(&key(), Some(&record), later).unwrap();
            assert_eq!(told(&owner.tick(later)), []);
        }
    }

    #[test]
    fn alerts_of_rules_that_are_gone_end_at_the_time_of_the_wall() {
        let (_, topic) = flooded();
        let mut input = input(None);
        input.catch_up_done();
        for (now, record) in &topic {
            input.hear(&key(), Some(record), *now).unwrap();
        }
        assert_eq!(kinds(&input.tick(NOW + ROUND)), [NoticeKind::Firing]);
        let ended = input.set_rules(Arc::new(RuleSet::default()), NOW + MINUTE);
        let at = ended.iter().find_map(|emission| match emission {
            Emission::Happening { happening, .. } => happening.at(),
            Emission::Window(_) => None,
        });
        assert_eq!(at, Some(NOW + MINUTE));
    }

    #[test]
    fn a_damaged_decision_is_refused() {
        assert!(Input::new(rules(), Some(b"rubbish")).is_err());
        let stored = Stored { sources: BTreeMap::new(), alerts: "rubbish".into() };
        assert!(Input::new(rules(), Some(&wire::to_bytes(&stored))).is_err());
    }
}
