"""The operator process where there is nothing to operate on: no port for its metrics, no API server that answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer

DEADLINE_SECONDS = 60.0
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nobody
clusters: [{{name: nobody, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: nobody, user: {{token: not-a-token}}}}]
contexts: [{{name: nobody, context: {{cluster: nobody, user: nobody}}}}]
"""


@contextmanager
def operator(folder: Path, *, telemetry_port: int) -> Iterator[subprocess.Popen[str]]:
    """An operator whose API server refuses every connection."""
    with closing(socket.socket()) as silent:  # bound and not listening, so that nobody else takes the port
        silent.bind(("127.0.0.1", 0))
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(port=silent.getsockname()[1]))
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "AGENTSERVICE_TELEMETRY_HOST": "127.0.0.1",
            "AGENTSERVICE_TELEMETRY_PORT": str(telemetry_port),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "agentservice_operator"],
            env={**os.environ, **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        watchdog = Timer(DEADLINE_SECONDS, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def test_a_signal_ends_it_while_it_waits_for_the_api_server(tmp_path: Path) -> None:
    """As the first process of a container it must handle the signal, or it lasts until it is killed."""
    with operator(tmp_path, telemetry_port=0) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "the API server does not answer; waiting" in said

        process.send_signal(signal.SIGTERM)

        assert process.wait() == 0


def test_a_taken_port_ends_it_with_advice(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with operator(tmp_path, telemetry_port=taken.getsockname()[1]) as process:
            assert process.stderr is not None
            said = process.stderr.read()
            process.wait()

    assert process.returncode == 1
    assert "AGENTSERVICE_TELEMETRY_PORT" in said
    assert "Traceback" not in said
