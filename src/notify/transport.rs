//! What the names of receivers and actions stand for: the ways out, built from the settings and replaced as a whole when these
//! change. Makes deliveries of a notice and carries one out; when and how often is the dispatcher's.

use std::collections::BTreeMap;

use lettre::message::{Mailbox, Mailboxes};

use super::action::{Action, ActionOutcome};
use super::failure::Failure;
use super::outbox::{Channel, Delivery, End, Payload, Target};
use super::request::HttpClient;
use super::settings::{EmailTarget, NotifySettings, ReceiverSettings, SecretUrl, SettingsError};
use super::smtp::Mailer;
use super::webhook::Webhook;
use crate::event::Timestamp;
use crate::rule::message::{Notice, NoticeKind};

/// Whether something outside can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// What was tried: `smtp mail.example:465`, `receiver/oncall/webhook/0 at https://hooks.example`.
    pub target: String,
    /// Why it cannot be reached; `None` if it can.
    pub error: Option<String>,
}

/// All ways out.
#[derive(Debug)]
pub struct Transports {
    mailer: Option<Mailer>,
    http: HttpClient,
    receivers: BTreeMap<String, Receiver>,
    actions: BTreeMap<String, Action>,
}

#[derive(Debug)]
struct Receiver {
    emails: Vec<Recipients>,
    webhooks: Vec<Webhook>,
}

#[derive(Debug)]
struct Recipients {
    mailboxes: Vec<Mailbox>,
    send_resolved: bool,
}

impl Transports {
    /// Builds everything that the settings name. Connects to nothing.
    ///
    /// # Errors
    /// All faults found, in the order of the settings.
    pub fn build(settings: NotifySettings) -> Result<Transports, Vec<SettingsError>> {
        let mut faults = Vec::new();
        let has_smtp = settings.smtp.is_some();
        let mailer = settings.smtp.and_then(|smtp| keep(Mailer::new(smtp), &mut faults));
        let http = keep(HttpClient::new(settings.ca_file.as_deref()), &mut faults);
        let mut receivers = BTreeMap::new();
        for receiver in settings.receivers {
            let name = receiver.name.clone();
            if !receiver.emails.is_empty() && !has_smtp {
                faults.push(SettingsError::SmtpMissing { receiver: name.clone() });
            }
            if receivers.insert(name.clone(), build_receiver(receiver, &mut faults)).is_some() {
                faults.push(SettingsError::Duplicate { kind: "receiver", name });
            }
        }
        let mut actions = BTreeMap::new();
        for action in settings.actions {
            let name = action.name.clone();
            let Some(action) = keep(Action::new(action), &mut faults) else { continue };
            if actions.insert(name.clone(), action).is_some() {
                faults.push(SettingsError::Duplicate { kind: "action", name });
            }
        }
        match http {
            Some(http) if faults.is_empty() => Ok(Transports { mailer, http, receivers, actions }),
            _ => Err(faults),
        }
    }

    /// One delivery for each address and webhook of the notice's receiver. A receiver without any has none; one that does not
    /// exist has a single delivery that will be given up with that reason.
    #[must_use]
    pub fn deliveries(&self, notice: &Notice, now: Timestamp) -> Vec<Delivery> {
        let Some(receiver) = self.receivers.get(&notice.receiver) else {
            return vec![deliver_to(notice, Channel::Unknown, now)];
        };
        let wanted = |send_resolved: bool| send_resolved || notice.kind != NoticeKind::Resolved;
        let mut deliveries = Vec::new();
        for (index, recipients) in receiver.emails.iter().enumerate().filter(|(_, recipients)| wanted(recipients.send_resolved)) {
            for mailbox in &recipients.mailboxes {
                deliveries.push(deliver_to(notice, Channel::Email { index, to: mailbox.email.to_string() }, now));
            }
        }
        for (index, _) in receiver.webhooks.iter().enumerate().filter(|(_, webhook)| wanted(webhook.target().send_resolved)) {
            deliveries.push(deliver_to(notice, Channel::Webhook { index }, now));
        }
        deliveries
    }

    /// Carries out one attempt at the time `now`.
    pub(super) async fn deliver(&self, delivery: &Delivery, now: Timestamp) -> Result<End, Failure> {
        match (&delivery.target, &delivery.payload) {
            (Target::Receiver { name, channel }, Payload::Notice(notice)) => {
                let receiver = self.receivers.get(name).ok_or_else(|| Failure::permanent(format!("there is no receiver '{name}'")))?;
                let gone = || Failure::permanent(format!("receiver '{name}' no longer has this channel"));
                match channel {
                    Channel::Email { index, to } => {
                        let recipients = receiver.emails.get(*index).ok_or_else(gone)?;
                        let to = recipients.mailboxes.iter().find(|mailbox| mailbox.email.to_string() == *to).ok_or_else(gone)?;
                        let mailer = self.mailer.as_ref().ok_or_else(gone)?;
                        mailer.deliver(notice, &recipients.mailboxes, to, delivery.created_at).await?;
                    }
                    Channel::Webhook { index } => {
                        receiver.webhooks.get(*index).ok_or_else(gone)?.deliver(&self.http, notice, now).await?;
                    }
                    Channel::Unknown => return Err(gone()),
                }
                Ok(End::Delivered)
            }
            (Target::Action { name }, Payload::Action(call)) => {
                let action = self.actions.get(name).ok_or_else(|| Failure::permanent(format!("there is no action '{name}'")))?;
                match action.perform(&self.http, call, now).await? {
                    ActionOutcome::Requested => Ok(End::Delivered),
                    ActionOutcome::Duplicate => Ok(End::Duplicate),
                }
            }
            _ => Err(Failure::permanent("the stored delivery does not fit its target")),
        }
    }

    /// Tries to reach the mail server and every webhook: connects, with TLS and authentication where these are set, and sends
    /// neither mail nor request.
    pub async fn check(&self) -> Vec<CheckResult> {
        let mut results = Vec::new();
        if let Some(mailer) = &self.mailer {
            results.push(CheckResult { target: mailer.name(), error: mailer.check().await.err().map(|failure| failure.to_string()) });
        }
        for (name, receiver) in &self.receivers {
            for (index, webhook) in receiver.webhooks.iter().enumerate() {
                let channel = Target::Receiver { name: name.clone(), channel: Channel::Webhook { index } };
                results.push(self.check_url(&channel.to_string(), &webhook.target().url).await);
            }
        }
        results
    }

    /// Tries to reach a URL, for instance of an action, without a request.
    pub async fn check_url(&self, name: &str, url: &SecretUrl) -> CheckResult {
        let error = self.http.reach(url.expose()).await.err().map(|failure| failure.to_string());
        CheckResult { target: format!("{name} at {url}"), error }
    }
}

fn keep<T>(result: Result<T, SettingsError>, faults: &mut Vec<SettingsError>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

fn deliver_to(notice: &Notice, channel: Channel, now: Timestamp) -> Delivery {
    let target = Target::Receiver { name: notice.receiver.clone(), channel };
    Delivery::new(target, Payload::Notice(Box::new(notice.clone())), now)
}

fn build_receiver(settings: ReceiverSettings, faults: &mut Vec<SettingsError>) -> Receiver {
    let emails = settings.emails.iter().map(|target| build_recipients(&settings.name, target, faults)).collect();
    let webhooks = settings.webhooks.into_iter().filter_map(|target| keep(Webhook::new(target), faults)).collect();
    Receiver { emails, webhooks }
}

/// An entry may hold several addresses, separated by commas.
fn build_recipients(receiver: &str, target: &EmailTarget, faults: &mut Vec<SettingsError>) -> Recipients {
    let mut mailboxes: Vec<Mailbox> = Vec::new();
    for entry in &target.to {
        let parsed =
            entry.parse::<Mailboxes>().map_err(|error| SettingsError::Address { address: entry.clone(), reason: error.to_string() });
        for mailbox in keep(parsed, faults).into_iter().flatten() {
            if !mailboxes.iter().any(|known| known.email == mailbox.email) {
                mailboxes.push(mailbox);
            }
        }
    }
    if target.to.is_empty() {
        faults.push(SettingsError::NoRecipients { receiver: receiver.to_owned() });
    }
    Recipients { mailboxes, send_resolved: target.send_resolved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::mail::tests::notice;
    use crate::notify::settings::{ActionSettings, SmtpSettings, WebhookTarget};

    fn receiver(name: &str, to: &[&str]) -> ReceiverSettings {
        let to = to.iter().map(|address| (*address).to_owned()).collect();
        ReceiverSettings {
            name: name.into(),
            emails: vec![EmailTarget { to, send_resolved: false }],
            webhooks: vec![WebhookTarget::new("http://127.0.0.1:9/hook?x=1").unwrap()],
        }
    }

    #[test]
    fn a_notice_becomes_one_delivery_per_address_and_webhook() {
        let smtp = SmtpSettings::parse("smtp://localhost?tls=none", None, "d@example.com", false).unwrap();
        let settings = NotifySettings {
            smtp: Some(smtp),
            receivers: vec![receiver("mlops mail", &["a@example.com, B <b@example.com>", "a@example.com"])],
            ..NotifySettings::default()
        };
        let transports = Transports::build(settings).unwrap();
        let mut notice = notice();
        let names = |notice: &Notice| -> Vec<String> {
            transports.deliveries(notice, notice.at).iter().map(|delivery| delivery.target.to_string()).collect()
        };
        let mails = ["receiver/mlops mail/email/a@example.com", "receiver/mlops mail/email/b@example.com"];
        assert_eq!(names(&notice), [mails[0], mails[1], "receiver/mlops mail/webhook/0"]);
        notice.kind = NoticeKind::Resolved;
        assert_eq!(names(&notice), ["receiver/mlops mail/webhook/0"]);
        notice.receiver = "nobody".into();
        assert_eq!(names(&notice), ["receiver/nobody"]);
    }

    #[test]
    fn all_faults_are_reported() {
        let mut action = ActionSettings::new("retrain");
        action.headers.insert("bad header".into(), "x".into());
        let settings = NotifySettings {
            receivers: vec![receiver("a", &["nobody"]), receiver("a", &[])],
            actions: vec![action, ActionSettings::new("b"), ActionSettings::new("b")],
            ..NotifySettings::default()
        };
        let faults = Transports::build(settings).unwrap_err();
        let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "'nobody' is not a mail address",
            "notify.smtp is not set",
            "without recipients",
            "'bad header'",
            "receiver 'a' is defined twice",
            "action 'b' is defined twice",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
