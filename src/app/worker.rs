//! A counting worker: one thread that owns one shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError};

use crate::engine::shard::PartitionState;
use crate::engine::state::Change;
use crate::engine::state::partition::Said;
use crate::engine::{Plan, Record, Shard, ShardOutput};
use crate::event::decode::RecordMeta;
use crate::event::{NextOffset, SourceId, TopicRole};
use crate::source::{Batch, Topics};

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
}

/// What a worker says.
#[derive(Debug, Default)]
pub struct Saying {
    /// What the shard has to say.
    pub output: ShardOutput,
    /// Partitions whose open panes were handed on by order.
    pub flushed: Vec<SourceId>,
    /// The state of the partitions and where reading goes on; the answer to [`Order::Snapshot`], and the last word.
    pub snapshot: Option<Snapshot>,
    /// Whether this is the last word.
    pub is_last: bool,
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
pub fn spawn(
    number: usize,
    plan: Arc<Plan>,
    topics: Topics,
    restored: Snapshot,
    batches: Receiver<Batch>,
    empties: Sender<Batch>,
) -> std::io::Result<Worker> {
    let (orders, inbox) = crossbeam_channel::bounded(16);
    let (mouth, sayings) = crossbeam_channel::bounded(QUEUE);
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let mut shard = Shard::new(plan);
        for (source, state) in restored.partitions {
            shard.restore(source, state);
        }
        let mut body = Body { shard, said: restored.said, topics, known: Vec::new(), positions: Vec::new(), unsaid: 0, mouth, empties };
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
    /// By number of the source.
    positions: Vec<Option<NextOffset>>,
    /// Records counted since it last spoke.
    unsaid: usize,
    mouth: Sender<Saying>,
    empties: Sender<Batch>,
}

impl Body {
    fn run(&mut self, batches: &Receiver<Batch>, orders: &Receiver<Order>) {
        loop {
            let mut select = Select::new();
            select.recv(batches);
            select.recv(orders);
            select.ready();
            if let Ok(order) = orders.try_recv() {
                // An order is about everything that was read before it, and waits for nothing that comes after.
                for batch in batches.try_iter().take(batches.len()) {
                    self.count(batch);
                }
                self.follow(order);
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
        self.say_all(true);
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Flush(sources) => {
                sources.iter().for_each(|source| self.shard.flush(*source));
                let output = self.shard.take_output();
                self.say(Saying { output, flushed: sources, ..Saying::default() });
            }
            Order::Snapshot => self.say_all(false),
        }
    }

    fn count(&mut self, mut batch: Batch) {
        for (head, key, value) in batch.records() {
            let (topic, role) = topic_of(&mut self.known, &self.topics, head.source);
            let headers: Vec<(&str, &[u8])> = match &head.headers {
                None => Vec::new(),
                Some(headers) => headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect(),
            };
            let meta = RecordMeta { topic, key: Some(key), timestamp: head.timestamp, headers: &headers };
            let record = Record { source: head.source, role, offset: head.offset, meta, value, oversize: head.oversize.is_some() };
            let _ = self.shard.ingest(&record);
            reach(&mut self.positions, head.source, NextOffset(head.offset + 1));
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
        let output = self.shard.take_output();
        let positions = (0..).map(SourceId).zip(&self.positions).filter_map(|(source, next)| Some((source, (*next)?)));
        let changes = self.said.changes(&self.shard);
        let snapshot = Snapshot { changes, positions: positions.collect(), ..Snapshot::default() };
        self.say(Saying { output, flushed: Vec::new(), snapshot: Some(snapshot), is_last });
    }

    fn say(&mut self, saying: Saying) {
        self.unsaid = 0;
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
        let worker = spawn(0, Arc::new(Plan::empty()), Topics::default(), Snapshot::default(), batches, empties).unwrap();
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
