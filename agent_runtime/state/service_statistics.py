"""What each agent has done in all processes of a service, by the rows that they have written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from sqlalchemy import Connection, bindparam, case, func, select, text

from agent_runtime.agent.model import Usage
from agent_runtime.pipeline.statistics import WINDOW, Figures
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.schema import interactions

PERIOD = timedelta(hours=24)
FRESH_SECONDS = 5.0
"""How long an answer of the database is given again: callers cannot make it count more often than that."""
ANSWER_SECONDS = 2.0
"""How long it may count. It counts a million requests in less, if it has nothing else to do."""

_rows = interactions.c
_in_period = _rows.arrived_at >= bindparam("since")
_answered = _rows.input_tokens + _rows.output_tokens + _rows.cache_read_tokens + _rows.cache_write_tokens > 0
_COUNTED = (
    select(
        _rows.agent,
        func.count().label("requests"),
        func.count(case((_rows.status >= HTTPStatus.INTERNAL_SERVER_ERROR, 1))).label("errors"),
        func.sum(_rows.input_tokens).label("input"),
        func.sum(_rows.output_tokens).label("output"),
        func.sum(_rows.cache_read_tokens).label("cache_read"),
        func.sum(_rows.cache_write_tokens).label("cache_write"),
        func.sum(_rows.web_searches).label("web_searches"),
        func.coalesce(func.sum(_rows.cost_microdollars), 0).label("microdollars"),
        func.count(case((_answered & _rows.cost_microdollars.is_(None), 1))).label("unpriced"),
    )
    .where(_in_period)
    .group_by(_rows.agent)
)
_TIMES = (
    select(_rows.milliseconds)
    .where(_in_period, _rows.agent == bindparam("of_agent"))
    .order_by(_rows.arrived_at.desc())
    .limit(WINDOW)
)


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """What each agent has done."""

    since: datetime
    of: Mapping[str, Figures]


class ServiceStatistics:
    """See the module.

    Args:
        database: PostgreSQL, which all processes share.
        agents: their names.
    """

    def __init__(self, database: Database, agents: Iterable[str]) -> None:
        self._database = database
        self._agents = tuple(agents)
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._figures: ServiceFigures | None = None

    async def figures(self) -> ServiceFigures | None:
        """Those of the last 24 hours, up to five seconds ago; None where the database does not tell."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= FRESH_SECONDS:
                self._figures = await self._ask()
                self._asked_at = time.monotonic()
            return self._figures

    async def _ask(self) -> ServiceFigures | None:
        since = datetime.now(UTC) - PERIOD
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                of = await self._database.run(lambda connection: self._count(connection, since))
        except (StateUnavailableError, TimeoutError):  # the former has been logged
            return None
        return ServiceFigures(since, of)

    def _count(self, connection: Connection, since: datetime) -> dict[str, Figures]:
        # Where nobody waits any longer, the database need not go on counting.
        connection.execute(text(f"SET LOCAL statement_timeout = {round(1000 * ANSWER_SECONDS)}"))
        period = {"since": round(1000 * since.timestamp())}
        of = dict.fromkeys(self._agents, Figures())
        for row in connection.execute(_COUNTED, period).all():
            if row.agent in of:
                times = connection.execute(_TIMES, period | {"of_agent": row.agent}).scalars()
                of[row.agent] = Figures(
                    requests=row.requests,
                    errors=row.errors,
                    usage=Usage(*map(int, (row.input, row.output, row.cache_read, row.cache_write, row.web_searches))),
                    microdollars=int(row.microdollars),
                    unpriced=row.unpriced,
                    milliseconds=tuple(times),
                )
        return of
