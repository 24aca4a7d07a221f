"""Tests ask an API server over connections that are kept, and notice where one is gone."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dev.api_client import ApiClient, ApiError
from tests.authority import make_authority

NAMES = ["a", "ä" * 70_000, "c"]
REFUSAL = {"kind": "Status", "reason": "NotFound", "message": "there is none"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections: set[object]

    def do_GET(self) -> None:
        self.connections.add(self.client_address)
        if self.path.startswith("/watch"):
            self.send_response(http.client.OK)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for name in NAMES:
                line = json.dumps({"name": name}, ensure_ascii=False).encode() + b"\n"
                for piece in (line[:7], line[7:]):
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/missing":
            self._answer(http.client.NOT_FOUND, json.dumps(REFUSAL).encode())
        elif self.path == "/busy":
            self._answer(http.client.TOO_MANY_REQUESTS, json.dumps(REFUSAL).encode(), {"Retry-After": "3600"})
        else:
            self._answer(http.client.OK, b"ok" if self.path == "/readyz" else b'{"items": []}')
            self.close_connection = self.path == "/last"

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        del format, args


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[ApiClient, set[object]]]:
    """A client, and the addresses from which its server is asked."""
    authority = make_authority(tmp_path)
    connections: set[object] = set()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(authority.server_certificate, authority.server_key)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"connections": connections})) as listening:
        listening.daemon_threads = True
        listening.socket = own.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        tls = ssl.create_default_context(cafile=str(authority.certificate))
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            yield ApiClient(f"https://127.0.0.1:{listening.server_port}", tls), connections
        finally:
            listening.shutdown()
            thread.join()


def test_one_connection_serves_one_request_after_the_other(server: tuple[ApiClient, set[object]]) -> None:
    api, connections = server

    assert api.get("/readyz") == {"message": "ok"}
    assert api.list("/items") == []
    with pytest.raises(ApiError, match="404 NotFound: there is none"):
        api.get("/missing")
    assert api.find("/missing") is None
    assert list(api.watch("/watch", seconds=5)) == [{"name": name} for name in NAMES]
    assert api.list("/items") == []

    assert len(connections) == 1


def test_a_watch_that_is_left_early_keeps_its_connection_from_nobody_else(
    server: tuple[ApiClient, set[object]],
) -> None:
    api, _ = server

    events = api.watch("/watch", seconds=5)
    assert next(events) == {"name": NAMES[0]}
    events.close()  # type: ignore[attr-defined] # it is a generator

    assert api.list("/items") == []


def test_a_connection_that_the_server_closed_is_replaced(server: tuple[ApiClient, set[object]]) -> None:
    api, connections = server
    api.get("/last")

    assert api.list("/items") == []

    assert len(connections) == 2


def test_who_is_asked_to_come_back_later_is_told_so_at_once(server: tuple[ApiClient, set[object]]) -> None:
    api, _ = server

    with pytest.raises(ApiError) as refused:
        api.get("/busy")

    assert refused.value.code == http.client.TOO_MANY_REQUESTS


def test_whoever_does_not_answer_is_no_connection(tmp_path: Path) -> None:
    tls = ssl.create_default_context(cafile=str(make_authority(tmp_path).certificate))

    with pytest.raises(ConnectionError, match="GET /readyz"):
        ApiClient("https://127.0.0.1:1", tls).get("/readyz")
