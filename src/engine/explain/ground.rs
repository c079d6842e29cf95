//! What a score is made of: the cells that its metric looks at, their names, and what each adds to it.

use crate::baseline::layout::{Column, ColumnKind, INFINITE, MISSING, NAN, NULL, SPECIAL, WRONG_TYPE};
use crate::event::Metric;
use crate::event::explanation::LONGEST_NAME;
use crate::event::sentence::{figure, shortened};
use crate::event::text::canonical_number;
use crate::stats::contribution::{Distance, Part, terms};
use crate::stats::divergence::SHARE_FLOOR;
use crate::window::Pane;

/// The cells of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Coarse bins or levels, among the values. The metric whose terms they have.
    Values(Distance, Metric),
    /// Kinds of what is no value, among all events.
    Special(&'static [(usize, &'static str)], Metric),
    /// Values outside the range of the reference, among the values.
    Outside,
    /// Values of unseen levels, among the values.
    Unseen,
}

impl Ground {
    /// What a metric looks at. One that is no sum over cells is explained by the terms of psi.
    pub fn of(metric: Metric, kind: &ColumnKind) -> Ground {
        const NULLS: &[(usize, &str)] = &[(NULL, "nulls"), (MISSING, "missing values")];
        const INVALID: &[(usize, &str)] = &[(NAN, "NaN"), (INFINITE, "infinities"), (WRONG_TYPE, "values of a wrong type")];
        match (metric, kind) {
            (Metric::KlDivergence, _) => Ground::Values(Distance::KullbackLeibler, metric),
            (Metric::JsDistance, _) => Ground::Values(Distance::JensenShannon, metric),
            (Metric::Hellinger, _) => Ground::Values(Distance::Hellinger, metric),
            (Metric::TotalVariation, _) => Ground::Values(Distance::TotalVariation, metric),
            (Metric::ChiSquare, _) => Ground::Values(Distance::ChiSquare, metric),
            (Metric::GTest, _) => Ground::Values(Distance::GTest, metric),
            (Metric::NullRate, _) => Ground::Special(NULLS, metric),
            (Metric::InvalidRate, _) => Ground::Special(INVALID, metric),
            (Metric::OutOfRangeRate, ColumnKind::Numeric(_)) => Ground::Outside,
            (Metric::NewCategoryRate, ColumnKind::Categorical(_)) => Ground::Unseen,
            _ => Ground::Values(Distance::Psi, Metric::Psi),
        }
    }

    /// The metric whose score the terms add up to, or to whose square.
    pub fn metric(self) -> Metric {
        match self {
            Ground::Values(_, metric) | Ground::Special(_, metric) => metric,
            Ground::Outside => Metric::OutOfRangeRate,
            Ground::Unseen => Metric::NewCategoryRate,
        }
    }

    /// Whether the cells hold all that the shares are of.
    pub fn is_whole(self) -> bool {
        matches!(self, Ground::Values(..))
    }

    /// The cells of a column in a pane.
    pub fn count(self, column: &Column, pane: &Pane) -> Part {
        let cells = pane.cells.get(column.offset..column.offset + column.cells()).unwrap_or(&[]);
        let (special, data) = cells.split_at_checked(SPECIAL).unwrap_or((&[], &[]));
        let valid: u64 = data.iter().sum();
        let (cells, total) = match (self, &column.kind) {
            (Ground::Values(..), ColumnKind::Numeric(bins)) => (bins.coarse(data), valid),
            (Ground::Values(..), ColumnKind::Categorical(_)) => (data.to_vec(), valid),
            (Ground::Special(kinds, _), _) => {
                (kinds.iter().map(|(cell, _)| special.get(*cell).copied().unwrap_or(0)).collect(), valid + special.iter().sum::<u64>())
            }
            (Ground::Outside, _) => ([data.first(), data.last()].map(|count| count.copied().unwrap_or(0)).to_vec(), valid),
            (Ground::Unseen, ColumnKind::Categorical(levels)) => (vec![data.get(levels.unseen_cell()).copied().unwrap_or(0)], valid),
            // Of an embedding only its rates have cells.
            (Ground::Unseen, ColumnKind::Numeric(_)) | (Ground::Values(..) | Ground::Unseen, ColumnKind::Embedding(_)) => {
                (Vec::new(), valid)
            }
        };
        Part { cells, total }
    }

    /// What each cell adds; `None` where one side is empty.
    pub fn terms(self, reference: &Part, current: &Part) -> Option<Vec<f64>> {
        match self {
            _ if current.cells.is_empty() => None,
            Ground::Values(distance, _) => terms(distance, &reference.cells, &current.cells),
            // A rate is the sum of its cells; what they add to its change may cancel, so the terms are the sizes of the changes.
            _ if reference.total == 0 || current.total == 0 => None,
            _ => {
                let moved = |cell: usize| (current.share(cell, current.total) - reference.share(cell, reference.total)).abs();
                Some((0..current.cells.len()).map(moved).collect())
            }
        }
    }

    /// How much more an event of a cell belongs to the window than to the reference: the logarithm of the shares' ratio, or 1 for
    /// each event of a rate.
    pub fn likeness(self, reference: &Part, current: &Part) -> Vec<f64> {
        let floored = |part: &Part, cell: usize| part.share(cell, part.total).max(SHARE_FLOOR);
        let of = |cell: usize| if self.is_whole() { (floored(current, cell) / floored(reference, cell)).ln() } else { 1.0 };
        (0..current.cells.len()).map(of).collect()
    }

    /// The name of a cell, and its bounds where it is a range.
    pub fn name(self, kind: &ColumnKind, cell: usize) -> (String, (Option<f64>, Option<f64>)) {
        let level = |name: &str| (shortened(name, LONGEST_NAME), (None, None));
        match (self, kind) {
            (Ground::Values(..), ColumnKind::Numeric(bins)) => {
                let edge = |place: Option<usize>| place.and_then(|place| bins.coarse_edges.get(place)).copied();
                let bounds = (edge(cell.checked_sub(1)), edge(Some(cell)));
                (range(bounds), bounds)
            }
            (Ground::Outside, ColumnKind::Numeric(bins)) => {
                let bounds = if cell == 0 { (None, Some(bins.min)) } else { (Some(bins.max), None) };
                (format!("values {}", if cell == 0 { format!("below {}", figure(bins.min)) } else { range(bounds) }), bounds)
            }
            (Ground::Special(kinds, _), _) => level(kinds.get(cell).map_or("", |(_, name)| name)),
            (Ground::Values(..), ColumnKind::Categorical(levels)) => match levels.kept.get(cell) {
                Some(name) => level(name),
                None if cell == levels.other_cell() => level("other levels"),
                None => level("unseen levels"),
            },
            _ => level("unseen levels"),
        }
    }
}

/// `(24.5, 31]`, `up to 24.5`, `above 31`.
fn range(bounds: (Option<f64>, Option<f64>)) -> String {
    match bounds {
        (Some(low), Some(high)) if figure(low) == figure(high) => format!("({}, {}]", canonical_number(low), canonical_number(high)),
        (Some(low), Some(high)) => format!("({}, {}]", figure(low), figure(high)),
        (None, Some(high)) => format!("up to {}", figure(high)),
        (Some(low), None) => format!("above {}", figure(low)),
        (None, None) => "all values".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_named_as_people_write_them() {
        let named =
            [(Some(24.5), Some(31.0)), (None, Some(52_000.0)), (Some(90_000.0), None), (None, None), (Some(1.000_01), Some(1.000_02))]
                .map(range);
        assert_eq!(named, ["(24.5, 31]", "up to 52k", "above 90k", "all values", "(1.00001, 1.00002]"]);
    }
}
