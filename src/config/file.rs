//! The configuration file as it is written: the one definition from which the JSON Schema, the structure check and the
//! deserialisation come.
//!
//! Everything may be left out except the models; the defaults are named in the docs and set in `check`, which also
//! decides what the values mean. Texts here may be secrets, so nothing here can be printed.

pub mod event;
pub mod kafka;
pub mod model;
pub mod operation;

use schemars::JsonSchema;
use serde::Deserialize;

use event::EventSection;
use kafka::KafkaSection;
use model::ModelEntry;
use operation::{HttpSection, LimitsSection, NotifySection, StateSection, TelemetrySection};

/// Configuration of driftline.
///
/// Relative paths are taken from the directory of this file. `${env:VAR}`, `${env:VAR:-default}` and `${file:/path}` are
/// replaced inside of values; `$$` is a dollar sign. A variable `DRIFTLINE_SECTION__KEY` sets the key of a section and
/// wins over this file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "driftline configuration")]
pub struct ConfigFile {
    /// Version of this format: 1.
    #[schemars(extend("default" = 1))]
    pub version: Option<u64>,
    /// Where the events come from. Not needed by `baseline` and `replay`.
    pub kafka: Option<KafkaSection>,
    /// How a record is read.
    pub event: Option<EventSection>,
    /// The models to watch.
    pub models: Vec<ModelEntry>,
    /// Where driftline keeps what it must not forget.
    pub state: Option<StateSection>,
    /// Bounds on what driftline may use.
    pub limits: Option<LimitsSection>,
    /// Where measurements go.
    pub telemetry: Option<TelemetrySection>,
    /// The console, the API and the metrics.
    pub http: Option<HttpSection>,
    /// How messages leave.
    pub notify: Option<NotifySection>,
    /// Rule files: paths or globs. Default: none.
    pub rules: Option<OneOrMany>,
}

/// One text or a list of them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline, extend("x-driftline-expected" = "a string or a list of strings"))]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

/// A length of time: a number and a unit (ms, s, m, h, d, w), or a sum of them, as 1h30m.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, extend("x-driftline-expected" = "a duration such as 30s, 5m or 7d", "examples" = ["30s", "5m", "1h30m", "7d"]))]
pub struct DurationText(pub String);

/// A number of bytes, or a text with a unit (KiB, MiB, GiB, kB, MB, GB).
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline, extend("x-driftline-expected" = "a size such as 512MiB", "examples" = ["64KiB", "512MiB", "2GiB"]))]
pub enum SizeText {
    /// Bytes.
    Bytes(u64),
    /// With a unit.
    Text(String),
}

/// A string, number or boolean where only its text matters.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline, extend("x-driftline-expected" = "a string, a number, true or false"))]
pub enum Plain {
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
}

/// A switch: `on` and `off` are strings in YAML 1.2, `true` and `false` booleans.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline, extend("x-driftline-expected" = "on or off"))]
pub enum Switch {
    /// `true` or `false`.
    Bool(bool),
    /// `on` or `off`.
    Word(OnOff),
}

/// `on` or `off`.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum OnOff {
    On,
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        matches!(self, Switch::Bool(true) | Switch::Word(OnOff::On))
    }
}
