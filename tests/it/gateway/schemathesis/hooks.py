"""What schemathesis can't learn of the description.

The description says what a well-formed request is. It can't say which entities there are, so a well-formed command may be refused all the
same: for reasons of the business, which have codes. Any other refusal of a well-formed request is a finding.

The environment has an entity of each type that there is (CRM_ENTITIES), which every second request is about.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from functools import cache

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

# The refusals of a well-formed command. A segment that is not configured is one, because all installations have the same description.
BUSINESS = {
    "CASM-SEGMENT-NOT-CONFIGURED",
    "CASM-REQUEST-ID-REUSED",
    "CASM-ENTITY-NOT-FOUND",
    "CASM-STATE-DEACTIVATED",
    "CASM-VERSION-CONFLICT",
    "CASM-EXTERNAL-ID-NOT-UNIQUE",
}
ENTITIES = json.loads(os.environ["CRM_ENTITIES"])

# How many requests were sent, by operation.
sent: Counter[str] = Counter()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Writes the categories of Unicode in patterns out, because Python's regular expressions lack them."""

    def rewrite(schema):
        if isinstance(schema, list):
            for item in schema:
                rewrite(item)
        elif isinstance(schema, dict):
            for key, value in schema.items():
                if key == "pattern" and isinstance(value, str):
                    schema[key] = re.sub(r"\\p\{(\w+)\}", lambda match: ranges(match[1]), value)
                else:
                    rewrite(value)

    rewrite(raw_schema)


@cache
def ranges(category: str) -> str:
    """Returns the characters of a category, of those that are generated, as the inside of a class."""
    characters = (chr(code) for code in range(256))
    return "".join(re.escape(c) for c in characters if unicodedata.category(c).startswith(category))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Brings a request in line with the rules that have no words in JSON Schema, and leads every second one to an entity.

    What a request is to be refused for stays as it is.
    """
    if case.meta is None:
        return
    label, is_positive = case.operation.label, case.meta.generation.mode.is_positive
    sent[label] += 1
    number = sent[label]
    if number % 2 == 0 and case.meta.phase.name.name != "STATEFUL":
        if is_positive:
            refer_in_url(case)
        refer_in_body(case)
    if case.method.upper() == "POST" and isinstance(case.body, dict):
        if is_positive:
            once(case, "Idempotency-Key", "requestId")
            once(case, "If-Match", "expectedVersion")
        if "Idempotency-Key" not in case.headers and "requestId" not in case.body:
            case.body = {**case.body, "requestId": f"{label} {number}"}
        if is_positive and number % 5 == 0:
            case.headers["Prefer"] = "respond-async"


def once(case, header, field):
    """Sees to it that one of the two has a value, or none of them."""
    if case.body.get(field) is not None or not case.headers.get(header, "").strip('"'):
        case.headers.pop(header, None)
    if case.body.get(field) is None:
        case.body = {name: value for name, value in case.body.items() if name != field}


def refer_in_url(case):
    """Has a path and a query name an entity that there is."""
    of = re.match(r"/v1/(\w+)s\b", case.path)
    if of and of[1] in ENTITIES:
        known = ENTITIES[of[1]]
        case.path_parameters = {name: known[name] for name in case.path_parameters}
        if "externalId" in case.query:
            case.query = {"externalId": known["externalId"]}


def refer_in_body(case):
    """Has a reference in a body, if it is one, lead to an entity that there is."""
    for name, known in ENTITIES.items():
        reference = case.body.get(name) if isinstance(case.body, dict) else None
        ids = [value for value in reference.values() if value is not None] if isinstance(reference, dict) else []
        if len(ids) == 1 and isinstance(ids[0], str) and reference.keys() <= {"externalId", "refId"}:
            case.body = {**case.body, name: {"refId": known["refId"]}}


@schemathesis.hook
def filter_failure(context, failure: Failure, case, response) -> bool:
    """Returns whether a failure is one. That the business refuses a well-formed command is none."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (400, 412):
        return True
    codes = {error["code"] for error in response.json()["errors"]}
    return not codes or not codes <= BUSINESS
