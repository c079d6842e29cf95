"""The same records through any number of replicas, each with any number of workers: the same bytes, and those of a replay.

Nobody is harmed here. Each group of agents has topics of its own, and in all of them lie the same records at the same offsets.
"""

import time

import pytest

import test_chaos
from chaos_brokers import Brokers, Past
from server import eventually
from test_chaos import PATIENCE, Run, judge, say

# Seconds of records.
SECONDS = 60
# Mode, and the workers of each replica: one, two and four replicas, and every number of workers from one to eight.
GROUPS = [("local", [4]), ("cluster", [8]), ("cluster", [6, 7]), ("cluster", [1, 2, 3, 5])]


@pytest.fixture(scope="module")
def brokers(folder):
    brokers = Brokers(folder / "comparison-brokers", 1)
    try:
        yield brokers.start()
    finally:
        brokers.stop()


@pytest.fixture(scope="module")
def lines():
    """The result lines of each group that has been judged."""
    return {}


@pytest.fixture(scope="module")
def began():
    return int(time.time() * 1000) - SECONDS * 1000


@pytest.mark.parametrize(("mode", "workers"), GROUPS, ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)))
def test_any_number_of_replicas_and_workers_says_the_same(folder, brokers, began, lines, mode, workers):
    name = f"{mode}-{'-'.join(map(str, workers))}"
    run = Run(folder / f"comparison-{name}", brokers, len(workers), mode, False)
    try:
        run.witness.ignore = ()
        run.producers = Past(brokers, run.topics, test_chaos.SEED, test_chaos.RATE, test_chaos.PARTITIONS, began, SECONDS)
        for agent, count in zip(run.agents, workers):
            agent.config["kafka"]["group_id"] = run.folder.name
            agent.config["limits"] = {"workers": count}
            agent.start()
        # Nothing is written before everybody has something to read: the work is shared.
        reads = lambda: [len(agent.status()["partitions"]) for agent in run.agents]
        eventually(lambda: all(reads()) and sum(reads()) == 2 * run.partitions, PATIENCE, "everybody reads")
        run.producers.start()
        until = judge(run)
        said = {about: text for about, text in run.witness.lines.items() if test_chaos.end(text) <= until}
        for other, theirs in lines.items():
            assert said.keys() == theirs.keys(), f"{name} and {other} do not say the same lines: {sorted(said.keys() ^ theirs.keys())[:4]}"
            different = [(text, theirs[about]) for about, text in said.items() if theirs[about] != text]
            assert not different, f"{name} and {other} differ in {len(different)} of {len(said)} lines, such as {different[:3]}"
        lines[name] = said
        say(f"{len(said)} lines of {name} are those of {len(lines) - 1} other groups")
        for agent in run.agents:
            assert agent.drain() == 0, agent.server.tail()
    finally:
        run.stop()
