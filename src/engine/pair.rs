//! A prediction and its label, in the numbers of the baseline that judges it, and counted into the joined panes of the
//! prediction's slice.

use crate::baseline::Baseline;
use crate::event::Span;
use crate::join::{Pair, Predicted, Truth};
use crate::window::Observed;

use super::history::{History, Versions};
use super::plan::ModelPlan;

/// Counts a pair into the joined panes of its prediction's slice, unless the version's baseline does not know the class.
pub(super) fn count(plan: &ModelPlan, versions: &Versions, history: &mut History, pair: &Pair<'_>) -> bool {
    let prediction = pair.prediction;
    let version = versions.name(prediction.version);
    let Some(baseline) = plan.baseline(&version) else { return true };
    let observed = |truth: Truth| observe(plan, baseline, prediction.predicted, truth);
    let Some(now) = observed(pair.truth) else { return false };
    let previous = pair.previous.and_then(observed);
    let slice = prediction.ts.align(plan.slice, Span(0));
    for segment in std::iter::once(0).chain(prediction.segments.iter().copied()) {
        history.join((slice, plan.slice), (prediction.version, segment), &baseline.joined, &now, previous.as_ref());
    }
    true
}

/// The pair as joined panes count it; none where the baseline of the prediction's version does not know the true class, or
/// where one is a class and the other a number. The ledger keeps the model's numbers of classes; versions may know others.
#[must_use]
pub fn observe(plan: &ModelPlan, baseline: &Baseline, predicted: Predicted, truth: Truth) -> Option<Observed> {
    let class = |number: u16| {
        let text = plan.classes.get(usize::from(number))?;
        baseline.classes.iter().position(|class| class == text)
    };
    match (truth, predicted) {
        (Truth::Class(truth), Predicted::Class(predicted, score)) => {
            Some(Observed::Class { truth: class(truth)?, predicted: predicted.and_then(class), score })
        }
        (Truth::Value(truth), Predicted::Value(predicted)) => Some(Observed::Value { truth, predicted }),
        _ => None,
    }
}
