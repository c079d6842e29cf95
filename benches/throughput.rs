//! The whole agent against Kafka: how many events a second one core takes, beside the least that any consumer would cost.
//!
//! `cargo bench --bench throughput [-- --events 1000000 --rounds 3 --checkpoints]`. A process of its own serves a topic of standard events from
//! the mock cluster of librdkafka. Then, in turn and each in a new process: `bare` reads every record and drops it; `parse` reads
//! and decodes every record, which is the ceiling of anything that looks at features; `agent` is `driftline run` with one worker,
//! up to the moment at which windows that hold all events have closed. Where `taskset` is there, the broker has the first core
//! and the measured process the second. Time begins with the assignment of the partitions; processor time is that of the whole
//! process, librdkafka's threads and the console included. With `--checkpoints` there are two agents instead: `on` writes a
//! checkpoint each second, `off` none until its end; the ratio of the two is what checkpoints cost.
// A benchmark reads the clock, prints its numbers and stops at the first surprise; its counts are far from 2^52.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::similar_names)]

mod standard_event;
mod standard_model;

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driftline::app::event::AppEvent;
use driftline::app::run::{Handle, Settings, run};
use driftline::engine::Emission;
use driftline::event::decode::{Decoder, Dictionary, Mapping, RecordMeta};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use standard_event::{Shape, StandardStream, TAG, feature_names};
use standard_model::{BASELINE_EVENTS, StandardModel, TOPIC, assembly};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 1_000_000;
const ROUNDS: usize = 3;
const SEED: u64 = 42;
/// The mock cluster keeps 5 MiB of a partition, which is some 9,000 standard events.
const EVENTS_PER_PARTITION: usize = 6_500;
/// After the last event each partition gets one that is so much later that every window of the others closes.
const PAUSE: Duration = Duration::from_secs(26 * 3600);
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["broker", events] => serve(number(events)),
        ["bare", servers, events] => print(&consume(servers, number(events), |_| ())),
        ["parse", servers, events] => {
            let dictionary = Dictionary::new(feature_names(), [TAG]);
            let mut decoder = Decoder::new(Arc::new(Mapping::default_json()), &dictionary);
            print(&consume(servers, number(events), |payload| {
                let event = decoder.decode(payload, &RecordMeta::default()).expect("standard events can be read");
                black_box(&event);
            }));
        }
        ["agent", config, events] => print(&agent(Path::new(config), number(events))),
        ["on" | "off", config, events] => print(&agent(Path::new(config), number(events))),
        others => {
            let checkpoints = others.contains(&"--checkpoints");
            compare(option(others, "--events", EVENTS), option(others, "--rounds", ROUNDS), checkpoints);
        }
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn option(arguments: &[&str], name: &str, default: usize) -> usize {
    let place = arguments.iter().position(|argument| *argument == name);
    place.and_then(|place| arguments.get(place + 1)).map_or(default, |text| number(text))
}

/// What one process has seen of itself.
#[derive(Clone, Copy)]
struct Sample {
    wall: f64,
    cpu: f64,
    resident: f64,
}

fn print(sample: &Sample) {
    println!("{} {} {}", sample.wall, sample.cpu, sample.resident);
}

/// Runs everything in turn and prints the table.
fn compare(events: usize, rounds: usize, checkpoints: bool) {
    let model = StandardModel::build("throughput", BASELINE_EVENTS);
    let mut broker = Broker::start(events);
    let config = model.configure(&broker.servers, "");
    let (on, off) = (with_interval(&config, "1s"), with_interval(&config, "1h"));
    let config = config.to_string_lossy();
    let kinds: &[(&str, &str)] = if checkpoints {
        &[("on", &on), ("off", &off)]
    } else {
        &[("bare", &*broker.servers), ("parse", &*broker.servers), ("agent", &*config)]
    };
    println!("{events} standard events in {} partitions, {rounds} rounds; one core for the consumer: {}", partitions(events), is_pinned());
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); kinds.len()];
    for round in 0..rounds {
        for (place, (kind, target)) in kinds.iter().enumerate() {
            let _ = std::fs::remove_dir_all(model.dir().join("state"));
            let sample = measure(kind, target, events);
            println!(
                "  {round} {kind:6} {:9.0} events/s  {:6.3} us of processor time an event  {:5.0} MB at most",
                events as f64 / sample.wall,
                sample.cpu * 1e6 / events as f64,
                sample.resident / 1e6
            );
            samples[place].push(sample);
        }
    }
    let median = |place: usize, of: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples[place].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("medians       events/s   events/CPU-s   us/event   of bare   of parse     MB");
    for (place, (kind, _)) in kinds.iter().enumerate() {
        let (wall, cpu) = (median(place, |sample| sample.wall), median(place, |sample| sample.cpu));
        println!(
            "{kind:9} {:12.0} {:14.0} {:10.3} {:8.0} % {:8.0} % {:6.0}",
            events as f64 / wall,
            events as f64 / cpu,
            cpu * 1e6 / events as f64,
            100.0 * median(0, |sample| sample.cpu) / cpu,
            100.0 * median(1, |sample| sample.cpu) / cpu,
            median(place, |sample| sample.resident) / 1e6
        );
    }
    if checkpoints {
        let ratio = |of: fn(&Sample) -> f64| median(1, of) / median(0, of);
        println!(
            "throughput on / off: {:.3} by wall time, {:.3} by processor time",
            ratio(|sample| sample.wall),
            ratio(|sample| sample.cpu)
        );
    }
    broker.stop();
}

/// The same configuration with another time between two checkpoints, in a file of its own.
fn with_interval(config: &Path, interval: &str) -> String {
    let text = std::fs::read_to_string(config).expect("the configuration can be read");
    let path = config.with_file_name(format!("every-{interval}.yaml"));
    let changed = text.replace("/state }", &format!("/state, checkpoint_interval: {interval} }}"));
    assert_ne!(changed, text, "the configuration says where the state is");
    std::fs::write(&path, changed).expect("the configuration can be written");
    path.to_string_lossy().into_owned()
}

fn partitions(events: usize) -> usize {
    events.div_ceil(EVENTS_PER_PARTITION)
}

/// This program again with other arguments, on a core of its own where that can be had.
fn again(core: &str, arguments: &[&str]) -> Command {
    let program = std::env::current_exe().expect("the program knows its name");
    let mut command = if is_pinned() {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn is_pinned() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores > 1 && Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn measure(kind: &str, target: &str, events: usize) -> Sample {
    let output = again("1", &[kind, target, &events.to_string()]).stderr(Stdio::inherit()).output().expect("the program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Vec<f64> = text.lines().last().unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    match last.as_slice() {
        [wall, cpu, resident] => Sample { wall: *wall, cpu: *cpu, resident: *resident },
        _ => panic!("{kind} has failed: {text}"),
    }
}

/// The process that serves the topic. It ends when nobody holds its input any more.
struct Broker {
    process: Child,
    servers: String,
}

impl Broker {
    fn start(events: usize) -> Broker {
        let mut process = again("0", &["broker", &events.to_string()]).spawn().expect("the program can be started");
        let mut servers = String::new();
        let output = process.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut servers).expect("the broker says where it is");
        assert!(!servers.is_empty(), "the broker has failed");
        Broker { process, servers: servers.trim().to_owned() }
    }

    fn stop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Fills the topic of a mock cluster, checks that all of it was kept, and waits for the end of the input.
fn serve(events: usize) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    let partitions = i32::try_from(partitions(events)).expect("few partitions");
    cluster.create_topic(TOPIC, partitions, 1).expect("a topic");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        // Batches of a megabyte, as a consumer meets them that has something to catch up with.
        .set("linger.ms", "60000")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "2000000")
        .create()
        .expect("a producer");
    let mut stream = StandardStream::new(SEED, Shape::Compact);
    let mut text = String::new();
    let every = usize::try_from(partitions).expect("some partitions");
    for event in 0..events + every {
        if event == events {
            stream.skip(u64::try_from(PAUSE.as_millis()).expect("a day"));
        }
        text.clear();
        let time = i64::try_from(stream.time()).expect("a time");
        stream.write_event(&mut text);
        let partition = i32::try_from(event % every).expect("few partitions");
        let mut record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&text).timestamp(time);
        while let Err((error, refused)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "an event cannot be sent");
            producer.poll(Duration::from_millis(50));
            record = refused;
        }
    }
    producer.flush(PATIENCE).expect("all events are taken");
    let mut kept = 0;
    for partition in 0..partitions {
        let (low, high) = producer.client().fetch_watermarks(TOPIC, partition, PATIENCE).expect("its ends");
        assert_eq!(low, 0, "partition {partition} is too long for the mock cluster");
        kept += high;
    }
    assert_eq!(usize::try_from(kept), Ok(events + every), "events are missing");
    drop(producer);
    println!("{}", cluster.bootstrap_servers());
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0]);
}

/// Notes when the partitions are assigned.
struct Assigned(Mutex<Option<Clock>>);

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn pre_rebalance(&self, _: &BaseConsumer<Assigned>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            *self.0.lock().expect("one thread") = Some(Clock::start());
        }
    }
}

/// Reads every record with the agent's settings and hands it to `take`.
fn consume(servers: &str, events: usize, mut take: impl FnMut(&[u8])) -> Sample {
    let consumer: BaseConsumer<Assigned> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", format!("bare-{}", std::process::id()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "65536")
        .create_with_context(Assigned(Mutex::new(None)))
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a subscription");
    let (mut records, wanted) = (0, events + partitions(events));
    while records < wanted {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                take(message.payload().unwrap_or_default());
                records += 1;
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    let clock = consumer.context().0.lock().expect("one thread").take();
    clock.expect("partitions have been assigned").stop()
}

/// Runs the agent until a window with all events has closed.
fn agent(config: &Path, events: usize) -> Sample {
    let clock = Arc::new(Mutex::new(None));
    let handle = Handle::default();
    let (done, over) = std::sync::mpsc::sync_channel(1);
    let listener = {
        let clock = Arc::clone(&clock);
        move |event: &AppEvent| match event {
            AppEvent::Assigned(_) => {
                clock.lock().expect("one thread").get_or_insert_with(Clock::start);
            }
            AppEvent::Emission(emission) => {
                if let Emission::Window(window) = &**emission
                    && window.summary.n == events as u64
                    && let Some(clock) = clock.lock().expect("one thread").take()
                {
                    let _ = done.send(clock.stop());
                }
            }
            _ => {}
        }
    };
    let settings = Settings {
        config: config.to_owned(),
        rules: Vec::new(),
        environment: driftline::config::environment::Environment::default(),
        dry_run_actions: true,
        watch: false,
        listener: Some(Arc::new(listener)),
    };
    let assembly = assembly(config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let running = runtime.spawn(run(assembly, settings, handle.clone()));
    let sample = over.recv_timeout(PATIENCE).expect("the agent counts all events in time");
    handle.stop();
    runtime.block_on(running).expect("the agent does not panic").expect("the agent ends well");
    sample
}

/// Wall and processor time since a moment.
struct Clock {
    began: Instant,
    processor: f64,
}

impl Clock {
    fn start() -> Clock {
        Clock { began: Instant::now(), processor: processor_seconds() }
    }

    fn stop(self) -> Sample {
        Sample { wall: self.began.elapsed().as_secs_f64(), cpu: processor_seconds() - self.processor, resident: peak_bytes() }
    }
}

/// User and system time of this process, in hundredths of a second.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|word| word.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The most memory this process has held.
fn peak_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}
