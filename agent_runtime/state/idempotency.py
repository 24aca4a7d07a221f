"""Answers by the keys that callers gave their requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from agent_runtime.state.database import Database
from agent_runtime.state.presence import Presence, live
from agent_runtime.state.retention import DAY_SECONDS, DELETED_AT_ONCE
from agent_runtime.state.schema import idempotency_keys as keys

KEPT_SECONDS = DAY_SECONDS
"""Of an answer; the events of a run, which may be one, are kept as long."""
KEPT_PER_PRINCIPAL = 200
"""Beyond, the oldest answers of a principal go, so that none fills the database."""
KEPT_TASKS_PER_PRINCIPAL = 2000
"""The same for answers that are tasks, whose keys are small: twice as many as a principal may have unfinished."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a key was used for."""

    fingerprint: str
    """Of the request."""
    in_flight: bool
    """Whether it is being answered."""
    body: str | None = None
    """The answer, if it is a document."""
    run_id: str | None = None
    """The answer, if it is a stream."""
    task_id: str | None = None
    """The answer, if it is a task."""


class SqlIdempotency:
    """Keys in a database; each belongs to one principal.

    Its methods raise StateUnavailableError where the database fails; nothing is half-written then.

    Args:
        database: where they are kept.
        presence: this process; keys that one holds are free when it has expired.
        clock: seconds since 1970.
    """

    def __init__(self, database: Database, presence: Presence, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._presence = presence
        self._clock = clock

    async def claim(self, principal: str, key: str, fingerprint: str, token: str) -> KeptAnswer | None:
        """Take a key that is free, for the request with `token`.

        Returns:
            None where the key is now ours, else what it was used for.
        """
        of_key = (keys.c.principal == principal) & (keys.c.key == key)
        row = {"principal": principal, "key": key, "fingerprint": fingerprint, "token": token}
        row |= {"process": self._presence.id}

        def work(connection: Connection) -> KeptAnswer | None:
            found = connection.execute(select(keys, keys.c.process.in_(live).label("held")).where(of_key)).one_or_none()
            if found is not None:
                in_flight = found.process is not None
                if found.held or (not in_flight and found.created_at >= self._oldest()):
                    return KeptAnswer(found.fingerprint, in_flight, found.body, found.run_id, found.task_id)
                connection.execute(delete(keys).where(of_key, keys.c.token == found.token))
            connection.execute(insert(keys), row | {"created_at": self._now()})
            _forget_beyond(connection, principal)
            return None

        try:
            return await self._database.run(work)
        except IntegrityError:  # another replica took it in the same moment, which is seen now
            return await self._database.run(work)

    async def keep(self, token: str, *, body: str | None = None, run_id: str | None = None) -> None:
        """Keep the answer to the request with `token`: a document, or the run of a stream."""
        answered = update(keys).where(keys.c.token == token).values(body=body, run_id=run_id, process=None)
        await self._database.run(lambda connection: connection.execute(answered))

    def keep_task(self, connection: Connection, token: str, task_id: str) -> None:
        """Keep a task as the answer to the request with `token`, in the transaction that makes it."""
        connection.execute(update(keys).where(keys.c.token == token).values(task_id=task_id, process=None))

    async def release(self, token: str) -> None:
        """Free the key of the request with `token`, whose answer is not kept."""
        unanswered = delete(keys).where(keys.c.token == token, keys.c.process.is_not(None))
        await self._database.run(lambda connection: connection.execute(unanswered))

    def _oldest(self) -> int:
        return self._now() - round(KEPT_SECONDS * 1000)

    def _now(self) -> int:
        return round(self._clock() * 1000)


def _forget_beyond(connection: Connection, principal: str) -> None:
    kinds = (keys.c.task_id.is_(None), KEPT_PER_PRINCIPAL), (keys.c.task_id.is_not(None), KEPT_TASKS_PER_PRINCIPAL)
    for of_kind, kept in kinds:
        oldest = (
            select(keys.c.token)
            .where(keys.c.principal == principal, keys.c.process.is_(None), of_kind)
            .order_by(keys.c.created_at.desc(), keys.c.key)
            .offset(kept)
            .limit(DELETED_AT_ONCE)
        )
        tokens = connection.execute(oldest).scalars().all()
        if tokens:
            connection.execute(delete(keys).where(keys.c.token.in_(tokens)))
