"""State in one SQLite file, used from a thread of its own so that no statement holds the loop.

One thread with one connection is one writer, and one hop per transaction: a stored turn takes half the processor time
that it takes through aiosqlite, which hops for every step of a statement. What runs in it are plain functions of a
connection, as PostgreSQL's connections take them too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError, ProgrammingError

from agent_runtime.ending import Ending
from agent_runtime.settings import ConfigurationError
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.migrations import NewerSchemaError, migrate

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a statement waits while another process writes: the pod that this one takes over from, or a backup."""
_WAL_BYTES = 8 * 1024 * 1024
_REASONS = {
    "SQLITE_FULL": "its disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_BUSY": "another process holds it",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_IOERR": "its disk fails",
    "SQLITE_CORRUPT": "it is damaged",
    "SQLITE_NOTADB": "it is damaged or no database",
    "SQLITE_PERM": "its mode does not allow it",
}

_log = structlog.get_logger()


class SqliteDatabase:
    """See Database; one process at a time uses it.

    Args:
        engine: of one connection.
        thread: of one thread, the only one that uses `engine`.
    """

    shared = False

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See Database.run."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    async def aclose(self) -> None:
        """See Database.aclose."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except DatabaseError as error:
            reason = _reason(error)
            if reason is None:
                raise
            _log.warning("the state database fails", reason=reason, error=str(error.orig))
            raise StateUnavailableError(reason) from None


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Open the SQLite database at `path`, made if it is not there, and bring it to the newest schema.

    Raises:
        ConfigurationError: it cannot be used; the message names it and the remedy.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="state")
    try:
        engine = await asyncio.get_running_loop().run_in_executor(thread, _open, path)
    except BaseException:
        thread.shutdown(wait=False)
        raise
    return SqliteDatabase(engine, thread)


def used_bytes(connection: Connection) -> int:
    """Bytes of the file that hold something; it never shrinks, but what was deleted is used again."""
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _open(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # The driver begins a transaction before the first write: at once with the lock that a commit will need.
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": "IMMEDIATE"},
        hide_parameters=True,  # of statements that fail: they are what callers said, and errors are logged
        pool_size=1,
        max_overflow=0,
        pool_reset_on_return=None,  # every use ends with a commit or a rollback
    )
    event.listen(engine, "connect", _configure)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # before a change of the schema the driver begins nothing
            migrate(connection)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be made ({error.strerror}); mend its mount or its mode", Ending.STATE_UNUSABLE
        ) from None
    except NewerSchemaError as error:
        raise ConfigurationError(
            f"{path}: {error}; use the runtime image that wrote it, or a newer one", Ending.STATE_UNUSABLE
        ) from None
    except DatabaseError as error:
        reason = _reason(error) or "it is no database of the runtime"
        raise ConfigurationError(
            f"{path}: {reason} ({error.orig}); mend its volume, or move the file away", Ending.STATE_UNUSABLE
        ) from None
    return engine


def _configure(connection: Any, _record: Any) -> None:
    """What SQLite forgets with the connection; with a WAL and without waiting for the disk, a commit is cheap."""
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"journal_size_limit={_WAL_BYTES}"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _reason(error: DatabaseError) -> str | None:
    """Why the database fails, in a few words; None for a mistake of ours."""
    if isinstance(error, IntegrityError | ProgrammingError):
        return None
    name = getattr(error.orig, "sqlite_errorname", "")
    return next((reason for code, reason in _REASONS.items() if name == code or name.startswith(f"{code}_")), None)
