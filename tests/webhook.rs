//! Webhooks and actions, end to end: signatures, retries, refusals and what must never be called.

mod notify_support;

use std::time::Duration;

use driftline::app::demo::hook_sink::{Hook, HookSink, HookSinkOptions, Reply};
use driftline::notify::settings::StandardWebhooks;
use driftline::notify::signature::Secrets;
use driftline::notify::{
    ActionSettings, Auth, DeliveryOutcome, NotifySettings, Options, Order, Outbox, ReceiverSettings, SecretUrl, SettingsError,
    WebhookTarget,
};
use driftline::rule::message::{ActionCall, NoticeKind};
use notify_support::{EPISODE, RETRY, Running, alert, at, certificates, clock, next, nothing, notice, scratch};
use secrecy::SecretString;
use tokio::sync::mpsc::Receiver;

const SECRET: &str = "whsec_ZHJpZnQtYWdlbnQtdGVzdC1zZWNyZXQtMzJieXRlcyE=";
const OLD_SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

async fn sink(script: Vec<Reply>) -> (HookSink, Receiver<Hook>) {
    HookSink::start(HookSinkOptions { script, ..HookSinkOptions::default() }, clock).await.unwrap()
}

fn target(url: &str) -> NotifySettings {
    let webhooks = vec![WebhookTarget::new(url).unwrap()];
    NotifySettings {
        receivers: vec![ReceiverSettings { name: "oncall".into(), emails: Vec::new(), webhooks }],
        ..NotifySettings::default()
    }
}

fn hook_url(sink: &HookSink) -> String {
    format!("http://{}/hook?token=hunter2", sink.address())
}

fn firing() -> Order {
    Order::Notice(Box::new(notice("oncall", NoticeKind::Firing, 0)))
}

fn call(url: String) -> ActionCall {
    ActionCall {
        action: "retrain-loan".into(),
        episode: EPISODE.into(),
        at: at(),
        method: "POST".into(),
        url,
        body: serde_json::json!({ "dag_run_id": format!("drift__{EPISODE}"), "logical_date": null, "conf": { "model": "loan" } }),
        alert: alert(),
    }
}

fn with_action(action: ActionSettings) -> NotifySettings {
    NotifySettings { actions: vec![action], ..NotifySettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_webhook_verifies_with_either_secret_of_a_rotation() {
    let file = scratch("whsec", &format!("{SECRET}\n{OLD_SECRET}\n"));
    for secret in [SECRET, OLD_SECRET] {
        let options = HookSinkOptions { secrets: Some(Secrets::parse(secret).unwrap()), ..HookSinkOptions::default() };
        let (sink, mut hooks) = HookSink::start(options, clock).await.unwrap();
        let mut settings = target(&hook_url(&sink));
        settings.receivers[0].webhooks[0].signing = Some(StandardWebhooks { secret_file: file.clone() });
        let mut running = Running::start(settings);
        running.send(firing()).await;
        let hook = next(&mut hooks).await;
        assert_eq!(hook.signature, Some(Ok(())), "{hook:?}");
        assert_eq!((hook.method.as_str(), hook.path.as_str()), ("POST", "/hook?token=hunter2"));
        assert_eq!(hook.header("webhook-id"), Some(format!("msg_{EPISODE}_firing_0").as_str()));
        assert_eq!(hook.header("idempotency-key"), Some(EPISODE));
        assert_eq!(hook.header("content-type"), Some("application/json"));
        assert!(hook.header("user-agent").unwrap().starts_with("driftline/"), "{hook:?}");
        let body = hook.json();
        assert_eq!(body["type"], "drift.alert.firing");
        assert_eq!(body["data"]["labels"]["feature"], "age");
        assert_eq!(next(&mut running.reports).await.outcome, DeliveryOutcome::Delivered);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_has_the_same_id_and_a_new_timestamp() {
    // The server asks for a second, so that the timestamps must differ.
    let (sink, mut hooks) = sink(vec![Reply::status(503).with("retry-after", "1")]).await;
    let mut running = Running::start(target(&hook_url(&sink)));
    running.send(firing()).await;
    let (first, second) = (next(&mut hooks).await, next(&mut hooks).await);
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome, DeliveryOutcome::Retrying);
    assert_eq!(report.error.as_deref(), Some("answered 503"));
    assert_eq!(next(&mut running.reports).await.outcome, DeliveryOutcome::Delivered);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    let seconds = |hook: &Hook| -> i64 { hook.header("webhook-timestamp").unwrap().parse().unwrap() };
    assert!(seconds(&second) > seconds(&first), "the timestamp is not that of the attempt");
    assert!((second.at - first.at).0 >= 1_000, "the server's Retry-After was not heard: {}", second.at - first.at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_final() {
    for status in [400, 401, 404, 410, 422] {
        let (sink, mut hooks) = sink(vec![Reply::status(status)]).await;
        let mut running = Running::start(target(&hook_url(&sink)));
        running.send(firing()).await;
        let report = next(&mut running.reports).await;
        assert_eq!((report.outcome, report.attempts), (DeliveryOutcome::Dead, 1), "{report:?}");
        assert!(report.error.unwrap().contains(&status.to_string()));
        next(&mut hooks).await;
        nothing(&mut hooks).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let (elsewhere, mut stolen) = sink(Vec::new()).await;
    let (sink, _hooks) = sink(vec![Reply::status(307).with("location", &hook_url(&elsewhere))]).await;
    let mut running = Running::start(target(&hook_url(&sink)));
    running.send(firing()).await;
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome, DeliveryOutcome::Dead);
    assert!(report.error.unwrap().contains("redirects are not followed"));
    nothing(&mut stolen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_or_slow_receiver_is_tried_again_and_holds_up_nobody() {
    let (sink, mut hooks) = sink(Vec::new()).await;
    // Accepts connections into its backlog and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = target(&format!("http://{}/?token=hunter2", silent.local_addr().unwrap()));
    settings.receivers[0].webhooks[0].timeout = Duration::from_millis(700);
    settings.receivers.push(ReceiverSettings {
        name: "fast".into(),
        emails: Vec::new(),
        webhooks: vec![WebhookTarget::new(&hook_url(&sink)).unwrap()],
    });
    let mut running = Running::start(settings);
    for index in 0..20 {
        let mut slow = notice("oncall", NoticeKind::Firing, 0);
        slow.episode = format!("E{index}");
        running.send(Order::Notice(Box::new(slow))).await;
    }
    running.send(Order::Notice(Box::new(notice("fast", NoticeKind::Firing, 0)))).await;
    next(&mut hooks).await;
    let report = next(&mut running.reports).await;
    assert_eq!((report.target.name(), report.outcome), ("fast", DeliveryOutcome::Delivered), "{report:?}");
    let report = next(&mut running.reports).await;
    assert_eq!((report.target.name(), report.outcome), ("oncall", DeliveryOutcome::Retrying));
    let error = report.error.unwrap();
    assert!(error.starts_with("no answer in time") && !error.contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_addresses_are_never_called() {
    for url in
        ["http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/", "http://0.0.0.0:9099/"]
    {
        assert!(matches!(WebhookTarget::new(url), Err(SettingsError::BlockedHost { .. })), "{url} was accepted");
        let mut running = Running::start(with_action(ActionSettings::new("retrain-loan")));
        running.send(Order::Action(Box::new(call(url.to_owned())))).await;
        let report = next(&mut running.reports).await;
        assert_eq!((report.outcome, report.outcome_name()), (DeliveryOutcome::Dead, "failed"));
        assert!(report.error.unwrap().contains("never called"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_called_signed_and_authenticated() {
    let options = HookSinkOptions { secrets: Some(Secrets::parse(SECRET).unwrap()), ..HookSinkOptions::default() };
    let (sink, mut hooks) = HookSink::start(options, clock).await.unwrap();
    let mut action = ActionSettings::new("retrain-loan");
    action.signing = Some(StandardWebhooks { secret_file: scratch("action-whsec", SECRET) });
    action.auth = Auth::BearerFile(scratch("token", "hunter2-token\n"));
    action.headers.insert("X-Scope-OrgID".into(), SecretString::from("risk"));
    let mut running = Running::start(with_action(action));
    let mut order = call(hook_url(&sink));
    order.method = "put".into();
    running.send(Order::Action(Box::new(order))).await;
    let hook = next(&mut hooks).await;
    assert_eq!(hook.signature, Some(Ok(())), "{hook:?}");
    assert_eq!(hook.method, "PUT");
    assert_eq!(hook.header("authorization"), Some("Bearer hunter2-token"));
    assert_eq!(hook.header("x-scope-orgid"), Some("risk"));
    assert_eq!(hook.header("idempotency-key"), Some(EPISODE));
    assert_eq!(hook.header("webhook-id"), Some(format!("msg_{EPISODE}_action_retrain-loan").as_str()));
    assert_eq!(hook.json()["logical_date"], serde_json::Value::Null);
    assert_eq!(hook.json()["dag_run_id"], format!("drift__{EPISODE}"));
    assert_eq!(next(&mut running.reports).await.outcome_name(), "requested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_was_started_before_is_a_duplicate() {
    let (sink, mut hooks) = sink(vec![Reply::status(503), Reply::status(409)]).await;
    let mut action = ActionSettings::new("retrain-loan");
    action.auth = Auth::Basic { username: "agent".into(), password_file: scratch("password", "hunter2") };
    let mut running = Running::start(with_action(action));
    running.send(Order::Action(Box::new(call(hook_url(&sink))))).await;
    assert_eq!(next(&mut running.reports).await.outcome_name(), "retrying");
    let report = next(&mut running.reports).await;
    assert_eq!((report.outcome_name(), report.attempts), ("duplicate", 2));
    let (first, second) = (next(&mut hooks).await, next(&mut hooks).await);
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    // base64 of agent:hunter2
    assert_eq!(first.header("authorization"), Some("Basic YWdlbnQ6aHVudGVyMg=="));
    // The episode asks again, for instance after a restart: the answer is known.
    running.send(Order::Action(Box::new(call(hook_url(&sink))))).await;
    nothing(&mut hooks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listed_statuses_decide_what_success_is() {
    let (sink, _hooks) = sink(vec![Reply::status(200)]).await;
    let mut action = ActionSettings::new("retrain-loan");
    action.success = vec![201, 202];
    let mut running = Running::start(with_action(action));
    running.send(Order::Action(Box::new(call(hook_url(&sink))))).await;
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome_name(), "failed");
    assert_eq!(report.error.as_deref(), Some("answered 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_never_repeats_what_a_server_echoes() {
    let mut reply = Reply::status(400);
    reply.body = "bad request: Authorization: Bearer hunter2-token, token=hunter2, field\u{1b}[31m missing".into();
    let (sink, _hooks) = sink(vec![reply]).await;
    let mut action = ActionSettings::new("retrain-loan");
    action.auth = Auth::BearerFile(scratch("echoed-token", "hunter2-token"));
    let mut running = Running::start(with_action(action));
    running.send(Order::Action(Box::new(call(hook_url(&sink))))).await;
    let error = next(&mut running.reports).await.error.unwrap();
    assert!(error.contains("400") && error.contains("missing"), "{error}");
    assert!(!error.contains("hunter2") && !error.contains('\u{1b}'), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_calls_nothing_and_says_so() {
    let (sink, mut hooks) = sink(Vec::new()).await;
    let options = Options { dry_run_actions: true, retry: RETRY };
    let mut running = Running::resume(with_action(ActionSettings::new("retrain-loan")), Outbox::default(), options);
    running.send(Order::Action(Box::new(call(hook_url(&sink))))).await;
    assert_eq!(next(&mut running.reports).await.outcome_name(), "dry_run");
    nothing(&mut hooks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_before_its_cause_is_stored_and_nothing_is_lost_in_a_restart() {
    let (sink, mut hooks) = sink(vec![Reply::status(200), Reply::status(503).with("retry-after", "1800")]).await;
    let settings = target(&hook_url(&sink));
    let mut running = Running::start(settings.clone());
    let outbox = running.outbox();
    outbox.stage(&firing());
    // Another one that may go at once does not take it along.
    let mut other = notice("oncall", NoticeKind::Firing, 0);
    other.episode = "01KAPZ5H80000000000000000X".into();
    running.send(Order::Notice(Box::new(other))).await;
    assert_eq!(next(&mut hooks).await.header("idempotency-key"), Some("01KAPZ5H80000000000000000X"));
    assert_eq!(next(&mut running.reports).await.outcome, DeliveryOutcome::Delivered);
    nothing(&mut hooks).await;
    let (_, mark) = outbox.snapshot().unwrap();
    outbox.release(mark);
    let first = next(&mut hooks).await;
    assert_eq!(next(&mut running.reports).await.outcome, DeliveryOutcome::Retrying);
    running.dispatcher.shutdown(Duration::from_secs(5)).await;

    let (stored, _) = outbox.snapshot().unwrap();
    let stored = String::from_utf8(stored).unwrap();
    assert!(!stored.contains("hunter2"), "the URL was stored: {stored}");
    // The server wanted half an hour; here it passes at once.
    let mut value: serde_json::Value = serde_json::from_str(&stored).unwrap();
    value["pending"][0][1]["next_at"] = serde_json::json!(0);
    let again = Outbox::restore(value.to_string().as_bytes()).unwrap();
    let mut running = Running::resume(settings, again, Options { dry_run_actions: false, retry: RETRY });
    let second = next(&mut hooks).await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert_eq!(next(&mut running.reports).await.attempts, 2);
    assert_eq!(running.outbox().depth(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_delivers_what_is_due_within_its_deadline() {
    let (sink, mut hooks) = sink(Vec::new()).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = target(&hook_url(&sink));
    let stuck = WebhookTarget::new(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    settings.receivers.push(ReceiverSettings { name: "stuck".into(), emails: Vec::new(), webhooks: vec![stuck] });
    let running = Running::start(settings);
    let outbox = running.outbox();
    running.send(Order::Notice(Box::new(notice("stuck", NoticeKind::Firing, 0)))).await;
    running.send(firing()).await;
    #[allow(clippy::disallowed_methods)] // A deadline of the test.
    let begun = std::time::Instant::now();
    running.dispatcher.shutdown(Duration::from_millis(800)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    next(&mut hooks).await;
    let left: Vec<String> = outbox.view(|outbox| outbox.pending().map(|delivery| delivery.target.name().to_owned()).collect());
    assert_eq!(left, ["stuck"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_settings_are_used_from_the_next_attempt_on() {
    let (sink, mut hooks) = sink(Vec::new()).await;
    let mut running = Running::start(target("http://127.0.0.1:9/nobody-listens"));
    running.send(firing()).await;
    let report = next(&mut running.reports).await;
    assert_eq!(report.outcome, DeliveryOutcome::Retrying);
    assert!(report.error.unwrap().starts_with("cannot connect"));
    running.outbox().replace(driftline::notify::Transports::build(target(&hook_url(&sink))).unwrap());
    next(&mut hooks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_receiver_is_reported_and_an_empty_one_is_silent() {
    let mut settings = target("http://127.0.0.1:9/");
    settings.receivers.push(ReceiverSettings { name: "blackhole".into(), emails: Vec::new(), webhooks: Vec::new() });
    let mut running = Running::start(settings);
    running.send(Order::Notice(Box::new(notice("blackhole", NoticeKind::Firing, 0)))).await;
    running.send(Order::Notice(Box::new(notice("nobody", NoticeKind::Firing, 0)))).await;
    let report = next(&mut running.reports).await;
    assert_eq!((report.target.name(), report.outcome), ("nobody", DeliveryOutcome::Dead));
    assert_eq!(report.error.as_deref(), Some("there is no receiver 'nobody'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_trusts_the_given_authority_only_and_check_posts_nothing() {
    let certificates = certificates("https");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(certificates.server.clone());
    let server = tokio::spawn(async move {
        let mut read = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // The client leaves without a word; how it says so does not matter.
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut read).await;
            }
        }
        read
    });
    let mut settings = target(&format!("https://localhost:{port}/hook?token=hunter2"));
    let refused = Running::start(settings.clone()).transports().check().await;
    assert_eq!(refused[0].target, format!("receiver/oncall/webhook/0 at https://localhost:{port}"));
    assert!(refused[0].error.as_ref().unwrap().contains("UnknownIssuer"), "{refused:?}");
    settings.ca_file = Some(certificates.ca_file.clone());
    let running = Running::start(settings);
    assert_eq!(running.transports().check().await[0].error, None);
    assert_eq!(server.await.unwrap(), b"");
    let nowhere = SecretUrl::parse("http://127.0.0.1:9/x").unwrap();
    assert!(running.transports().check_url("action/retrain", &nowhere).await.error.unwrap().starts_with("cannot connect"));
}
