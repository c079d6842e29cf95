"""Alerts on the input of several replicas: they are of no model, one replica judges them for all, and another one goes on
where it ended."""

import os
import time

import pytest
from confluent_kafka import TopicPartition

import carloan
from agent import Agent
from chaos_witness import Messages
from server import eventually

PATIENCE = 120
NOON = carloan.millis("2019-03-21T12:00:00Z")


class Pair:
    """Two agents that share everything."""

    def __init__(self, folder, broker, baseline):
        self.broker, self.hook = broker, Messages().start()
        self.agents = [Agent(folder / "input-a", broker, baseline), Agent(folder / "input-b", broker, baseline)]
        first = self.agents[0]
        self.predictions = first.predictions
        broker.create("input.dead", partitions=1)
        for agent in self.agents:
            agent.config["kafka"]["topics"] = first.config["kafka"]["topics"]
            agent.config["kafka"]["group_id"] = "input"
            agent.config["kafka"]["dead_letters"] = {"topic": "input.dead"}
            agent.config["state"].update(mode="cluster", checkpoint_interval="1s")
            agent.rules = {
                "route": {"receiver": "everyone", "group_wait": "1s"},
                "receivers": [{"name": "everyone", "webhook_configs": [{"url": self.hook.url, "send_resolved": True}]}],
            }

    def start(self):
        for agent in self.agents:
            agent.start()
        eventually(lambda: all(len(agent.status()["partitions"]) == 2 for agent in self.agents), PATIENCE, "both agents read")

    def stop(self):
        for agent in self.agents:
            agent.stop()
        self.hook.stop()

    def alerts(self, name):
        """The firing alerts of that name with the agents that show them."""
        found = []
        for agent in self.agents:
            if agent.server.process.poll() is None:
                alerts = agent.json("/api/v1/alerts")["data"]["alerts"]
                found += [(agent, alert) for alert in alerts if alert["labels"]["alertname"] == name and alert["state"] == "firing"]
        return found

    def one(self, name):
        eventually(lambda: self.alerts(name), PATIENCE, f"{name} is firing")
        [(owner, alert)] = self.alerts(name)
        assert alert["labels"] | {"alertname": name} == {"alertname": name, "severity": "warning", "topic": self.predictions}
        return owner, alert

    def told(self, name):
        """The ids of the messages about an alert; the same message again has the same id and the same words."""
        bodies = self.hook.by_id()
        assert all(len(same) == 1 for same in bodies.values()), bodies
        return sorted(id for id, [body] in bodies.items() if name.encode() in body)

    def hand_over(self, owner, name, news):
        """The owner dies; the other one shows the same alert, and tells nobody again."""
        told = self.told(name)
        owner.kill()
        [other] = [agent for agent in self.agents if agent is not owner]
        eventually(lambda: [agent for agent, _ in self.alerts(name)] == [other], PATIENCE, "the other agent shows it")
        before, count = other.status()["received"], self.broker.produce(self.predictions, news)
        eventually(lambda: other.status()["received"] >= before + count, PATIENCE, "it reads on, everything")
        assert self.told(name) == told
        owner.start()
        eventually(lambda: all(len(agent.status()["partitions"]) == 2 for agent in self.agents), PATIENCE, "both agents read")
        return self.one(name)


def keyed(values):
    """To every partition."""
    return [(os.urandom(8), value, NOON) for value in values]


@pytest.fixture(scope="module")
def pair(folder, broker, baseline):
    pair = Pair(folder, broker, baseline)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


def test_a_flood_is_told_once_by_whoever_owns_it(pair, broker):
    broker.produce(pair.predictions, keyed([b"flood"] * 500))
    owner, alert = pair.one("SchemaDrift")
    assert "not_json" in alert["annotations"]["summary"]
    eventually(lambda: len(pair.told("SchemaDrift")) == 1, PATIENCE, "it is told")

    # Each agent stops its own letters, within a second of its own.
    time.sleep(3)
    broker.produce(pair.predictions, keyed([b"[]"] * 40))
    suppressed = lambda: sum(agent.status()["dead_letters"]["suppressed"].get("not_an_object", 0) for agent in pair.agents)
    eventually(lambda: suppressed() == 40, PATIENCE, "no letter is sent of either part of the topic")

    pair.hand_over(owner, "SchemaDrift", keyed([b"flood"] * 500))
    broker.produce(pair.predictions, carloan.predictions(19, 35))
    eventually(lambda: not pair.alerts("SchemaDrift"), PATIENCE, "it is over")
    eventually(lambda: len(pair.told("SchemaDrift")) == 2, PATIENCE, "that is told, too")


def test_a_gap_is_told_once_by_whoever_owns_it(pair, broker):
    for agent in pair.agents:
        assert agent.drain() == 0, agent.server.tail()
    broker.produce(pair.predictions, carloan.predictions(22, 24))
    _, end = broker.watermarks(pair.predictions, 0)
    for future in broker.admin.delete_records([TopicPartition(pair.predictions, 0, end - 100)]).values():
        future.result()
    pair.start()
    owner, alert = pair.one("IngestGap")
    assert f"to {end - 100}" in alert["annotations"]["summary"]
    eventually(lambda: len(pair.told("IngestGap")) == 1, PATIENCE, "it is told")
    pair.hand_over(owner, "IngestGap", carloan.predictions(24, 25))
    assert len(pair.told("IngestGap")) == 1
    for agent in pair.agents:
        assert agent.drain() == 0, agent.server.tail()
