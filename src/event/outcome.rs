//! The one counted end of every event: received = the sum of the outcomes + what still waits.

use serde::{Deserialize, Serialize};

/// Why a record or an event was not accepted. Each is a label value of `driftline.records`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reject {
    /// The record has no value, or one of no bytes.
    Empty,
    /// The value is larger than the limit on one record.
    Oversize,
    /// The value is not JSON, or is cut off.
    NotJson,
    /// The value is JSON, but not an object.
    NotAnObject,
    /// Neither the event nor the topic says what kind of event it is, or the kind is not known.
    UnknownKind,
    /// No `model`, where it cannot be had from elsewhere.
    MissingModel,
    /// A model that the configuration does not name.
    UnknownModel,
    /// A label event, or a prediction to be joined, without `id`.
    MissingId,
    /// No `ts`, and no time on the record either.
    MissingTime,
    /// A `ts` that cannot be read.
    BadTime,
    /// A `ts` too far after the record's own time.
    Future,
    /// `features` is there and is not an object.
    BadFeatures,
    /// A prediction event without anything to count: no prediction, score or probabilities.
    MissingPrediction,
    /// A `prediction`, `score` or `probabilities` of a wrong type or out of range.
    BadPrediction,
    /// A label event without `label`.
    MissingLabel,
    /// A `label` of a wrong type, or a class that the baseline does not know.
    BadLabel,
}

impl Reject {
    /// Every reason, in the order in which they are numbered.
    pub const ALL: [Reject; 16] = [
        Reject::Empty,
        Reject::Oversize,
        Reject::NotJson,
        Reject::NotAnObject,
        Reject::UnknownKind,
        Reject::MissingModel,
        Reject::UnknownModel,
        Reject::MissingId,
        Reject::MissingTime,
        Reject::BadTime,
        Reject::Future,
        Reject::BadFeatures,
        Reject::MissingPrediction,
        Reject::BadPrediction,
        Reject::MissingLabel,
        Reject::BadLabel,
    ];

    /// The reason as it stands in metrics, status and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reject::Empty => "empty",
            Reject::Oversize => "oversize",
            Reject::NotJson => "not_json",
            Reject::NotAnObject => "not_an_object",
            Reject::UnknownKind => "unknown_kind",
            Reject::MissingModel => "missing_model",
            Reject::UnknownModel => "unknown_model",
            Reject::MissingId => "missing_id",
            Reject::MissingTime => "missing_time",
            Reject::BadTime => "bad_time",
            Reject::Future => "future",
            Reject::BadFeatures => "bad_features",
            Reject::MissingPrediction => "missing_prediction",
            Reject::BadPrediction => "bad_prediction",
            Reject::MissingLabel => "missing_label",
            Reject::BadLabel => "bad_label",
        }
    }

    /// The reason as a sentence for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Reject::Empty => "the value has no bytes",
            Reject::Oversize => "the value is larger than event.max_bytes",
            Reject::NotJson => "the value is not JSON, or is cut off",
            Reject::NotAnObject => "the value is JSON, but not an object",
            Reject::UnknownKind => "neither the event nor its topic says what kind of event it is, or the kind is not known",
            Reject::MissingModel => "the event names no model",
            Reject::UnknownModel => "the event names a model that the configuration does not",
            Reject::MissingId => "the event has no id and needs one",
            Reject::MissingTime => "neither the event nor its record has a time",
            Reject::BadTime => "the time of the event cannot be read",
            Reject::Future => "the event lies too far after the time of its record",
            Reject::BadFeatures => "features is not an object",
            Reject::MissingPrediction => "there is no prediction, score or probabilities",
            Reject::BadPrediction => "the prediction, score or probabilities are of a wrong type or out of range",
            Reject::MissingLabel => "the label event has no label",
            Reject::BadLabel => "the label is of a wrong type, or of a class that the baseline does not know",
        }
    }

    /// How far the record had come: to `read` it, to `decode` its bytes, to `map` its fields, to `check` their values.
    #[must_use]
    pub fn stage(self) -> &'static str {
        match self {
            Reject::Oversize => "read",
            Reject::Empty | Reject::NotJson | Reject::NotAnObject => "decode",
            Reject::UnknownKind
            | Reject::MissingModel
            | Reject::MissingId
            | Reject::MissingTime
            | Reject::BadTime
            | Reject::BadFeatures
            | Reject::MissingPrediction
            | Reject::MissingLabel => "map",
            Reject::UnknownModel | Reject::Future | Reject::BadPrediction | Reject::BadLabel => "check",
        }
    }
}

/// What became of one event.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in a pane, or its label has been joined.
    Counted,
    /// It lay more than the lateness behind its partition's watermark.
    Late,
    /// The same event was seen before.
    Duplicate,
    /// A label whose prediction was not found within the horizon.
    UnmatchedLabel,
    /// It was not accepted.
    Rejected(Reject),
    /// It was given up to stay within a limit of memory.
    Shed,
    /// It waits for its other half and will be counted under another outcome later.
    Waiting,
}

impl Outcome {
    /// Number of different outcomes, each reason of a rejection being one.
    pub const COUNT: usize = 6 + Reject::ALL.len();

    /// Every outcome in the order of [`Outcome::index`].
    pub fn all() -> impl Iterator<Item = Outcome> {
        [Outcome::Counted, Outcome::Late, Outcome::Duplicate, Outcome::UnmatchedLabel, Outcome::Shed, Outcome::Waiting]
            .into_iter()
            .chain(Reject::ALL.into_iter().map(Outcome::Rejected))
    }

    /// Place of the outcome among all, for counting without a look-up.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Outcome::Counted => 0,
            Outcome::Late => 1,
            Outcome::Duplicate => 2,
            Outcome::UnmatchedLabel => 3,
            Outcome::Shed => 4,
            Outcome::Waiting => 5,
            Outcome::Rejected(reason) => 6 + reason as usize,
        }
    }

    /// The outcome as it stands in metrics, without the reason of a rejection.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Late => "late",
            Outcome::Duplicate => "duplicate",
            Outcome::UnmatchedLabel => "unmatched_label",
            Outcome::Rejected(_) => "rejected",
            Outcome::Shed => "shed",
            Outcome::Waiting => "waiting",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_numbered_in_their_order() {
        assert_eq!(Outcome::all().count(), Outcome::COUNT);
        for (place, outcome) in Outcome::all().enumerate() {
            assert_eq!(outcome.index(), place, "{outcome:?}");
        }
    }
}
