"""Callers inside the cluster at a steady pace: one JSON line per answer, until the pod is deleted.

Half of them keep their connection as long as the server does, half open one per request, so that both ways of losing a
request in a rollout would show. Run by pods of the runtime's image, which has Python and httpx2 and no shell.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time

import httpx2

TAKEN_IN_A_ROW = 40


async def main() -> None:
    """Call until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--pace", type=float, required=True, help="requests per second of each caller")
    arguments = parser.parse_args()
    await let_in(arguments.url)
    headers = {"X-API-Key": os.environ["API_KEY"]}
    async with asyncio.TaskGroup() as group:
        for number in range(arguments.callers):
            client = httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False)
            if number % 2:
                client.headers["Connection"] = "close"
            group.create_task(call(client, arguments.url, arguments.pace))


async def let_in(url: str) -> None:
    """Wait until connections are taken: a NetworkPolicy knows a new pod a moment after it began, on every node."""
    target = httpx2.URL(url)
    in_a_row = 0
    while in_a_row < TAKEN_IN_A_ROW:
        try:
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(target.host, target.port or 80)
            writer.close()
            in_a_row += 1
        except (TimeoutError, OSError):
            in_a_row = 0
        await asyncio.sleep(0.05)


async def call(client: httpx2.AsyncClient, url: str, pace: float) -> None:
    """Call at a steady pace; an answer that takes longer than a turn delays the next one."""
    begin = time.monotonic()
    for turn in itertools.count(1):
        sent = time.time()
        try:
            answer = await client.post(f"{url}/v1/chat", json={"message": "Hello"})
            outcome = str(answer.status_code)
        except httpx2.HTTPError as error:
            outcome = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps({"sent": sent, "seconds": time.time() - sent, "outcome": outcome}) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(max(0.0, begin + turn / pace - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(main())
