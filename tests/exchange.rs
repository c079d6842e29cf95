//! The exchange against a Kafka cluster in this process: tickets, followers, the election and its hand-over, reading again.
//!
//! What that cluster cannot do (creating topics, compaction, settings of topics) is tried on a real one by the services tier.

#![allow(clippy::disallowed_methods)] // what runs is waited for in real time

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driftline::event::{Span, Timestamp};
use driftline::exchange::topic::{TopicError, input_partitions, prepare};
use driftline::exchange::{Follower, Heard, Outgoing, Owners, Publisher, Range, Read, Refused, Reread, Settings, Ticket, Which};
use driftline::kafka::Connection;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use secrecy::SecretString;

/// Long for any machine: two cores may be shared with a compiler.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;

/// A clock that stands still: nobody pauses.
fn now() -> Timestamp {
    Timestamp(0)
}

struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn start() -> Cluster {
        let cluster = Cluster(MockCluster::new(1).unwrap());
        for topic in ["risk.panes", "risk.owners"] {
            cluster.0.create_topic(topic, PARTITIONS, 1).unwrap();
        }
        cluster
    }

    fn settings(&self) -> Settings {
        let librdkafka = [("session.timeout.ms", "6000"), ("retry.backoff.ms", "50"), ("reconnect.backoff.max.ms", "200")];
        Settings {
            connection: Connection::new(
                self.0.bootstrap_servers(),
                &librdkafka.map(|(key, value)| (key.to_owned(), SecretString::from(value))).into(),
                || Timestamp(0),
            )
            .unwrap(),
            instance_id: None,
            group_id: "risk".into(),
            panes: Settings::default_panes("risk"),
            owners: Settings::default_owners("risk"),
            partitions: PARTITIONS,
            replication: None,
            retention: Span::DAY,
            record_bytes: 100_000,
            queue_kib: 1024,
        }
    }
}

fn pane(partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing { topic: Which::Panes, partition, key: key.into(), value: Some(value.into()) }
}

fn decision(partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing { topic: Which::Owners, ..pane(partition, key, value) }
}

/// Publishes and waits until all of it is acknowledged.
fn publish(publisher: &Publisher, records: Vec<Outgoing>) {
    let ticket = publisher.publish(records).unwrap();
    let ack = publisher.acks().recv_timeout(PATIENCE).unwrap();
    assert_eq!((ack.ticket, ack.result), (ticket, Ok(())));
}

/// The panes `from..to` of every partition, ten at a time.
fn publish_panes(publisher: &Publisher, from: usize, to: usize) {
    for partition in 0..PARTITIONS {
        for first in (from..to).step_by(10) {
            let records = (first..to.min(first + 10)).map(|number| pane(partition, &format!("k{number}"), &format!("{number}")));
            publish(publisher, records.collect());
        }
    }
}

/// What was handed on: partition, offset, key, value.
type Log = Arc<Mutex<Vec<(i32, i64, String, Option<String>)>>>;

fn follow(settings: &Settings) -> (Follower, Log) {
    let log = Log::default();
    let into = Arc::clone(&log);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let follower = Follower::start(settings, PARTITIONS, move |record| {
        into.lock().unwrap().push((record.partition, record.offset, text(record.key), record.value.map(text)));
    });
    (follower.unwrap(), log)
}

#[test]
fn every_ticket_is_acknowledged_once_and_order_is_kept() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    let mut tickets = Vec::new();
    for number in 0..300 {
        let partition = number % PARTITIONS;
        let value = format!("{number}");
        tickets.push(publisher.publish(vec![pane(partition, "a", &value), pane(partition, "b", &value)]).unwrap());
    }
    let gone = Outgoing { topic: Which::Panes, partition: 0, key: b"a".to_vec(), value: None };
    tickets.push(publisher.publish(vec![gone]).unwrap());
    tickets.push(publisher.publish(vec![]).unwrap());
    assert!(tickets.is_sorted());
    assert!(publisher.flush(PATIENCE));
    let mut acked: Vec<Ticket> = Vec::new();
    while acked.len() < tickets.len() {
        let ack = publisher.acks().recv_timeout(PATIENCE).unwrap();
        assert_eq!(ack.result, Ok(()));
        acked.push(ack.ticket);
    }
    acked.sort();
    assert_eq!(acked, tickets);
    assert!(publisher.acks().is_empty());

    let (follower, log) = follow(&cluster.settings());
    follower.barrier(PATIENCE).unwrap();
    let log = log.lock().unwrap();
    for partition in 0..PARTITIONS {
        let found: Vec<(String, Option<String>)> =
            log.iter().filter(|record| record.0 == partition).map(|record| (record.2.clone(), record.3.clone())).collect();
        let of = |number: i32| ["a", "b"].map(|key| (key.to_owned(), Some(number.to_string())));
        let mut wanted: Vec<_> = (0..300).filter(|number| number % PARTITIONS == partition).flat_map(of).collect();
        if partition == 0 {
            wanted.push(("a".to_owned(), None));
        }
        assert_eq!(found, wanted, "partition {partition}");
    }
}

#[test]
fn a_record_that_is_too_large_is_refused_by_name() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    let large = pane(1, "the large one", &"x".repeat(100_000));
    let refused = publisher.publish(vec![pane(0, "small", "x"), large]).unwrap_err();
    assert_eq!(refused, Refused::Oversize { key: "the large one".into(), bytes: 100_013, limit: 100_000 });
    assert_eq!(refused.to_string(), "the record the large one has 100013 bytes, more than the 100000 that are allowed");
    // The largest that may be goes out, and nothing of what was refused did.
    publish(&publisher, vec![pane(1, "fits", &"x".repeat(99_996))]);
    let (follower, log) = follow(&cluster.settings());
    follower.barrier(PATIENCE).unwrap();
    let keys: Vec<String> = log.lock().unwrap().iter().map(|record| record.2.clone()).collect();
    assert_eq!(keys, ["fits"]);
}

#[test]
fn without_a_broker_the_queue_fills_tickets_fail_and_it_goes_on_afterwards() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish(&publisher, vec![pane(0, "before", "x")]);
    cluster.0.broker_down(-1).unwrap();
    let value = "x".repeat(90_000);
    let begun = Instant::now();
    let (mut tickets, mut refused) = (Vec::new(), None);
    for number in 0..100 {
        match publisher.publish(vec![pane(0, &format!("k{number}"), &value)]) {
            Ok(ticket) => tickets.push(ticket),
            Err(full) => {
                refused = Some(full);
                break;
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "the caller waited");
    // 11 of 90,002 bytes are within 1 MiB.
    assert_eq!(tickets.len(), 11);
    // The ticket before may be given back a moment after its acknowledgement can be read.
    assert!(matches!(refused, Some(Refused::Full { bytes, tickets: 11 | 12 }) if bytes == 10 * 90_002 + 90_003), "{refused:?}");
    // Two thirds of the session: 4 s.
    for ticket in tickets {
        let ack = publisher.acks().recv_timeout(PATIENCE).unwrap();
        assert_eq!(ack.ticket, ticket);
        let failure = ack.result.unwrap_err();
        assert!(failure.starts_with("risk.panes[0]: ") && failure.contains("timed out"), "{failure}");
    }
    cluster.0.broker_up(-1).unwrap();
    publish(&publisher, vec![pane(0, "after", "x")]);
}

#[test]
fn a_producer_that_gave_up_is_made_anew() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish(&publisher, vec![pane(0, "a", "x")]);
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.0.request_errors(RDKafkaApiKey::Produce, &[lost; 3]);
    let until = Instant::now() + PATIENCE;
    let mut failed = 0;
    loop {
        publisher.publish(vec![pane(0, "a", "y")]).unwrap();
        match publisher.acks().recv_timeout(PATIENCE).unwrap().result {
            Ok(()) if failed > 0 => break,
            Ok(()) => {}
            Err(_) => failed += 1,
        }
        assert!(Instant::now() < until, "it never recovered; {failed} tickets failed");
    }
    publish(&publisher, vec![pane(0, "a", "z")]);
}

#[test]
fn a_barrier_stands_until_all_that_was_there_is_handed_on() {
    let cluster = Cluster::start();
    let (follower, log) = follow(&cluster.settings());
    follower.barrier(PATIENCE).unwrap();
    assert_eq!(log.lock().unwrap().len(), 0, "the topic is empty");
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    let mut count = 0;
    for round in 0..20 {
        let records: Vec<Outgoing> = (0..PARTITIONS).flat_map(|at| (0..round * 7).map(move |_| pane(at, "k", "v"))).collect();
        count += records.len();
        publish(&publisher, records);
        follower.barrier(PATIENCE).unwrap();
        assert_eq!(log.lock().unwrap().len(), count, "round {round}");
    }
    cluster.0.broker_down(-1).unwrap();
    let failure = follower.barrier(Duration::from_secs(1)).unwrap_err();
    assert!(failure.starts_with("the end of risk.panes: "), "{failure}");
    cluster.0.broker_up(-1).unwrap();
    follower.barrier(PATIENCE).unwrap();
    assert_eq!(log.lock().unwrap().len(), count, "nothing is handed on twice");
}

/// What one member heard, checked against the order that is promised.
#[derive(Default)]
struct Journal {
    /// By partition that is owned: decisions and panes since the assignment, whether decided, whether caught up.
    owned: BTreeMap<i32, Held>,
    revoked: usize,
    troubles: Vec<String>,
}

#[derive(Clone, Default)]
struct Held {
    decisions: Vec<String>,
    panes: Vec<String>,
    next: [i64; 2],
    is_decided: bool,
    is_caught_up: bool,
}

impl Journal {
    fn hear(&mut self, heard: Heard) {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        match heard {
            Heard::Assigned(partitions) => {
                for partition in partitions {
                    assert!(self.owned.insert(partition, Held::default()).is_none(), "{partition} was ours already");
                }
            }
            Heard::Revoked(partitions) => {
                self.revoked += partitions.len();
                for partition in partitions {
                    assert!(self.owned.remove(&partition).is_some(), "{partition} was not ours");
                }
            }
            Heard::Decision { partition, offset, value, .. } => {
                let held = self.held(partition);
                assert!(!held.is_decided && offset >= held.next[0], "a decision of {partition} at {offset}: {:?}", held.next);
                held.next[0] = offset + 1;
                held.decisions.push(text(value));
            }
            Heard::Decided(partition) => {
                let held = self.held(partition);
                assert!(!held.is_decided);
                held.is_decided = true;
            }
            Heard::Pane { partition, offset, value, .. } => {
                let held = self.held(partition);
                assert!(held.is_decided && offset >= held.next[1], "a pane of {partition} at {offset}: {:?}", held.next);
                held.next[1] = offset + 1;
                held.panes.push(text(value));
            }
            Heard::CaughtUp(partition) => {
                let held = self.held(partition);
                assert!(held.is_decided && !held.is_caught_up);
                held.is_caught_up = true;
            }
            Heard::Trouble(trouble) => self.troubles.push(trouble),
            Heard::Fatal(reason) => panic!("{reason}"),
        }
    }

    fn held(&mut self, partition: i32) -> &mut Held {
        self.owned.get_mut(&partition).unwrap_or_else(|| panic!("{partition} is not ours"))
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.owned.keys().copied().collect()
    }

    fn is_caught_up(&self, panes: usize) -> bool {
        self.owned.values().all(|held| held.is_caught_up && held.panes.len() == panes)
    }
}

/// Listens to all members until something is so.
fn listen(members: &mut [(&Owners, &mut Journal)], what: &str, mut is_so: impl FnMut(&[(&Owners, &mut Journal)]) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so(members) {
        for (owners, journal) in members.iter_mut() {
            while let Ok(heard) = owners.heard().recv_timeout(Duration::from_millis(10)) {
                journal.hear(heard);
            }
        }
        let seen: Vec<_> = members.iter().map(|(_, journal)| (journal.partitions(), &journal.troubles)).collect();
        assert!(Instant::now() < until, "waited in vain: {what}: {seen:?}");
    }
}

#[test]
fn an_owner_hears_all_decisions_then_all_panes_and_a_second_one_takes_over() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish(&publisher, (0..3).map(|number| decision(1, "model", &format!("decided {number}"))).collect());
    publish(&publisher, vec![decision(2, "other", "decided")]);
    publish_panes(&publisher, 0, 100);

    let (mut left, mut right) = (Journal::default(), Journal::default());
    let first = Owners::start(&cluster.settings(), now).unwrap();
    listen(&mut [(&first, &mut left)], "the first one owns all", |members| members[0].1.owned.len() == 4 && members[0].1.is_caught_up(100));
    let numbers = |to: usize| (0..to).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(left.owned[&1].decisions, ["decided 0", "decided 1", "decided 2"]);
    assert_eq!(left.owned[&2].decisions, ["decided"]);
    assert_eq!(left.owned[&0].decisions, Vec::<String>::new());
    assert_eq!(left.owned[&3].panes, numbers(100));
    assert!(left.owned.values().all(|held| held.is_caught_up));

    // New panes follow; new decisions are the owner's own and are not told.
    publish(&publisher, vec![decision(0, "model", "decided 3")]);
    publish_panes(&publisher, 100, 150);
    listen(&mut [(&first, &mut left)], "new panes follow", |members| members[0].1.is_caught_up(150));
    assert_eq!(left.owned[&0].decisions, Vec::<String>::new());

    let second = Owners::start(&cluster.settings(), now).unwrap();
    let mut published = 150;
    listen(&mut [(&first, &mut left), (&second, &mut right)], "both own some", |members| {
        // What comes during the hand-over is lost for nobody.
        if published < 400 {
            publish_panes(&publisher, published, published + 10);
            published += 10;
        }
        members.iter().all(|(_, journal)| journal.owned.len() == 2 && journal.is_caught_up(published))
    });
    assert_eq!(left.revoked, 2);
    assert!(left.partitions().is_disjoint(&right.partitions()));
    for (partition, held) in left.owned.iter().chain(&right.owned) {
        assert_eq!(held.panes, numbers(published), "partition {partition}");
    }
    let moved = right.owned.get(&0).map_or(left.owned.get(&0), Some).unwrap();
    assert!(right.owned.contains_key(&0) == (moved.decisions == ["decided 3"]), "{:?}", moved.decisions);

    // The first one goes; everything is read once more by the other one.
    let kept = right.partitions();
    drop(first);
    listen(&mut [(&second, &mut right)], "the second one owns all", |members| {
        members[0].1.owned.len() == 4 && members[0].1.is_caught_up(published)
    });
    assert!(right.partitions().is_superset(&kept));
    assert_eq!(right.owned[&1].decisions.len(), 3);
    assert_eq!(right.owned[&0].decisions, ["decided 3"]);
    assert!(left.troubles.is_empty() && right.troubles.is_empty(), "{:?} {:?}", left.troubles, right.troubles);
}

#[test]
fn an_owner_that_is_busy_keeps_its_partitions_and_loses_nothing() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish(&publisher, (0..600).map(|number| decision(3, "model", &number.to_string())).collect());
    publish_panes(&publisher, 0, 500);
    let owners = Owners::start(&cluster.settings(), now).unwrap();
    // Longer than the session: who does not poll is put out of the group.
    let until = Instant::now() + PATIENCE;
    while !owners.heard().is_full() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(8));
    let mut journal = Journal::default();
    listen(&mut [(&owners, &mut journal)], "all is heard", |members| members[0].1.owned.len() == 4 && members[0].1.is_caught_up(500));
    assert_eq!(journal.revoked, 0);
    assert_eq!(journal.owned[&3].decisions, (0..600).map(|number| number.to_string()).collect::<Vec<_>>());
    for held in journal.owned.values() {
        assert_eq!(held.panes, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn an_owner_survives_a_broker_that_is_away() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish_panes(&publisher, 0, 20);
    let owners = Owners::start(&cluster.settings(), now).unwrap();
    let mut journal = Journal::default();
    listen(&mut [(&owners, &mut journal)], "all is owned", |members| members[0].1.owned.len() == 4 && members[0].1.is_caught_up(20));
    cluster.0.broker_down(-1).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    cluster.0.broker_up(-1).unwrap();
    publish_panes(&publisher, 20, 40);
    listen(&mut [(&owners, &mut journal)], "new panes follow", |members| members[0].1.owned.len() == 4 && members[0].1.is_caught_up(40));
    assert!(!journal.troubles.is_empty(), "nobody was told");
}

#[test]
fn an_owner_that_fences_itself_joins_again() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish_panes(&publisher, 0, 20);
    let owners = Owners::start(&Settings { instance_id: Some("pod-0".into()), ..cluster.settings() }, now).unwrap();
    let mut journal = Journal::default();
    listen(&mut [(&owners, &mut journal)], "all is owned", |members| members[0].1.owned.len() == 4 && members[0].1.is_caught_up(20));
    // The session ends, and what is asked of the coordinator before it has taken the member in again names another one.
    let lose = |times: usize| {
        cluster.0.request_errors(RDKafkaApiKey::JoinGroup, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID].repeat(times));
        cluster.0.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    };
    lose(1);
    listen(&mut [(&owners, &mut journal)], "all is owned again", |members| {
        let journal = &members[0].1;
        journal.revoked == 4 && journal.owned.len() == 4 && journal.is_caught_up(20)
    });
    assert!(journal.troubles.iter().any(|trouble| trouble.contains("a request outlived its session")), "{:?}", journal.troubles);
    publish_panes(&publisher, 20, 40);
    listen(&mut [(&owners, &mut journal)], "new panes follow", |members| members[0].1.is_caught_up(40));
    // But not for ever.
    lose(20);
    let until = Instant::now() + PATIENCE;
    loop {
        match owners.heard().recv_deadline(until).unwrap() {
            Heard::Fatal(reason) => break assert!(reason.contains("fenced"), "{reason}"),
            heard => journal.hear(heard),
        }
    }
}

#[test]
fn ranges_are_read_again_up_to_their_end() {
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    publish_panes(&publisher, 0, 3000);
    publish(&publisher, vec![decision(1, "model", "decided"), decision(1, "model", &"x".repeat(500)), decision(1, "model", "not read")]);
    let range = |topic: &str, partition, until| Range { topic: topic.to_owned(), partition, from: Timestamp(1), least: 0, until };
    // The third one is empty, the fourth ends where nothing has been written yet.
    let ranges = vec![range("risk.panes", 1, 2500), range("risk.owners", 1, 2), range("risk.panes", 2, 0), range("risk.panes", 3, 9000)];
    let reread = Reread::start(&cluster.settings(), ranges.clone(), 100, true).unwrap();
    let mut read: Vec<Vec<(i64, String, Option<usize>)>> = vec![Vec::new(); ranges.len()];
    let mut chunks = 0;
    loop {
        match reread.read().recv_timeout(PATIENCE).unwrap() {
            Read::Records(chunk) => {
                assert!(!chunk.is_empty());
                chunks += 1;
                for (head, key, value) in chunk.records() {
                    assert!(head.timestamp.is_some());
                    assert!(key.starts_with(b"k") || key == b"model");
                    read[head.range].push((head.offset, String::from_utf8(value.to_vec()).unwrap(), head.oversize));
                }
            }
            Read::Trouble(trouble) | Read::Failed(trouble) => panic!("{trouble}"),
            Read::Done => break,
        }
    }
    let panes = |to: i64| (0..to).map(|offset| (offset, offset.to_string(), None)).collect::<Vec<_>>();
    assert_eq!(read[0], panes(2500));
    assert_eq!(read[1], [(0, "decided".to_owned(), None), (1, String::new(), Some(500))]);
    assert_eq!(read[2], []);
    assert_eq!(read[3], panes(3000));
    assert!(chunks < 100, "records came in {chunks} chunks");
}

#[test]
fn reading_again_ends_when_nobody_wants_it_any_more() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "exchange-reread")).count()
    };
    let cluster = Cluster::start();
    let publisher = Publisher::start(&cluster.settings()).unwrap();
    for _ in 0..50 {
        publish(&publisher, vec![pane(0, "k", &"x".repeat(90_000))]);
    }
    let ranges = vec![Range { topic: "risk.panes".into(), partition: 0, from: Timestamp(0), least: 0, until: 50 }];
    let reread = Reread::start(&cluster.settings(), ranges, 100_000, false).unwrap();
    let until = Instant::now() + PATIENCE;
    while !reread.read().is_full() {
        assert!(Instant::now() < until, "more was to be read than waits");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(threads() > 0);
    drop(reread);
    // That of the other test ends, too.
    while threads() > 0 {
        assert!(Instant::now() < until, "it reads on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn topics_of_a_broker_that_cannot_be_asked_are_used_with_a_warning() {
    let cluster = Cluster::start();
    let prepared = prepare(&cluster.settings()).unwrap();
    assert_eq!(prepared.partitions, PARTITIONS);
    assert_eq!(prepared.warnings.len(), 2, "{:?}", prepared.warnings);
    assert!(prepared.warnings[0].starts_with("the settings of the topic risk.panes cannot be read"), "{:?}", prepared.warnings);

    let settings = Settings { owners: "risk.other".into(), ..cluster.settings() };
    let error = prepare(&settings).unwrap_err();
    assert!(matches!(&error, TopicError::Create { topic, .. } if topic == "risk.other"), "{error}");
    assert!(error.to_string().contains("--create --topic risk.other --partitions 4 --replication-factor 1"), "{error}");

    cluster.0.create_topic("risk.few", 2, 1).unwrap();
    let settings = Settings { owners: "risk.few".into(), ..cluster.settings() };
    let error = prepare(&settings).unwrap_err();
    assert!(matches!(&error, TopicError::Wrong(faults) if faults.len() == 1), "{error}");
    assert!(error.to_string().contains("risk.panes has 4 partitions and risk.few has 2"), "{error}");

    let topics = ["risk.few".to_owned(), "risk.panes".to_owned()];
    assert_eq!(input_partitions(&cluster.settings(), &topics).unwrap(), BTreeMap::from([("risk.few".into(), 2), ("risk.panes".into(), 4)]));
    let error = input_partitions(&cluster.settings(), &["risk.few".to_owned(), "no.such".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "no such topic, or no permission to describe it: no.such");
    cluster.0.broker_down(-1).unwrap();
}
