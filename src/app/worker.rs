//! A counting worker: one thread that owns one shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError};
use rustc_hash::FxHashMap;

use crate::engine::cluster::wire::{LIFE, SourceName, offset_of};
use crate::engine::cluster::{Addresses, Post, changed_panes};
use crate::engine::shard::PartitionState;
use crate::engine::state::Change;
use crate::engine::state::partition::Said;
use crate::engine::{Plan, Record, Shard, ShardOutput};
use crate::event::decode::RecordMeta;
use crate::event::{NextOffset, Outcome, SourceId, TopicRole};
use crate::source::{Batch, Topics, Turn};

use super::letter::{Clerk, DeadLetters, Rejected};

/// Batches a worker may be behind. Small: what waits here is not in the checkpoint and has to be read again.
pub const QUEUE: usize = 4;

/// Records after which a worker speaks although more are waiting: taking in what it says costs as much for one as for many.
const SAY_EVERY: usize = 1024;

/// What a worker is told besides batches.
#[derive(Debug)]
pub enum Order {
    /// Hand the open panes of these idle partitions on.
    Flush(Vec<SourceId>),
    /// Say everything and give the state of all partitions.
    Snapshot,
    /// In a cluster: say everything, and the panes that have changed since these offsets; what is sealed and lies before
    /// them is dropped.
    Publish(BTreeMap<SourceId, i64>),
    /// Count nothing further, or go on.
    Brake(bool),
}

/// What a worker says.
#[derive(Debug, Default)]
pub struct Saying {
    /// What the shard has to say.
    pub output: ShardOutput,
    /// What is to be said of rejected records beside their counts.
    pub rejected: BTreeMap<SourceId, Rejected>,
    /// Partitions whose open panes were handed on by order.
    pub flushed: Vec<SourceId>,
    /// The state of the partitions and where reading goes on; the answer to [`Order::Snapshot`], and the last word.
    pub snapshot: Option<Snapshot>,
    /// Whether this is the last word.
    pub is_last: bool,
    /// After the output: partitions that changed hands.
    pub turns: Vec<Turn>,
    /// The answer to [`Order::Publish`].
    pub published: Option<Published>,
}

/// What a worker of a replica says of its partitions.
#[derive(Debug, Default)]
pub struct Published {
    /// Changed panes.
    pub posts: Vec<Post>,
    /// The offsets after the last records counted; -1 where nothing was.
    pub ends: Vec<(SourceId, i64)>,
    /// How far the partitions are at these offsets, to be said after everybody's panes; added by whoever takes the answer in.
    pub progress: Vec<Post>,
}

/// State and positions of the partitions of one worker: part of one atom.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Open panes and progress, to start from.
    pub partitions: BTreeMap<SourceId, PartitionState>,
    /// What is stored of them, to start from.
    pub said: Said,
    /// What has changed since the last snapshot.
    pub changes: Vec<Change>,
    /// Where reading goes on.
    pub positions: BTreeMap<SourceId, NextOffset>,
    /// Letters of records before these positions are not accounted for and must not be lost: this must not be stored.
    pub owes_letters: bool,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// Its orders.
    pub orders: Sender<Order>,
    /// What it says.
    pub sayings: Receiver<Saying>,
    /// Its thread; it ends with a last snapshot when no more batches can come.
    pub thread: JoinHandle<()>,
}

/// Starts a worker on stored state.
///
/// # Errors
/// When the system gives no thread.
#[allow(clippy::too_many_arguments)] // Said once for each kind of run.
pub fn spawn(
    number: usize,
    plan: Arc<Plan>,
    topics: Topics,
    restored: Snapshot,
    batches: Receiver<Batch>,
    empties: Sender<Batch>,
    addresses: Option<Arc<Addresses>>,
    letters: Option<Arc<DeadLetters>>,
) -> std::io::Result<Worker> {
    let (orders, inbox) = crossbeam_channel::bounded(16);
    let (mouth, sayings) = crossbeam_channel::bounded(QUEUE);
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let wants_headers = plan.mapping.headers().next().is_some();
        let clerk = Clerk::new(number, letters);
        let mut shard = if addresses.is_some() { Shard::cumulative(plan) } else { Shard::new(plan) };
        for (source, state) in restored.partitions {
            shard.restore(source, state);
        }
        let mut body = Body {
            shard,
            said: restored.said,
            topics,
            known: Vec::new(),
            wants_headers,
            clerk,
            positions: Vec::new(),
            unsaid: 0,
            mouth,
            empties,
            addresses,
            names: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            lives: FxHashMap::default(),
            is_braked: false,
        };
        restored.positions.into_iter().for_each(|(source, next)| reach(&mut body.positions, source, next));
        body.run(&batches, &inbox);
    })?;
    Ok(Worker { orders, sayings, thread })
}

struct Body {
    shard: Shard,
    /// What was said of its partitions when it was last asked.
    said: Said,
    topics: Topics,
    known: Vec<(Arc<str>, TopicRole)>,
    /// Whether the event mapping asks for headers.
    wants_headers: bool,
    clerk: Clerk,
    /// By number of the source.
    positions: Vec<Option<NextOffset>>,
    /// Records counted since it last spoke.
    unsaid: usize,
    mouth: Sender<Saying>,
    empties: Sender<Batch>,
    /// In a cluster: where panes are said.
    addresses: Option<Arc<Addresses>>,
    /// In a cluster: what the lives of a topic add to its offsets; nothing where there was one.
    lives: FxHashMap<SourceId, i64>,
    /// In a cluster: the partitions that are ours.
    names: BTreeMap<SourceId, SourceName>,
    /// In a cluster: what was acknowledged when panes were said last.
    acknowledged: BTreeMap<SourceId, i64>,
    /// In a cluster: whether batches are left where they are.
    is_braked: bool,
}

impl Body {
    fn run(&mut self, batches: &Receiver<Batch>, orders: &Receiver<Order>) {
        loop {
            let mut select = Select::new();
            if !self.is_braked {
                select.recv(batches);
            }
            select.recv(orders);
            select.ready();
            match orders.try_recv() {
                Ok(order) => {
                    // An order is about everything that was read before it, and waits for nothing that comes after.
                    let read = if self.is_braked { 0 } else { batches.len() };
                    for batch in batches.try_iter().take(read) {
                        self.count(batch);
                    }
                    self.follow(order);
                }
                Err(TryRecvError::Disconnected) => self.is_braked = false,
                Err(TryRecvError::Empty) => {}
            }
            if self.is_braked {
                continue;
            }
            match batches.try_recv() {
                Ok(batch) => {
                    self.count(batch);
                    if self.unsaid > 0 && batches.is_empty() {
                        self.say_output();
                    }
                }
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
        }
        if self.addresses.is_some() {
            let acknowledged = std::mem::take(&mut self.acknowledged);
            self.publish(&acknowledged, true);
        } else {
            self.say_all(true);
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Flush(sources) => {
                sources.iter().for_each(|source| self.shard.flush(*source));
                let output = self.shard.take_output();
                self.say(Saying { output, flushed: sources, ..Saying::default() });
            }
            Order::Snapshot => self.say_all(false),
            Order::Publish(acknowledged) => {
                self.publish(&acknowledged, false);
                self.acknowledged = acknowledged;
            }
            Order::Brake(is_braked) => self.is_braked = is_braked,
        }
    }

    fn publish(&mut self, acknowledged: &BTreeMap<SourceId, i64>, is_last: bool) {
        let Some(addresses) = self.addresses.clone() else { return };
        let mut published = Published::default();
        // Letters come before positions: what is said as read is either accounted for or read again.
        if !self.clerk.settle() {
            let output = self.shard.take_output();
            self.say(Saying { output, published: Some(published), is_last, ..Saying::default() });
            return;
        }
        for (source, name) in &self.names {
            let end = self.positions.get(source.0 as usize).copied().flatten().map_or(-1, |next| next.0);
            let since = acknowledged.get(source).copied().unwrap_or(0);
            self.shard.drop_sealed(*source, since);
            published.posts.extend(changed_panes(&self.shard, &addresses, *source, name, end, since));
            published.ends.push((*source, end));
        }
        let output = self.shard.take_output();
        self.say(Saying { output, published: Some(published), is_last, ..Saying::default() });
    }

    /// Changes of hands. What was counted before is said before them.
    fn turn(&mut self, turns: Vec<Turn>) {
        let output = self.shard.take_output();
        for turn in &turns {
            match turn {
                Turn::Forget(source) => {
                    self.shard.forget(*source);
                    self.names.remove(source);
                    self.set_position(*source, None);
                }
                Turn::Resume { source, resumed } => {
                    self.shard.forget(source.id);
                    let name = SourceName { topic: Arc::from(source.topic.as_str()), partition: source.partition };
                    self.names.insert(source.id, name);
                    let next = resumed.as_ref().map(|resumed| resumed.next);
                    self.lives.insert(source.id, next.map_or(0, |next| next - offset_of(next)));
                    self.set_position(source.id, next.map(NextOffset));
                    if let Some(resumed) = resumed {
                        self.shard.restore(source.id, resumed.state.clone());
                    }
                }
            }
        }
        self.say(Saying { output, turns, ..Saying::default() });
    }

    fn set_position(&mut self, source: SourceId, next: Option<NextOffset>) {
        if let Some(position) = self.positions.get_mut(source.0 as usize) {
            *position = next;
        } else if let Some(next) = next {
            reach(&mut self.positions, source, next);
        }
    }

    fn count(&mut self, mut batch: Batch) {
        if !batch.turns.is_empty() {
            self.turn(std::mem::take(&mut batch.turns));
        }
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        for (head, key, value) in batch.records() {
            let life = self.lives.get(&head.source).copied().unwrap_or(0);
            if head.is_move {
                let position = life + head.offset + 1;
                let before = self.positions.get(head.source.0 as usize).copied().flatten();
                // In a cluster what is said later must be greater: a log that begins again begins another life.
                let is_again = self.addresses.is_some() && before.is_some_and(|before| position < before.0);
                let position = if is_again { position + LIFE } else { position };
                self.lives.insert(head.source, position - position.rem_euclid(LIFE));
                reach(&mut self.positions, head.source, NextOffset(position));
                continue;
            }
            let (topic, role) = topic_of(&mut self.known, &self.topics, head.source);
            if self.wants_headers {
                headers.clear();
                headers.extend(batch.headers(head).map(|(name, value)| (name, value.unwrap_or_default())));
            }
            let meta = RecordMeta { topic, key: Some(key), timestamp: head.timestamp, headers: &headers };
            let record = Record { source: head.source, role, offset: life + head.offset, meta, value, oversize: head.oversize.is_some() };
            if let Outcome::Rejected(reason) = self.shard.ingest(&record) {
                self.clerk.reject(reason, topic, &batch, head, key, value);
            }
            reach(&mut self.positions, head.source, NextOffset(life + head.offset + 1));
        }
        self.unsaid += batch.len();
        batch.clear();
        // When nobody wants the empty batch back it is simply freed.
        let _ = self.empties.try_send(batch);
        if self.unsaid >= SAY_EVERY {
            self.say_output();
        }
    }

    fn say_output(&mut self) {
        let output = self.shard.take_output();
        self.say(Saying { output, ..Saying::default() });
    }

    fn say_all(&mut self, is_last: bool) {
        // Letters come before positions: what is stored as read is either accounted for or read again.
        let owes_letters = !self.clerk.settle();
        let output = self.shard.take_output();
        let positions = (0..).map(SourceId).zip(&self.positions).filter_map(|(source, next)| Some((source, (*next)?)));
        // What a worker that owes letters has changed is said with a later snapshot.
        let changes = if owes_letters { Vec::new() } else { self.said.changes(&self.shard) };
        let snapshot = Snapshot { changes, positions: positions.collect(), owes_letters, ..Snapshot::default() };
        self.say(Saying { output, snapshot: Some(snapshot), is_last, ..Saying::default() });
    }

    fn say(&mut self, mut saying: Saying) {
        self.unsaid = 0;
        saying.rejected = self.clerk.take();
        // The listener is only gone when the process is going down without wanting to know.
        let _ = self.mouth.send(saying);
    }
}

fn reach(positions: &mut Vec<Option<NextOffset>>, source: SourceId, next: NextOffset) {
    let place = source.0 as usize;
    if place >= positions.len() {
        positions.resize(place + 1, None);
    }
    if let Some(position) = positions.get_mut(place) {
        *position = Some(next);
    }
}

/// Topic and role of a source; the shared list is only looked at for a source that is new here.
fn topic_of<'a>(known: &'a mut Vec<(Arc<str>, TopicRole)>, topics: &Topics, source: SourceId) -> (&'a str, TopicRole) {
    let place = source.0 as usize;
    if place >= known.len() {
        topics.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone_into(known);
    }
    known.get(place).map_or(("", TopicRole::Predictions), |(topic, role)| (&**topic, *role))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn an_order_waits_for_no_batch_that_comes_after_it() {
        let (sender, batches) = crossbeam_channel::bounded(QUEUE);
        let (empties, _emptied) = crossbeam_channel::bounded(1);
        let worker = spawn(0, Arc::new(Plan::empty()), Topics::default(), Snapshot::default(), batches, empties, None, None).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let feeder = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut batch = Batch::default();
                for offset in 0..1024 {
                    batch.push(SourceId(0), offset, None, b"", b"rubbish");
                }
                while !over.load(Ordering::SeqCst) && sender.send(batch.clone()).is_ok() {}
            }
        });
        // The queue is full by now, and stays so.
        (0..QUEUE).for_each(|_| drop(worker.sayings.recv().unwrap()));
        worker.orders.send(Order::Snapshot).unwrap();
        let answer = worker.sayings.iter().take(100).find(|saying| saying.snapshot.is_some());
        over.store(true, Ordering::SeqCst);
        worker.sayings.iter().for_each(drop);
        feeder.join().unwrap();
        worker.thread.join().unwrap();
        assert!(answer.is_some_and(|saying| !saying.is_last), "no answer among a hundred");
    }
}
