"""Callers inside the cluster at a steady pace: one JSON line per answer, until the pod is deleted.

Half of the callers of a kind keep their connection as long as the server does, half open one per request, so that both
ways of losing a request in a rollout would show. Run by pods of the runtime's image, which has Python and httpx2 and no
shell.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

TAKEN_IN_A_ROW = 40
CONNECTIONS = 10
"""To read a run to its end; more are a way of not getting there."""

Answer = dict[str, Any]
"""`outcome`: "200", or what there was instead of a whole answer; further members are those of the kind."""
Ask = Callable[[httpx2.AsyncClient], Awaitable[Answer]]


async def main() -> None:
    """Call until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--kinds", default="chat", help="of calls, with commas between them")
    parser.add_argument("--callers", type=int, default=4, help="of each kind")
    parser.add_argument("--pace", type=float, required=True, help="requests per second of each caller")
    arguments = parser.parse_args()
    await let_in(arguments.url)
    async with asyncio.TaskGroup() as group:
        for kind in arguments.kinds.split(","):
            for number in range(arguments.callers):
                headers = {"X-API-Key": os.environ["API_KEY"], **({"Connection": "close"} if number % 2 else {})}
                client = httpx2.AsyncClient(base_url=arguments.url, headers=headers, timeout=30, trust_env=False)
                group.create_task(call(client, kind, KINDS[kind](), arguments.pace))


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


async def call(client: httpx2.AsyncClient, kind: str, ask: Ask, pace: float) -> None:
    """Call at a steady pace; an answer that takes longer than a turn delays the next one."""
    begin = time.monotonic()
    for turn in itertools.count(1):
        sent = time.time()
        try:
            answer = await ask(client)
        except httpx2.HTTPError as error:
            answer = {"outcome": f"{type(error).__name__}: {error}"}
        line = {"kind": kind, "sent": sent, "seconds": time.time() - sent, **answer}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(max(0.0, begin + turn / pace - time.monotonic()))


def chat(**fields: Any) -> Ask:
    """Chats that have nothing to do with each other."""

    async def ask(client: httpx2.AsyncClient) -> Answer:
        answer = await client.post("/v1/chat", json={"message": "Hello", **fields})
        return {"outcome": status_of(answer)}

    return ask


def conversation() -> Ask:
    """One conversation that goes on and on; `said` is what was said, to be looked for in it later."""
    known: dict[str, str] = {}
    numbers = itertools.count(1)

    async def ask(client: httpx2.AsyncClient) -> Answer:
        said = f"This is message {next(numbers)}."
        answer = await client.post("/v1/chat", json={"message": said, **known})
        if answer.status_code != httpx2.codes.OK:
            return {"outcome": status_of(answer), **known, "said": said}
        known["conversation_id"] = answer.json()["conversation_id"]
        return {"outcome": "200", **known, "said": said}

    return ask


def batch() -> Ask:
    """Batches of two."""

    async def ask(client: httpx2.AsyncClient) -> Answer:
        answer = await client.post("/v1/chat/batch", json={"items": [{"message": "Hello"}, {"message": "Bye"}]})
        if answer.status_code != httpx2.codes.OK:
            return {"outcome": status_of(answer)}
        document = answer.json()
        return {"outcome": "200" if document["status"] == "completed" else json.dumps(document)}

    return ask


def stream() -> Ask:
    """Streams that are listened to until they end."""

    async def ask(client: httpx2.AsyncClient) -> Answer:
        reading = Reading()
        async with client.stream("POST", "/v1/chat/stream", json={"message": "Hello"}) as response:
            await reading.read(response)
        return {"outcome": reading.outcome}

    return ask


def run() -> Ask:
    """Streams that go on without their caller, who comes back for what is missing, wherever that leads to."""

    async def ask(client: httpx2.AsyncClient) -> Answer:
        reading = Reading()
        body = {"message": "Hello", "on_disconnect": "continue"}
        async with client.stream("POST", "/v1/chat/stream", json=body) as response:
            await reading.read(response, until="delta")
        if not reading.events:
            return {"outcome": reading.outcome}
        await read_on(client, reading)
        again = Reading(reading.run_id)
        await read_on(client, again)
        if reading.ended and again.events != reading.events:
            return {"outcome": f"read again as {json.dumps(again.events)}"}
        return {"outcome": reading.outcome}

    return ask


@dataclass
class Reading:
    """What is known of a run, from as many connections as it took."""

    run_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    outcome: str = "not begun"
    ended: bool = False
    """The last event of the run has come; the outcome says how it ended."""

    async def read(self, response: httpx2.Response, until: str = "") -> None:
        """Take events until there are no more, or until one of type `until`."""
        if response.status_code != httpx2.codes.OK:
            await response.aread()
            self.outcome = status_of(response)
            return
        self.outcome = "broken off"
        async for number, data in events_of(response):
            self._take(number, data)
            if data["type"] == until:
                self.outcome = "left"
                return

    def _take(self, number: int | None, data: dict[str, Any]) -> None:
        self.run_id = data.get("run_id", self.run_id)
        if number is not None:
            self.events.append(data)
        if number not in {None, len(self.events)}:
            self.outcome, self.ended = f"event {number} instead of {len(self.events)}", True
        elif data["type"] == "done":
            self.outcome, self.ended = "200", True
        elif data["type"] == "error":
            # An event without an id is about this connection, not about the run.
            self.outcome, self.ended = told(data), number is not None


def status_of(answer: httpx2.Response) -> str:
    """The status of an answer, with the code of the problem where it is one."""
    code = "" if answer.status_code == httpx2.codes.OK else f" {answer.json()['code']}"
    return f"{answer.status_code}{code}"


def told(error: dict[str, Any]) -> str:
    """The code of an error within a stream, from which its caller must know what to read on."""
    return error["code"] if error.get("run_id") else f"{error['code']} without run_id"


async def read_on(client: httpx2.AsyncClient, reading: Reading) -> None:
    """Take the events of a run that are not known yet.

    A replica that ends says so, or closes a connection that was to be used again: another one reads on.
    """
    for _ in range(CONNECTIONS):
        headers = {"Last-Event-ID": str(len(reading.events))}
        try:
            async with client.stream("GET", f"/v1/runs/{reading.run_id}/events", headers=headers) as response:
                await reading.read(response)
        except httpx2.TransportError as error:
            reading.outcome = f"{type(error).__name__}: {error}"
        else:
            if reading.ended or reading.outcome != "shutting_down":
                return


async def events_of(response: httpx2.Response) -> AsyncIterator[tuple[int | None, dict[str, Any]]]:
    """Number and data of each event."""
    number: int | None = None
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "data":
            yield number, json.loads(value)
            number = None


KINDS: dict[str, Callable[[], Ask]] = {
    "chat": chat,
    "stateless": lambda: chat(store=False),
    "conversation": conversation,
    "stream": stream,
    "run": run,
    "batch": batch,
}


if __name__ == "__main__":
    asyncio.run(main())
