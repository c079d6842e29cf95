//! The agent and a Kafka that misbehaves: idle and silent partitions, records that are gone, brokers that fail, members
//! that come and go.

#![allow(clippy::disallowed_methods)] // what runs is waited for in real time

mod kafka_support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driftline::engine::Emission;
use driftline::event::{Span, Timestamp, TopicRole, WindowSummary};
use driftline::kafka::Connection;
use driftline::source::kafka::{Consumer, GroupProtocol, Notification, Routing, Settings, StartAt, Topic};
use driftline::source::{Batch, Registry};
use kafka_support::agent::{Setup, result_lines};
use kafka_support::cluster::{Cluster, LABELS, PREDICTIONS};
use kafka_support::stream::{HOUR, MINUTE, START, Stream, prediction};
use kafka_support::{PATIENCE, Scratch, assert_same, latest, until, wait_for};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const STREAM: Stream = Stream { partitions: 4, step: 10_000, drift: 100 * HOUR, labels: false };

fn quiet() -> Setup {
    Setup { labels: false, windows: "[ { name: 1h, size: 1h } ]", ..Setup::default() }
}

/// A consumer without an agent around it.
fn settings(cluster: &Cluster, group: &str, heartbeat: &str) -> Settings {
    let properties = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", heartbeat)];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.into()));
    Settings {
        connection: Connection::new(cluster.address(), &properties.into(), || Timestamp(0)).unwrap(),
        group_id: group.into(),
        instance_id: None,
        protocol: GroupProtocol::Classic,
        topics: vec![Topic { name: PREDICTIONS.into(), role: TopicRole::Predictions }],
        start: StartAt::Earliest,
        look_back: Span(0),
        max_bytes: 1000,
        headers: false,
        idle_after: Span::MINUTE,
        queue_kib: 1024,
        // All partitions leave before any comes back.
        is_joining: true,
        resume: None,
    }
}

/// Sends one event a minute to one partition; times are in milliseconds after the start.
fn send(cluster: &Cluster, partition: i32, from: i64, to: i64) -> u64 {
    let mut count = 0;
    let mut at = from;
    while at < to {
        let id = u64::try_from(at * 10 + i64::from(partition)).unwrap();
        cluster.send(PREDICTIONS, partition, START + at, prediction(id, START + at, 0));
        at += MINUTE;
        count += 1;
    }
    count
}

#[test]
fn idle_partitions_hold_no_window_open_and_restate_them_when_they_return() {
    let (scratch, cluster) = (Scratch::new("idle"), Cluster::start(&[(PREDICTIONS, 3)]));
    // Partition 2 has never had a record, partition 1 ends early.
    send(&cluster, 0, 0, 6 * HOUR);
    send(&cluster, 1, 0, 2 * HOUR + 10 * MINUTE);
    cluster.flush();
    // What came for a closed window is kept for as long as the longest window is.
    let windows = "[ { name: 1h, size: 1h }, { name: 12h, size: 12h, slide: 1h } ]";
    let agent = Setup { idle_timeout: "1s", windows, ..quiet() }.start(&scratch, &cluster);
    agent.wait_received(cluster.total());
    let closed = |start: i64, revision: u32| {
        let windows = agent.windows("1h");
        windows.get(&(START + start)).filter(|window| window.revision == revision).cloned()
    };
    let window = agent.wait_for("windows close without partition 1", || closed(4 * HOUR, 0));
    assert_eq!((window.n, window.partitions), (60, (3, 3)), "{window:?}");
    assert_eq!(closed(HOUR, 0).unwrap().n, 120);
    assert_eq!(closed(2 * HOUR, 0).unwrap().n, 70);

    // They are not late: nothing of their own partition is ahead of them.
    send(&cluster, 1, 2 * HOUR + 10 * MINUTE, 3 * HOUR + 30 * MINUTE);
    cluster.flush();
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["outcomes"]["counted"], cluster.total(), "{status}");
    let restated = agent.wait_for("closed windows are restated", || {
        // Hours back only the long windows are: a short one is restated for an hour.
        let windows = agent.windows("12h");
        let of = |end: i64| windows.get(&(START + end - 12 * HOUR)).filter(|window| window.revision > 0).cloned();
        let both = of(3 * HOUR).zip(of(4 * HOUR))?;
        ((both.0.n, both.1.n) == (360, 450)).then_some(both)
    });
    assert_eq!((restated.0.partitions, restated.1.partitions), ((3, 3), (3, 3)), "{restated:?}");
    assert_eq!(closed(HOUR, 0).unwrap().n, 120, "a window that nothing came for is not restated");

    // The partition is idle again, and a record of another one closes windows without it.
    send(&cluster, 0, 6 * HOUR, 8 * HOUR);
    cluster.flush();
    agent.wait_for("windows close again", || closed(6 * HOUR, 0));
    agent.stop();
}

#[test]
fn a_partition_that_lags_behind_in_event_time_is_not_idle() {
    let (scratch, cluster) = (Scratch::new("lagging"), Cluster::start(&[(PREDICTIONS, 4)]));
    // All partitions share a worker, and their records a batch.
    let agent = Setup { idle_timeout: "3s", workers: 1, ..quiet() }.start(&scratch, &cluster);
    agent.wait_for("partitions are assigned", || agent.seen(|seen| seen.assigned.contains(&4)).then_some(()));
    for minute in 0..240 {
        for partition in 0..4 {
            // Partition 3 is three hours behind.
            let from = minute * MINUTE + if partition == 3 { 0 } else { 3 * HOUR };
            send(&cluster, partition, from, from + MINUTE);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    cluster.flush();
    agent.wait_received(cluster.total());
    let seen = agent.stop();
    let closed: Vec<(i64, u64, u32)> = seen
        .emissions
        .iter()
        .filter_map(|emission| match emission {
            Emission::Window(closed) => Some(&closed.summary),
            Emission::Happening { .. } => None,
        })
        .map(|summary| ((summary.window.start.0 - START) / HOUR, summary.n, summary.revision))
        .collect();
    assert_eq!(closed[..3], [(0, 60, 0), (1, 60, 0), (2, 60, 0)], "{closed:?}");
    assert!(closed.len() <= 3 || closed[3] == (3, 240, 0), "{closed:?}");
}

#[test]
fn records_that_are_gone_leave_a_gap_and_reading_goes_on() {
    let (scratch, cluster) = (Scratch::new("gap"), Cluster::start(&[(PREDICTIONS, 2)]));
    let agent = quiet().start(&scratch, &cluster);
    for partition in 0..2 {
        send(&cluster, partition, 0, 2 * HOUR + 20 * MINUTE);
    }
    cluster.flush();
    agent.wait_received(280);
    agent.stop();

    // The cluster keeps the newest 5 MiB: what the agent has not read of partition 0 is gone before it returns.
    let mut at = 2 * HOUR + 20 * MINUTE;
    while at < 5 * HOUR {
        let mut value = prediction(u64::try_from(at).unwrap(), START + at, 0);
        value.pop();
        value.extend_from_slice(format!(",\"padding\":\"{}\"}}", "x".repeat(200_000)).as_bytes());
        cluster.send(PREDICTIONS, 0, START + at, value);
        at += 2 * MINUTE;
    }
    send(&cluster, 1, 2 * HOUR + 20 * MINUTE, 5 * HOUR);
    cluster.flush();
    let agent = quiet().start(&scratch, &cluster);
    agent.wait_for("windows go on", || agent.windows("1h").get(&(START + 3 * HOUR)).map(|_| ()));
    for partition in 0..2 {
        send(&cluster, partition, 5 * HOUR, 8 * HOUR);
    }
    cluster.flush();
    let windows = agent.wait_for("later windows are closed", || {
        let windows = agent.windows("1h");
        windows.contains_key(&(START + 6 * HOUR)).then_some(windows)
    });
    let touched = |start: i64| {
        let window: &WindowSummary = &windows[&(START + start)];
        let gaps: Vec<String> = window.gaps.iter().map(ToString::to_string).collect();
        (window.complete, gaps.iter().any(|gap| gap.contains("could not be read")))
    };
    assert_eq!(touched(2 * HOUR), (false, true), "{windows:?}");
    assert_eq!(touched(3 * HOUR), (false, true), "{windows:?}");
    assert_eq!(touched(6 * HOUR), (true, false), "{windows:?}");
    assert_eq!(windows[&(START + 6 * HOUR)].n, 120, "both partitions are read");
    let status = agent.status().unwrap();
    assert!(status["received"].as_u64().unwrap() < cluster.total(), "{status}");
    let alerts: Vec<String> =
        result_lines(&agent.stop().emissions).into_iter().filter(|line| line.contains("IngestGap") && line.contains("firing")).collect();
    assert_eq!(alerts.len(), 1, "one alert says so, without any rule in a file: {alerts:?}");
    assert!(alerts[0].contains("\"state\":\"firing\"") && alerts[0].contains(&format!("\"topic\":\"{PREDICTIONS}\"")), "{alerts:?}");
}

#[test]
fn trouble_with_brokers_costs_nothing_but_time() {
    let (scratch, cluster) = (Scratch::new("brokers"), Cluster::start(&[(PREDICTIONS, 4), (LABELS, 2)]));
    let setup = Setup { labels: true, ..Setup::default() };
    let stream = Stream { labels: true, ..STREAM };
    let agent = setup.start(&scratch, &cluster);
    stream.send(&cluster, 0, 2 * HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());

    // Reading fails for a while, in every way that a client must get over.
    use RDKafkaRespErr as Code;
    let errors = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    cluster.mock.request_errors(RDKafkaApiKey::Fetch, &errors.repeat(3));
    stream.send(&cluster, 2 * HOUR, 3 * HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());

    // The group forgets the member: its partitions are lost and come back.
    let before = agent.seen(|seen| seen.assigned.len());
    cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    agent.wait_for("partitions come back", || agent.seen(|seen| seen.assigned.len() > before).then_some(()));
    stream.send(&cluster, 3 * HOUR, 4 * HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());

    // The only broker is away longer than the session.
    cluster.mock.broker_down(1).unwrap();
    stream.send(&cluster, 4 * HOUR, 5 * HOUR);
    std::thread::sleep(Duration::from_secs(8));
    cluster.mock.broker_up(1).unwrap();
    stream.send(&cluster, 5 * HOUR, 7 * HOUR);
    stream.send_last(&cluster, 13 * HOUR);
    cluster.flush();
    let status = agent.wait_received(cluster.total());
    assert!(status["partitions"].as_array().unwrap().len() == 6, "{status}");
    agent.wait_for("all windows are closed", || agent.windows("2h").get(&(START + 9 * HOUR)).map(|_| ()));
    let seen = agent.stop();
    let last_end = START + 9 * HOUR;
    let replayed = setup.replay(&scratch, &cluster, 1);
    let expected = until(latest(replayed.lines.iter().map(|line| line.json.as_str())), last_end);
    let lines = result_lines(&seen.emissions);
    assert_same(&until(latest(lines.iter().map(String::as_str)), last_end), &expected, "after trouble");
}

#[test]
fn a_partition_is_not_idle_because_no_broker_answers() {
    let (scratch, cluster) = (Scratch::new("silent"), Cluster::start(&[(PREDICTIONS, 2)]));
    let agent = Setup { idle_timeout: "5s", ..quiet() }.start(&scratch, &cluster);
    agent.wait_for("partitions are assigned", || agent.seen(|seen| seen.assigned.contains(&2)).then_some(()));
    // Partition 1 is behind, and more of it will come.
    send(&cluster, 0, 0, 3 * HOUR + 10 * MINUTE);
    send(&cluster, 1, 0, 2 * HOUR + 10 * MINUTE);
    cluster.flush();
    agent.wait_received(cluster.total());
    cluster.mock.broker_down(1).unwrap();
    let is_closed = |start: i64| agent.windows("1h").contains_key(&(START + start));
    agent.wait_for("the window before is closed", || is_closed(HOUR).then_some(()));
    std::thread::sleep(Duration::from_secs(12));
    assert!(!is_closed(2 * HOUR), "nobody has said that partition 1 has ended: {:?}", agent.windows("1h"));
    cluster.mock.broker_up(1).unwrap();
    // Now somebody does.
    let window = agent.wait_for("the window is closed without it", || agent.windows("1h").get(&(START + 2 * HOUR)).cloned());
    assert_eq!((window.n, window.revision), (70, 0), "{window:?}");
    agent.stop();
}

#[test]
fn a_member_whose_place_is_taken_ends_and_says_why() {
    let (scratch, cluster) = (Scratch::new("fenced"), Cluster::start(&[(PREDICTIONS, 2)]));
    let agent = Setup { kafka: "instance_id: pod-0", ..quiet() }.start(&scratch, &cluster);
    send(&cluster, 0, 0, HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    let error = agent.failed();
    assert!(error.starts_with("kafka: another member of group 'driftline' is 'pod-0': no two agents may have the same"), "{error}");
    // What it had counted is stored.
    let agent = quiet().start(&scratch, &cluster);
    agent.wait_received(cluster.total());
    agent.stop();
}

#[test]
fn a_member_that_fences_itself_joins_again() {
    let (scratch, cluster) = (Scratch::new("self-fenced"), Cluster::start(&[(PREDICTIONS, 2)]));
    let agent = Setup { kafka: "instance_id: pod-0", ..quiet() }.start(&scratch, &cluster);
    send(&cluster, 0, 0, HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    // The session ends, and what is asked of the coordinator before it has taken the member in again names another one.
    let lose = |times: usize| {
        cluster.mock.request_errors(RDKafkaApiKey::JoinGroup, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID].repeat(times));
        cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    };
    let before = agent.seen(|seen| seen.assigned.len());
    lose(1);
    agent.wait_for("partitions come back", || agent.seen(|seen| seen.assigned.len() > before).then_some(()));
    send(&cluster, 0, HOUR, 2 * HOUR);
    send(&cluster, 1, 0, 2 * HOUR);
    cluster.flush();
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["received"], cluster.total(), "nothing is read twice: {status}");
    agent.wait_for("commits go on", || (cluster.committed("driftline", PREDICTIONS, 2) == cluster.total()).then_some(()));
    // But not for ever.
    lose(20);
    let error = agent.failed();
    assert!(error.starts_with("kafka: another member of group 'driftline' is 'pod-0'"), "{error}");
}

/// The loop learns of the end of its session only after it was fenced for what librdkafka asked without a session.
#[test]
fn a_member_that_fences_itself_while_its_workers_are_full_joins_again() {
    // Together they hold the loop up for twelve seconds: longer than what follows takes, on a slow machine, too.
    const WORKERS: usize = 24;
    let cluster = Cluster::start(&[(PREDICTIONS, i32::try_from(WORKERS).unwrap())]);
    let settings = Settings { instance_id: Some("pod-0".into()), ..settings(&cluster, "full", "500") };
    // Each worker that takes nothing holds the loop up for half a second.
    let (batches, taken): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| crossbeam_channel::bounded::<Batch>(0)).unzip();
    let (_empties, empties) = crossbeam_channel::bounded(8);
    let (notifications, notified) = crossbeam_channel::unbounded();
    let routing = Routing { workers: batches, empties };
    let consumer = Consumer::start(settings, Registry::default(), routing, notifications, || Timestamp(0)).unwrap();
    let wait_until = |what: &str, is_it: fn(&Notification) -> bool| {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let told = notified.recv_deadline(until).expect(what);
            assert!(!matches!(told, Notification::Fatal(_)), "{told:?}");
            if is_it(&told) {
                return;
            }
        }
    };
    wait_until("assigned", |told| matches!(told, Notification::Assigned(_)));
    for partition in 0..WORKERS {
        cluster.send(PREDICTIONS, i32::try_from(partition).unwrap(), START, b"0".to_vec());
    }
    cluster.flush();
    // The loop has met the first of them, and is held up by all others.
    std::thread::sleep(Duration::from_millis(2_500));
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID];
    cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &errors);
    std::thread::sleep(Duration::from_secs(3));
    assert!(!notified.try_iter().any(|told| matches!(told, Notification::Revoked(_))), "the loop was not held up");
    let handed = Arc::new(AtomicUsize::new(0));
    for batches in taken {
        let handed = Arc::clone(&handed);
        std::thread::spawn(move || batches.iter().for_each(|batch| _ = handed.fetch_add(batch.len(), Ordering::SeqCst)));
    }
    wait_until("revoked", |told| matches!(told, Notification::Revoked(_)));
    wait_until("assigned again", |told| matches!(told, Notification::Assigned(_)));
    for partition in 0..WORKERS {
        cluster.send(PREDICTIONS, i32::try_from(partition).unwrap(), START, b"1".to_vec());
    }
    cluster.flush();
    let handed = || handed.load(Ordering::SeqCst);
    wait_for("all is read", || handed().to_string(), || (handed() >= 2 * WORKERS).then_some(()));
    consumer.stop();
    assert_eq!(handed(), 2 * WORKERS, "each record is handed on once");
}

#[test]
fn a_coordinator_that_does_not_tell_the_commit_is_asked_again() {
    let (scratch, cluster) = (Scratch::new("commit"), Cluster::start(&[(PREDICTIONS, 2)]));
    let setup = |state| Setup { state, kafka: "start: latest", ..quiet() };
    let agent = Setup { kafka: "start: earliest", ..setup("first") }.start(&scratch, &cluster);
    send(&cluster, 0, 0, HOUR);
    send(&cluster, 1, 0, HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    agent
        .wait_for("the coordinator knows the commit", || (cluster.committed("driftline", PREDICTIONS, 2) == cluster.total()).then_some(()));
    agent.stop();
    send(&cluster, 0, HOUR, 2 * HOUR);
    cluster.flush();

    // Without its state the agent goes by the commit, and without the commit it would begin at the end.
    cluster.mock.request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
    let agent = setup("second").start(&scratch, &cluster);
    agent.wait_for("it says so", || kafka_support::log().contains("does not tell where to begin").then_some(()));
    agent.wait_received(cluster.total());
    agent.stop();
}

#[test]
fn an_agent_ends_while_no_broker_answers() {
    let (scratch, cluster) = (Scratch::new("gone"), Cluster::start(&[(PREDICTIONS, 4)]));
    let agent = quiet().start(&scratch, &cluster);
    STREAM.send(&cluster, 0, HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    cluster.mock.broker_down(1).unwrap();
    agent.wait_for("the agent has noticed", || kafka_support::log().contains("brokers are down").then_some(()));
    agent.stop();
    // Nothing is lost by that.
    cluster.mock.broker_up(1).unwrap();
    let agent = quiet().start(&scratch, &cluster);
    STREAM.send(&cluster, HOUR, 2 * HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    agent.stop();
    // And one that has never been answered ends, too.
    cluster.mock.broker_down(1).unwrap();
    let agent = quiet().start(&scratch, &cluster);
    agent.wait_for("it listens", || agent.seen(|seen| seen.address).map(|_| ()));
    agent.stop();
}

#[test]
fn two_members_share_the_partitions_and_one_takes_them_back() {
    let (scratch, cluster) = (Scratch::new("members"), Cluster::start(&[(PREDICTIONS, 4)]));
    let setup = |state| Setup { state, idle_timeout: "1s", ..quiet() };
    let first = setup("first").start(&scratch, &cluster);
    STREAM.send(&cluster, 0, 2 * HOUR);
    cluster.flush();
    first.wait_received(cluster.total());
    first.wait_for("a checkpoint", || first.seen(|seen| seen.checkpoints > 0).then_some(()));

    let second = setup("second").start(&scratch, &cluster);
    second.wait_for("the second member gets partitions", || second.seen(|seen| seen.assigned.iter().any(|count| *count > 0)).then_some(()));
    STREAM.send(&cluster, 2 * HOUR, 4 * HOUR);
    cluster.flush();
    // Between them they have read everything, and neither has read anything twice.
    let position = |agent: &kafka_support::agent::Agent| -> Vec<(i64, u64)> {
        let status = agent.status().unwrap_or_default();
        let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
        partitions.iter().map(|partition| (partition["partition"].as_i64().unwrap(), partition["position"].as_u64().unwrap())).collect()
    };
    wait_for(
        "both have read on",
        || format!("{:?} {:?}", position(&first), position(&second)),
        || {
            let mut reached = [0u64; 4];
            for (partition, position) in position(&first).into_iter().chain(position(&second)) {
                let slot = &mut reached[usize::try_from(partition).unwrap()];
                *slot = position.max(*slot);
            }
            (reached.iter().sum::<u64>() == cluster.total()).then_some(())
        },
    );
    assert!(second.seen(|seen| seen.assigned.iter().sum::<usize>()) < 4, "the first member keeps some");
    second.stop();

    // What the second member has read is read by the first one, too, from where it had stopped.
    STREAM.send(&cluster, 4 * HOUR, 5 * HOUR);
    cluster.flush();
    let status = first.wait_received(cluster.total());
    assert_eq!(status["received"], cluster.total(), "{status}");
    first.stop();
}

/// A worker that stands still has its partitions paused. Where it goes on while they are on the way from hand to hand, those
/// that come back are read.
#[test]
fn partitions_that_were_paused_when_they_left_are_read_when_they_come_back() {
    const RECORDS: usize = 10_000;
    let cluster = Cluster::start(&[(PREDICTIONS, 2)]);
    for place in 0..RECORDS {
        for partition in 0..2 {
            cluster.send(PREDICTIONS, partition, START, place.to_string().into_bytes());
        }
    }
    cluster.flush();
    let settings = settings(&cluster, "paused", "100");
    // One worker with room for one batch, whose batches are taken here.
    let (batches, taken) = crossbeam_channel::bounded::<Batch>(1);
    let (empties, routing) = crossbeam_channel::bounded(8);
    let (notifications, notified) = crossbeam_channel::unbounded();
    let routing = Routing { workers: vec![batches], empties: routing };
    let consumer = Consumer::start(settings, Registry::default(), routing, notifications, || Timestamp(0)).unwrap();
    let wait_until = |what: &str, mut is_it: Box<dyn FnMut(&Notification) -> bool>| {
        let until = std::time::Instant::now() + PATIENCE;
        while !is_it(&notified.recv_deadline(until).expect(what)) {}
    };
    // Positions that are the same a second later: nothing is read any more, though nearly everything lies ahead.
    let wait_until_paused = || {
        let mut before = Vec::new();
        wait_until(
            "paused",
            Box::new(move |told| match told {
                Notification::Progress { lag, .. } => {
                    let ahead: i64 = lag.iter().map(|(_, lag)| lag).sum();
                    let stands = ahead > 0 && *lag == before;
                    before.clone_from(lag);
                    stands
                }
                _ => false,
            }),
        );
    };
    wait_until_paused();
    let second: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.address())
        .set("group.id", "paused")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    second.subscribe(&[PREDICTIONS]).unwrap();
    let _ = second.poll(Duration::ZERO);
    wait_until("assigned again", Box::new(|told| matches!(told, Notification::Assigned(_))));
    // What has come back is paused, too, and the loop goes on.
    wait_until_paused();
    drop(second);
    wait_until("revoked", Box::new(|told| matches!(told, Notification::Revoked(_))));
    let next: RefCell<BTreeMap<i32, i64>> = RefCell::default();
    wait_for(
        "both partitions are read to their ends",
        || format!("{:?}", next.borrow()),
        || {
            while let Ok(mut batch) = taken.recv_timeout(Duration::from_millis(100)) {
                next.borrow_mut().extend(batch.records().map(|(head, ..)| (head.partition, head.offset + 1)));
                batch.clear();
                let _ = empties.try_send(batch);
            }
            (next.borrow().values().filter(|next| usize::try_from(**next).unwrap() == RECORDS).count() == 2).then_some(())
        },
    );
    consumer.stop();
}
