"""The topics that replicas share, on a real broker: made, examined, and mended by the commands that the agent names."""

import concurrent.futures
import re
import shlex
import subprocess

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from agent import Agent

UNAVAILABLE = 69
DAY = 24 * 3600 * 1000


@pytest.fixture
def check(request, folder, broker, baseline, driftline):
    """Runs `check --connect` with a group of the test's own and returns what it said; `check.topics` are the two topics."""
    name = re.sub(r"\W+", "-", request.node.name)
    agent = Agent(folder / name, broker, baseline)
    agent.config["state"]["mode"] = "cluster"

    def run(*arguments, status=0, **state):
        agent.config["state"].update(state)
        return driftline("check", *agent.write(), "--connect", *arguments, status=status).stdout

    def at_once(count):
        # One file for all: written by each, it would be read half written.
        files = agent.write()
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            running = [pool.submit(driftline, "check", *files, "--connect") for _ in range(count)]
            return [done.result().stdout for done in running]

    run.at_once = at_once
    run.topics = [f"driftline-{name}.panes", f"driftline-{name}.owners"]
    return run


def settings(broker, topic):
    """The settings of a topic that are its own."""
    described = broker.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
    return {name: entry.value for (future) in described.values() for name, entry in future.result(30).items() if entry.source == 1}


def change(broker, topic, name, value):
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)


def partitions(broker, topic):
    return len(broker.admin.list_topics(topic, timeout=30).topics[topic].partitions)


def test_missing_topics_are_made_and_then_right(broker, check):
    said = check(partitions=6)
    panes, owners = check.topics
    assert f"ok    topics {panes} and {owners}, 6 partitions" in said
    assert f"warn  the topics {panes} and {owners} are made with 1 instead of 3 copies" in said
    assert [partitions(broker, topic) for topic in check.topics] == [6, 6]
    both = {"compression.type": "zstd", "min.compaction.lag.ms": "3600000", "max.compaction.lag.ms": "21600000", "segment.ms": "3600000", "max.message.bytes": str((16 << 20) + (64 << 10))}
    # Three windows of 7 days, labels of 45 days, an hour of lateness, and three days.
    kept = 69 * DAY + DAY // 24
    assert settings(broker, panes) == {**both, "cleanup.policy": "compact,delete", "retention.ms": str(kept)}
    assert settings(broker, owners) == {**both, "cleanup.policy": "compact"}
    assert "warn" not in check("--strict")


def test_replicas_that_make_them_at_once_are_all_right(broker, check):
    for said in check.at_once(8):
        assert "8 partitions" in said
    assert [partitions(broker, topic) for topic in check.topics] == [8, 8]


def test_the_other_topic_gets_as_many_partitions(broker, check):
    panes, owners = check.topics
    broker.create(panes, partitions=3)
    change(broker, panes, "cleanup.policy", "compact,delete")
    said = check()
    assert partitions(broker, owners) == 3
    assert f"warn  the topics {panes} and {owners} have 3 partitions, not the 8 of state.partitions" in said


def test_a_wrong_topic_is_named_with_the_command_that_mends_it(broker, check):
    check()
    panes, owners = check.topics
    change(broker, panes, "cleanup.policy", "delete")
    change(broker, owners, "min.compaction.lag.ms", "0")
    change(broker, panes, "retention.ms", "3600000")
    said = check(status=UNAVAILABLE)
    assert f"FAIL  topics {panes} and {owners}: the topic {panes} has cleanup.policy=delete instead of compact,delete: " in said

    def mend(said):
        """Runs the first command that is named, with the tool that Kafka's script would start."""
        command = shlex.split(re.search(r"mend it: (kafka-configs\.sh .*)", said).group(1))[1:]
        done = subprocess.run([*broker.java, "kafka.admin.ConfigCommand", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Completed updating" in done.stdout, f"{command}\n{done.stdout}\n{done.stderr}"

    mend(said)
    said = check()
    assert f"warn  the topic {panes} has retention.ms=3600000 instead of " in said
    assert f"warn  the topic {owners} has min.compaction.lag.ms=0 instead of 3600000" in said
    for _ in range(2):
        mend(check())
    assert "warn" not in check("--strict")


def test_topics_of_different_size_are_refused(broker, check):
    panes, owners = check.topics
    broker.create(panes, partitions=8)
    broker.create(owners, partitions=5)
    said = check(status=UNAVAILABLE)
    assert f"the topic {panes} has 8 partitions and {owners} has 5" in said
    assert f"--delete --topic {owners}" in said


def test_more_copies_than_brokers_are_refused(check):
    said = check(status=UNAVAILABLE, replication=2)
    assert f"the topic {check.topics[0]} is missing and cannot be created: there are fewer brokers than the 2 copies of state.replication" in said
    assert "create it: kafka-topics.sh " in said
