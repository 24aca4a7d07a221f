"""A proxy that opens tunnels, all of them to one port of this machine."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """One that runs.

    Args:
        url: for HTTPS_PROXY.
        asked: the hosts and ports that clients asked for.
    """

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def connect_proxy(target: int) -> Iterator[ConnectProxy]:
    """A proxy on a free port whose tunnels end at the port `target`, whatever host they are asked for."""

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, host, _ = self.rfile.readline().decode().split(" ")
            while self.rfile.readline() not in {b"\r\n", b""}:
                pass
            proxy.asked.append(f"{method} {host}")
            with socket.create_connection(("127.0.0.1", target)) as server:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_copy, args=(server, self.connection), daemon=True)
                back.start()
                _copy(self.connection, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as server:
        server.daemon_threads = True
        proxy = ConnectProxy(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, name="proxy", daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass everything on until one of the two is closed."""
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
