"""Reads records with fastavro, which confluent-kafka's serializers use, and compares them with what must be seen of them.

The argument is a file with a JSON object on each line: the writer's and the reader's schema, the bytes in hexadecimal digits, and what
the reader must see.
"""

import datetime
import io
import json
import sys
import uuid

import fastavro


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


read = 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        case = json.loads(line)
        writer = fastavro.parse_schema(case["writer"], named_schemas={})
        reader = fastavro.parse_schema(case["reader"], named_schemas={})
        body = io.BytesIO(bytes.fromhex(case["bytes"]))
        value = shown(fastavro.schemaless_reader(body, writer, reader))
        if value != case["expected"] or body.read():
            sys.exit(f"{case['what']}: {value} is not {case['expected']}")
        read += 1
print(f"{read} read")
