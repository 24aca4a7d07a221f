"""A Docker engine that answers: the machine's own, or one that we install and start where that is ours to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.progress import say, step
from dev.toolchain import cache_folder

INSTEAD = "or try an agent without containers: .venv/bin/agentctl run -f examples/hello.yaml"

_STATE = cache_folder() / "engine"
_PID_FILE = _STATE / "dockerd.pid"
_LOG = _STATE / "dockerd.log"
_RUNC_WITHOUT_SYS_RESOURCE = Path(__file__).parent / "kind_node" / "runc-without-sys-resource"
_CAP_SYS_RESOURCE = 24  # linux/capability.h
_START_DEADLINE = 60.0  # seconds
_FIRST_CLIENT_NEEDING_BUILDX = 23  # Docker 23 moved BuildKit out of the client, into the buildx plugin


class NoEngineError(RuntimeError):
    """No container engine can be had here; the message says what to do about it."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Args:
        client: the docker client to use; it can build with BuildKit.
        started_here: whether this call started the engine, so that its caller should `stop` it.
    """

    client: Path
    started_here: bool = False

    def docker(self, *args: str, data: bytes | None = None, timeout: float | None = None) -> str:
        """Run the client.

        Args:
            args: its command line, without the program.
            data: what it reads from standard input.
            timeout: seconds; None waits for ever.

        Returns:
            What it printed.

        Raises:
            RuntimeError: with the end of what it printed as an error.
        """
        done = subprocess.run(
            [self.client, *args], input=data, capture_output=True, check=False, timeout=timeout, env=self.environment
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise RuntimeError(f"docker {' '.join(args)}: {said[-4000:]}")
        return done.stdout.decode()

    def has_image(self, name: str) -> bool:
        """Whether the engine holds the image `name`."""
        return self.image_id(name) is not None

    def image_id(self, name: str) -> str | None:
        """The id (sha256:...) of the image `name`, None where the engine has none."""
        try:
            return self.docker("image", "inspect", "--format", "{{.Id}}", name).strip()
        except RuntimeError:
            return None

    def can_pull(self, image: str, *, timeout: float = 20) -> bool:
        """Whether `image` is here, or a registry gives it within `timeout` seconds of silence at the start.

        A registry that cannot be reached is remembered for an hour, so that the next run loses no time.
        """
        if self.has_image(image):
            return True
        refused = _STATE / "unpullable" / re.sub(r"[^\w.-]", "_", image)
        if refused.exists() and time.time() - refused.stat().st_mtime < 3600:  # noqa: PLR2004 -- an hour
            return False
        try:
            # The manifest alone first: a slow download is no reason to give up, a registry that does not answer is.
            self.docker("manifest", "inspect", image, timeout=timeout)
            with step(f"pulling {image}"):
                self.docker("pull", "--quiet", image)
        except (RuntimeError, subprocess.TimeoutExpired):
            refused.parent.mkdir(parents=True, exist_ok=True)
            refused.touch()
            return False
        return True

    @property
    def environment(self) -> dict[str, str]:
        """What programs that call docker themselves (kind) need to call this client."""
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return {**os.environ, "PATH": f"{self.client.parent}:{path}", "DOCKER_BUILDKIT": "1"}


def find_engine() -> Engine | None:
    """The engine that answers already, None where none does."""
    answering = [client for client in _clients() if _answers(client)]
    for client in answering:
        if _can_use_buildkit(client):
            return Engine(client)
    if answering:
        raise NoEngineError(
            f"{answering[0]} reaches a Docker engine but cannot use BuildKit: install its buildx plugin "
            f"(Debian: docker-buildx; Docker's own packages: docker-buildx-plugin), {INSTEAD}"
        )
    return None


def ensure_engine() -> Engine:
    """Find an engine, or install and start one where the user is root on Debian or Ubuntu.

    Raises:
        NoEngineError: where neither is possible.
    """
    with _lock():
        if engine := find_engine():
            return engine
        if why_not := _why_not_ours_to_start():
            raise NoEngineError(
                f"{describe_absence()} and {why_not}; install or start Docker, or get access to it, {INSTEAD}"
            )
        if not _daemon_is_installed():
            say("==> no Docker engine here: installing Debian's (docker.io, iptables)")
            _install()
        say(f"==> no Docker engine answers: starting dockerd (log: {_LOG})")
        _start()
        engine = find_engine()
        if engine is None:
            raise NoEngineError(f"dockerd started but does not answer any docker client; see {_LOG}, {INSTEAD}")
        return Engine(engine.client, started_here=True)


def describe_absence() -> str:
    """That no engine answers, in the words of the first docker client where there is one; no full stop."""
    refusals = filter(None, map(_refusal, _clients()))
    said = next(refusals, "there is no docker client on PATH")
    return f"No Docker engine answers ({said})"


def stop_engine() -> str:
    """Stop the engine if one of our runs started it and nothing runs in it any more.

    Returns:
        What was done, as a sentence for the user.
    """
    with _lock():
        pid = _our_daemon()
        if pid is None:
            return "The Docker engine is not ours: left alone."
        engine = find_engine()
        if engine and (running := engine.docker("ps", "--format", "{{.Names}}").split()):
            return f"The Docker engine that we started still runs {', '.join(running)}: left running."
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _START_DEADLINE
        while _our_daemon() is not None:
            if time.monotonic() > deadline:
                return f"The Docker engine that we started (pid {pid}) has not ended after {_START_DEADLINE:.0f} s."
            time.sleep(0.1)
        _PID_FILE.unlink(missing_ok=True)
        return "Stopped the Docker engine that we had started."


def _clients() -> list[Path]:
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/bin"]
    found = (Path(folder) / "docker" for folder in dict.fromkeys(folders) if folder)
    return [client for client in found if os.access(client, os.X_OK)]


def _answers(client: Path) -> bool:
    return _refusal(client) is None


def _refusal(client: Path) -> str | None:
    """Why no engine answers this client, in one line; None where one does."""
    try:
        done = subprocess.run([client, "info"], capture_output=True, check=False, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return f"{client} info: no answer within 10 s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines() or [f"{client} info failed with {done.returncode}"]
    # The fact alone: neither the question after it nor the request that found it out.
    return re.split(r"\. Is the docker daemon running|: Get ", said[-1])[0]


def _can_use_buildkit(client: Path) -> bool:
    if subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0:
        return True
    said = subprocess.run([client, "--version"], capture_output=True, check=False, text=True).stdout
    version = re.search(r"version (\d+)\.", said)
    return version is not None and int(version[1]) < _FIRST_CLIENT_NEEDING_BUILDX


def _why_not_ours_to_start() -> str | None:
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if named := os.environ.get(variable):
            return f"{variable}={named} names one that is not ours to start"
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return "only root on Linux can start one"
    if not _daemon_is_installed() and not shutil.which("apt-get"):
        return "installing one by ourselves is possible on Debian and Ubuntu only"
    return None


def _daemon_is_installed() -> bool:
    return bool(shutil.which("dockerd") and shutil.which("iptables"))


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _apt("update", "-qq", environment=environment)
    # Since Debian 13 the client and its build plugin are packages of their own, which docker.io only recommends.
    known = subprocess.run(["apt-cache", "pkgnames", "docker-"], capture_output=True, check=False, text=True).stdout
    separate = {"docker-cli", "docker-buildx"} & set(known.split())
    _apt("install", "-y", "-qq", "--no-install-recommends", "docker.io", "iptables", *separate, environment=environment)


def install_debootstrap() -> None:
    """Make debootstrap available, which builds a Debian root file system from packages.

    Raises:
        NoEngineError: where it is missing and cannot be installed.
    """
    if shutil.which("debootstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngineError("Images can neither be pulled nor built here: install debootstrap and run as root")
    say("==> installing debootstrap")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _apt("update", "-qq", environment=environment)
    _apt("install", "-y", "-qq", "--no-install-recommends", "debootstrap", environment=environment)


def _apt(*args: str, environment: dict[str, str]) -> None:
    done = subprocess.run(["apt-get", *args], capture_output=True, check=False, text=True, env=environment)
    if done.returncode:
        raise NoEngineError(f"apt-get {args[0]} failed, mend that {INSTEAD}\n{done.stderr.strip()[-500:]}")


def _start() -> None:
    _STATE.mkdir(parents=True, exist_ok=True)
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=False, capture_output=True)
        if any(_answers(client) for client in _clients()):
            return  # systemd's to stop, as it is its to restart
    command = ["dockerd"]
    if _lacks_sys_resource():
        # Nested virtual machines: runc asks for every capability of a privileged container and is refused this one.
        command += ["--add-runtime", f"capped={_RUNC_WITHOUT_SYS_RESOURCE}", "--default-runtime", "capped"]
    with _LOG.open("wb") as log:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    _PID_FILE.write_text(str(daemon.pid))
    deadline = time.monotonic() + _START_DEADLINE
    while not any(_answers(client) for client in _clients()):
        if daemon.poll() is not None or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                daemon.terminate()
            _PID_FILE.unlink(missing_ok=True)
            tail = "\n".join(_LOG.read_text(errors="replace").splitlines()[-5:])
            raise NoEngineError(f"dockerd does not start here; mend what its log says, {INSTEAD}\n{tail}")
        time.sleep(0.2)


def _lacks_sys_resource() -> bool:
    status = Path("/proc/self/status").read_text()
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    return bounding is not None and not int(bounding[1], 16) >> _CAP_SYS_RESOURCE & 1


def _our_daemon() -> int | None:
    """The pid of the dockerd that we started, None if there is none any more."""
    try:
        pid = int(_PID_FILE.read_text())
        # A pid is used again after a reboot: it must still be a dockerd, and no zombie of ours.
        name, state = re.findall(r"^(?:Name|State):\s*(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if name == "dockerd" and state != "Z" else None


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    _STATE.mkdir(parents=True, exist_ok=True)
    with (_STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
