//! Predictions and labels that are read again after a hand-over, so that the ledger knows what it would have known. They are
//! decoded by a shard of their own, whose panes are thrown away: only the halves of joins are wanted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::engine::cluster::Replica;
use crate::engine::series::SeriesKey;
use crate::engine::{Plan, Record, Shard};
use crate::event::decode::RecordMeta;
use crate::event::{SourceId, Timestamp, TopicRole};
use crate::exchange::{Chunk, Range, Read, Reread, Settings};
use crate::source::SourceInfo;

use super::super::clock;

/// Chunks taken in at one go, so that everything else goes on meanwhile.
const CHUNKS: usize = 4;
/// Numbers whose partitions are read again at the same time: each takes a client with memory of its own.
const AT_ONCE: usize = 2;

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// All that is read again, a few numbers at a time.
pub(super) struct Rebuilds {
    plan: Arc<Plan>,
    settings: Settings,
    /// Whether records are read with their headers.
    headers: bool,
    waiting: VecDeque<Wanted>,
    running: Vec<Rebuild>,
    /// After a failure: not before this.
    again: Option<Instant>,
}

/// What is to be read again of the partitions of one number: ranges of `sources` by their place, those of predictions first.
pub(super) struct Wanted {
    pub partition: i32,
    pub sources: Vec<SourceInfo>,
    pub ranges: Vec<Range>,
}

/// What became of a reading.
#[derive(PartialEq)]
enum Step {
    GoesOn,
    Over,
    Failed,
}

impl Rebuilds {
    pub fn new(plan: Arc<Plan>, settings: Settings, headers: bool) -> Rebuilds {
        Rebuilds { plan, settings, headers, waiting: VecDeque::new(), running: Vec::new(), again: None }
    }

    /// Reads the partitions of a number again as soon as it is their turn.
    pub fn want(&mut self, wanted: Wanted) {
        self.forget(wanted.partition);
        self.waiting.push_back(wanted);
    }

    /// The partitions of a number are not read again any more.
    pub fn forget(&mut self, partition: i32) {
        self.waiting.retain(|wanted| wanted.partition != partition);
        self.running.retain(|rebuild| rebuild.wanted.partition != partition);
    }

    /// Where records come.
    pub fn read(&self) -> impl Iterator<Item = &Receiver<Read>> {
        self.running.iter().map(|rebuild| rebuild.reread.read())
    }

    /// Takes in what has come, and begins what can begin. What fails is begun again: without it labels of before are not joined.
    pub fn step(&mut self, replica: &mut Replica) {
        for mut rebuild in std::mem::take(&mut self.running) {
            match rebuild.step(replica) {
                Step::GoesOn => self.running.push(rebuild),
                Step::Over => {}
                Step::Failed => self.put_back(rebuild.wanted),
            }
        }
        if self.again.is_some_and(|again| clock::monotonic() < again) {
            return;
        }
        self.again = None;
        while self.running.len() < AT_ONCE
            && let Some(wanted) = self.waiting.pop_front()
        {
            match Reread::start(&self.settings, wanted.ranges.clone(), self.plan.max_bytes, self.headers) {
                Ok(reread) => self.running.push(Rebuild::new(wanted, &self.plan, reread)),
                Err(error) => {
                    tracing::error!(partition = wanted.partition, %error, "predictions and labels cannot be read again; it is tried again");
                    return self.put_back(wanted);
                }
            }
        }
    }

    fn put_back(&mut self, wanted: Wanted) {
        self.waiting.push_back(wanted);
        self.again = Some(clock::monotonic() + AGAIN_AFTER);
    }
}

/// The reading again for the partitions of one number.
struct Rebuild {
    wanted: Wanted,
    reread: Reread,
    shard: Shard,
    series: Vec<SeriesKey>,
    /// Of the label partitions.
    watermarks: BTreeMap<SourceId, Option<Timestamp>>,
}

impl Rebuild {
    /// Begins. `reread` gives the records of what is wanted.
    fn new(wanted: Wanted, plan: &Arc<Plan>, reread: Reread) -> Rebuild {
        let labels = wanted.sources.iter().filter(|source| source.role == TopicRole::Labels);
        let watermarks = labels.map(|source| (source.id, None)).collect();
        Rebuild { wanted, reread, shard: Shard::new(Arc::clone(plan)), series: Vec::new(), watermarks }
    }

    /// Takes in what has come.
    fn step(&mut self, replica: &mut Replica) -> Step {
        let partition = self.wanted.partition;
        for _ in 0..CHUNKS {
            let Ok(read) = self.reread.read().try_recv() else { break };
            match read {
                Read::Records(chunk) => self.take(&chunk, replica),
                Read::Trouble(what) => tracing::warn!(target: "driftline::kafka", partition, "reading again: {what}"),
                Read::Done => {
                    tracing::info!(partition, "predictions and labels of before have been read again");
                    replica.rebuilt(partition);
                    return Step::Over;
                }
                Read::Failed(reason) => {
                    tracing::error!(partition, "predictions and labels of before cannot be read again; it is tried again: {reason}");
                    return Step::Failed;
                }
            }
        }
        // A label partition that has not been reached yet holds the others back.
        let reached = self.watermarks.values().try_fold(Timestamp(i64::MAX / 2), |least, at| at.map(|at| least.min(at)));
        if let Some(reached) = reached {
            replica.read_again_to(partition, reached);
        }
        Step::GoesOn
    }

    fn take(&mut self, chunk: &Chunk, replica: &mut Replica) {
        for (head, key, value) in chunk.records() {
            let Some(source) = self.wanted.sources.get(head.range) else { continue };
            let headers: Vec<(&str, &[u8])> = match &head.headers {
                None => Vec::new(),
                Some(headers) => headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect(),
            };
            let meta = RecordMeta { topic: &source.topic, key: Some(key), timestamp: head.timestamp, headers: &headers };
            let oversize = head.oversize.is_some();
            let _ = self.shard.ingest(&Record { source: source.id, role: source.role, offset: head.offset, meta, value, oversize });
        }
        let output = self.shard.take_output();
        self.series.extend(output.series);
        for progress in output.progress {
            if let Some(watermark) = self.watermarks.get_mut(&progress.source) {
                *watermark = progress.watermark;
            }
        }
        replica.read_again(&self.series, output.halves);
    }
}
