"""Stage: no more turns at once than the process can serve; a bounded number waits, in order, for a bounded time.

The order is that of priority, and of arrival within it.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from itertools import count

from agent_runtime import metrics
from agent_runtime.api.errors import OVERLOADED, ProblemError
from agent_runtime.pipeline.turn import Emit, Handler, Turn, TurnResult

QUEUE_SECONDS = 10.0
"""Longest wait for a place; a caller who waits longer has likely given up."""
RETRY_AFTER_SECONDS = 2


@dataclass(order=True, slots=True)
class _Waiting:
    """Who waits for a place; the least in order gets it first."""

    negative_priority: int
    arrival: int
    place: asyncio.Future[None] = field(compare=False)


class Admission:
    """Places for turns.

    Args:
        limit: most turns at once.
        queue_limit: most turns that wait.
        queue_seconds: how long one waits at most.
    """

    def __init__(self, *, limit: int, queue_limit: int, queue_seconds: float = QUEUE_SECONDS) -> None:
        self._free = limit
        self._queue_limit = queue_limit
        self._queue_seconds = queue_seconds
        self._waiting: list[_Waiting] = []  # a heap
        self._arrivals = count()
        self.limit = limit
        metrics.CONCURRENCY_LIMIT.set(limit)
        metrics.IN_FLIGHT.set_function(lambda: self.in_flight)
        metrics.QUEUED.set_function(lambda: self.queued)

    @property
    def in_flight(self) -> int:
        """Turns that have a place."""
        return self.limit - self._free

    @property
    def queued(self) -> int:
        """Turns that wait for one."""
        return len(self._waiting)

    def __call__(self, handler: Handler) -> Handler:
        """The stage."""

        async def stage(turn: Turn, emit: Emit) -> TurnResult:
            await self._enter(turn.priority)
            try:
                return await handler(turn, emit)
            finally:
                self._leave()

        return stage

    async def _enter(self, priority: int) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue_limit:
            raise ProblemError(
                OVERLOADED,
                f"{self.limit} requests are being answered and {self.queued} wait.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(-priority, next(self._arrivals), place)
        heapq.heappush(self._waiting, waiting)
        try:
            async with asyncio.timeout(self._queue_seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                # The place was given in the same moment: the next one gets it.
                self._leave()
            elif waiting in self._waiting:  # else passed over, being cancelled, when a place became free
                self._waiting.remove(waiting)
                heapq.heapify(self._waiting)
            if isinstance(error, TimeoutError):
                raise ProblemError(
                    OVERLOADED, f"No place became free in {self._queue_seconds:g} s.", retry_after=RETRY_AFTER_SECONDS
                ) from None
            raise

    def _leave(self) -> None:
        # A place is handed over and not freed: a newcomer cannot overtake who waits.
        while self._waiting:
            place = heapq.heappop(self._waiting).place
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
