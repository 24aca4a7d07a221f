"""What was used and asked is in the database, whatever happens to the process, the provider or the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import ColumnElement, Table, select, update

from agent_runtime.agent.ledger import Account, ModelCall, most_usage
from agent_runtime.agent.model import Completed, Message, ModelRequest, Usage
from agent_runtime.api.errors import UPSTREAM_INTERRUPTED, UPSTREAM_OVERLOADED
from agent_runtime.config import ModelConfig
from agent_runtime.cost import Prices
from agent_runtime.state import write_behind
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.presence import Presence
from agent_runtime.state.retention import forget_before
from agent_runtime.state.schema import AGES, interactions, model_calls, processes
from agent_runtime.state.usage import SqlLedger
from agent_runtime.state.write_behind import WriteBehind
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import KEY, PROVIDER_KEY, anthropic_model, runtime_process

PRICED = {
    "name": "main",
    "provider": "Anthropic",
    "anthropic": {"model": "any", "credentials_file": "/none"},
    "max_tokens": 100,
    "first_token_timeout_seconds": 30,
    "retries": 0,
    "pricing": {"input_per_million": "1", "output_per_million": "2", "web_search_per_thousand": "0"},
}
ASKED = ModelRequest("Be brief.", (Message("user", "Hi"),), max_tokens=100)


class Flaky:
    """A database that fails when it is told to, and counts its transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared
        self.fails = False
        self.transactions = 0

    async def run(self, work: Any) -> Any:
        self.transactions += 1
        if self.fails:
            raise StateUnavailableError("it cannot be reached")
        return await self._database.run(work)

    async def aclose(self) -> None:
        raise AssertionError("whoever opened it closes it")


@pytest.fixture
def flaky(database: Database) -> Flaky:
    return Flaky(database)


@pytest.fixture
def rows(flaky: Flaky) -> WriteBehind:
    return WriteBehind(flaky)


@pytest.fixture
async def writing(rows: WriteBehind) -> AsyncIterator[WriteBehind]:
    """Rows that are being written, as in a process that serves."""
    task = asyncio.create_task(rows.write())
    yield rows
    task.cancel()


def account(rows: WriteBehind, *, process: str = "this") -> Account:
    prices = Prices([ModelConfig.model_validate(PRICED)], None)
    return Account(SqlLedger(rows, prices, process=process), "request", "demo", "main", "a" * 32)


async def stored(database: Database, table: Table = model_calls) -> list[Any]:
    return list(await database.run(lambda connection: connection.execute(select(table)).all()))


async def test_a_call_that_goes_on_is_told_by_the_most_that_it_can_be(rows: WriteBehind, database: Database) -> None:
    call = account(rows).book("main", ASKED)
    await rows.flush()
    [going_on] = await stored(database)
    call.complete(Completed("claude", "end_turn", Usage(input=10, output=3)))
    account(rows).settle(call)
    await rows.flush()
    [ended] = await stored(database)

    assert (going_on.outcome, going_on.is_exact, going_on.output_tokens) == (None, False, 100)
    assert going_on.input_tokens > len("Be brief.Hi")
    assert going_on.cost_microdollars == -(-(going_on.input_tokens * 125 + 100 * 200) // 100)  # written to the cache
    assert (ended.outcome, ended.is_exact, ended.input_tokens, ended.output_tokens) == ("ok", True, 10, 3)
    assert ended.cost_microdollars == 10 + 3 * 2
    assert (ended.principal, ended.agent, ended.model, ended.conversation_id) == ("demo", "main", "main", "a" * 32)


def test_the_most_that_a_call_can_use_is_more_than_what_it_says() -> None:
    plain = most_usage(ModelRequest("ä" * 10, (Message("user", "\U0001f600" * 10),), max_tokens=7))
    with_tools = most_usage(ModelRequest("", (), max_tokens=7, tools=({"name": "search"},)))

    assert plain.input >= 60
    assert plain.output == 7
    assert with_tools.input > 1000


def test_only_a_refusal_is_known_to_cost_nothing() -> None:
    def failed(outcome: str, *, is_answered: bool = False) -> ModelCall:
        call = ModelCall("request", "demo", "main", "main", None, usage=Usage(input=5, output=100))
        call.is_answered = is_answered
        call.fail(outcome)
        return call

    refused = failed(UPSTREAM_OVERLOADED.code)
    assert (refused.usage, refused.is_exact) == (Usage(), True)
    for broken_off in (
        failed(UPSTREAM_OVERLOADED.code, is_answered=True),
        failed(UPSTREAM_INTERRUPTED.code),
        failed("canceled"),
    ):
        assert (broken_off.usage.output, broken_off.is_exact) == (100, False)


async def test_rows_are_written_in_groups(writing: WriteBehind, flaky: Flaky, database: Database) -> None:
    calls = [account(writing).book("main", ASKED) for _ in range(300)]
    for call in calls:
        call.fail("canceled")
        account(writing).settle(call)

    await eventually(lambda: len(writing) == 0)

    assert flaky.transactions == 1
    assert [row.outcome for row in await stored(database)] == ["canceled"] * 300


async def test_what_the_database_does_not_take_waits_for_it(
    writing: WriteBehind, flaky: Flaky, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "RETRY_SECONDS", 0.01)
    flaky.fails = True
    for _ in range(10):
        account(writing).book("main", ASKED)
    await eventually(lambda: flaky.transactions > 2)

    flaky.fails = False
    await eventually(lambda: len(writing) == 0)

    assert len(await stored(database)) == 10
    assert writing.lost == 0


async def test_what_waits_is_bounded_and_what_is_lost_is_counted(
    rows: WriteBehind, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "ROWS_KEPT", 5)
    kept = [account(rows).book("main", ASKED) for _ in range(5)]
    account(rows).book("main", ASKED)
    kept[0].fail("canceled")
    account(rows).settle(kept[0])  # takes no further room

    await rows.flush()

    assert rows.lost == 1
    assert sorted(str(row.outcome) for row in await stored(database)) == ["None"] * 4 + ["canceled"]


async def test_a_row_that_the_database_refuses_takes_no_other_with_it(rows: WriteBehind, database: Database) -> None:
    for number in range(9):
        call = account(rows).book("main", ASKED)
        if number == 4:
            call.principal = None  # type: ignore[assignment]  # what no row can have
            account(rows).settle(call)

    await rows.flush()

    assert len(await stored(database)) == 8
    assert (rows.lost, len(rows)) == (1, 0)


async def test_counts_that_no_column_holds_are_capped(rows: WriteBehind, database: Database) -> None:
    call = account(rows).book("main", ASKED)
    call.complete(Completed("claude", "end_turn", Usage(input=2**70, output=2**64)))
    account(rows).settle(call)

    await rows.flush()

    [row] = await stored(database)
    assert {row.input_tokens, row.output_tokens, row.cost_microdollars} == {2**53}


async def test_the_end_of_the_process_writes_what_waits_and_waits_for_no_broken_database(
    rows: WriteBehind, flaky: Flaky, database: Database
) -> None:
    account(rows).book("main", ASKED)
    await rows.aclose()
    assert len(await stored(database)) == 1

    account(rows).book("main", ASKED)
    flaky.fails = True
    await rows.aclose()
    assert rows.lost == 1


async def test_in_a_database_with_a_limit_the_oldest_go(flaky: Flaky, database: Database) -> None:
    rows = WriteBehind(flaky, max_rows=64)
    for number in range(200):
        call = account(rows).book("main", ASKED)
        call.started_at = float(number)
        account(rows).settle(call)
        await rows.flush()

    kept = sorted(row.started_at for row in await stored(database))

    assert kept[-1] == 199_000
    assert 64 <= len(kept) <= 64 + 64 / write_behind.COUNTED_PER_LIMIT + 1
    assert kept == [1000 * number for number in range(200 - len(kept), 200)]


async def test_rows_go_with_their_age(rows: WriteBehind, database: Database) -> None:
    for started_at in (1.0, 99.0):
        call = account(rows).book("main", ASKED)
        call.started_at = started_at
        account(rows).settle(call)
    await rows.flush()

    await forget_before(50, AGES.values(), database)

    assert [row.started_at for row in await stored(database)] == [99_000]


async def test_a_call_whose_process_is_gone_is_unsettled_with_the_most_that_it_can_have_been(
    rows: WriteBehind, database: Database
) -> None:
    gone, here = Presence(database), Presence(database)
    for presence in (gone, here):
        await presence.renew()
        account(rows, process=presence.id).book("main", ASKED)
    ended = account(rows, process=gone.id).book("main", ASKED)
    ended.complete(Completed("claude", "end_turn", Usage(input=10)))
    account(rows, process=gone.id).settle(ended)
    await rows.flush()

    await half_a_minute_passes(database, gone.id)
    await here.renew()

    found = {(row.process, row.outcome): row for row in await stored(database)}
    assert set(found) == {(gone.id, "unsettled"), (gone.id, "ok"), (here.id, None)}
    assert found[gone.id, "unsettled"].output_tokens == 100


async def test_a_call_taken_for_unsettled_is_settled_by_its_process_after_all(
    rows: WriteBehind, database: Database
) -> None:
    frozen, here = Presence(database), Presence(database)
    await frozen.renew()
    call = account(rows, process=frozen.id).book("main", ASKED)
    await rows.flush()
    await half_a_minute_passes(database, frozen.id)
    await here.renew()

    call.complete(Completed("claude", "end_turn", Usage(input=10)))
    account(rows, process=frozen.id).settle(call)
    await rows.flush()

    [row] = await stored(database)
    assert (row.outcome, row.input_tokens) == ("ok", 10)


@pytest.fixture
def models(provider: FakeMessagesApi, tmp_path: Path) -> list[dict[str, Any]]:
    """A model on the fake provider whose price the spec says."""
    credentials = tmp_path / "credentials"
    credentials.write_text(PROVIDER_KEY)
    return [anthropic_model("main", provider.base_url, credentials, pricing=PRICED["pricing"])]


async def test_each_try_and_each_request_has_its_row(
    state: dict[str, object],
    models: list[dict[str, Any]],
    provider: FakeMessagesApi,
    tmp_path: Path,
    database: Database,
) -> None:
    with runtime_process(tmp_path, state=state, models=models) as runtime:
        provider.script({"status": 529}, {"usage": {"input_tokens": 10, "output_tokens": 3}})
        answer = runtime.chat("Hello").json()
        provider.script({"cut_after": 2})
        assert runtime.stream("Hello")[-1].type == "error"
        assert runtime.chat("Hello", conversation_id="0" * 32).status_code == 404
        items = [{"message": "One"}, {"message": "Two"}]
        runtime.client.post("/v1/chat/batch", json={"items": items}, headers={"X-API-Key": KEY})
        runtime.child.stop(grace=15)  # what has been answered is written before the end

    calls = sorted(await stored(database), key=lambda row: row.started_at)
    asked = sorted(await stored(database, interactions), key=lambda row: row.arrived_at)

    assert [row.outcome for row in calls] == ["upstream_overloaded", "ok", "upstream_interrupted", "ok", "ok"]
    assert [row.is_exact for row in calls] == [True, True, False, True, True]
    assert [row.cost_microdollars for row in calls[:2]] == [0, 10 + 3 * 2]
    assert calls[1].request_id == answer["request_id"]
    assert calls[1].conversation_id == answer["conversation_id"]
    assert [row.outcome for row in asked] == ["ok", "upstream_interrupted", "conversation_not_found", "ok", "ok"]
    assert [row.route for row in asked] == ["/v1/chat", "/v1/chat/stream", "/v1/chat", *["/v1/chat/batch"] * 2]
    assert (asked[0].input_tokens, asked[0].cost_microdollars, asked[0].message_length) == (10, 16, 5)


async def test_a_killed_process_has_told_what_it_was_paying_for(
    state: dict[str, object],
    models: list[dict[str, Any]],
    provider: FakeMessagesApi,
    tmp_path: Path,
    database: Database,
) -> None:
    provider.script({"delta_delay": 60})
    with runtime_process(tmp_path, state=state, models=models) as runtime:
        ask = {"message": "Take your time"}
        with runtime.client.stream("POST", "/v1/chat/stream", json=ask, headers={"X-API-Key": KEY}) as stream:
            pieces = stream.iter_text()  # which would leave, were it let go
            next(pieces)
            await eventually_stored(database)
            runtime.child.kill()
    [going_on] = await stored(database)

    await half_a_minute_passes(database, going_on.process)
    with runtime_process(tmp_path, state=state, models=models):
        await eventually_stored(database, model_calls.c.outcome.is_not(None))
    [row] = await stored(database)

    assert (going_on.outcome, row.outcome) == (None, "unsettled")
    assert (row.is_exact, row.output_tokens) == (False, 1024)


async def test_without_its_database_what_is_not_stored_is_answered_and_booked_later(
    own_server: Postgresql, models: list[dict[str, Any]], tmp_path: Path
) -> None:
    url_file = url_of_new_database(own_server, tmp_path)
    with runtime_process(tmp_path, state={"url_file": str(url_file), "retention_days": 30}, models=models) as runtime:
        own_server.stop()
        answers = [runtime.chat("Hello", store=False).status_code for _ in range(5)]
        own_server.start()
        name = urlsplit(url_file.read_text()).path.strip("/")
        wait_until(
            lambda: own_server.execute("SELECT count(*) FROM model_calls WHERE outcome = 'ok'", name) == "5",
            deadline=30,
            describe=runtime.child.log_tail,
        )

    assert answers == [200] * 5


async def half_a_minute_passes(database: Database, process: str) -> None:
    """For those who look whether this process is still there."""
    expired = update(processes).where(processes.c.id == process).values(expires_at=0)
    await database.run(lambda connection: connection.execute(expired))


async def eventually(predicate: Any) -> None:
    async with asyncio.timeout(20):
        while not predicate():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def eventually_stored(database: Database, *which: ColumnElement[bool]) -> None:
    """Wait until there is such a model call."""
    query = select(model_calls.c.id).where(*which)
    async with asyncio.timeout(20):
        while not await database.run(lambda connection: connection.execute(query).all()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
