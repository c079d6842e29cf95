//! The reference of one column in a few numbers, for people and for the evidence of levels.
//!
//! Always computed from the counts and sums of the reference pane, so that it cannot disagree with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::Pane;

use super::layout::{Column, ColumnKind, INFINITE, MISSING, NAN, NULL, SPECIAL, WRONG_TYPE};
use super::levels::expected_unseen;

/// How many levels a categorical column has, from the first look at the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelCounts {
    /// Distinct levels; an estimate where there are more than 20,000.
    pub distinct: u64,
    /// Levels that occur once; an estimate where there are more than 20,000 levels.
    pub singletons: u64,
}

/// The reference of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Rows with a valid value: a finite number, or a level.
    pub n: u64,
    /// Rows without a value: null or missing.
    pub nulls: u64,
    /// Rows with NaN, an infinity or a value of a wrong type.
    pub invalid: u64,
    /// Mean of a numeric column with values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation (n - 1) of a numeric column with at least two values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Standard deviation (n) of a numeric column with values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd_population: Option<f64>,
    /// Least value of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest value of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Distinct levels of a categorical column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// Levels that occur once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singletons: Option<u64>,
    /// Share of values with a level that the reference has not seen, to be expected without drift (Good-Turing).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_unseen: Option<f64>,
}

impl Summary {
    /// The summary of a column over a pane of its layout.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn of(column: &Column, pane: &Pane, levels: Option<LevelCounts>) -> Summary {
        let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
        let at = |cell: usize| cells.get(cell).copied().unwrap_or(0);
        let n: u64 = cells.iter().skip(SPECIAL).sum();
        let mut summary = Summary {
            n,
            nulls: at(NULL) + at(MISSING),
            invalid: at(NAN) + at(INFINITE) + at(WRONG_TYPE),
            mean: None,
            sd: None,
            sd_population: None,
            min: None,
            max: None,
            distinct: None,
            singletons: None,
            expected_unseen: None,
        };
        match &column.kind {
            ColumnKind::Numeric(bins) => {
                (summary.min, summary.max) = (Some(bins.min), Some(bins.max));
                if let Some(moments) = column.moments.and_then(|index| pane.moments.get(index)).filter(|_| n > 0) {
                    let rows = n as f64;
                    let mean = moments.sum.value() / rows;
                    let variance = (moments.squares.value() / rows - mean * mean).max(0.0);
                    summary.mean = Some(bins.center + bins.scale * mean);
                    summary.sd_population = Some(bins.scale * variance.sqrt());
                    summary.sd = (n > 1).then(|| bins.scale * (variance * (rows / (rows - 1.0))).sqrt());
                }
            }
            ColumnKind::Embedding(_) => {}
            ColumnKind::Categorical(_) => {
                if let Some(counts) = levels {
                    summary.distinct = Some(counts.distinct);
                    summary.singletons = Some(counts.singletons);
                    summary.expected_unseen = Some(expected_unseen(counts.singletons, n));
                }
            }
        }
        summary
    }
}
