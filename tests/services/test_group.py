"""The consumer group against a real broker: partitions and topics that come and go, brokers that stand still, members that
take each other's place."""

import os
import shutil
import signal
import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

import carloan
from agent import Agent
from broker import Broker


@pytest.fixture(scope="module")
def group_broker(folder):
    broker = Broker(folder / "group-kafka")
    try:
        yield broker.start()
    finally:
        broker.stop()


@pytest.fixture()
def make(folder, group_broker, baseline, request):
    """Agents of one test, by what is special about them."""
    agents = []

    def make(name="", librdkafka=None, topics_of=None, **kafka):
        part = request.node.name.replace("test_", "").translate(str.maketrans("_[]", "---")).strip("-")[:60]
        agent = Agent(folder / f"{part}{name}", group_broker, baseline)
        if topics_of:
            agent.predictions, agent.labels = topics_of.predictions, topics_of.labels
            agent.config["kafka"].update(topics=topics_of.config["kafka"]["topics"], group_id=topics_of.config["kafka"]["group_id"])
        agent.config["kafka"]["librdkafka"] = {"topic.metadata.refresh.interval.ms": 1000, **(librdkafka or {})}
        agent.config["kafka"].update(kafka)
        agent.config["state"]["checkpoint_interval"] = "500ms"
        agents.append(agent)
        return agent

    yield make
    for agent in agents:
        agent.stop()


def produce(broker, topic, records, partition):
    """Sends records to one partition, in order."""
    producer = Producer({"bootstrap.servers": broker.address, "acks": "all", "enable.idempotence": True, "topic.metadata.refresh.interval.ms": 500})
    for key, value, millis in records:
        producer.produce(topic, value=value, key=key, timestamp=millis, partition=partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def counted(agent):
    return agent.status()["outcomes"].get("counted", 0)


def wait_counted(agent, count):
    try:
        agent.wait_for(lambda: counted(agent) >= count, f"{count} events counted")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{agent.status()}") from None
    assert counted(agent) == count


def wait_window(agent, number):
    start, count = carloan.week(number)
    return agent.wait_for(lambda: agent.windows().get(start), f"the window of week {number} is closed"), count


def remake(broker, topic, wait=0.0, partitions=2):
    """The topic of that name is another one now."""
    for future in broker.admin.delete_topics([topic]).values():
        future.result(30)
    time.sleep(wait)
    broker.server.wait_for(lambda: create(broker, topic, partitions), 30, "the topic is made anew")


def create(broker, topic, partitions):
    try:
        broker.create(topic, partitions=partitions)
        return True
    except Exception as error:  # noqa: BLE001: it may be on its way out still
        assert "already exists" in str(error), error
        return False


def test_a_new_partition_is_read_from_its_start_without_a_restart(make, group_broker):
    # From now on: what is new since then is not history.
    agent = make(librdkafka={"topic.metadata.refresh.interval.ms": 25000}, start="latest").start()
    agent.wait_for(lambda: len(agent.status()["partitions"]) >= 4, "all partitions are ours")
    first, second = carloan.predictions(21, 22), carloan.predictions(22, 24)
    # The position `latest` is looked up once reading begins.
    time.sleep(3)
    group_broker.produce(agent.predictions, first)
    wait_counted(agent, len(first))
    for future in group_broker.admin.create_partitions([NewPartitions(agent.predictions, 3)]).values():
        future.result(30)
    # All of them are there before the agent looks.
    for partition in (2, 1, 0):
        produce(group_broker, agent.predictions, second[partition::3], partition)
    wait_counted(agent, len(first) + len(second))
    window, count = wait_window(agent, 22)
    assert (window["n"], window["complete"]) == (count, True)
    assert agent.drain() == 0, agent.server.tail()


@pytest.mark.parametrize(
    ("mode", "moment"),
    [("local", "at-once"), ("local", "after-a-while"), ("local", "while-the-agent-is-away"), ("cluster", "at-once"), ("cluster", "while-the-agent-is-away")],
)
def test_a_topic_that_was_made_anew_is_read_from_its_start(mode, moment, make, group_broker):
    # Static membership: the killed agent takes its partitions back at once.
    agent = make(instance_id="pod-0")
    agent.config["state"]["mode"] = mode
    agent.start()
    old, new = carloan.predictions(21, 22), carloan.predictions(22, 26)
    group_broker.produce(agent.predictions, old)
    wait_counted(agent, len(old))
    # A checkpoint knows them.
    time.sleep(2)
    if moment == "while-the-agent-is-away":
        assert agent.drain() == 0, agent.server.tail()
    remake(group_broker, agent.predictions, wait=8.0 if moment == "after-a-while" else 0.0)
    # More than was read of the old one: every position is a place in the new one, too.
    group_broker.produce(agent.predictions, new)
    if moment == "while-the-agent-is-away":
        agent.start()
    wait_counted(agent, len(old) + len(new))
    window, count = wait_window(agent, 23)
    assert window["n"] == count
    gaps = [gap for window in agent.windows().values() for gap in window["gaps"]]
    assert any("topic recreated" in gap for gap in gaps), str(agent.windows()) + agent.server.tail()
    assert "topic recreated" in agent.server.log
    # The stored positions are those of the new topic.
    time.sleep(2)
    agent.kill()
    agent.start()
    more = carloan.predictions(26, 27)
    group_broker.produce(agent.predictions, more)
    wait_counted(agent, len(old) + len(new) + len(more))
    assert agent.server.log.count("topic recreated") == 2, "once for each partition"


@pytest.mark.parametrize("how", ["transaction", "deleted", "from-now-on"])
@pytest.mark.parametrize("mode", ["local", "cluster"])
def test_nothing_to_read_holds_nothing_up(mode, how, make, group_broker):
    agent = make(idle_timeout="3s", start="latest" if how == "from-now-on" else "earliest")
    agent.config["state"]["mode"] = mode
    old, new = carloan.predictions(20, 21), carloan.predictions(21, 25)
    if how == "transaction":
        # The last offset of the partition is that of the marker.
        producer = Producer({"bootstrap.servers": group_broker.address, "transactional.id": agent.folder.name})
        producer.init_transactions(30)
        producer.begin_transaction()
        for key, value, millis in old:
            producer.produce(agent.predictions, value=value, key=key, timestamp=millis, partition=1)
        producer.commit_transaction(30)
    else:
        produce(group_broker, agent.predictions, old, 1)
    if how == "deleted":
        for future in group_broker.admin.delete_records([TopicPartition(agent.predictions, 1, -1)]).values():
            future.result()
    agent.start()
    agent.wait_for(lambda: len(agent.status()["partitions"]) >= 4, "all partitions are ours")
    read = len(old) if how == "transaction" else 0
    wait_counted(agent, read)
    produce(group_broker, agent.predictions, new, 0)
    wait_counted(agent, read + len(new))
    window, count = wait_window(agent, 23)
    assert (window["n"], window["complete"]) == (count, True), window
    assert agent.drain() == 0, agent.server.tail()


@pytest.mark.parametrize("mode", ["local", "cluster"])
def test_from_now_on_is_not_from_a_crash_on(mode, make, group_broker):
    agent = make(start="latest", instance_id="pod-0")
    agent.config["state"]["mode"] = mode
    group_broker.produce(agent.predictions, carloan.predictions(20, 21))
    agent.start()
    agent.wait_for(lambda: len(agent.status()["partitions"]) >= 4, "all partitions are ours")
    # A checkpoint knows where they were, although nothing has come.
    time.sleep(3)
    agent.kill()
    group_broker.produce(agent.predictions, carloan.predictions(21, 22))
    agent.start()
    wait_counted(agent, carloan.week(21)[1])
    assert agent.drain() == 0, agent.server.tail()


def test_without_its_state_an_agent_goes_on_behind_what_was_deleted(make, group_broker):
    agent = make().start()
    read, lost, rest = carloan.predictions(21, 22), carloan.predictions(22, 23), carloan.predictions(23, 26)
    # Of now, as the broker sees it: what it holds is looked up by the times of records.
    now = int(time.time() * 1000)
    stamped = lambda records: [(key, value, now) for key, value, _ in records]
    produce(group_broker, agent.predictions, stamped(read), 0)
    wait_counted(agent, len(read))
    assert agent.drain() == 0, agent.server.tail()
    shutil.rmtree(agent.config["state"]["path"])
    produce(group_broker, agent.predictions, stamped(lost), 0)
    for future in group_broker.admin.delete_records([TopicPartition(agent.predictions, 0, len(read) + len(lost) - 50)]).values():
        future.result()
    # Without a record as young as that the commit is gone on from, and that is deleted.
    agent.config["models"][0]["windows"] = [{"name": "7d", "size": "7d"}]
    agent.start()
    wait_counted(agent, 50)
    produce(group_broker, agent.predictions, stamped(rest), 0)
    produce(group_broker, agent.predictions, stamped(rest[-1:]), 1)
    wait_counted(agent, 50 + len(rest) + 1)
    window, count = wait_window(agent, 24)
    assert window["n"] == count, window
    assert "retention has passed" in agent.server.log
    gaps = [gap for window in agent.windows().values() for gap in window["gaps"]]
    assert any("retention has passed" in gap for gap in gaps), gaps


def test_records_that_were_deleted_leave_a_gap_and_reading_goes_on(make, group_broker):
    agent = make().start()
    read = carloan.predictions(21, 22)
    group_broker.produce(agent.predictions, read)
    wait_counted(agent, len(read))
    assert agent.drain() == 0, agent.server.tail()
    lost = carloan.predictions(22, 24)
    produce(group_broker, agent.predictions, lost, 0)
    _, end = group_broker.watermarks(agent.predictions, 0)
    for future in group_broker.admin.delete_records([TopicPartition(agent.predictions, 0, end - 100)]).values():
        future.result()
    agent.start()
    wait_counted(agent, len(read) + 100)
    rest = carloan.predictions(24, 27)
    group_broker.produce(agent.predictions, rest)
    wait_counted(agent, len(read) + 100 + len(rest))
    window, count = wait_window(agent, 25)
    assert (window["n"], window["complete"]) == (count, True), str(window)
    touched = agent.windows()[carloan.week(23)[0]]
    assert not touched["complete"] and any("retention has passed" in gap for gap in touched["gaps"]), touched


def test_a_broker_that_stands_still_costs_only_delay(make, group_broker):
    agent = make(idle_timeout="4s").start()
    agent.wait_for(lambda: len(agent.status()["partitions"]) >= 4, "all partitions are ours")
    records = carloan.predictions(21, 26)
    halves = [records[0::2], records[1::2]]
    early = [record for record in halves[1] if record[2] < carloan.millis("2019-03-29T00:00:00Z")]
    # Partition 0 is read to the end, partition 1 stands in week 22.
    produce(group_broker, agent.predictions, early, 1)
    produce(group_broker, agent.predictions, halves[0], 0)
    agent.wait_for(lambda: counted(agent) >= len(early) + len(halves[0]), "both are read")
    os.kill(group_broker.server.process.pid, signal.SIGSTOP)
    try:
        # Three times as long as makes a partition idle.
        time.sleep(12)
        assert carloan.week(22)[0] not in agent.windows(), "nobody has said that partition 1 has ended"
    finally:
        os.kill(group_broker.server.process.pid, signal.SIGCONT)
    produce(group_broker, agent.predictions, halves[1][len(early) :], 1)
    wait_counted(agent, len(records))
    for number in (22, 23, 24):
        window, count = wait_window(agent, number)
        assert (window["n"], window["complete"], window["late"]) == (count, True, 0), str(window)
    assert agent.drain() == 0, agent.server.tail()


def test_a_broker_that_is_killed_costs_only_delay(make, group_broker):
    agent = make().start()
    records = carloan.predictions(21, 26)
    group_broker.produce(agent.predictions, records[:2000])
    wait_counted(agent, 2000)
    group_broker.server.signal(signal.SIGKILL)
    group_broker.server.wait(20)
    agent.wait_for(lambda: "brokers are down" in agent.server.log, "it is told")
    time.sleep(10)
    group_broker.server.start().wait_for_port(group_broker.port)
    group_broker.server.wait_for(lambda: group_broker.admin.list_topics(timeout=5).brokers, 60, "metadata")
    group_broker.produce(agent.predictions, records[2000:])
    wait_counted(agent, len(records))
    for number in (22, 23, 24):
        window, count = wait_window(agent, number)
        assert (window["n"], window["complete"]) == (count, True), str(window)


def test_the_newer_protocol_of_groups(make, group_broker, driftline):
    classic = {"session.timeout.ms": 45000, "heartbeat.interval.ms": 1000, "partition.assignment.strategy": "range", "group.protocol.type": "consumer"}
    agent = make(librdkafka=classic, group_protocol="consumer")
    done = driftline("check", *agent.write(), "--connect")
    for key in classic:
        assert any(key in line and "not used" in line for line in done.stderr.splitlines()), done.stderr
    agent.start()
    listed = group_broker.admin.list_consumer_groups().result(30).valid
    assert [str(group.type) for group in listed if group.group_id == agent.config["kafka"]["group_id"]] == ["ConsumerGroupType.CONSUMER"]
    records = carloan.predictions(21, 26)
    group_broker.produce(agent.predictions, records[:2000])
    wait_counted(agent, 2000)
    # Another member takes some of the partitions, and gives them back.
    other = make(name="-other", topics_of=agent, group_protocol="consumer").start()
    other.wait_for(lambda: other.status()["partitions"], "it has partitions")
    assert other.drain() == 0, other.server.tail()
    group_broker.produce(agent.predictions, records[2000:])
    wait_counted(agent, len(records))
    window, count = wait_window(agent, 24)
    assert (window["n"], window["complete"]) == (count, True)
    assert agent.drain() == 0, agent.server.tail()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_of_two_members_of_one_name_one_ends_and_says_why(protocol, make):
    first = make(instance_id="pod-0", group_protocol=protocol).start()
    second = make(name="-other", topics_of=first, instance_id="pod-0", group_protocol=protocol)
    # The classic protocol lets the newer one in, the newer protocol the one that was there.
    loser = first if protocol == "classic" else second
    if protocol == "classic":
        second.start(ready=False)
    else:
        with pytest.raises(RuntimeError, match="ended with 1"):
            second.start()
    assert loser.server.wait(60) == 1, loser.server.tail()
    said = "no two agents may have the same kafka.instance_id"
    assert said in loser.server.log and "'pod-0'" in loser.server.log, loser.server.tail()
    winner = second if protocol == "classic" else first
    winner.server.assert_alive()


def test_a_static_member_that_restarts_finds_its_partitions(make, group_broker):
    first = make(instance_id="pod-0").start()
    other = make(name="-other", topics_of=first, instance_id="pod-1").start()
    other.wait_for(lambda: other.status()["partitions"], "it has partitions")
    before = other.server.log.count("partitions assigned")
    assert first.drain() == 0, first.server.tail()
    # While partitions changed hands they were nobody's, and nobody minded.
    assert "gave partitions to nobody" not in first.server.log + other.server.log
    time.sleep(8)
    assert other.server.log.count("partitions assigned") == before, "nobody else got them meanwhile"
    first.start()
    assert other.server.log.count("partitions assigned") == before, f"{first.server.log}\nand the other:\n{other.server.log}"
