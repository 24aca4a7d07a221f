"""Server-sent events to a caller: as soon as there is something to say, and often enough that proxies keep the line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Send

from agent_runtime.api.errors import INVALID_HEADER, ProblemError
from agent_runtime.pipeline.interruption import ClientGoneError

START_SECONDS = 10.0
"""After this long without an event the answer begins anyway: the status is then 200, whatever comes."""
PING_SECONDS = 15.0
"""Common proxies close a connection that is silent for 60 s."""
END_SECONDS = 30.0
"""For a caller to take the last events: the deadline of the turn, which bounds all others, is over by then."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


LAST_EVENT_ID = {
    "Last-Event-ID": {
        "description": "Id of the last event that is known already.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    }
}
"""Header of a caller who comes back, for the document."""


def last_event_id(request: Request) -> int:
    """The event after which a caller wants to go on; 0: from the first on.

    Raises:
        ProblemError: what it sends is no id.
    """
    last = request.headers.get("last-event-id", "0")
    if not re.fullmatch("[0-9]{1,9}", last):
        raise ProblemError(INVALID_HEADER, "Last-Event-ID: send the id of the last event that you have.")
    return int(last)


def encoded(event_id: int | None, kind: str, fields: dict[str, Any]) -> bytes:
    """An event as it is sent; its data repeats its type, since the onmessage of browsers does not see named events.

    Args:
        event_id: where a reader may go on after it; None: nowhere.
        kind: its type.
        fields: its data.
    """
    line = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sevent: %s\ndata: %s\n\n" % (line, kind.encode(), orjson.dumps({"type": kind, **fields}))


class EventStream:
    """One answer of events with ids that count up.

    Args:
        send: of the connection.
        headers: further ones of the answer.
    """

    def __init__(self, send: Send, *, headers: Mapping[str, str] | None = None) -> None:
        self._send = send
        self._headers = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        self._writing = asyncio.Lock()
        self._last_id = 0
        self._last_write = 0.0
        self.started = False
        """Whether the status has been sent, so that a failure can only be told as an event."""

    async def event(self, kind: str, fields: dict[str, Any]) -> None:
        """Send one event."""
        self._last_id += 1
        await self.write(encoded(self._last_id, kind, fields))

    async def end(self, *events: tuple[str, dict[str, Any]]) -> None:
        """Send the last events, each a kind and its fields, and end the answer.

        Raises:
            ClientGoneError: the caller does not take them.
        """
        try:
            async with asyncio.timeout(END_SECONDS):
                for kind, fields in events:
                    await self.event(kind, fields)
                await self.write(b"", more=False)
        except TimeoutError:
            raise ClientGoneError from None

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Begin the answer and fill its pauses by comments, as long as the block runs."""
        task = asyncio.create_task(self._keep_alive())
        try:
            yield
        finally:
            task.cancel()

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        self._last_write = loop.time()
        while True:
            pause = PING_SECONDS if self.started else START_SECONDS
            silence = loop.time() - self._last_write
            if silence >= pause:
                await self.write(b": ping\n\n")
            else:
                await asyncio.sleep(pause - silence)

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        """Send what is encoded already."""
        async with self._writing:
            if not self.started:
                await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *self._headers]})
                self.started = True
            self._last_write = asyncio.get_running_loop().time()
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
