"""An MCP server of the official package as a process of its own, whose tools misbehave on request.

``python -m tests.runtime.mcp_server PORT FOLDER [--legacy]``; ``--legacy`` speaks the protocol of before 2026-07-28,
which has sessions.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dev.process import Child, stopped, wait_until
from tests.runtime.runtime_process import warm_starter

READY_SECONDS = 60
SEARCHED = "Nobody expects the Spanish Inquisition."


@dataclass
class McpProcess:
    """A server that runs."""

    child: Child
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def called(self) -> Path:
        """A file that is there when ``wait`` has been called."""
        return self.folder / "called"

    @property
    def orders(self) -> list[str]:
        """What has been ordered with ``order``."""
        file = self.folder / "orders"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def abandoned(self) -> Path:
        """A file that is there when a call has been given up."""
        return self.folder / "abandoned"


@contextmanager
def mcp_server(folder: Path, *, legacy: bool = False, port: int | None = None) -> Iterator[McpProcess]:
    """A server that is ready when the block begins and gone when it ends."""
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    command = ["-m", __name__, str(port), str(folder), *(["--legacy"] if legacy else [])]
    begun = warm_starter().start(command, name="mcp server", log=folder / "mcp.log", env=os.environ)
    with stopped(begun) as child:

        def listens() -> bool:
            child.require_running()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, deadline=READY_SECONDS, describe=child.log_tail)
        yield McpProcess(child, port, folder)


def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def mcp_tool(name: str, url: str, *, timeout_seconds: float = 10, **mcp: Any) -> dict[str, Any]:
    """Configuration of the tools of a server."""
    return {"name": name, "type": "MCP", "timeout_seconds": timeout_seconds, "mcp": {"url": url, **mcp}}


def _server(folder: Path) -> MCPServer:
    server = MCPServer("test")
    reads = ToolAnnotations(read_only_hint=True)

    @server.tool(annotations=reads)
    async def search(query: str) -> str:
        """Search the handbook."""
        return f"{query}: {SEARCHED}"

    @server.tool()
    async def fail() -> str:
        raise ValueError("it is closed today")

    @server.tool(annotations=reads)
    async def wait(seconds: float) -> str:
        """Answer late."""
        (folder / "called").touch()
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            (folder / "abandoned").touch()
            raise
        return "done"

    @server.tool()
    async def order(dish: str) -> str:
        """Order a dish, which has to be paid for."""
        with (folder / "orders").open("a") as file:
            file.write(f"{dish}\n")
        return f"ordered {dish}"

    @server.tool(annotations=reads)
    async def repeat(letter: str, times: int) -> str:
        return letter * times

    @server.tool()
    async def die() -> str:
        os._exit(9)

    @server.tool()
    async def add(name: str, ctx: Context[Any, Any]) -> str:
        """Add a tool, and tell all who listen."""
        server.add_tool(lambda: "new", name=name)
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return f"added {name}"

    @server.tool(annotations=reads)
    async def headers(ctx: Context[Any, Any]) -> dict[str, str]:
        """Tell the headers of the request."""
        return dict(ctx.headers or {})

    return server


def _without_discovery(app: ASGIApp) -> ASGIApp:
    """A server of before 2026-07-28 knows no such method."""

    async def legacy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (b"mcp-method", b"server/discover") in scope["headers"]:
            await JSONResponse({"error": "Bad Request"}, 400)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return legacy


def _main(port: int, folder: Path, *, legacy: bool) -> None:
    app: ASGIApp = _server(folder).streamable_http_app()
    config = uvicorn.Config(_without_discovery(app) if legacy else app, host="127.0.0.1", port=port, ws="none")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]), legacy="--legacy" in sys.argv)
