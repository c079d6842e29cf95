//! Those who can be told, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::action::Hidden;

/// A receiver: any number of ways under one name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSpec {
    /// Name, for routes.
    pub name: String,
    /// Mail.
    #[serde(default)]
    pub email_configs: Vec<EmailSpec>,
    /// HTTP requests.
    #[serde(default)]
    pub webhook_configs: Vec<WebhookSpec>,
    /// Alertmanagers to which alerts are pushed.
    #[serde(default)]
    pub alertmanager_configs: Vec<AlertmanagerSpec>,
}

impl ReceiverSpec {
    /// Whether one of its ways wants to hear of the end of an alert. Each way filters for itself once more.
    #[must_use]
    pub fn wants_resolved(&self) -> bool {
        self.email_configs.iter().any(|email| email.send_resolved) || self.webhook_configs.iter().any(|hook| hook.send_resolved)
    }

    /// Whether one of its ways takes notices at all.
    #[must_use]
    pub fn takes_notices(&self) -> bool {
        !self.email_configs.is_empty() || !self.webhook_configs.is_empty()
    }
}

/// Mail to somebody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailSpec {
    /// Addresses: a list, or one text with commas.
    pub to: RecipientsSpec,
    /// Whether the end of an alert is mailed too. Default false, as in Alertmanager.
    #[serde(default)]
    pub send_resolved: bool,
}

/// Mail addresses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected an address or a list of addresses")]
pub enum RecipientsSpec {
    /// One address, or several with commas between them.
    Text(String),
    /// Several addresses.
    List(Vec<String>),
}

impl RecipientsSpec {
    /// The addresses one by one, without the spaces around them.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let parts: Vec<&str> = match self {
            RecipientsSpec::Text(text) => text.split(',').collect(),
            RecipientsSpec::List(list) => list.iter().map(String::as_str).collect(),
        };
        parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }
}

/// An HTTP request to somebody: exactly one of `url` and `url_file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSpec {
    /// Absolute URL, http or https. Not shown in logs, for it may hold a secret.
    #[serde(default)]
    pub url: Option<Hidden>,
    /// A file that holds the URL.
    #[serde(default)]
    pub url_file: Option<String>,
    /// Whether the end of an alert is sent too. Default true, as in Alertmanager.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// Most time for one attempt, like `20s`.
    #[serde(default)]
    pub timeout: Option<String>,
    /// How requests are signed.
    #[serde(default)]
    pub signing: Option<SigningSpec>,
}

/// How requests are signed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningSpec {
    /// By the Standard Webhooks specification, HMAC-SHA256.
    #[serde(default)]
    pub standard_webhooks: Option<StandardWebhooksSpec>,
}

/// The key of Standard Webhooks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandardWebhooksSpec {
    /// A file that holds the secret, `whsec_...`.
    pub secret_file: String,
}

/// Alertmanagers to which alerts are pushed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSpec {
    /// The base URL of every replica.
    pub urls: Vec<String>,
    /// Whether the end of an alert is pushed too. Default true.
    #[serde(default = "yes")]
    pub send_resolved: bool,
}

fn yes() -> bool {
    true
}
