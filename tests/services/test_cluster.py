"""Replicas that share their state in Kafka: whatever happens to them, the windows are those of one process.

The stream, the oracle and the replay are those of the chaos test; here what happens to agents is written down, and brokers
stay alive.
"""

import json
import signal
import time

import pytest
from confluent_kafka import Producer

import chaos_stream
import test_chaos
from chaos_brokers import Brokers
from server import eventually, fetch
from test_chaos import PATIENCE, Run, judge, say

# After so many windows alerts have come and gone: the features shift every other 25 seconds.
ALERTS = 9


@pytest.fixture(scope="module")
def cluster(folder):
    """A broker of its own: groups come and go here faster than the defaults of the shared one allow."""
    brokers = Brokers(folder / "cluster-brokers", 1)
    try:
        yield brokers.start()
    finally:
        brokers.stop()


@pytest.fixture
def start(request, folder, cluster):
    """Starts so many agents on topics of their own and lets producers write; all of it ends with the test."""
    runs = []

    def start(agents, more_rules=()):
        run = Run(folder / request.node.name.replace("test_", "").replace("_", "-"), cluster, agents, "cluster", False)
        runs.append(run)
        for agent in run.agents:
            # A group of its own, and with it topics of its own.
            agent.config["kafka"]["group_id"] = run.folder.name
            agent.rules["groups"][0]["rules"] += more_rules
        run.producers.add(range(test_chaos.PARTITIONS))
        for agent in run.agents:
            agent.start(ready=False)
        for agent in run.agents:
            agent.server.wait_for(lambda agent=agent: ready(agent), PATIENCE, "it is ready")
        run.producers.start()
        return run

    yield start
    for run in runs:
        run.stop()


def ready(agent):
    return fetch(f"{agent.url}/readyz")[0] == 200


def windows(run):
    """How many short windows were said; there is one every five seconds."""
    with run.witness.lock:
        return sum(about[0] == "window" and about[1] == "short" and about[-1] == 0 for about in run.witness.lines)


def wait_for_windows(run, more):
    """Lets so many further windows be said."""
    goal = windows(run) + more
    try:
        eventually(lambda: windows(run) >= goal, PATIENCE, f"{more} more windows are said")
    except AssertionError:
        for agent in run.agents:
            if agent.is_running():
                (run.folder / f"{agent.name}.json").write_text(json.dumps(agent.status(), indent=1))
        raise


def readers(run):
    """How many partitions each agent reads."""
    return [len(agent.status()["partitions"]) for agent in run.agents if agent.is_running()]


def owners(run):
    """The agents that close windows, as far as they answer."""
    found = []
    for agent in run.agents:
        try:
            found += [agent] if json.loads(fetch(f"{agent.url}/api/v1/status", timeout=1)[2])["data"]["event_time"] else []
        except OSError:
            pass
    return found


def drain(run):
    for agent in run.agents:
        if agent.is_running():
            assert agent.drain() == 0, agent.server.tail()


def test_one_agent_is_as_good_as_a_replay(start):
    run = start(1)
    wait_for_windows(run, ALERTS)
    judge(run)
    drain(run)


def test_three_agents_say_what_one_says(start):
    run = start(3)
    eventually(lambda: all(readers(run)) and sum(readers(run)) == 2 * run.partitions, PATIENCE, "all three read")
    wait_for_windows(run, ALERTS)
    judge(run)
    drain(run)


def test_agents_that_are_killed_take_nothing_along(start):
    run = start(3)
    for agent in run.agents * 2:
        wait_for_windows(run, 2)
        say(f"kill {agent.name}")
        agent.kill()
        agent.start(ready=False)
    wait_for_windows(run, 4)
    judge(run)
    drain(run)


def test_an_agent_that_ends_hands_over(start):
    run = start(3)
    wait_for_windows(run, 4)
    for agent in run.agents[1:]:
        began = time.monotonic()
        assert agent.drain() == 0, agent.server.tail()
        say(f"{agent.name} ended within {time.monotonic() - began:.1f} s")
        eventually(lambda: sum(readers(run)) == 2 * run.partitions, PATIENCE, "the others read all partitions")
        wait_for_windows(run, 3)
    # What they said they show again when they are back.
    for agent in run.agents[1:]:
        agent.start()
    judge(run)
    drain(run)


def test_an_owner_that_hangs_and_comes_back_changes_nothing(start):
    run = start(3)
    for _ in range(2):
        wait_for_windows(run, 2)
        [zombie] = owners(run)
        zombie.server.signal(signal.SIGSTOP)
        began = time.monotonic()
        eventually(lambda: owners(run), PATIENCE, "somebody else owns the model")
        wait_for_windows(run, 2)
        say(f"{zombie.name} was replaced within {time.monotonic() - began:.1f} s with its windows")
        # It goes on in the middle of what it did: it counts, decides and sends as if nothing had happened, until it is told.
        zombie.server.signal(signal.SIGCONT)
    wait_for_windows(run, 4)
    judge(run)
    drain(run)


def test_an_owner_that_hangs_for_long_takes_nobody_for_silent(start):
    """What it slept through looks like silence, until it knows that the model is somebody else's."""
    quiet = {"alert": "Quiet", "kind": "absence", "fire": {"critical": {"above": "18s"}}}
    run = start(3, [quiet])
    wait_for_windows(run, 2)
    [zombie] = owners(run)
    zombie.server.signal(signal.SIGSTOP)
    began = time.monotonic()
    eventually(lambda: owners(run), PATIENCE, "somebody else owns the model")
    wait_for_windows(run, 2)
    # As a process finds it that was stopped between two of its steps.
    time.sleep(max(0, 25 - (time.monotonic() - began)))
    zombie.server.signal(signal.SIGCONT)
    wait_for_windows(run, 3)
    eventually(lambda: "it says and judges nothing" in zombie.server.log, PATIENCE, "it knows that it stood still")
    quiet = [body for bodies in run.hook.by_id().values() for body in bodies if b'"Quiet"' in body]
    assert not quiet, quiet
    drain(run)


def test_an_agent_that_is_there_before_its_brokers_waits_for_them(folder, cluster):
    run = Run(folder / "before-its-brokers", cluster, 1, "cluster", False)
    [agent] = run.agents
    agent.config["kafka"]["group_id"] = run.folder.name
    try:
        cluster.kill(0)
        agent.start(ready=False)
        agent.server.wait_for(lambda: "brokers are waited for" in agent.server.log, PATIENCE, "it says what it waits for")
        status, _, text = fetch(f"{agent.url}/readyz")
        assert status == 503 and "refused" in text.lower(), text
        # It can be told to stop meanwhile.
        assert agent.drain() == 0, agent.server.tail()
        agent.start(ready=False)
        agent.server.wait_for(lambda: "brokers are waited for" in agent.server.log, PATIENCE, "it says what it waits for")
        cluster.restart(0)
        agent.server.wait_for(lambda: ready(agent), PATIENCE, "it is ready")
        drain(run)
    finally:
        cluster.restart(0)
        run.stop()


def test_a_decision_that_cannot_be_read_is_named_and_kept_until_it_is_deleted(start, cluster):
    run = start(1)
    [agent] = run.agents
    wait_for_windows(run, 2)
    drain(run)
    topic = f"{run.folder.name}.owners"
    key = json.dumps({"owner": chaos_stream.MODEL}, separators=(",", ":")).encode()
    [home] = [part for part, records in cluster.read(topic).items() if any(of == key for _, _, of, _ in records)]
    write(cluster, topic, home, key, b"\xffnot a decision")
    agent.start(ready=False)
    wanted = f"the key {key.decode()} in partition {home} of {topic}"
    agent.server.wait_for(lambda: wanted in agent.server.log, PATIENCE, "it says what it cannot read")
    status, _, text = fetch(f"{agent.url}/readyz")
    assert status == 503 and f"in partition {home} of {topic}" in text, text
    drain(run)
    assert [value for _, _, of, value in cluster.read(topic)[home] if of == key][-1] == b"\xffnot a decision"
    write(cluster, topic, home, key, None)
    agent.start()
    wait_for_windows(run, 2)
    drain(run)


def write(cluster, topic, partition, key, value):
    producer = Producer({"bootstrap.servers": cluster.address})
    producer.produce(topic, partition=partition, key=key, value=value)
    assert producer.flush(30) == 0


@pytest.fixture
def ended(request, folder, cluster):
    """Runs one agent on topics as the test has made them, until it ends by itself or says so; returns what it said."""
    runs = []

    def ended(prepare, says=None):
        run = Run(folder / request.node.name.replace("test_", "").replace("_", "-"), cluster, 1, "cluster", False)
        runs.append(run)
        agent = run.agents[0]
        agent.config["kafka"]["group_id"] = run.folder.name
        prepare(run)
        agent.start(ready=False)
        if says is None:
            assert agent.server.wait(PATIENCE) != 0
        else:
            agent.server.wait_for(lambda: says in agent.server.log, PATIENCE, f"it says: {says}")
        return agent.server.log

    yield ended
    for run in runs:
        run.stop()


def test_a_topic_that_loses_the_state_is_named_and_not_used(ended, cluster):
    def prepare(run):
        # What a topic is by default: old records are deleted, the last one of a key among them.
        cluster.create(f"{run.folder.name}.panes", f"{run.folder.name}.owners", partitions=2)

    said = ended(prepare)
    name = "a-topic-that-loses-the-state-is-named-and-not-used"
    assert f"the topic {name}.panes has cleanup.policy=delete instead of compact,delete" in said, said
    assert f"the topic {name}.owners has cleanup.policy=delete instead of compact" in said, said
    assert "kafka-configs.sh --bootstrap-server" in said, said


def test_labels_that_lie_elsewhere_are_named(ended, cluster):
    said = ended(lambda run: cluster.add_partitions([run.topics["labels"]], 6), "cannot be joined exactly")
    name = "labels-that-lie-elsewhere-are-named"
    assert f"{name}.predictions has 4, {name}.labels has 6" in said, said
