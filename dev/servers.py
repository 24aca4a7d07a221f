"""Servers that tests of the runtime use, of the system's packages: on loopback, and gone with whoever started them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.process import Child, start, wait_until
from dev.progress import step

_START_DEADLINE = 60.0
_USER = "postgres"
_PASSWORD = "test-password-not-a-secret"  # noqa: S105 - of a server that lives for a test
_PACKAGES = {"postgres": "postgresql", "redis-server": "redis-server"}


class NoServerError(RuntimeError):
    """A server is not installed here; the message says which, and what to do."""


def install_servers() -> None:
    """Install what is missing, where that is ours to do: as root on Debian or Ubuntu.

    Raises:
        NoServerError: it is not, or did not work.
    """
    missing = sorted(package for program, package in _PACKAGES.items() if _find(program) is None)
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoServerError(f"install {' and '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {' and '.join(missing)}"):
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", *arguments], capture_output=True, check=False, text=True, env=environment)
            if done.returncode:
                raise NoServerError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-500:]}")


@dataclass
class Postgresql:
    """A PostgreSQL server of its own.

    Args:
        folder: with its data.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int
    child: Child | None = None

    def url(self, database: str, *, password: str = _PASSWORD) -> str:
        """The URL of a database, as libpq takes it."""
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        binary = _require("postgres")
        # Nothing needs to outlast a power failure here.
        settings = {
            "fsync": "off",
            "unix_socket_directories": "",
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [*_as_owner(), binary, "-D", self.folder / "data", *options]
        self.child = start(command, name="postgresql", log=self.folder / "postgresql.log")
        wait_until(self._answers, deadline=_START_DEADLINE, describe=self.child.log_tail)

    def stop(self) -> None:
        """End it as a failover would: at once, without waiting for those who are connected."""
        if self.child is not None:
            pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 2)  # SIGINT: fast shutdown
            self.child.process.wait(_START_DEADLINE)
            self.child = None

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the administrator; what psql prints."""
        psql = _require("postgres").parent / "psql"
        done = subprocess.run(
            [
                psql,
                "--quiet",
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                f"--command={statement}",
                self.url(database),
            ],
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip()

    def _answers(self) -> bool:
        if self.child is not None:
            self.child.require_running()
        ready: list[str | Path] = [
            _require("postgres").parent / "pg_isready",
            "--quiet",
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]
        return subprocess.run(ready, check=False).returncode == 0


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """A server that runs as long as the block.

    Raises:
        NoServerError: PostgreSQL is not installed.
    """
    binary = _require("postgres")
    # It refuses to run as root, and as somebody else it cannot enter the private folders of tests.
    with tempfile.TemporaryDirectory(prefix="agentservice-postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        password = folder / "password"
        password.write_text(_PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
            shutil.chown(password, _USER)
        initialise: list[str | Path] = [
            *_as_owner(),
            binary.parent / "initdb",
            "-D",
            folder / "data",
            f"--username={_USER}",
        ]
        initialise += ["--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--encoding=UTF8"]
        subprocess.run(initialise, check=True, capture_output=True, timeout=_START_DEADLINE, cwd=folder)
        server = Postgresql(folder, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """The URL of a Redis server that runs as long as the block.

    Args:
        folder: for its log.
        port: on 127.0.0.1; None: any free one.

    Raises:
        NoServerError: Redis is not installed.
    """
    port = port or _free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    command: list[str | Path] = [_require("redis-server"), *options]
    child = start(command, name="redis", log=folder / "redis.log")
    try:
        wait_until(lambda: "Ready to accept" in child.log_tail(), deadline=_START_DEADLINE, describe=child.log_tail)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        child.stop()


def _require(program: str) -> Path:
    found = _find(program)
    if found is None:
        raise NoServerError(f"install {_PACKAGES[program]}")
    return found


def _find(program: str) -> Path | None:
    # Debian keeps PostgreSQL's own programs beside PATH, a folder for each version.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if program == "postgres" else []
    folders = os.pathsep.join([*map(str, versions), os.environ.get("PATH", os.defpath)])
    found = shutil.which(program, path=folders)
    return Path(found) if found else None


def _as_owner() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_USER)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
