"""Shared runtimes: starting one takes longer than most tests, so tests that leave it as it was share one per worker."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from agent_runtime.state.database import Database
from agent_runtime.state.postgresql import open_postgresql
from agent_runtime.state.sqlite import open_sqlite
from agent_runtime.state.task_leases import TaskLeases
from agent_runtime.state.tasks import SqlTasks
from dev import servers
from dev.fake_messages_api import FakeMessagesApi, running
from dev.servers import NoServerError, Postgresql
from tests.runtime.runtime_process import PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

REQUEST_TIMEOUT_SECONDS = 6
"""Of the shared runtime with a provider; one test waits for it."""


@dataclass(frozen=True)
class Provided:
    """A runtime whose models are on a fake provider."""

    runtime: RuntimeProcess
    provider: FakeMessagesApi


@pytest.fixture(scope="session")
def echo_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime with the provider Echo."""
    with runtime_process(tmp_path_factory.mktemp("echo")) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def _provided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provided]:
    directory = tmp_path_factory.mktemp("provided")
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    with running() as provider:
        models = [
            anthropic_model("main", provider.base_url, credentials),
            anthropic_model("single-try", provider.base_url, credentials, retries=0),
            anthropic_model("impatient", provider.base_url, credentials, retries=1, first_token_timeout_seconds=0.3),
        ]
        with runtime_process(directory, models=models, request_timeout_seconds=REQUEST_TIMEOUT_SECONDS) as runtime:
            yield Provided(runtime, provider)


@pytest.fixture
def provided(_provided: Provided) -> Provided:
    """A runtime with agents main, single-try and impatient on a fake provider, which waits for its scripts."""
    for path in ("/_script", "/_requests"):
        httpx2.delete(_provided.provider.base_url + path)
    return _provided


@pytest.fixture
def provider() -> Iterator[FakeMessagesApi]:
    """A fake provider of the test's own."""
    with running() as provider:
        yield provider


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server of this worker's own; CI must have one."""
    try:
        with servers.postgresql() as server:
            yield server
    except NoServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL on this machine: {error}")


@pytest.fixture
def own_server(postgresql: Postgresql) -> Iterator[Postgresql]:
    """A PostgreSQL server that the test may stop."""
    del postgresql  # where that one can't be had, this one can't either
    with servers.postgresql() as server:
        yield server


@pytest.fixture
def url_file(postgresql: Postgresql, tmp_path: Path) -> Path:
    """Holds the URL of an empty database."""
    return url_of_new_database(postgresql, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """The part of a configuration that says where state is kept: an empty database on each engine."""
    return state_on(request, tmp_path)


@pytest.fixture
async def database(state: dict[str, object]) -> AsyncIterator[Database]:
    """An empty database with the newest schema, on each engine."""
    opened: Database
    if "path" in state:
        opened = await open_sqlite(Path(str(state["path"])))
    else:
        opened = await open_postgresql(Path(str(state["url_file"])), trust_bundle_file=None)
    yield opened
    await opened.aclose()


def state_on(request: pytest.FixtureRequest, folder: Path) -> dict[str, object]:
    """The same, on the engine that is the parameter of `request`, in a folder."""
    if request.param == "sqlite":
        return {"path": str(folder / "state.db"), "retention_days": 30}
    server: Postgresql = request.getfixturevalue("postgresql")
    return {"url_file": str(url_of_new_database(server, folder)), "retention_days": 30}


@pytest.fixture
def tasks(database: Database) -> SqlTasks:
    """Tasks in that database, for their callers."""
    return SqlTasks(database)


@pytest.fixture
def leases(database: Database) -> TaskLeases:
    """The same, for those who run them."""
    return TaskLeases(database, lease_seconds=60, timeout_seconds=600)


def url_of_new_database(server: Postgresql, folder: Path) -> Path:
    """A file with the URL of a database that is made for it."""
    name = f"test_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name}")
    file = folder / "database-url"
    file.write_text(server.url(name))
    return file
