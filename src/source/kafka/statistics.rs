//! The few fields of librdkafka's statistics that tell lag, idleness and membership.

use std::collections::HashMap;

use serde::Deserialize;

/// One report of librdkafka.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    pub topics: HashMap<String, TopicStatistics>,
    /// The consumer group; not there before the first join.
    #[serde(default)]
    pub cgrp: GroupStatistics,
}

/// The consumer group as this member sees it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GroupStatistics {
    /// State of the way to the coordinator.
    #[serde(default)]
    pub state: String,
    /// State of the membership.
    #[serde(default)]
    pub join_state: String,
}

impl GroupStatistics {
    /// Whether there is a coordinator and it has taken us in.
    pub fn is_member(&self) -> bool {
        self.state == "up" && self.join_state == "steady"
    }
}

/// One topic.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TopicStatistics {
    #[serde(default)]
    pub partitions: HashMap<String, PartitionStatistics>,
}

/// One partition. Offsets are negative where they are not known.
#[derive(Debug, Deserialize)]
pub(super) struct PartitionStatistics {
    /// Last stable offset: the end of what a reader of committed records can see.
    #[serde(default = "unknown")]
    pub ls_offset: i64,
    /// End of the log.
    #[serde(default = "unknown")]
    pub hi_offset: i64,
}

impl PartitionStatistics {
    /// The offset that the next readable record will have, where it is known.
    pub fn end(&self) -> Option<i64> {
        [self.ls_offset, self.hi_offset].into_iter().find(|offset| *offset >= 0)
    }
}

fn unknown() -> i64 {
    -1
}
