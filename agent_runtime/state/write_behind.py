"""Rows that are written together, a moment after they were made: nobody waits for them."""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.schema import AGES

GROUP_SECONDS = 0.05
"""How long a row waits for others. A process that is killed loses what was made within it."""
RETRY_SECONDS = 1.0
ROWS_AT_ONCE = 500
"""In one transaction: with SQLite everybody else waits for its end."""
ROWS_KEPT = 20_000
"""Most rows that wait for a database which fails, about 20 MB; further ones are counted and lost."""
COUNTED_PER_LIMIT = 32
"""Where there is a limit, rows are counted after each such part of it was written."""
FLUSH_SECONDS = 2.0
"""How long the end of the process waits for what is left. The pod's grace period has room for it."""

Row = dict[str, Any]

_log = structlog.get_logger()


class WriteBehind:
    """Rows on their way to the database.

    Args:
        database: where they go.
        max_rows: most rows of a table; beyond, the oldest go. None: no limit.
    """

    def __init__(self, database: Database, *, max_rows: int | None = None) -> None:
        self._database = database
        self._max_rows = max_rows
        self._uncounted: dict[Table, int] = {}
        self._rows: dict[tuple[Table, str], Row] = {}
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._losing = False
        self.lost = 0
        """Rows that were not kept since the process began."""

    def __len__(self) -> int:
        """How many rows wait."""
        return len(self._rows)

    def put(self, table: Table, row: Row) -> None:
        """Write a row, soon; one with the same id that waits or is there already is replaced.

        Args:
            table: whose primary key is `id`; `AGES` has it.
            row: all of its columns.
        """
        key = (table, row["id"])
        if len(self._rows) >= ROWS_KEPT and key not in self._rows:
            self.lost += 1
            if not self._losing:
                _log.error("the state database fails for too long: rows on usage are lost from now on")
            self._losing = True
            return
        self._rows[key] = row
        self._filled.set()

    async def write(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(GROUP_SECONDS)
            try:
                await self.flush()
            except StateUnavailableError:  # it has been logged, and the rows wait for the next try
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StateUnavailableError: the database fails; what was not written waits on.
        """
        async with self._writing:
            while self._rows:
                await self._write(list(islice(self._rows.items(), ROWS_AT_ONCE)))
            self._filled.clear()
        if self._losing:
            self._losing = False
            _log.error("rows on usage are kept again", lost=self.lost)

    async def aclose(self) -> None:
        """Write what is left, if the database takes it in time."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.flush()
        except (StateUnavailableError, TimeoutError):
            self.lost += len(self._rows)
            _log.error("rows on usage are lost: the state database fails at the end", lost=self.lost)

    async def _write(self, group: list[tuple[tuple[Table, str], Row]]) -> None:
        """Write a group; a row that the database refuses is lost, and not the others with it."""
        by_table: dict[Table, list[Row]] = {}
        for (table, _), row in group:
            by_table.setdefault(table, []).append(row)
        try:
            await self._database.run(lambda connection: _upsert(connection, by_table))
        except StateUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours in one row must not stop the others
            if len(group) > 1:
                middle = len(group) // 2
                await self._write(group[:middle])
                await self._write(group[middle:])
                return
            _log.exception("a row cannot be written", table=group[0][0][0].name)
            self.lost += 1
        for table, rows in by_table.items():
            await self._make_room(table, len(rows))
        for key, row in group:
            if self._rows.get(key) is row:  # else it was replaced meanwhile
                del self._rows[key]

    async def _make_room(self, table: Table, added: int) -> None:
        limit = self._max_rows
        if limit is None:
            return
        # What an earlier process left is counted with the first rows.
        self._uncounted[table] = self._uncounted.get(table, limit) + added
        if self._uncounted[table] > limit // COUNTED_PER_LIMIT:
            await self._database.run(lambda connection: _delete_beyond(connection, table, limit))
            self._uncounted[table] = 0


def _delete_beyond(connection: Connection, table: Table, limit: int) -> None:
    age = AGES[table]
    last = select(age).order_by(age.desc()).offset(limit).limit(1).scalar_subquery()
    connection.execute(delete(table).where(age <= last))


def _upsert(connection: Connection, rows: dict[Table, list[Row]]) -> None:
    for table, of_table in rows.items():
        connection.execute(_statement(table, connection.dialect.name), of_table)


@cache
def _statement(table: Table, dialect: str) -> Any:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    changed = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[table.c.id], set_=changed)
