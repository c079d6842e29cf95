//! Records that nobody can use: they arrive in the dead-letter topic as they were, no more of them than anybody can read, and
//! a topic that takes none stops what it was told to stop and nothing else.

#![allow(clippy::disallowed_methods)] // what runs is waited for in real time

mod kafka_support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use driftline::engine::Emission;
use driftline::rule::{Happening, State};
use kafka_support::agent::{Agent, Setup};
use kafka_support::cluster::{Cluster, LABELS, PREDICTIONS};
use kafka_support::hook::SlowHook;
use kafka_support::stream::{HOUR, MINUTE, START, Stream, prediction};
use kafka_support::{Scratch, wait_for};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use serde_json::Value;

const LETTERS: &str = "loan.dead";
/// Partitions of the dead-letter topic.
const PARTITIONS: i32 = 2;
const TOPICS: [(&str, i32); 3] = [(PREDICTIONS, 4), (LABELS, 2), (LETTERS, PARTITIONS)];
const STREAM: Stream = Stream { partitions: 4, step: 10_000, drift: 100 * HOUR, labels: false };
/// The built-in rule of schema is off: what is looked at is the rate.
const NO_FLOOD: &str =
    "groups: [ { name: g, rules: [ { alert: SchemaDrift, kind: schema, enabled: false, fire: { warning: { above: 0.5 } } } ] } ]";

type Whole = (String, Option<Vec<u8>>);

/// A letter as a consumer finds it.
#[derive(Clone, Debug)]
struct Found {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Option<i64>,
    headers: Vec<Whole>,
}

impl Found {
    fn say(&self, name: &str) -> String {
        let name = format!("__drift.errors.{name}");
        let values: Vec<_> = self.headers.iter().filter(|(header, _)| *header == name).collect();
        assert!(values.len() <= 1, "{name} is there more than once: {:?}", self.headers);
        values.first().and_then(|(_, value)| value.clone()).map(|value| String::from_utf8(value).unwrap()).unwrap_or_default()
    }

    fn own_headers(&self) -> Vec<Whole> {
        self.headers.iter().filter(|(name, _)| !name.starts_with("__drift.errors.")).cloned().collect()
    }
}

/// Reads the dead-letter topic from its beginning.
struct Reader {
    consumer: BaseConsumer,
    found: Mutex<Vec<Found>>,
}

impl Reader {
    fn new(cluster: &Cluster) -> Reader {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.address())
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("fetch.message.max.bytes", "20000000")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        (0..PARTITIONS).for_each(|partition| all.add_partition_offset(LETTERS, partition, Offset::Beginning).unwrap());
        consumer.assign(&all).unwrap();
        Reader { consumer, found: Mutex::default() }
    }

    /// All letters so far.
    fn read(&self) -> Vec<Found> {
        let mut found = self.found.lock().unwrap();
        while let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) {
            let headers = message.headers().map_or(Vec::new(), |headers| {
                headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
            });
            found.push(Found {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                timestamp: message.timestamp().to_millis(),
                headers,
            });
        }
        found.clone()
    }

    fn wait_for(&self, letters: usize) -> Vec<Found> {
        let seen = || format!("{:?}", self.read().iter().map(|letter| letter.say("reason")).collect::<Vec<_>>());
        wait_for(&format!("{letters} letters"), seen, || Some(self.read()).filter(|found| found.len() >= letters))
    }
}

fn letters(agent: &Agent) -> Value {
    agent.status().map(|status| status["dead_letters"].clone()).unwrap_or_default()
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().map_or(0, |counts| counts.values().map(|count| count.as_u64().unwrap()).sum())
}

/// The transitions of one alert: the state it went to, and its topic.
fn transitions(agent: &Agent, alert: &str) -> Vec<(State, String)> {
    agent.seen(|seen| {
        let of = seen.emissions.iter().filter_map(|emission| match emission {
            Emission::Happening { happening, .. } => match &**happening {
                Happening::Transition { alert: view, to, .. } if view.alert == alert => Some((*to, view.labels["topic"].clone())),
                _ => None,
            },
            Emission::Window(_) => None,
        });
        of.collect()
    })
}

fn rubbish(cluster: &Cluster, count: usize) {
    (0..count).for_each(|place| cluster.send(PREDICTIONS, 0, START + HOUR, format!("rubbish {place}").into_bytes()));
    cluster.flush();
}

#[test]
fn poison_of_each_reason_arrives_as_it_was() {
    let topics = [(PREDICTIONS, 5), (LABELS, 2), (LETTERS, PARTITIONS)];
    let (scratch, cluster) = (Scratch::new("verbatim"), Cluster::start(&topics));
    let setup = Setup { dead_letters: "{ topic: loan.dead }", ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    let at = START + HOUR;
    // The cluster keeps 5 MiB of a partition: the giant has one of its own.
    let giant_headers: Vec<Whole> = vec![("trace".into(), Some(b"giant".to_vec()))];
    cluster.send_whole(PREDICTIONS, 4, at, Some(b"giant"), Some(&vec![b' '; 10 << 20]), &giant_headers);
    cluster.flush();
    agent.wait_received(1);

    let text = |id: u64| String::from_utf8(prediction(id, at, 0)).unwrap();
    let poison: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"rubbish".to_vec()),
        ("not_json", vec![0xff, 0xfe, 0x00, 0x80]),
        ("not_an_object", b"[1,2,3]".to_vec()),
        ("empty", Vec::new()),
        ("unknown_kind", text(2).replace("\"prediction\",\"model\"", "\"wish\",\"model\"").into_bytes()),
        ("missing_model", text(3).replace("\"model\":\"loan\",", "").into_bytes()),
        ("unknown_model", text(4).replace("\"loan\"", "\"cats\"").into_bytes()),
        ("bad_time", text(5).replace(&format!("\"ts\":{at}"), "\"ts\":\"yesterday\"").into_bytes()),
        ("future", prediction(6, at + 6 * MINUTE, 0)),
        ("bad_features", text(7).replace("\"features\":{", "\"features\":7,\"more\":{").into_bytes()),
        ("missing_prediction", format!(r#"{{"event":"prediction","model":"loan","id":"x","ts":{at}}}"#).into_bytes()),
        ("bad_prediction", text(8).replace("\"score\":", "\"score\":9").into_bytes()),
        ("missing_id", format!(r#"{{"event":"label","model":"loan","ts":{at},"label":"repaid"}}"#).into_bytes()),
        ("missing_label", format!(r#"{{"event":"label","model":"loan","id":"x","ts":{at}}}"#).into_bytes()),
        ("bad_label", format!(r#"{{"event":"label","model":"loan","id":"x","ts":{at},"label":"perhaps"}}"#).into_bytes()),
    ];
    // What is late, has no match, or is a tombstone is no poison.
    cluster.send(PREDICTIONS, 0, at, prediction(100, at, 0));
    cluster.send(PREDICTIONS, 0, at, prediction(101, at - 30 * MINUTE, 0));
    cluster.send_tombstone(PREDICTIONS, 0, at);
    cluster.send(LABELS, 0, at, kafka_support::stream::label(999, at));
    let mut sent = BTreeMap::new();
    for (place, (reason, value)) in poison.into_iter().enumerate() {
        let key = [None, Some(b"".to_vec()), Some(format!("key {place}").into_bytes())][place % 3].clone();
        let mut headers: Vec<Whole> =
            vec![("traceparent".into(), Some(vec![0, 0xff])), ("nothing".into(), None), ("empty".into(), Some(vec![]))];
        headers.push(("traceparent".into(), Some(b"again".to_vec())));
        if place % 2 == 1 {
            headers.clear();
        }
        if reason == "future" {
            // It was a letter before.
            headers.push(("__drift.errors.attempt".into(), Some(b"1".to_vec())));
            headers.push(("__drift.errors.reason".into(), Some(b"bad_time".to_vec())));
        }
        let partition = i32::try_from(place % 3).unwrap();
        let offset = cluster.send_whole(PREDICTIONS, partition, at + 1, key.as_deref(), Some(&value), &headers);
        sent.insert((partition, offset), (reason, key, value, headers));
    }
    cluster.flush();
    let reader = Reader::new(&cluster);
    let found = reader.wait_for(sent.len() + 1);
    let status = agent.wait_received(cluster.total());
    assert_eq!((found.len(), reader.read().len()), (sent.len() + 1, sent.len() + 1), "nothing else is a letter");

    for letter in &found {
        let reason = letter.say("reason");
        assert_eq!((letter.say("topic"), letter.say("group")), (PREDICTIONS.to_owned(), "driftline".to_owned()));
        assert_eq!(letter.say("agent_version"), env!("CARGO_PKG_VERSION"));
        assert!(
            !letter.say("message").is_empty() && ["read", "decode", "map", "check"].contains(&letter.say("stage").as_str()),
            "{letter:?}"
        );
        let place: (i32, i64) = (letter.say("partition").parse().unwrap(), letter.say("offset").parse().unwrap());
        if reason == "oversize" {
            assert_eq!((place, letter.value.clone(), letter.key.as_deref()), ((4, 0), None, Some(&b"giant"[..])));
            assert_eq!((letter.say("truncated"), letter.own_headers()), ((10 << 20).to_string(), giant_headers.clone()));
            continue;
        }
        let (wanted, key, value, headers) = sent.remove(&place).unwrap_or_else(|| panic!("{place:?} was sent twice: {letter:?}"));
        assert_eq!((reason.as_str(), &letter.key, letter.value.as_ref()), (wanted, &key, Some(&value)));
        let headers: Vec<Whole> = headers.into_iter().filter(|(name, _)| !name.starts_with("__drift")).collect();
        assert_eq!(letter.own_headers(), headers, "{reason}");
        assert_eq!((letter.timestamp, letter.say("timestamp")), (Some(at + 1), (at + 1).to_string()));
        assert_eq!(letter.say("attempt"), if reason == "future" { "2" } else { "1" });
        assert_eq!(letter.say("truncated"), "");
    }
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!((&status["outcomes"]["late"], &status["rejected"]["empty"]), (&1.into(), &2.into()), "{status}");
    let letters = agent.wait_for("letters are counted", || Some(letters(&agent)).filter(|letters| sum(&letters["sent"]) == 16));
    assert_eq!((&letters["sent"]["not_json"], &letters["sent"]["empty"]), (&2.into(), &1.into()), "{letters}");
    assert_eq!((sum(&letters["failed"]), sum(&letters["suppressed"]), &letters["waiting"]), (0, 0, &0.into()), "{letters}");
    let metrics = agent.get("/metrics").unwrap();
    assert!(metrics.contains("driftline_dead_letters_total{outcome=\"sent\",reason=\"not_json\"} 2"), "{metrics}");
    agent.stop();
}

#[test]
fn no_more_letters_of_a_reason_are_sent_than_its_rate() {
    let (scratch, cluster) = (Scratch::new("rate"), Cluster::start(&TOPICS));
    let dead_letters = "{ topic: loan.dead, rate: 1 }";
    let agent = Setup { dead_letters, workers: 3, rules: NO_FLOOD.into(), ..Setup::default() }.start(&scratch, &cluster);
    for place in 0..400 {
        cluster.send(PREDICTIONS, place % 4, START + HOUR, b"rubbish".to_vec());
    }
    (0..5).for_each(|_| cluster.send(PREDICTIONS, 1, START + HOUR, b"[]".to_vec()));
    cluster.flush();
    agent.wait_received(405);
    let letters = agent.wait_for("all is accounted for", || {
        let letters = letters(&agent);
        (sum(&letters["sent"]) + sum(&letters["suppressed"]) == 405).then_some(letters)
    });
    let sent = letters["sent"]["not_json"].as_u64().unwrap();
    // The burst, and a few for the seconds that reading took.
    assert!((10..=40).contains(&sent), "{letters}");
    assert_eq!((&letters["sent"]["not_an_object"], &letters["suppressed"]["not_an_object"]), (&5.into(), &Value::Null), "{letters}");
    let reader = Reader::new(&cluster);
    assert_eq!(reader.wait_for(usize::try_from(sent + 5).unwrap()).len() as u64, sent + 5);
    assert!(transitions(&agent, "SchemaDrift").is_empty());
    agent.stop();
}

#[test]
fn a_flood_is_one_alert_and_no_letters_until_it_is_over() {
    let (scratch, cluster) = (Scratch::new("flood"), Cluster::start(&TOPICS));
    let hook = SlowHook::start();
    hook.answer();
    let rules = format!(
        "route: {{ receiver: hook }}\nreceivers: [ {{ name: hook, webhook_configs: [ {{ url: \"http://{}/\" }} ] }} ]",
        hook.address
    );
    let setup = Setup { dead_letters: "{ topic: loan.dead, rate: 1 }", rules, labels: false, ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    STREAM.send(&cluster, 0, HOUR);
    rubbish(&cluster, 200);
    let firing = vec![(State::Firing, PREDICTIONS.to_owned())];
    agent.wait_for("an alert", || (transitions(&agent, "SchemaDrift") == firing).then_some(()));
    agent.wait_for("somebody is told", || (hook.ids().len() == 1).then_some(()));
    let view = agent.seen(|seen| {
        let found = seen.emissions.iter().rev().find_map(|emission| match emission {
            Emission::Happening { happening, .. } => match &**happening {
                Happening::Notice(notice) => Some(notice.alert.clone()),
                _ => None,
            },
            Emission::Window(_) => None,
        });
        found.unwrap()
    });
    assert_eq!(
        view.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        ["alertname=SchemaDrift", "severity=warning", "topic=loan.predictions"]
    );
    let summary = &view.annotations["summary"];
    assert!(summary.contains("not_json 100 %") && summary.contains("partition 0, offset"), "{summary}");

    // A reason that has not used its burst up gets no letter either.
    let before = agent.wait_for("letters are settled", || Some(letters(&agent)).filter(|letters| letters["waiting"] == 0));
    (0..20).for_each(|_| cluster.send(PREDICTIONS, 2, START + HOUR, b"[]".to_vec()));
    cluster.flush();
    let letters_now = agent.wait_for("the others are suppressed", || {
        let letters = letters(&agent);
        (letters["suppressed"]["not_an_object"] == 20).then_some(letters)
    });
    assert_eq!(sum(&letters_now["sent"]), sum(&before["sent"]), "{letters_now}");
    assert_eq!(transitions(&agent, "SchemaDrift"), firing, "it is still the same alert");

    // Enough good records bring the share under half of the threshold, and letters are sent again.
    for id in 0..12_000u64 {
        cluster.send(PREDICTIONS, i32::try_from(id % 4).unwrap(), START + HOUR, prediction(id, START + HOUR, 0));
    }
    cluster.flush();
    agent.wait_for("the alert is over", || (transitions(&agent, "SchemaDrift").last()?.0 == State::Resolved).then_some(()));
    cluster.send(PREDICTIONS, 2, START + HOUR, b"null".to_vec());
    cluster.flush();
    agent.wait_for("a letter is sent", || (letters(&agent)["sent"]["not_an_object"] == 1).then_some(()));
    assert_eq!(transitions(&agent, "SchemaDrift").len(), 2);
    agent.stop();
}

#[test]
fn a_topic_that_takes_no_letters_does_not_stop_the_monitoring() {
    let (scratch, cluster) = (Scratch::new("refused"), Cluster::start(&TOPICS));
    cluster.mock.topic_error(LETTERS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let windows = "[ { name: 1h, size: 1h } ]";
    let setup = Setup { dead_letters: "{ topic: loan.dead }", labels: false, windows, rules: NO_FLOOD.into(), ..Setup::default() };
    let agent = setup.start(&scratch, &cluster);
    STREAM.send(&cluster, 0, 2 * HOUR);
    rubbish(&cluster, 30);
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["rejected"]["not_json"], 30, "{status}");
    let failed = agent.wait_for("letters are given up", || Some(letters(&agent)).filter(|letters| sum(&letters["failed"]) == 30));
    assert_eq!((sum(&failed["sent"]), &failed["blocked"]), (0, &false.into()), "{failed}");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("Topic authorization failed")), "{failed}");
    // Windows go on, and so do checkpoints.
    let checkpoints = agent.seen(|seen| seen.checkpoints);
    STREAM.send(&cluster, 2 * HOUR, 4 * HOUR);
    rubbish(&cluster, 5);
    agent.wait_for("windows are closed", || agent.windows("1h").get(&(START + 2 * HOUR)).map(|_| ()));
    agent.wait_for("checkpoints are written", || agent.seen(|seen| seen.checkpoints > checkpoints + 2).then_some(()));
    assert_eq!(sum(&letters(&agent)["failed"]), 35);

    // After a while it is tried whether letters are taken again.
    cluster.mock.topic_error(LETTERS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    let reader = Reader::new(&cluster);
    let mut sent = 35;
    agent.wait_for("letters arrive again", || {
        cluster.send(PREDICTIONS, 0, START + HOUR, b"again".to_vec());
        sent += 1;
        std::thread::sleep(Duration::from_millis(500));
        (!reader.read().is_empty()).then_some(())
    });
    agent.wait_for("everything is accounted for", || {
        let letters = letters(&agent);
        (sum(&letters["sent"]) + sum(&letters["failed"]) == sent && letters["error"].is_null()).then_some(())
    });
    agent.stop();
}

#[test]
fn a_topic_that_takes_no_letters_holds_reading_up_where_nothing_may_be_lost() {
    let (scratch, cluster) = (Scratch::new("blocked"), Cluster::start(&TOPICS));
    let refuse = |code| cluster.mock.topic_error(LETTERS, code).unwrap();
    refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    let setup = Setup {
        dead_letters: "{ topic: loan.dead, on_failure: block }",
        labels: false,
        workers: 1,
        rules: NO_FLOOD.into(),
        ..Setup::default()
    };
    let agent = setup.start(&scratch, &cluster);
    STREAM.send(&cluster, 0, HOUR);
    cluster.flush();
    agent.wait_received(cluster.total());
    agent.wait_for("a checkpoint", || agent.seen(|seen| seen.checkpoints > 0).then_some(()));
    rubbish(&cluster, 3);
    agent.wait_for("reading is blocked", || (letters(&agent)["blocked"] == true).then_some(()));
    let received = agent.status().unwrap()["received"].clone();
    let checkpoints = agent.seen(|seen| seen.checkpoints);
    STREAM.send(&cluster, HOUR, 3 * HOUR);
    cluster.flush();
    std::thread::sleep(Duration::from_secs(2));
    let status = agent.status().unwrap();
    assert_eq!((&status["received"], agent.seen(|seen| seen.checkpoints)), (&received, checkpoints), "{status}");
    assert_eq!((&status["dead_letters"]["waiting"], sum(&status["dead_letters"]["failed"])), (&3.into(), 0), "{status}");

    // An agent that ends now stores nothing that it has not accounted for, and its successor reads it again.
    agent.stop();
    let agent = setup.start(&scratch, &cluster);
    agent.wait_for("reading is blocked again", || (letters(&agent)["blocked"] == true).then_some(()));
    refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    let reader = Reader::new(&cluster);
    let mut values: Vec<String> =
        reader.wait_for(3).iter().map(|letter| String::from_utf8(letter.value.clone().unwrap()).unwrap()).collect();
    values.sort();
    assert_eq!(values, ["rubbish 0", "rubbish 1", "rubbish 2"]);
    let status = agent.wait_received(cluster.total());
    assert_eq!(status["rejected"]["not_json"], 3, "{status}");
    agent.wait_for("reading goes on", || (letters(&agent)["blocked"] == false).then_some(()));
    agent.wait_for("checkpoints are written", || agent.seen(|seen| seen.checkpoints > 0).then_some(()));
    agent.stop();
}
