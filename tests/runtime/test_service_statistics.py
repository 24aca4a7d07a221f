"""The figures of agents are those of all processes that share a database, as long as it tells."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest

from agent_runtime.pipeline.statistics import WINDOW
from agent_runtime.state import postgresql as engine
from agent_runtime.state import service_statistics
from agent_runtime.state.database import Database
from agent_runtime.state.postgresql import open_postgresql
from agent_runtime.state.schema import interactions
from agent_runtime.state.service_statistics import PERIOD, ServiceStatistics
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import KEY, PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

PRICES = {"input_per_million": "1", "output_per_million": "1", "web_search_per_thousand": "10"}
ALWAYS_ASKS = (
    "from agent_runtime.state import service_statistics; service_statistics.FRESH_SECONDS = 0.0\n"
    "from agent_runtime.__main__ import main; raise SystemExit(main([]))"
)


def process(folder: Path, url_file: Path, provider: FakeMessagesApi) -> AbstractContextManager[RuntimeProcess]:
    """A process of the service, which gives no figures twice."""
    folder.mkdir()
    credentials = folder / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials, retries=0, pricing=PRICES)
    state = {"url_file": str(url_file), "retention_days": 30}
    return runtime_process(folder, command=("-c", ALWAYS_ASKS), models=[model], state=state)


def agent(runtime: RuntimeProcess) -> dict[str, Any]:
    """What a process says of its agent."""
    response = runtime.client.get("/v1/agents/main", headers={"X-API-Key": KEY})
    assert response.status_code == 200, response.text
    said: dict[str, Any] = response.json()
    return said


def until_counted(runtime: RuntimeProcess, requests: int, scope: str) -> dict[str, Any]:
    """The statistics of the agent, once they are of so many requests."""

    def reached() -> dict[str, Any] | None:
        said = agent(runtime)
        return said if (said["statistics"]["requests"], said["scope"]) == (requests, scope) else None

    return wait_until(reached, deadline=20, describe=lambda: str(agent(runtime)))


def test_two_processes_on_one_database_say_the_same(
    tmp_path: Path, postgresql: Postgresql, provider: FakeMessagesApi
) -> None:
    url_file = url_of_new_database(postgresql, tmp_path)
    with process(tmp_path / "a", url_file, provider) as one, process(tmp_path / "b", url_file, provider) as other:
        provider.script({"deltas": ["a"]}, {"deltas": ["b"]}, {"status": 500})
        answers = [one.chat("One").json(), other.chat("Two").json()]
        assert other.chat("Three").status_code == 502

        said = until_counted(one, 3, "service")
        assert until_counted(other, 3, "service")["statistics"] == said["statistics"]

    found = said["statistics"]
    assert (found["errors"], found["unpriced_answers"]) == (1, 0)
    assert found["cost_usd"] == pytest.approx(sum(answer["cost_usd"] for answer in answers))
    assert 0 < found["mean_ms"] <= found["p95_ms"]
    for kind, tokens in found["tokens"].items():
        assert tokens == sum(answer["usage"][kind] for answer in answers)
    assert datetime.fromisoformat(said["since"]) < datetime.now(UTC) - PERIOD


def test_while_the_database_fails_each_process_speaks_for_itself(
    tmp_path: Path, own_server: Postgresql, provider: FakeMessagesApi
) -> None:
    url_file = url_of_new_database(own_server, tmp_path)
    with process(tmp_path / "a", url_file, provider) as one, process(tmp_path / "b", url_file, provider) as other:
        provider.script({"deltas": ["a"], "times": "always"})
        one.chat("One")
        other.chat("Two")
        until_counted(one, 2, "service")

        own_server.stop()
        alone = until_counted(one, 1, "pod")
        own_server.start()

        until_counted(one, 2, "service")
    assert alone["statistics"]["mean_ms"] > 0
    assert datetime.fromisoformat(alone["since"]) > datetime.now(UTC) - PERIOD


@pytest.fixture
async def shared(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A PostgreSQL database that ends no statement by itself."""
    monkeypatch.setattr(engine, "STATEMENT_SECONDS", 600.0)
    database = await open_postgresql(url_file, trust_bundle_file=None)
    yield database
    await database.aclose()


async def put(database: Database, *requests: dict[str, Any]) -> None:
    """Rows of requests to the agent main, that came just now and had their answers, but for what is said of each."""
    usual = {
        "request_id": "r",
        "principal": "demo",
        "agent": "main",
        "protocol": "chat",
        "route": "/v1/chat",
        "status": 200,
        "outcome": "ok",
        "arrived_at": round(1000 * time.time()),
        "milliseconds": 10,
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "web_searches": 0,
        "cost_microdollars": 7,
    }
    rows = [{**usual, "id": uuid.uuid4().hex, **request} for request in requests]
    await database.run(lambda connection: connection.execute(interactions.insert(), rows))


REFUSED = {"status": 422, "input_tokens": 0, "output_tokens": 0, "cost_microdollars": None}


async def test_requests_of_the_last_day_are_counted(shared: Database) -> None:
    now = round(1000 * time.time())
    too_old = now - round(1000 * PERIOD.total_seconds()) - 1
    await put(
        shared,
        {"arrived_at": too_old},
        {"agent": "gone"},
        {"arrived_at": now - 3_600_000, "milliseconds": 5},
        {"arrived_at": now - 1000, "cost_microdollars": None, "web_searches": 1},
        REFUSED,
        {**REFUSED, "arrived_at": now - 60_000, "status": 503},
    )

    figures = await ServiceStatistics(shared, ["main", "idle"]).figures()

    assert figures is not None
    assert set(figures.of) == {"main", "idle"}
    main, idle = figures.of["main"].document(), figures.of["idle"].document()
    assert (main["requests"], main["errors"], main["unpriced_answers"], main["cost_usd"]) == (4, 1, 1, 7e-6)
    assert (main["tokens"]["input_tokens"], main["tokens"]["web_searches"]) == (6, 1)
    assert (idle["requests"], idle["mean_ms"], idle["cost_usd"]) == (0, None, 0)


async def test_only_the_latest_requests_are_timed(shared: Database) -> None:
    now = round(1000 * time.time())
    slow = {"arrived_at": now - 1000, "milliseconds": 1000}
    await put(shared, *[slow] * 10, *[{"arrived_at": now}] * WINDOW)

    figures = await ServiceStatistics(shared, ["main"]).figures()

    assert figures is not None
    assert figures.of["main"].document()["mean_ms"] == 10


async def test_callers_do_not_make_it_count_again_and_again(shared: Database) -> None:
    statistics = ServiceStatistics(shared, ["main"])
    before = await statistics.figures()
    await put(shared, {})

    again = await asyncio.gather(*[statistics.figures() for _ in range(20)])

    assert all(figures is before for figures in again)


async def test_a_database_that_does_not_come_to_an_end_is_told_to_stop(
    shared: Database, url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_statistics, "ANSWER_SECONDS", 0.2)
    statistics = ServiceStatistics(shared, ["main"])
    holder = await asyncpg.connect(await asyncio.to_thread(url_file.read_text))
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE interactions IN ACCESS EXCLUSIVE MODE")

            assert await statistics.figures() is None

            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(30):
                while await holder.fetchval(waiting):  # noqa: ASYNC110 - what is waited for tells nobody
                    await asyncio.sleep(0.05)
    finally:
        await holder.close()
