//! What a model asks for by the recipe of another tool and panes cannot give, named before anything runs.
//!
//! Needs the baselines: only they say whether there is a number at all. Knows no tool; the recipes do.

use std::sync::Arc;

use crate::baseline::{Baseline, ColumnKind};
use crate::config::checked::Config;
use crate::config::fault::Fault;
use crate::config::position::Positions;
use crate::event::Subject;

/// Adds a fault for each metric that a model names, or calls drift, and that panes cannot give by its recipe.
pub(super) fn check(config: &Config, baselines: &[Vec<(Option<String>, Arc<Baseline>)>], positions: &Positions, faults: &mut Vec<Fault>) {
    for (place, (model, baselines)) in config.models.iter().zip(baselines).enumerate() {
        let number = |is_asked: fn(&Subject) -> bool| {
            let columns = |baseline: &'_ Arc<Baseline>| {
                let mut columns = baseline.layout.columns.iter().chain(&baseline.joined.label.columns);
                columns
                    .find(|column| matches!(column.kind, ColumnKind::Numeric(_)) && is_asked(&column.subject))
                    .map(|of| of.subject.to_string())
            };
            baselines.iter().find_map(|(_, baseline)| columns(baseline))
        };
        let tool = model.recipe.as_str();
        let mut refuse = |message: String, hint: String| {
            let mut fault = positions.fault(&format!("/models/{place}/recipe"), message);
            fault.hint = Some(hint);
            faults.push(fault);
        };
        // Where nothing is named the results say which metrics there are not, and why.
        let asked = if model.names_metrics { model.metrics.as_slice() } else { &[] };
        for (metric, needed) in asked.iter().filter_map(|metric| Some((metric.as_str(), model.recipe.refusal(*metric)?))) {
            let Some(subject) = number(|_| true) else { break };
            refuse(
                format!("{tool} computes {metric} of a number such as {subject} over {needed}: that needs the rows, which are not kept"),
                format!("leave {metric} out, or write `metrics: all` to have it of categories alone"),
            );
        }
        let drift = model.drift.metric.as_str();
        if model.recipe.refusal(model.drift.metric).is_some()
            && let Some(subject) = number(|subject| matches!(subject, Subject::Feature(_)))
        {
            refuse(
                format!("a feature counts as drifted by its {drift}, which {tool} computes from the rows of a number such as {subject}"),
                "set drift.metric and drift.above, such as ks or chi_square".to_owned(),
            );
        }
    }
}
