"""How connections end with their server: never under a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from agent_runtime import bounded_http

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
NEVER = 3600.0
PATIENCE = 30.0


class Answers:
    """An application whose answers begin when they may, and end when they are let go."""

    def __init__(self) -> None:
        self.asked, self.may_begin, self.let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_begin.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        del scope, receive
        self.asked.set()
        await self.may_begin.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await self.let_go.wait()
        await send({"type": "http.response.body", "body": b"k", "more_body": False})


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[tuple[uvicorn.Server, socket.socket]]:
    """A server, and a connection to it that does not block."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        answers, http=bounded_http.PatientHttpProtocol, lifespan="off", log_config=None, timeout_keep_alive=3600
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    with socket.socket() as caller:
        caller.settimeout(0)
        await asyncio.get_running_loop().sock_connect(caller, listener.getsockname())
        while not server.server_state.connections:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0)
        yield server, caller


async def begin_to_close(server: uvicorn.Server) -> asyncio.Task[None]:
    """Let a server close; it has told its connections, and may wait for them."""
    closing = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    return closing


async def read_until(caller: socket.socket, end: bytes) -> bytes:
    """What comes, up to `end` or the end of the connection."""
    read = b""
    while piece := await asyncio.get_running_loop().sock_recv(caller, 1000):
        read += piece
        if read.endswith(end):
            break
    return read


def run(test: Coroutine[None, None, None]) -> None:
    """On the loop that serves: others look after sockets and timers in another order."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test, PATIENCE))


def test_a_connection_whose_answer_promised_to_keep_it_takes_one_more_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "LAST_REQUEST_SECONDS", NEVER)

    async def test() -> None:
        answers = Answers()
        async with serving(answers) as (server, caller):
            caller.send(REQUEST)
            await read_until(caller, b"o")
            closing = await begin_to_close(server)
            answers.let_go.set()
            assert await read_until(caller, b"k") == b"k"

            caller.send(REQUEST)

            assert (await read_until(caller, b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
            caller.close()
            await closing

    run(test())


def test_who_sends_nothing_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "LAST_REQUEST_SECONDS", 0.01)

    async def test() -> None:
        async with serving(Answers()) as (server, caller):
            await server.shutdown()

            assert await read_until(caller, b"ok") == b""

    run(test())


def test_an_answer_that_has_not_begun_says_that_it_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "LAST_REQUEST_SECONDS", NEVER)

    async def test() -> None:
        answers = Answers()
        answers.may_begin.clear()
        answers.let_go.set()
        async with serving(answers) as (server, caller):
            caller.send(REQUEST)
            await answers.asked.wait()
            closing = await begin_to_close(server)
            answers.may_begin.set()

            assert b"\r\nconnection: close\r\n" in await read_until(caller, b"ok")
            assert await read_until(caller, b"ok") == b""
            await closing

    run(test())


def test_a_server_whose_patience_has_ended_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "LAST_REQUEST_SECONDS", NEVER)

    async def test() -> None:
        answers = Answers()
        async with serving(answers) as (server, caller):
            caller.send(REQUEST)
            await read_until(caller, b"o")
            closing = await begin_to_close(server)
            for connection in server.server_state.connections:
                assert isinstance(connection, bounded_http.PatientHttpProtocol)
                connection.cease()
            answers.let_go.set()

            assert await read_until(caller, b"never") == b"k"
            await closing

    run(test())
