"""Plays cases against a gateway with httpx: cases.py BASE < CASES

CASES is a list of JSON objects: `name`, `method`, `path`, `headers`, `body` (a text, or null), and what is expected: `status`, `expectedHeaders`
and `expected`, which has values by JSON pointers. `keep` stores the value of a header under a name, which later paths have in braces. A case with
`again` is asked again until it has the expected status. Prints how many cases were as expected, with exit code 0; or what was not.
"""

import json
import sys
import time

import httpx

PATIENCE_SECONDS = 60.0


def at(body: object, pointer: str) -> object:
    for step in pointer.split("/")[1:]:
        if isinstance(body, list):
            body = body[int(step)] if int(step) < len(body) else None
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body


def main() -> int:
    cases, kept, wrong = json.load(sys.stdin), {}, []
    with httpx.Client(base_url=sys.argv[1], timeout=PATIENCE_SECONDS, trust_env=False) as client:
        for case in cases:
            path = case["path"]
            for name, value in kept.items():
                path = path.replace("{" + name + "}", value)
            content = None if case["body"] is None else case["body"].encode()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                response = client.request(case["method"], path, headers=case["headers"], content=content)
                if not case["again"] or response.status_code == case["status"] or time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            body = response.json() if response.content else None
            got = [("status", case["status"], response.status_code)]
            got += [(name, value, response.headers.get(name)) for name, value in case["expectedHeaders"].items()]
            got += [(pointer, value, at(body, pointer)) for pointer, value in case["expected"].items()]
            wrong += [f"{case['name']}: {what} is {there!r} instead of {value!r} in {body}" for what, value, there in got if there != value]
            kept |= {name: response.headers[header] for name, header in case["keep"].items() if header in response.headers}
    print("\n".join(wrong) or len(cases))
    return 1 if wrong else 0


sys.exit(main())
