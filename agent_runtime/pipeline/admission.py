"""Stage: no more turns at once than the process can serve; a bounded number waits, in order, for a bounded time.

The order is that of arrival. Batches change places among themselves, by priority; those that can wait let all others go
before them. So no batch makes a single request wait longer than its arrival does, whatever priority its caller gave it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent_runtime import metrics
from agent_runtime.api.errors import OVERLOADED, ProblemError
from agent_runtime.pipeline.turn import PRIORITY, Emit, Handler, Turn, TurnResult

QUEUE_SECONDS = 10.0
"""Longest wait for a place; a caller who waits longer has likely given up."""
RETRY_AFTER_SECONDS = 2


@dataclass(eq=False, slots=True)
class _Waiting:
    """Who waits for a place."""

    batch_priority: int | None
    place: asyncio.Future[None]

    @property
    def can_wait(self) -> bool:
        """Whether everybody else comes first."""
        return self.batch_priority is not None and self.batch_priority < PRIORITY


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
        self._waiting: list[_Waiting] = []  # in their order, but for those who can wait
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
            await self._enter(turn.batch_priority)
            try:
                return await handler(turn, emit)
            finally:
                self._leave()

        return stage

    async def _enter(self, batch_priority: int | None) -> None:
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
        waiting = _Waiting(batch_priority, place)
        self._line_up(waiting)
        try:
            async with asyncio.timeout(self._queue_seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                # The place was given in the same moment: the next one gets it.
                self._leave()
            elif waiting in self._waiting:  # else passed over, being cancelled, when a place became free
                self._waiting.remove(waiting)
            if isinstance(error, TimeoutError):
                raise ProblemError(
                    OVERLOADED, f"No place became free in {self._queue_seconds:g} s.", retry_after=RETRY_AFTER_SECONDS
                ) from None
            raise

    def _leave(self) -> None:
        # A place is handed over and not freed: a newcomer cannot overtake who waits.
        while self._waiting:
            place = self._next().place
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _line_up(self, newcomer: _Waiting) -> None:
        """Let somebody wait behind all others, or change places where it is of a batch."""
        self._waiting.append(newcomer)
        if newcomer.batch_priority is None:
            return
        of_its_kind = [
            (index, each.batch_priority, each)
            for index, each in enumerate(self._waiting)
            if each.batch_priority is not None and each.can_wait == newcomer.can_wait
        ]
        by_priority = sorted(of_its_kind, key=lambda one: -one[1])  # among equals by arrival, as they stand
        for (index, _, _), (_, _, each) in zip(of_its_kind, by_priority, strict=True):
            self._waiting[index] = each

    def _next(self) -> _Waiting:
        """Take out who comes next of those that wait, of whom there are some."""
        first = next((each for each in self._waiting if not each.can_wait), self._waiting[0])
        self._waiting.remove(first)
        return first
