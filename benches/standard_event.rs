//! The standard event: a prediction in the default shape with 20 features, about 550 bytes, as a stream that is the same for
//! the same seed.
//!
//! 12 floats of 6 decimals, 4 integers and 4 categories of 3, 10, 50 and 1000 values by Zipf's law, 1 % of them null. It writes
//! JSON and knows nothing of who reads it. Times advance by a millisecond for each event, from a day that is past on any clock.

#![allow(dead_code)] // Each bench takes what it needs.

use std::fmt::Write as _;

/// How the events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Without space, always in the same order.
    Compact,
    /// With the space that Python's `json.dumps` puts after commas and colons.
    Spaced,
    /// With the features of each event in another order.
    Shuffled,
    /// With all digits of each float, as Python writes them.
    LongFloats,
}

/// Names of the features: `num_00` to `num_11`, `int_00` to `int_03`, `cat_00` to `cat_03`.
pub fn feature_names() -> Vec<String> {
    let name = |kind: &str, count: usize| (0..count).map(move |number| format!("{kind}_{number:02}")).collect::<Vec<_>>();
    [name("num", FLOATS), name("int", INTEGERS), name("cat", CATEGORIES.len())].concat()
}

/// The only tag of the events: `eu`, `us` or `apac`.
pub const TAG: &str = "region";

const FLOATS: usize = 12;
const INTEGERS: usize = 4;
/// How many values the categories have.
const CATEGORIES: [usize; 4] = [3, 10, 50, 1000];
/// 2025-06-02T10:00:00Z in milliseconds since the epoch.
pub const START: u64 = 1_748_858_400_000;
/// Midnight before it, and its day of June.
const MIDNIGHT: u64 = 1_748_822_400_000;
const DAY: u64 = 2;

/// A stream of standard events.
pub struct StandardStream {
    state: u64,
    shape: Shape,
    count: u64,
    /// Cumulative shares of the categories' values.
    shares: Vec<Vec<f64>>,
    /// The order of the features of the event.
    order: Vec<usize>,
    names: Vec<String>,
    /// Added to `num_00` and `num_03`, in standard deviations.
    pub shift: f64,
}

impl StandardStream {
    /// The stream of a seed.
    pub fn new(seed: u64, shape: Shape) -> StandardStream {
        let shares = CATEGORIES.iter().map(|values| {
            let weights: Vec<f64> = (1..=*values).map(|rank| (rank as f64).recip()).collect();
            let total: f64 = weights.iter().sum();
            weights
                .iter()
                .scan(0.0, |sum, weight| {
                    *sum += weight / total;
                    Some(*sum)
                })
                .collect()
        });
        let names = feature_names();
        StandardStream { state: seed, shape, count: 0, shares: shares.collect(), order: (0..names.len()).collect(), names, shift: 0.0 }
    }

    /// The next number of the splitmix64 generator.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn float(&mut self, value: f64, out: &mut String) {
        let _ = if self.shape == Shape::LongFloats { write!(out, "{value}") } else { write!(out, "{value:.6}") };
    }

    /// The time of the next event, in milliseconds since the epoch.
    pub fn time(&self) -> u64 {
        START + self.count
    }

    /// Leaves so many milliseconds out.
    pub fn skip(&mut self, milliseconds: u64) {
        self.count += milliseconds;
    }

    /// Appends the next event, without a newline.
    pub fn write_event(&mut self, out: &mut String) {
        let (comma, colon) = if self.shape == Shape::Spaced { (", ", ": ") } else { (",", ":") };
        let (a, b) = (self.random(), self.random());
        let score = self.uniform();
        let _ = write!(out, "{{\"event\"{colon}\"prediction\"{comma}\"model\"{colon}\"standard\"{comma}\"version\"{colon}\"3\"{comma}");
        let _ = write!(
            out,
            "\"id\"{colon}\"{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}\"{comma}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFF,
            b >> 48 & 0x3FFF | 0x8000,
            b & 0xFFFF_FFFF_FFFF
        );
        out.push_str("\"ts\"");
        out.push_str(colon);
        write_time(self.time(), out);
        let _ = write!(out, "{comma}\"features\"{colon}{{");
        if self.shape == Shape::Shuffled {
            for last in (1..self.order.len()).rev() {
                let other = (self.random() % (last as u64 + 1)) as usize;
                self.order.swap(last, other);
            }
        }
        for place in 0..self.order.len() {
            let feature = self.order[place];
            let _ = write!(out, "{}\"{}\"{colon}", if place == 0 { "" } else { comma }, self.names[feature]);
            self.feature(feature, out);
        }
        let _ = write!(out, "}}{comma}\"prediction\"{colon}{}{comma}\"score\"{colon}", u8::from(score >= 0.5));
        self.float(score, out);
        let region = ["eu", "us", "apac"][(self.random() % 3) as usize];
        let _ = write!(out, "{comma}\"tags\"{colon}{{\"{TAG}\"{colon}\"{region}\"}}}}");
        self.count += 1;
    }

    fn feature(&mut self, feature: usize, out: &mut String) {
        if self.random().is_multiple_of(100) {
            out.push_str("null");
        } else if feature < FLOATS {
            let shift = if feature == 0 || feature == 3 { self.shift } else { 0.0 };
            let value = (self.normal() + shift) * [1.0, 10.0, 0.1, 100.0][feature % 4];
            self.float(value, out);
        } else if feature < FLOATS + INTEGERS {
            let value = -(1.0 - self.uniform()).ln() * [10.0, 100.0, 1_000.0, 50_000.0][feature - FLOATS];
            let _ = write!(out, "{}", value as u64);
        } else {
            let category = feature - FLOATS - INTEGERS;
            let share = self.uniform();
            let rank = self.shares[category].partition_point(|sum| *sum <= share).min(CATEGORIES[category] - 1);
            let _ = write!(out, "\"c{category}_{rank}\"");
        }
    }
}

/// RFC 3339 with milliseconds; the stream stays within its month.
fn write_time(milliseconds: u64, out: &mut String) {
    let since = milliseconds - MIDNIGHT;
    let (day, of_day) = (DAY + since / 86_400_000, since % 86_400_000);
    let (seconds, fraction) = (of_day / 1_000, of_day % 1_000);
    let _ = write!(out, "\"2025-06-{day:02}T{:02}:{:02}:{:02}.{fraction:03}Z\"", seconds / 3_600, seconds / 60 % 60, seconds % 60);
}
