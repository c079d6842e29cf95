//! Predictions and labels that are read again after a hand-over, so that the ledger knows what it would have known. They are
//! decoded by a shard of their own, whose panes are thrown away: only the halves of joins are wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::cluster::Replica;
use crate::engine::series::SeriesKey;
use crate::engine::{Plan, Record, Shard};
use crate::event::decode::RecordMeta;
use crate::event::{SourceId, Timestamp, TopicRole};
use crate::exchange::{Chunk, Read, Reread};
use crate::source::SourceInfo;

/// Chunks taken in at one go, so that everything else goes on meanwhile.
const CHUNKS: usize = 4;

/// The reading again for the partitions of one number.
pub(super) struct Rebuild {
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
    pub fn new(partition: i32, plan: &Arc<Plan>, reread: Reread, sources: Vec<SourceInfo>) -> Rebuild {
        let labels = sources.iter().filter(|source| source.role == TopicRole::Labels);
        let watermarks = labels.map(|source| (source.id, None)).collect();
        Rebuild { partition, reread, sources, shard: Shard::new(Arc::clone(plan)), series: Vec::new(), watermarks }
    }

    /// The number of the partitions.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Where its records come.
    pub fn read(&self) -> &crossbeam_channel::Receiver<Read> {
        self.reread.read()
    }

    /// Takes in what has come. Says whether it is over.
    pub fn step(&mut self, replica: &mut Replica) -> bool {
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
