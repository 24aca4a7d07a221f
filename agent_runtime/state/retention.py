"""What is deleted since it is old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from sqlalchemy import Column, Connection, delete, select

from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.schema import AGES

LOOK_SECONDS = 3600.0
DELETED_AT_ONCE = 100
"""Rows deleted in one transaction: everybody else waits for its end, and with a conversation go its messages."""
_DAY_SECONDS = 86_400


async def keep_for(days: int, database: Database, *, clock: Callable[[], float] = time.time) -> None:
    """Delete what is older, again and again, until cancelled.

    Args:
        days: since the last use of a conversation, or since a request or model call began.
        database: where to delete it.
        clock: seconds since 1970.
    """
    while True:
        with suppress(StateUnavailableError):  # it has been logged, and the next look comes
            await forget_before(clock() - days * _DAY_SECONDS, database)
        await asyncio.sleep(LOOK_SECONDS)


async def forget_before(moment: float, database: Database) -> None:
    """Delete what is from before `moment`, in seconds since 1970.

    Raises:
        StateUnavailableError: the database fails.
    """
    for age in AGES.values():
        while await database.run(partial(_forget, age, round(moment * 1000))):
            pass


def _forget(age: Column[int], moment: int, connection: Connection) -> int:
    """Delete some rows; returns how many."""
    table = age.table
    some = select(table.c.id).where(age < moment).limit(DELETED_AT_ONCE).scalar_subquery()
    return connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
