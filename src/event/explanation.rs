//! Why a subject drifts: which cells moved, which way, where, since when; and which features matter, of a model.
//!
//! Plain data and its JSON form. What is in it is bounded by the constants below; who computes it is in the engine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measurement::{Metric, Segment, Subject, WindowRef};
use super::result_line::SegmentMap;
use super::time::{Span, Timestamp};

/// Most cells of one explanation: what a person reads.
pub const MOST_CELLS: usize = 5;
/// Most segments of one explanation.
pub const MOST_SEGMENTS: usize = 3;
/// Most features in the ranking of a model.
pub const MOST_FEATURES: usize = 10;
/// Longest name of a cell, a level among them, in characters.
pub const LONGEST_NAME: usize = 60;

/// The explanation of one subject in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Model name.
    pub model: Arc<str>,
    /// Model version; "" where the events name none.
    pub version: Arc<str>,
    /// Segment; empty for all events.
    pub segment: Segment,
    /// The window.
    pub window: WindowRef,
    /// What drifts; `model` for the ranking of its features.
    pub subject: Subject,
    /// What is said of it.
    pub finding: Finding,
    /// That of its measurements.
    pub revision: u32,
}

/// What is said of a subject. All numbers are finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// All of it in one sentence.
    pub sentence: String,
    /// The score that is explained: its metric and value. None for a model.
    pub score: Option<(Metric, f64)>,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// The metric that the shares of the cells are of: that of the score, or psi where that one is no sum over cells. None where the
    /// score follows the recipe of another tool.
    pub cells_of: Option<Metric>,
    /// The cells that moved most, by their share of the score, at most [`MOST_CELLS`].
    pub cells: Vec<MovedCell>,
    /// The segments that contribute most, at most [`MOST_SEGMENTS`].
    pub segments: Vec<SegmentShare>,
    /// Since when, where that can be told.
    pub onset: Option<Began>,
    /// How much the feature matters, where the baseline says so.
    pub importance: Option<Importance>,
    /// The features of a model; none for anything else.
    pub features: Option<Features>,
}

/// Which way a subject went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// In a word.
    pub way: Way,
    /// Mean of the window less that of the reference, in standard deviations of the reference; of a number.
    pub mean_shift: Option<f64>,
    /// Standard deviation of the window over that of the reference; of a number.
    pub spread_ratio: Option<f64>,
    /// The level, or kind of value, that there is more or less of.
    pub level: Option<String>,
}

/// A direction in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The mean rose.
    Up,
    /// The mean fell.
    Down,
    /// The spread grew.
    Wider,
    /// The spread shrank.
    Narrower,
    /// More of a level.
    More,
    /// Less of a level.
    Less,
    /// None of these: another shape.
    Other,
}

/// A cell whose share changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovedCell {
    /// Its name: a range of a number in four digits, or a level.
    pub name: String,
    /// Its exact bounds, right-closed, where it is a range that has them.
    pub bounds: (Option<f64>, Option<f64>),
    /// Its share of the reference.
    pub reference: f64,
    /// Its share of the window.
    pub current: f64,
    /// Its share of the score.
    pub share: f64,
}

/// What a segment adds to the score of all events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentShare {
    /// The segment.
    pub segment: Segment,
    /// Its share of the score. All segments of the same tags add up to 1; one that works against the others is below 0.
    pub share: f64,
    /// Its share of the window's values.
    pub events: f64,
}

/// Since when a subject has been as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// The start of the first slice of time that is more like the window than like the time before.
    pub at: Timestamp,
    /// The earliest and the latest that it may as well be, with a confidence of about 95 %.
    pub between: (Timestamp, Timestamp),
    /// Length of a slice.
    pub slice: Span,
}

/// How much a feature matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// As the baseline gives it.
    pub importance: f64,
    /// Importance times score.
    pub weight: f64,
    /// Its place among the features of the window by weight, from 1.
    pub rank: u32,
    /// How many features have a place.
    pub of: u32,
}

/// The features of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// How many drift.
    pub drifted: u32,
    /// How many have a score to rely on.
    pub of: u32,
    /// The first of them by weight, or by score where no importance is given, at most [`MOST_FEATURES`].
    pub ranking: Vec<RankedFeature>,
}

/// A feature in the ranking of its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedFeature {
    /// Its name.
    pub feature: Arc<str>,
    /// Its score by the model's drift metric.
    pub value: f64,
    /// Its importance, where the baseline has any.
    pub importance: Option<f64>,
    /// Importance times score.
    pub weight: Option<f64>,
    /// Whether it drifts.
    pub drifted: bool,
}

impl Finding {
    /// As JSON shows it: in the line of results, in webhooks, in the API and in templates.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        let direction = self.direction.as_ref();
        Shown {
            score: self.score.map(|(metric, value)| ScoreShown { metric: metric.as_str(), value }),
            direction: direction.map(|direction| direction.way),
            level: direction.and_then(|direction| direction.level.as_deref()),
            mean_shift: direction.and_then(|direction| direction.mean_shift),
            spread_ratio: direction.and_then(|direction| direction.spread_ratio),
            cells_of: self.cells_of.map(Metric::as_str),
            cells: (!self.cells.is_empty()).then(|| self.cells.iter().map(CellShown::from).collect()),
            segments: (!self.segments.is_empty()).then(|| self.segments.iter().map(PartShown::from).collect()),
            onset: self.onset.as_ref().map(|onset| OnsetShown {
                at: onset.at.rfc3339(),
                earliest: onset.between.0.rfc3339(),
                latest: onset.between.1.rfc3339(),
                slice: onset.slice.to_string(),
            }),
            importance: self.importance,
            features: self.features.as_ref().map(|features| FeaturesShown {
                drifted: features.drifted,
                of: features.of,
                ranking: features.ranking.iter().map(RankedShown::from).collect(),
            }),
            sentence: &self.sentence,
        }
    }
}

/// A [`Finding`] as JSON.
#[derive(Serialize)]
pub struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<ScoreShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<Way>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_shift: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells_of: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<Vec<CellShown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<PartShown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    onset: Option<OnsetShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    importance: Option<Importance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<FeaturesShown<'a>>,
    sentence: &'a str,
}

#[derive(Serialize)]
struct ScoreShown {
    metric: &'static str,
    value: f64,
}

#[derive(Serialize)]
struct CellShown<'a> {
    cell: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to: Option<f64>,
    reference: f64,
    current: f64,
    share: f64,
}

impl<'a> From<&'a MovedCell> for CellShown<'a> {
    fn from(cell: &'a MovedCell) -> CellShown<'a> {
        let MovedCell { name, bounds: (above, up_to), reference, current, share } = cell;
        CellShown { cell: name, above: *above, up_to: *up_to, reference: *reference, current: *current, share: *share }
    }
}

#[derive(Serialize)]
struct PartShown<'a> {
    segment: SegmentMap<'a>,
    share: f64,
    events: f64,
}

impl<'a> From<&'a SegmentShare> for PartShown<'a> {
    fn from(part: &'a SegmentShare) -> PartShown<'a> {
        PartShown { segment: SegmentMap(&part.segment), share: part.share, events: part.events }
    }
}

#[derive(Serialize)]
struct OnsetShown {
    at: String,
    earliest: String,
    latest: String,
    slice: String,
}

#[derive(Serialize)]
struct FeaturesShown<'a> {
    drifted: u32,
    of: u32,
    ranking: Vec<RankedShown<'a>>,
}

#[derive(Serialize)]
struct RankedShown<'a> {
    feature: &'a str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    importance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    drifted: bool,
}

impl<'a> From<&'a RankedFeature> for RankedShown<'a> {
    fn from(ranked: &'a RankedFeature) -> RankedShown<'a> {
        let RankedFeature { feature, value, importance, weight, drifted } = ranked;
        RankedShown { feature, value: *value, importance: *importance, weight: *weight, drifted: *drifted }
    }
}
