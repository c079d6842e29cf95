//! Tiers and the resolve condition: exactly one test each, tiers in order, and the end on the right side of the beginning.

use crate::event::Span;
use crate::rule::datum::Bindings;
use crate::rule::fault::FaultsOfFile;
use crate::rule::hold::Hold;
use crate::rule::machine::Severity;
use crate::rule::scope::WindowScope;
use crate::rule::set::{Condition, Tier, Unit};
use crate::rule::spec::{FireSpec, ResolveSpec, ThresholdSpec};

use super::expression::{self, Wanted};

/// The word for the threshold that a model's budget of false alarms sets.
const BUDGET: &str = "budget";

/// What conditions of a rule are checked against.
pub(super) struct Checks<'a> {
    /// Sample values, `value` among them.
    pub(super) sample: &'a Bindings,
    /// The rule's window; `None` for rules of wall time or where it is not known.
    pub(super) window: Option<&'a WindowScope>,
    pub(super) unit: Unit,
    /// What `budget` stands for, or why it stands for nothing.
    pub(super) level: Result<f64, &'static str>,
    /// What a rule of wall time is about, and what it looks at: `absence`, `a time: write above and a duration`.
    pub(super) of_wall_time: Option<(&'static str, &'static str)>,
}

struct Written<'a> {
    above: Option<&'a ThresholdSpec>,
    below: Option<&'a ThresholdSpec>,
    expr: Option<&'a str>,
}

/// The tiers, the lower one first.
pub(super) fn tiers(at: &mut FaultsOfFile<'_>, path: &str, fire: &FireSpec, checks: &Checks<'_>) -> Vec<Tier> {
    let mut tiers = Vec::new();
    for (severity, spec) in [(Severity::Warning, &fire.warning), (Severity::Critical, &fire.critical)] {
        let Some(spec) = spec else { continue };
        let path = format!("{path}/{}", severity.as_str());
        let written = Written { above: spec.above.as_ref(), below: spec.below.as_ref(), expr: spec.expr.as_deref() };
        let condition = condition(at, &path, &written, checks);
        let hold = hold(at, &path, spec.hold.as_deref(), checks, false);
        if let (Some(condition), Some(hold)) = (condition, hold) {
            tiers.push(Tier { severity, condition, hold });
        }
    }
    if fire.warning.is_none() && fire.critical.is_none() {
        at.error(path, "fire needs a tier: warning, critical, or both");
    }
    if let [low, high] = tiers.as_slice() {
        match (&low.condition, &high.condition) {
            (Condition::Above(low), Condition::Above(high)) if high <= low => {
                at.error(&format!("{path}/critical/above"), format!("critical above {high} is not beyond warning above {low}"));
            }
            (Condition::Below(low), Condition::Below(high)) if high >= low => {
                at.error(&format!("{path}/critical/below"), format!("critical below {high} is not beyond warning below {low}"));
            }
            (Condition::Above(_), Condition::Below(_)) | (Condition::Below(_), Condition::Above(_)) => {
                at.error(
                    &format!("{path}/critical"),
                    "one tier looks above its threshold and the other below; one severity cannot rise from one to the other",
                );
            }
            _ => {}
        }
    }
    tiers
}

/// The resolve condition and how long it must hold.
pub(super) fn resolve(
    at: &mut FaultsOfFile<'_>,
    path: &str,
    spec: Option<&ResolveSpec>,
    tiers: &[Tier],
    checks: &Checks<'_>,
) -> Option<(Option<Condition>, Hold)> {
    let Some(spec) = spec else {
        return Some((None, Hold::ONE_WINDOW));
    };
    let written = Written { above: spec.above.as_ref(), below: spec.below.as_ref(), expr: spec.expr.as_deref() };
    let condition = condition(at, path, &written, checks);
    let hold = hold(at, path, spec.hold.as_deref(), checks, true);
    let condition = condition?;
    for tier in tiers {
        let severity = tier.severity.as_str();
        let wrong = match (&tier.condition, &condition) {
            (Condition::Above(fire), Condition::Below(end)) if end > fire => Some((
                "below",
                format!("resolve below {end} is on the wrong side of {severity} above {fire}: values between fire and resolve at once"),
            )),
            (Condition::Below(fire), Condition::Above(end)) if end < fire => Some((
                "above",
                format!("resolve above {end} is on the wrong side of {severity} below {fire}: values between fire and resolve at once"),
            )),
            (Condition::Above(fire), Condition::Above(_)) => {
                Some(("above", format!("resolve is on the wrong side: {severity} fires above {fire}, so it is over below a value")))
            }
            (Condition::Below(fire), Condition::Below(_)) => {
                Some(("below", format!("resolve is on the wrong side: {severity} fires below {fire}, so it is over above a value")))
            }
            (Condition::Beyond(_), Condition::Beyond(_)) => {
                Some(("above", format!("resolve is on the wrong side: {severity} fires above budget, so it is over below it")))
            }
            _ => None,
        };
        if let Some((key, message)) = wrong {
            at.error(&format!("{path}/{key}"), message);
            return None;
        }
    }
    Some((Some(condition), hold?))
}

fn condition(at: &mut FaultsOfFile<'_>, path: &str, written: &Written<'_>, checks: &Checks<'_>) -> Option<Condition> {
    let given = usize::from(written.above.is_some()) + usize::from(written.below.is_some()) + usize::from(written.expr.is_some());
    if given != 1 {
        at.error(path, if given == 0 { "needs one of above, below and expr" } else { "has more than one of above, below and expr" });
        return None;
    }
    for (key, threshold, of_level) in
        [("above", written.above, Condition::Beyond as fn(f64) -> Condition), ("below", written.below, Condition::Within)]
    {
        if matches!(threshold, Some(ThresholdSpec::Duration(word)) if word == BUDGET) {
            return match checks.level {
                Ok(level) => Some(of_level(level)),
                Err(why) => {
                    at.error(&format!("{path}/{key}"), why);
                    None
                }
            };
        }
    }
    if let Some(threshold) = written.above {
        return self::threshold(at, &format!("{path}/above"), threshold, checks.unit).map(Condition::Above);
    }
    if let Some(threshold) = written.below {
        return self::threshold(at, &format!("{path}/below"), threshold, checks.unit).map(Condition::Below);
    }
    let path = format!("{path}/expr");
    if let Some((kind, instead)) = checks.of_wall_time {
        at.error(&path, format!("a rule of {kind} looks at {instead}"));
        return None;
    }
    expression::compile(at, &path, written.expr.unwrap_or_default(), Wanted::Truth, checks.sample).map(Condition::Expr)
}

fn threshold(at: &mut FaultsOfFile<'_>, path: &str, threshold: &ThresholdSpec, unit: Unit) -> Option<f64> {
    match (threshold, unit) {
        (ThresholdSpec::Number(number), _) if number.is_finite() => Some(*number),
        (ThresholdSpec::Number(_), _) => {
            at.error(path, "the threshold is not a finite number");
            None
        }
        (ThresholdSpec::Duration(text), Unit::Seconds) => match Span::parse(text) {
            Ok(span) => Some(span.as_seconds()),
            Err(message) => {
                at.error(path, message);
                None
            }
        },
        (ThresholdSpec::Duration(text), Unit::Plain) => {
            at.error(path, format!("'{text}' is not a number"));
            None
        }
    }
}

fn hold(at: &mut FaultsOfFile<'_>, path: &str, written: Option<&str>, checks: &Checks<'_>, in_a_row: bool) -> Option<Hold> {
    let path = format!("{path}/for");
    let hold = match written.map(Hold::parse) {
        None => return Some(Hold::ONE_WINDOW),
        Some(Err(message)) => {
            at.error(&path, message);
            return None;
        }
        Some(Ok(hold)) => hold,
    };
    if let (Hold::Windows { .. }, Some((kind, _))) = (hold, checks.of_wall_time) {
        at.error(&path, format!("a rule of {kind} has no windows: write a duration"));
        return None;
    }
    match (hold, checks.window) {
        (Hold::Windows { need, of }, _) if in_a_row && need != of => {
            at.error(&path, "the end of an alert counts windows in a row: write a number of windows or a duration");
            return None;
        }
        (Hold::Windows { need, .. }, Some(window)) if need > 1 && window.slide < window.size => {
            // Consecutive windows share all but the slides between them. Below half a window of new data, the later
            // verdicts mostly repeat the first.
            let fresh = window.slide.0.saturating_mul(i64::from(need) - 1);
            if fresh.saturating_mul(2) < window.size.0 {
                let message = format!(
                    "windows overlap so much that {hold} means little: {need} windows of {} every {} differ by {}",
                    window.size,
                    window.slide,
                    Span(fresh)
                );
                at.warn(&path, message);
            }
        }
        (Hold::Time(span), Some(window)) if span.0 > 0 && span < window.slide => {
            at.warn(&path, format!("{span} is shorter than the {} between two windows and acts like 2 windows", window.slide));
        }
        _ => {}
    }
    Some(hold)
}
