"""Idempotency-Key: what is sent twice is answered once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from agent_runtime.state import idempotency as idempotency_module
from agent_runtime.state.database import Database
from agent_runtime.state.idempotency import KeptAnswer, SqlIdempotency
from agent_runtime.state.presence import Presence
from agent_runtime.state.retention import forget_before
from agent_runtime.state.schema import ANSWER_AGES, idempotency_keys
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import (
    KEY,
    OTHER_KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    hasty,
    parse_events,
    runtime_process,
)
from tests.runtime.test_problems import assert_problem


def send(
    runtime: RuntimeProcess, path: str = "/v1/chat", *, key: str, api_key: str = KEY, **body: Any
) -> httpx2.Response:
    body = body or {"message": "Hi"}
    return runtime.client.post(path, json=body, headers={"X-API-Key": api_key, "Idempotency-Key": key})


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat", {"message": "Hi"}), ("/v1/chat/batch", {"items": [{"message": "Hi"}, {"message": " "}]})],
)
def test_a_repeated_request_gets_the_same_answer_and_asks_no_model(
    provided: Provided, path: str, body: dict[str, Any]
) -> None:
    first, second = (send(provided.runtime, path, key=f"same {path}".replace(" ", "-"), **body) for _ in range(2))

    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(provided.provider.requests()) == 1


def test_a_repeated_stream_is_the_same_run(provided: Provided) -> None:
    first, second = (send(provided.runtime, "/v1/chat/stream", key="stream") for _ in range(2))

    assert parse_events(first.text)[-1].type == "done"
    assert first.text == second.text
    assert second.headers["idempotent-replayed"] == "true"
    assert len(provided.provider.requests()) == 1


def test_a_key_belongs_to_one_request_of_one_caller(provided: Provided) -> None:
    runtime = provided.runtime
    assert send(runtime, key="mine").status_code == 200

    assert_problem(send(runtime, key="mine", message="Hello"), "idempotency_key_reused")
    assert_problem(send(runtime, "/v1/chat/stream", key="mine"), "idempotency_key_reused")
    assert send(runtime, key="mine", api_key=OTHER_KEY).headers.get("idempotent-replayed") is None
    assert send(runtime, key="another").headers.get("idempotent-replayed") is None


def test_a_request_that_is_being_answered_is_not_begun_again(provided: Provided) -> None:
    provided.provider.script({"first_delay": 3})

    with ThreadPoolExecutor() as callers:
        first = callers.submit(send, provided.runtime, key="busy")
        wait_until(lambda: len(provided.provider.requests()) == 1, deadline=10)
        second = send(provided.runtime, key="busy")

        assert_problem(second, "idempotency_in_flight")
        assert second.headers["retry-after"] == "1"
        assert first.result().status_code == 200
    assert send(provided.runtime, key="busy").content == first.result().content


def test_a_request_that_failed_may_be_sent_again(provided: Provided) -> None:
    for path in ("/v1/chat", "/v1/chat/stream"):
        provided.provider.script({"status": 400})
        assert_problem(send(provided.runtime, path, key=f"failed{path}"), "upstream_rejected")
        assert send(provided.runtime, path, key=f"failed{path}").status_code == 200


def test_a_request_that_was_refused_has_used_no_key(provided: Provided) -> None:
    assert_problem(send(provided.runtime, key="refused", message=" "), "invalid_input")

    assert send(provided.runtime, key="refused").status_code == 200


def test_a_caller_who_leaves_frees_its_key(provided: Provided) -> None:
    provided.provider.script({"first_delay": 60})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{provided.runtime.client.base_url}/v1/chat",
            json={"message": "Hi"},
            headers={"X-API-Key": KEY, "Idempotency-Key": "left"},
            timeout=httpx2.Timeout(10, read=2),
            trust_env=False,
        )

    wait_until(lambda: send(provided.runtime, key="left").status_code == 200, deadline=5)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_what_is_no_key_is_refused(echo_runtime: RuntimeProcess, key: str) -> None:
    assert_problem(send(echo_runtime, key=key), "invalid_header")


def test_an_answer_outlives_its_process_and_a_killed_one_frees_its_keys(
    tmp_path: Path, provider: FakeMessagesApi, state: dict[str, object]
) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)

    def start(name: str) -> AbstractContextManager[RuntimeProcess]:
        directory = tmp_path / name
        directory.mkdir()
        return runtime_process(directory, models=[model], state=state, command=hasty())

    with ExitStack() as stack, ThreadPoolExecutor() as callers:
        first = stack.enter_context(start("first"))
        answered = send(first, key="answered")
        second = stack.enter_context(start("second"))
        provider.script({"first_delay": 60})
        cut = callers.submit(send, first, key="cut")
        wait_until(lambda: len(provider.requests()) == 2, deadline=10)
        # Longer than a process that does not show itself is waited for: who does holds its keys.
        began = time.monotonic()
        while time.monotonic() - began < 4:
            assert_problem(send(second, key="cut"), "idempotency_in_flight")
        first.child.kill()
        assert isinstance(cut.exception(), httpx2.TransportError)

        assert send(second, key="answered").content == answered.content
        assert_problem(send(second, key="cut"), "idempotency_in_flight")
        wait_until(lambda: send(second, key="cut").status_code == 200, deadline=20)
    assert len(provider.requests()) == 3


async def test_keys_are_kept_for_a_day_and_the_newest_of_each_principal(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_module, "KEPT_PER_PRINCIPAL", 2)
    presence = Presence(database)
    await presence.renew()
    now = 1_800_000_000.0
    store = SqlIdempotency(database, presence, clock=lambda: now)
    for number in range(4):
        now += 1
        assert await store.claim("demo", str(number), "f", f"token-{number}") is None
        await store.keep(f"token-{number}", body=str(number))
    assert await store.claim("demo", "4", "f", "token-4") is None

    kept = KeptAnswer("f", in_flight=False, body="3", run_id=None)
    assert await store.claim("demo", "3", "f", "again") == kept
    assert await store.claim("demo", "0", "f", "again") is None

    now += idempotency_module.KEPT_SECONDS + 1
    assert await store.claim("demo", "3", "f", "another") is None
    await forget_before(now - idempotency_module.KEPT_SECONDS, ANSWER_AGES, database)
    left = await database.run(lambda connection: connection.execute(select(idempotency_keys.c.key)).scalars().all())
    assert left == ["3"]


async def test_who_lost_a_key_neither_keeps_nor_frees_it(database: Database) -> None:
    presences = [Presence(database), Presence(database)]
    for presence in presences:
        await presence.renew()
    first, second = (SqlIdempotency(database, presence) for presence in presences)
    assert await first.claim("demo", "a", "f", "first") is None
    assert await second.claim("demo", "a", "f", "second") == KeptAnswer("f", in_flight=True, body=None, run_id=None)
    await presences[0].withdraw()
    assert await second.claim("demo", "a", "f", "second") is None

    await first.keep("first", body="1")
    await first.release("first")

    assert await first.claim("demo", "a", "f", "third") == KeptAnswer("f", in_flight=True, body=None, run_id=None)


async def test_keys_of_tasks_outlive_as_many_others_as_a_caller_may_have_tasks(database: Database) -> None:
    presence = Presence(database)
    await presence.renew()
    store = SqlIdempotency(database, presence)

    async def ask(number: int) -> KeptAnswer | None:
        kept = await store.claim("demo", str(number), "f", f"token-{number}")
        await database.run(lambda connection: store.keep_task(connection, f"token-{number}", f"task-{number}"))
        return kept

    for number in range(idempotency_module.KEPT_PER_PRINCIPAL + 2):
        assert await ask(number) is None

    assert await ask(0) == KeptAnswer("f", in_flight=False, task_id="task-0")
