"""What can go wrong between an operator and its API server: one class per fault, each fires once at a named moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Protocol


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


class Forward(Protocol):
    """Lets a request through and returns the API server's answer."""

    def __call__(self, **query: str) -> Awaitable[Answer]:
        """Forward it, with further parameters of its query."""


@dataclass(frozen=True)
class Event:
    """One event of a watch.

    Args:
        name: ``MODIFIED deployments/hello#3``.
        line: as it came, with its line end.
        version: the resourceVersion of its object.
        arrived: when it came (``time.monotonic``).
    """

    name: str
    line: bytes
    version: int
    arrived: float

    @property
    def watch(self) -> str:
        """What is watched: ``deployments``, ``configmap-names``."""
        return self.name.split()[1].split("/", maxsplit=1)[0]


class Fault:
    """What goes wrong in one namespace; this one: nothing.

    Args:
        at: the name of the write or event that it waits for.
    """

    adds_nothing = False
    """Whether the operator should write what it writes without the fault, and nothing more."""
    patience = 0.0
    """Seconds that it takes longer to converge than after a lost event."""

    def __init__(self, at: str = "") -> None:
        self.at = at
        self.fired = False
        self.complaint = ""
        """What the operator did that it must not do where this happens."""

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
    """A write is refused and not forwarded; it must not be repeated sooner than the answer allows."""

    def __init__(self, at: str, code: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(at)
        self._code = code
        self._reason = reason
        self._headers = headers or {}
        self._not_before = 0.0

    async def write(self, name: str, forward: Forward) -> Answer:
        if not self.is_due(name):
            if what(name) == what(self.at) and (early := self._not_before - time.monotonic()) > 0:
                self.complaint = f"{name} came {early:.1f} s before the time that Retry-After allows"
            return await forward()
        self._not_before = time.monotonic() + float(self._headers.get("Retry-After", 0))
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

    adds_nothing = True

    async def event(self, event: Event) -> Sequence[bytes]:
        return (event.line, event.line) if self.is_due(event.name) else (event.line,)


class Swap(Fault):
    """An event is delivered after the one that follows it in its watch."""

    adds_nothing = True

    def __init__(self, at: str) -> None:
        super().__init__(at)
        self._held: Event | None = None

    async def event(self, event: Event) -> Sequence[bytes]:
        if event.name == self.at:
            self._held = event
            return ()
        if self._held is None or event.watch != self._held.watch:
            return (event.line,)
        held, self._held = self._held, None
        self.fired = True
        return (event.line, held.line)


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
    """From an event on, all that is listed and watched is as old as this: a view that lags behind what is written."""

    def __init__(self, at: str, seconds: float) -> None:
        super().__init__(at)
        self.patience = 2 * seconds
        self._seconds = seconds
        self._versions: list[tuple[float, int]] = []
        """When which resourceVersion was the newest that was seen."""

    async def read(self, target: str, forward: Forward) -> Answer:
        then = time.monotonic() - self._seconds
        known = [version for arrived, version in self._versions if arrived <= then]
        if not self.fired or "limit=" not in target or not known:
            return await forward()
        return await forward(resourceVersion=str(max(known)), resourceVersionMatch="Exact")

    async def event(self, event: Event) -> Sequence[bytes]:
        self._versions.append((event.arrived, event.version))
        if self.is_due(event.name) or self.fired:
            await asyncio.sleep(event.arrived + self._seconds - time.monotonic())
        return (event.line,)


class OldList(Expire):
    """A watch expires, and the list that follows is answered as the first of its kind was: a view from the past."""

    def __init__(self, at: str) -> None:
        super().__init__(at)
        watched = at.split()[1].split("/", maxsplit=1)[0]
        self._resource = "configmaps" if watched == "configmap-names" else watched
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


def what(name: str) -> str:
    """What a write or event is, however many like it came before: ``apply deployments/hello``."""
    return name.rpartition("#")[0]


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
