"""One writer per conversation, across processes that share a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select, update

from agent_runtime.agent.model import Message
from agent_runtime.state.conversation_leases import ConversationLeases
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.postgresql import PostgresqlDatabase, open_postgresql
from agent_runtime.state.presence import Presence
from agent_runtime.state.schema import conversation_leases, processes
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

KEY = ("demo", "a" * 32)
HI = Message("user", "Hi")


@dataclass
class Replica:
    """What a process has that uses the database."""

    database: PostgresqlDatabase
    presence: Presence
    leases: ConversationLeases
    store: SqlConversations


async def replica(url_file: Path) -> Replica:
    database = await open_postgresql(url_file, trust_bundle_file=None)
    presence = Presence(database)
    await presence.renew()
    leases = ConversationLeases(database, presence)
    return Replica(database, presence, leases, SqlConversations(database, leases=leases))


@pytest.fixture
async def replicas(url_file: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two processes with one database."""
    both = (await replica(url_file), await replica(url_file))
    yield both
    for each in both:
        await each.leases.aclose()
        await each.database.aclose()


def soon(seconds: float = 0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def expire(gone: Replica) -> None:
    """As if it had not been heard of for longer than a process may be silent."""
    await gone.database.run(
        lambda connection: connection.execute(
            update(processes).where(processes.c.id == gone.presence.id).values(expires_at=0)
        )
    )


async def rows(of: Replica) -> list[tuple[str, str]]:
    columns = select(conversation_leases.c.principal, conversation_leases.c.conversation_id)
    return [tuple(row) for row in await of.database.run(lambda connection: connection.execute(columns).all())]


async def test_a_conversation_is_held_by_one_process_at_a_time(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    async with first.leases.held(KEY, until=soon()):
        with pytest.raises(TimeoutError):
            async with second.leases.held(KEY, until=soon(0.2)):
                pytest.fail("both hold it")
        async with second.leases.held(("other", KEY[1]), until=soon()):
            pass  # a stranger who knows the id is in nobody's way

    async with second.leases.held(KEY, until=soon()):
        pass
    assert await rows(first) == []


async def test_who_waits_gets_it_when_it_is_let_go(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    held = asyncio.Event()

    async def wait() -> None:
        async with second.leases.held(KEY, until=soon(20)):
            held.set()

    async with first.leases.held(KEY, until=soon()):
        waiting = asyncio.create_task(wait())
        await asyncio.wait({waiting}, timeout=0.3)
        assert not held.is_set()

    async with asyncio.timeout(20):
        await waiting


async def test_no_connection_is_held_with_a_lease(replicas: tuple[Replica, Replica]) -> None:
    first, _ = replicas
    async with first.leases.held(KEY, until=soon()):
        assert first.database._engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_what_a_process_held_that_is_gone_is_free_and_it_adds_nothing_more(
    replicas: tuple[Replica, Replica],
) -> None:
    first, second = replicas
    await first.store.append(KEY[0], "main", KEY[1], HI)
    async with first.leases.held(KEY, until=soon()):
        await expire(first)
        async with second.leases.held(KEY, until=soon()):
            with pytest.raises(StateUnavailableError, match="another replica has taken the conversation over"):
                await first.store.append(KEY[0], "main", KEY[1], Message("user", "late"))
            await second.store.append(KEY[0], "main", KEY[1], Message("user", "next"))
        with pytest.raises(StateUnavailableError, match="taken the conversation over"):
            await first.store.append(KEY[0], "main", KEY[1], Message("user", "later"))

    assert await second.store.load(KEY[0], "main", KEY[1]) == (HI, Message("user", "next"))


async def test_who_was_silent_for_too_long_goes_on_where_nobody_has_taken_over(
    replicas: tuple[Replica, Replica],
) -> None:
    first, second = replicas
    async with first.leases.held(KEY, until=soon()):
        await expire(first)
        await first.presence.renew()
        with pytest.raises(TimeoutError):
            async with second.leases.held(KEY, until=soon()):
                pytest.fail("both hold it")
        await first.store.append(KEY[0], "main", KEY[1], HI)

    assert await first.store.load(KEY[0], "main", KEY[1]) == (HI,)


async def test_the_living_clear_up_after_the_gone(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    async with first.leases.held(KEY, until=soon()):
        await expire(first)
        await second.presence.renew()

        assert await rows(second) == []
        alive = await second.database.run(lambda connection: connection.execute(select(processes.c.id)).scalars().all())
        assert alive == [second.presence.id]


async def test_a_process_that_ends_in_order_leaves_nothing(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    async with first.leases.held(KEY, until=soon()):
        await first.presence.withdraw()
        async with second.leases.held(KEY, until=soon()):
            pass


async def test_a_caller_who_leaves_at_any_moment_leaves_no_lease(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas

    async def turn() -> None:
        async with first.leases.held(KEY, until=soon(5)):
            await asyncio.sleep(0)

    for moment in range(40):
        task = asyncio.create_task(turn())
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with second.leases.held(KEY, until=soon(20)):
        assert first.leases.token(KEY) is None


async def test_a_lease_that_could_not_be_let_go_is_let_go_later(own_server: Postgresql, tmp_path: Path) -> None:
    url_file = url_of_new_database(own_server, tmp_path)
    first, second = await replica(url_file), await replica(url_file)

    async with first.leases.held(KEY, until=soon()):
        own_server.stop()
    own_server.start()

    async with second.leases.held(KEY, until=soon(20)):
        pass
    for each in (first, second):
        await each.leases.aclose()
        await each.database.aclose()


@pytest.fixture
def pair(url_file: Path, tmp_path: Path, provider: FakeMessagesApi) -> Iterator[tuple[RuntimeProcess, RuntimeProcess]]:
    """Two runtimes with one database."""
    credentials = tmp_path / "credentials"
    credentials.write_text(PROVIDER_KEY)
    config: dict[str, Any] = {
        "state": {"url_file": str(url_file), "retention_days": 30},
        "models": [anthropic_model("main", provider.base_url, credentials)],
    }
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with runtime_process(folders[0], **config) as first, runtime_process(folders[1], **config) as second:
        yield first, second


def test_a_conversation_answers_one_request_at_a_time_whichever_replica_it_comes_to(
    pair: tuple[RuntimeProcess, RuntimeProcess], provider: FakeMessagesApi, postgresql: Postgresql, url_file: Path
) -> None:
    first, second = pair
    conversation = first.chat("Hello").json()["conversation_id"]
    database = urlsplit(url_file.read_text()).path.strip("/")
    provider.script({"first_delay": 60})

    with ThreadPoolExecutor(1) as pool:
        broken_off = pool.submit(first.chat, "Take your time", conversation_id=conversation)
        wait_until(lambda: len(provider.requests()) >= 2, deadline=20, describe=provider.requests)
        busy = second.chat("And now?", conversation_id=conversation)
        first.child.kill()
        still_busy = second.chat("And now?", conversation_id=conversation)
        # Half a minute passes.
        postgresql.execute("UPDATE processes SET expires_at = expires_at - 30000", database)
        answered = second.chat("And now?", conversation_id=conversation)
        assert broken_off.exception() is not None

    assert (busy.status_code, busy.json()["code"]) == (409, "conversation_busy")
    assert (still_busy.status_code, still_busy.json()["code"]) == (409, "conversation_busy")
    assert answered.status_code == 200, answered.text
