//! What has been said of every source partition by whoever read it: what a replica goes on from when the partition becomes
//! its own. Only what can still change is kept: progress, panes that still take records, joined panes within their horizon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::plan::Plan;
use crate::engine::series::SeriesKey;
use crate::engine::shard::PartitionState;
use crate::event::Timestamp;
use crate::window::{LateKey, OpenPane, Partition, SeriesId};

use super::address::Addresses;
use super::joiner::{Place, reach};
use super::wire::{Events, Joined, Key, Labels, Progress, SeriesName, SourceName, WireError, begin_of, from_bytes};

/// A source partition to go on with.
#[derive(Clone, Debug)]
pub struct ResumedSource {
    /// The position at which reading goes on; see [`super::wire::LIFE`].
    pub next: i64,
    /// What was said of it there.
    pub progress: Progress,
    /// Its late records by the models' numbers here.
    pub late: BTreeMap<LateKey, u64>,
    /// Its open panes. Those of some models may be further ahead than `next`: they skip what they hold.
    pub state: PartitionState,
}

/// The joins of the partitions of one number to go on with, by model.
pub type ResumedGroup = BTreeMap<u16, (Labels, Vec<(Place, Joined)>)>;

/// An open pane as it was said.
#[derive(Clone, Debug)]
struct Open {
    end: i64,
    sealed_at: Timestamp,
    value: Vec<u8>,
}

/// What was said of one source partition in one partition of the panes topic.
#[derive(Clone, Debug, Default)]
struct Said {
    progress: Option<Progress>,
    open: BTreeMap<(SeriesName, Timestamp), Open>,
}

/// The joins of one model in the partitions of one number.
#[derive(Clone, Debug, Default)]
struct Group {
    labels: Option<Labels>,
    /// By tick: the newest that the label clock covers, and those that were said ahead of it by somebody who died before it
    /// could say the clock.
    panes: BTreeMap<(SeriesName, Timestamp), BTreeMap<Timestamp, Vec<u8>>>,
}

impl Group {
    fn cover(&mut self) {
        let Some(tick) = self.labels.as_ref().and_then(|labels| labels.tick) else { return };
        for versions in self.panes.values_mut() {
            if let Some(newest) = versions.range(..=tick).next_back().map(|(tick, _)| *tick) {
                *versions = versions.split_off(&newest);
            }
        }
    }
}

/// The last word about every source partition.
#[derive(Debug)]
pub struct Directory {
    plan: Arc<Plan>,
    addresses: Arc<Addresses>,
    /// The partitions of the panes topic that are listened to.
    homes: BTreeSet<i32>,
    sources: BTreeMap<SourceName, BTreeMap<i32, Said>>,
    groups: BTreeMap<(i32, Arc<str>, u64), Group>,
}

impl Directory {
    /// An empty one.
    #[must_use]
    pub fn new(plan: Arc<Plan>, addresses: Arc<Addresses>) -> Directory {
        Directory { plan, homes: addresses.homes(), addresses, sources: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Takes a record of the panes topic in.
    ///
    /// # Errors
    /// A record that is none of ours, or damaged.
    pub fn hear(&mut self, home: i32, key: &[u8], value: Option<&[u8]>) -> Result<(), WireError> {
        let key = Key::from_bytes(key)?;
        let Some(value) = value else { return Ok(()) };
        // Where no model is at home any more nobody goes on saying anything: what was said there would be gone on from for ever.
        if !self.homes.contains(&home) {
            return Ok(());
        }
        match key {
            Key::Progress { source } => {
                let progress: Progress = from_bytes(value)?;
                let said = self.sources.entry(source).or_default().entry(home).or_default();
                if said.progress.as_ref().is_none_or(|held| held.end <= progress.end) {
                    said.progress = Some(progress);
                }
            }
            Key::Events { series, slice, source } => {
                if self.addresses.number(&series.model, series.layout).is_none() {
                    return Ok(());
                }
                let (end, sealed_at): (i64, Timestamp) = begin_of(value)?;
                let said = self.sources.entry(source).or_default().entry(home).or_default();
                let held = said.open.get(&(series.clone(), slice));
                if held.is_none_or(|held| held.end < end) {
                    said.open.insert((series, slice), Open { end, sealed_at, value: value.to_vec() });
                }
            }
            Key::Joined { series, slice, partition } => {
                if self.addresses.number(&series.model, series.layout).is_none() {
                    return Ok(());
                }
                let tick: Timestamp = begin_of(value)?;
                let group = self.groups.entry((partition, Arc::clone(&series.model), series.layout)).or_default();
                let versions = group.panes.entry((series, slice)).or_default();
                if versions.first_key_value().is_none_or(|(oldest, _)| *oldest <= tick) {
                    versions.insert(tick, value.to_vec());
                }
            }
            Key::Labels { model, layout, partition } => {
                let Some(number) = self.addresses.number(&model, layout) else { return Ok(()) };
                let labels: Labels = from_bytes(value)?;
                let group = self.groups.entry((partition, model, layout)).or_default();
                if group.labels.as_ref().is_none_or(|held| held.tick <= labels.tick) {
                    if let (Some(tick), Some(plan)) = (labels.tick, self.plan.model(number)) {
                        group.panes.retain(|(_, slice), _| *slice >= tick - reach(plan));
                    }
                    group.labels = Some(labels);
                    group.cover();
                }
            }
        }
        Ok(())
    }

    /// What was said last of a source partition; none where nothing was.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Option<ResumedSource> {
        let said = self.sources.get(name)?;
        // What was said in one partition of the panes topic may be ahead of another: the least is gone on from, and panes that
        // are ahead skip what they hold.
        let progress = said.values().filter_map(|said| said.progress.as_ref()).min_by_key(|progress| progress.end)?.clone();
        let mut partition = Partition::begun(progress.watermark, progress.earliest);
        let mut series: Vec<SeriesKey> = Vec::new();
        let mut late = BTreeMap::new();
        let mut panes = Vec::new();
        for (home, said) in said {
            for ((name, slice), open) in &said.open {
                let is_open = progress.watermark.is_none_or(|watermark| open.sealed_at > watermark);
                let Some(key) = self.addresses.key(name).filter(|_| is_open) else { continue };
                let Ok(events) = from_bytes::<Events>(&open.value) else { continue };
                let number = SeriesId(u32::try_from(series.len()).unwrap_or(u32::MAX));
                series.push(key);
                let (slice, sealed_at, end) = (*slice, events.sealed_at, events.end);
                panes.push(OpenPane { series: number, slice, sealed_at, pane: events.pane, end, resume: end });
            }
            let Some(theirs) = &said.progress else { continue };
            for (number, _) in self.addresses.all().filter(|(_, address)| address.home == *home) {
                partition.resume_late(number, theirs.end);
            }
            for entry in &theirs.late {
                if let Some(model) = self.addresses.number(&entry.model, entry.layout) {
                    late.insert(LateKey { model, slice: entry.slice, reached: entry.reached }, entry.records);
                }
            }
        }
        partition.resume(panes);
        Some(ResumedSource { next: progress.end, progress, late, state: PartitionState { partition, series } })
    }

    /// What was said last of the joins in the partitions of one number.
    #[must_use]
    pub fn group(&self, partition: i32) -> ResumedGroup {
        let mut resumed = ResumedGroup::new();
        for ((_, model, layout), group) in self.groups.iter().filter(|((number, ..), _)| *number == partition) {
            let (Some(number), Some(labels)) = (self.addresses.number(model, *layout), group.labels.clone()) else { continue };
            let tick = labels.tick;
            let panes = group.panes.iter().filter_map(|((series, slice), versions)| {
                let (_, value) = versions.range(..=tick?).next_back().or_else(|| versions.first_key_value())?;
                Some(((*slice, Arc::clone(&series.version), series.segment), from_bytes::<Joined>(value).ok()?))
            });
            resumed.insert(number, (labels, panes.collect()));
        }
        resumed
    }

    /// Forgets the panes that take no more records.
    pub fn prune(&mut self) {
        for said in self.sources.values_mut() {
            let least = said.values().filter_map(|said| said.progress.as_ref()).min_by_key(|progress| progress.end);
            let Some(watermark) = least.and_then(|progress| progress.watermark) else { continue };
            for said in said.values_mut() {
                said.open.retain(|_, open| open.sealed_at > watermark);
            }
        }
    }
}
