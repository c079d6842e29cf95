"""One or three real brokers that can be killed, stopped and started again; and the producers that write to them."""

import signal
import subprocess
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

import chaos_stream
from broker import MAX_MESSAGE_BYTES
from server import CACHE, HERE, Server, eventually, free_port

# The producers wake up this often, in seconds.
BEAT = 0.02
# A broker that was killed is back within this, on two busy cores.
PATIENCE = 90


class Brokers:
    """A cluster of combined brokers and controllers. With three, everything is replicated to all and two must have it."""

    def __init__(self, folder, count):
        self.count = count
        ports, controllers = [free_port() for _ in range(count)], [free_port() for _ in range(count)]
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        self.address = ",".join(self.addresses)
        self.ports, self.servers = ports, []
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers, 1))
        heap = ["-Xms96m", f"-Xmx{384 if count == 1 else 256}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self.java = ["java", *heap, f"-Dlog4j2.configurationFile={HERE}/kafka/log4j2.properties", "-cp", f"{CACHE}/kafka/*"]
        for node, (port, controller) in enumerate(zip(ports, controllers), 1):
            home = folder / f"kafka-{node}"
            home.mkdir(parents=True)
            (home / "node.properties").write_text(
                "\n".join(
                    [
                        "process.roles=broker,controller",
                        f"node.id={node}",
                        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
                        "controller.listener.names=CONTROLLER",
                        "inter.broker.listener.name=PLAINTEXT",
                        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                        f"controller.quorum.voters={voters}",
                        f"log.dirs={home}/data",
                        f"default.replication.factor={count}",
                        f"min.insync.replicas={min(count, 2)}",
                        f"offsets.topic.replication.factor={count}",
                        "offsets.topic.num.partitions=4",
                        f"transaction.state.log.replication.factor={count}",
                        "transaction.state.log.num.partitions=4",
                        f"transaction.state.log.min.isr={min(count, 2)}",
                        f"share.coordinator.state.topic.replication.factor={count}",
                        f"share.coordinator.state.topic.min.isr={min(count, 2)}",
                        "group.initial.rebalance.delay.ms=0",
                        "auto.create.topics.enable=false",
                        "unclean.leader.election.enable=false",
                        "log.retention.ms=-1",
                        # A dead broker is noticed soon: the run is short.
                        "broker.session.timeout.ms=4000",
                        "broker.heartbeat.interval.ms=1000",
                        "replica.lag.time.max.ms=6000",
                        f"message.max.bytes={MAX_MESSAGE_BYTES}",
                        "",
                    ]
                )
            )
            self.servers.append(Server(f"kafka-{node}", [*self.java, "kafka.Kafka", home / "node.properties"], home))

    def start(self):
        tool = [*self.java, "kafka.tools.StorageTool"]
        cluster = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
        for server in self.servers:
            subprocess.run([*tool, "format", "-t", cluster, "-c", server.argv[-1]], check=True, capture_output=True, text=True)
            server.start()
        for node in range(self.count):
            self.servers[node].wait_for_port(self.ports[node], PATIENCE)
        self.admin = AdminClient({"bootstrap.servers": self.address})
        eventually(lambda: len(self.admin.list_topics(timeout=5).brokers) == self.count, PATIENCE, f"{self.count} brokers are there")
        return self

    def stop(self):
        for server in self.servers:
            server.process and server.process.poll() is None and server.signal(signal.SIGKILL)
        for server in self.servers:
            server.stop()

    def kill(self, node):
        self.servers[node].signal(signal.SIGKILL)
        self.servers[node].wait(20)

    def restart(self, node):
        if self.servers[node].process.poll() is not None:
            self.servers[node].start().wait_for_port(self.ports[node], PATIENCE)

    def wait_whole(self):
        """Waits until every partition of every topic has its leader and all its copies in step."""

        def is_whole():
            try:
                known = self.admin.list_topics(timeout=5).topics.values()
            except KafkaException as error:
                raise ValueError(str(error)) from error
            return all(part.leader >= 0 and len(part.isrs) == self.count for topic in known for part in topic.partitions.values())

        eventually(is_whole, PATIENCE, "all copies are in step")

    def create(self, *topics, partitions):
        for future in self.admin.create_topics([NewTopic(topic, partitions, self.count) for topic in topics]).values():
            future.result(30)

    def add_partitions(self, topics, total):
        """Makes it so many, whoever answers; what was done before an answer was lost is not done twice."""

        def added():
            known = self.admin.list_topics(timeout=5).topics
            missing = [topic for topic in topics if len(known[topic].partitions) < total]
            for topic, future in (self.admin.create_partitions([NewPartitions(topic, total) for topic in missing]) if missing else {}).items():
                try:
                    future.result(10)
                except KafkaException as error:
                    raise ValueError(f"{topic}: {error}") from error
            return not missing

        eventually(added, PATIENCE, f"{total} partitions")

    def read(self, topic):
        """Everything in a topic, by a plain consumer: for each partition a list of (offset, milliseconds, key, value)."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "oracle", "enable.auto.commit": False, "isolation.level": "read_committed"})
        try:
            partitions = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
            ends = {part: consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=30) for part in partitions}
            assert all(low == 0 for low, _ in ends.values()), f"{topic}: the beginning is gone: {ends}"
            consumer.assign([TopicPartition(topic, part, 0) for part in partitions])
            read = {part: [] for part in partitions}
            end = time.monotonic() + PATIENCE
            while any(len(read[part]) < ends[part][1] for part in partitions):
                assert time.monotonic() < end, f"{topic}: {({part: len(got) for part, got in read.items()})} read of {ends}"
                for message in consumer.consume(5_000, timeout=1):
                    assert message.error() is None, message.error()
                    read[message.partition()].append((message.offset(), message.timestamp()[1], message.key(), message.value()))
            return read
        finally:
            consumer.close()


class Producers:
    """Send what the sources say when it is due; what brokers that are away did not take in time is sent when they are back."""

    def __init__(self, brokers, topics, seed, rate):
        """`topics` by kind; `rate` is predictions in a second for one partition number."""
        self.brokers, self.topics, self.seed, self.rate = brokers, topics, seed, rate
        self.began = int(time.time() * 1000)
        self.sources, self.clients, self.of = {}, [], {}
        self.sent = {}
        self.failures, self.over, self.lock = [], False, threading.Lock()
        self.thread = threading.Thread(target=self._run, name="producers", daemon=True)

    def add(self, partitions):
        """Partition numbers that are written to from now on."""
        # A client of its own: an older one may not know of them yet.
        client = Producer(
            {
                "bootstrap.servers": self.brokers.address,
                "linger.ms": 5,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 1_000,
                "queue.buffering.max.messages": 1_000_000,
                "topic.metadata.refresh.interval.ms": 2_000,
                "log_level": 2,
            }
        )
        with self.lock:
            self.clients.append(client)
            begin = int(time.time() * 1000)
            for partition in partitions:
                self.of[partition] = client
                self.sources[partition] = chaos_stream.Source(self.seed, partition, self.began, begin, 1000 / self.rate)

    def start(self):
        self.thread.start()
        return self

    def _send(self, partition, kind, due, key, value):
        client = self.of[partition]
        while True:
            try:
                client.produce(self.topics[kind], value=value, key=key, partition=partition, timestamp=due, on_delivery=self._delivered)
                break
            except BufferError:
                client.poll(0.1)
        self.sent[(kind, partition)] = self.sent.get((kind, partition), 0) + 1

    def _delivered(self, error, _message):
        if error is not None:
            self.failures.append(str(error))

    def _run(self):
        while not self.over:
            with self.lock:
                now = int(time.time() * 1000)
                for partition, source in self.sources.items():
                    for record in source.due(now):
                        self._send(partition, *record)
                for client in self.clients:
                    client.poll(0)
            time.sleep(BEAT)

    def finish(self):
        """Sends the labels that are still to come and the last records. Returns the time that those say."""
        self.over = True
        self.thread.join(30)
        now = int(time.time() * 1000)
        # Beyond the horizon of the last window, and of the label that comes last.
        last = now + chaos_stream.TOO_LATE[1] + chaos_stream.HORIZON + 80_000
        for partition, source in self.sources.items():
            for record in source.rest():
                self._send(partition, *record)
            for kind, value in chaos_stream.farewell(partition, last).items():
                self._send(partition, kind, last, b"last", value)
        for client in self.clients:
            assert client.flush(PATIENCE) == 0, "not everything was acknowledged"
        assert not self.failures, self.failures[:3]
        return last


class Past:
    """Writes what producers would have written within some time that is over, at once; the same for all topics it is given."""

    def __init__(self, brokers, topics, seed, rate, partitions, began, seconds):
        """`began` is in milliseconds; like [`Producers`] it knows what it has `sent`."""
        self.brokers, self.topics, self.sent = brokers, topics, {}
        self.sources = {part: chaos_stream.Source(seed, part, began, began, 1000 / rate) for part in range(partitions)}
        self.until = began + 1000 * seconds
        # Beyond the horizon of the last window, and of the label that comes last.
        self.last = self.until + chaos_stream.TOO_LATE[1] + chaos_stream.HORIZON + 40_000

    def start(self):
        client = Producer({"bootstrap.servers": self.brokers.address, "linger.ms": 5, "acks": "all", "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000})
        failures = []
        for part, source in self.sources.items():
            farewell = chaos_stream.farewell(part, self.last).items()
            for kind, due, key, value in [*source.due(self.until), *source.rest(), *((kind, self.last, b"last", value) for kind, value in farewell)]:
                client.produce(self.topics[kind], value=value, key=key, partition=part, timestamp=due, on_delivery=lambda error, _: error and failures.append(str(error)))
                self.sent[(kind, part)] = self.sent.get((kind, part), 0) + 1
            client.poll(0)
        assert client.flush(PATIENCE) == 0, "not everything was acknowledged"
        assert not failures, failures[:3]

    def finish(self):
        return self.last
