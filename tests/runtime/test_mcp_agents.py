"""Agents with tools of MCP servers, over sockets: chats, streams, and what is told where a server is away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from dev.fake_messages_api import FakeMessagesApi, running
from dev.process import wait_until
from tests.runtime.mcp_server import SEARCHED, McpProcess, free_port, mcp_server, mcp_tool
from tests.runtime.runtime_process import (
    KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    echo_model,
    runtime_process,
)
from tests.runtime.test_loop import call, results


@dataclass(frozen=True)
class Served:
    """A runtime whose agents have the tools of a server, and of one that is away."""

    runtime: RuntimeProcess
    provider: FakeMessagesApi
    server: McpProcess
    away: int
    """Port of the server that is away."""


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    away = free_port()
    with running() as provider, mcp_server(directory / "mcp") as server:
        tools = [
            mcp_tool("docs", server.url, allowed_tools=["search", "fail"]),
            mcp_tool("asked", server.url, allowed_tools=["search"]) | {"approval": "Always"},
            mcp_tool("away", f"http://127.0.0.1:{away}/mcp"),
        ]
        agents = [
            {"name": "main", "tools": ["docs"], "model": "main"},
            {"name": "hopeful", "tools": ["docs", "away"], "model": "main"},
            {"name": "lonely", "tools": ["away"], "model": "main"},
            {"name": "echo", "tools": ["docs"], "model": "echo"},
            {"name": "careful", "tools": ["asked"], "model": "echo"},
        ]
        with runtime_process(
            directory,
            models=[anthropic_model("main", provider.base_url, credentials), echo_model("echo")],
            agents=[{"system_prompt": "Be brief.", **agent} for agent in agents],
            tools=tools,
        ) as runtime:
            yield Served(runtime, provider, server, away)


@pytest.fixture
def served(_served: Served) -> Served:
    """A runtime whose agents have tools of servers, and a provider that waits for its scripts."""
    for path in ("/_script", "/_requests"):
        httpx2.delete(_served.provider.base_url + path)
    return _served


def health(served: Served) -> dict[str, dict[str, str]]:
    """The components of GET /health."""
    response = served.runtime.client.get("/health", headers={"X-API-Key": KEY})
    components: dict[str, dict[str, str]] = response.json()["components"]
    return components


def test_the_model_gets_what_a_tool_of_a_server_returned(served: Served) -> None:
    served.provider.script({"tool_use": [call("docs_search", query="inquisition")]}, {"deltas": ["Nobody."]})

    answer = served.runtime.chat("Who expects it?").json()

    assert answer["message"] == "Nobody."
    [called] = answer["tool_calls"]
    assert (called["name"], called["outcome"]) == ("docs_search", "ok")
    first, second = (request["body"] for request in served.provider.requests())
    assert [tool["name"] for tool in first["tools"]] == ["docs_fail", "docs_search"]
    assert f"inquisition: {SEARCHED}" in results(second)[0]["content"]
    assert results(second)[0]["content"].startswith("<tool_result_")
    assert served.runtime.metric("agent_tool_calls_total", agent="main", tool="docs", outcome="ok") >= 1


def test_a_stream_tells_calls_of_a_server(served: Served) -> None:
    served.provider.script({"deltas": ["I'll ask."], "tool_use": [call("docs_fail")]}, {"deltas": ["It is closed."]})

    events = served.runtime.stream()

    assert [event.type for event in events] == ["start", "delta", "tool_call", "tool_result", "delta", "usage", "done"]
    assert (events[2].data["name"], events[3].data["outcome"]) == ("docs_fail", "error")


def test_echo_calls_the_tools_of_a_server(served: Served) -> None:
    answer = served.runtime.chat('/tool docs_search {"query": "x"}', agent="echo").json()

    assert f"x: {SEARCHED}" in answer["message"]


def test_a_call_of_a_server_waits_for_approval(served: Served) -> None:
    runtime, headers = served.runtime, {"X-API-Key": KEY}

    asked = runtime.chat('/tool asked_search {"query": "x"}', agent="careful")
    task = asked.json()
    [approval] = task["approvals"]
    path = f"{asked.headers['Location']}/approvals/{approval['call']}"
    decided = runtime.client.post(path, json={"decision": "approve"}, headers=headers)

    assert (asked.status_code, task["status"]) == (202, "awaiting_approval")
    assert (approval["tool"], approval["input"]) == ("asked_search", {"query": "x"})
    assert decided.status_code == 200

    def completed() -> str | None:
        now = runtime.client.get(asked.headers["Location"], headers=headers).json()
        return now["result"]["message"] if now["status"] == "completed" else None

    assert f"x: {SEARCHED}" in wait_until(completed, deadline=30)


def test_an_agent_goes_on_without_a_server_that_is_away(served: Served) -> None:
    served.provider.script({}, {})

    hopeful, lonely = (served.runtime.chat(agent=agent) for agent in ("hopeful", "lonely"))

    assert (hopeful.status_code, lonely.status_code) == (200, 200)
    first, second = (request["body"] for request in served.provider.requests())
    assert [tool["name"] for tool in first["tools"]] == ["docs_fail", "docs_search"]
    assert "tools" not in second
    assert health(served)["tool docs"] == {"status": "healthy"}
    assert health(served)["tool away"] == {"status": "degraded", "message": "it cannot be reached"}
    assert served.runtime.metric("agent_mcp_server_up", tool="docs") == 1
    assert served.runtime.metric("agent_mcp_server_up", tool="away") == 0
    [told] = [line for line in served.runtime.log() if line["event"] == "an MCP server cannot be used"]
    assert (told["tool"], told["reason"]) == ("away", "cannot be reached")


def test_a_server_that_comes_back_is_used_without_a_restart(served: Served) -> None:
    assert served.runtime.chat(agent="lonely").status_code == 200

    def offered() -> bool:
        served.provider.script({})
        assert served.runtime.chat(agent="lonely").status_code == 200
        tools = served.provider.requests()[-1]["body"].get("tools", [])
        return "away_search" in [tool["name"] for tool in tools]

    with mcp_server(served.runtime.directory / "back", port=served.away):
        wait_until(offered, deadline=60, interval=0.5)

    assert health(served)["tool away"] == {"status": "healthy"}


def test_whoever_has_no_such_tool_waits_for_no_client() -> None:
    code = "import sys, agent_runtime.server, agent_runtime.agent.tools as tools; sys.exit('mcp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
