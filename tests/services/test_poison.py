"""Records that nobody can use: each is counted under its reason, and the stream goes on."""

import json

import pytest

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
    assert agent.status()["nonstandard_json"] == 1


def test_no_record_was_rejected_for_another_reason(agent):
    assert set(agent.status()["rejected"]) <= {*POISON, "missing_label"} | {reason for reason, count in agent.status()["rejected"].items() if not count}


def test_the_stream_goes_on(agent):
    for number in (22, 23, 24):
        start, count = carloan.week(number)
        assert agent.windows()[start]["n"] == count
    low, high = sorted(carloan.PSI_CAR_VALUE[23])
    assert low * 0.999 <= agent.measured("feature:car_value", "psi")[carloan.week(23)[0]]["value"] <= high * 1.001
