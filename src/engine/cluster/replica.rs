//! What one replica knows of the source partitions it reads: how far they are, what became of their records, which labels
//! wait. It says all of it in records that are cumulative, so that saying it twice does no harm.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::engine::evaluator::{Gap, Lost, SourceState};
use crate::engine::model::EARLY_LABEL_PATIENCE;
use crate::engine::output::{JoinHalf, ShardOutput};
use crate::engine::plan::Plan;
use crate::engine::series::SeriesKey;
use crate::engine::shard::Shard;
use crate::event::{Outcome, Reject, SourceId, Span, Timestamp, TopicRole};
use crate::join::{Kept, Prediction};

use super::address::{Addresses, Post};
use super::directory::{ResumedGroup, ResumedSource};
use super::joiner::Joiner;
use super::reading::Reading;
use super::shelving::Shelving;
use super::wire::{Events, Key, LIFE, Labels, Late, SourceName, offset_of, to_bytes};

/// Predictions and labels that all joins apply at one go: some 100 ms, during which nobody is listened to.
const PACE: usize = 20_000;

/// The counting half of a replica, besides its shards.
#[derive(Debug)]
pub struct Replica {
    pub(super) plan: Arc<Plan>,
    addresses: Arc<Addresses>,
    instance: Arc<str>,
    /// The series of each shard by its own numbers.
    series: Vec<Vec<SeriesKey>>,
    readings: BTreeMap<SourceId, Reading>,
    /// The ids of topics as they were told last.
    topic_ids: BTreeMap<String, Arc<str>>,
    /// By number of the partitions and number of the model.
    pub(super) joiners: BTreeMap<(i32, u16), Joiner>,
    pub(super) shelving: Shelving,
    pace: usize,
}

/// The panes of a source partition that have changed since `acknowledged`, as records.
pub fn changed_panes(shard: &Shard, addresses: &Addresses, source: SourceId, name: &SourceName, end: i64, acknowledged: i64) -> Vec<Post> {
    let posts = shard.changed(source, acknowledged).filter_map(|(series, open)| {
        let (home, key) = addresses.events(series, open.slice, name)?;
        // A pane that was restored further ahead than its partition stays there until that has caught up.
        let events = Events { end: end.max(open.resume), sealed_at: open.sealed_at, pane: open.pane.clone() };
        Some(Post { home, key: key.to_bytes(), value: to_bytes(&events) })
    });
    posts.collect()
}

impl Replica {
    /// A replica that reads nothing yet. `instance` names it for people.
    #[must_use]
    pub fn new(plan: Arc<Plan>, addresses: Arc<Addresses>, instance: Arc<str>) -> Replica {
        let shelving = Shelving::in_memory(plan.ledger_capacity);
        let (series, readings, joiners) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Replica { plan, addresses, instance, series, readings, topic_ids: BTreeMap::new(), joiners, shelving, pace: PACE }
    }

    /// Has joins apply another number of predictions and labels at one go.
    #[must_use]
    pub fn with_pace(self, pace: usize) -> Replica {
        Replica { pace, ..self }
    }

    /// A source partition is ours to read, from `start` or from where it was resumed.
    pub fn assign(&mut self, source: SourceId, name: SourceName, role: TopicRole, start: i64, resumed: Option<ResumedSource>) {
        let reading = match resumed {
            None => Reading::begun(name, role, start),
            Some(resumed) => Reading::resumed(name, role, start, resumed),
        };
        self.readings.insert(source, reading);
    }

    /// The broker tells the id of a topic. Partitions of it that were `begun` under another one begin again: their positions are
    /// of the new topic when they have.
    pub fn name_topic(&mut self, topic: &str, id: &Arc<str>, begun: &[SourceId]) {
        self.topic_ids.insert(topic.to_owned(), Arc::clone(id));
        for (source, reading) in self.readings.iter_mut().filter(|(_, reading)| *reading.name.topic == *topic) {
            reading.hear_id(id, begun.contains(source));
        }
    }

    /// The id of the topic of a partition, if any was told when it became ours: where it went on from what somebody said under
    /// another one, it begins again.
    pub fn name_partition(&mut self, source: SourceId, id: Option<&Arc<str>>) {
        let Some(reading) = self.readings.get_mut(&source) else { return };
        // One that was told since may have been heard of before the partition.
        let since = self.topic_ids.get(&*reading.name.topic);
        let is_begun = offset_of(reading.seen) > 0;
        id.into_iter().chain(since).for_each(|id| reading.hear_id(id, is_begun));
    }

    /// The positions between which joins have to be told again of a partition's records.
    #[must_use]
    pub fn read_between(&self, source: SourceId) -> Range<i64> {
        let Some(Reading { start, seen, .. }) = self.readings.get(&source) else { return 0..0 };
        // Of a topic that was made anew since, everything.
        let start = if start.div_euclid(LIFE) == seen.div_euclid(LIFE) { *start } else { seen - offset_of(*seen) };
        start..*seen
    }

    /// Takes over the joins of the partitions of one number, in place of what there was of them. Where they go on from an
    /// earlier owner's, predictions and labels since the returned instant, and within [`Replica::read_between`], have to be
    /// read again and given to [`Replica::read_again`].
    pub fn join(&mut self, partition: i32, resumed: &mut ResumedGroup) -> Option<Timestamp> {
        let mut since: Option<Timestamp> = None;
        for (name, end) in resumed.values().flat_map(|(labels, _)| &labels.ends) {
            if let Some(reading) = self.readings.values_mut().find(|reading| reading.name == *name) {
                reading.seen = reading.seen.max(*end);
            }
        }
        self.leave(partition);
        for (number, model) in (0u16..).zip(&self.plan.models) {
            if model.horizon.is_none() {
                continue;
            }
            let (generation, shelf) = self.shelving.begin();
            let mut joiner = Joiner::new(model, generation, shelf, self.shelving.capacity);
            let clock = resumed.remove(&number).and_then(|(labels, panes)| joiner.resume(model, labels, panes));
            let back = clock.or_else(|| {
                // Read by somebody who had not come to join anything: nothing of it counts yet. Whoever died before it could say
                // how far it had read has not said how early that began either.
                let joins = |reading: &&Reading| reading.role != TopicRole::Features && reading.name.partition == partition;
                let read = self.readings.values().filter(joins).filter(|reading| reading.seen > reading.start);
                let earliest = read.map(|reading| reading.earliest.unwrap_or_default()).min()?;
                joiner.begin_again();
                Some(earliest - model.lateness - Span(2 * EARLY_LABEL_PATIENCE.0))
            });
            if let Some(back) = back {
                since = Some(since.map_or(back, |since| since.min(back)));
            }
            self.joiners.insert((partition, number), joiner);
        }
        self.share_cache();
        if since.is_some() {
            for reading in self.readings.values_mut().filter(|reading| reading.name.partition == partition) {
                reading.told_again = reading.seen;
            }
        }
        since
    }

    /// Somebody else reads a partition from now on.
    pub fn revoke(&mut self, source: SourceId) {
        let Some(gone) = self.readings.remove(&source) else { return };
        // Joins need every partition of their number; without one of them somebody else does all of it.
        if gone.role != TopicRole::Features {
            self.leave(gone.name.partition);
            self.share_cache();
        }
    }

    /// Whether a partition is at its end without news.
    pub fn set_idle(&mut self, source: SourceId, is_idle: bool) {
        if let Some(reading) = self.readings.get_mut(&source) {
            reading.is_idle = is_idle;
        }
    }

    /// Records of a partition can never be read.
    pub fn add_gap(&mut self, source: SourceId, reason: Arc<str>, lost: Lost) {
        if let Some(reading) = self.readings.get_mut(&source) {
            reading.gaps.push(Gap { from: reading.watermark, until: None, reason, lost: Some(lost) });
        }
    }

    /// What is to be said of rejected records beside their counts, which come with [`Replica::absorb`]: how many of them had
    /// no value, and the offset and reason of the last one that had.
    pub fn add_rejected(&mut self, source: SourceId, tombstones: u64, example: Option<(i64, Reject)>) {
        if let Some(reading) = self.readings.get_mut(&source) {
            reading.tombstones += tombstones;
            reading.example = example.filter(|(_, reason)| *reason != Reject::UnknownModel).or(reading.example);
        }
    }

    /// Takes in what a shard has to say.
    pub fn absorb(&mut self, shard: usize, output: ShardOutput) {
        if self.series.len() <= shard {
            self.series.resize(shard + 1, Vec::new());
        }
        if let Some(series) = self.series.get_mut(shard) {
            series.extend(output.series);
        }
        for (source, counts) in &output.counts {
            if let Some(reading) = self.readings.get_mut(source) {
                reading.counts.merge(counts);
            }
        }
        for progress in output.progress {
            let Some(reading) = self.readings.get_mut(&progress.source) else { continue };
            reading.advance(progress.watermark, progress.earliest);
        }
        for ((source, key), records) in output.late {
            if let Some(reading) = self.readings.get_mut(&source) {
                *reading.late.entry(key).or_default() += records;
            }
        }
        let series = self.series.get(shard).map_or(&[][..], Vec::as_slice);
        for half in &output.halves {
            let (source, offset) = match half {
                JoinHalf::Prediction { position, .. } => *position,
                JoinHalf::Label { label, .. } => label.position,
            };
            if let Some(reading) = self.readings.get_mut(&source) {
                reading.seen = reading.seen.max(offset + 1);
            }
        }
        take_halves(&self.readings, &mut self.joiners, self.shelving.capacity, series, output.halves, false);
    }

    /// Takes predictions and labels in that were read again after a hand-over, by a shard of their own.
    pub fn read_again(&mut self, series: &[SeriesKey], halves: Vec<JoinHalf>) {
        take_halves(&self.readings, &mut self.joiners, self.shelving.capacity, series, halves, true);
    }

    /// Applies what was read again in the partitions of this number, up to the clock of that reading.
    pub fn read_again_to(&mut self, partition: i32, clock: Timestamp) {
        let mut left = self.pace;
        for ((_, number), joiner) in self.joiners.range_mut((partition, 0)..=(partition, u16::MAX)) {
            if let Some(model) = self.plan.model(*number) {
                joiner.read_again_to(model, clock, &mut left);
            }
        }
    }

    /// Everything before the hand-over has been read again in the partitions of this number.
    pub fn rebuilt(&mut self, partition: i32) {
        self.joiners.range_mut((partition, 0)..=(partition, u16::MAX)).for_each(|(_, joiner)| joiner.rebuilt());
    }

    /// Applies labels as far as their partitions allow.
    pub fn advance(&mut self, cap: Option<Timestamp>) {
        // To each its part, so that one with much to do does not hold up the others.
        let part = (self.pace / self.joiners.len().max(1)).max(1);
        for ((partition, number), joiner) in &mut self.joiners {
            let Some(model) = self.plan.model(*number) else { continue };
            let clock = clock(&self.readings, *partition);
            let clock = Clock { at: clock.at.map(|at| cap.map_or(at, |cap| at.min(cap))), ..clock };
            joiner.advance(model, clock.at, clock.is_idle, &mut { part });
        }
    }

    /// How far the given partitions are, to be said after their panes. `ends` are the offsets after the last records counted:
    /// of these records, and of none behind them, the shard's output must have been absorbed.
    pub fn progress(&mut self, ends: &[(SourceId, i64)], now: Timestamp) -> Vec<Post> {
        let mut posts = Vec::new();
        for (source, end) in ends {
            let Some(reading) = self.readings.get_mut(source) else { continue };
            reading.prune(&self.plan);
            reading.reach(*end);
            let key = Key::Progress { source: reading.name.clone() }.to_bytes();
            for home in self.addresses.homes() {
                let late = reading.late.iter().filter_map(|(key, records)| {
                    let address = self.addresses.get(key.model).filter(|address| address.home == home)?;
                    let (model, layout) = (Arc::clone(&address.name), address.layout);
                    Some(Late { model, layout, slice: key.slice, reached: key.reached, records: *records })
                });
                let progress = reading.said(*end, late.collect(), Arc::clone(&self.instance), now);
                posts.push(Post { home, key: key.clone(), value: to_bytes(&progress) });
            }
        }
        posts
    }

    /// The joined panes that have changed and how far the joins are. They are said again until [`Replica::acknowledge`].
    pub fn labels(&mut self, now: Timestamp) -> Vec<Post> {
        let mut posts = Vec::new();
        for ((partition, number), joiner) in &mut self.joiners {
            let Some(address) = self.addresses.get(*number) else { continue };
            for (slice, version, segment, joined) in joiner.changed() {
                let key = SeriesKey { model: *number, version: Arc::clone(version), segment };
                let Some(series) = self.addresses.series(&key) else { continue };
                let key = Key::Joined { series, slice, partition: *partition };
                posts.push(Post { home: address.home, key: key.to_bytes(), value: to_bytes(joined) });
            }
            let mut state: Labels = joiner.labels(Arc::clone(&self.instance), now);
            let joined = |reading: &&Reading| reading.role != TopicRole::Features && reading.name.partition == *partition;
            state.ends = self.readings.values().filter(joined).map(|reading| (reading.name.clone(), reading.seen)).collect();
            let key = Key::Labels { model: Arc::clone(&address.name), layout: address.layout, partition: *partition };
            posts.push(Post { home: address.home, key: key.to_bytes(), value: to_bytes(&state) });
        }
        posts
    }

    /// What [`Replica::labels`] said last has arrived.
    pub fn acknowledge(&mut self) {
        self.joiners.values_mut().for_each(Joiner::acknowledge);
    }

    /// The partitions that are read here, for display.
    pub fn sources(&self) -> impl Iterator<Item = (SourceId, SourceState)> {
        self.readings.iter().map(|(source, reading)| {
            let mut counts = reading.counts.clone();
            if reading.role == TopicRole::Labels {
                // What became of labels is known by model and partition number.
                let joiners = self.joiners.iter().filter(|((number, _), _)| *number == reading.name.partition);
                for (outcome, events) in joiners.flat_map(|(_, joiner)| joiner.settled()) {
                    let moved = counts.of(Outcome::Waiting).min(events);
                    counts.shift(Outcome::Waiting, outcome, moved);
                }
            }
            let state = SourceState {
                role: reading.role,
                watermark: reading.watermark,
                earliest: reading.earliest,
                is_idle: reading.is_idle,
                is_assigned: true,
                counts,
                gaps: reading.gaps.clone(),
            };
            (*source, state)
        })
    }

    /// What the ledgers here hold.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.joiners.values().map(Joiner::kept).sum()
    }
}

struct Clock {
    at: Option<Timestamp>,
    is_idle: bool,
}

/// The clock up to which labels of the partitions of one number can be applied: the least watermark of its prediction and
/// label partitions that are not idle. Without a label partition, or without a prediction partition, there is none.
fn clock(readings: &BTreeMap<SourceId, Reading>, partition: i32) -> Clock {
    let of = |role: TopicRole| readings.values().filter(move |reading| reading.name.partition == partition && reading.role == role);
    let none = Clock { at: None, is_idle: false };
    if of(TopicRole::Predictions).next().is_none() || of(TopicRole::Labels).next().is_none() {
        return none;
    }
    let both = || of(TopicRole::Predictions).chain(of(TopicRole::Labels));
    if both().all(|reading| reading.is_idle) {
        return Clock { at: both().filter_map(|reading| reading.watermark).max(), is_idle: true };
    }
    let busy = || both().filter(|reading| !reading.is_idle);
    if busy().any(|reading| reading.watermark.is_none()) {
        return none;
    }
    // A tick is over when the clock has passed it: what is out of order behind its very instant came at that instant, too.
    let over = |at: Timestamp| Timestamp(at.0.saturating_sub(1));
    Clock { at: busy().filter_map(|reading| reading.watermark).min().map(over), is_idle: false }
}

fn take_halves(
    readings: &BTreeMap<SourceId, Reading>,
    joiners: &mut BTreeMap<(i32, u16), Joiner>,
    capacity: usize,
    series: &[SeriesKey],
    halves: Vec<JoinHalf>,
    is_again: bool,
) {
    // What waits in the joins of each model, predictions and labels; a duplicate among these halves is counted for a moment.
    let mut waiting: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
    for ((_, model), joiner) in joiners.iter().filter(|_| !halves.is_empty()) {
        let (predictions, labels) = waiting.entry(*model).or_default();
        *predictions += joiner.waiting_predictions();
        *labels += joiner.waiting_labels();
    }
    for half in halves {
        let ((source, offset), model) = match &half {
            JoinHalf::Prediction { position, series: number, .. } => {
                let Some(key) = series.get(number.0 as usize) else { continue };
                (*position, key.model)
            }
            JoinHalf::Label { model, label } => (label.position, *model),
        };
        let Some(reading) = readings.get(&source).filter(|reading| is_again || offset >= reading.told_again) else { continue };
        let Some(joiner) = joiners.get_mut(&(reading.name.partition, model)) else { continue };
        let (predictions, labels) = waiting.entry(model).or_default();
        match half {
            JoinHalf::Prediction { id, ts, came, position, series: number, segments, predicted } => {
                let Some(key) = series.get(number.0 as usize) else { continue };
                if *predictions >= capacity {
                    joiner.refuse();
                    continue;
                }
                *predictions += 1;
                let version = joiner.version(&key.version);
                let arrival = (came, position.1, xxh3_64(reading.name.topic.as_bytes()));
                joiner.predict(arrival, id, Prediction { ts, version, segments, predicted });
            }
            JoinHalf::Label { label, .. } => {
                joiner.label(&label, *labels < capacity);
                *labels += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::NO_MODEL;
    use super::super::wire::Progress;
    use super::super::wire::{from_bytes, home};
    use super::*;
    use crate::engine::cluster::Directory;

    const SOURCE: SourceId = SourceId(4);

    #[test]
    fn what_was_rejected_and_lost_is_said_where_alerts_of_no_model_are_at_home_and_gone_on_with() {
        let plan = Arc::new(Plan::empty());
        let addresses = Arc::new(Addresses::new(&plan, 8));
        let name = SourceName { topic: "t".into(), partition: 3 };
        let mut replica = Replica::new(Arc::clone(&plan), Arc::clone(&addresses), "a".into());
        replica.assign(SOURCE, name.clone(), TopicRole::Features, 0, None);
        replica.add_rejected(SOURCE, 2, Some((7, Reject::NotJson)));
        replica.add_rejected(SOURCE, 1, Some((8, Reject::UnknownModel)));
        replica.add_rejected(SOURCE, 0, None);
        replica.add_gap(SOURCE, "gone".into(), Lost { from: 9, to: 12 });
        let posts = replica.progress(&[(SOURCE, 12)], Timestamp(5));
        let [post] = &posts[..] else { panic!("{posts:?}") };
        assert_eq!(post.home, home(NO_MODEL, 8));
        let said: Progress = from_bytes(&post.value).unwrap();
        assert_eq!((said.tombstones, said.example), (3, Some((7, Reject::NotJson))));
        assert_eq!(said.gaps[0].lost, Some(Lost { from: 9, to: 12 }));

        let mut directory = Directory::new(Arc::clone(&plan), Arc::clone(&addresses));
        directory.hear(post.home, &post.key, Some(&post.value)).unwrap();
        let mut next = Replica::new(plan, addresses, "b".into());
        next.assign(SOURCE, name.clone(), TopicRole::Features, 12, directory.source(&name));
        next.add_rejected(SOURCE, 1, None);
        let said: Progress = from_bytes(&next.progress(&[(SOURCE, 13)], Timestamp(6))[0].value).unwrap();
        assert_eq!((said.tombstones, said.example, said.gaps.len()), (4, Some((7, Reject::NotJson)), 1));
    }
}
