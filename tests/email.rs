//! Mail, end to end: from a notice through the outbox and dispatcher to a mail server that is really spoken to, over TLS and with
//! authentication, when it works and when it does not.

mod notify_support;

use driftline::app::demo::smtp_sink::{Mail, SinkTls, SmtpSink, SmtpSinkOptions};
use driftline::notify::{
    DeliveryOutcome, DeliveryReport, EmailTarget, NotifySettings, Order, ReceiverSettings, SettingsError, SmtpSettings,
};
use driftline::rule::message::NoticeKind;
use notify_support::{Certificates, Running, certificates, next, nothing, notice};
use secrecy::SecretString;
use tokio::sync::mpsc::Receiver;

const PASSWORD: &str = "correct horse battery";

/// How a test sets up both ends.
struct Setup {
    scheme: &'static str,
    query: &'static str,
    password: Option<&'static str>,
    to: &'static [&'static str],
    options: SmtpSinkOptions,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { scheme: "smtp", query: "?tls=none", password: None, to: &["mlops@example.com"], options: SmtpSinkOptions::default() }
    }
}

fn with_credentials(tls: SinkTls) -> SmtpSinkOptions {
    SmtpSinkOptions { tls, credentials: Some(("agent@example.com".into(), PASSWORD.into())), ..SmtpSinkOptions::default() }
}

async fn start(setup: Setup, certificates: Option<&Certificates>) -> (SmtpSink, Receiver<Mail>, Running) {
    let (sink, mails) = SmtpSink::start(setup.options).await.unwrap();
    let user = if setup.password.is_some() { "agent%40example.com@" } else { "" };
    let url = format!("{}://{user}localhost:{}{}", setup.scheme, sink.address().port(), setup.query);
    let mut smtp = SmtpSettings::parse(&url, setup.password.map(SecretString::from), "driftline <drift@example.com>", false).unwrap();
    smtp.ca_file = certificates.map(|certificates| certificates.ca_file.clone());
    let to = setup.to.iter().map(|address| (*address).to_owned()).collect();
    let settings = NotifySettings {
        smtp: Some(smtp),
        receivers: vec![ReceiverSettings {
            name: "mlops".into(),
            emails: vec![EmailTarget { to, send_resolved: true }],
            webhooks: Vec::new(),
        }],
        ..NotifySettings::default()
    };
    (sink, mails, Running::start(settings))
}

async fn send(running: &Running, kind: NoticeKind, sequence: u32) {
    running.send(Order::Notice(Box::new(notice("mlops", kind, sequence)))).await;
}

async fn send_one(setup: Setup, certificates: Option<&Certificates>) -> (Mail, DeliveryReport) {
    let (_sink, mut mails, mut running) = start(setup, certificates).await;
    send(&running, NoticeKind::Firing, 0).await;
    let report = next(&mut running.reports).await;
    (next(&mut mails).await, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starttls_with_authentication() {
    let certificates = certificates("starttls");
    let options = with_credentials(SinkTls::StartTls(certificates.server.clone()));
    let setup = Setup { query: "", password: Some(PASSWORD), options, ..Setup::default() };
    let (mail, report) = send_one(setup, Some(&certificates)).await;
    assert_eq!(report.outcome, DeliveryOutcome::Delivered, "{report:?}");
    assert!(mail.encrypted);
    assert_eq!(mail.user.as_deref(), Some("agent@example.com"));
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("drift@example.com", ["mlops@example.com".to_owned()].as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn implicit_tls_with_authentication() {
    let certificates = certificates("implicit");
    let options = with_credentials(SinkTls::Implicit(certificates.server.clone()));
    let setup = Setup { scheme: "smtps", query: "", password: Some(PASSWORD), options, ..Setup::default() };
    let (mail, report) = send_one(setup, Some(&certificates)).await;
    assert_eq!(report.outcome, DeliveryOutcome::Delivered, "{report:?}");
    assert!(mail.encrypted && mail.user.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_gets_neither_password_nor_mail() {
    let certificates = certificates("unknown");
    let options = with_credentials(SinkTls::Implicit(certificates.server.clone()));
    let setup = Setup { scheme: "smtps", query: "", password: Some(PASSWORD), options, ..Setup::default() };
    let (_sink, mut mails, mut running) = start(setup, None).await;
    send(&running, NoticeKind::Firing, 0).await;
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome, DeliveryOutcome::Retrying);
    assert!(report.error.unwrap().contains("UnknownIssuer"));
    nothing(&mut mails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_starttls_gets_nothing() {
    let (_sink, mut mails, mut running) = start(Setup { query: "", ..Setup::default() }, None).await;
    send(&running, NoticeKind::Firing, 0).await;
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome, DeliveryOutcome::Retrying);
    let error = report.error.unwrap();
    assert!(error.contains("offers no STARTTLS") && error.contains("tls=none"), "{error}");
    nothing(&mut mails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_clearly_and_tried_again() {
    let certificates = certificates("password");
    let options = with_credentials(SinkTls::StartTls(certificates.server.clone()));
    let setup = Setup { query: "", password: Some("wrong horse"), options, ..Setup::default() };
    let (_sink, mut mails, mut running) = start(setup, Some(&certificates)).await;
    send(&running, NoticeKind::Firing, 0).await;
    for attempt in 1..=2 {
        let report = next(&mut running.reports).await;
        assert_eq!((report.outcome, report.attempts), (DeliveryOutcome::Retrying, attempt));
        let error = report.error.unwrap();
        assert!(error.contains("refuses the user or the password") && error.contains("535"), "{error}");
        assert!(!error.contains("horse"), "{error}");
    }
    nothing(&mut mails).await;
    assert_eq!(running.outbox().depth(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_tried_again_with_the_same_message() {
    let setup = Setup { options: SmtpSinkOptions { busy: 2, ..SmtpSinkOptions::default() }, ..Setup::default() };
    let (_sink, mut mails, mut running) = start(setup, None).await;
    send(&running, NoticeKind::Firing, 0).await;
    let mut keys = Vec::new();
    for outcome in [DeliveryOutcome::Retrying, DeliveryOutcome::Retrying, DeliveryOutcome::Delivered] {
        let report = next(&mut running.reports).await;
        assert_eq!(report.outcome, outcome, "{report:?}");
        if outcome == DeliveryOutcome::Retrying {
            assert!(report.error.as_ref().unwrap().contains("451"), "{report:?}");
        }
        keys.push(report.key);
    }
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
    assert!(next(&mut mails).await.header("Message-ID").unwrap().starts_with("<01KAPZ5H80ABCDEFGHJKMNPQRS.0.mlops@"));
    nothing(&mut mails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_replaced_at_once() {
    let setup = Setup { options: SmtpSinkOptions { broken: 1, ..SmtpSinkOptions::default() }, ..Setup::default() };
    let (mail, report) = send_one(setup, None).await;
    assert_eq!((report.outcome, report.attempts), (DeliveryOutcome::Delivered, 1), "{report:?}");
    assert!(!mail.encrypted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_address_is_final_and_costs_nobody_else_the_mail() {
    let options = SmtpSinkOptions { rejected: ["gone@example.com".to_owned()].into(), ..SmtpSinkOptions::default() };
    let setup = Setup { to: &["gone@example.com", "mlops@example.com"], options, ..Setup::default() };
    let (_sink, mut mails, mut running) = start(setup, None).await;
    send(&running, NoticeKind::Firing, 0).await;
    let mut reports = [next(&mut running.reports).await, next(&mut running.reports).await];
    reports.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(reports[0].outcome, DeliveryOutcome::Dead, "{reports:?}");
    assert!(reports[0].error.as_ref().unwrap().contains("550"), "{reports:?}");
    assert_eq!(reports[0].attempts, 1);
    assert_eq!(reports[1].outcome, DeliveryOutcome::Delivered, "{reports:?}");
    let mail = next(&mut mails).await;
    assert_eq!(mail.to, ["mlops@example.com"]);
    assert_eq!(mail.header("To").as_deref(), Some("gone@example.com, mlops@example.com"));
    assert_eq!(running.outbox().depth(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_episode_is_one_thread_with_text_and_html() {
    let (_sink, mut mails, running) = start(Setup::default(), None).await;
    send(&running, NoticeKind::Firing, 0).await;
    send(&running, NoticeKind::Resolved, 1).await;
    let (first, last) = (next(&mut mails).await, next(&mut mails).await);
    let root = first.header("Message-ID").unwrap();
    assert_eq!(first.header("In-Reply-To"), None);
    assert_eq!(last.header("In-Reply-To").as_ref(), Some(&root));
    assert_eq!(last.header("References").as_ref(), Some(&root));
    assert_ne!(last.header("Message-ID").unwrap(), root);
    assert_eq!(first.header("Subject").as_deref(), Some("[FIRING critical] loan: FeaturePSI (feature age)"));
    assert_eq!(last.header("Subject").as_deref(), Some("Re: [RESOLVED] loan: FeaturePSI (feature age)"));
    assert_eq!(first.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert_eq!(first.header("From").as_deref(), Some("driftline <drift@example.com>"));
    let text = first.part("text/plain").unwrap();
    assert!(text.contains("Value      0.3134") && text.contains("▁▄█"), "{text}");
    let html = first.part("text/html").unwrap();
    assert!(html.contains("https://runbooks.example/psi") && html.contains("&lt;risk&gt;"), "{html}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_what_is_reachable_and_sends_nothing() {
    let certificates = certificates("check");
    let options = with_credentials(SinkTls::StartTls(certificates.server.clone()));
    let setup = Setup { query: "", password: Some("wrong horse"), options, ..Setup::default() };
    let (sink, mut mails, running) = start(setup, Some(&certificates)).await;
    let results = running.transports().check().await;
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].target, format!("smtp localhost:{}", sink.address().port()));
    assert!(results[0].error.as_ref().unwrap().contains("535"), "{results:?}");

    let options = with_credentials(SinkTls::StartTls(certificates.server.clone()));
    let setup = Setup { query: "", password: Some(PASSWORD), options, ..Setup::default() };
    let (sink, _mails, running) = start(setup, Some(&certificates)).await;
    assert_eq!(running.transports().check().await[0].error, None);
    sink.stop().await;
    assert!(running.transports().check().await[0].error.is_some());
    nothing(&mut mails).await;
}

#[test]
fn clear_text_leaves_the_machine_only_when_allowed() {
    let parse = |allow| SmtpSettings::parse("smtp://mail.example:25?tls=none", None, "drift@example.com", allow);
    let refused = parse(false).unwrap_err();
    assert_eq!(refused, SettingsError::Plaintext { host: "mail.example".into() });
    assert!(refused.to_string().contains("allow_plaintext"), "{refused}");
    assert!(parse(true).is_ok());
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let certificates = certificates("debug");
    let options = with_credentials(SinkTls::StartTls(certificates.server.clone()));
    let setup = Setup { query: "", password: Some(PASSWORD), options, ..Setup::default() };
    let (_sink, _mails, running) = start(setup, Some(&certificates)).await;
    let text = format!("{:?} {:?} {:#?}", running.settings, running.transports(), running.outbox());
    assert!(text.contains("localhost"), "{text}");
    assert!(!text.contains("horse"), "{text}");
}
