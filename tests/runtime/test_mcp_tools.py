"""Tools of MCP servers: what is offered and called, and what a server that fails, changes or misleads can do."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from agent_runtime import metrics
from agent_runtime.agent.tools.calls import CallResult, run_calls
from agent_runtime.agent.tools.mcp import server as server_module
from agent_runtime.agent.tools.mcp.definitions import TOOLS_LIMIT
from agent_runtime.agent.tools.mcp.server import McpServer
from agent_runtime.agent.tools.mcp.session import McpSession
from agent_runtime.config import ToolConfig
from agent_runtime.settings import ConfigurationError
from agent_runtime.tls import outbound_tls
from tests.runtime.mcp_server import READY_SECONDS, SEARCHED, McpProcess, free_port, mcp_server, mcp_tool
from tests.runtime.tool_server import ToolServer, tool_server

DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "public",
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", params=["2026-07-28", "2025-11-25"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Those that servers speak: without sessions, and with."""
    return str(request.param)


@pytest.fixture(scope="module")
def process(protocol: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpProcess]:
    """A server that no test ends."""
    with mcp_server(tmp_path_factory.mktemp("mcp"), legacy=protocol == "2025-11-25") as process:
        yield process


@pytest.fixture
def raw() -> Iterator[ToolServer]:
    """A server that speaks only what a test says."""
    with tool_server() as server:
        yield server


@asynccontextmanager
async def opened(
    url: str, *, loopback: bool = True, timeout_seconds: float = 10, **mcp: Any
) -> AsyncIterator[McpServer]:
    """A server of this process."""
    config = ToolConfig.model_validate(mcp_tool("docs", url, timeout_seconds=timeout_seconds, **mcp))
    assert config.mcp is not None
    server = McpServer(config, config.mcp, outbound_tls(None), loopback=loopback)
    try:
        yield server
    finally:
        await server.aclose()


async def names(server: McpServer) -> list[str]:
    """By which models call its tools."""
    return [tool.definition["name"] for tool in await server.offered()]


async def call(server: McpServer, name: str, /, **given: Any) -> CallResult:
    """One call, as the loop makes it."""
    tools = {tool.definition["name"]: tool for tool in await server.offered()}
    ended: list[CallResult] = []

    async def on_result(result: CallResult) -> None:
        ended.append(result)

    asked = {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}
    await run_calls(tools, [asked], agent="main", refused={}, on_result=on_result)
    [result] = ended
    return result


async def until(seen: Callable[[], Any], deadline: float = 10) -> None:
    """Wait until something is seen, without holding up the loop."""
    async with asyncio.timeout(deadline):
        while not seen():  # noqa: ASYNC110 - what is seen is told by no event
            await asyncio.sleep(0.02)


async def test_tools_are_offered_under_the_name_of_their_server(process: McpProcess) -> None:
    async with opened(process.url, allowed_tools=["search", "fail"]) as server:
        fail, search = await server.offered()

    assert fail.definition["name"] == "docs_fail"
    assert search.definition["name"] == "docs_search"
    assert search.definition["description"] == "Search the handbook."
    assert search.definition["input_schema"]["properties"]["query"]["type"] == "string"
    assert (fail.repeatable, search.repeatable) == (False, True)
    assert (search.source, search.timeout_seconds) == ("docs", 10)


async def test_a_call_returns_what_the_tool_says_between_marks(process: McpProcess) -> None:
    async with opened(process.url) as server:
        result = await call(server, "docs_search", query="inquisition")

    assert result.outcome == "ok"
    assert f"inquisition: {SEARCHED}" in result.block["content"]
    assert result.block["content"].startswith("<tool_result_")


async def test_a_tool_that_is_not_allowed_is_not_called(process: McpProcess) -> None:
    async with opened(process.url, allowed_tools=["search"]) as server:
        result = await call(server, "docs_fail")

    assert result.outcome == "unknown_tool"


@pytest.mark.parametrize(("tool", "given"), [("docs_fail", {}), ("docs_search", {"query": 7})])
async def test_what_a_tool_refuses_is_told(process: McpProcess, tool: str, given: dict[str, Any]) -> None:
    async with opened(process.url) as server:
        result = await call(server, tool, **given)

    assert result.outcome == "error"
    assert result.block["is_error"]
    assert "Error executing tool" in result.block["content"]


async def test_a_renewed_secret_is_sent_in_the_same_session_and_never_shown(
    process: McpProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.credentials.CHECK_SECONDS", 0)
    secret = tmp_path / "token"
    secret.write_text("old-test-token")
    headers = [{"name": "X-Token", "value_file": str(secret)}, {"name": "X-Tenant", "value": "acme"}]

    async with opened(process.url, headers=headers) as server:
        before = await call(server, "docs_headers")
        session = server._session
        secret.write_text("longer-new-test-token")
        after = await call(server, "docs_headers")
        assert server._session is session

    for result in (before, after):
        assert '"x-tenant": "acme"' in result.block["content"]
        assert '"x-token": "[redacted]"' in result.block["content"]
        assert '"accept-encoding": "identity"' in result.block["content"]


async def test_a_secret_that_is_not_there_ends_the_process(tmp_path: Path) -> None:
    headers = [{"name": "Authorization", "value_file": str(tmp_path / "none")}]

    with pytest.raises(ConfigurationError, match=r"tools\[docs\].mcp.headers: .*cannot be read.*Secret"):
        async with opened("https://mcp.example.com", headers=headers):
            pass


async def test_a_call_that_takes_too_long_is_given_up_in_time_and_the_server_is_told(process: McpProcess) -> None:
    process.abandoned.unlink(missing_ok=True)
    async with opened(process.url, timeout_seconds=0.5) as server:
        result = await call(server, "docs_wait", seconds=60)

        assert result.outcome == "timeout"
        assert result.seconds < 2
        await until(process.abandoned.exists)
        assert (await call(server, "docs_search", query="x")).outcome == "ok"


async def test_a_result_that_is_too_large_costs_nobody_else_their_call(process: McpProcess) -> None:
    async with opened(process.url) as server:
        waits = asyncio.create_task(call(server, "docs_wait", seconds=1))
        large = await call(server, "docs_repeat", letter="a", times=3_000_000)
        session = server._session

        assert large.outcome == "error"
        assert "larger than 1024 KiB" in large.block["content"]
        assert (await waits).outcome == "ok"
        assert server._session is session


async def test_tools_that_come_are_offered_as_soon_as_the_server_tells(process: McpProcess) -> None:
    async with opened(process.url) as server:
        add = next(tool for tool in await server.offered() if tool.definition["name"] == "docs_add")
        assert not server._is_due()

        # A server tells those who listen, which begins beside the first look.
        async with asyncio.timeout(10):
            while not server._is_due():
                added = f"new-{time.monotonic_ns()}"
                await add.call({"name": added}, call_id="toolu_1")

        assert f"docs_{added}" in await names(server)


async def test_a_list_is_looked_at_again_when_it_is_old(process: McpProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(process.url) as server:
        await names(server)
        looked_at = server._seen_at
        await names(server)
        assert server._seen_at == looked_at

        monkeypatch.setattr(server_module, "KEEP_SECONDS", 0)
        await names(server)

        assert server._seen_at > looked_at


async def test_a_server_that_dies_and_comes_back_is_found_again(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "RETRY_SECONDS", 0)
    legacy = protocol == "2025-11-25"
    with mcp_server(tmp_path / "first", legacy=legacy) as process:
        async with opened(process.url) as server:
            died = await call(server, "docs_die")
            process.child.process.wait(READY_SECONDS)  # until then its port takes connections
            down = await call(server, "docs_search", query="x")

            assert died.outcome == "outcome_unknown"
            assert "may be done or not" in died.block["content"]
            assert down.outcome == "unavailable"
            assert down.block["content"] == "The tool's server cannot be reached."
            assert server.fault == "cannot be reached"
            assert metrics.MCP_SERVER_UP.labels("docs")._value.get() == 0
            assert "docs_search" in await names(server)

            with mcp_server(tmp_path / "second", legacy=legacy, port=process.port):
                result = await call(server, "docs_search", query="x")
                await names(server)
                await until(lambda: server.fault is None)

            assert result.outcome == "ok"
            assert metrics.MCP_SERVER_UP.labels("docs")._value.get() == 1


async def test_a_session_that_the_server_forgot_is_opened_anew_without_an_error(tmp_path: Path) -> None:
    port = free_port()
    async with opened(f"http://127.0.0.1:{port}/mcp") as server:
        with mcp_server(tmp_path / "first", legacy=True, port=port):
            await names(server)
        with mcp_server(tmp_path / "second", legacy=True, port=port):
            result = await call(server, "docs_search", query="x")

    assert result.outcome == "ok"


async def test_at_the_end_the_session_ends_with_its_calls_and_leaves_nothing(process: McpProcess) -> None:
    process.called.unlink(missing_ok=True)
    before = asyncio.all_tasks()
    async with opened(process.url) as server:
        waits = asyncio.create_task(call(server, "docs_wait", seconds=60))
        await until(process.called.exists)
    result = await waits

    assert result.outcome == "error"
    assert asyncio.all_tasks() == before


async def test_a_server_that_is_away_offers_nothing_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with looks(monkeypatch) as looked:
        async with opened(f"http://127.0.0.1:{free_port()}/mcp") as server:
            assert await names(server) == []
            assert server.fault == "cannot be reached"
            assert await names(server) == []

    assert len(looked) == 1, "it was looked for again at once"


async def test_a_server_that_hangs_holds_up_only_the_first(raw: ToolServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_runtime.agent.tools.mcp.session.OPEN_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "RETRY_SECONDS", 0)
    async with opened(f"{raw.url}/slow") as server:
        assert await names(server) == []
        assert server.fault == "opens no session within 0.5 s"

        began = time.monotonic()
        assert await names(server) == []
        assert time.monotonic() - began < 0.25
        assert server._look is not None
        assert not server._look.done(), "nobody looks whether it is back"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (PlainTextResponse("no", 401), "answers with HTTP status 401"),
        (PlainTextResponse("no", 503), "answers with HTTP status 503"),
        (
            Response(status_code=307, headers={"Location": "/rpc"}),
            "redirects to another address, which is not followed",
        ),
        (
            Response(gzip.compress(b"{}"), headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}),
            "answers with compressed content, which it was not asked for",
        ),
        (HTMLResponse("<h1>Welcome</h1>"), "does not open a session as MCP has it"),
        (Response("{", media_type="application/json"), "does not open a session as MCP has it"),
    ],
)
async def test_a_server_that_is_none_is_told_by_what_it_does(raw: ToolServer, answer: Response, fault: str) -> None:
    raw.answer = answer
    async with opened(f"{raw.url}/answer") as server:
        assert await names(server) == []
        assert server.fault == fault
    assert {made.target for made in raw.calls} == {"/answer"}


async def test_a_server_at_a_forbidden_address_is_not_asked(raw: ToolServer) -> None:
    async with opened(f"{raw.url}/answer", loopback=False) as server:
        assert await names(server) == []
        assert server.fault == "may not be called: its address is that of this pod itself"
    assert raw.calls == []


async def test_of_thousands_of_tools_some_are_offered_and_it_is_told(raw: ToolServer) -> None:
    listed = [{"name": f"t{number:04}", "inputSchema": {"type": "object"}} for number in range(3000)]

    def rpc(asked: dict[str, Any]) -> object:
        if asked["method"] == "server/discover":
            return DISCOVERED
        begin = int(asked["params"].get("cursor", 0))
        more = {"nextCursor": str(begin + 1000)} if begin < 2000 else {}
        return {
            "tools": listed[begin : begin + 1000],
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "public",
            **more,
        }

    raw.rpc = rpc
    async with opened(f"{raw.url}/rpc") as server:
        offered = await names(server)
        assert server._offer is not None
        left_out = server._offer.left_out
    async with opened(f"{raw.url}/rpc", allowed_tools=["t2999"]) as server:
        assert await names(server) == ["docs_t2999"]

    assert len(offered) == TOOLS_LIMIT
    assert len(left_out) == 3000 - TOOLS_LIMIT
    assert left_out[0] == (
        "'t0128': a server's tools may be 128, of 256 KiB together: name those that are needed in allowedTools"
    )


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ({"tools": [{"name": 7}]}, "lists its tools in a form that is none of MCP"),
        ({"tools": [], "nextCursor": "again"}, "lists its tools on more than 100 pages"),
    ],
)
async def test_a_list_that_is_none_is_told(raw: ToolServer, result: dict[str, Any], fault: str) -> None:
    common = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    raw.rpc = lambda asked: DISCOVERED if asked["method"] == "server/discover" else result | common
    async with opened(f"{raw.url}/rpc") as server:
        assert await names(server) == []
        assert server.fault == fault


@contextmanager
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[McpSession]]:
    """The sessions that are opened."""
    opened: list[McpSession] = []
    wait = McpSession.opened

    async def counted(session: McpSession) -> None:
        opened.append(session)
        await wait(session)

    monkeypatch.setattr(McpSession, "opened", counted)
    yield opened
