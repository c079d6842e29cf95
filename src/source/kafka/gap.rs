//! Records that can no longer be read, and why.

/// How records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Their time was over before they were read.
    Retention,
    /// The log was cut behind them: a broker that had not got them has become the leader.
    Truncation,
    /// The topic was deleted and made anew. Reading begins at its start.
    Recreation,
}

impl GapCause {
    /// What is missing of a topic, for the windows it is missing from.
    #[must_use]
    pub fn describe(self, topic: &str, from: i64, to: i64) -> String {
        match self {
            GapCause::Retention => format!("offsets {from} to {to} of {topic} could not be read: retention has passed"),
            GapCause::Truncation => format!("offsets {to} to {from} of {topic} are not in its log any more: log truncated"),
            GapCause::Recreation => format!("{topic} could not be read on from offset {from}: topic recreated"),
        }
    }
}
