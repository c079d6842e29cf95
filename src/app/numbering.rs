//! The numbers under which models are stored, which last from run to run whatever becomes of the order of the configuration.
//!
//! A model that is counted over something else than before gets another number, and so does one that is new; the numbers of
//! what was before are retired until nothing is stored under them any more. So what is stored of one model is never taken for
//! another's, wherever a change of the configuration is interrupted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::Plan;
use crate::engine::state::{Change, Piece, Unreadable};

/// Name of a model, and what its panes are counted over.
pub type Layout = (String, Vec<u64>);

/// What the panes of each model are counted over, in the order of the plan.
#[must_use]
pub fn layouts(plan: &Plan) -> Vec<Layout> {
    let of = |model: &crate::engine::ModelPlan| {
        let mut numbers: Vec<u64> = model.baselines.iter().map(|baseline| baseline.layout.id).collect();
        numbers.push(u64::try_from(model.slice.0).unwrap_or(0));
        numbers.extend(model.windows.iter().flat_map(|window| [window.size.0, window.slide.0, window.offset.0]).map(i64::unsigned_abs));
        numbers.push(model.horizon.map_or(0, |horizon| horizon.0.unsigned_abs()));
        // Segments are stored by their numbers.
        numbers.push(model.fingerprint());
        (model.name.to_string(), numbers)
    };
    plan.models.iter().map(of).collect()
}

/// The numbers of the models of a plan, and those that are not to be given yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// In the order of the plan.
    models: Vec<(u16, Layout)>,
    /// Under these something may still be stored, of models that are no more.
    retired: BTreeSet<u16>,
}

/// What is different from the run before, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Models that are counted over something else.
    pub changed: Vec<String>,
    /// Models that were not there.
    pub added: Vec<String>,
    /// Models that are no longer there.
    pub gone: Vec<String>,
}

impl Renewal {
    /// Whether all models go on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Renewal::default()
    }
}

impl Numbering {
    /// The numbers that go on from these. `None` where there are more models than numbers.
    #[must_use]
    pub fn follow(&self, layouts: Vec<Layout>) -> Option<(Numbering, Renewal)> {
        let mut before: BTreeMap<&str, (u16, &Layout)> =
            self.models.iter().map(|(number, layout)| (layout.0.as_str(), (*number, layout))).collect();
        let taken: BTreeSet<u16> = self.models.iter().map(|(number, _)| *number).chain(self.retired.iter().copied()).collect();
        let mut free = (0..=u16::MAX).filter(|number| !taken.contains(number));
        let (mut next, mut renewal) = (Numbering { models: Vec::new(), retired: self.retired.clone() }, Renewal::default());
        for layout in layouts {
            let number = match before.remove(layout.0.as_str()) {
                Some((number, stored)) if *stored == layout => number,
                Some((number, _)) => {
                    next.retired.insert(number);
                    renewal.changed.push(layout.0.clone());
                    free.next()?
                }
                None => {
                    renewal.added.push(layout.0.clone());
                    free.next()?
                }
            };
            next.models.push((number, layout));
        }
        for (name, (number, _)) in before {
            next.retired.insert(number);
            renewal.gone.push(name.to_owned());
        }
        Some((next, renewal))
    }

    /// The number under which the model of that place in the plan is stored.
    #[must_use]
    pub fn number(&self, place: u16) -> Option<u16> {
        self.models.get(usize::from(place)).map(|(number, _)| *number)
    }

    /// The numbers under which something may still be stored, of models that are no more.
    #[must_use]
    pub fn retired(&self) -> &BTreeSet<u16> {
        &self.retired
    }

    /// Nothing is stored any more under the numbers that are retired.
    pub fn release_retired(&mut self) {
        self.retired.clear();
    }

    /// A change as it is stored.
    ///
    /// # Errors
    /// Where it is of a model that is not in the plan.
    pub fn stored(&self, mut change: Change) -> Result<Change, String> {
        if let Some(at) = change.part.model_at() {
            let number = model_in(&mut change.key, at).ok_or("a key without a model")?;
            *number = self.number(u16::from_be_bytes(*number)).ok_or("there is no such model")?.to_be_bytes();
        }
        Ok(change)
    }

    /// A stored piece as it is in this run; `None` where it is of a model that is no more.
    ///
    /// # Errors
    /// Where it is of none that there ever was.
    pub fn loaded(&self, mut piece: Piece) -> Result<Option<Piece>, Unreadable> {
        let Some(at) = piece.part.model_at() else { return Ok(Some(piece)) };
        let Some(stored) = model_in(&mut piece.key, at).map(|number| u16::from_be_bytes(*number)) else {
            return Err(piece.unreadable("its key names no model"));
        };
        if self.retired.contains(&stored) {
            return Ok(None);
        }
        let place = self.models.iter().position(|(number, _)| *number == stored).and_then(|place| u16::try_from(place).ok());
        let Some(place) = place else { return Err(piece.unreadable("there is no such model")) };
        if let Some(number) = model_in(&mut piece.key, at) {
            *number = place.to_be_bytes();
        }
        Ok(Some(piece))
    }
}

fn model_in(key: &mut [u8], at: usize) -> Option<&mut [u8; 2]> {
    key.get_mut(at..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::Part;

    fn layouts(of: &[(&str, u64)]) -> Vec<Layout> {
        of.iter().map(|(name, layout)| ((*name).to_owned(), vec![*layout])).collect()
    }

    fn follow(before: &Numbering, of: &[(&str, u64)]) -> (Numbering, Renewal) {
        before.follow(layouts(of)).unwrap()
    }

    fn numbers(numbering: &Numbering) -> Vec<u16> {
        numbering.models.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn numbers_last_and_are_given_anew_only_when_nothing_is_stored_under_them() {
        let (first, renewal) = follow(&Numbering::default(), &[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!((numbers(&first), renewal.added.len()), (vec![0, 1, 2], 3));
        let (again, renewal) = follow(&first, &[("c", 1), ("a", 1), ("b", 1)]);
        assert_eq!((numbers(&again), renewal), (vec![2, 0, 1], Renewal::default()));

        let (mut other, renewal) = follow(&again, &[("new", 1), ("b", 2), ("c", 1)]);
        assert_eq!(numbers(&other), [3, 4, 2]);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(renewal, Renewal { changed: names(&["b"]), added: names(&["new"]), gone: names(&["a"]) });
        assert_eq!(other.retired, BTreeSet::from([0, 1]));
        // Interrupted, and begun again with the configuration of before: what was retired does not come back.
        let (back, renewal) = follow(&other, &[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!((numbers(&back), &back.retired), (vec![5, 6, 2], &BTreeSet::from([0, 1, 3, 4])));
        assert_eq!(renewal, Renewal { changed: names(&["b"]), added: names(&["a"]), gone: names(&["new"]) });
        other.release_retired();
        assert_eq!(numbers(&follow(&other, &[("a", 1), ("new", 1), ("b", 2), ("c", 1)]).0), [0, 3, 4, 2]);
    }

    #[test]
    fn keys_are_translated_both_ways_and_no_piece_finds_another_model() {
        let (first, _) = follow(&Numbering::default(), &[("a", 1), ("b", 1), ("gone", 1)]);
        let (numbering, _) = follow(&first, &[("b", 1), ("a", 1)]);
        for (part, at) in [(Part::Open, 4), (Part::Panes, 0), (Part::Model, 0), (Part::Ledger, 0)] {
            let key = |model: u8| {
                let mut key = vec![9; at];
                key.extend([0, model, 7]);
                key
            };
            let change = |model| numbering.stored(Change { part, key: key(model), value: None });
            let piece = |model| numbering.loaded(Piece { part, key: key(model), value: Vec::new() });
            assert_eq!((change(0).unwrap().key, change(1).unwrap().key), (key(1), key(0)), "{part:?}");
            assert!(change(2).is_err());
            assert_eq!((piece(0).unwrap().unwrap().key, piece(1).unwrap().unwrap().key), (key(1), key(0)), "{part:?}");
            assert!(piece(2).unwrap().is_none() && piece(3).is_err());
            assert!(numbering.loaded(Piece { part, key: vec![0; at + 1], value: Vec::new() }).is_err());
        }
        for part in Part::ALL.into_iter().filter(|part| part.model_at().is_none()) {
            let key = vec![0, 1, 0, 1, 0, 1];
            assert_eq!(numbering.stored(Change { part, key: key.clone(), value: None }).unwrap().key, key);
        }
    }
}
