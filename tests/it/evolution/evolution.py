"""Reads and writes records with confluent-kafka's serializers, and reads them with the fastavro behind these, too; compares each record with
what must be seen of it.

The arguments are the URL of a schema registry and a file with a JSON object on each line: the writer's and the reader's schema, the record,
its bytes in hexadecimal digits as another program wrote them, and what the reader must see.
"""

import datetime
import io
import json
import sys
import uuid

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

# The wire format has these bytes before the record: 0, and the id of the writer's schema.
HEAD = 5


def shown(value):
    """Returns a value as the file has it: a time is a number of milliseconds since 1970."""
    if isinstance(value, dict):
        return {name: shown(field) for name, field in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return since // datetime.timedelta(milliseconds=1)
    return value


def by_fastavro(case, record):
    """Reads a record without anything around it, and returns what is seen of it."""
    writer = fastavro.parse_schema(case["writer"], named_schemas={})
    reader = fastavro.parse_schema(case["reader"], named_schemas={})
    body = io.BytesIO(record)
    value = fastavro.schemaless_reader(body, writer, reader)
    if left := body.read():
        sys.exit(f"{case['what']}: {len(left)} bytes are left over")
    return value


def by_confluent(registry, case, record, topic):
    """Writes the record of a case, and reads it as well as the one that another program wrote; returns what is seen of each."""
    context = SerializationContext(topic, MessageField.VALUE)
    options = {"subject.name.strategy": topic_subject_name_strategy}
    written = AvroSerializer(registry, json.dumps(case["writer"]), conf=options)(case["body"], context)
    deserializer = AvroDeserializer(registry, json.dumps(case["reader"]), conf=options)
    return [deserializer(message, context) for message in (written, written[:HEAD] + record)]


registry = SchemaRegistryClient({"url": sys.argv[1]})
# Each case has a subject of its own, since the registry of a test keeps what is registered.
run = uuid.uuid4()
read = 0
with open(sys.argv[2], encoding="utf-8") as lines:
    for line in lines:
        case = json.loads(line)
        record = bytes.fromhex(case["bytes"])
        values = [by_fastavro(case, record), *by_confluent(registry, case, record, f"evolution-{run}-{read}")]
        for value in map(shown, values):
            if value != case["expected"]:
                sys.exit(f"{case['what']}: {value} is not {case['expected']}")
        read += 1
print(f"{read} read")
