"""State on a PostgreSQL server: several processes share it, and it fails in ways of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, text

from agent_runtime.agent.model import Message
from agent_runtime.settings import ConfigurationError
from agent_runtime.state import postgresql as module
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.postgresql import PostgresqlDatabase, open_postgresql
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.first_schema import CONVERSATION, FIRST_SCHEMA
from tests.runtime.runtime_process import OTHER_KEY, runtime_process

HI = Message("user", "Hi")


async def opened(url_file: Path) -> PostgresqlDatabase:
    return await open_postgresql(url_file, trust_bundle_file=None)


async def test_processes_that_start_together_make_the_schema_once(url_file: Path) -> None:
    databases = await asyncio.gather(*(opened(url_file) for _ in range(4)))

    await SqlConversations(databases[0]).append("demo", "main", "a", HI)
    assert await SqlConversations(databases[3]).load("demo", "main", "a") == (HI,)
    for database in databases:
        await database.aclose()


async def test_no_addition_is_lost_where_two_processes_write_one_conversation(url_file: Path) -> None:
    first, second = await opened(url_file), await opened(url_file)
    await SqlConversations(first).append("demo", "main", "a")

    additions = [SqlConversations(each).append("demo", "main", "a", HI) for each in (first, second) * 10]
    await asyncio.gather(*additions)

    assert await SqlConversations(first).load("demo", "main", "a") == (HI,) * 20
    await first.aclose()
    await second.aclose()


async def test_of_transactions_that_wait_for_each_other_none_fails(url_file: Path) -> None:
    first, second = await opened(url_file), await opened(url_file)
    await SqlConversations(first).append("demo", "main", "a")
    await SqlConversations(first).append("demo", "main", "b")

    def touch(*order: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            for conversation in order:
                counted = text("UPDATE conversations SET bytes = bytes + 1 WHERE id = :id")
                connection.execute(counted, {"id": conversation})
                connection.execute(text("SELECT pg_sleep(0.5)"))

        return work

    await asyncio.gather(first.run(touch("a", "b")), second.run(touch("b", "a")))

    sizes = text("SELECT id, bytes FROM conversations ORDER BY id")
    assert await first.run(lambda connection: connection.execute(sizes).all()) == [("a", 2), ("b", 2)]
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mysql://user:hidden@127.0.0.1/db", "is no URL that begins with postgresql://; put a URL"),
        ("postgresql://user:hidden@127.0.0.1", "names no database after the host; put a URL"),
        ("", "is empty; put a URL"),
        ("{server}/missing", "there is no such database; mend it or the URL"),
        ("{other_password}/postgres", "it refuses the credentials; mend it or the URL"),
    ],
)
async def test_a_url_that_cannot_be_is_refused_with_a_remedy_and_without_the_url(
    postgresql: Postgresql, tmp_path: Path, wrong: str, said: str
) -> None:
    file = tmp_path / "url"
    server = postgresql.url("").rstrip("/")
    file.write_text(wrong.format(server=server, other_password=postgresql.url("", password="hidden").rstrip("/")))

    with pytest.raises(ConfigurationError, match=said) as refused:
        await opened(file)

    assert str(file) in str(refused.value)
    assert "hidden" not in str(refused.value)
    assert str(urlsplit(server).password) not in str(refused.value)


async def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file.*mount the Secret"):
        await opened(tmp_path / "url")


async def test_a_server_that_comes_late_is_waited_for_and_one_that_does_not_come_is_told(
    own_server: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = url_of_new_database(own_server, tmp_path)
    own_server.stop()
    late = asyncio.create_task(opened(file))
    await asyncio.wait({late}, timeout=0.3)
    assert not late.done()
    own_server.start()
    async with asyncio.timeout(30):
        await (await late).aclose()

    own_server.stop()
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    with pytest.raises(ConfigurationError, match="it cannot be reached; mend it or the URL"):
        await opened(file)
    own_server.start()


async def test_a_restart_of_the_server_between_two_requests_is_not_noticed(
    own_server: Postgresql, tmp_path: Path
) -> None:
    database = await opened(url_of_new_database(own_server, tmp_path))
    store = SqlConversations(database)
    await asyncio.gather(*(store.append("demo", "main", str(number), HI) for number in range(20)))

    own_server.stop()
    with pytest.raises(StateUnavailableError, match=r"^it cannot be reached$"):
        await store.append("demo", "main", "a", HI)
    own_server.start()
    await asyncio.gather(*(store.append("demo", "main", str(number), HI) for number in range(20)))

    assert [await store.load("demo", "main", str(number)) for number in range(20)] == [(HI, HI)] * 20
    assert await store.load("demo", "main", "a") is None
    await database.aclose()


async def test_what_a_caller_who_left_had_begun_is_brought_to_its_end(url_file: Path) -> None:
    database = await opened(url_file)
    store = SqlConversations(database)
    for number in range(20):
        task = asyncio.create_task(store.append("demo", "main", str(number), HI, Message("assistant", "Hello")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await database.aclose()

    database = await opened(url_file)
    found = [await SqlConversations(database).load("demo", "main", str(number)) for number in range(20)]
    assert [len(messages or ()) for messages in found] == [2] * 20
    await database.aclose()


async def test_a_statement_that_takes_too_long_is_ended(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 0.1)
    database = await opened(url_file)

    with pytest.raises(StateUnavailableError, match=r"^it did not answer in time$"):
        await database.run(lambda connection: connection.execute(text("SELECT pg_sleep(20)")))

    assert await database.run(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1
    await database.aclose()


async def test_a_renewed_password_is_used_without_a_restart(
    own_server: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.credentials.CHECK_SECONDS", 0.0)
    file = url_of_new_database(own_server, tmp_path)
    own_server.execute("CREATE ROLE agents LOGIN SUPERUSER PASSWORD 'first-not-a-secret'")
    parts = urlsplit(file.read_text())
    address = f"{parts.hostname}:{parts.port}{parts.path}"
    file.write_text(f"postgresql://agents:first-not-a-secret@{address}")
    database = await opened(file)

    own_server.execute("ALTER ROLE agents PASSWORD 'second-not-a-secret'")
    own_server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agents'")
    file.write_text(f"postgresql://agents:second-not-a-secret@{address}")

    await SqlConversations(database).append("demo", "main", "a", HI)
    await database.aclose()


async def test_conversations_of_the_schema_before_blocks_are_kept(postgresql: Postgresql, url_file: Path) -> None:
    await asyncio.to_thread(postgresql.execute, FIRST_SCHEMA, database_of(url_file))

    database = await opened(url_file)

    assert await SqlConversations(database).load("demo", "main", "a") == CONVERSATION
    await database.aclose()


def database_of(url_file: Path) -> str:
    return urlsplit(url_file.read_text()).path.strip("/")


def test_a_conversation_goes_on_in_another_replica(url_file: Path, tmp_path: Path) -> None:
    state = {"url_file": str(url_file), "retention_days": 30}
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with runtime_process(folders[0], state=state) as first, runtime_process(folders[1], state=state) as second:
        conversation = first.chat("My name is Ada.").json()["conversation_id"]

        answer = second.chat("And now?", conversation_id=conversation)

        assert answer.status_code == 200, answer.text
        assert second.chat("Mine?", key=OTHER_KEY, conversation_id=conversation).status_code == 404


def test_without_its_database_only_what_is_stored_fails(own_server: Postgresql, tmp_path: Path) -> None:
    state = {"url_file": str(url_of_new_database(own_server, tmp_path)), "retention_days": 30}
    with runtime_process(tmp_path, state=state) as runtime:
        conversation = runtime.chat("My name is Ada.").json()["conversation_id"]
        own_server.stop()

        assert runtime.chat("Hello", store=False).status_code == 200
        refused = runtime.chat("Hello", conversation_id=conversation)
        own_server.start()
        again = runtime.chat("Hello", conversation_id=conversation)

    assert (refused.status_code, refused.json()["code"]) == (503, "state_unavailable")
    assert again.status_code == 200, again.text
    shown = (tmp_path / "runtime.log").read_text() + refused.text
    assert str(urlsplit(own_server.url("any")).password) not in shown
