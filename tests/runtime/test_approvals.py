"""Calls of tools that people must approve of: a chat becomes a task, which goes on when they have decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev.fake_messages_api import running
from dev.process import wait_until
from tests.runtime.conftest import state_on
from tests.runtime.runtime_process import (
    KEY,
    OTHER_KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    parse_events,
    runtime_process,
)
from tests.runtime.tool_server import ToolServer, http_tool, tool_server

ORDER = '/tool order {"dish": "Käse"}'
"""What makes Echo call the tool."""


@pytest.fixture(scope="module")
def _server() -> Iterator[ToolServer]:
    with tool_server() as server:
        yield server


@pytest.fixture
def server(_server: ToolServer) -> ToolServer:
    """A server of tools that nobody has called."""
    _server.calls.clear()
    return _server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def runtime(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _server: ToolServer
) -> Iterator[RuntimeProcess]:
    """A runtime on each engine whose agent may order only what people approve of."""
    folder = tmp_path_factory.mktemp("approvals")
    order = http_tool("order", f"{_server.url}/order", method="POST") | {"approval": "Always"}
    look = http_tool("look", f"{_server.url}/look")
    agent = {"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": ["order", "look"]}
    with runtime_process(folder, state=state_on(request, folder), tools=[order, look], agents=[agent]) as runtime:
        yield runtime


def call(runtime: RuntimeProcess, method: str, path: str, *, key: str = KEY, **options: Any) -> httpx2.Response:
    headers = {"X-API-Key": key, **options.pop("headers", {})}
    return runtime.client.request(method, path, headers=headers, **options)


def decide(runtime: RuntimeProcess, task: dict[str, Any], decision: str, **options: Any) -> httpx2.Response:
    [approval] = task["approvals"]
    path = f"/v1/tasks/{task['id']}/approvals/{approval['call']}"
    return call(runtime, "POST", path, json={"decision": decision}, **options)


def completed(runtime: RuntimeProcess, task: dict[str, Any]) -> dict[str, Any]:
    def now() -> dict[str, Any] | None:
        read: dict[str, Any] = call(runtime, "GET", f"/v1/tasks/{task['id']}").json()
        return read if read["completed_at"] else None

    done = wait_until(now, deadline=20, describe=lambda: call(runtime, "GET", f"/v1/tasks/{task['id']}").text)
    assert done["status"] == "completed"
    return done


def test_a_chat_that_needs_approval_becomes_a_task_and_nothing_is_called(
    runtime: RuntimeProcess, server: ToolServer
) -> None:
    response = runtime.chat(ORDER, metadata={"ticket": "17"})

    assert response.status_code == 202
    task = response.json()
    assert response.headers["location"] == f"/v1/tasks/{task['id']}"
    assert (task["status"], task["metadata"], task["position"]) == ("awaiting_approval", {"ticket": "17"}, None)
    assert call(runtime, "GET", "/health").json()["tasks"]["awaiting_approval"] >= 1
    [approval] = task["approvals"]
    assert (approval["tool"], approval["input"], approval["decision"]) == ("order", {"dish": "Käse"}, None)
    assert server.calls == []


def test_what_is_approved_is_called_once_and_answered_in_the_conversation(
    runtime: RuntimeProcess, server: ToolServer
) -> None:
    task = runtime.chat(ORDER).json()

    decided = decide(runtime, task, "approve")

    assert decided.status_code == 200
    assert [approval["decision"] for approval in decided.json()["approvals"]] == ["approve"]
    done = completed(runtime, task)
    assert [(one["name"], one["outcome"]) for one in done["result"]["tool_calls"]] == [("order", "ok")]
    assert "called POST" in done["result"]["message"]
    assert len(server.calls) == 1
    said = call(runtime, "GET", f"/v1/conversations/{task['conversation_id']}").json()["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "user", "assistant"]
    assert runtime.chat("And?", conversation_id=task["conversation_id"]).status_code == 200


def test_what_is_denied_is_not_called_and_the_model_is_told(runtime: RuntimeProcess, server: ToolServer) -> None:
    task = runtime.chat(ORDER).json()

    decide(runtime, task, "deny")

    done = completed(runtime, task)
    assert [one["outcome"] for one in done["result"]["tool_calls"]] == ["denied"]
    assert "did not allow" in done["result"]["message"]
    assert server.calls == []


def test_a_decision_stands(runtime: RuntimeProcess) -> None:
    task = runtime.chat(ORDER).json()
    decide(runtime, task, "deny")

    assert decide(runtime, task, "deny").status_code == 200
    other = decide(runtime, task, "approve")
    assert (other.status_code, other.json()["code"]) == (409, "approval_decided")
    assert other.headers["x-should-retry"] == "false"


def test_only_its_principal_decides_and_only_on_what_is_asked(runtime: RuntimeProcess) -> None:
    task = runtime.chat(ORDER).json()

    assert decide(runtime, task, "approve", key=OTHER_KEY).json()["code"] == "task_not_found"
    path = f"/v1/tasks/{task['id']}/approvals"
    assert call(runtime, "POST", f"{path}/nobody", json={"decision": "deny"}).json()["code"] == "approval_not_found"
    refused = call(runtime, "POST", f"{path}/{task['approvals'][0]['call']}", json={"decision": "maybe"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/decision")


def test_a_task_waits_for_the_last_of_several_decisions(runtime: RuntimeProcess, server: ToolServer) -> None:
    task = runtime.chat(f"{ORDER}\n{ORDER}\n/tool look {{}}").json()
    first, second = (approval["call"] for approval in task["approvals"])
    path = f"/v1/tasks/{task['id']}/approvals"

    half = call(runtime, "POST", f"{path}/{first}", json={"decision": "approve"}).json()
    assert (half["status"], server.calls) == ("awaiting_approval", [])
    call(runtime, "POST", f"{path}/{second}", json={"decision": "deny"})

    done = completed(runtime, task)
    outcomes = sorted((one["name"], one["outcome"]) for one in done["result"]["tool_calls"])
    assert outcomes == [("look", "ok"), ("order", "denied"), ("order", "ok")]
    assert sorted(one.target for one in server.calls) == ["/look", "/order"]


@pytest.mark.parametrize("fields", [{}, {"on_disconnect": "continue"}], ids=["", "kept"])
def test_a_stream_that_needs_approval_ends_with_the_task(runtime: RuntimeProcess, fields: dict[str, Any]) -> None:
    events = runtime.stream(ORDER, **fields)

    assert [event.type for event in events] == ["start", "task"]
    assert events[1].data["task"]["status"] == "awaiting_approval"
    assert events[0].data["conversation_id"] == events[1].data["task"]["conversation_id"]
    decide(runtime, events[1].data["task"], "approve")
    assert completed(runtime, events[1].data["task"])["result"]["tool_calls"][0]["outcome"] == "ok"


def test_an_item_of_a_batch_that_needs_approval_is_a_task(runtime: RuntimeProcess) -> None:
    items = [{"message": "Hi"}, {"message": ORDER}]
    batch = call(runtime, "POST", "/v1/chat/batch", json={"items": items}).json()

    assert [item["status"] for item in batch["items"]] == ["completed", "awaiting_approval"]
    assert batch["status"] == "partial"
    decide(runtime, batch["items"][1]["task"], "deny")
    completed(runtime, batch["items"][1]["task"])


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/tasks"])
def test_a_repeated_request_gets_the_task_as_it_is_now(runtime: RuntimeProcess, path: str) -> None:
    headers = {"Idempotency-Key": f"order-{path}"}
    task = call(runtime, "POST", path, json={"message": ORDER}, headers=headers).json()
    wait_until(lambda: call(runtime, "GET", f"/v1/tasks/{task['id']}").json()["approvals"], deadline=20)

    again = call(runtime, "POST", path, json={"message": ORDER}, headers=headers)

    assert (again.status_code, again.json()["id"]) == (202, task["id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == f"/v1/tasks/{task['id']}"
    assert again.json()["status"] == "awaiting_approval"


def test_a_task_asks_for_approval_too_and_tells_so(runtime: RuntimeProcess, server: ToolServer) -> None:
    task = call(runtime, "POST", "/v1/tasks", json={"message": ORDER, "store": False}).json()

    def waiting() -> dict[str, Any] | None:
        now: dict[str, Any] = call(runtime, "GET", f"/v1/tasks/{task['id']}").json()
        return now if now["status"] == "awaiting_approval" else None

    waits = wait_until(waiting, deadline=20)
    assert server.calls == []
    decide(runtime, waits, "approve")
    completed(runtime, task)
    events = parse_events(call(runtime, "GET", f"/v1/tasks/{task['id']}/events").text)
    told = [event.data.get("status", event.type) for event in events]
    assert told == [
        *("pending", "running", "awaiting_approval", "pending", "running"),
        *("tool_call", "tool_result", "completed"),
    ]


def test_a_task_that_awaits_approval_can_be_canceled(runtime: RuntimeProcess, server: ToolServer) -> None:
    task = runtime.chat(ORDER).json()

    assert call(runtime, "POST", f"/v1/tasks/{task['id']}/cancel").json()["status"] == "canceled"

    assert decide(runtime, task, "approve").json()["code"] == "approval_not_found"
    assert server.calls == []


def test_a_turn_that_needs_approval_is_no_failure_of_its_agent(runtime: RuntimeProcess) -> None:
    def errors() -> int:
        return int(call(runtime, "GET", "/v1/agents/main").json()["statistics"]["errors"])

    before = errors()
    task = runtime.chat(ORDER).json()
    decide(runtime, task, "deny")
    completed(runtime, task)

    assert errors() == before


def test_an_approval_is_of_one_call_whatever_ids_the_model_gives_the_others(tmp_path: Path, server: ToolServer) -> None:
    def asks(*dishes: str) -> dict[str, Any]:
        return {"tool_use": [{"id": "a/b", "name": "order", "input": {"dish": dish}} for dish in dishes]}

    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    order = http_tool("order", f"{server.url}/order", method="POST") | {"approval": "Always"}
    agent = {"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": ["order"]}
    with (
        running() as provider,
        runtime_process(
            tmp_path,
            models=[anthropic_model("main", provider.base_url, credentials)],
            agents=[agent],
            tools=[order],
        ) as runtime,
    ):
        provider.script(asks("bread", "wine"), asks("gold"))

        task = runtime.chat("Order.").json()

        assert [approval["input"]["dish"] for approval in task["approvals"]] in (["bread", "wine"], ["wine", "bread"])
        for approval in task["approvals"]:
            path = f"/v1/tasks/{task['id']}/approvals/{approval['call']}"
            assert call(runtime, "POST", path, json={"decision": "approve"}).status_code == 200
        waits = wait_until(
            lambda: [
                approval
                for approval in call(runtime, "GET", f"/v1/tasks/{task['id']}").json()["approvals"]
                if approval["decision"] is None
            ],
            deadline=20,
        )
        assert [approval["input"] for approval in waits] == [{"dish": "gold"}]
        assert len(server.calls) == 2
