//! How long an agent that was killed takes to count the next record, with a full state.
//!
//! `cargo bench --bench recovery [-- --events 390000]`. A process of its own serves standard events of 20 models over 26 hours, whose
//! predictions all wait for labels. `driftline run` reads them, writes a checkpoint and is killed with SIGKILL; then more
//! records come. What is measured is a second process, from its start: until its state is read, until its partitions are
//! assigned, and until the first new record is counted. It joins a group of its own, because a member that was killed is
//! waited for by the broker as long as its session lasts, whatever the agent does; a broker also holds the first member
//! of a new group back for three seconds, which is in the numbers.
// A benchmark reads the clock, prints its numbers and stops at the first surprise.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

mod standard_event;
mod standard_model;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use driftline::app::event::AppEvent;
use driftline::app::run::{Handle, Settings, run};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use standard_event::{Shape, StandardStream};
use standard_model::{BASELINE_EVENTS, StandardModel, TOPIC, assembly};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODELS: usize = 20;
const EVENTS: usize = 390_000;
/// Records that come after the kill.
const MORE: usize = 6_000;
const LABELS: &str = "labels";
/// The mock cluster keeps 5 MiB of a partition, which is some 9,000 standard events.
const EVENTS_PER_PARTITION: usize = 6_500;
/// What the events span: more than the longest window.
const SPAN: Duration = Duration::from_secs(26 * 3600);
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["broker", events] => serve(events.parse().unwrap()),
        ["agent", config, counted] => agent(Path::new(config), counted.parse().unwrap()),
        others => {
            let place = others.iter().position(|argument| *argument == "--events");
            measure(place.and_then(|place| others.get(place + 1)).map_or(EVENTS, |text| text.parse().unwrap()));
        }
    }
}

fn measure(events: usize) {
    let model = StandardModel::build("recovery", BASELINE_EVENTS);
    let mut broker = again(&["broker", &events.to_string()]);
    let mut lines = BufReader::new(broker.stdout.take().unwrap()).lines();
    let servers = lines.next().unwrap().unwrap();
    let partitions = events.div_ceil(EVENTS_PER_PARTITION);
    println!("{MODELS} models, {events} events over {} hours in {partitions} partitions", SPAN.as_secs() / 3600);

    let mut first = again(&["agent", &configure(model.dir(), &servers, "first"), &events.to_string()]);
    await_line(&mut first, "counted", Instant::now());
    await_line(&mut first, "checkpoint", Instant::now());
    // Another one, so that nothing is left to be written.
    await_line(&mut first, "checkpoint", Instant::now());
    first.kill().unwrap();
    first.wait().unwrap();
    println!("state on disk: {:.1} MB", size(&model.dir().join("state")) as f64 / 1e6);
    writeln!(broker.stdin.as_mut().unwrap(), "more").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");

    let config = configure(model.dir(), &servers, "second");
    let began = Instant::now();
    let mut second = again(&["agent", &config, &(events + 1).to_string()]);
    for (line, what) in [("listening", "state read"), ("assigned", "partitions assigned"), ("counted", "first new record counted")] {
        println!("{what}: {:.2} s after the start of the process", await_line(&mut second, line, began).as_secs_f64());
    }
    second.kill().unwrap();
    second.wait().unwrap();
    drop(broker.stdin.take());
    broker.wait().unwrap();
}

fn again(arguments: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads what a process says up to a line, byte by byte: what comes after stays in the pipe.
fn await_line(process: &mut Child, wanted: &str, began: Instant) -> Duration {
    let output = process.stdout.as_mut().unwrap();
    let mut line = String::new();
    let mut byte = [0];
    loop {
        assert!(output.read(&mut byte).unwrap() == 1, "the process has ended before '{wanted}'");
        if byte != *b"\n" {
            line.push(char::from(byte[0]));
        } else if std::mem::take(&mut line) == wanted {
            return began.elapsed();
        }
    }
}

fn configure(dir: &Path, servers: &str, group: &str) -> String {
    let baseline = std::fs::read_to_string(dir.join("baseline.json")).unwrap();
    let mut models = String::new();
    for number in 0..MODELS {
        let named = baseline.replacen("\"standard\"", &format!("\"m{number}\""), 1);
        std::fs::write(dir.join(format!("m{number}.json")), named).unwrap();
        models += &format!(
            "  - {{ name: m{number}, baseline: {}/m{number}.json, task: binary, positive_class: \"1\", lateness: 2m, labels: {{ horizon: 24h }},
      windows: [ {{ name: 1h, size: 1h, slide: 5m }}, {{ name: 1d, size: 24h, slide: 1h }} ] }}\n",
            dir.display()
        );
    }
    let text = format!(
        "version: 1
kafka:
  bootstrap_servers: [\"{servers}\"]
  group_id: {group}
  topics: {{ predictions: [{TOPIC}], labels: [{LABELS}] }}
  start: earliest
  idle_timeout: 2s
models:
{models}
state: {{ path: {}/state, checkpoint_interval: 1s }}
limits: {{ memory: 1GiB, workers: 2 }}
http: {{ listen: \"127.0.0.1:0\" }}
rules: []
",
        dir.display()
    );
    let path: PathBuf = dir.join(format!("{group}.yaml"));
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

/// Runs the agent and says what happens, a line each. `counted` is said when it has counted so many events.
fn agent(config: &Path, wanted: u64) {
    let (tell, told) = sync_channel::<&'static str>(1024);
    let (at, address) = sync_channel(1);
    let listener = move |event: &AppEvent| match event {
        AppEvent::Listening(address) => {
            let _ = at.try_send(*address);
            let _ = tell.try_send("listening");
        }
        AppEvent::Assigned(partitions) if *partitions > 0 => drop(tell.try_send("assigned")),
        AppEvent::Checkpoint(_) => drop(tell.try_send("checkpoint")),
        _ => {}
    };
    std::thread::spawn(move || speak(&told, &address, wanted));
    let settings = Settings {
        config: config.to_owned(),
        rules: Vec::new(),
        environment: driftline::config::environment::Environment::default(),
        dry_run_actions: true,
        watch: false,
        listener: Some(Arc::new(listener)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(assembly(config), settings, Handle::default())).unwrap();
}

fn speak(told: &Receiver<&'static str>, address: &Receiver<SocketAddr>, wanted: u64) {
    let say = |what: &str| {
        println!("{what}");
        std::io::stdout().flush().unwrap();
    };
    let (mut place, mut is_counted) = (None, false);
    loop {
        match told.recv_timeout(Duration::from_millis(10)) {
            Ok(what) => say(what),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        place = place.or_else(|| address.try_recv().ok());
        if let Some(address) = place
            && !is_counted
            && counted(address).is_some_and(|counted| counted >= wanted)
        {
            is_counted = true;
            say("counted");
        }
    }
}

/// The events counted, as the agent's own status says.
fn counted(address: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let after = answer.split_once("\"outcomes\":{")?.1.split_once("\"counted\":")?.1;
    after.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum();
    }
    // Of what is made ahead only what is used.
    path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

/// Fills the topic, and on demand sends more.
fn serve(events: usize) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    let partitions = i32::try_from(events.div_ceil(EVENTS_PER_PARTITION)).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).expect("a topic");
    cluster.create_topic(LABELS, 1, 1).expect("a topic");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "1000")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "2000000")
        .create()
        .expect("a producer");
    let mut stream = StandardStream::new(42, Shape::Compact);
    let step = u64::try_from(SPAN.as_millis()).unwrap() / events as u64;
    let mut send = |count: usize| {
        let mut text = String::new();
        for number in 0..count {
            text.clear();
            stream.skip(step);
            let time = i64::try_from(stream.time()).unwrap();
            stream.write_event(&mut text);
            let named = text.replacen("\"standard\"", &format!("\"m{}\"", number % MODELS), 1);
            let record =
                BaseRecord::<(), str>::to(TOPIC).partition(i32::try_from(number).unwrap() % partitions).payload(&named).timestamp(time);
            producer.send(record).map_err(|(error, _)| error).expect("an event is taken");
        }
        producer.flush(PATIENCE).expect("all events are taken");
    };
    send(events);
    let say = |what: &str| {
        println!("{what}");
        std::io::stdout().flush().unwrap();
    };
    say(&cluster.bootstrap_servers());
    for _ in std::io::stdin().lines() {
        send(MORE);
        say("done");
    }
}
