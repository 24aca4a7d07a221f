"""The work queue: one entry per key, priorities, per-key exponential backoff.

The contract is that of controller-runtime's priority queue: a key is never worked on twice at the same time, an add
during its work is not lost, live changes overtake the start-up list, which overtakes resyncs, and a failing key waits
alone.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from agentservice_operator.metrics import QueueMetrics

K = TypeVar("K", bound=Hashable)

BASE_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 300.0
_FEW = 64


class Priority(IntEnum):
    """Lower goes first."""

    CHANGE = 0
    STARTUP = 1
    RESYNC = 2


@dataclass(slots=True)
class _Entry:
    priority: Priority
    due: float
    ticket: int
    added: float


class Schedule(Generic[K]):
    """Which key is next: pure bookkeeping over a clock that the caller reads."""

    def __init__(self) -> None:
        self._waiting: dict[K, _Entry] = {}
        self._delayed: list[tuple[float, int, K]] = []
        self._ready: list[tuple[Priority, float, int, K]] = []
        self._due: set[K] = set()
        self._working: set[K] = set()
        self._again: dict[K, _Entry] = {}
        self._tickets = itertools.count()

    @property
    def depth(self) -> int:
        """How many keys only wait for a worker; those that wait for their time do not count."""
        return len(self._due)

    def add(self, key: K, priority: Priority, due: float, now: float) -> None:
        """Ask for ``key`` at ``due``; of several wishes the earliest time and the highest priority hold.

        While the key is being worked on the wish is kept until ``done``.
        """
        wishes = self._again if key in self._working else self._waiting
        known = wishes.get(key)
        if known is not None and known.due <= due and known.priority <= priority:
            return
        if known is not None:
            due, priority = min(due, known.due), min(priority, known.priority)
        entry = _Entry(priority, due, next(self._tickets), known.added if known else now)
        wishes[key] = entry
        if wishes is self._waiting:
            self._push(key, entry)
            self._promote(now)

    def pop(self, now: float) -> tuple[K, float] | None:
        """Take the next key that is due, with the time when it was first asked for; None where nothing is due."""
        self._promote(now)
        while self._ready:
            _, _, ticket, key = heapq.heappop(self._ready)
            if self._is_current(key, ticket):
                entry = self._waiting.pop(key)
                self._due.discard(key)
                self._working.add(key)
                return key, max(entry.added, min(entry.due, now))
        return None

    def done(self, key: K) -> bool:
        """The work on ``key`` has ended; says whether it was asked for meanwhile, and so is waiting now."""
        self._working.discard(key)
        entry = self._again.pop(key, None)
        if entry is None:
            return False
        self._waiting[key] = entry
        self._push(key, entry)
        return True

    def next_due(self) -> float | None:
        """The earliest time at which something may be due, None where nothing waits."""
        while self._delayed:
            due, ticket, key = self._delayed[0]
            if self._is_current(key, ticket):
                return due
            heapq.heappop(self._delayed)
        return None

    def _push(self, key: K, entry: _Entry) -> None:
        heapq.heappush(self._delayed, (entry.due, entry.ticket, key))
        if len(self._delayed) > 2 * len(self._waiting) + _FEW:
            # A wish that an earlier one replaced stays in the heap until its time: minutes, at every reconcile.
            self._delayed = [item for item in self._delayed if self._is_current(item[2], item[1])]
            heapq.heapify(self._delayed)

    def _promote(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            due, ticket, key = heapq.heappop(self._delayed)
            if self._is_current(key, ticket):
                heapq.heappush(self._ready, (self._waiting[key].priority, due, ticket, key))
                self._due.add(key)

    def _is_current(self, key: K, ticket: int) -> bool:
        entry = self._waiting.get(key)
        return entry is not None and entry.ticket == ticket


class WorkQueue(Generic[K]):
    """The asyncio face of ``Schedule``, with backoff and metrics."""

    def __init__(
        self,
        metrics: QueueMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._schedule: Schedule[K] = Schedule()
        self._failures: dict[K, int] = {}
        self._started: dict[K, float] = {}
        self._changed = asyncio.Event()
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        metrics.watch_work(lambda: [clock() - started for started in list(self._started.values())])

    def add(self, key: K, priority: Priority = Priority.CHANGE, *, after: float = 0.0) -> None:
        """Ask for ``key`` in ``after`` seconds."""
        now = self._clock()
        self._schedule.add(key, priority, now + after, now)
        self._metrics.added(self._schedule.depth)
        self._changed.set()

    async def get(self) -> K:
        """Wait for the next key; the caller owes a ``done`` for it."""
        while True:
            now = self._clock()
            taken = self._schedule.pop(now)
            if taken is not None:
                key, asked = taken
                self._started[key] = now
                self._metrics.taken(self._schedule.depth, now - asked)
                return key
            self._changed.clear()
            due = self._schedule.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """The work on ``key`` has ended, well or not."""
        self._metrics.done(self._clock() - self._started.pop(key, self._clock()))
        if self._schedule.done(key):
            self._changed.set()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Ask for a failed ``key`` again: 1 s, 2 s, 4 s ... 5 min, each with up to 20 % more; returns the delay.

        Args:
            key: The key whose work failed.
            at_least: Seconds that the API server asked to wait.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2.0 ** min(failures, 16))
        delay = max(at_least, delay) * (1.0 + 0.2 * self._jitter())
        self._metrics.retried()
        self.add(key, Priority.CHANGE, after=delay)
        return delay

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts at the shortest delay."""
        self._failures.pop(key, None)
