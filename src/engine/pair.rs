//! A prediction with its truth, in the numbers of the baseline that judges it.

use crate::baseline::Baseline;
use crate::join::{Predicted, Truth};
use crate::window::Observed;

use super::plan::ModelPlan;

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
