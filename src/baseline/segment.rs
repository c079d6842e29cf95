//! Segments: which values are admitted, and to which segment an event belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::Segment;
use crate::sketch::FrequencySketch;

use super::rows::Role;

/// The value that stands for all that are not admitted, and for a missing one.
pub const OTHER: &str = "other";
/// Segments by the reference where no limit is set: each has counts of its own in every pane.
pub const DEFAULT_LIMIT: usize = 50;
/// Between the values of several keys while they are counted.
const SEPARATOR: char = '\u{1f}';

/// One way to cut a model's events into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSpec {
    /// Columns: `tags.KEY`, or the name of a feature.
    pub by: Vec<String>,
    /// Values that are admitted, the most frequent ones of the reference.
    pub limit: usize,
    /// The admitted values themselves instead, each a list as long as `by`.
    pub values: Option<Vec<Vec<String>>>,
}

impl SegmentSpec {
    /// Keys as they stand in results, with the roles of their columns: `tags.region` is `region`.
    #[must_use]
    pub fn keys(&self) -> Vec<(Arc<str>, Role)> {
        let key = |column: &String| {
            if let Some(tag) = column.strip_prefix("tags.") {
                return (Arc::from(tag), Role::Tag(tag.into()));
            }
            let feature = column.strip_prefix("features.").unwrap_or(column);
            (Arc::from(feature), Role::Feature(feature.into()))
        };
        self.by.iter().map(key).collect()
    }
}

/// The segment of those values, sorted by key.
#[must_use]
pub fn segment(keys: &[Arc<str>], values: impl IntoIterator<Item = Arc<str>>) -> Segment {
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = keys.iter().cloned().zip(values).collect();
    pairs.sort();
    Segment(pairs)
}

/// The segment that stands for all values which are not admitted.
#[must_use]
pub fn other(keys: &[Arc<str>]) -> Segment {
    segment(keys, keys.iter().map(|_| Arc::from(OTHER)))
}

/// Collects the values of one specification over the reference.
#[derive(Clone, Debug)]
pub struct SegmentSurvey {
    seen: FrequencySketch,
    joined: String,
}

impl SegmentSurvey {
    /// An empty survey.
    #[must_use]
    pub fn new() -> SegmentSurvey {
        SegmentSurvey { seen: FrequencySketch::default(), joined: String::new() }
    }

    /// Counts the values of one row; a row where one is absent is not counted.
    pub fn add<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        self.joined.clear();
        for (index, value) in values.enumerate() {
            let Some(value) = value else { return };
            if index > 0 {
                self.joined.push(SEPARATOR);
            }
            self.joined.push_str(value);
        }
        self.seen.add(&self.joined, 1);
    }

    /// The admitted values: those of the specification, or the most frequent ones, ties by name.
    #[must_use]
    pub fn finish(self, spec: &SegmentSpec) -> Admitted {
        let keys: Vec<Arc<str>> = spec.keys().into_iter().map(|(key, _)| key).collect();
        let values: Vec<Vec<Arc<str>>> = if let Some(values) = &spec.values {
            values.iter().map(|row| row.iter().map(|value| Arc::from(value.as_str())).collect()).collect()
        } else {
            let seen = self.seen.finish(|_| None);
            seen.names.iter().take(spec.limit).map(|(name, _)| name.split(SEPARATOR).map(Arc::from).collect()).collect()
        };
        Admitted::new(keys, values)
    }
}

impl Default for SegmentSurvey {
    fn default() -> SegmentSurvey {
        SegmentSurvey::new()
    }
}

/// The admitted values of one specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Keys in the order of the specification.
    pub keys: Vec<Arc<str>>,
    segments: BTreeMap<Vec<Arc<str>>, Segment>,
    other: Segment,
}

impl Admitted {
    /// Those values, each as long as `keys`.
    #[must_use]
    pub fn new(keys: Vec<Arc<str>>, values: impl IntoIterator<Item = Vec<Arc<str>>>) -> Admitted {
        let segments = values.into_iter().map(|row| (row.clone(), segment(&keys, row))).collect();
        let other = other(&keys);
        Admitted { keys, segments, other }
    }

    /// What of `known` (the segments of a baseline) has exactly these keys.
    #[must_use]
    pub fn of_known<'a>(keys: Vec<Arc<str>>, known: impl IntoIterator<Item = &'a Segment>) -> Admitted {
        let names: BTreeSet<&str> = keys.iter().map(|key| &**key).collect();
        let value = |segment: &Segment, key: &str| segment.0.iter().find(|(name, _)| **name == *key).map(|(_, value)| Arc::clone(value));
        let rows: Vec<Vec<Arc<str>>> = known
            .into_iter()
            .filter(|segment| segment.0.iter().map(|(key, _)| &**key).collect::<BTreeSet<&str>>() == names)
            .map(|segment| keys.iter().filter_map(|key| value(segment, key)).collect())
            .collect();
        Admitted::new(keys, rows)
    }

    /// The segment of a row: of its values where they are admitted, `other` for all else and where one is absent.
    #[must_use]
    pub fn resolve(&self, values: &[Option<Arc<str>>]) -> &Segment {
        let row: Option<Vec<Arc<str>>> = values.iter().cloned().collect();
        row.and_then(|row| self.segments.get(&row)).unwrap_or(&self.other)
    }

    /// Every admitted segment.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    /// The segment of all that is not admitted.
    #[must_use]
    pub fn other(&self) -> &Segment {
        &self.other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_values_are_admitted() {
        let spec = SegmentSpec { by: vec!["tags.region".into(), "tier".into()], limit: 2, values: None };
        let mut survey = SegmentSurvey::new();
        for (region, tier) in [("us", "a"), ("eu", "a"), ("us", "a"), ("ap", "b")] {
            survey.add([Some(region), Some(tier)].into_iter());
        }
        survey.add([None, Some("a")].into_iter());
        let admitted = survey.finish(&spec);
        let names: Vec<String> = admitted.segments().map(ToString::to_string).collect();
        assert_eq!(names, ["region=ap,tier=b", "region=us,tier=a"]);
        let resolve = |values: [Option<&str>; 2]| admitted.resolve(&values.map(|value| value.map(Arc::from))).to_string();
        assert_eq!(resolve([Some("us"), Some("a")]), "region=us,tier=a");
        assert_eq!(resolve([Some("eu"), Some("a")]), "region=other,tier=other");
        assert_eq!(resolve([None, Some("a")]), "region=other,tier=other");
    }

    #[test]
    fn the_segments_of_a_baseline_admit_again() {
        let keys: Vec<Arc<str>> = vec!["tier".into(), "region".into()];
        let known = [segment(&keys, ["a".into(), "eu".into()]), segment(&["region".into()], ["eu".into()])];
        let admitted = Admitted::of_known(keys, &known);
        assert_eq!(admitted.resolve(&[Some("a".into()), Some("eu".into())]).to_string(), "region=eu,tier=a");
        assert_eq!(admitted.segments().count(), 1);
    }
}
