//! What the rules are handed, and what happened: windows and silences in, transitions, messages and refusals out.

use std::collections::BTreeMap;

use crate::event::{Explanation, Measurement, Metric, Reject, Segment, Subject, Timestamp, WindowRef};

use super::machine::State;
use super::message::{ActionCall, AlertView, Notice, NoticeKind};

/// Why a window is handed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputKind {
    /// It has closed.
    Closed,
    /// A tick of the label clock.
    LabelsReady {
        /// Share of its predictions that have a label, 0 to 1.
        coverage: f64,
        /// Whether labels can still come.
        horizon_passed: bool,
    },
}

/// One window of one model, version and segment.
#[derive(Clone, Copy, Debug)]
pub struct WindowInput<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Its version; "" where events name none.
    pub version: &'a str,
    /// The window.
    pub window: &'a WindowRef,
    /// The segment; empty for all events.
    pub segment: &'a Segment,
    /// Why it is handed in.
    pub kind: InputKind,
    /// The measurements of this model, version, segment and window.
    pub measurements: &'a [Measurement],
    /// The explanations of the window, of all versions and segments.
    pub explanations: &'a [Explanation],
    /// The performance on the baseline.
    pub reference: &'a BTreeMap<Metric, f64>,
    /// Events of this version and segment in the window.
    pub n: u64,
    /// Whether the input covers the whole window.
    pub complete: bool,
}

impl<'a> WindowInput<'a> {
    /// Why a subject of this version and segment drifts, if it does.
    #[must_use]
    pub fn explanation(&self, subject: &Subject) -> Option<&'a Explanation> {
        self.explanations.iter().find(|one| one.subject == *subject && &*one.version == self.version && one.segment == *self.segment)
    }
}

/// What is known of a model's input, in wall time.
#[derive(Clone, Copy, Debug)]
pub struct IngestSilence<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// When its last record came; `None` where none has come since the start.
    pub last_record: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What became of the records of a topic within the last minute of wall time.
#[derive(Clone, Copy, Debug)]
pub struct TopicRejects<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Records that came. Tombstones and events of models that are not watched are not among them.
    pub received: u64,
    /// Those of them that were rejected, by reason.
    pub reasons: &'a [(Reject, u64)],
    /// One of them, of whatever time.
    pub example: Option<RejectExample>,
}

/// Where a rejected record is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectExample {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Why it was rejected.
    pub reason: Reject,
}

/// Records of a topic that can never be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicGap<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset that was to be read next.
    pub from: i64,
    /// The offset from which on it can be read. Below `from` where the topic was truncated or made anew.
    pub to: i64,
}

impl TopicGap<'_> {
    /// How many records are gone, at most; `None` where nobody knows.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        u64::try_from(self.to.saturating_sub(self.from)).ok().filter(|lost| *lost > 0)
    }
}

/// Something that happened: what results, logs and the outbox are made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// An instance has changed its state, or its severity while firing.
    Transition {
        /// The instance after the change.
        alert: AlertView,
        /// The state before.
        from: State,
        /// The state after.
        to: State,
        /// End of the window that made it, or the time of the tick.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// Somebody is to be told.
    Notice(Notice),
    /// Somebody is not told.
    NoticeRefused {
        /// The receiver.
        receiver: String,
        /// What it would have said.
        kind: NoticeKind,
        /// The episode.
        episode: String,
        /// `cooldown` or `limit`.
        outcome: String,
        /// Why, in words.
        reason: String,
        /// Event time.
        at: Timestamp,
    },
    /// An action is to be called.
    Action(ActionCall),
    /// An action is not called.
    ActionRefused {
        /// Name of the action.
        action: String,
        /// The episode that asked for it.
        episode: String,
        /// `budget`, `limit`, `resolved` or `unknown`.
        outcome: String,
        /// Why, in words.
        reason: String,
        /// Event time.
        at: Timestamp,
    },
    /// A rule failed on a window, or a template failed. Alerts keep their state.
    Trouble {
        /// Name of the alert.
        alert: String,
        /// The instance.
        labels: BTreeMap<String, String>,
        /// What is wrong.
        message: String,
    },
}
