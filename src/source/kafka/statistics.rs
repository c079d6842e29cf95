//! The few fields of librdkafka's statistics that tell lag, idleness and membership.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// What is known of the end of a partition's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The offset that the next readable record will have.
    pub offset: i64,
    /// Whether it has been fetched to there and nothing waits to be taken. What lies last in a log need not be a record: a
    /// transaction ends with a marker, and a log may have been deleted up to its end.
    pub is_drained: bool,
    /// When the broker last said so.
    pub confirmed: Option<Instant>,
}

/// One report of librdkafka.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    pub brokers: HashMap<String, BrokerStatistics>,
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

/// One connection.
#[derive(Debug, Deserialize)]
pub(super) struct BrokerStatistics {
    #[serde(default = "unknown")]
    pub nodeid: i64,
    /// `logical` is the connection to a coordinator, which serves no records.
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub state: String,
    /// Microseconds since the broker last answered anything; negative where there is no connection.
    #[serde(default = "unknown")]
    pub rxidle: i64,
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
    /// The broker it is read from.
    #[serde(default = "unknown")]
    pub broker: i64,
    /// `active` while it is being read.
    #[serde(default)]
    pub fetch_state: String,
    /// Last stable offset: the end of what a reader of committed records can see.
    #[serde(default = "unknown")]
    pub ls_offset: i64,
    /// End of the log.
    #[serde(default = "unknown")]
    pub hi_offset: i64,
    /// Where fetching goes on.
    #[serde(default = "unknown")]
    pub next_offset: i64,
    /// Records that were fetched and not taken yet, of all partitions.
    #[serde(default = "unknown")]
    pub fetchq_cnt: i64,
}

impl Statistics {
    /// How long ago the broker of a partition answered, if it is being read: the answers on a connection come in the order of
    /// the questions, so that none overtakes a fetch, and a fetch is answered at the latest after `fetch.wait.max.ms`.
    pub fn silence_of(&self, partition: &PartitionStatistics) -> Option<Duration> {
        let serves = |broker: &&BrokerStatistics| broker.nodeid == partition.broker && broker.source != "logical" && broker.state == "UP";
        if partition.fetch_state != "active" || partition.broker < 0 {
            return None;
        }
        let idle = self.brokers.values().filter(serves).map(|broker| broker.rxidle).filter(|idle| *idle >= 0).min()?;
        Some(Duration::from_micros(u64::try_from(idle).ok()?))
    }
}

impl PartitionStatistics {
    /// The offset that the next readable record will have, where it is known.
    pub fn end(&self) -> Option<i64> {
        [self.ls_offset, self.hi_offset].into_iter().find(|offset| *offset >= 0)
    }

    /// Whether it has been fetched to its end and nothing waits to be taken.
    pub fn is_drained(&self) -> bool {
        self.fetch_state == "active" && self.fetchq_cnt == 0 && self.end().is_some_and(|end| self.next_offset >= end)
    }
}

fn unknown() -> i64 {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_drained_when_nothing_is_left_to_fetch_or_to_take() {
        let drained = |fields: &str| {
            let text = format!(r#"{{"broker":1,"hi_offset":7,"ls_offset":7,{fields}}}"#);
            serde_json::from_str::<PartitionStatistics>(&text).unwrap().is_drained()
        };
        assert!(drained(r#""fetch_state":"active","next_offset":7,"fetchq_cnt":0"#));
        assert!(!drained(r#""fetch_state":"active","next_offset":6,"fetchq_cnt":0"#));
        assert!(!drained(r#""fetch_state":"active","next_offset":7,"fetchq_cnt":1"#));
        assert!(!drained(r#""fetch_state":"stopped","next_offset":7,"fetchq_cnt":0"#));
        assert!(!drained(r#""fetch_state":"active","next_offset":-1001,"fetchq_cnt":0"#));
        assert!(!drained(r#""fetch_state":"active""#), "nothing is known");
    }

    fn silence(broker: &str, partition: &str) -> Option<Duration> {
        let text =
            format!(r#"{{"brokers":{{"a:1/1":{{"nodeid":1,{broker}}}}},"topics":{{"t":{{"partitions":{{"0":{{{partition}}}}}}}}}}}"#);
        let statistics: Statistics = serde_json::from_str(&text).unwrap();
        statistics.silence_of(&statistics.topics["t"].partitions["0"])
    }

    #[test]
    fn only_a_broker_that_is_up_and_being_read_confirms_anything() {
        let up = r#""source":"configured","state":"UP","rxidle":250000"#;
        let active = r#""broker":1,"fetch_state":"active","hi_offset":7"#;
        assert_eq!(silence(up, active), Some(Duration::from_millis(250)));
        assert_eq!(silence(r#""source":"configured","state":"DOWN","rxidle":-1"#, active), None);
        assert_eq!(silence(r#""source":"logical","state":"UP","rxidle":10"#, active), None);
        assert_eq!(silence(up, r#""broker":2,"fetch_state":"active","hi_offset":7"#), None);
        assert_eq!(silence(up, r#""broker":1,"fetch_state":"offset-query","hi_offset":7"#), None);
        assert_eq!(silence(up, r#""broker":-1,"fetch_state":"active","hi_offset":7"#), None);
    }
}
