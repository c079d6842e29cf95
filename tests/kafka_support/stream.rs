//! Streams of events with a known drift, the same in every run.

use std::fmt::Write as _;

use super::cluster::{Cluster, LABELS, PREDICTIONS};

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
/// 2024-01-01T00:00:00Z: a day that every window of the tests begins with.
pub const START: i64 = 1_704_067_200_000;

/// Numbers that look random and are always the same: the finaliser of splitmix64 over a counter.
pub fn number(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

struct Row {
    age: u64,
    income: f64,
    country: &'static str,
    score: f64,
    repaid: bool,
}

fn row(seed: u64) -> Row {
    let of = |place: u64| number(seed.wrapping_mul(16).wrapping_add(place));
    #[allow(clippy::cast_precision_loss)]
    let share = |place: u64| (of(place) % 10_000) as f64 / 10_000.0;
    let score = share(3);
    Row {
        age: 20 + of(0) % 50,
        income: (20_000.0 + 60_000.0 * share(1) * share(2)).round() / 4.0,
        country: ["DE", "FR", "IT", "PL"][usize::try_from(of(4) % 10).unwrap() / 3],
        score,
        repaid: share(5) < 0.1 + 0.8 * score,
    }
}

/// The reference table.
pub fn reference() -> String {
    let mut table = String::from("id,ts,age,income,country,prediction,score,label\n");
    for place in 0..3_000u64 {
        let Row { age, income, country, score, repaid } = row(place + 1_000_000);
        let ts = driftline::event::Timestamp(START - 1000 * HOUR + i64::try_from(place).unwrap() * MINUTE).rfc3339();
        let class = |repaid: bool| if repaid { "repaid" } else { "default" };
        writeln!(table, "r{place},{ts},{age},{income},{country},{},{score},{}", class(score >= 0.5), class(repaid)).unwrap();
    }
    table
}

/// Whether a prediction is of the version that nobody labels.
fn is_unlabelled(id: u64) -> bool {
    number(id ^ 3).is_multiple_of(8)
}

/// A prediction; `shift` is added to its age.
pub fn prediction(id: u64, ts: i64, shift: u64) -> Vec<u8> {
    let Row { age, income, country, score, .. } = row(id);
    let version = if is_unlabelled(id) { 2 } else { 1 };
    let region = ["eu", "us", "mars"][usize::try_from(number(id ^ 4) % 3).unwrap()];
    let age = age + shift;
    let class = if score >= 0.5 { "repaid" } else { "default" };
    format!(
        r#"{{"event":"prediction","model":"loan","version":"{version}","id":"p{id}","ts":{ts},"tags":{{"region":"{region}"}},"features":{{"age":{age},"income":{income},"country":"{country}"}},"prediction":"{class}","score":{score}}}"#
    )
    .into_bytes()
}

/// What became of a prediction.
pub fn label(id: u64, ts: i64) -> Vec<u8> {
    let class = if row(id).repaid { "repaid" } else { "default" };
    format!(r#"{{"event":"label","model":"loan","id":"p{id}","ts":{ts},"label":"{class}"}}"#).into_bytes()
}

/// A stream over some partitions: one event every `step` milliseconds of event time, out of order within the lateness,
/// and one in fifty far behind it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub partitions: i32,
    pub step: i64,
    /// When the drift begins, in milliseconds after [`START`].
    pub drift: i64,
    /// Whether labels follow, 40 minutes later, for nine in ten.
    pub labels: bool,
}

impl Stream {
    /// Sends the events from one time to another, both in milliseconds after [`START`]; the labels of that time, too.
    pub fn send(&self, cluster: &Cluster, from: i64, to: i64) {
        let mut at = from - from.rem_euclid(self.step);
        while at < to {
            if at >= from {
                self.send_one(cluster, at);
            }
            at += self.step;
        }
    }

    fn send_one(&self, cluster: &Cluster, at: i64) {
        let id = u64::try_from(at / self.step).unwrap();
        let partition = |id: u64| i32::try_from(number(id ^ 77) % u64::try_from(self.partitions).unwrap()).unwrap();
        let behind = if number(id ^ 5).is_multiple_of(50) { 10 * MINUTE } else { i64::try_from(number(id) % 90_000).unwrap() };
        let shift = if at >= self.drift { 25 } else { 0 };
        let ts = START + at - behind;
        // The first events of a partition are in order: a window begins with them.
        let ts = ts.max(START);
        cluster.send(PREDICTIONS, partition(id), START + at, prediction(id, ts, shift));
        let labelled = at - 40 * MINUTE;
        if self.labels && labelled >= 0 {
            let id = u64::try_from(labelled / self.step).unwrap();
            if !number(id ^ 9).is_multiple_of(10) && !is_unlabelled(id) {
                cluster.send(LABELS, partition(id) % 2, START + at, label(id, START + at));
            }
        }
    }

    /// Sends one event of a far later time to every partition: what moves all clocks past the windows before it.
    pub fn send_last(&self, cluster: &Cluster, at: i64) {
        for partition in 0..self.partitions {
            let id = 10_000_000 + u64::try_from(partition).unwrap();
            cluster.send(PREDICTIONS, partition, START + at, prediction(id, START + at, 0));
        }
        if self.labels {
            for partition in 0..2 {
                cluster.send(LABELS, partition, START + at, label(20_000_000, START + at));
            }
        }
    }
}
