"""What can go wrong between an operator and its API server: one class per fault, each fires once at a named moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus


class CutError(Exception):
    """The connection is to be cut without a further byte."""


@dataclass(frozen=True)
class Answer:
    """What the operator is told.

    Args:
        code: the HTTP status.
        headers: of the answer.
        body: as sent.
        afterwards: called once it is sent.
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    afterwards: Callable[[], None] | None = None


Forward = Callable[[], Awaitable[Answer]]
"""Lets a request through and returns the API server's answer."""


@dataclass(frozen=True)
class Event:
    """One event of a watch.

    Args:
        name: ``MODIFIED deployments/hello#3``.
        line: as it came, with its line end.
        resource: what is watched.
    """

    name: str
    line: bytes
    resource: str


class Fault:
    """What goes wrong in one namespace; this one: nothing.

    Args:
        at: the name of the write or event that it waits for.
    """

    def __init__(self, at: str = "") -> None:
        self.at = at
        self.fired = False

    async def write(self, name: str, forward: Forward) -> Answer:
        """A write arrives."""
        del name
        return await forward()

    async def read(self, target: str, forward: Forward) -> Answer:
        """A get or list arrives; ``target`` is path and query."""
        del target
        return await forward()

    async def event(self, event: Event) -> Sequence[bytes]:
        """An event arrives; returns the lines to deliver in its place."""
        return (event.line,)

    def is_due(self, name: str) -> bool:
        """Whether this is what it waited for; true once."""
        if self.fired or name != self.at:
            return False
        self.fired = True
        return True


class Crash(Fault):
    """The operator dies after a write was committed, before or after it is told so."""

    def __init__(self, at: str, kill: Callable[[], None], *, answered: bool) -> None:
        super().__init__(at)
        self._kill = kill
        self._answered = answered

    async def write(self, name: str, forward: Forward) -> Answer:
        answer = await forward()
        if not self.is_due(name):
            return answer
        if self._answered:
            return replace(answer, afterwards=self._kill)
        self._kill()
        raise CutError


class Refuse(Fault):
    """A write is refused and not forwarded."""

    def __init__(self, at: str, code: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(at)
        self._code = code
        self._reason = reason
        self._headers = headers or {}

    async def write(self, name: str, forward: Forward) -> Answer:
        if not self.is_due(name):
            return await forward()
        return refusal(self._code, self._reason, self._headers)


class LoseAnswer(Fault):
    """A write is committed, and its answer never comes: the connection is cut, or stays silent for some seconds."""

    def __init__(self, at: str, *, silent_for: float = 0.0) -> None:
        super().__init__(at)
        self._silent_for = silent_for

    async def write(self, name: str, forward: Forward) -> Answer:
        answer = await forward()
        if not self.is_due(name):
            return answer
        await asyncio.sleep(self._silent_for)
        raise CutError


class Drop(Fault):
    """An event is never delivered; the watch goes on."""

    async def event(self, event: Event) -> Sequence[bytes]:
        return () if self.is_due(event.name) else (event.line,)


class Repeat(Fault):
    """An event is delivered twice."""

    async def event(self, event: Event) -> Sequence[bytes]:
        return (event.line, event.line) if self.is_due(event.name) else (event.line,)


class Cut(Fault):
    """A watch breaks in the place of an event."""

    async def event(self, event: Event) -> Sequence[bytes]:
        if self.is_due(event.name):
            raise CutError
        return (event.line,)


class Stall(Fault):
    """From an event on, its watch stays open and silent until the operator gives it up."""

    async def event(self, event: Event) -> Sequence[bytes]:
        if self.is_due(event.name):
            await asyncio.Event().wait()
        return (event.line,)


class Expire(Fault):
    """In the place of an event a watch is told that its place in history is forgotten (410), and ends."""

    async def event(self, event: Event) -> Sequence[bytes]:
        if not self.is_due(event.name):
            return (event.line,)
        gone = {"type": "ERROR", "object": json.loads(refusal(HTTPStatus.GONE, "Expired").body)}
        return (json.dumps(gone).encode() + b"\n",)


class Delay(Fault):
    """From an event on, everything that is watched comes late: a view that lags behind what is read and written."""

    def __init__(self, at: str, seconds: float) -> None:
        super().__init__(at)
        self._seconds = seconds

    async def event(self, event: Event) -> Sequence[bytes]:
        if self.is_due(event.name) or self.fired:
            await asyncio.sleep(self._seconds)
        return (event.line,)


class OldList(Expire):
    """A watch expires, and the list that follows is answered as the first of its kind was: a view from the past."""

    def __init__(self, at: str) -> None:
        super().__init__(at)
        self._resource = at.split()[1].split("/", maxsplit=1)[0]
        self._lists: dict[str, Answer] = {}
        self._answered = False

    async def read(self, target: str, forward: Forward) -> Answer:
        answer = await forward()
        if f"/{self._resource}?" not in target:
            return answer
        first = self._lists.setdefault(target, answer)
        if self.fired and not self._answered:
            self._answered = True
            return first
        return answer


def refusal(code: int, reason: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer as an API server refuses with."""
    status = {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": f"the fault proxy says {code}",
        "reason": reason,
        "code": code,
    }
    return Answer(code, {"Content-Type": "application/json", **(headers or {})}, json.dumps(status).encode())
