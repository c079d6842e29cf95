//! What a model said: prediction, score and class of one event, completed from each other.
//!
//! Shared by the building of baselines and the stream, so that both complete an event in the same way. Knows nothing of
//! cells; [`super::cell::place`] turns the results into counts.

use std::sync::Arc;

use thiserror::Error;

use crate::event::Scalar;

use super::task::Task;

/// What an output is completed with.
#[derive(Clone, Copy, Debug)]
pub struct OutputRule<'a> {
    /// Kind of the output.
    pub task: Task,
    /// The classes by their canonical text, ascending.
    pub classes: &'a [Arc<str>],
    /// Index of the positive class of a binary task.
    pub positive: Option<usize>,
    /// A score of at least this predicts the positive class, where no prediction is given.
    pub threshold: f64,
}

/// The output of one event as it came.
#[derive(Clone, Copy, Debug)]
pub struct RawOutput<'a> {
    /// The prediction.
    pub prediction: Scalar<'a>,
    /// The probability of the positive class.
    pub score: Scalar<'a>,
    /// Probabilities by the canonical text of their class.
    pub probabilities: &'a [(&'a str, f64)],
}

/// The completed output of one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output<'a> {
    /// What counts under `prediction`.
    pub prediction: Scalar<'a>,
    /// What counts under `score`; missing outside binary tasks.
    pub score: Scalar<'a>,
    /// Index of the predicted class; `None` where the baseline does not know it, and for a regression.
    pub class: Option<usize>,
    /// The probability of the positive class of a binary task, where it is a number.
    pub probability: Option<f64>,
    /// The predicted number of a regression, where it is finite.
    pub value: Option<f64>,
}

/// Why an output cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum OutputError {
    /// A score or probability outside 0 to 1.
    #[error("{0} is not a probability between 0 and 1")]
    OutOfRange(f64),
    /// A score that is not a number.
    #[error("the score is not a number")]
    ScoreType,
    /// A prediction that is an array or object, or of a regression a string or boolean.
    #[error("the prediction is of a wrong type")]
    PredictionType,
}

/// Completes an output.
///
/// Binary: the score as given, else the probability of the positive class; the prediction as given, else the positive class
/// where score >= threshold. Multiclass: the prediction as given, else the class of the greatest probability, of equal ones the
/// first by name. Regression and none: the prediction as given. NaN and infinities stay as they are and are counted apart.
///
/// # Errors
/// [`OutputError`], where a value has a wrong type or lies out of range. `scratch` is overwritten.
pub fn resolve_output<'a>(rule: &OutputRule<'a>, raw: &RawOutput<'a>, scratch: &mut String) -> Result<Output<'a>, OutputError> {
    let mut output =
        Output { prediction: raw.prediction, score: Scalar::Missing, class: None, probability: None, value: raw.prediction.counted() };
    match (rule.task, raw.prediction) {
        (Task::None, _) => return Ok(output),
        (_, Scalar::Vector(_) | Scalar::Other) | (Task::Regression, Scalar::Text(_) | Scalar::Bool(_)) => {
            return Err(OutputError::PredictionType);
        }
        (Task::Regression, _) => return Ok(output),
        (Task::Binary | Task::Multiclass, _) => output.value = None,
    }
    if let Some((_, bad)) = raw.probabilities.iter().find(|(_, value)| value.is_finite() && !is_probability(*value)) {
        return Err(OutputError::OutOfRange(*bad));
    }
    if rule.task == Task::Binary {
        let positive = rule.positive.and_then(|index| rule.classes.get(index));
        output.score = match raw.score {
            Scalar::Text(_) | Scalar::Bool(_) | Scalar::Vector(_) | Scalar::Other => return Err(OutputError::ScoreType),
            Scalar::Num { value, .. } if value.is_finite() && !is_probability(value) => return Err(OutputError::OutOfRange(value)),
            Scalar::Num { .. } => raw.score,
            Scalar::Missing | Scalar::Null => positive
                .and_then(|class| raw.probabilities.iter().find(|(name, _)| **name == **class))
                .map_or(raw.score, |(_, value)| Scalar::from_number(*value)),
        };
        output.probability = output.score.counted();
    }
    if raw.prediction.is_absent() {
        output.prediction = match rule.task {
            Task::Binary => output.probability.and_then(|score| predicted(rule, score)).map_or(raw.prediction, Scalar::Text),
            _ => greatest(raw.probabilities).map_or(raw.prediction, Scalar::Text),
        };
    }
    output.class = output.prediction.level(scratch).and_then(|text| class_index(rule.classes, text));
    Ok(output)
}

/// The index of a class by its canonical text, `classes` ascending.
#[must_use]
pub fn class_index(classes: &[Arc<str>], text: &str) -> Option<usize> {
    classes.binary_search_by(|class| (**class).cmp(text)).ok()
}

/// The class of the greatest probability, of equal ones the first by name.
#[must_use]
pub fn greatest<'a>(probabilities: &[(&'a str, f64)]) -> Option<&'a str> {
    let known = probabilities.iter().filter(|(_, value)| value.is_finite());
    known.max_by(|left, right| left.1.total_cmp(&right.1).then_with(|| right.0.cmp(left.0))).map(|(class, _)| *class)
}

fn is_probability(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

/// The class that a score of a binary task predicts.
fn predicted<'a>(rule: &OutputRule<'a>, score: f64) -> Option<&'a str> {
    let positive = rule.positive?;
    let index = if score >= rule.threshold { Some(positive) } else { (0..rule.classes.len()).find(|index| *index != positive) };
    rule.classes.get(index?).map(|class| &**class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        task: Task,
        prediction: Scalar<'static>,
        score: Scalar<'static>,
        probabilities: &[(&str, f64)],
    ) -> Result<(Option<usize>, Option<f64>, Option<f64>), OutputError> {
        let classes: Vec<Arc<str>> = match task {
            Task::Binary => vec!["default".into(), "repaid".into()],
            Task::Multiclass => vec!["1".into(), "a".into(), "b".into()],
            _ => vec![],
        };
        let rule = OutputRule { task, classes: &classes, positive: (task == Task::Binary).then_some(1), threshold: 0.5 };
        let raw = RawOutput { prediction, score, probabilities };
        resolve_output(&rule, &raw, &mut String::new()).map(|output| (output.class, output.probability, output.value))
    }

    #[test]
    fn binary_outputs_complete_each_other() {
        let absent = Scalar::Null;
        assert_eq!(resolve(Task::Binary, absent, Scalar::from_number(0.5), &[]), Ok((Some(1), Some(0.5), None)));
        assert_eq!(resolve(Task::Binary, absent, Scalar::from_number(0.49), &[]), Ok((Some(0), Some(0.49), None)));
        assert_eq!(resolve(Task::Binary, Scalar::Text("default"), Scalar::from_number(0.9), &[]), Ok((Some(0), Some(0.9), None)));
        assert_eq!(resolve(Task::Binary, absent, absent, &[("default", 0.2), ("repaid", 0.8)]), Ok((Some(1), Some(0.8), None)));
        assert_eq!(resolve(Task::Binary, Scalar::Text("other"), absent, &[]), Ok((None, None, None)));
        assert_eq!(resolve(Task::Binary, absent, Scalar::from_number(f64::NAN), &[]), Ok((None, None, None)));
        assert_eq!(resolve(Task::Binary, absent, Scalar::from_number(1.5), &[]), Err(OutputError::OutOfRange(1.5)));
        assert_eq!(resolve(Task::Binary, absent, Scalar::Text("0.5"), &[]), Err(OutputError::ScoreType));
    }

    #[test]
    fn the_greatest_probability_predicts_and_ties_go_to_the_first_class() {
        let absent = Scalar::Missing;
        assert_eq!(resolve(Task::Multiclass, absent, absent, &[("b", 0.4), ("a", 0.4), ("1", 0.2)]), Ok((Some(1), None, None)));
        assert_eq!(resolve(Task::Multiclass, Scalar::from_number(1.0), absent, &[("b", 0.9)]), Ok((Some(0), None, None)));
        assert_eq!(resolve(Task::Multiclass, absent, absent, &[("a", f64::NAN)]), Ok((None, None, None)));
    }

    #[test]
    fn a_regression_predicts_numbers() {
        assert_eq!(resolve(Task::Regression, Scalar::from_number(2.5), Scalar::Missing, &[]), Ok((None, None, Some(2.5))));
        assert_eq!(resolve(Task::Regression, Scalar::from_number(f64::INFINITY), Scalar::Missing, &[]), Ok((None, None, None)));
        assert_eq!(resolve(Task::Regression, Scalar::Text("2.5"), Scalar::Missing, &[]), Err(OutputError::PredictionType));
    }
}
