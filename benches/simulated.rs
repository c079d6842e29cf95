//! Data without drift, or with one shift, for studies of false alarms: drawn from a seed, so that a study can be repeated.

use driftline::baseline::rows::{ColumnData, Role, RowBatch, Texts};
use driftline::baseline::{Baseline, BuildSpec, Survey, Task, cell};
use driftline::engine::evidence::Evidence;
use driftline::engine::measure::column::{self, Sides};
use driftline::engine::measure::{Reading, Wanted};
use driftline::event::Scalar;
use driftline::stats::random::SplitMix64;
use driftline::window::Pane;

/// Levels of the Zipf distribution: the share of level k is proportional to 1 / k.
const LEVELS: usize = 50;
/// Rows that share a state in autocorrelated data, and how much of it the next ones keep.
const RUN: u64 = 50;
const KEEP: f64 = 0.9;
/// Part of a standard deviation that the state moves.
const WANDER: f64 = 0.5;

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    LogNormal,
    Zipf,
    /// Seven tenths are zero, the others exponential.
    ZeroInflated,
    /// Normal about a mean that wanders: 50 rows share it, the next 50 keep nine tenths.
    Autocorrelated,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Normal, Kind::LogNormal, Kind::Zipf, Kind::ZeroInflated, Kind::Autocorrelated];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Normal => "normal",
            Kind::LogNormal => "log-normal",
            Kind::Zipf => "zipf, 50 levels",
            Kind::ZeroInflated => "zero-inflated",
            Kind::Autocorrelated => "autocorrelated",
        }
    }
}

/// An endless stream of values.
pub struct Stream {
    kind: Kind,
    random: SplitMix64,
    state: f64,
    row: u64,
    cumulated: Vec<f64>,
}

impl Stream {
    pub fn new(kind: Kind, seed: u64) -> Stream {
        let total: f64 = (1..=LEVELS).map(|level| 1.0 / level as f64).sum();
        let mut at = 0.0;
        let cumulated = (1..=LEVELS).map(|level| {
            at += 1.0 / level as f64 / total;
            at
        });
        Stream { kind, random: SplitMix64::new(seed), state: 0.0, row: 0, cumulated: cumulated.collect() }
    }

    fn unit(&mut self) -> f64 {
        ((self.random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The next value, shifted by so many standard deviations; the number of a level for Zipf.
    pub fn next(&mut self, shift: f64) -> f64 {
        self.row += 1;
        match self.kind {
            Kind::Normal => self.normal() + shift,
            Kind::LogNormal => (self.normal() + shift).exp(),
            Kind::Zipf => {
                let unit = self.unit();
                self.cumulated.partition_point(|sum| *sum < unit).min(LEVELS - 1) as f64
            }
            Kind::ZeroInflated => {
                let is_zero = self.unit() < 0.7;
                if is_zero { 0.0 } else { -self.unit().ln() + shift }
            }
            Kind::Autocorrelated => {
                if self.row % RUN == 1 {
                    self.state = KEEP * self.state + (1.0 - KEEP * KEEP).sqrt() * WANDER * self.normal();
                }
                self.normal() + self.state + shift
            }
        }
    }

    /// Counts the next `n` values in a pane of a baseline of one column.
    pub fn count(&mut self, baseline: &Baseline, pane: &mut Pane, n: u64, shift: f64) {
        let (column, mut scratch) = (&baseline.layout.columns[0], String::new());
        for _ in 0..n {
            let value = self.next(shift);
            let placed = match self.kind {
                Kind::Zipf => cell::place(&column.kind, &Scalar::Text(&name(value)), &mut scratch),
                _ => cell::place(&column.kind, &Scalar::from_number(value), &mut scratch),
            };
            cell::count(pane, column, placed);
        }
        pane.n += n;
    }

    /// A pane of the next `n` values.
    pub fn pane(&mut self, baseline: &Baseline, n: u64, shift: f64) -> Pane {
        let mut pane = Pane::new(&baseline.layout);
        self.count(baseline, &mut pane, n, shift);
        pane
    }

    /// A baseline of the next `rows` values, a minute apart.
    pub fn baseline(&mut self, rows: usize) -> Baseline {
        let values: Vec<f64> = (0..rows).map(|_| self.next(0.0)).collect();
        let times = ColumnData::Numbers((0..rows).map(|row| Some(1.6e9 + 60.0 * row as f64)).collect());
        let data = if self.kind == Kind::Zipf {
            let mut texts = Texts::default();
            values.iter().for_each(|value| texts.push(Some(&name(*value))));
            ColumnData::Texts(texts)
        } else {
            ColumnData::Numbers(values.into_iter().map(Some).collect())
        };
        let batch = RowBatch { rows, columns: vec![(Role::Time, times), (Role::Feature("x".into()), data)] };
        let mut survey = Survey::new(BuildSpec::new("m", Task::None)).unwrap();
        survey.add(&batch).unwrap();
        while survey.wants_another_look() {
            survey.look_again();
            survey.add(&batch).unwrap();
        }
        let mut tally = survey.finish().unwrap();
        tally.add(&batch).unwrap();
        tally.finish().unwrap()
    }
}

fn name(level: f64) -> String {
    format!("level-{level}")
}

/// The readings of a window.
pub fn measure(baseline: &Baseline, pane: &Pane, wanted: Wanted, evidence: Evidence) -> Vec<Reading> {
    let sides = Sides::new(baseline, (0, &baseline.layout.columns[0]), &baseline.reference.pane, pane).corrected(evidence);
    let mut readings = Vec::new();
    column::measure(&sides, wanted, &mut readings);
    readings.retain(|reading| reading.p_value.is_some());
    readings
}
