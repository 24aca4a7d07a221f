"""Which processes use the database: what one of them holds there is free once it is gone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import Connection, delete, insert, select, update

from agent_runtime.state.clock import database_now
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.schema import conversation_leases, model_calls, processes

EXPIRY_SECONDS = 30.0
"""A process that was not heard of for so long is gone, as far as anybody can tell."""
RENEWAL_SECONDS = 10.0
UNSETTLED = "unsettled"
"""Outcome of a model call whose process was gone before its end; what it used is told by the most that it can be."""

live = select(processes.c.id).where(processes.c.expires_at > database_now())
"""Ids of the processes that are there."""


class Presence:
    """This process among those that use the database.

    Args:
        database: that they share.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.id = uuid.uuid4().hex

    async def renew(self) -> None:
        """Say that this process is there, and clear up after those that have expired.

        Raises:
            StateUnavailableError: the database fails.
        """
        await self._database.run(self._renew)

    async def keep(self) -> None:
        """Renew it again and again, until cancelled; one that expired meanwhile comes back with the next renewal."""
        while True:
            with suppress(StateUnavailableError):  # it has been logged, and the next renewal comes
                await self.renew()
            await asyncio.sleep(RENEWAL_SECONDS)

    async def withdraw(self) -> None:
        """Say that this process ends: nobody needs to wait until it expires."""
        with suppress(StateUnavailableError):  # then it expires
            await self._database.run(lambda connection: _forget(connection, [self.id]))

    def _renew(self, connection: Connection) -> None:
        expires_at = database_now() + round(EXPIRY_SECONDS * 1000)
        renewal = update(processes).where(processes.c.id == self.id).values(expires_at=expires_at)
        if not connection.execute(renewal).rowcount:
            connection.execute(insert(processes).values(id=self.id, expires_at=expires_at))
        # Whoever finds one first clears up after it; the others pass it by.
        expired = select(processes.c.id).where(processes.c.expires_at <= database_now())
        if gone := connection.execute(expired.with_for_update(skip_locked=True)).scalars().all():
            _forget(connection, gone)


def _forget(connection: Connection, gone: Sequence[str]) -> None:
    """Free what these processes held; of the calls that they made nobody will say any more what they were."""
    unsettled = model_calls.c.process.in_(gone) & model_calls.c.outcome.is_(None)
    connection.execute(update(model_calls).where(unsettled).values(outcome=UNSETTLED))
    connection.execute(delete(conversation_leases).where(conversation_leases.c.process.in_(gone)))
    connection.execute(delete(processes).where(processes.c.id.in_(gone)))
