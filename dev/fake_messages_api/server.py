"""The fake in a thread of this process, for tests."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from dev.fake_messages_api.app import app


@dataclass(frozen=True)
class FakeMessagesApi:
    """A fake that listens on a port of the loopback interface.

    Args:
        port: which.
        authority: Certificate in PEM of whoever vouches for it, None where it speaks plain HTTP.
    """

    port: int
    authority: Path | None = None

    @property
    def base_url(self) -> str:
        """What clients take as the address of the API."""
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def script(self, *scripts: dict[str, Any]) -> None:
        """Let the next requests be answered so; see dev.fake_messages_api.script.Script."""
        self._call("POST", "/_script", orjson.dumps(scripts))

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far; see dev.fake_messages_api.app.Record."""
        requests: list[dict[str, Any]] = orjson.loads(self._call("GET", "/_requests"))
        return requests

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        if self.authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.authority)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise ValueError(f"{method} {path} of the fake: {response.status} {answer.decode()}")
        return answer


@contextmanager
def running(
    *, certificate: Path | None = None, key: Path | None = None, authority: Path | None = None
) -> Iterator[FakeMessagesApi]:
    """Serve a fake on a free port, as long as the block runs.

    Args:
        certificate: In PEM, for the loopback address; None for plain HTTP.
        key: Of the certificate, in PEM.
        authority: Certificate of whoever vouches for it, in PEM.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    # A cut connection is an exception of the application: what the script asked for is no news.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app(),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        loop="asyncio",
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="fake messages api", daemon=True)
    thread.start()
    try:
        yield FakeMessagesApi(listener.getsockname()[1], authority)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=5)
