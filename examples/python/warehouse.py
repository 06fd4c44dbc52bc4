#!/usr/bin/env python3
"""Keeps a DuckDB file up to date with crm-processor's business transactions: current values, and the history of changes.

    pip install -r examples/python/requirements.txt
    python examples/python/warehouse.py --bootstrap-servers 127.0.0.1:9092 --registry http://127.0.0.1:8081 crm.duckdb

Reads on until SIGTERM or Ctrl-C; with --once, to the present end of the topic. It may be killed at any time, and may read any
record twice or too late. Three rules make that so:

- How far it has read (`progress`) commits with what it read, in one transaction of the database. Kafka's own offsets are not used.
- Current values (`entity`) go by the version: an older one never replaces a newer one, whatever the order of the records.
- The history (`history`) goes by the transaction id: a record that comes twice is there once.

Versions have no gaps. A version that is missing below an entity's present one (view `gap`) is a record that has not come yet, or
is older than what the topic holds. It is told on standard error; `crm-processor snapshot` brings present values, and settles what
lies before. Exit code 3 if something is missing in the end. On PostgreSQL the rules and the upserts are the same; the placeholders
and `unnest(range(a, b))` (there `generate_series(a, b - 1)`) have other names.
"""

import argparse
import json
import signal
import sys
import time
from datetime import datetime, timezone

import duckdb
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TABLES = """
CREATE TABLE IF NOT EXISTS entity (
    entity_type VARCHAR, ref_id VARCHAR, version BIGINT NOT NULL,
    external_id VARCHAR NOT NULL, state VARCHAR NOT NULL, custom_name VARCHAR,
    customer_segment VARCHAR, segment_valid_from TIMESTAMP,  -- of customers
    parent_ref_id VARCHAR,                                   -- an account's customer, a subscriber's account
    settled BIGINT NOT NULL DEFAULT 1,                       -- no change up to this version is waited for: 1 is the creation or the import
    PRIMARY KEY (entity_type, ref_id));
CREATE TABLE IF NOT EXISTS history (
    transaction_id VARCHAR PRIMARY KEY, entity_type VARCHAR NOT NULL, ref_id VARCHAR NOT NULL, version BIGINT NOT NULL,
    use_case VARCHAR NOT NULL, request_id VARCHAR NOT NULL, occurred_at TIMESTAMP NOT NULL, changes VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS progress (
    topic VARCHAR, partition_id INTEGER, next_offset BIGINT NOT NULL, PRIMARY KEY (topic, partition_id));
CREATE VIEW IF NOT EXISTS gap AS
    SELECT * FROM (SELECT entity_type, ref_id, unnest(range(settled + 1, version)) AS version FROM entity) AS expected
    WHERE NOT EXISTS (SELECT * FROM history WHERE (history.entity_type, history.ref_id, history.version)
        = (expected.entity_type, expected.ref_id, expected.version));
"""
# The parameters are columns: one statement for all rows of a batch.
UPSERT_ENTITY = """
INSERT INTO entity (entity_type, ref_id, version, external_id, state, custom_name, customer_segment, segment_valid_from,
    parent_ref_id)
SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)
ON CONFLICT (entity_type, ref_id) DO UPDATE SET version = excluded.version, external_id = excluded.external_id,
    state = excluded.state, custom_name = excluded.custom_name, customer_segment = excluded.customer_segment,
    segment_valid_from = excluded.segment_valid_from, parent_ref_id = excluded.parent_ref_id
WHERE excluded.version >= entity.version
"""
INSERT_CHANGE = """
INSERT INTO history
SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)
ON CONFLICT (transaction_id) DO NOTHING
"""
SETTLE = """
UPDATE entity SET settled = greatest(entity.settled, snapshot.version)
FROM (SELECT unnest(?) AS entity_type, unnest(?) AS ref_id, unnest(?) AS version) AS snapshot
WHERE (entity.entity_type, entity.ref_id) = (snapshot.entity_type, snapshot.ref_id)
"""
UPSERT_PROGRESS = """
INSERT INTO progress SELECT unnest(?), unnest(?), unnest(?)
ON CONFLICT (topic, partition_id) DO UPDATE SET next_offset = excluded.next_offset
"""
GAP_CHECK_SECONDS = 60.0


class Warehouse:
    def __init__(self, file: str) -> None:
        self.database = duckdb.connect(file)
        self.database.execute(TABLES)

    def progress(self, topic: str) -> dict[int, int]:
        """The next offset to read, by partition."""
        rows = self.database.execute("SELECT partition_id, next_offset FROM progress WHERE topic = ?", [topic]).fetchall()
        return dict(rows)

    def store(self, topic: str, transactions: list[dict], progress: dict[int, int]) -> None:
        snapshots = [t for t in transactions if t["useCase"] == "snapshot"]
        changes = {t["transactionId"]: t for t in transactions if t["useCase"] != "snapshot"}
        self.database.begin()
        self.write(UPSERT_ENTITY, [entity_row(t) for t in newest(transactions)])
        self.write(INSERT_CHANGE, [change_row(t) for t in changes.values()])
        # Present values, no changes: what led to them is not waited for.
        self.write(SETTLE, [(t["entityType"], t["refId"], t["version"]) for t in newest(snapshots)])
        self.write(UPSERT_PROGRESS, [(topic, partition, offset) for partition, offset in progress.items()])
        self.database.commit()

    def write(self, statement: str, rows: list[tuple]) -> None:
        if rows:
            self.database.execute(statement, [list(column) for column in zip(*rows)])

    def gaps(self) -> list[tuple[str, str, int]]:
        return self.database.execute("SELECT entity_type, ref_id, version FROM gap ORDER BY ALL").fetchall()


def newest(transactions: list[dict]) -> list[dict]:
    """For each entity the one with the highest version."""
    by_version = sorted(transactions, key=lambda t: t["version"])
    return list({(t["entityType"], t["refId"]): t for t in by_version}.values())


def entity_row(transaction: dict) -> tuple:
    kind = transaction["entityType"]
    entity = transaction[kind.lower()]  # as it is afterwards
    return (kind, transaction["refId"], transaction["version"], entity["externalId"], entity["state"], entity["customName"],
            entity.get("customerSegment"), utc(entity.get("segmentValidFrom")),
            entity.get("customerRefId") or entity.get("accountRefId"))


def change_row(t: dict) -> tuple:
    return (str(t["transactionId"]), t["entityType"], t["refId"], t["version"], t["useCase"], t["requestId"],
            utc(t["occurredAt"]), json.dumps(t["changes"]))


def utc(moment: datetime | None) -> datetime | None:
    """As a timestamp without time zone."""
    return moment and moment.astimezone(timezone.utc).replace(tzinfo=None)


def main() -> int:
    arguments = parse_arguments()
    stopping = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.append(True))
    warehouse = Warehouse(arguments.database)
    decode = AvroDeserializer(SchemaRegistryClient({"url": arguments.registry}))
    consumer, partitions = open_topic(arguments, warehouse.progress(arguments.topic))
    at_end: set[int] = set()
    next_check = time.monotonic()

    while not stopping and not (arguments.once and len(at_end) == partitions):
        transactions, progress = [], {}
        for record in consumer.consume(arguments.batch, timeout=1.0):
            if record.error() is None:
                context = SerializationContext(arguments.topic, MessageField.VALUE)
                transactions.append(decode(record.value(), context))
                progress[record.partition()] = record.offset() + 1
                at_end.discard(record.partition())
            elif record.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(record.partition())
            elif record.error().code() == KafkaError._AUTO_OFFSET_RESET:
                raise SystemExit(f"{record.error()}: records that were not read yet are gone; a snapshot brings the present values")
            else:
                print(record.error(), file=sys.stderr)
        if transactions:
            warehouse.store(arguments.topic, transactions, progress)
            print(f"stored {len(transactions)} business transactions", flush=True)
        if len(at_end) == partitions and time.monotonic() > next_check:
            tell(warehouse.gaps())
            next_check = time.monotonic() + GAP_CHECK_SECONDS
    consumer.close()
    gaps = warehouse.gaps()
    tell(gaps)
    return 3 if gaps else 0


def open_topic(arguments: argparse.Namespace, progress: dict[int, int]) -> tuple[Consumer, int]:
    """A consumer that goes on where the warehouse is, and how many partitions it reads."""
    consumer = Consumer({
        "bootstrap.servers": arguments.bootstrap_servers,
        "group.id": "crm-warehouse-example",
        "enable.auto.commit": False,
        # Without it you would store records of transactions that were aborted.
        "isolation.level": "read_committed",
        # Where the records to go on from are gone, stop instead of leaving them out silently.
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
    })
    partitions = consumer.list_topics(arguments.topic, timeout=30).topics[arguments.topic].partitions
    consumer.assign([TopicPartition(arguments.topic, p, progress.get(p, OFFSET_BEGINNING)) for p in partitions])
    return consumer, len(partitions)


def tell(gaps: list[tuple[str, str, int]]) -> None:
    for kind, ref_id, version in gaps:
        print(f"missing: {kind} {ref_id} version {version}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Keeps a DuckDB file up to date with crm-processor's business transactions.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081", help="URL of the schema registry")
    parser.add_argument("--topic", default="crm.transactions")
    parser.add_argument("--batch", type=int, default=1000, help="records for one transaction of the database, at most")
    parser.add_argument("--once", action="store_true", help="end at the present end of the topic")
    parser.add_argument("database", help="the DuckDB file; made if it is not there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
