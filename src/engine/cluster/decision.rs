//! What an owner stores of its model to be gone on with elsewhere: everything that the panes topic does not give back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::model::Decisions;
use crate::event::Timestamp;
use crate::rule::Alerts;

use super::book::Known;
use super::joined::Part;
use super::wire::{SourceName, WireError, from_bytes, to_bytes};

/// One record of the owners topic, without the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// What the panes were counted over.
    pub layout: u64,
    /// The offset in the panes topic up to which was listened.
    pub heard: i64,
    /// When the last record of the model came, in wall time.
    pub last_record: Option<Timestamp>,
    /// What was made of each source partition.
    pub sources: BTreeMap<SourceName, Known>,
    /// By number of the partitions: the tick up to which everything said of labels was known.
    pub ticks: BTreeMap<i32, Timestamp>,
    /// Slices whose labels changed at a later tick than was said.
    pub moved: BTreeMap<Timestamp, Timestamp>,
    /// Joined panes that the panes topic may have lost to newer ones for which it is too early; see [`super::joined::Parts::outlived`].
    pub joined: Vec<(Part, Vec<u8>)>,
    /// What was closed and said.
    pub model: Decisions<'a>,
    /// Alert states, as JSON: they hold values of any kind, which only a self-describing format reads back.
    alerts: String,
}

impl<'a> Decision<'a> {
    /// A decision of no alert yet; see [`Decision::with_alerts`].
    #[must_use]
    pub fn new(layout: u64, heard: i64, model: Decisions<'a>) -> Decision<'a> {
        Decision {
            layout,
            heard,
            last_record: None,
            sources: BTreeMap::new(),
            ticks: BTreeMap::new(),
            moved: BTreeMap::new(),
            joined: Vec::new(),
            model,
            alerts: String::new(),
        }
    }

    /// With the states of the model's alerts.
    #[must_use]
    pub fn with_alerts(self, alerts: &Alerts) -> Decision<'a> {
        // Names, numbers and JSON values: the serialiser has nothing to refuse.
        Decision { alerts: serde_json::to_string(alerts).unwrap_or_default(), ..self }
    }

    /// The states of the model's alerts.
    ///
    /// # Errors
    /// [`WireError::Value`].
    pub fn alerts(&self) -> Result<Alerts, WireError> {
        serde_json::from_str(&self.alerts).map_err(|error| WireError::Value(format!("alert states: {error}")))
    }

    /// As it is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Reads a decision.
    ///
    /// # Errors
    /// [`WireError::Format`] and [`WireError::Value`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Decision<'static>, WireError> {
        from_bytes(bytes)
    }
}
