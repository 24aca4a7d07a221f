"""Word that something has changed: within a process, and to others by a Redis that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agent_runtime.beside import end
from agent_runtime.config import RuntimeConfig
from agent_runtime.observed import Observed
from agent_runtime.settings import ConfigurationError, load_config
from agent_runtime.state.database import Database
from agent_runtime.state.tasks import SqlTasks
from agent_runtime.tasks import redis_bell, upkeep
from agent_runtime.tasks.bell import IDLE_SECONDS, POLL_SECONDS, Bell, heard_within, open_bell
from agent_runtime.tasks.redis_bell import WAITING_WORDS, RedisBell
from dev import servers
from tests.runtime.runtime_process import write_config


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this module's own."""
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


def config(folder: Path, url: str, *, service: str = "hello") -> RuntimeConfig:
    file = folder / "redis-url"
    file.write_text(url)
    state = {"path": str(folder / "state.db"), "redis_url_file": str(file), "retention_days": 30}
    return load_config(write_config(folder, state=state, service=service))


@asynccontextmanager
async def ringing(settings: RuntimeConfig) -> AsyncIterator[RedisBell]:
    """A bell that is kept up, as in a process of its own."""
    bell = await open_bell(settings, shared=True)
    assert isinstance(bell, RedisBell)
    task = asyncio.create_task(bell.keep())
    try:
        yield bell
    finally:
        await end(task)


async def until_connected(*bells: RedisBell) -> None:
    async with asyncio.timeout(20):
        while not all(bell.connected for bell in bells):  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


async def until_said(*bells: RedisBell) -> None:
    """Wait until a word of each has come back: so has what it said before."""
    for bell in bells:
        with bell.listening("back") as back:
            bell.ring("back")
            back.clear()  # it was heard here at once
            async with asyncio.timeout(5):
                await back.wait()


async def test_who_listens_hears_its_own_topic_from_then_on() -> None:
    bell = Bell(shared=False)
    bell.ring("a")

    with bell.listening("a") as of_a, bell.listening("b") as of_b:
        assert not of_a.is_set()
        bell.ring("a")
        assert (of_a.is_set(), of_b.is_set()) == (True, False)
        await heard_within(of_a, 0)
        assert not of_a.is_set()
        bell.wake_all()
        assert (of_a.is_set(), of_b.is_set()) == (True, True)


def test_who_shares_a_database_without_a_word_looks_more_often() -> None:
    assert (Bell(shared=True).pause, Bell(shared=False).pause) == (POLL_SECONDS, IDLE_SECONDS)


async def test_other_processes_of_the_service_hear_it_and_nobody_else(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "other").mkdir()
    here, there = config(tmp_path, redis_url), config(tmp_path, redis_url)
    other = config(tmp_path / "other", redis_url, service="other")

    async with ringing(here) as bell, ringing(there) as second, ringing(other) as stranger:
        await until_connected(bell, second, stranger)
        with second.listening("queue") as heard, stranger.listening("queue") as unheard:
            await until_said(bell, second, stranger)
            for event in (heard, unheard):
                event.clear()  # the word of each that it is there woke everybody
            bell.ring("queue")
            async with asyncio.timeout(5):
                await heard.wait()
            await until_said(stranger)
            assert not unheard.is_set()
        assert bell.pause == IDLE_SECONDS


async def test_a_redis_that_comes_back_is_used_again_and_everybody_looks(tmp_path: Path) -> None:
    settings = config(tmp_path, "redis://127.0.0.1:9/0")
    async with ringing(settings) as bell:
        assert bell.pause == POLL_SECONDS
        with bell.listening("queue") as heard, servers.redis(tmp_path) as url:
            (tmp_path / "redis-url").write_text(url)  # as a Secret that is renewed
            await until_connected(bell)
            assert heard.is_set()


async def test_a_renewed_url_is_used_though_the_old_one_still_works(tmp_path: Path, redis_url: str) -> None:
    settings = config(tmp_path, redis_url)
    async with ringing(settings) as bell:
        await until_connected(bell)
        with servers.redis(tmp_path) as url:
            (tmp_path / "redis-url").write_text(url)
            client = Redis.from_url(url)
            async with asyncio.timeout(20):
                while await client.pubsub_channels() != [b"agentservice:default/hello"]:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
            await client.aclose()


async def test_what_cannot_be_said_is_bounded(tmp_path: Path) -> None:
    bell = await open_bell(config(tmp_path, "redis://127.0.0.1:9/0"), shared=True)

    for number in range(WAITING_WORDS + 10):
        bell.ring(str(number))

    assert isinstance(bell, RedisBell)
    assert bell.waiting == WAITING_WORDS


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://:test-password@host", "no URL that begins with redis"),
        ("redis://", "names no host"),
        ("redis://host /0", "spaces"),
        ("", "is empty"),
    ],
)
async def test_a_url_that_cannot_be_one_is_refused_without_being_shown(tmp_path: Path, url: str, reason: str) -> None:
    settings = config(tmp_path, url)

    with pytest.raises(ConfigurationError, match=reason) as refused:
        await open_bell(settings, shared=True)

    assert str(refused.value).startswith(f"state.redis_url_file {tmp_path / 'redis-url'}: ")
    assert "test-password" not in str(refused.value)


async def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    settings = config(tmp_path, "redis://host")
    (tmp_path / "redis-url").unlink()

    with pytest.raises(ConfigurationError, match=r"redis-url: cannot be read \(No such file"):
        await open_bell(settings, shared=True)


def test_a_broken_url_of_a_renewed_secret_is_no_url() -> None:
    with pytest.raises(ValueError, match="begins with redis"):
        redis_bell.check_url("postgresql://host/db")


async def test_what_fails_in_looking_after_tasks_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    tasks = SqlTasks(database)
    looks = asyncio.Semaphore(0)

    async def forget(_seconds: float) -> None:
        looks.release()
        raise RuntimeError("deadlock detected")

    monkeypatch.setattr(tasks, "forget", forget)
    looking = asyncio.create_task(upkeep.look_after(tasks, Observed(), ttl_seconds=1))
    async with asyncio.timeout(10):
        for _ in range(3):
            await looks.acquire()

    looking.cancel()
