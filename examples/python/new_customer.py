#!/usr/bin/env python3
"""Takes a customer into a system that may be empty: creates the customer with an account and a subscriber, and puts them into use.

    pip install -r examples/python/requirements.txt
    python examples/python/new_customer.py --bootstrap-servers 127.0.0.1:9092 --registry http://127.0.0.1:8081 c-1 a-1 s-1

Each step has a request id that follows from what the CRM knows, so the program can be started again wherever it ended: what was done
gets its stored answer, and nothing is done twice. Prints a line of JSON for each step. Exit code 0: done, 1: a step was refused,
3: no reply in time, although the command was sent three times.
"""

import argparse
import json
import sys

from request_reply import ATTEMPTS, PATIENCE_SECONDS, Crm


def main() -> int:
    arguments = parse_arguments()
    crm = Crm(arguments.bootstrap_servers, arguments.registry, arguments.topic, arguments.replies)
    for name, key, fields in steps(arguments.customer, arguments.account, arguments.subscriber):
        # A step begins when the one before it is answered: between different keys there is no order.
        reply = crm.ask(name, key, fields)
        if reply is None:
            print(f"no reply to {name} after {ATTEMPTS} times {PATIENCE_SECONDS:.0f} s", file=sys.stderr)
            return 3
        print(json.dumps({"command": name, **outcome(reply)}))
        if reply["statusCode"] != 200:
            return 1
    return 0


def steps(customer: str, account: str, subscriber: str) -> list[tuple[str, str, dict]]:
    """The commands in their order: the record's name, its key and its fields."""
    return [
        ("CreateCustomer", customer, {
            "requestId": f"sign-up-{customer}", "externalId": customer, "customerSegment": "RESIDENTIAL",
            "state": "INACTIVE", "stateReason": "contract not signed yet"}),
        ("CreateAccount", account, {
            "requestId": f"sign-up-{account}", "externalId": account, "customer": {"externalId": customer}}),
        ("CreateSubscriber", subscriber, {
            "requestId": f"sign-up-{subscriber}", "externalId": subscriber, "account": {"externalId": account},
            "state": "INACTIVE", "stateReason": "no SIM card yet"}),
        # A state without a reason: the reasons above go.
        ("UpdateCustomerState", customer, {
            "requestId": "signed", "customer": {"externalId": customer}, "state": "ACTIVE"}),
        ("UpdateSubscriberState", subscriber, {
            "requestId": "SIM card sent", "subscriber": {"externalId": subscriber}, "state": "ACTIVE"}),
    ]


def outcome(reply: dict) -> dict:
    """What the CRM keeps of a reply: the refId, by which it can name the entity whatever its external id becomes, and the version."""
    transaction = reply["businessTransaction"] or {}
    return {
        "statusCode": reply["statusCode"],
        "replayed": reply["replayed"],
        "refId": transaction.get("refId"),
        "version": transaction.get("version"),
        "errors": [error["code"] for error in reply["errors"]],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Creates a customer with an account and a subscriber.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--registry", default="http://127.0.0.1:8081", help="URL of the schema registry")
    parser.add_argument("--topic", default="crm.commands")
    parser.add_argument("--replies", default="crm.replies", help="the topic that replies come on")
    parser.add_argument("customer", help="the customer's external id")
    parser.add_argument("account", help="the account's external id")
    parser.add_argument("subscriber", help="the subscriber's external id")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
