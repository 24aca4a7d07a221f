"""``agentctl run`` as a person starts it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

from dev.process import wait_until

STARTS_WITHIN = 90  # seconds, on a busy machine; on an idle one it takes two


class Agentctl:
    """A running ``agentctl run``."""

    def __init__(self, folder: Path, text: str, *arguments: str, **environment: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "agents.yaml").write_text(text)
        self.port = free_port()
        self._output = folder / "output"
        options = ("-f", str(folder / "agents.yaml"), f"--port={self.port}")
        clean = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_API_KEY"}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agentservice_operator.cli", "run", *options, *arguments],
                env=clean | {"TMPDIR": str(self.temporary)} | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def curl_command(self) -> list[str]:
        """The command that it offers, once it serves."""

        def offered() -> str | None:
            assert self.process.poll() is None, self.output
            return next((line for line in self.output.splitlines() if line.startswith("curl ")), None)

        return shlex.split(wait_until(offered, deadline=STARTS_WITHIN, describe=lambda: self.output))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def answer(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
