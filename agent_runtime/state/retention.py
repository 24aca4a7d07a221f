"""What is deleted since it is old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from sqlalchemy import Column, Connection, delete, select, tuple_

from agent_runtime.state.database import Database, StateUnavailableError

LOOK_SECONDS = 3600.0
DELETED_AT_ONCE = 100
"""Rows deleted in one transaction: everybody else waits for its end, and with a conversation go its messages."""
DAY_SECONDS = 86_400.0


async def keep_for(
    seconds: float, ages: Iterable[Column[int]], database: Database, *, clock: Callable[[], float] = time.time
) -> None:
    """Delete what is older, again and again, until cancelled.

    Args:
        seconds: how old a row may become.
        ages: by which column of a table a row is old, in milliseconds since 1970.
        database: where to delete it.
        clock: seconds since 1970.
    """
    ages = tuple(ages)
    while True:
        with suppress(StateUnavailableError):  # it has been logged, and the next look comes
            await forget_before(clock() - seconds, ages, database)
        await asyncio.sleep(LOOK_SECONDS)


async def forget_before(moment: float, ages: Iterable[Column[int]], database: Database) -> None:
    """Delete what is from before `moment`, in seconds since 1970; see keep_for.

    Raises:
        StateUnavailableError: the database fails.
    """
    for age in ages:
        while await database.run(partial(_forget, age, round(moment * 1000))):
            pass


def _forget(age: Column[int], moment: int, connection: Connection) -> int:
    """Delete some rows; returns how many."""
    key = age.table.primary_key.columns
    some = select(*key).where(age < moment).limit(DELETED_AT_ONCE)
    return connection.execute(delete(age.table).where(tuple_(*key).in_(some))).rowcount
