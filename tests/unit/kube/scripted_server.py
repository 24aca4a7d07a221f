"""A misbehaving API server on loopback: answers each request by script, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Gives the answers of ``script`` in turn, the last one again and again; one script for reads, one for watches."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.watches: list[Answer] = []
        self.asked: list[Asked] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), body))
        script = self.watches if "watch" in request.query else self.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        return await answer(request)

    def count(self, *, watch: bool) -> int:
        return sum(("watch" in asked.query) == watch for asked in self.asked)


@asynccontextmanager
async def scripted_server() -> AsyncIterator[tuple[ScriptedServer, ApiClient]]:
    scripted = ScriptedServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", scripted.handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    api_client = ApiClient(Configuration(host=str(server.make_url("")).rstrip("/")))
    api_client.user_agent = "test"
    try:
        yield scripted, api_client
    finally:
        await api_client.close()  # type: ignore[no-untyped-call] # the package is typed in part
        await server.close()


def answers(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, body=orjson.dumps(body), content_type="application/json", headers=dict(headers or {})
        )

    return answer


def refuses(code: int, reason: str = "", message: str = "no", headers: Mapping[str, str] | None = None) -> Answer:
    return answers({"kind": "Status", "code": code, "reason": reason, "message": message}, code, headers)


def hangs_up() -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer


def streams(*events: Any, then: str = "end") -> Answer:
    """Send watch events; ``then`` end the answer, ``cut`` the connection inside a line, or ``hang`` without a byte."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for event in events:
            await response.write(orjson.dumps(event) + b"\n")
        if then == "cut":
            await response.write(b'{"type":"ADDED","object":{"metadata":')
            assert request.transport is not None
            request.transport.close()
        elif then == "hang":
            await asyncio.Event().wait()
        return response

    return answer
