//! The cells of an explanation as a small picture of block characters: any mail program shows it, and nothing is loaded for it.

use crate::event::explanation::{Finding, LONGEST_NAME, MovedCell};
use crate::event::sentence::{percent, shortened};

/// Characters of the longest bar.
const WIDTH: usize = 24;
/// Longest name in the text part, in characters: lines stay below 78.
const NAME: usize = 24;
/// Parts of a block, an eighth each.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A bar of a share, whose longest stands for `most`.
fn bar(share: f64, most: f64) -> String {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At most 192.
    let eighths = if most > 0.0 { ((share / most).clamp(0.0, 1.0) * (WIDTH * 8) as f64).round() as usize } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).and_then(|part| PARTS.get(part)));
    bar
}

fn most(finding: &Finding) -> f64 {
    finding.cells.iter().flat_map(|cell| [cell.reference, cell.current]).fold(0.0, f64::max)
}

/// Two lines for each cell: what it was in the reference, and what it is.
pub(super) fn text(finding: &Finding) -> String {
    let most = most(finding);
    let mut out = String::new();
    for cell in &finding.cells {
        for (name, word, share) in [(shortened(&cell.name, NAME).as_str(), "reference", cell.reference), ("", "window", cell.current)] {
            let line = format!("  {name:<27} {word:<9} {:>6} {}", percent(share), bar(share, most));
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// Rows of a table with the same; `escape` makes text of HTML.
pub(super) fn html(finding: &Finding, escape: impl Fn(&str) -> String) -> String {
    const CELL: &str = "padding:1px 10px 1px 0;white-space:nowrap;vertical-align:top";
    let most = most(finding);
    let row = |cell: &MovedCell| {
        format!(
            "<tr><td rowspan=\"2\" style=\"{CELL}\">{}</td><td style=\"{CELL};text-align:right\">{}</td><td style=\"{CELL};color:#8a97a3\">{}</td></tr>\n\
             <tr><td style=\"{CELL};text-align:right\">{}</td><td style=\"{CELL};color:#0f766e\">{}</td></tr>\n",
            escape(&shortened(&cell.name, LONGEST_NAME)),
            percent(cell.reference),
            bar(cell.reference, most),
            percent(cell.current),
            bar(cell.current, most),
        )
    };
    finding.cells.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_shares() {
        assert_eq!(bar(0.5, 0.5).chars().count(), WIDTH);
        assert_eq!(bar(0.25, 0.5), "█".repeat(WIDTH / 2));
        assert_eq!(bar(0.5 / (WIDTH * 8) as f64, 0.5), "▏");
        assert_eq!((bar(0.0, 0.5), bar(0.0, 0.0), bar(9.0, 0.5).chars().count()), (String::new(), String::new(), WIDTH));
    }
}
