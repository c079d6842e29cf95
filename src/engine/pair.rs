//! A prediction and its label, counted into the joined panes of the prediction's slice.

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
    let class = |number: u16| {
        let text = plan.classes.get(usize::from(number))?;
        baseline.classes.iter().position(|class| class == text)
    };
    let observed = |truth: Truth| match (truth, prediction.predicted) {
        (Truth::Class(truth), Predicted::Class(predicted, score)) => {
            Some(Observed::Class { truth: class(truth)?, predicted: predicted.and_then(class), score })
        }
        (Truth::Value(truth), Predicted::Value(predicted)) => Some(Observed::Value { truth, predicted }),
        _ => None,
    };
    let Some(now) = observed(pair.truth) else { return false };
    let previous = pair.previous.and_then(observed);
    let slice = prediction.ts.align(plan.slice, Span(0));
    for segment in std::iter::once(0).chain(prediction.segments.iter().copied()) {
        history.join((slice, plan.slice), (prediction.version, segment), &baseline.joined, &now, previous.as_ref());
    }
    true
}
