"""Runs that are kept: their events as they were sent, so that a caller who lost the connection can go on reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from agent_runtime.state.database import Database
from agent_runtime.state.presence import Presence, live
from agent_runtime.state.retention import DELETED_AT_ONCE
from agent_runtime.state.schema import run_events, runs

KEPT_PER_PRINCIPAL = 200
"""Beyond, the oldest runs of a principal go, so that none fills the database."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a run."""

    events: bytes
    """As they are sent."""
    last_id: int
    """Of the last one; that from which on it was asked for where there are no new ones."""
    status: str
    """``running``, ``ended``, or ``interrupted``: the process that ran it is gone."""


class SqlRuns:
    """Runs in a database.

    Its methods raise StateUnavailableError where the database fails; nothing is half-written then.

    Args:
        database: where they are kept.
        presence: this process; runs of one that has expired are told as interrupted.
        clock: seconds since 1970.
    """

    def __init__(self, database: Database, presence: Presence, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._presence = presence
        self._clock = clock

    async def begin(self, run_id: str, principal: str) -> None:
        """Keep a run from now on."""
        now = self._now()
        row = {"id": run_id, "principal": principal, "status": "running", "process": self._presence.id}

        def work(connection: Connection) -> None:
            connection.execute(insert(runs), row | {"created_at": now})
            newest = (
                select(runs.c.id)
                .where(runs.c.principal == principal)
                .order_by(runs.c.created_at.desc(), runs.c.id)
                .offset(KEPT_PER_PRINCIPAL)
                .limit(DELETED_AT_ONCE)
            )
            beyond = connection.execute(newest).scalars().all()
            if beyond:
                connection.execute(delete(runs).where(runs.c.id.in_(beyond), runs.c.status != "running"))

        await self._database.run(work)

    async def append(self, run_id: str, last_id: int, events: bytes, *, ended: bool) -> bool:
        """Keep further events, if any, the last of which has `last_id`, and that there will be no more.

        Returns:
            Whether the run is still ours; False where it has been told as interrupted, or deleted.
        """
        status = "ended" if ended else "running"
        row = {"run_id": run_id, "last_id": last_id, "events": events.decode()}

        def work(connection: Connection) -> bool:
            ours = update(runs).where(runs.c.id == run_id, runs.c.status == "running")
            if not connection.execute(ours.values(status=status)).rowcount:
                return False
            if events:
                connection.execute(insert(run_events), row)
            return True

        return await self._database.run(work)

    async def read(self, principal: str, run_id: str, after: int) -> Kept | None:
        """The events after that with the id `after`; None where this principal has no such run."""

        def work(connection: Connection) -> Kept | None:
            lost = update(runs).where(runs.c.id == run_id, runs.c.status == "running", runs.c.process.not_in(live))
            connection.execute(lost.values(status="interrupted"))
            of_run = select(runs.c.status).where(runs.c.id == run_id, runs.c.principal == principal)
            status = connection.execute(of_run).scalar_one_or_none()
            if status is None:
                return None
            rows = connection.execute(
                select(run_events.c.last_id, run_events.c.events)
                .where(run_events.c.run_id == run_id, run_events.c.last_id > after)
                .order_by(run_events.c.last_id)
            ).all()
            if not rows:
                return Kept(b"", after, status)
            events = "".join(row.events for row in rows)
            return Kept(events_after(events.encode(), rows[-1].last_id, after), rows[-1].last_id, status)

        return await self._database.run(work)

    def _now(self) -> int:
        return round(self._clock() * 1000)


def events_after(events: bytes, last_id: int, after: int) -> bytes:
    """Those of successive `events`, of which the last has `last_id`, that come after `after`."""
    single = events.split(b"\n\n")[:-1]
    wanted = min(last_id - after, len(single))
    return b"".join(event + b"\n\n" for event in single[len(single) - wanted :])
