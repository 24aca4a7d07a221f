"""State on a PostgreSQL server that all replicas share."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]  # ships no types
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.migrations import NewerSchemaError, migrate
from agent_runtime.tls import outbound_tls
from agent_runtime.url_file import open_url_file, unusable

T = TypeVar("T")

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 10.0
POOL_SIZE = 8
"""Connections of a process. No transaction waits for anything but the server, so a few serve hundreds of requests."""
TRIES = 3
"""Of a transaction of which the server keeps nothing, as one of several that wait for each other."""
POOL_SECONDS = 5.0
"""How long a transaction waits for one of them."""
START_SECONDS = 90.0
"""A server that cannot be reached, as in a failover, may come back before the startup probe gives up (120 s)."""
START_PAUSE_SECONDS = 1.0
_MIGRATION_LOCK = 0x6167656E74  # "agent": replicas that start together change the schema one after the other
_SETTING = "state.url_file"
_APPLICATION = "agentservice-runtime"

_CONFLICT = "transactions stand in each other's way"
# By SQLSTATE or its class. Source: PostgreSQL, appendix A.
_REASONS = {
    "08": "it cannot be reached",
    "28": "it refuses the credentials",
    "3D000": "there is no such database",
    "40001": _CONFLICT,
    "40P01": _CONFLICT,
    "42501": "its user may not do this",
    "25006": "it is read-only",
    "53100": "its disk is full",
    "53": "it has no room for another connection",
    "57014": "it did not answer in time",
    "57P": "it is starting or shutting down",
    "58": "its disk fails",
    "XX": "it is damaged",
}
_TRANSIENT = frozenset({_REASONS["08"], _REASONS["53"], _REASONS["57P"]})
"""What may be over in a moment."""

_log = structlog.get_logger()


class PostgresqlDatabase:
    """See Database; all replicas and workers of the service use it.

    Args:
        engine: pooled, on asyncpg.
    """

    shared = True

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See Database.run."""
        task = asyncio.create_task(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """See Database.aclose."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._engine.dispose()

    async def _run(self, work: Callable[[Connection], T]) -> T:
        tries = TRIES
        while True:
            tries -= 1
            try:
                return await self._transact(work)
            except _UndoneError as error:
                # Of lost connections the pool has let go of all that are of that age: the next one is new.
                if not tries:
                    raise StateUnavailableError(error.reason) from None

    async def _transact(self, work: Callable[[Connection], T]) -> T:
        committing = False
        try:
            async with self._engine.connect() as connection:
                transaction = await connection.begin()
                done = await connection.run_sync(work)
                committing = True
                await transaction.commit()
                return done
        except (DBAPIError, PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            _log.warning("the state database fails", reason=reason, error=type(_origin(error)).__name__)
            lost = isinstance(error, DBAPIError) and error.connection_invalidated and not committing
            if lost or reason == _CONFLICT:
                raise _UndoneError(reason) from None
            raise StateUnavailableError(reason) from None


class _UndoneError(Exception):
    """Nothing of a transaction was kept, and it may be begun again: its connection was lost, or others came between."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def open_postgresql(url_file: Path, *, trust_bundle_file: str | None) -> PostgresqlDatabase:
    """Connect to the database whose URL is in a file, and bring it to the newest schema.

    The file is read again for new connections: a rotated password needs no restart.

    Args:
        url_file: holds a URL as libpq takes it, such as ``postgresql://user:password@host/database?sslmode=verify-full``.
        trust_bundle_file: PEM file of authorities that are trusted besides the public ones.

    Raises:
        ConfigurationError: it cannot be used, or could not be reached for 90 s; the message names the file and the
            remedy, and nothing of the URL.
    """
    url = open_url_file(url_file, _SETTING, check=check_url, form="postgresql://USER:PASSWORD@HOST/DATABASE")

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        dsn = await url.current()
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings={"application_name": _APPLICATION},
            **_tls(dsn, trust_bundle_file),
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,  # of statements that fail: they are what callers said, and errors are logged
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
    )
    database = PostgresqlDatabase(engine)
    try:
        await _until_reached(database, url_file)
    except BaseException:
        await database.aclose()
        raise
    return database


def check_url(url: str) -> None:
    """See whether a URL can be that of a PostgreSQL database.

    Raises:
        ValueError: it cannot; the message says why, and nothing of the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("is no URL that begins with postgresql://")
    if not parts.path.strip("/"):
        raise ValueError("names no database after the host")


async def _until_reached(database: PostgresqlDatabase, url_file: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            await database.run(_migrate)
        except StateUnavailableError as error:
            if str(error) not in _TRANSIENT or time.monotonic() > end:
                raise unusable(
                    url_file, _SETTING, f"leads to a database that fails: {error}", "mend it or the URL"
                ) from None
        except NewerSchemaError as error:
            raise unusable(
                url_file, _SETTING, str(error), "use the runtime image that wrote it, or a newer one"
            ) from None
        except DBAPIError as error:
            reason = f"is no database of the runtime ({type(_origin(error)).__name__})"
            raise unusable(url_file, _SETTING, f"leads to what {reason}", "name one of its own") from None
        else:
            return
        await asyncio.sleep(START_PAUSE_SECONDS)


def _migrate(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    migrate(connection)


def _tls(dsn: str, trust_bundle_file: str | None) -> dict[str, ssl.SSLContext]:
    """Who may be at the other end, where the URL asks for a check without saying by whose authority."""
    options = parse_qs(urlsplit(dsn).query)
    mode = options.get("sslmode", [""])[-1]
    if mode not in {"verify-ca", "verify-full"} or "sslrootcert" in options:
        return {}
    context = outbound_tls(trust_bundle_file)
    if mode == "verify-ca":
        # One of our own: the shared one checks names for everybody else.
        context = outbound_tls.__wrapped__(trust_bundle_file)
        context.check_hostname = False
    return {"ssl": context}


def _reason(error: Exception) -> str | None:
    """Why the database fails, in a few words; None for a mistake of ours."""
    origin = _origin(error)
    if isinstance(error, PoolTimeoutError):
        return "all its connections are in use"
    if isinstance(origin, TimeoutError):
        return "it did not answer in time"
    if isinstance(origin, OSError):
        return _REASONS["08"]
    state = getattr(origin, "sqlstate", None) or ""
    for length in (5, 3, 2):
        if reason := _REASONS.get(state[:length]):
            return reason
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _REASONS["08"]
    return _REASONS["08"] if isinstance(origin, asyncpg.InterfaceError) and not state else None


def _origin(error: BaseException) -> BaseException:
    """What it began with: SQLAlchemy wraps what its adapter wraps."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    while error.__cause__ is not None:
        error = error.__cause__
    return error
