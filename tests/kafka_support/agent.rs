//! An agent that runs in this process, and everything it tells.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::app::assemble::{Assembly, assemble};
use driftline::app::event::AppEvent;
use driftline::app::replay::{Input, Replayed, replay};
use driftline::app::run::{Handle, Settings, run};
use driftline::config::checked::Purpose;
use driftline::config::environment::Environment;
use driftline::engine::Emission;
use driftline::engine::result::{ResultLine, lines};
use driftline::event::{TopicRole, WindowSummary};
use driftline::notify::{DeliveryOutcome, DeliveryReport};
use serde_json::Value;

use super::cluster::{Cluster, LABELS, PREDICTIONS, role};
use super::{Scratch, baseline, baseline_of, collect_log, wait_for};

/// How long an agent may take to end. Closing the consumer and the last deliveries may take 10 s each.
const END: Duration = Duration::from_secs(45);

/// The files of an agent; what is not set has the value of most tests.
#[derive(Clone, Debug)]
pub struct Setup {
    pub group: &'static str,
    pub state: &'static str,
    pub workers: usize,
    pub windows: &'static str,
    /// Further models, which come before `loan`: names and windows.
    pub others: &'static [(&'static str, &'static str)],
    pub labels: bool,
    /// By default so long that no partition is ever idle.
    pub idle_timeout: &'static str,
    pub checkpoint_interval: &'static str,
    pub memory: &'static str,
    /// Further keys of the section `kafka`.
    pub kafka: &'static str,
    /// The section `kafka.dead_letters`; none where it is empty.
    pub dead_letters: &'static str,
    /// Address of the mail server.
    pub smtp: Option<SocketAddr>,
    pub rules: String,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            group: "driftline",
            state: "state",
            workers: 2,
            windows: "[ { name: 1h, size: 1h, slide: 30m }, { name: 2h, size: 2h, slide: 1h } ]",
            others: &[],
            labels: true,
            idle_timeout: "10m",
            checkpoint_interval: "500ms",
            memory: "256MiB",
            kafka: "",
            dead_letters: "",
            smtp: None,
            rules: String::new(),
        }
    }
}

impl Setup {
    /// Writes the files and reads them as the agent does.
    pub fn assemble(&self, scratch: &Scratch, cluster: &Cluster) -> (PathBuf, Assembly) {
        let Setup { group, state, workers, windows, idle_timeout, checkpoint_interval, memory, kafka, .. } = self;
        scratch.write("loan.json", baseline());
        let rules = if self.rules.is_empty() { "[]".to_owned() } else { format!("[\"{group}.rules.yaml\"]") };
        scratch.write(&format!("{group}.rules.yaml"), &self.rules);
        let other = |(name, windows): &(&str, &str)| {
            scratch.write(&format!("{name}.json"), &baseline_of(name));
            format!(
                "  - {{ name: {name}, baseline: {name}.json, task: binary, positive_class: repaid, windows: {windows}, lateness: 2m, min_samples: 50 }}\n"
            )
        };
        let others: String = self.others.iter().map(other).collect();
        let labels = if self.labels { "labels: { horizon: 3h }" } else { "" };
        let label_topic = if self.labels { format!(", labels: [{LABELS}]") } else { String::new() };
        let dead_letters = if self.dead_letters.is_empty() { String::new() } else { format!("\n  dead_letters: {}", self.dead_letters) };
        let notify = match self.smtp {
            Some(address) => {
                format!(
                    "notify: {{ smtp: {{ url: \"smtp://{address}?tls=none\", allow_plaintext: true, from: \"driftline@example.com\" }} }}"
                )
            }
            None => String::new(),
        };
        let text = format!(
            "version: 1
kafka:
  bootstrap_servers: [\"{address}\"]
  group_id: {group}
  topics: {{ predictions: [{PREDICTIONS}]{label_topic} }}
  idle_timeout: {idle_timeout}{dead_letters}
  librdkafka: {{ session.timeout.ms: 6000, heartbeat.interval.ms: 500, reconnect.backoff.max.ms: 500, topic.metadata.refresh.interval.ms: 1000 }}
  {kafka}
models:
{others}  - name: loan
    baseline: loan.json
    task: binary
    positive_class: repaid
    windows: {windows}
    lateness: 2m
    min_samples: 50
    detectors: [ {{ name: adwin, clock: 1, delta: 0.2 }}, {{ name: page_hinkley, min_instances: 5 }} ]
    segments: [ {{ by: [tags.region], values: [eu, us] }} ]
    {labels}
state: {{ path: {state}, checkpoint_interval: {checkpoint_interval} }}
limits: {{ memory: {memory}, workers: {workers} }}
http: {{ listen: \"127.0.0.1:0\" }}
rules: {rules}
{notify}
",
            address = cluster.address(),
        );
        let path = scratch.write(&format!("{group}.yaml"), &text);
        let assembly = assemble(&path, &[], &Environment::default(), Purpose::Run)
            .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()));
        (path, assembly)
    }

    /// What a replay gives of everything that was sent.
    pub fn replay(&self, scratch: &Scratch, cluster: &Cluster, workers: usize) -> Replayed {
        let (_, assembly) = self.assemble(scratch, cluster);
        let (events, labels) = (cluster.recorded(PREDICTIONS), cluster.recorded(LABELS));
        let inputs =
            [Input { bytes: events.as_bytes(), role: TopicRole::Predictions }, Input { bytes: labels.as_bytes(), role: TopicRole::Labels }];
        replay(&assembly.plan, &assembly.rules, &inputs, &role, workers)
    }

    pub fn start(&self, scratch: &Scratch, cluster: &Cluster) -> Agent {
        collect_log();
        let (config, assembly) = self.assemble(scratch, cluster);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        let settings = Settings {
            config,
            rules: Vec::new(),
            environment: Environment::default(),
            dry_run_actions: false,
            watch: false,
            listener: Some(Arc::new(move |event: &AppEvent| told.lock().unwrap().take(event))),
        };
        let handle = Handle::default();
        let (end, ended) = sync_channel(1);
        let stop = handle.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let result = runtime.block_on(run(assembly, settings, stop));
            runtime.shutdown_background();
            let _ = end.send(result.map_err(|error| error.to_string()));
        });
        Agent { name: self.group, handle, seen, ended }
    }
}

/// Everything an agent has told.
#[derive(Default)]
pub struct Seen {
    pub address: Option<SocketAddr>,
    pub assigned: Vec<usize>,
    pub emissions: Vec<Emission>,
    pub deliveries: Vec<DeliveryReport>,
    pub checkpoints: usize,
}

impl Seen {
    fn take(&mut self, event: &AppEvent) {
        match event {
            AppEvent::Listening(address) => self.address = Some(*address),
            AppEvent::Assigned(partitions) => self.assigned.push(*partitions),
            AppEvent::Emission(emission) => self.emissions.push((**emission).clone()),
            AppEvent::Delivery(report) => self.deliveries.push((**report).clone()),
            AppEvent::Checkpoint(_) => self.checkpoints += 1,
        }
    }
}

pub struct Agent {
    name: &'static str,
    pub handle: Handle,
    seen: Arc<Mutex<Seen>>,
    ended: Receiver<Result<(), String>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

impl Agent {
    /// Waits for an answer that is not `None`, as long as the agent runs.
    pub fn wait_for<T>(&self, what: &str, answer: impl FnMut() -> Option<T>) -> T {
        let mut answer = answer;
        wait_for(
            &format!("{}: {what}", self.name),
            || self.dump(),
            || {
                if let Ok(result) = self.ended.try_recv() {
                    panic!("{}: ended while waiting: {what}: {result:?}\n{}", self.name, self.dump());
                }
                answer()
            },
        )
    }

    /// Waits until so many records were received in all, of the checkpoint's before the start too.
    pub fn wait_received(&self, records: u64) -> Value {
        self.wait_for(&format!("{records} records received"), || {
            let status = self.status()?;
            let received = status["received"].as_u64()?;
            assert!(received <= records, "{}: {received} records received of {records}\n{}", self.name, self.dump());
            (received == records).then_some(status)
        })
    }

    /// Gives something ten seconds to become true; what comes of it is asserted by the caller.
    pub fn wait_a_while(&self, mut is_true: impl FnMut() -> bool) {
        for _ in 0..100 {
            if is_true() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops the agent and gives back all it has told.
    pub fn stop(self) -> Seen {
        self.handle.stop();
        self.ended()
    }

    /// Waits for something that an agent tells while it ends.
    pub fn wait_while_ending(&self, what: &str, told: impl Fn(&Seen) -> bool) {
        wait_for(&format!("{}: {what}", self.name), || self.dump(), || self.seen(&told).then_some(()));
    }

    /// Waits for the end of an agent that was told to stop.
    pub fn ended(self) -> Seen {
        match self.ended.recv_timeout(END) {
            Ok(Ok(())) => std::mem::take(&mut *self.seen.lock().unwrap()),
            Ok(Err(error)) => panic!("{}: {error}\n{}", self.name, self.dump()),
            Err(RecvTimeoutError::Timeout) => panic!("{}: does not end\n{}\n{}", self.name, self.dump(), super::log()),
            Err(RecvTimeoutError::Disconnected) => panic!("{}: panicked\n{}\n{}", self.name, self.dump(), super::log()),
        }
    }

    /// Waits for the end of an agent that cannot go on, and gives back why.
    pub fn failed(self) -> String {
        match self.ended.recv_timeout(END) {
            Ok(Err(error)) => error,
            other => panic!("{}: {other:?}\n{}\n{}", self.name, self.dump(), super::log()),
        }
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// `None` while it does not answer.
    pub fn get(&self, path: &str) -> Option<String> {
        let address = self.seen(|seen| seen.address)?;
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// The status, whose books always balance.
    pub fn status(&self) -> Option<Value> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/status")?).unwrap();
        let status = answer["data"].clone();
        let outcomes: u64 = status["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        let (received, waiting) = (status["received"].as_u64().unwrap(), status["waiting"].as_u64().unwrap());
        assert_eq!(received, outcomes + waiting, "received = outcomes + waiting: {status}");
        Some(status)
    }

    /// The lines behind `/api/v1/windows`.
    pub fn lines(&self) -> Vec<String> {
        let told = |what: &str| self.get(&format!("/api/v1/windows?limit=1000000{what}")).unwrap_or_default();
        [told(""), told("&type=explanation")].iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    }

    /// Window summaries by name and start, those of the greatest revision.
    pub fn windows(&self, name: &str) -> BTreeMap<i64, WindowSummary> {
        self.seen(|seen| windows(&seen.emissions, name))
    }

    fn dump(&self) -> String {
        let status = self.status().map(|status| status.to_string()).unwrap_or_default();
        self.seen(|seen| {
            let lines: Vec<String> = summaries(&seen.emissions).map(driftline::event::result_line::window_line).collect();
            let deliveries: Vec<String> =
                seen.deliveries.iter().map(|report| format!("{} {:?} {:?}", report.key, report.outcome, report.error)).collect();
            format!(
                "{}: assigned {:?}, {} checkpoints\nstatus: {status}\nwindows:\n  {}\ndeliveries:\n  {}",
                self.name,
                seen.assigned,
                seen.checkpoints,
                lines.join("\n  "),
                deliveries.join("\n  ")
            )
        })
    }
}

fn summaries(emissions: &[Emission]) -> impl Iterator<Item = &WindowSummary> {
    emissions.iter().filter_map(|emission| match emission {
        Emission::Window(closed) => Some(&closed.summary),
        Emission::Happening { .. } => None,
    })
}

/// Window summaries of one name by their start, those of the greatest revision.
pub fn windows(emissions: &[Emission], name: &str) -> BTreeMap<i64, WindowSummary> {
    let mut windows: BTreeMap<i64, WindowSummary> = BTreeMap::new();
    for summary in summaries(emissions).filter(|summary| *summary.window.name == *name) {
        let start = summary.window.start.0;
        if windows.get(&start).is_none_or(|held| held.revision <= summary.revision) {
            windows.insert(start, summary.clone());
        }
    }
    windows
}

/// The result lines of emissions in their order.
pub fn result_lines(emissions: &[Emission]) -> Vec<String> {
    let mut sequence = 0;
    let mut all: Vec<ResultLine> = emissions.iter().flat_map(|emission| lines(emission, &mut sequence)).collect();
    all.sort();
    all.into_iter().map(|line| line.json).collect()
}

/// Keys of what was delivered.
pub fn delivered(reports: &[DeliveryReport]) -> Vec<String> {
    reports.iter().filter(|report| report.outcome == DeliveryOutcome::Delivered).map(|report| report.key.clone()).collect()
}
