//! How sure a model's measurements have to be: which corrections its p-values get, and the level of a single look that its
//! false-alarm budget leaves.

use crate::baseline::Baseline;
use crate::event::Span;
use crate::stats::budget::{Budget, Looks};
use crate::window::WindowSpec;

use super::measure::column::{Sides, measure};
use super::measure::{Recipe, Wanted, multivariate};

/// How p-values of one metric over the features are adjusted for being many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adjust {
    /// By the expected share of false discoveries.
    #[default]
    BenjaminiHochberg,
    /// By the chance of any.
    Bonferroni,
}

/// Which corrections p-values get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the design effects of the baseline count.
    pub design_effects: bool,
    /// How they are adjusted over the features.
    pub adjust: Adjust,
    /// Whether they are held against the level of a budget, where the normal limit of a mean of skewed values has long ended: then the
    /// spread of a window counts as no smaller than that of the baseline.
    pub has_budget: bool,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence { design_effects: true, adjust: Adjust::default(), has_budget: false }
    }
}

/// How many false alarms somebody accepts of a model, in which time: `1 per 30d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseAlarms {
    /// On average.
    pub alarms: f64,
    /// In this time.
    pub per: Span,
}

impl std::fmt::Display for FalseAlarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} per {}", self.alarms, self.per)
    }
}

/// What a budget leaves for a single look, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The budget.
    pub budget: FalseAlarms,
    /// A p-value of at most this is a breach.
    pub level: f64,
    /// Subjects times metrics with a p-value, of one segment.
    pub series: u64,
    /// Segments, the overall one among them.
    pub segments: u64,
    /// Independent looks in the time of the budget, by window.
    pub looks: Vec<(String, f64)>,
}

impl Level {
    /// Shares a budget out over all series of a model. `None` where there are none.
    #[must_use]
    pub fn new(budget: FalseAlarms, windows: &[WindowSpec], series: u64, segments: u64) -> Option<Level> {
        let per = budget.per.as_seconds();
        let looks = |window: &WindowSpec| Looks {
            series: series.saturating_mul(segments),
            size: window.size.as_seconds(),
            slide: window.slide.as_seconds(),
        };
        let all: Vec<Looks> = windows.iter().map(looks).collect();
        let level = Budget { alarms: budget.alarms, per }.level(&all)?;
        let looks = windows.iter().zip(&all).map(|(window, looks)| (window.name.to_string(), looks.independent(per, level))).collect();
        Some(Level { budget, level, series, segments, looks })
    }
}

/// Series of one segment that have a p-value: counted by measuring the reference against itself, the greatest number over
/// the baselines.
#[must_use]
pub fn series<'a>(baselines: impl IntoIterator<Item = &'a Baseline>, wanted: Wanted, recipe: Recipe) -> u64 {
    let of = |baseline: &Baseline| {
        let pane = &baseline.reference.pane;
        let mut readings = Vec::new();
        for column in baseline.layout.columns.iter().enumerate() {
            measure(&Sides::new(baseline, column, pane, pane).by(recipe), wanted, &mut readings);
        }
        let alone = readings.iter().filter(|reading| reading.p_value.is_some()).count();
        let together = multivariate::readings(baseline, pane, pane, wanted, Evidence::default());
        (alone + together.iter().filter(|(_, reading)| reading.p_value.is_some()).count()) as u64
    };
    baselines.into_iter().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_over_series_segments_and_windows() {
        let window = |name: &str, size, slide| WindowSpec { name: name.into(), size, slide, offset: Span(0) };
        let windows = [window("1h", Span::HOUR, Span(Span::HOUR.0 / 12)), window("1d", Span::DAY, Span::DAY)];
        let budget = FalseAlarms { alarms: 1.0, per: Span(30 * Span::DAY.0) };
        let level = Level::new(budget, &windows, 20, 3).unwrap();
        let looks: f64 = level.looks.iter().map(|(_, looks)| looks).sum();
        assert!((level.level * looks - 1.0).abs() < 1e-9);
        assert!((looks - (720.0 * 12.0 + 30.0) * 60.0).abs() < 1e-6, "{looks}");
        assert_eq!(level.budget.to_string(), "1 per 30d");
        assert_eq!(Level::new(budget, &windows, 0, 3), None);
    }
}
