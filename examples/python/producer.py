#!/usr/bin/env python3
"""Sends commands to crm-processor with confluent-kafka and its Avro serializer.

    pip install -r examples/python/requirements.txt
    python examples/python/producer.py --bootstrap-servers 127.0.0.1:9092 --registry http://127.0.0.1:8081 <<'END'
    {"command": "UpdateCustomerCustomName", "key": "c-1", "correlationId": "order 66",
     "fields": {"requestId": "r-1", "customer": {"externalId": "c-1"}, "customName": "Ada"}}
    END

Reads one JSON object after another from a file or from standard input:

- command: the Avro record in crm.v1, see schemas/
- fields: the record; fields that are left out are null
- key: names the entity, so that its commands stay in order
- correlationId: comes back as a header of the reply (optional)

The schemas are those that `crm-processor setup` registered. Exit code 1 if a command was not delivered.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TextIO

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

NAMESPACE = "crm.v1"


def main() -> int:
    arguments = parse_arguments()
    registry = SchemaRegistryClient({"url": arguments.registry})
    producer = Producer({
        "bootstrap.servers": arguments.bootstrap_servers,
        # A command that is sent twice by a retry would be recognised by its request id, but why send it twice.
        "enable.idempotence": True,
        # Where Java and Node put a key, too: the commands of one key are in order only within one partition.
        "partitioner": "murmur2_random",
    })
    serializers: dict[str, AvroSerializer] = {}
    undelivered = []

    def delivered(error, record) -> None:
        if error is not None:
            undelivered.append(f"{record.key()}: {error}")

    count = 0
    for line in objects(arguments.file):
        name = line["command"]
        if name not in serializers:
            serializers[name] = serializer(registry, arguments.topic, name)
        value = serializers[name](line["fields"], SerializationContext(arguments.topic, MessageField.VALUE))
        correlation_id = line.get("correlationId")
        headers = {} if correlation_id is None else {"correlation-id": correlation_id}
        while True:
            try:
                producer.produce(arguments.topic, key=line["key"], value=value, headers=headers, on_delivery=delivered)
                break
            except BufferError:
                # The local queue is full: wait until something was delivered.
                producer.poll(1.0)
        producer.poll(0)
        count += 1
    producer.flush()

    for failure in undelivered:
        print(f"not delivered: {failure}", file=sys.stderr)
    print(f"{count - len(undelivered)} of {count} commands are on {arguments.topic}")
    return 1 if undelivered else 0


def serializer(registry: SchemaRegistryClient, topic: str, name: str) -> AvroSerializer:
    """A serializer for one of the command records, with the schema that is registered for it."""
    schema = registry.get_latest_version(f"{topic}-{NAMESPACE}.{name}").schema
    return AvroSerializer(
        registry,
        schema.schema_str,
        conf={"auto.register.schemas": False, "subject.name.strategy": topic_record_subject_name_strategy},
    )


def objects(file: TextIO) -> Iterator[dict]:
    """JSON objects one after another, on a line each or over several."""
    decoder = json.JSONDecoder()
    text = ""
    for line in file:
        text = (text + line).lstrip()
        while text:
            try:
                value, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break
            text = text[end:].lstrip()
            yield value
    if text:
        raise SystemExit(f"not a whole JSON object: {text[:80]}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sends commands to crm-processor.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081", help="URL of the schema registry")
    parser.add_argument("--topic", default="crm.commands")
    parser.add_argument("file", nargs="?", type=argparse.FileType(), default=sys.stdin, help="default: standard input")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
