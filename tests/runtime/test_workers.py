"""Worker processes on PostgreSQL and Redis: one is killed, stopped or drained, and the task is done once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev import servers
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import (
    KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    hasty,
    parse_events,
    runtime_process,
)
from tests.runtime.tool_server import http_tool, tool_server

LEASE_SECONDS = 1.5
HELD: dict[str, Any] = {"headers_delay": 60}
"""An answer that does not begin while a test runs."""
WORKER = hasty("worker")

Start = Callable[..., AbstractContextManager[RuntimeProcess]]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this module's own."""
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def start(tmp_path: Path, provider: FakeMessagesApi, postgresql: Postgresql, redis_url: str) -> Start:
    """Starts a process of the same service: serving, or with ``command=WORKER`` a worker."""
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    state = shared_state(postgresql, redis_url, tmp_path)
    settings = {"in_workers": True, "concurrency": 2, "lease_seconds": LEASE_SECONDS}
    shared: dict[str, Any] = {
        "service": tmp_path.name[:40],
        "models": [anthropic_model("main", provider.base_url, credentials, retries=0)],
        "drain_seconds": 0.5,
    }
    count = 0

    def start_one(*, tasks: dict[str, Any] | None = None, **options: Any) -> AbstractContextManager[RuntimeProcess]:
        nonlocal count
        count += 1
        directory = tmp_path / str(count)
        directory.mkdir()
        fields = {**shared, "state": state, "tasks": settings | (tasks or {}), **options}
        return runtime_process(directory, **fields)

    return start_one


@pytest.fixture
def server(start: Start) -> Iterator[RuntimeProcess]:
    """A process that takes tasks and runs none."""
    with start() as runtime:
        yield runtime


def shared_state(server: Postgresql, redis_url: str, folder: Path) -> dict[str, object]:
    """The part of a configuration that says where processes meet: an empty database, and a Redis."""
    redis_file = folder / "redis-url"
    redis_file.write_text(redis_url)
    database = url_of_new_database(server, folder)
    return {"url_file": str(database), "redis_url_file": str(redis_file), "retention_days": 30}


def call(runtime: RuntimeProcess, method: str, path: str, **options: Any) -> httpx2.Response:
    return runtime.client.request(method, path, headers={"X-API-Key": KEY}, **options)


def create(runtime: RuntimeProcess, message: str = "Hi", **fields: Any) -> dict[str, Any]:
    task: dict[str, Any] = call(runtime, "POST", "/v1/tasks", json={"message": message, **fields}).json()
    return task


def until(runtime: RuntimeProcess, task: dict[str, Any], status: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        now: dict[str, Any] = call(runtime, "GET", f"/v1/tasks/{task['id']}").json()
        return now if now["status"] == status else None

    return wait_until(reached, deadline=20, describe=lambda: call(runtime, "GET", f"/v1/tasks/{task['id']}").text)


def outcomes(worker: RuntimeProcess) -> list[str]:
    return [line["outcome"] for line in worker.log() if line["event"] == "task"]


def messages(runtime: RuntimeProcess, task: dict[str, Any]) -> list[Any]:
    path = f"/v1/conversations/{task['conversation_id']}"
    return [message["content"] for message in call(runtime, "GET", path).json()["messages"]]


def asked(provider: FakeMessagesApi, count: int) -> None:
    wait_until(lambda: len(provider.requests()) >= count or None, deadline=20)


def test_a_serving_process_leaves_tasks_to_workers(server: RuntimeProcess, start: Start) -> None:
    task = create(server)
    assert task["status"] == "pending"

    with start(command=WORKER) as worker:
        until(server, task, "completed")

        assert outcomes(worker) == ["ok"]
        assert outcomes(server) == []
        assert worker.probe("/readyz") == 200
        status = httpx2.get(worker.admin + "/statusz").json()
        assert "requests" not in status["queue"]
        assert status["capabilities"]
        assert status["agents"] == ["main"]


def test_a_killed_worker_leaves_its_task_to_another_which_finishes_it_once(
    server: RuntimeProcess, start: Start, provider: FakeMessagesApi
) -> None:
    provider.script(HELD, {"deltas": ["Done."]})
    with start(command=WORKER) as first:
        task = create(server)
        asked(provider, 1)
        with start(command=WORKER) as second:
            first.child.kill()  # which nobody tells the other one
            done = until(server, task, "completed")

            assert done["result"]["message"] == "Done."
            assert outcomes(second) == ["ok"]
    assert messages(server, task) == ["Hi", "Done."]


def test_a_worker_that_stood_still_writes_nothing_when_it_wakes(
    server: RuntimeProcess, start: Start, provider: FakeMessagesApi
) -> None:
    provider.script({"deltas": ["Too late."], "headers_delay": 1}, {"deltas": ["In time."]})
    with start(command=WORKER) as first:
        task = create(server)
        asked(provider, 1)
        os.kill(first.child.process.pid, signal.SIGSTOP)
        try:
            with start(command=WORKER):
                done = until(server, task, "completed")
        finally:
            os.kill(first.child.process.pid, signal.SIGCONT)
        wait_until(lambda: outcomes(first), deadline=20, describe=first.child.log_tail)

        assert outcomes(first) == ["lease_lost"]
    assert call(server, "GET", f"/v1/tasks/{task['id']}").json() == done
    assert messages(server, task) == ["Hi", "In time."]


def test_a_task_goes_on_after_the_last_step_that_was_saved(
    server: RuntimeProcess, start: Start, provider: FakeMessagesApi
) -> None:
    with tool_server() as tools:
        look = http_tool("look", f"{tools.url}/look")
        agent = {"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": ["look"]}
        provider.script({"tool_use": [{"name": "look", "input": {}}]}, HELD, {"deltas": ["Seen."]})
        with start(command=WORKER, tools=[look], agents=[agent]) as first:
            task = create(server)
            asked(provider, 2)
            first.child.kill()
            with start(command=WORKER, tools=[look], agents=[agent]):
                done = until(server, task, "completed")

    assert done["result"]["message"] == "Seen."
    assert [one["outcome"] for one in done["result"]["tool_calls"]] == ["ok"]
    assert len(tools.calls) == 1
    events = parse_events(call(server, "GET", f"/v1/tasks/{task['id']}/events").text)
    kinds = [event.data.get("status", event.type) for event in events]
    assert kinds == ["pending", "running", "tool_call", "tool_result", "pending", "running", "completed"]


def test_a_worker_that_ends_gives_its_task_back_at_once(
    server: RuntimeProcess, start: Start, provider: FakeMessagesApi
) -> None:
    provider.script(HELD, {"deltas": ["Later."]})
    with start(command=WORKER, tasks={"lease_seconds": 600}) as first:
        task = create(server)
        asked(provider, 1)
        assert first.child.stop(grace=15) == 0
        assert outcomes(first) == ["handed_back"]

        with start(command=WORKER, tasks={"lease_seconds": 600}):
            assert until(server, task, "completed")["result"]["message"] == "Later."


def test_a_cancel_reaches_another_process_at_once(
    server: RuntimeProcess, start: Start, provider: FakeMessagesApi
) -> None:
    provider.script(HELD)
    # A lease of ten minutes: nobody would look for a long time, were it not told.
    with start(command=WORKER, tasks={"lease_seconds": 600}) as worker:
        task = create(server)
        asked(provider, 1)

        call(server, "POST", f"/v1/tasks/{task['id']}/cancel")

        wait_until(lambda: provider.requests()[0]["aborted"], deadline=5)
        wait_until(lambda: outcomes(worker) == ["lease_lost"], deadline=5, describe=worker.child.log_tail)
    assert until(server, task, "canceled")["result"] is None


def test_without_its_redis_everything_goes_on(tmp_path: Path, start: Start, postgresql: Postgresql) -> None:
    own = tmp_path / "own-redis"
    own.mkdir()
    with ExitStack() as stack, ExitStack() as life_of_redis:
        state = shared_state(postgresql, life_of_redis.enter_context(servers.redis(own)), own)
        server = stack.enter_context(start(state=state))
        worker = stack.enter_context(start(state=state, command=WORKER))
        until(server, create(server), "completed")

        life_of_redis.close()
        wait_until(lambda: said(worker, "redis cannot be used: others are not woken"), deadline=20)

        assert until(server, create(server), "completed")["result"] is not None
        assert server.chat("Hi").status_code == 200
        warnings = [line for line in worker.log() if line["event"].startswith("redis cannot be used")]
        assert len(warnings) == 1, "told once, and not at every try"
        assert "redis://" not in worker.child.log.read_text()


def said(runtime: RuntimeProcess, event: str) -> bool:
    return any(line["event"] == event for line in runtime.log())
