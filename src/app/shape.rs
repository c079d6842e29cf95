//! Histograms for people: a few dozen bars of a column, baseline beside current.

use std::fmt::Write as _;

use crate::baseline::layout::{ColumnKind, NumericBins, SPECIAL};
use crate::baseline::{Baseline, Column};
use crate::http::Histogram;
use crate::window::Pane;

/// Bars of a numeric column at most: what fits on a page.
const BARS: usize = 24;
/// Levels of a categorical column that get a bar of their own.
const LEVELS: usize = 20;

/// The histograms of all columns of one version's window, by subject. An embedding has none.
#[must_use]
pub fn histograms(baseline: &Baseline, pane: &Pane) -> Vec<(String, Histogram)> {
    let of = |column: &Column| {
        let cells = |pane: &Pane| -> Vec<u64> {
            let cells = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells());
            cells.unwrap_or(&[]).to_vec()
        };
        let (reference, current) = (cells(&baseline.reference.pane), cells(pane));
        let (labels, group) = match &column.kind {
            ColumnKind::Numeric(bins) => numeric(bins, &reference),
            ColumnKind::Embedding(_) => return None,
            ColumnKind::Categorical(levels) => {
                let shown = levels.kept.len().min(LEVELS);
                let mut labels: Vec<String> = levels.kept.iter().take(shown).map(ToString::to_string).collect();
                labels.extend(["other".to_owned(), "unseen".to_owned()]);
                let group = (0..levels.cells())
                    .map(|cell| {
                        if cell < shown {
                            cell
                        } else if cell == levels.unseen_cell() {
                            shown + 1
                        } else {
                            shown
                        }
                    })
                    .collect();
                (labels, group)
            }
        };
        let n = current.iter().sum();
        let histogram =
            Histogram { baseline: shares(&reference, &group, labels.len()), current: shares(&current, &group, labels.len()), labels, n };
        Some((column.subject.to_string(), histogram))
    };
    baseline.layout.columns.iter().filter_map(of).collect()
}

/// Bars of about equal width between the 1 % and 99 % points of the reference, with open ends; the group of each cell.
fn numeric(bins: &NumericBins, reference: &[u64]) -> (Vec<String>, Vec<usize>) {
    let total: u64 = reference.iter().sum();
    let point = |share: f64| {
        let mut sum = 0u64;
        #[allow(clippy::cast_precision_loss)]
        let place = reference.iter().position(|count| {
            sum += count;
            sum as f64 >= share * total as f64
        });
        place.and_then(|cell| bins.edges.get(cell)).copied().unwrap_or(bins.max)
    };
    let (low, high) = (point(0.01), point(0.99));
    #[allow(clippy::cast_precision_loss)]
    let width = (high - low) / (BARS - 2) as f64;
    if width.is_nan() || width <= 0.0 {
        let labels = vec![format!("< {}", short(bins.min)), short(bins.min), format!("> {}", short(bins.max))];
        let group = (0..bins.cells()).map(|cell| if cell == 0 { 0 } else { 1 + usize::from(cell == bins.edges.len()) }).collect();
        return (labels, group);
    }
    let group = (0..bins.cells())
        .map(|cell| match bins.edges.get(cell) {
            Some(edge) if *edge <= low => 0,
            Some(edge) if *edge > high => BARS - 1,
            // Truncation is meant: the bar that the upper edge of the cell lies in.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(edge) => 1 + ((((*edge - low) / width).ceil() as usize).max(1) - 1).min(BARS - 3),
            None => BARS - 1,
        })
        .collect();
    #[allow(clippy::cast_precision_loss)]
    let labels = (0..BARS)
        .map(|bar| match bar {
            0 => format!("<= {}", short(low)),
            bar if bar == BARS - 1 => format!("> {}", short(high)),
            bar => format!("{} to {}", short(low + width * (bar - 1) as f64), short(low + width * bar as f64)),
        })
        .collect();
    (labels, group)
}

#[allow(clippy::cast_precision_loss)]
fn shares(cells: &[u64], group: &[usize], bars: usize) -> Vec<f64> {
    let total: u64 = cells.iter().sum();
    let mut shares = vec![0.0; bars];
    for (count, bar) in cells.iter().zip(group) {
        if let Some(share) = shares.get_mut(*bar) {
            *share += *count as f64 / total.max(1) as f64;
        }
    }
    shares
}

/// A number in at most four significant digits.
fn short(value: f64) -> String {
    let mut text = String::new();
    let _ = match value.abs() {
        0.0 => write!(text, "0"),
        size if !(1e-3..1e6).contains(&size) => write!(text, "{value:.2e}"),
        size if size >= 100.0 => write!(text, "{value:.0}"),
        size if size >= 1.0 => write!(text, "{value:.1}"),
        _ => write!(text, "{value:.3}"),
    };
    text
}
