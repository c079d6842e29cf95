//! Checks of what a model says of evidence: corrections of p-values, and the budget of false alarms.

use crate::engine::evidence::{Adjust, Evidence, FalseAlarms};
use crate::event::Span;

use super::super::file::Switch;
use super::super::file::model::{AdjustName, EvidenceEntry};
use super::super::position::join;
use super::Checker;

pub(super) fn evidence(entry: Option<&EvidenceEntry>, has_budget: bool) -> Evidence {
    let Some(entry) = entry else { return Evidence { has_budget, ..Evidence::default() } };
    Evidence {
        design_effects: entry.design_effects.is_none_or(Switch::is_on),
        adjust: match entry.adjust {
            None | Some(AdjustName::BenjaminiHochberg) => Adjust::BenjaminiHochberg,
            Some(AdjustName::Bonferroni) => Adjust::Bonferroni,
        },
        has_budget,
    }
}

/// Reads `1 per 30d`.
pub(super) fn false_alarms(text: Option<&str>, at: &str, checker: &mut Checker<'_>) -> Option<FalseAlarms> {
    let text = text?;
    let at = join(at, "false_alarms");
    let (alarms, per) = text.split_once(" per ").unwrap_or((text, ""));
    let alarms = alarms.trim().parse::<f64>().ok().filter(|alarms| alarms.is_finite() && *alarms > 0.0);
    let (Some(alarms), Ok(per)) = (alarms, Span::parse(per.trim())) else {
        checker.error(&at, format!("'{text}' is no number of alarms in a time (write 1 per 30d)"));
        return None;
    };
    if per.0 <= 0 {
        checker.error(&at, "the time must be longer than nothing");
        return None;
    }
    Some(FalseAlarms { alarms, per })
}
