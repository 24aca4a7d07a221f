"""Every call that the runtime serves, on every database: a row each. A route without a row fails here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_runtime.agent.providers.echo import EchoProvider
from dev.process import wait_until
from tests.runtime.conftest import state_on
from tests.runtime.runtime_process import KEY, RuntimeProcess, parse_events, runtime_process
from tests.runtime.test_application import application
from tests.runtime.tool_server import http_tool

Row = Callable[[RuntimeProcess], None]
CALLS: dict[tuple[str, str], Row] = {}
"""What shows that a call works, by its method and its path as the router has it."""


def row(method: str, path: str) -> Callable[[Row], Row]:
    """Put a function into the table."""

    def put(check: Row) -> Row:
        assert (method, path) not in CALLS
        CALLS[method, path] = check
        return check

    return put


def get(runtime: RuntimeProcess, path: str) -> Any:
    """The document of a GET that succeeds."""
    response = runtime.client.get(path, headers={"X-API-Key": KEY})
    assert response.status_code == 200, response.text
    return response.json()


def post(runtime: RuntimeProcess, path: str, body: object) -> httpx2.Response:
    """The answer to a POST that succeeds."""
    response = runtime.client.post(path, json=body, headers={"X-API-Key": KEY})
    assert response.status_code == 200, response.text
    return response


@row("POST", "/v1/chat")
def _chat(runtime: RuntimeProcess) -> None:
    first = post(runtime, "/v1/chat", {"message": "Hello"}).json()
    second = post(runtime, "/v1/chat", {"message": "Again", "conversation_id": first["conversation_id"]}).json()

    assert second["conversation_id"] == first["conversation_id"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"], "the history was not asked along"


@row("POST", "/v1/chat/stream")
def _chat_stream(runtime: RuntimeProcess) -> None:
    events = runtime.stream("Hello")

    assert [event.type for event in (events[0], *events[-2:])] == ["start", "usage", "done"]


@row("POST", "/v1/chat/batch")
def _chat_batch(runtime: RuntimeProcess) -> None:
    batch = post(runtime, "/v1/chat/batch", {"items": [{"message": "One"}, {"message": "Two"}]}).json()

    assert batch["status"] == "completed"
    assert ["One" in batch["items"][0]["result"]["message"], "Two" in batch["items"][1]["result"]["message"]] == [
        True,
        True,
    ]


@row("GET", "/v1/runs/{run_id}/events")
def _run(runtime: RuntimeProcess) -> None:
    events = runtime.stream("Hello", on_disconnect="continue")

    again = runtime.client.get(
        f"/v1/runs/{events[0].data['run_id']}/events", headers={"X-API-Key": KEY, "Last-Event-ID": "1"}
    )
    assert parse_events(again.text) == events[1:]


@row("GET", "/v1/conversations")
def _conversations(runtime: RuntimeProcess) -> None:
    conversation = post(runtime, "/v1/chat", {"message": "Hello"}).json()["conversation_id"]

    assert conversation in [item["id"] for item in get(runtime, "/v1/conversations?limit=100")["items"]]


@row("GET", "/v1/conversations/{conversation_id}")
def _conversation(runtime: RuntimeProcess) -> None:
    conversation = post(runtime, "/v1/chat", {"message": "Hello"}).json()["conversation_id"]

    assert get(runtime, f"/v1/conversations/{conversation}")["messages"][0]["content"] == "Hello"


@row("DELETE", "/v1/conversations/{conversation_id}")
def _delete_conversation(runtime: RuntimeProcess) -> None:
    path = f"/v1/conversations/{post(runtime, '/v1/chat', {'message': 'Hello'}).json()['conversation_id']}"

    assert runtime.client.delete(path, headers={"X-API-Key": KEY}).status_code == 204
    assert runtime.client.get(path, headers={"X-API-Key": KEY}).status_code == 404


@row("POST", "/v1/tasks")
def _create_task(runtime: RuntimeProcess) -> None:
    response = runtime.client.post("/v1/tasks", json={"message": "Hello"}, headers={"X-API-Key": KEY})

    assert response.status_code == 202
    assert get(runtime, response.headers["location"])["id"] == response.json()["id"]


@row("GET", "/v1/tasks")
def _tasks(runtime: RuntimeProcess) -> None:
    assert finished_task(runtime)["id"] in [task["id"] for task in get(runtime, "/v1/tasks?limit=100")["items"]]


@row("GET", "/v1/tasks/{task_id}")
def _task(runtime: RuntimeProcess) -> None:
    assert "Hello" in finished_task(runtime)["result"]["message"]


@row("GET", "/v1/tasks/{task_id}/events")
def _task_events(runtime: RuntimeProcess) -> None:
    task = runtime.client.post("/v1/tasks", json={"message": "Hello"}, headers={"X-API-Key": KEY}).json()

    events = runtime.client.get(f"/v1/tasks/{task['id']}/events", headers={"X-API-Key": KEY})
    assert [event.data["status"] for event in parse_events(events.text)] == ["pending", "running", "completed"]


@row("POST", "/v1/tasks/{task_id}/cancel")
def _cancel_task(runtime: RuntimeProcess) -> None:
    task = waiting_task(runtime)

    assert post(runtime, f"/v1/tasks/{task['id']}/cancel", {}).json()["status"] == "canceled"


@row("POST", "/v1/tasks/{task_id}/approvals/{call}")
def _decide(runtime: RuntimeProcess) -> None:
    task = waiting_task(runtime)
    [approval] = task["approvals"]

    post(runtime, f"/v1/tasks/{task['id']}/approvals/{approval['call']}", {"decision": "deny"})

    done = finished(runtime, task)
    assert [call["outcome"] for call in done["result"]["tool_calls"]] == ["denied"]


@row("DELETE", "/v1/tasks/{task_id}")
def _delete_task(runtime: RuntimeProcess) -> None:
    path = f"/v1/tasks/{finished_task(runtime)['id']}"

    assert runtime.client.delete(path, headers={"X-API-Key": KEY}).status_code == 204
    assert runtime.client.get(path, headers={"X-API-Key": KEY}).status_code == 404


def waiting_task(runtime: RuntimeProcess) -> dict[str, Any]:
    """A task that awaits approval of its one call of a tool."""
    response = runtime.chat("/tool order {}")
    assert response.status_code == 202, response.text
    task: dict[str, Any] = response.json()
    return task


def finished_task(runtime: RuntimeProcess) -> dict[str, Any]:
    """A task that has been answered."""
    response = runtime.client.post("/v1/tasks", json={"message": "Hello"}, headers={"X-API-Key": KEY})
    return finished(runtime, response.json())


def finished(runtime: RuntimeProcess, task: dict[str, Any]) -> dict[str, Any]:
    """A task once it has been answered."""

    def now() -> dict[str, Any] | None:
        read: dict[str, Any] = get(runtime, f"/v1/tasks/{task['id']}")
        return read if read["status"] == "completed" else None

    return wait_until(now, deadline=20, describe=lambda: str(get(runtime, f"/v1/tasks/{task['id']}")))


@row("GET", "/v1/agents")
def _agents(runtime: RuntimeProcess) -> None:
    assert [agent["name"] for agent in get(runtime, "/v1/agents")["items"]] == ["main"]


@row("GET", "/v1/agents/{name}")
def _agent(runtime: RuntimeProcess) -> None:
    assert get(runtime, "/v1/agents/main")["name"] == "main"


@row("GET", "/")
def _service(runtime: RuntimeProcess) -> None:
    assert get(runtime, "/")["default_agent"] == "main"


@row("GET", "/health")
def _health(runtime: RuntimeProcess) -> None:
    health = get(runtime, "/health")

    assert health["components"]["database"]["status"] == "healthy"
    assert health["tasks"].keys() == {"pending", "running", "awaiting_approval"}


@row("GET", "/health/live")
def _live(runtime: RuntimeProcess) -> None:
    assert runtime.client.get("/health/live").json() == {"status": "ok"}


@row("GET", "/health/ready")
def _ready(runtime: RuntimeProcess) -> None:
    assert runtime.client.get("/health/ready").json() == {"status": "ok"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime that keeps its state in each database."""
    folder = tmp_path_factory.mktemp(str(request.param))
    order = http_tool("order", "http://127.0.0.1:9/order", method="POST") | {"approval": "Always"}
    agent = {"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": ["order"]}
    with runtime_process(folder, state=state_on(request, folder), tools=[order], agents=[agent]) as runtime:
        yield runtime


@pytest.mark.parametrize("call", CALLS.items(), ids=lambda call: " ".join(call[0]))
def test_a_call_works(served: RuntimeProcess, call: tuple[tuple[str, str], Row]) -> None:
    _, check = call

    check(served)


def test_every_route_has_a_row(tmp_path: Path) -> None:
    app: Any = application(tmp_path, EchoProvider())

    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    routes = {(method.upper(), path) for path, operations in paths.items() for method in operations}

    assert routes - CALLS.keys() == set(), "add a row that shows that the call works on every database"
    assert CALLS.keys() - routes == set(), "these rows have no route any more"
