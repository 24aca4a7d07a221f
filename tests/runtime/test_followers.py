"""Callers who follow runs and tasks are bounded in number: of each client, and in all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.api import followers
from agent_runtime.api.errors import ProblemError
from agent_runtime.api.followers import Followers
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import (
    KEY,
    OTHER_KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    parse_events,
    runtime_process,
)
from tests.runtime.test_problems import assert_problem

FEW = (
    "from agent_runtime.api import followers; followers.MOST, followers.MOST_OF_ONE = 3, 2\n"
    "from agent_runtime.__main__ import main; raise SystemExit(main([]))"
)
"""A runtime for three followers, two of each client."""


@pytest.fixture
def runtime(tmp_path: Path, provider: FakeMessagesApi) -> Iterator[RuntimeProcess]:
    """One whose answers do not end while a test runs."""
    provider.script({"deltas": ["a", "b"], "delta_delay": 120, "times": "always"})
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)
    with runtime_process(tmp_path, command=("-c", FEW), models=[model], request_timeout_seconds=120) as started:
        yield started
        started.child.kill()


def task_events(runtime: RuntimeProcess, key: str = KEY) -> str:
    """Path of the events of a new task."""
    task = runtime.client.post("/v1/tasks", json={"message": "Hi"}, headers={"X-API-Key": key})
    return f"{task.headers['location']}/events"


@contextmanager
def following(
    runtime: RuntimeProcess, path: str, *, key: str = KEY, method: str = "GET", **options: Any
) -> Iterator[str]:
    """Follow what a path tells, as long as the block runs, which gets the first event."""
    with runtime.client.stream(method, path, **{"headers": {"X-API-Key": key}, **options}) as response:
        assert response.status_code == 200, response.read()
        pieces = response.iter_text()  # whose end would be that of the connection
        text = ""
        while "\n\n" not in text:
            text += next(pieces)
        yield text


def refused(runtime: RuntimeProcess, path: str, code: str, *, key: str = KEY, **options: Any) -> None:
    """There is no room for one who follows what a path tells."""
    arguments: dict[str, Any] = {"method": "GET", "headers": {"X-API-Key": key}, **options}
    response = runtime.client.request(url=path, **arguments)
    assert_problem(response, code)
    assert int(response.headers["retry-after"]) > 0


def test_who_follows_too_much_is_refused_and_leaves_room_for_others(runtime: RuntimeProcess) -> None:
    mine, others = task_events(runtime), task_events(runtime, OTHER_KEY)
    continued: dict[str, Any] = {"method": "POST", "json": {"message": "Hi", "on_disconnect": "continue"}}
    with ExitStack() as stack:
        begun = stack.enter_context(following(runtime, "/v1/chat/stream", **continued))
        run = f"/v1/runs/{parse_events(begun)[0].data['run_id']}/events"
        with following(runtime, mine):
            stack.enter_context(following(runtime, run))

            refused(runtime, mine, "too_many_followers")
            refused(runtime, run, "too_many_followers")
            stack.enter_context(following(runtime, others, key=OTHER_KEY))
            refused(runtime, others, "overloaded", key=OTHER_KEY)

        def is_admitted() -> bool:
            with runtime.client.stream("GET", mine, headers={"X-API-Key": KEY}) as again:
                return again.status_code == 200

        wait_until(is_admitted, deadline=20, describe=runtime.child.log_tail)


def test_a_place_is_free_again_however_its_follower_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_OF_ONE", 1)
    places = Followers()

    for _ in range(3):
        with pytest.raises(ValueError, match="it fails"), places.place("demo"):
            raise ValueError("it fails")

    with places.place("demo"), places.place("other"), pytest.raises(ProblemError), places.place("demo"):
        pass
