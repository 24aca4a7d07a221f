"""A server of tools on the loopback interface that remembers how it was called, and misbehaves on request."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route


@dataclass
class Call:
    """One request that a tool got."""

    method: str
    target: str
    """Path and query, as they were sent."""
    headers: dict[str, str]
    body: bytes


@dataclass
class ToolServer:
    """A server that runs."""

    port: int
    calls: list[Call] = field(default_factory=list)
    answer: Response | None = None
    """What ``/answer`` answers."""
    rpc: Callable[[dict[str, Any]], object] | None = None
    """What ``/rpc`` answers to a request of JSON-RPC."""
    pair: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(2))
    """Where callers of ``/together`` wait for each other."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: Request) -> Response:
        """Answer one request, by its path."""
        target = request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
        self.calls.append(Call(request.method, target, dict(request.headers), await request.body()))
        match request.url.path:
            case "/slow":
                await asyncio.sleep(60)
            case "/redirect":
                return RedirectResponse(f"{self.url}/secret")
            case "/answer" if self.answer is not None:
                return self.answer
            case "/rpc" if self.rpc is not None:
                asked = await request.json()
                return JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "result": self.rpc(asked)})
            case "/headers":
                return JSONResponse(dict(request.headers), 500)
            case "/together":
                await self.pair.wait()
        return PlainTextResponse(f"called {request.method}")


@contextmanager
def tool_server() -> Iterator[ToolServer]:
    """Serve tools as long as the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    tools = ToolServer(listener.getsockname()[1])
    app = Starlette(routes=[Route("/{path:path}", tools.handle, methods=["GET", "POST"])])
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none", loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="tool server", daemon=True)
    thread.start()
    try:
        yield tools
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=5)


def http_tool(name: str, url: str, *, timeout_seconds: float = 10, **http: Any) -> dict[str, Any]:
    """Configuration of an HTTP tool whose input is whatever it is."""
    defaults = {"method": "GET", "input_schema": {"type": "object"}}
    return {"name": name, "type": "HTTP", "timeout_seconds": timeout_seconds, "http": {"url": url, **defaults, **http}}
