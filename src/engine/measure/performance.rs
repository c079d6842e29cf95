//! Performance from joined panes.

use crate::baseline::{Baseline, ColumnKind, Task};
use crate::event::Metric;
use crate::stats::classification::{Average, Confusion};
use crate::stats::{ranking, regression};
use crate::window::JoinedPane;

/// The performance metrics of the baseline's task among `wanted`.
#[must_use]
pub fn metrics(baseline: &Baseline, wanted: &[Metric]) -> Vec<Metric> {
    let of_task: &[Metric] = match baseline.task {
        Task::Binary => &[Metric::Accuracy, Metric::Precision, Metric::Recall, Metric::F1, Metric::RocAuc, Metric::LogLoss, Metric::Brier],
        Task::Multiclass => &[Metric::Accuracy, Metric::Precision, Metric::Recall, Metric::F1],
        Task::Regression => &[Metric::Mae, Metric::Rmse, Metric::R2],
        Task::None => &[],
    };
    let scored = baseline.joined.score.is_some();
    let needs_score = |metric: Metric| matches!(metric, Metric::RocAuc | Metric::LogLoss | Metric::Brier);
    of_task.iter().copied().filter(|metric| wanted.contains(metric) && (scored || !needs_score(*metric))).collect()
}

/// The denominator and the value of a metric; no value where it is not defined for these pairs.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn value(baseline: &Baseline, pairs: &JoinedPane, metric: Metric) -> (u64, Option<f64>) {
    let classes = baseline.joined.classes;
    let confusion = Confusion::new(&pairs.confusion, classes);
    let by_class = |of: &dyn Fn(&Confusion<'_>, usize) -> Option<f64>, mean: &dyn Fn(&Confusion<'_>) -> f64| {
        let confusion = confusion.as_ref()?;
        match baseline.joined.positive {
            Some(positive) => of(confusion, positive),
            None => Some(mean(confusion)),
        }
    };
    let scale = match baseline.joined.label.columns.first().map(|column| &column.kind) {
        Some(ColumnKind::Numeric(bins)) => bins.scale,
        _ => 1.0,
    };
    let sums = || {
        let moments = pairs.label.moments.first();
        regression::Sums {
            count: pairs.matched,
            absolute: pairs.absolute.value(),
            squared: pairs.squared.value(),
            signed: pairs.signed.value(),
            label: moments.map_or(0.0, |moments| moments.sum.value()),
            label_squared: moments.map_or(0.0, |moments| moments.squares.value()),
        }
    };
    let per_scored = |sum: f64| (pairs.scored > 0).then(|| sum / pairs.scored as f64);
    match metric {
        Metric::Accuracy => (pairs.matched, confusion.as_ref().map(Confusion::accuracy)),
        Metric::Precision => (pairs.matched, by_class(&|c, class| c.precision(class), &|c| c.mean_precision(Average::Macro))),
        Metric::Recall => (pairs.matched, by_class(&|c, class| c.recall(class), &|c| c.mean_recall(Average::Macro))),
        Metric::F1 => (pairs.matched, by_class(&|c, class| c.f1(class), &|c| c.mean_f1(Average::Macro))),
        Metric::RocAuc => {
            let (negatives, positives) = pairs.scores.split_at(pairs.scores.len() / 2);
            (pairs.scored, ranking::roc_auc(negatives, positives))
        }
        Metric::LogLoss => (pairs.scored, per_scored(pairs.log_loss.value())),
        Metric::Brier => (pairs.scored, per_scored(pairs.brier.value())),
        Metric::Mae => (pairs.matched, sums().mae().map(|value| value * scale)),
        Metric::Rmse => (pairs.matched, sums().rmse().map(|value| value * scale)),
        Metric::R2 => (pairs.matched, sums().r2()),
        _ => (0, None),
    }
}

/// How a metric is computed.
#[must_use]
pub fn recipe(baseline: &Baseline, metric: Metric) -> &'static str {
    let binary = baseline.joined.positive.is_some();
    match metric {
        Metric::Accuracy => "correct / labelled",
        Metric::Precision | Metric::Recall | Metric::F1 if binary => "positive class, 0 on 0/0",
        Metric::Precision | Metric::Recall | Metric::F1 => "macro average, 0 on 0/0",
        Metric::RocAuc => "score bins, ties by half",
        Metric::LogLoss => "nats, probabilities clipped at 2.2e-16",
        Metric::Brier => "mean squared error of the score",
        Metric::Mae => "mean |prediction - label|",
        Metric::Rmse => "root of mean (prediction - label)^2",
        Metric::R2 => "1 - squared errors / squared deviations of the labels",
        _ => "",
    }
}
