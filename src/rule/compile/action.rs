//! Actions: presets filled in, expressions and bodies ready.

use crate::event::Span;
use crate::rule::action::{Action, Budget, DEFAULT_TIMEOUT, response};
use crate::rule::datum::Bindings;
use crate::rule::expr::Expr;
use crate::rule::fault::FaultsOfFile;
use crate::rule::spec::{ActionSpec, AuthSpec};
use crate::rule::template::Body;

use super::expression::{self, Wanted};

const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];

/// Compiles one action.
pub(super) fn compile(at: &mut FaultsOfFile<'_>, path: &str, name: &str, spec: &ActionSpec) -> Option<Action> {
    let filled = spec.preset.map(crate::rule::spec::Preset::filled);
    let url = match &spec.url {
        None => {
            at.error(path, "the action has no url");
            None
        }
        Some(url) => {
            let path = format!("{path}/url");
            if url.contains("{{") || url.contains("{%") {
                at.error(&path, "templates are not expanded in a URL; put values into the body");
            } else if !is_http(url) {
                at.error(&path, "the URL is not an absolute http or https URL");
            }
            Some(url.clone())
        }
    };
    let method = spec.method.as_deref().or(filled.as_ref().map(|filled| filled.method)).unwrap_or("POST").to_uppercase();
    if !METHODS.contains(&method.as_str()) {
        at.error(&format!("{path}/method"), format!("'{method}' is not a method; write one of {}", METHODS.join(", ")));
    }
    let body = spec.body.as_ref().or(filled.as_ref().map(|filled| &filled.body));
    let body = body.map(|json| {
        let mut found = Vec::new();
        let body = Body::parse(json, &mut |leaf, message| found.push((format!("{path}/body{leaf}"), message)));
        for (path, message) in found {
            at.error(&path, message);
        }
        body
    });
    let mut expr = |key: &str, written: &Option<String>, preset: Option<&'static str>| -> Option<Expr> {
        let source = written.as_deref().or(preset)?;
        let mut sample = Bindings::default();
        sample.set("response", response(200, None));
        expression::compile(at, &format!("{path}/{key}"), source, Wanted::Truth, &sample)
    };
    let success = expr("success", &spec.success, filled.as_ref().map(|filled| filled.success));
    let duplicate = expr("duplicate", &spec.duplicate, filled.as_ref().map(|filled| filled.duplicate));
    let timeout = span(at, &format!("{path}/timeout"), spec.timeout.as_deref()).unwrap_or(DEFAULT_TIMEOUT);
    if timeout.0 <= 0 {
        at.error(&format!("{path}/timeout"), "no call can be made in no time");
    }
    if let Some(auth) = &spec.auth {
        check_auth(at, &format!("{path}/auth"), auth);
    }
    if let Some(retry) = &spec.retry {
        at.not_yet(&format!("{path}/retry"), "calls are made again on the schedule of all deliveries");
        for (key, text) in [("base", &retry.base), ("max", &retry.max), ("give_up_after", &retry.give_up_after)] {
            span(at, &format!("{path}/retry/{key}"), text.as_deref());
        }
    }
    if let Some(hold) = &spec.hold {
        at.not_yet(&format!("{path}/hold"), "the action is not held back");
        if hold.until != "baseline_changed" {
            at.error(&format!("{path}/hold/until"), format!("'{}' is not an event; write baseline_changed", hold.until));
        }
        span(at, &format!("{path}/hold/max"), hold.max.as_deref());
    }
    let budget = budget(at, &format!("{path}/budget"), spec);
    Some(Action {
        name: name.to_owned(),
        method,
        url: url?,
        headers: spec.headers.clone(),
        body,
        auth: spec.auth.clone(),
        timeout,
        budget,
        retry: spec.retry.clone(),
        hold: spec.hold.clone(),
        signing: spec.signing.clone(),
        success,
        duplicate,
    })
}

fn budget(at: &mut FaultsOfFile<'_>, path: &str, spec: &ActionSpec) -> Budget {
    let Some(budget) = &spec.budget else {
        return Budget::default();
    };
    let per = span(at, &format!("{path}/per"), budget.per.as_deref());
    let min_gap = span(at, &format!("{path}/min_gap"), budget.min_gap.as_deref());
    match (budget.max, &budget.per) {
        (Some(0), _) => at.error(&format!("{path}/max"), "an action that may never be asked for is of no use"),
        (Some(_), None) => at.error(path, "max needs per, the time over which requests are counted"),
        (None, Some(_)) => at.error(path, "per needs max, the number of requests"),
        _ => {}
    }
    if budget.in_flight.is_some() {
        at.not_yet(&format!("{path}/in_flight"), "requests under way are not counted");
    }
    Budget { max: budget.max.zip(per), min_gap }
}

fn check_auth(at: &mut FaultsOfFile<'_>, path: &str, auth: &AuthSpec) {
    let given = [auth.bearer_file.is_some(), auth.basic.is_some(), auth.bearer.is_some()].into_iter().filter(|given| *given).count();
    if given != 1 {
        at.error(path, "needs exactly one of bearer_file, basic and bearer");
    }
    if let Some(bearer) = &auth.bearer {
        at.not_yet(&format!("{path}/bearer"), "no token is fetched; put one into a bearer_file");
        if !is_http(&bearer.token_url) {
            at.error(&format!("{path}/bearer/token_url"), "the URL is not an absolute http or https URL");
        }
    }
}

/// Reads a duration that may be left out.
pub(super) fn span(at: &mut FaultsOfFile<'_>, path: &str, text: Option<&str>) -> Option<Span> {
    match Span::parse(text?) {
        Ok(span) => Some(span),
        Err(message) => {
            at.error(path, message);
            None
        }
    }
}

/// Whether a text is an absolute URL of http or https with a host.
pub(super) fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == '[') && !url.contains(char::is_whitespace)
    })
}
