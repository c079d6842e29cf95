"""Stopping, killing and starting again: no event is lost, none is counted twice."""

import copy

import pytest
import yaml
from confluent_kafka.admin import NewPartitions

import carloan
import conftest
from agent import Agent
from server import fetch

# In the middle of week 23: the stop falls into an open window.
CUT = carloan.WEEKS[23][1] - carloan.WEEKS[21][1] + 500


@pytest.fixture()
def agent(folder, broker, baseline, request):
    agent = Agent(folder / request.node.name.replace("test_", "").replace("_", "-"), broker, baseline)
    yield agent
    agent.stop()


def counted(agent):
    return agent.status()["outcomes"].get("counted", 0)


def produce(agent, broker, records):
    """Sends them and waits until this process has counted as many more."""
    before = counted(agent)
    broker.produce(agent.predictions, records)
    agent.wait_for(lambda: counted(agent) - before >= len(records), f"{len(records)} more events counted")


def sizes(agent):
    """Events of each closed window by the number of its week."""
    names = {carloan.week(number)[0]: number for number in (21, 22, 23, 24)}
    return {names[start]: window["n"] for start, window in agent.windows().items() if start in names}


def check_windows(agent, before):
    start, _ = carloan.week(24)
    agent.wait_for(lambda: agent.windows().get(start), f"the window from {start} is closed")
    # The one the stop fell into is the third.
    assert {**before, **sizes(agent)} == {number: carloan.week(number)[1] for number in (21, 22, 23, 24)}
    low, high = sorted(carloan.PSI_CAR_VALUE[23])
    value = agent.measured("feature:car_value", "psi")[carloan.week(23)[0]]["value"]
    assert low * 0.999 <= value <= high * 1.001


def test_a_drained_agent_goes_on_where_it_stopped(agent, broker):
    records = carloan.predictions(21, 26)
    agent.start()
    produce(agent, broker, records[:CUT])
    before = agent.wait_for(lambda: sizes(agent) if len(sizes(agent)) == 2 else None, "weeks 21 and 22 are closed")
    assert agent.drain() == 0, agent.server.tail()
    # What comes while nobody listens is not lost either.
    broker.produce(agent.predictions, records[CUT : CUT + 1000])
    agent.start()
    broker.produce(agent.predictions, records[CUT + 1000 :])
    check_windows(agent, before)
    assert agent.drain() == 0, agent.server.tail()


def test_a_killed_agent_loses_nothing_and_counts_nothing_twice(agent, broker):
    records = carloan.predictions(21, 26)
    agent.start()
    produce(agent, broker, records[:CUT])
    before = agent.wait_for(lambda: sizes(agent) if len(sizes(agent)) == 2 else None, "weeks 21 and 22 are closed")
    agent.kill()
    agent.start()
    assert sizes(agent) == before, "what was said is still known"
    broker.produce(agent.predictions, records[CUT:])
    check_windows(agent, before)


def test_partitions_that_were_added_while_an_agent_was_away_are_read(agent, broker):
    def assigned():
        return sorted(part["partition"] for part in agent.status()["partitions"] if part["topic"] == agent.predictions)

    agent.start()
    agent.wait_for(lambda: assigned() == [0, 1], "both partitions are assigned")
    agent.kill()
    for future in broker.admin.create_partitions([NewPartitions(agent.predictions, 3)]).values():
        future.result(30)
    agent.start()
    agent.wait_for(lambda: assigned() == [0, 1, 2], "the third is, too", timeout=20)


def test_check_names_a_broker_that_cannot_be_reached(folder, broker, baseline, driftline):
    agent = Agent(folder / "unreachable", broker, baseline)
    agent.config["kafka"]["bootstrap_servers"] = ["127.0.0.1:1"]
    done = driftline("check", *agent.write(), "--connect", status=69)
    assert "127.0.0.1:1" in done.stdout + done.stderr


def test_an_agent_waits_for_its_broker_and_still_stops(agent):
    agent.config["kafka"]["bootstrap_servers"] = ["127.0.0.1:1"]
    agent.start(ready=False)
    agent.wait_for(lambda: fetch(f"{agent.url}/livez")[0] == 200, "/livez answers 200")
    assert agent.drain() == 0, agent.server.tail()


def test_a_reload_applies_whole_or_not_at_all(agent):
    def names():
        groups = agent.json("/api/v1/rules")["data"]["groups"]
        return [rule["name"] for group in groups for rule in group["rules"]]

    def reloads():
        return [value for _, value in agent.samples("driftline_config_last_reload_successful")]

    agent.rules = copy.deepcopy({**conftest.RULES, "receivers": [{"name": "everyone"}]})
    agent.start()
    assert names() == ["FeaturePSI"]

    agent.rules["groups"][0]["rules"][0]["alert"] = "AnotherName"
    agent.reload()
    agent.wait_for(lambda: names() == ["AnotherName"], "the new rule is listed")

    agent.rules["groups"][0]["rules"][0].update(alert="NeverSeen", value="psi +")
    agent.reload()
    agent.wait_for(lambda: reloads() == [0.0], "the faulty reload is reported")
    assert names() == ["AnotherName"], "and changes nothing"


def test_a_watched_folder_is_followed_as_kubernetes_changes_it(agent):
    """A mounted ConfigMap: every file is a link through one link to a folder, and that one is exchanged."""
    mounted = agent.folder / "mounted"
    mounted.mkdir(parents=True)

    def publish(version, files):
        (mounted / version).mkdir()
        for name, content in files.items():
            (mounted / version / name).write_text(yaml.safe_dump(content))
        (mounted / "..new").symlink_to(version)
        (mounted / "..new").rename(mounted / "..data")
        for name in files:
            if not (mounted / name).is_symlink():
                (mounted / name).symlink_to(f"..data/{name}")

    def group(name):
        rule = {**conftest.RULES["groups"][0]["rules"][0], "alert": name}
        return {"groups": [{"name": name, "model": "car_loan", "rules": [rule]}]}

    def names():
        return [rule["name"] for group in agent.json("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    agent.arguments = ["--rules", mounted / "*.yaml", "--watch"]
    publish("..1", {"a.yaml": group("First")})
    agent.start()
    assert names() == ["First"]
    publish("..2", {"a.yaml": group("Second")})
    agent.wait_for(lambda: names() == ["Second"], "the changed file is read")
    publish("..3", {"a.yaml": group("Second"), "b.yaml": group("Third")})
    agent.wait_for(lambda: names() == ["Second", "Third"], "the new file is found")


def test_check_finds_everything_it_is_given_reachable(folder, broker, baseline, driftline):
    agent = Agent(folder / "reachable", broker, baseline)
    driftline("check", *agent.write(), "--connect")


def test_a_bad_configuration_is_status_78(folder, broker, baseline, driftline):
    agent = Agent(folder / "bad", broker, baseline)
    agent.config["kafka"]["bootstrap_server"] = agent.config["kafka"].pop("bootstrap_servers")
    done = driftline("run", *agent.write(), status=78)
    assert "bootstrap_servers" in done.stderr, "it names what was meant"
