//! Expressions of rules: which names they may use, and a trial run that finds wrong types and unknown functions.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Metric;
use crate::rule::datum::{Bindings, Datum};
use crate::rule::expr::{Expr, ExprError};
use crate::rule::fault::{FaultsOfFile, did_you_mean};
use crate::rule::scope::ModelScope;
use crate::rule::set::Needs;

/// What an expression must give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Number,
    Truth,
}

/// A name of evidence and its metric: `psi_p_adjusted`.
pub(in crate::rule) fn evidence_of(name: &str) -> Option<Metric> {
    name.strip_suffix("_p_value").or_else(|| name.strip_suffix("_p_adjusted")).and_then(Metric::parse)
}

/// The metrics and features that expressions need.
pub(super) fn needs<'e>(expressions: impl IntoIterator<Item = &'e Expr>) -> Needs {
    let mut needs = Needs::default();
    for name in expressions.into_iter().flat_map(Expr::references) {
        match name.as_str() {
            "features" | "features_drifted" => needs.features = true,
            name => needs.metrics.extend(Metric::parse(name).or_else(|| evidence_of(name))),
        }
    }
    needs
}

/// Sample values under every name that a rule's expressions may use.
///
/// `plain` says whether the names of metrics stand for values of the rule's subject.
pub(super) fn sample(
    model: &ModelScope,
    each_feature: bool,
    performance: bool,
    plain: bool,
    metric: Option<Metric>,
    label_names: &[String],
) -> Bindings {
    let mut bindings = Bindings::default();
    let mut names = BTreeMap::new();
    for metric in &model.metrics {
        if metric.needs_labels() != performance {
            continue;
        }
        for name in [metric.as_str().to_owned(), format!("{}_p_value", metric.as_str()), format!("{}_p_adjusted", metric.as_str())] {
            names.insert(name, Datum::Number(0.5));
        }
    }
    if metric.is_some() {
        bindings.set_number("p_value", 0.5);
        bindings.set_number("p_adjusted", 0.5);
    }
    if plain {
        for (name, datum) in &names {
            bindings.set(name.clone(), datum.clone());
        }
    }
    if each_feature {
        bindings.set("feature", Datum::Map(BTreeMap::from([("name".to_owned(), Datum::text("x"))])));
    } else if !performance {
        let feature = |drifted: bool| {
            let mut map = names.clone();
            map.extend([
                ("name".to_owned(), Datum::text("x")),
                ("status".to_owned(), Datum::text("ok")),
                ("drifted".to_owned(), Datum::Truth(drifted)),
                ("p_value".to_owned(), Datum::Number(0.5)),
                ("p_adjusted".to_owned(), Datum::Number(0.5)),
            ]);
            Datum::Map(map)
        };
        bindings.set("features", Datum::List(vec![feature(true), feature(false)]));
        bindings.set("features_drifted", Datum::List(vec![Datum::text("x")]));
    }
    let reference = model.metrics.iter().map(|metric| (metric.as_str().to_owned(), Datum::Number(0.5))).collect();
    bindings.set("reference", Datum::Map(reference));
    bindings.set("labels", Datum::Map(label_names.iter().map(|name| (name.clone(), Datum::text("x"))).collect()));
    bindings.set("n", Datum::Whole(1000));
    bindings.set(
        "window",
        Datum::Map(BTreeMap::from([
            ("name".to_owned(), Datum::text("1h")),
            ("start".to_owned(), Datum::text("2026-01-01T00:00:00.000Z")),
            ("end".to_owned(), Datum::text("2026-01-01T01:00:00.000Z")),
            ("n".to_owned(), Datum::Whole(1000)),
            ("complete".to_owned(), Datum::Truth(true)),
        ])),
    );
    bindings
}

/// Names that CEL itself knows and that look like variables.
const LANGUAGE: [&str; 12] = ["math", "int", "uint", "double", "string", "bool", "bytes", "list", "map", "type", "null_type", "optional"];

/// Compiles an expression and tries it on `sample`.
pub(super) fn compile(at: &mut FaultsOfFile<'_>, path: &str, source: &str, wanted: Wanted, sample: &Bindings) -> Option<Expr> {
    let expr = match Expr::compile(source) {
        Ok(expr) => expr,
        Err(error) => {
            at.error(path, format!("'{}' is not a valid expression: {error}", abridged(source)));
            return None;
        }
    };
    let known: BTreeSet<&str> = sample.0.keys().map(String::as_str).collect();
    let unknown: Vec<&String> =
        expr.references().iter().filter(|name| !known.contains(name.as_str()) && !LANGUAGE.contains(&name.as_str())).collect();
    for name in &unknown {
        let message = match Metric::parse(name) {
            Some(metric) if metric.needs_labels() => format!("'{name}' needs labels and is not known here"),
            Some(_) => format!("'{name}' is not known here; it is not measured for this model, or only for each feature"),
            None => format!("'{name}' is not known here"),
        };
        // Evidence names are many and long; the plain ones make the better offers.
        let offers = known.iter().copied().filter(|offer| evidence_of(offer).is_none());
        at.error_with(path, message, did_you_mean(name, offers));
    }
    if !unknown.is_empty() {
        return None;
    }
    let trial = match wanted {
        Wanted::Number => expr.number(sample).map(|_| ()),
        Wanted::Truth => expr.truth(sample).map(|_| ()),
    };
    match trial {
        // What an answer's body holds is not known; every other map is.
        Err(error @ ExprError::Key(_)) if !sample.0.contains_key("response") => {
            at.error(path, format!("'{}': {error}", abridged(source)));
            None
        }
        // The values of a sample say nothing; its types and names do.
        Err(error @ (ExprError::Unknown(_) | ExprError::Types(_) | ExprError::Result { .. })) => {
            at.error(path, format!("'{}': {error}", abridged(source)));
            None
        }
        _ => Some(expr),
    }
}

fn abridged(source: &str) -> String {
    const SHOWN: usize = 60;
    if source.chars().count() <= SHOWN {
        return source.to_owned();
    }
    format!("{}...", source.chars().take(SHOWN).collect::<String>())
}
