//! Compiled actions: the call they make, how its answer is read, and how often they may be asked for.

use std::collections::BTreeMap;

use serde_json::json;

use crate::event::{Span, Timestamp};

use super::datum::{Bindings, Datum};
use super::expr::{Expr, ExprError};
use super::spec::{AuthSpec, Hidden, HoldSpec, Preset, RetrySpec, SigningSpec};
use super::template::Body;

/// Most time for one attempt, where the file does not say: a scheduler's API answers within a few seconds.
pub const DEFAULT_TIMEOUT: Span = Span(20_000);

/// How often an action may be asked for, in event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Most requests within a time.
    pub max: Option<(u32, Span)>,
    /// Least time between two requests.
    pub min_gap: Option<Span>,
}

impl Budget {
    /// Whether one more request at `at` stays within the budget, given the times of the earlier ones.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, earlier: &[Timestamp], at: Timestamp) -> Result<(), String> {
        if let Some(gap) = self.min_gap
            && let Some(last) = earlier.iter().max()
            && at - *last < gap
        {
            return Err(format!("the last request was at {last}, less than {gap} ago"));
        }
        if let Some((max, per)) = self.max {
            let spent = earlier.iter().filter(|time| at - **time < per).count();
            if spent >= max as usize {
                return Err(format!("{spent} requests within {per}, and no more than {max} are allowed"));
            }
        }
        Ok(())
    }

    /// Drops the times that no longer matter at `at`.
    pub fn prune(&self, earlier: &mut Vec<Timestamp>, at: Timestamp) {
        let longest = self.max.map_or(Span(0), |(_, per)| per).max(self.min_gap.unwrap_or(Span(0)));
        earlier.retain(|time| at - *time < longest);
    }
}

/// What the answer to a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has worked.
    Success,
    /// The same call was made before, and that is as good.
    Duplicate,
    /// It has not worked.
    Failure,
}

/// An action that rules can ask for.
#[derive(Debug)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// HTTP method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Further headers.
    pub headers: BTreeMap<String, Hidden>,
    /// The body; `None`: no body, sent as JSON null in messages.
    pub body: Option<Body>,
    /// How the call proves who makes it.
    pub auth: Option<AuthSpec>,
    /// Most time for one attempt.
    pub timeout: Span,
    /// How often it may be asked for.
    pub budget: Budget,
    /// How a failed call is made again, as written.
    pub retry: Option<RetrySpec>,
    /// What must happen before it is asked for again, as written; not acted on yet.
    pub hold: Option<HoldSpec>,
    /// How the request is signed.
    pub signing: Option<SigningSpec>,
    pub(crate) success: Option<Expr>,
    pub(crate) duplicate: Option<Expr>,
}

impl Action {
    /// Reads an answer: its status, and its body where that is JSON.
    ///
    /// # Errors
    /// Where an expression of the action fails on it.
    pub fn reply(&self, status: u16, json: Option<&serde_json::Value>) -> Result<Reply, ExprError> {
        let mut bindings = Bindings::default();
        bindings.set("response", response(status, json));
        if let Some(duplicate) = &self.duplicate
            && duplicate.truth(&bindings)?
        {
            return Ok(Reply::Duplicate);
        }
        let worked = match &self.success {
            Some(success) => success.truth(&bindings)?,
            None => (200..300).contains(&status),
        };
        Ok(if worked { Reply::Success } else { Reply::Failure })
    }
}

/// What the expressions of an action see as `response`.
pub(crate) fn response(status: u16, json: Option<&serde_json::Value>) -> Datum {
    Datum::Map(BTreeMap::from([
        ("status".to_owned(), Datum::Whole(i64::from(status))),
        ("json".to_owned(), json.map_or(Datum::Null, Datum::from_json)),
    ]))
}

/// What a preset fills in.
pub(crate) struct Filled {
    pub(crate) method: &'static str,
    pub(crate) body: serde_json::Value,
    pub(crate) success: &'static str,
    pub(crate) duplicate: &'static str,
}

impl Preset {
    pub(crate) fn filled(self) -> Filled {
        match self {
            // The run's id is the episode, so that Airflow itself answers 409 to a second call. Without `logical_date`,
            // which may be null, it answers 422.
            Preset::Airflow3 => Filled {
                method: "POST",
                body: json!({
                    "dag_run_id": "drift__{{ episode.id }}",
                    "logical_date": null,
                    "conf": {"model": "{{ labels.model }}", "alert": "{{ labels.alertname }}", "reason": "{{ reason }}", "episode": "{{ episode.id }}"},
                }),
                success: "response.status in [200, 201]",
                duplicate: "response.status == 409",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = Span::DAY.0;

    #[test]
    fn budgets() {
        let budget = Budget { max: Some((2, Span(7 * DAY))), min_gap: Some(Span(DAY)) };
        let at = |days: i64| Timestamp(days * DAY);
        assert!(budget.admits(&[], at(0)).is_ok());
        assert!(budget.admits(&[at(0)], at(0)).unwrap_err().contains("less than 1d"));
        assert!(budget.admits(&[at(0)], at(1)).is_ok());
        assert!(budget.admits(&[at(0), at(1)], at(6)).unwrap_err().contains("no more than 2"));
        assert!(budget.admits(&[at(0), at(1)], at(7)).is_ok());
        let mut times = vec![at(0), at(1), at(8)];
        budget.prune(&mut times, at(8));
        assert_eq!(times, [at(8)]);
        assert!(Budget::default().admits(&[at(0); 99], at(0)).is_ok());
    }

    #[test]
    fn answers() {
        let mut action = Action {
            name: "a".into(),
            method: "POST".into(),
            url: "http://x".into(),
            headers: BTreeMap::new(),
            body: None,
            auth: None,
            timeout: DEFAULT_TIMEOUT,
            budget: Budget::default(),
            retry: None,
            hold: None,
            signing: None,
            success: None,
            duplicate: None,
        };
        assert_eq!(action.reply(204, None), Ok(Reply::Success));
        assert_eq!(action.reply(302, None), Ok(Reply::Failure));
        let filled = Preset::Airflow3.filled();
        action.success = Some(Expr::compile(filled.success).unwrap());
        action.duplicate = Some(Expr::compile(filled.duplicate).unwrap());
        assert_eq!(action.reply(200, None), Ok(Reply::Success));
        assert_eq!(action.reply(204, None), Ok(Reply::Failure));
        assert_eq!(action.reply(409, None), Ok(Reply::Duplicate));
        action.duplicate = None;
        action.success = Some(Expr::compile("response.json.data.type == 'LaunchRunSuccess'").unwrap());
        assert_eq!(action.reply(200, Some(&json!({"data": {"type": "LaunchRunSuccess"}}))), Ok(Reply::Success));
        assert_eq!(action.reply(200, Some(&json!({"data": {"type": "Fault"}}))), Ok(Reply::Failure));
        assert!(action.reply(200, None).is_err());
    }
}
