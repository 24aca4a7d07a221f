"""Stage: a turn ends at once when its caller leaves, or when the process must end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from types import TracebackType
from typing import Self

from agent_runtime.api.errors import SHUTTING_DOWN, ProblemError
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.turn import Emit, Handler, Stage, Turn, TurnResult


class ClientGoneError(Exception):
    """The caller closed the connection: there is nobody to answer."""


class Interruption:
    """A block of code that others can end with an exception of their choice.

    Works as asyncio.timeout does: cancels the task, and turns that cancellation, and no other, into the exception.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._reason: Exception | None = None

    def interrupt(self, reason: Exception) -> None:
        """End the block with `reason`; the first one counts."""
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    def caller_gone(self) -> None:
        """End the block, since there is nobody to answer."""
        self.interrupt(ClientGoneError())

    async def __aenter__(self) -> Self:
        """Begin the block."""
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("an interruption needs a task that it can end")
        self._cancelling = self._task.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the block."""
        task, self._task = self._task, None
        if task is None or self._reason is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._reason from None


@asynccontextmanager
async def while_present(departure: Departure) -> AsyncIterator[None]:
    """End the block with its caller."""
    async with Interruption() as interruption:
        with departure.told_to(interruption.caller_gone):
            yield


class Turns:
    """The turns that run now, so that a drain can end them."""

    def __init__(self) -> None:
        self._running: set[Interruption] = set()
        self._ended = False

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    def end_all(self) -> None:
        """End every turn, also those to come, with a problem that tells its caller to ask another replica."""
        self._ended = True
        for interruption in list(self._running):
            interruption.interrupt(_cut())

    @asynccontextmanager
    async def ended_with(self, departure: Departure | None) -> AsyncIterator[None]:
        """End the block with its caller, or with the process.

        Raises:
            ProblemError: of both, the process ends first.
        """
        if self._ended:
            raise _cut()
        async with Interruption() as interruption:
            self._running.add(interruption)
            try:
                # Servers let handlers run on when the caller has left, and the tokens would be paid for.
                with departure.told_to(interruption.caller_gone) if departure else nullcontext():
                    yield
            finally:
                self._running.discard(interruption)

    def interruptible(self) -> Stage:
        """The stage."""

        def wrap(handler: Handler) -> Handler:
            async def stage(turn: Turn, emit: Emit) -> TurnResult:
                async with self.ended_with(turn.departure):
                    return await handler(turn, emit)

            return stage

        return wrap


def _cut() -> ProblemError:
    return ProblemError(SHUTTING_DOWN, "This replica ended before the answer was complete.", retry_after=1)
