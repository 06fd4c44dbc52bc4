#!/usr/bin/env python3
"""Sends a command to crm-processor with confluent-kafka and waits for its reply.

    pip install -r examples/python/requirements.txt
    python examples/python/request_reply.py --bootstrap-servers 127.0.0.1:9092 --registry http://127.0.0.1:8081 \\
        --key c-1 UpdateCustomerCustomName '{"requestId": "r-1", "customer": {"externalId": "c-1"}, "customName": "Ada"}'

The command is an Avro record in crm.v1, see schemas/; fields that are left out are null. Prints the reply as JSON. Exit code 0:
done, 1: refused, or an error that it prints, 3: no reply in time, although the command was sent three times. After an error and after 3
send it again, with the same request id.
"""

import argparse
import json
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

NAMESPACE = "crm.v1"
PATIENCE_SECONDS = 30.0
ATTEMPTS = 3


def main() -> int:
    arguments = parse_arguments()
    crm = Crm(arguments.bootstrap_servers, arguments.registry, arguments.topic, arguments.replies)
    reply = crm.ask(arguments.command, arguments.key, json.loads(arguments.fields))
    if reply is None:
        print(f"no reply after {ATTEMPTS} times {PATIENCE_SECONDS:.0f} s", file=sys.stderr)
        return 3
    print(json.dumps(reply, default=str))
    return 0 if reply["statusCode"] == 200 else 1


class Crm:
    """Asks one command at a time. For many at once, keep the correlation ids that wait in a dictionary, and read in a thread."""

    def __init__(self, bootstrap_servers: str, registry_url: str, commands: str, replies: str) -> None:
        self.registry = SchemaRegistryClient({"url": registry_url})
        self.commands = commands
        self.producer = Producer({
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            # Where Java and Node put a key, too: the commands of one key are in order only within one partition.
            "partitioner": "murmur2_random",
        })
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap_servers,
            "group.id": "crm-python-example",
            "enable.auto.commit": False,
            # Without it you would see replies of transactions that were aborted, too.
            "isolation.level": "read_committed",
        })
        # The reply will be behind what is there now.
        partitions = self.consumer.list_topics(replies, timeout=PATIENCE_SECONDS).topics[replies].partitions
        ends = [self.consumer.get_watermark_offsets(TopicPartition(replies, p))[1] for p in partitions]
        self.consumer.assign([TopicPartition(replies, p, end) for p, end in zip(partitions, ends)])
        self.read = AvroDeserializer(self.registry)

    def ask(self, name: str, key: str, fields: dict) -> dict | None:
        """The reply to a command. Sends it again if there is none in time: the same request id, so it takes effect once."""
        schema = self.registry.get_latest_version(f"{self.commands}-{NAMESPACE}.{name}").schema
        write = AvroSerializer(self.registry, schema.schema_str, conf={
            "auto.register.schemas": False, "subject.name.strategy": topic_record_subject_name_strategy})
        value = write(fields, SerializationContext(self.commands, MessageField.VALUE))
        correlation_id = str(uuid.uuid4()).encode()
        for _ in range(ATTEMPTS):
            # The key names the entity, so that its commands stay in order.
            self.producer.produce(self.commands, key=key, value=value, headers={"correlation-id": correlation_id})
            self.producer.flush()
            reply = self.reply_to(correlation_id)
            if reply is not None:
                return reply
        return None

    def reply_to(self, correlation_id: bytes) -> dict | None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            record = self.consumer.poll(left)
            if record is None or record.error():
                continue
            if ("correlation-id", correlation_id) in (record.headers() or []):
                return self.read(record.value(), SerializationContext(record.topic(), MessageField.VALUE))
        return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sends a command to crm-processor and waits for its reply.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081", help="URL of the schema registry")
    parser.add_argument("--topic", default="crm.commands")
    parser.add_argument("--replies", default="crm.replies", help="the topic that replies come on")
    parser.add_argument("--key", required=True, help="names the entity")
    parser.add_argument("command", help="such as UpdateCustomerCustomName")
    parser.add_argument("fields", help="the record as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
