//! Compiled rules: what the files say, checked, with their expressions and templates ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Metric, Span, Subject};

use super::action::Action;
use super::datum::{Bindings, Datum, short};
use super::expr::{Expr, ExprError};
use super::hold::Hold;
use super::machine::{Plan, Severity};
use super::route::Route;
use super::scope::DriftRecipe;
use super::spec::ReceiverSpec;
use super::template::{Body, Template};

/// What conditions call the evidence of their rule's metric.
const P_VALUE: &str = "p_value";

/// Share of a window's predictions that need a label before a performance rule looks at it, where the rule does not say.
pub const DEFAULT_LABEL_COVERAGE: f64 = 0.8;

/// When a rule looks at a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// As it closes.
    Closed,
    /// When that share of its predictions has a label.
    Labels {
        /// The share, above 0 and at most 1.
        coverage: f64,
    },
    /// Never: it looks at the time since the last record.
    Absence,
    /// Never: it looks at the share of a topic's records that are rejected.
    Schema,
    /// Never: it looks at records that can never be read.
    Gap,
}

/// The file of rules that no file has.
pub const BUILT_IN: &str = "built in";

/// A condition on the value.
#[derive(Debug)]
pub enum Condition {
    /// The value is greater.
    Above(f64),
    /// The value is smaller.
    Below(f64),
    /// The expression is true.
    Expr(Expr),
    /// The p-value of the rule's metric is at most this level, which the model's budget of false alarms leaves.
    Beyond(f64),
    /// It is greater.
    Within(f64),
}

impl Condition {
    /// Whether it holds. `bindings` have `value`.
    ///
    /// # Errors
    /// Where the expression fails.
    pub fn holds(&self, value: f64, bindings: &Bindings) -> Result<bool, ExprError> {
        match self {
            Condition::Above(threshold) => Ok(value > *threshold),
            Condition::Below(threshold) => Ok(value < *threshold),
            Condition::Expr(expr) => expr.truth(bindings),
            Condition::Beyond(level) => Ok(p_value(bindings)? <= *level),
            Condition::Within(level) => Ok(p_value(bindings)? > *level),
        }
    }

    /// The threshold, where it is a plain one.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        match self {
            Condition::Above(threshold) | Condition::Below(threshold) => Some(*threshold),
            Condition::Expr(_) | Condition::Beyond(_) | Condition::Within(_) => None,
        }
    }

    /// The condition in words: `above 0.25`.
    #[must_use]
    pub fn describe(&self, unit: Unit) -> String {
        match self {
            Condition::Above(threshold) => format!("above {}", unit.show(*threshold)),
            Condition::Below(threshold) => format!("below {}", unit.show(*threshold)),
            Condition::Expr(expr) => format!("with {}", expr.source()),
            Condition::Beyond(level) => format!("above budget (p-value at most {level:.1e})"),
            Condition::Within(level) => format!("below budget (p-value above {level:.1e})"),
        }
    }
}

/// The p-value of the rule's metric.
fn p_value(bindings: &Bindings) -> Result<f64, ExprError> {
    match bindings.0.get(P_VALUE) {
        Some(Datum::Number(p)) => Ok(*p),
        _ => Err(ExprError::Unknown(P_VALUE.to_owned())),
    }
}

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whatever the expression gives.
    Plain,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// A value for people.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Plain => short(value),
            Unit::Seconds => Span((value * 1000.0).round() as i64).to_string(),
        }
    }
}

/// One tier of a rule.
#[derive(Debug)]
pub struct Tier {
    /// What it means.
    pub severity: Severity,
    /// When it is breached.
    pub condition: Condition,
    /// How long it must be.
    pub hold: Hold,
}

/// An action that a rule asks for when it goes firing.
#[derive(Debug)]
pub struct OnFiring {
    /// Name of the action.
    pub action: String,
    /// How long the alert must have been firing.
    pub after: Span,
    /// Values for the action's templates.
    pub arguments: BTreeMap<String, Body>,
}

/// Metrics and evidence that expressions of a rule need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Metrics that must have a value.
    pub metrics: BTreeSet<Metric>,
    /// Whether `features` or `features_drifted` is used.
    pub features: bool,
}

/// A compiled rule of one model.
#[derive(Debug)]
pub struct Rule {
    /// The file it is from.
    pub file: Arc<str>,
    /// The model; "" for rules of schema and gaps, which are about topics.
    pub model: Arc<str>,
    /// Name of the group.
    pub group: Arc<str>,
    /// Name of the alert.
    pub alert: Arc<str>,
    /// When it looks at a window.
    pub kind: Kind,
    /// One instance for each feature.
    pub each_feature: bool,
    /// One instance for each segment, besides the one for all events.
    pub each_segment: bool,
    /// Name of the window; `None` for rules of wall time.
    pub window: Option<Arc<str>>,
    /// The metric whose status and evidence count.
    pub metric: Option<Metric>,
    /// What the metric is about; `None` for each feature, or where there is no metric.
    pub subject: Option<Subject>,
    /// The value; `None` for rules of wall time.
    pub value: Option<Expr>,
    /// The evidence.
    pub when: Option<Expr>,
    /// The tiers, the lower one first; at least one.
    pub tiers: Vec<Tier>,
    /// When it is over; `None`: as soon as no tier is breached.
    pub resolve: Option<Condition>,
    /// How long the conditions must hold, and what outcomes without a verdict do.
    pub plan: Plan,
    /// What `value`, the tiers and the resolve condition need.
    pub needs: Needs,
    /// What `when` needs beyond that.
    pub needs_when: Needs,
    /// Least events in the window, or in the minute of a rule of schema.
    pub min_current: u64,
    /// Least events in the baseline.
    pub min_reference: u64,
    /// How long after its end the instance tells nobody of a new episode.
    pub cooldown: Span,
    /// Labels of group and rule.
    pub labels: BTreeMap<String, Template>,
    /// Annotations.
    pub annotations: BTreeMap<String, Template>,
    /// Actions.
    pub on_firing: Vec<OnFiring>,
    /// Whether incomplete windows are judged.
    pub incomplete_ok: bool,
    /// Most instances that fire one by one; `None`: any number.
    pub limit: Option<u32>,
    /// When a feature counts as drifted.
    pub drift: DriftRecipe,
}

impl Rule {
    /// Whether it is there without being in a file.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        &*self.file == BUILT_IN
    }

    /// What its value is counted in.
    #[must_use]
    pub fn unit(&self) -> Unit {
        if self.kind == Kind::Absence { Unit::Seconds } else { Unit::Plain }
    }

    /// The tier of that severity.
    #[must_use]
    pub fn tier(&self, severity: Severity) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.severity == severity)
    }
}

/// All rules, and who is told and what is started.
#[derive(Debug, Default)]
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    pub(crate) route: Option<Route>,
    pub(crate) receivers: BTreeMap<String, ReceiverSpec>,
    pub(crate) actions: BTreeMap<String, Action>,
    /// Kinds of rules on topics that the files speak of, disabled ones included.
    pub(crate) on_topics: Vec<Kind>,
}

impl RuleSet {
    /// The rules, in the order of the files.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How many of the rules are from files.
    #[must_use]
    pub fn written(&self) -> usize {
        self.rules.iter().filter(|rule| !rule.is_built_in()).count()
    }

    /// The receivers by name, for those who deliver.
    #[must_use]
    pub fn receivers(&self) -> &BTreeMap<String, ReceiverSpec> {
        &self.receivers
    }

    /// The actions by name, for those who call them.
    #[must_use]
    pub fn actions(&self) -> &BTreeMap<String, Action> {
        &self.actions
    }

    /// The label coverages that performance rules of this model and window wait for: distinct, ascending.
    #[must_use]
    pub fn coverages(&self, model: &str, window: &str) -> Vec<f64> {
        let mut coverages: Vec<f64> = self
            .rules
            .iter()
            .filter(|rule| &*rule.model == model && rule.window.as_deref() == Some(window))
            .filter_map(|rule| match rule.kind {
                Kind::Labels { coverage } => Some(coverage),
                _ => None,
            })
            .collect();
        coverages.sort_by(f64::total_cmp);
        coverages.dedup();
        coverages
    }

    /// The receivers that labels are routed to, in the order of the routes, each once.
    #[must_use]
    pub fn receivers_of(&self, labels: &BTreeMap<String, String>) -> Vec<&str> {
        self.route.as_ref().map(|route| route.receivers(labels)).unwrap_or_default()
    }
}
