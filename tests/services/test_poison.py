"""Records that nobody can use: each is counted under its reason, sent on as it was, and the stream goes on."""

import json
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

import carloan
from agent import Agent

NOON = carloan.millis("2019-03-21T12:00:00Z")


def prediction(**changes):
    event = {"model": "car_loan", "version": "1", "id": "x", "ts": "2019-03-21T12:00:00Z", "features": {"car_value": 12638.0}, "prediction": 1, "score": 0.9}
    event.update(changes)
    return json.dumps({key: value for key, value in event.items() if value is not ...}).encode()


# The reason under which each is counted.
POISON = {
    "empty": [b"", None],
    "not_json": [b"not json", b'{"model":"car_loan","id":"x"', b"\x00\xff\xfe"],
    "not_an_object": [b"[1,2,3]", b'"text"', b"null"],
    "oversize": [prediction(id="x" * 3_000_000)],
    "unknown_model": [prediction(model="nobody")],
    "missing_model": [prediction(model=...)],
    "bad_time": [prediction(ts="yesterday")],
    "future": [prediction(ts="2019-03-21T12:06:00Z")],
    "bad_features": [prediction(features=[1, 2])],
    "missing_prediction": [prediction(prediction=..., score=...)],
    "bad_prediction": [prediction(score=1.5)],
}


@pytest.fixture(scope="module")
def agent(folder, broker, baseline):
    agent = Agent(folder / "poison", broker, baseline)
    agent.dead = "poison.dead"
    broker.create(agent.dead, partitions=1)
    agent.config["kafka"]["dead_letters"] = {"topic": agent.dead}
    try:
        agent.start()
        broker.produce(agent.predictions, [(b"x", value, NOON) for values in POISON.values() for value in values])
        broker.produce(agent.labels, [(b"x", b'{"model":"car_loan","version":"1","id":"x","ts":"2019-03-21T12:00:00Z"}', NOON)])
        # Python writes these bare tokens by default: they are read, and counted apart.
        bare = prediction().replace(b"12638.0", b"NaN")
        assert b"NaN" in bare
        broker.produce(agent.predictions, [(b"x", bare, NOON)])
        broker.produce(agent.predictions, carloan.predictions(22, 26))
        agent.wait_for_week(carloan.week(24)[0])
        yield agent
    finally:
        agent.stop()


@pytest.mark.parametrize("reason", sorted(POISON))
def test_a_rejected_record_is_counted_under_its_reason(agent, reason):
    assert agent.status()["rejected"].get(reason) == len(POISON[reason])


def test_a_label_event_without_its_label_is_counted(agent):
    agent.wait_for(lambda: agent.status()["rejected"].get("missing_label") == 1, "missing_label: 1")


def test_bare_tokens_are_read_and_counted(agent):
    agent.wait_for(lambda: agent.status()["nonstandard_json"] == 1, "nonstandard_json: 1")


def test_no_record_was_rejected_for_another_reason(agent):
    assert set(agent.status()["rejected"]) <= {*POISON, "missing_label"} | {reason for reason, count in agent.status()["rejected"].items() if not count}


def test_the_stream_goes_on(agent):
    for number in (22, 23, 24):
        start, count = carloan.week(number)
        assert agent.windows()[start]["n"] == count
    low, high = sorted(carloan.PSI_CAR_VALUE[23])
    assert low * 0.999 <= agent.measured("feature:car_value", "psi")[carloan.week(23)[0]]["value"] <= high * 1.001


def letters(broker, topic, count, patience=60):
    """Everything in the topic, once there are so many."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "reader", "enable.auto.commit": False, "fetch.max.bytes": 50_000_000})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, until = [], time.monotonic() + patience
    try:
        while time.monotonic() < until:
            message = consumer.poll(0.5)
            if message is not None and not message.error():
                found.append(message)
            elif len(found) >= count:
                break
        return found
    finally:
        consumer.close()


def said(message):
    return {name.removeprefix("__drift.errors."): value.decode() for name, value in message.headers() if name.startswith("__drift.errors.")}


def test_each_rejected_record_is_a_letter_and_a_tombstone_is_none(agent, broker):
    sent = [(reason, value) for reason, values in POISON.items() for value in values if value is not None]
    expected = sorted((reason, value) for reason, value in sent if reason != "oversize")
    found = letters(broker, agent.dead, len(sent) + 1)
    ours = [message for message in found if said(message)["topic"] == agent.predictions]
    whole = sorted((said(message)["reason"], message.value()) for message in ours if said(message)["reason"] != "oversize")
    assert whole == expected
    assert {message.key() for message in found} == {b"x"}
    assert {message.timestamp()[1] for message in found} == {NOON}
    [oversize] = [message for message in ours if said(message)["reason"] == "oversize"]
    assert oversize.value() is None and said(oversize)["truncated"] == str(len(POISON["oversize"][0]))
    [label] = [message for message in found if said(message)["topic"] == agent.labels]
    assert said(label)["reason"] == "missing_label"
    assert said(label) | {"partition": "", "offset": ""} == {
        "reason": "missing_label",
        "message": "the label event has no label",
        "stage": "map",
        "topic": agent.labels,
        "partition": "",
        "offset": "",
        "timestamp": str(NOON),
        "group": agent.config["kafka"]["group_id"],
        "agent_version": agent.status()["version"],
        "attempt": "1",
    }


def test_letters_are_accounted_for(agent):
    sent = {reason: len([value for value in values if value is not None]) for reason, values in POISON.items()} | {"missing_label": 1}
    status = agent.wait_for(lambda: (found := agent.status()["dead_letters"])["sent"] == sent and found, f"letters sent: {sent}")
    assert (status["failed"], status["suppressed"], status["waiting"], status["blocked"]) == ({}, {}, 0, False)
    counted = {labels["reason"]: value for labels, value in agent.samples("driftline_dead_letters_total") if labels["outcome"] == "sent"}
    assert counted == sent


def test_a_flood_is_one_alert_and_no_letters(agent, broker):
    """Last: it stays for a minute."""
    before = sum(agent.status()["dead_letters"]["sent"].values())
    broker.produce(agent.predictions, [(b"x", b"flood", NOON)] * 3_000)

    def alerts():
        return [alert for alert in agent.json("/api/v1/alerts")["data"]["alerts"] if alert["labels"]["alertname"] == "SchemaDrift"]

    [alert] = agent.wait_for(alerts, "SchemaDrift is firing")
    assert alert["labels"]["topic"] == agent.predictions and alert["labels"]["severity"] == "warning" and "model" not in alert["labels"]
    assert "not_json" in alert["annotations"]["summary"]
    broker.produce(agent.predictions, [(b"x", b"[]", NOON)] * 20)
    agent.wait_for(lambda: agent.status()["dead_letters"]["suppressed"].get("not_an_object") == 20, "the others are suppressed")
    # A burst, and what the rate lets through until the flood is noticed.
    assert sum(agent.status()["dead_letters"]["sent"].values()) - before < 300
    assert len(alerts()) == 1


def test_the_check_says_whether_the_topic_is_there(agent, driftline):
    assert f"ok    dead letters {agent.dead}\n" in driftline("check", *agent.write(), "--connect").stdout
    agent.config["kafka"]["dead_letters"] = {"topic": "nowhere"}
    assert "FAIL  dead letters nowhere: no such topic, or not for this user to see: nowhere\n" in driftline("check", *agent.write(), "--connect", status=69).stdout
