"""What strangers on the pod network, and a provider that means ill, can do to a runtime: nothing that lasts."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from agent_runtime import bounded_http
from tests.runtime.runtime_process import PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

MEBIBYTE = b"a" * 1024 * 1024
START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
STOP = {"type": "message_stop"}
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"


def peak(runtime: RuntimeProcess) -> int:
    """The most memory that the process has had, in bytes."""
    lines = Path(f"/proc/{runtime.child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("port", ["port", "admin_port"])
@pytest.mark.parametrize("header", [b"X-A: ", b""], ids=["one endless header", "endless headers"])
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    echo_runtime: RuntimeProcess, header: bytes, port: str
) -> None:
    before = peak(echo_runtime)
    piece = MEBIBYTE if header else b"X-A: a\r\n" * 100_000

    with socket.create_connection(("127.0.0.1", getattr(echo_runtime, port)), timeout=10) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + header)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            caller.sendall(piece * 64)

    assert peak(echo_runtime) - before < 16 * 1024 * 1024
    assert echo_runtime.chat().status_code == 200


def test_a_head_of_usual_size_may_come_in_pieces(echo_runtime: RuntimeProcess) -> None:
    with socket.create_connection(("127.0.0.1", echo_runtime.port), timeout=10) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"GET /health/live HTTP/1.1\r\n", b"Host: a\r\nX-A: ", b"a" * 30_000, b"\r\n\r\n"):
            caller.sendall(piece)

        assert caller.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX-A: "], ids=["silent", "half a head"])
def test_who_owes_a_head_for_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_DEADLINE_SECONDS", 0.2)

    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        caller.sendall(begun)

        assert caller.recv(1000) == b""


@contextmanager
def serving() -> Iterator[int]:
    """A server of this process behind the bounded protocol; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        PlainTextResponse("ok"), http=bounded_http.BoundedHttpProtocol, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class EvilProvider:
    """A provider that answers every request with the pieces of the moment."""

    url: str
    answer: Callable[[], Iterable[bytes]] = field(default=lambda: ())
    heads: list[bytes] = field(default_factory=list)
    """Of the requests."""


@pytest.fixture(scope="module")
def _evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RuntimeProcess, EvilProvider]]:
    directory = tmp_path_factory.mktemp("evil")
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    listener = socket.create_server(("127.0.0.1", 0))
    evil = EvilProvider(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threading.Thread(target=_answer_all, args=(listener, evil), daemon=True).start()
    models = [anthropic_model("main", evil.url, credentials, retries=0)]
    with listener, runtime_process(directory, models=models, env={"ANTHROPIC_LOG": "debug"}, warm=False) as runtime:
        yield runtime, evil


@pytest.fixture
def evil(_evil: tuple[RuntimeProcess, EvilProvider]) -> EvilProvider:
    """The provider, which has seen nothing yet."""
    _evil[1].heads.clear()
    return _evil[1]


@pytest.fixture
def runtime(_evil: tuple[RuntimeProcess, EvilProvider]) -> RuntimeProcess:
    """The runtime whose only provider it is."""
    return _evil[0]


def _answer_all(listener: socket.socket, evil: EvilProvider) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):  # the runtime hung up
                evil.heads.append(connection.recv(65536))
                for piece in evil.answer():
                    connection.sendall(piece)


def events(*parts: Any) -> list[bytes]:
    return [STREAM + b"\r\n", *(b"data: " + orjson.dumps(part) + b"\n\n" for part in parts)]


def delta(text: object) -> dict[str, Any]:
    return {**DELTA, "delta": {"type": "text_delta", "text": text}}


@pytest.mark.parametrize(
    "parts",
    [
        (START, delta(5), END, STOP),
        (START, delta(None), END, STOP),
        (START, delta({"a": 1}), END, STOP),
        (START, DELTA, {**END, "usage": {"output_tokens": -5}}, STOP),
        (START, DELTA, {**END, "usage": {"output_tokens": "many"}}, STOP),
        (START, DELTA, {**END, "delta": {"stop_reason": {"a": 1}}}, STOP),
        ({**START, "message": {"model": "m" * 1000, "usage": {}}}, DELTA, END, STOP),
        ([1, 2],),
    ],
)
def test_what_is_not_an_answer_is_the_providers_failure_and_not_ours(
    runtime: RuntimeProcess, evil: EvilProvider, parts: tuple[Any, ...]
) -> None:
    evil.answer = lambda: events(*parts)

    assert runtime.chat().json()["code"] == "upstream_interrupted"


def endless(head: bytes, piece: bytes = MEBIBYTE) -> Iterator[bytes]:
    yield head
    for _ in range(512):
        yield piece


def bomb() -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield STREAM + b"Content-Encoding: gzip\r\n\r\n" + packer.compress(b"data: ")
    for _ in range(512):
        yield packer.compress(MEBIBYTE)


ENDLESS: dict[str, Callable[[], Iterable[bytes]]] = {
    "line": lambda: endless(STREAM + b"\r\ndata: "),
    "text": lambda: endless(STREAM + b"\r\n", b"data: " + orjson.dumps(delta("a" * 500_000)) + b"\n\n"),
    "refusal": lambda: endless(b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"),
    "redirect": lambda: endless(b"HTTP/1.1 307 No\r\nLocation: /\r\nConnection: close\r\n\r\n"),
    "packed line": bomb,
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_end_is_cut_before_it_fills_the_memory(
    runtime: RuntimeProcess, evil: EvilProvider, answer: Callable[[], Iterable[bytes]]
) -> None:
    evil.answer = answer
    before = peak(runtime)

    assert runtime.chat().status_code == 502
    assert peak(runtime) - before < 100 * 1024 * 1024


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_follows_no_redirect(runtime: RuntimeProcess, evil: EvilProvider, status: int) -> None:
    location = f"Location: {evil.url}/inside\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    evil.answer = lambda: [f"HTTP/1.1 {status} There\r\n{location}".encode()]

    assert runtime.chat().json()["code"] == "upstream_rejected"
    assert len(evil.heads) == 1


def test_a_provider_puts_nothing_into_logs_and_errors(runtime: RuntimeProcess, evil: EvilProvider) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": PROVIDER_KEY, "message": PROVIDER_KEY}})
    head = b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\nConnection: close\r\n"

    evil.answer = lambda: [head + b"Content-Length: %d\r\n\r\n" % len(body) + body]
    refused = runtime.chat()
    evil.answer = lambda: events(START, {"type": "error", "error": {"type": PROVIDER_KEY}})
    failed = runtime.chat()

    assert PROVIDER_KEY not in refused.text + failed.text
    assert PROVIDER_KEY not in runtime.child.log.read_text()


def test_every_header_with_the_key_has_the_renewed_one(runtime: RuntimeProcess, evil: EvilProvider) -> None:
    evil.answer = lambda: [b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    credentials = runtime.directory / "provider-key"
    credentials.write_text("renewed-test-key-not-a-secret")
    try:
        runtime.chat()
    finally:
        credentials.write_text(PROVIDER_KEY)

    assert b"renewed-test-key" in evil.heads[-1]
    assert PROVIDER_KEY.encode() not in evil.heads[-1]
