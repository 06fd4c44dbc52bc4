#!/usr/bin/env python3
"""Sends a command to crm-processor over HTTP with httpx, and asks again until there is an answer.

    pip install -r examples/python/requirements.txt
    python examples/python/http_client.py http://127.0.0.1:8080 updateCustomerCustomName \\
        '{"requestId": "r-1", "customer": {"externalId": "c-1"}, "customName": "Ada"}'

The first argument may have several gateways, with commas between them. Prints the answer as JSON. Exit code 0: done, 1: refused, 3: no answer
in time, although the command may still take effect.
"""

import json
import random
import sys
import time

import httpx

PATIENCE_SECONDS = 60.0


def ask(client: httpx.Client, gateways: list[str], use_case: str, command: dict) -> httpx.Response | None:
    """Returns the one answer to a command, or None if there was none in time. The command has its request id."""
    deadline, pause, attempt = time.monotonic() + PATIENCE_SECONDS, 0.2, 0
    while time.monotonic() < deadline:
        try:
            response = client.post(f"{gateways[attempt % len(gateways)]}/v1/{use_case}", json=command)
            if response.status_code not in (408, 429, 502, 503, 504):
                return response
            pause = max(pause, float(response.headers.get("retry-after", 0)))
        except httpx.TransportError:
            # Perhaps the gateway has the command, perhaps not. To send it again is safe, because it has its request id.
            pass
        # Not all clients shall come back at the same instant.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause, attempt = min(pause * 2, 5.0), attempt + 1
    return None


def main() -> int:
    gateways, use_case, command = sys.argv[1].split(","), sys.argv[2], json.loads(sys.argv[3])
    # A gateway waits ten seconds for a reply; whoever hangs up before learns less than it could have.
    with httpx.Client(timeout=15.0) as client:
        response = ask(client, gateways, use_case, command)
    if response is None:
        print(f"no answer in {PATIENCE_SECONDS:.0f} s", file=sys.stderr)
        return 3
    print(json.dumps(response.json()))
    return 0 if response.status_code == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
