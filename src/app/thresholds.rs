//! What `driftline thresholds` prints: from which effect on a window of so many events is a breach, and why there.

use std::fmt::Write as _;

use crate::engine::ModelPlan;
use crate::engine::measure::Wanted;
use crate::engine::measure::column::Sides;
use crate::engine::measure::threshold::Threshold;
use crate::event::Subject;
use crate::rule::datum::short;

/// The text for the models, for windows of each of these numbers of events.
#[must_use]
pub fn text(models: &[&ModelPlan], sizes: &[u64]) -> String {
    let mut out = String::new();
    for model in models {
        of_model(model, sizes, &mut out);
    }
    out
}

fn of_model(model: &ModelPlan, sizes: &[u64], out: &mut String) {
    let _ = writeln!(out, "model {}", model.name);
    for (number, baseline) in model.baselines.iter().enumerate() {
        let features = baseline.layout.columns.iter().filter(|column| matches!(column.subject, Subject::Feature(_))).count();
        let level = why(model, features, out);
        let versions: Vec<&str> = model.by_version.iter().filter(|(_, place)| **place == number).map(|(name, _)| &**name).collect();
        let of = if versions.is_empty() { "all versions".to_owned() } else { format!("version {}", versions.join(", ")) };
        let _ = writeln!(out, "  {of}: {} reference rows", baseline.rows);
        let head = ["subject".to_owned(), "metric".to_owned()].into_iter();
        let head = head.chain(sizes.iter().map(|size| format!("n = {size}"))).chain(["design effects".to_owned()]);
        let mut rows: Vec<Vec<String>> = vec![head.collect()];
        let wanted = Wanted::new(&model.metrics);
        let pane = &baseline.reference.pane;
        for (place, column) in baseline.layout.columns.iter().enumerate() {
            let sides = Sides::new(baseline, (place, column), pane, pane).by(model.recipe).corrected(model.evidence);
            let by_size: Vec<Vec<Threshold>> =
                sizes.iter().map(|size| Threshold::of_column(baseline, &sides, place, *size, level, wanted)).collect();
            for (index, first) in by_size.first().into_iter().flatten().enumerate() {
                let all = || by_size.iter().filter_map(|thresholds| thresholds.get(index));
                let effects = all().map(|threshold| threshold.effect.map_or_else(|| "-".to_owned(), short));
                let design: Vec<String> = all().map(|threshold| format!("{:.3}", threshold.design_effect)).collect();
                let head = [first.subject.to_string(), first.metric.as_str().to_owned()].into_iter();
                rows.push(head.chain(effects).chain([design.join(" ")]).collect());
            }
        }
        table(&rows, out);
    }
}

/// Says where the level comes from.
fn why(model: &ModelPlan, features: usize, out: &mut String) -> f64 {
    if let Some(level) = &model.level {
        let all: f64 = level.looks.iter().map(|(_, looks)| looks).sum();
        let _ =
            writeln!(out, "  budget: {} false alarms; {} series with a p-value x {} segments", level.budget, level.series, level.segments);
        for (window, looks) in &level.looks {
            let _ = writeln!(out, "    window {window}: {} independent looks in {}", short(looks.round()), level.budget.per);
        }
        let _ = writeln!(out, "  level of one look: {} / {} = {:.2e}", short(level.budget.alarms), short(all.round()), level.level);
        return level.level;
    }
    #[allow(clippy::cast_precision_loss)]
    let level = model.drift.p_adjusted / features.max(1) as f64;
    let _ = writeln!(
        out,
        "  no budget (false_alarms): the level at which one of {features} features is evident by itself, p_adjusted {} / {features} = {level:.2e}",
        model.drift.p_adjusted
    );
    level
}

fn table(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "    {}", line.join("  ").trim_end());
    }
}
