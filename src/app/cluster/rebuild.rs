//! Predictions and labels that are read again after a hand-over, so that the ledger knows what it would have known. They are
//! decoded by a shard of their own, whose panes are thrown away: only the halves of joins are wanted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::engine::cluster::Replica;
use crate::engine::series::SeriesKey;
use crate::engine::{Plan, Record, Shard};
use crate::event::decode::RecordMeta;
use crate::event::{SourceId, Timestamp, TopicRole};
use crate::exchange::{Chunk, Range, Read, Reread, Settings};
use crate::source::SourceInfo;

/// Chunks taken in at one go, so that everything else goes on meanwhile.
const CHUNKS: usize = 4;
/// Numbers whose partitions are read again at the same time: each takes a client with memory of its own.
const AT_ONCE: usize = 2;

/// All that is read again, a few numbers at a time.
pub(super) struct Rebuilds {
    plan: Arc<Plan>,
    settings: Settings,
    /// Whether records are read with their headers.
    headers: bool,
    waiting: VecDeque<Wanted>,
    running: Vec<Rebuild>,
}

/// What is to be read again of the partitions of one number: ranges of `sources` by their place, those of predictions first.
pub(super) struct Wanted {
    pub partition: i32,
    pub sources: Vec<SourceInfo>,
    pub ranges: Vec<Range>,
}

impl Rebuilds {
    pub fn new(plan: Arc<Plan>, settings: Settings, headers: bool) -> Rebuilds {
        Rebuilds { plan, settings, headers, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Reads the partitions of a number again as soon as it is their turn.
    pub fn want(&mut self, wanted: Wanted) {
        self.forget(wanted.partition);
        self.waiting.push_back(wanted);
    }

    /// The partitions of a number are not read again any more.
    pub fn forget(&mut self, partition: i32) {
        self.waiting.retain(|wanted| wanted.partition != partition);
        self.running.retain(|rebuild| rebuild.partition != partition);
    }

    /// Where records come.
    pub fn read(&self) -> impl Iterator<Item = &Receiver<Read>> {
        self.running.iter().map(|rebuild| rebuild.reread.read())
    }

    /// Takes in what has come, and begins what can begin.
    pub fn step(&mut self, replica: &mut Replica) {
        self.running.retain_mut(|rebuild| !rebuild.step(replica));
        while self.running.len() < AT_ONCE
            && let Some(Wanted { partition, sources, ranges }) = self.waiting.pop_front()
        {
            match Reread::start(&self.settings, ranges, self.plan.max_bytes, self.headers) {
                Ok(reread) => self.running.push(Rebuild::new(partition, &self.plan, reread, sources)),
                Err(error) => {
                    tracing::error!(partition, %error, "predictions and labels cannot be read again; labels of before are not joined");
                    replica.rebuilt(partition);
                }
            }
        }
    }
}

/// The reading again for the partitions of one number.
struct Rebuild {
    partition: i32,
    reread: Reread,
    sources: Vec<SourceInfo>,
    shard: Shard,
    series: Vec<SeriesKey>,
    /// Of the label partitions.
    watermarks: BTreeMap<SourceId, Option<Timestamp>>,
}

impl Rebuild {
    /// Begins. `reread` gives the records of `sources` by their place, those of predictions first.
    fn new(partition: i32, plan: &Arc<Plan>, reread: Reread, sources: Vec<SourceInfo>) -> Rebuild {
        let labels = sources.iter().filter(|source| source.role == TopicRole::Labels);
        let watermarks = labels.map(|source| (source.id, None)).collect();
        Rebuild { partition, reread, sources, shard: Shard::new(Arc::clone(plan)), series: Vec::new(), watermarks }
    }

    /// Takes in what has come. Says whether it is over.
    fn step(&mut self, replica: &mut Replica) -> bool {
        let partition = self.partition;
        for _ in 0..CHUNKS {
            let Ok(read) = self.reread.read().try_recv() else { break };
            match read {
                Read::Records(chunk) => self.take(&chunk, replica),
                Read::Trouble(what) => tracing::warn!(target: "driftline::kafka", partition, "reading again: {what}"),
                Read::Done => {
                    tracing::info!(partition, "predictions and labels of before have been read again");
                    replica.rebuilt(partition);
                    return true;
                }
                Read::Failed(reason) => {
                    tracing::error!(partition, "predictions and labels of before cannot be read again, and are not joined: {reason}");
                    replica.rebuilt(partition);
                    return true;
                }
            }
        }
        // A label partition that has not been reached yet holds the others back.
        let clock = self.watermarks.values().try_fold(Timestamp(i64::MAX / 2), |least, at| at.map(|at| least.min(at)));
        if let Some(clock) = clock {
            replica.read_again_to(partition, clock);
        }
        false
    }

    fn take(&mut self, chunk: &Chunk, replica: &mut Replica) {
        for (head, key, value) in chunk.records() {
            let Some(source) = self.sources.get(head.range) else { continue };
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
