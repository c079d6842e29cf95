//! The whole agent in this process, from Kafka to results, alerts and state: live and replayed are the same bytes, and a
//! restart costs nothing.

mod kafka_support;

use std::collections::{BTreeMap, BTreeSet};

use driftline::app::demo::hook_sink::{Hook, HookSink, HookSinkOptions, Reply};
use driftline::app::demo::smtp_sink::{Mail, SmtpSink, SmtpSinkOptions};
use driftline::engine::Emission;
use driftline::engine::result::ResultLine;
use driftline::event::{Timestamp, WindowSummary};
use driftline::notify::signature::Secrets;
use driftline::rule::{Happening, State};
use kafka_support::agent::{Setup, delivered, result_lines, windows};
use kafka_support::cluster::{Cluster, LABELS, PREDICTIONS};
use kafka_support::hook::SlowHook;
use kafka_support::stream::{HOUR, MINUTE, START, Stream, prediction};
use kafka_support::{Scratch, assert_same, latest, until};
use tokio::sync::mpsc::Receiver;

const SECRET: &str = "whsec_ZHJpZnQtYWdlbnQtdGVzdC1zZWNyZXQtMzJieXRlcyE=";
const TOPICS: [(&str, i32); 2] = [(PREDICTIONS, 4), (LABELS, 2)];
const STREAM: Stream = Stream { partitions: 4, step: 5_000, drift: 3 * HOUR, labels: true };

/// Mail and web servers of a test, on a runtime of their own.
struct Sinks {
    _runtime: tokio::runtime::Runtime,
    _smtp: SmtpSink,
    _hook: HookSink,
    smtp: std::net::SocketAddr,
    hook: std::net::SocketAddr,
    mails: Receiver<Mail>,
    hooks: Receiver<Hook>,
}

impl Sinks {
    fn start(script: Vec<Reply>) -> Sinks {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let secrets = Secrets::parse(SECRET).unwrap();
        let (smtp, mails, hook, hooks) = runtime.block_on(async {
            let (smtp, mails) = SmtpSink::start(SmtpSinkOptions::default()).await.unwrap();
            let options = HookSinkOptions { script, secrets: Some(secrets), ..HookSinkOptions::default() };
            let (hook, hooks) = HookSink::start(options, driftline::app::clock::now).await.unwrap();
            (smtp, mails, hook, hooks)
        });
        Sinks { smtp: smtp.address(), hook: hook.address(), _smtp: smtp, _hook: hook, mails, hooks, _runtime: runtime }
    }

    /// All mails and all webhooks that have come and have not been taken yet.
    fn take(&mut self) -> (Vec<Mail>, Vec<Hook>) {
        (std::iter::from_fn(|| self.mails.try_recv().ok()).collect(), std::iter::from_fn(|| self.hooks.try_recv().ok()).collect())
    }
}

/// One alert for each feature that has drifted; only `age` does. Mail, a signed webhook and a signed call tell of it.
fn rules(scratch: &Scratch, hook: std::net::SocketAddr) -> String {
    let secret = scratch.write("whsec", SECRET);
    let signing = format!("signing: {{ standard_webhooks: {{ secret_file: \"{}\" }} }}", secret.display());
    format!(
        "groups:
  - name: loan-drift
    model: loan
    rules:
      - alert: FeaturePSI
        each: [feature]
        source: {{ metric: psi, window: 1h }}
        value: psi
        when: \"p_adjusted < 0.01\"
        min_samples: 300
        fire: {{ critical: {{ above: 0.25, for: 2 windows }} }}
        resolve: {{ below: 0.1, for: 2 windows }}
        annotations: {{ summary: \"{{{{ labels.feature }}}} drifted\" }}
        on_firing: [ {{ action: retrain, with: {{ reason: drift }} }} ]
route: {{ receiver: everyone }}
receivers:
  - name: everyone
    email_configs: [ {{ to: mlops@example.com }} ]
    webhook_configs: [ {{ url: \"http://{hook}/hook\", {signing} }} ]
actions:
  retrain: {{ url: \"http://{hook}/retrain\", method: POST, body: {{ episode: \"{{{{ episode.id }}}}\" }}, {signing} }}
"
    )
}

/// The replayed lines of windows and measurements that are over, in their last revision.
fn expected(lines: &[ResultLine], last_end: i64) -> Vec<String> {
    until(latest(lines.iter().map(|line| line.json.as_str())), last_end)
}

fn firing_episodes(emissions: &[Emission]) -> Vec<String> {
    let episode = |emission: &Emission| match emission {
        Emission::Happening { happening, .. } => match &**happening {
            Happening::Transition { alert, to: State::Firing, from, .. } if *from != State::Recovering => alert.episode.clone(),
            _ => None,
        },
        Emission::Window(_) => None,
    };
    emissions.iter().filter_map(episode).collect()
}

#[test]
fn live_results_are_the_bytes_of_the_replay_for_any_number_of_workers() {
    let (scratch, cluster) = (Scratch::new("live"), Cluster::start(&TOPICS));
    let mut sinks = Sinks::start(Vec::new());
    // One of them tells people, the other only counts.
    let loud =
        Setup { group: "loud", state: "loud", workers: 1, smtp: Some(sinks.smtp), rules: rules(&scratch, sinks.hook), ..Setup::default() };
    let quiet = Setup { group: "quiet", state: "quiet", workers: 4, ..Setup::default() };
    STREAM.send(&cluster, 0, 7 * HOUR);
    // Past the horizon of all windows before.
    STREAM.send_last(&cluster, 13 * HOUR);
    cluster.flush();

    let last_end = START + 9 * HOUR;
    let expected_lines = expected(&loud.replay(&scratch, &cluster, 1).lines, last_end);
    assert_same(&expected(&quiet.replay(&scratch, &cluster, 3).lines, last_end), &expected_lines, "replay with 3 shards");
    assert!(expected_lines.len() > 300, "{} lines", expected_lines.len());
    let whole = expected_lines.iter().filter(|line| line.contains("\"type\":\"window\"") && line.contains("\"complete\":true")).count();
    assert!(whole >= 12, "{whole} complete windows: {expected_lines:#?}");
    assert!(expected_lines.iter().any(|line| line.contains("\"metric\":\"accuracy\"") && line.contains("\"status\":\"ok\"")));

    let agents = [loud.start(&scratch, &cluster), quiet.start(&scratch, &cluster)];
    for agent in &agents {
        let status = agent.wait_received(cluster.total());
        for outcome in ["counted", "late", "unmatched_label"] {
            // Labels of the predictions that were late find none.
            assert!(status["outcomes"][outcome].as_u64().is_some_and(|count| count > 0), "{outcome}: {status}");
        }
        assert_eq!((&status["ledger"]["labels"], &status["ledger"]["refused"]), (&status["waiting"], &0.into()), "{status}");
        assert!(status["ledger"]["predictions"].as_u64().is_some_and(|count| count > 0), "{status}");
        let lines = || until(agent.lines(), last_end);
        agent.wait_for("all windows are closed and labelled", || {
            let final_looks = lines().iter().filter(|line| line.contains("\"metric\":\"accuracy\"")).count();
            let wanted = expected_lines.iter().filter(|line| line.contains("\"metric\":\"accuracy\"")).count();
            (lines().len() >= expected_lines.len() && final_looks >= wanted).then_some(())
        });
        // A last look at a window may still be under way.
        agent.wait_a_while(|| lines() == expected_lines);
        assert_same(&lines(), &expected_lines, "live");
    }
    agents[0]
        .wait_for("mail, webhook and call are delivered", || agents[0].seen(|seen| (delivered(&seen.deliveries).len() >= 3).then_some(())));
    let [loud, quiet] = agents;
    let seen = loud.stop();
    assert!(quiet.stop().deliveries.is_empty());

    let episodes = firing_episodes(&seen.emissions);
    assert_eq!(episodes.len(), 1, "one alert, for age");
    let keys = delivered(&seen.deliveries);
    assert_eq!(keys.len(), 3, "{keys:?}");
    let (mails, hooks) = sinks.take();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].part("text/plain").unwrap().contains("age drifted"), "{}", mails[0].data);
    let calls: Vec<&str> = hooks.iter().map(|hook| hook.path.as_str()).collect();
    assert_eq!(calls.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"/hook", &"/retrain"]), "{calls:?}");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(hooks.iter().all(|hook| hook.signature == Some(Ok(()))), "{hooks:?}");
    let call = hooks.iter().find(|hook| hook.path == "/retrain").unwrap();
    assert_eq!(call.json()["episode"], episodes[0].as_str());
    assert!(result_lines(&seen.emissions).iter().any(|line| line.contains("\"type\":\"action\"") && line.contains("\"requested\"")));
}

#[test]
fn restarts_in_the_middle_of_windows_change_nothing() {
    let (scratch, cluster) = (Scratch::new("restart"), Cluster::start(&TOPICS));
    // The first call of the webhook is refused and comes again later, perhaps by another run.
    let mut sinks = Sinks::start(vec![Reply::status(503)]);
    let rules = rules(&scratch, sinks.hook);
    let setup = |workers| Setup { workers, smtp: Some(sinks.smtp), rules: rules.clone(), ..Setup::default() };
    // Drift from 3 h on fires at 4 h 30; no stop is at the border of a window.
    let stops = [(1, 2 * HOUR + 17 * MINUTE), (3, 4 * HOUR + 48 * MINUTE), (2, 7 * HOUR)];
    let mut emissions = Vec::new();
    let mut deliveries = Vec::new();
    let mut from = 0;
    for (run, (workers, to)) in stops.into_iter().enumerate() {
        let agent = if run % 2 == 0 {
            // These records come while it is away.
            STREAM.send(&cluster, from, to);
            cluster.flush();
            setup(workers).start(&scratch, &cluster)
        } else {
            let agent = setup(workers).start(&scratch, &cluster);
            STREAM.send(&cluster, from, to);
            cluster.flush();
            agent
        };
        agent.wait_received(cluster.total());
        if run == 2 {
            STREAM.send_last(&cluster, 13 * HOUR);
            cluster.flush();
            agent.wait_received(cluster.total());
            agent.wait_for("the last windows are closed", || agent.windows("2h").get(&(START + 9 * HOUR)).map(|_| ()));
            agent.wait_for("nothing waits to be delivered", || {
                let outbox = agent.get("/api/v1/outbox")?;
                outbox.contains("\"depth\":0").then_some(())
            });
        }
        let seen = agent.stop();
        emissions.extend(seen.emissions);
        deliveries.extend(seen.deliveries);
        from = to;
    }

    let replayed = setup(1).replay(&scratch, &cluster, 1);
    let last_end = START + 9 * HOUR;
    let lines = result_lines(&emissions);
    let live = until(latest(lines.iter().map(String::as_str)), last_end);
    assert_same(&live, &expected(&replayed.lines, last_end), "three runs");
    // Nothing was said twice, in whatever revision: each window closed once.
    let closed: Vec<_> = emissions
        .iter()
        .filter_map(|emission| match emission {
            Emission::Window(closed) if closed.is_first => Some((closed.summary.window.name.clone(), closed.summary.window.start)),
            _ => None,
        })
        .collect();
    assert_eq!(closed.len(), closed.iter().collect::<BTreeSet<_>>().len(), "{closed:?}");

    let episodes = firing_episodes(&emissions);
    assert_eq!(episodes.len(), 1, "{episodes:?}");
    let of_replay = replayed.lines.iter().any(|line| line.json.contains("\"state\":\"firing\"") && line.json.contains(&episodes[0]));
    assert!(of_replay, "the replay has the same episode");
    let keys = delivered(&deliveries);
    assert_eq!(keys.len(), 3, "{deliveries:?}");
    let (mails, hooks) = sinks.take();
    assert_eq!(mails.len(), 1);
    let accepted: Vec<&str> = hooks.iter().filter(|hook| hook.status == 200).map(|hook| hook.path.as_str()).collect();
    assert_eq!((hooks.len(), accepted.len()), (3, 2), "{hooks:?}");
}

#[test]
fn what_is_delivered_while_the_agent_ends_is_not_delivered_again() {
    let (scratch, cluster) = (Scratch::new("last-words"), Cluster::start(&TOPICS));
    let hook = SlowHook::start();
    let rules = format!(
        "groups:
  - name: g
    model: loan
    rules:
      - {{ alert: Drift, each: [feature], source: {{ metric: psi, window: 1h }}, value: psi, min_samples: 300, fire: {{ critical: {{ above: 0.25, for: 1 windows }} }} }}
route: {{ receiver: hook }}
receivers: [ {{ name: hook, webhook_configs: [ {{ url: \"http://{}/\" }} ] }} ]
",
        hook.address
    );
    // Checkpoints are written only where a delivery waits for one.
    let setup = Setup { rules, labels: false, checkpoint_interval: "1h", ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    STREAM.send(&cluster, 0, 5 * HOUR);
    cluster.flush();
    agent.wait_for("the webhook is called", || (!hook.ids().is_empty()).then_some(()));
    let before = agent.seen(|seen| seen.checkpoints);
    assert!(before > 0, "nothing is sent before its cause is stored");
    agent.handle.stop();
    agent.wait_while_ending("the last checkpoint", |seen| seen.checkpoints > before);
    hook.answer();
    let seen = agent.ended();
    assert_eq!(delivered(&seen.deliveries).len(), 1, "{:?}", seen.deliveries);

    let agent = setup.start(&scratch, &cluster);
    STREAM.send(&cluster, 5 * HOUR, 6 * HOUR);
    cluster.flush();
    agent.wait_for("later windows are closed", || agent.windows("1h").get(&(START + 4 * HOUR + 30 * MINUTE)).map(|_| ()));
    let seen = agent.stop();
    assert!(delivered(&seen.deliveries).is_empty(), "{:?}", seen.deliveries);
    assert_eq!(hook.ids().len(), 1);
}

#[test]
fn poison_is_counted_by_its_reason_and_harms_nothing() {
    let (scratch, cluster) = (Scratch::new("poison"), Cluster::start(&[(PREDICTIONS, 5), (LABELS, 2)]));
    let setup = Setup { idle_timeout: "1s", ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    let at = START + HOUR;
    // The cluster keeps 5 MiB of a partition: the giant has one of its own.
    cluster.send(PREDICTIONS, 4, at, vec![b' '; 10 << 20]);
    cluster.flush();
    agent.wait_received(1);

    let good = |id: u64| prediction(id, at, 0);
    let text = |id: u64| String::from_utf8(good(id)).unwrap();
    let poison: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"rubbish".to_vec()),
        ("not_json", good(1)[..100].to_vec()),
        ("not_json", vec![0xff, 0xfe, 0x00, 0x80]),
        ("not_an_object", b"[1,2,3]".to_vec()),
        ("not_an_object", b"null".to_vec()),
        ("empty", Vec::new()),
        ("unknown_kind", text(2).replace("\"prediction\",\"model\"", "\"wish\",\"model\"").into_bytes()),
        ("missing_model", text(3).replace("\"model\":\"loan\",", "").into_bytes()),
        ("unknown_model", text(4).replace("\"loan\"", "\"cats\"").into_bytes()),
        ("bad_time", text(5).replace(&format!("\"ts\":{at}"), "\"ts\":\"yesterday\"").into_bytes()),
        ("future", prediction(6, at + 6 * MINUTE, 0)),
        ("bad_features", text(7).replace("\"features\":{", "\"features\":7,\"more\":{").into_bytes()),
        ("missing_prediction", format!(r#"{{"event":"prediction","model":"loan","id":"x","ts":{at}}}"#).into_bytes()),
        ("bad_prediction", text(8).replace("\"score\":", "\"score\":9").into_bytes()),
        ("bad_prediction", text(9).replace("\"score\":", "\"score\":\"high\",\"more\":").into_bytes()),
        ("missing_id", format!(r#"{{"event":"label","model":"loan","ts":{at},"label":"repaid"}}"#).into_bytes()),
        ("missing_label", format!(r#"{{"event":"label","model":"loan","id":"x","ts":{at}}}"#).into_bytes()),
        ("bad_label", format!(r#"{{"event":"label","model":"loan","id":"x","ts":{at},"label":"perhaps"}}"#).into_bytes()),
    ];
    let mut wanted = std::collections::BTreeMap::from([("oversize", 1u64), ("empty", 1)]);
    for (place, (reason, value)) in poison.into_iter().enumerate() {
        *wanted.entry(reason).or_default() += 1;
        let partition = i32::try_from(place % 4).unwrap();
        cluster.send(PREDICTIONS, partition, at, good(1_000 + place as u64));
        cluster.send(PREDICTIONS, partition, at, value);
    }
    cluster.send_tombstone(PREDICTIONS, 2, at);
    // Bad values are no poison: the event counts, and the value as what it is.
    cluster.send(PREDICTIONS, 0, at, text(2_000).replace("\"income\":", "\"income\":NaN,\"before\":").into_bytes());
    cluster.send(PREDICTIONS, 0, at, text(2_001).replace("\"age\":", "\"age\":\"old\",\"before\":").into_bytes());
    cluster.send(PREDICTIONS, 0, at, text(2_002).replace("\"income\":", "\"income\":-Infinity,\"before\":").into_bytes());
    cluster.send(PREDICTIONS, 0, at, text(2_003).replace("\"country\":\"", "\"country\":\"\\u0000").into_bytes());
    cluster.send(PREDICTIONS, 0, at, format!(r#"{{"event":"prediction","model":"loan","id":"bare","score":0.5,"ts":{at}}}"#).into_bytes());
    cluster.flush();
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["rejected"], serde_json::json!(wanted), "{status}");
    assert_eq!(status["outcomes"]["counted"], 18 + 5, "{status}");
    assert_eq!(status["nonstandard_json"], 2, "{status}");
    assert_eq!(status["unknown_feature"], 3, "{status}");

    STREAM.send_last(&cluster, 4 * HOUR);
    cluster.flush();
    agent.wait_for("the window with the poison is closed", || agent.windows("1h").get(&at).filter(|window| window.n == 23).map(|_| ()));
    agent.stop();
}

const BACKLOG_PARTITIONS: i32 = 16;
/// Records of each partition, one a second of event time.
const BACKLOG: u64 = 12_500;

fn send_backlog(cluster: &Cluster) {
    for place in 0..BACKLOG {
        for partition in 0..BACKLOG_PARTITIONS {
            let ts = START + i64::try_from(place).unwrap() * 1_000;
            cluster.send(PREDICTIONS, partition, ts, prediction(place * 16 + partition.unsigned_abs() as u64, ts, 0));
        }
    }
    for partition in 0..BACKLOG_PARTITIONS {
        let ts = START + 12 * HOUR;
        cluster.send(PREDICTIONS, partition, ts, prediction(9_000_000, ts, 0));
    }
    cluster.flush();
}

/// Of so much, the counts of the first hours.
fn check_backlog(windows: &BTreeMap<i64, WindowSummary>) {
    let full = 3_600 * u64::from(BACKLOG_PARTITIONS.unsigned_abs());
    let counts: Vec<u64> = windows.values().map(|window| window.n).collect();
    assert_eq!(counts[..5], [full, full, full, (BACKLOG - 3 * 3_600) * 16, 0], "{counts:?}");
    assert!(windows.values().all(|window| window.partitions == (16, 16) && window.complete));
}

#[test]
fn a_backlog_larger_than_every_queue_flows_through_whole() {
    let (scratch, cluster) = (Scratch::new("backlog"), Cluster::start(&[(PREDICTIONS, BACKLOG_PARTITIONS)]));
    send_backlog(&cluster);
    let setup = Setup { workers: 4, memory: "32MiB", labels: false, windows: "[ { name: 1h, size: 1h } ]", ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["outcomes"]["counted"], cluster.total(), "{status}");
    let windows = agent.wait_for("all windows are closed", || {
        let windows = agent.windows("1h");
        windows.contains_key(&(START + 10 * HOUR)).then_some(windows)
    });
    check_backlog(&windows);
    agent.stop();
}

/// Checkpoints follow each other, and full workers answer late: many an end comes into one of them. Panes are sealed all the
/// time, so that what a checkpoint leaves out is counted twice or not at all.
#[test]
fn an_end_in_the_middle_of_a_checkpoint_loses_nothing() {
    let (scratch, cluster) = (Scratch::new("ends"), Cluster::start(&[(PREDICTIONS, BACKLOG_PARTITIONS)]));
    send_backlog(&cluster);
    let setup = Setup {
        workers: 4,
        memory: "32MiB",
        labels: false,
        windows: "[ { name: 1m, size: 1m } ]",
        checkpoint_interval: "100ms",
        ..Setup::default()
    };
    let mut emissions = Vec::new();
    let mut received = 0;
    for _ in 0..5 {
        if received == cluster.total() {
            break;
        }
        let agent = setup.start(&scratch, &cluster);
        received = agent.wait_for("it has gone on", || agent.status()?["received"].as_u64().filter(|now| *now > received));
        emissions.extend(agent.stop().emissions);
    }
    let agent = setup.start(&scratch, &cluster);
    agent.wait_for("all windows are closed", || agent.status().filter(|status| status["event_time"] == "2024-01-01T12:00:00.000Z"));
    emissions.extend(agent.stop().emissions);
    let windows = windows(&emissions, "1m");
    let full = 60 * u64::from(BACKLOG_PARTITIONS.unsigned_abs());
    let wrong: Vec<_> = windows.values().take(BACKLOG as usize / 60).filter(|window| window.n != full).collect();
    assert!(wrong.is_empty(), "{} windows, such as {:?}", wrong.len(), wrong[0]);
}

#[test]
fn other_windows_keep_the_positions_and_start_anew() {
    let (scratch, cluster) = (Scratch::new("layout"), Cluster::start(&TOPICS));
    let quiet = Setup { labels: false, ..Setup::default() };
    let agent = quiet.start(&scratch, &cluster);
    STREAM.send(&cluster, 0, 2 * HOUR + 20 * MINUTE);
    cluster.flush();
    let before = cluster.recorded(PREDICTIONS).lines().count() as u64;
    agent.wait_received(before);
    agent.stop();

    STREAM.send(&cluster, 2 * HOUR + 20 * MINUTE, 6 * HOUR);
    STREAM.send_last(&cluster, 9 * HOUR);
    cluster.flush();
    let after = cluster.recorded(PREDICTIONS).lines().count() as u64 - before;
    let changed = Setup { windows: "[ { name: 1h, size: 1h, slide: 15m } ]", ..quiet };
    let agent = changed.start(&scratch, &cluster);
    agent.wait_received(before + after);
    let windows = agent.wait_for("windows are closed", || {
        let windows = agent.windows("1h");
        windows.contains_key(&(START + 5 * HOUR)).then_some(windows)
    });
    assert!(kafka_support::log().contains("its windows begin anew"), "{}", kafka_support::log());
    let first = windows.values().next().unwrap();
    assert!(!first.complete && first.n > 0 && *first.gaps == ["baseline_changed".into()], "{first:?}");
    let whole = &windows[&(START + 4 * HOUR)];
    let replayed = changed.replay(&scratch, &cluster, 1);
    let line = driftline::event::result_line::window_line(whole);
    assert!(whole.complete && replayed.lines.iter().any(|other| other.json == line), "{line}");
    // And the next start goes on from there.
    agent.stop();
    let agent = changed.start(&scratch, &cluster);
    agent.wait_received(before + after);
    let seen = agent.stop();
    assert!(windows_before(&seen.emissions, START + 9 * HOUR).is_empty());
}

fn windows_before(emissions: &[Emission], end: i64) -> Vec<Timestamp> {
    windows(emissions, "1h").values().map(|window| window.window.end).filter(|at| at.0 < end).collect()
}

/// Events of a model beside `loan`, of all partitions.
fn send_of(cluster: &Cluster, model: &str, from: i64, to: i64) {
    for at in (from..to).step_by(5_000) {
        let (id, shift) = (u64::try_from(at / 5_000).unwrap(), if at >= STREAM.drift { 25 } else { 0 });
        let event = String::from_utf8(prediction(id, START + at, shift)).unwrap();
        let event = event.replace("\"model\":\"loan\"", &format!("\"model\":\"{model}\""));
        cluster.send(PREDICTIONS, i32::try_from(id % 4).unwrap(), START + at, event.into_bytes());
    }
}

#[test]
fn a_change_of_one_model_leaves_the_windows_and_alerts_of_the_others() {
    const WINDOWS: &str = "[ { name: 1h, size: 1h, slide: 30m } ]";
    const CHANGED: &str = "[ { name: 1h, size: 1h, slide: 30m }, { name: 30m, size: 30m } ]";
    let (scratch, cluster) = (Scratch::new("models"), Cluster::start(&TOPICS));
    let mut sinks = Sinks::start(Vec::new());
    let group = |model: &str| {
        format!(
            "  - name: {model}-drift
    model: {model}
    rules:
      - {{ alert: Drift, each: [feature], source: {{ metric: psi, window: 1h }}, value: psi, min_samples: 200, fire: {{ critical: {{ above: 0.25, for: 1 windows }} }} }}
"
        )
    };
    let signing = format!("signing: {{ standard_webhooks: {{ secret_file: \"{}\" }} }}", scratch.write("whsec", SECRET).display());
    let hook = format!("{{ url: \"http://{}/\", {signing} }}", sinks.hook);
    let route = format!("route: {{ receiver: hook }}\nreceivers: [ {{ name: hook, webhook_configs: [ {hook} ] }} ]\n");
    let setup = |others, models: &[&str]| {
        let groups: String = models.iter().map(|model| group(model)).collect();
        Setup { others, rules: format!("groups:\n{groups}{route}"), ..Setup::default() }
    };
    let stop = 4 * HOUR + 48 * MINUTE;
    let send = |from, to| {
        // Partitions have one watermark for all models.
        for from in (from..to).step_by(60_000) {
            STREAM.send(&cluster, from, from + MINUTE);
            ["claims", "extra"].into_iter().for_each(|model| send_of(&cluster, model, from, from + MINUTE));
        }
        cluster.flush();
    };
    let hooks_are = |agent: &kafka_support::agent::Agent, count: usize| {
        agent.wait_for("the alerts are told", || agent.seen(|seen| (delivered(&seen.deliveries).len() >= count).then_some(())));
    };

    send(0, stop);
    let agent = setup(&[("claims", WINDOWS)], &["loan", "claims"]).start(&scratch, &cluster);
    agent.wait_received(cluster.total());
    hooks_are(&agent, 2);
    let mut emissions = agent.stop().emissions;
    let told = sinks.take().1;
    assert_eq!(told.len(), 2, "{told:?}");

    // One is new and before all others, and one is changed.
    let both = setup(&[("extra", WINDOWS), ("claims", CHANGED)], &["loan", "claims"]);
    let agent = both.start(&scratch, &cluster);
    send(stop, 8 * HOUR);
    STREAM.send_last(&cluster, 13 * HOUR);
    cluster.flush();
    let is_last = |emission: &Emission| match emission {
        Emission::Window(closed) => &*closed.summary.model == "loan" && closed.summary.window.end.0 == START + 11 * HOUR,
        Emission::Happening { .. } => false,
    };
    agent.wait_for("all windows are closed", || agent.seen(|seen| seen.emissions.iter().any(is_last).then_some(())));
    agent.wait_received(cluster.total());
    let seen = agent.stop();
    emissions.extend(seen.emissions);
    let again = sinks.take().1;
    assert!(again.is_empty(), "nobody is told twice: {again:?}");

    let last_end = START + 9 * HOUR;
    let of = |model: &str, lines: Vec<String>| -> Vec<String> {
        let wanted = format!("\"model\":\"{model}\"");
        lines.into_iter().filter(|line| line.contains(&wanted)).collect()
    };
    let replayed = both.replay(&scratch, &cluster, 1);
    let lines = result_lines(&emissions);
    let live = of("loan", until(latest(lines.iter().map(String::as_str)), last_end));
    assert_same(&live, &of("loan", expected(&replayed.lines, last_end)), "the model that nothing was changed of");
    for (model, reason) in [("claims", "baseline_changed"), ("extra", "model_added")] {
        let closed = emissions.iter().filter_map(|emission| match emission {
            Emission::Window(closed) if *closed.summary.model == *model && &*closed.summary.window.name == "1h" => Some(&closed.summary),
            _ => None,
        });
        let open: Vec<_> = closed.filter(|window| window.window.start.0 <= START + stop && window.window.end.0 > START + stop).collect();
        assert!(open.len() >= 2, "{model}: {open:?}");
        assert!(open.iter().all(|window| !window.complete && window.gaps.iter().any(|gap| **gap == *reason)), "{model}: {open:?}");
        let whole = emissions.iter().filter_map(|emission| match emission {
            Emission::Window(closed) if *closed.summary.model == *model && closed.summary.complete => Some(closed.summary.window.start.0),
            _ => None,
        });
        assert!(whole.max().is_some_and(|start| start >= START + 7 * HOUR), "{model}");
    }

    // Without the model and its rules its alert is over, and who was told of it hears so.
    let agent = setup(&[], &["loan"]).start(&scratch, &cluster);
    hooks_are(&agent, 1);
    agent.wait_received(cluster.total());
    let seen = agent.stop();
    assert_eq!(delivered(&seen.deliveries).len(), 1, "{:?}", seen.deliveries);
    assert!(delivered(&seen.deliveries)[0].contains("/resolved/"), "{:?}", seen.deliveries);
    assert!(result_lines(&seen.emissions).iter().any(|line| line.contains("\"model\":\"claims\"") && line.contains("retired")));
}
