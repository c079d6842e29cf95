//! Who judges what this replica owns: the owner of a model, or whoever has the alerts on the input. Neither knows the other,
//! and where decisions are stored is known to neither.

use std::sync::Arc;

use crate::engine::cluster::Owner;
use crate::engine::cluster::wire::{Key, SourceName, WireError};
use crate::engine::{Emission, Plan};
use crate::event::{Span, Timestamp, TopicRole};
use crate::rule::{Alerts, RuleSet};

use super::input::Input;

/// The one or the other.
pub(super) enum Judge {
    Model(Box<Owner>),
    Input(Box<Input>),
}

impl Judge {
    /// The judge of the model of a plan, or of the input where the plan has none, that goes on from what was decided. The
    /// second value says what is worth a line in the log.
    ///
    /// # Errors
    /// A decision that cannot be read.
    pub fn new(plan: &Arc<Plan>, rules: &Arc<RuleSet>, decided: Option<&[u8]>) -> Result<(Judge, Vec<String>), WireError> {
        if plan.models.is_empty() {
            return Ok((Judge::Input(Box::new(Input::new(Arc::clone(rules), decided)?)), Vec::new()));
        }
        let (owner, notes) = Owner::new(Arc::clone(plan), Arc::clone(rules), decided)?;
        Ok((Judge::Model(Box::new(owner)), notes))
    }

    /// All source partitions there are, as the brokers had it at an instant.
    pub fn expect(&mut self, sources: &[(SourceName, TopicRole)], asked: Timestamp) {
        match self {
            Judge::Model(owner) => owner.expect(sources, asked),
            // It waits for nobody.
            Judge::Input(_) => {}
        }
    }

    /// Takes a record of the panes topic in.
    ///
    /// # Errors
    /// A value that cannot be read. It is left out.
    pub fn hear(&mut self, offset: i64, key: &Key, value: Option<&[u8]>, now: Timestamp) -> Result<(), WireError> {
        match self {
            Judge::Model(owner) => owner.hear(offset, key, value),
            Judge::Input(input) => input.hear(key, value, now),
        }
    }

    /// Everything has been heard that was in the panes topic.
    pub fn catch_up_done(&mut self) {
        match self {
            Judge::Model(owner) => owner.catch_up_done(),
            Judge::Input(input) => input.catch_up_done(),
        }
    }

    /// Closes windows and judges them.
    pub fn advance(&mut self, cap: Timestamp, now: Timestamp) -> Vec<Emission> {
        match self {
            Judge::Model(owner) => owner.advance(Some(cap), now),
            // It has no windows.
            Judge::Input(_) => Vec::new(),
        }
    }

    /// Judges what is about the stream itself.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Emission> {
        match self {
            Judge::Model(owner) => owner.tick(now),
            Judge::Input(input) => input.tick(now),
        }
    }

    /// Nobody listened for the last `span` of wall time.
    pub fn sleep(&mut self, now: Timestamp, span: Span) {
        match self {
            Judge::Model(owner) => owner.sleep(now, span),
            // It knows no silence.
            Judge::Input(_) => {}
        }
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>, now: Timestamp) -> Vec<Emission> {
        match self {
            Judge::Model(owner) => owner.set_rules(rules),
            Judge::Input(input) => input.set_rules(rules, now),
        }
    }

    /// What has to be stored to go on elsewhere.
    pub fn state(&self) -> Vec<u8> {
        match self {
            Judge::Model(owner) => owner.state(),
            Judge::Input(input) => input.state(),
        }
    }

    /// Alert instances as they stand.
    pub fn alerts(&self) -> &Alerts {
        match self {
            Judge::Model(owner) => owner.alerts(),
            Judge::Input(input) => input.alerts(),
        }
    }

    /// The clock that closes windows.
    pub fn event_clock(&self) -> Option<Timestamp> {
        match self {
            Judge::Model(owner) => owner.event_clock(),
            Judge::Input(_) => None,
        }
    }
}
