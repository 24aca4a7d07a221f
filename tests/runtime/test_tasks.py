"""The tasks API, over a socket: every call, on each engine, with a provider that a test can hold back."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from agent_runtime.state.database import Database
from agent_runtime.state.schema import interactions, model_calls
from dev.fake_messages_api import FakeMessagesApi
from dev.fake_messages_api import running as running_provider
from dev.process import wait_until
from tests.runtime.conftest import state_on
from tests.runtime.runtime_process import (
    PROVIDER_KEY,
    anthropic_model,
    hasty,
    parse_events,
    runtime_process,
)
from tests.runtime.tasks_caller import Tasks
from tests.runtime.tool_server import http_tool, tool_server

HELD: dict[str, Any] = {"headers_delay": 60}
"""An answer that does not begin while a test runs."""


@contextmanager
def running(
    provider: FakeMessagesApi,
    state: dict[str, object],
    directory: Path,
    tools: Sequence[dict[str, Any]] = (),
    *,
    drain_seconds: float = 0.5,
) -> Iterator[Tasks]:
    """A runtime that runs two tasks at a time."""
    directory.mkdir(exist_ok=True)
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    models = [anthropic_model("main", provider.base_url, credentials, retries=0)]
    # Where nobody shares the database, no lease has to run out before the next process goes on.
    settings = {"concurrency": 2, "lease_seconds": 600 if "path" in state else 1}
    names = [tool["name"] for tool in tools]
    agents = [{"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": names}]
    fields: dict[str, Any] = {"models": models, "agents": agents, "tools": list(tools), "tasks": settings}
    with runtime_process(directory, **fields, state=state, command=hasty(), drain_seconds=drain_seconds) as runtime:
        yield Tasks(runtime, provider)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _tasks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    directory = tmp_path_factory.mktemp("tasks")
    with running_provider() as provider, running(provider, state_on(request, directory), directory) as tasks:
        yield tasks


@pytest.fixture
def tasks(_tasks: Tasks) -> Iterator[Tasks]:
    """A runtime on each engine, without tasks, whose provider waits for its script."""
    for path in ("/_script", "/_requests"):
        httpx2.delete(_tasks.provider.base_url + path)
    yield _tasks
    for caller in (_tasks, _tasks.of_another()):
        for task in caller.call("GET", params={"limit": 100}).json()["items"]:
            caller.call("POST", f"/{task['id']}/cancel")
            caller.call("DELETE", f"/{task['id']}")


@pytest.fixture
def mortal(state: dict[str, object], provider: FakeMessagesApi, tmp_path: Path) -> Iterator[Tasks]:
    """A runtime of the test's own, on each engine."""
    with running(provider, state, tmp_path) as tasks:
        yield tasks


def test_a_task_is_answered_and_says_so(tasks: Tasks) -> None:
    tasks.provider.script({"deltas": ["It ", "is."], "usage": {"input_tokens": 5}})

    created = tasks.create("What is it?", metadata={"ticket": "17"}, priority=7)
    task = tasks.finished(created)

    assert (created["status"], created["position"], created["started_at"]) == ("pending", 1, None)
    assert created["created_at"] <= task.pop("started_at") <= task.pop("completed_at")
    assert task.pop("created_at") == created["created_at"]
    assert len(task.pop("conversation_id")) == 32
    usage = task.pop("usage")
    assert (usage["input_tokens"], usage["output_tokens"]) == (5, 2)
    assert task == {
        "id": created["id"],
        "status": "completed",
        "agent": "main",
        "priority": 7,
        "input": {"message": "What is it?"},
        "result": {
            "message": "It is.",
            "tool_calls": [],
            "sources": [],
            "stop_reason": "end_turn",
            "model": "claude-sonnet-5-5",
            "cost_usd": 0.00003,
        },
        "error": None,
        "position": None,
        "eta_seconds": None,
        "approvals": [],
        "metadata": {"ticket": "17"},
    }


def test_a_task_is_remembered_as_a_turn_of_its_conversation(tasks: Tasks) -> None:
    tasks.provider.script({"deltas": ["One."]}, {"deltas": ["Two."]})
    conversation = tasks.finished(tasks.create("First?"))["conversation_id"]
    tasks.finished(tasks.create("Second?", conversation_id=conversation))

    tasks.runtime.chat("Third?", conversation_id=conversation)

    contents = [message["content"] for message in tasks.provider.requests()[-1]["body"]["messages"]]
    assert contents == ["First?", "One.", "Second?", "Two.", "Third?"]


def test_a_task_that_is_not_stored_has_no_conversation(tasks: Tasks) -> None:
    assert tasks.finished(tasks.create(store=False))["conversation_id"] is None


def test_a_failure_is_told_by_its_code(tasks: Tasks) -> None:
    tasks.provider.script({"status": 500})

    task = tasks.finished(tasks.create())

    assert task["status"] == "failed"
    assert task["error"]["code"] == "upstream_unavailable"
    assert task["result"] is None
    assert task["completed_at"] is not None


def test_no_more_run_than_may_and_the_urgent_go_first(tasks: Tasks) -> None:
    tasks.provider.script(HELD, HELD, {"deltas": ["urgent"]})
    running = [tasks.create(), tasks.create()]
    for task in running:
        tasks.until(task, "running")

    later, urgent = tasks.create(priority=1), tasks.create(priority=9)

    assert (tasks.get(urgent)["position"], tasks.get(later)["position"]) == (1, 2)
    tasks.call("POST", f"/{running[0]['id']}/cancel")
    assert tasks.finished(urgent)["result"]["message"] == "urgent"


def test_the_time_that_is_left_is_estimated(tasks: Tasks) -> None:
    assert tasks.create()["eta_seconds"] is None
    tasks.finished(tasks.create())
    tasks.provider.script(HELD, HELD)
    for _ in range(2):
        tasks.until(tasks.create(), "running")

    assert tasks.create()["eta_seconds"] >= 0


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_task_that_is_canceled_stays_so(tasks: Tasks, status: str) -> None:
    tasks.provider.script(HELD, HELD, HELD)
    created = [tasks.create() for _ in range(3)]
    task = created[{"running": 0, "pending": 2}[status]]
    tasks.until(created[1], "running")
    assert tasks.until(task, status)["status"] == status

    response = tasks.call("POST", f"/{task['id']}/cancel")

    assert response.status_code == 200
    assert response.json()["status"] == "canceled"
    assert response.json()["completed_at"] is not None
    assert statuses_told(tasks, task)[-1] == "canceled"
    assert tasks.call("POST", f"/{task['id']}/cancel").json() == tasks.get(task)


def test_canceling_closes_the_call_of_the_model(tasks: Tasks) -> None:
    tasks.provider.script(HELD)
    task = tasks.create()
    wait_until(lambda: tasks.provider.requests() or None, deadline=20)

    tasks.call("POST", f"/{task['id']}/cancel")

    wait_until(lambda: tasks.provider.requests()[0]["aborted"], deadline=5)


def test_what_has_ended_is_not_canceled(tasks: Tasks) -> None:
    task = tasks.finished(tasks.create())

    response = tasks.call("POST", f"/{task['id']}/cancel")

    assert (response.status_code, response.json()["code"]) == (409, "task_finished")
    assert response.headers["x-should-retry"] == "false"
    assert tasks.get(task)["status"] == "completed"


def test_only_what_has_ended_is_deleted(tasks: Tasks) -> None:
    tasks.provider.script(HELD)
    task = tasks.create()
    refused = tasks.call("DELETE", f"/{task['id']}")
    tasks.call("POST", f"/{task['id']}/cancel")

    deleted = tasks.call("DELETE", f"/{task['id']}")

    assert (refused.status_code, refused.json()["code"]) == (409, "task_unfinished")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert tasks.call("GET", f"/{task['id']}").status_code == 404


def test_tasks_are_listed_newest_first_page_by_page(tasks: Tasks) -> None:
    tasks.provider.script({}, {}, {"status": 500}, {})
    created = [tasks.finished(tasks.create())["id"] for _ in range(4)]

    first = tasks.call("GET", params={"limit": 3}).json()
    second = tasks.call("GET", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    failed = tasks.call("GET", params={"status": "failed"}).json()

    assert [task["id"] for task in first["items"] + second["items"]] == created[::-1]
    assert second["next_cursor"] is None
    assert [task["id"] for task in failed["items"]] == [created[2]]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"status": "lost"}, {"cursor": "x"}, {"page": 2}])
def test_a_query_that_cannot_be_is_refused(tasks: Tasks, query: dict[str, Any]) -> None:
    response = tasks.call("GET", params=query)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert response.json()["detail"].startswith(next(iter(query)))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"priority": 0}, 422),
        ({"priority": 11}, 422),
        ({"message": " "}, 422),
        ({"stream": True}, 422),
        ({"agent": "nobody"}, 404),
        ({"conversation_id": "0" * 32}, 404),
    ],
)
def test_a_task_that_cannot_be_is_refused_at_once(tasks: Tasks, body: dict[str, Any], status: int) -> None:
    response = tasks.call("POST", json={"message": "Hi", **body})

    assert response.status_code == status
    assert tasks.call("GET").json()["items"] == []


@pytest.mark.parametrize("part", ["%00", "x" * 300, "%ED%A0%80", "..%2f.."])
def test_whatever_stands_in_a_path_is_not_found(tasks: Tasks, part: str) -> None:
    task = tasks.finished(tasks.create())
    decision = {"decision": "approve"}

    responses = [
        tasks.call("GET", f"/{part}"),
        tasks.call("GET", f"/{part}/events"),
        tasks.call("POST", f"/{part}/cancel"),
        tasks.call("POST", f"/{part}/approvals/call1", json=decision),
        tasks.call("POST", f"/{task['id']}/approvals/{part}", json=decision),
        tasks.call("DELETE", f"/{part}"),
    ]

    assert {response.status_code for response in responses} == {404}


def test_the_tasks_of_others_are_not_found(tasks: Tasks) -> None:
    task = tasks.finished(tasks.create())
    other = tasks.of_another()

    responses = [
        other.call("GET", f"/{task['id']}"),
        other.call("GET", f"/{task['id']}/events"),
        other.call("POST", f"/{task['id']}/cancel"),
        other.call("POST", f"/{task['id']}/approvals/call1", json={"decision": "approve"}),
        other.call("DELETE", f"/{task['id']}"),
    ]

    assert {(response.status_code, response.json()["code"]) for response in responses} == {(404, "task_not_found")}
    assert other.call("GET").json()["items"] == []
    assert tasks.get(task) == task


def test_events_follow_a_task_to_its_end(tasks: Tasks) -> None:
    tasks.provider.script({"headers_delay": 0.5})
    task = tasks.create()

    events = tasks.events(task)

    assert [event.id for event in events] == [1, 2, 3]
    assert [event.data["status"] for event in events] == ["pending", "running", "completed"]
    assert {event.type for event in events} == {"status"}
    assert events[0].data["at"] == task["created_at"]


def test_events_go_on_where_they_broke_off(tasks: Tasks) -> None:
    task = tasks.finished(tasks.create())

    events = tasks.events(task, after=1)

    assert [event.id for event in events] == [2, 3]
    assert tasks.events(task, after=3) == []
    refused = tasks.call("GET", f"/{task['id']}/events", headers={"Last-Event-ID": "x"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_header")


def test_a_task_survives_the_kill_of_its_process(mortal: Tasks, tmp_path: Path, state: dict[str, object]) -> None:
    mortal.provider.script(HELD, {"deltas": ["Still ", "here."]})
    task = mortal.create()
    wait_until(lambda: mortal.provider.requests() or None, deadline=20)
    mortal.runtime.child.kill()

    with running(mortal.provider, state, tmp_path / "next") as next_life:
        done = next_life.finished(task)

        assert done["result"]["message"] == "Still here."
        assert statuses_told(next_life, task) == ["pending", "running", "pending", "running", "completed"]


def test_a_drain_hands_back_what_it_cannot_finish(mortal: Tasks, tmp_path: Path, state: dict[str, object]) -> None:
    mortal.provider.script(HELD, {"deltas": ["Later."]})
    task = mortal.create()
    wait_until(lambda: mortal.provider.requests() or None, deadline=20)

    assert mortal.runtime.child.stop(grace=15) == 0

    with running(mortal.provider, state, tmp_path / "next") as next_life:
        assert next_life.finished(task)["result"]["message"] == "Later."
        assert statuses_told(next_life, task) == ["pending", "running", "pending", "running", "completed"]


def test_who_follows_a_task_is_sent_on_as_soon_as_the_drain_begins(
    provider: FakeMessagesApi, tmp_path: Path, state: dict[str, object]
) -> None:
    provider.script(HELD)
    with running(provider, state, tmp_path, drain_seconds=600) as tasks:
        task = tasks.create()
        tasks.until(task, "running")
        with tasks.following(task) as pieces:
            told = next(pieces)

            tasks.runtime.child.process.send_signal(signal.SIGTERM)

            last = parse_events(told + "".join(pieces))[-1]
        assert (last.id, last.type, last.data["code"]) == (None, "error", "shutting_down")
        assert tasks.runtime.child.exit_code is None, "its task goes on"
        assert tasks.runtime.child.stop(grace=15) == 0  # a second signal ends the drain


async def test_what_a_task_used_is_booked_and_counted_once(
    mortal: Tasks, state: dict[str, object], database: Database
) -> None:
    del state
    mortal.provider.script({"usage": {"input_tokens": 5, "output_tokens": 2}}, {"status": 400})
    done = mortal.finished(mortal.create())
    failed = mortal.finished(mortal.create())
    assert mortal.runtime.metric("agent_tokens_total", kind="input") == 5
    assert mortal.runtime.metric("agent_requests_total", agent="main", protocol="tasks", status="200") == 1
    assert mortal.runtime.metric("agent_requests_total", agent="main", protocol="tasks", status="502") == 1
    mortal.runtime.child.stop(grace=15)  # what has been used is written before the end

    calls = await database.run(lambda connection: connection.execute(select(model_calls)).all())
    asked = await database.run(lambda connection: connection.execute(select(interactions)).all())

    assert [(row.outcome, row.input_tokens) for row in calls] == [("ok", 5), ("upstream_rejected", 0)]
    assert [row.conversation_id for row in calls] == [done["conversation_id"], failed["conversation_id"]]
    assert [(row.protocol, row.route, row.outcome) for row in asked] == [
        ("tasks", "/v1/tasks", "ok"),
        ("tasks", "/v1/tasks", "upstream_rejected"),
    ]


@pytest.mark.parametrize(
    "case",
    [("slow", "GET", "ok", 2), ("slow", "POST", "outcome_unknown", 1), ("quick", "POST", "ok", 1)],
    ids=["in a tool that may be called again", "in a tool that may not", "in the answer after a tool"],
)
def test_a_task_that_was_killed_in_a_later_step_goes_on_from_there(
    case: tuple[str, str, str, int], state: dict[str, object], provider: FakeMessagesApi, tmp_path: Path
) -> None:
    path, method, outcome, calls = case
    with tool_server() as tools:
        look = http_tool("look", f"{tools.url}/{path}", method=method)
        provider.script({"tool_use": [{"name": "look", "input": {}}]}, *([HELD] if path == "quick" else []))
        with running(provider, state, tmp_path, tools=[look]) as mortal:
            task = mortal.create()
            wait_until(lambda: tools.calls if path == "slow" else len(provider.requests()) == 2, deadline=20)
            mortal.runtime.child.kill()
        look["http"]["url"] = f"{tools.url}/quick"
        provider.script({"deltas": ["Seen."]})
        with running(provider, state, tmp_path / "next", tools=[look]) as next_life:
            done = next_life.finished(task)

    assert done["result"]["message"] == "Seen."
    assert [one["outcome"] for one in done["result"]["tool_calls"]] == [outcome]
    assert len(tools.calls) == calls


def statuses_told(tasks: Tasks, task: dict[str, Any]) -> list[str]:
    return [event.data["status"] for event in tasks.events(task)]
