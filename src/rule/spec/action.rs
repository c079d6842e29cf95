//! HTTP calls that rules can make, as written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// An HTTP call, usually one that starts a retraining run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionSpec {
    /// Fills method, body, `success` and `duplicate` for a well-known service; any of them may be overridden.
    pub preset: Option<Preset>,
    /// Absolute URL, http or https. Templates are not expanded in it.
    pub url: Option<String>,
    /// HTTP method. Default POST.
    pub method: Option<String>,
    /// Further headers. Their values are not shown in logs.
    pub headers: BTreeMap<String, Hidden>,
    /// JSON body; every string in it is a template.
    pub body: Option<serde_json::Value>,
    /// How the call proves who makes it.
    pub auth: Option<AuthSpec>,
    /// CEL expression over `response.status` and `response.json` that is true where the call has worked. Default any 2xx.
    pub success: Option<String>,
    /// CEL expression that is true where the same call has been made before. It counts as success.
    pub duplicate: Option<String>,
    /// Most time for one attempt. Default 20s.
    pub timeout: Option<String>,
    /// How a failed call is made again.
    pub retry: Option<RetrySpec>,
    /// How often the action may be asked for.
    pub budget: Option<BudgetSpec>,
    /// What must happen before it may be asked for again.
    pub hold: Option<HoldSpec>,
    /// How the request is signed.
    #[serde(default)]
    pub signing: Option<super::receiver::SigningSpec>,
}

/// Well-known services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Airflow 3: a run of a DAG by `POST /api/v2/dags/DAG/dagRuns`; the run's id is made from the episode.
    Airflow3,
}

/// How a call proves who makes it: exactly one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSpec {
    /// A file that holds a bearer token.
    pub bearer_file: Option<String>,
    /// HTTP basic authentication.
    pub basic: Option<BasicSpec>,
    /// A bearer token that is fetched with a password.
    pub bearer: Option<BearerSpec>,
}

/// HTTP basic authentication.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicSpec {
    /// The user.
    pub username: String,
    /// A file that holds the password.
    pub password_file: String,
}

/// A bearer token that is fetched with a password.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BearerSpec {
    /// Where the token is fetched.
    pub token_url: String,
    /// The user.
    pub username: String,
    /// A file that holds the password.
    pub password_file: String,
}

/// How a failed call is made again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Most attempts.
    pub attempts: Option<u32>,
    /// First wait.
    pub base: Option<String>,
    /// Longest wait.
    pub max: Option<String>,
    /// Age at which the call is given up.
    pub give_up_after: Option<String>,
}

/// How often an action may be asked for, per model, in event time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSpec {
    /// Most requests within `per`.
    pub max: Option<u32>,
    /// The time over which they are counted, like `7d`. Goes with `max`.
    pub per: Option<String>,
    /// Least time between two requests.
    pub min_gap: Option<String>,
    /// Most requests under way at once.
    pub in_flight: Option<u32>,
}

/// What must happen before an action may be asked for again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSpec {
    /// The event: `baseline_changed`.
    pub until: String,
    /// Longest hold.
    #[serde(default)]
    pub max: Option<String>,
}

/// A text that may hold a secret: its debug form does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_value_is_not_in_the_debug_form() {
        let action: ActionSpec = serde_json::from_str(r#"{"url":"http://x","headers":{"X-Token":"hunter2"}}"#).unwrap();
        assert_eq!(action.headers["X-Token"].0, "hunter2");
        assert!(!format!("{action:?}").contains("hunter2"));
    }
}
