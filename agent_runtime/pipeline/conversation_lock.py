"""Stage: one turn at a time in a conversation, or two answers would each miss the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from agent_runtime.api.errors import CONVERSATION_BUSY, STATE_UNAVAILABLE, ProblemError
from agent_runtime.pipeline.turn import Emit, Handler, Turn, TurnResult
from agent_runtime.state.conversation_leases import ConversationLeases, Key
from agent_runtime.state.database import StateUnavailableError

WAIT_SECONDS = 2.0
"""Long enough for the end of a short answer; longer would hold a place of the admission for somebody who cannot run."""


class ConversationLock:
    """Locks of conversations.

    Args:
        leases: of the database, where other processes use it too; None: the lock is of this process alone.
        wait_seconds: how long a turn waits for the one before it.
    """

    def __init__(self, leases: ConversationLeases | None, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._leases = leases
        self._wait_seconds = wait_seconds
        self._locks: dict[Key, asyncio.Lock] = {}
        self._users: dict[Key, int] = {}

    def __call__(self, handler: Handler) -> Handler:
        """The stage."""

        async def stage(turn: Turn, emit: Emit) -> TurnResult:
            async with AsyncExitStack() as stack:

                async def reserve(conversation_id: str) -> None:
                    await stack.enter_async_context(self.held((turn.principal, conversation_id)))

                if turn.conversation_id is not None:
                    await reserve(turn.conversation_id)
                return await handler(replace(turn, reserve=reserve), emit)

        return stage

    @asynccontextmanager
    async def held(self, key: Key) -> AsyncIterator[None]:
        """Keep everybody else out of a conversation.

        Raises:
            ProblemError: somebody else is in it for longer than this waits, or the database fails.
        """
        until = asyncio.get_running_loop().time() + self._wait_seconds
        async with AsyncExitStack() as stack:
            try:
                # Turns of this process wait for each other here, in their order; only the first asks the database.
                await stack.enter_async_context(self._held_here(key, until=until))
                if self._leases is not None:
                    await stack.enter_async_context(self._leases.held(key, until=until))
            except TimeoutError:
                raise ProblemError(
                    CONVERSATION_BUSY,
                    f"Its other answer was not complete within {self._wait_seconds:g} s; ask again after it.",
                    retry_after=1,
                ) from None
            except StateUnavailableError as error:
                raise ProblemError(STATE_UNAVAILABLE, f"The database of the conversations fails: {error}.") from None
            yield

    @asynccontextmanager
    async def _held_here(self, key: Key, *, until: float) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with asyncio.timeout_at(until):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]
