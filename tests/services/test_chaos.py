"""The truth about Kafka: whatever happens to agents and brokers, every window is exactly what the records say.

Producers write at a steady rate what is known from the seed, while agents and brokers are killed, stopped and started and
partitions are added. Then the topics are read with a plain consumer and the windows are computed by brute force. The API of
the agents that are left must show every window with just those counts; the log events that were exported on the way must
be, without a gap, the lines of a replay of the same records, byte for byte; and so must the messages.

    CHAOS_SEED=7 tests/services.sh run -k chaos       the harm of a run that failed, as far as time can be repeated
    tests/services.sh chaos --minutes 10              a longer one
"""

import datetime
import heapq
import json
import os
import re
import secrets
import sys
import time

import pytest
import yaml

import chaos_stream
from agent import BINARY, PATIENCE, Agent
from chaos_brokers import Brokers, Producers
from chaos_harm import Harm
from chaos_oracle import Oracle, Settings
from chaos_witness import Messages, Receiver, Witness, key
from server import Server, eventually, free_port

SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 32))
# How long harm is done, in seconds; and how much of it there is at least.
SECONDS = float(os.environ.get("CHAOS_MINUTES") or 0.5) * 60
KILLS = int(os.environ.get("CHAOS_KILLS") or 9)
# Predictions in a second for one partition number, and how many of these there are at first.
RATE, PARTITIONS = 100, 4
# Further ones come in twos.
MOST_PARTITIONS = 8
# How long agents may be hindered from finding a new partition, in seconds: well within the longest window, for which windows are
# restated, and far beyond the horizon.
FIND_WITHIN = 60
# Agents show the windows of this time, in milliseconds, whatever they have been through.
SHOWN = 8 * 60_000
# Numbers of workers that must give the same bytes.
WORKERS = (1, 8)
SEGMENTS = ("eu", "us")
# How far they are restated is the size of the longest.
WINDOWS = [("short", 10_000, 5_000), ("long", 30_000, 10_000), ("wide", 120_000, 30_000)]


def say(text):
    print(f"chaos: {text}", file=sys.stderr, flush=True)


def instant(millis):
    return datetime.datetime.fromtimestamp(millis / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{millis % 1000:03}Z"


def millis(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def end(text):
    """When the window of a result line ends."""
    return millis(json.loads(text)["window"]["end"])


class Replica(Agent):
    """One of the agents that share the work; with a state of its own where the state is local."""

    def __init__(self, folder, name, brokers, topics, baseline, receiver, hook, jobs, mode, refresh):
        self.folder, self.name, self.port = folder / name, name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = {
            "version": 1,
            "kafka": {
                "bootstrap_servers": brokers.addresses,
                "group_id": "chaos",
                "topics": {"predictions": [topics["predictions"]], "labels": [topics["labels"]]},
                "start": "earliest",
                "librdkafka": {
                    # Static membership: a killed agent takes its partitions back at once when it returns.
                    "group.instance.id": name,
                    "session.timeout.ms": "10000",
                    "topic.metadata.refresh.interval.ms": str(refresh),
                    "reconnect.backoff.max.ms": "1000",
                },
            },
            "models": [model(baseline)],
            "state": {"path": str(folder / name / "state"), "checkpoint_interval": "1s"},
            "limits": {"workers": 2},
            "http": {"listen": f"127.0.0.1:{self.port}"},
            "telemetry": {"otlp": {"endpoint": receiver.url}},
        }
        if mode != "local":
            self.config["state"]["mode"] = mode
        self.rules, self.arguments = rules(hook, jobs), []
        self.environment = {"RUST_BACKTRACE": "1", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
        self.server = None

    def start(self, ready=True):
        if ready:
            return super().start()
        self.server = Server("driftline", [BINARY, "run", *self.write(), *self.arguments], self.folder, env=self.environment).start()
        return self

    def status(self):
        # One that ended by itself says so, and is not waited for.
        self.server.assert_alive()
        return super().status()

    def is_running(self):
        return self.server is not None and self.server.process.poll() is None

    def kill(self):
        # It may have ended by itself: that is found out here.
        self.server.assert_alive()
        super().kill()


def model(baseline):
    return {
        "name": chaos_stream.MODEL,
        "baseline": str(baseline),
        "task": "binary",
        "positive_class": "yes",
        "windows": [{"name": name, "size": f"{size // 1000}s", "slide": f"{slide // 1000}s"} for name, size, slide in WINDOWS],
        "lateness": f"{chaos_stream.LATENESS}ms",
        "min_samples": 100,
        "labels": {"horizon": f"{chaos_stream.HORIZON // 1000}s"},
        "segments": [{"by": "tags.region", "values": list(SEGMENTS)}],
    }


def rules(hook, jobs):
    return {
        "groups": [
            {
                "name": "chaos",
                "model": chaos_stream.MODEL,
                "rules": [
                    {
                        "alert": "FeaturePSI",
                        "each": ["feature"],
                        "source": {"metric": "psi", "window": "short"},
                        "value": "psi",
                        "when": "p_adjusted < 0.01",
                        "fire": {"warning": {"above": 0.2, "for": "1 windows"}, "critical": {"above": 0.4, "for": "2 windows"}},
                        "resolve": {"below": 0.1, "for": "2 windows"},
                        "min_samples": 100,
                        "on_firing": [{"action": "retrain", "with": {"reason": "drift"}}],
                        "annotations": {"summary": "{{ labels.feature }}: {{ value | round(2) }} of {{ window.n }}"},
                    },
                    {
                        "alert": "AccuracyDrop",
                        "source": {"metric": "accuracy", "window": "short", "label_coverage": 0.6},
                        "value": "reference.accuracy - accuracy",
                        "fire": {"critical": {"above": 0.15, "for": "2 windows"}},
                        "resolve": {"below": 0.1, "for": "1 windows"},
                        "annotations": {"summary": "accuracy {{ accuracy | round(3) }}"},
                    },
                ],
            }
        ],
        "route": {"receiver": "everyone", "group_by": ["model", "alertname", "feature"], "group_wait": "1s", "group_interval": "1s", "repeat_interval": "12h"},
        "receivers": [{"name": "everyone", "webhook_configs": [{"url": hook.url, "send_resolved": True}]}],
        "actions": {"retrain": {"url": jobs.url, "body": {"run": "{{ episode.id }}"}, "budget": {"max": 1000, "per": "7d"}}},
    }


class Run:
    """Everything of one run: started here, and stopped here whatever comes."""

    def __init__(self, folder, brokers, agents, mode, rude):
        """`rude` producers write to a new partition before any agent can know of it."""
        folder.mkdir()
        self.folder, self.brokers, self.mode = folder, brokers, mode
        self.topics = {kind: f"{folder.name}.{kind}" for kind in ("predictions", "labels")}
        brokers.create(*self.topics.values(), partitions=PARTITIONS)
        self.partitions, self.rude, self.added = PARTITIONS, rude, None
        self.baseline = self._baseline()
        # How many partitions there were when a window closed says when that was, once they become more.
        self.witness = Witness(ignore=("partitions",))
        self.receiver, self.hook, self.jobs = Receiver(self.witness).start(), Messages(refuse=1).start(), Messages().start()
        # Where producers are rude, agents are slow: windows close before the new partitions are known.
        refresh = 8_000 if rude else 1_000
        self.agents = [
            Replica(folder, f"agent-{number}", brokers, self.topics, self.baseline, self.receiver, self.hook, self.jobs, mode, refresh)
            for number in range(1, agents + 1)
        ]
        self.producers = Producers(brokers, self.topics, SEED, RATE)

    def _baseline(self):
        (self.folder / "reference.csv").write_text(chaos_stream.reference())
        (self.folder / "baseline.yaml").write_text(yaml.safe_dump({"version": 1, "models": [model("baseline.json")]}))
        baseline = self.folder / "baseline.json"
        self._driftline("baseline", "build", "--config", self.folder / "baseline.yaml", "--model", chaos_stream.MODEL, "--input", self.folder / "reference.csv", "--output", baseline)
        return baseline

    def _driftline(self, *arguments):
        done = Server("command", [BINARY, *arguments], self.folder).start()
        assert done.wait(300) == 0, done.tail()

    def stop(self):
        self.producers.over = True
        for agent in self.agents:
            if agent.server and agent.is_running():
                agent.server.process.kill()
                agent.server.wait(20)
        for server in (self.receiver, self.hook, self.jobs):
            server.stop()

    def add_partitions(self):
        """Two more of each topic."""
        if self.partitions >= MOST_PARTITIONS:
            return None
        fresh = range(self.partitions, self.partitions + 2)
        self.brokers.add_partitions(list(self.topics.values()), fresh.stop)
        if not self.rude:
            self.wait_known(fresh.stop)
        self.producers.add(fresh)
        self.partitions, self.added = fresh.stop, self.added or time.monotonic()
        return f"{self.partitions} now"

    def wait_known(self, partitions):
        """Until so many partitions are read."""

        def known():
            numbers = [part["partition"] for agent in self.agents for part in agent.status()["partitions"] if part["topic"] == self.topics["predictions"]]
            return set(range(partitions)) <= set(numbers)

        eventually(known, PATIENCE, "the new partitions are assigned")

    def spare(self):
        """Windows are restated for as long as the longest of them: agents that are killed again and again before they find a new
        partition are let find it in time."""
        if self.added and time.monotonic() - self.added > FIND_WITHIN:
            self.wait_known(self.partitions)
            self.added = None

    def harm_it(self, seconds, kills):
        self.producers.add(range(PARTITIONS))
        for agent in self.agents:
            agent.start()
        self.producers.start()
        self.harm = Harm(f"{SEED}/{self.folder.name}", self.agents, self.brokers, self.add_partitions, self.spare, say)
        self.harm.run(seconds, kills)
        say(f"done: {self.harm.done}")
        assert self.harm.kills >= kills

    def settle(self):
        """Lets everything that was written be read, closed and said. Returns the time of the last records."""
        # The last records leap ahead, beyond what windows are restated for: nobody may learn of a partition only after them.
        self.wait_known(self.partitions)
        last = self.producers.finish()
        say("all is written and acknowledged")

        def is_read():
            seen = [part for agent in self.agents for part in agent.status()["partitions"]]
            clocks = {(part["topic"], part["partition"]): part["watermark"] for part in seen}
            return len(clocks) == 2 * self.partitions and all(clock and millis(clock) == last for clock in clocks.values())

        eventually(is_read, PATIENCE, "everything is read")
        return last

    def records(self):
        read = {kind: self.brokers.read(topic) for kind, topic in self.topics.items()}
        for kind, partitions in read.items():
            written = {part: self.producers.sent[(kind, part)] for part in partitions}
            assert {part: len(records) for part, records in partitions.items()} == written, "every record is there once"
        return read

    def replay(self, read):
        """The result lines of a replay of the wrapped records."""
        wrapped = self.folder / "records.ndjson"
        streams = [
            [(at, kind, part, offset, key, value) for offset, at, key, value in records]
            for kind, partitions in read.items()
            for part, records in partitions.items()
        ]
        with open(wrapped, "w") as file:
            for at, kind, part, offset, name, value in heapq.merge(*streams, key=lambda record: record[0]):
                head = json.dumps({"topic": self.topics[kind], "partition": part, "offset": offset, "timestamp": at, "key": name.decode()})
                file.write(f'{head[:-1]}, "value": {_wrap(value)}}}\n')
        outputs = []
        for workers in WORKERS:
            agent, output = self.agents[0], self.folder / f"replayed-{workers}.ndjson"
            agent.config["limits"] = {"workers": workers}
            self._driftline("replay", *agent.write(), "--input", wrapped, "--output", output)
            outputs.append(output.read_text())
        assert len(set(outputs)) == 1, f"{WORKERS} workers do not say the same"
        return outputs[0].splitlines()


def _wrap(value):
    if value is None:
        return "null"
    try:
        text = value.decode()
        json.loads(text)
        return text
    except ValueError:
        # What is no text cannot be wrapped as it is; it is not JSON either way.
        return json.dumps(value.decode(errors="replace"))


def compare(witness, expected):
    """What is different between what was said and what had to be: a list of sentences."""
    wrong = []
    last = {}
    for about, text in witness.lines.items():
        if about[:-1] not in last or about[-1] > last[about[:-1]][0]:
            last[about[:-1]] = (about[-1], text)
    for (name, start), must in sorted(expected.items()):
        place = (name, instant(start))
        said = last.get(("window", *place, "", "", "", ""))
        if said is None:
            wrong.append(f"{place} was never said; it has {must['n']} events")
            continue
        window = json.loads(said[1])
        got = {"n": window["n"], "late": window["late"], "complete": window["complete"], "matched": window["labels"]["matched"]}
        wanted = {name: must[name] for name in got}
        if got != wanted:
            wrong.append(f"{place}: {got} and not {wanted}")
        for (version, region, subject, metric), (n, value) in must["measurements"].items():
            said = last.get(("measurement", *place, version, region, subject, metric))
            if said is None:
                wrong.append(f"{place}: no {metric} of {subject}, version {version}, {region or 'overall'}")
                continue
            got = json.loads(said[1])
            same = got["value"] is None if value is None else got["value"] is not None and abs(got["value"] - value) <= 1e-9 * max(abs(value), 1e-3)
            if got["n"] != n or not same:
                wrong.append(f"{place}: {metric} of {subject}, version {version}, {region or 'overall'}: {got['value']} of {got['n']} and not {value} of {n}")
    return wrong


def outcomes(run):
    """What became of the records, by kind, over all agents."""
    totals = {}
    for kind, topic in run.topics.items():
        totals[kind] = {}
        for agent in run.agents:
            for view in agent.status()["topics"]:
                if view["topic"] == topic:
                    for name, count in [*view["outcomes"].items(), ("received", view["received"]), ("waiting", view["waiting"])]:
                        totals[kind][name] = totals[kind].get(name, 0) + count
    return totals


def judge(run):
    """Lets everything be said, and compares it with the oracle and with a replay. Returns up to which end windows were compared."""
    last = run.settle()
    read = run.records()
    oracle = Oracle(
        Settings(chaos_stream.MODEL, chaos_stream.CLASSES, 0.5, WINDOWS, chaos_stream.LATENESS, chaos_stream.HORIZON, SEGMENTS, json.loads(run.baseline.read_text())),
        read["predictions"],
        read["labels"],
    )
    assert oracle.clock == last
    # Up to the windows whose horizon the last records have passed, with a tick to spare.
    until = last - chaos_stream.HORIZON - 2 * max(slide for _, _, slide in WINDOWS)
    expected = oracle.windows(until)
    say(f"{len(oracle.counted)} predictions counted, {len(oracle.late)} late, {len(oracle.truths)} labelled; {len(expected)} windows; rejected: {dict(oracle.rejected['predictions'])}")

    def all_is_shown():
        shown = Witness()
        for agent in run.agents:
            shown.ask(agent)
        recent = {about: must for about, must in expected.items() if about[1] > until - SHOWN}
        wrong = compare(shown, recent) + compare(run.witness, expected)
        (run.folder / "differences.txt").write_text("\n".join(wrong))
        assert not wrong, f"{len(wrong)} differences, all in differences.txt, such as:\n" + "\n".join(wrong[:12])
        return True

    eventually(all_is_shown, 20, "all windows are shown and right")
    assert not run.witness.contradictions, f"said twice, and not the same: {run.witness.contradictions[:3]}"
    check_outcomes(run, oracle)
    check_replay(run, read, until)
    return until


@pytest.mark.parametrize(("brokers", "agents", "mode", "rude"), [(1, 1, "local", False), (3, 1, "local", True), (3, 3, "cluster", False)])
def test_chaos(folder, brokers, agents, mode, rude):
    say(f"seed {SEED}, {brokers} brokers, {agents} agents, state {mode}")
    name = f"chaos-{brokers}-{agents}-{mode}"
    cluster = Brokers(folder / f"{name}-brokers", brokers)
    run = None
    try:
        cluster.start()
        run = Run(folder / name, cluster, agents, mode, rude)
        run.harm_it(SECONDS, KILLS)
        judge(run)
        for agent in run.agents:
            assert agent.drain() == 0, agent.server.tail()
    finally:
        if run is not None:
            run.stop()
        cluster.stop()


def check_outcomes(run, oracle):
    """Every record has ended in one outcome, however often it was read."""
    got = outcomes(run)
    predictions, labels = oracle.outcomes["predictions"], oracle.outcomes["labels"]
    for kind in ("predictions", "labels"):
        assert got[kind]["received"] == sum(oracle.outcomes[kind].values()) == sum(
            count for (of, _), count in run.producers.sent.items() if of == kind
        ), (kind, got, oracle.outcomes)
    assert {name: got["predictions"].get(name, 0) for name in ("counted", "late", "rejected", "waiting")} == {**predictions, "waiting": 0}
    without = got["labels"].get("unmatched_label", 0) + got["labels"]["waiting"]
    got = {name: got["labels"].get(name, 0) for name in ("counted", "duplicate", "rejected")}
    assert {**got, "without": without} == dict(labels)


def check_replay(run, read, until):
    """The same bytes from a replay, for windows, measurements and messages."""
    lines = [(line, json.loads(line)) for line in run.replay(read)]
    results = {key(line): run.witness.normal(text) for text, line in lines if line["type"] in ("window", "measurement")}
    replayed = {about: text for about, text in results.items() if end(text) <= until}
    said = {about: text for about, text in run.witness.lines.items() if end(text) <= until}
    if run.rude:
        # Windows that had closed before a new partition was known were said again with its records: another revision.
        restated = {about[1:3] for about in said.keys() - replayed.keys()}
        say(f"{len(restated)} windows were restated for records of partitions that came unannounced")
        strip = lambda lines: {about[:-1]: re.sub(r'"revision":\d+', "", text) for about, text in sorted(lines.items(), key=lambda line: line[0][-1])}
        replayed, said = strip(replayed), strip(said)
    missing, extra = sorted(replayed.keys() - said.keys()), sorted(said.keys() - replayed.keys())
    assert not missing and not extra, f"{len(missing)} lines of the replay were never said: {missing[:4]}; {len(extra)} were said and are not in it: {extra[:4]}"
    different = [(said[about], replayed[about]) for about in replayed if said[about] != replayed[about]]
    assert not different, f"{len(different)} lines differ, such as (said, replayed): {different[:3]}"
    say(f"{len(replayed)} lines are those of the replay")

    # A message has no time in the results; that of the turn that it tells of is its own.
    turns = {}
    for _, line in lines:
        if line["type"] == "alert" and line.get("episode"):
            turns.setdefault((line["episode"], line["state"]), []).append(millis(line["at"]))
    turn = {"firing": ("firing", min), "escalated": ("firing", max), "resolved": ("resolved", max)}
    must = set()
    for _, line in lines:
        if line["type"] == "notification" and "outcome" not in line:
            state, which = turn[line["kind"]]
            if which(turns[(line["episode"], state)]) <= until:
                must.add((line["episode"], line["kind"]))
    eventually(lambda: all(agent.json("/api/v1/outbox")["data"]["depth"] == 0 for agent in run.agents), PATIENCE, "everything is delivered")
    messages = run.hook.by_id()
    assert all(len(bodies) == 1 for bodies in messages.values()), "one key, two messages"
    told, keys = set(), {}
    for name, bodies in messages.items():
        body = json.loads(next(iter(bodies)))
        about = (body["data"]["episode"], body["data"]["kind"])
        keys.setdefault((*about, body["data"]["sequence"]), set()).add(name)
        if millis(body["timestamp"]) <= until:
            told.add(about)
    assert all(len(names) == 1 for names in keys.values()), "one message, two keys"
    if not run.rude:
        assert told == must, f"not told: {must - told}; told and not in the replay: {told - must}"
    jobs = run.jobs.by_id()
    assert all(len(bodies) == 1 for bodies in jobs.values()) and len({next(iter(bodies)) for bodies in jobs.values()}) == len(jobs), "one run, one key"
    assert must and jobs, "without an alert nothing is shown"
    say(f"{len(must)} messages of {len({episode for episode, _ in must})} episodes, {len(jobs)} runs asked for; {len(run.hook.accepted)} deliveries")
