//! Where the records about each model go: the partition of the panes topic it is at home in, and the number of what its
//! panes are counted over.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::plan::Plan;
use crate::engine::series::SeriesKey;
use crate::event::Timestamp;

use super::wire::{Key, SeriesName, SourceName, home};

/// What stands in the place of a model's name for the alerts that are of no model; no model is named so.
pub const NO_MODEL: &str = "";

/// A record on its way to the panes topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The partition of the panes topic.
    pub home: i32,
    /// The key as written.
    pub key: Vec<u8>,
    /// The value as written.
    pub value: Vec<u8>,
}

/// Names, homes and layouts of the models by number.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    models: Vec<Address>,
    input: i32,
}

/// Name, home and layout of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its name.
    pub name: Arc<str>,
    /// The partition of the panes topic.
    pub home: i32,
    /// [`crate::engine::ModelPlan::fingerprint`].
    pub layout: u64,
}

impl Addresses {
    /// The addresses of a plan's models in a panes topic of so many partitions.
    #[must_use]
    pub fn new(plan: &Plan, partitions: i32) -> Addresses {
        let address = |model: &crate::engine::ModelPlan| Address {
            name: Arc::clone(&model.name),
            home: home(&model.name, partitions),
            layout: model.fingerprint(),
        };
        Addresses { models: plan.models.iter().map(address).collect(), input: home(NO_MODEL, partitions) }
    }

    /// The address of a model by its number.
    #[must_use]
    pub fn get(&self, model: u16) -> Option<&Address> {
        self.models.get(usize::from(model))
    }

    /// The addresses by the models' numbers.
    pub fn all(&self) -> impl Iterator<Item = (u16, &Address)> {
        (0u16..).zip(&self.models)
    }

    /// The partition of the panes topic that the alerts of no model are at home in.
    #[must_use]
    pub fn input(&self) -> i32 {
        self.input
    }

    /// The partitions of the panes topic that models, or the alerts of none, are at home in.
    #[must_use]
    pub fn homes(&self) -> BTreeSet<i32> {
        self.models.iter().map(|address| address.home).chain([self.input]).collect()
    }

    /// The number of a model by its name and layout; none where it is configured otherwise here.
    #[must_use]
    pub fn number(&self, name: &str, layout: u64) -> Option<u16> {
        self.all().find(|(_, address)| *address.name == *name && address.layout == layout).map(|(number, _)| number)
    }

    /// The name of a run of panes.
    #[must_use]
    pub fn series(&self, key: &SeriesKey) -> Option<SeriesName> {
        let address = self.get(key.model)?;
        let (model, version) = (Arc::clone(&address.name), Arc::clone(&key.version));
        Some(SeriesName { model, layout: address.layout, version, segment: key.segment })
    }

    /// A run of panes by its name; none where its model is configured otherwise here.
    #[must_use]
    pub fn key(&self, series: &SeriesName) -> Option<SeriesKey> {
        let model = self.number(&series.model, series.layout)?;
        Some(SeriesKey { model, version: Arc::clone(&series.version), segment: series.segment })
    }

    /// The key of the events of a slice, with its home.
    #[must_use]
    pub fn events(&self, key: &SeriesKey, slice: Timestamp, source: &SourceName) -> Option<(i32, Key)> {
        let home = self.get(key.model)?.home;
        Some((home, Key::Events { series: self.series(key)?, slice, source: source.clone() }))
    }
}
