//! The evaluator as pieces: each source, each sealed pane, the rest of each model, the alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::evaluator::{Evaluator, SourceState};
use crate::engine::history::History;
use crate::engine::model::ModelState;
use crate::engine::plan::Plan;
use crate::rule::RuleSet;

use super::partition::{source_key, source_of};
use super::{Change, Key, Part, Piece, Unreadable};

/// Keys and values of the pieces of a history.
type Stored<'a> = Vec<(&'a [u8], &'a [u8])>;

impl Evaluator {
    /// All pieces of sources, models and alerts: few and small, so that they are compared with what was last written.
    ///
    /// # Errors
    /// Where one cannot be encoded.
    pub fn pieces(&self) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        for (source, state) in &self.sources {
            pieces.push(Piece { part: Part::Source, key: source_key(*source), value: encode(state)? });
        }
        for (number, model) in (0u16..).zip(&self.models) {
            pieces.push(Piece { part: Part::Model, key: number.to_be_bytes().to_vec(), value: encode(model)? });
        }
        // Alert states hold JSON values, which only a self-describing format can read back.
        let alerts = serde_json::to_vec(&self.alerts).map_err(|error| error.to_string())?;
        pieces.push(Piece { part: Part::Alerts, key: Vec::new(), value: alerts });
        Ok(pieces)
    }

    /// The sealed and joined panes that have changed since the last call; all of them at the first one.
    pub fn take_pane_changes(&mut self) -> Vec<Change> {
        let of_model = |(number, model): (u16, &mut ModelState)| {
            model.take_changes().into_iter().map(move |mut piece| {
                piece.key = pane_key(number, &piece.key);
                Change::from((Part::Panes, piece))
            })
        };
        (0u16..).zip(&mut self.models).flat_map(of_model).collect()
    }

    /// What the ledgers have not stored yet. It comes again until it is settled.
    pub fn take_label_changes(&mut self) -> Vec<Change> {
        let of_model = |(number, changes): (u16, Vec<crate::join::Change>)| {
            changes.into_iter().map(move |change| {
                let mut key = ledger_key(number, change.space);
                key.extend_from_slice(&change.key);
                Change { part: Part::Ledger, key, value: change.value }
            })
        };
        self.take_ledger_changes().into_iter().flat_map(of_model).collect()
    }

    /// The evaluator that all stored pieces are of, under a plan that numbers its models as they do. A model without pieces
    /// begins. Its ledgers have to be shelved.
    ///
    /// # Errors
    /// The first piece that cannot be used.
    pub fn restore(plan: Arc<Plan>, rules: Arc<RuleSet>, pieces: &[Piece]) -> Result<Evaluator, Unreadable> {
        let mut evaluator = Evaluator::new(Arc::clone(&plan), Arc::clone(&rules));
        let mut panes: BTreeMap<u16, Stored<'_>> = BTreeMap::new();
        for piece in pieces {
            match piece.part {
                Part::Source => {
                    let state: SourceState = decode(piece)?;
                    evaluator.sources.insert(source_of(piece)?, state);
                }
                Part::Model => {
                    let number = Key(&piece.key).u16().map_err(|error| piece.unreadable(&error))?;
                    let state: ModelState = decode(piece)?;
                    let place = evaluator.models.get_mut(usize::from(number));
                    *place.ok_or_else(|| piece.unreadable("there is no such model"))? = state;
                }
                Part::Panes => {
                    let mut key = Key(&piece.key);
                    let number = key.u16().map_err(|error| piece.unreadable(&error))?;
                    panes.entry(number).or_default().push((key.rest(), &piece.value));
                }
                Part::Alerts => {
                    evaluator.alerts = serde_json::from_slice(&piece.value).map_err(|error| piece.unreadable(&error))?;
                }
                _ => {}
            }
        }
        for (number, model) in (0u16..).zip(&mut evaluator.models) {
            let unreadable = |error| Unreadable { part: Part::Panes, key: number.to_be_bytes().to_vec(), reason: format!("{error}") };
            model.restore(number, History::restore(panes.remove(&number).unwrap_or_default()).map_err(unreadable)?);
        }
        Ok(evaluator.resume(plan, rules))
    }
}

/// The key of a piece of one model's history.
#[must_use]
pub fn pane_key(model: u16, key: &[u8]) -> Vec<u8> {
    [&model.to_be_bytes()[..], key].concat()
}

/// What the keys of one space of one model's ledger begin with.
#[must_use]
pub fn ledger_key(model: u16, space: crate::join::Space) -> Vec<u8> {
    let mut key = model.to_be_bytes().to_vec();
    key.push(space.number());
    key
}

fn encode<T: serde::Serialize>(state: &T) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(state).map_err(|error| error.to_string())
}

fn decode<T: serde::de::DeserializeOwned>(piece: &Piece) -> Result<T, Unreadable> {
    postcard::from_bytes(&piece.value).map_err(|error| piece.unreadable(&error))
}
