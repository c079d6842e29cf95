//! What a closed window says: measurements, each an effect, its evidence and a status, and the window's own summary.
//!
//! The shapes are those of `driftline schema results`; `results` writes them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What is measured. The names are the ones of the configuration, rules and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Metric {
    Psi,
    JsDistance,
    Ks,
    Wasserstein,
    WassersteinNormed,
    ChiSquare,
    TotalVariation,
    NullRate,
    InvalidRate,
    OutOfRangeRate,
    NewCategoryRate,
    Accuracy,
    Precision,
    Recall,
    F1,
    RocAuc,
    LogLoss,
    Brier,
    Mae,
    Rmse,
    R2,
    KlDivergence,
    Hellinger,
    Linf,
    GTest,
    MeanShift,
    CramerVonMises,
    AndersonDarling,
    Energy,
    Entropy,
    Mean,
    Std,
    Q05,
    Q25,
    Q50,
    Q75,
    Q95,
    DistinctCount,
    Adwin,
    PageHinkley,
    Ddm,
    Eddm,
    HddmA,
    HddmW,
    ReconstructionError,
    Mmd,
    CorrelationShift,
    DomainClassifierAuc,
    CentroidCosine,
    CentroidEuclidean,
}

impl Metric {
    /// What a model measures that names no metrics: one or two of each kind, so that windows stay small and few alarms are false.
    pub const DEFAULT: [Metric; 23] = [
        Metric::Psi,
        Metric::JsDistance,
        Metric::Ks,
        Metric::Wasserstein,
        Metric::WassersteinNormed,
        Metric::ChiSquare,
        Metric::TotalVariation,
        Metric::NullRate,
        Metric::InvalidRate,
        Metric::OutOfRangeRate,
        Metric::NewCategoryRate,
        Metric::Accuracy,
        Metric::Precision,
        Metric::Recall,
        Metric::F1,
        Metric::RocAuc,
        Metric::LogLoss,
        Metric::Brier,
        Metric::Mae,
        Metric::Rmse,
        Metric::R2,
        Metric::CentroidCosine,
        Metric::CentroidEuclidean,
    ];

    /// Every metric, in the order of their names' first definition.
    pub const ALL: [Metric; 50] = [
        Metric::Psi,
        Metric::JsDistance,
        Metric::Ks,
        Metric::Wasserstein,
        Metric::WassersteinNormed,
        Metric::ChiSquare,
        Metric::TotalVariation,
        Metric::NullRate,
        Metric::InvalidRate,
        Metric::OutOfRangeRate,
        Metric::NewCategoryRate,
        Metric::Accuracy,
        Metric::Precision,
        Metric::Recall,
        Metric::F1,
        Metric::RocAuc,
        Metric::LogLoss,
        Metric::Brier,
        Metric::Mae,
        Metric::Rmse,
        Metric::R2,
        Metric::KlDivergence,
        Metric::Hellinger,
        Metric::Linf,
        Metric::GTest,
        Metric::MeanShift,
        Metric::CramerVonMises,
        Metric::AndersonDarling,
        Metric::Energy,
        Metric::Entropy,
        Metric::Mean,
        Metric::Std,
        Metric::Q05,
        Metric::Q25,
        Metric::Q50,
        Metric::Q75,
        Metric::Q95,
        Metric::DistinctCount,
        Metric::Adwin,
        Metric::PageHinkley,
        Metric::Ddm,
        Metric::Eddm,
        Metric::HddmA,
        Metric::HddmW,
        Metric::ReconstructionError,
        Metric::Mmd,
        Metric::CorrelationShift,
        Metric::DomainClassifierAuc,
        Metric::CentroidCosine,
        Metric::CentroidEuclidean,
    ];
    /// Those of many dimensions at once that a model has to ask for: they cost something for every event.
    pub const MULTIVARIATE: [Metric; 4] = [Metric::ReconstructionError, Metric::Mmd, Metric::CorrelationShift, Metric::DomainClassifierAuc];

    /// The name of the metric in every file and on every surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Psi => "psi",
            Metric::JsDistance => "js_distance",
            Metric::Ks => "ks",
            Metric::Wasserstein => "wasserstein",
            Metric::WassersteinNormed => "wasserstein_normed",
            Metric::ChiSquare => "chi_square",
            Metric::TotalVariation => "total_variation",
            Metric::NullRate => "null_rate",
            Metric::InvalidRate => "invalid_rate",
            Metric::OutOfRangeRate => "out_of_range_rate",
            Metric::NewCategoryRate => "new_category_rate",
            Metric::Accuracy => "accuracy",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::F1 => "f1",
            Metric::RocAuc => "roc_auc",
            Metric::LogLoss => "log_loss",
            Metric::Brier => "brier",
            Metric::Mae => "mae",
            Metric::Rmse => "rmse",
            Metric::R2 => "r2",
            Metric::KlDivergence => "kl_divergence",
            Metric::Hellinger => "hellinger",
            Metric::Linf => "linf",
            Metric::GTest => "g_test",
            Metric::MeanShift => "mean_shift",
            Metric::CramerVonMises => "cramer_von_mises",
            Metric::AndersonDarling => "anderson_darling",
            Metric::Energy => "energy",
            Metric::Entropy => "entropy",
            Metric::Mean => "mean",
            Metric::Std => "std",
            Metric::Q05 => "q05",
            Metric::Q25 => "q25",
            Metric::Q50 => "q50",
            Metric::Q75 => "q75",
            Metric::Q95 => "q95",
            Metric::DistinctCount => "distinct_count",
            Metric::Adwin => "adwin",
            Metric::PageHinkley => "page_hinkley",
            Metric::Ddm => "ddm",
            Metric::Eddm => "eddm",
            Metric::HddmA => "hddm_a",
            Metric::HddmW => "hddm_w",
            Metric::ReconstructionError => "reconstruction_error",
            Metric::Mmd => "mmd",
            Metric::CorrelationShift => "correlation_shift",
            Metric::DomainClassifierAuc => "domain_classifier_auc",
            Metric::CentroidCosine => "centroid_cosine",
            Metric::CentroidEuclidean => "centroid_euclidean",
        }
    }

    /// The metric of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// Whether it describes a window and compares it with nothing: it has no p-value and is no score.
    #[must_use]
    pub fn is_descriptive(self) -> bool {
        matches!(
            self,
            Metric::Entropy
                | Metric::Mean
                | Metric::Std
                | Metric::Q05
                | Metric::Q25
                | Metric::Q50
                | Metric::Q75
                | Metric::Q95
                | Metric::DistinctCount
        )
    }

    /// Whether it is what a sequential detector says: 0, 0.5 or 1. Only those that a model has are measured.
    #[must_use]
    pub fn is_detector(self) -> bool {
        matches!(self, Metric::Adwin | Metric::PageHinkley | Metric::Ddm | Metric::Eddm | Metric::HddmA | Metric::HddmW)
    }

    /// Whether it needs labels: performance, or detectors over errors, rather than drift or data quality.
    #[must_use]
    pub fn needs_labels(self) -> bool {
        matches!(
            self,
            Metric::Accuracy
                | Metric::Precision
                | Metric::Recall
                | Metric::F1
                | Metric::RocAuc
                | Metric::LogLoss
                | Metric::Brier
                | Metric::Mae
                | Metric::Rmse
                | Metric::R2
                | Metric::Ddm
                | Metric::Eddm
                | Metric::HddmA
                | Metric::HddmW
        )
    }
}

/// What a measurement is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// A feature, by name.
    Feature(Arc<str>),
    /// The model's output as given.
    Prediction,
    /// The probability of the positive class.
    Score,
    /// The probability of one class of a multiclass model.
    Proba(Arc<str>),
    /// The truth, where it is known.
    Label,
    /// The model as a whole: performance.
    Model,
    /// The stream itself.
    Ingest,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Feature(name) => write!(f, "feature:{name}"),
            Subject::Prediction => f.write_str("prediction"),
            Subject::Score => f.write_str("score"),
            Subject::Proba(class) => write!(f, "proba:{class}"),
            Subject::Label => f.write_str("label"),
            Subject::Model => f.write_str("model"),
            Subject::Ingest => f.write_str("ingest"),
        }
    }
}

/// Whether a value can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is a value and it rests on enough data.
    Ok,
    /// Fewer events than the minimum sample; the value, where given, is for the eye only.
    Insufficient,
    /// Nothing to measure.
    NoData,
    /// The measure is not defined here.
    Error,
}

impl Status {
    /// The status as written in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Insufficient => "insufficient",
            Status::NoData => "no_data",
            Status::Error => "error",
        }
    }
}

/// One window of a model: its name and its bounds, half open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowRef {
    /// Name of the window in the configuration.
    pub name: Arc<str>,
    /// First instant inside.
    pub start: Timestamp,
    /// First instant after.
    pub end: Timestamp,
}

/// The values of the segment's keys, sorted by key: `region=eu`. Overall results have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment(pub Vec<(Arc<str>, Arc<str>)>);

impl Segment {
    /// Whether this stands for all events of the model.
    #[must_use]
    pub fn is_overall(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{key}={value}")?;
        }
        Ok(())
    }
}

/// One number of one window with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Model name.
    pub model: Arc<str>,
    /// Model version; "" where the events name none.
    pub version: Arc<str>,
    /// Segment; empty for all events.
    pub segment: Segment,
    /// The window.
    pub window: WindowRef,
    /// What it is about.
    pub subject: Subject,
    /// What was measured.
    pub metric: Metric,
    /// The effect, always finite.
    pub value: Option<f64>,
    /// Probability of an effect at least this large without drift.
    pub p_value: Option<f64>,
    /// The same, adjusted over the features of the window.
    pub p_adjusted: Option<f64>,
    /// The metric's own denominator in the window.
    pub n: u64,
    /// The metric's own denominator in the baseline.
    pub n_reference: u64,
    /// Whether the value can be relied on.
    pub status: Status,
    /// Why there is no value, or why it cannot be relied on.
    pub reason: Option<Arc<str>>,
    /// How it was computed: bins, base, smoothing.
    pub recipe: Arc<str>,
    /// 0 when the window closes, higher when it is restated.
    pub revision: u32,
}

/// The summary of one window of a model over all its versions and segments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowSummary {
    /// Model name.
    pub model: Arc<str>,
    /// The window.
    pub window: WindowRef,
    /// Prediction events counted.
    pub n: u64,
    /// Late events that would have belonged to it.
    pub late: u64,
    /// Whether the input covers the whole window.
    pub complete: bool,
    /// Source partitions that have contributed or could have, and how many there are.
    pub partitions: (u32, u32),
    /// Why it is not complete.
    pub gaps: Vec<Arc<str>>,
    /// Predictions of the window with a label.
    pub labels_matched: u64,
    /// Whether the model joins labels at all.
    pub has_labels: bool,
    /// 0 when the window closes, higher when it is restated.
    pub revision: u32,
}

impl WindowSummary {
    /// Share of the window's predictions that have a label, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn label_coverage(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.labels_matched as f64 / self.n as f64 }
    }
}
