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
