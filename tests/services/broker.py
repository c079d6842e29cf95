"""A real Apache Kafka: one KRaft node on loopback, from the jars that Maven fetched."""

import subprocess

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from server import CACHE, HERE, Server, free_port

# Larger than any record driftline accepts, so that the agent and not the broker judges an oversize one.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024


class Broker:
    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        controller = free_port()
        self.properties = folder / "node.properties"
        folder.mkdir(parents=True, exist_ok=True)
        self.properties.write_text(
            "\n".join(
                [
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
                    f"advertised.listeners=PLAINTEXT://{self.address}",
                    "controller.listener.names=CONTROLLER",
                    "inter.broker.listener.name=PLAINTEXT",
                    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                    f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}",
                    f"log.dirs={folder}/data",
                    "offsets.topic.replication.factor=1",
                    "offsets.topic.num.partitions=4",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "transaction.state.log.num.partitions=4",
                    "share.coordinator.state.topic.replication.factor=1",
                    "share.coordinator.state.topic.min.isr=1",
                    "group.initial.rebalance.delay.ms=0",
                    "auto.create.topics.enable=false",
                    # The data is years old; without this the cleaner takes it away while it is being read.
                    "log.retention.ms=-1",
                    f"message.max.bytes={MAX_MESSAGE_BYTES}",
                    f"replica.fetch.max.bytes={MAX_MESSAGE_BYTES}",
                    "",
                ]
            )
        )
        java = ["java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={HERE}/kafka/log4j2.properties"]
        self.java = [*java, "-cp", f"{CACHE}/kafka/*"]
        self.server = Server("kafka", [*self.java, "kafka.Kafka", self.properties], folder)

    def start(self):
        tool = [*self.java, "kafka.tools.StorageTool"]
        cluster = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
        subprocess.run([*tool, "format", "-t", cluster, "-c", self.properties, "--standalone"], check=True, capture_output=True, text=True)
        self.server.start().wait_for_port(self.port)
        self.admin = AdminClient({"bootstrap.servers": self.address})
        self.server.wait_for(lambda: self.admin.list_topics(timeout=5).brokers, 60, "metadata")
        return self

    def stop(self):
        self.server.stop()

    def create(self, *topics, partitions=2):
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
            future.result(30)

    def watermarks(self, topic, partition):
        """The first offset that can be read, and the one that the next record will have."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "looks-only"})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        finally:
            consumer.close()

    def produce(self, topic, records):
        """Sends (key, value, milliseconds) triples in order and waits for every acknowledgement. Returns how many."""
        failures, count = [], 0
        producer = Producer(
            {"bootstrap.servers": self.address, "linger.ms": 5, "acks": "all", "enable.idempotence": True, "message.max.bytes": MAX_MESSAGE_BYTES}
        )

        def delivered(error, _message):
            if error is not None:
                failures.append(error)

        for key, value, millis in records:
            while True:
                try:
                    producer.produce(topic, value=value, key=key, timestamp=millis, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            count += 1
        assert producer.flush(60) == 0, f"{topic}: not everything was acknowledged"
        assert not failures, f"{topic}: {failures[:3]}"
        return count
