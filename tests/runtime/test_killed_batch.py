"""A batch whose process is killed: what was answered is whole, what was paid is booked, its key tells the truth."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from agent_runtime.agent.model import Message
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.database import Database
from agent_runtime.state.schema import model_calls, processes
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import KEY, PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process
from tests.runtime.test_usage import eventually_stored, half_a_minute_passes, stored

ANSWER = "Hello from the fake model."
OLD = "a" * 32
"""A conversation that was there before."""
ITEMS = [{"message": "One", "conversation_id": OLD}, {"message": "Two"}, {"message": "Three"}]
"""Of the batch; they are answered in this order, one at a time."""
BEFORE = [("user", "Hi"), ("assistant", "Hi there")]
ONE, TWO, THREE = ([("user", str(item["message"])), ("assistant", ANSWER)] for item in ITEMS)

Start = Callable[..., AbstractContextManager[RuntimeProcess]]


@pytest.fixture
async def start(tmp_path: Path, provider: FakeMessagesApi, state: dict[str, object], database: Database) -> Start:
    """Starts a runtime that answers one request at a time, or a further one on the same database."""
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)
    await SqlConversations(database).append(
        "demo", "main", OLD, Message("user", "Hi"), Message("assistant", "Hi there")
    )

    @contextmanager
    def start_one(name: str, **options: Any) -> Iterator[RuntimeProcess]:
        folder = tmp_path / name
        folder.mkdir()
        with runtime_process(folder, models=[model], state=state, max_concurrent_requests=1, **options) as runtime:
            yield runtime

    return start_one


def dying(place: str) -> tuple[str, str]:
    """A command of the runtime that kills its process when it is at a place."""
    return "-c", (
        "import os, signal\n"
        "from agent_runtime.pipeline.idempotency import Claim\n"
        "from agent_runtime.state import conversations\n"
        "def die(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{place}\n"
        "from agent_runtime.__main__ import main\n"
        "raise SystemExit(main([]))"
    )


IN_THE_MIDDLE_OF_A_TRANSACTION = """
grow = conversations._grow
conversations._grow = lambda *arguments: die(grow(*arguments))"""
BEFORE_THE_ANSWER_IS_KEPT = """
Claim.keep = die"""
BEFORE_THE_ANSWER_IS_SENT = """
keep = Claim.keep
async def keep_and_die(*arguments):
    die(await keep(*arguments))
Claim.keep = keep_and_die"""


def send(runtime: RuntimeProcess) -> httpx2.Response:
    headers = {"X-API-Key": KEY, "Idempotency-Key": "batch"}
    return runtime.client.post("/v1/chat/batch", json={"items": ITEMS}, headers=headers)


def get(runtime: RuntimeProcess, path: str) -> Any:
    return runtime.client.get(path, headers={"X-API-Key": KEY}).json()


def said(runtime: RuntimeProcess) -> list[list[tuple[str, str]]]:
    """What was said in each conversation of the caller: in the old one, and in the others as they came."""
    ids = [item["id"] for item in reversed(get(runtime, "/v1/conversations")["items"])]
    conversations = (get(runtime, f"/v1/conversations/{each}") for each in sorted(ids, key=OLD.__ne__))
    return [[(message["role"], message["content"]) for message in each["messages"]] for each in conversations]


async def half_a_minute_passes_for_all(database: Database) -> None:
    ids = await database.run(lambda connection: connection.execute(select(processes.c.id)).scalars().all())
    for each in ids:
        await half_a_minute_passes(database, each)


def assert_repeated(runtime: RuntimeProcess, provider: FakeMessagesApi) -> None:
    """The batch is answered anew, and from then on its key has that answer."""
    asked = len(provider.requests())

    first, second = send(runtime), send(runtime)

    assert first.json()["status"] == "completed", first.text
    assert "idempotent-replayed" not in first.headers
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(provider.requests()) == asked + len(ITEMS)


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_batch_that_was_killed_keeps_what_was_answered_and_has_booked_what_was_not(
    start: Start, provider: FakeMessagesApi, database: Database, answered: int
) -> None:
    provider.script(
        *[{}] * answered, {"first_delay": 60} if answered == 0 else {"delta_delay": 60}, {"times": "always"}
    )

    with start("first") as runtime, ThreadPoolExecutor() as callers:
        batch = callers.submit(send, runtime)
        texts = {"agent": "main", "model": "main"}
        wait_until(
            lambda: runtime.metric("agent_time_to_first_token_seconds_count", **texts) == 2 * answered, deadline=20
        )
        if answered:
            await eventually_stored(database, model_calls.c.outcome == "ok")
        await eventually_stored(database, model_calls.c.outcome.is_(None))
        runtime.child.kill()
        assert isinstance(batch.exception(), httpx2.TransportError)
    await half_a_minute_passes_for_all(database)

    with start("second") as runtime:
        await eventually_stored(database, model_calls.c.outcome == "unsettled")
        calls = await stored(database)
        assert sorted((row.outcome, row.is_exact, row.output_tokens) for row in calls) == [
            *[("ok", True, 5)] * answered,
            ("unsettled", False, 1024),
        ]
        assert said(runtime) == [[*BEFORE, *ONE * answered]]
        assert_repeated(runtime, provider)
        assert said(runtime) == [[*BEFORE, *ONE * (answered + 1)], TWO, THREE]


@pytest.mark.parametrize(
    ("place", "kept"),
    [(IN_THE_MIDDLE_OF_A_TRANSACTION, [BEFORE]), (BEFORE_THE_ANSWER_IS_KEPT, [[*BEFORE, *ONE], TWO, THREE])],
    ids=["in a transaction", "before the answer is kept"],
)
async def test_a_batch_that_was_killed_while_it_was_written_is_half_written_nowhere(
    start: Start, provider: FakeMessagesApi, database: Database, place: str, kept: list[list[tuple[str, str]]]
) -> None:
    with start("first", command=dying(place)) as runtime:
        with pytest.raises(httpx2.TransportError):
            send(runtime)
        assert runtime.child.process.wait(timeout=20) == -signal.SIGKILL
    await half_a_minute_passes_for_all(database)

    with start("second") as runtime:
        assert said(runtime) == kept
        assert_repeated(runtime, provider)
        assert said(runtime)[0] == [*kept[0], *ONE]


async def test_a_batch_whose_answer_was_kept_is_told_after_the_kill(start: Start, provider: FakeMessagesApi) -> None:
    with start("first", command=dying(BEFORE_THE_ANSWER_IS_SENT)) as runtime:
        with pytest.raises(httpx2.TransportError):
            send(runtime)
        assert runtime.child.process.wait(timeout=20) == -signal.SIGKILL

    with start("second") as runtime:
        answer = send(runtime)

        assert answer.headers["idempotent-replayed"] == "true"
        assert [item["result"]["message"] for item in answer.json()["items"]] == [ANSWER] * len(ITEMS)
        assert len(provider.requests()) == len(ITEMS)
        assert said(runtime) == [[*BEFORE, *ONE], TWO, THREE]
