"""Streams that outlive their callers: kept, read from anywhere on, and told truthfully when their process is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_runtime.state import runs as runs_module
from agent_runtime.state.database import Database
from agent_runtime.state.idempotency import KEPT_SECONDS
from agent_runtime.state.presence import Presence
from agent_runtime.state.retention import forget_before
from agent_runtime.state.runs import Kept, SqlRuns, events_after
from agent_runtime.state.schema import ANSWER_AGES
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import (
    KEY,
    OTHER_KEY,
    PROVIDER_KEY,
    Event,
    RuntimeProcess,
    anthropic_model,
    hasty,
    parse_events,
    runtime_process,
)
from tests.runtime.test_problems import assert_problem

RUN = "0" * 32


@pytest.fixture
def start(
    tmp_path: Path, provider: FakeMessagesApi, state: dict[str, object]
) -> Callable[..., AbstractContextManager[RuntimeProcess]]:
    """Starts a runtime, or a further one on the same database, on the test's own provider."""
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)
    count = 0

    def start_one(**config: Any) -> AbstractContextManager[RuntimeProcess]:
        nonlocal count
        count += 1
        directory = tmp_path / str(count)
        directory.mkdir()
        return runtime_process(directory, models=[model], state=state, **config)

    return start_one


def events_of(runtime: RuntimeProcess, run_id: str, after: int | None = None, *, key: str = KEY) -> httpx2.Response:
    headers = {"X-API-Key": key} | ({} if after is None else {"Last-Event-ID": str(after)})
    return runtime.client.get(f"/v1/runs/{run_id}/events", headers=headers)


def beginning(
    runtime: RuntimeProcess, *, count: int = 2, headers: dict[str, str] | None = None, **body: Any
) -> list[Event]:
    """The first events of a stream, whose caller then leaves."""
    with (
        httpx2.Client(base_url=runtime.client.base_url, timeout=30, trust_env=False) as caller,
        caller.stream(
            "POST", "/v1/chat/stream", json={"message": "Hi", **body}, headers={"X-API-Key": KEY, **(headers or {})}
        ) as response,
    ):
        assert response.status_code == 200, response.read()
        text = ""
        for piece in response.iter_text():
            text += piece
            if text.count("\n\n") >= count:
                break
    return parse_events(text[: text.rindex("\n\n") + 2])


def test_a_run_that_continues_is_read_on_from_where_its_caller_left(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b", "c", "d"], "delta_delay": 0.4})

    with start() as runtime:
        seen = beginning(runtime, on_disconnect="continue")
        run_id = seen[0].data["run_id"]

        rest = parse_events(events_of(runtime, run_id, seen[-1].id).text)
        again = parse_events(events_of(runtime, run_id).text)

        everything = [*seen, *rest]
        assert [event.id for event in everything] == [1, 2, 3, 4, 5, 6, 7]
        assert [event.type for event in everything] == ["start", *["delta"] * 4, "usage", "done"]
        assert everything == again
        assert events_of(runtime, run_id, 7).text == ""
        assert provider.requests()[0]["aborted"] is None
        conversation = seen[0].data["conversation_id"]
        assert runtime.chat("And?", conversation_id=conversation).status_code == 200
    assert [message["content"] for message in provider.requests()[-1]["body"]["messages"]] == ["Hi", "abcd", "And?"]


def test_a_run_is_followed_from_another_replica_while_it_runs_and_after(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 5})

    with start(command=hasty()) as first, start(command=hasty()) as second:
        seen = beginning(first, on_disconnect="continue")
        run_id = seen[0].data["run_id"]

        rest = parse_events(events_of(second, run_id, seen[-1].id).text)

        assert [event.id for event in (*seen, *rest)] == [1, 2, 3, 4, 5]
        assert parse_events(events_of(second, run_id).text) == parse_events(events_of(first, run_id).text)


@pytest.mark.parametrize("body", [{}, {"on_disconnect": "cancel"}])
def test_a_run_that_does_not_continue_ends_with_its_caller_and_is_not_kept(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi, body: dict[str, Any]
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60})

    with start() as runtime:
        run_id = beginning(runtime, **body)[0].data["run_id"]
        left = time.time()

        aborted = wait_until(lambda: provider.requests()[0]["aborted"], deadline=5)
        assert aborted - left < 0.2
        assert_problem(events_of(runtime, run_id), "run_not_found")


def test_a_run_with_a_key_that_does_not_continue_ends_with_its_caller_too(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60}, {"deltas": ["c"]})

    with start() as runtime:
        run_id = beginning(runtime, headers={"Idempotency-Key": "k-1"})[0].data["run_id"]
        left = time.time()

        aborted = wait_until(lambda: provider.requests()[0]["aborted"], deadline=5)
        assert aborted - left < 0.2
        assert parse_events(events_of(runtime, run_id).text)[-1].data["code"] == "run_canceled"
        assert len(beginning(runtime, count=4, headers={"Idempotency-Key": "k-1"})) == 4


def test_the_run_of_another_caller_is_not_found(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 2})

    with start() as runtime:
        run_id = beginning(runtime, on_disconnect="continue")[0].data["run_id"]

        assert_problem(events_of(runtime, run_id, key=OTHER_KEY), "run_not_found")
        events_of(runtime, run_id)
        assert_problem(events_of(runtime, run_id, key=OTHER_KEY), "run_not_found")
        assert_problem(events_of(runtime, RUN), "run_not_found")
        for last in ("-1", "a", "9" * 10, "1.5"):
            response = runtime.client.get(
                f"/v1/runs/{run_id}/events", headers={"X-API-Key": KEY, "Last-Event-ID": last}
            )
            assert_problem(response, "invalid_header")


def test_a_run_whose_process_was_killed_is_told_as_interrupted(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60})

    with ExitStack() as stack:
        first = stack.enter_context(start(command=hasty()))
        run_id = beginning(first, on_disconnect="continue")[0].data["run_id"]
        second = stack.enter_context(start(command=hasty()))
        first.child.kill()

        events = events_of(second, run_id)

        *kept, last = [block for block in events.text.split("\n\n") if block and not block.startswith(":")]
        assert [event.type for event in parse_events("\n\n".join(kept))] == ["start", "delta"]
        assert '"code":"run_interrupted"' in last
        assert run_id in last
        assert_problem(events_of(second, run_id, after=2), "run_interrupted")


def test_a_drain_tells_a_run_that_it_ends_and_another_replica_reads_so(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60, "times": 2})

    with start(drain_seconds=1) as first, start() as second, ThreadPoolExecutor() as callers:
        stream = callers.submit(first.stream, on_disconnect="continue")
        left = beginning(first, on_disconnect="continue")
        wait_until(lambda: len(provider.requests()) == 2, deadline=10)

        first.child.process.terminate()

        last = stream.result()[-1]
        assert (last.type, last.data["code"]) == ("error", "shutting_down")
        assert first.child.process.wait(timeout=15) == 0
        for run_id in (last.data["run_id"], left[0].data["run_id"]):
            kept = parse_events(events_of(second, run_id).text)
            assert [event.type for event in kept] == ["start", "delta", "error"]
            assert kept[-1].data["code"] == "shutting_down"


def test_a_run_without_a_reader_is_waited_for_by_the_drain(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["a", "b", "c"], "delta_delay": 1})

    with start(drain_seconds=20) as first, start() as second:
        run_id = beginning(first, on_disconnect="continue")[0].data["run_id"]

        first.child.process.terminate()

        assert first.child.process.wait(timeout=15) == 0
        assert parse_events(events_of(second, run_id).text)[-1].type == "done"


def test_a_failure_before_the_first_event_has_a_status_of_its_own(
    start: Callable[..., AbstractContextManager[RuntimeProcess]], provider: FakeMessagesApi
) -> None:
    provider.script({"status": 400})

    with start() as runtime:
        response = runtime.client.post(
            "/v1/chat/stream", json={"message": "Hi", "on_disconnect": "continue"}, headers={"X-API-Key": KEY}
        )

        assert_problem(response, "upstream_rejected")


def test_only_a_stream_continues(echo_runtime: RuntimeProcess) -> None:
    problem = assert_problem(echo_runtime.chat(on_disconnect="continue"), "invalid_input")

    assert problem["errors"][0]["pointer"] == "/on_disconnect"


@pytest.fixture
async def presence(database: Database) -> Presence:
    """A process that is there."""
    presence = Presence(database)
    await presence.renew()
    return presence


@pytest.fixture
def clock() -> list[float]:
    """Seconds since 1970, in a list that a test may change."""
    return [1_800_000_000.0]


async def test_events_are_cut_where_a_reader_has_been(
    database: Database, presence: Presence, clock: list[float]
) -> None:
    store = SqlRuns(database, presence, clock=lambda: clock[0])
    await store.begin(RUN, "demo")
    assert await store.append(RUN, 2, b"id: 1\n\nid: 2\n\n", ended=False)
    assert await store.append(RUN, 3, b"id: 3\n\n", ended=True)

    assert await store.read("demo", RUN, 1) == Kept(b"id: 2\n\nid: 3\n\n", 3, "ended")
    assert await store.read("demo", RUN, 3) == Kept(b"", 3, "ended")
    assert await store.read("demo", RUN, 9) == Kept(b"", 9, "ended")
    assert await store.read("other", RUN, 0) is None


async def test_a_run_that_was_told_as_interrupted_stays_so(database: Database, presence: Presence) -> None:
    store = SqlRuns(database, presence)
    await store.begin(RUN, "demo")
    assert await store.read("demo", RUN, 0) == Kept(b"", 0, "running")

    await presence.withdraw()

    assert await store.read("demo", RUN, 0) == Kept(b"", 0, "interrupted")
    await presence.renew()
    assert not await store.append(RUN, 1, b"id: 1\n\n", ended=True)
    assert await store.read("demo", RUN, 0) == Kept(b"", 0, "interrupted")


async def test_runs_are_kept_for_a_day_and_the_newest_of_each_principal(
    database: Database, presence: Presence, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "KEPT_PER_PRINCIPAL", 2)
    store = SqlRuns(database, presence, clock=lambda: clock[0])
    for number in range(4):
        clock[0] += 1
        await store.begin(str(number), "demo")
        await store.append(str(number), 1, b"id: 1\n\n", ended=True)
    await store.begin("another", "other")

    assert [await store.read("demo", str(number), 0) is None for number in range(4)] == [True, True, False, False]
    assert await store.read("other", "another", 0) is not None

    clock[0] += KEPT_SECONDS + 1
    await forget_before(clock[0] - KEPT_SECONDS, ANSWER_AGES, database)
    assert await store.read("demo", "3", 0) is None
    assert await store.read("other", "another", 0) is None


@pytest.mark.parametrize(("after", "left"), [(0, b"a\n\nb\n\n"), (1, b"a\n\nb\n\n"), (2, b"b\n\n"), (3, b""), (9, b"")])
def test_of_successive_events_those_after_one_are_found(after: int, left: bytes) -> None:
    assert events_after(b"a\n\nb\n\n", 3, after) == left
