"""Runs of this process whose events are kept: written by one turn, read by any number of callers, later too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import structlog

from agent_runtime.api.errors import ProblemError
from agent_runtime.api.event_stream import encoded
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.runs import SqlRuns

GROUP_SECONDS = 0.1
"""Events of this long are kept by one write."""

_log = structlog.get_logger()


class LiveRun:
    """A run of this process.

    Args:
        run_id: its id, and name in the database.
        principal: whose it is.
    """

    def __init__(self, run_id: str, principal: str) -> None:
        self.id = run_id
        self.principal = principal
        self.ended = False
        self.problem: ProblemError | None = None
        """How it ended where it failed."""
        self._events: list[bytes] = []
        self._readers: set[asyncio.Event] = set()

    @property
    def last_id(self) -> int:
        """Of its newest event."""
        return len(self._events)

    def emit(self, kind: str, fields: dict[str, Any]) -> None:
        """Add an event."""
        self._events.append(encoded(self.last_id + 1, kind, fields))
        self._wake()

    def fail(self, problem: ProblemError, event: tuple[str, dict[str, Any]]) -> None:
        """Add the event that tells how it failed."""
        self.problem = problem
        self.emit(*event)

    def end(self) -> None:
        """There are no further events."""
        self.ended = True
        self._wake()

    def events_after(self, after: int) -> bytes:
        """Its events after the one with the id `after`, as they are sent."""
        return b"".join(self._events[after:])

    async def read(self, after: int, *, pause: float = 0) -> AsyncGenerator[bytes, None]:
        """Its events after that with the id `after`, as they come, several at a time; at last none, at its end.

        Args:
            after: id of an event.
            pause: seconds to wait for more after there are some.
        """
        news = asyncio.Event()
        self._readers.add(news)
        try:
            while not (self.ended and after >= self.last_id):
                if after >= self.last_id:
                    news.clear()
                    await news.wait()
                    if pause and not self.ended:
                        await asyncio.sleep(pause)
                events = self.events_after(after)
                after = self.last_id
                if events:
                    yield events
        finally:
            self._readers.discard(news)

    def _wake(self) -> None:
        for news in self._readers:
            news.set()


class LiveRuns:
    """The runs of this process whose events are kept.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: SqlRuns) -> None:
        self.store = store
        self._runs: dict[str, LiveRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many run."""
        return len(self._runs)

    def find(self, principal: str, run_id: str) -> LiveRun | None:
        """A run of `principal` that is running here."""
        run = self._runs.get(run_id)
        return run if run is not None and run.principal == principal else None

    async def start(self, run: LiveRun, work: Callable[[], Awaitable[None]]) -> None:
        """Let `work` emit the events of `run` and end it, whoever reads them.

        Raises:
            StateUnavailableError: nothing can be kept of it; nothing has begun.
        """
        await self.store.begin(run.id, run.principal)
        self._runs[run.id] = run
        task = asyncio.create_task(self._carry_out(run, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until none runs and all is kept."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry_out(self, run: LiveRun, work: Callable[[], Awaitable[None]]) -> None:
        keeping = asyncio.create_task(self._keep(run))
        try:
            await work()
        finally:
            run.end()
            await keeping
            del self._runs[run.id]

    async def _keep(self, run: LiveRun) -> None:
        """Write the events of `run` down as they come."""
        kept = 0
        async with aclosing(run.read(0, pause=GROUP_SECONDS)) as news:
            async for _ in news:
                if not run.ended:
                    kept = await self._append(run, kept)
        await self._append(run, kept)

    async def _append(self, run: LiveRun, kept: int) -> int:
        """Keep what comes after the event with the id `kept`; returns the id of the last that is kept now."""
        last_id, events = run.last_id, run.events_after(kept)
        try:
            if not await self.store.append(run.id, last_id, events, ended=run.ended):
                _log.warning("a run has been told as interrupted while it ran", run_id=run.id)
        except StateUnavailableError:  # it has been logged; what is missing comes with the next write
            return kept
        return last_id
