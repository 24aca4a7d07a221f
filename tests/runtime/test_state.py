"""Conversations in the database: what is kept, for how long, and what happens where it cannot be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from agent_runtime.agent.model import Message
from agent_runtime.settings import ConfigurationError
from agent_runtime.state import retention
from agent_runtime.state import sqlite as sqlite_module
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.retention import forget_before
from agent_runtime.state.schema import AGES, conversations, metadata
from agent_runtime.state.sqlite import open_sqlite, used_bytes
from dev.process import ChildDiedError
from tests.runtime.first_schema import CONVERSATION, FIRST_SCHEMA
from tests.runtime.runtime_process import OTHER_KEY, runtime_process

HI = Message("user", "Hi")
DAY = 86_400.0


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_sqlite(tmp_path / "state.db")
    yield database
    await database.aclose()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


async def test_a_conversation_is_found_by_its_principal_and_agent_alone(database: Database) -> None:
    store = SqlConversations(database)
    answer = Message("assistant", "Hello")
    await store.append("demo", "main", "a")
    await store.append("demo", "main", "a", HI, answer)

    assert await store.load("demo", "main", "a") == (HI, answer)
    assert await store.load("other", "main", "a") is None
    assert await store.load("demo", "other", "a") is None


async def test_blocks_of_content_come_back_as_they_were(database: Database) -> None:
    store = SqlConversations(database)
    shown = Message("user", ({"type": "text", "text": "What is it?"}, {"type": "image", "source": {"data": "aGk="}}))

    await store.append("demo", "main", "a", shown, Message("assistant", "[]"))

    assert await store.load("demo", "main", "a") == (shown, Message("assistant", "[]"))


async def test_a_text_may_hold_any_character(database: Database) -> None:
    store = SqlConversations(database)
    odd = "a\0b\u2028\U0001f600"

    await store.append("demo", "main", "a", Message("user", odd))

    messages = await store.load("demo", "main", "a")
    assert messages is not None
    assert [message.text for message in messages] == [odd]


async def test_a_conversation_without_messages_is_there(database: Database) -> None:
    store = SqlConversations(database)

    await store.append("demo", "main", "a")

    assert await store.load("demo", "main", "a") == ()
    assert await store.load("demo", "main", "b") is None


async def test_a_long_conversation_loses_its_oldest_turns_whole(database: Database) -> None:
    store = SqlConversations(database, max_conversation_bytes=100)
    for number in range(5):
        question, answer = Message("user", f"{number}?" + "x" * 20), Message("assistant", f"{number}!" + "x" * 20)
        await store.append("demo", "main", "id", question, answer)

    messages = await store.load("demo", "main", "id")
    assert messages is not None
    assert [message.text[:2] for message in messages] == ["3?", "3!", "4?", "4!"]


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_the_newest_turn_is_kept_whole_whatever_its_size(database: Database, before: int) -> None:
    store = SqlConversations(database, max_conversation_bytes=200)
    for number in range(before):
        await store.append("demo", "main", "id", Message("user", f"{number}?"), Message("assistant", f"{number}!"))
    call = Message("assistant", ({"type": "tool_use", "id": "a", "name": "b", "input": {}},))
    result = Message("user", ({"type": "tool_result", "tool_use_id": "a", "content": "x" * 1000},))
    huge = (Message("user", "x" * 1000), call, result, Message("assistant", "Hello"))

    await store.append("demo", "main", "id", *huge)
    assert await store.load("demo", "main", "id") == huge

    await store.append("demo", "main", "id", HI, Message("assistant", "Hello"))
    assert await store.load("demo", "main", "id") == (HI, Message("assistant", "Hello"))


async def test_a_conversation_keeps_no_result_without_its_call(database: Database) -> None:
    store = SqlConversations(database, max_conversation_bytes=600)
    call = Message("assistant", ({"type": "tool_use", "id": "a", "name": "b", "input": {"x": "x" * 100}},))
    result = Message("user", ({"type": "tool_result", "tool_use_id": "a", "content": "x" * 100},))
    turn = (HI, call, result, Message("assistant", "Hello"))

    await store.append("demo", "main", "id", *turn)
    await store.append("demo", "main", "id", *turn)

    assert await store.load("demo", "main", "id") == turn


async def test_a_database_with_a_limit_drops_the_least_recently_used_conversations(sqlite: Database) -> None:
    limit = 1024 * 1024
    store = SqlConversations(sqlite, max_bytes=limit, clock=Clock())
    for number in range(200):
        await store.append("demo", "main", str(number), Message("user", "x" * 16_000))
        await store.append("demo", "main", "0", HI)

    kept = [number for number in range(200) if await store.load("demo", "main", str(number)) is not None]
    assert kept == [0, *range(200 - len(kept) + 1, 200)]
    assert 40 < len(kept) < 70
    used_throughout = await store.load("demo", "main", "0")
    assert used_throughout is not None
    assert len(used_throughout) == 201
    assert await sqlite.run(used_bytes) < limit * 1.1


async def test_what_an_earlier_process_left_counts_into_the_limit(sqlite: Database) -> None:
    unlimited = SqlConversations(sqlite, clock=Clock())
    for number in range(200):
        await unlimited.append("demo", "main", str(number), Message("user", "x" * 16_000))

    await SqlConversations(sqlite, max_bytes=1024 * 1024).append("demo", "main", "new", HI)

    assert await sqlite.run(used_bytes) <= 1024 * 1024


async def test_conversations_go_some_days_after_their_last_use(database: Database) -> None:
    clock = Clock()
    store = SqlConversations(database, clock=clock)
    for number in range(250):
        await store.append("demo", "main", f"old-{number}", HI)
    await store.append("demo", "main", "used-again", HI)
    clock.now += 30 * DAY
    await store.append("demo", "main", "used-again", HI)

    await forget_before(clock.now - DAY, AGES.values(), database)

    assert await store.load("demo", "main", "old-0") is None
    assert await store.load("demo", "main", "old-249") is None
    assert await store.load("demo", "main", "used-again") == (HI, HI)
    assert (
        await database.run(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM messages").scalar()) == 2
    )


async def test_the_retention_looks_at_the_start_and_outlives_a_failure(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0.01)
    looks = 0
    looked_again = asyncio.Event()

    async def fail(_moment: float, _ages: object, _database: Database) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            looked_again.set()
        raise StateUnavailableError("its disk is full")

    monkeypatch.setattr(retention, "forget_before", fail)
    task = asyncio.create_task(retention.keep_for(1, AGES.values(), database))

    async with asyncio.timeout(10):
        await looked_again.wait()
    task.cancel()


async def test_a_turn_for_which_there_is_no_room_leaves_nothing_behind(sqlite: Database) -> None:
    store = SqlConversations(sqlite)
    await store.append("demo", "main", "a", HI)
    await sqlite.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))  # as full as it is

    with pytest.raises(StateUnavailableError, match="its disk is full"):
        await store.append("demo", "main", "a", Message("user", "x" * 100_000), Message("assistant", "y"))

    assert await store.load("demo", "main", "a") == (HI,)
    await sqlite.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    await store.append("demo", "main", "a", HI)
    assert await store.load("demo", "main", "a") == (HI, HI)


async def test_what_was_to_be_written_is_in_no_error_which_a_log_would_show(database: Database) -> None:
    row = {"id": "a", "principal": "said by a caller", "agent": "main", "updated_at": 0, "bytes": 0, "next_position": 0}

    with pytest.raises(IntegrityError) as failed:
        await database.run(lambda connection: connection.execute(insert(conversations), [row, row]))

    assert "said by a caller" not in str(failed.value)


async def test_a_database_that_another_process_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.05)
    database = await open_sqlite(tmp_path / "state.db")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StateUnavailableError, match="another process holds it"):
        await SqlConversations(database).append("demo", "main", "a", HI)
    other.execute("ROLLBACK")
    await SqlConversations(database).append("demo", "main", "a", HI)

    other.close()
    await database.aclose()


async def test_a_turn_that_is_broken_off_while_it_is_written_is_kept_whole_or_not_at_all(database: Database) -> None:
    store = SqlConversations(database)
    for number in range(50):
        task = asyncio.create_task(store.append("demo", "main", str(number), HI, Message("assistant", "Hello")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    found = [await store.load("demo", "main", str(number)) for number in range(50)]
    assert {len(messages) for messages in found if messages is not None} <= {2}


async def test_the_migrations_lead_to_the_schema(database: Database) -> None:
    differences = await database.run(
        lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
    )

    assert differences == []


async def test_conversations_of_the_schema_before_blocks_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(FIRST_SCHEMA)
    connection.close()

    database = await open_sqlite(path)

    assert await SqlConversations(database).load("demo", "main", "a") == CONVERSATION
    await database.aclose()


async def test_a_database_of_a_newer_runtime_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await (await open_sqlite(path)).aclose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(ConfigurationError, match=r"the schema 9999.*newer"):
        await open_sqlite(path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"no database " * 1000, "damaged or no database"), (None, "cannot be opened")]
)
async def test_what_is_no_database_is_refused_with_a_remedy(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "state.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=f"{said}.*mend its volume"):
        await open_sqlite(path)


async def test_a_step_of_the_schema_that_fails_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE messages (of_somebody_else TEXT)")
    connection.close()

    with pytest.raises(ConfigurationError, match="no database of the runtime"):
        await open_sqlite(path)

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("messages",)]
    connection.close()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def test_a_conversation_goes_on_in_the_process_after(tmp_path: Path) -> None:
    state = {"path": str(tmp_path / "state.db"), "retention_days": 1}
    with runtime_process(_folder(tmp_path, "first"), state=state) as runtime:
        conversation = runtime.chat("My name is Ada.").json()["conversation_id"]
        runtime.child.process.kill()

    with runtime_process(_folder(tmp_path, "second"), state=state) as runtime:
        answer = runtime.chat("And now?", conversation_id=conversation)
        assert answer.status_code == 200
        assert runtime.chat("Mine?", key=OTHER_KEY, conversation_id=conversation).status_code == 404


def test_a_process_whose_database_is_damaged_says_so_and_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database " * 1000)

    with pytest.raises(ChildDiedError, match="damaged or no database"), runtime_process(tmp_path):
        pass
