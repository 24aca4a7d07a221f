"""Stage: one turn at a time in a conversation, or two answers would each miss the other."""

from __future__ import annotations

import asyncio

from agent_runtime.api.errors import CONVERSATION_BUSY, ProblemError
from agent_runtime.pipeline.turn import Emit, Handler, Turn, TurnResult

WAIT_SECONDS = 2.0
"""Long enough for the end of a short answer; longer would hold a place of the admission for somebody who cannot run."""


class ConversationLock:
    """Locks of conversations, held in this process.

    Args:
        wait_seconds: how long a turn waits for the one before it.
    """

    def __init__(self, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._users: dict[tuple[str, str], int] = {}

    def __call__(self, handler: Handler) -> Handler:
        """The stage."""

        async def stage(turn: Turn, emit: Emit) -> TurnResult:
            if turn.conversation_id is None:
                return await handler(turn, emit)
            key = (turn.principal, turn.conversation_id)
            lock = self._locks.setdefault(key, asyncio.Lock())
            self._users[key] = self._users.get(key, 0) + 1
            try:
                await self._acquire(lock)
                try:
                    return await handler(turn, emit)
                finally:
                    lock.release()
            finally:
                self._users[key] -= 1
                if not self._users[key]:
                    del self._users[key], self._locks[key]

        return stage

    async def _acquire(self, lock: asyncio.Lock) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await lock.acquire()
        except TimeoutError:
            raise ProblemError(
                CONVERSATION_BUSY,
                f"Its other answer was not complete within {self._wait_seconds:g} s; ask again after it.",
                retry_after=1,
            ) from None
