"""Leases of conversations: one process at a time answers in each, in a database that several use."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists
from sqlalchemy.dialects.postgresql import insert

from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.presence import Presence, live
from agent_runtime.state.schema import conversation_leases

POLL_SECONDS = 0.1
"""Between two looks whether the process that holds it has let go."""
RELEASE_SECONDS = 1.0
"""How long a turn waits for its lease to be free, so that the caller's next one, wherever it goes, finds it so."""
RETRY_SECONDS = 1.0

Key = tuple[str, str]
"""A principal and the id of a conversation."""


class ConversationLeases:
    """Leases that this process takes. No transaction is open while one is held: a row says who holds it.

    Args:
        database: that is shared, so a PostgreSQL one.
        presence: this process; its leases are free when it has expired.
    """

    def __init__(self, database: Database, presence: Presence) -> None:
        self._database = database
        self._presence = presence
        self._tokens: dict[Key, str] = {}
        self._background: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def held(self, key: Key, *, until: float) -> AsyncIterator[None]:
        """Hold the lease of a conversation, which no other turn of this process may ask for meanwhile.

        Args:
            key: whose conversation.
            until: when to stop waiting for another process, as the loop's time.

        Raises:
            TimeoutError: another process holds it.
            StateUnavailableError: the database fails.
        """
        lease = _lease(key, token=uuid.uuid4().hex)
        while not await self._take(lease):
            if asyncio.get_running_loop().time() + POLL_SECONDS > until:
                raise TimeoutError
            await asyncio.sleep(POLL_SECONDS)
        self._tokens[key] = lease["of_token"]
        try:
            yield
        finally:
            del self._tokens[key]
            await asyncio.wait({self._spawn(self._release(lease))}, timeout=RELEASE_SECONDS)

    def token(self, key: Key) -> str | None:
        """Of the lease of this conversation, if this process has taken it."""
        return self._tokens.get(key)

    async def aclose(self) -> None:
        """Stop what goes on; leases that are still held are free when the process withdraws."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _take(self, lease: dict[str, str]) -> bool:
        row = lease | {"process": self._presence.id}
        taking = asyncio.create_task(self._database.run(lambda connection: _take(connection, row)))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._spawn(self._release(lease, after=taking))
            raise

    async def _release(self, lease: dict[str, str], *, after: asyncio.Task[bool] | None = None) -> None:
        if after is not None:
            await asyncio.wait({after})
        while True:
            with suppress(StateUnavailableError):  # it has been logged; others wait for it until this process expires
                await self._database.run(lambda connection: connection.execute(_RELEASE, lease))
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


_OF = (
    (conversation_leases.c.principal == bindparam("of_principal"))
    & (conversation_leases.c.conversation_id == bindparam("of_id"))
    & (conversation_leases.c.token == bindparam("of_token"))
)
HELD = exists().where(_OF)
"""Whether a lease is held still: whoever was out of touch for too long may have lost it to another process."""
_RELEASE = delete(conversation_leases).where(_OF)
_NEW = insert(conversation_leases).values(
    principal=bindparam("of_principal"),
    conversation_id=bindparam("of_id"),
    process=bindparam("process"),
    token=bindparam("of_token"),
)
_TAKE = _NEW.on_conflict_do_update(
    index_elements=[conversation_leases.c.principal, conversation_leases.c.conversation_id],
    set_={"process": _NEW.excluded.process, "token": _NEW.excluded.token},
    where=(conversation_leases.c.process == _NEW.excluded.process) | conversation_leases.c.process.not_in(live),
).returning(conversation_leases.c.token)


def _lease(key: Key, *, token: str) -> dict[str, str]:
    principal, conversation_id = key
    return {"of_principal": principal, "of_id": conversation_id, "of_token": token}


def _take(connection: Connection, row: dict[str, str]) -> bool:
    return connection.execute(_TAKE, row).one_or_none() is not None
