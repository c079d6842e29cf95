//! Since when: the most likely point of a series at which its level changed.
//!
//! A series is one number for each of some consecutive slices of time (a standardised mean, a divergence) with a weight (its events).
//! Each cut into two parts of at least [`MIN_SEGMENT`] points is scored by the likelihood ratio of two levels against one, for normal values
//! of variance s^2 / weight: F = (A B / (A + B)) (a - b)^2 / s^2 with the parts' weights A, B, their weighted means a, b, and s^2 the weighted
//! squared deviations from them over N - 2. The best cut is the estimate.
//!
//! Neighbours are rarely independent: F is divided by (1 + r) / (1 - r), with r the autocorrelation of the residuals at lag 1, corrected
//! for its bias in short series (Kendall 1954: r + (1 + 4 r) / n, with n = N / 2 as each side has a mean of its own). A cut counts if
//! what is left exceeds [`LEAST_GAIN`], a little above the 1 % point of the greatest F over all cuts (Andrews, Tests for parameter
//! instability and structural change with unknown change point, Econometrica 61, 1993). Measured on 2,000 series of 60 points
//! without change: a change is seen in 0.4 % of independent normal ones, in 2 % where neighbours correlate by 0.5, in 5 % by 0.8.
//!
//! When to trust: one lasting change of level, and at least some points on either side. Of several changes it gives the greatest; of a slow rise
//! a point in its middle. The index is right to a few points: a step of two standard deviations is located within two points in nine of
//! ten series. Cost: one pass over the series.

/// Fewest points on either side of a cut: fewer are an outlier.
pub const MIN_SEGMENT: usize = 3;
/// Fewest points of a series: with less the variance is hardly known.
pub const MIN_POINTS: usize = 8;
/// The least gain of a cut that counts.
pub const LEAST_GAIN: f64 = 15.0;
/// The greatest gain that is said: of a step without any noise it would be infinite.
pub const MOST_GAIN: f64 = 1e9;
/// The greatest autocorrelation that is assumed.
const MOST_CORRELATION: f64 = 0.95;

/// One slice of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its level.
    pub value: f64,
    /// How many events it rests on. Points of weight 0, or without a finite value, say nothing.
    pub weight: f64,
}

/// Where the level of a series changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Onset {
    /// The first point of the new level.
    pub index: usize,
    /// How much better two levels explain the series than one: F over the inflation by autocorrelation, up to [`MOST_GAIN`].
    pub gain: f64,
    /// The level before.
    pub before: f64,
    /// The level after.
    pub after: f64,
}

/// The most likely change of level; `None` where there is none that stands out, or where the series is too short to tell.
#[must_use]
#[allow(clippy::cast_precision_loss)] // Numbers of points.
pub fn onset(series: &[Point]) -> Option<Onset> {
    let points: Vec<(usize, Point)> = series
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, point)| point.value.is_finite() && point.weight.is_finite() && point.weight > 0.0)
        .collect();
    if points.len() < MIN_POINTS {
        return None;
    }
    let heaviest = points.iter().fold(0.0, |most: f64, (_, point)| most.max(point.weight));
    let points: Vec<(usize, Point)> =
        points.into_iter().map(|(index, point)| (index, Point { weight: point.weight / heaviest, ..point })).collect();
    let all = points.iter().fold(Sum::default(), |sum, (_, point)| sum.with(*point));
    let (cut, split) = best(&points, &all)?;
    let level = |place: usize| if place < cut { split.before } else { split.after };
    let residuals: Vec<f64> =
        points.iter().enumerate().map(|(place, (_, point))| point.weight.sqrt() * (point.value - level(place))).collect();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let n = points.len() as f64;
    let products: f64 = residuals.windows(2).filter_map(|pair| Some(pair.first()? * pair.get(1)?)).sum();
    let correlation = if squares > 0.0 { products / squares } else { 0.0 };
    let correlation = (correlation + (1.0 + 4.0 * correlation) / (n / 2.0)).clamp(0.0, MOST_CORRELATION);
    let inflation = (1.0 + correlation) / (1.0 - correlation);
    let noise = squares / (n - 2.0) * inflation;
    let gain = if noise * MOST_GAIN > split.between { split.between / noise } else { MOST_GAIN };
    let (index, _) = points.get(cut)?;
    (split.between > 0.0 && gain >= LEAST_GAIN).then_some(Onset { index: *index, gain, before: split.before, after: split.after })
}

/// Weight and weighted sum of some points.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    weight: f64,
    value: f64,
}

impl Sum {
    fn with(self, point: Point) -> Sum {
        Sum { weight: self.weight + point.weight, value: self.value + point.weight * point.value }
    }

    fn mean(&self) -> f64 {
        self.value / self.weight
    }
}

/// Two levels.
struct Split {
    before: f64,
    after: f64,
    /// Squared deviations that they explain.
    between: f64,
}

/// The cut that explains most: the number of points before it.
fn best(points: &[(usize, Point)], all: &Sum) -> Option<(usize, Split)> {
    let last = points.len().checked_sub(MIN_SEGMENT)?;
    let mut best: Option<(usize, Split)> = None;
    let mut left = Sum::default();
    for (place, (_, point)) in points.iter().enumerate() {
        if (MIN_SEGMENT..=last).contains(&place) {
            let right = Sum { weight: all.weight - left.weight, value: all.value - left.value };
            let gap = left.mean() - right.mean();
            let between = left.weight * right.weight / all.weight * gap * gap;
            if between.is_finite() && best.as_ref().is_none_or(|(_, best)| between > best.between) {
                best = Some((place, Split { before: left.mean(), after: right.mean(), between }));
            }
        }
        left = left.with(*point);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    /// Normal values by the sum of twelve uniform ones, whose neighbours correlate; of standard deviation 1.
    fn noise(random: &mut SplitMix64, n: usize, correlation: f64) -> Vec<f64> {
        let mut before = None;
        let step = |_| {
            let fresh: f64 = (0..12).map(|_| (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0;
            let now = before.map_or(fresh, |before: f64| correlation * before + (1.0 - correlation * correlation).sqrt() * fresh);
            before = Some(now);
            now
        };
        (0..n).map(step).collect()
    }

    fn alike(values: &[f64]) -> Vec<Point> {
        values.iter().map(|value| Point { value: *value, weight: 100.0 }).collect()
    }

    fn share(series: u64, found: impl Fn(&mut SplitMix64) -> bool) -> f64 {
        let mut random = SplitMix64::new(11);
        (0..series).filter(|_| found(&mut random)).count() as f64 / series as f64
    }

    #[test]
    fn without_a_change_there_is_hardly_ever_one() {
        for (correlation, most) in [(0.0, 0.01), (0.5, 0.03), (0.8, 0.07)] {
            let alarms = share(2_000, |random| onset(&alike(&noise(random, 60, correlation))).is_some());
            assert!(alarms <= most, "{alarms} where neighbours correlate by {correlation}");
        }
    }

    #[test]
    fn a_step_is_located() {
        for (correlation, step, least) in [(0.0, 2.0, 0.9), (0.5, 4.0, 0.9)] {
            let near = share(500, |random| {
                let mut values = noise(random, 60, correlation);
                values[40..].iter_mut().for_each(|value| *value -= step);
                onset(&alike(&values)).is_some_and(|onset| onset.index.abs_diff(40) <= 2 && onset.before > onset.after)
            });
            assert!(near >= least, "{near} of steps of {step}");
        }
    }

    #[test]
    fn points_count_by_their_weight() {
        // Light points are as noisy as they are light.
        let mut random = SplitMix64::new(4);
        let mut values = noise(&mut random, 40, 0.0);
        let points = |values: &[f64]| -> Vec<Point> {
            let of = |(place, value): (usize, &f64)| {
                let weight: f64 = if place % 3 == 0 { 1.0 } else { 400.0 };
                Point { value: value / weight.sqrt() + f64::from(u8::from(place >= 25)) * 0.3, weight }
            };
            values.iter().enumerate().map(of).collect()
        };
        let found = onset(&points(&values)).unwrap();
        assert_eq!(found.index, 25);
        values[9] = 6.0;
        assert_eq!(onset(&points(&values)).map(|onset| onset.index), Some(25), "an outlier of weight 1");
        let unweighted: Vec<Point> = points(&values).into_iter().map(|point| Point { weight: 1.0, ..point }).collect();
        assert_ne!(onset(&unweighted).map(|onset| onset.index), Some(25));
    }

    #[test]
    fn what_says_nothing_is_left_out_and_the_index_is_that_of_the_series() {
        let mut series = alike(&[vec![0.0; 10], vec![1.0; 10]].concat());
        series.insert(2, Point { value: f64::NAN, weight: 100.0 });
        series.insert(5, Point { value: 7.0, weight: 0.0 });
        assert_eq!(onset(&series), Some(Onset { index: 12, gain: MOST_GAIN, before: 0.0, after: 1.0 }));
        assert_eq!(onset(&alike(&[1.5; 20])), None);
        assert_eq!(onset(&alike(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])), None, "too short");
        assert_eq!(onset(&[]), None);
        assert!(onset(&alike(&[vec![-1e300; 10], vec![1e300; 10]].concat())).is_none_or(|onset| onset.gain.is_finite()));
    }
}
