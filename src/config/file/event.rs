//! The section `event` as it is written: the format of a record and where its parts stand.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, SizeText};

/// How a record is read. A selector is a JSON pointer into the value (`/request/id`), `header:NAME`, `key`, `topic`, or
/// `const:VALUE`; `const:` without a value means that there is none.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSection {
    /// Format of the record's value: json.
    #[schemars(extend("default" = "json"))]
    pub format: Option<Format>,
    /// Largest value of a record in bytes; larger ones are counted as oversize. Default: 1MiB.
    #[schemars(extend("default" = "1MiB"))]
    pub max_bytes: Option<SizeText>,
    /// How far the time of an event may lie after that of its record before it is rejected. Default: 5m.
    #[schemars(extend("default" = "5m"))]
    pub future_tolerance: Option<DurationText>,
    /// Unit of a `ts` that is a number: s, ms, us or ns since the epoch. Default: ms.
    #[schemars(extend("default" = "ms"))]
    pub ts_unit: Option<TsUnit>,
    /// Kind of the event: prediction, features or label. Default: /event.
    #[schemars(extend("default" = "/event"))]
    pub event: Option<String>,
    /// Model. Default: /model.
    #[schemars(extend("default" = "/model"))]
    pub model: Option<String>,
    /// Version of the model. Default: /version.
    #[schemars(extend("default" = "/version"))]
    pub version: Option<String>,
    /// Id by which predictions, features and labels are joined. Default: /id.
    #[schemars(extend("default" = "/id"))]
    pub id: Option<String>,
    /// Time of the event: RFC 3339 or a number in `ts_unit`. Default: /ts.
    #[schemars(extend("default" = "/ts"))]
    pub ts: Option<String>,
    /// The object of the features. Default: /features.
    #[schemars(extend("default" = "/features"))]
    pub features: Option<FeaturesSelector>,
    /// The prediction. Default: /prediction.
    #[schemars(extend("default" = "/prediction"))]
    pub prediction: Option<String>,
    /// Probability of the positive class. Default: /score.
    #[schemars(extend("default" = "/score"))]
    pub score: Option<String>,
    /// The object of probabilities by class. Default: /probabilities.
    #[schemars(extend("default" = "/probabilities"))]
    pub probabilities: Option<String>,
    /// The truth. Default: /label.
    #[schemars(extend("default" = "/label"))]
    pub label: Option<String>,
    /// Latency of the prediction in milliseconds. Default: `/latency_ms`.
    #[schemars(extend("default" = "/latency_ms"))]
    pub latency_ms: Option<String>,
    /// The object of tags, by which segments are made. Default: /tags.
    #[schemars(extend("default" = "/tags"))]
    pub tags: Option<String>,
    /// Weight of the event. Default: /weight.
    #[schemars(extend("default" = "/weight"))]
    pub weight: Option<String>,
}

/// Format of a record's value.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a record.
    Json,
}

/// Unit of a number that is a time.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TsUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// Where the features are: a JSON pointer to the object of them, or the same as `{ object: /inputs }`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FeaturesSelector {
    /// A JSON pointer.
    Pointer(String),
    /// A JSON pointer to the object.
    Object(FeaturesObject),
}

/// Features as the members of an object.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeaturesObject {
    /// JSON pointer to the object.
    pub object: String,
}
