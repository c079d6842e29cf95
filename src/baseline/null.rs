//! Null tables of the columns: how large an effect is when nothing has changed, simulated from the reference.

use crate::stats::null::Nulls;
use crate::stats::wasserstein::Tails;
use crate::window::Pane;

use super::layout::{Column, ColumnKind, Layout, SPECIAL};

/// Start of the simulations; each column adds its number. Any fixed number does, so that the same rows give the same tables.
const SEED: u64 = 0x64_72_69_66_74;

/// The tables of every column of a layout; `None` for a column without values.
#[must_use]
pub fn simulate(layout: &Layout, pane: &Pane) -> Vec<Option<Nulls>> {
    (SEED..).zip(&layout.columns).map(|(seed, column)| of_column(column, pane, seed)).collect()
}

fn of_column(column: &Column, pane: &Pane, seed: u64) -> Option<Nulls> {
    let counts = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells())?;
    match &column.kind {
        ColumnKind::Numeric(bins) => {
            let moments = column.moments.and_then(|index| pane.moments.get(index))?;
            let (below, above) = (moments.below.value(), moments.above.value());
            let tails = Tails::from_sums(&bins.edges, counts, below, above, bins.center, bins.scale);
            Nulls::of_bins(&bins.edges, counts, &bins.coarse_of_cells(), tails, seed)
        }
        ColumnKind::Embedding(_) => None,
        ColumnKind::Categorical(levels) => {
            // The share of `unseen` is 0 by construction and not by chance: it is one cell with `other`.
            let mut merged = counts.to_vec();
            let unseen = merged.pop()?;
            *merged.get_mut(levels.other_cell())? += unseen;
            Nulls::of_levels(&merged, seed)
        }
    }
}
