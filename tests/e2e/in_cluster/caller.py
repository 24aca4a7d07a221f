"""Makes requests of a pod.

A pod runs this module, which is ready (listens on a port) when the service lets it in. In it, kubectl runs the module
with an argument for each request; that and the answer, which is printed, are JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import httpx2

from tests.e2e.in_cluster.load import let_in

PORT = 8099


async def stay() -> None:
    """Be ready from when the service lets us in until the pod is deleted."""
    await let_in(os.environ["URL"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), port=PORT)
    await server.serve_forever()


def call(method: str, url: str, headers: dict[str, str], body: object) -> dict[str, object]:
    """Make one request to an address, or a path of the service."""
    headers = {"X-API-Key": os.environ["API_KEY"], **headers}
    with httpx2.Client(base_url=os.environ["URL"], headers=headers, timeout=60, trust_env=False) as client:
        answer = client.request(method, url, json=body) if body is not None else client.request(method, url)
    return {"status": answer.status_code, "headers": dict(answer.headers), "text": answer.text}


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(call(**json.loads(sys.argv[1]))))
    else:
        asyncio.run(stay())
