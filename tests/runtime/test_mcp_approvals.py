"""Approvals of calls of MCP servers, on each engine, and over the end of the process that asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dev.fake_messages_api import FakeMessagesApi
from tests.runtime.mcp_server import McpProcess, free_port, mcp_server, mcp_tool
from tests.runtime.runtime_process import PROVIDER_KEY, RuntimeProcess, anthropic_model, echo_model, runtime_process
from tests.runtime.test_approvals import call, completed, decide

ORDER = '/tool asked_order {"dish": "bread"}'
"""What makes Echo call the tool."""
WORDS = {"approve": "ordered bread", "deny": "did not allow"}
"""In the answer, by what a person decided."""

Start = Callable[..., AbstractContextManager[RuntimeProcess]]


@pytest.fixture
def port() -> int:
    """Of the MCP server."""
    return free_port()


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[McpProcess]:
    """An MCP server of whose tools each call has to be approved."""
    with mcp_server(tmp_path / "mcp", port=port) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, state: dict[str, object], port: int) -> Start:
    """Starts a runtime whose agent uses that server, or a further one on the same database."""
    tools = [mcp_tool("asked", f"http://127.0.0.1:{port}/mcp") | {"approval": "Always"}]
    agents = [{"name": "main", "system_prompt": "Be brief.", "model": "main", "tools": ["asked"]}]

    @contextmanager
    def start_one(name: str, model: dict[str, Any] | None = None) -> Iterator[RuntimeProcess]:
        folder = tmp_path / name
        folder.mkdir()
        models = [model or echo_model()]
        with runtime_process(folder, state=state, tools=tools, agents=agents, models=models) as runtime:
            yield runtime

    return start_one


def test_a_call_of_a_server_is_made_once_where_a_person_allows_it(start: Start, server: McpProcess) -> None:
    with start("only") as runtime:
        allowed, denied = (runtime.chat(ORDER).json() for _ in range(2))
        assert [task["approvals"][0]["tool"] for task in (allowed, denied)] == ["asked_order"] * 2
        assert server.orders == []

        decide(runtime, allowed, "approve")
        decide(runtime, denied, "deny")

        assert WORDS["approve"] in completed(runtime, allowed)["result"]["message"]
        assert WORDS["deny"] in completed(runtime, denied)["result"]["message"]
        assert server.orders == ["bread"]


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_decision_counts_in_the_process_after_the_one_that_asked(
    start: Start, server: McpProcess, decision: str
) -> None:
    with start("first") as runtime:
        task = runtime.chat(ORDER).json()
        runtime.child.kill()

    with start("second") as runtime:
        waits = call(runtime, "GET", f"/v1/tasks/{task['id']}").json()
        assert (waits["status"], waits["approvals"]) == ("awaiting_approval", task["approvals"])
        decide(runtime, waits, decision)

        assert WORDS[decision] in completed(runtime, task)["result"]["message"]
        said = call(runtime, "GET", f"/v1/conversations/{task['conversation_id']}").json()["messages"]

    assert [message["role"] for message in said] == ["user", "assistant", "user", "assistant"]
    assert server.orders == (["bread"] if decision == "approve" else [])


def test_a_call_that_was_allowed_of_a_server_that_is_away_then_is_told_as_not_made(
    start: Start, tmp_path: Path, port: int, provider: FakeMessagesApi
) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)
    provider.script({"tool_use": [{"name": "asked_order", "input": {"dish": "bread"}}]}, {"deltas": ["It is away."]})
    with mcp_server(tmp_path / "mcp", port=port) as server, start("first", model) as runtime:
        task = runtime.chat("Order bread.").json()
        runtime.child.kill()

    with start("second", model) as runtime:
        decide(runtime, task, "approve")
        result = completed(runtime, task)["result"]

    assert result["message"] == "It is away."
    assert [(called["name"], called["outcome"]) for called in result["tool_calls"]] == [("asked_order", "unavailable")]
    assert server.orders == []
