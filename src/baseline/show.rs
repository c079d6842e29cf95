//! A baseline as text for people: one line per column, then the notes.

use std::fmt::Write as _;

use super::Baseline;
use super::layout::{Column, ColumnKind, SPECIAL};
use super::summary::Summary;
use crate::window::Pane;

/// Levels shown of a categorical column.
const TOP_LEVELS: usize = 4;
/// Longest text shown of a name or level, in characters.
const NAME_WIDTH: usize = 32;

/// The text of `driftline baseline show`.
#[must_use]
pub fn show(baseline: &Baseline) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "model      {}", baseline.model);
    let _ = writeln!(out, "task       {}", baseline.task);
    if !baseline.classes.is_empty() {
        let _ = writeln!(out, "classes    {}", baseline.classes.join(", "));
    }
    if let Some(positive) = baseline.positive.and_then(|index| baseline.classes.get(index)) {
        let _ = writeln!(out, "positive   {positive} (score >= {})", baseline.threshold);
    }
    let _ = writeln!(out, "rows       {}", baseline.rows);
    if baseline.task != super::Task::None {
        let _ = writeln!(out, "labelled   {}", baseline.reference.joined.matched);
    }
    let _ = writeln!(out, "layout     {:016x}", baseline.layout.id);
    if baseline.rank_error > 0.0 {
        let _ = writeln!(out, "rank error {:.1e} of the rows at most; counts are exact", baseline.rank_error);
    }
    out.push('\n');

    let head = ["column", "type", "values", "nulls", "invalid", "bins", "min / mean (sd) / max, or levels by share"];
    let mut rows = vec![head.map(str::to_owned)];
    let columns = baseline.layout.columns.iter().zip(&baseline.summaries);
    rows.extend(columns.map(|(column, summary)| line(column, summary, &baseline.reference.pane)));
    if let (Some(column), Some(summary)) = (baseline.joined.label.columns.first(), &baseline.label_summary) {
        rows.push(line(column, summary, &baseline.reference.joined.label));
    }
    write_table(&mut out, &rows);

    if let Some(joint) = &baseline.layout.joint {
        out.push_str("\nmultivariate\n");
        let _ = writeln!(out, "  {}", joint.features.join(", "));
        let sums = joint.space.read(baseline.reference.pane.sums.get(baseline.layout.joint_sums()..).unwrap_or(&[]));
        let _ = writeln!(out, "  {} of {} rows have all of them", sums.count, baseline.rows);
        if let Some(reconstruction) = &joint.space.reconstruction {
            let explained = 100.0 * reconstruction.explained.iter().sum::<f64>();
            let _ = writeln!(out, "  reconstruction_error: {} components explain {explained:.1}%", reconstruction.components.len());
        }
        if let Some(kernel) = &joint.space.kernel {
            let _ = writeln!(out, "  mmd: bandwidth {}", short(kernel.bandwidth));
        }
        if let Some(dependence) = &joint.dependence {
            let _ = writeln!(out, "  correlation_shift: {} pairs", dependence.spread.len());
        }
    }
    if !baseline.segments.is_empty() {
        out.push_str("\nsegments\n");
        for (segment, reference) in &baseline.segments {
            let _ = writeln!(out, "  {segment}: {} rows", reference.pane.n);
        }
    }
    if let Some(seasons) = &baseline.seasons {
        let rows = seasons.hours.values().map(crate::window::SparsePane::n);
        let (least, most) = (rows.clone().min().unwrap_or(0), rows.max().unwrap_or(0));
        let (found, all) = (seasons.hours.len(), seasons.season.hours());
        let _ = writeln!(out, "\n{}\n  {found} of {all} hours have rows: {least} to {most}", seasons.season.as_str());
    }
    if !baseline.notes.is_empty() {
        out.push_str("\nnotes\n");
        for note in &baseline.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    out
}

fn line(column: &Column, summary: &Summary, pane: &Pane) -> [String; 7] {
    let (kind, bins, values) = match &column.kind {
        ColumnKind::Numeric(bins) => {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
            let values = format!("{} / {} ({}) / {}", short(bins.min), number(summary.mean), number(summary.sd), short(bins.max));
            ("numeric", bins.edges.len().saturating_sub(1), values)
        }
        ColumnKind::Embedding(space) => ("embedding", 1, format!("{} dimensions", space.dimension())),
        ColumnKind::Categorical(levels) => {
            let counts = pane.cells.get(column.offset + SPECIAL..column.offset + column.cells()).unwrap_or(&[]);
            let shown: Vec<String> = levels
                .kept
                .iter()
                .zip(counts)
                .take(TOP_LEVELS)
                .map(|(level, count)| format!("{} {}", clip(level), percent(*count, summary.n)))
                .collect();
            let more = summary.distinct.unwrap_or(levels.kept.len() as u64).saturating_sub(shown.len() as u64);
            let more = if more > 0 { format!(", {more} more") } else { String::new() };
            ("categorical", levels.kept.len(), format!("{}{more}", shown.join(", ")))
        }
    };
    [
        clip(&column.subject.to_string()),
        kind.to_owned(),
        summary.n.to_string(),
        percent(summary.nulls, pane.n),
        percent(summary.invalid, pane.n),
        bins.to_string(),
        values,
    ]
}

fn write_table(out: &mut String, rows: &[[String; 7]]) {
    let mut widths = [0usize; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut text = String::new();
        for (index, (width, cell)) in widths.iter().zip(row).enumerate() {
            match index {
                0 | 1 => drop(write!(text, "{cell:<width$}  ")),
                6 => text.push_str(cell),
                _ => drop(write!(text, "{cell:>width$}  ")),
            }
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(count: u64, of: u64) -> String {
    match count {
        0 => "0%".to_owned(),
        _ => format!("{:.2}%", 100.0 * count as f64 / of.max(1) as f64),
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e7).contains(&size) {
        let decimals = if size >= 1000.0 {
            0
        } else if size >= 100.0 {
            1
        } else if size >= 10.0 {
            2
        } else if size >= 1.0 {
            3
        } else {
            4
        };
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.3e}")
    }
}

fn clip(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= NAME_WIDTH {
        return clean;
    }
    clean.chars().take(NAME_WIDTH - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.0, 1.0, 0.12345, 12.3456, 123_456.7, 1e9, -2.5e-7].map(short).to_vec();
        assert_eq!(shown, ["0", "1", "0.1235", "12.35", "123457", "1.000e9", "-2.500e-7"]);
    }
}
